//! How much unfinished uploads hold on the disk, whose they are, and the limits on it.
//!
//! The space taken of the disk is counted: the bytes that arrived, and the space set aside ahead of
//! them; of an upload that rests, its blocks. Plain uploads are this process's own. Kept ones may
//! be another process's doing as well: that is known from the last look at the disk, and from what
//! this process did since. So the limits are this process's own, and a refusal is worth a new look.
//!
//! There are limits of all together, and of single owners. Ids are shared fairly: where there are
//! too many, the owner with the most gives way to one with fewer.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::owner::Owner;

/// How often refusals may have the disk looked at: it may have thousands of kept uploads to count.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// The part of the limit that may be set aside ahead of the bytes of one upload, so that hundreds
/// of them leave most of it to bytes; and no more than a part of the free space.
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
    /// A plain upload's, of this owner.
    Plain(&'a Owner),
    /// Those of the kept upload of this id.
    Kept(&'a str),
}

/// Limits of one owner, beside those of all together. [`None`] is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OwnerLimits {
    /// Uploads that are known under an id.
    pub max_kept: Option<u64>,
    /// Bytes that uploads hold before they have their names.
    pub max_staged: Option<u64>,
}

/// The limit that would be exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// The quota of all together.
    Server,
    /// The quota of the owner.
    Owner,
}

/// See the [module documentation](self).
#[derive(Debug)]
pub(super) struct Quota {
    counts: Mutex<Counts>,
    looked: Mutex<Option<Instant>>,
}

/// The sums of one owner, or of all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sums {
    /// Bytes of plain uploads, and of those that are known.
    plain: u64,
    kept: u64,
    /// Uploads that are known.
    known: u64,
}

impl Sums {
    fn bytes(&self) -> u64 {
        self.plain.saturating_add(self.kept)
    }

    /// Returns how much may be set aside ahead of the bytes of one upload, where there may be
    /// `most` bytes.
    fn spare(&self, most: u64) -> u64 {
        let free = most.saturating_sub(self.bytes());
        (most / AHEAD_PART).min(free / AHEAD_PART_OF_FREE)
    }
}

#[derive(Debug, Default)]
struct Counts {
    max_bytes: u64,
    max_known: u64,
    limits: HashMap<Owner, OwnerLimits>,
    /// The sums of all, and of each owner of whom anything is counted.
    all: Sums,
    by_owner: HashMap<Owner, Sums>,
    known: HashMap<Box<str>, Known>,
    /// How many of them have an unknown owner.
    unread: u64,
    looks: Looks,
}

/// The facts known of an upload under an id, kept or published.
#[derive(Debug, Clone, Default)]
struct Known {
    /// [`None`] where its journal was not asked yet.
    owner: Option<Owner>,
    bytes: u64,
    touched: Touched,
    /// This process works on it: what the disk says of it may be old.
    held: bool,
}

/// Looks at the disk. One takes a while, and it may have missed the changes that were made meanwhile.
#[derive(Debug, Default)]
struct Looks {
    begun: u64,
    /// Those that go on.
    open: u64,
    /// Ids that this process locked, unlocked or forgot while any went on, and how many had begun by then.
    changed: HashMap<Box<str>, u64>,
}

impl Looks {
    fn note_change(&mut self, id: &str) {
        if self.open > 0 {
            self.changed.insert(id.into(), self.begun);
        }
    }

    /// Returns whether this process has changed an id since a look began.
    fn changed_since(&self, look: u64, id: &str) -> bool {
        self.changed.get(id).is_some_and(|begun| *begun >= look)
    }
}

/// A look at the disk that goes on, until it is dropped.
#[derive(Debug)]
pub(super) struct Look<'a> {
    quota: &'a Quota,
    number: u64,
}

impl Drop for Look<'_> {
    fn drop(&mut self) {
        let looks = &mut self.quota.counts().looks;
        looks.open -= 1;
        if looks.open == 0 {
            looks.changed = HashMap::new();
        }
    }
}

impl Counts {
    /// Changes the sums of all, and of `owner` where that is known.
    fn count(&mut self, owner: Option<&Owner>, change: impl Fn(&mut Sums)) {
        change(&mut self.all);
        let Some(owner) = owner else { return };
        let sums = self.by_owner.entry(owner.clone()).or_default();
        change(sums);
        if *sums == Sums::default() {
            self.by_owner.remove(owner);
        }
    }

