//! Sockets: listening, accepting, and the transport of each client.

mod acceptor;
mod endpoint;
mod listen;

pub(crate) use acceptor::Acceptor;
pub(crate) use endpoint::{Endpoint, Lost, SendFileError, Transport, Unsent};
pub use listen::{ListenError, Listener};
