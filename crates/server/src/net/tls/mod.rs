//! TLS between a session and its socket: a thin type over rustls, which does no IO of its own.
//!
//! TLS 1.3 only. Sessions are resumed by tickets that the server seals and does not keep, so that
//! nothing is held for clients that may come back. Nothing is asked of the client but a hello, and
//! nothing of it is read beside its bytes.

mod acceptor;
mod connection;
mod error;
mod plain;

pub use acceptor::TlsAcceptor;
pub(super) use connection::Tls;
pub(crate) use error::TlsError;
