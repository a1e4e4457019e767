//! One plan of what to move, for whole directories and for single files, up and down.
//!
//! A [`Planner`] is given what was chosen and makes a [`Plan`], which changes nothing; then [`Plan::carry_out`] does it.
//! Everything that was chosen is moved, unless it is compared first: [`Plan::sync`] makes one directory like another and
//! moves only what differs. Entries that could not be looked at, at either end, are neither moved nor deleted, and
//! neither is anything beneath them.
//!
//! # Inside
//!
//! `side` gathers what is at one end, `compare` decides without input or output, `content` compares files by their bytes,
//! `removal` says what is deleted of one directory alone, `seen` asks again before something is deleted for the other end's sake, `planner` puts a plan together and `carry_out`
//! does it. `across` does both from one server to another, where nothing is local; `backup` keeps files of the server that are
//! replaced or deleted, and `carry_up` sends files that replace such. `directories` sets the times and permissions of directories.

mod across;
mod backup;
mod carry_out;
mod carry_up;
mod compare;
mod content;
mod directories;
mod planner;
mod removal;
mod seen;
mod side;

use std::path::{Path, PathBuf};

use ferry_wire::{Mode, Name, Time};

use crate::{
    choose::Choice,
    client::Client,
    error::Error,
    local::LocalPath,
    options::Permissions,
    transfer::{Fetch, Report, Store},
};
pub use across::Across;
use backup::Backup;
use directories::{Closed, Directory};
pub use planner::Planner;
pub use removal::{Portion, Removal};

/// The end that is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The server's.
    Up,
    /// The local one.
    Down,
}

/// How two directories are compared, and how far they are made alike.
#[derive(Debug, Clone, PartialEq)]
pub struct Sync {
    /// The end that is made like the other.
    pub direction: Direction,
    /// Compares files of the same size by their CRC, and not by their times. Both ends read all of them.
    pub check: bool,
    /// Deletes what only the changed side has, and what is of another kind there: a file that is a directory by now, or the
    /// reverse.
    pub delete: bool,
    /// Names of the list ([`Choice::only`]) that the end that is read does not have are known to be gone there: they are
    /// not told as missing, and deleted as everything else is that only the changed side has.
    pub listed_may_be_gone: bool,
    /// The most things that may be deleted. [`None`] for 1,000 or half of what the changed side has, whichever is less; up to
    /// ten may go, though, where no more than half of what both sides have goes with them.
    pub max_delete: Option<usize>,
    /// The directory where local files are kept that are replaced or deleted, under their paths; made where it is missing.
    /// It must be outside of the one that is changed. [`None`] keeps nothing. Upwards nothing local is changed.
    pub backup: Option<PathBuf>,
    /// The directory of the server where its files are kept that are replaced or deleted, under their paths, and a number where
    /// that is taken there; made where it is missing. It must be outside of the one that is changed. A new version is sent as
    /// a file beneath it (`.incoming`) first; its name is then missing for as long as the server needs to rename it. [`None`]
    /// keeps nothing. Downwards nothing of the server is changed.
    pub backup_there: Option<Name>,
    /// Leaves files as they are that are newer at the end that is changed.
    pub update: bool,
    /// The permissions that files and directories bring with them. Where these alone differ, they are set.
    pub permissions: Permissions,
    /// Which things are compared at all. What is not chosen is neither moved nor deleted, but for what a rule hides at the
    /// end that is read alone: that is deleted where it is to be.
    pub choice: Choice,
}

impl Sync {
    /// Moves what differs by size or time, and deletes nothing.
    #[must_use]
    pub fn new(direction: Direction) -> Sync {
        Sync {
            direction,
            check: false,
            delete: false,
            listed_may_be_gone: false,
            max_delete: None,
            backup: None,
            backup_there: None,
            update: false,
            permissions: Permissions::Usual,
            choice: Choice::default(),
        }
    }
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

/// The names of one thing at both ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The local path.
    pub here: LocalPath,
    /// The server's name; [`None`] for its root.
    pub there: Option<Name>,
}

