//! Many files in one go: what to move, how, and what became of it.
//!
//! [`Client::fetch`](crate::Client::fetch) and [`Client::store`](crate::Client::store) take a list of files and
//! move them all: small ones pipelined on one connection, large ones resumably, a lost connection
//! opened again. Every file is verified for itself, and has its final name only then.
//!
//! [`Client::get`](crate::Client::get), [`Client::put`](crate::Client::put) and [`Client::resume`](crate::Client::resume)
//! are lists of one file.
//!
//! # Inside
//!
//! `drive` runs rounds: one has one connection, and what it leaves undone is the next one's; `retry` opens a lost one again.
//! `crew` has the connections that share a list, each with a thread of its own and its `hand` in it, and opens further ones
//! where `adviser` says so.
//! `tally` knows who has which file, counts, and tells what becomes of each; `pieces` who has which piece of a large
//! download, `store::parts` who sends which part of a large upload.
//! `fetch` asks ahead and takes answers in order; `disk` is the
//! thread that brings them to the local disk. `store` sends and takes replies meanwhile; its `reader` is the thread
//! that reads ahead, and its `stream` sends what nobody can read again. `pour` reads a
//! file into a stream, and `replay` sends one on
//! where the connection is lost, from the `ring` of its last bytes. `alone` is for one file.

mod adviser;
mod alone;
mod crew;
mod disk;
mod drive;
mod fetch;
mod hand;
mod pieces;
mod pour;
mod replay;
mod retry;
mod ring;
mod store;
mod tally;

use std::{path::PathBuf, time::Duration};

use ferry_wire::{Crc32, FileMeta, Name, Tag};

use crate::{
    address::Address,
    connection::Connection,
    error::Error,
    local::{Layout, LocalPath},
    options::Permissions,
};
pub(crate) use alone::{get, put};
pub(crate) use pour::pour;
pub use replay::KEPT_INPUT_BYTES;
pub(crate) use replay::put_replaying;
pub(crate) use retry::{Outage, connect, is_lost};
pub(crate) use store::{Onto, new_id, put_from};
use tally::Manner;

/// Learns what happens, from whichever thread it happens in, one at a time.
pub(crate) type Watch<'w> = dyn FnMut(&Event<'_>) + Send + 'w;

/// Fetches all of `files`.
pub(crate) fn fetch(
    connection: &mut Connection,
    files: &[Fetch],
    settings: &Settings,
    watch: &mut Watch<'_>,
) -> Report {
    fetch::fetch(connection, files, settings, Manner::Many, watch)
}

/// Stores all of `files`.
pub(crate) fn store(
    connection: &mut Connection,
    files: &[Store],
    settings: &Settings,
    watch: &mut Watch<'_>,
) -> Report {
    store::store(connection, files, settings, (Manner::Many, None), watch)
}

/// A file to fetch: `name` of the server becomes the local file `target`, whose directory must be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// Its name on the server.
    pub name: Name,
    /// The local file, replaced in one step.
    pub target: LocalPath,
    /// The version that a listing told, where there was one: helps to plan, and is never believed.
    pub meta: Option<FileMeta>,
}

/// A file to store: the local file `source` becomes `name` of the server, whose directory must be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// The local file; only a regular one is taken.
    pub source: LocalPath,
    /// Its name on the server, to be.
    pub name: Name,
}

/// Stores all of `files` of the server that `from` leads to.
pub(crate) fn relay(
    connection: &mut Connection,
    from: &mut Connection,
    files: &[Relay],
    settings: &Settings,
    watch: &mut Watch<'_>,
) -> Report {
    store::relay(connection, from, files, settings, watch)
}

/// A file to relay: `source` of one server becomes `name` of another, whose directory must be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay {
    /// Its name on the server that it is read from.
    pub source: Name,
    /// The version that a listing of that server told, where there was one: helps to plan, and is never believed.
    pub meta: Option<FileMeta>,
    /// Its name on the server that it is sent to, to be.
    pub name: Name,
}

/// Downloads of fewer bytes leave nothing behind where they are cut: to ask for them again costs less.
pub const KEPT_DOWNLOAD_BYTES: u64 = fetch::LARGE_BYTES;

