//! The life of a server: its signals, its drain.
// A test fails by panicking, in its helpers as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod drain;
mod signals;

/// The largest block that the protocol allows.
const BLOCK_BYTES: usize = 1 << 20;
