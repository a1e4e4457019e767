//! How much unfinished uploads hold on the disk, whose they are, and the limits on it.
//!
//! The space taken of the disk is counted: the bytes that arrived, and what is set aside ahead of them; of an
//! upload that rests, its blocks. Plain uploads are this process's own. Kept ones may be another
//! process's doing as well: that is known from the last look at the disk, and from what this process did
//! since. So the limits are this process's own, and a refusal is worth a new look.
//!
//! Ids are shared fairly: where there are too many, the owner of the most gives way to one who has fewer.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::owner::Owner;

/// How often refusals may have the disk looked at: it may have thousands of kept uploads to count.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// The part of the limit that may be set aside ahead of the bytes of one upload, so that hundreds of them leave most
/// of it to bytes; and no more than a part of what is free.
const AHEAD_PART: u64 = 1024;
const AHEAD_PART_OF_FREE: u64 = 16;

/// When an upload was last touched, in seconds and nanoseconds of the file system's clock.
pub(super) type Touched = (i64, u64);

/// An upload that is known under an id, as it lies on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resting {
    pub(super) id: String,
    /// The space that its data takes of the disk: none where it was published, or never had a byte.
    pub(super) bytes: u64,
    pub(super) touched: Touched,
}

/// The bytes that are counted, by their upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose<'a> {
    /// A plain upload's.
    Plain,
    /// Those of the kept upload of this id.
    Kept(&'a str),
}

/// See the [module documentation](self).
#[derive(Debug)]
pub(super) struct Quota {
    max_bytes: u64,
    max_known: u64,
    counts: Mutex<Counts>,
    looked: Mutex<Option<Instant>>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Bytes of plain uploads.
    plain: u64,
    /// Bytes of all that are known.
    kept: u64,
    known: HashMap<Box<str>, Known>,
}

/// The facts known of an upload under an id, kept or published.
#[derive(Debug, Default)]
struct Known {
    /// [`None`] where its journal was not asked yet.
    owner: Option<Owner>,
    bytes: u64,
    touched: Touched,
    /// This process works on it: what the disk says of it may be old.
    held: bool,
}

impl Counts {
    fn bytes(&self) -> u64 {
        self.plain.saturating_add(self.kept)
    }

    fn add(&mut self, whose: Whose<'_>, bytes: u64) {
        match whose {
            Whose::Plain => self.plain = self.plain.saturating_add(bytes),
            Whose::Kept(id) => {
                let known = self.known.entry(id.into()).or_default();
                known.bytes = known.bytes.saturating_add(bytes);
                self.kept = self.kept.saturating_add(bytes);
            }
        }
    }

    /// Never below none: what another process did is known only since the last look.
    fn subtract(&mut self, whose: Whose<'_>, bytes: u64) {
        match whose {
            Whose::Plain => self.plain = self.plain.saturating_sub(bytes),
            Whose::Kept(id) => {
                if let Some(known) = self.known.get_mut(id) {
                    let bytes = bytes.min(known.bytes);
                    known.bytes -= bytes;
                    self.kept = self.kept.saturating_sub(bytes);
                }
            }
        }
    }

    fn remove(&mut self, id: &str) {
        if let Some(known) = self.known.remove(id) {
            self.kept = self.kept.saturating_sub(known.bytes);
        }
    }
}

/// The disk space and the ids that uploads take, and the limits on them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreUsage {
    /// Bytes of plain uploads that are not finished.
    pub plain_bytes: u64,
    /// Bytes of resumable uploads that are not published.
    pub kept_bytes: u64,
    /// Resumable uploads that are remembered.
    pub kept_uploads: u64,
    /// The limit on the bytes of both; [`u64::MAX`] where there is none.
    pub max_bytes: u64,
    /// The limit on those that are remembered.
    pub max_kept: u64,
}

impl Quota {
    /// Returns what is counted; [`None`] where that is being changed right now.
    pub(super) fn usage(&self) -> Option<StoreUsage> {
        let counts = self.counts.try_lock().ok()?;
        Some(StoreUsage {
            plain_bytes: counts.plain,
            kept_bytes: counts.kept,
            kept_uploads: counts.known.len() as u64,
            max_bytes: self.max_bytes,
            max_kept: self.max_known,
        })
    }

