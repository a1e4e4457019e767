//! Whether the server speaks TLS, and with which key.

use std::{
    env,
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{Arguments, Obstacle, StartError};
use crate::net::keys::{Identity, KEY_FILE, KeyError};

/// The part of the options that is about TLS.
#[derive(Debug, Clone)]
pub struct Security {
    /// [`None`] where the address decides.
    speaks_tls: Option<bool>,
    /// Certificate and key.
    given: Option<(PathBuf, PathBuf)>,
    state: Option<PathBuf>,
}

impl Security {
    pub(super) fn of(arguments: &Arguments) -> Security {
        let given = arguments.tls_cert.clone().zip(arguments.tls_key.clone());
        let speaks_tls = match (arguments.plain, arguments.tls || given.is_some()) {
            (true, _) => Some(false),
            (false, true) => Some(true),
            (false, false) => None,
        };
        Security { speaks_tls, given, state: arguments.state.clone().or_else(default_state) }
    }

    /// Returns the files that a reload reads again.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        let own = self.state.as_ref().filter(|_| self.given.is_none()).map(|state| state.join(KEY_FILE));
        self.given.clone().into_iter().flat_map(|(certificate, key)| [certificate, key]).chain(own)
    }

    /// Returns the server's key, which is made if there is none yet; [`None`] where no TLS is
    /// spoken on any of `addresses`.
    ///
    /// # Errors
    ///
    /// Where the one that is there can't be used ([`Obstacle::Configuration`]), or none can be made
    /// ([`Obstacle::Own`]), as on a full disk: that may pass by itself.
    pub fn identity(&self, addresses: &[SocketAddr]) -> Result<Option<Identity>, StartError> {
        if !self.is_spoken_on_any(addresses) {
            return Ok(None);
        }
        if let Some(kept) = self.kept_identity().map_err(StartError::of(Obstacle::Configuration))? {
            return Ok(Some(kept));
        }
        let nowhere =
            || StartError::new(Obstacle::Configuration, "no directory for the server's key: name one with --state DIR");
        let state = self.state.as_ref().ok_or_else(nowhere)?;
        Identity::own(state).map(Some).map_err(StartError::of(Obstacle::Own))
    }
}

impl Security {
    /// Returns whether TLS is spoken on `address`.
    #[must_use]
    pub fn is_spoken_on(&self, address: SocketAddr) -> bool {
        self.speaks_tls.unwrap_or(!address.ip().to_canonical().is_loopback())
    }

    /// Returns whether TLS is spoken on any of `addresses`.
    #[must_use]
    pub fn is_spoken_on_any(&self, addresses: &[SocketAddr]) -> bool {
        addresses.iter().any(|address| self.is_spoken_on(*address))
    }

    /// Returns the key that is given, or the server's own where one is kept. Nothing is made.
    ///
    /// # Errors
    ///
    /// Where there is one that can't be used.
    pub fn kept_identity(&self) -> Result<Option<Identity>, KeyError> {
        match (&self.given, &self.state) {
            (Some((certificate, key)), _) => Identity::given(certificate, key, SystemTime::now()).map(Some),
            (None, Some(state)) => Identity::kept(state),
            (None, None) => Ok(None),
        }
    }

    /// Returns the key of a server that runs at `addresses`, as it is now: nothing is made. [`None`]
    /// where no TLS is spoken.
    ///
    /// # Errors
    ///
    /// Where it can't be used, or is gone.
    pub fn identity_again(&self, addresses: &[SocketAddr]) -> Result<Option<Identity>, StartError> {
        if !self.is_spoken_on_any(addresses) {
            return Ok(None);
        }
        let identity = self.kept_identity().map_err(StartError::of(Obstacle::Configuration))?;
        let gone = || StartError::new(Obstacle::Configuration, "the server's key is gone");
        identity.map(Some).ok_or_else(gone)
    }

    /// Returns the directory in which the server's own key is kept.
    #[must_use]
    pub fn state(&self) -> Option<&Path> {
        self.state.as_deref()
    }
}

/// Returns the directory for state, as the environment names it.
fn default_state() -> Option<PathBuf> {
    let from = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    choose_state(from("STATE_DIRECTORY"), from("XDG_STATE_HOME"), from("HOME"))
}

fn choose_state(own: Option<OsString>, xdg: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    // systemd may name several.
    let own = own.and_then(|own| env::split_paths(&own).next());
    let xdg = xdg.map(PathBuf::from).filter(|path| path.is_absolute()).map(|path| path.join("ferryd"));
    let home = home.map(|home| PathBuf::from(home).join(".local/state/ferryd"));
    own.or(xdg).or(home)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_for_the_state_counts() {
        let chosen = |own: &str, xdg: &str, home: &str| {
            let word = |text: &str| (!text.is_empty()).then(|| text.into());
            choose_state(word(own), word(xdg), word(home)).map(|path| path.to_str().unwrap().to_owned())
        };
        assert_eq!(chosen("/s:/t", "/x", "/h").as_deref(), Some("/s"));
        assert_eq!(chosen("", "/x", "/h").as_deref(), Some("/x/ferryd"));
        assert_eq!(chosen("", "relative", "/h").as_deref(), Some("/h/.local/state/ferryd"));
        assert_eq!(chosen("", "", ""), None);
    }

    #[test]
    fn loopback_is_plain_and_all_else_is_tls_unless_told() {
        let state = tempfile::tempdir().unwrap();
        let speaks = |speaks_tls, address: &str| {
            let security = Security { speaks_tls, given: None, state: Some(state.path().into()) };
            security.identity(&[address.parse().unwrap()]).unwrap().is_some()
        };
        for (address, by_itself) in [
            ("127.0.0.1:1", false),
            ("127.9.9.9:1", false),
            ("[::1]:1", false),
            ("[::ffff:127.0.0.1]:1", false),
            ("0.0.0.0:1", true),
            ("[::]:1", true),
            ("192.0.2.1:1", true),
        ] {
            assert_eq!(speaks(None, address), by_itself, "{address}");
            assert!(speaks(Some(true), address) && !speaks(Some(false), address), "{address}");
        }
        assert!(
            Security { speaks_tls: Some(true), given: None, state: None }
                .identity(&["[::1]:1".parse().unwrap()])
                .is_err()
        );
    }

    #[test]
    fn a_key_that_cant_be_made_is_another_obstacle_than_a_bad_one() {
        let directory = tempfile::tempdir().unwrap();
        let obstacle = |state: &Path| {
            let security = Security { speaks_tls: Some(true), given: None, state: Some(state.into()) };
            security.identity(&["[::1]:1".parse().unwrap()]).unwrap_err().obstacle
        };
        let dangling = directory.path().join("link");
        std::os::unix::fs::symlink("nowhere", &dangling).unwrap();
        assert_eq!(obstacle(&dangling), Obstacle::Own);

        std::fs::write(directory.path().join(KEY_FILE), "no key").unwrap();
        assert_eq!(obstacle(directory.path()), Obstacle::Configuration);
    }
}
