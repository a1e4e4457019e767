//! Opening what is beneath a held directory, by the kernel's own rule or step by step.

use std::{
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::{Component, Path},
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags},
    io::Errno,
};

/// No path leaves the directory, crosses a symbolic link or goes through a magic link of /proc. Other file systems may be
/// mounted beneath it: who mounts is not who swaps a link.
const CONFINED: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// How often a path is walked anew when a rename elsewhere disturbed the walk.
const WALKS: usize = 16;

/// Opens `path` beneath `root`, or `root` itself where it is empty, and follows no symbolic link; [`Errno::LOOP`] where one
/// stands in it, [`Errno::XDEV`] where it is not relative or has a `..`.
///
/// Kernels before 5.6 have no openat2(2), and a filter of system calls may refuse it: then every component is opened by
/// itself, relative to the one before, which is as confined and takes one call each.
pub(super) fn open_beneath(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    static REFUSED: AtomicBool = AtomicBool::new(false);
    let flags = flags | OFlags::CLOEXEC;
    if REFUSED.load(Ordering::Relaxed) {
        return open_by_steps(root, path, flags);
    }
    match open_at_once(root, path, flags) {
        // EPERM is said by filters of system calls, and of files as well: these say it again, step by step.
        Err(refusal @ (Errno::NOSYS | Errno::PERM)) => {
            let opened = open_by_steps(root, path, flags);
            if refusal == Errno::NOSYS || opened.is_ok() {
                REFUSED.store(true, Ordering::Relaxed);
            }
            opened
        }
        // Somebody renames without end: a walk in steps is not disturbed by that.
        Err(Errno::AGAIN) => open_by_steps(root, path, flags),
        opened => opened,
    }
}

fn open_at_once(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    for _ in 0..WALKS {
        match rustix::fs::openat2(root, path, flags, Mode::empty(), CONFINED) {
            Err(Errno::AGAIN) => {}
            opened => return opened,
        }
    }
    Err(Errno::AGAIN)
}

fn open_by_steps(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut components = path.components().filter(|component| *component != Component::CurDir).peekable();
    let mut above: Option<OwnedFd> = None;
    loop {
        let at = above.as_ref().map_or(root, |fd| fd.as_fd());
        let name = match components.next() {
            None => return rustix::fs::openat(at, ".", flags, Mode::empty()),
            Some(Component::Normal(name)) => name,
            Some(_) => return Err(Errno::XDEV),
        };
        let is_last = components.peek().is_none();
        let flags = if is_last { flags | OFlags::NOFOLLOW } else { step };
        let opened = rustix::fs::openat(at, name, flags, Mode::empty()).map_err(|errno| {
            // Asked for as a directory, a link is said to be none.
            let is_link = errno == Errno::NOTDIR
                && rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW)
                    .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink);
            if is_link { Errno::LOOP } else { errno }
        })?;
        if is_last {
            return Ok(opened);
        }
        above = Some(opened);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink};

    #[test]
    fn no_link_leads_out_however_paths_are_opened() {
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at = |name: &str| inside.path().join(name);
        fs::create_dir_all(at("a/b")).unwrap();
        fs::write(at("a/b/file"), "inside").unwrap();
        fs::write(outside.path().join("file"), "outside").unwrap();
        symlink(outside.path(), at("a/out")).unwrap();
        symlink("b", at("a/in")).unwrap();
        symlink("file", at("a/b/link")).unwrap();
        symlink("/proc/self/cwd", at("a/magic")).unwrap();
        let root = fs::File::open(inside.path()).unwrap();
        let ways = [open_at_once, open_by_steps, open_beneath];
        for (path, flags, expected) in [
            ("", OFlags::DIRECTORY, Ok(())),
            ("a", OFlags::DIRECTORY, Ok(())),
            ("a/b", OFlags::DIRECTORY, Ok(())),
            ("a/b/file", OFlags::empty(), Ok(())),
            ("a/b/file", OFlags::DIRECTORY, Err(Errno::NOTDIR)),
            ("a/b/file/x", OFlags::empty(), Err(Errno::NOTDIR)),
            ("a/b/missing", OFlags::empty(), Err(Errno::NOENT)),
            ("a/missing/file", OFlags::empty(), Err(Errno::NOENT)),
            ("a/out", OFlags::DIRECTORY, Err(Errno::LOOP)),
            ("a/out/file", OFlags::empty(), Err(Errno::LOOP)),
            ("a/in/file", OFlags::empty(), Err(Errno::LOOP)),
            ("a/b/link", OFlags::empty(), Err(Errno::LOOP)),
            ("a/magic/x", OFlags::empty(), Err(Errno::LOOP)),
            ("a/b/link", OFlags::PATH | OFlags::NOFOLLOW, Ok(())),
            ("../x", OFlags::empty(), Err(Errno::XDEV)),
            ("/etc/passwd", OFlags::empty(), Err(Errno::XDEV)),
        ] {
            for (way, open) in ways.iter().enumerate() {
                let opened = open(root.as_fd(), Path::new(path), OFlags::RDONLY | flags);
                match opened.map(drop) {
                    // A kernel without it is a reason for the other way, not a failure.
                    Err(Errno::NOSYS) if way == 0 => {}
                    opened => assert_eq!(opened, expected, "{path:?} by way {way}"),
                }
            }
        }
    }
}
