//! Uploads that do not come to their end.

use std::{fs::OpenOptions, io::Write as _};

use ferry_client::{Blame, Cancel, Client, Code, Crc32, Error};
use ferry_wire::BodyLine;

use crate::support::{Local, Peer, Scripted, connect, name, options};

/// Reads the PUT line, whatever its size and time.
fn expect_put(peer: &mut Peer) {
    let line = peer.line().unwrap();
    assert!(line.starts_with("PUT ") && line.ends_with(" a"), "{line}");
}

/// The connection is in step: the next request gets its own answer.
fn serve_delete(peer: &mut Peer) {
    peer.expect("DELETE c");
    peer.send("DONE\n");
}

#[test]
fn a_refusal_in_the_middle_is_answered_with_stop() {
    let server = Scripted::greeting(|peer| {
        expect_put(peer);
        peer.send("FAIL no-space the disk is full\n");
        let (body, closing) = peer.body();
        assert!(body.len() < 64 << 20);
        assert_eq!(closing, BodyLine::Stop);
        serve_delete(peer);
    });
    let local = Local::new();
    let mut client = connect(&server.address);
    let error = client.put(&name("a"), &local.large_file("a"), &mut |_| {}).unwrap_err();
    assert_eq!((error.code(), error.blame()), (Some(Code::NoSpace), Blame::Request));
    client.delete(&name("c")).unwrap();
    server.finish();
}

#[test]
fn a_refusal_of_a_small_file_needs_no_stop() {
    let server = Scripted::greeting(|peer| {
        expect_put(peer);
        let (body, closing) = peer.body();
        assert_eq!((body.as_slice(), closing), (&b"hello"[..], BodyLine::End(Some(Crc32::of(b"hello")))));
        peer.send("FAIL read-only this server takes no changes\n");
        serve_delete(peer);
    });
    let local = Local::new();
    let mut client = connect(&server.address);
    let error = client.put(&name("a"), &local.file("a", b"hello"), &mut |_| {}).unwrap_err();
    assert_eq!(error.code(), Some(Code::ReadOnly));
    client.delete(&name("c")).unwrap();
    server.finish();
}

#[test]
fn a_refusal_that_closes_is_seen_through_the_broken_sending() {
    let server = Scripted::greeting(|peer| {
        expect_put(peer);
        peer.send("FAIL bad-request the stream can't be followed\n");
        peer.close();
    });
    let local = Local::new();
    let mut client = connect(&server.address);
    let error = client.put(&name("a"), &local.large_file("a"), &mut |_| {}).unwrap_err();
    assert_eq!(error.code(), Some(Code::BadRequest), "{error}");
    drop(client);
    server.finish();
}

#[test]
fn a_server_that_goes_away_is_told_as_such() {
    let server = Scripted::greeting(expect_put);
    let local = Local::new();
    let mut client = connect(&server.address);
    let error = client.put(&name("a"), &local.large_file("a"), &mut |_| {}).unwrap_err();
    assert!(matches!(error, Error::Closed(None)), "{error}");
    assert!(!client.is_connected());
    server.finish();
}

#[test]
fn an_interrupted_upload_is_stopped_and_the_connection_goes_on() {
    let cancel = Cancel::default();
    let raised = cancel.clone();
    let server = Scripted::greeting(move |peer| {
        expect_put(peer);
        // Nothing more is taken until the client is stuck in the middle of a block.
        raised.cancel();
        let (body, closing) = peer.body();
        assert!(body.len() < 64 << 20);
        assert_eq!(closing, BodyLine::Stop);
        peer.send("FAIL stopped by the client\n");
        serve_delete(peer);
    });
    let local = Local::new();
    let mut client = Client::connect(&server.address, options().cancel(cancel.clone())).unwrap();
    let result = client.put(&name("a"), &local.large_file("a"), &mut |_| {});
    assert!(matches!(result, Err(Error::Interrupted)));
    cancel.reset();
    client.delete(&name("c")).unwrap();
    server.finish();
}

