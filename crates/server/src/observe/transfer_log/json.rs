//! JSON Lines: one object a line, whose keys are stable.
//!
//! docs/server.md has the keys. Strings hold no control characters, and nothing else that could
//! drive a terminal: those are `\u` escapes, as JSON has them, so that a reader gets back what was
//! there. Numbers are written without the machinery of format strings.

use std::{sync::Arc, time::SystemTime};

use ferry_wire::is_unsafe_to_show;

use super::{
    Client, Form, TEXT_BYTES, TransferEntry,
    budget::{Kind, Sum},
    plain::words,
};
use crate::observe::text::{Rfc3339, cut, is_plain, push_number};

/// See the [module documentation](self).
#[derive(Debug, Default)]
pub(super) struct Json {
    times: Rfc3339,
    /// The name of this server among several.
    node: Option<Arc<str>>,
}

impl Json {
    pub(super) fn new(node: Option<Arc<str>>) -> Json {
        Json { times: Rfc3339::default(), node }
    }

    fn begin(&mut self, line: &mut String, now: SystemTime, event: &str) {
        line.push_str("{\"time\":\"");
        self.times.push(line, now);
        line.push_str("\",\"event\":\"");
        line.push_str(event);
        line.push('"');
        if let Some(node) = &self.node {
            push_text(line, "node", Some(node));
        }
    }
}

impl Form for Json {
    fn entry(&mut self, line: &mut String, now: SystemTime, client: Client<'_>, entry: &TransferEntry) -> bool {
        let TransferEntry { verb, name, bytes, resumed, duration, failure, status } = entry;
        self.begin(line, now, verb);
        push_text(line, "address", Some(&client.peer.ip().to_canonical().to_string()));
        push_count(line, "port", Some(client.peer.port().into()));
        push_text(line, "user", client.user.map(|user| user.as_str()));
        match name.split_once("//") {
            None => push_name(line, "name", name),
            Some((from, to)) => {
                push_name(line, "name", from);
                push_name(line, "to", to);
            }
        }
        push_count(line, "bytes", *bytes);
        push_count(line, "resumed", bytes.map(|_| *resumed));
        push_key(line, "seconds");
        push_number(line, duration.as_secs(), 1);
        line.push('.');
        push_number(line, duration.subsec_micros().into(), 6);
        push_text(line, "outcome", Some(failure.as_ref().map_or("ok", |failure| failure.code.as_str())));
        if let Some(failure) = failure {
            push_text(line, "message", Some(cut(words(name, failure), TEXT_BYTES)));
        }
        if let Some(status) = status {
            push_count(line, "status", Some((*status).into()));
        }
        line.push('}');
        true
    }

    fn sum(&mut self, line: &mut String, now: SystemTime, sum: &Sum) -> bool {
        let Sum { source, kind, left_out } = sum;
        let kind = match kind {
            Kind::Reads => "reads",
            Kind::Changes => "changes",
            Kind::Logins => "logins",
            // Lines of the server's own log.
            Kind::Failures => return false,
        };
        self.begin(line, now, "SUMMED");
        push_text(line, "address", Some(&source.to_string()));
        push_text(line, "kind", Some(kind));
        push_count(line, "count", Some(left_out.lines));
        push_count(line, "failed", Some(left_out.failed));
        push_count(line, "bytes", Some(left_out.bytes));
        line.push('}');
        true
    }

    fn lost(&mut self, line: &mut String, now: SystemTime, lost: u64) {
        self.begin(line, now, "LOST");
        push_count(line, "count", Some(lost));
        line.push('}');
    }
}

fn push_key(line: &mut String, key: &str) {
    line.push_str(",\"");
    line.push_str(key);
    line.push_str("\":");
}

fn push_count(line: &mut String, key: &str, count: Option<u64>) {
    push_key(line, key);
    match count {
        Some(count) => push_number(line, count, 1),
        None => line.push_str("null"),
    }
}

/// Appends a name, cut where it is long. Its whole length then stands behind it, under a key of its own.
fn push_name(line: &mut String, key: &str, name: &str) {
    let shown = cut(name, TEXT_BYTES);
    push_text(line, key, Some(shown));
    if shown.len() < name.len() {
        push_key(line, &format!("{key}_bytes"));
        push_number(line, name.len() as u64, 1);
    }
}

fn push_text(line: &mut String, key: &str, text: Option<&str>) {
    push_key(line, key);
    let Some(text) = text else { return line.push_str("null") };
    line.push('"');
    if is_plain(text) && !text.contains(['"', '\\']) {
        line.push_str(text);
    } else {
        text.chars().for_each(|character| push_character(line, character));
    }
    line.push('"');
}

