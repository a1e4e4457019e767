//! The target of a request: a name, and what is asked of it.

use std::{borrow::Cow, fmt};

use ferry_wire::{Name, NameError};

use super::{
    host,
    status::{Refusal, StatusCode},
};

/// The subject of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// The server itself: `*`.
    Server,
    /// The root.
    Root,
    /// A file or a directory.
    Name(Name),
}

/// A target that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    resource: Resource,
    ends_in_slash: bool,
    query: Option<Box<str>>,
}

impl Target {
    /// Parses a target that begins with a slash, or is `*`.
    pub(super) fn parse(text: &[u8]) -> Result<Target, Refusal> {
        if text == b"*" {
            return Ok(Target::server());
        }
        let (path, query) = match text.iter().position(|&byte| byte == b'?') {
            Some(mark) => (&text[..mark], Some(&text[mark + 1..])),
            None => (text, None),
        };
        let query = match query.map(std::str::from_utf8) {
            Some(Err(_)) => return Err(bad("what stands behind the question mark is UTF-8")),
            Some(Ok(query)) => Some(query.into()),
            None => None,
        };
        let path = path.strip_prefix(b"/").unwrap_or(path);
        let (path, ends_in_slash) = match path.strip_suffix(b"/") {
            Some(path) => (path, true),
            None => (path, path.is_empty()),
        };
        if path.is_empty() && text.starts_with(b"//") {
            return Err(NameError::EmptyComponent.into());
        }
        let resource = if path.is_empty() { Resource::Root } else { Resource::Name(name_of(path)?) };
        Ok(Target { resource, ends_in_slash, query })
    }

    /// Returns the target `*`, which is the server itself.
    #[must_use]
    pub fn server() -> Target {
        Target { resource: Resource::Server, ends_in_slash: false, query: None }
    }

    /// Returns what the request is about.
    #[must_use]
    pub fn resource(&self) -> &Resource {
        &self.resource
    }

    /// Returns the same, taken out.
    #[must_use]
    pub fn into_resource(self) -> Resource {
        self.resource
    }

    /// Returns the name of a file or directory beneath the root.
    #[must_use]
    pub fn name(&self) -> Option<&Name> {
        match &self.resource {
            Resource::Name(name) => Some(name),
            Resource::Server | Resource::Root => None,
        }
    }

    /// Returns whether it can only mean a directory.
    #[must_use]
    pub fn ends_in_slash(&self) -> bool {
        self.ends_in_slash
    }

    /// Returns the text behind the question mark as it was sent.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    /// Returns the first key of the query, which says what is asked: `json` of `?json` and of `?json=1&x`.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.pairs().next().map(|(key, _)| key)
    }

    /// Returns the value of `key` in the query, percent-decoded; empty where it has none. Returns [`None`]
    /// where the key is not there, or its value is malformed.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<Cow<'_, str>> {
        let value = self.pairs().find(|(other, _)| *other == key)?.1;
        match decoded(value.as_bytes()).ok()? {
            Cow::Borrowed(_) => Some(Cow::Borrowed(value)),
            Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
        }
    }

    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let parts = self.query.iter().flat_map(|query| query.split('&'));
        parts.map(|part| part.split_once('=').unwrap_or((part, "")))
    }
}

/// Returns `target` without its scheme and authority.
///
/// # Errors
///
/// Fails, and closes, for a target in a form that `method` does not have, or for another host than the field
/// says: two readers could take it for requests to two hosts.
pub(super) fn origin_form<'a>(target: &'a [u8], method: &str, host: &str) -> Result<&'a [u8], Refusal> {
    if target.contains(&b'#') {
        return Err(Refusal::malformed("a target has no fragment"));
    }
    match target {
        [b'/', ..] => return Ok(target),
        b"*" if method == "OPTIONS" => return Ok(target),
        _ => {}
    }
    let no_target = || Refusal::malformed("a target begins with a slash");
    let scheme = target.iter().position(|&byte| byte == b':').ok_or_else(no_target)?;
    let (scheme, rest) = target.split_at(scheme);
    if !(scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"https")) {
        return Err(no_target());
    }
    let rest = rest.strip_prefix(b"://").ok_or_else(no_target)?;
    let end = rest.iter().position(|&byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    let named = host::authority(authority).ok_or_else(|| Refusal::malformed("the host of the target is none"))?;
    // HTTP/1.0 may name none.
    if !host.is_empty() && !named.eq_ignore_ascii_case(host) {
        return Err(Refusal::malformed("the target is of another host than the request"));
    }
    // The path may be left out: RFC 9110, section 4.2.3.
    Ok(if rest.is_empty() { b"/" } else { rest })
}

fn name_of(path: &[u8]) -> Result<Name, Refusal> {
    if !path.contains(&b'%') {
        return Ok(Name::from_bytes(path)?);
    }
    // Before decoding: a slash that is encoded separates nothing.
    for component in path.split(|&byte| byte == b'/') {
        if decoded(component).map_err(|()| bad("a percent sign stands before two hex digits"))?.contains(&b'/') {
            return Err(bad("a component of a name has no slash"));
        }
    }
    let name = decoded(path).map_err(|()| bad("a percent sign stands before two hex digits"))?;
    Ok(Name::from_bytes(&name)?)
}

/// A name that can't be is refused for the rule that it breaks; the connection goes on.
impl From<NameError> for Refusal {
    fn from(error: NameError) -> Refusal {
        let status = match error {
            NameError::TooLong => StatusCode::URI_TOO_LONG,
            NameError::Reserved => StatusCode::FORBIDDEN,
            NameError::Empty
            | NameError::EmptyComponent
            | NameError::Dots
            | NameError::Control
            | NameError::Browser
            | NameError::NotUtf8 => StatusCode::BAD_REQUEST,
        };
        Refusal::new(status, error.to_string())
    }
}

