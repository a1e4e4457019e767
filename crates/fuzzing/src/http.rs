//! The messages of HTTP.

use ferry_server::protocol::http::message::{
    AnswerHead, BodyPiece, BodyReader, Encoded, Framing, Head, HeadReader, MAX_HEAD_BYTES, Refusal, StatusCode, Target,
    Validators, media_type,
};
use ferry_wire::{Tag, Time};

use crate::is_raw;

/// A stream of requests, cut in several ways: the same requests and bodies come of it, and all that is made of their
/// fields is harmless.
///
/// # Panics
///
/// If not.
pub fn http(stream: &[u8]) {
    let whole = read(stream, stream.len().max(1));
    for piece in [1, 7, 4096] {
        assert_eq!(read(stream, piece), whole, "in pieces of {piece}");
    }
}

/// The requests of a stream that comes in pieces.
#[derive(Debug, Default, PartialEq)]
struct Read {
    /// The head of each, and its body.
    requests: Vec<(String, Vec<u8>)>,
    /// The refusal that ended it.
    end: Option<Refusal>,
}

fn read(stream: &[u8], piece: usize) -> Read {
    let mut read = Read::default();
    let (mut start, mut end) = (0, 0);
    if let Err(refusal) = requests(stream, piece, &mut start, &mut end, &mut read) {
        assert!(refusal.closes, "{refusal:?}");
        check_refusal(&refusal);
        read.end = Some(refusal);
    }
    read
}

fn requests(stream: &[u8], piece: usize, start: &mut usize, end: &mut usize, read: &mut Read) -> Result<(), Refusal> {
    let mut heads = HeadReader::default();
    loop {
        let framing = match heads.read(&stream[*start..*end])? {
            Some((head, used)) => {
                check_head(&head);
                *start += used;
                let told = format!("{} {} {:?}", head.method_text(), head.target_text().escape_ascii(), head.framing());
                read.requests.push((told, Vec::new()));
                head.framing()
            }
            None if *end == stream.len() => return Ok(()),
            None => {
                assert!(*end - *start <= MAX_HEAD_BYTES, "a head is kept without bound");
                *end = stream.len().min(*end + piece);
                continue;
            }
        };
        let Some((_, bytes)) = read.requests.last_mut() else { continue };
        let mut body = BodyReader::new(framing);
        loop {
            let (used, part) = body.read(&stream[*start..*end])?;
            *start += used;
            match part {
                BodyPiece::Bytes(part) => bytes.extend_from_slice(part),
                BodyPiece::End => break,
                BodyPiece::More if *end == stream.len() => return Ok(()),
                BodyPiece::More => {
                    assert_eq!(start, end, "a body leaves nothing over");
                    *end = stream.len().min(*end + piece);
                }
            }
        }
        if let Framing::Length(length) = framing {
            assert_eq!(bytes.len() as u64, length);
        }
    }
}

/// Looks at all that a session would ask of a head.
fn check_head(head: &Head<'_>) {
    match head.target() {
        Ok(target) => check_target(&target),
        Err(refusal) => check_refusal(&refusal),
    }
    let tag = Tag::of_numbers([1, 2, 3, 4]);
    let current = Validators { tag: &tag, mtime: Time::new(784_111_777, 0) };
    match head.conditions() {
        Ok(conditions) => {
            for there in [None, Some(current)] {
                let _ = (conditions.check(there, true), conditions.check(there, false));
            }
            let _ = conditions.range_holds(current);
        }
        Err(refusal) => check_refusal(&refusal),
    }
    for size in [0, 1, 100, u64::MAX] {
        if let Some(range) = head.range().and_then(|range| range.within(size)) {
            assert!(range.start < range.end && range.end <= size);
        }
    }
    if let Err(refusal) = head.content_crc() {
        check_refusal(&refusal);
    }
    let _ = (head.authorization(), head.is_foreign(), head.persists(), head.expects_continue());
    assert!(head.host().is_ascii());
}

/// A name comes back as it was encoded, and nothing of it ends a line of an answer.
fn check_target(target: &Target) {
    let Some(name) = target.name() else { return };
    let input = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", Encoded(name.as_str()));
    let again = HeadReader::default().read(input.as_bytes()).unwrap().unwrap().0.target().unwrap();
    assert_eq!(again.name(), Some(name));
    let mut out = Vec::new();
    AnswerHead::new(&mut out, StatusCode::CREATED)
        .content(media_type(name.as_str()))
        .field("Location", Encoded(name.as_str()))
        .field("X-Name", name)
        .field("X-Query", target.query().unwrap_or_default())
        .end();
    let breaks = out.iter().filter(|byte| byte.is_ascii_control()).count();
    let lines = out.split(|&byte| byte == b'\n').count() - 1;
    assert_eq!(breaks, 2 * lines);
    assert!(lines <= 8, "{}", out.escape_ascii());
}

fn check_refusal(refusal: &Refusal) {
    assert!(refusal.status.number() >= 400 && !refusal.status.phrase().is_empty(), "{refusal:?}");
    assert!(!is_raw(&refusal.reason) && refusal.reason.len() < 200, "{refusal:?}");
}
