//! Peers that mean harm, or know no better, against the real server.
//!
//! A corpus of cases with one line each, streams of random bytes and mutated conversations, floods,
//! rude clients, and every limit that an option sets. After each of them the server must answer an
//! honest client, and at the end it must hold no more than before.
//!
//! `FERRY_HOSTILE_STREAMS=20000` throws that many streams; `FERRY_HOSTILE_DRIBBLERS=2000` and
//! `FERRY_HOSTILE_STALLED=500` make as many rude clients. `--nocapture` shows the figures.
// A test fails by panicking, in its helpers as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bodies;
mod corpus;
mod descriptors;
mod floods;
mod ground;
mod limits;
mod lines;
mod names;
mod resuming;
mod rude;
mod strangers;
mod streams;
mod turns;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Tests that look at what the server uses, or fill the machine's sockets, run one after another.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The number that the environment variable `name` holds, else `default`.
fn number_of(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}
