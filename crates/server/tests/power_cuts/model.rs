//! A model of the states that a disk may have after a power cut.
//!
//! # The model
//!
//! - **Bytes of a file** are there for certain once it was fsynced or fdatasynced after they were written.
//!   A write since then is lost, or there, or torn, or has only made the file longer by zeros; each on its
//!   own, whatever their order. The same goes for truncating.
//! - **An entry of a directory** (create, mkdir, link, unlink, rename) is there for certain once
//!   the directory was fsynced after the change. An fsync of the file itself is not enough. Changes
//!   of one directory survive in their order: if one did, so did those before it. Changes of
//!   different directories know no order.
//! - **A rename** is there in both directories or in neither, and so is sure once either was fsynced.
//! - **A directory** whose own entry is lost is lost with all that is in it. Changes in it that
//!   were never synced are only there if the directory itself is.
//! - Locks end with their process.
//!
//! # Why it is fair
//!
//! It is what POSIX promises, and what ext4, XFS and btrfs, with a journal or a log of metadata, do
//! at their worst. All keep the order of changes of one directory, and make a rename one
//! transaction. They keep more order than that: a journal is one sequence for all directories, and
//! an fsync commits all before it. A store must not need that. Ext4 with delayed allocation loses
//! bytes that were not synced, out of order and with zeros in their place, as here.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::common::dice::Dice;

/// A file or directory, numbered as it appears. 0 is the root.
pub(crate) type Node = usize;

/// The effect of a call on the disk.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Create {
        dir: Node,
        name: String,
        node: Node,
    },
    Mkdir {
        dir: Node,
        name: String,
        node: Node,
    },
    Unlink {
        dir: Node,
        name: String,
    },
    /// A second name.
    Link {
        dir: Node,
        name: String,
        node: Node,
    },
    Rename {
        from: (Node, String),
        to: (Node, String),
    },
    Write {
        node: Node,
        at: usize,
        bytes: Arc<[u8]>,
    },
    Punch {
        node: Node,
        at: usize,
        bytes: usize,
    },
    Truncate {
        node: Node,
        size: usize,
    },
    Sync {
        node: Node,
    },
}

impl Op {
    /// Returns the directories that it changes.
    fn dirs(&self) -> Vec<Node> {
        match self {
            Op::Create { dir, .. } | Op::Mkdir { dir, .. } | Op::Unlink { dir, .. } | Op::Link { dir, .. } => {
                vec![*dir]
            }
            Op::Rename { from, to } => vec![from.0, to.0],
            Op::Write { .. } | Op::Punch { .. } | Op::Truncate { .. } | Op::Sync { .. } => Vec::new(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Content {
    Dir(BTreeMap<String, Node>),
    File(Vec<u8>),
}

/// A disk: all that ever was on it, reachable or not.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Image(pub(crate) Vec<Content>);

/// A disk and what was done to it since.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    pub(crate) base: Image,
    pub(crate) ops: Vec<Op>,
}

/// How the disk decides about what is not sure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    AllLost,
    AllKept,
    /// Entries are kept, bytes are lost.
    EntriesKept,
    /// Bytes are kept, entries are lost.
    BytesKept,
    Random,
}

/// The fate of one op.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Lost,
    Kept,
    /// So many bytes of a write are there.
    Torn(usize),
    /// The file is longer, by zeros.
    Zeros,
}

impl Log {
    /// Returns the disk after a power cut behind the first `cut` ops.
    pub(crate) fn after_cut(&self, cut: usize, fate: Fate, dice: &mut Dice) -> Image {
        let ops = &self.ops[..cut];
        let sure = sure(ops);
        let mut blocked = HashSet::new();
        let mut born = HashMap::new();
        let mut ends = Vec::with_capacity(cut);
        for (index, op) in ops.iter().enumerate() {
            let dirs = op.dirs();
            let end = match dirs.is_empty() {
                true if sure[index] => End::Kept,
                true => end_of_bytes(op, fate, dice),
                false => {
                    let possible = dirs.iter().all(|dir| !blocked.contains(dir) && born.get(dir) != Some(&false));
                    let kept = sure[index] || possible && keeps_entry(fate, dice);
                    if kept { End::Kept } else { End::Lost }
                }
            };
            if end == End::Lost {
                blocked.extend(dirs);
            }
            if let Op::Mkdir { node, .. } = op {
                born.insert(*node, end == End::Kept);
            }
            ends.push(end);
        }
        self.replay(ops, &ends)
    }

