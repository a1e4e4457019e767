//! A download on its way: without a visible name until it is verified.

use std::{
    ffi::OsString,
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use ferry_wire::Time;
use rustix::{
    fs::{FallocateFlags, FileType, Gid, Mode, Stat, Uid},
    io::Errno,
};

use super::{
    directory::{Directory, LastDirectory},
    held::LocalPath,
    set_mtime,
};
use crate::{error::Error, options::Given};

/// The room that is asked for at once, ahead of the bytes: the file system then finds long runs of it, which
/// makes writing faster by a third, and no more than this is taken for nothing where a transfer is cut.
pub(crate) const RESERVE_BYTES: u64 = 64 << 20;

/// Files from here on are worth the asking.
const RESERVE_FROM_BYTES: u64 = 1 << 20;

/// Where a file is that has no visible name.
#[derive(Debug)]
enum Naming {
    /// Nowhere: the system forgets it with its last descriptor.
    Unnamed,
    /// Under a name that begins with `.ferry-`.
    Hidden(String),
    /// Under its final name.
    Published,
}

/// A file that has no visible name yet.
///
/// Made by [`Staged::create_in`], filled by [`Staged::write`], named by [`Staged::publish`]. Dropped
/// before that it leaves nothing behind.
#[derive(Debug)]
pub(crate) struct Staged {
    directory: Arc<Directory>,
    file: Arc<File>,
    naming: Naming,
    target: OsString,
    path: PathBuf,
    written: u64,
}

impl Staged {
    /// Stages a file that may become `last` of an open directory; whether that can be replaced is looked at in the end.
    pub(crate) fn create_in(directory: Arc<Directory>, last: OsString, target: &Path) -> Result<Staged, Error> {
        let (file, naming) = match directory.create_unnamed()? {
            Some(file) => (file, Naming::Unnamed),
            None => {
                let (file, name) = directory.create_hidden()?;
                (file, Naming::Hidden(name))
            }
        };
        Ok(Staged { directory, file: Arc::new(file), naming, target: last, path: target.to_owned(), written: 0 })
    }

    /// A file that has the hidden name `name` already.
    pub(crate) fn hidden(
        directory: Arc<Directory>,
        file: Arc<File>,
        name: String,
        last: OsString,
        path: PathBuf,
    ) -> Staged {
        Staged { directory, file, naming: Naming::Hidden(name), target: last, path, written: 0 }
    }

    /// The file itself: for who writes to it at offsets of its own.
    pub(crate) fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Appends `bytes`.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        write_at(&self.file, &self.path, bytes, self.written)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Gives the file what is `given` and its name, replacing what had that name in one step.
    pub(crate) fn publish(mut self, given: Given) -> Result<(), Error> {
        if let Some(mtime) = given.mtime {
            self.set_mtime(mtime);
        }
        self.set_mode(given);
        let named = |errno: Errno| Error::local("name", &self.path, errno);
        if matches!(self.naming, Naming::Unnamed) {
            match self.directory.link(&self.file, &self.target) {
                Ok(()) => {
                    self.naming = Naming::Published;
                    return Ok(());
                }
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(named(errno)),
            }
        }
        if let Some(replaced) = self.directory.check_replaceable(&self.target, &self.path)? {
            take_after(&self.file, &replaced);
            self.set_mode(given);
            self.directory.keep(&self.target)?;
        }
        if matches!(self.naming, Naming::Unnamed) {
            self.naming = Naming::Hidden(self.directory.link_hidden(&self.file)?);
        }
        if let Naming::Hidden(name) = &self.naming {
            self.directory.rename(name, &self.target).map_err(named)?;
        }
        self.naming = Naming::Published;
        Ok(())
    }

    /// The content is what was asked for even where the file system has no such permissions.
    fn set_mode(&self, Given { mode, permissions, .. }: Given) {
        let Some(mode) = mode else { return };
        let set = rustix::fs::fstat(&*self.file).and_then(|stat| {
            let usual = ferry_wire::Mode::of(stat.st_mode);
            let wanted = permissions.over(usual, mode);
            if usual == wanted { Ok(()) } else { rustix::fs::fchmod(&*self.file, Mode::from_raw_mode(wanted.bits())) }
        });
        if let Err(errno) = set {
            log::warn!("cannot set the permissions of {}: {errno}", self.path.display());
        }
    }

    /// The content is what was asked for even where the file system can't hold its time.
    fn set_mtime(&self, mtime: Time) {
        if let Err(errno) = set_mtime(&self.file, mtime) {
            log::warn!("cannot set the time of {}: {errno}", self.path.display());
        }
    }
}

/// Looks whether a file may become `target`.
///
/// # Errors
///
/// A directory that is missing, a target that is a directory or something else that a file must not replace.
pub(crate) fn check_target(target: &LocalPath) -> Result<(), Error> {
    let (directory, last) = LastDirectory::default().of(target)?;
    directory.check_replaceable(&last, target).map(drop)
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Naming::Hidden(name) = &self.naming {
            self.directory.remove(name);
        }
    }
}

