//! A tree of files and directories in memory, changed one request at a time: what the model store
//! keeps, and what the reference model predicts with.

use std::{collections::BTreeMap, sync::Arc};

use ferry_server::store::{DirEntry, FileVersion, Permissions, Status, Touch};
use ferry_wire::{Code, Crc32, DirMeta, Entry, EntryKind, FileMeta, Mode, Name, Tag, Time};

/// A file or a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    File { data: Arc<Vec<u8>>, mtime: Time },
    Dir(Mode),
}

impl Node {
    /// Returns a directory that nobody gave other permissions.
    pub(crate) fn directory() -> Node {
        Node::Dir(Mode::ALL)
    }
}

/// All that is there, by name. The root has the empty name and is always there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tree(BTreeMap<String, Node>);

/// Returns the time of files that were given none, and of every directory.
pub(crate) fn some_time() -> Time {
    Time::new(1_700_000_000, 0).unwrap()
}

/// Returns a tag made of the file alone, so that a prediction needs no look at the store.
pub(crate) fn tag_of(data: &[u8], mtime: Time) -> Tag {
    Tag::new(&format!("{}-{}-{}-{}", data.len(), Crc32::of(data), mtime.seconds(), mtime.nanos())).unwrap()
}

/// Returns permissions that are made of the file alone.
pub(crate) fn mode_of(data: &[u8]) -> Mode {
    Mode::of(data.len() as u32)
}

impl Tree {
    pub(crate) fn insert(&mut self, name: &str, node: Node) {
        self.0.insert(name.to_owned(), node);
    }

    /// Returns the node with `name`, or the code that a request for it fails with.
    pub(crate) fn find(&self, name: &str) -> Result<&Node, Code> {
        self.check_parent(name)?;
        self.0.get(name).ok_or(Code::NotFound)
    }

    fn check_parent(&self, name: &str) -> Result<(), Code> {
        for (at, _) in name.match_indices('/') {
            match self.0.get(&name[..at]) {
                None => return Err(Code::NotFound),
                Some(Node::File { .. }) => return Err(Code::NotADirectory),
                Some(Node::Dir(_)) => {}
            }
        }
        Ok(())
    }

    pub(crate) fn file(&self, name: &str) -> Result<(Arc<Vec<u8>>, FileMeta), Code> {
        let (data, version) = self.file_version(name)?;
        Ok((data, version.into()))
    }

    pub(crate) fn file_version(&self, name: &str) -> Result<(Arc<Vec<u8>>, FileVersion), Code> {
        match self.find(name)? {
            Node::Dir(_) => Err(Code::NotAFile),
            Node::File { data, mtime } => Ok((data.clone(), version(data, *mtime))),
        }
    }

    /// Returns the lines of a listing, in the order of names: with permissions where it `tells` them.
    pub(crate) fn list(&self, name: Option<&Name>, tells: bool) -> Result<Vec<String>, Code> {
        let line = |DirEntry { name, status }: DirEntry| {
            let kind = match status {
                Status::File(version) => {
                    EntryKind::File(FileMeta { mode: tells.then_some(version.mode), ..version.into() })
                }
                Status::Directory { mtime, mode } => {
                    EntryKind::Directory(DirMeta { mtime, mode: mode.filter(|_| tells) })
                }
            };
            let mut line = Vec::new();
            Entry { name, kind }.encode(&mut line);
            String::from_utf8(line).unwrap()
        };
        Ok(self.entries(name)?.into_iter().map(line).collect())
    }

    /// Returns the entries of a directory, in the order of names.
    pub(crate) fn entries(&self, name: Option<&Name>) -> Result<Vec<DirEntry>, Code> {
        let prefix = match name {
            None => String::new(),
            Some(name) => match self.find(name.as_str())? {
                Node::File { .. } => return Err(Code::NotADirectory),
                Node::Dir(_) => format!("{name}/"),
            },
        };
        let inside = self.0.iter().filter_map(|(name, node)| {
            let last = name.strip_prefix(&prefix).filter(|last| !last.is_empty() && !last.contains('/'))?;
            let status = match node {
                Node::Dir(mode) => Status::Directory { mtime: Some(some_time()), mode: Some(*mode) },
                Node::File { data, mtime } => Status::File(version(data, *mtime)),
            };
            Some(DirEntry { name: Name::new(last).unwrap(), status })
        });
        Ok(inside.collect())
    }

