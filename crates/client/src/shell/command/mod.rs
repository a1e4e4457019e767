//! From what was typed to a command.

pub(crate) mod likeness;
mod options;
mod parse;
pub(crate) mod table;

use ferry_client::Sync;

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
        long: bool,
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
        long: bool,
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

/// What stands behind an arrow.
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
    /// The others are deleted where one fails.
    pub(crate) keep_going: bool,
}

/// The names that a command is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Names {
    /// All that was typed as one name, where it can be read so: it is the one that is meant if it exists.
    pub(crate) line: Option<String>,
    /// One after the other; at least one.
    pub(crate) words: Vec<Word>,
}
