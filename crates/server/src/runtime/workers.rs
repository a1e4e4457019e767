//! Carries out operations of the store: on the loop where they end at once, else in a helper.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use mio::{Token, Waker};

use super::{
    job::{Ended, Job},
    pool::Pool,
    root_health::{RootChange, RootHealth},
    setup::{ServerError, system},
};
use crate::{
    observe::{LaneFigures, RootDown},
    store::{
        Completion, ContentUsage, CrcUsage, Disk, Operation, Owner, OwnerLimits, ReadCompletion, ReadOperation,
        SCRATCH_BYTES, ServedStore, StoreLimits, StoreUsage, UploadOperation,
    },
};

/// The server itself, as whoever asks for a look at the root. No connection has this token.
const ROOT: Token = Token(usize::MAX);

/// The store, and its helpers.
#[derive(Debug)]
pub(super) struct Workers {
    store: Arc<ServedStore>,
    pool: Pool,
    scratch: Box<[u8]>,
    /// RESUMEs, which need a lease first.
    claims: Vec<Job>,
    root: RootHealth,
}

impl Workers {
    /// Starts the helpers. They wake `waker` when there are [`completions`](Self::completions).
    pub(super) fn start(
        store: Arc<ServedStore>,
        waker: Arc<Waker>,
        open_together: usize,
        job_timeout: Duration,
    ) -> Result<Workers, ServerError> {
        let pool = Pool::start(&store, waker, open_together, job_timeout).map_err(system("can't start a thread"))?;
        let root = RootHealth::new(Instant::now());
        Ok(Workers { store, pool, scratch: vec![0; SCRATCH_BYTES].into(), claims: Vec::new(), root })
    }

    /// Sets the store's limits of all together.
    pub(super) fn set_limits(&self, limits: &StoreLimits) {
        self.store.set_limits(limits);
    }

    /// Sets how long a job may go without progress.
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

    /// Hands a job to the helpers; one that depends on a lease is put aside until that is [claimed](Self::take_claims).
    pub(super) fn hand_on(&mut self, job: Job) {
        match job.operation {
            Operation::Upload(_, UploadOperation::Resume(_)) | Operation::Read(ReadOperation::Measure(_)) => {
                self.claims.push(job);
            }
            Operation::Read(ReadOperation::Probe) => {
                if self.root.ask(job.token, Instant::now()) {
                    self.probe();
                }
            }
            _ => self.pool.submit(job),
        }
    }

    /// Begins the one look at the root that is under way.
    fn probe(&mut self) {
        self.pool.submit(Job { token: ROOT, operation: Operation::Read(ReadOperation::Probe), lease: None });
    }

    /// Takes the jobs that were put aside.
    pub(super) fn take_claims(&mut self) -> Vec<Job> {
        std::mem::take(&mut self.claims)
    }

    /// Hands a job to the helpers that depends on a lease, and may begin.
    pub(super) fn resume(&mut self, job: Job) {
        self.pool.submit(job);
    }

    /// Takes back the reads that wait for `token`, which is gone: they won't be done, and are
    /// completed by this.
    pub(super) fn forget_reads(&mut self, token: Token) -> Vec<Ended> {
        let mut ended = self.pool.forget(token);
        ended.extend(self.root.forget(token));
        ended
    }

    /// Takes the completions of the helpers.
    pub(super) fn completions(&mut self, now: Instant) -> Vec<Ended> {
        let mut ended = self.pool.completions();
        if let Some(index) = ended.iter().position(|ended| ended.token == ROOT)
            && let Completion::Read(ReadCompletion::Probed(probed)) = ended.remove(index).completion
        {
            ended.extend(self.root.ended(&probed, now));
        }
        ended
    }

    /// Returns when to [look](Self::look) for helpers that do not come back, or at the root.
    pub(super) fn look_at(&self) -> Option<Instant> {
        self.pool.look_at().into_iter().chain(self.root.next_at()).min()
    }

    /// Starts helpers in the places of those that do not come back, and fails what they do not answer.
    pub(super) fn look(&mut self, now: Instant) {
        self.pool.look(now);
    }

    /// Looks at the root where that is due, and returns the change of its state since the last call.
    /// To be called when the completions of the round have been taken.
    pub(super) fn look_at_root(&mut self, now: Instant) -> Option<RootChange> {
        if self.root.is_due(now) {
            self.probe();
        }
        self.root.take_change()
    }

    /// Returns since when the root is down, and why; [`None`] while it answers.
    pub(super) fn root_down(&self, now: Instant) -> Option<RootDown> {
        self.root.down(now)
    }

    /// Returns the figures of each lane of helpers.
    pub(super) fn lanes(&self) -> Vec<LaneFigures> {
        self.pool.figures()
    }

    /// Returns what uploads take of the disk, as far as that can be known without waiting.
    pub(super) fn usage(&self) -> Option<StoreUsage> {
        self.store.usage()
    }

    /// Returns what the CRCs that the store remembers spare.
    pub(super) fn crc_usage(&self) -> CrcUsage {
        self.store.crc_usage()
    }

    /// Returns what the contents that the store has cached spare.
    pub(super) fn content_usage(&self) -> ContentUsage {
        self.store.content_usage()
    }

    /// Asks a helper to give freed memory back to the system.
    pub(super) fn give_memory_back(&self) {
        self.pool.give_memory_back();
    }

    /// Ends the helpers once their queues are empty, or, where it `is_cut`, once each has ended its
    /// operation; then leaves the store. Returns how many helpers the file system has not answered:
    /// where there are any, the next server cleans up.
    pub(super) fn end(&self, is_cut: bool) -> usize {
        let stuck = self.pool.end(is_cut);
        if stuck == 0 {
            self.store.leave();
        }
        stuck
    }
}
