//! Many files in one go, against a server that says exactly what a test wants, and against an honest one.

use std::fmt::Write as _;

use ferry_client::{Blame, Client, Code, Crc32, Event, Fetch, Report, Settings, Store};

use crate::support::{GREETING, Honest, Local, Scripted, connect, name};

/// A file of the server, fetched under the same name.
pub(crate) fn to_fetch(local: &Local, text: &str) -> Fetch {
    Fetch { name: name(text), target: local.path(text).into(), meta: None }
}

pub(crate) fn to_store(local: &Local, text: &str) -> Store {
    Store { source: local.path(text).into(), name: name(text) }
}

/// Returns an event in short words.
pub(crate) fn told(event: &Event<'_>) -> String {
    match event {
        Event::Begun { index, size, resumed } => format!("{index} begun {size} {resumed}"),
        Event::Moved { index, .. } => format!("{index} moved"),
        Event::Entered { index, phase } => format!("{index} {phase:?}"),
        Event::Restarted { index, why } => format!("{index} restarted: {why}"),
        Event::Done { index, moved } => format!("{index} done {} {}", moved.size, moved.resumed),
        Event::Failed { index, error } => format!("{index} failed: {error}"),
        Event::Lost { attempt, .. } => format!("lost {attempt}"),
        Event::Reconnected => "reconnected".into(),
        _ => "?".into(),
    }
}

/// Fetches, and gives what happened but for the movement of bytes.
pub(crate) fn fetch(client: &mut Client, files: &[Fetch], settings: &Settings) -> (Report, Vec<String>) {
    let mut events = Vec::new();
    let report = client.fetch(files, settings, &mut |event| events.push(told(event)));
    events.retain(|event| !event.ends_with(" moved"));
    (report, events)
}

pub(crate) fn store(client: &mut Client, files: &[Store], settings: &Settings) -> (Report, Vec<String>) {
    let mut events = Vec::new();
    let report = client.store(files, settings, &mut |event| events.push(told(event)));
    events.retain(|event| !event.ends_with(" moved"));
    (report, events)
}

pub(crate) fn keep_going() -> Settings {
    Settings { keep_going: true, ..Settings::default() }
}

fn content(index: usize) -> Vec<u8> {
    let length = index * 37 % 5000;
    (0..length).map(|at| (at * 7 + index) as u8).collect()
}

fn push_body(out: &mut Vec<u8>, content: &[u8]) {
    out.extend_from_slice(format!("FILE {} 7 t\n", content.len()).as_bytes());
    if !content.is_empty() {
        out.extend_from_slice(format!("DATA {}\n", content.len()).as_bytes());
        out.extend_from_slice(content);
    }
    out.extend_from_slice(format!("END {}\n", Crc32::of(content)).as_bytes());
}

#[test]
fn small_files_are_asked_for_ahead_and_taken_from_one_stream() {
    const FILES: usize = 400;
    let server = Scripted::greeting(|peer| {
        let mut out = Vec::new();
        for index in 0..FILES {
            peer.expect(&format!("GET f{index}"));
            push_body(&mut out, &content(index));
        }
        peer.send(&out);
        peer.expect_end();
    });
    let local = Local::new();
    let files: Vec<_> = (0..FILES).map(|index| to_fetch(&local, &format!("f{index}"))).collect();
    let mut client = connect(&server.address);
    let report = client.fetch(&files, &Settings::default(), &mut |_| {});
    assert!(report.is_whole(), "{report:?}");
    assert_eq!(report.files, FILES);
    for index in 0..FILES {
        assert_eq!(std::fs::read(local.path(&format!("f{index}"))).unwrap(), content(index));
    }
    assert_eq!(local.names().len(), FILES, "nothing else is left");
    assert!(client.is_connected());
    drop(client);
    server.finish();
}

/// The input of the client is then full in the middle of a line, again and again.
#[test]
fn a_line_may_end_behind_the_end_of_the_buffer() {
    const FILES: usize = 400;
    let server = Scripted::greeting(|peer| {
        for index in 0..FILES {
            peer.expect(&format!("GET f{index}"));
        }
        let reply = format!("FILE 0 7 t {}\nEND 00000000\n", "x".repeat(3900));
        peer.send(reply.repeat(FILES));
        peer.expect_end();
    });
    let local = Local::new();
    let files: Vec<_> = (0..FILES).map(|index| to_fetch(&local, &format!("f{index}"))).collect();
    let mut client = connect(&server.address);
    let settings = Settings { retries: 0, ..Settings::default() };
    let report = client.fetch(&files, &settings, &mut |_| {});
    assert!(report.is_whole(), "{report:?}");
    drop(client);
    server.finish();
}

