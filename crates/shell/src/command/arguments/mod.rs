//! The arguments of the commands, by kind. Their doc comments are the texts of HELP, `--help` and the manual.

mod between;
mod changes;
mod choosing;
mod few;
mod going_on;
mod listing;
mod looking;
mod names;
mod opening;
mod perms;
mod sums;
mod syncing;
mod transfers;
pub(super) mod value;

pub(crate) use between::{CopyArgs, There, WatchArgs};
pub(crate) use changes::{MakeDirectories, RemoveArgs, Renaming};
pub(crate) use choosing::{Choosing, HEADING, IgnoreFiles, Listed, NameRule};
pub(crate) use few::{AnyJob, Directory, HistoryArgs, OneJob, SetArgs, ShellLine, Topic};
pub(crate) use going_on::{GoingOn, KeepGoing};
pub(crate) use listing::{List, ListThere, Listing, Order};
pub(crate) use looking::{Depth, Kind, Places, Search, Sizes, SpaceArgs};
pub(crate) use names::Names;
pub(crate) use opening::{Login, Open};
pub(crate) use sums::{Style, SumArgs};
pub(crate) use syncing::{SyncArgs, SyncDirectories};
pub(crate) use transfers::{Get, Put, Transfer};
pub(crate) use value::Target;
