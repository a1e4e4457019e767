//! Accepting clients, and turning them away.

use std::{net::SocketAddr, time::Instant};

use ferry_wire::{Code, Failure};

use super::{Connection, Server, admission::Admission, token_of};
use crate::{
    net::{Endpoint, Transport},
    protocol::ferry::Session,
};

/// Clients accepted before those that are there have their turn.
const ACCEPTS_PER_TURN: usize = 64;

/// Clients that are still accepted when the server ends, only to be told so: what a queue holds by
/// default.
const LAST_ACCEPTS: usize = 4096;

/// What everybody is told when the server ends.
pub(super) fn shutting_down() -> Failure {
    Failure::new(Code::ShuttingDown, "the server is ending")
}

impl Server {
    pub(super) fn can_accept(&self, now: Instant) -> bool {
        self.acceptor.as_ref().is_some_and(|acceptor| acceptor.can_accept(now)) && self.admissions.has_room()
    }

    /// Accepts who waits, as far as there is room.
    pub(super) fn accept(&mut self) {
        let now = Instant::now();
        for _ in 0..ACCEPTS_PER_TURN {
            if !self.can_accept(now) {
                return;
            }
            if let Some((socket, peer)) = self.acceptor.as_mut().and_then(|acceptor| acceptor.accept(now)) {
                self.welcome(socket, peer, now);
            }
        }
    }

    /// The server ends: whoever waits to be accepted is told so, since closing the listener would reset
    /// them. Who comes between this and the close is reset.
    pub(super) fn turn_away_waiting(&mut self) {
        let now = Instant::now();
        let Some(mut acceptor) = self.acceptor.take() else { return };
        for _ in 0..LAST_ACCEPTS {
            if !acceptor.can_accept(now) {
                return;
            }
            if let Some((socket, peer)) = acceptor.accept(now) {
                self.welcome(socket, peer, now);
            }
        }
    }

    fn welcome(&mut self, socket: mio::net::TcpStream, peer: SocketAddr, now: Instant) {
        let admission = self.admissions.decide(peer.ip());
        let refusal = match admission {
            // Whoever comes now is among the last, and is told.
            _ if self.ending.is_some() => Some(shutting_down()),
            Admission::Closed => return log::debug!("{peer}: closed: too many are being turned away"),
            Admission::Served => None,
            Admission::Full => {
                Some(busy(format!("the server has its {} clients; try again later", self.options.max_clients)))
            }
            Admission::FullHere => {
                Some(busy(format!("your address has its {} clients; close one", self.options.max_clients_per_address)))
            }
        };
        let is_refused = refusal.is_some();
        let session = match refusal {
            None => Session::new(self.limits.clone(), now),
            Some(failure) => Session::refusing(self.limits.clone(), &failure, now),
        };
        self.generation = self.generation.wrapping_add(1);
        let entry = self.connections.vacant_entry();
        let key = entry.key();
        let token = token_of(key, self.generation);
        let mut endpoint = Endpoint::new(Transport::Plain(socket));
        if let Err(error) = endpoint.register(self.poll.registry(), token) {
            log::warn!("{peer}: can't be watched: {error}");
            return;
        }
        entry.insert(Connection {
            endpoint: Some(endpoint),
            peer,
            session,
            leftover: Vec::new(),
            generation: self.generation,
            timer: None,
            queued: false,
            refused: is_refused,
        });
        self.admissions.enter(peer.ip(), is_refused);
        log::debug!("{peer}: connected{}", if is_refused { ", and turned away" } else { "" });
        self.queue(key);
    }
}

fn busy(message: String) -> Failure {
    Failure::new(Code::Busy, message)
}
