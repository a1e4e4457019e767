//! What a caller can choose, watch and stop.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// How a [`Client`](crate::Client) behaves.
#[derive(Debug, Clone)]
pub struct Options {
    pub(crate) timeout: Duration,
    pub(crate) cancel: Cancel,
    pub(crate) min_rate: MinRate,
    pub(crate) tree_memory: usize,
}

/// So many bytes in so much time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MinRate {
    pub(crate) bytes: u64,
    pub(crate) window: Duration,
}

impl Options {
    /// Gives a server up that moves no byte for so long, takes so long to end a line that it began, or
    /// takes none of an upload for so long whatever it says meanwhile; 30 s unless told. Where the server has to
    /// go through a whole file before it can answer (the end of an upload, SUM), it gets ten times that, and while it
    /// still takes connections as long as a disk of 64 KiB a second needs for the file. A change of a name gets ten times
    /// as well where it still takes connections.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Options {
        Options { timeout, ..self }
    }

    /// Gives up a server that moves fewer than `bytes` bytes of a file or a listing while it was waited for
    /// `window` in all; 1024 in 60 s unless told, and 0 for no such limit. Time that the caller or the local
    /// disk takes does not count.
    #[must_use]
    pub fn min_rate(self, bytes: u64, window: Duration) -> Options {
        Options { min_rate: MinRate { bytes, window }, ..self }
    }

    /// Fails where what a server tells of in one command, by one listing or by many, would take more than about `bytes` of
    /// memory, its names and all that is made of them to transfer the files; 512 MiB unless told, which is a million names
    /// of usual length.
    #[must_use]
    pub fn tree_memory(self, bytes: usize) -> Options {
        Options { tree_memory: bytes, ..self }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Ends what is under way when `cancel` is raised.
    #[must_use]
    pub fn cancel(self, cancel: Cancel) -> Options {
        Options { cancel, ..self }
    }
}

impl Default for Options {
    fn default() -> Options {
        let min_rate = MinRate { bytes: 1024, window: Duration::from_secs(60) };
        Options { timeout: Duration::from_secs(30), cancel: Cancel::default(), min_rate, tree_memory: 512 << 20 }
    }
}

/// A flag that ends what a [`Client`](crate::Client) is doing. Clones share it; it stays raised
/// until [`Cancel::reset`].
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Raises the flag. Safe to call from any thread.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Lowers the flag again.
    pub fn reset(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Whether the flag is raised.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The flag itself: for a signal handler, which may do no more than store `true` in it.
    #[must_use]
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}

/// How far a transfer is. Given to the caller's callback before the first byte and after every
/// piece, at most a mebibyte apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that are done, those of earlier connections included.
    pub done: u64,
    /// Bytes in all.
    pub total: u64,
}
