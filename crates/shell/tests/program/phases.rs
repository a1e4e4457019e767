//! A server that goes away in the middle of each phase of a command: one clear line, nothing half done.

use crate::{
    shell::{Run, ferry},
    support::{Local, Peer, Scripted},
};

/// A whole listing.
fn listing(lines: &str) -> String {
    let crc = ferry_client::Crc32::of(lines.as_bytes());
    let block = if lines.is_empty() { String::new() } else { format!("DATA {}\n{lines}", lines.len()) };
    format!("LISTING\n{block}END {crc}\n")
}

/// Opens `server` and runs `commands`.
fn run(local: &Local, server: &Scripted, commands: &str) -> Run {
    let script = format!("OPEN {}; {commands}", server.address);
    ferry(&local.path("")).args(["-c", &script]).output().unwrap().into()
}

/// Runs `command` against a server that plays `script` and then closes; gives what it complained of.
#[track_caller]
fn cut(local: &Local, command: &str, script: impl FnOnce(&mut Peer) + Send + 'static) -> String {
    let server = Scripted::greeting(script);
    let Run { status, out, err: complaints } = run(local, &server, &format!("{command}; !echo went on"));
    server.finish();
    assert_eq!(status, 3, "{command}: {complaints}");
    assert!(complaints.contains("the server closed the connection"), "{command}: {complaints}");
    // Nobody is there to type it.
    assert!(!complaints.contains("OPEN"), "{command}: {complaints}");
    assert!(!out.contains("went on"), "{command}");
    complaints
}

#[test]
fn commands_that_ask_once() {
    let local = Local::new();
    for (command, request, half) in [
        ("LS", "LIST", "LISTING\nDATA 100\nf 5 1 t a\n"),
        ("LS a", "LIST a", ""),
        ("CD a", "STAT a", ""),
        ("STAT a", "STAT a", "FILE 5 "),
        ("SUM a", "SUM a", ""),
        ("MKDIR a", "MKDIR a", ""),
        ("MKDIR -p a/b", "MKDIR a", ""),
        ("GET 'two words'*", "STAT two words*", ""),
        ("GET *", "STAT *", ""),
        ("GET -r a", "STAT a", ""),
        ("GET a -> -", "READ 0 * * a", "FILE 5 - t\nDATA 5\nab"),
        ("RM a", "STAT a", ""),
        ("MV a b", "STAT b", ""),
        ("SYNC -d a -> new", "LIST a", "LISTING\n"),
        ("SYNC -u . -> a", "LIST a", ""),
    ] {
        let complaint = cut(&local, command, move |peer| {
            peer.expect(request);
            peer.send(half);
        });
        assert_eq!(complaint.lines().count(), 1, "{command}: {complaint}");
    }
    assert_eq!(local.names(), [""; 0]);
}

#[test]
fn a_walk_that_is_cut_moves_nothing() {
    let local = Local::new();
    for command in ["GET -r a", "RM -r a"] {
        let complaint = cut(&local, command, |peer| {
            peer.expect("STAT a");
            peer.send("DIR 5\n");
            peer.expect("LIST a");
            peer.send(listing("d - 1 - sub\nf 5 1 t b\n"));
            peer.expect("LIST a/sub");
        });
        assert_eq!(complaint.lines().count(), 1, "{command}: {complaint}");
    }
    let complaint = cut(&local, "GET a/*/b", |peer| {
        peer.expect("STAT a/*/b");
        peer.send("FAIL not-found no\n");
        peer.expect("LIST a");
        peer.send(listing("d - 1 - x\nd - 1 - y\n"));
        peer.expect("LIST a/x");
        peer.expect("LIST a/y");
        peer.send(listing("f 5 1 t b\n"));
    });
    assert_eq!(complaint.lines().count(), 1, "{complaint}");
    assert_eq!(local.names(), [""; 0]);
}

#[test]
fn deleting_that_is_cut_says_how_far_it_came() {
    let local = Local::new();
    cut(&local, "RM -r a", |peer| {
        peer.expect("STAT a");
        peer.send("DIR 5\n");
        peer.expect("LIST a");
        peer.send(listing("f 5 1 t b\nf 5 1 t c\n"));
        peer.expect("DELETE a/c");
        peer.expect("DELETE a/b");
        peer.expect("DELETE a");
        peer.send("DONE\n");
    });
}

#[test]
fn a_tree_that_is_cut_keeps_what_is_whole() {
    let local = Local::new();
    let crc = ferry_client::Crc32::of(b"hello");
    let complaint = cut(&local, "GET -r a", move |peer| {
        peer.expect("STAT a");
        peer.send("DIR 5\n");
        peer.expect("LIST a");
        peer.send(listing("f 5 1 t b\nf 5 1 t c\n"));
        peer.expect("GET a/b");
        peer.expect("GET a/c");
        peer.send(format!("FILE 5 - t\nDATA 5\nhelloEND {crc}\nFILE 5 - t\nDATA 5\nhel"));
    });
    assert!(complaint.contains("a/c"), "{complaint}");
    assert_eq!(local.names(), ["a"]);
    let names: Vec<_> = std::fs::read_dir(local.path("a")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["b"]);
}

#[test]
fn a_hostile_tree_is_refused_before_anything_is_written() {
    let local = Local::new();
    for entry in ["f 5 1 t ../b", "d - 1 - ..", "f 5 1 t .ferry-x", "f 5 1 t /etc/b"] {
        let server = Scripted::greeting(move |peer| {
            peer.expect("STAT a");
            peer.send("DIR 5\n");
            peer.expect("LIST a");
            peer.send(listing(&format!("{entry}\n")));
            peer.expect_end();
        });
        let ran = run(&local, &server, "GET -r a");
        server.finish();
        assert_eq!(ran.status, 6, "{entry}");
    }
    assert_eq!(local.names(), [""; 0]);
}

#[test]
fn what_a_tree_names_twice_is_what_was_said_last() {
    let local = Local::new();
    let server = Scripted::greeting(|peer| {
        peer.expect("STAT a");
        peer.send("DIR 5\n");
        peer.expect("LIST a");
        peer.send(listing("d - 1 - b\nf 9 1 t b\nf 5 1 u b\n"));
        peer.expect("GET a/b");
        peer.send("FILE 5 1 u\nDATA 5\nhelloEND 3610a686\n");
        // The time that the directory is to have, now that nothing moves in it any more.
        peer.expect("STAT a");
        peer.send("DIR 5\n");
        peer.expect("CLOSE");
        peer.send("BYE\n");
    });
    let ran = run(&local, &server, "GET -r a");
    server.finish();
    assert_eq!(ran.status, 0, "{}", ran.err);
    assert_eq!(std::fs::read(local.path("a/b")).unwrap(), b"hello");
}
