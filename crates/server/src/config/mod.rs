//! Command line, environment and `ferryd.toml`, put together as a [`Configuration`], and resolved into one validated
//! [`Setup`].
//!
//! An option is defined once, as a field of [`Arguments`]: `keys` makes the key, the variable, the example and the manual
//! pages of clap's definition.

mod arguments;
mod completions;
mod configuration;
mod descriptors;
mod error;
mod example;
mod file;
mod keys;
mod manual;
mod reload;
mod security;
mod setting;
#[cfg(test)]
mod tests;

use std::{fs, io, net::SocketAddr, path::PathBuf, time::Duration};

use ferry_wire::limits::MAX_INTEGER;

use crate::{
    access::file::FILE_NAME as USERS_FILE,
    files::may_be_there,
    observe::{TransferLogForm, logging::LogOptions},
    protocol::{Limits, Timeouts},
    runtime::{Live, ServerOptions, admission::AdmissionLimits},
    store::{Durability, LeaseOptions, MountTable, StoreLimits, StoreOptions},
};
pub use arguments::Arguments;
use arguments::{DurabilityArgument, TransferLogFormat};
pub use completions::completions;
pub use configuration::Configuration;
use descriptors::{REFUSALS_PARTS, divide, raise_descriptor_limit};
pub use error::{Obstacle, StartError};
pub use example::example;
pub use manual::manual;
pub use reload::Reread;
pub use security::Security;
pub use setting::Origin;

/// Bytes between two checkpoints of a resumable upload: the most that a crash costs, beside what is gathered for one
/// write.
const CHECKPOINT_BYTES: u64 = 32 << 20;

/// The time between two checkpoints: the most that a crash costs a slow client.
const CHECKPOINT_TIME: Duration = Duration::from_secs(15);

/// The options, resolved against each other and the machine.
#[derive(Debug)]
pub struct Setup {
    /// The addresses to listen on: the first that can be had.
    pub addresses: Vec<SocketAddr>,
    /// Whether other processes may share the address.
    pub reuse_port: bool,
    /// Whether TLS is spoken, and with which key.
    pub security: Security,
    /// The addresses to serve HTTP at: the first that can be had; none where it is not served.
    pub http: Option<Vec<SocketAddr>>,
    /// The path of the control socket, where it is not the usual one.
    pub control: Option<PathBuf>,
    /// The addresses to serve figures at: the first that can be had; none where figures are not served.
    pub metrics: Option<Vec<SocketAddr>>,
    /// The loop's part.
    pub server: ServerOptions,
    /// The store's part.
    pub store: StoreOptions,
    /// The log's part.
    pub logs: LogOptions,
    /// Why the server is read-only, where it is.
    pub why_read_only: &'static str,
    /// The number of files that this process may have open.
    pub descriptors: u64,
    /// A warning for the log, where the machine does not allow as many clients as were asked for.
    pub fewer_clients: Option<String>,
}

impl Setup {
    /// Resolves `arguments` against each other and the machine. Nothing is made or opened: a reload calls it again.
    ///
    /// # Errors
    ///
    /// Where they can't be fulfilled.
    pub fn resolve(arguments: &Arguments) -> Result<Setup, StartError> {
        let addresses = arguments.listen.0.clone();
        let http = arguments.http().map(<[SocketAddr]>::to_vec);
        let public = addresses.iter().chain(http.iter().flatten()).any(|address| !address.ip().is_loopback());
        let read_only = arguments.read_only || (public && !arguments.writable);
        let descriptors = raise_descriptor_limit();
        let plan = divide(descriptors, 1 + u64::from(arguments.metrics.is_some()));
        let plan = plan.map_err(StartError::of(Obstacle::Limits))?;
        let asked = arguments.max_clients.map_or(plan.clients, u64::from);
        let users_file = arguments.users.clone().or_else(|| {
            // A file that may be there is not ignored: it takes rights away.
            usual_users_file(arguments).filter(|path| may_be_there(path))
        });
        let store = store_options(arguments, read_only);
        Ok(Setup {
            addresses,
            reuse_port: arguments.reuse_port,
            http,
            security: Security::of(arguments),
            control: arguments.control.clone(),
            metrics: arguments.metrics.as_ref().map(|addresses| addresses.0.clone()),
            server: ServerOptions {
                open_together: count(plan.together),
                users_file,
                max_inquiries: count(plan.inquiries),
                live: Live {
                    admission: admission(arguments, asked.min(plan.clients), plan.refusals),
                    max_handshakes: count(plan.handshakes),
                    proxies: arguments.proxy_from.clone(),
                    client_rate: arguments.rate,
                    total_rate: arguments.total_rate,
                    limits: limits(arguments, read_only),
                    store: StoreLimits {
                        max_staged: store.max_staged,
                        max_kept: store.max_kept,
                        keep: store.keep,
                        crc_cache: store.crc_cache,
                        small_cache: store.small_cache,
                    },
                    job_timeout: arguments.job_timeout,
                    log_level: arguments.log_level,
                    grace: arguments.grace,
                },
            },
            store,
            logs: logs(arguments),
            descriptors,
            fewer_clients: (plan.clients < asked).then(|| {
                let clients = plan.clients;
                format!("--max-clients {asked}: only {clients}, since {descriptors} files may be open (ulimit -n)")
            }),
            why_read_only: match arguments.read_only {
                true => "--read-only was given",
                false => "an address is not loopback and --writable was not given",
            },
        })
    }

