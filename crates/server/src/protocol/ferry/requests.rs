//! Request lines: reading them, and starting what they ask for.

use std::time::Instant;

use ferry_wire::{Code, Failure, Frame, Refusal, Reply, Request};

use super::{Phase, Session, download::Purpose, listing::Listing, reads::Range};
use crate::store::{Change, Handles, ReadOperation};

impl<H: Handles> Session<H> {
    pub(super) fn frame(&mut self, frame: Frame<'_>, now: Instant) {
        self.lines = self.lines.wrapping_add(u32::from(matches!(frame, Frame::Line(_))));
        match (frame, &self.phase) {
            (Frame::Raw(bytes), _) => {
                self.body_bytes += bytes.len() as u64;
                if let Some(body) = self.receiving_mut() {
                    body.take(bytes);
                }
            }
            (Frame::Line(line), Phase::Receiving(_) | Phase::Discarding) => self.body_line(line, now),
            (Frame::Line(line), _) => self.request_line(line, now),
        }
    }

    fn request_line(&mut self, line: &[u8], now: Instant) {
        let parsed = Request::parse(line);
        // A client that has come as far as another request is not slow. Options are none yet: they may
        // not drip for ever.
        if !matches!(parsed, Ok(Request::With(_)) | Err(Refusal::With(_))) {
            self.clock.restart(self.counter(self.clock.waiting()), now);
        }
        let with = match parsed {
            Ok(Request::With(_)) | Err(Refusal::With(_) | Refusal::Stream(_)) => None,
            _ => self.with.take(),
        };
        match (parsed, with) {
            (Err(Refusal::Stream(failure)), _) => self.break_off(failure, now),
            (Ok(Request::With(_)), _) => {
                let unknown = || Failure::new(Code::Unsupported, "this server knows no options for WITH").into();
                self.with.get_or_insert_with(unknown);
            }
            (Err(Refusal::With(failure)), _) => self.with = Some(failure.into()),
            (Err(Refusal::Request { failure, body_follows }), with) => {
                self.requests += 1;
                self.refuse(with.map_or(failure, |with| *with), body_follows);
            }
            (Ok(request), Some(failure)) => {
                self.requests += 1;
                self.refuse(*failure, matches!(request, Request::Put { .. }));
            }
            (Ok(request), None) => {
                self.requests += 1;
                self.start(request, now);
            }
        }
    }

    pub(super) fn refuse(&mut self, failure: Failure, body_follows: bool) {
        self.reply(Reply::Fail(failure));
        if body_follows {
            self.phase = Phase::Discarding;
        }
    }

    fn start(&mut self, request: Request, now: Instant) {
        match request {
            Request::Put { size, mtime, name } => self.start_put(name, size, mtime, now),
            Request::Mkdir { name } => self.change(Change::Mkdir(name), now),
            Request::Delete { name } => self.change(Change::Delete(name), now),
            Request::Rename { from, to } => self.change(Change::Rename(from, to), now),
            Request::Login { .. } => self.refuse(no_accounts(), false),
            request if !self.queue.is_empty() => self.phase = Phase::Waiting(Box::new(request)),
            request => self.start_read(request, now),
        }
    }

    /// Starts a request that must see all before it; all of that is answered.
    pub(super) fn start_read(&mut self, request: Request, now: Instant) {
        debug_assert!(self.queue.is_empty(), "a request reads before those in front of it are answered");
        let verb = request.verb();
        match request {
            Request::Get { name } => self.start_download(Purpose::Send, verb, Range::whole(name), now),
            Request::Sum { name } => self.start_download(Purpose::Sum, verb, Range::whole(name), now),
            Request::Read { offset, length, tag, name } => {
                self.start_download(Purpose::Send, verb, Range { name, offset, length, tag }, now);
            }
            Request::Stat { name } => {
                self.operations.read(ReadOperation::Stat { name });
                self.phase = Phase::Looking;
            }
            Request::List { name } => {
                self.phase = Phase::Listing(Box::new(Listing::begin(name, &mut self.operations)));
            }
            Request::Resume { id, size, mtime, name } => self.start_resume(id, name, size, mtime, now),
            Request::Close => self.close(),
            // These never wait: `start` sees to them.
            Request::Put { .. }
            | Request::Mkdir { .. }
            | Request::Delete { .. }
            | Request::Rename { .. }
            | Request::Login { .. }
            | Request::With(_) => {}
        }
    }

    pub(super) fn close(&mut self) {
        self.reply(Reply::Bye);
        self.phase = Phase::Closing;
    }
}

fn no_accounts() -> Failure {
    Failure::new(Code::Unsupported, "this server has no accounts")
}
