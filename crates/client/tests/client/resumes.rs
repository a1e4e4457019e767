//! Servers that lie to a client that goes on with a transfer.

use std::net::TcpListener;

use ferry_client::{Address, Blame, Cancel, Client, Code, Crc32, Report, Settings};
use ferry_wire::BodyLine;

use crate::{
    many::{fetch, store, to_fetch, to_store},
    support::{GREETING, Local, PATIENCE, Peer, Scripted, connect, name, options},
};

const SIZE: usize = 3 << 20;
const HAD: usize = 1 << 20;

/// Gives up at the first cut.
fn once() -> Settings {
    Settings { retries: 0, ..Settings::default() }
}

fn content() -> Vec<u8> {
    (0..SIZE).map(|at| (at / 3) as u8).collect()
}

/// A directory in which a download of `a`, version `t`, was cut.
fn cut() -> Local {
    let server = Scripted::greeting(|peer| {
        peer.expect("GET a");
        peer.send(format!("FILE {SIZE} 5 t\nDATA {HAD}\n"));
        peer.send(&content()[..HAD]);
        peer.close();
    });
    let local = Local::new();
    local.file("a", b"old");
    let mut client = connect(&server.address);
    let (report, events) = fetch(&mut client, &[to_fetch(&local, "a")], &once());
    assert_eq!(report.failures[0].1.blame(), Blame::Connection, "{events:?}");
    drop(client);
    server.finish();
    assert_eq!(local.names().len(), 3, "the old file, the part and its mark");
    local
}

fn expect_rest(peer: &mut Peer) {
    peer.expect(&format!("READ {HAD} * t a"));
    peer.expect("SUM a");
}

fn rest() -> Vec<u8> {
    let content = content();
    let mut out = format!("FILE {SIZE} 5 t\n").into_bytes();
    for block in content[HAD..].chunks(1 << 20) {
        out.extend_from_slice(format!("DATA {}\n", block.len()).as_bytes());
        out.extend_from_slice(block);
    }
    out.extend_from_slice(format!("END {}\n", Crc32::of(&content[HAD..])).as_bytes());
    out
}

fn sum() -> String {
    format!("SUM {SIZE} {} t\n", Crc32::of(&content()))
}

#[test]
fn an_honest_rest_is_taken() {
    let local = cut();
    let server = Scripted::greeting(|peer| {
        expect_rest(peer);
        peer.send(rest());
        peer.send(sum());
        peer.expect_end();
    });
    let mut client = connect(&server.address);
    let (report, events) = fetch(&mut client, &[to_fetch(&local, "a")], &once());
    assert!(report.is_whole() && report.resumed == HAD as u64, "{events:?}");
    assert_eq!(events, ["0 begun 3145728 1048576", "0 Reading", "0 Moving", "0 Verifying", "0 done 3145728 1048576"]);
    assert!(std::fs::read(local.path("a")).unwrap() == content());
    assert_eq!(local.names(), ["a"]);
    drop(client);
    server.finish();
}

#[test]
fn a_rest_that_is_a_lie_is_never_published() {
    let lies: [(&str, Vec<u8>); 12] = [
        ("another version", b"FILE 3145728 5 u\n".to_vec()),
        ("another size", b"FILE 3145729 5 t\n".to_vec()),
        ("a size before what is there", b"FILE 5 5 t\nDATA 5\nhelloEND 3610a686\n".to_vec()),
        ("SUM first", [sum().into_bytes(), rest()].concat()),
        ("the whole again", b"FILE 3145728 5 t\nDATA 1048576\n".iter().copied().chain(vec![0; 4 << 20]).collect()),
        ("nothing of it", b"FILE 3145728 5 t\nEND 00000000\n".to_vec()),
        ("a wrong CRC", b"FILE 3145728 5 t\nDATA 1\nx".iter().copied().chain(*b"END 00000000\n").collect()),
        ("no CRC", b"FILE 3145728 5 t\nEND -\n".to_vec()),
        ("GO", b"GO 0\n".to_vec()),
        ("a directory", b"DIR -\n".to_vec()),
        ("nonsense", b"\x1b[2J\n".to_vec()),
        ("SUM of another kind", [rest(), b"SAVED 3145728 00000000 t\n".to_vec()].concat()),
    ];
    for (what, reply) in lies {
        let local = cut();
        let server = Scripted::greeting(move |peer| {
            expect_rest(peer);
            peer.send(reply);
            peer.close();
        });
        let mut client = connect(&server.address);
        let (report, events) = fetch(&mut client, &[to_fetch(&local, "a")], &once());
        assert_eq!(report.failures.len(), 1, "{what}: {events:?}");
        assert_eq!(report.failures[0].1.blame(), Blame::Protocol, "{what}: {events:?}");
        assert_eq!(std::fs::read(local.path("a")).unwrap(), b"old", "{what}");
        drop(client);
        server.finish();
    }
}

