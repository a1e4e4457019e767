//! Requests that change: PUT, RESUME, MKDIR, DELETE, RENAME.
//!
//! An upload goes through four rooms: [`Staging`] until the store has a handle for it, [`Receiving`]
//! while its body arrives, [`Finishing`] in the queue of what is pending until it is durable and
//! has its name, or [`Released`] where it failed while writes were still under way.

use std::time::Instant;

use ferry_wire::{BodyCheck, Code, Crc32, Digest, Failure, Id, Name, Reply, Time, Verdict};

use super::{
    Limits, Owner, Phase, Session,
    download::mismatch,
    record::Transfer,
    work::{Change, Chunk, Done, Errand, Handles, Outcome, Tail, Work},
};

/// How much of a body is gathered for one write: the larger a write, the larger the pieces in which
/// the page cache keeps it, and the fewer helpers are woken.
const CHUNK_BYTES: usize = 512 << 10;

/// What a body's memory begins with, so that a client who dribbles costs little.
const FIRST_CHUNK_BYTES: usize = 16 << 10;

/// Writes of one upload under way at once: one at the disk, one to follow it.
const WRITES: u8 = 2;

/// Below this, bytes are copied from the common input buffer rather than read to their place.
const DIRECT_BYTES: usize = 8 << 10;

/// What is read at once where a block's header is due inside a large body.
const HEADER_HINT_BYTES: usize = 4 << 10;

/// An upload whose handle is awaited; no body is read before it is there.
pub(super) struct Staging {
    errand: Errand,
    size: Option<u64>,
    /// Of a resumable one.
    id: Option<Id>,
    /// A newer connection asked for the same upload meanwhile.
    evicted: bool,
    transfer: Transfer,
}

impl Staging {
    pub(super) fn evict(&mut self, id: &Id) {
        self.evicted |= self.id.as_ref() == Some(id);
    }
}

/// An upload in the store's hands, and the work on it that is under way.
struct Held<H: Handles> {
    upload: H::Upload,
    /// Of a resumable one.
    id: Option<Id>,
    /// Of writes, finishing and publishing.
    errand: Errand,
    writes: u8,
    /// Of the checkpoint under way.
    checkpoint: Option<Errand>,
    /// The store has its file open: from the first write until it is finished or let go.
    is_open: bool,
}

impl<H: Handles> Held<H> {
    fn owns(&self, errand: Errand) -> bool {
        errand == self.errand || self.checkpoint == Some(errand)
    }

    /// Notes that a piece of its work on `errand` ended, while its writes go on. Gives how many
    /// bytes are no longer handed on: every write but the last is of a whole chunk.
    fn ended(&mut self, errand: Errand) -> u64 {
        if self.checkpoint == Some(errand) {
            self.checkpoint = None;
            return 0;
        }
        self.writes = self.writes.saturating_sub(1);
        CHUNK_BYTES as u64
    }

    fn is_quiet(&self) -> bool {
        self.writes == 0 && self.checkpoint.is_none()
    }
}

/// An upload whose body arrives.
pub(super) struct Receiving<H: Handles> {
    held: Held<H>,
    size: Option<u64>,
    check: BodyCheck,
    /// What arrived and is not handed on.
    chunk: Chunk,
    /// Where the chunk belongs.
    at: u64,
    /// Memory that came back: of at most [`WRITES`] chunks.
    spares: Vec<Chunk>,
    /// Up to here a checkpoint was asked for, and when.
    checkpoint_at: u64,
    checkpoint_on: Instant,
    /// A checkpoint is due once all writes have ended.
    checkpoint_due: Option<Digest>,
    /// A write failed.
    failure: Option<Failure>,
    transfer: Transfer,
}

impl<H: Handles> Receiving<H> {
    fn new(held: Held<H>, size: Option<u64>, check: BodyCheck, transfer: Transfer, now: Instant) -> Receiving<H> {
        let at = check.received();
        Receiving {
            held,
            size,
            check,
            chunk: Chunk::default(),
            at,
            spares: Vec::new(),
            checkpoint_at: at,
            checkpoint_on: now,
            checkpoint_due: None,
            failure: None,
            transfer,
        }
    }

    /// The resume id, of an upload that has one.
    pub(super) fn id(&self) -> Option<&Id> {
        self.held.id.as_ref()
    }

