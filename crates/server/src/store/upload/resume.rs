//! Taking up an upload that was begun before, or beginning one that may be.

use std::{
    os::fd::OwnedFd,
    sync::{Arc, Mutex},
};

use ferry_wire::{Digest, Id, Name, Tag};
use rustix::{
    fs::{OFlags, Stat},
    io::Errno,
};

use super::{
    super::{
        Store,
        area::{Area, ClaimOutcome, Kept, TRIES, Taken, Tenure, Traces},
        attributes::Attributes,
        error::{ErrorKind, StoreError},
        journal::{Journal, JournalEntry, KeptState},
        meta,
        operation::{Published, Resume, Resumed},
        owner::Owner,
        parts::{Part, Parts},
    },
    Hands, Parents, Place, Staged, Upload,
};

/// The thing that a journal turns out to stand for.
enum Found {
    Published(Published),
    /// The file, the digest of the bytes in it that count, and the parts beyond that do.
    Kept(OwnedFd, Digest, Beyond),
    Nothing,
}

/// The parts of an upload that are found.
#[derive(Default)]
struct Beyond {
    parts: Vec<Part>,
    /// The journal promises others, which are not there.
    is_less: bool,
}

/// The state in which an upload that somebody wants is found.
enum Begun {
    Published(Published),
    /// It is the caller's: how it is kept, its locked journal, its data, and the digest of the bytes in them that
    /// count.
    Going(Going),
}

struct Going {
    kept: Kept,
    journal: (OwnedFd, Journal),
    file: OwnedFd,
    digest: Digest,
    beyond: Beyond,
    owner: Owner,
    /// The files that it was taken from, where its names are its holder's alone.
    taken: Option<Box<Taken>>,
}

impl Resume {
    /// Fails where an upload of which nothing is known is not to begin.
    fn may_begin(&self) -> Result<(), StoreError> {
        if self.begins { Ok(()) } else { Err(StoreError::at(self.name.as_str(), ErrorKind::NoUpload)) }
    }
}

impl Store {
    /// Takes up an upload, or begins it.
    pub(in crate::store) fn resume(
        &self,
        wanted: &Resume,
        gets_on: &dyn Fn() -> bool,
    ) -> Result<Resumed<Arc<Upload>>, StoreError> {
        let Resume { id, name, owner, .. } = wanted;
        let failed = |error| StoreError::system(name.as_str(), error);
        let area = self.area().map_err(failed)?;
        // A helper may be stuck with it whom nobody expects any more.
        let Some(in_hand) = self.in_hand.take(id) else {
            return Err(StoreError::at(name.as_str(), ErrorKind::NoAnswer));
        };
        let target = self.check_target(name, &mut Parents::default());
        // Nothing is begun that can't end well; but what was published stays so, whatever became of
        // its name.
        if !area.knows(id.as_str()).map_err(failed)? {
            wanted.may_begin()?;
            target.clone()?;
            self.admit(id, owner)?;
        }
        let resumed = self.take_up(area, wanted, target, gets_on);
        match &resumed {
            Ok(Resumed::Going { upload, .. }) => upload.staged().in_hand = Some(in_hand),
            _ => self.rest(id),
        }
        resumed
    }

