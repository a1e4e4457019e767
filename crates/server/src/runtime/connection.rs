//! One client: its socket, its session, and the way between them.

use std::{
    io::IoSlice,
    net::SocketAddr,
    os::fd::AsFd,
    sync::Arc,
    time::{Duration, Instant},
};

use ferry_wire::{Code, Failure};
use mio::{Token, event::Event};
use zeroize::Zeroizing;

use super::{admission::Admitted, party::Party, scheduler::Queued};
use crate::{
    net::{Endpoint, ReadError, SendFileError, Unsent},
    observe::{ClientState, Occupation},
    protocol::{Activity, Outbox, Segment, Session, Spares},
    store::{Disk, OpenFile, StoreError},
};

/// Runs of bytes that are sent by one call: as many files of 4 KiB as are queued at once, and what stands between them.
const SLICES: usize = 36;

/// Stands in for bytes that can't be read any more.
static ZEROS: [u8; 16 << 10] = [0; 16 << 10];

/// A client.
pub(super) struct Connection {
    pub(super) token: Token,
    /// [`None`] once the client is gone, while its last operations are under way.
    pub(super) endpoint: Option<Endpoint>,
    pub(super) peer: SocketAddr,
    pub(super) session: Session<Disk>,
    /// Input that the session could not take yet.
    pub(super) leftover: Vec<u8>,
    /// Its entry among the timers.
    pub(super) timer: Option<Instant>,
    pub(super) queued: Queued,
    /// Whether it counts as a client or as one that is turned away.
    pub(super) admitted: Admitted,
    /// The occupation that it is counted under. Only the counting code may change it.
    pub(super) occupation: Occupation,
    /// When it was asked last how much of the output has arrived.
    looked_at: Option<Instant>,
}

/// Between two looks at what has arrived, while the socket is full: it costs a system call, and progress is judged by windows
/// that are longer.
const LOOK: Duration = Duration::from_secs(1);

impl Connection {
    /// Returns a client that has just connected.
    pub(super) fn new(
        token: Token,
        endpoint: Endpoint,
        peer: SocketAddr,
        mut session: Session<Disk>,
        admitted: Admitted,
    ) -> Connection {
        // From here on it is said what has arrived.
        session.outbox().note_under_way(0);
        Connection {
            token,
            endpoint: Some(endpoint),
            peer,
            session,
            leftover: Vec::new(),
            timer: None,
            queued: Queued::default(),
            admitted,
            occupation: Occupation { state: ClientState::Request, downloads: false, uploads: 0 },
            looked_at: None,
        }
    }

    /// Returns what it does now. It `waits` for a rate or it does not.
    pub(super) fn occupation(&self, waits: bool) -> Occupation {
        let activity = self.session.activity();
        let state = match activity {
            _ if self.admitted.is_refused() => ClientState::Refused,
            _ if waits => ClientState::Rate,
            Activity::Idle => ClientState::Idle,
            Activity::Asking => ClientState::Request,
            Activity::Downloading => ClientState::Download,
            Activity::Uploading => ClientState::Upload,
            Activity::Closing => ClientState::Closing,
        };
        let uploads = u16::try_from(self.session.uploads()).unwrap_or(u16::MAX);
        Occupation { state, downloads: activity == Activity::Downloading, uploads }
    }

    /// Returns the party that it counts for.
    pub(super) fn party(&self) -> Party {
        Party::of(self.peer.ip(), self.session.user())
    }

    /// Notes an event of its socket.
    pub(super) fn note(&mut self, event: &Event) {
        if let Some(endpoint) = &mut self.endpoint {
            endpoint.note(event);
        }
    }

    /// Returns whether nothing can be sent any more.
    pub(super) fn is_broken(&self) -> bool {
        self.endpoint.as_ref().is_some_and(Endpoint::is_broken)
    }

    /// Tells the client that nothing more will come, where that is due. Returns whether it was.
    pub(super) fn shut_down_if_due(&mut self) -> bool {
        let is_due = self.session.take_shutdown();
        if let Some(endpoint) = self.endpoint.as_mut().filter(|_| is_due) {
            endpoint.shut_down();
        }
        is_due
    }

    /// Gives back what an idle client need not hold.
    pub(super) fn rest(&mut self, spares: &mut Spares<Disk>) {
        self.session.rest(spares);
        if let Some(endpoint) = self.endpoint.as_mut().filter(|_| self.session.is_idle()) {
            endpoint.rest();
        }
    }

    /// Closes its socket, once.
    pub(super) fn close(&mut self) {
        drop(Zeroizing::new(std::mem::take(&mut self.leftover)));
        if self.endpoint.take().is_some() {
            log::debug!("{}: disconnected", self.peer);
        }
    }

    /// Returns whether bytes can go through its socket now.
    pub(super) fn can_move(&mut self) -> bool {
        let Some(endpoint) = &self.endpoint else { return false };
        let reads = endpoint.can_read() && self.session.wants_input();
        reads || endpoint.can_write() && !self.session.outbox().is_empty()
    }

    /// Returns whether its socket may have input.
    pub(super) fn can_read(&self) -> bool {
        self.endpoint.as_ref().is_some_and(Endpoint::can_read)
    }

    /// Returns whether the client has ended its input, and all of it was read.
    pub(super) fn input_has_ended(&self) -> bool {
        self.endpoint.as_ref().is_some_and(Endpoint::has_ended)
    }

    /// Reads into `buffer`; 0 where nothing more can be had now.
    ///
    /// # Errors
    ///
    /// Where nothing more can be read, which the session knows by then.
    pub(super) fn read(&mut self, buffer: &mut [u8], now: Instant) -> Result<usize, ReadError> {
        let Some(endpoint) = &mut self.endpoint else { return Ok(0) };
        endpoint.read(buffer).inspect_err(|error| self.reading_failed(error, now))
    }

