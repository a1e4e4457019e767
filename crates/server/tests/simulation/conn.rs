//! One simulated connection: the session under test, what lies between it and its client, and what
//! must hold after every step.

use std::collections::VecDeque;

use ferry_server::{
    protocol::Session,
    runtime::{admission::Admitted, scheduler::Queued},
    store::{Finish, Operation, ReadOperation, UploadOperation},
};
use ferry_wire::UserName;

use crate::store::Model;

/// Queued output: replies up to the mark, replies that waited for one before them and came at once,
/// and a block on its way with the next one behind it.
const OUTBOX_BYTES: u64 = (64 << 10) + 66 * 4096 + (2 << 20) + 4096;

/// Operations under way for one session.
const OPERATIONS: u32 = 200;

/// Memory handed to the store and not back: the limit, and what one more upload may add.
const HANDED_BYTES: u64 = (2 << 20) + 3 * (512 << 10);

/// The memory that gathers one write.
const CHUNK_BYTES: usize = 512 << 10;

/// The wires between a client and a session.
#[derive(Default)]
pub(crate) struct Link {
    pub(crate) to_server: VecDeque<u8>,
    pub(crate) to_client: VecDeque<u8>,
    /// Nothing more will come to the client.
    pub(crate) server_done: bool,
    /// It told the client so.
    pub(crate) end_read: bool,
}

/// The server's side of a connection.
pub(crate) struct Conn {
    pub(crate) session: Session<Model>,
    /// Input that the session could not take yet.
    pub(crate) leftover: Vec<u8>,
    pub(crate) peer: usize,
    pub(crate) queued: Queued,
    /// It waits for a rate: its clocks stand still.
    pub(crate) waits: bool,
    /// [`None`] in a conversation that nobody else could disturb.
    pub(crate) admitted: Option<Admitted>,
    /// The user for whom it counts.
    pub(crate) user: Option<UserName>,
    /// The wires are up.
    pub(crate) attached: bool,
    pub(crate) shut_down: bool,
    pub(crate) drains: bool,
    pub(crate) dismissed: bool,
    /// Operations under way, and the bytes of uploads in them.
    pub(crate) outstanding: u32,
    pub(crate) handed: u64,
    /// The root was looked at, for which a session does not wait long.
    pub(crate) has_probed: bool,
}

/// The memory of uploads that `operation` carries, whether it holds anything or not.
pub(crate) fn carried(operation: &Operation<Model>) -> u64 {
    let Operation::Upload(_, operation) = operation else { return 0 };
    let chunk = match operation {
        UploadOperation::Write { chunk, .. } | UploadOperation::Finish(Finish { chunk, .. }) => chunk,
        UploadOperation::Keep { tail: Some(tail), .. } => &tail.chunk,
        _ => return 0,
    };
    assert!(chunk.memory.capacity() <= CHUNK_BYTES, "a chunk of {} bytes", chunk.memory.capacity());
    chunk.memory.capacity() as u64
}

impl Conn {
    pub(crate) fn new(session: Session<Model>, peer: usize) -> Conn {
        let leftover = Vec::new();
        let (queued, admitted) = (Queued::default(), None);
        Conn {
            session,
            leftover,
            peer,
            queued,
            waits: false,
            admitted,
            user: None,
            attached: true,
            shut_down: false,
            drains: false,
            dismissed: false,
            outstanding: 0,
            handed: 0,
            has_probed: false,
        }
    }

    /// An operation is handed to the store.
    pub(crate) fn hand_on(&mut self, operation: &Operation<Model>) {
        self.outstanding += 1;
        self.handed += carried(operation);
        self.has_probed |= matches!(operation, Operation::Read(ReadOperation::Probe));
    }

    /// Asserts the invariants once all operations asked for have been taken.
    pub(crate) fn check(&mut self) {
        let session = &mut self.session;
        let queued = session.outbox().bytes();
        assert!(queued <= OUTBOX_BYTES, "{queued} bytes of output are queued");
        assert!(self.outstanding <= OPERATIONS, "{} operations are under way", self.outstanding);
        assert!(self.handed <= HANDED_BYTES, "{} bytes are handed to the store", self.handed);
        if let Some(buffer) = session.direct() {
            assert!(!buffer.is_empty() && buffer.len() <= CHUNK_BYTES, "a direct buffer of {}", buffer.len());
        }
        if session.is_over() {
            assert_eq!(self.outstanding, 0, "over while operations are under way");
            return;
        }
        let (wants, deadline) = (session.wants_input(), session.deadline());
        if session.is_cut() {
            assert!(self.outstanding > 0, "cut, not over, and nothing to wait for");
            assert!(!wants && queued == 0 && deadline.is_none(), "a connection that is cut wants something");
            return;
        }
        // A session that waits for nobody must look at the clock. One that waits for the store alone
        // must not, unless it has probed the root.
        assert!(self.outstanding > 0 || deadline.is_some() || self.waits, "nothing will ever wake this session");
        assert!(self.outstanding > 0 || wants || queued > 0, "a session that waits for nothing");
        let waits_for_store = deadline.is_none() || self.has_probed;
        assert!(wants || queued > 0 || waits_for_store, "a clock runs while only the store is awaited");
        assert!(!self.dismissed || self.shut_down || !wants, "a session that was dismissed wants input");
    }
}
