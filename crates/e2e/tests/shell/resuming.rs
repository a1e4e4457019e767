//! Transfers that are cut, and taken up again.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
};

use ferry_e2e::{Options, eventually, random_bytes, random_file, seed};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    machine::{fixture, run_with, spawned},
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

/// How far the bar is.
fn percent(screen: &str) -> u32 {
    let figure = screen.lines().rev().find_map(|row| row.split_once('%')?.0.rsplit(' ').next()?.parse().ok());
    figure.unwrap_or(0)
}
