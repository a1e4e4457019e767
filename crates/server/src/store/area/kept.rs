//! The names of the files of kept uploads.
//!
//! Where locks exclude all others that can write, the files of an upload are `<id>.data` and
//! `<id>.mark`, and go from hand to hand with the lock.
//!
//! Elsewhere a holder that was stopped may have lost its lock without knowing it. So each holder has
//! names of its own, `<id>.d/<epoch>-<run>-<number>.data` and `.mark`, which nobody else ever gives
//! to anything else: the epochs of one upload count its holders, a *run* is a process's directory,
//! and a process uses a number once. A late holder finds what it had under names that mean nothing
//! any more, or not at all.

use std::{cmp::Ordering, ops::Deref, os::fd::OwnedFd, sync::Arc};

use ferry_wire::{Id, parse_integer};

/// The ending of the directory of one upload.
pub(super) const DIR: &str = ".d";
pub(super) const DATA: &str = ".data";
pub(super) const MARK: &str = ".mark";

/// The names under which a holder has the files of an upload: a later holder's are greater.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) enum Tenure {
    /// Of whoever has the lock.
    Common,
    /// Of one holder alone.
    Own { epoch: u64, run: String, number: u64 },
}

impl Tenure {
    /// Returns how many holders with names of their own there were before, and this one.
    pub(super) fn epoch(&self) -> u64 {
        match self {
            Tenure::Common => 0,
            Tenure::Own { epoch, .. } => *epoch,
        }
    }

    fn key(&self) -> (u64, &str, u64) {
        match self {
            Tenure::Common => (0, "", 0),
            Tenure::Own { epoch, run, number } => (*epoch, run, *number),
        }
    }

    /// Reads a name without its ending.
    pub(super) fn parse(stem: &str) -> Option<Tenure> {
        let (epoch, rest) = stem.split_once('-')?;
        let (run, number) = rest.rsplit_once('-')?;
        let (epoch, number) = (parse_integer(epoch.as_bytes())?, parse_integer(number.as_bytes())?);
        Some(Tenure::Own { epoch, run: run.to_owned(), number })
    }

    /// Returns the name of the file with an ending, of the upload of `id`.
    pub(super) fn file(&self, id: &str, ending: &str) -> String {
        match self {
            Tenure::Common => format!("{id}{ending}"),
            Tenure::Own { epoch, run, number } => format!("{epoch}-{run}-{number}{ending}"),
        }
    }
}

impl PartialOrd for Tenure {
    fn partial_cmp(&self, other: &Tenure) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Tenure {
    fn cmp(&self, other: &Tenure) -> Ordering {
        self.key().cmp(&other.key())
    }
}

/// A kept upload, and how its holder has it.
#[derive(Debug, Clone)]
pub(in crate::store) struct Kept {
    pub(in crate::store) id: Id,
    pub(in crate::store) tenure: Tenure,
    /// The server that holds it, by the name that it was given.
    pub(in crate::store) node: Option<Arc<str>>,
}

impl Kept {
    pub(in crate::store) fn data_name(&self) -> String {
        self.tenure.file(self.id.as_str(), DATA)
    }

    pub(in crate::store) fn journal_name(&self) -> String {
        self.tenure.file(self.id.as_str(), MARK)
    }

    /// Returns whether its names are its holder's alone.
    pub(in crate::store) fn has_own_names(&self) -> bool {
        self.tenure != Tenure::Common
    }
}

/// The directory in which files of a kept upload lie.
#[derive(Debug)]
pub(in crate::store) enum KeptDir<'a> {
    Common(&'a OwnedFd),
    Own(OwnedFd),
}

impl Deref for KeptDir<'_> {
    type Target = OwnedFd;

    fn deref(&self) -> &OwnedFd {
        match self {
            KeptDir::Common(dir) => dir,
            KeptDir::Own(dir) => dir,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_holders_are_greater_and_names_come_back() {
        let own = |epoch, run: &str, number| Tenure::Own { epoch, run: run.into(), number };
        let rising = [
            Tenure::Common,
            own(1, "run-00000000000000aa", 7),
            own(2, "run-0000000000000001", 0),
            own(2, "run-0000000000000002", 0),
            own(10, "run-0000000000000000", 0),
        ];
        assert!(rising.is_sorted_by(|one, other| one < other));
        for tenure in &rising[1..] {
            let file = tenure.file("id", DATA);
            assert_eq!(Tenure::parse(file.strip_suffix(DATA).unwrap()).as_ref(), Some(tenure));
        }
        for other in ["", "1", "1-", "1-run", "x-run-1", "1-run-x"] {
            assert_eq!(Tenure::parse(other), None, "{other}");
        }
    }
}
