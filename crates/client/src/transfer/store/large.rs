//! Large uploads: block by block, under an id where they can be gone on with.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use ferry_wire::{BodyLine, Code, Digest, Failure, Reply, Request, Time, write_end};

use super::{
    super::{Phase, drive::Stop},
    Asked, Round,
    ids::{CHANGED, Drawn, Origin},
    known::Known,
    reader::{Chunk, Order},
};
use crate::{
    block::Block,
    error::Error,
    link::unexpected,
    local::{Stamp, Version},
};

/// Uploads from here on have an id, so that what arrived before a cut need not be sent again. Below, sending again costs less
/// than the id, which has to reach the disks of both sides first.
pub(in crate::transfer) const RESUME_BYTES: u64 = 8 << 20;

/// A connection that brought less is no progress: a few bytes each could keep a client for ever.
const LEAST_PROGRESS_BYTES: u64 = 64 << 10;

/// How often an upload is asked for again whose id is in use elsewhere, and how long is waited in between.
const BUSY_TRIES: u32 = 5;
const BUSY_WAIT: Duration = Duration::from_millis(200);

/// How uploads with an id have gone so far: what outlives a connection.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// How often the server did not take the id of a file.
    tries: HashMap<usize, u32>,
    /// Where a file was gone on with last.
    offsets: HashMap<usize, u64>,
    /// Bytes of a file that no connection had to send.
    unsent: HashMap<usize, u64>,
    /// Files of which something was sent that was not told to be of no use.
    begun: HashSet<usize>,
    /// The server knows no ids.
    plain: bool,
}

impl Past {
    /// Whether a file is to be sent without an id.
    fn is_plain(&self, index: usize) -> bool {
        self.plain || self.tries.get(&index).is_some_and(|tries| *tries > BUSY_TRIES)
    }

    /// One more try has failed; gives how many did.
    fn count(&mut self, index: usize) -> u32 {
        let tries = self.tries.entry(index).or_default();
        *tries += 1;
        *tries
    }

    /// The server has a file as far as `offset`; gives how much of that none of these connections has sent.
    fn resumed(&mut self, index: usize, offset: u64) -> u64 {
        let unsent = self.unsent.entry(index).or_insert(offset);
        *unsent = offset.min(*unsent);
        *unsent
    }

    /// Whether the server has enough more of a file than when this was so last.
    fn has_grown(&mut self, index: usize, offset: u64) -> bool {
        let before = self.offsets.entry(index).or_insert(0);
        let has_grown = offset >= *before + LEAST_PROGRESS_BYTES;
        if has_grown {
            *before = offset;
        }
        has_grown
    }
}

/// What the server says before the body.
enum Answer {
    Go(u64),
    /// It is there already.
    Saved(Reply),
    Refused(Failure),
}

