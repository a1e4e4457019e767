//! Requests that change: PUT, DELETE and MKCOL. [`upload`](crate::protocol::upload) is how a file goes on from its first
//! byte to its name.

use std::time::Instant;

use ferry_wire::{BodyCheck, Code, Failure, Name, Options, Request};

use super::{
    HttpSession, Phase, Step,
    answers::Said,
    message::{BodyPiece, Method, Precondition, Refusal, StatusCode, Validators},
    request::HttpRequest,
};
use crate::{
    protocol::{
        upload::{Event, Place, Prepared, Stored, Upload},
        visitor::Terms,
    },
    store::{
        Change, ChangeNumber, ErrorKind, Handles, NameOperation, Onto, Published, Stage, Status, StoreError,
        SystemError, UploadCompletion, UploadNumber, UploadOperation,
    },
};

/// A session makes one change at a time.
const THE_CHANGE: ChangeNumber = ChangeNumber(0);

/// A session answers one upload at a time.
pub(super) const THE_PLACE: Place = Place(0);

/// The file that an upload is to become.
#[derive(Debug, Clone, Copy)]
pub(super) struct Becoming {
    pub(super) number: UploadNumber,
    /// A file had its name when it began.
    pub(super) replaces: bool,
}

/// Beginning.
impl<H: Handles> HttpSession<H> {
    /// Begins a request that changes what a name leads to: after a look at what is there, where that matters.
    pub(super) fn start_change(&mut self, request: Box<HttpRequest>, now: Instant) {
        let Some(name) = request.target.name().cloned() else {
            let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "the root is there, and stays");
            return self.refuse(request, refusal, now);
        };
        if request.target.query().is_some() {
            let refusal = Refusal::new(StatusCode::BAD_REQUEST, "a request that changes something has no query");
            return self.refuse(request, refusal, now);
        }
        if self.is_foreign(&request) {
            let refusal = Refusal::new(StatusCode::FORBIDDEN, "another site made your browser ask for this change");
            return self.refuse(request, refusal, now);
        }
        match request.method {
            Method::Put => self.start_put(request, name, now),
            Method::Delete => self.start_delete(request, name, now),
            _ => self.start_mkcol(request, name, now),
        }
    }

    fn start_mkcol(&mut self, request: Box<HttpRequest>, name: Name, now: Instant) {
        if request.has_body() {
            let refusal = Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "MKCOL has no body here");
            return self.refuse(request, refusal, now);
        }
        match self.pass(&Request::Mkdir { name: name.clone() }) {
            Ok(_) => self.change(request, Change::Mkdir(name), now),
            Err(failure) => self.deny(request, failure, now),
        }
    }

    fn start_delete(&mut self, request: Box<HttpRequest>, name: Name, now: Instant) {
        match self.pass(&Request::Delete { name: name.clone() }) {
            Err(failure) => self.deny(request, failure, now),
            Ok(_) if request.conditions.is_empty() => self.change(request, Change::Delete(name), now),
            Ok(_) => self.look_first(request, name),
        }
    }

    fn start_put(&mut self, request: Box<HttpRequest>, name: Name, now: Instant) {
        if request.target.ends_in_slash() {
            let refusal = Refusal::new(StatusCode::CONFLICT, "a name that ends in a slash is a directory's: MKCOL");
            return self.refuse(request, refusal, now);
        }
        if request.length.is_none() && !request.has_body() {
            let refusal = Refusal::new(StatusCode::LENGTH_REQUIRED, "PUT needs Content-Length, or comes in chunks");
            return self.refuse(request, refusal, now);
        }
        if self.limits.read_only {
            return self.fail(request, read_only(), now);
        }
        if request.length.is_some_and(|length| length > self.limits.upload_bytes) {
            let failure = self.limits.too_large();
            return self.fail(request, failure, now);
        }
        match self.terms(&request, &name) {
            Ok(_) => self.look_first(request, name),
            Err(failure) => self.deny(request, failure, now),
        }
    }

    /// Returns the terms on which the upload of `request` may get its name.
    fn terms(&self, request: &HttpRequest, name: &Name) -> Result<Terms, Failure> {
        let put = Request::Put { size: request.length, mtime: request.mtime, name: name.clone() };
        let options = Options { if_none: request.conditions.only_if_free(), ..Options::default() };
        let terms = self.visitor.pass(&put, options)?;
        match &request.seen {
            Some(version) => terms.only_seen(version.clone()),
            None if request.conditions.only_if_taken() => terms.only_taken(),
            None => Ok(terms),
        }
    }

    /// Looks at what is there before anything is changed.
    fn look_first(&mut self, request: Box<HttpRequest>, name: Name) {
        self.operations.read(crate::store::ReadOperation::Stat { name });
        self.phase = Phase::At(request, Step::Looking);
    }

    /// Takes the status of a name that is to be changed.
    pub(super) fn target_found(
        &mut self,
        mut request: Box<HttpRequest>,
        found: Result<Status, StoreError>,
        now: Instant,
    ) {
        let Some(name) = request.target.name().cloned() else { return };
        let version = match &found {
            Ok(Status::File(version)) => Some(version),
            Ok(Status::Directory { .. }) => None,
            // What is in its way is found out by the change itself, if it still is then.
            Err(error) if request.method == Method::Put && (request.conditions.is_empty() || is_missing(error)) => None,
            Err(error) => {
                let failure = error.clone().into();
                return self.fail(request, failure, now);
            }
        };
        let current = version.map(|version| Validators { tag: &version.tag, mtime: version.mtime });
        let is_there = found.is_ok();
        // Of a directory no version is known, but it is there.
        let holds = match request.conditions.check(current, false) {
            Precondition::Holds => !(request.conditions.only_if_free() && is_there),
            _ => request.conditions.only_if_taken() && is_there && !request.conditions.depends_on_version(),
        };
        if !holds {
            return self.say_failed_condition(request, now);
        }
        if request.conditions.depends_on_version() {
            request.seen = Some(version.map(|version| version.tag.clone()));
        }
        match request.method {
            Method::Put => self.stage(request, name, found.ok(), now),
            _ => {
                // The step that deletes looks once more. A directory has no version that could be another one by then.
                let change = match request.seen.clone().flatten() {
                    Some(tag) => Change::DeleteVersion(name, tag),
                    None => Change::Delete(name),
                };
                self.change(request, change, now);
            }
        }
    }

    fn change(&mut self, request: Box<HttpRequest>, change: Change, now: Instant) {
        if self.limits.read_only {
            return self.fail(request, read_only(), now);
        }
        self.operations.name(NameOperation::Change(THE_CHANGE, change));
        self.phase = Phase::At(request, Step::Changing);
    }

    /// Takes the store's result of a change.
    pub(super) fn changed(&mut self, changed: Result<(), StoreError>, now: Instant) {
        let taken = self.take_step(|step| match step {
            Step::Changing => Ok(()),
            step => Err(step),
        });
        let Some((request, ())) = taken else {
            // The client is gone. What became of its change is for the log all the same.
            if let Phase::Over(Some(transfer)) = std::mem::replace(&mut self.phase, Phase::Over(None)) {
                self.log(*transfer, None, changed.err().map(Failure::from), now);
            }
            return;
        };
        match changed {
            Err(error) => self.fail(request, error.into(), now),
            Ok(()) if request.method == Method::Mkcol => {
                self.say(request, StatusCode::CREATED, now, Said::Nothing, |head| head.length(0));
            }
            Ok(()) => self.say(request, StatusCode::NO_CONTENT, now, Said::Nothing, |head| head),
        }
    }
}

