//! Decides which helper of a lane does which job, and who is told that nothing answers.
//!
//! The queue is fair: one job of each connection in turn, those of one connection in their order. A
//! helper that makes no progress for too long is *written off*: another one takes its place, up to
//! a bound, and it ends when it comes back. Its jobs *expire* where there is no progress for the
//! job timeout: whoever waits for them is told, and nobody takes the results that come late.
//!
//! Nothing is begun that could only wait for a helper that is stuck, or that must not overtake it:
//! a [`Scope`] says what a job needs for itself. Once that helper's jobs have expired, those that
//! need the same are refused at once; so is everything, where no helper is left.
//!
//! It is pure: time is passed in, and whoever drives it says when a helper comes for more and when
//! it gets on. The lanes do that with threads, and the simulator without.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::{Duration, Instant},
};

use ferry_wire::Name;
use mio::Token;

use crate::store::{Change, Handles, NameOperation, Touch};

/// The things that a job needs for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope<'a> {
    /// None.
    Nothing,
    /// A file or directory that is read. Many may read it, until a helper is stuck with it.
    Read(&'a str),
    /// A file that is staged, by the number of the upload.
    Upload(usize),
    /// Names that are changed, and with them the directories that they lie in.
    Names {
        /// They.
        names: [Option<&'a Name>; 2],
        /// Whether an entry moves from one directory to another. The kernel moves one at a time in
        /// a whole file system.
        moves: bool,
    },
}

impl<'a> Scope<'a> {
    /// Returns that of an operation on names, given the names that uploads are to have.
    pub fn of_names<H: Handles>(
        operation: &'a NameOperation<H>,
        name_of: impl FnOnce(&'a H::Upload) -> &'a Name,
    ) -> Scope<'a> {
        let (names, moves) = match operation {
            NameOperation::Publish(_, upload, _) => ([Some(name_of(upload)), None], true),
            NameOperation::Change(_, Change::Rename(from, to)) => ([Some(from), Some(to)], true),
            NameOperation::Change(
                _,
                Change::Mkdir(name)
                | Change::MkdirWith(name, _)
                | Change::Delete(name)
                | Change::DeleteVersion(name, _)
                | Change::Touch(Touch { name, .. }),
            ) => ([Some(name), None], false),
        };
        Scope::Names { names, moves }
    }
}

/// A job, as far as it matters who does it.
pub trait Duty: Sized {
    /// Whoever waits for it.
    type Waiter;

    /// Returns the connection whose it is.
    fn token(&self) -> Token;

    /// Returns what it needs for itself.
    fn scope(&self) -> Scope<'_>;

    /// Takes whoever waits for it.
    fn take_waiter(&mut self) -> Option<Self::Waiter>;

    /// Returns the part of it that must be done though nobody waits any more.
    fn remainder(self) -> Option<Self>;
}

/// See the [module documentation](self).
#[derive(Debug)]
pub struct Roster<J: Duty> {
    queue: Fair<J>,
    away: Vec<Away<J::Waiter>>,
    next_number: u64,
    /// Helpers that are there, in all.
    helpers: usize,
    /// How many there are to be, and how many may take the places of others.
    wanted: usize,
    spares: usize,
    /// When a helper is written off for whom jobs wait; [`None`] for no sooner than its jobs expire.
    patience: Option<Duration>,
    expired: u64,
}

/// A helper that is away with jobs.
#[derive(Debug)]
struct Away<W> {
    number: u64,
    began: Instant,
    /// When it last made progress.
    since: Instant,
    /// So many more may be done together with those that it has.
    more: usize,
    needs: Needs,
    tokens: Vec<Token>,
    written_off: bool,
    /// Nobody waits for it any more.
    unwanted: bool,
    /// Whoever waits for its jobs, in their order; nobody once they have expired.
    waiters: Vec<W>,
    expired: bool,
}

/// The things that the jobs of a helper need for themselves.
#[derive(Debug)]
enum Needs {
    Nothing,
    Read(Box<str>),
    Upload(usize),
    /// With whether any of them moves.
    Names(Vec<Name>, bool),
    /// Of a helper that was written off.
    Stuck(Stuck),
}

/// The names that a helper is stuck with, to be looked up quickly.
#[derive(Debug, Default)]
struct Stuck {
    names: HashSet<String>,
    /// Directories that these names lie in, directly and at any depth.
    parents: HashSet<String>,
    above: HashSet<String>,
    moves: bool,
    tokens: HashSet<Token>,
}

impl Stuck {
    fn new(names: &[Name], moves: bool, tokens: &[Token]) -> Stuck {
        let mut stuck = Stuck { moves, tokens: tokens.iter().copied().collect(), ..Stuck::default() };
        for name in names {
            stuck.names.insert(name.as_str().to_owned());
            stuck.parents.insert(name.parent().unwrap_or("").to_owned());
            stuck.above.extend(above(name.as_str()).map(str::to_owned));
        }
        stuck
    }

    /// Returns whether a change of `name` would wait for the helper, or pass it by.
    fn concerns(&self, name: &Name) -> bool {
        self.parents.contains(name.parent().unwrap_or(""))
            || self.above.contains(name.as_str())
            || self.names.contains(name.as_str())
            || above(name.as_str()).any(|directory| self.names.contains(directory))
    }
}

/// Returns the directories that `name` lies in, but for the root.
fn above(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('/').map(|(at, _)| &name[..at])
}

impl Needs {
    fn of(scope: Scope<'_>) -> Needs {
        match scope {
            Scope::Nothing => Needs::Nothing,
            Scope::Read(subject) => Needs::Read(subject.into()),
            Scope::Upload(number) => Needs::Upload(number),
            Scope::Names { names, moves } => Needs::Names(names.into_iter().flatten().cloned().collect(), moves),
        }
    }

    fn add(&mut self, scope: Scope<'_>) {
        if let (Needs::Names(known, moved), Scope::Names { names, moves }) = (self, scope) {
            known.extend(names.into_iter().flatten().cloned());
            *moved |= moves;
        }
    }
}

impl<W> Away<W> {
    fn write_off(&mut self) {
        self.written_off = true;
        if let Needs::Names(names, moves) = &self.needs {
            self.needs = Needs::Stuck(Stuck::new(names, *moves, &self.tokens));
        }
    }

    /// Returns whether a job with this scope would wait for this helper, or pass it by.
    fn is_in_the_way(&self, scope: Scope<'_>) -> bool {
        match (&self.needs, scope) {
            (Needs::Read(subject), Scope::Read(wanted)) => self.written_off && **subject == *wanted,
            (Needs::Upload(number), Scope::Upload(wanted)) => *number == wanted,
            (Needs::Stuck(stuck), Scope::Names { names, moves }) => {
                moves && stuck.moves || names.into_iter().flatten().any(|name| stuck.concerns(name))
            }
            // A lane of changes has one helper that is not written off.
            _ => false,
        }
    }

    /// Returns whether what `token` asks for must not be done before what this helper is stuck with
    /// has come to an end.
    fn is_before(&self, token: Token) -> bool {
        !self.expired && matches!(&self.needs, Needs::Stuck(stuck) if stuck.tokens.contains(&token))
    }
}

/// The outcome of a look at the helpers of a lane.
#[derive(Debug)]
pub struct Look<W> {
    /// So many helpers are to be started.
    pub missing: usize,
    /// There may be something to see later.
    pub again: bool,
    /// Whoever waits for jobs that have expired: they were begun.
    pub expired: Vec<W>,
    /// Whoever waits for jobs that are refused: they were not begun.
    pub refused: Vec<W>,
}

/// A helper that came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Back {
    /// How long it was away.
    pub after: Duration,
    /// Jobs may have waited for it.
    pub was_written_off: bool,
    /// It is one too many, and leaves.
    pub leaves: bool,
}

