//! The same work by TLS 1.3, with one cipher and one kind of key for all.
//!
//! The client of every row that drains, fills or shakes hands is the same one. It proves nothing of
//! the server's certificate, so that it costs as little as can be. Nginx takes uploads by PUT of
//! its WebDAV module. Of a whole program the server's certificate is looked at as it comes: curl is
//! told to take any, ferry to take a key that it does not know.

use std::{
    fs, io,
    net::{SocketAddr, TcpStream},
    thread,
};

use ferry_e2e::Server;
use ferry_wire::Request;

use super::{
    Bench, LARGE,
    daemon::{Daemon, Kind},
    http::Http,
    idle::{few_of, holds},
    large::{UPLOADED, measured, name, same},
    programs, small,
    turns::{Peer, compete},
};
use crate::{
    Drained, Goal, Report, Sample, Unit, Wire,
    crowd::room_for,
    lanes::get_all_by,
    line::{Line, Tls},
    program::find,
    sample::{clocked, rated},
    size_label,
    small_files::GETS_OF_EACH,
    timed,
};

/// A half more than a web server's rate, at half its processor time.
const FASTER: [Goal; 2] = [Goal::RatioAtLeast(1.5), Goal::CpuTimes(0.5)];

const GETS_A_SECOND: f64 = 100_000.0;

const IDLE_BYTES: f64 = 8192.0;

/// The most idle clients: each costs a handshake.
const IDLE_CLIENTS: usize = 4000;

/// Handshakes in a turn, and how many at once.
const HANDSHAKES: usize = 4000;
const AT_ONCE: usize = 4;

/// Connections at once, of small files.
const CONNECTIONS: [usize; 2] = [1, 16];

const FERRY: &[u8] = b"ferry/1";
const HTTP: &[u8] = b"http/1.1";

/// Servers that speak TLS.
pub(super) struct Secure {
    pub(super) ferry: Server,
    pub(super) nginx: Option<Daemon>,
    pub(super) vsftpd: Option<Daemon>,
}

/// Reports every row by TLS.
pub(super) fn all(bench: &Bench<'_>, report: &mut Report) {
    let mut start = |kind: Kind| match kind.start(&bench.setup.helper, &bench.root)? {
        Ok(daemon) => Some(daemon),
        Err(why) => {
            report.skip("did not start", &format!("{} with TLS: {why}", kind.name()));
            None
        }
    };
    let (nginx, vsftpd) = (start(Kind::NginxTls), start(Kind::VsftpdTls));
    let ferry = ferry_e2e::Options::new().root(&bench.root).arg("--durability").arg("none").arg("--tls").start();
    let secure = Secure { ferry, nginx, vsftpd };
    get(bench, &secure, report);
    put(bench, &secure, report);
    programs::get_by_tls(bench, &secure, report);
    programs::put_by_tls(bench, &secure, report);
    small_files(bench, &secure, report);
    handshakes(bench, &secure, false, report);
    handshakes(bench, &secure, true, report);
    memory(bench, report);
}

fn get(bench: &Bench<'_>, secure: &Secure, report: &mut Report) {
    let work = format!("TLS: GET {}, drained", size_label(bench.options.mib));
    if !bench.options.wants(&work) {
        return;
    }
    let bytes = bench.content.bytes;
    let [ferry, http] = [FERRY, HTTP].map(|protocol| Tls::new(protocol, false));
    let peers = secure.nginx.iter().map(|nginx| {
        let http = &http;
        Peer::new("nginx", &FASTER, move || {
            let mut http = Http::over(Line::to(nginx.address(), Some(http))?);
            measured(nginx, bytes, || same(http.get(&format!("/{LARGE}"), |_| {})?, bytes))
        })
    });
    let mut ours = || {
        let mut wire = greeted(secure.ferry.address(), &ferry).expect("a greeting");
        let mut drained = None;
        let sample = timed(secure.ferry.pid(), Unit::Bytes, bytes, || {
            let asked = wire.ask(&Request::Get { name: name(LARGE) });
            drained = Some(asked.and_then(|()| wire.file(|_| {})).expect("GET"));
        });
        assert_eq!(drained, Some(Drained { bytes, claimed: Some(bench.content.crc) }));
        sample
    };
    compete(report, bench.options.rounds, &work, Unit::Bytes, &[], Some(&mut ours), peers.collect());
}

