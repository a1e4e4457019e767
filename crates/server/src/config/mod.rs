//! The command line, resolved into one validated [`Setup`].

mod arguments;
mod descriptors;

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use log::LevelFilter;
use signal_hook::consts::SIGHUP;

use crate::{
    protocol::ferry::{Limits, Patience},
    runtime::{ServerOptions, admission::AdmissionLimits},
    store::{Durability, MountTable, StoreOptions},
};
pub use arguments::Arguments;
use arguments::DurabilityArgument;
use descriptors::{REFUSALS_PARTS, raise_descriptor_limit, share_out};

/// The options, resolved against each other and the machine.
#[derive(Debug)]
pub struct Setup {
    /// The addresses to listen on: the first that can be had.
    pub addresses: Vec<SocketAddr>,
    /// Whether other processes may share the address.
    pub reuse_port: bool,
    /// The loop's part.
    pub server: ServerOptions,
    /// The store's part.
    pub store: StoreOptions,
    /// The least serious lines that are logged.
    pub log_level: LevelFilter,
    /// The file to log to, beside the terminal.
    pub log_file: Option<PathBuf>,
    /// Why nothing can be changed, where that is so.
    pub why_read_only: &'static str,
    /// What to say where the machine does not allow as many clients as were asked for.
    pub fewer_clients: Option<String>,
}

impl Setup {
    /// Resolves `arguments` against each other and the machine, and makes the root.
    ///
    /// # Errors
    ///
    /// In words for whoever started the server, where they can't be had.
    pub fn resolve(arguments: &Arguments) -> Result<Setup, String> {
        let addresses = arguments.listen.0.clone();
        let public = addresses.iter().any(|address| !address.ip().is_loopback());
        let read_only = arguments.read_only || (public && !arguments.writable);
        let descriptors = raise_descriptor_limit();
        let shares = share_out(descriptors)?;
        let most = shares.clients;
        let asked = arguments.max_clients.map_or(most, u64::from);
        let max_clients = asked.min(most);
        make_dir(&arguments.root)?;
        let limits = Limits {
            read_only,
            volatile: matches!(arguments.durability, DurabilityArgument::None),
            upload_bytes: arguments.max_upload,
            patience: Patience {
                idle: Duration::from_secs(arguments.idle_timeout),
                request: Duration::from_secs(arguments.request_timeout),
                window: Duration::from_secs(arguments.progress_window),
                window_bytes: arguments.progress_bytes,
            },
            checkpoint_bytes: 32 << 20,
            checkpoint_time: Duration::from_secs(15),
        };
        let max_clients = usize::try_from(max_clients).unwrap_or(usize::MAX);
        let here = arguments.max_clients_per_address.and_then(|clients| usize::try_from(clients).ok());
        let refused_here = match here {
            None => shares.refusals,
            Some(_) => (shares.refusals / REFUSALS_PARTS).max(1),
        };
        Ok(Setup {
            addresses,
            reuse_port: arguments.reuse_port,
            server: ServerOptions {
                admission: AdmissionLimits {
                    clients: max_clients,
                    clients_per_address: here.unwrap_or(max_clients),
                    refused: usize::try_from(shares.refusals).unwrap_or(usize::MAX),
                    refused_per_address: usize::try_from(refused_here).unwrap_or(usize::MAX),
                },
                open_together: usize::try_from(shares.together).unwrap_or(usize::MAX),
                client_rate: arguments.rate,
                total_rate: arguments.total_rate,
                ends_on_hangup: !is_ignored(SIGHUP),
                limits,
            },
            store: StoreOptions {
                root: arguments.root.clone(),
                writable: !read_only,
                durability: match arguments.durability {
                    DurabilityArgument::Full => Durability::Full,
                    DurabilityArgument::None => Durability::None,
                },
                max_kept: arguments.max_kept,
                max_staged: arguments.max_staged.unwrap_or(u64::MAX),
                keep: Duration::from_secs(arguments.keep.saturating_mul(3600)),
                mounts: MountTable::open(),
            },
            log_level: arguments.log_level,
            log_file: arguments.log_file.clone(),
            fewer_clients: (most < asked).then(|| {
                format!("--max-clients {asked}: only {most}, since {descriptors} files may be open (ulimit -n)")
            }),
            why_read_only: match arguments.read_only {
                true => "--read-only was given",
                false => "the address is not loopback and --writable was not given",
            },
        })
    }
}

fn make_dir(root: &Path) -> Result<(), String> {
    let parent = root.parent().filter(|parent| !parent.as_os_str().is_empty() && !parent.exists());
    match fs::create_dir(root) {
        // Whatever else stands there is told when it is opened.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map_err(|error| match parent {
            Some(parent) => format!(
                "can't make the directory {}: its parent, {}, is missing, and has to be made first",
                root.display(),
                parent.display()
            ),
            None => format!("can't make the directory {}: {error}", root.display()),
        }),
    }
}

/// Whether `signal` was ignored when this program was started, as nohup does with SIGHUP.
fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask & 1 << (signal - 1) != 0
}
