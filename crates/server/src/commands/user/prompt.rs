//! Secrets from a terminal, without echo, or from the standard input.

use std::{
    io::{self, IsTerminal as _, Stdin, Write as _},
    os::{fd::AsFd as _, unix::net::UnixStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::{Errno, read},
    termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr},
};
use signal_hook::{
    SigId,
    consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP},
    flag,
    low_level::{emulate_default_handler, pipe, unregister},
};
use zeroize::Zeroizing;

use ferry_wire::limits::MAX_SECRET_BYTES;

use crate::access::Secret;

/// The signals by which somebody ends or stops a program at a terminal.
const SIGNALS: [i32; 5] = [SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGTSTP];

/// Room for the longest secret and the end of its line; a longer one is told from it.
const LINE_BYTES: usize = MAX_SECRET_BYTES + 3;

/// The number of attempts to type the same password twice.
const TRIES: u32 = 3;

/// Asks for a new password: twice on a terminal; elsewhere it is the only line of the standard input.
pub(super) fn new_password(of: &str) -> Result<Secret, String> {
    let input = io::stdin();
    if !input.is_terminal() {
        return from_input(&input);
    }
    let signals = Caught::signals().map_err(cannot_ask)?;
    for _ in 0..TRIES {
        let first = from_terminal(&input, &signals, &format!("new password of {of}: "))?;
        if from_terminal(&input, &signals, "the same again: ")? == first {
            return Ok(first);
        }
        say("they differ");
    }
    Err("no password: the two differed each time; nothing was changed".into())
}

fn from_input(input: &Stdin) -> Result<Secret, String> {
    let mut line = Zeroizing::new(vec![0; LINE_BYTES]);
    let mut filled = 0;
    while filled < line.len() {
        match read(input, &mut line[filled..]) {
            Ok(0) => break,
            Ok(bytes) => filled += bytes,
            Err(Errno::INTR) => {}
            Err(error) => return Err(format!("can't read the password: {error}")),
        }
    }
    let text = &line[..filled];
    secret(text.strip_suffix(b"\r\n").or_else(|| text.strip_suffix(b"\n")).unwrap_or(text))
}

fn secret(bytes: &[u8]) -> Result<Secret, String> {
    if bytes.contains(&b'\n') {
        return Err("the standard input holds more than one line, and a password is one; nothing was changed".into());
    }
    Secret::from_bytes(bytes).map_err(|error| format!("{error}; nothing was changed"))
}

/// Asks for a line, which is not shown. Where a signal comes, the terminal is restored first.
fn from_terminal(input: &Stdin, signals: &Caught, question: &str) -> Result<Secret, String> {
    loop {
        let silenced = Silenced::terminal(input).map_err(cannot_ask)?;
        let _ = write!(io::stderr(), "{question}");
        let line = signals.read_line(input);
        drop(silenced);
        say("");
        match line.map_err(cannot_ask)? {
            Typed::Line(line) => return secret(&line),
            Typed::Nothing => return Err("no password was typed; nothing was changed".into()),
            // Does to the program what it would have done; behind a stop it goes on here, and asks again.
            Typed::Signal(signal) => emulate_default_handler(signal).map_err(cannot_ask)?,
        }
    }
}

fn cannot_ask(error: io::Error) -> String {
    format!("can't ask for a password: {error}")
}

/// Writes a line to the terminal. It is no error where nobody reads it.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

enum Typed {
    Line(Zeroizing<Vec<u8>>),
    Nothing,
    Signal(i32),
}

/// A terminal without echo, until this is dropped.
struct Silenced<'a> {
    terminal: &'a Stdin,
    before: Termios,
}

impl<'a> Silenced<'a> {
    fn terminal(terminal: &'a Stdin) -> io::Result<Silenced<'a>> {
        let before = tcgetattr(terminal)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO | LocalModes::ECHONL);
        silent.local_modes.insert(LocalModes::ICANON | LocalModes::ISIG);
        // Characters typed ahead were shown, so they are no secret.
        tcsetattr(terminal, OptionalActions::Flush, &silent)?;
        Ok(Silenced { terminal, before })
    }
}

impl Drop for Silenced<'_> {
    fn drop(&mut self) {
        // A terminal that is gone needs no echo.
        let _ = tcsetattr(self.terminal, OptionalActions::Now, &self.before);
    }
}

/// Signals that are noted, until this is dropped; then they do again what they do by themselves,
/// for as long as the program runs: there is one of these in its life.
struct Caught {
    /// The last one that came; 0 for none.
    last: Arc<AtomicUsize>,
    /// Readable once one has come.
    woken: UnixStream,
    registered: Vec<SigId>,
}

impl Caught {
    fn signals() -> io::Result<Caught> {
        let (woken, wake) = UnixStream::pair()?;
        woken.set_nonblocking(true)?;
        let mut caught = Caught { last: Arc::default(), woken, registered: Vec::new() };
        for signal in SIGNALS {
            // In this order: a thread that is woken finds the signal.
            let number = usize::try_from(signal).unwrap_or(0);
            caught.registered.push(flag::register_usize(signal, caught.last.clone(), number)?);
            caught.registered.push(pipe::register(signal, wake.try_clone()?)?);
        }
        Ok(caught)
    }

    /// Reads to the end of the line, or until a signal comes.
    fn read_line(&self, input: &Stdin) -> io::Result<Typed> {
        let mut line = Zeroizing::new(Vec::with_capacity(LINE_BYTES));
        let mut bytes = Zeroizing::new([0; LINE_BYTES]);
        loop {
            let mut ready =
                [PollFd::new(&self.woken, PollFlags::IN), PollFd::from_borrowed_fd(input.as_fd(), PollFlags::IN)];
            match poll(&mut ready, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let has_input = !ready[1].revents().is_empty();
            if let Some(signal) = self.take() {
                return Ok(Typed::Signal(signal));
            }
            if !has_input {
                continue;
            }
            let read = match read(input, &mut bytes[..]) {
                Ok(read) => read,
                Err(Errno::INTR | Errno::AGAIN) => continue,
                Err(error) => return Err(error.into()),
            };
            let (text, ends) = match bytes[..read].strip_suffix(b"\n") {
                Some(text) => (text, true),
                // The end of input, in the middle of a line or not.
                None => (&bytes[..read], read == 0),
            };
            // Never more than there is room for: no copy stays behind where it grew.
            let room = line.capacity() - line.len();
            line.extend_from_slice(&text[..text.len().min(room)]);
            match ends {
                true if read == 0 && line.is_empty() => return Ok(Typed::Nothing),
                true => return Ok(Typed::Line(line)),
                false => {}
            }
        }
    }

    fn take(&self) -> Option<i32> {
        let mut told = [0; 64];
        while matches!(read(&self.woken, &mut told), Ok(1..)) {}
        i32::try_from(self.last.swap(0, Ordering::SeqCst)).ok().filter(|signal| *signal != 0)
    }
}

impl Drop for Caught {
    fn drop(&mut self) {
        for registered in self.registered.drain(..) {
            unregister(registered);
        }
        for signal in SIGNALS {
            // Without an action a signal that was once caught would do nothing.
            let _ = flag::register_conditional_default(signal, Arc::new(AtomicBool::new(true)));
        }
    }
}
