//! One turn of one connection: it reads, lets the session and the store work, and sends.

use std::{ops::Range, time::Instant};

use ferry_wire::limits::MAX_LINE_BYTES;
use zeroize::{Zeroize as _, Zeroizing};

use super::{budget::Budget, connection::Connection, job::Job, workers::Workers};
use crate::{net::ReadError, protocol::Spares, store::Disk};

/// The most that is read from a socket at once, after the part of a line that may be left over.
const INPUT_BYTES: usize = 64 << 10;

/// Memory that each turn has in its time.
#[derive(Debug)]
pub(super) struct Buffers {
    input: Box<[u8]>,
    /// For what a session queues.
    pub(super) spares: Spares<Disk>,
}

impl Buffers {
    pub(super) fn new() -> Buffers {
        Buffers { input: vec![0; INPUT_BYTES + MAX_LINE_BYTES].into(), spares: Spares::new() }
    }
}

/// The result of a turn.
#[derive(Debug)]
pub(super) struct TurnEnd {
    /// Bytes that went through the socket.
    pub(super) moved: u64,
    /// Of these, the bytes that were sent.
    pub(super) sent: u64,
    /// Its cost, in bytes.
    pub(super) cost: u64,
    /// The budget was used up: there may be more to do.
    pub(super) is_unfinished: bool,
    /// Why nothing more can be read, where that turned out.
    pub(super) failure: Option<ReadError>,
    /// The time.
    pub(super) now: Instant,
}

/// See the [module documentation](self). It touches no other connection.
pub(super) struct Turn<'a> {
    connection: &'a mut Connection,
    workers: &'a mut Workers,
    input: &'a mut [u8],
    /// Input that the session has not taken yet.
    window: Range<usize>,
    budget: Budget,
    sent: u64,
    failure: Option<ReadError>,
    now: Instant,
}

impl Turn<'_> {
    /// Runs a turn of `connection`, in which at most `granted` bytes go through its socket.
    pub(super) fn run(
        connection: &mut Connection,
        workers: &mut Workers,
        buffers: &mut Buffers,
        granted: u64,
    ) -> TurnEnd {
        let now = Instant::now();
        let Buffers { input, spares } = buffers;
        // It may be the beginning of a line with a secret.
        let leftover = Zeroizing::new(std::mem::take(&mut connection.leftover));
        input[..leftover.len()].copy_from_slice(&leftover);
        connection.session.lend(spares);
        let (window, budget) = (0..leftover.len(), Budget::new(granted, now));
        drop(leftover);
        let mut turn = Turn { connection, workers, input, window, budget, sent: 0, failure: None, now };
        let is_unfinished = turn.work();
        let Turn { connection, input, window, budget, sent, failure, now, .. } = turn;
        connection.leftover = input[window].to_vec();
        if connection.session.take_secret_read() {
            input.zeroize();
        }
        TurnEnd { moved: budget.moved(), sent, cost: budget.cost(), is_unfinished, failure, now }
    }

    /// Works until nothing is left to do for now. Returns whether the budget was used up first.
    fn work(&mut self) -> bool {
        loop {
            let taken = self.take_input();
            let asked = self.dispatch();
            let sent = self.connection.flush(self.budget.to_send(), self.now);
            self.budget.charge(sent);
            self.budget.note_moved(sent);
            self.sent += sent;
            if !taken && !asked && sent == 0 {
                return false;
            }
            if self.budget.is_over() {
                return true;
            }
        }
    }

    /// Gives the session all input. Returns whether that changed anything.
    fn take_input(&mut self) -> bool {
        let mut progress = false;
        while !self.budget.is_over() {
            if self.receive() || self.read_direct() {
                progress = true;
                continue;
            }
            if !self.connection.session.wants_input() {
                break;
            }
            if self.connection.input_has_ended() {
                progress |= self.connection.session.end_of_input(self.now);
                break;
            }
            if !self.read() {
                break;
            }
        }
        progress
    }

    /// Gives the session the input that was read. Returns whether that changed anything.
    fn receive(&mut self) -> bool {
        if self.window.is_empty() {
            return false;
        }
        let session = &mut self.connection.session;
        let used = session.receive(&self.input[self.window.clone()], self.now);
        self.window.start += used;
        self.budget.charge(used as u64);
        if self.budget.charge_lines(session.take_lines()) {
            self.look_at_clock();
        }
        let asked = self.dispatch();
        used > 0 || asked
    }

    /// Reads the bytes of a body straight to their place, unless some were read already. Returns
    /// whether any came.
    fn read_direct(&mut self) -> bool {
        if !self.window.is_empty() || !self.connection.can_read() || self.budget.to_read() == 0 {
            return false;
        }
        let read = self.connection.read_direct(self.budget.to_read(), self.now);
        let count = self.keep_failure(read);
        self.budget.charge(count as u64);
        self.budget.note_moved(count as u64);
        if count > 0 {
            self.dispatch();
        }
        count > 0
    }

    /// Reads into the common buffer. Returns whether bytes came, or their end.
    fn read(&mut self) -> bool {
        if self.budget.to_read() == 0 {
            return false;
        }
        // Only a part of a line is left: there is room after it.
        self.input.copy_within(self.window.clone(), 0);
        self.window = 0..self.window.len();
        let most = usize::try_from(self.budget.to_read()).unwrap_or(usize::MAX);
        let room =
            INPUT_BYTES.min(self.connection.session.input_hint()).min(most).min(self.input.len() - self.window.end);
        let count = match self.connection.can_read() {
            true => {
                let read = self.connection.read(&mut self.input[self.window.end..self.window.end + room], self.now);
                self.keep_failure(read)
            }
            false => 0,
        };
        self.window.end += count;
        self.budget.note_moved(count as u64);
        count > 0 || self.connection.input_has_ended()
    }

    /// Returns how many bytes were read; where that failed, none.
    fn keep_failure(&mut self, read: Result<usize, ReadError>) -> usize {
        read.unwrap_or_else(|error| {
            self.failure = Some(error);
            0
        })
    }

    /// Starts the operations that the session asks for. Returns whether there were any.
    fn dispatch(&mut self) -> bool {
        let mut asked = false;
        while let Some(operation) = self.connection.session.next_operation() {
            asked = true;
            self.budget.charge_request();
            match self.workers.try_now(operation) {
                Ok(completion) => {
                    self.now = Instant::now();
                    self.budget.note(self.now);
                    self.connection.session.complete(completion, self.now);
                }
                Err(operation) => {
                    let job = Job::new(self.connection.token, self.connection.peer.ip(), operation);
                    self.workers.hand_on(job);
                }
            }
        }
        asked
    }

    fn look_at_clock(&mut self) {
        self.now = Instant::now();
        self.budget.note(self.now);
    }
}
