//! Sockets of inquiries: TCP for everybody who can reach the address, Unix for one user.

use std::{
    io::{self, IoSlice, Read},
    mem::MaybeUninit,
    net::{Shutdown, SocketAddr},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use mio::{Interest, Registry, Token, event::Source, net};
use rustix::{
    io::Errno,
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg, sockopt::socket_peercred},
    process::geteuid,
};

use super::{
    acceptor::Accepts,
    listen::{ListenError, Listener},
};

/// A listening socket for inquiries.
#[derive(Debug)]
pub enum InquiryListener {
    /// Open to everybody who can reach the address.
    Tcp(net::TcpListener),
    /// Open to processes of the server's own user, and of root.
    Unix(net::UnixListener),
}

impl InquiryListener {
    /// Binds a TCP socket to the first of `addresses` that can be had; port 0 takes a free one.
    ///
    /// # Errors
    ///
    /// Where none of them can be had.
    pub fn bind(addresses: &[SocketAddr]) -> Result<InquiryListener, ListenError> {
        let bound = Listener::bind(addresses, false).and_then(Listener::open);
        bound.map(InquiryListener::Tcp).map_err(ListenError::of_inquiries)
    }

    /// Takes over a TCP socket that listens already.
    ///
    /// # Errors
    ///
    /// Where the system refuses the settings of such a socket.
    pub fn inherited(socket: std::net::TcpListener) -> Result<InquiryListener, ListenError> {
        Listener::inherited(socket)?.open().map(InquiryListener::Tcp)
    }

    /// Takes over a Unix socket that listens already, and does not block.
    #[must_use]
    pub fn control(socket: std::os::unix::net::UnixListener) -> InquiryListener {
        InquiryListener::Unix(net::UnixListener::from_std(socket))
    }

    /// Returns its address; [`None`] for a Unix socket.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            InquiryListener::Tcp(listener) => listener.local_addr().ok(),
            InquiryListener::Unix(_) => None,
        }
    }
}

impl AsFd for InquiryListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            InquiryListener::Tcp(listener) => listener.as_fd(),
            InquiryListener::Unix(listener) => listener.as_fd(),
        }
    }
}

impl Accepts for InquiryListener {
    type Client = InquirySocket;

    /// Accepts a connection. A process of another user at a Unix socket, let through by its mode,
    /// is an error.
    fn accept(&self) -> io::Result<InquirySocket> {
        match self {
            InquiryListener::Tcp(listener) => Ok(InquirySocket::Tcp(listener.accept()?.0)),
            InquiryListener::Unix(listener) => {
                let (socket, _) = listener.accept()?;
                let user = socket_peercred(&socket)?.uid;
                if user.is_root() || user == geteuid() {
                    Ok(InquirySocket::Unix(socket))
                } else {
                    Err(Errno::ACCESS.into())
                }
            }
        }
    }

    fn source(&mut self) -> &mut dyn Source {
        match self {
            InquiryListener::Tcp(listener) => listener,
            InquiryListener::Unix(listener) => listener,
        }
    }
}

/// A connection of an inquiry.
#[derive(Debug)]
pub(crate) enum InquirySocket {
    Tcp(net::TcpStream),
    Unix(net::UnixStream),
}

impl InquirySocket {
    /// Registers for its events under `token`.
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interests = Interest::READABLE | Interest::WRITABLE;
        match self {
            InquirySocket::Tcp(socket) => registry.register(socket, token, interests),
            InquirySocket::Unix(socket) => registry.register(socket, token, interests),
        }
    }

    /// Reads the bytes that have arrived; 0 at the end of input.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) where nothing has arrived, any other where nothing
    /// will.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        retry(|| match self {
            InquirySocket::Tcp(socket) => socket.read(buffer),
            InquirySocket::Unix(socket) => socket.read(buffer),
        })
    }

    /// Sends from the front of `bytes`, and returns how many. `descriptors`, which only a Unix
    /// socket takes, go along with the first of them.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) where the socket is full, any other where nothing
    /// can be sent.
    pub(crate) fn send(&mut self, bytes: &[u8], descriptors: &[OwnedFd]) -> io::Result<usize> {
        let descriptors: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
        let rights = SendAncillaryMessage::ScmRights(&descriptors);
        let mut space = Vec::new();
        if !descriptors.is_empty() {
            space.resize(rights.size(), MaybeUninit::uninit());
        }
        retry(|| {
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
                return Err(Errno::MSGSIZE.into());
            }
            Ok(sendmsg(&*self, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?)
        })
    }

    /// Ends the output: nothing more will be sent.
    pub(crate) fn shut_down(&self) {
        // Fails only where the other end is gone, which the next read shows.
        let _ = match self {
            InquirySocket::Tcp(socket) => socket.shutdown(Shutdown::Write),
            InquirySocket::Unix(socket) => socket.shutdown(Shutdown::Write),
        };
    }
}

impl AsFd for InquirySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            InquirySocket::Tcp(socket) => socket.as_fd(),
            InquirySocket::Unix(socket) => socket.as_fd(),
        }
    }
}

fn retry(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
