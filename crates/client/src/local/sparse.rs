//! Writing a large file: whole, or with holes where its blocks are all zeros.

use std::{fs::File, io, ops::Range, path::Path};

use rustix::{
    fs::{FallocateFlags, SeekFrom},
    io::Errno,
};

use super::staged::write_at;
use crate::error::Error;

/// The blocks that file systems keep files in, or a part of such a block. Only whole ones are left out.
const BLOCK_BYTES: u64 = 4 << 10;

/// The least that is worth a look whether there is a hole already.
const LEAST_HOLE_BYTES: usize = 16 << 10;

/// How the bytes of a file lie on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// All of them, in room that is asked for ahead.
    Whole,
    /// Runs of zeros are holes.
    Sparse,
}

impl Layout {
    /// Writes `bytes` at `at`. The file ends no earlier than they do: the last block is written whatever is in it.
    pub(crate) fn write(self, file: &File, path: &Path, bytes: &[u8], at: u64) -> Result<(), Error> {
        match self {
            Layout::Whole => write_at(file, path, bytes, at),
            Layout::Sparse => write_sparse(file, path, bytes, at),
        }
    }
}

fn write_sparse(file: &File, path: &Path, bytes: &[u8], at: u64) -> Result<(), Error> {
    let (mut written, mut start) = (0, 0);
    while start < bytes.len() {
        let Some(zeros) = zeros(bytes, at, start) else {
            start = next_block(at, start);
            continue;
        };
        let end = start + zeros;
        if zeros >= LEAST_HOLE_BYTES && is_hole(file, at + start as u64, at + end as u64) {
            write_at(file, path, &bytes[written..start], at + written as u64)?;
            written = end;
        }
        start = end;
    }
    write_at(file, path, &bytes[written..], at + written as u64)
}

/// Returns where the block after the one of `start` begins, in bytes from `at` on.
fn next_block(at: u64, start: usize) -> usize {
    let position = at + start as u64;
    start + usize::try_from(BLOCK_BYTES - position % BLOCK_BYTES).unwrap_or(1)
}

/// Returns how many bytes of whole blocks from `start` on are zeros, the last byte not counted; [`None`] for none.
fn zeros(bytes: &[u8], at: u64, start: usize) -> Option<usize> {
    const ZEROS: [u8; BLOCK_BYTES as usize] = [0; BLOCK_BYTES as usize];
    if !(at + start as u64).is_multiple_of(BLOCK_BYTES) {
        return None;
    }
    let blocks = bytes[start..bytes.len() - 1].chunks_exact(ZEROS.len()).take_while(|block| *block == ZEROS).count();
    (blocks > 0).then_some(blocks * ZEROS.len())
}

/// Returns whether the file has no data in a range, so that it reads as zeros. Where the file system can't tell, it may have.
fn is_hole(file: &File, start: u64, end: u64) -> bool {
    match rustix::fs::seek(file, SeekFrom::Data(start)) {
        Ok(data) => data >= end,
        // There is none up to its end, or it ends before.
        Err(Errno::NXIO) => true,
        Err(_) => false,
    }
}

/// Returns the first part of a range that may hold anything but zeros: it is empty, and at the end, where there is none. Where
/// the file system can't tell, all of it may. Moves the place where the file is read next.
pub(crate) fn data_in(file: &File, range: Range<u64>) -> Range<u64> {
    let start = match rustix::fs::seek(file, SeekFrom::Data(range.start)) {
        Ok(start) => start.clamp(range.start, range.end),
        Err(Errno::NXIO) => range.end,
        Err(_) => return range,
    };
    if start == range.end {
        return start..start;
    }
    let end = rustix::fs::seek(file, SeekFrom::Hole(start)).unwrap_or(range.end).min(range.end);
    // A file that was cut meanwhile has neither there.
    if end > start { start..end } else { start..range.end }
}

/// Has a range of `file` read as zeros, in a hole where the file system makes such. The file ends no earlier than the range.
pub(crate) fn make_hole(file: &File, path: &Path, hole: Range<u64>) -> Result<(), Error> {
    let failed = |error: io::Error| Error::local("write", path, error);
    let size = file.metadata().map_err(failed)?.len();
    if size < hole.end {
        // First: room that is set aside behind the end of a file is not given back by a hole there.
        match rustix::fs::ftruncate(file, hole.end) {
            // The file system makes files longer by writing alone: ftruncate(2).
            Err(Errno::PERM) => return write_zeros(file, path, hole),
            set => set.map_err(|errno| failed(errno.into()))?,
        }
    }
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    if let Err(errno) = rustix::fs::fallocate(file, flags, hole.start, hole.end - hole.start) {
        log::debug!("no hole is made in {}: {}", path.display(), io::Error::from(errno));
        return write_zeros(file, path, hole.start..hole.end.min(size));
    }
    Ok(())
}

