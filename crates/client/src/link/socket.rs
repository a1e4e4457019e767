//! The socket of a connection: the one place where bytes leave and enter, and where another transport would stand.

use std::{
    io::{self, IoSlice, IoSliceMut, Read as _, Write as _},
    net::SocketAddr,
    time::Duration,
};

use mio::{Events, Interest, Poll, Token, net::TcpStream};
use rustls::pki_types::CertificateDer;

use super::tls::{NoTls, Tls};

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
    /// [`None`] where the bytes go in the open.
    tls: Option<Box<Tls>>,
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
        Ok(Socket { stream, tls: None, peer, poll, events: Events::with_capacity(8) })
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

    /// Returns the address of this end.
    pub(super) fn local(&self) -> Option<SocketAddr> {
        self.stream.local_addr().ok()
    }

    /// From here on TLS is spoken.
    pub(super) fn secure(&mut self, tls: Tls) {
        self.tls = Some(Box::new(tls));
    }

    /// Whether TLS is spoken.
    pub(super) fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// Whether the server has answered in records of TLS, whatever they said.
    pub(super) fn is_answered_by_tls(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_answered())
    }

    /// Brings the handshake on, where TLS is to be spoken; true when it is done. Nothing else may be moved before.
    ///
    /// # Errors
    ///
    /// Why there will be no TLS.
    pub(super) fn shake(&mut self) -> Result<bool, NoTls> {
        self.tls.as_mut().map_or(Ok(true), |tls| tls.shake(&mut self.stream))
    }

    /// Returns the certificates that the server showed, its own first; none where the bytes go in the open.
    pub(super) fn chain(&self) -> &[CertificateDer<'static>] {
        self.tls.as_ref().map_or(&[], |tls| tls.chain())
    }

    /// Whether what was written waits here until the socket takes it: an empty [`write`](Self::write) sends it on.
    pub(super) fn is_pending(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_pending())
    }

    /// Reads into `places`, one after the other, and returns how many bytes came; 0 at the end of the stream.
    pub(super) fn read(&mut self, places: &mut [IoSliceMut<'_>]) -> io::Result<Option<usize>> {
        let stream = &mut self.stream;
        match &mut self.tls {
            None => without_waiting(|| stream.read_vectored(places)),
            Some(tls) => without_waiting(|| tls.read(stream, places)),
        }
    }

    /// Writes of `pieces`, one after the other, what is taken now, and returns how many bytes that were.
    pub(super) fn write(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<Option<usize>> {
        let stream = &mut self.stream;
        match &mut self.tls {
            None => without_waiting(|| stream.write_vectored(pieces)),
            Some(tls) => without_waiting(|| tls.write(stream, pieces)),
        }
    }

    /// Sleeps until bytes may be moved, `limit` at most.
    pub(super) fn wait(&mut self, limit: Duration) -> io::Result<()> {
        match self.poll.poll(&mut self.events, Some(limit)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.close(&mut self.stream);
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
