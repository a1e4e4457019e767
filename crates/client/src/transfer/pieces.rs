//! Decides which connection moves which piece of one file: pure, for every direction.
//!
//! A file that several connections share is cut into pieces as they are taken, so that each takes what it moves in a
//! moment. A piece comes to an end with its CRC, or is given back, and taken by another. When all are taken, one connection
//! takes the last step, which need not wait for the others' pieces: the server's word for the whole.

use std::collections::{BTreeMap, BTreeSet};

use ferry_wire::{Crc32, Digest};

/// A range of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// The work on a file that one connection takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// To move these bytes.
    Move(Piece),
    /// All bytes are there, or on their way: to ask for what the whole has to be.
    Close,
}

/// The pieces of one file. Connections are named by numbers that never come again.
///
/// Each byte of the file is in exactly one of five places: the front, a piece ahead of it, a piece that is taken, a
/// piece that was given back, or the rest that was never taken.
#[derive(Debug)]
pub(super) struct Pieces {
    size: u64,
    /// The bytes that are there from the first one on, without a gap.
    front: Digest,
    /// Pieces that are there behind a gap: length and CRC by offset.
    ahead: BTreeMap<u64, (u64, Crc32)>,
    taken: Vec<(usize, Piece)>,
    /// Lengths by offset.
    given_back: BTreeMap<u64, u64>,
    /// Where the rest begins.
    rest: u64,
    /// Where pieces began that were taken from who did not move.
    robbed: BTreeSet<u64>,
    /// The connection that takes the last step.
    closer: Option<usize>,
}

impl Pieces {
    /// Of a file of `size` bytes, of which those of `front` are there.
    pub(super) fn new(size: u64, front: Digest) -> Pieces {
        assert!(front.bytes() <= size, "more is there than the file has");
        let rest = front.bytes();
        Pieces {
            size,
            front,
            ahead: BTreeMap::new(),
            taken: Vec::new(),
            given_back: BTreeMap::new(),
            rest,
            robbed: BTreeSet::new(),
            closer: None,
        }
    }

    /// Takes the next step for `hand`: a piece of at most `longest` bytes, the first that nobody has.
    pub(super) fn take(&mut self, hand: usize, longest: u64) -> Option<Step> {
        let longest = longest.max(1);
        let piece = match self.given_back.pop_first() {
            Some((offset, length)) => {
                let piece = Piece { offset, length: length.min(longest) };
                if piece.length < length {
                    self.given_back.insert(offset + piece.length, length - piece.length);
                }
                piece
            }
            None if self.rest < self.size => {
                let piece = Piece { offset: self.rest, length: longest.min(self.size - self.rest) };
                self.rest += piece.length;
                piece
            }
            None => {
                return self.closer.is_none().then(|| {
                    self.closer = Some(hand);
                    Step::Close
                });
            }
        };
        self.taken.push((hand, piece));
        Some(Step::Move(piece))
    }

    /// A piece that `hand` has taken is there. False, and nothing has changed, where it was taken from it meanwhile.
    pub(super) fn done(&mut self, hand: usize, piece: Piece, crc: Crc32) -> bool {
        if !self.remove(hand, piece) {
            return false;
        }
        self.ahead.insert(piece.offset, (piece.length, crc));
        while let Some((length, crc)) = self.ahead.remove(&self.front.bytes()) {
            self.front.append(crc, length);
        }
        true
    }

    /// A piece that `hand` has taken did not come, or is not right: anybody may take it.
    pub(super) fn failed(&mut self, hand: usize, piece: Piece) {
        if self.remove(hand, piece) {
            self.given_back.insert(piece.offset, piece.length);
        }
    }

    /// Takes all from `hand`, for anybody to take. Returns whether it had anything.
    pub(super) fn leave(&mut self, hand: usize) -> bool {
        let before = self.taken.len();
        for (_, piece) in self.taken.extract_if(.., |taken| taken.0 == hand) {
            self.given_back.insert(piece.offset, piece.length);
        }
        let had_any = self.taken.len() < before || self.closer == Some(hand);
        self.closer.take_if(|closer| *closer == hand);
        had_any
    }

    /// Takes the pieces from `hand`, which does not move, for anybody to take; each once, or a file that nobody can read in
    /// good time would be asked for again and again.
    pub(super) fn rob(&mut self, hand: usize) {
        for (_, piece) in
            self.taken.extract_if(.., |(holder, piece)| *holder == hand && self.robbed.insert(piece.offset))
        {
            self.given_back.insert(piece.offset, piece.length);
        }
    }

    fn remove(&mut self, hand: usize, piece: Piece) -> bool {
        let position = self.taken.iter().position(|taken| *taken == (hand, piece));
        position.map(|position| self.taken.swap_remove(position)).is_some()
    }

    /// Returns whether `hand` still has this piece.
    pub(super) fn has(&self, hand: usize, piece: Piece) -> bool {
        self.taken.contains(&(hand, piece))
    }

    /// Returns whether there is anything to take.
    pub(super) fn has_work(&self) -> bool {
        self.left() > 0 || self.closer.is_none()
    }

