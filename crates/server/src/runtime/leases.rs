//! Decides which connection works on which resumable upload: the newest one.
//!
//! A connection has the *lease* of an upload from the moment its RESUME is handed to the store
//! until the store has let the upload go. Leases hold within this process; between processes the
//! store's locks decide.
//!
//! # Order of calls
//!
//! [`claim`](Leases::claim) a RESUME before it is handed to the store. When an operation of the
//! holder on the upload has ended, tell its effect by [`ended`](Leases::ended). Each call returns
//! the steps to take, in order.
//!
//! # Who gets a lease
//!
//! - Nobody has it: the claim starts.
//! - Somebody has it for the same name and size, and is no other user: the holder is asked to let
//!   go, and the claim starts when it has. A claim that waited for that is displaced.
//! - Somebody only wants to look how far the upload is: the holder keeps it. Where it lets go already, whoever looks
//!   waits for that, so that all is told that was kept.
//! - Somebody has it for another name or size, or is another user: the claim is refused once the
//!   store has confirmed the holder's. Until then it is not known whose the id is, and the claim
//!   waits without disturbing anybody.

use std::collections::{HashMap, hash_map::Entry};

use ferry_wire::{Id, Name};

use crate::store::Owner;

/// A connection's wish to work on an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim<K> {
    /// The connection.
    pub holder: K,
    /// The upload.
    pub id: Id,
    /// The name that the upload is to have.
    pub name: Name,
    /// Bytes of the whole file; [`None`] where its end alone tells.
    pub size: Option<u64>,
    /// The owner of the upload, if it begins.
    pub owner: Owner,
}

impl<K> Claim<K> {
    fn is_of_same_file<L>(&self, other: &Claim<L>) -> bool {
        (&self.name, self.size) == (&other.name, other.size) && !self.owner.excludes(&other.owner)
    }
}

/// The effect that the end of an operation has on the lease of its upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseEffect {
    /// The store confirmed that the upload is of the holder's name and size.
    Confirmed,
    /// The upload was let go.
    Released,
}

/// Something to do for the lease of an upload.
#[derive(Debug, PartialEq, Eq)]
pub enum LeaseStep<K, J> {
    /// Hand this job to the store.
    Start(J),
    /// Fail this one: the id belongs to another upload than that of `name`.
    Refuse {
        /// The job.
        job: J,
        /// The name that was asked for.
        name: Name,
        /// Whether the holder is another user.
        is_foreign: bool,
    },
    /// Fail this one: a newer connection wants the same.
    Displace(J),
    /// Ask the holder to let go of the upload.
    Evict {
        /// The connection.
        holder: K,
        /// The upload.
        id: Id,
    },
}

/// See the [module documentation](self). `K` identifies connections, a `J` waits for a lease.
#[derive(Debug)]
pub struct Leases<K, J> {
    by_id: HashMap<Id, Lease<K, J>>,
}

#[derive(Debug)]
struct Lease<K, J> {
    /// The claim that started.
    claim: Claim<K>,
    is_confirmed: bool,
    /// The newest claim of the same file.
    next: Option<(Claim<K>, J)>,
    /// Claims of other files, from before this one was confirmed.
    undecided: Vec<(Claim<K>, J)>,
    /// Those who want to look at it when it is let go of.
    lookers: Vec<J>,
}

impl<K, J> Lease<K, J> {
    fn new(claim: Claim<K>) -> Lease<K, J> {
        Lease { claim, is_confirmed: false, next: None, undecided: Vec::new(), lookers: Vec::new() }
    }
}

impl<K, J> Default for Leases<K, J> {
    fn default() -> Self {
        Leases { by_id: HashMap::new() }
    }
}