/// A plan: directories to make, files to move, things to delete.
#[derive(Debug)]
pub struct Plan {
    /// Directories to make at the end that is changed, each before what is in it.
    pub make: Vec<Pair>,
    /// Files to move.
    pub transfers: Transfers,
    /// Files and directories of which nothing but the permissions differ (or the times, of directories), which are set.
    pub amend: Vec<Amendment>,
    /// Things of another kind, which are deleted before anything is moved.
    pub replace: Vec<Replacement>,
    /// Things to delete, in this order: files, then directories, the deepest first. Empty unless that was asked for.
    pub delete: Vec<Deletion>,
    /// The most things that may be deleted.
    pub max_delete: usize,
    /// Files that are alike already.
    pub unchanged: usize,
    /// Files that are newer at the end that is changed, and stay as they are because of [`Sync::update`].
    pub newer: usize,
    /// Names of the list ([`Choice::only`]) that the end that is read does not have: neither moved nor deleted.
    pub missing: Vec<Name>,
    /// Things left out by rule: local links, neither files nor directories, and names that a server keeps for itself.
    pub left_out: Vec<Error>,
    /// Things that could not be looked at or compared, and why: not readable, no valid name, a file at one end and a directory
    /// at the other. The error names a local one; the name of one of the server stands before it.
    pub skipped: Vec<(Option<Name>, Error)>,
    /// Things left out because they would have the name of another one at the end that is changed.
    pub clashes: Vec<Clash>,
    /// Where files of the server are kept that are replaced or deleted.
    backup: Option<Backup>,
    /// Directories in the order of a tree, whose times and permissions are set when all else is done.
    directories: Vec<Directory>,
    /// Directories at the end that is changed into which their owner may not write, where permissions are kept.
    closed: Vec<Closed>,
}

/// A file or directory whose permissions are set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Amendment {
    /// Its names.
    pub pair: Pair,
    /// Its time, which is set as well.
    pub mtime: Option<Time>,
    /// The permissions that it has at the end that is read.
    pub mode: Mode,
    /// Whether it is a directory, whose permissions are set when all else is done.
    pub is_directory: bool,
}

/// The files that a plan moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transfers {
    /// To the server.
    Up(Vec<Store>),
    /// From the server.
    Down(Vec<Fetch>),
}

/// Two things that would have one name at the end that is changed. The second one is left out, with all that is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clash {
    /// The one that has the name.
    pub first: Pair,
    /// The one that is left out.
    pub second: Pair,
}

/// One thing to delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    /// The local path.
    pub here: LocalPath,
    /// The server's name.
    pub there: Name,
    /// Whether it is a directory.
    pub directory: bool,
    /// Whether the other end may have it: a rule hides it there.
    pub hidden: bool,
}

/// Something that makes way for something of another kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replacement {
    /// Whether it is a file, and a directory comes in its place; else it is the other way round.
    pub by_directory: bool,
    /// All that is deleted for that, in this order, itself as the last one.
    pub delete: Vec<Deletion>,
}

/// The outcome of a plan.
#[derive(Debug, Default)]
pub struct PlanReport {
    /// Of the files.
    pub moved: Report,
    /// Files among those untried whose directory could not be made.
    pub blocked: usize,
    /// Directories that were made, or were there by then.
    pub made: usize,
    /// Things that were deleted.
    pub deleted: usize,
    /// Files and directories whose permissions were set.
    pub amended: usize,
    /// Things that were to be deleted and were not even tried, because something failed before.
    pub kept: usize,
    /// Why directories could not be made, and things not deleted.
    pub failures: Vec<Error>,
}

impl PlanReport {
    /// Returns whether all of the plan was carried out.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.moved.is_whole() && self.failures.is_empty() && self.kept == 0
    }
}

