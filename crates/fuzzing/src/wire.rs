//! The parsers of the wire.

use ferry_wire::{
    BodyCheck, BodyLine, Crc32, Entry, Frame, Framer, Greeting, GreetingError, Name, Refusal, Reply, Request, Verdict,
    limits,
};

use crate::is_raw;

/// One request line: what is understood comes back as it was meant, what is refused is told in
/// harmless words.
///
/// # Panics
///
/// If not.
pub fn request(line: &[u8]) {
    let line = &line[..line.len().min(limits::MAX_LINE_BYTES - 1)];
    match Request::parse(line) {
        Ok(Request::With(_)) => {}
        Ok(request) => {
            let mut out = Vec::new();
            request.encode(&mut out);
            // Names hold no LF, so a line can only have been one.
            let again = out.strip_suffix(b"\n").expect("a line ends with LF");
            assert_eq!(Request::parse(again), Ok(request));
        }
        Err(Refusal::Request { failure, .. } | Refusal::With(failure) | Refusal::Stream(failure)) => {
            assert!(!is_raw(&failure.message), "{failure:?}");
            assert!(failure.message.len() < 1000, "{failure:?}");
        }
    }
}

/// A name: harmless beneath any directory.
///
/// # Panics
///
/// If not.
pub fn name(bytes: &[u8]) {
    let Ok(name) = Name::from_bytes(bytes) else { return };
    assert_eq!(name.as_str().as_bytes(), bytes);
    assert!(bytes.len() <= limits::MAX_NAME_BYTES && !bytes.contains(&0));
    let path = std::path::Path::new(name.as_str());
    assert!(path.components().all(|part| matches!(part, std::path::Component::Normal(_))), "{name:?}");
    assert_eq!(path.components().count(), name.as_str().split('/').count());
    for component in name.as_str().split('/') {
        assert!(!component.to_ascii_lowercase().starts_with(".ferry"), "{name:?}");
    }
    match name.parent() {
        // A directory whose name ends as a browser's line does can't be named, and what is in it can.
        Some(parent) if parent.ends_with(" HTTP/1.0") || parent.ends_with(" HTTP/1.1") => {}
        Some(parent) => {
            let joined = Name::new(parent).and_then(|parent| parent.join(name.last()));
            assert_eq!(joined.as_ref(), Ok(&name));
        }
        None => assert_eq!(name.last(), name.as_str()),
    }
}

/// A body, cut in two ways: the bytes are the same, and a body that ends well has the CRC that it says.
///
/// # Panics
///
/// If not.
pub fn body(stream: &[u8]) {
    let whole = read_body(stream, stream.len().max(1));
    for piece in [1, 7, 4096] {
        assert_eq!(read_body(stream, piece), whole, "in pieces of {piece}");
    }
}

/// The bytes of a body that comes in pieces, and how it ended.
fn read_body(stream: &[u8], piece: usize) -> (Vec<u8>, String) {
    const ANNOUNCED: u64 = 64;
    let (mut framer, mut check) = (Framer::new(), BodyCheck::new(Some(ANNOUNCED)));
    let (mut start, mut end, mut bytes) = (0, 0, Vec::new());
    loop {
        let (frame, used) = match framer.next(&stream[start..end]) {
            Ok(Some(found)) => found,
            Ok(None) if end == stream.len() => return (bytes, "cut".into()),
            Ok(None) => {
                end = stream.len().min(end + piece);
                continue;
            }
            Err(error) => return (bytes, error.to_string()),
        };
        start += used;
        let line = match frame {
            Frame::Raw(raw) => {
                check.bytes(raw);
                bytes.extend_from_slice(raw);
                assert!(bytes.len() as u64 <= ANNOUNCED);
                continue;
            }
            Frame::Line(line) => BodyLine::parse(line),
        };
        match line {
            Ok(BodyLine::Data(size)) if check.block(size).is_ok() => framer.expect_raw(size),
            Ok(BodyLine::Hole(size)) if check.block(size).is_ok() => {
                check.zeros(size);
                bytes.resize(bytes.len() + size as usize, 0);
            }
            Ok(BodyLine::End(crc)) => {
                let verdict = check.end(crc);
                let fits = bytes.len() as u64 == ANNOUNCED && crc.is_none_or(|crc| crc == Crc32::of(&bytes));
                assert_eq!(verdict == Verdict::Whole, fits);
                return (bytes, format!("{verdict:?}"));
            }
            line => return (bytes, format!("{line:?}")),
        }
    }
}

/// A line of a server, read as everything that it could be.
///
/// # Panics
///
/// If what is understood does not come back as it was meant, or an error is shown raw.
pub fn reply(line: &[u8]) {
    let line = &line[..line.len().min(limits::MAX_LINE_BYTES - 1)];
    match Reply::parse(line) {
        Ok(Reply::Fail(failure)) => assert!(!is_raw(&failure.to_string())),
        Ok(reply) => assert_eq!(Reply::parse(&encoded(|out| reply.encode(out))), Ok(reply)),
        Err(error) => assert!(!is_raw(&error.to_string())),
    }
    match Entry::parse(line) {
        Ok(entry) => {
            assert!(entry.name.parent().is_none());
            assert_eq!(Entry::parse(&encoded(|out| entry.encode(out))), Ok(entry));
        }
        Err(error) => assert!(!is_raw(&error.to_string())),
    }
    match Greeting::parse(line) {
        Ok(_) | Err(GreetingError::Version(_)) => {}
        Err(error) => assert!(!is_raw(&error.to_string())),
    }
    match BodyLine::parse(line) {
        Ok(BodyLine::Fail(_)) => {}
        Ok(body) => assert_eq!(BodyLine::parse(&encoded(|out| body.encode(out))), Ok(body)),
        Err(error) => assert!(!is_raw(&error.to_string())),
    }
}

fn encoded(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    assert_eq!(out.pop(), Some(b'\n'));
    out
}
