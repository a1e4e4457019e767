//! Reading files.

use std::{
    convert::Infallible,
    fmt,
    ops::Range,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use ferry_wire::{Digest, Mode, Name, Sha256Digest, Tag};
use rustix::{
    fs::{FileType, Stat},
    io::Errno,
};

use super::{
    Store,
    closer::{Closer, LARGE_BYTES},
    crcs::{CRC_BLOCK_BYTES, Version},
    error::{ErrorKind, StoreError, SystemError},
    file_bytes::FileBytes,
    look::Look,
    meta,
    operation::{Chunk, Content, FileVersion, Loaded, Opened, Piece, Status},
    remember::Learning,
};

/// The bytes read at once, through a buffer that stays in the processor's cache.
pub const SCRATCH_BYTES: usize = 256 << 10;

/// The bytes that are read ahead from the disk behind a cold read, while that is being sent.
const READ_AHEAD_BYTES: u64 = 8 << 20;

/// Whether a call may wait for a disk. `C` is what the caller has for a call that would have to: nothing
/// that can be, for a helper.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wait<C> {
    /// It is a helper's.
    May,
    /// It is the loop's, which [stops](Stop::Cold) instead.
    Never(C),
}

/// A helper's calls, which may wait.
pub(super) const HELPER: Wait<Infallible> = Wait::May;

/// The loop's calls, which never wait.
pub(super) const LOOP: Wait<()> = Wait::Never(());

/// Why there is no result.
pub(super) enum Stop<C> {
    /// A disk has to be asked, which is a helper's operation.
    Cold(C),
    Failed(StoreError),
}

impl<C> From<StoreError> for Stop<C> {
    fn from(error: StoreError) -> Stop<C> {
        Stop::Failed(error)
    }
}

impl<C> Wait<C> {
    fn is_never(&self) -> bool {
        matches!(self, Wait::Never(_))
    }

    /// Returns what `error` means, met with `path`: where the call may not wait, [`Errno::AGAIN`]
    /// says that it would have to.
    pub(super) fn stop(self, path: &str, error: Errno) -> Stop<C> {
        match (self, error) {
            (Wait::Never(cold), Errno::AGAIN) => Stop::Cold(cold),
            (_, error) => Stop::Failed(StoreError::system(path, error)),
        }
    }
}

impl Stop<Infallible> {
    /// Returns the error: a helper is never stopped by a cold cache.
    pub(super) fn error(self) -> StoreError {
        match self {
            Stop::Failed(error) => error,
            Stop::Cold(never) => match never {},
        }
    }
}

/// A regular file, open for reading.
pub struct OpenFile {
    /// Taken when it is dropped.
    file: Option<OwnedFd>,
    name: Box<str>,
    size: u64,
    pub(super) look: Look,
    pub(super) version: Version,
    learning: Mutex<Learning>,
    /// Where closing it may wait.
    closer: Option<Closer>,
}

impl fmt::Debug for OpenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenFile({:?}, {} bytes)", self.name, self.size)
    }
}

impl OpenFile {
    /// Returns the descriptor, for sendfile.
    ///
    /// # Errors
    ///
    /// None in practice: it is there until the file is dropped.
    pub fn fd(&self) -> Result<&OwnedFd, Errno> {
        self.file.as_ref().ok_or(Errno::BADF)
    }

    /// Returns its name, as it was opened by.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns what is learnt of it.
    pub(super) fn learning(&self) -> MutexGuard<'_, Learning> {
        // A helper that panicked has learnt nothing wrong.
        self.learning.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the error of a file that can't be read any more.
    #[must_use]
    pub fn error(&self, error: Errno) -> StoreError {
        StoreError::system(&self.name, error)
    }

    /// Returns the error of a file that ends before it should.
    #[must_use]
    pub fn shrank(&self) -> StoreError {
        changed(&self.name)
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        if let (Some(file), Some(closer)) = (self.file.take(), &self.closer) {
            closer.close(file);
        }
    }
}

/// The range of a file that a request wants.
pub(super) struct Wanted<'a> {
    pub(super) name: &'a Name,
    pub(super) offset: u64,
    pub(super) length: Option<u64>,
    pub(super) tag: Option<&'a Tag>,
    pub(super) inline: u64,
}

