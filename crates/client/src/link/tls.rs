//! TLS over the socket of a connection: rustls in between, which does no IO of its own.

use std::{
    fmt,
    io::{self, IoSlice, IoSliceMut, Read, Write},
    sync::Arc,
};

use rustls::{
    AlertDescription, ClientConfig, ClientConnection, InvalidMessage,
    pki_types::{CertificateDer, ServerName},
};

use crate::{address::Address, error::Error};

/// The most that is read from the socket at once: as much as the link takes.
const WIRE_BYTES: usize = 256 << 10;

/// The most that is read in one call without a byte of content in it: several records.
const FRUITLESS_BYTES: usize = 64 << 10;

/// Plaintext that is sealed at once, and waits, sealed, for a socket that is full.
const SEALED_BYTES: usize = 128 << 10;

/// Why there will be no TLS.
pub(super) struct NoTls {
    /// In words for people.
    pub(super) why: String,
    /// Whether the connection ended, and nothing was said about it.
    pub(super) is_cut: bool,
}

impl NoTls {
    fn cut(why: impl fmt::Display) -> NoTls {
        NoTls { why: why.to_string(), is_cut: true }
    }
}

/// The client's side of TLS.
///
/// Bytes that [`write`](Self::write) took are sealed, and may still [wait for the socket](Self::is_pending).
pub(super) struct Tls {
    connection: ClientConnection,
    wire: Box<[u8]>,
    /// The server has said that there will be no more.
    has_ended: bool,
    /// Whether the first bytes that came are a server's answer by TLS, once any have come.
    is_answered: Option<bool>,
}

impl Tls {
    /// Begins; nothing moves before [`shake`](Self::shake).
    pub(super) fn new(config: Arc<ClientConfig>, address: &Address) -> Result<Tls, Error> {
        // A host that can't be the name in a certificate: only its key can be known.
        let nameless = || ServerName::try_from("unnamed.invalid");
        let name = ServerName::try_from(address.host().to_owned()).or_else(|_| nameless());
        let made = name.map_err(|error| error.to_string()).and_then(|name| {
            let mut connection = ClientConnection::new(config, name).map_err(|error| error.to_string())?;
            connection.set_buffer_limit(Some(SEALED_BYTES));
            Ok(Tls { connection, wire: vec![0; WIRE_BYTES].into(), has_ended: false, is_answered: None })
        });
        made.map_err(|error| Error::tls(format_args!("cannot speak TLS with {address}: {error}")))
    }

    /// Brings the handshake on as far as the socket lets it now; true when it is done.
    ///
    /// # Errors
    ///
    /// Why there will be no TLS.
    pub(super) fn shake(&mut self, socket: &mut (impl Read + Write)) -> Result<bool, NoTls> {
        loop {
            self.push(socket).map_err(NoTls::cut)?;
            if !self.connection.is_handshaking() {
                return Ok(true);
            }
            let count = match socket.read(&mut self.wire) {
                Ok(0) if self.is_answered() => return Err(NoTls::cut("it closes in the middle of the handshake")),
                Ok(0) => return Err(NoTls::cut("it closes without a word of TLS")),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(NoTls::cut(error)),
            };
            self.is_answered.get_or_insert_with(|| begins_answer(&self.wire[..count]));
            let mut rest = &self.wire[..count];
            while !rest.is_empty() {
                let fed = self.connection.read_tls(&mut rest).map_err(|error| error.to_string());
                if let Err(why) = fed.and_then(|_| self.connection.process_new_packets().map_err(|error| shown(&error)))
                {
                    // The alert that tells the server why.
                    let _ = self.push(socket);
                    return Err(NoTls { why, is_cut: false });
                }
            }
        }
    }

    /// Whether the server has answered by TLS, if only by an alert.
    pub(super) fn is_answered(&self) -> bool {
        self.is_answered == Some(true)
    }

    /// Returns the certificates that the server showed, its own first.
    pub(super) fn chain(&self) -> &[CertificateDer<'static>] {
        self.connection.peer_certificates().unwrap_or_default()
    }

