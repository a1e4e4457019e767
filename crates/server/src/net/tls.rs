//! TLS between a session and its socket: a thin type over rustls, which does no IO of its own.
//!
//! TLS 1.3 only. Sessions are resumed by tickets that the server seals and does not keep, so that nothing is held for who may
//! come back. Nothing is asked of the client but a hello, and nothing of it is read beside its bytes.

use std::{
    fmt,
    io::{self, IoSlice, Read, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustix::io::Errno;
use rustls::{
    AlertDescription, CipherSuite, InvalidMessage, PeerIncompatible, ServerConfig, ServerConnection,
    crypto::{CryptoProvider, ring},
    server::NoServerSessionStorage,
    sign::SingleCertAndKey,
    version::TLS13,
};

use super::keys::Identity;

/// The name of our protocol among those that a client may offer (ALPN). A client that offers none is taken to speak it.
const ALPN: &[u8] = b"ferry/1";

/// Plaintext that is sealed at once, and waits, sealed, for a socket that is full: four records. A write of as many bytes costs
/// the system little more than their copying.
const SEALED_BYTES: usize = 64 << 10;

/// What is read from a socket at once.
const SCRATCH_BYTES: usize = 64 << 10;

/// The same while the handshake lasts: of what may stand behind it, no more than rustls keeps.
const HELLO_BYTES: usize = 8 << 10;

/// Tickets that a client gets, each good for one resumption: for itself, and for one more connection at its side.
const TICKETS: usize = 2;

/// With what every record of a handshake begins (RFC 8446, section 5.1).
const HANDSHAKE_RECORD: u8 = 22;

/// Takes clients that speak TLS.
#[derive(Debug, Clone)]
pub struct TlsAcceptor {
    config: Arc<ServerConfig>,
    scratch: Scratch,
}

/// What all clients of one loop use in turn, between socket and session. One thread does, and never waits for it.
#[derive(Debug, Clone)]
struct Scratch(Arc<Mutex<Box<[u8]>>>);

impl Scratch {
    fn new() -> Scratch {
        Scratch(Arc::new(Mutex::new(vec![0; SCRATCH_BYTES].into())))
    }

    fn lock(&self) -> MutexGuard<'_, Box<[u8]>> {
        // Nothing in it outlives a call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TlsAcceptor {
    /// Makes ready to be `identity` for clients.
    ///
    /// # Errors
    ///
    /// A system that gives no random numbers.
    pub fn new(identity: &Identity) -> Result<TlsAcceptor, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&[&TLS13])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(identity.key.as_ref().clone())));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = ring::Ticketer::new()?;
        config.send_tls13_tickets = TICKETS;
        Ok(TlsAcceptor { config: Arc::new(config), scratch: Scratch::new() })
    }

    /// Begins with a client, whose hello is due.
    ///
    /// # Errors
    ///
    /// None in practice: the configuration is right.
    pub fn accept(&self) -> Result<Tls, rustls::Error> {
        let mut connection = ServerConnection::new(self.config.clone())?;
        // One piece is sealed at a time; records have heads, and a handshake is not cut.
        connection.set_buffer_limit(Some(2 * SEALED_BYTES));
        let scratch = self.scratch.clone();
        Ok(Tls { connection, scratch, has_begun: false, is_closed: false, sealed: 0, written: 0 })
    }
}

/// The ciphers of rustls, the fastest first: AES with 128 bits is as safe here as with 256. A client without instructions for
/// AES says so by its own order, which counts.
fn provider() -> CryptoProvider {
    let mut provider = ring::default_provider();
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    provider
}

/// A client that speaks TLS, or is about to.
///
/// First [`shake`](Self::shake) until that is done; then bytes come by [`read`](Self::read), and go by [`write`](Self::write).
/// After each of them there may be something to [`push`](Self::push) when the socket has room again.
pub struct Tls {
    connection: ServerConnection,
    scratch: Scratch,
    /// A byte of the client has come.
    has_begun: bool,
    /// The client was told that nothing more will come.
    is_closed: bool,
    /// Plaintext that was sealed and is not told of as sent yet.
    sealed: usize,
    /// Bytes that the socket took since the last of it was sealed.
    written: usize,
}

/// What one read brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Bytes for the session.
    pub plain: usize,
    /// Bytes that came from the socket.
    pub wire: usize,
    /// The socket had less than there was room for.
    pub is_short: bool,
}

