//! Many connections of one process.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use ferry_wire::{BodyLine, Crc32, Digest, Frame, Framer, Greeting, Name, Reply, Request};
use rustix::{
    event::epoll::EventFlags,
    net::{self, AddressFamily, SocketFlags, SocketType, sockopt::set_socket_linger},
    process::{Resource, Rlimit, getrlimit, setrlimit},
};

use crate::poll::Poll;

/// Descriptors that are no clients, on either side; a server keeps the more of them, for files.
const SPARE_DESCRIPTORS: u64 = 600;

/// Lets this process, and the servers that it starts from now on, open as many descriptors as they
/// may, and gives how many clients that is at once, at most `wanted`.
///
/// # Errors
///
/// Fails where the system call does.
pub(crate) fn room_for(wanted: usize) -> io::Result<usize> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    let room = limit.maximum.unwrap_or(u64::MAX).saturating_sub(SPARE_DESCRIPTORS);
    Ok(usize::try_from(room).unwrap_or(usize::MAX).min(wanted))
}

/// The clients that come from one address of the loopback interface.
const CLIENTS_OF_AN_ADDRESS: usize = 1000;

/// The first words of a client, and the answer that it waits for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hello {
    /// Clients that connect before the first of them is waited for: a listener holds only so many that
    /// it has not accepted yet.
    pub(crate) at_once: usize,
    pub(crate) says: &'static [u8],
    /// Judges an answer: complete, too short, or wrong.
    pub(crate) heard: fn(&[u8]) -> io::Result<bool>,
}

/// Of ferry: the server speaks first.
pub(crate) const FERRY: Hello = Hello {
    at_once: 64,
    says: b"",
    heard: |line| match line.ends_with(b"\n") {
        true => Greeting::parse(line.trim_ascii_end()).map(|_| true).map_err(io::Error::other),
        false => Ok(false),
    },
};

/// Clients that were greeted and say nothing. Gone without a trace when dropped.
#[derive(Debug, Default)]
pub(crate) struct Crowd(Vec<TcpStream>);

impl Crowd {
    /// Adds `count` clients.
    ///
    /// # Errors
    ///
    /// Fails where a socket does, or where a greeting is none.
    pub(crate) fn join(&mut self, address: SocketAddr, count: usize, hello: &Hello) -> io::Result<()> {
        let end = self.0.len() + count;
        while self.0.len() < end {
            let start = self.0.len();
            for _ in 0..hello.at_once.min(end - start) {
                let mut socket = connect(address, self.0.len())?;
                socket.write_all(hello.says)?;
                self.0.push(socket);
            }
            for socket in &self.0[start..] {
                greeting(socket, hello)?;
            }
        }
        Ok(())
    }

    /// Lets `count` clients come, be greeted and go, a small group at a time.
    ///
    /// # Errors
    ///
    /// Fails as [`Crowd::join`] does.
    pub(crate) fn come_and_go(address: SocketAddr, count: usize, hello: &Hello) -> io::Result<()> {
        let mut left = count;
        while left > 0 {
            let group = left.min(hello.at_once);
            Crowd::default().join(address, group, hello)?;
            left -= group;
        }
        Ok(())
    }
}

/// Opens a connection that leaves no port behind in TIME_WAIT, of which there are too few: closing
/// it resets it. The `index`th of a crowd comes from one of several addresses: to find a free port
/// among many thousands that are taken costs the kernel more than all else.
pub(crate) fn connect(server: SocketAddr, index: usize) -> io::Result<TcpStream> {
    let [host, above, ..] = (index / CLIENTS_OF_AN_ADDRESS).to_le_bytes();
    let socket = match server {
        SocketAddr::V4(v4) if v4.ip().is_loopback() => {
            let socket = net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
            net::bind(&socket, &SocketAddr::from(([127, 1, above, host.saturating_add(1)], 0)))?;
            net::connect(&socket, &server)?;
            TcpStream::from(socket)
        }
        elsewhere => TcpStream::connect(elsewhere)?,
    };
    set_socket_linger(&socket, Some(Duration::ZERO))?;
    Ok(socket)
}

fn greeting(mut socket: &TcpStream, hello: &Hello) -> io::Result<()> {
    let mut answer = [0; 1024];
    let mut filled = 0;
    while !(hello.heard)(&answer[..filled])? {
        match socket.read(&mut answer[filled..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            bytes => filled += bytes,
        }
    }
    Ok(())
}

/// The result of many downloads at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    /// Bytes of them all.
    pub(crate) bytes: u64,
    /// Jain's index of the bytes that each had when half of all had come: 1 where all had the
    /// same, 1/n where one had everything.
    pub(crate) fairness: f64,
}

