//! Invariants of the leases of uploads.

use std::collections::{HashMap, HashSet};

use ferry_server::{
    runtime::{
        lease_use::upload_of,
        leases::{Claim, LeaseEffect, LeaseStep},
        roster::{Duty, Scope},
    },
    store::{Fallback, NameOperation, Operation, ReadOperation, UploadOperation},
};
use ferry_wire::{Id, Name};
use mio::Token;

use crate::{
    conn::carried,
    store::{Awaited, Model, Store},
};

/// An operation on its way, and whose it is.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) conn: usize,
    pub(crate) operation: Operation<Model>,
    /// The name that an upload is to get.
    becomes: Option<Name>,
    /// The session, as long as it waits for it.
    pub(crate) waiter: Option<Waiter>,
    /// The number of its claim: later ones have higher numbers.
    claim: u64,
}

/// A session that waits for an operation.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) conn: usize,
    pub(crate) fallback: Fallback<Model>,
    /// The upload whose lease it needs, or may end.
    pub(crate) lease: Option<Id>,
    /// The memory that was handed on with it.
    pub(crate) carried: u64,
    pub(crate) awaited: Awaited,
    pub(crate) is_change: bool,
}

impl Job {
    pub(crate) fn new(conn: usize, operation: Operation<Model>, store: &Store) -> Job {
        let waiter = Waiter {
            conn,
            fallback: operation.fallback(),
            lease: upload_of(&operation, |upload| store.id_of(*upload)),
            carried: carried(&operation),
            awaited: Awaited::of(&operation),
            is_change: matches!(operation, Operation::Name(_)),
        };
        let becomes = match &operation {
            Operation::Name(NameOperation::Publish(_, upload, _)) => Some(store.becomes(*upload).clone()),
            _ => None,
        };
        Job { conn, operation, becomes, waiter: Some(waiter), claim: 0 }
    }
}

/// As the loop's helpers see it.
impl Duty for Job {
    type Waiter = Waiter;

    fn token(&self) -> Token {
        Token(self.conn)
    }

    fn scope(&self) -> Scope<'_> {
        match &self.operation {
            Operation::Read(ReadOperation::Open { name, .. } | ReadOperation::Stat { name }) => {
                Scope::Read(name.as_str())
            }
            Operation::Read(ReadOperation::List { name }) => Scope::Read(name.as_ref().map_or("", Name::as_str)),
            Operation::Upload(_, UploadOperation::Write { upload, .. }) => Scope::Upload(upload.0),
            Operation::Name(operation) => {
                Scope::of_names(operation, |_| self.becomes.as_ref().expect("it was looked up"))
            }
            Operation::Read(_) | Operation::Upload(..) => Scope::Nothing,
        }
    }

    fn take_waiter(&mut self) -> Option<Waiter> {
        self.waiter.take()
    }

    fn remainder(self) -> Option<Job> {
        let operation = match self.operation {
            Operation::Upload(number, UploadOperation::Keep { upload, .. }) => {
                Operation::Upload(number, UploadOperation::Keep { upload, tail: None })
            }
            operation @ Operation::Upload(_, UploadOperation::Discard { .. }) => operation,
            _ => return None,
        };
        Some(Job { operation, ..self })
    }
}

/// Looks at each step that is taken for a lease, with a book of its own.
#[derive(Default)]
pub(crate) struct Rules {
    claims: u64,
    /// The claims that are granted.
    started: HashMap<Id, Claim<usize>>,
    confirmed: HashSet<Id>,
    waiting: Vec<(u64, Claim<usize>)>,
    pub(crate) refused: u64,
    pub(crate) displaced: u64,
    pub(crate) evicted: u64,
}

fn is_same(one: &Claim<usize>, other: &Claim<usize>) -> bool {
    (&one.id, &one.name, one.size) == (&other.id, &other.name, other.size)
}

impl Rules {
    /// `job` makes this claim.
    pub(crate) fn claims(&mut self, claim: &Claim<usize>, job: &mut Job) {
        self.claims += 1;
        job.claim = self.claims;
        self.waiting.push((job.claim, claim.clone()));
    }

    /// The newest claim led to these steps.
    pub(crate) fn claimed(&mut self, steps: &[LeaseStep<usize, Job>]) {
        self.look(steps);
        let Some((_, claim)) = self.waiting.iter().find(|(number, _)| *number == self.claims) else { return };
        let started = &self.started[&claim.id];
        let is_evicted =
            steps.iter().any(|step| matches!(step, LeaseStep::Evict { holder, .. } if *holder == started.holder));
        let is_due = is_same(started, claim) && started.holder != claim.holder;
        assert_eq!(is_evicted, is_due, "the holder is asked to let go for who wants the same, and only then");
    }

    /// These steps are taken.
    pub(crate) fn look(&mut self, steps: &[LeaseStep<usize, Job>]) {
        for step in steps {
            match step {
                // Of those who only look, it begins nothing.
                LeaseStep::Start(job) if matches!(job.operation, Operation::Read(_)) => {}
                LeaseStep::Start(job) => {
                    let claim = self.take(job);
                    let newer =
                        self.waiting.iter().any(|(number, other)| *number > job.claim && is_same(&claim, other));
                    assert!(!newer, "an older connection goes on with {}", claim.id);
                    let before = self.started.insert(claim.id.clone(), claim);
                    assert!(before.is_none(), "two work on one upload");
                }
                LeaseStep::Refuse { job, name, .. } => {
                    let claim = self.take(job);
                    assert_eq!(&claim.name, name);
                    let started = self.started.get(&claim.id).expect("refused though nobody has it");
                    assert!(!is_same(started, &claim) && self.confirmed.contains(&claim.id), "refused in doubt");
                    self.refused += 1;
                }
                LeaseStep::Displace(job) => {
                    let claim = self.take(job);
                    let newer =
                        self.waiting.iter().any(|(number, other)| *number > job.claim && is_same(&claim, other));
                    assert!(newer, "displaced for nobody");
                    self.displaced += 1;
                }
                LeaseStep::Evict { holder, id } => {
                    let started =
                        self.started.get(id).filter(|claim| claim.holder == *holder).expect("evicts a stranger");
                    let wanted =
                        self.waiting.iter().any(|(_, other)| other.holder != *holder && is_same(started, other));
                    assert!(wanted, "evicted for nobody who wants the same");
                    self.evicted += 1;
                }
            }
        }
        for (_, claim) in &self.waiting {
            let started = self.started.get(&claim.id).expect("a claim waits for nobody");
            assert!(is_same(started, claim) || !self.confirmed.contains(&claim.id), "a claim waits in vain");
        }
    }

    pub(crate) fn ended(&mut self, id: &Id, effect: LeaseEffect) {
        match effect {
            LeaseEffect::Confirmed => drop(self.confirmed.insert(id.clone())),
            LeaseEffect::Released => {
                self.started.remove(id).expect("let go of what nobody had");
                self.confirmed.remove(id);
            }
        }
    }

    fn take(&mut self, job: &Job) -> Claim<usize> {
        let index = self.waiting.iter().position(|(number, _)| *number == job.claim).expect("a step for nobody");
        self.waiting.remove(index).1
    }
}
