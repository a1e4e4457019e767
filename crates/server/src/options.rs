//! What people type, and what it comes to.

use std::{
    fs, io,
    net::{SocketAddr, ToSocketAddrs},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{
    Arg, CommandFactory, FromArgMatches, Parser, ValueEnum,
    builder::{PossibleValuesParser, RangedI64ValueParser, TypedValueParser},
};
use ferry_server::{
    ServerOptions,
    protocol::ferry::{Limits, Patience},
    store::{Durability, MountTable, StoreOptions},
};
use ferry_wire::limits::{DEFAULT_PORT, MAX_INTEGER};
use log::LevelFilter;
use rustix::process::{Resource, getrlimit, setrlimit};
use signal_hook::consts::SIGHUP;

/// The server's own descriptors: the log, the root and its corner, the queue of events, and what each helper opens
/// for a moment.
const OWN_DESCRIPTORS: u64 = 40;

/// Below this the server does not start: it would serve a handful, and that badly.
const LEAST_DESCRIPTORS: u64 = 64;

/// Where there are thousands, this many are not for clients: most of those are idle, and have no file open.
const RESERVED_DESCRIPTORS: u64 = 512;

/// Clients that may be told at one time that there is no room for them, where there are descriptors enough.
const MOST_REFUSALS: u64 = 64;

/// One address has no more than so small a part of these, where clients of one address are limited.
const REFUSALS_PARTS: u64 = 4;

/// The options as they were typed.
#[derive(Debug, Parser)]
#[command(
    name = "ferryd",
    version,
    about = "Serves one directory to ferry clients",
    after_help = "Serves until SIGTERM, SIGINT, SIGQUIT or SIGHUP comes (nohup keeps SIGHUP away); uploads that are \
                  whole are then still published. A second signal, or ten seconds, cut that short.\n\
                  Exit status: 0 where it ended as it was asked to, 1 where it could not serve, 2 for a command line that is \
                  wrong, 3 where it had to leave what did not answer: a disk, say.\n\
                  What is logged of each transfer: client, name, bytes, duration, outcome; and of each change (MKDIR, DELETE, \
                  RENAME). Of one address that is at most 1000 lines at once and 50 a second, of reads and of the rest; what \
                  is over is summed up each second. Long names are cut."
)]
pub(crate) struct Arguments {
    /// Where to listen; port 0 takes a free one, which the first line of output names
    #[arg(value_name = "[ADDRESS:]PORT", default_value = format!("127.0.0.1:{DEFAULT_PORT}"), value_parser = resolve_address)]
    listen: Addresses,

    /// The directory to serve, made if missing
    #[arg(long, value_name = "DIR", default_value = "./server")]
    root: PathBuf,

    /// Let other ferryd processes of the same user have this address too, if they say so as well: one
    /// for each core, say
    ///
    /// The kernel spreads new clients over all of them, by chance and not by load. They share nothing
    /// but the address and the root: give all of them the same --root and the same options.
    ///
    /// An interrupted upload can be resumed at any of them; the answer is `busy` while another
    /// process still holds it. Limits and rates (--max-clients, --max-clients-per-address, --rate,
    /// --total-rate, --max-staged, --max-kept) count for each process by itself.
    ///
    /// With port 0 the first process takes a free port; give the others the one that it names.
    ///
    /// Where one process ends, the others go on. Its clients are told, and may connect again; one
    /// that connects in that very moment may see its connection reset.
    ///
    /// One for each core: for i in $(seq $(nproc)); do ferryd --reuse-port 12000 & done; wait
    #[arg(long)]
    reuse_port: bool,

    /// Take uploads and changes even on an address that is not loopback
    #[arg(long, conflicts_with = "read_only")]
    writable: bool,

    /// Take no uploads and changes on any address
    #[arg(long)]
    read_only: bool,

    /// What SAVED and DONE promise; with less than all the greeting says so ('volatile')
    #[arg(long, value_name = "LEVEL", value_enum, default_value_t = DurabilityArgument::Full)]
    durability: DurabilityArgument,

