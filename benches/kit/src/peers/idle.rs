//! Clients that say nothing: what each costs in memory, and how fast they come.

use std::{
    io, thread,
    time::{Duration, Instant},
};

use super::{
    Bench,
    daemon::{Daemon, Kind},
    turns::{Peer, compete},
};
use crate::{
    Goal, Report, Sample, Unit,
    crowd::{Crowd, FERRY, Hello, room_for},
    sample::{clocked, rated},
    timed,
};

/// A server that forks holds so many: each is one process or two.
const OF_FORKING: usize = 200;

/// The factor by which a turn has fewer connections where one takes so much longer.
const FORKING_SLOWER: usize = 40;
const PYTHON_SLOWER: usize = 4;

/// Greeted, and not logged in, which would cost more.
const FTP: Hello = Hello {
    at_once: 16,
    says: b"",
    heard: |answer| {
        let text = String::from_utf8_lossy(answer);
        Ok(text.ends_with('\n') && text.lines().next_back().is_some_and(|line| line.starts_with("220 ")))
    },
};

/// Nothing is said, so nothing is heard: in nginx a client costs least before its first request.
/// The memory that it sets aside at its start, some hundred bytes for each possible client, does
/// not show here.
const SILENT: Hello = Hello { at_once: 64, says: b"", heard: |_| Ok(true) };

/// The least that shows that nginx has taken a connection: it has no greeting.
const NO_CONTENT: Hello = Hello {
    at_once: 64,
    says: b"GET /empty HTTP/1.1\r\nHost: localhost\r\n\r\n",
    heard: |answer| match answer.ends_with(b"\r\n\r\n") {
        true if answer.starts_with(b"HTTP/1.1 204 ") => Ok(true),
        true => Err(io::Error::other("another status than 204")),
        false => Ok(false),
    },
};

pub(super) fn memory(bench: &Bench<'_>, report: &mut Report) {
    let clients = room_for(bench.options.clients).expect("a limit of descriptors");
    let work = format!("memory of an idle client, up to {clients}");
    if !bench.options.wants(&work) {
        return;
    }
    let mut peers = Vec::new();
    for kind in bench.daemons.iter().map(Daemon::kind).filter(|kind| *kind != Kind::Rsync) {
        let count = if kind.forks() { clients.min(OF_FORKING) } else { clients };
        let hello = if kind == Kind::Nginx { &SILENT } else { &FTP };
        let is = format!("{}, up to {count}", kind.name());
        peers.push(Peer::new(is, &[Goal::RatioAtMost(1.0)], move || slope(bench, kind, count, hello)));
    }
    let mut ours = || {
        let server = ferry_e2e::Options::new().root(&bench.root).start();
        let few = few_of(clients);
        let mut crowd = Crowd::default();
        crowd.join(server.address(), few, &FERRY).expect("few clients");
        let before = server.figures().anonymous_bytes;
        crowd.join(server.address(), clients - few, &FERRY).expect("many clients");
        Sample::plain((server.figures().anonymous_bytes as f64 - before as f64) / (clients - few) as f64)
    };
    compete(report, bench.options.rounds, &work, Unit::Memory, &[Goal::AtMost(512.0)], Some(&mut ours), peers);
}

pub(super) fn few_of(clients: usize) -> usize {
    clients.div_ceil(19)
}

/// Between few clients and many of a server of its own.
fn slope(bench: &Bench<'_>, kind: Kind, clients: usize, hello: &Hello) -> Result<Sample, String> {
    let daemon = kind.start(&bench.setup.helper, &bench.root).ok_or("it is gone")??;
    let few = few_of(clients);
    let mut crowd = Crowd::default();
    let mut join = |count, in_all| {
        crowd.join(daemon.address(), count, hello).map_err(|error| error.to_string())?;
        holds(&daemon, in_all).map(|()| daemon.memory() as f64)
    };
    let before = join(few, few)?;
    let after = join(clients - few, clients)?;
    Ok(Sample::plain((after - before) / (clients - few) as f64))
}

/// Waits until the server has taken so many connections: not all say so.
pub(super) fn holds(daemon: &Daemon, clients: usize) -> Result<(), String> {
    settles(|| daemon.descriptors() >= clients).map_err(|()| format!("it does not take {clients} clients"))
}

fn settles(is_so: impl Fn() -> bool) -> Result<(), ()> {
    const PATIENCE: Duration = Duration::from_secs(60);
    const PAUSE: Duration = Duration::from_millis(10);
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        if Instant::now() > deadline {
            return Err(());
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// Clients come and stay; that they leave is outside the time.
pub(super) fn accepts(bench: &Bench<'_>, report: &mut Report) {
    let clients = room_for(bench.options.clients).expect("a limit of descriptors");
    let work = "connections, each answered once";
    if !bench.options.wants(work) {
        return;
    }
    let mut peers = Vec::new();
    for daemon in bench.daemons.iter().filter(|daemon| daemon.kind() != Kind::Rsync) {
        let (hello, count) = match daemon.kind() {
            Kind::Nginx => (&NO_CONTENT, clients),
            Kind::Pyftpdlib => (&FTP, clients.div_ceil(PYTHON_SLOWER)),
            _ => (&FTP, clients.div_ceil(FORKING_SLOWER)),
        };
        peers.push(Peer::new(daemon.name(), &[Goal::RatioAtLeast(1.0)], move || {
            let idle = daemon.descriptors();
            let mut crowd = Crowd::default();
            let mut done = Ok(());
            let figures = clocked(|| daemon.cpu(), || done = crowd.join(daemon.address(), count, hello));
            done.map_err(|error| error.to_string())?;
            drop(crowd);
            settles(|| daemon.descriptors() <= idle).map_err(|()| "it does not let its clients go".to_owned())?;
            Ok::<_, String>(rated(Unit::Connections, count as u64, figures))
        }));
    }
    let mut ours = || {
        let idle = bench.ferry.figures().descriptors;
        let mut crowd = Crowd::default();
        let sample = timed(bench.ferry.pid(), Unit::Connections, clients as u64, || {
            crowd.join(bench.ferry.address(), clients, &FERRY).expect("greetings");
        });
        drop(crowd);
        bench.ferry.settles("its clients have gone", |now| now.descriptors <= idle);
        sample
    };
    compete(report, bench.options.rounds, work, Unit::Connections, &[], Some(&mut ours), peers);
}
