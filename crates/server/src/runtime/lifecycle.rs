//! Signals, the drain, and the watchdog that enforces its time limit.
//!
//! A server that is asked to end drains: it stops accepting, tells idle clients, and lets transfers
//! end. After the grace it tells all clients, publishes uploads that have arrived whole, and
//! closes. It can't promise when that is done: a helper may wait for a disk that never answers, and
//! so may a close. So a thread that touches neither files nor sockets sees the signals as well, and
//! ends the process when the time is over.
//!
//! No program can end a thread that waits inside the kernel and takes no signal, as on a frozen
//! file system. The process is over then and its sockets are closed, but the kernel keeps its entry
//! until that call returns.

use std::{
    io::{self, PipeReader, PipeWriter, Read, Write},
    process,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use mio::{Interest, Registry, Token};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use signal_hook::{
    SigId,
    consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM},
    low_level::{pipe, signal_name, unregister},
};

use signal_hook_mio::v1_0::Signals;

use super::setup::{ServerError, system};
use crate::units::counted;

/// The longest time after the grace, to tell clients and to publish uploads that have arrived
/// whole.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The longest grace: longer ones are cut to it, so that no clock overflows.
const LONGEST_GRACE: Duration = Duration::from_secs(366 * 24 * 3600);

/// The longest time after that, for helpers to come back and files to be closed.
const CLOSING: Duration = Duration::from_millis(500);

/// The byte that begins a drain without a signal. Signals write other bytes.
const BEGIN: u8 = b'B';

/// The exit status of a server that was asked to end, and abandoned something that did not answer in time.
pub const CUT_SHORT: u8 = 3;

/// How a server has ended that was asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// All that was begun came to an end.
    Whole,
    /// Helpers were abandoned that the file system did not answer: the status is [`CUT_SHORT`].
    CutShort,
}

impl Ending {
    /// Returns the exit status that says so.
    #[must_use]
    pub fn status(self) -> u8 {
        match self {
            Ending::Whole => 0,
            Ending::CutShort => CUT_SHORT,
        }
    }
}

/// The signals that end the server.
const ENDING: [i32; 3] = [SIGINT, SIGTERM, SIGQUIT];

/// The requests that signals make.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Asked {
    /// The server is to drain.
    pub(super) drain: bool,
    /// The configuration is to be read again.
    pub(super) reload: bool,
}

/// The phase of the server's life.
#[derive(Debug, Clone, Copy)]
enum Phase {
    Serving,
    /// Transfers under way go on, until this time.
    Draining(Instant),
    /// Clients are told, and whole uploads are published, until this time.
    Ending(Instant),
}

/// The server's phase, and its signals.
pub(super) struct LifeCycle {
    signals: Signals,
    phase: Phase,
    grace: Duration,
    /// Whether the drain has begun without a signal, and none came since.
    is_succeeded: bool,
    watchdog: Watchdog,
}

impl LifeCycle {
    /// Watches for the signals that end the server, which then drains for `grace`, and for SIGHUP.
    /// `registry` tells of them under `token`.
    pub(super) fn start(registry: &Registry, token: Token, grace: Duration) -> Result<LifeCycle, ServerError> {
        let failed = "can't watch for signals";
        let grace = grace.min(LONGEST_GRACE);
        let watchdog = Watchdog::start(grace).map_err(system(failed))?;
        let mut signals = Signals::new(ENDING.iter().chain(&[SIGHUP])).map_err(system(failed))?;
        registry.register(&mut signals, token, Interest::READABLE).map_err(system(failed))?;
        Ok(LifeCycle { signals, phase: Phase::Serving, grace, is_succeeded: false, watchdog })
    }

    /// Takes the signals that came, and returns their requests. During the drain, a signal that
    /// ends the server does so at once.
    pub(super) fn take_signals(&mut self, now: Instant) -> Asked {
        let mut asked = Asked::default();
        for signal in self.signals.pending() {
            if signal == SIGHUP {
                asked.reload = true;
                continue;
            }
            let signal = signal_name(signal).unwrap_or("a signal");
            if std::mem::take(&mut self.is_succeeded) {
                log::info!("{signal} came: the server drains already, since another one has its place");
            } else if self.is_draining() {
                log::warn!("{signal} came again: ending at once");
                self.phase = Phase::Ending(now);
            } else {
                log::info!("{signal} came: ending");
                self.phase = Phase::Draining(now + self.grace);
                asked.drain = true;
            }
        }
        asked
    }

    /// Begins the drain without a signal: another server goes on with the sockets.
    pub(super) fn drain(&mut self, now: Instant) {
        self.phase = Phase::Draining(now + self.grace);
        self.is_succeeded = true;
        self.watchdog.begin();
    }

    /// Sets the grace of a drain that begins from here on.
    pub(super) fn set_grace(&mut self, grace: Duration) {
        self.grace = grace.min(LONGEST_GRACE);
        self.watchdog.set_grace(self.grace);
    }

    /// Returns whether the drain has begun; also true after its end.
    pub(super) fn is_draining(&self) -> bool {
        !matches!(self.phase, Phase::Serving)
    }

