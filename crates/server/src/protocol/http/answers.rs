//! Answers that are said at once, and the one table from failures to status codes.

use std::time::Instant;

use ferry_wire::{Code, Failure};

use super::{
    HttpSession, Phase,
    message::{AnswerHead, Method, Refusal, StatusCode},
    page,
    request::HttpRequest,
    tus,
};
use crate::store::Handles;

/// The body of a request that was answered without it is read to its end, so that another request can follow, where so
/// much of it is to come at most. Else the connection closes.
const DISCARDED_BYTES: u64 = 256 << 10;

/// After so many seconds a client may try again that was told that the server is busy.
const RETRY_AFTER_SECONDS: u32 = 5;

/// The challenge to a client that may log in.
const CHALLENGE: &str = "Basic realm=\"ferry\", charset=\"UTF-8\"";

/// The methods that this server knows.
pub(super) const ALLOWED: &str = "OPTIONS, GET, HEAD, PUT, DELETE, MKCOL";

/// The content of an answer.
pub(super) enum Said<'a> {
    /// None at all: 204 and 304.
    Nothing,
    /// Bytes of this server's own, of this type.
    Own(&'static str, &'a [u8]),
}

impl<H: Handles> HttpSession<H> {
    /// Begins the head of the answer to `request`, and decides whether it is the last one on the connection.
    pub(super) fn answer(
        &mut self,
        request: &mut HttpRequest,
        status: StatusCode,
        now: Instant,
        fields: impl for<'o> FnOnce(AnswerHead<'o>) -> AnswerHead<'o>,
    ) {
        request.persists &= !self.is_leaving() && may_go_on(request);
        request.status = status;
        let (date, keep, persists) = (self.day.date(now), self.limits.keep, request.persists);
        // To look at an upload keeps it no longer.
        let kept_from = date.map(|(now, _)| now).filter(|_| !request.is_head());
        self.outbox.text(|text| {
            let head = AnswerHead::new(text, status).date(date.map(|(_, text)| text));
            let head = fields(match &request.tus {
                Some(tus) => tus.answer(head, status, kept_from, keep),
                None => head,
            });
            if persists { head } else { head.close() }.end();
        });
    }

    /// Answers a request at once, and takes up the next one.
    pub(super) fn say(
        &mut self,
        mut request: Box<HttpRequest>,
        status: StatusCode,
        now: Instant,
        said: Said<'_>,
        fields: impl for<'o> FnOnce(AnswerHead<'o>) -> AnswerHead<'o>,
    ) {
        let is_head = request.is_head();
        self.answer(&mut request, status, now, |head| match said {
            Said::Nothing => fields(head),
            Said::Own(media, bytes) => fields(own_fields(head.length(bytes.len() as u64), media)),
        });
        if let Said::Own(_, bytes) = said
            && !is_head
        {
            self.outbox.text(|text| text.extend_from_slice(bytes));
        }
        self.finish(request, None, now);
    }

    /// Answers that it is done, without a content.
    pub(super) fn say_done(&mut self, request: Box<HttpRequest>, now: Instant) {
        self.say(request, StatusCode::NO_CONTENT, now, Said::Nothing, |head| head);
    }

    /// Answers a request that is refused for what it says.
    pub(super) fn refuse(&mut self, mut request: Box<HttpRequest>, refusal: Refusal, now: Instant) {
        request.persists &= !refusal.closes;
        let code = match refusal.status {
            StatusCode::FORBIDDEN => Code::Denied,
            StatusCode::NOT_FOUND => Code::NotFound,
            StatusCode::NOT_IMPLEMENTED | StatusCode::METHOD_NOT_ALLOWED => Code::UnknownCommand,
            StatusCode::CONTENT_TOO_LARGE => Code::TooLarge,
            _ => Code::BadRequest,
        };
        let failure = Failure::new(code, refusal.reason);
        self.fail_as(request, refusal.status, failure, now);
    }

    /// Answers a request that failed.
    pub(super) fn fail(&mut self, request: Box<HttpRequest>, failure: Failure, now: Instant) {
        let status = status_of(failure.code, &request);
        self.fail_as(request, status, failure, now);
    }

    /// Answers a request that failed with another status than the failure by itself has.
    pub(super) fn fail_as(
        &mut self,
        mut request: Box<HttpRequest>,
        status: StatusCode,
        failure: Failure,
        now: Instant,
    ) {
        let is_head = request.is_head();
        let allowed = if request.tus.is_some() { tus::ALLOWED } else { ALLOWED };
        let page = request.takes_pages.then(|| {
            let viewer = self.viewer();
            page::error_page(status.number(), status.phrase(), &failure.message, Some(&viewer))
        });
        let text = format!("{}\n", failure.message);
        let (bytes, media) = match &page {
            Some(page) => (page.as_slice(), page::HTML),
            None => (text.as_bytes(), "text/plain; charset=utf-8"),
        };
        self.answer(&mut request, status, now, |head| {
            let head = head.length(bytes.len() as u64).field("Cache-Control", "no-store");
            let head = own_fields(head, media);
            match status {
                StatusCode::UNAUTHORIZED => head.field("WWW-Authenticate", CHALLENGE),
                StatusCode::METHOD_NOT_ALLOWED => head.field("Allow", allowed),
                StatusCode::SERVICE_UNAVAILABLE => head.field("Retry-After", RETRY_AFTER_SECONDS),
                _ => head,
            }
        });
        if !is_head {
            self.outbox.text(|text| text.extend_from_slice(bytes));
        }
        self.finish(request, Some(failure), now);
    }

    /// Answers a request that the rights do not allow. Nothing was looked up for it, so the answer tells nothing of what
    /// is there.
    pub(super) fn deny(&mut self, request: Box<HttpRequest>, failure: Failure, now: Instant) {
        let status = match self.visitor.is_to_log_in() {
            true => StatusCode::UNAUTHORIZED,
            false => StatusCode::FORBIDDEN,
        };
        self.fail_as(request, status, failure, now);
    }

    /// Brings a request to its end: all of its answer is queued. The rest of its body is discarded, or the connection
    /// closes.
    pub(super) fn finish(&mut self, request: Box<HttpRequest>, failure: Option<Failure>, now: Instant) {
        let HttpRequest { method, transfer, status, body, persists, tus, .. } = *request;
        // What only looks is nothing for the log, unless it failed.
        let changes = tus.is_none() && matches!(method, Method::Put | Method::Delete | Method::Mkcol);
        if failure.is_some() || changes || transfer.bytes > 0 {
            self.log(transfer, Some(status), failure, now);
        }
        self.phase = match persists {
            false => Phase::Closing,
            true if body.is_over() => Phase::Ready,
            true => Phase::Discarding(body.into()),
        };
    }
}

