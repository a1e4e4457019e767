//! The operators' view of the server's work: the sink of the log, and the log of transfers.

mod log_file;
pub mod logging;
pub(crate) mod scrape;
mod sink;
mod text;
mod transfer_log;

pub use log_file::LogFileError;
pub use transfer_log::TransferLog;

pub(crate) use transfer_log::TransferEntry;
