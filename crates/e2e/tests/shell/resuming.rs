//! Transfers that are cut, and taken up again.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::{FileExt as _, PermissionsExt as _},
    path::Path,
    process::Stdio,
};

use ferry_e2e::{Options, Server, eventually, random_bytes, random_file, seed};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    machine::{command, fixture, run, run_with, spawned},
    strangers,
    terminal::Terminal,
};

const MIB: u64 = 1 << 20;

#[test]
fn a_file_comes_from_standard_input() {
    let (server, port, directory) = fixture();
    let bytes = random_bytes(seed(), 3 << 20);
    let (status, said, complaints) = run_with(directory.path(), &["put", &port, "-", "-o", "stream.bin"], &bytes);
    assert_eq!((status, complaints.as_str()), (0, ""));
    assert!(String::from_utf8(said).unwrap().starts_with("put stream.bin: 3.0 MiB"));
    assert!(server.read("stream.bin") == bytes);
}

#[test]
fn a_second_interrupt_ends_what_the_first_one_could_not() {
    let (server, port, directory) = fixture();
    // Nothing ever comes from its standard input.
    let mut child = spawned(directory.path(), &["-v", "put", &port, "-", "-o", "never.bin"]);
    let mut greeting = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut greeting).unwrap();
    assert!(greeting.starts_with("< FERRY"), "{greeting}");
    let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
    let ended = eventually("the end of the program", || {
        let _ = kill_process(pid, Signal::INT);
        child.try_wait().unwrap()
    });
    assert_eq!(ended.code(), Some(130));
    assert_eq!(server.visible(), ["a.txt", "sub", "two words.txt"]);
}

#[test]
fn control_c_in_the_middle_of_a_get_loses_nothing() {
    let server = Options::new().arg("--rate").arg((16 * MIB).to_string()).start();
    let seed = seed();
    random_file(&server.path("large.bin"), seed, 64 * MIB);
    let directory = tempfile::tempdir().unwrap();
    let mut client = Terminal::ferry(directory.path(), &[]);
    client.type_line(&format!("OPEN {}", server.address().port()));
    client.expect("connected");
    client.expect("> ");
    client.type_line("GET large.bin");
    client.watch_until(|terminal| percent(&terminal.screen()) >= 20, "a fifth of it");
    client.control_c();
    client.expect("GET large.bin: interrupted; ");
    client.expect(" MiB of it are kept, and GET goes on from there");
    client.expect("> ");
    assert!(!directory.path().join("client/large.bin").exists());
    client.type_line("GET large.bin");
    client.expect("got large.bin: 64.0 MiB");
    client.expect(" of them from before");
    client.expect("verified");
    client.expect("> ");
    client.type_line("QUIT");
    assert_eq!(client.end(), 0);
    assert!(fs::read(directory.path().join("client/large.bin")).unwrap() == random_bytes(seed, 64 << 20));
}

#[test]
fn a_server_that_does_not_answer_is_waited_for_in_sight_and_not_for_long() {
    if ferry_e2e::secure::skips("not all of its servers are ferryd") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut client = Terminal::ferry(directory.path(), &[]);
    for gives_up in [true, false] {
        let server = strangers::stopping();
        client.type_line(&format!("OPEN {}", server.port));
        client.expect("connected");
        client.expect("> ");
        client.type_line("STAT x");
        server.wait();
        client.control_c();
        client.expect("waiting for the server; Ctrl-C again gives the connection up");
        if gives_up {
            client.control_c();
        }
        client.expect("STAT x: interrupted; not connected any more: OPEN");
        client.expect("ferry> ");
    }
    client.type_line("QUIT");
    assert_eq!(client.end(), 0);
}

