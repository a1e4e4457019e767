//! A local file on its way to the server.

use std::{
    fs::File,
    io::{self, Read as _},
    ops::Range,
    os::unix::fs::FileExt as _,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use ferry_wire::{
    AskedMode, Crc32, Digest, Greeting, Mode, Name, Options, Request, Sha256, Sha256Digest, Time,
    limits::MIN_HOLE_BYTES, write_block_header, write_end, write_hole,
};
use rustix::fs::{OFlags, Stat};

use super::{held::LocalPath, not_a_file, sparse::data_in};
use crate::{
    block::{BLOCK_BYTES, Block},
    error::Error,
    options::{Cancel, Permissions},
};

/// Computes the SHA-256 of a local file.
///
/// # Errors
///
/// A file that can't be read, or that is none; `cancel`, when it is raised.
pub fn sha256_of(path: &LocalPath, cancel: &Cancel) -> Result<Sha256, Error> {
    let mut source = Source::open(path)?;
    let mut digest = Sha256Digest::new();
    let mut buffer = vec![0; BLOCK_BYTES];
    loop {
        if cancel.is_cancelled() {
            return Err(Error::Interrupted);
        }
        match source.read(&mut buffer)? {
            0 => return Ok(digest.finish()),
            read => digest.update(&buffer[..read]),
        }
    }
}

/// A version of a local file: its size, its time, and which file it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version(pub(crate) String);

/// When the content of a version, or anything of its file, was changed last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp(pub(crate) String);

/// How fine the times of changes are: of a file system that keeps fractions of a second, which then are those of the
/// kernel's ticks, and of one that does not.
const TICK: Duration = Duration::from_millis(20);
const WHOLE_SECONDS: Duration = Duration::from_secs(2);

/// A regular file that is open for reading, as it was when it was opened. Clones share it, and where it is read next;
/// [`Source::fill_at`] alone minds no other.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    file: Arc<File>,
    path: PathBuf,
    stat: Stat,
}

