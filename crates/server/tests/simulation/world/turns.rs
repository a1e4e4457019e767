//! The server's side of a world: what the loop does.

use ferry_server::{
    protocol::Segment,
    runtime::{
        leases::{Claim, LeaseEffect, LeaseStep},
        party::Party,
    },
    store::{Completion, ErrorKind, Form, Operation, ReadOperation, StoreError},
};
use mio::Token;

use super::{
    Ended, Peer, TIMEOUT, World,
    guests::{address_of, takes_bytes_only},
};
use crate::{conn::Conn, desk::is_quick, leases::Job, store::Model};

impl World {
    pub(super) fn touch(&mut self, key: usize) {
        if let Some(conn) = self.conns.get_mut(&key) {
            self.scheduler.queue(Token(key), &mut conn.queued);
        }
    }

    pub(super) fn live(&mut self, peer: usize) -> Option<(usize, &mut Conn, &mut Peer)> {
        let key = self.peers[peer].conn?;
        let conn = self.conns.get_mut(&key)?;
        Some((key, conn, &mut self.peers[peer]))
    }

    /// Gives a session some of what arrived for it.
    pub(super) fn feed(&mut self, index: usize) -> bool {
        let most = self.dice.between(1, self.weather.grain);
        let most = if self.is_limited(index) { 0 } else { most };
        self.feed_bytes(index, most).1
    }

    /// Sends some of what a session has queued.
    pub(super) fn flush(&mut self, index: usize) -> bool {
        let most = self.dice.between(1, self.weather.grain);
        let most = if self.is_limited(index) { 0 } else { most };
        self.flush_bytes(index, most).1
    }

    /// Gives a session at most `most` bytes of what arrived for it. Returns how many, and whether
    /// anything changed.
    pub(super) fn feed_bytes(&mut self, index: usize, most: usize) -> (usize, bool) {
        let direct = self.dice.happens(500);
        let now = self.now;
        let Some((key, conn, peer)) = self.live(index) else { return (0, false) };
        let waiting = &mut peer.link.to_server;
        if direct
            && most > 0
            && conn.leftover.is_empty()
            && !waiting.is_empty()
            && let Some(buffer) = conn.session.direct()
        {
            let count = most.min(buffer.len()).min(waiting.len());
            for (place, byte) in buffer.iter_mut().zip(waiting.drain(..count)) {
                *place = byte;
            }
            conn.session.received(count, now);
            self.touch(key);
            return (count, true);
        }
        let mut taken = 0;
        if conn.session.wants_input() {
            taken = most.min(waiting.len()).min(conn.session.input_hint());
            conn.leftover.extend(waiting.drain(..taken));
        }
        let used = conn.session.receive(&conn.leftover, now);
        conn.leftover.drain(..used);
        let is_out = peer.link.to_server.is_empty() && conn.leftover.is_empty();
        let parts = conn.drains && is_out && conn.session.input_is_out(now);
        let at_end = most > 0 && peer.link.to_server.is_empty() && peer.client.finished();
        self.touch(key);
        self.settle();
        (taken, taken + used > 0 || parts || at_end && self.feed_end(index))
    }

    /// Tells a session that nothing more will come, once it has taken what it can.
    fn feed_end(&mut self, index: usize) -> bool {
        let now = self.now;
        let Some((key, conn, _)) = self.live(index) else { return false };
        if !conn.session.wants_input() {
            return false;
        }
        let used = conn.session.receive(&conn.leftover, now);
        conn.leftover.drain(..used);
        let told = used == 0 && conn.session.wants_input() && conn.session.end_of_input(now);
        self.touch(key);
        used > 0 || told
    }

    /// Sends at most `most` bytes of what a session has queued. Returns how many, and whether
    /// anything changed.
    pub(super) fn flush_bytes(&mut self, index: usize, most: usize) -> (usize, bool) {
        let wire = self.weather.wire;
        let fails = self.dice.happens(self.weather.faults / 4);
        let now = self.now;
        let Some(key) = self.peers[index].conn else { return (0, false) };
        let Some(conn) = self.conns.get_mut(&key) else { return (0, false) };
        let link = &mut self.peers[index].link;
        let room = most.min(wire.saturating_sub(link.to_client.len()));
        let count = match conn.session.outbox().front() {
            Some((Segment::File { .. }, _)) if fails && most > 0 => {
                let error = self.store.injected();
                conn.session.range_failed(error, now);
                let front = conn.session.outbox().front();
                assert!(!matches!(front, Some((Segment::File { .. }, _))), "what can't be read is queued still");
                self.touch(key);
                return (0, true);
            }
            _ if room == 0 => return (0, false),
            None => return (0, false),
            Some((Segment::Bytes(data), _)) => {
                let count = room.min(data.len());
                link.to_client.extend(&data[..count]);
                count
            }
            Some((Segment::File { file, at, left }, _)) => {
                assert!(!takes_bytes_only(index), "a range of a file for who takes bytes only");
                let count = room.min(left as usize);
                link.to_client.extend(self.store.range(*file, at, count));
                count
            }
            Some((Segment::Padding(left), _)) => {
                let count = room.min(left as usize);
                link.to_client.extend(std::iter::repeat_n(0, count));
                count
            }
        };
        conn.session.outbox().advance(count as u64);
        conn.session.sent(now);
        self.figures.bytes += count as u64;
        self.touch(key);
        (count, true)
    }

