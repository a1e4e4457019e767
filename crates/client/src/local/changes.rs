//! Directories that are made, and what is deleted, beneath a directory that is held.

use std::{
    ffi::OsStr,
    fs::{DirBuilder, File},
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::DirBuilderExt as _,
    },
};

use ferry_wire::Time;
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags},
    io::Errno,
};

use super::{
    held::{LINK, LocalPath},
    partial::sweep_all,
    set_mtime,
};
use crate::error::Error;

impl LocalPath {
    /// Makes a directory that lets in whom `mode` lets in, and its owner, before the umask. One that is there already is as
    /// good; so is a link to one where it is not beneath a directory that is held, for then a person has typed it.
    fn make_top(&self, mode: ferry_wire::Mode) -> Result<(), Error> {
        if self.is_strict() {
            return self.make_directory(mode);
        }
        match DirBuilder::new().mode(mode.open_to_owner().bits()).create(&**self) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                Err(Error::local("make the directory", &**self, error))
            }
            _ => Ok(()),
        }
    }

    /// Does the same; a link to a directory is not as good.
    pub(crate) fn make_directory(&self, mode: ferry_wire::Mode) -> Result<(), Error> {
        let (parent, last) = self.open_parent()?;
        match rustix::fs::mkdirat(&parent, last, Mode::from_raw_mode(mode.open_to_owner().bits())) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => self.check_directory(&parent),
            Err(errno) => Err(self.failed("make the directory", errno)),
        }
    }

    /// Deletes a file, or a link itself; one that is to be kept is kept first.
    pub(crate) fn delete_file(&self) -> Result<(), Error> {
        let (parent, last) = self.open_parent()?;
        if let Some(backup) = self.backup() {
            backup.keep(parent.as_fd(), last)?;
        }
        rustix::fs::unlinkat(parent, last, AtFlags::empty()).map_err(|errno| self.failed("delete", errno))
    }

    /// Deletes an empty directory, and with it what downloads that were cut have left there.
    pub(crate) fn delete_directory(&self) -> Result<(), Error> {
        let (parent, last) = self.open_parent()?;
        let mut deleted = rustix::fs::unlinkat(&parent, last, AtFlags::REMOVEDIR);
        if matches!(deleted, Err(Errno::NOTEMPTY | Errno::EXIST))
            && let Ok(directory) = self.open(OFlags::RDONLY | OFlags::DIRECTORY)
        {
            sweep_all(directory.as_fd());
            deleted = rustix::fs::unlinkat(&parent, last, AtFlags::REMOVEDIR);
        }
        deleted.map_err(|errno| self.failed("delete", errno))
    }

    /// Keeps the file `last` of `directory` under this name, or with a number after it where that is taken: by a further
    /// name of the same file, else by a copy.
    pub(super) fn keep(&self, directory: impl AsFd, last: &OsStr) -> Result<(), Error> {
        for above in self.above() {
            above.make_top(ferry_wire::Mode::ALL)?;
        }
        let (parent, name) = self.open_parent()?;
        for number in 0.. {
            let mut name = name.to_owned();
            if number > 0 {
                name.push(format!(".~{number}~"));
            }
            match rustix::fs::linkat(directory.as_fd(), last, &parent, &name, AtFlags::empty()) {
                Err(Errno::EXIST) => {}
                Err(Errno::XDEV | Errno::PERM | Errno::OPNOTSUPP | Errno::MLINK) => {
                    match copy(directory.as_fd(), last, parent.as_fd(), &name) {
                        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                        copied => return copied.map_err(|error| Error::local("keep a copy as", &**self, error)),
                    }
                }
                linked => return linked.map_err(|errno| self.failed("keep the old file as", errno)),
            }
        }
        Ok(())
    }

    fn check_directory(&self, parent: impl AsFd) -> Result<(), Error> {
        let (_, last) = self.split_last()?;
        let stat = rustix::fs::statat(parent, last, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| self.failed("look at", errno))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Ok(()),
            FileType::Symlink => Err(Error::file(&**self, LINK)),
            _ => Err(Error::file(&**self, "is no directory")),
        }
    }
}

/// Makes directories, each before what is in it; those that are there already are as good. Returns those that can't be made,
/// by their places in the list, and why; and how many were not tried because they are beneath one of those. Each lets in
/// whom the mode beside it lets in, and its owner.
pub(crate) fn make_directories<'a>(
    directories: impl Iterator<Item = (&'a LocalPath, ferry_wire::Mode)>,
) -> (Vec<(usize, Error)>, usize) {
    let (mut refused, mut untried) = (Vec::new(), 0);
    let mut last_refused: Option<&LocalPath> = None;
    for (index, (path, mode)) in directories.enumerate() {
        if last_refused.is_some_and(|above| path.starts_with(above)) {
            untried += 1;
        } else if let Err(error) = path.make_top(mode) {
            refused.push((index, error));
            last_refused = Some(path);
        }
    }
    (refused, untried)
}

/// Copies a file with its permissions and its time, or a link itself. A copy that is not whole is removed.
fn copy(from: BorrowedFd<'_>, last: &OsStr, to: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    let stat = rustix::fs::statat(from, last, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
        let target = rustix::fs::readlinkat(from, last, Vec::new())?;
        return Ok(rustix::fs::symlinkat(target, to, name)?);
    }
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut source = File::from(rustix::fs::openat(from, last, flags | OFlags::RDONLY, Mode::empty())?);
    let new = flags | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let mut copy = File::from(rustix::fs::openat(to, name, new, Mode::from_raw_mode(stat.st_mode & 0o700))?);
    let copied = io::copy(&mut source, &mut copy);
    // A file system that can't hold them has the bytes all the same.
    let _ = rustix::fs::fchmod(&copy, Mode::from_raw_mode(stat.st_mode & 0o777));
    if let Some(mtime) = Time::new(stat.st_mtime, stat.st_mtime_nsec.try_into().unwrap_or(0)) {
        let _ = set_mtime(&copy, mtime);
    }
    if copied.is_err() {
        let _ = rustix::fs::unlinkat(to, name, AtFlags::empty());
    }
    copied.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::HeldDirectory;

    #[test]
    fn nothing_behind_a_link_is_changed() {
        let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(outside.path().join("safe"), "").unwrap();
        std::os::unix::fs::symlink(outside.path(), root.path().join("link")).unwrap();
        let held = HeldDirectory::at(root.path());
        let at = |below: &str| held.place(below);
        assert!(at("link/safe").delete_file().is_err());
        assert!(matches!(at("link/new").make_directory(ferry_wire::Mode::ALL), Err(Error::LocalFile { .. })));
        assert!(matches!(at("link").make_directory(ferry_wire::Mode::ALL), Err(Error::LocalFile { .. })));
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);

        at("a").make_directory(ferry_wire::Mode::ALL).unwrap();
        at("a/b").make_directory(ferry_wire::Mode::ALL).unwrap();
        at("a/b").make_directory(ferry_wire::Mode::ALL).unwrap();
        assert!(at("a").delete_directory().is_err());
        at("a/b").delete_directory().unwrap();
        at("link").delete_file().unwrap();
        assert!(outside.path().join("safe").exists());
    }
}