/// The part that is there is thrown away, and all of it fetched; a server that goes on so is given up.
#[test]
fn a_sum_that_does_not_fit_begins_anew() {
    let damaged = "what was kept of it is damaged";
    for (last, why) in [
        ("SUM 3145728 00000000 t\n".to_owned(), damaged),
        ("SUM 3 00000000 t\n".to_owned(), damaged),
        (sum().replace(" t\n", " u\n"), "it changed on the server"),
    ] {
        let local = cut();
        let server = Scripted::greeting(move |peer| {
            expect_rest(peer);
            peer.send(rest());
            peer.send(last);
            peer.expect("GET a");
            peer.send("FAIL io the disk is on fire\n");
            peer.expect_end();
        });
        let mut client = connect(&server.address);
        let (report, events) = fetch(&mut client, &[to_fetch(&local, "a")], &once());
        assert_eq!(report.failures[0].1.code(), Some(Code::Io), "{events:?}");
        let told: Vec<_> = events.iter().filter(|event| event.contains("restarted")).collect();
        assert_eq!(told, [&format!("0 restarted: {why}")], "{events:?}");
        assert_eq!(local.names(), ["a"], "nothing is kept of it");
        assert_eq!(std::fs::read(local.path("a")).unwrap(), b"old");
        drop(client);
        server.finish();
    }
}

#[test]
fn a_file_that_always_changes_is_given_up() {
    let local = cut();
    let server = Scripted::greeting(|peer| {
        expect_rest(peer);
        peer.send("FAIL changed it is another\n");
        peer.send("SUM 3 00000000 u\n");
        for _ in 0..3 {
            peer.expect("GET a");
            peer.send("FILE 3 5 u\nDATA 1\nxFAIL changed again\n");
        }
        peer.expect_end();
    });
    let mut client = connect(&server.address);
    let (report, events) = fetch(&mut client, &[to_fetch(&local, "a")], &once());
    assert_eq!(report.failures[0].1.code(), Some(Code::Changed), "{events:?}");
    assert_eq!(events.iter().filter(|event| event.contains("restarted")).count(), 3, "{events:?}");
    assert_eq!(local.names(), ["a"]);
    drop(client);
    server.finish();
}

#[test]
fn an_interrupt_ends_soon_and_leaves_what_can_be_gone_on_with() {
    let server = Scripted::greeting(|peer| {
        peer.expect("GET a");
        peer.send(format!("FILE {SIZE} 5 t\nDATA {HAD}\n"));
        peer.send(&content()[..HAD / 2]);
        peer.expect_end();
    });
    let local = Local::new();
    let cancel = Cancel::default();
    let mut client = Client::connect(&server.address, options().cancel(cancel.clone())).unwrap();
    let report = client.fetch(&[to_fetch(&local, "a")], &Settings::default(), &mut |event| {
        if matches!(event, ferry_client::Event::Moved { .. }) {
            cancel.cancel();
        }
    });
    assert_eq!(report.failures[0].1.blame(), Blame::Interrupted);
    let part = local.names().into_iter().find(|name| name.ends_with(".part")).unwrap();
    assert!(std::fs::metadata(local.path(&part)).unwrap().len() > 0);
    server.finish();
}

#[test]
fn a_file_of_the_largest_size_is_not_believed_to_fit() {
    let server = Scripted::greeting(|peer| {
        peer.expect("GET a");
        peer.send(format!("FILE {} - t\nDATA 1048576\n", i64::MAX));
        peer.send(vec![0; 1 << 20]);
        peer.send("DATA 1\n");
        peer.close();
    });
    let local = Local::new();
    let mut client = connect(&server.address);
    let (report, events) = fetch(&mut client, &[to_fetch(&local, "a")], &once());
    assert_eq!(report.failures[0].1.blame(), Blame::Connection, "{events:?}");
    assert!(!local.path("a").exists());
    drop(client);
    server.finish();
}

