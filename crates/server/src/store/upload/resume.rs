//! Taking up an upload that was begun before, or beginning one that may be.

use std::{
    os::fd::OwnedFd,
    sync::{Arc, Mutex},
};

use ferry_wire::{Crc32, Digest, Id, Name, Tag};
use rustix::{
    fs::{OFlags, Stat},
    io::Errno,
};

use super::{
    super::{
        Store,
        area::Area,
        attributes::Attributes,
        error::{ErrorKind, StoreError},
        journal::{Journal, JournalEntry, KeptState},
        leasing::wall_clock,
        meta,
        operation::{Published, Resume, Resumed},
    },
    Parents, Place, Staged, Upload,
};

/// The thing that a journal turns out to stand for.
enum Found {
    Published(Published),
    /// The file, and the digest of the bytes in it that count.
    Kept(OwnedFd, Digest),
    Nothing,
}

impl Store {
    /// Takes up an upload, or begins it.
    pub(in crate::store) fn resume(&self, wanted: &Resume) -> Result<Resumed<Arc<Upload>>, StoreError> {
        let Resume { id, name, owner, .. } = wanted;
        let failed = |error| StoreError::system(name.as_str(), error);
        let area = self.area().map_err(failed)?;
        let target = self.check_target(name, &mut Parents::default());
        // Nothing is begun that can't end well; but what was published stays so, whatever became of
        // its name.
        if self.syscalls.stat_entry(area.kept(), &Area::journal_name(id.as_str())).is_err() {
            target.clone()?;
            self.admit(id, owner)?;
        }
        let resumed = self.take_up(area, wanted, target);
        if !matches!(resumed, Ok(Resumed::Going { .. })) {
            self.rest(id);
        }
        resumed
    }

    /// Does the same, once it counts. It holds the journal's lock only where the upload goes on.
    fn take_up(
        &self,
        area: &Area,
        wanted: &Resume,
        target: Result<Attributes, StoreError>,
    ) -> Result<Resumed<Arc<Upload>>, StoreError> {
        let Resume { id, name, size, mtime, owner } = wanted;
        let (size, mtime) = (*size, *mtime);
        let failed = |error| StoreError::system(name.as_str(), error);
        let journal_file = self.lock_journal(area, id).map_err(|error| {
            if error == Errno::AGAIN {
                return StoreError::at(name.as_str(), ErrorKind::HeldElsewhere);
            }
            self.cant_stage(name, error)
        })?;
        let (journal, entry) = Journal::read(&self.syscalls, &journal_file).map_err(failed)?;
        let mut staged = Staged { journal: Some((journal_file, journal)), ..Staged::default() };
        let data_name = Area::data_name(id.as_str());
        let (mut digest, mut owner) = (Digest::new(), owner.clone());
        if let Some(entry) = entry {
            if entry.owner.excludes(&owner) {
                return Err(StoreError::at(name.as_str(), ErrorKind::ForeignUpload));
            }
            if entry.name != *name || entry.size != size {
                return Err(StoreError::at(name.as_str(), ErrorKind::IdTaken));
            }
            if !entry.owner.is_nobody() {
                owner = entry.owner.clone();
            }
            match self.look_for(area, &data_name, &entry).map_err(failed)? {
                Found::Published(published) => return Ok(Resumed::Published(published)),
                Found::Kept(file, kept) => (staged.file, digest) = (Some(file), kept),
                Found::Nothing => {}
            }
        }
        let attributes = target?;
        let (place, size) = (Place::Kept(id.clone()), Some(size));
        let upload = Upload { name: name.clone(), size, mtime, settled: false, place, owner, staged: Mutex::default() };
        if staged.file.is_none() {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC;
            let file = self.syscalls.open_entry(area.kept(), &data_name, flags);
            staged.file = Some(file.map_err(|error| self.cant_stage(name, error))?);
        }
        self.give(name, &mut staged, attributes)?;
        // The state that is told must be on the disk. The process that wrote it may have been
        // killed before it was.
        if digest.bytes() == 0 {
            self.write_journal(&upload, &mut staged, &digest).map_err(failed)?;
            // The two entries must be there when a checkpoint promises that they are.
            self.sync(area.kept()).map_err(failed)?;
        } else if let Some((journal_file, _)) = &staged.journal {
            self.sync_data(journal_file).map_err(failed)?;
        }
        staged.counted = match &staged.file {
            Some(file) => self.trimmed(file, digest.bytes()).map_err(failed)?,
            None => 0,
        };
        self.quota.hold(id.as_str(), &upload.owner, staged.counted);
        (staged.reserved, staged.written_back, staged.noted) = (digest.bytes(), digest.bytes(), digest.bytes());
        *upload.staged() = staged;
        Ok(Resumed::Going { upload: Arc::new(upload), digest })
    }

    /// Gives back what lies behind the first `bytes` bytes of a file, or was set aside there by a
    /// server that was killed before it could. Returns how much of the disk the file takes.
    fn trimmed(&self, file: &OwnedFd, bytes: u64) -> Result<u64, Errno> {
        let stat = self.syscalls.stat(file)?;
        if meta::size(&stat) <= bytes && !meta::has_ahead(&stat) {
            return Ok(meta::taken(&stat));
        }
        self.syscalls.truncate(file, bytes)?;
        Ok(meta::taken(&self.syscalls.stat(file)?))
    }