#[test]
fn an_interrupt_that_comes_too_late_changes_nothing() {
    let cancel = Cancel::default();
    let raised = cancel.clone();
    let server = Scripted::greeting(move |peer| {
        expect_put(peer);
        peer.body();
        raised.cancel();
        peer.send(format!("SAVED 5 {} t\n", Crc32::of(b"hello")));
    });
    let local = Local::new();
    let mut client = Client::connect(&server.address, options().cancel(cancel)).unwrap();
    client.put(&name("a"), &local.file("a", b"hello"), &mut |_| {}).unwrap();
    server.finish();
}

#[test]
fn a_file_that_changes_meanwhile_is_not_sent_as_if_it_were_one() {
    let local = Local::new();
    for (change, size) in [("shrink", 3 << 20), ("grow", 3 << 20), ("rewrite", 3 << 20)] {
        let server = Scripted::greeting(|peer| {
            expect_put(peer);
            let (_, closing) = peer.body();
            assert_eq!(closing, BodyLine::Stop);
            peer.send("FAIL stopped by the client\n");
            serve_delete(peer);
        });
        let source = local.file(change, &vec![7; size]);
        let mut client = connect(&server.address);
        let result = client.put(&name("a"), &source, &mut |progress| {
            if progress.done == 0 {
                let mut file = OpenOptions::new().write(true).append(change == "grow").open(&source).unwrap();
                match change {
                    "shrink" => file.set_len(1 << 20).unwrap(),
                    // A clock tick may not have passed: the time is set, not waited for.
                    "rewrite" => file.set_modified(std::time::UNIX_EPOCH).unwrap(),
                    _ => file.write_all(b"!").unwrap(),
                }
            }
        });
        assert!(matches!(result, Err(Error::LocalFile { .. })), "{change}: {result:?}");
        client.delete(&name("c")).unwrap();
        server.finish();
    }
}

#[test]
fn what_is_no_file_is_not_asked_for() {
    let server = Scripted::greeting(serve_delete);
    let local = Local::new();
    std::fs::create_dir(local.path("directory")).unwrap();
    let fifo = local.path("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    let mut client = connect(&server.address);
    for source in ["missing", "directory", "fifo", "fifo/a"] {
        let error = client.put(&name("a"), &local.path(source), &mut |_| {}).unwrap_err();
        assert_eq!(error.blame(), Blame::Local, "{source}: {error}");
    }
    client.delete(&name("c")).unwrap();
    server.finish();
}

#[test]
fn a_confirmation_must_be_of_what_was_sent() {
    let local = Local::new();
    let source = local.file("a", b"hello");
    for (reply, verified) in [
        (format!("SAVED 5 {} t\n", Crc32::of(b"help!")), false),
        (format!("SAVED 6 {} t\n", Crc32::of(b"hello")), false),
        ("DONE\n".to_owned(), true),
        ("SAVED 5\n".to_owned(), true),
    ] {
        let server = Scripted::greeting(move |peer| {
            expect_put(peer);
            peer.body();
            peer.send(reply);
        });
        let error = connect(&server.address).put(&name("a"), &source, &mut |_| {}).unwrap_err();
        assert_eq!(matches!(error, Error::Violation(_)), verified, "{error}");
        assert_eq!(error.blame(), Blame::Protocol);
        server.finish();
    }
}

#[test]
fn a_confirmation_before_the_end_is_a_violation() {
    let server = Scripted::greeting(|peer| {
        expect_put(peer);
        peer.send("SAVED 67108864 00000000 t\n");
        peer.close();
    });
    let local = Local::new();
    let mut client = connect(&server.address);
    let error = client.put(&name("a"), &local.large_file("a"), &mut |_| {}).unwrap_err();
    assert!(matches!(error, Error::Violation(_)), "{error}");
    assert!(!client.is_connected());
    drop(client);
    server.finish();
}
