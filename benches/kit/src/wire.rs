//! The barest client: it drains a socket, or fills one, and does nothing else with the bytes, so
//! that what is measured is the other side.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use ferry_wire::{
    BodyLine, Crc32, Frame, Framer, Greeting, Name, Reply, Request, limits::MAX_BLOCK_BYTES, write_block_header,
    write_end,
};

use crate::{content::Content, line::Line};

/// Of the buffer that a socket is drained into.
pub(crate) const BUFFER_BYTES: usize = 1 << 20;

/// No server is silent for that long. Without it, a server that hangs would hang the bench.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(120);

/// A body that was drained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// The bytes that came.
    pub bytes: u64,
    /// Their CRC, as the server states it; [`None`] where the server was a bare loop.
    pub claimed: Option<Crc32>,
}

/// A connection.
#[derive(Debug)]
pub struct Wire {
    socket: Line,
    framer: Framer,
    buffer: Box<[u8]>,
    /// The part of `buffer` that was not looked at yet.
    start: usize,
    end: usize,
}

impl Wire {
    /// Connects to anything.
    ///
    /// # Errors
    ///
    /// Of the socket.
    pub fn connect(address: SocketAddr) -> io::Result<Wire> {
        Ok(Wire::over(Line::to(address, None)?))
    }

    /// Talks to the other end of `socket`.
    pub(crate) fn over(socket: Line) -> Wire {
        Wire { socket, framer: Framer::new(), buffer: vec![0; BUFFER_BYTES].into(), start: 0, end: 0 }
    }

    /// Connects to a ferry server and reads its greeting.
    ///
    /// # Errors
    ///
    /// Of the socket, or that it is no ferry server.
    pub fn greeted(address: SocketAddr) -> io::Result<Wire> {
        Wire::greeted_over(Line::to(address, None)?)
    }

    /// Does the same over `socket`.
    pub(crate) fn greeted_over(socket: Line) -> io::Result<Wire> {
        let mut wire = Wire::over(socket);
        Greeting::parse(&wire.line()?).map_err(io::Error::other)?;
        Ok(wire)
    }

    /// Returns the line that it talks over. Input that was read and not looked at does not go along.
    pub(crate) fn into_line(self) -> Line {
        self.socket
    }

    /// Sends one request.
    ///
    /// # Errors
    ///
    /// Of the socket.
    pub fn ask(&mut self, request: &Request) -> io::Result<()> {
        let mut line = Vec::new();
        request.encode(&mut line);
        self.socket.write_all(&line)
    }

    /// Sends `requests` without waiting, while `read` reads the replies: a thread writes, because
    /// the server may stop reading until its output is taken. Without TLS.
    ///
    /// # Errors
    ///
    /// Of the socket, or those of `read`.
    pub fn pipelined(&mut self, requests: &[u8], read: impl FnOnce(&mut Wire) -> io::Result<()>) -> io::Result<()> {
        let mut writer = self.socket.socket().try_clone()?;
        thread::scope(|scope| {
            let written = scope.spawn(move || writer.write_all(requests));
            let done = read(self);
            if done.is_err() {
                // Nobody takes the replies any more: the writer must not wait for that.
                let _ = self.socket.socket().shutdown(Shutdown::Both);
            }
            let written = written.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            done.and(written)
        })
    }

    /// Reads the next reply. Its body, where it has one, is still to come.
    ///
    /// # Errors
    ///
    /// Of the socket, or that the line is no reply.
    pub fn reply(&mut self) -> io::Result<Reply> {
        Reply::parse(&self.line()?).map_err(io::Error::other)
    }

    /// Reads the reply to a GET or READ with its body, which `see` sees piece by piece.
    ///
    /// # Errors
    ///
    /// Of the socket, or that the reply was another, or that the server gave up.
    pub fn file(&mut self, see: impl FnMut(&[u8])) -> io::Result<Drained> {
        match self.reply()? {
            Reply::File(_) => self.body(see),
            other => Err(unexpected(&other)),
        }
    }

