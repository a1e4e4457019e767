//! Operations that go from the loop to its helpers, and completions that come back.

use std::net::IpAddr;

use ferry_wire::{Id, Name};
use mio::Token;

use super::lease_use::upload_of;
use crate::{
    access::source,
    store::{
        Completion, Disk, Fallback, NameOperation, Operation, Owner, ReadOperation, ServedStore, SmallFinish,
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
    /// Returns what waits for `job`.
    pub(super) fn of<O: Helped>(job: &Job<O>) -> Waiting {
        Waiting { token: job.token, fallback: job.operation.fallback(), lease: job.lease.clone() }
    }

    /// Returns whose connection it is.
    #[cfg(test)]
    pub(super) fn token(&self) -> Token {
        self.token
    }

    /// Returns the end of the job with `completion`.
    pub(super) fn ended(self, completion: Completion<'static, Disk>) -> Ended {
        Ended { token: self.token, completion, lease: self.lease }
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

/// A kind of operations that helpers of one lane do.
pub(super) trait Helped: Send + Sized + 'static {
    /// Returns the name of the file or directory that is read; [`None`] for an operation that
    /// changes something.
    fn subject(&self) -> Option<&str>;

    /// Returns what makes a completion of this operation, should it be lost.
    fn fallback(&self) -> Fallback<Disk>;

    /// Does a batch, and returns the completions in its order.
    fn run(
        batch: Vec<Self>,
        store: &ServedStore,
        scratch: &mut [u8],
        gets_on: &dyn Fn() -> bool,
    ) -> Vec<Completion<'static, Disk>>;
}

/// An operation that is done by itself.
#[derive(Debug)]
pub(super) enum Single {
    Read(ReadOperation<Disk>),
    Upload(UploadNumber, UploadOperation<Disk>),
}

impl Helped for Single {
    fn subject(&self) -> Option<&str> {
        match self {
            Single::Read(ReadOperation::Open { name, .. } | ReadOperation::Stat { name }) => Some(name.as_str()),
            Single::Read(ReadOperation::Probe) => Some(""),
            Single::Read(ReadOperation::List { name }) => Some(name.as_ref().map_or("", Name::as_str)),
            Single::Read(ReadOperation::Load { file, .. } | ReadOperation::Check { file }) => Some(file.name()),
            Single::Read(ReadOperation::ListMore { dir }) => Some(dir.name()),
            Single::Upload(..) => None,
        }
    }

    fn fallback(&self) -> Fallback<Disk> {
        match self {
            Single::Read(operation) => operation.fallback(),
            Single::Upload(number, operation) => operation.fallback(*number),
        }
    }

    fn run(
        batch: Vec<Self>,
        store: &ServedStore,
        scratch: &mut [u8],
        gets_on: &dyn Fn() -> bool,
    ) -> Vec<Completion<'static, Disk>> {
        let run = |one| match one {
            Single::Read(operation) => Completion::Read(store.read(operation, scratch, gets_on)),
            Single::Upload(number, operation) => Completion::Upload(number, store.advance(operation)),
        };
        batch.into_iter().map(run).collect()
    }
}

impl Helped for SmallFinish {
    fn subject(&self) -> Option<&str> {
        None
    }

    fn fallback(&self) -> Fallback<Disk> {
        SmallFinish::fallback(self)
    }

    fn run(
        batch: Vec<Self>,
        store: &ServedStore,
        _: &mut [u8],
        _: &dyn Fn() -> bool,
    ) -> Vec<Completion<'static, Disk>> {
        let finished =
            |(small, result): (&SmallFinish, _)| Completion::Upload(small.number(), UploadCompletion::Finished(result));
        batch.iter().zip(store.finish_small(&batch)).map(finished).collect()
    }
}

impl Helped for NameOperation<Disk> {
    fn subject(&self) -> Option<&str> {
        None
    }

    fn fallback(&self) -> Fallback<Disk> {
        NameOperation::fallback(self)
    }

    fn run(
        batch: Vec<Self>,
        store: &ServedStore,
        _: &mut [u8],
        _: &dyn Fn() -> bool,
    ) -> Vec<Completion<'static, Disk>> {
        store.change_names(&batch).into_iter().map(Completion::Name).collect()
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