    fn replay(&self, ops: &[Op], ends: &[End]) -> Image {
        let mut disk = self.base.0.clone();
        for (op, end) in ops.iter().zip(ends) {
            match op {
                Op::Create { node, .. } => set(&mut disk, *node, Content::File(Vec::new())),
                Op::Mkdir { node, .. } => set(&mut disk, *node, Content::Dir(BTreeMap::new())),
                _ => {}
            }
            match (op, end) {
                (_, End::Lost) | (Op::Sync { .. }, _) => {}
                (Op::Create { dir, name, node } | Op::Mkdir { dir, name, node }, _) => {
                    entries(&mut disk, *dir).insert(name.clone(), *node);
                }
                (Op::Link { dir, name, node }, _) => {
                    entries(&mut disk, *dir).insert(name.clone(), *node);
                }
                (Op::Unlink { dir, name }, _) => drop(entries(&mut disk, *dir).remove(name)),
                (Op::Rename { from, to }, _) => {
                    let node = entries(&mut disk, from.0).remove(&from.1).expect("what is renamed, by its order");
                    entries(&mut disk, to.0).insert(to.1.clone(), node);
                }
                (Op::Write { node, at, bytes }, end) => write(&mut disk, *node, *at, bytes, *end),
                (Op::Punch { node, at, bytes }, _) => {
                    if let Content::File(content) = &mut disk[*node] {
                        let end = content.len().min(at + bytes);
                        content.get_mut(*at..end).unwrap_or_default().fill(0);
                    }
                }
                (Op::Truncate { node, size }, _) => {
                    if let Content::File(content) = &mut disk[*node] {
                        content.resize(*size, 0);
                    }
                }
            }
        }
        Image(disk)
    }
}

/// Returns which ops survive in any case.
fn sure(ops: &[Op]) -> Vec<bool> {
    let mut sure = vec![false; ops.len()];
    let mut by_node: HashMap<Node, Vec<usize>> = HashMap::new();
    for (index, op) in ops.iter().enumerate() {
        match op {
            Op::Sync { node } => make_sure(ops, &by_node, *node, index, &mut sure),
            Op::Write { node, .. } | Op::Punch { node, .. } | Op::Truncate { node, .. } => {
                by_node.entry(*node).or_default().push(index)
            }
            op => op.dirs().into_iter().for_each(|dir| by_node.entry(dir).or_default().push(index)),
        }
    }
    sure
}

/// All that was done to `node` before op `end`, and all that this needs by the order of the directories.
fn make_sure(ops: &[Op], by_node: &HashMap<Node, Vec<usize>>, node: Node, end: usize, sure: &mut [bool]) {
    for &index in by_node.get(&node).into_iter().flatten().take_while(|index| **index < end) {
        if !std::mem::replace(&mut sure[index], true) {
            for dir in ops[index].dirs().into_iter().filter(|dir| *dir != node) {
                make_sure(ops, by_node, dir, index, sure);
            }
        }
    }
}

fn keeps_entry(fate: Fate, dice: &mut Dice) -> bool {
    match fate {
        Fate::AllLost | Fate::BytesKept => false,
        Fate::AllKept | Fate::EntriesKept => true,
        Fate::Random => !dice.one_in(3),
    }
}

fn end_of_bytes(op: &Op, fate: Fate, dice: &mut Dice) -> End {
    match fate {
        Fate::AllLost | Fate::EntriesKept => End::Lost,
        Fate::AllKept | Fate::BytesKept => End::Kept,
        Fate::Random => match (op, dice.below(4)) {
            (_, 0) => End::Lost,
            (Op::Write { bytes, .. }, 1) => End::Torn(dice.below(bytes.len())),
            (Op::Write { .. }, 2) => End::Zeros,
            _ => End::Kept,
        },
    }
}

fn set(disk: &mut Vec<Content>, node: Node, content: Content) {
    if disk.len() <= node {
        disk.resize(node + 1, Content::File(Vec::new()));
    }
    disk[node] = content;
}

fn entries(disk: &mut [Content], dir: Node) -> &mut BTreeMap<String, Node> {
    match &mut disk[dir] {
        Content::Dir(entries) => entries,
        Content::File(_) => panic!("node {dir} is no directory"),
    }
}

fn write(disk: &mut [Content], node: Node, at: usize, bytes: &[u8], end: End) {
    let Content::File(content) = &mut disk[node] else { panic!("node {node} is no file") };
    let before = content.len();
    if content.len() < at + bytes.len() {
        content.resize(at + bytes.len(), 0);
    }
    match end {
        End::Zeros | End::Lost => {}
        End::Kept => content[at..at + bytes.len()].copy_from_slice(bytes),
        End::Torn(there) => {
            content[at..at + there].copy_from_slice(&bytes[..there]);
            content.truncate(before.max(at + there));
        }
    }
}

impl Image {
    /// Only what can be reached from the root, and nothing of how it came there.
    pub(crate) fn reachable(&self) -> Vec<(String, Option<&[u8]>)> {
        let mut found = Vec::new();
        self.walk(0, "", &mut found);
        found
    }

    fn walk<'a>(&'a self, dir: Node, prefix: &str, found: &mut Vec<(String, Option<&'a [u8]>)>) {
        let Content::Dir(entries) = &self.0[dir] else { panic!("node {dir} is no directory") };
        for (name, &node) in entries {
            let name = format!("{prefix}{name}");
            match &self.0[node] {
                Content::File(bytes) => found.push((name, Some(bytes))),
                Content::Dir(_) => {
                    found.push((name.clone(), None));
                    self.walk(node, &format!("{name}/"), found);
                }
            }
        }
    }

    /// Makes a real directory of it. A file with several names has them there as well.
    pub(crate) fn write_to(&self, root: &Path) {
        let mut written: HashMap<*const u8, PathBuf> = HashMap::new();
        for (name, content) in self.reachable() {
            let path = root.join(name);
            if let Some(bytes) = content.filter(|bytes| !bytes.is_empty()) {
                if let Some(first) = written.get(&bytes.as_ptr()) {
                    fs::hard_link(first, path).expect("a second name");
                    continue;
                }
                written.insert(bytes.as_ptr(), path.clone());
            }
            match content {
                None => fs::create_dir(path).expect("a new directory"),
                Some(bytes) => fs::write(path, bytes).expect("a new file"),
            }
        }
    }
}