impl<K: Copy + Eq, J> Leases<K, J> {
    /// Claims the lease of an upload for `job`, a RESUME.
    #[must_use]
    pub fn claim(&mut self, claim: Claim<K>, job: J) -> Vec<LeaseStep<K, J>> {
        let lease = match self.by_id.entry(claim.id.clone()) {
            Entry::Vacant(vacant) => {
                vacant.insert(Lease::new(claim));
                return vec![LeaseStep::Start(job)];
            }
            Entry::Occupied(occupied) => occupied.into_mut(),
        };
        if lease.claim.is_of_same_file(&claim) {
            let holder = lease.claim.holder;
            // A connection that comes back to its own upload has let go of it already.
            let evict = (holder != claim.holder).then(|| LeaseStep::Evict { holder, id: claim.id.clone() });
            let displaced = lease.next.replace((claim, job)).map(|(_, job)| LeaseStep::Displace(job));
            return displaced.into_iter().chain(evict).collect();
        }
        if lease.is_confirmed {
            assert!(lease.undecided.is_empty(), "claims wait for what is known");
            let is_foreign = lease.claim.owner.excludes(&claim.owner);
            return vec![LeaseStep::Refuse { job, name: claim.name, is_foreign }];
        }
        lease.undecided.push((claim, job));
        Vec::new()
    }

    /// Asks for a look at the upload `id`. Returns the job, where it need not wait for a holder that `lets_go` of it.
    #[must_use]
    pub fn look(&mut self, id: &Id, job: J, lets_go: impl FnOnce(K) -> bool) -> Option<J> {
        match self.by_id.get_mut(id) {
            Some(lease) if lets_go(lease.claim.holder) => {
                lease.lookers.push(job);
                None
            }
            _ => Some(job),
        }
    }

    /// Tells the `effect` of an operation of `holder` on `id` that has ended.
    ///
    /// # Panics
    ///
    /// Where that connection does not have the lease: two would work on one upload.
    #[must_use]
    pub fn ended(&mut self, holder: K, id: &Id, effect: LeaseEffect) -> Vec<LeaseStep<K, J>> {
        let lease = self.by_id.get_mut(id).filter(|lease| lease.claim.holder == holder);
        assert!(lease.is_some(), "an operation ends on an upload that its connection has no lease of");
        let Some(lease) = lease else { return Vec::new() };
        let undecided = std::mem::take(&mut lease.undecided);
        let mut steps = Vec::new();
        match effect {
            LeaseEffect::Confirmed => {
                lease.is_confirmed = true;
                for (claim, job) in undecided {
                    steps.extend(self.claim(claim, job));
                }
            }
            LeaseEffect::Released => {
                steps.extend(std::mem::take(&mut lease.lookers).into_iter().map(LeaseStep::Start));
                match lease.next.take() {
                    None => drop(self.by_id.remove(id)),
                    Some((claim, job)) => {
                        *lease = Lease::new(claim);
                        steps.push(LeaseStep::Start(job));
                    }
                }
                steps.extend(self.claim_newest(undecided));
            }
        }
        steps
    }

    /// Makes the claims that waited to know whose an upload is, in their order. Of several for the
    /// same file the newest counts.
    fn claim_newest(&mut self, claims: Vec<(Claim<K>, J)>) -> Vec<LeaseStep<K, J>> {
        let file = |claim: &Claim<K>| (claim.name.clone(), claim.size);
        let newest: HashMap<_, _> = claims.iter().enumerate().map(|(index, (claim, _))| (file(claim), index)).collect();
        let mut steps = Vec::new();
        for (index, (claim, job)) in claims.into_iter().enumerate() {
            if newest.get(&file(&claim)) == Some(&index) {
                steps.extend(self.claim(claim, job));
            } else {
                steps.push(LeaseStep::Displace(job));
            }
        }
        steps
    }

    /// Returns whether no connection has a lease, and so none waits for one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::LeaseEffect::{Confirmed, Released};
    use super::*;

    type Step = LeaseStep<usize, usize>;

    fn id() -> Id {
        Id::new("up").unwrap()
    }

    /// Connection `holder` claims the upload for a job that has its number.
    fn claim(leases: &mut Leases<usize, usize>, holder: usize, name: &str, size: u64) -> Vec<Step> {
        let name = Name::new(name).unwrap();
        leases.claim(Claim { holder, id: id(), name, size: Some(size), owner: Owner::default() }, holder)
    }

    fn refuse(job: usize, name: &str) -> Step {
        Step::Refuse { job, name: Name::new(name).unwrap(), is_foreign: false }
    }

    fn evict(holder: usize) -> Step {
        Step::Evict { holder, id: id() }
    }

