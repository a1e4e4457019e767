//! One version of a file in the place of another one, of servers that cut the answer off.

use std::{io::Cursor, net::TcpListener, thread};

use ferry_client::{Code, Crc32, Error, Moved, Settings, Tag};

use crate::{
    resumes::listening,
    support::{Peer, Scripted, connect, name},
};

fn greeted(listener: &TcpListener) -> Peer {
    let mut peer = Peer::new(listener.accept().unwrap().0);
    peer.send("FERRY 1 scripted/1 with-if-tag\n");
    peer
}

/// Expects an upload of `hello` in the place of the version `old`.
fn expect_upload(peer: &mut Peer) {
    peer.expect("WITH if=old");
    peer.expect("PUT - - a");
    assert_eq!(peer.body().0, b"hello");
}

/// Has the answer to an upload be lost, and `then` happen on the next connection.
fn after_a_lost_answer(then: impl FnOnce(&mut Peer) + Send + 'static) -> Result<Moved, Error> {
    let (listener, address) = listening();
    let script = thread::spawn(move || {
        let mut peer = greeted(&listener);
        expect_upload(&mut peer);
        peer.close();
        drop(peer);
        let mut peer = greeted(&listener);
        peer.expect("SUM a");
        then(&mut peer);
        peer.expect_end();
    });
    let mut client = connect(&address);
    let old = Tag::new("old").unwrap();
    let replaced = client.replace(&name("a"), &old, &mut Cursor::new(b"hello"), &Settings::default(), &mut |_| {});
    drop(client);
    script.join().unwrap();
    replaced
}

#[test]
fn an_upload_whose_answer_was_lost_counts_where_the_server_has_it() {
    let moved = after_a_lost_answer(|peer| peer.send(format!("SUM 5 {} new\n", Crc32::of(b"hello")))).unwrap();
    assert_eq!((moved.size, moved.tag.as_str()), (5, "new"));
}

#[test]
fn it_is_sent_again_in_the_place_of_the_same_version_where_the_server_does_not_have_it() {
    let saved = format!("SAVED 5 {} new\n", Crc32::of(b"hello"));
    let moved = after_a_lost_answer(move |peer| {
        peer.send(format!("SUM 3 {} old\n", Crc32::of(b"old")));
        expect_upload(peer);
        peer.send(saved);
    });
    assert_eq!(moved.unwrap().tag.as_str(), "new");
    let changed = after_a_lost_answer(|peer| {
        peer.send("FAIL not-found gone\n");
        expect_upload(peer);
        peer.send("FAIL changed it is another one\n");
    });
    assert_eq!(changed.unwrap_err().code(), Some(Code::Changed));
}

#[test]
fn a_server_that_knows_no_versions_gets_nothing() {
    let server = Scripted::greeting(|peer| peer.expect_end());
    let mut client = connect(&server.address);
    let old = Tag::new("old").unwrap();
    let replaced = client.replace(&name("a"), &old, &mut Cursor::new(b"hello"), &Settings::default(), &mut |_| {});
    assert!(matches!(replaced, Err(Error::Lacking { feature: "with-if-tag", .. })));
    drop(client);
    server.finish();
}