fn push_character(line: &mut String, character: char) {
    match character {
        '"' | '\\' => line.extend(['\\', character]),
        _ if is_unsafe_to_show(character) => {
            for unit in character.encode_utf16(&mut [0; 2]) {
                line.push_str(&format!("\\u{unit:04x}"));
            }
        }
        _ => line.push(character),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ferry_wire::Code;

    use super::*;
    use crate::observe::transfer_log::tests::{entry, failed, nobody, sum, user};

    const START: &str = "{\"time\":\"2023-11-14T22:13:20.250000000Z\",\"event\":";

    fn line(client: Client<'_>, entry: &TransferEntry) -> String {
        let (mut json, mut line) = (Json::default(), String::new());
        assert!(json.entry(&mut line, now(), client, entry));
        line.strip_prefix(START).expect(&line).to_owned()
    }

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_250)
    }

    #[test]
    fn all_keys_stand_in_each_line() {
        let start = "\"address\":\"127.0.0.1\",\"port\":7,\"user\":null,";
        for (entry, expected) in [
            (
                entry("GET", Some(5)),
                "\"name\":\"a\",\"bytes\":5,\"resumed\":0,\"seconds\":0.001250,\"outcome\":\"ok\"}",
            ),
            (
                TransferEntry { resumed: 9, ..failed(entry("RESUME", Some(5)), "a: taken") },
                "\"name\":\"a\",\"bytes\":5,\"resumed\":9,\"seconds\":0.001250,\"outcome\":\"exists\",\
                 \"message\":\"taken\"}",
            ),
            (
                TransferEntry { name: "a//b/c".into(), ..entry("RENAME", None) },
                "\"name\":\"a\",\"to\":\"b/c\",\"bytes\":null,\"resumed\":null,\"seconds\":0.001250,\"outcome\":\"ok\"}",
            ),
        ] {
            assert_eq!(line(nobody(), &entry), format!("\"{}\",{start}{expected}", entry.verb));
        }
        let (alice, peer) = (user("alice"), "[::ffff:192.0.2.1]:80".parse().unwrap());
        let line = line(Client { peer, user: Some(&alice) }, &entry("LOGIN", None));
        assert!(line.contains("\"address\":\"192.0.2.1\",\"port\":80,\"user\":\"alice\",\"name\":\"a\""), "{line}");
    }

    #[test]
    fn a_string_holds_nothing_that_drives_a_terminal_and_is_cut() {
        let hostile = "q\"\\ ü\u{202e}\u{85}\n\u{1b}\u{e0fff}";
        let shown = line(nobody(), &TransferEntry { name: hostile.into(), ..entry("GET", Some(5)) });
        let name = "\"name\":\"q\\\"\\\\ ü\\u202e\\u0085\\u000a\\u001b\\udb43\\udfff\",";
        assert!(shown.contains(name), "{shown}");
        let long = TransferEntry { name: "ü".repeat(2_000).into(), ..entry("GET", Some(5)) };
        let cut = format!("\"name\":\"{}\",\"name_bytes\":4000,\"bytes\":5", "ü".repeat(TEXT_BYTES / 2));
        assert!(line(nobody(), &long).contains(&cut));
        let failure = Some(ferry_wire::Failure::new(Code::Io, "x".repeat(2_000)));
        let message = format!("\"outcome\":\"io\",\"message\":\"{}\"}}", "x".repeat(TEXT_BYTES));
        assert!(line(nobody(), &TransferEntry { failure, ..entry("GET", Some(5)) }).ends_with(&message));
    }

    #[test]
    fn a_server_that_has_a_name_says_so_in_each_line() {
        let (mut json, mut line) = (Json::new(Some("a.1".into())), String::new());
        assert!(json.entry(&mut line, now(), nobody(), &entry("GET", Some(5))));
        assert!(line.starts_with(&format!("{START}\"GET\",\"node\":\"a.1\",\"address\":")), "{line}");
        line.clear();
        json.lost(&mut line, now(), 3);
        assert_eq!(line, format!("{START}\"LOST\",\"node\":\"a.1\",\"count\":3}}"));
    }

    #[test]
    fn sums_and_gaps_are_objects_too() {
        let (mut json, mut line) = (Json::default(), String::new());
        assert!(json.sum(&mut line, now(), &sum(Kind::Reads)));
        let expected = "\"SUMMED\",\"address\":\"10.0.0.1\",\"kind\":\"reads\",\"count\":9,\"failed\":2,\"bytes\":90}";
        assert_eq!(line, format!("{START}{expected}"));
        line.clear();
        json.lost(&mut line, now(), 3);
        assert_eq!(line, format!("{START}\"LOST\",\"count\":3}}"));
    }
}
