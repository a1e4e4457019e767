//! The event loop: one thread that owns every socket.
//!
//! ```text
//! poll -> token -> live connection -> fill its input -> session decodes whole lines and blocks
//!      -> the session asks -> the store does it, here or in a helper
//!      -> the session queues replies and file ranges -> flush to the socket -> re-arm, re-queue or reap
//! ```
//!
//! Readiness is edge-triggered: it is said once. So a connection remembers what it was told until a
//! call would block, and one that stops early, because it used up its share of a turn, goes to
//! the back of the run queue. Tokens carry a generation, so that an event or a completion for a
//! connection that is gone finds nobody.

mod accept;
mod admission;
mod connection;
mod holds;
mod job;
mod lane;
mod lifecycle;
mod pool;
mod rates;
mod scheduler;
mod timers;

use std::{
    collections::{HashMap, VecDeque},
    io,
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use ferry_wire::{Code, Failure, limits::MAX_LINE_BYTES};
use mio::{Events, Interest, Poll, Token, Waker};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook_mio::v1_0::Signals;
use slab::Slab;

use crate::{
    net::{Acceptor, Endpoint, ListenError, Listener},
    observe::{TransferEntry, TransferLog},
    protocol::ferry::{Ask, Done, Errand, Limits, Outcome, Record, Work},
    store::{Disk, SCRATCH_BYTES, Store, id_is_taken},
};
use admission::{Admissions, Most};
use connection::Connection;
use holds::{Claim, Holds, lets_go, owner_of, upload_of};
use job::{Completion, Job};
pub use lifecycle::CUT_SHORT;
use lifecycle::Watchdog;
use pool::Pool;
use rates::{Grant, Rates};
use scheduler::Turn;
use timers::Timers;

const LISTENER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);
const SIGNALS: Token = Token(usize::MAX - 2);

/// Events taken from one poll.
const EVENTS: usize = 1024;

/// What is read from a socket at once, behind the part of a line that may be left over.
const INPUT_BYTES: usize = 64 << 10;

/// A turn of the loop longer than this is logged: something on it waited that should not have.
const LONG_TURN: Duration = Duration::from_millis(20);

/// After this much was moved, and a time in which nothing was, freed memory is given back.
const GIVE_BACK_AFTER_BYTES: u64 = 16 << 20;
const QUIET: Duration = Duration::from_secs(1);

/// Memory for replies that is kept for the next turn: the most that small files fill in one.
const TEXT_BYTES: usize = 256 << 10;

/// How a server is set up.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Clients served at one time.
    pub max_clients: usize,
    /// Clients served at one time from one address.
    pub max_clients_per_address: usize,
    /// Clients that may be told at one time that there is no room for them. Where the server is full, others wait to be
    /// accepted; else they are closed at once.
    pub max_refused: usize,
    /// Of these, from one address. Others of it are closed at once.
    pub max_refused_per_address: usize,
    /// Small uploads, or changes of the tree, that may share one wait for the disk: what they are about is open meanwhile.
    pub open_together: usize,
    /// Bytes a second that one client may move, both ways together.
    pub client_rate: Option<u64>,
    /// Bytes a second that all clients together may move, both ways.
    pub total_rate: Option<u64>,
    /// Whether SIGHUP ends it, as the other signals do: not where whoever started it had that ignored.
    pub ends_on_hangup: bool,
    /// What a session allows.
    pub limits: Limits,
}

/// Why the loop could not be set up, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address can't be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The system refused something that the loop can't do without.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why.
        error: io::Error,
    },
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> ServerError {
    move |error| ServerError::System { what, error }
}

/// See the [module documentation](self).
pub struct Server {
    poll: Poll,
    /// [`None`] once the end was asked for.
    acceptor: Option<Acceptor>,
    signals: Signals,
    options: ServerOptions,
    limits: Arc<Limits>,
    store: Arc<Store>,
    pool: Pool,
    connections: Slab<Connection>,
    generation: u32,
    admissions: Admissions,
    rates: Rates,
    transfer_log: TransferLog,
    run_queue: VecDeque<usize>,
    timers: Timers,
    holds: Holds,
    /// Uploads that work under way may let go, and whether that work is a RESUME.
    letting_go: HashMap<(Token, Errand), (ferry_wire::Id, bool)>,
    /// The end was asked for: until when.
    ending: Option<Instant>,
    watchdog: Watchdog,
    /// The longest that the loop was away from `poll`.
    longest_turn: Duration,
    /// What turns cost since memory was given back.
    moved: u64,
    /// The time, as it was last looked at in the turn that is under way.
    now: Instant,
    input: Box<[u8]>,
    scratch: Box<[u8]>,
    /// Memory for replies, lent to the session that has its turn.
    text: Vec<u8>,
}

