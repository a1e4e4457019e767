//! Directories with all that is beneath them, at either end.

mod explore;
mod left;
mod links;
mod local;
mod names;
mod remote;
mod usage;

use ferry_wire::{DirMeta, Mode, Name, Tag, Time};

pub(crate) use explore::{explore, list};
pub(crate) use left::{End, Left};
pub(crate) use links::TreePlaces;
pub(crate) use local::{LocalTree, Walk};
pub(crate) use names::{ancestors, below, in_tree_order, is_within, joined, unnameable};
pub use remote::{Found, RemoteTree};
pub(crate) use remote::{Sift, remote};
pub use usage::Usage;

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
    /// A directory. A server tells permissions only if asked.
    Directory { mtime: Option<Time>, mode: Option<Mode> },
    /// A regular file; the tag is what a server tells of its version.
    File { size: u64, mtime: Option<Time>, tag: Option<Tag>, mode: Option<Mode> },
}

impl From<DirMeta> for NodeKind {
    fn from(DirMeta { mtime, mode }: DirMeta) -> NodeKind {
        NodeKind::Directory { mtime, mode }
    }
}

impl NodeKind {
    pub(crate) fn is_directory(&self) -> bool {
        matches!(self, NodeKind::Directory { .. })
    }
}
