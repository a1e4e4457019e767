//! Large uploads: block by block, under an id where they can be gone on with.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use ferry_wire::{Code, Crc32, Digest, Failure, Greeting, Reply, Request, Tag};

use super::{
    super::{Phase, drive::Stop, retry::is_farewell},
    Kind, Round, Sent,
    ids::{CHANGED, Drawn, Origin},
    known::Known,
    reader::{Chunk, Opened, Order},
};
use crate::{block::Block, conversation::Exchange, error::Error, local::Source};

/// Uploads from here on have an id, so that what arrived before a cut need not be sent again. Below, sending again costs less
/// than the id, which has to reach the disks of both sides first.
pub(in crate::transfer) const RESUME_BYTES: u64 = 8 << 20;

/// A connection that brought less is no progress: a few bytes each could keep a client for ever.
pub(super) const LEAST_PROGRESS_BYTES: u64 = 64 << 10;

/// How often an upload is asked for again whose id is in use elsewhere, and how long is waited in between.
const BUSY_TRIES: u32 = 5;
const BUSY_WAIT: Duration = Duration::from_millis(200);

/// How often a server is asked anew what it has of a shared file, before one connection sends all of it.
const ANEW_TRIES: u32 = 5;

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
    /// How often it was asked anew what the server has of a shared file.
    anew: HashMap<usize, u32>,
    /// No ids are used: the server knows none, or the caller's is used up.
    plain: bool,
}

impl Past {
    pub(super) fn goes_without_ids(&self) -> bool {
        self.plain
    }

    pub(super) fn go_without_ids(&mut self) {
        self.plain = true;
    }

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
    pub(super) fn resumed(&mut self, index: usize, offset: u64) -> u64 {
        let unsent = self.unsent.entry(index).or_insert(offset);
        *unsent = offset.min(*unsent);
        *unsent
    }

    /// Whether the server has enough more of a file than when this was so last.
    pub(super) fn has_grown(&mut self, index: usize, offset: u64) -> bool {
        let before = self.offsets.entry(index).or_insert(0);
        let has_grown = offset >= *before + LEAST_PROGRESS_BYTES;
        if has_grown {
            *before = offset;
        }
        has_grown
    }

    /// So many bytes that the server had of a file before this call are sent again.
    pub(super) fn lost(&mut self, index: usize, bytes: u64) {
        if let Some(unsent) = self.unsent.get_mut(&index) {
            *unsent = unsent.saturating_sub(bytes);
        }
    }

    /// Something of a file is on its way.
    pub(super) fn is_begun(&mut self, index: usize) {
        self.begun.insert(index);
    }

    /// Whether several connections may share a file.
    pub(super) fn may_be_split(&self, index: usize) -> bool {
        self.anew.get(&index).is_none_or(|tries| *tries <= ANEW_TRIES)
    }

    /// No other connection is to send parts of a file any more.
    pub(super) fn never_split(&mut self, index: usize) {
        self.anew.insert(index, u32::MAX);
    }

    /// The server is asked anew what it has of a shared file.
    fn ask_anew(&mut self, index: usize) {
        let tries = self.anew.entry(index).or_default();
        *tries = tries.saturating_add(1);
    }
}

/// The server's answer before the body.
enum Answer {
    /// The body may come from there on; and the parts behind that are there.
    Go(u64, Vec<Range<u64>>),
    /// It is there already, and was published as this.
    Saved(u64, Crc32, Tag),
    Refused(Failure),
    /// Something has the name.
    Taken,
}

/// The holes of a large file.
pub(super) enum Holes {
    /// It has none, or they are sent as zeros.
    Sent,
    /// They are left out, also of parts: in order.
    Left(Vec<Range<u64>>),
    /// They are left out by one connection alone.
    Alone,
}

impl Holes {
    /// Returns the bytes of a file of `size` bytes that are to be sent from `offset` on, in parts if that is worth it.
    fn data_after(&self, offset: u64, size: u64) -> u64 {
        match self {
            Holes::Sent => size - offset,
            Holes::Left(holes) => {
                let after = holes.iter().map(|hole| hole.end.max(offset) - hole.start.max(offset));
                size - offset - after.sum::<u64>()
            }
            Holes::Alone => 0,
        }
    }
}

