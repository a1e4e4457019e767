//! The server's sessions, driven by a schedule in the input.

use std::{
    collections::VecDeque,
    path::Path,
    sync::{Arc, LazyLock},
    time::{Duration, Instant, SystemTime},
};

use ferry_server::{
    access::Users,
    protocol::{
        Limits, LoginOutcome, Segment, Session, Spares, Timeouts, Visitor,
        ferry::FerrySession,
        http::{DayClock, HttpSession, tus::UploadIds},
    },
    store::{ErrorKind, Operation, StoreError, SystemError},
};
use ferry_wire::{Code, Failure, Id};

use crate::{
    store::{Numbers, Store},
    stream::Listener,
};

/// Replies that wait in memory, of the longest kinds; a listing's block in the model is small.
const TEXT_BYTES: usize = 1 << 20;

/// Text and two blocks of a file.
const OUTBOX_BYTES: u64 = 4 << 20;

/// Chunks with the store: what may be pending, and the two that are on their way.
const HELD_BYTES: u64 = 3 << 20;

/// A schedule goes round and round, but not for ever.
const STEPS: usize = 2000;

/// Steps to the end, whatever happened before.
const DRAIN_STEPS: usize = 20_000;

/// Drives a session. The first line is the schedule, what follows is the client's stream. Each
/// letter of the schedule is a step: `C` completes the oldest operation, `D` the newest, `F` fails the
/// oldest, `S` sends what is queued, `s` a part of it, `T` lets time pass, `E` ends the input, `X` resets the
/// connection, `Q` ends the server, `G` drains it, `L` says that no input is left, `V` evicts the upload `id`, `P` fails a range, `R` reads directly;
/// `A` and `W` end the login that is checked, well or
/// badly, `B` says that it can't be checked, `U` has another users file hold; any other byte is how many bytes arrive. A
/// schedule that begins with `r` makes the server read-only, and one with `u` gives it users.
///
/// # Panics
///
/// If the session panics, says what is no protocol, keeps too much, or does not come to its end.
pub fn session(input: &[u8]) {
    drive(input, false);
}

/// Drives a session that speaks HTTP, as [`session`] does one of ferry's own protocol.
///
/// # Panics
///
/// The same.
pub fn http_session(input: &[u8]) {
    drive(input, true);
}

fn drive(input: &[u8], speaks_http: bool) {
    let end = input.iter().position(|&byte| byte == b'\n').unwrap_or(input.len().min(64));
    let (schedule, stream) = (&input[..end], input.get(end + 1..).unwrap_or_default());
    let mut drive = Drive::new(schedule.first().copied(), stream, speaks_http);
    for &step in schedule.iter().cycle().take(if schedule.is_empty() { 0 } else { STEPS }) {
        drive.step(step);
        drive.check();
        if drive.session.is_over() || drive.stream.is_empty() && drive.operations.is_empty() {
            break;
        }
    }
    drive.drain();
}

struct Drive<'a> {
    session: Session<Numbers>,
    store: Store,
    operations: VecDeque<Operation<Numbers>>,
    /// Hears what is no HTTP.
    listener: Option<Listener>,
    /// The first bytes of what is said.
    said: Vec<u8>,
    spares: Spares<Numbers>,
    /// Bytes that the client has yet to send.
    stream: &'a [u8],
    /// Bytes that arrived and were not consumed.
    pending: Vec<u8>,
    now: Instant,
    ended: bool,
    /// The index of the users file that holds.
    users: usize,
    /// A login is being checked.
    checks: bool,
}

/// Without users; with some; and with others.
fn users(which: usize) -> Arc<Users> {
    const FILES: [&str; 2] = [
        "[anonymous]\nrights = { \"open\" = \"r\" }\n[users.a]\ntokens = [\"sha256:TOKEN\"]\nrights = { \"\" = \"rw\", \"d\" = \"drop\" }\n",
        "[users.a]\nrights = { \"b\" = \"change\", \"d\" = \"list\" }\n[users.b]\ntokens = [\"sha256:TOKEN\"]\nrights = {}\n",
    ];
    static USERS: LazyLock<[Arc<Users>; 3]> = LazyLock::new(|| {
        let parsed = |text: &str| {
            Arc::new(Users::parse(&text.replace("TOKEN", &"0".repeat(64)), Path::new("users")).expect("users"))
        };
        [Arc::new(Users::without_file()), parsed(FILES[0]), parsed(FILES[1])]
    });
    USERS[which].clone()
}

