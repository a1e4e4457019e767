//! The socket of a connection: the one place where bytes leave and enter, and where another transport would stand.

use std::{
    io::{self, IoSlice, IoSliceMut, Read as _, Write as _},
    net::SocketAddr,
    time::Duration,
};

use mio::{Events, Interest, Poll, Token, net::TcpStream};

/// A peer whose machine is gone, or that a router has forgotten, is noticed after some two minutes, also where the server
/// may be silent for longer because it has much to do.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_PROBES: u32 = 4;

/// A non-blocking TCP connection, and the means to wait for it.
///
/// Made by [`Socket::connect`]; [`Socket::is_connected`] says when it stands. Reads and writes never wait:
/// [`None`] means that nothing can be moved now.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    peer: SocketAddr,
    poll: Poll,
    events: Events,
}

impl Socket {
    /// Begins to connect.
    pub(super) fn connect(peer: SocketAddr) -> io::Result<Socket> {
        let poll = Poll::new()?;
        let mut stream = TcpStream::connect(peer)?;
        poll.registry().register(&mut stream, Token(0), Interest::READABLE | Interest::WRITABLE)?;
        Ok(Socket { stream, peer, poll, events: Events::with_capacity(8) })
    }

    /// Whether the connection stands; false while it is being made. It is made ready for use when it does.
    ///
    /// # Errors
    ///
    /// Why it can't be made.
    pub(super) fn is_connected(&self) -> io::Result<bool> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error);
        }
        match self.stream.peer_addr() {
            // A free port of one's own machine can be the very port that this socket was given: it
            // then talks to itself.
            Ok(peer) if self.stream.local_addr().is_ok_and(|local| local == peer) => {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(false),
            Err(error) => return Err(error),
        }
        // Without this a request waits for the acknowledgement of the one before it.
        self.stream.set_nodelay(true)?;
        if let Err(error) = keep_alive(&self.stream) {
            log::debug!("no keepalive: {error}");
        }
        Ok(true)
    }

    /// Returns the address of the other end.
    pub(super) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Reads into `places`, one after the other, and returns how many bytes came; 0 at the end of the stream.
    pub(super) fn read(&mut self, places: &mut [IoSliceMut<'_>]) -> io::Result<Option<usize>> {
        without_waiting(|| self.stream.read_vectored(places))
    }

    /// Writes of `pieces`, one after the other, what is taken now, and returns how many bytes that were.
    pub(super) fn write(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<Option<usize>> {
        without_waiting(|| self.stream.write_vectored(pieces))
    }

    /// Sleeps until bytes may be moved, `limit` at most.
    pub(super) fn wait(&mut self, limit: Duration) -> io::Result<()> {
        match self.poll.poll(&mut self.events, Some(limit)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }
}

fn without_waiting(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<Option<usize>> {
    loop {
        match call() {
            Ok(moved) => return Ok(Some(moved)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    rustix::net::sockopt::set_socket_keepalive(stream, true)?;
    rustix::net::sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
    rustix::net::sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
    rustix::net::sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES)?;
    Ok(())
}
