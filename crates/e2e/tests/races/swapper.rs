//! Swapping names with links.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use rustix::fs::{CWD, Mode, OFlags, RenameFlags, openat, renameat_with};

/// How a name becomes a link.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Way {
    /// In one step: `renameat2(RENAME_EXCHANGE)`.
    Exchange,
    /// The name is moved away, a link is made, removed, and the name is moved back.
    RemoveAndLink,
}

/// The directory `d` and the file `l` of a root, each with a link to take its place.
pub(crate) struct Swapper {
    root: PathBuf,
    place: PathBuf,
    way: Way,
}

impl Swapper {
    pub(crate) fn new(root: &Path, place: &Path, way: Way) -> Swapper {
        let swapper = Swapper { root: root.into(), place: place.into(), way };
        fs::write(root.join("own"), b"a client's own").unwrap();
        swapper.restore();
        swapper
    }

    /// Makes what clients have taken away: they may.
    fn restore(&self) {
        for (name, target) in [("d", self.place.clone()), ("l", self.place.join("f"))] {
            let (real, link) = (self.root.join(name), self.root.join(format!("{name}-link")));
            // In the way of nobody but a client, who may have been quicker: never through a link.
            if name == "d" {
                let _ = fs::create_dir(&real);
            } else if let Ok(mut file) = fs::File::create_new(&real) {
                let _ = file.write_all(b"plain");
            }
            if fs::symlink_metadata(&link).is_err() {
                let _ = symlink(target, &link);
            }
        }
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
        if let Ok(dir) = openat(CWD, self.root.join("d"), flags, Mode::empty()) {
            let _ = openat(&dir, "f", OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY, Mode::RUSR | Mode::WUSR);
        }
    }

    /// Swaps until `done`; gives how often.
    pub(crate) fn run(&self, done: &AtomicBool) -> u64 {
        let mut swaps = 0;
        while !done.load(Ordering::Relaxed) {
            for name in ["d", "l"] {
                swaps += u64::from(self.swap(name));
            }
            if swaps % 8 == 0 {
                self.restore();
            }
            thread::yield_now();
        }
        swaps
    }

    fn swap(&self, name: &str) -> bool {
        let (real, link, aside) =
            (self.root.join(name), self.root.join(format!("{name}-link")), self.root.join(format!("{name}-aside")));
        match self.way {
            Way::Exchange => {
                let swapped = renameat_with(CWD, &real, CWD, &link, RenameFlags::EXCHANGE).is_ok();
                if !swapped {
                    self.restore();
                }
                swapped
            }
            Way::RemoveAndLink => {
                if fs::rename(&real, &aside).is_err() {
                    self.restore();
                    return false;
                }
                let target = if name == "d" { self.place.clone() } else { self.place.join("f") };
                let linked = symlink(target, &real).is_ok();
                thread::yield_now();
                // A client may have moved the link, or put something in its place.
                if fs::symlink_metadata(&real).is_ok_and(|found| found.is_symlink()) {
                    let _ = fs::remove_file(&real);
                }
                let _ = renameat_with(CWD, &aside, CWD, &real, RenameFlags::NOREPLACE);
                linked
            }
        }
    }
}
