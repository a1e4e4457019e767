//! The server as a process: its options, its signals, its log.

use std::{
    net::{SocketAddr, TcpListener},
    os::unix::fs::symlink,
    process::{Command, Stdio},
};

use ferry_e2e::{Options, Raw, Server, eventually, ferryd};

use super::{dialogue, gist};

#[test]
fn the_first_line_names_the_address_and_the_root() {
    if ferry_e2e::secure::skips("it says itself what is spoken") {
        return;
    }
    let server = Server::start();
    let expected = format!("listening on {}, serving {}", server.address(), server.root().display());
    assert_eq!(server.first_line(), expected);
    assert!(server.address().ip().is_loopback() && server.address().port() != 0);
}

#[test]
fn the_ways_to_say_an_address() {
    for (argument, expected) in [("0", "127.0.0.1"), ("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1")] {
        let server = Options::new().address(argument).start();
        assert_eq!(server.address().ip().to_string(), expected);
        let _ = Raw::greeted(server.address());
    }
}

#[test]
fn a_root_that_is_missing_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("not yet");
    let server = Options::new().root(&root).start();
    assert_eq!(Raw::greeted(server.address()).put("a", b"hello").word(0), "SAVED");
    assert_eq!(std::fs::read(root.join("a")).unwrap(), b"hello");
}

#[test]
fn a_node_has_its_name_wherever_somebody_looks() {
    let place = tempfile::tempdir().unwrap();
    let log = place.path().join("transfers");
    let options = Options::new().arg("--node").arg("rack-2.a").arg("--transfer-log").arg(&log);
    let server = options.arg("--transfer-log-format").arg("json").start();
    let mut raw = Raw::connect(server.address());
    let greeting = raw.line();
    assert!(greeting.split(' ').skip(3).any(|feature| feature == "node=rack-2.a"), "{greeting:?}");
    assert_eq!(raw.put("a", b"hello").word(0), "SAVED");
    let status = |arguments: &[&str]| String::from_utf8(server.command(arguments).stdout).unwrap();
    assert!(status(&["status"]).contains(", node rack-2.a, serving"));
    assert!(status(&["status", "--json"]).contains("\"node\":\"rack-2.a\""));
    eventually("the log names it", || server.log().contains("this is node rack-2.a").then_some(()));
    assert_eq!(raw.ask("CLOSE").line, "BYE");
    assert_eq!(server.terminate().code(), Some(0));
    let line = std::fs::read_to_string(&log).unwrap();
    assert!(line.contains("\"event\":\"PUT\",\"node\":\"rack-2.a\",\"address\":"), "{line}");

    for name in ["", "a b", "a/b", &"n".repeat(65)] {
        let refused = std::process::Command::new(ferry_e2e::ferryd()).args(["--node", name, "0"]).output().unwrap();
        assert_eq!(refused.status.code(), Some(2), "{name:?}");
    }
}

#[test]
fn a_read_only_server_changes_nothing() {
    if ferry_e2e::secure::skips("it says itself what is spoken") {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("a"), b"hello").unwrap();
    let read_only = [
        Options::new().arg("--read-only").root(root.path()).start(),
        Options::new().address("0.0.0.0:0").arg("--plain").root(root.path()).start(),
        Options::new().address("0.0.0.0:0").arg("--plain").arg("--read-only").root(root.path()).start(),
    ];
    for server in &read_only {
        let mut raw = Raw::connect(server.address());
        let greeting = raw.line();
        assert!(greeting.split(' ').skip(3).any(|feature| feature == "read-only"), "{greeting:?}");
        for request in ["RESUME id 5 - x", "MKDIR d", "DELETE a", "RENAME a//b"] {
            raw.ask(request).expect_failure("read-only");
        }
        raw.put("x", b"hello").expect_failure("read-only");
        raw.put("a", b"HELLO").expect_failure("read-only");
        assert_eq!(raw.ask("HEALTH").line, "DONE");
        assert_eq!(raw.ask("GET a").verified(), b"hello");
        assert_eq!(server.visible(), ["a"]);
    }
    for server in [
        Options::new().address("0.0.0.0:0").arg("--plain").arg("--writable").start(),
        Options::new().address("127.0.0.1:0").start(),
    ] {
        let mut raw = Raw::connect(server.address());
        let greeting = raw.line();
        assert!(!greeting.contains("read-only"), "{greeting:?}");
        assert_eq!(raw.put("x", b"hello").word(0), "SAVED");
    }
}

/// Runs `ferryd` with arguments that it can't go on from; gives its exit status and all that it said.
fn refused(arguments: &[&str]) -> (i32, String) {
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new(ferryd())
        .args(arguments)
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .output()
        .expect("ferryd runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().expect("an exit status"), said)
}

#[test]
fn a_port_that_is_taken_is_said_so() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (status, said) = refused(&[&port]);
    assert_eq!(status, 5);
    assert!(said.contains(&port) && said.contains("in use"), "{said:?}");
    assert!(!said.contains("panicked") && !said.contains("listening on"), "{said:?}");
}

