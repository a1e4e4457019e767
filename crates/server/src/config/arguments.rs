//! The command line.

use std::{
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
};

use clap::{
    Arg, CommandFactory, FromArgMatches, Parser, ValueEnum,
    builder::{PossibleValuesParser, RangedI64ValueParser, TypedValueParser},
};
use ferry_wire::limits::{DEFAULT_PORT, MAX_INTEGER};
use log::LevelFilter;

use crate::commands::Command;

/// The options as they were typed.
#[derive(Debug, Parser)]
#[command(
    name = "ferryd",
    version,
    args_conflicts_with_subcommands = true,
    about = "Serves one directory to ferry clients",
    after_help = "Serves until SIGTERM, SIGINT, SIGQUIT or SIGHUP comes (nohup keeps SIGHUP away); uploads that are \
                  whole are then still published. A second signal, or ten seconds, cut that short.\n\
                  Exit status: 0 where it ended as it was asked to, 1 where it could not serve, 2 for a command line that is \
                  wrong, 3 where it had to leave what did not answer: a disk, say.\n\
                  What is logged of each transfer: client, name, bytes, duration, outcome; and of each change (MKDIR, DELETE, \
                  RENAME). Of one address that is at most 1000 lines at once and 50 a second, of reads and of the rest; what \
                  is over is summed up each second. Long names are cut."
)]
pub struct Arguments {
    /// What to do in place of serving
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Where to listen; port 0 takes a free one, which the first line of output names
    #[arg(value_name = "[ADDRESS:]PORT", default_value = format!("127.0.0.1:{DEFAULT_PORT}"), value_parser = resolve_address)]
    pub(super) listen: Addresses,

    /// The directory to serve, made if missing
    #[arg(long, value_name = "DIR", default_value = "./server")]
    pub(super) root: PathBuf,

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
    pub(super) reuse_port: bool,

    /// Take uploads and changes even on an address that is not loopback
    #[arg(long, conflicts_with = "read_only")]
    pub(super) writable: bool,

    /// Take no uploads and changes on any address
    #[arg(long)]
    pub(super) read_only: bool,

    /// What SAVED and DONE promise; with less than all the greeting says so ('volatile')
    #[arg(long, value_name = "LEVEL", value_enum, default_value_t = DurabilityArgument::Full)]
    pub(super) durability: DurabilityArgument,

    /// Clients served at one time [default: what the limit of open files allows]. In memory an idle
    /// one costs less than 1 KiB, one with a request half said up to 72 KiB, one that downloads up to
    /// 144 KiB, one that uploads up to 4 MiB and 10 open files
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) max_clients: Option<u32>,

    /// Clients served at one time from one address [default: as many as in all]; costs some 100 bytes for
    /// each address
    ///
    /// Those above it are told so, a few at a time; where more come, their connections are closed at once.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) max_clients_per_address: Option<u32>,

    /// Bytes a second that one client may move, both ways together [default: no limit]; costs some 200
    /// bytes for each client
    #[arg(long, value_name = "BYTES", value_parser = at_least(1))]
    pub(super) rate: Option<u64>,

    /// Bytes a second that all clients together may move, both ways [default: no limit]; costs some 200
    /// bytes for each client
    ///
    /// Those who want more than there is share it equally; newcomers and small requests go before large
    /// transfers. No time limit runs while a client waits for a rate.
    #[arg(long, value_name = "BYTES", value_parser = at_least(1))]
    pub(super) total_rate: Option<u64>,

    /// The largest upload in bytes; costs no memory
    #[arg(long, value_name = "BYTES", default_value_t = MAX_INTEGER, value_parser = at_least(0))]
    pub(super) max_upload: u64,

    /// How many bytes all uploads together may hold on the disk before they have their names: what
    /// arrived and what is set aside ahead of it, of interrupted ones that wait to be resumed the
    /// blocks that they take [default: no limit]; costs no memory
    #[arg(long, value_name = "BYTES", value_parser = at_least(0))]
    pub(super) max_staged: Option<u64>,

    /// How many uploads may be known under the id of a RESUME, whether interrupted or published in the
    /// last hour; each costs 8 KiB on the disk, and up to 300 bytes of memory. Where there are too many,
    /// those that hold nothing any more give way; then, to a client of another address, the smallest and
    /// oldest of the address that has most
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = at_least(0))]
    pub(super) max_kept: u64,

    /// How long a client may ask for nothing, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = at_least(1))]
    pub(super) idle_timeout: u64,

    /// How long a client may take to finish a request line, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = at_least(1))]
    pub(super) request_timeout: u64,

    /// Over how many seconds the progress of a body is measured, in either direction
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = at_least(1))]
    pub(super) progress_window: u64,

    /// How many bytes a body must move in each of these windows
    #[arg(long, value_name = "BYTES", default_value_t = 1024, value_parser = at_least(0))]
    pub(super) progress_bytes: u64,

    /// How long an interrupted upload is kept for its client to resume, in hours
    #[arg(long, value_name = "HOURS", default_value_t = 72, value_parser = at_least(0))]
    pub(super) keep: u64,

    /// Log to the end of this file as well
    #[arg(long, value_name = "FILE")]
    pub(super) log_file: Option<PathBuf>,

    /// What to log
    #[arg(long, value_name = "LEVEL", default_value = "info", ignore_case = true, value_parser = log_levels())]
    pub(super) log_level: LevelFilter,
}

impl Arguments {
    /// Reads the command line.
    ///
    /// # Errors
    ///
    /// What is wrong with it, or what was asked for in place of serving: help, the version.
    pub fn read() -> Result<Arguments, clap::Error> {
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
pub(super) struct Addresses(pub(super) Vec<SocketAddr>);

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum DurabilityArgument {
    /// What was acknowledged survives a power cut
    Full,
    /// Faster: it survives the end of the server, but a power cut may lose or truncate it
    None,
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
