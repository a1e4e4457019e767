//! Making one directory like another, there and here, by moving only what differs.
//!
//! First a [`SyncPlan`] is made, which changes nothing; then it is carried out. What could not be looked at, at
//! either end, is neither moved nor deleted, and neither is what is beneath it.

mod check;
mod plan;
mod seen;
mod within;

use std::path::{Path, PathBuf};

use ferry_wire::Name;

use crate::{
    client::Client,
    error::Error,
    local::HeldDirectory,
    transfer::{Event, Fetch, Report, Settings, Store},
    tree::{LocalTree, joined},
};
use seen::Seen;

/// Which directory is made like which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The server's like the local one.
    Up,
    /// The local one like the server's.
    Down,
}

/// The words for a thing that the other end does not list, and does not say to be gone either.
const NOT_GONE: &str = "stays: the other end does not list it, and does not say that it is gone either";

/// How two directories are compared, and how far they are made alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sync {
    /// Which is made like which.
    pub direction: Direction,
    /// Compares files of the same size by their CRC, and not by their times. Both ends read all of them.
    pub check: bool,
    /// Deletes what only the changed side has, and what is of another kind there: a file that is a directory by now, or the
    /// reverse.
    pub delete: bool,
    /// The most things that may be deleted. [`None`] for 1,000 or half of what the changed side has, whichever is less; up to
    /// ten may go, though, where no more than half of what both sides have goes with them.
    pub max_delete: Option<usize>,
    /// The directory where local files are kept that are replaced or deleted, under their paths; made where it is missing.
    /// It must be outside of the one that is changed. [`None`] keeps nothing. Upwards nothing local is changed.
    pub backup: Option<PathBuf>,
}

/// The step that a plan is at while it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Looking {
    /// The local directory is read, and so many things were found.
    Here(usize),
    /// The server's directory is listed, and so many things were found.
    There(usize),
    /// So many files of so many were compared by their content, at both ends.
    Comparing(usize, usize),
    /// The server is asked for so many names that it did not list.
    Asking(usize),
}

/// What has to be done to make one directory like another. All names are below both directories.
#[derive(Debug)]
pub struct SyncPlan {
    local: HeldDirectory,
    remote: Option<Name>,
    /// The directory that is changed does not exist yet.
    pub make_top: bool,
    /// Directories to make, each before what is in it.
    pub make: Vec<Name>,
    /// Files to move.
    pub transfers: Transfers,
    /// Bytes of those.
    pub bytes: u64,
    /// Things of another kind at the end that is read, which are deleted before anything is moved.
    pub replace: Vec<Replacement>,
    /// What is to be deleted, in this order: files, then directories, the deepest first. Empty unless it was asked for.
    pub delete: Vec<Deletion>,
    /// The most things that may be deleted.
    pub max_delete: usize,
    /// Files that are alike already.
    pub unchanged: usize,
    /// What is left out by rule: local links, what is neither a file nor a directory, and what a server keeps for itself.
    pub left_out: Vec<Error>,
    /// What could not be compared, and why: not readable, no valid name, a file at one end and a directory at the other.
    pub skipped: Vec<Error>,
}

/// The files that a plan moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transfers {
    /// To the server.
    Up(Vec<Store>),
    /// From the server.
    Down(Vec<Fetch>),
}

impl Transfers {
    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Transfers::Up(files) => files.len(),
            Transfers::Down(files) => files.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the server calls them.
    pub fn names(&self) -> Box<dyn Iterator<Item = &Name> + '_> {
        match self {
            Transfers::Up(files) => Box::new(files.iter().map(|file| &file.name)),
            Transfers::Down(files) => Box::new(files.iter().map(|file| &file.name)),
        }
    }
}

/// One thing to delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    /// Its name, below the directory that is changed.
    pub name: Name,
    /// Whether it is a directory.
    pub directory: bool,
}

