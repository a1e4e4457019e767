//! Staging uploads: bytes under a hidden name until they are whole and on the disk.

mod begin;
mod hands;
mod holes;
mod let_go;
mod measure;
mod part;
mod resume;
mod small;

use std::{
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ferry_wire::{Crc32, Digest, Id, Name, Time};
use rustix::io::Errno;

use begin::Parents;
pub(super) use hands::Work;
pub use hands::{Hands, IdsInHand, InHand, LetGo, WorkOn};
pub(super) use part::{Held, PartOf};
pub use small::SmallFinish;

use super::{
    Disk, Durability, Store,
    area::Kept,
    attributes::{Attributes, Ungiven},
    crcs::{REMEMBERED_FROM_BYTES, UploadRun},
    error::{ErrorKind, StoreError},
    journal::{Journal, JournalEntry, KeptState, LeaseState},
    meta,
    operation::{Chunk, Finish, Permissions, Stage},
    owner::Owner,
    parts::{Part, Parts},
    quota::Whose,
    run::Run,
};

/// The bytes of room that the disk is asked to set aside ahead of those that arrived. So a large
/// upload finds out early that it will not fit, and lies in one piece.
const RESERVE_BYTES: u64 = 64 << 20;

/// Uploads below this size are not worth setting room aside for.
const RESERVE_FROM_BYTES: u64 = 1 << 20;

/// How much is written before it is sent on its way to the disk.
const WRITEBACK_BYTES: u64 = 8 << 20;

/// From this many small uploads on, one sync of the file system is quicker than one of each file. A
/// few are synced one by one, since that waits for nobody else's bytes.
const TOGETHER_FROM: usize = 4;

/// An upload: the state that all operations on it share.
#[derive(Debug)]
pub struct Upload {
    /// Of the store that it was begun at.
    store: Arc<Stamp>,
    pub(super) name: Name,
    size: Option<u64>,
    mtime: Option<Time>,
    permissions: Option<Permissions>,
    /// The parent can be looked at before the whole has arrived.
    settled: bool,
    pub(super) place: Place,
    /// The owner: its limits are held.
    owner: Owner,
    hands: Hands,
    staged: Mutex<Staged>,
}

/// Where an upload is staged.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// In this process's own directory, under a number.
    Plain(String),
    /// Kept aside under the client's id.
    Kept(Kept),
    /// In the file of another one, whose holder keeps it.
    Part(PartOf),
}

/// The state of the staged file.
#[derive(Debug, Default)]
pub(super) struct Staged {
    /// Open from the first write until it is finished.
    file: Option<OwnedFd>,
    /// Where a plain upload is staged, once it is.
    pub(super) run: Option<Arc<Run>>,
    reserved: u64,
    written_back: u64,
    /// The bytes that it counts of all that is staged: those that arrived, and those set aside ahead of them.
    pub(super) counted: u64,
    /// Bytes of the file that are not on the disk, since they are holes.
    holes: u64,
    /// How far the journal of a kept upload may promise that its bytes are on the disk.
    noted: Digest,
    /// The parts beyond, of a kept upload.
    parts: Parts,
    /// The locked journal of a kept upload.
    pub(super) journal: Option<(OwnedFd, Journal)>,
    /// The id of a kept upload, as long as it is locked.
    in_hand: Option<InHand>,
    /// Set when it is finished.
    pub(super) whole: Option<(u64, Crc32)>,
    /// Those that the file was given.
    pub(super) attributes: Attributes,
    /// The CRCs of its blocks, as far as they are known.
    pub(super) crcs: UploadRun,
}

impl Staged {
    /// Closes the journal, which gives up its lock, and then the id.
    pub(super) fn unlock(&mut self) {
        self.journal = None;
        self.in_hand = None;
    }
}

impl Upload {
    pub(super) fn plain(store: Arc<Stamp>, number: String, stage: Stage) -> Upload {
        let Stage { name, size, mtime, permissions, settled, owner } = stage;
        let (place, hands, staged) = (Place::Plain(number), Hands::default(), Mutex::default());
        Upload { store, name, size, mtime, permissions, settled, place, owner, hands, staged }
    }

    /// Returns the attributes that its place brings with it, with what was asked for.
    pub(super) fn attributes(&self, of_place: Attributes) -> Attributes {
        of_place.asking(self.permissions)
    }

