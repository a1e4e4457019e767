//! One client's conversation, as a pure state machine.
//!
//! A session gets bytes ([`Session::receive`]), outcomes of work ([`Session::complete`]) and the
//! time; it gives work to the store ([`Session::next_ask`]) and things to send
//! ([`Session::outbox`]). It touches no socket, no file, no clock and no thread, so that a
//! simulation can drive it byte by byte.
//!
//! # Order of calls
//!
//! After every call that takes `now`, take all of [`next_ask`](Session::next_ask), see to the
//! outbox, and read [`deadline`](Session::deadline) anew. Bytes that `receive` did not consume
//! are given again, in front of newer ones, once [`wants_input`](Session::wants_input). When nothing
//! is left to do for now, let it [`rest`](Session::rest). A session
//! may be forgotten when it [`is_over`](Session::is_over), which it never is while work it asked for
//! is under way: so what the store holds for it is always let go by itself.
//!
//! # Order of effects
//!
//! Requests take effect in the order in which they came. Those that read wait until all that
//! change have been answered; those that change are handed on in order without waiting for
//! each other, so that many uploads share their waits for the disk.

mod body;
mod clock;
mod download;
mod outbox;
mod owner;
mod record;
mod upload;
mod work;

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use ferry_wire::{Code, Failure, Frame, Framer, Greeting, Id, Refusal, Reply, Request};

pub use clock::Patience;
pub use outbox::{Outbox, Segment};
pub use owner::Owner;
pub use record::Record;
pub use work::{Ask, Change, Chunk, Done, Errand, Handles, Opened, Outcome, Tail, Work};

use clock::{Clock, Waiting};
use download::{Listing, Sending, Summing};
use record::Transfer;
use upload::{Leaving, Pending, Receiving, Released, Staging};

/// What a session allows. Shared by all sessions of a server.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Changes are refused.
    pub read_only: bool,
    /// The store brings nothing to the disk before it says that it is done.
    pub volatile: bool,
    /// The largest upload in bytes.
    pub upload_bytes: u64,
    /// How long a client may take.
    pub patience: Patience,
    /// Between two checkpoints of a resumable upload, in bytes: what a crash can cost at most, beside what is gathered
    /// for one write.
    pub checkpoint_bytes: u64,
    /// After this time a checkpoint is made of fewer bytes, too: what a crash can cost those who are slow.
    pub checkpoint_time: Duration,
}

/// Below this many bytes of queued replies the next request is taken up: enough to fill a write,
/// little enough that a client who never reads costs little.
const OUTPUT_HIGH_BYTES: u64 = 64 << 10;

/// Ranges up to this size are copied into the reply; above it, sendfile saves more than it costs.
const INLINE_BYTES: u64 = 64 << 10;

/// What is read at once where a request is due: some hundred requests, little enough to be put aside
/// while they wait.
const REQUESTS_HINT_BYTES: usize = 16 << 10;

/// Lines that are taken at once: whoever drives the session looks at the time, and at others, in between.
const LINES_AT_ONCE: u32 = 64;

/// Requests that change and are not answered yet. More would only wait longer.
const PENDING_REQUESTS: usize = 64;

/// Pieces of work under way, those for uploads that were given up included: a client who begins and
/// stops as fast as it can must wait for the store like any other.
const WORK_UNDER_WAY: u32 = 128;

/// Memory of uploads that one session may have handed to the store and not got back, in bytes, before it takes another
/// request. One upload more adds at most three chunks.
const PENDING_BYTES: u64 = 2 << 20;

/// Uploads of one session whose files are open, before it takes another request: two for each helper that waits for the
/// disk.
const OPEN_UPLOADS: u32 = 8;

/// After the last reply: how long, and over how many bytes, input is passed over so that closing
/// does not destroy replies on their way.
const COURTESY: Duration = Duration::from_secs(2);
const COURTESY_BYTES: u64 = 1 << 20;

