//! Closes files whose close may take long. The last close of a large file that has no name any more
//! frees all of its blocks. A close on a file system that is not local may wait for another
//! machine.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

/// Above this size a file is closed away from the loop wherever it lies.
pub(super) const LARGE_BYTES: u64 = 1 << 20;

/// The most threads that close. One is started where all others are busy, until nothing waits: a
/// close that never returns costs one.
const THREADS: usize = 8;

/// The time that a call for which there is no room waits for files that are being closed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Hands what owns descriptors to threads that drop it. They end with the last clone.
#[derive(Debug, Clone)]
pub(super) struct Closer {
    owner: Arc<Owner>,
}

/// The owner of the threads, which end when it is dropped.
#[derive(Debug, Default)]
struct Owner {
    shared: Arc<Shared>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.handed.notify_all();
    }
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    handed: Condvar,
    closed: Condvar,
    /// As in the state: looked at before every call.
    closed_so_far: AtomicU64,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Box<dyn Send>>,
    /// How many were handed over, and how many of them are closed.
    handed: u64,
    closed: u64,
    threads: usize,
    ended: bool,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "State({} of {} closed by {} threads)", self.closed, self.handed, self.threads)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes until nobody hands anything over any more.
    fn help(&self) {
        let mut state = self.lock();
        loop {
            match state.waiting.pop_front() {
                Some(owner) => {
                    drop(state);
                    drop(owner);
                    state = self.lock();
                    state.closed += 1;
                    self.closed_so_far.store(state.closed, Ordering::Release);
                    self.closed.notify_all();
                }
                // One stays.
                None if state.ended || state.threads > 1 => {
                    state.threads -= 1;
                    return;
                }
                None => state = self.handed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

impl Closer {
    pub(super) fn start() -> std::io::Result<Closer> {
        let closer = Closer { owner: Arc::default() };
        closer.add_thread()?;
        closer.shared().lock().threads = 1;
        Ok(closer)
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.owner.shared
    }

    fn add_thread(&self) -> std::io::Result<()> {
        let shared = self.shared().clone();
        thread::Builder::new().name("ferry-close".into()).spawn(move || shared.help()).map(drop)
    }

    /// Drops `owner`, and so closes its descriptors.
    pub(super) fn close(&self, owner: impl Send + 'static) {
        let mut state = self.shared().lock();
        state.waiting.push_back(Box::new(owner));
        state.handed += 1;
        let busy = state.handed - state.closed;
        // Without one more thread those that are there do it, later.
        if busy > state.threads as u64 && state.threads < THREADS && self.add_thread().is_ok() {
            state.threads += 1;
        }
        drop(state);
        self.shared().handed.notify_one();
    }

    /// Returns how many were closed since the beginning.
    pub(super) fn closed(&self) -> u64 {
        self.shared().closed_so_far.load(Ordering::Acquire)
    }

    /// Waits, though not for ever, until what was handed over is closed, and says whether anything was since
    /// `closed` gave `before`.
    pub(super) fn has_closed_since(&self, before: u64) -> bool {
        let state = self.shared().lock();
        let handed = state.handed;
        let open = |state: &mut State| state.closed < handed;
        let waited = self.shared().closed.wait_timeout_while(state, PATIENCE, open);
        waited.unwrap_or_else(PoisonError::into_inner).0.closed != before
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// A descriptor whose close waits for a word.
    struct Stuck(Receiver<()>);

    impl Drop for Stuck {
        fn drop(&mut self) {
            let _ = self.0.recv();
        }
    }

    #[test]
    fn a_close_that_never_returns_holds_up_no_other() {
        let closer = Closer::start().unwrap();
        let stuck: Vec<Sender<()>> = (1..THREADS)
            .map(|_| {
                let (let_go, waits) = channel();
                closer.close(Stuck(waits));
                let_go
            })
            .collect();
        let (told, tells) = channel::<()>();
        closer.close(told);
        assert!(tells.recv().is_err(), "it is closed");
        drop(stuck);
        assert!(closer.has_closed_since(0));
        assert_eq!(closer.closed(), THREADS as u64);
    }
}
