//! Writing a large file: whole, or with holes where its blocks are all zeros.

use std::{fs::File, path::Path};

use rustix::{fs::SeekFrom, io::Errno};

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
    fn a_file_of_zeros_has_its_length() {
        let directory = tempfile::tempdir().unwrap();
        for length in [1, 4095, 4096, 16 << 10, 100_001, 3 * MIB] {
            let path = directory.path().join(length.to_string());
            let file = File::options().read(true).write(true).create_new(true).open(path).unwrap();
            written(&file, &vec![0; length], MIB);
        }
    }
}