/// Gives `file` the permissions, the owner and the group of the regular file that it is to replace, as far as that is
/// permitted. Not what runs it as somebody else: that was given to other bytes.
fn take_after(file: &File, replaced: &Stat) {
    if FileType::from_raw_mode(replaced.st_mode) != FileType::RegularFile {
        return;
    }
    let Ok(own) = rustix::fs::fstat(file) else { return };
    let (user, group) = (Uid::from_raw(replaced.st_uid), Gid::from_raw(replaced.st_gid));
    let mut mode = replaced.st_mode & 0o777;
    let is_given = (own.st_uid, own.st_gid) == (replaced.st_uid, replaced.st_gid)
        || rustix::fs::fchown(file, Some(user), Some(group)).is_ok()
        || own.st_gid == replaced.st_gid
        || rustix::fs::fchown(file, None, Some(group)).is_ok();
    if !is_given {
        // Another group has no more rights than everybody.
        mode &= !0o070 | (mode & 0o007) << 3;
    }
    if mode != own.st_mode & 0o777
        && let Err(errno) = rustix::fs::fchmod(file, Mode::from_raw_mode(mode))
    {
        log::debug!("the permissions of a replaced file were not kept: {errno}");
    }
}

/// Takes from `file`, on its way, what others may not do with `replaced`; its owner is to go on with it.
pub(super) fn restrict(file: &File, replaced: &Stat) {
    let Ok(own) = rustix::fs::fstat(file) else { return };
    let mode = own.st_mode & 0o777 & (replaced.st_mode | 0o700);
    if FileType::from_raw_mode(replaced.st_mode) == FileType::RegularFile
        && mode != own.st_mode & 0o777
        && let Err(errno) = rustix::fs::fchmod(file, Mode::from_raw_mode(mode))
    {
        log::debug!("the permissions of a staged file were not set: {errno}");
    }
}

/// Writes all of `bytes` at `at`. `path` is for the message.
pub(crate) fn write_at(file: &File, path: &Path, bytes: &[u8], at: u64) -> Result<(), Error> {
    file.write_all_at(bytes, at).map_err(|error| Error::local("write", path, error))
}

/// Asks for the room of the bytes from `at` on, in a file that is to have `size` bytes. A file system that can't
/// is no failure: writing tells what is really wrong.
pub(crate) fn reserve(file: &File, at: u64, size: u64) {
    let bytes = size.saturating_sub(at).min(RESERVE_BYTES);
    if size < RESERVE_FROM_BYTES || bytes == 0 || is_in_memory(file) {
        return;
    }
    if let Err(errno) = rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, at, bytes) {
        log::debug!("no room was reserved: {}", io::Error::from(errno));
    }
}

