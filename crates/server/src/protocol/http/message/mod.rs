//! Messages of HTTP/1.1: bytes to requests, and answers to bytes.
//!
//! Nothing here does IO, reads a clock, or knows of a session or a store. Memory is bounded by the
//! limits below, whatever comes in, and no input makes anything here panic.
//!
//! # Two readers, one meaning
//!
//! A request passes proxies before it is here. Where two readers of one stream could disagree on
//! where a request ends, one of them takes bytes of a body for a request. So all that the grammar
//! leaves open, or that is known to be read in two ways, is refused, and the connection closes: a
//! refusal that [`HeadReader`] or [`BodyReader`] returns always closes. A request whose end is
//! certain may be wrong in other ways. Those are told by the accessors of [`Head`], and close nothing.

mod answer;
mod authorization;
mod body;
mod conditions;
mod date;
mod digest;
mod fields;
mod framing;
mod head;
mod host;
mod media;
mod method;
mod range;
mod scan;
mod status;
mod tags;
mod target;

pub use answer::{AnswerHead, LAST_CHUNK, write_chunk_head};
pub use authorization::Authorization;
pub use body::{BodyPiece, BodyReader};
pub use conditions::{Conditions, Precondition, Validators};
pub use date::{DateText, HttpDate};
pub use digest::{CrcField, crc_of};
pub use framing::Framing;
pub use head::{Head, HeadReader};
pub use media::{MediaType, SANDBOX, media_type};
pub use method::Method;
pub use range::{ByteRange, range};
pub use scan::{MAX_HEAD_BYTES, MAX_REQUEST_LINE_BYTES};
pub use status::{Refusal, StatusCode};
pub use target::{Encoded, Resource, Target};

#[cfg(test)]
mod tests;

/// The most fields of one request. Browsers send some twenty.
pub const MAX_FIELDS: usize = 100;
