//! Properties of every input: messages come back as they went, a stream means the same however it
//! is cut, and nothing that a peer can send makes the decoder panic.

use ferry_wire::{
    AskedMode, BodyLine, Code, Crc32, DirMeta, Entry, EntryKind, Failure, FileMeta, Frame, Framer, Greeting, Id,
    LineTooLong, Mode, Name, Options, Reply, Request, Secret, Sha256, Tag, TellsModes, Time, UserName, limits,
    write_block_header,
};
use proptest::{collection::vec, option, prelude::*, sample::select};

// What can stand in a message.

fn integers() -> impl Strategy<Value = u64> {
    prop_oneof![0..=9u64, 0..=limits::MAX_INTEGER, Just(limits::MAX_INTEGER)]
}

fn names() -> impl Strategy<Value = Name> {
    let component = prop_oneof!["[a-z0-9 .=*\\\\-]{1,8}", "\\PC{1,8}"];
    vec(component, 1..4).prop_filter_map("a rule for names", |parts| Name::new(&parts.join("/")).ok())
}

fn components() -> impl Strategy<Value = Name> {
    names().prop_filter("one component", |name| name.parent().is_none())
}

fn times() -> impl Strategy<Value = Time> {
    let seconds = prop_oneof![0..=2_000_000_000i64, Just(i64::MAX)];
    let nanos = prop_oneof![Just(0), 0..1_000_000_000u32, (0..1000u32).prop_map(|milli| milli * 1_000_000)];
    (seconds, nanos).prop_filter_map("a time", |(seconds, nanos)| Time::new(seconds, nanos))
}

fn tags() -> impl Strategy<Value = Tag> {
    "[0-9A-Za-z_-]{1,64}".prop_filter_map("a tag", |text| Tag::new(&text).ok())
}

fn ids() -> impl Strategy<Value = Id> {
    "[0-9A-Za-z_-]{1,64}".prop_filter_map("an id", |text| Id::new(&text).ok())
}

fn crcs() -> impl Strategy<Value = Crc32> {
    any::<u32>().prop_map(Crc32)
}

fn failures() -> impl Strategy<Value = Failure> {
    // What would be escaped does not come back as it went, by design.
    (select(Code::ALL), "[ -~é世]{0,40}").prop_map(|(code, message)| Failure::new(code, message))
}

fn metas() -> impl Strategy<Value = FileMeta> {
    (integers(), option::of(times()), tags(), modes()).prop_map(|(size, mtime, tag, mode)| FileMeta {
        size,
        mtime,
        tag,
        mode,
    })
}

fn logins() -> impl Strategy<Value = Request> {
    let secrets = "\\PC{1,40}".prop_filter_map("a rule for secrets", |text| Secret::from_bytes(text.as_bytes()).ok());
    let users = "[0-9A-Za-z._-]{1,64}".prop_filter_map("a user", |text| UserName::new(&text).ok());
    (users, secrets).prop_map(|(user, secret)| Request::Login { user, secret })
}

// Every message.

fn requests() -> impl Strategy<Value = Request> {
    let read = (integers(), option::of(integers()), option::of(tags()), names());
    let put = (option::of(integers()), option::of(times()), names());
    let resume = (ids(), option::of(integers()), option::of(times()), names());
    let part = (ids(), integers(), integers(), names());
    prop_oneof![
        names().prop_map(|name| Request::Get { name }),
        read.prop_map(|(offset, length, tag, name)| Request::Read { offset, length, tag, name }),
        put.prop_map(|(size, mtime, name)| Request::Put { size, mtime, name }),
        resume.prop_map(|(id, size, mtime, name)| Request::Resume { id, size, mtime, name }),
        part.prop_map(|(id, offset, length, name)| Request::Part { id, offset, length, name }),
        option::of(names()).prop_map(|name| Request::List { name }),
        names().prop_map(|name| Request::Stat { name }),
        names().prop_map(|name| Request::Sum { name }),
        names().prop_map(|name| Request::Mkdir { name }),
        names().prop_map(|name| Request::Delete { name }),
        (names(), names()).prop_map(|(from, to)| Request::Rename { from, to }),
        (option::of(times()), names()).prop_map(|(mtime, name)| Request::Touch { mtime, name }),
        logins(),
        options().prop_filter_map("an option", |options| {
            (options != Options::default()).then_some(Request::With(options))
        }),
        Just(Request::Health),
        Just(Request::Space),
        Just(Request::Close),
    ]
}

