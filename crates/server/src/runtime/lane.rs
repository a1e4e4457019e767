//! A queue of jobs, and the threads that do them.
//!
//! The queue is fair: one job of each connection in turn, those of one connection in their order. A
//! thread that makes no progress for too long is written off: another one takes its place, up to a
//! bound, and it ends when it comes back. Jobs for the file that it is stuck with wait for it, so
//! that a file costs no more threads than had begun with it, however many jobs need it.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use mio::Token;

use super::job::{Helped, Job};
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
}

/// The next task of a thread.
pub(super) enum Task<O> {
    /// These, and then to say the number when it comes for more.
    Jobs(u64, Vec<Job<O>>),
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
        State { queue, at_work, next_number: 0, idle: 0, threads, give_memory_back: false, ended: false, tasks }
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

    /// Adds a job; false where no thread is free for it now.
    pub(super) fn push(&self, job: Job<O>) -> bool {
        let mut state = self.lock();
        state.queue.push(job);
        // A thread that sleeps may have been woken for those before it.
        let is_free = state.idle >= state.queue.count;
        drop(state);
        self.filled.notify_one();
        is_free
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
                let (began, written_off, unwanted) = (Instant::now(), false, false);
                state.at_work.push(AtWork { number, began, since: began, token, subject, written_off, unwanted });
                let mut jobs = vec![first];
                while jobs.len() < most
                    && let Some(job) = state.pop()
                {
                    jobs.push(job);
                }
                return Some(Task::Jobs(number, jobs));
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

    /// Removes and returns the jobs of `token` that wait, and has those under way stopped where they can be.
    pub(super) fn forget(&self, token: Token) -> VecDeque<Job<O>> {
        let mut state = self.lock();
        for away in state.at_work.iter_mut().filter(|away| away.token == token) {
            away.unwanted = true;
        }
        state.queue.remove(token)
    }

    /// Writes off threads without progress, if jobs wait. Returns how many threads are to be started in their
    /// places, and whether to look again.
    pub(super) fn look(&self, now: Instant) -> (usize, bool) {
        let mut state = self.lock();
        if state.queue.count == 0 {
            return (0, false);
        }
        for away in &mut state.at_work {
            away.written_off |= now.saturating_duration_since(away.since) >= WRITTEN_OFF_AFTER;
        }
        let missing = self.threads.saturating_sub(state.threads - state.written_off());
        let more = missing.min((self.threads + self.spares).saturating_sub(state.threads));
        state.threads += more;
        (more, true)
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

    /// Returns what a thread gets that comes for more.
    fn taken(lane: &Lane<Single>, done: Option<u64>, most: usize) -> (u64, Vec<(usize, String)>) {
        let Some(Task::Jobs(number, jobs)) = lane.take(done, most) else { panic!("no jobs") };
        let whose = |job: &Job<Single>| (job.token.0, job.operation.subject().unwrap().to_owned());
        (number, jobs.iter().map(whose).collect())
    }

    #[test]
    fn connections_are_served_in_turn() {
        let lane = Lane::new(1, 0);
        for (token, name) in [(1, "a"), (1, "b"), (1, "c"), (2, "d"), (3, "e"), (2, "f")] {
            assert!(!lane.push(job(token, name)), "no thread waits");
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
            lane.push(job(token, name));
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
            lane.push(job(token, name));
        }
        let (late, _) = taken(&lane, None, 1);
        assert_eq!(lane.look(Instant::now()), (0, true), "it may come back yet");
        let now = Instant::now() + WRITTEN_OFF_AFTER;
        assert_eq!(lane.look(now), (1, true));
        assert_eq!(lane.look(now), (0, true), "there is one that can work");
        let (number, jobs) = taken(&lane, None, 9);
        assert_eq!(jobs, [(3, "b".to_owned())], "what is asked of a stuck file waits");
        assert!(lane.take(Some(late), 1).is_none(), "it ends");
        assert_eq!(taken(&lane, Some(number), 1).1, [(2, "stuck".to_owned())]);
        assert_eq!(lane.look(now), (0, false), "nobody waits");
    }
}
