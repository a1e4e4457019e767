//! The first connection of a subcommand, to a server that is only being started.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, TcpListener},
    process::{Child, Command, Stdio},
};

use rustix::net::listen;

use crate::support::{GREETING, Honest, Local, Peer, reserved};

fn start(local: &Local, arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ferry"));
    command.arg("--dir").arg(local.path("")).args(["--timeout", "20"]).args(arguments);
    command.env("XDG_CONFIG_HOME", local.path("config")).env_remove("XDG_STATE_HOME").env_remove("HOME");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The status, and what else stands on standard error.
fn end(mut child: Child, mut complaints: impl std::io::Read) -> (i32, String) {
    let mut rest = String::new();
    complaints.read_to_string(&mut rest).unwrap();
    (child.wait().unwrap().code().unwrap(), rest)
}

fn run(local: &Local, arguments: &[&str]) -> (i32, String) {
    let mut child = start(local, arguments);
    let complaints = child.stderr.take().unwrap();
    end(child, complaints)
}

#[test]
fn a_port_where_nobody_listens_yet_is_tried_again_where_that_was_asked_for() {
    let local = Local::new();
    local.file("a", b"hello");
    let (socket, port) = reserved();
    let mut child = start(&local, &["--retry", "30", "put", &port.to_string(), "a"]);
    let mut complaints = BufReader::new(child.stderr.take().unwrap());
    let mut told = String::new();
    complaints.read_line(&mut told).unwrap();
    assert!(
        told.starts_with(&format!(
            "not connected: nobody listens on 127.0.0.1:{port}; trying again in 0.1 s (1 of 30)"
        )),
        "{told}"
    );
    listen(&socket, 16).unwrap();
    let server = Honest::on(TcpListener::from(socket));
    let (status, rest) = end(child, complaints);
    assert_eq!(status, 0, "{rest}");
    assert!(rest.ends_with("connected\n"), "{rest}");
    assert_eq!(server.content("a").unwrap(), b"hello");
}

#[test]
fn a_server_that_closes_before_it_greets_is_tried_again_for_a_transfer() {
    let local = Local::new();
    local.file("a", b"hello");
    let scripts: [&[&str]; 4] = [
        &["--json", "put", "PORT", "a", "--retry", "3"],
        &["--json", "put", "PORT", "a"],
        &["--json", "sync", "PORT", "."],
        &["--json", "-c", "OPEN PORT; PUT a"],
    ];
    for script in scripts {
        for lost in [&[""][..], &["FAIL busy later\n", ""]] {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let port = listener.local_addr().unwrap().port().to_string();
            let arguments: Vec<_> = script.iter().map(|word| word.replace("PORT", &port)).collect();
            let child = start(&local, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
            for words in lost {
                listener.accept().unwrap().0.write_all(words.as_bytes()).unwrap();
            }
            let server = Honest::on(listener);
            let output = child.wait_with_output().unwrap();
            let events = String::from_utf8(output.stdout).unwrap();
            assert!(output.status.success(), "{script:?}: {events}");
            let kinds: Vec<_> = events.lines().filter_map(|line| line.split('"').nth(3)).collect();
            assert_eq!(kinds.iter().filter(|kind| **kind == "lost").count(), lost.len(), "{script:?}: {events}");
            assert!(kinds[lost.len()] == "reconnected" && kinds.contains(&"put"), "{script:?}: {events}");
            assert_eq!(server.content("a").unwrap(), b"hello");
        }
    }
}

#[test]
fn whoever_asks_something_is_told_at_once_that_the_server_closes() {
    let local = Local::new();
    for arguments in [&["ls", "PORT"][..], &["health", "PORT"], &["get", "PORT", "a", "--retry", "0"]] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let arguments: Vec<_> = arguments.iter().map(|word| word.replace("PORT", &port)).collect();
        let mut child = start(&local, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
        drop(listener.accept().unwrap());
        let complaints = child.stderr.take().unwrap();
        let (status, told) = end(child, complaints);
        assert!(status == 3 && told.lines().count() == 1 && told.contains("closes without a greeting"), "{told}");
    }
}

#[test]
fn tries_have_an_end_and_without_being_asked_for_there_is_one() {
    let local = Local::new();
    let (_socket, port) = reserved();
    let port = port.to_string();
    let (status, told) = run(&local, &["ls", &port]);
    assert_eq!((status, told.lines().count()), (3, 1), "{told}");
    assert!(told.contains("to start a server there"), "{told}");

    let tried = |arguments: &[&str]| {
        let (status, told) = run(&local, arguments);
        assert_eq!((status, told.lines().count()), (3, 2), "{told}");
        assert!(told.contains("(1 of 1)\nnobody listens"), "{told}");
    };
    tried(&["--retry", "1", "ls", &port]);
    // The configuration file is as good.
    std::fs::create_dir_all(local.path("config/ferry")).unwrap();
    local.file("config/ferry/config.toml", b"retry = 1\n");
    tried(&["ls", &port]);
    assert_eq!(run(&local, &["--retry", "0", "ls", &port]).1.lines().count(), 1);
    // A person at OPEN sees at once what is wrong, and can try again.
    assert_eq!(run(&local, &["-c", &format!("OPEN {port}")]).1.lines().count(), 1);
}

#[test]
fn an_outage_is_waited_for_by_time() {
    let local = Local::new();
    local.file("a", b"hello");
    let (socket, port) = reserved();
    let mut child = start(&local, &["--retry-for", "30m", "put", &port.to_string(), "a"]);
    let mut complaints = BufReader::new(child.stderr.take().unwrap());
    let mut told = String::new();
    complaints.read_line(&mut told).unwrap();
    assert!(told.ends_with("trying again in 0.1 s (1; for 30:00 more)\n"), "{told}");
    listen(&socket, 16).unwrap();
    let server = Honest::on(TcpListener::from(socket));
    let (status, rest) = end(child, complaints);
    assert_eq!(status, 0, "{rest}");
    assert_eq!(server.content("a").unwrap(), b"hello");
}

/// Also before the first file moves, and without being asked for.
#[test]
fn an_outage_while_a_tree_is_listed_or_made_ends_nothing() {
    let cases =
        [("get -r", "LIST"), ("put -r", "MKDIR"), ("sync -d", "LIST"), ("sync -u", "LIST"), ("sync -u", "MKDIR")];
    for (command, cut_at) in cases {
        let arguments: Vec<&str> = command.split(' ').collect();
        let local = Local::new();
        std::fs::create_dir_all(local.path("d/e")).unwrap();
        local.file("d/e/here", b"hello");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let child = start(&local, &[&arguments[..], &[&port, "d"]].concat());
        let mut first = Peer::new(listener.accept().unwrap().0);
        first.send(GREETING);
        loop {
            match first.line().unwrap() {
                line if line.starts_with(cut_at) => break,
                line if line.starts_with("LIST") => first.send("LISTING\nEND 00000000\n"),
                line if line.starts_with("STAT") => first.send("DIR -\n"),
                _ => first.send("FAIL unknown-command\n"),
            }
        }
        drop(first);
        let server = Honest::empty_on(listener, &["d", "d/e"]);
        let output = child.wait_with_output().unwrap();
        let complaints = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{command}, {cut_at}: {complaints}");
        assert!(complaints.contains("for 5:00 more") && complaints.contains("stands again"), "{complaints}");
        drop(server);
    }
}
