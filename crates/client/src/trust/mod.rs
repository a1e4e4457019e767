//! Decides whether a server that speaks TLS is the one that was meant.
//!
//! A server proves in the handshake that it holds the key of its certificate. The worth of that key is judged after the
//! handshake and before any byte of ours: a person who is asked may take a while, and nothing waits for that but this.

mod authority;
mod known;
mod proof;
mod security;

use std::{
    collections::HashMap,
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use ferry_wire::Fingerprint;
use ring::digest;
use rustls::{ClientConfig, pki_types::CertificateDer, server::ParsedCertificate};

use crate::{address::Address, error::Error};
use authority::Authorities;
pub use authority::CertificateProblem;
use known::{KnownKey, KnownServers};
pub use security::Security;
pub(crate) use security::is_this_machine;

/// The policy for a server whose key nothing vouches for and nobody has seen yet.
#[derive(Clone, Default)]
enum NewKeys {
    /// It is refused.
    #[default]
    Refuse,
    /// It is taken, and remembered.
    Accept,
    /// The caller is asked.
    Ask(Arc<Ask>),
}

/// See [`Trust::ask`].
type Ask = dyn Fn(&UnknownKey) -> bool + Send + Sync;

/// The policy by which servers are trusted; clones share it, and what was learnt by it.
///
/// A server is trusted if its key is the one that the [file of known servers](Trust::known_servers) has for its address, or if
/// an authority of this system vouches for its certificate and its host. A key that is known for an address, and is another
/// one now, is refused, unless an authority vouches for it. Any other key is refused unless [`accept_new`](Trust::accept_new) or
/// [`ask`](Trust::ask) say otherwise. Where a key is [pinned](Trust::pinned), that key alone is taken.
#[derive(Clone, Default)]
pub struct Trust {
    known: Option<PathBuf>,
    pinned: Option<Fingerprint>,
    new_keys: NewKeys,
    shared: Arc<Shared>,
}

/// The parts that are made once, and only where they are needed.
#[derive(Default)]
struct Shared {
    /// Sessions that can be resumed are in it.
    config: OnceLock<Arc<ClientConfig>>,
    authorities: Authorities,
    /// The keys that were taken without a file to remember them in.
    taken: Mutex<HashMap<Address, Fingerprint>>,
}

/// The key of a server that nobody has seen before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownKey {
    /// Where the server is.
    pub address: Address,
    /// The key.
    pub fingerprint: Fingerprint,
    /// Why its certificate does not vouch for it, where an authority of this system has signed that.
    pub certificate: Option<CertificateProblem>,
}

/// A server that could not show that it is the one that was meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Untrusted {
    /// Its key is not known, and nothing vouches for it.
    #[error(
        "the key of {} is not known: {fingerprint}{}. Compare it with the one in the first line of that server; then name \
         it (--fingerprint {fingerprint}), or take any new one (--accept-new)",
        .0.address, and(.0.certificate.as_ref()), fingerprint = .0.fingerprint
    )]
    Unknown(UnknownKey),
    /// Its key is not known, and who was asked did not take it.
    #[error("the key of {} was not accepted: {}", .0.address, .0.fingerprint)]
    Declined(UnknownKey),
    /// Its key is not the one that it had before.
    #[error(
        "the key of {address} HAS CHANGED: it is {fingerprint}, and was {before}{}. Somebody may be in between and read \
         all that is sent; or the server has a new key. Ask who runs it; if the new key is right, remove line {line} of {}",
        and(.certificate.as_ref()), crate::error::shown(.file)
    )]
    Changed {
        /// Where.
        address: Address,
        /// The key that it has.
        fingerprint: Fingerprint,
        /// The key that it had.
        before: Fingerprint,
        /// The file of known servers.
        file: PathBuf,
        /// The line of the old key there.
        line: usize,
        /// Why its certificate does not vouch for the new key, where an authority of this system has signed that.
        certificate: Option<CertificateProblem>,
    },
    /// Its key is not the one that was asked for.
    #[error(
        "the key of {address} is {fingerprint}, and not {pinned}, which was asked for: it is another server, or somebody is in between"
    )]
    NotPinned {
        /// Where.
        address: Address,
        /// The key that it has.
        fingerprint: Fingerprint,
        /// The key that was asked for.
        pinned: Fingerprint,
    },
}

impl Trust {
    /// Trusts servers for which an authority of this system vouches, and no others.
    #[must_use]
    pub fn new() -> Trust {
        Trust::default()
    }

    /// Trusts the key `fingerprint` and no other, whatever vouches for it.
    #[must_use]
    pub fn pinned(self, fingerprint: Fingerprint) -> Trust {
        Trust { pinned: Some(fingerprint), ..self }
    }

    /// Remembers keys in `file`, and trusts those that are in it: a line for each, `host:port SHA256:...`; lines that
    /// begin with `#` are remarks. The file is made, readable by its owner alone, with the first key. Programs may share it.
    #[must_use]
    pub fn known_servers(self, file: impl Into<PathBuf>) -> Trust {
        Trust { known: Some(file.into()), ..self }
    }

