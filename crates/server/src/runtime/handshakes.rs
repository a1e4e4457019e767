//! Handshakes that go on: how many there may be, and how long each may take.
//!
//! A client that does not finish one costs a descriptor and some memory, and knows no secret that would tell it from an
//! honest one on a slow line. So nobody is turned away: where there are too many, the oldest gives way, first of all those
//! of an address that has a good part of them.

use std::{
    collections::{BTreeMap, HashMap, VecDeque, hash_map::Entry},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use mio::Token;

use super::connections::{handshake_number, handshake_token};
use crate::access::source;

/// The time that a handshake may take: two round trips by satellite, and a machine that is busy.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// An address that has more than so small a part of all handshakes makes room for its own.
const PARTS: usize = 4;

/// One handshake, over an endpoint `E`.
#[derive(Debug)]
pub(super) struct Handshake<E> {
    pub(super) endpoint: E,
    pub(super) peer: SocketAddr,
    until: Instant,
    queued: bool,
}

/// The handshakes that go on, by number, in the order in which they began.
#[derive(Debug)]
pub(super) struct Handshakes<E> {
    most: usize,
    /// The number of the one that begins next.
    next: u64,
    going: BTreeMap<u64, Handshake<E>>,
    by_source: HashMap<IpAddr, usize>,
    /// Those that may get on.
    queue: VecDeque<Token>,
}

impl<E> Handshakes<E> {
    /// Returns none, of which there may be `most`.
    pub(super) fn new(most: usize) -> Handshakes<E> {
        let (going, by_source, queue) = (BTreeMap::new(), HashMap::new(), VecDeque::new());
        Handshakes { most: most.max(1), next: 0, going, by_source, queue }
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
        let mut those = self.going.iter().filter(|(_, handshake)| !has_many || source(handshake.peer.ip()) == here);
        those.next().map(|(number, _)| handshake_token(*number))
    }

    /// Returns the token of the handshake that [begins](Self::begin) next.
    pub(super) fn next_token(&self) -> Token {
        handshake_token(self.next)
    }

    /// Begins a handshake.
    pub(super) fn begin(&mut self, endpoint: E, peer: SocketAddr, now: Instant) {
        *self.by_source.entry(source(peer.ip())).or_default() += 1;
        self.going.insert(self.next, Handshake { endpoint, peer, until: now + HANDSHAKE_TIME, queued: false });
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
        if let Entry::Occupied(mut count) = self.by_source.entry(source(handshake.peer.ip())) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        Some(handshake)
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

    /// Returns when the oldest has taken too long.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.going.values().next().map(|handshake| handshake.until)
    }

    /// Returns the oldest if it has taken too long.
    pub(super) fn expired(&self, now: Instant) -> Option<Token> {
        let (number, handshake) = self.going.first_key_value()?;
        (handshake.until <= now).then(|| handshake_token(*number))
    }

    /// Ends all of them.
    pub(super) fn end_all(&mut self) {
        self.going.clear();
        self.by_source.clear();
        self.queue.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(number: u8) -> SocketAddr {
        ([10, 0, 0, number], 1).into()
    }

    fn begin(handshakes: &mut Handshakes<()>, number: u8, now: Instant) -> Token {
        let token = handshakes.next_token();
        handshakes.begin((), from(number), now);
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
        assert!(handshakes.by_source.is_empty() && handshakes.going.is_empty());
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
    fn tokens_are_found_again_after_four_billion() {
        let (mut handshakes, now) = (Handshakes::new(8), Instant::now());
        handshakes.next = u64::from(u32::MAX) - 1;
        let tokens: Vec<Token> = (0..4).map(|number| begin(&mut handshakes, number, now)).collect();
        for (number, token) in (0..4).zip(&tokens) {
            assert_eq!(handshakes.get(*token).unwrap().peer, from(number));
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