    pub(super) fn new(max_bytes: u64, max_known: u64) -> Quota {
        Quota { max_bytes, max_known, counts: Mutex::default(), looked: Mutex::default() }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Whoever panicked left sums that the next look puts right.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts `bytes` more; false, and nothing counted, where they are too many.
    pub(super) fn take(&self, whose: Whose<'_>, bytes: u64) -> bool {
        if bytes == 0 {
            return true;
        }
        let mut counts = self.counts();
        let fits = counts.bytes().checked_add(bytes).is_some_and(|sum| sum <= self.max_bytes);
        if fits {
            counts.add(whose, bytes);
            assert!(counts.bytes() <= self.max_bytes, "more is staged than may be");
        }
        fits
    }

    /// Counts `bytes` less: they are gone, or have their name.
    pub(super) fn give_back(&self, whose: Whose<'_>, bytes: u64) {
        self.counts().subtract(whose, bytes);
    }

    /// How many bytes may be set aside ahead of those that arrive.
    pub(super) fn spare(&self) -> u64 {
        let free = self.max_bytes.saturating_sub(self.counts().bytes());
        (self.max_bytes / AHEAD_PART).min(free / AHEAD_PART_OF_FREE)
    }

    /// Counts one more upload that is known under an id; false where there are too many.
    pub(super) fn admit(&self, id: &str, owner: &Owner) -> bool {
        let mut counts = self.counts();
        let fits = (counts.known.len() as u64) < self.max_known || counts.known.contains_key(id);
        if fits {
            let known = Known { owner: Some(owner.clone()), held: true, ..Known::default() };
            counts.remove(id);
            counts.known.insert(id.into(), known);
        }
        fits
    }

    /// This process has taken hold of an upload whose data takes `bytes`.
    pub(super) fn hold(&self, id: &str, owner: &Owner, bytes: u64) {
        let mut counts = self.counts();
        counts.remove(id);
        counts.add(Whose::Kept(id), bytes);
        if let Some(known) = counts.known.get_mut(id) {
            (known.owner, known.held) = (Some(owner.clone()), true);
        }
    }

    /// This process has let go of an upload.
    pub(super) fn rest(&self, resting: &Resting) {
        let mut counts = self.counts();
        let Resting { id, bytes, touched } = resting;
        let Some(known) = counts.known.get_mut(id.as_str()) else { return };
        let before = std::mem::replace(&mut known.bytes, *bytes);
        (known.touched, known.held) = (*touched, false);
        counts.kept = counts.kept.saturating_sub(before).saturating_add(*bytes);
    }

    /// This process has let go of an upload, of which nothing else is known.
    pub(super) fn let_go(&self, id: &str) {
        if let Some(known) = self.counts().known.get_mut(id) {
            known.held = false;
        }
    }

    /// Nothing is known under an id any more.
    pub(super) fn forget(&self, id: &str) {
        self.counts().remove(id);
    }

    /// Takes note of what the disk holds, of all processes.
    pub(super) fn looked(&self, found: Vec<Resting>) {
        let mut counts = self.counts();
        let mut before = std::mem::take(&mut counts.known);
        for Resting { id, bytes, touched } in found {
            let known = match before.remove(id.as_str()) {
                Some(known) if known.held => Known { bytes: known.bytes.max(bytes), ..known },
                Some(known) => Known { bytes, touched, ..known },
                None => Known { bytes, touched, ..Known::default() },
            };
            counts.known.insert(id.into(), known);
        }
        // Its journal may be made in this moment.
        counts.known.extend(before.into_iter().filter(|(_, known)| known.held));
        counts.kept = counts.known.values().fold(0, |sum, known| sum.saturating_add(known.bytes));
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

    /// Ids under which nothing is kept, and nobody here works: those that nobody touched for longest first, at most `most`.
    pub(super) fn spent(&self, most: usize) -> Vec<String> {
        let counts = self.counts();
        let spent = counts.known.iter().filter(|(_, known)| known.bytes == 0 && !known.held);
        first(spent.map(|(id, known)| (known.touched, &**id)).collect(), most)
    }

    /// Ids of which it is not known whose they are.
    pub(super) fn unread(&self) -> Vec<String> {
        let counts = self.counts();
        counts.known.iter().filter(|(_, known)| known.owner.is_none()).map(|(id, _)| id.to_string()).collect()
    }

    /// The journal of an id says whose it is.
    pub(super) fn read(&self, id: &str, owner: Owner) {
        if let Entry::Occupied(mut known) = self.counts().known.entry(id.into()) {
            known.get_mut().owner.get_or_insert(owner);
        }
    }

    /// Ids that may give way to one more of `newcomer`: of whoever has most, and more than the newcomer would then have; the
    /// smallest first, and of those the ones that nobody touched for longest; at most `most`.
    pub(super) fn yielding(&self, newcomer: &Owner, most: usize) -> Vec<String> {
        let counts = self.counts();
        let mut by_owner: HashMap<&Owner, u64> = HashMap::new();
        for owner in counts.known.values().filter_map(|known| known.owner.as_ref()) {
            *by_owner.entry(owner).or_default() += 1;
        }
        let theirs = by_owner.get(newcomer).copied().unwrap_or(0);
        let most_of_all = by_owner.values().copied().max().unwrap_or(0);
        // To take one from who has just one more would only make them change places.
        if most_of_all <= theirs + 1 {
            return Vec::new();
        }
        let gives = |known: &Known| {
            !known.held && known.owner.as_ref().is_some_and(|owner| by_owner.get(owner) == Some(&most_of_all))
        };
        let yielding = counts.known.iter().filter(|(_, known)| gives(known));
        first(yielding.map(|(id, known)| ((known.bytes, known.touched), &**id)).collect(), most)
    }
}

/// The ids of the `most` smallest.
fn first<K: Ord>(mut ids: Vec<(K, &str)>, most: usize) -> Vec<String> {
    ids.sort_unstable();
    ids.into_iter().take(most).map(|(_, id)| id.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(name: &str) -> Owner {
        Owner::new(name).unwrap()
    }

    fn resting(id: &str, bytes: u64, touched: i64) -> Resting {
        Resting { id: id.into(), bytes, touched: (touched, 0) }
    }

    #[test]
    fn what_another_process_kept_counts_no_less_than_nothing() {
        let quota = Quota::new(100, 2);
        assert!(quota.admit("a", &owner("x")) && quota.take(Whose::Kept("a"), 40));
        // Begun at another process since this one looked, and ended here.
        quota.give_back(Whose::Kept("a"), 100);
        quota.give_back(Whose::Kept("b"), 100);
        assert!(quota.take(Whose::Plain, 100) && !quota.take(Whose::Plain, 1));
        quota.give_back(Whose::Plain, 100);
        assert!(quota.take(Whose::Kept("a"), 100) && !quota.take(Whose::Plain, 1));
        quota.forget("a");
        assert!(quota.take(Whose::Plain, 100));
        assert!(quota.admit("a", &owner("x")) && quota.admit("b", &owner("x")) && !quota.admit("c", &owner("x")));
    }

    #[test]
    fn a_look_at_the_disk_is_the_truth_about_what_rests() {
        let quota = Quota::new(100, 2);
        assert!(quota.admit("a", &owner("x")) && quota.take(Whose::Kept("a"), 80) && quota.take(Whose::Plain, 20));
        quota.rest(&resting("a", 80, 1));
        quota.looked(vec![resting("a", 10, 1), resting("b", 0, 2)]);
        assert!(quota.take(Whose::Kept("b"), 70) && !quota.take(Whose::Kept("b"), 1));
        assert!(!quota.admit("c", &owner("x")));
        quota.looked(Vec::new());
        assert!(quota.admit("c", &owner("x")) && quota.admit("d", &owner("x")) && !quota.admit("e", &owner("x")));
    }

    #[test]
    fn what_is_worked_on_counts_as_it_is_known_here() {
        let quota = Quota::new(100, 3);
        quota.hold("a", &owner("x"), 60);
        assert!(quota.admit("b", &owner("x")), "its journal is not there yet");
        // The disk has not got all of it yet.
        quota.looked(vec![resting("a", 10, 1)]);
        assert!(quota.take(Whose::Plain, 40) && !quota.take(Whose::Plain, 1));
        quota.rest(&resting("a", 10, 1));
        assert!(quota.take(Whose::Plain, 50) && !quota.take(Whose::Plain, 1));
        assert!(quota.admit("c", &owner("x")) && !quota.admit("d", &owner("x")));
    }

    #[test]
    fn who_has_most_gives_way_to_who_has_fewer() {
        let quota = Quota::new(100, 5);
        for (id, whose, bytes, touched) in
            [("a", "x", 5, 1), ("b", "x", 1, 3), ("c", "x", 1, 2), ("d", "y", 1, 1), ("e", "x", 0, 9)]
        {
            assert!(quota.admit(id, &owner(whose)));
            quota.rest(&resting(id, bytes, touched));
        }
        quota.hold("e", &owner("x"), 0);
        assert!(!quota.admit("f", &owner("z")));
        assert_eq!(
            quota.yielding(&owner("z"), 9),
            ["c", "b", "a"],
            "the smallest, then the oldest, and none that is held"
        );
        assert_eq!(quota.yielding(&owner("y"), 1), ["c"]);
        assert!(quota.yielding(&owner("x"), 9).is_empty(), "who has most has no more than that");
        for id in ["a", "b"] {
            quota.forget(id);
        }
        // 2 of one, 1 of the other.
        assert!(quota.yielding(&owner("y"), 9).is_empty());
        assert_eq!(quota.yielding(&owner("z"), 9), ["c"]);
    }

    #[test]
    fn whose_an_upload_is_is_asked_once() {
        let quota = Quota::new(100, 5);
        quota.looked(vec![resting("a", 1, 1), resting("b", 1, 1)]);
        assert_eq!(quota.unread().len(), 2);
        quota.read("a", owner("x"));
        quota.read("b", Owner::default());
        quota.looked(vec![resting("a", 1, 1), resting("b", 1, 1), resting("c", 1, 1)]);
        assert_eq!(quota.unread(), ["c"]);
    }

    #[test]
    fn no_upload_sets_aside_what_others_need() {
        let quota = Quota::new(10 * AHEAD_PART, 5);
        assert_eq!(quota.spare(), 10);
        assert!(quota.take(Whose::Plain, 10 * AHEAD_PART - 32));
        assert_eq!(quota.spare(), 2);
    }

    #[test]
    fn refusals_have_the_disk_looked_at_now_and_then() {
        let quota = Quota::new(100, 2);
        assert!(quota.is_worth_a_look() && !quota.is_worth_a_look());
    }
}
