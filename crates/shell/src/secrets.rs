//! The secret of a user: from the environment, from a command of a bookmark, or from the terminal without echo. Never from
//! the command line or the prompt, which others can read and histories keep.

use std::{
    env,
    io::{self, Read as _},
    os::unix::{ffi::OsStrExt as _, process::ExitStatusExt as _},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use ferry_client::{Address, Cancel, Credentials, Error, LoginProblem, Secret, UserName};
use zeroize::Zeroizing;

use super::{
    exit::plain,
    question::{self, Echo, LINE_BYTES, Line, NoAnswer, is_ready},
};

/// The variable that holds a secret.
const VARIABLE: &str = "FERRY_SECRET";

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
                NoAnswer::Interrupted => Error::Interrupted,
                NoAnswer::Other(why) => Error::Login { user: owner.to_string(), problem: LoginProblem::NoSecret(why) },
            })
        })
    }

    fn find(&self, user: &UserName, address: &Address, command: Option<&str>) -> Result<Secret, NoAnswer> {
        if let Some(secret) = env::var_os(VARIABLE) {
            return Secret::from_bytes(secret.as_bytes()).map_err(|error| other(format_args!("{VARIABLE}: {error}")));
        }
        if let Some(command) = command {
            return self.printed(command);
        }
        if !question::is_anybody_there() {
            return Err(other(format_args!(
                "there is no terminal to ask for the secret; {VARIABLE} or a bookmark's secret_command gives it"
            )));
        }
        let line = question::ask(&self.cancel, &format!("password of {user} at {address}: "), Echo::Off)?;
        Secret::from_bytes(&line).map_err(other)
    }

    /// Asks the person at the terminal who is to log in at `address`.
    ///
    /// # Errors
    ///
    /// Why nobody could be asked, or no name was typed: [`None`] where it was called off.
    pub(crate) fn user(&self, address: &Address) -> Result<UserName, Option<String>> {
        if !question::is_anybody_there() {
            return Err(Some("LOGIN needs the name of the user: LOGIN user".to_owned()));
        }
        let line = question::ask(&self.cancel, &format!("user at {address}: "), Echo::On);
        let line = line.map_err(|problem| match problem {
            NoAnswer::Interrupted => None,
            NoAnswer::Other(why) => Some(format!("LOGIN: {why}")),
        })?;
        let text = std::str::from_utf8(&line).unwrap_or_default();
        UserName::new(text.trim()).map_err(|error| Some(format!("LOGIN: {error}")))
    }

    /// Runs `command`, and takes the first line that it prints.
    fn printed(&self, command: &str) -> Result<Secret, NoAnswer> {
        let failed = |why: &dyn std::fmt::Display| other(format_args!("secret_command: {why}"));
        let mut run = Command::new("/bin/sh");
        run.arg("-c").arg(command).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = Running(run.spawn().map_err(|error| failed(&plain(&error)))?);
        let line = self.first_line(&mut child.0)?;
        Secret::from_bytes(&line).map_err(|error| failed(&error))
    }

    fn first_line(&self, child: &mut Child) -> Result<Zeroizing<Vec<u8>>, NoAnswer> {
        let failed = |why: &dyn std::fmt::Display| other(format_args!("secret_command: {why}"));
        let system = |error: io::Error| failed(&plain(&error));
        let mut output = child.stdout.take();
        let mut line = Line::default();
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
                None if self.cancel.is_cancelled() => return Err(NoAnswer::Interrupted),
                None if begun.elapsed() >= self.limit => {
                    return Err(failed(&format_args!("it has not ended after {} s", self.limit.as_secs_f32())));
                }
                // There is nothing more to read, and the end of a process is no event.
                None if output.is_none() => std::thread::sleep(Duration::from_millis(10)),
                None => {}
            }
        }
    }
}

fn other(why: impl ToString) -> NoAnswer {
    NoAnswer::Other(why.to_string())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(command: &str, limit: Duration) -> String {
        match Secrets::new(Cancel::default(), limit).printed(command) {
            Ok(_) => "a secret".to_owned(),
            Err(NoAnswer::Interrupted) => "interrupted".to_owned(),
            Err(NoAnswer::Other(why)) => why,
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
        assert!(matches!(called_off, Err(NoAnswer::Interrupted)));
    }
}
