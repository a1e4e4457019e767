//! Lines of a session for the log.

use std::time::{Duration, Instant};

use ferry_wire::Failure;

use crate::store::Change;

/// One transfer or change, ended: what a line in the log says, but for the client's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The verb.
    pub verb: &'static str,
    /// The name, as the client gave it, or the two of a RENAME with `//` between them.
    pub name: String,
    /// File bytes that were moved on this connection; [`None`] for a change, which moves none.
    pub bytes: Option<u64>,
    /// From the request to the last byte queued, or to the final reply of an upload.
    pub duration: Duration,
    /// Why it failed, where it did.
    pub failure: Option<Failure>,
}

/// A transfer or change that is under way.
#[derive(Debug, Clone)]
pub(super) struct Transfer {
    pub(super) verb: &'static str,
    pub(super) name: Box<str>,
    pub(super) bytes: u64,
    pub(super) started: Instant,
}

impl Transfer {
    /// A change that begins: [`ended`](Self::change_ended) as one.
    pub(super) fn change(change: &Change, now: Instant) -> Transfer {
        let (verb, name) = match change {
            Change::Mkdir(name) => ("MKDIR", name.as_str().into()),
            Change::Delete(name) => ("DELETE", name.as_str().into()),
            Change::Rename(from, to) => ("RENAME", [from.as_str(), to.as_str()].join("//").into()),
        };
        Transfer { verb, name, bytes: 0, started: now }
    }

    pub(super) fn change_ended(self, now: Instant, failure: Option<Failure>) -> Record {
        Record { bytes: None, ..self.ended(now, failure) }
    }

    pub(super) fn ended(self, now: Instant, failure: Option<Failure>) -> Record {
        let duration = now.saturating_duration_since(self.started);
        Record { verb: self.verb, name: self.name.into(), bytes: Some(self.bytes), duration, failure }
    }
}
