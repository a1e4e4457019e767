//! The drain: transfers under way end, whoever is idle is told, and nobody else comes in.

use std::net::TcpStream;

use ferry_e2e::{Options, Raw, Server, Signal, body, crc, gist, random_bytes, seed};

use super::{BLOCK_BYTES, LONG};

const FAREWELL: &str = "FAIL shutting-down";

/// Has the server drain, and returns when it has begun: a client that is idle has been told.
#[track_caller]
fn drain(server: &Server) {
    let mut idle = Raw::greeted(server.address());
    server.signal(Signal::TERM);
    expect_farewell(&mut idle);
    TcpStream::connect(server.address()).expect_err("nobody is accepted any more");
}

/// Reads the last reply, and nothing but that.
#[track_caller]
fn expect_farewell(raw: &mut Raw) {
    assert_eq!(gist(String::from_utf8(raw.to_eof()).unwrap().trim_end()), FAREWELL);
}

/// A client that has sent `request`, and half of `whole`.
fn half_sent(server: &Server, request: &str, go: Option<&str>, whole: &[u8]) -> Raw {
    let mut raw = Raw::greeted(server.address());
    raw.send(format!("{request}\n"));
    if let Some(go) = go {
        assert_eq!(raw.line(), go);
    }
    raw.send(&body(whole, BLOCK_BYTES)[..whole.len() / 2]);
    raw
}

#[test]
fn transfers_of_every_kind_that_are_under_way_end() {
    const ENTRIES: usize = 3_000;
    const SMALL: usize = 300;
    let mut server = Options::new().arg("--grace").arg(LONG).start();
    let whole = random_bytes(seed(), 3 * BLOCK_BYTES);
    server.write("large", &vec![7; 24 * BLOCK_BYTES]);
    for entry in 0..ENTRIES {
        server.write(&format!("many/{entry:0200}"), b"");
    }
    let mut loading = Raw::greeted(server.address());
    loading.send("GET large\n");
    let mut listing = Raw::greeted(server.address());
    listing.send("LIST many\n");
    let request = format!("PUT {} - put", whole.len());
    let mut putting = half_sent(&server, &request, None, &whole);
    let request = format!("RESUME id {} - resumed", whole.len());
    let mut resuming = half_sent(&server, &request, Some("GO 0"), &whole);
    let mut pipelined = Raw::greeted(server.address());
    let pair = |number| format!("PUT 5 - small{number}\nDATA 5\nhelloEND {}\nGET small{number}\n", crc(b"hello"));
    // At once: hundreds of small segments can fill the server's window, and then nothing may come for a second.
    pipelined.send((0..SMALL).map(pair).collect::<String>());
    drain(&server);

    let rest = body(&whole, BLOCK_BYTES);
    for raw in [&mut putting, &mut resuming] {
        raw.send(&rest[whole.len() / 2..]);
        assert_eq!(gist(&raw.answer("PUT").line), format!("SAVED {} {}", whole.len(), crc(&whole)));
    }
    assert!(loading.answer("GET").verified() == vec![7; 24 * BLOCK_BYTES]);
    let listed = String::from_utf8(listing.answer("LIST").verified()).unwrap();
    assert_eq!(listed.lines().count(), ENTRIES);
    for number in 0..SMALL {
        let put = pipelined.answer("PUT").line;
        assert!(put.starts_with("SAVED "), "{number}: {put}");
        assert_eq!(pipelined.answer("GET").verified(), b"hello", "{number}");
    }
    for raw in [&mut loading, &mut listing, &mut putting, &mut resuming, &mut pipelined] {
        expect_farewell(raw);
    }
    assert_eq!(server.wait().code(), Some(0));
    assert!(server.read("put") == whole && server.read("resumed") == whole);
    assert_eq!(server.visible().len(), SMALL + 4);
}

#[test]
fn all_that_a_client_has_sent_is_answered_however_many_turns_that_takes() {
    // They come with one read, and are answered at once, in some thirty turns.
    const REQUESTS: usize = 2_000;
    let mut server = Options::new().arg("--grace").arg(LONG).start();
    server.write("a", b"hello");
    let mut raw = half_sent(&server, "PUT 4 - b", None, b"half");
    drain(&server);
    let rest = &body(b"half", BLOCK_BYTES)[2..];
    raw.send([rest, "GET a\n".repeat(REQUESTS).as_bytes()].concat());
    assert_eq!(raw.answer("PUT").word(0), "SAVED");
    for number in 0..REQUESTS {
        assert_eq!(raw.answer("GET").verified(), b"hello", "{number}");
    }
    expect_farewell(&mut raw);
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn when_the_grace_is_over_what_is_whole_is_published_and_the_rest_is_told() {
    let mut server = Options::new().arg("--grace").arg("0").start();
    let mut whole = Raw::greeted(server.address());
    assert_eq!(whole.put("whole", b"hello").word(0), "SAVED");
    let mut half = half_sent(&server, "PUT 4 - half", None, b"half");
    server.signal(Signal::TERM);
    expect_farewell(&mut half);
    assert_eq!(server.wait().code(), Some(0));
    assert_eq!(server.visible(), ["whole"]);
}
