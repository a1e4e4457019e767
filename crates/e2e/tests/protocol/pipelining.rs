//! Many requests before the first answer is read.

use std::{
    fmt::Write as _,
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    thread,
};

use ferry_e2e::{HANG_GUARD, Options, Raw, Server, crc, random_bytes, seed};

use super::gist;

/// How many requests stand in one pipeline.
const DEPTH: usize = 2_000;

/// Durability is tested elsewhere; here it would only cost time.
fn server() -> Server {
    Options::new().arg("--durability").arg("none").start()
}

#[test]
fn requests_take_effect_in_order() {
    let server = Server::start();
    let mut raw = Raw::greeted(server.address());
    let end = crc(b"hello");
    raw.send(format!(
        "PUT 5 - a\nDATA 5\nhelloEND {end}\nGET a\nRENAME a//b\nGET a\nGET b\nDELETE b\nGET b\nMKDIR d\nPUT 5 - d/a\n\
         DATA 5\nhelloEND {end}\nDELETE d\nDELETE d/a\nDELETE d\nSTAT d\n"
    ));
    assert_eq!(gist(&raw.answer("PUT").line), format!("SAVED 5 {end}"));
    assert_eq!(raw.answer("GET").verified(), b"hello");
    assert_eq!(raw.answer("RENAME").line, "DONE");
    raw.answer("GET").expect_failure("not-found");
    assert_eq!(raw.answer("GET").verified(), b"hello");
    assert_eq!(raw.answer("DELETE").line, "DONE");
    raw.answer("GET").expect_failure("not-found");
    assert_eq!(raw.answer("MKDIR").line, "DONE");
    assert_eq!(gist(&raw.answer("PUT").line), format!("SAVED 5 {end}"));
    raw.answer("DELETE").expect_failure("not-empty");
    assert_eq!(raw.answer("DELETE").line, "DONE");
    assert_eq!(raw.answer("DELETE").line, "DONE");
    raw.answer("STAT").expect_failure("not-found");
}

#[test]
fn the_latest_of_many_puts_wins_and_each_get_sees_the_one_before_it() {
    const ROUNDS: usize = 300;
    let server = server();
    let mut sent = String::new();
    for round in 0..ROUNDS {
        let text = round.to_string();
        let _ = write!(sent, "PUT {0} - same\nDATA {0}\n{text}END {1}\nGET same\n", text.len(), crc(text.as_bytes()));
    }
    let mut raw = Raw::greeted(server.address());
    raw.send(sent);
    for round in 0..ROUNDS {
        assert_eq!(raw.answer("PUT").word(0), "SAVED");
        assert_eq!(raw.answer("GET").verified(), round.to_string().as_bytes());
    }
}

/// A pipeline of mixed requests, each with the gist of its answer; those of one round depend on each
/// other.
fn mixed(depth: usize) -> Vec<(String, String)> {
    let mut requests: Vec<(String, String)> = Vec::new();
    let mut round = 0;
    while requests.len() < depth {
        let text = format!("r{round}");
        let (length, end) = (text.len(), crc(text.as_bytes()));
        requests.extend([
            (format!("PUT {length} - {text}\nDATA {length}\n{text}END {end}\n"), format!("SAVED {length} {end}")),
            (format!("STAT {text}\n"), format!("FILE {length}")),
            (format!("SUM {text}\n"), format!("SUM {length} {end}")),
            (format!("RENAME {text}//m{round}\n"), "DONE".into()),
            (format!("GET m{round}\n"), format!("FILE {length}\nDATA {length}\n{text}END {end}")),
            (format!("GET {text}\n"), "FAIL not-found".into()),
            (format!("MKDIR d{round}\n"), "DONE".into()),
            (format!("READ 1 * * m{round}\n"), {
                let rest = &text[1..];
                format!("FILE {length}\nDATA {}\n{rest}END {}", rest.len(), crc(rest.as_bytes()))
            }),
            ("FROB\n".into(), "FAIL unknown-command".into()),
            ("PUT 1 - ../x\nDATA 1\nxSTOP\n".into(), "FAIL bad-name".into()),
            (format!("DELETE d{round}\n"), "DONE".into()),
            (format!("DELETE m{round}\n"), "DONE".into()),
        ]);
        round += 1;
    }
    requests.truncate(depth);
    requests
}

