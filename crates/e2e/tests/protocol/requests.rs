//! Every request of the table, and every failure that a single request can provoke.

use std::os::unix::{fs::symlink, net::UnixListener};

use ferry_e2e::{Options, Raw, Server, crc};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::gist;

/// A root with one of everything. The listener keeps the socket in it alive.
fn fixture() -> (Server, UnixListener) {
    let server = Options::new().start();
    server.write("a.txt", b"hello");
    server.write("with space.txt", b"spaced");
    server.write(" two  spaces ", b"spaced out");
    server.write("Grüße/世界.txt", b"world");
    server.write("empty", b"");
    server.write("full/inside.txt", b"in");
    std::fs::create_dir(server.path("bare")).unwrap();
    symlink("/etc/passwd", server.path("link-out")).unwrap();
    symlink("a.txt", server.path("link-in")).unwrap();
    symlink("/etc", server.path("link-dir")).unwrap();
    symlink("nowhere", server.path("link-nowhere")).unwrap();
    mknodat(CWD, server.path("fifo"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let listener = UnixListener::bind(server.path("socket")).unwrap();
    (server, listener)
}

#[test]
fn what_each_request_gets() {
    let (server, _listener) = fixture();
    let long = "n".repeat(256);
    let deep = ["d"; 512].join("/");
    let mut raw = Raw::greeted(server.address());
    let cases = [
        // Names are taken as they are.
        ("GET a.txt", "FILE 5"),
        ("get a.txt", "FILE 5"),
        ("gEt with space.txt", "FILE 6"),
        ("GET  two  spaces ", "FILE 10"),
        ("GET Grüße/世界.txt", "FILE 5"),
        ("GET empty", "FILE 0"),
        ("GET a.txt\r", "FILE 5"),
        ("GET A.TXT", "FAIL not-found"),
        ("GET a.txt ", "FAIL not-found"),
        ("GET %61.txt", "FAIL not-found"),
        ("GET missing", "FAIL not-found"),
        ("GET missing/a.txt", "FAIL not-found"),
        ("GET full", "FAIL not-a-file"),
        ("GET a.txt/x", "FAIL not-a-directory"),
        ("GET link-out", "FAIL denied"),
        ("GET link-in", "FAIL denied"),
        ("GET link-nowhere", "FAIL denied"),
        ("GET link-dir/passwd", "FAIL denied"),
        ("GET fifo", "FAIL not-a-file"),
        ("GET socket", "FAIL not-a-file"),
        // READ.
        ("READ 0 * * a.txt", "FILE 5"),
        ("READ 5 * * a.txt", "FILE 5"),
        ("READ 2 0 * a.txt", "FILE 5"),
        ("READ 2 9223372036854775807 * a.txt", "FILE 5"),
        ("READ 0 * * with space.txt", "FILE 6"),
        ("READ 6 * * a.txt", "FAIL bad-range"),
        ("READ 9223372036854775807 * * a.txt", "FAIL bad-range"),
        ("READ 9223372036854775808 * * a.txt", "FAIL bad-request"),
        ("READ 0 * other-tag a.txt", "FAIL changed"),
        ("READ 9 * other-tag a.txt", "FAIL changed"),
        ("READ 0 * bad.tag a.txt", "FAIL bad-request"),
        ("READ 01 * * a.txt", "FAIL bad-request"),
        ("READ -1 * * a.txt", "FAIL bad-request"),
        ("READ 0 * a.txt", "FAIL bad-request"),
        ("READ 0  * a.txt", "FAIL bad-request"),
        ("READ 0 * * missing", "FAIL not-found"),
        ("READ 0 * * full", "FAIL not-a-file"),
        ("READ 0 * * fifo", "FAIL not-a-file"),
        ("READ 0 * * link-in", "FAIL denied"),
        // LIST.
        ("LIST", "LISTING"),
        ("LIST full", "LISTING"),
        ("LIST bare", "LISTING"),
        ("LIST Grüße", "LISTING"),
        ("LIST a.txt", "FAIL not-a-directory"),
        ("LIST missing", "FAIL not-found"),
        ("LIST fifo", "FAIL not-a-directory"),
        ("LIST link-dir", "FAIL denied"),
        ("LIST ", "FAIL bad-name"),
        // STAT.
        ("STAT a.txt", "FILE 5"),
        ("STAT full", "DIR"),
        ("STAT full/inside.txt", "FILE 2"),
        ("STAT missing", "FAIL not-found"),
        ("STAT fifo", "FAIL not-a-file"),
        ("STAT socket", "FAIL not-a-file"),
        ("STAT link-in", "FAIL denied"),
        ("STAT", "FAIL bad-request"),
        // HEALTH.
        ("HEALTH", "DONE"),
        ("health\r", "DONE"),
        ("HEALTH a.txt", "FAIL bad-request"),
        // SPACE.
        ("SPACE a.txt", "FAIL bad-request"),
        // SUM.
        ("SUM a.txt", "SUM 5 3610a686"),
        ("SUM empty", "SUM 0 00000000"),
        ("SUM full", "FAIL not-a-file"),
        ("SUM missing", "FAIL not-found"),
        ("SUM fifo", "FAIL not-a-file"),
        ("SUM link-in", "FAIL denied"),
        // MKDIR.
        ("MKDIR new", "DONE"),
        ("MKDIR new/er one", "DONE"),
        ("STAT new/er one", "DIR"),
        ("MKDIR new", "FAIL exists"),
        ("MKDIR a.txt", "FAIL exists"),
        ("MKDIR fifo", "FAIL exists"),
        ("MKDIR link-nowhere", "FAIL exists"),
        ("MKDIR missing/x", "FAIL not-found"),
        ("MKDIR a.txt/x", "FAIL not-a-directory"),
        ("MKDIR link-dir/x", "FAIL denied"),
        // RENAME.
        ("RENAME a.txt//new/b c.txt", "DONE"),
        ("GET a.txt", "FAIL not-found"),
        ("SUM new/b c.txt", "SUM 5 3610a686"),
        ("RENAME new/b c.txt//a.txt", "DONE"),
        ("RENAME new//newer", "DONE"),
        ("STAT newer/er one", "DIR"),
        ("RENAME newer//new", "DONE"),
        ("RENAME a.txt//empty", "FAIL exists"),
        ("RENAME a.txt//full", "FAIL exists"),
        ("RENAME full//bare", "FAIL exists"),
        ("RENAME a.txt//a.txt", "FAIL exists"),
        ("RENAME missing//x", "FAIL not-found"),
        ("RENAME a.txt//missing/x", "FAIL not-found"),
        ("RENAME a.txt//empty/x", "FAIL not-a-directory"),
        ("RENAME new//new/inner", "FAIL bad-request"),
        ("RENAME a.txt", "FAIL bad-request"),
        ("RENAME a.txt/b", "FAIL bad-request"),
        ("RENAME //b", "FAIL bad-name"),
        ("RENAME a.txt//", "FAIL bad-name"),
        // DELETE.
        ("DELETE full", "FAIL not-empty"),
        ("DELETE full/inside.txt", "DONE"),
        ("DELETE full", "DONE"),
        ("DELETE full", "FAIL not-found"),
        ("DELETE with space.txt", "DONE"),
        ("GET with space.txt", "FAIL not-found"),
        ("DELETE fifo", "FAIL denied"),
        ("DELETE socket", "FAIL denied"),
        ("DELETE link-in", "FAIL denied"),
        ("DELETE link-dir/passwd", "FAIL denied"),
        // Lines that are no request.
        ("", "FAIL bad-request"),
        (" GET a.txt", "FAIL bad-request"),
        ("GET", "FAIL bad-request"),
        ("GET ", "FAIL bad-name"),
        ("GETS a.txt", "FAIL unknown-command"),
        ("QUIT", "FAIL unknown-command"),
        ("\u{feff}GET a.txt", "FAIL unknown-command"),
        ("\u{1b}[2J", "FAIL unknown-command"),
        ("RESUME bad.id 5 - x", "FAIL bad-request"),
        ("RESUME id -- - x", "FAIL bad-request"),
        ("RESUME id 5 x", "FAIL bad-request"),
        ("RESUME id 5 -1 x", "FAIL bad-request"),
        ("RESUME id 5 - bare", "FAIL not-a-file"),
        ("RESUME id 5 - missing/x", "FAIL not-found"),
        ("RESUME id 5 - ../x", "FAIL bad-name"),
        (&format!("GET {long}"), "FAIL bad-name"),
        (&format!("GET {deep}"), "FAIL not-found"),
        (&format!("GET {deep}d"), "FAIL not-found"),
        (&format!("GET {deep}dd"), "FAIL bad-name"),
    ];
    for (request, expected) in cases {
        let answer = raw.ask(request);
        assert_eq!(gist(&answer.line), expected, "{request:?}");
        if answer.closing.is_some() {
            let _ = answer.verified();
        }
    }
    // Whatever was asked, the connection is in step.
    assert_eq!(raw.ask("CLOSE").line, "BYE");
    raw.expect_eof();
}

#[test]
fn a_name_that_breaks_a_rule_is_refused_by_every_request() {
    let server = Server::start();
    server.write("a", b"hello");
    let too_long = ["d"; 513].join("/");
    let names: [&[u8]; 19] = [
        b"..",
        b".",
        b"../x",
        b"a/..",
        b"a/../a",
        b"./a",
        b"/a",
        b"/etc/passwd",
        b"a/",
        b"/",
        b"a\tb",
        b"a\rb",
        b"a\0",
        b"a\x7f",
        "a\u{85}".as_bytes(),
        b"a\xff",
        b".ferry",
        b"a/.FERRYx/b",
        too_long.as_bytes(),
    ];
    let mut raw = Raw::greeted(server.address());
    for name in names {
        for prefix in
            ["GET ", "READ 0 * * ", "LIST ", "STAT ", "SUM ", "MKDIR ", "DELETE ", "RESUME i 1 - ", "PUT 1 - "]
        {
            let mut sent = [prefix.as_bytes(), name, b"\n"].concat();
            if prefix.starts_with("PUT") {
                sent.extend_from_slice(b"DATA 1\nxEND -\n");
            }
            raw.send(&sent);
            raw.answer(prefix).expect_failure("bad-name");
        }
    }
    for name in ["..", "../x", ".ferry"] {
        raw.ask(&format!("RENAME a//{name}")).expect_failure("bad-name");
        raw.ask(&format!("RENAME {name}//b")).expect_failure("bad-name");
    }
    assert_eq!(raw.ask("GET a").verified(), b"hello");
    assert_eq!(server.visible(), ["a"]);
}

#[test]
fn a_read_brings_its_range_and_the_size_of_the_file() {
    let server = Server::start();
    server.write("digits", b"0123456789");
    let mut raw = Raw::greeted(server.address());
    let tag = raw.ask("STAT digits").word(3).to_owned();
    for (request, bytes) in [
        ("READ 0 * * digits", "0123456789"),
        ("READ 4 3 * digits", "456"),
        ("READ 9 1 * digits", "9"),
        ("READ 8 100 * digits", "89"),
        ("READ 10 100 * digits", ""),
        ("READ 3 0 * digits", ""),
        (&format!("READ 4 3 {tag} digits"), "456"),
    ] {
        let answer = raw.ask(request);
        assert_eq!((answer.word(1), answer.word(3)), ("10", tag.as_str()), "{request}");
        assert_eq!(answer.verified(), bytes.as_bytes(), "{request}");
    }
}

#[test]
fn a_listing_has_the_files_and_directories_and_nothing_else() {
    let (server, _listener) = fixture();
    server.write(".ferry-file", b"the server's own");
    server.write(".Ferry", b"the server's own");
    server.write("bad\u{1}name", b"can't be said");
    let mut raw = Raw::greeted(server.address());
    let tag = raw.ask("STAT a.txt").word(3).to_owned();
    let mtime = raw.ask("STAT a.txt").word(2).to_owned();
    let dir_mtime = raw.ask("STAT bare").word(1).to_owned();
    let listing = String::from_utf8(raw.ask("LIST").verified()).unwrap();
    assert!(listing.ends_with('\n'));
    let mut names: Vec<&str> = listing.lines().map(|line| line.splitn(5, ' ').nth(4).unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, [" two  spaces ", "Grüße", "a.txt", "bare", "empty", "full", "with space.txt"]);
    assert!(listing.lines().any(|line| line == format!("f 5 {mtime} {tag} a.txt")), "{listing}");
    assert!(listing.lines().any(|line| line == format!("d - {dir_mtime} - bare")), "{listing}");
    let inside = String::from_utf8(raw.ask("LIST full").verified()).unwrap();
    assert!(inside.starts_with("f 2 ") && inside.ends_with(" inside.txt\n"), "{inside}");
    assert!(raw.ask("LIST bare").verified().is_empty());
}

#[test]
fn a_large_listing_comes_whole() {
    const FILES: usize = 5_000;
    let server = Server::start();
    for index in 0..FILES {
        server.write(&format!("many/{index:0>200}"), b"");
    }
    let mut raw = Raw::greeted(server.address());
    let listing = raw.ask("LIST many").verified();
    assert!(listing.len() > 1 << 20, "{} bytes are one block", listing.len());
    let mut names: Vec<&[u8]> =
        listing.split(|&byte| byte == b'\n').map(|line| &line[line.len().saturating_sub(200)..]).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), FILES + 1);
}