/// See the [module documentation](self).
pub struct Session<H: Handles> {
    limits: Arc<Limits>,
    framer: Framer,
    phase: Phase<H>,
    /// Requests that change, in order, until they are answered.
    pending: VecDeque<Pending<H>>,
    /// Uploads that were given up while writes were under way.
    released: Vec<Released<H>>,
    /// Uploads that the store was asked to let go.
    leaving: Vec<Leaving>,
    /// Memory handed to the store for writing and not back yet, in bytes.
    pending_bytes: u64,
    /// Uploads whose files the store has open.
    open_uploads: u32,
    outbox: Outbox<H::File>,
    asks: VecDeque<Ask<H>>,
    /// Work asked for and not completed.
    in_work: u32,
    next_errand: Errand,
    records: Vec<Record>,
    /// What the options of a WITH do to the next request: version 1 knows none, so it fails.
    with: Option<Box<Failure>>,
    /// Said as soon as a reply may begin, then the connection closes.
    last_words: Option<Box<Failure>>,
    /// The client will send nothing more.
    input_ended: bool,
    /// A part of a line has arrived.
    line_begun: bool,
    /// Sending is to be shut down, once.
    shutdown_due: bool,
    requests: u64,
    body_bytes: u64,
    /// Lines that were taken and not told of yet.
    lines: u32,
    clock: Clock,
}

enum Phase<H: Handles> {
    /// A request line is due.
    Ready,
    /// A request is read, and waits until those before it are answered.
    Held(Box<Request>),
    /// One errand of a reading request is under way.
    Asking(Box<Asking>),
    /// A file goes out.
    Sending(Box<Sending<H>>),
    /// A listing goes out.
    Listing(Box<Listing<H>>),
    /// A file is summed.
    Summing(Box<Summing<H>>),
    /// An upload is being prepared.
    Staging(Box<Staging>),
    /// A body comes in.
    Receiving(Box<Receiving<H>>),
    /// The body of a refused upload is passed over.
    PassingOver,
    /// No more input is looked at; what is owed is said.
    Closing,
    /// All is said: input is passed over for a while.
    Courtesy { bytes: u64 },
    /// The connection is gone or done with.
    Over,
}

/// A request whose first answer from the store is awaited.
struct Asking {
    errand: Errand,
    kind: AskKind,
    transfer: Transfer,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum AskKind {
    Get,
    Sum,
    Stat,
    List,
}

impl<H: Handles> Session<H> {
    /// A session that greets.
    #[must_use]
    pub fn new(limits: Arc<Limits>, now: Instant) -> Session<H> {
        let mut outbox = Outbox::new();
        let known = [(limits.read_only, Greeting::READ_ONLY), (limits.volatile, Greeting::VOLATILE)];
        let features = known.into_iter().filter(|(holds, _)| *holds).map(|(_, word)| word.to_owned()).collect();
        let software = concat!("ferryd/", env!("CARGO_PKG_VERSION")).into();
        outbox.text(|text| Greeting { software, features }.encode(text));
        Session {
            limits,
            framer: Framer::new(),
            phase: Phase::Ready,
            pending: VecDeque::new(),
            released: Vec::new(),
            leaving: Vec::new(),
            pending_bytes: 0,
            open_uploads: 0,
            outbox,
            asks: VecDeque::new(),
            in_work: 0,
            next_errand: 0,
            records: Vec::new(),
            with: None,
            last_words: None,
            input_ended: false,
            line_begun: false,
            shutdown_due: false,
            requests: 0,
            body_bytes: 0,
            lines: 0,
            clock: Clock::new(now),
        }
    }

    /// A session that says no more than why it won't serve.
    #[must_use]
    pub fn refusing(limits: Arc<Limits>, failure: &Failure, now: Instant) -> Session<H> {
        let mut session = Session::new(limits, now);
        session.outbox.clear();
        session.outbox.text(|text| failure.encode(text));
        session.phase = Phase::Closing;
        session.settle(now);
        session
    }

