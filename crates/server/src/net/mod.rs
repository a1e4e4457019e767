//! Sockets: the one that listens, and those of clients.

mod listen;

pub use listen::{ListenError, Listener};
