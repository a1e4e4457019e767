//! How fast bytes move while they are waited for.

use std::time::Duration;

use crate::{error::Error, options::MinRate};

/// Holds a peer to a least rate. Only waiting counts, so that nobody is blamed for a slow disk on this side.
#[derive(Debug)]
pub(crate) struct Pace {
    least: MinRate,
    /// In the window that runs.
    waited: Duration,
    moved: u64,
    /// Since the connection was made.
    waited_in_all: Duration,
    moved_in_all: u64,
}

impl Pace {
    pub(crate) fn new(least: MinRate) -> Pace {
        let none = Duration::ZERO;
        Pace { least, waited: none, moved: 0, waited_in_all: none, moved_in_all: 0 }
    }

    /// A window begins: something else is waited for.
    pub(crate) fn begin(&mut self) {
        (self.waited, self.moved) = (Duration::ZERO, 0);
    }

    /// So many bytes went either way.
    pub(crate) fn moved(&mut self, bytes: usize) {
        self.moved += bytes as u64;
        self.moved_in_all += bytes as u64;
    }

    /// The peer was waited for.
    ///
    /// # Errors
    ///
    /// Where that makes a window full in which too little moved.
    pub(crate) fn waited(&mut self, time: Duration) -> Result<(), Error> {
        self.waited += time;
        self.waited_in_all += time;
        if self.waited < self.least.window {
            return Ok(());
        }
        let (bytes, window) = (self.moved, self.waited);
        self.begin();
        if bytes < self.least.bytes { Err(Error::Slow { bytes, window }) } else { Ok(()) }
    }

    /// Returns how many bytes went either way since the connection was made.
    pub(crate) fn moved_in_all(&self) -> u64 {
        self.moved_in_all
    }

    /// Whether the peer was fast enough in all, however short that was.
    pub(crate) fn was_kept(&self) -> bool {
        let least = self.least.bytes as f64 * self.waited_in_all.as_secs_f64();
        self.moved_in_all as f64 * self.least.window.as_secs_f64() >= least
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_trickles_is_given_up_and_one_that_is_fast_enough_is_not() {
        let least = MinRate { bytes: 1024, window: Duration::from_secs(60) };
        let second = Duration::from_secs(1);
        let run = |bytes| {
            let mut pace = Pace::new(least);
            let each = |_| {
                pace.moved(bytes);
                pace.waited(second)
            };
            (0..600).try_for_each(each).is_ok()
        };
        assert!(!run(0) && !run(1) && !run(17) && run(18));
        let mut pace = Pace::new(least);
        for _ in 0..100 {
            pace.waited(second * 59).unwrap();
            pace.begin();
        }
        assert!(!pace.was_kept());
        pace.moved(200_000);
        assert!(pace.was_kept());
        let mut none = Pace::new(MinRate { bytes: 0, ..least });
        assert!(none.waited(second * 1000).is_ok() && none.was_kept());
    }
}
