//! Reading files and directories.

use std::{borrow::Cow, fmt, os::fd::OwnedFd, sync::Arc, time::SystemTime};

use ferry_wire::{Code, Crc32, Digest, Entry, EntryKind, Failure, FileMeta, Name, Reply, Tag};
use rustix::{
    fs::{Dir, FileType, Stat},
    io::Errno,
};

use super::{
    Disk, Store,
    closer::{Closer, LARGE_BYTES},
    fault::{about, failure, root_is_gone},
    look::Look,
    meta,
    root::Found,
};
use crate::protocol::ferry::{Done, Opened, Outcome};

/// What is read at once through a buffer that stays in the processor's cache.
pub const SCRATCH_BYTES: usize = 256 << 10;

/// How much text of a listing is made at once, and from how many entries at most.
const LISTING_BYTES: usize = 64 << 10;
const LISTING_ENTRIES: usize = 1024;

/// What is asked to come from the disk behind a cold read, while that is being sent.
const READ_AHEAD_BYTES: u64 = 8 << 20;

/// Whether a call may wait for a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// It is a helper's.
    May,
    /// It is the loop's: [`Errno::AGAIN`] instead.
    Never,
}

/// A regular file, open for reading.
pub struct OpenFile {
    /// Taken when it is dropped.
    file: Option<OwnedFd>,
    name: Box<str>,
    size: u64,
    pub(super) look: Look,
    /// Where closing it may wait.
    closer: Option<Closer>,
}

impl fmt::Debug for OpenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenFile({:?}, {} bytes)", self.name, self.size)
    }
}

impl OpenFile {
    /// The descriptor, for sendfile.
    ///
    /// # Errors
    ///
    /// None in practice: it is there until the file is dropped.
    pub fn fd(&self) -> Result<&OwnedFd, Errno> {
        self.file.as_ref().ok_or(Errno::BADF)
    }

    /// Its name, as it was opened by.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What to say where the file can't be read any more.
    #[must_use]
    pub fn failure(&self, error: Errno) -> Failure {
        failure(&self.name, error)
    }

    /// What to say where the file ends before it should.
    #[must_use]
    pub fn shrank(&self) -> Failure {
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
    /// Its name; empty for the root.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_ref().map_or("", Name::as_str)
    }

    fn failure(&self, error: Errno) -> Failure {
        failure(self.name.as_ref().map_or("the root", Name::as_str), error)
    }
}

impl fmt::Debug for OpenDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpenDir")
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

/// How an attempt on the loop ended.
pub(super) enum Attempt<T> {
    Done(T),
    /// A disk has to be asked: a helper's work.
    Cold,
}

