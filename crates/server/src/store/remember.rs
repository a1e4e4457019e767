//! Remembers the CRCs of what is read and uploaded, so that the same bytes need not be read again for them.
//!
//! A CRC is remembered of a version only where all that changes the file from then on makes another version of it. So a file
//! must be [settled](meta::unchanged_since), or the file system must keep apart all changes, however soon they follow
//! ([`Capabilities::distinct_times`]). And nobody may have it open for writing, since who writes through a mapping that was
//! written to before moves no time: a [lease](Syscalls::lease) that can be had proves that. Only the owner of a file can have
//! one, and is told what the page cache holds of it, so files of other users are read each time.

use std::{
    ops::Range,
    os::fd::OwnedFd,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use ferry_wire::{Crc32, Digest};
use rustix::fs::{OFlags, Stat};

use super::{
    Store,
    crcs::{BlockRun, CRC_BLOCK_BYTES, CrcCache, REMEMBERED_FROM_BYTES, Version},
    look::Between,
    meta,
    read::OpenFile,
};
#[cfg(doc)]
use super::{capabilities::Capabilities, syscalls::Syscalls};

/// Blocks that are learnt of one file before the file is looked at again and they are remembered.
const LEARNT_AT_ONCE: usize = 64;

/// The CRCs that a store remembers, and how often they were of use.
#[derive(Debug)]
pub(super) struct Remembered {
    cache: Mutex<CrcCache>,
    hit_bytes: AtomicU64,
    missed_bytes: AtomicU64,
    mismatches: AtomicU64,
}

/// The use of remembered CRCs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CrcUsage {
    /// The memory that they take.
    pub bytes: u64,
    /// The bytes of files whose CRC was known.
    pub hit_bytes: u64,
    /// The bytes of files that were read for their CRC.
    pub missed_bytes: u64,
    /// Blocks whose CRC was found to be another one, though their file seems to be the same.
    pub mismatches: u64,
}

/// The knowledge of a file that is gained while it is read.
#[derive(Debug)]
pub(super) enum Learning {
    /// Nothing: it could change unnoticed.
    Nothing,
    /// It was not asked yet whether somebody writes to it.
    Asking,
    Blocks(BlockRun),
}

impl Remembered {
    pub(super) fn new(limit: u64) -> Remembered {
        let [hit_bytes, missed_bytes, mismatches] = [const { AtomicU64::new(0) }; 3];
        Remembered { cache: Mutex::new(CrcCache::new(limit)), hit_bytes, missed_bytes, mismatches }
    }

    pub(super) fn set_limit(&self, limit: u64) {
        self.cache().set_limit(limit);
    }

