//! One upload, from its handle to its end: plain, resumable, or a part of a resumable one.
//!
//! ```text
//! Receiving -> Draining -> Finishing -> Finished -> Publishing -> Gone
//!     |            |           |                        |
//!     +------------+-----------+------------------------+---> GivenUp -> Releasing -> Gone
//! ```
//!
//! The client moves it from Receiving, by [ending its body](Upload::end_body), [pausing](Upload::pause) or [giving it
//! up](Upload::give_up); the store moves it on from there. One that pauses is given up, too, once what has come of it is
//! durable. The session says when it may
//! [publish](Upload::publish). Every event is followed by [`settle`](Upload::settle), which asks
//! for the operations that are due. A part of a resumable upload gets no name: it is gone once it is
//! finished.

use std::time::Instant;

use ferry_wire::{BodyCheck, Code, Crc32, Digest, Failure, Id};

use super::{Limits, body::Body, operations::Operations, record::Transfer, visitor::Terms};
use crate::store::{Chunk, Finish, Handles, NameOperation, Published, StoreError, Tail, UploadNumber, UploadOperation};

/// How much of a body is gathered for one write: the larger a write, the larger the pieces in which
/// the page cache keeps it, and the fewer helpers are woken.
pub(super) const CHUNK_BYTES: usize = 512 << 10;

/// Writes of one upload under way at once: one at the disk, one to follow it.
pub(super) const WRITES: u8 = 2;

/// The most that arrives of an upload whose size is not known between two checkpoints: PROTOCOL.md promises it. Its client keeps
/// what it has sent since the last one.
const STREAM_CHECKPOINT_BYTES: u64 = 8 << 20;

/// See the [module documentation](self).
pub(super) struct Upload<H: Handles> {
    number: UploadNumber,
    handle: H::Upload,
    /// Of a resumable one.
    id: Option<Id>,
    is_part: bool,
    terms: Terms,
    stage: Stage,
    body: Body,
    writes: u8,
    is_checkpointing: bool,
    checkpoint: Checkpoint,
    /// Where the last checkpoint was made, of one whose size is not known: its client is to be told.
    news: Option<u64>,
    /// The store has its file open: from the first write until it is finished or let go. A
    /// resumable one is opened where it is taken up.
    is_open: bool,
    /// Memory of the last bytes, while the store has them or is to get them.
    last_bytes: u64,
    /// A write or a checkpoint failed.
    failure: Option<Failure>,
    /// No checkpoint is made: what arrives counts only once all of it was checked.
    withholds: bool,
    /// The part that is kept, where it is given up.
    keeps: Keeps,
    /// Bytes that are kept of it, where that is its end and is told.
    kept: Option<u64>,
    /// Where its answer stands among those of the session, once its body is whole.
    place: Option<Place>,
    /// How it ended, once that is known.
    outcome: Option<Result<Stored, Failure>>,
    transfer: Option<Transfer>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Its body arrives.
    Receiving,
    /// Its body is whole, and earlier writes are under way.
    Draining {
        size: u64,
        crc: Crc32,
        /// Parts have what has not come in it.
        is_joined: bool,
    },
    /// The received part of its body is brought to the disk, to be kept. The last step of that is the checkpoint.
    Pausing { is_checkpointed: bool },
    /// The last write and the wait for the disk.
    Finishing,
    /// It may have its name as soon as those before it have theirs.
    Finished,
    /// Its name is being given.
    Publishing,
    /// It has failed or was given up, and earlier writes are under way.
    GivenUp,
    /// The store was asked to let it go.
    Releasing,
    /// The store has let it go.
    Gone,
}

/// The part of an upload that is kept when it is given up.
#[derive(Debug)]
enum Keeps {
    Nothing,
    /// No more than the last checkpoint.
    Checkpoint,
    All(Tail),
}

/// Checkpoints of a resumable upload.
struct Checkpoint {
    /// Up to here the last one was asked for, and when.
    at: u64,
    /// The bytes that had arrived by then.
    arrived: u64,
    on: Instant,
    /// One is due once all writes have ended.
    due: Option<Digest>,
}

/// The place of an upload's answer among those of its session, which alone knows what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(pub(super) u32);

