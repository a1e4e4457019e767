//! A directory that is held open, so that no renaming beneath it can move what is staged elsewhere.

use std::{
    collections::HashSet,
    ffi::{OsStr, OsString},
    fs::File,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use rustix::{
    fs::{AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, Stat},
    io::Errno,
};

use super::{held::LocalPath, not_a_file};
use crate::{error::Error, random};

/// How often to draw another random name: with 64 random bits even one clash means that something
/// else is wrong.
const NAME_TRIES: usize = 8;

/// The mode of new files, before the umask.
const MODE: Mode = Mode::from_raw_mode(0o666);

/// How the names end that files have for the moment between being whole and their own name. Apart from parts: their time is
/// already that of the server's file.
pub(super) const MOMENTARY: &str = ".new";

/// Where a process finds its own descriptors as links.
const DESCRIPTORS: &str = "/proc/self/fd";

/// An open directory.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
    path: PathBuf,
    /// The place in another directory that keeps the files that are replaced in this one.
    backup: Option<LocalPath>,
    swept: Arc<Swept>,
}

/// Directories that were looked through for what nobody came back for.
pub(crate) type Swept = Mutex<HashSet<PathBuf>>;

impl Directory {
    /// Where it was when it was opened: for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it was not looked through yet for what nobody came back for; it counts as such from now on.
    pub(crate) fn is_to_be_swept(&self) -> bool {
        self.swept.lock().unwrap_or_else(PoisonError::into_inner).insert(self.path.clone())
    }

    /// Whether a file may have the name `last` of `target`: nothing has it, or a file, or a symbolic link,
    /// which is replaced itself and never followed. One that leads to a directory or a device is there for
    /// that: nobody means to lose it. Returns what would be replaced.
    pub(crate) fn check_replaceable(&self, last: &OsStr, target: &Path) -> Result<Option<Stat>, Error> {
        match rustix::fs::statat(&self.fd, last, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(Error::local("look at", target, errno)),
            Ok(stat) => {
                if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
                    self.check_link(last, target)?;
                } else if let Some(problem) = not_a_file(&stat) {
                    return Err(Error::file(target, problem));
                }
                Ok(Some(stat))
            }
        }
    }

    /// Keeps the file `last`, which is about to be replaced, where that is wanted.
    pub(crate) fn keep(&self, last: &OsStr) -> Result<(), Error> {
        self.backup.as_ref().map_or(Ok(()), |backup| backup.beneath(last).keep(&self.fd, last))
    }

    fn check_link(&self, last: &OsStr, target: &Path) -> Result<(), Error> {
        // `/dev/stdout` leads to whatever this process writes to.
        let is_of_system = rustix::fs::readlinkat(&self.fd, last, Vec::new())
            .is_ok_and(|to| to.to_bytes().starts_with(DESCRIPTORS.as_bytes()));
        // Where it leads nowhere, nothing is lost.
        let leads_to_file = match rustix::fs::statat(&self.fd, last, AtFlags::empty()) {
            Ok(stat) => FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile,
            Err(_) => true,
        };
        if is_of_system || !leads_to_file {
            return Err(Error::file(target, "is a symbolic link to something that is no file"));
        }
        Ok(())
    }

    /// A file without any name: nothing is left of it, however this process ends. [`None`] where the file
    /// system has no such thing.
    pub(crate) fn create_unnamed(&self) -> Result<Option<File>, Error> {
        static NAMES_DESCRIPTORS: OnceLock<bool> = OnceLock::new();
        if !NAMES_DESCRIPTORS.get_or_init(|| Path::new(DESCRIPTORS).exists()) {
            return Ok(None);
        }
        let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.fd, ".", flags, MODE) {
            Ok(file) => Ok(Some(File::from(file))),
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => Ok(None),
            Err(errno) => Err(Error::local("make a file in", &self.path, errno)),
        }
    }

    /// A file under a hidden name that nobody else draws.
    pub(crate) fn create_hidden(&self) -> Result<(File, String), Error> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (file, name) = self.under_hidden_name("make a file in", |name| {
            rustix::fs::openat(&self.fd, name, flags, MODE).map(File::from)
        })?;
        claim(&file);
        Ok((file, name))
    }

    /// Gives `file`, which has no name, the name `last`, which is nobody's yet.
    pub(crate) fn link(&self, file: &File, last: &OsStr) -> Result<(), Errno> {
        match rustix::fs::linkat(file, "", &self.fd, last, AtFlags::EMPTY_PATH) {
            // Older systems let only the privileged do so.
            Err(Errno::NOENT | Errno::PERM | Errno::INVAL) => {}
            result => return result,
        }
        use std::os::fd::AsRawFd as _;
        let way = format!("{DESCRIPTORS}/{}", file.as_raw_fd());
        rustix::fs::linkat(CWD, way, &self.fd, last, AtFlags::SYMLINK_FOLLOW)
    }

    /// Gives `file`, which has no name, a hidden one.
    pub(crate) fn link_hidden(&self, file: &File) -> Result<String, Error> {
        claim(file);
        self.under_hidden_name("make a file in", |name| self.link(file, name.as_ref())).map(|((), name)| name)
    }

    fn under_hidden_name<T>(
        &self,
        what: &'static str,
        mut make: impl FnMut(&str) -> Result<T, Errno>,
    ) -> Result<(T, String), Error> {
        let mut clash = Errno::EXIST;
        for _ in 0..NAME_TRIES {
            let name = format!(".ferry-{:016x}{MOMENTARY}", random::bits()?);
            match make(&name) {
                Ok(made) => return Ok((made, name)),
                Err(Errno::EXIST) => {}
                Err(errno) => {
                    clash = errno;
                    break;
                }
            }
        }
        Err(Error::local(what, &self.path, clash))
    }

    /// Gives what is called `from` the name `to`, in place of what has it.
    pub(crate) fn rename(&self, from: &str, to: &OsStr) -> Result<(), Errno> {
        rustix::fs::renameat(&self.fd, from, &self.fd, to)
    }

    /// Removes the file `name`; one that is not there is as good.
    pub(crate) fn remove(&self, name: &str) {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => log::warn!("cannot remove {name} in {}: {errno}", self.path.display()),
        }
    }
}

/// Says to who sweeps that somebody has this file, whatever its times say. A file system without locks is not swept.
fn claim(file: &File) {
    if let Err(errno) = rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        log::debug!("a staged file can't be locked: {errno}");
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The directory that was opened last: files of one directory mostly follow one another.
#[derive(Debug, Default)]
pub(crate) struct LastDirectory {
    last: Option<(LocalPath, Arc<Directory>)>,
    swept: Arc<Swept>,
}

impl LastDirectory {
    /// The directory of `target`, and its last component.
    pub(crate) fn of(&mut self, target: &LocalPath) -> Result<(Arc<Directory>, OsString), Error> {
        let (parent, last) = target.split_last()?;
        let directory = match &self.last {
            Some((path, directory)) if path.is(&parent) => Arc::clone(directory),
            _ => {
                let (fd, _) = target.open_parent()?;
                let (path, swept) = (parent.to_path_buf(), Arc::clone(&self.swept));
                let directory = Arc::new(Directory { fd, path, backup: parent.backup(), swept });
                self.last = Some((parent, Arc::clone(&directory)));
                directory
            }
        };
        Ok((directory, last.to_owned()))
    }
}