fn write_zeros(file: &File, path: &Path, range: Range<u64>) -> Result<(), Error> {
    static ZEROS: [u8; 256 << 10] = [0; 256 << 10];
    let mut at = range.start;
    while at < range.end {
        let bytes = ZEROS.len().min(usize::try_from(range.end - at).unwrap_or(usize::MAX));
        write_at(file, path, &ZEROS[..bytes], at)?;
        at += bytes as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt as _, MetadataExt as _};

    use super::*;

    const MIB: usize = 1 << 20;

    /// Writes `content` in pieces of `piece` bytes, and returns how much of the disk that takes.
    fn written(file: &File, content: &[u8], piece: usize) -> u64 {
        for (index, bytes) in content.chunks(piece).enumerate() {
            Layout::Sparse.write(file, Path::new("a"), bytes, (index * piece) as u64).unwrap();
        }
        let mut there = vec![1; content.len()];
        file.read_exact_at(&mut there, 0).unwrap();
        assert!(there == content, "other bytes than were written, in pieces of {piece}");
        let meta = file.metadata().unwrap();
        assert_eq!(meta.len(), content.len() as u64);
        meta.blocks() * 512
    }

    #[test]
    fn runs_of_zeros_are_holes_and_what_is_read_is_what_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let mut content = vec![0; 8 * MIB];
        content[3 * MIB + 5] = 1;
        content[5 * MIB..6 * MIB].fill(7);
        for piece in [MIB, 300_000, 1 << 17, 8 * MIB] {
            let file =
                File::options().read(true).write(true).create_new(true).open(directory.path().join("a")).unwrap();
            let taken = written(&file, &content, piece);
            let holes = rustix::fs::seek(&file, SeekFrom::Data(0)).is_ok_and(|data| data > 0);
            assert!(!holes || taken < 3 * MIB as u64, "{taken} bytes on the disk, in pieces of {piece}");
            // Where data are, zeros are written over them.
            let all = vec![9; content.len()];
            written(&file, &all, piece);
            written(&file, &content, piece);
            std::fs::remove_file(directory.path().join("a")).unwrap();
        }
    }

    #[test]
    fn holes_read_as_zeros_whatever_was_there_and_are_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        file.write_all_at(&[9; MIB], 0).unwrap();
        make_hole(&file, &path, 100_000..600_000).unwrap();
        make_hole(&file, &path, (MIB - 5) as u64..(1 << 40)).unwrap();
        file.write_all_at(b"end", 1 << 40).unwrap();
        let mut there = vec![1; 2 * MIB];
        file.read_exact_at(&mut there, 0).unwrap();
        let is_hole = |at: usize| (100_000..600_000).contains(&at) || at >= MIB - 5;
        assert!(there.iter().enumerate().all(|(at, byte)| *byte == if is_hole(at) { 0 } else { 9 }));
        assert_eq!(file.metadata().unwrap().len(), (1 << 40) + 3);
        if file.metadata().unwrap().blocks() < 4096 {
            let (mut at, mut data) = (0, 0);
            while at < (1 << 40) + 3 {
                let found = data_in(&file, at..(1 << 40) + 3);
                assert!(found.start >= at);
                data += found.end - found.start;
                at = found.end;
            }
            assert!((MIB as u64 - 500_005..2 * MIB as u64).contains(&data), "{data} bytes of data");
        }
        assert_eq!(data_in(&file, 1 << 39..1 << 39), 1 << 39..1 << 39);
    }

    #[test]
    fn a_file_of_zeros_has_its_length() {
        let directory = tempfile::tempdir().unwrap();
        for length in [1, 4095, 4096, 16 << 10, 100_001, 3 * MIB] {
            let path = directory.path().join(length.to_string());
            let file = File::options().read(true).write(true).create_new(true).open(path).unwrap();
            written(&file, &vec![0; length], MIB);
        }
    }
}
