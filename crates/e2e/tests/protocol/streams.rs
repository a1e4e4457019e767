//! Uploads whose size nobody knows before their end, and which go on after a cut.

use ferry_e2e::{Options, Raw, Server, Signal, body, crc, eventually, random_bytes, seed};

use super::{BLOCK_BYTES, gist};

/// As PROTOCOL.md has it: no more arrives between two checkpoints.
const KEPT_EACH_BYTES: usize = 8 << 20;

/// Asks to go on with a stream, whose bytes are `whole`, and returns the offset that the server names.
#[track_caller]
fn go(raw: &mut Raw, request: &str, whole: &[u8]) -> usize {
    let line = raw.ask(request).line;
    let words: Vec<_> = line.split(' ').collect();
    let [verb, offset, kept] = words[..] else { panic!("{line:?} in answer to {request:?}") };
    let offset: usize = offset.parse().unwrap();
    assert_eq!((verb, kept), ("GO", format!("crc={}", crc(&whole[..offset])).as_str()));
    offset
}

/// Blocks of these bytes, and nothing that closes them.
fn blocks(bytes: &[u8]) -> Vec<u8> {
    let mut out = body(bytes, BLOCK_BYTES);
    out.truncate(out.len() - "END 00000000\n".len());
    out
}

fn stop(raw: &mut Raw) {
    raw.send("STOP\n");
    raw.answer("RESUME").expect_failure("stopped");
}