    /// Whether it was resumed, and none of its bytes have come on this connection yet.
    pub(super) fn is_ahead(&self) -> bool {
        self.held.id.is_some() && self.transfer.bytes == 0
    }

    /// How many bytes it can take now.
    pub(super) fn room(&self) -> usize {
        CHUNK_BYTES - self.chunk.filled
    }

    /// A block of `bytes` bytes begins.
    pub(super) fn block(&self, bytes: u64, limits: &Limits) -> Result<(), Failure> {
        self.check.block(bytes).map_err(|overrun| Failure::new(Code::BadRequest, overrun.to_string()))?;
        if self.check.received() + bytes > limits.upload_bytes { Err(too_large(limits)) } else { Ok(()) }
    }

    /// Takes bytes out of the common input buffer: at most [`room`](Self::room).
    pub(super) fn take(&mut self, bytes: &[u8]) {
        let Chunk { memory, filled } = &mut self.chunk;
        let end = *filled + bytes.len();
        if end > memory.capacity() {
            // Never more than a chunk is counted for.
            let grown = (memory.capacity() * 2).min(CHUNK_BYTES).max(end);
            memory.reserve_exact(grown - memory.len());
        }
        if end <= memory.len() {
            memory[*filled..end].copy_from_slice(bytes);
        } else {
            memory.truncate(*filled);
            memory.extend_from_slice(bytes);
        }
        *filled = end;
        self.check.bytes(bytes);
        self.transfer.bytes += bytes.len() as u64;
    }

    /// Where up to `due` bytes can be read to; [`None`] where that does not pay.
    pub(super) fn direct(&mut self, due: u64) -> Option<&mut [u8]> {
        let room = self.room().min(usize::try_from(due).unwrap_or(usize::MAX));
        if room == 0 || room < DIRECT_BYTES.min(self.room()) {
            return None;
        }
        let Chunk { memory, filled } = &mut self.chunk;
        if memory.len() - *filled < DIRECT_BYTES && memory.len() < CHUNK_BYTES {
            let grown = (memory.len() * 2).clamp(FIRST_CHUNK_BYTES, CHUNK_BYTES);
            memory.reserve_exact(grown - memory.len());
            memory.resize(grown, 0);
        }
        let end = memory.len().min(*filled + room);
        Some(&mut memory[*filled..end])
    }

    /// `bytes` bytes were read to [`direct`](Self::direct).
    pub(super) fn filled(&mut self, bytes: usize) {
        let start = self.chunk.filled;
        self.chunk.filled += bytes;
        self.check.bytes(&self.chunk.memory[start..self.chunk.filled]);
        self.transfer.bytes += bytes as u64;
    }

    /// A window has passed in which little came: memory is for those who are quick.
    pub(super) fn drop_spares(&mut self) {
        self.spares = Vec::new();
    }

    pub(super) fn input_hint(&self) -> usize {
        let received = self.check.received();
        let to_come = self.size.map_or(received, |size| size - received);
        if to_come > CHUNK_BYTES as u64 { HEADER_HINT_BYTES } else { usize::MAX }
    }
}

/// An upload that was given up while work on it was under way.
pub(super) struct Released<H: Handles> {
    held: Held<H>,
    /// What to keep of it; [`None`] for nothing.
    tail: Option<Option<Tail>>,
}

/// An upload that the store was asked to let go.
pub(super) struct Leaving {
    errand: Errand,
    /// Memory of its last bytes, which are kept.
    bytes: u64,
    is_open: bool,
}

/// A request that changes, in the queue for its reply.
pub(super) enum Pending<H: Handles> {
    /// The reply, waiting for those before it.
    Answered(Reply),
    /// A change that waits for uploads before it to be handed on.
    Due(Change, Transfer),
    /// A change under way.
    Changing(Errand, Transfer),
    /// An upload whose body is whole.
    Upload(Box<Finishing<H>>),
}

impl<H: Handles> Pending<H> {
    pub(super) fn answered(reply: Reply) -> Pending<H> {
        Pending::Answered(reply)
    }
}

