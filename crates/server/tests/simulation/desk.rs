//! One session on a desk: what is given to it, when the store answers and what comes out is in the
//! hand of a test, with no dice.

use std::{
    collections::VecDeque,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use ferry_server::protocol::ferry::{Ask, Limits, Patience, Segment, Session, Work};
use ferry_wire::Failure;

use crate::{
    conn::{Conn, carried},
    dice::Dice,
    leases::Job,
    script::UPLOAD_BYTES,
    store::{Model, Store},
    tree::{Node, Tree, some_time},
};

/// When the store answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// At once.
    Now,
    /// What the loop does by itself at once, the rest when it is told to.
    AsTheLoop,
    /// When it is told to.
    Late,
}

/// See the [module documentation](self).
pub(crate) struct Desk {
    pub(crate) conn: Conn,
    pub(crate) store: Store,
    /// All that was sent.
    pub(crate) output: Vec<u8>,
    pub(crate) now: Instant,
    /// The client takes what is sent.
    pub(crate) reads: bool,
    /// The client will send nothing more.
    pub(crate) input_ends: bool,
    pace: Pace,
    late: VecDeque<Job>,
}

/// What the fixed conversations talk about.
fn small_tree() -> Tree {
    let mut tree = Tree::default();
    let mut file = |name: &str, data: Vec<u8>| {
        tree.insert(name, Node::File { data: Arc::new(data), mtime: some_time() });
    };
    file("f", b"Hello, ferry!\n".to_vec());
    file("d/inside", b"x".to_vec());
    file("large", Dice::new(7).bytes(70_000));
    tree.insert("d", Node::Dir);
    tree.insert("empty", Node::Dir);
    tree
}

impl Desk {
    pub(crate) fn new(pace: Pace) -> Desk {
        let hour = Duration::from_secs(3600);
        let limits = Limits {
            read_only: false,
            volatile: false,
            upload_bytes: UPLOAD_BYTES,
            patience: Patience { idle: hour, request: hour, window: hour, window_bytes: 1 },
            checkpoint_bytes: 1 << 20,
            checkpoint_time: Duration::from_secs(15),
        };
        let now = Instant::now();
        let conn = Conn::new(Session::new(Arc::new(limits), now), 0);
        static TREE: LazyLock<Tree> = LazyLock::new(small_tree);
        let store = Store::new(TREE.clone(), 0, Dice::new(0));
        let (output, late) = (Vec::new(), VecDeque::new());
        let mut desk = Desk { conn, store, output, now, reads: true, input_ends: false, pace, late };
        desk.settle();
        desk
    }

    /// The client sends `bytes`, and the session does with them what it can.
    pub(crate) fn give(&mut self, bytes: &[u8]) {
        self.conn.leftover.extend_from_slice(bytes);
        self.settle();
    }

    /// The client will send nothing more.
    pub(crate) fn end_input(&mut self) {
        self.input_ends = true;
        self.settle();
    }

