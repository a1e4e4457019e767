//! The header by which a proxy tells whom it connects: the PROXY protocol, versions 1 and 2, of HAProxy's
//! `proxy-protocol.txt`.
//!
//! Here are bytes only. [`parse`] takes what has come of a header so far, and the [`Network`]s say whose headers are read.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::{FromStr, from_utf8},
};

/// The bytes that a header has at most. Those of version 2 could have 64 KiB; the certificates and names that proxies add
/// take some hundred bytes.
pub const MAX_HEADER_BYTES: usize = 4096;

/// The bytes that a line of version 1 has at most, with its end: the longest that there can be.
const MAX_LINE_BYTES: usize = 107;

const LINE_START: &[u8] = b"PROXY ";

/// With what a header of version 2 begins.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The part of version 2 that is always there: the signature, version and command, family and transport, the length of the
/// rest.
const FIXED_BYTES: usize = 16;

/// The type of the field with the CRC32C of the whole header.
const CRC32C_TYPE: u8 = 3;

/// The client of a connection that a proxy makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxiedClient {
    /// Somebody at this address; an IPv4 address is never one mapped to IPv6.
    Address(SocketAddr),
    /// Somebody whom the proxy does not name (UNKNOWN; other families than those of the Internet).
    Unknown,
    /// The proxy itself (LOCAL), as when it looks whether the server is well.
    Proxy,
}

/// Why bytes are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// They begin as none does.
    #[error("a peer of --proxy-from sends no PROXY header")]
    Missing,
    /// It has more bytes than are read.
    #[error("the PROXY header is longer than {MAX_HEADER_BYTES} bytes, or its line than {MAX_LINE_BYTES}")]
    TooLong,
    /// It is not as the protocol has it.
    #[error("the PROXY header is malformed: {0}")]
    Malformed(&'static str),
    /// It has another checksum than it says.
    #[error("the PROXY header has a wrong CRC32C")]
    Checksum,
    /// The proxy has sent a part of it, and will send no more.
    #[error("the PROXY header was cut short")]
    Cut,
    /// The proxy has not sent all of it in time.
    #[error("the PROXY header did not come within the request timeout")]
    Late,
    /// The connection is gone, and nothing has come.
    #[error("the connection was lost before its PROXY header")]
    Lost,
}

/// Reads the header that `bytes`, all that have come, begin with. Returns the client and the header's length in bytes;
/// [`None`] where more of it is to come. Bytes after it are not looked at.
///
/// # Errors
///
/// As soon as it can't become a header of at most [`MAX_HEADER_BYTES`].
pub fn parse(bytes: &[u8]) -> Result<Option<(ProxiedClient, usize)>, ProxyError> {
    let begins = |start: &[u8]| bytes.iter().zip(start).all(|(byte, expected)| byte == expected);
    if begins(SIGNATURE) {
        return if bytes.len() < FIXED_BYTES { check_version(bytes).map(|()| None) } else { parse_binary(bytes) };
    }
    if begins(LINE_START) { parse_line(bytes) } else { Err(ProxyError::Missing) }
}

fn parse_line(bytes: &[u8]) -> Result<Option<(ProxiedClient, usize)>, ProxyError> {
    let within = &bytes[..bytes.len().min(MAX_LINE_BYTES)];
    let Some(end) = within.iter().position(|byte| *byte == b'\n') else {
        return if within.len() < MAX_LINE_BYTES { Ok(None) } else { Err(ProxyError::TooLong) };
    };
    let line = within[..end].strip_suffix(b"\r").and_then(|line| from_utf8(line).ok());
    let rest = line.and_then(|line| line.strip_prefix("PROXY "));
    let rest = rest.ok_or(ProxyError::Malformed("its line is no text that ends with CR and LF"))?;
    Ok(Some((parse_words(rest)?, end + 1)))
}

fn parse_words(words: &str) -> Result<ProxiedClient, ProxyError> {
    let words: Vec<&str> = words.split(' ').collect();
    let wrong = ProxyError::Malformed("its line is not PROXY, TCP4 or TCP6, two addresses and two ports");
    let (from, to, ports) = match *words {
        // All else that it says counts for nothing.
        ["UNKNOWN", ..] => return Ok(ProxiedClient::Unknown),
        ["TCP4", from, to, source, target] => (address::<Ipv4Addr>(from), address::<Ipv4Addr>(to), [source, target]),
        ["TCP6", from, to, source, target] => (address::<Ipv6Addr>(from), address::<Ipv6Addr>(to), [source, target]),
        _ => return Err(wrong),
    };
    match (from, to, ports.map(port)) {
        (Some(from), Some(_), [Some(port), Some(_)]) => Ok(client(from, port)),
        _ => Err(wrong),
    }
}

fn address<A: FromStr + Into<IpAddr>>(word: &str) -> Option<IpAddr> {
    word.parse::<A>().ok().map(Into::into)
}

fn port(word: &str) -> Option<u16> {
    word.parse::<u16>().ok().filter(|port| port.to_string() == word)
}

fn client(address: IpAddr, port: u16) -> ProxiedClient {
    ProxiedClient::Address(SocketAddr::new(address.to_canonical(), port))
}

/// The kinds of addresses in a header of version 2.
#[derive(Debug, Clone, Copy)]
enum Family {
    Unspecified,
    V4,
    V6,
    Unix,
}