/// PUT.
impl<H: Handles> HttpSession<H> {
    /// Begins an upload onto what was `found` there. The step that publishes decides by what is there then, but who could
    /// only be refused need not send all of it before.
    fn stage(&mut self, request: Box<HttpRequest>, name: Name, found: Option<Status>, now: Instant) {
        let terms = match self.terms(&request, &name) {
            Ok(terms) => terms,
            // Rights may have changed since it was asked for.
            Err(failure) => return self.deny(request, failure, now),
        };
        let in_the_way = match (&found, &terms.onto) {
            (Some(Status::Directory { .. }), _) => Some(ErrorKind::System(SystemError::IsDirectory)),
            (Some(Status::File(_)), Onto::Free) => Some(ErrorKind::NameTaken),
            _ => None,
        };
        if let Some(kind) = in_the_way {
            let failure = terms.told(StoreError::at(name.as_str(), kind));
            return self.fail(request, failure, now);
        }
        let replaces = found.is_some();
        let (size, mtime, owner) = (request.length, request.mtime, self.visitor.owner());
        let number = self.uploads.number();
        let stage = Stage { name, size, mtime, permissions: None, settled: true, owner };
        self.operations.upload(number, UploadOperation::Stage(stage));
        self.phase = Phase::At(request, Step::Preparing(Becoming { number, replaces }));
    }