    /// Whether work is held back.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.late.is_empty()
    }

    /// Does the newest piece of work that was held back; changes are done in their order.
    pub(crate) fn answer_one(&mut self) {
        let is_change = |job: &Job| matches!(job.work, Work::Publish { .. } | Work::Change(_));
        // A RESUME waits until its upload is let go: the loop sees to that.
        let Some(newest) = self.late.iter().rposition(|job| self.store.is_free(&job.work)) else { return };
        let index = if is_change(&self.late[newest]) { self.late.iter().position(is_change).unwrap() } else { newest };
        let job = self.late.remove(index).unwrap();
        self.run(job);
        self.settle();
    }

    /// The work that is held back.
    pub(crate) fn held_back(&self) -> impl Iterator<Item = &Work<Model>> {
        self.late.iter().map(|job| &job.work)
    }

    /// Does all writes that are held back, and what follows from them.
    pub(crate) fn answer_writes(&mut self) {
        while let Some(index) = self.late.iter().position(|job| matches!(job.work, Work::Write { .. })) {
            let job = self.late.remove(index).unwrap();
            self.run(job);
            self.settle();
        }
    }

    /// Does all that is held back, and what follows from it.
    pub(crate) fn answer_all(&mut self) {
        while self.is_waiting() {
            self.answer_one();
        }
    }

    /// The connection breaks.
    pub(crate) fn reset(&mut self) {
        self.conn.leftover.clear();
        self.conn.session.disconnected(self.now);
        self.settle();
    }

    /// The client takes all that is queued but the last `left` bytes.
    pub(crate) fn take_but(&mut self, left: u64) {
        while let Some((segment, _)) = self.conn.session.outbox().front() {
            let most = match segment {
                Segment::Bytes { data, sent } => (data.len() - sent) as u64,
                Segment::File { left, .. } | Segment::Padding { left } => *left,
            };
            let count = most.min(self.conn.session.outbox().bytes().saturating_sub(left));
            if count == 0 {
                break;
            }
            self.take(count as usize);
        }
        self.settle();
    }

    /// The file at the front can't be read any more.
    pub(crate) fn fail_range(&mut self, failure: Failure) {
        assert!(
            matches!(self.conn.session.outbox().front(), Some((Segment::File { .. }, _))),
            "no file is at the front"
        );
        self.conn.session.range_failed(failure, self.now);
        self.settle();
    }

    /// Does everything that can be done without an answer of the store.
    pub(crate) fn settle(&mut self) {
        loop {
            let mut moved = self.take_asks();
            let used = self.conn.session.receive(&self.conn.leftover, self.now);
            self.conn.leftover.drain(..used);
            moved |= used > 0;
            moved |= self.take_asks();
            moved |= self.flush();
            if self.conn.session.take_shutdown() {
                self.conn.shut_down = true;
                moved = true;
            }
            if !moved {
                self.conn.check();
            }
            if !moved && self.input_ends && self.conn.session.wants_input() {
                moved = self.conn.session.end_of_input(self.now);
            }
            if !moved {
                return;
            }
        }
    }

    fn take_asks(&mut self) -> bool {
        let mut asked = false;
        while let Some(Ask { errand, work }) = self.conn.session.next_ask() {
            asked = true;
            self.store.asked(&work);
            self.conn.outstanding += 1;
            self.conn.handed += carried(&work);
            let job = Job::new(0, errand, work, &self.store);
            let quick = matches!(
                job.work,
                Work::Open { .. } | Work::Load { .. } | Work::Check { .. } | Work::Stat { .. } | Work::Stage { .. }
            );
            if self.pace == Pace::Now || self.pace == Pace::AsTheLoop && quick {
                self.run(job);
            } else {
                self.late.push_back(job);
            }
        }
        asked
    }

    fn run(&mut self, job: Job) {
        self.conn.outstanding -= 1;
        self.conn.handed -= carried(&job.work);
        let outcome = self.store.run(0, job.work);
        self.conn.session.complete(job.errand, outcome, self.now);
    }

    fn flush(&mut self) -> bool {
        if !self.reads {
            return false;
        }
        let mut moved = false;
        while let Some((segment, _)) = self.conn.session.outbox().front() {
            let count = match segment {
                Segment::Bytes { data, sent } => data.len() - sent,
                Segment::File { left, .. } | Segment::Padding { left } => *left as usize,
            };
            self.take(count);
            moved = true;
        }
        moved
    }

    /// The client takes `count` bytes of the run at the front.
    fn take(&mut self, count: usize) {
        match self.conn.session.outbox().front().unwrap().0 {
            Segment::Bytes { data, sent } => self.output.extend_from_slice(&data[*sent..*sent + count]),
            Segment::File { file, at, .. } => self.output.extend_from_slice(self.store.range(*file, *at, count)),
            Segment::Padding { .. } => self.output.extend(std::iter::repeat_n(0, count)),
        }
        self.conn.session.outbox().advance(count as u64);
        self.conn.session.sent(self.now);
    }
}
