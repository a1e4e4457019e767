//! Whether one client's slow work makes another one wait: a client fetches 4 KiB again and again,
//! and the longest that this took is reported, beside the same with nobody else there.
//!
//! The slow work is what would block a loop that did it itself: syncing a large upload and freeing
//! the file that it replaces, reading a file that is not in memory, reading all of a file for its
//! CRC, listing a directory of many entries.

use std::{
    fs::File,
    io,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use ferry_e2e::Server;
use ferry_wire::{Name, Reply, Request};
use rustix::fs::{Advice, fadvise};

use crate::{
    Contender, Content, Options, Programs, Report, Row, Sample, Unit, Wire, Workshop, alternate, latency::latencies,
    size_label,
};

const LARGE: &str = "large.bin";
const MANY: &str = "many";

/// Every row of the target.
pub fn all(programs: &Programs, options: &Options, report: &mut Report) {
    let bench = Bench::new(programs, options);
    let size = size_label(options.mib);
    bench.row(report, format!("beside PUTs of {size}, durable"), |server| bench.put(server));
    bench.row(report, format!("beside GETs of {size}, not in memory"), |server| bench.cold(server));
    bench.row(report, format!("beside SUMs of {size}"), |server| bench.sum(server));
    bench.row(report, format!("beside LISTs of {} files", options.files), |server| bench.list(server));
}

struct Bench<'a> {
    options: &'a Options,
    root: PathBuf,
    large: Content,
    small: Content,
    /// Removed when dropped, so it stands last.
    _workshop: Workshop,
}

impl<'a> Bench<'a> {
    fn new(programs: &Programs, options: &'a Options) -> Bench<'a> {
        let workshop = Workshop::new(&programs.scratch);
        let root = workshop.directory("root");
        let large = Content::write(&root.join(LARGE), options.large_bytes());
        let small = Content::write(&root.join("small.bin"), 4096);
        let many = workshop.directory("root/many");
        for index in 0..options.files {
            File::create(many.join(index.to_string())).expect("room on the disk");
        }
        Bench { options, root, large, small, _workshop: workshop }
    }

    fn row(&self, report: &mut Report, beside: String, slow: impl Fn(&Server) -> io::Result<()> + Sync) {
        let work = format!("longest 4 KiB GET {beside}");
        if !self.options.wants(&work) {
            return;
        }
        let server = ferry_e2e::Options::new().root(&self.root).start();
        let [ours, limit] = alternate(
            self.options.rounds,
            [
                Contender::new(|| {
                    let stop = AtomicBool::new(false);
                    thread::scope(|scope| {
                        let worker = scope.spawn(|| {
                            while !stop.load(Ordering::Relaxed) {
                                slow(&server)?;
                            }
                            io::Result::Ok(())
                        });
                        let sample = {
                            let _stop = StopAtEnd(&stop);
                            self.longest(&server)
                        };
                        worker.join().expect("no panic").unwrap_or_else(|error| panic!("{beside}: {error}"));
                        sample
                    })
                }),
                Contender::new(|| self.longest(&server)),
            ],
        );
        report.row(Row { work, unit: Unit::Micros, ours, limit, limit_is: "nobody else there" });
    }

    fn longest(&self, server: &Server) -> Sample {
        let enough = if self.options.tiny { Duration::from_millis(20) } else { Duration::from_secs(2) };
        let times = latencies(server, &self.small, |_, so_far| so_far < enough);
        Sample::plain(times.last().map_or(0.0, Duration::as_secs_f64) * 1e6)
    }

    /// Each replaces the one before.
    fn put(&self, server: &Server) -> io::Result<()> {
        Wire::greeted(server.address())?.put(&name("uploaded.bin"), &self.large)
    }

    fn cold(&self, server: &Server) -> io::Result<()> {
        fadvise(File::open(&self.large.path)?, 0, None, Advice::DontNeed)?;
        let drained = crate::drain_ferry(server.address(), &name(LARGE), |_| {})?;
        same(drained.claimed, Some(self.large.crc))
    }

    fn sum(&self, server: &Server) -> io::Result<()> {
        let mut wire = Wire::greeted(server.address())?;
        wire.ask(&Request::Sum { name: name(LARGE) })?;
        match wire.reply()? {
            Reply::Sum { crc, .. } => same(crc, self.large.crc),
            other => Err(io::Error::other(format!("the server says {other:?}"))),
        }
    }

    fn list(&self, server: &Server) -> io::Result<()> {
        let mut wire = Wire::greeted(server.address())?;
        wire.ask(&Request::List { name: Some(name(MANY)) })?;
        let mut lines = 0;
        match wire.reply()? {
            Reply::Listing => wire.body(|piece| lines += piece.iter().filter(|byte| **byte == b'\n').count())?,
            other => return Err(io::Error::other(format!("the server says {other:?}"))),
        };
        same(lines, self.options.files)
    }
}

/// Stops the worker also where the measuring panics: the scope would wait for it for ever.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a plain name")
}

fn same<T: PartialEq + std::fmt::Debug>(found: T, due: T) -> io::Result<()> {
    if found == due { Ok(()) } else { Err(io::Error::other(format!("{found:?} where {due:?} is due"))) }
}