impl<J: Duty> Roster<J> {
    /// Returns the roster of a lane of `wanted` helpers, and up to `spares` that take the places of
    /// others. A helper for whom jobs wait is written off after `patience` without progress;
    /// [`None`] for no sooner than its jobs expire.
    #[must_use]
    pub fn new(wanted: usize, spares: usize, patience: Option<Duration>) -> Roster<J> {
        let (queue, away) = (Fair::default(), Vec::new());
        Roster { queue, away, next_number: 0, helpers: wanted, wanted, spares, patience, expired: 0 }
    }

    /// Adds a job. Returns whoever waits for it, where it is refused: it would wait for what does
    /// not answer.
    pub fn push(&mut self, job: J) -> Option<J::Waiter> {
        if self.is_hopeless(&job) {
            return self.refuse(job);
        }
        self.queue.push(job);
        None
    }

    fn refuse(&mut self, mut job: J) -> Option<J::Waiter> {
        let waiter = job.take_waiter();
        self.expired += u64::from(waiter.is_some());
        if let Some(rest) = job.remainder() {
            self.queue.push_apart(rest);
        }
        waiter
    }

    /// Takes a job for a helper that has none, and its number. The helper may take up to `most`
    /// that wait [together](Self::more).
    pub fn take(&mut self, most: usize, now: Instant) -> Option<(u64, J)> {
        let mut job = self.pop()?;
        let number = self.next_number;
        self.next_number += 1;
        self.away.push(Away {
            number,
            began: now,
            since: now,
            more: most.saturating_sub(1).min(self.queue.count),
            needs: Needs::of(job.scope()),
            tokens: vec![job.token()],
            written_off: false,
            unwanted: false,
            waiters: job.take_waiter().into_iter().collect(),
            expired: false,
        });
        Some((number, job))
    }

