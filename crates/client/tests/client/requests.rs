//! Every request, asked of a server that keeps its word.

use std::time::Duration;

use ferry_client::{
    Address, Blame, Client, Code, Crc32, DirMeta, EntryKind, Error, Options, Part, Progress, Stat, Tag, Time,
};

use crate::support::{GREETING, Honest, Local, PATIENCE, Peer, Scripted, connect, name};

/// Bytes that repeat at no power of two.
fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at % 251) as u8).collect()
}

#[test]
fn files_go_there_and_come_back() {
    let (server, local) = (Honest::start(), Local::new());
    let mut client = connect(&server.address);
    assert_eq!(client.greeting().software, "honest/1");
    for size in [0, 1, 4095, 262_144, 262_145, 3_000_000] {
        let content = bytes(size);
        let source = local.file("out", &content);
        let mut seen = Vec::new();
        let put = client.put(&name("a b.txt"), &source, &mut |progress| seen.push(progress)).unwrap();
        assert_eq!((put.size, put.crc, put.resumed), (size as u64, Crc32::of(&content), 0));
        assert_eq!(seen.first(), Some(&Progress { done: 0, total: size as u64 }));
        assert_eq!(seen.last(), Some(&Progress { done: size as u64, total: size as u64 }));
        assert!(server.content("a b.txt").unwrap() == content);

        let got = client.get(&name("a b.txt"), &local.path("in"), &mut |_| {}).unwrap();
        assert_eq!((got.size, got.crc), (size as u64, Crc32::of(&content)));
        assert!(std::fs::read(local.path("in")).unwrap() == content);
    }
    assert_eq!(local.names(), ["in", "out"]);
    client.close().unwrap();
}

#[test]
fn a_file_keeps_its_time_in_both_directions() {
    let (server, local) = (Honest::start(), Local::new());
    server.add("a", "hello");
    let mut client = connect(&server.address);
    client.get(&name("a"), &local.path("a"), &mut |_| {}).unwrap();
    let modified = std::fs::metadata(local.path("a")).unwrap().modified().unwrap();
    assert_eq!(modified.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis(), 1_000_000_000_250);
    client.put(&name("b"), &local.path("a"), &mut |_| {}).unwrap();
    assert_eq!(server.mtime("b"), Time::new(1_000_000_000, 250_000_000));
}

#[test]
fn a_part_of_a_file_is_read() {
    let server = Honest::start();
    server.add("a", "0123456789");
    let mut client = connect(&server.address);
    for (offset, length, expected) in
        [(0, None, "0123456789"), (3, Some(4), "3456"), (8, Some(9), "89"), (10, None, "")]
    {
        let mut out = Vec::new();
        let part = Part { offset, length, tag: None };
        let got = client.read(&name("a"), &part, &mut out).unwrap();
        assert_eq!((out.as_slice(), got.size, got.meta.size), (expected.as_bytes(), expected.len() as u64, 10));
    }
}

#[test]
fn the_small_requests() {
    let server = Honest::start();
    server.add("a", "hello");
    let mut client = connect(&server.address);
    client.mkdir(&name("d")).unwrap();
    assert_eq!(client.mkdir(&name("d")).unwrap_err().code(), Some(Code::Exists));
    client.rename(&name("a"), &name("d/b")).unwrap();
    assert!(matches!(client.stat(&name("d")), Ok(Stat::Directory(DirMeta { mtime: Some(_), mode: None }))));
    assert!(matches!(client.stat(&name("d/b")), Ok(Stat::File(meta)) if meta.size == 5));
    assert_eq!(client.sum(&name("d/b")).unwrap().crc, Crc32::of(b"hello"));

    let root = client.list(None).unwrap();
    assert_eq!((root.len(), root[0].name.as_str()), (1, "d"));
    let inside = client.list(Some(&name("d"))).unwrap();
    assert!(matches!(&inside[..], [entry] if entry.name == name("b") && matches!(entry.kind, EntryKind::File(_))));

    client.delete(&name("d/b")).unwrap();
    let error = client.delete(&name("d/b")).unwrap_err();
    assert_eq!((error.code(), error.blame()), (Some(Code::NotFound), Blame::Request));
    client.health().unwrap();
    client.check().unwrap();
    client.close().unwrap();
}

#[test]
fn a_long_listing_may_be_cut_anywhere() {
    let server = Honest::start();
    for number in 0..30_000 {
        server.add(&format!("file number {number}"), "");
    }
    assert_eq!(connect(&server.address).list(None).unwrap().len(), 30_000);
}

#[test]
fn replies_may_come_byte_by_byte() {
    let local = Local::new();
    let server = Scripted::greeting(|peer| {
        peer.expect("GET a");
        peer.trickle(format!("file 11 - t more\r\nData 6\r\nhello DATA 5\nworldEND {}\n", Crc32::of(b"hello world")));
        peer.expect("LIST");
        peer.trickle("LISTING\nDATA 9\nf 5 - t aDATA 1\n\nEND ");
        peer.trickle(format!("{}\n", Crc32::of(b"f 5 - t a\n")));
        peer.expect("CLOSE");
        peer.trickle("BYE\n");
    });
    let mut client = connect(&server.address);
    client.get(&name("a"), &local.path("a"), &mut |_| {}).unwrap();
    assert_eq!(std::fs::read(local.path("a")).unwrap(), b"hello world");
    assert_eq!(client.list(None).unwrap().len(), 1);
    client.close().unwrap();
    server.finish();
}

