//! Growing delays for addresses from which logins fail.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

// Addresses alone: core knows no sockets.
use core::net::{IpAddr, Ipv6Addr};

/// The delay after the first failure; each further one doubles it.
const FIRST: Duration = Duration::from_millis(500);

/// The longest delay.
const LONGEST: Duration = Duration::from_secs(64);

/// Failures after which the delay grows no more.
const MOST_FAILURES: u32 = 8;

/// After so long without another, a failure is forgotten; the one before it after as long again.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(120);

/// Addresses that are remembered at one time, some 64 bytes each.
const MOST_SOURCES: usize = 4096;

/// How long logins from each address have to wait, by how often they failed.
///
/// A host may have all addresses of an IPv6 network of 64 bits, so those count as one; an IPv4
/// address that is written as IPv6 counts as itself. Where more addresses than 4,096 have failed,
/// those give way that have the least to wait.
///
/// Ask [`ready_at`](Delays::ready_at) right before a secret is checked, not when it arrives: then
/// many connections of one address get no more tries than one. Tell [`failed`](Delays::failed) of
/// each failure.
#[derive(Debug, Default)]
pub struct Delays {
    sources: HashMap<IpAddr, Debt>,
}

/// The failures of a source.
#[derive(Debug, Clone, Copy)]
struct Debt {
    failures: u32,
    /// The time of the last failure, or of when one was forgotten since.
    since: Instant,
    /// When the next try may be made.
    ready: Instant,
}

impl Debt {
    /// Forgets what is long ago; [`None`] where nothing is left.
    fn at(mut self, now: Instant) -> Option<Debt> {
        let periods = now.saturating_duration_since(self.since).as_nanos() / FORGOTTEN_AFTER.as_nanos();
        // More than are counted are as good as all.
        let forgotten = u32::try_from(periods).unwrap_or(u32::MAX).min(MOST_FAILURES);
        self.failures = self.failures.saturating_sub(forgotten);
        self.since += FORGOTTEN_AFTER * forgotten;
        (self.failures > 0 || self.ready > now).then_some(self)
    }
}

impl Delays {
    /// Returns when the next try from `address` may be made; [`None`] where that is now.
    #[must_use]
    pub fn ready_at(&self, address: IpAddr, now: Instant) -> Option<Instant> {
        self.sources.get(&source(address)).map(|debt| debt.ready).filter(|ready| *ready > now)
    }

    /// Counts a failure from `address`. Returns how long the answer to it is to be held back.
    pub fn failed(&mut self, address: IpAddr, now: Instant) -> Duration {
        let source = source(address);
        let before = self.sources.get(&source).and_then(|debt| debt.at(now));
        let failures = before.map_or(0, |debt| debt.failures).saturating_add(1).min(MOST_FAILURES);
        let delay = FIRST.saturating_mul(1 << (failures - 1)).min(LONGEST);
        if before.is_none() && !self.sources.contains_key(&source) {
            self.make_room(now);
        }
        // Where several were checked at one time, the later one adds to the delay of the earlier
        // one.
        let ready = before.map_or(now, |debt| debt.ready.max(now)) + delay;
        self.sources.insert(source, Debt { failures, since: now, ready: ready.min(now + LONGEST) });
        delay
    }

    /// Counts a login from `address` that was right: its failures are forgotten.
    pub fn succeeded(&mut self, address: IpAddr) {
        self.sources.remove(&source(address));
    }

    /// Makes room for one more, where there is none.
    fn make_room(&mut self, now: Instant) {
        if self.sources.len() < MOST_SOURCES {
            return;
        }
        self.sources.retain(|_, debt| debt.at(now).is_some());
        if self.sources.len() < MOST_SOURCES {
            return;
        }
        let least = |debt: &Debt| debt.at(now).map_or((0, now), |debt| (debt.failures, debt.ready));
        let least = self.sources.iter().min_by_key(|(_, debt)| least(debt)).map(|(source, _)| *source);
        least.map(|source| self.sources.remove(&source));
    }
}

