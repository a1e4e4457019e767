//! File systems that can't do all that ext4 can: the calls that they refuse.

use ferry_server::store::{Call, Watcher};
use rustix::{fs::Stat, io::Errno};

/// The ability that a file system, or its kernel, lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lack {
    Nothing,
    /// Its kind is unknown: so it may be anywhere, and its syncfs may mean nothing.
    Kind,
    /// `RENAME_NOREPLACE`.
    NoReplace,
    /// `RENAME_NOREPLACE`, and second names of files.
    Links,
    /// `RWF_NOWAIT`.
    NoWait,
    /// `RESOLVE_CACHED`.
    CachedWalks,
    /// fallocate(2).
    Room,
    /// Fractions of a second in times.
    FineTimes,
}

impl Lack {
    pub(crate) const ALL: [Lack; 7] =
        [Lack::Kind, Lack::NoReplace, Lack::Links, Lack::NoWait, Lack::CachedWalks, Lack::Room, Lack::FineTimes];

    /// Returns whether a rename takes more than one call.
    pub(crate) fn of_rename(self) -> bool {
        matches!(self, Lack::NoReplace | Lack::Links)
    }

    /// Returns what such a file system says to `call`, if it refuses it.
    pub(crate) fn refuses(self, call: &Call<'_>) -> Option<Errno> {
        match (self, call) {
            (Lack::Kind, Call::FileSystem { .. }) => Some(Errno::NOSYS),
            (Lack::NoReplace | Lack::Links, Call::Rename { replace: false, .. }) => Some(Errno::INVAL),
            (Lack::Links, Call::Link { .. }) => Some(Errno::PERM),
            (Lack::NoWait, Call::Read { nowait: true, .. }) => Some(Errno::OPNOTSUPP),
            (Lack::CachedWalks, Call::Open { cached: true, .. }) => Some(Errno::INVAL),
            (Lack::Room, Call::Reserve { .. }) => Some(Errno::OPNOTSUPP),
            _ => None,
        }
    }

    /// Makes `stat` what such a file system tells.
    pub(crate) fn coarsens(self, stat: &mut Stat) {
        if self == Lack::FineTimes {
            (stat.st_atime_nsec, stat.st_mtime_nsec, stat.st_ctime_nsec) = (0, 0, 0);
        }
    }
}

impl Watcher for Lack {
    fn before(&self, call: &Call<'_>) -> Result<(), Errno> {
        self.refuses(call).map_or(Ok(()), Err)
    }

    fn told(&self, stat: &mut Stat) {
        self.coarsens(stat);
    }

    fn after(&self, _: &Call<'_>) {}
}
