//! A limit to the bytes of a second, which all connections of a client share.

use std::{
    num::NonZeroU64,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// The time for which a rate may be saved up while nothing moves: enough to be smooth, too little to be felt as a burst.
const SAVES: Duration = Duration::from_millis(250);

/// The bytes for which a slow rate is saved up before any move: fewer would cost more system calls and records of TLS than
/// they are worth.
const LEAST_BYTES: u64 = 1 << 10;

/// The time for which a fast rate is saved up before any move.
const LEAST_TIME: Duration = Duration::from_millis(10);

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// A limit to the bytes that move in a second, each way; none at first.
///
/// All connections of a [`Client`](crate::Client) share it, and so do clones: it may be changed while a transfer runs, from
/// any thread. The server is slowed by not being read, or by being sent less. Time in which this side holds itself back is
/// not counted against the server, by no timeout.
///
/// The lines of the protocol count as well, the records of TLS around them do not. Over any time, no more moves than the rate
/// allows and what a quarter of a second brings.
#[derive(Debug, Clone, Default)]
pub struct RateLimit(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Bytes a second; 0 for no limit.
    rate: AtomicU64,
    input: Mutex<Bucket>,
    output: Mutex<Bucket>,
}

/// One of the two ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the server.
    In,
    /// To the server.
    Out,
}

/// The state of the limit for one way, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Allowance {
    /// There is no limit.
    All,
    /// So many bytes, at least one.
    Bytes(usize),
    /// Nothing for so long.
    Nothing(Duration),
}

/// A token bucket. Its content is counted in nanoseconds of whatever rate holds.
#[derive(Debug)]
struct Bucket {
    /// Below zero where more was moved than was there.
    saved_nanos: i64,
    /// [`None`] until it is asked for the first time.
    since: Option<Instant>,
}

impl Default for Bucket {
    fn default() -> Bucket {
        Bucket { saved_nanos: nanos(SAVES), since: None }
    }
}

impl Bucket {
    fn fill(&mut self, rate: NonZeroU64, now: Instant) {
        let passed = now.saturating_duration_since(*self.since.get_or_insert(now));
        let most = nanos(SAVES).max(nanos_of(1, rate));
        self.saved_nanos = self.saved_nanos.saturating_add(nanos(passed)).min(most);
        self.since = self.since.max(Some(now));
    }

    fn allowance(&mut self, rate: NonZeroU64, now: Instant) -> Allowance {
        self.fill(rate, now);
        let least = nanos_of(LEAST_BYTES, rate).clamp(nanos(LEAST_TIME), nanos(SAVES)).max(nanos_of(1, rate));
        if self.saved_nanos < least {
            return Allowance::Nothing(Duration::from_nanos(least.abs_diff(self.saved_nanos)));
        }
        let bytes = u128::from(self.saved_nanos.unsigned_abs()) * u128::from(rate.get()) / u128::from(NANOS_PER_SECOND);
        Allowance::Bytes(usize::try_from(bytes).unwrap_or(usize::MAX))
    }
}

fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

/// Returns the time in which `bytes` flow in.
fn nanos_of(bytes: u64, rate: NonZeroU64) -> i64 {
    let nanos = (u128::from(bytes) * u128::from(NANOS_PER_SECOND)).div_ceil(u128::from(rate.get()));
    i64::try_from(nanos).unwrap_or(i64::MAX)
}

impl RateLimit {
    /// Returns a limit of so many bytes a second.
    #[must_use]
    pub fn of(rate: NonZeroU64) -> RateLimit {
        let limit = RateLimit::default();
        limit.set(Some(rate));
        limit
    }

    /// Sets the limit, in bytes a second; [`None`] lifts it.
    pub fn set(&self, rate: Option<NonZeroU64>) {
        self.0.rate.store(rate.map_or(0, NonZeroU64::get), Ordering::Relaxed);
    }

    /// Returns the limit, in bytes a second.
    #[must_use]
    pub fn get(&self) -> Option<NonZeroU64> {
        NonZeroU64::new(self.0.rate.load(Ordering::Relaxed))
    }

