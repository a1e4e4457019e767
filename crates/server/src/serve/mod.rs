//! Puts a server together, and runs it.
//!
//! All that reaches outside the root is opened first. The fence is raised while no thread runs yet; the store, the
//! helpers and the loop come behind it.

mod reading;

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use ferry_wire::escaped;

use crate::{
    access::Users,
    check,
    config::{Configuration, Obstacle, Setup, StartError},
    control::ControlSocket,
    fence::{self, Beyond},
    files::directories_of,
    net::{Entrance, Inherited, InquiryListener, Service, ServiceListener, TlsAcceptor, keys::Identity},
    observe::logging::OpenLogs,
    runtime::{self, Ending, Inquiry, Server, ServerParts, check_users},
    start::{Given, Sockets, SocketsError, Wanted},
    store::{self, Reach, ServedStore, Store},
};

/// The time between two cleanings. Interrupted uploads are kept for days: an hour more does no harm.
const BETWEEN_CLEANINGS: Duration = Duration::from_secs(3600);

/// Serves until the server is asked to end, and returns how it did. `passed` holds the sockets of the environment.
///
/// # Errors
///
/// Where the server can't start, with the kind of the obstacle; nothing was changed where [`check::before_start`] finds
/// it. Later, where the system refuses to tell of events.
pub fn serve(passed: Inherited, configuration: Configuration) -> Result<Ending, StartError> {
    configuration.holds()?;
    let mut warnings = configuration.warnings().to_vec();
    let (given, configuration) = given_sockets(passed, configuration)?;
    let setup = Setup::resolve(configuration.arguments())?;
    check::before_start(&configuration, &setup)?;
    let sockets = given.complete(&wanted(&setup)).map_err(refused)?;
    let logs = setup.logs.open().map_err(StartError::of(Obstacle::Own))?;
    let (users, warning) = load_users(setup.server.users_file.as_deref())?;
    let address = sockets.clients.local_addr();
    let http = sockets.http.as_ref().map(|(listener, _)| listener.local_addr());
    let addresses: Vec<_> = [address].into_iter().chain(http).collect();
    let identity = setup.security.identity(&addresses)?;
    setup.make_root()?;
    let tls = identity.as_ref().map(|identity| TlsAcceptor::new(identity, http.is_some())).transpose();
    let tls = tls.map_err(StartError::of(Obstacle::Other))?;
    store::know_this_machine();
    runtime::keep_freed_memory();
    // All that needs to reach outside the root is open by now, and no thread runs yet.
    let key_files = identity.is_some().then(|| setup.security.files());
    warnings.extend(store::cautions(&setup.store.root));
    let beyond = beyond(&setup, &configuration, key_files.into_iter().flatten(), &logs, &sockets);
    let fenced = fence::raise(&setup.store.root, setup.store.writable, &beyond);
    let (_last_lines, logs) = logs.start(setup.server.live.log_level)?;
    let store = open_store(&setup, &users)?;
    let has_one_name = store.has_one_name();
    let capabilities = store.capabilities().to_string();
    let store = Arc::new(ServedStore::new(store));
    warnings.extend(warning.into_iter().chain(sockets.warnings));
    warnings.extend(setup.fewer_clients.clone());
    warnings.extend(identity.as_ref().and_then(Identity::warning).map(str::to_owned));
    let is_secure = |address| setup.security.is_spoken_on(address);
    let announcement = Announcement {
        node: setup.server.live.limits.node.clone(),
        fenced: fenced.to_string(),
        capabilities,
        metrics: sockets.metrics.as_ref().and_then(InquiryListener::local_addr),
        read_only: setup.server.live.limits.read_only.then(|| setup.why_read_only.to_string()),
        warnings,
        address: (address, is_secure(address)),
        http: http.map(|address| (address, is_secure(address))),
        root: setup.store.root.clone(),
        fingerprint: identity.map(|identity| identity.fingerprint().to_string()).unwrap_or_default(),
    };
    let clients = (sockets.clients, sockets.is_held, Service::Ferry);
    let listeners = [clients].into_iter().chain(sockets.http.map(|(listener, held)| (listener, held, Service::Http)));
    let listeners = listeners.map(|(listener, is_held, service)| {
        let entrance = Entrance { service, is_secure: is_secure(listener.local_addr()) };
        ServiceListener { listener, entrance, is_held }
    });
    let listeners = listeners.collect();
    let (control, control_file) = sockets.control.map(ControlSocket::into_parts).unzip();
    let inquiries = [(Inquiry::Metrics, sockets.metrics), (Inquiry::Control, control.map(InquiryListener::control))];
    let inquiries = inquiries.into_iter().filter_map(|(inquiry, listener)| Some((inquiry, listener?))).collect();
    let reading =
        reading::of(configuration, (setup.server.users_file.clone(), addresses, http.is_some(), has_one_name));
    let parts = ServerParts { users: Arc::new(users), listeners, tls, store: store.clone(), logs, inquiries };
    let server = Server::new(setup.server, parts).map_err(StartError::of(Obstacle::Other))?;
    // A server that can't start says only why.
    announcement.make();
    keep_clean(store.clone())?;
    keep_alive(store.clone())?;
    keep_watch(store.clone())?;
    keep_reachable(store)?;
    let server = server.managed_by(sockets.manager).controlled_at(control_file.flatten());
    server.reloading_by(reading).succeeding(sockets.waiting).run().map_err(StartError::of(Obstacle::Other))
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
    let http = given.http_address(arguments.http());
    let configuration = match (address, http) {
        (None, None) => configuration,
        (address, http) => configuration.listening_on(address, http)?,
    };
    Ok((given, configuration))
}

