//! The lines of the protocol, for whoever wants to watch.

use ferry_wire::escaped_bytes;

/// The target under which every line of the protocol is logged, at trace level: `> GET a` for one that is sent,
/// `< DATA 5` for one that came, escaped. The bytes of files are left out.
pub const PROTOCOL_LOG: &str = "ferry_client::protocol";

/// `lines` are on their way to the server.
pub(crate) fn sent(lines: &[u8]) {
    if log::log_enabled!(target: PROTOCOL_LOG, log::Level::Trace) {
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            log::trace!(target: PROTOCOL_LOG, "> {}", escaped_bytes(line.strip_suffix(b"\n").unwrap_or(line)));
        }
    }
}

/// `line` came from the server.
pub(crate) fn received(line: &[u8]) {
    log::trace!(target: PROTOCOL_LOG, "< {}", escaped_bytes(line));
}
