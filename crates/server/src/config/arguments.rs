//! The command line.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, ToSocketAddrs},
    ops::{RangeFrom, RangeInclusive},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use clap::{
    Arg, CommandFactory, Parser, ValueEnum,
    builder::{PossibleValuesParser, TypedValueParser},
};
use ferry_wire::{Mode, UserName, limits::DEFAULT_PORT};
use log::LevelFilter;

use super::keys::CONFIG;
use crate::{commands::Command, net::proxy::Network, units};

/// The options as they were typed.
#[derive(Debug, Parser)]
#[command(
    name = "ferryd",
    version,
    args_conflicts_with_subcommands = true,
    about = "Serves one directory to ferry clients",
    after_help = "Signals: SIGTERM, SIGINT and SIGQUIT end the server. It then accepts nobody, tells clients that are idle, and lets \
                  transfers end for the time of --grace; after that it tells everybody, publishes uploads that have arrived \
                  whole, and ends. A second signal ends it at once. On SIGHUP it reads configuration, users, key and \
                  certificate again and opens its log files anew, as by 'ferryd reload'; where anything is wrong, nothing \
                  else changes.\n\
                  Exit status: 0 ended as asked, 1 could not serve, 2 invalid command line, 3 something (a disk, for \
                  example) did not answer in time and was abandoned. It could not serve, and nothing was changed: 4 for \
                  the configuration, the users file or the certificate, 5 the address, 6 the root, 7 a log file or a \
                  directory of the server's own, 8 a limit of the system.\n\
                  Sizes are numbers of bytes, or have a unit: kB, MB, GB, TB (of 1000) or KiB, MiB, GiB, TiB (of 1024), as \
                  1.5GiB. Times have ms, s, min, h or d, as 5min; without a unit they are seconds where nothing else is \
                  said.\n\
                  Log: one line for each transfer (client, user, name, bytes, seconds, outcome), each change (MKDIR, DELETE, \
                  RENAME, TOUCH) and each LOGIN. An address gets at most 1000 lines at once and 50 a second, reads, changes, \
                  logins and failed connections counted apart; the rest is summed up once a second. Long names are cut. \
                  Lines that a disk or a terminal does not take in time are lost, and counted."
)]
pub struct Arguments {
    /// A command to run in place of serving
    #[command(subcommand)]
    pub command: Option<Command>,

    /// The configuration file [default: ferryd.toml in $CONFIGURATION_DIRECTORY, $XDG_CONFIG_HOME/ferryd or
    /// ~/.config/ferryd, if it is there]
    ///
    /// Every other option is a key of the same name in it, `listen` the address; flags are true or false. Each is also an
    /// environment variable, as FERRYD_IDLE_TIMEOUT for --idle-timeout; flags are 1 or 0 there. The command line
    /// goes before the environment, and that before the file. Paths in the file are relative to its directory.
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,

    /// Address to listen on; port 0 takes a free port, which the first line of output names
    #[arg(value_name = "[ADDRESS:]PORT", default_value = format!("127.0.0.1:{DEFAULT_PORT}"), value_parser = resolve_address)]
    pub(super) listen: Addresses,

    /// Serve HTTP at an address of its own, too: to browsers, curl and the like; port 0 takes a free port, which the second
    /// line of output names
    ///
    /// The same root, users, rights and limits hold as for ferry's clients, and the same rule for TLS: on a loopback address
    /// HTTP is plain, on any other it is HTTPS. Where ferry's own address speaks TLS, HTTP is served there as well, to those
    /// who ask for it (ALPN http/1.1). Users log in by Basic authentication, over TLS or within this machine only.
    #[arg(long, value_name = "[ADDRESS:]PORT", value_parser = resolve_address)]
    pub(super) http: Option<Addresses>,