    /// Reads a body up to its END.
    ///
    /// # Errors
    ///
    /// Of the socket, or that the server gave up.
    pub fn body(&mut self, mut see: impl FnMut(&[u8])) -> io::Result<Drained> {
        let mut bytes = 0;
        loop {
            match BodyLine::parse(&self.line()?).map_err(io::Error::other)? {
                BodyLine::Data(block) => {
                    self.raw(block, &mut see)?;
                    bytes += block;
                }
                BodyLine::End(claimed) => return Ok(Drained { bytes, claimed }),
                other => return Err(unexpected(&other)),
            }
        }
    }

    /// Takes `bytes` raw bytes from the socket, which `see` sees piece by piece.
    ///
    /// # Errors
    ///
    /// Of the socket.
    pub fn raw(&mut self, bytes: u64, mut see: impl FnMut(&[u8])) -> io::Result<()> {
        self.framer.expect_raw(bytes);
        while self.framer.raw_left() > 0 {
            self.fill()?;
            if let Some((Frame::Raw(piece), used)) =
                self.framer.next(&self.buffer[self.start..self.end]).map_err(io::Error::other)?
            {
                see(piece);
                self.start += used;
            }
        }
        Ok(())
    }

    /// Sends `content` as the file `name` and waits for SAVED.
    ///
    /// # Errors
    ///
    /// Of the socket, or that the server did not save these bytes.
    pub fn put(&mut self, name: &Name, content: &Content) -> io::Result<()> {
        let file = File::open(&content.path)?;
        let mut head = Vec::new();
        Request::Put { size: Some(content.bytes), mtime: None, name: name.clone() }.encode(&mut head);
        let mut offset = 0;
        while offset < content.bytes {
            let block = (content.bytes - offset).min(MAX_BLOCK_BYTES);
            write_block_header(&mut head, block);
            self.socket.send_head(&head)?;
            head.clear();
            self.socket.send_range(&file, &mut offset, block)?;
        }
        write_end(&mut head, content.crc);
        self.socket.write_all(&head)?;
        match self.reply()? {
            Reply::Saved { size, crc, .. } if (size, crc) == (content.bytes, content.crc) => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Sends the bytes of `content` and nothing else to a bare loop, and waits for the line in
    /// which it says how many came.
    ///
    /// # Errors
    ///
    /// Of the socket, or that some bytes did not come.
    pub fn pour(&mut self, content: &Content) -> io::Result<()> {
        self.socket.send_range(&File::open(&content.path)?, &mut 0, content.bytes)?;
        self.poured(content.bytes)
    }

    /// Does the same with bytes that lie in memory.
    ///
    /// # Errors
    ///
    /// Fails as [`Wire::pour`] does.
    pub fn pour_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes)?;
        self.poured(bytes.len() as u64)
    }

    /// Waits for the line in which a bare loop says that it moved `bytes` bytes.
    ///
    /// # Errors
    ///
    /// Of the socket, or that it moved others.
    pub fn poured(&mut self, bytes: u64) -> io::Result<()> {
        self.socket.end()?;
        let line = self.line()?;
        if line == bytes.to_string().as_bytes() { Ok(()) } else { Err(unexpected(&line)) }
    }

    fn line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some((Frame::Line(line), used)) =
                self.framer.next(&self.buffer[self.start..self.end]).map_err(io::Error::other)?
            {
                let line = line.to_vec();
                self.start += used;
                return Ok(line);
            }
            self.read_more()?;
        }
    }

    /// Makes sure that something is in the buffer.
    fn fill(&mut self) -> io::Result<()> {
        if self.start == self.end { self.read_more() } else { Ok(()) }
    }

    /// Reads after the bytes that are there: nothing, or the beginning of a line.
    fn read_more(&mut self) -> io::Result<()> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        match self.socket.read(&mut self.buffer[self.end..])? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection")),
            bytes => {
                self.end += bytes;
                Ok(())
            }
        }
    }
}

