//! Permissions and times: `WITH mode=...`, `WITH tell=mode`, TOUCH.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
};

use ferry_e2e::{Options, Raw, Server, body, crc};

fn mode(server: &Server, name: &str) -> u32 {
    fs::metadata(server.path(name)).unwrap().permissions().mode() & 0o7777
}

fn set_mode(server: &Server, name: &str, mode: u32) {
    fs::set_permissions(server.path(name), Permissions::from_mode(mode)).unwrap();
}

fn mtime(server: &Server, name: &str) -> (i64, i64) {
    let there = fs::metadata(server.path(name)).unwrap();
    (there.mtime(), there.mtime_nsec())
}

fn keeping(whose: &str) -> Server {
    Options::new().arg("--keep-modes").arg(whose).start()
}

#[test]
fn an_upload_has_the_permissions_of_its_owner_where_the_client_tells_them_and_nothing_else_is_taken() {
    let server = keeping("owner");
    let mut raw = Raw::connect(server.address());
    let greeting = raw.line();
    assert!(greeting.contains(" with-mode=700"), "{greeting}");
    raw.put("usual", b"x");
    let usual = mode(&server, "usual");
    assert_eq!(usual & 0o111, 0, "{usual:o}");
    let large = vec![7; 1_300_000];
    for (name, bytes) in [("small", &b"x"[..]), ("large", &large), ("empty", b"")] {
        // Its owner may always read it.
        for (asked, owner) in
            [("0755", 0o700), ("777", 0o700), ("500", 0o500), ("0644", 0o600), ("477", 0o400), ("000", 0o400)]
        {
            raw.send(format!("WITH mode={asked}\nPUT {} - {name}\n", bytes.len()));
            raw.send(body(bytes, 1 << 20));
            assert_eq!(raw.answer("PUT").word(0), "SAVED", "{name} {asked}");
            assert_eq!(mode(&server, name), usual & 0o77 | owner, "{name} {asked}");
        }
    }
    // By RESUME as well, and over a file that has other permissions.
    set_mode(&server, "large", 0o640);
    for (id, asked, expected) in [("one", "0755", 0o740), ("two", "0600", 0o640)] {
        assert_eq!(raw.ask(&format!("WITH mode={asked}\nRESUME {id} {} - large", large.len())).line, "GO 0");
        raw.send(body(&large, 1 << 20));
        assert_eq!(raw.answer("PUT").word(2), crc(&large));
        assert_eq!(mode(&server, "large"), expected, "{asked}");
    }
    // Who says nothing leaves it as it was.
    set_mode(&server, "small", 0o710);
    raw.put("small", b"new");
    assert_eq!(mode(&server, "small"), 0o710);
    // What runs a file as somebody else can't be said.
    for asked in ["4755", "1777", "07777", "rwx", "", "8", "755 mode=644", "755/", "755/1777"] {
        raw.ask(&format!("WITH mode={asked}\nSTAT small")).expect_failure("unsupported");
        raw.send(format!("WITH mode={asked}\nPUT 1 - small\nDATA 1\nxEND -\n"));
        raw.answer("PUT").expect_failure("unsupported");
    }
    for request in ["GET small", "STAT small", "DELETE small", "RENAME small//b"] {
        raw.ask(&format!("WITH mode=0755\n{request}")).expect_failure("unsupported");
    }
    assert_eq!(server.read("small"), b"new");
}

#[test]
fn all_nine_are_kept_where_the_server_was_told_to() {
    let server = keeping("all");
    let mut raw = Raw::connect(server.address());
    assert!(raw.line().contains(" with-mode=777"));
    for asked in [0o750, 0o604, 0o777, 0o400] {
        raw.send(format!("WITH mode={asked:o}\nPUT 1 - f\nDATA 1\nxEND -\n"));
        assert_eq!(raw.answer("PUT").word(0), "SAVED");
        assert_eq!(mode(&server, "f"), asked);
    }
}

