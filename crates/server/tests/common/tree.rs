//! The root as clients see it: all but the server's own corner.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Directories and files beneath the root, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tree(pub(crate) BTreeMap<String, Node>);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Node {
    Dir,
    File(Vec<u8>),
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Node::Dir => f.write_str("dir"),
            Node::File(bytes) => write!(f, "{} bytes {}", bytes.len(), ferry_wire::Crc32::of(bytes)),
        }
    }
}

impl Tree {
    pub(crate) fn read(root: &Path) -> Tree {
        let mut tree = Tree::default();
        tree.add(root, "");
        tree
    }

    fn add(&mut self, dir: &Path, prefix: &str) {
        for entry in fs::read_dir(dir).expect("a directory that can be read") {
            let entry = entry.expect("an entry");
            let last = entry.file_name().into_string().expect("a name in UTF-8");
            if prefix.is_empty() && last == ".ferry" {
                continue;
            }
            let name = format!("{prefix}{last}");
            if entry.path().is_dir() {
                self.add(&entry.path(), &format!("{name}/"));
                self.0.insert(name, Node::Dir);
            } else {
                self.0.insert(name, Node::File(fs::read(entry.path()).expect("a file that can be read")));
            }
        }
    }

    pub(crate) fn file(&self, name: &str) -> Option<&[u8]> {
        match self.0.get(name)? {
            Node::File(bytes) => Some(bytes),
            Node::Dir => None,
        }
    }

    pub(crate) fn is_dir(&self, name: &str) -> bool {
        self.0.get(name) == Some(&Node::Dir)
    }

    /// Returns whether the directory that `name` would lie in is there.
    pub(crate) fn has_parent(&self, name: &str) -> bool {
        name.rsplit_once('/').is_none_or(|(parent, _)| self.is_dir(parent))
    }

    pub(crate) fn put(&mut self, name: &str, bytes: &[u8]) {
        self.0.insert(name.into(), Node::File(bytes.to_vec()));
    }
}

/// Returns the directories of processes in the server's corner, and what lies in them beside their locks.
pub(crate) fn runs(root: &Path) -> Vec<(String, Vec<String>)> {
    let names = |path: &Path| -> Vec<String> {
        let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
    };
    let corner = root.join(".ferry");
    let runs = names(&corner).into_iter().filter(|name| name.starts_with("run-"));
    let staged = |run: &str| names(&corner.join(run)).into_iter().filter(|name| name != "lock").collect();
    runs.map(|run| (run.clone(), staged(&run))).collect()
}

/// Returns the bytes that are kept aside under an id: those of the latest holder.
pub(crate) fn kept(root: &Path, id: &str) -> Vec<u8> {
    kept_path(root, id).and_then(|path| fs::read(path).ok()).unwrap_or_default()
}

/// Returns where they lie.
pub(crate) fn kept_path(root: &Path, id: &str) -> Option<PathBuf> {
    let kept = root.join(".ferry/kept");
    let own = fs::read_dir(kept.join(format!("{id}.d"))).into_iter().flatten().flatten().map(|entry| entry.path());
    let epoch = |path: &PathBuf| {
        let stem = path.file_name()?.to_str()?.strip_suffix(".data")?;
        stem.split('-').next()?.parse::<u64>().ok()
    };
    let latest = own.filter(|path| epoch(path).is_some()).max_by_key(epoch);
    latest.or_else(|| Some(kept.join(format!("{id}.data"))).filter(|path| path.exists()))
}
