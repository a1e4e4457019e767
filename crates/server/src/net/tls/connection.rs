//! One client that speaks TLS.

use std::{
    fmt,
    io::{self, IoSlice, Read, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustls::{ServerConfig, ServerConnection};

use super::{acceptor::ALPN_HTTP, error::TlsError, plain::PlainStart};

/// Plaintext that is sealed at once, and waits, sealed, for a socket that is full: the most that a
/// session gives at once. A write of as many bytes costs the system little more than their copying.
const SEALED_BYTES: usize = 256 << 10;

/// The most that is read from a socket at once.
const SCRATCH_BYTES: usize = 64 << 10;

/// The same while the handshake lasts: of what may stand behind it, no more than rustls keeps.
const HELLO_BYTES: usize = 8 << 10;

/// With what every record of a handshake begins (RFC 8446, section 5.1).
const HANDSHAKE_RECORD: u8 = 22;

/// The buffer that all clients of one loop use in turn, between socket and session. One thread
/// does, and never waits for it.
#[derive(Debug, Clone)]
pub(super) struct Scratch(Arc<Mutex<Box<[u8]>>>);

impl Scratch {
    pub(super) fn new() -> Scratch {
        Scratch(Arc::new(Mutex::new(vec![0; SCRATCH_BYTES].into())))
    }

    fn lock(&self) -> MutexGuard<'_, Box<[u8]>> {
        // Nothing in it outlives a call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client that speaks TLS, or is about to.
///
/// First [`shake`](Self::shake) until that is done; then bytes come by [`read`](Self::read), and go
/// by [`write`](Self::write). After each of them there may be something to [`push`](Self::push)
/// when the socket has room again.
pub struct Tls {
    connection: ServerConnection,
    scratch: Scratch,
    /// A byte of the client has come.
    has_begun: bool,
    /// The first one was none of TLS: these.
    plain: Option<Box<PlainStart>>,
    /// The client was told that nothing more will come.
    is_closed: bool,
    /// Plaintext that was sealed and is not told of as sent yet.
    sealed: usize,
    /// Bytes that the socket took since the last of it was sealed.
    written: usize,
}

/// The result of one read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Bytes for the session.
    pub plain: usize,
    /// Bytes that came from the socket.
    pub wire: usize,
    /// The socket had less than there was room for.
    pub is_short: bool,
}

impl Tls {
    /// Begins with a client, whose hello is due. `scratch` is that of all clients of its loop.
    pub(super) fn new(config: Arc<ServerConfig>, scratch: Scratch) -> Result<Tls, rustls::Error> {
        let mut connection = ServerConnection::new(config)?;
        connection.set_buffer_limit(Some(SEALED_BYTES));
        Ok(Tls { connection, scratch, has_begun: false, plain: None, is_closed: false, sealed: 0, written: 0 })
    }

    /// Advances the handshake as far as the received bytes allow, by one read at most; true when it
    /// is done. Bytes of the client behind it are kept for [`read`](Self::read).
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

    /// Returns whether the client has chosen HTTP (ALPN), once the handshake is done.
    #[must_use]
    pub fn speaks_http(&self) -> bool {
        self.connection.alpn_protocol() == Some(ALPN_HTTP)
    }

    /// Returns whether the client has begun its handshake.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.has_begun && self.plain.is_none()
    }

    /// Reads at most once from `socket`, and opens what came into `buffer`. Bytes that were opened
    /// before come first, and without a look at the socket. No bytes at all, of either kind, are
    /// the end of the client's input, as it said itself.
    ///
    /// At most one record does not fit `buffer`, and is kept.
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
                // Bytes behind its close_notify are not looked at.
                break;
            }
        }
        Ok(Taken { plain, wire: count, is_short: count < most })
    }

    /// Reads from `socket`. Its end is an error: TLS has an end of its own, the close_notify. Of a client that does not
    /// speak TLS no bytes are told, until it is known what it speaks: that is an error as well.
    fn take(&mut self, socket: &mut impl Read, wire: &mut [u8]) -> Result<usize, TlsError> {
        let count = retried(|| socket.read(wire))?;
        if !std::mem::replace(&mut self.has_begun, true) && count > 0 && wire[0] != HANDSHAKE_RECORD {
            self.plain = Some(Box::default());
        }
        match &mut self.plain {
            None if count == 0 => Err(TlsError::Cut),
            None => Ok(count),
            Some(_) if count == 0 => Err(TlsError::Plain { is_http: false }),
            Some(plain) => match plain.take(&wire[..count]) {
                Some(is_http) => Err(TlsError::Plain { is_http }),
                None => Ok(0),
            },
        }
    }

    /// Moves opened bytes into `buffer` behind the `filled` first; true where the client has said
    /// that there will be no more.
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

    /// Returns whether there are bytes of the client that [`read`](Self::read) gives without a look
    /// at the socket.
    #[must_use]
    pub fn has_plain(&mut self) -> bool {
        matches!(self.connection.reader().into_first_chunk(), Ok(chunk) if !chunk.is_empty())
    }

    /// Seals from the front of `slices`, at most [`SEALED_BYTES`] at once and in as few records as
    /// hold them, and sends what `socket` takes. Returns how many bytes of `slices` have gone so:
    /// the rest is to be given again, in front of anything else. The last byte of what was sealed
    /// at once counts only when all of that has gone.
    ///
    /// Where fewer bytes are given than were sealed before, no more than these count now, and the
    /// rest with later calls.
    ///
    /// # Errors
    ///
    /// Those of the socket, `WouldBlock` where it takes no more for now and nothing has gone.
    pub fn write(&mut self, socket: &mut impl Write, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.sealed == 0 {
            // Waiting records of TLS itself count against the limit, too, and go first.
            self.push(socket)?;
            self.sealed = self.connection.writer().write_vectored(slices)?;
            self.written = 0;
        }
        self.send_sealed(socket, slices.iter().map(|slice| slice.len()).sum())
    }

    /// Sends what was sealed, and returns how many bytes of it have gone, of which at most `most`
    /// are told of now.
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

    /// Returns whether something waits for the socket.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.connection.wants_write()
    }

    /// Returns whether the client was told that nothing more will come.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.is_closed
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
mod tests;
