//! The fields of a request: lines that were checked before.

use super::status::{Refusal, StatusCode};

/// The fields of one request, in order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a> {
    /// Lines, each with its CR LF, and no empty one.
    lines: &'a [u8],
    /// Marks of their names. Some twenty names are asked for in each request, of which most are not there.
    marks: u64,
}

impl<'a> Fields<'a> {
    /// Takes `lines`, whose grammar a parser has checked: each has a name, a colon and a value. The parser has found
    /// these `names`.
    pub(super) fn of_checked(lines: &'a [u8], names: impl Iterator<Item = &'a [u8]>) -> Fields<'a> {
        Fields { lines, marks: names.fold(0, |marks, name| marks | mark(name)) }
    }

    /// Takes the lines of a test.
    #[cfg(test)]
    pub(super) fn of_lines(lines: &'a [u8]) -> Fields<'a> {
        let names = Fields { lines, marks: 0 }.iter().map(|(name, _)| name);
        Fields::of_checked(lines, names)
    }

    /// Returns the names and values, the latter without spaces around them.
    pub(super) fn iter(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let mut rest = self.lines;
        std::iter::from_fn(move || {
            let colon = rest.iter().position(|&byte| byte == b':')?;
            let name = &rest[..colon];
            let value = &rest[colon + 1..];
            let end = value.iter().position(|&byte| byte == b'\r').unwrap_or(value.len());
            rest = value.get(end + 2..).unwrap_or_default();
            Some((name, trim(&value[..end])))
        })
    }

    /// Returns the values of the field `name`, which is given in lower case.
    #[inline]
    pub(super) fn all(self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let sought = if self.may_have(name) { self } else { Fields { lines: &[], marks: 0 } };
        sought.iter().filter(move |(other, _)| other.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    /// Returns false only where no field is called `name`.
    #[inline]
    fn may_have(self, name: &str) -> bool {
        self.marks & mark(name.as_bytes()) != 0
    }

    /// Returns false only where no field is called by one of `names`.
    #[inline]
    pub(super) fn may_have_any<const N: usize>(self, names: [&str; N]) -> bool {
        names.into_iter().any(|name| self.may_have(name))
    }

    /// Returns the first value of the field `name`.
    #[inline]
    pub(super) fn first(self, name: &str) -> Option<&'a [u8]> {
        if self.may_have(name) { self.all(name).next() } else { None }
    }

    /// Returns the value of the field `name`, which stands once at most.
    ///
    /// # Errors
    ///
    /// Fails with `reason`, and closes nothing, where it stands more often.
    pub(super) fn one(self, name: &str, reason: &'static str) -> Result<Option<&'a [u8]>, Refusal> {
        if !self.may_have(name) {
            return Ok(None);
        }
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            (_, Some(_)) => Err(Refusal::new(StatusCode::BAD_REQUEST, reason)),
        }
    }

    /// Returns the elements of the lists that the fields `name` hold. No element holds a comma.
    pub(super) fn elements(self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.all(name).flat_map(|value| value.split(|&byte| byte == b',')).map(trim)
    }
}

/// Returns the bit by which a name is known in any case: names that differ may share one.
#[inline]
fn mark(name: &[u8]) -> u64 {
    let first = name.first().map_or(0, u8::to_ascii_lowercase);
    1 << ((name.len() * 5 + usize::from(first)) % 64)
}

/// Returns `bytes` without spaces and tabs around them.
pub(super) fn trim(bytes: &[u8]) -> &[u8] {
    let is_text = |byte: &u8| !matches!(byte, b' ' | b'\t');
    match (bytes.iter().position(is_text), bytes.iter().rposition(is_text)) {
        (Some(first), Some(last)) => &bytes[first..=last],
        _ => &[],
    }
}

/// Returns whether `byte` may stand in a token: RFC 9110, section 5.6.2.
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_names_in_any_case() {
        let fields = Fields::of_lines(b"Host: a\r\nX-List:1, 2 ,\t3\r\nEmpty:\r\nx-list: ,4:5 \r\n");
        assert_eq!(fields.iter().count(), 4);
        assert_eq!(fields.first("host"), Some(&b"a"[..]));
        assert_eq!(fields.first("empty"), Some(&b""[..]));
        assert_eq!(fields.first("hos"), None);
        let elements: Vec<_> = fields.elements("x-list").collect();
        assert_eq!(elements, [&b"1"[..], b"2", b"3", b"", b"4:5"]);
        assert!(fields.one("x-list", "twice").is_err());
        assert_eq!(fields.one("host", "twice"), Ok(Some(&b"a"[..])));
    }

    #[test]
    fn a_mark_hides_no_field() {
        for length in 1..80 {
            for first in (0u8..=255).filter(|&byte| is_token(byte)) {
                let mut name = vec![b'X'; length];
                name[0] = first;
                let lines = [&name[..], b": a\r\n"].concat();
                let fields = Fields::of_lines(&lines);
                let sought = String::from_utf8(name).unwrap().to_ascii_lowercase();
                assert_eq!(fields.first(&sought), Some(&b"a"[..]), "{sought}");
            }
        }
        let fields = Fields::of_lines(b"Host: a\r\nUser-Agent: curl\r\nAccept: */*\r\n");
        let absent = ["range", "if-match", "if-none-match", "content-length", "transfer-encoding", "authorization"];
        assert!(absent.iter().all(|name| !fields.may_have(name)), "most of what is asked for is not looked for");
        assert!(!Fields::of_lines(b"").may_have("host"));
    }
}
