//! The sharing of one upload's bytes between connections: pure.
//!
//! One connection, the *holder*, sends the file from its front. Others send parts of the rest, from its end backwards, so that the
//! two meet where their rates say. When the front has come to parts that are there up to the end, the upload is whole.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use ferry_wire::{Crc32, Digest};

use super::super::pieces::Piece;

/// Parts that are there and do not touch, or are on their way, at most: a server takes 48 of each.
const MOST_APART: usize = 40;
const MOST_UNDER_WAY: usize = 40;

/// Where parts begin, if that can be: the server's disk has pages, and more than one byte at once.
const ALIGNMENT: u64 = 64 << 10;

/// The next step of the holder.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Front {
    /// To send so many bytes from the front on.
    Send(u64),
    /// To end the upload. Parts have the rest, which may be empty: so many bytes of this CRC.
    Whole(u64, Crc32),
    /// To wait for others, who send what is missing.
    Wait,
    /// To wait, and not for long: the server has bytes of which nobody knows who has sent them.
    Doubt,
}

/// The bytes of one upload. Connections are named by numbers that never come again.
///
/// Each byte of the file is in exactly one of five places: before the front, in the rest that was never taken, in a
/// part that is on its way, in one that was given back, or in one that is there.
#[derive(Debug)]
pub(super) struct Parts {
    size: u64,
    /// The holder has sent all before, or is about to.
    front: u64,
    /// The end of the rest, which begins at the front.
    back: u64,
    under_way: Vec<(Sender, Piece)>,
    /// Lengths by offset, and whether the server may have it all the same: who had taken it was not answered. Those that touch
    /// are one, if both are so or neither.
    given_back: BTreeMap<u64, (u64, bool)>,
    /// Length and CRC by offset; those that touch and whose CRCs are known are one.
    there: BTreeMap<u64, (u64, Option<Crc32>)>,
    /// The holder sends all that is left, and nobody else anything.
    is_passed: bool,
    /// Where parts began that were taken from who did not move.
    robbed: BTreeSet<u64>,
    /// Holes, in order: nothing of them is to be sent, so each is sent as a whole, and nothing else with it.
    holes: Vec<Range<u64>>,
}

/// The connection that sends a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sender {
    Hand(usize),
    /// The server says that it has the bytes; whose they are is not known.
    Unknown,
}

impl Parts {
    /// Of a file of `size` bytes, of which the server has the first `front` and those of `told`, in order.
    pub(super) fn new(size: u64, front: u64, told: &[Range<u64>]) -> Parts {
        let mut parts = Parts {
            size,
            front,
            back: told.first().map_or(size, |first| first.start),
            under_way: Vec::new(),
            given_back: BTreeMap::new(),
            there: BTreeMap::new(),
            is_passed: false,
            robbed: BTreeSet::new(),
            holes: Vec::new(),
        };
        let ends = told.iter().skip(1).map(|next| next.start).chain([size]);
        for (Range { start, end }, next) in told.iter().zip(ends) {
            parts.there.insert(*start, (end - start, None));
            parts.give_back(*end..next, false);
        }
        parts
    }

    /// Has each of these holes sent as a whole; they are in order.
    pub(super) fn with_holes(self, holes: Vec<Range<u64>>) -> Parts {
        debug_assert!(holes.is_sorted_by(|one, next| one.end <= next.start), "{holes:?}");
        Parts { holes, ..self }
    }

    /// Returns the range that the byte at `offset` is in: a hole, or what is between two; and whether it is a hole.
    fn extent_at(&self, offset: u64) -> (Range<u64>, bool) {
        let at = self.holes.partition_point(|hole| hole.end <= offset);
        let before = at.checked_sub(1).map_or(0, |before| self.holes[before].end);
        match self.holes.get(at) {
            Some(hole) if hole.start <= offset => (hole.clone(), true),
            Some(hole) => (before..hole.start, false),
            None => (before..self.size, false),
        }
    }

