//! Tests of TLS against the client's side of rustls, without sockets.

use std::{collections::VecDeque, sync::LazyLock};

use rustls::{AlertDescription, ClientConfig, ClientConnection, RootCertStore, version::TLS13};

use super::*;
use crate::net::{
    Service,
    keys::Identity,
    tls::{
        TlsAcceptor,
        acceptor::{ALPN, provider},
    },
};

/// The key of every server here.
static IDENTITY: LazyLock<Identity> = LazyLock::new(|| {
    let state = tempfile::tempdir().unwrap();
    Identity::own(state.path()).unwrap()
});

fn acceptor() -> TlsAcceptor {
    TlsAcceptor::new(&IDENTITY, false).unwrap()
}

fn client_config(protocols: &[&[u8]]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(IDENTITY.key.cert[0].clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Arc::new(config)
}

fn client(protocols: &[&[u8]]) -> ClientConnection {
    ClientConnection::new(client_config(protocols), "ferryd".try_into().unwrap()).unwrap()
}

/// One direction of a connection: gives at most `piece` bytes at a time, and takes no more than
/// `room` in all.
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
    /// The bytes that the server got.
    got: Vec<u8>,
    buffer: usize,
}

impl Pair {
    fn new(piece: usize, buffer: usize) -> Pair {
        let (client, server) = (client(&[ALPN]), acceptor().accept(Service::Ferry).unwrap());
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
    let left = pair.server.sealed;
    assert_eq!(pair.server.write(&mut pair.down, &[IoSlice::new(&sent)]).unwrap(), left);
}

#[test]
fn runs_of_bytes_share_records_and_one_write() {
    let mut pair = Pair::new(usize::MAX, 4096);
    pair.run().unwrap();
    let (header, piece, end) = ([1; 12], vec![2; 40_000], [3; 20]);
    let slices = [&header[..], &piece, &end].map(IoSlice::new);
    let mut socket = Records::default();
    assert_eq!(pair.server.write(&mut socket, &slices).unwrap(), 40_032);
    assert_eq!(socket, Records { writes: 1, records: 40_032_usize.div_ceil(16 << 10) });
}

/// A socket that counts what it takes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Records {
    writes: usize,
    records: usize,
}

impl Write for Records {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, records: &[IoSlice<'_>]) -> io::Result<usize> {
        self.writes += 1;
        self.records += records.len();
        Ok(records.iter().map(|record| record.len()).sum())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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
            let client = ClientConnection::new(config.clone(), "ferryd".try_into().unwrap()).unwrap();
            let (up, down) = (Pipe::new(usize::MAX), Pipe::new(usize::MAX));
            let mut pair = Pair {
                client,
                server: acceptor.accept(Service::Ferry).unwrap(),
                up,
                down,
                got: Vec::new(),
                buffer: 4096,
            };
            pair.run().unwrap();
            pair.client.handshake_kind().unwrap()
        })
        .collect();
    assert_eq!(kinds[0], rustls::HandshakeKind::Full);
    assert_eq!(kinds[1..], [rustls::HandshakeKind::Resumed; 2]);
}

/// Returns how a server fails on these bytes and their end, and the bytes that it answers.
fn answer(bytes: &[u8]) -> (TlsError, Vec<u8>) {
    let mut server = acceptor().accept(Service::Ferry).unwrap();
    let (mut pipe, mut said) = (Pipe::holding(bytes), Pipe::new(usize::MAX));
    let error = loop {
        match server.shake(&mut Both { up: &mut pipe, down: &mut said }) {
            Ok(is_done) => assert!(!is_done, "no key was agreed on"),
            Err(error) => break error,
        }
    };
    (error, said.bytes.into())
}

/// Returns a hello, as a client of TLS 1.3 sends it.
fn hello(protocols: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    client(protocols).write_tls(&mut bytes).unwrap();
    bytes
}

#[test]
fn other_protocols_are_told_apart() {
    for (plain, speaks_http) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], true),
        (b"STAT x\n", false),
        (b"\n", false),
        (b"\0", false),
        (b"\x80\x2e\x01", false),
        // It ends before that is known.
        (b"GET / HTTP/1.1", false),
    ] {
        let (error, said) = answer(plain);
        assert!(matches!(error, TlsError::Plain { is_http } if is_http == speaks_http), "{plain:?}: {error}");
        assert!(said.is_empty(), "who speaks no TLS understands no alert");
    }
    let mut pair = Pair::new(usize::MAX, 4096);
    pair.client = client(&[b"http/1.1"]);
    let error = pair.run().unwrap_err();
    assert!(error.to_string().contains("not spoken here"), "{error}");
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
fn http_is_chosen_where_it_is_offered() {
    let offering = TlsAcceptor::new(&IDENTITY, true).unwrap();
    for (service, protocols, expected) in [
        (Service::Ferry, &[&b"h2"[..], b"http/1.1"][..], Some(true)),
        (Service::Ferry, &[b"http/1.1", b"ferry/1"], Some(false)),
        (Service::Ferry, &[], Some(false)),
        (Service::Http, &[b"http/1.1"], Some(true)),
        (Service::Http, &[], Some(false)),
        (Service::Http, &[b"ferry/1"], None),
    ] {
        let mut pair = Pair::new(usize::MAX, 4096);
        (pair.client, pair.server) = (client(protocols), offering.accept(service).unwrap());
        let speaks = pair.run().is_ok().then(|| pair.server.speaks_http());
        assert_eq!(speaks, expected, "{service:?} {protocols:?}");
    }
}

#[test]
fn an_older_tls_gets_an_alert() {
    // The extension supported_versions, with 1.3 alone: where 1.2 stands in it, that is all that
    // the client speaks.
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
    for garbage in [&[22, 3, 1, 0, 0][..], &[22, 3, 1, 0, 4, 99, 0, 0, 0], &[22, 3, 3, 255, 255, 1], &[22; 20_000]] {
        let (error, _) = answer(garbage);
        assert!(matches!(error, TlsError::Protocol(_) | TlsError::Cut | TlsError::Io(_)), "{error}");
    }
}

#[test]
fn garbage_inside_a_connection_ends_it_with_an_alert() {
    // A record that opens to nothing, one that is no record, a hello again as TLS 1.2 did it, and
    // the change of a cipher.
    let hello = hello(&[ALPN]);
    for garbage in [&[23, 3, 3, 0, 30][..], &[99, 1, 2, 3, 4], &hello, &[21, 3, 3, 0, 2, 1, 0], &[20, 3, 3, 0, 1, 9]] {
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
