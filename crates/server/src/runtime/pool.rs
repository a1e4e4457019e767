//! The helpers: a few threads that wait for the disk so that the loop does not.
//!
//! Each kind of operations has its lane ([`super::lane`]), so that quick ones never queue after
//! slow ones: lookups have a lane that no bulk read can fill. Reads that wait for a connection that
//! is gone are dropped, and those that the file system does not answer expire: their clients are told.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use mio::{Token, Waker};

use super::{
    job::{Ended, Helped, Job, Single, Waiting},
    lane::{Lane, Look, Task, WRITTEN_OFF_AFTER},
};
use crate::{
    observe::LaneFigures,
    store::{
        Disk, ErrorKind, NameOperation, Operation, ReadOperation, SCRATCH_BYTES, ServedStore, SmallFinish, StoreError,
        UploadOperation,
    },
    sys,
    units::counted,
};

/// The spare threads of a lane: so many files may be stuck, each with a thread, before others wait for them.
const SPARES: usize = 32;
const FEW_SPARES: usize = 8;

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
struct Staffed<O> {
    name: &'static str,
    /// The most that are done together.
    most: usize,
    /// Its threads need memory to read to.
    reads: bool,
    lane: Arc<Lane<O>>,
}

/// The part of a lane that does not depend on its kind of operations.
trait AnyLane: std::fmt::Debug + Send {
    fn name(&self) -> &'static str;
    fn start_thread(&self, kit: &Kit) -> io::Result<()>;
    fn look(&self, now: Instant, timeout: Duration) -> Look;
    fn figures(&self) -> LaneFigures;
    fn end(&self, is_cut: bool);
    fn join(&self);
}

impl<O: Helped + std::fmt::Debug> AnyLane for Staffed<O> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn start_thread(&self, kit: &Kit) -> io::Result<()> {
        let (lane, kit, most, reads) = (self.lane.clone(), kit.clone(), self.most.min(kit.together), self.reads);
        let started = thread::Builder::new().name(self.name.into()).spawn(move || help(&lane, &kit, most, reads));
        if started.is_err() {
            self.lane.is_short_of_one();
        }
        started.map(drop)
    }

    fn look(&self, now: Instant, timeout: Duration) -> Look {
        self.lane.look(now, timeout)
    }

    fn figures(&self) -> LaneFigures {
        self.lane.figures(self.name.strip_prefix("ferry-").unwrap_or(self.name))
    }

    fn end(&self, is_cut: bool) {
        self.lane.end(is_cut);
    }

    fn join(&self) {
        self.lane.join();
    }
}

/// See the [module documentation](self).
#[derive(Debug)]
pub(super) struct Pool {
    /// Names, their status, and the bytes of small files.
    look: Arc<Lane<Single>>,
    /// Bulk reads.
    read: Arc<Lane<Single>>,
    write: Arc<Lane<Single>>,
    sync: Arc<Lane<Single>>,
    small: Arc<Lane<SmallFinish>>,
    names: Arc<Lane<NameOperation<Disk>>>,
    /// All of them.
    lanes: Vec<Box<dyn AnyLane>>,
    /// The things that a helper works with.
    kit: Kit,
    /// When to look for helpers that do not come back.
    look_at: Option<Instant>,
    /// How long a read may go without progress.
    job_timeout: Duration,
}

#[derive(Debug, Clone)]
struct Kit {
    store: Arc<ServedStore>,
    completions: Arc<Completions>,
    together: usize,
}