impl Plan {
    /// Plans to make one directory like another. The one that is to be changed may be missing, but not what it is in.
    /// `watch` learns what is looked at, so that a person can be told. It is called often, and must not wait.
    ///
    /// # Errors
    ///
    /// A directory that is not there or can't be read, a connection that is lost.
    pub fn sync(
        client: &mut Client,
        local: &Path,
        remote: Option<&Name>,
        sync: &Sync,
        watch: &mut dyn FnMut(Looking),
    ) -> Result<Plan, Error> {
        let mut planner = Planner::new(sync.direction).choosing(sync.choice.clone());
        planner.add_difference(client, local, remote, sync, watch)?;
        planner.finish()
    }

    /// Returns which end is changed.
    #[must_use]
    pub fn direction(&self) -> Direction {
        self.transfers.direction()
    }

    /// Returns how many things would be deleted. A thing that makes way for something of another kind is replaced,
    /// and not counted; what is in it is.
    #[must_use]
    pub fn deletions(&self) -> usize {
        self.delete.len() + self.replace.iter().map(|replaced| replaced.delete.len().saturating_sub(1)).sum::<usize>()
    }
}

impl Transfers {
    fn new(direction: Direction) -> Transfers {
        match direction {
            Direction::Up => Transfers::Up(Vec::new()),
            Direction::Down => Transfers::Down(Vec::new()),
        }
    }

    fn direction(&self) -> Direction {
        match self {
            Transfers::Up(_) => Direction::Up,
            Transfers::Down(_) => Direction::Down,
        }
    }

    /// Returns how many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Transfers::Up(files) => files.len(),
            Transfers::Down(files) => files.len(),
        }
    }

    /// Returns whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns what the server calls each, in order.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        let (up, down) = match self {
            Transfers::Up(files) => (&files[..], &[][..]),
            Transfers::Down(files) => (&[][..], &files[..]),
        };
        up.iter().map(|file| &file.name).chain(down.iter().map(|file| &file.name))
    }

    /// Returns the bytes of the file at `index`, where a walk or a listing told them. A local file that was chosen by its
    /// name is looked at.
    #[must_use]
    pub fn size(&self, index: usize) -> Option<u64> {
        match self {
            Transfers::Up(files) => files.get(index)?.source.size(),
            Transfers::Down(files) => files.get(index)?.meta.as_ref().map(|meta| meta.size),
        }
    }

    /// Returns the bytes of all whose size is known.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        (0..self.len()).filter_map(|index| self.size(index)).fold(0, u64::saturating_add)
    }

    /// Returns the names of the file at `index`.
    fn pair(&self, index: usize) -> Pair {
        let (here, there) = match self {
            Transfers::Up(files) => (&files[index].source, &files[index].name),
            Transfers::Down(files) => (&files[index].target, &files[index].name),
        };
        Pair { here: here.clone(), there: Some(there.clone()) }
    }

    /// Returns the name that each gets, as a path, in order.
    fn targets(&self) -> Box<dyn Iterator<Item = &Path> + '_> {
        match self {
            Transfers::Up(files) => Box::new(files.iter().map(|file| Path::new(file.name.as_str()))),
            Transfers::Down(files) => Box::new(files.iter().map(|file| &*file.target)),
        }
    }

    /// Returns those at `indices`.
    fn only(&self, indices: &[usize]) -> Transfers {
        match self {
            Transfers::Up(files) => Transfers::Up(indices.iter().map(|&index| files[index].clone()).collect()),
            Transfers::Down(files) => Transfers::Down(indices.iter().map(|&index| files[index].clone()).collect()),
        }
    }
}

impl Pair {
    /// Returns the name at the end that is changed, as a path; [`None`] for the root of the server.
    fn target(&self, direction: Direction) -> Option<&Path> {
        match direction {
            Direction::Up => self.there.as_ref().map(|name| Path::new(name.as_str())),
            Direction::Down => Some(&self.here),
        }
    }
}

/// Things to tell of a plan, gathered while it is made.
#[derive(Debug, Default)]
struct Remarks {
    left_out: Vec<Error>,
    skipped: Vec<(Option<Name>, Error)>,
}
