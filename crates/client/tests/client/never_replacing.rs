//! Uploads that replace nothing, against servers that cut, and servers that are too old for it.

use std::{net::TcpListener, thread};

use ferry_client::{Code, Crc32, Error, IfTaken, Settings};

use crate::{
    many::{store, to_store},
    resumes::listening,
    support::{Local, Peer, Scripted, connect, name},
};

const GREETING: &str = "FERRY 1 scripted/1 with-if\n";

fn never_replacing() -> Settings {
    Settings { if_taken: IfTaken::Fail, ..Settings::default() }
}

fn greeted(listener: &TcpListener) -> Peer {
    let mut peer = Peer::new(listener.accept().unwrap().0);
    peer.send(GREETING);
    peer
}

/// Expects an upload of the five bytes of `a` that asks for a free name, and gives its line.
fn expect_if_none(peer: &mut Peer) -> String {
    peer.expect("WITH if=none");
    let line = peer.line().unwrap();
    assert!(line.starts_with("RESUME ") && line.ends_with(" a"), "{line}");
    line
}

fn saved() -> String {
    format!("SAVED 5 {} t\n", Crc32::of(b"hello"))
}

fn hello() -> Local {
    let local = Local::new();
    local.file("a", b"hello");
    local
}

#[test]
fn a_free_name_is_asked_for_and_a_taken_one_costs_no_upload() {
    let server = Scripted::raw(|peer| {
        peer.send(GREETING);
        peer.expect("STAT a");
        peer.send("FAIL not-found no\n");
        expect_if_none(peer);
        peer.send("GO 0\n");
        assert_eq!(peer.body().0, b"hello");
        peer.send(saved());
        peer.expect("STAT a");
        peer.send("FILE 1 1 t\n");
        // Who may not look asks all the same.
        peer.expect("STAT a");
        peer.send("FAIL denied no\n");
        expect_if_none(peer);
        peer.send("GO 0\n");
        peer.body();
        peer.send("FAIL exists taken\n");
        peer.expect_end();
    });
    let local = hello();
    let mut client = connect(&server.address);
    let mut put = || store(&mut client, &[to_store(&local, "a")], &never_replacing()).0;
    assert!(put().is_whole());
    for _ in 0..2 {
        assert_eq!(put().failures[0].1.code(), Some(Code::Exists));
    }
    drop(client);
    server.finish();
}

/// Has the answer to an upload be lost, and `then` happen.
fn after_a_lost_answer(then: impl FnOnce(&mut Peer, &str) + Send + 'static) -> Result<(), Error> {
    let (listener, address) = listening();
    let script = thread::spawn(move || {
        let mut peer = greeted(&listener);
        peer.expect("STAT a");
        peer.send("FAIL not-found no\n");
        let line = expect_if_none(&mut peer);
        peer.send("GO 0\n");
        peer.body();
        peer.close();
        drop(peer);
        let mut peer = greeted(&listener);
        // It was begun: whether something has the name by now says nothing.
        assert_eq!(expect_if_none(&mut peer), line);
        then(&mut peer, &line);
        peer.expect_end();
    });
    let local = hello();
    let mut client = connect(&address);
    let (mut report, _) = store(&mut client, &[to_store(&local, "a")], &never_replacing());
    drop(client);
    script.join().unwrap();
    report.failures.pop().map_or(Ok(()), |(_, error)| Err(error))
}

#[test]
fn an_upload_of_ours_is_no_other_that_has_the_name() {
    let result = after_a_lost_answer(|peer, _| {
        peer.send(saved());
        peer.expect("SUM a");
        peer.send(format!("SUM 5 {} t\n", Crc32::of(b"hello")));
    });
    assert!(result.is_ok(), "{result:?}");
}

#[test]
fn another_upload_that_has_the_name_is_not_ours_though_it_be_the_same() {
    let result = after_a_lost_answer(|peer, _| {
        peer.send("GO 5\n");
        assert_eq!(peer.body().0, b"");
        // It goes on, and is to be looked at.
        peer.expect("SUM a");
        peer.send(format!("FAIL exists taken\nSUM 5 {} t\n", Crc32::of(b"hello")));
    });
    assert_eq!(result.unwrap_err().code(), Some(Code::Exists));
}

#[test]
fn a_server_that_would_replace_gets_nothing() {
    let server = Scripted::greeting(|peer| peer.expect_end());
    let local = hello();
    let mut client = connect(&server.address);
    let (report, _) = store(&mut client, &[to_store(&local, "a")], &never_replacing());
    assert!(matches!(report.failures[0].1, Error::NeverReplacing));
    let error = client.put_from(&name("a"), None, IfTaken::Fail, &mut &b"hello"[..], &mut |_| {}).unwrap_err();
    assert!(matches!(error, Error::NeverReplacing));
    drop(client);
    server.finish();
}
