//! A connection, plain or with TLS over it.

use std::{
    fs::File,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    os::unix::fs::FileExt as _,
    sync::Arc,
};

use ferry_e2e::secure::{Anybody, config};
use rustix::net::SendFlags;
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, HandshakeKind, StreamOwned, client::Resumption, crypto::ring,
    pki_types::ServerName,
};

use crate::{crowd, wire::TIMEOUT};

/// The bytes that are read of a file at once, to be sent over TLS.
const PIECE_BYTES: usize = 256 << 10;

/// Resumptions that are remembered at once.
const TICKETS: usize = 64;

/// The client's side of TLS: with the cipher of every row, and for any server. It proves nothing,
/// so that what is measured is the other side.
#[derive(Debug, Clone)]
pub(crate) struct Tls(Arc<ClientConfig>);

impl Tls {
    /// Returns TLS for `protocol` (ALPN). Where `resumes`, connections go on with sessions of
    /// earlier ones.
    pub(crate) fn new(protocol: &[u8], resumes: bool) -> Tls {
        let mut provider = ring::default_provider();
        provider.cipher_suites.retain(|suite| suite.suite() == CipherSuite::TLS13_AES_128_GCM_SHA256);
        let mut config = config(provider, Anybody::unchecked(), &[protocol]);
        config.resumption = if resumes { Resumption::in_memory_sessions(TICKETS) } else { Resumption::disabled() };
        Tls(Arc::new(config))
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) enum Line {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Line {
    /// Connects to anything, by `tls` where there is one.
    pub(crate) fn to(address: SocketAddr, tls: Option<&Tls>) -> io::Result<Line> {
        Line::over(TcpStream::connect(address)?, tls)
    }

    /// Does the same, for one connection of a crowd.
    pub(crate) fn of_crowd(address: SocketAddr, index: usize, tls: &Tls) -> io::Result<Line> {
        Line::over(crowd::connect(address, index)?, Some(tls))
    }

    fn over(socket: TcpStream, tls: Option<&Tls>) -> io::Result<Line> {
        socket.set_read_timeout(Some(TIMEOUT))?;
        socket.set_write_timeout(Some(TIMEOUT))?;
        socket.set_nodelay(true)?;
        let Some(Tls(config)) = tls else { return Ok(Line::Plain(socket)) };
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let mut connection = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
        connection.set_buffer_limit(None);
        let mut stream = StreamOwned::new(connection, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Line::Tls(Box::new(stream)))
    }

    /// Returns whether the handshake went on with an earlier session.
    pub(crate) fn is_resumed(&self) -> bool {
        matches!(self, Line::Tls(stream) if stream.conn.handshake_kind() == Some(HandshakeKind::Resumed))
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        match self {
            Line::Plain(socket) => socket,
            Line::Tls(stream) => &stream.sock,
        }
    }

    /// Returns the socket alone, and frees the memory of TLS.
    pub(crate) fn into_socket(self) -> TcpStream {
        match self {
            Line::Plain(socket) => socket,
            Line::Tls(stream) => stream.into_parts().1,
        }
    }

    /// Says that nothing more will be sent.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        if let Line::Tls(stream) = self {
            stream.conn.send_close_notify();
            stream.flush()?;
        }
        self.socket().shutdown(Shutdown::Write)
    }

    /// Sends the line that announces bytes; it travels with them.
    pub(crate) fn send_head(&mut self, mut head: &[u8]) -> io::Result<()> {
        match self {
            Line::Plain(socket) => {
                while !head.is_empty() {
                    let sent = rustix::net::send(&*socket, head, SendFlags::MORE)?;
                    head = &head[sent..];
                }
                Ok(())
            }
            Line::Tls(stream) => stream.conn.writer().write_all(head),
        }
    }

    /// Sends a range of a file: by sendfile where that can be, since the sender must not be what limits.
    pub(crate) fn send_range(&mut self, file: &File, offset: &mut u64, bytes: u64) -> io::Result<()> {
        let end = *offset + bytes;
        let stream = match self {
            Line::Plain(socket) => return crate::wire::send_range(socket, file, offset, bytes),
            Line::Tls(stream) => stream,
        };
        let mut piece = vec![0; PIECE_BYTES];
        while *offset < end {
            let most = usize::try_from(end - *offset).unwrap_or(usize::MAX).min(PIECE_BYTES);
            match file.read_at(&mut piece[..most], *offset)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => {
                    stream.write_all(&piece[..count])?;
                    *offset += count as u64;
                }
            }
        }
        Ok(())
    }
}

impl Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Line::Plain(socket) => socket.read(buffer),
            Line::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Line::Plain(socket) => socket.write(bytes),
            Line::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Line::Plain(socket) => socket.flush(),
            Line::Tls(stream) => stream.flush(),
        }
    }
}
