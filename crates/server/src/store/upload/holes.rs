//! Holes of a staged file: zeros of which nothing comes.

use std::{ops::Range, os::fd::OwnedFd};

use rustix::io::Errno;

use super::super::{Store, meta};

impl Store {
    /// Has a range of a staged file read as zeros, in a hole where the file system makes such. What may be there is parts that
    /// the holder sends over, and room that is `reserved`. The file ends no earlier than the hole: what is promised of it is
    /// there.
    pub(super) fn make_hole(&self, file: &OwnedFd, hole: Range<u64>, reserved: u64) -> Result<(), Errno> {
        let size = meta::size(&self.syscalls.stat(file)?);
        if size < hole.end {
            // First: room behind the end of a file is not given back by a hole there.
            self.syscalls.truncate(file, hole.end)?;
        }
        let taken = hole.end.min(size.max(reserved));
        if hole.start >= taken {
            return Ok(());
        }
        match self.syscalls.punch(file, hole.start, taken - hole.start) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                self.write_zeros(file, hole.start..hole.end.min(size))
            }
            punched => punched,
        }
    }

    fn write_zeros(&self, file: &OwnedFd, range: Range<u64>) -> Result<(), Errno> {
        static ZEROS: [u8; 256 << 10] = [0; 256 << 10];
        let mut at = range.start;
        while at < range.end {
            let bytes = ZEROS.len().min(usize::try_from(range.end - at).unwrap_or(usize::MAX));
            self.syscalls.write_all(file, &ZEROS[..bytes], at)?;
            at += bytes as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) use tests::options;

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc};

    use super::*;
    use crate::store::{Call, Durability, LeaseOptions, MountTable, StoreOptions, Watcher};

    pub(in crate::store::upload) fn options(root: &Path) -> StoreOptions {
        StoreOptions {
            root: root.into(),
            writable: true,
            durability: Durability::Full,
            max_staged: u64::MAX,
            max_kept: 0,
            keep: std::time::Duration::ZERO,
            crc_cache: 16 << 20,
            small_cache: 16 << 20,
            mounts: MountTable::default(),
            leasing: LeaseOptions::default(),
        }
    }

    /// A file system that makes no holes.
    #[derive(Debug)]
    struct NoHoles;

    impl Watcher for NoHoles {
        fn before(&self, call: &Call<'_>) -> Result<(), Errno> {
            if matches!(call, Call::Punch { .. }) { Err(Errno::OPNOTSUPP) } else { Ok(()) }
        }

        fn after(&self, _: &Call<'_>) {}
    }

    #[test]
    fn a_hole_reads_as_zeros_whatever_was_there_and_where_none_is_made() {
        for watcher in [None, Some(Arc::new(NoHoles) as Arc<dyn Watcher>)] {
            let root = tempfile::tempdir().unwrap();
            let store = Store::open_watched(&options(root.path()), watcher).unwrap();
            let path = root.path().join("a");
            std::fs::write(&path, vec![9; 900_000]).unwrap();
            let file = OwnedFd::from(std::fs::File::options().write(true).open(&path).unwrap());
            store.make_hole(&file, 100_000..700_001, 0).unwrap();
            store.make_hole(&file, 899_999..2_000_000, 1_000_000).unwrap();
            let there = std::fs::read(&path).unwrap();
            let is_hole = |at: usize| (100_000..700_001).contains(&at) || at >= 899_999;
            assert_eq!(there.len(), 2_000_000);
            assert!(there.iter().enumerate().all(|(at, byte)| *byte == if is_hole(at) { 0 } else { 9 }));
        }
    }
}
