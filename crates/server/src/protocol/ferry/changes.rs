//! Requests that change: PUT, RESUME, PART, MKDIR, DELETE, RENAME. Here a session starts them and takes
//! completions to them; [`upload`](crate::protocol::upload) is how one upload goes on,
//! [`queue`](super::queue) in which order they are answered.

use std::time::Instant;

use ferry_wire::{BodyCheck, BodyError, BodyLine, Code, Crc32, Failure, Id, Name, Reply, Time};

use super::{
    FerrySession, Limits, Phase,
    record::Transfer,
    upload::{Event, Prepared, Upload},
    visitor::Terms,
};
use crate::store::{
    Change, Handles, PartStart, Permissions, Resume, Resumed, Stage, StoreError, UploadCompletion, UploadNumber,
    UploadOperation,
};

/// An upload whose handle is awaited; no body is read before it is there.
pub(super) struct Preparing {
    number: UploadNumber,
    /// A newer connection asked for the same upload meanwhile.
    is_evicted: bool,
    wanted: Wanted,
}

/// An upload as its request has it.
struct Wanted {
    size: Option<u64>,
    /// Of a resumable one.
    id: Option<Id>,
    is_part: bool,
    terms: Terms,
    transfer: Transfer,
}

impl Preparing {
    pub(super) fn evict(&mut self, id: &Id) {
        self.is_evicted |= self.wanted.id.as_ref() == Some(id);
    }
}

/// Beginning.
impl<H: Handles> FerrySession<H> {
    pub(super) fn start_put(
        &mut self,
        name: Name,
        size: Option<u64>,
        (mtime, permissions): (Option<Time>, Option<Permissions>),
        terms: Terms,
        now: Instant,
    ) {
        let transfer = Transfer::new("PUT", &name, now);
        if let Err(failure) = check_upload(&self.limits, size) {
            return self.refuse_transfer(transfer, failure, true, now);
        }
        let (settled, owner) = (self.queue.is_empty(), self.visitor.owner());
        let stage = Stage { name, size, mtime, permissions, settled, owner };
        self.prepare(UploadOperation::Stage(stage), Wanted { size, id: None, is_part: false, terms, transfer });
    }

    pub(super) fn start_part(&mut self, id: Id, name: Name, (offset, length): (u64, u64), terms: Terms, now: Instant) {
        let transfer = Transfer { resumed: offset, ..Transfer::new("PART", &name, now) };
        if let Err(failure) = check_upload(&self.limits, Some(length)) {
            return self.refuse_transfer(transfer, failure, true, now);
        }
        let part = PartStart { id, name, offset, length, owner: self.visitor.owner() };
        let wanted = Wanted { size: Some(length), id: None, is_part: true, terms, transfer };
        self.prepare(UploadOperation::Part(part), wanted);
    }

    pub(super) fn start_resume(
        &mut self,
        id: Id,
        name: Name,
        size: Option<u64>,
        (mtime, permissions): (Option<Time>, Option<Permissions>),
        terms: Terms,
        now: Instant,
    ) {
        debug_assert!(self.queue.is_empty(), "a request reads before those in front of it are answered");
        let transfer = Transfer::new("RESUME", &name, now);
        if let Err(failure) = check_upload(&self.limits, size) {
            return self.refuse_transfer(transfer, failure, false, now);
        }
        let resume =
            Resume { id: id.clone(), name, size, mtime, permissions, owner: self.visitor.owner(), begins: true };
        let wanted = Wanted { size, id: Some(id), is_part: false, terms, transfer };
        self.prepare(UploadOperation::Resume(resume), wanted);
    }

    fn prepare(&mut self, operation: UploadOperation<H>, wanted: Wanted) {
        let number = self.uploads.number();
        self.operations.upload(number, operation);
        self.phase = Phase::Preparing(Box::new(Preparing { number, is_evicted: false, wanted }));
    }

    /// Takes the upload that is being prepared; [`None`] where the connection is gone.
    fn prepared(&mut self) -> Option<Preparing> {
        match std::mem::replace(&mut self.phase, Phase::Ready) {
            Phase::Preparing(preparing) => Some(*preparing),
            phase => {
                self.phase = phase;
                None
            }
        }
    }

    /// Takes the store's result for a plain upload, a handle that needs no release, for a part of
    /// another one, or a failure.
    fn staged(&mut self, number: UploadNumber, staged: Result<H::Upload, StoreError>, now: Instant) {
        let Some(Preparing { number, wanted, .. }) = self.prepared() else {
            // A part that was begun is in the way of others. A plain upload has nothing yet.
            if let Ok(upload) = staged {
                self.operations.upload(number, UploadOperation::Discard { upload });
            }
            return;
        };
        let Wanted { size, id, is_part, terms, transfer } = wanted;
        let handle = match staged {
            Ok(handle) => handle,
            Err(error) => return self.not_prepared(transfer, terms.told(error), true, now),
        };
        let check = BodyCheck::new(size);
        self.receive_body(Prepared { number, handle, id, is_part, size, check, terms, transfer }, None, now);
    }

