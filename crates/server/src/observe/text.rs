//! Pieces of lines, made without the machinery of format strings: a busy server writes a line for
//! each file that it sends.

use std::time::SystemTime;

use ferry_wire::escaped;
use time::{OffsetDateTime, format_description::well_known};

/// Appends `number` with at least `digits` digits, 1 to 20.
pub(super) fn push_number(text: &mut String, mut number: u64, digits: usize) {
    let mut shown = [b'0'; 20];
    let mut first = shown.len();
    while number > 0 {
        first -= 1;
        shown[first] += (number % 10) as u8;
        number /= 10;
    }
    let first = first.min(shown.len().saturating_sub(digits));
    text.push_str(std::str::from_utf8(&shown[first..]).unwrap_or_default());
}

/// Returns the longest start of `text` that has at most `bytes` bytes.
pub(super) fn cut(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    &text[..end]
}

/// Appends `text`, cut to at most `bytes` bytes. Where it is cut, its whole length stands behind it.
pub(super) fn push_cut(line: &mut String, text: &str, bytes: usize) {
    let shown = cut(text, bytes);
    line.push_str(shown);
    if shown.len() < text.len() {
        line.push_str("... (");
        push_number(line, text.len() as u64, 1);
        line.push_str(" bytes)");
    }
}

/// Appends `text` with its control characters written out, since peers choose parts of it.
pub(super) fn push_escaped(line: &mut String, text: &str) {
    match is_plain(text) {
        true => line.push_str(text),
        false => line.push_str(&escaped(text).to_string()),
    }
}

/// Returns whether `text` has visible ASCII characters and spaces only, as by far most have. All
/// bytes are looked at, since that is quicker than to stop early.
pub(super) fn is_plain(text: &str) -> bool {
    text.bytes().fold(true, |plain, byte| plain & matches!(byte, b' '..=b'~'))
}

/// The dates of lines in some form, worked out once a second.
#[derive(Debug)]
pub(super) struct Dates {
    form: fn(OffsetDateTime) -> String,
    /// The last second that was written, since 1970, and how.
    last: Option<(u64, String)>,
}

impl Dates {
    /// Returns dates in that form.
    pub(super) fn new(form: fn(OffsetDateTime) -> String) -> Dates {
        Dates { form, last: None }
    }

    /// Appends the second of `now`, and returns the nanoseconds after it.
    pub(super) fn push(&mut self, line: &mut String, now: SystemTime) -> u32 {
        let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let second = since_epoch.as_secs();
        let (_, date) = match self.last.take() {
            Some((last, date)) if last == second => self.last.insert((last, date)),
            _ => self.last.insert((second, self.date_of(second))),
        };
        line.push_str(date);
        since_epoch.subsec_nanos()
    }

    fn date_of(&self, second: u64) -> String {
        let time = i64::try_from(second).ok().and_then(|second| OffsetDateTime::from_unix_timestamp(second).ok());
        time.map(self.form).unwrap_or_default()
    }
}

/// Times as in RFC 3339, in UTC, with nanoseconds.
#[derive(Debug)]
pub(super) struct Rfc3339(Dates);

impl Default for Rfc3339 {
    fn default() -> Rfc3339 {
        Rfc3339(Dates::new(|time| {
            let text = time.format(&well_known::Rfc3339).unwrap_or_default();
            text.trim_end_matches('Z').to_owned()
        }))
    }
}

impl Rfc3339 {
    /// Appends `now`.
    pub(super) fn push(&mut self, line: &mut String, now: SystemTime) {
        let nanos = self.0.push(line, now);
        line.push('.');
        push_number(line, nanos.into(), 9);
        line.push('Z');
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn numbers_have_as_many_digits_as_are_asked_for() {
        for (number, digits, expected) in
            [(0, 1, "0"), (7, 1, "7"), (10, 1, "10"), (42, 6, "000042"), (0, 9, "000000000"), (1234, 3, "1234")]
        {
            let mut text = "=".to_owned();
            push_number(&mut text, number, digits);
            assert_eq!(text[1..], *expected);
        }
        let mut text = String::new();
        push_number(&mut text, u64::MAX, 1);
        assert_eq!(text, u64::MAX.to_string());
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        for (text, bytes, expected) in [
            ("", 3, ""),
            ("abc", 3, "abc"),
            ("abcd", 3, "abc... (4 bytes)"),
            ("üü", 3, "ü... (4 bytes)"),
            ("ü", 0, "... (2 bytes)"),
        ] {
            let mut line = String::new();
            push_cut(&mut line, text, bytes);
            assert_eq!(line, expected);
        }
    }

    #[test]
    fn a_time_has_its_second_and_its_nanoseconds() {
        let mut times = Rfc3339::default();
        for (seconds, expected) in [
            (1_700_000_000.5, "2023-11-14T22:13:20.500000000Z"),
            (1_700_000_000.75, "2023-11-14T22:13:20.750000000Z"),
            (1_700_000_001.0, "2023-11-14T22:13:21.000000000Z"),
            (0.0, "1970-01-01T00:00:00.000000000Z"),
        ] {
            let mut line = String::new();
            times.push(&mut line, SystemTime::UNIX_EPOCH + Duration::from_secs_f64(seconds));
            assert_eq!(line, expected);
        }
    }
}
