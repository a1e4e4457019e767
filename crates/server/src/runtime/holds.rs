//! Which connection holds which resumable upload: the newest wins.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
};

use ferry_wire::{Id, Name};
use mio::Token;

use super::job::Job;
use crate::{
    protocol::ferry::{Done, Outcome, Owner, Work},
    store::Disk,
};

/// Who holds an upload, and who waits for it.
#[derive(Debug)]
struct Hold {
    owner: Token,
    /// The name and the size that the owner asked for.
    asked: (Name, u64),
    /// The owner was told to go on: that the upload is of this name and size is beyond doubt.
    granted: bool,
    /// A RESUME of the same that came meanwhile. It goes on when the owner has let go.
    next: Option<Job>,
    /// RESUMEs of another name or size. They wait until it is known whose the id is.
    others: Vec<Job>,
}

impl Hold {
    /// A hold of `job`, a RESUME; [`None`] for any other work.
    fn of(job: &Job) -> Option<Hold> {
        let asked = asked_for(&job.work)?;
        Some(Hold { owner: job.token, asked, granted: false, next: None, others: Vec::new() })
    }
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
    /// It waits until it is known whose the id is, and nobody is to be told.
    Doubtful,
    /// The id is of another upload.
    Strange(Job),
}

/// RESUMEs that may go on.
#[derive(Debug, Default)]
pub(super) struct Released {
    /// The new owner's: hand it to the store.
    pub(super) next: Option<Job>,
    /// To be claimed anew.
    pub(super) again: Vec<Job>,
}

impl Holds {
    /// `job` is a RESUME of `id`.
    pub(super) fn claim(&mut self, id: Id, job: Job) -> Claim {
        match self.by_id.entry(id) {
            Entry::Vacant(vacant) => {
                if let Some(hold) = Hold::of(&job) {
                    vacant.insert(hold);
                }
                Claim::Free(job)
            }
            Entry::Occupied(mut occupied) => {
                let hold = occupied.get_mut();
                match (asked_for(&job.work).as_ref() == Some(&hold.asked), hold.granted) {
                    (true, _) => {
                        let displaced = hold.next.replace(job);
                        Claim::Taken { owner: hold.owner, displaced }
                    }
                    (false, true) => Claim::Strange(job),
                    (false, false) => {
                        hold.others.push(job);
                        Claim::Doubtful
                    }
                }
            }
        }
    }

    /// Lets the owner go on with the upload. Returns the RESUMEs that waited to know whose it is: to be claimed anew.
    pub(super) fn grant(&mut self, id: &Id) -> Vec<Job> {
        let Some(hold) = self.by_id.get_mut(id) else { return Vec::new() };
        hold.granted = true;
        std::mem::take(&mut hold.others)
    }

    /// The owner has let go.
    pub(super) fn release(&mut self, id: &Id) -> Released {
        let Some(mut hold) = self.by_id.remove(id) else { return Released::default() };
        let again = std::mem::take(&mut hold.others);
        let Some(job) = hold.next.take() else { return Released { next: None, again } };
        hold = Hold { owner: job.token, granted: false, ..hold };
        self.by_id.insert(id.clone(), hold);
        Released { next: Some(job), again }
    }
}

/// Returns the owner of the uploads that a client of this address begins. Of an IPv6 address the first half counts:
/// the other one is the client's own choice.
pub(super) fn owner_of(address: IpAddr) -> Owner {
    let name = match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{}/64", std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    };
    Owner::new(&format!("address={name}")).unwrap_or_default()
}

/// Returns the name and the size that a RESUME is of.
fn asked_for(work: &Work<Disk>) -> Option<(Name, u64)> {
    match work {
        Work::Resume { name, size, .. } => Some((name.clone(), *size)),
        _ => None,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> Id {
        Id::new("up").unwrap()
    }

    fn resume(token: usize, name: &str, size: u64) -> Job {
        let work =
            Work::Resume { id: id(), name: Name::new(name).unwrap(), size, mtime: None, owner: Owner::default() };
        Job { token: Token(token), errand: 0, work }
    }

    fn claim(holds: &mut Holds, job: Job) -> Claim {
        holds.claim(id(), job)
    }

    fn tokens(jobs: &[Job]) -> Vec<usize> {
        jobs.iter().map(|job| job.token.0).collect()
    }

    #[test]
    fn whoever_has_half_an_address_is_one_owner() {
        let owner = |address: &str| owner_of(address.parse().unwrap()).name().unwrap().to_owned();
        assert_eq!(owner("192.0.2.7"), "address=192.0.2.7");
        assert_eq!(owner("::ffff:192.0.2.7"), "address=192.0.2.7");
        assert_eq!(owner("2001:db8:1:2:3:4:5:6"), "address=2001:db8:1:2::/64");
        assert_eq!(owner("2001:db8:1:2::9"), owner("2001:db8:1:2:3:4:5:6"));
        assert_ne!(owner("2001:db8:1:3::9"), owner("2001:db8:1:2::9"));
    }

    #[test]
    fn another_name_or_size_disturbs_nobody_whenever_it_comes() {
        let mut holds = Holds::default();
        assert!(matches!(claim(&mut holds, resume(1, "a", 10)), Claim::Free(_)));
        // The store has not said yet whose the id is.
        assert!(matches!(claim(&mut holds, resume(2, "b", 10)), Claim::Doubtful));
        assert!(matches!(claim(&mut holds, resume(3, "a", 11)), Claim::Doubtful));
        let waited = holds.grant(&id());
        assert_eq!(tokens(&waited), [2, 3]);
        for job in waited {
            assert!(matches!(claim(&mut holds, job), Claim::Strange(_)));
        }
        assert!(matches!(claim(&mut holds, resume(4, "b", 10)), Claim::Strange(_)));
        // The same is another matter.
        let taken = claim(&mut holds, resume(5, "a", 10));
        assert!(matches!(taken, Claim::Taken { owner: Token(1), displaced: None }));
    }

    #[test]
    fn one_that_claimed_in_vain_makes_way_for_who_is_right() {
        let mut holds = Holds::default();
        assert!(matches!(claim(&mut holds, resume(1, "wrong", 10)), Claim::Free(_)));
        assert!(matches!(claim(&mut holds, resume(2, "right", 10)), Claim::Doubtful));
        let released = holds.release(&id());
        assert!(released.next.is_none());
        assert_eq!(tokens(&released.again), [2]);
        let [job] = released.again.try_into().unwrap();
        assert!(matches!(claim(&mut holds, job), Claim::Free(_)));
    }

    #[test]
    fn the_newest_of_the_same_goes_on() {
        let mut holds = Holds::default();
        assert!(matches!(claim(&mut holds, resume(1, "a", 10)), Claim::Free(_)));
        assert!(matches!(claim(&mut holds, resume(2, "a", 10)), Claim::Taken { owner: Token(1), displaced: None }));
        assert!(matches!(claim(&mut holds, resume(3, "b", 10)), Claim::Doubtful));
        let Claim::Taken { owner: Token(1), displaced: Some(second) } = claim(&mut holds, resume(4, "a", 10)) else {
            panic!("not taken")
        };
        assert_eq!(second.token, Token(2));
        let Released { next: Some(next), again } = holds.release(&id()) else { panic!("nobody waits") };
        assert_eq!((next.token, tokens(&again)), (Token(4), vec![3]));
        let [job] = again.try_into().unwrap();
        assert!(matches!(claim(&mut holds, job), Claim::Doubtful));
        assert!(holds.release(&id()).next.is_none());
        assert!(holds.by_id.is_empty());
    }
}
