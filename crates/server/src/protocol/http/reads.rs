//! GET and HEAD of files: a look at the version that is there, then its bytes.

use std::{ops::Range, time::Instant};

use ferry_wire::{Code, Crc32, Failure, Name, Request, Tag};

use super::{
    HttpSession, Phase, Step,
    answers::Said,
    message::{
        AnswerHead, ByteRange, Encoded, MediaType, Method, Precondition, Refusal, Resource, StatusCode, Validators,
        media_type,
    },
    page,
    request::HttpRequest,
    sending::{Sending, Sent},
};
use crate::{
    store::{
        Content, ErrorKind, FileVersion, Handles, Opened, ReadCompletion, ReadOperation, Status, StoreError,
        SystemError,
    },
    units::counted,
};

/// Ranges up to this size are copied into the answer; above it, sendfile saves more than it costs.
pub(super) const INLINE_BYTES: u64 = 64 << 10;

/// A file that changes again and again between two looks is sent whole, as it is at the last of so many.
const TRIES: u8 = 3;

/// A file that is being opened, and the part of it that was asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opening {
    offset: u64,
    length: Option<u64>,
    tries: u8,
}

impl Opening {
    pub(super) const WHOLE: Opening = Opening { offset: 0, length: None, tries: 0 };
    /// Nothing is read: what is wanted depends on the size.
    const LOOK: Opening = Opening { offset: 0, length: Some(0), tries: 0 };

    fn of(range: Option<ByteRange>) -> Opening {
        match range {
            None => Opening::WHOLE,
            Some(ByteRange::Between(first, last)) => {
                Opening { offset: first, length: Some((last - first).saturating_add(1)), tries: 0 }
            }
            Some(ByteRange::From(first)) => Opening { offset: first, length: None, tries: 0 },
            Some(ByteRange::Last(_)) => Opening::LOOK,
        }
    }

    /// Returns the part of a file of `size` bytes that comes by it.
    fn within(&self, size: u64) -> Range<u64> {
        let end = self.length.map_or(size, |length| size.min(self.offset.saturating_add(length)));
        self.offset.min(end)..end
    }
}

/// Beginning.
impl<H: Handles> HttpSession<H> {
    pub(super) fn start_read(&mut self, request: Box<HttpRequest>, now: Instant) {
        match request.target.resource() {
            Resource::Server => {
                let refusal = Refusal::new(StatusCode::BAD_REQUEST, "'*' is for OPTIONS alone");
                self.refuse(request, refusal, now);
            }
            Resource::Root => self.start_root(request, now),
            Resource::Name(_) if request.target.ends_in_slash() => self.start_directory(request, now),
            Resource::Name(name) => {
                let name = name.clone();
                self.start_file(request, name, now);
            }
        }
    }

    fn start_root(&mut self, request: Box<HttpRequest>, now: Instant) {
        if let Some(asset) = request.target.query().and_then(page::asset) {
            return self.say_asset(request, &asset, now);
        }
        if request.target.key() == Some("login") {
            return self.say_logged_in(request, now);
        }
        self.start_directory(request, now);
    }

    fn start_directory(&mut self, request: Box<HttpRequest>, now: Instant) {
        match request.target.key() {
            Some("tar") => self.start_archive(request, now),
            _ => self.start_listing(request, now),
        }
    }

    /// Answers with the style sheet or a script of pages, which everybody may have.
    fn say_asset(&mut self, request: Box<HttpRequest>, asset: &page::Asset, now: Instant) {
        let tag = Tag::new(asset.etag.trim_matches('"')).ok();
        let current = tag.as_ref().map(|tag| Validators { tag, mtime: None });
        let (status, said) = match request.conditions.check(current, true) {
            Precondition::NotModified => (StatusCode::NOT_MODIFIED, Said::Nothing),
            _ => (StatusCode::OK, Said::Own(asset.content_type, asset.body)),
        };
        let caching = if asset.immutable { "public, max-age=31536000, immutable" } else { "no-cache" };
        self.say(request, status, now, said, |head| head.field("ETag", asset.etag).field("Cache-Control", caching));
    }

