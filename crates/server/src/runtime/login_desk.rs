//! Has secrets checked, by helpers of their own: never on the loop.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    net::IpAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::Instant,
};

use mio::{Token, Waker};

use super::Server;
use crate::{
    access::{Logins, Users, failed_login},
    protocol::{Login, LoginOutcome},
};

/// Threads that check secrets. Each takes a processor and some memory while it does.
const CHECKERS: usize = 2;

/// A login to be checked, by the users of then.
struct Check {
    token: Token,
    users: Arc<Users>,
    login: Login,
}

/// A check that has ended.
struct Checked {
    check: Check,
    /// [`None`] where it could not be found out.
    is_right: Option<bool>,
}

impl Check {
    fn run(self) -> Checked {
        let check = || self.users.check(&self.login.user, &self.login.secret).ok();
        let is_right = catch_unwind(AssertUnwindSafe(check)).unwrap_or(None);
        Checked { check: self, is_right }
    }
}

/// All that a checker works with.
#[derive(Clone)]
struct Start {
    to_do: Arc<Mutex<Receiver<Check>>>,
    done_by: Sender<Checked>,
    waker: Arc<Waker>,
}

/// See the [module documentation](self).
pub(super) struct LoginDesk {
    users: Arc<Users>,
    logins: Logins<Token>,
    /// Those that wait to be checked.
    asked: HashMap<Token, (IpAddr, Login)>,
    /// The addresses of those that are being checked.
    under_way: HashMap<Token, IpAddr>,
    /// Refusals that are held back for a while.
    held: BTreeSet<(Instant, Token)>,
    tasks: Sender<Check>,
    done: Receiver<Checked>,
    /// All that the checkers are started with, until they are.
    unstarted: Option<Start>,
}

impl LoginDesk {
    /// Returns the desk at which `users` log in. Helpers start with the first login, and wake `waker`.
    pub(super) fn new(users: Arc<Users>, waker: Arc<Waker>) -> LoginDesk {
        let (tasks, to_do) = channel();
        let (done_by, done) = channel();
        LoginDesk {
            users,
            logins: Logins::new(),
            asked: HashMap::new(),
            under_way: HashMap::new(),
            held: BTreeSet::new(),
            tasks,
            done,
            unstarted: Some(Start { to_do: Arc::new(Mutex::new(to_do)), done_by, waker }),
        }
    }

    /// Returns the users of now.
    pub(super) fn users(&self) -> &Arc<Users> {
        &self.users
    }

    /// Sets the users that may log in from here on.
    pub(super) fn set_users(&mut self, users: Arc<Users>) {
        self.users = users;
    }

    /// Queues a login to be checked. False where too many wait.
    fn ask(&mut self, token: Token, address: IpAddr, login: Login) -> bool {
        let fits = self.start().is_ok() && self.logins.ask(token, address);
        if fits {
            self.asked.insert(token, (address, login));
        }
        fits
    }

    /// Returns how many logins wait to be checked, or are.
    pub(super) fn len(&self) -> usize {
        self.asked.len() + self.under_way.len()
    }

    /// Forgets a login that waits, of a connection that is gone.
    pub(super) fn gone(&mut self, token: Token) {
        if self.asked.remove(&token).is_some() {
            self.logins.gone(token);
        }
    }

    /// Returns when to look again.
    pub(super) fn next_at(&self, now: Instant) -> Option<Instant> {
        let held = self.held.first().map(|(at, _)| *at);
        held.into_iter().chain(self.logins.next_at(now)).min()
    }

    /// Hands on the logins whose turn it is.
    fn hand_on(&mut self, now: Instant) {
        while let Some(token) = self.logins.next(now) {
            let Some((address, login)) = self.asked.remove(&token) else {
                self.logins.ended(token, None, now);
                continue;
            };
            self.under_way.insert(token, address);
            // The receiver lives as long as the checkers, which end with this sender alone.
            let _ = self.tasks.send(Check { token, users: self.users.clone(), login });
        }
    }

    /// Takes a refusal that was held back long enough.
    fn expired(&mut self, now: Instant) -> Option<Token> {
        let (at, token) = *self.held.first()?;
        (at <= now).then(|| {
            self.held.pop_first();
            token
        })
    }

