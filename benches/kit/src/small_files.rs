//! Many small files, pipelined: every request is sent before the first reply is waited for. GETs over
//! one connection and over several at once.
//!
//! Each file has its own content. On GET, every size and CRC that comes is held against it, inside
//! the time; on PUT, every SAVED inside the time, and the bytes of every file afterwards. The
//! limits name nothing and check nothing. One opens, reads and closes each file and sends its
//! bytes. The other makes a file of every 4 KiB that come; where durability is full, all are synced
//! in one go at the end.

use std::{
    cell::Cell,
    fs, io,
    path::{Path, PathBuf},
};

use ferry_e2e::{Server, random_bytes};
use ferry_wire::{Crc32, Name, Reply, Request, limits::MAX_BLOCK_BYTES, write_block_header, write_end};

use crate::{
    Contender, Goal, Options, RawLimit, Report, Row, Sample, Setup, Unit, Wire, Workshop, alternate, drain_bare,
    lanes::{Small, get_all},
    timed,
};

/// As the barest loops have it.
pub(crate) const SMALL_BYTES: usize = 4096;
const _: () = assert!(SMALL_BYTES as u64 <= MAX_BLOCK_BYTES, "each file is one block");

/// The number of times that each file is fetched in one turn: 5,000 files once take less time than
/// the kernel's ticks of CPU time can show.
pub(crate) const GETS_OF_EACH: usize = 10;

/// Reports every row of the target.
pub fn all(setup: &Setup, options: &Options, report: &mut Report) {
    let bench = Bench::new(setup, options);
    bench.gets(report);
    bench.puts(report);
}

/// Connections at once.
const CONNECTIONS: [usize; 3] = [1, 16, 64];

/// A web server's rate three times over; opening, reading and closing alone allows about 240,000.
pub(crate) const GETS_A_SECOND: f64 = 150_000.0;

struct Bench<'a> {
    setup: &'a Setup,
    options: &'a Options,
    root: PathBuf,
    /// Where the files to GET are, and where those of PUT and of its limit go.
    fetched: PathBuf,
    put: PathBuf,
    poured: PathBuf,
    files: Vec<Small>,
    /// Directories that were put aside.
    aside: Cell<usize>,
    /// Removed when dropped, so it stands last.
    _workshop: Workshop,
}