/// Something that makes way for something of another kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replacement {
    /// Its name, below the directory that is changed.
    pub name: Name,
    /// Whether it is a file, and a directory comes in its place; else it is the other way round.
    pub by_directory: bool,
    /// All that is deleted for that, in this order, itself included.
    pub delete: Vec<Deletion>,
}

/// What became of a plan.
#[derive(Debug, Default)]
pub struct SyncReport {
    /// Of the files.
    pub moved: Report,
    /// Directories that were made, the changed one itself included.
    pub made: usize,
    /// What was deleted.
    pub deleted: usize,
    /// What was to be deleted and was not even tried, because something failed before.
    pub kept: usize,
    /// Directories that could not be made, and what could not be deleted.
    pub failures: Vec<Error>,
}

impl SyncReport {
    /// Whether all of the plan was carried out.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.moved.is_whole() && self.failures.is_empty() && self.kept == 0
    }
}

impl SyncPlan {
    /// Looks at both directories. The one that is to be changed may be missing, but not what it is in.
    ///
    /// # Errors
    ///
    /// A directory that is not there or can't be read, a connection that is lost.
    pub fn new(client: &mut Client, local: &Path, remote: Option<&Name>, sync: &Sync) -> Result<SyncPlan, Error> {
        SyncPlan::watched(client, local, remote, sync, &mut |_| {})
    }

    /// The same; `watch` learns what is looked at, so that a person can be told. It is called often, and must not wait.
    ///
    /// # Errors
    ///
    /// As [`SyncPlan::new`].
    pub fn watched(
        client: &mut Client,
        local: &Path,
        remote: Option<&Name>,
        sync: &Sync,
        watch: &mut dyn FnMut(Looking),
    ) -> Result<SyncPlan, Error> {
        plan::plan(client, local, remote, sync, watch)
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.make_top
            && self.make.is_empty()
            && self.replace.is_empty()
            && self.transfers.is_empty()
            && self.delete.is_empty()
    }

    /// How many things would be deleted. A thing that makes way for something of another kind is replaced,
    /// and not counted; what is in it is.
    #[must_use]
    pub fn deletions(&self) -> usize {
        self.delete.len() + self.replace.iter().map(|replaced| replaced.delete.len().saturating_sub(1)).sum::<usize>()
    }

    /// Clears what is in the way, makes directories, moves files, and when all of that is done deletes. Before anything is
    /// deleted the other end is asked again, and what it does not say to be gone stays. Times are kept. `watch` learns of the
    /// files, `index` being a place in [`SyncPlan::transfers`].
    ///
    /// Nothing at all is done where more would be deleted than [`SyncPlan::max_delete`].
    pub fn carry_out(&self, client: &mut Client, settings: &Settings, watch: &mut dyn FnMut(&Event<'_>)) -> SyncReport {
        let mut report = SyncReport::default();
        if self.deletions() > self.max_delete {
            report.failures.push(Error::Deletions { planned: self.deletions(), most: self.max_delete });
            return self.give_up(report);
        }
        self.clear_the_way(client, settings.keep_going, &mut report);
        if report.failures.is_empty() || settings.keep_going {
            let failures = self.make_directories(client, settings, watch);
            if failures.is_empty() {
                report.made = self.make.len() + usize::from(self.make_top);
            }
            report.failures.extend(failures);
        }
        if !report.failures.is_empty() && !settings.keep_going {
            return self.give_up(report);
        }
        report.moved = match &self.transfers {
            Transfers::Up(files) => client.store(files, settings, watch),
            Transfers::Down(files) => client.fetch(files, settings, watch),
        };
        if !report.is_whole() {
            report.kept = self.delete.len();
        } else if !self.delete.is_empty() {
            self.delete_gone(client, settings.keep_going, &mut report);
        }
        report
    }

    /// Nothing more is done.
    fn give_up(&self, mut report: SyncReport) -> SyncReport {
        report.moved.untried = self.transfers.len();
        report.kept = self.delete.len();
        report
    }

    /// Returns what stands under `names` at the end that is read.
    fn look<'a>(&self, client: &mut Client, names: impl IntoIterator<Item = &'a Name>) -> Result<Vec<Seen>, Error> {
        match self.transfers {
            Transfers::Up(_) => Ok(seen::here(&self.local, names)),
            Transfers::Down(_) => seen::there(client, self.remote.as_ref(), names),
        }
    }

