//! Making one directory like another, there and here, by moving only what differs.
//!
//! First a [`SyncPlan`] is made, which changes nothing; then it is carried out. What could not be looked at, at
//! either end, is neither moved nor deleted, and neither is what is beneath it.

mod check;
mod plan;

use std::path::Path;

use ferry_wire::Name;

use crate::{
    client::Client,
    error::Error,
    local::HeldDirectory,
    transfer::{Event, Fetch, Report, Settings, Store},
    tree::{LocalTree, joined},
};

/// Which directory is made like which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The server's like the local one.
    Up,
    /// The local one like the server's.
    Down,
}

/// How two directories are compared, and how far they are made alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sync {
    /// Which is made like which.
    pub direction: Direction,
    /// Compares files of the same size by their CRC, and not by their times. Both ends read all of them.
    pub check: bool,
    /// Deletes what only the other side has.
    pub delete: bool,
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
    /// What is to be deleted, in this order: files, then directories, the deepest first. Empty unless it was asked for.
    pub delete: Vec<Deletion>,
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
        plan::plan(client, local, remote, sync)
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.make_top && self.make.is_empty() && self.transfers.is_empty() && self.delete.is_empty()
    }

    /// Makes directories, moves files, and when all of that is done deletes. Times are kept. `watch` learns of the files,
    /// `index` being a place in [`SyncPlan::transfers`].
    pub fn carry_out(&self, client: &mut Client, settings: &Settings, watch: &mut dyn FnMut(&Event<'_>)) -> SyncReport {
        let mut report = SyncReport { failures: self.make_directories(client), ..SyncReport::default() };
        if report.failures.is_empty() {
            report.made = self.make.len() + usize::from(self.make_top);
        } else if !settings.keep_going {
            report.moved.untried = self.transfers.len();
            report.kept = self.delete.len();
            return report;
        }
        report.moved = match &self.transfers {
            Transfers::Up(files) => client.store(files, settings, watch),
            Transfers::Down(files) => client.fetch(files, settings, watch),
        };
        if !report.is_whole() {
            report.kept = self.delete.len();
        } else if !self.delete.is_empty() {
            self.delete(client, settings.keep_going, &mut report);
        }
        report
    }

    /// Gives why some can't be made.
    fn make_directories(&self, client: &mut Client) -> Vec<Error> {
        match self.transfers {
            Transfers::Up(_) => {
                let top = self.remote.iter().filter(|_| self.make_top).cloned().map(Ok);
                let names: Result<Vec<_>, _> = top.chain(self.make.iter().map(|name| self.there(name))).collect();
                names.and_then(|names| client.make_directories(&names)).err().into_iter().collect()
            }
            Transfers::Down(_) => {
                LocalTree::make(&self.local.place(""), &self.make).into_iter().map(|unmade| unmade.error).collect()
            }
        }
    }

    fn delete(&self, client: &mut Client, keep_going: bool, report: &mut SyncReport) {
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
                let names: Result<Vec<_>, _> = self.delete.iter().map(|gone| self.there(&gone.name)).collect();
                names.and_then(|names| client.delete_all(&names, &mut |_, result| note(result)))
            }
            Transfers::Down(_) => self.delete.iter().try_for_each(|Deletion { name, directory }| {
                let place = self.local.place(name.as_str());
                note(if *directory { place.delete_directory() } else { place.delete_file() })
            }),
        };
        report.failures.extend(result.err());
        report.kept = self.delete.len() - tried;
    }

    /// The whole name there of something below both directories.
    fn there(&self, name: &Name) -> Result<Name, Error> {
        joined(self.remote.as_ref(), name.clone()).map_err(|(_, error)| error)
    }
}
