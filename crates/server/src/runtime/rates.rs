//! Holds transfers to rates: each client to its own, and all of them together to a common one.
//!
//! # Order of calls
//!
//! A client that has something to move [waits](Rates::wait). [`next`](Rates::next) grants one of them some bytes, which
//! are [charged](Rates::charge) once they have moved, before the next grant. So no rate is exceeded by more than one
//! grant, however many clients there are. A client that is gone is [forgotten](Rates::forget).
//!
//! # Who is next
//!
//! Round robin, in order of arrival. But clients that move little, that is new ones and those with small requests, go
//! before the rest, as long as that takes no more than half of the common rate. So a greeting does not wait for a round
//! of downloads, and a client that reconnects again and again does not stop them.

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use mio::Token;

use super::budget::TURN_BYTES;
use crate::bucket::Bucket;

/// The time for which a rate may be saved up while nothing moves: enough to be smooth, too little to be felt as a
/// burst.
const SAVES: Duration = Duration::from_millis(100);

/// Grants of a rate in a second, so that a debt is short. Fast rates have more: a grant fits a turn.
const GRANTS_PER_SECOND: u64 = 20;

/// A client is light while it moves no more than this in a second, and no more than so small a part of the common rate,
/// once it has used up what it may save up of it: a greeting and a small file. Far below the share that each has of a
/// rate, so that nobody has more by moving less.
const LIGHT_BYTES_PER_SECOND: u64 = 1 << 10;
const LIGHT_PARTS: u64 = 1_000;
const LIGHT_SAVES: Duration = Duration::from_secs(4);

/// The bytes that a light client is granted at once: each waits for all that are there before it.
const LIGHT_GRANT_BYTES: u64 = 1 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Light,
    Heavy,
}

/// Where a client stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It has nothing to move, or moves what it was granted.
    Away,
    /// It waits for its own rate until then.
    Resting(Instant),
    /// It waits for the common one, since that arrival.
    Waiting(Line, u64),
}

#[derive(Debug)]
struct Flow {
    own: Option<Bucket>,
    /// Empty while the client is a heavy one.
    light: Bucket,
    place: Place,
    /// When it began to wait.
    since: Instant,
}

/// The permission of a client to move bytes now. It is to be [charged](Rates::charge).
#[derive(Debug, PartialEq, Eq)]
#[must_use = "it has to be charged"]
pub struct Grant {
    /// The client.
    pub client: Token,
    /// How many bytes: at least one.
    pub bytes: u64,
    /// How long it waited.
    pub waited: Duration,
    /// It went before others that came earlier.
    goes_before: bool,
}

/// See the [module documentation](self).
#[derive(Debug)]
pub struct Rates {
    client_rate: Option<u64>,
    common: Option<Common>,
    flows: HashMap<Token, Flow>,
    light: BTreeSet<(u64, Token)>,
    heavy: BTreeSet<(u64, Token)>,
    resting: BTreeSet<(Instant, Token)>,
    arrivals: u64,
    /// Whose grant was not charged yet.
    granted: Option<Token>,
}

/// The rate of all clients together.
#[derive(Debug)]
struct Common {
    total: Bucket,
    /// The part of it for clients that go before the rest.
    before: Bucket,
}

impl Rates {
    /// Returns rates in bytes a second, both ways together, of one client and of all.
    #[must_use]
    pub fn new(client_rate: Option<u64>, total_rate: Option<u64>, now: Instant) -> Rates {
        Rates {
            client_rate,
            common: total_rate
                .map(|rate| Common { total: Bucket::new(rate, SAVES, now), before: Bucket::new(rate / 2, SAVES, now) }),
            flows: HashMap::new(),
            light: BTreeSet::new(),
            heavy: BTreeSet::new(),
            resting: BTreeSet::new(),
            arrivals: 0,
            granted: None,
        }
    }

    /// Returns whether there is any rate: else no client need wait.
    pub(super) fn are_limited(&self) -> bool {
        self.client_rate.is_some() || self.common.is_some()
    }

    /// Has `client`, which has something to move, wait for a grant. One that waits already keeps its place.
    pub(super) fn wait(&mut self, client: Token, now: Instant) {
        let own = || self.client_rate.map(|rate| Bucket::new(rate, SAVES, now));
        let part = self.common.as_ref().map_or(u64::MAX, |common| common.total.in_part_of_second(LIGHT_PARTS));
        let flow = self.flows.entry(client).or_insert_with(|| Flow {
            own: own(),
            light: Bucket::new(LIGHT_BYTES_PER_SECOND.min(part), LIGHT_SAVES, now),
            place: Place::Away,
            since: now,
        });
        if flow.place != Place::Away {
            return;
        }
        flow.since = now;
        match flow.own.as_mut().and_then(|own| own.ready_at(now)) {
            Some(at) => {
                flow.place = Place::Resting(at);
                self.resting.insert((at, client));
            }
            None => self.stand_in_line(client, now),
        }
    }