    /// Reads from `socket`, and opens what came into `places`, one after the other; 0 at the end of the stream, as the server
    /// itself said it.
    ///
    /// # Errors
    ///
    /// `WouldBlock` where nothing is there now; `UnexpectedEof` where the stream was cut; `InvalidData` where TLS broke, with
    /// why in words for people.
    pub(super) fn read(&mut self, socket: &mut impl Read, places: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let mut filled = Filled { places, count: 0 };
        self.open(&mut filled)?;
        // What is opened of so much has room in `places`, but for one record, which rustls keeps.
        let most = self.wire.len().min(filled.places.iter().map(|place| place.len()).sum());
        // The beginning of a record gives nothing yet, and no event says again that its rest is there. Records without
        // content are read on for so long only.
        let mut left = FRUITLESS_BYTES;
        while filled.count == 0 && !self.has_ended {
            if left == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let count = socket.read(&mut self.wire[..most])?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            left = left.saturating_sub(count);
            let mut fed = 0;
            while fed < count && !self.has_ended {
                fed += self.connection.read_tls(&mut &self.wire[fed..count])?;
                let processed = self.connection.process_new_packets();
                processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, broken(&error)))?;
                self.open(&mut filled)?;
            }
        }
        Ok(filled.count)
    }

    fn open(&mut self, filled: &mut Filled<'_, '_>) -> io::Result<()> {
        while let Some(room) = filled.room() {
            match self.connection.reader().read(room) {
                Ok(0) => {
                    self.has_ended = true;
                    break;
                }
                Ok(count) => filled.count += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Seals what fits of `pieces`, one after the other, where nothing sealed waits any more, and sends what `socket` takes.
    /// Returns how many bytes were sealed.
    ///
    /// # Errors
    ///
    /// Those of the socket, `WouldBlock` where nothing could be sealed.
    pub(super) fn write(&mut self, socket: &mut impl Write, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.push(socket)?;
        if self.is_pending() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        // As many as the limit lets wait, and in as few records as hold them.
        let sealed = self.connection.writer().write_vectored(pieces)?;
        self.push(socket)?;
        Ok(sealed)
    }

    /// Sends what waits, as far as `socket` takes it now.
    pub(super) fn push(&mut self, socket: &mut impl Write) -> io::Result<()> {
        while self.connection.wants_write() {
            match self.connection.write_tls(socket) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether something sealed waits for the socket.
    pub(super) fn is_pending(&self) -> bool {
        self.connection.wants_write()
    }

    /// Says good-bye, so that the server can tell the end from a cut; as far as `socket` takes it now.
    pub(super) fn close(&mut self, socket: &mut impl Write) {
        self.connection.send_close_notify();
        let _ = self.push(socket);
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

/// Places of which the first bytes are filled.
struct Filled<'a, 'b> {
    places: &'a mut [IoSliceMut<'b>],
    count: usize,
}

impl Filled<'_, '_> {
    /// The rest of the first place that is not full.
    fn room(&mut self) -> Option<&mut [u8]> {
        let mut before = self.count;
        for place in self.places.iter_mut() {
            if before < place.len() {
                return Some(&mut place[before..]);
            }
            before -= place.len();
        }
        None
    }
}

/// Returns whether a server's answer to a hello begins so: with an alert, or with its own hello (RFC 8446, sections 4 and
/// 5.1). An echo service sends back a client's hello.
fn begins_answer(bytes: &[u8]) -> bool {
    const ALERT: u8 = 21;
    const HANDSHAKE: u8 = 22;
    const SERVER_HELLO: u8 = 2;
    matches!(bytes, [ALERT, ..] | [HANDSHAKE, _, _, _, _, SERVER_HELLO, ..])
}

/// Returns why there will be no TLS.
fn shown(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "it does not speak TLS there. If it may be spoken to in the open: OPEN --plain".into()
        }
        rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol) => {
            "it speaks another protocol than ferry's over TLS".into()
        }
        rustls::Error::AlertReceived(AlertDescription::ProtocolVersion) | rustls::Error::PeerIncompatible(_) => {
            "it speaks no TLS 1.3, and this program nothing older".into()
        }
        rustls::Error::AlertReceived(AlertDescription::HandshakeFailure) => {
            "it shares no cipher with this program (HandshakeFailure)".into()
        }
        rustls::Error::AlertReceived(alert) => format!("its TLS refuses this program: {alert:?}"),
        error => format!("its TLS is broken: {error}"),
    }
}

/// Returns why there is no TLS any more.
fn broken(error: &rustls::Error) -> String {
    match error {
        rustls::Error::AlertReceived(alert) => format!("the server gave up TLS: {alert:?}"),
        error => format!("what came is not what the server sealed, or its TLS is wrong: {error}"),
    }
}
