//! The socket of a client, with its readiness.

use std::{
    io::{self, IoSlice, Read},
    net::Shutdown,
    os::fd::{AsFd as _, BorrowedFd},
};

use mio::{Interest, Registry, Token, event::Event, net::TcpStream};
use rustix::{
    io::Errno,
    net::{SendAncillaryBuffer, SendFlags, send, sendmsg},
};

use super::{
    proxy::{MAX_HEADER_BYTES, ProxiedClient, ProxyError, parse},
    tls::{Tls, TlsError},
};
use crate::sys;

/// The most that one sendfile is asked for.
const SENDFILE_BYTES: u64 = 1 << 20;

/// Bytes from a socket that may hold nothing for the session, in one go: more than that are no accident.
const HOLLOW_BYTES: usize = 256 << 10;

/// With what a client begins that speaks TLS: a record with a hello (RFC 8446, section 5.1).
const TLS_HELLO: [u8; 2] = [22, 3];

/// The way that bytes take between a session and its client.
#[derive(Debug)]
pub(crate) enum Transport {
    /// A bare socket: takes bytes and ranges of files.
    Plain(TcpStream),
    /// A socket with TLS over it: takes bytes only.
    Tls(TcpStream, Box<Tls>),
}

impl Transport {
    fn socket(&mut self) -> &mut TcpStream {
        match self {
            Transport::Plain(socket) | Transport::Tls(socket, _) => socket,
        }
    }
}

/// The state of a handshake so far.
#[derive(Debug)]
pub(crate) enum HandshakeState {
    /// It waits for the client.
    GoesOn,
    /// The session can begin.
    Done,
    /// There will be no TLS.
    Failed(TlsError),
}

/// The state of a proxy's header so far.
#[derive(Debug)]
pub(crate) enum HeaderState {
    /// It waits for the proxy.
    GoesOn,
    /// It has come, and tells of this client.
    Done(ProxiedClient),
    /// There will be none.
    Failed(ProxyError),
}

/// Why nothing was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unsent {
    /// The socket is full. An event tells when it is not.
    Full,
    /// The connection is gone.
    Lost,
}

/// Why nothing of a file was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SendFileError {
    /// The socket takes nothing.
    Socket(Unsent),
    /// The file ends before its range does.
    Ended,
    /// The file can't be read.
    File(Errno),
}

/// Why nothing more can be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The connection is gone.
    #[error("the connection was lost")]
    Lost,
    /// The client broke TLS, or was cut off.
    #[error(transparent)]
    Tls(TlsError),
    /// The client began TLS where none is spoken. It can be told so.
    #[error("the client speaks TLS, and this address does not")]
    SpeaksTls,
}

impl ReadError {
    /// Returns whether the connection has just ended or was lost, as happens every day.
    pub(crate) fn is_loss(&self) -> bool {
        match self {
            ReadError::Lost => true,
            ReadError::Tls(error) => error.is_loss(),
            ReadError::SpeaksTls => false,
        }
    }
}

/// A transport, and its readiness.
///
/// Events are edge-triggered: each tells of a change once. So readiness is remembered here until a call would block.
/// Dropping an endpoint closes its socket, which also takes it out of the queue of events.
#[derive(Debug)]
pub(crate) struct Endpoint {
    transport: Transport,
    is_readable: bool,
    is_writable: bool,
    /// A short read is not the last: the end of input follows it, or urgent data, where reads stop.
    short_reads: bool,
    has_ended: bool,
    is_broken: bool,
    /// Nothing was read yet.
    is_new: bool,
    is_registered: bool,
}

impl Endpoint {
    /// Returns the endpoint of a client that has just connected. The first event tells of input that has arrived.
    pub(crate) fn new(transport: Transport) -> Endpoint {
        Endpoint {
            transport,
            is_readable: false,
            is_writable: true,
            short_reads: false,
            has_ended: false,
            is_broken: false,
            is_new: true,
            is_registered: false,
        }
    }

