//! The clocks of a session: idle, unfinished request, transfers that do not move, and a root that
//! does not answer.

use std::time::{Duration, Instant};

/// How long a client may take. Part of [`Limits`](super::Limits).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// Between two requests.
    pub idle: Duration,
    /// From the first byte of a request line to its LF.
    pub request: Duration,
    /// Over which the progress of a body, in either direction, is measured.
    pub window: Duration,
    /// Bytes that a body must move in each window.
    pub window_bytes: u64,
}

/// The time that the root may take to answer a HEALTH.
pub const ROOT_TIME: Duration = Duration::from_secs(1);

/// The thing or person that a session waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiting {
    /// The server's own work: the client can't help it.
    Store,
    /// The next request.
    Idle,
    /// The rest of a request line.
    Line,
    /// The rest of a body.
    Body,
    /// The client, to take what is queued for it.
    Output,
    /// The root's answer to a HEALTH.
    Root,
    /// A fixed moment: the end of lingering after the last reply.
    Linger,
}

/// Measures one wait at a time. A wait of another kind, or one that follows after something was
/// done, starts anew.
#[derive(Debug)]
pub(super) struct Clock {
    waiting: Waiting,
    since: Instant,
    counted: u64,
    /// It stands still.
    is_paused: bool,
}

impl Clock {
    pub(super) fn new(now: Instant) -> Clock {
        Clock { waiting: Waiting::Idle, since: now, counted: 0, is_paused: false }
    }

    /// Notes that the session now waits for `waiting`. `counter` counts what shows progress:
    /// requests for [`Waiting::Idle`] and [`Waiting::Line`], bytes for bodies and output.
    pub(super) fn set(&mut self, waiting: Waiting, counter: u64, now: Instant) {
        let anew = match waiting {
            Waiting::Idle | Waiting::Line => waiting != self.waiting || counter != self.counted,
            _ => waiting != self.waiting,
        };
        if anew {
            *self = Clock { waiting, since: now, counted: counter, is_paused: self.is_paused };
        }
    }

    /// Returns when to look again; [`None`] while it stands still.
    pub(super) fn deadline(&self, timeouts: &Timeouts, linger: Duration) -> Option<Instant> {
        if self.is_paused {
            return None;
        }
        let wait = match self.waiting {
            Waiting::Store => return None,
            Waiting::Idle => timeouts.idle,
            Waiting::Line => timeouts.request,
            Waiting::Body | Waiting::Output => timeouts.window,
            Waiting::Root => ROOT_TIME,
            Waiting::Linger => linger,
        };
        self.since.checked_add(wait)
    }

    /// Returns since when no request has come, where one is waited for and the clock does not stand still.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        (self.waiting == Waiting::Idle && !self.is_paused).then_some(self.since)
    }

    /// The deadline has passed: whether the wait is over. A body that moved enough in this window
    /// gets another.
    pub(super) fn expired(&mut self, timeouts: &Timeouts, counter: u64, now: Instant) -> Option<Waiting> {
        let moves = matches!(self.waiting, Waiting::Body | Waiting::Output);
        if moves && counter.saturating_sub(self.counted) >= timeouts.window_bytes {
            (self.since, self.counted) = (now, counter);
            return None;
        }
        Some(self.waiting)
    }

    /// Stands still until [`resume`](Self::resume).
    pub(super) fn pause(&mut self) {
        self.is_paused = true;
    }

    /// Goes on where it stood, `paused` ago: the wait is as long as it was. One that began
    /// meanwhile begins now.
    pub(super) fn resume(&mut self, paused: Duration, now: Instant) {
        if std::mem::take(&mut self.is_paused) {
            self.since = now.min(self.since + paused);
        }
    }

    pub(super) fn restart(&mut self, counter: u64, now: Instant) {
        (self.since, self.counted) = (now, counter);
    }

    pub(super) fn waiting(&self) -> Waiting {
        self.waiting
    }
}
