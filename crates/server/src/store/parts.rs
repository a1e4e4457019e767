//! The parts of a resumable upload that other connections than its holder's send: which are whole,
//! and which are under way.
//!
//! The holder's bytes come from the first one on without a gap, up to the *reach*. Parts lie
//! beyond it. They do not overlap: a newer one closes those under way that it overlaps, and none
//! may overlap one that is whole. The holder may send on over parts, which closes and drops them.
//!
//! The journal promises some of the whole ones. Before the holder writes over bytes that it
//! promises, it is to be written without them: see [`Parts::advance`].

use std::ops::Range;

use ferry_wire::{Crc32, Digest};

use super::error::ErrorKind;

/// Parts of one upload that are whole and do not touch each other. Their line in a journal then has room beside the
/// longest name, and so has GO.
pub(super) const MAX_PARTS: usize = 48;

/// Parts of one upload that are under way.
const MAX_OPEN: usize = 48;

/// A part that is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// The first byte.
    pub(super) offset: u64,
    /// How many, at least one.
    pub(super) length: u64,
    pub(super) crc: Crc32,
}

impl Part {
    pub(super) fn end(&self) -> u64 {
        self.offset.saturating_add(self.length)
    }

    fn range(&self) -> Range<u64> {
        self.offset..self.end()
    }

    /// Returns whether a list of parts can be what a journal says: in order, apart, of bytes after `offset` in a file of
    /// `size`, and no more than may be.
    pub(super) fn are_valid(parts: &[Part], offset: u64, size: u64) -> bool {
        let mut end = offset;
        let mut follows = |part: &Part| {
            let is_valid = part.length > 0 && part.offset >= end && part.length <= size.saturating_sub(part.offset);
            end = part.end();
            is_valid
        };
        parts.len() <= MAX_PARTS && parts.iter().all(&mut follows)
    }
}

/// See the [module documentation](self).
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// The holder has written all before, or is about to.
    reach: u64,
    /// In order; those that touch are one.
    whole: Vec<Part>,
    open: Vec<Open>,
    next: u64,
    /// Those that the journal promises.
    noted: Vec<Part>,
}

/// A part that is under way.
#[derive(Debug)]
struct Open {
    number: u64,
    range: Range<u64>,
    /// It touched none that was whole when it began, and may be one more.
    is_apart: bool,
}

fn overlap(one: &Range<u64>, other: &Range<u64>) -> bool {
    one.start < other.end && other.start < one.end
}

impl Parts {
    /// Returns the parts of an upload that goes on after `reach` bytes, where the journal promises `noted`.
    pub(super) fn resumed(reach: u64, noted: Vec<Part>) -> Parts {
        let mut parts = Parts { reach, noted: noted.clone(), ..Parts::default() };
        noted.into_iter().for_each(|part| parts.insert(part));
        parts
    }

    /// Begins a part of a file of `size` bytes, and returns its number. Parts under way that it overlaps are closed.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::BadPart`] where it is of no bytes, ends beyond the file, or overlaps what is there;
    /// [`ErrorKind::TooManyParts`] where there would be more than may be, unless it touches one that is whole.
    pub(super) fn open(&mut self, part: Range<u64>, size: u64) -> Result<u64, ErrorKind> {
        let is_there = part.start < self.reach || self.whole.iter().any(|whole| overlap(&whole.range(), &part));
        if part.is_empty() || part.end > size || is_there {
            return Err(ErrorKind::BadPart);
        }
        let is_apart = !self.whole.iter().any(|whole| whole.end() == part.start || part.end == whole.offset);
        let stay = self.open.iter().filter(|open| !overlap(&open.range, &part));
        let (open, apart) = stay.fold((0, 0), |(open, apart), one| (open + 1, apart + usize::from(one.is_apart)));
        if open >= MAX_OPEN || self.whole.len() + apart + usize::from(is_apart) > MAX_PARTS {
            return Err(ErrorKind::TooManyParts);
        }
        self.open.retain(|open| !overlap(&open.range, &part));
        let number = self.next;
        self.next += 1;
        self.open.push(Open { number, range: part, is_apart });
        Ok(number)
    }

