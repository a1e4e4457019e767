//! The helpers: a few threads that wait for the disk so that the loop does not.
//!
//! Each kind of operations has its lane ([`super::lane`]), so that quick ones never queue after
//! slow ones: lookups have a lane that no bulk read can fill. Reads that wait for a connection that
//! is gone are dropped. What the file system does not answer expires: clients are told, and results
//! that come late are let go right where they come.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use mio::{Token, Waker};
use rustix::process::nice;

use super::{
    job::{Ended, Helped, Job, Single, Waiting},
    lane::{Lane, Task, Together},
    losses::Losses,
    roster::Look,
};
use crate::{
    observe::LaneFigures,
    store::{
        Disk, ErrorKind, Form, NameOperation, Operation, ReadOperation, SCRATCH_BYTES, ServedStore, SmallFinish,
        StoreError, UploadNumber, UploadOperation,
    },
    sys,
};

/// The spare threads of a lane: so many files may be stuck, each with a thread, before others wait for them.
const SPARES: usize = 32;
const FEW_SPARES: usize = 8;

/// The time without progress after which a helper is written off for whom jobs wait. A disk answers
/// sooner, except a very busy one, where one more thread does no harm.
const WRITTEN_OFF_AFTER: Duration = Duration::from_secs(1);

/// So many times the job timeout a disk of this machine may take to store what is written: it may
/// have much to store for others. With the default that is the time after which Linux takes a
/// thread for hung.
const TO_STORE: u32 = 4;

/// Small uploads that wait for the disk at once, each by itself, where they can't wait together.
const SMALL_APART: usize = 4;

/// Helpers that hash. Two, so that a disk that is asked by one does not keep the processor from the other.
const HASHERS: usize = 2;

/// The niceness of those: on Linux, of the thread alone. A third of the share of others, so that they get on as well.
const GIVING_WAY: i32 = 5;

/// How many changes of the tree may share their fsyncs. Each may hold two directories meanwhile.
const BATCH_CHANGES: usize = 1024;

/// How many small uploads may share a wait for the disk. Each holds a descriptor meanwhile.
const BATCH_UPLOADS: usize = 128;

/// Completions on their way to the loop. The first one wakes it.
#[derive(Debug)]
struct Completions {
    ended: Mutex<Vec<Ended>>,
    waker: Arc<Waker>,
}

