//! Integers: decimal, no sign, no leading zero, at most 2^63-1.

use crate::limits::MAX_INTEGER;

/// Reads an integer of the protocol. Returns [`None`] for anything that is not exactly one.
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

/// Appends an integer as the protocol writes it.
pub(crate) fn push_integer(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[first..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_read() {
        for value in [0, 1, 9, 10, 99, 100, 4096, 1 << 20, MAX_INTEGER - 1, MAX_INTEGER] {
            let mut out = b"n=".to_vec();
            push_integer(&mut out, value);
            assert_eq!(
                (out.strip_prefix(b"n=").and_then(parse_integer), out.len()),
                (Some(value), 2 + value.to_string().len())
            );
        }
        let mut out = Vec::new();
        push_integer(&mut out, u64::MAX);
        assert_eq!(out, u64::MAX.to_string().as_bytes());
    }

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
