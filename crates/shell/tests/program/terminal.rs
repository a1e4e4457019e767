//! The shell at a terminal.

use std::{os::unix::fs::PermissionsExt as _, process::Command, time::Duration};

use expectrl::{ControlCode, Eof, Expect as _, Session, session::OsSession};

use crate::support::{Honest, Local};

/// The program at a terminal of its own.
pub(crate) fn at_terminal(local: &Local) -> OsSession {
    at_terminal_with(local, &[])
}

/// The same with options.
pub(crate) fn at_terminal_with(local: &Local, options: &[&str]) -> OsSession {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ferry"));
    command.args(["--config", "/dev/null"]).args(options);
    command.arg("--dir").arg(local.path("files")).env("XDG_STATE_HOME", local.path("state")).env("TERM", "xterm");
    command.env_remove("FERRY_SECRET");
    let mut session = Session::spawn(command).unwrap();
    session.set_expect_timeout(Some(Duration::from_secs(20)));
    session.expect("ferry> ").unwrap();
    session
}

#[test]
fn the_shell_survives_mistakes_and_remembers_lines() {
    let local = Local::new();
    let mut first = at_terminal(&local);
    first.send_line("GTE something").unwrap();
    first.expect("unknown command 'GTE'; did you mean GET?").unwrap();
    first.expect("ferry> ").unwrap();
    first.send("half a line").unwrap();
    first.send(ControlCode::EndOfText).unwrap();
    // The line is drawn with its prompt while it is typed: only the one on the next line has done with Ctrl-C.
    first.expect("\n").unwrap();
    first.expect("ferry> ").unwrap();
    first.send_line("GET a").unwrap();
    first.expect("not connected: OPEN <port> first").unwrap();
    first.expect("ferry> ").unwrap();
    first.send(ControlCode::EndOfTransmission).unwrap();
    first.expect(Eof).unwrap();

    let history = local.path("state/ferry/history");
    assert_eq!(std::fs::metadata(&history).unwrap().permissions().mode() & 0o777, 0o600);

    let mut second = at_terminal(&local);
    // Two lines up, past the last one.
    second.send("\x1b[A\x1b[A\r").unwrap();
    second.expect("unknown command 'GTE'").unwrap();
    second.expect("ferry> ").unwrap();
    second.send_line("quit").unwrap();
    second.expect(Eof).unwrap();
}

#[test]
fn the_prompt_shows_the_connection() {
    let (server, local) = (Honest::start(), Local::new());
    server.add("a", "hello");
    let mut session = at_terminal(&local);
    session.send_line(format!("OPEN {}", server.address.port())).unwrap();
    let prompt = format!("ferry {}> ", server.address);
    session.expect(&prompt).unwrap();
    session.send_line("GET a").unwrap();
    session.expect("got a: 5 bytes").unwrap();
    session.expect(&prompt).unwrap();
    session.send_line("CLOSE").unwrap();
    session.expect("closed").unwrap();
    session.expect("ferry> ").unwrap();
    session.send(ControlCode::EndOfTransmission).unwrap();
    session.expect(Eof).unwrap();
}

#[test]
fn lines_that_are_typed_ahead_are_not_lost() {
    let local = Local::new();
    let mut session = at_terminal(&local);
    session.send("HELP CLOSE\rFROB\rGET a\rquit\r").unwrap();
    session.expect("Another OPEN may follow").unwrap();
    session.expect("unknown command 'FROB'").unwrap();
    session.expect("not connected: OPEN <port> first").unwrap();
    session.expect(Eof).unwrap();
}