impl<'a> Bench<'a> {
    fn new(setup: &'a Setup, options: &'a Options) -> Bench<'a> {
        let workshop = Workshop::new(&setup.scratch);
        let root = workshop.directory("root");
        let [fetched, put] = ["root/fetched", "root/put"].map(|name| workshop.directory(name));
        let poured = workshop.directory("poured");
        let files = write(&fetched, options.files);
        Bench { setup, options, root, fetched, put, poured, files, aside: Cell::new(0), _workshop: workshop }
    }

    fn gets(&self, report: &mut Report) {
        let count = self.files.len() * GETS_OF_EACH;
        let server = ferry_e2e::Options::new().root(&self.root).start();
        let limit = RawLimit::send_each(&self.setup.helper, &self.fetched);
        let opened = RawLimit::open_each(&self.setup.helper, &self.fetched);
        for connections in CONNECTIONS {
            let over = if connections == 1 { "1 connection".into() } else { format!("{connections} connections") };
            let work = format!("{count} GETs of 4 KiB, {over}");
            if !self.options.wants(&work) {
                continue;
            }
            let [ours, sent, opened] = alternate(
                self.options.rounds,
                [
                    Contender::new(|| self.fetch(&server, connections)),
                    Contender::new(|| self.fetch_bare(&limit)),
                    Contender::new(|| self.open_bare(&opened)),
                ],
            );
            let limit_is = "open, read, close, send, unchecked".into();
            let goals = vec![Goal::AtLeast(GETS_A_SECOND)];
            report.row(Row { ours: ours.clone(), limit: sent, limit_is, goals, ..Row::new(&*work, Unit::Files) });
            let limit_is = "open, read and close alone".into();
            report.row(Row { ours, limit: opened, limit_is, ..Row::new(work, Unit::Files) });
        }
    }

    fn puts(&self, report: &mut Report) {
        for (durability, synced, limit_is) in [
            ("none", false, "receive, create, write, close, unchecked"),
            ("full", true, "the same, and one syncfs, unchecked"),
        ] {
            let work = format!("PUT {} files of 4 KiB, durability {durability}", self.files.len());
            if !self.options.wants(&work) {
                continue;
            }
            let server = ferry_e2e::Options::new().root(&self.root).arg("--durability").arg(durability).start();
            let limit = RawLimit::receive_each(&self.setup.helper, &self.poured, synced);
            let [ours, limit] = alternate(
                self.options.rounds,
                [Contender::new(|| self.put(&server)), Contender::new(|| self.pour(&limit))],
            );
            report.row(Row { ours, limit, limit_is: limit_is.into(), ..Row::new(work, Unit::Files) });
        }
    }

    fn fetch(&self, server: &Server, connections: usize) -> Sample {
        let count = self.files.len() * GETS_OF_EACH;
        timed(server.pid(), Unit::Files, count as u64, || {
            get_all(server.address(), connections, &self.files, count).expect("every GET");
        })
    }

    fn fetch_bare(&self, limit: &RawLimit) -> Sample {
        let bytes = (self.files.len() * SMALL_BYTES) as u64;
        timed(limit.pid(), Unit::Files, (self.files.len() * GETS_OF_EACH) as u64, || {
            for _ in 0..GETS_OF_EACH {
                drain_bare(limit.address(), bytes, |_| {}).expect("a bare loop");
            }
        })
    }

    fn open_bare(&self, limit: &RawLimit) -> Sample {
        let bytes = (self.files.len() * SMALL_BYTES) as u64;
        timed(limit.pid(), Unit::Files, (self.files.len() * GETS_OF_EACH) as u64, || {
            for _ in 0..GETS_OF_EACH {
                Wire::connect(limit.address()).and_then(|mut wire| wire.poured(bytes)).expect("a bare loop");
            }
        })
    }

    fn put(&self, server: &Server) -> Sample {
        sync(&self.root);
        let mut requests = Vec::new();
        for (index, file) in self.files.iter().enumerate() {
            let size = Some(SMALL_BYTES as u64);
            Request::Put { size, mtime: None, name: name("put", index) }.encode(&mut requests);
            write_block_header(&mut requests, SMALL_BYTES as u64);
            requests.extend_from_slice(&file.content);
            write_end(&mut requests, file.crc);
        }
        let sample = timed(server.pid(), Unit::Files, self.files.len() as u64, || {
            let mut wire = Wire::greeted(server.address()).expect("a greeting");
            wire.pipelined(&requests, |wire| {
                for file in &self.files {
                    match wire.reply()? {
                        Reply::Saved { size, crc, .. } if (size, crc) == (SMALL_BYTES as u64, file.crc) => {}
                        other => return Err(io::Error::other(format!("the server says {other:?}"))),
                    }
                }
                Ok(())
            })
            .expect("every PUT");
        });
        self.check_and_empty(&self.put);
        sample
    }

    fn pour(&self, limit: &RawLimit) -> Sample {
        sync(&self.root);
        let bytes: Vec<u8> = self.files.iter().flat_map(|file| &file.content).copied().collect();
        let sample = timed(limit.pid(), Unit::Files, self.files.len() as u64, || {
            Wire::connect(limit.address()).and_then(|mut wire| wire.pour_bytes(&bytes)).expect("a bare loop");
        });
        self.check_and_empty(&self.poured);
        sample
    }

    /// Checks the files that came and puts them aside. It does not delete them: for seconds ext4
    /// goes around the inodes of files that have just been deleted, so that the next turn would
    /// measure little else.
    fn check_and_empty(&self, directory: &Path) {
        check(directory, &self.files);
        let aside = self.root.with_file_name(format!("aside-{}", self.aside.replace(self.aside.get() + 1)));
        fs::rename(directory, aside).and_then(|()| fs::create_dir(directory)).expect("the same file system");
    }
}

/// Writes `count` files to `directory`, which clients call `fetched`, and waits until they are on
/// the disk.
pub(crate) fn write(directory: &Path, count: usize) -> Vec<Small> {
    let files: Vec<Small> = (0..count)
        .map(|index| {
            let content = random_bytes(index as u64, SMALL_BYTES);
            Small { name: name("fetched", index), crc: Crc32::of(&content), content }
        })
        .collect();
    for (index, file) in files.iter().enumerate() {
        fs::write(directory.join(file_name(index)), &file.content).expect("room on the disk");
    }
    sync(directory);
    files
}

/// Holds what is in `directory` against `files`, which are all that must be there.
///
/// # Panics
///
/// Panics where it is anything else.
pub(crate) fn check(directory: &Path, files: &[Small]) {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    assert_eq!(entries.count(), files.len(), "files in {}", directory.display());
    for (index, file) in files.iter().enumerate() {
        let path = directory.join(file_name(index));
        let content = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(content == file.content, "{} is not what was sent", path.display());
    }
}

pub(crate) fn file_name(index: usize) -> String {
    format!("{index:05}")
}

fn name(directory: &str, index: usize) -> Name {
    Name::new(&format!("{directory}/{}", file_name(index))).expect("a plain name")
}

/// Waits until everything is written back, so that earlier turns don't weigh on the next one.
pub(crate) fn sync(directory: &Path) {
    let synced = fs::File::open(directory).and_then(|held| Ok(rustix::fs::syncfs(held)?));
    synced.unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
}
