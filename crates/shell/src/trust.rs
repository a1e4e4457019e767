//! Decides which servers are trusted, and asks a person about a key that is not known.

use std::{
    fs::OpenOptions,
    io::{self, BufRead as _, BufReader, IsTerminal as _, Write as _},
    path::PathBuf,
};

use ferry_client::{Address, Fingerprint, Options, Security, Trust, UserName};

use super::secrets::Secrets;

/// The terminal of this process, whatever its standard streams are.
pub(crate) const TERMINAL: &str = "/dev/tty";

/// A server, as it was named: where it is, and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) address: Address,
    /// The one key that it may have.
    pub(crate) fingerprint: Option<Fingerprint>,
    /// The user who logs in there.
    pub(crate) user: Option<UserName>,
    /// Prints that user's secret.
    pub(crate) secret_command: Option<String>,
}

impl Server {
    /// Returns a server of which nothing but its address is known.
    pub(crate) fn at(address: Address) -> Server {
        Server { address, fingerprint: None, user: None, secret_command: None }
    }

    /// Returns the same, where `user` logs in. A command that prints another user's secret is of no use then.
    pub(crate) fn with_user(self, user: UserName) -> Server {
        let secret_command = self.secret_command.filter(|_| self.user.as_ref() == Some(&user));
        Server { user: Some(user), secret_command, ..self }
    }

    /// Returns `options` as they are for this server.
    pub(crate) fn options(&self, options: &Options, security: Option<Security>, secrets: &Secrets) -> Options {
        let options = options.clone();
        let options = match security {
            Some(security) => options.security(security),
            None => options,
        };
        let options = match self.fingerprint {
            Some(fingerprint) => options.pinned(fingerprint),
            None => options,
        };
        match &self.user {
            Some(user) => options.credentials(secrets.of(user, self.secret_command.as_deref())),
            None => options,
        }
    }
}

/// Returns whether TLS is to be spoken, where one of these was said.
pub(crate) fn security(tls: bool, plain: bool) -> Option<Security> {
    match (tls, plain) {
        (true, _) => Some(Security::Tls),
        (_, true) => Some(Security::Plain),
        _ => None,
    }
}

/// Returns the policy by which servers are trusted: only the one with the key `pinned`, where there is one; else those that
/// are in the file `known`, and others as `accept_new` or a person at the terminal says.
pub(crate) fn policy(known: Option<PathBuf>, pinned: Option<Fingerprint>, accept_new: bool) -> Trust {
    let trust = match known {
        Some(file) => Trust::new().known_servers(file),
        None => Trust::new(),
    };
    match pinned {
        Some(fingerprint) => trust.pinned(fingerprint),
        None if accept_new => trust.accept_new(),
        None if io::stdin().is_terminal() && io::stderr().is_terminal() => trust.ask(ask),
        None => trust,
    }
}

/// Asks the person at the terminal whether the key is the right one; whatever is no yes is a no.
fn ask(address: &Address, fingerprint: &Fingerprint) -> bool {
    let asked = || {
        let mut terminal = OpenOptions::new().read(true).write(true).open(TERMINAL)?;
        write!(
            terminal,
            "{address} is not known yet. Its key is\n  {fingerprint}\nThe first line that its server printed names the \
             right one. Trust this key from now on? (yes/no) "
        )?;
        let mut answer = String::new();
        BufReader::new(terminal).read_line(&mut answer)?;
        Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "yes" | "y"))
    };
    asked().unwrap_or_else(|error: io::Error| {
        log::info!("nobody could be asked about a key: {error}");
        false
    })
}
