//! Results of the store, as they are told to clients.

use ferry_wire::{
    DirMeta, Entry, EntryKind, FileMeta, Mode, Reply, TellsModes, Time, limits::MAX_BLOCK_BYTES, write_block_header,
};

use crate::{
    protocol::upload::Stored,
    store::{DirEntry, FileVersion, Published, Room, Status},
};

/// Returns a version as it is told, with its permissions where `tells` says so.
pub(super) fn meta(version: FileVersion, tells: TellsModes) -> FileMeta {
    let FileVersion { size, mtime, tag, mode } = version;
    FileMeta { size, mtime, tag, mode: (tells >= TellsModes::OfFiles).then_some(mode) }
}

/// Returns a directory as it is told, with its permissions where `tells` says so.
fn directory(mtime: Option<Time>, mode: Option<Mode>, tells: TellsModes) -> DirMeta {
    DirMeta { mtime, mode: mode.filter(|_| tells == TellsModes::OfAll) }
}

/// Returns a status as it is told, with the permissions that `tells` names.
pub(super) fn found(status: Status, tells: TellsModes) -> Reply {
    match status {
        Status::File(version) => Reply::File(meta(version, tells)),
        Status::Directory { mtime, mode } => Reply::Dir(directory(mtime, mode, tells)),
    }
}

/// Returns an entry as it is listed, with the permissions that `tells` names.
pub(super) fn entry(DirEntry { name, status }: DirEntry, tells: TellsModes) -> Entry {
    let kind = match status {
        Status::File(version) => EntryKind::File(meta(version, tells)),
        Status::Directory { mtime, mode } => EntryKind::Directory(directory(mtime, mode, tells)),
    };
    Entry { name, kind }
}

impl From<Status> for Reply {
    fn from(status: Status) -> Reply {
        found(status, TellsModes::No)
    }
}

impl From<DirEntry> for Entry {
    fn from(listed: DirEntry) -> Entry {
        entry(listed, TellsModes::No)
    }
}

impl From<FileVersion> for FileMeta {
    fn from(version: FileVersion) -> FileMeta {
        meta(version, TellsModes::No)
    }
}

impl From<Room> for Reply {
    fn from(Room { total, free, available, staged }: Room) -> Reply {
        Reply::Space { total, free, available, staged }
    }
}

impl From<Published> for Reply {
    fn from(Published { size, crc, tag }: Published) -> Reply {
        Reply::Saved { size, crc, tag }
    }
}

impl From<Stored> for Reply {
    fn from(stored: Stored) -> Reply {
        match stored {
            Stored::Published(published) => published.into(),
            Stored::Part => Reply::Done,
            Stored::Kept(offset) => Reply::Go { offset, parts: Vec::new(), crc: None },
        }
    }
}

/// Appends `bytes` in blocks; none for no bytes.
pub(super) fn write_blocks(text: &mut Vec<u8>, bytes: &[u8]) {
    for block in bytes.chunks(MAX_BLOCK_BYTES as usize) {
        write_block_header(text, block.len() as u64);
        text.extend_from_slice(block);
    }
}
