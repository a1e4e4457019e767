//! The operators' view of the server's work: the sink of the log, and the log of transfers.

pub mod logging;
mod transfer_log;

pub(crate) use transfer_log::{TransferEntry, TransferLog};