    /// Takes one more for a helper that does several together; it gets on by that. None, once it
    /// was written off.
    pub fn more(&mut self, number: u64, now: Instant) -> Option<J> {
        self.gets_on(number, now);
        let may = |away: &&Away<J::Waiter>| away.number == number && !away.written_off && away.more > 0;
        self.away.iter().find(may)?;
        let mut job = self.pop()?;
        if let Some(away) = self.away.iter_mut().find(|away| away.number == number) {
            away.more -= 1;
            away.needs.add(job.scope());
            away.tokens.push(job.token());
            away.waiters.extend(job.take_waiter());
        }
        Some(job)
    }

    /// Notes that a helper gets on. False where nobody waits for it any more.
    pub fn gets_on(&mut self, number: u64, now: Instant) -> bool {
        let away = self.away.iter_mut().find(|away| away.number == number);
        away.is_none_or(|away| {
            away.since = now;
            !away.unwanted
        })
    }

    /// Returns whoever waits for the jobs of a helper that has done them, in their order: nobody
    /// where they have expired.
    pub fn done(&mut self, number: u64) -> Vec<J::Waiter> {
        let away = self.away.iter_mut().find(|away| away.number == number);
        away.map(|away| std::mem::take(&mut away.waiters)).unwrap_or_default()
    }

    /// Notes that a helper came back; [`None`] where it was not away.
    pub fn back(&mut self, number: u64, now: Instant) -> Option<Back> {
        let index = self.away.iter().position(|away| away.number == number)?;
        let away = self.away.swap_remove(index);
        let leaves = self.helpers - self.written_off() > self.wanted;
        let after = now.saturating_duration_since(away.began);
        Some(Back { after, was_written_off: away.written_off, leaves })
    }

    /// Notes that a helper has left, or could not be started.
    pub fn left(&mut self) {
        assert!(self.helpers > 0, "a helper leaves that was not counted");
        self.helpers -= 1;
    }

    /// Writes off helpers without progress, has their jobs expire after `timeout`, and refuses
    /// what would wait for them.
    pub fn look(&mut self, now: Instant, timeout: Duration) -> Look<J::Waiter> {
        let (mut expired, mut refused) = (Vec::new(), Vec::new());
        let jobs_wait = self.queue.count > 0;
        let patience = self.patience.unwrap_or(timeout).min(timeout);
        for away in self.away.iter_mut().filter(|away| !away.expired) {
            let still = now.saturating_duration_since(away.since);
            if !away.written_off && (jobs_wait && still >= patience || still >= timeout) {
                away.write_off();
            }
            if still >= timeout {
                (away.unwanted, away.expired) = (true, true);
                expired.append(&mut away.waiters);
            }
        }
        self.expired += expired.len() as u64;
        if self.away.iter().any(|away| away.expired) {
            let mut queue = std::mem::take(&mut self.queue);
            let hopeless = queue.extract(|job| self.is_hopeless(job));
            self.queue = queue;
            refused.extend(hopeless.into_iter().filter_map(|job| self.refuse(job)));
        }
        let missing = self.wanted.saturating_sub(self.helpers - self.written_off());
        let missing = missing.min((self.wanted + self.spares).saturating_sub(self.helpers));
        self.helpers += missing;
        let again = self.queue.count > 0 || self.away.iter().any(|away| !away.expired);
        Look { missing, again, expired, refused }
    }