fn modes() -> impl Strategy<Value = Option<Mode>> {
    option::of(any::<u32>().prop_map(Mode::of))
}

fn tells_modes() -> impl Strategy<Value = TellsModes> {
    prop_oneof![Just(TellsModes::No), Just(TellsModes::OfFiles), Just(TellsModes::OfAll)]
}

fn directories() -> impl Strategy<Value = DirMeta> {
    (option::of(times()), modes()).prop_map(|(mtime, mode)| DirMeta { mtime, mode })
}

fn asked_modes() -> impl Strategy<Value = Option<AskedMode>> {
    let modes = (any::<u32>(), any::<u32>());
    option::of(modes.prop_map(|(mode, mask)| AskedMode { mode: Mode::of(mode), mask: Mode::of(mask) }))
}

fn options() -> impl Strategy<Value = Options> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), tells_modes(), any::<bool>());
    (flags, option::of(tags()), asked_modes()).prop_map(
        |((if_none, crc_read, sha256, tells_modes, leaves_holes), if_tag, mode)| {
            // No file has the tag `none`, which stands for no file.
            let if_tag = if_tag.filter(|tag| !if_none && tag.as_str() != "none");
            Options { if_none, if_tag, crc_read, sha256, mode, tells_modes, leaves_holes, has_unknown: false }
        },
    )
}

fn replies() -> impl Strategy<Value = Reply> {
    let saved = (integers(), crcs(), tags());
    let sum = (integers(), crcs(), tags(), option::of(any::<[u8; 32]>().prop_map(Sha256)));
    prop_oneof![
        metas().prop_map(Reply::File),
        directories().prop_map(Reply::Dir),
        Just(Reply::Listing),
        saved.prop_map(|(size, crc, tag)| Reply::Saved { size, crc, tag }),
        (integers(), vec(parts(), 0..5), option::of(crcs())).prop_map(|(offset, parts, crc)| Reply::Go {
            offset,
            parts,
            crc,
        }),
        integers().prop_map(|offset| Reply::Kept { offset }),
        sum.prop_map(|(size, crc, tag, sha256)| Reply::Sum { size, crc, tag, sha256 }),
        Just(Reply::Done),
        Just(Reply::Bye),
        failures().prop_map(Reply::Fail),
    ]
}

fn parts() -> impl Strategy<Value = std::ops::Range<u64>> {
    (integers(), integers()).prop_filter_map("a part", |(start, end)| (start < end).then_some(start..end))
}

fn body_lines() -> impl Strategy<Value = BodyLine> {
    prop_oneof![
        (1..=limits::MAX_BLOCK_BYTES).prop_map(BodyLine::Data),
        option::of(crcs()).prop_map(BodyLine::End),
        crcs().prop_map(BodyLine::Join),
        Just(BodyLine::Stop),
        failures().prop_map(BodyLine::Fail),
    ]
}

fn entries() -> impl Strategy<Value = Entry> {
    let kind = prop_oneof![metas().prop_map(EntryKind::File), directories().prop_map(EntryKind::Directory)];
    (components(), kind).prop_map(|(name, kind)| Entry { name, kind })
}

fn greetings() -> impl Strategy<Value = Greeting> {
    ("[!-~]{1,20}", vec("[!-~]{1,12}", 0..4)).prop_map(|(software, features)| Greeting { software, features })
}

// Streams.

