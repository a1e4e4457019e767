//! Carries out operations of the store: on the loop where they end at once, else in a helper.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use mio::{Token, Waker};

use super::{
    job::{Ended, Job},
    pool::Pool,
    setup::{ServerError, system},
};
use crate::{
    observe::LaneFigures,
    store::{
        Completion, Disk, Operation, Owner, OwnerLimits, SCRATCH_BYTES, Store, StoreLimits, StoreUsage, UploadOperation,
    },
};

/// The store, and its helpers.
#[derive(Debug)]
pub(super) struct Workers {
    store: Arc<Store>,
    pool: Pool,
    scratch: Box<[u8]>,
    /// RESUMEs, which need a lease first.
    claims: Vec<Job>,
}

impl Workers {
    /// Starts the helpers. They wake `waker` when there are [`completions`](Self::completions).
    pub(super) fn start(
        store: Arc<Store>,
        waker: Arc<Waker>,
        open_together: usize,
        job_timeout: Duration,
    ) -> Result<Workers, ServerError> {
        let pool = Pool::start(&store, waker, open_together, job_timeout).map_err(system("can't start a thread"))?;
        Ok(Workers { store, pool, scratch: vec![0; SCRATCH_BYTES].into(), claims: Vec::new() })
    }

    /// Sets the store's limits of all together.
    pub(super) fn set_limits(&self, limits: &StoreLimits) {
        self.store.set_limits(limits);
    }

    /// Sets how long a read may go without progress.
    pub(super) fn set_job_timeout(&mut self, timeout: Duration) {
        self.pool.set_job_timeout(timeout);
    }

    /// Sets the store's limits of owners.
    pub(super) fn set_owner_limits(&self, limits: impl Iterator<Item = (Owner, OwnerLimits)>) {
        self.store.set_owner_limits(limits.collect());
    }

    /// Does `operation` at once, or returns it where it might wait for a disk.
    pub(super) fn try_now(&mut self, operation: Operation<Disk>) -> Result<Completion<'_, Disk>, Operation<Disk>> {
        self.store.try_now(operation, &mut self.scratch)
    }

    /// Hands a job to the helpers; a RESUME is put aside until its lease is [claimed](Self::take_claims).
    pub(super) fn hand_on(&mut self, job: Job) {
        if matches!(job.operation, Operation::Upload(_, UploadOperation::Resume(_))) {
            self.claims.push(job);
        } else {
            self.pool.submit(job);
        }
    }

    /// Takes the RESUMEs that were put aside.
    pub(super) fn take_claims(&mut self) -> Vec<Job> {
        std::mem::take(&mut self.claims)
    }

    /// Hands a RESUME that has its lease to the helpers.
    pub(super) fn resume(&mut self, job: Job) {
        self.pool.submit(job);
    }

    /// Takes back the reads that wait for `token`, which is gone: they won't be done, and are
    /// completed by this.
    pub(super) fn forget_reads(&self, token: Token) -> Vec<Ended> {
        self.pool.forget(token)
    }

    /// Takes the completions of the helpers.
    pub(super) fn completions(&self) -> Vec<Ended> {
        self.pool.completions()
    }

    /// Returns when to [look](Self::look) for helpers that do not come back.
    pub(super) fn look_at(&self) -> Option<Instant> {
        self.pool.look_at()
    }

    /// Starts helpers in the places of those that do not come back, and fails what they do not answer.
    pub(super) fn look(&mut self, now: Instant) {
        self.pool.look(now);
    }

    /// Returns the figures of each lane of helpers.
    pub(super) fn lanes(&self) -> Vec<LaneFigures> {
        self.pool.figures()
    }

    /// Returns what uploads take of the disk, as far as that can be known without waiting.
    pub(super) fn usage(&self) -> Option<StoreUsage> {
        self.store.usage()
    }

    /// Asks a helper to give freed memory back to the system.
    pub(super) fn give_memory_back(&self) {
        self.pool.give_memory_back();
    }

    /// Ends the helpers once their queues are empty, or, where it `is_cut`, once each has ended its
    /// operation; then leaves the store.
    pub(super) fn end(&self, is_cut: bool) {
        self.pool.end(is_cut);
        self.store.leave();
    }
}
