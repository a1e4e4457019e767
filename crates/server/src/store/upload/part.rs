//! Parts of a kept upload that other connections than its holder's send: written to its file, under
//! its lock.
//!
//! A part that was closed writes nothing any more, whatever its connection still has: the holder
//! lets go, finishes, or overtakes it under the same lock.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use ferry_wire::{Crc32, Id};
use rustix::io::Errno;

use super::{
    super::{
        Durability, Store,
        error::{ErrorKind, StoreError},
        operation::{Chunk, PartStart},
    },
    Hands, Place, Staged, Upload, Work,
};

/// The resumable uploads that connections of this process hold, by id.
#[derive(Debug, Default)]
pub(in crate::store) struct Held(Mutex<HashMap<Id, Weak<Upload>>>);

impl Held {
    /// Adds an upload that has been taken up. Those that are gone leave.
    pub(in crate::store) fn insert(&self, id: &Id, upload: &Arc<Upload>) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|_, upload| upload.strong_count() > 0);
        held.insert(id.clone(), Arc::downgrade(upload));
    }

    pub(in crate::store) fn get(&self, id: &Id) -> Option<Arc<Upload>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(id)?.upgrade()
    }
}

/// A part, and the upload that it is of.
#[derive(Debug, Clone)]
pub(in crate::store) struct PartOf {
    pub(super) of: Arc<Upload>,
    number: u64,
    offset: u64,
}

impl PartOf {
    /// Returns the state of the file, where the part is under way still.
    fn staged(&self) -> Result<MutexGuard<'_, Staged>, StoreError> {
        let staged = self.of.staged();
        if staged.parts.is_open(self.number) { Ok(staged) } else { Err(self.of.taken_over()) }
    }

    pub(super) fn close(&self) {
        self.of.staged().parts.close(self.number);
    }
}

impl Store {
    /// Begins a part of an upload that a connection of this process holds.
    pub(in crate::store) fn part(&self, start: &PartStart) -> Result<Arc<Upload>, StoreError> {
        let PartStart { id, name, offset, length, owner } = start;
        let failed = |kind| StoreError::at(name.as_str(), kind);
        let of = self.held.get(id).ok_or_else(|| failed(ErrorKind::NotHeld))?;
        if of.owner.excludes(owner) {
            return Err(failed(ErrorKind::ForeignUpload));
        }
        if of.name != *name {
            return Err(failed(ErrorKind::IdTaken));
        }
        let work = self.work_on_part_of(&of).map_err(|_| failed(ErrorKind::NotHeld))?;
        let mut staged = of.staged();
        if staged.file.is_none() {
            return Err(failed(ErrorKind::NotHeld));
        }
        let size = of.size.unwrap_or_default();
        let number = staged.parts.open(*offset..offset.saturating_add(*length), size).map_err(failed)?;
        // Parts may lie anywhere: the whole file counts from the first one on.
        let more = size.saturating_sub(staged.counted);
        if let Err(error) = self.stage_bytes(of.whose(), &of.owner, more) {
            staged.parts.close(number);
            return Err(error);
        }
        staged.counted += more;
        drop(staged);
        drop(work);
        let (name, owner) = (name.clone(), owner.clone());
        let store = of.store.clone();
        let place = Place::Part(PartOf { of, number, offset: *offset });
        let (size, mtime, settled) = (Some(*length), None, true);
        let (hands, staged) = (Hands::default(), Mutex::default());
        Ok(Arc::new(Upload { store, name, size, mtime, permissions: None, settled, place, owner, hands, staged }))
    }

    /// Begins to work on the upload that a part is of: it is let go no sooner than this has ended.
    fn work_for(&self, part: &PartOf) -> Result<Work<'_>, StoreError> {
        self.work_on_part_of(&part.of).map_err(|error| match error.kind {
            // It was let go before.
            ErrorKind::NoAnswer => part.of.taken_over(),
            _ => error,
        })
    }

    pub(super) fn write_part(&self, part: &PartOf, at: u64, chunk: &Chunk) -> Result<(), StoreError> {
        let _work = self.work_for(part)?;
        let staged = part.staged()?;
        let file = staged.file.as_ref().ok_or_else(|| part.of.error(Errno::BADF))?;
        let (at, start) = (part.offset + at, part.offset + at + chunk.hole);
        if chunk.hole > 0 {
            // An older part may have written there.
            self.make_hole(file, at..start, staged.reserved).map_err(|error| part.of.error(error))?;
        }
        self.syscalls.write_all(file, chunk.bytes(), start).map_err(|error| part.of.error(error))
    }

    /// Writes the last bytes of a part: it is whole.
    pub(super) fn finish_part(&self, part: &PartOf, at: u64, chunk: &Chunk, crc: Crc32) -> Result<(), StoreError> {
        let _work = self.work_for(part)?;
        self.write_part(part, at, chunk)?;
        let mut staged = part.staged()?;
        let length = at + chunk.length();
        if let Some(file) = staged.file.as_ref().filter(|_| self.durability == Durability::Full) {
            self.syscalls.start_writeback(file, part.offset, length);
        }
        let is_whole = staged.parts.complete(part.number, crc);
        if is_whole { Ok(()) } else { Err(part.of.taken_over()) }
    }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "lists of ranges, of one at times")]
