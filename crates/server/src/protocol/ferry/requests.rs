//! Request lines: reading them, and starting what they ask for.

use std::time::Instant;

use ferry_wire::{Code, Failure, Frame, Options, Refusal, Reply, Request, TellsModes};

use super::{FerrySession, Phase, download::Purpose, listing::Listing, reads::Range, record::Transfer};
use crate::store::{Change, Handles, Permissions, ReadOperation, Touch};

impl<H: Handles> FerrySession<H> {
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
        self.has_read_secret |= Request::may_hold_secret(line);
        // A client that has come as far as another request is not slow. Options are none yet: they may
        // not drip for ever.
        if !matches!(parsed, Ok(Request::With(_)) | Err(Refusal::With(_))) {
            self.clock.restart(self.counter(self.clock.waiting()), now);
        }
        let with = match parsed {
            Ok(Request::With(_)) | Err(Refusal::With(_) | Refusal::Stream(_)) => None,
            _ => self.with.take().map(|with| *with),
        };
        match (parsed, with) {
            (Err(Refusal::Stream(failure)), _) => {
                self.is_stranger = true;
                self.break_off(failure, now);
            }
            (Ok(Request::With(options)), _) => self.keep_options(options),
            (Err(Refusal::With(failure)), _) => self.with = Some(Err(failure).into()),
            (Err(Refusal::Request { failure, body_follows }), with) => {
                self.requests += 1;
                let failure = with.and_then(Result::err).unwrap_or(failure);
                self.refuse(failure, body_follows);
            }
            (Ok(request), Some(Err(failure))) => {
                self.requests += 1;
                self.refuse(failure, request.brings_body());
            }
            (Ok(request), with) => {
                self.requests += 1;
                let options = with.and_then(Result::ok).unwrap_or_default();
                let is_conditional = options.if_none || options.if_tag.is_some();
                if is_conditional && !matches!(request, Request::Put { .. } | Request::Resume { .. }) {
                    return self.refuse(unsupported("if= is for PUT and RESUME"), request.brings_body());
                }
                if options.crc_read
                    && !matches!(request, Request::Get { .. } | Request::Read { .. } | Request::Sum { .. })
                {
                    return self.refuse(unsupported("crc=read is for GET, READ and SUM"), request.brings_body());
                }
                if let Err(why) = self.check_mode(&request, &options) {
                    return self.refuse(unsupported(why), request.brings_body());
                }
                if options.sha256 && !matches!(request, Request::Sum { .. }) {
                    return self.refuse(unsupported("sum=sha256 is for SUM"), request.brings_body());
                }
                self.start(request, options, now);
            }
        }
    }

    /// Says why options about permissions or holes are none of a request, where that is so.
    fn check_mode(&self, request: &Request, options: &Options) -> Result<(), &'static str> {
        let takes_mode = matches!(
            request,
            Request::Put { .. } | Request::Resume { .. } | Request::Mkdir { .. } | Request::Touch { .. }
        );
        if options.mode.is_some() && self.limits.kept_modes.is_none() {
            return Err("this server keeps no permissions of uploads");
        }
        if options.mode.is_some() && !takes_mode {
            return Err("mode=... is for PUT, RESUME, MKDIR and TOUCH");
        }
        let tells_mode =
            matches!(request, Request::Stat { .. } | Request::List { .. } | Request::Get { .. } | Request::Read { .. });
        if options.tells_modes != TellsModes::No && !tells_mode {
            return Err("tell=mode and tell=modes are for STAT, LIST, GET and READ");
        }
        if options.leaves_holes && !matches!(request, Request::Get { .. } | Request::Read { .. }) {
            return Err("holes=yes is for GET and READ");
        }
        Ok(())
    }

    /// Keeps the options of a WITH, beside those before it, for the next request.
    fn keep_options(&mut self, options: Options) {
        let before = self.with.take().map(|with| *with);
        let with = match before {
            Some(Err(failure)) => Err(failure),
            Some(Ok(before)) => Ok(before.and(options)),
            None => Ok(options),
        };
        let with = with.and_then(|options| match options.has_unknown {
            true => Err(unsupported("this server knows no such option, or not together with the others")),
            false => Ok(options),
        });
        self.with = Some(with.into());
    }

    pub(super) fn refuse(&mut self, failure: Failure, body_follows: bool) {
        self.reply(Reply::Fail(failure));
        if body_follows {
            self.phase = Phase::Discarding;
        }
    }

    /// Refuses a request, and has that logged.
    pub(super) fn refuse_transfer(&mut self, transfer: Transfer, failure: Failure, body_follows: bool, now: Instant) {
        self.record(transfer, Some(failure.clone()), now);
        self.refuse(failure, body_follows);
    }

    fn refuse_request(&mut self, request: &Request, failure: Failure, now: Instant) {
        let body_follows = request.brings_body();
        match Transfer::refused(request, now) {
            Some(transfer) => self.refuse_transfer(transfer, failure, body_follows, now),
            None => self.refuse(failure, body_follows),
        }
    }

    /// Starts a request, or keeps it until those before it are answered, where it must see what they do.
    fn start(&mut self, request: Request, options: Options, now: Instant) {
        let is_change = matches!(
            request,
            Request::Put { .. }
                | Request::Part { .. }
                | Request::Mkdir { .. }
                | Request::Delete { .. }
                | Request::Rename { .. }
                | Request::Touch { .. }
        );
        if !is_change && !self.queue.is_empty() {
            self.phase = Phase::Waiting(Box::new((request, options)));
        } else {
            self.take_effect(request, options, now);
        }
    }

    /// Lets a request take effect. This is the gate: a client that may not make it gets no further,
    /// and no request gets to the store by any other way.
    pub(super) fn take_effect(&mut self, request: Request, options: Options, now: Instant) {
        let (verb, reads, tells_sha256) = (request.verb(), options.crc_read, options.sha256);
        let (tells, leaves_holes) = (options.tells_modes, options.leaves_holes);
        let permissions = options
            .mode
            .zip(self.limits.kept_modes)
            .map(|(asked, kept)| Permissions::new(asked.mode, kept.within(asked.mask)));
        let terms = match self.visitor.pass(&request, options) {
            Ok(terms) => terms,
            Err(failure) => return self.refuse_request(&request, failure, now),
        };
        match request {
            Request::Put { size, mtime, name } => self.start_put(name, size, (mtime, permissions), terms, now),
            Request::Mkdir { name } => {
                let change = match permissions {
                    Some(permissions) => Change::MkdirWith(name, permissions),
                    None => Change::Mkdir(name),
                };
                self.change(change, now);
            }
            Request::Delete { name } => self.change(Change::Delete(name), now),
            Request::Rename { from, to } => self.change(Change::Rename(from, to), now),
            Request::Touch { mtime, name } => self.change(Change::Touch(Touch { name, mtime, permissions }), now),
            Request::Get { name } => {
                let range = Range { tells, leaves_holes, ..Range::whole(name, reads) };
                self.start_download(Purpose::Send, verb, range, now);
            }
            // The CRCs that are remembered tell nothing of it, and even a small file is hashed by its own helpers.
            Request::Sum { name } if tells_sha256 => {
                self.start_download(Purpose::Hash, verb, Range::whole(name, true), now);
            }
            Request::Sum { name } => self.start_download(Purpose::Sum, verb, Range::whole(name, reads), now),
            Request::Read { offset, length, tag, name } => {
                self.start_download(
                    Purpose::Send,
                    verb,
                    Range { name, offset, length, tag, reads, tells, leaves_holes },
                    now,
                );
            }
            Request::Stat { name } => {
                self.operations.read(ReadOperation::Stat { name });
                self.phase = Phase::Looking { tells };
            }
            Request::List { name } => {
                let listing = Listing::begin(name, tells, self.visitor.rights(), &mut self.operations);
                self.phase = Phase::Listing(Box::new(listing));
            }
            Request::Resume { id, size, mtime, name } => {
                self.start_resume(id, name, size, (mtime, permissions), terms, now);
            }
            Request::Part { id, offset, length, name } => self.start_part(id, name, (offset, length), terms, now),
            Request::Login { user, secret } => self.start_login(user, secret, now),
            Request::Health => self.start_health(),
            Request::Space => {
                self.operations.read(ReadOperation::Room { owner: self.visitor.owner() });
                self.phase = Phase::Looking { tells: TellsModes::No };
            }
            // Its options were kept when it was read.
            Request::With(_) => {}
            Request::Close => self.close(),
        }
    }

    pub(super) fn close(&mut self) {
        self.reply(Reply::Bye);
        self.phase = Phase::Closing;
    }
}

fn unsupported(message: &'static str) -> Failure {
    Failure::new(Code::Unsupported, message)
}
