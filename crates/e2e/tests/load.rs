//! Many clients, and files larger than a person wants to wait for.
//!
//! `FERRY_TEST_LARGE=1` makes the large files really large: 1 GiB, and a whole GET of 5 GiB.
// A test fails by panicking, in its helpers as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    env,
    fs::{self, File},
    io::{self, Write},
    path::Path,
    sync::{Mutex, PoisonError},
    thread,
};

use ferry_client::{Address, Client, Name, Options as ClientOptions, Part, Trust};
use ferry_e2e::{Figures, Options, Random, Raw, Server, crc, random_bytes, random_file, secure, seed};

/// The load of one test must not be in the figures of another.
static ALONE: Mutex<()> = Mutex::new(());

fn is_large() -> bool {
    env::var("FERRY_TEST_LARGE").is_ok_and(|value| value == "1")
}

/// How many clients there are at once.
const CLIENTS: usize = 500;

/// The work of each client, and how often it is done.
#[derive(Debug, Clone, Copy)]
struct Mix<'a> {
    seed: u64,
    /// Files that all of them get.
    shared: &'a [Vec<u8>],
    rounds: usize,
}

/// The largest file: all bodies of one round together must fit the memory of a small machine.
const MAX_FILE_BYTES: u64 = 48 << 10;

#[test]
fn five_hundred_clients_at_once_on_one_thread() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let seed = seed();
    // Durability is tested elsewhere; here it would only cost time.
    let server = Options::new().arg("--durability").arg("none").start();
    let own_sockets = sockets(&server);
    let shared: Vec<Vec<u8>> =
        (0..4).map(|index| random_bytes(seed ^ index, (index * MAX_FILE_BYTES / 3) as usize)).collect();
    for (index, bytes) in shared.iter().enumerate() {
        server.write(&format!("shared-{index}"), bytes);
    }
    let mix = Mix { seed, shared: &shared, rounds: 3 };
    // A server that has worked once has what it keeps: its helpers, its buffers.
    run_rounds(Raw::greeted(server.address()), 0, mix);
    let idle = server.settles("nobody is connected", |_| sockets(&server) <= own_sockets);

    let first = load(&server, idle, own_sockets, mix);
    let second = load(&server, idle, own_sockets, mix);
    println!("idle {idle:?}\nafter 500 clients {first:?}\nand once more {second:?}");
    for client in 0..CLIENTS {
        let expected = own_bytes(client, mix.rounds - 1, mix);
        assert!(server.read(&own_name(client)) == expected, "what client {client} put last");
    }
}

/// Connects all clients, lets them work, and waits until descriptors and memory are back.
fn load(server: &Server, idle: Figures, own_sockets: usize, mix: Mix<'_>) -> Figures {
    const IDLE_CLIENT_BYTES: u64 = 2 << 10;
    const TLS_BYTES: u64 = 8 << 10;
    /// Crumbs below a page each. A forgotten buffer of each client would be several times as much.
    const RESERVE_BYTES: u64 = (CLIENTS as u64) * (16 << 10);
    let before = server.figures();
    // Sockets, not descriptors: a helper may have a file open for a moment at any time.
    ferry_e2e::eventually("nobody is connected", || (sockets(server) <= own_sockets).then_some(()));
    let clients: Vec<Raw> = (0..CLIENTS).map(|_| Raw::greeted(server.address())).collect();
    let (loaded, held) = (server.figures(), sockets(server));
    thread::scope(|scope| {
        for (client, raw) in clients.into_iter().enumerate() {
            let work = move || run_rounds(raw, client, mix);
            thread::Builder::new().stack_size(256 << 10).spawn_scoped(scope, work).expect("a thread");
        }
    });
    assert_eq!(loaded.threads, idle.threads, "clients got threads");
    assert_eq!(held, own_sockets + CLIENTS, "sockets");
    let per_client = loaded.anonymous_bytes.saturating_sub(before.anonymous_bytes) / CLIENTS as u64;
    let most = IDLE_CLIENT_BYTES + if secure::is_asked_for() { TLS_BYTES } else { 0 };
    assert!(per_client <= most, "an idle client takes {per_client} bytes");

    let after = server.settles("descriptors and memory are back at the idle level", |figures| {
        figures.descriptors <= idle.descriptors && figures.anonymous_bytes <= idle.anonymous_bytes + RESERVE_BYTES
    });
    assert_eq!(after.threads, idle.threads);
    after
}

/// The sockets that the server holds: its listener, pairs of its own, and its clients.
fn sockets(server: &Server) -> usize {
    let descriptors = fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("the server runs");
    // One that is closed meanwhile is none any more.
    let targets = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
}

fn own_name(client: usize) -> String {
    format!("own-{client}")
}

fn own_bytes(client: usize, round: usize, mix: Mix<'_>) -> Vec<u8> {
    let mut random = Random::new(mix.seed ^ (client as u64) << 20 ^ (round as u64) << 52);
    let length = random.below(MAX_FILE_BYTES);
    random_bytes(random.number(), length as usize)
}

