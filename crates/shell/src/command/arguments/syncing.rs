//! The arguments of SYNC.

use std::{iter, path::PathBuf};

use clap::{Args, ValueHint};
use ferry_client::{Direction, Links, Sync};

use super::{
    choosing::{Choosing, IgnoreFiles, LinkOptions, Listed},
    going_on::GoingOn,
    names::together,
    perms::Perms,
    value::{number, place},
};
use crate::words::Word;

/// The arguments of SYNC, as they are typed.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct SyncArgs {
    /// From here to the server (the default)
    #[arg(short, long, conflicts_with = "down")]
    up: bool,
    /// From the server to here
    #[arg(short, long)]
    down: bool,
    /// Compare by content, not by time
    #[arg(short, long)]
    check: bool,
    /// Only say what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Delete what only the changed side has, after all was moved
    #[arg(short = 'D', long, alias = "delete-after")]
    delete: bool,
    /// Leave files as they are that are newer at the changed side
    #[arg(long)]
    update: bool,
    /// Ask nothing before more than 100 things are deleted
    #[arg(short, long)]
    yes: bool,
    /// Do nothing if more than N things would be deleted [default: 1000, or half of what is there]
    #[arg(short = 'M', long, value_name = "N", value_parser = number, allow_hyphen_values = true)]
    max_delete: Option<usize>,
    /// Keep replaced and deleted files of the changed side there in DIR
    #[arg(short = 'B', long, value_name = "DIR", value_hint = ValueHint::DirPath, value_parser = place)]
    backup_dir: Option<Word>,
    #[command(flatten)]
    perms: Perms,
    #[command(flatten)]
    going_on: GoingOn,
    #[command(flatten)]
    choosing: Choosing,
    #[command(flatten)]
    listed: Listed,
    #[command(flatten)]
    ignore_files: IgnoreFiles,
    #[command(flatten)]
    links: LinkOptions,
    /// With -d: make holes where large files have nothing but zeros
    #[arg(short = 'S', long, requires = "down", conflicts_with = "up")]
    sparse: bool,
    /// The directory to read
    #[arg(value_hint = ValueHint::AnyPath, value_parser = place)]
    from: Word,
    /// The directory to change [default: the one of the same name]
    #[arg(value_hint = ValueHint::AnyPath, value_parser = place)]
    to: Option<Word>,
    /// Another way to name it
    #[arg(short, long, value_name = "TO", value_hint = ValueHint::AnyPath, value_parser = place, conflicts_with = "to", hide = true)]
    output: Option<Word>,
}

impl SyncArgs {
    /// Returns the names as the one that they may be meant as, and whether it would be one of the server.
    pub(in crate::command) fn together(&self) -> Option<(String, bool)> {
        Some((together(iter::once(&self.from).chain(&self.to))?, self.down))
    }
}

/// The directories that SYNC compares, and how it makes them alike.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SyncDirectories {
    /// The direction, and how far it goes.
    pub(crate) sync: Sync,
    /// The directory that is read.
    pub(crate) from: String,
    /// The directory that is changed; [`None`] for the one of the same name.
    pub(crate) to: Option<String>,
    /// Nothing is changed.
    pub(crate) dry_run: bool,
    /// Nothing is asked before many things are deleted.
    pub(crate) yes: bool,
    pub(crate) going_on: GoingOn,
    pub(crate) choosing: Choosing,
    pub(crate) listed: Listed,
    pub(crate) ignore_files: IgnoreFiles,
    pub(crate) links: Links,
    /// Large files get holes.
    pub(crate) sparse: bool,
}

impl From<SyncArgs> for SyncDirectories {
    fn from(args: SyncArgs) -> SyncDirectories {
        let direction = if args.down { Direction::Down } else { Direction::Up };
        SyncDirectories {
            sync: Sync {
                check: args.check,
                update: args.update,
                permissions: args.perms.permissions(),
                delete: args.delete,
                max_delete: args.max_delete,
                backup: args.backup_dir.map(|word| PathBuf::from(word.text)),
                ..Sync::new(direction)
            },
            from: args.from.text,
            to: args.to.or(args.output).map(|word| word.text),
            dry_run: args.dry_run,
            yes: args.yes,
            going_on: args.going_on,
            choosing: args.choosing,
            listed: args.listed,
            ignore_files: args.ignore_files,
            links: args.links.links(),
            sparse: args.sparse,
        }
    }
}
