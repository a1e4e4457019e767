//! Times: Unix seconds with up to nine decimals.

use std::fmt;

use crate::number::{parse_integer, push_integer};

/// A moment in Unix time, from 1970 on, to the nanosecond. Displays with no more decimals than it
/// needs.
///
/// A time before 1970 can't be written on the wire: it stands there as unknown, `-`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    seconds: u64,
    nanos: u32,
}

impl Time {
    /// Returns the moment `nanos` nanoseconds after `seconds`, or [`None`] before 1970 or where `nanos`
    /// is a second or more.
    #[must_use]
    pub fn new(seconds: i64, nanos: u32) -> Option<Time> {
        let seconds = u64::try_from(seconds).ok()?;
        (nanos < 1_000_000_000).then_some(Time { seconds, nanos })
    }

    /// Returns the whole seconds since 1970, at most 2^63-1.
    #[must_use]
    pub fn seconds(self) -> u64 {
        self.seconds
    }

    /// Returns the nanoseconds after the whole second.
    #[must_use]
    pub fn nanos(self) -> u32 {
        self.nanos
    }

    /// Reads a time: an integer, or one with 1 to 9 decimals after a point. Returns [`None`] for anything
    /// else.
    #[must_use]
    pub fn parse(word: &[u8]) -> Option<Time> {
        let (seconds, decimals) = match memchr::memchr(b'.', word) {
            None => (word, None),
            Some(point) => (&word[..point], Some(&word[point + 1..])),
        };
        let seconds = parse_integer(seconds)?;
        let mut nanos = 0;
        if let Some(decimals) = decimals {
            if decimals.is_empty() || decimals.len() > 9 || !decimals.iter().all(u8::is_ascii_digit) {
                return None;
            }
            for place in 0..9 {
                nanos = nanos * 10 + decimals.get(place).map_or(0, |digit| u32::from(digit - b'0'));
            }
        }
        Some(Time { seconds, nanos })
    }

    /// Appends `time`, or the `-` of an unknown one.
    pub(crate) fn push_known_or_dash(time: Option<Time>, out: &mut Vec<u8>) {
        let Some(Time { seconds, nanos }) = time else { return out.push(b'-') };
        push_integer(out, seconds);
        if nanos > 0 {
            let mut digits = [b'0'; 9];
            let mut rest = nanos;
            for digit in digits.iter_mut().rev() {
                *digit += (rest % 10) as u8;
                rest /= 10;
            }
            out.push(b'.');
            let end = digits.iter().rposition(|&digit| digit != b'0').map_or(0, |last| last + 1);
            out.extend_from_slice(&digits[..end]);
        }
    }

    /// Reads a time or the `-` of an unknown one. Returns [`None`] for anything else.
    #[must_use]
    pub fn parse_known_or_dash(word: &[u8]) -> Option<Option<Time>> {
        if word == b"-" { Some(None) } else { Time::parse(word).map(Some) }
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.seconds)?;
        if self.nanos == 0 {
            return Ok(());
        }
        let (mut decimals, mut places) = (self.nanos, 9);
        while decimals % 10 == 0 {
            decimals /= 10;
            places -= 1;
        }
        write!(f, ".{decimals:0places$}")
    }
}

/// Displays a time, or `-` where it is unknown.
pub(crate) struct OrDash(pub(crate) Option<Time>);

impl fmt::Display for OrDash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(time) => time.fmt(f),
            None => f.write_str("-"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_kept_and_trimmed() {
        for (text, nanos, shown) in [
            ("5", 0, "5"),
            ("5.5", 500_000_000, "5.5"),
            ("5.000000001", 1, "5.000000001"),
            ("5.0500", 50_000_000, "5.05"),
            ("0.000000000", 0, "0"),
        ] {
            let time = Time::parse(text.as_bytes()).unwrap();
            assert_eq!((time.nanos(), time.to_string().as_str()), (nanos, shown));
            let mut out = Vec::new();
            Time::push_known_or_dash(Some(time), &mut out);
            assert_eq!(out, shown.as_bytes());
        }
    }

    #[test]
    fn what_is_no_time() {
        for text in ["", "-", ".5", "5.", "5.1234567890", "-5", "05", "5.5.5", "5.a", "5,5"] {
            assert_eq!(Time::parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(Time::new(-1, 0), None);
        assert_eq!(Time::new(0, 1_000_000_000), None);
    }
}
