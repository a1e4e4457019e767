//! Listening sockets that this process was started with: sd_listen_fds(3).

use std::{
    env,
    fmt::Display,
    net::TcpListener,
    os::{
        fd::{OwnedFd, RawFd},
        unix::net::UnixListener,
    },
    process,
};

use rustix::{
    io::{Errno, FdFlags, fcntl_setfd},
    net::{
        AddressFamily, SocketType,
        sockopt::{socket_acceptconn, socket_domain, socket_type},
    },
};

use crate::sys;

/// The descriptor of the first one.
const FIRST: RawFd = 3;

/// The name by which the unit of a socket says that figures are asked for there
/// (`FileDescriptorName=metrics`).
const METRICS: &str = "metrics";

/// The name of one where HTTP is spoken.
const HTTP: &str = "http";

/// Listening sockets, by their purpose.
#[derive(Debug, Default)]
pub struct Inherited {
    /// For clients.
    pub clients: Option<TcpListener>,
    /// For clients that speak HTTP.
    pub http: Option<TcpListener>,
    /// Whether the service manager keeps the first one open: clients that wait there when the server
    /// ends are those of the next one.
    pub is_held: bool,
    /// Whether it keeps the second one open.
    pub is_http_held: bool,
    /// For programs that gather figures.
    pub metrics: Option<TcpListener>,
    /// For commands to the running server.
    pub control: Option<UnixListener>,
}

impl Inherited {
    /// Takes the sockets that a service manager has passed to this process, as `LISTEN_PID`,
    /// `LISTEN_FDS` and `LISTEN_FDNAMES` say. A Unix socket is the control socket. A TCP socket is
    /// for figures if it is called `metrics`, for HTTP if it is called `http`, else for clients.
    ///
    /// # Errors
    ///
    /// In words, where one is none that a server can use, or there are two for one purpose.
    pub fn of_environment() -> Result<Inherited, String> {
        let variable = |name: &str| env::var(name).unwrap_or_default();
        let mut inherited = Inherited::default();
        if variable("LISTEN_PID").parse() != Ok(process::id()) {
            return Ok(inherited);
        }
        for (fd, name) in passed(&variable("LISTEN_FDS"), &variable("LISTEN_FDNAMES")) {
            let failed = |why: &dyn Display| format!("descriptor {fd} ({name}), passed by LISTEN_FDS: {why}");
            let socket = sys::inherited(fd).map_err(|error| failed(&error))?;
            inherited.put(socket, &name).map_err(|why| failed(&why))?;
        }
        inherited.is_held = inherited.clients.is_some();
        inherited.is_http_held = inherited.http.is_some();
        Ok(inherited)
    }

    /// Takes one more.
    ///
    /// # Errors
    ///
    /// In words, where it is of no use.
    pub(crate) fn put(&mut self, socket: OwnedFd, name: &str) -> Result<(), String> {
        fcntl_setfd(&socket, FdFlags::CLOEXEC).map_err(|error| error.to_string())?;
        let is_second = match kind(&socket).map_err(|error| format!("no listening socket: {error}"))? {
            Kind::Unix => self.control.replace(socket.into()).is_some(),
            Kind::Tcp if name == METRICS => self.metrics.replace(socket.into()).is_some(),
            Kind::Tcp if name == HTTP => self.http.replace(socket.into()).is_some(),
            Kind::Tcp => self.clients.replace(socket.into()).is_some(),
            Kind::Other => return Err("no listening socket of TCP or Unix".to_owned()),
        };
        match is_second {
            true => {
                Err("it is the second one for its purpose: a server has one address ([::]:PORT takes IPv4, too)".into())
            }
            false => Ok(()),
        }
    }
}

/// Returns the descriptors that were passed, and their names: as many as `count` says.
fn passed(count: &str, names: &str) -> impl Iterator<Item = (RawFd, String)> {
    let count: RawFd = count.parse().unwrap_or(0);
    let mut names = names.split(':').map(str::to_owned);
    (FIRST..FIRST.saturating_add(count)).map(move |fd| (fd, names.next().unwrap_or_default()))
}

enum Kind {
    Tcp,
    Unix,
    Other,
}

fn kind(socket: &OwnedFd) -> Result<Kind, Errno> {
    if !socket_acceptconn(socket)? || socket_type(socket)? != SocketType::STREAM {
        return Ok(Kind::Other);
    }
    Ok(match socket_domain(socket)? {
        AddressFamily::INET | AddressFamily::INET6 => Kind::Tcp,
        AddressFamily::UNIX => Kind::Unix,
        _ => Kind::Other,
    })
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn descriptors_have_their_names() {
        let passed = |count, names| passed(count, names).collect::<Vec<_>>();
        assert_eq!(passed("2", "ferryd:metrics"), [(3, "ferryd".to_owned()), (4, "metrics".to_owned())]);
        assert_eq!(passed("2", "a"), [(3, "a".to_owned()), (4, String::new())]);
        for none in ["", "0", "-1", "x"] {
            assert!(passed(none, "a").is_empty());
        }
    }

    #[test]
    fn a_socket_is_for_what_its_kind_and_name_say() {
        let place = tempfile::tempdir().unwrap();
        let tcp = || OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap());
        let mut inherited = Inherited::default();
        inherited.put(UnixListener::bind(place.path().join("s")).unwrap().into(), "any").unwrap();
        inherited.put(tcp(), "metrics").unwrap();
        inherited.put(tcp(), "http").unwrap();
        inherited.put(tcp(), "any").unwrap();
        assert!(inherited.clients.is_some() && inherited.http.is_some());
        assert!(inherited.metrics.is_some() && inherited.control.is_some());
        let said = inherited.put(tcp(), "other").unwrap_err();
        assert!(said.contains("second"), "{said}");
        let file = OwnedFd::from(tempfile::tempfile().unwrap());
        for wrong in [file, UdpSocket::bind("127.0.0.1:0").unwrap().into()] {
            assert!(Inherited::default().put(wrong, "").unwrap_err().contains("no listening socket"));
        }
    }
}
