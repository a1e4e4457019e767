//! Records that no honest client sends: each ends its own connection at most, with one line in the log.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener},
    thread,
};

use ferry_e2e::{Options, Random, Raw, Server, eventually, seed};

use crate::forge::{
    ADDED_BYTES, ALERT, CHANGE_CIPHER_SPEC, CONTENT_BYTES, DATA, Forge, HANDSHAKE, Sealer, UPDATE, UPDATE_BOTH,
    connect, head, hello, impersonate, open_record,
};

/// The treatment that a record must have from the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// The requests after it are answered.
    Served,
    /// The connection ends, and the log says so.
    Ended,
    /// Either: it depends on how much TLS puts up with.
    Any,
}

use Fate::{Any, Ended, Served};

/// Makes what is sent in front of a request.
type Make = fn(&mut Sealer) -> Vec<u8>;

const CASES: [(&str, Fate, Make); 34] = [
    ("an empty record", Served, |sealer| sealer.seal(DATA, b"", 0)),
    ("an empty record, padded", Served, |sealer| sealer.seal(DATA, b"", 100)),
    ("a thousand empty records", Ended, |sealer| repeated(1000, || sealer.seal(DATA, b"", 0))),
    ("each byte of a request in a record", Served, |sealer| {
        b"STAT a\n".iter().flat_map(|byte| sealer.seal(DATA, &[*byte], 0)).collect()
    }),
    ("a full record", Served, |sealer| sealer.seal(DATA, &full(b"STAT a\n"), 0)),
    ("much padding", Served, |sealer| sealer.seal(DATA, b"STAT a\n", 10_000)),
    ("more than a record may hold", Ended, |sealer| sealer.seal(DATA, &[b'\n'; CONTENT_BYTES + 1], 0)),
    ("more padding than a record may hold", Ended, |sealer| sealer.seal(DATA, b"\n", CONTENT_BYTES)),
    ("a length beyond all", Ended, |_| [&head(DATA, u16::MAX.into()), &[0; 5000][..]].concat()),
    ("a length just beyond", Ended, |_| open_record(DATA, &[0; CONTENT_BYTES + ADDED_BYTES + 1])),
    ("a length of nothing", Ended, |_| head(DATA, 0).to_vec()),
    ("less than a seal", Ended, |_| open_record(DATA, &[0; 8])),
    ("zeros alone", Ended, |sealer| sealer.seal_inner(vec![0; 100])),
    ("nothing at all, sealed", Ended, |sealer| sealer.seal_inner(Vec::new())),
    ("an unknown type", Ended, |sealer| sealer.seal(99, b"STAT a\n", 0)),
    ("an unknown type in the open", Ended, |_| open_record(99, b"STAT a\n")),
    ("another version", Ended, |_| vec![DATA, 2, 0, 0, 1, 0]),
    ("a request in the open", Ended, |_| open_record(DATA, b"DELETE a\n")),
    ("a request without TLS", Ended, |_| b"DELETE a\n".to_vec()),
    ("HTTP without TLS", Ended, |_| b"GET / HTTP/1.1\r\n\r\n".to_vec()),
    ("another hello in the open", Ended, |_| hello()),
    ("another hello, sealed", Ended, |sealer| sealer.seal(HANDSHAKE, &hello()[5..], 0)),
    ("a wrong seal", Ended, |sealer| {
        let mut sealed = sealer.seal(DATA, b"DELETE a\n", 0);
        *sealed.last_mut().unwrap() ^= 1;
        sealed
    }),
    ("a record twice", Ended, |sealer| sealer.seal(DATA, b"STAT a\n", 0).repeat(2)),
    ("a record left out", Ended, |sealer| {
        let _ = sealer.seal(DATA, b"STAT a\n", 0);
        sealer.seal(DATA, b"DELETE a\n", 0)
    }),
    ("new keys", Served, |sealer| updated(sealer, UPDATE)),
    ("new keys of both", Served, |sealer| updated(sealer, UPDATE_BOTH)),
    ("new keys without end", Ended, |sealer| repeated(10_000, || updated(sealer, UPDATE_BOTH))),
    ("new keys that are not used", Ended, |sealer| sealer.seal(HANDSHAKE, &UPDATE, 0)),
    ("new keys, and more", Ended, |sealer| sealer.seal(HANDSHAKE, &[UPDATE, UPDATE].concat(), 0)),
    ("new keys of another kind", Ended, |sealer| sealer.seal(HANDSHAKE, &[24, 0, 0, 1, 7], 0)),
    ("a message of 16 MiB", Ended, |sealer| {
        let start = sealer.seal(HANDSHAKE, &[4, 255, 255, 255], 0);
        [start, repeated(600, || sealer.seal(HANDSHAKE, &[0; CONTENT_BYTES], 0))].concat()
    }),
    ("a fatal alert", Ended, |sealer| sealer.seal(ALERT, &[2, 80], 0)),
    // It is no error in the middle of a handshake.
    ("the cipher changes", Any, |_| open_record(CHANGE_CIPHER_SPEC, &[1]).repeat(100)),
];

