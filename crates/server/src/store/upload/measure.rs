//! Looking how far an upload is, without taking it.
//!
//! Whoever holds it goes on meanwhile. So what is found holds only if it is found again: between two looks that see the
//! same, nothing has come that changes the answer.

use rustix::{fs::Stat, io::Errno};

use super::super::{
    Store,
    area::{Area, TRIES},
    error::{ErrorKind, StoreError},
    journal::{Journal, JournalEntry, KeptState},
    operation::{Progress, Published, Resume},
};

/// One look at an upload.
struct Glimpse {
    /// Of the journal that counts.
    entry: JournalEntry,
    /// The status of the bytes that are staged, where some are.
    data: Option<Stat>,
}

impl Glimpse {
    fn is_like(&self, other: &Glimpse) -> bool {
        let file = |glimpse: &Glimpse| glimpse.data.as_ref().map(|stat| (stat.st_dev, stat.st_ino));
        self.entry == other.entry && file(self) == file(other)
    }
}

impl Store {
    /// Tells how far an upload is. It need not be let go of by whoever has it.
    pub(in crate::store) fn measure(&self, wanted: &Resume) -> Result<Progress, StoreError> {
        let Resume { id, name, .. } = wanted;
        let failed = |error| StoreError::system(name.as_str(), error);
        let area = self.area().map_err(failed)?;
        for _ in 0..TRIES {
            let first = match self.glimpse(area, id.as_str()) {
                Err(Errno::NOENT) => continue,
                first => first.map_err(failed)?,
            };
            let Some(first) = first else { return Err(StoreError::at(name.as_str(), ErrorKind::NoUpload)) };
            Store::owner_of(wanted, &first.entry)?;
            let whole = match &first.entry.state {
                KeptState::Kept { offset, .. } => return Ok(Progress::Kept(*offset)),
                KeptState::Published { size, crc, tag } => {
                    return Ok(Progress::Published(Published { size: *size, crc: *crc, tag: tag.clone() }));
                }
                KeptState::Publishing { size, crc, tag } => Published { size: *size, crc: *crc, tag: tag.clone() },
            };
            // Where it has gone it may have its name by now, or be dropped: then its journal says so first.
            match self.glimpse(area, id.as_str()) {
                Ok(Some(again)) if again.is_like(&first) => {}
                Ok(_) | Err(Errno::NOENT) => continue,
                Err(error) => return Err(failed(error)),
            }
            if first.data.is_some_and(|data| !self.has_name(&first.entry.name, &data)) {
                return Ok(Progress::Kept(whole.size));
            }
            return self.found_published(area, &first.entry.name, whole).map(Progress::Published).map_err(failed);
        }
        Err(StoreError::at(name.as_str(), ErrorKind::HeldElsewhere { seconds: None }))
    }

