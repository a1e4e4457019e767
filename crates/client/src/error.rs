//! Errors: how a call fails, and whose fault it is.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    time::Duration,
};

use ferry_wire::{Code, Failure, NameError};

use crate::{address::Address, login::LoginProblem, trust::Untrusted};

/// Why a request was not done. Displays as one line for people; text of the server in it is escaped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nobody listens there.
    #[error("nobody listens on {address}; to start a server there: {}", .address.server_command())]
    Refused {
        /// Where.
        address: Address,
    },
    /// The host has no address, or no way leads to it.
    #[error("cannot reach {address}: {}", plain(.source))]
    Unreachable {
        /// Where.
        address: Address,
        /// The system's error.
        source: io::Error,
    },
    /// Something else listens there.
    #[error("{address} is no ferry server: {stranger}; to start one: ferryd PORT")]
    NotFerry {
        /// Where.
        address: Address,
        /// The program that it seems to be.
        stranger: Stranger,
    },
    /// A ferry server of another version.
    #[error("{address} speaks version {version} of the protocol, this program version 1: update the older one")]
    Version {
        /// Where.
        address: Address,
        /// The version it speaks.
        version: u64,
    },
    /// TLS could not be spoken with the server.
    #[error("{problem}")]
    Tls {
        /// Why, and what may be done.
        problem: String,
        /// Whether the connection ended in the handshake, without a reason: so does that of a server which ends then.
        is_cut: bool,
    },
    /// The server could not show that it is the one that was meant; nothing was sent to it.
    #[error(transparent)]
    Untrusted(#[from] Box<Untrusted>),
    /// The user is not logged in. While connecting there is no connection then; else it goes on.
    #[error("cannot log in as {user}: {problem}")]
    Login {
        /// The name of the user.
        user: String,
        /// Why.
        problem: LoginProblem,
    },
    /// There is no connection (any more).
    #[error("not connected")]
    NotConnected,
    /// The server answered FAIL. Unless it closed as well, the connection goes on.
    #[error("the server says: {0}")]
    Server(Failure),
    /// The connection ended where more was due, or while nothing was asked.
    #[error("the server closed the connection{}", said(.0.as_ref()))]
    Closed(Option<Failure>),
    /// TLS broke where it was spoken already: what came is not what the server sealed, or the server gave it up. Displays why.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The server that files are read from, to be stored on another one: see [`Client::relay`](crate::Client::relay).
    #[error("{address}: {error}")]
    AtSource {
        /// Where it is.
        address: Address,
        /// How it fails there.
        error: Box<Error>,
    },
    /// The server broke the protocol.
    #[error("the server broke the protocol: {0}")]
    Violation(String),
    /// The bytes are not those that were sent. A download that fails so leaves nothing behind.
    #[error("verification failed: {0}")]
    Verification(String),
    /// The local system refused.
    #[error("cannot {what} {}: {}", shown(.path), plain(.source))]
    Local {
        /// The attempt, as a verb.
        what: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A local file is not what it would have to be.
    #[error("{} {problem}", shown(.path))]
    LocalFile {
        /// The file.
        path: PathBuf,
        /// The fault in it, as a predicate.
        problem: &'static str,
    },
    /// A text that would have to be a name and is none, or can't be one here.
    #[error("{}: {problem}", ferry_wire::escaped(.text))]
    Name {
        /// The text.
        text: String,
        /// The rule that it breaks.
        problem: NameError,
    },
    /// A line of a file of rules, or of a list of names, is none.
    #[error("{}:{line}: {why}", shown(.file))]
    Rules {
        /// The file.
        file: PathBuf,
        /// The line, from 1 on; in a list of names that zero bytes end, the number of the name.
        line: usize,
        /// The fault in it, as a clause.
        why: String,
    },
    /// The server can't be told not to replace what has a name; nothing was sent to it.
    #[error(
        "the server cannot be told to leave files that are there as they are (it does not say 'with-if'); nothing was sent"
    )]
    NeverReplacing,
    /// The connection was lost in the upload of a stream, which can't be read again, nor gone on with. The name is as it was,
    /// unless all had been sent by then.
    #[error("{source}; {sent} bytes of the input were read by then, and only {kept} are kept to be sent again")]
    Overrun {
        /// Bytes that were read of it.
        sent: u64,
        /// Bytes that are kept at most.
        kept: u64,
        /// Why the connection was lost.
        source: Box<Error>,
    },
    /// The server has less of a stream than it said that it keeps, after a lost connection, and what is missing can't be read
    /// again. The name is as it was.
    #[error(
        "the server has only {there} bytes of the input any more, and those before {from} are not at hand to be sent again; \
         nothing was stored"
    )]
    Forgotten {
        /// Bytes that it has.
        there: u64,
        /// The first byte that could be sent again.
        from: u64,
    },
    /// The server does not know what was asked for; nothing was sent to it.
    #[error("the server cannot {what} (it does not say '{feature}'); nothing was sent")]
    Lacking {
        /// The thing that it can't do, as a verb.
        what: &'static str,
        /// The feature that its greeting would have.
        feature: &'static str,
    },
    /// More would be deleted than is allowed; nothing was.
    #[error("{planned} thing{} would be deleted, and {most} may be; nothing was changed", if *.planned == 1 { "" } else { "s" })]
    Deletions {
        /// How many.
        planned: usize,
        /// How many are allowed.
        most: usize,
    },
    /// The system lets this user watch no more directories.
    #[error("the system lets you watch no more directories: raise {sysctl}, as by 'sysctl {sysctl}=...'")]
    Watches {
        /// The kernel's setting that says how many.
        sysctl: &'static str,
    },
    /// The caller's [`Cancel`](crate::Cancel) was raised.
    #[error("interrupted")]
    Interrupted,
    /// The server moved no byte for so long, or none that brought the conversation on.
    #[error("the server was silent for {} s: given up", .0.as_secs_f32())]
    Timeout(Duration),
    /// The server moved bytes all the time, and too few of them: see [`Options::min_rate`](crate::Options::min_rate).
    #[error("the server moved only {bytes} bytes in {} s: given up", .window.as_secs_f32())]
    Slow {
        /// Bytes in both directions.
        bytes: u64,
        /// In this time.
        window: Duration,
    },
    /// A server tells of more than [`Options::tree_memory`](crate::Options::tree_memory) allows.
    #[error(
        "there are more than {things} names, for which {} MiB of memory are not enough: take the directories in it one by \
         one, or allow more (--tree-memory)",
        .limit >> 20
    )]
    TooMuch {
        /// So many it told of.
        things: usize,
        /// Bytes that may be taken.
        limit: usize,
    },
    /// This machine could not do its part.
    #[error("cannot {what}: {}", plain(.source))]
    System {
        /// The attempt, as a verb.
        what: &'static str,
        /// The system's error.
        source: io::Error,
    },
}