    /// Sends a browser that has logged in to where it wants to be, and asks any other to log in.
    fn say_logged_in(&mut self, request: Box<HttpRequest>, now: Instant) {
        if self.visitor.is_to_log_in() {
            return self.deny(request, Failure::new(Code::Denied, "log in"), now);
        }
        let place = request.target.value("login").and_then(|place| Name::new(place.trim_matches('/')).ok());
        let path = place.map(|name| format!("/{}/", Encoded(name.as_str()))).unwrap_or_else(|| "/".into());
        self.say(request, StatusCode::SEE_OTHER, now, Said::Nothing, |head| {
            head.field("Location", &path).field("Cache-Control", "no-store").length(0)
        });
    }

    fn start_file(&mut self, request: Box<HttpRequest>, name: Name, now: Instant) {
        let is_look = request.is_head() || request.target.key() == Some("json");
        let wanted = match is_look {
            true => Request::Stat { name: name.clone() },
            false => Request::Get { name: name.clone() },
        };
        match self.pass(&wanted) {
            Ok(_) if is_look => {
                self.operations.read(ReadOperation::Stat { name });
                self.phase = Phase::At(request, Step::Looking);
            }
            Ok(_) => {
                let opening = Opening::of(request.range);
                self.open(request, name, None, opening);
            }
            // It may be a directory that may be listed.
            Err(failure) if self.pass(&Request::Stat { name: name.clone() }).is_ok() => {
                self.operations.read(ReadOperation::Stat { name });
                self.phase = Phase::At(request, Step::LookingForDirectory(failure.into()));
            }
            Err(failure) => self.deny(request, failure, now),
        }
    }

    fn open(&mut self, mut request: Box<HttpRequest>, name: Name, tag: Option<Tag>, opening: Opening) {
        let Opening { offset, length, .. } = opening;
        self.operations.read(ReadOperation::Open { name, offset, length, tag, inline: INLINE_BYTES });
        request.opening = opening;
        self.phase = Phase::At(request, Step::Opening);
    }
}

/// The result of the look.
impl<H: Handles> HttpSession<H> {
    /// Takes a completion to the request that reads. On a connection that is gone there is none.
    pub(super) fn read_completed(&mut self, completion: ReadCompletion<'_, H>, now: Instant) {
        match completion {
            ReadCompletion::Opened(opened) if self.is_archiving() => self.archive_opened(opened, now),
            ReadCompletion::Opened(opened) => self.opened(opened, now),
            ReadCompletion::Found(found) => self.found(found, now),
            ReadCompletion::Listed(listed) if self.is_archiving() => self.archive_listed(listed, now),
            ReadCompletion::Listed(listed) => self.listed(listed, now),
            ReadCompletion::Loaded(loaded) => {
                if let Some(sending) = self.phase.sending() {
                    sending.loaded(loaded, &mut self.outbox);
                }
            }
            ReadCompletion::Checked(checked) => {
                if let Some(sending) = self.phase.sending() {
                    sending.checked(checked, &mut self.outbox);
                }
            }
            ReadCompletion::Measured(measured) => self.measured(measured, now),
            // Nothing here asks for that.
            ReadCompletion::Probed(_) | ReadCompletion::RoomFound(_) | ReadCompletion::Laid(_) => {}
        }
    }

