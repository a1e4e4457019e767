//! A queue of jobs, and the threads that do them, as their [roster](super::roster) says.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use mio::Token;

use super::{
    job::{Assigned, Helped, Job, Waiting},
    roster::{Look, Roster},
};
use crate::{
    observe::{Histogram, LaneFigures},
    store::Shift,
};

/// See the [module documentation](self).
#[derive(Debug)]
pub(super) struct Lane<O: Helped> {
    state: Mutex<State<O>>,
    filled: Condvar,
    left: Condvar,
    threads: usize,
    /// The most jobs that are done together.
    most: usize,
}

#[derive(Debug)]
struct State<O: Helped> {
    roster: Roster<Assigned<O>>,
    give_memory_back: bool,
    ended: bool,
    /// The times of tasks that have ended.
    tasks: Histogram,
}

/// The next task of a thread.
pub(super) enum Task<O> {
    /// To begin with this job, and then to say the number when it comes for more.
    Job(u64, O),
    GiveMemoryBack,
}

impl<O: Helped> Lane<O> {
    /// Returns a lane for `threads` threads, each to be started by the caller, and up to `spares`
    /// that take the places of others, once there was no progress for `patience`. Each does up to
    /// `most` jobs together.
    pub(super) fn new(threads: usize, spares: usize, most: usize, patience: Option<Duration>) -> Lane<O> {
        let roster = Roster::new(threads, spares, patience);
        let state = State { roster, give_memory_back: false, ended: false, tasks: Histogram::default() };
        Lane { state: Mutex::new(state), filled: Condvar::new(), left: Condvar::new(), threads, most }
    }

    fn lock(&self) -> MutexGuard<'_, State<O>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a job. Returns whoever waits for it, where it would wait for what does not answer.
    pub(super) fn push(&self, job: Job<O>) -> Option<Waiting> {
        let refused = self.lock().roster.push(Assigned::new(job));
        self.filled.notify_one();
        refused
    }

    /// Returns how many threads belong to it.
    pub(super) fn threads(&self) -> usize {
        self.threads
    }

    /// Returns its figures, under `name`.
    pub(super) fn figures(&self, name: &'static str) -> LaneFigures {
        let State { roster, tasks, .. } = &*self.lock();
        LaneFigures {
            name,
            waiting: roster.waiting() as u64,
            helpers: roster.helpers() as u64,
            busy: roster.away() as u64,
            written_off: roster.written_off() as u64,
            expired: roster.expired(),
            tasks: tasks.clone(),
        }
    }

    pub(super) fn give_memory_back(&self) {
        self.lock().give_memory_back = true;
        self.filled.notify_one();
    }

    /// Waits for the next task of a thread, and returns it. `done` is the number of its last job.
    /// Returns [`None`] where the thread is to end.
    pub(super) fn take(&self, done: Option<u64>) -> Option<Task<O>> {
        let mut state = self.lock();
        if let Some(back) = done.and_then(|done| state.roster.back(done, Instant::now())) {
            state.tasks.note(back.after);
            if back.was_written_off {
                // Jobs that waited for it can go on.
                self.filled.notify_all();
            }
            if back.leaves {
                return self.leave(state);
            }
        }
        loop {
            if let Some((number, job)) = state.roster.take(self.most, Instant::now()) {
                return Some(Task::Job(number, job.into_operation()));
            }
            if std::mem::take(&mut state.give_memory_back) {
                return Some(Task::GiveMemoryBack);
            }
            if state.ended {
                return self.leave(state);
            }
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn leave(&self, mut state: MutexGuard<'_, State<O>>) -> Option<Task<O>> {
        state.roster.left();
        self.left.notify_all();
        None
    }

    /// Returns whoever waits for the jobs with this number: nobody where they have expired.
    pub(super) fn done(&self, number: u64) -> Vec<Waiting> {
        self.lock().roster.done(number)
    }

    /// Removes and returns whoever waits for jobs of `token`, and has those under way stopped where they can be.
    pub(super) fn forget(&self, token: Token) -> Vec<Waiting> {
        let jobs = self.lock().roster.forget(token);
        jobs.into_iter().filter_map(Assigned::into_waiting).collect()
    }

    /// Writes off threads that make no progress: see [`Roster::look`].
    pub(super) fn look(&self, now: Instant, timeout: Duration) -> Look<Waiting> {
        let look = self.lock().roster.look(now, timeout);
        if !look.expired.is_empty() {
            // Changes of their connections need not wait for them any more.
            self.filled.notify_all();
        }
        look
    }

    /// Notes that a thread could not be started after all.
    pub(super) fn is_short_of_one(&self) {
        self.lock().roster.left();
    }

    /// Ends the threads once the queue is empty; where it `is_cut`, the queue is dropped.
    pub(super) fn end(&self, is_cut: bool) {
        let mut state = self.lock();
        state.ended = true;
        let dropped = if is_cut { state.roster.clear() } else { Vec::new() };
        drop(state);
        self.filled.notify_all();
        drop(dropped);
    }

    /// Waits until the threads have ended, but for those that are written off. Returns how many
    /// these are.
    pub(super) fn join(&self) -> usize {
        let mut state = self.lock();
        while state.roster.helpers() > state.roster.written_off() {
            state = self.left.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.roster.helpers()
    }
}

/// The jobs that a thread does together.
#[derive(Debug)]
pub(super) struct Together<'a, O: Helped> {
    lane: &'a Lane<O>,
    number: u64,
    first: Option<O>,
}

impl<'a, O: Helped> Together<'a, O> {
    /// Begins with the job that was taken.
    pub(super) fn new(lane: &'a Lane<O>, number: u64, first: O) -> Together<'a, O> {
        Together { lane, number, first: Some(first) }
    }
}

impl<O: Helped> Shift<O> for Together<'_, O> {
    fn take_one(&mut self) -> Option<O> {
        let more = || self.lane.lock().roster.more(self.number, Instant::now()).map(Assigned::into_operation);
        self.first.take().or_else(more)
    }

    fn gets_on(&self) -> bool {
        self.lane.lock().roster.gets_on(self.number, Instant::now())
    }
}