    /// Returns whether a part is under way still.
    pub(super) fn is_open(&self, number: u64) -> bool {
        self.open.iter().any(|open| open.number == number)
    }

    /// Closes a part that will not become whole.
    pub(super) fn close(&mut self, number: u64) {
        self.open.retain(|open| open.number != number);
    }

    /// Closes all that are under way.
    pub(super) fn close_all(&mut self) {
        self.open.clear();
    }

    /// Notes that a part has come whole; false where it was closed before.
    pub(super) fn complete(&mut self, number: u64, crc: Crc32) -> bool {
        let Some(index) = self.open.iter().position(|open| open.number == number) else { return false };
        let Range { start, end } = self.open.swap_remove(index).range;
        self.insert(Part { offset: start, length: end - start, crc });
        true
    }

    fn insert(&mut self, part: Part) {
        let at = self.whole.partition_point(|whole| whole.offset < part.offset);
        self.whole.insert(at, part);
        // With the one after it, then with the one before.
        for first in [at, at.wrapping_sub(1)] {
            if let Some([one, other]) = self.whole.get(first..).and_then(|rest| rest.first_chunk())
                && one.end() == other.offset
            {
                let mut digest = Digest::resume(one.crc, one.length);
                digest.append(other.crc, other.length);
                self.whole[first] = Part { offset: one.offset, length: digest.bytes(), crc: digest.crc() };
                self.whole.remove(first + 1);
            }
        }
        let is_apart = self.whole.windows(2).all(|pair| pair[0].end() < pair[1].offset);
        assert!(is_apart && self.whole.len() <= MAX_PARTS, "parts overlap, or are too many");
    }

    /// Notes that the holder is about to write the bytes before `end`. Returns the parts that the journal is to promise
    /// from now on, where it promises any that are written over: it must say so on the disk first.
    pub(super) fn advance(&mut self, end: u64) -> Option<Vec<Part>> {
        self.reach = self.reach.max(end);
        self.open.retain(|open| open.range.start >= self.reach);
        self.whole.retain(|part| part.offset >= self.reach);
        let stays = |part: &&Part| part.offset >= self.reach;
        let left: Vec<_> = self.noted.iter().filter(stays).cloned().collect();
        (left.len() < self.noted.len()).then_some(left)
    }

    /// Returns the parts that are whole: a sync that begins now brings them to the disk.
    pub(super) fn whole(&self) -> &[Part] {
        &self.whole
    }

    /// Returns those of `synced` over which the holder has not written meanwhile.
    pub(super) fn still_there(&self, synced: Vec<Part>) -> Vec<Part> {
        synced.into_iter().filter(|part| part.offset >= self.reach).collect()
    }

    /// Notes what the journal promises.
    pub(super) fn noted(&mut self, noted: Vec<Part>) {
        self.noted = noted;
    }

    /// Returns the end of all that the journal promises, with `offset` bytes before the parts.
    pub(super) fn noted_end(&self, offset: u64) -> u64 {
        self.noted.last().map_or(offset, |last| last.end().max(offset))
    }

    /// Returns the CRC of a file of `size` bytes, of which `before` are not in parts; [`None`] where parts do not have all
    /// others.
    pub(super) fn join(&self, mut before: Digest, size: u64) -> Option<Crc32> {
        for part in &self.whole {
            if part.offset != before.bytes() {
                return None;
            }
            before.append(part.crc, part.length);
        }
        (before.bytes() == size).then(|| before.crc())
    }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "lists of ranges, of one at times")]
mod tests {
    use super::*;

    const SIZE: u64 = 1000;

    fn bytes() -> Vec<u8> {
        (0..SIZE).map(|byte| (byte * byte % 251) as u8).collect()
    }

    fn crc(range: Range<u64>) -> Crc32 {
        Crc32::of(&bytes()[range.start as usize..range.end as usize])
    }

    fn send(parts: &mut Parts, range: Range<u64>) {
        let number = parts.open(range.clone(), SIZE).unwrap();
        assert!(parts.complete(number, crc(range)));
    }