impl Source {
    /// Opens `path`, and never waits for it: a FIFO without a writer would hang.
    pub(crate) fn open(path: &LocalPath) -> Result<Source, Error> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = path.open(flags).map_err(|errno| path.failed("open", errno))?;
        let stat = rustix::fs::fstat(&file).map_err(|errno| path.failed("look at", errno))?;
        if let Some(problem) = not_a_file(&stat) {
            return Err(Error::file(&**path, problem));
        }
        Ok(Source { file: Arc::new(File::from(file)), path: path.to_path_buf(), stat })
    }

    /// Bytes, when it was opened.
    pub(crate) fn size(&self) -> u64 {
        u64::try_from(self.stat.st_size).unwrap_or(0)
    }

    /// The time of its last change, when it was opened; [`None`] before 1970.
    pub(crate) fn mtime(&self) -> Option<Time> {
        Time::new(self.stat.st_mtime, u32::try_from(self.stat.st_mtime_nsec).ok()?)
    }

    /// Whether it takes less of the disk than it has bytes: it may have holes.
    pub(crate) fn is_sparse(&self) -> bool {
        u64::try_from(self.stat.st_blocks).is_ok_and(|blocks| blocks.saturating_mul(512) < self.size())
    }

    /// Returns the first part of a range that may hold anything but zeros: empty and at the end, where there is none.
    pub(crate) fn data_in(&self, range: Range<u64>) -> Range<u64> {
        if self.is_sparse() { data_in(&self.file, range) } else { range }
    }

    /// Returns the permissions that a server which has greeted with this is asked for: those of when it was opened.
    pub(crate) fn mode(&self, permissions: Permissions, greeting: Option<&Greeting>) -> Option<AskedMode> {
        permissions.asked(Mode::of(self.stat.st_mode), greeting)
    }

    /// Reads the first `bytes` bytes, which are there already, and returns their digest.
    pub(crate) fn skip(&mut self, bytes: u64, mut look: impl FnMut() -> Result<(), Error>) -> Result<Digest, Error> {
        self.skip_from(Digest::new(), bytes, |_| look())
    }

    /// Does the same where the digest of what stands before is `known`, so that only the rest is read. `seen` learns how far
    /// it is and may end it.
    pub(crate) fn skip_from(
        &mut self,
        known: Digest,
        bytes: u64,
        mut seen: impl FnMut(&Digest) -> Result<(), Error>,
    ) -> Result<Digest, Error> {
        debug_assert!(known.bytes() <= bytes);
        let mut digest = known;
        let (mut buffer, mut data) = (vec![0; BLOCK_BYTES], 0..0);
        while digest.bytes() < bytes {
            seen(&digest)?;
            if digest.bytes() >= data.end {
                data = self.data_in(digest.bytes()..bytes);
                digest.append_zeros(data.start - digest.bytes());
                continue;
            }
            let due = usize::try_from(data.end - digest.bytes()).map_or(BLOCK_BYTES, |due| due.min(BLOCK_BYTES));
            self.read_exact_at(&mut buffer[..due], digest.bytes())?;
            digest.update(&buffer[..due]);
        }
        Ok(digest)
    }

    /// Returns the version of this file, as exactly as a local file system can tell versions apart.
    pub(crate) fn version(&self) -> Version {
        let Stat { st_size, st_mtime, st_mtime_nsec, st_dev, st_ino, .. } = self.stat;
        Version(format!("{st_size} {st_mtime}.{st_mtime_nsec:09} {st_dev} {st_ino}"))
    }

    /// Returns what tells this content from an earlier one of the same version, whose time somebody has set
    /// back. [`None`] where the last change is so recent that another one could have the same stamp.
    pub(crate) fn stamp(&self) -> Option<Stamp> {
        let Stat { st_ctime, st_ctime_nsec, .. } = self.stat;
        let fraction = u32::try_from(st_ctime_nsec).ok()?;
        let changed = UNIX_EPOCH + Duration::new(u64::try_from(st_ctime).ok()?, fraction);
        let fineness = if fraction == 0 { WHOLE_SECONDS } else { TICK };
        let is_past = SystemTime::now().duration_since(changed).is_ok_and(|age| age > fineness);
        is_past.then(|| Stamp(format!("{st_ctime}.{fraction:09}")))
    }

    /// Appends a whole PUT of this file to `run`, with its permissions. Gives its CRC. After an error `run` is as it was.
    pub(crate) fn append_whole(
        &mut self,
        run: &mut Block,
        name: &Name,
        mode: Option<AskedMode>,
    ) -> Result<Crc32, Error> {
        let before = run.len();
        let appended = self.try_append_whole(run, name, mode);
        if appended.is_err() {
            run.take_back(run.len() - before);
        }
        appended
    }

    fn try_append_whole(&mut self, run: &mut Block, name: &Name, mode: Option<AskedMode>) -> Result<Crc32, Error> {
        let size = usize::try_from(self.size()).map_err(|_| self.changed())?;
        run.push(|out| {
            if mode.is_some() {
                Request::With(Options { mode, ..Options::default() }).encode(out);
            }
            Request::Put { size: Some(size as u64), mtime: self.mtime(), name: name.clone() }.encode(out);
            if size > 0 {
                write_block_header(out, size as u64);
            }
        });
        let content = run.append(size);
        let mut filled = 0;
        while filled < size {
            match self.read(&mut content[filled..])? {
                0 => return Err(self.changed()),
                got => filled += got,
            }
        }
        let crc = Crc32::of(content);
        self.check_unchanged()?;
        run.push(|out| write_end(out, crc));
        Ok(crc)
    }

    /// Fills `block` with the bytes after those of `digest`, at most `left`, and adds them to it.
    ///
    /// # Errors
    ///
    /// A file that can't be read, or has become shorter; `block` is then empty.
    pub(crate) fn fill(&mut self, block: &mut Block, left: u64, digest: &mut Digest) -> Result<usize, Error> {
        let before = digest.bytes();
        self.fill_at(block, before, left, digest)?;
        Ok(usize::try_from(digest.bytes() - before).unwrap_or(BLOCK_BYTES))
    }

    /// Fills `block` with `bytes` bytes from `offset` on, at most what one block holds, and adds them to `digest`.
    ///
    /// # Errors
    ///
    /// As [`Source::fill`].
    pub(crate) fn fill_at(&self, block: &mut Block, offset: u64, bytes: u64, digest: &mut Digest) -> Result<(), Error> {
        block.clear();
        let due = usize::try_from(bytes).map_or(BLOCK_BYTES, |bytes| bytes.min(BLOCK_BYTES));
        let payload = block.payload(due);
        self.read_exact_at(payload, offset)?;
        digest.update(payload);
        block.announce(due);
        Ok(())
    }

    /// Does the same, or puts a hole of at most `bytes` bytes into `block` in place of bytes, where there is one that is worth
    /// it.
    ///
    /// # Errors
    ///
    /// As [`Source::fill`].
    pub(crate) fn fill_leaving_holes(
        &self,
        block: &mut Block,
        offset: u64,
        bytes: u64,
        digest: &mut Digest,
    ) -> Result<(), Error> {
        let data = self.data_in(offset..offset + bytes);
        let hole = data.start - offset;
        if hole < MIN_HOLE_BYTES {
            return self.fill_at(block, offset, data.end - offset, digest);
        }
        block.clear();
        block.push(|out| write_hole(out, hole));
        digest.append_zeros(hole);
        Ok(())
    }

    /// Returns the holes that are worth not being sent, in order: the first of them, in a mebibyte of memory.
    pub(crate) fn holes(&self) -> Vec<Range<u64>> {
        const MOST: usize = 1 << 16;
        const MOST_LOOKS: usize = 4 * MOST;
        let (mut holes, mut at, mut looks) = (Vec::new(), 0, 0);
        while at < self.size() && holes.len() < MOST && looks < MOST_LOOKS {
            let data = self.data_in(at..self.size());
            if data.start - at >= MIN_HOLE_BYTES {
                holes.push(at..data.start);
            }
            (at, looks) = (data.end, looks + 1);
        }
        holes
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), Error> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => return Err(self.changed()),
                Ok(got) => filled += got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
        Ok(())
    }

    /// Whether the file is still the one that was opened, as far as its size and time can tell.
    pub(crate) fn check_unchanged(&self) -> Result<(), Error> {
        let now = rustix::fs::fstat(&self.file).map_err(|errno| Error::local("look at", &self.path, errno))?;
        let stamp = |stat: &Stat| (stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
        if stamp(&now) == stamp(&self.stat) { Ok(()) } else { Err(self.changed()) }
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        loop {
            match (&*self.file).read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result.map_err(|error| self.failed(error)),
            }
        }
    }

    fn failed(&self, error: io::Error) -> Error {
        Error::local("read", &self.path, error)
    }

    fn changed(&self) -> Error {
        Error::file(&self.path, "changed while it was being sent; try again when nobody writes to it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ferry_wire::{BodyLine, Crc32};
    use std::io::Write as _;

    #[test]
    fn a_block_is_one_run_of_header_payload_and_closing_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        std::fs::write(&path, b"hello").unwrap();
        let mut source = Source::open(&path.as_path().into()).unwrap();
        let (mut block, mut digest) = (Block::new(), Digest::new());
        assert_eq!(block.unsent(), b"");
        assert_eq!(source.fill(&mut block, 3, &mut digest).unwrap(), 3);
        assert_eq!(block.unsent(), b"DATA 3\nhel");
        block.advance(8);
        assert_eq!(block.unsent(), b"el");
        source.fill(&mut block, 2, &mut digest).unwrap();
        block.push(|out| BodyLine::Stop.encode(out));
        assert_eq!(block.unsent(), b"DATA 2\nloSTOP\n");
        assert_eq!(digest.crc(), Crc32::of(b"hello"));
        assert_eq!(source.skip(4, || Ok(())).unwrap().crc(), Crc32::of(b"hell"));
    }

    #[test]
    fn a_file_that_shrinks_or_grows_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        std::fs::write(&path, b"hello").unwrap();
        let mut source = Source::open(&path.as_path().into()).unwrap();
        assert!(source.check_unchanged().is_ok());
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"!").unwrap();
        assert!(matches!(source.check_unchanged(), Err(Error::LocalFile { .. })));
        let mut block = Block::new();
        let too_many = source.fill(&mut block, 7, &mut Digest::new());
        assert!(matches!(too_many, Err(Error::LocalFile { .. })));
        assert_eq!(block.unsent(), b"");
    }

    #[test]
    fn only_a_regular_file_is_a_source_and_a_fifo_does_not_hang() {
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(Source::open(&directory.path().into()), Err(Error::LocalFile { .. })));
        let fifo = directory.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
        assert!(matches!(Source::open(&fifo.as_path().into()), Err(Error::LocalFile { .. })));
        assert!(matches!(Source::open(&directory.path().join("missing").into()), Err(Error::Local { .. })));
    }
}