mod tests {
    use std::{ops::Range, path::Path, time::Duration};

    use ferry_wire::{Digest, Name};

    use super::*;
    use crate::store::{
        Finish, LeaseOptions, MountTable, NameCompletion, NameOperation, Onto, Owner, Resume, Resumed, StoreOptions,
        UploadNumber,
    };

    const SIZE: u64 = 1000;

    fn store(root: &Path, max_staged: u64) -> Store {
        let options = StoreOptions {
            root: root.into(),
            writable: true,
            durability: Durability::Full,
            max_staged,
            max_kept: 10,
            keep: Duration::from_secs(3600),
            mounts: MountTable::default(),
            leasing: LeaseOptions::default(),
            crc_cache: 0,
            small_cache: 0,
        };
        Store::open(&options).unwrap()
    }

    fn id() -> Id {
        Id::new("id").unwrap()
    }

    fn held(store: &Store) -> (Arc<Upload>, Digest, Vec<Range<u64>>) {
        let (name, owner) = (Name::new("f").unwrap(), Owner::of_user("alice"));
        match store
            .resume(
                &Resume { id: id(), name, size: Some(SIZE), mtime: None, permissions: None, owner, begins: true },
                &|| true,
            )
            .unwrap()
        {
            Resumed::Going { upload, digest, parts } => (upload, digest, parts),
            Resumed::Published(_) => panic!("it was never published"),
        }
    }

    fn begin(store: &Store, user: &str, name: &str, range: Range<u64>) -> Result<Arc<Upload>, ErrorKind> {
        let (name, owner) = (Name::new(name).unwrap(), Owner::of_user(user));
        let start = PartStart { id: id(), name, offset: range.start, length: range.end - range.start, owner };
        store.part(&start).map_err(|error| error.kind)
    }

    fn bytes(byte: u8, count: u64) -> Chunk {
        Chunk { memory: vec![byte; count as usize], filled: count as usize, hole: 0 }
    }

    fn write(store: &Store, upload: &Arc<Upload>, at: u64, chunk: Chunk) -> Result<Chunk, StoreError> {
        let crc = Crc32::of(chunk.bytes());
        store.write(upload, at, chunk, crc)
    }

    fn end(store: &Store, part: Arc<Upload>, byte: u8, size: u64) -> Result<(), ErrorKind> {
        let chunk = bytes(byte, size);
        let crc = Crc32::of(chunk.bytes());
        store
            .finish(&Finish { upload: part, at: 0, chunk, chunk_crc: crc, size, crc, before: None }, &|| true)
            .map_err(|error| error.kind)
    }

    fn send(store: &Store, range: Range<u64>, byte: u8) {
        let part = begin(store, "alice", "f", range.clone()).unwrap();
        end(store, part, byte, range.end - range.start).unwrap();
    }

    /// Returns the promise of the journal on the disk: another server takes the upload up, as after a kill.
    fn told_after_a_kill(root: &Path) -> (u64, Vec<Range<u64>>) {
        let (_, digest, parts) = held(&store(root, u64::MAX));
        (digest.bytes(), parts)
    }

    #[test]
    fn a_journal_never_names_a_part_whose_bytes_the_holder_wrote_over() {
        let root = tempfile::tempdir().unwrap();
        let first = store(root.path(), u64::MAX);
        let (upload, mut digest, _) = held(&first);
        send(&first, 100..300, 1);
        send(&first, 600..SIZE, 1);
        digest.update(bytes(0, 50).bytes());
        write(&first, &upload, 0, bytes(0, 50)).unwrap();
        first.checkpoint(&upload, &digest).unwrap();
        // Not the bytes of the part.
        write(&first, &upload, 50, bytes(2, 60)).unwrap();
        drop((upload, first));
        assert_eq!(told_after_a_kill(root.path()), (50, vec![600..SIZE]));
    }

    #[test]
    fn a_checkpoint_promises_the_parts_that_are_whole_and_no_others() {
        let root = tempfile::tempdir().unwrap();
        let first = store(root.path(), u64::MAX);
        let (upload, digest, _) = held(&first);
        send(&first, 500..600, 1);
        send(&first, 600..700, 1);
        let open = begin(&first, "alice", "f", 800..900).unwrap();
        write(&first, &open, 0, bytes(1, 10)).unwrap();
        first.checkpoint(&upload, &digest).unwrap();
        send(&first, 900..SIZE, 1);
        drop((open, upload, first));
        assert_eq!(told_after_a_kill(root.path()), (0, vec![500..700]));
    }

