//! One large upload over several connections, to servers that do not take all of its parts.

use std::{
    net::TcpListener,
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

use ferry_client::{Address, Code, Crc32, Event, Parallel, Report, Settings, Store};

use crate::support::{Local, PATIENCE, Peer, connect, name};

/// More than the sockets take of what nobody reads.
const SIZE: usize = (24 << 20) + 77;

/// The behaviour of a server towards the parts that a connection sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parts {
    Taken,
    /// This is said at once, and no more of the connection is taken.
    Refused(&'static str),
    /// The connection ends behind the request.
    Cut,
    /// Parts are dropped, and JOIN is not taken.
    Lost,
}

/// A server of one upload, in memory.
struct Model {
    parts: Parts,
    knows_parts: bool,
    state: Mutex<State>,
    /// Somebody has sent a part, or tried to.
    asked: Condvar,
}

#[derive(Default)]
struct State {
    content: Vec<u8>,
    /// Bytes that the holder has sent, and ranges that are parts.
    reach: usize,
    ranges: Vec<(usize, usize)>,
    /// Requests by their first words.
    resumes: usize,
    requests: usize,
    sent: usize,
    /// Of these, what was there already.
    twice: usize,
    joined: bool,
    saved: usize,
}

impl State {
    /// Takes bytes of a part. They may come twice: of a connection that did not move for long, others send the parts.
    fn take(&mut self, offset: usize, bytes: &[u8]) {
        let (mut start, mut end) = (offset, offset + bytes.len());
        self.note(start, end);
        self.content[start..end].copy_from_slice(bytes);
        let meets = |range: &(usize, usize)| range.0 <= end && start <= range.1;
        let (met, mut apart): (Vec<_>, Vec<_>) = self.ranges.iter().copied().partition(meets);
        for range in met {
            (start, end) = (start.min(range.0), end.max(range.1));
        }
        apart.push((start, end));
        apart.sort_unstable();
        self.ranges = apart;
    }

    fn note(&mut self, start: usize, end: usize) {
        let there =
            self.ranges.iter().copied().map(|range| (range.0.max(self.reach), range.1)).chain([(0, self.reach)]);
        self.twice += there.map(|range| range.1.min(end).saturating_sub(range.0.max(start))).sum::<usize>();
        self.sent += end - start;
    }
}

impl Model {
    fn start(parts: Parts, greeting: &'static str) -> (Arc<Model>, Address) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = Address::new("127.0.0.1", listener.local_addr().unwrap().port());
        let state = State { content: vec![0; SIZE], ..State::default() };
        let model = Arc::new(Model {
            parts,
            knows_parts: greeting == KNOWS_PARTS,
            state: Mutex::new(state),
            asked: Condvar::new(),
        });
        let of_thread = Arc::clone(&model);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let model = Arc::clone(&of_thread);
                thread::spawn(move || model.serve(&mut Peer::new(stream.unwrap()), greeting));
            }
        });
        (model, address)
    }

    fn serve(&self, peer: &mut Peer, greeting: &str) {
        peer.send(greeting);
        while let Some(line) = peer.line_or_end() {
            let words: Vec<_> = line.split(' ').collect();
            match words[0] {
                "RESUME" => self.hold(peer),
                "PART" => {
                    if !self.take_part(peer, words[2].parse().unwrap(), words[3].parse().unwrap()) {
                        return peer.close();
                    }
                }
                "SUM" => {
                    let crc = Crc32::of(&self.state.lock().unwrap().content);
                    peer.send(format!("SUM {SIZE} {crc} t\n"));
                }
                _ => panic!("{line}"),
            }
        }
    }

    /// The whole body of an upload that begins at `at`; gives how it is closed, and nothing where it is cut.
    fn body(&self, peer: &mut Peer, at: usize) -> Option<(Vec<u8>, String)> {
        let mut bytes = Vec::new();
        loop {
            let line = peer.line_or_end()?;
            let Some(length) = line.strip_prefix("DATA ") else { return Some((bytes, line)) };
            let start = bytes.len();
            bytes.resize(start + length.parse::<usize>().unwrap(), 0);
            if !peer.read(&mut bytes[start..]) {
                return None;
            }
            assert!(at + bytes.len() <= SIZE);
        }
    }

    /// Where parts are to come, nothing is read of the holder before one has.
    fn hold(&self, peer: &mut Peer) {
        let mut state = self.state.lock().unwrap();
        state.resumes += 1;
        let told: String = state.ranges.iter().map(|(start, end)| format!(" {start}-{end}")).collect();
        let reach = state.reach;
        drop(state);
        peer.send(format!("GO {reach}{told}\n"));
        if self.knows_parts {
            let state = self.state.lock().unwrap();
            drop(self.asked.wait_timeout_while(state, PATIENCE, |state| state.requests == 0).unwrap());
        }
        let Some((bytes, end)) = self.body(peer, reach) else { return };
        let mut state = self.state.lock().unwrap();
        let end_of_it = reach + bytes.len();
        state.note(reach, end_of_it);
        state.content[reach..end_of_it].copy_from_slice(&bytes);
        let reach = end_of_it;
        state.reach = reach;
        state.ranges.retain(|range| range.1 > reach);
        let has_rest = reach == SIZE || matches!(state.ranges[..], [(start, SIZE)] if start <= reach);
        let crc = Crc32::of(&state.content);
        state.joined |= end.starts_with("JOIN");
        if end == "STOP" {
            peer.send("FAIL stopped as you wish\n");
        } else if end == format!("JOIN {crc}") && has_rest || end == format!("END {crc}") && reach == SIZE {
            state.saved += 1;
            peer.send(format!("SAVED {SIZE} {crc} t\n"));
        } else {
            assert!(end.starts_with("JOIN") && self.parts == Parts::Lost, "{end}");
            peer.send("FAIL incomplete parts are missing\n");
        }
    }

    fn take_part(&self, peer: &mut Peer, offset: usize, length: usize) -> bool {
        self.state.lock().unwrap().requests += 1;
        self.asked.notify_all();
        match self.parts {
            Parts::Cut => return false,
            Parts::Refused(failure) => peer.send(failure),
            Parts::Taken | Parts::Lost => {}
        }
        let Some((bytes, end)) = self.body(peer, offset) else { return false };
        if let Parts::Refused(_) = self.parts {
            return true;
        }
        if end == "STOP" {
            peer.send("FAIL stopped as you wish\n");
            return true;
        }
        assert_eq!((bytes.len(), end), (length, format!("END {}", Crc32::of(&bytes))));
        if self.parts == Parts::Taken {
            self.state.lock().unwrap().take(offset, &bytes);
        }
        peer.send("DONE\n");
        true
    }
}

