//! Clients that don't speak TLS: what their first line is of.

/// The longest first line that is waited for. Of a longer one, what has come tells enough.
const MAX_LINE_BYTES: usize = 8 << 10;

/// The longest method of HTTP, of those that anybody uses.
const MAX_METHOD_BYTES: usize = 32;

/// The bytes that a client sends who does not speak TLS, as far as they tell what it speaks.
#[derive(Debug, Default)]
pub(super) struct PlainStart(Vec<u8>);

impl PlainStart {
    /// Takes bytes that have come. Returns whether the client speaks HTTP, as soon as that is known.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Option<bool> {
        let room = MAX_LINE_BYTES.saturating_sub(self.0.len());
        self.0.extend_from_slice(&bytes[..bytes.len().min(room)]);
        let line = match self.0.iter().position(|&byte| byte == b'\n') {
            Some(end) => {
                let line = &self.0[..end];
                return Some(is_request_line(line.strip_suffix(b"\r").unwrap_or(line)));
            }
            None => &self.0[..],
        };
        match may_become_one(line) {
            true if line.len() < MAX_LINE_BYTES => None,
            may_be => Some(may_be),
        }
    }
}

/// Returns whether a whole line is one with which a request of HTTP begins, from version 1.0 on.
fn is_request_line(line: &[u8]) -> bool {
    let version = line.rsplit(|&byte| byte == b' ').next().and_then(|word| word.strip_prefix(b"HTTP/"));
    // At least one space before the version, and one before the target.
    let spaces = line.iter().filter(|&&byte| byte == b' ').count();
    may_become_one(line)
        && spaces >= 2
        && version.is_some_and(|version| version.first().is_some_and(u8::is_ascii_digit))
}

/// Returns whether such a line may begin so.
fn may_become_one(line: &[u8]) -> bool {
    let method = line.split(|&byte| byte == b' ').next().unwrap_or_default();
    let is_method =
        method.len() <= MAX_METHOD_BYTES && method.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'-');
    // The CR of its end may have come.
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    is_method && !line.starts_with(b" ") && !line.iter().any(u8::is_ascii_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns what is known when all of `bytes` has come at once, and checks that it is the same a byte at a time.
    fn told(bytes: &[u8]) -> Option<bool> {
        let mut dribbled = PlainStart::default();
        let one_by_one = bytes.iter().find_map(|byte| dribbled.take(std::slice::from_ref(byte)));
        let at_once = PlainStart::default().take(bytes);
        assert_eq!(one_by_one, at_once, "{}", bytes.escape_ascii());
        at_once
    }

    #[test]
    fn requests_of_http_are_told_by_their_first_line() {
        for line in
            ["GET / HTTP/1.1\r\n", "GET /a b HTTP/1.0\n", "PRI * HTTP/2.0\r\n", "M-SEARCH * HTTP/1.1\r\nHost: a\r\n"]
        {
            assert_eq!(told(line.as_bytes()), Some(true), "{line:?}");
        }
        let long = format!("GET /{}", "a".repeat(MAX_LINE_BYTES));
        assert_eq!(told(long.as_bytes()), Some(true));
    }

    #[test]
    fn a_line_that_may_be_one_is_waited_for() {
        for line in ["G", "GET", "GET ", "GET /a HTTP/1.", "STAT a", "GET / HTTP/1.1\r"] {
            assert_eq!(told(line.as_bytes()), None, "{line:?}");
        }
    }

    #[test]
    fn others_are_told_at_once() {
        for line in [
            "get",
            "\0",
            "\u{80}.\u{1}",
            "\n",
            " GET / HTTP/1.1\r\n",
            "GET\t",
            "GET /\r\n",
            "STAT a\n",
            "GET HTTP/1.1\n",
            "STAT HTTP/x y\n",
            "GET /a HTTP/\r\n",
            "{\"a\"",
            "SSH-2.0",
        ] {
            assert_eq!(told(line.as_bytes()), Some(false), "{line:?}");
        }
        assert_eq!(told(&[b'A'; MAX_METHOD_BYTES + 1]), Some(false));
    }
}