    fn cache(&self) -> MutexGuard<'_, CrcCache> {
        // Each call leaves it whole.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn usage(&self) -> CrcUsage {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CrcUsage {
            bytes: self.cache().bytes(),
            hit_bytes: count(&self.hit_bytes),
            missed_bytes: count(&self.missed_bytes),
            mismatches: count(&self.mismatches),
        }
    }

    /// Notes that the CRC of so many bytes was known.
    pub(super) fn hit(&self, bytes: u64) {
        self.hit_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Notes that so many bytes were read for their CRC.
    pub(super) fn missed(&self, bytes: u64) {
        self.missed_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Store {
    /// Returns of what use remembered CRCs were.
    #[must_use]
    pub fn crc_usage(&self) -> CrcUsage {
        self.remembered.usage()
    }

    /// Returns what may be learnt of a file whose status was told after `moment`.
    pub(super) fn learning(&self, stat: &Stat, moment: SystemTime) -> Learning {
        let may_be = self.is_remembered(stat) && self.is_known_by_version(stat, moment);
        if may_be { Learning::Asking } else { Learning::Nothing }
    }

    /// Returns whether a file whose status was told after `moment` is one of this user's that changes its version with whatever
    /// changes it from then on, as long as it [has no writer](Self::has_no_writer).
    pub(super) fn is_known_by_version(&self, stat: &Stat, moment: SystemTime) -> bool {
        self.capabilities.own_clock && stat.st_uid == self.syscalls.identity().0 && meta::unchanged_since(stat, moment)
    }

    /// Returns whether nobody has a file open for writing, or mapped so. All that was written through mappings until now will
    /// be read, and who opens it from now on moves its times.
    pub(super) fn has_no_writer(&self, file: &OwnedFd) -> bool {
        self.syscalls.lease(file).is_ok() && self.syscalls.release(file).is_ok()
    }

    fn is_remembered(&self, stat: &Stat) -> bool {
        meta::size(stat) >= REMEMBERED_FROM_BYTES
            && stat.st_uid == self.syscalls.identity().0
            && self.remembered.cache().is_on()
    }

    /// Returns the CRC of the block that `range` begins with, and its length, if it is known and `range` has all of it.
    pub(super) fn known_block(&self, file: &OpenFile, range: Range<u64>) -> Option<(Crc32, u64)> {
        let block = range.start / CRC_BLOCK_BYTES;
        let length = file.version.block_bytes(block);
        let is_whole = range.start.is_multiple_of(CRC_BLOCK_BYTES) && length > 0 && length <= range.end - range.start;
        let crc = is_whole.then(|| self.remembered.cache().get(file.version, block))??;
        Some((crc, length))
    }

    /// Returns the digest that goes on with a range, if the CRC of all of it is known.
    pub(super) fn known_range(&self, file: &OpenFile, range: Range<u64>, digest: &Digest) -> Option<Digest> {
        let (mut digest, mut at) = (digest.clone(), range.start);
        while at < range.end {
            let (crc, bytes) = self.known_block(file, at..range.end)?;
            digest.append(crc, bytes);
            at += bytes;
        }
        self.remembered.hit(range.end - range.start);
        Some(digest)
    }

    /// Returns whether a block of a file whose CRC is known can be sent without waiting for a disk.
    pub(super) fn is_in_memory(&self, file: &OpenFile, at: u64, bytes: u64) -> bool {
        self.capabilities.in_memory || file.fd().is_ok_and(|fd| self.syscalls.is_in_memory(fd, at, bytes) == Ok(true))
    }

    /// Returns whether CRCs of `file` can be learnt by reading on from here.
    pub(super) fn learns(&self, file: &OpenFile) -> bool {
        let mut learning = file.learning();
        if let Learning::Asking = *learning {
            let is_free = file.fd().is_ok_and(|fd| self.has_no_writer(fd));
            *learning = if is_free { Learning::Blocks(BlockRun::default()) } else { Learning::Nothing };
        }
        matches!(*learning, Learning::Blocks(_))
    }

    /// Notes that a piece of one block was read: the digest before it, where that [learns](Self::learns), and with it.
    pub(super) fn learn(&self, file: &OpenFile, piece: Range<u64>, before: Option<Digest>, after: &Digest) {
        self.remembered.missed(piece.end - piece.start);
        let Some(before) = before else { return };
        let mut is_due = false;
        if let Learning::Blocks(run) = &mut *file.learning() {
            run.saw(piece, before, after, file.version.size());
            is_due = run.learnt() >= LEARNT_AT_ONCE;
        }
        if is_due && let Ok(stat) = file.fd().and_then(|fd| self.syscalls.stat(fd)) {
            self.remember(file, file.look.until(&stat));
        }
    }

    /// Remembers what was learnt of a file, if it is still the version that was opened.
    pub(super) fn remember(&self, file: &OpenFile, until_now: Between) {
        let mut learning = file.learning();
        let Learning::Blocks(run) = &mut *learning else { return };
        let learnt = run.take();
        if until_now != Between::Same {
            *learning = Learning::Nothing;
            return;
        }
        let mut cache = self.remembered.cache();
        let others: Vec<_> =
            learnt.into_iter().filter(|(block, crc)| cache.put(file.version, *block, *crc).is_some()).collect();
        drop(cache);
        if !others.is_empty() {
            self.remembered.mismatches.fetch_add(others.len() as u64, Ordering::Relaxed);
            log::warn!(
                "{}: its content is another than was read or uploaded before, and its times are the same: memory or disk fail, \
                 or a program hides its changes",
                file.name()
            );
        }
    }

    /// Keeps others from writing to a staged file, all of whose CRCs are known, while it gets its name; [`None`] where that
    /// can't be, and its CRCs are not remembered.
    pub(super) fn guard_staged(&self, dir: &OwnedFd, name: &str) -> Option<Guarded<'_>> {
        let file = self.syscalls.open_entry(dir, name, OFlags::RDONLY).ok()?;
        self.syscalls.lease(&file).ok()?;
        Some(Guarded { store: self, file })
    }

    /// Returns whether CRCs of uploads can be remembered.
    pub(super) fn remembers_uploads(&self) -> bool {
        self.capabilities.distinct_times && self.remembered.cache().is_on()
    }
}

/// A file that nobody else can open for writing, until this is dropped.
pub(super) struct Guarded<'s> {
    store: &'s Store,
    file: OwnedFd,
}

