//! Decides which connection has its turn: fairly, and within the rates.
//!
//! Readiness is told once, so a connection that stops early stands in the run queue until its next
//! turn. Where there are rates, a turn from that queue moves no bytes through the socket. A
//! connection that could move some waits for a grant, and moves the granted bytes in a turn of its
//! own. Grants go by connection: where one user alone has a rate, nobody else waits.

use std::{collections::VecDeque, time::Instant};

use ferry_wire::UserName;
use mio::Token;

use super::rates::{Grant, Rates};

/// Whether a connection stands in the run queue. The scheduler alone changes it.
#[derive(Debug, Default)]
pub struct Queued(bool);

/// See the [module documentation](self).
#[derive(Debug)]
pub struct Scheduler {
    run_queue: VecDeque<Token>,
    rates: Rates,
}

impl Scheduler {
    /// Returns a scheduler that holds clients to `rates`.
    #[must_use]
    pub fn new(rates: Rates) -> Scheduler {
        Scheduler { run_queue: VecDeque::new(), rates }
    }

    /// Puts `client` at the end of the run queue, unless it is there.
    pub fn queue(&mut self, client: Token, queued: &mut Queued) {
        if !std::mem::replace(&mut queued.0, true) {
            self.run_queue.push_back(client);
        }
    }

    /// Returns how many stand in the run queue.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.run_queue.len()
    }

    /// Takes the next client out of the run queue. Its turn [`begins`](Self::begin) then, if it is
    /// still there.
    pub fn next_queued(&mut self) -> Option<Token> {
        self.run_queue.pop_front()
    }

    /// Begins a turn of `client` from the run queue, and returns how many bytes it may move through
    /// its socket.
    ///
    /// # Panics
    ///
    /// Where the client stood in the queue twice: it would have more turns than others.
    pub fn begin(&self, client: Token, queued: &mut Queued) -> u64 {
        assert!(std::mem::take(&mut queued.0), "a client stood in the run queue twice");
        if self.is_limited(client) { 0 } else { u64::MAX }
    }

    /// Returns whether the bytes of `client` move by [grants](Self::next_grant) alone.
    #[must_use]
    pub fn is_limited(&self, client: Token) -> bool {
        self.rates.are_limiting(client)
    }

    /// Sets the rates that hold from `now` on, also for present clients: of each client, and of
    /// all. Each client that has logged in [joins](Self::join) its user anew after this.
    pub fn set_rates(&mut self, client_rate: Option<u64>, total_rate: Option<u64>, now: Instant) {
        self.rates.set(client_rate, total_rate, now);
    }

    /// Makes `client` belong to `user`, all of whose clients together may move `rate` bytes a
    /// second; where that is [`None`], as many as a client that has not logged in.
    pub fn join(&mut self, client: Token, user: &UserName, rate: Option<u64>, now: Instant) {
        self.rates.join(client, user, rate, now);
    }

    /// Returns whether any client waits for a grant.
    #[must_use]
    pub fn has_waiting(&self) -> bool {
        self.rates.has_waiting()
    }

    /// Queues `client`, which has something to move, for a grant.
    pub fn wait_for_grant(&mut self, client: Token, now: Instant) {
        self.rates.wait(client, now);
    }

    /// Returns how many grants may be made in one round.
    pub fn waiting(&mut self, now: Instant) -> usize {
        self.rates.in_line(now)
    }

    /// Returns the next grant, if any client may move bytes now. It is to be
    /// [charged](Self::charge) before the next.
    pub fn next_grant(&mut self, now: Instant) -> Option<Grant> {
        self.rates.next(now)
    }

    /// Charges the bytes that were moved of `grant`.
    pub fn charge(&mut self, grant: &Grant, moved: u64, now: Instant) {
        self.rates.charge(grant, moved, now);
    }

    /// Returns when the next client may move bytes, if nothing happens before.
    pub fn next_at(&mut self, now: Instant) -> Option<Instant> {
        self.rates.next_at(now)
    }

    /// Forgets a client that is gone. Its place in the run queue is skipped.
    pub fn forget(&mut self, client: Token, now: Instant) {
        self.rates.forget(client, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_stands_in_the_run_queue_once() {
        let mut scheduler = Scheduler::new(Rates::new(None, None, Instant::now()));
        let mut places = [Queued::default(), Queued::default()];
        for client in [0, 1, 0, 1, 0] {
            scheduler.queue(Token(client), &mut places[client]);
        }
        assert_eq!(scheduler.queued(), 2);
        assert_eq!(scheduler.next_queued(), Some(Token(0)));
        assert_eq!(scheduler.begin(Token(0), &mut places[0]), u64::MAX);
        scheduler.queue(Token(0), &mut places[0]);
        assert_eq!([(); 2].map(|()| scheduler.next_queued()), [Some(Token(1)), Some(Token(0))]);
    }

    #[test]
    #[should_panic(expected = "twice")]
    fn nobody_has_a_turn_that_it_was_not_queued_for() {
        Scheduler::new(Rates::new(None, None, Instant::now())).begin(Token(0), &mut Queued::default());
    }
}