    /// Takes what the sessions ask, until none asks for more; then all must be in order.
    pub(super) fn settle(&mut self) {
        while let Some(Token(key)) = self.scheduler.next_queued() {
            let Some(conn) = self.conns.get_mut(&key) else { continue };
            let granted = self.scheduler.begin(Token(key), &mut conn.queued);
            assert_eq!(granted == 0, self.scheduler.is_limited(Token(key)), "a turn that moves what no rate allows");
            conn.session.lend(&mut self.spares);
            while let Some(operation) = self.conns.get_mut(&key).and_then(|conn| conn.session.next_operation()) {
                self.asked(Job::new(key, operation, &self.store));
            }
            self.end_turn(key);
            self.wait_for_grant(key);
        }
    }

    fn asked(&mut self, mut job: Job) {
        self.store.asked(&job.operation);
        let conn = self.conns.get_mut(&job.conn).unwrap();
        conn.hand_on(&job.operation);
        let is_background = matches!(
            job.operation,
            Operation::Read(ReadOperation::Load { form: Form::Background | Form::Hashed(_), .. })
        );
        let at_once = is_quick(&job.operation) && !is_background;
        if at_once && self.dice.happens(self.weather.at_once) {
            let completion = self.store.run(job.conn, job.operation);
            return self.complete(job.conn, completion);
        }
        if let Operation::Read(ReadOperation::Measure(wanted)) = &job.operation {
            let (id, conns) = (wanted.id.clone(), &self.conns);
            let lets_go = |holder| conns.get(&holder).is_some_and(|conn| conn.session.lets_go_of(&id));
            if let Some(job) = self.leases.look(&id, job, lets_go) {
                self.submit(job);
            }
            return;
        }
        let Some(claim) = Claim::of(&job.operation, job.conn) else { return self.submit(job) };
        self.rules.claims(&claim, &mut job);
        let steps = self.leases.claim(claim, job);
        self.rules.claimed(&steps);
        self.follow(steps);
    }

    fn follow(&mut self, steps: Vec<LeaseStep<usize, Job>>) {
        for step in steps {
            match step {
                LeaseStep::Start(job) => self.submit(job),
                LeaseStep::Refuse { job, .. } => self.fail(job, ErrorKind::IdTaken),
                LeaseStep::Displace(job) => self.fail(job, ErrorKind::TakenOver),
                LeaseStep::Evict { holder, id } => {
                    if let Some(conn) = self.conns.get_mut(&holder) {
                        conn.session.evict(&id, self.now);
                    }
                    self.touch(holder);
                }
            }
        }
    }

    fn fail(&mut self, job: Job, kind: ErrorKind) {
        let Some(waiter) = job.waiter else { return };
        if let Some(conn) = self.conns.get_mut(&job.conn) {
            conn.handed -= waiter.carried;
        }
        self.complete(job.conn, waiter.fallback.failed(StoreError::of(kind)));
    }

    /// Tells a session of one operation that has ended, in any order.
    pub(super) fn deliver(&mut self) -> bool {
        if self.ended.is_empty() {
            return false;
        }
        let index = self.dice.below(self.ended.len());
        let Ended { conn, completion, lease } = self.ended.swap_remove(index);
        if let Some(id) = lease
            && let Some(effect) = LeaseEffect::of(&completion)
        {
            self.rules.ended(&id, effect);
            let steps = self.leases.ended(conn, &id, effect);
            self.rules.look(&steps);
            self.follow(steps);
        }
        self.complete(conn, completion);
        true
    }

    fn complete(&mut self, key: usize, completion: Completion<'_, Model>) {
        let conn = self.conns.get_mut(&key).expect("a session is forgotten while an operation is under way");
        conn.outstanding -= 1;
        conn.session.complete(completion, self.now);
        self.touch(key);
    }

    fn end_turn(&mut self, key: usize) {
        let Some(conn) = self.conns.get_mut(&key) else { return };
        conn.session.records().1.for_each(drop);
        conn.session.rest(&mut self.spares);
        if conn.session.take_shutdown() {
            assert!(!std::mem::replace(&mut conn.shut_down, true), "shut down twice");
            assert!(conn.session.outbox().is_empty(), "shut down before all was sent");
            if conn.attached {
                self.peers[conn.peer].link.server_done = true;
            }
        }
        conn.check();
        if conn.session.is_cut() && std::mem::take(&mut conn.attached) {
            let (peer, shut_down) = (conn.peer, conn.shut_down);
            if shut_down {
                self.peers[peer].conn = None;
                self.intended.push((key, self.peers[peer].client.intended()));
            } else {
                assert!(self.peers[peer].client.may_be_cut(), "an honest client is cut off");
                self.peers[peer].client.was_cut();
                self.detach(peer);
            }
        }
        let Some(conn) = self.conns.get_mut(&key) else { return };
        if conn.session.is_over() {
            conn.session.handle_timeout(self.now + TIMEOUT * 2);
            conn.session.disconnected(self.now);
            conn.session.sent(self.now);
            assert!(
                conn.session.is_over() && conn.session.next_operation().is_none(),
                "something is asked after the end"
            );
            let Conn { peer, admitted, user, .. } = self.conns.remove(&key).expect("it is there");
            let party = Party::of(address_of(peer), user.as_ref());
            self.admission.leave(&party, admitted.expect("it was admitted"));
            self.scheduler.forget(Token(key), self.now);
        }
    }
}
