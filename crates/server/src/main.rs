//! `ferryd`: serves one directory to ferry clients.

use std::{
    env,
    ffi::OsString,
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use ferry_server::{
    Server,
    access::Users,
    check,
    commands::{
        CheckArguments, Command,
        ask::{self, StatusArguments},
        user,
    },
    config::{Configuration, Obstacle, Reread, Setup, StartError, completions, example, manual},
    control::{ControlSocket, Question},
    fence::{self, Beyond},
    net::{Inherited, InquiryListener, TlsAcceptor, keys::Identity},
    runtime::{Inquiry, ReloadReading, Reloaded, check_users},
    start::{Given, SocketsError, Wanted},
    store::{self, Store},
};
use ferry_wire::escaped;
use signal_hook::{consts::SIGXFSZ, flag};

/// The time between two cleanings. Interrupted uploads are kept for days: an hour more does no harm.
const BETWEEN_CLEANINGS: Duration = Duration::from_secs(3600);

fn main() -> ExitCode {
    // First of all: nothing else may have their numbers.
    let passed = Inherited::of_environment();
    let configuration = match Configuration::read() {
        Ok(configuration) => configuration,
        Err(error) => return refuse(&error),
    };
    match run(passed, configuration) {
        Ok(status) => status,
        Err(error) => {
            // A name in it may hold control characters.
            eprintln!("ferryd: {}", escaped(&error.to_string()));
            ExitCode::from(error.obstacle.status())
        }
    }
}

/// Prints why the command line is not served: an error, help or the version. It quotes the
/// arguments, so there are colours only where nothing has to be escaped.
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

fn run(passed: Result<Inherited, String>, configuration: Configuration) -> Result<ExitCode, StartError> {
    survive_limits()?;
    if configuration.arguments().command.is_some() {
        return carry_out(&configuration);
    }
    let passed = passed.map_err(StartError::of(Obstacle::Address))?;
    serve(passed, configuration).map(|()| ExitCode::SUCCESS)
}

/// Carries out the command that stands in place of serving.
fn carry_out(configuration: &Configuration) -> Result<ExitCode, StartError> {
    let (control, port) = configuration.arguments().control();
    match &configuration.arguments().command {
        None => {}
        Some(Command::User(arguments)) => {
            // Where the file is named, no warning is needed.
            if !arguments.names_file() {
                configuration.holds()?;
            }
            user::run(arguments, configuration.users_file())?;
        }
        Some(Command::Status(StatusArguments { json })) => ask::run(Question::Status { json: *json }, control, port)?,
        Some(Command::Reload) => ask::run(Question::Reload, control, port)?,
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

/// Prints a text as it is. A reader that has read enough closes the pipe, which is no error.
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

/// Returns the sockets that this server is given, and its configuration with the address that comes of that: whether there
/// is TLS, and whether anything can be changed, follows from it.
fn given_sockets(passed: Inherited, configuration: Configuration) -> Result<(Given, Configuration), StartError> {
    let arguments = configuration.arguments();
    let given = match arguments.take_over {
        true => {
            let (control, port) = arguments.control();
            Given::taken_over(control, port).map_err(refused)?
        }
        false => Given::passed(passed),
    };
    let address = given.address(arguments.addresses()).map_err(refused)?;
    let configuration = match address {
        Some(address) => configuration.listening_on(address)?,
        None => configuration,
    };
    Ok((given, configuration))
}

/// Returns why there are not the sockets that are needed, with its kind.
fn refused(error: SocketsError) -> StartError {
    let obstacle = match &error {
        SocketsError::Listen(_) | SocketsError::Metrics(_) | SocketsError::Passed(_) => Obstacle::Address,
        SocketsError::Control(_) => Obstacle::Own,
        SocketsError::TakeOver(_) => Obstacle::Other,
    };
    StartError::new(obstacle, error)
}

fn serve(passed: Inherited, configuration: Configuration) -> Result<(), StartError> {
    configuration.holds()?;
    let warned_of = configuration.warnings().to_vec();
    let (given, configuration) = given_sockets(passed, configuration)?;
    let setup = Setup::resolve(configuration.arguments())?;
    check::before_start(&configuration, &setup)?;
    let sockets = given.complete(&Wanted {
        addresses: &setup.addresses,
        reuse_port: setup.reuse_port,
        metrics: setup.metrics.as_deref(),
        control: setup.control.as_deref(),
    });
    let sockets = sockets.map_err(refused)?;
    let logs = setup.logs.open().map_err(StartError::of(Obstacle::Own))?;
    let (users, warning) = load_users(setup.server.users_file.as_deref())?;
    setup.make_root()?;
    let address = sockets.clients.local_addr();
    let metrics = sockets.metrics.as_ref().and_then(InquiryListener::local_addr);
    let identity = setup.security.identity(address).map_err(StartError::of(Obstacle::Configuration))?;
    let tls = identity.as_ref().map(TlsAcceptor::new).transpose().map_err(StartError::of(Obstacle::Other))?;
    store::know_this_machine();
    // All that needs to reach outside the root is open by now, and no thread runs yet.
    let read_again = setup.server.users_file.as_deref().into_iter().chain(configuration.file()).map(Path::to_owned);
    let read_again = read_again.chain(setup.security.files().filter(|_| identity.is_some()));
    let beyond = Beyond {
        readable: read_again.flat_map(|file| directories_of(&file)).filter(|directory| directory.is_dir()).collect(),
        logs: logs.directories(),
        removable: sockets.control.as_ref().and_then(ControlSocket::private_directory),
    };
    let fenced = fence::raise(&setup.store.root, setup.store.writable, &beyond);
    let (_last_lines, logs) = logs.start(setup.server.live.log_level)?;
    let store = Arc::new(Store::open(&setup.store).map_err(StartError::of(Obstacle::Root))?);
    if let Err(error) = check_users(&users, store.has_one_name()) {
        store.leave();
        return Err(StartError::new(Obstacle::Configuration, error));
    }
    for warning in warning.into_iter().chain(warned_of).chain(sockets.warnings) {
        log::warn!("{warning}");
    }
    if setup.server.live.limits.read_only {
        log::info!("read-only: {}", setup.why_read_only);
    }
    let (control, control_file) = sockets.control.map(ControlSocket::into_parts).unzip();
    let inquiries = [(Inquiry::Metrics, sockets.metrics), (Inquiry::Control, control.map(InquiryListener::control))];
    let inquiries = inquiries.into_iter().filter_map(|(inquiry, listener)| Some((inquiry, listener?))).collect();
    let reading = reading(configuration, (setup.server.users_file.clone(), address, store.has_one_name()));
    let node = setup.server.live.limits.node.clone();
    let server = Server::new(setup.server, Arc::new(users), sockets.clients, tls, store.clone(), logs, inquiries)
        .map_err(StartError::of(Obstacle::Other))?;
    // A server that can't start says only why.
    if let Some(node) = node {
        log::info!("this is node {node}");
    }
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
    let server = server.managed_by(sockets.manager, sockets.is_held).controlled_at(control_file.flatten());
    server.reloading_by(reading).succeeding(sockets.waiting).run().map_err(StartError::of(Obstacle::Other))
}

/// Reads the users file, if one is in use. Returns a warning as well, where there is one.
fn load_users(path: Option<&Path>) -> Result<(Users, Option<String>), StartError> {
    let loaded = path.map_or_else(|| Ok((Users::without_file(), None)), Users::load);
    loaded.map_err(StartError::of(Obstacle::Configuration))
}

/// Returns the reading of all that a reload may change. A users file that was in use is never done without.
fn reading(
    configuration: Configuration,
    (users_file, address, has_one_name): (Option<PathBuf>, SocketAddr, bool),
) -> Arc<ReloadReading> {
    let held = Mutex::new(configuration);
    let read = move || {
        let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
        let Reread { configuration, changed, fixed } = held.read_again()?;
        let setup = Setup::resolve(configuration.arguments())?;
        let users_file = users_file.clone().or(setup.server.users_file);
        let (users, warning) = load_users(users_file.as_deref())?;
        check_users(&users, has_one_name)?;
        let identity = setup.security.identity_again(address)?;
        let tls = identity.as_ref().map(TlsAcceptor::new).transpose().map_err(StartError::of(Obstacle::Other))?;
        *held = configuration;
        let warnings = warning.into_iter().chain(setup.fewer_clients);
        let warnings = warnings.chain(identity.as_ref().and_then(Identity::warning).map(str::to_owned));
        let notes = changed.into_iter().chain(users_file.map(|_| "the users file holds as it is now".to_owned()));
        let notes = notes.chain(identity.as_ref().map(|identity| format!("the key is {}", identity.fingerprint())));
        Ok(Reloaded {
            live: setup.server.live,
            users,
            tls,
            notes: notes.collect(),
            warnings: fixed.into_iter().chain(warnings).collect(),
        })
    };
    Arc::new(move || read().map_err(|error: StartError| error.to_string()))
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
