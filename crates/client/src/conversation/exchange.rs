//! A conversation over a link.

use std::{
    collections::VecDeque,
    ops::Range,
    time::{Duration, Instant},
};

use ferry_wire::{
    AskedMode, Crc32, Digest, Failure, Greeting, Id, Name, Options, Reply, Request, Tag, TellsModes, Time,
};

use super::{Conversation, Line};
use crate::{
    block::Block,
    error::Error,
    link::{Link, Wait},
};

/// How long a server may take until an upload that was called off is called off; then the
/// connection is dropped instead.
const STOP_LIMIT: Duration = Duration::from_secs(3);

/// The next piece of a body.
#[derive(Debug)]
pub(crate) enum Next<B> {
    Bytes(B),
    /// So many zeros, which were not sent.
    Hole(u64),
    /// It has ended, whole and verified.
    End(Digest),
}

/// The thing that comes next in a body.
enum Begun {
    /// Bytes.
    Block,
    /// So many zeros, which are not sent.
    Hole(u64),
    /// Nothing: this is the digest of all of it.
    End(Digest),
}

/// A [`Conversation`] that waits for the server, and moves bytes both ways while it does, so that neither side can block
/// the other by not reading.
///
/// Lasts for one call of the library at most. Dropped with anything in flight, it leaves the link of no further use.
#[derive(Debug)]
pub(crate) struct Exchange<'l, T> {
    link: &'l mut Link,
    talk: Conversation<T>,
    /// Replies that came while something was sent.
    replies: VecDeque<(T, Reply)>,
}

