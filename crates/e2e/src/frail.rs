//! A client whose connection may break at any time, which is then an error and no panic.

use std::{
    io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Write as _},
    net::{Shutdown, SocketAddr},
    time::Duration,
};

use rustix::net::sockopt::set_socket_linger;

use crate::{Answer, HANG_GUARD, Socket};

/// The longest wait for a greeting. A connection that was made in the very moment in which its server was killed may
/// stay open for ever, without a reset.
const GREETING: Duration = Duration::from_secs(10);

/// The longest line that the protocol allows.
const MAX_LINE_BYTES: u64 = 4096;

/// A connection to a server that may refuse, reset, close or die.
#[derive(Debug)]
pub struct Frail {
    stream: BufReader<Socket>,
}

impl Frail {
    /// Connects and reads nothing.
    ///
    /// # Errors
    ///
    /// Fails if nobody listens.
    pub fn connect(address: SocketAddr) -> io::Result<Frail> {
        Ok(Frail { stream: BufReader::with_capacity(64 << 10, Socket::connect(address)?) })
    }

    /// Connects and reads the greeting.
    ///
    /// # Errors
    ///
    /// Fails if nobody listens, or does not greet within [`GREETING`].
    pub fn greeted(address: SocketAddr) -> io::Result<Frail> {
        let mut frail = Frail::connect(address)?;
        frail.socket().stream().set_read_timeout(Some(GREETING))?;
        let greeting = frail.line()?;
        frail.socket().stream().set_read_timeout(Some(HANG_GUARD))?;
        if greeting.starts_with("FERRY 1 ") { Ok(frail) } else { Err(io::Error::other(greeting)) }
    }

    /// The socket, for what this type has no word for.
    #[must_use]
    pub fn socket(&self) -> &Socket {
        self.stream.get_ref()
    }

    /// Sends `bytes`, all of them.
    ///
    /// # Errors
    ///
    /// Fails if the connection is gone.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes.as_ref())
    }

    /// Says that nothing more will be sent.
    ///
    /// # Errors
    ///
    /// Fails if the connection is gone.
    pub fn finish(&mut self) -> io::Result<()> {
        self.stream.get_ref().shutdown(Shutdown::Write)
    }

    /// Closes the connection so that the server sees a reset.
    ///
    /// # Errors
    ///
    /// Fails if the system can't.
    pub fn reset(self) -> io::Result<()> {
        set_socket_linger(self.socket().stream(), Some(Duration::ZERO))?;
        Ok(())
    }

    /// Reads one line, without its LF.
    ///
    /// # Errors
    ///
    /// Fails if the connection breaks or ends, or this is no line.
    pub fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        self.stream.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line)?;
        match line.pop() {
            Some(b'\n') => String::from_utf8(line).map_err(|error| io::Error::new(ErrorKind::InvalidData, error)),
            Some(_) if line.len() as u64 + 1 == MAX_LINE_BYTES => Err(ErrorKind::InvalidData.into()),
            _ => Err(ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Reads the answer to a request; `streams` where FILE and LISTING bring a body: GET, READ, LIST.
    ///
    /// # Errors
    ///
    /// Fails if the connection breaks, or the answer breaks the protocol.
    pub fn answer(&mut self, streams: bool) -> io::Result<Answer> {
        let line = self.line()?;
        if !streams || line.starts_with("FAIL ") {
            return Ok(Answer { line, body: Vec::new(), closing: None });
        }
        let mut body = Vec::new();
        loop {
            let next = self.line()?;
            let Some(length) = next.strip_prefix("DATA ") else {
                return Ok(Answer { line, body, closing: Some(next) });
            };
            let length: usize = length.parse().map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
            let start = body.len();
            body.resize(start + length, 0);
            self.stream.read_exact(&mut body[start..])?;
        }
    }

    /// Sends a request line and reads its answer.
    ///
    /// # Errors
    ///
    /// Fails as [`send`](Self::send) and [`answer`](Self::answer).
    pub fn ask(&mut self, request: &str) -> io::Result<Answer> {
        self.send(format!("{request}\n"))?;
        self.answer(["GET ", "READ ", "LIST"].iter().any(|verb| request.starts_with(verb)))
    }

    /// Reads until the server closes; what came before a reset is lost with it.
    ///
    /// # Errors
    ///
    /// Fails if the connection breaks or stays.
    pub fn to_eof(&mut self) -> io::Result<Vec<u8>> {
        let mut said = Vec::new();
        self.stream.read_to_end(&mut said)?;
        Ok(said)
    }
}
