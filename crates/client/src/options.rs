//! The choices of a caller: how to connect, how to watch, how to stop.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ferry_wire::{AskedMode, FileMeta, Fingerprint, Greeting, Mode, Time};

use crate::{
    error::Error,
    login::Credentials,
    rate::RateLimit,
    trust::{Security, Trust},
};

/// The timeouts, limits, trust and user of a [`Client`](crate::Client), and the flag that ends what it does.
#[derive(Debug, Clone)]
pub struct Options {
    pub(crate) timeout: Duration,
    pub(crate) cancel: Cancel,
    pub(crate) min_rate: MinRate,
    pub(crate) rate_limit: RateLimit,
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

    /// Moves no more than `limit` says, each way, over all connections of the client together; no limit unless told.
    #[must_use]
    pub fn rate_limit(self, limit: RateLimit) -> Options {
        Options { rate_limit: limit, ..self }
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
            rate_limit: RateLimit::default(),
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

/// The permissions that a file or directory brings with it to the other end. Set-user-ID, set-group-ID and sticky bits never
/// do. The owner of a file may always read it, and that of a directory look into it. Those of directories are kept where the
/// server knows of them (`modes` in its greeting).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Permissions {
    /// None: it gets those of a new file in its place, or of the file that it replaces.
    #[default]
    Usual,
    /// Those of its owner; those of group and others are as usual.
    Owner,
    /// All nine.
    All,
}

impl Permissions {
    /// Returns those that count; [`None`] for none.
    pub(crate) fn mask(self) -> Option<Mode> {
        match self {
            Permissions::Usual => None,
            Permissions::Owner => Some(Mode::OWNER),
            Permissions::All => Some(Mode::ALL),
        }
    }

    /// Returns what a file that would have `usual` gets where the one at the other end has `mode`.
    pub(crate) fn over(self, usual: Mode, mode: Mode) -> Mode {
        self.mask().map_or(usual, |mask| usual.taking(mode, mask))
    }

    /// Does the same for a directory.
    pub(crate) fn over_directory(self, usual: Mode, mode: Mode) -> Mode {
        self.mask().map_or(usual, |mask| usual.taking_of_directory(mode, mask))
    }

    /// Returns what a server that has greeted with this is asked for, where the local end has `mode`; [`None`] where nothing
    /// is.
    pub(crate) fn asked(self, mode: Mode, greeting: Option<&Greeting>) -> Option<AskedMode> {
        let mask = self.mask()?;
        let knows = greeting.is_some_and(|greeting| greeting.has(Greeting::MODES));
        Some(AskedMode { mode: mode.within(mask), mask: if knows { mask } else { Mode::ALL } })
    }

    /// Returns what a download is given beside its bytes.
    pub(crate) fn given(self, meta: &FileMeta) -> Given {
        Given { mtime: meta.mtime, mode: meta.mode, permissions: self }
    }

    /// Fails where a server that has greeted with this does not tell them.
    pub(crate) fn check_told(self, greeting: Option<&Greeting>) -> Result<(), Error> {
        let knows = greeting.is_some_and(|greeting| greeting.has(Greeting::TELL_MODE));
        match self.mask().is_none() || knows {
            true => Ok(()),
            false => Err(Error::Lacking { what: "tell permissions", feature: Greeting::TELL_MODE }),
        }
    }

    /// Fails where a server that has greeted with this does not keep all of them.
    pub(crate) fn check_kept(self, greeting: Option<&Greeting>) -> Result<(), Error> {
        let kept = greeting.and_then(Greeting::kept_modes);
        match (self.mask(), kept) {
            (None, _) => Ok(()),
            (Some(wanted), Some(kept)) if wanted.within(kept) == wanted => Ok(()),
            (Some(_), None) => Err(Error::Lacking { what: "keep permissions", feature: Greeting::WITH_MODE }),
            (Some(_), Some(_)) => {
                Err(Error::Lacking { what: "keep permissions of group and others", feature: "with-mode=777" })
            }
        }
    }
}

/// The things that a download is given beside its bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Given {
    pub(crate) mtime: Option<Time>,
    /// The permissions that the server told, and those of them that count.
    pub(crate) mode: Option<Mode>,
    pub(crate) permissions: Permissions,
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