    /// Returns the resume id, of an upload that has one.
    #[must_use]
    pub fn id(&self) -> Option<&Id> {
        match &self.place {
            Place::Plain(_) | Place::Part(_) => None,
            Place::Kept(kept) => Some(&kept.id),
        }
    }

    pub(super) fn staged(&self) -> MutexGuard<'_, Staged> {
        // A helper that panicked left nothing that the next call does not look at anew.
        self.staged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what tells the lock apart that is held while it is written.
    #[must_use]
    pub fn lock_address(self: &Arc<Upload>) -> usize {
        match &self.place {
            Place::Part(part) => Arc::as_ptr(&part.of).addr(),
            Place::Plain(_) | Place::Kept(_) => Arc::as_ptr(self).addr(),
        }
    }

    /// Returns whether it is a part of a resumable upload: its end waits for no disk.
    #[must_use]
    pub fn is_part(&self) -> bool {
        matches!(self.place, Place::Part(_))
    }

    /// Returns as whose its bytes are counted.
    pub(super) fn whose(&self) -> Whose<'_> {
        match &self.place {
            Place::Plain(_) => Whose::Plain(&self.owner),
            Place::Kept(kept) => Whose::Kept(kept.id.as_str()),
            Place::Part(part) => part.of.whose(),
        }
    }

    fn error(&self, error: Errno) -> StoreError {
        StoreError::system(self.name.as_str(), error)
    }

    /// Takes the CRCs of all its blocks, where they are known and it is worth remembering them.
    pub(super) fn crcs(&self) -> Option<Vec<Crc32>> {
        let mut staged = self.staged();
        let (size, crc) = staged.whole.filter(|(size, _)| *size >= REMEMBERED_FROM_BYTES)?;
        staged.crcs.take(size, crc)
    }

    /// Returns the error where another server has taken it.
    pub(super) fn taken_over(&self) -> StoreError {
        StoreError::at(self.name.as_str(), ErrorKind::TakenOver)
    }

    /// Returns the name that it will have, and the size that was announced, if one was.
    #[must_use]
    pub fn becomes(&self) -> (&Name, Option<u64>) {
        (&self.name, self.size)
    }

    /// Returns the journal that says `state` of it.
    pub(super) fn entry(&self, state: KeptState) -> JournalEntry {
        let (name, size, owner) = (self.name.clone(), self.size, self.owner.clone());
        let lease = self.own_names().map(|kept| LeaseState { is_held: true, node: kept.node.clone() });
        JournalEntry { name, size, state, owner, lease }
    }

    /// Returns how it is kept, where its names are its holder's alone.
    pub(super) fn own_names(&self) -> Option<&Kept> {
        match &self.place {
            Place::Kept(kept) => Some(kept).filter(|kept| kept.has_own_names()),
            Place::Plain(_) | Place::Part(_) => None,
        }
    }
}

/// Returns the error of a staged file that could not be given what its place in the tree brings with it.
pub(super) fn not_given(name: &Name, ungiven: Ungiven) -> StoreError {
    match ungiven {
        Ungiven::System(error) => StoreError::system(name.as_str(), error),
        Ungiven::Project => StoreError::at(name.as_str(), ErrorKind::ForeignProject),
    }
}

/// Tells the uploads of one store from those of others, and whether there are any.
#[derive(Debug)]
pub(super) struct Stamp;

impl Store {
    /// Returns whether `upload` was begun at this store.
    pub(super) fn has_begun(&self, upload: &Upload) -> bool {
        Arc::ptr_eq(&self.stamp, &upload.store)
    }

    /// Returns whether any upload that was begun at this store is still there.
    pub(super) fn has_uploads(&self) -> bool {
        Arc::strong_count(&self.stamp) > 1
    }

    pub(super) fn write(
        &self,
        upload: &Arc<Upload>,
        at: u64,
        mut chunk: Chunk,
        crc: Crc32,
    ) -> Result<Chunk, StoreError> {
        let _work = self.work_on(upload)?;
        if let Place::Part(part) = &upload.place {
            self.write_part(part, at, &chunk)?;
        } else {
            let mut staged = upload.staged();
            self.write_chunk(upload, &mut staged, at, &chunk)?;
            staged.crcs.wrote(at, chunk.length(), crc);
        }
        chunk.hole = 0;
        chunk.filled = chunk.filled.min(chunk.memory.len());
        Ok(chunk)
    }

