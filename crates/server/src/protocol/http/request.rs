//! One request, as far as it is carried out: taken out of its head.

use std::{sync::Arc, time::Instant};

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
    /// It is for a host whose name anybody may have.
    pub(super) is_for_a_public_name: bool,
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
        let mut checked = Ok(());
        let target = understood(head.target(), &mut checked);
        let conditions = understood(head.conditions(), &mut checked);
        let crc = understood(head.content_crc(), &mut checked);
        let mtime = understood(mtime(head), &mut checked);
        let name = match &target {
            Some(target) => name_of(target),
            None => String::from_utf8_lossy(head.target_text()).into(),
        };
        let is_tus = head.method() != Method::Get && target.as_ref().is_some_and(|target| target.key() == Some("tus"));
        let (method, tus) = match is_tus {
            true => of_tus(head, &mut checked),
            false => (head.method(), TusFields::default()),
        };
        let checked = checked.and_then(|()| coding(head)).and_then(|()| partial(head));
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
            is_for_a_public_name: head.is_for_a_public_name(),
            is_http_1_0: head.is_http_1_0(),
            persists: head.persists(),
            takes_pages: head.field("accept").is_some_and(|types| holds(types, b"text/html")),
            status: StatusCode::OK,
            transfer: Transfer {
                moves: matches!(method, Method::Get | Method::Put | Method::Post | Method::Patch),
                ..Transfer::new(verb(method), name, now)
            },
            target: target.unwrap_or_else(Target::server),
            conditions: conditions.unwrap_or_default(),
            crc: crc.flatten(),
            mtime: mtime.flatten(),
            // Its answers have the fields of tus, also where it is refused.
            tus: is_tus.then(|| Box::new(TusRequest::new(tus))),
        };
        (request, head.authorization(), checked)
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

/// Takes a part of a request out of its head, where it can be understood. Of all that can't, the first is in `checked`.
fn understood<T>(part: Result<T, Refusal>, checked: &mut Result<(), Refusal>) -> Option<T> {
    match part {
        Ok(part) => Some(part),
        Err(refusal) => {
            if checked.is_ok() {
                *checked = Err(refusal);
            }
            None
        }
    }
}

/// Returns the method and the fields of a request of tus.
fn of_tus(head: &Head<'_>, checked: &mut Result<(), Refusal>) -> (Method, TusFields) {
    let Some(method) = understood(tus::meant(head), checked) else { return (head.method(), TusFields::default()) };
    (method, understood(TusFields::of(head, method), checked).unwrap_or_default())
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
fn name_of(target: &Target) -> Arc<str> {
    match target.resource() {
        Resource::Server => "*".into(),
        Resource::Root => "/".into(),
        Resource::Name(name) => name.into(),
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
