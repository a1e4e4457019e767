//! Uploads of streams that go on behind a cut, although nobody can give their bytes again.

use std::{cell::RefCell, io, net::SocketAddr, path::Path};

use ferry_client::{Blame, Code, Error, Event, IfTaken, KEPT_INPUT_BYTES, Moved, Settings};
use ferry_e2e::{Options, Server, Signal, eventually, random_bytes, seed};
use tempfile::TempDir;

use super::{
    connect, name,
    pipes::{BYTES, places},
    proxy::{Cut, Manner, Proxy, Way},
    told,
};

/// A server that knows no streams: nothing is kept of one.
const STREAMS: Option<&str> = Some("streams");

type Act<'a> = Box<dyn FnOnce() -> io::Result<()> + 'a>;

/// A pipe: it gives some bytes at a time, and each once. Something is done when so many were taken.
struct Pipe<'a> {
    content: &'a [u8],
    at: usize,
    then: Option<(usize, Act<'a>)>,
}

impl<'a> Pipe<'a> {
    fn new(content: &'a [u8]) -> Pipe<'a> {
        Pipe { content, at: 0, then: None }
    }

    /// Has `what` be done once `at` bytes were taken. It fails where the pipe is to fail.
    fn then(mut self, at: usize, what: impl FnOnce() -> io::Result<()> + 'a) -> Pipe<'a> {
        self.then = Some((at, Box::new(what)));
        self
    }
}

impl io::Read for Pipe<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some((_, act)) = self.then.take_if(|(at, _)| *at <= self.at) {
            act()?;
        }
        let count = buffer.len().min(self.content.len() - self.at).min(60_000);
        buffer[..count].copy_from_slice(&self.content[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

fn put(address: SocketAddr, pipe: &mut Pipe<'_>, settings: &Settings) -> (Result<Moved, Error>, Vec<String>) {
    put_onto(address, pipe, settings, IfTaken::Replace)
}

fn put_onto(
    address: SocketAddr,
    pipe: &mut Pipe<'_>,
    settings: &Settings,
    if_taken: IfTaken,
) -> (Result<Moved, Error>, Vec<String>) {
    let mut events = Vec::new();
    let mut watch = |event: &Event<'_>| events.extend(told(event));
    let sent = connect(address).put_replaying(&name("a"), None, if_taken, pipe, (settings, &mut watch));
    (sent, events)
}

/// Returns the names of all that the server keeps of uploads that are not whole.
fn kept(root: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(root.join(".ferry/kept")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".data")).collect()
}

#[test]
fn a_stream_that_is_cut_anywhere_arrives() {
    for hidden in [None, STREAMS] {
        if hidden.is_some() && ferry_e2e::secure::skips("it changes the greeting") {
            continue;
        }
        let server = Server::start();
        let content = random_bytes(seed(), BYTES);
        let proxy = Proxy::hiding(hidden, server.address());
        let mut lost = 0;
        let downs = [360, 361, 380, 400].map(|after| (Way::Down, after));
        for (number, (way, after)) in places().into_iter().map(|after| (Way::Up, after)).chain(downs).enumerate() {
            if way == Way::Down && ferry_e2e::secure::is_asked_for() {
                continue;
            }
            let manner = if number % 2 == 0 { Manner::End } else { Manner::Reset };
            server.write("a", b"the old one");
            proxy.cut(&[Cut { way, after, manner }]);
            let (sent, events) = put(proxy.address(), &mut Pipe::new(&content), &Settings::default());
            let sent = sent.unwrap_or_else(|error| panic!("{way:?} {after} {manner:?}: {error}"));
            assert!(server.read("a") == content && sent.size == BYTES as u64, "{way:?} {after} {manner:?}");
            lost += events.iter().filter(|event| *event == "lost").count();
            proxy.cut_no_more();
        }
        assert!(lost > 4, "{lost} cuts were seen");
        assert_eq!(kept(server.root()), [""; 0], "something is left of {hidden:?}");
    }
}

/// Many times what is kept here to be sent again. Each connection brings something, so none of them is the last attempt.
#[test]
fn a_long_stream_goes_on_from_the_middle_however_often_it_is_cut() {
    const LONG_BYTES: usize = 4 * KEPT_INPUT_BYTES + 12_345;
    let server = Server::start();
    server.write("a", b"the old one");
    let content = random_bytes(seed(), LONG_BYTES);
    let proxy = Proxy::start(server.address());
    let cuts = [13, 17, 29, 5, 23, 19].map(|mib| Cut {
        way: Way::Up,
        after: mib << 20,
        manner: if mib % 4 == 1 { Manner::Reset } else { Manner::End },
    });
    proxy.cut(&cuts);
    let settings = Settings { retries: 1, ..Settings::default() };
    let (sent, events) = put(proxy.address(), &mut Pipe::new(&content), &settings);
    assert_eq!(sent.unwrap().size, LONG_BYTES as u64);
    assert!(server.read("a") == content);
    assert_eq!((events.len(), proxy.cuts_left()), (2 * cuts.len(), 0), "{events:?}");
    assert!(!events.iter().any(|event| event.starts_with("restarted")), "{events:?}");
    // What was lost with a connection is sent again, and no more.
    let (_, up, connections) = proxy.counts();
    assert_eq!(connections, cuts.len() as u64 + 1);
    assert!(up < (LONG_BYTES + cuts.len() * (KEPT_INPUT_BYTES / 2)) as u64, "{up} bytes for {LONG_BYTES}");
    assert_eq!(kept(server.root()), [""; 0]);
}

/// So much that some of it is not at hand any more when the server is killed, 8 MiB before its end.
const KILLED_BYTES: usize = KEPT_INPUT_BYTES + (20 << 20) + 12_345;

/// The outcome of a stream whose server was killed.
struct Outcome {
    sent: Result<Moved, Error>,
    events: Vec<String>,
    /// The one that took its place.
    server: Server,
    _root: TempDir,
}

/// Sends a long stream to a server that is killed when much of it was taken; `meddle` is called before the next one starts.
fn kill_meanwhile(if_taken: IfTaken, mut meddle: impl FnMut(&Path)) -> Outcome {
    let root = tempfile::tempdir().unwrap();
    let first = Options::new().root(root.path()).start();
    let (address, server) = (first.address(), RefCell::new(first));
    let content = random_bytes(seed(), KILLED_BYTES);
    let kill = || {
        let mut server = server.borrow_mut();
        server.signal(Signal::KILL);
        server.wait();
        meddle(root.path());
        *server = Options::new().root(root.path()).address(&address.to_string()).start();
        Ok(())
    };
    let (sent, events) = {
        let mut pipe = Pipe::new(&content).then(KILLED_BYTES - (8 << 20), kill);
        put_onto(address, &mut pipe, &Settings::default(), if_taken)
    };
    let server = server.into_inner();
    if sent.is_ok() {
        assert!(server.read("a") == content);
    }
    Outcome { sent, events, server, _root: root }
}

#[test]
fn a_stream_goes_on_at_a_server_that_was_killed() {
    for if_taken in [IfTaken::Replace, IfTaken::Fail] {
        let Outcome { sent, events, server, _root } = kill_meanwhile(if_taken, |_| {});
        assert_eq!(sent.unwrap().size, KILLED_BYTES as u64);
        assert!(
            events.contains(&"lost".into()) && !events.iter().any(|event| event.contains("restarted")),
            "{events:?}"
        );
        assert_eq!(kept(server.root()), [""; 0]);
    }
}

#[test]
fn a_server_that_forgot_more_than_is_at_hand_is_told_of_plainly() {
    let Outcome { sent, server, _root, .. } = kill_meanwhile(IfTaken::Replace, |root| {
        std::fs::remove_dir_all(root.join(".ferry")).unwrap();
    });
    let error = sent.unwrap_err();
    assert!(matches!(error, Error::Forgotten { there: 0, from } if from > 0), "{error}");
    assert_eq!(error.blame(), Blame::Connection);
    assert!(server.visible().is_empty());
    eventually("nothing is left of it", || kept(server.root()).is_empty().then_some(()));
}

#[test]
fn bytes_that_the_disk_of_the_server_lost_are_found_out() {
    let Outcome { sent, server: _server, _root, .. } = kill_meanwhile(IfTaken::Replace, |root| {
        let [data] = &kept(root)[..] else { panic!("one upload is kept") };
        let file = std::fs::File::options().write(true).open(root.join(".ferry/kept").join(data)).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, b"other bytes", 1_000_000).unwrap();
    });
    let error = sent.unwrap_err();
    assert!(matches!(error, Error::Verification(_)), "{error}");
    assert!(error.to_string().contains("what the server had kept is damaged"), "{error}");
}

#[test]
fn a_stream_that_fails_at_its_source_leaves_nothing_behind() {
    let server = Server::start();
    server.write("a", b"the old one");
    let content = vec![7; KEPT_INPUT_BYTES + (8 << 20)];
    for at in [0, 500_000, KEPT_INPUT_BYTES + (4 << 20)] {
        let fails = || Err(io::Error::other("the disk is on fire"));
        let mut pipe = Pipe::new(&content).then(at, fails);
        let (sent, events) = put(server.address(), &mut pipe, &Settings::default());
        assert!(matches!(sent, Err(Error::System { .. })), "{sent:?}");
        assert_eq!(events, [""; 0]);
        eventually("nothing is left of it", || kept(server.root()).is_empty().then_some(()));
    }
    assert_eq!((server.read("a"), server.visible()), (b"the old one".to_vec(), vec!["a".to_owned()]));
}

#[test]
fn a_server_that_has_no_room_is_told_of_and_keeps_nothing() {
    let content = vec![7; KEPT_INPUT_BYTES + (8 << 20)];
    for (limit, code) in [("--max-staged", Code::NoSpace), ("--max-upload", Code::TooLarge)] {
        let server = Options::new().arg(limit).arg("20MiB").start();
        let (sent, events) = put(server.address(), &mut Pipe::new(&content), &Settings::default());
        assert_eq!(sent.unwrap_err().code(), Some(code));
        assert_eq!((events, server.visible()), (Vec::new(), Vec::new()));
        eventually("nothing is left of it", || kept(server.root()).is_empty().then_some(()));
    }
    // Also where that is found out by the last byte.
    let server = Server::start();
    server.write("a", b"the old one");
    let (sent, _) = put_onto(server.address(), &mut Pipe::new(&content), &Settings::default(), IfTaken::Fail);
    assert_eq!(sent.unwrap_err().code(), Some(Code::Exists));
    assert_eq!(server.read("a"), b"the old one");
    eventually("nothing is left of it", || kept(server.root()).is_empty().then_some(()));
}

/// Where no more uploads are kept, one that is not kept may still be made.
#[test]
fn a_server_that_keeps_no_more_uploads_takes_a_stream_all_the_same() {
    let server = Options::new().arg("--max-kept").arg("1").start();
    let mut raw = ferry_e2e::Raw::greeted(server.address());
    assert_eq!(raw.ask("RESUME id 5 - other").line, "GO 0");
    raw.send("DATA 1\nh");
    let content = random_bytes(seed(), BYTES);
    let (sent, _) = put(server.address(), &mut Pipe::new(&content), &Settings::default());
    assert_eq!(sent.unwrap().size, BYTES as u64);
    assert!(server.read("a") == content);
}

#[test]
fn a_stream_of_which_an_older_server_got_too_much_fails_plainly() {
    if ferry_e2e::secure::skips("it changes the greeting") {
        return;
    }
    let server = Server::start();
    server.write("a", b"the old one");
    let content = vec![7; KEPT_INPUT_BYTES + (8 << 20)];
    let proxy = Proxy::hiding(STREAMS, server.address());
    proxy.cut(&[Cut { way: Way::Up, after: KEPT_INPUT_BYTES as u64 + (4 << 20), manner: Manner::End }]);
    let (sent, events) = put(proxy.address(), &mut Pipe::new(&content), &Settings::default());
    let error = sent.unwrap_err();
    assert!(matches!(error, Error::Overrun { .. }), "{error}");
    assert_eq!(events, [""; 0], "tried again");
    assert_eq!(server.read("a"), b"the old one");
    assert_eq!(server.visible(), ["a"]);
}

/// At an older server the upload may have got its name, and nobody could tell it from another one.
#[test]
fn a_stream_that_may_replace_nothing_is_told_from_others_where_that_can_be() {
    if ferry_e2e::secure::skips("it cuts behind the greeting") {
        return;
    }
    for hidden in [None, STREAMS] {
        for way in [Way::Up, Way::Down] {
            let server = Server::start();
            let proxy = Proxy::hiding(hidden, server.address());
            let greeting = {
                let client = connect(proxy.address());
                let (down, ..) = proxy.counts();
                drop(client);
                down
            };
            let after = if way == Way::Up { 100_000 } else { greeting + 30 };
            proxy.cut(&[Cut { way, after, manner: Manner::End }]);
            // More than the sockets take: the client knows that not all of it is out.
            let content = vec![7; 24 << 20];
            let (sent, events) =
                put_onto(proxy.address(), &mut Pipe::new(&content), &Settings::default(), IfTaken::Fail);
            match (hidden, way) {
                (Some(_), Way::Down) => assert!(matches!(sent, Err(Error::Closed(_))), "{sent:?}"),
                _ => assert!(sent.is_ok() && events.contains(&"lost".into()), "{sent:?}: {events:?}"),
            }
            assert!(server.read("a") == content);
        }
    }
}