impl Round<'_, '_, '_> {
    pub(super) fn store_large(
        &mut self,
        index: usize,
        size: u64,
        mtime: Option<Time>,
        (version, stamp): (&Version, Option<Stamp>),
    ) -> Result<(), Stop> {
        let resumable = self.settings.resume && size >= RESUME_BYTES;
        while resumable && !self.past.is_plain(index) {
            let Drawn { id, origin, known } = match self.ids.of(index, &self.files[index], version, stamp.as_ref()) {
                Ok(drawn) => drawn,
                Err(error) => {
                    self.tally.failed(index, error);
                    return self.skip();
                }
            };
            self.note_origin(index, origin);
            self.known = known;
            let name = self.files[index].name.clone();
            match self.ask(index, size, &Request::Resume { id, size, mtime, name })? {
                Answer::Go(offset) => {
                    if offset == 0 {
                        self.tell_lost(index, "the server has nothing kept of it");
                    }
                    return self.send_body(index, offset);
                }
                Answer::Saved(reply) => return self.compare(index, reply),
                Answer::Refused(failure) => {
                    if !self.again(index, &failure)? {
                        self.forget(index);
                        self.tally.failed(index, Error::Server(failure));
                        return self.skip();
                    }
                }
            }
        }
        self.known = Known::nothing(None);
        self.abandon_if_small(index, size);
        self.tell_lost(index, "what the server may have of it cannot be taken up");
        self.link.ask(&Request::Put { size: Some(size), mtime, name: self.files[index].name.clone() });
        self.asked.push_back(Asked { index, size, crc: None, resumed: 0, large: true, stopped: None, check: None });
        self.send_body(index, 0)
    }

    /// What was begun under an earlier id is of no use under a new one.
    fn note_origin(&mut self, index: usize, origin: Origin) {
        match origin {
            Origin::Held | Origin::New => {}
            Origin::Instead(why) => {
                self.past.begun.remove(&index);
                self.tally.restarted(index, why);
            }
            Origin::Found => {
                self.past.begun.insert(index);
            }
        }
    }

    /// The id of a file is of no more use, for a reason that is told.
    pub(super) fn forget(&mut self, index: usize) {
        self.ids.forget(index);
        self.past.begun.remove(&index);
    }

    /// A file that has no id at its size, and of which something was begun at another.
    pub(super) fn abandon_if_small(&mut self, index: usize, size: u64) {
        if self.settings.resume && size < RESUME_BYTES && self.ids.abandon(index, &self.files[index]) {
            self.past.begun.remove(&index);
            self.tally.restarted(index, CHANGED);
        }
    }

    /// Tells that what the server may have had of a file is of no use, if it may have had any.
    fn tell_lost(&mut self, index: usize, why: &'static str) {
        if self.past.begun.remove(&index) {
            self.tally.restarted(index, why);
        }
    }

    /// Asks to go on and waits for the answer; nothing may be sent meanwhile.
    fn ask(&mut self, index: usize, size: u64, request: &Request) -> Result<Answer, Stop> {
        self.link.ask(request);
        self.asked.push_back(Asked { index, size, crc: None, resumed: 0, large: true, stopped: None, check: None });
        let answer = loop {
            // Those of earlier files come first.
            let reply = self.reply_after_work()?;
            self.hear(reply)?;
            if let Some(reply) = self.said.take() {
                break reply;
            }
        };
        match answer {
            Reply::Go(offset) if offset <= size => {
                if let Some(asked) = self.asked.back_mut() {
                    asked.resumed = self.past.resumed(index, offset);
                }
                Ok(Answer::Go(offset))
            }
            Reply::Go(offset) => Err(Error::violation(format_args!("GO {offset} in a file of {size} bytes")).into()),
            Reply::Fail(failure) => {
                self.asked.pop_back();
                Ok(Answer::Refused(failure))
            }
            reply @ Reply::Saved { .. } => {
                self.link.settle();
                Ok(Answer::Saved(reply))
            }
            reply => Err(unexpected(reply).into()),
        }
    }

    /// Whether a refused RESUME is worth another try, with or without an id.
    fn again(&mut self, index: usize, failure: &Failure) -> Result<bool, Stop> {
        let tries = self.past.count(index);
        match failure.code {
            Code::Busy if tries <= BUSY_TRIES => {
                let end = Instant::now() + BUSY_WAIT * tries;
                while Instant::now() < end {
                    self.link.step(&mut Block::new())?;
                    self.take_replies()?;
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            Code::Busy => {}
            // The id is of something else, or another connection has just taken it.
            Code::Exists | Code::Changed => {
                self.ids.forget(index);
                self.tell_lost(index, "the id that it was begun under is in use elsewhere");
            }
            Code::Unsupported | Code::UnknownCommand => self.past.plain = true,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The reader is not to read this file.
    fn skip(&mut self) -> Result<(), Stop> {
        let _ = self.reader.orders.send(Order::Skip);
        self.until_skipped()
    }

    fn until_skipped(&mut self) -> Result<(), Stop> {
        while let Some(chunk) = self.next_chunk()? {
            match chunk {
                Chunk::Block { block, .. } => self.reader.give_back(block),
                _ => break,
            }
        }
        Ok(())
    }

    /// An earlier connection had brought it to its end; only its SAVED was never seen.
    fn compare(&mut self, index: usize, reply: Reply) -> Result<(), Stop> {
        let Reply::Saved { size, crc, tag } = reply else { return Err(unexpected(reply).into()) };
        self.tally.begun(index, size, size);
        self.begun = Some(index);
        self.tally.entered(index, Phase::Verifying);
        let _ = self.reader.orders.send(Order::Digest(self.known.clone()));
        let chunk = self.next_chunk()?;
        let _ = self.reader.orders.send(Order::Skip);
        self.until_skipped()?;
        self.asked.pop_back();
        match chunk {
            Some(Chunk::End(digest)) if (digest.bytes(), digest.crc()) == (size, crc) => {
                let resumed = self.past.resumed(index, size);
                self.ask_sum(index, size, crc, resumed, Some(tag));
                self.link.push()?;
            }
            Some(Chunk::Broken(error)) => self.finish_off(index, error),
            _ => {
                let error = Error::Verification(format!("the server saved {size} bytes with the CRC {crc}"));
                self.forget(index);
                self.begun = None;
                self.tally.restart(index, "what the server has of it is damaged", error);
            }
        }
        Ok(())
    }

    /// Sends the body of the last request from `offset` on.
    fn send_body(&mut self, index: usize, offset: u64) -> Result<(), Stop> {
        let size = self.asked.back().map_or(0, |asked| asked.size);
        self.link.owe();
        self.tally.progress |= self.past.has_grown(index, offset);
        self.tally.begun(index, size, offset);
        self.begun = Some(index);
        if offset > 0 {
            self.tally.entered(index, Phase::Reading);
        }
        let _ = self.reader.orders.send(Order::From(offset, self.known.clone()));
        let mut done = offset;
        loop {
            match self.next_chunk()? {
                Some(Chunk::Block { mut block, bytes }) => {
                    if done == offset && offset > 0 {
                        self.tally.entered(index, Phase::Moving);
                    }
                    self.send(&mut block)?;
                    self.reader.give_back(block);
                    done += bytes;
                    self.past.begun.insert(index);
                    self.tally.moved(index, done);
                }
                Some(Chunk::End(digest)) => return self.end(offset, &digest),
                Some(Chunk::Broken(error)) => return self.call_off(error),
                _ => return Err(Stop::Unwanted),
            }
            if self.said.is_some() {
                return self.refused_early();
            }
        }
    }

    fn end(&mut self, offset: u64, digest: &Digest) -> Result<(), Stop> {
        if self.said.is_some() {
            return self.refused_early();
        }
        let mut line = Vec::new();
        write_end(&mut line, digest.crc());
        self.close(&line)?;
        let Some(asked) = self.asked.back_mut() else { return Ok(()) };
        asked.crc = Some(digest.crc());
        let (index, size, resumed) = (asked.index, asked.size, asked.resumed);
        self.tally.entered(index, Phase::Syncing);
        if offset > 0 {
            self.ask_sum(index, size, digest.crc(), resumed, None);
            self.link.push()?;
        }
        Ok(())
    }

    fn close(&mut self, line: &[u8]) -> Result<(), Stop> {
        self.link.queue(line);
        self.link.settle();
        Ok(self.link.push()?)
    }

    fn stop(&mut self) -> Result<(), Stop> {
        let mut line = Vec::new();
        BodyLine::Stop.encode(&mut line);
        self.close(&line)
    }

    /// The local file can't be read on.
    fn call_off(&mut self, error: Error) -> Result<(), Stop> {
        if self.said.is_some() {
            return self.refused_early();
        }
        self.stop()?;
        if let Some(asked) = self.asked.back_mut() {
            asked.stopped = Some(error);
        }
        Ok(())
    }

    /// The server spoke while the body was on its way: only to refuse it.
    fn refused_early(&mut self) -> Result<(), Stop> {
        let (Some(said), Some(asked)) = (self.said.take(), self.asked.pop_back()) else { return Ok(()) };
        let failure = match said {
            Reply::Fail(failure) => failure,
            _ => {
                self.asked.push_back(asked);
                return Err(Error::violation("it answers an upload before its end").into());
            }
        };
        self.refused(asked, failure);
        self.stop()?;
        self.skip()
    }

    /// The final reply is FAIL.
    pub(super) fn refused(&mut self, asked: Asked, failure: Failure) {
        let index = asked.index;
        self.begun = self.begun.filter(|begun| *begun != index);
        if let Some(error) = asked.stopped {
            return self.finish_off(index, error);
        }
        if asked.large {
            match failure.code {
                // A newer connection took over, or what the server had kept was damaged; it is gone now.
                Code::Changed | Code::Checksum => {
                    self.forget(index);
                    let why = if failure.code == Code::Changed {
                        "another connection took over"
                    } else {
                        "the bytes that arrived were not those that were sent"
                    };
                    return self.tally.restart(index, why, Error::Server(failure));
                }
                // The server has its last checkpoint still: worth to go on from when there is room again.
                Code::NoSpace | Code::Busy => {}
                _ => self.forget(index),
            }
        }
        self.tally.failed(index, Error::Server(failure));
    }

    /// A file that could not be read to its end.
    fn finish_off(&mut self, index: usize, error: Error) {
        self.begun = None;
        self.forget(index);
        match error {
            Error::LocalFile { .. } => self.tally.restart(index, "it changed while it was sent", error),
            error => self.tally.failed(index, error),
        }
    }
}
