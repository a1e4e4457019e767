//! A large download that several connections share: each reads pieces of one version, whole in memory and checked before they
//! are written, and in the end all of it is compared with what the server has.

use std::{
    fs::File,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use ferry_wire::{Code, Crc32, Failure, FileMeta, Name, Reply, Request};

use super::{
    super::{
        Phase,
        disk::BUFFER_BYTES,
        drive::Stop,
        pieces::{Piece, Pieces, Step},
        retry::is_farewell,
    },
    Asked, CHANGED, DAMAGED, LARGE_BYTES, Round,
    large::{Large, Sink},
};
use crate::{
    conversation::{
        Next,
        requests::{self, Sum},
    },
    error::Error,
    local::{Layout, append_lines, checkpoint, reserve},
};

/// The longest piece: whole in one buffer on its way to the disk.
const MOST_PIECE_BYTES: u64 = BUFFER_BYTES as u64;

/// The shortest, at the end, and on a slow line: its request and its END cost some 200 bytes.
const LEAST_PIECE_BYTES: u64 = 64 << 10;

/// Pieces that a connection has ahead, so that the line is never idle between two.
const PIECES_AHEAD: u64 = 4;

/// Between two checkpoints: what is fetched again where the process is killed.
const CHECKPOINT_BYTES: u64 = 8 << 20;

/// A file that is shared. All its bytes that are on the disk are verified ones.
#[derive(Debug)]
pub(in super::super) struct Split<'a> {
    pub(super) index: usize,
    name: &'a Name,
    path: &'a Path,
    meta: FileMeta,
    file: Arc<File>,
    state: Mutex<State>,
    layout: Layout,
    /// Whether pieces may still be written; held while one is.
    is_open: RwLock<bool>,
}

#[derive(Debug)]
struct State {
    pieces: Pieces,
    /// The file itself; [`None`] when it has come to its end.
    large: Option<Large>,
    /// The version that the server has, once it has said so.
    sum: Option<Sum>,
}

impl<'a> Split<'a> {
    fn new(name: &'a Name, path: &'a Path, large: Large, layout: Layout) -> Split<'a> {
        let pieces = Pieces::new(large.meta.size, large.before.clone());
        Split {
            index: large.index,
            name,
            path,
            meta: large.meta.clone(),
            file: Arc::clone(large.file()),
            state: Mutex::new(State { pieces, large: Some(large), sum: None }),
            layout,
            is_open: RwLock::new(true),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the next step for `hand`, if there is one.
    fn take(&self, hand: usize, longest: u64) -> Option<Step> {
        let mut state = self.state();
        state.large.as_ref()?;
        state.pieces.take(hand, longest)
    }

    /// Whether anybody can take anything.
    pub(super) fn has_work(&self) -> bool {
        let state = self.state();
        state.large.is_some() && state.pieces.has_work()
    }

    /// Returns the bytes that nobody has taken.
    pub(super) fn left(&self) -> u64 {
        let state = self.state();
        if state.large.is_some() { state.pieces.left() } else { 0 }
    }

    /// The connection of `hand` is over: others take what it has taken.
    pub(super) fn leave(&self, hand: usize) {
        self.state().pieces.leave(hand);
    }

    /// Others take the pieces of `hand`, which does not move.
    pub(super) fn rob(&self, hand: usize) {
        self.state().pieces.rob(hand);
    }

    /// The server has said what it has.
    fn know(&self, sum: Sum) {
        self.state().sum = Some(sum);
    }

    /// Returns what the server has, to whoever is the first to ask when all is there and the server has said so.
    fn take_sum(&self) -> Option<Sum> {
        let mut state = self.state();
        if state.pieces.is_whole() { state.sum.take() } else { None }
    }

    /// Writes a verified piece, unless it is not wanted any more.
    ///
    /// # Errors
    ///
    /// Those of the disk.
    pub(in super::super) fn write(&self, hand: usize, piece: Piece, crc: Crc32, bytes: &[u8]) -> Result<(), Error> {
        let is_open = self.is_open.read().unwrap_or_else(PoisonError::into_inner);
        if !*is_open || !self.state().pieces.has(hand, piece) {
            return Ok(());
        }
        if self.layout == Layout::Whole {
            reserve(&self.file, piece.offset, piece.offset + piece.length);
        }
        self.layout.write(&self.file, self.path, bytes, piece.offset)?;
        let mut state = self.state();
        state.pieces.done(hand, piece, crc);
        let State { pieces, large: Some(large), .. } = &mut *state else { return Ok(()) };
        large.before = pieces.front().clone();
        if let Sink::Partial(part) = &large.sink
            && large.before.bytes() - large.noted >= CHECKPOINT_BYTES
        {
            large.noted = large.before.bytes();
            append_lines(part.journal(), self.path, &checkpoint(large.before.bytes(), large.before.crc()))?;
        }
        Ok(())
    }

    /// Takes the file out, at its end: whoever is the first gets it. Nothing is written after this.
    fn close(&self) -> Option<Large> {
        // Who writes a piece has this first and the state then.
        let mut is_open = self.is_open.write().unwrap_or_else(PoisonError::into_inner);
        *is_open = false;
        self.state().large.take()
    }

    /// Takes the file out as what can be gone on with later.
    pub(super) fn close_as_part(&self) -> Option<Large> {
        let large = self.close()?;
        if let Sink::Partial(part) = &large.sink
            && let Err(error) = part.end_scattered(large.before.bytes(), large.before.crc())
        {
            log::warn!("{error}");
        }
        Some(large)
    }
}

impl<'a> Round<'_, '_, 'a, '_> {
    /// Whether this file is to be shared, as far as is known before it is asked for.
    pub(super) fn is_to_be_split(&self, index: usize, size: u64) -> bool {
        size >= LARGE_BYTES && self.hand.shares() && !self.common.is_unsplit(index)
    }