    /// Takes bytes from the front of `input` and says how many: less than all where a line is not
    /// finished, where the session must wait for the store or for the client to read, or after 64
    /// lines. None are taken only where it can't go on.
    pub fn receive(&mut self, input: &[u8], now: Instant) -> usize {
        let mut used = 0;
        let before = self.lines;
        self.line_begun = false;
        while used < input.len() && self.lines.wrapping_sub(before) < LINES_AT_ONCE && self.wants_input() {
            let rest = &input[used..];
            if let Phase::Courtesy { bytes } = &mut self.phase {
                *bytes += rest.len() as u64;
                used = input.len();
                break;
            }
            // A chunk takes no more than it has room for.
            let window = match &self.phase {
                Phase::Receiving(receiving) if self.framer.raw_left() > 0 => &rest[..rest.len().min(receiving.room())],
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

    /// Where the next raw bytes of a body may be read to directly, past [`receive`](Self::receive):
    /// only while no unconsumed input is waiting. Say with [`received`](Self::received) how many came.
    pub fn direct(&mut self) -> Option<&mut [u8]> {
        let due = self.framer.raw_left();
        match &mut self.phase {
            Phase::Receiving(receiving) => receiving.direct(due),
            _ => None,
        }
    }

    /// `bytes` bytes were read to the front of [`direct`](Self::direct).
    pub fn received(&mut self, bytes: usize, now: Instant) {
        if let Phase::Receiving(receiving) = &mut self.phase {
            self.framer.took_raw(bytes as u64);
            self.body_bytes += bytes as u64;
            receiving.filled(bytes);
        }
        self.settle(now);
    }

    /// The most that is worth reading at once: little where a block's header is due inside a large
    /// body, so that what follows can be read [directly](Self::direct).
    #[must_use]
    pub fn input_hint(&self) -> usize {
        match &self.phase {
            Phase::Receiving(receiving) => receiving.input_hint(),
            Phase::Ready => REQUESTS_HINT_BYTES,
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
            Phase::Receiving(_) | Phase::PassingOver => {
                self.break_off(Failure::new(Code::Incomplete, "the input ended inside a body"), now);
            }
            _ => {}
        }
        self.settle(now);
        true
    }

    /// Whether [`receive`](Self::receive) would get on with more input, or
    /// [`end_of_input`](Self::end_of_input) with none.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        match &self.phase {
            Phase::Ready => {
                self.last_words.is_none()
                    && self.outbox.bytes() < OUTPUT_HIGH_BYTES
                    && self.pending.len() < PENDING_REQUESTS
                    && self.pending_bytes < PENDING_BYTES
                    && self.open_uploads < OPEN_UPLOADS
                    && self.in_work < WORK_UNDER_WAY
            }
            Phase::Receiving(receiving) => receiving.room() > 0,
            Phase::PassingOver => true,
            Phase::Courtesy { bytes } => *bytes < COURTESY_BYTES,
            _ => false,
        }
    }

    /// The next piece of work for the store.
    pub fn next_ask(&mut self) -> Option<Ask<H>> {
        self.asks.pop_front()
    }

    /// A piece of work has ended.
    pub fn complete(&mut self, errand: Errand, outcome: Outcome<'_, H>, now: Instant) {
        debug_assert!(self.in_work > 0, "an outcome of nothing asked");
        self.in_work -= 1;
        let outcome = match self.complete_read(errand, outcome, now) {
            Some(outcome) => outcome,
            None => return self.settle(now),
        };
        self.complete_upload(errand, outcome, now);
        self.settle(now);
    }

    /// What to send.
    pub fn outbox(&mut self) -> &mut Outbox<H::File> {
        &mut self.outbox
    }

    /// Some of the outbox was sent.
    pub fn sent(&mut self, now: Instant) {
        self.settle(now);
    }

    /// The file at the front of the outbox can't be read any more: its ranges are padded, and the
    /// body then fails with `failure`.
    pub fn range_failed(&mut self, failure: Failure, now: Instant) {
        self.outbox.pad_ranges();
        if let Phase::Sending(sending) = &mut self.phase {
            sending.fail(failure);
        }
        self.settle(now);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due, if nothing happens before.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Over => None,
            _ => self.clock.deadline(&self.limits.patience, COURTESY),
        }
    }

    /// The client is kept waiting on purpose: its clocks stand still until [`resume`](Self::resume).
    pub fn pause(&mut self) {
        self.clock.pause();
    }

    /// The client is kept waiting no more, after `paused`: its clocks go on where they stood.
    pub fn resume(&mut self, paused: Duration, now: Instant) {
        self.clock.resume(paused, now);
    }