/// A whole upload that the store has.
#[derive(Debug)]
pub(super) enum Stored {
    /// It has its name.
    Published(Published),
    /// It is a part of another one, and waits for the rest.
    Part,
    /// So many bytes of it are kept: it may go on some other time.
    Kept(u64),
}

/// The consequence of an event for the session.
pub(super) enum Event {
    /// Nothing.
    None,
    /// Its body is refused.
    Refused(Failure),
    /// How it ended is known.
    Ended {
        /// Where its answer stands.
        place: Place,
        outcome: Result<Stored, Failure>,
        /// Its line for the log, unless that was told before.
        transfer: Option<Transfer>,
    },
}

/// An upload that the store has prepared.
pub(super) struct Prepared<U> {
    pub(super) number: UploadNumber,
    pub(super) handle: U,
    pub(super) id: Option<Id>,
    /// It is a part of a resumable upload, which has no name of its own.
    pub(super) is_part: bool,
    pub(super) size: Option<u64>,
    pub(super) check: BodyCheck,
    pub(super) terms: Terms,
    pub(super) transfer: Transfer,
}

/// Events of the client.
impl<H: Handles> Upload<H> {
    /// Begins to receive.
    pub(super) fn new(prepared: Prepared<H::Upload>, now: Instant) -> Upload<H> {
        let Prepared { number, handle, id, is_part, size, check, terms, transfer } = prepared;
        let at = check.received();
        let is_open = id.is_some();
        Upload {
            number,
            handle,
            id,
            is_part,
            terms,
            stage: Stage::Receiving,
            body: Body::new(size, check),
            writes: 0,
            is_checkpointing: false,
            checkpoint: Checkpoint { at, arrived: 0, on: now, due: None },
            news: None,
            is_open,
            last_bytes: 0,
            failure: None,
            withholds: false,
            keeps: Keeps::Nothing,
            kept: None,
            place: None,
            outcome: None,
            transfer: Some(transfer),
        }
    }

    /// Returns the body that arrives.
    pub(super) fn body(&self) -> &Body {
        &self.body
    }

    /// Returns the same, to be filled.
    pub(super) fn body_mut(&mut self) -> &mut Body {
        &mut self.body
    }

    /// Returns whether it has this resume id.
    pub(super) fn has_id(&self, id: &Id) -> bool {
        self.id.as_ref() == Some(id)
    }

    /// Returns whether more of its body may come.
    pub(super) fn is_receiving(&self) -> bool {
        self.stage == Stage::Receiving
    }

    /// Returns whether it was resumed, and none of its bytes have come on this connection yet.
    pub(super) fn is_ahead(&self) -> bool {
        self.id.is_some() && self.body.arrived() == 0
    }

    /// Returns whether parts may have the rest of it: its size is known then.
    pub(super) fn may_be_joined(&self) -> bool {
        self.id.is_some() && !self.is_stream()
    }

    /// Returns whether it is a resumable one whose size only its end tells.
    fn is_stream(&self) -> bool {
        self.id.is_some() && self.body.size().is_none()
    }

    /// Takes the news of how many bytes are kept of a stream.
    pub(super) fn take_news(&mut self) -> Option<u64> {
        self.news.take()
    }

    /// Returns whether a checkpoint is under way of which the client is told.
    pub(super) fn makes_news(&self) -> bool {
        self.is_stream() && (self.is_checkpointing || self.checkpoint.due.is_some())
    }

    /// Notes that its body is whole, and the place of its answer. Where it was `joined`, parts have what has not come in it,
    /// and the whole has this CRC.
    pub(super) fn end_body(&mut self, place: Place, joined: Option<Crc32>) {
        assert_eq!(self.stage, Stage::Receiving, "a body ends once");
        let (received, crc) = self.body.sum();
        let (size, crc) = match joined {
            Some(crc) => (self.body.size().unwrap_or(received), crc),
            None => (received, crc),
        };
        self.place = Some(place);
        self.body.shrink();
        self.last_bytes = self.body.memory();
        self.checkpoint.due = None;
        self.stage = Stage::Draining { size, crc, is_joined: joined.is_some() };
    }

