//! The requests of a client.

use std::io::Write as _;

use crate::{
    code::Code,
    escape::escaped_bytes,
    login::{Secret, SecretError, UserName, UserNameError},
    mode::AskedMode,
    name::{BROWSER_ENDINGS, Name, NameError},
    number::parse_integer,
    reply::Failure,
    time::{OrDash, Time},
    token::{Id, Tag},
    words::{Words, is_verb},
};

/// One request. The body, where the request has one, follows on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// `GET <name>`
    Get {
        /// The file.
        name: Name,
    },
    /// `READ <offset> <length or *> <tag or *> <name>`
    Read {
        /// The first byte wanted.
        offset: u64,
        /// The number of bytes wanted; [`None`] for all that follow.
        length: Option<u64>,
        /// The version wanted; [`None`] for any.
        tag: Option<Tag>,
        /// The file.
        name: Name,
    },
    /// `PUT <size or -> <mtime or -> <name>`, then a body.
    Put {
        /// The size in bytes, where the client knows it.
        size: Option<u64>,
        /// The time to give to the file; [`None`] for now.
        mtime: Option<Time>,
        /// The file.
        name: Name,
    },
    /// `RESUME <id> <size or -> <mtime or -> <name>`; after `GO`, a body.
    Resume {
        /// The upload that this begins or goes on with.
        id: Id,
        /// The size of the whole file in bytes; [`None`] where its end alone tells, which only some servers take.
        size: Option<u64>,
        /// The time to give to the file; [`None`] for now.
        mtime: Option<Time>,
        /// The file.
        name: Name,
    },
    /// `PART <id> <offset> <length> <name>`, then a body: a part of the upload that another connection holds.
    Part {
        /// The upload.
        id: Id,
        /// The first byte of the part in the file.
        offset: u64,
        /// Bytes of the part.
        length: u64,
        /// The file.
        name: Name,
    },
    /// `LIST` or `LIST <name>`
    List {
        /// The directory; [`None`] for the root.
        name: Option<Name>,
    },
    /// `STAT <name>`
    Stat {
        /// The file or directory.
        name: Name,
    },
    /// `SUM <name>`
    Sum {
        /// The file.
        name: Name,
    },
    /// `MKDIR <name>`
    Mkdir {
        /// The directory to make.
        name: Name,
    },
    /// `DELETE <name>`
    Delete {
        /// The file or empty directory.
        name: Name,
    },
    /// `RENAME <from>//<to>`
    Rename {
        /// The old name, which exists.
        from: Name,
        /// The new name, which does not exist yet.
        to: Name,
    },
    /// `TOUCH <mtime or -> <name>`
    Touch {
        /// The time to set; [`None`] for the server's own.
        mtime: Option<Time>,
        /// The file or directory.
        name: Name,
    },
    /// `LOGIN <user> <secret>`
    Login {
        /// The user.
        user: UserName,
        /// The password or token.
        secret: Secret,
    },
    /// `WITH <key>=<value> ...`: options for the next request.
    With(Options),
    /// `HEALTH`: whether the server's root answers.
    Health,
    /// `SPACE`: how much room there is.
    Space,
    /// `CLOSE`
    Close,
}

/// The options of a WITH.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// `if=none`: an upload fails with `exists` where its name is taken when it is published.
    pub if_none: bool,
    /// `if=<tag>`: an upload fails with `changed` where its name is not that of this version when it is published.
    pub if_tag: Option<Tag>,
    /// `crc=read`: the CRC that is answered is computed of bytes that are read for this request, and not remembered.
    pub crc_read: bool,
    /// `sum=sha256`: a SUM is answered with the SHA-256, too.
    pub sha256: bool,
    /// `mode=<octal>` or `mode=<octal>/<octal>`: a file or directory gets these permissions, of those that the server keeps.
    pub mode: Option<AskedMode>,
    /// `tell=mode` or `tell=modes`: permissions are told.
    pub tells_modes: TellsModes,
    /// `holes=yes`: holes of files are not sent.
    pub leaves_holes: bool,
    /// An option that this version does not know was among them, or two that can't hold together.
    pub has_unknown: bool,
}

/// The things whose permissions are told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TellsModes {
    /// None.
    #[default]
    No,
    /// Files: `tell=mode`.
    OfFiles,
    /// Files and directories: `tell=modes`.
    OfAll,
}

