//! The life of a server: its signals, its drain, its control socket, reloads, take-overs, its service manager.
// A test fails by panicking, in its helpers as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod control;
mod drain;
mod manager;
mod reload;
mod signals;
mod take_over;

use std::process::Output;

/// The largest block that the protocol allows.
const BLOCK_BYTES: usize = 1 << 20;

/// A time within which every transfer of these tests ends, however busy the machine is.
const LONG: &str = "60";

/// All that a program said, on both of its outputs.
fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}