fn large(local: &Local) {
    std::fs::File::create(local.path("a")).unwrap().set_len(9 << 20).unwrap();
}

/// Stores a large file as `a` on `server`, and hears it to its end.
fn store_large(server: Scripted) -> (Report, Vec<String>) {
    let local = Local::new();
    large(&local);
    let mut client = connect(&server.address);
    let stored = store(&mut client, &[to_store(&local, "a")], &once());
    drop(client);
    server.finish();
    stored
}

fn expect_resume(peer: &mut Peer) -> String {
    let line = peer.line().unwrap();
    assert!(line.starts_with("RESUME ") && line.ends_with(" a"), "{line}");
    line.split(' ').nth(1).unwrap().to_owned()
}

#[test]
fn a_resume_that_is_refused_falls_back() {
    let crc = Crc32::of(&vec![0; 9 << 20]);
    let saved = format!("SAVED {} {crc} t\n", 9 << 20);
    for (refusal, again) in [("busy", true), ("exists", true), ("unsupported", false), ("unknown-command", false)] {
        let saved = saved.clone();
        let server = Scripted::greeting(move |peer| {
            let first = expect_resume(peer);
            peer.send(format!("FAIL {refusal} no\n"));
            if again {
                let second = expect_resume(peer);
                assert_eq!(first == second, refusal == "busy");
                peer.send("GO 0\n");
            } else {
                assert!(peer.line().unwrap().starts_with("PUT "));
            }
            let (body, closing) = peer.body();
            assert_eq!((body.len(), closing), (9 << 20, BodyLine::End(Some(crc))));
            peer.send(saved);
            peer.expect_end();
        });
        let (report, events) = store_large(server);
        assert!(report.is_whole(), "{refusal}: {events:?}");
    }
}

#[test]
fn a_server_that_is_always_busy_gets_it_without_an_id() {
    let server = Scripted::greeting(|peer| {
        for _ in 0..6 {
            expect_resume(peer);
            peer.send("FAIL busy later\n");
        }
        assert!(peer.line().unwrap().starts_with("PUT "));
        let (body, _) = peer.body();
        peer.send(format!("SAVED {} {} t\n", body.len(), Crc32::of(&body)));
        peer.expect_end();
    });
    let (report, events) = store_large(server);
    assert!(report.is_whole(), "{events:?}");
}

#[test]
fn a_large_upload_that_is_refused_in_its_middle_does_not_disturb_what_follows() {
    let server = Scripted::greeting(|peer| {
        expect_resume(peer);
        peer.send("GO 0\nFAIL no-space full\n");
        let (_, closing) = peer.body();
        assert_eq!(closing, BodyLine::Stop);
        assert!(peer.line().unwrap().starts_with("PUT 5 "));
        let (body, _) = peer.body();
        peer.send(format!("SAVED 5 {} t\n", Crc32::of(&body)));
        peer.expect("STAT b");
        peer.send("DIR -\n");
    });
    let local = Local::new();
    large(&local);
    local.file("b", b"hello");
    let mut client = connect(&server.address);
    let settings = Settings { keep_going: true, ..once() };
    let (report, events) = store(&mut client, &[to_store(&local, "a"), to_store(&local, "b")], &settings);
    assert_eq!((report.files, report.failures.len()), (1, 1), "{events:?}");
    client.stat(&name("b")).unwrap();
    server.finish();
}

#[test]
fn what_a_full_server_kept_is_gone_on_with() {
    let (tell, told) = std::sync::mpsc::channel();
    let server = Scripted::greeting(move |peer| {
        let first = expect_resume(peer);
        peer.send("GO 0\nFAIL no-space full\n");
        assert_eq!(peer.body().1, BodyLine::Stop);
        peer.expect("STAT b");
        peer.send("DIR -\n");
        // There is room again.
        let second = expect_resume(peer);
        tell.send(first == second).unwrap();
        peer.send("FAIL denied that is enough\n");
        peer.expect_end();
    });
    let local = Local::new();
    large(&local);
    let settings = Settings { state: Some(local.path("state")), ..once() };
    let mut client = connect(&server.address);
    let (report, events) = store(&mut client, &[to_store(&local, "a")], &settings);
    assert_eq!(report.failures[0].1.code(), Some(Code::NoSpace), "{events:?}");
    client.stat(&name("b")).unwrap();
    let (report, events) = store(&mut client, &[to_store(&local, "a")], &settings);
    assert_eq!(report.failures[0].1.code(), Some(Code::Denied), "{events:?}");
    assert!(told.recv().unwrap(), "it was begun anew");
    drop(client);
    server.finish();
}

