//! Standard input and output as files, and as events for programs.

use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
};

use ferry_e2e::{Signal, eventually, ferry, random_bytes, seed};
use rustix::process::{Pid, kill_process};

use crate::place::Place;

#[test]
fn standard_input_is_sent_and_standard_output_gets_what_is_there() {
    let place = Place::new();
    let bytes = random_bytes(seed(), 3 << 20);
    let said = place.run_with(&[], "PUT - -> 'from input'; LS", &bytes).fine();
    assert!(said.starts_with("put from input: 3.0 MiB in "), "{said}");
    assert!(place.server.read("from input") == bytes);
    place.run_with(&[], "PUT - -> empty", b"").fine();
    assert_eq!(place.server.read("empty"), b"");
    place.run("PUT -").failed(2, "PUT - -> name");
    place.run("PUT - -> no/way").failed(8, "PUT no/way: the server has no directory no; MKDIR -p no makes it");

    // A file itself stands on standard output and nothing else; what is said of it goes to standard error.
    let mut command = Command::new(ferry());
    command.args(["-c", &format!("OPEN {}; GET 'from input' -> -", place.server.address().port())]);
    let output = command.current_dir(place.local("..")).stdin(Stdio::null()).output().unwrap();
    let first = output.stdout.iter().position(|byte| *byte == b'\n').unwrap();
    assert!(output.stdout[first + 1..] == bytes);
    assert!(String::from_utf8(output.stderr).unwrap().starts_with("got from input: 3.0 MiB in "));
    place.run("GET nothing -> -").failed(8, "GET nothing: the server has no such file or directory");
}

#[test]
fn commands_from_a_pipe_are_not_taken_for_a_file() {
    let place = Place::new();
    let mut child = Command::new(ferry())
        .current_dir(place.local(".."))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let input = format!("OPEN {}\n!cat\nPUT - -> a\n!echo no\n", place.server.address().port());
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("PUT -: the commands come from standard input"));
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 1);
}

#[test]
fn a_reader_that_has_had_enough_ends_it() {
    let place = Place::new();
    place.server.write("large", &random_bytes(seed(), 8 << 20));
    let port = place.server.address().port().to_string();
    let script = "(\"$0\" \"$@\" 2>stderr; echo $? >status) | head -c 1000 | wc -c";
    for arguments in [
        &["-c", &format!("OPEN {port}; GET large -> -; PWD")][..],
        &["get", &port, "large", "missing", "-o", "-", "-k"],
        &["--json", "get", &port, "large", "-o", "-"],
    ] {
        let mut command = Command::new("sh");
        let output = command.args(["-c", script]).arg(ferry()).args(arguments).current_dir(place.local("..")).output();
        assert_eq!(String::from_utf8_lossy(&output.unwrap().stdout).trim(), "1000");
        let left = |name: &str| fs::read_to_string(place.local("..").join(name)).unwrap();
        // As cat, which the signal ends without a word.
        assert_eq!((left("stderr").as_str(), left("status").as_str()), ("", "141\n"), "{arguments:?}");
    }
}

