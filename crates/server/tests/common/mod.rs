//! The common parts of the store's sweeps: a client that asks the store as a session does, the tree
//! as clients see it, and dice.

pub(crate) mod client;
pub(crate) mod dice;
pub(crate) mod lack;
pub(crate) mod tree;

use std::{
    fmt::Display,
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use ferry_server::store::{Durability, LeaseOptions, MountTable, StoreOptions};
use tempfile::TempDir;

/// A fresh, empty root. In memory where that is possible: the sweeps open thousands of stores, and
/// what a real disk does is no part of them. `FERRY_SWEEP_DIR` chooses another place.
pub(crate) fn fresh_root() -> TempDir {
    let chosen = std::env::var_os("FERRY_SWEEP_DIR").map(PathBuf::from);
    let memory = || Some(PathBuf::from("/dev/shm")).filter(|path| path.is_dir());
    let place = chosen.or_else(memory).unwrap_or_else(std::env::temp_dir);
    let builder = || tempfile::Builder::new().prefix("ferry-sweep-").to_owned();
    builder().tempdir_in(&place).or_else(|_| builder().tempdir()).expect("a directory for a store")
}

/// The quota of all unfinished uploads together.
pub(crate) const ROOM_BYTES: u64 = 64 << 20;

/// How every store of the sweeps is opened.
pub(crate) fn options(root: &Path) -> StoreOptions {
    let keep = Duration::from_secs(24 * 60 * 60);
    StoreOptions {
        root: root.to_owned(),
        writable: true,
        durability: Durability::Full,
        max_staged: ROOM_BYTES,
        max_kept: 1000,
        keep,
        crc_cache: 16 << 20,
        small_cache: 16 << 20,
        mounts: MountTable::default(),
        leasing: LeaseOptions::default(),
    }
}

/// Returns whether all was asked for that a sweep can do, rather than what every run of the tests does.
pub(crate) fn is_full() -> bool {
    std::env::var("FERRY_SWEEP").is_ok_and(|size| size == "full")
}

/// Returns whether more was asked for than every run of the tests does: `FERRY_SWEEP=more` is what every change is
/// checked with, before it is merged.
pub(crate) fn is_more() -> bool {
    is_full() || std::env::var("FERRY_SWEEP").is_ok_and(|size| size == "more")
}

/// Between two calls of a small sweep.
const STRIDE: usize = 4;

/// Returns the calls at which something is to happen: each one, or in a small sweep some, which are others in the next
/// `turn`.
pub(crate) fn places(turn: usize) -> impl Iterator<Item = usize> {
    let stride = if is_more() { 1 } else { STRIDE };
    (turn % stride..).step_by(stride)
}

/// Fails the test if a sweep has shrunk below so many `runs`, of its form that is not small.
pub(crate) fn enough(runs: usize, least: usize) {
    let least = if is_more() { least } else { least / STRIDE };
    assert!(runs > least, "the sweep shrank: {runs}");
}

/// Where the dice start.
pub(crate) fn seed() -> u64 {
    std::env::var("FERRY_SWEEP_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_260_101)
}

/// Shows figures, of a test that passes as well.
pub(crate) fn show(figures: impl Display) {
    let _ = writeln!(std::io::stderr(), "{figures}");
}

/// Fails the test if there are violations; shows those that differ in more than the place, told last in
/// brackets.
pub(crate) fn none(violations: &[String]) {
    let mut first: Vec<&String> = Vec::new();
    for violation in violations {
        let what = violation.split(" [").next();
        if !first.iter().any(|seen| seen.split(" [").next() == what) {
            first.push(violation);
        }
    }
    let first: Vec<_> = first.into_iter().take(40).map(String::as_str).collect();
    assert!(violations.is_empty(), "{} violations, among them:\n{}", violations.len(), first.join("\n"));
}
