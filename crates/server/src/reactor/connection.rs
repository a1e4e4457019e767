//! One client: its socket, its session, and what lies between them.

use std::{
    io::{self, Read},
    net::SocketAddr,
    time::Instant,
};

use mio::net::TcpStream;
use rustix::{
    io::Errno,
    net::{SendFlags, send},
};

use crate::{
    session::{Segment, Session},
    store::Disk,
};

/// The most that one sendfile is asked for.
const SENDFILE_BYTES: u64 = 1 << 20;

/// What stands in for bytes that can't be read any more.
static ZEROS: [u8; 16 << 10] = [0; 16 << 10];

/// A client.
pub(super) struct Connection {
    /// [`None`] once the client is gone, while its last work is under way.
    pub(super) socket: Option<TcpStream>,
    pub(super) peer: SocketAddr,
    pub(super) session: Session<Disk>,
    /// Input that the session could not take yet.
    pub(super) leftover: Vec<u8>,
    pub(super) generation: u32,
    /// The earliest entry of this connection among the timers.
    pub(super) timer: Option<Instant>,
    /// Edge-triggered readiness, remembered until a call would block.
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// The client shut down its sending side: a short read is not the last.
    pub(super) half_closed: bool,
    pub(super) input_ended: bool,
    /// It stands in the run queue.
    pub(super) queued: bool,
    /// It was turned away: not one of the clients that are counted.
    pub(super) refused: bool,
}

impl Connection {
    /// Reads into `buffer`; 0 where nothing more can be had now.
    pub(super) fn read(&mut self, buffer: &mut [u8], now: Instant) -> usize {
        let Some(socket) = &mut self.socket else { return 0 };
        match read_some(socket, buffer) {
            Ok(0) => {
                self.readable = false;
                self.input_ended = true;
                0
            }
            Ok(count) => {
                self.readable = count == buffer.len() || self.half_closed;
                count
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                0
            }
            Err(_) => {
                self.readable = false;
                self.session.disconnected(now);
                0
            }
        }
    }

    /// Reads straight to where the session wants the bytes of a body; [`None`] where it wants none.
    pub(super) fn read_direct(&mut self, now: Instant) -> Option<usize> {
        let socket = self.socket.as_mut()?;
        let buffer = self.session.direct()?;
        let wanted = buffer.len();
        match read_some(socket, buffer) {
            Ok(0) => {
                self.readable = false;
                self.input_ended = true;
                Some(0)
            }
            Ok(count) => {
                self.readable = count == wanted || self.half_closed;
                self.session.received(count, now);
                Some(count)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                Some(0)
            }
            Err(_) => {
                self.readable = false;
                self.session.disconnected(now);
                Some(0)
            }
        }
    }

    /// Sends from the outbox until it is empty, the socket is full, or `budget` bytes are gone.
    /// Gives how many went.
    pub(super) fn flush(&mut self, budget: u64, now: Instant) -> u64 {
        let mut sent = 0;
        while self.writable && sent < budget {
            let Some(socket) = &self.socket else { break };
            let outbox = self.session.outbox();
            let Some((segment, more)) = outbox.front() else { break };
            let flags = if more { SendFlags::NOSIGNAL | SendFlags::MORE } else { SendFlags::NOSIGNAL };
            let mut of_file = None;
            let result = match segment {
                Segment::Bytes { data, sent } => send(socket, &data[*sent..], flags),
                Segment::Padding { left } => {
                    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(ZEROS.len());
                    send(socket, &ZEROS[..count], flags)
                }
                Segment::File { file, at, left } => {
                    of_file = Some(file.clone());
                    let mut offset = *at;
                    let count = usize::try_from((*left).min(SENDFILE_BYTES)).unwrap_or(usize::MAX);
                    file.fd().and_then(|fd| rustix::fs::sendfile(socket, fd, Some(&mut offset), count))
                }
            };
            match (result, of_file) {
                (Err(Errno::INTR), _) => {}
                (Err(Errno::AGAIN), _) => self.writable = false,
                // The file ends before its announced size.
                (Ok(0), Some(file)) => self.session.range_failed(file.shrank(), now),
                (Ok(count), _) => {
                    outbox.advance(count as u64);
                    sent += count as u64;
                }
                (Err(error), Some(file)) if !is_of_socket(error) => {
                    log::error!("sending a file failed: {error}");
                    self.session.range_failed(file.failure(error), now);
                }
                (Err(_), _) => {
                    self.writable = false;
                    self.session.disconnected(now);
                }
            }
        }
        if sent > 0 {
            self.session.sent(now);
        }
        sent
    }
}

fn read_some(socket: &mut TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match socket.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Whether an error of sendfile is the connection's rather than the file's.
fn is_of_socket(error: Errno) -> bool {
    matches!(
        error,
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
