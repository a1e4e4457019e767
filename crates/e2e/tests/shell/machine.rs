//! The promises to scripts and programs: subcommands, `--json`, streams, exit statuses, the configuration file.

use std::{
    fs,
    io::{Read as _, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
};

use ferry_client::Crc32;
use ferry_e2e::{Options, Server, ferry, random_bytes, seed};
use serde_json::Value;

use crate::strangers;

pub(crate) struct Run {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Run {
    /// Returns the lines that were printed with `--json`: every one is an object that says what happened.
    #[track_caller]
    fn events(&self) -> Vec<Value> {
        let event = |line: &str| {
            let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            assert!(value["event"].is_string(), "{line}");
            value
        };
        self.out.lines().map(event).collect()
    }

    #[track_caller]
    pub(crate) fn assert_failed(&self, status: i32, part: &str) {
        assert_eq!(self.status, status, "{}{}", self.out, self.err);
        assert!(self.err.contains(part), "{part:?} is not in {:?}", self.err);
    }
}

pub(crate) fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(ferry());
    command.args(arguments).current_dir(directory).stdin(Stdio::null());
    command.env("XDG_CONFIG_HOME", directory.join("config")).env("XDG_STATE_HOME", directory.join("state"));
    command
}

pub(crate) fn run(directory: &Path, arguments: &[&str]) -> Run {
    let output = command(directory, arguments).output().unwrap();
    Run {
        status: output.status.code().expect("an exit status"),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A server with a few files, its port, and a directory with `client/mine.txt`. A subcommand uses the directory that it is
/// run in.
pub(crate) fn fixture() -> (Server, String, tempfile::TempDir) {
    let server = Server::start();
    server.write("a.txt", b"hello");
    server.write("two words.txt", b"two");
    server.write("sub/deep.txt", b"deep");
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("client")).unwrap();
    fs::write(directory.path().join("client/mine.txt"), "mine").unwrap();
    let port = server.address().port().to_string();
    (server, port, directory)
}

#[test]
fn subcommands_do_what_the_commands_do() {
    let (server, port, directory) = fixture();
    let here = &directory.path().join("client");
    let done = |arguments: &[&str]| {
        let run = run(here, arguments);
        assert_eq!((run.status, run.err.as_str()), (0, ""), "{arguments:?}: {}", run.out);
        run.out
    };
    assert_eq!(done(&["ls", &port]), "a.txt\nsub/\ntwo words.txt\n");
    assert_eq!(done(&["ls", &port, "sub"]), "deep.txt\n");
    assert!(done(&["get", &port, "a.txt"]).starts_with("got a.txt: 5 bytes in "));
    // Two arguments are two names, and each is a name as it is.
    assert!(done(&["get", &port, "two words.txt", "sub/deep.txt"]).starts_with("got 2 files: 7 bytes in "));
    assert_eq!(fs::read(here.join("two words.txt")).unwrap(), b"two");
    assert_eq!(done(&["get", "--quiet", &port, "a.txt", "-o", "renamed.txt"]), "");
    assert_eq!(done(&["-q", "get", &port, "a.txt", "->", "arrow.txt"]), "");
    assert_eq!(fs::read(here.join("renamed.txt")).unwrap(), b"hello");
    assert_eq!(fs::read(here.join("arrow.txt")).unwrap(), b"hello");
    assert!(done(&["put", &port, "mine.txt"]).contains("verified and on disk"));
    done(&["mkdir", &port, "new dir"]);
    done(&["mv", &port, "mine.txt", "new dir/it's.txt"]);
    assert_eq!(server.read("new dir/it's.txt"), b"mine");
    assert!(done(&["stat", &port, "a.txt"]).contains("5 bytes"));
    assert!(done(&["sum", &port, "a.txt"]).starts_with("3610a686"));
    assert!(done(&["sync", &port, "-u", ".", "-o", "copy"]).contains("put 6 files"), "all that is here");
    assert_eq!(server.read("copy/a.txt"), b"hello");
    done(&["rm", &port, "-r", "new dir", "copy"]);
    assert_eq!(server.visible(), ["a.txt", "sub", "two words.txt"]);
}

#[test]
fn the_client_directory_is_made_where_files_are_moved_and_nowhere_else() {
    let (_server, port, _) = fixture();
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    for arguments in [
        &["ls", &port][..],
        &["stat", &port, "a.txt"],
        &["sum", &port, "a.txt"],
        &["mkdir", &port, "new"],
        &["mv", &port, "new", "old"],
        &["rm", &port, "-r", "old"],
        &["get", &port, "a.txt", "-o", "-"],
        &["put", &port, "-", "-o", "nothing"],
        &["config"],
        &["man"],
        &["completions", "bash"],
    ] {
        assert_eq!(run(here, arguments).status, 0, "{arguments:?}");
        assert!(!here.join("client").exists(), "{arguments:?}");
    }
    // With a file in its place none can be made: a subcommand needs none, and the shell does.
    fs::write(here.join("client"), "").unwrap();
    assert_eq!(run(here, &["get", &port, "a.txt"]).status, 0);
    assert_eq!(fs::read(here.join("a.txt")).unwrap(), b"hello");
    run(here, &["-c", "STATUS"]).assert_failed(5, "cannot make the client directory ./client");
    fs::remove_file(here.join("client")).unwrap();
    // The one that is named is made where files are moved.
    assert_eq!(run(here, &["ls", &port, "--dir", "named"]).status, 0);
    assert!(!here.join("named").exists());
    assert_eq!(run(here, &["get", &port, "--dir", "named", "a.txt"]).status, 0);
    assert!(here.join("named/a.txt").exists());
    assert_eq!(run(here, &["-c", "STATUS"]).status, 0);
    assert!(here.join("client").exists());
}

#[test]
fn an_empty_name_stands_for_nothing() {
    let (server, port, directory) = fixture();
    let here = &directory.path().join("client");
    for arguments in [
        &["get", &port, "a.txt", "-o", ""][..],
        &["get", &port, "", "-o", "x"],
        &["put", &port, "mine.txt", "-o", ""],
        &["put", &port, "-r", ""],
        &["sync", &port, "-d", "--delete", "sub", "-o", ""],
        &["sync", &port, "-d", "--delete", "sub", ""],
        &["sync", &port, "-u", "--delete", "", "sub"],
        &["mv", &port, "a.txt", ""],
    ] {
        let refused = run(here, arguments);
        refused.assert_failed(2, "a name is needed");
    }
    assert_eq!(fs::read_dir(here).unwrap().count(), 1);
    assert_eq!((server.visible().len(), server.read("sub/deep.txt")), (3, b"deep".to_vec()));
}

#[test]
fn every_line_of_json_is_an_event() {
    let (_server, port, directory) = fixture();
    let json = |arguments: &[&str]| run(directory.path(), &[&["--json"], arguments].concat());
    let listing = json(&["ls", &port]);
    let names: Vec<_> = listing.events().iter().map(|event| event["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!((listing.status, names), (0, vec!["a.txt".into(), "sub".into(), "two words.txt".into()]));
    assert_eq!(listing.events()[0]["size"], 5);

    let got = json(&["get", &port, "a.txt", "two words.txt"]);
    let kinds: Vec<_> = got.events().iter().map(|event| event["event"].as_str().unwrap().to_owned()).collect();
    assert_eq!((got.status, kinds), (0, vec!["got".into(), "got".into(), "total".into()]));
    assert_eq!(got.events()[0]["crc"], "3610a686");
    assert_eq!((&got.events()[2]["files"], &got.events()[2]["bytes"]), (&2.into(), &8.into()));

    let missing = json(&["get", "--keep-going", &port, "a.txt", "missing.txt", "sub/deep.txt"]);
    assert_eq!((missing.status, missing.err.as_str()), (8, ""), "errors are events as well");
    let errors: Vec<_> = missing.events().into_iter().filter(|event| event["event"] == "error").collect();
    assert_eq!(errors[0]["status"], 8);
    assert!(errors[0]["message"].as_str().unwrap().contains("missing.txt"));
    assert!(directory.path().join("deep.txt").exists(), "it went on");

    let nobody = json(&["ls", &strangers::port_of_nobody().to_string()]);
    assert_eq!((nobody.status, &nobody.events()[0]["status"]), (3, &3.into()));

    let script =
        json(&["-c", &format!("OPEN {port}; PWD; STAT a.txt; SUM a.txt; STATUS; HELP; HELP GET; HISTORY; CLOSE")]);
    assert_eq!(script.status, 0);
    assert_eq!(script.events().first().unwrap()["event"], "connected");
    assert_eq!(script.events().last().unwrap()["event"], "closed");
}

#[test]
fn health_tells_whether_the_root_answers() {
    let root = tempfile::tempdir().unwrap();
    let served = root.path().join("served");
    let server = Options::new().root(&served).arg("--node").arg("a").start();
    let (port, directory) = (server.address().port().to_string(), tempfile::tempdir().unwrap());
    let fine = run(directory.path(), &["health", &port]);
    assert_eq!((fine.status, fine.err.as_str()), (0, ""));
    assert_eq!(fine.out, format!("the root of 127.0.0.1:{port} (node a) answers\n"));
    let script = run(directory.path(), &["--dir", ".", "-c", &format!("OPEN {port}; health")]);
    assert!(script.status == 0 && script.out.ends_with(&fine.out), "{}{}", script.out, script.err);
    let event = &run(directory.path(), &["--json", "health", &port]).events()[0];
    assert_eq!((&event["event"], &event["node"]), (&"healthy".into(), &"a".into()));
    assert!(event["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{event}");
    fs::remove_dir_all(&served).unwrap();
    run(directory.path(), &["health", &port])
        .assert_failed(4, "HEALTH: the server says: the server's root has been removed");
    let event = &run(directory.path(), &["--json", "health", &port]).events()[0];
    assert_eq!((&event["event"], &event["kind"], &event["code"]), (&"error".into(), &"refused".into(), &"io".into()));
    run(directory.path(), &["health", &strangers::port_of_nobody().to_string()]).assert_failed(3, "nobody listens");
}

#[test]
fn every_failure_is_an_event_with_its_kind_its_code_and_what_it_is_about() {
    let (_server, port, directory) = fixture();
    let nobody = strangers::port_of_nobody().to_string();
    for (arguments, status, kind, code, name) in [
        (&["frob"][..], 2, "usage", None, None),
        (&["get", &port, "--frob"], 2, "usage", None, None),
        (&["get"], 2, "usage", None, None),
        (&["--retry", "x", "ls", &port], 2, "usage", None, None),
        (&["get", &port], 2, "usage", None, None),
        (&["get", "word", "a"], 2, "usage", None, Some("word")),
        (&["get", &port, "../a"], 2, "usage", None, Some("../a")),
        (&["put", &port, "/etc/hostname"], 2, "usage", None, Some("/etc/hostname")),
        (&["ls", &nobody], 3, "connection", None, None),
        (&["get", &port, "sub"], 4, "refused", Some("not-a-file"), Some("sub")),
        (&["mkdir", &port, "sub"], 4, "refused", Some("exists"), Some("sub")),
        (&["put", &port, "nothing"], 5, "local", None, Some("nothing")),
        (&["get", &port, "sub/nothing"], 8, "not-found", Some("not-found"), Some("sub/nothing")),
        (&["rm", &port, "nothing"], 8, "not-found", Some("not-found"), Some("nothing")),
        (&["-c", "GET 'a"], 2, "usage", None, None),
    ] {
        // Wherever it stands, all that is said are events.
        let ran = run(directory.path(), &[arguments, &["--json"]].concat());
        assert_eq!((ran.status, ran.err.as_str()), (status, ""), "{arguments:?}: {}", ran.out);
        let event = ran.events().pop().unwrap_or_else(|| panic!("{arguments:?}"));
        let text = |field: &str| event[field].as_str().map(str::to_owned);
        assert_eq!((text("event").as_deref(), text("kind").as_deref()), (Some("error"), Some(kind)), "{event}");
        assert_eq!((text("code").as_deref(), text("name").as_deref()), (code, name), "{event}");
        assert_eq!(event["status"], status, "{event}");
        let message = text("message").unwrap();
        assert!(!message.is_empty() && !message.contains('\n') && !message.starts_with("error:"), "{message}");
    }
    let help = run(directory.path(), &["--json", "--help"]);
    assert_eq!((help.status, &help.events()[0]["event"]), (0, &"help".into()));
    // A name is no option.
    run(directory.path(), &["get", &port, "--frob", "--", "--json"]).assert_failed(2, "error: unexpected argument");
}

#[test]
fn a_server_that_is_named_is_opened_first() {
    let (_server, port, directory) = fixture();
    let here = directory.path();
    for host in [port.clone(), format!("localhost:{port}")] {
        let ran = run(here, &[&host, "-c", "LS sub"]);
        assert_eq!((ran.status, ran.err.as_str()), (0, ""));
        assert!(ran.out.starts_with("connected to ") && ran.out.ends_with("\ndeep.txt\n"), "{}", ran.out);
    }
    let (status, out, _) = run_with(here, &[&port], b"PWD\n");
    assert!(status == 0 && out.ends_with(b"\n/\n"));
    let nobody = strangers::port_of_nobody().to_string();
    let refused = run(here, &[&nobody, "-c", "LS"]);
    refused.assert_failed(3, &format!("nobody listens on 127.0.0.1:{nobody}"));
    assert!(refused.err.starts_with("nobody listens") && refused.err.lines().count() == 1, "{}", refused.err);
}

#[test]
fn every_file_is_told_with_its_crc() {
    let (server, port, directory) = fixture();
    let here = &directory.path().join("client");
    // Small ones go in one piece, large ones by parts that can be gone on with.
    for (name, size) in [("empty", 0), ("small", 5), ("large", 8 << 20)] {
        let bytes = random_bytes(seed(), size);
        server.write(name, &bytes);
        fs::write(here.join(name), &bytes).unwrap();
        let crc = Crc32::of(&bytes).to_string();
        let told = |arguments: &[&str], done: &str, input: &[u8]| {
            let (status, out, err) = run_with(here, &[&["--json"], arguments].concat(), input);
            assert_eq!(status, 0, "{arguments:?}: {err}");
            // Where the file itself goes to standard output, its event goes to standard error.
            let text = if err.is_empty() { String::from_utf8(out).unwrap() } else { err };
            let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let event = events.iter().find(|event| event["event"] == done).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(event["crc"], *crc, "{arguments:?}: {event}");
        };
        told(&["get", &port, name], "got", b"");
        told(&["get", &port, name, "a.txt"], "got", b"");
        told(&["get", &port, name, "-o", "-"], "got", b"");
        told(&["put", &port, name], "put", b"");
        told(&["put", &port, name, "mine.txt"], "put", b"");
        told(&["put", &port, "-", "-o", name], "put", &bytes);
    }
}

#[test]
fn statuses_tell_what_failed() {
    if ferry_e2e::secure::skips("not all of its servers are ferryd") {
        return;
    }
    let (server, port, directory) = fixture();
    let read_only = Options::new().arg("--read-only").start();
    let read_only = read_only.address().port().to_string();
    let here = &directory.path().join("client");
    let nobody = strangers::port_of_nobody().to_string();
    let silent = strangers::silent().to_string();
    let http = strangers::http().to_string();
    for (arguments, status, part) in [
        (&["get", &port, "missing.txt"][..], 8, "GET missing.txt: the server has no such file or directory"),
        (&["ls", &port, "missing"], 8, "LS missing: the server has no such file or directory"),
        (&["get", &port, "*.nothing"], 8, "nothing matches"),
        (&["put", &read_only, "mine.txt"], 4, "read-only"),
        (&["get", &port, "sub"], 4, "GET sub: that is a directory; GET -r sub fetches it"),
        (&["put", &port, "missing.txt"], 5, "PUT missing.txt: there is no such file\n"),
        (&["put", &port, "/etc/hostname"], 2, "PUT /etc/hostname needs a name there: -o hostname\n"),
        (&["get", &nobody, "a.txt"], 3, "nobody listens"),
        (&["get", &http, "a.txt"], 3, "web server"),
        (&["--timeout", "0.5", "get", &silent, "a.txt"], 3, "said nothing"),
        (&["get", &port, "../a.txt"], 2, "'..'"),
        (&["get", &port], 2, "<NAME>..."),
        (&["get"], 2, "HOST"),
        (&["frob"], 2, "'frob' is no subcommand, bookmark, port or host:port; ferry --help lists the subcommands"),
        (&["gte"], 2, "did you mean ferry get?"),
        (
            &["gte", &port, "-r", "sub"],
            2,
            "'gte' is no subcommand, bookmark, port or host:port; did you mean ferry get?",
        ),
        (&["get", &port, "two", "words.txt"], 8, "did you mean 'two words.txt'?"),
        (&["cat", &port, "nothing"], 8, "GET nothing: the server has no such file or directory"),
        (&["99999"], 2, "99999 is no port"),
        (&["nas:0"], 2, "0 is no port"),
        (&[&port, "ls", "sub"], 2, "ferry ls"),
        (&["get", "word", "a.txt"], 2, "neither a port nor host:port"),
        (&["get", &port, "--frob"], 2, "--frob"),
        (&["--retry", "x", "ls", &port], 2, "a number of tries"),
        (&["--parallel", "99", "ls", &port], 2, "a number of connections"),
        (&["--progress", "bars", "ls", &port], 2, "auto, never, lines"),
        (&["-c", "QUIT", "ls", &port], 2, "a subcommand takes no other commands"),
        (&["--dir", "mine.txt/x", "get", &port, "a.txt"], 5, "--dir"),
    ] {
        run(here, arguments).assert_failed(status, part);
    }
    assert_eq!(server.visible(), ["a.txt", "sub", "two words.txt"]);
}

/// Writes `input` to the standard input of a run, and closes it.
pub(crate) fn run_with(directory: &Path, arguments: &[&str], input: &[u8]) -> (i32, Vec<u8>, String) {
    let mut child = spawned(directory, arguments);
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    (output.status.code().unwrap(), output.stdout, String::from_utf8(output.stderr).unwrap())
}

pub(crate) fn spawned(directory: &Path, arguments: &[&str]) -> Child {
    let mut command = command(directory, arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn files_go_to_standard_output() {
    let (server, port, directory) = fixture();
    let here = directory.path();
    let bytes = random_bytes(seed(), 3 << 20);
    server.write("stream.bin", &bytes);
    let (status, got, complaints) = run_with(here, &["-q", "get", &port, "stream.bin", "-o", "-"], b"");
    assert_eq!((status, complaints.as_str()), (0, ""));
    assert!(got == bytes);
    // Two files come one behind the other; what is to be said goes to standard error, as text and as events.
    let (status, got, told) = run_with(here, &["--json", "get", &port, "a.txt", "sub/deep.txt", "->", "-"], b"");
    assert_eq!((status, got.as_slice()), (0, b"hellodeep".as_slice()));
    assert!(told.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{told}");

    // What a system shell makes of an arrow without quotes, and other ways to say nothing that makes sense.
    for arguments in [&["put", &port, "-", "-"][..], &["put", &port, "-"], &["get", &port, "a.txt", "-"]] {
        run(here, arguments).assert_failed(2, "-> without quotes");
    }
    assert_eq!(server.visible(), ["a.txt", "stream.bin", "sub", "two words.txt"]);
}

#[test]
fn readers_that_go_away_are_no_reason_to_panic() {
    let (server, port, directory) = fixture();
    server.write("large.bin", &random_bytes(seed(), 8 << 20));
    for arguments in [
        &["get", &port, "large.bin", "-o", "-"][..],
        &["ls", &port],
        &["--json", "ls", &port],
        &["--help"],
        &["man"],
        &["completions", "zsh"],
        &["config"],
        &["-v", "get", &port, "a.txt"],
        &["--progress", "lines=0.001", "get", &port, "large.bin"],
    ] {
        let mut child = command(directory.path(), arguments);
        let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop((child.stdout.take(), child.stderr.take()));
        let status = child.wait().unwrap();
        // A panic would be 101.
        assert!(matches!(status.code(), Some(0..=8 | 141)), "{arguments:?}: {status:?}");
    }
}

#[test]
fn the_lines_of_the_protocol_are_shown_to_who_asks() {
    let (_server, port, directory) = fixture();
    let run = run(directory.path(), &["-v", "get", &port, "a.txt"]);
    assert_eq!(run.status, 0);
    for line in ["< FERRY 1 ferryd/", "> GET a.txt", "< FILE 5 ", "< DATA 5", "< END 3610a686", "> CLOSE", "< BYE"] {
        assert!(run.err.lines().any(|shown| shown.starts_with(line)), "{line}: {}", run.err);
    }
}

#[test]
fn the_configuration_is_read_and_mistakes_in_it_are_told() {
    let (_server, port, directory) = fixture();
    let here = directory.path();
    let config = here.join("config/ferry/config.toml");
    fs::create_dir_all(config.parent().unwrap()).unwrap();
    let saves = here.join("saves");
    fs::write(&config, format!("dir = \"{}\"\n[bookmarks]\nhome = \"{port}\"\n", saves.display())).unwrap();
    assert_eq!(run(here, &["home", "-c", "GET a.txt"]).status, 0);
    assert_eq!(fs::read(saves.join("a.txt")).unwrap(), b"hello");
    // The command line wins, and a subcommand is about the current directory.
    assert_eq!(run(here, &["home", "-c", "GET a.txt", "--dir", "here"]).status, 0);
    assert_eq!(fs::read(here.join("here/a.txt")).unwrap(), b"hello");
    assert_eq!(run(here, &["get", "home", "a.txt"]).status, 0);
    assert_eq!(fs::read(here.join("a.txt")).unwrap(), b"hello");
    assert!(run(here, &["config"]).out.contains(config.to_str().unwrap()));
    fs::write(here.join("my.toml"), "").unwrap();
    let told = |arguments: &[&str]| run(here, arguments).out.lines().next().unwrap().to_owned();
    assert_eq!(told(&["--config", "my.toml", "config"]), "# The configuration is my.toml.");
    assert!(told(&["config", "--config", "no.toml"]).contains("no.toml, which is not there"));

    for (text, told) in [
        ("\nfrob = 1", ":2: frob: there is no such key"),
        ("retry = \"often\"", ":1: retry: a number of tries is needed"),
        ("[bookmarks]\nx = \"nowhere\"", "2: x: 'nowhere' is neither a port nor host:port"),
        ("\u{1b}]0;", ":1: "),
    ] {
        fs::write(&config, text).unwrap();
        let refused = run(here, &["ls", &port]);
        refused.assert_failed(2, told);
        assert_eq!(refused.err.lines().count(), 1, "{}", refused.err);
        assert!(
            refused.err.starts_with(config.to_str().unwrap()) && !refused.err.contains('\u{1b}'),
            "{}",
            refused.err
        );
    }
    fs::remove_file(&config).unwrap();
    fs::create_dir(&config).unwrap();
    run(here, &["ls", &port]).assert_failed(5, "cannot read the configuration");
    run(here, &["--config", "missing.toml", "ls", &port]).assert_failed(5, "missing.toml");
    assert_eq!(run(here, &["--config", "/dev/null", "ls", &port]).status, 0);
}

#[test]
fn the_manual_and_the_completions_know_all_subcommands() {
    let directory = tempfile::tempdir().unwrap();
    let manual = run(directory.path(), &["man"]).out;
    for part in ["SYNOPSIS", "EXIT STATUS", "EVENTS", "CONFIGURATION", "ferry get", "keep_going", "XDG\\_STATE"] {
        assert!(manual.contains(part) || manual.contains(&part.replace('\\', "")), "{part}");
    }
    let plain = manual.replace('\\', "");
    for part in
        [".ferry-*.part, .ferry-*.mark", "may be deleted when", "-- or in quotes", "or escape them (two words.txt)"]
    {
        assert!(plain.contains(part), "{part}");
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let completions = run(directory.path(), &["completions", shell]);
        assert_eq!(completions.status, 0);
        for word in ["sync", "mkdir", "keep-going"] {
            assert!(completions.out.contains(word), "{shell} knows no {word}");
        }
    }
    run(directory.path(), &["completions", "frob"]).assert_failed(2, "bash");
}

#[test]
fn output_is_read_while_it_is_written() {
    let (_server, port, directory) = fixture();
    let mut child = spawned(directory.path(), &["--json"]);
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    // Each command is answered before the next one is given: a program can hold a conversation.
    let mut seen = String::new();
    for (line, part) in
        [(format!("OPEN {port}\n"), "connected"), ("GET a.txt\n".into(), "got"), ("CLOSE\n".into(), "closed")]
    {
        stdin.write_all(line.as_bytes()).unwrap();
        let wanted = format!("\"event\":\"{part}\"");
        while !(seen.contains(&wanted) && seen.ends_with('\n')) {
            let mut buffer = [0; 4096];
            let read = stdout.read(&mut buffer).unwrap();
            assert!(read > 0, "it ended after {seen}");
            seen.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        }
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
}
