//! Whether a file stayed the same while it was read.
//!
//! Programs of the server's machine may change a file in place, and put its time back. So the time
//! of the status is looked at as well, which nobody can set; but renames and links move it too, and
//! where it is kept in whole seconds it hides changes. Where it tells nothing for certain, the
//! range is read again. If both readings are the same, the file held these bytes at the moment
//! between them.

use std::{os::fd::OwnedFd, time::SystemTime};

use rustix::{fs::Stat, io::Errno};

use super::{
    Store,
    error::StoreError,
    meta,
    operation::{FileVersion, Stability},
    read::{OpenFile, Stop, Wait, Wanted, changed},
};

/// How often a small file whose status moves is read: each rename, or change of its links, costs another one.
const LOOKS: usize = 4;

/// A file as one look at its status tells, to be compared with a later look.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    content: (i64, i64, u64),
    status: (i64, u64),
    settled: bool,
}

/// The verdict of two looks on a file's content between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Between {
    Same,
    /// Its status changed, as by a rename; perhaps its content as well, with the time put back.
    Moved,
    /// Nothing changed that could be seen, but a change need not have been.
    Unsettled,
    Changed,
}

impl Look {
    /// `settled`: whether whatever changes from here on moves the times.
    pub(super) fn new(stat: &Stat, settled: bool) -> Look {
        let content = (stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
        Look { content, status: (stat.st_ctime, stat.st_ctime_nsec), settled }
    }

    pub(super) fn until(&self, later: &Stat) -> Between {
        let later = Look::new(later, true);
        match self.content == later.content {
            false => Between::Changed,
            true if self.status != later.status => Between::Moved,
            true if self.settled => Between::Same,
            true => Between::Unsettled,
        }
    }
}

impl Store {
    /// Reads a small range the quick way, as most can be. One look at the file after the read
    /// proves that nothing changed meanwhile, if the last change is old enough. [`None`] where that
    /// is not so, or anything else is not as usual, for the careful way to find out.
    pub(super) fn read_settled(
        &self,
        file: &OwnedFd,
        wanted: &Wanted<'_>,
        began: SystemTime,
        scratch: &mut [u8],
    ) -> Option<(FileVersion, usize)> {
        if !(self.capabilities.own_clock && self.capabilities.nowait) {
            return None;
        }
        let most = wanted.length.unwrap_or(wanted.inline).min(wanted.inline);
        // One more byte tells that a file is larger than small.
        let room = usize::try_from(most).ok()?.checked_add(1)?;
        let read = self.syscalls.read(file, wanted.offset, scratch.get_mut(..room)?, true).ok()?;
        let stat = self.syscalls.stat(file).ok()?;
        let range = self.range_of(wanted, &stat, began).ok()?;
        let length = usize::try_from(range.end - range.start).ok()?;
        let whole = range.end - range.start <= wanted.inline && length <= read;
        (whole && meta::unchanged_since(&stat, began)).then(|| (self.version(&stat, began), length))
    }

    /// Reads a small range the careful way: between two looks that agree, the first of which was
    /// after a moment. Where such looks prove nothing, two reads have to agree.
    pub(super) fn read_between_looks<C: Copy>(
        &self,
        file: &OwnedFd,
        wanted: &Wanted<'_>,
        (mut stat, mut moment): (Stat, SystemTime),
        wait: Wait<C>,
        scratch: &mut [u8],
    ) -> Result<(FileVersion, usize), Stop<C>> {
        let name = wanted.name.as_str();
        let stop = |error| wait.stop(name, error);
        for _ in 0..LOOKS {
            let range = self.range_of(wanted, &stat, moment)?;
            let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
            let (bytes, rest) = scratch.split_at_mut_checked(length).ok_or(Errno::NOMEM).map_err(stop)?;
            let version = self.version(&stat, moment);
            let look = Look::new(&stat, self.capabilities.is_settled(&stat, moment));
            if !self.read_exact(file, range.start, bytes, wait).map_err(stop)? {
                break;
            }
            moment = self.file_time();
            let later = self.syscalls.stat(file).map_err(stop)?;
            match look.until(&later) {
                Between::Same => return Ok((version, length)),
                Between::Changed => break,
                // The next look tells with which version the bytes go.
                Between::Moved => stat = later,
                Between::Unsettled => {
                    let again = rest.get_mut(..length).ok_or(Errno::NOMEM).map_err(stop)?;
                    if self.read_exact(file, range.start, again, wait).map_err(stop)? && again == bytes {
                        return Ok((version, length));
                    }
                    break;
                }
            }
        }
        Err(changed(name).into())
    }

