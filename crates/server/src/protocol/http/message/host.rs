//! The authority that a request is for.

use core::net::{Ipv4Addr, Ipv6Addr};

use super::{fields::Fields, status::Refusal};

/// Returns the one host that the fields name; the empty text where a request of HTTP/1.0 names none.
///
/// # Errors
///
/// Fails, and closes, where there is none, more than one, or one that is no host.
pub(super) fn host_of<'a>(fields: Fields<'a>, is_http_1_0: bool) -> Result<&'a str, Refusal> {
    let mut hosts = fields.all("host");
    match (hosts.next(), hosts.next()) {
        (None, _) if is_http_1_0 => Ok(""),
        (None, _) => Err(Refusal::malformed("a request of HTTP/1.1 names its host")),
        (Some(_), Some(_)) => Err(Refusal::malformed("a request names one host")),
        (Some(host), None) => authority(host).ok_or_else(|| Refusal::malformed("the host is none")),
    }
}

/// Reads a host with or without a port. Returns [`None`] for anything else, such as a user or a path.
pub(super) fn authority(text: &[u8]) -> Option<&str> {
    let (host, port) = match text {
        [b'[', rest @ ..] => {
            let end = rest.iter().position(|&byte| byte == b']')?;
            (&rest[..end], &rest[end + 1..])
        }
        _ => text.split_at(text.iter().position(|&byte| byte == b':').unwrap_or(text.len())),
    };
    let is_address = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let is_host = if text.starts_with(b"[") { host.iter().all(is_address) } else { host.iter().all(is_name) };
    let is_port = match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if host.is_empty() || !is_host || !is_port { None } else { std::str::from_utf8(text).ok() }
}

/// Returns whether another site made a browser send the request, as far as the browser tells.
///
/// Programs that are no browsers send neither field.
pub(super) fn is_foreign(fields: Fields<'_>, host: &str) -> bool {
    let sites = fields.all("sec-fetch-site").any(|site| !matches!(site, b"same-origin" | b"none"));
    let origins = fields.all("origin").any(|origin| !is_of(origin, host));
    sites || origins
}

/// Returns whether a page that came by plain HTTP, from a name, made a browser send the request.
///
/// Whoever has a name can make it lead to any address from one moment to the next (DNS rebinding). Then a page of theirs is
/// of the same origin as this server, as far as the browser can tell. `localhost` and addresses are nobody's to change.
pub(super) fn is_of_a_name(fields: Fields<'_>) -> bool {
    fields
        .all("origin")
        .filter_map(|origin| origin.strip_prefix(b"http://"))
        .any(|host| !std::str::from_utf8(host).is_ok_and(is_fixed))
}

/// Returns whether `host` is a name that anybody may have and lead anywhere: not one of a single part, as machines call
/// each other, which no public name server knows.
pub(super) fn is_public_name(host: &str) -> bool {
    let name = name_of(host);
    name.as_bytes().contains(&b'.') && !is_fixed_name(name)
}

/// Returns whether nobody can make `host` lead elsewhere: it is an address, or `localhost`.
fn is_fixed(host: &str) -> bool {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().is_some_and(|address| address.parse::<Ipv6Addr>().is_ok()),
        None => is_fixed_name(name_of(host)),
    }
}

/// Does the same for a host that is no address in brackets, without its port.
fn is_fixed_name(name: &str) -> bool {
    let last = name.bytes().rposition(|byte| byte == b'.').map_or(name, |point| &name[point + 1..]);
    match last.bytes().all(|byte| byte.is_ascii_digit()) {
        true => name.parse::<Ipv4Addr>().is_ok(),
        false => last.eq_ignore_ascii_case("localhost"),
    }
}

/// Returns `host` without its port, and without the point at its end. Of an address in brackets it is no name.
fn name_of(host: &str) -> &str {
    let end = host.bytes().position(|byte| byte == b':').unwrap_or(host.len());
    host[..end].trim_end_matches('.')
}

/// Returns whether `origin` is one of `host`.
fn is_of(origin: &[u8], host: &str) -> bool {
    let rest = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
    rest.is_some_and(|rest| !host.is_empty() && rest.eq_ignore_ascii_case(host.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_with_and_without_ports() {
        for text in ["a", "a.b-c_d:80", "127.0.0.1:12000", "[::1]", "[::1]:80", "[fe80::1.2.3.4]", "a:"] {
            assert_eq!(authority(text.as_bytes()), Some(text));
        }
        for text in [
            "", ":80", "a b", "a/b", "u@a", "a:b", "a:123456", "[::1", "[]", "[::1]x", "[g]", "a,b", "a?b", "a#b",
            "a\\b", "ä", "a:80:80", "%61", "[",
        ] {
            assert_eq!(authority(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn a_name_can_be_made_to_lead_here_and_an_address_can_not() {
        let of_a_name = |lines: &'static str| is_of_a_name(Fields::of_lines(lines.as_bytes()));
        for lines in [
            "",
            "Origin: null\r\n",
            "Origin: https://files.example\r\n",
            "Origin: http://127.0.0.1:80\r\n",
            "Origin: http://[::1]:80\r\n",
            "Origin: http://[::1]\r\n",
            "Origin: http://LocalHost:80\r\n",
            "Origin: http://a.localhost\r\n",
        ] {
            assert!(!of_a_name(lines), "{lines}");
        }
        for lines in [
            "Origin: http://evil.example:80\r\n",
            "Origin: http://127.0.0.1.evil.example\r\n",
            "Origin: http://evillocalhost\r\n",
            "Origin: http://[::1\r\nOrigin: http://\r\n",
        ] {
            assert!(of_a_name(lines), "{lines}");
        }
    }

    #[test]
    fn public_names_have_parts_and_are_no_addresses() {
        for host in ["files.example", "files.example.:80", "127.0.0.1.evil.example", "1.2.3:80", "a.localhost.evil"] {
            assert!(is_public_name(host), "{host}");
        }
        for host in [
            "",
            "localhost:80",
            "a.localhost",
            "localhost.",
            "127.0.0.1:80",
            "[::1]:80",
            "[::1]",
            "machine",
            "machine.:80",
        ] {
            assert!(!is_public_name(host), "{host}");
        }
    }

    #[test]
    fn browsers_tell_of_other_sites() {
        let foreign = |lines: &'static str| is_foreign(Fields::of_lines(lines.as_bytes()), "a:80");
        for lines in [
            "",
            "Sec-Fetch-Site: none\r\n",
            "Sec-Fetch-Site: same-origin\r\nOrigin: http://A:80\r\n",
            "Origin: https://a:80\r\n",
        ] {
            assert!(!foreign(lines), "{lines}");
        }
        for lines in [
            "Sec-Fetch-Site: cross-site\r\n",
            "Sec-Fetch-Site: same-site\r\n",
            "Origin: null\r\n",
            "Origin: http://a\r\n",
            "Origin: http://a:80.evil\r\n",
            "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Site: x\r\n",
        ] {
            assert!(foreign(lines), "{lines}");
        }
    }
}
