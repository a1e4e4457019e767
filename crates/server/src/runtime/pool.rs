//! The helpers: a few threads that wait for the disk so that the loop does not.
//!
//! Each kind of work has its lane ([`super::lane`]), so that what must be quick never queues behind what is slow:
//! looking things up has one that no bulk read can fill. Reads that wait for a connection that is gone are
//! dropped.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Instant,
};

use ferry_wire::{Code, Failure};
use mio::{Token, Waker};

use super::{
    job::{Completion, Job},
    lane::{Lane, Task, WRITTEN_OFF_AFTER},
};
use crate::{
    protocol::ferry::Work,
    store::{Disk, SCRATCH_BYTES, Store},
    sys,
};

/// The lanes, the number of threads of each, and of those that may take the places of others that never come back.
/// Enough for a disk to have something to choose from, few enough to cost nothing while they sleep.
const LANES: [(LaneKind, &str, usize, usize); 6] = [
    (LaneKind::Look, "ferry-look", 4, SPARES),
    (LaneKind::Read, "ferry-read", 4, SPARES),
    (LaneKind::Write, "ferry-write", 2, FEW_SPARES),
    (LaneKind::Sync, "ferry-sync", 4, FEW_SPARES),
    // One, so that those which come while it waits for the disk wait together the next time.
    (LaneKind::Small, "ferry-small", 1, 0),
    // One, so that changes of the tree are made in the order in which they were asked for.
    (LaneKind::Names, "ferry-names", 1, 0),
];

/// So many files may be stuck, each with a thread, before others wait for them.
const SPARES: usize = 32;
const FEW_SPARES: usize = 8;

/// How many changes of the tree may share their fsyncs. Each may hold two directories meanwhile.
const BATCH_CHANGES: usize = 1024;

/// How many small uploads may share a wait for the disk. Each holds a descriptor meanwhile.
const BATCH_UPLOADS: usize = 128;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LaneKind {
    /// Names and what is known of them, and the bytes of small files.
    Look,
    /// Bulk reads.
    Read,
    Write,
    Sync,
    Small,
    Names,
}

impl LaneKind {
    /// Whether its work is done for who waits for it alone.
    fn reads(self) -> bool {
        matches!(self, LaneKind::Look | LaneKind::Read)
    }
}

