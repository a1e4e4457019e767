//! TLS for tests: by rustls, which both programs use as well, and nothing of theirs.

use std::{
    env,
    net::TcpStream,
    sync::{Arc, LazyLock},
};

use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, Stream,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{WebPkiSupportedAlgorithms, ring, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    version::TLS13,
};

/// With this variable set, servers of tests speak TLS, and so does [`Raw`](crate::Raw).
pub const VARIABLE: &str = "FERRY_E2E_TLS";

/// Whether the tests are to be run by TLS.
#[must_use]
pub fn is_asked_for() -> bool {
    env::var_os(VARIABLE).is_some_and(|value| !value.is_empty())
}

/// Whether a test is to be skipped where the tests are run by TLS, and says `why` if so.
#[must_use]
pub fn skips(why: &str) -> bool {
    let is_skipped = is_asked_for();
    if is_skipped {
        eprintln!("skipped by TLS: {why}");
    }
    is_skipped
}

/// The client's side of TLS, which takes any server.
#[derive(Debug)]
pub(crate) struct Secure(ClientConnection);

impl Default for Secure {
    fn default() -> Secure {
        static CONFIG: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| Arc::new(config()));
        let name = ServerName::try_from("ferryd").expect("a name");
        Secure(ClientConnection::new(CONFIG.clone(), name).expect("TLS works here"))
    }
}

impl Secure {
    /// Reads and writes over `stream`, and shakes hands before.
    pub(crate) fn over<'a>(&'a mut self, stream: &'a mut TcpStream) -> Stream<'a, ClientConnection, TcpStream> {
        Stream::new(&mut self.0, stream)
    }

    /// Says that nothing more will be sent.
    pub(crate) fn close(&mut self, stream: &mut TcpStream) {
        self.0.send_close_notify();
        while self.0.wants_write() {
            self.0.write_tls(stream).expect("the connection stands");
        }
    }
}

fn config() -> ClientConfig {
    let provider = ring::default_provider();
    let verifier = Anybody(provider.signature_verification_algorithms);
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&TLS13])
        .expect("TLS 1.3 is known")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"ferry/1".to_vec()];
    config
}

/// Takes every server that holds the key of its certificate.
#[derive(Debug)]
struct Anybody(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
