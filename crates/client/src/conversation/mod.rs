//! Requests and their answers on a connection, as a pure state machine: bytes and local progress go in, bytes to send and
//! replies come out. No socket, clock or file in this file and in `listing`.
//!
//! [`Conversation`] mirrors the server's session. Its queue knows what each request in flight is about and what
//! may answer it; it reads the bodies of GET, READ and LIST, and keeps track of the one upload whose body is on its way.
//! [`Exchange`] moves its bytes over a [`Link`](crate::link::Link); `requests` are those that need no more than one
//! reply each, `greeting` opens a connection, and `alive` waits for a server that has much to do.

mod alive;
mod exchange;
pub(crate) mod greeting;
pub(crate) mod listing;
pub(crate) mod login;
pub(crate) mod requests;

use std::{collections::VecDeque, ops::Range};

use ferry_wire::{
    BodyCheck, BodyLine, Crc32, Digest, Failure, Frame, Framer, Id, Name, Options, Overrun, Reply, Request, Tag, Time,
    Verdict, limits::MAX_USER_BYTES, write_end,
};

use crate::{error::Error, trace};
pub(crate) use alive::Extent;
pub(crate) use exchange::{Exchange, Next};

/// Requests, what each is about, and how far their answers have come.
///
/// Order of calls: [`ask`](Conversation::ask) as often as wanted, and [`next_reply`](Conversation::next_reply) for each.
/// After a FILE or LISTING comes a body: its lines are taken by [`body_line`](Conversation::body_line), and the
/// bytes between by whoever has them, as many as are [due](Conversation::due), which is told to
/// [`took`](Conversation::took); only after its end comes the next reply. After [`put`](Conversation::put),
/// [`part`](Conversation::part), and the GO of a RESUME, the body of an upload is open until [`end`](Conversation::end),
/// [`join`](Conversation::join) or [`stop`](Conversation::stop); nothing else is asked meanwhile. An error of any of these calls is final.
#[derive(Debug)]
pub(crate) struct Conversation<T> {
    framer: Framer,
    in_flight: VecDeque<(Expected, T)>,
    body: Option<BodyCheck>,
    /// The server may leave holes out of the open body.
    has_holes: bool,
    /// It may do so in the body of what is asked for next.
    asks_for_holes: bool,
    upload: Upload,
    /// So much of the upload under way the server says that it keeps; [`None`] where it says nothing, as its size is known.
    kept: Option<u64>,
}

/// The answer that a request may have.
#[derive(Debug)]
enum Expected {
    /// A line: which, is for who asked.
    Line,
    /// FILE, and the bytes of a range, of one version where `tag` names it.
    File { offset: u64, length: Option<u64>, tag: Option<Tag>, holes: bool },
    /// LISTING, and its lines.
    Listing,
    /// GO, and this side's body; or a last reply.
    Go { size: Option<u64> },
}

/// The upload whose body is on its way.
#[derive(Debug, PartialEq, Eq)]
enum Upload {
    None,
    Open,
    /// The server has said FAIL before the end of the body.
    Refused(Failure),
}

/// A line of a body.
#[derive(Debug)]
pub(crate) enum Line {
    /// Bytes are due.
    Block,
    /// So many zeros stand here, and do not come.
    Hole(u64),
    /// The body has ended, and what comes after it can be followed. It is whole and verified, or the server has given
    /// up ([`Error::Server`]), or the bytes are others than were sent ([`Error::Verification`]).
    End(Result<Digest, Error>),
}

impl<T> Conversation<T> {
    pub(crate) fn new() -> Conversation<T> {
        Conversation {
            framer: Framer::new(),
            in_flight: VecDeque::new(),
            body: None,
            has_holes: false,
            asks_for_holes: false,
            upload: Upload::None,
            kept: None,
        }
    }

