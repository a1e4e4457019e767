//! The one held directory through which every path goes.

use std::{
    ffi::OsString,
    io,
    os::{fd::OwnedFd, unix::ffi::OsStringExt as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use ferry_wire::Name;
use rustix::{
    fs::{FileType, Mode, OFlags, ResolveFlags, Stat},
    io::Errno,
    process::geteuid,
    thread::{CapabilitySet, capabilities},
};

use super::{
    error::StoreError,
    meta,
    mounts::{MountTable, Mounts, path_of},
    syscalls::Syscalls,
};

/// No name leaves the root, crosses a symbolic link or a mount, or goes through a magic link of
/// /proc: openat2(2) ensures that in the kernel, where nothing can change underneath.
const CONFINED: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// To hold what has a name, without opening it.
const LOOK: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW);

/// A walk may ask a disk.
const MAY_WAIT: ResolveFlags = ResolveFlags::empty();

/// Names that are tried for others of the corner: as FAT shortens it, and with a code point in it
/// that file systems ignore which fold case.
const ALIASES: [&str; 2] = ["FERRY~1", ".fer\u{ad}ry"];

fn missing_as_none<T>(found: Result<T, Errno>) -> Result<Option<T>, Errno> {
    match found {
        Ok(found) => Ok(Some(found)),
        // A mount is not our `.ferry`, nor is an entry that can't have such a name.
        Err(Errno::NOENT | Errno::XDEV | Errno::LOOP | Errno::INVAL | Errno::ILSEQ | Errno::ACCESS) => Ok(None),
        Err(error) => Err(error),
    }
}

/// How often a path is walked anew when a rename elsewhere disturbed the walk.
const WALKS: usize = 16;

/// Does `look`, which looks names up from the root and changes nothing before that succeeded; and once more where it
/// met an entry that the file system has given up ([`Errno::STALE`]). `look` is told whether it is the second time:
/// then it must go by nothing that is still open. The kernel has looked twice by itself at each step, so a third time
/// is the client's.
pub(super) fn looked_up<T>(mut look: impl FnMut(bool) -> Result<T, StoreError>) -> Result<T, StoreError> {
    match look(false) {
        Err(error) if error.is_stale() => look(true),
        done => done,
    }
}

/// The held directory.
#[derive(Debug)]
pub(super) struct Root {
    syscalls: Syscalls,
    dir: OwnedFd,
    mounts: Option<Mounts>,
    /// The entry that no walk goes through or ends at, by any name, where one may have several.
    guarded: Option<&'static str>,
    /// The user whose files may be read without a trace in any case.
    user: u32,
    /// Those of others, too.
    may_leave_times: AtomicBool,
}

impl Root {
    pub(super) fn open(syscalls: Syscalls, path: &Path) -> Result<Root, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(path, flags, Mode::empty())?;
        // A kernel without openat2 (before 5.6) must be found out now, not at the first request.
        syscalls.open_beneath(&dir, ".", flags, CONFINED)?;
        let capable = capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::FOWNER));
        let (user, may_leave_times) = (geteuid().as_raw(), AtomicBool::new(capable));
        Ok(Root { syscalls, dir, mounts: None, guarded: None, user, may_leave_times })
    }

    /// Watches the table of mounts. Before, every directory is looked at as if something were
    /// mounted in it.
    pub(super) fn watch_mounts(&mut self, table: &MountTable) -> io::Result<()> {
        self.mounts = Some(Mounts::watch(&self.dir, table)?);
        Ok(())
    }

    /// Ends that, so that another root can watch the same table.
    pub(super) fn unwatch_mounts(&self) {
        if let Some(mounts) = &self.mounts {
            mounts.end();
        }
    }

    /// Hides the entry `name` of the root from walks, under any name that leads to it.
    ///
    /// Guarding costs a look at each name: it is for file systems where an entry may have more
    /// names than those that a [`Name`] can't be.
    pub(super) fn guard(&mut self, name: &'static str) {
        self.guarded = Some(name);
    }

    /// Returns whether the directory `name` of the root has one of [`ALIASES`] under which it can't
    /// be told from others, since it shows another inode there.
    pub(super) fn has_untold_alias(&self, name: &str) -> Result<bool, Errno> {
        let inode = |name: &str| {
            let stat = self.syscalls.stat(self.walk_from(&self.dir, name, LOOK, MAY_WAIT)?)?;
            Ok((meta::kind(&stat), stat.st_dev, stat.st_ino))
        };
        let Some(own) = missing_as_none(inode(name))? else { return Ok(false) };
        for alias in ALIASES {
            match missing_as_none(inode(alias))? {
                Some(other) if other.0 == FileType::Directory && other != own && !self.lists(alias)? => {
                    return Ok(true);
                }
                _ => {}
            }
        }
        Ok(false)
    }

    /// Returns whether an entry of the root is listed by this name, ignoring case.
    fn lists(&self, name: &str) -> Result<bool, Errno> {
        for entry in self.syscalls.list(&self.dir)? {
            if entry?.file_name().to_bytes().eq_ignore_ascii_case(name.as_bytes()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns the absolute path that leads to it now, through no link; [`None`] where that is not known.
    pub(super) fn path(&self) -> Option<PathBuf> {
        let path = path_of(&self.dir).ok()?.into_bytes();
        path.starts_with(b"/").then(|| PathBuf::from(OsString::from_vec(path)))
    }

    pub(super) fn dir(&self) -> &OwnedFd {
        &self.dir
    }

    /// Returns whether the kernel knows walks that ask no disk: one before 5.12 does not.
    pub(super) fn knows_cached_walks(&self) -> bool {
        let (flags, resolve) = (OFlags::PATH | OFlags::DIRECTORY, CONFINED | ResolveFlags::CACHED);
        matches!(self.syscalls.open_beneath(&self.dir, ".", flags, resolve), Ok(_) | Err(Errno::AGAIN))
    }

    /// Opens the file `name` for reading; if `cached`, [`Errno::AGAIN`] where a disk would have to be asked.
    ///
    /// It was [looked at](Self::stat) before, and is a file, as `stat` tells: to open a FIFO lets a writer go on that waits for
    /// a reader, and to open a device may do anything. The time of the last access stays as it is
    /// wherever that is allowed: to write it may wait for the disk.
    pub(super) fn open_file(&self, name: &Name, stat: &Stat, cached: bool) -> Result<OwnedFd, Errno> {
        debug_assert_eq!(meta::kind(stat), FileType::RegularFile, "what is no file is not opened");
        let wait = if cached { ResolveFlags::CACHED } else { MAY_WAIT };
        let open = |flags| self.walk(name.as_str(), OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | flags, wait);
        let owned = stat.st_uid == self.user;
        if owned || self.may_leave_times.load(Ordering::Relaxed) {
            match open(OFlags::NOATIME) {
                // The owner has changed, or another machine knows other owners.
                Err(Errno::PERM) => self.may_leave_times.store(false, Ordering::Relaxed),
                opened => return opened,
            }
        }
        open(OFlags::empty())
    }

    /// Returns the status of `name`; if `cached`, [`Errno::AGAIN`] where a disk would have to be asked.
    pub(super) fn stat(&self, name: &Name, cached: bool) -> Result<Stat, Errno> {
        let wait = if cached { ResolveFlags::CACHED } else { MAY_WAIT };
        self.syscalls.stat(self.walk(name.as_str(), LOOK, wait)?)
    }

    /// Holds `name` without opening it, so that its inode outlives an unlink.
    pub(super) fn hold(&self, name: &Name) -> Result<OwnedFd, Errno> {
        self.walk(name.as_str(), LOOK, MAY_WAIT)
    }

    /// Opens the directory `name`, or the root: one that can be listed and fsynced.
    pub(super) fn open_dir(&self, name: Option<&str>) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        match name {
            Some(name) => self.walk(name, flags, MAY_WAIT),
            None => self.walk_from(&self.dir, ".", flags, MAY_WAIT),
        }
    }

    /// Returns the status of the entry `name` of `dir`, of a symbolic link itself. Where something
    /// is mounted on it that is [`Errno::XDEV`], and nobody is asked what.
    pub(super) fn stat_entry(&self, dir: &OwnedFd, name: &str) -> Result<Stat, Errno> {
        let stat = match self.mounts.as_ref().is_none_or(Mounts::any_below) {
            true => self.syscalls.stat(self.walk_from(dir, name, LOOK, MAY_WAIT)?)?,
            false => self.syscalls.stat_entry(dir, name)?,
        };
        self.keep_out(&stat, MAY_WAIT)?;
        Ok(stat)
    }

    /// Returns whether something is mounted on the entry `name` of `dir`.
    pub(super) fn is_mounted_on(&self, dir: &OwnedFd, name: &str) -> bool {
        matches!(self.walk_from(dir, name, LOOK, MAY_WAIT), Err(Errno::XDEV))
    }

    /// Walks from the root. `wait` may be [`ResolveFlags::CACHED`].
    fn walk(&self, path: &str, flags: OFlags, wait: ResolveFlags) -> Result<OwnedFd, Errno> {
        if self.guarded.is_none() {
            return self.walk_from(&self.dir, path, flags, wait);
        }
        // The guarded entry lies in the root: the first step alone can lead to it.
        let (first, rest) = path.split_once('/').map_or((path, None), |(first, rest)| (first, Some(rest)));
        let flags_of_first = if rest.is_some() { OFlags::PATH | OFlags::DIRECTORY } else { flags };
        let reached = self.walk_from(&self.dir, first, flags_of_first, wait)?;
        self.keep_out(&self.syscalls.stat(&reached)?, wait)?;
        match rest {
            Some(rest) => self.walk_from(&reached, rest, flags, wait),
            None => Ok(reached),
        }
    }

    /// Returns [`Errno::NOENT`] where `stat` is that of the guarded entry.
    fn keep_out(&self, stat: &Stat, wait: ResolveFlags) -> Result<(), Errno> {
        let Some(guarded) = self.guarded.filter(|_| meta::kind(stat) == FileType::Directory) else { return Ok(()) };
        match self.walk_from(&self.dir, guarded, LOOK, wait) {
            Ok(corner) => match self.syscalls.stat(corner)? {
                corner if (corner.st_dev, corner.st_ino) == (stat.st_dev, stat.st_ino) => Err(Errno::NOENT),
                _ => Ok(()),
            },
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn walk_from(&self, dir: &OwnedFd, path: &str, flags: OFlags, wait: ResolveFlags) -> Result<OwnedFd, Errno> {
        for _ in 0..WALKS {
            match self.syscalls.open_beneath(dir, path, flags, CONFINED | wait) {
                Err(Errno::AGAIN) if wait == MAY_WAIT => {}
                walked => return walked,
            }
        }
        Err(Errno::AGAIN)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        time::Duration,
    };

    use super::*;
    use crate::store::{
        Call, Change, ChangeNumber, Durability, ErrorKind, LeaseOptions, NameCompletion, NameOperation, ReadCompletion,
        ReadOperation, SCRATCH_BYTES, Store, StoreOptions, SystemError, Watcher,
    };

    /// A file system that has given up what is held open, so many times.
    #[derive(Debug, Default)]
    struct Forgetful {
        times: AtomicUsize,
        calls: AtomicUsize,
    }

    impl Watcher for Forgetful {
        fn before(&self, call: &Call<'_>) -> Result<(), Errno> {
            match call {
                // As a kind that nobody knows, it is asked by helpers alone.
                Call::FileSystem { .. } => Err(Errno::NOSYS),
                Call::Stat { .. } | Call::Mkdir { .. } | Call::Unlink { .. } | Call::Rename { .. } => {
                    self.calls.fetch_add(1, Ordering::Relaxed);
                    let left = |left: usize| left.checked_sub(1);
                    match self.times.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left) {
                        Ok(_) => Err(Errno::STALE),
                        Err(_) => Ok(()),
                    }
                }
                _ => Ok(()),
            }
        }

        fn after(&self, _: &Call<'_>) {}
    }

    /// Does `ask` where the file system has given up what it meets for so many times. Returns the kind of its error
    /// and the calls that met that.
    fn forgotten(times: usize, ask: impl Fn(&Store) -> Option<ErrorKind>) -> (Option<ErrorKind>, usize) {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("file"), b"content").unwrap();
        let options = StoreOptions {
            root: root.path().into(),
            writable: true,
            durability: Durability::None,
            max_staged: 0,
            max_kept: 0,
            keep: Duration::ZERO,
            crc_cache: 0,
            small_cache: 0,
            mounts: MountTable::default(),
            leasing: LeaseOptions::default(),
        };
        let watcher = Arc::new(Forgetful::default());
        let store = Store::open_watched(&options, Some(watcher.clone())).unwrap();
        watcher.times.store(times, Ordering::Relaxed);
        let before = watcher.calls.load(Ordering::Relaxed);
        let kind = ask(&store);
        let met = times - watcher.times.load(Ordering::Relaxed);
        assert!(watcher.calls.load(Ordering::Relaxed) > before);
        (kind, met)
    }

    #[test]
    fn an_entry_that_was_given_up_is_looked_up_again_once_and_then_busy() {
        let name = |name: &str| Name::new(name).unwrap();
        let read = |store: &Store, operation| {
            let error = match store.read(operation, &mut vec![0; SCRATCH_BYTES], &|| true) {
                ReadCompletion::Opened(opened) => opened.err(),
                ReadCompletion::Found(found) => found.err(),
                ReadCompletion::Listed(listed) => listed.err(),
                other => panic!("{other:?}"),
            };
            error.map(|error| error.kind)
        };
        let change = |store: &Store, change| match &*store
            .change_names(&mut vec![NameOperation::Change(ChangeNumber(0), change)].into_iter())
        {
            [NameCompletion::Changed(_, changed)] => changed.as_ref().err().map(|error| error.kind),
            other => panic!("{other:?}"),
        };
        type Ask<'a> = Box<dyn Fn(&Store) -> Option<ErrorKind> + 'a>;
        let open = || ReadOperation::Open { name: name("file"), offset: 0, length: None, tag: None, inline: 1 << 16 };
        let requests: [Ask<'_>; 6] = [
            Box::new(|store| read(store, open())),
            Box::new(|store| read(store, ReadOperation::Stat { name: name("file") })),
            Box::new(|store| read(store, ReadOperation::List { name: None })),
            Box::new(|store| change(store, Change::Mkdir(name("new")))),
            Box::new(|store| change(store, Change::Delete(name("file")))),
            Box::new(|store| change(store, Change::Rename(name("file"), name("new")))),
        ];
        for (number, ask) in requests.iter().enumerate() {
            assert_eq!(forgotten(1, ask), (None, 1), "request {number}");
            let busy = ErrorKind::System(SystemError::Stale);
            assert_eq!(forgotten(9, ask), (Some(busy), 2), "request {number}: it is looked up twice, and no more");
        }
    }
}