/// A file system in memory has no runs to find: it would only make each page ready twice.
fn is_in_memory(file: &File) -> bool {
    const TMPFS_MAGIC: u64 = 0x0102_1994;
    rustix::fs::fstatfs(file).is_ok_and(|system| u64::try_from(system.f_type) == Ok(TMPFS_MAGIC))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<OsString> {
        let mut names: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    }

    fn create(target: &Path) -> Result<Staged, Error> {
        check_target(&target.into())?;
        let (directory, last) = LastDirectory::default().of(&target.into())?;
        Staged::create_in(directory, last, target)
    }

    fn unnamed(target: &Path) -> Staged {
        create(target).unwrap()
    }

    fn hidden(target: &Path) -> Staged {
        let (directory, last) = LastDirectory::default().of(&target.into()).unwrap();
        let (file, name) = directory.create_hidden().unwrap();
        Staged::hidden(directory, Arc::new(file), name, last, target.to_owned())
    }

    /// Both ways to stage.
    const WAYS: [fn(&Path) -> Staged; 2] = [unnamed, hidden];

    #[test]
    fn a_file_appears_whole_with_its_time_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("a");
        for way in WAYS {
            let mut staged = way(&target);
            staged.write(b"ne").unwrap();
            staged.write(b"w").unwrap();
            assert!(!target.exists());
            staged.publish(Given { mtime: Time::new(1_000_000_000, 5), ..Given::default() }).unwrap();
            assert_eq!(std::fs::read(&target).unwrap(), b"new");
            let modified = std::fs::metadata(&target).unwrap().modified().unwrap();
            let since = modified.duration_since(std::time::UNIX_EPOCH).unwrap();
            assert_eq!((since.as_secs(), since.subsec_nanos()), (1_000_000_000, 5));
            std::fs::remove_file(&target).unwrap();
        }
        std::fs::write(&target, "old").unwrap();
        for way in WAYS {
            let mut dropped = way(&target);
            dropped.write(b"half").unwrap();
            drop(dropped);
            assert_eq!(names(directory.path()), ["a"]);
            assert_eq!(std::fs::read(&target).unwrap(), b"old");
        }
        for way in WAYS {
            let mut staged = way(&target);
            staged.write(b"newer").unwrap();
            staged.publish(Given::default()).unwrap();
            assert_eq!(names(directory.path()), ["a"]);
            assert_eq!(std::fs::read(&target).unwrap(), b"newer");
        }
    }

    #[test]
    fn what_is_no_file_is_never_replaced() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("d")).unwrap();
        assert!(matches!(create(&directory.path().join("d")), Err(Error::LocalFile { .. })));
        assert!(matches!(create(&directory.path().join("missing/a")), Err(Error::Local { .. })));
        assert!(matches!(create(&directory.path().join("..")), Err(Error::LocalFile { .. })));
        assert_eq!(names(directory.path()), ["d"]);

        let both = WAYS.map(|way| way(&directory.path().join("late")));
        std::fs::create_dir(directory.path().join("late")).unwrap();
        for staged in both {
            assert!(matches!(staged.publish(Given::default()), Err(Error::LocalFile { .. })));
        }
        assert_eq!(names(directory.path()), ["d", "late"]);
    }

    #[test]
    fn a_link_to_what_is_no_file_is_never_replaced() {
        let directory = tempfile::tempdir().unwrap();
        for to in ["/dev/null", "/proc/self/fd/1", "."] {
            let link = directory.path().join("link");
            std::os::unix::fs::symlink(to, &link).unwrap();
            assert!(matches!(create(&link), Err(Error::LocalFile { .. })), "{to}");
            std::fs::remove_file(&link).unwrap();
            let late = WAYS.map(|way| way(&link));
            std::os::unix::fs::symlink(to, &link).unwrap();
            for staged in late {
                assert!(matches!(staged.publish(Given::default()), Err(Error::LocalFile { .. })), "{to}");
            }
            assert_eq!(std::fs::read_link(&link).unwrap(), std::path::Path::new(to));
            std::fs::remove_file(&link).unwrap();
        }
        std::os::unix::fs::symlink("nowhere", directory.path().join("link")).unwrap();
        create(&directory.path().join("link")).unwrap().publish(Given::default()).unwrap();
        assert!(directory.path().join("link").symlink_metadata().unwrap().is_file());
    }

    #[test]
    fn a_symbolic_link_is_replaced_and_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let outside = directory.path().join("outside");
        std::fs::write(&outside, "safe").unwrap();
        let link = directory.path().join("link");
        for way in WAYS {
            let mut staged = way(&link);
            std::os::unix::fs::symlink(&outside, &link).unwrap();
            staged.write(b"new").unwrap();
            staged.publish(Given::default()).unwrap();
            assert_eq!(std::fs::read(&outside).unwrap(), b"safe");
            assert_eq!(std::fs::read(&link).unwrap(), b"new");
            std::fs::remove_file(&link).unwrap();
        }
    }

    #[test]
    fn a_file_that_replaces_another_has_its_permissions_and_a_new_one_those_of_the_umask() {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("a");
        let mode = || std::fs::metadata(&target).unwrap().mode() & 0o7777;
        std::fs::write(directory.path().join("plain"), "").unwrap();
        let new = std::fs::metadata(directory.path().join("plain")).unwrap().mode() & 0o7777;
        for way in WAYS {
            way(&target).publish(Given::default()).unwrap();
            assert_eq!(mode(), new);
            for (before, after) in [(0o600, 0o600), (0o755, 0o755), (0o400, 0o400), (0o4751, 0o751)] {
                std::fs::set_permissions(&target, std::fs::Permissions::from_mode(before)).unwrap();
                way(&target).publish(Given::default()).unwrap();
                assert_eq!(mode(), after, "{before:o}");
            }
            // Only who may give files away can try.
            if chown(&target, Some(1), Some(2)).is_ok() {
                way(&target).publish(Given::default()).unwrap();
                let meta = std::fs::metadata(&target).unwrap();
                assert_eq!((meta.uid(), meta.gid(), mode()), (1, 2, 0o751));
            }
            std::fs::remove_file(&target).unwrap();
        }
    }
}
