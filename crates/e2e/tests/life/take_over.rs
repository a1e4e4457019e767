//! Take-overs: a new server goes on with the sockets of the old one, and no client notices.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use ferry_e2e::{Options, Raw, Server, Signal, body, crc, eventually, ferryd, gist, random_bytes, seed};

use super::{BLOCK_BYTES, LONG, said};

/// Servers of one root and one control socket, one after the other.
struct Line {
    place: tempfile::TempDir,
    address: String,
}

impl Line {
    fn first(place: tempfile::TempDir) -> (Line, Server) {
        let mut line = Line { place, address: "127.0.0.1:0".into() };
        let server = line.options().start();
        line.address = server.address().to_string();
        (line, server)
    }

    fn control(&self) -> PathBuf {
        self.place.path().join("control.sock")
    }

    fn root(&self) -> PathBuf {
        self.place.path().join("root")
    }

    fn options(&self) -> Options {
        let options = Options::new().address(&self.address).root(&self.root()).arg("--grace").arg(LONG);
        options.arg("--control").arg(self.control())
    }

    /// The server that takes over.
    fn next(&self) -> Server {
        self.options().arg("--take-over").start()
    }

    /// Tries to take over with more `arguments`, which fails.
    fn fails(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(ferryd());
        command.args(["--take-over", "--root"]).arg(self.root()).arg("--control").arg(self.control());
        let output = command.args(arguments).arg(&self.address).stdin(Stdio::null()).output().unwrap();
        assert!(!output.status.success() && output.stdout.is_empty(), "{}", said(&output));
        assert_eq!(said(&output).lines().count(), 1, "{}", said(&output));
        output
    }
}

/// Makes one request on a connection of its own, in plain text. Gives what was wrong, if anything was.
fn request(address: SocketAddr, number: usize) -> Result<(), String> {
    let broken = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(address).map_err(broken)?;
    stream.set_read_timeout(Some(ferry_e2e::HANG_GUARD)).map_err(broken)?;
    let sent = format!("PUT 5 - f{number}\nDATA 5\nhelloEND {}\nGET f{number}\nCLOSE\n", crc(b"hello"));
    stream.write_all(sent.as_bytes()).map_err(broken)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(|error| format!("{error} after {answer:?}"))?;
    let words: Vec<_> = answer.lines().map(|line| line.split(' ').next().unwrap_or_default()).collect();
    let right = ["FERRY", "SAVED", "FILE", "DATA", "helloEND", "BYE"];
    if words == right { Ok(()) } else { Err(format!("{answer:?}")) }
}

/// Uploads and downloads on one connection until it is told that the server ends; then on another one. Gives how many
/// requests it made.
fn stay(address: SocketAddr, number: usize, ends: &AtomicBool) -> usize {
    let (mut requests, mut raw) = (0, Raw::greeted(address));
    while !ends.load(Ordering::Relaxed) {
        let name = format!("s{number}");
        for saving in [true, false] {
            let answer = if saving { raw.put(&name, b"hello") } else { raw.ask(&format!("GET {name}")) };
            if answer.code() == Some("shutting-down") {
                raw = Raw::greeted(address);
                break;
            }
            assert_eq!(answer.word(0), if saving { "SAVED" } else { "FILE" });
            requests += 1;
        }
    }
    requests
}

/// Takes over so many times under so many busy clients, of which a tenth keep their connections.
fn under_load(times: usize, clients: usize) {
    let (line, mut server) = Line::first(tempfile::tempdir().unwrap());
    let address = server.address();
    let (ends, requests) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for number in 0..clients {
            let (ends, requests) = (&ends, &requests);
            scope.spawn(move || {
                if number % 10 == 0 {
                    requests.fetch_add(stay(address, number, ends), Ordering::Relaxed);
                }
                while !ends.load(Ordering::Relaxed) {
                    request(address, number).unwrap_or_else(|why| panic!("a request failed: {why}"));
                    requests.fetch_add(3, Ordering::Relaxed);
                }
            });
        }
        let mut old = Vec::new();
        for time in 0..times {
            let before = requests.load(Ordering::Relaxed);
            let next = line.next();
            old.push(std::mem::replace(&mut server, next));
            eventually("the clients get on", || (requests.load(Ordering::Relaxed) > before + clients).then_some(()));
            assert_eq!(server.address(), address, "take-over {time}");
        }
        for mut server in old {
            assert_eq!(server.wait().code(), Some(0));
            assert!(server.log().contains("accepts clients now: draining"), "{}", server.log());
        }
        ends.store(true, Ordering::Relaxed);
    });
    eprintln!("{times} take-overs under {clients} clients: {} requests, none failed", requests.into_inner());
    assert_eq!(server.terminate().code(), Some(0));
}

#[test]
fn no_request_fails() {
    if ferry_e2e::secure::skips("its clients speak in the open") {
        return;
    }
    match std::env::var_os("FERRY_BIG") {
        Some(_) => under_load(10, 200),
        None => under_load(3, 10),
    }
}