    pub(crate) fn mkdir(&mut self, name: &str) -> Result<(), Code> {
        self.mkdir_with(name, None)
    }

    pub(crate) fn mkdir_with(&mut self, name: &str, permissions: Option<Permissions>) -> Result<(), Code> {
        match self.find(name) {
            Ok(_) => Err(Code::Exists),
            Err(Code::NotFound) => {
                self.check_parent(name)?;
                let mode = permissions.map_or(Mode::ALL, |permissions| permissions.over_directory(Mode::ALL));
                self.insert(name, Node::Dir(mode));
                Ok(())
            }
            Err(code) => Err(code),
        }
    }

    pub(crate) fn delete(&mut self, name: &str) -> Result<(), Code> {
        if matches!(self.find(name)?, Node::Dir(_)) && self.0.keys().any(|inside| is_inside(inside, name)) {
            return Err(Code::NotEmpty);
        }
        self.0.remove(name);
        Ok(())
    }

    pub(crate) fn rename(&mut self, from: &str, to: &str) -> Result<(), Code> {
        self.find(from)?;
        if is_inside(to, from) {
            return Err(Code::BadRequest);
        }
        self.check_parent(to)?;
        if self.0.contains_key(to) {
            return Err(Code::Exists);
        }
        let moved = |name: &String| name == from || is_inside(name, from);
        let names: Vec<String> = self.0.keys().filter(|name| moved(name)).cloned().collect();
        for name in names {
            let node = self.0.remove(&name).unwrap();
            self.0.insert(format!("{to}{}", &name[from.len()..]), node);
        }
        Ok(())
    }

    /// Sets the time of a file, or the permissions of a directory: those of a file are made of it alone, and directories have
    /// one time for all.
    pub(crate) fn touch(&mut self, Touch { name, mtime, permissions }: &Touch) -> Result<(), Code> {
        let data = match self.find(name.as_str())? {
            Node::Dir(mode) => {
                let mode = permissions.map_or(*mode, |permissions| permissions.over_directory(*mode));
                self.insert(name.as_str(), Node::Dir(mode));
                return Ok(());
            }
            Node::File { data, .. } => data.clone(),
        };
        self.insert(name.as_str(), Node::File { data, mtime: mtime.unwrap_or(some_time()) });
        Ok(())
    }

    /// Returns whether an upload may get this name.
    pub(crate) fn check_target(&self, name: &str) -> Result<(), Code> {
        match self.find(name) {
            Ok(Node::Dir(_)) => Err(Code::NotAFile),
            Ok(Node::File { .. }) => Ok(()),
            Err(Code::NotFound) => self.check_parent(name),
            Err(code) => Err(code),
        }
    }

    /// Gives a file its name, in place of one that has it.
    pub(crate) fn publish(&mut self, name: &str, data: Arc<Vec<u8>>, mtime: Time) -> Result<Tag, Code> {
        self.check_target(name)?;
        let tag = tag_of(&data, mtime);
        self.insert(name, Node::File { data, mtime });
        Ok(tag)
    }

    /// Returns how many files there are.
    pub(crate) fn files(&self) -> usize {
        self.0.values().filter(|node| matches!(node, Node::File { .. })).count()
    }

    /// Returns the directory `name`, with all that lies in it.
    pub(crate) fn below(&self, name: &str) -> Tree {
        let kept = self.0.iter().filter(|(there, _)| *there == name || is_inside(there, name));
        Tree(kept.map(|(name, node)| (name.clone(), node.clone())).collect())
    }
}

fn is_inside(name: &str, dir: &str) -> bool {
    name.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'))
}

fn version(data: &[u8], mtime: Time) -> FileVersion {
    FileVersion { size: data.len() as u64, mtime: Some(mtime), tag: tag_of(data, mtime), mode: mode_of(data) }
}
