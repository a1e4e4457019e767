//! Splits a stream into lines and runs of raw bytes.

use crate::limits::MAX_LINE_BYTES;

/// One piece of a stream, borrowed from the caller's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A whole line, without its LF and without the one CR that may stand before it.
    Line(&'a [u8]),
    /// Some of the raw bytes that [`Framer::expect_raw`] announced, at least one.
    Raw(&'a [u8]),
}

/// The error for a line with no LF within [`MAX_LINE_BYTES`]. Where the next line begins can't be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a line has at most {MAX_LINE_BYTES} bytes")]
pub struct LineTooLong;

/// Splits a stream into frames.
///
/// Order of calls: [`next`](Framer::next) until it returns [`None`], each time dropping the bytes it
/// consumed from the front of the buffer; then again with more bytes after what was left. After a line
/// that announces raw bytes, call [`expect_raw`](Framer::expect_raw) before the next call. An error is
/// final: the stream can't be followed any further.
#[derive(Debug, Clone, Default)]
pub struct Framer {
    raw_left: u64,
}

impl Framer {
    /// Creates a framer at the start of a line.
    #[must_use]
    pub fn new() -> Framer {
        Framer::default()
    }

    /// Takes the next `bytes` bytes for raw ones. No raw bytes may be due from an earlier call.
    pub fn expect_raw(&mut self, bytes: u64) {
        debug_assert_eq!(self.raw_left, 0, "a block inside a block");
        self.raw_left = bytes;
    }

    /// Returns how many raw bytes are still due before the next line.
    #[must_use]
    pub fn raw_left(&self) -> u64 {
        self.raw_left
    }

    /// Counts `bytes` raw bytes that the caller took from the stream without [`next`](Framer::next),
    /// because it read them straight to where they belong.
    ///
    /// # Panics
    ///
    /// Panics if fewer were due: a mistake of the caller, not of the peer.
    pub fn took_raw(&mut self, bytes: u64) {
        assert!(bytes <= self.raw_left, "took {bytes} raw bytes where {} were due", self.raw_left);
        self.raw_left -= bytes;
    }

    /// Returns the next frame at the front of `input` and how many bytes of `input` it used up, or
    /// [`None`] where more bytes are needed.
    ///
    /// # Errors
    ///
    /// Returns [`LineTooLong`] as soon as [`MAX_LINE_BYTES`] hold no LF.
    pub fn next<'a>(&mut self, input: &'a [u8]) -> Result<Option<(Frame<'a>, usize)>, LineTooLong> {
        if input.is_empty() {
            return Ok(None);
        }
        if self.raw_left > 0 {
            let due = usize::try_from(self.raw_left).unwrap_or(usize::MAX);
            let raw = &input[..due.min(input.len())];
            self.raw_left -= raw.len() as u64;
            return Ok(Some((Frame::Raw(raw), raw.len())));
        }
        let window = &input[..input.len().min(MAX_LINE_BYTES)];
        match memchr::memchr(b'\n', window) {
            Some(end) => {
                let line = &window[..end];
                Ok(Some((Frame::Line(line.strip_suffix(b"\r").unwrap_or(line)), end + 1)))
            }
            None if window.len() == MAX_LINE_BYTES => Err(LineTooLong),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_raw_runs_follow_each_other() {
        let mut framer = Framer::new();
        let input = b"DATA 3\r\na\nbEND -\n";
        assert_eq!(framer.next(input), Ok(Some((Frame::Line(b"DATA 3"), 8))));
        framer.expect_raw(3);
        assert_eq!(framer.next(&input[8..9]), Ok(Some((Frame::Raw(b"a"), 1))));
        assert_eq!(framer.raw_left(), 2);
        assert_eq!(framer.next(&input[9..]), Ok(Some((Frame::Raw(b"\nb"), 2))));
        assert_eq!(framer.next(&input[11..]), Ok(Some((Frame::Line(b"END -"), 6))));
        assert_eq!(framer.next(&input[17..]), Ok(None));
    }

    #[test]
    fn only_one_carriage_return_is_dropped() {
        let mut framer = Framer::new();
        assert_eq!(framer.next(b"a\r\r\n"), Ok(Some((Frame::Line(b"a\r"), 4))));
        assert_eq!(framer.next(b"\r\n"), Ok(Some((Frame::Line(b""), 2))));
    }

    #[test]
    fn the_longest_line_and_one_byte_more() {
        let mut line = vec![b'x'; MAX_LINE_BYTES - 1];
        assert_eq!(Framer::new().next(&line), Ok(None));
        line.push(b'\n');
        assert_eq!(Framer::new().next(&line), Ok(Some((Frame::Line(&line[..MAX_LINE_BYTES - 1]), MAX_LINE_BYTES))));
        line.insert(0, b'x');
        assert_eq!(Framer::new().next(&line), Err(LineTooLong));
    }
}
