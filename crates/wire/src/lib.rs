//! The wire format of ferry, version 1: bytes to messages and back.
//!
//! Everything that both programs must agree on is here and nowhere else: limits, names, requests,
//! replies, the blocks of a body, failure codes. `PROTOCOL.md` at the top of the repository says the
//! same in prose.
//!
//! This crate does no IO, reads no clock, and never blocks. Buffers belong to the caller: a decoder
//! looks at bytes and returns how many it consumed. An incomplete message is not an error but
//! [`None`]. No input makes anything here panic.
//!
//! # Reading a stream
//!
//! ```
//! use ferry_wire::{Frame, Framer, Request};
//!
//! let mut framer = Framer::new();
//! let input = b"GET welcome.txt\nSTAT pic";
//! let (frame, used) = framer.next(input).unwrap().unwrap();
//! let Frame::Line(line) = frame else { panic!("a request is a line") };
//! assert!(matches!(Request::parse(line), Ok(Request::Get { .. })));
//! // The second line has not ended yet: come back with more bytes.
//! assert!(framer.next(&input[used..]).unwrap().is_none());
//! ```
#![forbid(unsafe_code)]

mod body;
mod code;
mod crc;
mod escape;
mod fingerprint;
mod frame;
pub mod limits;
mod listing;
mod login;
mod mode;
mod name;
mod number;
mod reply;
mod request;
mod sha256;
mod time;
mod token;
mod words;

pub use body::{
    BodyCheck, BodyError, BodyLine, Overrun, Verdict, write_block_header, write_end, write_hole, write_join,
};
pub use code::Code;
pub use crc::{Crc32, Digest};
pub use escape::{Escaped, escaped, escaped_bytes, is_unsafe_to_show};
pub use fingerprint::{Fingerprint, FingerprintError};
pub use frame::{Frame, Framer, LineTooLong};
pub use listing::{Entry, EntryKind};
pub use login::{Secret, SecretError, UserName, UserNameError};
pub use mode::{AskedMode, Mode};
pub use name::{Name, NameError};
pub use number::parse_integer;
pub use reply::{DirMeta, Failure, FileMeta, Greeting, GreetingError, MalformedReply, Reply};
pub use request::{Options, Refusal, Request, TellsModes};
pub use sha256::{Sha256, Sha256Digest};
pub use time::Time;
pub use token::{Id, Tag, TokenError};
