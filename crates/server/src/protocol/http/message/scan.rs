//! The look at a head before it is parsed: its lines, its end, its limits.
//!
//! It goes over each byte once, however they come, and tells the first byte that is wrong. So a
//! head is refused for the same reason however it was cut, and as soon as that byte is there.

use super::status::{Refusal, StatusCode};

/// The longest head in bytes: the request line, the fields and the empty line. It is kept until it is whole.
pub const MAX_HEAD_BYTES: usize = 16 << 10;

/// The longest request line in bytes, its CR LF included. RFC 9112 asks for 8,000; a name of 1,024 bytes, each of
/// them encoded, takes 3,072.
pub const MAX_REQUEST_LINE_BYTES: usize = 8 << 10;

/// How far a head was looked at.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Bytes that were looked at.
    looked: usize,
    /// The first byte of the line that is looked at.
    line: usize,
    /// Lines that ended, without an empty one before the request.
    lines: usize,
}

impl Scan {
    /// Returns the place of the request line and the head's end, once all of the head is there. The request line is given
    /// to `check` as soon as it is whole: a client that speaks another protocol sends no more.
    pub(super) fn end(
        &mut self,
        input: &[u8],
        check: impl Fn(&[u8]) -> Result<(), Refusal>,
    ) -> Result<Option<(usize, usize)>, Refusal> {
        while let Some(&byte) = input.get(self.looked) {
            let before = self.looked.checked_sub(1).map(|index| input[index]);
            self.byte(byte, before)?;
            self.looked += 1;
            if byte != b'\n' {
                continue;
            }
            let line = &input[self.line..self.looked - 2];
            let is_end = self.line_ended();
            if self.lines == 1 {
                check(line)?;
            }
            if is_end {
                return Ok(Some((start(input), self.looked)));
            }
        }
        Ok(None)
    }

    /// Returns whether anything of a request was seen.
    pub(super) fn has_begun(&self) -> bool {
        self.looked > 0
    }

    fn byte(&self, byte: u8, before: Option<u8>) -> Result<(), Refusal> {
        if self.looked >= MAX_HEAD_BYTES {
            return Err(Refusal::closing(StatusCode::FIELDS_TOO_LARGE, "the fields of a request are too large"));
        }
        if self.lines == 0 && self.looked - self.line >= MAX_REQUEST_LINE_BYTES {
            return Err(Refusal::closing(StatusCode::URI_TOO_LONG, "the request line is too long"));
        }
        match (before, byte) {
            (Some(b'\r'), b'\n') => Ok(()),
            (Some(b'\r'), _) => Err(Refusal::malformed("a CR without an LF behind it")),
            (_, b'\n') => Err(Refusal::malformed("an LF without a CR before it")),
            (_, b'\r') => Ok(()),
            (_, b' ' | b'\t') if self.looked == self.line && self.lines > 0 => {
                Err(Refusal::malformed("a field that goes on in a second line"))
            }
            (_, b' ') if self.looked == self.line => Err(Refusal::malformed("a space before the method")),
            (_, b'\t') if self.lines > 0 => Ok(()),
            (_, 0..=0x1f | 0x7f) => Err(Refusal::malformed("a control character")),
            _ => Ok(()),
        }
    }

    /// Takes note of a line's end, and returns whether it is the head's.
    fn line_ended(&mut self) -> bool {
        let is_empty = self.looked - self.line == 2;
        let is_before = is_empty && self.line == 0;
        self.line = self.looked;
        // One empty line before a request is left out: RFC 9112, section 2.2.
        self.lines += usize::from(!is_before);
        is_empty && !is_before
    }
}

/// Returns the place of the request line.
fn start(input: &[u8]) -> usize {
    if input.starts_with(b"\r\n") { 2 } else { 0 }
}
