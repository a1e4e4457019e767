//! Results of the store, as they are told to clients.

use ferry_wire::{Entry, EntryKind, FileMeta, Reply, limits::MAX_BLOCK_BYTES, write_block_header};

use crate::{
    protocol::upload::Stored,
    store::{DirEntry, FileVersion, Published, Status},
};

impl From<FileVersion> for FileMeta {
    fn from(FileVersion { size, mtime, tag }: FileVersion) -> FileMeta {
        FileMeta { size, mtime, tag }
    }
}

impl From<Status> for Reply {
    fn from(status: Status) -> Reply {
        match status {
            Status::File(version) => Reply::File(version.into()),
            Status::Directory(mtime) => Reply::Dir(mtime),
        }
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
            Stored::Kept(offset) => Reply::Go { offset, parts: Vec::new() },
        }
    }
}

impl From<DirEntry> for Entry {
    fn from(DirEntry { name, status }: DirEntry) -> Entry {
        let kind = match status {
            Status::File(version) => EntryKind::File(version.into()),
            Status::Directory(mtime) => EntryKind::Directory(mtime),
        };
        Entry { name, kind }
    }
}

/// Appends `bytes` in blocks; none for no bytes.
pub(super) fn write_blocks(text: &mut Vec<u8>, bytes: &[u8]) {
    for block in bytes.chunks(MAX_BLOCK_BYTES as usize) {
        write_block_header(text, block.len() as u64);
        text.extend_from_slice(block);
    }
}
