//! A map that takes no more memory than it may, and forgets first what nobody has asked for. Pure.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
};

/// Taken for the memory of an entry beside its key and value: its place in the map and in the queue, and what allocation adds.
const ENTRY_BYTES: usize = 128;

#[derive(Debug)]
struct Entry<V> {
    value: V,
    bytes: usize,
    /// It was asked for since it last came to the front of the queue.
    is_used: bool,
}

/// See the [module documentation](self).
#[derive(Debug)]
pub(super) struct Bounded<K, V> {
    limit: usize,
    bytes: usize,
    entries: HashMap<K, Entry<V>>,
    /// All keys, each once: who is next to give way.
    queue: VecDeque<K>,
}

impl<K: Copy + Eq + Hash, V> Bounded<K, V> {
    /// Returns an empty one that takes at most `limit` bytes of memory; with 0 it takes nothing in.
    pub(super) fn new(limit: u64) -> Bounded<K, V> {
        Bounded { limit: to_usize(limit), bytes: 0, entries: HashMap::new(), queue: VecDeque::new() }
    }

    /// Returns whether anything is taken in at all.
    pub(super) fn is_on(&self) -> bool {
        self.limit > 0
    }

    /// Returns the memory that it takes, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes as u64
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether something of so many bytes beside its key is let in only if something else gives way.
    pub(super) fn is_full_for(&self, bytes: usize) -> bool {
        self.bytes + self.taken(bytes) > self.limit
    }

    /// Changes how much memory it may take. What is too much is forgotten.
    pub(super) fn set_limit(&mut self, limit: u64) {
        self.limit = to_usize(limit);
        self.make_room(0);
        if self.entries.is_empty() {
            (self.entries, self.queue) = Default::default();
        }
    }

    /// Returns what is known under `key`.
    pub(super) fn get(&mut self, key: &K) -> Option<&mut V> {
        let entry = self.entries.get_mut(key)?;
        entry.is_used = true;
        Some(&mut entry.value)
    }

    /// Takes in what `make` makes under a key that is not known, if it is not larger than all may be: it takes so many bytes
    /// beside its key.
    pub(super) fn insert(&mut self, key: K, bytes: usize, make: impl FnOnce() -> V) {
        let bytes = self.taken(bytes);
        if bytes > self.limit || self.entries.contains_key(&key) {
            return;
        }
        self.make_room(bytes);
        self.bytes += bytes;
        self.queue.push_back(key);
        self.entries.insert(key, Entry { value: make(), bytes, is_used: false });
    }

    /// Returns the memory of an entry: its key stands in the map and in the queue.
    fn taken(&self, bytes: usize) -> usize {
        ENTRY_BYTES + 2 * size_of::<K>() + size_of::<V>() + bytes
    }

    /// Forgets until there is room for so many bytes more.
    fn make_room(&mut self, bytes: usize) {
        while self.bytes + bytes > self.limit {
            // Each is passed over once at most since it was last asked for.
            let Some(key) = self.queue.pop_front() else { break };
            match self.entries.get_mut(&key) {
                Some(entry) if entry.is_used => {
                    entry.is_used = false;
                    self.queue.push_back(key);
                }
                _ => self.bytes -= self.entries.remove(&key).map_or(0, |entry| entry.bytes),
            }
        }
        assert!(self.bytes + bytes <= self.limit || self.entries.is_empty(), "more is kept than may be");
    }
}

fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX / 4).min(usize::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_and_what_is_asked_for_stays() {
        let mut map = Bounded::<u64, u64>::new(1 << 20);
        let one = map.taken(5) as u64;
        map.set_limit(10 * one);
        map.insert(0, 5, || 1);
        for key in 1..100 {
            assert_eq!(map.get(&0), Some(&mut 1), "forgotten after {key}");
            assert_eq!(map.is_full_for(5), key >= 10);
            map.insert(key, 5, || 2);
            assert!(map.bytes() <= 10 * one);
            assert_eq!(map.queue.len(), map.len());
        }
        assert_eq!((map.len(), map.get(&99)), (10, Some(&mut 2)));
        map.insert(99, 5, || panic!("it is there"));
        map.insert(100, 1 << 20, || panic!("larger than all may be"));
        map.set_limit(2 * one);
        assert_eq!(map.len(), 2);
        map.set_limit(0);
        map.insert(0, 0, || panic!("nothing is taken in"));
        assert_eq!((map.bytes(), map.is_on(), map.get(&0)), (0, false, None));
    }
}
