//! A connection that speaks plainly or by TLS, with the methods of a [`TcpStream`].
//!
//! Clones are the same connection: one thread may read while another one writes, also by TLS.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustls::ClientConnection;

use crate::{HANG_GUARD, secure};

/// The most bytes that one record holds.
const RECORD_BYTES: usize = 16 << 10;

/// A connection; plain, or by TLS.
#[derive(Debug, Clone)]
pub struct Socket {
    stream: Arc<TcpStream>,
    /// [`None`] where it speaks without TLS.
    secure: Option<Arc<Secure>>,
}

/// The client's side of TLS. No lock is held while something waits for the other one.
#[derive(Debug)]
struct Secure {
    /// Whether hands were shaken.
    is_ready: Mutex<bool>,
    records: Mutex<Records>,
    /// Sealed bytes that the socket has not taken yet; held while records are sealed and sent, so that they go out in
    /// their order.
    unsent: Mutex<Vec<u8>>,
}

/// The two directions, sealed and opened without a socket.
#[derive(Debug)]
struct Records {
    connection: ClientConnection,
    /// Opened bytes that nobody has read yet begin at `taken`.
    opened: Vec<u8>,
    taken: usize,
}

impl Socket {
    /// Connects without TLS.
    ///
    /// # Errors
    ///
    /// Fails if nobody listens.
    pub fn connect_plain(address: SocketAddr) -> io::Result<Socket> {
        let stream = TcpStream::connect_timeout(&address, HANG_GUARD)?;
        stream.set_read_timeout(Some(HANG_GUARD))?;
        stream.set_write_timeout(Some(HANG_GUARD))?;
        stream.set_nodelay(true)?;
        Ok(Socket { stream: Arc::new(stream), secure: None })
    }

    /// Connects, by TLS where the tests are run by it. Hands are shaken with the first read or write.
    ///
    /// # Errors
    ///
    /// Fails if nobody listens.
    pub fn connect(address: SocketAddr) -> io::Result<Socket> {
        Socket::connect_plain(address).map(Socket::made_as_asked)
    }

    /// A connection over `stream`, by TLS where the tests are run by it.
    #[must_use]
    pub fn over(stream: TcpStream) -> Socket {
        Socket { stream: Arc::new(stream), secure: None }.made_as_asked()
    }

    fn made_as_asked(self) -> Socket {
        if secure::is_asked_for() { self.by_tls() } else { self }
    }

    /// The same connection by TLS.
    #[must_use]
    pub fn by_tls(self) -> Socket {
        let records = Records { connection: secure::connection(), opened: Vec::new(), taken: 0 };
        let secure = Secure { is_ready: Mutex::default(), records: Mutex::new(records), unsent: Mutex::default() };
        Socket { secure: Some(Arc::new(secure)), ..self }
    }

    /// Returns the stream beneath it.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// The same connection.
    ///
    /// # Errors
    ///
    /// Never: it stands in the place of [`TcpStream::try_clone`].
    pub fn try_clone(&self) -> io::Result<Socket> {
        Ok(self.clone())
    }

    /// Shakes hands, where that is to be done; else the first read or write does.
    ///
    /// # Errors
    ///
    /// Fails if the peer speaks no TLS.
    pub fn shake_hands(&self) -> io::Result<()> {
        self.secure.as_ref().map_or(Ok(()), |secure| secure.shake_hands(&self.stream))
    }

