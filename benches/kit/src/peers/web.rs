//! HTTP: a browser's protocol, beside servers that speak nothing else.
//!
//! All servers of a row are asked by the same program: curl, wrk, or the bench's own crowd. Their CPU
//! time is told alone. Nginx has one worker and takes uploads by its WebDAV module; dufs and miniserve
//! have as many threads as they like. Ferry stores no upload durably here, since no peer does. Ferry
//! keeps its log of transfers, and the peers keep none.
//!
//! By TLS stand ferry and nginx, of which the latter knows but one cipher, AES-128-GCM; curl asks
//! for that. wrk asks ferry for AES-256-GCM.

use std::{
    fs, io,
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Stdio},
};

use ferry_e2e::Server;

use super::{
    Bench, LARGE,
    daemon::{Daemon, Kind},
    idle::{few_of, holds},
    large::UPLOADED,
    small,
    turns::{Peer, compete},
};
use crate::{
    Goal, Report, Sample, Unit,
    crowd::{Crowd, Hello, room_for},
    program::find,
    sample::{clocked, rated},
    size_label,
    tree::own_cpu_seconds,
};

const AT_LEAST: [Goal; 1] = [Goal::RatioAtLeast(1.0)];

const IDLE_BYTES: f64 = 1024.0;

/// Connections at once, of small files.
const CONNECTIONS: [usize; 3] = [1, 16, 256];

/// Answered by all with the same head; a connection stays.
const LOOK: Hello = Hello {
    at_once: 64,
    says: b"HEAD /large.bin HTTP/1.1\r\nHost: localhost\r\n\r\n",
    heard: |answer| match answer.ends_with(b"\r\n\r\n") {
        true if answer.starts_with(b"HTTP/1.1 200 ") => Ok(true),
        true => Err(io::Error::other("another status than 200")),
        false => Ok(false),
    },
};

/// Servers that speak HTTP, all plain or all by TLS.
struct Web {
    scheme: &'static str,
    ferry: Server,
    daemons: Vec<Daemon>,
}

/// One server of them.
#[derive(Clone, Copy)]
enum Site<'a> {
    Ferry(&'a Server),
    Peer(&'a Daemon),
}

impl Site<'_> {
    fn address(self) -> SocketAddr {
        match self {
            Site::Ferry(server) => server.http().1,
            Site::Peer(daemon) => daemon.address(),
        }
    }

    fn cpu(self) -> f64 {
        match self {
            Site::Ferry(server) => own_cpu_seconds(server.pid()),
            Site::Peer(daemon) => daemon.cpu(),
        }
    }
}

/// Reports every row of HTTP.
pub(super) fn all(bench: &Bench<'_>, report: &mut Report) {
    for (scheme, kinds) in [("http", &[Kind::NginxPut, Kind::Dufs, Kind::Miniserve][..]), ("https", &[Kind::NginxTls])]
    {
        let web = Web::start(bench, scheme, kinds, report);
        get(bench, &web, report);
        put(bench, &web, report);
        small_files(bench, &web, report);
    }
    memory(bench, report);
}

impl Web {
    fn start(bench: &Bench<'_>, scheme: &'static str, kinds: &[Kind], report: &mut Report) -> Web {
        let mut daemons = Vec::new();
        for kind in kinds {
            match kind.start(&bench.setup.helper, &bench.root) {
                Some(Ok(daemon)) => daemons.push(daemon),
                Some(Err(why)) => report.skip("did not start", &format!("{}: {why}", kind.name())),
                None => report.skip("not found", &format!("{} ({})", kind.name(), kind.install())),
            }
        }
        let secured = if scheme == "https" { "--tls" } else { "--plain" };
        Web { scheme, ferry: ferry(bench, secured), daemons }
    }

    /// Returns how a row by it begins.
    fn by(&self) -> String {
        self.scheme.to_uppercase()
    }

    fn url(&self, site: Site<'_>, name: &str) -> String {
        format!("{}://{}/{name}", self.scheme, site.address())
    }

    /// Lets ferry and those of the peers that `takes_part` take turns.
    fn compete<'a>(
        &'a self,
        bench: &Bench<'_>,
        report: &mut Report,
        work: &str,
        unit: Unit,
        takes_part: impl Fn(Kind) -> bool,
        turn: impl Fn(Site<'a>) -> Result<Sample, String> + Copy + 'a,
    ) {
        let peers = self.daemons.iter().filter(|daemon| takes_part(daemon.kind()));
        let peers = peers.map(|daemon| Peer::new(daemon.name(), &AT_LEAST, move || turn(Site::Peer(daemon))));
        let mut ours = || turn(Site::Ferry(&self.ferry)).unwrap_or_else(|error| panic!("{work}: {error}"));
        compete(report, bench.options.rounds, work, unit, &[], Some(&mut ours), peers.collect());
    }
}

fn ferry(bench: &Bench<'_>, secured: &str) -> Server {
    let options = ferry_e2e::Options::new().root(&bench.root).arg("--durability").arg("none").arg(secured);
    options.arg("--http").arg("127.0.0.1:0").start()
}