impl Completions {
    fn push(&self, completions: impl IntoIterator<Item = Ended>) {
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

/// A lane of any kind of operations, and how its threads go about them.
#[derive(Debug)]
struct Staffed<O: Helped> {
    name: &'static str,
    /// Its threads need memory to read to.
    reads: bool,
    /// So many times the job timeout a job may take.
    timeouts: u32,
    /// Its threads get the processor after all others that want it, the loop's above all.
    gives_way: bool,
    lane: Arc<Lane<O>>,
}

/// The part of a lane that does not depend on its kind of operations.
trait AnyLane: std::fmt::Debug + Send {
    fn name(&self) -> &'static str;
    fn start_thread(&self, kit: &Kit) -> io::Result<()>;
    fn look(&self, now: Instant, timeout: Duration) -> Look<Waiting>;
    fn figures(&self) -> LaneFigures;
    fn end(&self, is_cut: bool);
    fn join(&self) -> usize;
}

impl<O: Helped> AnyLane for Staffed<O> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn start_thread(&self, kit: &Kit) -> io::Result<()> {
        let (lane, kit, reads, gives_way) = (self.lane.clone(), kit.clone(), self.reads, self.gives_way);
        let started = thread::Builder::new().name(self.name.into()).spawn(move || {
            if gives_way && let Err(error) = nice(GIVING_WAY) {
                log::debug!("a thread keeps its priority: {error}");
            }
            help(&lane, &kit, reads);
        });
        if started.is_err() {
            self.lane.is_short_of_one();
        }
        started.map(drop)
    }

    fn look(&self, now: Instant, timeout: Duration) -> Look<Waiting> {
        self.lane.look(now, timeout.saturating_mul(self.timeouts))
    }

    fn figures(&self) -> LaneFigures {
        self.lane.figures(self.name.strip_prefix("ferry-").unwrap_or(self.name))
    }

    fn end(&self, is_cut: bool) {
        self.lane.end(is_cut);
    }

    fn join(&self) -> usize {
        self.lane.join()
    }
}

/// See the [module documentation](self).
#[derive(Debug)]
pub(super) struct Pool {
    /// Names, their status, and the bytes of small files.
    look: Arc<Lane<Single>>,
    /// Bulk reads.
    read: Arc<Lane<Single>>,
    /// Bulk reads that are hashed: of work for the processor, and the last to get it.
    hash: Arc<Lane<Single>>,
    write: Arc<Lane<Single>>,
    sync: Arc<Lane<Single>>,
    small: Arc<Lane<SmallFinish>>,
    names: Arc<Lane<NameOperation<Disk>>>,
    /// All of them.
    lanes: Vec<(Box<dyn AnyLane>, Losses)>,
    /// The things that a helper works with.
    kit: Kit,
    /// When to look for helpers that do not come back.
    look_at: Option<Instant>,
    /// How long a job may go without progress.
    job_timeout: Duration,
}

#[derive(Debug, Clone)]
struct Kit {
    store: Arc<ServedStore>,
    completions: Arc<Completions>,
}

impl Pool {
    /// Starts the helpers; `waker` is woken when [`completions`](Self::completions) has something. At most
    /// `together` uploads or changes share their waits for the disk. A job that makes no progress for `job_timeout`
    /// fails.
    ///
    /// Each lane has threads enough to give a disk something to choose from, and few enough to cost
    /// nothing while they sleep. Spare ones may take the places of others that never come back.
    pub(super) fn start(
        store: &Arc<ServedStore>,
        waker: Arc<Waker>,
        together: usize,
        job_timeout: Duration,
    ) -> io::Result<Pool> {
        let completions = Arc::new(Completions { ended: Mutex::default(), waker });
        let soon = Some(WRITTEN_OFF_AFTER);
        // A disk of this machine that is slow is slow for all. What never answers elsewhere may be one file alone.
        let patience = if store.is_local() { None } else { soon };
        // One, so that those which come while it waits for the disk wait together the next time.
        let (smalls, small_batch) =
            if store.syncs_together() { (1, BATCH_UPLOADS.min(together)) } else { (SMALL_APART, 1) };
        let mut pool = Pool {
            look: Arc::new(Lane::new(4, SPARES, 1, soon)),
            read: Arc::new(Lane::new(4, SPARES, 1, soon)),
            hash: Arc::new(Lane::new(HASHERS, FEW_SPARES, 1, soon)),
            write: Arc::new(Lane::new(2, FEW_SPARES, 1, soon)),
            sync: Arc::new(Lane::new(4, FEW_SPARES, 1, soon)),
            small: Arc::new(Lane::new(smalls, FEW_SPARES, small_batch, patience)),
            // One, so that changes of the tree are made in the order in which they were asked for.
            names: Arc::new(Lane::new(1, FEW_SPARES, BATCH_CHANGES.min(together), patience)),
            lanes: Vec::new(),
            kit: Kit { store: store.clone(), completions },
            look_at: None,
            job_timeout,
        };
        let to_store = if store.is_local() { TO_STORE } else { 1 };
        pool.staff("ferry-look", true, 1, &pool.look.clone())?;
        pool.staff("ferry-read", true, 1, &pool.read.clone())?;
        pool.staff_to_give_way("ferry-hash", &pool.hash.clone())?;
        pool.staff("ferry-write", false, to_store, &pool.write.clone())?;
        pool.staff("ferry-sync", false, to_store, &pool.sync.clone())?;
        pool.staff("ferry-small", false, to_store, &pool.small.clone())?;
        pool.staff("ferry-names", false, to_store, &pool.names.clone())?;
        Ok(pool)
    }

