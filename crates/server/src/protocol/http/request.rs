//! One request, as far as it is carried out: taken out of its head.

use std::time::Instant;

use ferry_wire::{Crc32, Tag, Time};

use super::message::{
    Authorization, BodyReader, ByteRange, Conditions, Framing, Head, Method, Refusal, Resource, StatusCode, Target,
};
use super::{
    reads::Opening,
    tus::{self, TusFields, TusRequest},
};
use crate::protocol::record::Transfer;

/// See the [module documentation](self).
pub(super) struct HttpRequest {
    pub(super) method: Method,
    pub(super) target: Target,
    pub(super) conditions: Conditions,
    pub(super) range: Option<ByteRange>,
    /// The part of a file that is being read for it.
    pub(super) opening: Opening,
    /// The version that a condition was found to hold of, [`None`] where nothing was there, where one depends on it.
    pub(super) seen: Option<Option<Tag>>,
    /// The CRC that the body is to have.
    pub(super) crc: Option<Crc32>,
    /// The time to give to the file.
    pub(super) mtime: Option<Time>,
    /// The bytes of its body, where they are known.
    pub(super) length: Option<u64>,
    /// The rest of its body.
    pub(super) body: BodyReader,
    /// The client waits for a word before it sends the body.
    pub(super) awaits_word: bool,
    /// Another site made a browser send it.
    pub(super) is_foreign: bool,
    /// A page that came by plain HTTP, from a name, made a browser send it.
    pub(super) is_of_a_name: bool,
    /// The answer has no chunks.
    pub(super) is_http_1_0: bool,
    /// The client may send another request after it.
    pub(super) persists: bool,
    /// A page is as good an answer as plain text.
    pub(super) takes_pages: bool,
    /// The part of it that is for tus, where its query begins with that.
    pub(super) tus: Option<Box<TusRequest>>,
    /// The status of its answer, once that is known.
    pub(super) status: StatusCode,
    /// Its line in the log.
    pub(super) transfer: Transfer,
}

impl HttpRequest {
    /// Takes a request out of its head, with the user and the secret that came with it. Where it can't be carried out,
    /// the reason comes beside it.
    pub(super) fn of(head: &Head<'_>, now: Instant) -> (HttpRequest, Authorization, Result<(), Refusal>) {
        let target = head.target();
        let conditions = head.conditions();
        let crc = head.content_crc();
        let mtime = mtime(head);
        let name = match &target {
            Ok(target) => name_of(target).to_owned(),
            Err(_) => String::from_utf8_lossy(head.target_text()).into_owned(),
        };
        let is_tus = target.as_ref().is_ok_and(|target| target.key() == Some("tus")) && head.method() != Method::Get;
        let (method, tus) = match is_tus {
            true => of_tus(head),
            false => (head.method(), Ok(None)),
        };
        let request = HttpRequest {
            method,
            range: head.range(),
            seen: None,
            opening: Opening::WHOLE,
            length: match head.framing() {
                Framing::None => None,
                Framing::Length(length) => Some(length),
                Framing::Chunked => None,
            },
            body: BodyReader::new(head.framing()),
            awaits_word: head.expects_continue(),
            is_foreign: head.is_foreign(),
            is_of_a_name: head.is_of_a_name(),
            is_http_1_0: head.is_http_1_0(),
            persists: head.persists(),
            takes_pages: head.field("accept").is_some_and(|types| holds(types, b"text/html")),
            status: StatusCode::OK,
            transfer: Transfer {
                moves: matches!(method, Method::Get | Method::Put | Method::Post | Method::Patch),
                ..Transfer::new(verb(method), &name, now)
            },
            target: target.as_ref().cloned().unwrap_or_else(|_| Target::server()),
            conditions: conditions.as_ref().cloned().unwrap_or_default(),
            crc: crc.as_ref().ok().copied().flatten(),
            mtime: mtime.as_ref().ok().copied().flatten(),
            // Its answers have the fields of tus, also where it is refused.
            tus: is_tus.then(|| Box::new(TusRequest::new(tus.as_ref().ok().cloned().flatten().unwrap_or_default()))),
        };
        let checked =
            target.map(drop).and(conditions.map(drop)).and(crc.map(drop)).and(mtime.map(drop)).and(tus.map(drop));
        (request, head.authorization(), checked.and_then(|()| coding(head)).and_then(|()| partial(head)))
    }

    /// Returns whether the answer has no body.
    pub(super) fn is_head(&self) -> bool {
        self.method == Method::Head
    }

    /// Returns whether it has a body of which bytes are to come.
    pub(super) fn has_body(&self) -> bool {
        !self.body.is_over()
    }
}

/// Returns the method and the fields of a request of tus.
fn of_tus(head: &Head<'_>) -> (Method, Result<Option<TusFields>, Refusal>) {
    match tus::meant(head) {
        Ok(method) => (method, TusFields::of(head, method).map(Some)),
        Err(refusal) => (head.method(), Err(refusal)),
    }
}

/// Returns the word for the log.
fn verb(method: Method) -> &'static str {
    match method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
        Method::Options => "OPTIONS",
        Method::Post => "POST",
        Method::Patch => "PATCH",
        Method::Mkcol => "MKCOL",
        Method::Trace => "TRACE",
        Method::Other => "OTHER",
    }
}

/// Returns the subject of a request as the log names it.
fn name_of(target: &Target) -> &str {
    match target.resource() {
        Resource::Server => "*",
        Resource::Root => "/",
        Resource::Name(name) => name.as_str(),
    }
}

/// Reads the time for the file, in seconds since 1970 as PROTOCOL.md has them.
fn mtime(head: &Head<'_>) -> Result<Option<Time>, Refusal> {
    let Some(text) = head.one("x-oc-mtime", "X-OC-Mtime stands twice")? else { return Ok(None) };
    let wrong = || Refusal::new(StatusCode::BAD_REQUEST, "X-OC-Mtime is no time in seconds");
    Time::parse(text).map(Some).ok_or_else(wrong)
}

/// A body that is encoded would be stored as it is, and sent as if it were not.
fn coding(head: &Head<'_>) -> Result<(), Refusal> {
    match head.field("content-encoding") {
        Some(coding) if !coding.eq_ignore_ascii_case(b"identity") => {
            Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "files are stored without a content coding"))
        }
        _ => Ok(()),
    }
}

/// A part of a file that is taken for the whole would destroy it: RFC 9110, section 14.5.
fn partial(head: &Head<'_>) -> Result<(), Refusal> {
    match head.field("content-range") {
        Some(_) => Err(Refusal::new(StatusCode::BAD_REQUEST, "a part of a file can't be put (Content-Range)")),
        None => Ok(()),
    }
}

fn holds(field: &[u8], word: &[u8]) -> bool {
    field.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word))
}
