//! The event loop: one thread that owns every socket.
//!
//! ```text
//! poll -> token -> connection -> its turn: fill its input -> the session decodes whole lines and blocks
//!      -> the session asks -> the store does it, here or in a helper
//!      -> the session queues replies and file ranges -> flush to the socket -> queue, arm or reap
//! ```
//!
//! Readiness is edge-triggered: it is told once. So an endpoint remembers it until a call would block, and a
//! connection that stops early, because it used up the budget of its turn, goes to the back of the run queue. Tokens
//! carry a generation, so that an event or a completion for a connection that is gone finds no other.
//!
//! The loop holds poll and tokens. Its rooms decide the rest: [`admission`] which clients are served, [`scheduler`] whose
//! turn it is, [`leases`] which connection works on which upload.

pub mod admission;
mod answers;
mod arrivals;
mod budget;
mod completions;
mod connection;
mod connections;
mod control;
mod handshakes;
mod housekeeping;
mod inquiries;
mod job;
mod lane;
pub mod lease_use;
pub mod leases;
mod lifecycle;
mod login_desk;
mod losses;
pub mod party;
mod pool;
pub mod rates;
mod reload;
mod root_health;
pub mod roster;
pub mod scheduler;
mod secure;
mod setup;
mod timers;
mod turn;
mod workers;

use std::{
    fmt::Display,
    io::{self, Write as _},
    net::SocketAddr,
    os::unix::net::UnixStream,
    process,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use ferry_wire::{Code, Failure};
use mio::{Events, Poll, Token, Waker};

use crate::{
    access::Users,
    control::{SocketFile, accepting},
    net::{Acceptors, Endpoint, InquiryListener, News, ServiceListener, ServiceManager, TlsAcceptor, Transport},
    observe::{
        Client, Counters, Protocol, RefusedFor, TransferEntry, TransferLog,
        logging::{LogFiles, Logs},
    },
    protocol::{Record, Session, http::tus::UploadIds},
    store::{Disk, ServedStore, StoreUsage},
    units::counted,
};
use arrivals::{Arrival, Arrivals};
use connection::Connection;
use connections::Connections;
use control::HandOver;
use handshakes::Handshakes;
use housekeeping::Housekeeping;
use inquiries::Inquiries;
use job::{Ended, Job};
use leases::Leases;
use lifecycle::LifeCycle;
use login_desk::LoginDesk;
use party::Party;
use rates::Rates;
use reload::Reloads;
use root_health::RootChange;
use scheduler::Scheduler;
use timers::Timers;
use turn::{Buffers, Turn, TurnEnd};
use workers::Workers;

pub use housekeeping::keep_freed_memory;
pub use inquiries::Inquiry;
pub use lifecycle::{CUT_SHORT, Ending};
pub use login_desk::check_users;
pub use reload::{ReloadReading, Reloaded};
use setup::system;
pub use setup::{Live, ServerError, ServerOptions};

const LISTENERS: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);
const SIGNALS: Token = Token(usize::MAX - 2);
const HAND_OVER: Token = Token(usize::MAX - 3);

/// Events taken from one poll.
const EVENTS: usize = 1024;

/// Clients accepted before those that are there have their turn.
const ACCEPTS_PER_ROUND: usize = 64;

/// The things that a server works with, made before it.
#[derive(Debug)]
pub struct ServerParts {
    /// The users that may log in, and the rights of everybody.
    pub users: Arc<Users>,
    /// Where clients come.
    pub listeners: Vec<ServiceListener>,
    /// [`None`] where clients are spoken to in the open at all of them.
    pub tls: Option<TlsAcceptor>,
    /// The files.
    pub store: Arc<ServedStore>,
    /// The open logs.
    pub logs: Logs,
    /// Where figures and commands are asked for.
    pub inquiries: Vec<(Inquiry, InquiryListener)>,
}

/// See the [module documentation](self).
pub struct Server {
    poll: Poll,
    arrivals: Arrivals,
    /// [`None`] where all clients are spoken to in the open.
    tls: Option<TlsAcceptor>,
    handshakes: Handshakes<Endpoint>,
    connections: Connections,
    scheduler: Scheduler,
    timers: Timers,
    workers: Workers,
    leases: Leases<Token, Job>,
    life: LifeCycle,
    manager: ServiceManager,
    desk: LoginDesk,
    inquiries: Inquiries,
    /// Removed at the end.
    control_file: Option<SocketFile>,
    hand_over: Option<HandOver>,
    /// Where the server before this one waits for word that clients are accepted.
    waiting: Option<UnixStream>,
    reloads: Reloads,
    transfer_log: TransferLog,
    /// Opened anew by a reload.
    log_files: LogFiles,
    housekeeping: Housekeeping,
    /// When it was started, by both clocks.
    started: (Instant, SystemTime),
    counters: Counters,
    /// The disk space that uploads took when it was last known.
    usage: StoreUsage,
    buffers: Buffers,
}

