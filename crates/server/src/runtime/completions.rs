//! Brings completions to their sessions, and leases of uploads to the connections that claim them.

use std::time::Instant;

use mio::Token;

use super::{
    Server,
    job::{Ended, Job},
    leases::{Claim, LeaseEffect, LeaseStep},
};
use crate::store::{Completion, Disk, ErrorKind, Operation, ReadOperation, StoreError};

impl Server {
    /// Tells each session what the helpers have done for it.
    pub(super) fn take_completions(&mut self) {
        let now = Instant::now();
        for Ended { token, completion, lease } in self.workers.completions(now) {
            if let Some(id) = lease
                && let Some(effect) = LeaseEffect::of(&completion)
            {
                let steps = self.leases.ended(token, &id, effect);
                self.follow(steps, now);
            }
            self.complete(token, completion, now);
        }
    }

    /// Tells a session of one completion.
    pub(super) fn complete(&mut self, token: Token, completion: Completion<'static, Disk>, now: Instant) {
        // The completion for a connection that is gone releases its handles when it is dropped.
        let Some(connection) = self.connections.get(token) else { return };
        connection.session.complete(completion, now);
        self.scheduler.queue(token, &mut connection.queued);
    }

    /// Hands a RESUME to the helpers once it has the lease of its upload, and a look at one once nobody lets go of it.
    pub(super) fn claim(&mut self, job: Job, now: Instant) {
        let steps = match (Claim::of(&job.operation, job.token), &job.operation) {
            (Some(claim), _) => self.leases.claim(claim, job),
            (None, Operation::Read(ReadOperation::Measure(wanted))) => {
                let (id, connections) = (wanted.id.clone(), &mut self.connections);
                let lets_go = |holder| connections.get(holder).is_some_and(|holder| holder.session.lets_go_of(&id));
                self.leases.look(&id, job, lets_go).map(LeaseStep::Start).into_iter().collect()
            }
            (None, _) => vec![LeaseStep::Start(job)],
        };
        self.follow(steps, now);
    }

    /// Completes a job that is not done.
    fn fail(&mut self, job: &Job, error: StoreError, now: Instant) {
        self.complete(job.token, job.operation.fallback().failed(error), now);
    }

    /// Takes the steps that a claim or a completion led to.
    fn follow(&mut self, steps: Vec<LeaseStep<Token, Job>>, now: Instant) {
        for step in steps {
            match step {
                LeaseStep::Start(job) => self.workers.resume(job),
                LeaseStep::Refuse { job, name, is_foreign } => {
                    let kind = if is_foreign { ErrorKind::ForeignUpload } else { ErrorKind::IdTaken };
                    self.fail(&job, StoreError::at(name.as_str(), kind), now);
                }
                LeaseStep::Displace(job) => self.fail(&job, StoreError::of(ErrorKind::TakenOver), now),
                LeaseStep::Evict { holder, id } => {
                    let Some(connection) = self.connections.get(holder) else { continue };
                    connection.session.evict(&id, now);
                    self.scheduler.queue(holder, &mut connection.queued);
                }
            }
        }
    }
}
