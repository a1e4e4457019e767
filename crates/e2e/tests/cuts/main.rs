//! Transfers whose connection is cut, whose server is restarted, whose own process is killed: they end
//! with the same bytes, and what had arrived is not moved again.
//!
//! `FERRY_SWEEP=full` cuts at each hundredth of 100 MiB.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests are tests")]

mod kept;
mod killed;
mod parallel;
mod parts;
mod pipes;
mod proxy;
mod relayed;
mod replaced;
mod streams;
mod sweep;

use std::{net::SocketAddr, path::Path};

use ferry_client::{Address, Client, Event, Fetch, Name, Options, Report, Settings, Store, Trust};
use ferry_e2e::secure;

/// A client of whatever listens at `address`.
fn connect(address: SocketAddr) -> Client {
    let address = Address::new(address.ip().to_string(), address.port());
    Client::connect(&address, options()).unwrap()
}

/// Returns the options from which a client of a test's server starts.
fn options() -> Options {
    if !secure::is_asked_for() {
        return Options::default();
    }
    Options::default().trust(Trust::new().pinned(secure::fingerprint().parse().unwrap()))
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// Returns an event in short words; [`None`] for the movement of bytes.
fn told(event: &Event<'_>) -> Option<String> {
    Some(match event {
        Event::Begun { resumed, .. } => format!("begun {resumed}"),
        Event::Restarted { why, .. } => format!("restarted: {why}"),
        Event::Done { moved, .. } => format!("done {}", moved.resumed),
        Event::Failed { error, .. } => format!("failed: {error}"),
        Event::Lost { .. } => "lost".into(),
        Event::Reconnected => "reconnected".into(),
        _ => return None,
    })
}

fn fetch(client: &mut Client, remote: &str, target: &Path, settings: &Settings) -> (Report, Vec<String>) {
    let mut events = Vec::new();
    let file = Fetch { name: name(remote), target: target.into(), meta: None };
    let report = client.fetch(&[file], settings, &mut |event| events.extend(told(event)));
    (report, events)
}

fn store(client: &mut Client, source: &Path, remote: &str, settings: &Settings) -> (Report, Vec<String>) {
    let mut events = Vec::new();
    let file = Store { source: source.into(), name: name(remote) };
    let report = client.store(&[file], settings, &mut |event| events.extend(told(event)));
    (report, events)
}

/// The names in a directory, hidden ones included.
fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