    /// Clients served at one time [default: what the limit of open files allows]. In memory an idle
    /// one costs less than 1 KiB, one with a request half said up to 72 KiB, one that downloads up to
    /// 144 KiB, one that uploads up to 4 MiB and 10 open files
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_clients: Option<u32>,

    /// Clients served at one time from one address [default: as many as in all]; costs some 100 bytes for
    /// each address
    ///
    /// Those above it are told so, a few at a time; where more come, their connections are closed at once.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_clients_per_address: Option<u32>,

    /// Bytes a second that one client may move, both ways together [default: no limit]; costs some 200
    /// bytes for each client
    #[arg(long, value_name = "BYTES", value_parser = at_least(1))]
    rate: Option<u64>,

    /// Bytes a second that all clients together may move, both ways [default: no limit]; costs some 200
    /// bytes for each client
    ///
    /// Those who want more than there is share it equally; newcomers and small requests go before large
    /// transfers. No time limit runs while a client waits for a rate.
    #[arg(long, value_name = "BYTES", value_parser = at_least(1))]
    total_rate: Option<u64>,

    /// The largest upload in bytes; costs no memory
    #[arg(long, value_name = "BYTES", default_value_t = MAX_INTEGER, value_parser = at_least(0))]
    max_upload: u64,

    /// How many bytes all uploads together may hold on the disk before they have their names: what
    /// arrived and what is set aside ahead of it, of interrupted ones that wait to be resumed the
    /// blocks that they take [default: no limit]; costs no memory
    #[arg(long, value_name = "BYTES", value_parser = at_least(0))]
    max_staged: Option<u64>,

    /// How many uploads may be known under the id of a RESUME, whether interrupted or published in the
    /// last hour; each costs 8 KiB on the disk, and up to 300 bytes of memory. Where there are too many,
    /// those that hold nothing any more give way; then, to a client of another address, the smallest and
    /// oldest of the address that has most
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = at_least(0))]
    max_kept: u64,

    /// How long a client may ask for nothing, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = at_least(1))]
    idle_timeout: u64,

    /// How long a client may take to finish a request line, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = at_least(1))]
    request_timeout: u64,

    /// Over how many seconds the progress of a body is measured, in either direction
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = at_least(1))]
    progress_window: u64,

    /// How many bytes a body must move in each of these windows
    #[arg(long, value_name = "BYTES", default_value_t = 1024, value_parser = at_least(0))]
    progress_bytes: u64,

    /// How long an interrupted upload is kept for its client to resume, in hours
    #[arg(long, value_name = "HOURS", default_value_t = 72, value_parser = at_least(0))]
    keep: u64,

    /// Log to the end of this file as well
    #[arg(long, value_name = "FILE")]
    log_file: Option<PathBuf>,

    /// What to log
    #[arg(long, value_name = "LEVEL", default_value = "info", ignore_case = true, value_parser = log_levels())]
    log_level: LevelFilter,
}

impl Arguments {
    /// Reads the command line.
    ///
    /// # Errors
    ///
    /// What is wrong with it, or what was asked for in place of serving: help, the version.
    pub(crate) fn read() -> Result<Arguments, clap::Error> {
        Arguments::from_arg_matches(&Arguments::described().try_get_matches()?)
    }

    /// The command line. A number below nothing is a number, whose range is then told, and no unknown option.
    fn described() -> clap::Command {
        let takes_numbers =
            |arg: Arg| if arg.get_action().takes_values() { arg.allow_negative_numbers(true) } else { arg };
        Arguments::command().mut_args(takes_numbers)
    }
}

fn at_least(least: i64) -> RangedI64ValueParser<u64> {
    RangedI64ValueParser::new().range(least..=i64::MAX)
}

fn log_levels() -> impl TypedValueParser<Value = LevelFilter> {
    PossibleValuesParser::new(["off", "error", "warn", "info", "debug", "trace"])
        .try_map(|level| level.parse::<LevelFilter>())
}

/// The addresses that a name stands for; at least one.
#[derive(Debug, Clone)]
struct Addresses(Vec<SocketAddr>);

#[derive(Debug, Clone, Copy, ValueEnum)]
enum DurabilityArgument {
    /// What was acknowledged survives a power cut
    Full,
    /// Faster: it survives the end of the server, but a power cut may lose or truncate it
    None,
}

