//! The upload of a stream that goes on where the connection is lost.
//!
//! A stream can be read once. A server that takes [streams](Greeting::STREAMS) says how much of one it keeps, so only what comes
//! after that has to be at hand. An older one keeps nothing of what has no size: all is sent again from the first byte, for as
//! long as that is still at hand. So it is for a stream that is short, and there as a whole at once.

use std::io::Read;

use ferry_wire::{Code, Greeting, Name, Time};

use super::{
    Event, IfTaken, Moved, Settings,
    retry::{Outage, is_lost},
    ring::Ring,
    store::{Onto, StreamUpload, new_id, put_from},
};
use crate::{connection::Connection, error::Error, link::Link};

/// The most of a stream that is kept to be sent again: more than most of what is piped, and several times what a server may keep
/// to itself before it says what is safe; little enough for a small machine.
pub const KEPT_INPUT_BYTES: usize = 32 << 20;

/// From here on a stream has an id. One that is shorter, and does not let itself be waited for, is sent again at less cost.
const RESUMED_FROM_BYTES: u64 = 1 << 20;

/// Why a stream begins anew.
const NOTHING_KEPT: &str = "the server has nothing kept of it";
const KEEPS_NOTHING: &str = "the server keeps nothing of a stream";

/// Stores all that `source` gives as `name`, through as many connections as it takes.
pub(crate) fn put_replaying(
    connection: &mut Connection,
    name: &Name,
    (mtime, if_taken): (Option<Time>, IfTaken),
    source: &mut dyn Read,
    (settings, watch): (&Settings, &mut dyn FnMut(&Event<'_>)),
) -> Result<Moved, Error> {
    let mut outage = Outage::new(settings);
    let mut stream = Stream {
        ring: Ring::new(source, KEPT_INPUT_BYTES),
        upload: StreamUpload::new(new_id()?, name, (mtime, if_taken)),
        is_plain: !settings.resume,
        reached: None,
        most: 0,
    };
    loop {
        let sent = connection.converse(|link| stream.send(link, watch));
        let error = match sent {
            Ok(moved) => return Ok(moved),
            Err(error) => stream.after(error)?,
        };
        if stream.got_on() {
            outage.end();
        }
        if error.code() == Some(Code::Timeout) {
            // Who has nothing to send needs no connection: a server would lose patience with the next one as well.
            let options = connection.options();
            stream.ring.wait_for_more(|| if options.is_cancelled() { Err(Error::Interrupted) } else { Ok(()) })?;
        }
        outage.reopen(connection, watch, error)?;
    }
}

/// A stream on its way.
struct Stream<'a> {
    ring: Ring<'a>,
    upload: StreamUpload<'a>,
    /// The server is not to keep anything of it under an id.
    is_plain: bool,
    /// How far it came on the last connection, where nothing of it is kept, and on any such.
    reached: Option<u64>,
    most: u64,
}

impl Stream<'_> {
    /// Sends it on one connection.
    fn send(&mut self, link: &mut Link, watch: &mut dyn FnMut(&Event<'_>)) -> Result<Moved, Error> {
        if !self.is_plain && link.knows(Greeting::STREAMS) && self.is_worth_keeping(link)? {
            self.reached = None;
            let watch = std::cell::RefCell::new(watch);
            let mut progress = |done| (watch.borrow_mut())(&Event::Moved { index: 0, done });
            let mut anew = || (watch.borrow_mut())(&Event::Restarted { index: 0, why: NOTHING_KEPT });
            let sent = self.upload.send(link, &mut self.ring, (&mut progress, &mut anew));
            match sent {
                // As many uploads are kept as may be. Without an id it is none of them.
                Err(error) if error.code() == Some(Code::Busy) && !self.upload.is_begun => self.is_plain = true,
                // Who has it lets go of it soon, or is found to be dead.
                Err(error) if error.code() == Some(Code::Busy) => {
                    link.abandon();
                    return Err(error);
                }
                sent => return sent,
            }
            return self.send_plainly(link, watch.into_inner());
        }
        self.send_plainly(link, watch)
    }

    /// Returns whether it is to have an id. A short one has none, unless it must be told from another one of its name.
    fn is_worth_keeping(&mut self, link: &Link) -> Result<bool, Error> {
        if self.upload.is_begun || self.upload.if_taken == IfTaken::Fail {
            return Ok(true);
        }
        self.ring.look_ahead(RESUMED_FROM_BYTES, || link.check_cancel())?;
        Ok(!self.ring.has_ended())
    }

    /// Sends it from its first byte on.
    fn send_plainly(&mut self, link: &mut Link, watch: &mut dyn FnMut(&Event<'_>)) -> Result<Moved, Error> {
        let from = self.ring.start();
        self.ring.rewind(0).ok_or(Error::Forgotten { there: 0, from })?;
        if self.reached.replace(0).is_some_and(|reached| reached > 0) || self.upload.was_sent() {
            watch(&Event::Restarted { index: 0, why: KEEPS_NOTHING });
        }
        let StreamUpload { name, mtime, if_taken, .. } = &self.upload;
        let reached = &mut self.reached;
        let mut progress = |done| {
            *reached = Some(done);
            watch(&Event::Moved { index: 0, done });
        };
        put_from(link, name, (*mtime, Onto::Settled(*if_taken)), &mut self.ring, &mut progress)
    }

    /// Returns the error after which another connection may go on, and fails with any other.
    fn after(&mut self, error: Error) -> Result<Error, Error> {
        let Some(reached) = self.reached else {
            let may_go_on = is_lost(&error) || error.code() == Some(Code::Busy);
            return if may_go_on { Ok(error) } else { Err(error) };
        };
        if !is_lost(&error) {
            return Err(error);
        }
        let is_all_out = self.ring.has_ended() && reached == self.ring.given();
        if self.upload.if_taken == IfTaken::Fail && is_all_out {
            // END may have gone out: it may have got its name, which would be taken then.
            return Err(error);
        }
        if self.ring.start() > 0 {
            log::warn!("{error}");
            let (sent, kept) = (self.ring.given(), KEPT_INPUT_BYTES as u64);
            return Err(Error::Overrun { sent, kept, source: Box::new(error) });
        }
        Ok(error)
    }

    /// Returns whether anything was gained since this was asked before: what the server had of a plain upload is gone with the
    /// connection, so there is no progress but further than before.
    fn got_on(&mut self) -> bool {
        let reached = self.reached.unwrap_or_default();
        let is_further = reached > self.most;
        self.most = self.most.max(reached);
        self.upload.take_growth() || is_further
    }
}
