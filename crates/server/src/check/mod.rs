//! Looks at all that a start needs, and changes nothing: before a start, and for `ferryd check`.

mod report;

use std::{fs, io::ErrorKind, net::SocketAddr, os::unix::fs::FileTypeExt as _, path::Path};

use rustix::fs::Access;

use crate::{
    access::Users,
    config::{Configuration, Obstacle, Setup, StartError},
    control::{self, Question},
    files::{can_make_in, may_use, parent},
    net::{ListenError, Listener},
    observe::LogFileError,
    store::{AREA, cautions},
    units::counted,
};
pub use report::report;

/// A finding of the check.
#[derive(Debug)]
enum Finding {
    /// All right, in words.
    Holds(String),
    /// Worth a warning, and no obstacle to a start.
    Warns(String),
    /// A start would fail.
    Wrong(StartError),
}

impl Finding {
    fn error(self) -> Option<StartError> {
        match self {
            Finding::Wrong(error) => Some(error),
            Finding::Holds(_) | Finding::Warns(_) => None,
        }
    }
}

/// Looks at all that a start needs but the address, which it takes.
///
/// # Errors
///
/// The first thing for which it would fail.
pub fn before_start(configuration: &Configuration, setup: &Setup) -> Result<(), StartError> {
    configuration.holds()?;
    examine(setup).into_iter().find_map(Finding::error).map_or(Ok(()), Err)
}

impl From<Result<String, StartError>> for Finding {
    fn from(found: Result<String, StartError>) -> Finding {
        found.map_or_else(Finding::Wrong, Finding::Holds)
    }
}

/// Looks at all that a start needs but the addresses. Every problem is found, the first of them first.
fn examine(setup: &Setup) -> Vec<Finding> {
    let mut findings = vec![Finding::Holds(setup.room())];
    findings.extend(setup.fewer_clients.iter().map(|few| Finding::Warns(few.clone())));
    findings.extend(users(setup));
    findings.extend(key(setup));
    findings.extend(setup.logs.probe().map(|found| log(found).into()));
    findings.push(root(setup).into());
    findings.extend(cautions(&setup.store.root).into_iter().map(Finding::Warns));
    findings
}

/// Tells whether the sockets can be had. Where the server of this configuration runs, they are its own.
fn sockets(setup: &Setup) -> Vec<Finding> {
    let port = setup.addresses.first().map_or(0, SocketAddr::port);
    let paths = setup.control.as_ref().map_or_else(|| control::usual_paths(port), |path| vec![path.clone()]);
    let runs = control::ask(&paths, Question::Status { json: false }).is_ok();
    let held = |what: &str, probed: Result<SocketAddr, ListenError>, how: &dyn Fn(SocketAddr) -> String| match probed {
        Err(ListenError::Address { address, error, .. } | ListenError::Inquiries { address, error })
            if runs && error.kind() == ErrorKind::AddrInUse =>
        {
            Finding::Warns(format!("{what}{address} is in use, by the server that runs (ferryd status)"))
        }
        Err(error) => Finding::Wrong(StartError::new(Obstacle::Address, format!("{what}{error}"))),
        Ok(address) => Finding::Holds(how(address)),
    };
    let clients = Listener::probe(&setup.addresses, setup.reuse_port);
    let is_free = clients.is_ok() && !setup.reuse_port;
    let clients = held("", clients, &|address| {
        let how = if setup.security.is_spoken_on(address) { "TLS" } else { "plain" };
        format!("{address} can be listened on ({how})")
    });
    let http = setup.http.iter().map(|addresses| {
        let probed = Listener::probe(addresses, setup.reuse_port);
        held("--http: ", probed, &|address| {
            let scheme = if setup.security.is_spoken_on(address) { "https" } else { "http" };
            format!("HTTP can be served at {scheme}://{address}/")
        })
    });
    let metrics = setup.metrics.iter().map(|addresses| {
        let probed = Listener::probe(addresses, false).map_err(ListenError::of_inquiries);
        held("--metrics: ", probed, &|address| format!("figures can be served at {address}"))
    });
    let control = setup.control.iter().map(|path| control_socket(path, runs && is_free).into());
    [clients].into_iter().chain(http).chain(metrics).chain(control).collect()
}

/// Looks whether a control socket can be made, which may be that `of_another` server.
fn control_socket(path: &Path, of_another: bool) -> Result<String, StartError> {
    let found = match fs::symlink_metadata(path) {
        Ok(_) if of_another => Err("it is the control socket of a server that runs".into()),
        Ok(there) if !there.file_type().is_socket() => Err("that is no socket".into()),
        Ok(_) | Err(_) => made_in(parent(path)),
    };
    found.map_err(|why| own(&format!("can't listen at {}: {why}", path.display())))?;
    Ok(format!("{} can be listened at (ferryd status, reload)", path.display()))
}

