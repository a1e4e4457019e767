//! Crowds of clients, held to rates.

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

    /// Lets all clients move that may, until `seconds` have passed or nobody has anything left.
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
        crowd.rates.forget(Token(1), crowd.now);
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
    let Rates { lines, resting, .. } = &crowd.rates;
    assert!(lines[0].len() + lines[1].len() + resting.len() == 50 && !resting.is_empty());
    (0..50).for_each(|client| crowd.rates.forget(Token(client), crowd.now));
    crowd.is_left_empty();
    assert!(!Rates::new(None, None, crowd.now).are_limiting(Token(0)) && crowd.rates.are_limiting(Token(0)));
}

fn user(name: &str) -> UserName {
    UserName::new(name).unwrap()
}

impl Crowd {
    fn joins(&mut self, clients: std::ops::Range<usize>, name: &str, rate: Option<u64>) {
        clients.for_each(|client| self.rates.join(Token(client), &user(name), rate, self.now));
    }

    fn all_ask_for_much(&mut self) {
        (0..self.due.len()).for_each(|client| self.asks(client, u64::MAX / 4));
    }

    /// Returns what these clients move in `seconds`.
    fn share(&mut self, clients: std::ops::Range<usize>, seconds: f64) -> u64 {
        let before: u64 = self.moved[clients.clone()].iter().sum();
        self.goes_on_for(seconds);
        self.moved[clients].iter().sum::<u64>() - before
    }

    fn is_left_empty(&mut self) {
        assert_eq!((self.rates.in_line(self.now), self.rates.resting.len(), self.rates.flows.len()), (0, 0, 0));
        assert!(!self.rates.has_waiting() && self.rates.next_at(self.now).is_none());
        assert!(self.rates.accounts.iter().all(|(_, account)| account.clients == 0 && account.user.is_some()));
    }
}

#[test]
fn a_user_has_one_rate_however_many_clients_and_they_share_it_equally() {
    for clients in [1, 3, 40] {
        let mut crowd = Crowd::new(None, None, clients + 1);
        crowd.joins(0..clients, "alice", Some(100_000));
        assert!(crowd.rates.are_limiting(Token(0)) && !crowd.rates.are_limiting(Token(clients)));
        (0..clients).for_each(|client| crowd.asks(client, u64::MAX / 4));
        crowd.goes_on_for(20.0);
        assert!((1_990_000..=2_020_000).contains(&crowd.total()), "{} bytes in 20 s", crowd.total());
        let fair = crowd.total() / clients as u64;
        for moved in &crowd.moved[..clients] {
            assert!(moved.abs_diff(fair) <= 5_000 + 4_096, "{moved} of {fair}");
        }
    }
}

#[test]
fn a_rate_of_ones_own_stands_in_the_place_of_that_of_a_client() {
    let mut crowd = Crowd::new(Some(10_000), None, 4);
    crowd.joins(0..1, "alice", Some(50_000));
    crowd.joins(1..3, "bob", None);
    crowd.all_ask_for_much();
    crowd.goes_on_for(20.0);
    let per_second = |bytes: u64| (bytes as f64 / 20.0 / 1_000.0).round() as u64;
    assert_eq!(per_second(crowd.moved[0]), 50);
    assert_eq!(per_second(crowd.moved[1] + crowd.moved[2]), 10, "what a client may move is all that a user may");
    assert_eq!(per_second(crowd.moved[3]), 10);
}

#[test]
fn users_and_clients_without_a_user_have_equal_shares_of_the_total() {
    let mut crowd = Crowd::new(None, Some(MEGABYTE), 12);
    crowd.joins(0..10, "alice", None);
    crowd.joins(10..11, "bob", Some(100_000));
    crowd.all_ask_for_much();
    crowd.goes_on_for(1.0);
    let before = crowd.moved.clone();
    crowd.goes_on_for(20.0);
    let moved = |clients: std::ops::Range<usize>| -> u64 {
        clients.map(|client| crowd.moved[client] - before[client]).sum::<u64>() / 20_000
    };
    let (alice, bob, stranger) = (moved(0..10), moved(10..11), moved(11..12));
    assert!((435..=465).contains(&alice) && (90..=103).contains(&bob), "{alice} and {bob} kB/s");
    assert!((435..=465).contains(&stranger), "{stranger} kB/s");
}