impl Server {
    /// Starts the helpers and makes ready to serve.
    ///
    /// # Errors
    ///
    /// Where the system refuses what the loop needs.
    pub fn new(options: ServerOptions, parts: ServerParts) -> Result<Server, ServerError> {
        let ServerParts { users, listeners, tls, store, logs, inquiries } = parts;
        let poll = Poll::new().map_err(system("can't make an event queue"))?;
        let registry = poll.registry();
        let failed = "can't watch for events";
        let acceptors = Acceptors::open(listeners, registry, LISTENERS)?.map_err(system(failed))?;
        let waker = Arc::new(Waker::new(registry, WAKER).map_err(system(failed))?);
        let inquiries = Inquiries::new(inquiries, options.max_inquiries, registry).map_err(system(failed))?;
        let life = LifeCycle::start(registry, SIGNALS, options.live.grace)?;
        let desk = LoginDesk::new(users.clone(), waker.clone());
        let reloads = Reloads::new(waker.clone());
        let usage = store.usage().unwrap_or_default();
        let live = options.live;
        let mut key = [0; 32];
        let drawn = getrandom::fill(&mut key).map_err(io::Error::other);
        let ids = drawn.map(|()| UploadIds::new(key)).map_err(system("can't draw random numbers"))?;
        let mut server = Server {
            arrivals: Arrivals::new(acceptors, live.admission, live.limits, ids, users, live.proxies),
            tls,
            handshakes: Handshakes::new(live.max_handshakes),
            connections: Connections::default(),
            scheduler: Scheduler::new(Rates::new(live.client_rate, live.total_rate, Instant::now())),
            timers: Timers::default(),
            workers: Workers::start(store, waker, options.open_together, live.job_timeout)?,
            leases: Leases::default(),
            life,
            manager: ServiceManager::default(),
            desk,
            inquiries,
            control_file: None,
            hand_over: None,
            waiting: None,
            reloads,
            transfer_log: logs.transfer_log,
            log_files: logs.files,
            housekeeping: Housekeeping::new(Instant::now()),
            started: (Instant::now(), SystemTime::now()),
            counters: Counters::new(),
            usage,
            buffers: Buffers::new(),
            poll,
        };
        server.apply_user_limits(Instant::now());
        Ok(server)
    }

    /// Sets the service manager, which is told of readiness, drain and end, and gets signs of life
    /// from the loop.
    #[must_use]
    pub fn managed_by(self, manager: ServiceManager) -> Server {
        Server { manager, ..self }
    }

    /// Sets the `file` of the control socket, which is removed at the end.
    #[must_use]
    pub fn controlled_at(self, file: Option<SocketFile>) -> Server {
        Server { control_file: file, ..self }
    }

    /// Tells the server before this one, through `waiting`, when clients are accepted here.
    #[must_use]
    pub fn succeeding(self, waiting: Option<UnixStream>) -> Server {
        Server { waiting, ..self }
    }

    /// Serves until SIGTERM, SIGINT or SIGQUIT comes; then drains, and returns. A second signal ends the drain, as does the
    /// end of its grace, after which clients have two seconds. Where something does not answer half a second later,
    /// the process ends with the status [`CUT_SHORT`]; so it is to end where that is how it
    /// [ended](Ending).
    ///
    /// # Errors
    ///
    /// Where the system refuses to tell of events.
    pub fn run(mut self) -> Result<Ending, ServerError> {
        let mut events = Events::with_capacity(EVENTS);
        self.begin();
        while !self.life.has_ended(self.connections.len() + self.handshakes.len()) {
            self.wait(&mut events)?;
            let began = Instant::now();
            self.arrivals.set_day(began, SystemTime::now());
            self.manager.feed(began);
            self.workers.look(began);
            self.take_events(&events, began);
            self.take_completions();
            self.look_at_root(began);
            self.take_reload(began);
            self.run_desk(began);
            self.expire(began);
            if self.life.take_end_of_grace(began) {
                self.dismiss(began);
            }
            self.accept(began);
            self.run_handshakes(began);
            self.run_queued();
            self.run_granted();
            self.run_inquiries(began);
            self.transfer_log.sum_up(Some(began));
            self.housekeeping.note_round(began, Instant::now(), self.counters.moved());
        }
        Ok(self.finish())
    }