impl Options {
    /// Returns these options and `others`.
    #[must_use]
    pub fn and(self, others: Options) -> Options {
        let if_none = self.if_none || others.if_none;
        let are_two = matches!((&self.if_tag, &others.if_tag), (Some(one), Some(other)) if one != other);
        let are_two_modes = matches!((self.mode, others.mode), (Some(one), Some(other)) if one != other);
        let if_tag = self.if_tag.or(others.if_tag);
        Options {
            if_none,
            crc_read: self.crc_read || others.crc_read,
            sha256: self.sha256 || others.sha256,
            mode: self.mode.or(others.mode),
            tells_modes: self.tells_modes.max(others.tells_modes),
            leaves_holes: self.leaves_holes || others.leaves_holes,
            has_unknown: self.has_unknown
                || others.has_unknown
                || are_two
                || are_two_modes
                || if_none && if_tag.is_some(),
            if_tag,
        }
    }
}

/// The error for a line that is no request: what to answer, and how to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The request fails and the connection goes on.
    Request {
        /// The answer.
        failure: Failure,
        /// Whether a body follows, to be discarded: the verb was PUT or PART.
        body_follows: bool,
    },
    /// The line was a WITH that sets no option: the request after it fails with this.
    With(Failure),
    /// The stream can't be followed any further: answer, then close.
    Stream(Failure),
}

/// The verbs of requests that a body follows at once, whatever else their line says.
const WITH_BODY: [&str; 2] = ["PUT", "PART"];

impl Request {
    /// Returns whether a body follows, without waiting for an answer.
    #[must_use]
    pub fn brings_body(&self) -> bool {
        WITH_BODY.contains(&self.verb())
    }

    /// Returns whether `line` is a LOGIN, well-formed or not: it may hold a secret.
    #[must_use]
    pub fn may_hold_secret(line: &[u8]) -> bool {
        line.get(..5).is_some_and(|verb| verb.eq_ignore_ascii_case(b"LOGIN"))
    }

    /// Reads one request line.
    ///
    /// # Errors
    ///
    /// Returns the answer to a line that is no request, and how to go on.
    pub fn parse(line: &[u8]) -> Result<Request, Refusal> {
        if BROWSER_ENDINGS.iter().any(|ending| line.ends_with(ending.as_bytes())) {
            return Err(stream("this is a ferry server, it speaks no HTTP"));
        }
        let mut words = Words::new(line);
        let verb = words.next().unwrap_or_default();
        let Some(syntax) = REQUESTS.iter().find(|syntax| is_verb(verb, syntax.verb)) else {
            return Err(unknown(verb));
        };
        (syntax.parse)(words).map_err(|error| match (syntax.verb, error) {
            ("WITH", _) => Refusal::With(usage(syntax)),
            (_, ArgumentError::Secret(error)) => refuse(Failure::new(Code::BadRequest, error.to_string()), false),
            (_, ArgumentError::User(error)) => refuse(Failure::new(Code::BadRequest, error.to_string()), false),
            (verb, ArgumentError::Usage) => refuse(usage(syntax), WITH_BODY.contains(&verb)),
            (verb, ArgumentError::Name(error)) => {
                refuse(Failure::new(Code::BadName, error.to_string()), WITH_BODY.contains(&verb))
            }
        })
    }