fn users(setup: &Setup) -> Vec<Finding> {
    let Some(path) = &setup.server.users_file else {
        return vec![Finding::Holds(
            "no users file: nobody logs in, and whoever connects may do all that is served".into(),
        )];
    };
    match Users::load(path) {
        Ok((users, warning)) => {
            let held = format!("{}: {}", path.display(), counted(users.names().len() as u64, "user"));
            [Finding::Holds(held)].into_iter().chain(warning.map(Finding::Warns)).collect()
        }
        Err(error) => vec![Finding::Wrong(StartError::new(Obstacle::Configuration, error))],
    }
}

/// Tells of the key where TLS is spoken on any of the addresses.
fn key(setup: &Setup) -> Vec<Finding> {
    if !setup.security.is_spoken_on_any(&setup.addresses)
        && !setup.http.as_ref().is_some_and(|addresses| setup.security.is_spoken_on_any(addresses))
    {
        return Vec::new();
    }
    match setup.security.kept_identity() {
        Ok(Some(identity)) => {
            let held = format!("the key is {}", identity.fingerprint());
            let warning = identity.warning().map(|warning| Finding::Warns(warning.to_owned()));
            [Finding::Holds(held)].into_iter().chain(warning).collect()
        }
        Ok(None) => vec![
            setup
                .security
                .state()
                .map_or_else(
                    || {
                        Err(StartError::new(
                            Obstacle::Configuration,
                            "no directory for the server's key: name one with --state DIR",
                        ))
                    },
                    |state| {
                        can_make(state)
                            .map_err(|why| own(&format!("can't make a key in {}: {why}", state.display())))?;
                        Ok(format!("a key will be made in {}", state.display()))
                    },
                )
                .into(),
        ],
        Err(error) => vec![Finding::Wrong(StartError::new(Obstacle::Configuration, error))],
    }
}

fn own(problem: &str) -> StartError {
    StartError::new(Obstacle::Own, problem)
}

/// Tells whether a log can be written.
fn log(found: Result<&Path, LogFileError>) -> Result<String, StartError> {
    let path = found.map_err(StartError::of(Obstacle::Own))?;
    Ok(format!("{} can be written", path.display()))
}

/// Looks at the root, and at its entry `.ferry`, where the server stages.
fn root(setup: &Setup) -> Result<String, StartError> {
    let path = &setup.store.root;
    let wrong = |problem: String| StartError::new(Obstacle::Root, problem);
    let cant_serve = |why: String| wrong(format!("can't serve {}: {why}", path.display()));
    let there = match fs::metadata(path) {
        Ok(there) => there,
        // A dangling link has the name as well.
        Err(_) if fs::symlink_metadata(path).is_err() => {
            let above = parent(path);
            if !above.exists() {
                return Err(wrong(format!(
                    "can't make the directory {}: its parent, {}, is missing, and has to be made first",
                    path.display(),
                    above.display()
                )));
            }
            let made = made_in(above);
            made.map_err(|why| wrong(format!("can't make the directory {}: {why}", path.display())))?;
            return Ok(format!("{} will be made", path.display()));
        }
        Err(error) => return Err(cant_serve(error.to_string())),
    };
    if !there.is_dir() {
        return Err(cant_serve("it is no directory".into()));
    }
    let readable = may_use(path, Access::READ_OK | Access::EXEC_OK);
    readable.map_err(|error| cant_serve(format!("it can't be read: {error}")))?;
    if !setup.store.writable {
        return Ok(format!("{} can be read; nothing can be changed: {}", path.display(), setup.why_read_only));
    }
    let written = can_make_in(path);
    written.map_err(|error| cant_serve(format!("it can't be written: {error} (--read-only serves without)")))?;
    let corner = path.join(AREA);
    let what = match fs::symlink_metadata(&corner) {
        Ok(there) if there.is_symlink() => Some("a symbolic link, which is not followed,"),
        Ok(there) if !there.is_dir() => Some("a file"),
        _ => None,
    };
    match what {
        Some(what) => Err(wrong(format!(
            "can't make {}, where uploads are staged: {what} has that name; move it away (--read-only serves without)",
            corner.display()
        ))),
        None => Ok(format!("{} can be read and written", path.display())),
    }
}

/// Looks whether a directory could be made with all that is missing above it, or be written where
/// it is there.
fn can_make(directory: &Path) -> Result<(), String> {
    let absolute = std::path::absolute(directory).map_err(|error| error.to_string())?;
    let there = absolute.ancestors().find(|path| fs::symlink_metadata(path).is_ok());
    made_in(there.unwrap_or(Path::new("/")))
}

/// Looks whether something could be made in a directory. The error names it.
fn made_in(directory: &Path) -> Result<(), String> {
    can_make_in(directory).map_err(|error| format!("{} can't be written: {error}", directory.display()))
}