#[test]
fn a_tag_names_a_version() {
    let server = Server::start();
    let mut raw = Raw::greeted(server.address());
    let first = raw.put("a", b"one").word(3).to_owned();
    for request in ["STAT a", "GET a", "READ 1 1 * a", "SUM a"] {
        assert_eq!(raw.ask(request).word(3), first, "{request}");
    }
    let second = raw.put("a", b"one").word(3).to_owned();
    assert_ne!(first, second, "the same bytes, but another version");
    raw.ask(&format!("READ 0 * {first} a")).expect_failure("changed");
    assert_eq!(raw.ask(&format!("READ 0 * {second} a")).verified(), b"one");
}

#[test]
fn with_makes_the_next_request_fail_and_only_that() {
    let server = Server::start();
    server.write("a", b"hello");
    let mut raw = Raw::greeted(server.address());
    for (lines, code) in [
        ("WITH x=1\nGET a\n", "unsupported"),
        ("WITH x=1 y=2\nwith z=\nGET a\n", "unsupported"),
        ("WITH x=1\nFROB\n", "unsupported"),
        ("WITH x=1\nPUT 1 - b\nDATA 1\nbEND -\n", "unsupported"),
        ("WITH x=1\nRESUME id 1 - b\n", "unsupported"),
        ("WITH x=1\nCLOSE\n", "unsupported"),
        ("WITH\nGET a\n", "bad-request"),
        ("WITH x\nGET a\n", "bad-request"),
        ("WITH =x\nGET a\n", "bad-request"),
    ] {
        raw.send(lines);
        raw.answer("").expect_failure(code);
        assert_eq!(gist(&raw.ask("STAT a").line), "FILE 5", "behind {lines:?}");
    }
    assert_eq!(server.visible(), ["a"]);
}

#[test]
fn times_are_kept_to_the_nanosecond() {
    let server = Server::start();
    let mut raw = Raw::greeted(server.address());
    for time in ["0", "1", "1600000000", "1600000000.5", "1600000000.123456789", "4000000000.000000001"] {
        raw.send(format!("PUT 2 {time} timed\nDATA 2\nhiEND {}\nSTAT timed\n", crc(b"hi")));
        assert_eq!(raw.line().split(' ').next(), Some("SAVED"));
        assert_eq!(raw.answer("STAT").word(2), time);
    }
}
