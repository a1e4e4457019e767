//! Caches the contents of small files that are asked for often, so that a look at their name answers.
//!
//! A name is walked each time, within the root, and what it leads to is looked at. If that is a version whose content is cached,
//! the file need not be opened. What may be cached is what a CRC may be [remembered](super::remember) of.

use std::{
    os::fd::OwnedFd,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use ferry_wire::{Crc32, Tag};
use rustix::fs::Stat;

use super::{
    Store,
    contents::{Cached, Contents},
    crcs::{REMEMBERED_FROM_BYTES, Version},
    error::StoreError,
    file_bytes::FileBytes,
    meta,
    operation::FileVersion,
    read::{Wanted, version_of},
};

/// Larger files are no small ones: their CRCs are remembered.
const MOST_BYTES: u64 = REMEMBERED_FROM_BYTES;

/// The contents that a store has cached, and how often they were of use.
#[derive(Debug)]
pub(super) struct SmallFiles {
    contents: Mutex<Contents>,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// The use of cached contents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ContentUsage {
    /// The memory that they take.
    pub bytes: u64,
    /// Small files that were answered for by a look at their name.
    pub hits: u64,
    /// Those that were opened and read.
    pub misses: u64,
}

impl SmallFiles {
    pub(super) fn new(limit: u64) -> SmallFiles {
        let [hits, misses] = [const { AtomicU64::new(0) }; 2];
        SmallFiles { contents: Mutex::new(Contents::new(limit)), hits, misses }
    }

    pub(super) fn set_limit(&self, limit: u64) {
        self.contents().set_limit(limit);
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        // Each call leaves it whole.
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Returns of what use cached contents were.
    #[must_use]
    pub fn content_usage(&self) -> ContentUsage {
        let (bytes, count) =
            (self.small_files.contents().bytes(), |counter: &AtomicU64| counter.load(Ordering::Relaxed));
        ContentUsage { bytes, hits: count(&self.small_files.hits), misses: count(&self.small_files.misses) }
    }

    /// Finds what is cached of the file of `stat`, which was told after `moment`: its version, the range that is wanted of it,
    /// and its CRC if that is all of the file. [`None`] where nothing is.
    pub(super) fn cached_content(
        &self,
        stat: &Stat,
        moment: SystemTime,
        wanted: &Wanted<'_>,
    ) -> Result<Option<(FileVersion, FileBytes<'static>, Option<Crc32>)>, StoreError> {
        if meta::size(stat) > MOST_BYTES.min(wanted.inline) {
            return Ok(None);
        }
        let mut contents = self.small_files.contents();
        let Some(Cached { bytes, crc, tag }) = contents.get(&Version::of(stat)) else { return Ok(None) };
        // To make it anew takes longer than to find it.
        let lasting = self.capabilities.has_lasting_tag(stat, moment).then(|| tag.clone());
        let version = version_of(stat, lasting.unwrap_or_else(|| self.tag(stat, moment)));
        let range = wanted.range_in(version.size, |tag| *tag == version.tag)?;
        self.small_files.hits.fetch_add(1, Ordering::Relaxed);
        // Within the content, which is no longer than a usize tells.
        let range = range.start as usize..range.end as usize;
        Ok(Some(match range == (0..bytes.len()) {
            true => (version, FileBytes::Shared(bytes.clone()), Some(*crc)),
            false => (version, FileBytes::Shared(bytes[range].into()), None),
        }))
    }

    /// Returns the version of a small file that is about to be read, if it is worth caching and can be. `stat` was told after
    /// `moment`.
    pub(super) fn worth_caching(
        &self,
        stat: &Stat,
        moment: SystemTime,
        wanted: &Wanted<'_>,
        file: &OwnedFd,
    ) -> Option<Version> {
        let size = meta::size(stat);
        if size > MOST_BYTES.min(wanted.inline) {
            return None;
        }
        self.small_files.misses.fetch_add(1, Ordering::Relaxed);
        let is_whole = wanted.offset == 0 && wanted.length.is_none_or(|length| length >= size);
        let version = Version::of(stat);
        let may_be = is_whole && size > 0 && self.is_known_by_version(stat, moment);
        (may_be && self.small_files.contents().wants(&version) && self.has_no_writer(file)).then_some(version)
    }

    /// Caches the content of a version that was [worth caching](Self::worth_caching) before it was read, and that the file still
    /// was afterwards.
    pub(super) fn cache_content(&self, version: Version, tag: &Tag, content: &[u8]) {
        if content.len() as u64 == version.size() {
            self.small_files.contents().put(version, tag, content);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File},
        os::unix::fs::{FileExt, PermissionsExt, symlink},
        path::PathBuf,
        sync::{Arc, atomic::AtomicUsize},
        time::Duration,
    };

    use ferry_wire::Name;
    use rustix::io::Errno;

    use super::*;
    use crate::store::{
        Call, Content, Durability, ErrorKind, LeaseOptions, MountTable, Opened, ReadCompletion, ReadOperation,
        SCRATCH_BYTES, StoreOptions, Watcher,
    };

    /// Counts reads of files, which seem to have rested for a while.
    #[derive(Debug, Default)]
    struct Reads(AtomicUsize);

    impl Watcher for Reads {
        fn before(&self, call: &Call<'_>) -> Result<(), Errno> {
            self.0.fetch_add(usize::from(matches!(call, Call::Read { .. })), Ordering::Relaxed);
            Ok(())
        }

        fn told(&self, stat: &mut Stat) {
            stat.st_ctime -= 60;
        }

        fn after(&self, _: &Call<'_>) {}
    }

    struct Place {
        dir: tempfile::TempDir,
        reads: Arc<Reads>,
        store: Store,
    }

    type Got = Result<(Vec<u8>, Tag), ErrorKind>;

    /// A change, and what GET brings after it.
    type Case<'a> = (&'static str, &'a dyn Fn(&Place), Result<Vec<u8>, ErrorKind>);

    impl Place {
        fn new(small_cache: u64) -> Place {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir(dir.path().join("dir")).unwrap();
            fs::write(dir.path().join("dir/file"), b"the content").unwrap();
            let options = StoreOptions {
                root: dir.path().into(),
                writable: false,
                durability: Durability::None,
                max_staged: 0,
                max_kept: 0,
                keep: Duration::ZERO,
                crc_cache: 0,
                small_cache,
                mounts: MountTable::default(),
                leasing: LeaseOptions::default(),
            };
            let reads = Arc::new(Reads::default());
            let store = Store::open_watched(&options, Some(reads.clone())).unwrap();
            Place { dir, reads, store }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        /// READ of a range, and how often the file was read for it.
        fn get_range(&self, offset: u64, length: Option<u64>, tag: Option<Tag>) -> (Got, usize) {
            let before = self.reads.0.load(Ordering::Relaxed);
            let name = Name::new("dir/file").unwrap();
            let open = ReadOperation::Open { name, offset, length, tag, inline: 64 << 10 };
            let mut scratch = vec![0; SCRATCH_BYTES];
            let read = match self.store.try_read(open, &mut scratch) {
                Ok(read) => read.into_owned(),
                Err(open) => self.store.read(open, &mut vec![0; SCRATCH_BYTES], &|| true),
            };
            let got = match read {
                ReadCompletion::Opened(Ok(Opened { version, content: Content::Inline { bytes, crc } })) => {
                    let is_whole = offset == 0 && length.is_none();
                    let is_cached = self.reads.0.load(Ordering::Relaxed) == before;
                    assert_eq!(crc, (is_whole && is_cached).then(|| Crc32::of(&bytes)), "the CRC of what was cached");
                    Ok((bytes.to_vec(), version.tag))
                }
                ReadCompletion::Opened(Err(error)) => Err(error.kind),
                other => panic!("{other:?}"),
            };
            (got, self.reads.0.load(Ordering::Relaxed) - before)
        }

        /// GET of the file, what it brings and whether that was cached.
        fn get(&self) -> (Result<Vec<u8>, ErrorKind>, bool) {
            let (got, reads) = self.get_range(0, None, None);
            (got.map(|(bytes, _)| bytes), reads == 0)
        }

        /// Asks until the file is cached.
        fn warm(&self) {
            let caught_up = (0..3).map(|_| self.get().1).last();
            assert_eq!(caught_up, Some(true), "it is not cached");
        }
    }

    #[test]
    fn a_file_that_is_asked_for_again_is_not_read_again() {
        let place = Place::new(1 << 20);
        let content = || Ok(b"the content".to_vec());
        assert_eq!(place.get(), (content(), false));
        assert_eq!(place.get(), (content(), false), "now it is taken in");
        assert_eq!(place.get(), (content(), true));
        let (got, reads) = place.get_range(0, None, None);
        let tag = got.unwrap().1;
        let (again, _) = place.get_range(4, Some(3), Some(tag.clone()));
        assert_eq!((again, reads), (Ok((b"con".to_vec(), tag)), 0));
        assert_eq!(place.get_range(11, None, None).0.unwrap().0, b"");
        let other = Some(Tag::new("other").unwrap());
        assert_eq!(place.get_range(0, None, other), (Err(ErrorKind::OtherVersion), 0));
        assert_eq!(place.get_range(12, None, None), (Err(ErrorKind::PastEnd { size: 11 }), 0));
        let ContentUsage { bytes, hits, misses } = place.store.content_usage();
        assert!(bytes > 11 && (hits, misses) == (4, 2), "{bytes} {hits} {misses}");
        place.store.small_files.set_limit(0);
        for _ in 0..3 {
            assert_eq!(place.get(), (content(), false));
        }
    }

    #[test]
    fn what_has_the_name_now_is_what_is_served() {
        let new = || b"the new one".to_vec();
        let changes: [Case<'_>; 5] = [
            (
                "changed in place, its time put back",
                &|place| {
                    let file = File::options().write(true).open(place.path("dir/file")).unwrap();
                    let time = file.metadata().unwrap().modified().unwrap();
                    file.write_all_at(&new(), 0).unwrap();
                    file.set_modified(time).unwrap();
                },
                Ok(new()),
            ),
            (
                "replaced",
                &|place| {
                    fs::write(place.path("new"), new()).unwrap();
                    fs::rename(place.path("new"), place.path("dir/file")).unwrap();
                },
                Ok(new()),
            ),
            (
                "its directory replaced",
                &|place| {
                    fs::create_dir(place.path("other")).unwrap();
                    fs::write(place.path("other/file"), new()).unwrap();
                    fs::rename(place.path("dir"), place.path("old")).unwrap();
                    fs::rename(place.path("other"), place.path("dir")).unwrap();
                },
                Ok(new()),
            ),
            (
                "deleted",
                &|place| fs::remove_file(place.path("dir/file")).unwrap(),
                Err(ErrorKind::System(crate::store::SystemError::NotFound)),
            ),
            (
                "its directory a link",
                &|place| {
                    fs::rename(place.path("dir"), place.path("old")).unwrap();
                    symlink("old", place.path("dir")).unwrap();
                },
                Err(ErrorKind::System(crate::store::SystemError::SymbolicLink)),
            ),
        ];
        for (how, change, expected) in changes {
            let place = Place::new(1 << 20);
            place.warm();
            change(&place);
            assert_eq!(place.get().0, expected, "{how}");
        }
    }

    #[test]
    fn a_file_that_may_not_be_read_any_more_is_not_served() {
        let place = Place::new(1 << 20);
        place.warm();
        fs::set_permissions(place.path("dir/file"), fs::Permissions::from_mode(0o0)).unwrap();
        // Root may read it all the same; but it is opened to find that out.
        assert!(!place.get().1, "it was served without being opened");
    }

    #[test]
    fn a_file_that_somebody_may_write_to_is_not_cached() {
        let place = Place::new(1 << 20);
        let writer = File::options().write(true).open(place.path("dir/file")).unwrap();
        for _ in 0..4 {
            assert!(!place.get().1);
        }
        drop(writer);
        place.warm();
    }
}