#[test]
fn who_comes_again_and_again_has_no_more_of_a_users_rate() {
    let mut crowd = Crowd::new(None, None, 1);
    let mut moved = 0;
    while crowd.seconds() < 10.0 {
        crowd.joins(0..1, "alice", Some(100_000));
        crowd.due[0] = 0;
        crowd.asks(0, 4_000);
        moved += crowd.share(0..1, 0.01);
        crowd.rates.forget(Token(0), crowd.now);
    }
    assert!((980_000..=1_020_000).contains(&moved), "{moved} bytes in 10 s");
    crowd.is_left_empty();
    crowd.rates.set(None, None, crowd.now);
    assert!(crowd.rates.accounts.is_empty() && crowd.rates.users.is_empty());
}

#[test]
fn another_rate_holds_at_once_for_who_waits() {
    let mut crowd = Crowd::new(None, None, 2);
    crowd.joins(0..2, "alice", Some(1_000_000));
    crowd.all_ask_for_much();
    crowd.goes_on_for(1.0);
    for rate in [10_000, 300_000, 1_000] {
        crowd.joins(0..2, "alice", Some(rate));
        let moved = crowd.share(0..2, 4.0);
        assert!(moved.abs_diff(4 * rate) <= 2_000 + rate * 4 / 25, "{moved} bytes in 4 s at {rate}");
    }
    // The same for the rates of the server.
    crowd.rates.set(Some(5_000), None, crowd.now);
    crowd.joins(0..2, "alice", None);
    assert!(crowd.share(0..2, 10.0).abs_diff(50_000) <= 2_000);
    crowd.rates.set(None, Some(20_000), crowd.now);
    crowd.joins(0..2, "alice", None);
    assert!(crowd.share(0..2, 10.0).abs_diff(200_000) <= 6_000);
    // Once there is no rate any more, waiting clients go on.
    crowd.rates.set(None, None, crowd.now);
    crowd.joins(0..2, "alice", None);
    assert!(!crowd.rates.are_limiting(Token(0)));
    for _ in 0..2 {
        let grant = crowd.rates.next(crowd.now).unwrap();
        crowd.rates.charge(&grant, grant.bytes, crowd.now);
    }
    assert!(!crowd.rates.has_waiting());
}

/// What it could not move before counts by the rate that held then, of which nothing is left.
#[test]
fn a_higher_rate_is_no_gift_to_who_stood_in_line_before() {
    for user in [None, Some("alice")] {
        let mut crowd = Crowd::new(Some(100_000), None, 1);
        if let Some(name) = user {
            crowd.joins(0..1, name, None);
        }
        crowd.all_ask_for_much();
        crowd.goes_on_for(1.0);
        crowd.now += Duration::from_secs(1);
        assert_eq!(crowd.rates.in_line(crowd.now), 1);
        crowd.now += Duration::from_secs(2);
        crowd.rates.set(Some(1_000_000), None, crowd.now);
        if let Some(name) = user {
            crowd.joins(0..1, name, None);
        }
        let grant = crowd.rates.next(crowd.now).unwrap();
        assert!(grant.bytes <= 50_000, "{grant:?}");
        crowd.rates.charge(&grant, grant.bytes, crowd.now);
    }
}

#[test]
fn a_client_that_waits_takes_its_place_along_to_another_user() {
    let mut crowd = Crowd::new(None, Some(MEGABYTE), 6);
    crowd.joins(0..3, "alice", Some(1_000));
    crowd.all_ask_for_much();
    crowd.goes_on_for(2.0);
    crowd.joins(1..2, "bob", None);
    let moved = crowd.share(1..2, 4.0);
    assert!((850_000..=1_150_000).contains(&moved), "{moved} bytes in 4 s");
    (0..6).for_each(|client| crowd.rates.forget(Token(client), crowd.now));
    crowd.is_left_empty();
}

#[test]
fn a_small_request_of_a_user_does_not_wait_for_the_downloads_of_the_others() {
    let mut crowd = Crowd::new(None, Some(MEGABYTE), 402);
    crowd.joins(0..2, "alice", None);
    crowd.asks(0, u64::MAX / 4);
    (2..402).for_each(|client| crowd.asks(client, u64::MAX / 4));
    crowd.goes_on_for(30.0);
    let waited = crowd.waits(1, 300);
    assert!(waited <= 0.2, "a small request took {waited} s");
}