    /// Returns whether an open file is as it was when it was opened. One that was renamed or
    /// replaced meanwhile still is the version that was begun; but then its status alone can't
    /// tell.
    pub(super) fn check(&self, file: &OpenFile) -> Result<Stability, StoreError> {
        let stat = file.fd().and_then(|fd| self.syscalls.stat(fd)).map_err(|error| file.error(error))?;
        let until_now = file.look.until(&stat);
        self.remember(file, until_now);
        Ok(match until_now {
            Between::Same => Stability::Same,
            Between::Changed => Stability::Changed,
            Between::Moved | Between::Unsettled => Stability::Doubtful,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::Write,
        path::{Path, PathBuf},
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        time::Duration,
    };

    use ferry_wire::{Name, Tag};

    use super::*;
    use crate::store::{
        Call, Content, Durability, ErrorKind, LeaseOptions, MountTable, Opened, ReadCompletion, ReadOperation, Status,
        StoreOptions, Watcher, read::SCRATCH_BYTES,
    };

    /// A program that changes a file in place before its nth read, and puts its time back.
    #[derive(Debug)]
    struct Meddler {
        file: PathBuf,
        nth: usize,
        reads: AtomicUsize,
        /// The file system keeps whole seconds.
        coarse: bool,
    }

    impl Watcher for Meddler {
        fn before(&self, call: &Call<'_>) -> Result<(), Errno> {
            if matches!(call, Call::Read { .. }) && self.reads.fetch_add(1, Ordering::Relaxed) == self.nth {
                let mut file = File::options().write(true).open(&self.file).unwrap();
                let time = file.metadata().unwrap().modified().unwrap();
                file.write_all(b"new").unwrap();
                file.set_modified(time).unwrap();
            }
            Ok(())
        }

        fn told(&self, stat: &mut Stat) {
            if self.coarse {
                // One in which all of the test happens.
                (stat.st_mtime_nsec, stat.st_ctime_nsec, stat.st_ctime) = (0, 0, i64::MAX / 2);
            }
        }

        fn after(&self, _: &Call<'_>) {}
    }

    /// Returns what GET and then STAT say of a file that is changed before the nth read of it.
    fn got(nth: usize, coarse: bool) -> (Result<(Vec<u8>, Tag), ErrorKind>, Tag) {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("file");
        std::fs::write(&file, b"old").unwrap();
        let meddler = Arc::new(Meddler { file, nth, reads: AtomicUsize::new(0), coarse });
        let store = Store::open_watched(&read_only(place.path()), Some(meddler)).unwrap();
        let (name, mut scratch) = (Name::new("file").unwrap(), vec![0; SCRATCH_BYTES]);
        let open = ReadOperation::Open { name: name.clone(), offset: 0, length: None, tag: None, inline: 64 << 10 };
        let got = match store.read(open, &mut scratch, &|| true) {
            ReadCompletion::Opened(Ok(Opened { version, content: Content::Inline { bytes, .. } })) => {
                Ok((bytes.to_vec(), version.tag))
            }
            ReadCompletion::Opened(Err(error)) => Err(error.kind),
            other => panic!("{other:?}"),
        };
        let stat = match store.read(ReadOperation::Stat { name }, &mut scratch, &|| true) {
            ReadCompletion::Found(Ok(Status::File(version))) => version.tag,
            other => panic!("{other:?}"),
        };
        (got, stat)
    }

    fn read_only(root: &Path) -> StoreOptions {
        StoreOptions {
            root: root.into(),
            writable: false,
            durability: Durability::Full,
            max_staged: 0,
            max_kept: 0,
            keep: Duration::ZERO,
            crc_cache: 16 << 20,
            small_cache: 16 << 20,
            mounts: MountTable::default(),
            leasing: LeaseOptions::default(),
        }
    }

    #[test]
    fn bytes_go_with_the_tag_of_their_version_though_its_time_is_put_back() {
        let (got, now) = got(0, false);
        assert_eq!(got, Ok((b"new".to_vec(), now)));
    }

    #[test]
    fn where_times_are_whole_seconds_two_readings_agree_and_no_two_looks_share_a_tag() {
        let (changed_before, now) = got(0, true);
        let (bytes, tag) = changed_before.unwrap();
        assert!(bytes == b"new" && tag != now, "{bytes:?}, {tag:?}, {now:?}");
        assert_eq!(got(1, true).0, Err(ErrorKind::Changed));
        let (unchanged, now) = got(2, true);
        let (bytes, tag) = unchanged.unwrap();
        assert!(bytes == b"old" && tag != now, "{bytes:?}, {tag:?}, {now:?}");
    }
}
