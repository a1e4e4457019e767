//! The exit statuses, and what failed.

use std::{fmt::Display, io, process::ExitCode};

use ferry_client::{Blame, Code, Error};

use super::events::Event;

/// The exit statuses, for `--help` and the manual.
pub(crate) const HELP: &str = "\
Exit status (of the first command that failed, where commands do not come from a terminal):
  0    all done
  1    this machine failed (out of descriptors, for one)
  2    a command that can't be understood, or a wrong option
  3    no connection: nobody listens, no ferry server, or it went away
  4    the server said no (read-only, no space, a directory, ...), or nobody could log in
  5    the local disk, a local file or standard output
  6    verification failed, the server broke the protocol, or its key is unknown or has changed
  7    the server was silent for too long
  8    the server has nothing of that name
  130  interrupted by Ctrl-C (128 and the number of any other signal)
  141  the reader of a file on standard output went away ('get -o - | head'), as with cat";

/// The way in which the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Success,
    System,
    Usage,
    Connection,
    Refused,
    Local,
    Protocol,
    Timeout,
    NotFound,
    /// By the signal of this number.
    Signal(u8),
}

impl Exit {
    /// The reader of standard output has gone before a file was written to it: what a program ends with that does not
    /// look, such as cat.
    pub(crate) const READER_GONE: Exit = Exit::Signal(SIGPIPE);

    /// Returns the word for it in an event.
    fn kind(self) -> &'static str {
        match self {
            Exit::Success => "success",
            Exit::System => "system",
            Exit::Usage => "usage",
            Exit::Connection => "connection",
            Exit::Refused => "refused",
            Exit::Local => "local",
            Exit::Protocol => "protocol",
            Exit::Timeout => "timeout",
            Exit::NotFound => "not-found",
            Exit::Signal(_) => "interrupted",
        }
    }

    pub(crate) fn status(self) -> u8 {
        match self {
            Exit::Success => 0,
            Exit::System => 1,
            Exit::Usage => 2,
            Exit::Connection => 3,
            Exit::Refused => 4,
            Exit::Local => 5,
            Exit::Protocol => 6,
            Exit::Timeout => 7,
            Exit::NotFound => 8,
            Exit::Signal(number) => 128 + number,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.status())
    }
}

/// A command that failed: what to say in one line, and how a script ends by it.
#[derive(Debug, Clone)]
pub(crate) struct Failed {
    pub(crate) exit: Exit,
    /// Empty where all of it was said before.
    pub(crate) message: String,
    /// The code of the server's refusal, where it was one.
    pub(crate) code: Option<Code>,
    /// The name of the thing it was about, as it is: a whole name of the server, or a local path.
    pub(crate) name: Option<String>,
}

impl Failed {
    /// Makes a failure that says `message`.
    pub(crate) fn of(exit: Exit, message: impl Into<String>) -> Failed {
        Failed { exit, message: message.into(), code: None, name: None }
    }

    /// Makes the failure of a command that can't be understood.
    pub(crate) fn usage(message: impl Into<String>) -> Failed {
        Failed::of(Exit::Usage, message)
    }

    /// Makes a failure of which everything was said before.
    pub(crate) fn told(exit: Exit) -> Failed {
        Failed::of(exit, "")
    }

    /// Makes the failure to write to standard output.
    pub(crate) fn output(error: &io::Error) -> Failed {
        Failed::of(Exit::Local, format!("cannot write to standard output: {}", plain(error)))
    }

    /// Makes a failure that says what the library said, after the command that it was about.
    pub(crate) fn new(command: &str, error: &Error) -> Failed {
        let code = match at_fault(error) {
            Error::Closed(Some(failure)) => Some(failure.code),
            error => error.code(),
        };
        let name = match error {
            Error::Local { path, .. } | Error::LocalFile { path, .. } => {
                Some(path.strip_prefix(".").unwrap_or(path).to_string_lossy().into_owned())
            }
            Error::Rules { file, .. } => Some(file.to_string_lossy().into_owned()),
            Error::Name { text, .. } => Some(text.clone()),
            _ => None,
        };
        Failed { code, name, ..Failed::of(exit_of(error), format!("{command}: {error}")) }
    }

    /// Says the same in other words.
    pub(crate) fn saying(self, message: impl Into<String>) -> Failed {
        Failed { message: message.into(), ..self }
    }

    /// Adds what it was about, where that is not known yet.
    pub(crate) fn about(self, name: impl Into<String>) -> Failed {
        Failed { name: self.name.or_else(|| Some(name.into())), ..self }
    }

    /// Names the server in what `verb` says, before the name or the words: `CP nas:a.txt: ...`.
    pub(crate) fn at(mut self, verb: &str, server: &str) -> Failed {
        let server = ferry_wire::escaped(server);
        if let Some(rest) = self.message.strip_prefix(verb) {
            self.message = match rest.strip_prefix(' ') {
                Some(name) => format!("{verb} {server}:{name}"),
                None => format!("{verb} {server}{rest}"),
            };
        }
        self
    }

    /// Adds to what is said: the way out, for one.
    pub(crate) fn and(mut self, more: impl Display) -> Failed {
        self.message = match self.message.is_empty() {
            true => more.to_string(),
            false => format!("{}; {more}", self.message),
        };
        self
    }

    /// Returns the failure as an event.
    pub(crate) fn event(&self) -> Event {
        let event = Event::new("error").with("message", self.message.as_str()).with("status", self.exit.status());
        let event = event.with("kind", self.exit.kind()).with("code", self.code.map(Code::as_str));
        event.with("name", self.name.as_deref())
    }
}

/// Returns what the system says, without the number after it.
pub(crate) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split_once(" (os error ").map_or(&*text, |(words, _)| words).to_owned()
}

/// Returns the error itself, whichever server it is of.
fn at_fault(error: &Error) -> &Error {
    match error {
        Error::AtSource { error, .. } => error,
        error => error,
    }
}

fn exit_of(error: &Error) -> Exit {
    let error = at_fault(error);
    match error.blame() {
        // Options in a file are options.
        _ if matches!(error, Error::Rules { .. }) => Exit::Usage,
        Blame::Connection => Exit::Connection,
        Blame::Request if error.code() == Some(Code::NotFound) => Exit::NotFound,
        Blame::Request => Exit::Refused,
        Blame::Local => Exit::Local,
        Blame::Protocol => Exit::Protocol,
        Blame::Timeout => Exit::Timeout,
        Blame::Interrupted => Exit::Signal(SIGINT),
        Blame::System => Exit::System,
    }
}

const SIGINT: u8 = 2;

/// The signal that a program gets whose reader has gone.
const SIGPIPE: u8 = 13;

#[cfg(test)]
mod tests {
    use super::*;
    use ferry_client::Failure;

    #[test]
    fn a_failure_is_told_to_programs_with_all_that_is_known() {
        let event = |failed: &Failed| failed.event().to_string();
        assert_eq!(
            event(&Failed::usage("no")),
            r#"{"event":"error","message":"no","status":2,"kind":"usage","code":null,"name":null}"#
        );
        let failed = Failed::new("GET a", &Error::Server(Failure::new(Code::NotFound, "gone"))).about("d/a");
        assert!(event(&failed).contains(r#""code":"not-found""#) && event(&failed).contains(r#""name":"d/a""#));
        assert!(event(&failed).contains(r#""kind":"not-found""#), "{}", event(&failed));
        assert!(event(&Failed::told(Exit::READER_GONE)).contains(r#""kind":"interrupted""#));
        assert_eq!(Exit::READER_GONE.status(), 141);
    }
}