    /// Takes the store's result for a resumable upload: it goes on, was published before, or can't
    /// be had.
    fn resumed(&mut self, number: UploadNumber, resumed: Result<Resumed<H::Upload>, StoreError>, now: Instant) {
        let Some(Preparing { number, is_evicted, wanted }) = self.prepared() else {
            if let Ok(Resumed::Going { upload, .. }) = resumed {
                self.operations.upload(number, UploadOperation::Keep { upload, tail: None });
            }
            return;
        };
        let Wanted { size, id, is_part, terms, transfer } = wanted;
        match resumed {
            Ok(Resumed::Going { upload: handle, digest, parts }) => {
                let crc = size.is_none().then(|| digest.crc());
                let check = BodyCheck::resume(size, digest);
                let (offset, transfer) = (check.received(), Transfer { resumed: check.received(), ..transfer });
                let go = if is_evicted { Err(taken_over()) } else { Ok(Reply::Go { offset, parts, crc }) };
                let prepared = Prepared { number, handle, id, is_part, size, check, terms, transfer };
                self.receive_body(prepared, Some(go), now);
            }
            Ok(Resumed::Published(published)) => {
                self.record(Transfer { resumed: published.size, ..transfer }, None, now);
                self.reply(published.into());
            }
            // After a refused RESUME the client sends no body.
            Err(error) => self.not_prepared(transfer, terms.told(error), false, now),
        }
    }

    fn not_prepared(&mut self, transfer: Transfer, failure: Failure, body_follows: bool, now: Instant) {
        match self.take_due() {
            Some(due) => {
                self.record(transfer, Some(failure), now);
                self.break_off(due, now);
            }
            None => self.refuse_transfer(transfer, failure, body_follows, now),
        }
    }

    /// Lets the body of an upload come, after the answer that `go` is; unless that is a refusal.
    fn receive_body(&mut self, prepared: Prepared<H::Upload>, go: Option<Result<Reply, Failure>>, now: Instant) {
        let number = prepared.number;
        self.uploads.insert(prepared, now);
        self.phase = Phase::Receiving(number);
        if let Some(failure) = self.take_due() {
            return self.break_off(failure, now);
        }
        match go {
            Some(Err(failure)) => {
                self.give_up(number, &failure, now);
                self.phase = Phase::Ready;
                self.refuse(failure, false);
            }
            Some(Ok(go)) => self.reply(go),
            None => {}
        }
    }

    pub(super) fn change(&mut self, change: Change, now: Instant) {
        if self.limits.read_only {
            return self.refuse_transfer(Transfer::change(&change, now), read_only(), false, now);
        }
        self.queue.push_change(change, now);
    }
}

/// The body.
impl<H: Handles> FerrySession<H> {
    /// Takes a line inside a body.
    pub(super) fn body_line(&mut self, line: &[u8], now: Instant) {
        let parsed = match BodyLine::parse(line) {
            Ok(BodyLine::Fail(_)) => Err(BodyError::Line),
            // No parts have the rest of a plain upload, or of a part.
            Ok(BodyLine::Join(_)) if !self.may_be_joined() => Err(BodyError::Line),
            parsed => parsed,
        };
        match parsed {
            Err(error) => self.break_off(Failure::new(Code::BadRequest, error.to_string()), now),
            Ok(BodyLine::Data(bytes)) => match self.receiving().map(|body| body.block(bytes, &self.limits)) {
                None | Some(Ok(())) => self.framer.expect_raw(bytes),
                Some(Err(failure)) if failure.code == Code::TooLarge => {
                    self.framer.expect_raw(bytes);
                    self.refuse_body(failure, now);
                }
                Some(Err(failure)) => self.break_off(failure, now),
            },
            Ok(BodyLine::Hole(bytes)) => match self.receiving().map(|body| body.block(bytes, &self.limits)) {
                None => {}
                Some(Ok(())) => {
                    if let Some(body) = self.receiving_mut() {
                        body.take_hole(bytes);
                    }
                }
                Some(Err(failure)) if failure.code == Code::TooLarge => self.refuse_body(failure, now),
                Some(Err(failure)) => self.break_off(failure, now),
            },
            Ok(BodyLine::End(crc)) => self.end_body(crc, now),
            Ok(BodyLine::Join(crc)) => self.join_body(crc, now),
            Ok(BodyLine::Stop | BodyLine::Fail(_)) => {
                self.refuse_body(Failure::new(Code::Stopped, "stopped, as you asked"), now);
                self.phase = Phase::Ready;
            }
        }
    }

