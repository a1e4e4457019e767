//! One client's conversation in ferry's own protocol, as PROTOCOL.md has it.
//!
//! The contract is that of every [session](super::Session).
//!
//! # Order of effects
//!
//! Requests take effect in the order in which they came. Those that read wait until all that
//! change have been answered; those that change are handed on in order without waiting for
//! each other, so that many uploads share their waits for the disk.
//!
//! # Who waits for a completion
//!
//! A session reads one thing at a time: what its phase says. An upload is found by its number among
//! the `uploads`, a change by its number in the `queue`. A completion that nobody waits for is one
//! of a connection that is gone.

mod changes;
mod download;
mod farewell;
mod health;
mod listing;
mod logins;
mod queue;
mod reads;
mod replies;
mod requests;
mod settle;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ferry_wire::{Code, Failure, Framer, Greeting, Id, Options, Request, TellsModes, UserName};

use super::{
    Activity, LINGER, LINGER_BYTES, Limits, Login, LoginOutcome, Outbox, Record, Spares, Visitor, body, clock,
    operations, outbox, record, upload, uploads, visitor,
};
use crate::store::{Completion, Handles, NameCompletion, Operation, StoreError};
use changes::Preparing;
use clock::{Clock, Waiting};
use download::Download;
use farewell::LastReply;
use listing::Listing;
use operations::Operations;
use queue::Queue;
use record::Transfer;
use settle::timeout;
use uploads::Uploads;

/// Below this many bytes of queued replies the next request is taken up: enough to fill a write,
/// little enough that a client who never reads costs little.
const OUTPUT_HIGH_BYTES: u64 = 64 << 10;

/// The most that is read at once where a request is due: some hundred requests, little enough to be
/// put aside while they wait.
const REQUESTS_HINT_BYTES: usize = 16 << 10;

/// Lines that are taken at once: whoever drives the session looks at the time, and at others, in between.
const LINES_AT_ONCE: u32 = 64;

/// Requests that change and are not answered yet. More would only wait longer.
const PENDING_REQUESTS: usize = 64;

/// Operations under way, those for uploads that were given up included: a client who begins and
/// stops as fast as it can must wait for the store like any other.
const OPERATIONS_UNDER_WAY: u32 = 128;

/// Memory of uploads that one session may have handed to the store and not got back, in bytes,
/// before it takes another request. One upload more adds at most three chunks.
const PENDING_BYTES: u64 = 2 << 20;

/// Uploads of one session whose files are open, before it takes another request: two for each
/// helper that waits for the disk.
const OPEN_UPLOADS: u32 = 8;

/// See the [module documentation](self).
pub struct FerrySession<H: Handles> {
    limits: Arc<Limits>,
    /// The client, with its rights.
    visitor: Visitor,
    framer: Framer,
    phase: Phase<H>,
    /// Requests that change, in order, until they are answered.
    queue: Queue,
    /// Uploads from their handle to their end.
    uploads: Uploads<H>,
    outbox: Outbox<H::File>,
    /// The transport takes no ranges of files.
    as_bytes: bool,
    operations: Operations<H>,
    records: Vec<Record>,
    /// The options of WITH for the next request, or why that fails.
    with: Option<Box<Result<Options, Failure>>>,
    /// Said when it is due, then the connection closes.
    last_reply: Option<Box<LastReply>>,
    /// The client will send nothing more.
    input_ended: bool,
    /// A part of a line has arrived.
    line_begun: bool,
    /// Sending is to be shut down, once.
    shutdown_due: bool,
    /// The client has said what can be no request: it speaks another protocol.
    is_stranger: bool,
    requests: u64,
    body_bytes: u64,
    /// Lines that were taken and not told of yet.
    lines: u32,
    clock: Clock,
    /// A line that may hold a secret was taken, and that was not asked about yet.
    has_read_secret: bool,
}

enum Phase<H: Handles> {
    /// A request line is due.
    Ready,
    /// A request is read, and waits until those before it are answered.
    Waiting(Box<(Request, Options)>),
    /// The secret of a user is checked.
    LoggingIn(Box<LoggingIn>),
    /// A file is read.
    Downloading(Box<Download<H>>),
    /// A directory is listed.
    Listing(Box<Listing<H>>),
    /// The status of a name, or the room for more, is looked up.
    Looking {
        /// Whether permissions are told.
        tells: TellsModes,
    },
    /// The root is looked at.
    Probing,
    /// An upload is being prepared.
    Preparing(Box<Preparing>),
    /// The body of this upload comes in.
    Receiving(crate::store::UploadNumber),
    /// The body of a refused upload is discarded.
    Discarding,
    /// No more input is looked at; what is owed is said.
    Closing,
    /// All is said: input is discarded for a while.
    Lingering { bytes: u64 },
    /// The connection is gone or done with.
    Over,
}

