//! Sizes and times as people and programs read them.

use ferry_wire::Time;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// Returns a size for people, with three digits that count: `"1.25 MiB"`.
pub(super) fn size(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    // Rounding up to 1024 takes the next unit.
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.decimals$} {}", UNITS[unit])
}

fn date(time: Time) -> Option<OffsetDateTime> {
    let nanos = i128::from(time.seconds()) * 1_000_000_000 + i128::from(time.nanos());
    OffsetDateTime::from_unix_timestamp_nanos(nanos).ok()
}

/// Returns a time as in RFC 3339, in UTC, or [`None`] after the year 9999.
pub(super) fn rfc3339(time: Time) -> Option<String> {
    date(time)?.format(&Rfc3339).ok()
}

/// Returns a time to the minute in UTC: `"2026-11-30 12:05"`.
pub(super) fn minute(time: Time) -> Option<String> {
    let date = date(time)?;
    let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
    Some(format!("{year:04}-{month:02}-{day:02} {:02}:{:02}", date.hour(), date.minute()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits_that_count() {
        for (bytes, shown) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (1536, "1.50 KiB"),
            (10_239, "10.0 KiB"),
            (10_240, "10.0 KiB"),
            (102_400, "100 KiB"),
            (1_023_488, "0.98 MiB"),
            (1 << 20, "1.00 MiB"),
            (5 << 30, "5.00 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(size(bytes), shown, "{bytes}");
        }
    }

    #[test]
    fn times_are_in_utc() {
        let time = Time::new(1_700_000_000, 500_000_000).unwrap();
        assert_eq!(rfc3339(time).unwrap(), "2023-11-14T22:13:20.5Z");
        assert_eq!(minute(time).unwrap(), "2023-11-14 22:13");
        assert_eq!(rfc3339(Time::new(0, 0).unwrap()).unwrap(), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(Time::new(i64::MAX, 0).unwrap()), None);
        assert_eq!(minute(Time::new(253_402_300_800, 0).unwrap()), None);
    }
}