    /// Looks once; [`None`] where nothing is known under `id`. Fails with [`Errno::NOENT`] where something went meanwhile.
    fn glimpse(&self, area: &Area, id: &str) -> Result<Option<Glimpse>, Errno> {
        let data_of = |stat: Result<Stat, Errno>| match stat {
            Err(Errno::NOENT) => Ok(None),
            stat => stat.map(Some),
        };
        if area.is_shared() {
            let traces = area.traces(id)?;
            let Some((of, entry)) = area.newest_entry(id, &traces)? else { return Ok(None) };
            let data = traces.data_since(Some(&of)).map(|data| area.stat_data(id, &traces, data));
            return Ok(Some(Glimpse { entry, data: data.map_or(Ok(None), data_of)? }));
        }
        let journal = match area.open_journal(id) {
            Err(Errno::NOENT) => return Ok(None),
            journal => journal?,
        };
        let Some(entry) = Journal::read(&self.syscalls, &journal)?.1 else {
            // It may have been removed, and made anew, since it was opened.
            let is_there = area.is_entry(area.kept(), &Area::journal_name(id), &journal)?;
            return if is_there { Ok(None) } else { Err(Errno::NOENT) };
        };
        let data = data_of(self.syscalls.stat_entry(area.kept(), &Area::data_name(id)))?;
        Ok(Some(Glimpse { entry, data }))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ferry_wire::{Crc32, Digest, Id, Name};

    use super::*;
    use crate::store::{
        Chunk, Finish, NameCompletion, NameOperation, Onto, Owner, Resumed, Upload, UploadNumber, testing::options,
    };

    fn wanted(name: &str, size: u64) -> Resume {
        let (id, name) = (Id::new("0123456789abcdef").unwrap(), Name::new(name).unwrap());
        let (size, owner) = (Some(size), Owner::of_user("alice"));
        Resume { id, name, size, mtime: None, permissions: None, owner, begins: false }
    }

    fn resume(store: &Store, wanted: &Resume) -> Result<(Arc<Upload>, Digest), ErrorKind> {
        match store.resume(wanted, &|| true) {
            Ok(Resumed::Going { upload, digest, .. }) => Ok((upload, digest)),
            Ok(Resumed::Published(_)) => panic!("it is published"),
            Err(error) => Err(error.kind),
        }
    }

    fn measure(store: &Store, wanted: &Resume) -> Result<Progress, ErrorKind> {
        store.measure(wanted).map_err(|error| error.kind)
    }

    #[test]
    fn what_was_never_begun_is_not_there_and_is_not_begun_by_looking() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(&options(root.path())).unwrap();
        let wanted = wanted("name", 5);
        assert_eq!(measure(&store, &wanted), Err(ErrorKind::NoUpload));
        assert_eq!(resume(&store, &wanted).map(drop), Err(ErrorKind::NoUpload));
        assert_eq!(std::fs::read_dir(root.path().join(".ferry/kept")).unwrap().count(), 0, "it left something");
    }

    #[test]
    fn it_is_seen_while_it_is_held_from_its_beginning_to_its_name() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(&options(root.path())).unwrap();
        let first = wanted("name", 5);
        let (upload, digest) = resume(&store, &Resume { begins: true, ..first.clone() }).unwrap();
        assert_eq!(digest.bytes(), 0);
        assert_eq!(measure(&store, &first), Ok(Progress::Kept(0)));
        let chunk = |bytes: &[u8]| Chunk { memory: bytes.to_vec(), filled: bytes.len(), hole: 0 };
        store.write(&upload, 0, chunk(b"he"), Crc32::of(b"he")).unwrap();
        assert_eq!(measure(&store, &first), Ok(Progress::Kept(0)), "what is written may be lost");
        let mut digest = Digest::new();
        digest.update(b"he");
        store.checkpoint(&upload, &digest).unwrap();
        assert_eq!(measure(&store, &first), Ok(Progress::Kept(2)));
        // Of another user, of another name and of another size it is none of theirs.
        let bob = Resume { owner: Owner::of_user("bob"), ..first.clone() };
        assert_eq!(measure(&store, &bob), Err(ErrorKind::ForeignUpload));
        for other in [wanted("other", 5), wanted("name", 6)] {
            assert_eq!(measure(&store, &other), Err(ErrorKind::IdTaken));
        }
        let crc = Crc32::of(b"hello");
        let chunk_crc = Crc32::of(b"llo");
        let finish =
            Finish { upload: upload.clone(), at: 2, chunk: chunk(b"llo"), chunk_crc, size: 5, crc, before: None };
        store.finish(&finish, &|| true).unwrap();
        assert_eq!(measure(&store, &first), Ok(Progress::Kept(5)), "it has no name yet");
        let publish = NameOperation::Publish(UploadNumber(0), upload, Onto::Any);
        let Some(NameCompletion::Published(_, Ok(published))) =
            store.change_names(&mut vec![publish].into_iter()).pop()
        else {
            panic!("it is not published")
        };
        assert_eq!(measure(&store, &first), Ok(Progress::Published(published)));
    }

    #[test]
    fn nothing_is_known_of_one_that_was_dropped() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(&options(root.path())).unwrap();
        let wanted = wanted("name", 5);
        let (upload, _) = resume(&store, &Resume { begins: true, ..wanted.clone() }).unwrap();
        store.discard(&upload);
        assert_eq!(measure(&store, &wanted), Err(ErrorKind::NoUpload));
        assert_eq!(resume(&store, &wanted).map(drop), Err(ErrorKind::NoUpload));
    }
}
