//! Dates: RFC 9110, section 5.6.7.

use std::{
    fmt,
    io::Write as _,
    time::{Duration, UNIX_EPOCH},
};

use ferry_wire::Time;

/// The last second of the year 9999, the last that the form of dates has room for.
const LAST_SECOND: u64 = 253_402_300_799;

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
        let seconds = self.0.seconds().min(LAST_SECOND);
        httpdate::HttpDate::from(UNIX_EPOCH + Duration::from_secs(seconds)).fmt(f)
    }
}

/// A date as fields show it: for a date that many answers tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DateText([u8; 29]);

impl DateText {
    /// Returns the text of a date.
    #[must_use]
    pub fn of(date: HttpDate) -> DateText {
        let mut text = [b'?'; 29];
        // Each date has as many characters; an error could only be one of room.
        let _ = write!(&mut text[..], "{date}");
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

#[cfg(test)]
mod tests {
    use super::*;

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
