//! One client's conversation in HTTP/1.1, by RFC 9110 and RFC 9112.
//!
//! The contract is that of every [session](super::Session).
//!
//! # Order of effects
//!
//! One request at a time: the next one is read when all of the answer to the one before is queued. So requests take
//! effect, and are answered, in the order in which they came.
//!
//! # A request, from its head to its answer
//!
//! [`message`] reads the head. [`HttpRequest`] holds what is left of it; `logins` finds out who makes it, and
//! [`take_effect`](HttpSession::take_effect) is the gate to the rest: `reads` (files), `listings` and `archive`
//! (directories), `changes` (PUT, DELETE, MKCOL) and [`tus`] (resumable uploads). While it waits for something, [`Step`]
//! says for what. `answers` says how it ended,
//! and [`finish`](HttpSession::finish) takes up the next one.

mod answers;
mod archive;
mod changes;
mod day;
mod farewell;
mod listings;
mod logins;
pub mod message;
pub mod page;
mod reads;
mod request;
mod sending;
mod settle;
#[cfg(test)]
mod tests;
pub mod tus;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ferry_wire::{Failure, Options, Request, UserName};

use super::{
    Activity, LINGER, LINGER_BYTES, Limits, Outbox, Record, Spares, Visitor, clock::Clock, operations::Operations,
    record::Transfer, uploads::Uploads, visitor::Terms,
};
use crate::store::{Completion, Handles, NameCompletion, Operation, StoreError};
use answers::ALLOWED;
use archive::Archive;
use changes::Becoming;
pub use day::DayClock;
use farewell::Leaving;
use listings::Directory;
use logins::{Known, LoggingIn};
use message::{BodyPiece, BodyReader, Head, HeadReader, Method, Refusal, StatusCode};
use request::HttpRequest;
use sending::Sending;
use tus::UploadIds;

/// Below this many bytes of queued answers the next request is taken up: enough to fill a write,
/// little enough that a client who never reads costs little.
const OUTPUT_HIGH_BYTES: u64 = 64 << 10;

/// The most that is read at once where a request is due: some dozens, little enough to be put aside while they wait.
const REQUESTS_HINT_BYTES: usize = 16 << 10;

/// Heads that are taken at once: whoever drives the session looks at the time, and at others, in between.
const HEADS_AT_ONCE: u32 = 64;

/// See the [module documentation](self).
pub struct HttpSession<H: Handles> {
    limits: Arc<Limits>,
    /// The client, with its rights.
    visitor: Visitor,
    /// The ids of uploads that are made by tus.
    ids: Arc<UploadIds>,
    /// The time of day.
    day: Arc<DayClock>,
    /// The user whose secret was right.
    known: Option<Box<Known>>,
    heads: HeadReader,
    phase: Phase<H>,
    /// Uploads from their handle to their end: one that is received, and those that were given up.
    uploads: Uploads<H>,
    outbox: Outbox<H::File>,
    operations: Operations<H>,
    records: Vec<Record>,
    /// It is to end.
    leaving: Option<Leaving>,
    clock: Clock,
    body_bytes: u64,
    requests: u32,
    /// Heads that were taken and not told of yet.
    taken: u32,
    /// The transport takes no ranges of files.
    as_bytes: bool,
    /// The client will send nothing more.
    input_ended: bool,
    /// Sending is to be shut down, once.
    shutdown_due: bool,
    /// A head that may hold a secret was taken, and that was not asked about yet.
    has_read_secret: bool,
}

enum Phase<H: Handles> {
    /// A request is due.
    Ready,
    /// The secret that came with a request is checked.
    LoggingIn(Box<LoggingIn>),
    /// A request is carried out.
    At(Box<HttpRequest>, Step<H>),
    /// The rest of the body of a request that was answered is discarded.
    Discarding(Box<BodyReader>),
    /// No more input is looked at; what is owed is said.
    Closing,
    /// All is said: input is discarded for a while.
    Lingering { bytes: u64 },
    /// The connection is gone or done with. A change that is under way is still for the log.
    Over(Option<Box<Transfer>>),
}