    /// Returns the verb on the wire.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        match self {
            Request::Get { .. } => "GET",
            Request::Read { .. } => "READ",
            Request::Put { .. } => "PUT",
            Request::Resume { .. } => "RESUME",
            Request::Part { .. } => "PART",
            Request::List { .. } => "LIST",
            Request::Stat { .. } => "STAT",
            Request::Sum { .. } => "SUM",
            Request::Mkdir { .. } => "MKDIR",
            Request::Delete { .. } => "DELETE",
            Request::Rename { .. } => "RENAME",
            Request::Touch { .. } => "TOUCH",
            Request::Login { .. } => "LOGIN",
            Request::With(_) => "WITH",
            Request::Health => "HEALTH",
            Request::Space => "SPACE",
            Request::Close => "CLOSE",
        }
    }

    /// Appends the line, with its LF. Options that this version does not know are not kept, so a [`Request::With`] that
    /// has nothing else appends the bare verb.
    pub fn encode(&self, out: &mut Vec<u8>) {
        // Writing to a Vec can't fail.
        let _ = match self {
            Request::Get { name } | Request::Stat { name } | Request::Sum { name } => {
                writeln!(out, "{} {name}", self.verb())
            }
            Request::Mkdir { name } | Request::Delete { name } => writeln!(out, "{} {name}", self.verb()),
            Request::Read { offset, length, tag, name } => {
                let length = length.map_or_else(|| "*".into(), |length| length.to_string());
                writeln!(out, "READ {offset} {length} {} {name}", tag.as_ref().map_or("*", Tag::as_str))
            }
            Request::Put { size, mtime, name } => {
                let size = size.map_or_else(|| "-".into(), |size| size.to_string());
                writeln!(out, "PUT {size} {} {name}", OrDash(*mtime))
            }
            Request::Resume { id, size, mtime, name } => {
                let size = size.map_or_else(|| "-".into(), |size| size.to_string());
                writeln!(out, "RESUME {id} {size} {} {name}", OrDash(*mtime))
            }
            Request::Part { id, offset, length, name } => writeln!(out, "PART {id} {offset} {length} {name}"),
            Request::List { name: None } => writeln!(out, "LIST"),
            Request::List { name: Some(name) } => writeln!(out, "LIST {name}"),
            Request::Rename { from, to } => writeln!(out, "RENAME {from}//{to}"),
            Request::Touch { mtime, name } => writeln!(out, "TOUCH {} {name}", OrDash(*mtime)),
            Request::Login { user, secret } => writeln!(out, "LOGIN {user} {}", secret.expose()),
            Request::With(options) => {
                let Options { if_none, if_tag, crc_read, sha256, mode, tells_modes, leaves_holes, has_unknown: _ } =
                    options;
                let options = [
                    (if_none, " if=none"),
                    (crc_read, " crc=read"),
                    (sha256, " sum=sha256"),
                    (&(*tells_modes == TellsModes::OfFiles), " tell=mode"),
                    (&(*tells_modes == TellsModes::OfAll), " tell=modes"),
                    (leaves_holes, " holes=yes"),
                ];
                out.extend_from_slice(b"WITH");
                options
                    .iter()
                    .filter(|(is_set, _)| **is_set)
                    .for_each(|(_, word)| out.extend_from_slice(word.as_bytes()));
                let tag = if_tag.iter().try_for_each(|tag| write!(out, " if={tag}"));
                let mode = mode.iter().try_for_each(|mode| write!(out, " mode={mode}"));
                tag.and(mode).and_then(|()| writeln!(out))
            }
            Request::Health => writeln!(out, "HEALTH"),
            Request::Space => writeln!(out, "SPACE"),
            Request::Close => writeln!(out, "CLOSE"),
        };
    }
}

/// An error in the arguments of a known verb.
enum ArgumentError {
    Usage,
    Name(NameError),
    User(UserNameError),
    Secret(SecretError),
}

impl From<NameError> for ArgumentError {
    fn from(error: NameError) -> ArgumentError {
        ArgumentError::Name(error)
    }
}

impl From<UserNameError> for ArgumentError {
    fn from(error: UserNameError) -> ArgumentError {
        ArgumentError::User(error)
    }
}

impl From<SecretError> for ArgumentError {
    fn from(error: SecretError) -> ArgumentError {
        ArgumentError::Secret(error)
    }
}

