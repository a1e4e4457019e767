//! Divides the descriptors that this process may have among clients, refusals and helpers.

use rustix::process::{Resource, getrlimit, setrlimit};

/// The server's own descriptors: the log, the root and its corner, the queue of events, and a few
/// for each helper.
const OWN_DESCRIPTORS: u64 = 40;

/// Below this the server does not start: it would serve a handful of clients, and badly.
const LEAST_DESCRIPTORS: u64 = 64;

/// Where there are thousands, this many are not for clients: most of those are idle, and have no file open.
const RESERVED_DESCRIPTORS: u64 = 512;

/// Clients that may be told at one time that there is no room for them, where there are descriptors enough.
const MOST_REFUSALS: u64 = 64;

/// Clients whose TLS handshake may go on at one time, where there are descriptors enough.
const MOST_HANDSHAKES: u64 = 256;

/// Connections at one time at each listener for inquiries, where there are descriptors enough.
const MOST_INQUIRIES: u64 = 16;

/// The divisor that gives the part of these for one address, where clients of one address are
/// limited.
pub(super) const REFUSALS_PARTS: u64 = 4;

/// The number of descriptors for each purpose.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DescriptorPlan {
    pub(super) clients: u64,
    pub(super) refusals: u64,
    pub(super) handshakes: u64,
    /// Those at each listener for inquiries.
    pub(super) inquiries: u64,
    /// Files that one helper has open at one time.
    pub(super) together: u64,
}

/// Divides `descriptors`, some of which are for so many `listeners` for inquiries. Where they are
/// few, each client can have a file open beside its socket.
///
/// # Errors
///
/// Where they are too few to serve.
pub(super) fn divide(descriptors: u64, listeners: u64) -> Result<DescriptorPlan, String> {
    if descriptors < LEAST_DESCRIPTORS {
        return Err(format!(
            "only {descriptors} files may be open (ulimit -n), and the server needs {LEAST_DESCRIPTORS} to serve a few clients"
        ));
    }
    let free = descriptors - OWN_DESCRIPTORS;
    let refusals = (free / 8).min(MOST_REFUSALS);
    let inquiries = (free / 12).min(MOST_INQUIRIES);
    let left = free.saturating_sub(refusals + listeners * inquiries);
    let clients = descriptors.saturating_sub(RESERVED_DESCRIPTORS).max(left / 2);
    // Connections beyond these are not accepted until one ends.
    let handshakes = (free / 8).min(MOST_HANDSHAKES);
    Ok(DescriptorPlan { clients, refusals, handshakes, inquiries, together: descriptors / 16 })
}

/// Raises the limit of open files as far as the system lets this process, and returns it: each
/// client is an open file.
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
        for (descriptors, listeners, clients, refusals, handshakes, inquiries, together) in [
            (64, 0, 10, 3, 3, 2, 4),
            (64, 2, 8, 3, 3, 2, 4),
            (100, 0, 26, 7, 7, 5, 6),
            (700, 0, 298, 64, 82, 16, 43),
            (700, 2, 282, 64, 82, 16, 43),
            (1024, 0, 512, 64, 123, 16, 64),
            (20_000, 2, 19_488, 64, 256, 16, 1250),
        ] {
            assert_eq!(
                divide(descriptors, listeners),
                Ok(DescriptorPlan { clients, refusals, handshakes, inquiries, together }),
                "{descriptors}"
            );
        }
        for few in [0, 12, LEAST_DESCRIPTORS - 1] {
            let said = divide(few, 0).unwrap_err();
            assert!(said.contains("ulimit -n") && said.contains("64"), "{said}");
        }
    }
}
