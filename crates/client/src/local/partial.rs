//! A large download that can be gone on with: its bytes under a hidden name that is found again, its [`Journal`] beside them.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::Read as _,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{ffi::OsStrExt as _, fs::FileExt as _},
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use ferry_wire::{Crc32, Digest, FileMeta, Name};
use rustix::{
    fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags},
    io::Errno,
};

use super::{
    directory::{Directory, MOMENTARY},
    journal::{self, Journal, MAX_JOURNAL_BYTES},
    lock::lock,
    sparse::data_in,
    staged::{Staged, restrict},
};
use crate::{error::Error, options::Given};

/// A part that nobody came back for in this time is removed when another download is staged in its directory.
const KEEP: Duration = Duration::from_secs(7 * 24 * 3600);

/// Entries of a directory that are looked at for what nobody came back for: it is no reason to wait long.
const SWEEP_ENTRIES: usize = 100_000;

/// Bytes that are read at once to check a partial file.
const READ_BYTES: usize = 256 << 10;

/// A partial file and its journal, both open, and locked for this process alone.
///
/// Dropped it stays for later, unless [`PartialFile::discard`] or [`PartialFile::publish`] was called.
#[derive(Debug)]
pub(crate) struct PartialFile {
    directory: Arc<Directory>,
    file: Arc<File>,
    journal: Arc<File>,
    stem: String,
    last: OsString,
    path: PathBuf,
    /// There was a journal, and no file beside it.
    bereft: bool,
}

/// The part of an earlier download that was found.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) journal: Journal,
    /// Bytes that are worth reading.
    pub(crate) bytes: u64,
}

/// The two names of what is staged for `last`, without their endings.
fn stem(last: &OsStr) -> String {
    format!(".ferry-{:016x}", journal::hash(last.as_bytes()))
}

fn part_name(stem: &str) -> String {
    format!("{stem}.part")
}

fn journal_name(stem: &str) -> String {
    format!("{stem}.mark")
}

impl PartialFile {
    /// Whether there may be one of `last`.
    pub(crate) fn is_there(directory: &Directory, last: &OsStr) -> bool {
        rustix::fs::accessat(directory, journal_name(&stem(last)), rustix::fs::Access::EXISTS, AtFlags::empty()).is_ok()
    }

    /// Opens that of `last`, or makes an empty one. [`None`] where it can't be had: another process has it, or
    /// what has its name is not ours. The download is then staged without one.
    pub(crate) fn open(directory: Arc<Directory>, last: &OsStr, path: &Path) -> Result<Option<PartialFile>, Error> {
        let stem = stem(last);
        let bereft = PartialFile::is_there(&directory, last) && !exists(&directory, &part_name(&stem));
        let Some(file) = open_own(&directory, &part_name(&stem))? else { return Ok(None) };
        // The lock on the journal only says to who sweeps that somebody comes back.
        let Some(journal) = open_own(&directory, &journal_name(&stem))? else { return Ok(None) };
        // It may have been published between the opening and the lock.
        if !(lock(&file) && lock(&journal) && is_named(&directory, &part_name(&stem), &file)) {
            log::info!("the partial file of {} is in use", path.display());
            return Ok(None);
        }
        let (file, journal) = (Arc::new(file), Arc::new(journal));
        Ok(Some(PartialFile { directory, file, journal, stem, last: last.to_owned(), path: path.to_owned(), bereft }))
    }

