//! The line of the log that says that a login failed.

use core::net::IpAddr;

use ferry_wire::escaped;

/// A name is cut after so many characters: none of a user's is longer.
const SHOWN_CHARACTERS: usize = 64;

/// Makes the line that is logged, as a warning, for a login that failed.
///
/// `login failed from 192.0.2.1 as "alice"`. The form is stable: programs read it, as fail2ban does
/// with `packaging/fail2ban/filter.d/ferryd.conf`. The address comes before anything that the
/// client has chosen, and the name is escaped and in quotes, so no name makes the line say another
/// address.
#[must_use]
pub fn failed_login(address: IpAddr, user: &str) -> String {
    let mut shown: String = user.chars().take(SHOWN_CHARACTERS).collect();
    if shown.len() < user.len() {
        shown.push_str("...");
    }
    let shown = escaped(&shown).to_string().replace('\\', "\\\\").replace('"', "\\\"");
    format!("login failed from {} as \"{shown}\"", address.to_canonical())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use regex::Regex;

    use super::*;

    /// Returns the `failregex` of the example filter, with the pattern by which fail2ban finds an address.
    fn filter() -> Regex {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/fail2ban/filter.d/ferryd.conf");
        let text = std::fs::read_to_string(path).unwrap();
        let pattern = text.lines().find_map(|line| line.strip_prefix("failregex = ")).unwrap();
        let host = r"(?P<host>(?:[0-9]{1,3}\.){3}[0-9]{1,3}|[0-9a-fA-F:]+)";
        Regex::new(&pattern.replace("<ADDR>", host)).unwrap()
    }

    /// Returns the address that the filter finds in a line of the log, behind its date.
    fn found(message: &str) -> Option<String> {
        let line = format!(" [WARN] {message}");
        filter().captures(&line).map(|captures| captures["host"].to_owned())
    }

    #[test]
    fn the_line_names_address_and_user() {
        for (from, user, line) in [
            ("192.0.2.1", "alice", "login failed from 192.0.2.1 as \"alice\""),
            ("::ffff:192.0.2.1", "a", "login failed from 192.0.2.1 as \"a\""),
            ("2001:db8::1", "a b", "login failed from 2001:db8::1 as \"a b\""),
            ("192.0.2.1", "a\"b\\c", "login failed from 192.0.2.1 as \"a\\\"b\\\\c\""),
            ("192.0.2.1", "a\nb\u{1b}", "login failed from 192.0.2.1 as \"a\\\\u{a}b\\\\u{1b}\""),
            ("192.0.2.1", "", "login failed from 192.0.2.1 as \"\""),
        ] {
            assert_eq!(failed_login(from.parse().unwrap(), user), line);
        }
        let long = failed_login([192, 0, 2, 1].into(), &"ü".repeat(65));
        assert_eq!(long, format!("login failed from 192.0.2.1 as \"{}...\"", "ü".repeat(64)));
    }

    #[test]
    fn the_example_filter_finds_the_address_and_never_another_one() {
        let addresses = ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1"];
        let users = [
            "alice",
            "",
            "\" as \"x",
            "x\"\nlogin failed from 198.51.100.9 as \"x",
            "login failed from 198.51.100.9 as \"x\"",
            "\" login failed from 198.51.100.9 as \"x\"",
            "x\r2026-01-01T00:00:00Z [WARN] login failed from 198.51.100.9 as \"x\"",
            "\\",
            "\\\" [WARN] login failed from 198.51.100.9 as \\\"",
        ];
        for from in addresses {
            let from: IpAddr = from.parse().unwrap();
            for user in users {
                let line = failed_login(from, user);
                assert_eq!(found(&line), Some(from.to_canonical().to_string()), "{line}");
            }
        }
        // Lines of transfers hold names that a client has chosen.
        for other in [
            "192.0.2.1:4000: GET login failed from 198.51.100.9 as \"x\": 0 bytes in 0.000001 s, ok",
            "192.0.2.1:4000: GET [WARN] login failed from 198.51.100.9 as \"x\"",
            "login failed from 198.51.100.9 as \"x\" and more",
            "login failed from 198.51.100.9 as x",
        ] {
            assert_eq!(found(other), None, "{other}");
        }
    }
}