    /// Returns how much may be moved now.
    pub(crate) fn allowance(&self, way: Way, now: impl FnOnce() -> Instant) -> Allowance {
        self.get().map_or(Allowance::All, |rate| self.bucket(way).allowance(rate, now()))
    }

    /// Notes that `bytes` bytes were moved. Connections that ask at the same time may take more than was there; the next ones
    /// wait for longer then.
    pub(crate) fn took(&self, way: Way, bytes: usize) {
        if let Some(rate) = self.get() {
            let mut bucket = self.bucket(way);
            bucket.saved_nanos = bucket.saved_nanos.saturating_sub(nanos_of(bytes as u64, rate));
        }
    }

    fn bucket(&self, way: Way) -> MutexGuard<'_, Bucket> {
        let bucket = if way == Way::In { &self.0.input } else { &self.0.output };
        bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(bytes: u64) -> NonZeroU64 {
        NonZeroU64::new(bytes).unwrap()
    }

    #[test]
    fn as_much_moves_as_the_rate_allows_however_it_is_taken() {
        for (bytes, most) in [(1, 1), (7, 3), (1000, 1), (1000, 64_000), (10_000_000, 1 << 20), (u64::MAX, 1 << 30)] {
            let (limit, begun) = (RateLimit::of(rate(bytes)), Instant::now());
            let (mut now, mut moved) = (begun, 0_u128);
            for _ in 0..3000 {
                match limit.allowance(Way::In, || now) {
                    Allowance::Bytes(allowed) => {
                        let taken = allowed.min(most);
                        assert!(taken > 0);
                        moved += taken as u128;
                        limit.took(Way::In, taken);
                        // What takes less than is there is slowed by something else.
                        now += if taken < allowed { Duration::from_micros(10) } else { Duration::ZERO };
                    }
                    Allowance::Nothing(wait) => {
                        now += wait;
                        assert!(matches!(limit.allowance(Way::In, || now), Allowance::Bytes(_)), "{bytes}");
                    }
                    Allowance::All => panic!("{bytes}"),
                }
            }
            let due = |time: Duration| u128::from(bytes) * time.as_nanos() / 1_000_000_000;
            let (passed, saved) = (now - begun, SAVES.max(Duration::from_nanos(1_000_000_000 / bytes)));
            assert!(moved <= due(passed + saved) + 1, "{bytes} {most}: {moved} of {}", due(passed + saved));
            if bytes < 1 << 40 {
                assert!(moved * 100 >= due(passed) * 99, "{bytes} {most}: {moved} of {}", due(passed));
            }
        }
    }

    #[test]
    fn each_way_has_its_own_and_clones_share_both() {
        let (limit, now) = (RateLimit::of(rate(1000)), Instant::now());
        let other = limit.clone();
        assert_eq!(limit.allowance(Way::In, || now), Allowance::Bytes(250));
        other.took(Way::In, 250);
        assert!(matches!(limit.allowance(Way::In, || now), Allowance::Nothing(_)));
        assert_eq!(limit.allowance(Way::Out, || now), Allowance::Bytes(250));
    }

    #[test]
    fn it_can_be_lifted_and_changed_while_it_holds() {
        let (limit, now) = (RateLimit::default(), Instant::now());
        let other = limit.clone();
        let ask = |now| limit.allowance(Way::Out, || now);
        assert_eq!((ask(now), limit.get()), (Allowance::All, None));
        limit.took(Way::Out, 1 << 40);
        other.set(Some(rate(1000)));
        assert_eq!((ask(now), limit.get()), (Allowance::Bytes(250), Some(rate(1000))));
        limit.took(Way::Out, 5250);
        let Allowance::Nothing(wait) = ask(now) else { panic!("nothing is there") };
        assert!(wait >= Duration::from_secs(5) && wait < Duration::from_secs(6), "{wait:?}");
        assert_eq!(ask(now + Duration::from_secs(60)), Allowance::Bytes(250), "no more is saved up");
        other.set(None);
        assert_eq!(ask(now), Allowance::All);
    }
}
