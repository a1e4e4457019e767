//! Writes down what a store does to its disk, and kills the server at a given call.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::MetadataExt,
    },
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use ferry_server::store::{Call, Watcher};
use rustix::{
    fs::{AtFlags, Stat, fstat, statat},
    io::Errno,
};

use crate::common::lack::Lack;
use crate::model::{Content, Image, Log, Node, Op};

/// The syncs that the disk only claims to have done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    None,
    Directories,
    /// fsync of files.
    Files,
    /// fdatasync.
    Data,
}

#[derive(Debug)]
struct Tape {
    log: Log,
    lie: Lie,
    /// The node of each inode. An inode that is used again is another node.
    by_inode: HashMap<u64, Node>,
    /// Entries as the running system sees them.
    entries: HashMap<Node, BTreeMap<String, Node>>,
    nodes: usize,
    /// Behind this many ops nothing is done any more.
    dies_at: usize,
    lack: Lack,
}

/// The watcher.
#[derive(Debug)]
pub(crate) struct Recorder(Mutex<Tape>);

impl Recorder {
    /// Begins with what lies in `root`: all of it is on the disk.
    pub(crate) fn new(root: &Path, lie: Lie, lack: Lack) -> Recorder {
        let base = Image(Vec::new());
        let mut tape = Tape {
            log: Log { base, ops: Vec::new() },
            lie,
            by_inode: HashMap::new(),
            entries: HashMap::new(),
            nodes: 0,
            dies_at: usize::MAX,
            lack,
        };
        tape.load(root);
        Recorder(Mutex::new(tape))
    }

    fn tape(&self) -> MutexGuard<'_, Tape> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how many ops there were so far.
    pub(crate) fn now(&self) -> usize {
        self.tape().log.ops.len()
    }

    pub(crate) fn log(&self) -> Log {
        self.tape().log.clone()
    }

    /// The server will be killed behind so many ops.
    pub(crate) fn dies_at(&self, ops: usize) {
        self.tape().dies_at = ops;
    }

    /// Returns whether the server is dead.
    pub(crate) fn is_dead(&self) -> bool {
        let tape = self.tape();
        tape.log.ops.len() >= tape.dies_at
    }
}

impl Tape {
    fn load(&mut self, path: &Path) -> Node {
        let node = self.nodes;
        self.nodes += 1;
        self.by_inode.insert(fs::metadata(path).expect("what is there").ino(), node);
        if path.is_file() {
            self.log.base.0.push(Content::File(fs::read(path).expect("a file")));
            return node;
        }
        self.log.base.0.push(Content::Dir(BTreeMap::new()));
        let mut entries = BTreeMap::new();
        for entry in fs::read_dir(path).expect("a directory") {
            let entry = entry.expect("an entry");
            let child = self.load(&entry.path());
            entries.insert(entry.file_name().into_string().expect("a name in UTF-8"), child);
        }
        self.log.base.0[node] = Content::Dir(entries.clone());
        self.entries.insert(node, entries);
        node
    }

    fn node(&self, file: BorrowedFd<'_>) -> Node {
        self.by_inode[&fstat(file).expect("an open file").st_ino]
    }

