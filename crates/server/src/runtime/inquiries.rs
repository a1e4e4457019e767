//! Small connections on the loop: one question, one answer, and the connection is closed.
//!
//! An inquirer is no client: it takes none of the clients' places. Its connection holds at most 8
//! KiB of a question, and has 5 seconds to ask and 5 to take the answer. Each kind of [`Inquiry`]
//! has a few places. Where all are taken, the slow inquirer that came first gives way, so that idle
//! connections keep nobody out.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use mio::{Registry, Token};

use super::connections::{inquiry_number, inquiry_token};
use crate::net::{Acceptor, InquiryListener, InquirySocket};

/// The longest question, in bytes.
const QUESTION_BYTES: usize = 8 << 10;

/// The initial memory for a question, in bytes: nearly all are shorter.
const USUAL_BYTES: usize = 512;

/// The timeout for the question, from the connection on.
const TIME_TO_ASK: Duration = Duration::from_secs(5);

/// The time after which the loop gives no answer any more: a reload that it waits for may never
/// end.
const TIME_TO_ANSWER: Duration = Duration::from_secs(60);

/// The timeout for the client to take the answer and to close.
const TIME_TO_TAKE: Duration = Duration::from_secs(5);

/// Bytes that may come after the question and are discarded: closing before they are read could
/// destroy the answer.
const DISCARDED_BYTES: usize = 64 << 10;

/// Connections that are accepted at each listener in a round.
const ACCEPTS_PER_ROUND: usize = 4;

/// The kinds of questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inquiry {
    /// A line, of a command of `ferryd` or of a new server.
    Control,
    /// The head of an HTTP request, of a program that gathers figures.
    Metrics,
}

impl Inquiry {
    /// Returns whether `request` is whole.
    fn is_whole(self, request: &[u8]) -> bool {
        match self {
            Inquiry::Control => request.contains(&b'\n'),
            Inquiry::Metrics => {
                request.windows(4).any(|end| end == b"\r\n\r\n") || request.windows(2).any(|end| end == b"\n\n")
            }
        }
    }
}

/// A question that waits for its [answer](Inquiries::answer).
#[derive(Debug)]
pub(super) struct Question {
    pub(super) from: Token,
    pub(super) inquiry: Inquiry,
    /// The question, cut at [`QUESTION_BYTES`].
    pub(super) bytes: Vec<u8>,
}

/// An answer.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) bytes: Vec<u8>,
    /// Sent along with the first byte, so there has to be one. TCP takes no descriptors.
    pub(super) descriptors: Vec<OwnedFd>,
}

impl From<String> for Answer {
    fn from(text: String) -> Answer {
        Answer { bytes: text.into_bytes(), descriptors: Vec::new() }
    }
}

/// The state of a connection.
#[derive(Debug)]
enum State {
    /// Its question is being received.
    Asks(Vec<u8>),
    /// The question is whole, and the loop has not taken it yet.
    HasAsked(Vec<u8>),
    /// The loop has the question.
    Waits,
    /// The answer is being sent; the number is of its bytes that were sent.
    Takes(Answer, usize),
    /// The answer was sent, and the connection lingers. The number is of bytes discarded since.
    Leaves(usize),
}

/// A step of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    GoesOn,
    Ends,
}

#[derive(Debug)]
struct Inquirer {
    token: Token,
    socket: InquirySocket,
    state: State,
    until: Instant,
}

impl Inquirer {
    /// Advances as far as the socket allows.
    fn advance(&mut self, inquiry: Inquiry) -> Step {
        let advanced = match &mut self.state {
            State::Asks(_) => self.ask(inquiry),
            State::HasAsked(_) | State::Waits => Ok(Step::GoesOn),
            State::Takes(..) => self.take(),
            State::Leaves(_) => self.leave(),
        };
        match advanced {
            Ok(step) => step,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Step::GoesOn,
            Err(_) => Step::Ends,
        }
    }

