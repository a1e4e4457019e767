//! Servers on real file systems, and on ones that hang, crash and fail on demand.
//!
//! They are mounted for the test alone, which needs root, `/dev/fuse` and the programs that make them: see
//! [`ferry_e2e::mounts`] for what happens elsewhere.
// A test fails by panicking, in its helpers as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod aliases;
mod capabilities;
mod ending;
mod hangs;
mod health;
mod kinds;
mod mounts;
mod projects;
mod puppet;
mod remounts;
mod restarts;