    fn opened(&mut self, opened: Result<Opened<'_, H::File>, StoreError>, now: Instant) {
        let taken = self.take_step(|step| match step {
            Step::Opening => Ok(()),
            step => Err(step),
        });
        let Some((mut request, ())) = taken else { return };
        let opening = request.opening;
        let Some(name) = request.target.name().cloned() else { return };
        let Opened { version, content } = match opened {
            Ok(opened) => opened,
            // Which range there is depends on the version, and whether one is wanted at all.
            Err(StoreError { kind: ErrorKind::PastEnd { .. }, .. }) if opening.tries < TRIES => {
                return self.open(request, name, None, Opening { tries: opening.tries + 1, ..Opening::LOOK });
            }
            Err(StoreError { kind: ErrorKind::OtherVersion, .. }) => {
                request.range = None;
                return self.open(request, name, None, Opening::WHOLE);
            }
            Err(error) => return self.not_opened(request, error, now),
        };
        let current = Validators { tag: &version.tag, mtime: version.mtime };
        match request.conditions.check(Some(current), true) {
            Precondition::Holds => {}
            Precondition::NotModified => return self.say_not_modified(request, &version, now),
            Precondition::Failed => return self.say_failed_condition(request, now),
        }
        let part = request.range.filter(|_| request.conditions.range_holds(current));
        let wanted = match part.map(|part| part.within(version.size)) {
            None => 0..version.size,
            Some(Some(range)) => range,
            Some(None) => return self.say_no_such_range(request, &version, now),
        };
        if opening.within(version.size) != wanted {
            if opening.tries >= TRIES {
                request.range = None;
                return self.open(request, name, None, Opening::WHOLE);
            }
            let length = part.map(|_| wanted.end - wanted.start);
            let next = Opening { offset: wanted.start, length, tries: opening.tries + 1 };
            return self.open(request, name, Some(version.tag), next);
        }
        self.send(request, &version, part.map(|_| wanted), content, now);
    }

    fn not_opened(&mut self, request: Box<HttpRequest>, error: StoreError, now: Instant) {
        match error.kind {
            ErrorKind::System(SystemError::IsDirectory) => self.redirect(request, now),
            _ => self.fail(request, error.into(), now),
        }
    }

    /// Takes the status of a name that was looked at.
    fn found(&mut self, found: Result<Status, StoreError>, now: Instant) {
        let taken = self.take_step(|step| match step {
            Step::Looking => Ok(None),
            Step::LookingForDirectory(denied) => Ok(Some(denied)),
            step => Err(step),
        });
        let Some((request, denied)) = taken else { return };
        if request.tus.is_some() {
            return self.upload_target_found(request, found, now);
        }
        if matches!(request.method, Method::Put | Method::Delete) {
            return self.target_found(request, found, now);
        }
        match (found, denied) {
            (Ok(Status::Directory { .. }), _) => self.redirect(request, now),
            (_, Some(denied)) => self.deny(request, *denied, now),
            (Ok(Status::File(version)), None) => self.say_version(request, &version, now),
            (Err(error), None) => self.not_opened(request, error, now),
        }
    }

    /// Sends to the name with a slash behind it, by which links of a page lead to what is in a directory.
    fn redirect(&mut self, request: Box<HttpRequest>, now: Instant) {
        let name = request.target.name().map_or("", Name::as_str);
        let query = request.target.query().map(|query| format!("?{query}")).unwrap_or_default();
        let place = format!("/{}/{query}", Encoded(name));
        self.say(request, StatusCode::MOVED_PERMANENTLY, now, Said::Nothing, |head| {
            head.field("Location", &place).field("Cache-Control", "no-cache").length(0)
        });
    }
}

/// Answers.
impl<H: Handles> HttpSession<H> {
    /// Answers a look at a file: HEAD, and `?json`.
    fn say_version(&mut self, request: Box<HttpRequest>, version: &FileVersion, now: Instant) {
        let current = Validators { tag: &version.tag, mtime: version.mtime };
        match request.conditions.check(Some(current), true) {
            Precondition::Holds => {}
            Precondition::NotModified => return self.say_not_modified(request, version, now),
            Precondition::Failed => return self.say_failed_condition(request, now),
        }
        let Some(name) = request.target.name().cloned() else { return };
        if request.target.key() == Some("json") {
            let json = page::json_of_file(&name, version);
            let said = Said::Own(page::JSON, &json);
            return self.say(request, StatusCode::OK, now, said, |head| head.field("Cache-Control", "no-cache"));
        }
        self.say(request, StatusCode::OK, now, Said::Nothing, |head| {
            of_version(head.length(version.size).content(media_type(name.as_str())), version)
        });
    }

