//! Real file systems for tests, mounted where nobody else sees them.
//!
//! They need root, `/dev/fuse` and the programs that make them. Elsewhere a test skips itself with a printed word;
//! where the environment has [`MUST`], as CI sets it, that is a failure.

use std::{
    env,
    fs::File,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nix::sched::{CloneFlags, unshare};
use rustix::{
    mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount},
    process::geteuid,
};
use tempfile::TempDir;

/// With this in the environment a test of a real file system fails where it can't run.
pub const MUST: &str = "FERRY_TEST_FILESYSTEMS";

/// Gives this thread, and all that it starts, mounts of its own, which end with it however that ends. False, with
/// a printed word, where this can't be had: the test is to be skipped.
///
/// # Panics
///
/// Panics where it can't be had though [`MUST`] says so.
#[must_use]
#[track_caller]
pub fn private(programs: &[&str]) -> bool {
    match why_not(programs) {
        None => true,
        Some(why) => {
            assert!(env::var_os(MUST).is_none(), "{MUST} is set, but: {why}");
            eprintln!("skipped: {why}");
            false
        }
    }
}

/// Whether this thread has mounts of its own.
#[must_use]
pub fn are_private() -> bool {
    let of = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/mnt")).ok();
    of("thread-self").is_some() && of("thread-self") != of("1")
}

/// Whether this kernel has file systems of this kind; if not, with a printed word.
#[must_use]
pub fn knows(kind: &str) -> bool {
    // A file system that is a module is loaded by the first mount.
    let loaded = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let knows = loaded.split_whitespace().any(|known| known == kind)
        || Command::new("modprobe").arg(kind).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !knows {
        eprintln!("skipped: this kernel knows no {kind}");
    }
    knows
}

fn why_not(programs: &[&str]) -> Option<String> {
    if !geteuid().is_root() {
        return Some("only root may mount".into());
    }
    if !Path::new("/dev/fuse").exists() {
        return Some("no /dev/fuse here".into());
    }
    if let Some(missing) = programs.iter().find(|program| !is_there(program)) {
        return Some(format!("no {missing} here"));
    }
    if let Err(error) = unshare(CloneFlags::CLONE_NEWNS) {
        return Some(format!("no mounts of one's own here: {error}"));
    }
    // Mounts made from here on must not be seen by others.
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).err().map(|error| error.to_string())
}

fn is_there(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let beside = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(beside).any(|directory| directory.join(program).is_file())
}

/// A file system on a loop device, or whatever `mount` makes. Dropping it unmounts it.
#[derive(Debug)]
pub struct Mount {
    place: TempDir,
}

impl Mount {
    /// Makes a file system in `image`, `bytes` long, by the program and the arguments `make`, and mounts it with
    /// `options`.
    ///
    /// # Panics
    ///
    /// Panics where that fails.
    #[must_use]
    #[track_caller]
    pub fn make(image: &Path, bytes: u64, make: &[&str], options: &str) -> Mount {
        let file = File::create(image).expect("an image");
        file.set_len(bytes).expect("room for the image");
        drop(file);
        let (program, arguments) = make.split_first().expect("a program");
        run(Command::new(program).args(arguments).arg(image));
        Mount::of(image, &format!("loop,{options}"))
    }

    /// Mounts `image` with `options`.
    ///
    /// # Panics
    ///
    /// Panics where that fails.
    #[must_use]
    #[track_caller]
    pub fn of(image: &Path, options: &str) -> Mount {
        let place = place();
        run(Command::new("mount").args(["-o", options]).args([image, place.path()]));
        Mount { place }
    }

    /// Mounts a file system in memory that holds so many bytes.
    ///
    /// # Panics
    ///
    /// Panics where that fails.
    #[must_use]
    #[track_caller]
    pub fn memory(bytes: u64) -> Mount {
        let place = place();
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"]).arg(place.path()));
        Mount { place }
    }

    /// Mounts an overlay of two empty directories in `upper` over `lower`.
    ///
    /// # Panics
    ///
    /// Panics where that fails.
    #[must_use]
    #[track_caller]
    pub fn overlay(lower: &Path, upper: &Path) -> Mount {
        let [upper, work] = ["upper", "work"].map(|name| upper.join(name));
        for directory in [&upper, &work] {
            std::fs::create_dir_all(directory).expect("a directory");
        }
        let place = place();
        let options = format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
        run(Command::new("mount").args(["-t", "overlay", "overlay", "-o", &options]).arg(place.path()));
        Mount { place }
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.place.path()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(error) = unmount(self.place.path(), UnmountFlags::empty()) {
            // It ends with its namespace at the latest.
            eprintln!("{} is still in use: {error}", self.place.path().display());
            let _ = unmount(self.place.path(), UnmountFlags::DETACH);
        }
    }
}

fn place() -> TempDir {
    tempfile::Builder::new().prefix("ferry-mount-").tempdir().expect("a temporary directory")
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?} fails: {}", String::from_utf8_lossy(&output.stderr));
}
