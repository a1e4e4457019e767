//! One side of TLS whose records are made by hand: right ones, and such as no library would send.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{Arc, Mutex},
};

use ferry_e2e::{
    HANG_GUARD,
    secure::{self, Anybody},
};
use ring::{aead, hkdf};
use rustls::{
    CipherSuite, ClientConnection, KeyLog, ServerConfig, ServerConnection,
    client::Resumption,
    crypto::{CryptoProvider, ring as provider},
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName},
    version::TLS13,
};

/// Types of records, and of what is in them.
pub(crate) const CHANGE_CIPHER_SPEC: u8 = 20;
pub(crate) const ALERT: u8 = 21;
pub(crate) const HANDSHAKE: u8 = 22;
pub(crate) const DATA: u8 = 23;

/// The most that the content of a record may hold, and what sealing it may add.
pub(crate) const CONTENT_BYTES: usize = 1 << 14;
pub(crate) const ADDED_BYTES: usize = 256;

/// KeyUpdate: the peer need not do the same, or has to.
pub(crate) const UPDATE: [u8; 5] = [24, 0, 0, 1, 0];
pub(crate) const UPDATE_BOTH: [u8; 5] = [24, 0, 0, 1, 1];

/// Seals records with the keys that one side came to in its handshake.
pub(crate) struct Sealer {
    secret: Vec<u8>,
    sequence: u64,
}

impl Sealer {
    /// A record of `content`, which is said to be `kind`, and padded with so many zeros.
    pub(crate) fn seal(&mut self, kind: u8, content: &[u8], padding: usize) -> Vec<u8> {
        let inner = [content, &[kind], &vec![0; padding]].concat();
        self.seal_inner(inner)
    }

    /// A record of what stands in it with its type.
    pub(crate) fn seal_inner(&mut self, mut inner: Vec<u8>) -> Vec<u8> {
        let key = aead::UnboundKey::new(&aead::AES_128_GCM, &self.expanded("key", 16)).unwrap();
        let mut nonce: [u8; 12] = self.expanded("iv", 12).try_into().unwrap();
        for (byte, sequence) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= sequence;
        }
        self.sequence += 1;
        let head = head(DATA, inner.len() + aead::AES_128_GCM.tag_len());
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        aead::LessSafeKey::new(key).seal_in_place_append_tag(nonce, aead::Aad::from(head), &mut inner).unwrap();
        [&head, inner.as_slice()].concat()
    }

    /// Goes over to the next keys, as behind a KeyUpdate.
    pub(crate) fn update(&mut self) {
        self.secret = self.expanded("traffic upd", 32);
        self.sequence = 0;
    }

    /// HKDF-Expand-Label of RFC 8446, section 7.1.
    fn expanded(&self, label: &str, bytes: usize) -> Vec<u8> {
        struct Length(usize);
        impl hkdf::KeyType for Length {
            fn len(&self) -> usize {
                self.0
            }
        }
        let label = format!("tls13 {label}");
        let parts: [&[u8]; 4] = [&(bytes as u16).to_be_bytes(), &[label.len() as u8], label.as_bytes(), &[0]];
        let secret = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, &self.secret);
        let mut expanded = vec![0; bytes];
        secret.expand(&parts, Length(bytes)).unwrap().fill(&mut expanded).unwrap();
        expanded
    }
}

/// The head of a record.
pub(crate) fn head(kind: u8, bytes: usize) -> [u8; 5] {
    let [high, low] = (bytes as u16).to_be_bytes();
    [kind, 3, 3, high, low]
}

/// A record that is not sealed.
pub(crate) fn open_record(kind: u8, content: &[u8]) -> Vec<u8> {
    [&head(kind, content.len()), content].concat()
}