    /// Takes the store's result for a plain upload: a handle that needs no release, or a failure.
    fn staged(&mut self, number: UploadNumber, staged: Result<H::Upload, StoreError>, now: Instant) {
        let taken = self.take_step(|step| match step {
            Step::Preparing(becoming) if becoming.number == number => Ok(becoming),
            step => Err(step),
        });
        let Some((mut request, becoming)) = taken else {
            if let Ok(upload) = staged {
                self.operations.upload(number, UploadOperation::Discard { upload });
            }
            return;
        };
        let Some(name) = request.target.name() else { return };
        let terms = self.terms(&request, name);
        let (handle, terms) = match (staged, terms) {
            (Ok(handle), Ok(terms)) => (handle, terms),
            (Err(error), _) => return self.fail(request, error.into(), now),
            (Ok(upload), Err(failure)) => {
                self.operations.upload(number, UploadOperation::Discard { upload });
                return self.deny(request, failure, now);
            }
        };
        let (size, transfer) = (request.length, request.transfer.clone());
        let check = BodyCheck::new(size);
        self.uploads.insert(Prepared { number, handle, id: None, is_part: false, size, check, terms, transfer }, now);
        self.say_continue(&mut request);
        self.phase = Phase::At(request, Step::Receiving(becoming));
    }

