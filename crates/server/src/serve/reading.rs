//! The reading of all that a reload may change.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use super::load_users;
use crate::{
    config::{Configuration, Obstacle, Reread, Setup, StartError},
    net::{TlsAcceptor, keys::Identity},
    runtime::{ReloadReading, Reloaded, check_users},
};

/// Returns the reading of all that a reload may change. A users file that was in use is never done without.
pub(super) fn of(
    configuration: Configuration,
    (users_file, addresses, offers_http, has_one_name): (Option<PathBuf>, Vec<SocketAddr>, bool, bool),
) -> Arc<ReloadReading> {
    let held = Mutex::new(configuration);
    let read = move || {
        let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
        let Reread { configuration, changed, fixed } = held.read_again()?;
        let setup = Setup::resolve(configuration.arguments())?;
        let users_file = users_file.clone().or(setup.server.users_file);
        let (users, warning) = load_users(users_file.as_deref())?;
        check_users(&users, has_one_name)?;
        let identity = setup.security.identity_again(&addresses)?;
        let tls = identity
            .as_ref()
            .map(|identity| TlsAcceptor::new(identity, offers_http))
            .transpose()
            .map_err(StartError::of(Obstacle::Other))?;
        *held = configuration;
        let warnings = warning.into_iter().chain(setup.fewer_clients);
        let warnings = warnings.chain(identity.as_ref().and_then(Identity::warning).map(str::to_owned));
        let notes = changed.into_iter().chain(users_file.map(|_| "the users file holds as it is now".to_owned()));
        let notes = notes.chain(identity.as_ref().map(|identity| format!("the key is {}", identity.fingerprint())));
        Ok(Reloaded {
            live: setup.server.live,
            users,
            tls,
            notes: notes.collect(),
            warnings: fixed.into_iter().chain(warnings).collect(),
        })
    };
    Arc::new(move || read().map_err(|error: StartError| error.to_string()))
}
