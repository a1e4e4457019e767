//! Tests of a session with a store in the hand of the test.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use ferry_wire::{Crc32, Tag};

use super::*;
use crate::{
    access::{Decision, Users, decide},
    protocol::Timeouts,
    store::{
        Change, ChangeNumber, Chunk, Content, ErrorKind, FileVersion, Form, Loaded, NameOperation, Opened, Piece,
        Published, ReadCompletion, ReadOperation, Stability, Status, SystemError, UploadCompletion, UploadNumber,
    },
};

struct Numbers;

impl Handles for Numbers {
    type File = u32;
    type Dir = u32;
    type Upload = u32;
}

fn session(users: Users, now: Instant) -> HttpSession<Numbers> {
    let long = Duration::from_secs(60);
    let limits = Limits {
        node: None,
        read_only: false,
        volatile: false,
        kept_modes: None,
        upload_bytes: 1 << 20,
        timeouts: Timeouts { idle: long, request: long, window: long, window_bytes: 0 },
        checkpoint_bytes: 1 << 20,
        checkpoint_time: long,
        keep: long,
    };
    let visitor = Visitor::new(Arc::new(users), true);
    let ids = Arc::new(UploadIds::new([0; 32]));
    let day = Arc::new(DayClock::new(now, SystemTime::UNIX_EPOCH));
    HttpSession::new(Arc::new(limits), ids, day, visitor, now)
}

/// Returns the first operation that a request leads to, by its name, and the status that it was answered at once.
fn asked(rights: &str, request: &str) -> (Option<String>, String) {
    let now = Instant::now();
    let users = format!("[anonymous]\nrights = {{ \"x\" = \"{rights}\" }}\n[users.a]\nrights = {{}}\n");
    let mut session = session(Users::parse(&users, Path::new("users.toml")).unwrap(), now);
    session.receive(request.as_bytes(), now);
    let operation = session.next_operation().map(|operation| format!("{operation:?}"));
    let mut said = String::new();
    if let Some((crate::protocol::Segment::Bytes(data), _)) = session.outbox().front() {
        said = String::from_utf8_lossy(&data[..12.min(data.len())]).into_owned();
    }
    (operation, said)
}

/// Another site's name may lead to this machine (DNS rebinding): its pages change nothing.
#[test]
fn a_page_of_a_name_changes_nothing_on_this_machine() {
    for (host, is_taken) in
        [("localhost:80", true), ("127.0.0.1", true), ("[::1]:80", true), ("evil.example:80", false)]
    {
        for line in ["DELETE /x", "MKCOL /x", "PUT /x", "POST /?tus"] {
            let fields =
                "Tus-Resumable: 1.0.0\r\nUpload-Length: 1\r\nUpload-Metadata: filename eA==\r\nContent-Length: 0";
            let request = format!("{line} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n{fields}\r\n\r\n");
            let (operation, said) = asked("rw", &request);
            assert_eq!((operation.is_some(), said == "HTTP/1.1 403"), (is_taken, !is_taken), "{line} {host}: {said}");
        }
    }
}