#[test]
fn an_upload_goes_on_in_another_run() {
    let server = Options::new().arg("--rate").arg((24 * MIB).to_string()).start();
    let (directory, seed) = (tempfile::tempdir().unwrap(), seed());
    fs::create_dir(directory.path().join("client")).unwrap();
    random_file(&directory.path().join("client/large.bin"), seed, 96 * MIB);
    let begin = || {
        let mut client = Terminal::ferry(directory.path(), &[]);
        client.type_line(&format!("OPEN {}", server.address().port()));
        client.expect("connected");
        client.expect("> ");
        client.type_line("PUT large.bin");
        client
    };
    let mut first = begin();
    first.watch_until(|terminal| percent(&terminal.screen()) >= 50, "a half of it");
    first.control_c();
    first.expect("PUT large.bin: interrupted; ");
    first.expect("what the server has of it is kept, and PUT goes on from there");
    first.expect("> ");
    first.type_line("QUIT");
    assert_eq!(first.end(), 0);
    assert_eq!(server.visible(), [""; 0]);

    let mut second = begin();
    second.expect("put large.bin: 96.0 MiB, ");
    second.expect(" of them from before");
    second.expect("verified and on disk");
    second.expect("> ");
    second.type_line("QUIT");
    assert_eq!(second.end(), 0);
    assert!(server.read("large.bin") == random_bytes(seed, 96 << 20));
    // Whose uploads they are is nobody else's business.
    let ids = directory.path().join("state/ferry/uploads");
    assert_eq!(fs::metadata(&ids).unwrap().permissions().mode() & 0o077, 0, "{}", ids.display());
}

#[test]
fn a_server_that_comes_back_is_gone_on_with() {
    let (root, directory, seed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), seed());
    random_file(&root.path().join("large.bin"), seed, 64 * MIB);
    let mut first = Options::new().root(root.path()).arg("--rate").arg((16 * MIB).to_string()).start();
    let address = first.address().to_string();
    let mut client = Terminal::ferry(directory.path(), &[]);
    client.type_line(&format!("OPEN {address}"));
    client.expect("connected");
    client.expect("> ");
    client.type_line("GET large.bin");
    client.watch_until(|terminal| percent(&terminal.screen()) >= 20, "a fifth of it");
    first.signal(Signal::KILL);
    first.wait();
    client.expect("connection lost: ");
    client.expect("; trying again in ");
    client.expect(" s (1 of 5)");
    let _second = Options::new().root(root.path()).address(&address).start();
    client.expect("the connection stands again");
    client.expect("got large.bin: 64.0 MiB");
    client.expect("verified");
    client.expect("> ");
    client.type_line("QUIT");
    assert_eq!(client.end(), 0);
    assert!(fs::read(directory.path().join("client/large.bin")).unwrap() == random_bytes(seed, 64 << 20));
}

/// More goes through the pipe than is kept here, and not all of it is kept here.
#[test]
fn a_pipe_goes_on_at_a_server_that_comes_back() {
    let (root, directory) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let content = random_bytes(seed(), 112 << 20);
    let (before, after) = content.split_at(80 << 20);
    let mut first = Options::new().root(root.path()).start();
    let address = first.address().to_string();
    let mut child = command(directory.path(), &["put", &address, "-", "-o", "big"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(before).unwrap();
    first.signal(Signal::KILL);
    first.wait();
    let second = Options::new().root(root.path()).address(&address).start();
    input.write_all(after).unwrap();
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let most: u64 = most.trim().trim_end_matches(" kB").parse().unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    let (said, complaints) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success() && said.starts_with("put big: 112.0 MiB in "), "{said} {complaints}");
    assert!(complaints.contains("connection lost: ") && !complaints.contains("anew"), "{complaints}");
    assert!(second.read("big") == content);
    assert!(most < 72 << 10, "it took {most} KiB of memory");
}

/// A server that takes its time, its port, and a directory with a `client` in it.
fn slow() -> (Server, String, tempfile::TempDir) {
    let server = Options::new().arg("--rate").arg((16 * MIB).to_string()).start();
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("client")).unwrap();
    let port = server.address().port().to_string();
    (server, port, directory)
}

