//! One session on a desk: what is given to it, when the store answers and what comes out is in the
//! hand of a test, with no dice.

use std::{
    collections::VecDeque,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use ferry_server::{
    access::Users,
    protocol::{Limits, Segment, Session, Timeouts, Visitor, ferry::FerrySession},
    store::{NameOperation, Operation, ReadOperation, StoreError, UploadOperation},
};

use crate::{
    conn::{Conn, carried},
    dice::Dice,
    script::UPLOAD_BYTES,
    store::{Model, Store},
    tree::{Node, Tree, some_time},
};

/// When the store answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// At once.
    Now,
    /// Operations that the loop does itself at once, the rest when it is told to.
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
    late: VecDeque<Operation<Model>>,
}

/// Returns the tree of the fixed conversations.
fn small_tree() -> Tree {
    let mut tree = Tree::default();
    let mut file = |name: &str, data: Vec<u8>| {
        tree.insert(name, Node::File { data: Arc::new(data), mtime: some_time() });
    };
    file("f", b"Hello, ferry!\n".to_vec());
    file("d/inside", b"x".to_vec());
    file("large", Dice::new(7).bytes(70_000));
    tree.insert("d", Node::directory());
    tree.insert("empty", Node::directory());
    tree
}

impl Desk {
    pub(crate) fn new(pace: Pace) -> Desk {
        let hour = Duration::from_secs(3600);
        let limits = Limits {
            node: None,
            read_only: false,
            volatile: false,
            kept_modes: Some(ferry_wire::Mode::ALL),
            upload_bytes: UPLOAD_BYTES,
            timeouts: Timeouts { idle: hour, request: hour, window: hour, window_bytes: 1 },
            checkpoint_bytes: 1 << 20,
            checkpoint_time: Duration::from_secs(15),
            keep: Duration::from_secs(72 * 3600),
        };
        let now = Instant::now();
        let visitor = Visitor::new(Arc::new(Users::without_file()), true);
        let conn = Conn::new(Session::Ferry(FerrySession::new(Arc::new(limits), visitor, now)), 0);
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

    /// Returns whether operations are held back.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.late.is_empty()
    }

    /// Does the newest operation that was held back; changes are done in their order.
    pub(crate) fn answer_one(&mut self) {
        let is_change = |operation: &Operation<Model>| matches!(operation, Operation::Name(_));
        // A RESUME waits until its upload is let go: the loop sees to that.
        let Some(newest) = self.late.iter().rposition(|operation| self.store.is_free(operation)) else { return };
        let index = if is_change(&self.late[newest]) { self.late.iter().position(is_change).unwrap() } else { newest };
        let operation = self.late.remove(index).unwrap();
        self.run(operation);
        self.settle();
    }

    /// Returns the operations that are held back.
    pub(crate) fn held_back(&self) -> impl Iterator<Item = &Operation<Model>> {
        self.late.iter()
    }

    /// Does all writes that are held back, and what follows from them.
    pub(crate) fn answer_writes(&mut self) {
        let is_write = |operation: &_| matches!(operation, Operation::Upload(_, UploadOperation::Write { .. }));
        while let Some(index) = self.late.iter().position(is_write) {
            let operation = self.late.remove(index).unwrap();
            self.run(operation);
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
                Segment::Bytes(data) => data.len() as u64,
                Segment::File { left, .. } | Segment::Padding(left) => left,
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
    pub(crate) fn fail_range(&mut self, error: StoreError) {
        assert!(
            matches!(self.conn.session.outbox().front(), Some((Segment::File { .. }, _))),
            "no file is at the front"
        );
        self.conn.session.range_failed(error, self.now);
        self.settle();
    }

    /// Does everything that can be done without an answer of the store.
    pub(crate) fn settle(&mut self) {
        loop {
            let mut moved = self.take_operations();
            let used = self.conn.session.receive(&self.conn.leftover, self.now);
            self.conn.leftover.drain(..used);
            moved |= used > 0;
            moved |= self.take_operations();
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

    fn take_operations(&mut self) -> bool {
        let mut asked = false;
        while let Some(operation) = self.conn.session.next_operation() {
            asked = true;
            self.store.asked(&operation);
            self.conn.hand_on(&operation);
            if self.pace == Pace::Now || self.pace == Pace::AsTheLoop && is_quick(&operation) {
                self.run(operation);
            } else {
                self.late.push_back(operation);
            }
        }
        asked
    }

    fn run(&mut self, operation: Operation<Model>) {
        self.conn.outstanding -= 1;
        self.conn.handed -= carried(&operation);
        let completion = self.store.run(0, operation);
        self.conn.session.complete(completion, self.now);
    }

    fn flush(&mut self) -> bool {
        if !self.reads {
            return false;
        }
        let mut moved = false;
        while let Some((segment, _)) = self.conn.session.outbox().front() {
            let count = match segment {
                Segment::Bytes(data) => data.len(),
                Segment::File { left, .. } | Segment::Padding(left) => left as usize,
            };
            self.take(count);
            moved = true;
        }
        moved
    }

    /// The client takes `count` bytes of the run at the front.
    fn take(&mut self, count: usize) {
        match self.conn.session.outbox().front().unwrap().0 {
            Segment::Bytes(data) => self.output.extend_from_slice(&data[..count]),
            Segment::File { file, at, .. } => self.output.extend_from_slice(self.store.range(*file, at, count)),
            Segment::Padding(_) => self.output.extend(std::iter::repeat_n(0, count)),
        }
        self.conn.session.outbox().advance(count as u64);
        self.conn.session.sent(self.now);
    }
}

/// Returns whether the loop may do it at once.
pub(crate) fn is_quick(operation: &Operation<Model>) -> bool {
    match operation {
        Operation::Read(
            ReadOperation::Probe
            | ReadOperation::Room { .. }
            | ReadOperation::List { .. }
            | ReadOperation::ListMore { .. }
            | ReadOperation::Measure(_),
        ) => false,
        Operation::Read(_) | Operation::Upload(_, UploadOperation::Stage(_)) => true,
        Operation::Upload(..) | Operation::Name(NameOperation::Publish(..) | NameOperation::Change(..)) => false,
    }
}
