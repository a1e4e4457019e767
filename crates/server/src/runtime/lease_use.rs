//! The part that operations of the store have in leases.

use ferry_wire::Id;

use super::leases::{Claim, LeaseEffect};
use crate::protocol::ferry::{Done, Handles, Outcome, Work};

/// The part that one operation has in the lease of an upload: known when it is handed to the store, and looked at when
/// it has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseUse {
    /// The upload.
    pub id: Id,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Takes the upload up, with the lease that was claimed for it.
    Resume,
    Publish,
    /// Lets the upload go, however that ends.
    Release,
}

impl LeaseUse {
    /// Returns the part that `work` has in a lease, given the ids of resumable uploads; [`None`] for most.
    pub fn of<H: Handles>(work: &Work<H>, id_of: impl Fn(&H::Upload) -> Option<Id>) -> Option<LeaseUse> {
        match work {
            Work::Resume { id, .. } => Some(LeaseUse { id: id.clone(), kind: Kind::Resume }),
            Work::Publish { upload } => Some(LeaseUse { id: id_of(upload)?, kind: Kind::Publish }),
            Work::Discard { upload } | Work::Keep { upload, .. } => {
                Some(LeaseUse { id: id_of(upload)?, kind: Kind::Release })
            }
            _ => None,
        }
    }

    /// Returns the effect of its end on the lease, if it has one.
    #[must_use]
    pub fn effect<H: Handles>(&self, outcome: &Outcome<'_, H>) -> Option<LeaseEffect> {
        match (self.kind, outcome) {
            (Kind::Resume, Ok(Done::Resumed { .. })) => Some(LeaseEffect::Confirmed),
            // One that failed, or was published before, holds nothing.
            (Kind::Resume | Kind::Release, _) | (Kind::Publish, Ok(_)) => Some(LeaseEffect::Released),
            // The session lets it go.
            (Kind::Publish, Err(_)) => None,
        }
    }
}

impl<K> Claim<K> {
    /// Returns the claim that `work` makes for `holder`; [`None`] where it is no RESUME.
    pub fn of<H: Handles>(work: &Work<H>, holder: K) -> Option<Claim<K>> {
        match work {
            Work::Resume { id, name, size, .. } => {
                Some(Claim { holder, id: id.clone(), name: name.clone(), size: *size })
            }
            _ => None,
        }
    }
}
