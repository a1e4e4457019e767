//! One client's conversation, in whichever protocol it is.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ferry_wire::{Failure, Id, UserName};

use super::{Activity, Limits, Login, LoginOutcome, Outbox, Record, Spares, ferry, http};
use crate::{
    access::Users,
    store::{Completion, Handles, Operation, StoreError},
};

/// One client's conversation, as a pure state machine.
///
/// A session gets bytes ([`Session::receive`]), completions of operations ([`Session::complete`]) and the
/// time; it gives operations to the store ([`Session::next_operation`]) and things to send
/// ([`Session::outbox`]). It touches no socket, no file, no clock and no thread, so that a
/// simulation can drive it byte by byte.
///
/// # Order of calls
///
/// After every call that takes `now`, take all of [`next_operation`](Session::next_operation), see
/// to the outbox, and read [`deadline`](Session::deadline) anew. Bytes that `receive` did not
/// consume are given again, in front of newer ones, once [`wants_input`](Session::wants_input).
/// When nothing is left to do for now, let it [`rest`](Session::rest). A session may be forgotten
/// when it [`is_over`](Session::is_over). It never is while an operation of it is under way, so the
/// session itself always releases its handles of the store.
pub enum Session<H: Handles> {
    /// It speaks ferry's own protocol.
    Ferry(ferry::FerrySession<H>),
    /// It speaks HTTP.
    Http(http::HttpSession<H>),
}

/// Evaluates a call of whichever session it is.
macro_rules! each {
    ($self:expr, $session:ident => $call:expr) => {
        match $self {
            Session::Ferry($session) => $call,
            Session::Http($session) => $call,
        }
    };
}

impl<H: Handles> Session<H> {
    /// Returns the session, for a transport that takes bytes and no ranges of files.
    #[must_use]
    pub fn as_bytes(self) -> Session<H> {
        match self {
            Session::Ferry(session) => Session::Ferry(session.as_bytes()),
            Session::Http(session) => Session::Http(session.as_bytes()),
        }
    }

    /// Takes bytes from the front of `input` and says how many: less than all where a request is not
    /// finished, or where the session must wait for the store or the client. None are taken only
    /// where it can't go on.
    pub fn receive(&mut self, input: &[u8], now: Instant) -> usize {
        each!(self, session => session.receive(input, now))
    }

    /// Returns how many lines were taken since this was last asked: each is work, however short it is.
    pub fn take_lines(&mut self) -> u32 {
        each!(self, session => session.take_lines())
    }

    /// Returns where the next raw bytes of a body may be read to directly, past [`receive`](Self::receive):
    /// only while no unconsumed input is waiting. Say with [`received`](Self::received) how many came.
    pub fn direct(&mut self) -> Option<&mut [u8]> {
        each!(self, session => session.direct())
    }

    /// Notes that `bytes` bytes were read to the front of [`direct`](Self::direct).
    pub fn received(&mut self, bytes: usize, now: Instant) {
        each!(self, session => session.received(bytes, now));
    }

    /// Returns the most that is worth reading at once.
    #[must_use]
    pub fn input_hint(&self) -> usize {
        each!(self, session => session.input_hint())
    }

    /// The client shut down its sending side; every byte that came before was consumed, but for
    /// a request that is not whole. False where that was known.
    pub fn end_of_input(&mut self, now: Instant) -> bool {
        each!(self, session => session.end_of_input(now))
    }