/// From the page cache, to nowhere.
fn get(bench: &Bench<'_>, web: &Web, report: &mut Report) {
    let work = format!("{}: GET {} by curl, drained", web.by(), size_label(bench.options.mib));
    let Some(curl) = asked_by("curl", bench, report, &work) else { return };
    let (curl, bytes) = (&curl, bench.content.bytes);
    web.compete(
        bench,
        report,
        &work,
        Unit::Bytes,
        |_| true,
        move |site| {
            let arguments = ["-o", "/dev/null", "-w", "%{size_download}", &web.url(site, LARGE)];
            let (sample, said) = by_curl(curl, &arguments, site, bytes)?;
            if said == bytes.to_string() { Ok(sample) } else { Err(format!("{said} bytes came in place of {bytes}")) }
        },
    );
}

fn put(bench: &Bench<'_>, web: &Web, report: &mut Report) {
    let work = format!("{}: PUT {} by curl, no fsync", web.by(), size_label(bench.options.mib));
    let Some(curl) = asked_by("curl", bench, report, &work) else { return };
    let (curl, content, target) = (&curl, &bench.content, &bench.root.join(UPLOADED));
    // miniserve takes forms alone.
    let takes_puts = |kind| kind != Kind::Miniserve;
    web.compete(bench, report, &work, Unit::Bytes, takes_puts, move |site| {
        let file = content.path.to_string_lossy();
        let (sample, _) = by_curl(curl, &["-T", &file, &web.url(site, UPLOADED)], site, content.bytes)?;
        content.check_and_remove(target);
        Ok(sample)
    });
}

/// Gives the program that asks, if the row is wanted and the program is there.
fn asked_by(program: &str, bench: &Bench<'_>, report: &mut Report, work: &str) -> Option<PathBuf> {
    let found = bench.options.wants(work).then(|| find(program))?;
    if found.is_none() {
        report.skip(work, &format!("no {program}"));
    }
    found
}

/// Lets curl move `bytes` bytes, with the cipher of all; gives what it says as well.
fn by_curl(curl: &PathBuf, arguments: &[&str], site: Site<'_>, bytes: u64) -> Result<(Sample, String), String> {
    let mut command = Command::new(curl);
    command.args(["-q", "-sSfk", "--http1.1", "--tls13-ciphers", "TLS_AES_128_GCM_SHA256"]).args(arguments);
    let mut output = None;
    let figures = clocked(|| site.cpu(), || output = Some(command.stdin(Stdio::null()).output()));
    let output = output.ok_or("curl was not run")?.map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok((rated(Unit::Bytes, bytes, figures), String::from_utf8_lossy(&output.stdout).into())),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().into()),
    }
}

/// On connections that stay; each asks again once it was answered.
fn small_files(bench: &Bench<'_>, web: &Web, report: &mut Report) {
    // A turn takes wrk a second.
    let counts = if bench.options.tiny { &CONNECTIONS[1..2] } else { &CONNECTIONS[..] };
    for &connections in counts {
        let plural = if connections == 1 { "" } else { "s" };
        let work = format!("{}: GETs of 4 KiB by wrk, {connections} connection{plural}", web.by());
        let Some(wrk) = asked_by("wrk", bench, report, &work) else { continue };
        let script = bench.local.join("all.lua");
        fs::write(&script, small::lua(bench.files.len())).expect("room for a script");
        let (wrk, script) = (&wrk, &script);
        web.compete(
            bench,
            report,
            &work,
            Unit::Files,
            |_| true,
            move |site| small::wrk_turn(wrk, &web.url(site, ""), || site.cpu(), connections, script),
        );
    }
}

/// Each has been answered once.
fn memory(bench: &Bench<'_>, report: &mut Report) {
    let clients = room_for(bench.options.clients).expect("a limit of descriptors");
    let work = format!("HTTP: memory of an idle client, up to {clients}");
    if !bench.options.wants(&work) {
        return;
    }
    let few = few_of(clients);
    let slope = |before: u64, after: u64| Sample::plain((after as f64 - before as f64) / (clients - few) as f64);
    let kinds = [Kind::NginxPut, Kind::Dufs, Kind::Miniserve].into_iter().filter(|kind| find(kind.name()).is_some());
    let peers = kinds.map(|kind| {
        Peer::new(kind.name(), &[Goal::RatioAtMost(1.0)], move || {
            let daemon = kind.start(&bench.setup.helper, &bench.root).ok_or("it is gone")??;
            let mut crowd = Crowd::default();
            let mut join = |count, in_all| {
                crowd.join(daemon.address(), count, &LOOK).map_err(|error| error.to_string())?;
                holds(&daemon, in_all).map(|()| daemon.memory())
            };
            Ok::<_, String>(slope(join(few, few)?, join(clients - few, clients)?))
        })
    });
    let mut ours = || {
        let server = ferry(bench, "--plain");
        let mut crowd = Crowd::default();
        let mut join = |count| {
            crowd.join(server.http().1, count, &LOOK).expect("answers");
            server.figures().anonymous_bytes
        };
        slope(join(few), join(clients - few))
    };
    let goals = [Goal::AtMost(IDLE_BYTES)];
    compete(report, bench.options.rounds, &work, Unit::Memory, &goals, Some(&mut ours), peers.collect());
}
