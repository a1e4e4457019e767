//! The bodies of the fuzz targets: each takes any bytes, and panics where something does not hold.
//!
//! The targets themselves are in `fuzz/`, outside of the workspace, and call what is here. So the
//! ordinary tests can replay the corpus without a fuzzer.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a finding is a panic")]

mod conversation;
mod http;
mod proxy;
mod session;
mod store;
mod stream;
mod wire;

pub use conversation::conversation;
pub use http::http;
pub use proxy::proxy;
pub use session::{http_session, session};
pub use wire::{body, name, reply, request};

/// A fuzz target.
pub type Target = fn(&[u8]);

/// Every target under the name of its corpus.
pub const TARGETS: [(&str, Target); 9] = [
    ("request", request),
    ("name", name),
    ("body", body),
    ("reply", reply),
    ("proxy", proxy),
    ("http", http),
    ("session", session),
    ("http_session", http_session),
    ("conversation", conversation),
];

/// Returns whether `text` could drive a terminal.
pub(crate) fn is_raw(text: &str) -> bool {
    text.chars().any(|c| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
}