fn lane_of(work: &Work<Disk>) -> LaneKind {
    match work {
        Work::Open { .. }
        | Work::Check { .. }
        | Work::Stat { .. }
        | Work::List { .. }
        | Work::ListMore { .. }
        | Work::Stage { .. } => LaneKind::Look,
        Work::Load { .. } => LaneKind::Read,
        Work::Write { .. } | Work::Discard { .. } => LaneKind::Write,
        Work::Finish { .. } if Store::is_small(work) => LaneKind::Small,
        Work::Finish { .. } | Work::Checkpoint { .. } | Work::Keep { .. } | Work::Resume { .. } => LaneKind::Sync,
        Work::Publish { .. } | Work::Change(_) => LaneKind::Names,
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

/// See the [module documentation](self).
#[derive(Debug)]
pub(super) struct Pool {
    lanes: Vec<Arc<Lane>>,
    /// The things that a helper works with.
    kit: Kit,
    /// When to look for helpers that do not come back.
    look_at: Option<Instant>,
}

#[derive(Debug, Clone)]
struct Kit {
    store: Arc<Store>,
    completions: Arc<Completions>,
    together: usize,
}

impl Pool {
    /// Starts the helpers; `waker` is woken when [`completions`](Self::completions) has something. At most
    /// `together` uploads or changes share their waits for the disk.
    pub(super) fn start(store: &Arc<Store>, waker: Arc<Waker>, together: usize) -> io::Result<Pool> {
        let completions = Arc::new(Completions { ended: Mutex::default(), waker });
        let lanes = LANES.iter().map(|(_, _, threads, spares)| Arc::new(Lane::new(*threads, *spares))).collect();
        let pool = Pool { lanes, kit: Kit { store: store.clone(), completions, together }, look_at: None };
        for (index, (_, _, threads, _)) in LANES.iter().enumerate() {
            for _ in 0..*threads {
                pool.start_thread(index)?;
            }
        }
        Ok(pool)
    }

    fn start_thread(&self, index: usize) -> io::Result<()> {
        let (kind, name, ..) = LANES[index];
        let (lane, kit) = (self.lanes[index].clone(), self.kit.clone());
        let started = thread::Builder::new().name(name.into()).spawn(move || help(kind, &lane, &kit));
        if started.is_err() {
            self.lanes[index].is_short_of_one();
        }
        started.map(drop)
    }

    /// Hands a piece of work to its lane.
    pub(super) fn submit(&mut self, job: Job) {
        let kind = lane_of(&job.work);
        let Some(index) = LANES.iter().position(|(lane, ..)| *lane == kind) else { return };
        if !self.lanes[index].push(job) && self.look_at.is_none() {
            self.look_at = Some(Instant::now() + WRITTEN_OFF_AFTER);
        }
    }

    /// Takes back the reads that wait for `token`, which is gone: they won't be done, and are to be completed. Those
    /// under way end soon.
    pub(super) fn forget(&self, token: Token) -> Vec<Job> {
        let reading = LANES.iter().zip(&self.lanes).filter(|((kind, ..), _)| kind.reads());
        reading.flat_map(|(_, lane)| lane.forget(token)).collect()
    }

    /// When [`look`](Self::look) is due.
    pub(super) fn look_at(&self) -> Option<Instant> {
        self.look_at
    }

    /// Starts helpers in the places of those that do not come back.
    pub(super) fn look(&mut self, now: Instant) {
        if self.look_at.is_none_or(|at| now < at) {
            return;
        }
        self.look_at = None;
        for (index, (_, name, ..)) in LANES.iter().enumerate() {
            let (missing, again) = self.lanes[index].look(now);
            for _ in 0..missing {
                log::warn!("{name}: a helper does not come back from the file system; another takes its place");
                if let Err(error) = self.start_thread(index) {
                    log::error!("can't start a thread: {error}");
                }
            }
            if again {
                self.look_at = Some(now + WRITTEN_OFF_AFTER);
            }
        }
    }

    /// Has memory that was freed given back to the system, when there is nothing else to do.
    pub(super) fn give_memory_back(&self) {
        for (_, lane) in LANES.iter().zip(&self.lanes).filter(|((kind, ..), _)| *kind == LaneKind::Read) {
            lane.give_memory_back();
        }
    }

    /// Takes what has ended since.
    pub(super) fn completions(&self) -> Vec<Completion> {
        let completions = &self.kit.completions;
        std::mem::take(&mut *completions.ended.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Pool {
    /// Ends the helpers once their queues are empty, and waits for them, but for those that are written off. Where
    /// it `is_cut`, what waits in the queues is dropped.
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

fn help(kind: LaneKind, lane: &Lane, kit: &Kit) {
    let Kit { store, completions, together } = kit;
    let mut scratch = Vec::new();
    let most = match kind {
        LaneKind::Names => BATCH_CHANGES.min(*together),
        LaneKind::Small => BATCH_UPLOADS.min(*together),
        LaneKind::Look | LaneKind::Read | LaneKind::Write | LaneKind::Sync => 1,
    };
    let mut done = None;
    while let Some(task) = lane.take(done, most) {
        let (number, jobs) = match task {
            Task::Jobs(number, jobs) => (number, jobs),
            Task::GiveMemoryBack => {
                sys::give_memory_back();
                continue;
            }
        };
        done = Some(number);
        if kind.reads() {
            scratch.resize(SCRATCH_BYTES, 0);
        }
        let mut jobs = jobs;
        let whose: Vec<_> = jobs.iter_mut().map(|job| (job.token, job.errand, job.lease.take())).collect();
        let works = jobs.into_iter().map(|job| job.work).collect();
        let gets_on = || lane.gets_on(number);
        // A mistake of ours in one piece of work must not leave its client waiting for ever.
        let outcomes = catch_unwind(AssertUnwindSafe(|| match kind {
            LaneKind::Names => store.run_changes(works),
            LaneKind::Small => store.finish_small(works),
            _ => works.into_iter().map(|work| store.run_while(work, &mut scratch, &gets_on)).collect(),
        }));
        let mut outcomes = outcomes.unwrap_or_default().into_iter();
        completions.push(whose.into_iter().map(|(token, errand, lease)| {
            let outcome = outcomes
                .next()
                .unwrap_or_else(|| Err(Failure::new(Code::Io, "the server made a mistake; its log says which")));
            Completion { token, errand, outcome, lease }
        }));
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Condvar, time::Duration};

    use ferry_wire::{Digest, Name};
    use mio::Poll;
    use rustix::io::Errno;

    use super::*;
    use crate::{
        protocol::ferry::{Done, Opened},
        store::{Call, Durability, MountTable, StoreOptions, Watcher},
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

    fn store(root: &Path, gate: Arc<Gate>) -> Arc<Store> {
        let options = StoreOptions {
            root: root.into(),
            writable: false,
            durability: Durability::None,
            max_staged: 0,
            max_kept: 0,
            keep: Duration::ZERO,
            mounts: MountTable::default(),
        };
        Arc::new(Store::open_watched(&options, Some(gate)).unwrap())
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
        let pool = Pool::start(&store(place.path(), gate.clone()), waker, 1).unwrap();
        Stage { _place: place, gate, pool, poll }
    }

    impl Stage {
        fn submit(&mut self, token: usize, work: Work<Disk>) {
            self.pool.submit(Job { token: Token(token), errand: 0, work, lease: None });
        }

        fn completion(&mut self) -> Vec<Completion> {
            let mut events = mio::Events::with_capacity(1);
            loop {
                let completions = self.pool.completions();
                if !completions.is_empty() {
                    return completions;
                }
                self.poll.poll(&mut events, None).unwrap();
            }
        }

        /// The files, open: no read is needed for that.
        fn opened(&mut self, files: usize) -> Vec<Work<Disk>> {
            let mut works = Vec::new();
            for file in 0..files {
                let name = Name::new(&file.to_string()).unwrap();
                self.submit(file, Work::Open { name, offset: 0, length: None, tag: None, inline: 0 });
                let Ok(Done::Opened { range: Opened::Range { file, start, end }, .. }) =
                    self.completion().pop().unwrap().outcome
                else {
                    panic!("not opened")
                };
                works.push(Work::Load { file, at: start, bytes: end, digest: Digest::new(), background: true });
            }
            works
        }
    }

    #[test]
    fn names_are_looked_up_whatever_is_read() {
        let mut stage = stage(5);
        for (token, work) in stage.opened(5).into_iter().enumerate() {
            stage.submit(token, work);
        }
        stage.gate.until_waiting(4);
        stage.submit(9, Work::List { name: None });
        let listed = stage.completion().pop().unwrap();
        assert!(matches!(listed, Completion { token: Token(9), outcome: Ok(Done::Listed { .. }), .. }), "{listed:?}");
        stage.gate.open(true);
    }

    #[test]
    fn nothing_is_read_for_the_dead() {
        let mut stage = stage(5);
        for (token, work) in stage.opened(5).into_iter().enumerate() {
            stage.submit(token, work);
        }
        stage.gate.until_waiting(4);
        let dropped: usize = (0..5).map(|token| stage.pool.forget(Token(token)).len()).sum();
        assert_eq!(dropped, 1, "it waited");
        stage.gate.open(true);
        let mut ended = 0;
        while ended < 4 {
            for completion in stage.completion() {
                let Ok(Done::Loaded { bytes, .. }) = completion.outcome else { panic!("{completion:?}") };
                assert_eq!(bytes, SCRATCH_BYTES as u64, "one piece of a slice");
                ended += 1;
            }
        }
        assert_eq!(stage.gate.reads(), 4);
    }

    #[test]
    fn a_file_that_never_comes_costs_no_more_than_the_helpers_that_began_with_it() {
        let mut stage = stage(2);
        let mut works = stage.opened(2);
        let (other, work) = (works.pop().unwrap(), works.pop().unwrap());
        for token in 0..12 {
            stage.submit(token, copy(&work));
        }
        stage.gate.until_waiting(4);
        // Nobody waited for as long: it is as if the time had passed.
        let now = Instant::now() + 2 * WRITTEN_OFF_AFTER;
        stage.pool.look_at = Some(now);
        stage.pool.look(now);
        // Whoever takes their places finds something else to do.
        stage.submit(12, other);
        stage.gate.until_waiting(5);
        assert_eq!(stage.gate.reads(), 5, "what is asked of the first file waits for it");
        stage.gate.open(true);
        let mut ended = 0;
        while ended < 13 {
            ended += stage.completion().len();
        }
    }

    fn copy(work: &Work<Disk>) -> Work<Disk> {
        let Work::Load { file, at, bytes, digest, background } = work else { panic!("{work:?}") };
        let (file, digest) = (file.clone(), digest.clone());
        Work::Load { file, at: *at, bytes: *bytes, digest, background: *background }
    }
}
