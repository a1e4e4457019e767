//! Lines for people: those of the server's own log, and those of a file of the transfer log.

use std::{fmt::Write as _, time::SystemTime};

use ferry_wire::Failure;

use super::{
    Client, Form, TEXT_BYTES, TransferEntry,
    budget::{Kind, Sum},
};
use crate::{
    observe::{
        logging::missing,
        text::{Rfc3339, push_cut, push_escaped, push_number},
    },
    units::counted,
};

/// Lines that begin with the time.
#[derive(Debug, Default)]
pub(super) struct Plain {
    times: Rfc3339,
    message: String,
}

impl Plain {
    fn line(&mut self, line: &mut String, now: SystemTime, write: impl FnOnce(&mut String)) {
        self.message.clear();
        write(&mut self.message);
        self.times.push(line, now);
        line.push(' ');
        push_escaped(line, &self.message);
    }
}

impl Form for Plain {
    fn entry(&mut self, line: &mut String, now: SystemTime, client: Client<'_>, entry: &TransferEntry) -> bool {
        self.line(line, now, |line| push_entry(line, client, entry));
        true
    }

    fn sum(&mut self, line: &mut String, now: SystemTime, sum: &Sum) -> bool {
        self.line(line, now, |line| push_sum(line, sum));
        true
    }

    fn lost(&mut self, line: &mut String, now: SystemTime, lost: u64) {
        self.line(line, now, |line| {
            line.push_str(&missing(lost));
        });
    }
}

/// Appends a line without format strings, which would take most of the time.
pub(super) fn push_entry(line: &mut String, client: Client<'_>, entry: &TransferEntry) {
    let TransferEntry { verb, name, bytes, resumed, duration, failure, status } = entry;
    line.push_str(&client.peer.to_string());
    if let Some(user) = client.user {
        line.push(' ');
        line.push_str(user.as_str());
    }
    line.push_str(": ");
    line.push_str(verb);
    line.push(' ');
    push_cut(line, name, TEXT_BYTES);
    line.push_str(": ");
    if let Some(bytes) = bytes {
        push_number(line, *bytes, 1);
        line.push_str(" bytes ");
        if *resumed > 0 {
            line.push_str("from offset ");
            push_number(line, *resumed, 1);
            line.push(' ');
        }
        line.push_str("in ");
    }
    push_number(line, duration.as_secs(), 1);
    line.push('.');
    push_number(line, duration.subsec_micros().into(), 6);
    line.push_str(" s, ");
    match failure {
        None => line.push_str("ok"),
        Some(failure) => {
            push_cut(line, words(name, failure), TEXT_BYTES);
            line.push_str(" (");
            line.push_str(failure.code.as_str());
            line.push(')');
        }
    }
    if let Some(status) = status {
        line.push_str(", HTTP ");
        push_number(line, (*status).into(), 3);
    }
}

/// Returns why a request failed, without the name, which stands in the line already.
pub(super) fn words<'a>(name: &str, failure: &'a Failure) -> &'a str {
    let rest = failure.message.strip_prefix(name).and_then(|rest| rest.strip_prefix(": "));
    rest.unwrap_or(&failure.message)
}