/// A login that is under way.
struct LoggingIn {
    user: UserName,
    /// Not taken yet.
    asked: Option<Login>,
    transfer: Transfer,
}

impl<H: Handles> FerrySession<H> {
    /// Returns a session that greets.
    #[must_use]
    pub fn new(limits: Arc<Limits>, visitor: Visitor, now: Instant) -> FerrySession<H> {
        let mut outbox = Outbox::new();
        let known = [
            (limits.read_only, Greeting::READ_ONLY),
            (limits.volatile, Greeting::VOLATILE),
            (visitor.may_log_in(), Greeting::LOGIN),
            (true, Greeting::WITH_IF),
            (true, Greeting::WITH_IF_TAG),
            (true, Greeting::WITH_CRC),
            (true, Greeting::WITH_SHA256),
            (true, Greeting::TELL_MODE),
            (true, Greeting::MODES),
            (!limits.read_only, Greeting::TOUCH),
            (true, Greeting::HOLES),
            (!limits.read_only, Greeting::PARTS),
            (!limits.read_only, Greeting::PART_HOLES),
            (!limits.read_only, Greeting::STREAMS),
            (true, Greeting::SPACE),
        ];
        let modes = limits.kept_modes.filter(|_| !limits.read_only);
        let modes = modes.map(|modes| format!("{}{modes}", Greeting::WITH_MODE));
        let node = limits.node.iter().map(|node| format!("{}{node}", Greeting::NODE));
        let features = known.into_iter().filter(|(holds, _)| *holds).map(|(_, word)| word.to_owned());
        let features = features.chain(modes).chain(node).collect();
        let software = concat!("ferryd/", env!("CARGO_PKG_VERSION")).into();
        outbox.text(|text| Greeting { software, features }.encode(text));
        FerrySession {
            limits,
            visitor,
            framer: Framer::new(),
            phase: Phase::Ready,
            queue: Queue::default(),
            uploads: Uploads::new(),
            outbox,
            as_bytes: false,
            operations: Operations::new(),
            records: Vec::new(),
            with: None,
            last_reply: None,
            input_ended: false,
            line_begun: false,
            shutdown_due: false,
            is_stranger: false,
            requests: 0,
            body_bytes: 0,
            lines: 0,
            clock: Clock::new(now),
            has_read_secret: false,
        }
    }

    /// Returns the session, for a transport that takes bytes and no ranges of files.
    #[must_use]
    pub fn as_bytes(self) -> FerrySession<H> {
        FerrySession { as_bytes: true, ..self }
    }

    /// Returns a session that says no more than why it won't serve.
    #[must_use]
    pub fn refusing(limits: Arc<Limits>, visitor: Visitor, failure: &Failure, now: Instant) -> FerrySession<H> {
        let mut session = FerrySession::new(limits, visitor, now);
        session.outbox.clear();
        session.outbox.text(|text| failure.encode(text));
        session.phase = Phase::Closing;
        session.settle(now);
        session
    }

    /// Takes bytes from the front of `input` and says how many: less than all where a line is not
    /// finished, where the session must wait for the store or the client, or after 64 lines. None
    /// are taken only where it can't go on.
    pub fn receive(&mut self, input: &[u8], now: Instant) -> usize {
        let mut used = 0;
        let before = self.lines;
        self.line_begun = false;
        while used < input.len() && self.lines.wrapping_sub(before) < LINES_AT_ONCE && self.wants_input() {
            let rest = &input[used..];
            if let Phase::Lingering { bytes } = &mut self.phase {
                *bytes += rest.len() as u64;
                used = input.len();
                break;
            }
            // A chunk takes no more than it has room for.
            let window = match self.receiving() {
                Some(body) if self.framer.raw_left() > 0 => &rest[..rest.len().min(body.room())],
                _ => rest,
            };
            match self.framer.next(window) {
                Ok(Some((frame, bytes))) => {
                    used += bytes;
                    self.frame(frame, now);
                }
                Ok(None) => {
                    self.line_begun = true;
                    break;
                }
                Err(error) => self.break_off(Failure::new(Code::BadRequest, error.to_string()), now),
            }
        }
        self.settle(now);
        used
    }

    /// Returns how many lines were taken since this was last asked: each is work, however short it is.
    pub fn take_lines(&mut self) -> u32 {
        std::mem::take(&mut self.lines)
    }

