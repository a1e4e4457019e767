//! The greeting and the replies of a server.

use std::{borrow::Cow, fmt, io::Write as _, ops::Range};

use crate::{
    code::Code,
    crc::Crc32,
    escape::{escaped, escaped_bytes},
    limits::{MAX_LINE_BYTES, PROTOCOL_VERSION},
    mode::Mode,
    number::{parse_integer, push_integer},
    sha256::Sha256,
    time::{OrDash, Time},
    token::Tag,
    words::{Words, is_verb},
};

/// A failure: `FAIL <code> <message>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The reason, for programs.
    pub code: Code,
    /// The reason, for people: one line. Text of a peer is escaped before it is put into it.
    pub message: Cow<'static, str>,
}

impl Failure {
    /// Creates a failure that says `message`.
    #[must_use]
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Failure {
        Failure { code, message: message.into() }
    }

    /// Reads the words after the verb. Never fails: a code that is missing or unknown is
    /// [`Code::Unknown`], and the message then keeps the word.
    pub(crate) fn parse(mut words: Words<'_>) -> Failure {
        let before = words.rest().unwrap_or_default();
        let code = Code::from_word(words.next().unwrap_or_default());
        let message = if code == Code::Unknown { before } else { words.rest().unwrap_or_default() };
        Failure { code, message: String::from_utf8_lossy(message).into_owned().into() }
    }

    /// Appends the line, with its LF. Escapes characters that could break the line, and cuts a message
    /// that is too long for it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let _ = write!(out, "FAIL {} {}", self.code, escaped(&self.message));
        if out.len() - start > MAX_LINE_BYTES - 1 {
            let mut end = start + MAX_LINE_BYTES - 1;
            while out[end] & 0xc0 == 0x80 {
                end -= 1;
            }
            out.truncate(end);
        }
        out.push(b'\n');
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", escaped(&self.message), self.code)
    }
}

/// Size, time and version of a file, as `FILE` carries them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileMeta {
    /// The size in bytes.
    pub size: u64,
    /// The time of the last change of the content, where known.
    pub mtime: Option<Time>,
    /// The version.
    pub tag: Tag,
    /// The permissions, where they were asked for.
    pub mode: Option<Mode>,
}

/// The time of a directory, as `DIR` carries it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DirMeta {
    /// The time of the last change of its entries, where known.
    pub mtime: Option<Time>,
    /// The permissions, where they were asked for and are known.
    pub mode: Option<Mode>,
}

/// A server's reply to one request.
///
/// A body follows [`Reply::File`] after GET and READ, and always follows [`Reply::Listing`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// `FILE <size> <mtime> <tag> [mode=<octal>]`
    File(FileMeta),
    /// `DIR <mtime> [mode=<octal>]`
    Dir(DirMeta),
    /// `LISTING`
    Listing,
    /// `SAVED <size> <crc> <tag>`
    Saved {
        /// The size of the whole file in bytes.
        size: u64,
        /// The CRC of the whole file.
        crc: Crc32,
        /// The version that was published.
        tag: Tag,
    },
    /// `GO <offset> [<start>-<end> ...] [crc=<crc>]`
    Go {
        /// Where the body begins.
        offset: u64,
        /// The parts of the file beyond that which are there, in order: only a server that knows parts tells of them.
        parts: Vec<Range<u64>>,
        /// The CRC of the bytes before, of an upload whose size is not known.
        crc: Option<Crc32>,
    },
    /// `KEPT <offset>`: no final reply, but a word inside an upload whose size is not known.
    Kept {
        /// All bytes before are kept, whatever becomes of the connection.
        offset: u64,
    },
    /// `SUM <size> <crc> <tag> [sha256=<digits>]`
    Sum {
        /// The size of the whole file in bytes.
        size: u64,
        /// The CRC of the whole file.
        crc: Crc32,
        /// The version that was read.
        tag: Tag,
        /// The SHA-256 of the whole file, where it was asked for.
        sha256: Option<Sha256>,
    },
    /// `SPACE <total> <free> <available> <staged or *>`
    Space {
        /// The size of the root's file system in bytes.
        total: u64,
        /// Bytes that hold nothing.
        free: u64,
        /// Those of them that the server may fill.
        available: u64,
        /// Bytes that the client's uploads may take before they have their names; [`None`] where no limit holds.
        staged: Option<u64>,
    },
    /// `DONE`
    Done,
    /// `BYE`
    Bye,
    /// `FAIL <code> <message>`
    Fail(Failure),
}

