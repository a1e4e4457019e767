//! Many small files on one connection, pipelined: every request is sent before the first reply is
//! waited for.
//!
//! Each file has its own content. On GET, every size and CRC that comes is held against it, inside
//! the time; on PUT, every SAVED inside the time, and the bytes of every file afterwards. The limits
//! name nothing and check nothing: one opens, reads and closes each file and sends what it read, the
//! other makes a file of every 4 KiB that come, all to be on the disk at the end in one go where
//! durability is full.

use std::{
    cell::Cell,
    fs, io,
    path::{Path, PathBuf},
};

use ferry_e2e::{Server, random_bytes};
use ferry_wire::{Crc32, Name, Reply, Request, limits::MAX_BLOCK_BYTES, write_block_header, write_end};

use crate::{
    Contender, Drained, Options, Programs, RawLimit, Report, Row, Sample, Unit, Wire, Workshop, alternate, drain_bare,
    timed,
};

/// As `raw_limit.rs` has it.
const SMALL_BYTES: usize = 4096;
const _: () = assert!(SMALL_BYTES as u64 <= MAX_BLOCK_BYTES, "each file is one block");

/// How often each file is fetched in one turn: 5,000 files once take less time than the kernel's
/// ticks of CPU time can show.
const GETS_OF_EACH: usize = 10;

/// Every row of the target.
pub fn all(programs: &Programs, options: &Options, report: &mut Report) {
    let bench = Bench::new(programs, options);
    bench.gets(report);
    bench.puts(report);
}

struct File {
    content: Vec<u8>,
    crc: Crc32,
}

struct Bench<'a> {
    programs: &'a Programs,
    options: &'a Options,
    root: PathBuf,
    /// Where the files to GET are, and where those of PUT and of its limit go.
    fetched: PathBuf,
    put: PathBuf,
    poured: PathBuf,
    files: Vec<File>,
    /// Directories that were put aside.
    aside: Cell<usize>,
    /// Removed when dropped, so it stands last.
    _workshop: Workshop,
}

impl<'a> Bench<'a> {
    fn new(programs: &'a Programs, options: &'a Options) -> Bench<'a> {
        let workshop = Workshop::new(&programs.scratch);
        let root = workshop.directory("root");
        let [fetched, put] = ["root/fetched", "root/put"].map(|name| workshop.directory(name));
        let poured = workshop.directory("poured");
        let files: Vec<File> = (0..options.files)
            .map(|index| {
                let content = random_bytes(index as u64, SMALL_BYTES);
                File { crc: Crc32::of(&content), content }
            })
            .collect();
        for (index, file) in files.iter().enumerate() {
            fs::write(fetched.join(file_name(index)), &file.content).expect("room on the disk");
        }
        sync(&fetched);
        Bench { programs, options, root, fetched, put, poured, files, aside: Cell::new(0), _workshop: workshop }
    }

    fn gets(&self, report: &mut Report) {
        let count = self.files.len() * GETS_OF_EACH;
        let work = format!("{count} GETs of {} files of 4 KiB", self.files.len());
        if !self.options.wants(&work) {
            return;
        }
        let server = ferry_e2e::Options::new().root(&self.root).start();
        let limit = RawLimit::send_each(&self.programs.raw_limit, &self.fetched);
        let [ours, limit] = alternate(
            self.options.rounds,
            [Contender::new(|| self.fetch(&server)), Contender::new(|| self.fetch_bare(&limit))],
        );
        report.row(Row { work, unit: Unit::Files, ours, limit, limit_is: "open, read, close and send, unchecked" });
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
            let limit = RawLimit::receive_each(&self.programs.raw_limit, &self.poured, synced);
            let [ours, limit] = alternate(
                self.options.rounds,
                [Contender::new(|| self.put(&server)), Contender::new(|| self.pour(&limit))],
            );
            report.row(Row { work, unit: Unit::Files, ours, limit, limit_is });
        }
    }

    fn fetch(&self, server: &Server) -> Sample {
        let mut requests = Vec::new();
        for index in 0..self.files.len() {
            Request::Get { name: name("fetched", index) }.encode(&mut requests);
        }
        let requests = requests.repeat(GETS_OF_EACH);
        let count = self.files.len() * GETS_OF_EACH;
        timed(server.pid(), Unit::Files, count as u64, || {
            let mut wire = Wire::greeted(server.address()).expect("a greeting");
            wire.pipelined(&requests, |wire| {
                for file in self.files.iter().cycle().take(count) {
                    let mut matches = true;
                    let mut rest = &file.content[..];
                    let drained = wire.file(|piece| match rest.split_at_checked(piece.len()) {
                        Some((due, behind)) if due == piece => rest = behind,
                        _ => matches = false,
                    })?;
                    let due = Drained { bytes: SMALL_BYTES as u64, claimed: Some(file.crc) };
                    if !matches || drained != due {
                        return Err(io::Error::other(format!("{drained:?} is not the file: {due:?}")));
                    }
                }
                Ok(())
            })
            .expect("every GET");
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

    /// What came is looked at and put aside, not deleted: for seconds ext4 goes around the inodes of
    /// files that have just been deleted, so that the next turn would measure little else.
    fn check_and_empty(&self, directory: &Path) {
        assert_eq!(fs::read_dir(directory).expect("a directory").count(), self.files.len());
        for (index, file) in self.files.iter().enumerate() {
            let path = directory.join(file_name(index));
            let content = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert!(content == file.content, "{} is not what was sent", path.display());
        }
        let aside = self.root.with_file_name(format!("aside-{}", self.aside.replace(self.aside.get() + 1)));
        fs::rename(directory, aside).and_then(|()| fs::create_dir(directory)).expect("the same file system");
    }
}

fn file_name(index: usize) -> String {
    format!("{index:05}")
}

fn name(directory: &str, index: usize) -> Name {
    Name::new(&format!("{directory}/{}", file_name(index))).expect("a plain name")
}

/// What earlier turns left to write back must not weigh on the next one.
fn sync(directory: &Path) {
    let synced = fs::File::open(directory).and_then(|held| Ok(rustix::fs::syncfs(held)?));
    synced.unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
}
