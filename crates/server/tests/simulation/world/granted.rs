//! Turns where there are rates: bytes move by grants alone.

use std::time::Instant;

use mio::Token;

use super::{Peer, World};

/// Counts what moves, against a rate.
pub(super) struct RateBook {
    rate: Option<u64>,
    start: Instant,
    moved: u64,
}

impl RateBook {
    /// Returns a book that begins `now`.
    pub(super) fn new(rate: Option<u64>, start: Instant) -> RateBook {
        RateBook { rate, start, moved: 0 }
    }

    /// Returns whether there is a rate.
    pub(super) fn is_held(&self) -> bool {
        self.rate.is_some()
    }

    pub(super) fn moved(&mut self, bytes: u64, now: Instant) {
        self.moved += bytes;
        let Some(rate) = self.rate else { return };
        // The bytes that are saved up while nothing moves, and a grant that is paid for later.
        let allowed = rate as f64 * ((now - self.start).as_secs_f64() + 0.1 + 0.05) + 1.0;
        assert!(self.moved as f64 <= allowed, "{} bytes were moved where {allowed} may be", self.moved);
    }
}

impl World {
    /// Gives a turn to the client that the rates let move next.
    pub(super) fn run_granted(&mut self) -> bool {
        let Some(grant) = self.scheduler.next_grant(self.now) else { return false };
        let Token(key) = grant.client;
        let conn = self.conns.get_mut(&key).expect("a client that is gone is forgotten");
        assert!(std::mem::take(&mut conn.waits), "a grant for a client that does not wait");
        conn.session.resume(grant.waited, self.now);
        let mut moved = 0;
        if conn.attached {
            let (index, bytes) = (conn.peer, usize::try_from(grant.bytes).unwrap());
            self.granted = Some(key);
            moved += self.feed_bytes(index, bytes).0;
            moved += self.flush_bytes(index, bytes - moved).0;
            self.granted = None;
        }
        self.scheduler.charge(&grant, moved as u64, self.now);
        self.note_moved(key, moved as u64);
        self.touch(key);
        self.settle();
        true
    }

    /// Queues a client that could move something for a grant.
    pub(super) fn wait_for_grant(&mut self, key: usize) {
        if !self.scheduler.is_limited(Token(key)) || self.granted == Some(key) {
            return;
        }
        let Some(conn) = self.conns.get_mut(&key) else { return };
        let Peer { client, link, .. } = &self.peers[conn.peer];
        let reads = conn.session.wants_input() && (!link.to_server.is_empty() || client.finished());
        let writes = !conn.session.outbox().is_empty() && link.to_client.len() < self.weather.wire;
        if conn.attached && (reads || writes) {
            conn.session.pause();
            conn.waits = true;
            self.scheduler.wait_for_grant(Token(key), self.now);
        }
    }
}
