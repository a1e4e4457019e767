//! The log, and the lines of the protocol on standard error.

use std::{
    fs::File,
    io::{self, Write as _},
    os::unix::ffi::OsStrExt as _,
    thread,
};

use ferry_client::PROTOCOL_LOG;
use log::{LevelFilter, Log, Metadata, Record};
use simplelog::{CombinedLogger, Config, ConfigBuilder, SharedLogger, WriteLogger};

use super::{
    args::Args,
    completion,
    exit::{Exit, Failed, plain},
};

/// Starts what the options ask for; nothing is logged otherwise.
pub(crate) fn start(args: &Args) -> Result<(), Failed> {
    let mut loggers: Vec<Box<dyn SharedLogger>> = Vec::new();
    if args.log_level != LevelFilter::Off {
        // The line editor logs each key, and what is typed by mistake may be a secret.
        let config = ConfigBuilder::new().set_time_format_rfc3339().add_filter_ignore_str("rustyline").build();
        loggers.push(match &args.log_file {
            None => WriteLogger::new(args.log_level, config, io::stderr()),
            Some(path) => {
                let file = File::options().create(true).append(true).open(path).map_err(|error| {
                    let shown = ferry_wire::escaped_bytes(path.as_os_str().as_bytes());
                    Failed::of(Exit::Local, format!("cannot open the log file {shown}: {}", plain(&error)))
                        .about(path.to_string_lossy())
                })?;
                WriteLogger::new(args.log_level, config, file)
            }
        });
    }
    if args.verbose {
        loggers.push(Box::new(Protocol));
    }
    if loggers.is_empty() {
        return Ok(());
    }
    CombinedLogger::init(loggers).map_err(|error| Failed::of(Exit::System, format!("cannot log: {error}")))
}

/// Shows the lines of the protocol on standard error as they are: `> GET a`, `< FILE 5 - tag`.
struct Protocol;

impl Log for Protocol {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == PROTOCOL_LOG
    }

    fn log(&self, record: &Record<'_>) {
        // What Tab asks for would stand in the middle of a line that is being typed.
        if self.enabled(record.metadata()) && thread::current().name() != Some(completion::THREAD) {
            // A reader that went away is no reason to fail.
            let _ = writeln!(io::stderr(), "{}", record.args());
        }
    }

    fn flush(&self) {}
}

impl SharedLogger for Protocol {
    fn level(&self) -> LevelFilter {
        LevelFilter::Trace
    }

    fn config(&self) -> Option<&Config> {
        None
    }

    fn as_log(self: Box<Self>) -> Box<dyn Log> {
        self
    }
}