impl Round<'_, '_, '_, '_> {
    pub(super) fn store_large(&mut self, opened: Opened) -> Result<(), Stop> {
        let Opened { index, size, mtime, mode, version, stamp, source } = opened;
        let is_resumable = self.common.resumable_from.is_some_and(|from| size >= from);
        while is_resumable && (self.common.never_replaces || !self.common.past().is_plain(index)) {
            let Drawn { id, origin, known } =
                match self.common.ids().of(index, self.files.at(index), &version, stamp.as_ref()) {
                    Ok(drawn) => drawn,
                    Err(error) => {
                        self.hand.failed(index, error);
                        return self.skip();
                    }
                };
            self.note_origin(index, origin);
            self.known = known;
            let name = self.files.name(index).clone();
            if self.common.never_replaces {
                let is_begun = matches!(origin, Origin::Found | Origin::Held);
                if let Err(error) = self.want_free(index, size, is_begun)? {
                    self.forget(index);
                    self.hand.failed(index, error);
                    return self.skip();
                }
            }
            let holes = self.holes_of(source.as_ref());
            self.announce(index, holes.data_after(0, size));
            self.exchange.with_mode(mode);
            let answer = self.ask(index, size, &Request::Resume { id: id.clone(), size: Some(size), mtime, name });
            self.common.coming.store(0, Ordering::Relaxed);
            match answer? {
                Answer::Go(offset, parts) => {
                    if offset == 0 && parts.is_empty() {
                        self.tell_lost(index, "the server has nothing kept of it");
                    }
                    let left = holes.data_after(offset, size);
                    let is_to_be_split = self.is_to_be_split(index, left, !parts.is_empty());
                    let Some(source) = source.as_ref().filter(|_| is_to_be_split) else {
                        return self.send_body(index, size, offset);
                    };
                    if !self.send_shared(index, (id, offset, parts), source.clone(), holes)? {
                        return Ok(());
                    }
                    self.common.past().ask_anew(index);
                }
                Answer::Saved(saved, crc, tag) => return self.compare((index, size), (saved, crc), tag),
                Answer::Taken => return Err(Error::violation("it answers RESUME as a STAT").into()),
                Answer::Refused(failure) => {
                    if !self.again(index, &failure)? {
                        self.forget(index);
                        self.hand.failed(index, Error::Server(failure));
                        return self.skip();
                    }
                }
            }
        }
        self.known = Known::nothing(None);
        self.abandon_if_small(index, size);
        self.tell_lost(index, "what the server may have of it cannot be taken up");
        self.exchange.with_mode(mode);
        self.exchange.put(Some(size), mtime, self.files.name(index).clone());
        self.send_body(index, size, 0)
    }

    /// Returns the holes of a file that are not sent. Where the server takes none in parts, the file is for one connection.
    fn holes_of(&mut self, source: Option<&Source>) -> Holes {
        let link = self.exchange.link();
        match source.filter(|source| source.is_sparse() && link.knows(Greeting::HOLES)) {
            None => Holes::Sent,
            Some(source) if link.knows(Greeting::PART_HOLES) => Holes::Left(source.holes()),
            Some(_) => Holes::Alone,
        }
    }

    /// Has the next upload fail where its name is taken. One that is taken already, where nothing `is_begun` of this upload,
    /// fails before anything is sent: that is told in the inner result.
    fn want_free(&mut self, index: usize, size: u64, is_begun: bool) -> Result<Result<(), Error>, Stop> {
        if !self.exchange.link().knows(Greeting::WITH_IF) {
            return Ok(Err(Error::NeverReplacing));
        }
        if !is_begun {
            let name = self.files.name(index).clone();
            // Who may not look is told in the end.
            if let Answer::Taken = self.ask(index, size, &Request::Stat { name })? {
                let failure = Failure::new(Code::Exists, "something has that name already");
                return Ok(Err(Error::Server(failure)));
            }
        }
        Ok(self.exchange.only_if_free())
    }

    /// Notes where an id is from: a part that was begun under an earlier one is of no use under a new one.
    fn note_origin(&mut self, index: usize, origin: Origin) {
        match origin {
            Origin::Held | Origin::New => {}
            Origin::Instead(why) => {
                self.common.past().begun.remove(&index);
                self.hand.restarted(index, why);
            }
            Origin::Found => {
                self.common.past().begun.insert(index);
            }
        }
    }

    /// The id of a file is of no more use, for a reason that is told.
    pub(super) fn forget(&mut self, index: usize) {
        self.common.ids().forget(index);
        self.common.past().begun.remove(&index);
    }

    /// A file that has no id at its size, and of which something was begun at another.
    pub(super) fn abandon_if_small(&mut self, index: usize, size: u64) {
        let is_small = self.common.resumable_from.is_some_and(|from| size < from);
        if is_small && self.common.ids().abandon(index, self.files.at(index)) {
            self.common.past().begun.remove(&index);
            self.hand.restarted(index, CHANGED);
        }
    }

