//! Decides which servers are trusted, and asks a person about a key that is not known.

use std::path::PathBuf;

use ferry_client::{Address, Cancel, Fingerprint, Options, Security, Trust, UnknownKey, UserName};

use super::{
    question::{self, Echo, NoAnswer},
    secrets::Secrets,
};

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
/// are in the file `known`, and others as `accept_new` or a person at the terminal says, until `cancel` is raised.
pub(crate) fn policy(known: Option<PathBuf>, pinned: Option<Fingerprint>, accept_new: bool, cancel: &Cancel) -> Trust {
    let trust = match known {
        Some(file) => Trust::new().known_servers(file),
        None => Trust::new(),
    };
    match pinned {
        Some(fingerprint) => trust.pinned(fingerprint),
        None if accept_new => trust.accept_new(),
        None if question::is_anybody_there() => {
            let cancel = cancel.clone();
            trust.ask(move |key| is_accepted(key, &cancel))
        }
        None => trust,
    }
}

/// Asks the person at the terminal whether the key is the right one, until that is decided.
fn is_accepted(key: &UnknownKey, cancel: &Cancel) -> bool {
    let UnknownKey { address, fingerprint, certificate } = key;
    let note = certificate.as_ref().map(|problem| format!("Note that {problem}.\n")).unwrap_or_default();
    let mut question = format!(
        "{address} is not known yet. Its key is\n  {fingerprint}\n{note}The first line that its server printed names the \
         right one. Trust this key from now on? (yes/no/fingerprint) "
    );
    loop {
        let answer = match question::ask(cancel, &question, Echo::On) {
            Ok(line) => line,
            Err(NoAnswer::Interrupted) => return false,
            Err(NoAnswer::Other(why)) => {
                log::info!("nobody could be asked about a key: {why}");
                return false;
            }
        };
        match decision(&String::from_utf8_lossy(&answer), fingerprint) {
            Ok(is_right) => return is_right,
            Err(again) => again.clone_into(&mut question),
        }
    }
}

/// Returns whether `answer` accepts the key; and the next question where it says neither yes nor no.
fn decision(answer: &str, fingerprint: &Fingerprint) -> Result<bool, &'static str> {
    let answer = answer.trim();
    match answer.to_ascii_lowercase().as_str() {
        "yes" | "y" => Ok(true),
        "no" | "n" | "" => Ok(false),
        _ => match answer.parse::<Fingerprint>() {
            Ok(typed) if typed == *fingerprint => Ok(true),
            Ok(_) => Err("That is the fingerprint of another key. Please type 'yes', 'no' or the fingerprint: "),
            Err(_) => Err("Please type 'yes', 'no' or the fingerprint: "),
        },
    }
}