    /// Registers for events of all kinds under `token`, once and for all. Once more, it is told of
    /// under another one.
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interests = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
        let socket = self.transport.socket();
        match std::mem::replace(&mut self.is_registered, true) {
            false => registry.register(socket, token, interests),
            true => registry.reregister(socket, token, interests),
        }
    }

    /// Notes an event of the socket.
    pub(crate) fn note(&mut self, event: &Event) {
        let is_broken = event.is_error() || event.is_write_closed();
        self.is_readable |= event.is_readable() || event.is_read_closed() || is_broken;
        self.is_writable |= event.is_writable() || is_broken;
        self.short_reads |= event.is_read_closed() || event.is_priority() || is_broken;
        self.is_broken |= is_broken;
        if event.is_writable() {
            self.push();
        }
    }

    /// Takes the header of a proxy off the input, before anything else is read. Until it is whole it stays in the socket, so
    /// that nothing of it is kept here, and nothing after it is read.
    pub(crate) fn take_header(&mut self) -> HeaderState {
        if !self.is_readable {
            return HeaderState::GoesOn;
        }
        let mut buffer = [0; MAX_HEADER_BYTES];
        let socket = self.transport.socket();
        let count = match retried(|| socket.peek(&mut buffer)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.is_readable = false;
                return HeaderState::GoesOn;
            }
            Ok(0) | Err(_) => return HeaderState::Failed(ProxyError::Lost),
            Ok(count) => count,
        };
        match parse(&buffer[..count]) {
            Ok(Some((client, length))) => match retried(|| socket.read(&mut buffer[..length])) {
                Ok(taken) if taken == length => HeaderState::Done(client),
                _ => HeaderState::Failed(ProxyError::Lost),
            },
            Ok(None) if self.short_reads => HeaderState::Failed(ProxyError::Cut),
            Ok(None) => {
                // Bytes that come tell of themselves, those that are there or not.
                self.is_readable = false;
                HeaderState::GoesOn
            }
            Err(error) => HeaderState::Failed(error),
        }
    }

    /// Brings a handshake on as far as what has come lets it. Without TLS there is none.
    pub(crate) fn shake(&mut self) -> HandshakeState {
        let Transport::Tls(socket, tls) = &mut self.transport else { return HandshakeState::Done };
        while self.is_readable {
            match tls.shake(socket) {
                Ok(true) => return HandshakeState::Done,
                Ok(false) => {}
                Err(TlsError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => self.is_readable = false,
                Err(error) => return HandshakeState::Failed(error),
            }
        }
        HandshakeState::GoesOn
    }

    /// Returns whether a client that is to speak TLS has begun with that.
    pub(crate) fn has_begun(&self) -> bool {
        matches!(&self.transport, Transport::Tls(_, tls) if tls.has_begun())
    }

    /// Returns whether it speaks TLS, or is to.
    pub(crate) fn is_secure(&self) -> bool {
        matches!(self.transport, Transport::Tls(..))
    }

    /// Returns whether the client has chosen HTTP in its handshake.
    pub(crate) fn speaks_http(&self) -> bool {
        matches!(&self.transport, Transport::Tls(_, tls) if tls.speaks_http())
    }

    /// Returns the endpoint without TLS: for a client that does not speak it, and is to be told so.
    pub(crate) fn in_the_open(self) -> Endpoint {
        let (Transport::Plain(socket) | Transport::Tls(socket, _)) = self.transport;
        Endpoint { transport: Transport::Plain(socket), is_new: false, ..self }
    }

    /// Gives back what an idle client need not hold.
    pub(crate) fn rest(&mut self) {
        if let Transport::Tls(_, tls) = &mut self.transport {
            tls.rest();
        }
    }

    /// Returns how many of the bytes that the socket took have not arrived at the client's machine, where the system says so.
    pub(crate) fn bytes_under_way(&self) -> Option<u64> {
        let (Transport::Plain(socket) | Transport::Tls(socket, _)) = &self.transport;
        sys::bytes_under_way(socket.as_fd()).ok()
    }

    /// Returns whether [`read`](Self::read) may return something.
    pub(crate) fn can_read(&self) -> bool {
        self.is_readable && !self.has_ended
    }

    /// Returns whether [`write`](Self::write) and [`send_file`](Self::send_file) may send something.
    pub(crate) fn can_write(&self) -> bool {
        self.is_writable
    }

    /// Returns whether the client has ended its input, and all of it was read.
    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Returns whether nothing can be sent any more. There may still be input.
    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Reads into `buffer`, which is not empty, and returns how many bytes; 0 where there are none for now or at the
    /// [end](Self::has_ended).
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ReadError> {
        debug_assert!(!buffer.is_empty(), "an empty read looks like the end");
        let count = match &mut self.transport {
            Transport::Plain(_) => self.read_plain(buffer),
            Transport::Tls(..) => self.read_tls(buffer),
        };
        if matches!(count, Err(ReadError::Lost | ReadError::Tls(_))) {
            self.is_readable = false;
        }
        count
    }

    fn read_plain(&mut self, buffer: &mut [u8]) -> Result<usize, ReadError> {
        let socket = self.transport.socket();
        let count = match retried(|| socket.read(buffer)) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.is_readable = false;
                return Ok(0);
            }
            Err(_) => return Err(ReadError::Lost),
        };
        if std::mem::replace(&mut self.is_new, false) && buffer[..count].starts_with(&TLS_HELLO) {
            return Err(ReadError::SpeaksTls);
        }
        self.has_ended |= count == 0;
        // A short read has emptied the socket.
        self.is_readable = count == buffer.len() || (count > 0 && self.short_reads);
        Ok(count)
    }

    fn read_tls(&mut self, buffer: &mut [u8]) -> Result<usize, ReadError> {
        let Transport::Tls(socket, tls) = &mut self.transport else { return Ok(0) };
        let mut hollow = 0;
        loop {
            match tls.read(socket, buffer) {
                Ok(taken) if taken.plain + taken.wire == 0 => {
                    (self.has_ended, self.is_readable) = (true, false);
                    return Ok(0);
                }
                Ok(taken) if taken.plain > 0 => {
                    self.is_readable = !taken.is_short || self.short_reads || tls.has_plain();
                    return Ok(taken.plain);
                }
                Ok(taken) => hollow += taken.wire,
                Err(TlsError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.is_readable = false;
                    return Ok(0);
                }
                Err(error) => {
                    // An alert, where there is one to say.
                    let _ = tls.push(socket);
                    return Err(ReadError::Tls(error));
                }
            }
            if hollow > HOLLOW_BYTES {
                return Err(ReadError::Tls(TlsError::Hollow));
            }
            // Answers requests of TLS itself, such as those for new keys.
            let _ = tls.push(socket);
        }
    }

    /// Sends from the front of `slices`, and returns how many bytes. `more` says that others follow at once, for which the
    /// system may wait to fill a packet.
    ///
    /// Where nothing of them went, or not all, the same bytes are to be given again, before any others.
    pub(crate) fn write(&mut self, slices: &[IoSlice<'_>], more: bool) -> Result<usize, Unsent> {
        let flags = if more { SendFlags::NOSIGNAL | SendFlags::MORE } else { SendFlags::NOSIGNAL };
        let sent = match &mut self.transport {
            Transport::Plain(socket) => retry(|| match slices {
                [slice] => send(&*socket, slice, flags),
                _ => sendmsg(&*socket, slices, &mut SendAncillaryBuffer::default(), flags),
            }),
            Transport::Tls(socket, tls) => tls.write(socket, slices).map_err(errno_of),
        };
        self.note_sent(sent)
    }

    /// Sends at most `bytes` bytes of `file` from `at` on, without copying them, and returns how many. This waits for a disk
    /// where they are not in memory.
    ///
    /// # Errors
    ///
    /// Fails with `OPNOTSUPP` over TLS, which takes bytes only.
    pub(crate) fn send_file(&mut self, file: BorrowedFd<'_>, at: u64, bytes: u64) -> Result<usize, SendFileError> {
        let bytes = usize::try_from(bytes.min(SENDFILE_BYTES)).unwrap_or(usize::MAX);
        let sent = match &mut self.transport {
            Transport::Plain(socket) => match retry(|| {
                rustix::fs::sendfile(&*socket, file, Some(&mut at.clone()), bytes)
            }) {
                Ok(0) => return Err(SendFileError::Ended),
                Err(errno) if errno != Errno::AGAIN && !is_of_socket(errno) => return Err(SendFileError::File(errno)),
                sent => sent,
            },
            Transport::Tls(..) => return Err(SendFileError::File(Errno::OPNOTSUPP)),
        };
        self.note_sent(sent).map_err(SendFileError::Socket)
    }

    /// Sends what waits of TLS, as far as the socket takes it; after the last of it the socket is shut down.
    fn push(&mut self) {
        let Transport::Tls(socket, tls) = &mut self.transport else { return };
        let pushed = tls.push(socket);
        if tls.is_closed() && pushed.is_ok() {
            // Fails only where the client is gone, which the next read tells.
            let _ = socket.shutdown(Shutdown::Write);
        }
    }

    fn note_sent(&mut self, sent: Result<usize, Errno>) -> Result<usize, Unsent> {
        sent.map_err(|errno| {
            self.is_writable = false;
            if errno == Errno::AGAIN { Unsent::Full } else { Unsent::Lost }
        })
    }

    /// Tells the client that nothing more will come.
    pub(crate) fn shut_down(&mut self) {
        match &mut self.transport {
            Transport::Plain(socket) => {
                // Fails only where the client is gone, which the next read tells.
                let _ = socket.shutdown(Shutdown::Write);
            }
            Transport::Tls(_, tls) => {
                tls.close();
                self.push();
            }
        }
    }
}