impl Store {
    /// Opens a file and, where the range is small, reads it.
    pub(super) fn fetch<'s>(
        &self,
        wanted: &Wanted<'_>,
        wait: Wait,
        scratch: &'s mut [u8],
    ) -> Attempt<Outcome<'s, Disk>> {
        let (name, can) = (wanted.name, &self.capabilities);
        if wait == Wait::Never && !(can.cached_walks && (can.nowait || can.in_memory)) {
            return Attempt::Cold;
        }
        let began = SystemTime::now();
        let opened = match self.root.open_file(name, wait == Wait::Never) {
            Ok(Found::Other(kind)) => return Attempt::Done(Err(not_a_file(name.as_str(), kind))),
            Ok(Found::File(file)) => Ok(file),
            Err(error) => Err(error),
        };
        if let (Ok(file), Wait::Never) = (&opened, wait)
            && let Some((meta, length)) = self.read_settled(file, wanted, began, scratch)
        {
            let bytes = &scratch[..length];
            let range = Opened::Inline { crc: Crc32::of(bytes), bytes: Cow::Borrowed(bytes) };
            return Attempt::Done(Ok(Done::Opened { meta, range }));
        }
        let opened = opened.and_then(|file| self.kernel.stat(&file).map(|stat| (file, stat)));
        let (file, stat) = match opened {
            Err(Errno::AGAIN) if wait == Wait::Never => return Attempt::Cold,
            Err(error) => return Attempt::Done(Err(failure(name.as_str(), error))),
            Ok(opened) => opened,
        };
        let range = match self.range_of(wanted, &stat, began) {
            Ok(range) => range,
            Err(failure) => return Attempt::Done(Err(failure)),
        };
        if range.end - range.start > wanted.inline {
            if self.capabilities.local {
                self.kernel.no_readahead(&file);
            }
            let meta = self.file_meta(&stat, began);
            let file = OpenFile {
                file: Some(file),
                name: name.as_str().into(),
                size: meta.size,
                look: Look::new(&stat, self.capabilities.is_settled(&stat, began)),
                closer: self.closer_for(meta.size),
            };
            let range = Opened::Range { file: Arc::new(file), start: range.start, end: range.end };
            return Attempt::Done(Ok(Done::Opened { meta, range }));
        }
        let (meta, length) = match self.read_between_looks(&file, wanted, (stat, began), wait, scratch) {
            Attempt::Cold => return Attempt::Cold,
            Attempt::Done(Err(failure)) => return Attempt::Done(Err(failure)),
            Attempt::Done(Ok(read)) => read,
        };
        let bytes = &scratch[..length];
        let range = Opened::Inline { crc: Crc32::of(bytes), bytes: Cow::Borrowed(bytes) };
        Attempt::Done(Ok(Done::Opened { meta, range }))
    }

    /// Size, time and tag of a regular file whose status was told after `moment`.
    pub(super) fn file_meta(&self, stat: &Stat, moment: SystemTime) -> FileMeta {
        FileMeta { size: meta::size(stat), mtime: meta::mtime(stat), tag: self.tag(stat, moment) }
    }

    /// The tag of a file whose status was told after `moment`.
    pub(super) fn tag(&self, stat: &Stat, moment: SystemTime) -> Tag {
        meta::tag(stat, self.capabilities.is_settled(stat, moment))
    }

    /// Fills `bytes` from `at` on; false where the file ends before.
    pub(super) fn read_exact(&self, file: &OwnedFd, at: u64, bytes: &mut [u8], wait: Wait) -> Result<bool, Errno> {
        let mut filled = 0;
        while filled < bytes.len() {
            match self.read_at(file, at + filled as u64, &mut bytes[filled..], wait)? {
                0 => return Ok(false),
                read => filled += read,
            }
        }
        Ok(true)
    }

    fn read_at(&self, file: &OwnedFd, at: u64, bytes: &mut [u8], wait: Wait) -> Result<usize, Errno> {
        let nowait = wait == Wait::Never && !self.capabilities.in_memory;
        match self.kernel.read(file, at, bytes, nowait) {
            Err(Errno::OPNOTSUPP) if nowait => Err(Errno::AGAIN),
            read => read,
        }
    }

    /// Brings a range into memory and into `digest`. Stops early where `gets_on`, which is asked
    /// before each piece, says that nobody waits for it.
    pub(super) fn load(
        &self,
        file: &OpenFile,
        range: std::ops::Range<u64>,
        digest: &Digest,
        wait: Wait,
        scratch: &mut [u8],
        gets_on: &dyn Fn() -> bool,
    ) -> Attempt<Outcome<'static, Disk>> {
        let (at, bytes) = (range.start, range.end - range.start);
        let fd = match file.fd() {
            Ok(fd) => fd,
            Err(error) => return Attempt::Done(Err(file.failure(error))),
        };
        if wait == Wait::May && !self.capabilities.in_memory {
            self.kernel.will_need(fd, at, bytes + READ_AHEAD_BYTES);
        }
        let mut digest = digest.clone();
        let mut loaded = 0;
        while loaded < bytes && gets_on() {
            let piece = usize::try_from(bytes - loaded).unwrap_or(usize::MAX).min(scratch.len());
            match self.read_at(fd, at + loaded, &mut scratch[..piece], wait) {
                Ok(0) => break,
                Ok(read) => {
                    digest.update(&scratch[..read]);
                    loaded += read as u64;
                }
                Err(Errno::AGAIN) if wait == Wait::Never && loaded == 0 => return Attempt::Cold,
                Err(Errno::AGAIN) if wait == Wait::Never => break,
                Err(error) => return Attempt::Done(Err(file.failure(error))),
            }
        }
        Attempt::Done(Ok(Done::Loaded { bytes: loaded, digest }))
    }

    /// The same for a file that must not be sent from, since sending might wait: returns the bytes themselves, at
    /// most as many as `scratch` holds.
    pub(super) fn read_range(
        &self,
        file: &OpenFile,
        at: u64,
        bytes: u64,
        mut digest: Digest,
        scratch: &mut [u8],
    ) -> Outcome<'static, Disk> {
        let fd = file.fd().map_err(|error| file.failure(error))?;
        self.kernel.will_need(fd, at, bytes + READ_AHEAD_BYTES);
        let most = usize::try_from(bytes).unwrap_or(usize::MAX).min(scratch.len());
        let mut filled = 0;
        while filled < most {
            match self.read_at(fd, at + filled as u64, &mut scratch[filled..most], Wait::May) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) => return Err(file.failure(error)),
            }
        }
        digest.update(&scratch[..filled]);
        Ok(Done::Read { bytes: scratch[..filled].to_vec(), digest })
    }

    /// Returns the closer for a file of `size` bytes; [`None`] where closing it never waits.
    fn closer_for(&self, size: u64) -> Option<Closer> {
        (size > LARGE_BYTES || !self.capabilities.local).then(|| self.kernel.closer().clone())
    }

    pub(super) fn stat(&self, name: &Name, wait: Wait) -> Attempt<Outcome<'static, Disk>> {
        if wait == Wait::Never && !self.capabilities.cached_walks {
            return Attempt::Cold;
        }
        let moment = SystemTime::now();
        let stat = match self.root.stat(name, wait == Wait::Never) {
            Err(Errno::AGAIN) if wait == Wait::Never => return Attempt::Cold,
            Err(error) => return Attempt::Done(Err(failure(name.as_str(), error))),
            Ok(stat) => stat,
        };
        Attempt::Done(match meta::kind(&stat) {
            FileType::RegularFile => Ok(Done::Replied(Reply::File(self.file_meta(&stat, moment)))),
            FileType::Directory => Ok(Done::Replied(Reply::Dir(meta::mtime(&stat)))),
            kind => Err(not_a_file(name.as_str(), kind)),
        })
    }

    /// Begins a listing.
    pub(super) fn list(&self, name: Option<&Name>) -> Outcome<'static, Disk> {
        let shown = name.map_or("the root", Name::as_str);
        let opened = self.root.open_dir(name.map(Name::as_str)).and_then(|dir| {
            let entries = self.kernel.list(&dir)?;
            Ok(Box::new(OpenDir { name: name.cloned(), open: Some((entries, dir)), closer: self.closer_for(0) }))
        });
        opened.map_err(|error| failure(shown, error)).and_then(|dir| self.list_more(dir))
    }

    /// Goes on with a listing. What has no valid name, or is neither a file nor a directory, is left
    /// out; so is what went away meanwhile.
    pub(super) fn list_more(&self, mut open: Box<OpenDir>) -> Outcome<'static, Disk> {
        let mut lines = Vec::new();
        for _ in 0..LISTING_ENTRIES {
            let Some((entries, dir)) = &mut open.open else { return Err(open.failure(Errno::BADF)) };
            let entry = match entries.read() {
                None => {
                    self.is_still_there(&open)?;
                    return Ok(Done::Listed { lines: Cow::Owned(lines), more: None });
                }
                Some(Err(error)) => return Err(open.failure(error)),
                Some(Ok(entry)) => entry,
            };
            let skipped = !matches!(entry.file_type(), FileType::RegularFile | FileType::Directory | FileType::Unknown);
            let Ok(name) = Name::from_bytes(entry.file_name().to_bytes()) else { continue };
            if skipped {
                continue;
            }
            let moment = SystemTime::now();
            let kind = match self.root.stat_entry(dir, name.as_str()) {
                Ok(stat) => match meta::kind(&stat) {
                    FileType::RegularFile => EntryKind::File(self.file_meta(&stat, moment)),
                    FileType::Directory => EntryKind::Directory(meta::mtime(&stat)),
                    _ => continue,
                },
                // Something else is mounted there: of a file as well, nothing but the name can be told.
                Err(Errno::XDEV) => EntryKind::Directory(None),
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(failure(name.as_str(), error)),
            };
            Entry { name, kind }.encode(&mut lines);
            if lines.len() >= LISTING_BYTES {
                break;
            }
        }
        Ok(Done::Listed { lines: Cow::Owned(lines), more: Some(open) })
    }

    /// A directory that was removed reads as an empty one: whoever mirrors it would delete all that it has.
    fn is_still_there(&self, open: &OpenDir) -> Result<(), Failure> {
        let removed = open.open.as_ref().map_or(Err(Errno::BADF), |(_, dir)| self.is_removed(dir));
        match (removed, &open.name) {
            (Ok(false), _) => Ok(()),
            (Ok(true), None) => Err(root_is_gone()),
            (Ok(true), Some(_)) => Err(open.failure(Errno::NOENT)),
            (Err(error), _) => Err(open.failure(error)),
        }
    }

    pub(super) fn range_of(
        &self,
        wanted: &Wanted<'_>,
        stat: &Stat,
        moment: SystemTime,
    ) -> Result<std::ops::Range<u64>, Failure> {
        let name = wanted.name.as_str();
        match meta::kind(stat) {
            FileType::RegularFile => {}
            kind => return Err(not_a_file(name, kind)),
        }
        if wanted.tag.is_some_and(|tag| *tag != self.tag(stat, moment)) {
            return Err(about(name, Code::Changed, "the file is another version now"));
        }
        let size = meta::size(stat);
        if wanted.offset > size {
            return Err(about(name, Code::BadRange, format_args!("the file has only {size} bytes")));
        }
        let end = wanted.length.map_or(size, |length| size.min(wanted.offset.saturating_add(length)));
        Ok(wanted.offset..end)
    }
}

