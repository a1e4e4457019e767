//! The operators' view of the server's work: the sink of the log, and the log of transfers.

mod counters;
mod figures;
mod histogram;
mod log_file;
pub mod logging;
pub(crate) mod metrics;
pub(crate) mod scrape;
mod sink;
pub(crate) mod status;
mod text;
mod transfer_log;

pub use log_file::LogFileError;
pub use transfer_log::{TransferLog, TransferLogForm};

pub(crate) use counters::{ClientState, Counters, HandshakeEnd, Occupation, Protocol, RefusedFor};
pub(crate) use figures::{ContentFigures, CrcFigures, Figures, LaneFigures, LoopFigures, RootDown, StagedFigures};
pub(crate) use histogram::Histogram;
pub(crate) use transfer_log::{Client, TransferEntry};