/// Requests, bodies and, here and there, what no peer should send.
fn streams() -> impl Strategy<Value = Vec<u8>> {
    let line = requests().prop_map(|request| {
        let mut out = Vec::new();
        request.encode(&mut out);
        out
    });
    let block = vec(any::<u8>(), 1..40).prop_map(|bytes| {
        let mut out = Vec::new();
        write_block_header(&mut out, bytes.len() as u64);
        out.extend_from_slice(&bytes);
        out
    });
    let closing = select(vec![&b"END -\r\n"[..], b"STOP\n", b"END cbf43926\n", b"JOIN cbf43926\n", b"\n", b"\r\r\n"])
        .prop_map(<[u8]>::to_vec);
    let garbage = vec(any::<u8>(), 0..40);
    // Around the longest line, so that a cut falls on both sides of the limit.
    let long = (limits::MAX_LINE_BYTES - 2..=limits::MAX_LINE_BYTES).prop_map(|length| {
        let mut out = vec![b'x'; length];
        out.push(b'\n');
        out
    });
    let piece = prop_oneof![8 => line, 8 => block, 4 => closing, 1 => garbage, 1 => long];
    vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Event {
    Line(Vec<u8>),
    /// All that a run of raw bytes brought so far, however many frames that took.
    Raw(Vec<u8>),
    Broken(LineTooLong),
}

/// Decodes `pieces` as they arrive one after another, in a buffer that is kept as the contract
/// of [`Framer`] asks.
fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Event> {
    let mut framer = Framer::new();
    let mut buffer: Vec<u8> = Vec::new();
    let mut events: Vec<Event> = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        let mut used = 0;
        loop {
            match framer.next(&buffer[used..]) {
                Err(error) => {
                    events.push(Event::Broken(error));
                    return events;
                }
                Ok(None) => break,
                Ok(Some((Frame::Line(line), consumed))) => {
                    if let Ok(BodyLine::Data(bytes)) = BodyLine::parse(line) {
                        framer.expect_raw(bytes);
                    }
                    events.push(Event::Line(line.to_vec()));
                    used += consumed;
                }
                Ok(Some((Frame::Raw(raw), consumed))) => {
                    match events.last_mut() {
                        Some(Event::Raw(bytes)) => bytes.extend_from_slice(raw),
                        _ => events.push(Event::Raw(raw.to_vec())),
                    }
                    used += consumed;
                }
            }
        }
        buffer.drain(..used);
    }
    events
}

/// The line that `encode` wrote, without its LF; it has one, at its end only, and is not too long.
fn line(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out);
    assert!(out.len() <= limits::MAX_LINE_BYTES, "{} bytes", out.len());
    assert_eq!(out.pop(), Some(b'\n'));
    assert!(!out.contains(&b'\n'));
    out
}

/// Gives `bytes` to everything that reads what a peer sent.
fn parse_as_everything(bytes: &[u8]) {
    // What can be read can be written, and then means the same.
    if let Ok(request) = Request::parse(bytes)
        && !matches!(request, Request::With(_))
    {
        assert_eq!(Request::parse(&line(|out| request.encode(out))), Ok(request));
    }
    if let Ok(reply) = Reply::parse(bytes)
        && !matches!(reply, Reply::Fail(_))
    {
        assert_eq!(Reply::parse(&line(|out| reply.encode(out))), Ok(reply));
    }
    if let Ok(entry) = Entry::parse(bytes) {
        assert_eq!(Entry::parse(&line(|out| entry.encode(out))), Ok(entry));
    }
    if let Ok(body_line) = BodyLine::parse(bytes)
        && !matches!(body_line, BodyLine::Fail(_))
    {
        assert_eq!(BodyLine::parse(&line(|out| body_line.encode(out))), Ok(body_line));
    }
    let _ = Greeting::parse(bytes);
}

