//! Requests of tus, from what they ask to their answers.

use std::time::Instant;

use ferry_wire::{BodyCheck, Code, Digest, Failure, Id, Name, Options, Request};

use super::{
    super::{
        HttpSession, Phase, Step,
        answers::Said,
        changes::{Becoming, THE_PLACE, read_only},
        message::{AnswerHead, Method, Refusal, Resource, StatusCode},
        request::HttpRequest,
    },
    Address, CHECKSUMS, EXTENSIONS, TusFields, TusRequest, VERSION,
    piece::PieceCheck,
};
use crate::{
    protocol::{upload::Prepared, visitor::Terms},
    store::{
        ErrorKind, Handles, Progress, Published, ReadOperation, Resume, Resumed, Status, StoreError, UploadNumber,
        UploadOperation,
    },
};

/// The methods that an upload, and the place where one is made, know.
pub(in super::super) const ALLOWED: &str = "OPTIONS, POST, HEAD, PATCH, DELETE";

/// Beginning.
impl<H: Handles> HttpSession<H> {
    /// Begins a request whose query begins with `tus`.
    pub(in super::super) fn start_tus(&mut self, request: Box<HttpRequest>, now: Instant) {
        match request.method {
            Method::Options => self.say_abilities(request, now),
            _ if self.is_foreign(&request) => {
                let refusal = Refusal::new(StatusCode::FORBIDDEN, "another site made your browser ask for this upload");
                self.refuse(request, refusal, now);
            }
            Method::Post => match new_address(&request, self.ids.next()) {
                Ok(address) => self.create(request, address, now),
                Err(refusal) => self.refuse(request, refusal, now),
            },
            Method::Head | Method::Patch | Method::Delete => match Address::of(&request.target) {
                Ok(address) if request.method == Method::Head => self.measure(request, address, now),
                Ok(address) => self.take_up(request, address, now),
                Err(refusal) => self.refuse(request, refusal, now),
            },
            _ => {
                let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "tus has no use for that method");
                self.refuse(request, refusal, now);
            }
        }
    }

    fn say_abilities(&mut self, request: Box<HttpRequest>, now: Instant) {
        let most = self.limits.upload_bytes;
        self.say(request, StatusCode::NO_CONTENT, now, Said::Nothing, |head| {
            head.field("Allow", ALLOWED)
                .field("Tus-Version", VERSION)
                .field("Tus-Extension", EXTENSIONS)
                .field("Tus-Checksum-Algorithm", CHECKSUMS)
                .field("Tus-Max-Size", most)
        });
    }

    fn create(&mut self, mut request: Box<HttpRequest>, address: Address, now: Instant) {
        let has_piece = request.tus.as_ref().is_some_and(|tus| tus.fields.has_piece);
        if request.has_body() && !has_piece {
            let reason = "the body of a creation is application/offset+octet-stream";
            return self.refuse(request, Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, reason), now);
        }
        if !address.if_none {
            return self.take_up(request, address, now);
        }
        if let Err(failure) = self.upload_terms(&address) {
            return self.deny(request, failure, now);
        }
        self.operations.read(ReadOperation::Stat { name: address.name.clone() });
        if let Some(tus) = &mut request.tus {
            tus.address = Some(address);
        }
        self.phase = Phase::At(request, Step::Looking);
    }

    /// Takes the status of a name that is to be free for a new upload.
    pub(in super::super) fn upload_target_found(
        &mut self,
        mut request: Box<HttpRequest>,
        found: Result<Status, StoreError>,
        now: Instant,
    ) {
        let address = request.tus.as_mut().and_then(|tus| tus.address.take());
        match (found, address) {
            (Ok(_), _) => self.fail(request, Failure::new(Code::Exists, "that name is taken"), now),
            // Whatever is in its way, the upload itself meets it.
            (Err(_), Some(address)) => self.take_up(request, address, now),
            (Err(error), None) => self.fail(request, error.into(), now),
        }
    }

    /// Asks the store how far the upload is, which goes on meanwhile.
    fn measure(&mut self, mut request: Box<HttpRequest>, address: Address, now: Instant) {
        if let Err(failure) = self.upload_terms(&address) {
            return self.deny(request, failure, now);
        }
        match self.wanted(&mut request, address) {
            Ok(wanted) => {
                self.operations.read(ReadOperation::Measure(wanted.into()));
                self.phase = Phase::At(request, Step::Measuring);
            }
            Err(refusal) => self.refuse(request, refusal, now),
        }
    }

    /// Asks the store for the upload, for all that may be done to it.
    fn take_up(&mut self, mut request: Box<HttpRequest>, address: Address, now: Instant) {
        if self.limits.read_only {
            return self.fail(request, read_only(), now);
        }
        if address.length > self.limits.upload_bytes {
            let failure = self.limits.too_large();
            return self.fail(request, failure, now);
        }
        if let Err(failure) = self.upload_terms(&address) {
            return self.deny(request, failure, now);
        }
        match self.wanted(&mut request, address) {
            Ok(wanted) => {
                let number = self.uploads.number();
                self.operations.upload(number, UploadOperation::Resume(wanted));
                self.phase = Phase::At(request, Step::Preparing(Becoming { number, replaces: false }));
            }
            Err(refusal) => self.refuse(request, refusal, now),
        }
    }

    /// Returns the upload that the request is about, as the store knows it, and notes its address. A creation alone begins
    /// it.
    fn wanted(&self, request: &mut HttpRequest, address: Address) -> Result<Resume, Refusal> {
        let mtime = address.metadata.as_ref().map_or(Ok(None), super::Metadata::mtime)?;
        let Address { id, name, length: size, .. } = address.clone();
        request.transfer.name = (&name).into();
        if let Some(tus) = &mut request.tus {
            tus.address = Some(address);
        }
        let begins = request.method == Method::Post;
        Ok(Resume { id, name, size: Some(size), mtime, permissions: None, owner: self.visitor.owner(), begins })
    }

    /// The gate for an upload.
    fn upload_terms(&self, address: &Address) -> Result<Terms, Failure> {
        let Address { id, name, length, if_none, .. } = address.clone();
        let request = Request::Resume { id, size: Some(length), mtime: None, name };
        self.visitor.pass(&request, Options { if_none, ..Options::default() })
    }
}