#[test]
fn a_directory_has_the_permissions_that_are_asked_for_and_its_owner_can_always_look_into_it() {
    let server = keeping("all");
    let mut raw = Raw::connect(server.address());
    assert!(raw.line().contains(" modes"));
    raw.ask("MKDIR usual");
    let usual = mode(&server, "usual") & 0o77;
    for (asked, expected) in [
        ("750", 0o750),
        ("0555", 0o555),
        ("000", 0o500),
        ("277", 0o777),
        ("700/700", 0o700 | usual),
        ("500/700", 0o500 | usual),
    ] {
        let name = asked.replace('/', "-");
        assert_eq!(raw.ask(&format!("WITH mode={asked}\nMKDIR {name}")).line, "DONE");
        assert_eq!(mode(&server, &name), expected, "{asked}");
        raw.ask(&format!("WITH mode={asked}\nMKDIR {name}")).expect_failure("exists");
    }
    // A directory that hands its group on still does, and what was told to be sticky still is.
    fs::create_dir(server.path("set")).unwrap();
    set_mode(&server, "set", 0o3775);
    raw.put("set/a", b"hello");
    for (asked, expected) in
        [("750", 0o3750), ("500", 0o3500), ("070", 0o3570), ("007/007", 0o3577), ("022/020", 0o3577)]
    {
        assert_eq!(raw.ask(&format!("WITH mode={asked}\nTOUCH 5 set")).line, "DONE");
        assert_eq!((mode(&server, "set"), mtime(&server, "set")), (expected, (5, 0)), "{asked}");
    }
    assert_eq!(mode(&server, "set/a") & 0o600, 0o600, "nothing beneath it has changed");
    // Of a file, too, a part of them can be said.
    set_mode(&server, "set/a", 0o604);
    for (asked, expected) in [("740/700", 0o704), ("000/700", 0o404), ("040/070", 0o444)] {
        assert_eq!(raw.ask(&format!("WITH mode={asked}\nTOUCH 5 set/a")).line, "DONE");
        assert_eq!(mode(&server, "set/a"), expected, "{asked}");
        raw.send(format!("WITH mode={asked}\nPUT 1 - set/a\nDATA 1\nxEND -\n"));
        assert_eq!(raw.answer("PUT").word(0), "SAVED");
        assert_eq!(mode(&server, "set/a"), expected, "{asked}");
    }
    // Of the owner's alone nothing else is taken, whatever is said.
    let owners = keeping("owner");
    let mut raw = Raw::greeted(owners.address());
    raw.ask("MKDIR usual");
    let usual = mode(&owners, "usual") & 0o77;
    for asked in ["000", "577", "500/777"] {
        raw.ask(&format!("WITH mode={asked}\nMKDIR d"));
        assert_eq!(mode(&owners, "d"), 0o500 | usual, "{asked}");
        raw.ask("DELETE d");
    }
    let plain = Server::start();
    let mut raw = Raw::greeted(plain.address());
    raw.ask("WITH mode=755\nMKDIR d").expect_failure("unsupported");
    raw.ask("STAT d").expect_failure("not-found");
}

#[test]
fn permissions_of_directories_are_told_to_those_who_know_of_them() {
    let server = Options::new().arg("--read-only").start();
    fs::create_dir(server.path("d")).unwrap();
    server.write("a", b"hello");
    set_mode(&server, "d", 0o2751);
    set_mode(&server, "a", 0o640);
    let mut raw = Raw::connect(server.address());
    assert!(raw.line().contains(" modes"));
    assert!(raw.ask("WITH tell=modes\nSTAT d").line.ends_with(" mode=751"));
    assert_eq!(raw.ask("WITH tell=mode\nSTAT d").line.split(' ').count(), 2);
    assert!(raw.ask("WITH tell=mode tell=modes\nSTAT a").line.ends_with(" mode=640"));
    raw.send("WITH tell=modes\n");
    let listed = String::from_utf8(raw.ask("LIST").verified()).unwrap();
    let mut lines: Vec<Vec<&str>> = listed.lines().map(|line| line.split(' ').collect()).collect();
    lines.sort_unstable();
    let (directory, file) = (&lines[0], &lines[1]);
    assert_eq!((directory[0], directory[1], &directory[3..]), ("D", "-", &["-", "751", "d"][..]), "{listed}");
    assert_eq!((file[0], &file[4..]), ("F", &["640", "a"][..]), "{listed}");
    raw.ask("WITH tell=modes\nSUM a").expect_failure("unsupported");
}

#[test]
fn a_server_takes_none_unless_it_was_told_to() {
    let server = Server::start();
    let mut raw = Raw::connect(server.address());
    let greeting = raw.line();
    assert!(!greeting.contains("with-mode"), "{greeting}");
    raw.send("WITH mode=0755\nPUT 1 - a\nDATA 1\nxEND -\n");
    raw.answer("PUT").expect_failure("unsupported");
    raw.ask("WITH mode=0755\nRESUME id 1 - a").expect_failure("unsupported");
    raw.ask("WITH mode=0755\nTOUCH - a").expect_failure("unsupported");
    raw.ask("STAT a").expect_failure("not-found");
    let read_only = Options::new().arg("--keep-modes").arg("all").arg("--read-only").start();
    let greeting = Raw::connect(read_only.address()).line();
    assert!(!greeting.contains("with-mode") && !greeting.contains(" touch"), "{greeting}");
    assert!(greeting.contains(" tell-mode"), "{greeting}");
}

