//! The time of day that answers tell.
//!
//! Sessions have no clock. Whoever drives them says what time of day it is at a moment, each time before he drives some;
//! from there on the moments count that sessions are given. So an answer tells the time of its making, also where the
//! system's clock was set, or the machine slept, since its client has come.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use ferry_wire::Time;

use super::message::{DateText, HttpDate};

/// See the [module documentation](self). All sessions of a server share one.
#[derive(Debug)]
pub struct DayClock(Mutex<Told>);

#[derive(Debug)]
struct Told {
    at: Instant,
    /// The time of day at that moment, since 1970: [`None`] before, where the system's clock was never set.
    today: Option<Duration>,
    /// The second that was asked for last: there are thousands of answers in each.
    shown: Option<(Time, DateText)>,
}

impl DayClock {
    /// Returns a clock that shows `today` at the moment `now`.
    #[must_use]
    pub fn new(now: Instant, today: SystemTime) -> DayClock {
        DayClock(Mutex::new(Told { at: now, today: since_1970(today), shown: None }))
    }

    /// Sets it to `today` at the moment `now`.
    pub fn set(&self, now: Instant, today: SystemTime) {
        let mut told = self.told();
        (told.at, told.today) = (now, since_1970(today));
    }

    /// Returns the second of the moment `now`, and its text; [`None`] where no date can show it.
    pub(super) fn date(&self, now: Instant) -> Option<(Time, DateText)> {
        let mut told = self.told();
        let today = told.today?.checked_add(now.saturating_duration_since(told.at))?;
        let second = Time::new(i64::try_from(today.as_secs()).ok()?, 0)?;
        if told.shown.is_none_or(|(shown, _)| shown != second) {
            told.shown = Some((second, DateText::of(HttpDate::of(second)?)));
        }
        told.shown
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        // Each call leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn since_1970(today: SystemTime) -> Option<Duration> {
    today.duration_since(UNIX_EPOCH).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_with_the_moments_and_is_set() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let clock = DayClock::new(start, UNIX_EPOCH + 784_111_777 * second + second / 2);
        let shown = |now| clock.date(now).map(|(time, text)| (time.seconds(), text.to_string()));
        let at = |seconds, text: &str| Some((seconds, text.to_owned()));
        assert_eq!(shown(start), at(784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"));
        assert_eq!(shown(start + second / 3), at(784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"));
        assert_eq!(shown(start + second / 2), at(784_111_778, "Sun, 06 Nov 1994 08:49:38 GMT"));
        clock.set(start + second, UNIX_EPOCH + second);
        assert_eq!(shown(start + second), at(1, "Thu, 01 Jan 1970 00:00:01 GMT"));
        assert_eq!(shown(start), at(1, "Thu, 01 Jan 1970 00:00:01 GMT"), "an earlier moment");
    }

    /// RFC 9110, section 6.6.1: a server without a clock tells no date.
    #[test]
    fn a_clock_that_was_never_set_shows_nothing() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let clock = DayClock::new(now, UNIX_EPOCH - second);
        assert!(clock.date(now + 2 * second).is_none());
        clock.set(now, UNIX_EPOCH + Duration::from_secs(253_402_300_799));
        assert!(clock.date(now).is_some());
        assert!(clock.date(now + second).is_none(), "the year 10,000");
        assert!(clock.date(now).is_some());
    }
}