/// An upload that was taken up.
impl<H: Handles> HttpSession<H> {
    /// Takes the store's result for a resumable upload: it goes on, was published before, or can't be had.
    pub(in super::super) fn resumed(
        &mut self,
        number: UploadNumber,
        resumed: Result<Resumed<H::Upload>, StoreError>,
        now: Instant,
    ) {
        let taken = self.take_step(|step| match step {
            Step::Preparing(becoming) if becoming.number == number => Ok(becoming),
            step => Err(step),
        });
        let taken = taken.and_then(|(request, becoming)| {
            let address = request.tus.as_ref().and_then(|tus| tus.address.clone())?;
            Some((request, becoming, address))
        });
        let Some((request, becoming, address)) = taken else {
            if let Ok(Resumed::Going { upload, .. }) = resumed {
                self.operations.upload(number, UploadOperation::Keep { upload, tail: None });
            }
            return;
        };
        match (resumed, self.upload_terms(&address)) {
            (Ok(Resumed::Going { upload, digest, .. }), Ok(terms)) => {
                self.going(request, becoming, (upload, digest, terms), now);
            }
            (Ok(Resumed::Published(published)), Ok(_)) => self.was_published(request, &address, &published, now),
            (Err(error), _) => self.not_taken_up(request, error, now),
            // Rights have changed since it was asked for.
            (Ok(resumed), Err(failure)) => {
                if let Resumed::Going { upload, .. } = resumed {
                    self.operations.upload(number, UploadOperation::Keep { upload, tail: None });
                }
                self.deny(request, failure, now);
            }
        }
    }

    /// Takes the store's answer how far the upload is.
    pub(in super::super) fn measured(&mut self, measured: Result<Progress, StoreError>, now: Instant) {
        let taken = self.take_step(|step| match step {
            Step::Measuring => Ok(()),
            step => Err(step),
        });
        let Some((mut request, ())) = taken else { return };
        let Some(address) = request.tus.as_ref().and_then(|tus| tus.address.clone()) else { return };
        match measured {
            Ok(Progress::Published(published)) => self.was_published(request, &address, &published, now),
            // A client takes the last byte for the end. So it is brought about, where a server was killed before it.
            Ok(Progress::Kept(bytes)) if bytes == address.length => self.take_up(request, address, now),
            Ok(Progress::Kept(bytes)) => {
                if let Some(tus) = &mut request.tus {
                    tus.offset = Some(bytes);
                }
                self.say_state(request, None, now);
            }
            Err(error) => self.not_taken_up(request, error, now),
        }
    }

    /// Of an upload that is another user's, or another one, no more is told than of one that is not there.
    fn not_taken_up(&mut self, request: Box<HttpRequest>, error: StoreError, now: Instant) {
        match error.kind {
            ErrorKind::IdTaken | ErrorKind::ForeignUpload | ErrorKind::NoUpload => {
                self.refuse(request, super::address::none(), now);
            }
            _ => self.fail(request, error.into(), now),
        }
    }

