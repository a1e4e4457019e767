//! Handshakes that go on: how many there may be, and how long each may take.
//!
//! One begins with the header of a proxy, where the peer is one, and goes on with TLS, where that is spoken. Until the
//! header has come it counts for the proxy, then for the client: who stalls displaces others of their own address, and
//! takes no place of the proxy's.
//!
//! A client that does not finish one costs a descriptor and some memory, and knows no secret that would tell it from an
//! honest one on a slow line. So nobody is turned away: where there are too many, the oldest gives way, first of all those
//! of an address that has a good part of them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque, hash_map::Entry},
    net::IpAddr,
    time::{Duration, Instant},
};

use mio::Token;

use super::{
    arrivals::Caller,
    connections::{handshake_number, handshake_token},
};
use crate::access::source;

/// The time that a handshake may take: two round trips by satellite, and a machine that is busy.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// An address that has more than so small a part of all handshakes makes room for its own.
const PARTS: usize = 4;

/// One handshake, over an endpoint `E`.
#[derive(Debug)]
pub(super) struct Handshake<E> {
    pub(super) endpoint: E,
    pub(super) caller: Caller,
    /// The header of a proxy is to come before anything else.
    pub(super) awaits_header: bool,
    until: Instant,
    queued: bool,
}

impl<E> Handshake<E> {
    fn source(&self) -> IpAddr {
        source(self.caller.peer.ip())
    }
}

/// The handshakes that go on, by number, in the order in which they began.
#[derive(Debug)]
pub(super) struct Handshakes<E> {
    most: usize,
    /// The number of the one that begins next.
    next: u64,
    going: BTreeMap<u64, Handshake<E>>,
    by_source: HashMap<IpAddr, usize>,
    /// When each has taken too long, with its number.
    deadlines: BTreeSet<(Instant, u64)>,
    /// Those that may get on.
    queue: VecDeque<Token>,
}

impl<E> Handshakes<E> {
    /// Returns none, of which there may be `most`.
    pub(super) fn new(most: usize) -> Handshakes<E> {
        let (going, by_source) = (BTreeMap::new(), HashMap::new());
        let (deadlines, queue) = (BTreeSet::new(), VecDeque::new());
        Handshakes { most: most.max(1), next: 0, going, by_source, deadlines, queue }
    }

    /// Sets the highest number of handshakes from here on. Those that go on stay.
    pub(super) fn set_most(&mut self, most: usize) {
        self.most = most.max(1);
    }

    /// Returns whose handshake is to end before another one can begin, that of somebody from `address`; [`None`] where there is
    /// room.
    pub(super) fn gives_way(&self, address: IpAddr) -> Option<Token> {
        if self.going.len() < self.most {
            return None;
        }
        let here = source(address);
        let has_many = self.by_source.get(&here).is_some_and(|count| *count > self.most / PARTS);
        let mut those = self.going.iter().filter(|(_, handshake)| !has_many || handshake.source() == here);
        those.next().map(|(number, _)| handshake_token(*number))
    }

    /// Returns the token of the handshake that [begins](Self::begin) next.
    pub(super) fn next_token(&self) -> Token {
        handshake_token(self.next)
    }

    /// Begins a handshake: with the header of a proxy, which may take the time `header`, or else with TLS.
    pub(super) fn begin(&mut self, endpoint: E, caller: Caller, header: Option<Duration>, now: Instant) {
        let until = now + header.unwrap_or(HANDSHAKE_TIME);
        let handshake = Handshake { endpoint, caller, awaits_header: header.is_some(), until, queued: false };
        *self.by_source.entry(handshake.source()).or_default() += 1;
        self.deadlines.insert((until, self.next));
        self.going.insert(self.next, handshake);
        self.next += 1;
        debug_assert!(self.going.len() <= self.most, "more handshakes than there may be");
    }

    /// Returns the handshake of `token`; [`None`] where it has ended.
    pub(super) fn get(&mut self, token: Token) -> Option<&mut Handshake<E>> {
        let number = self.number(token)?;
        self.going.get_mut(&number)
    }

