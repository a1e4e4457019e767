//! `ferryd`: serves one directory to ferry clients.

mod options;

use std::{io::Write, process::ExitCode, sync::Arc, thread, time::Duration};

use clap::Parser;
use ferry_server::{Listener, Server, fence, logging, store::Store};
use signal_hook::{consts::SIGXFSZ, flag};

use options::{Arguments, Setup};

/// What nobody resumed is kept for days: an hour more does no harm.
const BETWEEN_CLEANINGS: Duration = Duration::from_secs(3600);

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
    // A limit on file sizes is then an error of the write, told to whom it concerns, and not the end of all.
    flag::register(SIGXFSZ, Arc::default())?;
    let setup = Setup::resolve(arguments)?;
    let log_file = setup
        .log_file
        .as_deref()
        .map(|path| logging::open(path).map_err(|error| format!("can't log to {}: {error}", path.display())));
    let log_file = log_file.transpose()?;
    let listener = Listener::bind(&setup.addresses, setup.reuse_port)?;
    let address = listener.local_addr();
    // All that needs to reach outside the root is open by now, and no thread runs yet.
    let fenced = fence::raise(&setup.store.root, setup.store.writable);
    let _log = logging::start(setup.log_level, log_file)?;
    let store = Arc::new(Store::open(&setup.store)?);
    if setup.server.limits.read_only {
        log::info!("read-only: {}", setup.why_read_only);
    }
    let server = Server::new(setup.server, listener, store.clone())?;
    // What keeps a server from starting is all that it says then.
    log::info!("{fenced}");
    if let Some(fewer) = setup.fewer_clients {
        log::warn!("{fewer}");
    }
    // Whoever started it may have closed the pipe; that is no reason not to serve.
    let _ = writeln!(std::io::stdout(), "listening on {address}, serving {}", setup.store.root.display());
    keep_clean(store)?;
    server.run()?;
    Ok(())
}

/// Cleans up now, and once an hour, beside the loop.
fn keep_clean(store: Arc<Store>) -> std::io::Result<()> {
    let clean = move || loop {
        store.clean();
        thread::sleep(BETWEEN_CLEANINGS);
    };
    thread::Builder::new().name("ferry-clean".into()).spawn(clean).map(drop)
}
