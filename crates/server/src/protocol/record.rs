//! The entries of a session for the transfer log.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ferry_wire::{Failure, Request, UserName};

use crate::store::{Change, Touch};

/// One transfer, change or login that has ended, as the log has it, but for the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The verb.
    pub verb: &'static str,
    /// The name, as the client gave it: the two of a RENAME with `//` between them, the user's of a LOGIN.
    pub name: Arc<str>,
    /// File bytes that were moved on this connection; [`None`] for changes and logins, which move none.
    pub bytes: Option<u64>,
    /// The offset of the first of them: of a RESUME the bytes that the server had before, of a READ
    /// the offset asked for.
    pub resumed: u64,
    /// From the request to the last byte queued, or to the final reply of an upload.
    pub duration: Duration,
    /// Why it failed, where it did.
    pub failure: Option<Failure>,
    /// The status of the answer, where it was one of HTTP.
    pub status: Option<u16>,
}

impl Record {
    /// The verb of logins.
    pub const LOGIN: &'static str = "LOGIN";
}

/// A transfer, change or login that is under way.
#[derive(Debug, Clone)]
pub(super) struct Transfer {
    pub(super) verb: &'static str,
    pub(super) name: Arc<str>,
    pub(super) bytes: u64,
    pub(super) resumed: u64,
    pub(super) moves: bool,
    pub(super) started: Instant,
}

impl Transfer {
    /// Returns a transfer that begins.
    pub(super) fn new(verb: &'static str, name: impl Into<Arc<str>>, now: Instant) -> Transfer {
        Transfer { verb, name: name.into(), bytes: 0, resumed: 0, moves: true, started: now }
    }

    /// Returns a change that begins.
    pub(super) fn change(change: &Change, now: Instant) -> Transfer {
        match change {
            Change::Mkdir(name) | Change::MkdirWith(name, _) => Transfer::without_bytes("MKDIR", name, now),
            Change::Delete(name) | Change::DeleteVersion(name, _) => Transfer::without_bytes("DELETE", name, now),
            Change::Touch(Touch { name, .. }) => Transfer::without_bytes("TOUCH", name, now),
            Change::Rename(from, to) => Transfer::without_bytes("RENAME", two(from.as_str(), to.as_str()), now),
        }
    }

    /// Returns a login that begins.
    pub(super) fn login(user: &UserName, now: Instant) -> Transfer {
        Transfer::without_bytes(Record::LOGIN, user.as_str(), now)
    }

    /// Returns the entry that a refused request would have begun; [`None`] where that is nothing
    /// for the log.
    pub(super) fn refused(request: &Request, now: Instant) -> Option<Transfer> {
        let verb = request.verb();
        match request {
            Request::Get { name }
            | Request::Read { name, .. }
            | Request::Sum { name }
            | Request::Put { name, .. }
            | Request::Resume { name, .. }
            | Request::Part { name, .. } => Some(Transfer::new(verb, name, now)),
            Request::Mkdir { name } | Request::Delete { name } | Request::Touch { name, .. } => {
                Some(Transfer::without_bytes(verb, name, now))
            }
            Request::Rename { from, to } => Some(Transfer::without_bytes(verb, two(from.as_str(), to.as_str()), now)),
            Request::Login { user, .. } => Some(Transfer::login(user, now)),
            Request::List { .. }
            | Request::Stat { .. }
            | Request::With(_)
            | Request::Health
            | Request::Space
            | Request::Close => None,
        }
    }

    fn without_bytes(verb: &'static str, name: impl Into<Arc<str>>, now: Instant) -> Transfer {
        Transfer { moves: false, ..Transfer::new(verb, name, now) }
    }

    pub(super) fn ended(self, now: Instant, failure: Option<Failure>) -> Record {
        let duration = now.saturating_duration_since(self.started);
        let bytes = self.moves.then_some(self.bytes);
        Record { verb: self.verb, name: self.name, bytes, resumed: self.resumed, duration, failure, status: None }
    }
}

/// Joins the names of a RENAME, as its line has them.
fn two(from: &str, to: &str) -> String {
    [from, to].join("//")
}