    /// Does with an upload what the request asks.
    fn going(
        &mut self,
        mut request: Box<HttpRequest>,
        becoming: Becoming,
        (handle, digest, terms): (H::Upload, Digest, Terms),
        now: Instant,
    ) {
        let Some(tus) = &mut request.tus else { return };
        let Some(Address { id, length, .. }) = tus.address.clone() else { return };
        let offset = digest.bytes();
        let refusal = tus.refusal_at(offset, request.method, request.length);
        let receives = refusal.is_none() && matches!(request.method, Method::Post | Method::Patch);
        let checksum = tus.fields.checksum.filter(|_| receives);
        tus.check = checksum.map(|checksum| PieceCheck::new(checksum, &digest));
        tus.failed = refusal;
        request.transfer.resumed = offset;
        let check = BodyCheck::resume(Some(length), digest);
        let (number, transfer) = (becoming.number, request.transfer.clone());
        let (id, size) = (Some(id), Some(length));
        let prepared = Prepared { number, handle, id, is_part: false, size, check, terms, transfer };
        self.uploads.insert(prepared, now);
        if receives {
            if checksum.is_some() {
                self.upload_event(number, now, |upload| upload.withhold());
            }
            self.say_continue(&mut request);
            self.phase = Phase::At(request, Step::Receiving(becoming));
            return;
        }
        let method = request.tus.as_ref().filter(|tus| tus.failed.is_none()).map(|_| request.method);
        self.phase = Phase::At(request, Step::Storing(becoming));
        self.upload_event(number, now, |upload| match method {
            Some(Method::Delete) => upload.abandon(THE_PLACE),
            Some(Method::Head) if offset == length => upload.end_body(THE_PLACE, None),
            _ => upload.leave(THE_PLACE),
        });
    }

    /// Takes the end of a piece that came whole.
    pub(in super::super) fn end_piece(&mut self, mut request: Box<HttpRequest>, becoming: Becoming, now: Instant) {
        let number = becoming.number;
        let Some(body) = self.uploads.body(number) else { return };
        let (after, arrived) = (body.digest(), body.arrived());
        let tus = request.tus.as_mut();
        let (check, length) =
            tus.map_or((None, None), |tus| (tus.check.take(), tus.address.as_ref().map(|address| address.length)));
        let is_right = check.is_none_or(|check| check.holds(&after));
        if !is_right && let Some(tus) = &mut request.tus {
            let failure = Failure::new(Code::Checksum, "the bytes that arrived have another checksum");
            tus.failed = Some((StatusCode::CHECKSUM_MISMATCH, failure));
        }
        self.phase = Phase::At(request, Step::Storing(becoming));
        self.upload_event(number, now, |upload| {
            if !is_right || arrived == 0 && length != Some(after.bytes()) {
                upload.leave(THE_PLACE);
            } else if length == Some(after.bytes()) {
                upload.end_body(THE_PLACE, None);
            } else {
                upload.pause(THE_PLACE);
            }
        });
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
            Phase::At(_, Step::Receiving(becoming)) if self.uploads.has_id(becoming.number, id) => {
                self.refuse_upload(taken_over(), now);
            }
            Phase::At(request, Step::Preparing(_)) => {
                if let Some(tus) = &mut request.tus {
                    tus.is_evicted |= tus.address.as_ref().is_some_and(|address| address.id == *id);
                }
            }
            _ => {}
        }
        self.settle(now);
    }
}

/// Answers.
impl<H: Handles> HttpSession<H> {
    /// Answers a request whose upload was let go of, of which `bytes` bytes are kept.
    pub(in super::super) fn say_kept(&mut self, mut request: Box<HttpRequest>, bytes: u64, now: Instant) {
        let Some(tus) = &mut request.tus else { return self.say_done(request, now) };
        let failed = tus.failed.take();
        tus.offset = (request.method != Method::Delete).then_some(bytes);
        if let Some((status, failure)) = failed {
            return self.fail_as(request, status, failure, now);
        }
        match request.method {
            Method::Head => self.say_state(request, None, now),
            Method::Post => self.say_created(request, None, now),
            _ => self.say_done(request, now),
        }
    }

    /// Answers a request whose upload became a file by it.
    pub(in super::super) fn say_whole(&mut self, mut request: Box<HttpRequest>, published: &Published, now: Instant) {
        if let Some(tus) = &mut request.tus {
            tus.offset = Some(published.size);
        }
        match request.method {
            Method::Post => self.say_created(request, Some(published), now),
            Method::Head => self.say_state(request, Some(published), now),
            _ => self.say(request, StatusCode::NO_CONTENT, now, Said::Nothing, |head| of_file(head, Some(published))),
        }
    }