    /// The name of this server among several that serve one file system: 1 to 64 of 0-9 A-Z a-z . _ -
    ///
    /// Clients read it in the greeting (`node=NAME`), and it stands in the log at the start, in figures, in `ferryd status`,
    /// in the journals of resumable uploads, and in each line of a transfer log of the format json. It costs nothing.
    #[arg(long, value_name = "NAME", value_parser = node)]
    pub(super) node: Option<Arc<str>>,

    /// Read a PROXY protocol header (v1 or v2) from the peers at ADDRESS, or whose first BITS are those of ADDRESS; may be
    /// given several times
    ///
    /// These are proxies, such as HAProxy with send-proxy-v2. Each of their connections has to begin with a header, before
    /// TLS and greeting, whole within --request-timeout; else it is closed, with a line in the log. The address that the
    /// header tells counts for limits, rates, logins and the log. Whoever reaches the server from these addresses can claim
    /// any: name no more than the proxies. Headers from all others are requests like any other, and wrong. A variable has
    /// commas between several. It costs nothing without a proxy, and one system call more for each connection of one.
    #[arg(long, value_name = "ADDRESS[/BITS]", value_delimiter = ',', value_parser = str::parse::<Network>)]
    pub(super) proxy_from: Vec<Network>,

    /// Directory to serve; created if missing
    #[arg(long, value_name = "DIR", default_value = "./server")]
    pub(super) root: PathBuf,

    /// Share the address with other ferryd processes of the same user that also set this option
    ///
    /// The kernel distributes new clients over the processes at random. They share only the address
    /// and the root: start all of them with the same --root and the same options.
    ///
    /// An interrupted upload can be resumed at any of them; the answer is `busy` while another
    /// process still works on it. Limits and rates (--max-clients, --max-clients-per-address, --rate,
    /// --total-rate, --max-staged, --max-kept) apply to each process separately.
    ///
    /// With port 0 the first process takes a free port; start the others with the port that it names.
    ///
    /// When one process ends, the others go on. Its clients are told and may reconnect; a client that
    /// connects at that very moment may have its connection reset.
    ///
    /// One process per core: for i in $(seq $(nproc)); do ferryd --reuse-port 12000 & done; wait
    #[arg(long)]
    pub(super) reuse_port: bool,

    /// Speak TLS (1.3) on any address [default: where the address is not loopback]
    ///
    /// Clients know the server by its key, whose fingerprint stands in the first line of output. The key is made at the first
    /// start, and kept in the directory of --state, readable by its owner alone.
    #[arg(long, conflicts_with = "plain")]
    pub(super) tls: bool,

    /// Speak without TLS on any address: whoever is in between reads and changes what goes over
    #[arg(long, conflicts_with_all = ["tls_cert", "tls_key"])]
    pub(super) plain: bool,

    /// The certificate to show in place of one of the server's own making, followed by those that vouch for it (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(super) tls_cert: Option<PathBuf>,

    /// The key of --tls-cert (PEM); nobody else may be able to read it
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(super) tls_key: Option<PathBuf>,

    /// The directory for the server's own key, made if missing [default: $STATE_DIRECTORY, $XDG_STATE_HOME/ferryd,
    /// ~/.local/state/ferryd]
    #[arg(long, value_name = "DIR")]
    pub(super) state: Option<PathBuf>,

    /// The users file: who may log in, and what everybody may do [default: users.toml in $CONFIGURATION_DIRECTORY,
    /// $XDG_CONFIG_HOME/ferryd or ~/.config/ferryd, if it is there]
    ///
    /// Without one, whoever connects may read, and write where the server takes that. With one, nobody may do anything
    /// that it does not say. `ferryd user` edits it; a running server reads it again on SIGHUP. Secrets are taken over
    /// TLS and on loopback addresses only.
    #[arg(long, value_name = "FILE")]
    pub(super) users: Option<PathBuf>,

    /// Accept uploads and changes on addresses other than loopback, too
    #[arg(long, conflicts_with = "read_only")]
    pub(super) writable: bool,