    fn say_not_modified(&mut self, request: Box<HttpRequest>, version: &FileVersion, now: Instant) {
        self.say(request, StatusCode::NOT_MODIFIED, now, Said::Nothing, |head| of_version(head, version));
    }

    pub(super) fn say_failed_condition(&mut self, request: Box<HttpRequest>, now: Instant) {
        let failure = Failure::new(Code::Changed, "a condition of the request does not hold");
        self.fail_as(request, StatusCode::PRECONDITION_FAILED, failure, now);
    }

    fn say_no_such_range(&mut self, mut request: Box<HttpRequest>, version: &FileVersion, now: Instant) {
        let size = version.size;
        let text = format!("the file has only {}\n", counted(size, "byte"));
        self.answer(&mut request, StatusCode::RANGE_NOT_SATISFIABLE, now, |head| {
            let head = head.length(text.len() as u64).field("Content-Range", format_args!("bytes */{size}"));
            head.content(MediaType::TEXT)
        });
        self.outbox.text(|answer| answer.extend_from_slice(text.as_bytes()));
        self.finish(request, Some(Failure::new(Code::BadRange, text.trim_end().to_owned())), now);
    }

    /// Sends a file, or the part of it that `range` names.
    fn send(
        &mut self,
        mut request: Box<HttpRequest>,
        version: &FileVersion,
        range: Option<Range<u64>>,
        content: Content<'_, H::File>,
        now: Instant,
    ) {
        let media = media_type(request.target.name().map_or("", Name::as_str));
        let part = range.clone().unwrap_or(0..version.size);
        let status = if range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
        let crc = match &content {
            Content::Inline { bytes, crc } if range.is_none() => Some(crc.unwrap_or_else(|| Crc32::of(bytes))),
            _ => None,
        };
        request.transfer.resumed = part.start;
        self.answer(&mut request, status, now, |head| {
            let head = of_version(head.length(part.end - part.start).content(media), version);
            let head = match &range {
                None => head,
                Some(Range { start, end }) => {
                    head.field("Content-Range", format_args!("bytes {start}-{}/{}", end - 1, version.size))
                }
            };
            match crc {
                None => head,
                Some(crc) => head.digest(crc),
            }
        });
        match content {
            Content::Inline { bytes, .. } => {
                request.transfer.bytes = bytes.len() as u64;
                self.outbox.content(bytes);
                self.finish(request, None, now);
            }
            Content::Range { file, start, end, is_sendable, .. } => {
                let sending = Sending::new(file, start, end, self.as_bytes || !is_sendable);
                self.phase = Phase::At(request, Step::Sending(sending.into()));
            }
        }
    }

    /// Takes the next step of sending a file; false where it must wait.
    pub(super) fn settle_sending(&mut self, now: Instant) -> bool {
        let Phase::At(_, Step::Sending(sending)) = &mut self.phase else { return false };
        let sent = sending.settle(&mut self.outbox, &mut self.operations);
        let bytes = sending.loaded_bytes();
        let failure = match sent {
            Sent::Waits => return false,
            Sent::Whole => None,
            Sent::Failed(failure) => Some(failure),
        };
        if let Phase::At(mut request, _) = std::mem::replace(&mut self.phase, Phase::Ready) {
            request.transfer.bytes = bytes;
            match failure {
                None => self.finish(request, None, now),
                Some(failure) => self.abort(request, failure, now),
            }
        }
        true
    }
}

/// Adds what tells the version of a file.
fn of_version<'o>(head: AnswerHead<'o>, version: &FileVersion) -> AnswerHead<'o> {
    head.version(&version.tag, version.mtime).lines("Accept-Ranges: bytes\r\nCache-Control: no-cache\r\n")
}
