//! Random trees at both ends, edited, linked and swapped between and during runs of GET, PUT and SYNC that are cut, killed,
//! interrupted, or robbed of the server's last answer. After each run both trees are compared with what may have become of
//! them, bytes, times and permissions included; where a run claims success, with what must have.
//!
//! `FERRY_PROPERTY_ROUNDS=2000` goes on longer, `--nocapture` shows the figures. A round that fails says how to run it again.
// A test fails by panicking, in its helpers as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod claims;
mod edits;
mod relay;
mod round;
mod snapshot;

use std::{
    collections::BTreeMap,
    env,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use ferry_e2e::{Options, Random, seed};

/// Rounds of the ordinary tests: a few seconds.
const ROUNDS: u64 = 12;

/// Rounds at the same time, each with a server of its own.
const WORKERS: u64 = 2;

/// How often what happened.
pub(crate) type Figures = BTreeMap<String, u64>;

/// Says which round it was, where it fails.
struct Name(u64);

impl Drop for Name {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("again: FERRY_TEST_SEED={} FERRY_PROPERTY_ROUNDS=1", self.0);
        }
    }
}

#[test]
fn whatever_happens_meanwhile_nothing_is_lost_torn_or_claimed_that_is_not_so() {
    let rounds = env::var("FERRY_PROPERTY_ROUNDS").map_or(ROUNDS, |text| text.parse().expect("a number of rounds"));
    let (first, next, figures) = (seed(), AtomicU64::new(0), Mutex::new(Figures::new()));
    thread::scope(|scope| {
        for _ in 0..WORKERS.min(rounds) {
            scope.spawn(|| {
                let options = ["--durability", "none", "--keep-modes", "all", "--log-level", "error"];
                let options = options.into_iter().fold(Options::new(), Options::arg);
                let powerless = options.clone().powerless();
                let is_powerless = powerless.is_some();
                let server = powerless.unwrap_or(options).start();
                let sockets = round::sockets(&server);
                let relay = relay::Relay::start(server.address());
                loop {
                    let round = next.fetch_add(1, Ordering::Relaxed);
                    if round >= rounds {
                        return;
                    }
                    let name = Name(first.wrapping_add(round));
                    let seen =
                        round::Round::new(&server, sockets, &relay, Random::new(name.0), round, is_powerless).run();
                    let mut figures = figures.lock().unwrap();
                    seen.into_iter().for_each(|(what, count)| *figures.entry(what).or_default() += count);
                }
            });
        }
    });
    println!("{rounds} rounds, no violation");
    for (what, count) in figures.into_inner().unwrap() {
        println!("{count:7} {what}");
    }
}
