//! One large file, both ways.

use std::{cell::RefCell, io, process::Command};

use ferry_wire::Name;

use super::{
    Bench, LARGE,
    daemon::{Daemon, Kind},
    ftp::Ftp,
    http::Http,
    turns::{Peer, compete},
};
use crate::{
    Drained, Goal, RawLimit, Report, Sample, Unit, Wire, drain_bare, drain_ferry,
    program::{find, run},
    sample::{clocked, rated},
    size_label,
    throughput::DURABLE_BESIDE_DD,
    timed,
};

/// CPU seconds that 1 GB of a file may cost more whose CRC is known: headers of blocks, and looks at what is in memory.
const KNOWN_FILE: f64 = 0.02;

pub(super) const UPLOADED: &str = "uploaded.bin";

pub(super) fn gets(bench: &Bench<'_>, report: &mut Report) {
    let work = format!("GET {}, drained", size_label(bench.options.mib));
    if !bench.options.wants(&work) {
        return;
    }
    let goals = [Goal::RatioAtLeast(1.0), Goal::CpuWithin(KNOWN_FILE)];
    let limit = RawLimit::send(&bench.setup.helper, &bench.content.path);
    let bytes = bench.content.bytes;
    let mut peers = Vec::new();
    for daemon in bench.ftp_servers() {
        peers.push(Peer::new(daemon.name(), &goals, move || {
            let mut ftp = Ftp::login(daemon.address(), daemon.login())?;
            measured(daemon, bytes, || same(ftp.get(LARGE, |_| {})?, bytes))
        }));
    }
    if let Some(nginx) = bench.daemon(Kind::Nginx) {
        peers.push(Peer::new(nginx.name(), &goals, move || {
            let mut http = Http::connect(nginx.address())?;
            measured(nginx, bytes, || same(http.get(&format!("/{LARGE}"), |_| {})?, bytes))
        }));
    }
    peers.push(Peer::new("bare sendfile", &[], || {
        Ok::<_, String>(timed(limit.pid(), Unit::Bytes, bytes, || {
            drain_bare(limit.address(), bytes, |_| {}).expect("a bare sendfile");
        }))
    }));
    let mut ours = || {
        let mut drained = None;
        let sample = timed(bench.ferry.pid(), Unit::Bytes, bytes, || {
            drained = Some(drain_ferry(bench.ferry.address(), &name(LARGE), |_| {}).expect("GET"));
        });
        assert_eq!(drained, Some(Drained { bytes, claimed: Some(bench.content.crc) }));
        sample
    };
    compete(report, bench.options.rounds, &work, Unit::Bytes, &[], Some(&mut ours), peers);
}

pub(super) fn puts(bench: &Bench<'_>, report: &mut Report) {
    let size = size_label(bench.options.mib);
    put(bench, report, &format!("PUT {size}, no fsync"));
    put_durably(bench, report, &format!("PUT {size}, durable, on the disk"));
}

fn put(bench: &Bench<'_>, report: &mut Report, work: &str) {
    if !bench.options.wants(work) {
        return;
    }
    let goals = [Goal::RatioAtLeast(1.0), Goal::CpuWithin(0.0)];
    let content = &bench.content;
    let target = bench.root.join(UPLOADED);
    let poured = bench.local.join("poured");
    let limit = RawLimit::receive(&bench.setup.helper, &poured, false);
    let mut peers = Vec::new();
    for daemon in bench.ftp_servers() {
        let target = &target;
        peers.push(Peer::new(daemon.name(), &goals, move || {
            let mut ftp = Ftp::login(daemon.address(), daemon.login())?;
            let sample = measured(daemon, content.bytes, || ftp.put(UPLOADED, content));
            if sample.is_ok() {
                content.check_and_remove(target);
            }
            sample
        }));
    }
    peers.push(Peer::new("bare receive and write", &[], || {
        let sample = timed(limit.pid(), Unit::Bytes, content.bytes, || {
            Wire::connect(limit.address()).and_then(|mut wire| wire.pour(content)).expect("a bare PUT");
        });
        content.check_and_remove(&poured);
        Ok::<_, String>(sample)
    }));
    let mut ours = || {
        let sample = timed(bench.ferry.pid(), Unit::Bytes, content.bytes, || {
            let wire = Wire::greeted(bench.ferry.address());
            wire.and_then(|mut wire| wire.put(&name(UPLOADED), content)).expect("PUT");
        });
        content.check_and_remove(&target);
        sample
    };
    compete(report, bench.options.rounds, work, Unit::Bytes, &[], Some(&mut ours), peers);
}

/// Bytes come from memory, and are on the disk at the end.
fn put_durably(bench: &Bench<'_>, report: &mut Report, work: &str) {
    if !bench.options.wants(work) {
        return;
    }
    let content = &bench.content;
    let root = bench.disk.directory("durable");
    let copied = bench.disk.directory("copied").join("copied.bin");
    let server = ferry_e2e::Options::new().root(&root).start();
    let goals = [Goal::RatioAtLeast(DURABLE_BESIDE_DD)];
    let mut peers = Vec::new();
    if let Some(dd) = find("dd") {
        peers.push(Peer::new("dd conv=fsync", &goals, move || {
            let [from, to] = [("if", &content.path), ("of", &copied)].map(|(key, path)| {
                let mut word = std::ffi::OsString::from(format!("{key}="));
                word.push(path);
                word
            });
            let figures = run(Command::new(&dd).args([from, to]).args(["bs=1M", "conv=fsync"]))?;
            content.check_and_remove(&copied);
            Ok::<_, String>(rated(Unit::Bytes, content.bytes, figures))
        }));
    }
    let mut ours = || {
        let sample = timed(server.pid(), Unit::Bytes, content.bytes, || {
            let wire = Wire::greeted(server.address());
            wire.and_then(|mut wire| wire.put(&name(UPLOADED), content)).expect("PUT");
        });
        content.check_and_remove(&root.join(UPLOADED));
        sample
    };
    compete(report, bench.options.rounds, work, Unit::Bytes, &[], Some(&mut ours), peers);
}

/// Times `work`, which moves so many bytes with `daemon`.
pub(super) fn measured(daemon: &Daemon, bytes: u64, work: impl FnOnce() -> io::Result<()>) -> io::Result<Sample> {
    let done = RefCell::new(Ok(()));
    let figures = clocked(|| daemon.cpu(), || *done.borrow_mut() = work());
    done.into_inner().map(|()| rated(Unit::Bytes, bytes, figures))
}

pub(super) fn same(came: u64, due: u64) -> io::Result<()> {
    if came == due { Ok(()) } else { Err(io::Error::other(format!("{came} bytes came in place of {due}"))) }
}

pub(super) fn name(text: &str) -> Name {
    Name::new(text).expect("a plain name")
}