fn repeated(times: usize, mut make: impl FnMut() -> Vec<u8>) -> Vec<u8> {
    (0..times).flat_map(|_| make()).collect()
}

/// So much of `text`, again and again, as a record holds.
fn full(text: &[u8]) -> Vec<u8> {
    let mut content = text.repeat(CONTENT_BYTES / text.len());
    content.resize(CONTENT_BYTES, b' ');
    // The rest is the begin of a request that is not known.
    content
}

fn updated(sealer: &mut Sealer, update: [u8; 5]) -> Vec<u8> {
    let sealed = sealer.seal(HANDSHAKE, &update, 0);
    sealer.update();
    sealed
}

fn server() -> Server {
    // Each of them is to be logged.
    let server = Options::new().arg("--tls").arg("--durability").arg("none").start();
    server.write("a", b"hello");
    server
}

#[track_caller]
fn serves(server: &Server) {
    assert_eq!(Raw::greeted_by_tls(server.address()).ask("GET a").verified(), b"hello");
}

/// Serves a client, and returns the lines of the log that are not about what was asked for: all of before that, since lines
/// are written in their order.
#[track_caller]
fn told(server: &Server) -> Vec<String> {
    const SERVED: &str = ": GET a: ";
    let other = [SERVED, ": SUM a: ", "no client was served for"];
    let before = server.log().matches(SERVED).count();
    serves(server);
    let log = eventually("it is logged", || Some(server.log()).filter(|log| log.matches(SERVED).count() > before));
    log.lines().filter(|line| other.iter().all(|other| !line.contains(other))).map(str::to_owned).collect()
}

#[test]
fn a_record_that_is_wrong_ends_its_connection_and_nothing_else() {
    let server = server();
    let mut lines = told(&server).len();
    for (what, fate, make) in CASES {
        let mut forge = Forge::connect(server.address());
        let (greeting, _) = forge.hear(1);
        assert!(greeting.starts_with("FERRY 1 "), "{what}: {greeting:?}");
        let peak = server.figures().anonymous_bytes;
        let sent = make(&mut forge.sealer);
        forge.send(&sent);
        forge.say("\nSUM a\nCLOSE\n");
        let (said, why) = forge.hear(usize::MAX);
        let is_served = said.contains("\nSUM 5 3610a686 ") && said.ends_with("BYE\n") && why.is_none();
        match fate {
            Served => assert!(is_served, "{what}: {said:?}, {why:?}"),
            Ended => assert!(!is_served && why.is_some(), "{what}: {said:?}, {why:?}"),
            Any => assert!(is_served || why.is_some(), "{what}: {said:?}, {why:?}"),
        }
        drop(forge);
        let told = eventually("a line", || Some(told(&server)).filter(|told| is_served || told.len() > lines));
        assert_eq!(server.read("a"), b"hello", "{what}");
        let grown = server.figures().anonymous_bytes.saturating_sub(peak);
        assert!(grown < 4 << 20, "{what}: {grown} bytes more");
        if !is_served {
            println!("{what}: {:?}", &told[lines..]);
            assert_eq!(told.len(), lines + 1, "{what}: {told:?}");
        }
        lines = told.len();
    }
    assert!(!server.log().contains("panicked"));
}

/// The end of a connection at which nothing is wrong with TLS.
const CLOSED: &str = "the server closed the connection";

/// Any other.
const BROKEN: &str = "broke: what came is not what the server sealed";

/// Records that a server sends in the middle of a file, and the words for it.
const OF_SERVERS: [(&str, &str, Make); 13] = [
    ("nothing more", CLOSED, |_| Vec::new()),
    ("a farewell", CLOSED, |sealer| sealer.seal(ALERT, &[1, 0], 0)),
    ("a fatal alert", "broke: the server gave up TLS: InternalError", |sealer| sealer.seal(ALERT, &[2, 80], 0)),
    ("a thousand empty records", BROKEN, |sealer| repeated(1000, || sealer.seal(DATA, b"", 0))),
    ("more than a record may hold", BROKEN, |sealer| sealer.seal(DATA, &[b'x'; CONTENT_BYTES + 1], 0)),
    ("a length beyond all", BROKEN, |_| [&head(DATA, u16::MAX.into()), &[0; 5000][..]].concat()),
    ("an unknown type", BROKEN, |sealer| sealer.seal(99, b"loEND 3610a686\n", 0)),
    ("the rest in the open", BROKEN, |_| open_record(DATA, b"loEND 3610a686\n")),
    ("the rest without TLS", BROKEN, |_| b"loEND 3610a686\n".to_vec()),
    ("a wrong seal", BROKEN, |sealer| {
        let mut sealed = sealer.seal(DATA, b"loEND 3610a686\n", 0);
        *sealed.last_mut().unwrap() ^= 1;
        sealed
    }),
    ("new keys without end", BROKEN, |sealer| repeated(10_000, || updated(sealer, UPDATE_BOTH))),
    ("another hello", BROKEN, |sealer| sealer.seal(HANDSHAKE, &hello()[5..], 0)),
    ("a message of 16 MiB", BROKEN, |sealer| {
        let start = sealer.seal(HANDSHAKE, &[4, 255, 255, 255], 0);
        [start, repeated(600, || sealer.seal(HANDSHAKE, &[0; CONTENT_BYTES], 0))].concat()
    }),
];