struct Stored {
    report: Report,
    /// The bytes that were told to have moved, and how often it began anew.
    moved: Vec<u64>,
    restarted: usize,
}

fn put(address: &Address, local: &Local) -> (Stored, Vec<u8>) {
    let content: Vec<u8> = (0..SIZE).map(|index| (index * 7 + index / 251) as u8).collect();
    let source = local.file("a", &content);
    let file = Store { source: source.into(), name: name("a") };
    let settings =
        Settings { parallel: Parallel::Fixed(3), retries: 3, state: Some(local.path("state")), ..Settings::default() };
    let mut stored = Stored { report: Report::default(), moved: Vec::new(), restarted: 0 };
    let (moved, restarted) = (&mut stored.moved, &mut stored.restarted);
    stored.report = connect(address).store(&[file], &settings, &mut |event| match event {
        Event::Moved { done, .. } => moved.push(*done),
        Event::Restarted { .. } => *restarted += 1,
        _ => {}
    });
    assert_eq!(std::fs::read_dir(local.path("state")).unwrap().count(), 0, "no id is left");
    (stored, content)
}

const KNOWS_PARTS: &str = "FERRY 1 scripted/1 parts\n";

#[test]
fn others_send_parts_of_what_one_connection_holds() {
    let (model, address) = Model::start(Parts::Taken, KNOWS_PARTS);
    let begun = Instant::now();
    let (stored, content) = put(&address, &Local::new());
    let state = model.state.lock().unwrap();
    assert!(stored.report.is_whole() && stored.restarted == 0, "{:?}", stored.report);
    assert!(state.content == content && state.saved == 1 && state.resumes == 1);
    // Each byte once, and told so. Only what a connection has that moves nothing for a second is sent by others as well.
    assert_eq!(state.sent, SIZE + state.twice);
    assert!(state.twice == 0 || begun.elapsed() >= Duration::from_secs(1), "{} bytes twice", state.twice);
    assert!(stored.moved.is_sorted() && stored.moved.last() == Some(&(SIZE as u64)));
    assert!(state.requests > 1 && state.joined && state.reach < SIZE, "{} parts", state.requests);
}

