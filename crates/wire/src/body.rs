//! The body of a transfer: blocks, then one closing line.

use crate::{
    crc::{Crc32, Digest},
    limits::{MAX_BLOCK_BYTES, MIN_HOLE_BYTES},
    number::{parse_integer, push_integer},
    reply::Failure,
    words::{Words, is_verb},
};

/// A line of a body: it announces a block, or ends the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyLine {
    /// `DATA <n>`: n raw bytes follow, 1 to [`MAX_BLOCK_BYTES`].
    Data(u64),
    /// `HOLE <n>`: n zeros stand here, [`MIN_HOLE_BYTES`] or more, and are not sent.
    Hole(u64),
    /// `END <crc>`, or `END -`: the body is whole; [`None`] leaves it unchecked.
    End(Option<Crc32>),
    /// `JOIN <crc>`: the parts of the upload have the rest of the file, whose CRC this is.
    Join(Crc32),
    /// `STOP`: the client gives up.
    Stop,
    /// `FAIL <code> <message>`: the server gives up.
    Fail(Failure),
}

/// The error for a line that can't stand in a body. The stream can't be followed any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The size of a block is no integer, 0, or above [`MAX_BLOCK_BYTES`].
    #[error("a block is DATA and a number from 1 to {MAX_BLOCK_BYTES}")]
    Block,
    /// The size of a hole is no integer, or below [`MIN_HOLE_BYTES`].
    #[error("a hole is HOLE and a number from {MIN_HOLE_BYTES} on")]
    Hole,
    /// END carries neither 8 lowercase hex digits nor `-`.
    #[error("END carries 8 lowercase hex digits or -")]
    End,
    /// JOIN carries no 8 lowercase hex digits.
    #[error("JOIN carries 8 lowercase hex digits")]
    Join,
    /// The line is neither DATA nor HOLE nor a closing line.
    #[error("a body goes on with DATA, END or STOP")]
    Line,
}

impl BodyLine {
    /// Reads one line of a body. Ignores extra words after DATA, HOLE, END, JOIN and STOP.
    ///
    /// # Errors
    ///
    /// Fails for a line that can't stand in a body.
    pub fn parse(line: &[u8]) -> Result<BodyLine, BodyError> {
        let mut words = Words::new(line);
        let verb = words.next().unwrap_or_default();
        if is_verb(verb, "DATA") {
            let size = words.next().and_then(parse_integer).ok_or(BodyError::Block)?;
            if size == 0 || size > MAX_BLOCK_BYTES {
                return Err(BodyError::Block);
            }
            Ok(BodyLine::Data(size))
        } else if is_verb(verb, "HOLE") {
            let size = words.next().and_then(parse_integer).ok_or(BodyError::Hole)?;
            if size < MIN_HOLE_BYTES { Err(BodyError::Hole) } else { Ok(BodyLine::Hole(size)) }
        } else if is_verb(verb, "END") {
            match words.next() {
                Some(b"-") => Ok(BodyLine::End(None)),
                Some(word) => Crc32::parse(word).map(|crc| BodyLine::End(Some(crc))).ok_or(BodyError::End),
                None => Err(BodyError::End),
            }
        } else if is_verb(verb, "JOIN") {
            words.next().and_then(Crc32::parse).map(BodyLine::Join).ok_or(BodyError::Join)
        } else if is_verb(verb, "STOP") {
            Ok(BodyLine::Stop)
        } else if is_verb(verb, "FAIL") {
            Ok(BodyLine::Fail(Failure::parse(words)))
        } else {
            Err(BodyError::Line)
        }
    }

    /// Appends the line, with its LF.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            BodyLine::Data(size) => write_block_header(out, *size),
            BodyLine::Hole(size) => write_hole(out, *size),
            BodyLine::End(Some(crc)) => write_end(out, *crc),
            BodyLine::End(None) => out.extend_from_slice(b"END -\n"),
            BodyLine::Join(crc) => write_join(out, *crc),
            BodyLine::Stop => out.extend_from_slice(b"STOP\n"),
            BodyLine::Fail(failure) => failure.encode(out),
        }
    }
}

/// Appends the `DATA` line of a block of `bytes` bytes, 1 to [`MAX_BLOCK_BYTES`].
pub fn write_block_header(out: &mut Vec<u8>, bytes: u64) {
    debug_assert!((1..=MAX_BLOCK_BYTES).contains(&bytes), "a block of {bytes} bytes");
    out.extend_from_slice(b"DATA ");
    push_integer(out, bytes);
    out.push(b'\n');
}

/// Appends the line of a hole of `bytes` zeros, [`MIN_HOLE_BYTES`] or more.
pub fn write_hole(out: &mut Vec<u8>, bytes: u64) {
    debug_assert!(bytes >= MIN_HOLE_BYTES, "a hole of {bytes} bytes");
    out.extend_from_slice(b"HOLE ");
    push_integer(out, bytes);
    out.push(b'\n');
}

/// Appends the `END` line of a whole body.
pub fn write_end(out: &mut Vec<u8>, crc: Crc32) {
    out.extend_from_slice(b"END ");
    out.extend_from_slice(&crc.digits());
    out.push(b'\n');
}

/// Appends the `JOIN` line of a body whose rest has come in parts.
pub fn write_join(out: &mut Vec<u8>, crc: Crc32) {
    out.extend_from_slice(b"JOIN ");
    out.extend_from_slice(&crc.digits());
    out.push(b'\n');
}

/// The error for a block that would carry more bytes than were announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more bytes than announced")]
pub struct Overrun;

