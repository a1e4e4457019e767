//! Measures whether one client's slow work makes another one wait. A client fetches 4 KiB again and
//! again. The longest time that this took is reported, beside the same with nobody else there.
//! Behind it stands the server's own figure: the longest that its loop was away from its clients
//! meanwhile. On a machine whose processors are busy with other things, both count the time that
//! the loop waited for one.
//!
//! The slow work would block a loop that did it itself. It is syncing a large upload and freeing
//! the file that it replaces; reading a file that is not in memory; reading all of a file for its
//! CRC; and listing a directory of many entries. A page of figures is made on the loop itself: once
//! a second, as Prometheus asks for it, and as fast as pages come.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use ferry_e2e::{Server, eventually};
use ferry_wire::{Crc32, Digest, Name, Reply, Request};
use rustix::{
    fs::{Advice, fadvise},
    process::Signal,
};

use crate::{
    Contender, Content, Options, Report, Row, Sample, Setup, Unit, Wire, Workshop, alternate, latency::latencies,
    size_label,
};

const LARGE: &str = "large.bin";
const MANY: &str = "many";
const SPARSE: &str = "sparse.bin";

/// The directory that is listed holds so many times the files that other benches move.
const MANY_TIMES: usize = 20;

/// The sparse file that is summed is so many times as large as the one that is moved.
const SPARSE_TIMES: u64 = 10;

/// Reports every row of the target.
pub fn all(setup: &Setup, options: &Options, report: &mut Report) {
    let bench = Bench::new(setup, options);
    let size = size_label(options.mib);
    bench.row(report, format!("beside PUTs of {size}, durable"), |server| bench.put(server));
    bench.row(report, format!("beside GETs of {size}, not in memory"), |server| bench.cold(server));
    let sparse = size_label(options.mib * SPARSE_TIMES);
    bench.row(report, format!("beside SUMs of {sparse}, sparse"), |server| bench.sum(server));
    bench.row(report, format!("beside LISTs of {} files", bench.many), |server| bench.list(server));
    bench.row(report, "beside a scrape each second".into(), |server| {
        scrape(server)?;
        thread::sleep(if options.tiny { Duration::ZERO } else { Duration::from_secs(1) });
        Ok(())
    });
    bench.row(report, "beside scrapes one after another".into(), scrape);
}

struct Bench<'a> {
    options: &'a Options,
    root: PathBuf,
    large: Content,
    small: Content,
    /// Files in the directory that is listed.
    many: usize,
    sparse_crc: Crc32,
    /// Removed when dropped, so it stands last.
    _workshop: Workshop,
}

impl<'a> Bench<'a> {
    fn new(setup: &Setup, options: &'a Options) -> Bench<'a> {
        let workshop = Workshop::new(&setup.scratch);
        let root = workshop.directory("root");
        let large = Content::write(&root.join(LARGE), options.large_bytes());
        let small = Content::write(&root.join("small.bin"), 4096);
        let many = workshop.directory("root/many");
        let files = options.files * MANY_TIMES;
        for index in 0..files {
            File::create(many.join(index.to_string())).expect("room on the disk");
        }
        let sparse_bytes = options.large_bytes() * SPARSE_TIMES;
        let sparse = File::create(root.join(SPARSE)).expect("room on the disk");
        sparse.set_len(sparse_bytes).expect("a sparse file");
        let sparse_crc = crc_of_zeros(sparse_bytes);
        Bench { options, root, large, small, many: files, sparse_crc, _workshop: workshop }
    }

    fn row(&self, report: &mut Report, beside: String, slow: impl Fn(&Server) -> io::Result<()> + Sync) {
        let work = format!("longest 4 KiB GET {beside}");
        if !self.options.wants(&work) {
            return;
        }
        let server = ferry_e2e::Options::new().root(&self.root).arg("--metrics").arg("127.0.0.1:0").start();
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
        report.row(Row { ours, limit, limit_is: "nobody else there".into(), ..Row::new(work, Unit::Micros) });
        let away = Sample::plain(longest_turn(server).as_secs_f64() * 1e6);
        let work = format!("longest turn of the loop {beside}");
        report.row(Row { ours: vec![away], ..Row::new(work, Unit::Micros) });
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
        wire.ask(&Request::Sum { name: name(SPARSE) })?;
        match wire.reply()? {
            Reply::Sum { crc, .. } => same(crc, self.sparse_crc),
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
        same(lines, self.many)
    }
}

/// Gets the page of the server's figures.
fn scrape(server: &Server) -> io::Result<()> {
    let address = eventually("the log names the address of the figures", || {
        let log = server.log();
        Some(log.split_once("figures are at http://")?.1.split_once("/metrics")?.0.to_owned())
    });
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: ferryd\r\n\r\n")?;
    let mut page = String::new();
    stream.read_to_string(&mut page)?;
    same(page.starts_with("HTTP/1.1 200 OK\r\n"), true)
}

/// Stops the worker also where the measuring panics: the scope would wait for it for ever.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Ends the server, which then logs the longest that its loop was away.
fn longest_turn(mut server: Server) -> Duration {
    server.signal(Signal::TERM);
    server.wait();
    let log = server.log();
    let told = log.rsplit_once("for at most ").expect("the server tells its longest turn").1;
    let text = told.trim_end();
    let units = [("ns", 1e-9), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0)];
    let (number, unit) =
        units.iter().find_map(|(unit, scale)| Some((text.strip_suffix(unit)?, scale))).expect("a unit");
    Duration::from_secs_f64(number.parse::<f64>().expect("a number") * unit)
}

fn crc_of_zeros(bytes: u64) -> Crc32 {
    const PIECE: u64 = 1 << 20;
    let (piece, rest) = (Crc32::of(&vec![0; PIECE as usize]), vec![0; (bytes % PIECE) as usize]);
    let mut digest = Digest::new();
    for _ in 0..bytes / PIECE {
        digest.append(piece, PIECE);
    }
    digest.update(&rest);
    digest.crc()
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a plain name")
}

fn same<T: PartialEq + std::fmt::Debug>(found: T, due: T) -> io::Result<()> {
    if found == due { Ok(()) } else { Err(io::Error::other(format!("{found:?} where {due:?} is due"))) }
}
