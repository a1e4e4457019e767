//! The ways in: the listening sockets for clients, and what is spoken at each.

use std::{net::SocketAddr, os::fd::BorrowedFd, time::Instant};

use mio::{Registry, Token, net::TcpStream};

use super::{Acceptor, ListenError, Listener};

/// A protocol that clients speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Ferry's own.
    Ferry,
    /// HTTP.
    Http,
}

/// The way by which a client comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entrance {
    /// The protocol.
    pub service: Service,
    /// It is spoken in TLS.
    pub is_secure: bool,
}

/// A socket for clients, and what is spoken there.
#[derive(Debug)]
pub struct ServiceListener {
    /// The socket.
    pub listener: Listener,
    /// The protocols that are spoken.
    pub entrance: Entrance,
    /// Whether the service manager keeps it open: clients that wait there at the end are the next server's.
    pub is_held: bool,
}

/// A socket that clients are accepted from.
#[derive(Debug)]
struct Door {
    acceptor: Acceptor,
    entrance: Entrance,
    is_held: bool,
}

/// All sockets that clients are accepted from, each in its turn.
#[derive(Debug)]
pub(crate) struct Acceptors {
    doors: Vec<Door>,
    /// The one that is asked first.
    next: usize,
}

impl Acceptors {
    /// Listens at all of `listeners`, whose events `registry` then tells under the one `token`.
    pub(crate) fn open(
        listeners: Vec<ServiceListener>,
        registry: &Registry,
        token: Token,
    ) -> Result<std::io::Result<Acceptors>, ListenError> {
        let mut doors = Vec::new();
        for ServiceListener { listener, entrance, is_held } in listeners {
            match Acceptor::new(listener.open()?, registry, token) {
                Ok(acceptor) => doors.push(Door { acceptor, entrance, is_held }),
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(Acceptors { doors, next: 0 }))
    }

    /// Notes an event: clients wait at one of them.
    pub(crate) fn note_ready(&mut self) {
        self.doors.iter_mut().for_each(|door| door.acceptor.note_ready());
    }

    /// Notes that a descriptor was freed: there is no shortage to wait for.
    pub(crate) fn note_freed(&mut self) {
        self.doors.iter_mut().for_each(|door| door.acceptor.note_freed());
    }

    /// Returns whether to try [`accept`](Self::accept).
    pub(crate) fn can_accept(&self, now: Instant) -> bool {
        self.doors.iter().any(|door| door.acceptor.can_accept(now))
    }

    /// Returns when to try again though no event came.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        self.doors.iter().filter_map(|door| door.acceptor.retry_at()).min()
    }

    /// Accepts the next client, from each socket in its turn. Returns [`None`] where that client has gone, or where none
    /// [can be accepted](Self::can_accept) for now.
    pub(crate) fn accept(&mut self, now: Instant) -> Option<(TcpStream, SocketAddr, Entrance)> {
        let count = self.doors.len();
        let at =
            (self.next..self.next + count).map(|at| at % count).find(|at| self.doors[*at].acceptor.can_accept(now))?;
        self.next = at + 1;
        let Door { acceptor, entrance, .. } = &mut self.doors[at];
        let (socket, peer) = acceptor.accept(now)?;
        Some((socket, peer, *entrance))
    }

    /// Returns the sockets, each with what is spoken there, and whether the service manager keeps it open.
    pub(crate) fn sockets(&self) -> impl Iterator<Item = (Service, bool, BorrowedFd<'_>)> {
        self.doors.iter().map(|door| (door.entrance.service, door.is_held, door.acceptor.as_fd()))
    }

    /// Accepts nobody any more: clients that wait are those of another server, which has the sockets as well.
    pub(crate) fn give_away(&mut self, registry: &Registry) {
        self.doors.drain(..).for_each(|door| door.acceptor.give_away(registry));
    }

    /// Does the same for those that the service manager keeps open.
    pub(crate) fn give_away_held(&mut self, registry: &Registry) {
        let (held, own) = self.doors.drain(..).partition(|door| door.is_held);
        let held: Vec<Door> = held;
        self.doors = own;
        held.into_iter().for_each(|door| door.acceptor.give_away(registry));
    }

    /// Takes all of them out: they are closed when that is dropped.
    pub(crate) fn take(&mut self) -> Acceptors {
        Acceptors { doors: std::mem::take(&mut self.doors), next: 0 }
    }
}
