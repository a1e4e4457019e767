//! A download on its way: hidden beside its target until it is verified.

use std::{
    ffi::OsString,
    fs::File,
    io::Write as _,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use ferry_wire::Time;
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps},
    io::Errno,
};

use super::not_a_file;
use crate::{error::Error, random};

/// How often to draw another random name: with 64 random bits even one clash means that something
/// else is wrong.
const NAME_TRIES: usize = 8;

/// A file that has no visible name yet.
///
/// Made by [`Staged::create`], filled by [`Staged::write`], named by [`Staged::publish`]. Dropped
/// before that it leaves nothing behind. Its directory is held open, so that no renaming beneath it
/// can move the file elsewhere.
#[derive(Debug)]
pub(crate) struct Staged {
    directory: OwnedFd,
    file: File,
    temporary: String,
    target: OsString,
    path: PathBuf,
    published: bool,
}

impl Staged {
    /// Stages a file that may become `target`, in the directory of `target`.
    ///
    /// # Errors
    ///
    /// A directory that is missing or not writable, a target that is a directory or something else
    /// that a file must not replace.
    pub(crate) fn create(target: &Path) -> Result<Staged, Error> {
        let Some(last) = target.file_name() else {
            return Err(Error::file(target, "is no file name"));
        };
        let parent = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(parent, flags, Mode::empty())
            .map_err(|errno| Error::local("open the directory", parent, errno))?;
        check_replaceable(&directory, target)?;
        let (file, temporary) = create_hidden(&directory, parent)?;
        Ok(Staged { directory, file, temporary, target: last.to_owned(), path: target.to_owned(), published: false })
    }

    /// Appends `bytes`.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(|error| Error::local("write", &self.path, error))
    }

    /// Gives the file its time and its name, replacing what had that name in one step.
    pub(crate) fn publish(mut self, mtime: Option<Time>) -> Result<(), Error> {
        if let Some(mtime) = mtime {
            self.set_mtime(mtime);
        }
        // Checked again: a download can take hours.
        check_replaceable(&self.directory, &self.path)?;
        rustix::fs::renameat(&self.directory, &self.temporary, &self.directory, &self.target)
            .map_err(|errno| Error::local("name", &self.path, errno))?;
        self.published = true;
        Ok(())
    }

    /// The content is what was asked for even where the file system can't hold its time.
    fn set_mtime(&self, mtime: Time) {
        let Ok(tv_sec) = i64::try_from(mtime.seconds()) else { return };
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
            last_modification: Timespec { tv_sec, tv_nsec: mtime.nanos().into() },
        };
        if let Err(errno) = rustix::fs::futimens(&self.file, &times) {
            log::warn!("cannot set the time of {}: {errno}", self.path.display());
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if self.published {
            return;
        }
        if let Err(errno) = rustix::fs::unlinkat(&self.directory, &self.temporary, AtFlags::empty()) {
            log::warn!("cannot remove the staged {}: {errno}", self.temporary);
        }
    }
}

/// A symbolic link is replaced itself, never followed.
fn check_replaceable(directory: &OwnedFd, target: &Path) -> Result<(), Error> {
    let name = target.file_name().unwrap_or_default();
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(Error::local("look at", target, errno)),
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => Ok(()),
        Ok(stat) => not_a_file(&stat).map_or(Ok(()), |problem| Err(Error::file(target, problem))),
    }
}

fn create_hidden(directory: &OwnedFd, parent: &Path) -> Result<(File, String), Error> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o666);
    let mut clash = Errno::EXIST;
    for _ in 0..NAME_TRIES {
        let name = format!(".ferry-{:016x}.part", random::bits()?);
        match rustix::fs::openat(directory, &name, flags, mode) {
            Ok(file) => return Ok((File::from(file), name)),
            Err(Errno::EXIST) => {}
            Err(errno) => {
                clash = errno;
                break;
            }
        }
    }
    Err(Error::local("make a file in", parent, clash))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<OsString> {
        let mut names: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_appears_whole_with_its_time_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("a");
        let mut staged = Staged::create(&target).unwrap();
        staged.write(b"new").unwrap();
        assert!(!target.exists());
        staged.publish(Time::new(1_000_000_000, 5)).unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"new");
        let modified = std::fs::metadata(&target).unwrap().modified().unwrap();
        let since = modified.duration_since(std::time::UNIX_EPOCH).unwrap();
        assert_eq!((since.as_secs(), since.subsec_nanos()), (1_000_000_000, 5));

        let mut dropped = Staged::create(&target).unwrap();
        dropped.write(b"half").unwrap();
        drop(dropped);
        assert_eq!(names(directory.path()), ["a"]);
        assert_eq!(std::fs::read(&target).unwrap(), b"new");
    }

    #[test]
    fn what_is_no_file_is_never_replaced() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("d")).unwrap();
        assert!(matches!(Staged::create(&directory.path().join("d")), Err(Error::LocalFile { .. })));
        assert!(matches!(Staged::create(&directory.path().join("missing/a")), Err(Error::Local { .. })));
        assert!(matches!(Staged::create(&directory.path().join("..")), Err(Error::LocalFile { .. })));
        assert_eq!(names(directory.path()), ["d"]);

        let staged = Staged::create(&directory.path().join("late")).unwrap();
        std::fs::create_dir(directory.path().join("late")).unwrap();
        assert!(matches!(staged.publish(None), Err(Error::LocalFile { .. })));
        assert_eq!(names(directory.path()), ["d", "late"]);
    }

    #[test]
    fn a_symbolic_link_is_replaced_and_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let outside = directory.path().join("outside");
        std::fs::write(&outside, "safe").unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&outside, &link).unwrap();
        let mut staged = Staged::create(&link).unwrap();
        staged.write(b"new").unwrap();
        staged.publish(None).unwrap();
        assert_eq!(std::fs::read(&outside).unwrap(), b"safe");
        assert_eq!(std::fs::read(&link).unwrap(), b"new");
    }
}
