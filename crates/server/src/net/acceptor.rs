//! Accepting clients, through every shortage.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use mio::{
    Interest, Registry, Token,
    event::Source,
    net::{TcpListener, TcpStream},
};
use rustix::io::Errno;

/// The time after which a listener that ran out of descriptors tries again.
const RETRY: Duration = Duration::from_millis(100);

/// A kind of listening sockets.
pub(crate) trait Accepts {
    /// The socket of a client, and all else that is known of it.
    type Client;

    /// Accepts the next client.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) where none waits.
    fn accept(&self) -> io::Result<Self::Client>;

    /// Returns the socket, for its events.
    fn source(&mut self) -> &mut dyn Source;
}

impl Accepts for TcpListener {
    type Client = (TcpStream, SocketAddr);

    fn accept(&self) -> io::Result<Self::Client> {
        TcpListener::accept(self)
    }

    fn source(&mut self) -> &mut dyn Source {
        self
    }
}

/// A listening socket, and whether clients wait there.
#[derive(Debug)]
pub(crate) struct Acceptor<L = TcpListener> {
    listener: L,
    is_ready: bool,
    /// Set while the system is short of something: no earlier than this.
    retry_at: Option<Instant>,
    /// The shortage was logged, and has not ended since.
    is_failing: bool,
}

impl<L: Accepts> Acceptor<L> {
    /// Returns the acceptor of `listener`, whose events `registry` then tells under `token`.
    pub(crate) fn new(mut listener: L, registry: &Registry, token: Token) -> io::Result<Acceptor<L>> {
        registry.register(listener.source(), token, Interest::READABLE)?;
        Ok(Acceptor { listener, is_ready: true, retry_at: None, is_failing: false })
    }

    /// Closes the listener, which another process has as well: without this its events would come here, too.
    pub(crate) fn give_away(mut self, registry: &Registry) {
        if let Err(error) = registry.deregister(self.listener.source()) {
            log::debug!("a listener is still watched: {error}");
        }
    }

    /// Returns the socket.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_>
    where
        L: AsFd,
    {
        self.listener.as_fd()
    }

    /// Notes an event: clients wait.
    pub(crate) fn note_ready(&mut self) {
        self.is_ready = true;
    }

    /// Notes that a descriptor was freed: there is no shortage to wait for.
    pub(crate) fn note_freed(&mut self) {
        self.retry_at = None;
    }

    /// Returns whether to try [`accept`](Self::accept): clients may wait, and no shortage is known.
    pub(crate) fn can_accept(&self, now: Instant) -> bool {
        self.is_ready && self.retry_at.is_none_or(|at| at <= now)
    }

    /// Returns when to try again though no event came.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Accepts the next client. Returns [`None`] where that client has gone, or where none [can be
    /// accepted](Self::can_accept) for now.
    pub(crate) fn accept(&mut self, now: Instant) -> Option<L::Client> {
        self.retry_at = None;
        let error = match self.listener.accept() {
            Ok(client) => {
                self.is_failing = false;
                return Some(client);
            }
            Err(error) => error,
        };
        match Errno::from_io_error(&error) {
            Some(Errno::AGAIN) => self.is_ready = false,
            Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                if !std::mem::replace(&mut self.is_failing, true) {
                    log::warn!("can't accept clients for now: {error}");
                }
                // Edge-triggered: queued clients raise no new event, so retry on a timer.
                self.retry_at = Some(now + RETRY);
            }
            _ => log::debug!("a client went away before it was accepted: {error}"),
        }
        None
    }
}
