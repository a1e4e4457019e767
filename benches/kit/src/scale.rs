//! The reach of one machine: the memory of a million idle sessions, and the gain by a second process on
//! the same address and root adds.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ferry_e2e::{Figures, Server};
use ferry_server::{
    access::Users,
    protocol::{Limits, Timeouts, Visitor, ferry::FerrySession},
    store::Disk,
};
use slab::Slab;

use crate::{
    Contender, Goal, Options, Report, Row, Sample, Setup, Unit, Workshop, alternate,
    crowd::{Crowd, FERRY, room_for},
    lanes::{Small, get_all},
    sample::clocked,
    small_files,
    tree::own_cpu_seconds,
};

const SESSIONS: usize = 1_000_000;

/// Enough that both processes get some of them.
const CONNECTIONS: usize = 64;

/// Reports every row of the target.
pub fn all(setup: &Setup, options: &Options, report: &mut Report) {
    sessions(options, report);
    processes(setup, options, report);
}

/// Sessions as an idle server holds them: greeted, and with nothing under way. The rest of a
/// connection (socket, timer, flags) is private to the server; the bench `clients` measures it all
/// together.
fn sessions(options: &Options, report: &mut Report) {
    let count = if options.tiny { SESSIONS / 100 } else { SESSIONS };
    let work = format!("memory of a session, {count} of them idle");
    if !options.wants(&work) {
        return;
    }
    let limits = Arc::new(Limits {
        kept_modes: None,
        node: None,
        read_only: false,
        volatile: false,
        upload_bytes: u64::MAX,
        timeouts: Timeouts {
            idle: Duration::from_secs(300),
            request: Duration::from_secs(60),
            window: Duration::from_secs(60),
            window_bytes: 1024,
        },
        checkpoint_bytes: 32 << 20,
        checkpoint_time: Duration::from_secs(15),
        keep: Duration::from_secs(72 * 3600),
    });
    let users = Arc::new(Users::without_file());
    let turn = |_| {
        let before = Figures::of(std::process::id()).anonymous_bytes;
        let now = Instant::now();
        let mut sessions = Slab::with_capacity(count);
        for _ in 0..count {
            let mut session =
                FerrySession::<Disk>::new(Arc::clone(&limits), Visitor::new(Arc::clone(&users), true), now);
            let greeting = session.outbox().bytes();
            session.outbox().advance(greeting);
            session.sent(now);
            assert!(session.wants_input() && session.next_operation().is_none(), "an idle session");
            sessions.insert(session);
        }
        let after = Figures::of(std::process::id()).anonymous_bytes;
        assert_eq!(sessions.len(), count);
        Sample::plain(after.saturating_sub(before) as f64 / count as f64)
    };
    let ours = (0..options.rounds).map(turn).collect();
    report.row(Row { ours, goals: vec![Goal::AtMost(512.0)], ..Row::new(work, Unit::Memory) });
}

/// One process and two that share address and root. The client takes a processor too, so that two
/// processes show what they can only where there are three.
fn processes(setup: &Setup, options: &Options, report: &mut Report) {
    let gets = format!("GETs of 4 KiB, {CONNECTIONS} connections, 2 processes");
    let accepts = String::from("connections, greeted and closed, 2 processes");
    if !options.wants(&gets) && !options.wants(&accepts) {
        return;
    }
    if !knows_reuse_port() {
        for work in [&gets, &accepts] {
            report.skip(work, "this ferryd has no --reuse-port");
        }
        return;
    }
    let workshop = Workshop::new(&setup.scratch);
    let root = workshop.directory("root");
    let files = small_files::write(&workshop.directory("root/fetched"), options.files);
    let alone = vec![ferry_e2e::Options::new().root(&root).start()];
    let first = ferry_e2e::Options::new().root(&root).arg("--reuse-port").start();
    let address = first.address().to_string();
    let second = ferry_e2e::Options::new().root(&root).arg("--reuse-port").address(&address).start();
    let together = vec![first, second];

    if options.wants(&gets) {
        compare(options, report, Row::new(gets, Unit::Files), &alone, &together, |servers| get_small(servers, &files));
    }
    if options.wants(&accepts) {
        let clients = room_for(options.clients).expect("a limit of descriptors");
        compare(options, report, Row::new(accepts, Unit::Connections), &alone, &together, |servers| {
            greeted(servers, clients)
        });
    }
}

fn compare(
    options: &Options,
    report: &mut Report,
    row: Row,
    alone: &[Server],
    together: &[Server],
    work: impl Fn(&[Server]) -> Sample,
) {
    let [ours, limit] = alternate(options.rounds, [Contender::new(|| work(together)), Contender::new(|| work(alone))]);
    report.row(Row { ours, limit, limit_is: "one process".into(), ..row });
}

fn get_small(servers: &[Server], files: &[Small]) -> Sample {
    let count = files.len() * small_files::GETS_OF_EACH;
    let figures =
        clocked(|| cpu(servers), || get_all(servers[0].address(), CONNECTIONS, files, count).expect("every GET"));
    crate::sample::rated(Unit::Files, count as u64, figures)
}

fn greeted(servers: &[Server], clients: usize) -> Sample {
    let figures =
        clocked(|| cpu(servers), || Crowd::come_and_go(servers[0].address(), clients, &FERRY).expect("greetings"));
    crate::sample::rated(Unit::Connections, clients as u64, figures)
}

fn cpu(servers: &[Server]) -> f64 {
    servers.iter().map(|server| own_cpu_seconds(server.pid())).sum()
}

fn knows_reuse_port() -> bool {
    let help = std::process::Command::new(ferry_e2e::ferryd()).arg("--help").output().expect("ferryd runs");
    String::from_utf8_lossy(&help.stdout).contains("--reuse-port")
}
