//! A queue of jobs, and the threads that do them.
//!
//! The queue is fair: one job of each connection in turn, those of one connection in their order. A
//! thread that makes no progress for too long is written off: another one takes its place, up to a
//! bound, and it ends when it comes back. Jobs for the file that it is stuck with wait for it, so
//! that a file costs no more threads than had begun with it, however many jobs need it.
//!
//! A job that reads expires where its thread makes no progress for the job timeout: whoever waits
//! for it is answered, and nobody takes the result that comes late. Until the thread is back, what
//! would wait for it is refused at once: jobs for the same file, and all jobs that read where no
//! thread is left.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use mio::Token;

use super::job::{Helped, Job, Waiting};
use crate::observe::{Histogram, LaneFigures};

/// The time without progress after which a thread is written off. A disk answers sooner, except a
/// very busy one, where one more thread does no harm.
pub(super) const WRITTEN_OFF_AFTER: Duration = Duration::from_secs(1);

/// See the [module documentation](self).
#[derive(Debug)]
pub(super) struct Lane<O> {
    state: Mutex<State<O>>,
    filled: Condvar,
    left: Condvar,
    /// Threads that are there, and those that may take the places of others.
    threads: usize,
    spares: usize,
}

#[derive(Debug)]
struct State<O> {
    queue: Fair<O>,
    at_work: Vec<AtWork>,
    next_number: u64,
    idle: usize,
    threads: usize,
    give_memory_back: bool,
    ended: bool,
    /// The times of tasks that have ended.
    tasks: Histogram,
    /// How many jobs have expired, or were refused since they would have.
    expired: u64,
}

/// A thread that is away with jobs.
#[derive(Debug)]
struct AtWork {
    number: u64,
    began: Instant,
    /// When it last made progress.
    since: Instant,
    token: Token,
    /// The file that is read.
    subject: Option<Box<str>>,
    written_off: bool,
    /// Nobody waits for it any more.
    unwanted: bool,
    /// Whoever waits for its jobs, in their order; nobody once they have expired.
    waiting: Vec<Waiting>,
    expired: bool,
}

impl AtWork {
    /// Changes that began can't be taken back, so only reads expire.
    fn may_expire(&self) -> bool {
        self.subject.is_some() && !self.expired
    }
}

/// The outcome of a look at the threads of a lane.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// So many threads are to be started.
    pub(super) missing: usize,
    /// There may be something to see later.
    pub(super) again: bool,
    /// Whoever waits for jobs that have expired.
    pub(super) expired: Vec<Waiting>,
}

/// The next task of a thread.
pub(super) enum Task<O> {
    /// These, and then to say the number when it comes for more.
    Jobs(u64, Vec<O>),
    GiveMemoryBack,
}

/// Jobs by connection.
#[derive(Debug)]
struct Fair<O> {
    turns: VecDeque<Token>,
    jobs: HashMap<Token, VecDeque<Job<O>>>,
    /// How many there are.
    count: usize,
}

impl<O> Default for Fair<O> {
    fn default() -> Self {
        Fair { turns: VecDeque::new(), jobs: HashMap::new(), count: 0 }
    }
}

impl<O> Fair<O> {
    fn push(&mut self, job: Job<O>) {
        let token = job.token;
        let jobs = self.jobs.entry(token).or_default();
        if jobs.is_empty() {
            self.turns.push_back(token);
        }
        jobs.push_back(job);
        self.count += 1;
    }

    /// Returns the next job that `may` be done.
    fn pop(&mut self, may: impl Fn(&Job<O>) -> bool) -> Option<Job<O>> {
        for _ in 0..self.turns.len() {
            let token = self.turns.pop_front()?;
            let jobs = self.jobs.get_mut(&token)?;
            let job = if jobs.front().is_some_and(&may) { jobs.pop_front() } else { None };
            if jobs.is_empty() {
                self.jobs.remove(&token);
            } else {
                self.turns.push_back(token);
            }
            if job.is_some() {
                self.count -= 1;
                return job;
            }
        }
        None
    }

