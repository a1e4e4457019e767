//! CRCs of blocks of files that were read or uploaded before, by version. Pure: no file and no clock.
//!
//! A CRC is remembered only of a version that can't change without another identity: who puts it in has proved that. So
//! what is here is never wrong; it may tell of versions that are gone, and those are forgotten first, since nobody asks
//! for them.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    ops::Range,
};

use ferry_wire::{Crc32, Digest, limits::MAX_BLOCK_BYTES};
use rustix::fs::Stat;

use super::{bounded::Bounded, meta};

/// The bytes that one remembered CRC is of: what is sent as one block of a body, so that a block is known as a whole or not.
pub(super) const CRC_BLOCK_BYTES: u64 = MAX_BLOCK_BYTES;

/// Smaller files are read in one call, with their CRC, which costs no more than to look it up.
pub(super) const REMEMBERED_FROM_BYTES: u64 = 64 << 10;

/// Blocks that are remembered, and forgotten, together.
const GROUP_BLOCKS: u64 = 64;

/// The blocks that may be learnt of one upload, before it has its name: of 16 GiB, in 64 KiB. What follows is learnt by
/// reading it.
const UPLOAD_BLOCKS: usize = 16 << 10;

/// One version of one file: no two share it on a file system whose clock ticks between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, u64),
    /// The time of the status, which nobody can set.
    changed: (i64, u64),
}

impl Version {
    pub(super) fn of(stat: &Stat) -> Version {
        Version {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: meta::size(stat),
            modified: (stat.st_mtime, stat.st_mtime_nsec),
            changed: meta::touched(stat),
        }
    }

    /// Returns a number that hardly any two versions share.
    pub(super) fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        Hash::hash(self, &mut hasher);
        hasher.finish()
    }

    #[cfg(test)]
    pub(super) fn of_a_test(inode: u64, size: u64) -> Version {
        Version { device: 1, inode, size, modified: (1, 2), changed: (3, 4) }
    }

    /// Returns the bytes of the file.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Returns the length of a block: all have the same but for the last; 0 behind the end.
    pub(super) fn block_bytes(&self, block: u64) -> u64 {
        self.size.saturating_sub(block.saturating_mul(CRC_BLOCK_BYTES)).min(CRC_BLOCK_BYTES)
    }
}

impl Hash for Version {
    /// By the two numbers that nobody can choose: that of the file, and the time of its status, which moves with each
    /// version.
    fn hash<S: Hasher>(&self, state: &mut S) {
        (self.inode, self.changed).hash(state);
    }
}

/// Some blocks of one version, side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct GroupKey {
    version: Version,
    group: u64,
}

impl GroupKey {
    /// Returns where a block stands: its group, and its place in that.
    fn of(version: Version, block: u64) -> (GroupKey, usize) {
        // A remainder of GROUP_BLOCKS fits.
        (GroupKey { version, group: block / GROUP_BLOCKS }, (block % GROUP_BLOCKS) as usize)
    }

    /// Returns how many blocks the group has: as many as the file has there.
    fn blocks(&self) -> usize {
        let blocks = self.version.size.div_ceil(CRC_BLOCK_BYTES);
        blocks.saturating_sub(self.group * GROUP_BLOCKS).min(GROUP_BLOCKS) as usize
    }
}

#[derive(Debug)]
struct Group {
    /// A bit for each block that is known.
    known: u64,
    crcs: Box<[u32]>,
}

/// A bounded memory of CRCs: what nobody asks for gives way.
#[derive(Debug)]
pub(super) struct CrcCache(Bounded<GroupKey, Group>);

impl CrcCache {
    /// Returns an empty one that takes at most `limit` bytes of memory; with 0 nothing is remembered.
    pub(super) fn new(limit: u64) -> CrcCache {
        CrcCache(Bounded::new(limit))
    }

    /// Returns whether anything is remembered at all.
    pub(super) fn is_on(&self) -> bool {
        self.0.is_on()
    }

    /// Returns the memory that it takes, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.0.bytes()
    }

    /// Changes how much memory it may take. What is too much is forgotten.
    pub(super) fn set_limit(&mut self, limit: u64) {
        self.0.set_limit(limit);
    }

    /// Returns the CRC of a block, if it is known.
    pub(super) fn get(&mut self, version: Version, block: u64) -> Option<Crc32> {
        let (key, place) = GroupKey::of(version, block);
        let group = self.0.get(&key)?;
        (group.known & 1 << place != 0).then(|| Crc32(group.crcs[place]))
    }

    /// Remembers the CRC of a block of a version. Returns the one that was known before, where that is another: then the
    /// bytes changed, and the version did not.
    pub(super) fn put(&mut self, version: Version, block: u64, crc: Crc32) -> Option<Crc32> {
        assert!(version.block_bytes(block) > 0, "a block behind the end of its file");
        let (key, place) = GroupKey::of(version, block);
        let blocks = key.blocks();
        self.0.insert(key, blocks * size_of::<u32>(), || Group { known: 0, crcs: vec![0; blocks].into() });
        let group = self.0.get(&key)?;
        let before = (group.known & 1 << place != 0).then(|| Crc32(group.crcs[place]));
        group.known |= 1 << place;
        group.crcs[place] = crc.0;
        before.filter(|before| *before != crc)
    }
}

