//! Many small files over one or several connections of one thread, each with all its requests on the way
//! before the first reply is waited for.

use std::{
    io::{self, Read as _, Write as _},
    net::SocketAddr,
};

use ferry_wire::{BodyLine, Crc32, Frame, Framer, Greeting, Name, Reply, Request};
use rustix::event::epoll::EventFlags;

use crate::{
    line::{Line, Tls},
    poll::Poll,
};

/// A file to get, and what it must hold.
#[derive(Debug)]
pub(crate) struct Small {
    pub(crate) name: Name,
    pub(crate) content: Vec<u8>,
    pub(crate) crc: Crc32,
}

/// Gets `count` files, `files` again and again in their order, over `connections` connections that
/// each get an equal share, and compares every byte and every CRC.
///
/// # Errors
///
/// Fails where a socket does, or where anything but the files came.
pub(crate) fn get_all(address: SocketAddr, connections: usize, files: &[Small], count: usize) -> io::Result<()> {
    get_all_by(address, None, connections, files, count)
}

/// Does the same, by `tls` where there is one.
///
/// # Errors
///
/// Fails as [`get_all`] does.
pub(crate) fn get_all_by(
    address: SocketAddr,
    tls: Option<&Tls>,
    connections: usize,
    files: &[Small],
    count: usize,
) -> io::Result<()> {
    const BUFFER_BYTES: usize = 256 << 10;
    let poll = Poll::new()?;
    let mut lanes = Vec::with_capacity(connections);
    for index in 0..connections {
        let (first, end) = (count * index / connections, count * (index + 1) / connections);
        let lane = Lane::connect(Line::to(address, tls)?, files, first, end)?;
        poll.add(lane.socket.socket(), index, EventFlags::IN | EventFlags::OUT | EventFlags::ET)?;
        lanes.push(lane);
    }
    let mut open = lanes.iter().filter(|lane| !lane.is_done()).count();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut events = Vec::new();
    while open > 0 {
        for index in poll.wait(&mut events)? {
            let lane = &mut lanes[index];
            if !lane.is_done() {
                lane.advance(&mut buffer)?;
                open -= usize::from(lane.is_done());
            }
        }
    }
    Ok(())
}

/// The next line that is expected.
enum Due {
    Greeting,
    Reply,
    /// A block or END; so many bytes of the file came.
    Body(usize),
}

struct Lane<'a> {
    socket: Line,
    framer: Framer,
    /// The beginning of a line.
    rest: Vec<u8>,
    requests: Vec<u8>,
    written: usize,
    due: Due,
    files: &'a [Small],
    /// The next file is this one, of those that are got in all, up to that one.
    next: usize,
    end: usize,
}

impl<'a> Lane<'a> {
    fn connect(socket: Line, files: &'a [Small], first: usize, end: usize) -> io::Result<Lane<'a>> {
        socket.socket().set_nonblocking(true)?;
        let mut requests = Vec::new();
        for index in first..end {
            Request::Get { name: files[index % files.len()].name.clone() }.encode(&mut requests);
        }
        let (framer, rest) = (Framer::new(), Vec::new());
        Ok(Lane { socket, framer, rest, requests, written: 0, due: Due::Greeting, files, next: first, end })
    }

    fn is_done(&self) -> bool {
        self.next == self.end
    }

    /// Writes and reads until both would block or all is there.
    fn advance(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        while !self.is_done() {
            let wrote = self.write()?;
            if !self.read(buffer)? && !wrote {
                break;
            }
        }
        Ok(())
    }

    fn write(&mut self) -> io::Result<bool> {
        let rest = &self.requests[self.written..];
        if rest.is_empty() {
            return Ok(false);
        }
        let Some(bytes) = unless_it_blocks(self.socket.write(rest))? else { return Ok(false) };
        self.written += bytes;
        Ok(true)
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        let kept = self.rest.len();
        buffer[..kept].copy_from_slice(&self.rest);
        let end = match unless_it_blocks(self.socket.read(&mut buffer[kept..]))? {
            None => return Ok(false),
            Some(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Some(bytes) => kept + bytes,
        };
        self.rest.clear();
        let mut input = &buffer[..end];
        while let Some((frame, used)) = self.framer.next(input).map_err(io::Error::other)? {
            match frame {
                Frame::Raw(piece) => self.piece(piece)?,
                Frame::Line(line) => self.line(line)?,
            }
            input = &input[used..];
        }
        self.rest.extend_from_slice(input);
        Ok(true)
    }

    fn file(&self) -> &'a Small {
        &self.files[self.next % self.files.len()]
    }

    fn piece(&mut self, piece: &[u8]) -> io::Result<()> {
        let Due::Body(came) = self.due else { return Err(wrong(&"bytes of no file")) };
        let end = came + piece.len();
        if self.file().content.get(came..end) != Some(piece) {
            return Err(wrong(&format!("other bytes than those of {}", self.file().name)));
        }
        self.due = Due::Body(end);
        Ok(())
    }

    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        match self.due {
            Due::Greeting => {
                Greeting::parse(line).map_err(io::Error::other)?;
                self.due = Due::Reply;
            }
            Due::Reply => match Reply::parse(line).map_err(io::Error::other)? {
                Reply::File(_) => self.due = Due::Body(0),
                other => return Err(wrong(&other)),
            },
            Due::Body(came) => match BodyLine::parse(line).map_err(io::Error::other)? {
                BodyLine::Data(bytes) => self.framer.expect_raw(bytes),
                BodyLine::End(Some(crc)) if crc == self.file().crc && came == self.file().content.len() => {
                    self.due = Due::Reply;
                    self.next += 1;
                }
                other => return Err(wrong(&other)),
            },
        }
        Ok(())
    }
}

fn unless_it_blocks(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

fn wrong(what: &dyn std::fmt::Debug) -> io::Error {
    io::Error::other(format!("the server says {what:?}"))
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    fn files() -> Vec<Small> {
        let file = |name: &str, content: &[u8]| Small {
            name: Name::new(name).unwrap(),
            content: content.into(),
            crc: Crc32::of(content),
        };
        vec![file("a", b"one"), file("b", b"other")]
    }

    /// Gets three files from a server that says `script` to each client.
    fn get_three(script: &'static str) -> io::Result<()> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            socket.write_all(script.as_bytes()).unwrap();
            socket.shutdown(std::net::Shutdown::Write).unwrap();
            let _ = io::copy(&mut socket, &mut io::sink());
        });
        get_all(address, 1, &files(), 3)
    }

    #[test]
    fn the_files_again_and_again_and_nothing_else() {
        let (one, other) = (Crc32::of(b"one"), Crc32::of(b"other"));
        let first = format!("FILE 3 - t\nDATA 2\nonDATA 1\neEND {one}\n");
        let second = format!("FILE 5 - t\nDATA 5\notherEND {other}\n");
        let right = format!("FERRY 1 x/1\n{first}{second}{first}");
        get_three(right.clone().leak()).unwrap();
        for (from, to) in [
            ("FERRY", "SFTP"),
            ("otherEND", "atherEND"),
            (&format!("{other}"), "00000000"),
            ("DATA 1\ne", ""),
            ("FILE 5 - t", "FAIL not-found no"),
        ] {
            assert!(get_three(right.replace(from, to).leak()).is_err(), "{to:?} in place of {from:?}");
        }
        assert!(get_three(right.strip_suffix(&*first).unwrap().to_owned().leak()).is_err(), "cut");
    }
}
