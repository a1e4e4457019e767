//! A program at a terminal of its own.

use std::{path::Path, process::Command};

use expectrl::{ControlCode, Eof, Expect as _, Needle, Session, process::unix::WaitStatus, session::OsSession};
use ferry_e2e::{HANG_GUARD, ferry, ferryd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

pub(crate) struct Terminal {
    session: OsSession,
    /// All that was shown, for the message of a failure.
    shown: String,
}

impl Terminal {
    /// Runs `ferry` in `directory`, with its history kept there as well, and waits for its prompt.
    #[track_caller]
    pub(crate) fn ferry(directory: &Path, arguments: &[&str]) -> Terminal {
        let mut terminal = Terminal::run(ferry(), directory, arguments);
        terminal.expect("ferry> ");
        terminal
    }

    /// Runs `ferryd` in `directory` and gives the port that it names.
    #[track_caller]
    pub(crate) fn ferryd(directory: &Path, arguments: &[&str]) -> (Terminal, u16) {
        let mut terminal = Terminal::run(ferryd(), directory, arguments);
        terminal.expect("listening on 127.0.0.1:");
        let port = terminal.expect(", serving ").parse().expect("a port");
        (terminal, port)
    }

    fn run(program: &Path, directory: &Path, arguments: &[&str]) -> Terminal {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(directory);
        command.env("XDG_STATE_HOME", directory.join("state")).env("TERM", "xterm").env_remove("NO_COLOR");
        Terminal { session: Session::spawn(command).expect("the program runs"), shown: String::new() }
    }

    /// Types `text` and Return.
    #[track_caller]
    pub(crate) fn type_line(&mut self, text: &str) {
        self.session.send(format!("{text}\r")).expect("the program reads");
    }

    /// Presses Ctrl-C.
    #[track_caller]
    pub(crate) fn control_c(&mut self) {
        self.session.send(ControlCode::EndOfText).expect("the program reads");
    }

    /// Presses Ctrl-D.
    #[track_caller]
    pub(crate) fn control_d(&mut self) {
        self.session.send(ControlCode::EndOfTransmission).expect("the program reads");
    }

    /// Presses the key that goes up in the history.
    #[track_caller]
    pub(crate) fn up(&mut self) {
        self.session.send("\x1b[A").expect("the program reads");
    }

    /// Waits until `text` is shown; gives what was shown before it.
    #[track_caller]
    pub(crate) fn expect(&mut self, text: &str) -> String {
        self.wait_for(|| text, text)
    }

    /// Waits until the program has ended; gives its exit status.
    #[track_caller]
    pub(crate) fn end(mut self) -> i32 {
        self.wait_for(|| Eof, "the end of the program");
        match self.session.get_process().wait().expect("a child") {
            WaitStatus::Exited(_, status) => status,
            other => panic!("the program ended by {other:?}"),
        }
    }

    /// Sleeps until the terminal has something new, in place of the busy loop of [`Session::expect`].
    #[track_caller]
    fn wait_for<N: Needle>(&mut self, needle: impl Fn() -> N, what: &str) -> String {
        let terminal = self.session.get_process().get_raw_handle().expect("the terminal's descriptor");
        let timeout = Timespec { tv_sec: HANG_GUARD.as_secs().cast_signed(), tv_nsec: 0 };
        loop {
            match self.session.check(needle()) {
                Ok(found) if !found.is_empty() => {
                    self.shown.push_str(&String::from_utf8_lossy(found.as_bytes()));
                    return String::from_utf8_lossy(found.before()).into_owned();
                }
                Ok(_) => {}
                Err(error) => panic!("{error} in place of {what:?}, after {:?}", self.shown),
            }
            let ready = poll(&mut [PollFd::new(&terminal, PollFlags::IN)], Some(&timeout)).expect("poll works");
            if ready == 0 {
                let rest = self.session.check(expectrl::NBytes(1 << 16)).map(|found| found.as_bytes().to_vec());
                panic!("{what:?} was never shown, after {:?} and {rest:?}", self.shown);
            }
        }
    }
}