/// An upload whose body is whole, on its way to its name.
pub(super) struct Finishing<H: Handles> {
    held: Held<H>,
    stage: Stage,
    at: u64,
    chunk: Chunk,
    /// Memory of the last chunk, in bytes, until that is written.
    last_bytes: u64,
    size: u64,
    crc: Crc32,
    /// A write failed: the upload ends when the others have ended.
    failure: Option<Failure>,
    transfer: Transfer,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Earlier writes are under way.
    Writing,
    /// The last write and the wait for the disk.
    Finishing,
    /// It may have its name as soon as those before it have theirs.
    Finished,
    /// Its name is being given.
    Publishing,
}

/// Beginning.
impl<H: Handles> Session<H> {
    pub(super) fn start_put(&mut self, name: Name, size: Option<u64>, mtime: Option<Time>, now: Instant) {
        if let Err(failure) = check_upload(&self.limits, size) {
            return self.refuse(failure, true);
        }
        let transfer = Transfer { verb: "PUT", name: name.as_str().into(), bytes: 0, started: now };
        let errand = self.ask_anew(Work::Stage { name, size, mtime, settled: self.pending.is_empty() });
        self.phase = Phase::Staging(Box::new(Staging { errand, size, id: None, evicted: false, transfer }));
    }

    pub(super) fn start_resume(&mut self, id: Id, name: Name, size: u64, mtime: Option<Time>, now: Instant) {
        if let Err(failure) = check_upload(&self.limits, Some(size)) {
            return self.refuse(failure, false);
        }
        let transfer = Transfer { verb: "RESUME", name: name.as_str().into(), bytes: 0, started: now };
        let errand = self.ask_anew(Work::Resume { id: id.clone(), name, size, mtime, owner: Owner::default() });
        let staging = Staging { errand, size: Some(size), id: Some(id), evicted: false, transfer };
        self.phase = Phase::Staging(Box::new(staging));
    }

    fn staged(&mut self, outcome: Outcome<'_, H>, now: Instant) {
        let Phase::Staging(staging) = std::mem::replace(&mut self.phase, Phase::Ready) else { return };
        let Staging { errand, size, id, evicted, transfer } = *staging;
        let resumable = id.is_some();
        let evicted = evicted.then(taken_over);
        let (upload, check, failure) = match outcome {
            Ok(Done::Staged(upload)) => (upload, BodyCheck::new(size), None),
            Ok(Done::Resumed { upload, digest }) => {
                (upload, BodyCheck::resume(size.unwrap_or_default(), digest), evicted)
            }
            Ok(Done::Replied(reply)) => {
                self.reply(reply);
                return self.record(transfer, None, now);
            }
            outcome => {
                let failure = outcome.err().unwrap_or_else(mismatch);
                self.record(transfer, Some(failure.clone()), now);
                if let Some(failure) = self.last_words.take() {
                    return self.break_off(*failure, now);
                }
                // After a refused RESUME the client sends no body.
                return self.refuse(failure, !resumable);
            }
        };
        // A resumable one is opened where it is taken up.
        let is_open = resumable;
        self.open_uploads += u32::from(is_open);
        let held = Held { upload, id, errand, writes: 0, checkpoint: None, is_open };
        let receiving = Receiving::new(held, size, check, transfer, now);
        if let Some(failure) = self.last_words.take() {
            self.phase = Phase::Receiving(Box::new(receiving));
            return self.break_off(*failure, now);
        }
        if let Some(failure) = failure {
            self.release(receiving, Some(failure.clone()), now);
            return self.refuse(failure, false);
        }
        if resumable {
            self.reply(Reply::Go(receiving.at));
        }
        self.phase = Phase::Receiving(Box::new(receiving));
    }
}