impl Server {
    /// Starts the helpers and makes ready to serve.
    ///
    /// # Errors
    ///
    /// Where the system refuses what the loop needs.
    pub fn new(options: ServerOptions, listener: Listener, store: Arc<Store>) -> Result<Server, ServerError> {
        let poll = Poll::new().map_err(system("can't make an event queue"))?;
        let registry = poll.registry();
        let failed = "can't watch for events";
        let acceptor = Acceptor::new(listener.open()?, registry, LISTENER).map_err(system(failed))?;
        let waker = Arc::new(Waker::new(registry, WAKER).map_err(system(failed))?);
        let ending = [SIGINT, SIGTERM, SIGQUIT].into_iter().chain(options.ends_on_hangup.then_some(SIGHUP));
        let watchdog = Watchdog::start(ending.clone()).map_err(system("can't watch for signals"))?;
        let mut signals = Signals::new(ending).map_err(system("can't watch for signals"))?;
        registry.register(&mut signals, SIGNALS, Interest::READABLE).map_err(system(failed))?;
        let pool = Pool::start(&store, waker, options.open_together).map_err(system("can't start a thread"))?;
        Ok(Server {
            poll,
            acceptor: Some(acceptor),
            signals,
            limits: Arc::new(options.limits.clone()),
            rates: Rates::new(options.client_rate, options.total_rate, Instant::now()),
            admissions: Admissions::new(Most {
                clients: options.max_clients,
                clients_here: options.max_clients_per_address,
                refused: options.max_refused,
                refused_here: options.max_refused_per_address,
            }),
            options,
            store,
            pool,
            connections: Slab::new(),
            generation: 0,
            run_queue: VecDeque::new(),
            timers: Timers::default(),
            transfer_log: TransferLog::default(),
            holds: Holds::default(),
            letting_go: HashMap::new(),
            ending: None,
            watchdog,
            longest_turn: Duration::ZERO,
            moved: 0,
            now: Instant::now(),
            input: vec![0; INPUT_BYTES + MAX_LINE_BYTES].into(),
            scratch: vec![0; SCRATCH_BYTES].into(),
            text: Vec::new(),
        })
    }

