//! What options may be, on the command line and in the configuration file.

use std::time::Duration;

/// A day: whoever waits longer wants no limit.
const MAX_TIMEOUT_SECONDS: f64 = 86_400.0;

/// Whoever wants more wants a loop around the program.
const MAX_RETRIES: u32 = 1000;

/// More connections only take turns on the same line, and a server counts them as so many clients.
const MAX_PARALLEL: usize = 16;

pub(crate) fn timeout(seconds: f64) -> Result<Duration, String> {
    if seconds > 0.0 && seconds <= MAX_TIMEOUT_SECONDS {
        return Ok(Duration::from_secs_f64(seconds));
    }
    Err(format!("a number of seconds is needed, above 0 and at most {MAX_TIMEOUT_SECONDS}"))
}

pub(crate) fn retry(times: i64) -> Result<u32, String> {
    u32::try_from(times)
        .ok()
        .filter(|times| *times <= MAX_RETRIES)
        .ok_or_else(|| format!("a number of tries is needed, at most {MAX_RETRIES}"))
}

/// Whoever wants to wait for longer wants a service that starts the program again.
const MAX_SPAN: Duration = Duration::from_secs(30 * 86_400);

/// A time with its unit: `90s`, `5m`, `1h`, `2d`; without one, seconds.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
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
        .filter(|span| *span <= MAX_SPAN)
        .ok_or_else(|| "a time is needed, as 90s, 5m, 1h or 2d, at most 30d".to_owned())
}

pub(crate) fn min_rate(bytes: i64) -> Result<u64, String> {
    u64::try_from(bytes).map_err(|_| "a number of bytes is needed, 0 or more".to_owned())
}

/// Converts MiB to bytes.
pub(crate) fn tree_memory(mebibytes: i64) -> Result<usize, String> {
    let bytes = usize::try_from(mebibytes).ok().filter(|mebibytes| *mebibytes > 0);
    bytes.and_then(|mebibytes| mebibytes.checked_mul(1 << 20)).ok_or_else(|| "a number of MiB is needed".to_owned())
}

pub(crate) fn parallel(connections: i64) -> Result<usize, String> {
    usize::try_from(connections)
        .ok()
        .filter(|connections| (1..=MAX_PARALLEL).contains(connections))
        .ok_or_else(|| format!("a number of connections is needed, 1 to {MAX_PARALLEL}"))
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
}