    /// Tells the service manager and the server before this one that clients are accepted from here
    /// on.
    fn begin(&mut self) {
        if let Some(mut waiting) = self.waiting.take()
            && let Err(error) = waiting.write_all(accepting(process::id()).as_bytes())
        {
            log::warn!("the server before this one has ended: {error}");
        }
        let now = Instant::now();
        self.manager.tell(News::Ready, &self.state(now), now);
    }

    /// Returns what the server does, in words, while it does not drain.
    fn state(&self, now: Instant) -> String {
        match (self.workers.root_down(now), self.reloads.failure()) {
            (Some(down), _) => format!("the root is down: {}", down.why),
            (None, Some(why)) => format!("serving; the last reload: {why}"),
            (None, None) => "serving".into(),
        }
    }

    /// Looks at the root where that is due, and says that it has failed, or answers again.
    fn look_at_root(&mut self, now: Instant) {
        let Some(change) = self.workers.look_at_root(now) else { return };
        match change {
            RootChange::Down(why) => log::error!("the root is down: {why}"),
            RootChange::Up(after) => log::info!("the root is up again, after {:.1} s", after.as_secs_f32()),
        }
        if !self.life.is_draining() {
            self.manager.tell(News::State, &self.state(now), now);
        }
    }

    /// Waits for events. Where there are none for a while, freed memory is given back.
    fn wait(&mut self, events: &mut Events) -> Result<(), ServerError> {
        loop {
            let longest = self.longest_wait();
            match self.poll.poll(events, longest) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                polled => break polled.map_err(system("can't wait for events"))?,
            }
        }
        if events.is_empty() && self.scheduler.queued() == 0 && self.housekeeping.take_due() {
            self.workers.give_memory_back();
        }
        Ok(())
    }

    fn longest_wait(&mut self) -> Option<Duration> {
        let now = Instant::now();
        let has_work = self.scheduler.queued() > 0
            || self.handshakes.has_queued()
            || self.arrivals.can_accept(now)
            || self.inquiries.has_work(now);
        if has_work {
            return Some(Duration::ZERO);
        }
        let moments = [
            self.arrivals.retry_at(),
            self.timers.next(),
            self.desk.next_at(now),
            self.handshakes.next_at(),
            self.inquiries.next_at(),
            self.scheduler.next_at(now),
            self.workers.look_at(),
            self.transfer_log.next_at(),
            self.life.next_at(),
            self.manager.next_at(),
        ];
        let next = moments.into_iter().flatten().min().map(|next| next.saturating_duration_since(now));
        next.into_iter().chain(self.housekeeping.due_after()).min()
    }

    fn take_events(&mut self, events: &Events, now: Instant) {
        for event in events {
            match event.token() {
                LISTENERS => self.arrivals.note_ready(),
                // Completions are taken in any case.
                WAKER => {}
                HAND_OVER => self.take_hand_over(now),
                SIGNALS => {
                    let asked = self.life.take_signals(now);
                    if asked.drain {
                        self.drain(now);
                    }
                    if asked.reload {
                        self.reload("SIGHUP came", None, now);
                    }
                }
                token => {
                    if self.inquiries.note(token) {
                        continue;
                    }
                    if let Some(handshake) = self.handshakes.get(token) {
                        handshake.endpoint.note(event);
                        self.handshakes.queue(token);
                    } else if let Some(connection) = self.connections.get(token) {
                        connection.note(event);
                        self.scheduler.queue(token, &mut connection.queued);
                    }
                }
            }
        }
    }

    fn expire(&mut self, now: Instant) {
        self.expire_handshakes(now);
        while let Some(token) = self.timers.expired(now) {
            let Some(connection) = self.connections.get(token) else { continue };
            connection.timer = None;
            connection.handle_timeout(now);
            self.scheduler.queue(token, &mut connection.queued);
        }
    }

    fn finish(mut self) -> Ending {
        let is_cut = self.connections.len() > 0;
        // Clients first: the steps after may wait for a disk.
        self.connections.disconnect();
        if let Some(file) = self.control_file.take() {
            file.remove();
        }
        self.transfer_log.sum_up(None);
        let stuck = self.workers.end(is_cut);
        drop(self.connections);
        log::info!("ended; the loop was away from its clients for at most {:?}", self.housekeeping.longest_round());
        self.life.end();
        if stuck == 0 {
            return Ending::Whole;
        }
        log::error!("a file system does not answer {}: ending without waiting for it", counted(stuck as u64, "helper"));
        Ending::CutShort
    }
}