#[test]
fn what_is_no_address_or_no_option_is_said_so() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let file = file.to_str().unwrap();
    for (arguments, word) in [
        (&["99999"][..], "99999"),
        (&["somewhere"], "somewhere"),
        (&["127.0.0.1:"], "127.0.0.1:"),
        (&["--no-such-option"], "--no-such-option"),
        (&["--root", file, "0"], file),
        (&["--durability", "some", "0"], "some"),
        (&["--max-clients", "many", "0"], "many"),
        (&["--writable", "--read-only", "0"], "--read-only"),
        (&["--max-clients", "0", "0"], "'0' for '--max-clients <N>': give a whole number from 1 to 4294967295"),
        (&["--max-clients", "-3", "0"], "'-3' for '--max-clients <N>': give a whole number from 1"),
        (&["--max-clients", "5s", "0"], "'5s' for '--max-clients <N>': give a whole number from 1"),
        (&["--max-kept", "x", "0"], "'x' for '--max-kept <N>': give a whole number from 0"),
        (&["--idle-timeout", "-3s", "0"], "'-3s' for '--idle-timeout <TIME>': it must be at least 1s"),
        (&["--config", "f", "--root", "d", "status"], "'--root'"),
        (&["--keep", "-1", "0"], "invalid value '-1' for '--keep <TIME>': it must be at least 0"),
        (&["--rate", "-5", "0"], "it must be at least 1"),
        (&["-1"], "65535"),
        (&["--log-level", "bad", "0"], "off, error, warn, info, debug, trace"),
        (&["--root", "a/b/c", "0"], "its parent, a/b, is missing"),
        (&["--root", "a\u{1b}[2J/b", "0"], "a\\u{1b}[2J"),
        (&["--log-file", "a\u{1b}[2J/b", "0"], "a\\u{1b}[2J/b"),
        (&["a\u{202e}b"], "a\\u{202e}b"),
    ] {
        let (status, said) = refused(arguments);
        // What the machine is to blame for has another status.
        let expected = match arguments[0] {
            "--root" => 6,
            "--log-file" => 7,
            _ => 2,
        };
        assert_eq!(status, expected, "{arguments:?}");
        assert!(!said.contains(['\u{1b}', '\u{202e}']), "{said:?}");
        assert!(said.contains(word) && !said.contains("panicked"), "{arguments:?}: {said:?}");
    }
}

#[test]
fn what_stands_in_the_place_of_the_corner_is_told() {
    let [linked, filled] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    symlink("/", linked.path().join(".ferry")).unwrap();
    std::fs::write(filled.path().join(".ferry"), b"").unwrap();
    for (root, word) in [(linked, "a symbolic link"), (filled, "a file")] {
        let (status, said) = refused(&["--root", root.path().to_str().unwrap(), "0"]);
        assert_eq!(status, 6);
        let words = [".ferry", word, "move it away", "--read-only"];
        assert!(words.iter().all(|word| said.contains(word)) && said.lines().count() == 1, "{said:?}");
    }
}

#[test]
fn a_start_that_fails_says_only_why() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, b"").unwrap();
    // One that is found out before the root is looked at, one behind it.
    for (arguments, expected) in
        [(&["--log-file", "/no/where", "0"][..], 7), (&["--root", file.to_str().unwrap(), "0"], 6)]
    {
        let (status, said) = refused(arguments);
        assert_eq!(status, expected, "{arguments:?}");
        assert!(said.starts_with("ferryd: can't ") && said.lines().count() == 1, "{said:?}");
    }
}

#[test]
fn that_the_machine_allows_fewer_clients_than_asked_for_is_said_so() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -n 700 && exec \"$0\" \"$@\""])
        .arg(ferryd())
        .args(["--max-clients", "5000", "--log-file"])
        .arg(&log)
        .arg("0")
        .current_dir(directory.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a shell");
    eventually("it is said how many", || {
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        said.lines().any(|line| ["5000", "290", "700"].iter().all(|word| line.contains(word))).then_some(())
    });
    child.kill().expect("it runs");
    let _ = child.wait();
}

#[test]
fn one_client_more_than_allowed_is_told_and_closed() {
    let server = Options::new().arg("--max-clients").arg("2").start();
    let first = Raw::greeted(server.address());
    let mut second = Raw::greeted(server.address());
    let mut third = Raw::connect(server.address());
    assert_eq!(gist(&third.line()), "FAIL busy");
    third.expect_eof();
    assert_eq!(gist(&second.ask("STAT a").line), "FAIL not-found", "the others notice nothing");
    drop(first);
    eventually("a place is free again", || Raw::connect(server.address()).line().starts_with("FERRY 1 ").then_some(()));
}

#[test]
fn what_the_options_limit_is_limited() {
    let server = Options::new().arg("--max-upload").arg("10").start();
    let mut raw = Raw::greeted(server.address());
    assert_eq!(raw.put("fits", b"0123456789").word(0), "SAVED");
    raw.put("large", b"0123456789+").expect_failure("too-large");
    raw.send("PUT - - large\nDATA 11\n0123456789+END -\n");
    raw.answer("PUT").expect_failure("too-large");
    raw.ask("RESUME id 11 - large").expect_failure("too-large");
    assert_eq!(raw.ask("GET fits").verified(), b"0123456789");
    assert_eq!(server.visible(), ["fits"]);
}