/// Returns whether another request can follow the answer: its body is read, or can be read to its end.
fn may_go_on(request: &HttpRequest) -> bool {
    match request.body.left() {
        Some(0) => true,
        // Nobody knows whether the body comes that was not asked for.
        _ if request.awaits_word => false,
        Some(left) => left <= DISCARDED_BYTES,
        None => false,
    }
}

/// Adds the fields of a content that this server has made itself.
pub(super) fn own_fields<'o>(head: AnswerHead<'o>, media: &'static str) -> AnswerHead<'o> {
    let head = head.field("Content-Type", media).field("X-Content-Type-Options", "nosniff");
    match media {
        page::HTML => head.field("Content-Security-Policy", page::CSP).field("Referrer-Policy", "same-origin"),
        _ => head,
    }
}

/// Returns the status that tells a failure of `request`.
fn status_of(code: Code, request: &HttpRequest) -> StatusCode {
    let (conditions, method) = (&request.conditions, request.method);
    if request.tus.is_some() {
        return tus::status_of(code);
    }
    let adds = matches!(method, Method::Put | Method::Mkcol | Method::Post | Method::Patch);
    match code {
        Code::NotFound if method == Method::Put && conditions.only_if_taken() => StatusCode::PRECONDITION_FAILED,
        Code::Exists if conditions.only_if_free() || request.seen.is_some() => StatusCode::PRECONDITION_FAILED,
        // What it would lie in is missing.
        Code::NotFound | Code::NotADirectory if adds => StatusCode::CONFLICT,
        Code::NotFound | Code::NotADirectory => StatusCode::NOT_FOUND,
        Code::Exists if method == Method::Mkcol => StatusCode::METHOD_NOT_ALLOWED,
        Code::NotAFile if !adds => StatusCode::FORBIDDEN,
        Code::Exists | Code::NotAFile | Code::NotEmpty => StatusCode::CONFLICT,
        Code::BadName | Code::BadRequest | Code::Incomplete | Code::Stopped | Code::Checksum => StatusCode::BAD_REQUEST,
        Code::BadRange => StatusCode::RANGE_NOT_SATISFIABLE,
        Code::UnknownCommand | Code::Unsupported => StatusCode::NOT_IMPLEMENTED,
        Code::Denied | Code::ReadOnly => StatusCode::FORBIDDEN,
        Code::TooLarge => StatusCode::CONTENT_TOO_LARGE,
        Code::NoSpace => StatusCode::INSUFFICIENT_STORAGE,
        Code::Changed if matches!(method, Method::Put | Method::Delete) => StatusCode::PRECONDITION_FAILED,
        Code::Busy | Code::Changed | Code::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
        Code::Timeout => StatusCode::REQUEST_TIMEOUT,
        Code::Io | Code::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