/// One client: mixed GET and PUT, each verified.
fn run_rounds(mut raw: Raw, client: usize, mix: Mix<'_>) {
    let name = own_name(client);
    for round in 0..mix.rounds {
        let bytes = own_bytes(client, round, mix);
        let saved = raw.put(&name, &bytes);
        assert_eq!((saved.word(0), saved.word(2)), ("SAVED", crc(&bytes).as_str()));
        assert!(raw.ask(&format!("GET {name}")).verified() == bytes, "client {client}, round {round}");
        let index = (client + round) % mix.shared.len();
        let shared = raw.ask(&format!("GET shared-{index}")).verified();
        assert!(shared == mix.shared[index], "client {client}, round {round}");
    }
    assert_eq!(raw.ask("CLOSE").line, "BYE");
}

/// A connection of the client library.
fn client(server: &Server) -> Client {
    let address = Address::new(server.address().ip().to_string(), server.address().port());
    let mut options = ClientOptions::default();
    if secure::is_asked_for() {
        options = options.trust(Trust::new().pinned(secure::fingerprint().parse().unwrap()));
    }
    Client::connect(&address, options).expect("the server listens")
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a good name")
}

#[test]
fn a_large_file_goes_up_and_comes_down_bit_by_bit() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let size: u64 = if is_large() { 1 << 30 } else { 64 << 20 };
    let server = Server::start();
    let directory = tempfile::tempdir().unwrap();
    let (original, returned) = (directory.path().join("original"), directory.path().join("returned"));
    let crc = random_file(&original, seed(), size);
    let mut client = client(&server);
    let saved = client.put(&name("large"), &original, &mut |_| {}).expect("a PUT");
    assert_eq!((saved.size, saved.crc.0), (size, crc));
    let got = client.get(&name("large"), &returned, &mut |_| {}).expect("a GET");
    assert_eq!((got.size, got.crc.0), (size, crc));
    assert_same(&original, &server.path("large"));
    assert_same(&original, &returned);
    client.close().expect("BYE");
}

/// Compares two files without holding them in memory.
fn assert_same(one: &Path, other: &Path) {
    const PIECE_BYTES: u64 = 1 << 20;
    use std::os::unix::fs::FileExt as _;
    let (one, other) = (File::open(one).unwrap(), File::open(other).unwrap());
    let size = one.metadata().unwrap().len();
    assert_eq!(other.metadata().unwrap().len(), size);
    let mut pieces = [vec![0; PIECE_BYTES as usize], vec![0; PIECE_BYTES as usize]];
    let mut at = 0;
    while at < size {
        let length = PIECE_BYTES.min(size - at) as usize;
        for (file, piece) in [&one, &other].into_iter().zip(&mut pieces) {
            file.read_exact_at(&mut piece[..length], at).unwrap();
        }
        assert!(pieces[0][..length] == pieces[1][..length], "the files differ behind byte {at}");
        at += length as u64;
    }
}

/// Counts and drops.
#[derive(Default)]
struct Sink {
    bytes: u64,
    tail: Vec<u8>,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes += bytes.len() as u64;
        self.tail = bytes[bytes.len().saturating_sub(16)..].to_vec();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn offsets_beyond_32_bits() {
    use std::os::unix::fs::FileExt as _;
    const SIZE: u64 = 5 << 30;
    const MARK: &[u8] = b"near the very end";
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let server = Server::start();
    // Sparse: 5 GiB of zeros take no room.
    let file = File::create(server.path("sparse")).unwrap();
    file.set_len(SIZE).unwrap();
    file.write_all_at(MARK, SIZE - MARK.len() as u64).unwrap();

    let mut raw = Raw::greeted(server.address());
    let stat = raw.ask("STAT sparse");
    assert_eq!(stat.word(1), SIZE.to_string());
    let tag = stat.word(3).to_owned();
    let near_end = SIZE - 100;
    assert_eq!(&raw.ask(&format!("READ {near_end} * {tag} sparse")).verified()[83..], MARK);
    assert_eq!(raw.ask(&format!("READ {} 6 * sparse", SIZE - 8)).verified(), b"very e");
    assert!(raw.ask(&format!("READ {} 10 * sparse", (4_u64 << 30) - 5)).verified().iter().all(|&byte| byte == 0));
    assert!(raw.ask(&format!("READ {SIZE} * * sparse")).verified().is_empty());
    raw.ask(&format!("READ {} * * sparse", SIZE + 1)).expect_failure("bad-range");

    if is_large() {
        let sum = raw.ask("SUM sparse");
        assert_eq!((sum.word(1), sum.word(3)), (SIZE.to_string().as_str(), tag.as_str()));
        let mut sink = Sink::default();
        let got = client(&server).read(&name("sparse"), &Part::default(), &mut sink).expect("a GET");
        assert_eq!((got.size, sink.bytes, got.crc.to_string().as_str()), (SIZE, SIZE, sum.word(2)));
        assert_eq!(sink.tail, MARK[MARK.len() - sink.tail.len()..]);
    }
}