/// The beginning of the word of a FILE or DIR that carries the permissions.
const MODE: &[u8] = b"mode=";

/// The beginning of the word of a GO that carries the CRC of what is kept.
const CRC: &[u8] = b"crc=";

/// The beginning of the word of a SUM that carries the SHA-256.
const SHA256: &[u8] = b"sha256=";

/// The error for a line that is no reply of version 1. Displays escaped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a reply of the protocol: {0}")]
pub struct MalformedReply(String);

impl Reply {
    /// Reads one reply line. Ignores extra words at its end.
    ///
    /// # Errors
    ///
    /// Fails for a line that no server of version 1 sends.
    pub fn parse(line: &[u8]) -> Result<Reply, MalformedReply> {
        Reply::parse_words(line).ok_or_else(|| malformed(line))
    }

    fn parse_words(line: &[u8]) -> Option<Reply> {
        let mut words = Words::new(line);
        let verb = words.next()?;
        let reply = if is_verb(verb, "FILE") {
            Reply::File(FileMeta {
                size: parse_integer(words.next()?)?,
                mtime: Time::parse_known_or_dash(words.next()?)?,
                tag: Tag::from_word(words.next()?).ok()?,
                mode: parse_mode(&mut words).ok()?,
            })
        } else if is_verb(verb, "SAVED") || is_verb(verb, "SUM") {
            let size = parse_integer(words.next()?)?;
            let crc = Crc32::parse(words.next()?)?;
            let tag = Tag::from_word(words.next()?).ok()?;
            if is_verb(verb, "SAVED") {
                Reply::Saved { size, crc, tag }
            } else {
                let word = std::iter::from_fn(|| words.next()).find_map(|word| word.strip_prefix(SHA256));
                let is_small = |digits: &&[u8]| !digits.iter().any(u8::is_ascii_uppercase);
                let parsed = |digits: &[u8]| Some(digits).filter(is_small).and_then(Sha256::parse).ok_or(());
                let sha256 = word.map(parsed).transpose().ok()?;
                Reply::Sum { size, crc, tag, sha256 }
            }
        } else if is_verb(verb, "DIR") {
            let mtime = Time::parse_known_or_dash(words.next()?)?;
            Reply::Dir(DirMeta { mtime, mode: parse_mode(&mut words).ok()? })
        } else if is_verb(verb, "GO") {
            let offset = parse_integer(words.next()?)?;
            let (mut parts, mut crc) = (Vec::new(), None);
            for word in std::iter::from_fn(|| words.next()) {
                match word.strip_prefix(CRC) {
                    Some(digits) => crc = Some(Crc32::parse(digits)?),
                    None => match parse_range(word) {
                        Some(part) => parts.push(part),
                        None => break,
                    },
                }
            }
            Reply::Go { offset, parts, crc }
        } else if is_verb(verb, "KEPT") {
            Reply::Kept { offset: parse_integer(words.next()?)? }
        } else if is_verb(verb, "LISTING") {
            Reply::Listing
        } else if is_verb(verb, "SPACE") {
            Reply::Space {
                total: parse_integer(words.next()?)?,
                free: parse_integer(words.next()?)?,
                available: parse_integer(words.next()?)?,
                staged: match words.next()? {
                    b"*" => None,
                    bytes => Some(parse_integer(bytes)?),
                },
            }
        } else if is_verb(verb, "DONE") {
            Reply::Done
        } else if is_verb(verb, "BYE") {
            Reply::Bye
        } else if is_verb(verb, "FAIL") {
            Reply::Fail(Failure::parse(words))
        } else {
            return None;
        };
        Some(reply)
    }

