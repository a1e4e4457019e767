//! Operations that go from the loop to its helpers, and completions that come back.

use std::net::IpAddr;

use ferry_wire::{Id, Name};
use mio::Token;

use super::{
    lease_use::upload_of,
    roster::{Duty, Scope},
};
use crate::{
    access::source,
    store::{
        Completion, Disk, Fallback, NameOperation, Operation, Owner, ReadOperation, ServedStore, Shift, SmallFinish,
        StoreError, UploadCompletion, UploadNumber, UploadOperation,
    },
};

/// An operation of a connection, on its way to a helper.
#[derive(Debug)]
pub(super) struct Job<O = Operation<Disk>> {
    pub(super) token: Token,
    pub(super) operation: O,
    /// The upload whose lease the operation needs, or may end.
    pub(super) lease: Option<Id>,
}

impl Job {
    /// Returns the job of a connection from `address`, which becomes the owner of an upload that
    /// belongs to nobody.
    pub(super) fn new(token: Token, address: IpAddr, mut operation: Operation<Disk>) -> Job {
        if let Operation::Upload(_, UploadOperation::Resume(resume)) = &mut operation
            && resume.owner.is_nobody()
        {
            resume.owner = owner_of(address);
        }
        let lease = upload_of(&operation, |upload| upload.id().cloned());
        Job { token, operation, lease }
    }
}

/// The completion of an operation, on its way back.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) token: Token,
    pub(super) completion: Completion<'static, Disk>,
    /// As the job had it.
    pub(super) lease: Option<Id>,
}

/// Whoever waits for the completion of a job.
pub(super) struct Waiting {
    token: Token,
    fallback: Fallback<Disk>,
    lease: Option<Id>,
}

impl Waiting {
    /// Returns the end of the job with `completion`.
    pub(super) fn ended(self, completion: Completion<'static, Disk>) -> Ended {
        Ended { token: self.token, completion, lease: self.lease }
    }

    /// Returns the end of a job that was begun, and that the file system does not answer.
    pub(super) fn unanswered(self) -> Ended {
        let completion = self.fallback.unanswered();
        self.ended(completion)
    }

    /// Returns the end of the job with `error`.
    pub(super) fn failed(self, error: StoreError) -> Ended {
        let completion = self.fallback.failed(error);
        self.ended(completion)
    }
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").field("token", &self.token).finish_non_exhaustive()
    }
}

/// A job in a lane.
#[derive(Debug)]
pub(super) struct Assigned<O> {
    token: Token,
    operation: O,
    /// Nobody, where it only remains to be done.
    waiting: Option<Waiting>,
}

impl<O: Helped> Assigned<O> {
    pub(super) fn new(job: Job<O>) -> Assigned<O> {
        let Job { token, operation, lease } = job;
        let waiting = Some(Waiting { token, fallback: operation.fallback(), lease });
        Assigned { token, operation, waiting }
    }

    pub(super) fn into_operation(self) -> O {
        self.operation
    }

    pub(super) fn into_waiting(self) -> Option<Waiting> {
        self.waiting
    }
}

impl<O: Helped> Duty for Assigned<O> {
    type Waiter = Waiting;

    fn token(&self) -> Token {
        self.token
    }

    fn scope(&self) -> Scope<'_> {
        self.operation.scope()
    }

    fn take_waiter(&mut self) -> Option<Waiting> {
        self.waiting.take()
    }

    fn remainder(self) -> Option<Assigned<O>> {
        let (token, waiting) = (self.token, self.waiting);
        self.operation.remainder().map(|operation| Assigned { token, operation, waiting })
    }
}

/// A kind of operations that helpers of one lane do.
pub(super) trait Helped: std::fmt::Debug + Send + Sized + 'static {
    /// Returns what the operation needs for itself.
    fn scope(&self) -> Scope<'_>;

    /// Returns what makes a completion of this operation, should it be lost.
    fn fallback(&self) -> Fallback<Disk>;

    /// Returns the part of it that must be done though nobody waits for it.
    fn remainder(self) -> Option<Self> {
        None
    }

    /// Does what the shift has, and returns the completions in its order.
    fn run(shift: &mut dyn Shift<Self>, store: &ServedStore, scratch: &mut [u8]) -> Vec<Completion<'static, Disk>>;
}

/// An operation that is done by itself.
#[derive(Debug)]
pub(super) enum Single {
    Read(ReadOperation<Disk>),
    /// With the lock that it takes, by [`ServedStore::lock_of`].
    Upload(UploadNumber, UploadOperation<Disk>, Option<usize>),
}