/// The thing that a request waits for.
enum Step<H: Handles> {
    /// A file is opened, and a part of it read.
    Opening,
    /// The status of a name is looked up.
    Looking,
    /// The same, of a name that may not be read, and may be a directory's that can be looked at: else this is the answer.
    LookingForDirectory(Box<Failure>),
    /// The store looks how far an upload is.
    Measuring,
    /// A file is sent.
    Sending(Box<Sending<H>>),
    /// A directory is listed.
    Listing(Box<Directory<H>>),
    /// A directory is sent as an archive.
    Archiving(Box<Archive<H>>),
    /// An upload is prepared.
    Preparing(Becoming),
    /// The body of an upload comes in.
    Receiving(Becoming),
    /// An upload is brought to the disk, and gets its name.
    Storing(Becoming),
    /// A change is made.
    Changing,
}

impl<H: Handles> Phase<H> {
    /// Returns the file that is sent, alone or in an archive.
    fn sending(&mut self) -> Option<&mut Sending<H>> {
        match self {
            Phase::At(_, Step::Sending(sending)) => Some(sending),
            Phase::At(_, Step::Archiving(archive)) => archive.sending(),
            _ => None,
        }
    }
}

impl<H: Handles> HttpSession<H> {
    /// Returns a session whose client has come `now`. All sessions of a server share the `ids`, and the clock that tells
    /// the time of `day`.
    #[must_use]
    pub fn new(
        limits: Arc<Limits>,
        ids: Arc<UploadIds>,
        day: Arc<DayClock>,
        visitor: Visitor,
        now: Instant,
    ) -> HttpSession<H> {
        HttpSession {
            limits,
            ids,
            day,
            visitor,
            known: None,
            heads: HeadReader::default(),
            phase: Phase::Ready,
            uploads: Uploads::new(),
            outbox: Outbox::new(),
            operations: Operations::new(),
            records: Vec::new(),
            leaving: None,
            clock: Clock::new(now),
            requests: 0,
            body_bytes: 0,
            taken: 0,
            as_bytes: false,
            input_ended: false,
            shutdown_due: false,
            has_read_secret: false,
        }
    }

    /// Returns the session, for a transport that takes bytes and no ranges of files.
    #[must_use]
    pub fn as_bytes(self) -> HttpSession<H> {
        HttpSession { as_bytes: true, ..self }
    }

    /// Returns a session that says no more than why it won't serve, before any request has come.
    #[must_use]
    pub fn refusing(
        limits: Arc<Limits>,
        ids: Arc<UploadIds>,
        day: Arc<DayClock>,
        visitor: Visitor,
        failure: &Failure,
        now: Instant,
    ) -> HttpSession<H> {
        let mut session = HttpSession::new(limits, ids, day, visitor, now);
        session.say_unasked(failure, now);
        session.settle(now);
        session
    }

    /// Takes bytes from the front of `input` and says how many: less than all where a head is not
    /// whole, where the session must wait for the store or the client, or after 64 requests. None
    /// are taken only where it can't go on.
    pub fn receive(&mut self, input: &[u8], now: Instant) -> usize {
        let mut used = 0;
        let before = self.taken;
        while used < input.len() && self.taken.wrapping_sub(before) < HEADS_AT_ONCE && self.wants_input() {
            let rest = &input[used..];
            used += match &mut self.phase {
                Phase::Ready => match self.receive_head(rest, now) {
                    0 => break,
                    bytes => bytes,
                },
                Phase::At(_, Step::Receiving(_)) => self.receive_body(rest, now),
                Phase::Discarding(body) => match body.read(rest) {
                    Ok((bytes, BodyPiece::End)) => {
                        self.phase = Phase::Ready;
                        bytes
                    }
                    Ok((bytes, BodyPiece::More | BodyPiece::Bytes(_))) => {
                        self.body_bytes += bytes as u64;
                        bytes
                    }
                    Err(_) => {
                        // It was answered already.
                        self.phase = Phase::Closing;
                        rest.len()
                    }
                },
                Phase::Lingering { bytes } => {
                    *bytes += rest.len() as u64;
                    rest.len()
                }
                _ => break,
            };
            self.step(now);
        }
        self.settle(now);
        used
    }

