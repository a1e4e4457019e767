//! The look at a head before it is parsed: its lines, its end, its limits.
//!
//! It goes over each byte once, however they come, and tells the first byte that is wrong. So a
//! head is refused for the same reason however it was cut, and as soon as that byte is there.

use std::ops::Range;

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
    /// Where the CR LF of the request line is.
    request_line_end: usize,
}

impl Scan {
    /// Returns the head's end, once all of it is there.
    pub(super) fn end(&mut self, input: &[u8]) -> Result<Option<usize>, Refusal> {
        loop {
            self.looked += self.plain_bytes(input);
            let Some(&byte) = input.get(self.looked) else { return Ok(None) };
            let before = self.looked.checked_sub(1).map(|index| input[index]);
            self.byte(byte, before)?;
            self.looked += 1;
            if byte == b'\n' && self.line_ended() {
                return Ok(Some(self.looked));
            }
        }
    }

    /// Returns the place of the request line, without its CR LF, once it is whole.
    pub(super) fn request_line(&self, input: &[u8]) -> Option<Range<usize>> {
        (self.lines > 0).then(|| start(input)..self.request_line_end)
    }

    /// Returns how many bytes from here on can only be part of a line, however it goes on: all that
    /// [`byte`](Self::byte) lets pass whatever is before it.
    fn plain_bytes(&self, input: &[u8]) -> usize {
        let is_inside = self.looked > self.line && input.get(self.looked - 1).is_some_and(|&before| before != b'\r');
        if !is_inside {
            return 0;
        }
        let most = match self.lines {
            0 => MAX_HEAD_BYTES.min(self.line + MAX_REQUEST_LINE_BYTES),
            _ => MAX_HEAD_BYTES,
        };
        input.get(self.looked..most.min(input.len())).map_or(0, leading_plain)
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
        if self.lines == 0 && !is_before {
            self.request_line_end = self.looked - 2;
        }
        // One empty line before a request is left out: RFC 9112, section 2.2.
        self.lines += usize::from(!is_before);
        is_empty && !is_before
    }
}

/// Returns how many bytes come before the first control character.
fn leading_plain(bytes: &[u8]) -> usize {
    const STEP: usize = 16;
    let is_plain = |&byte: &u8| byte >= b' ' && byte != 0x7f;
    // So that the compiler makes one comparison of each step.
    let is_all_plain = |step: &&[u8]| step.iter().fold(true, |all, byte| all & is_plain(byte));
    let steps = bytes.chunks_exact(STEP).take_while(is_all_plain).count() * STEP;
    steps + bytes[steps..].iter().take_while(|byte| is_plain(byte)).count()
}

/// Returns the place of the request line.
fn start(input: &[u8]) -> usize {
    if input.starts_with(b"\r\n") { 2 } else { 0 }
}