    /// Appends `request` to `out`. Its reply will be about `about`.
    pub(crate) fn ask(&mut self, request: &Request, about: T, out: &mut Vec<u8>) {
        assert!(self.upload == Upload::None, "a request inside an upload");
        let holes = std::mem::take(&mut self.asks_for_holes);
        let expected = match request {
            Request::Get { .. } => Expected::File { offset: 0, length: None, tag: None, holes },
            Request::Read { offset, length, tag, .. } => {
                Expected::File { offset: *offset, length: *length, tag: tag.clone(), holes }
            }
            Request::List { .. } => Expected::Listing,
            Request::Resume { size, .. } => Expected::Go { size: *size },
            _ => Expected::Line,
        };
        match request {
            Request::Login { user, secret } => {
                // No copy stays behind where it grew.
                out.reserve_exact(MAX_USER_BYTES + secret.expose().len() + b"LOGIN  \n".len());
                request.encode(out);
                // Whoever watches sees no secret.
                trace::sent(format!("LOGIN {user} ...\n").as_bytes());
            }
            request => push(out, |out| request.encode(out)),
        }
        self.in_flight.push_back((expected, about));
    }

    /// Expects one more reply than was asked for here: the request is on its way already, with its body.
    pub(crate) fn was_sent(&mut self, about: T) {
        self.in_flight.push_back((Expected::Line, about));
    }

    /// Sets options for what is asked for next: only those that the server knows.
    pub(crate) fn with(&mut self, options: Options, out: &mut Vec<u8>) {
        self.asks_for_holes |= options.leaves_holes;
        push(out, |out| Request::With(options).encode(out));
    }

    /// Begins a PUT, whose body is then open.
    pub(crate) fn put(&mut self, size: Option<u64>, mtime: Option<Time>, name: Name, out: &mut Vec<u8>) {
        assert!(self.upload == Upload::None, "an upload inside an upload");
        push(out, |out| Request::Put { size, mtime, name }.encode(out));
        self.upload = Upload::Open;
    }

    /// Begins a PART of the upload under `id`, whose body of as many bytes is then open.
    pub(crate) fn part(&mut self, id: Id, part: Range<u64>, name: Name, out: &mut Vec<u8>) {
        assert!(self.upload == Upload::None, "an upload inside an upload");
        let Range { start: offset, end } = part;
        let request = Request::Part { id, offset, length: end - offset, name };
        push(out, |out| request.encode(out));
        self.upload = Upload::Open;
    }

    /// Closes the open body with END, and expects a reply about `about`. Where the server has refused the upload
    /// meanwhile, closes it with STOP and returns why.
    pub(crate) fn end(&mut self, crc: Crc32, about: T, out: &mut Vec<u8>) -> Option<(T, Failure)> {
        self.close(about, out, |out| write_end(out, crc))
    }

    /// Closes the open body with JOIN: parts have the rest of the file, whose CRC this is. Else as [`Conversation::end`].
    pub(crate) fn join(&mut self, crc: Crc32, about: T, out: &mut Vec<u8>) -> Option<(T, Failure)> {
        self.close(about, out, |out| BodyLine::Join(crc).encode(out))
    }

    /// Closes the open body with STOP, and expects a reply about `about`, unless the server has refused the upload:
    /// then returns why.
    pub(crate) fn stop(&mut self, about: T, out: &mut Vec<u8>) -> Option<(T, Failure)> {
        self.close(about, out, |out| BodyLine::Stop.encode(out))
    }

    fn close(&mut self, about: T, out: &mut Vec<u8>, line: impl FnOnce(&mut Vec<u8>)) -> Option<(T, Failure)> {
        match std::mem::replace(&mut self.upload, Upload::None) {
            Upload::Refused(failure) => {
                push(out, |out| BodyLine::Stop.encode(out));
                Some((about, failure))
            }
            Upload::Open | Upload::None => {
                push(out, line);
                self.in_flight.push_back((Expected::Line, about));
                None
            }
        }
    }

    /// Why the server has refused the open upload, if it has.
    pub(crate) fn refusal(&self) -> Option<&Failure> {
        match &self.upload {
            Upload::Refused(failure) => Some(failure),
            Upload::Open | Upload::None => None,
        }
    }

    /// Returns the subjects of the requests in flight, the oldest first.
    pub(crate) fn in_flight(&self) -> impl ExactSizeIterator<Item = &T> {
        self.in_flight.iter().map(|(_, about)| about)
    }

    /// Forgets what is in flight, and gives it.
    pub(crate) fn give_up(&mut self) -> Vec<T> {
        self.in_flight.drain(..).map(|(_, about)| about).collect()
    }

    /// Whether the server may say something: a reply, or why it refuses the open upload.
    pub(crate) fn expects_reply(&self) -> bool {
        !self.in_flight.is_empty() || self.upload != Upload::None
    }