    /// Returns the directory that `path` leads to from `dir`, and the last name of it.
    fn place<'p>(&self, dir: BorrowedFd<'_>, path: &'p str) -> (Node, &'p str) {
        let (parents, last) = path.rsplit_once('/').map_or((None, path), |(parents, last)| (Some(parents), last));
        let steps = parents.into_iter().flat_map(|parents| parents.split('/'));
        (steps.fold(self.node(dir), |node, step| self.entries[&node][step]), last)
    }

    fn entries(&mut self, dir: Node) -> &mut BTreeMap<String, Node> {
        self.entries.get_mut(&dir).expect("a directory")
    }

    fn born(&mut self, dir: BorrowedFd<'_>, name: &str) -> (Node, Node) {
        let inode = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).expect("what was made").st_ino;
        let node = self.nodes;
        self.nodes += 1;
        self.by_inode.insert(inode, node);
        let (dir, last) = self.place(dir, name);
        self.entries(dir).insert(last.into(), node);
        (dir, node)
    }

    fn opened(&mut self, dir: BorrowedFd<'_>, name: &str, truncate: bool) {
        let (parent, last) = self.place(dir, name);
        let there = self.entries(parent).get(last).copied();
        let op = match there {
            Some(node) if truncate => Op::Truncate { node, size: 0 },
            Some(_) => return,
            None => {
                let (dir, node) = self.born(dir, name);
                Op::Create { dir, name: last.into(), node }
            }
        };
        self.log.ops.push(op);
    }

    fn renamed(&mut self, from: (BorrowedFd<'_>, &str), to: (BorrowedFd<'_>, &str)) {
        let (from, to) = (self.place(from.0, from.1), self.place(to.0, to.1));
        let node = self.entries(from.0).remove(from.1).expect("what was renamed");
        self.entries(to.0).insert(to.1.into(), node);
        self.log.ops.push(Op::Rename { from: (from.0, from.1.into()), to: (to.0, to.1.into()) });
    }

    fn linked(&mut self, from: (BorrowedFd<'_>, &str), to: (BorrowedFd<'_>, &str)) {
        let (from, to) = (self.place(from.0, from.1), self.place(to.0, to.1));
        let node = self.entries(from.0)[from.1];
        self.entries(to.0).insert(to.1.into(), node);
        self.log.ops.push(Op::Link { dir: to.0, name: to.1.into(), node });
    }

    fn synced(&mut self, file: BorrowedFd<'_>, data: bool) {
        let node = self.node(file);
        let lie = match (data, self.entries.contains_key(&node)) {
            (true, _) => Lie::Data,
            (false, true) => Lie::Directories,
            (false, false) => Lie::Files,
        };
        if lie != self.lie {
            self.log.ops.push(Op::Sync { node });
        }
    }
}

impl Watcher for Recorder {
    fn before(&self, call: &Call<'_>) -> Result<(), Errno> {
        let refused = self.tape().lack.refuses(call);
        match refused {
            Some(error) => Err(error),
            None if self.is_dead() => Err(Errno::IO),
            None => Ok(()),
        }
    }

    fn told(&self, stat: &mut Stat) {
        self.tape().lack.coarsens(stat);
    }

    fn after(&self, call: &Call<'_>) {
        let mut tape = self.tape();
        match *call {
            Call::Open { dir, path, create: true, truncate, .. } => tape.opened(dir, path, truncate),
            Call::Write { file, at, bytes } => {
                let op = Op::Write { node: tape.node(file), at: at as usize, bytes: bytes.into() };
                tape.log.ops.push(op);
            }
            Call::Punch { file, at, bytes } => {
                // It reads as zeros, and the file is no longer for it.
                let node = tape.node(file);
                let op = Op::Punch { node, at: at as usize, bytes: bytes as usize };
                tape.log.ops.push(op);
            }
            Call::Truncate { file, size } => {
                let op = Op::Truncate { node: tape.node(file), size: size as usize };
                tape.log.ops.push(op);
            }
            Call::SyncData { file } => tape.synced(file, true),
            Call::Sync { file } => tape.synced(file, false),
            // There it may do nothing.
            Call::SyncTogether { .. } if tape.lack == Lack::Kind => {}
            // All else that it brings to the disk is no part of what it is called for.
            Call::SyncTogether { files } => files.iter().for_each(|file| tape.synced(file.as_fd(), false)),
            Call::Link { from, to } => tape.linked(from, to),
            Call::Mkdir { dir, name } => {
                let last = tape.place(dir, name).1;
                let (dir, node) = tape.born(dir, name);
                tape.entries.insert(node, BTreeMap::new());
                tape.log.ops.push(Op::Mkdir { dir, name: last.into(), node });
            }
            Call::Unlink { dir, name, .. } => {
                let (dir, last) = tape.place(dir, name);
                tape.entries(dir).remove(last);
                tape.log.ops.push(Op::Unlink { dir, name: last.into() });
            }
            Call::Rename { from, to, .. } => tape.renamed(from, to),
            // They change nothing that clients see, or only hint; a reservation keeps the size.
            _ => {}
        }
    }
}
