//! The clock that gives files their times, where that is another machine's.
//!
//! It is known by the times that it gave: after a file was touched it is no earlier than that file's time. From there
//! on this machine's steady clock counts. Nobody moves that, while the clock of the day may be days ahead.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

/// See the [module documentation](self).
#[derive(Debug, Default)]
pub(super) struct FileClock(Mutex<Option<(SystemTime, Instant)>>);

impl FileClock {
    /// Notes that a file was touched before the moment `now`, and got the time `seconds`.
    pub(super) fn saw(&self, seconds: i64, now: Instant) {
        let Ok(seconds) = u64::try_from(seconds) else { return };
        let seen = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = seen.map(|seen| (seen, now));
    }

    /// Returns a time that it has reached by the moment `now`: it may be some seconds later, and is no earlier, unless
    /// it was moved back since it was last seen. [`None`] where it never was.
    pub(super) fn reached(&self, now: Instant) -> Option<SystemTime> {
        let (seen, at) = (*self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        seen.checked_add(now.saturating_duration_since(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_from_where_it_was_seen() {
        let (clock, start) = (FileClock::default(), Instant::now());
        assert_eq!(clock.reached(start), None);
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        clock.saw(1000, start);
        assert_eq!(clock.reached(start + Duration::from_secs(7)), Some(at(1007)));
        // It was moved back, as its owner may do.
        clock.saw(500, start + Duration::from_secs(9));
        assert_eq!(clock.reached(start + Duration::from_secs(10)), Some(at(501)));
        for absurd in [-1, i64::MIN, i64::MAX] {
            clock.saw(absurd, start);
            let _ = clock.reached(start + Duration::from_secs(1));
        }
    }
}