/// Keeps the secret by which one side seals.
#[derive(Debug)]
struct Secret(&'static str, Mutex<Vec<u8>>);

impl Secret {
    fn of(label: &'static str) -> Arc<Secret> {
        Arc::new(Secret(label, Mutex::default()))
    }

    fn sealer(&self) -> Sealer {
        Sealer { secret: self.1.lock().unwrap().clone(), sequence: 0 }
    }
}

impl KeyLog for Secret {
    fn log(&self, label: &str, _: &[u8], secret: &[u8]) {
        if label == self.0 {
            *self.1.lock().unwrap() = secret.to_vec();
        }
    }
}

/// A client whose hands are shaken, and whose records are made by hand.
pub(crate) struct Forge {
    pub(crate) stream: TcpStream,
    pub(crate) sealer: Sealer,
    connection: ClientConnection,
}

impl Forge {
    pub(crate) fn connect(address: SocketAddr) -> Forge {
        let secret = Secret::of("CLIENT_TRAFFIC_SECRET_0");
        let mut stream = connect(address);
        let mut connection = connection(secret.clone());
        while connection.is_handshaking() {
            connection.complete_io(&mut stream).expect("a handshake");
        }
        Forge { stream, sealer: secret.sealer(), connection }
    }

    /// Sends `bytes` as they are, as far as the server takes them.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Seals `text` and sends it.
    pub(crate) fn say(&mut self, text: &str) {
        let sealed = self.sealer.seal(DATA, text.as_bytes(), 0);
        self.send(&sealed);
    }

    /// Reads until the server has said `count` lines, or all that it has to say. Returns that, and how it ended.
    pub(crate) fn hear(&mut self, count: usize) -> (String, Option<io::Error>) {
        let mut said = Vec::new();
        let why = loop {
            if said.iter().filter(|byte| **byte == b'\n').count() >= count {
                break None;
            }
            match self.connection.read_tls(&mut self.stream) {
                Ok(0) => break Some(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) => break Some(error),
            }
            let processed = self.connection.process_new_packets();
            if let Err(why) = self.connection.reader().read_to_end(&mut said)
                && why.kind() != io::ErrorKind::WouldBlock
            {
                break Some(why);
            }
            match processed {
                Ok(state) if state.peer_has_closed() => break None,
                Ok(_) => {}
                Err(error) => break Some(io::Error::other(error)),
            }
        };
        (String::from_utf8_lossy(&said).into_owned(), why)
    }
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, HANG_GUARD).unwrap();
    stream.set_read_timeout(Some(HANG_GUARD)).unwrap();
    stream.set_write_timeout(Some(HANG_GUARD)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// The first bytes that a client sends.
pub(crate) fn hello() -> Vec<u8> {
    let mut hello = Vec::new();
    connection(Secret::of("")).write_tls(&mut hello).unwrap();
    hello
}

fn one_cipher() -> CryptoProvider {
    let mut provider = provider::default_provider();
    provider.cipher_suites.retain(|suite| suite.suite() == CipherSuite::TLS13_AES_128_GCM_SHA256);
    provider
}

fn connection(secret: Arc<Secret>) -> ClientConnection {
    let mut config = secure::config(one_cipher(), Anybody::default(), &[]);
    config.resumption = Resumption::disabled();
    config.key_log = secret;
    ClientConnection::new(Arc::new(config), ServerName::try_from("ferryd").unwrap()).unwrap()
}

/// A server with a certificate of its own, whose records are made by hand.
pub(crate) struct Impostor {
    pub(crate) stream: TcpStream,
    pub(crate) sealer: Sealer,
    pub(crate) connection: ServerConnection,
}

/// Shakes hands with a client; [`None`] where that goes before.
pub(crate) fn impersonate(mut stream: TcpStream) -> Option<Impostor> {
    stream.set_read_timeout(Some(HANG_GUARD)).ok()?;
    let key = rcgen::generate_simple_self_signed(["ferryd".to_owned()]).unwrap();
    let certificate = CertificateDer::from(key.cert.der().to_vec());
    let private = PrivatePkcs8KeyDer::from(key.signing_key.serialize_der());
    let builder = ServerConfig::builder_with_provider(one_cipher().into()).with_protocol_versions(&[&TLS13]).unwrap();
    let mut config = builder.with_no_client_auth().with_single_cert(vec![certificate], private.into()).unwrap();
    let secret = Secret::of("SERVER_TRAFFIC_SECRET_0");
    config.key_log = secret.clone();
    // Tickets would be sealed by it, and count as records.
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![b"ferry/1".to_vec()];
    let mut connection = ServerConnection::new(Arc::new(config)).unwrap();
    while connection.is_handshaking() {
        if connection.complete_io(&mut stream).is_err() {
            return None;
        }
    }
    Some(Impostor { stream, sealer: secret.sealer(), connection })
}

impl Impostor {
    /// Opens what the client says until it goes, or has said so many lines.
    pub(crate) fn hear(&mut self, lines: usize) -> Vec<u8> {
        let mut said = Vec::new();
        loop {
            let _ = self.connection.reader().read_to_end(&mut said);
            if said.iter().filter(|byte| **byte == b'\n').count() >= lines {
                return said;
            }
            match self.connection.read_tls(&mut self.stream) {
                Ok(0) | Err(_) => return said,
                Ok(_) if self.connection.process_new_packets().is_err() => return said,
                Ok(_) => {}
            }
        }
    }
}