/// The result of holding a body that came to its END against what was announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The length is the announced one, and the CRC the one that END carries.
    Whole,
    /// The body is shorter than announced.
    Short,
    /// The CRC is another than END carries.
    Mismatch,
}

/// Counts the bytes of a body as they arrive, runs their CRC, and holds both against what was announced.
///
/// Order of calls: [`block`](BodyCheck::block) for each `DATA` or `HOLE` line, [`bytes`](BodyCheck::bytes) for what follows it
/// or [`zeros`](BodyCheck::zeros) for what it stands for, and
/// [`end`](BodyCheck::end) for the `END` line.
#[derive(Debug, Clone)]
pub struct BodyCheck {
    announced: Option<u64>,
    digest: Digest,
}

impl BodyCheck {
    /// Creates the check of a body of `announced` bytes in all, or of any length.
    #[must_use]
    pub fn new(announced: Option<u64>) -> BodyCheck {
        BodyCheck { announced, digest: Digest::new() }
    }

    /// Creates the check of a body that goes on after the bytes that `digest` has seen; `announced` counts those as well.
    #[must_use]
    pub fn resume(announced: Option<u64>, digest: Digest) -> BodyCheck {
        BodyCheck { announced, digest }
    }

    /// Admits a block or a hole of `bytes` bytes.
    ///
    /// # Errors
    ///
    /// Returns [`Overrun`] where the block would go beyond what was announced.
    pub fn block(&self, bytes: u64) -> Result<(), Overrun> {
        match self.announced {
            Some(announced) if announced.saturating_sub(self.received()) < bytes => Err(Overrun),
            _ => Ok(()),
        }
    }

    /// Adds bytes that arrived.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
    }

    /// Adds zeros that a hole stands for.
    pub fn zeros(&mut self, bytes: u64) {
        self.digest.append_zeros(bytes);
    }

    /// Returns how many bytes there are so far, those of earlier connections included.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.digest.bytes()
    }

    /// Returns the CRC of the bytes so far.
    #[must_use]
    pub fn crc(&self) -> Crc32 {
        self.digest.crc()
    }

    /// Judges a body that came to `END` with `crc`. A body that is too short is [`Verdict::Short`]
    /// whatever its CRC.
    #[must_use]
    pub fn end(&self, crc: Option<Crc32>) -> Verdict {
        if self.announced.is_some_and(|announced| self.received() < announced) {
            Verdict::Short
        } else if crc.is_some_and(|crc| crc != self.crc()) {
            Verdict::Mismatch
        } else {
            Verdict::Whole
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::Code;

    #[test]
    fn the_lines_of_a_body() {
        for (line, expected) in [
            ("DATA 1", BodyLine::Data(1)),
            ("data 1048576", BodyLine::Data(1_048_576)),
            ("DATA 7 fresh", BodyLine::Data(7)),
            ("HOLE 65536", BodyLine::Hole(65_536)),
            ("hole 9223372036854775807 of zeros", BodyLine::Hole(u64::MAX >> 1)),
            ("END cbf43926", BodyLine::End(Some(Crc32(0xcbf4_3926)))),
            ("End -", BodyLine::End(None)),
            ("END - extra words", BodyLine::End(None)),
            ("join cbf43926 now", BodyLine::Join(Crc32(0xcbf4_3926))),
            ("STOP", BodyLine::Stop),
            ("STOP it", BodyLine::Stop),
            ("FAIL io disk on fire", BodyLine::Fail(Failure::new(Code::Io, "disk on fire"))),
        ] {
            assert_eq!(BodyLine::parse(line.as_bytes()), Ok(expected), "{line:?}");
        }
    }

    #[test]
    fn lines_that_break_a_body() {
        for line in
            ["DATA", "DATA ", "DATA 0", "DATA 01", "DATA -1", "DATA 1048577", "DATA  1", "DATA 99999999999999999999"]
        {
            assert_eq!(BodyLine::parse(line.as_bytes()), Err(BodyError::Block), "{line:?}");
        }
        for line in ["HOLE", "HOLE ", "HOLE 0", "HOLE 65535", "HOLE 065536", "HOLE 9223372036854775808", "HOLE -1"] {
            assert_eq!(BodyLine::parse(line.as_bytes()), Err(BodyError::Hole), "{line:?}");
        }
        for line in ["END", "END ", "END CBF43926", "END cbf4392", "END  -"] {
            assert_eq!(BodyLine::parse(line.as_bytes()), Err(BodyError::End), "{line:?}");
        }
        for line in ["JOIN", "JOIN -", "JOIN CBF43926"] {
            assert_eq!(BodyLine::parse(line.as_bytes()), Err(BodyError::Join), "{line:?}");
        }
        for line in ["", "GET a", " DATA 1", "DATA\t1", "\u{feff}END -"] {
            assert_eq!(BodyLine::parse(line.as_bytes()), Err(BodyError::Line), "{line:?}");
        }
    }

    #[test]
    fn a_body_is_held_against_what_was_announced() {
        let mut check = BodyCheck::new(Some(4));
        assert_eq!(check.block(5), Err(Overrun));
        assert_eq!(check.block(4), Ok(()));
        check.bytes(b"abc");
        assert_eq!(check.block(2), Err(Overrun));
        assert_eq!(check.end(Some(Crc32::of(b"abc"))), Verdict::Short);
        assert_eq!(check.end(None), Verdict::Short);
        check.bytes(b"d");
        assert_eq!(check.end(Some(Crc32::of(b"abc"))), Verdict::Mismatch);
        assert_eq!(check.end(Some(Crc32::of(b"abcd"))), Verdict::Whole);
        assert_eq!(check.end(None), Verdict::Whole);
    }
}