    /// Starts the threads of a lane.
    fn staff<O: Helped>(
        &mut self,
        name: &'static str,
        reads: bool,
        timeouts: u32,
        lane: &Arc<Lane<O>>,
    ) -> io::Result<()> {
        self.start_all(Staffed { name, reads, timeouts, gives_way: false, lane: lane.clone() })
    }

    /// Starts the threads of a lane of work for the processor.
    fn staff_to_give_way<O: Helped>(&mut self, name: &'static str, lane: &Arc<Lane<O>>) -> io::Result<()> {
        self.start_all(Staffed { name, reads: true, timeouts: 1, gives_way: true, lane: lane.clone() })
    }

    fn start_all<O: Helped>(&mut self, staffed: Staffed<O>) -> io::Result<()> {
        for _ in 0..staffed.lane.threads() {
            staffed.start_thread(&self.kit)?;
        }
        self.lanes.push((Box::new(staffed), Losses::default()));
        Ok(())
    }

    /// Hands an operation to its lane.
    pub(super) fn submit(&mut self, job: Job) {
        let Job { token, operation, lease } = job;
        let refused = match operation {
            Operation::Read(operation) => {
                let lane = match operation {
                    ReadOperation::Load { form: Form::Hashed(_), .. } => &self.hash,
                    ReadOperation::Load { .. } => &self.read,
                    ReadOperation::Open { .. }
                    | ReadOperation::Extent { .. }
                    | ReadOperation::Check { .. }
                    | ReadOperation::Stat { .. }
                    | ReadOperation::Probe
                    | ReadOperation::Room { .. }
                    | ReadOperation::List { .. }
                    | ReadOperation::ListMore { .. }
                    | ReadOperation::Measure(_) => &self.look,
                };
                lane.push(Job { token, operation: Single::Read(operation), lease })
            }
            Operation::Upload(number, UploadOperation::Finish(finish)) if finish.upload.is_part() => {
                let operation = self.upload(number, UploadOperation::Finish(finish));
                self.write.push(Job { token, operation, lease })
            }
            Operation::Upload(number, UploadOperation::Finish(finish)) => match SmallFinish::new(number, finish) {
                Ok(small) => self.small.push(Job { token, operation: small, lease }),
                Err(finish) => {
                    let operation = self.upload(number, UploadOperation::Finish(finish));
                    self.sync.push(Job { token, operation, lease })
                }
            },
            Operation::Upload(number, operation) => {
                let lane = match &operation {
                    UploadOperation::Stage(_) => &self.look,
                    // After the parts that are written just now: whoever takes it up next finds nobody at work on it.
                    UploadOperation::Keep { upload, .. } if upload.has_parts() => &self.write,
                    UploadOperation::Part(_) | UploadOperation::Write { .. } | UploadOperation::Discard { .. } => {
                        &self.write
                    }
                    UploadOperation::Finish(_)
                    | UploadOperation::Checkpoint { .. }
                    | UploadOperation::Keep { .. }
                    | UploadOperation::Resume(_) => &self.sync,
                };
                lane.push(Job { token, operation: self.upload(number, operation), lease })
            }
            Operation::Name(operation) => self.names.push(Job { token, operation, lease }),
        };
        self.kit.completions.push(refused.map(no_answer));
        // There may be something to look for, or to tell of.
        self.look_at.get_or_insert_with(|| Instant::now() + WRITTEN_OFF_AFTER);
    }

    fn upload(&self, number: UploadNumber, operation: UploadOperation<Disk>) -> Single {
        let lock = self.kit.store.lock_of(&operation);
        Single::Upload(number, operation, lock)
    }

    /// Sets how long a job may go without progress.
    pub(super) fn set_job_timeout(&mut self, timeout: Duration) {
        self.job_timeout = timeout;
    }

