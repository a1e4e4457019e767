//! Bringing a session as far as it gets by itself, and its clocks.

use std::time::Instant;

use ferry_wire::{Code, Failure};

use super::{
    HttpSession, LINGER, LINGER_BYTES, Phase, Step,
    answers::own_fields,
    message::{AnswerHead, Refusal, StatusCode},
    request::HttpRequest,
};
use crate::{
    protocol::{clock::Waiting, record::Transfer},
    store::Handles,
};

impl<H: Handles> HttpSession<H> {
    /// Brings the session as far as it gets by itself: called at the end of everything.
    pub(super) fn settle(&mut self, now: Instant) {
        self.step(now);
        let waiting = self.waiting();
        self.clock.set(waiting, self.counter(waiting), now);
    }

    /// Takes all steps that are due.
    pub(super) fn step(&mut self, now: Instant) {
        if let Phase::At(_, Step::Receiving(becoming)) = self.phase {
            self.upload_event(becoming.number, now, |_| {});
        }
        self.uploads.publish_finished(&mut self.operations);
        while self.settle_phase(now) {}
    }

    /// Takes one step of the phase; false where it must wait.
    fn settle_phase(&mut self, now: Instant) -> bool {
        let is_leaving = self.is_leaving();
        let is_last = self.input_ended || is_leaving;
        match &mut self.phase {
            Phase::At(request, Step::Receiving(_)) if request.body.is_over() => {
                self.end_body(now);
                true
            }
            // It was prepared when the client was dismissed: its body is not waited for.
            Phase::At(_, Step::Receiving(_)) if is_leaving => {
                self.break_off(Failure::new(Code::ShuttingDown, "the server is ending"), now);
                true
            }
            Phase::At(_, Step::Sending(_)) => self.settle_sending(now),
            Phase::At(_, Step::Listing(_)) => self.settle_listing(now),
            Phase::At(_, Step::Archiving(_)) => self.settle_archive(now),
            Phase::Discarding(body) if body.is_over() => {
                self.phase = Phase::Ready;
                true
            }
            Phase::Ready if is_last => {
                self.phase = Phase::Closing;
                true
            }
            Phase::Closing if self.outbox.is_empty() => {
                self.shutdown_due = true;
                self.phase = Phase::Lingering { bytes: 0 };
                true
            }
            Phase::Lingering { bytes } if self.input_ended || *bytes >= LINGER_BYTES => {
                self.phase = Phase::Over(None);
                false
            }
            _ => false,
        }
    }

    fn waiting(&self) -> Waiting {
        match &self.phase {
            Phase::At(_, Step::Receiving(becoming)) => {
                let has_room = self.uploads.body(becoming.number).is_some_and(|body| body.room() > 0);
                if has_room { Waiting::Body } else { Waiting::Store }
            }
            Phase::Discarding(_) => Waiting::Body,
            Phase::Lingering { .. } => Waiting::Linger,
            Phase::Over(_) => Waiting::Store,
            _ if !self.outbox.is_empty() => Waiting::Output,
            Phase::Ready if !self.wants_input() => Waiting::Store,
            Phase::Ready if self.heads.has_begun() => Waiting::Line,
            Phase::Ready => Waiting::Idle,
            Phase::LoggingIn(_) | Phase::At(..) | Phase::Closing => Waiting::Store,
        }
    }

