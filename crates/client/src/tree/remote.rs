//! The tree beneath a directory of the server.

use ferry_wire::{Entry, EntryKind, Name};

use super::{
    explore::explore,
    names::{in_tree_order, joined},
};
use crate::{error::Error, link::Link};

/// One thing beneath a directory of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its whole name.
    pub name: Name,
    /// Its kind.
    pub kind: EntryKind,
}

impl Found {
    /// Returns whether it is a directory.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        matches!(self.kind, EntryKind::Directory(_))
    }
}

/// The tree beneath a directory of the server.
#[derive(Debug, Default)]
pub struct RemoteTree {
    /// Everything, sorted by name; so a directory comes before its entries.
    pub found: Vec<Found>,
    /// Directories whose content is not known, and why: not to be read, or gone meanwhile; and what lies so deep that
    /// its name is too long to be asked for, as the directory that it is in.
    pub skipped: Vec<(Name, Error)>,
}

/// Decides whether something is looked at: by its whole name, and whether it is a directory.
pub(crate) type Sift<'a> = dyn FnMut(&Name, bool) -> bool + 'a;

/// Lists everything beneath `root`, or in all of the server, that `sift` does not leave out, in at most so many bytes of
/// memory, with the permissions of files where that is said beside it. `watch` learns how many things were found so far.
pub(crate) fn remote(
    link: &mut Link,
    limits: (usize, bool),
    root: Option<&Name>,
    sift: &mut Sift<'_>,
    watch: &mut dyn FnMut(usize),
) -> Result<RemoteTree, Error> {
    let RemoteTree { mut found, mut skipped } = RemoteTree::default();
    let mut at_root = None;
    explore(link, limits, vec![(root.cloned(), ())], |directory, (), listed| {
        let mut beneath = Vec::new();
        match (listed, directory) {
            (Ok(entries), _) => {
                for Entry { name, kind } in entries {
                    match joined(directory, name) {
                        Ok(name) => {
                            let is_directory = matches!(kind, EntryKind::Directory(_));
                            if !sift(&name, is_directory) {
                                continue;
                            }
                            if is_directory {
                                beneath.push((Some(name.clone()), ()));
                            }
                            found.push(Found { name, kind });
                        }
                        Err(unnamed) => skipped.push(unnamed),
                    }
                }
                watch(found.len());
            }
            (Err(failure), Some(name)) if Some(name) != root => skipped.push((name.clone(), Error::Server(failure))),
            (Err(failure), _) => at_root = Some(Error::Server(failure)),
        }
        beneath
    })?;
    if let Some(error) = at_root {
        return Err(error);
    }
    found.sort_by(|a, b| in_tree_order(a.name.as_str(), b.name.as_str()));
    Ok(RemoteTree { found, skipped })
}
