//! Sharing out the descriptors that this process may have.

use rustix::process::{Resource, getrlimit, setrlimit};

/// The server's own descriptors: the log, the root and its corner, the queue of events, and what each helper opens
/// for a moment.
const OWN_DESCRIPTORS: u64 = 40;

/// Below this the server does not start: it would serve a handful, and that badly.
const LEAST_DESCRIPTORS: u64 = 64;

/// Where there are thousands, this many are not for clients: most of those are idle, and have no file open.
const RESERVED_DESCRIPTORS: u64 = 512;

/// Clients that may be told at one time that there is no room for them, where there are descriptors enough.
const MOST_REFUSALS: u64 = 64;

/// One address has no more than so small a part of these, where clients of one address are limited.
pub(super) const REFUSALS_PARTS: u64 = 4;

/// What descriptors are for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shares {
    pub(super) clients: u64,
    pub(super) refusals: u64,
    /// Files that one helper has open at one time.
    pub(super) together: u64,
}

/// Shares `descriptors` out. Where they are few, each client can have a file open beside its socket.
pub(super) fn share_out(descriptors: u64) -> Result<Shares, String> {
    if descriptors < LEAST_DESCRIPTORS {
        return Err(format!(
            "only {descriptors} files may be open (ulimit -n), and the server needs {LEAST_DESCRIPTORS} to serve a few clients"
        ));
    }
    let free = descriptors - OWN_DESCRIPTORS;
    let refusals = (free / 8).min(MOST_REFUSALS);
    let clients = descriptors.saturating_sub(RESERVED_DESCRIPTORS).max((free - refusals) / 2);
    Ok(Shares { clients, refusals, together: descriptors / 16 })
}

/// Each client is an open file: takes all that the system lets this process have.
pub(super) fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    let now = if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
    now.unwrap_or(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_can_have_a_file_open_where_descriptors_are_few() {
        for (descriptors, clients, refusals, together) in
            [(64, 10, 3, 4), (100, 26, 7, 6), (700, 298, 64, 43), (1024, 512, 64, 64), (20_000, 19_488, 64, 1250)]
        {
            assert_eq!(share_out(descriptors), Ok(Shares { clients, refusals, together }), "{descriptors}");
        }
        for few in [0, 12, LEAST_DESCRIPTORS - 1] {
            let said = share_out(few).unwrap_err();
            assert!(said.contains("ulimit -n") && said.contains("64"), "{said}");
        }
    }
}
