//! The fields of tus 1.0 in a request, and the rules that they must keep.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ferry_wire::{Crc32, Time, limits::MAX_INTEGER, parse_integer};

use super::super::message::{Head, Method, Refusal, StatusCode, crc_of};

/// The version of tus that this server speaks.
pub const VERSION: &str = "1.0.0";

/// Its extensions of tus.
pub const EXTENSIONS: &str = "creation,creation-with-upload,termination,expiration,checksum";

/// The checksums that it knows, of the pieces of an upload.
pub const CHECKSUMS: &str = "crc32,sha1";

/// The type of a body that is a piece of an upload.
const PIECE: &[u8] = b"application/offset+octet-stream";

/// The longest metadata in bytes: they travel in the address of the upload, which must fit a request line beside the
/// longest name, each byte of both encoded.
const MAX_METADATA_BYTES: usize = 1024;

/// The fields of tus in one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TusFields {
    /// Bytes of the whole file.
    pub length: Option<u64>,
    /// The place of the body in the file.
    pub offset: Option<u64>,
    /// The client's words on the file.
    pub metadata: Option<Metadata>,
    /// The checksum that the body must have.
    pub checksum: Option<Checksum>,
    /// The body is a piece of an upload.
    pub has_piece: bool,
}

impl TusFields {
    /// Returns the fields of a request by `method`.
    ///
    /// # Errors
    ///
    /// Fails for another version of tus, for fields that are malformed, and where one is missing that the method needs.
    pub fn of(head: &Head<'_>, method: Method) -> Result<TusFields, Refusal> {
        if method == Method::Options {
            return Ok(TusFields::default());
        }
        if head.one("tus-resumable", "two versions of tus")? != Some(VERSION.as_bytes()) {
            return Err(Refusal::new(StatusCode::PRECONDITION_FAILED, "this server speaks tus 1.0.0 (Tus-Resumable)"));
        }
        let fields = TusFields {
            length: number(head, "upload-length", "Upload-Length is one plain number")?,
            offset: number(head, "upload-offset", "Upload-Offset is one plain number")?,
            metadata: Metadata::of(head)?,
            checksum: Checksum::of(head)?,
            has_piece: head.field("content-type").is_some_and(|media| media.eq_ignore_ascii_case(PIECE)),
        };
        match method {
            Method::Post => fields.check_creation(head)?,
            Method::Patch if fields.offset.is_none() => return Err(bad("PATCH needs Upload-Offset")),
            Method::Patch if !fields.has_piece => {
                let reason = "the body of PATCH is application/offset+octet-stream";
                return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, reason));
            }
            _ => {}
        }
        Ok(fields)
    }

    fn check_creation(&self, head: &Head<'_>) -> Result<(), Refusal> {
        if head.field("upload-concat").is_some() {
            return Err(bad("this server puts no uploads together (Upload-Concat)"));
        }
        match (self.length, head.field("upload-defer-length")) {
            (Some(_), None) => Ok(()),
            (_, Some(_)) => Err(bad("this server must know the length at once (Upload-Defer-Length)")),
            (None, None) => Err(bad("an upload needs Upload-Length")),
        }
    }
}

/// Returns the method that is meant: clients whose way lets no PATCH pass send POST, and say so.
///
/// A form can't: it sets no fields.
///
/// # Errors
///
/// Fails for any method that tus has no use for.
pub fn meant(head: &Head<'_>) -> Result<Method, Refusal> {
    match head.one("x-http-method-override", "two methods")? {
        None => Ok(head.method()),
        Some(b"PATCH") if head.method() == Method::Post => Ok(Method::Patch),
        Some(b"DELETE") if head.method() == Method::Post => Ok(Method::Delete),
        Some(_) => Err(bad("X-HTTP-Method-Override makes PATCH or DELETE of POST alone")),
    }
}

/// The metadata of an upload: pairs of a key and a value in base64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// As it was sent.
    text: Box<str>,
}

impl Metadata {
    fn of(head: &Head<'_>) -> Result<Option<Metadata>, Refusal> {
        match head.one("upload-metadata", "Upload-Metadata stands twice")? {
            None => Ok(None),
            Some(text) => std::str::from_utf8(text).ok().and_then(Metadata::parse).map(Some).ok_or_else(malformed),
        }
    }

    /// Checks and keeps a list of pairs: each key once, without spaces, and a value that may be missing. Returns [`None`]
    /// for anything else, and where it is too long.
    #[must_use]
    pub fn parse(text: &str) -> Option<Metadata> {
        if text.len() > MAX_METADATA_BYTES || !text.is_ascii() || text.bytes().any(|byte| byte.is_ascii_control()) {
            return None;
        }
        let metadata = Metadata { text: text.into() };
        let mut keys: Vec<&str> = Vec::new();
        for (key, value) in metadata.pairs() {
            let is_new = !key.is_empty() && !keys.contains(&key);
            if !is_new || STANDARD.decode(value).is_err() {
                return None;
            }
            keys.push(key);
        }
        Some(metadata)
    }