fn bad(reason: &'static str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, reason)
}

/// Decodes percent signs once.
fn decoded(text: &[u8]) -> Result<Cow<'_, [u8]>, ()> {
    let Some(first) = text.iter().position(|&byte| byte == b'%') else { return Ok(Cow::Borrowed(text)) };
    let mut bytes = text[..first].to_vec();
    let mut rest = &text[first..];
    while let Some((&byte, behind)) = rest.split_first() {
        if byte != b'%' {
            bytes.push(byte);
            rest = behind;
            continue;
        }
        let [high, low, behind @ ..] = behind else { return Err(()) };
        bytes.push(hex(*high)? << 4 | hex(*low)?);
        rest = behind;
    }
    Ok(Cow::Owned(bytes))
}

fn hex(digit: u8) -> Result<u8, ()> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(()),
    }
}

/// Displays a name as the path of a target: what is no letter, digit, `-`, `.`, `_`, `~` or `/` is
/// percent-encoded. So it can stand in a field, in HTML and in a script.
#[derive(Debug, Clone, Copy)]
pub struct Encoded<'a>(pub &'a str);

impl fmt::Display for Encoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/');
        let mut rest = self.0;
        while let Some(at) = rest.bytes().position(|byte| !is_plain(byte)) {
            let (plain, behind) = rest.split_at(at);
            f.write_str(plain)?;
            let end = behind.chars().next().map_or(0, char::len_utf8);
            for byte in behind[..end].bytes() {
                write!(f, "%{byte:02X}")?;
            }
            rest = &behind[end..];
        }
        f.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<(Option<String>, bool), u16> {
        match Target::parse(text.as_bytes()) {
            Ok(target) => Ok((target.name().map(|name| name.to_string()), target.ends_in_slash())),
            Err(refusal) => {
                assert!(!refusal.closes, "a bad name makes no framing doubtful");
                Err(refusal.status.number())
            }
        }
    }

    #[test]
    fn names_are_decoded_once() {
        for (text, name, slash) in [
            ("/", None, true),
            ("/a", Some("a"), false),
            ("/a/", Some("a"), true),
            ("/a/b%20c", Some("a/b c"), false),
            ("/gr%C3%BC%c3%9Fe", Some("grüße"), false),
            ("/grüße", Some("grüße"), false),
            ("/%2525", Some("%25"), false),
            ("/a+b;c=d", Some("a+b;c=d"), false),
            ("/...", Some("..."), false),
            ("/?x", None, true),
            ("/a?x/../y", Some("a"), false),
        ] {
            assert_eq!(parsed(text), Ok((name.map(str::to_owned), slash)), "{text}");
        }
    }

    #[test]
    fn targets_that_lead_to_no_name() {
        for (text, status) in [
            ("/../x", 400),
            ("/a/..", 400),
            ("/./x", 400),
            ("/%2e%2e", 400),
            ("/%2e%2E/x", 400),
            ("/.%2e/x", 400),
            ("/a%2fb", 400),
            ("/%2F", 400),
            ("/a%00", 400),
            ("/a%0d%0ab", 400),
            ("/%7f", 400),
            ("/%c2%80", 400),
            ("/%c0%ae%c0%ae/x", 400),
            ("/%c0%af", 400),
            ("/%ff", 400),
            ("/%ed%a0%80", 400),
            ("//", 400),
            ("//x", 400),
            ("/x//", 400),
            ("/x//y", 400),
            ("/%", 400),
            ("/%4", 400),
            ("/%4g", 400),
            ("/%%41", 400),
            ("/%u0041", 400),
            ("/a%20HTTP/1.1", 400),
            ("/.ferry", 403),
            ("/.FERRY-x/y", 403),
            ("/a/%2eferry.tmp", 403),
        ] {
            assert_eq!(parsed(text), Err(status), "{text}");
        }
        assert_eq!(parsed(&format!("/{}", "x".repeat(1025))), Err(414));
        assert!(parsed(&format!("/{}", "%41".repeat(1024))).is_ok());
    }

    #[test]
    fn queries_have_keys_and_values() {
        let target = Target::parse(b"/a?tus=1%2d2&length=5&x&json").unwrap();
        assert_eq!(target.key(), Some("tus"));
        assert_eq!(target.value("tus").as_deref(), Some("1-2"));
        assert_eq!(target.value("length").as_deref(), Some("5"));
        assert_eq!(target.value("json").as_deref(), Some(""));
        assert_eq!(target.value("no"), None);
        assert_eq!(Target::parse(b"/a?x=%zz").unwrap().value("x"), None);
        assert_eq!(Target::parse(b"/a?x=%ff").unwrap().value("x"), None);
        assert_eq!(Target::parse(b"/a").unwrap().key(), None);
        assert_eq!(Target::parse(b"/a?").unwrap().key(), Some(""));
        assert!(Target::parse(b"/a?\xff").is_err());
    }

    #[test]
    fn names_come_back_as_they_were_encoded() {
        for name in ["a", "a b/c", "grüße/世界", "100%", "<script>\"'&?#;", "a\\b"] {
            let encoded = Encoded(name).to_string();
            assert!(encoded.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~/%".contains(&byte)));
            assert_eq!(parsed(&format!("/{encoded}")), Ok((Some(name.to_owned()), false)));
        }
    }
}
