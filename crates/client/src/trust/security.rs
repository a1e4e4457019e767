//! Decides whether a connection is plain or speaks TLS.

use std::net::IpAddr;

use super::Trust;
use crate::{address::Address, error::Error};

/// Whether connections speak TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Security {
    /// By the address that is really connected to: plain on a loopback address, else TLS. A server on a loopback address
    /// speaks TLS as well if its key is known or pinned; where it is silent for a second, TLS is tried.
    #[default]
    ByAddress,
    /// TLS, whatever the address.
    Tls,
    /// None: whoever is in between reads and changes what goes over.
    Plain,
}

impl Security {
    /// Whether a connection to `peer`, an address of the host in `address`, begins with TLS.
    ///
    /// # Errors
    ///
    /// Where the file of known servers can't be read.
    pub(crate) fn begins_with_tls(self, peer: IpAddr, address: &Address, trust: &Trust) -> Result<bool, Error> {
        match self {
            Security::ByAddress => Ok(!is_this_machine(peer) || trust.knows_key(address)?),
            Security::Tls => Ok(true),
            Security::Plain => Ok(false),
        }
    }

    /// Whether TLS may be tried where a server says nothing in the open: nobody asked for one or the other.
    pub(crate) fn may_try_tls(self) -> bool {
        self == Security::ByAddress
    }

    /// Returns what holds for another connection that is to be like one that `spoke_tls`, or did not.
    pub(crate) fn like(spoke_tls: bool) -> Security {
        if spoke_tls { Security::Tls } else { Security::Plain }
    }

    /// Returns what holds for later connections to a server once one to it stands: where that `spoke_tls` they have to, and
    /// nobody takes the server over in the open.
    pub(crate) fn after(self, spoke_tls: bool) -> Security {
        if spoke_tls { Security::Tls } else { self }
    }
}

/// Whether what goes to `peer` stays on this machine.
pub(crate) fn is_this_machine(peer: IpAddr) -> bool {
    peer.to_canonical().is_loopback()
}
