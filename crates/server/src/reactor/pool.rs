//! The helpers: a few threads that wait for the disk so that the loop does not.
//!
//! Each kind of work has its lane, so that what must be quick never queues behind what is slow. A
//! lane is first in, first out; since a connection has at most one read and two writes under way,
//! and each is bounded in size, that is fair between connections.

use std::{
    collections::VecDeque,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use ferry_wire::{Code, Failure};
use mio::{Token, Waker};

use crate::{
    session::{Errand, Outcome, Work},
    store::{Disk, SCRATCH_BYTES, Store},
    sys,
};

/// A piece of work and whose it is.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) token: Token,
    pub(super) errand: Errand,
    pub(super) work: Work<Disk>,
}

/// A piece of work that has ended.
#[derive(Debug)]
pub(super) struct Completion {
    pub(super) token: Token,
    pub(super) errand: Errand,
    pub(super) outcome: Outcome<'static, Disk>,
}

/// The lanes and the number of threads of each: enough for a disk to have something to choose from,
/// few enough to cost nothing while they sleep.
const LANES: [(LaneKind, &str, usize); 5] = [
    (LaneKind::Read, "ferry-read", 4),
    (LaneKind::Write, "ferry-write", 2),
    (LaneKind::Sync, "ferry-sync", 4),
    // One, so that those which come while it waits for the disk wait together the next time.
    (LaneKind::Small, "ferry-small", 1),
    // One, so that changes of the tree are made in the order in which they were asked for.
    (LaneKind::Names, "ferry-names", 1),
];

/// How many changes of the tree may share their fsyncs. Each may hold two directories meanwhile.
const BATCH_CHANGES: usize = 1024;

/// How many small uploads may share a wait for the disk. Each holds a descriptor meanwhile.
const BATCH_UPLOADS: usize = 128;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LaneKind {
    Read,
    Write,
    Sync,
    Small,
    Names,
}

fn lane_of(work: &Work<Disk>) -> LaneKind {
    match work {
        Work::Open { .. }
        | Work::Load { .. }
        | Work::Check { .. }
        | Work::Stat { .. }
        | Work::List { .. }
        | Work::ListMore { .. }
        | Work::Stage { .. } => LaneKind::Read,
        Work::Write { .. } | Work::Discard { .. } => LaneKind::Write,
        Work::Finish { .. } if Store::is_small(work) => LaneKind::Small,
        Work::Finish { .. } | Work::Checkpoint { .. } | Work::Keep { .. } | Work::Resume { .. } => LaneKind::Sync,
        Work::Publish { .. } | Work::Change(_) => LaneKind::Names,
    }
}

#[derive(Debug, Default)]
struct Lane {
    queue: Mutex<Queue>,
    filled: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    jobs: VecDeque<Job>,
    give_memory_back: bool,
    ended: bool,
}

/// What a helper does next.
enum Task {
    Jobs(Vec<Job>),
    GiveMemoryBack,
}

