//! Clients that begin with the header of a proxy, or with TLS: until their handshake is done they are no clients yet.

use std::time::{Duration, Instant};

use ferry_wire::{Code, Failure};
use mio::{Token, net::TcpStream};

use super::{Server, arrivals::Caller, handshakes::Handshake, log_failure};
use crate::{
    net::{Endpoint, HandshakeState, HeaderState, Service, TlsError, Transport, proxy::ProxyError},
    observe::{HandshakeEnd, RefusedFor},
};

/// Steps of handshakes in a round, before clients have their turn: each may cost a signature, and together they cost a few milliseconds.
const STEPS_PER_ROUND: usize = 16;

impl Server {
    /// Begins the handshake of a connection that was accepted: with the header of a proxy, which may take the time `header`,
    /// or else with TLS.
    pub(super) fn begin_handshake(
        &mut self,
        socket: TcpStream,
        caller: Caller,
        header: Option<Duration>,
        now: Instant,
    ) {
        let peer = caller.peer;
        if let Some(oldest) = self.handshakes.gives_way(peer.ip()) {
            self.count_end(oldest, HandshakeEnd::Displaced);
            self.drop_handshake(oldest, "gave way to newer ones");
        }
        let service = caller.entrance.service;
        let tls = self.tls.as_ref().filter(|_| caller.entrance.is_secure);
        let transport = match tls.map(|tls| tls.accept(service)) {
            Some(Ok(tls)) => Transport::Tls(socket, Box::new(tls)),
            Some(Err(error)) => return log::error!("{peer}: can't start TLS: {error}"),
            None => Transport::Plain(socket),
        };
        let mut endpoint = Endpoint::new(transport);
        match endpoint.register(self.poll.registry(), self.handshakes.next_token()) {
            Ok(()) => self.handshakes.begin(endpoint, caller, header, now),
            Err(error) => log::warn!("{peer}: can't watch the socket, closing: {error}"),
        }
    }

    /// Counts how a handshake ends: with the header of a proxy it is a connection that is not served.
    fn count_end(&mut self, token: Token, end: HandshakeEnd) {
        match self.handshakes.get(token) {
            Some(handshake) if handshake.awaits_header => self.counters.refused(RefusedFor::NoProxyHeader),
            _ => self.counters.handshake_ended(end),
        }
    }

    /// Brings handshakes on, some at a time.
    pub(super) fn run_handshakes(&mut self, now: Instant) {
        for _ in 0..STEPS_PER_ROUND {
            let Some(token) = self.handshakes.next_queued() else { return };
            if self.has_header(token, now) {
                self.shake(token, now);
            }
        }
    }

    /// Takes the header of a proxy, where it is due. Returns whether none is to come any more.
    fn has_header(&mut self, token: Token, now: Instant) -> bool {
        let Some(Handshake { endpoint, caller, awaits_header: true, .. }) = self.handshakes.get(token) else {
            return true;
        };
        let proxy = *caller;
        match endpoint.take_header() {
            HeaderState::Done(client) => {
                let caller = proxy.on_behalf_of(client);
                log::debug!("{}: connects by the proxy {}", caller.peer, proxy.peer);
                self.handshakes.introduce(token, caller, now);
                return true;
            }
            HeaderState::GoesOn if endpoint.is_broken() => self.drop_without_header(token, ProxyError::Lost, now),
            HeaderState::GoesOn => {}
            HeaderState::Failed(error) => self.drop_without_header(token, error, now),
        }
        false
    }

    fn drop_without_header(&mut self, token: Token, error: ProxyError, now: Instant) {
        let Some(Handshake { caller, .. }) = self.handshakes.get(token) else { return };
        log_failure(&mut self.transfer_log, (caller.peer, &error), error == ProxyError::Lost, now);
        self.counters.refused(RefusedFor::NoProxyHeader);
        self.drop_handshake(token, "there is no PROXY header");
    }

    fn shake(&mut self, token: Token, now: Instant) {
        let Some(Handshake { endpoint, caller, .. }) = self.handshakes.get(token) else { return };
        let peer = caller.peer;
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
                    TlsError::Plain { is_http } => self.tell_in_the_open(token, Code::BadRequest, is_http, now),
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
        let Some(Handshake { endpoint, caller, .. }) = self.handshakes.end(token) else { return };
        if endpoint.is_secure() {
            self.counters.handshake_ended(HandshakeEnd::Done);
        }
        let caller = caller.speaking(endpoint.speaks_http());
        match self.arrivals.admit(caller, now, &mut self.counters) {
            Some(arrival) => self.connect(endpoint, caller.peer, arrival),
            None => self.arrivals.note_freed(),
        }
    }

    /// Ends the handshakes that have taken too long.
    pub(super) fn expire_handshakes(&mut self, now: Instant) {
        while let Some(token) = self.handshakes.expired(now) {
            let Some(handshake) = self.handshakes.get(token) else { return };
            if handshake.awaits_header {
                self.drop_without_header(token, ProxyError::Late, now);
            } else if handshake.endpoint.has_begun() {
                self.counters.handshake_ended(HandshakeEnd::TimedOut);
                self.drop_handshake(token, "took too long for its handshake");
            } else {
                // It may be that it waits for a greeting.
                self.tell_in_the_open(token, Code::Timeout, false, now);
            }
        }
    }

    /// Tells a client that does not speak TLS, in plain text, that this address does, and closes: by HTTP where it
    /// `speaks_http`, or this address does.
    fn tell_in_the_open(&mut self, token: Token, code: Code, speaks_http: bool, now: Instant) {
        let Some(Handshake { endpoint, caller, .. }) = self.handshakes.end(token) else { return };
        self.counters.handshake_ended(if code == Code::Timeout { HandshakeEnd::TimedOut } else { HandshakeEnd::NoTls });
        self.counters.refused(RefusedFor::NoTls);
        let message = match caller.entrance.service {
            Service::Ferry if speaks_http => "this address speaks TLS only, and no plain HTTP",
            Service::Ferry => "this address speaks TLS only; connect with TLS (in ferry: OPEN --tls)",
            Service::Http => "this address speaks TLS only: its URL begins with https://",
        };
        let caller = caller.speaking(speaks_http);
        match self.arrivals.refuse(caller, &Failure::new(code, message), now) {
            Some(arrival) => self.connect(endpoint.in_the_open(), caller.peer, arrival),
            None => self.arrivals.note_freed(),
        }
    }

    fn drop_handshake(&mut self, token: Token, why: &str) {
        if let Some(Handshake { caller, .. }) = self.handshakes.end(token) {
            log::debug!("{}: no handshake: {why}", caller.peer);
            self.housekeeping.note_tls_end();
            self.arrivals.note_freed();
        }
    }
}