    /// Takes a head off the input, and says how many bytes: none where it is not whole.
    fn receive_head(&mut self, input: &[u8], now: Instant) -> usize {
        match self.heads.read(input) {
            Ok(None) => 0,
            Ok(Some((head, bytes))) => {
                self.taken = self.taken.wrapping_add(1);
                self.requests = self.requests.wrapping_add(1);
                self.clock.restart(self.counter(self.clock.waiting()), now);
                self.start(&head, now);
                bytes
            }
            Err(refusal) => {
                self.taken = self.taken.wrapping_add(1);
                self.has_read_secret = true;
                self.refuse_stream(&refusal, now);
                input.len()
            }
        }
    }

    /// Begins with the request of a head.
    fn start(&mut self, head: &Head<'_>, now: Instant) {
        let (request, authorization, checked) = HttpRequest::of(head, now);
        self.has_read_secret |= authorization != message::Authorization::Absent;
        let request = Box::new(request);
        match checked {
            Err(refusal) => self.refuse(request, refusal, now),
            Ok(()) if self.is_rebound(&request) => {
                let reason = "a name may lead here by somebody else's doing: say localhost or an address, or let the server have \
                              a users file";
                self.refuse(request, Refusal::new(StatusCode::FORBIDDEN, reason), now);
            }
            Ok(()) => self.identify(request, authorization, now),
        }
    }

    /// Returns whether a page of anybody may have had a browser on this machine ask for what only those on this machine
    /// are to see: its name leads here now (DNS rebinding), so that the browser takes the server for that of the page. Where
    /// there is a users file, that says what anybody may see; and by TLS no other name has a certificate.
    fn is_rebound(&self, request: &HttpRequest) -> bool {
        request.is_for_a_public_name && self.visitor.is_within_this_machine() && !self.visitor.may_log_in()
    }

