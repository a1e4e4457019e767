//! The one held directory through which every path goes.

use std::{io, os::fd::OwnedFd, path::Path};

use ferry_wire::Name;
use rustix::{
    fs::{Mode, OFlags, ResolveFlags, Stat},
    io::Errno,
};

use super::{
    kernel::Kernel,
    mounts::{MountTable, Mounts},
};

/// No name leaves the root, crosses a symbolic link or a mount, or goes through a magic link of
/// /proc: openat2(2) sees to it in the kernel, where nothing can change underneath.
const CONFINED: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// How often a path is walked anew when a rename elsewhere disturbed the walk.
const WALKS: usize = 16;

/// The held directory.
#[derive(Debug)]
pub(super) struct Root {
    kernel: Kernel,
    dir: OwnedFd,
    mounts: Option<Mounts>,
}

impl Root {
    pub(super) fn open(kernel: Kernel, path: &Path) -> Result<Root, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(path, flags, Mode::empty())?;
        // A kernel without openat2 (before 5.6) must be found out now, not at the first request.
        kernel.open_beneath(&dir, ".", flags, CONFINED)?;
        Ok(Root { kernel, dir, mounts: None })
    }

    /// From here on it is known where nothing is mounted; before, everything is looked at as if something were.
    pub(super) fn watch_mounts(&mut self, table: &MountTable) -> io::Result<()> {
        self.mounts = Some(Mounts::watch(&self.dir, table)?);
        Ok(())
    }

    pub(super) fn dir(&self) -> &OwnedFd {
        &self.dir
    }

    /// Whether the kernel knows walks that ask no disk: one before 5.12 does not.
    pub(super) fn knows_cached_walks(&self) -> bool {
        let (flags, resolve) = (OFlags::PATH | OFlags::DIRECTORY, CONFINED | ResolveFlags::CACHED);
        matches!(self.kernel.open_beneath(&self.dir, ".", flags, resolve), Ok(_) | Err(Errno::AGAIN))
    }

    /// Opens `name` for reading. A FIFO does not make it wait.
    pub(super) fn open_file(&self, name: &Name) -> Result<OwnedFd, Errno> {
        self.walk(name.as_str(), OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)
    }

    /// Opens `name` for reading if no disk has to be asked for it: [`Errno::AGAIN`] if one must.
    pub(super) fn open_cached(&self, name: &Name) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        self.kernel.open_beneath(&self.dir, name.as_str(), flags, CONFINED | ResolveFlags::CACHED)
    }

    /// The status of `name`; if `cached`, [`Errno::AGAIN`] where a disk would have to be asked.
    pub(super) fn stat(&self, name: &Name, cached: bool) -> Result<Stat, Errno> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        let file = if cached {
            self.kernel.open_beneath(&self.dir, name.as_str(), flags, CONFINED | ResolveFlags::CACHED)?
        } else {
            self.walk(name.as_str(), flags)?
        };
        self.kernel.stat(&file)
    }

    /// Holds `name` without opening it, so that its inode outlives an unlink.
    pub(super) fn hold(&self, name: &Name) -> Result<OwnedFd, Errno> {
        self.walk(name.as_str(), OFlags::PATH | OFlags::NOFOLLOW)
    }

    /// Opens the directory `name`, or the root: one that can be listed and fsynced.
    pub(super) fn open_dir(&self, name: Option<&str>) -> Result<OwnedFd, Errno> {
        self.walk(name.unwrap_or("."), OFlags::RDONLY | OFlags::DIRECTORY)
    }

    /// The status of the entry `name` of `dir`, of a symbolic link itself. Where something is mounted on it that
    /// is [`Errno::XDEV`], and nobody is asked what.
    pub(super) fn stat_entry(&self, dir: &OwnedFd, name: &str) -> Result<Stat, Errno> {
        match self.mounts.as_ref().is_none_or(Mounts::any_below) {
            true => self.kernel.stat(self.walk_from(dir, name, OFlags::PATH | OFlags::NOFOLLOW)?),
            false => self.kernel.stat_entry(dir, name),
        }
    }

    /// Whether something is mounted on the entry `name` of `dir`.
    pub(super) fn is_mounted_on(&self, dir: &OwnedFd, name: &str) -> bool {
        matches!(self.walk_from(dir, name, OFlags::PATH | OFlags::NOFOLLOW), Err(Errno::XDEV))
    }

    fn walk(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        self.walk_from(&self.dir, path, flags)
    }

    fn walk_from(&self, dir: &OwnedFd, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        for _ in 0..WALKS {
            match self.kernel.open_beneath(dir, path, flags, CONFINED) {
                Err(Errno::AGAIN) => {}
                walked => return walked,
            }
        }
        Err(Errno::AGAIN)
    }
}