pub(super) fn changed(name: &str) -> Failure {
    about(name, Code::Changed, "the file changed while it was read")
}

pub(super) fn not_a_file(name: &str, kind: FileType) -> Failure {
    match kind {
        FileType::Directory => about(name, Code::NotAFile, "is a directory, not a file"),
        FileType::Symlink => failure(name, Errno::LOOP),
        _ => about(name, Code::NotAFile, "is neither a file nor a directory"),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        path::Path,
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use super::*;
    use crate::{
        protocol::ferry::Work,
        store::{Call, Durability, MountTable, StoreOptions, Watcher},
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

    fn read_only(root: &Path) -> (Store, Arc<Looks>) {
        let options = StoreOptions {
            root: root.into(),
            writable: false,
            durability: Durability::Full,
            max_staged: 0,
            max_kept: 0,
            keep: Duration::ZERO,
            mounts: MountTable::default(),
        };
        let looks = Arc::new(Looks::default());
        (Store::open_watched(&options, Some(looks.clone())).unwrap(), looks)
    }

    /// Checks the bytes of a small range, read carefully and then quickly, and how often the file was looked at for the
    /// latter. On a file system that may make the loop wait there is no quick way.
    fn both_ways(
        (store, looks): &(Store, Arc<Looks>),
        name: &str,
        range: (u64, Option<u64>),
        expected: (&[u8], usize),
    ) {
        let mut scratch = vec![0; SCRATCH_BYTES];
        let name = Name::new(name).unwrap();
        let work = || Work::Open { name: name.clone(), offset: range.0, length: range.1, tag: None, inline: 64 << 10 };
        let bytes_of = |outcome: Outcome<'_, Disk>| match outcome {
            Ok(Done::Opened { meta, range: Opened::Inline { bytes, crc } }) => (meta, bytes.into_owned(), crc),
            other => panic!("{other:?}"),
        };
        let careful = bytes_of(store.run(work(), &mut scratch));
        let before = looks.0.load(Ordering::Relaxed);
        assert_eq!(careful.1, expected.0, "{range:?}");
        if let Ok(outcome) = store.try_now(work(), &mut scratch) {
            assert_eq!(bytes_of(outcome), careful);
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

    #[test]
    fn a_directory_that_is_removed_while_it_is_listed_is_no_empty_one() {
        let place = tempfile::tempdir().unwrap();
        let [root, inner] = ["root", "root/inner"].map(|path| place.path().join(path));
        std::fs::create_dir_all(&inner).unwrap();
        let (store, _) = read_only(&root);
        for file in 0..LISTING_ENTRIES {
            std::fs::write(inner.join(file.to_string()), b"").unwrap();
        }
        let begun = store.list(Some(&Name::new("inner").unwrap()));
        let Ok(Done::Listed { more: Some(rest), .. }) = begun else { panic!("{begun:?}") };
        assert!(matches!(store.list(None), Ok(Done::Listed { more: None, .. })));
        std::fs::remove_dir_all(&root).unwrap();
        let codes = [store.list_more(rest), store.list(None)].map(|listed| listed.unwrap_err().code);
        assert_eq!(codes, [Code::NotFound, Code::Io]);
    }
}
