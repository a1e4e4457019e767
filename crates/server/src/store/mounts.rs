//! Whether anything is mounted below the root.
//!
//! A call for the status of a mount point goes to the file system mounted there. That may be
//! another machine or a program, and may never answer. A walk by openat2 stops in front of it, but
//! costs three calls for one. So it is known at any time whether there is a mount to stop at: a
//! thread waits for the kernel's table of mounts to change, and reads it anew.

use std::{
    ffi::CString,
    fmt, io,
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::{Mode, OFlags, open, readlink},
    io::{Errno, pread},
};

use super::mountinfo::Mount;

pub(super) const TABLE: &str = "/proc/self/mountinfo";

/// The kernel's table of mounts, opened before the fence goes up: one store at a time can watch it. By
/// default each store opens its own.
#[derive(Debug, Clone, Default)]
pub struct MountTable(Option<Arc<OwnedFd>>);

impl MountTable {
    /// Opens the table. Where that fails, a store takes it that anything may be mounted.
    #[must_use]
    pub fn open() -> MountTable {
        MountTable(open_table().ok().map(Arc::new))
    }

    fn get(&self) -> Result<Arc<OwnedFd>, Errno> {
        self.0.clone().map_or_else(|| open_table().map(Arc::new), Ok)
    }

    /// Returns what is mounted where the absolute `path` lies, where that can be known.
    pub(super) fn mount_at(&self, path: &Path) -> Option<Mount> {
        let table = self.get().and_then(|table| read_whole(&table)).ok()?;
        Mount::of(path, &table)
    }
}

fn open_table() -> Result<OwnedFd, Errno> {
    open(TABLE, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// Knows whether anything is mounted below a root.
pub(super) struct Mounts {
    below: Arc<AtomicBool>,
    /// The thread, which ends when the pipe is closed.
    watch: Mutex<Option<(io::PipeWriter, thread::JoinHandle<()>)>>,
}

impl fmt::Debug for Mounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mounts({})", self.any_below())
    }
}

impl Mounts {
    /// Begins to watch. Where the table can't be read, something may always be mounted.
    pub(super) fn watch(root: &OwnedFd, table: &MountTable) -> io::Result<Mounts> {
        let below = Arc::new(AtomicBool::new(true));
        let look = |root: &OwnedFd| table.get().and_then(|table| Ok((any_below(root, &table)?, table)));
        let Ok((any, table)) = look(root) else {
            return Ok(Mounts { below, watch: Mutex::default() });
        };
        below.store(any, Ordering::Relaxed);
        let (ended, end) = io::pipe()?;
        let (root, told) = (root.try_clone()?, below.clone());
        let watch = move || {
            while wait(&table, &ended) {
                told.store(any_below(&root, &table).unwrap_or(true), Ordering::Relaxed);
            }
            told.store(true, Ordering::Relaxed);
        };
        let thread = thread::Builder::new().name("ferry-mounts".into()).spawn(watch)?;
        Ok(Mounts { below, watch: Mutex::new(Some((end, thread))) })
    }

    /// Ends to watch, so that the table can be watched by others. From here on something may always be mounted.
    pub(super) fn end(&self) {
        if let Some((end, thread)) = self.watch.lock().unwrap_or_else(PoisonError::into_inner).take() {
            drop(end);
            let _ = thread.join();
        }
    }

    /// Returns whether something is mounted below the root, or that is not known. A mount made in
    /// this very moment may not have been noticed yet.
    pub(super) fn any_below(&self) -> bool {
        self.below.load(Ordering::Relaxed)
    }
}

/// Waits until the table has changed since it was opened, or since this last said so; false at the end.
fn wait(table: &OwnedFd, ended: &io::PipeReader) -> bool {
    loop {
        let mut both = [PollFd::new(table, PollFlags::PRI), PollFd::new(ended, PollFlags::empty())];
        match poll(&mut both, None) {
            Err(Errno::INTR) => {}
            Err(_) => return false,
            Ok(_) if !both[1].revents().is_empty() => return false,
            Ok(_) if !both[0].revents().is_empty() => return true,
            Ok(_) => {}
        }
    }
}

/// Returns whether `table` has a mount point below `root`, wherever that has been moved to meanwhile.
fn any_below(root: &OwnedFd, table: &OwnedFd) -> Result<bool, Errno> {
    let path = path_of(root)?;
    let text = read_whole(table)?;
    Ok(!path.as_bytes().starts_with(b"/") || has_mount_below(path.as_bytes(), &text))
}

/// Returns the path that leads to an open directory now.
pub(super) fn path_of(dir: &OwnedFd) -> Result<CString, Errno> {
    readlink(format!("/proc/self/fd/{}", dir.as_raw_fd()), Vec::new())
}

fn read_whole(table: &OwnedFd) -> Result<Vec<u8>, Errno> {
    let mut text = Vec::new();
    loop {
        let mut piece = [0; 16 << 10];
        match pread(table, &mut piece, text.len() as u64)? {
            0 => return Ok(text),
            read => text.extend_from_slice(&piece[..read]),
        }
    }
}

/// Returns whether a line of `table`, as proc_pid_mountinfo(5) describes it, has a mount point below `root`.
fn has_mount_below(root: &[u8], table: &[u8]) -> bool {
    let mut above: Vec<u8> = root.iter().flat_map(|&byte| escape(byte)).collect();
    if !above.ends_with(b"/") {
        above.push(b'/');
    }
    let mount_points = table.split(|&byte| byte == b'\n').filter_map(|line| line.split(|&byte| byte == b' ').nth(4));
    mount_points.into_iter().any(|point| point.len() > above.len() && point.starts_with(&above))
}

/// Returns a byte of a path, as the table has it.
fn escape(byte: u8) -> Vec<u8> {
    match byte {
        b' ' | b'\t' | b'\n' | b'\\' => format!("\\{byte:03o}").into_bytes(),
        byte => vec![byte],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mounts_below_the_root_count() {
        let table = b"21 1 8:1 / / rw - ext4 /dev/a rw\n\
            22 21 0:5 / /srv/a\\040b rw shared:1 - tmpfs none rw\n\
            23 21 0:6 / /srv/a\\040b/\\134c/d rw - fuse x rw\n";
        for (root, expected) in [
            ("/", true),
            ("/srv", true),
            ("/srv/a b", true),
            ("/srv/a b/\\c", true),
            ("/srv/a b/\\c/d", false),
            ("/srv/a b/c", false),
            ("/sr", false),
            ("/srv/a", false),
        ] {
            assert_eq!(has_mount_below(root.as_bytes(), table), expected, "{root}");
        }
        assert!(!has_mount_below(b"/", b"21 1 8:1 / / rw - ext4 /dev/a rw\n"));
    }
}