    fn insert(&mut self, id: &str, known: Known) {
        self.remove(id);
        self.count(known.owner.as_ref(), |sums| {
            sums.known += 1;
            sums.kept = sums.kept.saturating_add(known.bytes);
        });
        self.unread += u64::from(known.owner.is_none());
        self.known.insert(id.into(), known);
    }

    fn hold(&mut self, id: &str, owner: &Owner, bytes: u64) {
        self.looks.note_change(id);
        self.insert(id, Known { owner: Some(owner.clone()), bytes, held: true, ..Known::default() });
    }

    fn remove(&mut self, id: &str) -> Option<Known> {
        let known = self.known.remove(id)?;
        self.unread -= u64::from(known.owner.is_none());
        self.count(known.owner.as_ref(), |sums| {
            sums.known -= 1;
            sums.kept = sums.kept.saturating_sub(known.bytes);
        });
        Some(known)
    }

    /// Changes the facts known about an id, if there are any.
    fn change(&mut self, id: &str, change: impl FnOnce(&mut Known)) {
        if let Some(mut known) = self.remove(id) {
            change(&mut known);
            self.insert(id, known);
        }
    }

    fn set_bytes(&mut self, id: &str, bytes: impl FnOnce(u64) -> u64) {
        let Some(known) = self.known.get_mut(id) else { return };
        let before = known.bytes;
        known.bytes = bytes(before);
        let (after, owner) = (known.bytes, known.owner.clone());
        self.count(owner.as_ref(), |sums| sums.kept = sums.kept.saturating_sub(before).saturating_add(after));
    }

    fn add(&mut self, whose: Whose<'_>, bytes: u64) {
        match whose {
            Whose::Plain(owner) => self.count(Some(owner), |sums| sums.plain = sums.plain.saturating_add(bytes)),
            Whose::Kept(id) => {
                if !self.known.contains_key(id) {
                    self.insert(id, Known::default());
                }
                self.set_bytes(id, |before| before.saturating_add(bytes));
            }
        }
    }

    /// Subtracts bytes, but never below none: changes of other processes are known only since the
    /// last look.
    fn subtract(&mut self, whose: Whose<'_>, bytes: u64) {
        match whose {
            Whose::Plain(owner) => self.count(Some(owner), |sums| sums.plain = sums.plain.saturating_sub(bytes)),
            Whose::Kept(id) => self.set_bytes(id, |before| before.saturating_sub(bytes)),
        }
    }

    fn owner_of<'a>(&'a self, whose: Whose<'a>) -> Option<&'a Owner> {
        match whose {
            Whose::Plain(owner) => Some(owner),
            Whose::Kept(id) => self.known.get(id)?.owner.as_ref(),
        }
    }

    fn unread(&self) -> Vec<String> {
        if self.unread == 0 {
            return Vec::new();
        }
        self.known.iter().filter(|(_, known)| known.owner.is_none()).map(|(id, _)| id.to_string()).collect()
    }

