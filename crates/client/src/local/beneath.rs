//! Changes beneath a held local directory, which no symbolic link can lead elsewhere.

use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use ferry_wire::Name;
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags},
    io::Errno,
};

use crate::error::Error;

/// A local directory that is held open. Names are taken as its own, component by component.
#[derive(Debug)]
pub(crate) struct Beneath {
    root: OwnedFd,
    path: PathBuf,
}

impl Beneath {
    /// Holds `path`, which may itself be a link.
    pub(crate) fn open(path: &Path) -> Result<Beneath, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|errno| Error::local("open the directory", path, errno))?;
        Ok(Beneath { root, path: path.to_owned() })
    }

    /// Makes a directory; one that is there already is as good, a link to one is not.
    pub(crate) fn make_directory(&self, name: &Name) -> Result<(), Error> {
        let parent = self.parent(name)?;
        match rustix::fs::mkdirat(&parent, name.last(), Mode::from_raw_mode(0o777)) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => self.check_directory(&parent, name),
            Err(errno) => Err(Error::local("make the directory", self.at(name), errno)),
        }
    }

    /// Deletes a file, or a link itself.
    pub(crate) fn delete_file(&self, name: &Name) -> Result<(), Error> {
        self.delete(name, AtFlags::empty())
    }

    /// Deletes an empty directory.
    pub(crate) fn delete_directory(&self, name: &Name) -> Result<(), Error> {
        self.delete(name, AtFlags::REMOVEDIR)
    }

    fn delete(&self, name: &Name, flags: AtFlags) -> Result<(), Error> {
        let parent = self.parent(name)?;
        rustix::fs::unlinkat(parent, name.last(), flags).map_err(|errno| Error::local("delete", self.at(name), errno))
    }

    fn check_directory(&self, parent: &OwnedFd, name: &Name) -> Result<(), Error> {
        let stat = rustix::fs::statat(parent, name.last(), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| Error::local("look at", self.at(name), errno))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Ok(()),
            FileType::Symlink => Err(Error::file(self.at(name), "is a symbolic link, which is not followed")),
            _ => Err(Error::file(self.at(name), "is no directory")),
        }
    }

    /// The directory that `name` is in.
    fn parent(&self, name: &Name) -> Result<OwnedFd, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut directory =
            self.root.try_clone().map_err(|source| Error::System { what: "hold a directory", source })?;
        for component in name.parent().into_iter().flat_map(|parent| parent.split('/')) {
            directory = rustix::fs::openat(&directory, component, flags, Mode::empty())
                .map_err(|errno| Error::local("open the directory of", self.at(name), errno))?;
        }
        Ok(directory)
    }

    fn at(&self, name: &Name) -> PathBuf {
        self.path.join(name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_behind_a_link_is_changed() {
        let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let name = |text| Name::new(text).unwrap();
        std::fs::write(outside.path().join("safe"), "").unwrap();
        std::os::unix::fs::symlink(outside.path(), root.path().join("link")).unwrap();
        let beneath = Beneath::open(root.path()).unwrap();
        assert!(beneath.delete_file(&name("link/safe")).is_err());
        assert!(beneath.make_directory(&name("link/new")).is_err());
        assert!(matches!(beneath.make_directory(&name("link")), Err(Error::LocalFile { .. })));
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);

        beneath.make_directory(&name("a")).unwrap();
        beneath.make_directory(&name("a/b")).unwrap();
        beneath.make_directory(&name("a/b")).unwrap();
        assert!(beneath.delete_directory(&name("a")).is_err());
        beneath.delete_directory(&name("a/b")).unwrap();
        beneath.delete_file(&name("link")).unwrap();
        assert!(outside.path().join("safe").exists());
    }
}
