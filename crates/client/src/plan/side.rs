//! All that is at one end.

use std::{cmp::Ordering, collections::HashSet};

use ferry_wire::{Code, DirMeta, EntryKind, FileMeta, Name, Time};

use super::{Looking, Remarks, seen};
use crate::{
    choose::{self, Above, Choice, Chooser, Links, MAX_RULES_BYTES},
    client::Client,
    conversation::requests::Stat,
    error::Error,
    local::{HeldDirectory, contents},
    tree::{End, Found, Left, LocalTree, Node, NodeKind, RemoteTree, TreePlaces, Walk, below, in_tree_order},
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
    /// Things that are left out by choice.
    pub(super) left: Left,
    pub(super) grain: Grain,
    /// The directory itself does not exist.
    pub(super) missing: bool,
    /// The time of the directory itself, of a local one; and its permissions, as far as they were asked for.
    pub(super) top: DirMeta,
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

    /// Returns whether all that is beneath the directory `name` could be looked at, and none of it has to stay.
    pub(super) fn knows_all_beneath(&self, name: &Name) -> bool {
        let is_at_or_beneath = |other: &Name| {
            other.as_str().strip_prefix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let Left { names, protected, firmly, holding } = &self.left;
        let beneath = firmly.iter().filter(|other| *other != name);
        let unknown = self.opaque.iter().chain(&self.holding).chain(names).chain(beneath).chain(holding);
        !protected.contains(name) && !unknown.into_iter().any(is_at_or_beneath)
    }

    /// Looks through the local tree of `places`.
    pub(super) fn here(places: &TreePlaces, look: &mut Look<'_, '_>) -> Result<Side, Error> {
        let Look { chooser, end, links, remarks, watch, .. } = look;
        let walk = Walk { chooser, end: *end, links: *links, watch: &mut |found| watch(Looking::Here(found)) };
        let LocalTree { nodes, skipped, left, root, .. } = LocalTree::walk(places.clone(), walk)?;
        let mut side = Side { left, top: root, ..Side::default() };
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
        Ok(Side { nodes, ..side })
    }

    /// Does the same for a comparison of what is in `root`, whose own time tells of its file system.
    pub(super) fn here_to_compare(
        root: &HeldDirectory,
        places: &TreePlaces,
        look: &mut Look<'_, '_>,
    ) -> Result<Side, Error> {
        let mut side = Side::here(places, look)?;
        side.grain.note_directory(root.mtime());
        Ok(side)
    }

    /// Looks through the server's directory `root`.
    pub(super) fn there(client: &mut Client, root: Option<&Name>, look: &mut Look<'_, '_>) -> Result<Side, Error> {
        let Look { chooser, end, tells_modes, remarks, watch, .. } = look;
        watch(Looking::There(0));
        let mut side = Side::default();
        let mut sift = |name: &Name, is_directory: bool| match below(root, name.clone()) {
            Some(name) => side.left.sift(chooser, *end, &name, is_directory),
            None => false,
        };
        let tree = client.tree_sifted(root, *tells_modes, &mut sift, &mut |found| watch(Looking::There(found)))?;
        let RemoteTree { found, skipped } = tree;
        for (name, error) in skipped {
            remarks.skipped.push((Some(name.clone()), error));
            side.opaque.extend(below(root, name));
        }
        let Side { nodes, grain, .. } = &mut side;
        nodes.extend(found.into_iter().filter_map(|Found { name, kind }| {
            let kind = match kind {
                EntryKind::Directory(DirMeta { mtime, mode }) => {
                    grain.note_directory(mtime);
                    NodeKind::Directory { mtime, mode }
                }
                EntryKind::File(FileMeta { size, mtime, tag, mode }) => {
                    grain.note(mtime);
                    NodeKind::File { size, mtime, tag: Some(tag), mode }
                }
            };
            Some(Node { name: below(root, name)?, kind })
        }));
        if let (true, Some(root)) = (*tells_modes, root) {
            side.top.mode = seen::mode(client, root)?;
        }
        Ok(side)
    }

    /// Does the same for a comparison: there may be no such directory, and its own time tells of its file system.
    pub(super) fn there_to_compare(
        client: &mut Client,
        root: Option<&Name>,
        may_be_missing: bool,
        look: &mut Look<'_, '_>,
    ) -> Result<Side, Error> {
        let mut side = match Side::there(client, root, look) {
            Err(error) if may_be_missing && root.is_some() && error.code() == Some(Code::NotFound) => {
                return Ok(Side::missing());
            }
            looked => looked?,
        };
        if let (false, Some(root)) = (side.grain.fractions, root) {
            match client.stat(root) {
                Ok(Stat::Directory(meta)) => side.grain.note_directory(meta.mtime),
                Ok(_) | Err(Error::Server(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(side)
    }
}

/// The terms of a look at one end.
pub(super) struct Look<'a, 'c> {
    pub(super) chooser: &'a mut Chooser<'c>,
    pub(super) end: End,
    pub(super) links: Links,
    /// The server tells permissions.
    pub(super) tells_modes: bool,
    pub(super) remarks: &'a mut Remarks,
    pub(super) watch: &'a mut dyn FnMut(Looking),
}

/// Returns who decides by `choice` on what is beneath a tree that is called `top` and is at the paths `above`, with the rules
/// of the local directories of `places`.
pub(super) fn chooser<'a>(choice: &'a Choice, top: &'a str, above: Above, places: &TreePlaces) -> Chooser<'a> {
    let places = places.clone();
    let open = move |directory: &str, file: &str| {
        let path = places.directory(Name::new(directory).ok().as_ref()).beneath(file);
        let bytes = contents(&path, MAX_RULES_BYTES + 1)?;
        let text = bytes.map(|bytes| choose::rules_text(&path, bytes)).transpose()?;
        Ok(text.map(|text| (path.to_path_buf(), text)))
    };
    Chooser::new(choice, top, above, Box::new(open))
}