    /// Removes and returns the jobs that are `wanted`.
    fn extract(&mut self, wanted: impl Fn(&Job<O>) -> bool) -> Vec<Job<O>> {
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

    fn remove(&mut self, token: Token) -> VecDeque<Job<O>> {
        let jobs = self.jobs.remove(&token).unwrap_or_default();
        if !jobs.is_empty() {
            self.turns.retain(|turn| *turn != token);
            self.count -= jobs.len();
        }
        jobs
    }
}

impl<O> State<O> {
    fn new(threads: usize) -> State<O> {
        let (queue, at_work) = (Fair::default(), Vec::new());
        let tasks = Histogram::default();
        State {
            queue,
            at_work,
            next_number: 0,
            idle: 0,
            threads,
            give_memory_back: false,
            ended: false,
            tasks,
            expired: 0,
        }
    }

    fn pop(&mut self) -> Option<Job<O>>
    where
        O: Helped,
    {
        let at_work = &self.at_work;
        let is_stuck =
            |subject: &str| at_work.iter().any(|away| away.written_off && away.subject.as_deref() == Some(subject));
        self.queue.pop(|job| job.operation.subject().is_none_or(|subject| !is_stuck(subject)))
    }

    /// Returns whether a job would wait for a thread that nobody expects any more, where up to `most` may be there.
    fn is_hopeless(&self, job: &Job<O>, most: usize) -> bool
    where
        O: Helped,
    {
        let Some(subject) = job.operation.subject() else { return false };
        let mut expired = self.at_work.iter().filter(|away| away.expired);
        let is_jammed = self.threads >= most && expired.clone().count() >= self.threads;
        is_jammed || expired.any(|away| away.subject.as_deref() == Some(subject))
    }

    fn written_off(&self) -> usize {
        self.at_work.iter().filter(|away| away.written_off).count()
    }
}

impl<O: Helped> Lane<O> {
    /// Returns a lane for `threads` threads, each to be started by the caller, and up to `spares`
    /// that take the places of others.
    pub(super) fn new(threads: usize, spares: usize) -> Lane<O> {
        let state = Mutex::new(State::new(threads));
        Lane { state, filled: Condvar::new(), left: Condvar::new(), threads, spares }
    }

    fn lock(&self) -> MutexGuard<'_, State<O>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a job. Returns whoever waits for it, where it would wait for what does not answer.
    pub(super) fn push(&self, job: Job<O>) -> Option<Waiting> {
        let mut state = self.lock();
        if state.is_hopeless(&job, self.threads + self.spares) {
            state.expired += 1;
            return Some(Waiting::of(&job));
        }
        state.queue.push(job);
        drop(state);
        self.filled.notify_one();
        None
    }

    /// Returns how many threads belong to it.
    pub(super) fn threads(&self) -> usize {
        self.threads
    }

    /// Returns its figures, under `name`.
    pub(super) fn figures(&self, name: &'static str) -> LaneFigures {
        let state = self.lock();
        LaneFigures {
            name,
            waiting: state.queue.count as u64,
            helpers: state.threads as u64,
            busy: state.at_work.len() as u64,
            written_off: state.written_off() as u64,
            expired: state.expired,
            tasks: state.tasks.clone(),
        }
    }

    pub(super) fn give_memory_back(&self) {
        self.lock().give_memory_back = true;
        self.filled.notify_one();
    }