impl<'a> Drive<'a> {
    fn new(begin: Option<u8>, stream: &'a [u8], speaks_http: bool) -> Drive<'a> {
        let (read_only, users_then) = (begin == Some(b'r'), usize::from(begin == Some(b'u')));
        let second = Duration::from_secs(1);
        let timeouts = Timeouts { idle: 60 * second, request: 20 * second, window: 10 * second, window_bytes: 100 };
        let limits = Limits {
            node: None,
            read_only,
            volatile: false,
            kept_modes: Some(ferry_wire::Mode::ALL),
            upload_bytes: 2 << 20,
            timeouts,
            checkpoint_bytes: 300_000,
            checkpoint_time: Duration::from_secs(15),
            keep: Duration::from_secs(72 * 3600),
        };
        let now = Instant::now();
        let (limits, visitor) = (Arc::new(limits), Visitor::new(users(users_then), true));
        let (ids, day) = (UploadIds::new([7; 32]).into(), DayClock::new(now, SystemTime::UNIX_EPOCH).into());
        let session = match speaks_http {
            true => Session::Http(HttpSession::new(limits, ids, day, visitor, now)),
            false => Session::Ferry(FerrySession::new(limits, visitor, now)),
        };
        Drive {
            session,
            store: Store::default(),
            operations: VecDeque::new(),
            listener: (!speaks_http).then(Listener::default),
            said: Vec::new(),
            spares: Spares::new(),
            stream,
            pending: Vec::new(),
            now,
            ended: false,
            users: users_then,
            checks: false,
        }
    }

    fn step(&mut self, step: u8) {
        match step {
            b'C' => self.complete(false, false),
            b'D' => self.complete(true, false),
            b'F' => self.complete(false, true),
            b'S' => self.send(u64::MAX),
            b's' => self.send(1000),
            b'T' => self.pass_time(),
            b'E' => self.end_input(),
            b'X' => self.session.disconnected(self.now),
            b'Q' => self.session.dismiss(Failure::new(Code::ShuttingDown, "the model ends"), self.now),
            b'G' => self.session.drain(Failure::new(Code::ShuttingDown, "the model drains"), self.now),
            b'L' => {
                self.session.input_is_out(self.now);
            }
            b'A' => self.end_login(LoginOutcome::Right),
            b'W' => self.end_login(LoginOutcome::Wrong),
            b'B' => self.end_login(LoginOutcome::Busy),
            b'U' if self.users > 0 => {
                self.users = 3 - self.users;
                self.session.set_users(&users(self.users));
            }
            b'V' => self.session.evict(&Id::new("id").expect("an id"), self.now),
            b'P' => self.fail_range(),
            b'R' => self.read_directly(),
            bytes => self.arrive(usize::from(bytes)),
        }
        self.take_operations();
    }

    fn end_login(&mut self, outcome: LoginOutcome) {
        if std::mem::take(&mut self.checks) {
            self.session.login_ended(outcome, self.now);
        }
    }

    fn take_operations(&mut self) {
        if self.session.take_login().is_some() {
            assert!(!self.checks, "two logins at one time");
            self.checks = true;
        }
        while let Some(operation) = self.session.next_operation() {
            self.store.begin(&operation);
            self.operations.push_back(operation);
        }
        self.session.records().1.for_each(drop);
        self.session.rest(&mut self.spares);
        self.session.lend(&mut self.spares);
        self.session.take_shutdown();
    }

    fn complete(&mut self, newest: bool, fails: bool) {
        let operation = if newest { self.operations.pop_back() } else { self.operations.pop_front() };
        if let Some(operation) = operation {
            let completion = self.store.end(operation, fails);
            self.session.complete(completion, self.now);
        }
    }

    fn arrive(&mut self, bytes: usize) {
        let (arrived, rest) = self.stream.split_at(bytes.min(self.stream.len()));
        if !self.ended {
            self.pending.extend_from_slice(arrived);
            self.stream = rest;
        }
        self.offer();
    }

    /// Gives the session what arrived, as often as it gets on with it.
    fn offer(&mut self) {
        while self.session.wants_input() && !self.pending.is_empty() {
            let used = self.session.receive(&self.pending, self.now);
            assert!(used <= self.pending.len());
            self.pending.drain(..used);
            self.take_operations();
            if used == 0 {
                break;
            }
        }
    }

    fn read_directly(&mut self) {
        if !self.pending.is_empty() || self.ended {
            return self.offer();
        }
        let Some(place) = self.session.direct() else { return self.arrive(100) };
        let got = place.len().min(self.stream.len());
        place[..got].copy_from_slice(&self.stream[..got]);
        self.stream = &self.stream[got..];
        self.session.received(got, self.now);
    }

    /// The input ends behind what was consumed, but for an unfinished line.
    fn end_input(&mut self) {
        self.offer();
        self.ended = true;
        if self.session.wants_input() {
            self.session.end_of_input(self.now);
        }
    }

    fn send(&mut self, mut room: u64) {
        while room > 0 {
            let bytes = match self.session.outbox().front() {
                None => break,
                Some((Segment::Bytes(data), _)) => data.to_vec(),
                Some((Segment::File { left, .. } | Segment::Padding(left), _)) => vec![0; left as usize],
            };
            let sent = (bytes.len() as u64).min(room);
            self.hear(&bytes[..sent as usize]);
            self.session.outbox().advance(sent);
            room -= sent;
        }
        self.session.sent(self.now);
    }

    fn hear(&mut self, bytes: &[u8]) {
        const BEGINNING: &[u8] = b"HTTP/1.1 ";
        match &mut self.listener {
            Some(listener) => listener.hear(bytes),
            None => {
                let missing = BEGINNING.len() - self.said.len();
                self.said.extend_from_slice(&bytes[..missing.min(bytes.len())]);
                assert!(BEGINNING.starts_with(&self.said), "an answer without a head");
            }
        }
    }

    fn pass_time(&mut self) {
        if let Some(deadline) = self.session.deadline() {
            self.now = self.now.max(deadline);
            self.session.handle_timeout(self.now);
        }
    }

    fn fail_range(&mut self) {
        if matches!(self.session.outbox().front(), Some((Segment::File { .. }, _))) {
            let error = StoreError::of(ErrorKind::System(SystemError::Disk));
            self.session.range_failed(error, self.now);
        }
    }

    fn check(&mut self) {
        let outbox = self.session.outbox();
        assert!(outbox.bytes() <= OUTBOX_BYTES, "{} bytes are queued", outbox.bytes());
        if let Some((Segment::Bytes(data), _)) = outbox.front() {
            assert!(data.len() <= TEXT_BYTES, "{} bytes of text are queued", data.len());
        }
        assert!(self.operations.len() <= 200, "{} operations", self.operations.len());
        assert!(self.store.held_bytes <= HELD_BYTES, "{} bytes wait to be written", self.store.held_bytes);
    }

    /// Brings everything to its end.
    fn drain(&mut self) {
        for _ in 0..DRAIN_STEPS {
            self.take_operations();
            if self.session.is_over() {
                break;
            }
            self.arrive(usize::MAX);
            self.complete(false, false);
            self.take_operations();
            self.end_login(LoginOutcome::Right);
            self.take_operations();
            self.send(u64::MAX);
            self.take_operations();
            if self.operations.is_empty() && self.stream.is_empty() {
                self.end_input();
                self.take_operations();
            }
            if self.operations.is_empty() {
                self.pass_time();
            }
            self.check();
        }
        assert!(self.session.is_over(), "the session does not come to its end");
        assert!(self.operations.is_empty() && self.session.deadline().is_none());
        assert_eq!((self.store.uploads(), self.store.held_bytes), (0, 0), "what was held is let go");
    }
}
