//! Sockets: listening, accepting, and the transport of each client; TLS, and the key that clients know the server by.

mod acceptor;
mod endpoint;
mod entrance;
mod inherited;
mod inquiry;
pub mod keys;
mod listen;
mod manager;
pub mod proxy;
mod tls;

pub(crate) use acceptor::Acceptor;
pub(crate) use endpoint::{Endpoint, HandshakeState, HeaderState, ReadError, SendFileError, Transport, Unsent};
pub(crate) use entrance::Acceptors;
pub use entrance::{Entrance, Service, ServiceListener};
pub use inherited::Inherited;
pub use inquiry::InquiryListener;
pub(crate) use inquiry::InquirySocket;
pub use listen::{ListenError, Listener};
pub(crate) use manager::News;
pub use manager::ServiceManager;
pub use tls::TlsAcceptor;
pub(crate) use tls::TlsError;