#[test]
fn a_server_without_parts_gets_it_from_one_connection() {
    let (model, address) = Model::start(Parts::Taken, "FERRY 1 scripted/1\n");
    let (stored, content) = put(&address, &Local::new());
    let state = model.state.lock().unwrap();
    assert!(stored.report.is_whole() && stored.restarted == 0, "{:?}", stored.report);
    assert!(state.content == content && (state.requests, state.reach, state.saved) == (0, SIZE, 1));
}

#[test]
fn whatever_a_server_says_to_parts_the_holder_sends_the_rest() {
    let refusals = [
        "FAIL busy too many parts\n",
        "FAIL changed another has it\n",
        "FAIL bad-range it is there\n",
        "FAIL unknown-command what\n",
    ];
    for parts in refusals.into_iter().map(Parts::Refused).chain([Parts::Cut]) {
        let (model, address) = Model::start(parts, KNOWS_PARTS);
        let (stored, content) = put(&address, &Local::new());
        let state = model.state.lock().unwrap();
        assert!(stored.report.is_whole() && stored.restarted == 0, "{parts:?}: {:?}", stored.report);
        assert!(state.content == content && state.saved == 1 && !state.joined, "{parts:?}");
        assert!(stored.moved.iter().all(|moved| *moved <= SIZE as u64), "{parts:?}");
    }
}

/// Parts that a server said it had, and has lost, are sent again by one connection.
#[test]
fn parts_that_are_missing_at_the_end_are_sent_by_one_connection() {
    let (model, address) = Model::start(Parts::Lost, KNOWS_PARTS);
    let (stored, content) = put(&address, &Local::new());
    let state = model.state.lock().unwrap();
    assert!(stored.report.is_whole(), "{:?}", stored.report);
    assert_eq!((stored.restarted, state.resumes), (1, 2));
    assert!(state.content == content && state.saved == 1 && state.reach == SIZE);
}

#[test]
fn a_failure_of_the_whole_is_told_once_and_leaves_no_id() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = Address::new("127.0.0.1", listener.local_addr().unwrap().port());
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || {
                let mut peer = Peer::new(stream.unwrap());
                peer.send(KNOWS_PARTS);
                while let Some(line) = peer.line_or_end() {
                    match line.split(' ').next() {
                        Some("RESUME") => peer.send("GO 0\nFAIL not-found its parent has gone\n"),
                        Some("DATA") => drop(peer.read(&mut vec![0; line[5..].parse().unwrap()])),
                        Some("PART") => peer.send("FAIL busy nobody holds it\n"),
                        _ => {}
                    }
                }
            });
        }
    });
    let (stored, _) = put(&address, &Local::new());
    let codes: Vec<_> = stored.report.failures.iter().map(|(_, error)| error.code()).collect();
    assert_eq!(codes, [Some(Code::NotFound)]);
}