    /// Opens a file for all connections, unless that fails, which is told.
    pub(super) fn split(&mut self, index: usize, meta: &FileMeta) -> Result<(), Stop> {
        if self.has_part(index) && !self.open_part(index)? {
            return Ok(());
        }
        let large = match self.own.large.take() {
            Some(large) => large,
            None => match self.stage(index, meta) {
                Ok(sink) => Large::new(index, sink, meta.clone(), ferry_wire::Digest::new()),
                Err(error) => {
                    self.hand.failed(index, error);
                    return Ok(());
                }
            },
        };
        let (size, there) = (large.meta.size, large.before.bytes());
        let super::Fetch { name, target, .. } = &self.files[index];
        if let Sink::Partial(part) = &large.sink
            && let Err(error) = part.begin_scattered()
        {
            large.discard();
            self.hand.failed(index, error);
            return Ok(());
        }
        self.hand.begun(index, size, there);
        // Before others can bring it to an end.
        self.hand.share(index);
        self.common.splits().push(Arc::new(Split::new(name, target, large, self.settings.layout())));
        self.hand.crew().wake();
        Ok(())
    }

    /// Asks for what comes next of the files that are shared. False where there is nothing.
    pub(super) fn ask_step(&mut self) -> bool {
        let longest = self.longest_piece();
        let splits = self.common.splits().clone();
        for split in splits {
            match split.take(self.hand.id, longest) {
                Some(Step::Move(piece)) => {
                    let Piece { offset, length } = piece;
                    let (tag, name) = (Some(split.meta.tag.clone()), split.name.clone());
                    self.ahead += length;
                    let read = Request::Read { offset, length: Some(length), tag, name };
                    self.ask(&read, Asked::Piece(split, piece));
                }
                Some(Step::Close) => {
                    self.ask(&Request::Sum { name: split.name.clone() }, Asked::Whole(split));
                }
                None => continue,
            }
            return true;
        }
        false
    }

    /// A piece takes a part of what this connection takes ahead, and less at the end.
    fn longest_piece(&self) -> u64 {
        let share = self.common.left() / (2 * self.hand.hands() as u64);
        (self.hand.ahead() / PIECES_AHEAD).min(share).clamp(LEAST_PIECE_BYTES, MOST_PIECE_BYTES)
    }

    /// The answer to the READ of a piece.
    pub(super) fn take_piece(&mut self, split: &Arc<Split<'a>>, piece: Piece, reply: Reply) -> Result<(), Stop> {
        self.ahead = self.ahead.saturating_sub(piece.length);
        match reply {
            Reply::File(meta) if meta.size == split.meta.size => {
                // Neither the journal of a part tells any, nor a plain listing.
                if let (Some(mode), Some(large)) = (meta.mode, &mut split.state().large) {
                    large.meta.mode = Some(mode);
                }
                self.receive_piece(split, piece)
            }
            Reply::File(_) => Err(Error::violation("another version than was asked for").into()),
            Reply::Fail(failure) if !is_farewell(failure.code) => {
                self.split_refused(split, failure);
                Ok(())
            }
            reply => Err(crate::conversation::unexpected(reply).into()),
        }
    }

