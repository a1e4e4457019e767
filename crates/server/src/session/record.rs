//! What a session has to tell the log.

use std::time::{Duration, Instant};

use ferry_wire::Failure;

/// One transfer, ended: what a line in the log says, but for the client's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The verb.
    pub verb: &'static str,
    /// The name, as the client gave it.
    pub name: String,
    /// File bytes that were moved on this connection.
    pub bytes: u64,
    /// From the request to the last byte queued, or to the final reply of an upload.
    pub duration: Duration,
    /// Why it failed, where it did.
    pub failure: Option<Failure>,
}

/// A transfer that is under way.
#[derive(Debug, Clone)]
pub(super) struct Transfer {
    pub(super) verb: &'static str,
    pub(super) name: Box<str>,
    pub(super) bytes: u64,
    pub(super) started: Instant,
}

impl Transfer {
    pub(super) fn ended(self, now: Instant, failure: Option<Failure>) -> Record {
        let duration = now.saturating_duration_since(self.started);
        Record { verb: self.verb, name: self.name.into(), bytes: self.bytes, duration, failure }
    }
}