#[test]
fn two_thousand_mixed_requests_without_reading_until_the_end() {
    let server = server();
    let requests = mixed(DEPTH);
    let sent: String = requests.iter().map(|(sent, _)| sent.as_str()).collect();
    let expected: Vec<&str> = requests.iter().flat_map(|(_, expected)| expected.lines()).collect();
    let mut raw = Raw::greeted(server.address());
    raw.send(sent);
    raw.finish();
    let said = String::from_utf8(raw.to_eof()).unwrap();
    let said: Vec<String> = said.lines().map(gist).collect();
    for (index, (said, expected)) in said.iter().zip(&expected).enumerate() {
        assert_eq!(said, expected, "line {index}");
    }
    assert_eq!(said.len(), expected.len() + 1);
    assert_eq!(said.last().unwrap(), "BYE");
}

#[test]
fn a_pipeline_larger_than_every_buffer_moves_while_the_client_reads() {
    let server = server();
    let bytes = random_bytes(seed(), 16 << 10);
    server.write("piece", &bytes);
    let mut raw = Raw::greeted(server.address());
    let mut writer = raw.socket().try_clone().unwrap();
    let text = "GET piece\nSTAT piece\n";
    let writing = thread::spawn(move || {
        use std::io::Write as _;
        for _ in 0..DEPTH {
            writer.write_all(text.as_bytes()).unwrap();
        }
        writer.shutdown(Shutdown::Write).unwrap();
    });
    for _ in 0..DEPTH {
        assert!(raw.answer("GET").verified() == bytes);
        assert_eq!(gist(&raw.answer("STAT").line), "FILE 16384");
    }
    writing.join().unwrap();
    assert_eq!(raw.to_eof(), b"BYE\n");
}

#[test]
fn a_client_that_does_not_read_stalls_only_itself() {
    let server = server();
    server.write("large", &random_bytes(seed(), 8 << 20));
    server.write("a", b"hello");
    let stalled: Vec<Raw> = (0..8)
        .map(|_| {
            let mut raw = Raw::greeted(server.address());
            raw.send("GET large\n".repeat(100));
            raw
        })
        .collect();
    let mut other = Raw::greeted(server.address());
    for _ in 0..100 {
        assert_eq!(other.ask("GET a").verified(), b"hello");
        assert_eq!(gist(&other.put("b", b"hello").line), "SAVED 5 3610a686");
    }
    drop(stalled);
}

#[test]
fn a_client_that_writes_and_never_reads_is_held_back() {
    // The answers of these requests are far more than the sockets hold. A server that went on reading
    // would have to keep them.
    const ENOUGH: usize = 64 << 20;
    let server = server();
    server.write("a", b"hello");
    let idle = server.figures().anonymous_bytes;
    let mut raw = Raw::greeted(server.address());
    raw.stream().set_write_timeout(Some(std::time::Duration::from_secs(1))).unwrap();
    let request = "STAT a\n".repeat(1000);
    let mut sent = 0;
    while sent < ENOUGH {
        use std::io::Write as _;
        match raw.socket().clone().write(request.as_bytes()) {
            Ok(written) => sent += written,
            Err(_) => break,
        }
    }
    assert!(sent < ENOUGH, "the server took {sent} bytes of requests and was never asked for an answer");
    let grown = server.figures().anonymous_bytes.saturating_sub(idle);
    assert!(grown < 8 << 20, "the server holds {grown} bytes for a client that does not read");
    // It is held back, not lost.
    assert_eq!(gist(&raw.answer("STAT").line), "FILE 5");
}

/// A read stops at the place of urgent data, though more is there: no event will say so again.
#[test]
fn urgent_data_does_not_stop_a_connection() {
    if ferry_e2e::secure::skips("TLS knows no urgent data") {
        return;
    }
    let server = Server::start();
    for _ in 0..60 {
        let mut socket = TcpStream::connect(server.address()).expect("the server listens");
        socket.set_read_timeout(Some(HANG_GUARD)).expect("a timeout");
        socket.write_all(b"STAT a\n").expect("sent");
        rustix::net::send(&socket, b"!", rustix::net::SendFlags::OOB).expect("sent urgently");
        socket.write_all(b"CLOSE\n").expect("sent");
        let mut replies = String::new();
        socket.read_to_string(&mut replies).expect("the replies, and the end");
        assert!(replies.ends_with("BYE\n"), "{replies:?}");
    }
}
