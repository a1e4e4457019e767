//! Ranges of bytes: RFC 9110, section 14.

use std::ops::Range;

use super::fields::{Fields, trim};

/// A range that a client wants of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteRange {
    /// From the first to the last of these, both included.
    Between(u64, u64),
    /// All from this one on.
    From(u64),
    /// So many at the end.
    Last(u64),
}

impl ByteRange {
    /// Returns the bytes of a file of `size` bytes that it names; [`None`] where there are none: 416.
    #[must_use]
    pub fn within(self, size: u64) -> Option<Range<u64>> {
        let range = match self {
            ByteRange::Between(first, last) => first..size.min(last.saturating_add(1)),
            ByteRange::From(first) => first..size,
            ByteRange::Last(length) => size.saturating_sub(length)..size,
        };
        (!range.is_empty()).then_some(range)
    }
}

/// Returns the one range that the fields name.
///
/// Several are answered with the whole file. To send them costs more than it gives: no client in use needs it, and a
/// request of a thousand ranges over one file must cost no more than one.
pub(super) fn of(fields: Fields<'_>) -> Option<ByteRange> {
    let mut values = fields.all("range");
    match (values.next(), values.next()) {
        (Some(value), None) => range(value),
        _ => None,
    }
}

/// Reads the value of a `Range` field; [`None`] where it is not one range of bytes.
#[must_use]
pub fn range(value: &[u8]) -> Option<ByteRange> {
    let (unit, set) = value.split_at(value.iter().position(|&byte| byte == b'=')?);
    if !unit.eq_ignore_ascii_case(b"bytes") {
        return None;
    }
    let set = trim(&set[1..]);
    let dash = set.iter().position(|&byte| byte == b'-')?;
    match (&set[..dash], &set[dash + 1..]) {
        (b"", length) => number(length).map(ByteRange::Last),
        (first, b"") => number(first).map(ByteRange::From),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(ByteRange::Between(first, last))
        }
    }
}

/// Reads digits; a number that is too large for 64 bits is as large as any.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |number: u64, digit: &u8| number.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    Some(digits.iter().fold(0, add))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_within_a_file_of_ten_bytes() {
        for (text, within) in [
            ("bytes=0-0", Some(0..1)),
            ("bytes=0-", Some(0..10)),
            ("Bytes= 2-5 ", Some(2..6)),
            ("bytes=5-100", Some(5..10)),
            ("bytes=9-18446744073709551615", Some(9..10)),
            ("bytes=9-99999999999999999999", Some(9..10)),
            ("bytes=-3", Some(7..10)),
            ("bytes=-30", Some(0..10)),
            ("bytes=-0", None),
            ("bytes=10-", None),
            ("bytes=10-12", None),
            ("bytes=99999999999999999999-", None),
        ] {
            assert_eq!(range(text.as_bytes()).unwrap().within(10), within, "{text}");
        }
        assert_eq!(ByteRange::Last(5).within(0), None);
        assert_eq!(ByteRange::From(0).within(0), None);
    }

    #[test]
    fn what_is_not_one_range_is_answered_with_the_whole() {
        for text in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=5-2",
            "bytes=1-2,4-5",
            "lines=1-2",
            "bytes=+1-2",
            "bytes=1--2",
        ] {
            assert_eq!(range(text.as_bytes()), None, "{text}");
        }
        let fields = |lines: &'static str| of(Fields::of_lines(lines.as_bytes()));
        assert_eq!(fields("Range: bytes=1-2\r\n"), Some(ByteRange::Between(1, 2)));
        assert_eq!(fields("Range: bytes=1-2\r\nRange: bytes=3-4\r\n"), None);
        assert_eq!(fields("X: y\r\n"), None);
    }
}