impl Helped for Single {
    fn scope(&self) -> Scope<'_> {
        match self {
            Single::Read(ReadOperation::Open { name, .. } | ReadOperation::Stat { name }) => Scope::Read(name.as_str()),
            Single::Read(ReadOperation::Probe | ReadOperation::Room { .. }) => Scope::Read(""),
            Single::Read(ReadOperation::List { name }) => Scope::Read(name.as_ref().map_or("", Name::as_str)),
            Single::Read(
                ReadOperation::Load { file, .. } | ReadOperation::Extent { file, .. } | ReadOperation::Check { file },
            ) => Scope::Read(file.name()),
            Single::Read(ReadOperation::ListMore { dir }) => Scope::Read(dir.name()),
            Single::Read(ReadOperation::Measure(resume)) => Scope::Read(resume.name.as_str()),
            // Another one would only wait for the same lock.
            Single::Upload(.., lock) => lock.map_or(Scope::Nothing, Scope::Upload),
        }
    }

    fn fallback(&self) -> Fallback<Disk> {
        match self {
            Single::Read(operation) => operation.fallback(),
            Single::Upload(number, operation, _) => operation.fallback(*number),
        }
    }

    fn remainder(self) -> Option<Single> {
        match self {
            Single::Upload(number, UploadOperation::Discard { upload }, lock) => {
                Some(Single::Upload(number, UploadOperation::Discard { upload }, lock))
            }
            // Memory that waits for what does not answer is given up.
            Single::Upload(number, UploadOperation::Keep { upload, .. }, lock) => {
                Some(Single::Upload(number, UploadOperation::Keep { upload, tail: None }, lock))
            }
            Single::Read(_) | Single::Upload(..) => None,
        }
    }

    fn run(shift: &mut dyn Shift<Single>, store: &ServedStore, scratch: &mut [u8]) -> Vec<Completion<'static, Disk>> {
        let mut completions = Vec::new();
        while let Some(one) = shift.take_one() {
            completions.push(match one {
                Single::Read(operation) => Completion::Read(store.read(operation, scratch, &|| shift.gets_on())),
                Single::Upload(number, operation, _) => {
                    Completion::Upload(number, store.advance(operation, &|| shift.gets_on()))
                }
            });
        }
        completions
    }
}

impl Helped for SmallFinish {
    fn scope(&self) -> Scope<'_> {
        Scope::Nothing
    }

    fn fallback(&self) -> Fallback<Disk> {
        SmallFinish::fallback(self)
    }

    fn run(shift: &mut dyn Shift<SmallFinish>, store: &ServedStore, _: &mut [u8]) -> Vec<Completion<'static, Disk>> {
        let finished = |(number, result)| Completion::Upload(number, UploadCompletion::Finished(result));
        store.finish_small(shift).into_iter().map(finished).collect()
    }
}

impl Helped for NameOperation<Disk> {
    fn scope(&self) -> Scope<'_> {
        Scope::of_names(self, |upload| upload.becomes().0)
    }

    fn fallback(&self) -> Fallback<Disk> {
        NameOperation::fallback(self)
    }

    fn run(shift: &mut dyn Shift<Self>, store: &ServedStore, _: &mut [u8]) -> Vec<Completion<'static, Disk>> {
        store.change_names(shift).into_iter().map(Completion::Name).collect()
    }
}

/// Returns the owner of uploads that a client from `address` begins. Of an IPv6 address the first
/// half counts: a client chooses the other one itself.
fn owner_of(address: IpAddr) -> Owner {
    let name = match source(address) {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(network) => format!("{network}/64"),
    };
    Owner::new(&format!("address={name}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_half_an_address_is_one_owner() {
        let owner = |address: &str| owner_of(address.parse().unwrap()).name().unwrap().to_owned();
        assert_eq!(owner("192.0.2.7"), "address=192.0.2.7");
        assert_eq!(owner("::ffff:192.0.2.7"), "address=192.0.2.7");
        assert_eq!(owner("2001:db8:1:2:3:4:5:6"), "address=2001:db8:1:2::/64");
        assert_eq!(owner("2001:db8:1:2::9"), owner("2001:db8:1:2:3:4:5:6"));
        assert_ne!(owner("2001:db8:1:3::9"), owner("2001:db8:1:2::9"));
    }
}
