//! xferlog, the form of wu-ftpd (xferlog(5)) that analysers of FTP logs read.
//!
//! ```text
//! Tue Nov 14 22:13:20 2023 1 192.0.2.1 5 /a b _ o r alice ferry 0 * c
//! current-time, transfer-time in whole seconds, remote-host, file-size, filename, transfer-type,
//! special-action-flag, direction, access-mode, username, service-name, authentication-method,
//! authenticated-user-id, completion-status
//! ```
//!
//! Times are in UTC, and a transfer takes a second at least, since analysers divide by it. The size
//! is the number of bytes moved. In a name each space, and each character that can't be shown, is
//! an underscore. A deletion has the direction `d`. The form knows no MKDIR, RENAME, LOGIN and SUM:
//! these are lines of the server's own log. The transfers that were left out are one transfer of
//! all their bytes, under a name that says so, so that totals are right.

use std::time::SystemTime;

use ferry_wire::is_unsafe_to_show;
use time::OffsetDateTime;

use super::{
    Client, Form, TEXT_BYTES, TransferEntry,
    budget::{Kind, Sum},
};
use crate::observe::text::{Dates, cut, push_number};

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// See the [module documentation](self).
#[derive(Debug)]
pub(super) struct Xferlog {
    dates: Dates,
}

impl Default for Xferlog {
    fn default() -> Xferlog {
        Xferlog { dates: Dates::new(date) }
    }
}

/// One line, but for its time.
struct Line<'a> {
    seconds: u64,
    host: &'a str,
    bytes: u64,
    name: &'a str,
    direction: char,
    user: Option<&'a str>,
    is_complete: bool,
}

impl Xferlog {
    fn push(&mut self, text: &mut String, now: SystemTime, line: &Line<'_>) {
        self.dates.push(text, now);
        text.push(' ');
        push_number(text, line.seconds.max(1), 1);
        text.push(' ');
        text.push_str(line.host);
        text.push(' ');
        push_number(text, line.bytes, 1);
        text.push_str(" /");
        let word = |character: char| match character {
            _ if character.is_whitespace() || is_unsafe_to_show(character) => '_',
            _ => character,
        };
        text.extend(cut(line.name, TEXT_BYTES).chars().map(word));
        if line.name.len() > TEXT_BYTES {
            text.push_str("...");
        }
        text.push_str(" b _ ");
        text.push(line.direction);
        text.push_str(if line.user.is_some() { " r " } else { " a " });
        text.push_str(line.user.unwrap_or("anonymous"));
        text.push_str(if line.is_complete { " ferry 0 * c" } else { " ferry 0 * i" });
    }
}

impl Form for Xferlog {
    fn entry(&mut self, line: &mut String, now: SystemTime, client: Client<'_>, entry: &TransferEntry) -> bool {
        let direction = match entry.verb {
            "GET" | "READ" => 'o',
            "PUT" | "RESUME" | "PART" | "PATCH" => 'i',
            "DELETE" => 'd',
            _ => return false,
        };
        let written = Line {
            seconds: entry.duration.as_secs() + u64::from(entry.duration.subsec_millis() >= 500),
            host: &client.peer.ip().to_canonical().to_string(),
            bytes: entry.bytes.unwrap_or(0),
            name: &entry.name,
            direction,
            user: client.user.map(|user| user.as_str()),
            is_complete: entry.failure.is_none(),
        };
        self.push(line, now, &written);
        true
    }

    fn sum(&mut self, line: &mut String, now: SystemTime, sum: &Sum) -> bool {
        let Sum { source, kind, left_out } = sum;
        let (what, direction) = match kind {
            Kind::Reads => ("downloads_and_sums", 'o'),
            Kind::Changes => ("uploads_and_changes", 'i'),
            Kind::Logins | Kind::Failures => return false,
        };
        let written = Line {
            seconds: 1,
            host: &source.to_string().replace(' ', "_"),
            bytes: left_out.bytes,
            name: &format!("({}_{what}_more,_{}_of_them_failed)", left_out.lines, left_out.failed),
            direction,
            user: None,
            is_complete: true,
        };
        self.push(line, now, &written);
        true
    }