#[test]
fn a_local_file_that_changes_while_it_is_sent_is_sent_anew() {
    let server = Scripted::raw(|peer| {
        peer.send(GREETING);
        let first = expect_resume(peer);
        peer.send("GO 0\n");
        let (_, closing) = peer.body();
        assert_eq!(closing, BodyLine::Stop);
        peer.send("FAIL stopped by the client\n");
        assert_ne!(expect_resume(peer), first, "another version has another id");
        peer.send("GO 0\n");
        let (body, _) = peer.body();
        peer.send(format!("SAVED {} {} t\n", body.len(), Crc32::of(&body)));
        peer.expect_end();
    });
    let local = Local::new();
    large(&local);
    let mut client = connect(&server.address);
    let (mut touched, mut restarted) = (false, 0);
    let report = client.store(&[to_store(&local, "a")], &once(), &mut |event| match event {
        ferry_client::Event::Moved { .. } if !touched => {
            touched = true;
            let file = std::fs::OpenOptions::new().write(true).open(local.path("a")).unwrap();
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
        }
        ferry_client::Event::Restarted { .. } => restarted += 1,
        _ => {}
    });
    assert!(report.is_whole() && restarted == 1, "{report:?}");
    drop(client);
    server.finish();
}

/// It is neither done nor forgotten.
#[test]
fn an_upload_that_was_stopped_fails_where_the_connection_is_lost_then() {
    let server = Scripted::greeting(|peer| {
        expect_resume(peer);
        peer.send("GO 0\n");
        assert_eq!(peer.body().1, BodyLine::Stop);
        peer.close();
    });
    let local = Local::new();
    large(&local);
    let mut client = connect(&server.address);
    let report = client.store(&[to_store(&local, "a")], &once(), &mut |event| {
        if let ferry_client::Event::Moved { .. } = event {
            let file = std::fs::OpenOptions::new().write(true).open(local.path("a")).unwrap();
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
        }
    });
    assert_eq!((report.files, report.failures.len(), report.untried), (0, 1, 0), "{report:?}");
    drop(client);
    server.finish();
}

/// Within one call: the connection is lost and opened again, and what it was to go on with is of no use by then.
#[test]
fn what_is_thrown_away_behind_a_new_connection_is_told_once() {
    let (listener, address) = listening();
    let script = std::thread::spawn(move || {
        let mut first = greeted(&listener);
        first.expect("GET a");
        first.send(format!("FILE {SIZE} 5 t\nDATA {HAD}\n"));
        first.send(&content()[..HAD]);
        drop(first);
        let mut second = greeted(&listener);
        expect_rest(&mut second);
        second.send("FAIL changed it is another\nSUM 3 00000000 u\n");
        second.expect("GET a");
        second.send(format!("FILE 3 5 u\nDATA 3\nnewEND {}\n", Crc32::of(b"new")));
        second.expect_end();
    });
    let local = Local::new();
    let mut client = connect(&address);
    let (report, events) = fetch(&mut client, &[to_fetch(&local, "a")], &Settings { retries: 1, ..once() });
    assert!(report.is_whole(), "{events:?}");
    let told: Vec<_> = events.iter().filter(|event| event.contains("restarted")).collect();
    assert_eq!(told, ["0 restarted: it changed on the server"], "{events:?}");
    drop(client);
    script.join().unwrap();
}

#[test]
fn a_server_that_lost_what_was_sent_gets_it_again_and_that_is_told() {
    let (listener, address) = listening();
    let script = std::thread::spawn(move || {
        let mut first = greeted(&listener);
        let id = expect_resume(&mut first);
        first.send("GO 0\n");
        first.pass_over(2 << 20);
        drop(first);
        let mut second = greeted(&listener);
        assert_eq!(expect_resume(&mut second), id);
        second.send("GO 0\n");
        let (body, _) = second.body();
        second.send(format!("SAVED {} {} t\n", body.len(), Crc32::of(&body)));
        second.expect_end();
    });
    let local = Local::new();
    large(&local);
    let mut client = connect(&address);
    let (report, events) = store(&mut client, &[to_store(&local, "a")], &Settings { retries: 1, ..once() });
    assert!(report.is_whole(), "{events:?}");
    let told: Vec<_> = events.iter().filter(|event| event.contains("restarted")).collect();
    assert_eq!(told, ["0 restarted: the server has nothing kept of it"], "{events:?}");
    drop(client);
    script.join().unwrap();
}

