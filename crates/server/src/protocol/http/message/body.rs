//! The bytes of a request's body: RFC 9112, sections 6 and 7.

use ferry_wire::limits::MAX_INTEGER;

use super::{
    fields::is_token,
    framing::Framing,
    status::{Refusal, StatusCode},
};

/// All extensions of one body's chunks together, in bytes. Nobody is known to send any.
const MAX_EXTENSION_BYTES: u32 = 4 << 10;

/// The trailers of one body, in bytes. They are discarded.
const MAX_TRAILER_BYTES: u32 = 8 << 10;

/// Hex digits of one chunk's size: as many as 64 bits have.
const MAX_SIZE_DIGITS: u8 = 16;

/// Takes a body off a stream.
#[derive(Debug)]
pub struct BodyReader {
    state: State,
    /// Bytes of extensions that were read.
    extensions: u32,
    /// Bytes of trailers that were read.
    trailers: u32,
}

/// The next piece of a body.
#[derive(Debug, PartialEq, Eq)]
pub enum BodyPiece<'a> {
    /// Bytes of the body, at least one.
    Bytes(&'a [u8]),
    /// The body is whole: what follows is another request.
    End,
    /// More bytes must come.
    More,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// So many bytes are due, then the body is whole.
    Counted(u64),
    /// The size of a chunk is read, of which so many digits were seen.
    Size { size: u64, digits: u8 },
    /// An extension of a chunk is read, up to its CR.
    Extension { size: u64 },
    /// The LF after a chunk's size is due.
    SizeEnd { size: u64 },
    /// So many bytes of a chunk are due.
    Chunk(u64),
    /// The CR after a chunk's bytes is due.
    ChunkCr,
    /// The LF behind it is due.
    ChunkLf,
    /// A trailer or the empty line is due.
    Trailer,
    /// The name of a trailer is read.
    TrailerName,
    /// The value of a trailer is read.
    TrailerValue,
    /// The LF of a trailer is due.
    TrailerLf,
    /// The LF of the empty line is due.
    LastLf,
    /// All was read.
    Over,
}

impl BodyReader {
    /// Begins a body that `framing` tells the end of.
    #[must_use]
    pub fn new(framing: Framing) -> BodyReader {
        let state = match framing {
            Framing::None => State::Counted(0),
            Framing::Length(length) => State::Counted(length),
            Framing::Chunked => State::Size { size: 0, digits: 0 },
        };
        BodyReader { state, extensions: 0, trailers: 0 }
    }

