//! Many clients at once: what an idle one costs, how fast they come, how little they disturb, and
//! how evenly they are served.

use std::{cell::RefCell, fs, net::SocketAddr, path::PathBuf};

use ferry_e2e::Server;
use ferry_wire::{Digest, Name};

use crate::{
    Contender, Content, Goal, Options, RawLimit, Report, Row, Sample, Setup, Unit, Workshop, alternate,
    crowd::{Crowd, FERRY, download, room_for},
    drain_ferry,
    latency::latencies,
    size_label, timed,
};

/// Reports every row of the target.
pub fn all(setup: &Setup, options: &Options, report: &mut Report) {
    let bench = Bench::new(setup, options);
    bench.memory(report);
    bench.accepts(report);
    bench.latency(report);
    bench.downloads(report);
}

/// The rows in which ferry stands beside itself: nobody else has what they measure.
pub(crate) fn beside_itself(setup: &Setup, options: &Options, report: &mut Report) {
    let bench = Bench::new(setup, options);
    bench.latency(report);
    bench.downloads(report);
}

struct Bench<'a> {
    setup: &'a Setup,
    options: &'a Options,
    root: PathBuf,
    clients: usize,
    /// Removed when dropped, so it stands last.
    _workshop: Workshop,
}

impl<'a> Bench<'a> {
    fn new(setup: &'a Setup, options: &'a Options) -> Bench<'a> {
        let workshop = Workshop::new(&setup.scratch);
        let root = workshop.directory("root");
        let clients = room_for(options.clients).expect("a limit of descriptors");
        Bench { setup, options, root, clients, _workshop: workshop }
    }

    fn server(&self) -> Server {
        ferry_e2e::Options::new().root(&self.root).start()
    }

    /// The slope between few clients and many, so that what the server owns anyway is not counted.
    fn memory(&self, report: &mut Report) {
        let few = self.clients.div_ceil(19);
        let work = format!("memory of an idle client, {few} to {}", self.clients);
        if !self.options.wants(&work) {
            return;
        }
        let turn = |_| {
            let server = self.server();
            let mut crowd = Crowd::default();
            crowd.join(server.address(), few, &FERRY).expect("few clients");
            let before = server.figures().anonymous_bytes;
            crowd.join(server.address(), self.clients - few, &FERRY).expect("many clients");
            let after = server.figures();
            assert!(after.descriptors >= self.clients, "{} clients: {after:?}", self.clients);
            Sample::plain((after.anonymous_bytes as f64 - before as f64) / (self.clients - few) as f64)
        };
        let ours = (0..self.options.rounds).map(turn).collect();
        report.row(Row { ours, goals: vec![Goal::AtMost(512.0)], ..Row::new(work, Unit::Memory) });
    }

    fn accepts(&self, report: &mut Report) {
        let work = format!("{} connections, greeted and closed", self.clients);
        if !self.options.wants(&work) {
            return;
        }
        let server = self.server();
        let limit = RawLimit::greet(&self.setup.helper);
        let [ours, limit] = alternate(
            self.options.rounds,
            [
                Contender::new(|| self.greeted(server.pid(), server.address())),
                Contender::new(|| self.greeted(limit.pid(), limit.address())),
            ],
        );
        let limit_is = "bare accept, write and close".into();
        report.row(Row { ours, limit, limit_is, ..Row::new(work, Unit::Connections) });
    }

    fn greeted(&self, server: u32, address: SocketAddr) -> Sample {
        timed(server, Unit::Connections, self.clients as u64, || {
            Crowd::come_and_go(address, self.clients, &FERRY).expect("greetings");
        })
    }

    fn latency(&self, report: &mut Report) {
        let work = format!("p99 of a 4 KiB GET, {} others idle", self.clients);
        if !self.options.wants(&work) {
            return;
        }
        let content = Content::write(&self.root.join("small.bin"), 4096);
        let (full, empty) = (self.server(), self.server());
        let mut crowd = Crowd::default();
        crowd.join(full.address(), self.clients, &FERRY).expect("many clients");
        let count = if self.options.tiny { 100 } else { 10_000 };
        let [ours, limit] = alternate(
            self.options.rounds,
            [Contender::new(|| p99(&full, &content, count)), Contender::new(|| p99(&empty, &content, count))],
        );
        let (limit_is, goals) = ("nobody else there".into(), vec![Goal::RatioAtMost(1.2)]);
        report.row(Row { ours, limit, limit_is, goals, ..Row::new(work, Unit::Micros) });
    }

    fn downloads(&self, report: &mut Report) {
        const AT_ONCE: usize = 1000;
        let count = self.clients.min(AT_ONCE);
        // 10 MiB: many times what the buffers of a socket and one turn of the server move.
        let each_mib = (self.options.mib / 100).max(1);
        let work = format!("{count} downloads of {} at once", size_label(each_mib));
        if !self.options.wants(&work) {
            return;
        }
        let [each_name, single_name] = ["each.bin", "single.bin"].map(|name| Name::new(name).expect("a plain name"));
        let each = Content::write(&self.root.join(each_name.as_str()), each_mib << 20);
        let single = Content::write(&self.root.join(single_name.as_str()), self.options.large_bytes());
        let server = self.server();
        let fairness = RefCell::new(Vec::new());
        let together = || {
            timed(server.pid(), Unit::Bytes, each.bytes * count as u64, || {
                let outcome = download(server.address(), count, &each_name, (each.bytes, each.crc));
                let outcome = outcome.expect("every GET");
                assert_eq!(outcome.bytes, each.bytes * count as u64);
                fairness.borrow_mut().push(Sample::plain(outcome.fairness));
            })
        };
        let alone = || {
            timed(server.pid(), Unit::Bytes, single.bytes, || {
                let mut digest = Digest::new();
                drain_ferry(server.address(), &single_name, |piece| digest.update(piece)).expect("GET");
                assert_eq!(digest.crc(), single.crc, "what came is not the file");
            })
        };
        let [ours, limit] = alternate(self.options.rounds, [Contender::new(together), Contender::new(alone)]);
        let (limit_is, goals) = ("one download of ferry's".into(), vec![Goal::RatioAtLeast(0.9)]);
        report.row(Row { ours, limit, limit_is, goals, ..Row::new(work, Unit::Bytes) });

        let mut ours = fairness.into_inner();
        // The warm-up's.
        ours.remove(0);
        let work = format!("Jain's fairness of those {count} downloads");
        report.row(Row { ours, goals: vec![Goal::AtLeast(0.95)], ..Row::new(work, Unit::Share) });
        for content in [each, single] {
            fs::remove_file(&content.path).expect("a file of ours");
        }
    }
}

/// Returns the time in which 99 of 100 GETs, one after the other on one connection, are done.
fn p99(server: &Server, content: &Content, count: usize) -> Sample {
    let times = latencies(server, content, |done, _| done < count);
    Sample::plain(times[count * 99 / 100].as_secs_f64() * 1e6)
}
