//! The order in which logins are checked: few at a time, in turn, and none before its address may try again.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

// Addresses alone: core knows no sockets.
use core::net::IpAddr;

use super::delays::{Delays, source};

/// Secrets that are checked at one time: each takes a processor and some memory.
const MOST_UNDER_WAY: usize = 2;

/// Logins that wait at one time; further ones are told `busy`.
const MOST_WAITING: usize = 1024;

/// Logins that wait from one source, so that nobody fills the queue alone.
const MOST_WAITING_OF_SOURCE: usize = 32;

/// The logins of all connections, each known by a key: the connection's token, say. A connection
/// has one at a time.
///
/// [`ask`](Logins::ask) for each LOGIN. Hand what [`next`](Logins::next) gives to the lane, after
/// every call that changes something and at [`next_at`](Logins::next_at); say
/// [`ended`](Logins::ended) for each of these, even if its connection is gone. Those of one source
/// are checked one after another, so that each waits for the outcome of the one before. A source
/// that waits for a delay does not hold up another one.
#[derive(Debug)]
pub struct Logins<K> {
    delays: Delays,
    /// In the order in which they came.
    waiting: VecDeque<(K, IpAddr)>,
    under_way: Vec<(K, IpAddr)>,
}

impl<K: Copy + Eq> Logins<K> {
    /// Returns an empty queue, without failures.
    #[must_use]
    pub fn new() -> Logins<K> {
        Logins { delays: Delays::default(), waiting: VecDeque::new(), under_way: Vec::new() }
    }

    /// Queues the login of `key`, which has none yet. Returns false where too many wait: the answer
    /// is `busy`.
    pub fn ask(&mut self, key: K, address: IpAddr) -> bool {
        debug_assert!(!self.is_under_way(key) && self.waiting.iter().all(|(other, _)| *other != key));
        let source = source(address);
        let of_source = self.waiting.iter().filter(|(_, other)| *other == source).count();
        let fits = self.waiting.len() < MOST_WAITING && of_source < MOST_WAITING_OF_SOURCE;
        if fits {
            self.waiting.push_back((key, source));
        }
        fits
    }

    /// Takes the next login whose secret is to be checked now.
    pub fn next(&mut self, now: Instant) -> Option<K> {
        if self.under_way.len() >= MOST_UNDER_WAY {
            return None;
        }
        let may_go = |source: IpAddr| self.is_free(source) && self.delays.ready_at(source, now).is_none();
        let at = self.waiting.iter().position(|(_, source)| may_go(*source))?;
        let (key, source) = self.waiting.remove(at)?;
        self.under_way.push((key, source));
        Some(key)
    }

    /// Returns when [`next`](Logins::next) gives something, if nothing else happens before.
    #[must_use]
    pub fn next_at(&self, now: Instant) -> Option<Instant> {
        if self.under_way.len() >= MOST_UNDER_WAY {
            return None;
        }
        let free = self.waiting.iter().filter(|(_, source)| self.is_free(*source));
        free.map(|(_, source)| self.delays.ready_at(*source, now).unwrap_or(now)).min()
    }

    /// Notes that the check of `key` has ended: whether the secret was right; [`None`] where that
    /// was not found out. Returns how long the answer is to be held back.
    pub fn ended(&mut self, key: K, is_right: Option<bool>, now: Instant) -> Duration {
        let Some(at) = self.under_way.iter().position(|(other, _)| *other == key) else { return Duration::ZERO };
        let (_, source) = self.under_way.swap_remove(at);
        match is_right {
            None => Duration::ZERO,
            Some(true) => {
                self.delays.succeeded(source);
                Duration::ZERO
            }
            Some(false) => self.delays.failed(source, now),
        }
    }

    /// Drops the waiting logins of `key`, whose connection is gone. A check that is under way must
    /// still [end](Logins::ended): a client that hangs up before the answer has failed all the
    /// same.
    pub fn gone(&mut self, key: K) {
        self.waiting.retain(|(other, _)| *other != key);
    }

    fn is_under_way(&self, key: K) -> bool {
        self.under_way.iter().any(|(other, _)| *other == key)
    }

    fn is_free(&self, source: IpAddr) -> bool {
        self.under_way.iter().all(|(_, other)| *other != source)
    }
}

