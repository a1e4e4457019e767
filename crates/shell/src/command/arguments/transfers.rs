//! The arguments of GET and PUT, and those that all commands share that move files.

use clap::{Args, ValueHint};
use ferry_client::IfTaken;

use super::{
    choosing::{Choosing, IgnoreFiles, LinkOptions, Listed, NoLinks},
    going_on::GoingOn,
    names::Names,
    perms::Perms,
    value::{Target, target},
};

/// The things to move, and the way: for GET, PUT and `ferry cp`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Move {
    /// Whole directories, with everything in them
    #[arg(short, long)]
    pub(crate) recursive: bool,
    #[command(flatten)]
    pub(crate) going_on: GoingOn,
    /// Only say what would be done
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) perms: Perms,
    #[command(flatten)]
    pub(crate) choosing: Choosing,
    #[command(flatten)]
    pub(crate) listed: Listed,
}

/// The treatment of an upload whose name is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub(crate) struct Clobbering {
    /// Never replace a file of the server: fail where the name is taken (slower for many small files)
    #[arg(long)]
    no_clobber: bool,
}

impl Clobbering {
    pub(crate) fn if_taken(self) -> IfTaken {
        if self.no_clobber { IfTaken::Fail } else { IfTaken::Replace }
    }
}

/// The arguments of GET and PUT.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Transfer {
    #[command(flatten)]
    pub(crate) names: Names,
    #[command(flatten)]
    pub(crate) moves: Move,
    #[command(flatten)]
    pub(crate) ignore_files: IgnoreFiles,
    /// Another name for it, or a directory to put it in; '-> NAME' is the same
    #[arg(short = 'o', long = "output", id = "output", value_name = "LOCAL", value_hint = ValueHint::AnyPath, value_parser = target, allow_hyphen_values = true)]
    pub(crate) target: Option<Target>,
}

/// The arguments of GET.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Get {
    #[command(flatten)]
    pub(crate) transfer: Transfer,
    /// Make holes where large files have nothing but zeros
    #[arg(short = 'S', long)]
    pub(crate) sparse: bool,
    #[command(flatten)]
    pub(crate) no_links: NoLinks,
}

/// The arguments of PUT.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Put {
    #[command(flatten)]
    pub(crate) transfer: Transfer,
    #[command(flatten)]
    pub(crate) clobbering: Clobbering,
    #[command(flatten)]
    pub(crate) links: LinkOptions,
}