/// Learns the CRCs of whole blocks from the run of a digest over a file, wherever that begins.
#[derive(Debug, Default)]
pub(super) struct BlockRun {
    /// The block that is under way, all of which was seen: up to where, and the digest before its first byte.
    open: Option<(u64, Digest)>,
    learnt: Vec<(u64, Crc32)>,
}

impl BlockRun {
    /// Notes that a piece was read, of a file of `size` bytes: the digest of what is before it, and with it. One that is no piece
    /// of a single block teaches nothing.
    pub(super) fn saw(&mut self, piece: Range<u64>, before: Digest, after: &Digest, size: u64) {
        let block = piece.start / CRC_BLOCK_BYTES;
        let open = self.open.take().filter(|(at, _)| *at == piece.start).map(|(_, before)| before);
        let is_first = piece.start.is_multiple_of(CRC_BLOCK_BYTES);
        // Elsewhere it began in the middle.
        let Some(before) = open.or(is_first.then_some(before)) else { return };
        if piece.is_empty() || (piece.end - 1) / CRC_BLOCK_BYTES != block {
            return;
        }
        if piece.end.is_multiple_of(CRC_BLOCK_BYTES) || piece.end == size {
            self.learnt.push((block, after.since(&before)));
        } else {
            self.open = Some((piece.end, before));
        }
    }

    /// Returns how many were learnt and not taken.
    pub(super) fn learnt(&self) -> usize {
        self.learnt.len()
    }

    /// Takes what was learnt.
    pub(super) fn take(&mut self) -> Vec<(u64, Crc32)> {
        std::mem::take(&mut self.learnt)
    }
}

/// Learns the CRCs of all blocks of an upload, from the chunks that are written.
#[derive(Debug, Default)]
pub(super) struct UploadRun {
    /// Of all whole blocks up to here.
    blocks: Vec<Crc32>,
    /// Of the block that is under way.
    open: Digest,
    /// A chunk that was written before the one in front of it.
    early: Option<(u64, u64, Crc32)>,
    /// Something can't be known.
    is_lost: bool,
}

impl UploadRun {
    /// Notes that a chunk was written: where it begins, its length and its CRC. It lies in one block.
    pub(super) fn wrote(&mut self, at: u64, bytes: u64, crc: Crc32) {
        if bytes == 0 || self.is_lost {
            return;
        }
        let end = self.blocks.len() as u64 * CRC_BLOCK_BYTES + self.open.bytes();
        if at != end {
            // Two writes may be under way, and either may be the first; more is none of ours.
            self.is_lost = at < end || self.early.replace((at, bytes, crc)).is_some();
            return;
        }
        if self.open.bytes() + bytes > CRC_BLOCK_BYTES || self.blocks.len() == UPLOAD_BLOCKS {
            self.is_lost = true;
            return;
        }
        self.open.append(crc, bytes);
        if self.open.bytes() == CRC_BLOCK_BYTES {
            self.blocks.push(std::mem::take(&mut self.open).crc());
        }
        if let Some((at, bytes, crc)) = self.early.take() {
            self.wrote(at, bytes, crc);
        }
    }