    /// Finds the part of an earlier download of `name`. An [`Err`] says why it is of no use; [`None`] where there is
    /// nothing.
    pub(crate) fn find(&self, name: &Name) -> Option<Result<Kept, &'static str>> {
        let mut text = Vec::new();
        let read = (&*self.journal).take(MAX_JOURNAL_BYTES).read_to_end(&mut text);
        let bytes = self.file.metadata().map_or(0, |metadata| metadata.len());
        if matches!(read, Ok(0)) && bytes == 0 {
            return None;
        }
        Some(match Journal::parse(&text) {
            None => Err("what was noted of its kept part is damaged"),
            Some(journal) if journal.name != *name => Err("what was kept is of another file"),
            Some(journal) if bytes > journal.meta.size => Err("what was kept is longer than the file"),
            Some(journal) => {
                let bytes = journal.worth(bytes, journal::this_boot().as_deref());
                Ok(Kept { journal, bytes })
            }
        })
    }

    /// Why nothing of what was found is worth reading. [`None`] where nothing was there: a download that ended before its
    /// first byte was written leaves a journal and an empty file.
    pub(crate) fn lost(&self, found: &Kept) -> Option<&'static str> {
        if self.bereft || found.journal.checkpoints.iter().any(|at| at.0 > 0) {
            return Some("what was kept of it is gone");
        }
        let any = self.file.metadata().is_ok_and(|metadata| metadata.len() > 0);
        any.then_some("what was kept of it cannot be proven to be whole")
    }

    /// Reads the first `found.bytes` bytes and cuts the file after the last that can be right. Gives their digest.
    pub(crate) fn check(&self, found: &Kept, mut look: impl FnMut(u64) -> Result<(), Error>) -> Result<Digest, Error> {
        let failed = |error| Error::local("read", &self.path, error);
        let mut checkpoints = found.journal.checkpoints.iter().filter(|at| at.0 <= found.bytes).peekable();
        let (mut digest, mut good) = (Digest::new(), Digest::new());
        let (mut buffer, mut data) = (vec![0; READ_BYTES], 0..0);
        loop {
            if let Some((_, crc)) = checkpoints.next_if(|at| at.0 == digest.bytes()) {
                if digest.crc() != *crc {
                    break;
                }
                good = digest.clone();
            }
            let stop = checkpoints.peek().map_or(found.bytes, |at| at.0);
            if digest.bytes() == found.bytes {
                good = digest;
                break;
            }
            look(digest.bytes())?;
            if digest.bytes() >= data.end {
                data = data_in(&self.file, digest.bytes()..stop);
                digest.append_zeros(data.start - digest.bytes());
                continue;
            }
            let end = stop.min(data.end);
            let due = usize::try_from(end - digest.bytes()).map_or(READ_BYTES, |due| due.min(READ_BYTES));
            match self.file.read_at(&mut buffer[..due], digest.bytes()) {
                Ok(0) => break,
                Ok(got) => digest.update(&buffer[..got]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
        self.cut(good.bytes())?;
        self.note(
            &[journal::checkpoint(good.bytes(), good.crc()), journal::boot(journal::this_boot().as_deref())].concat(),
        )?;
        Ok(good)
    }

    /// Forgets what was there, and notes what is to come.
    pub(crate) fn begin(&self, name: &Name, meta: &FileMeta) -> Result<(), Error> {
        if let Some(replaced) = self.directory.check_replaceable(&self.last, &self.path)? {
            restrict(&self.file, &replaced);
        }
        self.journal.set_len(0).map_err(|error| Error::local("write", &self.path, error))?;
        self.cut(0)?;
        self.note(&[journal::head(name, meta), journal::boot(journal::this_boot().as_deref())].concat())?;
        if self.directory.is_to_be_swept() {
            sweep(&self.directory, &self.stem);
        }
        Ok(())
    }

    /// From here on bytes may come in any order: only what a checkpoint says is there.
    pub(crate) fn begin_scattered(&self) -> Result<(), Error> {
        self.note(&journal::boot(None))
    }

    /// Bytes come in order again, after the first `bytes` of them.
    pub(crate) fn end_scattered(&self, bytes: u64, crc: Crc32) -> Result<(), Error> {
        self.cut(bytes)?;
        self.note(&[journal::checkpoint(bytes, crc), journal::boot(journal::this_boot().as_deref())].concat())
    }

    /// Shortens the file to `bytes`, and gives back what room was reserved after them.
    pub(crate) fn cut(&self, bytes: u64) -> Result<(), Error> {
        self.file.set_len(bytes).map_err(|error| Error::local("write", &self.path, error))
    }

    fn note(&self, lines: &[u8]) -> Result<(), Error> {
        append_lines(&self.journal, &self.path, lines)
    }

    /// The file that gets the bytes.
    pub(crate) fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// The file that gets the checkpoints.
    pub(crate) fn journal(&self) -> &Arc<File> {
        &self.journal
    }

    /// Gives it what is `given` and its name.
    pub(crate) fn publish(self, given: Given) -> Result<(), Error> {
        self.staged().publish(given)?;
        self.directory.remove(&journal_name(&self.stem));
        Ok(())
    }

    /// Removes it.
    pub(crate) fn discard(self) {
        drop(self.staged());
        self.directory.remove(&journal_name(&self.stem));
    }

    fn staged(&self) -> Staged {
        let name = part_name(&self.stem);
        Staged::hidden(Arc::clone(&self.directory), Arc::clone(&self.file), name, self.last.clone(), self.path.clone())
    }
}

/// Appends `lines` to a journal, in one call.
pub(crate) fn append_lines(journal: &File, path: &Path, lines: &[u8]) -> Result<(), Error> {
    use std::io::Write as _;
    let mut journal = journal;
    journal.write_all(lines).map_err(|error| Error::local("note how far", path, error))
}

/// Opens or makes the regular file `name`, if it is this user's alone: in a directory that others write to, one
/// of theirs could be put there, to be changed by them when it is verified.
fn open_own(directory: &Directory, name: &str) -> Result<Option<File>, Error> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let flags = if name.ends_with(".part") { flags - OFlags::APPEND } else { flags };
    let file = match rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(0o666)) {
        Ok(file) => File::from(file),
        // A link, a socket, a directory, another's.
        Err(Errno::LOOP | Errno::NXIO | Errno::ISDIR | Errno::ACCESS | Errno::PERM) if exists(directory, name) => {
            return Ok(None);
        }
        Err(errno) => return Err(Error::local("make a file in", directory.path(), errno)),
    };
    let stat = rustix::fs::fstat(&file).map_err(|errno| Error::local("look at a file in", directory.path(), errno))?;
    let own = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && stat.st_uid == rustix::process::geteuid().as_raw()
        && stat.st_nlink == 1;
    Ok(own.then_some(file))
}

