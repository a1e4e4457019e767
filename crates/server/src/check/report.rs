//! `ferryd check`: prints each value that holds and its origin.

use std::io;

use ferry_wire::escaped;

use super::{Finding, examine, sockets};
use crate::config::{Configuration, Origin, Setup, StartError};

/// The column at which the origin of a value stands.
const ORIGIN_COLUMN: usize = 44;

/// Prints each value that holds and its origin, and all problems.
///
/// # Errors
///
/// The first problem for which a start would fail; it has been printed.
pub fn report(configuration: &Configuration) -> Result<(), StartError> {
    let mut findings: Vec<Finding> = configuration.problems().iter().cloned().map(Finding::Wrong).collect();
    match Setup::resolve(configuration.arguments()) {
        Ok(setup) => {
            findings.extend(examine(&setup));
            findings.extend(sockets(&setup));
        }
        Err(error) => findings.push(Finding::Wrong(error)),
    }
    findings.extend(configuration.warnings().iter().cloned().map(Finding::Warns));
    say(&mut io::stdout(), &values(configuration));
    for finding in &findings {
        match finding {
            Finding::Holds(text) => say(&mut io::stdout(), &format!("ok: {text}")),
            Finding::Warns(text) => say(&mut io::stdout(), &format!("warning: {text}")),
            Finding::Wrong(error) => say(&mut io::stderr(), &format!("ferryd: {error}")),
        }
    }
    findings.into_iter().find_map(Finding::error).map_or(Ok(()), Err)
}

/// Returns a line for each option.
fn values(configuration: &Configuration) -> String {
    let mut text = match configuration.file() {
        Some(path) if path.exists() => format!("# {}\n", path.display()),
        Some(path) => format!("# there is no {}\n", path.display()),
        None => "# there is no place for a ferryd.toml\n".to_owned(),
    };
    for (name, value, origin) in configuration.explained() {
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