impl Family {
    /// Returns the bytes that both addresses, with their ports, take.
    fn bytes(self) -> usize {
        match self {
            Family::Unspecified => 0,
            Family::V4 => 12,
            Family::V6 => 36,
            Family::Unix => 216,
        }
    }
}

/// Checks version and command, where they have come.
fn check_version(bytes: &[u8]) -> Result<(), ProxyError> {
    match bytes.get(SIGNATURE.len()) {
        Some(0x20 | 0x21) | None => Ok(()),
        Some(_) => Err(ProxyError::Malformed("its version is not 2, or its command not LOCAL or PROXY")),
    }
}

fn parse_binary(bytes: &[u8]) -> Result<Option<(ProxiedClient, usize)>, ProxyError> {
    check_version(bytes)?;
    let (command, kind) = (bytes[12], bytes[13]);
    let length = FIXED_BYTES + usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    if length > MAX_HEADER_BYTES {
        return Err(ProxyError::TooLong);
    }
    let family = match (command, kind) {
        // All else that it says counts for nothing.
        (0x20, _) => None,
        (_, 0x00..=0x02 | 0x10 | 0x20 | 0x30) => Some(Family::Unspecified),
        (_, 0x11 | 0x12) => Some(Family::V4),
        (_, 0x21 | 0x22) => Some(Family::V6),
        (_, 0x31 | 0x32) => Some(Family::Unix),
        _ => return Err(ProxyError::Malformed("there is no such family of addresses, or transport")),
    };
    let addresses = FIXED_BYTES + family.map_or(0, Family::bytes);
    if length < addresses {
        return Err(ProxyError::Malformed("it is too short for its addresses"));
    }
    let Some(header) = bytes.get(..length) else { return Ok(None) };
    let client = match family {
        None => return Ok(Some((ProxiedClient::Proxy, length))),
        Some(Family::Unspecified) => return Ok(Some((ProxiedClient::Unknown, length))),
        Some(Family::Unix) => ProxiedClient::Unknown,
        Some(Family::V4) => client(Ipv4Addr::from(array(header, 16)).into(), u16::from_be_bytes(array(header, 24))),
        Some(Family::V6) => client(Ipv6Addr::from(array(header, 16)).into(), u16::from_be_bytes(array(header, 48))),
    };
    check_fields(header, addresses)?;
    Ok(Some((client, length)))
}

/// Returns the bytes from `at` on, which are there.
fn array<const N: usize>(header: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&header[at..at + N]);
    array
}

/// Skips the fields from `at` on, each a type, a length and as many bytes. The checksum is checked, where there is one.
fn check_fields(header: &[u8], mut at: usize) -> Result<(), ProxyError> {
    while at < header.len() {
        let wrong = ProxyError::Malformed("its fields don't end where it ends");
        let Some((&[kind, high, low], rest)) = header[at..].split_first_chunk() else { return Err(wrong) };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let value = rest.get(..length).ok_or(wrong)?;
        at += 3;
        if kind == CRC32C_TYPE {
            let said = value.try_into().map_err(|_| ProxyError::Malformed("its checksum has not 4 bytes"))?;
            if crc32c_without(header, at) != u32::from_be_bytes(said) {
                return Err(ProxyError::Checksum);
            }
        }
        at += length;
    }
    Ok(())
}

/// Returns the CRC32C of a header, the 4 bytes from `at` on, in which it stands, taken for zeros.
fn crc32c_without(header: &[u8], at: usize) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let zeroed = |(index, byte): (usize, &u8)| if (at..at + 4).contains(&index) { 0 } else { *byte };
    !header.iter().enumerate().map(zeroed).fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (POLYNOMIAL & (crc & 1).wrapping_neg()))
    })
}

/// Addresses that begin with the same bits: an IPv4 address is never one mapped to IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    /// Returns whether `address` is one of these.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let is_same =
            |one: u128, other: u128, width: u32| (one ^ other).checked_shr(width - self.bits).unwrap_or(0) == 0;
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(here), IpAddr::V4(there)) => is_same(here.to_bits().into(), there.to_bits().into(), 32),
            (IpAddr::V6(here), IpAddr::V6(there)) => is_same(here.to_bits(), there.to_bits(), 128),
            _ => false,
        }
    }
}

/// As `10.0.0.1`, `10.0.0.0/8` or `2001:db8::/32`.
impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Network, String> {
        let help = "give ADDRESS or ADDRESS/BITS, as 10.0.0.1, 10.0.0.0/8 or 2001:db8::/32";
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| help)?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let is_number = |bits: &&str| bits.bytes().all(|byte| byte.is_ascii_digit());
        let bits = match bits.map(|bits| Some(bits).filter(is_number).and_then(|bits| bits.parse::<u32>().ok())) {
            None => width,
            Some(Some(bits)) if bits <= width => bits,
            Some(_) => return Err(format!("{address} has from 0 to {width} bits; {help}")),
        };
        match (address, address.to_canonical()) {
            (IpAddr::V6(_), mapped @ IpAddr::V4(_)) if bits >= 96 => Ok(Network { address: mapped, bits: bits - 96 }),
            (IpAddr::V6(_), IpAddr::V4(_)) => Err("write IPv4 addresses as IPv4 addresses".into()),
            (address, _) => Ok(Network { address, bits }),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

#[cfg(test)]
mod tests;
