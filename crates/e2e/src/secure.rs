//! TLS for tests: by rustls, which both programs use as well, and nothing of theirs.

use std::{
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, LazyLock},
};

use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    version::TLS13,
};

/// With this variable set, servers of tests speak TLS, and so do [`Socket`](crate::Socket), all that stands on it, and
/// [`ferry`](crate::ferry).
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

/// The client's side of a connection, which takes any server.
pub(crate) fn connection() -> ClientConnection {
    static CONFIG: LazyLock<Arc<ClientConfig>> =
        LazyLock::new(|| Arc::new(config(ring::default_provider(), Anybody::default(), &[b"ferry/1"])));
    let name = ServerName::try_from("ferryd").expect("a name");
    ClientConnection::new(CONFIG.clone(), name).expect("TLS works here")
}

/// Has the [`fingerprint`], in a process that a test starts: it is not to start a server only to know it.
pub const FINGERPRINT: &str = "FERRY_E2E_FINGERPRINT";

/// The fingerprint of the key that all servers share where the tests are run by TLS.
#[must_use]
pub fn fingerprint() -> &'static str {
    static FOUND: LazyLock<String> = LazyLock::new(|| {
        if let Ok(told) = env::var(FINGERPRINT) {
            return told;
        }
        let server = crate::Options::new().arg("--tls").arg("--state").arg(state()).start();
        server.fingerprint().to_owned()
    });
    &FOUND
}

/// Where that key is kept: beside the programs, made by whichever server comes first.
pub(crate) fn state() -> PathBuf {
    crate::ferryd().with_file_name("e2e-state")
}

/// A program that is `ferry` by TLS, and takes the key of these servers and no other.
pub(crate) fn client(ferry: &Path) -> PathBuf {
    let script = format!("#!/bin/sh\nexec '{}' --fingerprint {} \"$@\"\n", ferry.display(), fingerprint());
    let path = ferry.with_file_name("ferry-e2e-tls");
    if fs::read_to_string(&path).is_ok_and(|text| text == script) {
        return path;
    }
    // Written by another process: a program can't be run while anybody has it open for writing, and a process that
    // another thread forks just now would have it open for a moment.
    let new = path.with_extension(std::process::id().to_string());
    let mut shell = Command::new("sh")
        .args(["-c", "cat > \"$0\" && chmod 755 \"$0\" && mv \"$0\" \"$1\""])
        .args([&new, &path])
        .stdin(Stdio::piped())
        .spawn()
        .expect("a shell");
    shell.stdin.take().expect("piped").write_all(script.as_bytes()).expect("the shell reads");
    assert!(shell.wait().expect("a child").success(), "{} can't be made", path.display());
    path
}

/// Returns the client's side of TLS 1.3, which takes the servers that `taken` takes and speaks one of `protocols` (ALPN).
#[must_use]
pub fn config(provider: CryptoProvider, taken: Anybody, protocols: &[&[u8]]) -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&TLS13])
        .expect("TLS 1.3 is known")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(taken))
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    config
}

/// Takes every server that holds the key of its certificate.
#[derive(Debug)]
pub struct Anybody {
    algorithms: WebPkiSupportedAlgorithms,
    /// Whether what a server says of its key is checked.
    checks: bool,
}

impl Default for Anybody {
    fn default() -> Anybody {
        Anybody { algorithms: ring::default_provider().signature_verification_algorithms, checks: true }
    }
}

impl Anybody {
    /// Takes every server, whatever it holds: where the time of the other side alone is measured.
    #[must_use]
    pub fn unchecked() -> Anybody {
        Anybody { checks: false, ..Anybody::default() }
    }
}

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
        if self.checks {
            verify_tls13_signature(message, certificate, signed, &self.algorithms)
        } else {
            Ok(HandshakeSignatureValid::assertion())
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