impl Wanted<'_> {
    /// Returns whether the range of a file of `size` bytes is to be read at once.
    fn is_small(&self, size: u64) -> bool {
        let rest = size.saturating_sub(self.offset);
        self.length.map_or(rest, |length| rest.min(length)) <= self.inline
    }

    /// Returns the range of a file of `size` bytes, of which `is_its` knows the tag.
    pub(super) fn range_in(&self, size: u64, is_its: impl FnOnce(&Tag) -> bool) -> Result<Range<u64>, StoreError> {
        let error = |kind| Err(StoreError::at(self.name.as_str(), kind));
        if self.tag.is_some_and(|tag| !is_its(tag)) {
            return error(ErrorKind::OtherVersion);
        }
        if self.offset > size {
            return error(ErrorKind::PastEnd { size });
        }
        let end = self.length.map_or(size, |length| size.min(self.offset.saturating_add(length)));
        assert!(self.offset <= end && end <= size, "a range outside of its file");
        Ok(self.offset..end)
    }
}

/// A range of a file that is brought into memory.
pub(super) struct Load<'a> {
    pub(super) file: &'a OpenFile,
    pub(super) range: Range<u64>,
    /// The digest to go on with.
    pub(super) digest: Option<&'a Digest>,
    /// CRCs that are remembered are taken in place of reading.
    pub(super) remembered: bool,
    /// It is to be sent from memory: what is not there is read, whatever is known of it.
    pub(super) is_sent: bool,
}