    /// Appends the line, with its LF.
    pub fn encode(&self, out: &mut Vec<u8>) {
        // Writing to a Vec can't fail.
        let _ = match self {
            // By hand: a server writes this line a hundred thousand times a second.
            Reply::File(FileMeta { size, mtime, tag, mode }) => {
                out.extend_from_slice(b"FILE ");
                push_integer(out, *size);
                out.push(b' ');
                Time::push_known_or_dash(*mtime, out);
                out.push(b' ');
                out.extend_from_slice(tag.as_str().as_bytes());
                let told = mode.iter().try_for_each(|mode| write!(out, " mode={mode}"));
                out.push(b'\n');
                told
            }
            Reply::Dir(DirMeta { mtime, mode }) => {
                let _ = write!(out, "DIR {}", OrDash(*mtime));
                let told = mode.iter().try_for_each(|mode| write!(out, " mode={mode}"));
                out.push(b'\n');
                told
            }
            Reply::Listing => writeln!(out, "LISTING"),
            Reply::Saved { size, crc, tag } => writeln!(out, "SAVED {size} {crc} {tag}"),
            Reply::Go { offset, parts, crc } => {
                let _ = write!(out, "GO {offset}");
                for Range { start, end } in parts {
                    let _ = write!(out, " {start}-{end}");
                }
                let told = crc.iter().try_for_each(|crc| write!(out, " crc={crc}"));
                out.push(b'\n');
                told
            }
            Reply::Kept { offset } => writeln!(out, "KEPT {offset}"),
            Reply::Sum { size, crc, tag, sha256: None } => writeln!(out, "SUM {size} {crc} {tag}"),
            Reply::Sum { size, crc, tag, sha256: Some(sha256) } => {
                writeln!(out, "SUM {size} {crc} {tag} sha256={sha256}")
            }
            Reply::Space { total, free, available, staged } => {
                let staged = staged.map_or_else(|| "*".into(), |bytes| bytes.to_string());
                writeln!(out, "SPACE {total} {free} {available} {staged}")
            }
            Reply::Done => writeln!(out, "DONE"),
            Reply::Bye => writeln!(out, "BYE"),
            Reply::Fail(failure) => {
                failure.encode(out);
                Ok(())
            }
        };
    }
}

/// Finds the permissions among the words that are left. Fails where they are malformed.
fn parse_mode(words: &mut Words<'_>) -> Result<Option<Mode>, ()> {
    let digits = std::iter::from_fn(|| words.next()).find_map(|word| word.strip_prefix(MODE));
    digits.map(|digits| Mode::parse(digits).ok_or(())).transpose()
}

/// Reads `<start>-<end>`, of at least one byte.
fn parse_range(word: &[u8]) -> Option<Range<u64>> {
    let middle = memchr::memchr(b'-', word)?;
    let (start, end) = (parse_integer(&word[..middle])?, parse_integer(&word[middle + 1..])?);
    (start < end).then_some(start..end)
}

/// The first line of every connection: `FERRY 1 <software>/<version> [feature ...]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// The server's program and its version, separated by `/`. For people only.
    pub software: String,
    /// The abilities of this server beyond version 1, and its restrictions.
    pub features: Vec<String>,
}

/// The error for a first line that this version can't go on from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GreetingError {
    /// The server refused the client.
    #[error("{0}")]
    Refused(Failure),
    /// The ferry server speaks another version.
    #[error("the server speaks version {0} of the protocol, this program version {PROTOCOL_VERSION}")]
    Version(u64),
    /// The server is no ferry server.
    #[error("not a ferry server: it says {0}")]
    NotFerry(String),
}

impl Greeting {
    /// The feature of a server that refuses every change.
    pub const READ_ONLY: &str = "read-only";

    /// The feature of a server whose SAVED and DONE do not mean that a change survives a power cut.
    pub const VOLATILE: &str = "volatile";

    /// The feature of a server where users can log in.
    pub const LOGIN: &str = "login";

    /// The feature of a server that knows `WITH if=none`.
    pub const WITH_IF: &str = "with-if";

    /// The feature of a server that knows `WITH if=<tag>`.
    pub const WITH_IF_TAG: &str = "with-if-tag";

    /// The feature of a server that knows `WITH crc=read`.
    pub const WITH_CRC: &str = "with-crc";

    /// The feature of a server that knows `WITH sum=sha256`.
    pub const WITH_SHA256: &str = "with-sha256";

    /// The beginning of the feature of a server that knows `WITH mode=<octal>`; the permissions that it keeps follow.
    pub const WITH_MODE: &str = "with-mode=";

    /// The feature of a server that knows `WITH tell=mode`.
    pub const TELL_MODE: &str = "tell-mode";

    /// The feature of a server that knows of permissions of directories as well, `WITH tell=modes`; and where it keeps any,
    /// `WITH mode=` before MKDIR and TOUCH of one, and with a mask.
    pub const MODES: &str = "modes";