    /// Accept no uploads or changes on any address
    #[arg(long)]
    pub(super) read_only: bool,

    /// Permissions of uploaded files and new directories that are kept, where the client tells them (ferry put --perms)
    ///
    /// All others are those of a new file in its directory, or of the file that it replaces. Set-user-ID, set-group-ID
    /// and sticky bits are never kept. The owner may always read a file, and look into a directory.
    #[arg(long, value_name = "WHOSE", value_enum, default_value_t = KeptModes::None)]
    pub(super) keep_modes: KeptModes,

    /// Promise that SAVED and DONE make; below `full` the greeting says `volatile`
    #[arg(long, value_name = "LEVEL", value_enum, default_value_t = DurabilityArgument::Full)]
    pub(super) durability: DurabilityArgument,

    /// Maximum number of clients [default: as many as the limit of open files allows]
    ///
    /// Memory per client: idle under 1 KiB, with an unfinished request up to 72 KiB, downloading up to
    /// 144 KiB, uploading up to 4 MiB and 10 open files. TLS adds some 8 KiB, and up to 64 KiB while bytes wait to be sent.
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(super) max_clients: Option<u32>,

    /// Maximum number of clients per address [default: no limit but --max-clients]
    ///
    /// Clients that have logged in count for their user in place of the address; a user may have as many, unless the users
    /// file says otherwise (`max-clients`). Clients above the limit are told so, a few at a time; further connections are
    /// closed at once. Memory: about 100 bytes per address or user.
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(super) max_clients_per_address: Option<u32>,

    /// Maximum bytes per second of each client, both directions together [default: no limit]
    ///
    /// All clients that are logged in as one user have it together, unless the users file gives the user another one
    /// (`rate`). Memory: about 300 bytes per client.
    #[arg(long, value_name = "BYTES", value_parser = rate)]
    pub(super) rate: Option<u64>,

    /// Maximum bytes per second of all clients together, both directions [default: no limit]
    ///
    /// Clients that want more than there is get equal shares, all clients of one user one share; new clients and small
    /// requests go before large transfers. No timeout runs while a client waits for a rate. Memory: about 300 bytes per
    /// client.
    #[arg(long, value_name = "BYTES", value_parser = rate)]
    pub(super) total_rate: Option<u64>,

    /// Maximum size of an upload [default: no limit]
    #[arg(long, value_name = "BYTES", value_parser = size)]
    pub(super) max_upload: Option<u64>,

    /// Maximum disk space of all unfinished uploads together [default: no limit]
    ///
    /// Counts what has arrived and what is set aside ahead of it; of interrupted uploads that wait to be
    /// resumed, the blocks that they take. The users file may limit single users as well (`max-staged`).
    #[arg(long, value_name = "BYTES", value_parser = size)]
    pub(super) max_staged: Option<u64>,

