//! The real server over raw sockets: every request, every failure, everything malformed.
// A test fails by panicking, in its helpers as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod balancer;
mod faults;
mod hashes;
mod holes;
mod machine;
mod model;
mod modes;
mod parts;
mod pipelining;
mod process;
mod proxies;
mod remembered;
mod requests;
mod resume;
mod sharing;
mod starts;
mod streams;
mod uploads;

use ferry_e2e::{Raw, Server, gist};

/// The largest block that the protocol allows.
const BLOCK_BYTES: usize = 1 << 20;

/// Sends `sent`, then, where `finish`, the end of input; reads until the server closes, and gives the
/// lines that came behind the greeting, each cut down to what does not vary (see [`gist`]).
#[track_caller]
fn dialogue(server: &Server, sent: &[u8], finish: bool) -> Vec<String> {
    let mut raw = Raw::greeted(server.address());
    raw.send_what_it_takes(sent);
    if finish {
        raw.finish();
    }
    String::from_utf8_lossy(&raw.to_eof()).lines().map(gist).collect()
}