    #[test]
    fn parts_of_which_the_file_lost_bytes_are_none_and_the_journal_says_so_before_anything_is_written() {
        let root = tempfile::tempdir().unwrap();
        let first = store(root.path(), u64::MAX);
        let (upload, mut digest, _) = held(&first);
        send(&first, 500..600, 1);
        digest.update(bytes(0, 50).bytes());
        write(&first, &upload, 0, bytes(0, 50)).unwrap();
        first.checkpoint(&upload, &digest).unwrap();
        drop((upload, first));
        let data = std::fs::File::options().write(true).open(root.path().join(".ferry/kept/id.data")).unwrap();
        data.set_len(550).unwrap();
        let second = store(root.path(), u64::MAX);
        let (upload, digest, parts) = held(&second);
        assert_eq!((digest.bytes(), parts), (50, Vec::new()));
        // What is there by now is not what was promised.
        write(&second, &upload, 50, bytes(2, 900)).unwrap();
        drop((upload, second));
        assert_eq!(told_after_a_kill(root.path()), (50, Vec::new()));
    }

    #[test]
    fn only_the_owner_of_the_held_upload_adds_parts_within_it() {
        let root = tempfile::tempdir().unwrap();
        let store = store(root.path(), u64::MAX);
        assert_eq!(begin(&store, "alice", "f", 0..10).unwrap_err(), ErrorKind::NotHeld);
        let (upload, ..) = held(&store);
        assert_eq!(begin(&store, "bob", "f", 0..10).unwrap_err(), ErrorKind::ForeignUpload);
        assert_eq!(begin(&store, "alice", "g", 0..10).unwrap_err(), ErrorKind::IdTaken);
        for range in [990..SIZE + 1, 5..5, u64::MAX - 1..u64::MAX] {
            assert_eq!(begin(&store, "alice", "f", range).unwrap_err(), ErrorKind::BadPart);
        }
        let part = begin(&store, "alice", "f", 0..10).unwrap();
        store.keep(&upload, None);
        assert_eq!(write(&store, &part, 0, bytes(1, 5)).unwrap_err().kind, ErrorKind::TakenOver);
        assert_eq!(end(&store, part, 1, 10).unwrap_err(), ErrorKind::TakenOver);
        assert_eq!(begin(&store, "alice", "f", 0..10).unwrap_err(), ErrorKind::NotHeld);
        assert_eq!(std::fs::metadata(root.path().join(".ferry/kept/id.data")).unwrap().len(), 0);
    }

    #[test]
    fn the_first_part_counts_the_whole_file_and_one_that_has_no_room_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let store = store(root.path(), SIZE + 10);
        let (upload, ..) = held(&store);
        write(&store, &upload, 0, bytes(1, 50)).unwrap();
        send(&store, 900..SIZE, 1);
        assert_eq!(store.usage().unwrap().kept_bytes, SIZE);
        send(&store, 500..900, 1);
        write(&store, &upload, 50, bytes(1, 100)).unwrap();
        assert_eq!(store.usage().unwrap().kept_bytes, SIZE);
        store.discard(&upload);
        assert_eq!(store.usage().unwrap().kept_bytes, 0);
        store.set_limits(&crate::store::StoreLimits {
            max_staged: SIZE - 1,
            max_kept: 10,
            keep: Duration::ZERO,
            crc_cache: 0,
            small_cache: 0,
        });
        let (upload, ..) = held(&store);
        for _ in 0..100 {
            assert_eq!(begin(&store, "alice", "f", 900..SIZE).unwrap_err(), ErrorKind::StagingFull { own: false });
        }
        // The holder goes on alone.
        write(&store, &upload, 0, bytes(1, 999)).unwrap();
    }

    #[test]
    fn parts_are_joined_only_where_they_are_all_there_and_their_crc_is_right() {
        let root = tempfile::tempdir().unwrap();
        let store = store(root.path(), u64::MAX);
        let whole = [vec![1; 400], vec![2; 600]].concat();
        let join = |upload: &Arc<Upload>, before: &Digest, crc: Crc32| {
            let (upload, at, before) = (upload.clone(), before.bytes(), Some(before.clone()));
            let (chunk, chunk_crc) = (Chunk::default(), Crc32::EMPTY);
            store.finish(&Finish { upload, at, chunk, chunk_crc, size: SIZE, crc, before }, &|| true)
        };
        let kind = |joined: Result<(), StoreError>| joined.unwrap_err().kind;
        let (upload, mut digest, _) = held(&store);
        digest.update(&whole[..400]);
        write(&store, &upload, 0, bytes(1, 400)).unwrap();
        send(&store, 500..SIZE, 2);
        let late = begin(&store, "alice", "f", 400..500).unwrap();
        assert_eq!(kind(join(&upload, &digest, Crc32::of(&whole))), ErrorKind::PartsMissing);
        assert_eq!(end(&store, late, 2, 100).unwrap_err(), ErrorKind::TakenOver);
        send(&store, 400..500, 2);
        assert_eq!(kind(join(&upload, &digest, Crc32(7))), ErrorKind::OtherCrc);
        join(&upload, &digest, Crc32::of(&whole)).unwrap();
        assert_eq!(begin(&store, "alice", "f", 400..500).unwrap_err(), ErrorKind::NotHeld);
        let published =
            store.change_names(&mut vec![NameOperation::Publish(UploadNumber(0), upload, Onto::Any)].into_iter());
        assert!(matches!(&published[..], [NameCompletion::Published(_, Ok(_))]), "{published:?}");
        assert_eq!(std::fs::read(root.path().join("f")).unwrap(), whole);
    }
}
