//! One connection: socket, buffers and time. Bytes go in and out; what they mean is for others.

mod line;
mod pace;
mod socket;
mod tls;

use std::{
    io::{self, IoSlice, IoSliceMut},
    net::SocketAddr,
    time::{Duration, Instant},
};

use ferry_wire::Greeting;

use crate::{
    address::Address,
    block::Block,
    error::Error,
    login::Credentials,
    options::{Cancel, Options},
    rate::{Allowance, Way},
    trust::{self, Security},
};
pub(crate) use line::LineFigures;
use line::LineProbe;
use pace::Pace;
use socket::Socket;
use tls::{NoTls, Tls};

/// The most that is read from the socket at once: the largest run that still fits the processor's cache,
/// where the bytes are hashed and from where they go to their file.
const INPUT_BYTES: usize = 256 << 10;

/// The longest nap between two looks at the caller's [`Cancel`]: half of what is promised.
const CANCEL_CHECK: Duration = Duration::from_millis(100);

/// How much behind the end of a block is read together with it: the line of the next block, and the
/// small replies that may follow. All bytes beyond that would be copied twice.
const SPILL_BYTES: usize = 4 << 10;

/// A connection on a non-blocking socket.
///
/// Every call that waits also moves bytes the other way, so neither side can block the other by
/// not reading.
#[derive(Debug)]
pub(crate) struct Link {
    socket: Socket,
    input: Box<[u8]>,
    /// The bytes in `input[start..end]` have arrived and were not taken yet.
    start: usize,
    end: usize,
    /// Lines to send, before any block.
    output: Vec<u8>,
    /// Set when the server has shut down its side, or the connection broke.
    ended: Option<End>,
    /// Nobody wants the bytes that are still to come.
    abandoned: bool,
    moved: Instant,
    pace: Pace,
    /// How long this side has slept because nothing could be moved.
    slept: Duration,
    /// How long the caller's rate limit has kept this side from moving bytes.
    held: Duration,
    /// The ways on which more could be moved, as far as anybody knows, but for that limit.
    holds_input: bool,
    holds_output: bool,
    /// [`None`] until it is asked, or where the system says nothing.
    probe: Option<LineProbe>,
    address: Address,
    options: Options,
    /// [`None`] until the server has greeted.
    greeting: Option<Greeting>,
    /// Set while what was cut short is brought to its end: the moment when that has to be done,
    /// whatever moves. The caller's flag is no longer looked at.
    grace: Option<Instant>,
}

/// The thing that is waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wait {
    /// Bytes of a body, either way: at a least rate.
    Bytes,
    /// A reply, for which the server may have to work: for so long.
    Reply(Duration),
}

/// How a connection ended.
#[derive(Debug)]
enum End {
    /// The server closed it.
    Closed,
    /// TLS broke; and why.
    Broken(String),
}

/// Why a connection was not made.
#[derive(Debug)]
pub(crate) enum ConnectError {
    /// The system says so.
    Io(io::Error),
    /// Time ran out, or the caller has had enough.
    Gone(Error),
}

impl ConnectError {
    /// Returns the error of who wanted to connect to `address`.
    pub(crate) fn of(self, address: &Address) -> Error {
        match self {
            ConnectError::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                Error::Refused { address: address.clone() }
            }
            ConnectError::Io(source) => Error::Unreachable { address: address.clone(), source },
            ConnectError::Gone(error) => error,
        }
    }
}

/// The means to open connections like one that stands: to the same address, over the same kind of transport.
#[derive(Debug)]
pub(crate) struct Siblings {
    peer: SocketAddr,
    address: Address,
    options: Options,
}

impl Siblings {
    /// Returns the address of the server, by its name where it was given one.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Returns what they keep to.
    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    /// Gives up also when `leave` is raised.
    pub(crate) fn leave_when(mut self, leave: Cancel) -> Siblings {
        self.options.leave = leave;
        self
    }

    /// Opens one; its greeting is not read yet.
    pub(crate) fn open(&self) -> Result<Link, ConnectError> {
        Link::connect(self.peer, &self.address, &self.options)
    }
}

impl Link {
    /// Connects to `peer`, an address of the host in `address`. Where TLS is to be spoken the server is trusted then; its
    /// greeting is not read yet.
    pub(crate) fn connect(peer: SocketAddr, address: &Address, options: &Options) -> Result<Link, ConnectError> {
        let mut link = Link::connect_plain(peer, address, options)?;
        let is_secure = options.security.begins_with_tls(peer.ip(), address, &options.trust);
        if is_secure.map_err(ConnectError::Gone)? {
            link.secure(options.timeout).map_err(ConnectError::Gone)?;
        }
        Ok(link)
    }