    /// Gives it up, since it will not become whole. The bytes of a resumable one are kept, unless
    /// its CRC was wrong. Those of a stream are dropped, too, where its client has stopped it, which can't read it again, or
    /// where it is too large already.
    pub(super) fn give_up(&mut self, failure: &Failure) {
        assert_eq!(self.stage, Stage::Receiving, "only a body that arrives is given up");
        self.keeps = match (&self.id, self.failure.take()) {
            _ if failure.code == Code::Checksum => Keeps::Nothing,
            _ if self.is_stream() && matches!(failure.code, Code::Stopped | Code::TooLarge) => Keeps::Nothing,
            (None, _) => Keeps::Nothing,
            (Some(_), Some(of_disk)) => kept_after(&of_disk),
            (Some(_), None) if self.withholds => Keeps::Checkpoint,
            (Some(_), None) => Keeps::All(self.body.take_tail()),
        };
        self.stage = Stage::GivenUp;
    }

    /// Lets what arrives from here on count only once the session says so, by ending or [pausing](Self::pause) the body:
    /// else no more is kept than there was before.
    pub(super) fn withhold(&mut self) {
        assert!(self.id.is_some() && self.body.arrived() == 0, "what is withheld has not come yet");
        self.withholds = true;
    }

    /// Ends its body before the whole is there. The answer at `place` is told when what has come is durable, and kept.
    pub(super) fn pause(&mut self, place: Place) {
        assert_eq!(self.stage, Stage::Receiving, "only a body that arrives pauses");
        assert!(self.id.is_some(), "only a resumable upload goes on some other time");
        self.place = Some(place);
        self.checkpoint.due = None;
        self.stage = Stage::Pausing { is_checkpointed: false };
    }

    /// Lets go of it as it was taken up: nothing has come since, or it was [withheld](Self::withhold). The answer at `place`
    /// is told after that.
    pub(super) fn leave(&mut self, place: Place) {
        assert!(self.withholds || self.body.arrived() == 0, "what has come of it is kept by a pause");
        self.let_go(place, self.checkpoint.at, Keeps::Checkpoint);
    }

    /// Lets go of it, and of all that was kept. The answer at `place` is told after that.
    pub(super) fn abandon(&mut self, place: Place) {
        self.let_go(place, 0, Keeps::Nothing);
    }

    fn let_go(&mut self, place: Place, kept: u64, keeps: Keeps) {
        assert_eq!(self.stage, Stage::Receiving, "only a body that arrives is let go of");
        (self.place, self.kept) = (Some(place), Some(kept));
        self.keeps = match self.failure.take() {
            Some(of_disk) => kept_after(&of_disk),
            None => keeps,
        };
        self.stage = Stage::GivenUp;
    }

    /// Returns what the log is told of it, once.
    pub(super) fn take_transfer(&mut self) -> Option<Transfer> {
        let arrived = self.body.arrived();
        self.transfer.take().map(|transfer| Transfer { bytes: arrived, ..transfer })
    }
}

/// Events of the store.
impl<H: Handles> Upload<H> {
    /// Takes the store's result of a write.
    pub(super) fn written(&mut self, written: Result<Chunk, StoreError>) {
        assert!(self.writes > 0, "a write that was not asked for");
        self.writes -= 1;
        match written {
            Ok(chunk) if self.stage == Stage::Receiving => self.body.reuse(chunk),
            Ok(_) => {}
            Err(error) => self.failed(self.terms.told(error)),
        }
    }

    /// Takes the store's result of a checkpoint.
    pub(super) fn checkpointed(&mut self, checkpointed: Result<(), StoreError>) {
        assert!(self.is_checkpointing, "a checkpoint that was not asked for");
        self.is_checkpointing = false;
        match checkpointed {
            Ok(()) if self.is_stream() && self.stage == Stage::Receiving => self.news = Some(self.checkpoint.at),
            Ok(()) => {}
            Err(error) => self.failed(self.terms.told(error)),
        }
    }

    /// Takes the store's result of making the whole durable.
    pub(super) fn finished(&mut self, finished: Result<(), StoreError>) {
        assert_eq!(self.stage, Stage::Finishing, "an end that was not asked for");
        match finished {
            Ok(()) if self.is_part => {
                (self.stage, self.last_bytes, self.is_open) = (Stage::Gone, 0, false);
                self.outcome = Some(Ok(Stored::Part));
            }
            Ok(()) => (self.stage, self.last_bytes, self.is_open) = (Stage::Finished, 0, false),
            Err(error) => self.end_failed(self.terms.told(error)),
        }
    }

