//! Contents of small files that are asked for again and again, by version. Pure: no file and no clock.
//!
//! As of a CRC (`crcs`), who puts a content in has proved that its version can't change without another identity.

use std::sync::Arc;

use ferry_wire::{Crc32, Tag, limits::MAX_TOKEN_BYTES};

use super::{bounded::Bounded, crcs::Version};

/// Sets of places for versions that were asked for once, and how many places each has: where there is one alone, two versions
/// that share it are never seen twice. 256 KiB in all, and no more than a quarter of the memory.
const SEEN_SETS: usize = 16 << 10;
const SEEN_PLACES: usize = 4;
const SET_BYTES: usize = SEEN_PLACES * size_of::<u32>();

/// Taken for the memory of a tag, and for what the counts of a content and a tag take that are shared.
const TAG_BYTES: usize = MAX_TOKEN_BYTES + 32;

/// Of what is to come in while there is no room, one in so many does: a set of files that is larger than the memory would
/// push itself out, each file before it is asked for again.
const LET_IN: u32 = 8;

/// The content of a version.
#[derive(Debug)]
pub(super) struct Cached {
    pub(super) bytes: Arc<[u8]>,
    /// The CRC that it had when it was taken in.
    pub(super) crc: Crc32,
    /// The lasting tag of the version.
    pub(super) tag: Tag,
}

/// See the [module documentation](self).
#[derive(Debug)]
pub(super) struct Contents {
    cached: Bounded<Version, Cached>,
    /// A part of the hashes of the versions that were seen in each set, the last one first. Empty until the first.
    seen: Box<[[u32; SEEN_PLACES]]>,
    sets: usize,
    /// How many were turned away.
    turned_away: u32,
}

impl Contents {
    /// Returns an empty one that takes at most `limit` bytes of memory; with 0 nothing is.
    pub(super) fn new(limit: u64) -> Contents {
        let mut contents = Contents { cached: Bounded::new(0), seen: Box::default(), sets: 0, turned_away: 0 };
        contents.set_limit(limit);
        contents
    }

    pub(super) fn set_limit(&mut self, limit: u64) {
        let most = usize::try_from(limit).unwrap_or(usize::MAX) / SET_BYTES / 4;
        self.sets = SEEN_SETS.min(most);
        self.seen = Box::default();
        self.cached.set_limit(limit - (self.sets * SET_BYTES) as u64);
    }

    /// Returns the memory that it takes, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.cached.bytes() + size_of_val(&*self.seen) as u64
    }

    /// Returns the content of a version, if it is there.
    pub(super) fn get(&mut self, version: &Version) -> Option<&Cached> {
        self.cached.get(version).map(|cached| &*cached)
    }

    /// Returns whether it is worth caching a version of so many bytes that was just read: one that was read before, not
    /// long ago.
    pub(super) fn wants(&mut self, version: &Version) -> bool {
        if self.sets == 0 {
            return false;
        }
        if self.seen.is_empty() {
            self.seen = vec![[0; SEEN_PLACES]; self.sets].into();
        }
        let hash = version.hash();
        // The lower half chooses the set, the upper one tells who was there.
        let (set, mark) = (&mut self.seen[hash as usize % self.sets], (hash >> 32) as u32 | 1);
        if !set.contains(&mark) {
            set.rotate_right(1);
            set[0] = mark;
            return false;
        }
        let bytes = usize::try_from(version.size()).unwrap_or(usize::MAX / 4);
        if self.cached.is_full_for(bytes + TAG_BYTES) {
            self.turned_away = self.turned_away.wrapping_add(1);
            return self.turned_away.is_multiple_of(LET_IN);
        }
        true
    }

    /// Takes in the whole content of a version, whose lasting tag this is.
    pub(super) fn put(&mut self, version: Version, tag: &Tag, content: &[u8]) {
        assert_eq!(content.len() as u64, version.size(), "a content that is not whole");
        let cached = || Cached { bytes: content.into(), crc: Crc32::of(content), tag: tag.clone() };
        self.cached.insert(version, content.len() + TAG_BYTES, cached);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(inode: u64) -> Version {
        Version::of_a_test(inode, 5)
    }

    fn tag() -> Tag {
        Tag::new("tag").unwrap()
    }

    #[test]
    fn a_content_is_cached_when_its_version_is_asked_for_again() {
        let mut contents = Contents::new(1 << 20);
        assert!(!contents.wants(&version(1)) && contents.wants(&version(1)));
        contents.put(version(1), &tag(), b"hello");
        let cached = contents.get(&version(1)).unwrap();
        assert_eq!((&*cached.bytes, cached.crc, &cached.tag), (&b"hello"[..], Crc32::of(b"hello"), &tag()));
        assert!(contents.get(&version(2)).is_none());
        contents.set_limit(0);
        assert!(!contents.wants(&version(1)) && !contents.wants(&version(1)));
        assert!(contents.get(&version(1)).is_none());
        assert_eq!(contents.bytes(), 0);
    }

    #[test]
    fn files_do_not_keep_each_other_out() {
        let mut contents = Contents::new(16 << 20);
        for _ in 0..2 {
            for inode in 0..10_000 {
                if contents.wants(&version(inode)) {
                    contents.put(version(inode), &tag(), b"hello");
                }
            }
        }
        assert!(contents.cached.len() > 9_900, "{} of 10,000", contents.cached.len());
    }

    #[test]
    fn a_set_that_is_larger_than_the_memory_is_cached_in_part() {
        const MEMORY: u64 = 160 << 10;
        let mut contents = Contents::new(MEMORY);
        let mut hits = 0;
        for round in 0..20 {
            for inode in 0..2000 {
                if contents.get(&version(inode)).is_some() {
                    hits += u32::from(round >= 10);
                } else if contents.wants(&version(inode)) {
                    contents.put(version(inode), &tag(), b"hello");
                }
                assert!(contents.bytes() <= MEMORY);
            }
        }
        let cached = contents.cached.len() as u32;
        assert!(hits >= 10 * cached / 4, "{hits} hits with {cached} cached");
    }
}