    /// Looks for the data of the upload that `journal` tells of.
    fn look_for(&self, area: &Area, data_name: &str, entry: &JournalEntry) -> Result<Found, Errno> {
        let (offset, crc, published) = match &entry.state {
            KeptState::Published { crc, tag } => {
                return Ok(Found::Published(Published { size: entry.size, crc: *crc, tag: tag.clone() }));
            }
            KeptState::Kept { offset, crc } => (*offset, *crc, None),
            KeptState::Publishing { crc, tag } => (entry.size, *crc, Some(tag)),
        };
        match self.syscalls.open_entry(area.kept(), data_name, OFlags::RDWR) {
            Ok(file) => {
                let stat = self.syscalls.stat(&file)?;
                if let Some(tag) = published.filter(|_| self.has_name(&entry.name, &stat)) {
                    // This name must be on the disk before the other one goes.
                    self.sync_published(area, &entry.name)?;
                    self.syscalls.unlink(area.kept(), data_name, false)?;
                    return self.found_published(area, entry, tag, crc);
                }
                // A journal that promises more than there is can't be: the bytes were synced before it.
                // Should a disk lie, the upload begins anew.
                let kept = if offset <= meta::size(&stat) { Digest::resume(crc, offset) } else { Digest::new() };
                Ok(Found::Kept(file, kept))
            }
            Err(Errno::NOENT) => match published {
                Some(tag) => self.found_published(area, entry, tag, crc),
                None => Ok(Found::Nothing),
            },
            Err(error) => Err(error),
        }
    }

    /// Returns whether the staged file of `stat` has its name already: it got that as a second one,
    /// and the server was killed before the first was removed (see `Batch::move_entry`).
    fn has_name(&self, name: &Name, stat: &Stat) -> bool {
        let there = self.root.stat(name, false);
        there.is_ok_and(|there| (there.st_dev, there.st_ino) == (stat.st_dev, stat.st_ino))
    }

    /// Makes durable that an upload has its name, which may have been given by a server that was
    /// killed. `tag` is the one that its file had before.
    fn found_published(&self, area: &Area, entry: &JournalEntry, tag: &Tag, crc: Crc32) -> Result<Found, Errno> {
        self.sync_published(area, &entry.name)?;
        let tag = self.tag_after_rename(&entry.name, tag);
        Ok(Found::Published(Published { size: entry.size, crc, tag }))
    }

    /// Returns the tag of an upload whose server was killed right after the rename, `before` being
    /// the one that its file had then: renaming changes the time of the status.
    fn tag_after_rename(&self, name: &Name, before: &Tag) -> Tag {
        let moment = wall_clock();
        match self.root.stat(name, false) {
            Ok(stat) if meta::is_version(before, &stat) => self.tag(&stat, moment),
            _ => before.clone(),
        }
    }

    /// Makes durable that an upload left the kept ones for its name: who did that may have been killed
    /// before it was.
    fn sync_published(&self, area: &Area, name: &Name) -> Result<(), Errno> {
        self.sync(area.kept())?;
        match self.root.open_dir(name.parent()) {
            Ok(parent) => self.sync(&parent),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Opens and locks the journal of `id`, made if missing: [`Errno::AGAIN`] where another process holds
    /// it. A journal that was cleaned away between the two steps is made anew.
    fn lock_journal(&self, area: &Area, id: &Id) -> Result<OwnedFd, Errno> {
        let journal_name = Area::journal_name(id.as_str());
        loop {
            let file = self.syscalls.open_entry(area.kept(), &journal_name, OFlags::RDWR | OFlags::CREATE)?;
            self.syscalls.lock(&file)?;
            if area.is_entry(area.kept(), &journal_name, &file)? {
                return Ok(file);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use super::*;
    use crate::store::{Chunk, Durability, Finish, LeaseOptions, MountTable, Owner, StoreOptions};

    #[test]
    fn an_upload_that_has_its_name_beside_the_staged_one_is_published() {
        let root = tempfile::tempdir().unwrap();
        let options = StoreOptions {
            root: root.path().into(),
            writable: true,
            durability: Durability::Full,
            max_staged: u64::MAX,
            max_kept: 10,
            keep: Duration::from_secs(3600),
            mounts: MountTable::default(),
            leasing: LeaseOptions::default(),
        };
        let store = Store::open(&options).unwrap();
        let resume = || {
            let (id, name) = (Id::new("0123456789abcdef").unwrap(), Name::new("name").unwrap());
            store.resume(&Resume { id, name, size: 5, mtime: None, owner: Owner::default() }).unwrap()
        };
        let crc = Crc32::of(b"hello");
        let Resumed::Going { upload, .. } = resume() else { panic!("published before it began") };
        let chunk = Chunk { memory: b"hello".to_vec(), filled: 5 };
        store.finish(&Finish { upload, at: 0, chunk, size: 5, crc }).unwrap();

        let [name, staged] = ["name", ".ferry/kept/0123456789abcdef.data"].map(|path| root.path().join(path));
        fs::write(&name, b"hello").unwrap();
        let Resumed::Going { digest, .. } = resume() else { panic!("another file is taken for it") };
        assert_eq!((digest.bytes(), digest.crc()), (5, crc));

        // As a server leaves it that gives second names, and is killed.
        fs::remove_file(&name).unwrap();
        fs::hard_link(&staged, &name).unwrap();
        for _ in 0..2 {
            let Resumed::Published(published) = resume() else { panic!("it has its name") };
            assert_eq!((published.size, published.crc), (5, crc));
            assert!(!staged.exists());
            assert_eq!(fs::read(&name).unwrap(), b"hello");
        }
    }
}