fn put(bench: &Bench<'_>, secure: &Secure, report: &mut Report) {
    let work = format!("TLS: PUT {}, no fsync", size_label(bench.options.mib));
    if !bench.options.wants(&work) {
        return;
    }
    let content = &bench.content;
    let target = bench.root.join(UPLOADED);
    let [ferry, http] = [FERRY, HTTP].map(|protocol| Tls::new(protocol, false));
    let peers = secure.nginx.iter().map(|nginx| {
        let (http, target) = (&http, &target);
        Peer::new("nginx", &FASTER, move || {
            let mut http = Http::over(Line::to(nginx.address(), Some(http))?);
            let sample = measured(nginx, content.bytes, || http.put(&format!("/{UPLOADED}"), content))?;
            content.check_and_remove(target);
            Ok::<_, io::Error>(sample)
        })
    });
    let mut ours = || {
        let mut wire = greeted(secure.ferry.address(), &ferry).expect("a greeting");
        let sample = timed(secure.ferry.pid(), Unit::Bytes, content.bytes, || {
            wire.put(&name(UPLOADED), content).expect("PUT");
        });
        content.check_and_remove(&target);
        sample
    };
    compete(report, bench.options.rounds, &work, Unit::Bytes, &[], Some(&mut ours), peers.collect());
}

/// Ferry's requests are all on the way at once; those of wrk, one for each of its connections.
fn small_files(bench: &Bench<'_>, secure: &Secure, report: &mut Report) {
    let tls = Tls::new(FERRY, false);
    let script = bench.local.join("all.lua");
    for connections in CONNECTIONS {
        let work = format!("TLS: GETs of 4 KiB, {connections} connection{}", if connections == 1 { "" } else { "s" });
        if !bench.options.wants(&work) {
            continue;
        }
        let mut peers = Vec::new();
        if let (Some(nginx), Some(wrk)) = (&secure.nginx, find("wrk")) {
            fs::write(&script, small::lua(bench.files.len())).expect("room for a script");
            let (is, script) = (format!("nginx, wrk, {connections} connections"), &script);
            let url = format!("https://{}/", nginx.address());
            peers.push(Peer::new(is, &[], move || small::wrk_turn(&wrk, &url, || nginx.cpu(), connections, script)));
        }
        let count = bench.files.len() * GETS_OF_EACH;
        let mut ours = || {
            timed(secure.ferry.pid(), Unit::Files, count as u64, || {
                get_all_by(secure.ferry.address(), Some(&tls), connections, &bench.files, count).expect("every GET");
            })
        };
        let goals = [Goal::AtLeast(GETS_A_SECOND)];
        compete(report, bench.options.rounds, &work, Unit::Files, &goals, Some(&mut ours), peers);
    }
}

/// Each connection is answered once, which shows that the server has had the client's last word of
/// the handshake.
fn handshakes(bench: &Bench<'_>, secure: &Secure, resumed: bool, report: &mut Report) {
    let work = format!("TLS: {} handshakes, each answered once", if resumed { "resumed" } else { "full" });
    if !bench.options.wants(&work) {
        return;
    }
    let count = if bench.options.tiny { 4 * AT_ONCE } else { HANDSHAKES };
    let peers = secure.nginx.iter().map(|nginx| {
        Peer::new("nginx", &[Goal::RatioAtLeast(1.0)], move || {
            let tls = Tls::new(HTTP, resumed);
            let mut done = Ok(());
            let figures = clocked(|| nginx.cpu(), || done = shake(count, &tls, resumed, nginx.address(), no_content));
            done.map(|()| rated(Unit::Connections, count as u64, figures))
        })
    });
    let mut ours = || {
        let tls = Tls::new(FERRY, resumed);
        timed(secure.ferry.pid(), Unit::Connections, count as u64, || {
            shake(count, &tls, resumed, secure.ferry.address(), greeting).expect("handshakes");
        })
    };
    compete(report, bench.options.rounds, &work, Unit::Connections, &[], Some(&mut ours), peers.collect());
}

