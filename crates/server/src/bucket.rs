//! A rate, as a token bucket.

use std::time::{Duration, Instant};

/// A bucket that fills at a rate, up to a limit, and may go into debt where more is taken at once.
/// Its content is counted in nanoseconds of its rate.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    /// Units a second: at least one.
    rate: u64,
    most_nanos: i64,
    /// Below zero in debt.
    saved_nanos: i64,
    since: Instant,
}

impl Bucket {
    /// Returns a full bucket that fills by `rate` units a second, and holds at most what flows in
    /// during `saves`.
    pub(crate) fn new(rate: u64, saves: Duration, now: Instant) -> Bucket {
        let most_nanos = i64::try_from(saves.as_nanos()).unwrap_or(i64::MAX);
        Bucket { rate: rate.max(1), most_nanos, saved_nanos: most_nanos, since: now }
    }

    /// Sets the rate: from `now` on it fills by `rate` units a second. Its content, or its debt,
    /// stays the same in time.
    pub(crate) fn set_rate(&mut self, rate: u64, now: Instant) {
        self.fill(now);
        self.rate = rate.max(1);
    }

    /// Returns when something may be taken; [`None`] for now.
    pub(crate) fn ready_at(&mut self, now: Instant) -> Option<Instant> {
        self.fill(now);
        let missing = u64::try_from(1 - self.saved_nanos).ok().filter(|&missing| missing > 0)?;
        Some(now + Duration::from_nanos(missing))
    }

    /// Takes `units`, into debt where it holds less.
    pub(crate) fn take(&mut self, units: u64, now: Instant) {
        self.fill(now);
        self.subtract(units);
    }

    fn subtract(&mut self, units: u64) {
        let nanos = (u128::from(units) * 1_000_000_000).div_ceil(u128::from(self.rate));
        self.saved_nanos = self.saved_nanos.saturating_sub(i64::try_from(nanos).unwrap_or(i64::MAX));
    }

    /// Takes `units` for a client that could take nothing for as long as `waited`: what flowed in
    /// during that time counts, though it be more than the bucket can hold.
    pub(crate) fn take_after(&mut self, waited: Duration, units: u64, now: Instant) {
        self.fill(now);
        self.saved_nanos = self.saved_nanos.max(i64::try_from(waited.as_nanos()).unwrap_or(i64::MAX));
        self.subtract(units);
        self.saved_nanos = self.saved_nanos.min(self.most_nanos);
    }

    /// Returns how many units flow in in `time`.
    pub(crate) fn in_time(&self, time: Duration) -> u64 {
        u64::try_from(time.as_nanos() * u128::from(self.rate) / 1_000_000_000).unwrap_or(u64::MAX)
    }

    /// Limits its debt to as much as it can hold.
    pub(crate) fn limit_debt(&mut self) {
        self.saved_nanos = self.saved_nanos.max(-self.most_nanos);
    }

    /// Returns whether it holds all that it can: as if nothing had ever been taken.
    pub(crate) fn is_full(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.saved_nanos == self.most_nanos
    }

    /// Returns how many units flow in in a `parts`th of a second.
    pub(crate) fn in_part_of_second(&self, parts: u64) -> u64 {
        self.rate / parts
    }

    fn fill(&mut self, now: Instant) {
        let passed = i64::try_from(now.saturating_duration_since(self.since).as_nanos()).unwrap_or(i64::MAX);
        self.saved_nanos = self.most_nanos.min(self.saved_nanos.saturating_add(passed));
        self.since = self.since.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAVES: Duration = Duration::from_millis(100);

    #[test]
    fn over_a_minute_the_rate_is_what_was_asked_for() {
        for (rate, piece) in [(1_000_000, 100_000), (1_000_000, 1), (7, 1), (1, 3), (u64::MAX, 1 << 60)] {
            let start = Instant::now();
            let (mut bucket, mut now, mut moved) = (Bucket::new(rate, SAVES, start), start, 0_u128);
            let pieces = u128::from(rate) * 60 / u128::from(piece);
            for _ in 0..pieces.min(100_000) {
                now = bucket.ready_at(now).unwrap_or(now);
                bucket.take(piece, now);
                moved += u128::from(piece);
            }
            let due = rate as f64 * ((now - start) + SAVES).as_secs_f64() + piece as f64;
            assert!(moved as f64 <= due * 1.001 + 1.0, "{moved} of {due} at {rate}");
            assert!(moved as f64 >= (due - piece as f64) * 0.99, "{moved} of {due} at {rate}");
        }
    }

    #[test]
    fn another_rate_holds_from_its_moment_on() {
        let start = Instant::now();
        let mut bucket = Bucket::new(1000, SAVES, start);
        bucket.take(200, start);
        bucket.set_rate(10, start);
        let ready = start + Duration::from_nanos(100_000_001);
        assert_eq!(bucket.ready_at(start), Some(ready), "what it owes is owed in time");
        assert!(bucket.ready_at(ready).is_none());
        bucket.take(1, ready);
        assert_eq!(bucket.ready_at(ready), Some(ready + SAVES));
    }

    #[test]
    fn what_nobody_could_take_counts_once() {
        let start = Instant::now();
        let mut bucket = Bucket::new(1000, SAVES, start);
        bucket.take(100, start);
        let later = start + 10 * SAVES;
        assert_eq!(bucket.in_time(10 * SAVES), 1000);
        bucket.take_after(10 * SAVES, 1100, later);
        assert_eq!(bucket.ready_at(later), Some(later + SAVES + Duration::from_nanos(1)));
        let later = later + 20 * SAVES;
        bucket.take_after(10 * SAVES, 600, later);
        assert!(bucket.is_full(later), "the rest is not saved up");
    }

    #[test]
    fn idleness_is_not_saved_up() {
        let start = Instant::now();
        let mut bucket = Bucket::new(1000, SAVES, start);
        let later = start + Duration::from_secs(3600);
        assert!(bucket.is_full(later) && bucket.ready_at(later).is_none());
        bucket.take(101, later);
        assert_eq!(bucket.ready_at(later), Some(later + Duration::from_nanos(1_000_001)));
        bucket.take(1 << 40, later);
        bucket.limit_debt();
        let later = later + SAVES;
        assert_eq!(bucket.ready_at(later), Some(later + Duration::from_nanos(1)));
        // A time before is none that passed.
        assert!(bucket.ready_at(start).is_some());
        assert!(bucket.ready_at(later + Duration::from_nanos(1)).is_none());
        assert!(!bucket.is_full(later + Duration::from_nanos(1)) && bucket.is_full(later + SAVES));
    }
}
