//! Reads a server's answers strictly: any breach of HTTP's grammar is a mistake.

/// One whole answer.
#[derive(Debug, Clone)]
pub(crate) struct WebAnswer {
    pub(crate) status: u16,
    fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl WebAnswer {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} is there twice");
        value
    }

    /// Returns whether it is the last one on the connection.
    pub(crate) fn closes(&self) -> bool {
        self.field("Connection") == Some("close")
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// The rest of a body that is still to come.
#[derive(Debug, Clone, Copy)]
enum Left {
    Bytes(usize),
    ChunkHead,
    /// Of a chunk, and the end of its line.
    Chunk(usize),
    LastEnd,
}

/// Bytes that arrived and are not parsed yet.
#[derive(Debug, Default)]
pub(crate) struct WebReader {
    bytes: Vec<u8>,
    begun: Option<(WebAnswer, Left)>,
    /// The rest of a last answer, where that is of a HEAD or of a request that could not be read, and has a body.
    spare: Option<usize>,
}

impl WebReader {
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn is_at_rest(&self) -> bool {
        (self.bytes.is_empty() || Some(self.bytes.len()) == self.spare) && self.begun.is_none()
    }

    /// Returns the next answer that is whole.
    pub(crate) fn next(&mut self, is_head: bool) -> Option<WebAnswer> {
        if self.spare.is_some() {
            return None;
        }
        if self.begun.is_none() {
            let (answer, bytes) = head(&self.bytes)?;
            self.bytes.drain(..bytes);
            let bare = is_head || answer.status < 200 || matches!(answer.status, 204 | 304);
            let length = answer.field("Content-Length").map(|text| text.parse().unwrap());
            let chunked = answer.field("Transfer-Encoding").map(|text| assert_eq!(text, "chunked")).is_some();
            assert!(!chunked || length.is_none(), "two framings: {answer:?}");
            assert!(bare || chunked || length.is_some(), "a body without an end: {answer:?}");
            self.spare = length.filter(|_| is_head && answer.closes());
            let left = match length {
                _ if bare => Left::Bytes(0),
                Some(length) => Left::Bytes(length),
                None => Left::ChunkHead,
            };
            self.begun = Some((answer, left));
        }
        loop {
            let (mut answer, left) = self.begun.take()?;
            let next = match left {
                Left::Bytes(0) => return Some(answer),
                Left::Bytes(left) => self.body(&mut answer, left).map(Left::Bytes),
                Left::Chunk(left) if left > 0 => self.body(&mut answer, left).map(Left::Chunk),
                Left::Chunk(_) => self.line().map(|line| {
                    assert!(line.is_empty(), "bytes behind a chunk");
                    Left::ChunkHead
                }),
                Left::ChunkHead => self.line().map(|line| match usize::from_str_radix(&line, 16).unwrap() {
                    0 => Left::LastEnd,
                    bytes => Left::Chunk(bytes),
                }),
                Left::LastEnd => match self.line() {
                    Some(line) => {
                        assert!(line.is_empty(), "a trailer");
                        return Some(answer);
                    }
                    None => None,
                },
            };
            self.begun = Some((answer, next.unwrap_or(left)));
            next?;
        }
    }

    /// Takes bytes of a body; [`None`] where there are none.
    fn body(&mut self, answer: &mut WebAnswer, left: usize) -> Option<usize> {
        let count = left.min(self.bytes.len());
        answer.body.extend(self.bytes.drain(..count));
        (count > 0).then(|| left - count)
    }

    fn line(&mut self) -> Option<String> {
        let end = self.bytes.windows(2).position(|two| two == b"\r\n")?;
        let line = String::from_utf8(self.bytes[..end].to_vec()).unwrap();
        self.bytes.drain(..end + 2);
        Some(line)
    }
}

fn head(bytes: &[u8]) -> Option<(WebAnswer, usize)> {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut fields);
    match head.parse(bytes).unwrap_or_else(|error| panic!("{error} in {:?}", String::from_utf8_lossy(bytes))) {
        httparse::Status::Partial => None,
        httparse::Status::Complete(bytes) => {
            assert_eq!(head.version, Some(1));
            let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
            let fields = head.headers.iter().map(|field| (field.name.to_owned(), text(field.value))).collect();
            Some((WebAnswer { status: head.code.unwrap(), fields, body: Vec::new() }, bytes))
        }
    }
}
