//! Credentials: a user, and the secret that proves who that is.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ferry_wire::{Failure, Request, Secret, UserName};

use crate::{address::Address, error::Error};

/// See [`Credentials::asking`].
type Ask = dyn Fn(&Address) -> Result<Secret, Error> + Send + Sync;

/// A user and the secret that proves who that is. Clones share the secret once it is known.
#[derive(Clone)]
pub struct Credentials {
    user: UserName,
    secret: Arc<Mutex<Option<Secret>>>,
    ask: Option<Arc<Ask>>,
}

impl Credentials {
    /// Returns those of `user`, whose secret is known.
    #[must_use]
    pub fn new(user: UserName, secret: Secret) -> Credentials {
        Credentials { user, secret: Arc::new(Mutex::new(Some(secret))), ask: None }
    }

    /// Returns those of `user`, whose secret `ask` gives: when a server that has accounts is connected to, is trusted,
    /// and can be told it without anybody listening. It is asked once; only after the server has refused the secret it is
    /// asked again by the next connection. Its error is that of the connection.
    pub fn asking(
        user: UserName,
        ask: impl Fn(&Address) -> Result<Secret, Error> + Send + Sync + 'static,
    ) -> Credentials {
        Credentials { user, secret: Arc::default(), ask: Some(Arc::new(ask)) }
    }

    /// Returns the name of the user.
    #[must_use]
    pub fn user(&self) -> &str {
        self.user.as_str()
    }

    /// Returns the same, of which nobody is asked: without a secret so far there is none.
    pub(crate) fn known_only(self) -> Credentials {
        Credentials { ask: None, ..self }
    }

    /// Whether the secret was given, or asked for, already.
    pub(crate) fn has_secret(&self) -> bool {
        self.lock().is_some()
    }

    /// Forgets a secret that the server has refused, where another one can be asked for.
    pub(crate) fn forget(&self) {
        if self.ask.is_some() {
            *self.lock() = None;
        }
    }

    /// Returns the LOGIN at `address`, and asks for the secret if it is not known yet.
    pub(crate) fn request(&self, address: &Address) -> Result<Request, Error> {
        let mut known = self.lock();
        let secret = match (&*known, &self.ask) {
            (Some(secret), _) => secret.clone(),
            (None, Some(ask)) => known.insert(ask(address)?).clone(),
            (None, None) => return Err(self.problem(LoginProblem::NoSecret("nobody is asked for it".to_owned()))),
        };
        Ok(Request::Login { user: self.user.clone(), secret })
    }

    /// Returns why this user is not logged in.
    pub(crate) fn problem(&self, problem: LoginProblem) -> Error {
        Error::Login { user: self.user.to_string(), problem }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Secret>> {
        self.secret.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user.as_str()).finish_non_exhaustive()
    }
}

/// Why nobody was logged in. The secret was sent only where the server has refused it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoginProblem {
    /// The server says that user or secret is wrong.
    Refused(Failure),
    /// The connection is neither TLS nor on this machine: whoever is in between could read the secret.
    Exposed,
    /// The server has no accounts.
    NoAccounts,
    /// There is no secret, and why.
    NoSecret(String),
}

impl fmt::Display for LoginProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoginProblem::Refused(failure) => write!(f, "the server says: {failure}"),
            LoginProblem::Exposed => f.write_str(
                "the connection is not secret, so the secret was not sent: over a network, log in by TLS only (--tls)",
            ),
            LoginProblem::NoAccounts => f.write_str("the server has no accounts, so the secret was not sent"),
            LoginProblem::NoSecret(why) => f.write_str(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> Secret {
        Secret::from_bytes(b"hunter 2").unwrap()
    }

    fn alice() -> UserName {
        UserName::new("alice").unwrap()
    }

    #[test]
    fn a_secret_is_shown_nowhere() {
        let credentials = Credentials::new(alice(), secret());
        let options = crate::Options::default().credentials(credentials.clone());
        for shown in [format!("{credentials:?}"), format!("{options:?}")] {
            assert!(shown.contains("alice") && !shown.contains("hunter"), "{shown}");
        }
    }

    #[test]
    fn a_secret_is_asked_for_once_and_again_after_it_was_refused() {
        let asked = Arc::new(Mutex::new(0));
        let count = Arc::clone(&asked);
        let ask = move |_: &Address| {
            *count.lock().unwrap() += 1;
            Ok(secret())
        };
        let credentials = Credentials::asking(alice(), ask);
        let address = Address::new("h", 1);
        let quiet = credentials.clone().known_only();
        assert!(matches!(quiet.request(&address), Err(Error::Login { problem: LoginProblem::NoSecret(_), .. })));
        for _ in 0..2 {
            credentials.request(&address).unwrap();
        }
        quiet.forget();
        assert!(quiet.request(&address).is_ok() && credentials.has_secret());
        assert_eq!(*asked.lock().unwrap(), 1);
        credentials.forget();
        credentials.request(&address).unwrap();
        assert_eq!(*asked.lock().unwrap(), 2);
    }
}
