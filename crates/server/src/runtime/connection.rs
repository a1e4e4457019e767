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
    protocol::ferry::{Segment, Session},
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
    /// A short read is not the last: behind it is the end of input, or, as reads stop there, the place
    /// of urgent data.
    pub(super) short_reads: bool,
    pub(super) input_ended: bool,
    /// It can't be written to any more.
    pub(super) broken: bool,
    /// It stands in the run queue.
    pub(super) queued: bool,
    /// It was turned away: not one of the clients that are counted.
    pub(super) refused: bool,
}

impl Connection {
    /// Whether something can go through its socket now.
    pub(super) fn can_move(&mut self) -> bool {
        let readable = self.readable && !self.input_ended && self.session.wants_input();
        self.socket.is_some() && (readable || self.writable && !self.session.outbox().is_empty())
    }

    /// Reads into `buffer`; 0 where nothing more can be had now.
    pub(super) fn read(&mut self, buffer: &mut [u8], now: Instant) -> usize {
        let Some(socket) = &mut self.socket else { return 0 };
        let result = read_some(socket, buffer);
        self.note_read(&result, buffer.len(), now)
    }

    /// Reads at most `most` bytes straight to where the session wants the bytes of a body; 0 where it
    /// wants none, or nothing more can be had now.
    pub(super) fn read_direct(&mut self, most: u64, now: Instant) -> usize {
        let Some(socket) = &mut self.socket else { return 0 };
        let Some(buffer) = self.session.direct() else { return 0 };
        let wanted = buffer.len().min(usize::try_from(most).unwrap_or(usize::MAX));
        let result = read_some(socket, &mut buffer[..wanted]);
        let count = self.note_read(&result, wanted, now);
        if count > 0 {
            self.session.received(count, now);
        }
        count
    }

    /// What a read tells of the socket: a short one emptied it, unless something may stand behind it.
    fn note_read(&mut self, result: &io::Result<usize>, wanted: usize, now: Instant) -> usize {
        let count = match result {
            Ok(count) => *count,
            Err(error) => {
                self.readable = false;
                if error.kind() != io::ErrorKind::WouldBlock {
                    self.session.disconnected(now);
                }
                return 0;
            }
        };
        self.input_ended |= count == 0;
        self.readable = count == wanted || (count > 0 && self.short_reads);
        count
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
            let left = budget - sent;
            let result = match segment {
                Segment::Bytes { data, sent } => {
                    let most = usize::try_from(left).unwrap_or(usize::MAX).min(data.len() - *sent);
                    send(socket, &data[*sent..*sent + most], flags)
                }
                Segment::Padding { left: padding } => {
                    let count = usize::try_from(left.min(*padding)).unwrap_or(usize::MAX).min(ZEROS.len());
                    send(socket, &ZEROS[..count], flags)
                }
                Segment::File { file, at, left: range } => {
                    of_file = Some(file.clone());
                    let mut offset = *at;
                    let count = usize::try_from(left.min(*range).min(SENDFILE_BYTES)).unwrap_or(usize::MAX);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What an idle client costs this process: this, an entry among the timers, and nothing else.
    #[test]
    fn an_idle_client_is_small() {
        let bytes = size_of::<Connection>();
        assert!(bytes <= 448, "a connection takes {bytes} bytes");
    }
}