    /// Does the same, once it counts. It holds the journal's lock only where the upload goes on.
    fn take_up(
        &self,
        area: &Area,
        wanted: &Resume,
        target: Result<Attributes, StoreError>,
        gets_on: &dyn Fn() -> bool,
    ) -> Result<Resumed<Arc<Upload>>, StoreError> {
        let Resume { id, name, size, mtime, permissions, .. } = wanted;
        let failed = |error| StoreError::system(name.as_str(), error);
        let begun = if area.is_shared() {
            self.begin_shared(area, wanted, target.as_ref(), gets_on)?
        } else {
            self.begin_common(area, wanted, target.as_ref())?
        };
        let Going { kept, journal, file, digest, beyond: Beyond { parts, is_less }, owner, taken } = match begun {
            Begun::Published(published) => return Ok(Resumed::Published(published)),
            Begun::Going(going) => going,
        };
        let told = parts.iter().map(|part| part.offset..part.end()).collect();
        let end = parts.last().map_or(digest.bytes(), Part::end);
        let mut staged = Staged { journal: Some(journal), file: Some(file), ..Staged::default() };
        staged.parts = Parts::resumed(digest.bytes(), parts.clone());
        let attributes = target?;
        let (place, size, mtime, permissions) = (Place::Kept(kept), *size, *mtime, *permissions);
        let (store, name_of, hands) = (self.stamp.clone(), name.clone(), Hands::default());
        let staged_of = Mutex::default();
        let upload = Upload {
            store,
            name: name_of,
            size,
            mtime,
            permissions,
            settled: false,
            place,
            owner,
            hands,
            staged: staged_of,
        };
        self.give(name, &mut staged, attributes)?;
        // The state that is told must be on the disk. The process that wrote it may have been
        // killed before it was.
        if let Some(taken) = &taken {
            area.anchor(taken, |dir| self.sync(dir)).map_err(failed)?;
            self.write_journal(&upload, &mut staged, &digest, parts).map_err(failed)?;
            area.settle(taken, |dir| self.sync(dir)).map_err(|error| self.cant_take(name, error))?;
        } else if digest.bytes() == 0 || is_less {
            self.write_journal(&upload, &mut staged, &digest, parts).map_err(failed)?;
            // The two entries must be there when a checkpoint promises that they are.
            self.sync(area.kept()).map_err(failed)?;
        } else if let Some((journal_file, _)) = &staged.journal {
            self.sync_data(journal_file).map_err(failed)?;
        }
        staged.counted = match &staged.file {
            Some(file) => self.trimmed(file, end).map_err(failed)?,
            None => 0,
        };
        staged.holes = end.saturating_sub(staged.counted);
        self.quota.hold(id.as_str(), &upload.owner, staged.counted);
        (staged.reserved, staged.written_back, staged.noted) = (digest.bytes(), digest.bytes(), digest.clone());
        *upload.staged() = staged;
        let upload = Arc::new(upload);
        self.held.insert(id, &upload);
        Ok(Resumed::Going { upload, digest, parts: told })
    }

    /// Returns the error where an upload that was taken could not be had: another server took it right away.
    fn cant_take(&self, name: &Name, error: Errno) -> StoreError {
        match error {
            Errno::NOENT => StoreError::at(name.as_str(), ErrorKind::TakenOver),
            error => self.cant_stage(name, error),
        }
    }

    /// Returns the owner that the upload of `entry` goes on with.
    pub(super) fn owner_of(wanted: &Resume, entry: &JournalEntry) -> Result<Owner, StoreError> {
        let Resume { name, size, owner, .. } = wanted;
        if entry.owner.excludes(owner) {
            return Err(StoreError::at(name.as_str(), ErrorKind::ForeignUpload));
        }
        if entry.name != *name || entry.size != *size {
            return Err(StoreError::at(name.as_str(), ErrorKind::IdTaken));
        }
        Ok(if entry.owner.is_nobody() { owner.clone() } else { entry.owner.clone() })
    }

    /// Takes hold of an upload by its lock alone.
    fn begin_common(
        &self,
        area: &Area,
        wanted: &Resume,
        target: Result<&Attributes, &StoreError>,
    ) -> Result<Begun, StoreError> {
        let Resume { id, name, owner, .. } = wanted;
        let failed = |error| StoreError::system(name.as_str(), error);
        let journal_file = self.lock_journal(area, id, wanted.begins).map_err(|error| match error {
            Errno::AGAIN => StoreError::at(name.as_str(), ErrorKind::HeldElsewhere { seconds: None }),
            Errno::NOENT if !wanted.begins => StoreError::at(name.as_str(), ErrorKind::NoUpload),
            error => self.cant_stage(name, error),
        })?;
        let (journal, entry) = Journal::read(&self.syscalls, &journal_file).map_err(failed)?;
        let data_name = Area::data_name(id.as_str());
        let (mut file, mut digest, mut beyond, mut owner) = (None, Digest::new(), Beyond::default(), owner.clone());
        match entry {
            Some(entry) => {
                owner = Store::owner_of(wanted, &entry)?;
                match self.look_for(area, &data_name, &entry).map_err(failed)? {
                    Found::Published(published) => return Ok(Begun::Published(published)),
                    Found::Kept(found, kept, parts) => (file, digest, beyond) = (Some(found), kept, parts),
                    Found::Nothing => {}
                }
            }
            None => wanted.may_begin()?,
        }
        target.map_err(Clone::clone)?;
        let file = match file {
            Some(file) => file,
            None => {
                let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC;
                let file = self.syscalls.open_entry(area.kept(), &data_name, flags);
                file.map_err(|error| self.cant_stage(name, error))?
            }
        };
        let kept = Kept { id: id.clone(), tenure: Tenure::Common, node: None };
        Ok(Begun::Going(Going { kept, journal: (journal_file, journal), file, digest, beyond, owner, taken: None }))
    }