    /// Returns the bytes that nobody has taken.
    pub(super) fn left(&self) -> u64 {
        self.size - self.rest + self.given_back.values().sum::<u64>()
    }

    /// Returns the bytes that are there, wherever.
    pub(super) fn there(&self) -> u64 {
        self.front.bytes() + self.ahead.values().map(|ahead| ahead.0).sum::<u64>()
    }

    /// Returns the bytes that are there from the first one on.
    pub(super) fn front(&self) -> &Digest {
        &self.front
    }

    /// Returns whether all is there.
    pub(super) fn is_whole(&self) -> bool {
        self.front.bytes() == self.size
    }
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
    fn check(pieces: &Pieces) {
        let mut ranges = vec![(0, pieces.front.bytes()), (pieces.rest, pieces.size - pieces.rest)];
        ranges.extend(pieces.ahead.iter().map(|(offset, ahead)| (*offset, ahead.0)));
        ranges.extend(pieces.taken.iter().map(|(_, piece)| (piece.offset, piece.length)));
        ranges.extend(pieces.given_back.iter().map(|(offset, length)| (*offset, *length)));
        ranges.retain(|range| range.1 > 0);
        ranges.sort_unstable();
        let end = ranges.iter().fold(0, |end, (offset, length)| {
            assert_eq!(end, *offset, "{pieces:?}");
            offset + length
        });
        assert_eq!(end, pieces.size, "{pieces:?}");
    }

    #[test]
    fn however_they_come_and_go_the_whole_is_put_together() {
        for seed in 0..300 {
            let mut dice = Dice(seed);
            let content: Vec<u8> = (0..dice.below(4000)).map(|_| dice.below(256) as u8).collect();
            let size = content.len() as u64;
            let mut front = Digest::new();
            front.update(&content[..dice.below(size + 1) as usize]);
            let (mut pieces, mut held) = (Pieces::new(size, front), Vec::new());
            let mut closed = 0;
            while closed == 0 || !pieces.is_whole() {
                let hand = dice.below(5) as usize;
                match dice.below(10) {
                    0 => {
                        let is_closer = pieces.closer == Some(hand);
                        let had = held.iter().any(|(holder, _)| *holder == hand) || is_closer;
                        assert_eq!(pieces.leave(hand), had, "seed {seed}");
                        closed -= u32::from(is_closer);
                        held.retain(|(holder, _)| *holder != hand);
                    }
                    1..5 if !held.is_empty() => {
                        let (hand, piece) = held.swap_remove(dice.below(held.len() as u64) as usize);
                        assert!(pieces.has(hand, piece));
                        if dice.below(5) == 0 {
                            pieces.failed(hand, piece);
                            assert!(!pieces.done(hand, piece, Crc32::EMPTY), "it has it no more");
                        } else {
                            let bytes = &content[piece.offset as usize..][..piece.length as usize];
                            assert!(pieces.done(hand, piece, Crc32::of(bytes)));
                        }
                    }
                    _ => match pieces.take(hand, 1 + dice.below(700)) {
                        Some(Step::Move(piece)) => held.push((hand, piece)),
                        Some(Step::Close) => closed += 1,
                        None => assert!(pieces.left() == 0, "seed {seed}: {pieces:?}"),
                    },
                }
                check(&pieces);
                let on_the_way: u64 = held.iter().map(|(_, piece)| piece.length).sum();
                assert_eq!(pieces.there() + pieces.left() + on_the_way, size, "seed {seed}");
            }
            assert!(held.is_empty() && pieces.is_whole() && !pieces.has_work(), "seed {seed}");
            assert_eq!((pieces.front().bytes(), pieces.front().crc()), (size, Crc32::of(&content)), "seed {seed}");
        }
    }

    #[test]
    fn what_does_not_come_is_asked_for_once_more_and_the_first_that_comes_counts() {
        let mut pieces = Pieces::new(10, Digest::new());
        let Some(Step::Move(piece)) = pieces.take(1, 10) else { panic!() };
        pieces.rob(1);
        assert_eq!(pieces.take(2, 10), Some(Step::Move(piece)));
        pieces.rob(2);
        assert_eq!(pieces.take(1, 10), Some(Step::Close), "what is on its way is not waited for");
        assert!(!pieces.has_work() && pieces.has(2, piece) && !pieces.has(1, piece));
        assert!(
            !pieces.done(1, piece, Crc32(1)) && pieces.done(2, piece, Crc32(2)) && !pieces.done(1, piece, Crc32(1))
        );
        assert_eq!((pieces.is_whole(), pieces.front().crc()), (true, Crc32(2)));
    }

    #[test]
    fn the_last_step_is_taken_once_and_again_where_who_took_it_is_gone() {
        let mut pieces = Pieces::new(0, Digest::new());
        assert_eq!(pieces.take(1, 10), Some(Step::Close));
        assert_eq!(pieces.take(2, 10), None);
        assert!(!pieces.leave(2) && pieces.leave(1));
        assert_eq!(pieces.take(2, 10), Some(Step::Close));
    }
}
