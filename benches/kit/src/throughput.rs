//! Large files, both ways.
//!
//! Every transfer starts with a new connection and ends with the last line or byte of the other
//! side; connecting and greeting are inside the time. A GET is held against a bare sendfile loop, a
//! PUT against a bare loop that reads into 1 MiB and writes that to a file; neither checks a byte,
//! while ferry checks all of them.
//!
//! A round of GET verifies the size and the CRC that the server claims, and the CRC of what really
//! came where the row says `checked`. A round of PUT verifies the size and the CRC in SAVED. Each file
//! that was made, on either side, is read again after the time and held against what was sent.

use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use ferry_client::{Address, Client};
use ferry_e2e::Server;
use ferry_wire::{Digest, Name};

use crate::{
    Contender, Content, Drained, Goal, Options, RawLimit, Report, Row, Sample, Setup, Unit, Wire, Workshop, alternate,
    drain_bare, drain_ferry,
    program::{find, run},
    sample::rated,
    size_label, timed,
};

/// The name of the large file on the server.
const LARGE: &str = "large.bin";

/// The name that it is uploaded as.
const UPLOADED: &str = "uploaded.bin";

/// The least share of the rate of a synced local copy that a durable PUT reaches.
pub(crate) const DURABLE_BESIDE_DD: f64 = 0.9;

/// Reports every row of the target.
pub fn all(setup: &Setup, options: &Options, report: &mut Report) {
    let bench = Bench::new(setup, options);
    bench.gets(report);
    bench.puts(report);
}

struct Bench<'a> {
    setup: &'a Setup,
    options: &'a Options,
    workshop: Workshop,
    root: PathBuf,
    content: Content,
    name: Name,
}

