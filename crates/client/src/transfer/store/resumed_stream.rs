//! The upload of a stream under an id: the server says how much of it is kept, so that it can go on from there on another
//! connection, and what comes before need not be at hand.

use ferry_wire::{Code, Crc32, Digest, Id, Name, Reply, Request, Tag, Time};

use super::{
    super::{IfTaken, Moved, retry::is_farewell, ring::Ring},
    large::LEAST_PROGRESS_BYTES,
    not_as_sent,
    stream::{end, saved, send_block},
};
use crate::{
    block::{BLOCK_BYTES, Block, Filled},
    conversation::{
        Exchange, Extent,
        requests::{self, Sum},
        unexpected,
    },
    error::Error,
    link::Link,
};

/// The upload of a stream: what is the same on each connection.
pub(in crate::transfer) struct StreamUpload<'a> {
    pub(in crate::transfer) id: Id,
    pub(in crate::transfer) name: &'a Name,
    pub(in crate::transfer) mtime: Option<Time>,
    pub(in crate::transfer) if_taken: IfTaken,
    /// The server may have something of it under the id.
    pub(in crate::transfer) is_begun: bool,
    /// It went on from what the server had kept, which the server does not read again by itself.
    was_kept: bool,
    /// How much of it was sent at most.
    sent: u64,
    /// Where it went on last.
    offset: u64,
    /// The server had more of it than the time before.
    has_grown: bool,
}