    /// The feature of a server that knows TOUCH.
    pub const TOUCH: &str = "touch";

    /// The feature of a server that knows `HOLE` in bodies, and `WITH holes=yes`.
    pub const HOLES: &str = "holes";

    /// The feature of a server that knows `HOLE` in the body of a part as well.
    pub const PART_HOLES: &str = "part-holes";

    /// The feature of a server that takes parts of a resumable upload on several connections.
    pub const PARTS: &str = "parts";

    /// The feature of a server that takes a resumable upload whose size is not known.
    pub const STREAMS: &str = "streams";

    /// The feature of a server that knows SPACE.
    pub const SPACE: &str = "space";

    /// The beginning of the feature with the server's name among several.
    pub const NODE: &str = "node=";

    /// Returns whether the server announces `feature`.
    #[must_use]
    pub fn has(&self, feature: &str) -> bool {
        self.features.iter().any(|word| word == feature)
    }

    /// Returns the permissions of uploads that the server keeps; [`None`] where it keeps none.
    #[must_use]
    pub fn kept_modes(&self) -> Option<Mode> {
        self.features.iter().find_map(|word| Mode::parse(word.strip_prefix(Greeting::WITH_MODE)?.as_bytes()))
    }

    /// Returns the name of the server among several, where it has one.
    #[must_use]
    pub fn node(&self) -> Option<&str> {
        self.features.iter().find_map(|word| word.strip_prefix(Greeting::NODE))
    }

    /// Reads the first line of a connection.
    ///
    /// # Errors
    ///
    /// Fails for a refusal, for another version, and for a line that is no greeting.
    pub fn parse(line: &[u8]) -> Result<Greeting, GreetingError> {
        let mut words = Words::new(line);
        let verb = words.next().unwrap_or_default();
        if is_verb(verb, "FAIL") {
            return Err(GreetingError::Refused(Failure::parse(words)));
        }
        let not_ferry = || GreetingError::NotFerry(malformed(line).0);
        if !is_verb(verb, "FERRY") {
            return Err(not_ferry());
        }
        let version = words.next().and_then(parse_integer).ok_or_else(not_ferry)?;
        if version != u64::from(PROTOCOL_VERSION) {
            return Err(GreetingError::Version(version));
        }
        let text = |word: &[u8]| String::from_utf8_lossy(word).into_owned();
        let software = words.next().map(text).ok_or_else(not_ferry)?;
        let features = std::iter::from_fn(|| words.next()).filter(|word| !word.is_empty()).map(text).collect();
        Ok(Greeting { software, features })
    }

    /// Appends the line, with its LF.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let _ = write!(out, "FERRY {PROTOCOL_VERSION} {}", self.software);
        for feature in &self.features {
            let _ = write!(out, " {feature}");
        }
        out.push(b'\n');
    }
}

