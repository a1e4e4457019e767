//! Questions to the person at the terminal, whatever the standard streams are.

use std::{
    fs::{File, OpenOptions},
    io::{self, IsTerminal as _, Read as _, Write as _},
    os::fd::AsFd,
};

use ferry_client::Cancel;
use ferry_wire::limits::MAX_SECRET_BYTES;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr},
};
use zeroize::Zeroizing;

use super::{exit::plain, progress::keep_from_terminal};

/// The terminal of this process.
const TERMINAL: &str = "/dev/tty";

/// Between two looks at the flag that ends what is under way.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// Room for the longest secret and the end of its line; a longer one is told from it.
pub(crate) const LINE_BYTES: usize = MAX_SECRET_BYTES + 3;

/// Whether the terminal shows what is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Echo {
    On,
    Off,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    Interrupted,
    Other(String),
}

/// Returns whether a person is there who can be asked.
pub(crate) fn is_anybody_there() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Writes `question` to the terminal, and waits for the line that is typed, until `cancel` is raised.
///
/// # Errors
///
/// There is no terminal; nothing was typed; or the question was called off.
pub(crate) fn ask(cancel: &Cancel, question: &str, echo: Echo) -> Result<Zeroizing<Vec<u8>>, NoAnswer> {
    let cannot = |error: io::Error| other(format_args!("cannot ask at the terminal: {}", plain(&error)));
    // Elsewhere the keys of a transfer would take away what is typed here.
    let _alone = keep_from_terminal();
    let mut terminal = OpenOptions::new().read(true).write(true).open(TERMINAL).map_err(cannot)?;
    let asking = Asking::new(&terminal, echo).map_err(|errno| cannot(errno.into()))?;
    let asked = (&terminal).write_all(question.as_bytes()).map_err(cannot);
    let line = asked.and_then(|()| typed_line(cancel, &terminal));
    drop(asking);
    if echo == Echo::Off {
        // Enter was not shown either.
        let _ = terminal.write_all(b"\n");
    }
    line
}

fn typed_line(cancel: &Cancel, mut terminal: &File) -> Result<Zeroizing<Vec<u8>>, NoAnswer> {
    let cannot = |error: io::Error| other(format_args!("cannot read the terminal: {}", plain(&error)));
    let mut line = Line::default();
    loop {
        if cancel.is_cancelled() {
            return Err(NoAnswer::Interrupted);
        }
        if !is_ready(terminal).map_err(cannot)? {
            continue;
        }
        let mut bytes = Zeroizing::new([0; LINE_BYTES]);
        let got = terminal.read(&mut bytes[..]).map_err(cannot)?;
        line.take(&bytes[..got]);
        match (got, line.is_whole) {
            (0, _) if line.bytes.is_empty() => return Err(other("nothing was typed")),
            (0, _) | (_, true) => return Ok(line.bytes),
            _ => {}
        }
    }
}

fn other(why: impl ToString) -> NoAnswer {
    NoAnswer::Other(why.to_string())
}

/// A line as far as it has come; no more than there is room for, so that no copy stays behind where it grew.
pub(crate) struct Line {
    pub(crate) bytes: Zeroizing<Vec<u8>>,
    is_whole: bool,
}

impl Default for Line {
    fn default() -> Line {
        Line { bytes: Zeroizing::new(Vec::with_capacity(LINE_BYTES)), is_whole: false }
    }
}

impl Line {
    /// Adds what has come; behind the end of the line it is left out.
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        if self.is_whole {
            return;
        }
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let room = self.bytes.capacity() - self.bytes.len();
        let text = &bytes[..end.unwrap_or(bytes.len())];
        self.bytes.extend_from_slice(&text[..text.len().min(room)]);
        self.is_whole = end.is_some();
        if self.is_whole && self.bytes.last() == Some(&b'\r') {
            self.bytes.pop();
        }
    }
}

/// Returns whether a read does not block, now or within a moment.
pub(crate) fn is_ready(descriptor: &impl AsFd) -> io::Result<bool> {
    match poll(&mut [PollFd::new(descriptor, PollFlags::IN)], Some(&LOOK)) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// A terminal that takes a line, without echo where that is wanted, until this is dropped.
struct Asking<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Asking<'a> {
    fn new(terminal: &'a File, echo: Echo) -> Result<Asking<'a>, Errno> {
        let before = tcgetattr(terminal)?;
        let mut silent = before.clone();
        match echo {
            Echo::On => silent.local_modes.insert(LocalModes::ECHO),
            Echo::Off => silent.local_modes.remove(LocalModes::ECHO | LocalModes::ECHONL),
        }
        silent.local_modes.insert(LocalModes::ICANON | LocalModes::ISIG);
        // Whoever stopped the program now would get a terminal without echo.
        silent.special_codes[SpecialCodeIndex::VSUSP] = 0;
        // What was typed ahead was shown, so it is no secret.
        tcsetattr(terminal, OptionalActions::Flush, &silent)?;
        Ok(Asking { terminal, before })
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        // A terminal that is gone needs no echo.
        let _ = tcsetattr(self.terminal, OptionalActions::Now, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_taken_in_pieces_and_ends_once() {
        let mut line = Line::default();
        for piece in [&b"hun"[..], b"ter\r", b"\nmore"] {
            line.take(piece);
        }
        line.take(b"x");
        assert_eq!((&line.bytes[..], line.is_whole), (&b"hunter"[..], true));
    }
}