/// Returns the address under which another one is counted: of IPv6 its network of 64 bits, all of
/// which one host may have; an IPv4 address that is written as IPv6 is itself.
pub(crate) fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_failure_doubles_the_delay_up_to_a_minute() {
        let (mut delays, mut now) = (Delays::default(), Instant::now());
        let from = address("192.0.2.1");
        assert_eq!(delays.ready_at(from, now), None);
        for seconds in [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 64.0, 64.0] {
            let delay = Duration::from_secs_f64(seconds);
            assert_eq!(delays.failed(from, now), delay);
            assert_eq!(delays.ready_at(from, now), Some(now + delay));
            now += delay;
            assert_eq!(delays.ready_at(from, now), None);
        }
        assert_eq!(delays.ready_at(address("192.0.2.2"), now), None, "others do not pay for it");
        delays.succeeded(from);
        assert_eq!(delays.failed(from, now), FIRST);
    }

    #[test]
    fn failures_are_forgotten_one_by_one() {
        let (mut delays, start) = (Delays::default(), Instant::now());
        let from = address("192.0.2.1");
        for _ in 0..4 {
            delays.failed(from, start);
        }
        // Four failures, less two: this is the third.
        assert_eq!(delays.failed(from, start + FORGOTTEN_AFTER * 2), FIRST * 4);
        assert_eq!(delays.failed(from, start + FORGOTTEN_AFTER * 9), FIRST);
    }

    #[test]
    fn what_failed_at_one_time_waits_in_turn() {
        let (mut delays, now) = (Delays::default(), Instant::now());
        let from = address("192.0.2.1");
        delays.failed(from, now);
        delays.failed(from, now);
        assert_eq!(delays.ready_at(from, now), Some(now + FIRST * 3));
        for _ in 0..100 {
            delays.failed(from, now);
        }
        assert_eq!(delays.ready_at(from, now), Some(now + LONGEST));
    }

    #[test]
    fn networks_of_64_bits_and_mapped_addresses_count_as_one() {
        for (one, other, same) in [
            ("2001:db8::1", "2001:db8::ffff:2", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("::ffff:192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("::ffff:192.0.2.1", "::ffff:192.0.2.2", false),
        ] {
            let (mut delays, now) = (Delays::default(), Instant::now());
            delays.failed(address(one), now);
            assert_eq!(delays.ready_at(address(other), now).is_some(), same, "{one} {other}");
        }
    }

    #[test]
    fn a_flood_of_addresses_frees_nobody_who_failed_more() {
        let (mut delays, now) = (Delays::default(), Instant::now());
        let from = address("192.0.2.1");
        delays.failed(from, now);
        let second = delays.failed(from, now);
        for host in 0..MOST_SOURCES as u32 + 64 {
            delays.failed(IpAddr::from(host.to_be_bytes()), now);
        }
        assert_eq!(delays.sources.len(), MOST_SOURCES);
        assert_eq!(delays.failed(from, now), second * 2);
    }

    #[test]
    fn what_is_forgotten_makes_room_first() {
        let (mut delays, start) = (Delays::default(), Instant::now());
        for host in 0..MOST_SOURCES as u32 {
            delays.failed(IpAddr::from(host.to_be_bytes()), start);
        }
        delays.failed(address("192.0.2.1"), start + FORGOTTEN_AFTER);
        assert_eq!(delays.sources.len(), 1);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Failed(u8),
        Succeeded(u8),
        Passed(Duration),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0..3u8).prop_map(Step::Failed),
            1 => (0..3u8).prop_map(Step::Succeeded),
            2 => (0..400_000u64).prop_map(|millis| Step::Passed(Duration::from_millis(millis))),
        ];
        prop::collection::vec(step, 0..60)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        /// Against a list of all failures, from which one is struck out for each time that passed
        /// without another.
        #[test]
        fn delays_are_those_of_a_naive_count(steps in steps()) {
            let (mut delays, mut now) = (Delays::default(), Instant::now());
            // Of each host: failures, the last change, and when it may try again.
            let mut model = [(0u32, now, now); 3];
            for step in steps {
                match step {
                    Step::Passed(time) => now += time,
                    Step::Succeeded(host) => {
                        delays.succeeded(IpAddr::from([192, 0, 2, host]));
                        model[usize::from(host)] = (0, now, now);
                    }
                    Step::Failed(host) => {
                        let (failures, since, ready) = &mut model[usize::from(host)];
                        while *failures > 0 && now >= *since + FORGOTTEN_AFTER {
                            *failures -= 1;
                            *since += FORGOTTEN_AFTER;
                        }
                        *failures = (*failures + 1).min(8);
                        *since = now;
                        let delay = [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 64_000][*failures as usize - 1];
                        let delay = Duration::from_millis(delay);
                        prop_assert_eq!(delays.failed(IpAddr::from([192, 0, 2, host]), now), delay);
                        *ready = ((*ready).max(now) + delay).min(now + LONGEST);
                    }
                }
                for (host, (_, _, ready)) in (0..).zip(model) {
                    let due = delays.ready_at(IpAddr::from([192, 0, 2, host]), now);
                    prop_assert_eq!(due, (ready > now).then_some(ready));
                }
            }
        }
    }
}
