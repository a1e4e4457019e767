//! The files of a [`Puppet`](super::Puppet), in memory.

use std::{
    collections::{HashMap, HashSet},
    ffi::{OsStr, OsString},
    time::{Duration, SystemTime},
};

use fuser::{Errno, FileAttr, FileType, INodeNo};

use super::{Habits, SameInode};

/// In the inode number of what was found by its short name, where that shows another one.
const BY_SHORT_NAME: u64 = 1 << 40;

/// A page of the kernel.
const PIECE_BYTES: u64 = 4096;

/// Files and directories by inode number. A node that has no name any more is kept: it may be open.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: HashMap<u64, Node>,
    next: u64,
    habits: Habits,
    /// Nothing is written where nothing was written before.
    pub(super) worn_out: bool,
}

#[derive(Debug)]
struct Node {
    /// The last name that it was given.
    name: OsString,
    content: Content,
    /// The pieces of it that were written, of [`PIECE_BYTES`] each.
    written: HashSet<u64>,
    mode: u16,
    links: u32,
    accessed: SystemTime,
    modified: SystemTime,
    changed: SystemTime,
}

#[derive(Debug)]
enum Content {
    File(Vec<u8>),
    Directory { parent: u64, entries: Vec<Entry> },
}

/// An entry of a directory.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Where a listing goes on behind it.
    pub(super) offset: u64,
    pub(super) name: OsString,
    pub(super) node: u64,
    pub(super) kind: FileType,
}

/// The changes of a setattr.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) mode: Option<u32>,
    pub(super) size: Option<u64>,
    pub(super) accessed: Option<SystemTime>,
    pub(super) modified: Option<SystemTime>,
}

impl Tree {
    pub(super) fn new(habits: Habits) -> Tree {
        let mut tree = Tree { nodes: HashMap::new(), next: INodeNo::ROOT.0, habits, worn_out: false };
        let root = Content::Directory { parent: INodeNo::ROOT.0, entries: Vec::new() };
        tree.add(OsStr::new(""), root, 0o755);
        tree
    }

    /// The last name that the node was given.
    pub(super) fn name(&self, node: INodeNo) -> OsString {
        self.nodes.get(&node.0).map(|node| node.name.clone()).unwrap_or_default()
    }

