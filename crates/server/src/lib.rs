//! ferryd.
pub mod fence;
pub mod logging;
mod reactor;
pub mod session;
pub mod store;

pub use reactor::{Listener, Server, ServerError, ServerOptions};