impl Store {
    /// Opens a file and, where the range is small, reads it.
    pub(super) fn fetch<'s, C: Copy>(
        &self,
        wanted: &Wanted<'_>,
        wait: Wait<C>,
        scratch: &'s mut [u8],
    ) -> Result<Opened<'s, Arc<OpenFile>>, Stop<C>> {
        let (name, can) = (wanted.name, &self.capabilities);
        if let Wait::Never(cold) = wait
            && !(can.cached_walks && (can.nowait || can.in_memory))
        {
            return Err(Stop::Cold(cold));
        }
        let stop = |error| wait.stop(name.as_str(), error);
        let began = self.file_time();
        let looked_at = self.root.stat(name, wait.is_never()).map_err(stop)?;
        match meta::kind(&looked_at) {
            FileType::RegularFile => {}
            kind => return Err(not_a_file(name.as_str(), kind).into()),
        }
        if let Some((version, bytes, crc)) = self.cached_content(&looked_at, began, wanted)? {
            return Ok(Opened { version, content: Content::Inline { bytes, crc } });
        }
        let file = self.root.open_file(name, &looked_at, wait.is_never()).map_err(stop)?;
        let worth = self.worth_caching(&looked_at, began, wanted, &file);
        let cache = |content: &[u8], version: &FileVersion| {
            if let Some(cached) = worth.filter(|_| version.tag == self.tag(&looked_at, began)) {
                self.cache_content(cached, &version.tag, content);
            }
        };
        if wait.is_never()
            && wanted.is_small(meta::size(&looked_at))
            && let Some((version, length)) = self.read_settled(&file, wanted, began, scratch)
        {
            cache(&scratch[..length], &version);
            let content = Content::Inline { bytes: FileBytes::Read(&scratch[..length]), crc: None };
            return Ok(Opened { version, content });
        }
        let stat = self.syscalls.stat(&file).map_err(stop)?;
        let range = self.range_of(wanted, &stat, began)?;
        if range.end - range.start > wanted.inline {
            if self.capabilities.local {
                self.syscalls.no_readahead(&file);
            }
            let version = self.version(&stat, began);
            let file = OpenFile {
                file: Some(file),
                name: name.as_str().into(),
                size: version.size,
                look: Look::new(&stat, self.capabilities.is_settled(&stat, began)),
                version: Version::of(&stat),
                learning: Mutex::new(self.learning(&stat, began)),
                closer: self.closer_for(version.size),
            };
            let (is_sendable, is_sparse) = (self.capabilities.local, meta::is_sparse(&stat));
            let (start, end) = (range.start, range.end);
            let content = Content::Range { file: Arc::new(file), start, end, is_sendable, is_sparse };
            return Ok(Opened { version, content });
        }
        let (version, length) = self.read_between_looks(&file, wanted, (stat, began), wait, scratch)?;
        cache(&scratch[..length], &version);
        let content = Content::Inline { bytes: FileBytes::Read(&scratch[..length]), crc: None };
        Ok(Opened { version, content })
    }

    /// Returns size, time and tag of a regular file whose status was told after `moment`.
    pub(super) fn version(&self, stat: &Stat, moment: SystemTime) -> FileVersion {
        version_of(stat, self.tag(stat, moment))
    }

    /// Returns the tag of a file whose status was told after `moment`.
    pub(super) fn tag(&self, stat: &Stat, moment: SystemTime) -> Tag {
        meta::tag(stat, self.capabilities.has_lasting_tag(stat, moment))
    }

    /// Fills `bytes` from `at` on; false where the file ends before.
    pub(super) fn read_exact<C: Copy>(
        &self,
        file: &OwnedFd,
        at: u64,
        bytes: &mut [u8],
        wait: Wait<C>,
    ) -> Result<bool, Errno> {
        let mut filled = 0;
        while filled < bytes.len() {
            match self.read_at(file, at + filled as u64, &mut bytes[filled..], wait)? {
                0 => return Ok(false),
                read => filled += read,
            }
        }
        Ok(true)
    }

    fn read_at<C>(&self, file: &OwnedFd, at: u64, bytes: &mut [u8], wait: Wait<C>) -> Result<usize, Errno> {
        let nowait = wait.is_never() && !self.capabilities.in_memory;
        match self.syscalls.read(file, at, bytes, nowait) {
            Err(Errno::OPNOTSUPP) if nowait => Err(Errno::AGAIN),
            read => read,
        }
    }

    /// Brings a range into memory and, where there is one, into `digest`. Stops early where `gets_on`, which is asked before each
    /// piece, says that nobody waits for it.
    pub(super) fn load<C: Copy>(
        &self,
        Load { file, range, digest, remembered, is_sent }: Load<'_>,
        wait: Wait<C>,
        scratch: &mut [u8],
        gets_on: &dyn Fn() -> bool,
    ) -> Result<Loaded, Stop<C>> {
        let fd = file.fd().map_err(|error| file.error(error))?;
        if !wait.is_never() && !self.capabilities.in_memory {
            self.syscalls.will_need(fd, range.start, range.end - range.start + READ_AHEAD_BYTES);
        }
        let mut digest = digest.cloned();
        let mut at = range.start;
        while at < range.end {
            let known = if remembered && digest.is_some() { self.known_block(file, at..range.end) } else { None };
            let end = range.end.min((at / CRC_BLOCK_BYTES + 1) * CRC_BLOCK_BYTES);
            let (read, stopped) = match (known, &mut digest) {
                (Some((_, bytes)), _) if !is_sent || self.is_in_memory(file, at, bytes) => (bytes, None),
                (Some(_), _) | (None, None) => self.bring(fd, at..end, wait, scratch, gets_on, &mut |_| {}),
                (None, Some(digest)) => {
                    // Asked only here: of a file all of which is known nothing is to be learnt.
                    let before = self.learns(file).then(|| digest.clone());
                    let brought = self.bring(fd, at..end, wait, scratch, gets_on, &mut |piece| digest.update(piece));
                    self.learn(file, at..at + brought.0, before, digest);
                    brought
                }
            };
            match (known, &mut digest) {
                (Some((crc, bytes)), Some(digest)) if read == bytes => {
                    digest.append(crc, bytes);
                    self.remembered.hit(bytes);
                    at = end;
                }
                // A part of it has no CRC.
                (Some(_), _) => {}
                (None, _) => at += read,
            }
            match stopped {
                Some(Errno::AGAIN) if wait.is_never() && at > range.start => break,
                Some(error) => return Err(wait.stop(&file.name, error)),
                None if at < end => break,
                None => {}
            }
        }
        assert!(at <= range.end, "more was read than was asked for");
        Ok(Loaded { piece: Piece::Cached(at - range.start), digest })
    }

    /// Reads a range for its digest and its SHA-256. Stops early as [`load`](Self::load) does.
    pub(super) fn hash(
        &self,
        file: &OpenFile,
        range: Range<u64>,
        (mut digest, mut sha256): (Digest, Box<Sha256Digest>),
        scratch: &mut [u8],
        gets_on: &dyn Fn() -> bool,
    ) -> Result<Loaded, Stop<Infallible>> {
        let fd = file.fd().map_err(|error| file.error(error))?;
        if !self.capabilities.in_memory {
            self.syscalls.will_need(fd, range.start, range.end - range.start + READ_AHEAD_BYTES);
        }
        let (bytes, stopped) = self.bring(fd, range, HELPER, scratch, gets_on, &mut |piece| {
            digest.update(piece);
            sha256.update(piece);
        });
        match stopped {
            Some(error) => Err(HELPER.stop(&file.name, error)),
            None => Ok(Loaded { piece: Piece::Hashed(sha256, bytes), digest: Some(digest) }),
        }
    }

    /// Reads a range and lets `see` see its pieces. Returns how many bytes that were, and the error that stopped it. Without one,
    /// fewer than the range has are all of the file, or `gets_on` says that nobody waits for them.
    fn bring<C: Copy>(
        &self,
        fd: &OwnedFd,
        range: Range<u64>,
        wait: Wait<C>,
        scratch: &mut [u8],
        gets_on: &dyn Fn() -> bool,
        see: &mut dyn FnMut(&[u8]),
    ) -> (u64, Option<Errno>) {
        let (mut read, bytes) = (0, range.end - range.start);
        while read < bytes && gets_on() {
            let piece = usize::try_from(bytes - read).unwrap_or(usize::MAX).min(scratch.len());
            match self.read_at(fd, range.start + read, &mut scratch[..piece], wait) {
                Ok(0) => break,
                Ok(count) => {
                    see(&scratch[..count]);
                    read += count as u64;
                }
                Err(error) => return (read, Some(error)),
            }
        }
        (read, None)
    }

    /// Appends a range to `chunk`, as much as that takes and, where the call may not wait, as is in
    /// memory; and its digest in the same pass. Where there is nothing, `chunk` is left as it was.
    pub(super) fn read_range<C: Copy>(
        &self,
        file: &OpenFile,
        range: Range<u64>,
        digest: Option<&Digest>,
        wait: Wait<C>,
        chunk: &mut Chunk,
    ) -> Result<(u64, Option<Digest>), Stop<C>> {
        let (at, bytes) = (range.start, range.end - range.start);
        let fd = file.fd().map_err(|error| file.error(error))?;
        if !wait.is_never() && !self.capabilities.in_memory {
            self.syscalls.will_need(fd, at, bytes + READ_AHEAD_BYTES);
        }
        let place = &mut chunk.memory[chunk.filled..];
        let most = usize::try_from(bytes).unwrap_or(usize::MAX).min(place.len());
        let before = digest.cloned().filter(|_| self.learns(file));
        let mut digest = digest.cloned();
        let mut filled = 0;
        while filled < most {
            match self.read_at(fd, at + filled as u64, &mut place[filled..most], wait) {
                Ok(0) => break,
                Ok(read) => {
                    if let Some(digest) = &mut digest {
                        digest.update(&place[filled..filled + read]);
                    }
                    filled += read;
                }
                Err(Errno::AGAIN) if wait.is_never() && filled > 0 => break,
                Err(error) => return Err(wait.stop(&file.name, error)),
            }
        }
        chunk.filled += filled;
        if let (Some(digest), true) = (&digest, filled > 0) {
            self.learn(file, at..at + filled as u64, before, digest);
        }
        Ok((filled as u64, digest))
    }

    /// Returns the first part of a range that may hold anything but zeros: it is empty, and at the end, where there is none.
    /// Where the file system can't tell, all of it may.
    pub(super) fn extent(&self, file: &OpenFile, range: Range<u64>) -> Result<Range<u64>, StoreError> {
        let fd = file.fd().map_err(|error| file.error(error))?;
        Ok(self.syscalls.data_in(fd, range))
    }

    /// Returns the closer for a file of `size` bytes; [`None`] where closing it never waits.
    pub(super) fn closer_for(&self, size: u64) -> Option<Closer> {
        (size > LARGE_BYTES || !self.capabilities.local).then(|| self.syscalls.closer().clone())
    }

    pub(super) fn stat<C: Copy>(&self, name: &Name, wait: Wait<C>) -> Result<Status, Stop<C>> {
        if let Wait::Never(cold) = wait
            && !self.capabilities.cached_walks
        {
            return Err(Stop::Cold(cold));
        }
        let moment = self.file_time();
        let stat = self.root.stat(name, wait.is_never()).map_err(|error| wait.stop(name.as_str(), error))?;
        match meta::kind(&stat) {
            FileType::RegularFile => Ok(Status::File(self.version(&stat, moment))),
            FileType::Directory => Ok(directory(&stat)),
            kind => Err(not_a_file(name.as_str(), kind).into()),
        }
    }

    pub(super) fn range_of(
        &self,
        wanted: &Wanted<'_>,
        stat: &Stat,
        moment: SystemTime,
    ) -> Result<Range<u64>, StoreError> {
        match meta::kind(stat) {
            FileType::RegularFile => wanted.range_in(meta::size(stat), |tag| *tag == self.tag(stat, moment)),
            kind => Err(not_a_file(wanted.name.as_str(), kind)),
        }
    }
}

