//! The sockets of a server that starts: passed by a service manager, taken over from the server
//! before it, or its own.

use std::{
    net::SocketAddr,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process,
};

use crate::{
    control::{self, AskError, ControlError, ControlSocket},
    net::{Inherited, InquiryListener, ListenError, Listener, ServiceManager},
};

/// Why a server can't get the sockets that it needs.
#[derive(Debug, thiserror::Error)]
pub enum SocketsError {
    /// The address of clients.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The address of HTTP.
    #[error("--http: {0}")]
    Http(ListenError),
    /// The address of figures.
    #[error("--metrics: {0}")]
    Metrics(ListenError),
    /// The control socket.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The server before this one gives nothing.
    #[error("can't take over: {0}")]
    TakeOver(#[from] AskError),
    /// A socket that was passed can't be used.
    #[error("{0}")]
    Passed(String),
}

/// Sockets that come from a service manager or another server.
#[derive(Debug, Default)]
pub struct Given {
    sockets: Inherited,
    /// The manager of the server before this one.
    manager: Option<ServiceManager>,
    /// Where the server before this one waits for word that clients are accepted.
    waiting: Option<UnixStream>,
    /// The path of that server's control socket.
    asked_at: Option<PathBuf>,
}

/// All sockets of a server.
#[derive(Debug)]
pub struct Sockets {
    /// For clients.
    pub clients: Listener,
    /// Whether the service manager keeps that one open.
    pub is_held: bool,
    /// For clients that speak HTTP, and whether the service manager keeps it open.
    pub http: Option<(Listener, bool)>,
    /// For programs that gather figures.
    pub metrics: Option<InquiryListener>,
    /// For commands.
    pub control: Option<ControlSocket>,
    /// The service manager.
    pub manager: ServiceManager,
    /// Where the server before this one waits for word that clients are accepted.
    pub waiting: Option<UnixStream>,
    /// For the log.
    pub warnings: Vec<String>,
}

/// The sockets that a configuration wants.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// The addresses for clients: the first that can be had.
    pub addresses: &'a [SocketAddr],
    /// Whether other processes may share it.
    pub reuse_port: bool,
    /// The addresses for HTTP, if it is served.
    pub http: Option<&'a [SocketAddr]>,
    /// The addresses for figures, if they are served.
    pub metrics: Option<&'a [SocketAddr]>,
    /// The path of the control socket, where it is not the usual one.
    pub control: Option<&'a Path>,
}

impl Given {
    /// Returns those that a service manager has passed.
    #[must_use]
    pub fn passed(sockets: Inherited) -> Given {
        Given { sockets, ..Given::default() }
    }

    /// Gets those of the server with the control socket `control`, or one of the usual ones for
    /// `port`. It serves on until it hears that this one accepts clients.
    ///
    /// # Errors
    ///
    /// Where there is no such server, or it refuses.
    pub fn taken_over(control: Option<&Path>, port: u16) -> Result<Given, SocketsError> {
        let paths = control.map_or_else(|| control::usual_paths(port), |path| vec![path.into()]);
        let taken = control::take_over(&paths)?;
        Ok(Given {
            sockets: taken.sockets,
            manager: taken.manager,
            waiting: Some(taken.waiting),
            asked_at: Some(taken.path),
        })
    }

    /// Returns the clients' address, if their socket is given.
    ///
    /// # Errors
    ///
    /// Where the system does not tell it, or it was taken over and is none of those `wanted`.
    pub fn address(&self, wanted: &[SocketAddr]) -> Result<Option<SocketAddr>, SocketsError> {
        let Some(clients) = &self.sockets.clients else { return Ok(None) };
        let address = clients.local_addr().map_err(|error| SocketsError::Passed(format!("no address: {error}")))?;
        if self.waiting.is_some() && !wanted.iter().any(|wanted| is_meant(*wanted, address)) {
            let wanted = wanted.first().map(SocketAddr::to_string).unwrap_or_default();
            return Err(SocketsError::Passed(format!(
                "can't take over: the server listens on {address}, and this one is to listen on {wanted}; stop the one before \
                 the other is started"
            )));
        }
        Ok(Some(address))
    }