/// Returns the errno of a socket's error.
fn errno_of(error: io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(if error.kind() == io::ErrorKind::WouldBlock {
        Errno::AGAIN
    } else {
        Errno::IO
    })
}

fn retried(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn retry(mut call: impl FnMut() -> Result<usize, Errno>) -> Result<usize, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

/// Returns whether an error of sendfile is the connection's rather than the file's.
fn is_of_socket(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::PIPE
            | Errno::CONNRESET
            | Errno::CONNABORTED
            | Errno::TIMEDOUT
            | Errno::NOTCONN
            | Errno::HOSTUNREACH
            | Errno::NETUNREACH
            | Errno::NETDOWN
            | Errno::SHUTDOWN
    )
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::{Read, Write},
        net::{TcpListener, TcpStream as Client},
        os::fd::AsFd,
    };

    use super::*;

    fn connected() -> (Endpoint, Client) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = Client::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, _) = listener.accept().unwrap();
        socket.set_nonblocking(true).unwrap();
        (Endpoint::new(Transport::Plain(TcpStream::from_std(socket))), client)
    }

    #[test]
    fn several_slices_arrive_in_their_order() {
        let (mut endpoint, mut client) = connected();
        let slices = [&b"head"[..], b"", b"body"].map(IoSlice::new);
        assert_eq!(endpoint.write(&slices, false), Ok(8));
        assert_eq!(endpoint.write(&slices[2..], true), Ok(4));
        endpoint.shut_down();
        let mut received = String::new();
        client.read_to_string(&mut received).unwrap();
        assert_eq!(received, "headbodybody");
    }

    #[test]
    fn whose_fault_it_is_that_a_file_can_not_be_sent() {
        let (mut endpoint, mut client) = connected();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"content").unwrap();
        assert_eq!(endpoint.send_file(file.as_fd(), 4, 100), Ok(3));
        assert_eq!(endpoint.send_file(file.as_fd(), 7, 100), Err(SendFileError::Ended));
        let directory = File::open("/").unwrap();
        assert!(matches!(endpoint.send_file(directory.as_fd(), 0, 1), Err(SendFileError::File(_))));
        let mut received = [0; 3];
        client.read_exact(&mut received).unwrap();
        assert_eq!(&received, b"ent");
        assert!(endpoint.can_write());
        endpoint.shut_down();
        assert_eq!(endpoint.send_file(file.as_fd(), 0, 1), Err(SendFileError::Socket(Unsent::Lost)));
        assert!(!endpoint.can_write());
    }

    #[test]
    fn readiness_is_remembered_until_nothing_is_left() {
        let (mut endpoint, mut client) = connected();
        client.write_all(b"abc").unwrap();
        assert!(!endpoint.can_read(), "the first event tells");
        endpoint.is_readable = true;
        let mut buffer = [0; 2];
        assert_eq!((endpoint.read(&mut buffer).unwrap(), endpoint.can_read()), (2, true));
        assert_eq!((endpoint.read(&mut buffer).unwrap(), endpoint.can_read()), (1, false));
        drop(client);
        (endpoint.is_readable, endpoint.short_reads) = (true, true);
        assert_eq!((endpoint.read(&mut buffer).unwrap(), endpoint.has_ended()), (0, true));
        assert!(!endpoint.can_read());
    }
}