    fn lost(&mut self, line: &mut String, now: SystemTime, lost: u64) {
        let name = format!("({lost}_lines_are_missing_here)");
        let (host, direction, is_complete) = ("localhost", 'o', false);
        self.push(line, now, &Line { seconds: 1, host, bytes: 0, name: &name, direction, user: None, is_complete });
    }
}

/// Returns the time as ctime(3) has it.
fn date(time: OffsetDateTime) -> String {
    let day = DAYS[usize::from(time.weekday().number_days_from_monday()) % DAYS.len()];
    let month = MONTHS[usize::from(u8::from(time.month()) - 1) % MONTHS.len()];
    let (hour, minute, second) = time.to_hms();
    format!("{day} {month} {:2} {hour:02}:{minute:02}:{second:02} {}", time.day(), time.year())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::observe::transfer_log::tests::{entry, failed, nobody, sum, user};

    fn line(client: Client<'_>, entry: &TransferEntry) -> Option<String> {
        let mut line = String::new();
        Xferlog::default().entry(&mut line, now(), client, entry).then_some(line)
    }

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_709_296_000)
    }

    #[test]
    fn each_field_stands_in_its_place() {
        let alice = user("alice");
        let by_alice = Client { user: Some(&alice), ..nobody() };
        let long = TransferEntry { duration: Duration::from_millis(61_500), ..entry("PUT", Some(9)) };
        for (client, entry, expected) in [
            (nobody(), entry("GET", Some(5)), "1 127.0.0.1 5 /a b _ o a anonymous ferry 0 * c"),
            (nobody(), entry("READ", Some(5)), "1 127.0.0.1 5 /a b _ o a anonymous ferry 0 * c"),
            (by_alice, long, "62 127.0.0.1 9 /a b _ i r alice ferry 0 * c"),
            (by_alice, failed(entry("RESUME", Some(0)), "x"), "1 127.0.0.1 0 /a b _ i r alice ferry 0 * i"),
            (by_alice, entry("DELETE", None), "1 127.0.0.1 0 /a b _ d r alice ferry 0 * c"),
        ] {
            assert_eq!(line(client, &entry).unwrap(), format!("Fri Mar  1 12:26:40 2024 {expected}"));
        }
        for verb in ["MKDIR", "RENAME", "LOGIN", "SUM"] {
            assert_eq!(line(nobody(), &entry(verb, None)), None, "{verb}");
        }
    }

    #[test]
    fn a_name_is_one_word_and_not_too_long() {
        for (name, word) in [
            ("a b/c", "/a_b/c"),
            ("ü\u{a0}x\u{2028}\u{202e}\n\u{1b}y", "/ü_x____y"),
            (&"x".repeat(300), &format!("/{}...", "x".repeat(TEXT_BYTES))),
        ] {
            let line = line(nobody(), &TransferEntry { name: name.into(), ..entry("GET", Some(5)) }).unwrap();
            assert_eq!(line.split(' ').filter(|word| !word.is_empty()).nth(8), Some(word), "{line}");
        }
    }

    #[test]
    fn what_was_left_out_keeps_the_totals_right() {
        let (mut form, mut line) = (Xferlog::default(), String::new());
        assert!(form.sum(&mut line, now(), &sum(Kind::Reads)));
        let name = "/(9_downloads_and_sums_more,_2_of_them_failed)";
        assert_eq!(line, format!("Fri Mar  1 12:26:40 2024 1 10.0.0.1 90 {name} b _ o a anonymous ferry 0 * c"));
        assert!(!form.sum(&mut line, now(), &sum(Kind::Logins)));
        line.clear();
        form.lost(&mut line, now(), 3);
        assert!(line.ends_with("1 localhost 0 /(3_lines_are_missing_here) b _ o a anonymous ferry 0 * i"), "{line}");
    }
}
