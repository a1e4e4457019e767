//! Many sockets that one thread waits for.

use std::{io, net::TcpStream, os::fd::OwnedFd};

use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, CreateFlags, Event, EventData, EventFlags},
    io::retry_on_intr,
};

/// The most events that one [`Poll::wait`] returns.
const EVENTS: usize = 256;

/// Sockets that are waited for together, each with a number of its own.
#[derive(Debug)]
pub(crate) struct Poll(OwnedFd);

impl Poll {
    /// Creates one of no sockets.
    ///
    /// # Errors
    ///
    /// Fails where the system has no descriptor left.
    pub(crate) fn new() -> io::Result<Poll> {
        Ok(Poll(epoll::create(CreateFlags::CLOEXEC)?))
    }

    /// Adds `socket`, whose events are `flags`, under the number `index`.
    ///
    /// # Errors
    ///
    /// Fails as epoll_ctl(2) does.
    pub(crate) fn add(&self, socket: &TcpStream, index: usize, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::add(&self.0, socket, EventData::new_u64(index as u64), flags)?)
    }

    /// Removes `socket`.
    ///
    /// # Errors
    ///
    /// Fails where it was not added.
    pub(crate) fn remove(&self, socket: &TcpStream) -> io::Result<()> {
        Ok(epoll::delete(&self.0, socket)?)
    }

    /// Waits until a socket has events, also after a signal, and returns the numbers of those that
    /// have. `events` is the memory that this works with.
    ///
    /// # Errors
    ///
    /// Fails as epoll_wait(2) does.
    pub(crate) fn wait<'a>(&self, events: &'a mut Vec<Event>) -> io::Result<impl Iterator<Item = usize> + use<'a>> {
        events.clear();
        events.reserve(EVENTS);
        retry_on_intr(|| epoll::wait(&self.0, spare_capacity(events), None))?;
        // Each was a usize when it was added.
        Ok(events.iter().map(|event| event.data.u64() as usize))
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, net::TcpListener};

    use super::*;

    #[test]
    fn those_that_have_something_are_named_until_they_are_removed() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let pair = || (TcpStream::connect(address).unwrap(), listener.accept().unwrap().0);
        let ((one, mut far_one), (other, mut far_other)) = (pair(), pair());
        let poll = Poll::new().unwrap();
        poll.add(&one, 1, EventFlags::IN).unwrap();
        poll.add(&other, 7, EventFlags::IN).unwrap();
        let mut events = Vec::new();
        far_other.write_all(b"x").unwrap();
        assert_eq!(poll.wait(&mut events).unwrap().collect::<Vec<_>>(), [7]);
        poll.remove(&other).unwrap();
        far_one.write_all(b"x").unwrap();
        assert_eq!(poll.wait(&mut events).unwrap().collect::<Vec<_>>(), [1]);
    }
}