    fn of(&self, owner: &Owner) -> (Sums, OwnerLimits) {
        (self.by_owner.get(owner).copied().unwrap_or_default(), self.limits.get(owner).copied().unwrap_or_default())
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
            plain_bytes: counts.all.plain,
            kept_bytes: counts.all.kept,
            kept_uploads: counts.all.known,
            max_bytes: counts.max_bytes,
            max_kept: counts.max_known,
        })
    }

    pub(super) fn new(max_bytes: u64, max_known: u64) -> Quota {
        let counts = Counts { max_bytes, max_known, ..Counts::default() };
        Quota { counts: Mutex::new(counts), looked: Mutex::default() }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // A thread that panicked left sums that the next look puts right.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the limits of all that hold from here on. Uploads that are there stay, though they may
    /// be more.
    pub(super) fn set_limits(&self, max_bytes: u64, max_known: u64) {
        let mut counts = self.counts();
        (counts.max_bytes, counts.max_known) = (max_bytes, max_known);
    }

    /// Does the same for the limits of owners; owners that are not named have none.
    pub(super) fn set_owner_limits(&self, limits: HashMap<Owner, OwnerLimits>) {
        self.counts().limits = limits;
    }

    /// Returns how many bytes more uploads of `owner` may take; [`None`] where no limit holds.
    pub(super) fn left(&self, owner: &Owner) -> Option<u64> {
        let counts = self.counts();
        let (sums, OwnerLimits { max_staged, .. }) = counts.of(owner);
        let of_all = (counts.max_bytes < u64::MAX).then(|| counts.max_bytes.saturating_sub(counts.all.bytes()));
        of_all.into_iter().chain(max_staged.map(|most| most.saturating_sub(sums.bytes()))).min()
    }

    /// Counts `bytes` more.
    ///
    /// # Errors
    ///
    /// The limit that they would exceed; nothing is counted then.
    pub(super) fn take(&self, whose: Whose<'_>, bytes: u64) -> Result<(), Full> {
        if bytes == 0 {
            return Ok(());
        }
        let mut counts = self.counts();
        let fits = |sums: &Sums, most: u64| sums.bytes().checked_add(bytes).is_some_and(|sum| sum <= most);
        if !fits(&counts.all, counts.max_bytes) {
            return Err(Full::Server);
        }
        if let Some(owner) = counts.owner_of(whose) {
            let (sums, OwnerLimits { max_staged, .. }) = counts.of(owner);
            if max_staged.is_some_and(|most| !fits(&sums, most)) {
                return Err(Full::Owner);
            }
        }
        counts.add(whose, bytes);
        assert!(counts.all.bytes() <= counts.max_bytes, "more is staged than may be");
        Ok(())
    }

    /// Counts `bytes` less: they are gone, or have their name.
    pub(super) fn give_back(&self, whose: Whose<'_>, bytes: u64) {
        self.counts().subtract(whose, bytes);
    }

    /// Returns how many bytes may be set aside ahead of those that arrive.
    pub(super) fn spare(&self, whose: Whose<'_>) -> u64 {
        let counts = self.counts();
        let own = counts.owner_of(whose).and_then(|owner| {
            let (sums, limits) = counts.of(owner);
            limits.max_staged.map(|most| sums.spare(most))
        });
        counts.all.spare(counts.max_bytes).min(own.unwrap_or(u64::MAX))
    }

    /// Counts one more upload that is known under an id.
    ///
    /// # Errors
    ///
    /// Of which there would be too many then.
    pub(super) fn admit(&self, id: &str, owner: &Owner) -> Result<(), Full> {
        let mut counts = self.counts();
        if !counts.known.contains_key(id) {
            let (sums, OwnerLimits { max_kept, .. }) = counts.of(owner);
            if max_kept.is_some_and(|most| sums.known >= most) {
                return Err(Full::Owner);
            }
            if counts.all.known >= counts.max_known {
                return Err(Full::Server);
            }
        }
        counts.hold(id, owner, 0);
        Ok(())
    }

    /// Notes that this process has locked an upload whose data takes `bytes`.
    pub(super) fn hold(&self, id: &str, owner: &Owner, bytes: u64) {
        self.counts().hold(id, owner, bytes);
    }

    /// Notes that this process has unlocked an upload.
    pub(super) fn rest(&self, resting: &Resting) {
        let Resting { id, bytes, touched } = resting;
        self.unlock(id, |known| (known.bytes, known.touched) = (*bytes, *touched));
    }

    /// Notes that this process has unlocked an upload, of which nothing else is known.
    pub(super) fn let_go(&self, id: &str) {
        self.unlock(id, |_| {});
    }

    fn unlock(&self, id: &str, change: impl FnOnce(&mut Known)) {
        let mut counts = self.counts();
        counts.looks.note_change(id);
        counts.change(id, |known| {
            known.held = false;
            change(known);
        });
    }

    /// Forgets an id.
    pub(super) fn forget(&self, id: &str) {
        let mut counts = self.counts();
        counts.looks.note_change(id);
        counts.remove(id);
    }

    /// Begins a look at the disk.
    pub(super) fn begin_look(&self) -> Look<'_> {
        let looks = &mut self.counts().looks;
        (looks.begun, looks.open) = (looks.begun + 1, looks.open + 1);
        Look { quota: self, number: looks.begun }
    }

    /// Returns whether a refusal is to have the disk looked at before it is told.
    pub(super) fn is_worth_a_look(&self) -> bool {
        let now = Instant::now();
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let due = looked.is_none_or(|at| now.duration_since(at) >= BETWEEN_LOOKS);
        if due {
            *looked = Some(now);
        }
        due
    }

    /// Ids under which nothing is kept, and nobody here works, of `owner` or of all: those that
    /// nobody touched for longest first, at most `most`.
    pub(super) fn spent(&self, owner: Option<&Owner>, most: usize) -> Vec<String> {
        let counts = self.counts();
        let is_spent = |known: &Known| {
            known.bytes == 0 && !known.held && owner.is_none_or(|owner| known.owner.as_ref() == Some(owner))
        };
        let spent = counts.known.iter().filter(|(_, known)| is_spent(known));
        first(spent.map(|(id, known)| (known.touched, &**id)).collect(), most)
    }

    /// Ids of which it is not known whose they are, as far as that counts: where `newcomer` has
    /// limits of its own.
    pub(super) fn unread_for(&self, newcomer: &Owner) -> Vec<String> {
        let counts = self.counts();
        if counts.limits.contains_key(newcomer) { counts.unread() } else { Vec::new() }
    }

    /// Returns the same for all owners.
    pub(super) fn unread(&self) -> Vec<String> {
        self.counts().unread()
    }

    /// Notes the owner of an id, as its journal says.
    pub(super) fn read(&self, id: &str, owner: Owner) {
        self.counts().change(id, |known| {
            known.owner.get_or_insert(owner);
        });
    }

    /// Returns the ids that may give way to one more of `newcomer`: of the owner with most, and
    /// more than the newcomer would then have; the smallest first, and of those the ones that
    /// nobody touched for longest; at most `most`.
    pub(super) fn yielding(&self, newcomer: &Owner, most: usize) -> Vec<String> {
        let counts = self.counts();
        let theirs = counts.by_owner.get(newcomer).map_or(0, |sums| sums.known);
        let most_of_all = counts.by_owner.values().map(|sums| sums.known).max().unwrap_or(0);
        // To take one from an owner with just one more would only make them change places.
        if most_of_all <= theirs + 1 {
            return Vec::new();
        }
        let has_most = |owner: &Owner| counts.by_owner.get(owner).is_some_and(|sums| sums.known == most_of_all);
        let gives = |known: &Known| !known.held && known.owner.as_ref().is_some_and(has_most);
        let yielding = counts.known.iter().filter(|(_, known)| gives(known));
        first(yielding.map(|(id, known)| ((known.bytes, known.touched), &**id)).collect(), most)
    }
}

