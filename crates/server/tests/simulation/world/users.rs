//! Users of a world: connections count for them, and move at their rates. Logins are decided here,
//! without secrets.

use std::collections::BTreeMap;

use ferry_server::runtime::party::Party;
use ferry_wire::UserName;
use mio::Token;

use super::{World, granted::RateBook, guests::address_of};

/// The most clients of one user.
const MOST_CLIENTS: usize = 2;

/// The rates that a world holds its clients to, and the bytes moved since these were set.
pub(super) struct Books {
    client_rate: Option<u64>,
    total: RateBook,
    users: BTreeMap<UserName, (Option<u64>, RateBook)>,
}

impl World {
    /// Begins to hold clients to rates, from now on.
    pub(super) fn set_rates(&mut self, client_rate: Option<u64>, total: Option<u64>) {
        self.scheduler.set_rates(client_rate, total, self.now);
        let total = RateBook::new(total, self.now);
        let rates: Vec<Option<u64>> = (0..2).map(|_| *self.dice.pick(&[None, Some(3_000), Some(1_000_000)])).collect();
        let named = ["alice", "bob"].map(|name| UserName::new(name).unwrap()).into_iter().zip(rates);
        let book = |rate: Option<u64>| (rate, RateBook::new(rate.or(client_rate), self.now));
        let users = named.map(|(user, rate)| (user, book(rate))).collect();
        self.books = Some(Books { client_rate, total, users });
        let keys: Vec<usize> = self.conns.keys().copied().collect();
        keys.into_iter().for_each(|key| self.join(key));
    }

    /// Changes the rates of all clients.
    pub(super) fn rates_change(&mut self) {
        let [client_rate, total] = [50_000, 100_000].map(|rate| self.dice.happens(500).then_some(rate));
        self.set_rates(client_rate, total);
    }

    /// Puts a connection into the account of its user.
    fn join(&mut self, key: usize) {
        let Some(books) = &self.books else { return };
        if let Some(user) = self.conns.get(&key).and_then(|conn| conn.user.as_ref()) {
            self.scheduler.join(Token(key), user, books.users[user].0, self.now);
        }
    }

    /// Logs a client in, unless its user has as many as may be.
    pub(super) fn logs_in(&mut self, peer: usize) {
        let Some(key) = self.peers[peer].conn else { return };
        let Some(books) = &self.books else { return };
        let users: Vec<_> = books.users.keys().cloned().collect();
        let user = self.dice.pick(&users).clone();
        let Some(conn) = self.conns.get_mut(&key) else { return };
        let (from, to) = (Party::of(address_of(peer), conn.user.as_ref()), Party::User(user.clone()));
        let (before, is_same) = (self.admission.clients_of(&to), from == to);
        let moved = self.admission.move_to(&from, &to, MOST_CLIENTS);
        assert_eq!(moved, is_same || before < MOST_CLIENTS, "{before} clients of one user");
        if moved {
            conn.user = Some(user);
            self.join(key);
        }
        for user in users {
            let clients = self.conns.values().filter(|conn| conn.user.as_ref() == Some(&user)).count();
            assert_eq!(self.admission.clients_of(&Party::User(user)), clients, "clients that nobody is");
        }
    }

    /// Notes what a connection has moved by a grant.
    pub(super) fn note_moved(&mut self, key: usize, bytes: u64) {
        let (Some(books), Some(conn)) = (&mut self.books, self.conns.get(&key)) else { return };
        books.total.moved(bytes, self.now);
        if let Some((_, book)) = conn.user.as_ref().and_then(|user| books.users.get_mut(user)) {
            book.moved(bytes, self.now);
        }
    }

    /// Returns whether the bytes of a client move by grants alone.
    pub(super) fn is_limited(&self, peer: usize) -> bool {
        let Some(key) = self.peers[peer].conn else { return false };
        let is_limited = self.scheduler.is_limited(Token(key));
        let expected = self.books.as_ref().zip(self.conns.get(&key)).is_some_and(|(books, conn)| {
            let own = conn.user.as_ref().and_then(|user| books.users[user].0);
            books.total.is_held() || books.client_rate.or(own).is_some()
        });
        assert_eq!(is_limited, expected, "a client that a rate does not reach, or reaches though there is none");
        is_limited
    }
}
