//! Bringing a session as far as it gets by itself, and ending it.

use std::time::Instant;

use ferry_wire::{Code, Failure, Reply};

use super::{FerrySession, LINGER_BYTES, PENDING_REQUESTS, Phase, body::Body, clock::Waiting, record::Transfer};
use crate::store::Handles;

impl<H: Handles> FerrySession<H> {
    /// Returns the body that arrives, if one does.
    pub(super) fn receiving(&self) -> Option<&Body> {
        match self.phase {
            Phase::Receiving(number) => self.uploads.body(number),
            _ => None,
        }
    }

    pub(super) fn receiving_mut(&mut self) -> Option<&mut Body> {
        match self.phase {
            Phase::Receiving(number) => self.uploads.body_mut(number),
            _ => None,
        }
    }

    /// Answers the request that is being read, after those before it.
    pub(super) fn reply(&mut self, reply: Reply) {
        if self.queue.is_empty() {
            self.outbox.text(|text| reply.encode(text));
        } else {
            self.queue.push_reply(reply);
        }
    }

    pub(super) fn record(&mut self, transfer: Transfer, failure: Option<Failure>, now: Instant) {
        self.records.push(transfer.ended(now, failure));
    }

    /// The stream can't be followed, or the client not be waited for, any further: says so after
    /// the replies before it, and closes.
    pub(super) fn break_off(&mut self, failure: Failure, now: Instant) {
        let phase = std::mem::replace(&mut self.phase, Phase::Closing);
        if let Phase::Receiving(number) = phase {
            self.give_up(number, &failure, now);
        }
        self.reply(Reply::Fail(failure));
    }

    pub(super) fn disconnected_for(&mut self, failure: &Failure, now: Instant) {
        let phase = std::mem::replace(&mut self.phase, Phase::Over);
        self.outbox.clear();
        match phase {
            Phase::Receiving(number) => self.give_up(number, failure, now),
            Phase::Downloading(download) => self.record(download.into_transfer(), Some(failure.clone()), now),
            Phase::LoggingIn(login) => self.record(login.transfer, Some(failure.clone()), now),
            // Completions to come are let go by `complete`.
            _ => {}
        }
    }

    /// Brings the session as far as it gets by itself: called at the end of everything.
    pub(super) fn settle(&mut self, now: Instant) {
        if let Phase::Receiving(number) = self.phase {
            self.upload_event(number, now, |_| {});
        }
        self.tell_kept();
        self.settle_queue();
        while self.settle_phase(now) {}
        debug_assert!(self.queue.len() <= PENDING_REQUESTS + 1, "more requests wait than may");
        let waiting = self.waiting();
        self.clock.set(waiting, self.counter(waiting), now);
    }

    /// Hands on the changes that are due, and returns the answers.
    fn settle_queue(&mut self) {
        let uploads = &mut self.uploads;
        self.queue.hand_on(&mut self.operations, |number, operations| uploads.publish(number, operations));
        while let Some(reply) = self.queue.pop_reply() {
            if !matches!(self.phase, Phase::Over) {
                self.outbox.text(|text| reply.encode(text));
            }
        }
    }

    /// Takes one step of the phase; false where it must wait.
    fn settle_phase(&mut self, now: Instant) -> bool {
        match &mut self.phase {
            Phase::Waiting(_) if self.queue.is_empty() => {
                if let Phase::Waiting(waiting) = std::mem::replace(&mut self.phase, Phase::Ready) {
                    let (request, options) = *waiting;
                    self.take_effect(request, options, now);
                }
                true
            }
            Phase::Ready => match self.take_due() {
                Some(failure) => {
                    self.break_off(failure, now);
                    true
                }
                None => false,
            },
            Phase::Closing if self.queue.is_empty() && self.outbox.is_empty() => {
                self.shutdown_due = true;
                self.phase = Phase::Lingering { bytes: 0 };
                true
            }
            Phase::Lingering { bytes } if self.input_ended || *bytes >= LINGER_BYTES => {
                self.phase = Phase::Over;
                false
            }
            Phase::Downloading(_) => self.settle_download(now),
            Phase::Listing(_) => self.settle_listing(),
            _ => false,
        }
    }

    fn waiting(&self) -> Waiting {
        match (&self.phase, self.receiving()) {
            (_, Some(body)) if body.room() == 0 => Waiting::Store,
            // It may go on only once it is told what is kept.
            (Phase::Receiving(number), _) if self.uploads.makes_news(*number) => Waiting::Store,
            // After GO a client may have much to read before it can go on.
            (Phase::Receiving(number), _) if self.uploads.is_ahead(*number) => Waiting::Idle,
            (Phase::Receiving(_) | Phase::Discarding, _) => Waiting::Body,
            (Phase::Lingering { .. }, _) => Waiting::Linger,
            (Phase::Over, _) => Waiting::Store,
            (Phase::Probing, _) => Waiting::Root,
            _ if !self.outbox.is_empty() => Waiting::Output,
            _ if !self.queue.is_empty() => Waiting::Store,
            // It must get back what it handed on before it takes more.
            (Phase::Ready, _) if !self.wants_input() => Waiting::Store,
            (Phase::Ready, _) if self.line_begun || self.with.is_some() => Waiting::Line,
            (Phase::Ready, _) => Waiting::Idle,
            _ => Waiting::Store,
        }
    }

    pub(super) fn counter(&self, waiting: Waiting) -> u64 {
        match waiting {
            Waiting::Idle | Waiting::Line => self.requests,
            Waiting::Body => self.body_bytes,
            Waiting::Output => self.outbox.arrived(),
            Waiting::Store | Waiting::Root | Waiting::Linger => 0,
        }
    }
}

pub(super) fn timeout(message: &'static str) -> Failure {
    Failure::new(Code::Timeout, message)
}