    pub(super) fn counter(&self, waiting: Waiting) -> u64 {
        match waiting {
            Waiting::Idle | Waiting::Line => self.requests.into(),
            Waiting::Body => self.body_bytes,
            Waiting::Output => self.outbox.arrived(),
            Waiting::Store | Waiting::Root | Waiting::Linger => 0,
        }
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) is due, if nothing happens before.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Over(_) => None,
            _ => [self.clock.deadline(&self.limits.timeouts, LINGER), self.rested_at()].into_iter().flatten().min(),
        }
    }

    /// Looks at the clocks.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        if self.rested_at().is_some_and(|at| at <= now) {
            self.phase = Phase::Closing;
            return self.settle(now);
        }
        if let Phase::At(_, Step::Receiving(becoming)) = self.phase
            && let Some(body) = self.uploads.body_mut(becoming.number)
        {
            body.drop_spares();
        }
        let counter = self.counter(self.clock.waiting());
        match self.clock.expired(&self.limits.timeouts, counter, now) {
            None | Some(Waiting::Store | Waiting::Root) => {}
            // A client that is idle expects no answer, and would take one for that of its next request.
            Some(Waiting::Idle) => self.phase = Phase::Closing,
            Some(Waiting::Line) => {
                let refusal = Refusal::closing(StatusCode::REQUEST_TIMEOUT, "the request took too long");
                self.refuse_stream(&refusal, now);
            }
            Some(Waiting::Body) => self.break_off(timeout("the body came too slowly"), now),
            Some(Waiting::Output) => self.disconnected_for(&timeout("the answer was not taken"), now),
            Some(Waiting::Linger) => self.phase = Phase::Over(None),
        }
        self.settle(now);
    }

    /// The client shut down its sending side; every byte that came before was consumed, but for
    /// a head that is not whole. False where that was known.
    pub fn end_of_input(&mut self, now: Instant) -> bool {
        if self.input_ended {
            return false;
        }
        self.input_ended = true;
        match &self.phase {
            Phase::Ready if self.heads.has_begun() => {
                self.refuse_stream(&Refusal::closing(StatusCode::BAD_REQUEST, "the input ended inside a request"), now);
            }
            Phase::At(_, Step::Receiving(_)) | Phase::Discarding(_) => {
                self.break_off(Failure::new(Code::Incomplete, "the input ended inside a body"), now);
            }
            _ => {}
        }
        self.settle(now);
        true
    }

    /// The body of a request does not go on: its upload is given up, and the connection closes.
    pub(super) fn break_off(&mut self, failure: Failure, now: Instant) {
        match &mut self.phase {
            Phase::At(request, Step::Receiving(_)) => {
                request.persists = false;
                self.refuse_upload(failure, now);
            }
            Phase::Discarding(_) => self.phase = Phase::Closing,
            _ => {}
        }
    }

    /// Refuses what can't be followed any further: no request is known to which the answer would belong, and the
    /// connection closes behind it.
    pub(super) fn refuse_stream(&mut self, refusal: &Refusal, now: Instant) {
        let failure = Failure::new(Code::BadRequest, refusal.reason.clone());
        self.say_closing(refusal.status, &failure.message, now);
        self.log(Transfer::new("HTTP", "request", now), Some(refusal.status), Some(failure), now);
    }

    /// Says why the client is not served, before it has asked for anything.
    pub(super) fn say_unasked(&mut self, failure: &Failure, now: Instant) {
        let status = match failure.code {
            Code::BadRequest => StatusCode::BAD_REQUEST,
            Code::Timeout => StatusCode::REQUEST_TIMEOUT,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        self.say_closing(status, &failure.message, now);
    }

    fn say_closing(&mut self, status: StatusCode, reason: &str, now: Instant) {
        let body = format!("{reason}\n");
        let date = self.day.date(now);
        self.outbox.text(|text| {
            let head = AnswerHead::new(text, status)
                .date(date.map(|(_, text)| text))
                .length(body.len() as u64)
                .field("Cache-Control", "no-store");
            own_fields(head, "text/plain; charset=utf-8").close().end();
            text.extend_from_slice(body.as_bytes());
        });
        self.phase = Phase::Closing;
    }

    /// Ends the connection within an answer, so that nobody takes it for whole.
    pub(super) fn abort(&mut self, request: Box<HttpRequest>, failure: Failure, now: Instant) {
        let HttpRequest { transfer, status, .. } = *request;
        self.log(transfer, Some(status), Some(failure), now);
        self.cut();
    }

    /// Ends the connection at once.
    pub(super) fn cut(&mut self) {
        self.outbox.clear();
        self.phase = Phase::Over(None);
    }
}

fn timeout(message: &'static str) -> Failure {
    Failure::new(Code::Timeout, message)
}