#[test]
fn permissions_are_told_to_those_who_ask_for_them() {
    let server = Server::start();
    server.write("a", b"hello");
    set_mode(&server, "a", 0o4751);
    fs::create_dir(server.path("d")).unwrap();
    let mut raw = Raw::greeted(server.address());
    assert!(raw.ask("WITH tell=mode\nSTAT a").line.ends_with(" mode=751"));
    assert!(!raw.ask("STAT a").line.contains("mode"));
    assert_eq!(raw.ask("WITH tell=mode\nSTAT d").word(0), "DIR");
    for request in ["GET a", "READ 1 2 * a"] {
        raw.send("WITH tell=mode\n");
        let answer = raw.ask(request);
        assert!(answer.line.ends_with(" mode=751"), "{answer:?}");
    }
    raw.send("WITH tell=mode\n");
    let listed = raw.ask("LIST");
    let listed = String::from_utf8(listed.verified()).unwrap();
    let lines: Vec<_> = listed.lines().map(|line| (line.split(' ').next().unwrap(), line.contains(" 751 a"))).collect();
    assert!(lines.contains(&("F", true)) && lines.contains(&("d", false)), "{listed}");
    for request in ["SUM a", "TOUCH - a", "MKDIR e", "HEALTH"] {
        raw.ask(&format!("WITH tell=mode\n{request}")).expect_failure("unsupported");
    }
}

#[test]
fn the_time_of_a_file_or_directory_is_set_and_the_permissions_of_a_file() {
    let server = keeping("owner");
    let mut raw = Raw::greeted(server.address());
    fs::create_dir(server.path("d")).unwrap();
    raw.put("d/a", b"hello");
    let tag = raw.ask("STAT d/a").word(3).to_owned();
    for name in ["d", "d/a"] {
        assert_eq!(raw.ask(&format!("TOUCH 1000000000.25 {name}")).line, "DONE");
        assert_eq!(mtime(&server, name), (1_000_000_000, 250_000_000), "{name}");
    }
    assert_eq!(raw.ask("STAT d").line, "DIR 1000000000.25");
    assert_ne!(raw.ask("STAT d/a").word(3), tag, "another time is another version");
    // What is put into a directory later changes its time as ever.
    raw.put("d/b", b"x");
    assert!(mtime(&server, "d").0 > 1_600_000_000);
    raw.ask("TOUCH 7 d");
    assert_eq!(raw.ask("TOUCH - d").line, "DONE");
    assert!(mtime(&server, "d").0 > 1_600_000_000, "the server's own time");
    let others = mode(&server, "d/a") & 0o77;
    assert_eq!(raw.ask("WITH mode=755\nTOUCH 5 d/a").line, "DONE");
    assert_eq!((mode(&server, "d/a"), mtime(&server, "d/a").0), (0o700 | others, 5));
    assert_eq!(server.read("d/a"), b"hello");

    std::os::unix::fs::symlink("d", server.path("link")).unwrap();
    for (request, code) in [
        ("TOUCH 1 no", "not-found"),
        ("TOUCH 1 no/a", "not-found"),
        ("TOUCH 1 d/a/b", "not-a-directory"),
        ("TOUCH 1 link", "denied"),
        ("TOUCH 1 link/a", "denied"),
        ("TOUCH 1 .ferry", "bad-name"),
        ("TOUCH 1 ", "bad-name"),
        ("TOUCH 1", "bad-request"),
        ("TOUCH x d", "bad-request"),
    ] {
        raw.ask(request).expect_failure(code);
    }
    assert_eq!(mtime(&server, "d/a").0, 5);
}

#[test]
fn an_upload_that_its_owner_may_not_write_goes_on() {
    let server = keeping("owner");
    server.write("f", b"before");
    set_mode(&server, "f", 0o440);
    let bytes = vec![3; 700_000];
    for round in 0..2 {
        let mut raw = Raw::greeted(server.address());
        let go = raw.ask(&format!("WITH mode=455\nRESUME again {} - f", bytes.len()));
        assert_eq!(go.word(0), "GO", "{round}: {go:?}");
        if round == 0 {
            raw.send(&body(&bytes, 1 << 16)[..400_000]);
            drop(raw);
        } else {
            let offset: usize = go.word(1).parse().unwrap();
            for block in bytes[offset..].chunks(1 << 16) {
                raw.send(format!("DATA {}\n", block.len()));
                raw.send(block);
            }
            raw.send(format!("END {}\n", crc(&bytes)));
            assert_eq!(raw.answer("PUT").word(0), "SAVED");
        }
    }
    assert_eq!(mode(&server, "f"), 0o440);
}