impl Lane {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for work, and takes up to `most`; [`None`] once the pool has ended.
    fn take(&self, most: usize) -> Option<Task> {
        let mut queue = self.lock();
        loop {
            if !queue.jobs.is_empty() {
                let count = most.min(queue.jobs.len());
                return Some(Task::Jobs(queue.jobs.drain(..count).collect()));
            }
            if std::mem::take(&mut queue.give_memory_back) {
                return Some(Task::GiveMemoryBack);
            }
            if queue.ended {
                return None;
            }
            queue = self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Completions on their way to the loop. The first one wakes it.
#[derive(Debug)]
struct Completions {
    ended: Mutex<Vec<Completion>>,
    waker: Arc<Waker>,
}

impl Completions {
    fn push(&self, completions: impl IntoIterator<Item = Completion>) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let wake = ended.is_empty();
        ended.extend(completions);
        let wake = wake && !ended.is_empty();
        drop(ended);
        if wake && let Err(error) = self.waker.wake() {
            log::error!("can't wake the loop: {error}");
        }
    }
}

/// See the [module documentation](self). Dropping it ends the helpers, once their queues are empty.
#[derive(Debug)]
pub(super) struct Pool {
    lanes: Vec<Arc<Lane>>,
    completions: Arc<Completions>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Starts the helpers; `waker` is woken when [`completions`](Self::completions) has something. At most
    /// `together` uploads or changes share their waits for the disk.
    pub(super) fn start(store: &Arc<Store>, waker: Arc<Waker>, together: usize) -> io::Result<Pool> {
        let completions = Arc::new(Completions { ended: Mutex::default(), waker });
        let mut pool = Pool { lanes: Vec::new(), completions: completions.clone(), threads: Vec::new() };
        for (kind, name, threads) in LANES {
            let lane = Arc::new(Lane::default());
            pool.lanes.push(lane.clone());
            for _ in 0..threads {
                let (lane, store, completions) = (lane.clone(), store.clone(), completions.clone());
                let help = move || help(kind, together, &lane, &store, &completions);
                pool.threads.push(thread::Builder::new().name(name.into()).spawn(help)?);
            }
        }
        Ok(pool)
    }

    /// Hands a piece of work to its lane.
    pub(super) fn submit(&self, job: Job) {
        self.change(lane_of(&job.work), |queue| queue.jobs.push_back(job));
    }

    /// Has memory that was freed given back to the system, when there is nothing else to do.
    pub(super) fn give_memory_back(&self) {
        self.change(LaneKind::Read, |queue| queue.give_memory_back = true);
    }

    fn change(&self, kind: LaneKind, change: impl FnOnce(&mut Queue)) {
        let Some(index) = LANES.iter().position(|(lane, ..)| *lane == kind) else { return };
        change(&mut self.lanes[index].lock());
        self.lanes[index].filled.notify_one();
    }

    /// Takes what has ended since.
    pub(super) fn completions(&self) -> Vec<Completion> {
        std::mem::take(&mut *self.completions.ended.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for lane in &self.lanes {
            lane.lock().ended = true;
            lane.filled.notify_all();
        }
        for thread in self.threads.drain(..) {
            // A helper's panic was told when it happened.
            let _ = thread.join();
        }
    }
}

fn help(kind: LaneKind, together: usize, lane: &Lane, store: &Store, completions: &Completions) {
    let mut scratch = Vec::new();
    let most = match kind {
        LaneKind::Names => together.min(BATCH_CHANGES),
        LaneKind::Small => together.min(BATCH_UPLOADS),
        LaneKind::Read | LaneKind::Write | LaneKind::Sync => 1,
    };
    while let Some(task) = lane.take(most) {
        let jobs = match task {
            Task::Jobs(jobs) => jobs,
            Task::GiveMemoryBack => {
                sys::give_memory_back();
                continue;
            }
        };
        if kind == LaneKind::Read {
            scratch.resize(SCRATCH_BYTES, 0);
        }
        let whose: Vec<_> = jobs.iter().map(|job| (job.token, job.errand)).collect();
        let works = jobs.into_iter().map(|job| job.work).collect();
        // A mistake of ours in one piece of work must not leave its client waiting for ever.
        let outcomes = catch_unwind(AssertUnwindSafe(|| match kind {
            LaneKind::Names => store.run_changes(works),
            LaneKind::Small => store.finish_small(works),
            _ => works.into_iter().map(|work| store.run(work, &mut scratch)).collect(),
        }));
        let mut outcomes = outcomes.unwrap_or_default().into_iter();
        completions.push(whose.into_iter().map(|(token, errand)| {
            let outcome = outcomes
                .next()
                .unwrap_or_else(|| Err(Failure::new(Code::Io, "the server made a mistake; its log says which")));
            Completion { token, errand, outcome }
        }));
    }
}