    /// Returns the list as it was sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the value of `key`, decoded; [`None`] where it is not there, or not UTF-8.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<String> {
        let (_, value) = self.pairs().find(|(other, _)| *other == key)?;
        String::from_utf8(STANDARD.decode(value).ok()?).ok()
    }

    /// Returns the time to give to the file, by the key `mtime` in seconds since 1970, as X-OC-Mtime has them.
    ///
    /// # Errors
    ///
    /// Fails where it is no time.
    pub fn mtime(&self) -> Result<Option<Time>, Refusal> {
        if !self.pairs().any(|(key, _)| key == "mtime") {
            return Ok(None);
        }
        let time = self.value("mtime").and_then(|text| Time::parse(text.as_bytes()));
        time.map(Some).ok_or_else(|| bad("the mtime of Upload-Metadata is no time in seconds"))
    }

    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.text.split(',').map(|pair| pair.trim_matches(' ')).map(|pair| pair.split_once(' ').unwrap_or((pair, "")))
    }
}

/// The checksum of one piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// CRC-32 as zlib computes it, of which the highest byte comes first.
    Crc32(Crc32),
    /// SHA-1.
    Sha1([u8; 20]),
}

impl Checksum {
    fn of(head: &Head<'_>) -> Result<Option<Checksum>, Refusal> {
        let Some(text) = head.one("upload-checksum", "two checksums of one piece")? else { return Ok(None) };
        let space = text.iter().position(|&byte| byte == b' ');
        let (algorithm, value) = text.split_at(space.unwrap_or(text.len()));
        let value = value.get(1..).unwrap_or_default();
        let checksum = match algorithm {
            b"crc32" => crc_of(value).map(Checksum::Crc32),
            b"sha1" => STANDARD.decode(value).ok().and_then(|bytes| bytes.try_into().ok()).map(Checksum::Sha1),
            _ => return Err(bad("this server knows the checksums crc32 and sha1 (Upload-Checksum)")),
        };
        checksum.map(Some).ok_or_else(|| bad("Upload-Checksum is an algorithm and its value in base64"))
    }
}

fn number(head: &Head<'_>, name: &str, reason: &'static str) -> Result<Option<u64>, Refusal> {
    match head.one(name, reason)? {
        None => Ok(None),
        Some(text) => {
            let number = parse_integer(text).filter(|&number| number <= MAX_INTEGER);
            number.map(Some).ok_or_else(|| bad(reason))
        }
    }
}

fn malformed() -> Refusal {
    bad("Upload-Metadata is a short list of keys, each once and with a value in base64")
}

fn bad(reason: &'static str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, reason)
}

#[cfg(test)]
mod tests {
    use super::{super::super::message::HeadReader, *};

