//! The one tree of commands, from what was typed to a [`Command`].
//!
//! [`tree`] declares every command once, with its arguments and texts. The prompt, one-shot use (`ferry get ...`), HELP,
//! completion, `--help`, the manual and the completions for shells all read that tree.
//!
//! # Adding a command
//!
//! 1. A variant of [`Command`] in [`tree`]. Its doc comment is the text of HELP; `after_help` holds examples, one a
//!    line.
//! 2. A struct for its arguments in [`arguments`], in the file of its kind. The [`ValueHint`](clap::ValueHint) of an
//!    argument says what completes it: `Other` is a name of the server, or a directory of it if the value is called
//!    `DIR`.
//! 3. A method of `Session`, called in `Session::perform`, with a match arm that the compiler asks for.
//! 4. Only if it should also work alone (`ferry NAME HOST ...`): its name in `lookup::ONE_SHOT`.

mod alias;
mod arguments;
mod complaint;
pub(crate) mod likeness;
pub(crate) mod lookup;
mod parse;
mod tree;

pub(crate) use alias::Aliases;
pub(crate) use arguments::{
    Choosing, CopyArgs, Depth, Get, GoingOn, IgnoreFiles, KeepGoing, Kind, ListThere, Listed, Listing, NameRule, Names,
    Open, Order, Places, Put, RemoveArgs, Renaming, Search, SetArgs, Sizes, Style, SumArgs, SyncDirectories, Target,
    There, Transfer, WatchArgs,
};
pub(crate) use parse::{arrow_as_option, parse, read, tells_secret};
pub(crate) use tree::Command;
