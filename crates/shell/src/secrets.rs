//! The secret of a user: from the environment, from a command of a bookmark, or from the terminal without echo. Never from
//! the command line or the prompt, which others can read and histories keep.

use std::{
    env,
    fs::{File, OpenOptions},
    io::{self, IsTerminal as _, Read as _, Write as _},
    os::unix::{ffi::OsStrExt as _, process::ExitStatusExt as _},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use ferry_client::{Address, Cancel, Credentials, Error, LoginProblem, Secret, UserName};
use ferry_wire::limits::MAX_SECRET_BYTES;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr},
};
use zeroize::Zeroizing;

use super::{exit::plain, trust::TERMINAL};

/// The variable that holds a secret.
const VARIABLE: &str = "FERRY_SECRET";

/// Between two looks at the flag that ends what is under way.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// Room for the longest secret and the end of its line; a longer one is told from it.
const LINE_BYTES: usize = MAX_SECRET_BYTES + 3;

/// How secrets are come by.
#[derive(Debug, Clone, Default)]
pub(crate) struct Secrets {
    cancel: Cancel,
    /// How long a command may take.
    limit: Duration,
}

impl Secrets {
    /// Has them come until `cancel` is raised; a command of a bookmark has `limit` to print one.
    pub(crate) fn new(cancel: Cancel, limit: Duration) -> Secrets {
        Secrets { cancel, limit }
    }

    /// Returns the credentials of `user`, whose secret is come by when it is needed; by `command` where that is known.
    pub(crate) fn of(&self, user: &UserName, command: Option<&str>) -> Credentials {
        let (secrets, owner, command) = (self.clone(), user.clone(), command.map(str::to_owned));
        Credentials::asking(user.clone(), move |address| {
            secrets.find(&owner, address, command.as_deref()).map_err(|problem| match problem {
                NoSecret::Interrupted => Error::Interrupted,
                NoSecret::Other(why) => Error::Login { user: owner.to_string(), problem: LoginProblem::NoSecret(why) },
            })
        })
    }