    /// Returns when the next phase begins by itself.
    pub(super) fn next_at(&self) -> Option<Instant> {
        match self.phase {
            Phase::Serving => None,
            Phase::Draining(until) | Phase::Ending(until) => Some(until),
        }
    }

    /// Returns true once the grace is over, and only once: clients that are left are to be
    /// dismissed.
    pub(super) fn take_end_of_grace(&mut self, now: Instant) -> bool {
        let is_over = matches!(self.phase, Phase::Draining(until) if until <= now);
        if is_over {
            self.phase = Phase::Ending(now + LAST_WORDS);
        }
        is_over
    }

    /// Returns whether the loop ends now, with `left` connections: either none is left, or the time
    /// is over.
    pub(super) fn has_ended(&self, left: usize) -> bool {
        let is_over = match self.phase {
            Phase::Serving => return false,
            Phase::Draining(_) => false,
            Phase::Ending(until) => Instant::now() >= until,
        };
        if is_over && left > 0 {
            log::warn!("{} did not end in time", counted(left as u64, "connection"));
        }
        left == 0 || is_over
    }

    /// Stops the watchdog: from here on nothing waits.
    pub(super) fn end(self) {
        drop(self.watchdog);
    }
}

/// Ends the process when its time is over, from a thread of its own, until it is dropped.
#[derive(Debug)]
struct Watchdog {
    signals: Vec<SigId>,
    /// In milliseconds.
    grace: Arc<AtomicU64>,
    has_ended: Arc<AtomicBool>,
    begin: PipeWriter,
}

impl Watchdog {
    /// Watches for the signals that end the server, which then drains for `grace`.
    fn start(grace: Duration) -> io::Result<Watchdog> {
        let (reader, writer) = io::pipe()?;
        let signals =
            ENDING.map(|signal| pipe::register(signal, writer.try_clone()?)).into_iter().collect::<io::Result<_>>()?;
        let watchdog = Watchdog { signals, grace: Arc::default(), has_ended: Arc::default(), begin: writer };
        watchdog.set_grace(grace);
        let (grace, has_ended) = (watchdog.grace.clone(), watchdog.has_ended.clone());
        let first = move || Duration::from_millis(grace.load(Ordering::Relaxed)) + LAST_WORDS + CLOSING;
        thread::Builder::new().name("ferry-end".into()).spawn(move || {
            if is_over(&reader, first, CLOSING) && !has_ended.load(Ordering::Acquire) {
                log::error!("a file system did not answer in time: ending without waiting for it");
                log::logger().flush();
                process::exit(CUT_SHORT.into());
            }
        })?;
        Ok(watchdog)
    }

    /// Starts the time limit of a drain that begins now, without a signal.
    fn begin(&self) {
        // There is room: the pipe holds few bytes, and the thread reads them.
        let _ = (&self.begin).write(&[BEGIN]);
    }

    fn set_grace(&self, grace: Duration) {
        self.grace.store(u64::try_from(grace.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.has_ended.store(true, Ordering::Release);
        // This closes the other ends of the pipe, and the thread ends.
        for signal in self.signals.drain(..) {
            unregister(signal);
        }
    }
}

/// Waits until the time limit is over. The first byte from `begun`, a signal or [`BEGIN`], sets it
/// to `first`; any further signal sets it to `others`. False where no byte can come any more.
fn is_over(mut begun: &PipeReader, first: impl Fn() -> Duration, others: Duration) -> bool {
    let (mut until, mut signals): (Option<Instant>, u32) = (None, 0);
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return true;
        }
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut [PollFd::new(&begun, PollFlags::IN)], left.as_ref()) {
            Ok(0) | Err(Errno::INTR) => continue,
            Ok(_) => {}
            Err(_) => return false,
        }
        let mut byte = [0];
        match begun.read(&mut byte) {
            Ok(1) => {
                signals += u32::from(byte != [BEGIN]);
                let at = Instant::now() + if signals > 1 { others } else { first() };
                until = Some(until.map_or(at, |until| until.min(at)));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: Duration = Duration::from_secs(3600);

    #[test]
    fn one_signal_gives_time_and_another_takes_it() {
        for (sent, first, others) in [
            (&b"1"[..], Duration::ZERO, NEVER),
            (b"B", Duration::ZERO, NEVER),
            (b"12", NEVER, Duration::ZERO),
            (b"B12", NEVER, Duration::ZERO),
        ] {
            let (reader, mut writer) = io::pipe().unwrap();
            writer.write_all(sent).unwrap();
            assert!(is_over(&reader, || first, others), "after {} signals", sent.len());
        }
    }

    #[test]
    fn a_server_that_has_ended_is_not_killed() {
        for sent in [&b""[..], b"1", b"12", b"B1"] {
            let (reader, mut writer) = io::pipe().unwrap();
            writer.write_all(sent).unwrap();
            drop(writer);
            assert!(!is_over(&reader, || NEVER, NEVER));
        }
    }
}