impl Look<'_> {
    /// Takes note of the content of the disk, of all processes, as this look has found it. What this
    /// process has changed since it began is known better.
    pub(super) fn end(self, found: Vec<Resting>) {
        let mut counts = self.quota.counts();
        let ids: HashSet<&str> = found.iter().map(|resting| resting.id.as_str()).collect();
        // The journal of one that is held may be made in this moment.
        let is_gone =
            |id: &str, known: &Known| !known.held && !ids.contains(id) && !counts.looks.changed_since(self.number, id);
        let gone = counts.known.iter().filter(|(id, known)| is_gone(id, known)).map(|(id, _)| id.clone());
        let gone: Vec<_> = gone.collect();
        gone.iter().for_each(|id| drop(counts.remove(id)));
        for Resting { id, bytes, touched } in found {
            if counts.looks.changed_since(self.number, &id) {
                continue;
            }
            match counts.known.get(&*id) {
                Some(known) if known.held => counts.set_bytes(&id, |before| before.max(bytes)),
                Some(_) => counts.change(&id, |known| (known.bytes, known.touched) = (bytes, touched)),
                None => counts.insert(&id, Known { bytes, touched, ..Known::default() }),
            }
        }
    }
}

/// Returns the ids of the `most` smallest.
fn first<K: Ord>(mut ids: Vec<(K, &str)>, most: usize) -> Vec<String> {
    ids.sort_unstable();
    ids.into_iter().take(most).map(|(_, id)| id.to_string()).collect()
}

#[cfg(test)]
mod tests;