    fn ask(&mut self, inquiry: Inquiry) -> io::Result<Step> {
        let State::Asks(request) = &mut self.state else { return Ok(Step::GoesOn) };
        loop {
            let filled = request.len();
            request.resize((2 * filled).clamp(USUAL_BYTES, QUESTION_BYTES), 0);
            let read = self.socket.read(&mut request[filled..]);
            request.truncate(filled + read.as_ref().map_or(0, |count| *count));
            if read? == 0 {
                return Ok(Step::Ends);
            }
            if request.len() == QUESTION_BYTES || inquiry.is_whole(request) {
                self.state = State::HasAsked(std::mem::take(request));
                return Ok(Step::GoesOn);
            }
        }
    }

    fn take(&mut self) -> io::Result<Step> {
        let State::Takes(Answer { bytes, descriptors }, sent) = &mut self.state else { return Ok(Step::GoesOn) };
        while *sent < bytes.len() {
            *sent += self.socket.send(&bytes[*sent..], descriptors)?;
            descriptors.clear();
        }
        self.socket.shut_down();
        self.state = State::Leaves(0);
        self.leave()
    }

    fn leave(&mut self) -> io::Result<Step> {
        let State::Leaves(discarded) = &mut self.state else { return Ok(Step::GoesOn) };
        while *discarded <= DISCARDED_BYTES {
            match self.socket.read(&mut [0; 4 << 10])? {
                0 => break,
                count => *discarded += count,
            }
        }
        Ok(Step::Ends)
    }

    /// Returns whether the other end is waited for.
    fn is_slow(&self) -> bool {
        matches!(self.state, State::Asks(_) | State::Takes(..) | State::Leaves(_))
    }
}

/// A listener and its inquirers, in the order in which they came.
#[derive(Debug)]
struct Place {
    inquiry: Inquiry,
    /// [`None`] once another server has the listener.
    acceptor: Option<Acceptor<InquiryListener>>,
    token: Token,
    inquirers: Vec<Inquirer>,
    most: usize,
}

impl Place {
    fn has_room(&self) -> bool {
        self.inquirers.len() < self.most || self.inquirers.iter().any(Inquirer::is_slow)
    }

    fn can_accept(&self, now: Instant) -> bool {
        self.acceptor.as_ref().is_some_and(|acceptor| acceptor.can_accept(now)) && self.has_room()
    }

    /// Returns when it is to be [run](Inquiries::run) though no event came.
    fn next_at(&self) -> Option<Instant> {
        let retry_at = self.acceptor.as_ref().and_then(Acceptor::retry_at).filter(|_| self.has_room());
        self.inquirers.iter().map(|inquirer| inquirer.until).chain(retry_at).min()
    }

    /// Makes room for one more. False where none can be made.
    fn make_room(&mut self) -> bool {
        if self.inquirers.len() >= self.most {
            let Some(slow) = self.inquirers.iter().position(Inquirer::is_slow) else { return false };
            self.inquirers.remove(slow);
        }
        true
    }

    /// Advances the inquirer at `index`, and removes it if it has ended.
    fn advance(&mut self, index: usize) {
        if self.inquirers[index].advance(self.inquiry) == Step::Ends {
            self.inquirers.remove(index);
        }
    }
}

/// See the [module documentation](self).
#[derive(Debug, Default)]
pub(super) struct Inquiries {
    places: Vec<Place>,
    /// The number of the token that is given next.
    next: u32,
}

impl Inquiries {
    /// Returns the inquiries at `listeners`, with up to `most` connections at each.
    ///
    /// # Errors
    ///
    /// Where the system refuses to tell of events.
    pub(super) fn new(
        listeners: Vec<(Inquiry, InquiryListener)>,
        most: usize,
        registry: &Registry,
    ) -> io::Result<Inquiries> {
        let mut inquiries = Inquiries::default();
        for (inquiry, listener) in listeners {
            let token = inquiries.next_token();
            let acceptor = Some(Acceptor::new(listener, registry, token)?);
            let inquirers = Vec::new();
            inquiries.places.push(Place { inquiry, acceptor, token, inquirers, most: most.max(1) });
        }
        Ok(inquiries)
    }

