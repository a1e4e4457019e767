//! Answers questions at the control socket, and hands the server's sockets over to a new one.

use std::{
    io::{self, Read as _},
    os::fd::{AsFd as _, OwnedFd},
    time::Instant,
};

use mio::{Interest, net::UnixStream};

use super::{
    HAND_OVER, Server, ending,
    inquiries::{Answer, Inquiry, Question},
};
use crate::{
    control,
    net::{News, Service},
};

/// A take-over that has begun: a new server has the sockets, and has not said yet that it accepts clients.
#[derive(Debug)]
pub(super) struct HandOver {
    /// The connection on which it says so. Where it ends before that, nothing has happened.
    waiting: UnixStream,
    said: Vec<u8>,
}

/// The longest line of the new server, in bytes.
const MOST_BYTES: usize = 64;

impl HandOver {
    /// Reads what was said. Returns the new server's process once it accepts clients; [`None`]
    /// where there is more to wait for.
    ///
    /// # Errors
    ///
    /// Where it has ended, or says something else.
    fn heard(&mut self) -> io::Result<Option<i32>> {
        loop {
            let mut bytes = [0; MOST_BYTES];
            match self.waiting.read(&mut bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(count) if count > 0 && self.said.len() < MOST_BYTES => {
                    self.said.extend_from_slice(&bytes[..count]);
                    if let Some(pid) = control::successor(&self.said) {
                        return Ok(Some(pid));
                    }
                }
                Ok(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) => return Err(error),
            }
        }
    }
}

impl Server {
    /// Returns the answer to a question at the control socket; [`None`] where it comes later.
    pub(super) fn answer_control(&mut self, question: &Question, now: Instant) -> Option<Answer> {
        let line = question.bytes.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
        let answer = match control::Question::parse(line) {
            Some(control::Question::Status { json }) => control::done(&self.status(json, now)),
            Some(control::Question::Reload) if self.life.is_draining() => control::refused("the server is draining"),
            Some(control::Question::Reload) => {
                self.reload("ferryd reload", Some(question.from), now);
                return None;
            }
            Some(control::Question::TakeOver) => match self.hand_over() {
                Ok(answer) => return Some(answer),
                Err(why) => control::refused(&why),
            },
            None => control::refused("that is no question; there are: status, status json, reload, take-over"),
        };
        Some(answer.into())
    }

    /// Gives another descriptor of each listening socket to a new server.
    fn hand_over(&mut self) -> Result<Answer, String> {
        if self.life.is_draining() {
            return Err("the server is draining".into());
        }
        if self.hand_over.is_some() {
            return Err("another server is taking over already".into());
        }
        let failed = |error: io::Error| format!("the sockets can't be handed over: {error}");
        let (answer, waiting) = self.to_hand_over().map_err(failed)?;
        log::info!("a new server takes over: it has the sockets; waiting until it accepts clients");
        self.hand_over = Some(HandOver { waiting, said: Vec::new() });
        Ok(answer)
    }

    fn to_hand_over(&self) -> io::Result<(Answer, UnixStream)> {
        let (mut waiting, theirs) = UnixStream::pair()?;
        let mut given: Vec<(String, OwnedFd)> = Vec::new();
        for (service, is_held, socket) in self.arrivals.sockets() {
            let purpose = match service {
                Service::Ferry => "clients",
                Service::Http => "http",
            };
            let held = if is_held { format!(" {}", control::HELD) } else { String::new() };
            given.push((format!("{purpose}{held}"), socket.try_clone_to_owned()?));
        }
        for (inquiry, socket) in self.inquiries.sockets() {
            let purpose = match inquiry {
                Inquiry::Control => "control",
                Inquiry::Metrics => "metrics",
            };
            given.push((purpose.into(), socket.try_clone_to_owned()?));
        }
        if let Some((socket, watchdog)) = self.manager.to_hand_over()? {
            let microseconds = watchdog.map(|time| format!(" {}", time.as_micros())).unwrap_or_default();
            given.push((format!("manager{microseconds}"), socket));
        }
        given.push(("waiting".into(), theirs.as_fd().try_clone_to_owned()?));
        self.poll.registry().register(&mut waiting, HAND_OVER, Interest::READABLE)?;
        let (lines, descriptors): (Vec<String>, _) = given.into_iter().unzip();
        let content: String = lines.iter().map(|line| format!("{line}\n")).collect();
        Ok((Answer { bytes: control::done(&content).into_bytes(), descriptors }, waiting))
    }

    /// Reads the new server's word: drains once it accepts clients, and goes on where it has ended.
    pub(super) fn take_hand_over(&mut self, now: Instant) {
        let Some(hand_over) = &mut self.hand_over else { return };
        match hand_over.heard() {
            Ok(None) => return,
            Ok(Some(pid)) if !self.life.is_draining() => self.succeeded_by(pid, now),
            Ok(Some(_)) => {}
            Err(_) => log::warn!("the new server has ended before it accepted clients: this one goes on"),
        }
        self.hand_over = None;
    }

    /// Leaves the sockets to the new server, with the clients that wait to be accepted there.
    pub(super) fn give_away(&mut self) {
        self.arrivals.give_away(self.poll.registry());
        self.inquiries.give_away(self.poll.registry());
        self.control_file = None;
    }

    /// Drains, while process `pid` goes on with the sockets. It accepts the clients that wait.
    fn succeeded_by(&mut self, pid: i32, now: Instant) {
        log::info!("process {pid} accepts clients now: draining");
        self.manager.tell(News::Successor(pid), "", now);
        self.give_away();
        self.life.drain(now);
        self.each_session(|session| session.drain(ending(), now));
    }
}