    pub(super) fn attributes(&self, node: INodeNo) -> Result<FileAttr, Errno> {
        let found = self.nodes.get(&(node.0 & !BY_SHORT_NAME)).ok_or(Errno::ENOENT)?;
        let (kind, size, nlink) = match &found.content {
            Content::File(bytes) => (FileType::RegularFile, bytes.len() as u64, found.links),
            Content::Directory { .. } => (FileType::Directory, 0, 2 * found.links),
        };
        Ok(FileAttr {
            ino: node,
            size,
            blocks: size.div_ceil(512),
            atime: found.accessed,
            mtime: found.modified,
            ctime: found.changed,
            crtime: found.changed,
            kind,
            perm: found.mode,
            nlink,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    pub(super) fn lookup(&self, parent: INodeNo, name: &OsStr) -> Result<FileAttr, Errno> {
        let entries = self.entries(parent)?;
        if let Some(entry) = entries.iter().find(|entry| entry.name == name) {
            return self.attributes(INodeNo(entry.node));
        }
        let by_short_name = |entry: &&Entry| self.habits.short_names.is_some() && short_name(&entry.name) == name;
        let entry = entries.iter().find(by_short_name).ok_or(Errno::ENOENT)?;
        let same = self.habits.short_names == Some(SameInode(true));
        self.attributes(INodeNo(if same { entry.node } else { entry.node | BY_SHORT_NAME }))
    }

    /// The entries behind `offset`.
    pub(super) fn list(&self, directory: INodeNo, offset: u64) -> Result<Vec<Entry>, Errno> {
        Ok(self.entries(directory)?.iter().filter(|entry| entry.offset > offset).cloned().collect())
    }

    pub(super) fn read(&self, file: INodeNo, at: u64, bytes: u32) -> Result<Vec<u8>, Errno> {
        match &self.nodes.get(&file.0).ok_or(Errno::ENOENT)?.content {
            Content::File(content) => {
                let start = usize::try_from(at).unwrap_or(usize::MAX).min(content.len());
                let end = start.saturating_add(bytes as usize).min(content.len());
                Ok(content[start..end].to_vec())
            }
            Content::Directory { .. } => Err(Errno::EISDIR),
        }
    }

    pub(super) fn write(&mut self, file: INodeNo, at: u64, bytes: &[u8]) -> Result<u32, Errno> {
        let worn_out = self.worn_out;
        let pieces = at / PIECE_BYTES..(at + bytes.len() as u64).div_ceil(PIECE_BYTES);
        let written = &mut self.nodes.get_mut(&file.0).ok_or(Errno::ENOENT)?.written;
        if worn_out && !pieces.clone().all(|piece| written.contains(&piece)) {
            return Err(Errno::EIO);
        }
        written.extend(pieces);
        let content = self.content(file)?;
        let at = usize::try_from(at).map_err(|_| Errno::EFBIG)?;
        let end = at.checked_add(bytes.len()).ok_or(Errno::EFBIG)?;
        if content.len() < end {
            content.resize(end, 0);
        }
        content[at..end].copy_from_slice(bytes);
        self.touch(file.0);
        u32::try_from(bytes.len()).map_err(|_| Errno::EFBIG)
    }

    pub(super) fn change(&mut self, node: INodeNo, changes: &Changes) -> Result<FileAttr, Errno> {
        if let Some(size) = changes.size {
            let size = usize::try_from(size).map_err(|_| Errno::EFBIG)?;
            let grows_by_writing = self.habits.grows_by_writing;
            let content = self.content(node)?;
            if grows_by_writing && size > content.len() {
                return Err(Errno::EPERM);
            }
            content.resize(size, 0);
            self.touch(node.0);
        }
        let (now, habits) = (self.now(), self.habits);
        let found = self.nodes.get_mut(&node.0).ok_or(Errno::ENOENT)?;
        found.changed = now;
        if let Some(mode) = changes.mode {
            found.mode = (mode & 0o7777) as u16;
        }
        if let Some(accessed) = changes.accessed {
            found.accessed = habits.told(accessed);
        }
        if let Some(modified) = changes.modified {
            found.modified = habits.told(modified);
        }
        self.attributes(node)
    }

    /// Makes a file or a directory.
    pub(super) fn make(&mut self, parent: INodeNo, name: &OsStr, kind: FileType, mode: u32) -> Result<FileAttr, Errno> {
        if self.lookup(parent, name).is_ok() {
            return Err(Errno::EEXIST);
        }
        let content = match kind {
            FileType::RegularFile => Content::File(Vec::new()),
            FileType::Directory => Content::Directory { parent: parent.0, entries: Vec::new() },
            _ => return Err(Errno::EPERM),
        };
        self.entries(parent)?;
        let node = self.add(name, content, (mode & 0o7777) as u16);
        self.enter(parent, name, node, kind)?;
        self.attributes(INodeNo(node))
    }

    pub(super) fn link(&mut self, node: INodeNo, parent: INodeNo, name: &OsStr) -> Result<FileAttr, Errno> {
        if !self.habits.links {
            return Err(Errno::EPERM);
        }
        if self.lookup(parent, name).is_ok() {
            return Err(Errno::EEXIST);
        }
        self.content(node)?;
        let now = self.now();
        if let Some(found) = self.nodes.get_mut(&node.0) {
            found.links += 1;
            found.changed = now;
        }
        self.enter(parent, name, node.0, FileType::RegularFile)?;
        self.attributes(node)
    }

    pub(super) fn remove(&mut self, parent: INodeNo, name: &OsStr, kind: FileType) -> Result<(), Errno> {
        let there = self.lookup(parent, name)?;
        match (there.kind, kind) {
            (FileType::Directory, FileType::Directory) if !self.entries(there.ino)?.is_empty() => {
                return Err(Errno::ENOTEMPTY);
            }
            (FileType::Directory, FileType::RegularFile) => return Err(Errno::EISDIR),
            (FileType::RegularFile, FileType::Directory) => return Err(Errno::ENOTDIR),
            _ => {}
        }
        self.entries_mut(parent)?.retain(|entry| entry.name != name);
        self.touch(parent.0);
        let now = self.now();
        if let Some(found) = self.nodes.get_mut(&there.ino.0) {
            found.links -= 1;
            found.changed = now;
        }
        Ok(())
    }

    pub(super) fn rename(&mut self, from: (INodeNo, &OsStr), to: (INodeNo, &OsStr), flags: u32) -> Result<(), Errno> {
        if flags != 0 && !self.habits.rename_flags {
            return Err(Errno::EINVAL);
        }
        let moved = self.lookup(from.0, from.1)?;
        match self.lookup(to.0, to.1) {
            Ok(there) if there.ino == moved.ino => return Ok(()),
            Ok(_) if flags != 0 => return Err(Errno::EEXIST),
            Ok(_) => self.remove(to.0, to.1, moved.kind)?,
            Err(_) => {}
        }
        self.entries_mut(from.0)?.retain(|entry| entry.name != from.1);
        self.touch(from.0.0);
        self.enter(to.0, to.1, moved.ino.0, moved.kind)?;
        let now = self.now();
        if let Some(found) = self.nodes.get_mut(&moved.ino.0) {
            found.name = to.1.to_owned();
            found.changed = now;
            if let Content::Directory { parent, .. } = &mut found.content {
                *parent = to.0.0;
            }
        }
        Ok(())
    }

    /// The directory that holds `directory`.
    pub(super) fn parent(&self, directory: INodeNo) -> u64 {
        match self.nodes.get(&directory.0).map(|node| &node.content) {
            Some(Content::Directory { parent, .. }) => *parent,
            _ => directory.0,
        }
    }

    fn enter(&mut self, parent: INodeNo, name: &OsStr, node: u64, kind: FileType) -> Result<(), Errno> {
        let entries = self.entries_mut(parent)?;
        let offset = entries.last().map_or(FIRST_OFFSET, |last| last.offset + 1);
        entries.push(Entry { offset, name: name.to_owned(), node, kind });
        self.touch(parent.0);
        Ok(())
    }

    fn add(&mut self, name: &OsStr, content: Content, mode: u16) -> u64 {
        let (number, now) = (self.next, self.now());
        self.next += 1;
        let (accessed, modified, changed) = (now, now, now);
        self.nodes.insert(
            number,
            Node {
                name: name.to_owned(),
                content,
                written: HashSet::new(),
                mode,
                links: 1,
                accessed,
                modified,
                changed,
            },
        );
        number
    }

    fn touch(&mut self, node: u64) {
        let now = self.now();
        if let Some(found) = self.nodes.get_mut(&node) {
            (found.modified, found.changed) = (now, now);
        }
    }

    fn now(&self) -> SystemTime {
        self.habits.told(SystemTime::now())
    }

    fn content(&mut self, file: INodeNo) -> Result<&mut Vec<u8>, Errno> {
        match &mut self.nodes.get_mut(&file.0).ok_or(Errno::ENOENT)?.content {
            Content::File(bytes) => Ok(bytes),
            Content::Directory { .. } => Err(Errno::EISDIR),
        }
    }

    fn entries(&self, directory: INodeNo) -> Result<&Vec<Entry>, Errno> {
        match &self.nodes.get(&(directory.0 & !BY_SHORT_NAME)).ok_or(Errno::ENOENT)?.content {
            Content::Directory { entries, .. } => Ok(entries),
            Content::File(_) => Err(Errno::ENOTDIR),
        }
    }

    fn entries_mut(&mut self, directory: INodeNo) -> Result<&mut Vec<Entry>, Errno> {
        match &mut self.nodes.get_mut(&directory.0).ok_or(Errno::ENOENT)?.content {
            Content::Directory { entries, .. } => Ok(entries),
            Content::File(_) => Err(Errno::ENOTDIR),
        }
    }
}

/// The offset of a directory's first entry: those before it are of `.` and `..`.
pub(super) const FIRST_OFFSET: u64 = 3;

impl Habits {
    /// A time as it is kept.
    fn told(self, time: SystemTime) -> SystemTime {
        match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) if self.whole_seconds => SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs()),
            _ => time,
        }
    }
}

/// The second name of an entry, more or less as FAT makes one: six characters in capitals, and `~1`.
fn short_name(name: &OsStr) -> OsString {
    let name = name.to_string_lossy();
    let head: String = name.chars().filter(|character| *character != '.').take(6).collect();
    OsString::from(format!("{}~1", head.to_uppercase()))
}