impl Pool {
    /// Starts the helpers; `waker` is woken when [`completions`](Self::completions) has something. At most
    /// `together` uploads or changes share their waits for the disk. A read that makes no progress for `job_timeout`
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
        let mut pool = Pool {
            look: Arc::new(Lane::new(4, SPARES)),
            read: Arc::new(Lane::new(4, SPARES)),
            write: Arc::new(Lane::new(2, FEW_SPARES)),
            sync: Arc::new(Lane::new(4, FEW_SPARES)),
            // One, so that those which come while it waits for the disk wait together the next time.
            small: Arc::new(Lane::new(1, 0)),
            // One, so that changes of the tree are made in the order in which they were asked for.
            names: Arc::new(Lane::new(1, 0)),
            lanes: Vec::new(),
            kit: Kit { store: store.clone(), completions, together },
            look_at: None,
            job_timeout,
        };
        pool.staff("ferry-look", 1, true, &pool.look.clone())?;
        pool.staff("ferry-read", 1, true, &pool.read.clone())?;
        pool.staff("ferry-write", 1, false, &pool.write.clone())?;
        pool.staff("ferry-sync", 1, false, &pool.sync.clone())?;
        pool.staff("ferry-small", BATCH_UPLOADS, false, &pool.small.clone())?;
        pool.staff("ferry-names", BATCH_CHANGES, false, &pool.names.clone())?;
        Ok(pool)
    }

    /// Starts the threads of a lane.
    fn staff<O: Helped + std::fmt::Debug>(
        &mut self,
        name: &'static str,
        most: usize,
        reads: bool,
        lane: &Arc<Lane<O>>,
    ) -> io::Result<()> {
        let staffed = Staffed { name, most, reads, lane: lane.clone() };
        for _ in 0..lane.threads() {
            staffed.start_thread(&self.kit)?;
        }
        self.lanes.push(Box::new(staffed));
        Ok(())
    }

    /// Hands an operation to its lane.
    pub(super) fn submit(&mut self, job: Job) {
        let Job { token, operation, lease } = job;
        let refused = match operation {
            Operation::Read(operation) => {
                let lane = match operation {
                    ReadOperation::Load { .. } => &self.read,
                    ReadOperation::Open { .. }
                    | ReadOperation::Check { .. }
                    | ReadOperation::Stat { .. }
                    | ReadOperation::Probe
                    | ReadOperation::List { .. }
                    | ReadOperation::ListMore { .. } => &self.look,
                };
                lane.push(Job { token, operation: Single::Read(operation), lease })
            }
            Operation::Upload(number, UploadOperation::Finish(finish)) => match SmallFinish::new(number, finish) {
                Ok(small) => self.small.push(Job { token, operation: small, lease }),
                Err(finish) => {
                    let operation = Single::Upload(number, UploadOperation::Finish(finish));
                    self.sync.push(Job { token, operation, lease })
                }
            },
            Operation::Upload(number, operation) => {
                let lane = match operation {
                    UploadOperation::Stage(_) => &self.look,
                    UploadOperation::Write { .. } | UploadOperation::Discard { .. } => &self.write,
                    UploadOperation::Finish(_)
                    | UploadOperation::Checkpoint { .. }
                    | UploadOperation::Keep { .. }
                    | UploadOperation::Resume(_) => &self.sync,
                };
                lane.push(Job { token, operation: Single::Upload(number, operation), lease })
            }
            Operation::Name(operation) => self.names.push(Job { token, operation, lease }),
        };
        match refused {
            Some(waiting) => self.kit.completions.push([no_answer(waiting)]),
            None if self.look_at.is_none() => self.look_at = Some(Instant::now() + WRITTEN_OFF_AFTER),
            None => {}
        }
    }

    /// Sets how long a read may go without progress.
    pub(super) fn set_job_timeout(&mut self, timeout: Duration) {
        self.job_timeout = timeout;
    }

    /// Takes back the reads that wait for `token`, which is gone: they won't be done, and are
    /// completed by this. Those under way end soon.
    pub(super) fn forget(&self, token: Token) -> Vec<Ended> {
        let waiting = [&self.look, &self.read].into_iter().flat_map(|lane| lane.forget(token));
        let abandoned = |job: Job<Single>| {
            let completion = job.operation.fallback().failed(StoreError::of(ErrorKind::Abandoned));
            Ended { token: job.token, completion, lease: job.lease }
        };
        waiting.map(abandoned).collect()
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
        for lane in &self.lanes {
            let (name, Look { missing, again, expired }) = (lane.name(), lane.look(now, self.job_timeout));
            if !expired.is_empty() {
                let (jobs, seconds) = (counted(expired.len() as u64, "request"), self.job_timeout.as_secs());
                log::error!("{name}: the file system did not answer for {seconds} s; told so: {jobs}");
            }
            self.kit.completions.push(expired.into_iter().map(no_answer));
            for _ in 0..missing {
                log::warn!("{name}: the file system does not answer a helper; another helper takes its place");
                if let Err(error) = lane.start_thread(&self.kit) {
                    log::error!("can't start a thread: {error}");
                }
            }
            if again {
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
        self.lanes.iter().map(|lane| lane.figures()).collect()
    }

    /// Takes the completions since the last call.
    pub(super) fn completions(&self) -> Vec<Ended> {
        let completions = &self.kit.completions;
        std::mem::take(&mut *completions.ended.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends the helpers once their queues are empty, and waits for them, but for those that are
    /// written off. Where it `is_cut`, what waits in the queues is dropped.
    pub(super) fn end(&self, is_cut: bool) {
        for lane in &self.lanes {
            lane.end(is_cut);
        }
        for lane in &self.lanes {
            lane.join();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.end(false);
    }
}

fn help<O: Helped>(lane: &Lane<O>, kit: &Kit, most: usize, reads: bool) {
    let Kit { store, completions, .. } = kit;
    let mut scratch = Vec::new();
    let mut done = None;
    while let Some(task) = lane.take(done, most) {
        let (number, operations) = match task {
            Task::Jobs(number, operations) => (number, operations),
            Task::GiveMemoryBack => {
                sys::give_memory_back();
                continue;
            }
        };
        done = Some(number);
        if reads {
            scratch.resize(SCRATCH_BYTES, 0);
        }
        let gets_on = || lane.gets_on(number);
        // A mistake of ours in one operation must not leave its client waiting for ever.
        let ended = catch_unwind(AssertUnwindSafe(|| O::run(operations, store, &mut scratch, &gets_on)));
        let mut ended = ended.unwrap_or_default().into_iter();
        // Where they have expired nobody waits, and what was opened is closed right here.
        completions.push(lane.waiting(number).into_iter().map(|waiting| match ended.next() {
            Some(completion) => waiting.ended(completion),
            None => waiting.failed(StoreError::of(ErrorKind::Panicked)),
        }));
    }
}

/// Returns the end of a job that the file system does not answer.
fn no_answer(waiting: Waiting) -> Ended {
    waiting.failed(StoreError::of(ErrorKind::NoAnswer))
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Condvar, time::Duration};

    use ferry_wire::{Digest, Name};
    use mio::Poll;
    use rustix::io::Errno;

    use super::*;
    use crate::store::{
        Call, Completion, Content, Durability, Form, LeaseOptions, MountTable, OpenFile, ReadCompletion, Store,
        StoreOptions, Watcher,
    };

    /// A disk that no read comes back from until it is let go.
    #[derive(Debug, Default)]
    struct Gate {
        /// Whether it is open, how many wait, and how many came.
        state: Mutex<(bool, usize, usize)>,
        changed: Condvar,
    }

    impl Watcher for Gate {
        fn before(&self, call: &Call<'_>) -> Result<(), Errno> {
            if !matches!(call, Call::Read { .. }) {
                return Ok(());
            }
            let mut state = self.state.lock().unwrap();
            (state.1, state.2) = (state.1 + 1, state.2 + 1);
            self.changed.notify_all();
            while !state.0 {
                state = self.changed.wait(state).unwrap();
            }
            state.1 -= 1;
            Ok(())
        }

        fn after(&self, _: &Call<'_>) {}
    }

    impl Gate {
        fn open(&self, open: bool) {
            self.state.lock().unwrap().0 = open;
            self.changed.notify_all();
        }

        fn until_waiting(&self, count: usize) {
            let state = self.state.lock().unwrap();
            drop(self.changed.wait_while(state, |(_, waiting, _)| *waiting < count).unwrap());
        }

        fn reads(&self) -> usize {
            self.state.lock().unwrap().2
        }
    }

    struct Stage {
        _place: tempfile::TempDir,
        gate: Arc<Gate>,
        pool: Pool,
        poll: Poll,
    }

    const WAKER: Token = Token(usize::MAX);
    const SLICE_BYTES: u64 = 4 << 20;

    fn store(root: &Path, gate: Arc<Gate>) -> Arc<ServedStore> {
        let options = StoreOptions {
            root: root.into(),
            writable: false,
            durability: Durability::None,
            max_staged: 0,
            max_kept: 0,
            keep: Duration::ZERO,
            crc_cache: 16 << 20,
            mounts: MountTable::default(),
            leasing: LeaseOptions::default(),
        };
        Arc::new(ServedStore::new(Store::open_watched(&options, Some(gate)).unwrap()))
    }

    fn stage(files: usize) -> Stage {
        let place = tempfile::tempdir().unwrap();
        for file in 0..files {
            let file = std::fs::File::create(place.path().join(file.to_string())).unwrap();
            file.set_len(SLICE_BYTES).unwrap();
        }
        let poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), WAKER).unwrap());
        let gate = Arc::new(Gate::default());
        let pool = Pool::start(&store(place.path(), gate.clone()), waker, 1, 20 * WRITTEN_OFF_AFTER).unwrap();
        Stage { _place: place, gate, pool, poll }
    }

    impl Stage {
        fn submit(&mut self, token: usize, operation: ReadOperation<Disk>) {
            self.pool.submit(Job { token: Token(token), operation: Operation::Read(operation), lease: None });
        }

        fn completion(&mut self) -> Vec<Ended> {
            let mut events = mio::Events::with_capacity(1);
            loop {
                let completions = self.pool.completions();
                if !completions.is_empty() {
                    return completions;
                }
                self.poll.poll(&mut events, None).unwrap();
            }
        }

        /// Returns the files, open: no read is needed for that.
        fn opened(&mut self, files: usize) -> Vec<ReadOperation<Disk>> {
            let mut loads = Vec::new();
            for file in 0..files {
                let name = Name::new(&file.to_string()).unwrap();
                self.submit(file, ReadOperation::Open { name, offset: 0, length: None, tag: None, inline: 0 });
                let Completion::Read(ReadCompletion::Opened(Ok(opened))) = self.completion().pop().unwrap().completion
                else {
                    panic!("not opened")
                };
                let Content::Range { file, start, end, .. } = opened.content else { panic!("opened with its bytes") };
                loads.push(load(file, start, end, None));
            }
            loads
        }
    }

    #[test]
    fn names_are_looked_up_whatever_is_read() {
        let mut stage = stage(5);
        for (token, load) in stage.opened(5).into_iter().enumerate() {
            stage.submit(token, load);
        }
        stage.gate.until_waiting(4);
        stage.submit(9, ReadOperation::List { name: None });
        let listed = stage.completion().pop().unwrap();
        let is_listed = matches!(listed.completion, Completion::Read(ReadCompletion::Listed(Ok(_))));
        assert!(is_listed && listed.token == Token(9), "{listed:?}");
        stage.gate.open(true);
    }

    #[test]
    fn nothing_is_read_for_the_dead() {
        let mut stage = stage(5);
        for (token, load) in stage.opened(5).into_iter().enumerate() {
            stage.submit(token, load);
        }
        stage.gate.until_waiting(4);
        let dropped: usize = (0..5).map(|token| stage.pool.forget(Token(token)).len()).sum();
        assert_eq!(dropped, 1, "it waited");
        stage.gate.open(true);
        let mut ended = 0;
        while ended < 4 {
            for Ended { completion, .. } in stage.completion() {
                let Completion::Read(ReadCompletion::Loaded(Ok(loaded))) = completion else { panic!("{completion:?}") };
                assert_eq!(loaded.piece.bytes(), SCRATCH_BYTES as u64, "one piece of a slice");
                ended += 1;
            }
        }
        assert_eq!(stage.gate.reads(), 4);
    }

    #[test]
    fn a_file_that_never_comes_costs_no_more_than_the_helpers_that_began_with_it() {
        let mut stage = stage(2);
        let mut loads = stage.opened(2);
        let (other, load) = (loads.pop().unwrap(), loads.pop().unwrap());
        for token in 0..12 {
            stage.submit(token, copy(&load));
        }
        stage.gate.until_waiting(4);
        // Nobody waited for as long: it is as if the time had passed.
        let now = Instant::now() + 2 * WRITTEN_OFF_AFTER;
        stage.pool.look_at = Some(now);
        stage.pool.look(now);
        // Helpers that take their places find something else to do.
        stage.submit(12, other);
        stage.gate.until_waiting(5);
        assert_eq!(stage.gate.reads(), 5, "what is asked of the first file waits for it");
        stage.gate.open(true);
        let mut ended = 0;
        while ended < 13 {
            ended += stage.completion().len();
        }
    }

    fn copy(load: &ReadOperation<Disk>) -> ReadOperation<Disk> {
        let ReadOperation::Load { file, at, bytes, digest, .. } = load else { panic!("{load:?}") };
        self::load(file.clone(), *at, *bytes, digest.clone())
    }

    fn load(file: Arc<OpenFile>, at: u64, bytes: u64, digest: Option<Digest>) -> ReadOperation<Disk> {
        ReadOperation::Load { file, at, bytes, digest, remembered: false, form: Form::Background }
    }
}
