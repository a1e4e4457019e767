//! The things in a directory.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

/// One thing in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    /// With its permissions.
    Directory(u32),
    File(Content),
    Link(PathBuf),
}

/// A file, apart from its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) bytes: u64,
    pub(crate) crc: u32,
    pub(crate) mtime: (i64, i64),
    pub(crate) mode: u32,
}

impl Content {
    /// Whether it is the same file but for its permissions.
    pub(crate) fn is_copy_of(&self, other: &Content) -> bool {
        self.has_bytes_of(other) && self.mtime == other.mtime
    }

    pub(crate) fn has_bytes_of(&self, other: &Content) -> bool {
        (self.bytes, self.crc) == (other.bytes, other.crc)
    }
}

impl Node {
    pub(crate) fn is_directory(&self) -> bool {
        matches!(self, Node::Directory(_))
    }
}

/// Everything beneath a directory but for what belongs to ferry itself; no link is followed.
pub(crate) type Tree = BTreeMap<PathBuf, Node>;

pub(crate) fn snapshot(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.file_name().unwrap().as_bytes().starts_with(b".ferry") {
                continue;
            }
            let meta = path.symlink_metadata().unwrap();
            let node = if meta.is_dir() {
                waiting.push(path.clone());
                Node::Directory(meta.mode() & 0o7777)
            } else if meta.is_file() {
                Node::File(Content {
                    bytes: meta.len(),
                    crc: crc32fast::hash(&fs::read(&path).unwrap()),
                    mtime: (meta.mtime(), meta.mtime_nsec()),
                    mode: meta.mode() & 0o7777,
                })
            } else {
                Node::Link(fs::read_link(&path).unwrap())
            };
            tree.insert(path.strip_prefix(root).unwrap().to_owned(), node);
        }
    }
    tree
}

/// Returns what is in a directory, one thing to a line.
pub(crate) fn shown(tree: &Tree) -> String {
    tree.iter().map(|(path, node)| format!("\n    {}: {node:?}", path.display())).collect()
}
