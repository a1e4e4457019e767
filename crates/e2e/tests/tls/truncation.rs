//! Connections that somebody in between cuts, by a FIN and without a word of TLS, behind each byte: a cut is no end.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use ferry_client::{Address, Client, Error, Fetch, Name, Options, Settings, Store, Trust};
use ferry_e2e::{Server, random_bytes, seed};

use crate::secure;

/// More than one record, and less than a socket holds.
const FILE_BYTES: usize = 20_000;

/// Between two cuts, where nobody asks for more (`FERRY_SWEEP=full`).
const STRIDE: usize = 97;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

/// Forwards connections, and ends one way of each behind so many bytes.
struct Cutter {
    address: SocketAddr,
    most: Arc<AtomicUsize>,
    /// The bytes that went that way on the last connection.
    went: Arc<AtomicUsize>,
}

impl Cutter {
    fn before(server: &Server, cut: Way) -> Cutter {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, server) = (listener.local_addr().unwrap(), server.address());
        let (most, went) = (Arc::new(AtomicUsize::new(usize::MAX)), Arc::<AtomicUsize>::default());
        let cutter = Cutter { address, most: most.clone(), went: went.clone() };
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let server = TcpStream::connect(server).unwrap();
                for way in [Way::Up, Way::Down] {
                    let (from, to) = if way == Way::Up { (&client, &server) } else { (&server, &client) };
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let limit = if way == cut { most.load(Ordering::SeqCst) } else { usize::MAX };
                    let went = (way == cut).then(|| went.clone());
                    thread::spawn(move || forward(from, to, limit, went.as_deref()));
                }
            }
        });
        cutter
    }

    /// A client by this way, which nothing brings back.
    fn client(&self, server: &Server) -> Result<Client, Error> {
        let trust = Trust::new().pinned(server.fingerprint().parse().unwrap());
        Client::connect(&Address::new("127.0.0.1", self.address.port()), Options::default().trust(trust))
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, limit: usize, went: Option<&AtomicUsize>) {
    let (mut buffer, mut gone) = (vec![0; 64 << 10], 0);
    while gone < limit {
        let room = buffer.len().min(limit - gone);
        let Ok(count @ 1..) = from.read(&mut buffer[..room]) else { break };
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
        gone += count;
        if let Some(went) = went {
            went.store(gone, Ordering::SeqCst);
        }
    }
    let _ = to.shutdown(Shutdown::Write);
    // What would come behind the cut goes nowhere, and holds nobody up.
    let _ = std::io::copy(&mut from, &mut std::io::sink());
}

fn lengths(whole: usize) -> impl Iterator<Item = usize> {
    let stride = if std::env::var("FERRY_SWEEP").is_ok_and(|value| value == "full") { 1 } else { STRIDE };
    // The last ones hold the end of the body.
    (0..whole).filter(move |length| length % stride == 0 || stride > 1 && whole - length < 60)
}

fn settings() -> Settings {
    Settings { retries: 0, ..Settings::default() }
}

#[test]
fn a_download_that_is_cut_anywhere_is_no_file() {
    let (server, local) = (secure(), tempfile::tempdir().unwrap());
    let content = random_bytes(seed(), FILE_BYTES);
    server.write("a", &content);
    let cutter = Cutter::before(&server, Way::Down);
    let target = local.path().join("a");
    let get = || {
        let mut client = cutter.client(&server).ok()?;
        let file = Fetch { name: Name::new("a").unwrap(), target: target.clone().into(), meta: None };
        let report = client.fetch(&[file], &settings(), &mut |_| {});
        report.is_whole().then_some(())
    };
    get().expect("whole");
    fs::remove_file(&target).unwrap();
    let whole = cutter.went.load(Ordering::SeqCst);
    let (mut tried, mut came) = (0, 0);
    for length in lengths(whole) {
        cutter.most.store(length, Ordering::SeqCst);
        let is_whole = get().is_some();
        tried += 1;
        // END may have come: only what is behind it was cut off.
        match fs::read(&target) {
            Ok(bytes) => assert!(is_whole && bytes == content, "a part of the file, of {length} bytes"),
            Err(_) => assert!(!is_whole, "told as whole, and not there, of {length} bytes"),
        }
        came += usize::from(is_whole);
        let _ = fs::remove_file(&target);
    }
    println!("{tried} cuts of {whole} bytes down, {came} behind the end");
    assert!(came < tried && whole > FILE_BYTES);
}

#[test]
fn an_upload_that_is_cut_anywhere_is_no_file() {
    let (server, local) = (secure(), tempfile::tempdir().unwrap());
    let content = random_bytes(seed(), FILE_BYTES);
    let source = local.path().join("a");
    fs::write(&source, &content).unwrap();
    let cutter = Cutter::before(&server, Way::Up);
    let put = || {
        let mut client = cutter.client(&server).ok()?;
        let file = Store { source: source.clone().into(), name: Name::new("a").unwrap() };
        let report = client.store(&[file], &settings(), &mut |_| {});
        report.is_whole().then_some(())
    };
    put().expect("whole");
    let whole = cutter.went.load(Ordering::SeqCst);
    fs::remove_file(server.path("a")).unwrap();
    let (mut tried, mut came) = (0, 0);
    for length in lengths(whole) {
        cutter.most.store(length, Ordering::SeqCst);
        let is_whole = put().is_some();
        tried += 1;
        match fs::read(server.path("a")) {
            Ok(bytes) => assert!(bytes == content, "a part of the file, of {length} bytes"),
            Err(_) => assert!(!is_whole, "told as saved, and not there, of {length} bytes"),
        }
        came += usize::from(is_whole);
        let _ = fs::remove_file(server.path("a"));
    }
    println!("{tried} cuts of {whole} bytes up, {came} behind the end");
    assert!(came < tried && whole > FILE_BYTES);
}