    /// Takes the CRCs of the blocks of the whole upload, if all are known and together are that of the whole.
    pub(super) fn take(&mut self, size: u64, crc: Crc32) -> Option<Vec<Crc32>> {
        let UploadRun { mut blocks, open, early, is_lost } =
            std::mem::replace(self, UploadRun { is_lost: true, ..UploadRun::default() });
        let mut whole = Digest::new();
        blocks.iter().for_each(|crc| whole.append(*crc, CRC_BLOCK_BYTES));
        whole.append(open.crc(), open.bytes());
        blocks.extend((open.bytes() > 0).then(|| open.crc()));
        (!is_lost && early.is_none() && (whole.bytes(), whole.crc()) == (size, crc)).then_some(blocks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_known_by_all_that_tells_it_from_others() {
        let mut cache = CrcCache::new(1 << 20);
        let one = Version::of_a_test(1, 3 * CRC_BLOCK_BYTES + 5);
        assert_eq!(cache.put(one, 3, Crc32(7)), None);
        assert_eq!((cache.get(one, 3), cache.get(one, 2), cache.get(one, 99)), (Some(Crc32(7)), None, None));
        for other in [
            Version { device: 2, ..one },
            Version { inode: 2, ..one },
            Version { size: one.size + 1, ..one },
            Version { modified: (1, 3), ..one },
            Version { changed: (3, 5), ..one },
        ] {
            assert_eq!(cache.get(other, 3), None, "{other:?}");
        }
        assert_eq!(cache.put(one, 3, Crc32(7)), None, "the same again");
        assert_eq!(cache.put(one, 3, Crc32(8)), Some(Crc32(7)), "another one is told");
        assert_eq!(cache.get(one, 3), Some(Crc32(8)));
    }

    #[test]
    fn a_file_larger_than_the_memory_is_remembered_in_part() {
        let size = 1000 * GROUP_BLOCKS * CRC_BLOCK_BYTES;
        // Some 470 bytes a group.
        let mut cache = CrcCache::new(1700);
        for block in 0..10 * GROUP_BLOCKS {
            cache.put(Version::of_a_test(1, size), block, Crc32(block as u32));
        }
        let known = (0..10 * GROUP_BLOCKS).filter(|block| cache.get(Version::of_a_test(1, size), *block).is_some());
        assert_eq!(known.count() as u64, 3 * GROUP_BLOCKS);
        assert!(cache.bytes() <= 1700, "{} bytes", cache.bytes());
        // The last group of a file has as many blocks as the file has there.
        let key = GroupKey { version: Version::of_a_test(1, size - CRC_BLOCK_BYTES), group: 999 };
        assert_eq!(key.blocks() as u64, GROUP_BLOCKS - 1);
    }

    /// Reads `range` of a file of `size` zeros in pieces, and returns what is learnt.
    fn learnt(range: Range<u64>, pieces: &[u64], size: u64) -> Vec<(u64, Crc32)> {
        let (mut run, mut digest, mut at) = (BlockRun::default(), Digest::new(), range.start);
        for piece in pieces.iter().cycle() {
            let end = range.end.min(at + piece).min((at / CRC_BLOCK_BYTES + 1) * CRC_BLOCK_BYTES);
            if at == end {
                break;
            }
            let before = digest.clone();
            digest.update(&vec![0; (end - at) as usize]);
            run.saw(at..end, before, &digest, size);
            at = end;
        }
        run.take()
    }

    #[test]
    fn blocks_are_learnt_however_they_are_read() {
        let (block, size) = (CRC_BLOCK_BYTES, 2 * CRC_BLOCK_BYTES + 9);
        let [whole, tail] = [block, 9].map(|bytes| Crc32::of(&vec![0; bytes as usize]));
        for pieces in [&[block][..], &[block / 4], &[1000, block / 3]] {
            assert_eq!(learnt(0..size, pieces, size), [(0, whole), (1, whole), (2, tail)], "{pieces:?}");
            assert_eq!(learnt(5..size, pieces, size), [(1, whole), (2, tail)], "{pieces:?}");
            assert_eq!(learnt(0..size - 1, pieces, size), [(0, whole), (1, whole)], "{pieces:?}");
            assert_eq!(learnt(block + 1..2 * block, pieces, size), [], "{pieces:?}");
        }
    }

    #[test]
    fn what_is_read_with_gaps_teaches_nothing() {
        let (half, zeros) = (CRC_BLOCK_BYTES / 2, vec![0; CRC_BLOCK_BYTES as usize]);
        let [first, second] = [half, 2 * half].map(|bytes| {
            let mut digest = Digest::new();
            digest.update(&zeros[..bytes as usize]);
            digest
        });
        let mut run = BlockRun::default();
        run.saw(0..half, Digest::new(), &first, 1 << 30);
        run.saw(half + 1..2 * half, first.clone(), &second, 1 << 30);
        assert_eq!(run.learnt(), 0, "a gap");
        run.saw(half..3 * half, first, &second, 1 << 30);
        assert_eq!(run.learnt(), 0, "a piece of two blocks");
    }

    /// Returns how many blocks are known of an upload of these chunks, written in this order.
    fn uploaded(chunks: &[(u64, u64)]) -> Option<usize> {
        let mut run = UploadRun::default();
        let size = chunks.iter().map(|(at, bytes)| at + bytes).max().unwrap_or_default();
        for (at, bytes) in chunks {
            run.wrote(*at, *bytes, Crc32::of(&vec![0; *bytes as usize]));
        }
        run.take(size, Crc32::of(&vec![0; size as usize])).map(|blocks| blocks.len())
    }

    #[test]
    fn an_upload_is_known_if_each_of_its_bytes_came_once() {
        let half = CRC_BLOCK_BYTES / 2;
        assert_eq!(uploaded(&[(0, half), (half, half), (2 * half, 5)]), Some(2));
        assert_eq!(uploaded(&[(half, half), (0, half), (2 * half, 0)]), Some(1), "either write may be the first");
        assert_eq!(uploaded(&[(half, half), (2 * half, 5)]), None, "it began before");
        assert_eq!(uploaded(&[(0, half), (0, half), (half, half)]), None, "twice");
        assert_eq!(uploaded(&[(0, half - 1), (half - 1, half + 2)]), None, "across blocks");
        let mut run = UploadRun::default();
        run.wrote(0, 1, Crc32::of(b"a"));
        assert_eq!(run.take(1, Crc32::of(b"b")), None, "the whole has another CRC");
        assert_eq!(run.take(0, Crc32::EMPTY), None, "taken once");
    }
}