    /// Looks at the clocks.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        if let Phase::Receiving(receiving) = &mut self.phase {
            receiving.drop_spares();
        }
        let counter = self.counter(self.clock.waiting());
        match self.clock.expired(&self.limits.patience, counter, now) {
            None | Some(Waiting::Store) => {}
            Some(Waiting::Idle) => self.break_off(timeout("no request for too long"), now),
            Some(Waiting::Line) => self.break_off(timeout("the request line took too long"), now),
            Some(Waiting::Body) => self.break_off(timeout("the body came too slowly"), now),
            Some(Waiting::Output) => self.disconnected_for(&timeout("the replies were not taken"), now),
            Some(Waiting::Courtesy) => self.phase = Phase::Over,
        }
        self.settle(now);
    }

    /// The server is ending, or must let this client go: says why as soon as a reply may stand
    /// there, and closes. Uploads that are whole are still published.
    pub fn dismiss(&mut self, failure: Failure, now: Instant) {
        match self.phase {
            Phase::Ready | Phase::Receiving(_) | Phase::PassingOver => self.break_off(failure, now),
            Phase::Held(_) => {
                self.phase = Phase::Ready;
                self.break_off(failure, now);
            }
            Phase::Closing | Phase::Courtesy { .. } | Phase::Over => {}
            _ => self.last_words = Some(Box::new(failure)),
        }
        self.settle(now);
    }

    /// A newer connection wants the resumable upload `id`, which this one holds: lets go of it, unless
    /// it came to its end already.
    pub fn evict(&mut self, id: &Id, now: Instant) {
        let failure = upload::taken_over;
        match &mut self.phase {
            Phase::Receiving(receiving) if receiving.id() == Some(id) => self.refuse_body(failure(), now),
            Phase::Staging(staging) => staging.evict(id),
            _ => {}
        }
        self.settle(now);
    }

    /// The connection is gone. What was begun is dropped, what is under way is awaited.
    pub fn disconnected(&mut self, now: Instant) {
        self.disconnected_for(&Failure::new(Code::Incomplete, "the connection was lost"), now);
        self.settle(now);
    }

    /// Nothing can be sent to the client any more, though there may still be input of it: what is read for it is given up.
    /// What it asked to change goes on.
    pub fn hung_up(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Asking(_) | Phase::Sending(_) | Phase::Listing(_) | Phase::Summing(_)) {
            self.disconnected(now);
        }
    }

    /// Whether sending is to be shut down now; says so once.
    pub fn take_shutdown(&mut self) -> bool {
        std::mem::take(&mut self.shutdown_due)
    }

    /// Whether there is nothing left to do: the connection can be closed and the session forgotten.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over) && self.in_work == 0 && self.asks.is_empty()
    }

    /// Whether the socket has no more use, though work is still under way.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    /// Whether it waits for a request and owes nothing.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Ready) && self.pending.is_empty() && self.outbox.is_empty()
    }

    /// What is to be logged, in order.
    pub fn records(&mut self) -> impl Iterator<Item = Record> {
        self.records.drain(..)
    }

    /// Gives the memory of queues that are empty back: an idle client owns no buffer. Said at the end of
    /// a turn, so that a busy client need not ask for it again and again.
    pub fn rest(&mut self) {
        if self.records.is_empty() && self.records.capacity() > 0 {
            self.records = Vec::new();
        }
        if self.asks.is_empty() && self.asks.capacity() > 0 {
            self.asks = VecDeque::new();
        }
        if self.pending.is_empty() && self.pending.capacity() > 0 {
            self.pending = VecDeque::new();
        }
        if self.leaving.is_empty() && self.leaving.capacity() > 0 {
            self.leaving = Vec::new();
        }
        self.outbox.rest();
    }
}

/// Reading requests and starting them.
impl<H: Handles> Session<H> {
    fn frame(&mut self, frame: Frame<'_>, now: Instant) {
        self.lines = self.lines.wrapping_add(u32::from(matches!(frame, Frame::Line(_))));
        match (frame, &mut self.phase) {
            (Frame::Raw(bytes), Phase::Receiving(receiving)) => {
                self.body_bytes += bytes.len() as u64;
                receiving.take(bytes);
            }
            (Frame::Raw(bytes), _) => self.body_bytes += bytes.len() as u64,
            (Frame::Line(line), Phase::Receiving(_) | Phase::PassingOver) => self.body_line(line, now),
            (Frame::Line(line), _) => self.request_line(line, now),
        }
    }