/// Uploads of fewer bytes leave nothing behind where they are cut.
pub const KEPT_UPLOAD_BYTES: u64 = store::RESUME_BYTES;

/// The treatment of a file whose name on the server is taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum IfTaken {
    /// It replaces what has the name, as a whole.
    #[default]
    Replace,
    /// It fails with [`Code::Exists`](crate::Code::Exists), and what has the name stays as it is. The server decides that when
    /// the upload is published, so of two clients one wins. [`Error::NeverReplacing`] where the server is too old for that.
    Fail,
}

/// The treatment of a server that can't be found when the first connection to it is made: nobody listens, no way leads
/// there, or nobody says a word.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum IfAbsent {
    /// It is an error at once: the address may be wrong.
    #[default]
    Fail,
    /// It is waited for, as one that is only being started.
    Wait,
}

/// The number of connections that share a transfer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Parallel {
    /// One, and further ones, up to 8 in all, while these help: on a long line at once for each 2 MiB that there are to move,
    /// and later as long as those that stand are limited by their windows or by loss. A server near by is served by one, and
    /// so is any where the system tells nothing of its connections.
    #[default]
    Auto,
    /// So many, at most 16, where there is a mebibyte to move for each; 1 for the client's own alone. Fewer where the
    /// server refuses some.
    Fixed(usize),
}

/// How files are moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Goes on with the other files where one fails. Without it, what was already asked for after the one that failed may
    /// still be done; nothing else is tried.
    pub keep_going: bool,
    /// Takes up what an earlier transfer that was cut left behind, and leaves it where this one is cut, however that
    /// happens: downloads of 1 MiB and more (as `.ferry-*.part` and `.ferry-*.mark` beside their target, until they are
    /// finished, or a week has passed and another large file is fetched to that directory), uploads of 8 MiB and more (by
    /// [`Settings::state`], for as long as the server keeps them). Smaller files are moved again. Without it, a stream that
    /// is [sent](crate::Client::put_replaying) begins anew after a lost connection.
    pub resume: bool,
    /// The connections that share the files, the pieces of large downloads, and the parts of large uploads that can be resumed,
    /// where the server takes parts. Further ones are opened to the address of the client's own, over the same kind of
    /// transport, to the same key and as the same user; whether they are, and stay, is told to nobody. A download that is cut
    /// goes on from what has no gap, an upload from all that the server has as well, as far as connections are there to fill
    /// its gaps. Files with one target, or one name on the server, are moved by one connection.
    pub parallel: Parallel,
    /// How often in a row a lost connection is opened again without anything having moved in between. Before the first
    /// attempt at most 0.1 s pass, before each further one three times as much, at most 30 s.
    pub retries: u32,
    /// For how long a lost connection is opened again, counted from its loss without anything having moved in between.
    /// Whichever of this and [`Settings::retries`] lasts longer counts.
    pub retry_for: Duration,
    /// The directory where the ids of resumable uploads are kept between runs; made where it is missing, for this user
    /// alone. [`None`] keeps them for this call only. Two processes may share it.
    pub state: Option<PathBuf>,
    /// The end of an upload whose name is taken. With [`IfTaken::Fail`] all uploads are resumable ones, also small ones: an
    /// upload whose answer was lost must be told from another one of the same name. So each costs a round trip of its own
    /// and some more writes to the disk, on both sides.
    pub if_taken: IfTaken,
    /// Runs of zeros in downloads of 1 MiB and more become holes of the local file, where its file system has such.
    pub sparse: bool,
    /// The permissions that files bring with them. A download fails where the server does not tell them (`tell-mode` in its
    /// greeting), an upload where it does not keep them (`with-mode=`): both with [`Error::Lacking`]. Where a file system
    /// has no such permissions, files have those that it has.
    pub permissions: Permissions,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            keep_going: false,
            resume: true,
            parallel: Parallel::Auto,
            retries: 5,
            retry_for: Duration::ZERO,
            state: None,
            if_taken: IfTaken::Replace,
            sparse: false,
            permissions: Permissions::Usual,
        }
    }
}

impl Settings {
    /// Returns how large downloads are laid out.
    fn layout(&self) -> Layout {
        if self.sparse { Layout::Sparse } else { Layout::Whole }
    }

