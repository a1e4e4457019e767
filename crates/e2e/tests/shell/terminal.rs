//! A program at a terminal of its own.

use std::{fs, path::Path, process::Command};

use expectrl::{ControlCode, Eof, Expect as _, NBytes, Needle, Session, process::unix::WaitStatus, session::OsSession};
use ferry_e2e::{HANG_GUARD, ferry, ferryd};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    termios::{LocalModes, tcgetattr},
};

pub(crate) struct Terminal {
    session: OsSession,
    /// All that was shown, for the message of a failure.
    shown: String,
    /// The screen as a person sees it.
    screen: vt100::Parser,
}

/// The size of a terminal that nobody has resized: columns and rows.
pub(crate) const USUAL_SIZE: (u16, u16) = (80, 24);

impl Terminal {
    /// Runs `ferry` in `directory`, with its history kept there as well, and waits for its prompt.
    #[track_caller]
    pub(crate) fn ferry(directory: &Path, arguments: &[&str]) -> Terminal {
        Terminal::ferry_like(directory, arguments, &[], USUAL_SIZE)
    }

    /// The same, with variables of its environment, in a terminal of so many columns and rows.
    #[track_caller]
    pub(crate) fn ferry_like(
        directory: &Path,
        arguments: &[&str],
        environment: &[(&str, &str)],
        size: (u16, u16),
    ) -> Terminal {
        let mut terminal = Terminal::run(ferry(), directory, arguments, environment);
        terminal.resize(size);
        terminal.expect(if size.0 > 8 { "ferry> " } else { "f" });
        terminal
    }

    /// Runs `ferryd` in `directory` and gives the port that it names.
    #[track_caller]
    pub(crate) fn ferryd(directory: &Path, arguments: &[&str]) -> (Terminal, u16) {
        let mut terminal = Terminal::run(ferryd(), directory, arguments, &[]);
        terminal.expect("listening on 127.0.0.1:");
        let port = terminal.expect(", serving ").parse().expect("a port");
        (terminal, port)
    }

