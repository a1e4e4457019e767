//! CRCs that the server remembers: they are never those of another version of a file.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
};

use ferry_e2e::{Raw, Server, crc, eventually, gist, random_bytes, seed};

/// Enough that a client that reads nothing stops the server long before the end.
const BYTES: usize = (16 << 20) + 12_345;

/// How many bytes of files had a CRC that the server remembered, in all.
fn remembered(server: &Server) -> u64 {
    figure(server, "remembered")
}

/// How many small files were answered for without reading them.
fn cached(server: &Server) -> u64 {
    figure(server, "cached")
}

fn figure(server: &Server, key: &str) -> u64 {
    let status = String::from_utf8(server.command(&["status", "--json"]).stdout).unwrap();
    let (_, rest) = status.split_once(&format!("\"{key}\":")).unwrap_or_else(|| panic!("{status}"));
    rest.split(|byte: char| !byte.is_ascii_digit()).next().unwrap().parse().unwrap()
}

/// A server of a large file, all of whose CRCs it remembers.
fn knowing() -> (Server, Vec<u8>) {
    let server = Server::start();
    let content = random_bytes(seed(), BYTES);
    server.write("large", &content);
    become_known(&server);
    (server, content)
}

/// Asks for the SUM until it is answered without reading: not before the file has rested for a second.
fn become_known(server: &Server) {
    let mut raw = Raw::greeted(server.address());
    eventually("the CRCs of the file are remembered", || {
        let before = remembered(server);
        assert_eq!(raw.ask("SUM large").word(2), crc(&server.read("large")));
        (remembered(server) == before + server.read("large").len() as u64).then_some(())
    });
}

/// Writes a few bytes over those at `at`, and puts the time of the file back.
fn change_in_place(server: &Server, at: u64) {
    let file = File::options().write(true).open(server.path("large")).unwrap();
    let time = file.metadata().unwrap().modified().unwrap();
    file.write_all_at(b"something new", at).unwrap();
    file.set_modified(time).unwrap();
}

#[test]
fn a_file_that_is_known_is_sent_as_it_is_and_one_that_changed_as_it_is_now() {
    let (server, mut content) = knowing();
    let mut raw = Raw::greeted(server.address());
    let mut get = |range: &str| raw.ask(&format!("{range} large")).verified();
    assert!(get("GET") == content);
    assert!(get("READ 1048575 2097155 *") == content[1_048_575..][..2_097_155]);
    for at in [0, 1 << 20, BYTES as u64 - 13] {
        change_in_place(&server, at);
        content = server.read("large");
        assert!(get("GET") == content, "changed in place at {at}");
        become_known(&server);
    }
    server.write("other", &random_bytes(seed() ^ 1, BYTES));
    fs::rename(server.path("other"), server.path("large")).unwrap();
    assert!(get("GET") == server.read("large"), "replaced");
    become_known(&server);
    File::options().write(true).open(server.path("large")).unwrap().set_len(5 << 20).unwrap();
    assert!(get("GET") == server.read("large"), "cut");
}

#[test]
fn a_known_file_that_changes_while_it_is_sent_never_ends_as_what_it_was() {
    for at in [3 << 20, BYTES as u64 - 13] {
        let (server, _) = knowing();
        let mut raw = Raw::greeted(server.address());
        raw.send("GET large\n");
        let header = raw.line();
        // Blocks of what it was are on their way.
        change_in_place(&server, at);
        assert!(header.starts_with(&format!("FILE {BYTES} ")), "{header}");
        let mut came = Vec::new();
        let end = loop {
            let line = raw.line();
            let Some(bytes) = line.strip_prefix("DATA ") else { break line };
            came.extend(raw.bytes(bytes.parse().unwrap()));
        };
        assert_eq!(came.len(), BYTES);
        // What came is a mixture, unless it changed before the first byte that differs was read.
        if came == server.read("large") && end == format!("END {}", crc(&came)) {
            continue;
        }
        assert_eq!(gist(&end), "FAIL changed");
        become_known(&server);
        assert!(raw.ask("GET large").verified() == server.read("large"));
    }
}

#[test]
fn what_is_remembered_is_not_taken_for_what_is_read() {
    let (server, content) = knowing();
    let mut raw = Raw::greeted(server.address());
    let before = remembered(&server);
    for request in ["GET", "READ 0 * *"] {
        raw.send("WITH crc=read\n");
        assert!(raw.ask(&format!("{request} large")).verified() == content);
    }
    raw.send("WITH crc=read\n");
    assert_eq!(raw.ask("SUM large").word(2), crc(&content));
    assert_eq!(remembered(&server), before);
}

#[test]
fn a_small_file_that_is_cached_is_served_as_it_is_now() {
    let server = Server::start();
    server.write("large", b"small");
    let mut raw = Raw::greeted(server.address());
    let mut get = |with: &str| {
        raw.send(with);
        raw.ask("GET large").verified()
    };
    let mut warm = |content: &[u8]| {
        eventually("the file is cached", || {
            let before = cached(&server);
            assert_eq!(get(""), content);
            (cached(&server) > before).then_some(())
        });
    };
    warm(b"small");
    change_in_place(&server, 0);
    warm(b"something new");
    server.write("other", b"another one");
    fs::rename(server.path("other"), server.path("large")).unwrap();
    warm(b"another one");
    let before = cached(&server);
    assert_eq!(get("WITH crc=read\n"), b"another one");
    assert_eq!(cached(&server), before, "it is read where that is asked for");
    fs::remove_file(server.path("large")).unwrap();
    raw.ask("GET large").expect_failure("not-found");
}