    /// Takes hold of an upload where servers of other machines may hold it.
    fn begin_shared(
        &self,
        area: &Area,
        wanted: &Resume,
        target: Result<&Attributes, &StoreError>,
        gets_on: &dyn Fn() -> bool,
    ) -> Result<Begun, StoreError> {
        let Resume { id, name, .. } = wanted;
        let failed = |error| StoreError::system(name.as_str(), error);
        let mut seconds = None;
        for _ in 0..TRIES {
            let traces = area.traces(id.as_str()).map_err(failed)?;
            let entry = match area.newest_entry(id.as_str(), &traces) {
                Err(Errno::NOENT) => continue,
                entry => entry.map_err(failed)?,
            };
            match &entry {
                Some((of, entry)) => {
                    Store::owner_of(wanted, entry)?;
                    match self.published(area, id, &traces, of, entry).map_err(failed)? {
                        Some(Found::Published(published)) => return Ok(Begun::Published(published)),
                        Some(_) => {}
                        None => continue,
                    }
                }
                None => wanted.may_begin()?,
            }
            target.map_err(Clone::clone)?;
            match area.claim(id, traces, entry.as_ref()).map_err(|error| self.cant_stage(name, error))? {
                ClaimOutcome::Changed => seconds = None,
                ClaimOutcome::Held(left) => {
                    seconds = left.map(|left| u64::try_from(left.as_millis().div_ceil(1000)).unwrap_or(u64::MAX));
                    break;
                }
                ClaimOutcome::Taken(taken, mark) => {
                    return self.begin_taken(area, wanted, (taken, mark), gets_on).map(Begun::Going);
                }
            }
        }
        Err(StoreError::at(name.as_str(), ErrorKind::HeldElsewhere { seconds }))
    }

    fn begin_taken(
        &self,
        area: &Area,
        wanted: &Resume,
        (taken, mark): (Box<Taken>, OwnedFd),
        gets_on: &dyn Fn() -> bool,
    ) -> Result<Going, StoreError> {
        let Resume { name, owner, .. } = wanted;
        let owner = taken.entry.as_ref().map_or_else(|| Ok(owner.clone()), |entry| Store::owner_of(wanted, entry))?;
        let promised = match taken.entry.as_ref().map(|entry| &entry.state) {
            Some(KeptState::Kept { offset, crc, .. }) => Digest::resume(*crc, *offset),
            Some(KeptState::Publishing { size, crc, .. }) => Digest::resume(*crc, *size),
            Some(KeptState::Published { .. }) | None => Digest::new(),
        };
        let parts = match taken.entry.as_ref().map(|entry| &entry.state) {
            Some(KeptState::Kept { parts, .. }) => parts.as_slice(),
            _ => &[],
        };
        let data = area.own_data(&taken, promised, parts, gets_on);
        let (file, digest, parts) = data.map_err(|error| self.cant_take(name, error))?;
        // Its own journal has no entry yet.
        let beyond = Beyond { parts, is_less: false };
        Ok(Going {
            kept: taken.kept.clone(),
            journal: (mark, Journal::default()),
            file,
            digest,
            beyond,
            owner,
            taken: Some(taken),
        })
    }

    /// Returns what became of an upload as `entry` says, of the holder `of`: nothing that is known, where it was not
    /// published; [`None`] where others change it just now.
    fn published(
        &self,
        area: &Area,
        id: &Id,
        traces: &Traces,
        of: &Tenure,
        entry: &JournalEntry,
    ) -> Result<Option<Found>, Errno> {
        let whole = match &entry.state {
            KeptState::Published { size, crc, tag } => {
                return Ok(Some(Found::Published(Published { size: *size, crc: *crc, tag: tag.clone() })));
            }
            KeptState::Kept { .. } => return Ok(Some(Found::Nothing)),
            KeptState::Publishing { size, crc, tag } => Published { size: *size, crc: *crc, tag: tag.clone() },
        };
        match traces.data_since(Some(of)) {
            Some(data) => match area.stat_data(id.as_str(), traces, data) {
                Ok(stat) if self.has_name(&entry.name, &stat) => {
                    // This name must be on the disk before the other one goes.
                    self.sync_published(area, &entry.name)?;
                    area.remove_data(id.as_str(), traces, data)?;
                    self.found_published(area, &entry.name, whole).map(Found::Published).map(Some)
                }
                Ok(_) => Ok(Some(Found::Nothing)),
                Err(Errno::NOENT) => Ok(None),
                Err(error) => Err(error),
            },
            None if area.is_without_data(id.as_str(), traces, of)? => {
                self.found_published(area, &entry.name, whole).map(Found::Published).map(Some)
            }
            None => Ok(None),
        }
    }

