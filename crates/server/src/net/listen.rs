//! The listening socket, and sharing its address with other processes.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, listen, socket_with,
    sockopt::{
        set_socket_keepalive, set_socket_reuseaddr, set_socket_reuseport, set_tcp_keepcnt, set_tcp_keepidle,
        set_tcp_keepintvl, set_tcp_nodelay,
    },
};

/// Why an address can't be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// There is none to take.
    #[error("can't listen: no address is given")]
    NoAddress,
    /// A socket that listens already can't be used.
    #[error("can't use the socket that was passed: {0}")]
    Inherited(io::Error),
    /// The system refuses the address of figures.
    #[error("can't serve figures at {address}: {error}{}", hint_of_inquiries(.error))]
    Inquiries {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// The system refuses it.
    #[error("can't listen on {address}: {error}{}", hint(.error, *.shared))]
    Address {
        /// The address.
        address: SocketAddr,
        /// It was to be shared with other processes.
        shared: bool,
        /// Why.
        error: io::Error,
    },
}

impl ListenError {
    /// Returns the same error, of an address for inquiries.
    #[must_use]
    pub fn of_inquiries(self) -> ListenError {
        match self {
            ListenError::Address { address, error, .. } => ListenError::Inquiries { address, error },
            other => other,
        }
    }
}

/// Returns a [`hint`] for an address that no other process can share.
fn hint_of_inquiries(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => " (another program is there: choose another port, or 0 for any free one)",
        _ => hint(error, false),
    }
}

fn hint(error: &io::Error, shared: bool) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse if shared => {
            " (what is there does not share it: all servers of one address must be started with --reuse-port, by one user)"
        }
        io::ErrorKind::AddrInUse => {
            " (another server is there: choose another port, or 0 for any free one; servers that are all started with \
             --reuse-port can share one)"
        }
        io::ErrorKind::PermissionDenied => " (ports below 1024 are the administrator's)",
        io::ErrorKind::AddrNotAvailable => " (no interface of this machine has that address)",
        _ => "",
    }
}

/// The backlog of clients to be accepted: as many as the system allows (`net.core.somaxconn`).
const WAITING_CLIENTS: i32 = i32::MAX;

/// Keepalive: a client that is silent for so long is probed, then again after each pause, so many times in all. While the
/// store works for a client, nothing else tells that it is gone.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
const KEEPALIVE_PAUSE: Duration = Duration::from_secs(20);
const KEEPALIVE_TRIES: u32 = 4;

/// A socket that is bound to its address, which may need rights that the server gives up before it serves.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    shared: bool,
}

impl Listener {
    /// Takes the first of `addresses` that can be had; port 0 takes a free one. If `shared`, other
    /// processes of the same user that say so too can take the same address (`SO_REUSEPORT`), and the
    /// kernel spreads new clients over those that listen.
    ///
    /// An address that is not shared is listened on from here on: clients can connect, though nobody
    /// answers before the loop runs. One that is shared is listened on when the loop is set up: until
    /// then others have its clients, also where this process can't start after all.
    ///
    /// # Errors
    ///
    /// Where none of them can be had.
    pub fn bind(addresses: &[SocketAddr], shared: bool) -> Result<Listener, ListenError> {
        let mut result = Err(ListenError::NoAddress);
        for &address in addresses {
            match bound(address, shared).and_then(|socket| Listener::of(socket, shared)) {
                Ok(listener) => return Ok(listener),
                Err(error) => result = Err(ListenError::Address { address, shared, error }),
            }
        }
        result
    }

    fn of(socket: TcpListener, shared: bool) -> io::Result<Listener> {
        if !shared {
            listen(&socket, WAITING_CLIENTS)?;
        }
        Ok(Listener { address: socket.local_addr()?, socket, shared })
    }

    /// Returns the address that [`bind`](Self::bind) would take. Nobody can connect to it.
    ///
    /// # Errors
    ///
    /// Where none of them can be had.
    pub fn probe(addresses: &[SocketAddr], shared: bool) -> Result<SocketAddr, ListenError> {
        let mut result = Err(ListenError::NoAddress);
        for &address in addresses {
            match bound(address, shared) {
                Ok(_) => return Ok(address),
                Err(error) => result = Err(ListenError::Address { address, shared, error }),
            }
        }
        result
    }