    fn write_chunk(&self, upload: &Upload, staged: &mut Staged, at: u64, chunk: &Chunk) -> Result<(), StoreError> {
        assert!(staged.whole.is_none(), "a write after the end of an upload");
        if staged.file.is_none() {
            self.begin(upload, staged, &mut Parents::default())?;
        }
        let bytes = chunk.bytes();
        let (start, end) = (at + chunk.hole, at + chunk.length());
        if let Some(left) = staged.parts.advance(end) {
            self.promise(upload, staged, left).map_err(|error| upload.error(error))?;
        }
        staged.holes += chunk.hole;
        let more = end.saturating_sub(staged.holes).saturating_sub(staged.counted);
        self.stage_bytes(upload.whose(), &upload.owner, more)?;
        staged.counted += more;
        if staged.holes == 0 {
            self.reserve(upload, staged, end);
        }
        let file = staged.file.as_ref().ok_or_else(|| upload.error(Errno::BADF))?;
        if chunk.hole > 0 {
            let made = self.make_hole(file, at..start, staged.reserved);
            made.map_err(|error| upload.error(error))?;
        }
        self.syscalls.write_all(file, bytes, start).map_err(|error| upload.error(error))?;
        // Of two writes under way, either may be the first.
        if self.durability == Durability::Full && end.saturating_sub(staged.written_back) >= WRITEBACK_BYTES {
            self.syscalls.start_writeback(file, staged.written_back, end - staged.written_back);
            staged.written_back = end;
        }
        Ok(())
    }

    /// Sets room aside a little ahead of `end`: never more than the client announced, and no more
    /// than a part of the free space, since it counts. Where that is little, or the file system
    /// can't set any aside, the writes themselves fail where there is no room. Nor is any where the upload's names are
    /// its holder's alone: only somebody who takes it over, and copies it, could give back what a killed server leaves.
    fn reserve(&self, upload: &Upload, staged: &mut Staged, end: u64) {
        let Some(size) = upload.size.filter(|&size| size >= RESERVE_FROM_BYTES) else { return };
        // In memory nothing has to lie in one piece, and pages made ahead fall out of the processor's cache
        // before they are written: a third of the time that an upload took.
        let is_asked = !self.capabilities.in_memory && self.capabilities.fallocate && upload.own_names().is_none();
        if end <= staged.reserved || !is_asked {
            return;
        }
        let to = size.min(end.saturating_add(RESERVE_BYTES.min(self.quota.spare(upload.whose()))));
        let Some(file) = &staged.file else { return };
        let ahead = to.saturating_sub(staged.counted);
        if to - end < RESERVE_FROM_BYTES.min(size - end) || self.quota.take(upload.whose(), ahead).is_err() {
            return;
        }
        staged.counted += ahead;
        if self.syscalls.reserve(file, staged.reserved, to - staged.reserved).is_err() {
            // Of what did not fit as a whole, some may have been set aside.
            let taken = self.syscalls.stat(file).map_or(staged.counted, |stat| meta::taken(&stat));
            let unused = staged.counted.saturating_sub(taken.max(end)).min(ahead);
            self.quota.give_back(upload.whose(), unused);
            staged.counted -= unused;
        }
        staged.reserved = to;
    }

    /// Writes the last bytes and makes the whole durable. The descriptor is closed: an upload that
    /// waits for its name holds none.
    pub(super) fn finish(&self, finish: &Finish<Disk>, gets_on: &dyn Fn() -> bool) -> Result<(), StoreError> {
        let Finish { upload, at, chunk, chunk_crc, size, crc, before } = finish;
        let (size, crc) = (*size, *crc);
        let _work = self.work_on(upload)?;
        if let Place::Part(part) = &upload.place {
            return self.finish_part(part, *at, chunk, crc);
        }
        let end = *at + chunk.length();
        assert_eq!(before.as_ref().map_or(size, Digest::bytes), end, "the last chunk ends the file, or parts do");
        let mut staged = upload.staged();
        self.write_chunk(upload, &mut staged, *at, chunk)?;
        staged.crcs.wrote(*at, chunk.length(), *chunk_crc);
        gets_on();
        // From here on nobody else writes.
        staged.parts.close_all();
        if let Some(before) = before {
            let kind = match staged.parts.join(before.clone(), size) {
                None => Some(ErrorKind::PartsMissing),
                Some(whole) => (whole != crc).then_some(ErrorKind::OtherCrc),
            };
            if let Some(kind) = kind {
                return Err(StoreError::at(upload.name.as_str(), kind));
            }
        }
        let finished = self.finish_file(upload, &mut staged, (size, crc), gets_on);
        finished.map_err(|error| upload.error(error))?;
        staged.whole = Some((size, crc));
        Ok(())
    }