impl<'a> Bench<'a> {
    fn new(setup: &'a Setup, options: &'a Options) -> Bench<'a> {
        let workshop = Workshop::new(&setup.scratch);
        let root = workshop.directory("root");
        let content = Content::write(&root.join(LARGE), options.large_bytes());
        let name = Name::new(LARGE).expect("a plain name");
        Bench { setup, options, workshop, root, content, name }
    }

    fn gets(&self, report: &mut Report) {
        let server = ferry_e2e::Options::new().root(&self.root).start();
        let limit = RawLimit::send(&self.setup.helper, &self.content.path);
        let size = size_label(self.options.mib);

        self.row(report, format!("GET {size}, drained"), "bare sendfile", || {
            [Contender::new(|| self.drained(&server, |_| {})), Contender::new(|| self.drained_bare(&limit))]
        });
        self.row(report, format!("GET {size}, drained and checked"), "bare sendfile, unchecked", || {
            [
                Contender::new(|| {
                    let mut digest = Digest::new();
                    let sample = self.drained(&server, |piece| digest.update(piece));
                    assert_eq!(digest.crc(), self.content.crc, "what came is not what was sent");
                    sample
                }),
                Contender::new(|| self.drained_bare(&limit)),
            ]
        });
        let target = self.workshop.directory("client").join("got.bin");
        self.row(
            report,
            format!("GET {size} to a file, ferry's client"),
            "bare sendfile, read and write, unchecked",
            || [Contender::new(|| self.got(&server, &target)), Contender::new(|| self.got_bare(&limit, &target))],
        );
    }

    /// Each upload and each download gets a name of no file: nobody has an old one to throw away.
    fn puts(&self, report: &mut Report) {
        let size = size_label(self.options.mib);
        for (durability, sync, limit_is) in
            [("none", false, "bare read and write, unchecked"), ("full", true, "bare read, write and fsync, unchecked")]
        {
            let server = ferry_e2e::Options::new().root(&self.root).arg("--durability").arg(durability).start();
            let poured = self.workshop.directory("limit").join("poured");
            let limit = RawLimit::receive(&self.setup.helper, &poured, sync);
            self.row(report, format!("PUT {size}, durability {durability}"), limit_is, || {
                [Contender::new(|| self.put(&server)), Contender::new(|| self.poured(&limit, &poured))]
            });
            if sync && let Some(dd) = find("dd") {
                let goals = vec![Goal::RatioAtLeast(DURABLE_BESIDE_DD)];
                self.row_with_goals(report, format!("PUT {size}, durable, beside dd"), "dd conv=fsync", goals, || {
                    [Contender::new(|| self.put(&server)), Contender::new(|| self.copied(&dd, &poured))]
                });
            }
            if sync {
                self.row(report, format!("PUT {size} from a file, ferry's client"), limit_is, || {
                    [Contender::new(|| self.put_by_client(&server)), Contender::new(|| self.poured(&limit, &poured))]
                });
            }
        }
    }

    /// Runs the contenders that `contenders` makes and reports the row, if it was asked for.
    fn row<'c>(
        &self,
        report: &mut Report,
        work: String,
        limit_is: &'static str,
        contenders: impl FnOnce() -> [Contender<'c>; 2],
    ) {
        self.row_with_goals(report, work, limit_is, Vec::new(), contenders);
    }

    fn row_with_goals<'c>(
        &self,
        report: &mut Report,
        work: String,
        limit_is: &'static str,
        goals: Vec<Goal>,
        contenders: impl FnOnce() -> [Contender<'c>; 2],
    ) {
        if self.options.wants(&work) {
            let [ours, limit] = alternate(self.options.rounds, contenders());
            report.row(Row { ours, limit, limit_is: limit_is.into(), goals, ..Row::new(work, Unit::Bytes) });
        }
    }

    fn timed(&self, server: u32, work: impl FnOnce()) -> Sample {
        timed(server, Unit::Bytes, self.content.bytes, work)
    }

    fn drained(&self, server: &Server, see: impl FnMut(&[u8])) -> Sample {
        let mut drained = None;
        let sample = self.timed(server.pid(), || {
            drained = Some(drain_ferry(server.address(), &self.name, see).expect("GET"));
        });
        assert_eq!(drained, Some(Drained { bytes: self.content.bytes, claimed: Some(self.content.crc) }));
        sample
    }

    fn drained_bare(&self, limit: &RawLimit) -> Sample {
        self.timed(limit.pid(), || {
            drain_bare(limit.address(), self.content.bytes, |_| {}).expect("a bare sendfile");
        })
    }

    fn got(&self, server: &Server, target: &Path) -> Sample {
        let sample = self.timed(server.pid(), || {
            connect(server).get(&self.name, target, &mut |_| {}).expect("GET");
        });
        self.content.check_and_remove(target);
        sample
    }

    fn got_bare(&self, limit: &RawLimit, target: &Path) -> Sample {
        let sample = self.timed(limit.pid(), || {
            let mut file = File::create_new(target).expect("a new file");
            let write = |piece: &[u8]| file.write_all(piece).expect("room on the disk");
            drain_bare(limit.address(), self.content.bytes, write).expect("a bare sendfile");
        });
        self.content.check_and_remove(target);
        sample
    }

    fn put(&self, server: &Server) -> Sample {
        let name = Name::new(UPLOADED).expect("a plain name");
        let sample = self.timed(server.pid(), || {
            Wire::greeted(server.address()).and_then(|mut wire| wire.put(&name, &self.content)).expect("PUT");
        });
        self.content.check_and_remove(&self.root.join(UPLOADED));
        sample
    }

    fn put_by_client(&self, server: &Server) -> Sample {
        let name = Name::new(UPLOADED).expect("a plain name");
        let sample = self.timed(server.pid(), || {
            connect(server).put(&name, &self.content.path, &mut |_| {}).expect("PUT");
        });
        self.content.check_and_remove(&self.root.join(UPLOADED));
        sample
    }

    fn copied(&self, dd: &Path, target: &Path) -> Sample {
        let figures = run(Command::new(dd)
            .arg(format_args!("if={}", self.content.path.display()).to_string())
            .arg(format_args!("of={}", target.display()).to_string())
            .args(["bs=1M", "conv=fsync"]));
        self.content.check_and_remove(target);
        rated(Unit::Bytes, self.content.bytes, figures.unwrap_or_else(|error| panic!("{error}")))
    }

    fn poured(&self, limit: &RawLimit, poured: &Path) -> Sample {
        let sample = self.timed(limit.pid(), || {
            Wire::connect(limit.address()).and_then(|mut wire| wire.pour(&self.content)).expect("a bare PUT");
        });
        self.content.check_and_remove(poured);
        sample
    }
}

fn connect(server: &Server) -> Client {
    let address = Address::new(server.address().ip().to_string(), server.address().port());
    Client::connect(&address, ferry_client::Options::default()).expect("a greeting")
}