    /// Takes back the reads that wait for `token`, which is gone: they won't be done, and are
    /// completed by this. Those under way end soon.
    pub(super) fn forget(&self, token: Token) -> Vec<Ended> {
        let waiting = [&self.look, &self.read, &self.hash].into_iter().flat_map(|lane| lane.forget(token));
        waiting.map(|waiting| waiting.failed(StoreError::of(ErrorKind::Abandoned))).collect()
    }

    /// Returns when [`look`](Self::look) is due.
    pub(super) fn look_at(&self) -> Option<Instant> {
        self.look_at
    }

    /// Starts helpers in the places of those that do not come back, and fails what they do not answer.
    pub(super) fn look(&mut self, now: Instant) {
        if self.look_at.is_none_or(|at| now < at) {
            return;
        }
        self.look_at = None;
        let timeout = self.job_timeout;
        for (lane, losses) in &mut self.lanes {
            let Look { missing, again, expired, refused } = lane.look(now, timeout);
            let completions = &self.kit.completions;
            completions.push(expired.into_iter().map(Waiting::unanswered).chain(refused.into_iter().map(no_answer)));
            for _ in 0..missing {
                if let Err(error) = lane.start_thread(&self.kit) {
                    log::error!("can't start a thread: {error}");
                }
            }
            losses.note(missing as u64, lane.figures().expired);
            if let Some(line) = losses.take_line(now) {
                log::log!(line.level(), "{}: the file system does not answer: {line}", lane.name());
            }
            if again || losses.are_untold() {
                self.look_at = Some(now + WRITTEN_OFF_AFTER);
            }
        }
    }

    /// Asks a helper to give freed memory back to the system, when there is nothing else to do.
    pub(super) fn give_memory_back(&self) {
        self.read.give_memory_back();
    }

    /// Returns the figures of each lane.
    pub(super) fn figures(&self) -> Vec<LaneFigures> {
        self.lanes.iter().map(|(lane, _)| lane.figures()).collect()
    }

    /// Takes the completions since the last call.
    pub(super) fn completions(&self) -> Vec<Ended> {
        let completions = &self.kit.completions;
        std::mem::take(&mut *completions.ended.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends the helpers once their queues are empty, and waits for them, but for those that are
    /// written off: returns how many these are. Where it `is_cut`, what waits in the queues is dropped.
    pub(super) fn end(&self, is_cut: bool) -> usize {
        for (lane, _) in &self.lanes {
            lane.end(is_cut);
        }
        self.lanes.iter().map(|(lane, _)| lane.join()).sum()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.end(false);
    }
}

fn help<O: Helped>(lane: &Lane<O>, kit: &Kit, reads: bool) {
    let Kit { store, completions } = kit;
    let mut scratch = Vec::new();
    let mut done = None;
    while let Some(task) = lane.take(done) {
        let (number, first) = match task {
            Task::Job(number, first) => (number, first),
            Task::GiveMemoryBack => {
                sys::give_memory_back();
                continue;
            }
        };
        done = Some(number);
        if reads {
            scratch.resize(SCRATCH_BYTES, 0);
        }
        let mut shift = Together::new(lane, number, first);
        // A mistake of ours in one operation must not leave its client waiting for ever.
        let ended = catch_unwind(AssertUnwindSafe(|| O::run(&mut shift, store, &mut scratch)));
        let mut ended = ended.unwrap_or_default().into_iter();
        completions.push(lane.done(number).into_iter().map(|waiting| match ended.next() {
            Some(completion) => waiting.ended(completion),
            None => waiting.failed(StoreError::of(ErrorKind::Panicked)),
        }));
        // They have expired, and nobody waits for them.
        ended.for_each(|completion| store.forget(completion));
    }
}

/// Returns the end of a job that was not begun, since the file system does not answer others.
fn no_answer(waiting: Waiting) -> Ended {
    waiting.failed(StoreError::of(ErrorKind::NoAnswer))
}

#[cfg(test)]
mod tests;
