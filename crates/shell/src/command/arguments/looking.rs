//! The arguments of commands that look through whole directories of the server.

use clap::{ArgAction, Args, ValueEnum, ValueHint};

use super::{
    names::Names,
    value::{number, word},
};
use crate::words::Word;

/// The arguments of FIND.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Search {
    /// With sizes and times
    #[arg(short, long)]
    pub(crate) long: bool,
    /// Sizes in KiB, MiB and so on
    #[arg(short, long)]
    pub(crate) human: bool,
    /// Print help
    #[arg(id = "help", long, action = ArgAction::Help)]
    help: Option<bool>,
    /// Only what has such a name; wildcards mean names that begin with a dot as well
    #[arg(long, value_name = "PATTERN", value_parser = word)]
    pub(crate) name: Option<Word>,
    /// Only files (f), or only directories (d)
    #[arg(long = "type", id = "type", value_name = "f|d", hide_possible_values = true)]
    pub(crate) kind: Option<Kind>,
    #[command(flatten)]
    pub(crate) places: Places,
}

/// The kind of what is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Regular files.
    #[value(name = "f")]
    File,
    /// Directories.
    #[value(name = "d")]
    Directory,
}

/// The arguments of TREE.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Depth {
    /// Directories alone
    #[arg(short, long)]
    pub(crate) directories: bool,
    /// No more than N levels
    #[arg(short = 'L', long, value_name = "N", value_parser = number, allow_hyphen_values = true)]
    pub(crate) level: Option<usize>,
    #[command(flatten)]
    pub(crate) places: Places,
}

/// The arguments of DU.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Sizes {
    /// Only what is named, not each directory beneath it
    #[arg(short, long)]
    pub(crate) summarize: bool,
    /// Sizes in KiB, MiB and so on
    #[arg(short, long)]
    pub(crate) human: bool,
    /// Print help
    #[arg(id = "help", long, action = ArgAction::Help)]
    help: Option<bool>,
    #[command(flatten)]
    pub(crate) places: Places,
}

/// The arguments of DF.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct SpaceArgs {
    /// Sizes in KiB, MiB and so on
    #[arg(short, long)]
    pub(crate) human: bool,
    /// Print help
    #[arg(id = "help", long, action = ArgAction::Help)]
    help: Option<bool>,
}

/// Where to look.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Places {
    /// Directories, or patterns with wildcards [default: the current directory]
    #[arg(id = "names", value_name = "NAME", value_hint = ValueHint::Other, value_parser = word)]
    words: Vec<Word>,
}

impl Places {
    /// Returns what was named; [`None`] for the current directory.
    pub(crate) fn names(&self) -> Option<Names> {
        (!self.words.is_empty()).then(|| Names { words: self.words.clone() })
    }
}