    /// Describes for how many clients there is room.
    #[must_use]
    pub fn room(&self) -> String {
        let (clients, descriptors) = (self.server.live.admission.clients, self.descriptors);
        format!("{descriptors} files may be open (ulimit -n), enough for {clients} clients")
    }

    /// Makes the root, where it is missing.
    ///
    /// # Errors
    ///
    /// Where that can't be done.
    pub fn make_root(&self) -> Result<(), StartError> {
        match fs::create_dir(&self.store.root) {
            // Anything but a directory is an error when it is opened.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made.map_err(|error| {
                let problem = format!("can't make the directory {}: {error}", self.store.root.display());
                StartError::new(Obstacle::Root, problem)
            }),
        }
    }
}

fn logs(arguments: &Arguments) -> LogOptions {
    let form = match arguments.transfer_log_format {
        TransferLogFormat::Plain => TransferLogForm::Plain,
        TransferLogFormat::Json => TransferLogForm::Json,
        TransferLogFormat::Xferlog => TransferLogForm::Xferlog,
    };
    let transfer_log = arguments.transfer_log.clone().map(|path| (path, form));
    LogOptions { file: arguments.log_file.clone(), transfer_log, node: arguments.node.clone() }
}

/// Returns the path of the users file beside the configuration, whether they are there or not.
fn usual_users_file(arguments: &Arguments) -> Option<PathBuf> {
    arguments.config.as_ref().map(|path| path.with_file_name(USERS_FILE))
}

fn admission(arguments: &Arguments, clients: u64, refusals: u64) -> AdmissionLimits {
    let per_address = arguments.max_clients_per_address.map(u64::from);
    let refusals_per_address = match per_address {
        None => refusals,
        Some(_) => (refusals / REFUSALS_PARTS).max(1),
    };
    AdmissionLimits {
        clients: count(clients),
        clients_per_address: count(per_address.unwrap_or(clients)),
        refused: count(refusals),
        refused_per_address: count(refusals_per_address),
    }
}

fn limits(arguments: &Arguments, read_only: bool) -> Limits {
    Limits {
        read_only,
        node: arguments.node.clone(),
        volatile: matches!(arguments.durability, DurabilityArgument::None),
        kept_modes: arguments.keep_modes.mask(),
        upload_bytes: arguments.max_upload.unwrap_or(MAX_INTEGER),
        timeouts: Timeouts {
            idle: arguments.idle_timeout,
            request: arguments.request_timeout,
            window: arguments.progress_window,
            window_bytes: arguments.progress_bytes,
        },
        checkpoint_bytes: CHECKPOINT_BYTES,
        checkpoint_time: CHECKPOINT_TIME,
        keep: arguments.keep,
    }
}

fn store_options(arguments: &Arguments, read_only: bool) -> StoreOptions {
    StoreOptions {
        root: arguments.root.clone(),
        writable: !read_only,
        durability: match arguments.durability {
            DurabilityArgument::Full => Durability::Full,
            DurabilityArgument::None => Durability::None,
        },
        max_kept: arguments.max_kept,
        max_staged: arguments.max_staged.unwrap_or(u64::MAX),
        keep: arguments.keep,
        crc_cache: arguments.crc_cache,
        small_cache: arguments.small_cache,
        mounts: MountTable::open(),
        leasing: LeaseOptions::of_node(arguments.node.clone()),
    }
}

fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