#[test]
fn a_silent_client_is_told_and_closed() {
    let server = Options::new().arg("--idle-timeout").arg("1").start();
    let mut raw = Raw::greeted(server.address());
    assert_eq!(gist(&raw.line()), "FAIL timeout");
    raw.expect_eof();
}

#[test]
fn the_log_has_one_line_for_each_transfer() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("ferryd.log");
    let server = Options::new().arg("--log-file").arg(&log).start();
    let mut raw = Raw::greeted(server.address());
    let client: SocketAddr = raw.stream().local_addr().unwrap();
    assert_eq!(raw.put("up.bin", &[7; 12_345]).word(0), "SAVED");
    let _ = raw.ask("GET up.bin").verified();
    raw.put("nowhere/x", b"hello").expect_failure("not-found");
    raw.send("PUT 5 - wrong\nDATA 5\nhelloEND 00000000\n");
    raw.answer("PUT").expect_failure("checksum");
    raw.ask("GET evil\u{202e}name").expect_failure("not-found");
    assert_eq!(raw.ask("CLOSE").line, "BYE");
    drop(raw);
    assert_eq!(server.terminate().code(), Some(0));

    let text = std::fs::read_to_string(&log).unwrap();
    let lines = |words: &[&str]| text.lines().filter(|line| words.iter().all(|word| line.contains(word))).count();
    let client = client.to_string();
    assert_eq!(lines(&["PUT", "up.bin", "12345", &client]), 1, "{text}");
    assert_eq!(lines(&["GET", "up.bin", "12345", &client]), 1, "{text}");
    assert_eq!(lines(&["PUT", "wrong", "checksum", &client]), 1, "{text}");
    assert!(!text.contains('\u{202e}') && !text.contains('\u{1b}'), "{text:?}");
}

#[test]
fn the_log_has_one_line_for_each_change() {
    let server = Server::start();
    let mut raw = Raw::greeted(server.address());
    let client = raw.stream().local_addr().unwrap();
    assert_eq!(raw.put("up", b"hello").word(0), "SAVED");
    for request in ["MKDIR d", "RENAME up//d/up", "DELETE d/up"] {
        assert_eq!(raw.ask(request).line, "DONE");
    }
    raw.ask("DELETE nowhere").expect_failure("not-found");
    drop(raw);
    let log = eventually("all is logged", || Some(server.log()).filter(|log| log.contains(" DELETE nowhere: ")));
    let changes = [
        ("MKDIR d: ", ", ok"),
        ("RENAME up//d/up: ", ", ok"),
        ("DELETE d/up: ", ", ok"),
        ("DELETE nowhere: ", "not-found"),
    ];
    for (change, outcome) in changes {
        let start = format!("{client}: {change}");
        let lines: Vec<_> = log.lines().filter(|line| line.contains(&start)).collect();
        assert!(lines.len() == 1 && lines[0].contains(outcome), "{start}: {log}");
    }
}

#[test]
fn a_client_that_reads_much_has_few_lines_and_the_rest_is_summed_up() {
    const GETS: usize = 5_000;
    // A thousand at once, and half a minute's.
    const MOST: usize = 2_500;
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("ferryd.log");
    let server = Options::new().arg("--log-file").arg(&log).start();
    server.write("a", b"hello");
    let name = ["long".repeat(40), "long".repeat(40), "long".repeat(40)].join("/");
    let mut raw = Raw::greeted(server.address());
    raw.ask(&format!("GET {name}")).expect_failure("not-found");
    for _ in 0..50 {
        raw.send("GET a\n".repeat(GETS / 50));
        for _ in 0..GETS / 50 {
            assert_eq!(raw.answer("GET").verified(), b"hello");
        }
    }
    // A change is not lost among it.
    raw.ask("DELETE nowhere").expect_failure("not-found");
    drop(raw);
    assert_eq!(server.terminate().code(), Some(0));

    let text = std::fs::read_to_string(&log).unwrap();
    let listed = text.lines().filter(|line| line.contains(" GET a: ")).count();
    let summed: usize = text
        .lines()
        .filter_map(|line| line.split_once(" downloads and sums more")?.0.rsplit(' ').next()?.parse::<usize>().ok())
        .sum();
    assert_eq!(listed + summed, GETS, "{text}");
    assert!(listed <= MOST, "{listed} lines for {GETS} files");
    assert!(
        text.contains(" DELETE nowhere: ") && !text.contains(&name) && text.contains("... (482 bytes): "),
        "{text}"
    );
}

#[test]
fn one_line_of_netcat_prints_a_file() {
    // What `printf 'GET welcome.txt\n' | nc 127.0.0.1 12000` does.
    let server = Server::start();
    server.write("welcome.txt", b"Welcome aboard!\n");
    let said = dialogue(&server, b"GET welcome.txt\n", true);
    assert_eq!(
        said,
        ["FILE 16", "DATA 16", "Welcome aboard!", &format!("END {}", ferry_e2e::crc(b"Welcome aboard!\n")), "BYE"]
    );
}
