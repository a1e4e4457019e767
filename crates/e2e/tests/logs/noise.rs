//! No client fills the disk with lines.

use std::{io::Write as _, net::TcpStream, time::Instant};

use ferry_e2e::{Options, Raw, Server};
use serde_json::Value;

use super::{Place, read};

/// The longest line, with all that is cut in it; a character takes up to four of its bytes where it is escaped.
const LINE_BYTES: u64 = 2_500;

/// The lines of one address: at once, and in each second after; for reads, changes and failed connections each.
const AT_ONCE: u64 = 1_000;
const EACH_SECOND: u64 = 50;
const KINDS: u64 = 3;

/// Sends requests of which each would be a line, as fast as the server takes them, and other noise. Returns how many of
/// these requests there were.
fn make_noise(server: &Server, rounds: usize) -> u64 {
    const ROUNDS_AT_ONCE: usize = 100;
    let long = ["\u{202e}".repeat(80), "x".repeat(240), "x".repeat(240), "x".repeat(240)].join("/");
    let requests = [
        format!("GET {long}\n"),
        format!("SUM {long}\n"),
        format!("READ 1 2 * {long}\n"),
        format!("DELETE {long}\n"),
        format!("MKDIR {long}\n"),
        format!("RENAME {long}//{long}\n"),
        format!("PUT 1 - {long}\nDATA 1\nxEND -\n"),
    ];
    // These are not logged: nothing is moved or changed.
    let others = [format!("STAT {long}\n"), format!("LIST {long}\n"), format!("frob {long}\n"), "GET ../x\n".into()];
    let round = requests.concat() + &others.concat();
    // As many as fit in the buffers of sockets, since no answer is read before.
    for _ in 0..rounds / ROUNDS_AT_ONCE {
        let mut raw = Raw::greeted(server.address());
        raw.send_what_it_takes(round.repeat(ROUNDS_AT_ONCE));
        raw.finish();
        let _ = raw.to_eof();
    }
    let garbage = [&b"\x16\x03\x01\x00"[..], b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\xff\xfe\n", b"LOGIN\n"];
    for garbage in garbage.iter().cycle().take(40) {
        // It may be closed before all is sent.
        let _ = TcpStream::connect(server.address()).and_then(|mut stream| stream.write_all(garbage));
    }
    (requests.len() * rounds) as u64
}

/// Returns how many requests stand in the transfer log, those that are summed up included.
fn heard(log: &str) -> u64 {
    let objects = log.lines().map(|line| serde_json::from_str::<Value>(line).expect(line));
    objects.map(|line| if line["event"] == "SUMMED" { line["count"].as_u64().unwrap() } else { 1 }).sum()
}

#[test]
fn a_client_that_makes_all_the_noise_it_can_has_a_bounded_log() {
    for (form, rounds) in [("plain", 200), ("json", 1_000), ("xferlog", 200)] {
        let place = Place::new();
        let server = place.options(form).start();
        let start = Instant::now();
        let requests = make_noise(&server, rounds);
        assert_eq!(server.terminate().code(), Some(0));
        let seconds = start.elapsed().as_secs() + 1;
        let logs = ["transfers", "log"].map(|name| read(&place.path(name)));
        let written = logs.iter().map(String::len).sum::<usize>() as u64;
        let lines = logs.iter().flat_map(|log| log.lines());
        // And a few of the server's own, and sums.
        let most = KINDS * (AT_ONCE + (EACH_SECOND + 1) * seconds) + 50;
        assert!(lines.clone().count() as u64 <= most, "{form}: {} lines in {seconds} s", lines.count());
        let longest = lines.map(str::len).max().unwrap() as u64;
        assert!(longest < LINE_BYTES, "{form}: a line of {longest} bytes");
        assert!(form != "json" || heard(&logs[0]) == requests, "{} of {requests}", heard(&logs[0]));
        println!("{form}: {requests} requests, {written} bytes of log in {:?}", start.elapsed());
    }
}

#[test]
fn a_log_that_is_off_has_no_lines_and_the_transfer_log_has_them_all_the_same() {
    let place = Place::new();
    let server = place.options("plain").arg("--log-level").arg("off").start();
    Raw::greeted(server.address()).ask("GET a").expect_failure("not-found");
    assert!(server.log().is_empty());
    assert_eq!(server.terminate().code(), Some(0));
    assert_eq!(read(&place.path("log")), "");
    assert!(read(&place.path("transfers")).contains(": GET a: "));
    let server = Options::new().arg("--log-level").arg("warn").start();
    Raw::greeted(server.address()).ask("GET a").expect_failure("not-found");
    assert_eq!(server.log(), "");
}
