//! A model of the loop's table of held uploads: the newest connection wins.

use std::collections::HashMap;

use ferry_server::protocol::ferry::{Done, Errand, Outcome, Work};
use ferry_wire::Id;

use crate::store::{Model, Store};

/// A piece of work on its way, and whose it is.
pub(crate) struct Job {
    pub(crate) conn: usize,
    pub(crate) errand: Errand,
    pub(crate) work: Work<Model>,
}

/// Who holds what, as the loop keeps it.
#[derive(Default)]
pub(crate) struct Holds {
    by_id: HashMap<Id, (usize, Option<Job>)>,
    letting_go: HashMap<(usize, Errand), (Id, bool)>,
}

/// What to do with a RESUME.
pub(crate) enum Claim {
    Free(Job),
    Taken { owner: usize, displaced: Option<Job> },
}

impl Holds {
    pub(crate) fn claim(&mut self, id: &Id, job: Job) -> Claim {
        match self.by_id.get_mut(id) {
            None => {
                self.by_id.insert(id.clone(), (job.conn, None));
                Claim::Free(job)
            }
            Some((owner, next)) => Claim::Taken { owner: *owner, displaced: next.replace(job) },
        }
    }

    /// `job` is handed to the store.
    pub(crate) fn submitted(&mut self, job: &Job, store: &Store) {
        let id = match &job.work {
            Work::Resume { id, .. } => Some(id.clone()),
            Work::Publish { upload } | Work::Discard { upload } | Work::Keep { upload, .. } => store.id_of(*upload),
            _ => None,
        };
        if let Some(id) = id {
            let of_resume = matches!(job.work, Work::Resume { .. });
            self.letting_go.insert((job.conn, job.errand), (id, of_resume));
        }
    }

    /// Work has ended: gives the RESUME that may go on now.
    pub(crate) fn ended(&mut self, conn: usize, errand: Errand, outcome: &Outcome<'_, Model>) -> Option<Job> {
        let (id, of_resume) = self.letting_go.remove(&(conn, errand))?;
        let lets_go = match outcome {
            Ok(Done::Dropped | Done::Replied(_)) => true,
            Ok(_) => false,
            Err(_) => of_resume,
        };
        if !lets_go {
            return None;
        }
        let (owner, next) = self.by_id.get_mut(&id)?;
        match next.take() {
            Some(job) => {
                *owner = job.conn;
                Some(job)
            }
            None => {
                self.by_id.remove(&id);
                None
            }
        }
    }

    /// Nobody holds anything, nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_id.is_empty() && self.letting_go.is_empty()
    }
}
