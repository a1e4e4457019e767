//! A client that sends exactly what a test says, and reads with a deadline.
//!
//! It shares no code with the programs, so that no mistake of theirs is hidden here.

use std::{
    fmt::Write as _,
    io::{ErrorKind, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
};

use crate::{HANG_GUARD, Socket};

/// The CRC of `bytes` as it stands on the wire.
#[must_use]
pub fn crc(bytes: &[u8]) -> String {
    format!("{:08x}", crc32fast::hash(bytes))
}

/// A whole body of `bytes`, in blocks of at most `block_bytes`, with its END.
#[must_use]
pub fn body(bytes: &[u8], block_bytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 64);
    for block in bytes.chunks(block_bytes) {
        out.extend_from_slice(format!("DATA {}\n", block.len()).as_bytes());
        out.extend_from_slice(block);
    }
    out.extend_from_slice(format!("END {}\n", crc(bytes)).as_bytes());
    out
}

/// A line without what varies: the message of a FAIL, times and tags.
#[must_use]
pub fn gist(line: &str) -> String {
    let kept = match line.split(' ').next().unwrap_or_default() {
        "FAIL" | "FILE" => 2,
        "SAVED" | "SUM" => 3,
        "DIR" => 1,
        _ => usize::MAX,
    };
    line.split(' ').take(kept).collect::<Vec<_>>().join(" ")
}

/// One reply and, where one follows, its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The reply line, without its LF.
    pub line: String,
    /// The bytes of its body; empty where none follows.
    pub body: Vec<u8>,
    /// The line that closed the body: END or FAIL.
    pub closing: Option<String>,
}

impl Answer {
    /// The code of a FAIL, in place of the reply or at the end of its body.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        let last = self.closing.as_ref().unwrap_or(&self.line);
        last.strip_prefix("FAIL ").map(|rest| rest.split(' ').next().unwrap_or_default())
    }

    /// The `index`th word of the reply line.
    ///
    /// # Panics
    ///
    /// Panics if the line is shorter.
    #[must_use]
    #[track_caller]
    pub fn word(&self, index: usize) -> &str {
        self.line.split(' ').nth(index).unwrap_or_else(|| panic!("no word {index} in {:?}", self.line))
    }

    /// The body, after it was held against the CRC of its END.
    ///
    /// # Panics
    ///
    /// Panics if there is no body, or it did not come whole.
    #[must_use]
    #[track_caller]
    pub fn verified(self) -> Vec<u8> {
        assert_eq!(self.closing.as_deref(), Some(format!("END {}", crc(&self.body)).as_str()), "after {:?}", self.line);
        self.body
    }

    /// Panics unless the answer is `FAIL <code> <message>`, with a message.
    ///
    /// # Panics
    ///
    /// On any other answer.
    #[track_caller]
    pub fn expect_failure(&self, code: &str) {
        let last = self.closing.as_ref().unwrap_or(&self.line);
        let message = last.strip_prefix("FAIL ").and_then(|rest| rest.strip_prefix(code));
        assert!(message.is_some_and(|message| message.len() > 1 && message.starts_with(' ')), "no {code}: {last:?}");
    }
}

/// A connection.
#[derive(Debug)]
pub struct Raw {
    socket: Socket,
    /// Bytes that arrived; those not looked at yet begin at `taken`.
    input: Vec<u8>,
    taken: usize,
}

impl Raw {
    /// Connects and reads nothing.
    ///
    /// # Panics
    ///
    /// Panics if nobody listens.
    #[must_use]
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Raw {
        Raw::over(Socket::connect(address).expect("the server listens"))
    }

    /// Connects by TLS, and reads the greeting.
    ///
    /// # Panics
    ///
    /// Panics if nobody listens there who speaks TLS.
    #[must_use]
    #[track_caller]
    pub fn greeted_by_tls(address: SocketAddr) -> Raw {
        let mut raw = Raw::over(Socket::connect_plain(address).expect("the server listens").by_tls());
        raw.greet();
        raw
    }