/// Why nothing more can come of a client.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// It does not speak TLS.
    #[error("the client does not speak TLS, and this address speaks nothing else")]
    Plain,
    /// It closed its side, or was cut off, without saying so: nobody knows whether that is all it sent.
    #[error("it was cut off: its side ended without a close_notify")]
    Cut,
    /// It sends what has nothing in it, and a lot of it.
    #[error("it sends records without anything in them")]
    Hollow,
    /// It broke TLS, or speaks none that this server does; it is told by an alert, which is to be flushed.
    #[error("{}", shown(.0))]
    Protocol(rustls::Error),
    /// The socket failed; [`WouldBlock`](io::ErrorKind::WouldBlock) says that nothing is there for now.
    #[error(transparent)]
    Io(#[from] io::Error),
}

fn shown(error: &rustls::Error) -> String {
    match error {
        rustls::Error::PeerIncompatible(
            PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::Tls13RequiredForQuic
            | PeerIncompatible::SupportedVersionsExtensionRequired,
        ) => "it does not speak TLS 1.3, and this server nothing older".into(),
        rustls::Error::PeerIncompatible(why) => format!("it has nothing in common with this server's TLS 1.3: {why:?}"),
        rustls::Error::NoApplicationProtocol => "the client asks for another protocol than ferry/1 (ALPN)".into(),
        rustls::Error::AlertReceived(alert) => format!("it gave up: {}", said(*alert)),
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => "what it sends is no TLS".into(),
        error => format!("broken TLS: {error}"),
    }
}

fn said(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::BadCertificate | AlertDescription::UnknownCA | AlertDescription::CertificateUnknown => {
            format!("it does not trust this server's certificate ({alert:?})")
        }
        alert => format!("{alert:?}"),
    }
}