    /// Notes that the store has released it.
    pub(super) fn released(&mut self) {
        assert_eq!(self.stage, Stage::Releasing, "let go without being asked");
        (self.stage, self.last_bytes, self.is_open) = (Stage::Gone, 0, false);
        if let Some(bytes) = self.kept {
            self.outcome = Some(Ok(Stored::Kept(bytes)));
        }
    }

    /// Takes the store's result of giving it its name.
    pub(super) fn published(&mut self, published: Result<Published, StoreError>) {
        assert_eq!(self.stage, Stage::Publishing, "published without being asked");
        match published {
            Ok(published) => {
                self.stage = Stage::Gone;
                self.outcome = Some(Ok(Stored::Published(published)));
            }
            Err(error) => {
                self.end_failed(self.terms.told(error));
                // It is whole, and may try again.
                self.keeps = if self.id.is_some() { Keeps::Checkpoint } else { Keeps::Nothing };
            }
        }
    }

    /// Notes that a write or a checkpoint failed.
    fn failed(&mut self, failure: Failure) {
        match self.keeps {
            Keeps::Nothing if self.stage == Stage::GivenUp => {}
            _ if self.stage == Stage::GivenUp => self.keeps = kept_after(&failure),
            _ => self.failure = Some(failure),
        }
    }

    /// Ends it with a failure: the whole body did not become a file.
    fn end_failed(&mut self, failure: Failure) {
        assert!(self.is_quiet(), "an upload fails before its writes have ended");
        self.keeps = if self.id.is_some() { kept_after(&failure) } else { Keeps::Nothing };
        self.stage = Stage::GivenUp;
        self.last_bytes = 0;
        self.outcome = Some(Err(failure));
    }

    /// Returns whether no write and no checkpoint is under way.
    fn is_quiet(&self) -> bool {
        self.writes == 0 && !self.is_checkpointing
    }
}

/// The steps that are due.
impl<H: Handles> Upload<H> {
    /// Asks for the operations that are due, and returns the session's next steps.
    pub(super) fn settle(&mut self, limits: &Limits, now: Instant, operations: &mut Operations<H>) -> Event {
        match self.stage {
            Stage::Receiving => {
                if let Some(failure) = &self.failure {
                    return Event::Refused(failure.clone());
                }
                self.hand_on(limits, now, operations);
            }
            Stage::Draining { .. } if !self.is_quiet() => {}
            Stage::Draining { size, crc, is_joined } => match self.failure.take() {
                Some(failure) => self.end_failed(failure),
                None => self.finish(size, crc, is_joined, operations),
            },
            Stage::Pausing { .. } if !self.is_quiet() => {}
            Stage::Pausing { is_checkpointed } => match self.failure.take() {
                Some(failure) => self.end_failed(failure),
                None => self.pause_further(is_checkpointed, operations),
            },
            Stage::Finishing | Stage::Finished | Stage::Publishing => {}
            Stage::GivenUp | Stage::Releasing | Stage::Gone => {}
        }
        if self.stage == Stage::GivenUp && self.is_quiet() {
            self.release(operations);
        }
        match (self.place, self.outcome.take()) {
            (Some(place), Some(outcome)) => Event::Ended { place, outcome, transfer: self.take_transfer() },
            _ => Event::None,
        }
    }

    /// Hands on the bytes of the body.
    fn hand_on(&mut self, limits: &Limits, now: Instant, operations: &mut Operations<H>) {
        if self.is_quiet()
            && let Some(digest) = self.checkpoint.due.take()
        {
            self.is_checkpointing = true;
            let upload = self.handle.clone();
            operations.upload(self.number, UploadOperation::Checkpoint { upload, digest });
        }
        if self.body.room() > 0 || self.writes == WRITES || self.checkpoint.due.is_some() {
            return;
        }
        let (at, chunk, crc) = self.body.take_chunk();
        self.writes += 1;
        self.is_open = true;
        let end = self.body.at();
        let arrived = self.body.arrived();
        // A hole costs nothing to send again.
        let (bytes, time) = (arrived - self.checkpoint.arrived, now.duration_since(self.checkpoint.on));
        let most = if self.is_stream() { STREAM_CHECKPOINT_BYTES } else { u64::MAX };
        let is_due = bytes >= limits.checkpoint_bytes.min(most) || time >= limits.checkpoint_time;
        if is_due && self.id.is_some() && !self.withholds && !self.is_checkpointing {
            self.checkpoint = Checkpoint { at: end, arrived, on: now, due: Some(self.body.handed_on()) };
        }
        let upload = self.handle.clone();
        operations.upload(self.number, UploadOperation::Write { upload, at, chunk, crc });
    }

