//! Sizes, rates and spans of time, as they are typed.

use std::{num::NonZeroU64, time::Duration};

/// A longer wait belongs into a service that starts the program again.
const MAX_SPAN: Duration = Duration::from_secs(30 * 86_400);

/// Parses a time with its unit: `90s`, `5m`, `1h`, `2d`; without one, seconds.
///
/// # Errors
///
/// The words for what is needed.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    let why = || "a time is needed, as 90s, 5m, 1h or 2d, at most 30d".to_owned();
    duration(text).filter(|span| *span <= MAX_SPAN).ok_or_else(why)
}

/// Parses the same of any length.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "" | "s" => Some(1),
        "m" | "min" => Some(60),
        "h" => Some(3600),
        "d" => Some(86_400),
        _ => None,
    };
    number
        .parse::<u64>()
        .ok()
        .zip(seconds)
        .and_then(|(number, seconds)| number.checked_mul(seconds))
        .map(Duration::from_secs)
}

/// Parses a number of bytes with its unit, as rsync has them: `K`, `KiB`, `M`, `G` and so on are powers of 1024, `KB`, `MB`
/// and `GB` powers of 1000. There may be a fraction.
///
/// # Errors
///
/// The words for what is needed.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let why = || "a number of bytes is needed, as 500, 64K, 1.5M or 2G".to_owned();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
    let (number, unit) = text.split_at(digits);
    let unit = unit.to_ascii_lowercase();
    let (letter, base) = match unit.strip_suffix("ib") {
        Some(letter) => (letter, 1024_u64),
        None => match unit.strip_suffix('b') {
            Some("") => ("", 1024),
            Some(letter) => (letter, 1000),
            None => (&*unit, 1024),
        },
    };
    let power = ["", "k", "m", "g", "t", "p"].iter().position(|known| *known == letter).ok_or_else(why)?;
    let factor = base.pow(u32::try_from(power).map_err(|_| why())?);
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor).ok_or_else(why);
    }
    let is_number = number.chars().filter(|c| *c == '.').count() == 1 && number.contains(|c: char| c.is_ascii_digit());
    let value = number.parse::<f64>().ok().filter(|_| is_number).ok_or_else(why)? * factor as f64;
    // From there on a double holds no single bytes.
    if value < (1_u64 << 53) as f64 { Ok(value as u64) } else { Err(why()) }
}

/// Parses bytes a second, in the forms of [`bytes`].
///
/// # Errors
///
/// The words for what is needed: at that of 0 nothing would ever be done.
pub(crate) fn rate(text: &str) -> Result<NonZeroU64, String> {
    let why = || "a number of bytes a second is needed, above 0, as 500, 64K, 1.5M or 2G".to_owned();
    bytes(text).ok().and_then(NonZeroU64::new).ok_or_else(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_units() {
        for (text, seconds) in
            [("0", 0), ("90", 90), ("90s", 90), ("5m", 300), ("5min", 300), ("1h", 3600), ("2d", 172_800)]
        {
            assert_eq!(span(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "h", "-1h", "1.5h", "1 h", "1H", "1w", "31d", "99999999999999999999", "18446744073709551615d"]
        {
            assert!(span(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rates_are_above_nothing() {
        for (text, expected) in [("1", 1), ("64KiB", 65_536), ("1M", 1 << 20), ("0.5k", 512)] {
            assert_eq!(rate(text).map(NonZeroU64::get), Ok(expected), "{text}");
        }
        for text in ["0", "0K", "0.0001", "-1", "-0", "", "fast", "inf", "1M/s"] {
            assert!(rate(text).unwrap_err().contains("above 0"), "{text}");
        }
    }

    #[test]
    fn sizes_have_units() {
        for (text, expected) in [
            ("0", 0),
            ("500", 500),
            ("5b", 5),
            ("64K", 65_536),
            ("64KiB", 65_536),
            ("64kb", 64_000),
            ("1.5M", 1_572_864),
            ("2G", 2 << 30),
            (".5k", 512),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for text in
            ["", "K", "-1", "1 K", "1x", "1.2.3", ".", "1e3", "99999999999999999999", "16384P", "1iK", "9999999.5P"]
        {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
