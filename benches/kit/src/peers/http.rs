//! The barest HTTP client: GET on a connection that is kept, into a buffer.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    net::SocketAddr,
};

use crate::{Content, line::Line, wire::BUFFER_BYTES};

/// A connection.
pub(super) struct Http {
    socket: Line,
    buffer: Box<[u8]>,
}

impl Http {
    pub(super) fn connect(address: SocketAddr) -> io::Result<Http> {
        Ok(Http::over(Line::to(address, None)?))
    }

    pub(super) fn over(socket: Line) -> Http {
        Http { socket, buffer: vec![0; BUFFER_BYTES].into() }
    }

    /// Stores `content` as `path`.
    pub(super) fn put(&mut self, path: &str, content: &Content) -> io::Result<()> {
        let head = format!("PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", content.bytes);
        self.socket.send_head(head.as_bytes())?;
        self.socket.send_range(&File::open(&content.path)?, &mut 0, content.bytes)?;
        self.answer().and_then(|answer| match answer.starts_with("HTTP/1.1 201 ") {
            true => Ok(()),
            false => Err(io::Error::other(format!("the server says {answer:?}"))),
        })
    }

    /// Asks for `path`, and takes an answer without a body.
    pub(super) fn ask(&mut self, path: &str) -> io::Result<String> {
        self.socket.write_all(request(path).as_bytes())?;
        self.answer()
    }

    /// Returns the connection alone.
    pub(super) fn into_line(self) -> Line {
        self.socket
    }

    /// Reads an answer without a body.
    fn answer(&mut self) -> io::Result<String> {
        let mut filled = 0;
        while !self.buffer[..filled].ends_with(b"\r\n\r\n") {
            filled += self.read(filled)?;
        }
        Ok(String::from_utf8_lossy(&self.buffer[..filled]).into())
    }

    /// Fetches `path`, which `see` sees piece by piece, and gives how many bytes came.
    pub(super) fn get(&mut self, path: &str, mut see: impl FnMut(&[u8])) -> io::Result<u64> {
        self.socket.write_all(request(path).as_bytes())?;
        let mut filled = 0;
        let (start, total) = loop {
            filled += self.read(filled)?;
            if let Some(header) = header(&self.buffer[..filled])? {
                break header;
            }
        };
        let mut came = (filled - start) as u64;
        see(&self.buffer[start..filled]);
        while came < total {
            let bytes = self.read(0)?;
            see(&self.buffer[..bytes]);
            came += bytes as u64;
        }
        if came == total { Ok(came) } else { Err(io::Error::other("more came than was announced")) }
    }

    fn read(&mut self, at: usize) -> io::Result<usize> {
        match self.socket.read(&mut self.buffer[at..])? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            bytes => Ok(bytes),
        }
    }
}

/// Returns a request for `path`.
pub(super) fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

/// Returns where the body begins in `answer` and how long it is; [`None`] while its header is not all there.
pub(super) fn header(answer: &[u8]) -> io::Result<Option<(usize, u64)>> {
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let text = String::from_utf8_lossy(&answer[..end]);
    let wrong = || io::Error::other(format!("the server says {text:?}"));
    if !text.starts_with("HTTP/1.1 200 ") {
        return Err(wrong());
    }
    let mut lines = text.lines().filter_map(|line| line.split_once(": "));
    let length = lines.find(|(key, _)| key.eq_ignore_ascii_case("content-length")).ok_or_else(wrong)?.1;
    Ok(Some((end + 4, length.parse().map_err(|_| wrong())?)))
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    #[test]
    fn two_files_on_one_connection() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let asked = thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            for content in ["one", "other"] {
                let mut line = vec![0; request("/a").len()];
                socket.read_exact(&mut line).unwrap();
                asked.extend(line);
                let length = content.len();
                write!(socket, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{content}").unwrap();
            }
            asked
        });
        let mut http = Http::connect(address).unwrap();
        for (path, content) in [("/a", "one"), ("/b", "other")] {
            let mut came = Vec::new();
            assert_eq!(http.get(path, |piece| came.extend_from_slice(piece)).unwrap(), content.len() as u64);
            assert_eq!(came, content.as_bytes());
        }
        assert_eq!(asked.join().unwrap(), (request("/a") + &request("/b")).into_bytes());
        assert!(http.get("/c", |_| {}).is_err(), "it has closed");
    }

    #[test]
    fn a_header_is_whole_and_right_or_nothing() {
        assert_eq!(header(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab").unwrap(), Some((38, 5)));
        assert_eq!(header(b"HTTP/1.1 200 OK\r\nContent-Le").unwrap(), None);
        for wrong in ["HTTP/1.1 404 Not Found\r\nContent-Length: 5", "HTTP/1.1 200 OK", "x"] {
            assert!(header(format!("{wrong}\r\n\r\n").as_bytes()).is_err(), "{wrong:?}");
        }
    }
}
