//! ferryd.
pub mod fence;
pub mod logging;
pub mod protocol;
mod runtime;
pub mod store;
mod sys;

pub use runtime::{CUT_SHORT, Listener, Server, ServerError, ServerOptions};