    #[test]
    fn another_name_or_size_disturbs_nobody_whenever_it_comes() {
        let mut leases = Leases::default();
        assert_eq!(claim(&mut leases, 1, "a", 10), [Step::Start(1)]);
        // The store has not said yet whose the id is.
        assert_eq!(claim(&mut leases, 2, "b", 10), []);
        assert_eq!(claim(&mut leases, 3, "a", 11), []);
        assert_eq!(leases.ended(1, &id(), Confirmed), [refuse(2, "b"), refuse(3, "a")]);
        assert_eq!(claim(&mut leases, 4, "b", 10), [refuse(4, "b")]);
        // The same is another matter.
        assert_eq!(claim(&mut leases, 5, "a", 10), [evict(1)]);
    }

    #[test]
    fn one_that_claimed_in_vain_makes_way_for_who_is_right() {
        let mut leases = Leases::default();
        assert_eq!(claim(&mut leases, 1, "wrong", 10), [Step::Start(1)]);
        assert_eq!(claim(&mut leases, 2, "right", 10), []);
        assert_eq!(claim(&mut leases, 3, "another", 10), []);
        assert_eq!(leases.ended(1, &id(), Released), [Step::Start(2)]);
        assert_eq!(leases.ended(2, &id(), Confirmed), [refuse(3, "another")]);
    }

    #[test]
    fn of_those_who_waited_in_doubt_for_the_same_the_newest_starts() {
        let mut leases = Leases::default();
        assert_eq!(claim(&mut leases, 1, "wrong", 10), [Step::Start(1)]);
        for (holder, name) in [(2, "right"), (3, "another"), (4, "right")] {
            assert_eq!(claim(&mut leases, holder, name, 10), []);
        }
        assert_eq!(leases.ended(1, &id(), Released), [Step::Displace(2), Step::Start(3)]);
        assert_eq!(leases.ended(3, &id(), Released), [Step::Start(4)]);
        for (holder, name) in [(5, "other"), (6, "other")] {
            assert_eq!(claim(&mut leases, holder, name, 10), []);
        }
        assert_eq!(leases.ended(4, &id(), Confirmed), [refuse(5, "other"), refuse(6, "other")]);
    }

    #[test]
    fn the_newest_of_the_same_goes_on() {
        let mut leases = Leases::default();
        assert_eq!(claim(&mut leases, 1, "a", 10), [Step::Start(1)]);
        assert_eq!(claim(&mut leases, 2, "a", 10), [evict(1)]);
        assert_eq!(claim(&mut leases, 3, "b", 10), []);
        assert_eq!(claim(&mut leases, 4, "a", 10), [Step::Displace(2), evict(1)]);
        assert_eq!(leases.ended(1, &id(), Released), [Step::Start(4)], "another file waits on");
        assert_eq!(claim(&mut leases, 4, "a", 10), [], "it lets go by itself");
        assert_eq!(leases.ended(4, &id(), Released), [Step::Start(4)]);
        assert_eq!(leases.ended(4, &id(), Released), [Step::Start(3)]);
        assert_eq!(leases.ended(3, &id(), Released), []);
        assert!(leases.is_empty());
    }

    #[test]
    fn whoever_looks_waits_for_no_more_than_what_is_let_go_of() {
        let mut leases = Leases::default();
        assert_eq!(leases.look(&id(), 7, |_| panic!("nobody has it")), Some(7));
        assert_eq!(claim(&mut leases, 1, "a", 10), [Step::Start(1)]);
        assert_eq!(leases.look(&id(), 7, |holder| holder != 1), Some(7));
        assert_eq!(leases.look(&id(), 8, |holder| holder == 1), None);
        assert_eq!(leases.ended(1, &id(), Confirmed), []);
        assert_eq!(claim(&mut leases, 2, "a", 10), [evict(1)]);
        assert_eq!(leases.ended(1, &id(), Released), [Step::Start(8), Step::Start(2)]);
        assert_eq!(leases.ended(2, &id(), Released), []);
        assert!(leases.is_empty());
    }

    #[test]
    #[should_panic(expected = "has no lease of")]
    fn nobody_lets_go_of_what_another_has() {
        let mut leases = Leases::default();
        assert_eq!(claim(&mut leases, 1, "a", 10), [Step::Start(1)]);
        drop(leases.ended(2, &id(), Released));
    }
}