#[test]
fn one_that_fails_does_not_disturb_its_neighbours() {
    let server = Honest::start();
    let local = Local::new();
    for text in ["a", "c", "d"] {
        server.add(text, text.repeat(9));
    }
    std::fs::create_dir(local.path("d")).unwrap();
    let files: Vec<_> = ["a", "b", "c", "d", "e", "a"].iter().map(|text| to_fetch(&local, text)).collect();
    let mut client = connect(&server.address);
    let (report, events) = fetch(&mut client, &files, &keep_going());
    assert_eq!((report.files, report.bytes, report.untried), (3, 27, 0));
    let mut failed: Vec<_> = report.failures.iter().map(|(index, error)| (*index, error.blame())).collect();
    failed.sort_by_key(|failure| failure.0);
    assert_eq!(failed, [(1, Blame::Request), (3, Blame::Local), (4, Blame::Request)]);
    for index in [0, 2, 3, 5] {
        assert_eq!(events.iter().filter(|event| **event == format!("{index} begun 9 0")).count(), 1, "{events:?}");
    }
    assert!(local.path("d").is_dir());
    assert!(client.is_connected());
    client.stat(&name("a")).unwrap();
}

#[test]
fn the_first_that_fails_ends_it_unless_told_otherwise() {
    let server = Honest::start();
    let local = Local::new();
    server.add("a", "hello");
    server.add("c", "hello");
    let files: Vec<_> = ["a", "b", "c", "c", "d"].iter().map(|text| to_fetch(&local, text)).collect();
    let mut client = connect(&server.address);
    let (report, events) = fetch(&mut client, &files, &Settings::default());
    assert_eq!((report.files, report.failures.len(), report.untried), (1, 1, 3), "{events:?}");
    assert_eq!(report.failures[0].1.code(), Some(Code::NotFound));
    assert_eq!(local.names(), ["a"]);
    client.stat(&name("a")).unwrap();

    local.file("x", b"hello");
    local.file("z", b"hello");
    let files: Vec<_> = ["x", "y", "z"].iter().map(|text| to_store(&local, text)).collect();
    let (report, events) = store(&mut client, &files, &Settings::default());
    assert_eq!((report.files, report.failures.len(), report.untried), (1, 1, 1), "{events:?}");
    assert_eq!(server.content("z"), None);
    client.stat(&name("x")).unwrap();
}

#[test]
fn uploads_go_out_ahead_and_their_answers_are_taken_meanwhile() {
    const FILES: usize = 700;
    let server = Honest::start();
    let local = Local::new();
    let mut files = Vec::new();
    for index in 0..FILES {
        local.file(&format!("f{index}"), &content(index));
        files.push(to_store(&local, &format!("f{index}")));
    }
    local.file("large", &vec![7; 3 << 20]);
    files.insert(FILES / 2, to_store(&local, "large"));
    files.insert(FILES / 3, to_store(&local, "missing"));
    let mut client = connect(&server.address);
    let (report, _) = store(&mut client, &files, &keep_going());
    assert_eq!((report.files, report.failures.len(), report.untried), (FILES + 1, 1, 0), "{report:?}");
    for index in 0..FILES {
        assert_eq!(server.content(&format!("f{index}")).unwrap(), content(index));
    }
    assert!(server.content("large").unwrap() == vec![7; 3 << 20]);
    client.stat(&name("f1")).unwrap();
}

#[test]
fn a_refused_upload_does_not_disturb_its_neighbours() {
    let server = Scripted::greeting(|peer| {
        for text in ["a", "b", "c"] {
            let line = peer.line().unwrap();
            assert!(line.starts_with("PUT 5 ") && line.ends_with(text), "{line}");
            let (body, _) = peer.body();
            let mut reply = String::new();
            match text {
                "b" => reply.push_str("FAIL denied b is not for you\n"),
                _ => writeln!(reply, "SAVED 5 {} t", Crc32::of(&body)).unwrap(),
            }
            peer.send(reply);
        }
        peer.expect("STAT a");
        peer.send("DIR -\n");
    });
    let local = Local::new();
    let files: Vec<_> = ["a", "b", "c"]
        .iter()
        .map(|text| {
            local.file(text, b"hello");
            to_store(&local, text)
        })
        .collect();
    let mut client = connect(&server.address);
    let (report, events) = store(&mut client, &files, &keep_going());
    assert_eq!((report.files, report.untried), (2, 0), "{events:?}");
    assert_eq!(report.failures[0].0, 1);
    client.stat(&name("a")).unwrap();
    server.finish();
}

