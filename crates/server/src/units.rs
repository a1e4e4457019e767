//! Numbers of bytes and times, as people write them: `64MiB`, `1.5GiB`, `30s`, `72h`.

use std::time::Duration;

/// Returns a number of things in words: `1 client`, `2 clients`.
#[must_use]
pub fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// A unit, and its worth in the smallest one: bytes, or milliseconds.
type Unit = (&'static str, u64);

const SIZES: &[Unit] = &[
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

const TIMES: &[Unit] = &[("ms", 1), ("s", 1_000), ("min", 60_000), ("h", 60 * 60_000), ("d", 24 * 60 * 60_000)];

/// The most decimals that a number may have: more make no difference to any size or time.
const MOST_DECIMALS: usize = 18;

/// Reads a number of bytes. One without a unit is of bytes.
///
/// # Errors
///
/// In words for the user, which name the units that there are.
pub fn size(text: &str) -> Result<u64, String> {
    read(text, SIZES, "B").map_err(|problem| problem.of("a size as 64MiB"))
}

/// Reads bytes per second: a [`size`], which may have `/s` behind it.
///
/// # Errors
///
/// As [`size`].
pub fn rate(text: &str) -> Result<u64, String> {
    size(text.strip_suffix("/s").unwrap_or(text))
}

/// Reads a time. One without a unit is of the unit `bare`, as `s`.
///
/// # Errors
///
/// As [`size`].
pub fn time(text: &str, bare: &'static str) -> Result<Duration, String> {
    read(text, TIMES, bare).map(Duration::from_millis).map_err(|problem| problem.of("a time as 30s"))
}

/// Writes a time in its largest unit that leaves nothing over.
#[must_use]
pub fn show_time(time: Duration) -> String {
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let whole = TIMES.iter().rev().find(|(_, worth)| millis != 0 && millis % worth == 0);
    whole.map_or_else(|| "0".to_owned(), |(name, worth)| format!("{}{name}", millis / worth))
}

enum Problem {
    NoNumber,
    TooLarge,
    /// The unit that stands there, and all that there are.
    Unit(String, &'static [Unit]),
    /// A number without a unit is of this one, which is not divided.
    Part(&'static str),
}

impl Problem {
    fn of(self, example: &str) -> String {
        match self {
            Problem::NoNumber => format!("give {example}"),
            Problem::TooLarge => "it is too large".into(),
            Problem::Part(unit) => format!("give a whole number of {unit}, or another unit"),
            Problem::Unit(given, units) => {
                let meant = units.iter().find(|(unit, _)| unit.eq_ignore_ascii_case(&given) || is_short(unit, &given));
                let hint = meant.map(|(unit, _)| format!("; did you mean {unit}?")).unwrap_or_default();
                let all: Vec<_> = units.iter().map(|(unit, _)| *unit).collect();
                format!("there is no unit '{given}': give one of {}{hint}", all.join(", "))
            }
        }
    }
}

/// Returns whether `given` is how other programs write `unit`.
fn is_short(unit: &str, given: &str) -> bool {
    let long = match given.to_ascii_lowercase().as_str() {
        "k" => "KiB",
        "m" if unit == "min" => "min",
        "m" => "MiB",
        "g" => "GiB",
        "t" => "TiB",
        "sec" | "secs" | "second" | "seconds" => "s",
        "mins" | "minute" | "minutes" => "min",
        "hr" | "hrs" | "hour" | "hours" => "h",
        "day" | "days" => "d",
        _ => return false,
    };
    unit == long
}

fn read(text: &str, units: &'static [Unit], bare: &'static str) -> Result<u64, Problem> {
    let text = text.trim_matches(' ');
    let end = text.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim_start_matches(' ');
    let named = if unit.is_empty() { bare } else { unit };
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(decimals) || decimals.len() > MOST_DECIMALS {
        return Err(Problem::NoNumber);
    }
    let known = units.iter().find(|(name, _)| *name == named);
    let worth = known.map(|(_, worth)| *worth).ok_or_else(|| Problem::Unit(unit.to_owned(), units))?;
    // Half a byte is a mistake, probably of the unit.
    if number.contains('.') && worth == 1 {
        return Err(Problem::Part(known.map_or(bare, |(name, _)| name)));
    }
    let part = 10u128.pow(u32::try_from(decimals.len()).unwrap_or(0));
    let digits = |digits: &str| digits.parse::<u128>().ok();
    let all = digits(whole).and_then(|whole| whole.checked_mul(part)?.checked_add(digits(decimals)?));
    let all = all.and_then(|all| all.checked_mul(worth.into())).ok_or(Problem::TooLarge)?;
    u64::try_from(all / part).ok().filter(|number| *number <= i64::MAX as u64).ok_or(Problem::TooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_no_plural() {
        assert_eq!([0, 1, 2].map(|count| counted(count, "user")), ["0 users", "1 user", "2 users"]);
    }

    #[test]
    fn sizes_have_units_of_1000_and_of_1024() {
        for (text, bytes) in [
            ("0", 0),
            ("7", 7),
            ("7B", 7),
            ("64MiB", 64 << 20),
            ("1.5GiB", 3 << 29),
            ("10MB", 10_000_000),
            ("2.5kB", 2_500),
            ("1 TiB", 1 << 40),
            ("9223372036854775807", i64::MAX as u64),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        assert_eq!((rate("10MiB/s"), rate("10MiB")), (Ok(10 << 20), Ok(10 << 20)));
    }

    #[test]
    fn times_without_a_unit_have_that_of_their_option() {
        for (text, bare, seconds) in [
            ("30", "s", 30),
            ("72", "h", 72 * 3600),
            ("30s", "h", 30),
            ("5min", "s", 300),
            ("1.5h", "s", 5400),
            ("1d", "s", 86_400),
        ] {
            assert_eq!(time(text, bare), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(time("250ms", "s"), Ok(Duration::from_millis(250)));
    }

    #[test]
    fn what_is_no_size_and_no_time_is_told_with_the_way_out() {
        for (text, told) in [
            ("", "give a size as 64MiB"),
            ("x", "give a size as 64MiB"),
            ("-1", "give a size as 64MiB"),
            ("1..5GiB", "give a size as 64MiB"),
            ("1.5", "a whole number of B, or another unit"),
            ("64M", "no unit 'M': give one of B, kB, MB, GB, TB, KiB, MiB, GiB, TiB; did you mean MiB?"),
            ("64mib", "did you mean MiB?"),
            ("64 parsecs", "no unit 'parsecs'"),
            ("30s", "no unit 's'"),
            ("9223372036854775808", "too large"),
            ("8388608TiB", "too large"),
            ("99999999999999999999999999999999999999999999999999", "too large"),
        ] {
            let said = size(text).unwrap_err();
            assert!(said.contains(told), "{text}: {said}");
        }
        for (text, told) in [
            ("soon", "give a time as 30s"),
            ("5m", "no unit 'm': give one of ms, s, min, h, d; did you mean min?"),
            ("3 days", "did you mean d?"),
            ("1GiB", "no unit 'GiB'"),
        ] {
            let said = time(text, "s").unwrap_err();
            assert!(said.contains(told), "{text}: {said}");
        }
    }

    #[test]
    fn a_time_that_is_shown_is_read_as_the_same() {
        for (millis, shown) in [(0, "0"), (250, "250ms"), (1_000, "1s"), (90_000, "90s"), (259_200_000, "3d")] {
            let millis = Duration::from_millis(millis);
            assert_eq!(show_time(millis), shown);
            assert_eq!(time(shown, "s"), Ok(millis));
        }
    }
}