    /// Opens another connection to a server that says nothing in the open, where it may be that it waits for TLS: nobody
    /// asked for one or the other. [`None`] where it speaks none.
    ///
    /// # Errors
    ///
    /// It speaks TLS, and is not trusted, or shares no version or cipher with this program.
    pub(crate) fn try_tls(&self, limit: Duration) -> Result<Option<Link>, Error> {
        if !self.options.security.may_try_tls() || self.is_secure() {
            return Ok(None);
        }
        let Ok(mut link) = Link::connect_plain(self.peer(), &self.address, &self.options) else { return Ok(None) };
        match link.secure(limit) {
            Ok(()) => Ok(Some(link)),
            // It does speak TLS, and why there is none is more than that it says nothing in the open.
            Err(error @ Error::Tls { .. }) if link.socket.is_answered_by_tls() => Err(error),
            Err(Error::Tls { problem, .. }) => {
                log::debug!("{problem}");
                Ok(None)
            }
            Err(Error::Timeout(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn connect_plain(peer: SocketAddr, address: &Address, options: &Options) -> Result<Link, ConnectError> {
        let mut link = Link {
            socket: Socket::connect(peer).map_err(ConnectError::Io)?,
            input: vec![0; INPUT_BYTES].into_boxed_slice(),
            start: 0,
            end: 0,
            output: Vec::new(),
            ended: None,
            abandoned: false,
            moved: Instant::now(),
            pace: Pace::new(options.min_rate),
            slept: Duration::ZERO,
            held: Duration::ZERO,
            holds_input: false,
            holds_output: false,
            probe: None,
            address: address.clone(),
            options: options.clone(),
            greeting: None,
            grace: None,
        };
        let begun = Instant::now();
        while !link.socket.is_connected().map_err(ConnectError::Io)? {
            link.nap(begun, Wait::Reply(link.options.timeout)).map_err(ConnectError::Gone)?;
        }
        link.moved = Instant::now();
        Ok(link)
    }

    /// Speaks TLS from here on. The handshake may last `limit`; after it the server is trusted, or this fails, and nothing
    /// was sent to it.
    fn secure(&mut self, limit: Duration) -> Result<(), Error> {
        let begun = Instant::now();
        self.socket.secure(Tls::new(self.options.trust.config()?, &self.address)?);
        loop {
            match self.socket.shake() {
                Ok(true) => break,
                Ok(false) => self.nap(begun, Wait::Reply(limit))?,
                Err(NoTls { why, is_cut }) => {
                    let problem = format!("cannot speak TLS with {}: {why}", self.address);
                    return Err(Error::Tls { problem, is_cut });
                }
            }
        }
        let judged = self.options.trust.judge(&self.address, self.socket.chain());
        // Who was asked about the key may have called everything off in place of an answer.
        self.check_cancel()?;
        judged?;
        self.moved = Instant::now();
        Ok(())
    }

    /// Whether TLS is spoken.
    pub(crate) fn is_secure(&self) -> bool {
        self.socket.is_secure()
    }

    /// Whether nobody else can read what goes over: TLS is spoken, or it stays on this machine.
    pub(crate) fn is_private(&self) -> bool {
        self.is_secure() || trust::is_this_machine(self.peer().ip())
    }

    /// Returns the user who is logged in on it, or is to be, and the secret.
    pub(crate) fn credentials(&self) -> Option<&Credentials> {
        self.options.credentials.as_ref()
    }

    /// Has other credentials stand for it from now on.
    pub(crate) fn set_credentials(&mut self, credentials: Credentials) {
        self.options.credentials = Some(credentials);
    }

    /// Notes what the server can, as far as requests depend on it.
    pub(crate) fn note_greeting(&mut self, greeting: &Greeting) {
        self.greeting = Some(greeting.clone());
    }

    /// Returns what the server has greeted with.
    pub(crate) fn greeting(&self) -> Option<&Greeting> {
        self.greeting.as_ref()
    }

    /// Whether the server has greeted with `feature`.
    pub(crate) fn knows(&self, feature: &str) -> bool {
        self.greeting.as_ref().is_some_and(|greeting| greeting.has(feature))
    }

    /// Returns how others like it are opened, also by other threads.
    pub(crate) fn siblings(&self) -> Siblings {
        let options = self.options.clone().security(Security::like(self.is_secure()));
        Siblings { peer: self.peer(), address: self.address.clone(), options }
    }

    /// Returns how others like it are opened of which nobody knows: nobody is asked, and the server has to have the very
    /// key that it has here.
    pub(crate) fn twins(&self) -> Siblings {
        let siblings = self.siblings();
        let options = siblings.options.known_only();
        let options = match trust::key_of(self.socket.chain()) {
            Some(key) => options.pinned(key),
            None => options,
        };
        Siblings { options, ..siblings }
    }

    /// Returns the address of the server.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.socket.peer()
    }

    /// Returns how long the server may move no byte.
    pub(crate) fn timeout(&self) -> Duration {
        self.options.timeout
    }

    /// Whether somebody else can begin to use it.
    pub(crate) fn is_usable(&self) -> bool {
        !self.is_ended() && !self.abandoned
    }

    /// Gives up what is still to come, and with it the connection.
    pub(crate) fn abandon(&mut self) {
        self.abandoned = true;
    }

    /// Whether the server has shut down its side, or the connection broke.
    pub(crate) fn is_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// Fails where it has ended, with why.
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        match &self.ended {
            None => Ok(()),
            Some(End::Closed) => Err(Error::Closed(None)),
            Some(End::Broken(why)) => Err(Error::Broken(why.clone())),
        }
    }

    /// From now on the caller's flag is not looked at, and everything must be done within `limit`.
    pub(crate) fn begin_grace(&mut self, limit: Duration) {
        self.grace = Some(Instant::now() + limit);
    }

    /// The caller's flag counts again.
    pub(crate) fn end_grace(&mut self) {
        self.grace = None;
    }

    /// Whether the caller wants what is under way to end.
    pub(crate) fn check_cancel(&self) -> Result<(), Error> {
        if self.grace.is_none() && self.options.is_cancelled() { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// Ends what is under way also when `leave` is raised, until this is called again.
    pub(crate) fn leave_when(&mut self, leave: Cancel) {
        self.options.leave = leave;
    }

    /// Returns the system's figures of this connection. Asking costs two system calls.
    pub(crate) fn line(&mut self) -> Option<LineFigures> {
        if self.probe.is_none() {
            self.probe = LineProbe::new(self.socket.local()?, self.socket.peer());
        }
        self.probe.as_ref()?.ask()
    }

    /// Returns how many bytes moved either way since the connection was made.
    pub(crate) fn bytes_moved(&self) -> u64 {
        self.pace.moved_in_all()
    }

    /// Returns how long this side has slept because nothing could be moved.
    pub(crate) fn slept(&self) -> Duration {
        self.slept
    }

    /// Returns how long the caller's rate limit has kept this side from moving bytes: no time of the server's.
    pub(crate) fn held(&self) -> Duration {
        self.held
    }

    /// Whether a rate limit holds.
    pub(crate) fn is_limited(&self) -> bool {
        self.options.rate_limit.get().is_some()
    }

    /// The timeout begins anew: the caller was busy with something else than the server.
    pub(crate) fn restart_timeout(&mut self) {
        self.moved = Instant::now();
    }

    /// Bytes of something else are waited for from here on: they have the whole window of the least rate.
    pub(crate) fn begin_window(&mut self) {
        self.pace.begin();
    }

    /// Whether what moved on this connection was worth the time that it was waited for.
    pub(crate) fn has_kept_pace(&self) -> bool {
        self.pace.was_kept()
    }

    /// Returns the lines that go out with the next call that waits or sends, before any block: for appending.
    pub(crate) fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Whether all that was queued is out.
    pub(crate) fn is_flushed(&self) -> bool {
        self.output.is_empty() && !self.socket.is_pending()
    }

    /// Bytes that arrived and were not taken.
    pub(crate) fn input(&self) -> &[u8] {
        &self.input[self.start..self.end]
    }

    /// Takes the first `bytes` bytes of the input.
    pub(crate) fn consume(&mut self, bytes: usize) {
        self.start += bytes;
        assert!(self.start <= self.end, "more was taken than was there");
    }

    /// The bytes that were taken last: what was input, until more arrives.
    pub(crate) fn consumed(&self, bytes: usize) -> &[u8] {
        &self.input[self.start - bytes..self.start]
    }

    /// Waits until `take` finds what it looks for in the input; it also says how much of the input that used up.
    pub(crate) fn wait_for<R>(
        &mut self,
        wait: Wait,
        mut take: impl FnMut(&[u8]) -> Result<(usize, Option<R>), Error>,
    ) -> Result<R, Error> {
        let begun = Instant::now();
        let mut rest_begun = None;
        loop {
            let (used, found) = take(self.input())?;
            self.consume(used);
            if let Some(found) = found {
                return Ok(found);
            }
            if used > 0 {
                rest_begun = None;
                continue;
            }
            // A line that was begun must end, or a server could hold a client for hours, byte by byte.
            if self.start < self.end {
                let (since, held) = *rest_begun.get_or_insert_with(|| (Instant::now(), self.held));
                if since.elapsed().saturating_sub(self.held - held) >= self.options.timeout {
                    return Err(Error::Timeout(self.options.timeout));
                }
            }
            self.more(begun, wait)?;
        }
    }

    /// Reads at least one byte straight into `room`, which has some; gives how many.
    pub(crate) fn read_into(&mut self, room: &mut [u8]) -> Result<usize, Error> {
        assert!(!room.is_empty(), "no room for what is to come");
        let begun = Instant::now();
        loop {
            let there = (self.end - self.start).min(room.len());
            if there > 0 {
                room[..there].copy_from_slice(&self.input[self.start..self.start + there]);
                self.start += there;
                return Ok(there);
            }
            self.check_cancel()?;
            if let Some(got) = self.read_past(room) {
                return Ok(got);
            }
            self.check_open()?;
            if !self.flush(&mut Block::new()) && !self.is_ended() {
                self.nap(begun, Wait::Bytes)?;
            }
        }
    }

    /// One read into `room`, and what comes behind it into the input, which is empty.
    fn read_past(&mut self, room: &mut [u8]) -> Option<usize> {
        (self.start, self.end) = (0, 0);
        if self.is_ended() {
            return None;
        }
        let allowed = self.allowed(Way::In);
        if allowed == 0 {
            return None;
        }
        let most = room.len().min(allowed);
        let room = &mut room[..most];
        let spill = SPILL_BYTES.min(allowed - most);
        let mut places = [IoSliceMut::new(room), IoSliceMut::new(&mut self.input[..spill])];
        match self.socket.read(&mut places) {
            Ok(Some(0)) => self.ended = Some(End::Closed),
            Ok(Some(got)) => {
                self.end = got.saturating_sub(most);
                self.note_moved(Way::In, got);
                return Some(got - self.end);
            }
            Ok(None) => {}
            Err(error) => self.broken(&error),
        }
        None
    }

    /// Sends what the socket takes of what is queued; never waits.
    pub(crate) fn push(&mut self) {
        self.flush(&mut Block::new());
    }

    /// Sends what is queued and takes in all that has arrived, as far as there is room; never waits.
    pub(crate) fn exchange_all(&mut self) {
        self.push();
        while self.fill() {}
    }

    /// Sends what the socket takes of what is queued and of `block`, and takes in what has arrived. Never
    /// waits; gives whether anything moved.
    pub(crate) fn step(&mut self, block: &mut Block) -> Result<bool, Error> {
        self.check_cancel()?;
        let sent = self.flush(block);
        Ok(self.fill() || sent)
    }

    /// Waits until the socket can move bytes, at most a moment: the caller looks again. `begun` is when it began
    /// to wait for the server to move any.
    pub(crate) fn rest(&mut self, begun: Instant) -> Result<(), Error> {
        self.nap(begun, Wait::Bytes)
    }

    /// Waits until more has arrived.
    fn more(&mut self, begun: Instant, wait: Wait) -> Result<(), Error> {
        loop {
            self.check_cancel()?;
            // What arrived comes first: after it may stand why the sending fails.
            if self.fill() {
                return Ok(());
            }
            self.check_open()?;
            if !self.flush(&mut Block::new()) && !self.is_ended() {
                self.nap(begun, wait)?;
            }
        }
    }

    /// One read. False where nothing is there, or no room for it.
    fn fill(&mut self) -> bool {
        let allowed = self.allowed(Way::In);
        self.fill_with(allowed)
    }

    /// One read of at most `allowed` bytes.
    fn fill_with(&mut self, allowed: usize) -> bool {
        self.make_room();
        if self.is_ended() || self.end == self.input.len() {
            return false;
        }
        let most = allowed.min(self.input.len() - self.end);
        if most == 0 {
            return false;
        }
        match self.socket.read(&mut [IoSliceMut::new(&mut self.input[self.end..][..most])]) {
            Ok(Some(0)) => self.ended = Some(End::Closed),
            Ok(Some(got)) => {
                self.end += got;
                self.note_moved(Way::In, got);
                return true;
            }
            Ok(None) => {}
            Err(error) => self.broken(&error),
        }
        false
    }

    fn make_room(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.input.len() {
            self.input.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
    }

    /// Writes what the socket takes: queued lines first, then `block`. Whether anything moved.
    fn flush(&mut self, block: &mut Block) -> bool {
        let mut moved = false;
        self.holds_output = false;
        while !(self.is_ended() || self.is_flushed() && block.unsent().is_empty()) {
            let waiting = self.output.len() + block.unsent().len();
            let allowed = if waiting > 0 { self.allowed(Way::Out) } else { 0 };
            // What is sealed already goes out whatever holds.
            if waiting > 0 && allowed == 0 && !self.socket.is_pending() {
                break;
            }
            let lines = &self.output[..self.output.len().min(allowed)];
            let bytes = &block.unsent()[..block.unsent().len().min(allowed - lines.len())];
            match self.socket.write(&[IoSlice::new(lines), IoSlice::new(bytes)]) {
                Ok(Some(sent)) => {
                    let lines = sent.min(self.output.len());
                    self.output.drain(..lines);
                    block.advance(sent - lines);
                    self.note_moved(Way::Out, sent);
                    moved = true;
                }
                Ok(None) => break,
                Err(error) => {
                    // Why the server closed may have arrived just before.
                    while self.fill_with(usize::MAX) {}
                    if !self.is_ended() {
                        self.broken(&error);
                    }
                }
            }
        }
        moved
    }

    fn broken(&mut self, error: &io::Error) {
        log::debug!("the connection broke: {error}");
        // A reset is one of the ways in which servers close; only TLS tells that more is wrong.
        self.ended = Some(match error.kind() {
            io::ErrorKind::InvalidData => End::Broken(error.to_string()),
            _ => End::Closed,
        });
    }

    fn note_moved(&mut self, way: Way, bytes: usize) {
        self.moved = Instant::now();
        self.pace.moved(bytes);
        self.options.rate_limit.took(way, bytes);
    }

    /// Returns how many bytes the caller's rate limit lets through now. What ends a transfer is not held back: the server
    /// would not have it in time.
    fn allowed(&mut self, way: Way) -> usize {
        let allowance = match self.grace {
            None => self.options.rate_limit.allowance(way, Instant::now),
            Some(_) => Allowance::All,
        };
        let holds = if way == Way::In { &mut self.holds_input } else { &mut self.holds_output };
        *holds = matches!(allowance, Allowance::Nothing(_));
        match allowance {
            Allowance::All => usize::MAX,
            Allowance::Bytes(bytes) => bytes,
            Allowance::Nothing(_) => 0,
        }
    }

    /// Returns for how long the caller's rate limit holds back what could be moved; [`None`] where it does not.
    fn held_for(&self, now: Instant) -> Option<Duration> {
        let ways = [(Way::In, self.holds_input), (Way::Out, self.holds_output)];
        let waits = ways.into_iter().filter(|(_, holds)| *holds && self.grace.is_none());
        let wait = |way| match self.options.rate_limit.allowance(way, || now) {
            Allowance::Nothing(wait) => wait,
            Allowance::All | Allowance::Bytes(_) => Duration::ZERO,
        };
        waits.map(|(way, _)| wait(way)).min()
    }

    /// Sleeps until the socket can move bytes again, but not long: the caller looks again.
    fn nap(&mut self, begun: Instant, wait: Wait) -> Result<(), Error> {
        self.check_cancel()?;
        let limit = match wait {
            Wait::Bytes => self.options.timeout,
            Wait::Reply(limit) => limit,
        };
        let now = Instant::now();
        let left = match self.grace {
            Some(end) => end.saturating_duration_since(now),
            None => limit.saturating_sub(now.saturating_duration_since(self.moved.max(begun))),
        };
        let held = self.held_for(now);
        if left.is_zero() && held.is_none() {
            return Err(Error::Timeout(limit));
        }
        let longest = held.unwrap_or(left).min(CANCEL_CHECK);
        if longest.is_zero() {
            return Ok(());
        }
        self.socket.wait(longest).map_err(|source| Error::System { what: "wait for the socket", source })?;
        let slept = now.elapsed();
        if held.is_some() {
            self.held += slept;
            self.moved = self.moved.max(begun) + slept;
            return Ok(());
        }
        self.slept += slept;
        match wait {
            Wait::Bytes if self.grace.is_none() => self.pace.waited(slept),
            _ => Ok(()),
        }
    }
}
