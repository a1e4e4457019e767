//! Bytes that no compressor and no lucky bug can guess, the same again from the same seed.

use std::{
    env,
    fs::File,
    hash::{BuildHasher as _, RandomState},
    io::Write as _,
    path::Path,
};

/// A seed for this run: `FERRY_TEST_SEED` where that is set, else a new one. Printed, so that a
/// failure can be run again.
///
/// # Panics
///
/// Panics if `FERRY_TEST_SEED` is no number.
#[must_use]
pub fn seed() -> u64 {
    let seed = match env::var("FERRY_TEST_SEED") {
        Ok(text) => text.parse().expect("FERRY_TEST_SEED is a number"),
        Err(_) => RandomState::new().hash_one(0),
    };
    println!("FERRY_TEST_SEED={seed}");
    seed
}

/// A stream of random numbers (SplitMix64): small, fast enough in a debug build, good enough for
/// tests.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The stream that begins at `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.number() % end
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.number().to_le_bytes()[..chunk.len()]);
        }
    }
}

/// `length` random bytes from `seed`.
#[must_use]
pub fn random_bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    Random::new(seed).fill(&mut bytes);
    bytes
}

/// Makes `path` a file of `length` random bytes from `seed`, and gives its CRC. It takes memory for
/// one piece only.
///
/// # Panics
///
/// Panics if the file can't be written.
pub fn random_file(path: &Path, seed: u64, length: u64) -> u32 {
    const PIECE_BYTES: usize = 1 << 20;
    let mut file = File::create(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut random = Random::new(seed);
    let mut digest = crc32fast::Hasher::new();
    let mut piece = vec![0; PIECE_BYTES];
    let mut left = length;
    while left > 0 {
        let take = usize::try_from(left.min(PIECE_BYTES as u64)).expect("at most a piece");
        random.fill(&mut piece[..take]);
        digest.update(&piece[..take]);
        file.write_all(&piece[..take]).expect("room on the disk");
        left -= take as u64;
    }
    digest.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_stream() {
        assert_eq!(random_bytes(7, 1001), random_bytes(7, 1001));
        assert_ne!(random_bytes(7, 1001), random_bytes(8, 1001));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        let crc = random_file(&path, 7, 3_000_001);
        assert_eq!(crc32fast::hash(&std::fs::read(&path).unwrap()), crc);
    }
}