    /// Waits for the next task of a thread, of up to `most` jobs, and returns it. `done` is the
    /// number of its last task. Returns [`None`] where the thread is to end.
    pub(super) fn take(&self, done: Option<u64>, most: usize) -> Option<Task<O>> {
        let mut state = self.lock();
        if let Some(index) = state.at_work.iter().position(|away| Some(away.number) == done) {
            let back = state.at_work.swap_remove(index);
            state.tasks.note(back.began.elapsed());
            if back.written_off {
                // Jobs that waited for it can go on.
                self.filled.notify_all();
            }
            if state.threads - state.written_off() > self.threads {
                return self.leave(state);
            }
        }
        loop {
            if let Some(first) = state.pop() {
                let number = state.next_number;
                state.next_number += 1;
                let (token, subject) = (first.token, first.operation.subject().map(Into::into));
                let began = Instant::now();
                let (mut waiting, mut operations) = (vec![Waiting::of(&first)], vec![first.operation]);
                while operations.len() < most
                    && let Some(job) = state.pop()
                {
                    waiting.push(Waiting::of(&job));
                    operations.push(job.operation);
                }
                state.at_work.push(AtWork {
                    number,
                    began,
                    since: began,
                    token,
                    subject,
                    written_off: false,
                    unwanted: false,
                    waiting,
                    expired: false,
                });
                return Some(Task::Jobs(number, operations));
            }
            if std::mem::take(&mut state.give_memory_back) {
                return Some(Task::GiveMemoryBack);
            }
            if state.ended {
                return self.leave(state);
            }
            state.idle += 1;
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    fn leave(&self, mut state: MutexGuard<'_, State<O>>) -> Option<Task<O>> {
        assert!(state.threads > 0, "a thread leaves that was not counted");
        state.threads -= 1;
        self.left.notify_all();
        None
    }

    /// Returns the work with this number gets on; false where nobody waits for it any more.
    pub(super) fn gets_on(&self, number: u64) -> bool {
        let mut state = self.lock();
        let away = state.at_work.iter_mut().find(|away| away.number == number);
        away.is_none_or(|away| {
            away.since = Instant::now();
            !away.unwanted
        })
    }

    /// Returns whoever waits for the jobs with this number: nobody where they have expired.
    pub(super) fn waiting(&self, number: u64) -> Vec<Waiting> {
        let mut state = self.lock();
        let away = state.at_work.iter_mut().find(|away| away.number == number);
        away.map(|away| std::mem::take(&mut away.waiting)).unwrap_or_default()
    }

    /// Removes and returns the jobs of `token` that wait, and has those under way stopped where they can be.
    pub(super) fn forget(&self, token: Token) -> VecDeque<Job<O>> {
        let mut state = self.lock();
        for away in state.at_work.iter_mut().filter(|away| away.token == token) {
            away.unwanted = true;
        }
        state.queue.remove(token)
    }

    /// Writes off threads without progress: after a while where jobs wait, else once what they do has expired, `timeout`
    /// after their last progress.
    pub(super) fn look(&self, now: Instant, timeout: Duration) -> Look {
        let mut state = self.lock();
        let (mut look, jobs_wait) = (Look::default(), state.queue.count > 0);
        for away in &mut state.at_work {
            let still = now.saturating_duration_since(away.since);
            away.written_off |= jobs_wait && still >= WRITTEN_OFF_AFTER.min(timeout);
            if away.may_expire() && still >= timeout {
                (away.written_off, away.unwanted, away.expired) = (true, true, true);
                look.expired.append(&mut away.waiting);
            }
        }
        let most = self.threads + self.spares;
        if state.at_work.iter().any(|away| away.expired) {
            let mut queue = std::mem::take(&mut state.queue);
            let hopeless = queue.extract(|job| state.is_hopeless(job, most));
            state.queue = queue;
            look.expired.extend(hopeless.iter().map(Waiting::of));
        }
        state.expired += look.expired.len() as u64;
        let missing = self.threads.saturating_sub(state.threads - state.written_off());
        look.missing = missing.min(most.saturating_sub(state.threads));
        state.threads += look.missing;
        look.again = state.queue.count > 0 || state.at_work.iter().any(AtWork::may_expire);
        look
    }

    /// Notes that a thread could not be started after all.
    pub(super) fn is_short_of_one(&self) {
        self.lock().threads -= 1;
    }

    /// Ends the threads once the queue is empty; where it `is_cut`, the queue is dropped.
    pub(super) fn end(&self, is_cut: bool) {
        let mut state = self.lock();
        state.ended = true;
        let dropped = if is_cut { std::mem::take(&mut state.queue) } else { Fair::default() };
        drop(state);
        self.filled.notify_all();
        drop(dropped);
    }

    /// Waits until the threads have ended, but for those that are written off.
    pub(super) fn join(&self) {
        let mut state = self.lock();
        while state.threads > state.written_off() {
            state = self.left.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use ferry_wire::Name;

    use super::*;
    use crate::{runtime::job::Single, store::ReadOperation};

    fn job(token: usize, name: &str) -> Job<Single> {
        let operation = Single::Read(ReadOperation::Stat { name: Name::new(name).unwrap() });
        Job { token: Token(token), operation, lease: None }
    }

    const TIMEOUT: Duration = Duration::from_secs(30);

    /// Returns what a thread gets that comes for more.
    fn taken(lane: &Lane<Single>, done: Option<u64>, most: usize) -> (u64, Vec<(usize, String)>) {
        let Some(Task::Jobs(number, operations)) = lane.take(done, most) else { panic!("no jobs") };
        let subjects = operations.iter().map(|operation| operation.subject().unwrap().to_owned());
        let mut tokens = Vec::new();
        for waiting in &lane.lock().at_work.iter().find(|away| away.number == number).unwrap().waiting {
            tokens.push(waiting.token().0);
        }
        (number, tokens.into_iter().zip(subjects).collect())
    }

    #[test]
    fn connections_are_served_in_turn() {
        let lane = Lane::new(1, 0);
        for (token, name) in [(1, "a"), (1, "b"), (1, "c"), (2, "d"), (3, "e"), (2, "f")] {
            assert!(lane.push(job(token, name)).is_none());
        }
        let (number, first) = taken(&lane, None, 1);
        assert_eq!(first, [(1, "a".to_owned())]);
        let order = [(2, "d"), (3, "e"), (1, "b"), (2, "f"), (1, "c")].map(|(token, name)| (token, name.to_owned()));
        assert_eq!(taken(&lane, Some(number), 9).1, order);
    }

    #[test]
    fn what_is_forgotten_is_not_done() {
        let lane = Lane::new(1, 0);
        for (token, name) in [(1, "a"), (2, "b"), (1, "c")] {
            assert!(lane.push(job(token, name)).is_none());
        }
        let (number, _) = taken(&lane, None, 1);
        assert!(lane.gets_on(number));
        assert_eq!(lane.forget(Token(1)).len(), 1, "one is under way");
        assert!(!lane.gets_on(number), "nobody waits for it");
        assert_eq!(taken(&lane, Some(number), 9).1, [(2, "b".to_owned())]);
        assert_eq!(lane.lock().queue.count, 0);
    }

    #[test]
    fn a_thread_that_comes_back_late_is_one_too_many() {
        let lane = Lane::new(1, 1);
        for (token, name) in [(1, "stuck"), (2, "stuck"), (3, "b")] {
            assert!(lane.push(job(token, name)).is_none());
        }
        let (late, _) = taken(&lane, None, 1);
        let missing = |now| lane.look(now, TIMEOUT).missing;
        assert_eq!(missing(Instant::now()), 0, "it may come back yet");
        let now = Instant::now() + WRITTEN_OFF_AFTER;
        assert_eq!(missing(now), 1);
        assert_eq!(missing(now), 0, "there is one that can work");
        let (number, jobs) = taken(&lane, None, 9);
        assert_eq!(jobs, [(3, "b".to_owned())], "what is asked of a stuck file waits");
        assert!(lane.take(Some(late), 1).is_none(), "it ends");
        assert_eq!(taken(&lane, Some(number), 1).1, [(2, "stuck".to_owned())]);
        assert_eq!(missing(now), 0);
        lane.waiting(number);
    }

    #[test]
    fn jobs_that_are_not_answered_expire_and_what_would_wait_for_them_is_refused() {
        let lane = Lane::new(1, 1);
        for (token, name) in [(1, "stuck"), (2, "stuck"), (3, "too")] {
            assert!(lane.push(job(token, name)).is_none());
        }
        let tokens = |look: &Look| look.expired.iter().map(|waiting| waiting.token().0).collect::<Vec<_>>();
        let (late, _) = taken(&lane, None, 1);
        let look = lane.look(Instant::now(), TIMEOUT);
        assert!(look.expired.is_empty() && look.again);
        let look = lane.look(Instant::now() + TIMEOUT, TIMEOUT);
        assert_eq!((tokens(&look), look.missing), (vec![1, 2], 1), "whoever waits for the same file as well");
        assert!(lane.push(job(4, "stuck")).is_some(), "at once");
        // The other one gets stuck too: none is left.
        let (number, jobs) = taken(&lane, None, 1);
        assert_eq!(jobs, [(3, "too".to_owned())]);
        assert!(lane.push(job(5, "fine")).is_none(), "it may come back yet");
        let look = lane.look(Instant::now() + TIMEOUT, TIMEOUT);
        assert_eq!((tokens(&look), look.missing, look.again), (vec![3, 5], 0, false));
        assert!(lane.push(job(6, "fine")).is_some());
        assert_eq!(lane.figures("look").expired, 6);
        // Late: nobody waits, and all goes on.
        assert!(!lane.gets_on(late) && lane.waiting(late).is_empty() && lane.waiting(number).is_empty());
        assert!(lane.push(job(6, "fine")).is_some());
        let left = std::thread::scope(|scope| {
            let back = scope.spawn(|| lane.take(Some(late), 1).is_some());
            while lane.push(job(7, "stuck")).is_some() {
                std::thread::yield_now();
            }
            back.join().unwrap()
        });
        assert!(left, "there are no more than there are to be, so it stays");
    }
}
