//! Many downloads at once.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::TcpStream,
};

use ferry_wire::Name;
use rustix::event::epoll::EventFlags;

use super::{
    Bench,
    daemon::{Daemon, Kind},
    ftp::Ftp,
    http,
    turns::{Peer, compete},
};
use crate::{
    Content, Report, Sample, Unit,
    crowd::download,
    poll::Poll,
    sample::{clocked, rated},
    timed,
};

/// As many as a server that forks can have as well.
const AT_ONCE: usize = 300;

const EACH_BYTES: u64 = 10_000_000;

const EACH: &str = "each.bin";

pub(super) fn downloads(bench: &Bench<'_>, report: &mut Report) {
    let (count, bytes) = if bench.options.tiny { (10, EACH_BYTES / 10) } else { (AT_ONCE, EACH_BYTES) };
    let work = format!("{count} downloads of {} MB at once", bytes / 1_000_000);
    if !bench.options.wants(&work) {
        return;
    }
    let each = Content::write(&bench.root.join(EACH), bytes);
    let mut peers = Vec::new();
    for daemon in bench.ftp_servers() {
        peers.push(Peer::new(daemon.name(), &[], move || ftp(daemon, count, bytes)));
    }
    if let Some(nginx) = bench.daemon(Kind::Nginx) {
        peers.push(Peer::new(nginx.name(), &[], move || web(nginx, count, bytes)));
    }
    let mut ours = || {
        timed(bench.ferry.pid(), Unit::Bytes, bytes * count as u64, || {
            let name = Name::new(EACH).expect("a plain name");
            let outcome = download(bench.ferry.address(), count, &name, (each.bytes, each.crc)).expect("every GET");
            assert_eq!(outcome.bytes, bytes * count as u64);
        })
    };
    compete(report, bench.options.rounds, &work, Unit::Bytes, &[], Some(&mut ours), peers);
    fs::remove_file(&each.path).expect("a file of ours");
}

/// All are logged in before the clock starts.
fn ftp(daemon: &Daemon, count: usize, bytes: u64) -> io::Result<Sample> {
    let logins = (0..count).map(|_| Ftp::login(daemon.address(), daemon.login()));
    let mut clients = logins.collect::<io::Result<Vec<_>>>()?;
    let begin = || clients.iter_mut().map(|client| client.begin_get(EACH)).collect();
    together(daemon, count, bytes, begin, |came| came == bytes)
}

fn web(nginx: &Daemon, count: usize, bytes: u64) -> io::Result<Sample> {
    let request = http::request(&format!("/{EACH}")).replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    let ask = |_| {
        let mut socket = TcpStream::connect(nginx.address())?;
        socket.write_all(request.as_bytes())?;
        Ok(socket)
    };
    // The header stands in front of the file.
    together(nginx, count, bytes, || (0..count).map(ask).collect(), |came| came > bytes)
}

/// Times the bytes received on all the connections that `begin` opens, each until its end, which is
/// right where `right` says so of the bytes that came.
fn together(
    daemon: &Daemon,
    count: usize,
    bytes: u64,
    begin: impl FnOnce() -> io::Result<Vec<TcpStream>>,
    right: impl Fn(u64) -> bool,
) -> io::Result<Sample> {
    let mut drained = Ok(Vec::new());
    let figures = clocked(|| daemon.cpu(), || drained = begin().and_then(drain));
    if drained?.into_iter().any(|came| !right(came)) {
        return Err(io::Error::other("what came is not as long as the file"));
    }
    Ok(rated(Unit::Bytes, bytes * count as u64, figures))
}

/// Receives on all `sockets` until they are closed; returns how many bytes came on each.
fn drain(mut sockets: Vec<TcpStream>) -> io::Result<Vec<u64>> {
    const BUFFER_BYTES: usize = 256 << 10;
    let poll = Poll::new()?;
    for (index, socket) in sockets.iter().enumerate() {
        poll.add(socket, index, EventFlags::IN)?;
    }
    let mut came = vec![0; sockets.len()];
    let mut open = sockets.len();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut events = Vec::new();
    while open > 0 {
        for index in poll.wait(&mut events)? {
            match sockets[index].read(&mut buffer)? {
                0 => {
                    poll.remove(&sockets[index])?;
                    open -= 1;
                }
                bytes => came[index] += bytes as u64,
            }
        }
    }
    Ok(came)
}