#[test]
fn an_upload_goes_on_where_the_server_says() {
    let local = Local::new();
    let source = local.file("a", b"hello");
    let id = Client::new_id().unwrap();
    let line = format!("RESUME {id} 5 - a");
    let server = Scripted::greeting(move |peer| {
        let asked = peer.line().unwrap();
        assert_eq!(asked.rsplit_once(' ').unwrap().1, "a");
        assert!(asked.starts_with(line.rsplit_once(" - ").unwrap().0), "{asked}");
        peer.send("GO 3\n");
        let (body, closing) = peer.body();
        assert_eq!(body, b"lo");
        assert_eq!(closing, ferry_wire::BodyLine::End(Some(Crc32::of(b"hello"))));
        peer.send(format!("SAVED 5 {} t\n", Crc32::of(b"hello")));
        peer.expect("SUM a");
        peer.send(format!("SUM 5 {} t\n", Crc32::of(b"hello")));
        peer.line().unwrap();
        peer.send(format!("SAVED 5 {} t\n", Crc32::of(b"hello")));
        peer.expect("SUM a");
        peer.send(format!("SUM 5 {} t\n", Crc32::of(b"hello")));
        peer.line().unwrap();
        peer.send("FAIL changed a newer connection took over\n");
        peer.line().unwrap();
        peer.send("GO 6\n");
        peer.expect_end();
    });
    let mut client = connect(&server.address);
    let resume = |client: &mut Client| client.resume(&id, &name("a"), &source, &mut |_| {});
    let saved = resume(&mut client).unwrap();
    assert_eq!((saved.size, saved.resumed, saved.tag), (5, 3, Tag::new("t").unwrap()));
    assert_eq!(resume(&mut client).unwrap().resumed, 5);
    assert_eq!(resume(&mut client).unwrap_err().code(), Some(Code::Changed));
    assert!(matches!(resume(&mut client), Err(Error::Violation(_))));
    assert!(!client.is_connected());
    server.finish();
}

/// A server that is silent for longer than ten timeouts, for its disk is slow, and that takes connections meanwhile.
#[test]
fn a_server_that_gives_signs_of_life_is_waited_for() {
    let sum = slow(["SUM a", "STAT a"], "SUM 5 3610a686 t\n", |client| client.sum(&name("a")).map(|sum| sum.size));
    assert_eq!(sum.unwrap(), 5);
    // Nothing is to be known of a change but that somebody is there.
    slow(["MKDIR a", ""], "DONE\n", |client| client.mkdir(&name("a"))).unwrap();
}

/// Asks a server that answers only when it was looked after on another connection.
fn slow<T>(
    [request, look]: [&'static str; 2],
    reply: &'static str,
    ask: impl FnOnce(&mut Client) -> Result<T, Error>,
) -> Result<T, Error> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = Address::new("127.0.0.1", listener.local_addr().unwrap().port());
    let server = std::thread::spawn(move || {
        let greeted = || {
            let mut peer = Peer::new(listener.accept().unwrap().0);
            peer.send(GREETING);
            peer
        };
        // One that is greeted late, on a busy machine, has asked who is there.
        let expect = |peer: &mut Peer, line: &str| {
            let mut first = peer.line().unwrap();
            if first == "HELP" {
                peer.send("FAIL unknown-command HELP\n");
                first = peer.line().unwrap();
            }
            assert_eq!(first, line);
        };
        let mut working = greeted();
        expect(&mut working, request);
        let mut looking = greeted();
        if !look.is_empty() {
            expect(&mut looking, look);
            looking.send(format!("FILE {} - t\n", 1_u64 << 40));
        }
        while looking.line_or_end().is_some() {}
        working.send(reply);
        working.expect_end();
    });
    let options = Options::default().timeout(Duration::from_millis(400));
    let mut client = Client::connect(&address, options).unwrap();
    let answer = ask(&mut client);
    drop(client);
    server.join().unwrap();
    answer
}

/// A server that makes up directories in directories, and one listing that never ends.
#[test]
fn the_memory_for_what_a_server_tells_of_has_a_limit() {
    let lines: String = (0..100).map(|number| format!("d - - - directory{number:02}\n")).collect();
    let block = format!("DATA {}\n{lines}", lines.len());
    let whole = format!("LISTING\n{block}END {}\n", Crc32::of(lines.as_bytes()));
    let replies = [whole, format!("LISTING\n{}", block.repeat(1000))];
    for (is_tree, reply) in [true, false].into_iter().zip(replies) {
        let server = Scripted::greeting(move |peer| {
            while peer.line_or_end().is_some() {
                peer.send(&reply);
            }
        });
        let options = Options::default().timeout(PATIENCE).tree_memory(1 << 20);
        let mut client = Client::connect(&server.address, options).unwrap();
        let error = if is_tree { client.tree(None).err() } else { client.list(None).err() };
        let Some(Error::TooMuch { things, .. }) = error else { panic!("{error:?}") };
        assert!((1000..3000).contains(&things), "{things}");
        assert!(!client.is_connected());
        drop(client);
        server.finish();
    }
}