/// sendfile: the sender must not be what limits.
pub(crate) fn send_range(socket: &TcpStream, file: &File, offset: &mut u64, bytes: u64) -> io::Result<()> {
    let end = *offset + bytes;
    while *offset < end {
        let left = usize::try_from(end - *offset).unwrap_or(usize::MAX);
        if rustix::fs::sendfile(socket, file, Some(offset), left)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

/// Drains `bytes` bytes from a bare loop at `address`.
///
/// # Errors
///
/// Of the socket.
pub fn drain_bare(address: SocketAddr, bytes: u64, see: impl FnMut(&[u8])) -> io::Result<Drained> {
    Wire::connect(address)?.raw(bytes, see)?;
    Ok(Drained { bytes, claimed: None })
}

/// Gets the file `name` from a ferry server at `address`.
///
/// # Errors
///
/// Of the socket, or that the server gave up.
pub fn drain_ferry(address: SocketAddr, name: &Name, see: impl FnMut(&[u8])) -> io::Result<Drained> {
    let mut wire = Wire::greeted(address)?;
    wire.ask(&Request::Get { name: name.clone() })?;
    wire.file(see)
}

fn unexpected(what: &dyn std::fmt::Debug) -> io::Error {
    io::Error::other(format!("the server says {what:?}"))
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    /// Returns a server that says `script` to one client, and gives what the client said.
    fn server(script: &'static [u8]) -> (SocketAddr, thread::JoinHandle<Vec<u8>>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let heard = thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            socket.write_all(script).unwrap();
            socket.shutdown(Shutdown::Write).unwrap();
            let mut heard = Vec::new();
            socket.read_to_end(&mut heard).unwrap();
            heard
        });
        (address, heard)
    }

    fn name() -> Name {
        Name::new("a b").unwrap()
    }

    #[test]
    fn a_file_is_drained_block_by_block() {
        let (address, heard) = server(b"FERRY 1 x/1\nFILE 5 - t\nDATA 3\na\nbDATA 2\ncdEND 01020304\n");
        let mut seen = Vec::new();
        let drained = drain_ferry(address, &name(), |piece| seen.extend_from_slice(piece)).unwrap();
        assert_eq!(drained, Drained { bytes: 5, claimed: Some(Crc32(0x0102_0304)) });
        assert_eq!((&*seen, &*heard.join().unwrap()), (&b"a\nbcd"[..], &b"GET a b\n"[..]));
    }

    #[test]
    fn a_server_that_gives_up_is_an_error() {
        for script in [
            &b"FERRY 1 x/1\nFILE 5 - t\nDATA 3\nabcFAIL changed it did\n"[..],
            b"FERRY 1 x/1\nFAIL not-found no\n",
            b"FERRY 1 x/1\nFILE 5 - t\nDATA 3\na",
            b"220 an FTP server\n",
            b"",
        ] {
            let (address, _) = server(script);
            assert!(drain_ferry(address, &name(), |_| {}).is_err(), "{}", script.escape_ascii());
        }
    }

    #[test]
    fn an_upload_is_blocks_and_its_crc() {
        let place = tempfile::tempdir().unwrap();
        let content = Content::write(&place.path().join("a"), MAX_BLOCK_BYTES + 1);
        let bytes = std::fs::read(&content.path).unwrap();
        let saved: &'static [u8] =
            format!("FERRY 1 x/1\nSAVED {} {} t\n", content.bytes, content.crc).into_bytes().leak();

        let (address, heard) = server(saved);
        let mut wire = Wire::greeted(address).unwrap();
        wire.put(&name(), &content).unwrap();
        drop(wire);
        let (first, last) = bytes.split_at(bytes.len() - 1);
        let end = format!("END {}\n", content.crc);
        let expected = [&b"PUT 1048577 - a b\nDATA 1048576\n"[..], first, b"DATA 1\n", last, end.as_bytes()];
        assert!(heard.join().unwrap() == expected.concat(), "the bytes on the wire differ");

        let (address, _) = server(b"FERRY 1 x/1\nSAVED 1048577 00000000 t\n");
        assert!(Wire::greeted(address).unwrap().put(&name(), &content).is_err(), "SAVED with another CRC");
    }
}
