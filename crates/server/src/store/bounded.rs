//! A map that takes no more memory than it may, and forgets first what nobody has asked for. Pure.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, BuildHasherDefault, Hash, Hasher, RandomState},
};

/// The memory of an entry in the index, at most: 17 bytes for each place, of which 4 of 7 may be free, and all of
/// them twice where entries come and go.
const INDEX_BYTES: usize = 80;

/// Taken for what an allocation takes beside the bytes that were asked for.
const ALLOCATION_BYTES: usize = 32;

/// The hasher of what is a hash already.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[derive(Debug)]
struct Slot<K, V> {
    key: K,
    value: V,
    /// The memory that it takes outside of the map.
    bytes: usize,
    /// It was asked for since the hand last came by.
    is_used: bool,
}

/// See the [module documentation](self). While a table is being made larger, the old one is there as well.
#[derive(Debug)]
pub(super) struct Bounded<K, V> {
    limit: usize,
    /// The memory that all entries take outside of the map.
    held: usize,
    slots: Vec<Slot<K, V>>,
    /// The slots, by the hashes of their keys.
    index: HashMap<u64, usize, BuildHasherDefault<Hashed>>,
    hasher: RandomState,
    /// The slot that is looked at next when one is to give way.
    hand: usize,
}

impl<K: Copy + Eq + Hash, V> Bounded<K, V> {
    /// Returns an empty one that takes at most `limit` bytes of memory; with 0 it takes nothing in.
    pub(super) fn new(limit: u64) -> Bounded<K, V> {
        let (slots, index, hasher) = (Vec::new(), HashMap::default(), RandomState::new());
        Bounded { limit: to_usize(limit), held: 0, slots, index, hasher, hand: 0 }
    }

    /// Returns whether anything is taken in at all.
    pub(super) fn is_on(&self) -> bool {
        self.limit > 0
    }

    /// Returns the memory that it takes, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.taken() as u64
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Returns whether something of so many bytes beside its key is let in only if something else gives way.
    pub(super) fn is_full_for(&self, bytes: usize) -> bool {
        let place = if self.slots.len() < self.slots.capacity() { 0 } else { Self::place_bytes() };
        self.taken() + place + ALLOCATION_BYTES + bytes > self.limit
    }

    /// Changes how much memory it may take. What is too much is forgotten.
    pub(super) fn set_limit(&mut self, limit: u64) {
        self.limit = to_usize(limit);
        self.make_room(0);
    }

    /// Returns what is known under `key`.
    pub(super) fn get(&mut self, key: &K) -> Option<&mut V> {
        let slot = &mut self.slots[*self.index.get(&self.hasher.hash_one(key))?];
        if slot.key != *key {
            return None;
        }
        slot.is_used = true;
        Some(&mut slot.value)
    }

    /// Takes in what `make` makes under a key that is not known, if it is not larger than all may be: it takes so many bytes
    /// beside its key. Of two keys with the same hash, the second one is not taken in.
    pub(super) fn insert(&mut self, key: K, bytes: usize, make: impl FnOnce() -> V) {
        let (bytes, hash) = (ALLOCATION_BYTES + bytes, self.hasher.hash_one(key));
        if Self::place_bytes() + bytes > self.limit || self.index.contains_key(&hash) {
            return;
        }
        self.make_room(bytes);
        if self.slots.len() == self.slots.capacity() {
            self.make_place(bytes);
        }
        self.held += bytes;
        self.index.insert(hash, self.slots.len());
        self.slots.push(Slot { key, value: make(), bytes, is_used: false });
        assert!(self.taken() <= self.limit, "more is kept than may be");
    }

    /// Returns the memory of a place, with an entry or without.
    const fn place_bytes() -> usize {
        size_of::<Slot<K, V>>() + INDEX_BYTES
    }

    fn taken(&self) -> usize {
        self.held + self.slots.capacity() * Self::place_bytes()
    }

    /// Sees to it that there is a free place, for an entry that takes so many bytes outside of the map: in the place of
    /// another one, if the map can't grow.
    fn make_place(&mut self, bytes: usize) {
        let most = (self.limit - self.taken() - bytes) / Self::place_bytes();
        match most.min(self.slots.len() / 8 + 1) {
            0 => self.forget_one(),
            more => self.slots.reserve_exact(more),
        }
    }