    /// Returns the holder's next step, which moves the front if it is to send: at most `longest` bytes, or a hole.
    pub(super) fn advance(&mut self, longest: u64) -> Front {
        let longest = match self.extent_at(self.front) {
            (hole, true) => hole.end - self.front,
            (data, false) => longest.min(data.end - self.front).max(1),
        };
        if self.front < self.back {
            let bytes = longest.min(self.back - self.front);
            self.front += bytes;
            return Front::Send(bytes);
        }
        // The server may have joined what is in doubt with parts behind it, and would drop these as well.
        if let Some((length, false)) = self.given_back.get(&self.front).copied() {
            self.given_back.remove(&self.front);
            let bytes = longest.min(length);
            self.front += bytes;
            self.back = self.front;
            self.give_back(self.front..self.front + length - bytes, false);
            return Front::Send(bytes);
        }
        match self.rest() {
            Some(rest) => Front::Whole(rest.bytes(), rest.crc()),
            None if self.is_in_doubt() => Front::Doubt,
            None => Front::Wait,
        }
    }

    /// The digest of what comes after the front, where parts have all of it.
    fn rest(&self) -> Option<Digest> {
        let mut rest = Digest::new();
        for (offset, (length, crc)) in self.there.range(self.front..) {
            if *offset != self.front + rest.bytes() {
                return None;
            }
            rest.append((*crc)?, *length);
        }
        (self.front + rest.bytes() == self.size).then_some(rest)
    }

    /// Whether the server may know more of what is missing than this side does.
    pub(super) fn has_doubts(&self) -> bool {
        !self.under_way.is_empty() || self.given_back.values().any(|(_, in_doubt)| *in_doubt)
    }

    /// Whether all that is missing are parts of which the server says that it has bytes.
    fn is_in_doubt(&self) -> bool {
        let mut senders = self.under_way.iter().map(|under_way| under_way.0);
        !self.under_way.is_empty() && self.left() == 0 && senders.all(|sender| sender == Sender::Unknown)
    }

    /// Has the holder send all that comes after its front. Returns how many bytes of that are lost that were there: the server
    /// drops parts as the holder's bytes come to them, together with what touches them.
    pub(super) fn pass(&mut self) -> u64 {
        let lost = self.there.values().map(|part| part.0).sum();
        self.there.clear();
        self.under_way.clear();
        self.given_back.clear();
        self.back = self.size;
        self.is_passed = true;
        lost
    }

    /// Takes a part for `hand`, of at most `longest` bytes, or a hole: the last that nobody has.
    pub(super) fn take(&mut self, hand: usize, longest: u64) -> Option<Piece> {
        let (offset, end) = self.last_free()?;
        let piece = |start| Piece { offset: start, length: end - start };
        let (extent, is_hole) = self.extent_at(end - 1);
        let first = if is_hole { 0 } else { end.saturating_sub(longest.max(1)) };
        let start = first.max(extent.start).max(offset);
        let aligned = start.next_multiple_of(ALIGNMENT);
        let piece = if aligned < end && start > offset.max(extent.start) { piece(aligned) } else { piece(start) };
        match self.given_back.get_mut(&offset) {
            Some((length, _)) if piece.offset > offset => *length -= piece.length,
            Some(_) => drop(self.given_back.remove(&offset)),
            None => self.back = piece.offset,
        }
        self.under_way.push((Sender::Hand(hand), piece));
        Some(piece)
    }

    /// The last range that others than the holder may take from, if any may be taken now.
    fn last_free(&self) -> Option<(u64, u64)> {
        let given_back = self.given_back.last_key_value().map(|(offset, (length, _))| (*offset, offset + length));
        let rest = (self.front < self.back).then_some((self.front, self.back));
        let (offset, end) = given_back.or(rest).filter(|_| !self.is_passed)?;
        let is_apart = !self.there.contains_key(&end);
        let has_room = self.under_way.len() < MOST_UNDER_WAY
            && (!is_apart || self.there.len() + self.under_way.len() < MOST_APART);
        has_room.then_some((offset, end))
    }

    /// Returns whether there is anything for others than the holder.
    pub(super) fn has_work(&self) -> bool {
        self.last_free().is_some()
    }

