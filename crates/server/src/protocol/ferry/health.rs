//! HEALTH: a helper looks at the root, and the client is answered within a second even if the helper is not.

use std::time::Instant;

use ferry_wire::{Code, Failure, Reply};

use super::{FerrySession, Phase};
use crate::store::{ErrorKind, Handles, StoreError, SystemError};

impl<H: Handles> FerrySession<H> {
    /// Asks for a look at the root. Where one before has not ended yet, its end answers this
    /// request as well: a root that hangs holds up one helper for a client, however often the
    /// client asks.
    pub(super) fn start_health(&mut self) {
        self.operations.probe();
        self.phase = Phase::Probing;
    }

    /// The look has ended. If it took too long, the answer was given before.
    pub(super) fn probed(&mut self, probed: Result<(), StoreError>, now: Instant) {
        self.operations.probed();
        if matches!(self.phase, Phase::Probing) {
            let failed = |error: StoreError| {
                let code = code_of(error.kind);
                Reply::Fail(Failure { code, ..Failure::from(error) })
            };
            self.answer_health(probed.map_or_else(failed, |()| Reply::Done), now);
        }
    }

    /// The look takes too long.
    pub(super) fn probe_is_late(&mut self, now: Instant) {
        self.answer_health(Reply::Fail(Failure::new(Code::Busy, "the root did not answer within a second")), now);
    }

    fn answer_health(&mut self, reply: Reply, now: Instant) {
        self.phase = Phase::Ready;
        match self.take_due() {
            Some(failure) => self.break_off(failure, now),
            None => self.reply(reply),
        }
    }
}

/// Returns the code for a root that could not be looked at: `busy` where it may be there again later.
fn code_of(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::NoAnswer | ErrorKind::System(SystemError::Unreachable | SystemError::Stale) => Code::Busy,
        _ => Code::Io,
    }
}
