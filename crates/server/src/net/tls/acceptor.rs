//! The configuration that all clients share, and the beginning of each.

use std::sync::Arc;

use rustls::{
    CipherSuite, ServerConfig,
    crypto::{CryptoProvider, ring},
    server::NoServerSessionStorage,
    sign::SingleCertAndKey,
    version::TLS13,
};

use super::connection::{Scratch, Tls};
use crate::net::{Service, keys::Identity};

/// The name of our protocol among those that a client may offer (ALPN). A client that offers none
/// is taken to speak it.
pub(super) const ALPN: &[u8] = b"ferry/1";

/// The name of HTTP/1.1 there. Where HTTP is spoken, a client that offers none is taken to speak it.
pub(super) const ALPN_HTTP: &[u8] = b"http/1.1";

/// Tickets that a client gets, each good for one resumption: for itself, and for one more
/// connection at its side.
const TICKETS: usize = 2;

/// Takes clients that speak TLS.
#[derive(Debug, Clone)]
pub struct TlsAcceptor {
    /// For the address of ferry's own protocol.
    config: Arc<ServerConfig>,
    /// For that of HTTP.
    http: Arc<ServerConfig>,
    identity: Identity,
    scratch: Scratch,
}

impl TlsAcceptor {
    /// Makes ready to be `identity` for clients. Where `offers_http`, they may speak HTTP at the address of ferry's own
    /// protocol as well, if they say so (ALPN).
    ///
    /// # Errors
    ///
    /// A system that gives no random numbers.
    pub fn new(identity: &Identity, offers_http: bool) -> Result<TlsAcceptor, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&[&TLS13])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(identity.key.as_ref().clone())));
        config.alpn_protocols = vec![ALPN.to_vec()];
        if offers_http {
            config.alpn_protocols.push(ALPN_HTTP.to_vec());
        }
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = ring::Ticketer::new()?;
        config.send_tls13_tickets = TICKETS;
        let mut http = config.clone();
        http.alpn_protocols = vec![ALPN_HTTP.to_vec()];
        let (config, http) = (Arc::new(config), Arc::new(http));
        Ok(TlsAcceptor { config, http, identity: identity.clone(), scratch: Scratch::new() })
    }

    /// Replaces key and certificates by those of `other`, for new clients. Where that has the same
    /// key and the same certificates, nothing changes, and clients can take up their sessions
    /// again.
    pub(crate) fn become_like(&mut self, other: TlsAcceptor) {
        if !self.identity.is_same(&other.identity) {
            (self.config, self.http, self.identity) = (other.config, other.http, other.identity);
        }
    }

    /// Begins with a client of `service`, whose hello is due.
    ///
    /// # Errors
    ///
    /// None in practice: the configuration is right.
    pub fn accept(&self, service: Service) -> Result<Tls, rustls::Error> {
        let config = match service {
            Service::Ferry => &self.config,
            Service::Http => &self.http,
        };
        Tls::new(config.clone(), self.scratch.clone())
    }
}

/// Returns the ciphers of rustls, the fastest first: AES with 128 bits is as safe here as with 256.
/// A client without instructions for AES says so by its own order, which counts.
pub(super) fn provider() -> CryptoProvider {
    let mut provider = ring::default_provider();
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    provider
}