    /// Returns where the next raw bytes of a body may be read to directly, past [`receive`](Self::receive):
    /// only while no unconsumed input is waiting. Say with [`received`](Self::received) how many came.
    pub fn direct(&mut self) -> Option<&mut [u8]> {
        let due = self.framer.raw_left();
        self.receiving_mut()?.direct(due)
    }

    /// Notes that `bytes` bytes were read to the front of [`direct`](Self::direct).
    pub fn received(&mut self, bytes: usize, now: Instant) {
        if let Some(body) = self.receiving_mut() {
            body.filled(bytes);
            self.framer.took_raw(bytes as u64);
            self.body_bytes += bytes as u64;
        }
        self.settle(now);
    }

    /// Returns the most that is worth reading at once: little where a block's header is due inside a large
    /// body, so that what follows can be read [directly](Self::direct).
    #[must_use]
    pub fn input_hint(&self) -> usize {
        match (&self.phase, self.receiving()) {
            (Phase::Ready, _) => REQUESTS_HINT_BYTES,
            (_, Some(body)) => body.input_hint(),
            _ => usize::MAX,
        }
    }

    /// The client shut down its sending side; every byte that came before was consumed, but for
    /// an unfinished line. False where that was known.
    pub fn end_of_input(&mut self, now: Instant) -> bool {
        if self.input_ended {
            return false;
        }
        self.input_ended = true;
        match self.phase {
            Phase::Ready if self.line_begun => {
                self.break_off(Failure::new(Code::BadRequest, "the input ended inside a line"), now);
            }
            Phase::Ready => self.close(),
            Phase::Receiving(_) | Phase::Discarding => {
                self.break_off(Failure::new(Code::Incomplete, "the input ended inside a body"), now);
            }
            _ => {}
        }
        self.settle(now);
        true
    }