    /// Returns those that open no lost connection again.
    #[must_use]
    pub fn impatient() -> Settings {
        Settings { retries: 0, retry_for: Duration::ZERO, ..Settings::default() }
    }
}

/// The work on a file of the list, where that is not the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Bytes cross the network.
    Moving,
    /// The part that is there is read, to go on from it.
    Reading,
    /// The whole is compared with what the server has.
    Verifying,
    /// The server brings it to its disk.
    Syncing,
}

/// An event while files are moved. `index` is the place of a file in the list that was given.
///
/// A file has at most one [`Event::Begun`] (and one more after each [`Event::Restarted`]), none where it fails before its
/// size is known, and then exactly one of [`Event::Done`] and [`Event::Failed`]; small files may be begun long before
/// the one ahead of them is done, and have no [`Event::Moved`]. A file that was begun and is in no event after that was
/// given up because another one failed. A caller must not wait in it for long: the connection waits as well.
#[derive(Debug, Clone, Copy)]
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
        /// The work that begins.
        phase: Phase,
    },
    /// The part of a file that was there, from an earlier transfer or of this one, is of no use. The file starts again
    /// from its first byte. Told once each time that something is thrown away, and not where the file fails for good.
    Restarted {
        /// Which.
        index: usize,
        /// Why, as a clause about the file: "it changed on the server".
        why: &'a str,
    },
    /// A file is whole, verified and has its name.
    Done {
        /// Which.
        index: usize,
        /// The result.
        moved: &'a Moved,
    },
    /// A file could not be moved.
    Failed {
        /// Which.
        index: usize,
        /// Why.
        error: &'a Error,
    },
    /// Something of a plan beside its files could not be done: a directory that can't be made, a thing that can't be
    /// deleted.
    Refused {
        /// Its name on the server, where `error` does not say it.
        name: Option<&'a Name>,
        /// Why.
        error: &'a Error,
    },
    /// The connection is lost, or was not made, and is opened again after a while.
    Lost {
        /// The server, where it is not the one that is changed but the one that files are read from.
        source: Option<&'a Address>,
        /// Why.
        error: &'a Error,
        /// The number of the attempt that follows, of those in a row, from 1 on.
        attempt: u32,
        /// How long is waited before it.
        wait: Duration,
        /// For how long it is still tried by [`Settings::retry_for`].
        left: Duration,
    },
    /// The connection stands again.
    Reconnected,
}

impl Event<'_> {
    /// Returns the same of another list, in which the file at `index` is at `renumber(index)`.
    pub(crate) fn renumbered(mut self, renumber: impl Fn(usize) -> usize) -> Self {
        match &mut self {
            Event::Begun { index, .. }
            | Event::Moved { index, .. }
            | Event::Entered { index, .. }
            | Event::Restarted { index, .. }
            | Event::Done { index, .. }
            | Event::Failed { index, .. } => *index = renumber(*index),
            Event::Refused { .. } | Event::Lost { .. } | Event::Reconnected => {}
        }
        self
    }
}

impl<'a> Event<'a> {
    /// Returns the same where the connection that is lost is that to the server at `address`, which files are only read from.
    pub(crate) fn of_source(mut self, address: &'a Address) -> Self {
        if let Event::Lost { source, .. } = &mut self {
            *source = Some(address);
        }
        self
    }
}

/// A file that was moved, and is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// Bytes of the whole file.
    pub size: u64,
    /// Of the whole file.
    pub crc: Crc32,
    /// The version that the server sent, or published.
    pub tag: Tag,
    /// Bytes that an earlier call had moved already.
    pub resumed: u64,
}

/// The outcome of a list of files.
#[derive(Debug, Default)]
pub struct Report {
    /// Files that are whole and verified.
    pub files: usize,
    /// Bytes of those.
    pub bytes: u64,
    /// Bytes of those that earlier calls had moved already.
    pub resumed: u64,
    /// The failures: the place in the list, and why. Without [`Settings::keep_going`] at most one.
    pub failures: Vec<(usize, Error)>,
    /// Files that were not tried, because an earlier one failed or the caller had enough.
    pub untried: usize,
}

impl Report {
    /// Returns whether everything was moved.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.failures.is_empty() && self.untried == 0
    }
}
