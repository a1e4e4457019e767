//! The protocols of clients: one room each, and each a pure state machine of one contract.
//!
//! [`Session`] is what the loop knows of them, and its documentation states the contract. Beside the rooms stands what
//! they share: the client and its rights, the queue of output, the clocks, operations on their way to the store, and the
//! one state machine of an upload.

mod body;
mod clock;
mod failures;
pub mod ferry;
pub mod http;
mod operations;
mod outbox;
mod record;
mod session;
mod spares;
mod upload;
mod uploads;
mod visitor;

use std::{sync::Arc, time::Duration};

use ferry_wire::{Code, Failure, Mode};

pub use clock::{ROOT_TIME, Timeouts};
pub use outbox::{Outbox, Segment};
pub use record::Record;
pub use session::Session;
pub use spares::Spares;
pub use visitor::{Login, LoginOutcome, Visitor};

use crate::units::counted;

/// The limits of a session, shared by all sessions of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The name of this server among several, for the greeting.
    pub node: Option<Arc<str>>,
    /// Changes are refused.
    pub read_only: bool,
    /// The store brings nothing to the disk before it says that it is done.
    pub volatile: bool,
    /// The permissions of uploads that are kept where the client tells them; [`None`] for none.
    pub kept_modes: Option<Mode>,
    /// The largest upload in bytes.
    pub upload_bytes: u64,
    /// How long a client may take.
    pub timeouts: Timeouts,
    /// Between two checkpoints of a resumable upload, in bytes: what a crash can cost at most,
    /// beside what is gathered for one write.
    pub checkpoint_bytes: u64,
    /// After this time a checkpoint is made of fewer bytes, too: what a crash can cost those who are slow.
    pub checkpoint_time: Duration,
    /// How long what has come of a resumable upload is kept at least.
    pub keep: Duration,
}

/// After the last reply: how long, and over how many bytes, input is discarded so that closing
/// does not destroy replies on their way.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: u64 = 1 << 20;

/// In the drain a client that was silent for so long is idle. For so long from its beginning, too,
/// each client is served as ever: one that comes for a single request has its answer by then.
const MOMENT: Duration = Duration::from_secs(1);

impl Limits {
    /// Returns the refusal of an upload that is too large.
    fn too_large(&self) -> Failure {
        let most = counted(self.upload_bytes, "byte");
        Failure::new(Code::TooLarge, format!("this server takes uploads up to {most}"))
    }
}

/// The work that a session is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// A request is due, and nothing is owed.
    Idle,
    /// A request is read, or answered without a transfer.
    Asking,
    /// A file is sent.
    Downloading,
    /// A file is received, or brought to the disk.
    Uploading,
    /// All is said, or is being said for the last time.
    Closing,
}