    /// Connects without TLS, also where the tests are run by it, and reads nothing.
    ///
    /// # Panics
    ///
    /// Panics if nobody listens.
    #[must_use]
    #[track_caller]
    pub fn connect_plain(address: SocketAddr) -> Raw {
        Raw::over(Socket::connect_plain(address).expect("the server listens"))
    }

    /// Goes on over `socket`, of which nothing was read.
    #[must_use]
    pub fn over(socket: Socket) -> Raw {
        Raw { socket, input: Vec::new(), taken: 0 }
    }

    /// Connects and reads the greeting.
    ///
    /// # Panics
    ///
    /// Panics if that is not version 1 of the protocol.
    #[must_use]
    #[track_caller]
    pub fn greeted(address: SocketAddr) -> Raw {
        let mut raw = Raw::connect(address);
        raw.greet();
        raw
    }

    #[track_caller]
    fn greet(&mut self) {
        let greeting = self.line();
        assert!(greeting.starts_with("FERRY 1 ferryd/"), "{greeting:?}");
    }

    /// The connection, for what this type has no word for.
    #[must_use]
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Returns the stream beneath it.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        self.socket.stream()
    }

    /// Sends `bytes`, all of them.
    ///
    /// # Panics
    ///
    /// Panics if the server has gone or takes nothing.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.write(bytes.as_ref()).expect("the server takes bytes");
    }

    /// Sends `bytes`, one by one, each in a packet of its own as far as the system allows.
    ///
    /// # Panics
    ///
    /// Panics as [`Raw::send`].
    #[track_caller]
    pub fn send_bytewise(&mut self, bytes: impl AsRef<[u8]>) {
        for byte in bytes.as_ref() {
            self.send([*byte]);
        }
    }

    /// Sends `bytes` as far as the server takes them: it may close in the middle.
    pub fn send_what_it_takes(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.write(bytes.as_ref());
    }

    /// Says that nothing more will be sent.
    ///
    /// # Panics
    ///
    /// Panics if the connection is gone.
    #[track_caller]
    pub fn finish(&mut self) {
        self.socket.shutdown(Shutdown::Write).expect("the connection stands");
    }

    /// Shuts down its sending side without a `close_notify`, as somebody in between could. Without TLS that is
    /// the same as [`finish`](Raw::finish).
    ///
    /// # Panics
    ///
    /// Panics if the connection is gone.
    #[track_caller]
    pub fn cut(&mut self) {
        self.stream().shutdown(Shutdown::Write).expect("the connection stands");
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.socket.write_all(bytes)
    }

    /// Reads one line, without its LF.
    ///
    /// # Panics
    ///
    /// At the end of input, or if the line is not UTF-8.
    #[track_caller]
    pub fn line(&mut self) -> String {
        let mut searched = 0;
        loop {
            let unread = &self.input[self.taken..];
            if let Some(end) = unread[searched..].iter().position(|&byte| byte == b'\n') {
                let line = unread[..searched + end].to_vec();
                self.taken += line.len() + 1;
                return String::from_utf8(line).expect("a line is UTF-8");
            }
            searched = unread.len();
            self.drop_taken();
            assert!(self.fill() > 0, "the server closed after {:?}", String::from_utf8_lossy(&self.input));
        }
    }

    /// Reads the first line of a server; [`None`] where it, or a balancer before it, closes without one.
    pub fn first_line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            let mut byte = [0];
            match self.socket.read(&mut byte) {
                Ok(1..) => line.push(byte[0]),
                _ => return None,
            }
        }
        String::from_utf8(line).ok()
    }

    /// Reads exactly `length` bytes.
    ///
    /// # Panics
    ///
    /// At the end of input.
    #[track_caller]
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        while self.input.len() - self.taken < length {
            self.drop_taken();
            assert!(self.fill() > 0, "the server closed {} bytes into {length}", self.input.len());
        }
        let bytes = self.input[self.taken..self.taken + length].to_vec();
        self.taken += length;
        bytes
    }

    /// Reads the answer to `request`, whose verb says whether FILE brings a body.
    ///
    /// # Panics
    ///
    /// Panics if what arrives breaks the protocol.
    #[track_caller]
    pub fn answer(&mut self, request: &str) -> Answer {
        let verb = request.split([' ', '\n']).next().unwrap_or_default().to_ascii_uppercase();
        let line = self.line();
        let streams = matches!(verb.as_str(), "GET" | "READ" | "LIST");
        if !streams || line.starts_with("FAIL ") {
            return Answer { line, body: Vec::new(), closing: None };
        }
        assert!(line.starts_with("FILE ") || line == "LISTING", "{line:?} in answer to {request:?}");
        let mut body = Vec::new();
        let closing = loop {
            let line = self.line();
            match line.strip_prefix("DATA ") {
                Some(length) => {
                    let length = length.parse().unwrap_or_else(|_| panic!("a block of {length:?}"));
                    assert!((1..=1 << 20).contains(&length), "a block of {length} bytes");
                    body.extend_from_slice(&self.bytes(length));
                }
                None => break line,
            }
        };
        assert!(closing.starts_with("END ") || closing.starts_with("FAIL "), "a body closed by {closing:?}");
        Answer { line, body, closing: Some(closing) }
    }

    /// Sends a request line and reads its answer.
    ///
    /// # Panics
    ///
    /// Panics if what arrives breaks the protocol.
    #[track_caller]
    pub fn ask(&mut self, request: &str) -> Answer {
        self.send(format!("{request}\n"));
        self.answer(request)
    }

    /// Sends a PUT of `bytes` with its body and reads the answer.
    ///
    /// # Panics
    ///
    /// Panics if the connection breaks.
    #[track_caller]
    pub fn put(&mut self, name: &str, bytes: &[u8]) -> Answer {
        let mut request = String::new();
        let _ = writeln!(request, "PUT {} - {name}", bytes.len());
        let mut sent = request.into_bytes();
        sent.extend_from_slice(&body(bytes, 1 << 20));
        self.send(sent);
        self.answer("PUT")
    }

    /// Reads until the server closes.
    ///
    /// # Panics
    ///
    /// Panics if it does not, or resets the connection: that destroys replies.
    #[track_caller]
    pub fn to_eof(&mut self) -> Vec<u8> {
        self.drop_taken();
        while self.fill() > 0 {}
        std::mem::take(&mut self.input)
    }

    /// Reads until the connection ends, also where the server was cut short and could not say by TLS that it ends.
    ///
    /// # Panics
    ///
    /// Panics if it stays, or is reset.
    #[track_caller]
    pub fn to_cut(&mut self) -> Vec<u8> {
        self.drop_taken();
        let mut said = std::mem::take(&mut self.input);
        match self.socket.read_to_end(&mut said) {
            Err(error) if error.kind() != ErrorKind::UnexpectedEof => panic!("it does not end: {error}"),
            _ => said,
        }
    }

    /// Panics unless the server closes without another byte.
    ///
    /// # Panics
    ///
    /// Panics if it says more, or stays.
    #[track_caller]
    pub fn expect_eof(&mut self) {
        let rest = self.to_eof();
        assert!(rest.is_empty(), "more before the end: {:?}", String::from_utf8_lossy(&rest));
    }

    /// Reads some more; 0 at the end of input.
    #[track_caller]
    fn fill(&mut self) -> usize {
        const PIECE_BYTES: usize = 64 << 10;
        let filled = self.input.len();
        self.input.resize(filled + PIECE_BYTES, 0);
        // With a timeout the system does not go on by itself after a signal, or where it was frozen for a while.
        let read = loop {
            match self.socket.read(&mut self.input[filled..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.input.truncate(filled + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(read) => read,
            Err(error) => panic!(
                "no answer within {HANG_GUARD:?}, or a broken connection: {error}; before that came {:?}",
                String::from_utf8_lossy(&self.input[..filled.min(200)])
            ),
        }
    }

    /// Forgets what was looked at.
    fn drop_taken(&mut self) {
        self.input.drain(..std::mem::take(&mut self.taken));
    }
}