fn shake(
    count: usize,
    tls: &Tls,
    resumed: bool,
    address: SocketAddr,
    answered: fn(Line) -> io::Result<Line>,
) -> io::Result<()> {
    // The first one cannot be resumed, nor can those that begin before it has brought enough to go on with.
    let one = |index| answered(Line::of_crowd(address, index, tls)?).map(|line| usize::from(line.is_resumed()));
    one(0)?;
    let all = thread::scope(|scope| {
        let each = |first| scope.spawn(move || (first..count).step_by(AT_ONCE).map(one).sum::<io::Result<usize>>());
        let threads: Vec<_> = (1..=AT_ONCE).map(each).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a thread that does not panic"))
            .sum::<io::Result<usize>>()
    })?;
    match resumed {
        true if all + 2 * AT_ONCE < count => Err(io::Error::other(format!("{all} of {count} were resumed"))),
        false if all > 0 => Err(io::Error::other(format!("{all} were resumed"))),
        _ => Ok(()),
    }
}

fn greeted(address: SocketAddr, tls: &Tls) -> io::Result<Wire> {
    Wire::greeted_over(Line::to(address, Some(tls))?)
}

fn greeting(line: Line) -> io::Result<Line> {
    Wire::greeted_over(line).map(Wire::into_line)
}

fn no_content(line: Line) -> io::Result<Line> {
    let mut http = Http::over(line);
    match http.ask("/empty")? {
        answer if answer.starts_with("HTTP/1.1 204 ") => Ok(http.into_line()),
        answer => Err(io::Error::other(format!("the server says {answer:?}"))),
    }
}

/// Each has been answered once.
fn memory(bench: &Bench<'_>, report: &mut Report) {
    let clients = room_for(bench.options.clients.min(IDLE_CLIENTS)).expect("a limit of descriptors");
    let work = format!("TLS: memory of an idle client, up to {clients}");
    if !bench.options.wants(&work) {
        return;
    }
    let few = few_of(clients);
    let slope = |before: u64, after: u64| Sample::plain((after as f64 - before as f64) / (clients - few) as f64);
    let mut peers = Vec::new();
    if find(Kind::NginxTls.name()).is_some() {
        peers.push(Peer::new("nginx", &[Goal::RatioAtMost(1.0)], move || {
            let daemon = Kind::NginxTls.start(&bench.setup.helper, &bench.root).ok_or("it is gone")??;
            let tls = Tls::new(HTTP, false);
            let mut crowd = Vec::new();
            let mut join = |count| {
                join(&mut crowd, count, daemon.address(), &tls, no_content).map_err(|error| error.to_string())?;
                holds(&daemon, count).map(|()| daemon.memory())
            };
            Ok::<_, String>(slope(join(few)?, join(clients)?))
        }));
    }
    let mut ours = || {
        let server = ferry_e2e::Options::new().root(&bench.root).arg("--tls").start();
        let tls = Tls::new(FERRY, false);
        let mut crowd = Vec::new();
        let mut join = |count| {
            join(&mut crowd, count, server.address(), &tls, greeting).expect("greetings");
            server.figures().anonymous_bytes
        };
        slope(join(few), join(clients))
    };
    compete(report, bench.options.rounds, &work, Unit::Memory, &[Goal::AtMost(IDLE_BYTES)], Some(&mut ours), peers);
}

/// Adds to `crowd` until it has `count` clients.
fn join(
    crowd: &mut Vec<TcpStream>,
    count: usize,
    address: SocketAddr,
    tls: &Tls,
    answered: fn(Line) -> io::Result<Line>,
) -> io::Result<()> {
    while crowd.len() < count {
        let line = Line::of_crowd(address, crowd.len(), tls)?;
        crowd.push(answered(line)?.into_socket());
    }
    Ok(())
}