    /// Removes and returns the jobs of `token` that wait, and has those under way stopped where
    /// they can be.
    pub fn forget(&mut self, token: Token) -> VecDeque<J> {
        for away in self.away.iter_mut().filter(|away| away.tokens.contains(&token)) {
            away.unwanted = true;
        }
        self.queue.remove(token)
    }

    /// Drops all jobs that wait, and returns them.
    pub fn clear(&mut self) -> Vec<J> {
        self.queue.extract(|_| true)
    }

    fn pop(&mut self) -> Option<J> {
        let away = &self.away;
        let may = |job: &J| !away.iter().any(|away| away.is_before(job.token()) || away.is_in_the_way(job.scope()));
        self.queue.pop(may)
    }

    /// Returns whether a job would wait for a helper that nobody expects any more.
    fn is_hopeless(&self, job: &J) -> bool {
        let expired = || self.away.iter().filter(|away| away.expired);
        let is_jammed = self.helpers >= self.wanted + self.spares && expired().count() >= self.helpers;
        is_jammed || expired().any(|away| away.is_in_the_way(job.scope()))
    }

    /// Returns how many helpers are written off.
    #[must_use]
    pub fn written_off(&self) -> usize {
        self.away.iter().filter(|away| away.written_off).count()
    }

    /// Returns how many jobs wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.count
    }

    /// Returns how many helpers there are.
    #[must_use]
    pub fn helpers(&self) -> usize {
        self.helpers
    }

    /// Returns how many helpers are away.
    #[must_use]
    pub fn away(&self) -> usize {
        self.away.len()
    }

    /// Returns how many jobs have expired or were refused so far.
    #[must_use]
    pub fn expired(&self) -> u64 {
        self.expired
    }
}

/// Jobs by connection.
#[derive(Debug)]
struct Fair<J> {
    turns: VecDeque<Turn>,
    jobs: HashMap<Turn, VecDeque<J>>,
    /// How many there are.
    count: usize,
    next_apart: u64,
}

/// Jobs that are done in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Turn {
    /// Those of a connection.
    Of(Token),
    /// One that nobody waits for, by a number of its own.
    Apart(u64),
}

impl<J> Default for Fair<J> {
    fn default() -> Self {
        Fair { turns: VecDeque::new(), jobs: HashMap::new(), count: 0, next_apart: 0 }
    }
}

impl<J: Duty> Fair<J> {
    fn push(&mut self, job: J) {
        self.push_to(Turn::Of(job.token()), job);
    }

    /// Adds a job that waits for no other one, and that no other one waits for.
    fn push_apart(&mut self, job: J) {
        self.push_to(Turn::Apart(self.next_apart), job);
        self.next_apart += 1;
    }

    fn push_to(&mut self, turn: Turn, job: J) {
        let jobs = self.jobs.entry(turn).or_default();
        if jobs.is_empty() {
            self.turns.push_back(turn);
        }
        jobs.push_back(job);
        self.count += 1;
    }

    /// Returns the next job that `may` be done.
    fn pop(&mut self, may: impl Fn(&J) -> bool) -> Option<J> {
        for _ in 0..self.turns.len() {
            let turn = self.turns.pop_front()?;
            let jobs = self.jobs.get_mut(&turn)?;
            let job = if jobs.front().is_some_and(&may) { jobs.pop_front() } else { None };
            if jobs.is_empty() {
                self.jobs.remove(&turn);
            } else {
                self.turns.push_back(turn);
            }
            if job.is_some() {
                self.count -= 1;
                return job;
            }
        }
        None
    }

    /// Removes and returns the jobs that are `wanted`.
    fn extract(&mut self, wanted: impl Fn(&J) -> bool) -> Vec<J> {
        let mut extracted = Vec::new();
        for jobs in self.jobs.values_mut() {
            let (some, others) = std::mem::take(jobs).into_iter().partition(&wanted);
            *jobs = others;
            extracted.extend::<VecDeque<_>>(some);
        }
        self.jobs.retain(|_, jobs| !jobs.is_empty());
        self.turns.retain(|turn| self.jobs.contains_key(turn));
        self.count -= extracted.len();
        extracted
    }

    fn remove(&mut self, token: Token) -> VecDeque<J> {
        let jobs = self.jobs.remove(&Turn::Of(token)).unwrap_or_default();
        if !jobs.is_empty() {
            self.turns.retain(|turn| *turn != Turn::Of(token));
            self.count -= jobs.len();
        }
        jobs
    }
}

#[cfg(test)]
mod tests;