    fn reading_failed(&mut self, error: &ReadError, now: Instant) {
        match error {
            ReadError::Lost | ReadError::Tls(_) => self.session.disconnected(now),
            ReadError::SpeaksTls => {
                let message = "this address does not speak TLS; connect without it (in ferry: OPEN --plain)";
                self.session.dismiss(Failure::new(Code::BadRequest, message), now);
            }
        }
    }

    /// Reads at most `most` bytes straight to where the session wants the bytes of a body; 0 where it
    /// wants none, or nothing more can be had now.
    ///
    /// # Errors
    ///
    /// As those of [`read`](Self::read).
    pub(super) fn read_direct(&mut self, most: u64, now: Instant) -> Result<usize, ReadError> {
        let Some(endpoint) = &mut self.endpoint else { return Ok(0) };
        let Some(buffer) = self.session.direct() else { return Ok(0) };
        let wanted = buffer.len().min(usize::try_from(most).unwrap_or(usize::MAX));
        let count = endpoint.read(&mut buffer[..wanted]).inspect_err(|error| self.reading_failed(error, now))?;
        if count > 0 {
            self.session.received(count, now);
        }
        Ok(count)
    }

    /// The clock of its session has run down. What fills the buffers of sockets is no progress of the client's, and what
    /// drains from them is.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.note_under_way(now);
        self.session.handle_timeout(now);
    }

    /// Asks how much of the output has not arrived.
    fn note_under_way(&mut self, now: Instant) {
        self.looked_at = Some(now);
        if let Some(bytes) = self.endpoint.as_ref().and_then(Endpoint::bytes_under_way) {
            self.session.outbox().note_under_way(bytes);
        }
    }

    /// Sends from the outbox until it is empty, the socket is full, or `budget` bytes are gone, and
    /// returns how many went.
    pub(super) fn flush(&mut self, budget: u64, now: Instant) -> u64 {
        let mut sent = 0;
        while sent < budget {
            let Some(endpoint) = self.endpoint.as_mut().filter(|endpoint| endpoint.can_write()) else { break };
            let outbox = self.session.outbox();
            match send_front(endpoint, outbox, budget - sent) {
                Ok(Some(count)) => {
                    outbox.advance(count as u64);
                    sent += count as u64;
                }
                Err(SendingStopped::Socket(Unsent::Full)) => {
                    if self.looked_at.is_none_or(|last| now.saturating_duration_since(last) >= LOOK) {
                        self.note_under_way(now);
                    }
                    break;
                }
                Ok(None) => break,
                Err(SendingStopped::Socket(Unsent::Lost)) => self.session.disconnected(now),
                Err(SendingStopped::File(error)) => self.session.range_failed(*error, now),
            }
        }
        if sent > 0 {
            self.session.sent(now);
        }
        sent
    }
}

/// Why the outbox can't be sent from.
enum SendingStopped {
    Socket(Unsent),
    /// The file at its front can't be read any more.
    File(Box<StoreError>),
}

/// Sends at most `most` bytes from the front of `outbox` and returns how many; [`None`] where it is empty.
fn send_front(
    endpoint: &mut Endpoint,
    outbox: &Outbox<Arc<OpenFile>>,
    most: u64,
) -> Result<Option<usize>, SendingStopped> {
    let sent = match outbox.front() {
        None => return Ok(None),
        Some((Segment::File { file, at, left }, _)) => {
            return send_range(endpoint, file, at, most.min(left)).map(Some);
        }
        Some((Segment::Padding(left), more)) => {
            let count = usize::try_from(most.min(left)).unwrap_or(usize::MAX).min(ZEROS.len());
            endpoint.write(&[IoSlice::new(&ZEROS[..count])], more)
        }
        Some((Segment::Bytes(_), _)) => send_bytes(endpoint, outbox, most),
    };
    sent.map(Some).map_err(SendingStopped::Socket)
}

/// Sends from the runs of bytes at the front.
fn send_bytes(endpoint: &mut Endpoint, outbox: &Outbox<Arc<OpenFile>>, most: u64) -> Result<usize, Unsent> {
    let mut room = usize::try_from(most).unwrap_or(usize::MAX);
    let mut slices = [IoSlice::new(&[]); SLICES];
    let mut count = 0;
    let mut segments = outbox.segments();
    let mut next = segments.next();
    while let Some(Segment::Bytes(data)) = next
        && count < SLICES
        && room > 0
    {
        let part = &data[..data.len().min(room)];
        slices[count] = IoSlice::new(part);
        (count, room) = (count + 1, room - part.len());
        next = segments.next();
    }
    endpoint.write(&slices[..count], next.is_some())
}

/// Sends from a range of a file.
fn send_range(endpoint: &mut Endpoint, file: &OpenFile, at: u64, bytes: u64) -> Result<usize, SendingStopped> {
    let file_failed = |error| Err(SendingStopped::File(Box::new(error)));
    let sent = match file.fd() {
        Ok(fd) => endpoint.send_file(fd.as_fd(), at, bytes),
        Err(errno) => Err(SendFileError::File(errno)),
    };
    match sent {
        Ok(count) => Ok(count),
        Err(SendFileError::Socket(unsent)) => Err(SendingStopped::Socket(unsent)),
        Err(SendFileError::Ended) => file_failed(file.shrank()),
        Err(SendFileError::File(errno)) => {
            log::error!("sending a file failed: {errno}");
            file_failed(file.error(errno))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An idle client costs this process this much, an entry among the timers, and nothing else.
    #[test]
    fn an_idle_client_is_small() {
        let bytes = size_of::<Connection>();
        assert!(bytes <= 480, "a connection takes {bytes} bytes");
    }
}