    /// Takes the next piece off the start of `input`, and returns how many bytes were consumed with it. Nothing that
    /// was consumed is given again. After the end it takes nothing.
    ///
    /// # Errors
    ///
    /// Fails where the chunks are malformed, or what is around them is too large. The connection must close.
    pub fn read<'a>(&mut self, input: &'a [u8]) -> Result<(usize, BodyPiece<'a>), Refusal> {
        let mut used = 0;
        loop {
            match self.state {
                State::Counted(0) => self.state = State::Over,
                State::Over => return Ok((used, BodyPiece::End)),
                State::Counted(left) | State::Chunk(left) => {
                    let rest = &input[used..];
                    let length = usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()));
                    if length == 0 {
                        return Ok((used, BodyPiece::More));
                    }
                    self.took(left - length as u64);
                    return Ok((used + length, BodyPiece::Bytes(&rest[..length])));
                }
                _ => {
                    let Some(&byte) = input.get(used) else { return Ok((used, BodyPiece::More)) };
                    self.state = self.step(byte)?;
                    used += 1;
                }
            }
        }
    }

    /// Returns how many bytes are to come; [`None`] where nobody knows.
    #[must_use]
    pub fn left(&self) -> Option<u64> {
        match self.state {
            State::Counted(left) => Some(left),
            State::Over => Some(0),
            _ => None,
        }
    }

    /// Returns how many bytes come next as they are: the rest of the length or of a chunk. None does while something else is
    /// due.
    #[must_use]
    pub fn raw_left(&self) -> u64 {
        match self.state {
            State::Counted(left) | State::Chunk(left) => left,
            _ => 0,
        }
    }

    /// Notes that so many bytes were taken past [`read`](Self::read), at most [`raw_left`](Self::raw_left).
    pub fn took_raw(&mut self, bytes: u64) {
        assert!(bytes <= self.raw_left(), "more was taken than was due");
        if bytes > 0 {
            self.took(self.raw_left() - bytes);
        }
    }

    /// Returns whether it is whole.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.left() == Some(0)
    }

    fn took(&mut self, left: u64) {
        self.state = match self.state {
            State::Counted(_) => State::Counted(left),
            _ if left == 0 => State::ChunkCr,
            _ => State::Chunk(left),
        };
    }

    /// Takes one byte that is not of the body itself.
    fn step(&mut self, byte: u8) -> Result<State, Refusal> {
        Ok(match (self.state, byte) {
            (State::Size { size, digits }, _) if byte.is_ascii_hexdigit() => longer(size, digits, byte)?,
            (State::Size { digits: 0, .. }, _) => return Err(Refusal::malformed("the size of a chunk is hex digits")),
            (State::Size { size, .. }, b';') => State::Extension { size },
            (State::Size { size, .. } | State::Extension { size }, b'\r') => State::SizeEnd { size },
            (State::Extension { size }, b'\t' | b' '..=b'~' | 0x80..) => {
                self.extensions =
                    counted(self.extensions, MAX_EXTENSION_BYTES, "the extensions of chunks are too large")?;
                State::Extension { size }
            }
            (State::SizeEnd { size: 0 }, b'\n') => State::Trailer,
            (State::SizeEnd { size }, b'\n') => State::Chunk(size),
            (State::ChunkCr, b'\r') => State::ChunkLf,
            (State::ChunkLf, b'\n') => State::Size { size: 0, digits: 0 },
            (State::Trailer, b'\r') => State::LastLf,
            (State::LastLf, b'\n') => State::Over,
            (State::Trailer | State::TrailerName | State::TrailerValue | State::TrailerLf, _) => self.trailer(byte)?,
            _ => return Err(Refusal::malformed("a chunk is malformed")),
        })
    }

    /// Takes one byte of a trailer.
    fn trailer(&mut self, byte: u8) -> Result<State, Refusal> {
        self.trailers = counted(self.trailers, MAX_TRAILER_BYTES, "the trailers of a body are too large")?;
        match (self.state, byte) {
            (State::Trailer | State::TrailerName, _) if is_token(byte) => Ok(State::TrailerName),
            (State::TrailerName, b':') => Ok(State::TrailerValue),
            (State::TrailerValue, b'\t' | b' '..=b'~' | 0x80..) => Ok(State::TrailerValue),
            (State::TrailerValue, b'\r') => Ok(State::TrailerLf),
            (State::TrailerLf, b'\n') => Ok(State::Trailer),
            _ => Err(Refusal::malformed("a trailer of the body is malformed")),
        }
    }
}

/// Adds a digit to a chunk's size.
fn longer(size: u64, digits: u8, digit: u8) -> Result<State, Refusal> {
    let value = char::from(digit).to_digit(16).unwrap_or(0);
    let too_large = || Refusal::malformed("a chunk is larger than any file");
    let size = size.checked_mul(16).ok_or_else(too_large)? + u64::from(value);
    if digits == MAX_SIZE_DIGITS || size > MAX_INTEGER {
        return Err(too_large());
    }
    Ok(State::Size { size, digits: digits + 1 })
}

