//! The user who sends a request, by Basic authentication: RFC 7617.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ferry_wire::{Secret, UserName};
use zeroize::Zeroizing;

use super::fields::{Fields, trim};

/// The user of a request, as it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authorization {
    /// Nothing.
    Absent,
    /// A user and a secret, which nobody has checked.
    Basic {
        /// The user.
        user: UserName,
        /// The secret.
        secret: Secret,
    },
    /// Something that no user of this server can say: another scheme, or a name or a secret that can't be. It is
    /// answered as a wrong secret is.
    Unusable,
}

impl Authorization {
    pub(super) fn of(fields: Fields<'_>) -> Authorization {
        let mut values = fields.all("authorization");
        match (values.next(), values.next()) {
            (None, _) => Authorization::Absent,
            (Some(value), None) => basic(value).unwrap_or(Authorization::Unusable),
            (Some(_), Some(_)) => Authorization::Unusable,
        }
    }
}

fn basic(value: &[u8]) -> Option<Authorization> {
    let (scheme, text) = value.split_at_checked(5)?;
    if !scheme.eq_ignore_ascii_case(b"basic") || !text.starts_with(b" ") {
        return None;
    }
    let decoded = Zeroizing::new(STANDARD.decode(trim(text)).ok()?);
    let colon = decoded.iter().position(|&byte| byte == b':')?;
    let user = UserName::new(std::str::from_utf8(&decoded[..colon]).ok()?).ok()?;
    let secret = Secret::from_bytes(&decoded[colon + 1..]).ok()?;
    Some(Authorization::Basic { user, secret })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &str) -> Authorization {
        Authorization::of(Fields::of_lines(format!("Authorization: {value}\r\n").as_bytes()))
    }

    fn basic_of(pair: &[u8]) -> Authorization {
        of(&format!("Basic {}", STANDARD.encode(pair)))
    }

    #[test]
    fn a_user_and_a_secret() {
        for (pair, user, secret) in
            [("alice:s", "alice", "s"), ("a:b:c", "a", "b:c"), ("a:pässwörd", "a", "pässwörd"), ("a: x ", "a", " x ")]
        {
            let (user, secret) = (UserName::new(user).unwrap(), Secret::from_bytes(secret.as_bytes()).unwrap());
            assert_eq!(basic_of(pair.as_bytes()), Authorization::Basic { user, secret });
        }
        assert_eq!(of("bAsIc  YTpi"), basic_of(b"a:b"));
        assert_eq!(Authorization::of(Fields::of_lines(b"X: y\r\n")), Authorization::Absent);
    }

    #[test]
    fn what_nobody_can_be_called() {
        for pair in [&b"alice"[..], b":s", b"alice:", b"al ice:s", b"\xff:s", b"a:\xff", b"a:x\0", b"a:x\r\n"] {
            assert_eq!(basic_of(pair), Authorization::Unusable, "{}", pair.escape_ascii());
        }
        for value in ["", "Basic", "Basic ", "BasicYTpi", "Bearer YTpi", "Basic YTp", "Basic YTpi=", "Basic ~~~~"] {
            assert_eq!(of(value), Authorization::Unusable, "{value}");
        }
        let two = b"Authorization: Basic YTpi\r\nAuthorization: Basic YTpi\r\n";
        assert_eq!(Authorization::of(Fields::of_lines(two)), Authorization::Unusable);
    }
}