pub(crate) fn listening() -> (TcpListener, Address) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = Address::new("127.0.0.1", listener.local_addr().unwrap().port());
    (listener, address)
}

/// The next connection, greeted.
fn greeted(listener: &TcpListener) -> Peer {
    let mut peer = Peer::new(listener.accept().unwrap().0);
    peer.send(GREETING);
    peer
}

/// Takes an upload that went on from its first MiB, and answers the look at it.
fn take_resumed(peer: &mut Peer, sum: &str) -> String {
    let id = expect_resume(peer);
    peer.send(format!("GO {}\n", 1 << 20));
    let (_, closing) = peer.body();
    let BodyLine::End(Some(crc)) = closing else { panic!("{closing:?}") };
    peer.expect("SUM a");
    peer.send(format!("SAVED {} {crc} t\n{sum}\n", 9 << 20));
    id
}

#[test]
fn who_may_not_look_at_an_upload_has_the_word_of_saved() {
    let server = Scripted::greeting(|peer| {
        take_resumed(peer, "FAIL denied you may not do that");
        peer.expect_end();
    });
    let (report, events) = store_large(server);
    assert!(report.is_whole(), "{events:?}");
}

#[test]
fn an_upload_that_cannot_be_looked_at_is_made_again() {
    for code in ["io", "busy", "no-such-code"] {
        let server = Scripted::greeting(move |peer| {
            let id = take_resumed(peer, &format!("FAIL {code} no"));
            assert_ne!(expect_resume(peer), id);
            peer.send("GO 0\n");
            let (body, _) = peer.body();
            peer.send(format!("SAVED {} {} u\n", body.len(), Crc32::of(&body)));
            peer.expect_end();
        });
        let (report, events) = store_large(server);
        assert!(report.is_whole() && report.resumed == 0, "{code}: {events:?}");
        let told: Vec<_> = events.iter().filter(|event| event.contains("restarted")).collect();
        assert_eq!(told, ["0 restarted: the server cannot read again what it had kept of it"], "{code}: {events:?}");
    }
}

#[test]
fn an_upload_that_can_never_be_looked_at_is_given_up() {
    let server = Scripted::greeting(|peer| {
        for _ in 0..4 {
            take_resumed(peer, "FAIL io the disk has lost it");
        }
        peer.expect_end();
    });
    let (report, events) = store_large(server);
    assert_eq!(report.failures[0].1.code(), Some(Code::Io), "{events:?}");
}

#[test]
fn an_upload_that_was_replaced_before_the_look_at_it_is_done() {
    for code in ["not-found", "not-a-file", "changed"] {
        let server = Scripted::greeting(move |peer| {
            take_resumed(peer, &format!("FAIL {code} somebody else was here"));
            peer.expect_end();
        });
        let (report, events) = store_large(server);
        assert!(report.is_whole(), "{code}: {events:?}");
        assert!(!events.iter().any(|event| event.contains("restarted")), "{code}: {events:?}");
    }
}

/// The last answer was lost, and by the time of the next connection the server's file is what `sum` says.
fn lost_saved(sum: &'static str, is_there: bool) {
    let (listener, address) = listening();
    let script = std::thread::spawn(move || {
        let mut first = greeted(&listener);
        let id = expect_resume(&mut first);
        first.send("GO 0\n");
        let (body, _) = first.body();
        let crc = Crc32::of(&body);
        drop(first);
        let mut second = greeted(&listener);
        assert_eq!(expect_resume(&mut second), id);
        second.send(format!("SAVED {} {crc} t\n", body.len()));
        second.expect("SUM a");
        second.send(sum.replace("CRC", &crc.to_string()));
        if !is_there {
            assert_ne!(expect_resume(&mut second), id);
            second.send("GO 0\n");
            let (again, _) = second.body();
            assert!(again == body);
            second.send(format!("SAVED {} {crc} u\n", body.len()));
        }
        second.expect_end();
    });
    let local = Local::new();
    large(&local);
    let mut client = connect(&address);
    let (report, events) = store(&mut client, &[to_store(&local, "a")], &Settings { retries: 1, ..once() });
    assert!(report.is_whole(), "{sum}: {events:?}");
    let restarts = events.iter().filter(|event| event.contains("restarted")).count();
    assert_eq!(restarts, usize::from(!is_there), "{sum}: {events:?}");
    drop(client);
    script.join().unwrap();
}