    fn end_body(&mut self, crc: Option<Crc32>, now: Instant) {
        let phase = std::mem::replace(&mut self.phase, Phase::Ready);
        let Phase::Receiving(number) = phase else { return };
        match self.uploads.body(number).map(|body| body.end(crc)) {
            Some(Err(failure)) => {
                self.give_up(number, &failure, now);
                self.reply(Reply::Fail(failure));
            }
            _ => {
                let place = self.queue.push_upload(number);
                self.upload_event(number, now, |upload| upload.end_body(place, None));
            }
        }
    }

    /// Returns whether the body that comes in, or is discarded, may end with JOIN.
    fn may_be_joined(&self) -> bool {
        match self.phase {
            Phase::Receiving(number) => self.uploads.may_be_joined(number),
            _ => true,
        }
    }

    /// Tells how much is kept of an upload whose size is not known, where that is news. Of what the client does not take, only
    /// the last is told.
    pub(super) fn tell_kept(&mut self) {
        if let Phase::Receiving(number) = self.phase
            && self.outbox.is_empty()
            && let Some(offset) = self.uploads.take_news(number)
        {
            self.reply(Reply::Kept { offset });
        }
    }

    /// The holder of an upload has sent its part of it: the store sees whether others have sent the rest.
    fn join_body(&mut self, crc: Crc32, now: Instant) {
        let phase = std::mem::replace(&mut self.phase, Phase::Ready);
        let Phase::Receiving(number) = phase else { return };
        let place = self.queue.push_upload(number);
        self.upload_event(number, now, |upload| upload.end_body(place, Some(crc)));
    }

    /// Fails the upload that is being received; the rest of its body is discarded. Nothing is said
    /// where a refusal was said before.
    pub(super) fn refuse_body(&mut self, failure: Failure, now: Instant) {
        if let Phase::Receiving(number) = std::mem::replace(&mut self.phase, Phase::Discarding) {
            self.give_up(number, &failure, now);
            self.reply(Reply::Fail(failure));
        }
    }

    /// Lets go of an upload that is still being received, as soon as its writes have ended.
    pub(super) fn give_up(&mut self, number: UploadNumber, failure: &Failure, now: Instant) {
        let mut transfer = None;
        self.upload_event(number, now, |upload| {
            transfer = upload.take_transfer();
            upload.give_up(failure);
        });
        if let Some(transfer) = transfer {
            self.record(transfer, Some(failure.clone()), now);
        }
    }
}

/// Completions.
impl<H: Handles> FerrySession<H> {
    pub(super) fn upload_completed(&mut self, number: UploadNumber, completion: UploadCompletion<H>, now: Instant) {
        match completion {
            UploadCompletion::Staged(staged) => self.staged(number, staged, now),
            UploadCompletion::Resumed(resumed) => self.resumed(number, resumed, now),
            UploadCompletion::Written(written) => self.upload_event(number, now, |upload| upload.written(written)),
            UploadCompletion::Checkpointed(checkpointed) => {
                self.upload_event(number, now, |upload| upload.checkpointed(checkpointed));
            }
            UploadCompletion::Finished(finished) => self.upload_event(number, now, |upload| upload.finished(finished)),
            UploadCompletion::Released => self.upload_event(number, now, Upload::released),
        }
    }

    /// Applies an event to an upload, and takes the steps that follow. Where a connection went away
    /// before it had one, there is no upload of that number.
    pub(super) fn upload_event(&mut self, number: UploadNumber, now: Instant, event: impl FnOnce(&mut Upload<H>)) {
        let (limits, operations) = (&self.limits, &mut self.operations);
        let settled = self.uploads.update(number, |upload| {
            event(upload);
            upload.settle(limits, now, operations)
        });
        match settled {
            None | Some(Event::None) => {}
            Some(Event::Refused(failure)) => self.refuse_body(failure, now),
            Some(Event::Ended { place, outcome, transfer }) => {
                let failure = outcome.as_ref().err().cloned();
                self.queue.answer(place, outcome.map_or_else(Reply::Fail, Reply::from));
                if let Some(transfer) = transfer {
                    self.record(transfer, failure, now);
                }
            }
        }
    }
}

/// Checks what PUT and RESUME share against the limits.
fn check_upload(limits: &Limits, size: Option<u64>) -> Result<(), Failure> {
    if limits.read_only {
        return Err(read_only());
    }
    if size.is_some_and(|size| size > limits.upload_bytes) {
        return Err(limits.too_large());
    }
    Ok(())
}

fn read_only() -> Failure {
    Failure::new(Code::ReadOnly, "this server takes no changes")
}

pub(super) fn taken_over() -> Failure {
    Failure::new(Code::Changed, "a newer connection took this upload over")
}