    fn prefix(bytes: u64) -> Digest {
        Digest::resume(crc(0..bytes), bytes)
    }

    fn ranges(parts: &[Part]) -> Vec<Range<u64>> {
        parts.iter().map(Part::range).collect()
    }

    #[test]
    fn parts_in_any_order_become_one_with_the_crc_of_the_whole() {
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1]] {
            let mut parts = Parts::resumed(100, Vec::new());
            for index in order {
                assert_eq!(parts.join(prefix(100), SIZE), None);
                send(&mut parts, [100..200, 200..550, 550..551, 551..1000][index].clone());
            }
            assert_eq!(ranges(parts.whole()), vec![100..1000]);
            assert_eq!(parts.join(prefix(100), SIZE), Some(crc(0..SIZE)));
            assert_eq!(parts.join(prefix(99), SIZE), None);
        }
    }

    #[test]
    fn what_is_beyond_the_file_or_there_already_is_refused() {
        let mut parts = Parts::resumed(100, Vec::new());
        send(&mut parts, 300..400);
        for part in [0..10, 99..101, 200..301, 399..500, 310..320, 500..500, 990..1001, 2000..3000] {
            assert_eq!(parts.open(part.clone(), SIZE), Err(ErrorKind::BadPart), "{part:?}");
        }
        parts.open(100..300, SIZE).unwrap();
        parts.open(400..1000, SIZE).unwrap();
    }

    #[test]
    fn a_newer_part_closes_those_under_way_that_it_overlaps() {
        let mut parts = Parts::default();
        let [first, second, other] = [100..200, 200..300, 400..500].map(|part| parts.open(part, SIZE).unwrap());
        let newer = parts.open(150..250, SIZE).unwrap();
        assert_eq!([first, second, other, newer].map(|number| parts.is_open(number)), [false, false, true, true]);
        assert!(!parts.complete(first, crc(100..200)));
        parts.close(first);
        assert!(parts.complete(newer, crc(150..250)));
        assert_eq!(ranges(parts.whole()), vec![150..250]);
    }

    #[test]
    fn there_are_never_more_than_may_be() {
        let mut parts = Parts::default();
        for part in 0..MAX_PARTS as u64 {
            let number = parts.open(2 * part..2 * part + 1, SIZE).unwrap();
            if part % 2 == 0 {
                parts.complete(number, Crc32(0));
            }
        }
        assert_eq!(parts.open(900..901, SIZE), Err(ErrorKind::TooManyParts));
        // One in the place of another that is under way is no more than before, nor is one that touches another.
        parts.open(2..3, SIZE).unwrap();
        send(&mut parts, 1..2);
        // That one may go meanwhile.
        let number = parts.open(93..94, SIZE).unwrap();
        parts.advance(93);
        assert!(parts.complete(number, Crc32(0)));
        assert_eq!(ranges(parts.whole()), vec![93..94]);
        parts.open(900..901, SIZE).unwrap();
        assert!((0..1000).map_while(|part| parts.open(100 + part..101 + part, SIZE).ok()).count() < MAX_OPEN);
    }

    #[test]
    fn bytes_of_the_holder_close_and_drop_parts_and_the_journal_is_told_of_those_it_promised() {
        let noted = vec![Part { offset: 200, length: 100, crc: crc(200..300) }];
        let mut parts = Parts::resumed(100, noted.clone());
        send(&mut parts, 400..500);
        let open = parts.open(500..600, SIZE).unwrap();
        assert_eq!(parts.advance(200), None);
        assert_eq!(parts.advance(201), Some(Vec::new()), "it is promised");
        parts.noted(Vec::new());
        assert_eq!(parts.advance(401), None, "it was never promised");
        assert!(parts.whole().is_empty() && parts.is_open(open));
        assert_eq!(parts.still_there(noted), Vec::new());
        parts.advance(501);
        assert!(!parts.is_open(open));
        assert_eq!(parts.open(400..450, SIZE), Err(ErrorKind::BadPart));
    }
}
