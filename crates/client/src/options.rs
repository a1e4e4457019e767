//! The choices of a caller: how to connect, how to watch, how to stop.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ferry_wire::Fingerprint;

use crate::{
    login::Credentials,
    trust::{Security, Trust},
};

/// The timeouts, limits, trust and user of a [`Client`](crate::Client), and the flag that ends what it does.
#[derive(Debug, Clone)]
pub struct Options {
    pub(crate) timeout: Duration,
    pub(crate) cancel: Cancel,
    pub(crate) min_rate: MinRate,
    pub(crate) tree_memory: usize,
    pub(crate) security: Security,
    pub(crate) trust: Trust,
    pub(crate) credentials: Option<Credentials>,
    /// Ends one connection alone, by those who opened it.
    pub(crate) leave: Cancel,
}

/// A least rate: so many bytes in so much time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MinRate {
    pub(crate) bytes: u64,
    pub(crate) window: Duration,
}

impl Options {
    /// Aborts after `timeout` without progress; the default is 30 s. Progress is a byte in either direction. A line that was
    /// begun has to end in that time, and some of an upload has to be taken, whatever the server says meanwhile.
    ///
    /// Where the server has to read a whole file before it can answer (the end of an upload, SUM), it has ten times that.
    /// While it still takes connections it has as long as a disk of 64 KiB a second needs for the file, and ten times the
    /// timeout for a change of a name.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Options {
        Options { timeout, ..self }
    }

    /// Aborts where fewer than `bytes` bytes of a file or a listing move in `window`; the default is 1024 in 60 s, and 0 means
    /// no such limit. Only time counts in which the server was waited for, not that of the caller or of the local disk.
    #[must_use]
    pub fn min_rate(self, bytes: u64, window: Duration) -> Options {
        Options { min_rate: MinRate { bytes, window }, ..self }
    }

    /// Fails where the names that a server lists for one command take more than about `bytes` of memory, with all that is
    /// made of them to transfer the files. The default is 512 MiB: a million names of usual length.
    #[must_use]
    pub fn tree_memory(self, bytes: usize) -> Options {
        Options { tree_memory: bytes, ..self }
    }

    /// Chooses whether TLS is spoken; [by the address](Security::ByAddress) unless told.
    #[must_use]
    pub fn security(self, security: Security) -> Options {
        Options { security, ..self }
    }

    /// Chooses which servers that speak TLS are trusted; those for which an authority of this system vouches unless told.
    #[must_use]
    pub fn trust(self, trust: Trust) -> Options {
        Options { trust, ..self }
    }

    /// Trusts the key `fingerprint` and no other, as [`Trust::pinned`] does.
    #[must_use]
    pub fn pinned(self, fingerprint: Fingerprint) -> Options {
        Options { trust: self.trust.pinned(fingerprint), ..self }
    }

    /// Logs in on each connection, before anything else is asked; nobody is logged in unless told.
    #[must_use]
    pub fn credentials(self, credentials: Credentials) -> Options {
        Options { credentials: Some(credentials), ..self }
    }

    /// Returns the user who is to be logged in.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.credentials.as_ref().map(Credentials::user)
    }

    /// Asks nobody: refuses keys that are not known yet, whatever was to be done about them, and logs in only if the
    /// secret is known. It is for a connection of which nobody knows.
    #[must_use]
    pub fn known_only(self) -> Options {
        let credentials = self.credentials.map(Credentials::known_only);
        Options { trust: self.trust.known_only(), credentials, ..self }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled() || self.leave.is_cancelled()
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
        Options {
            timeout: Duration::from_secs(30),
            cancel: Cancel::default(),
            min_rate,
            tree_memory: 512 << 20,
            security: Security::default(),
            trust: Trust::default(),
            credentials: None,
            leave: Cancel::default(),
        }
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

    /// Returns whether the flag is raised.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Returns the flag itself: for a signal handler, which may do no more than store `true` in it.
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