    /// Syncs files or directories together, where that means something, and returns the result of
    /// each. Says by `gets_on` when one of several is done.
    pub(super) fn sync_several(&self, files: &[OwnedFd], gets_on: &dyn Fn() -> bool) -> Vec<Result<(), Errno>> {
        match self.durability {
            Durability::None => vec![Ok(()); files.len()],
            Durability::Full if !self.capabilities.syncfs => self.syscalls.sync_each(files),
            Durability::Full if files.len() < TOGETHER_FROM => {
                let sync = |file| {
                    let synced = self.syscalls.sync(file);
                    gets_on();
                    synced
                };
                files.iter().map(sync).collect()
            }
            Durability::Full => vec![self.syscalls.sync_together(files); files.len()],
        }
    }

    fn finish_file(
        &self,
        upload: &Upload,
        staged: &mut Staged,
        (size, crc): (u64, Crc32),
        gets_on: &dyn Fn() -> bool,
    ) -> Result<(), Errno> {
        self.complete_file(upload, staged, size)?;
        let file = staged.file.as_ref().ok_or(Errno::BADF)?;
        self.write_back(file, size, gets_on)?;
        self.sync(file)?;
        if let Some((journal_file, journal)) = &mut staged.journal {
            let moment = self.file_time();
            let tag = self.tag(&self.syscalls.stat(file)?, moment);
            (staged.noted, staged.parts) = (Digest::resume(crc, size), Parts::default());
            journal.write(&self.syscalls, journal_file, &upload.entry(KeptState::Publishing { size, crc, tag }))?;
            self.sync_data(journal_file)?;
        }
        staged.file = None;
        Ok(())
    }

    /// Sends a large file to the disk piece by piece, so that a slow disk is seen to get on: a sync
    /// says nothing before all is there.
    fn write_back(&self, file: &OwnedFd, size: u64, gets_on: &dyn Fn() -> bool) -> Result<(), Errno> {
        if self.durability == Durability::None || self.capabilities.in_memory || size <= WRITEBACK_BYTES {
            return Ok(());
        }
        let has_holes = meta::is_sparse(&self.syscalls.stat(file)?);
        let mut at = 0;
        while at < size {
            // Of a file with holes, what is not there is passed over: that may be more than could be walked through.
            let data = if has_holes { self.syscalls.data_in(file, at..size) } else { at..size };
            let bytes = WRITEBACK_BYTES.min(data.end - data.start);
            if bytes > 0 && !self.syscalls.finish_writeback(file, data.start, bytes)? {
                break;
            }
            at = data.start + bytes;
            gets_on();
        }
        Ok(())
    }

    /// Gives the written file its size and time, and the permissions that were asked for.
    fn complete_file(&self, upload: &Upload, staged: &mut Staged, size: u64) -> Result<(), Errno> {
        // Not sooner: a file that its owner may not write could not be opened to go on.
        staged.attributes = upload.attributes(std::mem::take(&mut staged.attributes));
        let file = staged.file.as_ref().ok_or(Errno::BADF)?;
        staged.attributes.give_asked(&self.syscalls, file)?;
        // A kept file may have been longer than promised; a plain file holds the written bytes.
        if upload.id().is_some() && meta::size(&self.syscalls.stat(file)?) != size {
            self.syscalls.truncate(file, size)?;
        }
        match upload.mtime {
            Some(mtime) => self.syscalls.set_mtime(file, mtime),
            // A machine may tell the others late when it wrote (MooseFS: a second later). To them that would be
            // another version, and a download that is under way by then would end as changed.
            None if !self.capabilities.local => self.syscalls.touch(file),
            None => Ok(()),
        }
    }

