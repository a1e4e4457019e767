//! ferryd.
pub mod access;
mod bucket;
pub mod check;
pub mod commands;
pub mod config;
pub mod control;
pub mod fence;
mod files;
pub mod net;
pub mod observe;
pub mod protocol;
pub mod runtime;
pub mod serve;
pub mod start;
pub mod store;
mod sys;
pub mod units;

pub use runtime::{CUT_SHORT, Server, ServerError, ServerOptions};
