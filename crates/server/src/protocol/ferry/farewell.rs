//! Letting a client go: at once, or when it has nothing under way any more.

use std::time::Instant;

use ferry_wire::Failure;

use super::{FerrySession, Phase};
use crate::{protocol::MOMENT, store::Handles};

/// The reply after which a connection closes.
#[derive(Debug)]
pub(super) struct LastReply {
    failure: Failure,
    due: Due,
}

#[derive(Debug, Clone, Copy)]
enum Due {
    /// As soon as a reply may begin.
    Now,
    /// When the client is idle; from this moment on, as soon as all is answered that it has sent.
    AtRest(Instant),
}

impl LastReply {
    fn now(failure: Failure) -> Option<Box<LastReply>> {
        Some(Box::new(LastReply { failure, due: Due::Now }))
    }

    /// Returns whether no other request is taken before it.
    pub(super) fn is_due(&self) -> bool {
        matches!(self.due, Due::Now)
    }

    pub(super) fn into_failure(self) -> Failure {
        self.failure
    }
}

impl<H: Handles> FerrySession<H> {
    /// The server is ending, or must let this client go: says why as soon as a reply may stand
    /// there, and closes. Uploads that are whole are still published.
    pub fn dismiss(&mut self, failure: Failure, now: Instant) {
        match &mut self.phase {
            Phase::Ready | Phase::Receiving(_) | Phase::Discarding => self.break_off(failure, now),
            Phase::Waiting(_) | Phase::LoggingIn(_) => {
                self.phase = Phase::Ready;
                self.break_off(failure, now);
            }
            Phase::Closing | Phase::Lingering { .. } | Phase::Over => {}
            Phase::Downloading(download) => {
                download.fail(failure.clone());
                self.last_reply = LastReply::now(failure);
            }
            Phase::Listing(_) | Phase::Looking { .. } | Phase::Probing | Phase::Preparing(_) => {
                self.last_reply = LastReply::now(failure);
            }
        }
        self.settle(now);
    }

    /// The server drains: says why and closes once the client is idle. Transfers under way go on,
    /// and what it has asked for is answered. In the first second a client is idle when it was
    /// silent for a second, so that one that has just connected is served; later, when [all that it
    /// sent is answered](Self::input_is_out).
    pub fn drain(&mut self, failure: Failure, now: Instant) {
        if self.last_reply.is_none() {
            self.last_reply = Some(Box::new(LastReply { failure, due: Due::AtRest(now + MOMENT) }));
        }
        self.settle(now);
    }

    /// All that has come from the client was [received](Self::receive). Returns whether the session
    /// parts from it by this, as it does in a [drain](Self::drain).
    pub fn input_is_out(&mut self, now: Instant) -> bool {
        let parts = self.is_idle()
            && !self.line_begun
            && self.with.is_none()
            && self.last_reply.as_ref().is_some_and(|last| matches!(last.due, Due::AtRest(from) if from <= now));
        if parts {
            self.part(now);
        }
        parts
    }

    /// Takes the last reply if it is due as soon as a reply may begin.
    pub(super) fn take_due(&mut self) -> Option<Failure> {
        self.last_reply.take_if(|last| last.is_due()).map(|last| last.into_failure())
    }

    /// Returns when the client counts as idle in a [drain](Self::drain), if nothing happens before.
    pub(super) fn rested_at(&self) -> Option<Instant> {
        let drains = matches!(self.phase, Phase::Ready) && self.last_reply.is_some();
        self.clock.idle_since().filter(|_| drains).and_then(|since| since.checked_add(MOMENT))
    }

    /// Says the last reply.
    pub(super) fn part(&mut self, now: Instant) {
        if let Some(last) = self.last_reply.take() {
            self.break_off(last.into_failure(), now);
        }
        self.settle(now);
    }
}