impl Guarded<'_> {
    /// Remembers the CRCs of all blocks of the file, of which `stat` was told since it has its name, unless somebody tried to
    /// write to it before that.
    pub(super) fn remember(self, stat: &Stat, blocks: &[Crc32]) {
        let store = self.store;
        // The closing of the file gives up a lease as well.
        if store.syscalls.release(&self.file) != Ok(true) || !store.is_remembered(stat) {
            return;
        }
        let version = Version::of(stat);
        let mut cache = store.remembered.cache();
        for (block, crc) in (0..).zip(blocks) {
            if version.block_bytes(block) > 0 {
                cache.put(version, block, *crc);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File},
        os::unix::fs::FileExt,
        path::Path,
        sync::{
            Arc,
            atomic::{AtomicBool, AtomicUsize},
        },
        time::Duration,
    };

    use ferry_wire::Name;
    use rustix::io::Errno;

    use super::*;
    use crate::store::{
        Call, Chunk, Content, Durability, Finish, Form, LeaseOptions, MountTable, NameOperation, Onto, Opened, Owner,
        ReadCompletion, ReadOperation, SCRATCH_BYTES, Stability, Stage, StoreOptions, UploadNumber, UploadOperation,
        Watcher,
    };

    const SIZE: usize = 2 * CRC_BLOCK_BYTES as usize + 70_000;

    /// Counts reads, and lets files seem to have rested for a while.
    #[derive(Debug, Default)]
    struct Watched {
        reads: AtomicUsize,
        leases: AtomicUsize,
        /// Times stand still, as where a disk loses bits.
        is_frozen: AtomicBool,
        /// Pages may not be looked at.
        is_closed: AtomicBool,
    }

    impl Watcher for Watched {
        fn before(&self, call: &Call<'_>) -> Result<(), Errno> {
            self.reads.fetch_add(usize::from(matches!(call, Call::Read { .. })), Ordering::Relaxed);
            self.leases.fetch_add(usize::from(matches!(call, Call::Lease { .. })), Ordering::Relaxed);
            let is_refused = matches!(call, Call::Resident { .. }) && self.is_closed.load(Ordering::Relaxed);
            if is_refused { Err(Errno::PERM) } else { Ok(()) }
        }

        fn told(&self, stat: &mut Stat) {
            stat.st_ctime -= 60;
            if self.is_frozen.load(Ordering::Relaxed) {
                (stat.st_ctime, stat.st_ctime_nsec, stat.st_mtime, stat.st_mtime_nsec) = (1_000_000, 1, 1_000_000, 1);
            }
        }

        fn after(&self, _: &Call<'_>) {}
    }

    struct Place {
        dir: tempfile::TempDir,
        watched: Arc<Watched>,
        store: Store,
    }

    /// The result of a GET: its CRC, the verdict at its end, and how often the file was read.
    type Got = (Crc32, Stability, usize);

    impl Place {
        fn new(crc_cache: u64) -> Place {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("file"), content(1)).unwrap();
            let watched = Arc::new(Watched::default());
            let options = StoreOptions {
                root: dir.path().into(),
                writable: true,
                durability: Durability::None,
                max_staged: u64::MAX,
                max_kept: 10,
                keep: Duration::ZERO,
                crc_cache,
                small_cache: 0,
                mounts: MountTable::default(),
                leasing: LeaseOptions::default(),
            };
            let store = Store::open_watched(&options, Some(watched.clone())).unwrap();
            Place { dir, watched, store }
        }

        fn path(&self) -> std::path::PathBuf {
            self.dir.path().join("file")
        }

        fn open(&self) -> (Arc<OpenFile>, Range<u64>) {
            let name = Name::new("file").unwrap();
            let open = ReadOperation::Open { name, offset: 0, length: None, tag: None, inline: 64 << 10 };
            match self.store.read(open, &mut vec![0; SCRATCH_BYTES], &|| true) {
                ReadCompletion::Opened(Ok(Opened { content: Content::Range { file, start, end, .. }, .. })) => {
                    (file, start..end)
                }
                other => panic!("{other:?}"),
            }
        }

        /// Loads a range of an open file as a session does, a block at a time, on the loop where that can.
        fn load(&self, file: &Arc<OpenFile>, range: Range<u64>, sum: bool, remembered: bool) -> Crc32 {
            let (mut digest, mut at, mut scratch) = (Digest::new(), range.start, vec![0; SCRATCH_BYTES]);
            while at < range.end {
                let bytes = (range.end - at).min(CRC_BLOCK_BYTES - at % CRC_BLOCK_BYTES);
                let form = if sum { Form::Background } else { Form::Cached };
                let load =
                    ReadOperation::Load { file: file.clone(), at, bytes, digest: Some(digest), remembered, form };
                let loaded = self.store.try_read(load, &mut scratch);
                match loaded.unwrap_or_else(|load| self.store.read(load, &mut vec![0; SCRATCH_BYTES], &|| true)) {
                    ReadCompletion::Loaded(Ok(loaded)) => {
                        at += loaded.piece.bytes();
                        digest = loaded.digest.unwrap();
                    }
                    other => panic!("{other:?}"),
                }
                assert_eq!(digest.bytes(), at - range.start);
            }
            digest.crc()
        }

        fn check(&self, file: &Arc<OpenFile>) -> Stability {
            self.store.check(file).unwrap()
        }

        fn get_range(&self, from: u64, sum: bool, remembered: bool) -> Got {
            let (file, range) = self.open();
            let before = self.watched.reads.load(Ordering::Relaxed);
            let crc = self.load(&file, from..range.end, sum, remembered);
            let reads = self.watched.reads.load(Ordering::Relaxed) - before;
            (crc, self.check(&file), reads)
        }

        fn get(&self) -> Got {
            self.get_range(0, false, true)
        }

        /// Changes the file in place, and puts its time back.
        fn meddle(&self, at: u64) {
            let file = File::options().write(true).open(self.path()).unwrap();
            let time = file.metadata().unwrap().modified().unwrap();
            file.write_all_at(b"new", at).unwrap();
            file.set_modified(time).unwrap();
        }

        fn crc(&self) -> Crc32 {
            crc_of(&self.path())
        }
    }

    fn content(seed: u8) -> Vec<u8> {
        (0..SIZE).map(|at| (at as u8) ^ seed ^ (at >> 12) as u8).collect()
    }

    fn crc_of(path: &Path) -> Crc32 {
        Crc32::of(&fs::read(path).unwrap())
    }

    #[test]
    fn what_was_read_once_is_not_read_again() {
        let place = Place::new(1 << 20);
        let (crc, stability, reads) = place.get();
        assert_eq!((crc, stability), (place.crc(), Stability::Same));
        assert!(reads > 3, "{reads} reads");
        let leases = place.watched.leases.load(Ordering::Relaxed);
        assert_eq!(place.get(), (crc, Stability::Same, 0));
        assert_eq!(place.get_range(0, true, true), (crc, Stability::Same, 0), "SUM");
        assert_eq!(place.watched.leases.load(Ordering::Relaxed), leases, "there was nothing to learn");
        let usage = place.store.crc_usage();
        assert_eq!((usage.hit_bytes, usage.missed_bytes, usage.mismatches), (2 * SIZE as u64, SIZE as u64, 0));
        // Of a range, the blocks that it holds whole are known.
        let (tail, _, reads) = place.get_range(5, false, true);
        assert_eq!((tail, reads), (Crc32::of(&content(1)[5..]), 4), "a block in pieces of {SCRATCH_BYTES}");
        place.store.remembered.set_limit(0);
        assert!(place.get().2 > 3, "nothing is remembered any more");
    }

    #[test]
    fn where_pages_may_not_be_looked_at_they_are_read_and_their_crc_is_known() {
        let place = Place::new(1 << 20);
        let (crc, ..) = place.get();
        place.watched.is_closed.store(true, Ordering::Relaxed);
        let (again, stability, reads) = place.get();
        assert_eq!((again, stability), (crc, Stability::Same));
        assert!(reads > 3 || place.store.capabilities.in_memory, "{reads} reads");
        assert_eq!(place.store.crc_usage().hit_bytes, SIZE as u64);
        assert_eq!(place.get_range(0, true, true).2, 0, "SUM needs no page");
    }

    #[test]
    fn no_change_of_a_file_leaves_it_the_crc_of_what_it_was() {
        let place = Place::new(1 << 20);
        let old = place.get().0;
        let changes: [(&str, &dyn Fn()); 4] = [
            ("in place, its time put back", &|| place.meddle(CRC_BLOCK_BYTES)),
            ("replaced", &|| {
                fs::write(place.dir.path().join("other"), content(2)).unwrap();
                fs::rename(place.dir.path().join("other"), place.path()).unwrap();
            }),
            ("made longer", &|| {
                File::options().append(true).open(place.path()).unwrap().set_len(SIZE as u64 + 9).unwrap()
            }),
            ("made shorter", &|| {
                File::options().append(true).open(place.path()).unwrap().set_len(SIZE as u64 - 9).unwrap()
            }),
        ];
        let mut seen = vec![old];
        for (how, change) in changes {
            change();
            let (crc, stability, _) = place.get();
            assert_eq!((crc, stability), (place.crc(), Stability::Same), "{how}");
            assert!(!seen.contains(&crc), "{how}");
            assert_eq!(place.get(), (crc, Stability::Same, 0), "{how}");
            seen.push(crc);
        }
        assert_eq!(place.store.crc_usage().mismatches, 0);
    }

    #[test]
    fn a_change_while_a_known_file_is_sent_is_noticed_and_the_second_reading_reads() {
        let place = Place::new(1 << 20);
        let old = place.get().0;
        let (file, range) = place.open();
        let half = place.load(&file, 0..CRC_BLOCK_BYTES, false, true);
        place.meddle(CRC_BLOCK_BYTES + 1);
        let whole = place.load(&file, range.clone(), false, true);
        assert_eq!((half, whole), (Crc32::of(&content(1)[..CRC_BLOCK_BYTES as usize]), old));
        assert_eq!(place.check(&file), Stability::Doubtful);
        assert_ne!(place.load(&file, range, true, false), old, "a second reading sees what is there");
    }

    #[test]
    fn a_file_that_somebody_may_write_to_is_not_remembered() {
        let place = Place::new(1 << 20);
        let writer = File::options().write(true).open(place.path()).unwrap();
        assert!(place.get().2 > 0 && place.get().2 > 0);
        drop(writer);
        assert!(place.get().2 > 0);
        assert_eq!(place.get().2, 0);
        // Nobody was in the way of it.
        drop(File::options().write(true).open(place.path()).unwrap());
    }

    #[test]
    fn bits_that_change_and_times_that_do_not_are_found_by_reading() {
        let place = Place::new(1 << 20);
        place.watched.is_frozen.store(true, Ordering::Relaxed);
        let old = place.get().0;
        place.meddle(5);
        assert_eq!(place.get(), (old, Stability::Same, 0), "the client sees that the bytes are others");
        let (crc, stability, reads) = place.get_range(0, false, false);
        assert_eq!((crc, stability), (place.crc(), Stability::Same));
        assert!(crc != old && reads > 3);
        assert_eq!(place.store.crc_usage().mismatches, 1, "of one block");
        assert_eq!(place.get(), (crc, Stability::Same, 0));
    }

    #[test]
    fn what_is_uploaded_is_known_where_changes_are_told_apart() {
        for meddles in [false, true] {
            let place = Place::new(1 << 20);
            let bytes = content(3);
            let name = Name::new("file").unwrap();
            let size = bytes.len() as u64;
            let upload = place.store.stage(Stage {
                name,
                size: Some(size),
                mtime: None,
                permissions: None,
                settled: true,
                owner: Owner::NOBODY,
            });
            let chunk =
                |bytes: &[u8]| (Chunk { memory: bytes.to_vec(), filled: bytes.len(), hole: 0 }, Crc32::of(bytes));
            let step = CRC_BLOCK_BYTES as usize / 2;
            let (most, last) = bytes.split_at(bytes.len() / step * step);
            for (number, piece) in most.chunks(step).enumerate() {
                let ((chunk, crc), at) = (chunk(piece), (number * step) as u64);
                place.store.advance(UploadOperation::Write { upload: upload.clone(), at, chunk, crc }, &|| true);
            }
            let ((chunk, chunk_crc), at, crc) = (chunk(last), most.len() as u64, Crc32::of(&bytes));
            let finish = Finish { upload: upload.clone(), at, chunk, chunk_crc, size, crc, before: None };
            place.store.finish(&finish, &|| true).unwrap();
            let publish = NameOperation::Publish(UploadNumber(0), upload, Onto::Any);
            place.store.change_names(&mut vec![publish].into_iter());
            if meddles {
                place.meddle(9);
            }
            let (got, stability, reads) = place.get();
            assert_eq!((got, stability), (place.crc(), Stability::Same));
            let is_known = reads == 0;
            assert_eq!(is_known, place.store.capabilities.distinct_times && !meddles, "{reads} reads");
        }
    }
}
