//! The arguments of LS and LLS.

use clap::{ArgAction, Args, ValueHint};

use super::{
    choosing::{Choosing, Listed, NothingLocal},
    names::Names,
    names::together,
    value::word,
};
use crate::words::Word;

/// The arguments that LS and LLS share.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct List {
    /// With sizes and times
    #[arg(short, long)]
    long: bool,
    /// Sizes in KiB, MiB and so on
    #[arg(short, long)]
    human: bool,
    /// The newest first
    #[arg(short, long)]
    time: bool,
    /// The largest first
    #[arg(short = 'S', long)]
    size: bool,
    /// In reverse order
    #[arg(short, long)]
    reverse: bool,
    /// Names that begin with a dot as well, as always
    #[arg(short, long, hide = true)]
    all: bool,
    /// One name a line, as always
    #[arg(short = '1', long, hide = true)]
    one: bool,
    /// Print help
    #[arg(id = "help", long, action = ArgAction::Help)]
    help: Option<bool>,
    /// Files, directories, or patterns with wildcards [default: the current directory]
    #[arg(id = "names", value_name = "NAME", value_hint = ValueHint::Other, value_parser = word)]
    words: Vec<Word>,
}

/// The arguments of LS.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct ListThere {
    #[command(flatten)]
    pub(crate) list: List,
    #[command(flatten)]
    pub(crate) choosing: Choosing,
    #[command(flatten)]
    pub(crate) listed: Listed,
    #[command(flatten)]
    pub(crate) nothing_local: NothingLocal,
}

/// The style of a listing.
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

impl List {
    pub(crate) fn style(&self) -> Listing {
        let order = match (self.time, self.size) {
            (true, _) => Order::Time,
            (false, true) => Order::Size,
            (false, false) => Order::Name,
        };
        Listing { long: self.long, human: self.human, order, reverse: self.reverse }
    }

    /// Returns what to list; [`None`] for the current directory.
    pub(crate) fn names(&self) -> Option<Names> {
        (!self.words.is_empty()).then(|| Names { words: self.words.clone() })
    }

    /// Returns several words as the one name that they may be meant as, where no quote says that they are several.
    pub(in crate::command) fn together(&self) -> Option<String> {
        together(self.words.iter())
    }
}