    /// Takes the handshake of `token` out: it has ended, however it did.
    pub(super) fn end(&mut self, token: Token) -> Option<Handshake<E>> {
        let number = self.number(token)?;
        let handshake = self.going.remove(&number)?;
        self.deadlines.remove(&(handshake.until, number));
        self.count_no_more(handshake.source());
        Some(handshake)
    }

    /// Notes that the header of a proxy has come: the handshake of `token` is the client's from here on.
    pub(super) fn introduce(&mut self, token: Token, client: Caller, now: Instant) {
        let Some(number) = self.number(token) else { return };
        let Some(handshake) = self.going.get_mut(&number) else { return };
        let (proxy, until) = (handshake.source(), now + HANDSHAKE_TIME);
        self.deadlines.remove(&(handshake.until, number));
        self.deadlines.insert((until, number));
        (handshake.caller, handshake.awaits_header, handshake.until) = (client, false, until);
        *self.by_source.entry(handshake.source()).or_default() += 1;
        self.count_no_more(proxy);
    }

    fn count_no_more(&mut self, source: IpAddr) {
        if let Entry::Occupied(mut count) = self.by_source.entry(source) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    /// Returns the number of a handshake, from what its token holds of it: of those that there may be, one alone fits.
    fn number(&self, token: Token) -> Option<u64> {
        let low = handshake_number(token)?;
        self.next.checked_sub(u64::from((self.next as u32).wrapping_sub(low)))
    }

    /// Notes that the handshake of `token` may get on.
    pub(super) fn queue(&mut self, token: Token) {
        if let Some(handshake) = self.get(token)
            && !std::mem::replace(&mut handshake.queued, true)
        {
            self.queue.push_back(token);
        }
    }

    /// Returns how many go on.
    pub(super) fn len(&self) -> usize {
        self.going.len()
    }

    /// Returns whether some may get on.
    pub(super) fn has_queued(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Returns the next one that may get on.
    pub(super) fn next_queued(&mut self) -> Option<Token> {
        while let Some(token) = self.queue.pop_front() {
            if let Some(handshake) = self.get(token) {
                handshake.queued = false;
                return Some(token);
            }
        }
        None
    }

    /// Returns when the next one has taken too long.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.deadlines.first().map(|(until, _)| *until)
    }

    /// Returns one that has taken too long, if there is one.
    pub(super) fn expired(&self, now: Instant) -> Option<Token> {
        let (until, number) = self.deadlines.first()?;
        (*until <= now).then(|| handshake_token(*number))
    }

    /// Ends all of them.
    pub(super) fn end_all(&mut self) {
        self.going.clear();
        self.by_source.clear();
        self.deadlines.clear();
        self.queue.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::net::{Entrance, Service};

    const SECURE: Entrance = Entrance { service: Service::Ferry, is_secure: true };

    fn from(number: u8) -> SocketAddr {
        ([10, 0, 0, number], 1).into()
    }

    fn begin(handshakes: &mut Handshakes<()>, number: u8, now: Instant) -> Token {
        let token = handshakes.next_token();
        handshakes.begin((), Caller::direct(from(number), SECURE), None, now);
        token
    }

    #[test]
    fn a_flood_of_one_address_displaces_its_own() {
        let (mut handshakes, now) = (Handshakes::new(8), Instant::now());
        let honest = begin(&mut handshakes, 1, now);
        for _ in 0..1000 {
            if let Some(token) = handshakes.gives_way(from(2).ip()) {
                assert_ne!(token, honest, "the honest one gave way");
                handshakes.end(token).unwrap();
            }
            begin(&mut handshakes, 2, now);
            assert!(handshakes.going.len() <= 8);
        }
        assert_eq!(handshakes.gives_way(from(3).ip()), Some(honest), "of many addresses the oldest");
        assert!(
            handshakes.end(honest).is_some() && handshakes.end(honest).is_none() && handshakes.get(honest).is_none()
        );
        assert_eq!(handshakes.gives_way(from(3).ip()), None);
        while let Some(token) = handshakes.expired(now + HANDSHAKE_TIME) {
            handshakes.end(token).unwrap();
        }
        assert!(handshakes.by_source.is_empty() && handshakes.going.is_empty() && handshakes.deadlines.is_empty());
    }

    #[test]
    fn each_has_its_time() {
        let (mut handshakes, now) = (Handshakes::new(8), Instant::now());
        assert_eq!(handshakes.next_at(), None);
        let first = begin(&mut handshakes, 1, now);
        begin(&mut handshakes, 1, now + Duration::from_secs(1));
        assert_eq!(handshakes.next_at(), Some(now + HANDSHAKE_TIME));
        assert_eq!(handshakes.expired(now), None);
        assert_eq!(handshakes.expired(now + HANDSHAKE_TIME), Some(first));
        handshakes.end(first);
        assert_eq!(handshakes.expired(now + HANDSHAKE_TIME), None);
    }

    #[test]
    fn whom_a_proxy_connects_counts_for_the_client_once_the_header_has_come() {
        let (mut handshakes, now) = (Handshakes::new(8), Instant::now());
        let (proxy, time) = (Caller::direct(from(1), SECURE), Duration::from_secs(60));
        let begin = |handshakes: &mut Handshakes<()>, client: Option<u8>| {
            if let Some(token) = handshakes.gives_way(proxy.peer.ip()) {
                handshakes.end(token).unwrap();
            }
            let token = handshakes.next_token();
            handshakes.begin((), proxy, Some(time), now);
            assert!(handshakes.get(token).unwrap().awaits_header);
            if let Some(client) = client {
                handshakes.introduce(token, Caller::direct(from(client), SECURE), now);
                assert!(!handshakes.get(token).unwrap().awaits_header);
            }
            token
        };
        let honest = begin(&mut handshakes, Some(2));
        let stalled = begin(&mut handshakes, None);
        assert_eq!(handshakes.next_at(), Some(now + HANDSHAKE_TIME), "its time begins anew");
        assert_eq!(handshakes.by_source, HashMap::from([(from(1).ip(), 1), (from(2).ip(), 1)]));
        for _ in 0..1000 {
            begin(&mut handshakes, None);
        }
        assert!(handshakes.get(stalled).is_none(), "headers that don't come displace each other");
        assert!(handshakes.get(honest).is_some(), "and nobody whose header has come");
        while let Some(token) = handshakes.expired(now + time) {
            handshakes.end(token).unwrap();
        }
        assert!(handshakes.by_source.is_empty() && handshakes.going.is_empty() && handshakes.deadlines.is_empty());
    }

    #[test]
    fn tokens_are_found_again_after_four_billion() {
        let (mut handshakes, now) = (Handshakes::new(8), Instant::now());
        handshakes.next = u64::from(u32::MAX) - 1;
        let tokens: Vec<Token> = (0..4).map(|number| begin(&mut handshakes, number, now)).collect();
        for (number, token) in (0..4).zip(&tokens) {
            assert_eq!(handshakes.get(*token).unwrap().caller.peer, from(number));
        }
        assert!(handshakes.get(handshakes.next_token()).is_none() && handshakes.get(Token(7)).is_none());
        handshakes.queue(tokens[1]);
        handshakes.queue(tokens[1]);
        handshakes.queue(tokens[2]);
        handshakes.end(tokens[1]);
        assert_eq!((handshakes.next_queued(), handshakes.next_queued()), (Some(tokens[2]), None));
    }

    #[test]
    fn networks_of_64_bits_count_as_one() {
        let [a, b, c] =
            ["2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1"].map(|text| source(text.parse().unwrap()));
        assert!(a == b && a != c);
        assert_eq!(source("::ffff:10.0.0.1".parse().unwrap()), from(1).ip());
    }
}