    /// The server has written a part. False, and nothing has changed, where the holder has sent over it.
    pub(super) fn done(&mut self, piece: Piece, crc: Crc32) -> bool {
        let range = piece.offset..piece.offset + piece.length;
        let before = self.there.range(..range.end).next_back().map_or(0, |(offset, (length, _))| offset + length);
        if self.is_passed || range.start < self.front.max(before) {
            return false;
        }
        // It may have been taken from who sent it: then others may have parts of it, which are refused or dropped.
        for (_, other) in self.under_way.extract_if(.., |(_, other)| overlap(*other, piece)).collect::<Vec<_>>() {
            self.give_back(other.offset..other.offset + other.length, true);
        }
        let before = self
            .given_back
            .range(..range.end)
            .map(|(offset, (length, in_doubt))| (*offset, offset + length, *in_doubt));
        for (start, end, in_doubt) in before.filter(|free| free.1 > range.start).collect::<Vec<_>>() {
            self.given_back.remove(&start);
            self.give_back(start..range.start.min(end), in_doubt);
            self.give_back(range.end.max(start)..end, in_doubt);
        }
        self.note_there(piece, crc);
        true
    }

    /// The CRC of a part that the server had before is this.
    pub(super) fn know(&mut self, piece: Piece, crc: Crc32) {
        if self.there.get(&piece.offset) == Some(&(piece.length, None)) {
            self.there.remove(&piece.offset);
            self.note_there(piece, crc);
        }
    }

    /// Adds a part that is there to those that it touches.
    fn note_there(&mut self, Piece { mut offset, length }: Piece, crc: Crc32) {
        let mut whole = Digest::resume(crc, length);
        if let Some((before, (length, Some(crc)))) =
            self.there.range(..offset).next_back().map(|(at, part)| (*at, *part))
            && before + length == offset
        {
            let mut joined = Digest::resume(crc, length);
            joined.append(whole.crc(), whole.bytes());
            (offset, whole) = (before, joined);
        }
        let end = offset + whole.bytes();
        if let Some((length, Some(crc))) = self.there.get(&end).copied() {
            self.there.remove(&end);
            whole.append(crc, length);
        }
        self.there.insert(offset, (whole.bytes(), Some(whole.crc())));
    }

    /// The server has refused a part that `hand` has taken: anybody may take it.
    pub(super) fn failed(&mut self, hand: usize, piece: Piece) {
        self.release(|under_way| *under_way == (Sender::Hand(hand), piece), false);
    }

    /// The server says that it has bytes of a part that `hand` has taken: whoever has sent them will be told so, or the holder
    /// sends over them.
    pub(super) fn is_somewhere(&mut self, hand: usize, piece: Piece) {
        for under_way in &mut self.under_way {
            if *under_way == (Sender::Hand(hand), piece) {
                under_way.0 = Sender::Unknown;
            }
        }
    }

    /// Takes all from `hand`, for anybody to take.
    pub(super) fn leave(&mut self, hand: usize) {
        self.release(|under_way| under_way.0 == Sender::Hand(hand), true);
    }

    /// Takes the parts from `hand`, which does not move, for anybody to take; each once, or one that nobody can send in good
    /// time would be sent again and again.
    pub(super) fn rob(&mut self, hand: usize) {
        let slow = self.under_way.iter().filter(|under_way| under_way.0 == Sender::Hand(hand));
        let slow: Vec<_> = slow.map(|(_, piece)| *piece).collect();
        for piece in slow {
            if self.robbed.insert(piece.offset) {
                self.release(|under_way| *under_way == (Sender::Hand(hand), piece), true);
            }
        }
    }

    fn release(&mut self, which: impl Fn(&(Sender, Piece)) -> bool, in_doubt: bool) {
        for (_, piece) in self.under_way.extract_if(.., |under_way| which(under_way)).collect::<Vec<_>>() {
            self.give_back(piece.offset..piece.offset + piece.length, in_doubt);
        }
    }

