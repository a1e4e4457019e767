//! Directories that are made, and what is deleted, beneath a directory that is held.

use std::os::fd::AsFd;

use rustix::{
    fs::{AtFlags, FileType, Mode},
    io::Errno,
};

use super::held::{LINK, LocalPath};
use crate::error::Error;

impl LocalPath {
    /// Makes the directory that everything else is to be made beneath: one that a person has typed may be a link to one.
    pub(crate) fn make_top(&self) -> Result<(), Error> {
        if self.is_strict() {
            return self.make_directory();
        }
        match std::fs::create_dir(&**self) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                Err(Error::local("make the directory", &**self, error))
            }
            _ => Ok(()),
        }
    }

    /// Makes a directory; one that is there already is as good, a link to one is not.
    pub(crate) fn make_directory(&self) -> Result<(), Error> {
        let (parent, last) = self.open_parent()?;
        match rustix::fs::mkdirat(&parent, last, Mode::from_raw_mode(0o777)) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => self.check_directory(&parent),
            Err(errno) => Err(self.failed("make the directory", errno)),
        }
    }

    /// Deletes a file, or a link itself.
    pub(crate) fn delete_file(&self) -> Result<(), Error> {
        self.unlink(AtFlags::empty())
    }

    /// Deletes an empty directory.
    pub(crate) fn delete_directory(&self) -> Result<(), Error> {
        self.unlink(AtFlags::REMOVEDIR)
    }

    fn unlink(&self, flags: AtFlags) -> Result<(), Error> {
        let (parent, last) = self.open_parent()?;
        rustix::fs::unlinkat(parent, last, flags).map_err(|errno| self.failed("delete", errno))
    }

    fn check_directory(&self, parent: impl AsFd) -> Result<(), Error> {
        let (_, last) = self.parted()?;
        let stat = rustix::fs::statat(parent, last, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| self.failed("look at", errno))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Ok(()),
            FileType::Symlink => Err(Error::file(&**self, LINK)),
            _ => Err(Error::file(&**self, "is no directory")),
        }
    }
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
        assert!(matches!(at("link/new").make_directory(), Err(Error::LocalFile { .. })));
        assert!(matches!(at("link").make_directory(), Err(Error::LocalFile { .. })));
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);

        at("a").make_directory().unwrap();
        at("a/b").make_directory().unwrap();
        at("a/b").make_directory().unwrap();
        assert!(at("a").delete_directory().is_err());
        at("a/b").delete_directory().unwrap();
        at("link").delete_file().unwrap();
        assert!(outside.path().join("safe").exists());
    }
}