    /// Answers a request whose upload became a file before.
    fn was_published(&mut self, request: Box<HttpRequest>, address: &Address, published: &Published, now: Instant) {
        let offset = request.tus.as_ref().and_then(|tus| tus.fields.offset);
        let is_told = match request.method {
            Method::Head => true,
            // Its last answer was lost.
            Method::Patch => offset == Some(address.length) && !request.has_body(),
            _ => false,
        };
        match request.method {
            _ if is_told => self.say_whole(request, published, now),
            Method::Patch => {
                let failure = Failure::new(Code::Changed, "the upload is whole, and has become a file");
                self.say_kept(failing(request, failure), address.length, now);
            }
            _ => {
                let failure = Failure::new(Code::NotFound, "the upload is whole, and has become a file");
                self.fail_as(request, StatusCode::GONE, failure, now);
            }
        }
    }

    fn say_created(&mut self, request: Box<HttpRequest>, published: Option<&Published>, now: Instant) {
        let Some(address) = request.tus.as_ref().and_then(|tus| tus.address.clone()) else { return };
        self.say(request, StatusCode::CREATED, now, Said::Nothing, |head| {
            of_file(head.field("Location", &address).length(0), published)
        });
    }

    fn say_state(&mut self, request: Box<HttpRequest>, published: Option<&Published>, now: Instant) {
        let Some(address) = request.tus.as_ref().and_then(|tus| tus.address.clone()) else { return };
        self.say(request, StatusCode::OK, now, Said::Nothing, |head| {
            let head = head.length(0).field("Cache-Control", "no-store").field("Upload-Length", address.length);
            let head = match &address.metadata {
                Some(metadata) => head.field("Upload-Metadata", metadata.as_str()),
                None => head,
            };
            of_file(head, published)
        });
    }
}

impl TusRequest {
    /// Returns why the request can't be carried out on an upload of which there are `offset` bytes, where that is so.
    fn refusal_at(&self, offset: u64, method: Method, body: Option<u64>) -> Option<(StatusCode, Failure)> {
        let length = self.address.as_ref().map_or(0, |address| address.length);
        let TusFields { offset: meant, .. } = self.fields;
        if self.is_evicted {
            return Some((StatusCode::CONFLICT, taken_over()));
        }
        if method == Method::Patch && meant != Some(offset) {
            let failure = Failure::new(Code::BadRequest, "the upload stands at another offset");
            return Some((StatusCode::CONFLICT, failure));
        }
        let is_beyond = body.is_some_and(|body| body > length.saturating_sub(offset));
        let failure = || Failure::new(Code::TooLarge, "the body goes beyond the length of the upload");
        is_beyond.then(|| (StatusCode::CONTENT_TOO_LARGE, failure()))
    }
}

fn failing(mut request: Box<HttpRequest>, failure: Failure) -> Box<HttpRequest> {
    if let Some(tus) = &mut request.tus {
        tus.failed = Some((StatusCode::CONFLICT, failure));
    }
    request
}

/// Returns the address of a new upload: into the directory that the target is, or with its name.
fn new_address(request: &HttpRequest, id: Id) -> Result<Address, Refusal> {
    let bad = |reason| Refusal::new(StatusCode::BAD_REQUEST, reason);
    let Some(TusFields { length: Some(length), metadata, .. }) = request.tus.as_ref().map(|tus| tus.fields.clone())
    else {
        return Err(bad("an upload needs Upload-Length"));
    };
    if request.target.value("tus").is_none_or(|value| !value.is_empty()) {
        return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "an upload goes on by PATCH"));
    }
    let file = metadata.as_ref().and_then(|metadata| metadata.value("filename"));
    let needed = || bad("an upload to a directory needs a filename in Upload-Metadata");
    let name = match request.target.resource() {
        Resource::Name(name) if !request.target.ends_in_slash() => name.clone(),
        Resource::Name(directory) => directory.join(&file.ok_or_else(needed)?)?,
        Resource::Root => Name::new(&file.ok_or_else(needed)?)?,
        Resource::Server => return Err(bad("'*' is for OPTIONS alone")),
    };
    let if_none = request.conditions.only_if_free();
    Ok(Address { name, id, length, if_none, metadata })
}

fn of_file<'o>(head: AnswerHead<'o>, published: Option<&Published>) -> AnswerHead<'o> {
    match published {
        Some(published) => head.version(&published.tag, None).digest(published.crc),
        None => head,
    }
}

fn taken_over() -> Failure {
    Failure::new(Code::Changed, "a newer connection has taken the upload over")
}