    /// A range is for anybody again.
    fn give_back(&mut self, Range { mut start, mut end }: Range<u64>, in_doubt: bool) {
        if start >= end {
            return;
        }
        let before = self.given_back.range(..start).next_back().map(|(at, (length, doubt))| (*at, at + length, *doubt));
        if let Some((before, ..)) = before.filter(|before| (before.1, before.2) == (start, in_doubt)) {
            start = before;
        }
        if let Some((length, doubt)) = self.given_back.get(&end).copied()
            && doubt == in_doubt
        {
            self.given_back.remove(&end);
            end += length;
        }
        self.given_back.insert(start, (end - start, in_doubt));
    }

    /// Returns whether `hand` still has this part.
    pub(super) fn has(&self, hand: usize, piece: Piece) -> bool {
        self.under_way.contains(&(Sender::Hand(hand), piece))
    }

    /// Returns the bytes that nobody has taken.
    pub(super) fn left(&self) -> u64 {
        self.back - self.front.min(self.back) + self.given_back.values().map(|part| part.0).sum::<u64>()
    }

    /// Returns the bytes that are behind the front or in parts that are there.
    pub(super) fn sent(&self) -> u64 {
        self.front + self.there.values().map(|part| part.0).sum::<u64>()
    }
}

fn overlap(one: Piece, other: Piece) -> bool {
    one.offset < other.offset + other.length && other.offset < one.offset + one.length
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small generator of its own: seeds have to mean the same for ever.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, limit: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % limit
        }
    }

    /// Each byte is in one place.
    fn check(parts: &Parts) {
        let mut ranges = vec![(0, parts.front), (parts.front.min(parts.back), parts.back.saturating_sub(parts.front))];
        ranges.retain(|range| range.1 > 0);
        ranges.extend(parts.there.iter().map(|(offset, part)| (*offset, part.0)));
        ranges.extend(parts.under_way.iter().map(|(_, piece)| (piece.offset, piece.length)));
        ranges.extend(parts.given_back.iter().map(|(offset, (length, _))| (*offset, *length)));
        ranges.sort_unstable();
        let end = ranges.iter().fold(0, |end, (offset, length)| {
            assert_eq!(end, *offset, "{parts:?}");
            offset + length
        });
        assert_eq!(end, parts.size, "{parts:?}");
    }

    /// A server, as PROTOCOL.md says: who has sent each byte, if anybody has, and which are parts that are there.
    struct Server {
        reach: u64,
        whole: Vec<Range<u64>>,
        open: Vec<(usize, Range<u64>)>,
    }

    /// The outcome of a part, as its connection hears it.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Said {
        Done,
        Changed,
        BadRange,
    }

    impl Server {
        fn hold(&mut self, end: u64) {
            self.reach = end;
            self.whole.retain(|part| part.start >= end);
            self.open.retain(|(_, part)| part.start >= end);
        }

        fn begin(&mut self, number: usize, part: &Range<u64>) -> bool {
            let overlaps = |other: &Range<u64>| other.start < part.end && part.start < other.end;
            if part.start < self.reach || self.whole.iter().any(overlaps) {
                return false;
            }
            self.open.retain(|(_, other)| !overlaps(other));
            self.open.push((number, part.clone()));
            true
        }

        fn end(&mut self, number: usize) -> Said {
            let Some(at) = self.open.iter().position(|open| open.0 == number) else { return Said::Changed };
            let (_, mut part) = self.open.swap_remove(at);
            // Those that touch are one.
            for _ in 0..2 {
                if let Some(at) = self.whole.iter().position(|other| other.end == part.start || part.end == other.start)
                {
                    let other = self.whole.swap_remove(at);
                    part = part.start.min(other.start)..part.end.max(other.end);
                }
            }
            self.whole.push(part);
            Said::Done
        }
    }

    /// A part on its way: what the server says of it may be heard late.
    struct OnItsWay {
        number: usize,
        hand: usize,
        piece: Piece,
        said: Option<Said>,
    }

    /// Four connections, which come and go, are robbed and are late, and a holder that now and then sends over all.
    fn run(seed: u64) {
        let mut dice = Dice(seed);
        let content: Vec<u8> = (0..dice.below(40 * ALIGNMENT / 16)).map(|_| dice.below(256) as u8).collect();
        let (size, crc) =
            (content.len() as u64, |range: Range<u64>| Crc32::of(&content[range.start as usize..range.end as usize]));
        let mut server = Server { reach: dice.below(size + 1), whole: Vec::new(), open: Vec::new() };
        let mut at = server.reach;
        while dice.below(3) > 0 && at < size {
            let start = at + dice.below(size - at);
            let end = start + 1 + dice.below(size - start);
            server.whole.push(start..end);
            at = end + 1;
        }
        let told = server.whole.clone();
        let mut holes: Vec<u64> = (0..2 * dice.below(8)).map(|_| dice.below(size + 1)).collect();
        holes.sort_unstable();
        let holes = holes.chunks(2).map(|ends| ends[0]..ends[1]).filter(|hole| !hole.is_empty()).collect();
        let mut parts = Parts::new(size, server.reach, &told).with_holes(holes);
        let (mut ways, mut number, mut unknown) = (Vec::<OnItsWay>::new(), 0, told);
        for round in 0_u64.. {
            assert!(round < 100_000, "seed {seed}: {parts:?}");
            check(&parts);
            match dice.below(12) {
                0 => {
                    let hand = dice.below(4) as usize;
                    if dice.below(2) == 0 {
                        parts.rob(hand)
                    } else {
                        parts.leave(hand)
                    };
                }
                1..4 => {
                    let hand = dice.below(4) as usize;
                    let had_work = parts.has_work();
                    let Some(piece) = parts.take(hand, 1 + dice.below(3 * ALIGNMENT)) else {
                        assert!(!had_work);
                        continue;
                    };
                    assert!(had_work && parts.has(hand, piece));
                    number += 1;
                    let said =
                        (!server.begin(number, &(piece.offset..piece.offset + piece.length))).then_some(Said::BadRange);
                    ways.push(OnItsWay { number, hand, piece, said });
                }
                4..7 if !ways.is_empty() => {
                    let at = dice.below(ways.len() as u64) as usize;
                    let way = &mut ways[at];
                    if way.said.is_none() {
                        way.said = Some(server.end(way.number));
                        continue;
                    }
                    let OnItsWay { hand, piece, said, .. } = ways.swap_remove(at);
                    match said {
                        Some(Said::Done) => drop(parts.done(piece, crc(piece.offset..piece.offset + piece.length))),
                        Some(Said::BadRange) => parts.is_somewhere(hand, piece),
                        _ => parts.failed(hand, piece),
                    }
                }
                7 if !unknown.is_empty() => {
                    let range = unknown.swap_remove(0);
                    parts.know(Piece { offset: range.start, length: range.end - range.start }, crc(range));
                }
                8..11 => match parts.advance(1 + dice.below(ALIGNMENT)) {
                    Front::Send(bytes) => {
                        assert!(bytes > 0);
                        server.hold(parts.front);
                    }
                    Front::Whole(bytes, rest) => {
                        let front = parts.front;
                        assert_eq!((front + bytes, rest), (size, crc(front..size)), "seed {seed}");
                        assert_eq!(parts.sent(), size);
                        assert!(!parts.has_work() && parts.left() == 0);
                        let end = server
                            .whole
                            .iter()
                            .find(|part| part.start == server.reach)
                            .map_or(server.reach, |part| part.end);
                        assert_eq!(end, size, "seed {seed}: the server has not all, {parts:?}");
                        return;
                    }
                    Front::Wait | Front::Doubt => {}
                },
                // Asked, the server tells what it has, and what is under way is over.
                11 if dice.below(8) == 0 && parts.has_doubts() => {
                    server.open.clear();
                    ways.clear();
                    server.whole.sort_unstable_by_key(|part| part.start);
                    unknown = server.whole.clone();
                    parts = Parts::new(size, server.reach, &unknown).with_holes(parts.holes);
                }
                11 if dice.below(8) == 0 && !parts.has_doubts() => drop(parts.pass()),
                _ => {}
            }
            server.hold(parts.front);
        }
    }

    #[test]
    fn a_hole_is_a_part_of_its_own_however_long_it_is() {
        const TIB: u64 = 1 << 40;
        let (first, second) = (ALIGNMENT..TIB / 2, TIB / 2 + 3 * ALIGNMENT..TIB);
        let mut parts = Parts::new(TIB, 0, &[]).with_holes(vec![first.clone(), second.clone()]);
        let piece = |range: Range<u64>| Piece { offset: range.start, length: range.end - range.start };
        assert_eq!(parts.take(1, 2 * ALIGNMENT), Some(piece(second.clone())));
        assert_eq!(parts.take(1, 2 * ALIGNMENT), Some(piece(TIB / 2 + ALIGNMENT..second.start)));
        assert_eq!(parts.take(2, 2 * ALIGNMENT), Some(piece(first.end..TIB / 2 + ALIGNMENT)));
        // The holder comes to the other one from its front.
        assert_eq!(parts.advance(2 * ALIGNMENT), Front::Send(ALIGNMENT));
        assert_eq!(parts.advance(2 * ALIGNMENT), Front::Send(first.end - first.start));
        assert_eq!(parts.advance(1), Front::Wait);
        check(&parts);
    }

    #[test]
    fn however_they_come_and_go_the_server_has_all_when_it_is_said_to() {
        for seed in 0..500 {
            run(seed);
        }
    }

    #[test]
    fn parts_come_from_the_end_and_the_front_meets_them() {
        let mut parts = Parts::new(10 * ALIGNMENT, 0, &[]);
        assert_eq!(parts.advance(ALIGNMENT), Front::Send(ALIGNMENT));
        let first = parts.take(1, 2 * ALIGNMENT).unwrap();
        assert_eq!((first.offset, first.length), (8 * ALIGNMENT, 2 * ALIGNMENT));
        // Whole pages, and no less than nothing.
        let second = parts.take(2, ALIGNMENT + 5).unwrap();
        assert_eq!((second.offset, second.length), (7 * ALIGNMENT, ALIGNMENT));
        let third = parts.take(2, 5).unwrap();
        assert_eq!((third.offset, third.length), (7 * ALIGNMENT - 5, 5));
        parts.failed(2, third);
        assert_eq!(parts.advance(u64::MAX), Front::Send(6 * ALIGNMENT - 5));
        assert_eq!(parts.advance(u64::MAX), Front::Send(5), "what was given back is the holder's, too");
        assert_eq!(parts.advance(1), Front::Wait);
        assert!(parts.done(first, Crc32(1)) && parts.done(second, Crc32(2)));
        let mut rest = Digest::resume(Crc32(2), ALIGNMENT);
        rest.append(Crc32(1), 2 * ALIGNMENT);
        assert_eq!(parts.advance(1), Front::Whole(rest.bytes(), rest.crc()));
    }

    #[test]
    fn a_part_that_the_server_has_from_nobody_knows_whom_is_asked_about() {
        let mut parts = Parts::new(100, 0, &[]);
        let piece = parts.take(1, 50).unwrap();
        assert_eq!(parts.advance(99), Front::Send(50));
        parts.rob(1);
        assert_eq!(parts.take(2, 50), Some(piece));
        parts.rob(2);
        assert!(!parts.has_work() && parts.has(2, piece), "once");
        parts.is_somewhere(2, piece);
        assert!(!parts.has(2, piece) && !parts.has_work());
        assert_eq!(parts.advance(99), Front::Doubt);
        parts.leave(2);
        assert!(parts.done(piece, Crc32(7)), "who sent it first is heard at last");
        assert_eq!(parts.advance(99), Front::Whole(50, Crc32(7)));
    }

    #[test]
    fn there_are_never_more_than_a_server_takes() {
        let mut parts = Parts::new(1 << 30, 0, &[]);
        let taken: Vec<_> = std::iter::from_fn(|| parts.take(1, ALIGNMENT)).collect();
        assert_eq!(taken.len(), MOST_UNDER_WAY);
        // Every second one is there; more that touch none of these would be too many.
        taken.iter().skip(1).step_by(2).for_each(|piece| assert!(parts.done(*piece, Crc32(0))));
        let more: Vec<_> = std::iter::from_fn(|| parts.take(1, ALIGNMENT)).collect();
        assert!(more.len() < 20 && parts.there.len() + parts.under_way.len() <= MOST_APART + 1, "{}", more.len());
    }
}
