//! Listing directories.

use std::{fmt, os::fd::OwnedFd};

use ferry_wire::Name;
use rustix::{
    fs::{Dir, FileType},
    io::Errno,
};

use super::{
    Store,
    closer::Closer,
    error::{ErrorKind, StoreError},
    meta,
    operation::{DirEntry, Listed, Status},
    read::directory,
};

/// Bounds of one part of a listing. It ends after some 64 KiB of text, where an entry counts so
/// many bytes beside its name, or after so many entries.
const LISTING_BYTES: usize = 64 << 10;
const ENTRY_BYTES: usize = 96;
const LISTING_ENTRIES: usize = 1024;

/// A directory that is being listed.
pub struct OpenDir {
    /// [`None`] for the root.
    name: Option<Name>,
    /// Taken when it is dropped.
    open: Option<(Dir, OwnedFd)>,
    /// Where closing it may wait.
    closer: Option<Closer>,
}

impl Drop for OpenDir {
    fn drop(&mut self) {
        if let (Some(open), Some(closer)) = (self.open.take(), &self.closer) {
            closer.close(open);
        }
    }
}

impl OpenDir {
    /// Returns its name; empty for the root.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_ref().map_or("", Name::as_str)
    }

    fn error(&self, error: Errno) -> StoreError {
        StoreError::system(self.name(), error)
    }
}

impl fmt::Debug for OpenDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpenDir")
    }
}

impl Store {
    /// Begins a listing.
    pub(super) fn list(&self, name: Option<&Name>) -> Result<Listed<Box<OpenDir>>, StoreError> {
        let path = name.map_or("", Name::as_str);
        let opened = self.root.open_dir(name.map(Name::as_str)).and_then(|dir| {
            let entries = self.syscalls.list(&dir)?;
            Ok(Box::new(OpenDir { name: name.cloned(), open: Some((entries, dir)), closer: self.closer_for(0) }))
        });
        opened.map_err(|error| StoreError::system(path, error)).and_then(|dir| self.list_more(dir))
    }

    /// Goes on with a listing. Entries that have no valid name, or are neither a file nor a
    /// directory, are left out; so are those that are gone meanwhile.
    pub(super) fn list_more(&self, mut open: Box<OpenDir>) -> Result<Listed<Box<OpenDir>>, StoreError> {
        let (mut listed, mut bytes) = (Vec::new(), 0);
        for _ in 0..LISTING_ENTRIES {
            let Some((entries, dir)) = &mut open.open else { return Err(open.error(Errno::BADF)) };
            let entry = match entries.read() {
                None => {
                    self.is_still_there(&open)?;
                    return Ok(Listed { entries: listed, more: None });
                }
                Some(Err(error)) => return Err(open.error(error)),
                Some(Ok(entry)) => entry,
            };
            let skipped = !matches!(entry.file_type(), FileType::RegularFile | FileType::Directory | FileType::Unknown);
            let Ok(name) = Name::from_bytes(entry.file_name().to_bytes()) else { continue };
            if skipped {
                continue;
            }
            let moment = self.file_time();
            let status = match self.root.stat_entry(dir, name.as_str()) {
                Ok(stat) => match meta::kind(&stat) {
                    FileType::RegularFile => Status::File(self.version(&stat, moment)),
                    FileType::Directory => directory(&stat),
                    _ => continue,
                },
                // Something else is mounted there: of a file as well, nothing but the name can be told.
                Err(Errno::XDEV) => Status::Directory { mtime: None, mode: None },
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(StoreError::system(name.as_str(), error)),
            };
            bytes += name.as_str().len() + ENTRY_BYTES;
            listed.push(DirEntry { name, status });
            if bytes >= LISTING_BYTES {
                break;
            }
        }
        Ok(Listed { entries: listed, more: Some(open) })
    }

    /// A directory that was removed reads as an empty one: a client that mirrors it would delete
    /// all that it has.
    fn is_still_there(&self, open: &OpenDir) -> Result<(), StoreError> {
        let removed = open.open.as_ref().map_or(Err(Errno::BADF), |(_, dir)| self.is_removed(dir));
        match (removed, &open.name) {
            (Ok(false), _) => Ok(()),
            (Ok(true), None) => Err(StoreError::of(ErrorKind::RootGone)),
            (Ok(true), Some(_)) => Err(open.error(Errno::NOENT)),
            (Err(error), _) => Err(open.error(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::{Durability, LeaseOptions, MountTable, StoreOptions, SystemError};

    #[test]
    fn a_directory_that_is_removed_while_it_is_listed_is_no_empty_one() {
        let place = tempfile::tempdir().unwrap();
        let [root, inner] = ["root", "root/inner"].map(|path| place.path().join(path));
        std::fs::create_dir_all(&inner).unwrap();
        let options = StoreOptions {
            root: root.clone(),
            writable: false,
            durability: Durability::Full,
            max_staged: 0,
            max_kept: 0,
            keep: Duration::ZERO,
            crc_cache: 16 << 20,
            small_cache: 16 << 20,
            mounts: MountTable::default(),
            leasing: LeaseOptions::default(),
        };
        let store = Store::open(&options).unwrap();
        for file in 0..LISTING_ENTRIES {
            std::fs::write(inner.join(file.to_string()), b"").unwrap();
        }
        let begun = store.list(Some(&Name::new("inner").unwrap()));
        let Ok(Listed { more: Some(rest), .. }) = begun else { panic!("{begun:?}") };
        assert!(matches!(store.list(None), Ok(Listed { more: None, .. })));
        std::fs::remove_dir_all(&root).unwrap();
        let kinds = [store.list_more(rest), store.list(None)].map(|listed| listed.unwrap_err().kind);
        assert_eq!(kinds, [ErrorKind::System(SystemError::NotFound), ErrorKind::RootGone]);
    }
}
