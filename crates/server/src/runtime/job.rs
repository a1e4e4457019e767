//! Operations that go from the loop to its helpers, and outcomes that come back.

use ferry_wire::Name;
use mio::Token;

use crate::{
    protocol::ferry::{Errand, Outcome, Work},
    store::Disk,
};

/// An operation of a connection, on its way to a helper.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) token: Token,
    pub(super) errand: Errand,
    pub(super) work: Work<Disk>,
}

impl Job {
    /// Returns the name of the file or directory that is read; [`None`] for an operation that changes something.
    pub(super) fn subject(&self) -> Option<&str> {
        match &self.work {
            Work::Open { name, .. } | Work::Stat { name } => Some(name.as_str()),
            Work::List { name } => Some(name.as_ref().map_or("", Name::as_str)),
            Work::Load { file, .. } | Work::Check { file } => Some(file.name()),
            Work::ListMore { dir } => Some(dir.name()),
            _ => None,
        }
    }
}

/// The outcome of an operation, on its way back.
#[derive(Debug)]
pub(super) struct Completion {
    pub(super) token: Token,
    pub(super) errand: Errand,
    pub(super) outcome: Outcome<'static, Disk>,
}