    /// Returns the address of HTTP, if its socket is given; one that was taken over counts only where it is one of those
    /// `wanted`.
    #[must_use]
    pub fn http_address(&self, wanted: Option<&[SocketAddr]>) -> Option<SocketAddr> {
        let address = self.sockets.http.as_ref()?.local_addr().ok()?;
        (self.waiting.is_none() || is_wanted(Some(address), wanted)).then_some(address)
    }

    /// Adds the sockets that are `wanted` and missing.
    ///
    /// # Errors
    ///
    /// Where an address, or the control socket at a path that was named, can't be had.
    pub fn complete(self, wanted: &Wanted<'_>) -> Result<Sockets, SocketsError> {
        let has_http = self.http_address(wanted.http).is_some();
        let Inherited { clients, http, is_held, is_http_held, metrics, control } = self.sockets;
        let clients = match clients {
            Some(socket) => Listener::inherited(socket)?,
            None => Listener::bind(wanted.addresses, wanted.reuse_port)?,
        };
        let port = clients.local_addr().port();
        let http = match (http.filter(|_| has_http), wanted.http) {
            (Some(socket), _) => Some((Listener::inherited(socket).map_err(SocketsError::Http)?, is_http_held)),
            (None, Some(addresses)) => {
                Some((Listener::bind(addresses, wanted.reuse_port).map_err(SocketsError::Http)?, false))
            }
            (None, None) => None,
        };
        let metrics =
            metrics.filter(|socket| self.waiting.is_none() || is_wanted(socket.local_addr().ok(), wanted.metrics));
        let metrics = match (metrics, wanted.metrics) {
            (Some(socket), _) => Some(InquiryListener::inherited(socket).map_err(SocketsError::Metrics)?),
            (None, Some(addresses)) => Some(InquiryListener::bind(addresses).map_err(SocketsError::Metrics)?),
            (None, None) => None,
        };
        let mut warnings = Vec::new();
        let control = match control {
            Some(socket) => Some(ControlSocket::inherited(socket, self.asked_at.as_deref())?),
            None => bind_control(wanted.control, port, &mut warnings)?,
        };
        let (of_environment, deaf) = ServiceManager::of_environment();
        warnings.extend(deaf);
        let manager = self.manager.unwrap_or(of_environment);
        Ok(Sockets { clients, is_held, http, metrics, control, manager, waiting: self.waiting, warnings })
    }
}

/// Returns whether `address` is one that `wanted` means.
fn is_meant(wanted: SocketAddr, address: SocketAddr) -> bool {
    wanted.ip() == address.ip() && [0, address.port()].contains(&wanted.port())
}

fn is_wanted(address: Option<SocketAddr>, wanted: Option<&[SocketAddr]>) -> bool {
    let Some((address, wanted)) = address.zip(wanted) else { return false };
    wanted.iter().any(|wanted| is_meant(*wanted, address))
}

/// Listens at the control socket `path`. Where none is named, the usual one is taken, and the
/// server goes without where it can't be had.
fn bind_control(
    path: Option<&Path>,
    port: u16,
    warnings: &mut Vec<String>,
) -> Result<Option<ControlSocket>, ControlError> {
    if let Some(path) = path {
        return ControlSocket::bind(path).map(Some);
    }
    let bound = control::default_path(port).map_err(|error| format!("no directory for it: {error}")).and_then(|path| {
        match ControlSocket::bind(&path) {
            // A server at another address of the same port, or a process that shares this one.
            Err(ControlError::Taken(_)) => {
                let own = path.with_file_name(format!("{port}.{}.sock", process::id()));
                warnings.push(format!(
                    "{} is another server's: the control socket is {}",
                    path.display(),
                    own.display()
                ));
                ControlSocket::bind(&own).map_err(|error| error.to_string())
            }
            bound => bound.map_err(|error| error.to_string()),
        }
    });
    match bound {
        Ok(socket) => Ok(Some(socket)),
        Err(why) => {
            warnings.push(format!("no control socket (ferryd status, reload, --take-over): {why}"));
            Ok(None)
        }
    }
}