/// Returns size and time of a regular file, with its tag.
pub(super) fn version_of(stat: &Stat, tag: Tag) -> FileVersion {
    FileVersion { size: meta::size(stat), mtime: meta::mtime(stat), tag, mode: Mode::of(stat.st_mode) }
}

pub(super) fn changed(name: &str) -> StoreError {
    StoreError::at(name, ErrorKind::Changed)
}

/// Returns the status of a directory.
pub(super) fn directory(stat: &Stat) -> Status {
    Status::Directory { mtime: meta::mtime(stat), mode: Some(Mode::of(stat.st_mode)) }
}

pub(super) fn not_a_file(name: &str, kind: FileType) -> StoreError {
    let error = match kind {
        FileType::Directory => SystemError::IsDirectory,
        FileType::Symlink => SystemError::SymbolicLink,
        _ => SystemError::IsSpecial,
    };
    StoreError::at(name, ErrorKind::System(error))
}

#[cfg(test)]
mod tests {
    use std::{
        path::Path,
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use super::*;
    use ferry_wire::Crc32;

    use crate::store::{
        Call, Disk, Durability, Form, LeaseOptions, MountTable, ReadCompletion, ReadOperation, StoreOptions, Watcher,
    };

    /// Counts looks at files.
    #[derive(Debug, Default)]
    struct Looks(AtomicUsize);

    impl Watcher for Looks {
        fn before(&self, call: &Call<'_>) -> Result<(), Errno> {
            self.0.fetch_add(usize::from(matches!(call, Call::Stat { .. })), Ordering::Relaxed);
            Ok(())
        }

        fn after(&self, _: &Call<'_>) {}
    }

    fn options(root: &Path) -> StoreOptions {
        StoreOptions {
            root: root.into(),
            writable: false,
            durability: Durability::Full,
            max_staged: 0,
            max_kept: 0,
            keep: Duration::ZERO,
            crc_cache: 16 << 20,
            small_cache: 0,
            mounts: MountTable::default(),
            leasing: LeaseOptions::default(),
        }
    }

    fn read_only(root: &Path) -> (Store, Arc<Looks>) {
        let looks = Arc::new(Looks::default());
        (Store::open_watched(&options(root), Some(looks.clone())).unwrap(), looks)
    }

    /// Checks the bytes of a small range, read carefully and then quickly, and how often the file
    /// was looked at for the latter. On a file system that may make the loop wait there is no quick
    /// way.
    fn both_ways(
        (store, looks): &(Store, Arc<Looks>),
        name: &str,
        range: (u64, Option<u64>),
        expected: (&[u8], usize),
    ) {
        let mut scratch = vec![0; SCRATCH_BYTES];
        let name = Name::new(name).unwrap();
        let open = || {
            let (offset, length) = range;
            ReadOperation::Open { name: name.clone(), offset, length, tag: None, inline: 64 << 10 }
        };
        let bytes_of = |completion: ReadCompletion<'_, Disk>| match completion {
            ReadCompletion::Opened(Ok(Opened { version, content: Content::Inline { bytes, .. } })) => {
                (version, bytes.to_vec())
            }
            other => panic!("{other:?}"),
        };
        let careful = bytes_of(store.read(open(), &mut scratch, &|| true));
        let before = looks.0.load(Ordering::Relaxed);
        assert_eq!(careful.1, expected.0, "{range:?}");
        if let Ok(completion) = store.try_read(open(), &mut scratch) {
            assert_eq!(bytes_of(completion), careful);
            assert_eq!(looks.0.load(Ordering::Relaxed) - before, expected.1, "{range:?}");
        }
    }

    #[test]
    fn an_old_file_is_looked_at_before_and_behind_and_a_new_one_around_another_read() {
        // The sources of this program are older than this test.
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let whole = std::fs::read(sources.join("lib.rs")).unwrap();
        let watched = read_only(&sources);
        let settles = |store: &Store| store.capabilities.own_clock && store.capabilities.nowait;
        let settled = if settles(&watched.0) { 2 } else { 3 };
        for (range, expected) in [
            ((0, None), &whole[..]),
            ((1, Some(3)), &whole[1..4]),
            ((5, Some(1 << 40)), &whole[5..]),
            ((whole.len() as u64, None), &[]),
        ] {
            both_ways(&watched, "lib.rs", range, (expected, settled));
        }

        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("new"), b"just written").unwrap();
        let watched = read_only(place.path());
        let careful = if settles(&watched.0) { 4 } else { 3 };
        both_ways(&watched, "new", (0, None), (b"just written", careful));
    }