/// Names in the server's own corner of what it keeps for the stream `id`.
fn kept(server: &Server) -> Vec<String> {
    let entries = std::fs::read_dir(server.path(".ferry/kept")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_stream_goes_on_where_it_was_cut_and_its_end_tells_its_size() {
    let server = Server::start();
    server.write("x", b"the old one");
    let whole = random_bytes(seed(), 2 * BLOCK_BYTES + 77);
    let request = "RESUME up - 1600000000.5 x";
    let mut at = 0;
    for arrived in [0, 1, BLOCK_BYTES + 1000, whole.len()] {
        let mut raw = Raw::greeted(server.address());
        assert_eq!(go(&mut raw, request, &whole), at, "all that arrived before a clean end is kept");
        raw.send(blocks(&whole[at..arrived]));
        at = arrived;
        raw.finish();
        assert_eq!(gist(&raw.line()), "FAIL incomplete");
        raw.expect_eof();
        assert_eq!((server.read("x"), server.visible()), (b"the old one".to_vec(), vec!["x".to_owned()]));
    }
    let mut raw = Raw::greeted(server.address());
    assert_eq!(go(&mut raw, request, &whole), whole.len());
    raw.send(format!("END {}\n", crc(&whole)));
    let saved = raw.line();
    assert_eq!(gist(&saved), format!("SAVED {} {}", whole.len(), crc(&whole)));
    assert_eq!(raw.ask("STAT x").word(2), "1600000000.5");
    assert!(server.read("x") == whole);
    // Published already: the same line is answered as it was, and no other is.
    assert_eq!(Raw::greeted(server.address()).ask(request).line, saved);
    raw.ask(&format!("RESUME up {} - x", whole.len())).expect_failure("exists");
}

#[test]
fn the_client_is_told_what_is_kept_and_a_server_that_is_killed_keeps_that() {
    let server = Server::start();
    let whole = random_bytes(seed(), 4 * KEPT_EACH_BYTES + 5);
    let request = "RESUME up - - x";
    let mut raw = Raw::greeted(server.address());
    assert_eq!(go(&mut raw, request, &whole), 0);
    let mut told = 0;
    // Never more than these are sent ahead of what is kept: so one who waits for that never waits in vain.
    for end in (1..=4).map(|count| count * KEPT_EACH_BYTES) {
        raw.send(blocks(&whole[told.max(end - KEPT_EACH_BYTES)..end]));
        let line = raw.line();
        told = line.strip_prefix("KEPT ").unwrap_or_else(|| panic!("{line:?}")).parse().unwrap();
        assert_eq!(told, end);
    }
    raw.send(blocks(&whole[told..]));
    server.signal(Signal::KILL);
    let next = Options::new().root(server.root()).start();
    let mut raw = Raw::greeted(next.address());
    let offset = go(&mut raw, request, &whole);
    assert!(offset >= told, "GO {offset} after KEPT {told}");
    raw.send(blocks(&whole[offset..]));
    raw.send(format!("END {}\n", crc(&whole)));
    assert_eq!(gist(&raw.line()), format!("SAVED {} {}", whole.len(), crc(&whole)));
    assert!(next.read("x") == whole);
}

#[test]
fn who_gives_a_stream_up_leaves_nothing() {
    let server = Server::start();
    let mut raw = Raw::greeted(server.address());
    for body in ["STOP\n", "DATA 2\n01STOP\n"] {
        assert_eq!(go(&mut raw, "RESUME up - - x", b""), 0);
        raw.send(body);
        raw.answer("RESUME").expect_failure("stopped");
        eventually("all of it is gone", || kept(&server).is_empty().then_some(()));
    }
    assert_eq!(go(&mut raw, "RESUME up - - x", b""), 0);
    raw.send("DATA 2\n01END 00000000\n");
    raw.answer("RESUME").expect_failure("checksum");
    eventually("all of it is gone", || kept(&server).is_empty().then_some(()));
    // A size is another matter, and there is none that it could fall short of.
    assert_eq!(go(&mut raw, "RESUME up - - x", b""), 0);
    raw.send(format!("DATA 2\n01END {}\n", crc(b"01")));
    assert_eq!(gist(&raw.line()), format!("SAVED 2 {}", crc(b"01")));
    assert_eq!(server.visible(), ["x"]);
}

#[test]
fn a_stream_has_no_parts_and_no_size() {
    let server = Server::start();
    let (mut raw, mut other) = (Raw::greeted(server.address()), Raw::greeted(server.address()));
    assert_eq!(go(&mut raw, "RESUME up - - x", b""), 0);
    raw.send("DATA 2\n01");
    other.send(format!("PART up 2 2 x\nDATA 2\n23END {}\n", crc(b"23")));
    other.answer("PART").expect_failure("bad-range");
    other.ask("RESUME up 4 - x").expect_failure("exists");
    other.ask("RESUME up - - y").expect_failure("exists");
    raw.send(format!("JOIN {}\n", crc(b"0123")));
    assert_eq!(gist(&raw.line()), "FAIL bad-request");
    raw.expect_eof();
    // What came before is kept.
    let mut raw = Raw::greeted(server.address());
    assert_eq!(go(&mut raw, "RESUME up - - x", b"01"), 2);
    stop(&mut raw);
    raw.send("RESUME sized 4 - x\n");
    assert_eq!(raw.answer("RESUME").line, "GO 0");
    other.ask("RESUME sized - - x").expect_failure("exists");
    stop(&mut raw);
}

#[test]
fn limits_hold_for_streams() {
    let server = Options::new().arg("--max-upload").arg("2MiB").arg("--max-kept").arg("1").start();
    let mut raw = Raw::greeted(server.address());
    let whole = random_bytes(seed(), 3 * BLOCK_BYTES);
    assert_eq!(go(&mut raw, "RESUME up - - x", b""), 0);
    raw.send(blocks(&whole));
    raw.answer("RESUME").expect_failure("too-large");
    raw.send("END -\n");
    eventually("it is dropped", || kept(&server).is_empty().then_some(()));
    assert_eq!(go(&mut raw, "RESUME up - - x", b""), 0);
    raw.send("DATA 2\n01");
    let mut other = Raw::greeted(server.address());
    other.ask("RESUME other - - y").expect_failure("busy");

    let full = Options::new().arg("--max-staged").arg("10MiB").start();
    let mut raw = Raw::greeted(full.address());
    let whole = random_bytes(seed(), 16 * BLOCK_BYTES);
    assert_eq!(go(&mut raw, "RESUME up - - x", b""), 0);
    raw.send(blocks(&whole[..KEPT_EACH_BYTES]));
    assert_eq!(raw.line(), format!("KEPT {KEPT_EACH_BYTES}"));
    raw.send_what_it_takes(blocks(&whole[KEPT_EACH_BYTES..]));
    raw.answer("RESUME").expect_failure("no-space");
    raw.send("STOP\n");
    // As the checkpoint before promised.
    assert_eq!(go(&mut raw, "RESUME up - - x", &whole), KEPT_EACH_BYTES);
    stop(&mut raw);
    assert!(full.visible().is_empty());
}

#[test]
fn what_is_there_may_be_left_as_it_is() {
    let server = Options::new().arg("--keep-modes").arg("all").start();
    server.write("x", b"the old one");
    let mut raw = Raw::greeted(server.address());
    raw.send("WITH if=none\n");
    assert_eq!(go(&mut raw, "RESUME up - - x", b""), 0);
    raw.send(format!("DATA 2\n01END {}\n", crc(b"01")));
    raw.answer("RESUME").expect_failure("exists");
    assert_eq!(server.read("x"), b"the old one");
    raw.send("WITH mode=640\n");
    assert_eq!(go(&mut raw, "RESUME up - - x", b"01"), 2);
    raw.send(format!("END {}\n", crc(b"01")));
    assert_eq!(gist(&raw.line()), format!("SAVED 2 {}", crc(b"01")));
    assert_eq!(server.read("x"), b"01");
}

#[test]
fn only_a_server_that_takes_uploads_takes_streams() {
    let words = |server: &Server| {
        let mut raw = Raw::connect(server.address());
        raw.line()
    };
    assert!(words(&Server::start()).contains(" streams "));
    let server = Options::new().arg("--read-only").start();
    assert!(!words(&server).contains("streams"));
    Raw::greeted(server.address()).ask("RESUME up - - x").expect_failure("read-only");
}