    fn find(&self, user: &UserName, address: &Address, command: Option<&str>) -> Result<Secret, NoSecret> {
        if let Some(secret) = env::var_os(VARIABLE) {
            return Secret::from_bytes(secret.as_bytes()).map_err(|error| other(format_args!("{VARIABLE}: {error}")));
        }
        if let Some(command) = command {
            return self.printed(command);
        }
        if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
            return Err(other(format_args!(
                "there is no terminal to ask for the secret; {VARIABLE} or a bookmark's secret_command gives it"
            )));
        }
        let line = self.typed(&format!("password of {user} at {address}: "), Echo::Off)?;
        Secret::from_bytes(&line).map_err(other)
    }

    /// Asks the person at the terminal who is to log in at `address`.
    ///
    /// # Errors
    ///
    /// Why nobody could be asked, or no name was typed: [`None`] where it was called off.
    pub(crate) fn user(&self, address: &Address) -> Result<UserName, Option<String>> {
        if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
            return Err(Some("LOGIN needs the name of the user: LOGIN user".to_owned()));
        }
        let line = self.typed(&format!("user at {address}: "), Echo::On).map_err(|problem| match problem {
            NoSecret::Interrupted => None,
            NoSecret::Other(why) => Some(format!("LOGIN: {why}")),
        })?;
        let text = std::str::from_utf8(&line).unwrap_or_default();
        UserName::new(text.trim()).map_err(|error| Some(format!("LOGIN: {error}")))
    }

    /// Runs `command`, and takes the first line that it prints.
    fn printed(&self, command: &str) -> Result<Secret, NoSecret> {
        let failed = |why: &dyn std::fmt::Display| other(format_args!("secret_command: {why}"));
        let mut run = Command::new("/bin/sh");
        run.arg("-c").arg(command).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = Running(run.spawn().map_err(|error| failed(&plain(&error)))?);
        let line = self.first_line(&mut child.0)?;
        Secret::from_bytes(&line).map_err(|error| failed(&error))
    }

    fn first_line(&self, child: &mut Child) -> Result<Zeroizing<Vec<u8>>, NoSecret> {
        let failed = |why: &dyn std::fmt::Display| other(format_args!("secret_command: {why}"));
        let system = |error: io::Error| failed(&plain(&error));
        let mut output = child.stdout.take();
        let mut line = SecretLine::default();
        let begun = Instant::now();
        loop {
            // Looked at first: what it has printed is then there.
            let ended = child.try_wait().map_err(system)?;
            if let Some(pipe) = &mut output
                && is_ready(pipe).map_err(system)?
            {
                let mut bytes = Zeroizing::new([0; LINE_BYTES]);
                match pipe.read(&mut bytes[..]).map_err(system)? {
                    0 => output = None,
                    got => line.take(&bytes[..got]),
                }
                continue;
            }
            match ended {
                Some(status) if status.success() => return Ok(line.bytes),
                Some(status) => return Err(failed(&how(status))),
                None if self.cancel.is_cancelled() => return Err(NoSecret::Interrupted),
                None if begun.elapsed() >= self.limit => {
                    return Err(failed(&format_args!("it has not ended after {} s", self.limit.as_secs_f32())));
                }
                // There is nothing more to read, and the end of a process is no event.
                None if output.is_none() => std::thread::sleep(Duration::from_millis(10)),
                None => {}
            }
        }
    }

    /// Asks the person at the terminal for a line.
    fn typed(&self, question: &str, echo: Echo) -> Result<Zeroizing<Vec<u8>>, NoSecret> {
        let cannot = |error: io::Error| other(format_args!("cannot ask at the terminal: {}", plain(&error)));
        let mut terminal = OpenOptions::new().read(true).write(true).open(TERMINAL).map_err(cannot)?;
        let silenced = Asking::new(&terminal, echo).map_err(|errno| cannot(errno.into()))?;
        let asked = (&terminal).write_all(question.as_bytes()).map_err(cannot);
        let line = asked.and_then(|()| self.typed_line(&terminal));
        drop(silenced);
        if echo == Echo::Off {
            // Enter was not shown either.
            let _ = terminal.write_all(b"\n");
        }
        line
    }

    fn typed_line(&self, mut terminal: &File) -> Result<Zeroizing<Vec<u8>>, NoSecret> {
        let cannot = |error: io::Error| other(format_args!("cannot read the terminal: {}", plain(&error)));
        let mut line = SecretLine::default();
        loop {
            if self.cancel.is_cancelled() {
                return Err(NoSecret::Interrupted);
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
}

/// Why there is no secret.
enum NoSecret {
    Interrupted,
    Other(String),
}

fn other(why: impl ToString) -> NoSecret {
    NoSecret::Other(why.to_string())
}

/// A line as far as it has come; no more than there is room for, so that no copy stays behind where it grew.
struct SecretLine {
    bytes: Zeroizing<Vec<u8>>,
    is_whole: bool,
}

impl Default for SecretLine {
    fn default() -> SecretLine {
        SecretLine { bytes: Zeroizing::new(Vec::with_capacity(LINE_BYTES)), is_whole: false }
    }
}

impl SecretLine {
    fn take(&mut self, bytes: &[u8]) {
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
fn is_ready(descriptor: &impl std::os::fd::AsFd) -> io::Result<bool> {
    match poll(&mut [PollFd::new(descriptor, PollFlags::IN)], Some(&LOOK)) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (code, _) => format!("exit status {}", code.unwrap_or_default()),
    }
}

/// A process that is not left running.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            // It may have ended just now.
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

/// Whether the terminal shows what is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Echo {
    On,
    Off,
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

    fn printed(command: &str, limit: Duration) -> String {
        match Secrets::new(Cancel::default(), limit).printed(command) {
            Ok(_) => "a secret".to_owned(),
            Err(NoSecret::Interrupted) => "interrupted".to_owned(),
            Err(NoSecret::Other(why)) => why,
        }
    }

    #[test]
    fn a_command_prints_the_secret_or_there_is_none() {
        let long = Duration::from_secs(60);
        assert_eq!(printed("echo hunter; echo more", long), "a secret");
        assert_eq!(printed("printf 'no end of line'", long), "a secret");
        // Others that hold the pipe are not waited for.
        assert_eq!(printed("sleep 60 & echo hunter", long), "a secret");
        assert_eq!(printed("echo hunter; exit 3", long), "secret_command: exit status 3");
        assert_eq!(printed("kill -9 $$", long), "secret_command: ended by signal 9");
        assert_eq!(printed("true", long), "secret_command: a secret is not empty");
        assert!(printed("head -c 5000 /dev/zero | tr '\\0' x", long).contains("at most 4000 bytes"));
        let hanging = Duration::from_millis(100);
        assert_eq!(printed("exec sleep 60", hanging), "secret_command: it has not ended after 0.1 s");
        assert_eq!(printed("exec sleep 60 >&-", hanging), "secret_command: it has not ended after 0.1 s");
    }

    #[test]
    fn a_command_is_called_off() {
        let cancel = Cancel::default();
        cancel.cancel();
        let called_off = Secrets::new(cancel, Duration::from_secs(60)).printed("exec sleep 60");
        assert!(matches!(called_off, Err(NoSecret::Interrupted)));
    }

    #[test]
    fn a_line_is_taken_in_pieces_and_ends_once() {
        let mut line = SecretLine::default();
        for piece in [&b"hun"[..], b"ter\r", b"\nmore"] {
            line.take(piece);
        }
        line.take(b"x");
        assert_eq!((&line.bytes[..], line.is_whole), (&b"hunter"[..], true));
    }
}
