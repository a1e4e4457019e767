//! Files to move, with their sizes and CRCs.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use ferry_wire::{Crc32, Digest};

/// A file of bytes that no one can guess, compress or leave out.
#[derive(Debug, Clone)]
pub struct Content {
    /// Where it is.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Its CRC.
    pub crc: Crc32,
}

impl Content {
    /// Writes `bytes` bytes to `path` and waits until they are on the disk, so that writing them
    /// back disturbs no measurement.
    ///
    /// # Panics
    ///
    /// Panics where the file can't be written.
    #[must_use]
    pub fn write(path: &Path, bytes: u64) -> Content {
        const SEED: u64 = 1;
        let crc = Crc32(ferry_e2e::random_file(path, SEED, bytes));
        let synced = File::open(path).and_then(|file| file.sync_all());
        synced.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Content { path: path.into(), bytes, crc }
    }

    /// Checks that `path` holds the same bytes, and removes it.
    ///
    /// # Panics
    ///
    /// Panics where it does not.
    pub fn check_and_remove(&self, path: &Path) {
        let found = crc_of_file(path).unwrap_or_else(|error| panic!("reading {}: {error}", path.display()));
        assert_eq!(found, (self.bytes, self.crc), "{} is not what was sent", path.display());
        fs::remove_file(path).unwrap_or_else(|error| panic!("removing {}: {error}", path.display()));
    }
}

/// Returns size and CRC of the content of a file.
fn crc_of_file(path: &Path) -> io::Result<(u64, Crc32)> {
    const PIECE_BYTES: usize = 1 << 20;
    let mut file = File::open(path)?;
    let mut piece = vec![0; PIECE_BYTES];
    let mut digest = Digest::new();
    loop {
        match file.read(&mut piece)? {
            0 => return Ok((digest.bytes(), digest.crc())),
            bytes => digest.update(&piece[..bytes]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_what_is_checked() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a");
        let content = Content::write(&path, 1_500_005);
        content.check_and_remove(&path);
        assert!(!path.exists());
    }

    #[test]
    #[should_panic(expected = "is not what was sent")]
    fn a_wrong_byte_is_seen() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a");
        let content = Content::write(&path, 100);
        let mut bytes = fs::read(&path).unwrap();
        bytes[50] ^= 1;
        fs::write(&path, bytes).unwrap();
        content.check_and_remove(&path);
    }
}
