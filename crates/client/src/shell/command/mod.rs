//! From what was typed to a command.

pub(crate) mod likeness;
mod parse;
pub(crate) mod table;

use ferry_client::Address;

use super::words::Word;
pub(crate) use parse::{Expected, expected, parse, understand};
pub(crate) use table::Form;

/// One command, understood; names are not looked up yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    Open(Address),
    Get(Transfer),
    Put(Transfer),
    Close,
    Quit,
    Help(Option<&'static Form>),
}

/// What GET and PUT move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Transfer {
    /// What to move.
    pub(crate) names: Names,
}

/// The names that a command is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Names {
    /// All that was typed as one name, where it can be read so: it is the one that is meant if it exists.
    pub(crate) line: Option<String>,
    /// One after the other; at least one.
    pub(crate) words: Vec<Word>,
}
