//! ferryd.
pub mod fence;
pub mod logging;
mod reactor;
pub mod session;
pub mod store;
mod sys;

pub use reactor::{CUT_SHORT, Listener, Server, ServerError, ServerOptions};
