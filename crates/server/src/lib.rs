//! ferryd.
pub mod logging;
mod reactor;
pub mod session;
pub mod store;

pub use reactor::{Server, ServerError, ServerOptions};
