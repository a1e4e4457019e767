//! The arguments of commands that change what the server has: MKDIR, RM and MV.

use clap::{Args, ValueHint};

use super::{
    choosing::{Choosing, Listed, NothingLocal},
    going_on::GoingOn,
    names::Names,
    value::{text, word},
};
use crate::words::Word;

/// The arguments of MKDIR.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct MakeDirectories {
    /// Make missing parents too, and accept one that exists
    #[arg(short, long)]
    pub(crate) parents: bool,
    #[command(flatten)]
    pub(crate) names: Names,
}

/// The arguments of RM.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct RemoveArgs {
    /// Whole directories, with everything in them
    #[arg(short, long)]
    pub(crate) recursive: bool,
    /// Empty directories as well
    #[arg(short = 'd', long)]
    pub(crate) empty: bool,
    /// Ignore names that do not exist
    #[arg(short, long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) going_on: GoingOn,
    /// Only say what would be done
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// Ask nothing before more than 100 things are deleted
    #[arg(short, long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) choosing: Choosing,
    #[command(flatten)]
    pub(crate) listed: Listed,
    #[command(flatten)]
    pub(crate) nothing_local: NothingLocal,
    #[command(flatten)]
    pub(crate) names: Names,
}

/// The arguments of MV: names, of which the last is the new one where it stands nowhere else.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Renaming {
    #[command(flatten)]
    pub(crate) going_on: GoingOn,
    /// Only say what would be done
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// The files and directories, and at the end the new name or a directory to move them to
    #[arg(id = "names", value_name = "NAME", value_hint = ValueHint::Other, required = true, value_parser = word)]
    words: Vec<Word>,
    /// Another way to give the new name
    #[arg(short, long, value_name = "TO", value_hint = ValueHint::Other, value_parser = text, hide = true)]
    output: Option<String>,
}

impl Renaming {
    /// Returns what is to be moved, and where to; [`None`] where one of the two is missing.
    pub(in crate::command) fn taken_apart(&self) -> Option<(&[Word], &str)> {
        match (&self.output, self.words.split_last()) {
            (Some(to), _) => Some((&self.words, to)),
            (None, Some((to, from))) if !from.is_empty() => Some((from, &to.text)),
            (None, _) => None,
        }
    }

    /// Returns what is to be moved.
    pub(crate) fn from(&self) -> Names {
        Names { words: self.taken_apart().map(|(from, _)| from.to_vec()).unwrap_or_default() }
    }

    /// Returns the new name. The parser has seen to it that there is one.
    pub(crate) fn to(&self) -> &str {
        self.taken_apart().map_or("", |(_, to)| to)
    }
}