    /// Maximum number of resumable uploads that are remembered: interrupted ones, and those published
    /// within the last hour
    ///
    /// Each costs 8 KiB of disk and up to 300 bytes of memory. Above the limit, uploads of which nothing
    /// is kept are forgotten first; then, for a client of another address or user, the smallest and oldest of
    /// the address or user that has most. The users file may limit single users as well (`max-kept`).
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = number)]
    pub(super) max_kept: u64,

    /// Maximum memory for CRCs of files that were read or uploaded, by blocks of 1 MiB; with 0 none are remembered
    ///
    /// A file that lies in memory is then sent without being read for its CRC, and its SUM is answered at once. Of large files
    /// 16 MiB remember some 1.6 TiB, of files up to 1 MiB some 50,000. Only files of the server's own user are remembered, and no
    /// changed one is ever taken for what it was.
    #[arg(long, value_name = "BYTES", default_value = "16MiB", value_parser = size)]
    pub(super) crc_cache: u64,

    /// Maximum memory for contents of files of up to 64 KiB that are asked for often; with 0 none are cached
    ///
    /// Such a file is looked at, and neither opened nor read while it is what it was. Files of the server's own user alone.
    #[arg(long, value_name = "BYTES", default_value = "32MiB", value_parser = size)]
    pub(super) small_cache: u64,

    /// Disconnect a client that has sent no request for TIME
    #[arg(long, value_name = "TIME", default_value = "300s", value_parser = seconds)]
    pub(super) idle_timeout: Duration,

    /// Disconnect a client that has not finished a request line after TIME
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = seconds)]
    pub(super) request_timeout: Duration,

    /// Answer `busy` where the file system leaves a request unanswered for TIME
    ///
    /// A disk that retries, or a file system of other machines that moves to another of them, may take half a minute.
    /// A disk of this machine has four times as long to store what is written; a slower one needs more. The connection
    /// can be used on. An upload is dropped then, or kept for RESUME; a change of names may be made all the same, when
    /// the file system answers. Until then the file or directory is `busy` at once. Others are served, by up to 32 more
    /// threads for looking up, 32 for reading, and 8 each for four kinds of work on uploads and names.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = seconds)]
    pub(super) job_timeout: Duration,

    /// Interval over which the progress of a transfer is measured, in either direction
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = seconds)]
    pub(super) progress_window: Duration,

    /// Disconnect a client whose transfer moves fewer than BYTES in an interval of --progress-window
    ///
    /// Of a download, those count that the client's system has acknowledged.
    #[arg(long, value_name = "BYTES", default_value = "1KiB", value_parser = size)]
    pub(super) progress_bytes: u64,

    /// Keep interrupted uploads for TIME, to be resumed; a number without a unit is of hours
    #[arg(long, value_name = "TIME", default_value = "72h", value_parser = hours)]
    pub(super) keep: Duration,

    /// Serve figures in Prometheus' text format at http://ADDRESS:PORT/metrics; port 0 takes a free port, which the log
    /// names
    ///
    /// Everybody who can reach the address can read them: names of users and figures, no names of
    /// files. Costs 16 connections at most, and some 0.3 ms of the loop a page.
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = resolve_address)]
    pub(super) metrics: Option<Addresses>,

    /// Let transfers under way end for so long when the server is to end
    ///
    /// Clients that are idle are told within a second. With 0 nobody is waited for. It is the longest time that a stop
    /// takes, but for 2 seconds in which all that is whole is published.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    pub(super) grace: Duration,

    /// The socket at which `ferryd status`, `ferryd reload` and --take-over reach this server, its owner's alone [default:
    /// PORT.sock in $RUNTIME_DIRECTORY, $XDG_RUNTIME_DIR/ferryd, for root /run/ferryd, else /tmp/ferryd-UID]
    ///
    /// One that a server has left behind is replaced; one of a server that runs is an error. Without this option a server
    /// does without it where it can't be had, and says so in the log. At the end the socket is removed if its directory is
    /// this user's alone (mode 0700).
    #[arg(long, value_name = "PATH")]
    pub(super) control: Option<PathBuf>,

    /// Go on in the place of the server that runs: get its listening sockets over its control socket, accept clients,
    /// and only then have it drain
    ///
    /// No client is refused or reset meanwhile: transfers under way end at the old server, within its --grace, and
    /// interrupted uploads can be resumed at the new one. Where this server can't start, the old one goes on. Give it the
    /// same address and root.
    #[arg(long)]
    pub take_over: bool,

    /// Append the log to FILE as well
    ///
    /// A reload opens it anew, after a rotation. It costs one open file and a thread.
    #[arg(long, value_name = "FILE")]
    pub(super) log_file: Option<PathBuf>,

    /// Append the lines of transfers, changes and logins to FILE, in place of the log
    ///
    /// It is written at every --log-level. A reload opens it anew, after a rotation. It costs one open file and a thread.
    #[arg(long, value_name = "FILE")]
    pub(super) transfer_log: Option<PathBuf>,

    /// Format of the lines in the file of --transfer-log
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = TransferLogFormat::Plain)]
    pub(super) transfer_log_format: TransferLogFormat,

    /// Least severe level to log
    #[arg(long, value_name = "LEVEL", default_value = "info", ignore_case = true, value_parser = log_levels())]
    pub(super) log_level: LevelFilter,
}