impl Tls {
    /// Brings the handshake on as far as what has come lets it, by one read at most; true when it is done. What the
    /// client said behind it is kept for [`read`](Self::read).
    ///
    /// # Errors
    ///
    /// See [`TlsError`]; behind any but [`TlsError::Io`] with `WouldBlock` nothing more comes.
    pub fn shake(&mut self, socket: &mut (impl Read + Write)) -> Result<bool, TlsError> {
        let scratch = self.scratch.clone();
        let mut scratch = scratch.lock();
        let count = self.take(socket, &mut scratch[..HELLO_BYTES])?;
        let mut rest = &scratch[..count];
        let mut fed = Ok(());
        while !rest.is_empty() && fed.is_ok() {
            self.connection.read_tls(&mut rest)?;
            fed = self.connection.process_new_packets().map(drop);
        }
        // An answer, or an alert that says why there is none.
        let pushed = self.push(socket);
        fed.map_err(TlsError::Protocol)?;
        match pushed {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error.into()),
            _ => Ok(!self.connection.is_handshaking()),
        }
    }

    /// Whether the client has said anything.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Reads at most once from `socket`, and opens what came into `buffer`. Bytes that were opened before come first, and
    /// without a look at the socket. No bytes at all, of either kind, are the end of the client's input, as it said itself.
    ///
    /// What does not fit `buffer` is at most one record, and is kept.
    ///
    /// # Errors
    ///
    /// See [`TlsError`]; behind any but [`TlsError::Io`] with `WouldBlock` nothing more comes.
    pub fn read(&mut self, socket: &mut impl Read, buffer: &mut [u8]) -> Result<Taken, TlsError> {
        debug_assert!(!buffer.is_empty(), "no room to read to");
        let mut plain = 0;
        if self.open(buffer, &mut plain)? || plain > 0 {
            return Ok(Taken { plain, wire: 0, is_short: false });
        }
        let scratch = self.scratch.clone();
        let mut scratch = scratch.lock();
        let most = scratch.len().min(buffer.len());
        let count = self.take(socket, &mut scratch[..most])?;
        let mut rest = &scratch[..count];
        while !rest.is_empty() {
            self.connection.read_tls(&mut rest)?;
            self.connection.process_new_packets().map_err(TlsError::Protocol)?;
            if self.open(buffer, &mut plain)? {
                // What stands behind its farewell is not looked at.
                break;
            }
        }
        Ok(Taken { plain, wire: count, is_short: count < most })
    }

    /// Reads from `socket`. That it has ended is for TLS to say, and not for TCP.
    fn take(&mut self, socket: &mut impl Read, wire: &mut [u8]) -> Result<usize, TlsError> {
        let count = retried(|| socket.read(wire))?;
        if count == 0 {
            return Err(TlsError::Cut);
        }
        if !std::mem::replace(&mut self.has_begun, true) && wire[0] != HANDSHAKE_RECORD {
            return Err(TlsError::Plain);
        }
        Ok(count)
    }

    /// Moves opened bytes into `buffer` behind the `filled` first; true where the client has said that there will be no more.
    fn open(&mut self, buffer: &mut [u8], filled: &mut usize) -> Result<bool, TlsError> {
        while *filled < buffer.len() {
            match self.connection.reader().read(&mut buffer[*filled..]) {
                Ok(0) => return Ok(true),
                Ok(count) => *filled += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }

    /// Whether there are bytes of the client that [`read`](Self::read) gives without a look at the socket.
    #[must_use]
    pub fn has_plain(&mut self) -> bool {
        matches!(self.connection.reader().into_first_chunk(), Ok(chunk) if !chunk.is_empty())
    }

    /// Seals from the front of `slices`, at most [`SEALED_BYTES`] at once, and sends what `socket` takes. Returns how many
    /// bytes of `slices` have gone so: what has not is to be given again, in front of anything else. The last byte of what was
    /// sealed at once counts only when all of that has gone.
    ///
    /// Where fewer bytes are given than were sealed before, no more than these count now, and the rest with later calls.
    ///
    /// # Errors
    ///
    /// Those of the socket, `WouldBlock` where it takes no more for now and nothing has gone.
    pub fn write(&mut self, socket: &mut impl Write, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.sealed == 0 {
            let mut writer = self.connection.writer();
            for slice in slices {
                let most = slice.len().min(SEALED_BYTES - self.sealed);
                // The limit of what may wait is above what is sealed at once.
                self.sealed += writer.write(&slice[..most])?;
            }
            self.written = 0;
        }
        self.send_sealed(socket, slices.iter().map(|slice| slice.len()).sum())
    }

    /// The same, of a file's bytes from `at` on, which are read here. [`None`] where the file ends there.
    ///
    /// # Errors
    ///
    /// Those of the socket, then those of the file.
    pub fn write_file(
        &mut self,
        socket: &mut impl Write,
        bytes: usize,
        read: impl FnOnce(&mut [u8]) -> Result<usize, Errno>,
    ) -> io::Result<Result<Option<usize>, Errno>> {
        if self.sealed > 0 {
            return self.send_sealed(socket, bytes).map(|gone| Ok(Some(gone)));
        }
        let scratch = self.scratch.clone();
        let mut scratch = scratch.lock();
        let most = bytes.min(scratch.len()).min(SEALED_BYTES);
        match read(&mut scratch[..most]) {
            Ok(0) => Ok(Ok(None)),
            Ok(count) => self.write(socket, &[IoSlice::new(&scratch[..count])]).map(|gone| Ok(Some(gone))),
            Err(errno) => Ok(Err(errno)),
        }
    }

    /// Sends what was sealed, and returns how many bytes of it have gone, of which at most `most` are told of now.
    fn send_sealed(&mut self, socket: &mut impl Write, most: usize) -> io::Result<usize> {
        let pushed = self.push(socket);
        let gone = match self.connection.wants_write() {
            true => self.written.min(self.sealed.saturating_sub(1)),
            false => self.sealed,
        };
        let gone = gone.min(most);
        self.sealed -= gone;
        self.written -= gone.min(self.written);
        match pushed {
            Err(error) if gone == 0 => Err(error),
            _ => Ok(gone),
        }
    }

    /// Sends what waits, as far as `socket` takes it.
    ///
    /// # Errors
    ///
    /// Those of the socket, `WouldBlock` where it takes no more for now.
    pub fn push(&mut self, socket: &mut impl Write) -> io::Result<()> {
        while self.connection.wants_write() {
            self.written += retried(|| self.connection.write_tls(socket))?;
        }
        Ok(())
    }

    /// Whether something waits for the socket.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.connection.wants_write()
    }

    /// Says that the server will send nothing more; that is to be [pushed](Self::push).
    pub fn close(&mut self) {
        if !std::mem::replace(&mut self.is_closed, true) {
            self.connection.send_close_notify();
        }
    }

    /// Gives buffers back: an idle client holds a connection's keys, and little more.
    pub fn rest(&mut self) {
        if !self.has_plain() {
            // A read that finds nothing makes the buffer for records as small as it gets.
            let _ = self.connection.read_tls(&mut Nothing);
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

/// A source that has nothing for now.
struct Nothing;

impl Read for Nothing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

/// Makes a call again for as long as a signal interrupts it.
fn retried<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use rustls::{
        ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        pki_types::{CertificateDer, ServerName, UnixTime},
    };

    use super::*;

    /// Takes every server for the right one: who that is, is not what is tested here.
    #[derive(Debug)]
    struct Anybody;

    impl ServerCertVerifier for Anybody {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, rustls::Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            ring::default_provider().signature_verification_algorithms.supported_schemes()
        }
    }

    fn acceptor() -> TlsAcceptor {
        let state = tempfile::tempdir().unwrap();
        TlsAcceptor::new(&Identity::own(state.path()).unwrap()).unwrap()
    }

    fn client_config(protocols: &[&[u8]]) -> Arc<ClientConfig> {
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody))
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Arc::new(config)
    }

    fn client(protocols: &[&[u8]]) -> ClientConnection {
        ClientConnection::new(client_config(protocols), "localhost".try_into().unwrap()).unwrap()
    }

    /// One direction of a connection: gives at most `piece` bytes at a time, and takes no more than `room` in all.
    struct Pipe {
        bytes: VecDeque<u8>,
        piece: usize,
        room: usize,
        ended: bool,
    }

    impl Pipe {
        fn new(piece: usize) -> Pipe {
            Pipe { bytes: VecDeque::new(), piece, room: usize::MAX, ended: false }
        }

        fn holding(bytes: &[u8]) -> Pipe {
            Pipe { bytes: bytes.iter().copied().collect(), ended: true, ..Pipe::new(usize::MAX) }
        }
    }

    impl Read for Pipe {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = buffer.len().min(self.piece).min(self.bytes.len());
            if count == 0 && !self.ended {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            buffer.iter_mut().zip(self.bytes.drain(..count)).for_each(|(to, from)| *to = from);
            Ok(count)
        }
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.piece).min(self.room - self.bytes.len().min(self.room));
            if count == 0 && !bytes.is_empty() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.bytes.extend(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A client and a server, and what lies between them.
    struct Pair {
        client: ClientConnection,
        server: Tls,
        up: Pipe,
        down: Pipe,
        /// What the server got.
        got: Vec<u8>,
        buffer: usize,
    }

    impl Pair {
        fn new(piece: usize, buffer: usize) -> Pair {
            let (client, server) = (client(&[ALPN]), acceptor().accept().unwrap());
            Pair { client, server, up: Pipe::new(piece), down: Pipe::new(piece), got: Vec::new(), buffer }
        }

        /// Moves bytes until nothing moves any more.
        fn run(&mut self) -> Result<(), TlsError> {
            loop {
                let mut moved = false;
                while self.client.wants_write() && self.client.write_tls(&mut self.up).is_ok() {
                    moved = true;
                }
                moved |= self.serve()?;
                let _ = self.server.push(&mut self.down);
                while matches!(self.client.read_tls(&mut self.down), Ok(count) if count > 0) {
                    self.client.process_new_packets().map_err(TlsError::Protocol)?;
                    moved = true;
                }
                if !moved {
                    return Ok(());
                }
            }
        }

        /// One step of the server; false where nothing came.
        fn serve(&mut self) -> Result<bool, TlsError> {
            let mut buffer = vec![0; self.buffer];
            let step = if self.server.connection.is_handshaking() {
                let mut both = Both { up: &mut self.up, down: &mut self.down };
                self.server.shake(&mut both).map(|_| Taken { plain: 0, wire: 1, is_short: false })
            } else {
                self.server.read(&mut self.up, &mut buffer)
            };
            match step {
                Ok(Taken { plain, wire, .. }) => {
                    self.got.extend_from_slice(&buffer[..plain]);
                    Ok(plain + wire > 0)
                }
                Err(TlsError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
                Err(error) => Err(error),
            }
        }
    }

    /// The server's socket.
    struct Both<'a> {
        up: &'a mut Pipe,
        down: &'a mut Pipe,
    }

    impl Read for Both<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.up.read(buffer)
        }
    }

    impl Write for Both<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.down.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn bytes_come_through_in_pieces_of_any_size() {
        for (piece, buffer) in [(1, 1), (7, 3), (100, 5000), (4096, 1), (usize::MAX, 100_000)] {
            let mut pair = Pair::new(piece, buffer);
            let sent: Vec<u8> = (0..40_000_u32).map(|byte| byte as u8).collect();
            pair.run().unwrap();
            assert!(!pair.server.connection.is_handshaking());
            pair.client.writer().write_all(&sent).unwrap();
            pair.run().unwrap();
            assert!(pair.got == sent, "pieces of {piece}, a buffer of {buffer}");
        }
    }

    #[test]
    fn what_is_sealed_counts_as_sent_when_it_has_gone() {
        let mut pair = Pair::new(usize::MAX, 4096);
        pair.run().unwrap();
        let sent: Vec<u8> = (0..200_000_u32).map(|byte| (byte / 3) as u8).collect();
        let (mut gone, mut arrived) = (0, Vec::new());
        while gone < sent.len() {
            // The socket takes some, then no more until the client has read it.
            pair.down.room = 10_000;
            loop {
                let slices = [&sent[gone..sent.len().min(gone + 1000)], &sent[sent.len().min(gone + 1000)..]];
                match pair.server.write(&mut pair.down, &slices.map(IoSlice::new)) {
                    Ok(0) => break,
                    Ok(count) => gone += count,
                    Err(error) => {
                        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                        break;
                    }
                }
            }
            while matches!(pair.client.read_tls(&mut pair.down), Ok(count) if count > 0) {
                pair.client.process_new_packets().unwrap();
                let _ = pair.client.reader().read_to_end(&mut arrived);
            }
            assert!(gone < sent.len() || !pair.server.is_pending(), "told before it has gone");
        }
        assert!(arrived == sent);
    }

    #[test]
    fn no_more_counts_as_sent_than_was_given() {
        let mut pair = Pair::new(usize::MAX, 4096);
        pair.run().unwrap();
        let sent = vec![7; 30_000];
        // The socket is full, takes the rest by itself, and the next call gives less than was sealed.
        pair.down.room = 1_000;
        assert!(pair.server.write(&mut pair.down, &[IoSlice::new(&sent)]).unwrap() < sent.len());
        pair.down.room = usize::MAX;
        pair.server.push(&mut pair.down).unwrap();
        assert_eq!(pair.server.write(&mut pair.down, &[IoSlice::new(&sent[..10])]).unwrap(), 10);
        let of_file = pair.server.write_file(&mut pair.down, 20, |_| Ok(0)).unwrap();
        assert_eq!(of_file, Ok(Some(20)));
        let left = pair.server.sealed;
        assert_eq!(pair.server.write(&mut pair.down, &[IoSlice::new(&sent)]).unwrap(), left);
    }

    #[test]
    fn the_end_is_what_the_client_says_and_nothing_else() {
        let mut pair = Pair::new(usize::MAX, 4096);
        pair.run().unwrap();
        pair.client.writer().write_all(b"some").unwrap();
        pair.client.send_close_notify();
        pair.run().unwrap();
        assert_eq!(pair.got, b"some");
        let ended = pair.server.read(&mut pair.up, &mut [0; 64]).unwrap();
        assert_eq!(ended.plain, 0);

        let mut pair = Pair::new(usize::MAX, 4096);
        pair.run().unwrap();
        pair.client.writer().write_all(b"some").unwrap();
        pair.run().unwrap();
        pair.up.ended = true;
        assert!(matches!(pair.run(), Err(TlsError::Cut)));
        assert_eq!(pair.got, b"some");
    }

    #[test]
    fn sessions_are_resumed() {
        let (acceptor, config) = (acceptor(), client_config(&[ALPN]));
        let kinds: Vec<_> = (0..3)
            .map(|_| {
                let client = ClientConnection::new(config.clone(), "localhost".try_into().unwrap()).unwrap();
                let (up, down) = (Pipe::new(usize::MAX), Pipe::new(usize::MAX));
                let mut pair =
                    Pair { client, server: acceptor.accept().unwrap(), up, down, got: Vec::new(), buffer: 4096 };
                pair.run().unwrap();
                pair.client.handshake_kind().unwrap()
            })
            .collect();
        assert_eq!(kinds[0], rustls::HandshakeKind::Full);
        assert_eq!(kinds[1..], [rustls::HandshakeKind::Resumed; 2]);
    }

    /// What a server makes of these bytes and their end, and what it says to them.
    fn answer(bytes: &[u8]) -> (TlsError, Vec<u8>) {
        let mut server = acceptor().accept().unwrap();
        let (mut pipe, mut said) = (Pipe::holding(bytes), Pipe::new(usize::MAX));
        let error = loop {
            match server.shake(&mut Both { up: &mut pipe, down: &mut said }) {
                Ok(is_done) => assert!(!is_done, "no key was agreed on"),
                Err(error) => break error,
            }
        };
        (error, said.bytes.into())
    }

    /// A hello, as a client of TLS 1.3 sends it.
    fn hello(protocols: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        client(protocols).write_tls(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn other_protocols_are_told_apart() {
        for plain in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"STAT x\n", b"\n", b"\0", b"\x80\x2e\x01"] {
            let (error, said) = answer(plain);
            assert!(matches!(error, TlsError::Plain), "{plain:?}: {error}");
            assert!(said.is_empty(), "who speaks no TLS understands no alert");
        }
        let mut pair = Pair::new(usize::MAX, 4096);
        pair.client = client(&[b"http/1.1"]);
        let error = pair.run().unwrap_err();
        assert!(error.to_string().contains("another protocol"), "{error}");
        pair.server.push(&mut pair.down).unwrap();
        pair.client.read_tls(&mut pair.down).unwrap();
        let told = pair.client.process_new_packets().unwrap_err();
        assert_eq!(told, rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol));

        let mut pair = Pair::new(usize::MAX, 4096);
        pair.client = client(&[]);
        pair.run().unwrap();
        assert!(!pair.server.connection.is_handshaking(), "who names no protocol is served");
    }

    #[test]
    fn an_older_tls_gets_an_alert() {
        // The extension supported_versions, with 1.3 alone: where 1.2 stands in it, that is all that the client speaks.
        let hello = hello(&[]);
        let at = hello.windows(7).position(|bytes| bytes == [0, 43, 0, 3, 2, 3, 4]).unwrap();
        let mut older = hello.clone();
        older[at + 6] = 3;
        let (error, said) = answer(&older);
        assert!(error.to_string().contains("TLS 1.3"), "{error}");
        // protocol_version.
        assert_eq!(said[5..], [2, 70]);
    }

    #[test]
    fn half_a_handshake_is_a_cut_and_garbage_an_error() {
        let whole = hello(&[ALPN]);
        for length in 0..whole.len() {
            assert!(matches!(answer(&whole[..length]).0, TlsError::Cut), "{length}");
        }
        let mut state = 7_u32;
        for at in (5..whole.len()).step_by(3) {
            let mut broken = whole.clone();
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            broken[at] ^= (state >> 24) as u8 | 1;
            // Random bytes in it may be anything; all else is an error, or waits for more. Nothing panics.
            let _ = answer(&broken);
        }
        for garbage in [&[22, 3, 1, 0, 0][..], &[22, 3, 1, 0, 4, 99, 0, 0, 0], &[22, 3, 3, 255, 255, 1], &[22; 20_000]]
        {
            let (error, _) = answer(garbage);
            assert!(matches!(error, TlsError::Protocol(_) | TlsError::Cut | TlsError::Io(_)), "{error}");
        }
    }

    #[test]
    fn garbage_inside_a_connection_ends_it_with_an_alert() {
        // A record that opens to nothing, one that is no record, a hello again as TLS 1.2 did it, and the change of a cipher.
        let hello = hello(&[ALPN]);
        for garbage in
            [&[23, 3, 3, 0, 30][..], &[99, 1, 2, 3, 4], &hello, &[21, 3, 3, 0, 2, 1, 0], &[20, 3, 3, 0, 1, 9]]
        {
            let mut pair = Pair::new(usize::MAX, 4096);
            pair.run().unwrap();
            pair.up.bytes.extend(garbage);
            pair.up.bytes.extend([0; 64]);
            let error = pair.run().unwrap_err();
            assert!(matches!(error, TlsError::Protocol(_)), "{garbage:?}: {error}");
            assert!(pair.server.push(&mut pair.down).is_ok() && !pair.down.bytes.is_empty(), "no alert: {garbage:?}");
            assert!(pair.got.is_empty());
        }
    }
}
