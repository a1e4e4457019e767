//! From what was typed to a command.

pub(crate) mod likeness;
mod options;
mod parse;
mod phrases;
pub(crate) mod table;

use ferry_client::{Direction, Sync};

use super::words::Word;
pub(crate) use parse::{Expected, expected, parse, understand};
pub(crate) use table::Form;

/// One command, understood; names are not looked up yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// OPEN; a port, host:port or bookmark, which is not looked up yet.
    Open(String),
    Get(Transfer),
    Put(Transfer),
    Sync(SyncDirectories),
    /// LS; [`None`] for the current directory.
    List {
        style: Listing,
        names: Option<Names>,
    },
    /// CD; [`None`] for the root.
    Enter(Option<String>),
    Where,
    /// LCD; [`None`] for where the program began.
    EnterLocal(Option<String>),
    WhereLocal,
    /// LLS; [`None`] for the current directory.
    ListLocal {
        style: Listing,
        names: Option<Names>,
    },
    Stat(Names),
    Sum(Names),
    MakeDirectories {
        parents: bool,
        names: Vec<Word>,
    },
    Remove(Removal),
    Move {
        from: String,
        to: String,
    },
    Status,
    /// A word of other programs that has no work here; and why.
    Needless {
        word: String,
        why: &'static str,
    },
    /// HISTORY; [`None`] for all of it.
    History(Option<usize>),
    /// A command of the system's shell; [`None`] for a shell to type in.
    Shell(Option<String>),
    Close,
    Quit,
    Help(Option<&'static Form>),
}

/// What GET and PUT move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Transfer {
    /// What to move.
    pub(crate) names: Names,
    /// What it is to be called, or the directory that it is to go to.
    pub(crate) target: Option<Target>,
    /// Whole directories as well.
    pub(crate) recursive: bool,
    /// The others are moved where one fails.
    pub(crate) keep_going: bool,
}

/// The argument after an arrow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// Standard output.
    Stream,
    /// A file or directory.
    Name(String),
}

/// What SYNC compares and makes alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SyncDirectories {
    /// Which way, and how far.
    pub(crate) sync: Sync,
    /// The directory that is read.
    pub(crate) from: String,
    /// The directory that is changed; [`None`] for the one of the same name.
    pub(crate) to: Option<String>,
    /// Both as they were typed, where no quote says that they are two: see [`Names`].
    pub(crate) together: Option<String>,
    /// Nothing is changed.
    pub(crate) dry_run: bool,
    /// The other files are moved where one fails.
    pub(crate) keep_going: bool,
}

/// What RM deletes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Removal {
    pub(crate) names: Names,
    /// Whole directories as well.
    pub(crate) recursive: bool,
    /// Empty directories as well.
    pub(crate) empty: bool,
    /// A name that does not exist is no failure.
    pub(crate) force: bool,
    /// The others are deleted where one fails.
    pub(crate) keep_going: bool,
}

/// How LS and LLS list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Listing {
    /// With sizes and times.
    pub(crate) long: bool,
    /// Sizes for people.
    pub(crate) human: bool,
    pub(crate) order: Order,
    pub(crate) reverse: bool,
}

/// The thing that comes first in a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// As it comes: by name.
    Name,
    /// The newest.
    Time,
    /// The largest.
    Size,
}

/// The names that a command is about: at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) words: Vec<Word>,
    /// Several words as they were typed, where no quote says that they are several: what to ask for where they fail.
    pub(crate) together: Option<String>,
}

impl Command {
    /// Several words that may be meant as one name, and whether it would be one of the server.
    pub(crate) fn together(&self) -> Option<(String, bool)> {
        let (names, remote) = match self {
            Command::Sync(directories) => {
                return Some((directories.together.clone()?, directories.sync.direction == Direction::Down));
            }
            Command::Get(transfer) => (Some(&transfer.names), true),
            Command::Put(transfer) => (Some(&transfer.names), false),
            Command::List { names, .. } => (names.as_ref(), true),
            Command::ListLocal { names, .. } => (names.as_ref(), false),
            Command::Stat(names) | Command::Sum(names) => (Some(names), true),
            Command::Remove(removal) => (Some(&removal.names), true),
            _ => return None,
        };
        Some((names?.together.clone()?, remote))
    }
}