impl From<Untrusted> for Error {
    fn from(untrusted: Untrusted) -> Error {
        Error::Untrusted(untrusted.into())
    }
}

/// Whose fault an [`Error`] is: one kind for each way that a program would go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// There is no connection, or no ferry server at its end.
    Connection,
    /// The server works and said no, or could not be asked for want of a login.
    Request,
    /// The local disk or a local file.
    Local,
    /// The server, or the bytes that it sent.
    Protocol,
    /// Nobody answers in time.
    Timeout,
    /// The caller, who asked for it.
    Interrupted,
    /// This machine.
    System,
}

impl Error {
    /// Whose fault it is.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            Error::AtSource { error, .. } => error.blame(),
            Error::Refused { .. }
            | Error::Unreachable { .. }
            | Error::NotFerry { .. }
            | Error::Version { .. }
            | Error::Tls { .. }
            | Error::NotConnected
            | Error::Closed(_)
            | Error::Broken(_)
            | Error::Overrun { .. }
            | Error::Forgotten { .. } => Blame::Connection,
            Error::Server(failure) if failure.code == Code::Checksum => Blame::Protocol,
            Error::Server(_)
            | Error::Login { .. }
            | Error::Name { .. }
            | Error::NeverReplacing
            | Error::Lacking { .. } => Blame::Request,
            Error::Untrusted(_) | Error::Violation(_) | Error::Verification(_) => Blame::Protocol,
            Error::Local { .. } | Error::LocalFile { .. } | Error::Rules { .. } | Error::Deletions { .. } => {
                Blame::Local
            }
            Error::Interrupted => Blame::Interrupted,
            Error::Timeout(_) | Error::Slow { .. } => Blame::Timeout,
            Error::System { .. } | Error::TooMuch { .. } | Error::Watches { .. } => Blame::System,
        }
    }

    /// The code of a [`Error::Server`], or of a login that the server has refused.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self {
            Error::Server(failure) | Error::Login { problem: LoginProblem::Refused(failure), .. } => Some(failure.code),
            _ => None,
        }
    }

    pub(crate) fn local(what: &'static str, path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Error {
        Error::Local { what, path: path.into(), source: source.into() }
    }

    pub(crate) fn file(path: impl Into<PathBuf>, problem: &'static str) -> Error {
        Error::LocalFile { path: path.into(), problem }
    }

    pub(crate) fn tls(problem: impl fmt::Display) -> Error {
        Error::Tls { problem: problem.to_string(), is_cut: false }
    }

    pub(crate) fn violation(what: impl fmt::Display) -> Error {
        Error::Violation(what.to_string())
    }
}

/// The program that listens where a ferry server was expected, as far as can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stranger {
    /// A web server.
    Http,
    /// A service that sends back what it gets.
    Echo,
    /// It takes connections and says nothing.
    Silent(Duration),
    /// It closes without a word.
    Closing,
    /// It says something else; escaped.
    Says(String),
}

impl fmt::Display for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stranger::Http => f.write_str("it is a web server (HTTP)"),
            Stranger::Echo => f.write_str("it sends back what it is sent (an echo service)"),
            Stranger::Silent(waited) => write!(f, "it said nothing for {} s", waited.as_secs_f32()),
            Stranger::Closing => f.write_str("it closes without a greeting"),
            Stranger::Says(text) => write!(f, "it says \"{text}\""),
        }
    }
}

/// A path for a message, with what could drive a terminal escaped.
pub(crate) fn shown(path: &Path) -> impl fmt::Display {
    use std::os::unix::ffi::OsStrExt as _;
    ferry_wire::escaped_bytes(path.as_os_str().as_bytes()).to_string()
}

fn said(failure: Option<&Failure>) -> String {
    failure.map(|failure| format!(", saying: {failure}")).unwrap_or_default()
}

/// Returns the system's words, without the number after them.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error ") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}