    /// Returns the listening sockets.
    pub(super) fn sockets(&self) -> impl Iterator<Item = (Inquiry, BorrowedFd<'_>)> {
        self.places.iter().filter_map(|place| Some((place.inquiry, place.acceptor.as_ref()?.as_fd())))
    }

    /// Stops accepting: another server has the listeners as well. Questions under way are still
    /// answered.
    pub(super) fn give_away(&mut self, registry: &Registry) {
        for acceptor in self.places.iter_mut().filter_map(|place| place.acceptor.take()) {
            acceptor.give_away(registry);
        }
    }

    /// Returns a token that no listener has. No connection lives until it comes again.
    fn next_token(&mut self) -> Token {
        loop {
            let token = inquiry_token(self.next);
            self.next = self.next.wrapping_add(1);
            if self.places.iter().all(|place| place.token != token) {
                return token;
            }
        }
    }

    /// Notes an event of `token`. False where the token is not of an inquiry.
    pub(super) fn note(&mut self, token: Token) -> bool {
        if inquiry_number(token).is_none() {
            return false;
        }
        if let Some(place) = self.places.iter_mut().find(|place| place.token == token) {
            place.acceptor.iter_mut().for_each(Acceptor::note_ready);
        } else if let Some((place, index)) = self.find(token) {
            place.advance(index);
        }
        true
    }

    fn find(&mut self, token: Token) -> Option<(&mut Place, usize)> {
        self.places.iter_mut().find_map(|place| {
            let index = place.inquirers.iter().position(|inquirer| inquirer.token == token)?;
            Some((place, index))
        })
    }

    /// Returns whether there is something to do without waiting.
    pub(super) fn has_work(&self, now: Instant) -> bool {
        self.places.iter().any(|place| {
            place.can_accept(now) || place.inquirers.iter().any(|inquirer| matches!(inquirer.state, State::HasAsked(_)))
        })
    }

