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

use super::pace::Pace;
use crate::{
    session::{Segment, Session},
    store::{Disk, Store},
};

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
    /// It stands in the run queue.
    pub(super) queued: bool,
    /// It was turned away: not one of the clients that are counted.
    pub(super) refused: bool,
    /// Its rate, where there is a limit.
    pub(super) pace: Option<Box<Pace>>,
    /// Bytes that went through the socket and are not counted against a rate yet.
    pub(super) moved: u64,
}

impl Connection {
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
        self.moved += count as u64;
        count
    }

    /// Sends from the outbox until it is empty, the socket is full, or `budget` bytes are gone. Files
    /// are read from `store` through `scratch`, which stays in the processor's cache. Gives how many
    /// bytes went.
    pub(super) fn flush(&mut self, budget: u64, store: &Store, scratch: &mut [u8], now: Instant) -> u64 {
        let mut gone = 0;
        while self.writable && gone < budget {
            let sent = match self.session.outbox().front() {
                None => break,
                Some((Segment::File { .. }, _)) => self.send_file(budget - gone, store, scratch, now),
                Some(_) => self.send_bytes(budget - gone, now),
            };
            gone += sent as u64;
        }
        self.moved += gone;
        gone
    }

    /// Sends text or padding from the front of the outbox.
    fn send_bytes(&mut self, most: u64, now: Instant) -> usize {
        let (Some(socket), Some((segment, more))) = (&self.socket, self.session.outbox().front()) else { return 0 };
        let bytes = match segment {
            Segment::Bytes { data, sent } => &data[*sent..],
            Segment::Padding { left } => &ZEROS[..usize::try_from(*left).unwrap_or(usize::MAX).min(ZEROS.len())],
            Segment::File { .. } => return 0,
        };
        let bytes = &bytes[..usize::try_from(most).unwrap_or(usize::MAX).min(bytes.len())];
        let (asked, result) = (bytes.len(), send(socket, bytes, flags(more)));
        let sent = self.note_sent(&result, asked, now);
        if sent > 0 {
            self.session.outbox().advance(sent as u64);
            self.session.sent(now);
        }
        sent
    }

    /// Sends from the range of a file at the front of the outbox. What the socket does not take is read
    /// again later: a client that is slow costs no memory.
    fn send_file(&mut self, most: u64, store: &Store, scratch: &mut [u8], now: Instant) -> usize {
        let (Some(socket), Some((segment, more))) = (&self.socket, self.session.outbox().front()) else { return 0 };
        let Segment::File { file, at, left, .. } = segment else { return 0 };
        let wanted = usize::try_from(most.min(*left)).unwrap_or(usize::MAX).min(scratch.len());
        let read = match store.read_now(file, *at, &mut scratch[..wanted]) {
            Ok(None) => {
                self.session.range_is_cold(now);
                return 0;
            }
            // The file ends before its announced size.
            Ok(Some(0)) => Err(file.shrank()),
            Ok(Some(read)) => Ok(read),
            Err(failure) => {
                log::error!("sending a file failed: {failure}");
                Err(failure)
            }
        };
        match read {
            Ok(read) => {
                let more = more || (read as u64) < *left;
                let result = send(socket, &scratch[..read], flags(more));
                let sent = self.note_sent(&result, read, now);
                if sent > 0 {
                    self.session.sent_of_file(&scratch[..sent], now);
                }
                sent
            }
            Err(failure) => {
                self.session.range_failed(failure, now);
                0
            }
        }
    }

    /// What a write tells of the socket: a short one filled it.
    fn note_sent(&mut self, result: &Result<usize, Errno>, asked: usize, now: Instant) -> usize {
        match result {
            Ok(sent) => {
                self.writable = *sent == asked;
                *sent
            }
            Err(Errno::INTR) => 0,
            Err(error) => {
                self.writable = false;
                if *error != Errno::AGAIN {
                    self.session.disconnected(now);
                }
                0
            }
        }
    }
}

fn flags(more: bool) -> SendFlags {
    if more { SendFlags::NOSIGNAL | SendFlags::MORE } else { SendFlags::NOSIGNAL }
}

fn read_some(socket: &mut TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match socket.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
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
