//! Resumable uploads by tus 1.0 (<https://tus.io/protocols/resumable-upload>), on the store's resumable uploads.
//!
//! An upload has an [`Address`], which says all that it is; the store has its journal and its bytes, under its id. So any
//! server of the root goes on with any upload. A creation alone begins one: what the store knows nothing of is not there.
//!
//! Each request that changes takes the upload up, as RESUME does, and lets go of it before it is answered: the newest one
//! has it, and one that is cut keeps what has come. HEAD looks, and takes nothing from whoever has it. The offset that an answer tells is durable. A piece with a checksum counts as
//! a whole, or not at all. The last piece is answered when the file has its name.

mod address;
mod fields;
mod ids;
mod piece;
mod serving;
#[cfg(test)]
mod tests;

pub use address::Address;
pub use fields::{CHECKSUMS, Checksum, EXTENSIONS, Metadata, TusFields, VERSION, meant};
pub use ids::UploadIds;

use std::time::Duration;

use ferry_wire::{Code, Failure, Time};

use super::message::{AnswerHead, HttpDate, StatusCode};
use piece::PieceCheck;
pub(super) use serving::ALLOWED;

/// The part of a request that only tus has.
#[derive(Default)]
pub(super) struct TusRequest {
    fields: TusFields,
    /// The upload that it is about, once that is known.
    address: Option<Address>,
    /// The check of the piece that arrives.
    check: Option<PieceCheck>,
    /// The failure that is told when the upload was let go of.
    failed: Option<(StatusCode, Failure)>,
    /// The offset that is told with the answer.
    offset: Option<u64>,
    /// A newer connection has come for the upload while this one was taking it up.
    is_evicted: bool,
}

impl TusRequest {
    pub(super) fn new(fields: TusFields) -> TusRequest {
        TusRequest { fields, ..TusRequest::default() }
    }

    /// Takes note of bytes of the piece that arrives.
    pub(super) fn arrived(&mut self, bytes: &[u8]) {
        if let Some(check) = &mut self.check {
            check.update(bytes);
        }
    }

    /// Returns whether it must see the bytes of the piece one by one.
    pub(super) fn looks_at_bytes(&self) -> bool {
        self.check.as_ref().is_some_and(PieceCheck::looks_at_bytes)
    }

    /// Adds the fields of tus to an answer of `status`, which is given `now` by an owner who keeps uploads for so long.
    pub(super) fn answer<'o>(
        &self,
        head: AnswerHead<'o>,
        status: StatusCode,
        now: Option<Time>,
        keep: Duration,
    ) -> AnswerHead<'o> {
        let head = head.field("Tus-Resumable", VERSION);
        let head = if status == StatusCode::PRECONDITION_FAILED { head.field("Tus-Version", VERSION) } else { head };
        let (Some(offset), Some(address)) = (self.offset, &self.address) else { return head };
        let head = head.field("Upload-Offset", offset);
        match now.and_then(|now| later(now, keep)).filter(|_| offset < address.length) {
            Some(end) => head.field("Upload-Expires", end),
            None => head,
        }
    }
}

fn later(now: Time, by: Duration) -> Option<HttpDate> {
    let seconds = now.seconds().checked_add(by.as_secs())?;
    HttpDate::of(Time::new(i64::try_from(seconds).ok()?, 0)?)
}

/// Returns the status that tells a failure of an upload. Clients take 409, 423 and 5xx for something that passes, and
/// try again; they give up at any other that begins with 4.
pub(super) fn status_of(code: Code) -> StatusCode {
    match code {
        Code::NotFound | Code::NotADirectory => StatusCode::NOT_FOUND,
        Code::Exists => StatusCode::PRECONDITION_FAILED,
        Code::NotAFile | Code::NotEmpty | Code::Denied | Code::ReadOnly => StatusCode::FORBIDDEN,
        // A newer connection has it.
        Code::Changed => StatusCode::CONFLICT,
        Code::Checksum => StatusCode::CHECKSUM_MISMATCH,
        Code::TooLarge => StatusCode::CONTENT_TOO_LARGE,
        Code::NoSpace => StatusCode::INSUFFICIENT_STORAGE,
        Code::Timeout => StatusCode::REQUEST_TIMEOUT,
        Code::Busy | Code::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
        Code::UnknownCommand | Code::Unsupported => StatusCode::NOT_IMPLEMENTED,
        Code::BadName | Code::BadRequest | Code::BadRange | Code::Incomplete | Code::Stopped => StatusCode::BAD_REQUEST,
        Code::Io | Code::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