struct Syntax {
    verb: &'static str,
    usage: &'static str,
    parse: fn(Words<'_>) -> Result<Request, ArgumentError>,
}

/// The table of requests.
const REQUESTS: &[Syntax] = &[
    Syntax { verb: "GET", usage: "GET <name>", parse: |words| Ok(Request::Get { name: name(words)? }) },
    Syntax { verb: "READ", usage: "READ <offset> <length or *> <tag or *> <name>", parse: read },
    Syntax { verb: "PUT", usage: "PUT <size or -> <mtime or -> <name>", parse: put },
    Syntax { verb: "RESUME", usage: "RESUME <id> <size or -> <mtime or -> <name>", parse: resume },
    Syntax { verb: "PART", usage: "PART <id> <offset> <length> <name>", parse: part },
    Syntax { verb: "LIST", usage: "LIST [<name>]", parse: list },
    Syntax { verb: "STAT", usage: "STAT <name>", parse: |words| Ok(Request::Stat { name: name(words)? }) },
    Syntax { verb: "SUM", usage: "SUM <name>", parse: |words| Ok(Request::Sum { name: name(words)? }) },
    Syntax { verb: "MKDIR", usage: "MKDIR <name>", parse: |words| Ok(Request::Mkdir { name: name(words)? }) },
    Syntax { verb: "DELETE", usage: "DELETE <name>", parse: |words| Ok(Request::Delete { name: name(words)? }) },
    Syntax { verb: "RENAME", usage: "RENAME <from>//<to>", parse: rename },
    Syntax { verb: "TOUCH", usage: "TOUCH <mtime or -> <name>", parse: touch },
    Syntax { verb: "LOGIN", usage: "LOGIN <user> <secret>", parse: login },
    Syntax { verb: "WITH", usage: "WITH <key>=<value> ...", parse: with },
    Syntax { verb: "HEALTH", usage: "HEALTH", parse: |words| alone(words, Request::Health) },
    Syntax { verb: "SPACE", usage: "SPACE", parse: |words| alone(words, Request::Space) },
    Syntax { verb: "CLOSE", usage: "CLOSE", parse: |_| Ok(Request::Close) },
];

fn name(words: Words<'_>) -> Result<Name, ArgumentError> {
    Ok(Name::from_bytes(words.rest().ok_or(ArgumentError::Usage)?)?)
}

fn read(mut words: Words<'_>) -> Result<Request, ArgumentError> {
    let offset = words.next().and_then(parse_integer).ok_or(ArgumentError::Usage)?;
    let length = match words.next().ok_or(ArgumentError::Usage)? {
        b"*" => None,
        word => Some(parse_integer(word).ok_or(ArgumentError::Usage)?),
    };
    let tag = match words.next().ok_or(ArgumentError::Usage)? {
        b"*" => None,
        word => Some(Tag::from_word(word).map_err(|_| ArgumentError::Usage)?),
    };
    Ok(Request::Read { offset, length, tag, name: name(words)? })
}

/// Reads the size of an upload, or the dash in place of one.
fn size(words: &mut Words<'_>) -> Result<Option<u64>, ArgumentError> {
    match words.next().ok_or(ArgumentError::Usage)? {
        b"-" => Ok(None),
        word => Ok(Some(parse_integer(word).ok_or(ArgumentError::Usage)?)),
    }
}

fn put(mut words: Words<'_>) -> Result<Request, ArgumentError> {
    let size = size(&mut words)?;
    let mtime = words.next().and_then(Time::parse_known_or_dash).ok_or(ArgumentError::Usage)?;
    Ok(Request::Put { size, mtime, name: name(words)? })
}

fn resume(mut words: Words<'_>) -> Result<Request, ArgumentError> {
    let id = words.next().and_then(|word| Id::from_word(word).ok()).ok_or(ArgumentError::Usage)?;
    let size = size(&mut words)?;
    let mtime = words.next().and_then(Time::parse_known_or_dash).ok_or(ArgumentError::Usage)?;
    Ok(Request::Resume { id, size, mtime, name: name(words)? })
}

fn part(mut words: Words<'_>) -> Result<Request, ArgumentError> {
    let id = words.next().and_then(|word| Id::from_word(word).ok()).ok_or(ArgumentError::Usage)?;
    let offset = words.next().and_then(parse_integer).ok_or(ArgumentError::Usage)?;
    let length = words.next().and_then(parse_integer).ok_or(ArgumentError::Usage)?;
    Ok(Request::Part { id, offset, length, name: name(words)? })
}

fn list(words: Words<'_>) -> Result<Request, ArgumentError> {
    match words.rest() {
        None => Ok(Request::List { name: None }),
        Some(_) => Ok(Request::List { name: Some(name(words)?) }),
    }
}

/// Reads two names at the first `//`, which no name holds.
fn rename(words: Words<'_>) -> Result<Request, ArgumentError> {
    let both = words.rest().ok_or(ArgumentError::Usage)?;
    let middle = memchr::memmem::find(both, b"//").ok_or(ArgumentError::Usage)?;
    let from = Name::from_bytes(&both[..middle])?;
    let to = Name::from_bytes(&both[middle + 2..])?;
    Ok(Request::Rename { from, to })
}

fn touch(mut words: Words<'_>) -> Result<Request, ArgumentError> {
    let mtime = words.next().and_then(Time::parse_known_or_dash).ok_or(ArgumentError::Usage)?;
    Ok(Request::Touch { mtime, name: name(words)? })
}

fn login(mut words: Words<'_>) -> Result<Request, ArgumentError> {
    let user = words.next().ok_or(ArgumentError::Usage)?;
    let secret = words.rest().ok_or(ArgumentError::Usage)?;
    Ok(Request::Login { user: UserName::from_word(user)?, secret: Secret::from_bytes(secret)? })
}

fn with(words: Words<'_>) -> Result<Request, ArgumentError> {
    let mut words = Words::new(words.rest().ok_or(ArgumentError::Usage)?);
    let mut options = Options::default();
    while let Some(word) = words.next() {
        if memchr::memchr(b'=', word).is_none_or(|at| at == 0) {
            return Err(ArgumentError::Usage);
        }
        options = options.and(option(word));
    }
    Ok(Request::With(options))
}

/// Returns the option that one word asks for.
fn option(word: &[u8]) -> Options {
    let tag = || word.strip_prefix(b"if=").and_then(|tag| Tag::from_word(tag).ok());
    match word {
        b"if=none" => Options { if_none: true, ..Options::default() },
        b"crc=read" => Options { crc_read: true, ..Options::default() },
        b"sum=sha256" => Options { sha256: true, ..Options::default() },
        b"tell=mode" => Options { tells_modes: TellsModes::OfFiles, ..Options::default() },
        b"tell=modes" => Options { tells_modes: TellsModes::OfAll, ..Options::default() },
        b"holes=yes" => Options { leaves_holes: true, ..Options::default() },
        _ => match (tag(), word.strip_prefix(b"mode=").and_then(AskedMode::parse)) {
            (Some(tag), _) => Options { if_tag: Some(tag), ..Options::default() },
            (None, Some(mode)) => Options { mode: Some(mode), ..Options::default() },
            (None, None) => Options { has_unknown: true, ..Options::default() },
        },
    }
}

/// Reads a request that has no arguments, and refuses those of a later version.
fn alone(words: Words<'_>, request: Request) -> Result<Request, ArgumentError> {
    if words.rest().is_some() { Err(ArgumentError::Usage) } else { Ok(request) }
}

fn usage(syntax: &Syntax) -> Failure {
    Failure::new(Code::BadRequest, format!("the request is: {}", syntax.usage))
}

fn refuse(failure: Failure, body_follows: bool) -> Refusal {
    Refusal::Request { failure, body_follows }
}

fn stream(message: &'static str) -> Refusal {
    Refusal::Stream(Failure::new(Code::BadRequest, message))
}

fn unknown(verb: &[u8]) -> Refusal {
    if ["DATA", "END", "JOIN", "STOP"].iter().any(|word| is_verb(verb, word)) {
        return stream("a block or closing line where a request is due");
    }
    if verb.is_empty() {
        return refuse(Failure::new(Code::BadRequest, "an empty line is no request"), false);
    }
    const SHOWN_BYTES: usize = 32;
    let shown = escaped_bytes(&verb[..verb.len().min(SHOWN_BYTES)]);
    refuse(Failure::new(Code::UnknownCommand, format!("no request is called {shown}")), false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{MAX_LINE_BYTES, MAX_SECRET_BYTES, MAX_USER_BYTES};
    use crate::mode::Mode;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn with(if_none: bool, crc_read: bool, has_unknown: bool) -> Request {
        Request::With(Options { if_none, crc_read, has_unknown, ..Options::default() })
    }

    fn if_tag(tag: &str, if_none: bool, has_unknown: bool) -> Request {
        let if_tag = Some(Tag::new(tag).unwrap());
        Request::With(Options { if_tag, if_none, has_unknown, ..Options::default() })
    }

    fn tells(tells_modes: TellsModes) -> Request {
        Request::With(Options { tells_modes, ..Options::default() })
    }

    fn user(text: &str) -> UserName {
        UserName::new(text).unwrap()
    }

    fn secret(text: &str) -> Secret {
        Secret::from_bytes(text.as_bytes()).unwrap()
    }

    #[test]
    fn requests_are_read_with_verbs_in_any_case_and_names_to_the_end() {
        let owners = AskedMode { mode: Mode::OWNER, mask: Mode::OWNER };
        for (line, expected) in [
            ("GET a", Request::Get { name: name("a") }),
            ("get a file  with spaces ", Request::Get { name: name("a file  with spaces ") }),
            ("GET  a", Request::Get { name: name(" a") }),
            ("READ 0 * * a", Request::Read { offset: 0, length: None, tag: None, name: name("a") }),
            (
                "Read 7 5 t-1 a b",
                Request::Read { offset: 7, length: Some(5), tag: Some(Tag::new("t-1").unwrap()), name: name("a b") },
            ),
            ("PUT - - x", Request::Put { size: None, mtime: None, name: name("x") }),
            ("PUT 5 7.5 x", Request::Put { size: Some(5), mtime: Time::new(7, 500_000_000), name: name("x") }),
            (
                "RESUME id 9 - x",
                Request::Resume { id: Id::new("id").unwrap(), size: Some(9), mtime: None, name: name("x") },
            ),
            (
                "resume id - 5 x",
                Request::Resume { id: Id::new("id").unwrap(), size: None, mtime: Time::new(5, 0), name: name("x") },
            ),
            ("part id 7 5 x y", Request::Part { id: Id::new("id").unwrap(), offset: 7, length: 5, name: name("x y") }),
            ("LIST", Request::List { name: None }),
            ("LIST a/b", Request::List { name: Some(name("a/b")) }),
            ("TOUCH 1.5 a b", Request::Touch { mtime: Time::new(1, 500_000_000), name: name("a b") }),
            ("touch - a", Request::Touch { mtime: None, name: name("a") }),
            ("RENAME a/b//c d", Request::Rename { from: name("a/b"), to: name("c d") }),
            ("LOGIN alice  a b ", Request::Login { user: user("alice"), secret: secret(" a b ") }),
            ("login A.b-c_9 pässwörd", Request::Login { user: user("A.b-c_9"), secret: secret("pässwörd") }),
            ("WITH a=b c=", with(false, false, true)),
            ("WITH if=none", with(true, false, false)),
            ("WITH if=t-1", if_tag("t-1", false, false)),
            ("WITH if=t-1 if=t-1", if_tag("t-1", false, false)),
            ("WITH if=t-1 if=t-2", if_tag("t-1", false, true)),
            ("WITH if=none if=t-1", if_tag("t-1", true, true)),
            ("WITH if=t.1", with(false, false, true)),
            ("WITH if=", with(false, false, true)),
            ("WITH IF=none", with(false, false, true)),
            ("WITH crc=read", with(false, true, false)),
            ("WITH crc=read if=none", with(true, true, false)),
            ("WITH crc=", with(false, false, true)),
            ("WITH sum=sha256", Request::With(Options { sha256: true, ..Options::default() })),
            ("WITH sum=SHA256", with(false, false, true)),
            ("WITH sum=md5", with(false, false, true)),
            ("WITH mode=0755", Request::With(Options { mode: Some(Mode::of(0o755).into()), ..Options::default() })),
            ("WITH mode=0700/700", Request::With(Options { mode: Some(owners), ..Options::default() })),
            ("WITH mode=0700/700 mode=700/0700", Request::With(Options { mode: Some(owners), ..Options::default() })),
            ("WITH mode=700/7000", with(false, false, true)),
            ("WITH holes=yes", Request::With(Options { leaves_holes: true, ..Options::default() })),
            ("WITH holes=no", with(false, false, true)),
            ("WITH tell=mode", tells(TellsModes::OfFiles)),
            ("WITH tell=modes", tells(TellsModes::OfAll)),
            ("WITH tell=modes tell=mode", tells(TellsModes::OfAll)),
            ("WITH tell=Modes", with(false, false, true)),
            ("WITH mode=4755", with(false, false, true)),
            ("WITH mode=", with(false, false, true)),
            ("health", Request::Health),
            ("space", Request::Space),
            ("CLOSE the door", Request::Close),
        ] {
            assert_eq!(Request::parse(line.as_bytes()), Ok(expected), "{line:?}");
        }
    }

    #[test]
    fn a_bad_request_fails_alone() {
        for (line, code, body) in [
            ("", Code::BadRequest, false),
            (" GET a", Code::BadRequest, false),
            ("GET", Code::BadRequest, false),
            ("GET ", Code::BadName, false),
            ("LIST ", Code::BadName, false),
            ("LIST /", Code::BadName, false),
            ("GET ../x", Code::BadName, false),
            ("READ 1 2 a", Code::BadRequest, false),
            ("READ -1 2 * a", Code::BadRequest, false),
            ("READ 9223372036854775808 * * a", Code::BadRequest, false),
            ("RESUME a.b 1 - x", Code::BadRequest, false),
            ("RESUME a -- - x", Code::BadRequest, false),
            ("RESUME a - x", Code::BadRequest, false),
            ("TOUCH", Code::BadRequest, false),
            ("TOUCH a", Code::BadRequest, false),
            ("TOUCH 1", Code::BadRequest, false),
            ("TOUCH 1 ", Code::BadName, false),
            ("RENAME a", Code::BadRequest, false),
            ("RENAME //a", Code::BadName, false),
            ("RENAME a//", Code::BadName, false),
            ("RENAME a///b", Code::BadName, false),
            ("PUT", Code::BadRequest, true),
            ("put 01 - x", Code::BadRequest, true),
            ("PUT 1 - ", Code::BadName, true),
            ("PUT 1 -", Code::BadRequest, true),
            ("PART", Code::BadRequest, true),
            ("part id 1 - x", Code::BadRequest, true),
            ("PART a.b 1 1 x", Code::BadRequest, true),
            ("PART id 1 1 ../x", Code::BadName, true),
            ("PARTS id 1 1 x", Code::UnknownCommand, false),
            ("LOGIN", Code::BadRequest, false),
            ("LOGIN alice", Code::BadRequest, false),
            ("LOGIN alice ", Code::BadRequest, false),
            ("LOGIN  alice x", Code::BadRequest, false),
            ("LOGIN al/ice x", Code::BadRequest, false),
            ("LOGIN alice a\tb", Code::BadRequest, false),
            ("HEALTH a", Code::BadRequest, false),
            ("PUTS 1 - x", Code::UnknownCommand, false),
            ("FROB", Code::UnknownCommand, false),
        ] {
            let Err(Refusal::Request { failure, body_follows }) = Request::parse(line.as_bytes()) else {
                panic!("{line:?}: {:?}", Request::parse(line.as_bytes()));
            };
            assert_eq!((failure.code, body_follows), (code, body), "{line:?}");
        }
    }

    #[test]
    fn a_name_that_is_not_utf8_is_a_bad_name() {
        let refusal = Request::parse(b"PUT 1 - a\xff").unwrap_err();
        assert!(matches!(
            refusal,
            Refusal::Request { failure: Failure { code: Code::BadName, .. }, body_follows: true }
        ));
    }

    #[test]
    fn some_lines_end_the_stream() {
        for line in ["DATA 5", "END -", "join 00000000", "stop", "GET / HTTP/1.1", "PUT /x HTTP/1.0", "x HTTP/1.1"] {
            assert!(matches!(Request::parse(line.as_bytes()), Err(Refusal::Stream(_))), "{line:?}");
        }
        for line in ["WITH", "WITH ", "WITH a", "WITH =b", "WITH a=b  c=d"] {
            assert!(matches!(Request::parse(line.as_bytes()), Err(Refusal::With(_))), "{line:?}");
        }
    }

    #[test]
    fn the_longest_user_and_secret_fit_a_line_and_no_secret_is_shown() {
        let (name, text) = ("u".repeat(MAX_USER_BYTES), "hunter2".repeat(600)[..MAX_SECRET_BYTES].to_owned());
        let request = Request::Login { user: user(&name), secret: secret(&text) };
        let mut out = Vec::new();
        request.encode(&mut out);
        assert!(out.len() <= MAX_LINE_BYTES);
        assert_eq!(Request::parse(&out[..out.len() - 1]), Ok(request.clone()));
        assert!(!format!("{request:?}").contains("hunter2"));
        for line in [format!("LOGIN a {text}hunter2"), "LOGIN a hunter2\u{1}".into(), "LOGIN /hunter2 hunter2".into()] {
            let Err(Refusal::Request { failure, .. }) = Request::parse(line.as_bytes()) else { panic!() };
            assert!(!failure.message.contains("hunter2"), "{failure}");
        }
    }

    #[test]
    fn a_failure_repeats_nothing_of_the_peer_unescaped() {
        let Err(Refusal::Request { failure, .. }) = Request::parse(b"\x1b[2J\xff x") else { panic!() };
        assert_eq!(failure.message, "no request is called \\u{1b}[2J\\xff");
    }
}