fn exists(directory: &Directory, name: &str) -> bool {
    rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

fn is_named(directory: &Directory, name: &str, file: &File) -> bool {
    let named = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
    let own = rustix::fs::fstat(file);
    matches!((named, own), (Ok(named), Ok(own)) if (named.st_dev, named.st_ino) == (own.st_dev, own.st_ino))
}

/// Removes what nobody came back for in [`KEEP`]; what can't be removed stays.
fn sweep(directory: &Directory, own: &str) {
    let Ok(entries) = Dir::read_from(directory) else { return };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    for entry in entries.take(SWEEP_ENTRIES) {
        let Ok(entry) = entry else { return };
        let Ok(name) = entry.file_name().to_str() else { continue };
        if is_staged(name) && !name.starts_with(own) && is_abandoned(directory, name, Some(now)) {
            log::info!("removing {name}, which nobody came back for, from {}", directory.path().display());
            directory.remove(name);
        }
    }
}

/// Whether a file of this name is what a download left, that of a killed process included.
pub(crate) fn is_staged(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(".ferry-") else { return false };
    rest.strip_suffix(".part")
        .or_else(|| rest.strip_suffix(".mark"))
        .or_else(|| rest.strip_suffix(MOMENTARY))
        .is_some_and(|hash| hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Removes what downloads left in a directory that is to be deleted, but for what some process has.
pub(super) fn sweep_all(directory: BorrowedFd<'_>) {
    let Ok(entries) = Dir::read_from(directory) else { return };
    for entry in entries.flatten() {
        if let Ok(name) = entry.file_name().to_str()
            && is_staged(name)
            && is_abandoned(directory, name, None)
        {
            let _ = rustix::fs::unlinkat(directory, name, AtFlags::empty());
        }
    }
}

/// Whether no process has the file `name`, and it was left before [`KEEP`] began where it is `now`. Of a file that was about
/// to be published only the time of its last change of status tells: its own is that of the server's file.
fn is_abandoned(directory: impl AsFd, name: &str, now: Option<Duration>) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::openat(directory, name, flags, Mode::empty()) else { return false };
    let Ok(stat) = rustix::fs::fstat(&file) else { return false };
    let changed = if name.ends_with(MOMENTARY) { stat.st_ctime } else { stat.st_mtime };
    let changed = Duration::from_secs(u64::try_from(changed).unwrap_or(u64::MAX));
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && now.is_none_or(|now| changed.saturating_add(KEEP) < now)
        && rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::{LastDirectory, LocalPath};
    use ferry_wire::{Tag, Time};

    /// Seconds that were long over when this was written.
    const LONG_AGO: u64 = 1_000_000_000;

    fn meta() -> FileMeta {
        FileMeta { size: 4, mtime: Time::new(LONG_AGO.cast_signed(), 0), tag: Tag::new("t").unwrap(), mode: None }
    }

    fn set_old(file: &File) {
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(LONG_AGO)).unwrap();
    }

    #[test]
    fn what_is_on_its_way_to_its_name_is_not_swept_however_old_its_time_is() {
        let directory = tempfile::tempdir().unwrap();
        let place = |name: &str| LocalPath::from(directory.path().join(name));
        let mut last = LastDirectory::default();
        let (held, name) = last.of(&place("a")).unwrap();
        let (hidden, hidden_name) = held.create_hidden().unwrap();
        let unnamed = held.create_unnamed().unwrap();
        let linked = unnamed.as_ref().map(|file| held.link_hidden(file).unwrap());
        let part = PartialFile::open(Arc::clone(&held), &name, &place("a")).unwrap().unwrap();
        part.begin(&Name::new("a").unwrap(), &meta()).unwrap();
        [Some(&hidden), unnamed.as_ref(), Some(&**part.file())].into_iter().flatten().for_each(set_old);
        sweep(&held, "another");
        for name in [Some(hidden_name.clone()), linked, Some(part_name(&part.stem))].into_iter().flatten() {
            assert!(exists(&held, &name), "{name}");
        }
        // Nobody has it any more; but it was changed a moment ago.
        drop(hidden);
        sweep(&held, "another");
        assert!(exists(&held, &hidden_name));
        let later = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap() + KEEP + KEEP;
        assert!(is_abandoned(held.as_fd(), &hidden_name, Some(later)));
        assert!(!is_abandoned(held.as_fd(), &part_name(&part.stem), Some(later)), "somebody has it");
    }

    #[test]
    fn a_directory_is_swept_once() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("d")).unwrap();
        let place = |name: &str| LocalPath::from(directory.path().join(name));
        let mut last = LastDirectory::default();
        let due: Vec<bool> = ["a", "b", "d/a", "c", "d/b"]
            .iter()
            .map(|name| last.of(&place(name)).unwrap().0.is_to_be_swept())
            .collect();
        assert_eq!(due, [true, false, true, false, false]);
    }

    #[test]
    fn a_part_is_no_more_readable_than_what_it_replaces() {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("a");
        std::fs::write(&target, "secret").unwrap();
        std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o400)).unwrap();
        let path = LocalPath::from(target.as_path());
        let (held, name) = LastDirectory::default().of(&path).unwrap();
        let part = PartialFile::open(held, &name, &path).unwrap().unwrap();
        part.begin(&Name::new("a").unwrap(), &meta()).unwrap();
        assert_eq!(part.file().metadata().unwrap().mode() & 0o777, 0o600);
        part.publish(Given::default()).unwrap();
        assert_eq!(std::fs::metadata(&target).unwrap().mode() & 0o777, 0o400);
    }
}