    /// Runs any program in `directory`.
    pub(crate) fn run(program: &Path, directory: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Terminal {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(directory).env("TERM", "xterm").env_remove("NO_COLOR");
        command.env("XDG_STATE_HOME", directory.join("state")).env("XDG_CONFIG_HOME", directory.join("config"));
        command.envs(environment.iter().copied());
        let session = Session::spawn(command).expect("the program runs");
        let (columns, rows) = USUAL_SIZE;
        Terminal { session, shown: String::new(), screen: vt100::Parser::new(rows, columns, 1000) }
    }

    /// Makes the terminal so many columns and rows large.
    #[track_caller]
    pub(crate) fn resize(&mut self, (columns, rows): (u16, u16)) {
        self.session.get_process_mut().set_window_size(columns, rows).expect("a terminal");
        // The emulator can't be as small as a terminal can.
        self.screen.screen_mut().set_size(rows.max(4), columns.max(8));
    }

    /// Returns the screen as a person sees it, as far as it was waited for.
    pub(crate) fn screen(&self) -> String {
        self.screen.screen().contents()
    }

    /// Whether it shows what is typed.
    pub(crate) fn echoes(&self) -> bool {
        let terminal = self.session.get_process().get_raw_handle().expect("the terminal's descriptor");
        tcgetattr(&terminal).expect("a terminal").local_modes.contains(LocalModes::ECHO)
    }

    /// All that was shown, as far as it was waited for.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// Types `text` and no Return.
    #[track_caller]
    pub(crate) fn send(&mut self, text: &str) {
        self.session.send(text).expect("the program reads");
    }

    /// Presses Tab until `text` is on the screen: names that come late only ring the bell at first.
    #[track_caller]
    pub(crate) fn tab(&mut self, text: &str) {
        const BELL: &str = "\x07";
        loop {
            let before = self.shown.len();
            self.send("\t");
            let answered =
                |terminal: &Terminal| terminal.screen().contains(text) || terminal.shown[before..].contains(BELL);
            self.watch_until(answered, text);
            if self.screen().contains(text) {
                return;
            }
        }
    }

    /// Waits until it `is_so`, which may depend on the screen.
    #[track_caller]
    pub(crate) fn watch_until(&mut self, is_so: impl Fn(&Terminal) -> bool, what: &str) {
        while !is_so(self) {
            self.wait_for(|| NBytes(1), what);
        }
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

    /// Sends the program a signal.
    #[track_caller]
    pub(crate) fn signal(&mut self, signal: rustix::process::Signal) {
        let process = self.session.get_process().pid();
        let process = rustix::process::Pid::from_raw(process.as_raw()).expect("a process");
        rustix::process::kill_process(process, signal).expect("it runs");
    }

    /// Sends a signal so many times to the one program that a shell runs there, at once.
    #[track_caller]
    pub(crate) fn signal_child(&mut self, signal: rustix::process::Signal, times: usize) {
        let shell = self.session.get_process().pid();
        let children = fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).expect("/proc");
        let child = rustix::process::Pid::from_raw(children.trim().parse().expect("one child")).expect("a process");
        for _ in 0..times {
            // The first one may have ended it.
            let _ = rustix::process::kill_process(child, signal);
        }
    }

    /// Whether it gives what is typed line by line, as at the beginning.
    pub(crate) fn takes_lines(&self) -> bool {
        let terminal = self.session.get_process().get_raw_handle().expect("the terminal's descriptor");
        tcgetattr(&terminal).expect("a terminal").local_modes.contains(LocalModes::ICANON)
    }

    /// Waits until the program has ended; gives its exit status, and whether the terminal is left as it was.
    #[track_caller]
    pub(crate) fn end_of_both(mut self) -> (i32, bool) {
        (self.finish(), self.takes_lines())
    }

    /// Presses Ctrl-Z.
    #[track_caller]
    pub(crate) fn control_z(&mut self) {
        self.session.send(ControlCode::Substitute).expect("the program reads");
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
        self.finish()
    }

    /// Waits until the program has ended; gives what is on the screen then.
    #[allow(dead_code, reason = "the screens of the README are made with it")]
    #[track_caller]
    pub(crate) fn last_screen(mut self) -> String {
        self.finish();
        self.screen()
    }

    #[track_caller]
    fn finish(&mut self) -> i32 {
        self.wait_for(|| Eof, "the end of the program");
        match self.session.get_process().wait().expect("a child") {
            WaitStatus::Exited(_, status) => status,
            other => panic!("the program ended by {other:?}"),
        }
    }

    /// Returns the text before the needle. Sleeps until the terminal has something new, in place of the busy loop of
    /// [`Session::expect`].
    #[track_caller]
    fn wait_for<N: Needle>(&mut self, needle: impl Fn() -> N, what: &str) -> String {
        let terminal = self.session.get_process().get_raw_handle().expect("the terminal's descriptor");
        let timeout = Timespec { tv_sec: HANG_GUARD.as_secs().cast_signed(), tv_nsec: 0 };
        loop {
            match self.session.check(needle()) {
                Ok(found) if !found.is_empty() => {
                    self.shown.push_str(&String::from_utf8_lossy(found.as_bytes()));
                    self.screen.process(found.as_bytes());
                    return String::from_utf8_lossy(found.before()).into_owned();
                }
                Ok(_) => {}
                Err(error) => panic!("{error} in place of {what:?}, after {:?}", self.shown),
            }
            let ready = poll(&mut [PollFd::new(&terminal, PollFlags::IN)], Some(&timeout)).expect("poll works");
            if ready == 0 {
                let mut rest = Vec::new();
                while let Ok(found) = self.session.check(NBytes(1))
                    && !found.is_empty()
                {
                    rest.extend_from_slice(found.as_bytes());
                }
                let rest = String::from_utf8_lossy(&rest).into_owned();
                panic!("{what:?} was never shown, after {:?} and {rest:?}", self.shown);
            }
        }
    }
}
