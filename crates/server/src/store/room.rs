//! How much room unfinished uploads take, and the limits on it.
//!
//! Plain uploads are this process's own, and counted to the byte. What is kept aside may be another
//! process's doing as well: that is known from the last look at the disk, and from what this process did
//! since. So the limits are this process's own, and a refusal is worth a new look.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// How often refusals may have the disk looked at: it may have thousands of kept uploads to count.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// Counts of one process, and its limits.
#[derive(Debug)]
pub(super) struct Room {
    max_bytes: u64,
    max_known: u64,
    /// Bytes of plain uploads.
    plain: AtomicU64,
    /// Bytes of kept uploads, whoever holds them, as far as it is known.
    kept: AtomicU64,
    /// How many uploads are known under an id, kept or published.
    known: AtomicU64,
    looked: Mutex<Option<Instant>>,
}

/// Whose bytes are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    /// Of a plain upload.
    Plain,
    /// Of a kept upload.
    Kept,
}

impl Room {
    pub(super) fn new(max_bytes: u64, max_known: u64) -> Room {
        let [plain, kept, known] = [const { AtomicU64::new(0) }; 3];
        Room { max_bytes, max_known, plain, kept, known, looked: Mutex::default() }
    }

    fn of(&self, share: Share) -> &AtomicU64 {
        match share {
            Share::Plain => &self.plain,
            Share::Kept => &self.kept,
        }
    }

    /// Counts `bytes` more; false, and nothing counted, where they are too many.
    pub(super) fn take(&self, share: Share, bytes: u64) -> bool {
        if bytes == 0 {
            return true;
        }
        self.of(share).fetch_add(bytes, Ordering::Relaxed);
        let [plain, kept] = [&self.plain, &self.kept].map(|count| count.load(Ordering::Relaxed));
        let fits = plain.saturating_add(kept) <= self.max_bytes;
        if !fits {
            self.give_back(share, bytes);
        }
        fits
    }

    /// Counts `bytes` less: they are gone, or have their name.
    pub(super) fn give_back(&self, share: Share, bytes: u64) {
        lessen(self.of(share), bytes);
    }

    /// Counts one more upload that is known under an id; false where there are too many.
    pub(super) fn know_one(&self) -> bool {
        let fits = self.known.fetch_add(1, Ordering::Relaxed) < self.max_known;
        if !fits {
            self.forget_one();
        }
        fits
    }

    /// Counts one less.
    pub(super) fn forget_one(&self) {
        lessen(&self.known, 1);
    }

    /// What the disk holds, of all processes: `kept` bytes of `known` uploads.
    pub(super) fn looked(&self, kept: u64, known: u64) {
        self.kept.store(kept, Ordering::Relaxed);
        self.known.store(known, Ordering::Relaxed);
    }

    /// Whether a refusal is to have the disk looked at before it is told.
    pub(super) fn is_worth_a_look(&self) -> bool {
        let now = Instant::now();
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let due = looked.is_none_or(|at| now.duration_since(at) >= BETWEEN_LOOKS);
        if due {
            *looked = Some(now);
        }
        due
    }
}

/// Never below none: what another process did is known only since the last look.
fn lessen(count: &AtomicU64, by: u64) {
    let _ = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| Some(count.saturating_sub(by)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_process_kept_counts_no_less_than_nothing() {
        let room = Room::new(100, 2);
        assert!(room.take(Share::Kept, 40));
        // Begun at another process since this one looked, and ended here.
        room.give_back(Share::Kept, 100);
        assert!(room.take(Share::Plain, 100) && !room.take(Share::Plain, 1));
        room.give_back(Share::Plain, 100);
        assert!(room.take(Share::Kept, 100) && !room.take(Share::Plain, 1));
        room.forget_one();
        assert!(room.know_one() && room.know_one() && !room.know_one());
    }

    #[test]
    fn a_look_at_the_disk_is_the_truth_about_what_is_kept() {
        let room = Room::new(100, 2);
        assert!(room.take(Share::Kept, 80) && room.take(Share::Plain, 20));
        room.looked(10, 2);
        assert!(room.take(Share::Kept, 70) && !room.take(Share::Kept, 1));
        assert!(!room.know_one());
        room.looked(0, 0);
        assert!(room.know_one() && room.know_one() && !room.know_one());
    }

    #[test]
    fn refusals_have_the_disk_looked_at_now_and_then() {
        let room = Room::new(100, 2);
        assert!(room.is_worth_a_look() && !room.is_worth_a_look());
    }
}