/// Appends the sum of the entries that were left out.
pub(super) fn push_sum(line: &mut String, sum: &Sum) {
    let Sum { source, kind, left_out } = sum;
    let (lines, failed, bytes) = (left_out.lines, left_out.failed, left_out.bytes);
    // Writing to a String can't fail.
    let what = match (kind, lines) {
        (Kind::Reads, 1) => "download or sum",
        (Kind::Reads, _) => "downloads and sums",
        (Kind::Changes, 1) => "upload or change",
        (Kind::Changes, _) => "uploads and changes",
        (Kind::Logins, 1) => "login",
        (Kind::Logins, _) => "logins",
        (Kind::Failures, 1) => "failed connection",
        (Kind::Failures, _) => "failed connections",
    };
    let _ = match kind {
        Kind::Reads | Kind::Changes => {
            let bytes = counted(bytes, "byte");
            write!(line, "{source}: {lines} {what} more, {failed} of them failed, {bytes} together")
        }
        Kind::Logins => write!(line, "{source}: {lines} {what} more, {failed} of them failed"),
        Kind::Failures => write!(line, "{source}: {lines} {what} more"),
    };
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ferry_wire::Code;

    use super::*;
    use crate::observe::transfer_log::tests::{entry, failed, nobody, sum, user};

    #[test]
    fn a_line_says_who_what_and_how_it_ended() {
        for (entry, expected) in [
            (entry("GET", Some(5)), "127.0.0.1:7: GET a: 5 bytes in 0.001250 s, ok"),
            (
                TransferEntry { resumed: 9, ..entry("RESUME", Some(5)) },
                "127.0.0.1:7: RESUME a: 5 bytes from offset 9 in 0.001250 s, ok",
            ),
            (entry("MKDIR", None), "127.0.0.1:7: MKDIR a: 0.001250 s, ok"),
            (
                TransferEntry { status: Some(206), ..entry("GET", Some(5)) },
                "127.0.0.1:7: GET a: 5 bytes in 0.001250 s, ok, HTTP 206",
            ),
            (
                failed(entry("PUT", Some(0)), "a: is there"),
                "127.0.0.1:7: PUT a: 0 bytes in 0.001250 s, is there (exists)",
            ),
            (failed(entry("DELETE", None), "ab: c"), "127.0.0.1:7: DELETE a: 0.001250 s, ab: c (exists)"),
        ] {
            let mut line = String::new();
            push_entry(&mut line, nobody(), &entry);
            assert_eq!(line, expected);
        }
        let (mut line, alice) = (String::new(), user("alice"));
        push_entry(&mut line, Client { user: Some(&alice), ..nobody() }, &entry("GET", Some(5)));
        assert!(line.starts_with("127.0.0.1:7 alice: GET a"), "{line}");
    }

    #[test]
    fn no_line_is_longer_than_somebody_could_read() {
        let long = "ü".repeat(2_000);
        let failure = Failure::new(Code::NotFound, long.clone());
        let entry = TransferEntry { name: long.into(), failure: Some(failure), ..entry("GET", Some(u64::MAX)) };
        let mut line = String::new();
        push_entry(&mut line, nobody(), &entry);
        assert!(line.len() <= 700 && line.contains("... (4000 bytes)"), "{} bytes", line.len());
        assert!(line.ends_with(" (not-found)"), "{line}");
    }

    #[test]
    fn what_was_left_out_is_summed_up() {
        for (kind, expected) in [
            (Kind::Reads, "10.0.0.1: 9 downloads and sums more, 2 of them failed, 90 bytes together"),
            (Kind::Changes, "10.0.0.1: 9 uploads and changes more, 2 of them failed, 90 bytes together"),
            (Kind::Logins, "10.0.0.1: 9 logins more, 2 of them failed"),
            (Kind::Failures, "10.0.0.1: 9 failed connections more"),
        ] {
            let mut line = String::new();
            push_sum(&mut line, &sum(kind));
            assert_eq!(line, expected);
        }
    }

    #[test]
    fn a_line_of_a_file_begins_with_the_time_and_drives_no_terminal() {
        let (mut plain, now) = (Plain::default(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        let mut line = String::new();
        let hostile = TransferEntry { name: "a\u{202e}b".into(), ..entry("GET", Some(5)) };
        assert!(plain.entry(&mut line, now, nobody(), &hostile));
        assert_eq!(line, "2023-11-14T22:13:20.000000000Z 127.0.0.1:7: GET a\\u{202e}b: 5 bytes in 0.001250 s, ok");
        line.clear();
        plain.lost(&mut line, now, 3);
        assert!(line.starts_with("2023-11-14T22:13:20.000000000Z 3 lines are missing here: "), "{line}");
    }
}
