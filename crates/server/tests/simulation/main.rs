//! The session simulator: many sessions on a model of the world, from a seed.
//!
//! No socket, file, clock or thread is in it, so a seed is all that a run depends on. `FERRY_SIM_SEEDS`
//! says how many seeds are tried, `FERRY_SIM_SEED` tries one of them again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests are tests")]

mod accounts;
mod client;
mod conn;
mod desk;
mod dice;
mod fixed;
mod guest;
mod leases;
mod oracle;
mod parts;
mod reader;
mod script;
mod store;
mod streams;
mod tree;
mod web;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use world::{Figures, World};

/// Tried where nothing else is asked for: a few seconds' worth.
const SEEDS: u64 = 100;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number, not {text:?}")))
}

#[test]
fn random_worlds() {
    let seeds = match number("FERRY_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("FERRY_SIM_SEEDS").unwrap_or(SEEDS),
    };
    let mut figures = Figures::default();
    for seed in seeds.clone() {
        let mut world = World::new(seed);
        if let Err(cause) = catch_unwind(AssertUnwindSafe(|| world.run())) {
            eprintln!("seed {seed} fails; again: FERRY_SIM_SEED={seed} cargo test -p ferry-server --test simulation");
            resume_unwind(cause);
        }
        figures.add(world.figures);
    }
    println!("seeds {} to {}: {figures:?}", seeds.start, seeds.end - 1);
    assert!(figures.kepts > 0 || seeds.end - seeds.start < SEEDS, "no stream was told what is kept");
}
