//! Choosing: the things of a tree that are left out.

use std::collections::HashSet;

use ferry_wire::Name;

use crate::choose::{Chooser, Ruling};

/// The end of a transfer that a tree is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It is read: what is hidden is not looked at.
    Read,
    /// It is changed: what is hidden at the other end, and is not deleted either, is not looked at.
    Changed,
}

/// The things of a tree that are left out by choice. Names are below the tree.
#[derive(Debug, Default)]
pub(crate) struct Left {
    /// Things that are not looked at, and what is beneath them.
    pub(crate) names: HashSet<Name>,
    /// Things that are looked at and not deleted, and neither is what is beneath them, where the directory that they are in
    /// stays.
    pub(crate) protected: HashSet<Name>,
    /// The same, where that directory is deleted: perishable rules say nothing then.
    pub(crate) firmly: HashSet<Name>,
    /// Directories with something in them that is left out and has no valid name.
    pub(crate) holding: HashSet<Name>,
}

impl Left {
    /// Decides whether something is looked at, and notes what is left out.
    pub(crate) fn sift(&mut self, chooser: &mut Chooser<'_>, end: End, name: &Name, is_directory: bool) -> bool {
        let Ruling { hidden, protected, firmly } = chooser.ruling(name.as_str(), is_directory);
        let is_left = match end {
            End::Read => hidden,
            // What goes with its directory, or stays with it, has to be known.
            End::Changed => hidden && protected && firmly,
        };
        if is_left {
            self.names.insert(name.clone());
        } else if end == End::Changed {
            self.protected.extend(protected.then(|| name.clone()));
            self.firmly.extend(firmly.then(|| name.clone()));
        }
        !is_left
    }

    /// Does the same for something in `directory` that has no valid name, and is `text` all the same. It is not looked at in
    /// any case.
    pub(super) fn sift_unnamed(
        &mut self,
        chooser: &mut Chooser<'_>,
        directory: Option<&Name>,
        text: &str,
        is_directory: bool,
    ) -> bool {
        let is_left = chooser.ruling(text, is_directory) != Ruling::TAKEN;
        if is_left {
            self.holding.extend(directory.cloned());
        }
        !is_left
    }
}