impl Arguments {
    /// Returns the control socket, if one is named, and the port after which it is named else.
    #[must_use]
    pub fn control(&self) -> (Option<&Path>, u16) {
        (self.control.as_deref(), self.listen.0.first().map_or(0, SocketAddr::port))
    }

    /// Returns the addresses to listen on: the first that can be had.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.listen.0
    }

    /// Returns the addresses to serve HTTP at: the first that can be had; [`None`] where it is not served.
    #[must_use]
    pub fn http(&self) -> Option<&[SocketAddr]> {
        self.http.as_ref().map(|addresses| &*addresses.0)
    }

    /// Returns the command line. A value that begins with `-` is one that is out of range, rather than an unknown option.
    /// Commands that have to do with serving take the options that they need.
    pub(super) fn described() -> clap::Command {
        let takes_numbers = |arg: Arg| match arg.get_value_names() {
            Some([name]) if ["N", "BYTES", "TIME"].contains(&name.as_str()) => arg.allow_hyphen_values(true),
            Some(_) if arg.get_action().takes_values() => arg.allow_negative_numbers(true),
            _ => arg,
        };
        let command = Arguments::command().mut_args(takes_numbers);
        let options: Vec<Arg> = command.get_arguments().cloned().collect();
        let names: Vec<String> = command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
        names.iter().fold(command, |command, name| {
            let taken = options.iter().filter(|option| takes(name, option.get_id().as_str())).cloned();
            command.mut_subcommand(name, |command| {
                let is_above = command.has_subcommands();
                command.args(taken.map(|option| if is_above { option.global(true) } else { option }))
            })
        })
    }
}

/// Returns whether a command takes the option with this id, as serving does.
pub(super) fn takes(command: &str, id: &str) -> bool {
    match command {
        "check" => true,
        "user" => id == CONFIG,
        "status" | "reload" => matches!(id, "config" | "control" | "listen"),
        _ => false,
    }
}

/// Parses a number of bytes.
pub(super) fn size(text: &str) -> Result<u64, String> {
    within(text, 0.., units::size(text))
}

/// Parses bytes per second: at least one.
pub(super) fn rate(text: &str) -> Result<u64, String> {
    within(text, 1.., units::rate(text))
}

/// Parses a time of at least a second. A number without a unit is of seconds.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    within(text, Duration::from_secs(1).., units::time(text, "s"))
}

/// Parses a time, which may be none. A number without a unit is of seconds.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    within(text, Duration::ZERO.., units::time(text, "s"))
}

/// Parses a time. A number without a unit is of hours.
fn hours(text: &str) -> Result<Duration, String> {
    within(text, Duration::ZERO.., units::time(text, "h"))
}

/// Refuses what lies outside of a range, negative numbers above all.
fn within<T: PartialOrd + Shown>(text: &str, range: RangeFrom<T>, read: Result<T, String>) -> Result<T, String> {
    let out = || format!("it must be at least {}", range.start.shown());
    if text.strip_prefix('-').is_some_and(|number| number.starts_with(|first: char| first.is_ascii_digit())) {
        return Err(out());
    }
    let value = read?;
    if range.contains(&value) { Ok(value) } else { Err(out()) }
}

/// A value that stands in an error as it may be typed.
trait Shown {
    fn shown(&self) -> String;
}