    /// Takes the end of a check. Returns what to tell the connection now, if anything.
    fn checked(&mut self, token: Token, login: Login, is_right: Option<bool>, now: Instant) -> Option<LoginOutcome> {
        let address = self.under_way.remove(&token)?;
        let wait = self.logins.ended(token, is_right, now);
        match is_right {
            Some(true) => Some(LoginOutcome::Right),
            None => Some(LoginOutcome::Busy),
            Some(false) => {
                log::warn!("{}", failed_login(address, login.user.as_str()));
                self.held.insert((now + wait, token));
                None
            }
        }
    }

    /// Queues a login to be checked anew, by the present users.
    fn check_anew(&mut self, token: Token, login: Login, now: Instant) -> Option<LoginOutcome> {
        let address = self.under_way.remove(&token)?;
        self.logins.ended(token, None, now);
        (!self.ask(token, address, login)).then_some(LoginOutcome::Busy)
    }

    fn start(&mut self) -> io::Result<()> {
        let Some(start) = &self.unstarted else { return Ok(()) };
        for _ in 0..CHECKERS {
            let Start { to_do, done_by, waker } = start.clone();
            thread::Builder::new().name("ferry-login".into()).spawn(move || {
                loop {
                    let task = to_do.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(task) = task else { return };
                    if done_by.send(task.run()).is_err() || waker.wake().is_err() {
                        return;
                    }
                }
            })?;
        }
        self.unstarted = None;
        Ok(())
    }
}

impl Server {
    /// Queues the login of a connection, where it asks for one.
    pub(super) fn take_login(&mut self, token: Token, now: Instant) {
        let Some(connection) = self.connections.get(token) else { return };
        let Some(login) = connection.session.take_login() else { return };
        let address = connection.peer.ip();
        if !self.desk.ask(token, address, login) {
            self.login_ended(token, LoginOutcome::Busy, now);
        }
    }

    /// Tells each session the outcome of its login, and hands on those whose turn it is.
    pub(super) fn run_desk(&mut self, now: Instant) {
        while let Ok(Checked { check: Check { token, users, login }, is_right }) = self.desk.done.try_recv() {
            let outcome = match Arc::ptr_eq(&users, self.desk.users()) {
                true => self.desk.checked(token, login, is_right, now),
                // A login that was right may be wrong by the file that was read meanwhile.
                false => self.desk.check_anew(token, login, now),
            };
            if let Some(outcome) = outcome {
                self.login_ended(token, outcome, now);
            }
        }
        while let Some(token) = self.desk.expired(now) {
            self.login_ended(token, LoginOutcome::Wrong, now);
        }
        self.desk.hand_on(now);
    }

    fn login_ended(&mut self, token: Token, outcome: LoginOutcome, now: Instant) {
        let outcome = match outcome {
            LoginOutcome::Right => self.enter(token, now),
            other => other,
        };
        let [right, wrong, busy] = &mut self.counters.logins;
        *match outcome {
            LoginOutcome::Right => right,
            LoginOutcome::Wrong => wrong,
            LoginOutcome::Busy | LoginOutcome::Full { .. } => busy,
        } += 1;
        let Some(connection) = self.connections.get(token) else { return };
        connection.session.login_ended(outcome, now);
        self.scheduler.queue(token, &mut connection.queued);
    }
}

/// Checks that what `users` may do can be held on a file system whose entries have one name each, or more.
///
/// # Errors
///
/// In words, where another name of an entry would lead past a rule.
pub fn check_users(users: &Users, has_one_name: bool) -> Result<(), String> {
    match users.narrows() {
        Some((user, name)) if !has_one_name => {
            let whose = user.map_or_else(|| "[anonymous]".to_owned(), |user| format!("[users.{user}]"));
            Err(format!(
                "the rights of {whose} take something away at \"{name}\", and the root's file system knows its entries by \
                 other names, too (letters in another case, short names), which would lead past that: give rights only, \
                 or serve another file system"
            ))
        }
        _ => Ok(()),
    }
}
