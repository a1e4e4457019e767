//! Local directories that are held open, and paths beneath them, which no symbolic link can lead elsewhere.

use std::{
    ffi::OsStr,
    ops::Deref,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use ferry_wire::Time;
use rustix::{
    fs::{FileType, Mode, OFlags, Stat},
    io::Errno,
};

use super::{resolve::open_beneath, set_mtime};
use crate::error::Error;

/// The words for a symbolic link where none is followed.
pub(crate) const LINK: &str = "is a symbolic link, which is not followed";

/// The same for what is beneath one, or is one.
const BEHIND_LINK: &str = "is, or is beneath, a symbolic link, which is not followed";

/// A directory is only looked at and gone through.
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A local directory that is opened once, when it is first needed, and held from then on; clones share it.
///
/// Its own path is the caller's, and may lead through symbolic links. The things beneath it are reached by
/// [`LocalPath`]s, which never do: whatever becomes a link, is renamed or is replaced meanwhile, nothing
/// outside is read or written.
#[derive(Debug, Clone)]
pub struct HeldDirectory {
    held: Arc<Held>,
    /// Where files beneath it that are replaced or deleted are kept.
    backup: Option<Arc<HeldDirectory>>,
}

#[derive(Debug)]
struct Held {
    path: PathBuf,
    fd: OnceLock<OwnedFd>,
}

impl HeldDirectory {
    /// Names the directory at `path`, which need not be there yet.
    pub fn at(path: impl Into<PathBuf>) -> HeldDirectory {
        HeldDirectory::new(path.into(), OnceLock::new())
    }

    /// Keeps what is replaced or deleted beneath it in `backup`, which is made where it is missing: under the same path, and a
    /// number where that is taken there. Directories that are deleted are not kept.
    #[must_use]
    pub fn with_backup(self, backup: HeldDirectory) -> HeldDirectory {
        HeldDirectory { backup: Some(Arc::new(backup)), ..self }
    }

    fn new(path: PathBuf, fd: OnceLock<OwnedFd>) -> HeldDirectory {
        HeldDirectory { held: Arc::new(Held { path, fd }), backup: None }
    }

    /// Returns the path that it was named by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.held.path
    }

    /// Names what is at `below` beneath it, or the directory itself where that is empty.
    pub fn place(&self, below: impl AsRef<Path>) -> LocalPath {
        let below = below.as_ref();
        let path = if below.as_os_str().is_empty() { self.path().to_owned() } else { self.path().join(below) };
        LocalPath {
            below: path.as_os_str().len() - below.as_os_str().len(),
            path,
            held: Some(self.clone()),
            bytes: None,
        }
    }

    /// Returns the time of its last change.
    pub(crate) fn mtime(&self) -> Option<Time> {
        let stat = rustix::fs::fstat(self.fd().ok()?).ok()?;
        Time::new(stat.st_mtime, u32::try_from(stat.st_mtime_nsec).ok()?)
    }

    fn fd(&self) -> Result<BorrowedFd<'_>, Errno> {
        if self.held.fd.get().is_none() {
            // Where another thread was sooner, its one is held.
            let _ = self.held.fd.set(rustix::fs::open(self.path(), DIRECTORY, Mode::empty())?);
        }
        self.held.fd.get().map(OwnedFd::as_fd).ok_or(Errno::BADF)
    }

    fn is(&self, other: &HeldDirectory) -> bool {
        Arc::ptr_eq(&self.held, &other.held)
    }
}

impl PartialEq for HeldDirectory {
    fn eq(&self, other: &HeldDirectory) -> bool {
        self.path() == other.path()
    }
}

impl Eq for HeldDirectory {}

/// The path of a local file or directory, with the rule by which it is followed.
///
/// Made from a path it is what a person has typed, and followed as the system does. Made by [`HeldDirectory::place`] it
/// follows no symbolic link beneath that directory, and is refused where one stands in it. Dereferences to the whole
/// path, to be shown and compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalPath {
    path: PathBuf,
    /// Where in `path` the part begins that is beneath `held`.
    below: usize,
    held: Option<HeldDirectory>,
    /// Bytes of the file when it was found, so that they need not be asked for again.
    bytes: Option<u64>,
}