    /// Lets a request take effect, of the client that it turned out to be of. This leads to the gate: nothing is looked up
    /// before [`pass`](Self::pass) was asked.
    fn take_effect(&mut self, request: Box<HttpRequest>, now: Instant) {
        match request.method {
            _ if request.tus.is_some() => self.start_tus(request, now),
            Method::Get | Method::Head => self.start_read(request, now),
            Method::Put | Method::Delete | Method::Mkcol => self.start_change(request, now),
            Method::Options => {
                self.say(request, StatusCode::NO_CONTENT, now, answers::Said::Nothing, |head| {
                    head.field("Allow", ALLOWED)
                });
            }
            Method::Post | Method::Patch | Method::Trace => {
                let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "this can't be done by that method");
                self.refuse(request, refusal, now);
            }
            Method::Other => {
                let refusal = Refusal::new(StatusCode::NOT_IMPLEMENTED, "this server does not know that method");
                self.refuse(request, refusal, now);
            }
        }
    }

    /// Returns whether a page of another site made a browser send the request. A page of a name that leads to this machine
    /// (DNS rebinding) is one as well: it has no user's secret, so that only what nobody may do is to be looked at.
    fn is_foreign(&self, request: &HttpRequest) -> bool {
        request.is_foreign || request.is_of_a_name && self.visitor.is_private() && self.visitor.acting().is_none()
    }

    /// The gate: lets the request of ferry's protocol pass that needs the same rights, or says why not.
    fn pass(&self, request: &Request) -> Result<Terms, Failure> {
        self.visitor.pass(request, Options::default())
    }

    /// Takes the request that is carried out, if `is_awaited` knows its step.
    fn take_step<T>(
        &mut self,
        is_awaited: impl FnOnce(Step<H>) -> Result<T, Step<H>>,
    ) -> Option<(Box<HttpRequest>, T)> {
        match std::mem::replace(&mut self.phase, Phase::Ready) {
            Phase::At(request, step) => match is_awaited(step) {
                Ok(awaited) => Some((request, awaited)),
                Err(step) => {
                    self.phase = Phase::At(request, step);
                    None
                }
            },
            phase => {
                self.phase = phase;
                None
            }
        }
    }

    /// Returns how many heads were taken since this was last asked.
    pub fn take_lines(&mut self) -> u32 {
        std::mem::take(&mut self.taken)
    }

    /// Returns where the next raw bytes of a body may be read to directly, past [`receive`](Self::receive):
    /// only while no unconsumed input is waiting. Say with [`received`](Self::received) how many came.
    pub fn direct(&mut self) -> Option<&mut [u8]> {
        let Phase::At(request, Step::Receiving(becoming)) = &mut self.phase else { return None };
        if request.tus.as_ref().is_some_and(|tus| tus.looks_at_bytes()) {
            return None;
        }
        self.uploads.body_mut(becoming.number)?.direct(request.body.raw_left())
    }

    /// Notes that `bytes` bytes were read to the front of [`direct`](Self::direct).
    pub fn received(&mut self, bytes: usize, now: Instant) {
        if let Phase::At(request, Step::Receiving(becoming)) = &mut self.phase {
            request.body.took_raw(bytes as u64);
            if let Some(body) = self.uploads.body_mut(becoming.number) {
                body.filled(bytes);
            }
            self.body_bytes += bytes as u64;
        }
        self.settle(now);
    }

    /// Returns the most that is worth reading at once.
    #[must_use]
    pub fn input_hint(&self) -> usize {
        match &self.phase {
            Phase::Ready => REQUESTS_HINT_BYTES,
            _ => usize::MAX,
        }
    }

    /// Returns whether [`receive`](Self::receive) would get on with more input, or
    /// [`end_of_input`](Self::end_of_input) with none.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        match &self.phase {
            Phase::Ready => self.outbox.bytes() < OUTPUT_HIGH_BYTES && self.uploads.len() == 0,
            Phase::At(_, Step::Receiving(becoming)) => {
                self.uploads.body(becoming.number).is_some_and(|body| body.room() > 0)
            }
            Phase::Discarding(_) => true,
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
            Completion::Name(NameCompletion::Changed(_, changed)) => self.changed(changed, now),
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

    /// The file at the front of the outbox can't be read any more: the connection ends within its answer.
    pub fn range_failed(&mut self, error: StoreError, now: Instant) {
        match &self.phase {
            Phase::At(_, Step::Sending(_) | Step::Archiving(_)) => self.disconnected_for(&error.into(), now),
            // All of it was loaded, and logged as sent.
            _ => self.cut(),
        }
        self.settle(now);
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

    /// Returns whether the client turned out to speak another protocol. What can be no request is logged as a request that failed.
    pub fn take_stranger(&mut self) -> bool {
        false
    }

    /// Returns whether sending is to be shut down now; says so once.
    pub fn take_shutdown(&mut self) -> bool {
        std::mem::take(&mut self.shutdown_due)
    }

    /// Returns whether there is nothing left to do: the connection can be closed and the session forgotten.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let is_over = self.is_cut() && self.operations.under_way() == 0;
        debug_assert!(!is_over || self.uploads.len() == 0, "an upload is forgotten");
        is_over
    }

    /// Returns whether the socket has no more use, though operations are still under way.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        matches!(self.phase, Phase::Over(_))
    }

    /// Returns whether it waits for a request and owes nothing.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Ready) && self.outbox.is_empty()
    }

    /// Returns what it does now.
    #[must_use]
    pub fn activity(&self) -> Activity {
        match &self.phase {
            Phase::Ready if self.is_idle() && !self.heads.has_begun() => Activity::Idle,
            Phase::At(_, Step::Sending(_) | Step::Archiving(_)) => Activity::Downloading,
            Phase::At(_, Step::Preparing(_) | Step::Receiving(_) | Step::Storing(_)) => Activity::Uploading,
            Phase::Ready | Phase::LoggingIn(_) | Phase::At(..) | Phase::Discarding(_) => Activity::Asking,
            Phase::Closing | Phase::Lingering { .. } | Phase::Over(_) => Activity::Closing,
        }
    }

    /// Returns how many uploads are under way: from the store's handle to their end.
    #[must_use]
    pub fn uploads(&self) -> usize {
        self.uploads.len()
    }

    /// Takes what is to be logged, in order, and returns the user who did it.
    pub fn records(&mut self) -> (Option<&UserName>, std::vec::Drain<'_, Record>) {
        (self.visitor.acting(), self.records.drain(..))
    }

    /// Notes for the log how a transfer, change or login has ended.
    fn log(&mut self, transfer: Transfer, status: Option<StatusCode>, failure: Option<Failure>, now: Instant) {
        let status = status.map(StatusCode::number);
        self.records.push(Record { status, ..transfer.ended(now, failure) });
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
        self.uploads.rest();
    }
}