    /// Tells that what the server may have had of a file is of no use, if it may have had any.
    fn tell_lost(&mut self, index: usize, why: &'static str) {
        if self.common.past().begun.remove(&index) {
            self.hand.restarted(index, why);
        }
    }

    /// Asks to go on and waits for the answer; nothing may be sent meanwhile.
    fn ask(&mut self, index: usize, size: u64, request: &Request) -> Result<Answer, Stop> {
        self.exchange.ask(request, Sent { index, size, crc: Crc32::EMPTY, resumed: 0, kind: Kind::Asked });
        loop {
            // Those of earlier files come first.
            let (sent, reply) = self.reply()?;
            match (&sent.kind, reply) {
                (Kind::Asked, Reply::Go { offset, parts, .. }) => return Ok(Answer::Go(offset, parts)),
                (Kind::Asked, Reply::Saved { size, crc, tag }) => return Ok(Answer::Saved(size, crc, tag)),
                (Kind::Asked, Reply::File(_) | Reply::Dir(_)) => return Ok(Answer::Taken),
                (Kind::Asked, Reply::Fail(failure)) if !is_farewell(failure.code) => {
                    return Ok(Answer::Refused(failure));
                }
                (_, reply) => self.hear(sent, reply)?,
            }
        }
    }

    /// Whether a refused RESUME is worth another try, with or without an id.
    fn again(&mut self, index: usize, failure: &Failure) -> Result<bool, Stop> {
        if self.hand.is_alone() {
            return Ok(false);
        }
        let tries = self.common.past().count(index);
        match failure.code {
            Code::Busy if tries <= BUSY_TRIES => {
                let end = Instant::now() + BUSY_WAIT * tries;
                while Instant::now() < end {
                    self.exchange.step(&mut Block::new())?;
                    self.take_replies()?;
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            // There is no other way.
            _ if self.common.never_replaces && tries > 1 => return Ok(false),
            Code::Busy => {}
            // The id is of something else, or another connection has just taken it.
            Code::Exists | Code::Changed => {
                self.common.ids().forget(index);
                self.tell_lost(index, "the id that it was begun under is in use elsewhere");
            }
            Code::Unsupported | Code::UnknownCommand if !self.common.never_replaces => {
                self.common.past().go_without_ids()
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The reader is not to read this file.
    fn skip(&mut self) -> Result<(), Stop> {
        let _ = self.reader.orders.send(Order::Skip);
        while let Some(chunk) = self.next_chunk()? {
            match chunk {
                Chunk::Block { block, .. } => self.reader.give_back(block),
                Chunk::Range(..) => {}
                _ => break,
            }
        }
        Ok(())
    }

    /// An earlier connection had brought it to its end; only its SAVED was never seen.
    fn compare(&mut self, (index, size): (usize, u64), saved: (u64, Crc32), tag: Tag) -> Result<(), Stop> {
        self.hand.begun(index, saved.0, saved.0);
        self.hand.entered(index, Phase::Verifying);
        let _ = self.reader.orders.send(Order::Digest(size, self.known.clone()));
        let chunk = loop {
            match self.next_chunk()? {
                // Of an order before this one.
                Some(Chunk::Range(..)) => {}
                chunk => break chunk,
            }
        };
        self.skip()?;
        match chunk {
            Some(Chunk::End(digest)) if (digest.bytes(), digest.crc()) == saved => {
                let resumed = self.common.past().resumed(index, saved.0);
                self.published = Some((index, tag));
                self.ask_sum(index, saved, resumed, true);
            }
            Some(Chunk::Broken(error)) => self.finish_off(index, error),
            _ => {
                let error = Error::Verification(format!("the server saved {} bytes with the CRC {}", saved.0, saved.1));
                self.forget(index);
                self.hand.restart(index, "what the server has of it is damaged", error);
            }
        }
        Ok(())
    }

    /// Sends the open body from `offset` on.
    fn send_body(&mut self, index: usize, size: u64, offset: u64) -> Result<(), Stop> {
        self.open = Some(index);
        let resumed = self.common.past().resumed(index, offset);
        self.hand.progress |= self.common.past().has_grown(index, offset);
        self.hand.begun(index, size, offset);
        if offset > 0 {
            self.hand.entered(index, Phase::Reading);
        }
        let _ = self.reader.orders.send(Order::From(offset, self.known.clone()));
        let sent = Sent {
            index,
            size,
            crc: Crc32::EMPTY,
            resumed,
            kind: Kind::Large { is_looked_at: offset > 0, is_joined: false },
        };
        let mut block = Block::new();
        match self.send_blocks(&sent, offset, &mut block) {
            Ok(Sending::Whole(digest)) => self.end(sent, &digest),
            Ok(Sending::Broken(error)) => self.stop(sent, error),
            Ok(Sending::Refused) => {
                self.stop_refused(sent);
                self.skip()
            }
            Err(Stop::Broken(Error::Interrupted)) if self.hand.is_alone() => self.call_off(sent, &mut block),
            Err(error) => Err(error),
        }
    }

    /// Sends block after block. `block` has what is unsent of the last one.
    fn send_blocks(&mut self, sent: &Sent, offset: u64, block: &mut Block) -> Result<Sending, Stop> {
        let mut done = offset;
        loop {
            let chunk = self.next_chunk()?;
            if self.is_refused()? {
                return Ok(Sending::Refused);
            }
            match chunk {
                Some(Chunk::Block { block: next, bytes }) => {
                    if done == offset && offset > 0 {
                        self.hand.entered(sent.index, Phase::Moving);
                    }
                    *block = next;
                    let (hand, index) = (&mut self.hand, sent.index);
                    self.exchange
                        .send_telling(block, |left| hand.moved(index, done + bytes.saturating_sub(left as u64)))?;
                    self.reader.give_back(std::mem::replace(block, Block::new()));
                    done += bytes;
                    self.common.past().is_begun(sent.index);
                    self.hand.moved(sent.index, done);
                }
                Some(Chunk::End(digest)) => return Ok(Sending::Whole(digest)),
                Some(Chunk::Broken(error)) => return Ok(Sending::Broken(error)),
                _ => return Err(Stop::Unwanted),
            }
            if self.is_refused()? {
                return Ok(Sending::Refused);
            }
        }
    }

    /// Whether the server has refused the open upload, and stays.
    pub(super) fn is_refused(&self) -> Result<bool, Error> {
        match self.exchange.refusal() {
            Some(failure) if is_farewell(failure.code) => Err(Error::Server(failure.clone())),
            refusal => Ok(refusal.is_some()),
        }
    }

    pub(super) fn end(&mut self, sent: Sent, digest: &Digest) -> Result<(), Stop> {
        let Sent { index, size, resumed, kind, .. } = sent;
        let is_looked_at = matches!(kind, Kind::Large { is_looked_at: true, .. });
        let is_joined = matches!(kind, Kind::Large { is_joined: true, .. });
        let sent = Sent { crc: digest.crc(), kind, ..sent };
        let close = if is_joined { Exchange::join } else { Exchange::end };
        if let Some((sent, failure)) = close(&mut self.exchange, digest.crc(), sent) {
            self.large_refused(sent.index, failure);
            return Ok(());
        }
        self.hand.entered(index, Phase::Syncing);
        if is_looked_at {
            self.ask_sum(index, (size, digest.crc()), resumed, false);
        }
        Ok(())
    }

    /// The local file can't be read on.
    pub(super) fn stop(&mut self, sent: Sent, error: Error) -> Result<(), Stop> {
        if let Some((sent, failure)) = self.exchange.stop(Sent { kind: Kind::Stopped(error), ..sent }) {
            self.large_refused(sent.index, failure);
        }
        Ok(())
    }

    /// The server spoke while the body was on its way: only to refuse it.
    pub(super) fn stop_refused(&mut self, sent: Sent) {
        if let Some((sent, failure)) = self.exchange.stop(sent) {
            self.large_refused(sent.index, failure);
        }
    }

    /// The caller wants it to end: it is stopped, if that is soon done.
    pub(super) fn call_off(&mut self, sent: Sent, block: &mut Block) -> Result<(), Stop> {
        let _ = self.reader.orders.send(Order::Skip);
        let sent = Sent { kind: Kind::Stopped(Error::Interrupted), ..sent };
        match self.exchange.call_off(block, sent) {
            Ok(()) => {}
            Err((sent, Some(failure))) => self.large_refused(sent.index, failure),
            Err((sent, None)) => self.finish_off(sent.index, Error::Interrupted),
        }
        while let Some((sent, reply)) = self.exchange.unheard() {
            self.hear(sent, reply)?;
        }
        // The server had its time.
        if self.exchange.waiting() == 0 { Ok(()) } else { Err(Error::Interrupted.into()) }
    }
}

/// How the sending of a body ended.
enum Sending {
    /// All of it is out.
    Whole(Digest),
    /// The local file can't be read on.
    Broken(Error),
    /// The server has refused it.
    Refused,
}
