//! Local files: read for uploads ([`Source`]), staged and published for downloads ([`Staged`], and [`PartialFile`] where
//! they are large), made and deleted. Each is reached by a [`LocalPath`], most of them beneath a directory that is held. No
//! network here.

mod changes;
mod clash;
mod directory;
mod held;
mod journal;
mod lock;
mod partial;
mod resolve;
mod source;
mod sparse;
mod staged;
mod watch;

use std::{fs::File, io::Read as _, os::fd::AsFd};

use ferry_wire::Time;
use rustix::{
    fs::{FileType, OFlags, Stat, Timespec, Timestamps, UTIME_NOW},
    io::Errno,
};

use crate::error::Error;

pub(crate) use changes::make_directories;
pub(crate) use clash::{clashes, repeated};
pub(crate) use directory::LastDirectory;
pub(crate) use held::LINK;
pub use held::{HeldDirectory, LocalPath};
pub(crate) use journal::{checked_line, checkpoint, hash, line, parse_checkpoint};
pub(crate) use lock::lock;
pub(crate) use partial::{PartialFile, append_lines, is_staged};
pub use source::sha256_of;
pub(crate) use source::{Source, Stamp, Version};
pub(crate) use sparse::{Layout, make_hole};
pub(crate) use staged::{RESERVE_BYTES, Staged, check_target, reserve};
pub use watch::{Changed, TreeWatch};

/// Returns what is in a small file, up to `most` bytes; [`None`] where there is none.
pub(crate) fn contents(path: &LocalPath, most: u64) -> Result<Option<Vec<u8>>, Error> {
    // It never waits: a FIFO without a writer would hang.
    let file = match path.open(OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        opened => File::from(opened.map_err(|errno| path.failed("read", errno))?),
    };
    let stat = rustix::fs::fstat(&file).map_err(|errno| path.failed("look at", errno))?;
    if let Some(problem) = not_a_file(&stat) {
        return Err(Error::file(&**path, problem));
    }
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes).map_err(|error| Error::local("read", &**path, error))?;
    Ok(Some(bytes))
}

/// Sets the time of the last change of an open file or directory, as far as the system can say it. That of the last access
/// is now: most programs behind FUSE take one without the other for nothing, and tell success.
fn set_mtime(fd: impl AsFd, mtime: Time) -> Result<(), Errno> {
    let Ok(tv_sec) = i64::try_from(mtime.seconds()) else { return Ok(()) };
    let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let last_modification = Timespec { tv_sec, tv_nsec: mtime.nanos().into() };
    rustix::fs::futimens(fd, &Timestamps { last_access, last_modification })
}

/// Why something is no regular file, as the end of a sentence; [`None`] for one that is.
fn not_a_file(stat: &Stat) -> Option<&'static str> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => None,
        FileType::Directory => Some("is a directory, not a file"),
        FileType::Fifo => Some("is a FIFO, not a file"),
        FileType::Socket => Some("is a socket, not a file"),
        _ => Some("is not a regular file"),
    }
}
