//! The system's figures of a TCP connection: how long its line is, and what was lost on it.
//!
//! They are asked for by `sock_diag`, as `ss` does: bytes that are read by their offsets, where `getsockopt` would take
//! unsafe code.

use std::{
    net::{IpAddr, SocketAddr},
    os::fd::OwnedFd,
    time::Duration,
};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, netlink, netlink::SocketAddrNetlink, recv,
    send, socket_with,
};

/// `SOCK_DIAG_BY_FAMILY`, both as request and as reply.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const IPPROTO_TCP: u8 = 6;
/// `INET_DIAG_INFO`: the attribute that holds a `tcp_info`.
const INET_DIAG_INFO: u16 = 2;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// Bytes of the headers of a reply, before its attributes: `nlmsghdr` and `inet_diag_msg`.
const REPLY_HEADER_BYTES: usize = 16 + 72;

/// Longer than any reply about one socket.
const REPLY_BYTES: usize = 4 << 10;

/// The state of a line, as far as the system knows it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LineFigures {
    /// The shortest round trip that was seen.
    pub(crate) round_trip: Duration,
    /// Segments that were sent again, or came out of order because one before them was lost.
    pub(crate) lost: u64,
}

/// The means to ask about one connection. Each question is two short system calls.
#[derive(Debug)]
pub(super) struct LineProbe {
    netlink: OwnedFd,
    request: Vec<u8>,
}

impl LineProbe {
    /// Returns [`None`] where the system answers no such questions.
    pub(super) fn new(local: SocketAddr, peer: SocketAddr) -> Option<LineProbe> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let netlink = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(netlink::SOCK_DIAG)).ok()?;
        connect(&netlink, &SocketAddrNetlink::new(0, 0)).ok()?;
        Some(LineProbe { netlink, request: request(local, peer)? })
    }

    /// Asks. [`None`] where no answer comes at once, or one that says nothing.
    pub(super) fn ask(&self) -> Option<LineFigures> {
        send(&self.netlink, &self.request, SendFlags::empty()).ok()?;
        let mut reply = [0; REPLY_BYTES];
        let (_, length) = recv(&self.netlink, &mut reply[..], RecvFlags::empty()).ok()?;
        parse(reply.get(..length)?)
    }
}

/// Returns an `inet_diag_req_v2` about the one connection between these addresses.
fn request(local: SocketAddr, peer: SocketAddr) -> Option<Vec<u8>> {
    let family = match (local, peer) {
        (SocketAddr::V4(_), SocketAddr::V4(_)) => AF_INET,
        (SocketAddr::V6(_), SocketAddr::V6(_)) => AF_INET6,
        _ => return None,
    };
    let mut body = vec![family, IPPROTO_TCP, 1 << (INET_DIAG_INFO - 1), 0];
    // In whatever state.
    body.extend(u32::MAX.to_ne_bytes());
    body.extend(local.port().to_be_bytes());
    body.extend(peer.port().to_be_bytes());
    for address in [local.ip(), peer.ip()] {
        let start = body.len();
        match address {
            IpAddr::V4(address) => body.extend(address.octets()),
            IpAddr::V6(address) => body.extend(address.octets()),
        }
        body.resize(start + 16, 0);
    }
    let scope = match peer {
        SocketAddr::V6(peer) => peer.scope_id(),
        SocketAddr::V4(_) => 0,
    };
    body.extend(scope.to_ne_bytes());
    // No cookie: the addresses say which.
    body.extend([0xff; 8]);
    let length = u32::try_from(16 + body.len()).ok()?;
    let mut request = Vec::new();
    request.extend(length.to_ne_bytes());
    request.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request.extend(NLM_F_REQUEST.to_ne_bytes());
    request.extend([0; 8]);
    request.extend(body);
    Some(request)
}

fn parse(reply: &[u8]) -> Option<LineFigures> {
    if u16_at(reply, 4)? != SOCK_DIAG_BY_FAMILY {
        return None;
    }
    let mut attributes = reply.get(REPLY_HEADER_BYTES..)?;
    loop {
        let (length, kind) = (usize::from(u16_at(attributes, 0)?), u16_at(attributes, 2)?);
        if kind == INET_DIAG_INFO {
            return parse_info(attributes.get(4..length)?);
        }
        attributes = attributes.get(length.max(4).next_multiple_of(4)..)?;
    }
}

/// Reads a `tcp_info`; an older system's ends earlier.
fn parse_info(info: &[u8]) -> Option<LineFigures> {
    let shortest = u32_at(info, 148).filter(|micros| *micros > 0 && *micros < u32::MAX);
    let smoothed = || u32_at(info, 68).filter(|micros| *micros > 0);
    let round_trip = Duration::from_micros(shortest.or_else(smoothed)?.into());
    let retransmitted = u32_at(info, 100)?;
    let out_of_order = u32_at(info, 224).unwrap_or(0);
    Some(LineFigures { round_trip, lost: u64::from(retransmitted) + u64::from(out_of_order) })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_connection_to_this_machine_is_short() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let probe = LineProbe::new(stream.local_addr().unwrap(), stream.peer_addr().unwrap());
            let Some(line) = probe.as_ref().and_then(LineProbe::ask) else {
                eprintln!("skipped: this system tells nothing of its sockets");
                return;
            };
            assert!(line.round_trip < Duration::from_secs(1), "{line:?}");
            assert!(probe.unwrap().ask().is_some(), "it can be asked again");
        }
    }

    #[test]
    fn a_connection_that_is_gone_has_no_figures() {
        let nobody = "127.0.0.1:1".parse().unwrap();
        assert_eq!(LineProbe::new(nobody, nobody).and_then(|probe| probe.ask()), None);
    }

    #[test]
    fn no_reply_makes_it_panic() {
        let mut reply = vec![0; REPLY_HEADER_BYTES];
        reply[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        for (kind, length) in [(1_u16, 8_usize), (INET_DIAG_INFO, 4 + 232)] {
            reply.extend(u16::try_from(length).unwrap().to_ne_bytes());
            reply.extend(kind.to_ne_bytes());
            reply.resize(reply.len() + length - 4, 1);
        }
        let whole = parse(&reply).unwrap();
        assert_eq!(whole.round_trip, Duration::from_micros(0x0101_0101));
        assert_eq!(whole.lost, 0x0202_0202);
        for cut in 0..reply.len() {
            parse(&reply[..cut]);
            let mut changed = reply.clone();
            changed[cut] = 0;
            parse(&changed);
        }
    }
}
