//! Transfers that are held to a rate.

use std::{
    net::TcpListener,
    num::NonZeroU64,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use ferry_client::{Address, Client, Crc32, Event, Fetch, FileMeta, Options, Parallel, RateLimit, Settings, Tag};

use crate::support::{GREETING, Honest, Local, Peer, name, options};

const KIB: u64 = 1 << 10;

fn limit(rate: u64) -> RateLimit {
    RateLimit::of(NonZeroU64::new(rate).unwrap())
}

fn connect(address: &Address, options: Options) -> Client {
    Client::connect(address, options).unwrap()
}

/// The least time that so many bytes take at a rate, of which a quarter of a second may be saved up.
fn least(bytes: u64, rate: u64) -> Duration {
    Duration::from_secs_f64(bytes as f64 / rate as f64) - Duration::from_millis(250)
}

/// What moves takes its time, either way, and is told as it moves.
#[test]
fn a_rate_holds_both_ways_and_progress_tells_the_truth() {
    let (bytes, rate) = (160 * KIB, 128 * KIB);
    let server = Honest::start();
    let content: Vec<u8> = (0..bytes).map(|at| (at / 7) as u8).collect();
    server.add("a", content.clone());
    let local = Local::new();
    let mut client = connect(&server.address, options().rate_limit(limit(rate)));
    let (begun, mut told) = (Instant::now(), Vec::new());
    client.put_from(&name("b"), None, Default::default(), &mut &content[..], &mut |done| told.push(done)).unwrap();
    assert!(begun.elapsed() >= least(bytes, rate), "{:?}", begun.elapsed());
    let jumps = told.windows(2).map(|pair| pair[1] - pair[0]);
    // A quarter of a second's, and what else was waiting.
    assert!(jumps.max().unwrap() <= rate / 2, "{told:?}");
    let (begun, mut read) = (Instant::now(), Vec::new());
    client.read(&name("a"), &Default::default(), &mut read).unwrap();
    assert!(begun.elapsed() >= least(bytes, rate));
    assert!(read == content && server.content("b").unwrap() == content && local.names().is_empty());
}

/// Serves a file of zeros over any number of connections, which it counts.
fn zeros(size: u64) -> (Address, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = Address::new("127.0.0.1", listener.local_addr().unwrap().port());
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    thread::spawn(move || {
        for stream in listener.incoming() {
            counted.fetch_add(1, Ordering::SeqCst);
            thread::spawn(move || {
                let mut peer = Peer::new(stream.unwrap());
                peer.send(GREETING);
                while let Some(line) = peer.line() {
                    let words: Vec<_> = line.split(' ').collect();
                    match words[0] {
                        "GET" | "READ" => {
                            let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok());
                            let offset = number(1).unwrap_or(0);
                            let zeros = vec![0; number(2).unwrap_or(size - offset) as usize];
                            peer.send(format!("FILE {size} - t\n"));
                            for block in zeros.chunks(1 << 20) {
                                peer.send(format!("DATA {}\n", block.len()));
                                peer.send(block);
                            }
                            peer.send(format!("END {}\n", Crc32::of(&zeros)));
                        }
                        "SUM" => peer.send(format!("SUM {size} {} t\n", Crc32::of(&vec![0; size as usize]))),
                        _ => panic!("{line}"),
                    }
                }
            });
        }
    });
    (address, connections)
}

fn fetch(
    client: &mut Client,
    size: u64,
    local: &Local,
    parallel: Parallel,
    told: &mut (dyn FnMut(&Event<'_>) + Send),
) -> ferry_client::Report {
    let meta = FileMeta { size, mtime: None, mode: None, tag: Tag::new("t").unwrap() };
    let file = Fetch { name: name("a"), target: local.path("a").into(), meta: Some(meta) };
    let settings = Settings { parallel, retries: 0, ..Settings::default() };
    client.fetch(&[file], &settings, told)
}

#[test]
fn all_connections_have_one_rate_together() {
    let (bytes, rate) = (6 << 20, 4 << 20);
    let (address, connections) = zeros(bytes);
    let local = Local::new();
    let begun = Instant::now();
    let mut client = connect(&address, options().rate_limit(limit(rate)));
    let report = fetch(&mut client, bytes, &local, Parallel::Fixed(3), &mut |_| {});
    assert!(report.is_whole(), "{report:?}");
    assert!(begun.elapsed() >= least(bytes, rate), "{:?}", begun.elapsed());
    assert_eq!(connections.load(Ordering::SeqCst), 3);
}

/// At the first rate it would take hours.
#[test]
fn it_can_be_lifted_while_a_transfer_runs() {
    let bytes = 40 << 20;
    let (address, _) = zeros(bytes);
    let local = Local::new();
    let pace = limit(4 * KIB);
    let mut client = connect(&address, options().rate_limit(pace.clone()));
    let mut lifted_at = None;
    let report = fetch(&mut client, bytes, &local, Parallel::Fixed(1), &mut |event| {
        if let Event::Moved { done, .. } = event
            && lifted_at.is_none()
        {
            lifted_at = Some(*done);
            pace.set(None);
        }
    });
    assert!(report.is_whole(), "{report:?}");
    assert!(lifted_at.unwrap() < 64 * KIB, "{lifted_at:?}");
}

/// One line takes longer than the server may be silent, and is no fault of its own.
#[test]
fn no_timeout_runs_while_the_limit_holds_back() {
    let server = Honest::start();
    server.add("a", "content");
    let timeout = Duration::from_secs(1);
    // FILE and its version are some twenty bytes.
    let mut client = connect(&server.address, Options::default().timeout(timeout).rate_limit(limit(12)));
    let begun = Instant::now();
    client.stat(&name("a")).unwrap();
    assert!(begun.elapsed() > timeout, "{:?}", begun.elapsed());
}

/// A server that says nothing is given up all the same.
#[test]
fn a_silent_server_is_given_up_under_a_limit() {
    let (address, _) = silent();
    let options = Options::default().timeout(Duration::from_millis(300)).rate_limit(limit(100));
    let mut client = connect(&address, options);
    assert!(matches!(client.stat(&name("a")), Err(ferry_client::Error::Timeout(_))));
}

fn silent() -> (Address, thread::JoinHandle<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = Address::new("127.0.0.1", listener.local_addr().unwrap().port());
    let thread = thread::spawn(move || {
        let mut peer = Peer::new(listener.accept().unwrap().0);
        peer.send(GREETING);
        while peer.line().is_some() {}
    });
    (address, thread)
}
