//! The command line.

use std::{path::PathBuf, time::Duration};

use log::LevelFilter;

use super::exit;

const ABOUT: &str = "\
Move files to and from a ferryd server; every transfer is verified.

Commands come from -c, from the terminal, or from standard input when that is no terminal:

  OPEN port | OPEN host:port   connect
  GET name                     fetch a file into the client directory
  PUT name                     send a file from the client directory
  CLOSE                        close the connection
  QUIT                         leave
  HELP [command]               say more

Commands are case-insensitive. A name runs to the end of the line and needs no quotes; quotes
around the whole name are taken off.";

/// What the command line says.
#[derive(Debug, clap::Parser)]
#[command(name = "ferry", version, about = ABOUT, args_override_self = true, after_help = exit::HELP)]
pub(crate) struct Args {
    /// Run these commands, parted by ';', and leave; stop at the first that fails
    #[arg(short, long, value_name = "COMMANDS")]
    pub(crate) command: Option<String>,

    /// Where GET saves and where PUT takes files from; made if missing
    #[arg(long, value_name = "DIR", default_value = "./client")]
    pub(crate) dir: PathBuf,

    /// Give a server up that moves no byte for so long
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub(crate) timeout: Duration,

    /// Log so much: off, error, warn, info, debug, trace
    #[arg(long, value_name = "LEVEL", default_value = "off")]
    pub(crate) log_level: LevelFilter,

    /// Log to this file, not to standard error
    #[arg(long, value_name = "FILE")]
    pub(crate) log_file: Option<PathBuf>,
}

/// A day: whoever waits longer wants no limit.
const MAX_TIMEOUT_SECONDS: f64 = 86_400.0;

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= MAX_TIMEOUT_SECONDS => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(format!("a number of seconds is needed, above 0 and at most {MAX_TIMEOUT_SECONDS}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory as _, Parser as _};

    #[test]
    fn the_options_hold_together() {
        Args::command().debug_assert();
        let args = Args::parse_from(["ferry", "-c", "QUIT", "--timeout", "0.5"]);
        assert_eq!((args.command.as_deref(), args.timeout), (Some("QUIT"), Duration::from_millis(500)));
        for wrong in ["0", "-1", "inf", "nan", "x", "1e9"] {
            assert!(Args::try_parse_from(["ferry", "--timeout", wrong]).is_err(), "{wrong}");
        }
    }
}
