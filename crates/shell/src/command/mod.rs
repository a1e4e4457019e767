//! The one tree of commands, from what was typed to a [`Command`].
//!
//! [`tree`] declares every command once, with its arguments and texts. The prompt, one-shot use (`ferry get ...`), HELP,
//! completion, `--help`, the manual and the completions for shells all read that tree.
//!
//! # Adding a command
//!
//! 1. A variant of [`Command`] in [`tree`], with a struct for its arguments. Its doc comment is the text of HELP;
//!    `after_help` holds examples, one a line. The [`ValueHint`](clap::ValueHint) of an argument says what completes it:
//!    `Other` is a name of the server, or a directory of it if the value is called `DIR`.
//! 2. A method of `Session`, called in `Session::perform`, with a match arm that the compiler asks for.
//! 3. Only if it should also work alone (`ferry NAME HOST ...`): its name in `lookup::ONE_SHOT`.

mod argument;
mod choosing;
mod complaint;
pub(crate) mod likeness;
mod looking;
pub(crate) mod lookup;
mod parse;
mod tree;

pub(crate) use argument::Target;
pub(crate) use choosing::{Choosing, IgnoreFiles, Listed, NameRule};
pub(crate) use looking::{Depth, Kind, Places, Search, Sizes};
pub(crate) use parse::{arrow_as_option, parse, read, tells_secret};
pub(crate) use tree::{
    Command, Get, GoingOn, KeepGoing, ListThere, Listing, Names, Open, Order, Put, RemoveArgs, Renaming, Style,
    SumArgs, SyncDirectories, Transfer,
};