proptest! {
    #[test]
    fn requests_come_back(request in requests()) {
        prop_assert_eq!(Request::parse(&line(|out| request.encode(out))), Ok(request));
    }

    #[test]
    fn replies_come_back(reply in replies()) {
        prop_assert_eq!(Reply::parse(&line(|out| reply.encode(out))), Ok(reply));
    }

    #[test]
    fn body_lines_come_back(body_line in body_lines()) {
        prop_assert_eq!(BodyLine::parse(&line(|out| body_line.encode(out))), Ok(body_line));
    }

    #[test]
    fn entries_come_back(entry in entries()) {
        prop_assert_eq!(Entry::parse(&line(|out| entry.encode(out))), Ok(entry));
    }

    #[test]
    fn greetings_come_back(greeting in greetings()) {
        prop_assert_eq!(Greeting::parse(&line(|out| greeting.encode(out))), Ok(greeting));
    }

    #[test]
    fn verbs_are_read_in_any_case(request in requests(), upper in vec(any::<bool>(), 6)) {
        let mut written = line(|out| request.encode(out));
        for (byte, upper) in written.iter_mut().zip(upper).take(request.verb().len()) {
            *byte = if upper { byte.to_ascii_uppercase() } else { byte.to_ascii_lowercase() };
        }
        prop_assert_eq!(Request::parse(&written), Ok(request));
    }

    #[test]
    fn no_bytes_make_a_parser_panic(bytes in vec(any::<u8>(), 0..200)) {
        parse_as_everything(&bytes);
        decode([&bytes[..]]);
    }

    #[test]
    fn no_words_make_a_parser_panic(
        verb in select(vec![
            "GET", "READ", "PUT", "RESUME", "PART", "LIST", "STAT", "SUM", "MKDIR", "DELETE", "RENAME", "TOUCH", "LOGIN", "WITH", "CLOSE",
            "HEALTH", "SPACE", "DATA", "END", "STOP", "FAIL", "FILE", "DIR", "LISTING", "SAVED", "GO", "DONE", "BYE", "FERRY", "f", "d",
        ]),
        words in vec(
            prop_oneof![
                "[0-9*.-]{0,22}",
                "[0-9a-f]{8}",
                "[0-9A-Za-z_/-]{0,70}",
                "\\PC{0,12}",
                Just("//".to_owned()),
                Just("HTTP/1.1".to_owned()),
            ],
            0..6,
        ),
    ) {
        let mut text = verb.to_owned();
        for word in words {
            text.push(' ');
            text.push_str(&word);
        }
        parse_as_everything(text.as_bytes());
    }
}

proptest! {
    // Each case decodes its stream once for every byte in it.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_stream_means_the_same_however_it_is_cut(stream in streams()) {
        let whole = decode([&stream[..]]);
        prop_assert_eq!(&decode(stream.chunks(1)), &whole);
        prop_assert_eq!(&decode(stream.chunks(3)), &whole);
        // Within the longest line every cut is alike: look at those near the pieces' ends.
        let step = 1 + stream.len() / 512;
        for cut in (0..=stream.len()).step_by(step) {
            let (front, back) = stream.split_at(cut);
            prop_assert_eq!(&decode([front, back]), &whole, "cut at {}", cut);
        }
    }
}

#[test]
fn every_cut_of_one_of_each() {
    let mut stream = Vec::new();
    for text in [
        "GET a b\n",
        "READ 1 * * a\r\n",
        "PUT 3 - a\n",
        "DATA 3\na\nbEND -\n",
        "RESUME id 1 1.5 a\n",
        "LIST\n",
        "DATA 1\n\nSTOP\n",
        "WITH a=b\n",
        "\n",
        "CLOSE",
    ] {
        stream.extend_from_slice(text.as_bytes());
    }
    let whole = decode([&stream[..]]);
    assert_eq!(whole.len(), 13);
    for first in 0..=stream.len() {
        for second in first..=stream.len() {
            let pieces = [&stream[..first], &stream[first..second], &stream[second..]];
            assert_eq!(decode(pieces), whole, "cut at {first} and {second}");
        }
    }
}
