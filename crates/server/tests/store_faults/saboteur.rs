//! Makes system calls fail.

use std::sync::{Mutex, MutexGuard, PoisonError};

use ferry_server::store::{Call, Watcher};
use rustix::{fs::Stat, io::Errno};

use crate::common::lack::Lack;

/// The kind of a call, without its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    FileSystem,
    Room,
    Open,
    Stat,
    StatEntry,
    Read,
    List,
    Lock,
    Write,
    Reserve,
    Truncate,
    Seek,
    Punch,
    SetTime,
    SetAttributes,
    Writeback,
    SyncData,
    Sync,
    SyncTogether,
    Mkdir,
    Unlink,
    Link,
    Rename,
    Take,
    Resident,
    Lease,
}

impl Kind {
    fn of(call: &Call<'_>) -> Kind {
        match call {
            Call::FileSystem { .. } => Kind::FileSystem,
            Call::Room { .. } => Kind::Room,
            Call::Open { .. } => Kind::Open,
            Call::Stat { .. } => Kind::Stat,
            Call::StatEntry { .. } => Kind::StatEntry,
            Call::Read { .. } => Kind::Read,
            Call::List { .. } => Kind::List,
            Call::Resident { .. } => Kind::Resident,
            Call::Lease { .. } | Call::Release { .. } => Kind::Lease,
            Call::Lock { .. } | Call::Unlock { .. } => Kind::Lock,
            Call::Write { .. } => Kind::Write,
            Call::Reserve { .. } => Kind::Reserve,
            Call::Truncate { .. } => Kind::Truncate,
            Call::Seek { .. } => Kind::Seek,
            Call::Punch { .. } => Kind::Punch,
            Call::SetTime { .. } => Kind::SetTime,
            Call::SetAttributes { .. } => Kind::SetAttributes,
            Call::Writeback { .. } => Kind::Writeback,
            Call::SyncData { .. } => Kind::SyncData,
            Call::Sync { .. } => Kind::Sync,
            Call::SyncTogether { .. } => Kind::SyncTogether,
            Call::Mkdir { .. } => Kind::Mkdir,
            Call::Unlink { .. } => Kind::Unlink,
            Call::Link { .. } => Kind::Link,
            // From one holder to the next, and no change of the tree.
            Call::Rename { to: (_, name), .. } if name.ends_with(".data") => Kind::Take,
            Call::Rename { .. } => Kind::Rename,
        }
    }

    pub(crate) fn is_sync(self) -> bool {
        matches!(self, Kind::Sync | Kind::SyncData | Kind::SyncTogether)
    }
}

/// A fault: the call that fails, and its error.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    /// The number of the call, counted from 0.
    pub(crate) nth: usize,
    pub(crate) error: Errno,
    /// All later ones of its kind fail as well.
    pub(crate) lasting: bool,
}

/// After this many failures a request is said to try for ever, and has its way.
const ENDLESS: usize = 200;

/// A signal interrupts only so often.
const INTERRUPTIONS: usize = 8;

/// The calls seen and the faults injected between arming and disarming.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) calls: Vec<Kind>,
    /// The calls that were made to fail.
    pub(crate) failed: Vec<Kind>,
    /// The call that changes what clients see was made.
    pub(crate) committed: bool,
}

impl Seen {
    pub(crate) fn is_endless(&self) -> bool {
        self.failed.len() >= ENDLESS
    }
}

#[derive(Debug, Default)]
struct Plan {
    armed: bool,
    fault: Option<Fault>,
    commit: Option<Kind>,
    spoils: bool,
    seen: Seen,
}

/// The watcher. Calls pass until it is armed, but for those that the file system refuses, which
/// count for nothing.
#[derive(Debug)]
pub(crate) struct Saboteur {
    plan: Mutex<Plan>,
    lack: Lack,
}

impl Saboteur {
    pub(crate) fn new(lack: Lack) -> Saboteur {
        Saboteur { plan: Mutex::default(), lack }
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts to count calls, and lets `fault` strike.
    pub(crate) fn arm(&self, fault: Option<Fault>, commit: Option<Kind>) {
        let mut plan = self.plan();
        let spoils = plan.spoils;
        *plan = Plan { armed: true, fault, commit, spoils, seen: Seen::default() };
    }

    pub(crate) fn disarm(&self) -> Seen {
        let mut plan = self.plan();
        plan.armed = false;
        plan.seen.clone()
    }

    /// Loses half of each published file from here on.
    pub(crate) fn spoil(&self) {
        self.plan().spoils = true;
    }
}

impl Plan {
    fn strikes(&self, index: usize, kind: Kind) -> Option<Errno> {
        let Fault { nth, error, lasting } = self.fault?;
        let again = self.seen.failed.first() == Some(&kind) && index > nth && lasting;
        let most = if error == Errno::INTR { INTERRUPTIONS } else { ENDLESS };
        ((index == nth || again) && self.seen.failed.len() < most).then_some(error)
    }
}

impl Watcher for Saboteur {
    fn before(&self, call: &Call<'_>) -> Result<(), Errno> {
        if let Some(error) = self.lack.refuses(call) {
            return Err(error);
        }
        let mut plan = self.plan();
        if !plan.armed {
            return Ok(());
        }
        let (index, kind) = (plan.seen.calls.len(), Kind::of(call));
        plan.seen.calls.push(kind);
        let Some(error) = plan.strikes(index, kind) else { return Ok(()) };
        plan.seen.failed.push(kind);
        Err(error)
    }

    fn told(&self, stat: &mut Stat) {
        self.lack.coarsens(stat);
    }

    fn after(&self, call: &Call<'_>) {
        let mut plan = self.plan();
        if !plan.armed {
            return;
        }
        plan.seen.committed |= Some(Kind::of(call)) == plan.commit;
        if let (Call::Rename { to: (dir, name), .. }, true) = (call, plan.spoils) {
            let flags = rustix::fs::OFlags::WRONLY;
            let file = rustix::fs::openat(dir, *name, flags, rustix::fs::Mode::empty()).expect("what was renamed");
            rustix::fs::ftruncate(&file, 7).expect("a file that can be cut");
        }
    }
}
