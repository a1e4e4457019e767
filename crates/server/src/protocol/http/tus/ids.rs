//! Ids for uploads.

use std::sync::atomic::{AtomicU64, Ordering};

use ferry_wire::Id;
use sha2::{Digest as _, Sha256};

/// Gives each upload an id that no other has, and that nobody can guess.
///
/// It is drawn by the server, since a client of tus draws none. All sessions of a server share one.
#[derive(Debug)]
pub struct UploadIds {
    key: [u8; 32],
    given: AtomicU64,
}

impl UploadIds {
    /// Creates the ids that follow from `key`, which is random and used by nobody else.
    #[must_use]
    pub fn new(key: [u8; 32]) -> UploadIds {
        UploadIds { key, given: AtomicU64::new(0) }
    }

    /// Returns the next one: 32 hex digits.
    #[must_use]
    pub fn next(&self) -> Id {
        let number = self.given.fetch_add(1, Ordering::Relaxed);
        let hash = Sha256::new().chain_update(self.key).chain_update(number.to_be_bytes()).finalize();
        let mut bits = [0; 16];
        bits.copy_from_slice(&hash[..16]);
        Id::of_random(&bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_id_is_another_one() {
        let (ids, others) = (UploadIds::new([1; 32]), UploadIds::new([2; 32]));
        let given: Vec<Id> = (0..100).flat_map(|_| [ids.next(), others.next()]).collect();
        let distinct: std::collections::HashSet<&Id> = given.iter().collect();
        assert_eq!(distinct.len(), given.len());
        assert!(given.iter().all(|id| id.as_str().len() == 32));
    }
}