    fn fields(method: &str, lines: &str) -> Result<TusFields, u16> {
        let input = format!("{method} /?tus HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        let (head, _) = HeadReader::default().read(input.as_bytes()).unwrap().unwrap();
        let fields = meant(&head).and_then(|method| TusFields::of(&head, method));
        fields.map_err(|refusal| {
            assert!(!refusal.closes, "{refusal:?}");
            refusal.status.number()
        })
    }

    #[test]
    fn a_creation_and_its_fields() {
        let lines =
            "Tus-Resumable: 1.0.0\r\nUpload-Length: 5\r\nUpload-Metadata: filename YS50eHQ=, mtime MTcwMC41,empty\r\n";
        let fields = fields("POST", lines).unwrap();
        assert_eq!((fields.length, fields.offset, fields.has_piece), (Some(5), None, false));
        let metadata = fields.metadata.unwrap();
        assert_eq!(metadata.value("filename").as_deref(), Some("a.txt"));
        assert_eq!(metadata.value("empty").as_deref(), Some(""));
        assert_eq!(metadata.value("no"), None);
        assert_eq!(metadata.mtime(), Ok(Time::parse(b"1700.5")));
        assert_eq!(metadata.as_str(), "filename YS50eHQ=, mtime MTcwMC41,empty");
        assert_eq!(Metadata::parse("mtime").unwrap().mtime().unwrap_err().status.number(), 400);
        assert_eq!(Metadata::parse("filename YQ==").unwrap().mtime(), Ok(None));
    }

    #[test]
    fn creations_that_are_refused() {
        for (lines, status) in [
            ("Upload-Length: 5\r\n", 412),
            ("Tus-Resumable: 0.2.2\r\nUpload-Length: 5\r\n", 412),
            ("Tus-Resumable: 1.0.0\r\nTus-Resumable: 1.0.0\r\nUpload-Length: 5\r\n", 400),
            ("Tus-Resumable: 1.0.0\r\n", 400),
            ("Tus-Resumable: 1.0.0\r\nUpload-Length: -1\r\n", 400),
            ("Tus-Resumable: 1.0.0\r\nUpload-Length: 05\r\n", 400),
            ("Tus-Resumable: 1.0.0\r\nUpload-Length: 9223372036854775808\r\n", 400),
            ("Tus-Resumable: 1.0.0\r\nUpload-Length: 5\r\nUpload-Length: 5\r\n", 400),
            ("Tus-Resumable: 1.0.0\r\nUpload-Defer-Length: 1\r\n", 400),
            ("Tus-Resumable: 1.0.0\r\nUpload-Length: 5\r\nUpload-Defer-Length: 1\r\n", 400),
            ("Tus-Resumable: 1.0.0\r\nUpload-Length: 5\r\nUpload-Concat: partial\r\n", 400),
            ("Tus-Resumable: 1.0.0\r\nUpload-Length: 5\r\nUpload-Metadata: \r\n", 400),
            ("Tus-Resumable: 1.0.0\r\nUpload-Length: 5\r\nUpload-Metadata: a YQ==,\r\n", 400),
            ("Tus-Resumable: 1.0.0\r\nUpload-Length: 5\r\nUpload-Metadata: a YQ==,a YQ==\r\n", 400),
            ("Tus-Resumable: 1.0.0\r\nUpload-Length: 5\r\nUpload-Metadata: a YQ\r\n", 400),
            ("Tus-Resumable: 1.0.0\r\nUpload-Length: 5\r\nUpload-Metadata: a  YQ==\r\n", 400),
            ("Tus-Resumable: 1.0.0\r\nUpload-Length: 5\r\nUpload-Metadata: a \u{e4}\r\n", 400),
            ("Tus-Resumable: 1.0.0\r\nUpload-Length: 5\r\nX-HTTP-Method-Override: PUT\r\n", 400),
        ] {
            assert_eq!(fields("POST", lines), Err(status), "{lines}");
        }
        let long = format!("a {}", "QUFB".repeat(256));
        assert_eq!(Metadata::parse(&long), None);
    }

    #[test]
    fn a_piece_and_its_checksum() {
        let piece = "Tus-Resumable: 1.0.0\r\nUpload-Offset: 7\r\nContent-Type: application/offset+octet-stream\r\n";
        let of = |checksum: &str| fields("PATCH", &format!("{piece}Upload-Checksum: {checksum}\r\n"));
        assert_eq!(fields("PATCH", piece).unwrap().offset, Some(7));
        assert_eq!(of("crc32 y/Q5Jg==").unwrap().checksum, Some(Checksum::Crc32(Crc32::of(b"123456789"))));
        let sha1 = of("sha1 qZk+NkcGgWq6PiVxeFDCbJzQ2J0=").unwrap().checksum;
        assert!(matches!(sha1, Some(Checksum::Sha1([0xa9, 0x99, 0x3e, ..]))));
        for checksum in
            ["", "crc32", "crc32 ", "crc32 y/Q5", "crc32  y/Q5Jg==", "sha1 y/Q5Jg==", "md5 y/Q5Jg==", "CRC32 y/Q5Jg=="]
        {
            assert_eq!(of(checksum), Err(400), "{checksum}");
        }
        assert_eq!(fields("PATCH", "Tus-Resumable: 1.0.0\r\nUpload-Offset: 7\r\n"), Err(415));
        assert_eq!(
            fields("PATCH", "Tus-Resumable: 1.0.0\r\nContent-Type: application/offset+octet-stream\r\n"),
            Err(400)
        );
    }

    #[test]
    fn the_method_that_is_meant() {
        let of = |method: &str, lines: &str| {
            let input = format!("{method} / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
            let (head, _) = HeadReader::default().read(input.as_bytes()).unwrap().unwrap();
            meant(&head)
        };
        assert_eq!(of("POST", ""), Ok(Method::Post));
        assert_eq!(of("POST", "X-HTTP-Method-Override: PATCH\r\n"), Ok(Method::Patch));
        assert_eq!(of("POST", "X-HTTP-Method-Override: DELETE\r\n"), Ok(Method::Delete));
        assert!(of("POST", "X-HTTP-Method-Override: GET\r\n").is_err());
        // A GET can be made by another site's page.
        assert!(of("GET", "X-HTTP-Method-Override: DELETE\r\n").is_err());
    }
}