/// The options, resolved against each other and the machine.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) reuse_port: bool,
    pub(crate) server: ServerOptions,
    pub(crate) store: StoreOptions,
    pub(crate) log_level: LevelFilter,
    pub(crate) log_file: Option<PathBuf>,
    pub(crate) why_read_only: &'static str,
    /// What to say where the machine does not allow as many clients as were asked for.
    pub(crate) fewer_clients: Option<String>,
}

impl Setup {
    pub(crate) fn resolve(arguments: &Arguments) -> Result<Setup, String> {
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
                max_clients,
                max_clients_per_address: here.unwrap_or(max_clients),
                max_refused: usize::try_from(shares.refusals).unwrap_or(usize::MAX),
                max_refused_per_address: usize::try_from(refused_here).unwrap_or(usize::MAX),
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

/// A port on the loopback address, or an address or host name and a port.
fn resolve_address(text: &str) -> Result<Addresses, String> {
    let help = "give a port from 0 to 65535, or ADDRESS:PORT";
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let port = text.parse::<u16>().map_err(|_| help)?;
        return Ok(Addresses(vec![SocketAddr::from(([127, 0, 0, 1], port))]));
    }
    let addresses: Vec<_> = text.to_socket_addrs().map_err(|error| format!("{error}; {help}"))?.collect();
    if addresses.is_empty() { Err(format!("it has no address; {help}")) } else { Ok(Addresses(addresses)) }
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

/// What descriptors are for.
#[derive(Debug, PartialEq, Eq)]
struct Shares {
    clients: u64,
    refusals: u64,
    /// Files that one helper has open at one time.
    together: u64,
}

/// Shares `descriptors` out. Where they are few, each client can have a file open beside its socket.
fn share_out(descriptors: u64) -> Result<Shares, String> {
    if descriptors < LEAST_DESCRIPTORS {
        return Err(format!(
            "only {descriptors} files may be open (ulimit -n), and the server needs {LEAST_DESCRIPTORS} to serve a few clients"
        ));
    }
    let free = descriptors - OWN_DESCRIPTORS;
    let refusals = (free / 8).min(MOST_REFUSALS);
    let clients = descriptors.saturating_sub(RESERVED_DESCRIPTORS).max((free - refusals) / 2);
    Ok(Shares { clients, refusals, together: descriptors / 16 })
}

/// Each client is an open file: takes all that the system lets this process have.
fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    let now = if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
    now.unwrap_or(1 << 20)
}

/// Whether `signal` was ignored when this program was started, as nohup does with SIGHUP.
fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask & 1 << (signal - 1) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_in_every_spelling() {
        let one = |text: &str| resolve_address(text).map(|addresses| addresses.0[0].to_string());
        assert_eq!(one("12000"), Ok("127.0.0.1:12000".into()));
        assert_eq!(one("0"), Ok("127.0.0.1:0".into()));
        assert_eq!(one("0.0.0.0:80"), Ok("0.0.0.0:80".into()));
        assert_eq!(one("[::1]:80"), Ok("[::1]:80".into()));
        for wrong in ["", "99999", "127.0.0.1", "x", "127.0.0.1:", "127.0.0.1:99999", "-1"] {
            assert!(resolve_address(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn each_client_can_have_a_file_open_where_descriptors_are_few() {
        for (descriptors, clients, refusals, together) in
            [(64, 10, 3, 4), (100, 26, 7, 6), (700, 298, 64, 43), (1024, 512, 64, 64), (20_000, 19_488, 64, 1250)]
        {
            assert_eq!(share_out(descriptors), Ok(Shares { clients, refusals, together }), "{descriptors}");
        }
        for few in [0, 12, LEAST_DESCRIPTORS - 1] {
            let said = share_out(few).unwrap_err();
            assert!(said.contains("ulimit -n") && said.contains("64"), "{said}");
        }
    }

    #[test]
    fn the_options_are_consistent() {
        Arguments::described().debug_assert();
        assert!(Arguments::try_parse_from(["ferryd", "--writable", "--read-only"]).is_err());
    }
}
