//! Lines of files of checksums, as `sha256sum` and `cksum` write and check them.

use ferry_wire::{Sha256, escaped_bytes};

/// One line: a file, by the name that it was given, and its SHA-256.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChecksumLine {
    /// The name of the file, as bytes of the local system.
    pub name: Vec<u8>,
    /// The SHA-256 of its content.
    pub sha256: Sha256,
}

/// The form of a [`ChecksumLine`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ChecksumForm {
    /// `<digits>  <name>`, of `sha256sum`.
    #[default]
    Plain,
    /// `SHA256 (<name>) = <digits>`, of `sha256sum --tag` and `cksum -a sha256`.
    Tagged,
}

/// Why a line is none of a file of checksums. Displays as the end of a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChecksumError {
    /// It is of another kind of checksums.
    #[error("is of {}, and only SHA-256 is checked", escaped_bytes(.0))]
    Kind(Vec<u8>),
    /// It has neither form.
    #[error("is no line of sha256sum or cksum")]
    Form,
    /// There are characters in the name that stand for no other.
    #[error("has a backslash in its name that escapes nothing")]
    Escape,
}

/// The word of a tagged line.
const KIND: &[u8] = b"SHA256";

/// Between the name and the digits of a tagged line.
const EQUALS: &[u8] = b") = ";

impl ChecksumLine {
    /// Reads one line, without its LF; [`None`] for an empty one and a comment. A CR at its end is dropped.
    ///
    /// # Errors
    ///
    /// Fails for a line of neither form, and for one of another kind of checksum.
    pub fn parse(line: &[u8]) -> Result<Option<ChecksumLine>, ChecksumError> {
        let line = line.strip_suffix(b"\r").unwrap_or(line).trim_ascii_start();
        if line.is_empty() || line[0] == b'#' {
            return Ok(None);
        }
        let (line, is_escaped) = line.strip_prefix(b"\\").map_or((line, false), |rest| (rest, true));
        let (name, sha256) = match plain(line) {
            Some(parts) => parts,
            None => tagged(line)?,
        };
        let name = if is_escaped { unescaped(name).ok_or(ChecksumError::Escape)? } else { name.to_vec() };
        Ok(Some(ChecksumLine { name, sha256 }))
    }

    /// Returns the line in `form`, without its LF. A name with an LF, a CR or a backslash is escaped, and the line then
    /// begins with a backslash.
    #[must_use]
    pub fn in_form(&self, form: ChecksumForm) -> Vec<u8> {
        let ChecksumLine { name, sha256 } = self;
        let is_escaped = name.iter().any(|byte| matches!(byte, b'\n' | b'\r' | b'\\'));
        let (mark, name): (&[u8], _) = if is_escaped { (b"\\", escaped(name)) } else { (b"", name.clone()) };
        let digits = sha256.to_string().into_bytes();
        match form {
            ChecksumForm::Plain => [mark, &digits, b"  ", &name].concat(),
            ChecksumForm::Tagged => [mark, KIND, b" (", &name, EQUALS, &digits].concat(),
        }
    }
}

/// Reads `<digits>`, a space, a space or an asterisk, and the name.
fn plain(line: &[u8]) -> Option<(&[u8], Sha256)> {
    let (digits, rest) = line.split_at_checked(64)?;
    let name = rest.strip_prefix(b" ")?.strip_prefix(b" ").or_else(|| rest.strip_prefix(b" *"))?;
    Some((name, Sha256::parse(digits)?)).filter(|_| !name.is_empty())
}

