//! Where a server listens, as people type it.

use std::{fmt, str::FromStr};

/// A host and a port. Parsed from `12000` (a port on 127.0.0.1), `host:12000` or `[::1]:12000`;
/// displayed as `host:port`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    host: String,
    port: u16,
}

/// Text that says no address. Displays what is wrong and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Neither a port nor `host:port`.
    #[error("'{0}' is neither a port nor host:port, like 12000 or localhost:12000")]
    Form(String),
    /// A number that is no port.
    #[error("{0} is no port: ports are 1 to 65535")]
    Port(String),
}

impl Address {
    /// `port` on `host`: a name, an IPv4 address, or an IPv6 address without brackets.
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16) -> Address {
        Address { host: host.into(), port }
    }

    /// The host, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the command to type on that machine to have a server there.
    pub(crate) fn server_command(&self) -> String {
        if matches!(self.host.as_str(), "127.0.0.1" | "localhost") {
            format!("ferryd {}", self.port)
        } else {
            format!("ferryd {self}")
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        let form = || AddressError::Form(ferry_wire::escaped(text).to_string());
        let (host, port) = text.rsplit_once(':').unwrap_or(("127.0.0.1", text));
        let host = match host.strip_prefix('[') {
            Some(inner) => inner.strip_suffix(']').ok_or_else(form)?,
            // More than one colon without brackets: where the port begins can't be known.
            None if host.contains(':') => return Err(form()),
            None => host,
        };
        let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let is_host = !host.is_empty() && !host.chars().any(|c| c.is_control() || c.is_whitespace());
        if !is_number || !is_host {
            return Err(form());
        }
        match port.parse() {
            Ok(port) if port > 0 => Ok(Address::new(host, port)),
            _ => Err(AddressError::Port(port.to_owned())),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_hosts_with_ports_are_addresses() {
        for (text, shown) in [
            ("12000", "127.0.0.1:12000"),
            ("localhost:1", "localhost:1"),
            ("[::1]:65535", "[::1]:65535"),
            ("10.0.0.7:80", "10.0.0.7:80"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn a_wrong_port_and_a_wrong_form_are_told_apart() {
        for text in ["0", "99999", "65536", "host:0", "123456789012345678901234567890"] {
            assert!(matches!(text.parse::<Address>(), Err(AddressError::Port(_))), "{text}");
        }
        for text in ["", "word", "host:", ":12000", "host:port", "-1", "+5", "a:b:1", "::1", "[::1:5", "a b:1", "1.5"] {
            assert!(matches!(text.parse::<Address>(), Err(AddressError::Form(_))), "{text}");
        }
    }

    #[test]
    fn the_hint_is_what_one_would_type_there() {
        assert_eq!(Address::new("127.0.0.1", 12000).server_command(), "ferryd 12000");
        assert_eq!(Address::new("10.0.0.7", 12000).server_command(), "ferryd 10.0.0.7:12000");
    }
}
