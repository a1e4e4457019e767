//! A client of HTTP/1.1, byte by byte: what it says is up to the test, what it hears must be right.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr},
};

use ferry_e2e::Socket;

/// A connection.
pub(crate) struct Http {
    socket: Socket,
    heard: Vec<u8>,
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// The value of a field; empty where it is not there.
    pub(crate) fn field(&self, name: &str) -> &str {
        let is_named = |(known, _): &&(String, String)| known.eq_ignore_ascii_case(name);
        assert!(self.fields.iter().filter(is_named).count() <= 1, "{name} stands twice: {self:?}");
        self.fields.iter().find(is_named).map_or("", |(_, value)| value)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn length(&self) -> Option<usize> {
        let length = self.field("Content-Length");
        (!length.is_empty()).then(|| length.parse().expect("a number"))
    }
}

impl Http {
    /// Connects without TLS.
    pub(crate) fn plain(address: SocketAddr) -> Http {
        Http { socket: Socket::connect_plain(address).expect("it listens"), heard: Vec::new() }
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    pub(crate) fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.write_all(bytes.as_ref()).expect("the server takes it");
    }

    /// Says it as far as the server takes it: it may close in the middle.
    pub(crate) fn say_what_it_takes(&mut self, bytes: &[u8]) {
        let _ = self.socket.write_all(bytes);
    }

    /// Says that nothing more comes, unless the server has closed already.
    pub(crate) fn say_no_more(&mut self) {
        let _ = self.socket.stream().shutdown(Shutdown::Write);
    }

    /// Waits for more of an answer, and returns whether the server has closed in place of it.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.heard.is_empty() && !self.read()
    }

    /// Says a request without a body, with fields that end in CR LF each, and returns the answer.
    pub(crate) fn ask(&mut self, method: &str, target: &str, fields: &str) -> Reply {
        self.say(format!("{method} {target} HTTP/1.1\r\nHost: test\r\n{fields}\r\n"));
        self.hear(method)
    }

    pub(crate) fn get(&mut self, target: &str) -> Reply {
        self.ask("GET", target, "")
    }

    /// Says a PUT of a known length, and returns the answer.
    pub(crate) fn put(&mut self, target: &str, body: &[u8], fields: &str) -> Reply {
        let length = body.len();
        self.say(format!("PUT {target} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n{fields}\r\n"));
        self.say(body);
        self.hear("PUT")
    }

    /// Reads more; false at the end.
    fn read(&mut self) -> bool {
        let mut buffer = [0; 64 << 10];
        let count = self.socket.read(&mut buffer).expect("the server answers");
        self.heard.extend_from_slice(&buffer[..count]);
        count > 0
    }

    /// Reads so many bytes.
    pub(crate) fn take(&mut self, bytes: usize) -> Vec<u8> {
        while self.heard.len() < bytes {
            assert!(self.read(), "it ended within an answer, {} of {bytes} bytes", self.heard.len());
        }
        self.heard.drain(..bytes).collect()
    }

    fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.heard.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.take(end + 2);
                return String::from_utf8(line[..end].to_vec()).expect("text");
            }
            assert!(self.read(), "it ended within a line: {:?}", String::from_utf8_lossy(&self.heard));
        }
    }

    /// Reads the next answer, to a request of this method.
    pub(crate) fn hear(&mut self, method: &str) -> Reply {
        let mut reply = self.hear_head();
        let has_body = method != "HEAD" && reply.status >= 200 && ![204, 304].contains(&reply.status);
        if !has_body {
            return reply;
        }
        reply.body = match (reply.length(), reply.field("Transfer-Encoding")) {
            (Some(length), "") => self.take(length),
            (None, "chunked") => self.hear_chunks(),
            (None, "") if reply.field("Connection") == "close" => {
                while self.read() {}
                self.heard.drain(..).collect()
            }
            _ => panic!("nobody knows where it ends: {reply:?}"),
        };
        reply
    }

    pub(crate) fn hear_head(&mut self) -> Reply {
        let line = self.line();
        let status = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).expect("a status line");
        let mut reply = Reply { status: status.parse().expect("a status"), fields: Vec::new(), body: Vec::new() };
        loop {
            let line = self.line();
            if line.is_empty() {
                return reply;
            }
            let (name, value) = line.split_once(": ").expect("a field");
            reply.fields.push((name.to_owned(), value.to_owned()));
        }
    }

    fn hear_chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let size = usize::from_str_radix(&self.line(), 16).expect("the size of a chunk");
            body.extend(self.take(size));
            assert_eq!(self.take(2), b"\r\n");
            if size == 0 {
                return body;
            }
        }
    }

    /// Says that nothing more comes, so that the server need not linger, and returns what it has said until it closes.
    pub(crate) fn hear_end(&mut self) -> Vec<u8> {
        // It may have closed already.
        let _ = self.socket.stream().shutdown(Shutdown::Write);
        self.hear_all()
    }

    /// Waits until the server has closed by itself, and returns what it has said until then.
    pub(crate) fn hear_all(&mut self) -> Vec<u8> {
        let mut buffer = [0; 64 << 10];
        while let Ok(count) = self.socket.read(&mut buffer) {
            if count == 0 {
                break;
            }
            self.heard.extend_from_slice(&buffer[..count]);
        }
        std::mem::take(&mut self.heard)
    }
}
