//! Uploads that do not come to their end.

use std::{
    fs::OpenOptions,
    io::{self, Read, Write as _},
};

use ferry_client::{Blame, Cancel, Client, Code, Crc32, Error, IfTaken};
use ferry_wire::BodyLine;

use crate::support::{Honest, Local, Peer, Scripted, connect, name, options};

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

/// Gives its pieces, then its end or an error.
struct Source(Vec<std::io::Result<Vec<u8>>>);

impl std::io::Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.0.is_empty() {
            return Ok(0);
        }
        let piece = self.0.remove(0)?;
        let (now, later) = piece.split_at(piece.len().min(buffer.len()));
        buffer[..now.len()].copy_from_slice(now);
        if !later.is_empty() {
            self.0.insert(0, Ok(later.to_vec()));
        }
        Ok(now.len())
    }
}

#[test]
fn a_stream_of_unknown_size_is_stored_whole_or_called_off() {
    let server = Honest::start();
    let mut client = connect(&server.address);
    let long = vec![9; 200_000];
    let mut source = Source(vec![Ok(b"he".to_vec()), Ok(b"llo".to_vec()), Ok(long.clone()), Ok(long.clone())]);
    let mtime = ferry_client::Time::new(77, 0);
    let mut seen = Vec::new();
    let saved = client.put_from(&name("a"), mtime, IfTaken::Replace, &mut source, &mut |done| seen.push(done)).unwrap();
    let whole = [&b"hello"[..], &long, &long].concat();
    assert_eq!((saved.size, saved.crc), (400_005, Crc32::of(&whole)));
    assert!(server.content("a").unwrap() == whole);
    assert_eq!(server.mtime("a"), mtime);
    assert_eq!(seen, [0, 262_144, 400_005]);

    client.put_from(&name("empty"), None, IfTaken::Replace, &mut std::io::empty(), &mut |_| {}).unwrap();
    assert_eq!(server.content("empty").unwrap(), b"");

    let broken = std::io::Error::other("the pipe burst");
    let mut source = Source(vec![Ok(vec![1; 200_000]), Ok(vec![1; 200_000]), Err(broken)]);
    let error = client.put_from(&name("b"), None, IfTaken::Replace, &mut source, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("the pipe burst"), "{error}");
    assert_eq!(server.content("b"), None);
    client.stat(&name("a")).unwrap();
}

#[test]
fn directories_are_made_ahead_and_those_that_are_there_are_as_good() {
    let server = Honest::start();
    server.add("file", "x");
    let mut client = connect(&server.address);
    let names: Vec<_> = (0..100).map(|index| name(&format!("d{}", index % 70))).collect();
    client.make_directories(&names).unwrap();
    client.stat(&names[69]).unwrap();
    // A file of that name is not as good.
    let error = client.make_directories(&["d1", "file"].map(name)).unwrap_err();
    assert_eq!(error.code(), Some(Code::Exists));
    let refused = client.make_all_directories(&["d1", "file", "e"].map(name)).unwrap();
    assert_eq!(refused.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1]);
    client.stat(&name("e")).unwrap();

    let server = Scripted::greeting(|peer| {
        for (text, reply) in [("a", "DONE\n"), ("b", "FAIL denied no\n"), ("c", "FAIL not-found b\n")] {
            peer.expect(&format!("MKDIR {text}"));
            peer.send(reply);
        }
        serve_delete(peer);
    });
    let mut client = connect(&server.address);
    let error = client.make_directories(&["a", "b", "c"].map(name)).unwrap_err();
    assert_eq!(error.code(), Some(Code::Denied), "the first failure is told");
    client.delete(&name("c")).unwrap();
    server.finish();
}

/// A stream that gives one piece, and then what a test says.
struct Stream<F>(Option<&'static [u8]>, F);

impl<F: FnMut() -> io::Result<usize>> Read for Stream<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(piece) = self.0.take() else { return self.1() };
        buffer[..piece.len()].copy_from_slice(piece);
        Ok(piece.len())
    }
}

/// As a pipe does whose writer the same Ctrl-C has ended. The bytes before the end fill a block.
#[test]
fn a_stream_that_ends_while_the_caller_has_had_enough_is_not_published() {
    let server = Scripted::greeting(move |peer| {
        peer.expect("PUT - - a");
        assert_eq!(peer.body().1, BodyLine::Stop);
        peer.send("FAIL stopped by the client\n");
        serve_delete(peer);
    });
    let cancel = Cancel::default();
    let mut client = Client::connect(&server.address, options().cancel(cancel.clone())).unwrap();
    let mut source = Stream(Some(&[b'x'; 256 << 10]), || {
        cancel.cancel();
        Ok(0)
    });
    let result = client.put_from(&name("a"), None, IfTaken::Replace, &mut source, &mut |_| {});
    assert!(matches!(result, Err(Error::Interrupted)), "{result:?}");
    cancel.reset();
    client.delete(&name("c")).unwrap();
    server.finish();
}

#[test]
fn a_silent_stream_hides_neither_the_server_nor_the_caller() {
    let would_block = || Err(io::ErrorKind::WouldBlock.into());
    let server = Scripted::greeting(move |peer| {
        peer.expect("PUT - - a");
        peer.expect("DATA 5");
        peer.pass_over(5);
        peer.send("FAIL timeout you are too slow\n");
        peer.close();
    });
    let mut client = connect(&server.address);
    let error = client
        .put_from(&name("a"), None, IfTaken::Replace, &mut Stream(Some(b"hello"), would_block), &mut |_| {})
        .unwrap_err();
    assert_eq!(error.code(), Some(Code::Timeout), "{error}");
    drop(client);
    server.finish();

    let cancel = Cancel::default();
    let raised = cancel.clone();
    let server = Scripted::greeting(move |peer| {
        peer.expect("PUT - - a");
        peer.expect("DATA 5");
        peer.pass_over(5);
        raised.cancel();
        peer.expect("STOP");
    });
    let mut client = Client::connect(&server.address, options().cancel(cancel)).unwrap();
    let result =
        client.put_from(&name("a"), None, IfTaken::Replace, &mut Stream(Some(b"hello"), would_block), &mut |_| {});
    assert!(matches!(result, Err(Error::Interrupted)), "{result:?}");
    server.finish();
}