    fn request_line(&mut self, line: &[u8], now: Instant) {
        let parsed = Request::parse(line);
        // A client that has come as far as another request is not slow. Options are none yet: they may
        // not drip for ever.
        if !matches!(parsed, Ok(Request::With) | Err(Refusal::With(_))) {
            self.clock.restart(self.counter(self.clock.waiting()), now);
        }
        let with = match parsed {
            Ok(Request::With) | Err(Refusal::With(_) | Refusal::Stream(_)) => None,
            _ => self.with.take(),
        };
        match (parsed, with) {
            (Err(Refusal::Stream(failure)), _) => self.break_off(failure, now),
            (Ok(Request::With), _) => {
                let unknown = || Failure::new(Code::Unsupported, "this server knows no options for WITH").into();
                self.with.get_or_insert_with(unknown);
            }
            (Err(Refusal::With(failure)), _) => self.with = Some(failure.into()),
            (Err(Refusal::Request { failure, body_follows }), with) => {
                self.requests += 1;
                self.refuse(with.map_or(failure, |with| *with), body_follows);
            }
            (Ok(request), Some(failure)) => {
                self.requests += 1;
                self.refuse(*failure, matches!(request, Request::Put { .. }));
            }
            (Ok(request), None) => {
                self.requests += 1;
                self.start(request, now);
            }
        }
    }

    fn refuse(&mut self, failure: Failure, body_follows: bool) {
        self.reply(Reply::Fail(failure));
        if body_follows {
            self.phase = Phase::PassingOver;
        }
    }

    fn start(&mut self, request: Request, now: Instant) {
        match request {
            Request::Put { size, mtime, name } => self.start_put(name, size, mtime, now),
            Request::Mkdir { name } => self.change(Change::Mkdir(name), now),
            Request::Delete { name } => self.change(Change::Delete(name), now),
            Request::Rename { from, to } => self.change(Change::Rename(from, to), now),
            request if !self.pending.is_empty() => self.phase = Phase::Held(Box::new(request)),
            request => self.start_read(request, now),
        }
    }

    /// Starts a request that must see all before it; all of that is answered.
    fn start_read(&mut self, request: Request, now: Instant) {
        let verb = request.verb();
        let (kind, name, work) = match request {
            Request::Get { name } => {
                let text = name.as_str().into();
                (AskKind::Get, text, Work::Open { name, offset: 0, length: None, tag: None, inline: INLINE_BYTES })
            }
            Request::Read { offset, length, tag, name } => {
                let text = name.as_str().into();
                (AskKind::Get, text, Work::Open { name, offset, length, tag, inline: INLINE_BYTES })
            }
            Request::Sum { name } => {
                let text = name.as_str().into();
                (AskKind::Sum, text, Work::Open { name, offset: 0, length: None, tag: None, inline: INLINE_BYTES })
            }
            Request::Stat { name } => (AskKind::Stat, "".into(), Work::Stat { name }),
            Request::List { name } => (AskKind::List, "".into(), Work::List { name }),
            Request::Resume { id, size, mtime, name } => return self.start_resume(id, name, size, mtime, now),
            Request::Close => return self.close(),
            // These never wait: `start` sees to them.
            Request::Put { .. }
            | Request::Mkdir { .. }
            | Request::Delete { .. }
            | Request::Rename { .. }
            | Request::With => return,
        };
        let errand = self.ask_anew(work);
        let transfer = Transfer { verb, name, bytes: 0, started: now };
        self.phase = Phase::Asking(Box::new(Asking { errand, kind, transfer }));
    }

    fn close(&mut self) {
        self.reply(Reply::Bye);
        self.phase = Phase::Closing;
    }
}

/// What all requests share.
impl<H: Handles> Session<H> {
    /// Answers the request that is being read, behind those before it.
    fn reply(&mut self, reply: Reply) {
        if self.pending.is_empty() {
            self.outbox.text(|text| reply.encode(text));
        } else {
            self.pending.push_back(Pending::answered(reply));
        }
    }

