//! Clients that begin with TLS: until their handshake is done they are no clients yet.

use std::{net::SocketAddr, time::Instant};

use ferry_wire::{Code, Failure};
use mio::{Token, net::TcpStream};

use super::{Server, handshakes::Handshake, log_failure};
use crate::{
    net::{Endpoint, HandshakeState, TlsAcceptor, TlsError, Transport},
    observe::{HandshakeEnd, RefusedFor},
};

/// Steps of handshakes in a round, before clients have their turn: each may cost a signature, and together they cost a few milliseconds.
const STEPS_PER_ROUND: usize = 16;

impl Server {
    /// Begins the handshake of a connection that was admitted.
    pub(super) fn begin_handshake(&mut self, tls: &TlsAcceptor, socket: TcpStream, peer: SocketAddr, now: Instant) {
        if let Some(oldest) = self.handshakes.gives_way(peer.ip()) {
            self.counters.handshake_ended(HandshakeEnd::Displaced);
            self.drop_handshake(oldest, "gave way to newer ones");
        }
        let mut endpoint = match tls.accept() {
            Ok(tls) => Endpoint::new(Transport::Tls(socket, Box::new(tls))),
            Err(error) => return log::error!("{peer}: can't start TLS: {error}"),
        };
        match endpoint.register(self.poll.registry(), self.handshakes.next_token()) {
            Ok(()) => self.handshakes.begin(endpoint, peer, now),
            Err(error) => log::warn!("{peer}: can't watch the socket, closing: {error}"),
        }
    }

    /// Brings handshakes on, some at a time.
    pub(super) fn run_handshakes(&mut self, now: Instant) {
        for _ in 0..STEPS_PER_ROUND {
            let Some(token) = self.handshakes.next_queued() else { return };
            self.shake(token, now);
        }
    }

    fn shake(&mut self, token: Token, now: Instant) {
        let Some(Handshake { endpoint, peer, .. }) = self.handshakes.get(token) else { return };
        let peer = *peer;
        match endpoint.shake() {
            HandshakeState::GoesOn if endpoint.is_broken() => {
                self.counters.handshake_ended(HandshakeEnd::Failed);
                self.drop_handshake(token, "was lost");
            }
            HandshakeState::GoesOn => {}
            HandshakeState::Done => self.begin_session(token, now),
            HandshakeState::Failed(error) => {
                log_failure(&mut self.transfer_log, (peer, &error), error.is_loss(), now);
                match error {
                    TlsError::Plain => self.tell_in_the_open(token, Code::BadRequest, now),
                    _ => {
                        self.counters.handshake_ended(HandshakeEnd::Failed);
                        self.drop_handshake(token, "it failed");
                    }
                }
            }
        }
    }

    /// Begins the session of somebody whose handshake is done.
    fn begin_session(&mut self, token: Token, now: Instant) {
        let Some(Handshake { endpoint, peer, .. }) = self.handshakes.end(token) else { return };
        self.counters.handshake_ended(HandshakeEnd::Done);
        match self.arrivals.admit(peer, now, &mut self.counters) {
            Some(arrival) => self.connect(endpoint, peer, arrival),
            None => self.arrivals.note_freed(),
        }
    }

    /// Ends the handshakes that have taken too long.
    pub(super) fn expire_handshakes(&mut self, now: Instant) {
        while let Some(token) = self.handshakes.expired(now) {
            if self.handshakes.get(token).is_some_and(|handshake| handshake.endpoint.has_begun()) {
                self.counters.handshake_ended(HandshakeEnd::TimedOut);
                self.drop_handshake(token, "took too long for its handshake");
            } else {
                // It may be that it waits for a greeting.
                self.tell_in_the_open(token, Code::Timeout, now);
            }
        }
    }

    /// Tells a client that does not speak TLS, in plain text, that this address does, and closes.
    fn tell_in_the_open(&mut self, token: Token, code: Code, now: Instant) {
        let Some(Handshake { endpoint, peer, .. }) = self.handshakes.end(token) else { return };
        self.counters.handshake_ended(if code == Code::Timeout { HandshakeEnd::TimedOut } else { HandshakeEnd::NoTls });
        self.counters.refused(RefusedFor::NoTls);
        let message = "this address speaks TLS only; connect with TLS (in ferry: OPEN --tls)";
        match self.arrivals.refuse(peer, &Failure::new(code, message), now) {
            Some(arrival) => self.connect(endpoint.in_the_open(), peer, arrival),
            None => self.arrivals.note_freed(),
        }
    }

    fn drop_handshake(&mut self, token: Token, why: &str) {
        if let Some(Handshake { peer, .. }) = self.handshakes.end(token) {
            log::debug!("{peer}: no handshake: {why}");
            self.housekeeping.note_tls_end();
            self.arrivals.note_freed();
        }
    }
}
