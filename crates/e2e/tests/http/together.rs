//! Clients of both protocols at work on the same names at once: what is read is one whole version that somebody put, what
//! was acknowledged is there for both protocols, and rights hold whatever goes on beside.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use ferry_e2e::{Options, Raw, random_bytes};

use super::{client::Http, ferry};

/// Alice's token is `secret`.
const USERS: &str = "
[anonymous]
rights = { \"shared\" = \"r\" }

[users.alice]
tokens = [\"sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b\"]
rights = { \"\" = \"rw\" }
";

const ALICE: &str = "Authorization: Basic YWxpY2U6c2VjcmV0\r\n";
const TUS: &str = "Tus-Resumable: 1.0.0\r\nContent-Type: application/offset+octet-stream\r\n";
const NAMES: usize = 4;
const ROUNDS: usize = 40;

/// Returns the bytes that a writer puts at a time: they say which, and how many there are.
fn version(writer: usize, number: usize) -> Vec<u8> {
    let seed = (writer << 32 | number) as u64;
    let size = u64::from_le_bytes(random_bytes(seed ^ 0x5bd1, 8).try_into().unwrap()) % 90_000;
    // Some are sent as they come, some from the page cache in one piece.
    let size = if size.is_multiple_of(3) { size / 100 } else { size };
    [format!("{writer} {number}\n").into_bytes(), random_bytes(seed, size as usize)].concat()
}

/// Returns whose version these bytes are, all of them.
fn whole(bytes: &[u8]) -> (usize, usize) {
    let line = bytes.split(|&byte| byte == b'\n').next().and_then(|line| std::str::from_utf8(line).ok());
    let (writer, number) = line.and_then(|line| line.split_once(' ')).expect("the bytes of a version");
    let (writer, number) = (writer.parse().unwrap(), number.parse().unwrap());
    assert!(bytes == version(writer, number), "{} bytes of version {number} of {writer}, or others", bytes.len());
    (writer, number)
}

/// One client, by either protocol.
enum Peer {
    Ferry(Raw),
    Http(Http, &'static str),
}

impl Peer {
    fn ferry(address: SocketAddr) -> Peer {
        let mut raw = ferry(address);
        assert_eq!(raw.ask("LOGIN alice secret").line, "DONE");
        Peer::Ferry(raw)
    }

    fn http(address: SocketAddr) -> Peer {
        Peer::Http(Http::plain(address), ALICE)
    }

    fn put(&mut self, name: &str, bytes: &[u8]) {
        match self {
            Peer::Ferry(raw) => assert!(raw.put(name, bytes).line.starts_with("SAVED "), "{name}"),
            Peer::Http(http, as_user) => {
                let reply = http.put(&format!("/{name}"), bytes, as_user);
                assert!(matches!(reply.status, 201 | 204), "{name}: {}", reply.text());
            }
        }
    }

    fn get(&mut self, name: &str) -> Option<Vec<u8>> {
        match self {
            Peer::Ferry(raw) => {
                let answer = raw.ask(&format!("GET {name}"));
                if answer.code() == Some("not-found") {
                    return None;
                }
                Some(answer.verified())
            }
            Peer::Http(http, as_user) => {
                let reply = http.ask("GET", &format!("/{name}"), as_user);
                assert!(matches!(reply.status, 200 | 404), "{name}: {}", reply.text());
                (reply.status == 200).then_some(reply.body)
            }
        }
    }

    /// Returns whether there was one.
    fn delete(&mut self, name: &str) -> bool {
        match self {
            Peer::Ferry(raw) => match raw.ask(&format!("DELETE {name}")) {
                done if done.line == "DONE" => true,
                answer => {
                    answer.expect_failure("not-found");
                    false
                }
            },
            Peer::Http(http, as_user) => {
                let reply = http.ask("DELETE", &format!("/{name}"), as_user);
                assert!(matches!(reply.status, 204 | 404), "{name}: {}", reply.text());
                reply.status == 204
            }
        }
    }

    /// Takes a name only if it is free: by RENAME of a file of its own, or by a condition.
    fn take(&mut self, own: &str, name: &str, bytes: &[u8]) -> bool {
        match self {
            Peer::Ferry(raw) => {
                assert!(raw.put(own, bytes).line.starts_with("SAVED "));
                match raw.ask(&format!("RENAME {own}//{name}")) {
                    done if done.line == "DONE" => true,
                    answer => {
                        answer.expect_failure("exists");
                        assert_eq!(raw.ask(&format!("DELETE {own}")).line, "DONE");
                        false
                    }
                }
            }
            Peer::Http(http, as_user) => {
                let reply = http.put(&format!("/{name}"), bytes, &format!("{as_user}If-None-Match: *\r\n"));
                assert!(matches!(reply.status, 201 | 412), "{name}: {}", reply.text());
                reply.status == 201
            }
        }
    }

    fn list(&mut self, directory: &str) -> Vec<String> {
        match self {
            Peer::Ferry(raw) => {
                let text = String::from_utf8(raw.ask(&format!("LIST {directory}")).body).unwrap();
                text.lines().filter_map(|line| line.rsplit(' ').next()).map(str::to_owned).collect()
            }
            Peer::Http(http, as_user) => {
                let reply = http.ask("GET", &format!("/{directory}/?json"), as_user);
                let json: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
                let entries = json["entries"].as_array().unwrap().iter();
                entries.map(|entry| entry["name"].as_str().unwrap().to_owned()).collect()
            }
        }
    }

    /// Puts it in pieces, by tus; plainly where that is not spoken. Others look how far it is meanwhile.
    fn put_in_pieces(&mut self, name: &str, bytes: &[u8], looker: &mut Peer) {
        let Peer::Http(http, as_user) = self else { return self.put(name, bytes) };
        let made =
            http.ask("POST", &format!("/{name}?tus"), &format!("{TUS}{as_user}Upload-Length: {}\r\n", bytes.len()));
        assert_eq!(made.status, 201, "{}", made.text());
        let (place, mut at) = (made.field("Location").to_owned(), 0);
        while at < bytes.len() {
            let end = bytes.len().min(at + 1 + bytes.len() / 3);
            let fields = format!("{TUS}{as_user}Upload-Offset: {at}\r\nContent-Length: {}\r\n", end - at);
            http.say(format!("PATCH {place} HTTP/1.1\r\nHost: test\r\n{fields}\r\n"));
            http.say(&bytes[at..end]);
            assert_eq!(http.hear("PATCH").status, 204);
            at = end;
            if let Peer::Http(looker, _) = looker {
                let state = looker.ask("HEAD", &place, &format!("{TUS}{as_user}"));
                assert_eq!((state.status, state.field("Upload-Offset")), (200, at.to_string().as_str()));
            }
        }
    }
}

/// What happened, so that nothing is found to hold because nothing was done.
#[derive(Default)]
struct Figures {
    read: AtomicUsize,
    missing: AtomicUsize,
    taken: AtomicUsize,
    not_taken: AtomicUsize,
}

fn count(figure: &AtomicUsize) {
    figure.fetch_add(1, Ordering::Relaxed);
}

fn dice(seed: u64) -> impl FnMut(usize) -> usize {
    let bytes = random_bytes(seed, ROUNDS * 64);
    let mut at = 0;
    move |below| {
        at += 4;
        u32::from_le_bytes(bytes[at - 4..at].try_into().unwrap()) as usize % below
    }
}

/// One writer: on names that all have, and on one of its own, which it sees by both protocols as it left it.
fn work(writer: usize, mut peer: Peer, mut other: Peer, figures: &Figures) {
    let mut dice = dice(writer as u64 + 7);
    let (own, spare) = (format!("own/{writer}"), format!("own/spare-{writer}"));
    let mut is_there = false;
    for number in 0..ROUNDS {
        let name = format!("shared/{}", dice(NAMES));
        let bytes = version(writer, number);
        match dice(12) {
            0..2 => peer.put(&name, &bytes),
            2 => peer.put_in_pieces(&name, &bytes, &mut other),
            3..6 => match peer.get(&name) {
                Some(found) => {
                    whole(&found);
                    count(&figures.read);
                }
                None => count(&figures.missing),
            },
            6 => drop(peer.delete(&name)),
            7 => count(if peer.take(&spare, &name, &bytes) { &figures.taken } else { &figures.not_taken }),
            8 => {
                let listed = peer.list("own");
                assert_eq!(listed.contains(&writer.to_string()), is_there, "{listed:?}");
                assert!(peer.list("shared").iter().all(|name| name.parse::<usize>().is_ok_and(|name| name < NAMES)));
            }
            9 => {
                peer.put(&own, &bytes);
                assert_eq!(other.get(&own).map(|found| whole(&found)), Some((writer, number)));
                is_there = true;
            }
            10 => {
                peer.put_in_pieces(&own, &bytes, &mut other);
                assert_eq!(other.get(&own).map(|found| whole(&found)), Some((writer, number)));
                is_there = true;
            }
            _ => {
                assert_eq!(peer.delete(&own), is_there);
                assert_eq!(other.get(&own), None);
                is_there = false;
            }
        }
    }
}

/// Somebody without a secret: reads what all may, whole, and nothing else is done for them.
fn look_on(address: SocketAddr, own: SocketAddr) {
    let (mut http, mut raw, mut dice) = (Http::plain(address), ferry(own), dice(1));
    for _ in 0..ROUNDS {
        let name = format!("shared/{}", dice(NAMES));
        let reply = http.get(&format!("/{name}"));
        match reply.status {
            200 => drop(whole(&reply.body)),
            status => assert_eq!(status, 404),
        }
        assert_eq!(http.put(&format!("/{name}"), b"not mine", "").status, 401);
        assert_eq!(http.ask("DELETE", &format!("/{name}"), "").status, 401);
        assert_eq!(http.ask("POST", &format!("/{name}?tus"), &format!("{TUS}Upload-Length: 1\r\n")).status, 401);
        assert_eq!(http.get("/own/1").status, 401);
        raw.ask("GET own/1").expect_failure("denied");
        raw.ask(&format!("DELETE {name}")).expect_failure("denied");
    }
}

#[test]
fn both_protocols_work_on_the_same_names_at_once() {
    let place = tempfile::tempdir().unwrap();
    let users = place.path().join("users.toml");
    std::fs::write(&users, USERS).unwrap();
    let server = Options::new().arg("--plain").arg("--http").arg("127.0.0.1:0").arg("--users").arg(users).start();
    for directory in ["shared", "own"] {
        std::fs::create_dir(server.path(directory)).unwrap();
    }
    let (own, address) = (server.address(), server.http().1);
    let figures = Figures::default();
    thread::scope(|scope| {
        for writer in 0..6 {
            let figures = &figures;
            scope.spawn(move || match writer % 2 {
                0 => work(writer, Peer::ferry(own), Peer::http(address), figures),
                _ if writer == 1 => work(writer, Peer::http(address), Peer::http(address), figures),
                _ => work(writer, Peer::http(address), Peer::ferry(own), figures),
            });
        }
        scope.spawn(|| look_on(address, own));
    });
    let Figures { read, missing, taken, not_taken } = figures;
    let counts = [read, missing, taken, not_taken].map(AtomicUsize::into_inner);
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    // Both see the same in the end, which is what is there.
    let (mut by_http, mut by_ferry) = (Peer::http(address), Peer::ferry(own));
    let found: BTreeMap<_, _> =
        (0..NAMES).map(|name| format!("shared/{name}")).map(|name| (name.clone(), by_http.get(&name))).collect();
    for (name, bytes) in found {
        assert!(by_ferry.get(&name) == bytes, "{name}");
        assert_eq!(bytes.is_some(), server.path(&name).exists(), "{name}");
        if let Some(bytes) = bytes {
            whole(&bytes);
            assert!(server.read(&name) == bytes);
        }
    }
}