    /// Whether nothing is in flight or open: the next request can be asked by anybody.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.in_flight.is_empty() && self.body.is_none() && self.upload == Upload::None
    }

    /// Takes the next reply from the front of `input`, if it is there whole. Returns how many bytes that used up, the
    /// reply, and what it is about.
    ///
    /// # Errors
    ///
    /// A line that can't stand there; [`Error::Closed`] for a FAIL that answers nothing, after which a server closes.
    pub(crate) fn next_reply(&mut self, input: &[u8]) -> Result<(usize, Option<(T, Reply)>), Error> {
        assert!(self.body.is_none(), "a reply inside a body");
        let Some((line, used)) = self.line(input)? else { return Ok((0, None)) };
        let reply = Reply::parse(line).map_err(Error::violation)?;
        if let Reply::Kept { offset } = reply {
            return self.keeps(offset).map(|()| (used, None));
        }
        let Some((expected, about)) = self.in_flight.pop_front() else {
            return self.unasked(reply).map(|()| (used, None));
        };
        if let Err(error) = self.follow(&expected, &reply) {
            // It is still unanswered.
            self.in_flight.push_front((expected, about));
            return Err(error);
        }
        if !matches!(reply, Reply::Go { .. }) {
            self.kept = None;
        }
        Ok((used, Some((about, reply))))
    }

    /// Opens what comes after a reply.
    fn follow(&mut self, expected: &Expected, reply: &Reply) -> Result<(), Error> {
        match (expected, reply) {
            (Expected::File { offset, length, tag, holes }, Reply::File(meta)) => {
                self.has_holes = *holes;
                let Some(rest) = meta.size.checked_sub(*offset) else {
                    return Err(Error::violation("a range behind the end of the file"));
                };
                if tag.as_ref().is_some_and(|tag| *tag != meta.tag) {
                    return Err(Error::violation("another version than was asked for"));
                }
                self.body = Some(BodyCheck::new(Some(length.map_or(rest, |length| length.min(rest)))));
            }
            (Expected::Listing, Reply::Listing) => {
                (self.body, self.has_holes) = (Some(BodyCheck::new(None)), false);
            }
            (Expected::Go { size: None }, Reply::Go { offset, parts, crc }) => {
                if crc.is_none() || !parts.is_empty() {
                    return Err(Error::violation(format_args!("GO {offset} {parts:?} of a stream, with {crc:?}")));
                }
                (self.upload, self.kept) = (Upload::Open, Some(*offset));
            }
            (Expected::Go { size: Some(size) }, Reply::Go { offset, parts, .. }) => {
                if offset > size || !are_behind(parts, *offset, *size) {
                    return Err(Error::violation(format_args!("GO {offset} {parts:?} in a file of {size} bytes")));
                }
                self.upload = Upload::Open;
            }
            (Expected::File { .. } | Expected::Listing | Expected::Go { .. }, Reply::Fail(_) | Reply::Saved { .. })
            | (Expected::Line, _) => {}
            (_, reply) => return Err(unexpected(reply.clone())),
        }
        Ok(())
    }

    /// So much of the stream that is on its way is kept: no more need be at hand here than what comes after.
    fn keeps(&mut self, offset: u64) -> Result<(), Error> {
        match &mut self.kept {
            Some(kept) if *kept < offset => *kept = offset,
            kept => return Err(Error::violation(format_args!("KEPT {offset} after {kept:?}"))),
        }
        Ok(())
    }

    /// Returns how much of the upload under way the server says that it keeps, whose size it was not told.
    pub(crate) fn kept(&self) -> Option<u64> {
        self.kept
    }

    /// Only a server that closes, or that refuses the upload whose body is on its way, says anything unasked.
    fn unasked(&mut self, reply: Reply) -> Result<(), Error> {
        match (&self.upload, reply) {
            (Upload::None, Reply::Fail(failure)) => Err(Error::Closed(Some(failure))),
            (Upload::Open, Reply::Fail(failure)) => {
                self.upload = Upload::Refused(failure);
                Ok(())
            }
            (Upload::Open, _) => Err(Error::violation("it answers an upload before its end")),
            // The first word counts.
            (Upload::None | Upload::Refused(_), _) => Err(Error::violation("it answers what was not asked")),
        }
    }

    /// How many bytes of the body are due before its next line.
    pub(crate) fn due(&self) -> u64 {
        self.framer.raw_left()
    }

    /// These bytes of the body have come: no more than were [due](Conversation::due).
    pub(crate) fn took(&mut self, bytes: &[u8]) {
        self.framer.took_raw(bytes.len() as u64);
        if let Some(body) = &mut self.body {
            body.bytes(bytes);
        }
    }

    /// Returns the digest of what has come of the body.
    pub(crate) fn received(&self) -> Digest {
        self.body.as_ref().map_or_else(Digest::new, |body| Digest::resume(body.crc(), body.received()))
    }

    /// Takes the next line of the body from the front of `input`, if it is there whole, and returns how many bytes that
    /// used up. Where no body is open there is an empty one.
    ///
    /// # Errors
    ///
    /// A line that can't stand there.
    pub(crate) fn body_line(&mut self, input: &[u8]) -> Result<(usize, Option<Line>), Error> {
        let Some((line, used)) = self.line(input)? else { return Ok((0, None)) };
        let line = BodyLine::parse(line).map_err(Error::violation)?;
        let body = self.body.take().unwrap_or_else(|| BodyCheck::new(Some(0)));
        let end = match line {
            BodyLine::Data(bytes) => {
                body.block(bytes).map_err(|Overrun| Error::violation("more bytes than it announced"))?;
                self.framer.expect_raw(bytes);
                self.body = Some(body);
                return Ok((used, Some(Line::Block)));
            }
            BodyLine::Hole(_) if !self.has_holes => {
                return Err(Error::violation("a hole in a body that was to come whole"));
            }
            BodyLine::Hole(bytes) => {
                let mut body = body;
                body.block(bytes).map_err(|Overrun| Error::violation("more bytes than it announced"))?;
                body.zeros(bytes);
                self.body = Some(body);
                return Ok((used, Some(Line::Hole(bytes))));
            }
            BodyLine::Fail(failure) => Err(Error::Server(failure)),
            BodyLine::Stop | BodyLine::Join(_) => return Err(Error::violation("a word of clients in a server's body")),
            BodyLine::End(None) => return Err(Error::violation("a body that ends without a CRC")),
            BodyLine::End(Some(crc)) => match body.end(Some(crc)) {
                Verdict::Whole => Ok(Digest::resume(crc, body.received())),
                Verdict::Short => return Err(Error::violation("fewer bytes than it announced")),
                Verdict::Mismatch => Err(Error::Verification(format!(
                    "the bytes that came have the CRC {}, the server read {crc}; nothing was kept",
                    body.crc()
                ))),
            },
        };
        Ok((used, Some(Line::End(end))))
    }

    /// A line from the front of `input`, and how many bytes it took.
    fn line<'a>(&mut self, input: &'a [u8]) -> Result<Option<(&'a [u8], usize)>, Error> {
        assert!(self.framer.raw_left() == 0, "a line inside a block");
        Ok(self.framer.next(input).map_err(Error::violation)?.map(|(Frame::Line(line) | Frame::Raw(line), used)| {
            trace::received(line);
            (line, used)
        }))
    }
}

/// Whether these are parts of a file of `size` bytes, in order and apart, behind the first `offset` bytes.
fn are_behind(parts: &[Range<u64>], offset: u64, size: u64) -> bool {
    let mut end = offset;
    parts
        .iter()
        .all(|part| part.start >= std::mem::replace(&mut end, part.end) && part.start < part.end && part.end <= size)
}

/// Appends what `write` writes, and shows it to whoever watches.
fn push(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let before = out.len();
    write(out);
    trace::sent(&out[before..]);
}

/// The error that a reply is where another one, or none, is right: [`Error::Server`] for a FAIL.
pub(crate) fn unexpected(reply: Reply) -> Error {
    match reply {
        Reply::Fail(failure) => Error::Server(failure),
        reply => {
            let mut line = Vec::new();
            reply.encode(&mut line);
            let line = line.strip_suffix(b"\n").unwrap_or(&line);
            Error::violation(format_args!("it answers with {}", ferry_wire::escaped_bytes(line)))
        }
    }
}

#[cfg(test)]
mod tests;