/// The body.
impl<H: Handles> Session<H> {
    /// Hands on what the body brought.
    pub(super) fn settle_receiving(&mut self, now: Instant) {
        let Phase::Receiving(receiving) = &mut self.phase else { return };
        let held = &mut receiving.held;
        if receiving.checkpoint_due.is_some()
            && held.is_quiet()
            && let Some(digest) = receiving.checkpoint_due.take()
        {
            let upload = held.upload.clone();
            let errand = self.ask_anew(Work::Checkpoint { upload, digest });
            if let Phase::Receiving(receiving) = &mut self.phase {
                receiving.held.checkpoint = Some(errand);
            }
        }
        let Phase::Receiving(receiving) = &mut self.phase else { return };
        if receiving.room() > 0 || receiving.held.writes == WRITES || receiving.checkpoint_due.is_some() {
            return;
        }
        let held = &mut receiving.held;
        let chunk = std::mem::replace(&mut receiving.chunk, receiving.spares.pop().unwrap_or_default());
        let at = receiving.at;
        receiving.at += chunk.filled as u64;
        held.writes += 1;
        self.open_uploads += u32::from(!std::mem::replace(&mut held.is_open, true));
        self.pending_bytes += CHUNK_BYTES as u64;
        let (bytes, time) = (receiving.at - receiving.checkpoint_at, now.duration_since(receiving.checkpoint_on));
        let due = bytes >= self.limits.checkpoint_bytes || time >= self.limits.checkpoint_time;
        if due && held.id.is_some() && held.checkpoint.is_none() {
            (receiving.checkpoint_at, receiving.checkpoint_on) = (receiving.at, now);
            receiving.checkpoint_due = Some(Digest::resume(receiving.check.crc(), receiving.at));
        }
        let (errand, upload) = (held.errand, held.upload.clone());
        self.ask(errand, Work::Write { upload, at, chunk });
    }

    pub(super) fn end_body(&mut self, crc: Option<Crc32>, now: Instant) {
        let Phase::Receiving(receiving) = std::mem::replace(&mut self.phase, Phase::Ready) else { return };
        let failure = match receiving.check.end(crc) {
            Verdict::Short => Failure::new(Code::Incomplete, "the body ended short of its size"),
            Verdict::Mismatch => Failure::new(Code::Checksum, "the bytes that arrived have another CRC"),
            Verdict::Whole => {
                let (size, crc) = (receiving.check.received(), receiving.check.crc());
                let Receiving { held, mut chunk, at, transfer, .. } = *receiving;
                chunk.shrink();
                let last_bytes = chunk.memory.capacity() as u64;
                self.pending_bytes += last_bytes;
                let stage = Stage::Writing;
                let finishing = Finishing { held, stage, at, chunk, last_bytes, size, crc, failure: None, transfer };
                self.pending.push_back(Pending::Upload(Box::new(finishing)));
                return;
            }
        };
        self.release(*receiving, Some(failure.clone()), now);
        self.reply(Reply::Fail(failure));
    }

    /// Lets go of an upload that is still being received, as soon as its writes have ended.
    pub(super) fn release(&mut self, receiving: Receiving<H>, failure: Option<Failure>, now: Instant) {
        let Receiving { held, check, mut chunk, at, transfer, failure: write_failure, .. } = receiving;
        chunk.shrink();
        let corrupt = failure.as_ref().is_some_and(|failure| failure.code == Code::Checksum);
        let tail = match (&held.id, write_failure) {
            _ if corrupt => None,
            (None, _) => None,
            (Some(_), Some(failure)) => kept_after(&failure),
            (Some(_), None) => {
                let digest = Digest::resume(check.crc(), check.received());
                Some(Some(Tail { at, chunk, digest }))
            }
        };
        self.record(transfer, failure, now);
        self.let_go(Released { held, tail });
    }

    fn let_go(&mut self, released: Released<H>) {
        if !released.held.is_quiet() {
            return self.released.push(released);
        }
        let Held { upload, is_open, .. } = released.held;
        let (bytes, work) = match released.tail {
            None => (0, Work::Discard { upload }),
            Some(tail) => {
                let bytes = tail.as_ref().map_or(0, |tail| tail.chunk.memory.capacity() as u64);
                (bytes, Work::Keep { upload, tail })
            }
        };
        self.pending_bytes += bytes;
        let errand = self.ask_anew(work);
        self.leaving.push(Leaving { errand, bytes, is_open });
    }
}