#[test]
fn results_that_reach_nobody_are_a_failure_of_the_disk() {
    let place = Place::new();
    place.server.write("a", b"hello");
    let status = |script: &str, arguments: &[&str]| {
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(ferry()).args(arguments).stdin(Stdio::null());
        let output = command.current_dir(place.local("..")).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let port = place.server.address().port().to_string();
    for arguments in [
        &["ls", &port][..],
        &["--json", "ls", &port],
        &["get", &port, "a", "-o", "-"],
        &["man"],
        &["--help"],
        &["ls", "--help"],
        &["--version"],
        &["--json", "--help"],
    ] {
        let (code, complaints) = status("\"$0\" \"$@\" > /dev/full", arguments);
        assert_eq!(code, Some(5), "{arguments:?}: {complaints}");
        let told = complaints.contains("cannot write to standard output: No space left on device");
        assert!(told && !complaints.contains("os error"), "{arguments:?}: {complaints}");
    }
    // A closed stream takes everything, and nothing else is opened in its place.
    let code = |arguments: &[&str]| status("\"$0\" \"$@\" <&- >&- 2>&-", arguments).0;
    assert_eq!((code(&["get", &port, "a", "-o", "saved"]), code(&["get", &port, "none"])), (Some(0), Some(8)));
    assert_eq!(fs::read(place.local("../saved")).unwrap(), b"hello");
    // A reader that has had enough is none.
    assert_eq!(status("(\"$0\" \"$@\"; echo $? >&2) | true", &["ls", &port]), (Some(0), "0\n".to_owned()));
}

#[test]
fn every_command_speaks_json() {
    let place = Place::new();
    for name in ["a \"quoted\"\u{202e} one", "b", "d/c"] {
        place.server.write(name, name.as_bytes());
        place.write(name, name.as_bytes());
    }
    let commands = "GET b; GET -r d; GET *; PUT b; PUT -r d; LS; LS -l d; STAT b d; SUM b; CD d; PWD; CD; LPWD; LLS; \
                    MKDIR m; MV b m; SYNC -u -n d -> e; SYNC -u d -> e; SYNC -d --delete e -> d; RM -r e m; STATUS; HISTORY 2; HELP; HELP GET; \
                    GET nothing";
    let ran = place.run_with(&["--json"], commands, b"");
    assert_eq!((ran.status, ran.complaints.as_str()), (8, ""), "{}", ran.said);
    let mut kinds = Vec::new();
    for line in ran.said.lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        kinds.push(event["event"].as_str().unwrap_or_else(|| panic!("{line}")).to_owned());
    }
    for kind in [
        "got",
        "put",
        "total",
        "skipped",
        "entry",
        "stat",
        "sum",
        "place",
        "local-place",
        "made",
        "renamed",
        "plan",
        "planned",
        "synced",
        "deleted",
        "removed",
        "status",
        "line",
        "command",
        "help",
        "error",
    ] {
        assert!(kinds.iter().any(|there| there == kind), "{kind}: {}", ran.said);
    }
    assert!(ran.said.contains("\"name\":\"a \\\"quoted\\\"\u{202e} one\""), "names are as they are: {}", ran.said);
}

/// Only the server knows whether it brings to its disk what it says is saved.
#[test]
fn what_a_server_keeps_in_memory_is_not_said_to_be_on_disk() {
    let place = Place::with(ferry_e2e::Options::new().arg("--durability").arg("none"));
    place.write("a", b"hello");
    place.write("d/b", b"hello");
    for command in ["PUT a", "PUT -r d", "SYNC -u d -> e", "PUT - -> c"] {
        let said = place.run_with(&[], command, b"hello").fine();
        assert!(said.contains(", verified\n") && !said.contains("on disk"), "{command}: {said}");
    }
    let said = place.run_with(&["--json"], "PUT a", b"").fine();
    assert!(said.contains("\"durable\":false"), "{said}");
}

/// Ctrl-C ends all of a pipeline: the pipe then ends as if its writer were done.
#[test]
fn a_pipe_that_is_cut_by_a_signal_is_not_published() {
    let place = Place::new();
    place.server.write("backup", b"the good one");
    for (signal, closes) in [(Signal::INT, true), (Signal::TERM, true), (Signal::TERM, false), (Signal::HUP, false)] {
        let mut child = Command::new(ferry())
            .args(["put", &place.server.address().port().to_string(), "-", "-o", "backup"])
            .current_dir(place.local(".."))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // When all is taken out of the pipe, the program reads on, and its handlers are there.
        let mut input = child.stdin.take().unwrap();
        input.write_all(&vec![b'x'; 256 << 10]).unwrap();
        eventually("the pipe is read", || (rustix::io::ioctl_fionread(&input).unwrap() == 0).then_some(()));
        kill_process(Pid::from_child(&child), signal).unwrap();
        let silent = if closes { None } else { Some(input) };
        let output = child.wait_with_output().unwrap();
        drop(silent);
        let complaints = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(128 + signal.as_raw()), "{signal:?}: {complaints}");
        assert_eq!(place.server.read("backup"), b"the good one", "{signal:?}");
    }
}
