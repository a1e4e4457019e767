//! The server is killed with SIGKILL at random moments, under mixed load, again and again on one root.
//!
//! After each kill, before anything runs again, the root must hold what some prefix of each client's
//! requests leads to: all that was acknowledged, whole, and nothing half. Then a new server goes on:
//! uploads that were cut go on from the offset that it names, and end identical.
//!
//! `FERRY_CRASH_KILLS=300` kills that often; `--nocapture` shows the figures.
// A test fails by panicking, in its helpers as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod client;
mod model;
mod shared;

use std::{
    fs,
    path::Path,
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use ferry_e2e::{Options, Random, Server, Signal, eventually, seed};

use client::{Client, Counts};

/// Clients at work at the same time.
const CLIENTS: u64 = 4;

/// The server is killed after so many replies at most, and so many microseconds more.
const REPLIES: u64 = 120;
const MICROSECONDS: u64 = 4000;

fn kills() -> u64 {
    std::env::var("FERRY_CRASH_KILLS").map_or(10, |text| text.parse().expect("a number"))
}

#[test]
fn what_was_acknowledged_survives_kill_9_and_nothing_half_is_ever_seen() {
    let kills = kills();
    let seed = seed();
    let mut random = Random::new(seed);
    let root = tempfile::tempdir().unwrap();
    let mut clients: Vec<Client> = (0..CLIENTS).map(|index| Client::new(index, random.number())).collect();
    let mut last_run = None;
    for kill in 0..=kills {
        let server = Options::new().root(root.path()).start();
        cleans_up(root.path(), last_run.as_deref());
        last_run = Some(run_of(root.path()));
        if kill == kills {
            finish(server, &mut clients);
            break;
        }
        work_until_killed(server, &mut clients, &mut random);
        let mut names = Vec::new();
        for client in &mut clients {
            names.extend(client.settle(root.path()).unwrap_or_else(|violation| panic!("kill {kill}: {violation}")));
        }
        only_these(root.path(), names);
    }
    assert!(visible_runs(root.path()).is_empty(), "a server that ends leaves no directory of its own");
    let mut total = Counts::default();
    clients.iter().for_each(|client| total.add(&client.counts));
    println!("kills {kills}, clients {CLIENTS}, seed {seed}, violations 0: {total:?}");
    assert!(total.replies > kills && total.saved > 0 && total.verified > 0, "the clients did nothing: {total:?}");
}

/// Lets the clients work until the server is dead.
fn work_until_killed(server: Server, clients: &mut [Client], random: &mut Random) {
    let (tell, told) = mpsc::channel();
    let (replies, pause) = (1 + random.below(REPLIES), random.below(MICROSECONDS));
    let address = server.address();
    thread::scope(|scope| {
        for client in clients {
            let tell = tell.clone();
            scope.spawn(move || client.work(address, &tell));
        }
        drop(tell);
        kill_after(server, &told, replies, Duration::from_micros(pause));
    });
}

/// No server may have met a mistake of its own.
fn no_mistakes(server: &Server) {
    let log = server.log();
    assert!(!log.contains("panicked") && !log.contains("[ERROR]"), "{log}");
}

/// Kills the server when `replies` replies were told, and `pause` later.
fn kill_after(mut server: Server, told: &Receiver<()>, replies: u64, pause: Duration) {
    for _ in 0..replies {
        told.recv().expect("the clients work until the server is gone");
    }
    let began = Instant::now();
    // Not to wait for something, but to hit any point between two replies.
    while began.elapsed() < pause {
        std::hint::spin_loop();
    }
    server.signal(Signal::KILL);
    server.wait();
    no_mistakes(&server);
}

/// Lets every client end what it had begun, and ends the server in peace.
fn finish(server: Server, clients: &mut [Client]) {
    for client in clients.iter_mut() {
        client.finish(server.address()).expect("nobody kills this server");
    }
    let root = server.root().to_owned();
    assert_eq!(server.terminate().code(), Some(0));
    let mut names = Vec::new();
    for client in clients {
        names.extend(client.settle(&root).unwrap_or_else(|violation| panic!("at the end: {violation}")));
    }
    only_these(&root, names);
}

/// The directories of running servers, or of dead ones that nobody cleaned up after.
fn visible_runs(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root.join(".ferry")).expect("the server's corner");
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("run-")).collect()
}

/// Waits until the directory of the dead server is gone.
fn cleans_up(root: &Path, dead: Option<&str>) {
    eventually("the dead server's directory is cleaned away", || {
        let runs = visible_runs(root);
        (runs.len() == 1 && Some(runs[0].as_str()) != dead).then_some(())
    });
}

fn run_of(root: &Path) -> String {
    visible_runs(root).pop().expect("the running server's directory")
}

/// Panics if a name is visible that no client has.
fn only_these(root: &Path, mut expected: Vec<String>) {
    let entries = fs::read_dir(root).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name != ".ferry");
    names.sort();
    expected.sort();
    assert_eq!(names, expected, "the names in the root");
}