/// What the store answers.
impl<H: Handles> Session<H> {
    /// Takes an outcome of work on uploads and changes.
    pub(super) fn complete_upload(&mut self, errand: Errand, outcome: Outcome<'_, H>, now: Instant) {
        match &mut self.phase {
            Phase::Staging(staging) if staging.errand == errand => return self.staged(outcome, now),
            Phase::Receiving(receiving) if receiving.held.owns(errand) => {
                let bytes = receiving.held.ended(errand);
                self.pending_bytes = self.pending_bytes.saturating_sub(bytes);
                return self.received_on(outcome, now);
            }
            _ => {}
        }
        if let Some(index) = self.leaving.iter().position(|leaving| leaving.errand == errand) {
            let Leaving { bytes, is_open, .. } = self.leaving.swap_remove(index);
            self.pending_bytes = self.pending_bytes.saturating_sub(bytes);
            self.open_uploads -= u32::from(is_open);
            return;
        }
        if let Some(index) = self.released.iter().position(|released| released.held.owns(errand)) {
            let mut released = self.released.swap_remove(index);
            let bytes = released.held.ended(errand);
            self.pending_bytes = self.pending_bytes.saturating_sub(bytes);
            if let Err(failure) = outcome
                && released.tail.is_some()
            {
                released.tail = kept_after(&failure);
            }
            return self.let_go(released);
        }
        for index in 0..self.pending.len() {
            match &mut self.pending[index] {
                Pending::Changing(changing, _) if *changing == errand => return self.changed(index, outcome, now),
                Pending::Upload(finishing) if finishing.held.owns(errand) => {
                    let bytes = finishing.held.ended(errand);
                    if finishing.stage == Stage::Writing {
                        self.pending_bytes = self.pending_bytes.saturating_sub(bytes);
                    }
                    return self.finished(index, outcome, now);
                }
                _ => {}
            }
        }
        // The connection went away before the store had answered.
        if let Ok(Done::Resumed { upload, .. }) = outcome {
            self.ask_anew(Work::Keep { upload, tail: None });
        }
    }

    /// A write or checkpoint of the upload that is being received has ended.
    fn received_on(&mut self, outcome: Outcome<'_, H>, now: Instant) {
        let Phase::Receiving(receiving) = &mut self.phase else { return };
        match outcome {
            Ok(Done::Written(mut chunk)) => {
                chunk.filled = 0;
                if receiving.chunk.filled == 0 && receiving.chunk.memory.is_empty() {
                    receiving.chunk = chunk;
                } else {
                    receiving.spares.push(chunk);
                }
            }
            Ok(Done::Checkpointed) => {}
            outcome => {
                let failure = outcome.err().unwrap_or_else(mismatch);
                receiving.failure = Some(failure.clone());
                self.refuse_body(failure, now);
            }
        }
    }

    /// The change at `index` of the queue has ended.
    fn changed(&mut self, index: usize, outcome: Outcome<'_, H>, now: Instant) {
        let reply = final_reply(outcome);
        let failure = if let Reply::Fail(failure) = &reply { Some(failure.clone()) } else { None };
        if let Pending::Changing(_, transfer) = std::mem::replace(&mut self.pending[index], Pending::Answered(reply)) {
            self.records.push(transfer.change_ended(now, failure));
        }
    }

    /// Work on the upload at `index` of the queue has ended.
    fn finished(&mut self, index: usize, outcome: Outcome<'_, H>, now: Instant) {
        let Pending::Upload(finishing) = &mut self.pending[index] else { return };
        match (finishing.stage, outcome) {
            (Stage::Writing, Ok(Done::Written(_) | Done::Checkpointed)) => {}
            (Stage::Writing, outcome) => {
                finishing.failure = Some(outcome.err().unwrap_or_else(mismatch));
            }
            (Stage::Finishing, Ok(Done::Finished)) => {
                finishing.stage = Stage::Finished;
                self.open_uploads -= u32::from(std::mem::take(&mut finishing.held.is_open));
                self.pending_bytes = self.pending_bytes.saturating_sub(std::mem::take(&mut finishing.last_bytes));
            }
            (Stage::Publishing, Ok(Done::Replied(reply))) => {
                let answered = Pending::Answered(reply);
                if let Pending::Upload(finishing) = std::mem::replace(&mut self.pending[index], answered) {
                    self.record(finishing.transfer, None, now);
                }
            }
            (_, outcome) => finishing.failure = Some(outcome.err().unwrap_or_else(mismatch)),
        }
        self.fail_finishing(index, now);
    }

