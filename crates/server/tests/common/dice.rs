//! Chance that can be had again: all of it comes from one seed.

use std::{cell::RefCell, collections::HashMap};

/// SplitMix64.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns one of `0..bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    pub(crate) fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

/// Returns the bytes that no other seed has, and of which no piece is like another.
pub(crate) fn bytes(seed: u64, length: usize) -> Vec<u8> {
    thread_local! {
        /// Made once: the sweeps send the same files thousands of times.
        static MADE: RefCell<HashMap<(u64, usize), Vec<u8>>> = RefCell::default();
    }
    MADE.with_borrow_mut(|made| made.entry((seed, length)).or_insert_with(|| make(seed, length)).clone())
}

fn make(seed: u64, length: usize) -> Vec<u8> {
    let mut dice = Dice::new(!seed);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend(dice.next().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