/// Such a page reads nothing either, where no users file says what anybody may see.
#[test]
fn a_page_of_a_name_reads_nothing_on_this_machine_without_a_users_file() {
    let now = Instant::now();
    let refuses = |users: Users, is_within: bool, host: &str| {
        let visitor = Visitor::new(Arc::new(users), true);
        let visitor = if is_within { visitor.within_this_machine() } else { visitor };
        let mut session = HttpSession { visitor, ..session(Users::without_file(), now) };
        session.receive(format!("GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes(), now);
        assert_eq!(session.next_operation().is_none(), session.outbox().bytes() > 0);
        session.outbox().bytes() > 0
    };
    let file = || Users::parse("[anonymous]\nrights = { \"\" = \"r\" }\n", Path::new("users.toml")).unwrap();
    for (host, is_refused) in
        [("evil.example:80", true), ("localhost:80", false), ("127.0.0.1:80", false), ("machine", false)]
    {
        assert_eq!(refuses(Users::without_file(), true, host), is_refused, "{host}");
        assert!(!refuses(file(), true, host) && !refuses(Users::without_file(), false, host), "{host}");
    }
}

/// The gate of HTTP is that of ferry's own protocol: nothing is asked of the store that the rights of the like request do
/// not allow, and what is refused is refused before anything is looked up.
#[test]
fn nothing_is_looked_up_that_the_rights_do_not_allow() {
    let alike = [
        ("GET /x", "GET x", "Open"),
        ("HEAD /x", "STAT x", "Stat"),
        ("GET /x/", "LIST x", "List"),
        ("GET /x/?json", "LIST x", "List"),
        ("PUT /x", "PUT 1 - x", "Stat"),
        ("DELETE /x", "DELETE x", "Delete"),
        ("MKCOL /x", "MKDIR x", "Mkdir"),
    ];
    for rights in ["none", "list", "read", "add", "change", "r", "w", "rw", "list+add"] {
        let users = format!("[anonymous]\nrights = {{ \"x\" = \"{rights}\" }}\n");
        let users = Users::parse(&users, Path::new("users.toml")).unwrap();
        for (line, like, operation) in alike {
            let like = Request::parse(like.as_bytes()).unwrap();
            let may = decide(&like, users.rights(None)) != Decision::Denied;
            let length = if line.starts_with("PUT") { "Content-Length: 1\r\n" } else { "" };
            let (asked, said) = asked(rights, &format!("{line} HTTP/1.1\r\nHost: h\r\n{length}\r\n"));
            match asked {
                Some(asked) if may => assert!(asked.starts_with(operation), "{line} with {rights}: {asked}"),
                // It may be a directory, whose page is elsewhere.
                Some(asked) => assert_eq!((line, asked.as_str(), rights.contains('l')), ("GET /x", "Stat", true)),
                None => {
                    assert!(!may, "{line} with {rights} was refused: {said}");
                    let adds_by_page = line == "GET /x/" && (rights == "w" || rights.contains("add"));
                    assert_eq!(
                        said,
                        if adds_by_page { "HTTP/1.1 200" } else { "HTTP/1.1 401" },
                        "{line} with {rights}"
                    );
                }
            }
        }
    }
}

/// The version that a condition was found to hold of is the only one that is deleted: what comes in between is seen.
#[test]
fn a_condition_of_a_deletion_is_decided_in_the_step_that_deletes() {
    let (now, tag) = (Instant::now(), Tag::new("t").unwrap());
    let file = || {
        Status::File(FileVersion {
            size: 1,
            mtime: ferry_wire::Time::new(1_700_000_000, 0),
            mode: ferry_wire::Mode::of(0o644),
            tag: tag.clone(),
        })
    };
    let directory = || Status::Directory { mtime: None, mode: None };
    let of_version = Some("version");
    for (condition, found, deletes) in [
        ("If-Match: \"t\"", file(), of_version),
        ("If-Match: \"u\"", file(), None),
        ("If-Match: \"t\"", directory(), None),
        ("If-Match: *", file(), Some("any")),
        ("If-Match: *", directory(), Some("any")),
        ("If-None-Match: \"u\"", file(), of_version),
        ("If-None-Match: \"t\"", file(), None),
        ("If-None-Match: *", file(), None),
        ("If-None-Match: *", directory(), None),
        ("If-Unmodified-Since: Tue, 14 Nov 2023 22:13:20 GMT", file(), of_version),
        ("If-Unmodified-Since: Tue, 14 Nov 2023 22:13:19 GMT", file(), None),
    ] {
        let mut session = session(Users::without_file(), now);
        session.receive(format!("DELETE /x HTTP/1.1\r\nHost: h\r\n{condition}\r\n\r\n").as_bytes(), now);
        session.next_operation();
        session.complete(Completion::Read(ReadCompletion::Found(Ok(found))), now);
        let change = match session.next_operation() {
            Some(Operation::Name(NameOperation::Change(_, Change::Delete(_)))) => Some("any"),
            Some(Operation::Name(NameOperation::Change(_, Change::DeleteVersion(_, of)))) => {
                assert_eq!(of, tag);
                of_version
            }
            other => other.map(|other| panic!("{other:?}")),
        };
        assert_eq!(change, deletes, "{condition}");
        if change == of_version {
            let changed = Err(StoreError::at("x", ErrorKind::OtherVersion));
            session.complete(Completion::Name(NameCompletion::Changed(ChangeNumber(0), changed)), now);
        }
        if change != Some("any") {
            let Some((crate::protocol::Segment::Bytes(data), _)) = session.outbox().front() else { panic!() };
            assert!(data.starts_with(b"HTTP/1.1 412 "), "{condition}: {}", String::from_utf8_lossy(data));
        }
    }
}

/// An upload whose body was whole gets its name though its client has gone, and the session is not forgotten before.
#[test]
fn an_upload_whose_client_has_gone_is_published() {
    let now = Instant::now();
    let mut session = session(Users::without_file(), now);
    session.receive(b"PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", now);
    let next = |session: &mut HttpSession<Numbers>| session.next_operation().map(|operation| format!("{operation:?}"));
    assert_eq!(next(&mut session).as_deref(), Some("Stat"));
    let missing = StoreError::at("x", ErrorKind::System(SystemError::NotFound));
    session.complete(Completion::Read(ReadCompletion::Found(Err(missing))), now);
    let number = UploadNumber(0);
    assert!(next(&mut session).is_some_and(|asked| asked.starts_with("Stage")));
    session.complete(Completion::Upload(number, UploadCompletion::Staged(Ok(1))), now);
    session.receive(b"abc", now);
    assert!(next(&mut session).is_some_and(|asked| asked.starts_with("Finish")));
    session.disconnected(now);
    assert!(session.is_cut() && !session.is_over());
    session.complete(Completion::Upload(number, UploadCompletion::Finished(Ok(()))), now);
    assert!(next(&mut session).is_some_and(|asked| asked.starts_with("Publish")), "it is not published");
    assert!(!session.is_over());
    let published = Published { size: 3, crc: Crc32::of(b"abc"), tag: Tag::new("t").unwrap() };
    session.complete(Completion::Name(NameCompletion::Published(number, Ok(published))), now);
    assert!(session.is_over());
    let records: Vec<_> = session.records().1.collect();
    assert!(matches!(&records[..], [record] if record.failure.is_none() && record.bytes == Some(3)), "{records:?}");
}

/// The store may give fewer bytes than it was asked for, wherever these lie: that is no change of the file.
#[test]
fn the_last_bytes_of_a_file_may_come_in_pieces() {
    let now = Instant::now();
    let mut session = session(Users::without_file(), now);
    session.receive(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n", now);
    assert!(matches!(session.next_operation(), Some(Operation::Read(ReadOperation::Open { .. }))));
    let data: Vec<u8> = (0..100_000_u32).map(|at| at as u8).collect();
    let version =
        FileVersion { size: 100_000, mtime: None, tag: Tag::new("t").unwrap(), mode: ferry_wire::Mode::of(0o644) };
    let content = Content::Range { file: 7, start: 0, end: 100_000, is_sendable: true, is_sparse: false };
    session.complete(Completion::Read(ReadCompletion::Opened(Ok(Opened { version, content }))), now);
    let (mut sent, mut last_loads, mut head) = (0, 0, Vec::new());
    while !session.is_idle() {
        match session.outbox().front() {
            Some((crate::protocol::Segment::Bytes(data), _)) if head.is_empty() => head = data.to_vec(),
            Some((crate::protocol::Segment::Bytes(last), _)) => assert!(data.ends_with(last)),
            _ => {}
        }
        let bytes = session.outbox().bytes();
        session.outbox().advance(bytes);
        session.sent(now);
        sent += bytes;
        let completion = match session.next_operation() {
            Some(Operation::Read(ReadOperation::Load { at, bytes, digest, form: Form::Bytes(mut chunk), .. })) => {
                let few = bytes.div_ceil(2);
                let (from, filled) = (at as usize, chunk.filled);
                chunk.memory[filled..filled + few as usize].copy_from_slice(&data[from..from + few as usize]);
                let chunk = Chunk { filled: filled + few as usize, ..chunk };
                last_loads += 1;
                ReadCompletion::Loaded(Ok(Loaded { piece: Piece::Bytes(chunk, few), digest }))
            }
            Some(Operation::Read(ReadOperation::Load { at, bytes, digest, .. })) => {
                let digest = digest.map(|mut digest| {
                    digest.update(&data[at as usize..(at + bytes) as usize]);
                    digest
                });
                ReadCompletion::Loaded(Ok(Loaded { piece: Piece::Cached(bytes), digest }))
            }
            Some(Operation::Read(ReadOperation::Check { .. })) => ReadCompletion::Checked(Ok(Stability::Same)),
            None => continue,
            Some(other) => panic!("{other:?}"),
        };
        session.complete(Completion::Read(completion), now);
        assert!(!session.is_cut(), "the answer is cut");
    }
    assert!(last_loads > 1);
    assert_eq!(sent, head.len() as u64 + 100_000);
}

/// A client that is dismissed while its upload is prepared is told so, and sends no body any more.
#[test]
fn an_upload_that_was_not_begun_when_its_client_was_dismissed_is_not_received() {
    let now = Instant::now();
    let mut session = session(Users::without_file(), now);
    session.receive(b"PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n", now);
    session.next_operation();
    let missing = StoreError::at("x", ErrorKind::System(SystemError::NotFound));
    session.complete(Completion::Read(ReadCompletion::Found(Err(missing))), now);
    assert!(session.next_operation().is_some_and(|asked| format!("{asked:?}").starts_with("Stage")));
    session.dismiss(Failure::new(ferry_wire::Code::ShuttingDown, "the server is ending"), now);
    session.complete(Completion::Upload(UploadNumber(0), UploadCompletion::Staged(Ok(1))), now);
    assert!(!session.wants_input(), "its body is awaited");
    let Some((crate::protocol::Segment::Bytes(data), _)) = session.outbox().front() else { panic!("no answer") };
    assert!(data.starts_with(b"HTTP/1.1 503 "), "{}", String::from_utf8_lossy(data));
}

/// The system's clock may be set, and the machine may sleep, while a client is connected.
#[test]
fn an_answer_tells_the_time_of_its_making() {
    let (now, second) = (Instant::now(), Duration::from_secs(1));
    let mut session = session(Users::without_file(), now);
    let date_of = |session: &mut HttpSession<Numbers>, request: &[u8], now: Instant| {
        session.receive(request, now);
        let Some((crate::protocol::Segment::Bytes(data), _)) = session.outbox().front() else { panic!("no answer") };
        let answer = String::from_utf8_lossy(data).into_owned();
        let bytes = session.outbox().bytes();
        session.outbox().advance(bytes);
        session.sent(now);
        answer.lines().find_map(|line| line.strip_prefix("Date: ")).unwrap_or("none").to_owned()
    };
    let options = b"OPTIONS / HTTP/1.1\r\nHost: h\r\n\r\n";
    assert_eq!(date_of(&mut session, options, now), "Thu, 01 Jan 1970 00:00:00 GMT");
    assert_eq!(date_of(&mut session, options, now + 2 * second), "Thu, 01 Jan 1970 00:00:02 GMT");
    session.day.set(now + 3 * second, SystemTime::UNIX_EPOCH + 784_111_777 * second);
    assert_eq!(date_of(&mut session, options, now + 3 * second), "Sun, 06 Nov 1994 08:49:37 GMT");
    let closes = b"GET / HTTP/3.0\r\nHost: h\r\n\r\n";
    assert_eq!(date_of(&mut session, closes, now + 4 * second), "Sun, 06 Nov 1994 08:49:38 GMT");
}