    /// Returns when the next timeout runs out.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.places.iter().filter_map(Place::next_at).min()
    }

    /// Accepts connections, and closes those that have timed out.
    pub(super) fn run(&mut self, registry: &Registry, now: Instant) {
        for index in 0..self.places.len() {
            self.places[index].inquirers.retain(|inquirer| now < inquirer.until);
            for _ in 0..ACCEPTS_PER_ROUND {
                let token = self.next_token();
                let place = &mut self.places[index];
                if !place.can_accept(now) {
                    break;
                }
                let Some(mut socket) = place.acceptor.as_mut().and_then(|acceptor| acceptor.accept(now)) else {
                    continue;
                };
                if let Err(error) = socket.register(registry, token) {
                    log::warn!("can't watch a connection of {:?}: {error}", place.inquiry);
                } else if place.make_room() {
                    let (state, until) = (State::Asks(Vec::new()), now + TIME_TO_ASK);
                    place.inquirers.push(Inquirer { token, socket, state, until });
                }
            }
        }
    }

    /// Takes a question that is whole.
    pub(super) fn next_question(&mut self, now: Instant) -> Option<Question> {
        self.places.iter_mut().find_map(|place| {
            place.inquirers.iter_mut().find_map(|inquirer| {
                let State::HasAsked(bytes) = &mut inquirer.state else { return None };
                let question = Question { from: inquirer.token, inquiry: place.inquiry, bytes: std::mem::take(bytes) };
                inquirer.state = State::Waits;
                inquirer.until = now + TIME_TO_ANSWER;
                Some(question)
            })
        })
    }

    /// Answers the question of the connection `from`, unless that is gone.
    pub(super) fn answer(&mut self, from: Token, answer: Answer, now: Instant) {
        let Some((place, index)) = self.find(from) else { return };
        let inquirer = &mut place.inquirers[index];
        debug_assert!(matches!(inquirer.state, State::Waits), "nobody has asked");
        inquirer.state = State::Takes(answer, 0);
        inquirer.until = now + TIME_TO_TAKE;
        place.advance(index);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::Write,
        net::{SocketAddr, TcpStream},
        os::unix::net::UnixStream,
    };

    use mio::{Events, Poll};
    use rustix::{
        io::read,
        net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg},
    };

    use super::*;

    /// Inquiries of both kinds, with places for two.
    struct Stage {
        poll: Poll,
        inquiries: Inquiries,
        address: SocketAddr,
        directory: tempfile::TempDir,
    }

    fn stage() -> Stage {
        let (poll, directory) = (Poll::new().unwrap(), tempfile::tempdir().unwrap());
        let tcp = InquiryListener::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let address = tcp.local_addr().unwrap();
        let unix = InquiryListener::Unix(mio::net::UnixListener::bind(directory.path().join("s")).unwrap());
        let listeners = vec![(Inquiry::Metrics, tcp), (Inquiry::Control, unix)];
        let inquiries = Inquiries::new(listeners, 2, poll.registry()).unwrap();
        Stage { poll, inquiries, address, directory }
    }

    impl Stage {
        fn unix(&self) -> UnixStream {
            UnixStream::connect(self.directory.path().join("s")).unwrap()
        }

        fn tcp(&self) -> TcpStream {
            TcpStream::connect(self.address).unwrap()
        }

        /// Goes round once at `now`; waits for an event where nothing can be done without one.
        fn round(&mut self, now: Instant) {
            let mut events = Events::with_capacity(16);
            let wait = self.inquiries.has_work(now).then_some(Duration::ZERO);
            self.poll.poll(&mut events, wait).unwrap();
            for event in &events {
                assert!(self.inquiries.note(event.token()));
            }
            self.inquiries.run(self.poll.registry(), now);
        }

        fn question(&mut self, now: Instant) -> Question {
            loop {
                if let Some(question) = self.inquiries.next_question(now) {
                    return question;
                }
                self.round(now);
            }
        }

        fn until_there_are(&mut self, count: usize, now: Instant) {
            while self.inquiries.places.iter().map(|place| place.inquirers.len()).sum::<usize>() != count {
                self.round(now);
            }
        }
    }

    /// Returns all bytes until the other end closes.
    fn rest(mut stream: impl io::Read) -> Vec<u8> {
        let mut bytes = Vec::new();
        // A reset is an end, too.
        let _ = stream.read_to_end(&mut bytes);
        bytes
    }

    #[test]
    fn a_question_gets_its_answer_and_the_connection_is_closed() {
        let (mut stage, now) = (stage(), Instant::now());
        let (mut tcp, mut unix) = (stage.tcp(), stage.unix());
        tcp.write_all(b"GET /metrics HTTP/1.1\r\nHo").unwrap();
        stage.until_there_are(2, now);
        assert!(stage.inquiries.next_question(now).is_none(), "half a request is none");
        tcp.write_all(b"st: a\r\n\r\n").unwrap();
        let question = stage.question(now);
        assert_eq!(question.bytes, b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(question.inquiry, Inquiry::Metrics);
        // More than the sockets take at once, so that the rest has to wait for the reader.
        let page = "0123456789".repeat(1 << 20);
        let reader = std::thread::spawn(move || rest(tcp));
        stage.inquiries.answer(question.from, page.clone().into(), now);
        stage.until_there_are(1, now);
        assert!(reader.join().unwrap() == page.as_bytes());

        // The end of the input is no end of the question's connection.
        unix.write_all(b"status\n").unwrap();
        unix.shutdown(std::net::Shutdown::Write).unwrap();
        let question = stage.question(now);
        assert_eq!((question.inquiry, &question.bytes[..]), (Inquiry::Control, &b"status\n"[..]));
        stage.inquiries.answer(question.from, "fine\n".to_owned().into(), now);
        assert_eq!(rest(unix), b"fine\n");
        assert!(stage.inquiries.next_at().is_none() && !stage.inquiries.has_work(now));
        stage.inquiries.answer(question.from, "late\n".to_owned().into(), now);
    }

    #[test]
    fn descriptors_go_along_with_an_answer() {
        let (mut stage, now) = (stage(), Instant::now());
        let mut unix = stage.unix();
        unix.write_all(b"take-over\n").unwrap();
        let question = stage.question(now);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"content").unwrap();
        let reader = File::open(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file))).unwrap();
        let answer = Answer { bytes: b"here\n".to_vec(), descriptors: vec![reader.into()] };
        stage.inquiries.answer(question.from, answer, now);

        let (mut bytes, mut space) = ([0; 16], [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))]);
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let slices = &mut [io::IoSliceMut::new(&mut bytes)];
        let got = recvmsg(&unix, slices, &mut ancillary, RecvFlags::empty()).unwrap().bytes;
        assert_eq!(&bytes[..got], b"here\n");
        let Some(RecvAncillaryMessage::ScmRights(mut descriptors)) = ancillary.drain().next() else { panic!("none") };
        let mut content = [0; 16];
        let count = read(descriptors.next().unwrap(), &mut content).unwrap();
        assert_eq!(&content[..count], b"content");
    }

    #[test]
    fn who_asks_nothing_keeps_nobody_out() {
        let (mut stage, now) = (stage(), Instant::now());
        let silent: Vec<TcpStream> = (0..8).map(|_| stage.tcp()).collect();
        let mut honest = stage.tcp();
        honest.write_all(b"GET /metrics HTTP/1.1\n\n").unwrap();
        let question = stage.question(now);
        assert!(stage.inquiries.places[0].inquirers.len() <= 2);
        // One whose answer is being made does not give way.
        drop(silent);
        let more: Vec<TcpStream> = (0..8).map(|_| stage.tcp()).collect();
        while stage.inquiries.has_work(now) {
            stage.round(now);
        }
        stage.inquiries.answer(question.from, "page".to_owned().into(), now);
        assert_eq!(rest(honest), b"page");
        drop(more);
        stage.until_there_are(0, now);
    }

    #[test]
    fn nobody_has_more_than_its_time() {
        let (mut stage, now) = (stage(), Instant::now());
        let (mut slow, mut deaf) = (stage.tcp(), stage.tcp());
        slow.write_all(b"GET /metrics HTTP/1.1\r\n").unwrap();
        deaf.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
        let question = stage.question(now);
        stage.until_there_are(2, now);
        assert_eq!(stage.inquiries.next_at(), Some(now + TIME_TO_ASK));
        stage.inquiries.run(stage.poll.registry(), now + TIME_TO_ASK);
        assert_eq!(rest(slow), b"");
        let later = now + TIME_TO_ASK;
        stage.inquiries.answer(question.from, "0123456789".repeat(1 << 20).into(), later);
        assert_eq!(stage.inquiries.next_at(), Some(later + TIME_TO_TAKE));
        stage.inquiries.run(stage.poll.registry(), later + TIME_TO_TAKE);
        assert!(stage.inquiries.places[0].inquirers.is_empty());
        assert!(rest(deaf).len() < 10 << 20, "it was cut off");
    }

    #[test]
    fn no_question_grows_without_end() {
        let (mut stage, now) = (stage(), Instant::now());
        let mut unix = stage.unix();
        unix.write_all(&[b'x'; QUESTION_BYTES + 1]).unwrap();
        let question = stage.question(now);
        assert_eq!(question.bytes.len(), QUESTION_BYTES);
        stage.inquiries.answer(question.from, "too long\n".to_owned().into(), now);
        assert_eq!(rest(unix), b"too long\n");
        // A flood after the question ends it, too.
        let mut flood = stage.unix();
        flood.write_all(b"status\n").unwrap();
        let question = stage.question(now);
        let writer = std::thread::spawn(move || while flood.write_all(&[0; 1 << 10]).is_ok() {});
        stage.inquiries.answer(question.from, "x".to_owned().into(), now);
        stage.until_there_are(0, now);
        writer.join().unwrap();
    }
}