    fn ask_anew(&mut self, work: Work<H>) -> Errand {
        let errand = self.next_errand;
        self.next_errand = self.next_errand.wrapping_add(1);
        self.ask(errand, work);
        errand
    }

    fn ask(&mut self, errand: Errand, work: Work<H>) {
        self.in_work += 1;
        self.asks.push_back(Ask { errand, work });
    }

    fn record(&mut self, transfer: Transfer, failure: Option<Failure>, now: Instant) {
        self.records.push(transfer.ended(now, failure));
    }

    /// The stream can't be followed, or the client not be waited for, any further: says so behind
    /// the replies before it, and closes.
    fn break_off(&mut self, failure: Failure, now: Instant) {
        let phase = std::mem::replace(&mut self.phase, Phase::Closing);
        if let Phase::Receiving(receiving) = phase {
            self.release(*receiving, Some(failure.clone()), now);
        }
        self.reply(Reply::Fail(failure));
    }

    fn disconnected_for(&mut self, failure: &Failure, now: Instant) {
        let phase = std::mem::replace(&mut self.phase, Phase::Over);
        self.outbox.clear();
        match phase {
            Phase::Receiving(receiving) => self.release(*receiving, Some(failure.clone()), now),
            Phase::Sending(sending) => self.record(sending.transfer, Some(failure.clone()), now),
            // Answers to come are released by `complete`.
            _ => {}
        }
    }

    /// Brings the session as far as it gets by itself: called at the end of everything.
    fn settle(&mut self, now: Instant) {
        self.settle_pending();
        loop {
            match &self.phase {
                Phase::Held(_) if self.pending.is_empty() => {
                    let Phase::Held(request) = std::mem::replace(&mut self.phase, Phase::Ready) else { return };
                    self.start_read(*request, now);
                }
                Phase::Ready if self.last_words.is_some() => {
                    if let Some(failure) = self.last_words.take() {
                        self.break_off(*failure, now);
                    }
                }
                Phase::Closing if self.pending.is_empty() && self.outbox.is_empty() => {
                    self.shutdown_due = true;
                    self.phase = Phase::Courtesy { bytes: 0 };
                }
                Phase::Courtesy { bytes } if self.input_ended || *bytes >= COURTESY_BYTES => self.phase = Phase::Over,
                Phase::Sending(_) => {
                    if !self.settle_sending(now) {
                        break;
                    }
                }
                Phase::Listing(_) => {
                    if !self.settle_listing() {
                        break;
                    }
                }
                Phase::Receiving(_) => {
                    self.settle_receiving(now);
                    break;
                }
                _ => break,
            }
        }
        let waiting = self.waiting();
        self.clock.set(waiting, self.counter(waiting), now);
    }

    fn waiting(&self) -> Waiting {
        match &self.phase {
            Phase::Receiving(receiving) if receiving.room() == 0 => Waiting::Store,
            // After GO a client may have much to read before it can go on.
            Phase::Receiving(receiving) if receiving.is_ahead() => Waiting::Idle,
            Phase::Receiving(_) | Phase::PassingOver => Waiting::Body,
            Phase::Courtesy { .. } => Waiting::Courtesy,
            Phase::Over => Waiting::Store,
            _ if !self.outbox.is_empty() => Waiting::Output,
            _ if !self.pending.is_empty() => Waiting::Store,
            // It must get back what it handed on before it takes more.
            Phase::Ready if !self.wants_input() => Waiting::Store,
            Phase::Ready if self.line_begun || self.with.is_some() => Waiting::Line,
            Phase::Ready => Waiting::Idle,
            _ => Waiting::Store,
        }
    }

    fn counter(&self, waiting: Waiting) -> u64 {
        match waiting {
            Waiting::Idle | Waiting::Line => self.requests,
            Waiting::Body => self.body_bytes,
            Waiting::Output => self.outbox.sent(),
            Waiting::Store | Waiting::Courtesy => 0,
        }
    }
}

fn timeout(message: &'static str) -> Failure {
    Failure::new(Code::Timeout, message)
}
