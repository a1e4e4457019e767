//! Accepting clients, and turning them away.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use ferry_wire::{Code, Failure};
use mio::Interest;
use rustix::io::Errno;

use super::{Connection, Server, admission::Admission, token_of};
use crate::protocol::ferry::Session;

/// Clients accepted before those that are there have their turn.
const ACCEPTS_PER_TURN: usize = 64;

/// After this long a listener that ran out of descriptors tries again by itself.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Clients that are still accepted when the server ends, only to be told so: what a queue holds by
/// default.
const LAST_ACCEPTS: usize = 4096;

/// What everybody is told when the server ends.
pub(super) fn shutting_down() -> Failure {
    Failure::new(Code::ShuttingDown, "the server is ending")
}

impl Server {
    pub(super) fn can_accept(&self) -> bool {
        self.accept_ready && self.listener.is_some() && self.accept_again.is_none() && self.admissions.has_room()
    }

    /// Accepts who waits, as far as there is room.
    pub(super) fn accept(&mut self) {
        let now = Instant::now();
        if self.accept_again.is_some_and(|at| at <= now) {
            self.accept_again = None;
        }
        for _ in 0..ACCEPTS_PER_TURN {
            if !self.can_accept() {
                return;
            }
            let Some(listener) = &self.listener else { return };
            match listener.accept() {
                Ok((socket, peer)) => {
                    self.accept_failing = false;
                    self.welcome(socket, peer, now);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.accept_ready = false,
                Err(error) => match Errno::from_io_error(&error) {
                    // No new event will come for who waits already: try again by ourselves.
                    Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                        // Said once, until it works again.
                        if !std::mem::replace(&mut self.accept_failing, true) {
                            log::warn!("can't accept clients for now: {error}");
                        }
                        self.accept_again = Some(now + ACCEPT_RETRY);
                    }
                    // That client is gone; the next one need not be.
                    _ => log::debug!("a client went away before it was accepted: {error}"),
                },
            }
        }
    }

    /// The server ends: whoever waits to be accepted is told so, since closing the listener would reset
    /// them. Who comes between this and the close is reset.
    pub(super) fn turn_away_waiting(&mut self) {
        let now = Instant::now();
        for _ in 0..LAST_ACCEPTS {
            let Some(listener) = &self.listener else { return };
            match listener.accept() {
                Ok((socket, peer)) => self.welcome(socket, peer, now),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(_) => return,
            }
        }
    }

    fn welcome(&mut self, mut socket: mio::net::TcpStream, peer: SocketAddr, now: Instant) {
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
        if let Err(error) = self.poll.registry().register(
            &mut socket,
            token,
            Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY,
        ) {
            log::warn!("{peer}: can't be watched: {error}");
            return;
        }
        entry.insert(Connection {
            socket: Some(socket),
            peer,
            session,
            leftover: Vec::new(),
            generation: self.generation,
            timer: None,
            // What came already will be said by the first event.
            readable: false,
            writable: true,
            short_reads: false,
            broken: false,
            input_ended: false,
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