/// Reads `<kind> (<name>) = <digits>`. A name may hold the very signs that end it: the last ones count.
fn tagged(line: &[u8]) -> Result<(&[u8], Sha256), ChecksumError> {
    let at = line.windows(2).position(|pair| pair == b" (").ok_or(ChecksumError::Form)?;
    let (kind, rest) = (&line[..at], &line[at + 2..]);
    let end = rest.windows(EQUALS.len()).rposition(|signs| signs == EQUALS).ok_or(ChecksumError::Form)?;
    let (name, digits) = (&rest[..end], &rest[end + EQUALS.len()..]);
    if kind != KIND {
        return Err(ChecksumError::Kind(kind.to_vec()));
    }
    let sha256 = Sha256::parse(digits).filter(|_| !name.is_empty()).ok_or(ChecksumError::Form)?;
    Ok((name, sha256))
}

fn escaped(name: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(name.len() + 8);
    for byte in name {
        match byte {
            b'\n' => text.extend_from_slice(b"\\n"),
            b'\r' => text.extend_from_slice(b"\\r"),
            b'\\' => text.extend_from_slice(b"\\\\"),
            byte => text.push(*byte),
        }
    }
    text
}

fn unescaped(text: &[u8]) -> Option<Vec<u8>> {
    let mut name = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        name.push(match byte {
            b'\\' => match bytes.next()? {
                b'n' => b'\n',
                b'r' => b'\r',
                b'\\' => b'\\',
                _ => return None,
            },
            byte => *byte,
        });
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &[u8]) -> ChecksumLine {
        ChecksumLine { name: name.to_vec(), sha256: Sha256::of(name) }
    }

    #[test]
    fn lines_come_back_in_both_forms() {
        for name in ["a", " a  b ", "*a", "a) = b", "a\nb", "a\\nb\\", "\r", "\\", "SHA256 (a) = b", "ä\u{202e}"] {
            let line = line(name.as_bytes());
            for form in [ChecksumForm::Plain, ChecksumForm::Tagged] {
                let text = line.in_form(form);
                assert!(!text.contains(&b'\n') && !text.contains(&b'\r'), "{text:?}");
                assert_eq!(ChecksumLine::parse(&text), Ok(Some(line.clone())), "{name:?} {form:?}");
            }
        }
        let bytes = line(b"\xff\xfe");
        assert_eq!(ChecksumLine::parse(&bytes.in_form(ChecksumForm::Plain)), Ok(Some(bytes)));
    }

    #[test]
    fn forms_of_others_are_read() {
        let sum = Sha256::of(b"x");
        let expected = Ok(Some(ChecksumLine { name: b"x".to_vec(), sha256: sum }));
        for text in [
            format!("{sum} *x"),
            format!("  {sum}  x\r"),
            format!("\\{sum}  x"),
            format!("SHA256 (x) = {sum}"),
            format!("{}  x", sum.to_string().to_uppercase()),
        ] {
            assert_eq!(ChecksumLine::parse(text.as_bytes()), expected, "{text}");
        }
        for text in ["", "  ", "\r", "# of yesterday"] {
            assert_eq!(ChecksumLine::parse(text.as_bytes()), Ok(None), "{text:?}");
        }
    }

    #[test]
    fn bad_lines_are_told_by_their_fault() {
        let sum = Sha256::of(b"x");
        for (text, fault) in [
            (format!("{sum}"), ChecksumError::Form),
            (format!("{sum}  "), ChecksumError::Form),
            (format!("{sum} x"), ChecksumError::Form),
            (format!("{}  x", &sum.to_string()[1..]), ChecksumError::Form),
            (format!("SHA256 () = {sum}"), ChecksumError::Form),
            (format!("SHA256 (x) = {sum}0"), ChecksumError::Form),
            ("SHA256 (x".into(), ChecksumError::Form),
            ("cbf43926  9  x".into(), ChecksumError::Form),
            (format!("\\{sum}  a\\tb"), ChecksumError::Escape),
            (format!("\\{sum}  a\\"), ChecksumError::Escape),
            ("MD5 (x) = 9dd4e461268c8034f5c8564e155c67a6".into(), ChecksumError::Kind(b"MD5".to_vec())),
        ] {
            assert_eq!(ChecksumLine::parse(text.as_bytes()), Err(fault), "{text}");
        }
    }
}
