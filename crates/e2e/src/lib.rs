//! Helpers for tests and benches that run the built programs: build them, start a server, talk to
//! it byte by byte, look at what the process uses.
//!
//! Nothing here can wait for ever: every read, write and wait has [`HANG_GUARD`] as its deadline
//! and panics with what it waited for. No port is fixed, no directory is shared.
//!
//! ```no_run
//! use ferry_e2e::{Raw, Server};
//!
//! let server = Server::start();
//! server.write("a.txt", b"hello");
//! let mut raw = Raw::greeted(server.address());
//! assert_eq!(raw.ask("GET a.txt").verified(), b"hello");
//! ```
// A helper of tests fails by panicking, at the line of the test that called it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod binaries;
mod figures;
mod frail;
pub mod mounts;
pub mod puppet;
mod random;
mod raw;
pub mod secure;
mod server;
mod socket;

use std::time::{Duration, Instant};

pub use binaries::{ferry, ferryd, forget_this_package, plain_ferry, workspace_root};
pub use figures::Figures;
pub use frail::Frail;
pub use mounts::Mount;
pub use puppet::Puppet;
pub use random::{Random, random_bytes, random_file, seed};
pub use raw::{Answer, Raw, body, crc, gist};
pub use server::{Options, Server, Signal, powerless};
pub use socket::Socket;

/// How long anything may take before a test gives up. It measures nothing: it is many times what a
/// slow machine needs, so that only a hang runs into it.
pub const HANG_GUARD: Duration = Duration::from_secs(60);

/// Between two looks at a state that nobody announces.
const PAUSE: Duration = Duration::from_millis(5);

/// Tries `attempt` again and again until it gives something: for states of the server that nobody
/// announces, such as a descriptor that was closed.
///
/// # Panics
///
/// With `what` when [`HANG_GUARD`] has passed.
#[track_caller]
pub fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + HANG_GUARD;
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(Instant::now() < deadline, "gave up waiting: {what}");
        std::thread::sleep(PAUSE);
    }
}