    /// Serves until SIGTERM, SIGINT, SIGQUIT or, with [`ServerOptions::ends_on_hangup`], SIGHUP comes; then ends what is
    /// under way, and returns. A second signal, or ten seconds, cut it short; half a second later, whatever does not answer
    /// then, the process has ended with the status [`CUT_SHORT`].
    ///
    /// # Errors
    ///
    /// Where the system refuses to tell of events.
    pub fn run(mut self) -> Result<(), ServerError> {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            let patience = self.patience();
            match self.poll.poll(&mut events, patience) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                polled => polled.map_err(system("can't wait for events"))?,
            }
            let began = Instant::now();
            self.give_memory_back(events.is_empty());
            self.pool.look(began);
            for event in &events {
                match event.token() {
                    LISTENER => {
                        if let Some(acceptor) = &mut self.acceptor {
                            acceptor.note_ready();
                        }
                    }
                    WAKER => {}
                    SIGNALS => self.signalled(),
                    token => self.note_readiness(token, event),
                }
            }
            self.take_completions();
            self.expire();
            self.accept();
            for _ in 0..self.run_queue.len() {
                let Some(key) = self.run_queue.pop_front() else { break };
                self.turn(key);
            }
            self.let_go_on();
            self.transfer_log.sum_up(Some(began), say);
            self.note_turn(began.elapsed());
            if self.has_ended() {
                break;
            }
        }
        self.finish();
        Ok(())
    }

    fn note_turn(&mut self, turn: Duration) {
        if turn > self.longest_turn {
            self.longest_turn = turn;
        }
        if turn > LONG_TURN {
            log::warn!("the loop was away from its clients for {turn:?}");
        }
    }

    /// How long to wait for events.
    fn patience(&mut self) -> Option<Duration> {
        let now = Instant::now();
        if !self.run_queue.is_empty() || self.can_accept(now) {
            return Some(Duration::ZERO);
        }
        let accept_at = self.acceptor.as_ref().and_then(Acceptor::retry_at).filter(|_| self.admissions.has_room());
        let here = [self.timers.next(), accept_at, self.ending];
        let next = here.into_iter().chain([self.rates.next_at(now), self.pool.look_at(), self.transfer_log.next_at()]);
        let next = next.flatten().min().map(|next| next.saturating_duration_since(now));
        // Once all is quiet, what the busy time took is given back.
        let quiet = (self.moved >= GIVE_BACK_AFTER_BYTES).then_some(QUIET);
        next.into_iter().chain(quiet).min()
    }

    /// The C library keeps what was freed, in the expectation of more to come. After a busy time it is
    /// asked to give it back, by a helper: it may take a while.
    fn give_memory_back(&mut self, quiet: bool) {
        if quiet && self.moved >= GIVE_BACK_AFTER_BYTES && self.run_queue.is_empty() {
            self.moved = 0;
            self.pool.give_memory_back();
        }
    }

    fn note_readiness(&mut self, token: Token, event: &mio::event::Event) {
        let Some(key) = self.live(token) else { return };
        let connection = &mut self.connections[key];
        if let Some(endpoint) = &mut connection.endpoint {
            endpoint.note(event);
        }
        self.queue(key);
    }

    fn take_completions(&mut self) {
        for Completion { token, errand, outcome } in self.pool.completions() {
            if let Some((id, of_resume)) = self.letting_go.remove(&(token, errand)) {
                self.settle_hold(&id, &outcome, of_resume);
            }
            self.complete(token, errand, outcome);
        }
    }

    /// Work on a held upload has ended: RESUMEs that waited for it may go on.
    fn settle_hold(&mut self, id: &ferry_wire::Id, outcome: &Outcome<'static, Disk>, of_resume: bool) {
        let mut again = Vec::new();
        if matches!(outcome, Ok(Done::Resumed { .. })) {
            again = self.holds.grant(id);
        }
        if lets_go(outcome, of_resume) {
            let released = self.holds.release(id);
            again = released.again;
            if let Some(job) = released.next {
                self.submit(job);
            }
        }
        for job in again {
            self.hand_on(job);
        }
    }

    fn complete(&mut self, token: Token, errand: Errand, outcome: Outcome<'static, Disk>) {
        // What a connection that is gone was owed lets go of itself when it is dropped.
        let Some(key) = self.live(token) else { return };
        self.connections[key].session.complete(errand, outcome, Instant::now());
        self.queue(key);
    }

    fn expire(&mut self) {
        let now = Instant::now();
        while let Some(token) = self.timers.expired(now) {
            let Some(key) = self.live(token) else { continue };
            let connection = &mut self.connections[key];
            connection.timer = None;
            connection.session.handle_timeout(now);
            self.queue(key);
        }
    }
}

/// Connections and their turns.
impl Server {
    fn live(&self, token: Token) -> Option<usize> {
        let (key, generation) = (token.0 & KEY_MASK, (token.0 >> KEY_BITS) as u32);
        self.connections.get(key).is_some_and(|connection| connection.generation == generation).then_some(key)
    }

    fn queue(&mut self, key: usize) {
        let connection = &mut self.connections[key];
        if !connection.queued {
            connection.queued = true;
            self.run_queue.push_back(key);
        }
    }

    /// Moves one connection on. Where there are rates, no bytes go through its socket before it is granted some.
    fn turn(&mut self, key: usize) {
        let granted = if self.rates.are_limited() { 0 } else { u64::MAX };
        self.granted_turn(key, granted);
    }

    /// Moves those on whom the rates let.
    fn let_go_on(&mut self) {
        if !self.rates.are_limited() {
            return;
        }
        for _ in 0..self.rates.in_line(Instant::now()) {
            let now = Instant::now();
            let Some(Grant { client, bytes, waited }) = self.rates.next(now) else { return };
            let Some(key) = self.live(client) else { continue };
            self.connections[key].session.resume(waited, now);
            self.granted_turn(key, bytes);
        }
    }