impl<K: Copy + Eq> Default for Logins<K> {
    fn default() -> Logins<K> {
        Logins::new()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn host(host: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, host])
    }

    #[test]
    fn two_at_a_time_and_one_of_each_source_in_turn() {
        let (mut logins, now) = (Logins::new(), Instant::now());
        for (key, from) in [(1, 1), (2, 1), (3, 2), (4, 3)] {
            assert!(logins.ask(key, host(from)));
        }
        assert_eq!((logins.next(now), logins.next(now), logins.next(now)), (Some(1), Some(3), None));
        assert_eq!(logins.next_at(now), None);
        assert_eq!(logins.ended(1, Some(true), now), Duration::ZERO);
        assert_eq!(logins.next_at(now), Some(now));
        assert_eq!(logins.next(now), Some(2));
        logins.ended(3, Some(true), now);
        assert_eq!(logins.next(now), Some(4));
    }

    #[test]
    fn who_failed_waits_and_nobody_waits_for_that() {
        let (mut logins, now) = (Logins::new(), Instant::now());
        for (key, from) in [(1, 1), (2, 1), (3, 2)] {
            logins.ask(key, host(from));
        }
        assert_eq!((logins.next(now), logins.next(now)), (Some(1), Some(3)));
        logins.ended(3, None, now);
        let delay = logins.ended(1, Some(false), now);
        assert!(delay > Duration::ZERO);
        assert_eq!((logins.next(now), logins.next_at(now)), (None, Some(now + delay)));
        logins.ask(4, host(2));
        assert_eq!(logins.next(now), Some(4), "what was not found out is no failure");
        assert_eq!(logins.next(now + delay), Some(2));
    }

    #[test]
    fn who_hangs_up_before_the_answer_has_failed_all_the_same() {
        let (mut logins, now) = (Logins::new(), Instant::now());
        logins.ask(1, host(1));
        logins.ask(2, host(1));
        assert_eq!(logins.next(now), Some(1));
        logins.gone(1);
        logins.gone(2);
        assert_eq!(logins.next_at(now), None);
        let delay = logins.ended(1, Some(false), now);
        logins.ask(3, host(1));
        assert_eq!(logins.next_at(now), Some(now + delay));
        assert_eq!(logins.ended(7, Some(false), now), Duration::ZERO);
    }

    #[test]
    fn what_waits_is_bounded_in_all_and_of_each_source() {
        let mut logins = Logins::new();
        let asked = (0..100).filter(|key| logins.ask(*key, host(1))).count();
        assert_eq!(asked, MOST_WAITING_OF_SOURCE);
        for from in 2..=200 {
            for key in 0..MOST_WAITING_OF_SOURCE {
                logins.ask(1000 * i32::from(from) + key as i32, host(from));
            }
        }
        assert_eq!(logins.waiting.len(), MOST_WAITING);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Ask(u8),
        Ended(Option<bool>),
        Gone,
        Passed(Duration),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0..4u8).prop_map(Step::Ask),
            3 => any::<Option<bool>>().prop_map(Step::Ended),
            1 => Just(Step::Gone),
            2 => (0..5000u64).prop_map(|millis| Step::Passed(Duration::from_millis(millis))),
        ];
        prop::collection::vec(step, 0..80)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        /// Nobody is checked before its time, no source twice at once, and all who stay are checked
        /// in the end.
        #[test]
        fn everybody_is_checked_in_time(steps in steps()) {
            let (mut logins, mut now, mut keys) = (Logins::new(), Instant::now(), 0u32);
            let mut waiting: Vec<(u32, u8)> = Vec::new();
            let mut under_way: Vec<(u32, u8)> = Vec::new();
            // When each host may try again.
            let mut ready = [now; 4];
            let finish = (0..200).map(|_| Step::Ended(Some(true))).flat_map(|step| [step, Step::Passed(Duration::from_secs(64))]);
            for step in steps.into_iter().chain(finish) {
                match step {
                    Step::Ask(from) => {
                        keys += 1;
                        if logins.ask(keys, host(from)) {
                            waiting.push((keys, from));
                        }
                    }
                    Step::Ended(is_right) if !under_way.is_empty() => {
                        let (key, from) = under_way.remove(0);
                        let delay = logins.ended(key, is_right, now);
                        prop_assert_eq!(delay > Duration::ZERO, is_right == Some(false));
                        if is_right.is_some() {
                            ready[usize::from(from)] = now + delay;
                        }
                    }
                    Step::Gone if !waiting.is_empty() => logins.gone(waiting.remove(0).0),
                    Step::Ended(_) | Step::Gone => {}
                    Step::Passed(time) => now += time,
                }
                let due = logins.next_at(now);
                let mut given = 0;
                while let Some(key) = logins.next(now) {
                    given += 1;
                    let at = waiting.iter().position(|(other, _)| *other == key).unwrap();
                    let (key, from) = waiting.remove(at);
                    prop_assert!(ready[usize::from(from)] <= now, "too early");
                    prop_assert!(under_way.iter().all(|(_, other)| *other != from), "two of one source");
                    under_way.push((key, from));
                }
                prop_assert_eq!(due.is_some_and(|due| due <= now), given > 0, "told of in time");
                prop_assert!(under_way.len() <= MOST_UNDER_WAY);
            }
            prop_assert!(waiting.is_empty() && under_way.is_empty());
        }
    }
}
