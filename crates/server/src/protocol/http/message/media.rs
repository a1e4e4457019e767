//! Media types by the ends of names.

use std::fmt;

/// The media type of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MediaType(&'static str);

/// The policy for files that a browser could run as a page of this server: nothing of it runs, and it is of no
/// origin. Without it whoever may upload could act for all who look.
pub const SANDBOX: &str = "sandbox; default-src 'none'; img-src 'self' data:; media-src 'self' data:; \
                           font-src 'self' data:; style-src 'self' 'unsafe-inline'";

/// The parameter of all types of text.
pub(super) const TEXT_CHARSET: &str = "; charset=utf-8";

/// Returns the media type of a file called `name`, by what stands behind its last point.
#[must_use]
pub fn media_type(name: &str) -> MediaType {
    let point = name.bytes().rposition(|byte| matches!(byte, b'.' | b'/'));
    let end = point.and_then(|at| match name.as_bytes()[..=at] {
        // What begins with its only point has no end of a name.
        [b'.'] | [.., b'/', b'.'] | [.., b'/'] => None,
        _ => Some(&name[at + 1..]),
    });
    let guessed = end.and_then(|end| mime_guess::from_ext(end).first_raw());
    MediaType(guessed.unwrap_or("application/octet-stream"))
}

impl MediaType {
    /// Bytes of which nothing is known.
    pub const BYTES: MediaType = MediaType("application/octet-stream");
    /// A page.
    pub const HTML: MediaType = MediaType("text/html");
    /// Plain text.
    pub const TEXT: MediaType = MediaType("text/plain");
    /// JSON.
    pub const JSON: MediaType = MediaType("application/json");
    /// A tar archive.
    pub const TAR: MediaType = MediaType("application/x-tar");
    /// A style sheet.
    pub const CSS: MediaType = MediaType("text/css");
    /// A script.
    pub const SCRIPT: MediaType = MediaType("text/javascript");
    /// A picture in SVG.
    pub const SVG: MediaType = MediaType("image/svg+xml");

    /// Returns whether a browser may run code in it: a file of it is sent with [`SANDBOX`].
    #[must_use]
    pub fn is_active(self) -> bool {
        // In one pass: it is asked for each file that is sent.
        let is_part = |rest: &[u8]| match rest.first() {
            Some(b'h') => rest.starts_with(b"html"),
            Some(b'x') => rest.starts_with(b"xml") || rest.starts_with(b"xsl"),
            Some(b's') => rest.starts_with(b"svg"),
            Some(b'm') => rest.starts_with(b"multipart/") || rest.starts_with(b"message/"),
            _ => false,
        };
        let essence = self.0.as_bytes();
        (0..essence.len()).any(|at| is_part(&essence[at..]))
    }

    /// Returns it without parameters.
    pub(super) fn essence(self) -> &'static str {
        self.0
    }

    /// Returns whether it is text, which this server takes for UTF-8.
    #[must_use]
    pub fn is_text(self) -> bool {
        self.0.starts_with("text/")
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)?;
        if self.is_text() { f.write_str(TEXT_CHARSET) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_by_the_ends_of_names() {
        for (name, shown, is_active) in [
            ("a.txt", "text/plain; charset=utf-8", false),
            ("A.PNG", "image/png", false),
            ("a/b.html", "text/html; charset=utf-8", true),
            ("a.htm", "text/html; charset=utf-8", true),
            ("a.xhtml", "application/xhtml+xml", true),
            ("a.svg", "image/svg+xml", true),
            ("a.xml", "text/xml; charset=utf-8", true),
            ("a.js", "text/javascript; charset=utf-8", false),
            ("a.json", "application/json", false),
            ("a.pdf", "application/pdf", false),
            ("a.tar", "application/x-tar", false),
            ("a", "application/octet-stream", false),
            ("html", "application/octet-stream", false),
            (".html", "application/octet-stream", false),
            ("a.", "application/octet-stream", false),
        ] {
            let media = media_type(name);
            assert_eq!((media.to_string().as_str(), media.is_active()), (shown, is_active), "{name}");
        }
        assert_eq!(MediaType::BYTES, media_type("x"));
    }
}