    fn receive_piece(&mut self, split: &Arc<Split<'a>>, piece: Piece) -> Result<(), Stop> {
        let exchange = &self.exchange;
        let mut buffer = self.disk.buffer(&|| exchange.check_cancel())?;
        self.exchange.link().restart_timeout();
        buffer.resize(usize::try_from(piece.length).unwrap_or(BUFFER_BYTES), 0);
        let mut filled = 0;
        let result = loop {
            match self.exchange.read(&mut buffer[filled..]) {
                Ok(Next::Bytes(got)) => filled += got,
                // The buffer has zeros there.
                Ok(Next::Hole(zeros)) => filled += usize::try_from(zeros).unwrap_or(0),
                Ok(Next::End(body)) => break Ok(body.crc()),
                Err(error) => break Err(error),
            }
            self.tick();
        };
        match result {
            Ok(crc) => self.disk.write_piece(Arc::clone(split), (self.hand.id, piece), crc, buffer),
            Err(error) => {
                self.disk.give_back(buffer);
                match error {
                    Error::Server(failure) if !is_farewell(failure.code) => self.split_refused(split, failure),
                    error @ Error::Verification(_) if self.hand.may_restart(split.index) => {
                        log::info!("a piece is asked for again: {error}");
                        self.common.damaged().insert(split.index);
                        split.state().pieces.failed(self.hand.id, piece);
                    }
                    error @ Error::Verification(_) => self.split_failed(split, error),
                    error => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// The server can't give a piece, and would not give any.
    fn split_refused(&mut self, split: &Arc<Split<'a>>, failure: Failure) {
        if failure.code == Code::Changed || failure.code == Code::BadRange {
            // A listing may be old: whatever is there now comes whole.
            self.common.unsplit().insert(split.index);
            if let Some(large) = self.close_split(split) {
                large.discard();
                self.hand.restart(split.index, CHANGED, Error::Server(failure));
            }
        } else if let Some(large) = split.close_as_part() {
            self.common.forget(split);
            large.leave();
            self.hand.failed(split.index, Error::Server(failure));
        }
    }

    /// The file comes to a bad end.
    pub(super) fn split_failed(&mut self, split: &Arc<Split<'a>>, error: Error) {
        if let Some(large) = self.close_split(split) {
            large.discard();
            self.hand.failed(split.index, error);
        }
    }

    fn close_split(&self, split: &Arc<Split<'a>>) -> Option<Large> {
        self.common.forget(split);
        split.close()
    }

    /// A piece is on the disk, or can't be brought there.
    pub(super) fn piece_written(&mut self, split: &Arc<Split<'a>>, result: Result<(), Error>) {
        match result {
            Ok(()) => {
                self.hand.progress = true;
                // Told while nobody else can: in rising order.
                let state = split.state();
                if state.large.is_some() {
                    self.hand.moved(split.index, state.pieces.there());
                }
                drop(state);
                self.compare_split(split);
            }
            Err(error) => self.split_failed(split, error),
        }
    }

    /// SUM is waited for. Returns the size of the file.
    pub(super) fn enter_verifying(&mut self, split: &Split<'a>) -> u64 {
        let state = split.state();
        if state.large.is_some() && state.pieces.is_whole() {
            self.hand.entered(split.index, Phase::Verifying);
        }
        split.meta.size
    }

    /// The answer to the SUM of a whole file.
    pub(super) fn take_whole(&mut self, split: &Arc<Split<'a>>, reply: Reply) -> Result<(), Stop> {
        match requests::to_sum(reply) {
            Ok(sum) => {
                split.know(sum);
                self.compare_split(split);
            }
            Err(Error::Server(failure)) if !is_farewell(failure.code) => self.split_refused(split, failure),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Brings the file to its end, if all is there and the server has said what it has.
    fn compare_split(&mut self, split: &Arc<Split<'a>>) {
        let Some(sum) = split.take_sum() else { return };
        let Some(mut large) = self.close_split(split) else { return };
        let there = large.before.clone();
        if sum.tag != large.meta.tag {
            let error =
                Error::Verification("the server's file is another version than the one that was fetched".into());
            self.common.unsplit().insert(split.index);
            large.discard();
            self.hand.restart(split.index, CHANGED, error);
        } else if (there.bytes(), there.crc()) != (sum.size, sum.crc) {
            let error = Error::Verification(format!(
                "the whole file has {} bytes and the CRC {}, the server's {} and {}",
                there.bytes(),
                there.crc(),
                sum.size,
                sum.crc
            ));
            large.discard();
            self.restart_damaged(split.index, DAMAGED, error);
        } else {
            large.noted = there.bytes();
            match large.publish(self.settings.permissions) {
                Ok(moved) => self.hand.done(split.index, &moved),
                Err(error) => self.hand.failed(split.index, error),
            }
        }
    }
}
