//! Streams that go on after a lost connection, at servers that keep to the rules, and at others.

use std::{
    io::{self, Read},
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use ferry_client::{Address, Code, Crc32, Error, IfTaken, KEPT_INPUT_BYTES, Moved, Settings};
use ferry_wire::BodyLine;

use crate::support::{Peer, connect, name};

const GREETING: &str = "FERRY 1 scripted/1 with-if streams\n";

/// More than what is sent again rather than kept.
const SIZE: usize = 3 << 20;

type Script = Box<dyn FnOnce(&mut Peer) + Send>;

/// A server that runs one script for each connection, one after the other.
struct Server {
    address: Address,
    thread: JoinHandle<()>,
}

impl Server {
    fn start(scripts: Vec<Script>) -> Server {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = Address::new("127.0.0.1", listener.local_addr().unwrap().port());
        let thread = std::thread::spawn(move || {
            for script in scripts {
                let mut peer = Peer::new(listener.accept().unwrap().0);
                peer.send(GREETING);
                script(&mut peer);
            }
        });
        Server { address, thread }
    }

    /// Sends it `source`, and sees that all of its scripts were run.
    fn takes(self, source: &mut dyn Read) -> Result<Moved, Error> {
        let mut client = connect(&self.address);
        let settings = Settings::default();
        let sent = client.put_replaying(&name("a"), None, IfTaken::Replace, source, (&settings, &mut |_| {}));
        drop(client);
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
        sent
    }
}

fn script(script: impl FnOnce(&mut Peer) + Send + 'static) -> Script {
    Box::new(script)
}

fn content(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at / 3) as u8).collect()
}

/// Takes the RESUME of a stream, and answers.
fn go(peer: &mut Peer, answer: &str) {
    let line = peer.line().unwrap();
    let words: Vec<_> = line.split(' ').collect();
    assert!(matches!(words[..], ["RESUME", id, "-", "-", "a"] if id.len() >= 16), "{line}");
    peer.send(format!("{answer}\n"));
}

fn go_on(bytes: &[u8]) -> String {
    format!("GO {} crc={}", bytes.len(), Crc32::of(bytes))
}

/// Takes blocks until there are so many bytes.
fn take(peer: &mut Peer, bytes: usize) -> Vec<u8> {
    let mut taken = Vec::new();
    while taken.len() < bytes {
        let line = peer.line().unwrap();
        let Ok(BodyLine::Data(block)) = BodyLine::parse(line.as_bytes()) else { panic!("{line}") };
        let start = taken.len();
        taken.resize(start + block as usize, 0);
        assert!(peer.read(&mut taken[start..]));
    }
    taken
}

/// Takes what is on its way, up to the line that closes the body.
fn closing(peer: &mut Peer) -> String {
    loop {
        let line = peer.line().unwrap();
        match BodyLine::parse(line.as_bytes()) {
            Ok(BodyLine::Data(block)) => assert!(peer.read(&mut vec![0; block as usize])),
            _ => return line,
        }
    }
}

/// Sees that the client drops what the server has.
fn dropped(peer: &mut Peer) {
    assert_eq!(closing(peer), "STOP");
    peer.send("FAIL stopped as you asked\n");
}

fn saved(bytes: &[u8]) -> String {
    format!("SAVED {} {} t\n", bytes.len(), Crc32::of(bytes))
}

/// A connection that is lost when so much has come.
fn cut_after(bytes: usize) -> Script {
    script(move |peer| {
        go(peer, &go_on(b""));
        take(peer, bytes);
        peer.close();
    })
}

/// Gives bytes, and asserts before it gives more than may be at hand that the server has said what it keeps.
struct Watched {
    content: io::Cursor<Vec<u8>>,
    is_told: Arc<AtomicBool>,
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let is_too_much = self.content.position() >= KEPT_INPUT_BYTES as u64;
        assert!(!is_too_much || self.is_told.load(Ordering::SeqCst), "more is read than may be kept");
        self.content.read(buffer)
    }
}

/// Gives some bytes, and then nothing for a while after the server has lost its patience.
struct Pausing {
    content: io::Cursor<Vec<u8>>,
    at: u64,
    has_lost_patience: Arc<AtomicBool>,
    pauses: u32,
    goes_on: Arc<AtomicBool>,
}

impl Read for Pausing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.content.position() >= self.at && self.pauses > 0 {
            self.pauses -= u32::from(self.has_lost_patience.load(Ordering::SeqCst));
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.goes_on.store(self.content.position() >= self.at, Ordering::SeqCst);
        let most = usize::try_from(self.at.saturating_sub(self.content.position())).unwrap();
        let most = if most == 0 { buffer.len() } else { most.min(buffer.len()) };
        self.content.read(&mut buffer[..most])
    }
}