/// Gets the same file, of `bytes` bytes and this CRC, over `count` connections at once, one thread
/// taking what comes on any of them.
///
/// # Errors
///
/// Fails where a socket does, or where one of them got anything but the file.
pub(crate) fn download(
    address: SocketAddr,
    count: usize,
    name: &Name,
    (bytes, crc): (u64, Crc32),
) -> io::Result<Outcome> {
    const BUFFER_BYTES: usize = 256 << 10;
    let mut downloads = Vec::new();
    let mut crowd = Crowd::default();
    crowd.join(address, count, &FERRY)?;
    let poll = Poll::new()?;
    for (index, socket) in crowd.0.drain(..).enumerate() {
        downloads.push(Download::start(socket, name, &poll, index)?);
    }

    let all = bytes * count as u64;
    let mut half = None;
    let (mut came, mut open) = (0, count);
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut events = Vec::new();
    while open > 0 {
        for index in poll.wait(&mut events)? {
            let download = &mut downloads[index];
            came += download.take(&mut buffer)?;
            if let Some(claimed) = download.claimed {
                if (download.digest.bytes(), download.digest.crc(), claimed) != (bytes, crc, Some(crc)) {
                    return Err(io::Error::other("what came is not the file"));
                }
                poll.remove(&download.socket)?;
                open -= 1;
            }
        }
        if half.is_none() && came >= all / 2 {
            half = Some(jain(downloads.iter().map(|download| download.digest.bytes() as f64)));
        }
    }
    Ok(Outcome { bytes: came, fairness: half.unwrap_or_default() })
}

fn jain(values: impl Iterator<Item = f64>) -> f64 {
    let (count, sum, squares) =
        values.fold((0.0, 0.0, 0.0), |(count, sum, squares), x| (count + 1.0, sum + x, squares + x * x));
    sum * sum / (count * squares)
}

/// One GET under way.
struct Download {
    socket: TcpStream,
    framer: Framer,
    /// The beginning of a line.
    rest: Vec<u8>,
    began: bool,
    digest: Digest,
    /// The CRC of END.
    claimed: Option<Option<Crc32>>,
}

impl Download {
    fn start(mut socket: TcpStream, name: &Name, poll: &Poll, index: usize) -> io::Result<Download> {
        let mut request = Vec::new();
        Request::Get { name: name.clone() }.encode(&mut request);
        socket.write_all(&request)?;
        socket.set_nonblocking(true)?;
        poll.add(&socket, index, EventFlags::IN)?;
        Ok(Download {
            socket,
            framer: Framer::new(),
            rest: Vec::new(),
            began: false,
            digest: Digest::new(),
            claimed: None,
        })
    }

    /// Reads once, and gives how many bytes of the file came.
    fn take(&mut self, buffer: &mut [u8]) -> io::Result<u64> {
        let kept = self.rest.len();
        buffer[..kept].copy_from_slice(&self.rest);
        self.rest.clear();
        let end = match self.socket.read(&mut buffer[kept..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(bytes) => kept + bytes,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => kept,
            Err(error) => return Err(error),
        };
        let before = self.digest.bytes();
        let mut input = &buffer[..end];
        while let Some((frame, used)) = self.framer.next(input).map_err(io::Error::other)? {
            match frame {
                Frame::Raw(piece) => self.digest.update(piece),
                Frame::Line(line) => self.line(line)?,
            }
            input = &input[used..];
        }
        self.rest.extend_from_slice(input);
        Ok(self.digest.bytes() - before)
    }

    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        if !self.began {
            self.began = true;
            return match Reply::parse(line).map_err(io::Error::other)? {
                Reply::File(_) => Ok(()),
                other => Err(io::Error::other(format!("the server says {other:?}"))),
            };
        }
        match BodyLine::parse(line).map_err(io::Error::other)? {
            BodyLine::Data(bytes) => self.framer.expect_raw(bytes),
            BodyLine::End(claimed) => self.claimed = Some(claimed),
            other => return Err(io::Error::other(format!("the server says {other:?}"))),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fairness_is_one_for_equals_and_one_nth_for_a_winner() {
        assert!((jain([5.0, 5.0, 5.0].into_iter()) - 1.0).abs() < 1e-9);
        assert!((jain([5.0, 0.0, 0.0, 0.0].into_iter()) - 0.25).abs() < 1e-9);
    }
}
