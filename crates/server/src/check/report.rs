//! `ferryd check`: prints each value that holds and its origin.

use std::{io, net::SocketAddr};

use ferry_wire::escaped;

use super::{Finding, examine, sockets};
use crate::{
    config::{Configuration, Origin, Setup, StartError},
    control,
};

/// The column at which the origin of a value stands.
const ORIGIN_COLUMN: usize = 44;

/// Prints each value that holds and its origin, and all problems.
///
/// # Errors
///
/// The first problem for which a start would fail; it has been printed.
pub fn report(configuration: &Configuration) -> Result<(), StartError> {
    let mut findings: Vec<Finding> = configuration.problems().iter().cloned().map(Finding::Wrong).collect();
    let setup = Setup::resolve(configuration.arguments());
    match &setup {
        Ok(setup) => {
            findings.extend(examine(setup));
            findings.extend(sockets(setup));
        }
        Err(error) => findings.push(Finding::Wrong(error.clone())),
    }
    findings.extend(configuration.warnings().iter().cloned().map(Finding::Warns));
    say(&mut io::stdout(), &values(configuration, setup.ok().as_ref()));
    for finding in &findings {
        match finding {
            Finding::Holds(text) => say(&mut io::stdout(), &format!("ok: {text}")),
            Finding::Warns(text) => say(&mut io::stdout(), &format!("warning: {text}")),
            Finding::Wrong(error) => say(&mut io::stderr(), &format!("ferryd: {error}")),
        }
    }
    findings.into_iter().find_map(Finding::error).map_or(Ok(()), Err)
}

/// Returns the path that holds where the option `name` is not set, and a word about it; [`None`] where it stands for no
/// path, or nothing says which.
fn usual_path(name: &str, configuration: &Configuration, setup: &Setup) -> Option<String> {
    let (path, word) = match name {
        "state" => (setup.security.state()?.to_owned(), ""),
        "users" => {
            let (path, _) = configuration.users_file()?;
            (path, if setup.server.users_file.is_none() { ", which is not there" } else { "" })
        }
        "control" => {
            let port = setup.addresses.first().map_or(0, SocketAddr::port);
            let path = control::usual_paths(port).into_iter().next()?;
            // The port that is taken is not known yet.
            (if port == 0 { path.with_file_name("PORT.sock") } else { path }, "")
        }
        _ => return None,
    };
    Some(format!("{}{word}", path.display()))
}

/// Returns a line for each option.
fn values(configuration: &Configuration, setup: Option<&Setup>) -> String {
    let mut text = match configuration.file() {
        Some(path) if path.exists() => format!("# {}\n", path.display()),
        Some(path) => format!("# there is no {}\n", path.display()),
        None => "# there is no place for a ferryd.toml\n".to_owned(),
    };
    for (name, value, origin) in configuration.explained() {
        let value =
            value.map_err(|unset| setup.and_then(|setup| usual_path(&name, configuration, setup)).unwrap_or(unset));
        let line = match &value {
            Ok(value) => format!("{name} = {value}"),
            Err(unset) => format!("# {name}: {unset}"),
        };
        let origin = if value.is_err() && origin == Origin::Default { String::new() } else { format!("# {origin}") };
        text.push_str(format!("{line:<ORIGIN_COLUMN$} {origin}").trim_end());
        text.push('\n');
    }
    text
}

/// Prints lines. It is no error where nobody reads them.
fn say(to: &mut dyn io::Write, text: &str) {
    for line in text.lines() {
        let _ = writeln!(to, "{}", escaped(line));
    }
}
