//! Integers: decimal, no sign, no leading zero, at most 2^63-1.

use crate::limits::MAX_INTEGER;

/// Reads an integer of the protocol; [`None`] for anything that is not exactly one.
#[must_use]
pub fn parse_integer(word: &[u8]) -> Option<u64> {
    match word {
        [] => return None,
        [b'0'] => return Some(0),
        [b'0', ..] => return None,
        _ => {}
    }
    let mut value: u64 = 0;
    for &byte in word {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?;
    }
    (value <= MAX_INTEGER).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_have_one_spelling() {
        assert_eq!(parse_integer(b"0"), Some(0));
        assert_eq!(parse_integer(b"9223372036854775807"), Some(MAX_INTEGER));
        for word in [
            "",
            "-",
            "+1",
            "-1",
            "01",
            "00",
            "1.0",
            " 1",
            "1 ",
            "0x1",
            "9223372036854775808",
            "99999999999999999999",
            "٣",
        ] {
            assert_eq!(parse_integer(word.as_bytes()), None, "{word:?}");
        }
    }
}
