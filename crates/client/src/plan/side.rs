//! All that is at one end.

use std::{cmp::Ordering, collections::HashSet, io};

use ferry_wire::{Code, EntryKind, FileMeta, Name, Time};

use super::{Looking, Remarks};
use crate::{
    client::Client,
    conversation::requests::Stat,
    error::Error,
    local::{HeldDirectory, LocalPath},
    tree::{Found, LocalTree, Node, NodeKind, RemoteTree, below, in_tree_order},
};

/// All that is beneath a directory at one end. Names are below that directory.
#[derive(Debug, Default)]
pub(super) struct Side {
    /// In the order of a tree.
    pub(super) nodes: Vec<Node>,
    /// Names of things that can't be looked at.
    pub(super) opaque: HashSet<Name>,
    /// Directories with something in them that can't be looked at.
    pub(super) holding: HashSet<Name>,
    pub(super) grain: Grain,
    /// The directory itself does not exist.
    pub(super) missing: bool,
}

/// The facts that the times of one end tell of its file system. Files may have whole seconds because somebody
/// has set them; the times of directories are mostly the system's own.
#[derive(Debug, Default)]
pub(super) struct Grain {
    /// Some time has a fraction of a second.
    fractions: bool,
    /// Directories whose time is known.
    directories: usize,
}

impl Grain {
    fn note(&mut self, mtime: Option<Time>) {
        self.fractions |= mtime.is_some_and(|mtime| mtime.nanos() > 0);
    }

    fn note_directory(&mut self, mtime: Option<Time>) {
        self.note(mtime);
        self.directories += usize::from(mtime.is_some());
    }

    /// Returns whether it can't hold fractions, as far as can be told.
    pub(super) fn is_whole_seconds(&self) -> bool {
        !self.fractions && self.directories > 0
    }
}

impl Side {
    /// A directory that does not exist, or is taken for empty because nothing in it matters.
    pub(super) fn missing() -> Side {
        Side { missing: true, ..Side::default() }
    }

    /// Returns what has the name `name`.
    pub(super) fn get(&self, name: &str) -> Option<&NodeKind> {
        let order = |node: &Node| -> Ordering { in_tree_order(node.name.as_str(), name) };
        self.nodes.binary_search_by(order).ok().map(|index| &self.nodes[index].kind)
    }

    /// Returns whether all that is beneath the directory `name` could be looked at.
    pub(super) fn knows_all_beneath(&self, name: &Name) -> bool {
        let is_at_or_beneath = |other: &Name| {
            other.as_str().strip_prefix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        !self.opaque.iter().chain(&self.holding).any(is_at_or_beneath)
    }

    /// Looks through the local directory `path`, and holds it.
    pub(super) fn here(
        path: &LocalPath,
        remarks: &mut Remarks,
        watch: &mut dyn FnMut(Looking),
    ) -> Result<(HeldDirectory, Side), Error> {
        let LocalTree { root, nodes, skipped } = LocalTree::walk(path, &mut |found| watch(Looking::Here(found)))?;
        let mut side = Side::default();
        side.grain.note_directory(root.mtime());
        for node in &nodes {
            if let NodeKind::File { mtime, .. } = node.kind {
                side.grain.note(mtime);
            }
        }
        for skip in skipped {
            match skip.by_rule {
                true => remarks.left_out.push(skip.error),
                false => remarks.skipped.push((None, skip.error)),
            }
            side.opaque.extend(skip.name);
            side.holding.extend(skip.directory);
        }
        Ok((root, Side { nodes, ..side }))
    }

    /// Does the same where there may be no such directory.
    pub(super) fn here_or_missing(
        path: &LocalPath,
        remarks: &mut Remarks,
        watch: &mut dyn FnMut(Looking),
    ) -> Result<(HeldDirectory, Side), Error> {
        match Side::here(path, remarks, watch) {
            Err(Error::Local { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok((HeldDirectory::at(&**path), Side::missing()))
            }
            looked => looked,
        }
    }

    /// Looks through the server's directory `root`.
    pub(super) fn there(
        client: &mut Client,
        root: Option<&Name>,
        remarks: &mut Remarks,
        watch: &mut dyn FnMut(Looking),
    ) -> Result<Side, Error> {
        watch(Looking::There(0));
        let tree = client.tree_watched(root, &mut |found| watch(Looking::There(found)))?;
        let RemoteTree { found, skipped } = tree;
        let mut side = Side::default();
        for (name, error) in skipped {
            remarks.skipped.push((Some(name.clone()), error));
            side.opaque.extend(below(root, name));
        }
        let Side { nodes, grain, .. } = &mut side;
        nodes.extend(found.into_iter().filter_map(|Found { name, kind }| {
            let kind = match kind {
                EntryKind::Directory(mtime) => {
                    grain.note_directory(mtime);
                    NodeKind::Directory
                }
                EntryKind::File(FileMeta { size, mtime, tag }) => {
                    grain.note(mtime);
                    NodeKind::File { size, mtime, tag: Some(tag) }
                }
            };
            Some(Node { name: below(root, name)?, kind })
        }));
        Ok(side)
    }

    /// Does the same for a comparison: there may be no such directory, and its own time tells of its file system.
    pub(super) fn there_to_compare(
        client: &mut Client,
        root: Option<&Name>,
        may_be_missing: bool,
        remarks: &mut Remarks,
        watch: &mut dyn FnMut(Looking),
    ) -> Result<Side, Error> {
        let mut side = match Side::there(client, root, remarks, watch) {
            Err(error) if may_be_missing && root.is_some() && error.code() == Some(Code::NotFound) => {
                return Ok(Side::missing());
            }
            looked => looked?,
        };
        if let (false, Some(root)) = (side.grain.fractions, root) {
            match client.stat(root) {
                Ok(Stat::Directory(mtime)) => side.grain.note_directory(mtime),
                Ok(_) | Err(Error::Server(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(side)
    }
}