    /// Forgets until there is room for so many bytes more.
    fn make_room(&mut self, bytes: usize) {
        while self.taken() + bytes > self.limit && !self.slots.is_empty() {
            self.forget_one();
        }
        if self.slots.is_empty() && self.taken() + bytes > self.limit {
            (self.slots, self.index) = Default::default();
        }
    }

    fn forget_one(&mut self) {
        loop {
            self.hand = if self.hand < self.slots.len() { self.hand } else { 0 };
            let Some(slot) = self.slots.get_mut(self.hand) else { return };
            // The hand leaves each one in peace once since it was last asked for.
            if !std::mem::take(&mut slot.is_used) {
                break;
            }
            self.hand += 1;
        }
        let gone = self.slots.swap_remove(self.hand);
        self.held -= gone.bytes;
        self.index.remove(&self.hasher.hash_one(gone.key));
        if let Some(moved) = self.slots.get(self.hand) {
            self.index.insert(self.hasher.hash_one(moved.key), self.hand);
        }
        // The one that was moved here is the newest.
        self.hand += 1;
        // Where a few large ones follow many small ones, their places are memory, too.
        if self.slots.len() < self.slots.capacity() / 4 {
            self.slots.shrink_to(2 * self.slots.len());
            self.index.shrink_to(2 * self.slots.len());
        }
    }
}

fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX / 4).min(usize::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Map = Bounded<u64, Box<[u8]>>;

    /// The memory of an entry of so many bytes.
    fn one(bytes: usize) -> u64 {
        (Map::place_bytes() + ALLOCATION_BYTES + bytes) as u64
    }

    #[test]
    fn memory_is_bounded_and_what_is_asked_for_stays() {
        let mut map = Map::new(10 * one(5));
        map.insert(0, 5, || [1; 5].into());
        for key in 1..100 {
            assert_eq!(map.get(&0), Some(&mut [1; 5].into()), "forgotten after {key}");
            assert_eq!(map.is_full_for(5), key >= 10, "{key}");
            map.insert(key, 5, || [2; 5].into());
            assert!(map.bytes() <= 10 * one(5));
            assert_eq!(map.index.len(), map.len());
        }
        assert_eq!((map.len(), map.get(&99)), (10, Some(&mut [2; 5].into())));
        map.insert(99, 5, || panic!("it is there"));
        map.insert(100, 1 << 20, || panic!("larger than all may be"));
        map.set_limit(2 * one(5));
        assert!((1..=2).contains(&map.len()), "{}", map.len());
        assert!(map.bytes() <= 2 * one(5));
        map.set_limit(0);
        map.insert(0, 0, || panic!("nothing is taken in"));
        assert_eq!((map.bytes(), map.is_on(), map.get(&0)), (0, false, None));
    }

    #[test]
    fn the_tables_are_counted_whatever_comes_after_what() {
        const LIMIT: u64 = 2 << 20;
        // The index has its places by twos, and keeps those of entries that are gone until it is made anew.
        let places = |map: &Map| 17 * (map.index.capacity() * 8 / 7).next_power_of_two();
        let mut map = Map::new(LIMIT);
        let (mut key, mut most) = (0, 0);
        for bytes in [1, 64 << 10, 1, 100, 64 << 10] {
            for _ in 0..50_000_000 / (bytes + 500) {
                key += 1;
                map.insert(key, bytes, || vec![0; bytes].into());
                let slots = map.slots.capacity() * size_of::<Slot<u64, Box<[u8]>>>();
                let real = map.held + slots + places(&map);
                assert!(real as u64 <= LIMIT, "{real} bytes with {} entries of {bytes}", map.len());
                assert!(map.bytes() <= LIMIT);
                most = most.max(map.len());
            }
            // The places of those before are given to those that are there now.
            let fits = LIMIT / one(bytes);
            assert!(map.len() as u64 * 10 > fits * 6, "{} of {fits} entries of {bytes}", map.len());
        }
        assert!(most > 10_000, "{most}");
    }
}