    /// Limits each wait for the peer to read.
    ///
    /// # Errors
    ///
    /// Fails for a limit of zero.
    pub fn set_write_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        self.stream.set_write_timeout(limit)
    }

    /// Says that nothing more will be sent, or read. Unlike a cut, it says so by TLS as well.
    ///
    /// # Errors
    ///
    /// Fails if the connection is gone.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        if let (Some(secure), Shutdown::Write | Shutdown::Both) = (&self.secure, how) {
            secure.shake_hands(&self.stream)?;
            let mut unsent = lock(&secure.unsent);
            let mut records = lock(&secure.records);
            records.connection.send_close_notify();
            records.seal(&mut unsent)?;
            drop(records);
            send(&self.stream, &mut unsent)?;
        }
        self.stream.shutdown(how)
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &self.secure {
            None => (&*self.stream).read(buffer),
            Some(secure) => secure.read(&self.stream, buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &self.secure {
            None => (&*self.stream).write(bytes),
            Some(secure) => secure.write(&self.stream, bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &self.secure {
            None => Ok(()),
            Some(secure) => send(&self.stream, &mut lock(&secure.unsent)),
        }
    }
}

impl Secure {
    fn shake_hands(&self, mut stream: &TcpStream) -> io::Result<()> {
        let mut is_ready = lock(&self.is_ready);
        if !*is_ready {
            let mut records = lock(&self.records);
            while records.connection.is_handshaking() {
                records.connection.complete_io(&mut stream)?;
            }
            records.open(&[])?;
            *is_ready = true;
        }
        Ok(())
    }

    fn read(&self, mut stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
        self.shake_hands(stream)?;
        let mut sealed = [0; RECORD_BYTES];
        loop {
            if let Some(read) = lock(&self.records).take(buffer) {
                return Ok(read);
            }
            let got = stream.read(&mut sealed)?;
            let mut records = lock(&self.records);
            records.open(&sealed[..got])?;
            if got == 0 && records.taken == records.opened.len() {
                // Without a close_notify that is a cut.
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn write(&self, stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
        self.shake_hands(stream)?;
        let mut unsent = lock(&self.unsent);
        // What was sealed before has to go out first.
        send(stream, &mut unsent)?;
        let mut records = lock(&self.records);
        let taken = records.connection.writer().write(&bytes[..bytes.len().min(RECORD_BYTES)])?;
        records.seal(&mut unsent)?;
        drop(records);
        match send(stream, &mut unsent) {
            // It is taken: the next call sends it on.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(taken),
            sent => sent.map(|()| taken),
        }
    }
}

impl Records {
    /// Opens what arrived; nothing stands for the end of the connection.
    fn open(&mut self, mut sealed: &[u8]) -> io::Result<()> {
        loop {
            if !sealed.is_empty() {
                self.connection.read_tls(&mut sealed)?;
            }
            let state = self.connection.process_new_packets().map_err(io::Error::other)?;
            let end = self.opened.len();
            self.opened.resize(end + state.plaintext_bytes_to_read(), 0);
            self.connection.reader().read_exact(&mut self.opened[end..])?;
            if sealed.is_empty() {
                return Ok(());
            }
        }
    }

    /// Takes opened bytes; [`None`] where there are none and more may come.
    fn take(&mut self, buffer: &mut [u8]) -> Option<usize> {
        let there = &self.opened[self.taken..];
        if there.is_empty() {
            self.opened.clear();
            self.taken = 0;
            // The end, as the peer said it.
            return matches!(self.connection.reader().read(&mut [0]), Ok(0)).then_some(0);
        }
        let taken = there.len().min(buffer.len());
        buffer[..taken].copy_from_slice(&there[..taken]);
        self.taken += taken;
        Some(taken)
    }

    fn seal(&mut self, unsent: &mut Vec<u8>) -> io::Result<()> {
        while self.connection.wants_write() {
            self.connection.write_tls(unsent)?;
        }
        Ok(())
    }
}

/// Sends what it can of `unsent`, and keeps the rest.
fn send(mut stream: &TcpStream, unsent: &mut Vec<u8>) -> io::Result<()> {
    let mut sent = 0;
    let result = loop {
        if sent == unsent.len() {
            break Ok(());
        }
        match stream.write(&unsent[sent..]) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => break Err(error),
        }
    };
    unsent.drain(..sent);
    result
}

/// A test that failed while it held a lock has failed already.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
