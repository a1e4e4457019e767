//! `ferryd`: serves one directory to ferry clients.

use std::{
    env,
    ffi::OsString,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    thread,
    time::Duration,
};

use ferry_server::{
    Server,
    access::Users,
    check,
    commands::{CheckArguments, Command, user},
    config::{Configuration, Obstacle, Setup, StartError, completions, example, manual},
    fence::{self, Beyond},
    net::{InquiryListener, Listener, TlsAcceptor, keys::Identity},
    runtime::{Inquiry, check_users},
    store::{self, Store},
};
use ferry_wire::escaped;
use signal_hook::{consts::SIGXFSZ, flag};

/// The time between two cleanings. Interrupted uploads are kept for days: an hour more does no harm.
const BETWEEN_CLEANINGS: Duration = Duration::from_secs(3600);

fn main() -> ExitCode {
    let configuration = match Configuration::read() {
        Ok(configuration) => configuration,
        Err(error) => return refuse(&error),
    };
    match run(&configuration) {
        Ok(status) => status,
        Err(error) => {
            // A name in it may hold control characters.
            eprintln!("ferryd: {}", escaped(&error.to_string()));
            ExitCode::from(error.obstacle.status())
        }
    }
}

/// Prints why the command line is not served: an error, help or the version. It quotes what was typed, so there are
/// colours only where nothing has to be escaped.
fn refuse(error: &clap::Error) -> ExitCode {
    let is_plain = |argument: OsString| argument.to_str().is_some_and(|text| escaped(text).to_string() == text);
    // Whether it can be said or not, the exit status tells.
    let _ = if env::args_os().all(is_plain) {
        error.print()
    } else {
        let said = error.render().to_string();
        said.lines().try_for_each(|line| writeln!(io::stderr(), "{}", escaped(line)))
    };
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1))
}

fn run(configuration: &Configuration) -> Result<ExitCode, StartError> {
    survive_limits()?;
    match &configuration.arguments().command {
        None => serve(configuration)?,
        Some(Command::User(arguments)) => {
            // Somebody who names the file needs no other word for it.
            if !arguments.names_file() {
                configuration.holds()?;
            }
            user::run(arguments, configuration.users_file())?;
        }
        Some(Command::Check(CheckArguments { example: true })) => print(example().as_bytes())?,
        Some(Command::Check(_)) => {
            let wrong = check::report(configuration).err();
            return Ok(wrong.map_or(ExitCode::SUCCESS, |error| ExitCode::from(error.obstacle.status())));
        }
        Some(Command::Man(arguments)) => print(&manual(arguments.page))?,
        Some(Command::Completions(arguments)) => print(&completions(arguments.shell))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints a text as it is. Whoever has read enough closes the pipe.
fn print(text: &[u8]) -> io::Result<()> {
    match io::stdout().write_all(text).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// Makes a limit on file sizes an error of the write, told to whom it concerns, and not the end of all.
fn survive_limits() -> io::Result<()> {
    flag::register(SIGXFSZ, Arc::default()).map(drop)
}

fn serve(configuration: &Configuration) -> Result<(), StartError> {
    let setup = Setup::resolve(configuration.arguments())?;
    check::before_start(configuration, &setup)?;
    let listener = Listener::bind(&setup.addresses, setup.reuse_port).map_err(StartError::of(Obstacle::Address))?;
    let mut inquiries = Vec::new();
    if let Some(addresses) = &setup.metrics {
        let listener = InquiryListener::bind(addresses).map_err(|error| format!("--metrics: {error}"));
        inquiries.push((Inquiry::Metrics, listener.map_err(StartError::of(Obstacle::Address))?));
    }
    let logs = setup.logs.open().map_err(StartError::of(Obstacle::Own))?;
    let (users, warning) = match &setup.server.users_file {
        Some(path) => Users::load(path).map_err(StartError::of(Obstacle::Configuration))?,
        None => (Users::without_file(), None),
    };
    setup.make_root()?;
    let address = listener.local_addr();
    let metrics = inquiries.iter().find_map(|(_, listener)| listener.local_addr());
    let identity = setup.security.identity(address).map_err(StartError::of(Obstacle::Configuration))?;
    let tls = identity.as_ref().map(TlsAcceptor::new).transpose().map_err(StartError::of(Obstacle::Other))?;
    store::know_this_machine();
    // All that needs to reach outside the root is open by now, and no thread runs yet.
    let read_again = setup.server.users_file.as_deref().into_iter().chain(configuration.file());
    let readable = read_again.flat_map(directories_of).filter(|directory| directory.is_dir()).collect();
    let beyond = Beyond { readable, logs: logs.directories() };
    let fenced = fence::raise(&setup.store.root, setup.store.writable, &beyond);
    let (_last_lines, logs) = logs.start(setup.server.live.log_level)?;
    let store = Arc::new(Store::open(&setup.store).map_err(StartError::of(Obstacle::Root))?);
    if let Err(error) = check_users(&users, store.has_one_name()) {
        store.leave();
        return Err(StartError::new(Obstacle::Configuration, error));
    }
    for warning in warning.into_iter().chain(configuration.warning().map(str::to_owned)) {
        log::warn!("{warning}");
    }
    if setup.server.live.limits.read_only {
        log::info!("read-only: {}", setup.why_read_only);
    }
    let server = Server::new(setup.server, Arc::new(users), listener, tls, store.clone(), logs, inquiries)
        .map_err(StartError::of(Obstacle::Other))?;
    // A server that can't start says only why.
    log::info!("{fenced}");
    log::info!("{}", store.capabilities());
    if let Some(address) = metrics {
        log::info!("figures are at http://{address}/metrics");
    }
    if let Some(fewer) = setup.fewer_clients {
        log::warn!("{fewer}");
    }
    if let Some(warning) = identity.as_ref().and_then(Identity::warning) {
        log::warn!("{warning}");
    }
    let secured = identity.map(|identity| format!(" (TLS, key {})", identity.fingerprint())).unwrap_or_default();
    let root = setup.store.root.to_string_lossy();
    // A closed pipe is no reason not to serve.
    let _ = writeln!(io::stdout(), "listening on {address}, serving {}{secured}", escaped(&root));
    keep_clean(store.clone())?;
    keep_alive(store)?;
    server.run().map_err(StartError::of(Obstacle::Other))
}

/// Returns the directories through which a file is read again: an edit puts another one in its place. Where it is a
/// symbolic link, that of what it leads to is one.
fn directories_of(file: &Path) -> Vec<PathBuf> {
    let parent = |path: &Path| match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let led_to = file.canonicalize().ok().map(|file| parent(&file));
    led_to.into_iter().chain([parent(file)]).collect()
}

/// Cleans up now, and once an hour, beside the loop.
fn keep_clean(store: Arc<Store>) -> io::Result<()> {
    let clean = move || loop {
        store.clean();
        thread::sleep(BETWEEN_CLEANINGS);
    };
    thread::Builder::new().name("ferry-clean".into()).spawn(clean).map(drop)
}

/// Tells other servers of the root that this one lives, beside the loop and beside cleaning, which may take long.
fn keep_alive(store: Arc<Store>) -> io::Result<()> {
    let live = move || loop {
        thread::sleep(store::BEAT);
        store.beat();
    };
    thread::Builder::new().name("ferry-beat".into()).spawn(live).map(drop)
}