/// Returns why there are not the sockets that are needed, with its kind.
fn refused(error: SocketsError) -> StartError {
    let obstacle = match &error {
        SocketsError::Listen(_) | SocketsError::Http(_) | SocketsError::Metrics(_) | SocketsError::Passed(_) => {
            Obstacle::Address
        }
        SocketsError::Control(_) => Obstacle::Own,
        SocketsError::TakeOver(_) => Obstacle::Other,
    };
    StartError::new(obstacle, error)
}

/// Returns the sockets that a server of this `setup` has beside those that it is given.
fn wanted(setup: &Setup) -> Wanted<'_> {
    Wanted {
        addresses: &setup.addresses,
        reuse_port: setup.reuse_port,
        http: setup.http.as_deref(),
        metrics: setup.metrics.as_deref(),
        control: setup.control.as_deref(),
    }
}

/// Reads the users file, if one is in use. Returns a warning as well, where there is one.
fn load_users(path: Option<&Path>) -> Result<(Users, Option<String>), StartError> {
    let loaded = path.map_or_else(|| Ok((Users::without_file(), None)), Users::load);
    loaded.map_err(StartError::of(Obstacle::Configuration))
}

/// Returns all outside the root that stays open behind the fence: to read again the files of a reload, to open the log
/// files anew, and to remove the file of the control socket.
fn beyond(
    setup: &Setup,
    configuration: &Configuration,
    key_files: impl Iterator<Item = PathBuf>,
    logs: &OpenLogs,
    sockets: &Sockets,
) -> Beyond {
    let read_again = setup.server.users_file.as_deref().into_iter().chain(configuration.file()).map(Path::to_owned);
    let (remounted, closed) = match Reach::of(&setup.store.root) {
        Reach::Nothing => (None, None),
        Reach::Beneath(directory) => (Some(directory), None),
        Reach::TooMuch(directory) => (None, Some(directory)),
    };
    Beyond {
        remounted,
        closed,
        readable: read_again
            .chain(key_files)
            .flat_map(|file| directories_of(&file))
            .filter(|directory| directory.is_dir())
            .collect(),
        logs: logs.directories(),
        removable: sockets.control.as_ref().and_then(ControlSocket::private_directory),
    }
}

/// Opens the store. It is left again where its file system can't hold the rights of `users`.
fn open_store(setup: &Setup, users: &Users) -> Result<Store, StartError> {
    let store = Store::open(&setup.store).map_err(StartError::of(Obstacle::Root))?;
    if let Err(error) = check_users(users, store.has_one_name()) {
        store.leave();
        return Err(StartError::new(Obstacle::Configuration, error));
    }
    Ok(store)
}

/// The first lines of a server that has started.
#[derive(Debug)]
struct Announcement {
    node: Option<Arc<str>>,
    fenced: String,
    capabilities: String,
    metrics: Option<SocketAddr>,
    /// The reason for which nothing can be changed, where that is so.
    read_only: Option<String>,
    warnings: Vec<String>,
    /// Where the server listens, and whether TLS is spoken there.
    address: (SocketAddr, bool),
    /// The same of HTTP.
    http: Option<(SocketAddr, bool)>,
    root: PathBuf,
    /// The fingerprint of the key, where TLS is spoken.
    fingerprint: String,
}

impl Announcement {
    /// Logs them, and prints where the server listens.
    fn make(&self) {
        for warning in &self.warnings {
            log::warn!("{warning}");
        }
        if let Some(why) = &self.read_only {
            log::info!("read-only: {why}");
        }
        if let Some(node) = &self.node {
            log::info!("this is node {node}");
        }
        log::info!("{}", self.fenced);
        log::info!("{}", self.capabilities);
        if let Some(address) = self.metrics {
            log::info!("figures are at http://{address}/metrics");
        }
        let secured = |is_secure| if is_secure { format!(" (TLS, key {})", self.fingerprint) } else { String::new() };
        let ((address, is_secure), root) = (self.address, self.root.to_string_lossy());
        let mut lines = format!("listening on {address}, serving {}{}\n", escaped(&root), secured(is_secure));
        if let Some((address, is_secure)) = self.http {
            let scheme = if is_secure { "https" } else { "http" };
            log::info!("HTTP is served at {scheme}://{address}/");
            lines += &format!("serving HTTP on {scheme}://{address}/{}\n", secured(is_secure));
        }
        // A closed pipe is no reason not to serve.
        let _ = io::stdout().write_all(lines.as_bytes());
    }
}

/// Cleans up now, and once an hour, beside the loop.
fn keep_clean(store: Arc<ServedStore>) -> io::Result<()> {
    let clean = move || loop {
        store.clean();
        thread::sleep(BETWEEN_CLEANINGS);
    };
    thread::Builder::new().name("ferry-clean".into()).spawn(clean).map(drop)
}

/// Tells other servers of the root that this one lives, beside the loop and beside cleaning, which may take long.
fn keep_alive(store: Arc<ServedStore>) -> io::Result<()> {
    let live = move || loop {
        thread::sleep(store.beat_interval());
        store.beat();
    };
    thread::Builder::new().name("ferry-beat".into()).spawn(live).map(drop)
}

/// Watches whether other servers of the root live, beside saying that this one does: another one that was stopped may
/// let nobody look at what it has.
fn keep_watch(store: Arc<ServedStore>) -> io::Result<()> {
    let watch = move || loop {
        thread::sleep(store.beat_interval());
        store.watch();
    };
    thread::Builder::new().name("ferry-watch".into()).spawn(watch).map(drop)
}

/// Opens the root again where its mount died, beside the loop and all else: opening may never end.
fn keep_reachable(store: Arc<ServedStore>) -> io::Result<()> {
    thread::Builder::new().name("ferry-root".into()).spawn(move || store.keep_reachable()).map(drop)
}