/// Returns the error that shows the first letters of `line`, escaped: enough to see what it is.
pub(crate) fn malformed(line: &[u8]) -> MalformedReply {
    const SHOWN_BYTES: usize = 80;
    let dots = if line.len() > SHOWN_BYTES { "..." } else { "" };
    MalformedReply(format!("{}{dots}", escaped_bytes(&line[..line.len().min(SHOWN_BYTES)])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_stays_one_line_of_legal_length() {
        let mut out = Vec::new();
        Failure::new(Code::Io, "a\nb").encode(&mut out);
        assert_eq!(out, b"FAIL io a\\u{a}b\n");

        out.clear();
        Failure::new(Code::Io, "é".repeat(4096)).encode(&mut out);
        assert!(out.len() <= MAX_LINE_BYTES && out.ends_with(b"\n"));
        assert!(std::str::from_utf8(&out).is_ok());
    }

    #[test]
    fn codes_of_the_future_are_plain_failure_and_stay_readable() {
        let Ok(Reply::Fail(failure)) = Reply::parse(b"FAIL too-hot the disk melts") else { panic!() };
        assert_eq!((failure.code, &*failure.message), (Code::Unknown, "too-hot the disk melts"));
        assert!(matches!(Reply::parse(b"FAIL"), Ok(Reply::Fail(_))));
    }

    #[test]
    fn extra_words_are_ignored_and_missing_ones_are_not() {
        assert_eq!(Reply::parse(b"DONE and dusted"), Ok(Reply::Done));
        let go = |parts, crc| Reply::Go { offset: 5, parts, crc };
        assert_eq!(Reply::parse(b"GO 5 now"), Ok(go(Vec::new(), None)));
        assert_eq!(Reply::parse(b"go 5 crc=cbf43926 now"), Ok(go(Vec::new(), Some(Crc32(0xcbf4_3926)))));
        assert_eq!(Reply::parse(b"KEPT 5 so far"), Ok(Reply::Kept { offset: 5 }));
        for line in ["GO 5 crc=", "GO 5 crc=CBF43926", "GO 5 crc=-", "KEPT", "KEPT -", "KEPT 05"] {
            assert!(Reply::parse(line.as_bytes()).is_err(), "{line:?}");
        }
        let sum = |sha256| Reply::Sum { size: 0, crc: Crc32::EMPTY, tag: Tag::new("t").unwrap(), sha256 };
        let empty = Sha256::of(b"");
        assert_eq!(Reply::parse(b"SUM 0 00000000 t of late"), Ok(sum(None)));
        assert_eq!(Reply::parse(format!("SUM 0 00000000 t of sha256={empty} late").as_bytes()), Ok(sum(Some(empty))));
        assert!(Reply::parse(b"SUM 0 00000000 t sha256=e3b0").is_err());
        let file = |mode| FileMeta { size: 5, mtime: None, tag: Tag::new("t").unwrap(), mode };
        assert_eq!(Reply::parse(b"FILE 5 - t of late"), Ok(Reply::File(file(None))));
        assert_eq!(Reply::parse(b"FILE 5 - t of mode=640 late"), Ok(Reply::File(file(Some(Mode::of(0o640))))));
        assert!(Reply::parse(b"FILE 5 - t mode=4755").is_err());
        let directory = |mode| Reply::Dir(DirMeta { mtime: Time::new(5, 0), mode });
        assert_eq!(Reply::parse(b"DIR 5 mode=750 late"), Ok(directory(Some(Mode::of(0o750)))));
        assert_eq!(Reply::parse(b"DIR 5 late"), Ok(directory(None)));
        assert!(Reply::parse(b"DIR 5 mode=1777").is_err());
        let parts = vec![7..9, 12..13];
        assert_eq!(Reply::parse(b"GO 5 7-9 12-13 14-14 20-30"), Ok(go(parts, None)));
        let space = |staged| Reply::Space { total: 9, free: 5, available: 4, staged };
        assert_eq!(Reply::parse(b"SPACE 9 5 4 * of late"), Ok(space(None)));
        assert_eq!(Reply::parse(b"space 9 5 4 3"), Ok(space(Some(3))));
        for line in ["SPACE", "SPACE 9 5 4", "SPACE 9 5 * *", "SPACE 9 5 4 -", "SPACE -9 5 4 *"] {
            assert!(Reply::parse(line.as_bytes()).is_err(), "{line:?}");
        }
        for line in
            ["", "FILE", "FILE 1 -", "FILE 1 - bad.tag", "FILE -1 - t", "SAVED 1 - t", "SUM 1 cbf4392 t", "GO", "WAT"]
        {
            assert!(Reply::parse(line.as_bytes()).is_err(), "{line:?}");
        }
    }

    #[test]
    fn greetings() {
        let greeting = Greeting::parse(b"FERRY 1 ferryd/0.1.0 read-only x").unwrap();
        assert_eq!((greeting.software.as_str(), greeting.features.len()), ("ferryd/0.1.0", 2));
        assert!(greeting.has(Greeting::READ_ONLY) && !greeting.has(Greeting::VOLATILE));
        let mut out = Vec::new();
        greeting.encode(&mut out);
        assert_eq!(out, b"FERRY 1 ferryd/0.1.0 read-only x\n");

        assert!(matches!(Greeting::parse(b"FERRY 2 x/1"), Err(GreetingError::Version(2))));
        assert!(matches!(Greeting::parse(b"FAIL busy later"), Err(GreetingError::Refused(_))));
        for line in ["HTTP/1.1 400 Bad Request", "220 vsFTPd 3.0", "", "FERRY", "FERRY x y", "FERRY 1"] {
            assert!(matches!(Greeting::parse(line.as_bytes()), Err(GreetingError::NotFerry(_))), "{line:?}");
        }
    }
}