    /// Counts the bytes that are read.
    #[derive(Debug, Default)]
    struct Reads(AtomicUsize);

    impl Watcher for Reads {
        fn before(&self, call: &Call<'_>) -> Result<(), Errno> {
            if let Call::Read { bytes, .. } = call {
                self.0.fetch_add(*bytes, Ordering::Relaxed);
            }
            Ok(())
        }

        fn after(&self, _: &Call<'_>) {}
    }

    #[test]
    fn bytes_and_their_digest_come_of_one_reading_behind_what_the_chunk_holds() {
        const HEAD: &[u8] = b"head";
        let place = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..100_000_u32).map(|byte| (byte / 7) as u8).collect();
        std::fs::write(place.path().join("a"), &content).unwrap();
        let reads = Arc::new(Reads::default());
        let store = Store::open_watched(&options(place.path()), Some(reads.clone())).unwrap();
        let mut scratch = vec![0; SCRATCH_BYTES];
        let name = Name::new("a").unwrap();
        let open = ReadOperation::Open { name, offset: 0, length: None, tag: None, inline: 0 };
        let opened = store.read(open, &mut scratch, &|| true);
        let ReadCompletion::Opened(Ok(Opened { content: Content::Range { file, .. }, .. })) = opened else {
            panic!("{opened:?}")
        };
        let load = |at: u64, bytes| {
            let memory = [HEAD, &[0; 60_000]].concat();
            let form = Form::Bytes(Chunk { memory, filled: HEAD.len(), hole: 0 });
            ReadOperation::Load { file: file.clone(), at, bytes, digest: Some(Digest::new()), remembered: true, form }
        };
        // As much as the chunk takes, as the file has, and as was asked for.
        for (at, bytes, end) in [(0, 100_000, 60_000), (60_000, 100_000, 100_000), (1_000, 10, 1_010)] {
            let expected = &content[at as usize..end];
            let check = |completion: ReadCompletion<'_, Disk>| {
                let ReadCompletion::Loaded(Ok(Loaded { piece: Piece::Bytes(chunk, count), digest })) = completion
                else {
                    panic!("{completion:?}")
                };
                assert_eq!((count as usize, digest.unwrap().crc()), (expected.len(), Crc32::of(expected)));
                assert!(chunk.bytes() == [HEAD, expected].concat());
            };
            reads.0.store(0, Ordering::Relaxed);
            check(store.read(load(at, bytes), &mut scratch, &|| true));
            if end < content.len() {
                assert_eq!(reads.0.load(Ordering::Relaxed), expected.len(), "it is read once");
            }
            if let Ok(completion) = store.try_read(load(at, bytes), &mut scratch) {
                check(completion);
            }
        }
    }
}
