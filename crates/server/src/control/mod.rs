//! The control socket: questions to a running server, and the path that it is found at.
//!
//! Over a Unix socket, which its owner and root alone can connect to, somebody asks one
//! [`Question`]: a line. The server answers and closes. The first line of the answer is `DONE`, or
//! `FAIL` and why; what follows it is the content.
//!
//! A take-over has two steps, so that a new server that can't start does no harm. The answer to
//! `take-over` carries descriptors (`SCM_RIGHTS`), and a line for each tells its purpose:
//! `clients`, `http`, `metrics` and `control` are listening sockets (`clients held` is one that the
//! service manager keeps open). `manager` is the socket of the service manager, with the microseconds of
//! its watchdog, if it has one. Through the last one, `waiting`, the new server says
//! `accepting PID` once clients are accepted. Then the old one drains; where it is closed without a
//! word, the old one goes on as before.

mod ask;
mod place;
mod socket;

pub use ask::{AskError, Handed, ask, take_over};
pub use place::{default_path, usual_paths};
pub use socket::{ControlError, ControlSocket, SocketFile};

/// Stands after the purpose of a socket that the service manager keeps open.
pub(crate) const HELD: &str = "held";

/// A question to a running server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Asks for its status, as text or as JSON.
    Status {
        /// As JSON.
        json: bool,
    },
    /// Asks for a reload. The content of the answer lists the changes, and those that take a new
    /// start.
    Reload,
    /// Asks for its listening sockets: a new server is to go on in its place.
    TakeOver,
}

impl Question {
    /// All questions with their lines.
    const ALL: [(Question, &str); 4] = [
        (Question::Status { json: false }, "status"),
        (Question::Status { json: true }, "status json"),
        (Question::Reload, "reload"),
        (Question::TakeOver, "take-over"),
    ];

    /// Reads a question from its line; [`None`] where it is none.
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<Question> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let found = Question::ALL.iter().find(|(_, word)| word.as_bytes() == line);
        found.map(|(question, _)| *question)
    }

    /// Returns its line, without the end.
    #[must_use]
    pub fn line(self) -> &'static str {
        Question::ALL.iter().find(|(question, _)| *question == self).map_or("", |(_, line)| line)
    }
}

/// Returns the line by which the new server, process `pid`, tells the one before it that it accepts clients.
#[must_use]
pub fn accepting(pid: u32) -> String {
    format!("accepting {pid}\n")
}

/// Returns the process that such a line names. [`None`] where the line is not whole, or another
/// one.
#[must_use]
pub fn successor(line: &[u8]) -> Option<i32> {
    let pid = std::str::from_utf8(line).ok()?.strip_suffix('\n')?.strip_prefix("accepting ")?;
    pid.parse().ok().filter(|pid| *pid > 0)
}

/// Returns an answer of success, with its content.
#[must_use]
pub fn done(content: &str) -> String {
    format!("DONE\n{content}")
}

/// Returns an answer of failure, with the reason.
#[must_use]
pub fn refused(why: &str) -> String {
    format!("FAIL {}\n", why.replace(['\n', '\r'], " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_a_line() {
        for (question, line) in Question::ALL {
            assert_eq!(question.line(), line);
            assert_eq!(Question::parse(format!("{line}\n").as_bytes()), Some(question));
        }
        for wrong in ["", "\n", "STATUS\n", "status  json\n", "reload now\n", "take-over\n\n"] {
            assert_eq!(Question::parse(wrong.as_bytes()), None, "{wrong:?}");
        }
        assert_eq!(successor(accepting(17).as_bytes()), Some(17));
        for wrong in ["", "accepting 17", "accepting -1\n", "accepting x\n", "17\n"] {
            assert_eq!(successor(wrong.as_bytes()), None, "{wrong:?}");
        }
        assert_eq!(refused("a\nb"), "FAIL a b\n");
    }
}