    /// Returns whether [`receive`](Self::receive) would get on with more input, or
    /// [`end_of_input`](Self::end_of_input) with none.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        each!(self, session => session.wants_input())
    }

    /// Returns the next operation for the store.
    pub fn next_operation(&mut self) -> Option<Operation<H>> {
        each!(self, session => session.next_operation())
    }

    /// Takes the completion of an operation.
    pub fn complete(&mut self, completion: Completion<'_, H>, now: Instant) {
        each!(self, session => session.complete(completion, now));
    }

    /// Returns the queue of bytes to send.
    pub fn outbox(&mut self) -> &mut Outbox<H::File> {
        each!(self, session => session.outbox())
    }

    /// Notes that some of the outbox was sent.
    pub fn sent(&mut self, now: Instant) {
        each!(self, session => session.sent(now));
    }

    /// The file at the front of the outbox can't be read any more, for `error`: nothing queued of it is sent.
    pub fn range_failed(&mut self, error: StoreError, now: Instant) {
        each!(self, session => session.range_failed(error, now));
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) is due, if nothing happens before.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        each!(self, session => session.deadline())
    }

    /// Stops the clocks of a client that is kept waiting on purpose, until
    /// [`resume`](Self::resume).
    pub fn pause(&mut self) {
        each!(self, session => session.pause());
    }

    /// Starts the clocks again after `paused`: they go on where they stood.
    pub fn resume(&mut self, paused: Duration, now: Instant) {
        each!(self, session => session.resume(paused, now));
    }

    /// Looks at the clocks.
    pub fn handle_timeout(&mut self, now: Instant) {
        each!(self, session => session.handle_timeout(now));
    }

    /// A newer connection wants the resumable upload `id`, which this one has: lets go of it, unless
    /// it came to its end already.
    pub fn evict(&mut self, id: &Id, now: Instant) {
        each!(self, session => session.evict(id, now));
    }

    /// Returns whether it has the resumable upload `id`, and lets go of it: no more of it comes.
    #[must_use]
    pub fn lets_go_of(&self, id: &Id) -> bool {
        each!(self, session => session.lets_go_of(id))
    }

    /// Notes that the connection is gone. Requests that have begun are dropped, operations under
    /// way are awaited.
    pub fn disconnected(&mut self, now: Instant) {
        each!(self, session => session.disconnected(now));
    }

    /// Nothing can be sent to the client any more, though there may still be input of it: what is
    /// read for it is given up. The changes that it asked for go on.
    pub fn hung_up(&mut self, now: Instant) {
        each!(self, session => session.hung_up(now));
    }

    /// Returns whether the client turned out to speak another protocol; says so once.
    pub fn take_stranger(&mut self) -> bool {
        each!(self, session => session.take_stranger())
    }

    /// Returns whether sending is to be shut down now; says so once.
    pub fn take_shutdown(&mut self) -> bool {
        each!(self, session => session.take_shutdown())
    }

    /// Returns whether there is nothing left to do: the connection can be closed and the session forgotten.
    #[must_use]
    pub fn is_over(&self) -> bool {
        each!(self, session => session.is_over())
    }

    /// Returns whether the socket has no more use, though operations are still under way.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        each!(self, session => session.is_cut())
    }

    /// Returns whether it waits for a request and owes nothing.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        each!(self, session => session.is_idle())
    }

    /// Returns what it does now.
    #[must_use]
    pub fn activity(&self) -> Activity {
        each!(self, session => session.activity())
    }

    /// Returns how many uploads are under way: from the store's handle to their end.
    #[must_use]
    pub fn uploads(&self) -> usize {
        each!(self, session => session.uploads())
    }

    /// Takes what is to be logged, in order, and returns the user who did it.
    pub fn records(&mut self) -> (Option<&UserName>, std::vec::Drain<'_, Record>) {
        each!(self, session => session.records())
    }

    /// Takes memory for queues that have none. Said at the beginning of a turn; without it, the system is asked for
    /// memory.
    pub fn lend(&mut self, spares: &mut Spares<H>) {
        each!(self, session => session.lend(spares));
    }

    /// Gives the memory of queues that are empty back: an idle client owns no buffer. Said at the end of
    /// a turn.
    pub fn rest(&mut self, spares: &mut Spares<H>) {
        each!(self, session => session.rest(spares));
    }

    /// The server is ending, or must let this client go: says why as soon as an answer may stand
    /// there, and closes. Uploads that are whole are still published.
    pub fn dismiss(&mut self, failure: Failure, now: Instant) {
        each!(self, session => session.dismiss(failure, now));
    }

    /// The server drains: says why, where the protocol can, and closes once the client is idle. Transfers under way go on,
    /// and what it has asked for is answered. In the first second a client is idle when it was
    /// silent for a second, so that one that has just connected is served; later, when [all that it
    /// sent is answered](Self::input_is_out).
    pub fn drain(&mut self, failure: Failure, now: Instant) {
        each!(self, session => session.drain(failure, now));
    }

    /// All that has come from the client was [received](Self::receive). Returns whether the session
    /// parts from it by this, as it does in a [drain](Self::drain).
    pub fn input_is_out(&mut self, now: Instant) -> bool {
        each!(self, session => session.input_is_out(now))
    }

    /// Takes the login that is to be checked, once. Its end is said by
    /// [`login_ended`](Self::login_ended), unless the session is over by then.
    pub fn take_login(&mut self) -> Option<Login> {
        each!(self, session => session.take_login())
    }

    /// Returns whether input that may have held a secret was taken since this was last asked: the
    /// buffer that it came in is to be wiped.
    pub fn take_secret_read(&mut self) -> bool {
        each!(self, session => session.take_secret_read())
    }

    /// Returns the user as whom a login is under way.
    #[must_use]
    pub fn logging_in(&self) -> Option<&UserName> {
        each!(self, session => session.logging_in())
    }

    /// Takes the outcome of the login that was taken. A session that waits for none ignores it.
    pub fn login_ended(&mut self, outcome: LoginOutcome, now: Instant) {
        each!(self, session => session.login_ended(outcome, now));
    }

    /// Sets the users file for every request that takes effect from here on.
    pub fn set_users(&mut self, users: &Arc<Users>) {
        each!(self, session => session.set_users(users));
    }

    /// Sets the limits from here on, also for requests under way.
    pub fn set_limits(&mut self, limits: &Arc<Limits>) {
        each!(self, session => session.set_limits(limits));
    }

    /// Returns the user who has logged in, and for whom the connection counts.
    #[must_use]
    pub fn user(&self) -> Option<&UserName> {
        each!(self, session => session.user())
    }
}
