//! A model of the names of one client.

use std::{collections::BTreeMap, fs, path::Path};

use ferry_e2e::random_bytes;

/// The bytes of one version of a file, as a seed and a length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) seed: u64,
    pub(crate) length: usize,
}

impl Version {
    pub(crate) fn bytes(self) -> Vec<u8> {
        random_bytes(self.seed, self.length)
    }
}

/// The content of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    File(Version),
    Dir,
}

/// All names of one client; each begins with its prefix.
pub(crate) type Tree = BTreeMap<String, Entry>;

/// A request that changes.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Put(String, Version),
    Mkdir(String),
    Delete(String),
    Rename(String, String),
}

/// The tree as it is when `change` was made.
pub(crate) fn apply(tree: &mut Tree, change: &Change) {
    match change {
        Change::Put(name, version) => drop(tree.insert(name.clone(), Entry::File(*version))),
        Change::Mkdir(name) => drop(tree.insert(name.clone(), Entry::Dir)),
        Change::Delete(name) => drop(tree.remove(name)),
        Change::Rename(from, to) => {
            if let Some(entry) = tree.remove(from) {
                tree.insert(to.clone(), entry);
            }
        }
    }
}

/// Whether the root holds `tree` and no other name that begins with `prefix`; what differs, if not.
pub(crate) fn matches(root: &Path, prefix: &str, tree: &Tree) -> Result<(), String> {
    let mut names: Vec<String> = fs::read_dir(root)
        .map_err(|error| error.to_string())?
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(prefix))
        .collect();
    names.sort();
    if !names.iter().eq(tree.keys()) {
        return Err(format!("names {names:?}, not {:?}", tree.keys().collect::<Vec<_>>()));
    }
    for (name, entry) in tree {
        let path = root.join(name);
        let is_dir = path.is_dir();
        match entry {
            Entry::Dir if is_dir => {}
            Entry::File(version) if !is_dir && fs::read(&path).is_ok_and(|bytes| bytes == version.bytes()) => {}
            _ => return Err(format!("{name} is not {entry:?}")),
        }
    }
    Ok(())
}
