//! Where descriptors are closed that may take long: the last close of a large file that has no name
//! any more frees all of its blocks.

use std::{
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Sender, channel},
    },
    thread,
};

/// Above this size a file is closed away from the loop.
pub(super) const LARGE_BYTES: u64 = 1 << 20;

/// Hands descriptors to a thread that closes them, once there are any.
#[derive(Debug, Clone)]
pub(super) struct Closer {
    tasks: Sender<Task>,
    /// How many were handed over, and how many of them are closed.
    handed: Arc<AtomicU64>,
    closed: Arc<AtomicU64>,
}

enum Task {
    Close(OwnedFd),
    Tell(Sender<()>),
}

impl Closer {
    pub(super) fn start() -> std::io::Result<Closer> {
        let (tasks, receiver) = channel::<Task>();
        let [handed, closed] = [const { AtomicU64::new(0) }; 2].map(Arc::new);
        let count = closed.clone();
        thread::Builder::new().name("ferry-close".into()).spawn(move || {
            for task in receiver {
                match task {
                    Task::Close(file) => {
                        drop(file);
                        count.fetch_add(1, Ordering::Release);
                    }
                    // Nobody listens any more, perhaps.
                    Task::Tell(ended) => drop(ended.send(())),
                }
            }
        })?;
        Ok(Closer { tasks, handed, closed })
    }

    pub(super) fn close(&self, file: OwnedFd) {
        self.handed.fetch_add(1, Ordering::Release);
        // Should the thread have ended, the error holds the descriptor and closes it here.
        let _ = self.tasks.send(Task::Close(file));
    }

    /// How many were closed since the beginning.
    pub(super) fn closed(&self) -> u64 {
        self.closed.load(Ordering::Acquire)
    }

    /// Waits until what was handed over is closed, and says whether anything was since `closed` gave `before`.
    pub(super) fn has_closed_since(&self, before: u64) -> bool {
        if self.closed() < self.handed.load(Ordering::Acquire) {
            let (teller, told) = channel();
            if self.tasks.send(Task::Tell(teller)).is_ok() {
                // An error says that the thread has ended.
                let _ = told.recv();
            }
        }
        self.closed() != before
    }
}