    /// Returns whether [`receive`](Self::receive) would get on with more input, or
    /// [`end_of_input`](Self::end_of_input) with none.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        match &self.phase {
            Phase::Ready => {
                !self.last_reply.as_ref().is_some_and(|last| last.is_due())
                    && self.outbox.bytes() < OUTPUT_HIGH_BYTES
                    && self.queue.len() < PENDING_REQUESTS
                    && self.uploads.memory() < PENDING_BYTES
                    && self.uploads.open() < OPEN_UPLOADS
                    && self.operations.under_way() < OPERATIONS_UNDER_WAY
            }
            Phase::Receiving(_) => self.receiving().is_some_and(|body| body.room() > 0),
            Phase::Discarding => true,
            Phase::Lingering { bytes } => *bytes < LINGER_BYTES,
            _ => false,
        }
    }

    /// Returns the next operation for the store.
    pub fn next_operation(&mut self) -> Option<Operation<H>> {
        self.operations.next()
    }

    /// Takes the completion of an operation.
    pub fn complete(&mut self, completion: Completion<'_, H>, now: Instant) {
        self.operations.ended();
        match completion {
            Completion::Read(completion) => self.read_completed(completion, now),
            Completion::Upload(number, completion) => self.upload_completed(number, completion, now),
            Completion::Name(NameCompletion::Published(number, published)) => {
                self.upload_event(number, now, |upload| upload.published(published));
            }
            Completion::Name(NameCompletion::Changed(number, changed)) => {
                self.records.extend(self.queue.changed(number, changed, now));
            }
        }
        self.settle(now);
    }

    /// Returns the queue of bytes to send.
    pub fn outbox(&mut self) -> &mut Outbox<H::File> {
        &mut self.outbox
    }

    /// Notes that some of the outbox was sent.
    pub fn sent(&mut self, now: Instant) {
        self.settle(now);
    }

    /// The file at the front of the outbox can't be read any more: its ranges are padded, and the
    /// body then fails with `error`.
    pub fn range_failed(&mut self, error: StoreError, now: Instant) {
        self.outbox.pad_ranges();
        if let Phase::Downloading(download) = &mut self.phase {
            download.fail(error.into());
        }
        self.settle(now);
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) is due, if nothing happens before.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Over => None,
            _ => [self.clock.deadline(&self.limits.timeouts, LINGER), self.rested_at()].into_iter().flatten().min(),
        }
    }

    /// Stops the clocks of a client that is kept waiting on purpose, until
    /// [`resume`](Self::resume).
    pub fn pause(&mut self) {
        self.clock.pause();
    }

    /// Starts the clocks again after `paused`: they go on where they stood.
    pub fn resume(&mut self, paused: Duration, now: Instant) {
        self.clock.resume(paused, now);
    }

    /// Looks at the clocks.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        if self.rested_at().is_some_and(|at| at <= now) {
            return self.part(now);
        }
        if let Some(body) = self.receiving_mut() {
            body.drop_spares();
        }
        let counter = self.counter(self.clock.waiting());
        match self.clock.expired(&self.limits.timeouts, counter, now) {
            None | Some(Waiting::Store) => {}
            Some(Waiting::Idle) => self.break_off(timeout("no request for too long"), now),
            Some(Waiting::Line) => self.break_off(timeout("the request line took too long"), now),
            Some(Waiting::Body) => self.break_off(timeout("the body came too slowly"), now),
            Some(Waiting::Output) => self.disconnected_for(&timeout("the replies were not taken"), now),
            Some(Waiting::Root) => self.probe_is_late(now),
            Some(Waiting::Linger) => self.phase = Phase::Over,
        }
        self.settle(now);
    }

    /// Returns whether it has the resumable upload `id`, and lets go of it: no more of it comes.
    #[must_use]
    pub fn lets_go_of(&self, id: &Id) -> bool {
        self.uploads.lets_go_of(id)
    }

    /// A newer connection wants the resumable upload `id`, which this one has: lets go of it, unless
    /// it came to its end already.
    pub fn evict(&mut self, id: &Id, now: Instant) {
        match &mut self.phase {
            Phase::Receiving(number) if self.uploads.has_id(*number, id) => {
                self.refuse_body(changes::taken_over(), now);
            }
            Phase::Preparing(preparing) => preparing.evict(id),
            _ => {}
        }
        self.settle(now);
    }

    /// Notes that the connection is gone. Requests that have begun are dropped, operations under
    /// way are awaited.
    pub fn disconnected(&mut self, now: Instant) {
        self.disconnected_for(&Failure::new(Code::Incomplete, "the connection was lost"), now);
        self.settle(now);
    }

    /// Nothing can be sent to the client any more, though there may still be input of it: what is
    /// read for it is given up. The changes that it asked for go on.
    pub fn hung_up(&mut self, now: Instant) {
        let reads = matches!(
            self.phase,
            Phase::Downloading(_) | Phase::Listing(_) | Phase::Looking { .. } | Phase::Probing | Phase::LoggingIn(_)
        );
        if reads {
            self.disconnected(now);
        }
    }

    /// Returns whether the client turned out to speak another protocol; says so once.
    pub fn take_stranger(&mut self) -> bool {
        std::mem::take(&mut self.is_stranger)
    }

    /// Returns whether sending is to be shut down now; says so once.
    pub fn take_shutdown(&mut self) -> bool {
        std::mem::take(&mut self.shutdown_due)
    }

    /// Returns whether there is nothing left to do: the connection can be closed and the session forgotten.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over) && self.operations.under_way() == 0
    }

    /// Returns whether the socket has no more use, though operations are still under way.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    /// Returns whether it waits for a request and owes nothing.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Ready) && self.queue.is_empty() && self.outbox.is_empty()
    }

    /// Returns what it does now.
    #[must_use]
    pub fn activity(&self) -> Activity {
        match &self.phase {
            Phase::Ready if self.uploads.len() > 0 => Activity::Uploading,
            Phase::Ready if self.is_idle() && !self.line_begun => Activity::Idle,
            Phase::Ready
            | Phase::Waiting(_)
            | Phase::LoggingIn(_)
            | Phase::Listing(_)
            | Phase::Looking { .. }
            | Phase::Probing => Activity::Asking,
            Phase::Downloading(_) => Activity::Downloading,
            Phase::Preparing(_) | Phase::Receiving(_) | Phase::Discarding => Activity::Uploading,
            Phase::Closing | Phase::Lingering { .. } | Phase::Over => Activity::Closing,
        }
    }

    /// Returns how many uploads are under way: from the store's handle to their end.
    #[must_use]
    pub fn uploads(&self) -> usize {
        self.uploads.len()
    }

    /// Takes what is to be logged, in order, and returns the user who did it.
    pub fn records(&mut self) -> (Option<&UserName>, std::vec::Drain<'_, Record>) {
        (self.visitor.user(), self.records.drain(..))
    }

    /// Takes memory for queues that have none.
    pub fn lend(&mut self, spares: &mut Spares<H>) {
        spares.lend(&mut self.operations, &mut self.records);
        self.outbox.lend(&mut spares.output);
    }

    /// Gives the memory of queues that are empty back: an idle client owns no buffer.
    pub fn rest(&mut self, spares: &mut Spares<H>) {
        spares.take(&mut self.operations, &mut self.records);
        self.outbox.rest(&mut spares.output);
        self.queue.rest();
        self.uploads.rest();
    }
}