/// Also often: no attempt is wasted on it.
#[test]
fn a_source_that_is_silent_for_long_is_waited_for_without_a_connection() {
    const AT: usize = 2 << 20;
    let whole = content(SIZE);
    let [lost, goes_on] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
    let (of_first, of_second, expected) = (lost.clone(), goes_on.clone(), whole.clone());
    let server = Server::start(vec![
        script(move |peer| {
            go(peer, &go_on(b""));
            take(peer, AT);
            peer.send("FAIL timeout the body came too slowly\n");
            of_first.store(true, Ordering::SeqCst);
            peer.close();
        }),
        script(move |peer| {
            assert!(of_second.load(Ordering::SeqCst), "it comes back with nothing to send");
            go(peer, &go_on(&expected[..AT]));
            assert!(take(peer, SIZE - AT) == expected[AT..]);
            peer.expect(&format!("END {}", Crc32::of(&expected)));
            peer.expect("SUM a");
            peer.send(format!("{}SUM {SIZE} {} t\n", saved(&expected), Crc32::of(&expected)));
            peer.expect_end();
        }),
    ]);
    // The client looks at the connection between two of them.
    let (content, at, has_lost_patience) = (io::Cursor::new(whole), AT as u64, lost);
    let mut source = Pausing { content, at, has_lost_patience, pauses: 10_000, goes_on };
    assert_eq!(server.takes(&mut source).unwrap().size, SIZE as u64);
}

#[test]
fn no_more_is_at_hand_than_may_be_and_what_is_kept_makes_room() {
    const MORE: usize = 4 << 20;
    let whole = content(KEPT_INPUT_BYTES + MORE);
    let is_told = Arc::new(AtomicBool::new(false));
    let (expected, of_server) = (whole.clone(), is_told.clone());
    let server = Server::start(vec![script(move |peer| {
        go(peer, &go_on(b""));
        let mut got = take(peer, KEPT_INPUT_BYTES);
        of_server.store(true, Ordering::SeqCst);
        peer.send(format!("KEPT {}\n", 8 << 20));
        got.extend(take(peer, MORE));
        assert!(got == expected);
        peer.expect(&format!("END {}", Crc32::of(&expected)));
        peer.send(saved(&expected));
        peer.expect_end();
    })]);
    let size = whole.len() as u64;
    let moved = server.takes(&mut Watched { content: io::Cursor::new(whole), is_told }).unwrap();
    assert_eq!((moved.size, moved.resumed), (size, 0));
}

#[test]
fn it_goes_on_from_what_the_server_has_and_has_that_looked_at() {
    let whole = content(SIZE);
    for damage in [None, Some("SUM 3145728 00000000 t\n"), Some("FAIL io the disk is on fire\n")] {
        let expected = whole.clone();
        let server = Server::start(vec![
            cut_after(1 << 20),
            // The server that held it is only found to be dead.
            script(|peer| {
                go(peer, "FAIL busy another server has it");
                peer.expect_end();
            }),
            script(move |peer| {
                let (had, rest) = expected.split_at(1_000_001);
                go(peer, &go_on(had));
                assert!(take(peer, rest.len()) == rest);
                peer.expect(&format!("END {}", Crc32::of(&expected)));
                peer.expect("SUM a");
                let sum = format!("SUM {SIZE} {} t\n", Crc32::of(&expected));
                peer.send(format!("{}{}", saved(&expected), damage.unwrap_or(&sum)));
                peer.expect_end();
            }),
        ]);
        let sent = server.takes(&mut &whole[..]);
        match damage {
            None => assert_eq!(sent.unwrap().size, SIZE as u64),
            Some(sum) if sum.starts_with("SUM") => assert!(matches!(sent, Err(Error::Verification(_))), "{sent:?}"),
            Some(_) => assert_eq!(sent.unwrap_err().code(), Some(Code::Io)),
        }
    }
}

#[test]
fn a_server_that_has_other_bytes_than_were_sent_is_not_sent_more() {
    let whole = content(SIZE);
    for answer in ["GO 1000 crc=00000000", "GO 0 crc=cbf43926", "GO 99999999 crc=00000000"] {
        let server = Server::start(vec![
            cut_after(1 << 20),
            script(move |peer| {
                go(peer, answer);
                dropped(peer);
                peer.expect_end();
            }),
        ]);
        let error = server.takes(&mut &whole[..]).unwrap_err();
        match answer {
            "GO 99999999 crc=00000000" => assert!(matches!(error, Error::Violation(_)), "{error}"),
            _ => assert!(matches!(error, Error::Verification(_)), "{error}"),
        }
    }
}

