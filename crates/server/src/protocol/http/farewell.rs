//! Letting a client go: at once, or when it has nothing under way any more.

use std::time::Instant;

use ferry_wire::{Code, Failure};

use super::{HttpSession, Phase, Step, request::HttpRequest};
use crate::{protocol::MOMENT, store::Handles};

/// How a connection is to end.
#[derive(Debug, Clone, Copy)]
pub(super) enum Leaving {
    /// After the answer that is under way.
    Now,
    /// When the client is idle; from this moment on, as soon as all is answered that it has sent.
    AtRest(Instant),
}

impl<H: Handles> HttpSession<H> {
    /// Returns whether no request is taken up after the one that is carried out.
    pub(super) fn is_leaving(&self) -> bool {
        matches!(self.leaving, Some(Leaving::Now))
    }

    /// The server is ending, or must let this client go: what can be said is said, and the connection closes. Uploads that
    /// are whole are still published.
    pub fn dismiss(&mut self, failure: Failure, now: Instant) {
        self.leaving = Some(Leaving::Now);
        match &mut self.phase {
            Phase::Ready if self.heads.has_begun() => self.say_unasked(&failure, now),
            Phase::Ready if failure.code == Code::BadRequest => self.say_unasked(&failure, now),
            Phase::Ready => self.phase = Phase::Closing,
            Phase::At(_, Step::Receiving(_)) | Phase::Discarding(_) => self.break_off(failure, now),
            Phase::LoggingIn(_) => {
                if let Phase::LoggingIn(login) = std::mem::replace(&mut self.phase, Phase::Ready) {
                    self.fail(login.into_request(), failure, now);
                }
            }
            Phase::At(_, Step::Sending(_) | Step::Archiving(_)) => self.disconnected_for(&failure, now),
            // These end soon, and are answered.
            Phase::At(..) => {}
            Phase::Closing | Phase::Lingering { .. } | Phase::Over(_) => {}
        }
        self.settle(now);
    }

    /// The server drains: the connection closes once the client is idle. Transfers under way go on,
    /// and what it has asked for is answered. In the first second a client is idle when it was
    /// silent for a second, so that one that has just connected is served; later, when [all that it
    /// sent is answered](Self::input_is_out).
    pub fn drain(&mut self, _: Failure, now: Instant) {
        self.leaving.get_or_insert(Leaving::AtRest(now + MOMENT));
        self.settle(now);
    }

    /// All that has come from the client was [received](Self::receive). Returns whether the session
    /// parts from it by this, as it does in a [drain](Self::drain).
    pub fn input_is_out(&mut self, now: Instant) -> bool {
        let parts = self.is_idle()
            && !self.heads.has_begun()
            && matches!(self.leaving, Some(Leaving::AtRest(from)) if from <= now);
        if parts {
            self.phase = Phase::Closing;
            self.settle(now);
        }
        parts
    }

    /// Returns when the client counts as idle in a [drain](Self::drain), if nothing happens before.
    pub(super) fn rested_at(&self) -> Option<Instant> {
        let drains = matches!(self.phase, Phase::Ready) && self.leaving.is_some();
        self.clock.idle_since().filter(|_| drains).and_then(|since| since.checked_add(MOMENT))
    }

    /// Notes that the connection is gone. Requests that have begun are dropped, operations under
    /// way are awaited.
    pub fn disconnected(&mut self, now: Instant) {
        self.disconnected_for(&Failure::new(Code::Incomplete, "the connection was lost"), now);
        self.settle(now);
    }

    pub(super) fn disconnected_for(&mut self, failure: &Failure, now: Instant) {
        self.give_up_upload(failure, now);
        self.outbox.clear();
        match std::mem::replace(&mut self.phase, Phase::Over(None)) {
            Phase::Over(owed) => self.phase = Phase::Over(owed),
            Phase::At(request, step) => {
                let HttpRequest { mut transfer, status, .. } = *request;
                let mut said = None;
                match step {
                    Step::Changing => return self.phase = Phase::Over(Some(transfer.into())),
                    Step::Sending(sending) => {
                        said = Some(status);
                        transfer.bytes = sending.loaded_bytes();
                    }
                    Step::Archiving(mut archive) => {
                        said = Some(status);
                        transfer.bytes += archive.sending().map_or(0, |sending| sending.loaded_bytes());
                    }
                    Step::Receiving(_) | Step::Listing(_) => {}
                    // Those that are brought to the disk tell of themselves when they have ended.
                    _ => return,
                }
                self.log(transfer, said, Some(failure.clone()), now);
            }
            Phase::LoggingIn(login) => self.log(login.into_request().transfer, None, Some(failure.clone()), now),
            _ => {}
        }
    }

    /// Nothing can be sent to the client any more, though there may still be input of it: what is
    /// read for it is given up. The changes that it asked for go on.
    pub fn hung_up(&mut self, now: Instant) {
        let reads = match &self.phase {
            Phase::LoggingIn(_) => true,
            Phase::At(request, step) => {
                !matches!(step, Step::Receiving(_) | Step::Preparing(_) | Step::Storing(_) | Step::Changing)
                    && request.method.is_safe()
            }
            _ => false,
        };
        if reads {
            self.disconnected(now);
        }
    }
}