#[test]
fn a_server_that_breaks_tls_in_the_middle_of_a_file_gets_one_line_and_no_file_is_made() {
    for (what, words, make) in OF_SERVERS {
        let (home, listener) = (tempfile::tempdir().unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let port = listener.local_addr().unwrap().port().to_string();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Some(mut impostor) = impersonate(client) else { continue };
                let greeting = impostor.sealer.seal(DATA, b"FERRY 1 ferryd/1.0.0\n", 0);
                let _ = impostor.stream.write_all(&greeting);
                impostor.hear(1);
                let half = impostor.sealer.seal(DATA, b"FILE 5 1700000000 tag\nDATA 5\nhel", 0);
                let rest = make(&mut impostor.sealer);
                let _ = impostor.stream.write_all(&[half, rest].concat());
                let _ = impostor.stream.shutdown(Shutdown::Write);
                impostor.hear(usize::MAX);
            }
        });
        let run = crate::run(home.path(), &["--tls", "--accept-new", "--retry", "0", "get", &port, "a"]);
        println!("{what}: {} {}", run.status, run.err.trim_end());
        assert!(matches!(run.status, 3 | 4), "{what}: {} {} {}", run.status, run.out, run.err);
        assert!(run.err.contains(words), "{what}: {}", run.err);
        assert_eq!((run.err.lines().count(), run.out.as_str()), (1, ""), "{what}: {}", run.err);
        let names = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let names: Vec<_> = names.filter(|name| name != "config" && name != "state").collect();
        assert!(names.is_empty(), "{what}: {names:?}");
    }
}

/// Returns a record to throw, by random choice.
fn thrown(random: &mut Random, sealer: &mut Sealer) -> Vec<u8> {
    let most = [4, 64, 2_000, 17_000][random.below(4) as usize];
    let mut content = vec![0; random.below(most) as usize];
    random.fill(&mut content);
    let kind = [DATA, DATA, HANDSHAKE, ALERT, CHANGE_CIPHER_SPEC, random.below(256) as u8][random.below(6) as usize];
    match random.below(8) {
        0..3 => sealer.seal(kind, b"SUM a\nSTAT b\n\nLIST\nPUT - - new\nDATA 3\nabcEND -\n", random.below(50) as usize),
        3 => sealer.seal(kind, &content, random.below(400) as usize),
        4 => open_record(kind, &content),
        5 => updated(sealer, UPDATE),
        6 => {
            let mut sealed = sealer.seal(DATA, b"LIST\n", 0);
            let at = random.below(sealed.len() as u64) as usize;
            sealed[at] ^= 1 << random.below(8);
            sealed
        }
        _ => content,
    }
}

#[test]
fn random_records_and_hellos_do_no_harm() {
    let server = server();
    let (seed, streams) = (seed(), std::env::var("FERRY_TLS_STREAMS").map_or(120, |text| text.parse().unwrap()));
    for index in 0..streams {
        // Each can be made again from the seed and its number.
        let mut random = Random::new(seed ^ (index << 32));
        if random.below(3) == 0 {
            let mut hello = hello();
            for _ in 0..=random.below(4) {
                let at = random.below(hello.len() as u64) as usize;
                match random.below(3) {
                    0 => hello[at] ^= 1 << random.below(8),
                    1 => hello.truncate(at.max(1)),
                    _ => hello.extend_from_within(at..),
                }
            }
            let mut stream = connect(server.address());
            let _ = stream.write_all(&hello);
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        } else {
            let mut forge = Forge::connect(server.address());
            let (said, _) = forge.hear(1);
            assert!(said.starts_with("FERRY 1 "), "stream {index} of {seed}: {said:?}");
            let sent: Vec<u8> = (0..=random.below(12)).flat_map(|_| thrown(&mut random, &mut forge.sealer)).collect();
            forge.send(&sent);
            let _ = forge.stream.shutdown(Shutdown::Write);
            let (said, _) = forge.hear(usize::MAX);
            let is_reply = |line: &str| !line.is_empty() && !line.chars().any(char::is_control);
            assert!(said.lines().all(is_reply), "stream {index} of {seed}: {said:?}");
        }
        if index % 20 == 0 {
            serves(&server);
        }
    }
    serves(&server);
    println!("random records {streams}, seed {seed}");
    let log = server.log();
    assert!(!log.contains("panicked") && !log.contains("mistake"), "{log}");
    assert!(!log.chars().any(|character| character.is_control() && character != '\n'), "control characters logged");
}
