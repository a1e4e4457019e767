//! Where the body of a request ends: RFC 9112, section 6.

use ferry_wire::limits::MAX_INTEGER;

use super::{
    fields::{Fields, is_token},
    status::{Refusal, StatusCode},
};

/// The way in which the end of a request's body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// So many bytes, which may be none.
    Length(u64),
    /// In chunks, whose last one is empty.
    Chunked,
}

impl Framing {
    /// Returns the framing that `fields` tell, in a request of HTTP/1.0 if `is_http_1_0`.
    ///
    /// # Errors
    ///
    /// Fails, and closes, where two readers could understand them in two ways.
    pub(super) fn of(fields: Fields<'_>, is_http_1_0: bool) -> Result<Framing, Refusal> {
        let mut lengths = fields.all("content-length");
        let mut codings = fields.all("transfer-encoding");
        match (lengths.next(), codings.next()) {
            (None, None) => Ok(Framing::None),
            (Some(_), Some(_)) => Err(Refusal::malformed("a body with a length and a transfer coding")),
            (Some(_), None) if lengths.next().is_some() => Err(Refusal::malformed("two lengths of one body")),
            (Some(length), None) => length_of(length).map(Framing::Length),
            (None, Some(_)) if is_http_1_0 => Err(Refusal::malformed("HTTP/1.0 has no transfer codings")),
            (None, Some(_)) if codings.next().is_some() => Err(Refusal::malformed("two fields of transfer codings")),
            (None, Some(coding)) => coding_of(coding),
        }
    }
}

/// Reads a length: digits alone, without zeros before them.
fn length_of(text: &[u8]) -> Result<u64, Refusal> {
    let number = ferry_wire::parse_integer(text).filter(|&number| number <= MAX_INTEGER);
    number.ok_or_else(|| Refusal::malformed("the length of a body is a plain number"))
}

/// Reads the one transfer coding that this server knows.
fn coding_of(text: &[u8]) -> Result<Framing, Refusal> {
    if text.eq_ignore_ascii_case(b"chunked") {
        return Ok(Framing::Chunked);
    }
    let mut names = text.split(|&byte| byte == b',').map(super::fields::trim);
    let is_unknown = |name: &[u8]| !name.is_empty() && name.iter().all(|&byte| is_token(byte));
    if names.clone().all(is_unknown) && names.any(|name| !name.eq_ignore_ascii_case(b"chunked")) {
        let reason = "this server knows no transfer coding but chunked";
        return Err(Refusal::closing(StatusCode::NOT_IMPLEMENTED, reason));
    }
    Err(Refusal::malformed("the transfer coding is chunked, once"))
}
