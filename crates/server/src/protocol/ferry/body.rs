//! The lines inside a body that arrives.

use std::time::Instant;

use ferry_wire::{BodyError, BodyLine, Code, Failure, Reply};

use super::{Phase, Session, work::Handles};

impl<H: Handles> Session<H> {
    pub(super) fn body_line(&mut self, line: &[u8], now: Instant) {
        let parsed = match BodyLine::parse(line) {
            Ok(BodyLine::Fail(_)) => Err(BodyError::Line),
            parsed => parsed,
        };
        match parsed {
            Err(error) => self.break_off(Failure::new(Code::BadRequest, error.to_string()), now),
            Ok(BodyLine::Data(bytes)) => match &self.phase {
                Phase::Receiving(receiving) => match receiving.block(bytes, &self.limits) {
                    Ok(()) => self.framer.expect_raw(bytes),
                    Err(failure) if failure.code == Code::TooLarge => {
                        self.framer.expect_raw(bytes);
                        self.refuse_body(failure, now);
                    }
                    Err(failure) => self.break_off(failure, now),
                },
                _ => self.framer.expect_raw(bytes),
            },
            Ok(BodyLine::End(crc)) => self.end_body(crc, now),
            Ok(BodyLine::Stop | BodyLine::Fail(_)) => {
                let failure = Failure::new(Code::Stopped, "stopped, as you asked");
                self.refuse_body(failure, now);
                self.phase = Phase::Ready;
            }
        }
    }

    /// The upload that is being received fails; the rest of its body is passed over. Nothing is
    /// said where a refusal was said before.
    pub(super) fn refuse_body(&mut self, failure: Failure, now: Instant) {
        if let Phase::Receiving(receiving) = std::mem::replace(&mut self.phase, Phase::PassingOver) {
            self.release(*receiving, Some(failure.clone()), now);
            self.reply(Reply::Fail(failure));
        }
    }
}