    fn stand_in_line(&mut self, client: Token, now: Instant) {
        let Some(flow) = self.flows.get_mut(&client) else { return };
        let line = if flow.light.ready_at(now).is_none() { Line::Light } else { Line::Heavy };
        flow.place = Place::Waiting(line, self.arrivals);
        let queue = match line {
            Line::Light => &mut self.light,
            Line::Heavy => &mut self.heavy,
        };
        queue.insert((self.arrivals, client));
        self.arrivals += 1;
    }

    fn call_rested(&mut self, now: Instant) {
        while let Some(&(at, client)) = self.resting.first()
            && at <= now
        {
            self.resting.pop_first();
            self.stand_in_line(client, now);
        }
    }

    /// Returns the next grant, if any client may move bytes now.
    ///
    /// # Panics
    ///
    /// Where the last one was not charged: several grants could then be in debt at once.
    pub(super) fn next(&mut self, now: Instant) -> Option<Grant> {
        assert_eq!(self.granted, None, "a grant was not charged");
        self.call_rested(now);
        let mut before_is_used_up = false;
        if let Some(Common { total, before }) = &mut self.common {
            if total.ready_at(now).is_some() {
                return None;
            }
            before_is_used_up = before.ready_at(now).is_some();
        }
        let (light, heavy) = (self.light.first().copied(), self.heavy.first().copied());
        let (line, before) = match (light, heavy) {
            (None, None) => return None,
            (Some(_), None) => (Line::Light, false),
            (None, Some(_)) => (Line::Heavy, false),
            (Some(_), Some(_)) if !before_is_used_up => (Line::Light, true),
            (light, heavy) => (if light < heavy { Line::Light } else { Line::Heavy }, false),
        };
        let (_, client) = match line {
            Line::Light => self.light.pop_first(),
            Line::Heavy => self.heavy.pop_first(),
        }?;
        let flow = self.flows.get_mut(&client)?;
        flow.place = Place::Away;
        self.granted = Some(client);
        let most = if line == Line::Light { LIGHT_GRANT_BYTES } else { TURN_BYTES };
        let buckets = self.common.iter().map(|common| &common.total).chain(&flow.own);
        let bytes = buckets.map(|bucket| bucket.in_part_of_second(GRANTS_PER_SECOND)).fold(most, u64::min).max(1);
        let waited = now.saturating_duration_since(flow.since);
        Some(Grant { client, bytes, waited, goes_before: before })
    }

    /// Charges the bytes that were moved of `grant`.
    ///
    /// # Panics
    ///
    /// Where it moved more: a debt is at most one grant.
    pub(super) fn charge(&mut self, grant: &Grant, moved: u64, now: Instant) {
        assert!(moved <= grant.bytes, "{moved} bytes were moved of {}", grant.bytes);
        self.granted = None;
        let Some(flow) = self.flows.get_mut(&grant.client) else { return };
        if let Some(common) = &mut self.common {
            common.total.take(moved, now);
            if grant.goes_before {
                common.before.take(moved, now);
            }
        }
        if let Some(own) = &mut flow.own {
            own.take(moved, now);
        }
        flow.light.take(moved, now);
        // One that moved much is no heavy one for ever.
        flow.light.limit_debt();
    }

    /// Returns when [`next`](Self::next) has somebody, if nothing happens before.
    pub(super) fn next_at(&mut self, now: Instant) -> Option<Instant> {
        let in_line = (self.in_line(now) > 0)
            .then(|| self.common.as_mut().and_then(|common| common.total.ready_at(now)).unwrap_or(now));
        let resting = self.resting.first().map(|(at, _)| *at);
        in_line.into_iter().chain(resting).min()
    }

    /// Returns how many clients wait for nothing but the common rate.
    pub(super) fn in_line(&mut self, now: Instant) -> usize {
        self.call_rested(now);
        self.light.len() + self.heavy.len()
    }

