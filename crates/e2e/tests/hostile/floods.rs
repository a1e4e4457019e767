//! More than the server can be made to hold: requests without end, replies that nobody takes, requests
//! that are half said.

use std::{
    io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _},
    thread,
    time::Duration,
};

use ferry_e2e::{Frail, Raw, Socket};

use crate::{
    alone,
    ground::{Ground, narrow, raise_descriptor_limit},
};

/// The memory that the server may hold for one client that sends much and reads nothing.
const GREEDY_BYTES: u64 = 2 << 20;

/// Writes `what` again and again, up to `count` times, until the server takes no more. Gives how many
/// bytes it took; what was cut in the middle is written on by [`write_on`].
fn flood(stream: &mut Socket, what: &[u8]) -> usize {
    const STUCK: Duration = Duration::from_millis(200);
    stream.set_write_timeout(Some(STUCK)).unwrap();
    let mut taken = 0;
    while taken < what.len() {
        match stream.write(&what[taken..]) {
            Ok(count) => taken += count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            Err(error) => panic!("the server broke off: {error}"),
        }
    }
    taken
}

/// `count` requests before the first reply is read; then each must have its reply, `is_answer`.
fn unread_then_read(request: &str, count: usize, is_answer: impl Fn(&str) -> bool) {
    let _alone = alone();
    let ground = Ground::start("--durability none");
    let mut stream = narrow(&ground.server, None);
    let sent = request.repeat(count);
    let taken = flood(&mut stream, sent.as_bytes());
    let loaded = ground.server.figures();
    let grown = loaded.peak_resident_bytes.saturating_sub(ground.idle.peak_resident_bytes);
    println!(
        "{count} times {request:?} unread: {taken} of {} bytes taken, {} KiB more at most",
        sent.len(),
        grown >> 10
    );
    assert!(grown <= GREEDY_BYTES, "{grown} bytes more, for one client");
    ground.serves();
    let mut reading = BufReader::new(stream.try_clone().unwrap());
    thread::scope(|scope| {
        scope.spawn(|| {
            stream.set_write_timeout(None).unwrap();
            stream.write_all(&sent.as_bytes()[taken..]).expect("the server takes the rest");
            stream.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let mut line = String::new();
        reading.read_line(&mut line).unwrap();
        for index in 0..count {
            line.clear();
            reading.read_line(&mut line).unwrap();
            assert!(is_answer(&line), "reply {index} of {count}: {line:?}");
        }
        line.clear();
        reading.read_to_string(&mut line).unwrap();
        assert_eq!(line, "BYE\n");
    });
    drop(reading);
    drop(stream);
    ground.ends_as_it_began();
}

#[test]
fn a_hundred_thousand_requests_before_the_first_reply_is_read() {
    unread_then_read("STAT a\n", 100_000, |line| line.starts_with("FILE 5 "));
}

#[test]
fn a_flood_of_newlines() {
    unread_then_read("\n", 200_000, |line| line.starts_with("FAIL bad-request "));
}

#[test]
fn changes_before_the_first_reply_is_read() {
    unread_then_read("DELETE nowhere/new\n", 50_000, |line| line.starts_with("FAIL not-found "));
}

#[test]
fn requests_for_more_than_anybody_reads_stop_the_server_from_reading() {
    let _alone = alone();
    let ground = Ground::start("");
    let mut streams: Vec<Socket> = (0..3).map(|_| narrow(&ground.server, None)).collect();
    let sent = "GET big\n".repeat(1_000_000);
    let taken: usize = streams.iter_mut().map(|stream| flood(stream, sent.as_bytes())).sum();
    let loaded = ground.server.figures();
    let grown = loaded.peak_resident_bytes.saturating_sub(ground.idle.peak_resident_bytes);
    println!("3 clients asked for 64 TiB each: {taken} bytes of requests taken, {} KiB more at most", grown >> 10);
    assert!(taken < 3 * sent.len(), "the server took all requests, though nobody reads the replies");
    assert!(grown <= 3 * GREEDY_BYTES, "{grown} bytes more, for 3 clients");
    ground.serves();
    drop(streams);
    ground.ends_as_it_began();
}

/// Starts `clients` clients that each say `said` and then nothing, and holds their memory against `most`
/// bytes a client.
fn half_said(clients: u64, said: &[u8], most: u64) {
    let _alone = alone();
    raise_descriptor_limit();
    let ground = Ground::start("");
    let before = ground.server.figures();
    let mut held = Vec::new();
    for _ in 0..clients {
        let mut raw = Raw::greeted(ground.server.address());
        raw.send(said);
        held.push(raw);
    }
    ground.serves();
    let per_client = ground.server.figures().anonymous_bytes.saturating_sub(before.anonymous_bytes) / clients;
    let beginning = String::from_utf8_lossy(&said[..said.len().min(20)]);
    println!("{clients} clients that said {} bytes, {beginning:?}...: {per_client} bytes each", said.len());
    assert!(per_client <= most, "{per_client} bytes for each client");
    drop(held);
    ground.ends_as_it_began();
}

#[test]
fn lines_that_never_end_cost_what_the_help_says() {
    half_said(400, &[b'x'; 4000], 72 << 10);
}

#[test]
fn bodies_that_never_go_on_cost_what_the_help_says() {
    let mut said = b"PUT 1048576 - new\nDATA 1048576\n".to_vec();
    said.resize(said.len() + 200_000, 7);
    half_said(50, &said, 1 << 20);
}

#[test]
fn connections_that_are_reset_at_once_leave_nothing_behind() {
    const STORM: usize = 600;
    let _alone = alone();
    let ground = Ground::start("");
    for index in 0..STORM {
        let mut frail = Frail::connect(ground.server.address()).expect("the server listens");
        if index % 6 == 1 {
            let _ = frail.send("GET big\n");
        } else if index % 6 == 2 {
            let _ = frail.send("PUT 5 - new\nDATA 5\nhel");
        }
        let _ = frail.reset();
    }
    ground.ends_as_it_began();
}