impl<'a> StreamUpload<'a> {
    pub(in crate::transfer) fn new(
        id: Id,
        name: &'a Name,
        (mtime, if_taken): (Option<Time>, IfTaken),
    ) -> StreamUpload<'a> {
        StreamUpload {
            id,
            name,
            mtime,
            if_taken,
            is_begun: false,
            was_kept: false,
            sent: 0,
            offset: 0,
            has_grown: false,
        }
    }

    /// Returns whether anything of it was sent.
    pub(in crate::transfer) fn was_sent(&self) -> bool {
        self.sent > 0
    }

    /// Returns whether the server had more of it than when this was asked before.
    pub(in crate::transfer) fn take_growth(&mut self) -> bool {
        std::mem::take(&mut self.has_grown)
    }

    /// Sends what the server does not have yet, on one connection. `began_anew` is called where the server has nothing any more.
    pub(in crate::transfer) fn send(
        &mut self,
        link: &mut Link,
        ring: &mut Ring<'_>,
        (progress, began_anew): (&mut dyn FnMut(u64), &mut dyn FnMut()),
    ) -> Result<Moved, Error> {
        let mut exchange = Exchange::new(link);
        if self.if_taken == IfTaken::Fail {
            exchange.only_if_free()?;
        }
        match self.ask(&mut exchange, ring.given())? {
            Reply::Go { offset, crc, .. } => {
                self.is_begun = true;
                let taken_up = self.take_up(ring, offset, crc);
                let digest = taken_up.inspect_err(|_| give_up(&mut exchange))?;
                if offset == 0 && self.sent > 0 {
                    began_anew();
                }
                self.send_rest(&mut exchange, ring, digest, progress)
            }
            Reply::Saved { size, crc, tag } => {
                // Its END had gone out, and the answer was lost.
                let sent = ring.rewind(ring.given()).unwrap_or_default();
                if !ring.is_at_end() || (size, crc) != (sent.bytes(), sent.crc()) {
                    return Err(not_as_sent((size, crc), (sent.bytes(), sent.crc())));
                }
                if self.was_kept {
                    self.ask_sum(&mut exchange);
                }
                self.looked_at(&mut exchange, &sent, tag)
            }
            reply => Err(unexpected(reply)),
        }
    }

    /// Asks to go on.
    fn ask(&self, exchange: &mut Exchange<'_, ()>, bytes: u64) -> Result<Reply, Error> {
        let request = Request::Resume { id: self.id.clone(), size: None, mtime: self.mtime, name: self.name.clone() };
        exchange.ask(&request, ());
        exchange.reply_after(Extent::Bytes(bytes)).map(|((), reply)| reply)
    }

    /// Has the server drop what it keeps after a refusal: nobody could go on with it. But where it is `busy` it may be worth
    /// another try.
    fn drop_after(&self, error: &Error, exchange: &mut Exchange<'_, ()>) {
        let Error::Server(failure) = error else { return };
        if failure.code == Code::Busy || is_farewell(failure.code) {
            return;
        }
        // The file that was to be looked at is another one.
        while exchange.waiting() > 0 {
            if exchange.reply_after(Extent::Bytes(self.sent)).is_err() {
                return;
            }
        }
        if let Ok(Reply::Go { .. }) = self.ask(exchange, self.sent) {
            give_up(exchange);
        }
    }

    /// Goes on from `offset`, where what the server has there is what was sent.
    fn take_up(&mut self, ring: &mut Ring<'_>, offset: u64, crc: Option<Crc32>) -> Result<Digest, Error> {
        let (given, from) = (ring.given(), ring.start());
        if offset > given {
            return Err(Error::violation(format_args!("GO {offset} in a stream of which {given} bytes were sent")));
        }
        let digest = ring.rewind(offset).ok_or(Error::Forgotten { there: offset, from })?;
        if crc != Some(digest.crc()) {
            let error = format!("the server has other bytes than the {offset} that were sent; nothing was stored");
            return Err(Error::Verification(error));
        }
        self.was_kept |= offset > 0;
        // All that was sent is enough: the source may be slow.
        let is_more = offset > self.offset && offset >= self.sent;
        if is_more || offset >= self.offset + LEAST_PROGRESS_BYTES {
            (self.offset, self.has_grown) = (offset, true);
        }
        Ok(digest)
    }

    /// Sends the open body from behind `digest` on.
    fn send_rest(
        &mut self,
        exchange: &mut Exchange<'_, ()>,
        ring: &mut Ring<'_>,
        mut digest: Digest,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Moved, Error> {
        let mut block = Block::new();
        let sent = send_blocks(exchange, ring, &mut digest, &mut block, progress);
        self.sent = self.sent.max(digest.bytes());
        let saved = end(exchange, sent, &digest, &mut block).and_then(|()| {
            if self.was_kept {
                self.ask_sum(exchange);
            }
            saved(exchange, &digest)
        });
        let (_, tag) = saved.inspect_err(|error| self.drop_after(error, exchange))?;
        self.looked_at(exchange, &digest, tag)
    }

    fn ask_sum(&self, exchange: &mut Exchange<'_, ()>) {
        exchange.ask(&Request::Sum { name: self.name.clone() }, ());
        exchange.push();
    }

    /// Compares what is there with what was sent, where the server was asked to read it again.
    fn looked_at(&self, exchange: &mut Exchange<'_, ()>, sent: &Digest, saved: Tag) -> Result<Moved, Error> {
        let moved = |tag| Moved { size: sent.bytes(), crc: sent.crc(), tag, resumed: 0 };
        if !self.was_kept {
            return Ok(moved(saved));
        }
        let ((), reply) = exchange.reply_after(Extent::Bytes(sent.bytes()))?;
        match requests::to_sum(reply) {
            Ok(Sum { size, crc, tag, .. }) if (size, crc) == (sent.bytes(), sent.crc()) => Ok(moved(tag)),
            Ok(Sum { size, crc, tag, .. }) if tag == saved => Err(Error::Verification(format!(
                "what the server had kept is damaged: {} has {size} bytes with the CRC {crc} there, sent were {} with {}",
                self.name,
                sent.bytes(),
                sent.crc()
            ))),
            // Somebody else has replaced or removed it since, or this client may not look: what SAVED said is all there is.
            Ok(_) => Ok(moved(saved)),
            Err(Error::Server(failure))
                if matches!(failure.code, Code::NotFound | Code::NotAFile | Code::Changed | Code::Denied) =>
            {
                Ok(moved(saved))
            }
            Err(error) => Err(error),
        }
    }
}

/// Sends block after block, and forgets what is kept. Where too much is not, it is waited for.
fn send_blocks(
    exchange: &mut Exchange<'_, ()>,
    ring: &mut Ring<'_>,
    digest: &mut Digest,
    block: &mut Block,
    progress: &mut dyn FnMut(u64),
) -> Result<(), Error> {
    progress(digest.bytes());
    loop {
        let kept = exchange.kept();
        if kept > digest.bytes() {
            return Err(Error::violation(format_args!("KEPT {kept}, of {} bytes", digest.bytes())));
        }
        ring.forget(kept);
        if exchange.refusal().is_none() && !ring.has_room(BLOCK_BYTES) {
            exchange.wait_for_more_kept(ring.given() - kept)?;
        } else if send_block(exchange, ring, digest, block, progress)? == Filled::Last {
            return Ok(());
        }
    }
}

/// Has the server drop what it has: nothing that is sent could make a whole of it.
fn give_up(exchange: &mut Exchange<'_, ()>) {
    let _ = exchange.call_off(&mut Block::new(), ());
}
