//! The plan of what to delete of a directory of the server.

use std::collections::HashSet;

use ferry_wire::{EntryKind, FileMeta, Name};

use crate::{
    choose::{Above, Choice, Chooser, Ruling},
    client::Client,
    error::Error,
    tree::{Found, RemoteTree, ancestors, below, is_within},
};

/// The names to be deleted of a directory of the server, in whole: all that is chosen, but for directories with
/// something in them that stays.
#[derive(Debug, Default)]
pub struct Removal {
    /// Files.
    pub files: Vec<Name>,
    /// Bytes of those.
    pub bytes: u64,
    /// Directories, the deepest first.
    pub directories: Vec<Name>,
    /// Directories whose content is not known, and why: see [`RemoteTree::skipped`].
    pub skipped: Vec<(Name, Error)>,
    /// Names of the list ([`Choice::only`]) that are not there.
    pub missing: Vec<Name>,
}

/// The part of a directory that is to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Portion {
    /// The directory with all that is in it. For the rules, names begin with its own.
    Whole,
    /// All that is in it. For the rules, names begin below it.
    Content,
}

impl Removal {
    /// Looks through `directory`, or all of the server. Nothing is deleted yet. What a rule protects from deletion stays.
    ///
    /// # Errors
    ///
    /// A directory that is not there or can't be listed, a connection that is lost.
    pub fn of(
        client: &mut Client,
        directory: Option<&Name>,
        extent: Portion,
        choice: &Choice,
    ) -> Result<Removal, Error> {
        let top = match (extent, directory) {
            (Portion::Whole, Some(directory)) => directory.last(),
            _ => "",
        };
        let itself = directory.filter(|_| extent == Portion::Whole);
        let place = match itself {
            Some(directory) => directory.parent().unwrap_or_default(),
            None => directory.map_or("", Name::as_str),
        };
        let mut chooser = Chooser::new(choice, top, Above::both(place), Box::new(|_, _| Ok(None)));
        let is_named = |name: &str| choice.only.as_ref().is_none_or(|only| only.names_itself(name));
        let mut left = HashSet::new();
        let mut sift = |name: &Name, is_directory: bool| {
            let is_taken = below(directory, name.clone()).is_some_and(|below| {
                // The directory that it is in is deleted as well.
                let perishes = below.parent().map_or(itself.is_some(), is_named);
                let Ruling { protected, firmly, .. } = chooser.ruling(below.as_str(), is_directory);
                !(if perishes { firmly } else { protected })
            });
            if !is_taken {
                left.insert(name.clone());
            }
            is_taken
        };
        let tree = client.tree_sifted(directory, false, &mut sift, &mut |_| {})?;
        let is_chosen = itself.is_none_or(|name| choice.takes_name(place, name.last(), true));
        Ok(if is_chosen { Removal::from(tree, (directory, itself), left, choice) } else { Removal::default() })
    }

    fn from(
        RemoteTree { found, skipped }: RemoteTree,
        (top, itself): (Option<&Name>, Option<&Name>),
        mut left: HashSet<Name>,
        choice: &Choice,
    ) -> Removal {
        let is_named = |name: &Name| {
            let below = || below(top, name.clone());
            choice.only.as_ref().is_none_or(|only| below().is_some_and(|below| only.names_itself(below.as_str())))
        };
        let mut removal = Removal { skipped, missing: absent(&found, top, &left, choice), ..Removal::default() };
        let mut directories: Vec<Name> = itself.cloned().into_iter().collect();
        for Found { name, kind } in found {
            match kind {
                EntryKind::Directory(_) if is_named(&name) => directories.push(name),
                EntryKind::File(FileMeta { size, mtime, .. }) if choice.takes_file(size, mtime) => {
                    removal.bytes = removal.bytes.saturating_add(size);
                    removal.files.push(name);
                }
                _ => {
                    left.insert(name);
                }
            }
        }
        let staying: HashSet<&str> = left.iter().flat_map(|name| ancestors(name.as_str())).collect();
        directories.retain(|name| !staying.contains(name.as_str()));
        // Backwards, a directory comes after its entries.
        directories.reverse();
        removal.files.reverse();
        Removal { directories, ..removal }
    }

    /// Returns how many things are deleted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.files.len() + self.directories.len()
    }

    /// Returns whether nothing is deleted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Returns the names of the list that are neither there nor left out.
fn absent(found: &[Found], top: Option<&Name>, left: &HashSet<Name>, choice: &Choice) -> Vec<Name> {
    let Some(only) = &choice.only else { return Vec::new() };
    let there: HashSet<&Name> = found.iter().map(|found| &found.name).collect();
    let whole = |name: &Name| top.map_or(Ok(name.clone()), |top| top.join(name.as_str()));
    let is_absent =
        |name: &&Name| whole(name).map_or(true, |whole| !there.contains(&whole) && !is_within(left, &whole));
    only.names().filter(is_absent).cloned().collect()
}