    /// Takes the next step of a pause: the last write, the checkpoint, the release.
    fn pause_further(&mut self, is_checkpointed: bool, operations: &mut Operations<H>) {
        let (number, upload) = (self.number, self.handle.clone());
        if is_checkpointed {
            (self.keeps, self.kept, self.stage) = (Keeps::Checkpoint, Some(self.body.at()), Stage::GivenUp);
        } else if self.body.has_chunk() {
            let (at, chunk, crc) = self.body.take_chunk();
            self.writes += 1;
            self.is_open = true;
            operations.upload(number, UploadOperation::Write { upload, at, chunk, crc });
        } else {
            self.stage = Stage::Pausing { is_checkpointed: true };
            self.is_checkpointing = true;
            operations.upload(number, UploadOperation::Checkpoint { upload, digest: self.body.digest() });
        }
    }

    fn finish(&mut self, size: u64, crc: Crc32, is_joined: bool, operations: &mut Operations<H>) {
        self.stage = Stage::Finishing;
        let before = is_joined.then(|| self.body.digest());
        let (at, chunk, chunk_crc) = self.body.take_chunk();
        let end = before.as_ref().map_or(size, Digest::bytes);
        assert_eq!(at + chunk.length(), end, "the last chunk ends the file, or parts do");
        let upload = self.handle.clone();
        let finish = Finish { upload, at, chunk, chunk_crc, size, crc, before };
        operations.upload(self.number, UploadOperation::Finish(finish));
    }

    /// Returns whether it waits for its name.
    pub(super) fn is_finished(&self) -> bool {
        self.stage == Stage::Finished
    }

    /// Asks for its name.
    pub(super) fn publish(&mut self, operations: &mut Operations<H>) {
        assert_eq!(self.stage, Stage::Finished, "published before it is durable");
        self.stage = Stage::Publishing;
        operations.name(NameOperation::Publish(self.number, self.handle.clone(), self.terms.onto.clone()));
    }

    fn release(&mut self, operations: &mut Operations<H>) {
        assert!(self.is_quiet(), "let go while it is written");
        self.stage = Stage::Releasing;
        let upload = self.handle.clone();
        let operation = match std::mem::replace(&mut self.keeps, Keeps::Nothing) {
            Keeps::Nothing => UploadOperation::Discard { upload },
            Keeps::Checkpoint => UploadOperation::Keep { upload, tail: None },
            Keeps::All(tail) => {
                self.last_bytes = tail.chunk.memory.capacity() as u64;
                UploadOperation::Keep { upload, tail: Some(tail) }
            }
        };
        operations.upload(self.number, operation);
    }

    /// Returns the memory that was handed to the store and is not back, in bytes: every write but
    /// the last is of a whole chunk.
    pub(super) fn memory(&self) -> u64 {
        u64::from(self.writes) * CHUNK_BYTES as u64 + self.last_bytes
    }

    /// Returns whether the store has its file open.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Returns whether nothing is left of it.
    pub(super) fn is_gone(&self) -> bool {
        self.stage == Stage::Gone
    }
}

/// Returns how much is kept of a resumable upload after an operation on it failed: no more than its
/// last checkpoint. It is nothing where the disk failed, since nobody knows then which bytes are
/// there. It is nothing either where the file grew larger than it may be, or its bytes are not those of the client.
fn kept_after(failure: &Failure) -> Keeps {
    match failure.code {
        Code::Io | Code::TooLarge | Code::Checksum => Keeps::Nothing,
        _ => Keeps::Checkpoint,
    }
}
