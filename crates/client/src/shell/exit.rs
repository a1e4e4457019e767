//! The exit statuses, and what failed.

use std::{io, process::ExitCode};

use ferry_client::{Blame, Code, Error};

/// What `--help` says of them.
pub(crate) const HELP: &str = "\
Exit status (of the first command that failed, where commands do not come from a terminal):
  0    all done
  1    this machine failed (out of descriptors, for one)
  2    a command that can't be understood, or a wrong option
  3    no connection: nobody listens, no ferry server, or it went away
  4    the server said no (read-only, no space, a directory, ...)
  5    the local disk, a local file or standard output
  6    verification failed, or the server broke the protocol
  7    the server was silent for too long
  8    the server has nothing of that name
  130  interrupted by Ctrl-C (128 and the number of any other signal)";

/// How the program ends.
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
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) exit: Exit,
    /// Empty where all of it was said before.
    pub(crate) message: String,
}

impl Failed {
    /// A command that can't be understood.
    pub(crate) fn usage(message: impl Into<String>) -> Failed {
        Failed { exit: Exit::Usage, message: message.into() }
    }

    /// All that there is to say was said.
    pub(crate) fn told(exit: Exit) -> Failed {
        Failed { exit, message: String::new() }
    }

    /// What was asked for did not reach standard output.
    pub(crate) fn output(error: &io::Error) -> Failed {
        Failed { exit: Exit::Local, message: format!("cannot write to standard output: {error}") }
    }

    /// What the library said, behind the command that it was about.
    pub(crate) fn new(command: &str, error: &Error) -> Failed {
        Failed { exit: exit_of(error), message: format!("{command}: {error}") }
    }
}

fn exit_of(error: &Error) -> Exit {
    match error.blame() {
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