    /// Returns a socket that listens already, made by the parent of this process or by the server
    /// before it.
    ///
    /// # Errors
    ///
    /// Where the system refuses the settings of such a socket.
    pub fn inherited(socket: TcpListener) -> Result<Listener, ListenError> {
        let address = socket.set_nonblocking(true).and_then(|()| settle(&socket)).and_then(|()| socket.local_addr());
        let address = address.map_err(ListenError::Inherited)?;
        Ok(Listener { address, socket, shared: false })
    }

    /// Returns the address that was really taken.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Listens, if it does not yet.
    pub(crate) fn open(self) -> Result<mio::net::TcpListener, ListenError> {
        let Listener { socket, address, shared } = self;
        if shared {
            listen(&socket, WAITING_CLIENTS).map_err(|error| ListenError::Address {
                address,
                shared,
                error: error.into(),
            })?;
        }
        Ok(mio::net::TcpListener::from_std(socket))
    }
}

/// Returns a socket that has the address, and does not listen yet.
fn bound(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket: OwnedFd = socket_with(family, SocketType::STREAM, flags, None)?;
    // A server that is started again need not wait for old connections to be forgotten.
    set_socket_reuseaddr(&socket, true)?;
    if shared {
        set_socket_reuseport(&socket, true)?;
    }
    settle(&socket)?;
    bind(&socket, &address)?;
    Ok(socket.into())
}

/// Makes the settings that accepted sockets inherit.
fn settle(socket: impl AsFd) -> io::Result<()> {
    // Replies are gathered before they are sent: waiting for more would only delay them.
    set_tcp_nodelay(&socket, true)?;
    set_socket_keepalive(&socket, true)?;
    set_tcp_keepidle(&socket, KEEPALIVE_AFTER)?;
    set_tcp_keepintvl(&socket, KEEPALIVE_PAUSE)?;
    set_tcp_keepcnt(&socket, KEEPALIVE_TRIES)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use rustix::net::sockopt::{socket_keepalive, tcp_keepidle};

    use super::*;

    const FREE: [&str; 2] = ["127.0.0.1:0", "[::1]:0"];

    fn take(address: SocketAddr, shared: bool) -> Result<Listener, String> {
        Listener::bind(&[address], shared).map_err(|error| error.to_string())
    }

    #[test]
    fn an_address_is_shared_only_by_those_that_all_say_so() {
        for free in FREE {
            for (first, second) in [(false, false), (false, true), (true, false), (true, true)] {
                let free = free.parse().unwrap();
                let there = take(free, first).unwrap();
                let address = there.local_addr();
                let listening = there.open().unwrap();
                let other = take(address, second);
                match (first && second, other) {
                    (true, other) => assert_eq!(other.unwrap().local_addr(), address),
                    (false, Ok(_)) => panic!("{address} was taken twice: {first}, {second}"),
                    (false, Err(said)) => {
                        assert!(said.contains("in use") && said.contains("--reuse-port"), "{said}");
                    }
                }
                drop(listening);
            }
        }
    }

    #[test]
    fn a_free_port_is_nobody_elses_though_it_could_be_shared() {
        let free: SocketAddr = FREE[0].parse().unwrap();
        let taken: Vec<_> = (0..200).map(|_| take(free, true).unwrap().open().unwrap()).collect();
        let mut ports: Vec<_> = taken.iter().map(|socket| socket.local_addr().unwrap().port()).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), taken.len());
    }

    #[test]
    fn accepted_sockets_do_not_delay_and_are_kept_alive() {
        for shared in [false, true] {
            let listening = take(FREE[0].parse().unwrap(), shared).unwrap().open().unwrap();
            let _client = TcpStream::connect(listening.local_addr().unwrap()).unwrap();
            // A connection to this machine is there when connecting it has ended.
            let (socket, _) = listening.accept().unwrap();
            assert!(socket.nodelay().unwrap());
            assert!(socket_keepalive(&socket).unwrap());
            assert_eq!(tcp_keepidle(&socket), Ok(KEEPALIVE_AFTER));
        }
    }

    #[test]
    fn nobody_connects_to_a_shared_address_before_it_is_served() {
        let listener = take(FREE[0].parse().unwrap(), true).unwrap();
        let address = listener.local_addr();
        TcpStream::connect(address).unwrap_err();
        let _listening = listener.open().unwrap();
        TcpStream::connect(address).unwrap();
    }
}
