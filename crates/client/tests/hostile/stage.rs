//! A server that plays a list of steps to one client.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::Duration,
};

use ferry_wire::BodyLine;

/// No server waits longer for a client: the guard against a test that hangs.
const GUARD: Duration = Duration::from_secs(60);

/// Between two bytes of a server that dribbles.
const DRIBBLE: Duration = Duration::from_millis(25);

/// A server's next step. After the last one it takes what comes until the client leaves.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Sends these bytes.
    Say(Vec<u8>),
    /// Sends these bytes again and again until the client leaves.
    Flood(Vec<u8>),
    /// Sends these bytes one by one, slowly, again and again, and takes what comes.
    Dribble(Vec<u8>),
    /// The same, but takes nothing.
    DribbleDeaf(Vec<u8>),
    /// Reads a request line.
    Line,
    /// Reads a body to its closing line.
    Body,
    /// Reads so many bytes.
    Take(usize),
    /// Neither reads nor says anything until the client leaves.
    Stuck,
    /// Says no more, and takes what comes.
    Hangup,
    /// Resets the connection.
    Reset,
}

pub(crate) const GREETING: &str = "FERRY 1 hostile/1\n";

pub(crate) fn say(bytes: impl AsRef<[u8]>) -> Step {
    Step::Say(bytes.as_ref().to_vec())
}

/// Greets, then does `steps`.
pub(crate) fn greeted(steps: impl IntoIterator<Item = Step>) -> Vec<Step> {
    [say(GREETING)].into_iter().chain(steps).collect()
}

/// Greets, reads one request and answers.
pub(crate) fn answer(reply: impl AsRef<[u8]>) -> Vec<Step> {
    greeted([Step::Line, say(reply)])
}

/// Greets as a server that has `feature`, reads so many lines and answers.
pub(crate) fn said_after(feature: &str, lines: usize, reply: impl AsRef<[u8]>) -> Vec<Step> {
    let greeting = say(format!("{} {feature}\n", GREETING.trim_end()));
    [greeting].into_iter().chain((0..lines).map(|_| Step::Line)).chain([say(reply)]).collect()
}

/// Greets, and answers each request so, as often as a client asks again for what was damaged on the way.
pub(crate) fn answer_each(reply: impl AsRef<[u8]>) -> Vec<Step> {
    greeted((0..4).flat_map(|_| [Step::Line, say(&reply)]))
}

/// Greets, reads an upload to its end and answers.
pub(crate) fn after_body(reply: impl AsRef<[u8]>) -> Vec<Step> {
    greeted([Step::Line, Step::Body, say(reply)])
}

/// Greets, reads the beginning of an upload and speaks in its middle.
pub(crate) fn in_body(words: impl AsRef<[u8]>) -> Vec<Step> {
    greeted([Step::Line, Step::Take(100_000), say(words)])
}

/// Greets, lets a RESUME go on from `offset`, reads the body to its end and answers. Where it did not begin at 0, a look at
/// the whole is answered as well.
pub(crate) fn resumed(offset: &str, reply: impl AsRef<[u8]>) -> Vec<Step> {
    greeted([Step::Line, say(format!("GO {offset}\n")), Step::Body, say(reply), Step::Line, say("SUM 5 3610a686 t\n")])
}

/// Plays `steps` to the first client of `listener`. `left` disconnects when the client is through.
pub(crate) fn play(listener: &TcpListener, steps: Vec<Step>, left: &Receiver<()>) {
    let Ok((stream, _)) = listener.accept() else { return };
    stream.set_read_timeout(Some(GUARD)).unwrap();
    stream.set_write_timeout(Some(GUARD)).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut actor = Actor { input: BufReader::new(stream.try_clone().unwrap()), output: stream };
    for step in steps {
        // A client that has left is the end of every play.
        if actor.perform(step, left).is_none() {
            return;
        }
    }
    actor.take_all();
}

struct Actor {
    input: BufReader<TcpStream>,
    output: TcpStream,
}

impl Actor {
    fn perform(&mut self, step: Step, left: &Receiver<()>) -> Option<()> {
        match step {
            Step::Say(bytes) => self.output.write_all(&bytes).ok(),
            Step::Flood(bytes) => {
                while self.output.write_all(&bytes).is_ok() {}
                None
            }
            Step::Dribble(bytes) => self.dribble(&bytes, true, left),
            Step::DribbleDeaf(bytes) => self.dribble(&bytes, false, left),
            Step::Line => self.request(),
            Step::Body => self.body(),
            Step::Take(bytes) => self.input.read_exact(&mut vec![0; bytes]).ok(),
            Step::Stuck => {
                let _ = left.recv_timeout(GUARD);
                None
            }
            Step::Hangup => {
                let _ = self.output.shutdown(Shutdown::Write);
                self.take_all();
                None
            }
            Step::Reset => {
                rustix::net::sockopt::set_socket_linger(&self.output, Some(Duration::ZERO)).unwrap();
                None
            }
        }
    }

    fn line(&mut self) -> Option<Vec<u8>> {
        let mut line = Vec::new();
        let got = self.input.read_until(b'\n', &mut line).ok()?;
        (got > 0).then_some(line)
    }

    /// On a busy machine the greeting may come so late that the client has asked who is there.
    fn request(&mut self) -> Option<()> {
        while self.line()? == b"HELP\n" {
            self.output.write_all(b"FAIL unknown-command no request is called HELP\n").ok()?;
        }
        Some(())
    }

    fn body(&mut self) -> Option<()> {
        loop {
            let line = self.line()?;
            match BodyLine::parse(line.trim_ascii_end()).ok()? {
                BodyLine::Data(size) => self.input.read_exact(&mut vec![0; usize::try_from(size).ok()?]).ok()?,
                _ => return Some(()),
            }
        }
    }

    fn dribble(&mut self, bytes: &[u8], hears: bool, left: &Receiver<()>) -> Option<()> {
        if hears {
            let mut input = self.output.try_clone().ok()?;
            std::thread::spawn(move || while input.read(&mut [0; 4096]).is_ok_and(|got| got > 0) {});
        }
        for byte in bytes.iter().cycle() {
            if left.recv_timeout(DRIBBLE) != Err(RecvTimeoutError::Timeout) || self.output.write_all(&[*byte]).is_err()
            {
                break;
            }
        }
        None
    }

    fn take_all(&mut self) {
        let mut taken = [0; 1 << 16];
        while self.input.read(&mut taken).is_ok_and(|got| got > 0) {}
    }
}
