//! One conversation in each form; files that can't be logged to.

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use ferry_e2e::{Raw, Server, ferryd, workspace_root};
use regex::Regex;
use serde_json::Value;

use super::{Place, read};

/// Does one of everything: who logs in late is denied first.
fn converse(server: &Server) {
    let mut raw = Raw::greeted(server.address());
    raw.ask("MKDIR early").expect_failure("denied");
    raw.ask("LOGIN alice wrong").expect_failure("denied");
    assert_eq!(raw.ask("LOGIN alice password").line, "DONE");
    assert_eq!(raw.put("a b", b"hello").word(0), "SAVED");
    let _ = raw.ask("GET a b").verified();
    let _ = raw.ask("READ 2 * * a b").verified();
    assert_eq!(raw.ask("SUM a b").word(0), "SUM");
    raw.send("RESUME id 5 - r\nDATA 2\nheSTOP\nRESUME id 5 - r\nDATA 3\nllo");
    raw.send(format!("END {}\n", ferry_e2e::crc(b"hello")));
    assert_eq!(raw.line(), "GO 0");
    raw.answer("PUT").expect_failure("stopped");
    assert_eq!(raw.line(), "GO 2");
    assert_eq!(raw.answer("PUT").word(0), "SAVED");
    for request in ["MKDIR d", "RENAME a b//d/a", "DELETE d/a"] {
        assert_eq!(raw.ask(request).line, "DONE");
    }
    raw.ask("GET evil\u{202e}\"name").expect_failure("not-found");
    assert_eq!(raw.ask("CLOSE").line, "BYE");
}

/// Returns the lines of the transfer log and of the server's own log after that conversation.
fn logged(form: &str) -> [Vec<String>; 2] {
    let place = Place::new();
    let server = place.options(form).start();
    converse(&server);
    assert_eq!(server.terminate().code(), Some(0));
    ["transfers", "log"].map(|name| read(&place.path(name)).lines().map(str::to_owned).collect())
}

/// How often `pattern` is found in the lines, each as a whole.
fn count(lines: &[String], pattern: &str) -> usize {
    let pattern = Regex::new(pattern).unwrap();
    lines.iter().filter(|line| pattern.is_match(line)).count()
}

const EVENTS: [&str; 13] =
    ["MKDIR", "LOGIN", "LOGIN", "PUT", "GET", "READ", "SUM", "RESUME", "RESUME", "MKDIR", "RENAME", "DELETE", "GET"];

#[test]
fn plain_lines_are_those_of_the_log() {
    let [lines, own] = logged("plain");
    let expected = [
        r"127\.0\.0\.1:\d+: MKDIR early: .* \(denied\)",
        r"127\.0\.0\.1:\d+: LOGIN alice: [0-9.]+ s, no such user, or another secret \(denied\)",
        r"127\.0\.0\.1:\d+ alice: LOGIN alice: [0-9.]+ s, ok",
        r"127\.0\.0\.1:\d+ alice: PUT a b: 5 bytes in [0-9.]+ s, ok",
        r"127\.0\.0\.1:\d+ alice: GET a b: 5 bytes in [0-9.]+ s, ok",
        r"127\.0\.0\.1:\d+ alice: READ a b: 3 bytes from offset 2 in [0-9.]+ s, ok",
        r"127\.0\.0\.1:\d+ alice: SUM a b: 5 bytes in [0-9.]+ s, ok",
        r"127\.0\.0\.1:\d+ alice: RESUME r: 2 bytes in [0-9.]+ s, .* \(stopped\)",
        r"127\.0\.0\.1:\d+ alice: RESUME r: 3 bytes from offset 2 in [0-9.]+ s, ok",
        r"127\.0\.0\.1:\d+ alice: MKDIR d: [0-9.]+ s, ok",
        r"127\.0\.0\.1:\d+ alice: RENAME a b//d/a: [0-9.]+ s, ok",
        r"127\.0\.0\.1:\d+ alice: DELETE d/a: [0-9.]+ s, ok",
        r#"127\.0\.0\.1:\d+ alice: GET evil\\u\{202e\}"name: .* \(not-found\)"#,
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, expected) in lines.iter().zip(expected) {
        let pattern = Regex::new(&format!(r"^\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{9}}Z {expected}$")).unwrap();
        assert!(pattern.is_match(line), "{line:?} is not {expected}");
    }
    assert_eq!(count(&own, " (PUT|GET|READ|SUM|RESUME|MKDIR|RENAME|DELETE|LOGIN) "), 0, "{own:#?}");
}

#[test]
fn json_lines_are_objects_with_stable_keys() {
    let [lines, own] = logged("json");
    let objects: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).expect(line)).collect();
    let events: Vec<_> = objects.iter().map(|object| object["event"].as_str().unwrap()).collect();
    assert_eq!(events, EVENTS);
    let always = ["time", "event", "address", "port", "user", "name", "bytes", "resumed", "seconds", "outcome"];
    for object in &objects {
        let object = object.as_object().unwrap();
        let keys: Vec<_> = object.keys().filter(|key| !["to", "message"].contains(&key.as_str())).collect();
        assert_eq!(keys, always, "{object:?}");
        assert_eq!(object.contains_key("message"), object["outcome"] != "ok", "{object:?}");
        assert_eq!(object["address"], "127.0.0.1");
        assert!(object["port"].as_u64().is_some_and(|port| port > 0) && object["seconds"].is_f64(), "{object:?}");
    }
    let of = |number: usize, keys: &[&str]| keys.iter().map(|key| objects[number][*key].clone()).collect::<Vec<_>>();
    assert_eq!(
        of(0, &["user", "name", "bytes", "outcome"]),
        [Value::Null, "early".into(), Value::Null, "denied".into()]
    );
    assert_eq!(of(1, &["user", "name", "outcome"]), [Value::Null, "alice".into(), "denied".into()]);
    assert_eq!(of(2, &["user", "name", "outcome"]), ["alice", "alice", "ok"]);
    assert_eq!(of(3, &["name", "bytes", "resumed"]), ["a b".into(), Value::from(5), Value::from(0)]);
    assert_eq!(of(5, &["bytes", "resumed"]), [3, 2]);
    assert_eq!(of(7, &["bytes", "resumed", "outcome"]), [Value::from(2), Value::from(0), "stopped".into()]);
    assert_eq!(of(8, &["bytes", "resumed", "outcome"]), [Value::from(3), Value::from(2), "ok".into()]);
    assert_eq!(of(10, &["name", "to", "bytes"]), ["a b".into(), "d/a".into(), Value::Null]);
    assert_eq!(of(12, &["name", "outcome"]), ["evil\u{202e}\"name", "not-found"]);
    assert!(!lines.concat().contains('\u{202e}'));
    assert_eq!(count(&own, " (PUT|GET|READ|SUM|RESUME|MKDIR|RENAME|DELETE|LOGIN) "), 0, "{own:#?}");
}