/// Counts one byte more, of at most `most`.
fn counted(bytes: u32, most: u32, reason: &'static str) -> Result<u32, Refusal> {
    if bytes == most { Err(Refusal::closing(StatusCode::FIELDS_TOO_LARGE, reason)) } else { Ok(bytes + 1) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns the bytes of a body that comes in pieces, how it ended, and how many bytes that took.
    fn read(framing: Framing, stream: &[u8], cuts: &[usize]) -> (Vec<u8>, Result<bool, Refusal>, usize) {
        let mut reader = BodyReader::new(framing);
        let (mut at, mut bytes) = (0, Vec::new());
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (stream.len() + 1)).collect();
        ends.sort_unstable();
        ends.push(stream.len());
        for end in ends {
            loop {
                match reader.read(&stream[at.min(end)..end]) {
                    Err(refusal) => return (bytes, Err(refusal), 0),
                    Ok((used, piece)) => {
                        at += used;
                        match piece {
                            BodyPiece::Bytes(piece) => bytes.extend_from_slice(piece),
                            BodyPiece::End => return (bytes, Ok(true), at),
                            BodyPiece::More => break,
                        }
                    }
                }
            }
        }
        (bytes, Ok(false), at)
    }

    #[test]
    fn a_body_ends_where_its_framing_says() {
        for (framing, stream, bytes, rest) in [
            (Framing::None, "GET", "", "GET"),
            (Framing::Length(0), "GET", "", "GET"),
            (Framing::Length(3), "abcGET", "abc", "GET"),
            (Framing::Chunked, "0\r\n\r\nGET", "", "GET"),
            (Framing::Chunked, "3\r\nabc\r\n00A\r\n0123456789\r\n0\r\n\r\nGET", "abc0123456789", "GET"),
            (Framing::Chunked, "1;a=\"ü\" ;c\r\na\r\n0;x\r\nX-A: b\r\nY:\r\n\r\nGET", "a", "GET"),
        ] {
            let (read, whole, used) = read(framing, stream.as_bytes(), &[]);
            assert_eq!((read, whole), (bytes.into(), Ok(true)), "{stream:?}");
            assert_eq!(&stream[used..], rest, "{stream:?}");
        }
    }

    #[test]
    fn what_is_around_chunks_is_bounded() {
        let extension = |length| format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(length));
        assert_eq!(read(Framing::Chunked, extension(4096).as_bytes(), &[]).1, Ok(true));
        assert_eq!(read(Framing::Chunked, extension(4097).as_bytes(), &[]).1.unwrap_err().status.number(), 431);
        let trailer = |length| format!("0\r\nx:{}\r\n\r\n", "x".repeat(length));
        assert_eq!(read(Framing::Chunked, trailer(8188).as_bytes(), &[]).1, Ok(true));
        assert_eq!(read(Framing::Chunked, trailer(8189).as_bytes(), &[]).1.unwrap_err().status.number(), 431);
    }

    #[test]
    fn what_is_left_is_known_of_a_length() {
        let mut reader = BodyReader::new(Framing::Length(5));
        assert_eq!(reader.read(b"abc"), Ok((3, BodyPiece::Bytes(b"abc"))));
        assert_eq!(reader.left(), Some(2));
        assert_eq!(reader.read(b""), Ok((0, BodyPiece::More)));
        assert_eq!(reader.read(b"deGET"), Ok((2, BodyPiece::Bytes(b"de"))));
        assert!(reader.is_over());
        assert_eq!(reader.read(b"GET"), Ok((0, BodyPiece::End)));
        assert_eq!(BodyReader::new(Framing::Chunked).left(), None);
    }

    #[test]
    fn bytes_may_be_taken_past_the_reader() {
        let mut counted = BodyReader::new(Framing::Length(5));
        assert_eq!(counted.raw_left(), 5);
        counted.took_raw(5);
        assert!(counted.is_over() && counted.raw_left() == 0);
        let mut chunked = BodyReader::new(Framing::Chunked);
        assert_eq!((chunked.raw_left(), chunked.read(b"4\r\na").unwrap()), (0, (4, BodyPiece::Bytes(b"a"))));
        assert_eq!(chunked.raw_left(), 3);
        chunked.took_raw(3);
        assert_eq!((chunked.raw_left(), chunked.read(b"\r\n0\r\n\r\nG").unwrap()), (0, (7, BodyPiece::End)));
    }

    proptest! {
        #[test]
        fn a_body_is_the_same_however_it_is_cut(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            noise in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
            cuts in prop::collection::vec(any::<usize>(), 0..12),
        ) {
            let mut stream = Vec::new();
            for chunk in &chunks {
                stream.extend(format!("{:x};e\r\n", chunk.len()).bytes());
                stream.extend(chunk);
                stream.extend(b"\r\n");
            }
            stream.extend(b"0\r\na: b\r\n\r\nGET / HTTP/1.1\r\n");
            let whole = read(Framing::Chunked, &stream, &[]);
            prop_assert_eq!(&whole.0, &chunks.concat());
            prop_assert_eq!(&read(Framing::Chunked, &stream, &cuts), &whole);
            for (index, byte) in noise {
                *index.get_mut(&mut stream) = byte;
            }
            prop_assert_eq!(read(Framing::Chunked, &stream, &cuts), read(Framing::Chunked, &stream, &[]));
        }
    }
}