    /// Deletes what something of another kind is to take the name of, if the other end still has that.
    fn clear_the_way(&self, client: &mut Client, keep_going: bool, report: &mut SyncReport) {
        if self.replace.is_empty() {
            return;
        }
        let seen = match self.look(client, self.replace.iter().map(|replaced| &replaced.name)) {
            Ok(seen) => seen,
            Err(error) => return report.failures.push(error),
        };
        for (Replacement { name, by_directory, delete }, seen) in self.replace.iter().zip(seen) {
            if seen == if *by_directory { Seen::Directory } else { Seen::File } {
                self.delete(client, delete, keep_going, report);
            } else {
                report.failures.push(Error::file(name.as_str(), "changed at the other end, and stays"));
            }
        }
    }

    /// Deletes what the other end says that it does not have.
    fn delete_gone(&self, client: &mut Client, keep_going: bool, report: &mut SyncReport) {
        let mut gone = self.delete.clone();
        match self.look(client, gone.iter().map(|deletion| &deletion.name)) {
            Ok(seen) => {
                let staying = seen::only_gone(&mut gone, &seen);
                report.failures.extend(staying.iter().map(|name| Error::file(name.as_str(), NOT_GONE)));
                report.kept += self.delete.len() - gone.len();
                self.delete(client, &gone, keep_going, report);
            }
            Err(error) => {
                report.failures.push(error);
                report.kept = self.delete.len();
            }
        }
    }

    /// Makes the directories; returns why some can't be made.
    fn make_directories(
        &self,
        client: &mut Client,
        settings: &Settings,
        watch: &mut dyn FnMut(&Event<'_>),
    ) -> Vec<Error> {
        match self.transfers {
            Transfers::Up(_) => {
                let top = self.remote.iter().filter(|_| self.make_top).cloned().map(Ok);
                let names: Result<Vec<_>, _> = top.chain(self.make.iter().map(|name| self.there(name))).collect();
                let made = names.and_then(|names| {
                    client.patiently(settings, watch, |client| match settings.keep_going {
                        true => client.make_all_directories(&names),
                        false => client.make_directories(&names).map(|()| Vec::new()),
                    })
                });
                match made {
                    Ok(refused) => refused.into_iter().map(|(_, error)| error).collect(),
                    Err(error) => vec![error],
                }
            }
            Transfers::Down(_) => {
                LocalTree::make(&self.local.place(""), &self.make).into_iter().map(|unmade| unmade.error).collect()
            }
        }
    }

    fn delete(&self, client: &mut Client, deletions: &[Deletion], keep_going: bool, report: &mut SyncReport) {
        let mut tried = 0;
        let mut note = |result: Result<(), Error>| {
            tried += 1;
            match result {
                Ok(()) => {
                    report.deleted += 1;
                    Ok(())
                }
                Err(error) if keep_going => {
                    report.failures.push(error);
                    Ok(())
                }
                Err(error) => Err(error),
            }
        };
        let result = match self.transfers {
            Transfers::Up(_) => {
                let names: Result<Vec<_>, _> = deletions.iter().map(|gone| self.there(&gone.name)).collect();
                names.and_then(|names| client.delete_all(&names, &mut |_, result| note(result)))
            }
            Transfers::Down(_) => deletions.iter().try_for_each(|Deletion { name, directory }| {
                let place = self.local.place(name.as_str());
                note(if *directory { place.delete_directory() } else { place.delete_file() })
            }),
        };
        report.failures.extend(result.err());
        report.kept += deletions.len() - tried;
    }

    /// The whole name there of something below both directories.
    fn there(&self, name: &Name) -> Result<Name, Error> {
        joined(self.remote.as_ref(), name.clone()).map_err(|(_, error)| error)
    }
}
