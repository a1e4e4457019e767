//! A large upload that several connections share: one holds it by RESUME and sends it from its front, the others send parts.

use std::{
    collections::{HashSet, VecDeque},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use ferry_wire::{Code, Crc32, Digest, Failure, Greeting, Id, Name};

use super::{
    super::{Phase, crew::STALLED, drive::Stop, hand::Hand, pieces::Piece},
    Kind, Round, Sent,
    large::Holes,
    parts::{Front, Parts},
    reader::{Chunk, Order},
};
use crate::{
    block::{BLOCK_BYTES, Block},
    error::Error,
    local::Source,
};

/// Files are shared of which so much is to be sent: for less, others would hardly begin.
const LEAST_SHARED_BYTES: u64 = 1 << 20;

/// The longest part, and the shortest, at the end and on a slow line: its request, its END and its reply cost some 200 bytes.
const MOST_PART_BYTES: u64 = 1 << 20;
const LEAST_PART_BYTES: u64 = 64 << 10;

/// Parts that a connection has ahead, so that the line is never idle between two.
const PARTS_AHEAD: u64 = 4;

/// The longest that the holder sends nothing, or half of its own patience where that is less: a server waits for a body for a
/// minute. Then it asks what the server has.
const LONGEST_IDLE: Duration = Duration::from_secs(20);

/// A file that is shared.
#[derive(Debug)]
pub(super) struct Split {
    index: usize,
    holder: usize,
    id: Id,
    name: Name,
    source: Source,
    /// Holes are not sent.
    leaves_holes: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    parts: Parts,
    /// Whether parts are wanted.
    is_open: bool,
    /// The holder is to send something, and can.
    is_sending: bool,
    /// Connections whose parts the server does not take.
    barred: HashSet<usize>,
    /// Why the file can't be read by one of the others.
    unreadable: Option<Error>,
    /// Bytes that were told to have moved.
    told: u64,
}

impl Split {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fills `block` with the first bytes of a range, or the hole there, and adds them to `digest`.
    fn fill(&self, block: &mut Block, range: Range<u64>, digest: &mut Digest) -> Result<(), Error> {
        let bytes = range.end - range.start;
        match self.leaves_holes {
            true => self.source.fill_leaving_holes(block, range.start, bytes, digest),
            false => self.source.fill_at(block, range.start, bytes, digest),
        }
    }

    /// Whether there is a part for `hand`.
    pub(super) fn has_work(&self, hand: usize) -> bool {
        let state = self.state();
        state.is_open && !state.barred.contains(&hand) && state.parts.has_work()
    }

    /// Returns the bytes that nobody has taken.
    pub(super) fn left(&self) -> u64 {
        let state = self.state();
        if state.is_open { state.parts.left() } else { 0 }
    }

    /// Takes a part for `hand`.
    pub(super) fn take(&self, hand: usize, longest: u64) -> Option<Piece> {
        let mut state = self.state();
        let may = state.is_open && !state.barred.contains(&hand);
        if may { state.parts.take(hand, longest) } else { None }
    }

    /// Whether `hand` is still to send this part.
    fn wants(&self, hand: usize, piece: Piece) -> bool {
        let state = self.state();
        state.is_open && state.parts.has(hand, piece)
    }

    /// The connection of `hand` is over: others send what it has taken.
    pub(super) fn leave(&self, hand: usize) {
        self.state().parts.leave(hand);
    }

    /// Others send the parts of `hand`, which does not move. Where it is the holder, and should have moved, returns the
    /// file, for another one to hold.
    pub(super) fn rob(&self, hand: usize) -> Option<usize> {
        let mut state = self.state();
        state.parts.rob(hand);
        let is_lost = state.is_open && state.is_sending && hand == self.holder;
        is_lost.then_some(self.index)
    }

    /// No parts of it are wanted any more.
    pub(super) fn close(&self) {
        self.state().is_open = false;
    }

    /// The server has not taken a part.
    fn refused(&self, hand: usize, piece: Piece, code: Code) {
        let mut state = self.state();
        if !state.parts.has(hand, piece) {
            return;
        }
        match code {
            Code::BadRange => state.parts.is_somewhere(hand, piece),
            Code::Stopped => state.parts.failed(hand, piece),
            // Changed as well: nobody here has taken it from this one.
            _ => {
                state.parts.failed(hand, piece);
                state.barred.insert(hand);
            }
        }
    }

    /// Tells how much has moved, if that is more than was told. Told while nobody else can: in rising order.
    fn tell(&self, hand: &mut Hand<'_, '_>) {
        let mut state = self.state();
        let sent = state.parts.sent();
        if state.is_open && sent > state.told {
            state.told = sent;
            hand.moved(self.index, sent);
        }
    }
}

/// Returns how much of what a connection takes ahead a part is: one that is longer than others is a hole.
fn weight(piece: Piece) -> u64 {
    piece.length.min(MOST_PART_BYTES)
}

/// How the sending of a shared body ended.
enum Lead {
    /// All of it is out: the digest of the whole, and whether parts have the last bytes.
    Whole(Digest, bool),
    /// The server is to be asked what it has.
    Anew,
    /// The local file can't be read on.
    Broken(Error),
    /// The server has refused it.
    Refused,
}

impl Round<'_, '_, '_, '_> {
    /// Whether a file is sent together with others, where `left` bytes are to be sent and the server has parts of them.
    pub(super) fn is_to_be_split(&mut self, index: usize, left: u64, has_parts: bool) -> bool {
        self.files.can_be_shared()
            && self.exchange.link().knows(Greeting::PARTS)
            && (has_parts || (self.hand.shares() && left >= LEAST_SHARED_BYTES))
            && self.common.past().may_be_split(index)
    }

    /// Has others opened while a file is asked for that will be shared.
    pub(super) fn announce(&mut self, index: usize, size: u64) {
        if self.is_to_be_split(index, size, false) {
            self.common.coming.store(size, Ordering::Relaxed);
            self.hand.tick_next();
            self.tick();
        }
    }

    /// Sends the open body from where GO says, while others send parts of it. True where the upload is to be asked for again.
    pub(super) fn send_shared(
        &mut self,
        index: usize,
        (id, offset, told): (Id, u64, Vec<Range<u64>>),
        source: Source,
        holes: Holes,
    ) -> Result<bool, Stop> {
        self.open = Some(index);
        let size = source.size();
        let there = offset + told.iter().map(|part| part.end - part.start).sum::<u64>();
        self.common.past().resumed(index, there);
        self.hand.progress |= self.common.past().has_grown(index, there);
        self.hand.begun(index, size, there);
        let (leaves_holes, holes) = match holes {
            Holes::Left(holes) => (true, holes),
            Holes::Sent | Holes::Alone => (false, Vec::new()),
        };
        let split = Arc::new(Split {
            leaves_holes,
            index,
            holder: self.hand.id,
            id,
            name: self.files.name(index).clone(),
            source,
            state: Mutex::new(State {
                parts: Parts::new(size, offset, &told).with_holes(holes),
                is_open: true,
                is_sending: false,
                barred: HashSet::new(),
                unreadable: None,
                told: there,
            }),
        });
        self.common.splits().push(Arc::clone(&split));
        self.hand.crew().wake();
        // Others may begin at once.
        self.hand.tick_next();
        let mut block = Block::new();
        let told = told.into_iter().map(|part| Piece { offset: part.start, length: part.end - part.start });
        let lead = self.lead(&split, (offset, told.collect()), &mut block);
        self.common.close(&split);
        self.end_shared(index, (size, there > 0), lead, &mut block)
    }

    fn end_shared(
        &mut self,
        index: usize,
        (size, is_looked_at): (u64, bool),
        lead: Result<Lead, Stop>,
        block: &mut Block,
    ) -> Result<bool, Stop> {
        let resumed = self.common.past().resumed(index, size);
        let kind = Kind::Large { is_looked_at, is_joined: matches!(lead, Ok(Lead::Whole(_, true))) };
        let sent = Sent { index, size, crc: Crc32::EMPTY, resumed, kind };
        match lead {
            Ok(Lead::Whole(digest, _)) => self.end(sent, &digest)?,
            Ok(Lead::Broken(error)) => self.stop(sent, error)?,
            Ok(Lead::Refused) => self.stop_refused(sent),
            Ok(Lead::Anew) => match self.exchange.stop(Sent { kind: Kind::Paused, ..sent }) {
                Some((_, failure)) => self.large_refused(index, failure),
                None => return Ok(true),
            },
            Err(Stop::Broken(Error::Interrupted)) if self.hand.is_alone() => {
                return self.call_off(sent, block).map(|()| false);
            }
            Err(error) => return Err(error),
        }
        // The reader keeps the file until it is told.
        let _ = self.reader.orders.send(Order::Skip);
        Ok(false)
    }

    /// Sends the file from the front on, until that meets parts that have the rest. `block` has what is unsent of the last one.
    fn lead(
        &mut self,
        split: &Arc<Split>,
        (offset, mut told): (u64, VecDeque<Piece>),
        block: &mut Block,
    ) -> Result<Lead, Stop> {
        let mut front = match self.read_before(split.index, offset)? {
            Ok(front) => front,
            Err(error) => return Ok(Lead::Broken(error)),
        };
        self.order_next(&told);
        let mut sent_at = Instant::now();
        loop {
            self.take_replies()?;
            self.tick();
            if self.is_refused()? {
                return Ok(Lead::Refused);
            }
            if !self.hand.has(split.index) {
                // Another connection holds it by now.
                return Err(Stop::Unwanted);
            }
            if let Some(error) = self.take_ranges(split, &mut told) {
                return Ok(Lead::Broken(error));
            }
            let step = split.state().parts.advance(self.longest_block());
            match step {
                Front::Send(bytes) => {
                    let end = front.bytes() + bytes;
                    // More than a block is a hole, unless the file has changed.
                    while front.bytes() < end {
                        if let Err(error) = split.fill(block, front.bytes()..end, &mut front) {
                            return Ok(Lead::Broken(error));
                        }
                        self.known.sent(&front);
                        split.state().is_sending = true;
                        self.exchange.send(block)?;
                        split.state().is_sending = false;
                    }
                    self.common.past().is_begun(split.index);
                    split.tell(&mut self.hand);
                    sent_at = Instant::now();
                }
                Front::Whole(bytes, crc) => {
                    front.append(crc, bytes);
                    return Ok(match split.source.check_unchanged() {
                        Ok(()) => Lead::Whole(front, bytes > 0),
                        Err(error) => Lead::Broken(error),
                    });
                }
                Front::Wait | Front::Doubt => {
                    let is_doubt = matches!(step, Front::Doubt);
                    if sent_at.elapsed() < self.patience(split, sent_at, is_doubt, !told.is_empty()) {
                        self.exchange.check_cancel()?;
                        self.exchange.step(&mut Block::new())?;
                        self.hand.crew().rest();
                    } else if split.state().parts.has_doubts() {
                        return Ok(Lead::Anew);
                    } else {
                        told.clear();
                        let lost = split.state().parts.pass();
                        self.common.past().lost(split.index, lost);
                    }
                }
            }
        }
    }

    /// Returns the digest of what the server has before the front.
    fn read_before(&mut self, index: usize, offset: u64) -> Result<Result<Digest, Error>, Stop> {
        if offset == 0 {
            return Ok(Ok(Digest::new()));
        }
        self.hand.entered(index, Phase::Reading);
        let _ = self.reader.orders.send(Order::Digest(offset, self.known.clone()));
        loop {
            match self.next_chunk()? {
                Some(Chunk::End(digest)) => {
                    self.hand.entered(index, Phase::Moving);
                    return Ok(Ok(digest));
                }
                Some(Chunk::Broken(error)) => return Ok(Err(error)),
                // Of an order before this one.
                Some(Chunk::Range(..)) => {}
                _ => return Err(Stop::Unwanted),
            }
        }
    }

    /// Has the first of the parts that the server had before read here, for its CRC.
    fn order_next(&self, told: &VecDeque<Piece>) {
        if let Some(piece) = told.front() {
            let _ = self.reader.orders.send(Order::Range(*piece));
        }
    }

    /// Takes what was read of them. Returns why the file can't be read, here or by the others.
    fn take_ranges(&mut self, split: &Split, told: &mut VecDeque<Piece>) -> Option<Error> {
        while let Ok(chunk) = self.reader.chunks.try_recv() {
            match chunk {
                Chunk::Range(piece, crc) if told.front() == Some(&piece) => {
                    split.state().parts.know(piece, crc);
                    told.pop_front();
                    self.order_next(told);
                }
                Chunk::Broken(error) => return Some(error),
                _ => {}
            }
        }
        split.state().unreadable.take()
    }

    /// Returns for how long the holder, which has waited since `begun`, sends nothing, with others to wait for or parts to be
    /// read.
    fn patience(&mut self, split: &Split, begun: Instant, is_doubt: bool, reads: bool) -> Duration {
        let longest = LONGEST_IDLE.min(self.exchange.link().timeout() / 2);
        if reads {
            return longest;
        }
        let mut useless = split.state().barred.clone();
        useless.extend(self.hand.crew().stalled(self.hand.id, begun));
        match self.hand.has_helpers(|hand| !useless.contains(&hand)) {
            true if is_doubt => STALLED.min(longest),
            true => longest,
            false => Duration::ZERO,
        }
    }

    /// The holder takes a part of what this connection takes ahead, and a block at most.
    fn longest_block(&self) -> u64 {
        (self.hand.ahead() / PARTS_AHEAD).clamp(LEAST_PART_BYTES, BLOCK_BYTES as u64)
    }

    /// A part does so too, and is shorter at the end.
    fn longest_part(&self) -> u64 {
        let share = self.common.left() / (2 * self.hand.hands() as u64);
        (self.hand.ahead() / PARTS_AHEAD).min(share).clamp(LEAST_PART_BYTES, MOST_PART_BYTES)
    }

    /// Sends parts of what others hold, as long as there are any.
    pub(super) fn send_parts(&mut self) -> Result<(), Stop> {
        loop {
            self.take_replies()?;
            self.tick();
            if self.part_bytes > 0 && self.part_bytes >= self.hand.ahead() {
                let (sent, reply) = self.reply()?;
                self.hear(sent, reply)?;
                continue;
            }
            let longest = self.longest_part();
            let Some((split, piece)) = self.common.take_part(self.hand.id, longest) else { return Ok(()) };
            self.send_part(split, piece)?;
        }
    }

    fn send_part(&mut self, split: Arc<Split>, piece: Piece) -> Result<(), Stop> {
        // What the server refuses from here on is this.
        self.open = None;
        self.exchange.part(split.id.clone(), piece.offset..piece.offset + piece.length, split.name.clone());
        self.part_bytes += weight(piece);
        let (mut digest, mut block) = (Digest::new(), Block::new());
        let is_whole = loop {
            let sent = digest.bytes();
            if sent == piece.length {
                break true;
            }
            if self.is_refused()? || !split.wants(self.hand.id, piece) {
                break false;
            }
            let left = piece.offset + sent..piece.offset + piece.length;
            if let Err(error) = split.fill(&mut block, left, &mut digest) {
                split.state().unreadable.get_or_insert(error);
                break false;
            }
            self.exchange.send(&mut block)?;
            self.take_replies()?;
            self.tick();
        };
        let Split { index, .. } = *split;
        let (size, crc, kind) = (piece.length, digest.crc(), Kind::Part(split, piece));
        let sent = Sent { index, size, crc, resumed: 0, kind };
        let refused = if is_whole { self.exchange.end(crc, sent) } else { self.exchange.stop(sent) };
        if let Some((Sent { kind: Kind::Part(split, piece), .. }, failure)) = refused {
            self.part_refused(&split, piece, &failure);
        }
        Ok(())
    }

    /// The server has a part.
    pub(super) fn part_done(&mut self, split: &Split, piece: Piece, crc: Crc32) {
        self.part_bytes = self.part_bytes.saturating_sub(weight(piece));
        self.hand.progress = true;
        split.state().parts.done(piece, crc);
        split.tell(&mut self.hand);
        self.hand.crew().wake();
    }

    /// The server does not take a part.
    pub(super) fn part_refused(&mut self, split: &Split, piece: Piece, failure: &Failure) {
        self.part_bytes = self.part_bytes.saturating_sub(weight(piece));
        log::info!("a part of {} bytes at {} is not taken: {failure}", piece.length, piece.offset);
        split.refused(self.hand.id, piece, failure.code);
        self.hand.crew().wake();
    }
}