    /// Forgets a client that is gone.
    pub(super) fn forget(&mut self, client: Token) {
        self.granted = self.granted.filter(|granted| *granted != client);
        match self.flows.remove(&client).map(|flow| flow.place) {
            None | Some(Place::Away) => {}
            Some(Place::Resting(at)) => drop(self.resting.remove(&(at, client))),
            Some(Place::Waiting(Line::Light, arrival)) => drop(self.light.remove(&(arrival, client))),
            Some(Place::Waiting(Line::Heavy, arrival)) => drop(self.heavy.remove(&(arrival, client))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clients that move what they are granted as soon as they are, on a clock of their own.
    struct Crowd {
        rates: Rates,
        start: Instant,
        now: Instant,
        /// Bytes that each still has to move, and has moved.
        due: Vec<u64>,
        moved: Vec<u64>,
        total_rate: Option<u64>,
    }

    const MEGABYTE: u64 = 1_000_000;

    impl Crowd {
        fn new(client_rate: Option<u64>, total_rate: Option<u64>, clients: usize) -> Crowd {
            let start = Instant::now();
            let rates = Rates::new(client_rate, total_rate, start);
            Crowd { rates, start, now: start, due: vec![0; clients], moved: vec![0; clients], total_rate }
        }

        fn asks(&mut self, client: usize, bytes: u64) {
            self.due[client] += bytes;
            self.rates.wait(Token(client), self.now);
        }

        fn seconds(&self) -> f64 {
            (self.now - self.start).as_secs_f64()
        }

        fn total(&self) -> u64 {
            self.moved.iter().sum()
        }

        /// Everybody who may moves, until `seconds` have passed or nobody has anything left.
        fn goes_on_for(&mut self, seconds: f64) {
            let end = self.now + Duration::from_secs_f64(seconds);
            loop {
                for _ in 0..self.rates.in_line(self.now) {
                    let Some(grant) = self.rates.next(self.now) else { break };
                    let client = grant.client;
                    let bytes = grant.bytes.min(self.due[client.0]);
                    self.moved[client.0] += bytes;
                    self.due[client.0] -= bytes;
                    self.rates.charge(&grant, bytes, self.now);
                    if self.due[client.0] > 0 {
                        self.rates.wait(client, self.now);
                    }
                    if let Some(rate) = self.total_rate {
                        // The bytes that were saved up, and a grant that is paid for later.
                        let allowed = rate as f64 * (self.seconds() + 0.1 + 0.05) + 1.0;
                        assert!(self.total() as f64 <= allowed, "{} of {allowed} bytes", self.total());
                    }
                }
                match self.rates.next_at(self.now) {
                    Some(at) if at < end => self.now = self.now.max(at),
                    Some(_) => break self.now = end,
                    None => break,
                }
            }
        }

        /// Returns how many seconds `client` waits until it has moved `bytes` bytes.
        fn waits(&mut self, client: usize, bytes: u64) -> f64 {
            let (before, moved) = (self.seconds(), self.moved[client]);
            self.asks(client, bytes);
            while self.moved[client] < moved + bytes {
                self.goes_on_for(0.01);
            }
            self.seconds() - before
        }
    }

    #[test]
    fn the_total_rate_holds_from_the_first_byte_on_however_many_come() {
        for clients in [1, 7, 2_000] {
            let mut crowd = Crowd::new(None, Some(MEGABYTE), clients);
            (0..clients).for_each(|client| crowd.asks(client, u64::MAX / 4));
            crowd.goes_on_for(2.0);
            assert!(crowd.total() <= 2_150_000, "{} bytes in 2 s", crowd.total());
            crowd.goes_on_for(8.0);
            assert!((9_800_000..=10_150_000).contains(&crowd.total()), "{} bytes in 10 s", crowd.total());
        }
    }

    #[test]
    fn those_who_wait_have_equal_shares_whatever_the_rates() {
        // A generator of the simplest kind is random enough for this.
        let mut seed = 1_u64;
        let mut dice = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        for _ in 0..40 {
            let clients = 1 + dice(40) as usize;
            let (total_bits, client_bits) = (10 + dice(14), 10 + dice(14));
            let total_rate = 10_000 + dice(1 << total_bits);
            let client_rate = (dice(2) == 0).then(|| 1_000 + dice(1 << client_bits));
            let mut crowd = Crowd::new(client_rate, Some(total_rate), clients);
            for client in 0..clients {
                crowd.goes_on_for(dice(100) as f64 / 1000.0);
                crowd.asks(client, u64::MAX / 4);
            }
            let before = crowd.moved.clone();
            let passed = 30.0;
            crowd.goes_on_for(passed);
            let shares: Vec<u64> = crowd.moved.iter().zip(&before).map(|(after, before)| after - before).collect();
            let fair = (total_rate / clients as u64).min(client_rate.unwrap_or(u64::MAX)) as f64 * passed;
            let grant = (total_rate / 20).min(TURN_BYTES) as f64;
            for share in shares {
                let off = (share as f64 - fair).abs();
                // A grant more or less, and what goes before the rest.
                assert!(
                    off <= fair * 0.05 + 2.0 * grant + 8192.0,
                    "{share} of {fair}: {clients} clients, {client_rate:?} of {total_rate}"
                );
            }
        }
    }

    #[test]
    fn newcomers_and_small_requests_wait_for_nobodys_round() {
        let mut crowd = Crowd::new(None, Some(MEGABYTE), 400);
        (0..200).for_each(|client| crowd.asks(client, u64::MAX / 4));
        crowd.goes_on_for(60.0);
        for newcomer in 200..400 {
            let waited = crowd.waits(newcomer, 20);
            assert!(waited <= 0.2, "a greeting took {waited} s");
        }
        // Again and again, and with what the others have moved meanwhile.
        for _ in 0..100 {
            crowd.goes_on_for(0.5);
            let waited = crowd.waits(399, 300);
            assert!(waited <= 0.2, "a small request took {waited} s");
        }
        // A client that was a heavy one is not so for ever.
        crowd.waits(300, 500_000);
        crowd.goes_on_for(10.0);
        let waited = crowd.waits(300, 300);
        assert!(waited <= 0.2, "a small request took {waited} s");
    }

    #[test]
    fn who_comes_again_and_again_as_a_newcomer_has_no_more_than_half() {
        let mut crowd = Crowd::new(None, Some(MEGABYTE), 2);
        crowd.asks(0, u64::MAX / 4);
        crowd.goes_on_for(1.0);
        let (before, end) = (crowd.moved[0], crowd.now + Duration::from_secs(10));
        while crowd.now < end {
            crowd.waits(1, 4_000);
            crowd.rates.forget(Token(1));
        }
        let had = crowd.moved[0] - before;
        assert!(had >= 4_900_000, "{had} bytes of 10 MB");
    }

    #[test]
    fn a_grant_says_how_long_it_was_waited_for() {
        let mut crowd = Crowd::new(Some(100), Some(100), 1);
        crowd.asks(0, 100);
        let grant = crowd.rates.next(crowd.now).unwrap();
        crowd.rates.charge(&grant, grant.bytes, crowd.now);
        crowd.rates.wait(Token(0), crowd.now);
        let later = crowd.now + Duration::from_secs(1);
        crowd.rates.wait(Token(0), later);
        assert_eq!((grant.waited, crowd.rates.next(later).unwrap().waited), (Duration::ZERO, Duration::from_secs(1)));
    }

    #[test]
    fn a_crowd_of_newcomers_does_not_starve_who_is_there() {
        let mut crowd = Crowd::new(None, Some(MEGABYTE), 5_001);
        crowd.asks(0, u64::MAX / 4);
        crowd.goes_on_for(10.0);
        let before = crowd.moved[0];
        (1..5_001).for_each(|client| crowd.asks(client, 4_000));
        crowd.goes_on_for(10.0);
        let (had, share) = (crowd.moved[0] - before, 10 * MEGABYTE / 5_001);
        assert!(had >= share, "{had} bytes where an equal share is {share}");
    }

    #[test]
    fn a_client_has_its_own_rate_and_no_others_wait_for_it() {
        let mut crowd = Crowd::new(Some(10_000), None, 3);
        (0..3).for_each(|client| crowd.asks(client, u64::MAX / 4));
        crowd.goes_on_for(20.0);
        for moved in &crowd.moved {
            assert!((199_000..=202_000).contains(moved), "{moved} bytes in 20 s");
        }
    }

    #[test]
    fn who_is_gone_leaves_nothing_behind() {
        let mut crowd = Crowd::new(Some(1_000), Some(100_000), 50);
        for client in 0..50 {
            crowd.asks(client, 1_000);
        }
        crowd.goes_on_for(0.3);
        let Rates { light, heavy, resting, .. } = &crowd.rates;
        assert!(light.len() + heavy.len() + resting.len() == 50 && !resting.is_empty());
        (0..50).for_each(|client| crowd.rates.forget(Token(client)));
        assert_eq!((crowd.rates.in_line(crowd.now), crowd.rates.resting.len(), crowd.rates.flows.len()), (0, 0, 0));
        assert_eq!(crowd.rates.next_at(crowd.now), None);
        assert!(!Rates::new(None, None, crowd.now).are_limited() && crowd.rates.are_limited());
    }
}