impl<'l, T> Exchange<'l, T> {
    pub(crate) fn new(link: &'l mut Link) -> Exchange<'l, T> {
        Exchange { link, talk: Conversation::new(), replies: VecDeque::new() }
    }

    /// The connection: for what is no conversation.
    pub(crate) fn link(&mut self) -> &mut Link {
        self.link
    }

    /// Fails where the caller wants what is under way to end.
    pub(crate) fn check_cancel(&self) -> Result<(), Error> {
        self.link.check_cancel()
    }

    /// Queues `request`; it goes out with the next call that waits or sends. Its reply will be about `about`.
    pub(crate) fn ask(&mut self, request: &Request, about: T) {
        self.talk.ask(request, about, self.link.output());
    }

    /// Has the upload that is queued next fail where its name is taken.
    ///
    /// # Errors
    ///
    /// [`Error::NeverReplacing`] where the server does not know that.
    pub(crate) fn only_if_free(&mut self) -> Result<(), Error> {
        if !self.link.knows(Greeting::WITH_IF) {
            return Err(Error::NeverReplacing);
        }
        self.with(Options { if_none: true, ..Options::default() });
        Ok(())
    }

    /// Has the upload that is asked for next fail unless it replaces the version `tag`.
    ///
    /// # Errors
    ///
    /// [`Error::Lacking`] where the server does not know that.
    pub(crate) fn only_if_version(&mut self, tag: &Tag) -> Result<(), Error> {
        self.need(Greeting::WITH_IF_TAG, "be told which version to replace")?;
        self.with(Options { if_tag: Some(tag.clone()), ..Options::default() });
        Ok(())
    }

    /// Has the server read the file that is asked for next, whatever it remembers of it; one that remembers nothing does so
    /// anyway.
    pub(crate) fn read_anew(&mut self) {
        if self.link.knows(Greeting::WITH_CRC) {
            self.with(Options { crc_read: true, ..Options::default() });
        }
    }

    /// Has the SUM that is queued next tell the SHA-256.
    ///
    /// # Errors
    ///
    /// [`Error::Lacking`] where the server does not know that.
    pub(crate) fn with_sha256(&mut self) -> Result<(), Error> {
        self.need(Greeting::WITH_SHA256, "compute SHA-256")?;
        self.with(Options { sha256: true, ..Options::default() });
        Ok(())
    }

    /// Has what is stored, made or touched next get permissions, where the server keeps such.
    pub(crate) fn with_mode(&mut self, mode: Option<AskedMode>) {
        if mode.is_some() && self.link.greeting().is_some_and(|greeting| greeting.kept_modes().is_some()) {
            self.with(Options { mode, ..Options::default() });
        }
    }

    /// Has what is asked for next tell permissions, as far as the server knows that: of files, or of directories as well.
    pub(crate) fn telling_modes(&mut self) {
        let tells_modes = match self.link.knows(Greeting::MODES) {
            true => TellsModes::OfAll,
            false if self.link.knows(Greeting::TELL_MODE) => TellsModes::OfFiles,
            false => return,
        };
        self.with(Options { tells_modes, ..Options::default() });
    }

    /// Has the server leave holes out of the file that is asked for next, where it knows that.
    pub(crate) fn leaving_holes(&mut self) {
        if self.link.knows(Greeting::HOLES) {
            self.with(Options { leaves_holes: true, ..Options::default() });
        }
    }

    /// Sets options for what is queued next: only those that the server knows.
    fn with(&mut self, options: Options) {
        self.talk.with(options, self.link.output());
    }

    /// Fails where the server does not know `feature`, and so can't do `what`.
    fn need(&self, feature: &'static str, what: &'static str) -> Result<(), Error> {
        if self.link.knows(feature) { Ok(()) } else { Err(Error::Lacking { what, feature }) }
    }

    /// Queues a PUT; its body is sent in blocks.
    pub(crate) fn put(&mut self, size: Option<u64>, mtime: Option<Time>, name: Name) {
        self.talk.put(size, mtime, name, self.link.output());
    }

    /// Queues a PART of the upload under `id`; its body is sent in blocks.
    pub(crate) fn part(&mut self, id: Id, part: Range<u64>, name: Name) {
        self.talk.part(id, part, name, self.link.output());
    }

    /// A block that is about to be sent holds a whole PUT.
    pub(crate) fn was_sent(&mut self, about: T) {
        self.talk.was_sent(about);
    }

    /// Closes the open body with END; with STOP where the server has refused it, and then returns why.
    pub(crate) fn end(&mut self, crc: Crc32, about: T) -> Option<(T, Failure)> {
        let refused = self.talk.end(crc, about, self.link.output());
        self.push();
        refused
    }

    /// Closes the open body with JOIN, as [`Exchange::end`] does with END.
    pub(crate) fn join(&mut self, crc: Crc32, about: T) -> Option<(T, Failure)> {
        let refused = self.talk.join(crc, about, self.link.output());
        self.push();
        refused
    }

    /// Closes the open body with STOP. Returns why the server has refused it, if it has; else its reply is due.
    pub(crate) fn stop(&mut self, about: T) -> Option<(T, Failure)> {
        let refused = self.talk.stop(about, self.link.output());
        self.push();
        refused
    }

    /// Why the server has refused the upload whose body is open.
    pub(crate) fn refusal(&self) -> Option<&Failure> {
        self.talk.refusal()
    }

    /// Gives up what is in flight, and with it the link.
    pub(crate) fn give_up(&mut self) -> Vec<T> {
        if !self.talk.is_at_rest() {
            self.link.abandon();
        }
        self.talk.give_up()
    }

    /// Returns the subjects of the requests in flight, the oldest first. One whose reply [`Exchange::unheard`] still gives is
    /// not among them.
    pub(crate) fn in_flight(&self) -> impl Iterator<Item = &T> {
        self.talk.in_flight()
    }

    /// How many requests are in flight.
    pub(crate) fn waiting(&self) -> usize {
        self.talk.in_flight().len()
    }

    /// Sends what the socket takes of what is queued; never waits.
    pub(crate) fn push(&mut self) {
        self.link.push();
    }

    /// Waits for the next reply.
    pub(crate) fn reply(&mut self) -> Result<(T, Reply), Error> {
        self.reply_within(self.link.timeout())
    }

    /// The same for another time than the connection's own.
    pub(super) fn reply_within(&mut self, limit: Duration) -> Result<(T, Reply), Error> {
        if let Some(reply) = self.replies.pop_front() {
            return Ok(reply);
        }
        let talk = &mut self.talk;
        let reply = self.link.wait_for(Wait::Reply(limit), |input| talk.next_reply(input))?;
        self.link.begin_window();
        Ok(reply)
    }

    /// Returns how much of the stream under way the server says that it keeps.
    pub(crate) fn kept(&self) -> u64 {
        self.talk.kept().unwrap_or_default()
    }

    /// Waits until the server says that it keeps more of the stream under way, or why it refuses it.
    pub(super) fn more_kept_within(&mut self, limit: Duration) -> Result<(), Error> {
        let before = self.talk.kept();
        let talk = &mut self.talk;
        self.link.wait_for(Wait::Reply(limit), |input| {
            let (used, _) = talk.next_reply(input)?;
            let is_told = talk.kept() != before || talk.refusal().is_some();
            Ok((used, is_told.then_some(())))
        })?;
        self.link.begin_window();
        Ok(())
    }

    /// Whether a reply has begun to come.
    pub(super) fn has_begun(&self) -> bool {
        !self.link.input().is_empty()
    }

    /// Takes a reply that has come; never waits.
    pub(crate) fn heard(&mut self) -> Result<Option<(T, Reply)>, Error> {
        match self.replies.pop_front() {
            Some(reply) => Ok(Some(reply)),
            None => self.take_in(),
        }
    }

    /// Takes a reply that came while something was sent, however that ended.
    pub(crate) fn unheard(&mut self) -> Option<(T, Reply)> {
        self.replies.pop_front()
    }

    /// Takes the next reply from what has come. A line that nobody asked for is left to who looks at the connection next.
    fn take_in(&mut self) -> Result<Option<(T, Reply)>, Error> {
        while self.talk.expects_reply() {
            let (used, reply) = self.talk.next_reply(self.link.input())?;
            self.link.consume(used);
            if reply.is_some() {
                self.link.begin_window();
            }
            if reply.is_some() || used == 0 {
                return Ok(reply);
            }
        }
        Ok(None)
    }

    /// Fails where the server has closed, with what it said last.
    pub(crate) fn check_open(&mut self) -> Result<(), Error> {
        if self.link.is_ended() {
            self.talk.next_reply(self.link.input())?;
        }
        self.link.check_open()
    }

    /// Moves what can be moved without waiting, and keeps the replies that have come. Returns whether any bytes moved.
    ///
    /// # Errors
    ///
    /// A connection that has ended.
    pub(crate) fn step(&mut self, block: &mut Block) -> Result<bool, Error> {
        let moved = self.link.step(block)?;
        while let Some(reply) = self.take_in()? {
            self.replies.push_back(reply);
        }
        self.check_open().map(|()| moved)
    }

    /// Sends what is queued and all of `block`, and keeps the replies that come meanwhile.
    pub(crate) fn send(&mut self, block: &mut Block) -> Result<(), Error> {
        self.send_telling(block, |_| {})
    }

    /// The same; where a rate limit makes that last, `tell` learns now and then how many bytes of `block` are left.
    pub(crate) fn send_telling(&mut self, block: &mut Block, mut tell: impl FnMut(usize)) -> Result<(), Error> {
        let begun = Instant::now();
        let (mut taken, mut held) = (begun, self.link.held());
        loop {
            let (left, heard) = (block.len(), self.replies.len());
            let moved = self.step(block)?;
            if moved && self.link.is_limited() {
                tell(block.len());
            }
            if block.len() == 0 && self.link.is_flushed() {
                return Ok(());
            }
            let limit =
                if self.refusal().is_some() { STOP_LIMIT.min(self.link.timeout()) } else { self.link.timeout() };
            if block.len() < left || self.replies.len() > heard {
                (taken, held) = (Instant::now(), self.link.held());
            } else if taken.elapsed().saturating_sub(self.link.held() - held) >= limit {
                // What it says meanwhile is no reason to wait longer.
                return Err(Error::Timeout(limit));
            }
            if !moved {
                self.link.rest(begun)?;
            }
        }
    }

    /// Takes the next bytes of the body, as they came. An error of the body is that of [`Line::End`].
    pub(crate) fn piece(&mut self) -> Result<Next<&[u8]>, Error> {
        match self.begin_block()? {
            Begun::Block => {}
            Begun::Hole(zeros) => return Ok(Next::Hole(zeros)),
            Begun::End(end) => return Ok(Next::End(end)),
        }
        let due = usize::try_from(self.talk.due()).unwrap_or(usize::MAX);
        let there = self.link.wait_for(Wait::Bytes, |input| {
            let there = input.len().min(due);
            Ok((there, (there > 0).then_some(there)))
        })?;
        let bytes = self.link.consumed(there);
        self.talk.took(bytes);
        Ok(Next::Bytes(bytes))
    }

    /// Receives the next bytes of a large body straight to where they belong, and gives how many.
    pub(crate) fn read(&mut self, room: &mut [u8]) -> Result<Next<usize>, Error> {
        match self.begin_block()? {
            Begun::Block => {}
            Begun::Hole(zeros) => return Ok(Next::Hole(zeros)),
            Begun::End(end) => return Ok(Next::End(end)),
        }
        let due = usize::try_from(self.talk.due()).map_or(room.len(), |due| due.min(room.len()));
        let got = self.link.read_into(&mut room[..due])?;
        self.talk.took(&room[..got]);
        Ok(Next::Bytes(got))
    }

    /// Takes the line of the body before its next bytes, where it is due.
    fn begin_block(&mut self) -> Result<Begun, Error> {
        while self.talk.due() == 0 {
            match self.body_line()? {
                Line::Block => {}
                Line::Hole(zeros) => return Ok(Begun::Hole(zeros)),
                Line::End(end) => return end.map(Begun::End),
            }
        }
        Ok(Begun::Block)
    }

    fn body_line(&mut self) -> Result<Line, Error> {
        let talk = &mut self.talk;
        self.link.wait_for(Wait::Bytes, |input| talk.body_line(input))
    }

    /// Returns the digest of what has come of the body.
    pub(crate) fn received(&self) -> Digest {
        self.talk.received()
    }

    /// Ends the upload about `about` from this side, although the caller wants everything to end: `block` is the rest
    /// of what was begun. [`Exchange::unheard`] gives the server's answer. Gives `about` back where nothing more
    /// comes of it, and why the server had refused it, if it had.
    pub(crate) fn call_off(&mut self, block: &mut Block, about: T) -> Result<(), (T, Option<Failure>)> {
        self.link.begin_grace(STOP_LIMIT);
        if self.send(block).is_err() {
            self.link.end_grace();
            return Err((about, self.refusal().cloned()));
        }
        let refused = self.talk.stop(about, self.link.output());
        self.await_all();
        refused.map_or(Ok(()), |(about, failure)| Err((about, Some(failure))))
    }

    /// Waits for what is in flight a moment more, although the caller wants everything to end.
    pub(crate) fn linger(&mut self) {
        self.link.begin_grace(STOP_LIMIT);
        self.await_all();
    }

    fn await_all(&mut self) {
        let mut replies = std::mem::take(&mut self.replies);
        self.push();
        while !self.link.is_ended()
            && self.waiting() > 0
            && let Ok(reply) = self.reply()
        {
            replies.push_back(reply);
        }
        self.replies = replies;
        self.link.end_grace();
    }
}

impl<T> Drop for Exchange<'_, T> {
    fn drop(&mut self) {
        if !self.talk.is_at_rest() {
            self.link.abandon();
        }
    }
}