    /// Says that the body may come, where the client waits for that.
    pub(super) fn say_continue(&mut self, request: &mut HttpRequest) {
        // A client that has sent some of the body waits for nothing.
        if std::mem::take(&mut request.awaits_word) {
            self.outbox.text(|text| text.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n"));
        }
    }

    /// Takes bytes of the body that arrives, and says how many.
    pub(super) fn receive_body(&mut self, input: &[u8], now: Instant) -> usize {
        let Phase::At(request, Step::Receiving(becoming)) = &mut self.phase else { return 0 };
        let Some(body) = self.uploads.body_mut(becoming.number) else { return 0 };
        let window = &input[..input.len().min(body.room())];
        let read = request.body.read(window);
        match read {
            Err(refusal) => {
                let failure = Failure::new(Code::BadRequest, refusal.reason.clone());
                self.give_up_upload(&failure, now);
                if let Some((request, _)) = self.take_step(Ok) {
                    self.refuse(request, refusal, now);
                }
                input.len()
            }
            Ok((used, BodyPiece::More)) => used,
            Ok((used, BodyPiece::Bytes(bytes))) => {
                let checked = body.block(bytes.len() as u64, &self.limits);
                if let Err(failure) = checked {
                    self.refuse_upload(failure, now);
                    return used;
                }
                body.take(bytes);
                if let Some(tus) = &mut request.tus {
                    tus.arrived(bytes);
                }
                self.body_bytes += bytes.len() as u64;
                used
            }
            Ok((used, BodyPiece::End)) => {
                self.end_body(now);
                used
            }
        }
    }

    /// Takes the end of a body that came whole.
    pub(super) fn end_body(&mut self, now: Instant) {
        let taken = self.take_step(|step| match step {
            Step::Receiving(becoming) => Ok(becoming),
            step => Err(step),
        });
        let Some((request, becoming)) = taken else { return };
        if request.tus.is_some() {
            return self.end_piece(request, becoming, now);
        }
        let ended = self.uploads.body(becoming.number).map(|body| body.end(request.crc));
        self.phase = Phase::At(request, Step::Storing(becoming));
        match ended {
            Some(Err(failure)) => {
                self.give_up(becoming.number, &failure, now);
                self.fail_upload(failure, now);
            }
            _ => self.upload_event(becoming.number, now, |upload| upload.end_body(THE_PLACE, None)),
        }
    }

    /// Refuses the upload that is received: the rest of its body is discarded, or the connection closes.
    pub(super) fn refuse_upload(&mut self, failure: Failure, now: Instant) {
        self.give_up_upload(&failure, now);
        self.fail_upload(failure, now);
    }

    /// Lets go of the upload that is received, as soon as its writes have ended.
    pub(super) fn give_up_upload(&mut self, failure: &Failure, now: Instant) {
        if let Phase::At(_, Step::Receiving(becoming)) = self.phase {
            self.give_up(becoming.number, failure, now);
        }
    }

    fn give_up(&mut self, number: UploadNumber, failure: &Failure, now: Instant) {
        let mut transfer = None;
        self.upload_event(number, now, |upload| {
            transfer = upload.take_transfer();
            upload.give_up(failure);
        });
        if let (Some(transfer), Phase::At(request, _)) = (transfer, &mut self.phase) {
            request.transfer = transfer;
        }
    }

    fn fail_upload(&mut self, failure: Failure, now: Instant) {
        if let Some((request, _)) = self.take_step(Ok) {
            self.fail(request, failure, now);
        }
    }

    /// Takes the completion of an operation on an upload.
    pub(super) fn upload_completed(&mut self, number: UploadNumber, completion: UploadCompletion<H>, now: Instant) {
        match completion {
            UploadCompletion::Staged(staged) => self.staged(number, staged, now),
            UploadCompletion::Written(written) => self.upload_event(number, now, |upload| upload.written(written)),
            UploadCompletion::Checkpointed(checkpointed) => {
                self.upload_event(number, now, |upload| upload.checkpointed(checkpointed));
            }
            UploadCompletion::Finished(finished) => self.upload_event(number, now, |upload| upload.finished(finished)),
            UploadCompletion::Released => self.upload_event(number, now, Upload::released),
            UploadCompletion::Resumed(resumed) => self.resumed(number, resumed, now),
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
            Some(Event::Refused(failure)) => self.refuse_upload(failure, now),
            Some(Event::Ended { outcome, transfer, .. }) => {
                let taken = self.take_step(|step| match step {
                    Step::Storing(becoming) if becoming.number == number => Ok(becoming),
                    step => Err(step),
                });
                let Some((mut request, becoming)) = taken else {
                    // The client is gone. What became of its upload is for the log all the same.
                    if let Some(transfer) = transfer {
                        self.log(transfer, None, outcome.err(), now);
                    }
                    return;
                };
                if let Some(transfer) = transfer {
                    request.transfer = transfer;
                }
                match outcome {
                    Ok(Stored::Published(published)) if request.tus.is_some() => {
                        self.say_whole(request, &published, now)
                    }
                    Ok(Stored::Kept(bytes)) => self.say_kept(request, bytes, now),
                    Ok(Stored::Published(published)) => self.say_published(request, becoming, &published, now),
                    Ok(Stored::Part) => self.say_done(request, now),
                    Err(failure) => self.fail(request, failure, now),
                }
            }
        }
    }

    fn say_published(&mut self, request: Box<HttpRequest>, becoming: Becoming, published: &Published, now: Instant) {
        let status = if becoming.replaces { StatusCode::NO_CONTENT } else { StatusCode::CREATED };
        self.say(request, status, now, Said::Nothing, |head| {
            let head = if becoming.replaces { head } else { head.length(0) };
            head.version(&published.tag, None).digest(published.crc)
        });
    }
}

fn is_missing(error: &StoreError) -> bool {
    error.kind == ErrorKind::System(SystemError::NotFound)
}

pub(super) fn read_only() -> Failure {
    Failure::new(Code::ReadOnly, "this server takes no changes")
}