    /// Ends an upload of the queue that has failed and is quiet.
    fn fail_finishing(&mut self, index: usize, now: Instant) {
        let Pending::Upload(finishing) = &mut self.pending[index] else { return };
        if finishing.failure.is_none() || !finishing.held.is_quiet() {
            return;
        }
        let Some(failure) = finishing.failure.take() else { return };
        let answered = Pending::Answered(Reply::Fail(failure.clone()));
        if let Pending::Upload(finishing) = std::mem::replace(&mut self.pending[index], answered) {
            let Finishing { held, stage, transfer, last_bytes, .. } = *finishing;
            self.pending_bytes = self.pending_bytes.saturating_sub(last_bytes);
            // An upload that is whole, and only could not have its name, may try again.
            let tail = match (&held.id, stage) {
                (None, _) => None,
                (Some(_), Stage::Publishing) => Some(None),
                (Some(_), _) => kept_after(&failure),
            };
            self.record(transfer, Some(failure), now);
            self.let_go(Released { held, tail });
        }
    }

    pub(super) fn change(&mut self, change: Change, now: Instant) {
        if self.limits.read_only {
            return self.refuse(read_only(), false);
        }
        let transfer = Transfer::change(&change, now);
        self.pending.push_back(Pending::Due(change, transfer));
    }

    /// Hands on what is pending, in order, and says what is answered.
    pub(super) fn settle_pending(&mut self) {
        let mut in_order = true;
        for index in 0..self.pending.len() {
            match &mut self.pending[index] {
                Pending::Answered(_) | Pending::Changing(..) => {}
                Pending::Due(change, transfer) if in_order => {
                    let (change, transfer) = (change.clone(), transfer.clone());
                    let errand = self.ask_anew(Work::Change(change));
                    self.pending[index] = Pending::Changing(errand, transfer);
                }
                Pending::Due(..) => {}
                Pending::Upload(finishing) => {
                    let (errand, upload) = (finishing.held.errand, finishing.held.upload.clone());
                    match finishing.stage {
                        Stage::Writing if finishing.held.is_quiet() => {
                            finishing.stage = Stage::Finishing;
                            finishing.held.writes = 1;
                            let chunk = std::mem::take(&mut finishing.chunk);
                            let Finishing { at, size, crc, .. } = **finishing;
                            self.ask(errand, Work::Finish { upload, at, chunk, size, crc });
                            in_order = false;
                        }
                        Stage::Finished if in_order => {
                            finishing.stage = Stage::Publishing;
                            finishing.held.writes = 1;
                            self.ask(errand, Work::Publish { upload });
                        }
                        Stage::Publishing => {}
                        _ => in_order = false,
                    }
                }
            }
        }
        while let Some(Pending::Answered(_)) = self.pending.front() {
            if let Some(Pending::Answered(reply)) = self.pending.pop_front()
                && !matches!(self.phase, Phase::Over)
            {
                self.outbox.text(|text| reply.encode(text));
            }
        }
    }
}

/// Returns what is kept of a resumable upload after a piece of work on it failed: no more than its last
/// checkpoint. It is nothing where the disk failed, since nobody knows then which of the bytes are there, and
/// where the file grew larger than it may be, since nothing can come of it.
fn kept_after(failure: &Failure) -> Option<Option<Tail>> {
    match failure.code {
        Code::Io | Code::TooLarge => None,
        _ => Some(None),
    }
}

fn final_reply<H: Handles>(outcome: Outcome<'_, H>) -> Reply {
    match outcome {
        Ok(Done::Replied(reply)) => reply,
        Ok(_) => Reply::Fail(mismatch()),
        Err(failure) => Reply::Fail(failure),
    }
}

/// The arguments that PUT and RESUME share, checked against the limits.
fn check_upload(limits: &Limits, size: Option<u64>) -> Result<(), Failure> {
    if limits.read_only {
        return Err(read_only());
    }
    if size.is_some_and(|size| size > limits.upload_bytes) {
        return Err(too_large(limits));
    }
    Ok(())
}

fn read_only() -> Failure {
    Failure::new(Code::ReadOnly, "this server takes no changes")
}

fn too_large(limits: &Limits) -> Failure {
    Failure::new(Code::TooLarge, format!("this server takes uploads up to {} bytes", limits.upload_bytes))
}

pub(super) fn taken_over() -> Failure {
    Failure::new(Code::Changed, "a newer connection took this upload over")
}
