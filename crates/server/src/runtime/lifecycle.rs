//! The end: begun by a signal, and held to its time whatever does not answer.
//!
//! The loop ends by itself: it says so to every client, publishes what is whole, and closes. It can't promise when
//! that is done: a helper may wait for a disk that never answers, and so may whatever closes files. So a thread
//! that touches neither files nor sockets sees the signals as well, and ends the process when the time is over.
//!
//! No program can end a thread that waits inside the kernel and takes no signal, as on a frozen file
//! system: the process is over then, its sockets are closed, and the kernel keeps its entry until that call returns.

use std::{
    io::{self, PipeReader, Read},
    process,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use signal_hook::{
    SigId,
    low_level::{pipe, signal_name, unregister},
};

use super::{Server, accept::shutting_down, say};

/// How long the end may take once it was asked for: uploads that are whole are published, replies
/// are sent.
const ENDING: Duration = Duration::from_secs(10);

/// How long what comes behind may take: helpers come back, files are closed.
const CLOSING: Duration = Duration::from_millis(500);

/// The exit status of a server that was asked to end, and had to leave something that did not answer in time.
pub const CUT_SHORT: i32 = 3;

impl Server {
    /// Takes the signals that came: the first one begins the end, another cuts it short.
    pub(super) fn signalled(&mut self) {
        for signal in self.signals.pending() {
            let signal = signal_name(signal).unwrap_or("a signal");
            let now = Instant::now();
            if self.ending.is_some() {
                log::warn!("{signal} came again: ending at once");
                self.ending = Some(now);
                continue;
            }
            log::info!("{signal} came: ending");
            self.ending = Some(now + ENDING);
            // From here on nobody can connect.
            self.turn_away_waiting();
            let keys: Vec<_> = self.connections.iter().map(|(key, _)| key).collect();
            for key in keys {
                self.connections[key].session.dismiss(shutting_down(), now);
                self.queue(key);
            }
        }
    }

    /// Whether the loop ends now: nobody is left, or the time is over.
    pub(super) fn has_ended(&self) -> bool {
        let Some(until) = self.ending else { return false };
        let left = self.connections.len();
        let is_over = Instant::now() >= until;
        if is_over && left > 0 {
            log::warn!("{left} connections did not end in time");
        }
        left == 0 || is_over
    }

    /// Lets go of everything.
    pub(super) fn finish(mut self) {
        let is_cut = !self.connections.is_empty();
        // Clients first: what comes behind may wait for a disk.
        for (_, connection) in &mut self.connections {
            connection.endpoint = None;
        }
        self.transfer_log.sum_up(None, say);
        self.pool.end(is_cut);
        self.store.leave();
        drop(self.connections);
        log::info!("ended; the loop was away from its clients for at most {:?}", self.longest_turn);
        // From here on nothing waits.
        drop(self.watchdog);
    }
}

/// Ends the process when its time is over, from a thread of its own, until it is dropped.
#[derive(Debug)]
pub(super) struct Watchdog {
    signals: Vec<SigId>,
    has_ended: Arc<AtomicBool>,
}

impl Watchdog {
    /// Watches for the `signals` that end the server.
    pub(super) fn start(signals: impl Iterator<Item = i32>) -> io::Result<Watchdog> {
        let (reader, writer) = io::pipe()?;
        let mut watchdog = Watchdog { signals: Vec::new(), has_ended: Arc::default() };
        for signal in signals {
            watchdog.signals.push(pipe::register(signal, writer.try_clone()?)?);
        }
        let has_ended = watchdog.has_ended.clone();
        thread::Builder::new().name("ferry-end".into()).spawn(move || {
            if is_over(&reader, ENDING + CLOSING, CLOSING) && !has_ended.load(Ordering::Acquire) {
                log::error!("something does not answer: it is left as it is");
                log::logger().flush();
                process::exit(CUT_SHORT);
            }
        })?;
        Ok(watchdog)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.has_ended.store(true, Ordering::Release);
        // With them the other ends of the pipe are closed, and the thread ends.
        for signal in self.signals.drain(..) {
            unregister(signal);
        }
    }
}

/// Waits until the time is over that the first signal gives, or the shorter one that any other gives; each is a byte
/// from `signals`. False where there are none to come.
fn is_over(mut signals: &PipeReader, first: Duration, others: Duration) -> bool {
    let mut until: Option<Instant> = None;
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return true;
        }
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut [PollFd::new(&signals, PollFlags::IN)], left.as_ref()) {
            Ok(0) | Err(Errno::INTR) => continue,
            Ok(_) => {}
            Err(_) => return false,
        }
        match signals.read(&mut [0]) {
            Ok(1) => {
                let now = Instant::now();
                until = Some(until.map_or(now + first, |until| until.min(now + others)));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const NEVER: Duration = Duration::from_secs(3600);

    #[test]
    fn one_signal_gives_time_and_another_takes_it() {
        for (sent, first, others) in [(&b"1"[..], Duration::ZERO, NEVER), (b"12", NEVER, Duration::ZERO)] {
            let (reader, mut writer) = io::pipe().unwrap();
            writer.write_all(sent).unwrap();
            assert!(is_over(&reader, first, others), "after {} signals", sent.len());
        }
    }

    #[test]
    fn who_has_ended_is_left_in_peace() {
        for sent in [&b""[..], b"1", b"12"] {
            let (reader, mut writer) = io::pipe().unwrap();
            writer.write_all(sent).unwrap();
            drop(writer);
            assert!(!is_over(&reader, NEVER, NEVER));
        }
    }
}
