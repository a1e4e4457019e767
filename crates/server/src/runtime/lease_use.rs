//! The part that operations of the store have in leases.

use ferry_wire::Id;

use super::leases::{Claim, LeaseEffect};
use crate::store::{
    Completion, Handles, NameCompletion, NameOperation, Operation, Resumed, UploadCompletion, UploadOperation,
};

/// Returns the upload whose lease `operation` needs, or may end, given the ids of resumable
/// uploads; [`None`] for most.
pub fn upload_of<H: Handles>(operation: &Operation<H>, id_of: impl Fn(&H::Upload) -> Option<Id>) -> Option<Id> {
    match operation {
        Operation::Upload(_, UploadOperation::Resume(resume)) => Some(resume.id.clone()),
        Operation::Upload(_, UploadOperation::Discard { upload } | UploadOperation::Keep { upload, .. })
        | Operation::Name(NameOperation::Publish(_, upload, _)) => id_of(upload),
        Operation::Read(_) | Operation::Upload(..) | Operation::Name(NameOperation::Change(..)) => None,
    }
}

impl LeaseEffect {
    /// Returns the effect of a completion on the lease of its upload, if it has one.
    pub fn of<H: Handles>(completion: &Completion<'_, H>) -> Option<LeaseEffect> {
        match completion {
            Completion::Upload(_, UploadCompletion::Resumed(Ok(Resumed::Going { .. }))) => Some(LeaseEffect::Confirmed),
            // One that failed, or was published before, holds nothing.
            Completion::Upload(_, UploadCompletion::Resumed(_) | UploadCompletion::Released)
            | Completion::Name(NameCompletion::Published(_, Ok(_))) => Some(LeaseEffect::Released),
            // Where it could not be published, the session lets it go.
            Completion::Read(_) | Completion::Upload(..) | Completion::Name(_) => None,
        }
    }
}

impl<K> Claim<K> {
    /// Returns the claim that `operation` makes for `holder`; [`None`] where it is no RESUME.
    pub fn of<H: Handles>(operation: &Operation<H>, holder: K) -> Option<Claim<K>> {
        match operation {
            Operation::Upload(_, UploadOperation::Resume(resume)) => Some(Claim {
                holder,
                id: resume.id.clone(),
                name: resume.name.clone(),
                size: resume.size,
                owner: resume.owner.clone(),
            }),
            _ => None,
        }
    }
}
