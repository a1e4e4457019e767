//! One connection: socket, buffers and framer. Knows lines, raw bytes and time; no request.

mod pace;
mod socket;

use std::{
    io::{self, IoSlice, IoSliceMut},
    net::SocketAddr,
    time::{Duration, Instant},
};

use ferry_wire::{Frame, Framer, Reply, Request};

use crate::{
    block::Block,
    error::Error,
    options::{Cancel, MinRate, Options},
    trace,
};
use pace::Pace;
use socket::Socket;

/// What is read from the socket at once: the largest run that still fits the processor's cache,
/// where the bytes are hashed and from where they go to their file.
const INPUT_BYTES: usize = 256 << 10;

/// The longest nap between two looks at the caller's [`Cancel`]: half of what is promised.
const CANCEL_CHECK: Duration = Duration::from_millis(100);

/// How much behind the end of a block is read together with it: the line of the next block, and the
/// small replies that may follow. What is more would be copied twice.
const SPILL_BYTES: usize = 4 << 10;

/// One piece of the server's stream.
pub(crate) enum Piece<'a> {
    /// A whole line.
    Line(&'a [u8]),
    /// Some of the raw bytes that are due.
    Raw(&'a [u8]),
}

/// A connection on a non-blocking socket.
///
/// Every call that waits also moves bytes the other way, so neither side can block the other by
/// not reading. Keeps count of what each side still owes the other ([`Link::ask`],
/// [`Link::settle`]): a conversation that ends with debts, however it ended, leaves the stream out
/// of step, and the connection can only be dropped.
#[derive(Debug)]
pub(crate) struct Link {
    socket: Socket,
    framer: Framer,
    input: Box<[u8]>,
    /// What lies in `input[start..end]` has arrived and was not taken yet.
    start: usize,
    end: usize,
    /// Lines to send, before any block.
    output: Vec<u8>,
    /// The server has shut down its side, or the connection broke.
    ended: bool,
    debts: u32,
    moved: Instant,
    timeout: Duration,
    pace: Pace,
    cancel: Cancel,
    /// Set while a conversation that was cut short is brought to its end: the moment when patience
    /// ends, whatever moves. The caller's flag is no longer looked at.
    grace: Option<Instant>,
}

impl Link {
    /// Connects; the greeting is not read yet.
    pub(crate) fn connect(peer: SocketAddr, options: &Options) -> Result<Link, ConnectError> {
        let mut link = Link {
            socket: Socket::connect(peer).map_err(ConnectError::Io)?,
            framer: Framer::new(),
            input: vec![0; INPUT_BYTES].into_boxed_slice(),
            start: 0,
            end: 0,
            output: Vec::new(),
            ended: false,
            debts: 0,
            moved: Instant::now(),
            timeout: options.timeout,
            pace: Pace::new(options.min_rate),
            cancel: options.cancel.clone(),
            grace: None,
        };
        link.finish_connecting()?;
        Ok(link)
    }

    fn finish_connecting(&mut self) -> Result<(), ConnectError> {
        let begun = Instant::now();
        while !self.socket.is_connected().map_err(ConnectError::Io)? {
            self.nap(begun, Wait::Work(self.timeout)).map_err(ConnectError::Gone)?;
        }
        self.moved = Instant::now();
        Ok(())
    }

    /// Another connection to the same server; its greeting is not read yet.
    pub(crate) fn sibling(&self) -> Result<Link, ConnectError> {
        let MinRate { bytes, window } = self.pace.least();
        let options = Options::default().timeout(self.timeout).cancel(self.cancel.clone()).min_rate(bytes, window);
        Link::connect(self.peer(), &options)
    }

    /// Where the server is.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.socket.peer()
    }

    /// Queues `request`; it goes out with the next call that waits or sends. Its final reply is a
    /// debt until [`Link::settle`].
    pub(crate) fn ask(&mut self, request: &Request) {
        let before = self.output.len();
        request.encode(&mut self.output);
        trace::sent(&self.output[before..]);
        self.debts += 1;
    }

    /// Queues raw bytes that are no request.
    pub(crate) fn queue(&mut self, bytes: &[u8]) {
        trace::sent(bytes);
        self.output.extend_from_slice(bytes);
    }

    /// One side owes something more: a body after its request.
    pub(crate) fn owe(&mut self) {
        self.debts += 1;
    }

    /// One debt is paid: a final reply was read whole, a body was closed.
    pub(crate) fn settle(&mut self) {
        debug_assert!(self.debts > 0);
        self.debts = self.debts.saturating_sub(1);
    }

    /// Whether the next request can go out on this connection.
    pub(crate) fn is_in_step(&self) -> bool {
        self.debts == 0 && !self.ended
    }

    /// Bytes that arrived and were not taken: the beginning of a line.
    pub(crate) fn pending(&self) -> &[u8] {
        &self.input[self.start..self.end]
    }

    /// From now on the caller's flag is not looked at, and everything must be done within `limit`.
    pub(crate) fn begin_grace(&mut self, limit: Duration) {
        self.grace = Some(Instant::now() + limit);
    }

    /// The caller's flag counts again.
    pub(crate) fn end_grace(&mut self) {
        self.grace = None;
    }

    /// Looks whether the server, unasked, has said something or closed. Never waits.
    pub(crate) fn check_at_rest(&mut self) -> Result<(), Error> {
        self.flush(&mut Block::new())?;
        while !self.ended && self.fill()? {}
        if !self.has_line()? {
            return if self.ended { Err(Error::Closed(None)) } else { Ok(()) };
        }
        // Only a server that closes says anything unasked.
        self.owe();
        match self.reply()? {
            Reply::Fail(failure) => {
                self.ended = true;
                Err(Error::Closed(Some(failure)))
            }
            _ => Err(Error::violation("it answers what was not asked")),
        }
    }

    /// Reads one reply line. A FAIL is the end of its request.
    pub(crate) fn reply(&mut self) -> Result<Reply, Error> {
        self.reply_within(self.timeout)
    }

    /// The same, with another patience than the connection's own.
    pub(crate) fn reply_within(&mut self, patience: Duration) -> Result<Reply, Error> {
        let reply = match self.piece_of(Wait::Work(patience))? {
            Piece::Line(line) => Reply::parse(line).map_err(Error::violation)?,
            Piece::Raw(_) => return Err(Error::violation("a block where a reply is due")),
        };
        if matches!(reply, Reply::Fail(_)) {
            self.settle();
        }
        self.pace.begin();
        Ok(reply)
    }

    /// The next `bytes` bytes are raw.
    pub(crate) fn expect_raw(&mut self, bytes: u64) {
        self.framer.expect_raw(bytes);
    }

    /// The next line of a body, or some of its raw bytes.
    pub(crate) fn piece(&mut self) -> Result<Piece<'_>, Error> {
        self.piece_of(Wait::Bytes)
    }

    /// The next line, of what is no body, with another patience than the connection's own.
    pub(crate) fn piece_within(&mut self, patience: Duration) -> Result<Piece<'_>, Error> {
        self.piece_of(Wait::Work(patience))
    }

    fn piece_of(&mut self, wait: Wait) -> Result<Piece<'_>, Error> {
        let begun = Instant::now();
        let mut line_begun = None;
        let (is_line, range) = loop {
            let window = &self.input[self.start..self.end];
            let in_line = !window.is_empty();
            if let Some((frame, used)) = self.framer.next(window).map_err(Error::violation)? {
                let (is_line, length) = match frame {
                    Frame::Line(line) => (true, line.len()),
                    Frame::Raw(raw) => (false, raw.len()),
                };
                let range = self.start..self.start + length;
                self.start += used;
                break (is_line, range);
            }
            // A line that was begun must end, or a server could hold a client for hours, byte by byte.
            if in_line && line_begun.get_or_insert_with(Instant::now).elapsed() >= self.timeout {
                return Err(Error::Timeout(self.timeout));
            }
            self.more(begun, wait)?;
        };
        let bytes = &self.input[range];
        if !is_line {
            return Ok(Piece::Raw(bytes));
        }
        trace::received(bytes);
        Ok(Piece::Line(bytes))
    }

    /// Reads raw bytes that are due straight to where they belong: at least one, as many as are there and
    /// have room. Gives how many.
    pub(crate) fn raw_into(&mut self, room: &mut [u8]) -> Result<usize, Error> {
        let begun = Instant::now();
        let due = usize::try_from(self.framer.raw_left()).map_or(room.len(), |left| left.min(room.len()));
        debug_assert!(due > 0, "no raw bytes are due, or there is no room for them");
        loop {
            let there = (self.end - self.start).min(due);
            if there > 0 {
                room[..there].copy_from_slice(&self.input[self.start..self.start + there]);
                self.start += there;
                self.framer.took_raw(there as u64);
                return Ok(there);
            }
            self.check_cancel()?;
            if let Some(got) = self.read_past(&mut room[..due])? {
                self.framer.took_raw(got as u64);
                return Ok(got);
            }
            if self.ended {
                return Err(Error::Closed(None));
            }
            if !self.flush(&mut Block::new())? && !self.ended {
                self.nap(begun, Wait::Bytes)?;
            }
        }
    }

    /// One read into `room`, and what comes behind it into the input, which is empty.
    fn read_past(&mut self, room: &mut [u8]) -> Result<Option<usize>, Error> {
        (self.start, self.end) = (0, 0);
        if self.ended {
            return Ok(None);
        }
        let mut places = [IoSliceMut::new(room), IoSliceMut::new(&mut self.input[..SPILL_BYTES])];
        match self.socket.read(&mut places) {
            Ok(Some(0)) => self.ended = true,
            Ok(Some(got)) => {
                self.end = got.saturating_sub(room.len());
                self.note_moved(got);
                return Ok(Some(got - self.end));
            }
            Ok(None) => {}
            Err(error) => drop(self.broken(&error)?),
        }
        Ok(None)
    }

    /// Sends what the socket takes of what is queued; never waits.
    pub(crate) fn push(&mut self) -> Result<(), Error> {
        self.flush(&mut Block::new()).map(drop)
    }

    /// Sends what the socket takes of what is queued and of `block`, and takes in what has arrived. Never
    /// waits; gives whether anything moved.
    pub(crate) fn step(&mut self, block: &mut Block) -> Result<bool, Error> {
        self.check_cancel()?;
        let sent = self.flush(block)?;
        Ok(self.fill()? || sent)
    }

    /// Waits until the socket can move bytes, at most a moment: the caller looks again. `begun` is when it began
    /// to wait for the server to move any.
    pub(crate) fn rest(&mut self, begun: Instant) -> Result<(), Error> {
        if self.ended {
            return Err(Error::Closed(None));
        }
        self.nap(begun, Wait::Bytes)
    }

    /// Whether what moved on this connection was worth the time that it was waited for.
    pub(crate) fn has_kept_pace(&self) -> bool {
        self.pace.was_kept()
    }

    /// Whether all that was queued is out.
    pub(crate) fn is_flushed(&self) -> bool {
        self.output.is_empty()
    }

    /// Whether the server has shut down its side, or the connection broke.
    pub(crate) fn is_ended(&self) -> bool {
        self.ended
    }

    /// How long the server may move no byte.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// What was moved counts from here on: the caller was busy with something else.
    pub(crate) fn excuse(&mut self) {
        self.moved = Instant::now();
    }

    /// Whether a whole line has arrived, where a line is due.
    pub(crate) fn has_line(&mut self) -> Result<bool, Error> {
        debug_assert_eq!(self.framer.raw_left(), 0);
        let window = &self.input[self.start..self.end];
        Ok(self.framer.next(window).map_err(Error::violation)?.is_some())
    }

    /// Sends what is queued and all of `block`, and takes in what arrives meanwhile. On an error,
    /// `block` knows what is still unsent.
    pub(crate) fn send(&mut self, block: &mut Block) -> Result<(), Error> {
        let begun = Instant::now();
        let mut taken = begun;
        loop {
            self.check_cancel()?;
            let sent = self.flush(block)?;
            let got = self.fill()?;
            if self.output.is_empty() && block.unsent().is_empty() {
                return Ok(());
            }
            if self.ended {
                return Err(Error::Closed(None));
            }
            if self.room() == 0 {
                return Err(Error::violation("it answers what was not asked"));
            }
            if sent {
                taken = Instant::now();
            } else if taken.elapsed() >= self.timeout {
                // What it says meanwhile is no reason to wait longer.
                return Err(Error::Timeout(self.timeout));
            }
            if !sent && !got {
                self.nap(begun, Wait::Bytes)?;
            }
        }
    }

    /// Waits until more has arrived.
    fn more(&mut self, begun: Instant, wait: Wait) -> Result<(), Error> {
        loop {
            self.check_cancel()?;
            // What arrived comes first: behind it may stand why the sending fails.
            if self.fill()? {
                return Ok(());
            }
            if self.ended {
                return Err(Error::Closed(None));
            }
            if !self.flush(&mut Block::new())? && !self.ended {
                self.nap(begun, wait)?;
            }
        }
    }

    /// One read. False where nothing is there, or no room for it.
    fn fill(&mut self) -> Result<bool, Error> {
        if self.ended {
            return Ok(false);
        }
        self.make_room();
        if self.room() == 0 {
            return Ok(false);
        }
        match self.socket.read(&mut [IoSliceMut::new(&mut self.input[self.end..])]) {
            Ok(Some(0)) => {
                self.ended = true;
                Ok(false)
            }
            Ok(Some(got)) => {
                self.end += got;
                self.note_moved(got);
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(error) => self.broken(&error),
        }
    }

    fn make_room(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.input.len() {
            self.input.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
    }

    fn room(&self) -> usize {
        self.input.len() - (self.end - self.start)
    }

    /// Writes what the socket takes: queued lines first, then `block`. Whether anything moved.
    fn flush(&mut self, block: &mut Block) -> Result<bool, Error> {
        let mut moved = false;
        while !(self.ended || self.output.is_empty() && block.unsent().is_empty()) {
            match self.socket.write(&[IoSlice::new(&self.output), IoSlice::new(block.unsent())]) {
                Ok(Some(sent)) => {
                    let lines = sent.min(self.output.len());
                    self.output.drain(..lines);
                    block.advance(sent - lines);
                    self.note_moved(sent);
                    moved = true;
                }
                Ok(None) => break,
                Err(error) => {
                    // Why the server closed may have arrived just before.
                    while self.fill()? {}
                    return self.broken(&error);
                }
            }
        }
        Ok(moved)
    }

    fn broken(&mut self, error: &io::Error) -> Result<bool, Error> {
        log::debug!("the connection broke: {error}");
        self.ended = true;
        Ok(false)
    }

    /// Whether the caller wants what is under way to end.
    pub(crate) fn check_cancel(&self) -> Result<(), Error> {
        if self.grace.is_none() && self.cancel.is_cancelled() { Err(Error::Interrupted) } else { Ok(()) }
    }

    fn note_moved(&mut self, bytes: usize) {
        self.moved = Instant::now();
        self.pace.moved(bytes);
    }

    /// Sleeps until the socket can move bytes again, but not long: the caller looks again.
    fn nap(&mut self, begun: Instant, wait: Wait) -> Result<(), Error> {
        self.check_cancel()?;
        let patience = match wait {
            Wait::Bytes => self.timeout,
            Wait::Work(patience) => patience,
        };
        let now = Instant::now();
        let left = match self.grace {
            Some(end) => end.saturating_duration_since(now),
            None => patience.saturating_sub(now.saturating_duration_since(self.moved.max(begun))),
        };
        if left.is_zero() {
            return Err(Error::Timeout(patience));
        }
        self.socket
            .wait(left.min(CANCEL_CHECK))
            .map_err(|source| Error::System { what: "wait for the socket", source })?;
        match wait {
            Wait::Bytes if self.grace.is_none() => self.pace.waited(now.elapsed()),
            _ => Ok(()),
        }
    }
}

/// The thing that is waited for.
#[derive(Debug, Clone, Copy)]
enum Wait {
    /// Bytes of a body, either way: at a least rate.
    Bytes,
    /// A word, for which the server may have to work: for so long.
    Work(Duration),
}

/// Why a connection was not made.
#[derive(Debug)]
pub(crate) enum ConnectError {
    /// The system says so.
    Io(io::Error),
    /// Time ran out, or the caller has had enough.
    Gone(Error),
}

/// The message of a FAIL that a caller of [`Link::reply`] takes for the answer.
pub(crate) fn unexpected(reply: Reply) -> Error {
    match reply {
        Reply::Fail(failure) => Error::Server(failure),
        reply => {
            let mut line = Vec::new();
            reply.encode(&mut line);
            let line = line.strip_suffix(b"\n").unwrap_or(&line);
            Error::violation(format_args!("it answers with {}", ferry_wire::escaped_bytes(line)))
        }
    }
}