#[test]
fn an_upload_whose_last_answer_was_lost_is_done_only_if_it_is_still_there() {
    lost_saved("SUM 9437184 CRC t\n", true);
    // Renamed there and back, say.
    lost_saved("SUM 9437184 CRC u\n", true);
    lost_saved("SUM 9437184 00000000 t\n", false);
    lost_saved("SUM 9437184 00000000 u\n", false);
    lost_saved("SUM 3 00000000 u\n", false);
    for code in ["not-found", "not-a-file", "changed", "io"] {
        lost_saved(format!("FAIL {code} somebody else was here\n").leak(), false);
    }
}

#[test]
fn an_upload_by_hand_whose_last_answer_was_lost_is_made_again_where_it_is_gone() {
    let id = Client::new_id().unwrap();
    for (sum, is_there) in [("SUM 5 3610a686 u", true), ("SUM 5 00000000 u", false), ("FAIL not-found gone", false)] {
        let server = Scripted::greeting(move |peer| {
            expect_resume(peer);
            peer.send("SAVED 5 3610a686 t\n");
            peer.expect("SUM a");
            peer.send(format!("{sum}\n"));
            if !is_there {
                assert!(peer.line().unwrap().starts_with("PUT 5 "));
                assert_eq!(peer.body().0, b"hello");
                peer.send("SAVED 5 3610a686 v\n");
            }
            peer.expect_end();
        });
        let local = Local::new();
        let mut client = connect(&server.address);
        let sent = client.resume(&id, &name("a"), &local.file("a", b"hello"), &mut |_| {}).unwrap();
        assert_eq!((sent.size, sent.tag.as_str()), (5, if is_there { "u" } else { "v" }), "{sum}");
        drop(client);
        server.finish();
    }
}

/// A server that does not wait as long as it takes to read here what is there already.
#[test]
fn what_was_read_to_go_on_is_not_read_again_behind_each_go() {
    const THERE: u64 = 80 << 20;
    let local = Local::new();
    let state = local.path("state");
    std::fs::File::create(local.path("a")).unwrap().set_len(THERE + 5).unwrap();
    let crc = Crc32::of(&vec![0; THERE as usize + 5]);
    let (listener, address) = listening();
    let script = std::thread::spawn({
        let state = state.clone();
        move || {
            let mut id = None;
            let mut cuts = 0;
            let mut peer = loop {
                let mut peer = greeted(&listener);
                let asked = expect_resume(&mut peer);
                assert_eq!(*id.get_or_insert(asked.clone()), asked);
                // It may have read to the end before it found out that it was turned away: then there is no more to see.
                let before = noted(&state);
                peer.send(format!("GO {THERE}\n"));
                if cuts == 2 || before == THERE {
                    break peer;
                }
                eventually(|| noted(&state) > before);
                peer.send("FAIL timeout no request\n");
                peer.close();
                cuts += 1;
            };
            let (body, closing) = peer.body();
            assert_eq!((body.len(), closing), (5, BodyLine::End(Some(crc))));
            peer.expect("SUM a");
            peer.send(format!("SAVED {0} {crc} t\nSUM {0} {crc} t\n", THERE + 5));
            peer.expect_end();
        }
    });
    // The next change of the file would have another stamp.
    eventually(|| local.path("a").metadata().unwrap().modified().unwrap().elapsed().unwrap().as_millis() > 20);
    let mut client = connect(&address);
    let settings = Settings { retries: 1, state: Some(state), ..Settings::default() };
    let (report, events) = store(&mut client, &[to_store(&local, "a")], &settings);
    assert!(report.is_whole(), "{events:?}");
    drop(client);
    script.join().unwrap();
}

/// How far the one journal in `directory` says that its file was read.
fn noted(directory: &std::path::Path) -> u64 {
    let files = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let journals = files.flat_map(|file| std::fs::read_to_string(file.path()));
    let points = journals.flat_map(|journal| {
        let at = |line: &str| line.strip_prefix("at ")?.split_once(' ')?.0.parse().ok();
        journal.lines().filter_map(at).collect::<Vec<u64>>()
    });
    points.max().unwrap_or(0)
}

fn eventually(mut is_so: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "gave up waiting");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}
