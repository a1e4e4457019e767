//! A server that says exactly what a test wants.

use std::{
    io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    thread::JoinHandle,
};

use ferry_client::Address;
use ferry_wire::BodyLine;

use super::PATIENCE;

pub(crate) const GREETING: &str = "FERRY 1 scripted/1\n";

/// A listening server that runs one script for each connection, one after the other.
pub(crate) struct Scripted {
    pub(crate) address: Address,
    thread: JoinHandle<()>,
}

impl Scripted {
    /// Greets one client, then runs `script`.
    pub(crate) fn greeting(script: impl FnOnce(&mut Peer) + Send + 'static) -> Scripted {
        Scripted::raw(|peer| {
            peer.send(GREETING);
            script(peer);
        })
    }

    /// Greets one client, waits for `request`, answers `reply`, and sees the client go.
    pub(crate) fn answering(request: &'static str, reply: impl Into<Vec<u8>>) -> Scripted {
        let reply = reply.into();
        Scripted::greeting(move |peer| {
            peer.expect(request);
            peer.send(&reply);
            peer.expect_end();
        })
    }

    /// Runs `script` on one connection, without a greeting.
    pub(crate) fn raw(script: impl FnOnce(&mut Peer) + Send + 'static) -> Scripted {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = Address::new("127.0.0.1", listener.local_addr().unwrap().port());
        let thread = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            script(&mut Peer::new(stream));
        });
        Scripted { address, thread }
    }

    /// Waits for the script's end, and fails if it failed.
    pub(crate) fn finish(self) {
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

/// The server's end of a connection.
pub(crate) struct Peer {
    input: BufReader<TcpStream>,
    output: TcpStream,
}

impl Peer {
    pub(crate) fn new(stream: TcpStream) -> Peer {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Peer { input: BufReader::new(stream.try_clone().unwrap()), output: stream }
    }

    /// The client may be gone already; that is for the client's side of the test to judge.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.output.write_all(bytes.as_ref());
    }

    /// Sends each byte in a segment of its own.
    pub(crate) fn trickle(&mut self, bytes: impl AsRef<[u8]>) {
        for byte in bytes.as_ref() {
            self.send([*byte]);
        }
    }

    /// The next line, without its LF; [`None`] at the end.
    pub(crate) fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.input.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(line.trim_end_matches('\n').to_owned()),
            Err(error) => panic!("no line came: {error}"),
        }
    }

    /// The same where the client may leave without a word.
    pub(crate) fn line_or_end(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.input.read_line(&mut line);
        read.is_ok_and(|read| read > 0).then(|| line.trim_end_matches('\n').to_owned())
    }

    pub(crate) fn expect(&mut self, line: &str) {
        assert_eq!(self.line().as_deref(), Some(line));
    }

    /// The client closes and says nothing more.
    pub(crate) fn expect_end(&mut self) {
        let mut rest = Vec::new();
        if let Err(error) = self.input.read_to_end(&mut rest) {
            // A reset is an end as well: the client left bytes unread.
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "the client stays: {error}");
        }
        assert_eq!(String::from_utf8_lossy(&rest), "");
    }

    /// Fills `room`; false where the client leaves before.
    pub(crate) fn read(&mut self, room: &mut [u8]) -> bool {
        self.input.read_exact(room).is_ok()
    }

    /// Reads so many bytes, whatever they are.
    pub(crate) fn pass_over(&mut self, bytes: usize) {
        self.input.read_exact(&mut vec![0; bytes]).unwrap();
    }

    /// Reads a body; gives its bytes and its closing line.
    pub(crate) fn body(&mut self) -> (Vec<u8>, BodyLine) {
        let mut body = Vec::new();
        loop {
            let line = self.line().expect("a body has a closing line");
            match BodyLine::parse(line.as_bytes()).unwrap() {
                BodyLine::Data(size) => {
                    let start = body.len();
                    body.resize(start + usize::try_from(size).unwrap(), 0);
                    self.input.read_exact(&mut body[start..]).unwrap();
                }
                closing => return (body, closing),
            }
        }
    }

    /// Says no more.
    pub(crate) fn end(&mut self) {
        self.output.shutdown(Shutdown::Write).unwrap();
    }

    /// Closes the way a server does: says no more, and reads on for a while.
    pub(crate) fn close(&mut self) {
        // The client may have closed first.
        let _ = self.output.shutdown(Shutdown::Write);
        let mut passed_over = [0; 1 << 16];
        while self.input.read(&mut passed_over).is_ok_and(|got| got > 0) {}
    }
}