impl Shown for u64 {
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Shown for Duration {
    fn shown(&self) -> String {
        units::show_time(*self)
    }
}

/// Parses a number, which may be 0.
fn number(text: &str) -> Result<u64, String> {
    whole(text, 0..=i64::MAX as u64)
}

/// Parses a number that is not 0.
fn at_least_one(text: &str) -> Result<u32, String> {
    let number = whole(text, 1..=u32::MAX.into())?;
    u32::try_from(number).map_err(|error| error.to_string())
}

fn whole(text: &str, range: RangeInclusive<u64>) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("give a whole number from {} to {}", range.start(), range.end()))
}

fn log_levels() -> impl TypedValueParser<Value = LevelFilter> {
    PossibleValuesParser::new(["off", "error", "warn", "info", "debug", "trace"])
        .try_map(|level| level.parse::<LevelFilter>())
}

/// The addresses of a host name; at least one.
#[derive(Debug, Clone)]
pub(super) struct Addresses(pub(super) Vec<SocketAddr>);

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum DurabilityArgument {
    /// All that was acknowledged survives a power cut
    Full,
    /// Faster: survives the end of the server, but a power cut may lose or truncate it
    None,
}

/// The permissions that are taken from clients.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum KeptModes {
    /// None
    None,
    /// Those of the owner
    Owner,
    /// Those of the owner, the group and all others
    All,
}

impl KeptModes {
    pub(super) fn mask(self) -> Option<Mode> {
        match self {
            KeptModes::None => None,
            KeptModes::Owner => Some(Mode::OWNER),
            KeptModes::All => Some(Mode::ALL),
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum TransferLogFormat {
    /// As in the log, for people
    Plain,
    /// A JSON object a line
    Json,
    /// The format of wu-ftpd, for analysers of FTP logs; MKDIR, RENAME, TOUCH, LOGIN and SUM stay in the log
    Xferlog,
}

/// The addresses of names that were looked up. A reload reads all options again behind the fence, where no name can be
/// looked up.
static LOOKED_UP: Mutex<BTreeMap<String, Vec<SocketAddr>>> = Mutex::new(BTreeMap::new());

/// Reads the name of a node: the rule is that of the names of users.
fn node(text: &str) -> Result<Arc<str>, String> {
    let rule = "the name of a node is 1 to 64 of the characters 0-9 A-Z a-z . _ -";
    UserName::new(text).map(|_| text.into()).map_err(|_| rule.to_owned())
}

/// Parses a port on the loopback address, or an address or host name with a port.
fn resolve_address(text: &str) -> Result<Addresses, String> {
    let help = "give a port from 0 to 65535, or ADDRESS:PORT";
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let port = text.parse::<u16>().map_err(|_| help)?;
        return Ok(Addresses(vec![SocketAddr::from(([127, 0, 0, 1], port))]));
    }
    let mut looked_up = LOOKED_UP.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(addresses) = looked_up.get(text) {
        return Ok(Addresses(addresses.clone()));
    }
    let addresses: Vec<_> = text.to_socket_addrs().map_err(|error| format!("{error}; {help}"))?.collect();
    looked_up.insert(text.to_owned(), addresses.clone());
    if addresses.is_empty() { Err(format!("it has no address; {help}")) } else { Ok(Addresses(addresses)) }
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
    fn the_options_are_consistent() {
        Arguments::described().debug_assert();
        assert!(Arguments::try_parse_from(["ferryd", "--writable", "--read-only"]).is_err());
    }

    #[test]
    fn a_command_stands_in_the_place_of_everything_else() {
        let read = |line: &str| Arguments::try_parse_from(line.split(' '));
        for serving in ["ferryd", "ferryd 12000", "ferryd --root user 12000", "ferryd 127.0.0.1:0 --read-only"] {
            assert!(read(serving).unwrap().command.is_none(), "{serving}");
        }
        for command in ["ferryd user list", "ferryd user --users f list", "ferryd user list --users f"] {
            assert!(read(command).unwrap().command.is_some(), "{command}");
        }
        for wrong in
            ["ferryd user", "ferryd users", "ferryd 12000 user list", "ferryd --root x user list", "ferryd user frob"]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
