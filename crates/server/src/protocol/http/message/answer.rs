//! Heads of answers.

use std::{fmt, io::Write as _};

use ferry_wire::{Crc32, Tag, Time};

use super::{
    date::{DateText, HttpDate},
    digest::CrcField,
    media::{MediaType, SANDBOX, TEXT_CHARSET},
    status::StatusCode,
};

/// The end of a body in chunks.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Appends what stands before a chunk of `bytes` bytes, of which there must be one; after them comes `\r\n`.
pub fn write_chunk_head(out: &mut Vec<u8>, bytes: u64) {
    assert!(bytes > 0, "an empty chunk ends the body");
    append(out, format_args!("{bytes:x}\r\n"));
}

/// Writes the head of one answer: its status, its fields, and the empty line by [`end`](Self::end).
///
/// Nothing that stands in a value can end its line: control characters are written as `?`.
#[must_use = "a head ends with an empty line"]
pub struct AnswerHead<'o> {
    out: &'o mut Vec<u8>,
}

impl<'o> AnswerHead<'o> {
    /// Appends the status line to `out`.
    pub fn new(out: &'o mut Vec<u8>, status: StatusCode) -> AnswerHead<'o> {
        out.extend_from_slice(b"HTTP/1.1 ");
        append_number(out, status.number().into());
        out.push(b' ');
        out.extend_from_slice(status.phrase().as_bytes());
        out.extend_from_slice(b"\r\n");
        AnswerHead { out }
    }

    /// Appends a field.
    pub fn field(self, name: &'static str, value: impl fmt::Display) -> AnswerHead<'o> {
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b": ");
        let start = self.out.len();
        append(self.out, format_args!("{value}"));
        for byte in &mut self.out[start..] {
            if byte.is_ascii_control() {
                *byte = b'?';
            }
        }
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// Appends a field whose value is always the same.
    pub fn fixed(self, name: &'static str, value: &'static str) -> AnswerHead<'o> {
        self.known(name, &[value.as_bytes()])
    }

    /// Appends lines that are always the same, each with its CR LF.
    pub fn lines(self, lines: &'static str) -> AnswerHead<'o> {
        debug_assert!(lines.ends_with("\r\n") && lines.lines().all(|line| line.contains(": ")), "no lines of fields");
        self.out.extend_from_slice(lines.as_bytes());
        self
    }

    /// Appends a field whose value is made of `parts`, which have no control characters.
    fn known(self, name: &'static str, parts: &[&[u8]]) -> AnswerHead<'o> {
        debug_assert!(!parts.concat().iter().any(u8::is_ascii_control), "a value that could end its line");
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b": ");
        for part in parts {
            self.out.extend_from_slice(part);
        }
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// Says how many bytes of a body follow.
    pub fn length(self, bytes: u64) -> AnswerHead<'o> {
        self.out.extend_from_slice(b"Content-Length: ");
        append_number(self.out, bytes);
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// Says that the body comes in chunks.
    pub fn chunked(self) -> AnswerHead<'o> {
        self.fixed("Transfer-Encoding", "chunked")
    }

    /// Says that the connection closes.
    pub fn close(self) -> AnswerHead<'o> {
        self.fixed("Connection", "close")
    }

    /// Says what time it is, where that is known.
    pub fn date(self, now: Option<DateText>) -> AnswerHead<'o> {
        match now {
            Some(now) => self.known("Date", &[now.as_bytes()]),
            None => self,
        }
    }

    /// Names the version of a file by its tag, and by the time of its last change, where a date can show it.
    pub fn version(self, tag: &Tag, mtime: Option<Time>) -> AnswerHead<'o> {
        let head = self.known("ETag", &[b"\"", tag.as_str().as_bytes(), b"\""]);
        match mtime.and_then(HttpDate::of) {
            Some(date) => head.known("Last-Modified", &[DateText::of(date).as_bytes()]),
            None => head,
        }
    }

    /// Says what a file of `media` is, such that no browser takes it for anything else, or runs it.
    pub fn content(self, media: MediaType) -> AnswerHead<'o> {
        let charset = if media.is_text() { TEXT_CHARSET } else { "" };
        let head = self.known("Content-Type", &[media.essence().as_bytes(), charset.as_bytes()]);
        let head = head.lines("X-Content-Type-Options: nosniff\r\n");
        if media.is_active() { head.fixed("Content-Security-Policy", SANDBOX) } else { head }
    }

    /// Says the CRC of the whole file.
    pub fn digest(self, crc: Crc32) -> AnswerHead<'o> {
        self.known("Repr-Digest", &[CrcField::of(crc).as_bytes()])
    }

    /// Appends the empty line.
    pub fn end(self) {
        self.out.extend_from_slice(b"\r\n");
    }
}

fn append_number(out: &mut Vec<u8>, mut number: u64) {
    // As many as the largest number has.
    let mut digits = [0; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[first..]);
}

fn append(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    // A vector takes everything; an error could only be one of a value's Display.
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::http::message::media_type;

    #[test]
    fn a_head_and_its_fields() {
        let mut out = Vec::new();
        AnswerHead::new(&mut out, StatusCode::OK)
            .date(Some(DateText::of(HttpDate(Time::new(784_111_777, 5).unwrap()))))
            .length(5)
            .version(&Tag::new("a1").unwrap(), Time::new(0, 0))
            .content(media_type("a.svg"))
            .digest(Crc32::of(b"123456789"))
            .field("X", "a\r\nSet-Cookie: b\u{7f}\0")
            .close()
            .end();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<_> = text.split("\r\n").collect();
        assert_eq!(
            lines,
            [
                "HTTP/1.1 200 OK",
                "Date: Sun, 06 Nov 1994 08:49:37 GMT",
                "Content-Length: 5",
                "ETag: \"a1\"",
                "Last-Modified: Thu, 01 Jan 1970 00:00:00 GMT",
                "Content-Type: image/svg+xml",
                "X-Content-Type-Options: nosniff",
                &format!("Content-Security-Policy: {SANDBOX}"),
                "Repr-Digest: crc32=:y/Q5Jg==:",
                "X: a??Set-Cookie: b??",
                "Connection: close",
                "",
                "",
            ]
        );
    }

    #[test]
    fn chunks() {
        let mut out = Vec::new();
        write_chunk_head(&mut out, 255);
        assert_eq!(out, b"ff\r\n");
    }

    #[test]
    fn a_file_that_is_older_or_newer_than_dates_has_none() {
        let mut out = Vec::new();
        let tag = Tag::new("a").unwrap();
        AnswerHead::new(&mut out, StatusCode::OK).version(&tag, Time::new(i64::MAX, 0)).end();
        assert_eq!(out, b"HTTP/1.1 200 OK\r\nETag: \"a\"\r\n\r\n");
    }
}
