//! Many files in one go: what to move, how, and what became of it.
//!
//! [`Client::fetch`](crate::Client::fetch) and [`Client::store`](crate::Client::store) take a list of files and
//! move them all: small ones pipelined on one connection, large ones resumably, a lost connection
//! opened again. Every file is verified for itself, and has its final name only then.

mod disk;
mod drive;
mod fetch;
mod store;
mod tally;

use std::{path::PathBuf, time::Duration};

use ferry_wire::{Crc32, FileMeta, Name};

use crate::error::Error;
pub(crate) use drive::Stop;
pub(crate) use fetch::fetch;
pub(crate) use store::store;

/// A file to fetch: `name` of the server becomes the local file `target`, whose directory must be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// What the server calls it.
    pub name: Name,
    /// The local file, replaced in one step.
    pub target: PathBuf,
    /// What a listing said of it, where there was one: helps to plan, and is never believed.
    pub meta: Option<FileMeta>,
}

/// A file to store: the local file `source` becomes `name` of the server, whose directory must be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// The local file; only a regular one is taken.
    pub source: PathBuf,
    /// What the server is to call it.
    pub name: Name,
}

/// Downloads of fewer bytes leave nothing behind where they are cut: to ask for them again costs less.
pub const KEPT_DOWNLOAD_BYTES: u64 = fetch::LARGE_BYTES;

/// Uploads of fewer bytes leave nothing behind where they are cut.
pub const KEPT_UPLOAD_BYTES: u64 = store::RESUME_BYTES;

/// How files are moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Goes on with the other files where one fails.
    pub keep_going: bool,
    /// Takes up what an earlier transfer that was cut left behind, and leaves it where this one is cut.
    pub resume: bool,
    /// Connections that share one large download; 1 for the client's own alone.
    pub parallel: usize,
    /// How often in a row a lost connection is opened again without a byte having moved in between.
    pub retries: u32,
    /// Where the ids of resumable uploads are kept between runs; [`None`] keeps them for this call only.
    pub state: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { keep_going: false, resume: true, parallel: 1, retries: 5, state: None }
    }
}

/// What a file of the list is at, where that is not the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Bytes cross the network.
    Moving,
    /// What is there already is read, to go on from it.
    Reading,
    /// The whole is compared with what the server has.
    Verifying,
    /// The server brings it to its disk.
    Syncing,
}

/// What happens while files are moved. `index` is the place of a file in the list that was given.
///
/// Each file that is tried has one [`Event::Begun`] and then exactly one of [`Event::Done`] and [`Event::Failed`];
/// small files may be begun long before the one ahead of them is done. A caller must not wait in it for long: the
/// connection waits as well.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A file is begun, or begun anew after [`Event::Restarted`].
    Begun {
        /// Which.
        index: usize,
        /// Its bytes in all.
        size: u64,
        /// Bytes of them that are there already, from an earlier transfer.
        resumed: u64,
    },
    /// More of a file has come, or is on its way.
    Moved {
        /// Which.
        index: usize,
        /// Bytes of it that are done, those of earlier transfers included.
        done: u64,
    },
    /// A file waits for something else than before.
    Entered {
        /// Which.
        index: usize,
        /// What it is at now.
        phase: Phase,
    },
    /// What was there of a file is of no use: it starts again from its first byte.
    Restarted {
        /// Which.
        index: usize,
        /// Why, as a clause.
        why: &'a str,
    },
    /// A file is whole, verified and has its name.
    Done {
        /// Which.
        index: usize,
        /// What was moved.
        moved: &'a Moved,
    },
    /// A file could not be moved.
    Failed {
        /// Which.
        index: usize,
        /// Why.
        error: &'a Error,
    },
    /// The connection is lost, and is opened again after a while.
    Lost {
        /// Why.
        error: &'a Error,
        /// Which attempt in a row follows, from 1 on.
        attempt: u32,
        /// How long is waited before it.
        wait: Duration,
    },
    /// The connection stands again.
    Reconnected,
}

/// A file that was moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// Bytes of the whole file.
    pub size: u64,
    /// Of the whole file.
    pub crc: Crc32,
    /// Bytes that did not have to be moved again.
    pub resumed: u64,
}

/// What became of a list of files.
#[derive(Debug, Default)]
pub struct Report {
    /// Files that are whole and verified.
    pub files: usize,
    /// Bytes of those.
    pub bytes: u64,
    /// Bytes of those that did not have to be moved again.
    pub resumed: u64,
    /// What failed: its place in the list, and why. Without [`Settings::keep_going`] at most one.
    pub failures: Vec<(usize, Error)>,
    /// Files that were not tried, because an earlier one failed or the caller had enough.
    pub untried: usize,
}

impl Report {
    /// Whether everything was moved.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.failures.is_empty() && self.untried == 0
    }
}