#[test]
fn a_server_that_has_less_than_it_said_is_told_of_where_that_is_not_at_hand() {
    const KEPT: usize = 16 << 20;
    let whole = content(KEPT_INPUT_BYTES + (24 << 20));
    for (there, is_at_hand) in [(0, false), (KEPT - 1, false), (KEPT, true)] {
        let expected = whole.clone();
        let server = Server::start(vec![
            script(|peer| {
                go(peer, &go_on(b""));
                take(peer, 20 << 20);
                peer.send(format!("KEPT {KEPT}\n"));
                // It sends so much only once it has heard that.
                take(peer, KEPT_INPUT_BYTES - (16 << 20));
                peer.close();
            }),
            script(move |peer| {
                go(peer, &go_on(&expected[..there]));
                if !is_at_hand {
                    dropped(peer);
                } else {
                    let mut got = take(peer, 20 << 20);
                    peer.send(format!("KEPT {}\n", there + got.len()));
                    got.extend(take(peer, expected.len() - there - got.len()));
                    assert!(got == expected[there..]);
                    peer.expect(&format!("END {}", Crc32::of(&expected)));
                    peer.expect("SUM a");
                    peer.send(format!("{}SUM {} {} t\n", saved(&expected), expected.len(), Crc32::of(&expected)));
                }
                peer.expect_end();
            }),
        ]);
        let sent = server.takes(&mut &whole[..]);
        match sent {
            Err(Error::Forgotten { there: had, from }) => {
                assert_eq!((had, from, is_at_hand), (there as u64, KEPT as u64, false));
            }
            sent => assert!(is_at_hand && sent.is_ok(), "{sent:?}"),
        }
    }
}

#[test]
fn more_is_not_kept_than_was_sent() {
    let whole = content(SIZE);
    let server = Server::start(vec![script(|peer| {
        go(peer, &go_on(b""));
        peer.send("KEPT 99999999\n");
        // It leaves.
        while peer.read(&mut [0; 1 << 16]) {}
    })]);
    // However much it has sent before it sees that.
    let error = server.takes(&mut (&whole[..]).chain(io::repeat(7))).unwrap_err();
    assert!(matches!(error, Error::Violation(_)), "{error}");
}

#[test]
fn a_server_that_keeps_no_more_uploads_gets_it_without_an_id() {
    let whole = content(SIZE);
    let expected = whole.clone();
    let server = Server::start(vec![script(move |peer| {
        go(peer, "FAIL busy no more than that are kept");
        peer.expect("PUT - - a");
        assert!(take(peer, SIZE) == expected);
        peer.expect(&format!("END {}", Crc32::of(&expected)));
        peer.send(saved(&expected));
        peer.expect_end();
    })]);
    assert_eq!(server.takes(&mut &whole[..]).unwrap().size, SIZE as u64);
}

#[test]
fn a_short_stream_has_no_id() {
    let whole = content(1000);
    let expected = whole.clone();
    let server = Server::start(vec![script(move |peer| {
        peer.expect("PUT - - a");
        assert!(take(peer, 1000) == expected);
        peer.expect(&format!("END {}", Crc32::of(&expected)));
        peer.send(saved(&expected));
        peer.expect_end();
    })]);
    assert_eq!(server.takes(&mut &whole[..]).unwrap().size, 1000);
}

#[test]
fn the_lost_word_that_it_is_saved_is_asked_for() {
    let whole = content(SIZE);
    for is_right in [true, false] {
        let expected = whole.clone();
        let server = Server::start(vec![
            script(move |peer| {
                go(peer, &go_on(b""));
                take(peer, SIZE);
                assert!(peer.line().unwrap().starts_with("END "));
                peer.close();
            }),
            script(move |peer| {
                let bytes = if is_right { &expected[..] } else { &expected[1..] };
                go(peer, saved(bytes).trim_end());
                peer.expect_end();
            }),
        ]);
        let sent = server.takes(&mut &whole[..]);
        assert!(if is_right { sent.is_ok() } else { matches!(sent, Err(Error::Verification(_))) }, "{sent:?}");
    }
    // Nothing can be published that has not ended.
    let server = Server::start(vec![
        cut_after(1 << 20),
        script(move |peer| {
            go(peer, saved(b"").trim_end());
            peer.expect_end();
        }),
    ]);
    let error = server.takes(&mut (&whole[..]).chain(io::repeat(7))).unwrap_err();
    assert!(matches!(error, Error::Verification(_)), "{error}");
}

#[test]
fn what_is_kept_of_a_refused_stream_is_dropped() {
    let whole = content(SIZE);
    let had = whole[..1 << 20].to_vec();
    let server = Server::start(vec![script(move |peer| {
        go(peer, &go_on(b""));
        take(peer, 1 << 20);
        peer.send("FAIL no-space the disk is full\n");
        assert_eq!(closing(peer), "STOP");
        go(peer, &go_on(&had));
        dropped(peer);
        peer.expect_end();
    })]);
    let error = server.takes(&mut (&whole[..]).chain(io::repeat(7))).unwrap_err();
    assert_eq!(error.code(), Some(Code::NoSpace));
    // Also where that comes after the last byte, of one that went on.
    let server = Server::start(vec![
        cut_after(1 << 20),
        script(move |peer| {
            let whole = content(SIZE);
            go(peer, &go_on(&whole[..1000]));
            take(peer, SIZE - 1000);
            peer.expect(&format!("END {}", Crc32::of(&whole)));
            peer.expect("SUM a");
            peer.send("FAIL exists it was made meanwhile\nSUM 1 e8b7be43 t\n");
            go(peer, &go_on(&whole));
            dropped(peer);
            peer.expect_end();
        }),
    ]);
    assert_eq!(server.takes(&mut &whole[..]).unwrap_err().code(), Some(Code::Exists));
}