    /// Takes the key of a server that is not known yet, and remembers it: in the file where there is one, else as long as
    /// this policy or a clone of it lasts.
    #[must_use]
    pub fn accept_new(self) -> Trust {
        Trust { new_keys: NewKeys::Accept, ..self }
    }

    /// Refuses the key of a server that is not known yet.
    #[must_use]
    pub fn known_only(self) -> Trust {
        Trust { new_keys: NewKeys::Refuse, ..self }
    }

    /// Asks `ask` about the key of a server that is not known yet; where it says yes, the key is remembered. It may take its
    /// time; the server may give up the connection meanwhile, and the next one need not ask. Connections that are opened
    /// at the same time may ask at the same time.
    #[must_use]
    pub fn ask(self, ask: impl Fn(&UnknownKey) -> bool + Send + Sync + 'static) -> Trust {
        Trust { new_keys: NewKeys::Ask(Arc::new(ask)), ..self }
    }

    /// Returns what connections of this policy have in common.
    pub(crate) fn config(&self) -> Result<Arc<ClientConfig>, Error> {
        if let Some(config) = self.shared.config.get() {
            return Ok(config.clone());
        }
        let made = proof::config().map_err(|error| Error::tls(format_args!("no TLS on this machine: {error}")))?;
        Ok(self.shared.config.get_or_init(|| Arc::new(made)).clone())
    }

    /// Whether the server at `address` has a key by which it is known: it spoke TLS before, and has to go on with it.
    ///
    /// # Errors
    ///
    /// Where the file of known servers can't be read.
    fn knows_key(&self, address: &Address) -> Result<bool, Error> {
        let known = self.known.as_deref().map(|file| KnownServers::new(file).of(address));
        Ok(self.pinned.is_some()
            || self.taken().contains_key(address)
            || known.transpose()?.is_some_and(|keys| !keys.is_empty()))
    }

    /// Judges the server at `address`, which has proved to hold the key of the first of `chain`.
    ///
    /// # Errors
    ///
    /// [`Error::Untrusted`], or what is wrong with the file of known servers.
    pub(crate) fn judge(&self, address: &Address, chain: &[CertificateDer<'_>]) -> Result<(), Error> {
        let unusable = || Error::tls(format_args!("{address} shows no certificate that can be read"));
        let (certificate, above) = chain.split_first().ok_or_else(unusable)?;
        let fingerprint = fingerprint(certificate).ok_or_else(unusable)?;
        if let Some(pinned) = self.pinned {
            let refused = || Untrusted::NotPinned { address: address.clone(), fingerprint, pinned };
            return if pinned == fingerprint { Ok(()) } else { Err(refused().into()) };
        }
        let known = self.known.as_deref().map(KnownServers::new);
        let entries = known.as_ref().map(|known| known.of(address)).transpose()?.unwrap_or_default();
        if entries.iter().any(|entry| entry.fingerprint == fingerprint) {
            return Ok(());
        }
        let Err(certificate) = self.shared.authorities.verify(address.host(), certificate, above) else {
            return Ok(());
        };
        let address = address.clone();
        if let (Some(KnownKey { line, fingerprint: before }), Some(file)) = (entries.last(), &self.known) {
            let (before, file, line) = (*before, file.clone(), *line);
            return Err(Untrusted::Changed { address, fingerprint, before, file, line, certificate }.into());
        }
        // Without a file it is remembered as long as the policy lasts: another key is not new any more.
        let taken = self.taken().get(&address).copied();
        if let Some(pinned) = taken {
            let refused = || Untrusted::NotPinned { address, fingerprint, pinned };
            return if pinned == fingerprint { Ok(()) } else { Err(refused().into()) };
        }
        let key = UnknownKey { address, fingerprint, certificate };
        match &self.new_keys {
            NewKeys::Refuse => return Err(Untrusted::Unknown(key).into()),
            NewKeys::Ask(ask) if !ask(&key) => return Err(Untrusted::Declined(key).into()),
            NewKeys::Ask(_) | NewKeys::Accept => {}
        }
        match known {
            Some(known) => known.add(key)?,
            None => drop(self.taken().insert(key.address, key.fingerprint)),
        }
        Ok(())
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<Address, Fingerprint>> {
        self.shared.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file of known servers, where there is one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.known.as_deref()
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Trust { known, pinned, .. } = self;
        f.debug_struct("Trust").field("known", known).field("pinned", pinned).finish_non_exhaustive()
    }
}

/// Returns the words behind those about a key.
fn and(certificate: Option<&CertificateProblem>) -> String {
    certificate.map(|problem| format!(", and {problem}")).unwrap_or_default()
}

/// Returns the fingerprint of the server's own key, the first of `chain`.
pub(crate) fn key_of(chain: &[CertificateDer<'_>]) -> Option<Fingerprint> {
    chain.first().and_then(fingerprint)
}

/// Returns the fingerprint of the key in a certificate.
fn fingerprint(certificate: &CertificateDer<'_>) -> Option<Fingerprint> {
    let spki = ParsedCertificate::try_from(certificate).ok()?.subject_public_key_info();
    digest::digest(&digest::SHA256, &spki).as_ref().try_into().ok().map(Fingerprint::new)
}