/// Clients that come, and the end.
impl Server {
    /// Accepts clients that wait, as far as there is room.
    fn accept(&mut self, now: Instant) {
        for _ in 0..ACCEPTS_PER_ROUND {
            if !self.arrivals.can_accept(now) {
                return;
            }
            let Some((socket, caller)) = self.arrivals.next(now) else { continue };
            let header = self.arrivals.header_time(&caller);
            if header.is_some() || caller.entrance.is_secure {
                self.begin_handshake(socket, caller, header, now);
            } else if let Some(arrival) = self.arrivals.admit(caller, now, &mut self.counters) {
                self.connect(Endpoint::new(Transport::Plain(socket)), caller.peer, arrival);
            }
        }
    }

    /// Makes a connection for a client that was admitted.
    fn connect(&mut self, mut endpoint: Endpoint, peer: SocketAddr, (admitted, session): Arrival) {
        let token = self.connections.next_token();
        if let Err(error) = endpoint.register(self.poll.registry(), token) {
            log::warn!("{peer}: can't watch the socket, closing: {error}");
            return self.arrivals.leave(&Party::Address(peer.ip()), admitted);
        }
        log::debug!("{peer}: connected{}", if admitted.is_refused() { ", and turned away" } else { "" });
        self.counters.connected(protocol_of(&session), admitted.is_refused());
        let connection = self.connections.insert(Connection::new(token, endpoint, peer, session, admitted));
        self.counters.came(connection.occupation);
        if self.life.is_draining() {
            connection.session.drain(ending(), Instant::now());
        }
        self.scheduler.queue(token, &mut connection.queued);
    }

    /// Begins the drain: nobody can connect any more, and each client is told as soon as it is idle.
    fn drain(&mut self, now: Instant) {
        self.manager.tell(News::Stopping, "draining: transfers end, nobody is accepted", now);
        if self.hand_over.is_some() {
            // A new server is about to begin, and has the sockets already.
            self.give_away();
        }
        // Those who wait at a socket that the manager keeps are the next server's.
        self.arrivals.give_away_held(self.poll.registry());
        for (socket, caller, arrival) in self.arrivals.end(&ending(), now) {
            self.counters.refused(RefusedFor::ShuttingDown);
            // With TLS they wait for a handshake and understand nothing else, and there is no time
            // for one.
            if caller.entrance.is_secure {
                self.arrivals.leave(&Party::Address(caller.peer.ip()), arrival.0);
            } else {
                self.connect(Endpoint::new(Transport::Plain(socket)), caller.peer, arrival);
            }
        }
        self.each_session(|session| session.drain(ending(), now));
    }

    /// Ends the drain: each client is told as soon as a reply may stand there.
    fn dismiss(&mut self, now: Instant) {
        self.handshakes.end_all();
        self.each_session(|session| session.dismiss(ending(), now));
    }

    /// Does `change` to every session, and gives each client a turn.
    fn each_session(&mut self, change: impl Fn(&mut Session<Disk>)) {
        for token in self.connections.tokens() {
            let Some(connection) = self.connections.get(token) else { continue };
            change(&mut connection.session);
            self.scheduler.queue(token, &mut connection.queued);
        }
    }
}

/// Turns.
impl Server {
    /// Gives all that stand in the run queue now a turn.
    fn run_queued(&mut self) {
        for _ in 0..self.scheduler.queued() {
            let Some(token) = self.scheduler.next_queued() else { break };
            let Some(connection) = self.connections.get(token) else { continue };
            let granted = self.scheduler.begin(token, &mut connection.queued);
            let end = Turn::run(connection, &mut self.workers, &mut self.buffers, granted);
            self.end_turn(token, &end);
        }
    }

    /// Gives a turn to each client that the rates let move bytes.
    fn run_granted(&mut self) {
        if !self.scheduler.has_waiting() {
            return;
        }
        for _ in 0..self.scheduler.waiting(Instant::now()) {
            let now = Instant::now();
            let Some(grant) = self.scheduler.next_grant(now) else { break };
            let Some(connection) = self.connections.get(grant.client) else {
                self.scheduler.forget(grant.client, now);
                continue;
            };
            connection.session.resume(grant.waited, now);
            self.counters.rate_waits += 1;
            self.counters.rate_waited += grant.waited;
            let end = Turn::run(connection, &mut self.workers, &mut self.buffers, grant.bytes);
            self.scheduler.charge(&grant, end.moved, end.now);
            self.end_turn(grant.client, &end);
        }
    }