/// Begins a transfer, and interrupts it as soon as a file in `place` whose name ends so has some bytes.
#[track_caller]
fn interrupted(directory: &Path, arguments: &[&str], place: &Path, ending: &str) {
    let child = command(directory, arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("some bytes are kept", || {
        let names = fs::read_dir(place).ok()?.flatten();
        let kept = names.filter(|entry| entry.file_name().to_string_lossy().ends_with(ending));
        kept.filter_map(|entry| entry.metadata().ok()).any(|kept| kept.len() > 2 * MIB).then_some(())
    });
    kill_process(Pid::from_raw(child.id().cast_signed()).unwrap(), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    let complaints = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{complaints}");
    assert!(complaints.contains("goes on from there") && !complaints.contains("anew"), "{complaints}");
}

#[test]
fn a_get_that_begins_anew_says_why() {
    let (server, port, directory) = slow();
    let client = directory.path().join("client");
    let here = client.as_path();
    let cut = || interrupted(here, &["get", &port, "G"], &client, ".part");
    server.write("G", &random_bytes(seed(), 24 << 20));
    cut();
    let other = random_bytes(seed() ^ 1, 24 << 20);
    server.write("G", &other);
    let anew = run(here, &["get", &port, "G"]);
    assert_eq!((anew.status, anew.err.as_str()), (0, "G: it changed on the server; GET begins anew\n"));
    assert!(anew.out.starts_with("got G: 24.0 MiB") && !anew.out.contains("from before"), "{}", anew.out);
    assert!(fs::read(client.join("G")).unwrap() == other);

    cut();
    damage_part(&client);
    let anew = run(here, &["--json", "get", &port, "G"]);
    let event = r#"{"event":"restarted","name":"G","reason":"what was kept of it is damaged"}"#;
    assert_eq!((anew.status, anew.out.lines().next()), (0, Some(event)), "{}", anew.err);

    cut();
    damage_part(&client);
    let quiet = run(here, &["-q", "get", &port, "G"]);
    assert_eq!((quiet.status, quiet.out.as_str(), quiet.err.as_str()), (0, "", ""));

    cut();
    let resumed = run(here, &["get", &port, "G"]);
    assert_eq!((resumed.status, resumed.err.as_str()), (0, ""));
    assert!(resumed.out.contains("from before"), "{}", resumed.out);
    assert!(fs::read(client.join("G")).unwrap() == other);
}

/// Overwrites some bytes of the only part.
fn damage_part(directory: &Path) {
    let mut entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let part = entries.find(|path| path.extension().is_some_and(|ending| ending == "part")).unwrap();
    let part = fs::OpenOptions::new().write(true).open(part).unwrap();
    part.write_all_at(b"these bytes were never sent", 1000).unwrap();
}

#[test]
fn a_put_of_a_file_that_was_replaced_begins_anew_and_says_so() {
    let (server, port, directory) = slow();
    let here = &directory.path().join("client");
    let source = here.join("P");
    let cut = || interrupted(here, &["put", &port, "P"], &server.path(".ferry/kept"), ".data");
    fs::write(&source, random_bytes(seed(), 24 << 20)).unwrap();
    cut();
    let other = random_bytes(seed() ^ 1, 24 << 20);
    fs::write(&source, &other).unwrap();
    let anew = run(here, &["put", &port, "P"]);
    assert_eq!((anew.status, anew.err.as_str()), (0, "P: it changed here; PUT begins anew\n"));
    assert!(anew.out.starts_with("put P: 24.0 MiB") && !anew.out.contains("from before"), "{}", anew.out);
    assert!(server.read("P") == other);
}

/// How far the bar is.
fn percent(screen: &str) -> u32 {
    let figure = screen.lines().rev().find_map(|row| row.split_once('%')?.0.rsplit(' ').next()?.parse().ok());
    figure.unwrap_or(0)
}
