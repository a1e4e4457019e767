//! Which connection holds which resumable upload: the newest wins.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use ferry_wire::Id;
use mio::Token;

use super::pool::Job;
use crate::{
    session::{Done, Outcome, Work},
    store::{Disk, Upload},
};

/// Who holds an upload, and who waits for it.
#[derive(Debug)]
struct Hold {
    owner: Token,
    /// What the owner was told to go on with: of that, the name and the size are beyond doubt.
    granted: Option<Arc<Upload>>,
    /// A RESUME that came meanwhile. It goes on when the owner has let go.
    next: Option<Job>,
}

/// All that are held in this process; between processes the store's locks decide.
#[derive(Debug, Default)]
pub(super) struct Holds {
    by_id: HashMap<Id, Hold>,
}

/// What to do with a RESUME.
#[derive(Debug)]
pub(super) enum Claim {
    /// Nobody holds the upload: hand it to the store.
    Free(Job),
    /// It waits until `owner`, to be told so, lets go. One that waited before is `displaced`.
    Taken { owner: Token, displaced: Option<Job> },
    /// The id is of another upload.
    Strange(Job),
}

impl Holds {
    /// `job` is a RESUME of `id`.
    pub(super) fn claim(&mut self, id: Id, job: Job) -> Claim {
        match self.by_id.entry(id) {
            Entry::Vacant(vacant) => {
                vacant.insert(Hold { owner: job.token, granted: None, next: None });
                Claim::Free(job)
            }
            Entry::Occupied(mut occupied) => {
                let hold = occupied.get_mut();
                if hold.granted.as_deref().is_some_and(|granted| !is_of(&job.work, granted)) {
                    return Claim::Strange(job);
                }
                let displaced = hold.next.replace(job);
                Claim::Taken { owner: hold.owner, displaced }
            }
        }
    }

    /// The owner may go on with `upload`, whose id is `id`.
    pub(super) fn grant(&mut self, id: &Id, upload: Arc<Upload>) {
        if let Some(hold) = self.by_id.get_mut(id) {
            hold.granted = Some(upload);
        }
    }

    /// The owner has let go: gives the RESUME that waited, which is the owner's now.
    pub(super) fn release(&mut self, id: &Id) -> Option<Job> {
        let hold = self.by_id.get_mut(id)?;
        match hold.next.take() {
            Some(job) => {
                (hold.owner, hold.granted) = (job.token, None);
                Some(job)
            }
            None => {
                self.by_id.remove(id);
                None
            }
        }
    }
}

fn is_of(work: &Work<Disk>, granted: &Upload) -> bool {
    matches!(work, Work::Resume { name, size, .. } if granted.becomes() == (name, Some(*size)))
}

/// The upload that is let go if this work ends well, or that was claimed in vain if it does not.
pub(super) fn upload_of(work: &Work<Disk>) -> Option<Id> {
    match work {
        Work::Resume { id, .. } => Some(id.clone()),
        Work::Publish { upload } | Work::Discard { upload } | Work::Keep { upload, .. } => upload.id().cloned(),
        _ => None,
    }
}

/// Whether an outcome of work on a held upload means that it is held no more.
pub(super) fn lets_go(outcome: &Outcome<'_, Disk>, of_resume: bool) -> bool {
    match outcome {
        Ok(Done::Dropped | Done::Replied(_)) => true,
        Ok(_) => false,
        // A RESUME that failed holds nothing; a publishing that failed is let go by the session.
        Err(_) => of_resume,
    }
}