#[test]
fn transfers_end_at_the_old_server_and_interrupted_ones_go_on_at_the_new_one() {
    let (line, mut old) = Line::first(tempfile::tempdir().unwrap());
    let whole = random_bytes(seed(), 3 * BLOCK_BYTES);
    let sent = body(&whole, BLOCK_BYTES);
    let half = |request: String| {
        let mut raw = Raw::greeted(old.address());
        raw.send(format!("{request}\n"));
        if request.starts_with("RESUME") {
            assert_eq!(raw.line(), "GO 0");
        }
        raw.send(&sent[..2 * BLOCK_BYTES]);
        raw
    };
    let mut putting = half(format!("PUT {} - put", whole.len()));
    let mut resuming = half(format!("RESUME going {} - going", whole.len()));
    let mut interrupted = half(format!("RESUME cut {} - cut", whole.len()));
    interrupted.finish();
    assert_eq!(gist(&interrupted.line()), "FAIL incomplete");
    drop(interrupted);

    let new = line.next();
    assert_eq!(new.address(), old.address());
    eventually("the old one accepts nobody", || old.log().contains("draining").then_some(()));
    let mut raw = Raw::greeted(new.address());
    // The old server has it still.
    raw.ask(&format!("RESUME going {} - going", whole.len())).expect_failure("busy");
    let offset: usize = eventually("the old one has let go", || {
        let line = raw.ask(&format!("RESUME cut {} - cut", whole.len())).line;
        line.strip_prefix("GO ").map(|offset| offset.parse().unwrap())
    });
    assert!(offset > 0, "what was kept is gone");
    let rest = body(&whole[offset..], BLOCK_BYTES);
    raw.send(&rest[..rest.len() - "END 00000000\n".len()]);
    raw.send(format!("END {}\n", crc(&whole)));
    assert_eq!(gist(&raw.line()), format!("SAVED {} {}", whole.len(), crc(&whole)));
    for raw in [&mut putting, &mut resuming] {
        raw.send(&sent[2 * BLOCK_BYTES..]);
        assert_eq!(gist(&raw.answer("PUT").line), format!("SAVED {} {}", whole.len(), crc(&whole)));
    }
    drop((putting, resuming));
    assert_eq!(old.wait().code(), Some(0));
    for name in ["put", "going", "cut"] {
        assert!(new.read(name) == whole, "{name}");
    }
    // The socket is the new one's now, and goes with it.
    assert!(line.control().exists());
    assert_eq!(new.terminate().code(), Some(0));
}

#[test]
fn a_new_server_that_cannot_start_does_no_harm() {
    let (line, old) = Line::first(tempfile::tempdir().unwrap());
    let users = line.place.path().join("users.toml");
    std::fs::write(&users, "[anonymous\n").unwrap();
    let log = line.place.path().join("no/log");
    for arguments in [["--users", users.to_str().unwrap()], ["--log-file", log.to_str().unwrap()]] {
        line.fails(&arguments);
    }
    eventually("it is seen", || old.log().contains("this one goes on").then_some(()));
    assert_eq!(Raw::greeted(old.address()).put("a", b"hello").word(0), "SAVED");
    // It gives its place to the next one all the same.
    let new = line.next();
    assert_eq!(Raw::greeted(new.address()).ask("GET a").verified(), b"hello");
    assert_eq!(new.address(), old.address());
    drop(old);
    assert_eq!(Raw::greeted(new.address()).ask("GET a").verified(), b"hello");
}

#[test]
fn why_a_server_is_not_taken_over_is_said() {
    let (mut line, mut old) = Line::first(tempfile::tempdir().unwrap());
    let address = std::mem::replace(&mut line.address, "127.0.0.1:1".into());
    let output = line.fails(&[]);
    assert!(said(&output).contains(&address) && said(&output).contains("127.0.0.1:1"), "{}", said(&output));
    line.address = address;
    let mut raw = Raw::greeted(old.address());
    raw.send("PUT 10 - a\nDATA 10\nhalf");
    let mut idle = Raw::greeted(old.address());
    old.signal(Signal::TERM);
    let _ = idle.to_eof();
    assert!(said(&line.fails(&[])).contains("draining"));
    // A second signal, as ever.
    old.signal(Signal::TERM);
    assert_eq!(old.wait().code(), Some(0));
    assert!(said(&line.fails(&[])).contains("no server answers"));
    assert!(!exists(&line.root().join("a")));
}

fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// The manager follows, and is told by the new server.
#[test]
fn the_service_manager_goes_along() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(ferry_e2e::HANG_GUARD)).unwrap();
    let mut line = Line { place, address: "127.0.0.1:0".into() };
    let mut old = line.options().env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000").start();
    line.address = old.address().to_string();
    let new = line.next();
    assert_eq!(old.wait().code(), Some(0));
    let mut told = Vec::new();
    let is_fed = |told: &[String]| {
        let of_new = |line: &String| line.contains(&format!("READY=1\nMAINPID={}\n", new.pid()));
        told.iter().position(of_new).is_some_and(|ready| told[ready..].iter().any(|line| line == "WATCHDOG=1\n"))
    };
    let is_named = |told: &[String]| told.iter().any(|line| line.starts_with(&format!("MAINPID={}\n", new.pid())));
    while !(is_fed(&told) && is_named(&told)) {
        let mut buffer = [0; 4096];
        let count = manager.recv(&mut buffer).unwrap_or_else(|error| panic!("{error} after {told:?}"));
        told.push(String::from_utf8(buffer[..count].to_vec()).unwrap());
    }
    assert!(!told.iter().any(|line| line.contains("STOPPING")), "the service does not stop: {told:?}");
}