#[test]
fn xferlog_lines_have_fourteen_fields_and_all_else_stays_in_the_log() {
    let [lines, own] = logged("xferlog");
    let expected = [
        "5 /a_b b _ i r alice ferry 0 * c",
        "5 /a_b b _ o r alice ferry 0 * c",
        "3 /a_b b _ o r alice ferry 0 * c",
        "2 /r b _ i r alice ferry 0 * i",
        "3 /r b _ i r alice ferry 0 * c",
        "0 /d/a b _ d r alice ferry 0 * c",
        "0 /evil_\"name b _ o r alice ferry 0 * i",
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    let start = r"^(Mon|Tue|Wed|Thu|Fri|Sat|Sun) [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4} [1-9]\d* 127\.0\.0\.1 ";
    for (line, expected) in lines.iter().zip(expected) {
        let pattern = Regex::new(&format!("{start}{}$", regex::escape(expected))).unwrap();
        assert!(pattern.is_match(line), "{line:?} is not {expected}");
    }
    for other in
        ["MKDIR early: ", "LOGIN alice: .* (denied)", "LOGIN alice: .* ok", "SUM a b: ", "MKDIR d: ", "RENAME "]
    {
        let pattern = other.replace('(', r"\(").replace(')', r"\)");
        assert_eq!(count(&own, &pattern), 1, "{other}: {own:#?}");
    }
    assert_eq!(count(&own, " (PUT|GET|READ|RESUME|DELETE) "), 0, "{own:#?}");
}

#[test]
fn the_filter_of_fail2ban_finds_the_lines_of_failed_logins_and_no_others() {
    let filter = fs::read_to_string(workspace_root().join("packaging/fail2ban/filter.d/ferryd.conf")).unwrap();
    let pattern = filter.lines().find_map(|line| line.strip_prefix("failregex = ")).unwrap();
    let pattern = Regex::new(&pattern.replace("<ADDR>", r"(?P<host>\S+)")).unwrap();
    // What is behind the date, which fail2ban takes off.
    for form in ["plain", "xferlog"] {
        let [transfers, own] = logged(form);
        let found = |lines: &[String]| -> Vec<String> {
            let behind = lines.iter().map(|line| line.split_once('Z').map_or(line.as_str(), |(_, rest)| rest));
            behind.filter_map(|line| Some(pattern.captures(line)?["host"].to_owned())).collect()
        };
        assert_eq!(found(&own), ["127.0.0.1"], "{own:#?}");
        assert!(found(&transfers).is_empty());
    }
}

fn ferryd_with(arguments: &[&OsStr], place: &Place) -> Command {
    let mut command = Command::new(ferryd());
    command.args(arguments).arg("0").current_dir(place.0.path()).stdin(Stdio::null());
    command
}

#[test]
fn what_can_not_be_logged_to_is_one_clear_line_at_the_start() {
    let place = Place::new();
    fs::create_dir(place.path("directory")).unwrap();
    assert!(Command::new("mkfifo").arg(place.path("fifo")).status().unwrap().success());
    for (arguments, why) in [
        (&["--transfer-log", "absent/log"][..], "absent/log: its directory, absent, is missing"),
        (&["--transfer-log", "directory"], "directory: it is a directory"),
        (&["--log-file", "fifo"], "fifo: it is a FIFO that nobody reads"),
        (&["--log-file", "log", "--transfer-log", "./log"], "./log: it is the file of --log-file"),
        (&["--transfer-log", "users.toml/log"], "users.toml/log: Not a directory"),
    ] {
        let arguments: Vec<_> = arguments.iter().map(OsStr::new).collect();
        let output = ferryd_with(&arguments, &place).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && output.stdout.is_empty(), "{arguments:?}");
        assert!(said.starts_with("ferryd: ") && said.contains("can't log to ") && said.contains(why), "{said:?}");
        assert_eq!(said.lines().count(), 1, "{said:?}");
    }
}

#[test]
fn the_transfer_log_may_be_standard_output() {
    let place = Place::new();
    let arguments = ["--transfer-log", "/dev/stdout", "--transfer-log-format", "json"].map(OsStr::new);
    let mut child = ferryd_with(&arguments, &place).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    let address = first.strip_prefix("listening on ").unwrap().split(',').next().unwrap();
    let mut raw = Raw::connect_plain(address.parse().unwrap());
    assert!(raw.line().starts_with("FERRY 1 "));
    raw.ask("GET a").expect_failure("not-found");
    let line = lines.next().unwrap().unwrap();
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["event"], "GET", "{line}");
    child.kill().unwrap();
    child.wait().unwrap();
}
