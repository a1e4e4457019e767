//! How a server is set up, and why that can fail.

use std::{io, path::PathBuf, time::Duration};

use log::LevelFilter;

use super::admission::AdmissionLimits;
use crate::{
    net::{ListenError, proxy::Network},
    protocol::Limits,
    store::StoreLimits,
};

/// How a server is set up.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Small uploads, or changes of the tree, that may wait for the disk together: each has files open meanwhile.
    pub open_together: usize,
    /// Connections at one time at each listener for inquiries.
    pub max_inquiries: usize,
    /// The users file, which SIGHUP reads again; [`None`] where none is in use.
    pub users_file: Option<PathBuf>,
    /// The part that may become another one while the server runs.
    pub live: Live,
}

/// The values that a reload may change: plain numbers, which hold from the moment at which the loop takes them.
///
/// Everything else that was set is fixed for the life of the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// Clients at one time.
    pub admission: AdmissionLimits,
    /// Clients whose TLS handshake goes on, at one time. Where there are more, the oldest give way.
    pub max_handshakes: usize,
    /// The proxies that tell by a header whom they connect.
    pub proxies: Vec<Network>,
    /// Bytes a second that one client may move, both ways together.
    pub client_rate: Option<u64>,
    /// Bytes a second that all clients together may move, both ways.
    pub total_rate: Option<u64>,
    /// The limits of each session.
    pub limits: Limits,
    /// The limits on interrupted and unfinished uploads.
    pub store: StoreLimits,
    /// How long the file system may leave an operation unanswered.
    pub job_timeout: Duration,
    /// The least severe lines that are logged.
    pub log_level: LevelFilter,
    /// How long transfers may take to end when the server is to.
    pub grace: Duration,
}

/// Why the loop could not be set up, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address can't be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The system refused something that the loop can't do without.
    #[error("{what}: {error}")]
    System {
        /// The attempt that failed.
        what: &'static str,
        /// Why.
        error: io::Error,
    },
}

pub(super) fn system(what: &'static str) -> impl FnOnce(io::Error) -> ServerError {
    move |error| ServerError::System { what, error }
}