#[test]
fn a_server_that_answers_what_was_not_asked_is_left() {
    for reply in ["DONE\n", "SAVED 5 3610a686 t\nSAVED 5 3610a686 t\n", "GO 0\n"] {
        let server = Scripted::raw(move |peer| {
            peer.send(GREETING);
            peer.line();
            peer.body();
            peer.send(reply);
            peer.close();
        });
        let local = Local::new();
        local.file("a", b"hello");
        let mut client = connect(&server.address);
        let (_, events) = store(&mut client, &[to_store(&local, "a")], &keep_going());
        assert_eq!(
            events.iter().filter(|event| event.contains(" done ")).count(),
            usize::from(reply.contains("SAVED"))
        );
        assert!(client.check().is_err() || !client.is_connected(), "{reply:?}");
        drop(client);
        server.finish();
    }
}

/// A body of `content` that a router has changed on the way.
fn flipped(content: &[u8]) -> Vec<u8> {
    let mut body = content.to_vec();
    body[content.len() / 2] ^= 1;
    let head = format!("FILE {0} 7 t\nDATA {0}\n", content.len()).into_bytes();
    [head, body, format!("END {}\n", Crc32::of(content)).into_bytes()].concat()
}

#[test]
fn a_download_that_was_damaged_on_the_way_is_asked_for_again() {
    for (size, remembers) in [(5, false), (1 << 20, false), (5, true), (1 << 20, true)] {
        let content = vec![7; size];
        let sent = content.clone();
        let server = Scripted::raw(move |peer| {
            peer.send(if remembers { "FERRY 1 scripted/1 with-crc\n" } else { "FERRY 1 scripted/1\n" });
            for (attempt, damaged) in [true, true, false].into_iter().enumerate() {
                // It may be what the server remembers that is wrong.
                if remembers && attempt > 0 {
                    peer.expect("WITH crc=read");
                }
                peer.expect("GET a");
                let mut whole = Vec::new();
                push_body(&mut whole, &sent);
                peer.send(if damaged { flipped(&sent) } else { whole });
            }
            peer.expect_end();
        });
        let local = Local::new();
        let mut client = connect(&server.address);
        let (report, events) = fetch(&mut client, &[to_fetch(&local, "a")], &Settings::default());
        assert!(report.is_whole(), "{events:?}");
        let again = events.iter().filter(|event| *event == "0 restarted: what came of it was damaged on the way");
        assert_eq!(again.count(), 2, "{events:?}");
        assert!(std::fs::read(local.path("a")).unwrap() == content);
        assert_eq!(local.names(), ["a"]);
        drop(client);
        server.finish();
    }
}

#[test]
fn a_download_that_is_damaged_each_time_is_given_up() {
    let server = Scripted::greeting(|peer| {
        for _ in 0..4 {
            peer.expect("GET a");
            peer.send(flipped(b"hello"));
        }
        peer.expect("GET b");
        let mut whole = Vec::new();
        push_body(&mut whole, b"fine");
        peer.send(whole);
        peer.expect_end();
    });
    let local = Local::new();
    let mut client = connect(&server.address);
    let files = [to_fetch(&local, "a"), to_fetch(&local, "b")];
    // One after the other, so that the answers are those of the script.
    let (report, events) = fetch(&mut client, &files[..1], &keep_going());
    assert_eq!(report.failures[0].1.blame(), Blame::Protocol, "{events:?}");
    assert!(fetch(&mut client, &files[1..], &keep_going()).0.is_whole());
    assert_eq!(local.names(), ["b"]);
    drop(client);
    server.finish();
}

#[test]
fn a_listing_that_was_damaged_on_the_way_is_asked_for_again() {
    let server = Scripted::greeting(|peer| {
        let mut list = |damage: &dyn Fn(&mut Vec<u8>)| {
            peer.expect("LIST");
            let lines = b"f 5 7 t a\nf 5 7 t b\n";
            let mut damaged = lines.to_vec();
            damage(&mut damaged);
            peer.send(format!("LISTING\nDATA {}\n", lines.len()));
            peer.send(damaged);
            peer.send(format!("END {}\n", Crc32::of(lines)));
        };
        for _ in 0..2 {
            // Another name, no entry, no line.
            list(&|lines| lines[8] ^= 1);
            list(&|lines| lines[0] ^= 1);
            list(&|lines| lines[9] ^= 1);
            list(&|_| {});
        }
        for _ in 0..4 {
            list(&|lines| lines[8] ^= 1);
        }
        peer.expect_end();
    });
    let mut client = connect(&server.address);
    assert_eq!(client.list(None).unwrap().len(), 2);
    assert_eq!(client.tree(None).unwrap().found.len(), 2);
    assert_eq!(client.list(None).unwrap_err().blame(), Blame::Protocol);
    drop(client);
    server.finish();
}
