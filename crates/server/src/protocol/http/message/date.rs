//! Dates: RFC 9110, section 5.6.7.

use std::{fmt, time::UNIX_EPOCH};

use ferry_wire::Time;

/// The last second of the year 9999, the last that the form of dates has room for.
const LAST_SECOND: u64 = 253_402_300_799;

const DAY_SECONDS: u64 = 86_400;

/// A moment as fields show it, to the second: `Sun, 06 Nov 1994 08:49:37 GMT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpDate(pub Time);

impl HttpDate {
    /// Returns `time` as a date; [`None`] after the year 9999.
    #[must_use]
    pub fn of(time: Time) -> Option<HttpDate> {
        (time.seconds() <= LAST_SECOND).then_some(HttpDate(time))
    }

    /// Reads a date in any of the three forms; [`None`] for anything else, and before 1970.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<HttpDate> {
        let time = httpdate::parse_http_date(std::str::from_utf8(text).ok()?).ok()?;
        let seconds = time.duration_since(UNIX_EPOCH).ok()?.as_secs();
        Time::new(i64::try_from(seconds).ok()?, 0).map(HttpDate)
    }
}

impl fmt::Display for HttpDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        DateText::of(*self).fmt(f)
    }
}

/// A date as fields show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DateText([u8; 29]);

impl DateText {
    /// Returns the text of a date.
    #[must_use]
    pub fn of(HttpDate(time): HttpDate) -> DateText {
        // By hand: each file that is sent has another one.
        const WEEKDAYS: &[u8; 21] = b"ThuFriSatSunMonTueWed";
        const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
        let seconds = time.seconds().min(LAST_SECOND);
        let (days, second) = ((seconds / DAY_SECONDS) as usize, (seconds % DAY_SECONDS) as usize);
        let (year, month, day) = calendar(days);
        let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
        text[..3].copy_from_slice(&WEEKDAYS[days % 7 * 3..][..3]);
        text[8..11].copy_from_slice(&MONTHS[month * 3..][..3]);
        let numbers = [day, year / 100, year % 100, second / 3600, second / 60 % 60, second % 60];
        for (at, number) in [5, 12, 14, 17, 20, 23].into_iter().zip(numbers) {
            (text[at], text[at + 1]) = (b'0' + (number / 10) as u8, b'0' + (number % 10) as u8);
        }
        DateText(text)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for DateText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

/// Returns the year of the day that comes so many after the first of 1970, its month and its day: months are counted from 0,
/// days from 1.
fn calendar(days: usize) -> (usize, usize, usize) {
    // In years that begin in March, after the day of 29 February: then all but the last month have the days of a rule. The
    // day 0 is the first of March of the year 0.
    let days = days + 719_468;
    let (centuries, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let is_next_year = month >= 10;
    (centuries * 400 + year + usize::from(is_next_year), if is_next_year { month - 10 } else { month + 2 }, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_day_has_its_date() {
        let shown = |seconds| HttpDate(Time::new(seconds as i64, 0).unwrap()).to_string();
        // All seconds of a day come up, and each day up to the year 2400; then every tenth.
        let near = (0..157_000).map(|day| day * DAY_SECONDS + day * 7_919 % DAY_SECONDS);
        let far = (157_000..LAST_SECOND / DAY_SECONDS).step_by(10).map(|day| day * DAY_SECONDS);
        for seconds in near.chain(far).chain([LAST_SECOND]) {
            let expected = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
            assert_eq!(shown(seconds), expected, "{seconds}");
        }
    }

    #[test]
    fn dates_in_three_forms() {
        for text in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            let date = HttpDate::parse(text.as_bytes()).unwrap();
            assert_eq!(date.0, Time::new(784_111_777, 0).unwrap());
            assert_eq!(date.to_string(), "Sun, 06 Nov 1994 08:49:37 GMT");
        }
        for text in ["", "yesterday", "Sun, 06 Nov 1994 08:49:37", "Sun, 31 Feb 1994 08:49:37 GMT", "0"] {
            assert_eq!(HttpDate::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(HttpDate::parse(b"\xff"), None);
    }

    #[test]
    fn times_that_no_date_can_show() {
        let last = Time::new(LAST_SECOND as i64, 999_999_999).unwrap();
        assert_eq!(HttpDate::of(last).unwrap().to_string(), "Fri, 31 Dec 9999 23:59:59 GMT");
        assert_eq!(HttpDate::of(Time::new(LAST_SECOND as i64 + 1, 0).unwrap()), None);
        let shown = HttpDate(Time::new(i64::MAX, 0).unwrap()).to_string();
        assert_eq!(shown, "Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