impl<P: Into<PathBuf>> From<P> for LocalPath {
    fn from(path: P) -> LocalPath {
        LocalPath { path: path.into(), below: 0, held: None, bytes: None }
    }
}

impl Deref for LocalPath {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}

impl AsRef<Path> for LocalPath {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}

impl LocalPath {
    /// Names what is at `below` beneath this directory, by the same rule.
    #[must_use]
    pub fn beneath(&self, below: impl AsRef<Path>) -> LocalPath {
        match &self.held {
            Some(held) => held.place(self.below().join(below)),
            None => LocalPath::from(self.path.join(below)),
        }
    }

    /// Returns the same path, with all that is beneath it reached by no link: the directory itself may be one.
    pub(crate) fn confined(&self) -> LocalPath {
        match self.held {
            Some(_) => self.clone(),
            None => HeldDirectory::at(&*self.path).place(""),
        }
    }

    /// Returns the path of the directory that is held, or its own where none is.
    pub(super) fn root(&self) -> &Path {
        self.held.as_ref().map_or(&self.path, HeldDirectory::path)
    }

    /// Keeps that it is a file of so many bytes.
    pub(crate) fn of_size(self, bytes: u64) -> LocalPath {
        LocalPath { bytes: Some(bytes), ..self }
    }

    /// Returns the size of the file, where it was found by a walk that of then; [`None`] where there is none.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        if self.bytes.is_some() {
            return self.bytes;
        }
        let stat = self.stat().ok()?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return None;
        }
        u64::try_from(stat.st_size).ok()
    }

    /// Returns the size and the time of the file; [`None`] where there is none.
    pub(crate) fn facts(&self) -> Option<(u64, Option<Time>)> {
        let stat = self.stat().ok().filter(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)?;
        let mtime = u32::try_from(stat.st_mtime_nsec).ok().and_then(|nanos| Time::new(stat.st_mtime, nanos));
        Some((u64::try_from(stat.st_size).ok()?, mtime))
    }

    /// Whether there is a regular file, or a directory, and no symbolic link that is not followed.
    #[must_use]
    pub fn is_file_or_directory(&self) -> bool {
        let kind = self.stat().map(|stat| FileType::from_raw_mode(stat.st_mode));
        matches!(kind, Ok(FileType::RegularFile | FileType::Directory))
    }

    /// Opens the directory that it names. The things beneath it are then reached by no link.
    pub(crate) fn hold(&self) -> Result<HeldDirectory, Error> {
        let fd = self.open(DIRECTORY).map_err(|errno| self.failed("read the directory", errno))?;
        Ok(HeldDirectory::new(self.path.clone(), OnceLock::from(fd)))
    }

    /// Opens it.
    pub(crate) fn open(&self, flags: OFlags) -> Result<OwnedFd, Errno> {
        match &self.held {
            Some(held) => open_beneath(held.fd()?, self.below(), flags),
            None => rustix::fs::open(&self.path, flags | OFlags::CLOEXEC, Mode::empty()),
        }
    }

    /// Gives the directory that it names the time `mtime`.
    pub(crate) fn set_directory_time(&self, mtime: Time) -> Result<(), Error> {
        let set = self.open(DIRECTORY | OFlags::NOFOLLOW).and_then(|fd| set_mtime(fd, mtime));
        set.map_err(|errno| self.failed("set the time of", errno))
    }

    /// Gives the directory that it names the permissions that `over` makes of those that it has; set-group-ID and sticky bits
    /// stay. Returns whether it had others.
    pub(crate) fn set_directory_mode(
        &self,
        over: impl FnOnce(ferry_wire::Mode) -> ferry_wire::Mode,
    ) -> Result<bool, Error> {
        let set = self.open(DIRECTORY | OFlags::NOFOLLOW).and_then(|fd| {
            let bits = rustix::fs::fstat(&fd)?.st_mode & 0o7777;
            let mode = bits & 0o7000 | over(ferry_wire::Mode::of(bits)).bits();
            if mode != bits {
                rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode))?;
            }
            Ok(mode != bits)
        });
        set.map_err(|errno| self.failed("set the permissions of", errno))
    }

    /// Sets the time of the file that it names, and the permissions, which `over` makes of those that it has.
    pub(crate) fn amend(
        &self,
        mtime: Option<Time>,
        over: impl FnOnce(ferry_wire::Mode) -> ferry_wire::Mode,
    ) -> Result<(), Error> {
        let set = self.open(OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW).and_then(|file| {
            let mode = over(ferry_wire::Mode::of(rustix::fs::fstat(&file)?.st_mode));
            rustix::fs::fchmod(&file, Mode::from_raw_mode(mode.bits()))?;
            mtime.map_or(Ok(()), |mtime| set_mtime(&file, mtime))
        });
        set.map_err(|errno| self.failed("set the permissions of", errno))
    }

    /// Looks at what it names: a link itself where none is followed.
    pub(crate) fn stat(&self) -> Result<Stat, Errno> {
        match &self.held {
            Some(_) => rustix::fs::fstat(self.open(OFlags::PATH | OFlags::NOFOLLOW)?),
            None => rustix::fs::stat(&self.path),
        }
    }

    /// The directory that it is in, and its last component.
    pub(crate) fn split_last(&self) -> Result<(LocalPath, &OsStr), Error> {
        let last = self.below().file_name().ok_or_else(|| Error::file(&*self.path, "is no file name"))?;
        let parent = match (&self.held, self.below().parent()) {
            (Some(held), parent) => held.place(parent.unwrap_or(Path::new(""))),
            (None, Some(parent)) if !parent.as_os_str().is_empty() => LocalPath::from(parent),
            (None, _) => LocalPath::from("."),
        };
        Ok((parent, last))
    }

    /// Opens the directory that it is in.
    pub(crate) fn open_parent(&self) -> Result<(OwnedFd, &OsStr), Error> {
        let (parent, last) = self.split_last()?;
        Ok((parent.open(DIRECTORY).map_err(|errno| parent.failed("open the directory", errno))?, last))
    }

    /// Where what is replaced or deleted here is kept, if it is.
    pub(crate) fn backup(&self) -> Option<LocalPath> {
        Some(self.held.as_ref()?.backup.as_ref()?.place(self.below()))
    }

    /// The directories that it is in, up to the one that is held, the uppermost first.
    pub(super) fn above(&self) -> impl Iterator<Item = LocalPath> {
        let above: Vec<&Path> = self.below().ancestors().skip(1).collect();
        above.into_iter().rev().filter_map(|above| Some(self.held.as_ref()?.place(above)))
    }

    /// Whether `other` is reached in the same way: beneath the very same directory, or beneath none.
    pub(crate) fn is(&self, other: &LocalPath) -> bool {
        let same = match (&self.held, &other.held) {
            (Some(one), Some(other)) => one.is(other),
            (one, other) => one.is_none() && other.is_none(),
        };
        same && self.path == other.path
    }

    /// Why `what` could not be done with it.
    pub(crate) fn failed(&self, what: &'static str, errno: Errno) -> Error {
        match errno {
            Errno::LOOP if self.held.is_some() => Error::file(&*self.path, BEHIND_LINK),
            errno => Error::local(what, &*self.path, errno),
        }
    }

    /// Whether it names something beneath a directory that is held.
    pub(super) fn is_strict(&self) -> bool {
        self.held.is_some() && self.below < self.path.as_os_str().len()
    }

    /// Returns the part of the path that is beneath the directory that is held; all of it where none is.
    #[must_use]
    pub fn below(&self) -> &Path {
        let bytes = self.path.as_os_str().as_bytes().get(self.below..).unwrap_or_default();
        Path::new(OsStr::from_bytes(bytes))
    }
}