    /// Makes durable what was written so far of a kept upload, and remembers how far that is.
    pub(super) fn checkpoint(&self, upload: &Arc<Upload>, digest: &Digest) -> Result<(), StoreError> {
        let _work = self.work_on(upload)?;
        let mut staged = upload.staged();
        let file = staged.file.as_ref().ok_or_else(|| upload.error(Errno::BADF))?;
        // Others become whole while the disk is waited for.
        let parts = staged.parts.whole().to_vec();
        let synced = match file.try_clone() {
            // The lock is not held while the disk is waited for: more is written meanwhile.
            Ok(file) => {
                drop(staged);
                let synced = self.sync_data(&file);
                staged = upload.staged();
                synced
            }
            // No descriptor is free. This is no reason for a checkpoint to fail.
            Err(_) => self.sync_data(file),
        };
        synced.map_err(|error| upload.error(error))?;
        let parts = staged.parts.still_there(parts);
        self.write_journal(upload, &mut staged, digest, parts).map_err(|error| upload.error(error))?;
        if let (Some(kept), Some((journal, _))) = (upload.own_names(), &staged.journal)
            && !self.area().and_then(|area| area.is_held(kept, journal)).map_err(|error| upload.error(error))?
        {
            // What was made durable is nobody's any more.
            return Err(upload.taken_over());
        }
        Ok(())
    }

    /// Has the journal promise `digest`, and `parts` beyond it, all of which are on the disk.
    fn write_journal(
        &self,
        upload: &Upload,
        staged: &mut Staged,
        digest: &Digest,
        parts: Vec<Part>,
    ) -> Result<(), Errno> {
        assert!(digest.bytes() >= staged.noted.bytes(), "a journal that promises less than before");
        staged.noted = digest.clone();
        self.promise(upload, staged, parts)
    }

    /// Has the journal promise these parts, beside the first bytes.
    fn promise(&self, upload: &Upload, staged: &mut Staged, parts: Vec<Part>) -> Result<(), Errno> {
        let (journal_file, journal) = staged.journal.as_mut().ok_or(Errno::BADF)?;
        let (offset, crc) = (staged.noted.bytes(), staged.noted.crc());
        let entry = upload.entry(KeptState::Kept { offset, crc, parts: parts.clone() });
        journal.write(&self.syscalls, journal_file, &entry)?;
        self.sync_data(journal_file)?;
        staged.parts.noted(parts);
        Ok(())
    }

    pub(super) fn sync(&self, file: &OwnedFd) -> Result<(), Errno> {
        match self.durability {
            Durability::Full => self.syscalls.sync(file),
            Durability::None => Ok(()),
        }
    }

    fn sync_data(&self, file: &OwnedFd) -> Result<(), Errno> {
        match self.durability {
            Durability::Full => self.syscalls.sync_data(file),
            Durability::None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{NameOperation, Onto, UploadNumber};

    #[test]
    fn writes_under_way_may_end_in_any_order() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(&holes::options(root.path())).unwrap();
        let (half, whole) = (WRITEBACK_BYTES as usize, 2 * WRITEBACK_BYTES);
        let upload = store.stage(Stage {
            name: Name::new("a").unwrap(),
            size: Some(whole),
            mtime: None,
            permissions: None,
            settled: true,
            owner: Owner::NOBODY,
        });
        let chunk = |byte: u8| Chunk { memory: vec![byte; half], filled: half, hole: 0 };
        let write = |at, chunk: Chunk| {
            let crc = Crc32::of(chunk.bytes());
            store.write(&upload, at, chunk, crc).unwrap();
        };
        write(WRITEBACK_BYTES, chunk(2));
        write(0, chunk(1));
        let crc = Crc32::of(&[vec![1; half], vec![2; half]].concat());
        let (at, chunk, size) = (whole, Chunk::default(), whole);
        let chunk_crc = Crc32::EMPTY;
        let pieces = std::cell::Cell::new(0);
        let gets_on = || {
            pieces.set(pieces.get() + 1);
            true
        };
        store
            .finish(&Finish { upload: upload.clone(), at, chunk, chunk_crc, size, crc, before: None }, &gets_on)
            .unwrap();
        // Where it lies in memory there is no disk to be slow.
        assert!(store.capabilities.in_memory || pieces.get() >= 2, "a large file is seen to get on");
        store.change_names(&mut vec![NameOperation::Publish(UploadNumber(0), upload, Onto::Any)].into_iter());
        assert_eq!(Crc32::of(&std::fs::read(root.path().join("a")).unwrap()), crc);
    }
}
