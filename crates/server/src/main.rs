//! `ferryd`: serves one directory to ferry clients.

mod options;

use std::{io::Write, process::ExitCode, sync::Arc};

use clap::Parser;
use ferry_server::{Server, logging, store::Store};

use options::{Arguments, Setup};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match serve(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ferryd: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let setup = Setup::resolve(arguments)?;
    let _log = logging::start(setup.log_level, setup.log_file.as_deref())
        .map_err(|error| format!("can't log to {}: {error}", setup.log_file_shown()))?;
    let store = Arc::new(Store::open(&setup.store)?);
    let server = Server::bind(&setup.server, store.clone())?;
    // Whoever started it may have closed the pipe; that is no reason not to serve.
    let _ = writeln!(std::io::stdout(), "listening on {}, serving {}", server.local_addr(), setup.store.root.display());
    if setup.server.limits.read_only {
        log::info!("read-only: {}", setup.why_read_only);
    }
    store.clean();
    server.run()?;
    Ok(())
}
