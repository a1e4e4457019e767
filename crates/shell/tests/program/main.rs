//! The program `ferry`: with -c, with commands from a pipe, as subcommands and at a terminal.
//!
//! One binary, so that it links once. Every server here is a thread of the test; nothing sleeps to
//! wait for something.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests are tests")]

// The library's tests have the same servers, and use more of them.
#[allow(dead_code, reason = "shared with the library's tests")]
#[path = "../../../client/tests/client/support/mod.rs"]
mod support;

mod logins;
mod phases;
mod shell;
mod terminal;
mod waiting;
