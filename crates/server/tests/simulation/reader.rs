//! Reads a server's output strictly: any breach of the protocol's grammar is a mistake.

use ferry_wire::{BodyLine, Crc32, Failure, Greeting, Reply, limits::MAX_LINE_BYTES};

/// One whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) first: Reply,
    pub(crate) body: Option<Body>,
}

/// The body behind an answer, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    pub(crate) end: Result<Crc32, Failure>,
}

impl Answer {
    /// Returns the failure that it is, or ends in.
    pub(crate) fn failure(&self) -> Option<&Failure> {
        match (&self.first, &self.body) {
            (Reply::Fail(failure), _) | (_, Some(Body { end: Err(failure), .. })) => Some(failure),
            _ => None,
        }
    }
}

/// Bytes that arrived and are not parsed yet.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    bytes: Vec<u8>,
    at: usize,
    greeted: bool,
    /// An answer whose body arrives, and what is left of its block.
    begun: Option<(Reply, Vec<u8>, usize)>,
}

impl Reader {
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.bytes.drain(..std::mem::take(&mut self.at));
        self.bytes.extend_from_slice(bytes);
    }

    /// Returns whether all that arrived was understood, and ended where an answer ends.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.at == self.bytes.len() && self.begun.is_none()
    }

    pub(crate) fn greeted(&self) -> bool {
        self.greeted
    }

    fn line(&mut self) -> Option<Vec<u8>> {
        let rest = &self.bytes[self.at..];
        let Some(end) = rest.iter().take(MAX_LINE_BYTES).position(|&byte| byte == b'\n') else {
            assert!(rest.len() < MAX_LINE_BYTES, "a line of the server that is too long");
            return None;
        };
        let line = rest[..end].to_vec();
        assert!(std::str::from_utf8(&line).is_ok(), "a line of the server that is not UTF-8");
        self.at += end + 1;
        Some(line)
    }

    /// Returns the next answer that is whole. `brings_body` tells whether a body follows a FILE.
    pub(crate) fn next(&mut self, brings_body: bool) -> Option<Answer> {
        if !self.greeted {
            let line = self.line()?;
            Greeting::parse(&line).unwrap_or_else(|error| panic!("no greeting: {error}"));
            self.greeted = true;
        }
        loop {
            let Some((first, mut body, left)) = self.begun.take() else {
                let line = self.line()?;
                let first = Reply::parse(&line).unwrap_or_else(|error| panic!("{error}"));
                match first {
                    Reply::Listing => {}
                    Reply::File(_) if brings_body => {}
                    first => return Some(Answer { first, body: None }),
                }
                self.begun = Some((first, Vec::new(), 0));
                continue;
            };
            if left > 0 {
                let count = left.min(self.bytes.len() - self.at);
                body.extend_from_slice(&self.bytes[self.at..self.at + count]);
                self.at += count;
                self.begun = Some((first, body, left - count));
                if count == 0 {
                    return None;
                }
                continue;
            }
            let Some(line) = self.line() else {
                self.begun = Some((first, body, 0));
                return None;
            };
            let end = match BodyLine::parse(&line) {
                Ok(BodyLine::Data(bytes)) => {
                    self.begun = Some((first, body, bytes as usize));
                    continue;
                }
                Ok(BodyLine::Hole(bytes)) => {
                    body.resize(body.len() + bytes as usize, 0);
                    self.begun = Some((first, body, 0));
                    continue;
                }
                Ok(BodyLine::End(Some(crc))) => {
                    assert_eq!(crc, Crc32::of(&body), "a body with another CRC");
                    Ok(crc)
                }
                Ok(BodyLine::Fail(failure)) => Err(failure),
                line => panic!("{line:?} in a body of the server"),
            };
            return Some(Answer { first, body: Some(Body { bytes: body, end }) });
        }
    }
}