    /// Returns the parts that count of a file whose journal says `entry`, of which `kept` is there.
    fn beyond(&self, file: &OwnedFd, kept: &Digest, entry: &JournalEntry) -> Result<Beyond, Errno> {
        let KeptState::Kept { offset, parts, .. } = &entry.state else { return Ok(Beyond::default()) };
        let size = meta::size(&self.syscalls.stat(file)?);
        let are_there = *offset == kept.bytes() && parts.last().is_none_or(|last| last.end() <= size);
        Ok(Beyond { parts: if are_there { parts.clone() } else { Vec::new() }, is_less: !are_there })
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
            KeptState::Published { size, crc, tag } => {
                return Ok(Found::Published(Published { size: *size, crc: *crc, tag: tag.clone() }));
            }
            KeptState::Kept { offset, crc, .. } => (*offset, *crc, None),
            KeptState::Publishing { size, crc, tag } => {
                (*size, *crc, Some(Published { size: *size, crc: *crc, tag: tag.clone() }))
            }
        };
        match area.open_data(area.kept(), data_name) {
            Ok(file) => {
                let stat = self.syscalls.stat(&file)?;
                if let Some(whole) = published.filter(|_| self.has_name(&entry.name, &stat)) {
                    // This name must be on the disk before the other one goes.
                    self.sync_published(area, &entry.name)?;
                    self.syscalls.unlink(area.kept(), data_name, false)?;
                    return self.found_published(area, &entry.name, whole).map(Found::Published);
                }
                // A journal that promises more than there is can't be: the bytes were synced before it.
                // Should a disk lie, the upload begins anew.
                let kept = if offset <= meta::size(&stat) { Digest::resume(crc, offset) } else { Digest::new() };
                let beyond = self.beyond(&file, &kept, entry)?;
                Ok(Found::Kept(file, kept, beyond))
            }
            Err(Errno::NOENT) => match published {
                Some(whole) => self.found_published(area, &entry.name, whole).map(Found::Published),
                None => Ok(Found::Nothing),
            },
            Err(error) => Err(error),
        }
    }

    /// Returns whether the staged file of `stat` has its name already: it got that as a second one,
    /// and the server was killed before the first was removed (see `Batch::move_entry`).
    pub(super) fn has_name(&self, name: &Name, stat: &Stat) -> bool {
        let there = self.root.stat(name, false);
        there.is_ok_and(|there| (there.st_dev, there.st_ino) == (stat.st_dev, stat.st_ino))
    }

    /// Makes durable that an upload has its name, which may have been given by a server that was
    /// killed. The tag of `whole` is the one that its file had before.
    pub(super) fn found_published(&self, area: &Area, name: &Name, whole: Published) -> Result<Published, Errno> {
        self.sync_published(area, name)?;
        let tag = self.tag_after_rename(name, &whole.tag);
        Ok(Published { tag, ..whole })
    }

    /// Returns the tag of an upload whose server was killed right after the rename, `before` being
    /// the one that its file had then: renaming changes the time of the status.
    fn tag_after_rename(&self, name: &Name, before: &Tag) -> Tag {
        let moment = self.file_time();
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

    /// Opens and locks the journal of `id`, made if missing where it `is_made`: [`Errno::AGAIN`] where another process
    /// holds it. A journal that was cleaned away between the two steps is made anew.
    fn lock_journal(&self, area: &Area, id: &Id, is_made: bool) -> Result<OwnedFd, Errno> {
        let journal_name = Area::journal_name(id.as_str());
        let flags = if is_made { OFlags::RDWR | OFlags::CREATE } else { OFlags::RDWR };
        loop {
            let file = self.syscalls.open_entry(area.kept(), &journal_name, flags)?;
            self.syscalls.lock(&file)?;
            if area.is_entry(area.kept(), &journal_name, &file)? {
                return Ok(file);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use ferry_wire::Crc32;

    use super::*;
    use crate::store::{Chunk, Finish, Owner, testing::options};

    #[test]
    fn an_upload_that_has_its_name_beside_the_staged_one_is_published() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(&options(root.path())).unwrap();
        let resume = || {
            let (id, name) = (Id::new("0123456789abcdef").unwrap(), Name::new("name").unwrap());
            store
                .resume(
                    &Resume {
                        id,
                        name,
                        size: Some(5),
                        mtime: None,
                        permissions: None,
                        owner: Owner::default(),
                        begins: true,
                    },
                    &|| true,
                )
                .unwrap()
        };
        let crc = Crc32::of(b"hello");
        let Resumed::Going { upload, .. } = resume() else { panic!("published before it began") };
        let chunk = Chunk { memory: b"hello".to_vec(), filled: 5, hole: 0 };
        store.finish(&Finish { upload, at: 0, chunk, chunk_crc: crc, size: 5, crc, before: None }, &|| true).unwrap();

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
