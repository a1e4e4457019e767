//! Directories with all that is beneath them, at either end.

mod explore;
mod local;
mod names;
mod remote;

use ferry_wire::{Name, Tag, Time};

pub(crate) use explore::{explore, list};
pub(crate) use local::LocalTree;
pub(crate) use names::{ancestors, below, in_tree_order, is_within, joined, unnameable};
pub(crate) use remote::remote;
pub use remote::{Found, RemoteTree};

/// One thing beneath a directory, at either end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    /// Its name below that directory.
    pub(crate) name: Name,
    pub(crate) kind: NodeKind,
}

/// The kind of a [`Node`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NodeKind {
    Directory,
    /// A regular file; the tag is what a server tells of its version.
    File {
        size: u64,
        mtime: Option<Time>,
        tag: Option<Tag>,
    },
}
