//! Scrapers that misbehave: they cost the server nothing that others would notice.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use ferry_e2e::{HANG_GUARD, Raw};

use crate::{page, page::Page, server};

#[test]
fn those_who_never_ask_or_never_read_are_dropped_and_disturb_nobody() {
    let server = server().start();
    server.write("a", b"hello");
    let mut raw = Raw::greeted(server.address());
    let address = page::address(&server);
    Page::get(address);
    let before = server.figures();
    let connect = || {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(HANG_GUARD)).unwrap();
        stream
    };
    let mut rude = Vec::new();
    for number in 0..60 {
        let mut stream = connect();
        let sent: &[u8] = match number % 4 {
            0 => b"",
            1 => b"GET /metrics HTTP/1.1\r\nHost: f",
            2 => b"\x16\x03\x01\x02\x00garbage without an end",
            // It asks, and reads nothing.
            _ => b"GET /metrics HTTP/1.1\r\nHost: ferryd\r\n\r\n",
        };
        // The first ones have given way by then.
        let _ = stream.write_all(sent);
        rude.push(stream);
        if number % 20 == 0 {
            assert_eq!(raw.ask("GET a").verified(), b"hello");
            Page::get(address);
        }
    }
    // All places are taken by those who are waited for; an honest one is served.
    Page::get(address);
    assert_eq!(raw.ask("GET a").verified(), b"hello");
    assert_eq!(server.figures().threads, before.threads, "a scraper got a thread");
    // All have an end: the deadline, where they did not give way.
    for (number, stream) in rude.iter_mut().enumerate() {
        let mut rest = Vec::new();
        // One that gave way with something unread is reset.
        if let Err(error) = stream.read_to_end(&mut rest) {
            assert!(error.kind() == std::io::ErrorKind::ConnectionReset, "scraper {number}: {error}");
        }
    }
    drop(rude);
    server.settles("the scrapers are gone", |figures| figures.descriptors <= before.descriptors);
    Page::get(address);
    assert_eq!(raw.ask("GET a").verified(), b"hello");
}
