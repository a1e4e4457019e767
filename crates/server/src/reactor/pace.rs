//! Holding transfers to a rate.

use std::time::{Duration, Instant};

/// What may be saved up while nothing moves, as time: enough to be smooth, too little to be felt as a
/// burst.
const SAVED: Duration = Duration::from_millis(100);

/// A bucket that fills at a rate and may go into debt by one turn.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    bytes_per_second: u64,
    /// Nanoseconds of rate that are saved up; below zero in debt.
    saved: i128,
    since: Instant,
}

impl Pace {
    pub(super) fn new(bytes_per_second: u64, now: Instant) -> Pace {
        Pace { bytes_per_second: bytes_per_second.max(1), saved: SAVED.as_nanos() as i128, since: now }
    }

    /// When the next byte may move; [`None`] for now.
    pub(super) fn wait_until(&mut self, now: Instant) -> Option<Instant> {
        let most = SAVED.as_nanos() as i128;
        self.saved = most.min(self.saved + now.saturating_duration_since(self.since).as_nanos() as i128);
        self.since = now;
        (self.saved <= 0).then(|| now + Duration::from_nanos(u64::try_from(1 - self.saved).unwrap_or(u64::MAX)))
    }

    /// The most that should move at once, so that the debt stays short.
    pub(super) fn turn_bytes(&self) -> u64 {
        (self.bytes_per_second / 10).max(1)
    }

    /// `bytes` bytes moved.
    pub(super) fn spend(&mut self, bytes: u64) {
        self.saved -= i128::from(bytes) * 1_000_000_000 / i128::from(self.bytes_per_second);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_a_minute_the_rate_is_what_was_asked_for() {
        let start = Instant::now();
        let (mut pace, mut now, mut moved) = (Pace::new(1_000_000, start), start, 0);
        while now < start + Duration::from_secs(60) {
            match pace.wait_until(now) {
                Some(later) => now = later,
                None => {
                    pace.spend(pace.turn_bytes());
                    moved += pace.turn_bytes();
                }
            }
        }
        assert!((59_000_000..=61_000_000).contains(&moved), "{moved} bytes");
    }

    #[test]
    fn idleness_is_not_saved_up() {
        let start = Instant::now();
        let mut pace = Pace::new(1000, start);
        let later = start + Duration::from_secs(3600);
        assert_eq!(pace.wait_until(later), None);
        pace.spend(101);
        assert!(pace.wait_until(later).is_some());
    }
}
