//! The options that the configuration file has as well as the command line.
//!
//! The file's keys are the names of the fields of [`CommonOptions`], and its values are parsed as on the command line: a
//! new option is a field here, its use in [`Choices`](crate::choices::Choices), and a line in the example file.

use std::{ffi::OsStr, num::NonZeroU64, path::PathBuf, time::Duration};

use clap::{
    Args as _, ValueHint,
    builder::{PossibleValue, StringValueParser, TypedValueParser},
};

use ferry_client::Parallel;

use super::{command::KeepGoing, progress::Mode, units};

/// A day: a longer one is no limit.
const MAX_TIMEOUT_SECONDS: f64 = 86_400.0;

/// More belong into a loop around the program.
const MAX_RETRIES: u32 = 1000;

/// More connections only take turns on the same line, and a server counts them as so many clients.
const MAX_PARALLEL: usize = 16;

/// Options that were given; the others are [`None`].
#[derive(Debug, Clone, Default, PartialEq, clap::Args)]
pub(crate) struct CommonOptions {
    /// Save files in DIR and send them from there; made if missing [default: ./client; for a subcommand the current
    /// directory]
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dir: Option<PathBuf>,

    /// Abort after SECONDS without progress (10 times that for SUM and the end of PUT) [default: 30]
    #[arg(long, global = true, value_name = "SECONDS", value_parser = timeout, allow_hyphen_values = true)]
    pub(crate) timeout: Option<Duration>,

    /// Reconnect up to N times in a row [default: 5]; if given, a subcommand also waits for a server that is not there
    #[arg(long, global = true, value_name = "N", value_parser = retry, allow_hyphen_values = true)]
    pub(crate) retry: Option<u32>,

    /// Reconnect for TIME (90s, 5m, 1h, 2d); with --retry, whichever lasts longer [default: 5m for GET -r, PUT -r and
    /// SYNC]
    #[arg(long, global = true, value_name = "TIME", value_parser = units::span, allow_hyphen_values = true)]
    pub(crate) retry_for: Option<Duration>,

    /// Abort below BYTES a minute of a file or a listing; 0 for no limit [default: 1024]
    #[arg(long, global = true, value_name = "BYTES", value_parser = min_rate, allow_hyphen_values = true)]
    pub(crate) min_rate: Option<u64>,

    /// Move at most RATE bytes a second (500, 64K, 1.5M) each way, over all connections together [default: no limit]
    #[arg(long, global = true, value_name = "RATE", value_parser = units::rate, allow_hyphen_values = true)]
    pub(crate) limit_rate: Option<NonZeroU64>,

    /// Memory for the names of one whole directory, about 500 bytes each [default: 512]
    #[arg(long, global = true, value_name = "MIB", value_parser = tree_memory, allow_hyphen_values = true)]
    pub(crate) tree_memory: Option<usize>,

    /// Move files over N connections, or as many as help on a long line, at most 8 [default: auto]
    #[arg(long, global = true, value_name = "N|auto", value_parser = parallel, allow_hyphen_values = true)]
    pub(crate) parallel: Option<Parallel>,

    #[command(flatten)]
    pub(crate) keep_going: KeepGoing,

    /// Show progress: auto (bars on a terminal), never, lines (one each 10 s), lines=SECONDS [default: auto]
    #[arg(long, global = true, value_name = "HOW", value_parser = ModeParser, hide_possible_values = true)]
    pub(crate) progress: Option<Mode>,
}

impl CommonOptions {
    /// Returns a parser of these options alone. The keys of the configuration and of SET are the ids of its arguments.
    pub(crate) fn parser() -> clap::Command {
        CommonOptions::augment_args(clap::Command::new("options").no_binary_name(true))
    }
}

/// Reads a [`Mode`], and tells a shell of the system what there is to choose from.
#[derive(Debug, Clone)]
struct ModeParser;

impl TypedValueParser for ModeParser {
    type Value = Mode;

    fn parse_ref(&self, command: &clap::Command, arg: Option<&clap::Arg>, value: &OsStr) -> Result<Mode, clap::Error> {
        StringValueParser::new().try_map(|text| text.parse::<Mode>()).parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(["auto", "never", "lines"].into_iter().map(PossibleValue::new)))
    }
}

fn timeout(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| *seconds > 0.0 && *seconds <= MAX_TIMEOUT_SECONDS);
    let why = || format!("a number of seconds is needed, above 0 and at most {MAX_TIMEOUT_SECONDS}");
    seconds.map(Duration::from_secs_f64).ok_or_else(why)
}

fn retry(text: &str) -> Result<u32, String> {
    let times = text.parse().ok().filter(|times| *times <= MAX_RETRIES);
    times.ok_or_else(|| format!("a number of tries is needed, 0 to {MAX_RETRIES}"))
}

fn min_rate(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "a number of bytes is needed, 0 or more".to_owned())
}

/// Parses MiB, and converts them to bytes.
fn tree_memory(text: &str) -> Result<usize, String> {
    let bytes = text.parse().ok().filter(|mebibytes: &usize| *mebibytes > 0);
    bytes
        .and_then(|mebibytes| mebibytes.checked_mul(1 << 20))
        .ok_or_else(|| "a number of MiB is needed, 1 or more".to_owned())
}

fn parallel(text: &str) -> Result<Parallel, String> {
    if text == "auto" {
        return Ok(Parallel::Auto);
    }
    let connections = text.parse().ok().filter(|connections| (1..=MAX_PARALLEL).contains(connections));
    let why = || format!("a number of connections is needed, 1 to {MAX_PARALLEL}, or auto");
    connections.map(Parallel::Fixed).ok_or_else(why)
}