    /// Moves one connection on, by at most what a turn may cost and `granted` bytes through its socket.
    fn granted_turn(&mut self, key: usize, granted: u64) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let token = token_of(key, connection.generation);
        connection.queued = false;
        self.now = Instant::now();
        let mut turn = Turn::new(granted, self.now);
        let mut window = self.unpack_input(key);
        self.connections[key].session.outbox().lend(std::mem::take(&mut self.text));
        loop {
            let taken = self.take_input(key, &mut window, &mut turn);
            let asked = self.dispatch(key, &mut turn);
            let connection = &mut self.connections[key];
            let sent = connection.flush(turn.to_send(), self.now);
            turn.charge(sent);
            turn.note_moved(sent);
            if !taken && !asked && sent == 0 {
                break;
            }
            if turn.is_over() {
                self.queue(key);
                break;
            }
        }
        self.connections[key].leftover = self.input[window].to_vec();
        self.moved += turn.cost();
        let text = self.connections[key].session.outbox().take_back();
        if text.capacity() <= TEXT_BYTES {
            self.text = text;
        }
        if granted > 0 && self.rates.are_limited() {
            self.rates.charge(token, turn.moved(), self.now);
        }
        self.end_turn(key);
        self.wait_for_rates(token);
    }

    /// Puts a connection in line that has something to move, where there are rates: its clocks stand still until it has its
    /// turn.
    fn wait_for_rates(&mut self, token: Token) {
        if !self.rates.are_limited() {
            return;
        }
        let Some(key) = self.live(token) else { return };
        let connection = &mut self.connections[key];
        if connection.can_move() {
            connection.session.pause();
            self.rates.wait(token, self.now);
        }
    }

    /// Puts what was left over to the front of the common buffer, and says where it is.
    fn unpack_input(&mut self, key: usize) -> Range<usize> {
        let leftover = std::mem::take(&mut self.connections[key].leftover);
        self.input[..leftover.len()].copy_from_slice(&leftover);
        0..leftover.len()
    }

    /// Gives the session what input there is, which stands in `window` of the common buffer; false
    /// where that changed nothing.
    fn take_input(&mut self, key: usize, window: &mut Range<usize>, turn: &mut Turn) -> bool {
        let mut progress = false;
        while !turn.is_over() {
            let now = self.now;
            let connection = &mut self.connections[key];
            if window.start < window.end {
                let used = connection.session.receive(&self.input[window.clone()], now);
                window.start += used;
                turn.charge(used as u64);
                if turn.charge_lines(connection.session.take_lines()) {
                    self.now = Instant::now();
                    turn.note(self.now);
                }
                let asked = self.dispatch(key, turn);
                if used > 0 || asked {
                    progress = true;
                    continue;
                }
            }
            let connection = &mut self.connections[key];
            if !connection.session.wants_input() {
                break;
            }
            if connection.input_has_ended() {
                progress |= connection.session.end_of_input(now);
                break;
            }
            if turn.to_read() == 0 {
                break;
            }
            // The bytes of a body go straight to their place, unless some were read already.
            if window.start == window.end && connection.can_read() {
                let count = connection.read_direct(turn.to_read(), now);
                turn.charge(count as u64);
                turn.note_moved(count as u64);
                if count > 0 {
                    progress = true;
                    self.dispatch(key, turn);
                    continue;
                }
            }
            let connection = &mut self.connections[key];
            if !connection.can_read() {
                if connection.input_has_ended() {
                    continue;
                }
                break;
            }
            // Only a part of a line is left: there is room behind it.
            self.input.copy_within(window.clone(), 0);
            *window = 0..window.len();
            let share = usize::try_from(turn.to_read()).unwrap_or(usize::MAX);
            let hint = connection.session.input_hint();
            let room = INPUT_BYTES.min(hint).min(share).min(self.input.len() - window.end);
            let count = connection.read(&mut self.input[window.end..window.end + room], now);
            window.end += count;
            turn.note_moved(count as u64);
            if count == 0 && !connection.input_has_ended() {
                break;
            }
        }
        progress
    }

    /// Does what the session asks for, or has it done; false where it asked for nothing.
    fn dispatch(&mut self, key: usize, turn: &mut Turn) -> bool {
        let mut asked = false;
        while let Some(Ask { errand, work }) = self.connections[key].session.next_ask() {
            asked = true;
            turn.charge_request();
            let token = token_of(key, self.connections[key].generation);
            match self.store.try_now(work, &mut self.scratch) {
                Ok(outcome) => {
                    self.now = Instant::now();
                    turn.note(self.now);
                    self.connections[key].session.complete(errand, outcome, self.now);
                }
                Err(work) => self.hand_on(Job { token, errand, work }),
            }
        }
        asked
    }

    /// Hands a job to the helpers, a RESUME only when nobody holds its upload.
    fn hand_on(&mut self, mut job: Job) {
        let key = self.live(job.token);
        let Work::Resume { id, name, owner, .. } = &mut job.work else { return self.submit(job) };
        if let (true, Some(key)) = (owner.is_nobody(), key) {
            *owner = owner_of(self.connections[key].peer.ip());
        }
        let (id, name, newcomer) = (id.clone(), name.clone(), job.token);
        match self.holds.claim(id.clone(), job) {
            Claim::Free(job) => self.submit(job),
            Claim::Doubtful => {}
            Claim::Strange(Job { token, errand, .. }) => self.complete(token, errand, Err(id_is_taken(&name))),
            Claim::Taken { owner, displaced } => {
                if let Some(Job { token, errand, .. }) = displaced {
                    let failure = Failure::new(Code::Changed, "a newer connection took this upload over");
                    self.complete(token, errand, Err(failure));
                }
                // A connection that comes back to its own upload has let go of it already.
                if let Some(key) = self.live(owner).filter(|_| owner != newcomer) {
                    self.connections[key].session.evict(&id, Instant::now());
                    self.queue(key);
                }
            }
        }
    }

    fn submit(&mut self, job: Job) {
        if let Some(id) = upload_of(&job.work) {
            let of_resume = matches!(job.work, Work::Resume { .. });
            self.letting_go.insert((job.token, job.errand), (id, of_resume));
        }
        self.pool.submit(job);
    }

    /// Drops what waits to be read for a client that is gone.
    fn forget_reads(&mut self, token: Token) {
        for Job { token, errand, .. } in self.pool.forget(token) {
            let failure = Failure::new(Code::Incomplete, "the connection was lost");
            self.complete(token, errand, Err(failure));
        }
    }

    /// Logs, arms the timer, and closes what is done with.
    fn end_turn(&mut self, key: usize) {
        let connection = &mut self.connections[key];
        // Whoever waits for the store neither reads nor writes, and would not find out by itself.
        if connection.endpoint.as_ref().is_some_and(Endpoint::is_broken) {
            connection.session.hung_up(self.now);
        }
        let (peer, records) = (connection.peer, connection.session.records());
        if log::log_enabled!(log::Level::Info) {
            self.transfer_log.note(peer, records.map(entry_of), self.now, say);
        } else {
            drop(records);
        }
        connection.session.rest();
        if connection.session.take_shutdown() {
            if let Some(endpoint) = &mut connection.endpoint {
                endpoint.shut_down();
            }
            self.queue(key);
        }
        let connection = &mut self.connections[key];
        if connection.session.is_cut() {
            connection.leftover = Vec::new();
            // Closing it takes it out of the queue as well: no other descriptor is of that socket.
            if connection.endpoint.take().is_some() {
                log::debug!("{}: disconnected", connection.peer);
            }
            if let Some(acceptor) = &mut self.acceptor {
                acceptor.note_freed();
            }
            if !connection.session.is_over() {
                self.forget_reads(token_of(key, self.connections[key].generation));
            }
        }
        let connection = &mut self.connections[key];
        let token = token_of(key, connection.generation);
        if connection.session.is_over() {
            let mut connection = self.connections.remove(key);
            self.timers.disarm(&mut connection.timer, token);
            self.rates.forget(token);
            self.admissions.leave(connection.peer.ip(), connection.refused);
        } else if let Some(at) = connection.session.deadline() {
            self.timers.arm(&mut connection.timer, at, token);
        }
    }
}

const KEY_BITS: u32 = 32;
const KEY_MASK: usize = (1 << KEY_BITS) - 1;

/// A slab key and the generation of who has it: slab gives keys out again at once.
fn token_of(key: usize, generation: u32) -> Token {
    Token((generation as usize) << KEY_BITS | key)
}

/// Returns a session's record as the log takes it.
fn entry_of(Record { verb, name, bytes, duration, failure }: Record) -> TransferEntry {
    TransferEntry { verb, name, bytes, duration, failure }
}

fn say(line: &str) {
    log::info!("{line}");
}