    /// Finishes a turn: claims leases, logs, closes, arms the timer, queues the next turn.
    fn end_turn(&mut self, token: Token, end: &TurnEnd) {
        self.housekeeping.note_cost(end.cost);
        self.counters.sent += end.sent;
        self.counters.received += end.moved - end.sent;
        for job in self.workers.take_claims() {
            self.claim(job, end.now);
        }
        self.take_login(token, end.now);
        let Some(connection) = self.connections.get(token) else { return };
        if connection.is_broken() {
            // A session that waits for the store neither reads nor writes, and would not find out by itself.
            connection.session.hung_up(end.now);
        }
        let protocol = protocol_of(&connection.session);
        let (user, records) = connection.session.records();
        let records = records.map(|record| {
            // The desk counts logins.
            if record.verb != Record::LOGIN {
                let failed = record.failure.as_ref().map(|failure| failure.code);
                let bytes = record.bytes.unwrap_or(0);
                self.counters.transfer_ended(user, record.verb, bytes, failed);
                self.counters.ended_by(protocol, bytes, failed.is_some());
            }
            entry_of(record)
        });
        if self.transfer_log.is_on() {
            self.transfer_log.note(Client { peer: connection.peer, user }, records, end.now);
        } else {
            records.for_each(drop);
        }
        if let Some(error) = &end.failure {
            log_failure(&mut self.transfer_log, (connection.peer, error), error.is_loss(), end.now);
        }
        if connection.session.take_stranger() {
            let why = "what the client says is no request: it speaks another protocol, perhaps HTTP";
            log_failure(&mut self.transfer_log, (connection.peer, &why), false, end.now);
        }
        connection.rest(&mut self.buffers.spares);
        // After a turn that is not finished there may be input that was read, and not taken by the session.
        let is_out = self.life.is_draining() && !end.is_unfinished && !connection.can_move();
        let parts = is_out && connection.session.input_is_out(end.now);
        if connection.shut_down_if_due() || end.is_unfinished || parts {
            self.scheduler.queue(token, &mut connection.queued);
        }
        if connection.session.is_cut() {
            self.cut(token, end.now);
        }
        self.reap_or_wait(token, end.now);
    }

    /// Closes the socket of a connection that has no more use of it.
    fn cut(&mut self, token: Token, now: Instant) {
        let Some(connection) = self.connections.get(token) else { return };
        if connection.endpoint.as_ref().is_some_and(Endpoint::is_secure) {
            self.housekeeping.note_tls_end();
        }
        connection.close();
        self.arrivals.note_freed();
        self.desk.gone(token);
        if !connection.session.is_over() {
            for Ended { token, completion, .. } in self.workers.forget_reads(token) {
                self.complete(token, completion, now);
            }
        }
    }

    /// Forgets a connection that is over. Any other waits for its deadline, and, where there are rates and it has
    /// something to move, for a grant: its clocks stand still until then.
    fn reap_or_wait(&mut self, token: Token, now: Instant) {
        let Some(connection) = self.connections.get(token) else { return };
        if connection.session.is_over() {
            self.timers.disarm(&mut connection.timer, token);
            self.scheduler.forget(token, now);
            if let Some(connection) = self.connections.remove(token) {
                self.counters.went(connection.occupation);
                self.counters.gone(protocol_of(&connection.session));
                self.arrivals.leave(&connection.party(), connection.admitted);
            }
            return;
        }
        if let Some(at) = connection.session.deadline() {
            self.timers.arm(&mut connection.timer, at, token);
        }
        let waits = self.scheduler.is_limited(token) && connection.can_move();
        if waits {
            connection.session.pause();
            self.scheduler.wait_for_grant(token, now);
        }
        let occupation = connection.occupation(waits);
        if occupation != connection.occupation {
            self.counters.went(connection.occupation);
            self.counters.came(occupation);
            connection.occupation = occupation;
        }
    }
}

/// Returns a session's record as the log takes it.
fn entry_of(Record { verb, name, bytes, resumed, duration, failure, status }: Record) -> TransferEntry {
    TransferEntry { verb, name, bytes, resumed, duration, failure, status }
}

/// Returns the protocol that a session speaks, as figures name it.
fn protocol_of(session: &Session<Disk>) -> Protocol {
    match session {
        Session::Ferry(_) => Protocol::Ferry,
        Session::Http(_) => Protocol::Http,
    }
}

/// Returns the last reply of a server that ends.
fn ending() -> Failure {
    Failure::new(Code::ShuttingDown, "the server is ending")
}

/// Logs why a connection came to nothing: within the budget of its address, or, where it `is_loss`, for debugging alone.
fn log_failure(log: &mut TransferLog, (peer, why): (SocketAddr, &dyn Display), is_loss: bool, now: Instant) {
    if is_loss {
        log::debug!("{peer}: {why}");
    } else if log::log_enabled!(log::Level::Info) {
        log.note_failure(peer, why, now);
    }
}
