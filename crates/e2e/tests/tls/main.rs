//! TLS between the built programs: who is trusted, who is told what, and what a peer that means harm can do.
// A test fails by panicking, in its helpers as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod authorities;
mod between;
mod forge;
mod records;
mod truncation;

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::MetadataExt as _,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    thread,
};

use ferry_e2e::{HANG_GUARD, Options, Raw, Server, body, eventually, plain_ferry, random_bytes};

fn secure() -> Server {
    Options::new().arg("--tls").start()
}

/// A finished run of `ferry`: its output and exit status.
struct Run {
    status: i32,
    out: String,
    err: String,
}

impl Run {
    #[track_caller]
    fn assert_failed(&self, status: i32, parts: &[&str]) {
        assert_eq!(self.status, status, "{}{}", self.out, self.err);
        for part in parts {
            assert!(self.err.contains(part), "{part:?} is not in {:?}", self.err);
        }
        assert_eq!(self.err.lines().count(), 1, "{:?}", self.err);
    }

    #[track_caller]
    fn assert_done(&self, part: &str) {
        assert_eq!((self.status, self.err.as_str()), (0, ""), "{}", self.out);
        assert!(self.out.contains(part), "{part:?} is not in {:?}", self.out);
    }
}

/// Runs `ferry` in `home`, with nothing of the person who runs the tests, and no terminal.
fn run(home: &Path, arguments: &[&str]) -> Run {
    run_with(home, arguments, &[])
}

/// The same, with variables.
fn run_with(home: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Run {
    let mut command = Command::new(plain_ferry());
    command.envs(variables.iter().copied());
    command.args(arguments).current_dir(home).stdin(Stdio::null());
    command.env("XDG_CONFIG_HOME", home.join("config")).env("XDG_STATE_HOME", home.join("state"));
    let output = command.output().unwrap();
    Run {
        status: output.status.code().expect("an exit status"),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Waits for lines with `text` in the log: so many, and no more.
#[track_caller]
fn logged(server: &Server, text: &str, count: usize) {
    eventually(text, || (server.log().matches(text).count() >= count).then_some(()));
    assert_eq!(server.log().matches(text).count(), count, "{}", server.log());
}

fn known(home: &Path) -> String {
    fs::read_to_string(home.join("config/ferry/known_servers")).unwrap_or_default()
}

/// Forwards connections to a server that can be exchanged for another one, as somebody in between could.
struct Between {
    address: SocketAddr,
    target: Arc<AtomicU16>,
}

impl Between {
    fn and(server: &Server) -> Between {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let target = Arc::new(AtomicU16::new(server.address().port()));
        let to = target.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(("127.0.0.1", to.load(Ordering::Relaxed))) else { continue };
                let (mut up, mut down) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                thread::spawn(move || forward(&mut up, &server));
                thread::spawn(move || forward(&mut down, &client));
            }
        });
        Between { address, target }
    }

    fn turn_to(&self, server: &Server) {
        self.target.store(server.address().port(), Ordering::Relaxed);
    }

    fn port(&self) -> String {
        self.address.port().to_string()
    }
}

fn forward(from: &mut TcpStream, mut to: &TcpStream) {
    let _ = io::copy(from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

#[test]
fn the_key_is_made_once_and_named_in_the_first_line() {
    let state = tempfile::tempdir().unwrap();
    let start = || Options::new().arg("--tls").arg("--state").arg(state.path()).start();
    let first = start();
    let key = fs::metadata(state.path().join("key.pem")).unwrap();
    assert_eq!(key.mode() & 0o777, 0o600);
    assert_eq!(start().fingerprint(), first.fingerprint());
    let text = fs::read_to_string(state.path().join("key.pem")).unwrap();
    assert!(text.lines().all(|line| !first.log().contains(line)), "the key is in the log");
    // By the address alone: this is no loopback address.
    let public = Options::new().address("0.0.0.0:0").start();
    assert!(public.fingerprint().starts_with("SHA256:"));
    assert!(!Options::new().arg("--plain").address("0.0.0.0:0").start().first_line().contains("TLS"));
}

#[test]
fn files_go_both_ways_whole() {
    let server = secure();
    let content = random_bytes(7, 3_000_000);
    server.write("large", &content);
    server.write("small", b"hello");
    let mut raw = Raw::greeted_by_tls(server.address());
    raw.send("GET small\nGET large\nREAD 1000000 70000 * large\nSUM large\n");
    assert_eq!(raw.answer("GET").verified(), b"hello");
    assert!(raw.answer("GET").verified() == content);
    assert!(raw.answer("READ").verified() == content[1_000_000..1_070_000]);
    assert_eq!(raw.answer("SUM").word(1), "3000000");
    assert_eq!(raw.put("back", &content).word(0), "SAVED");
    assert!(server.read("back") == content);
    // An answer that waits for a client that does not read is whole as well.
    raw.send("GET large\n".repeat(10));
    raw.finish();
    for _ in 0..10 {
        assert!(raw.answer("GET").verified() == content);
    }
    assert_eq!(raw.line(), "BYE");
    raw.expect_eof();
}

#[test]
fn a_key_that_is_not_known_is_taken_by_nobody_unasked() {
    let (server, home) = (secure(), tempfile::tempdir().unwrap());
    server.write("a.txt", b"hello");
    let (home, port, key) = (home.path(), server.address().port().to_string(), server.fingerprint());
    for arguments in [&["--tls", "ls", &port][..], &["ls", &port]] {
        run(home, arguments).assert_failed(6, &[key, "not known", "--fingerprint", "--accept-new"]);
    }
    let other = format!("{}AAA", &key[..key.len() - 3]);
    run(home, &["--fingerprint", &other, "ls", &port]).assert_failed(6, &[key, &other]);
    assert_eq!(known(home), "");
    run(home, &["--fingerprint", key, "ls", &port]).assert_done("a.txt");
    assert_eq!(known(home), "", "what is named each time is not remembered");
    run(home, &["--accept-new", "-c", &format!("OPEN --tls {port}; GET a.txt")]).assert_done("TLS");
    assert_eq!(known(home), format!("127.0.0.1:{port} {key}\n"));
    run(home, &["ls", &port]).assert_done("a.txt");
    logged(&server, "GET a.txt", 1);
}

#[test]
fn whoever_is_in_between_gets_nothing() {
    let (server, impostor, home) = (secure(), secure(), tempfile::tempdir().unwrap());
    server.write("a.txt", b"hello");
    impostor.write("a.txt", b"HELLO");
    let (between, home) = (Between::and(&server), home.path());
    let port = between.port();
    run(home, &["--accept-new", "--tls", "get", &port, "a.txt"]).assert_done("");
    between.turn_to(&impostor);
    for arguments in [&["ls", &port][..], &["--tls", "--accept-new", "get", &port, "a.txt"]] {
        let run = run(home, arguments);
        run.assert_failed(
            6,
            &["HAS CHANGED", server.fingerprint(), impostor.fingerprint(), "line 1 of", "known_servers"],
        );
    }
    assert_eq!(fs::read(home.join("a.txt")).unwrap(), b"hello");
    assert_eq!(known(home).lines().count(), 1);
    // One that speaks in the open, to a client that knows better, gets nothing either.
    let plain = Options::new().arg("--plain").start();
    plain.write("a.txt", b"HELLO");
    between.turn_to(&plain);
    run(home, &["get", &port, "a.txt"]).assert_failed(3, &["does not speak TLS", "--plain"]);
    assert!(!impostor.log().contains("a.txt") && !plain.log().contains("a.txt"));
    // The server itself is trusted as before, and the other one when its key was removed.
    between.turn_to(&server);
    run(home, &["get", &port, "a.txt"]).assert_done("");
    fs::remove_file(home.join("config/ferry/known_servers")).unwrap();
    between.turn_to(&impostor);
    run(home, &["--accept-new", "--tls", "get", &port, "a.txt"]).assert_done("");
    assert_eq!(fs::read(home.join("a.txt")).unwrap(), b"HELLO");
}

#[test]
fn bookmarks_name_the_key_of_their_server() {
    let (server, home) = (secure(), tempfile::tempdir().unwrap());
    server.write("a.txt", b"hello");
    let (home, address, key) = (home.path(), server.address(), server.fingerprint());
    let wrong = format!("{}AAA", &key[..key.len() - 3]);
    let text = format!(
        "[bookmarks]\nright = {{ address = \"{address}\", fingerprint = \"{key}\" }}\n\
         wrong = {{ address = \"{address}\", fingerprint = \"{wrong}\" }}\n"
    );
    fs::create_dir_all(home.join("config/ferry")).unwrap();
    fs::write(home.join("config/ferry/config.toml"), text).unwrap();
    run(home, &["ls", "right"]).assert_done("a.txt");
    run(home, &["ls", "wrong"]).assert_failed(6, &[key, &wrong]);
}

#[test]
fn who_speaks_something_else_is_told_so() {
    let (server, plain, home) = (secure(), Options::new().arg("--plain").start(), tempfile::tempdir().unwrap());
    // In the open, at a server that speaks TLS, in the words that they understand.
    for (request, answer) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n"),
        ("STAT a\n", "FAIL bad-request "),
        ("GET a\n", "FAIL bad-request "),
    ] {
        let mut raw = Raw::connect_plain(server.address());
        // The first line comes in two parts.
        raw.send(&request[..3]);
        raw.send(&request[3..]);
        let told = String::from_utf8(raw.to_eof()).unwrap();
        assert!(told.starts_with(answer) && told.contains("this address speaks TLS only"), "{request:?}: {told:?}");
    }
    let port = server.address().port().to_string();
    run(home.path(), &["--plain", "ls", &port]).assert_failed(4, &["speaks TLS", "--tls"]);
    // By TLS, at one that does not.
    let port = plain.address().port().to_string();
    run(home.path(), &["--tls", "ls", &port]).assert_failed(3, &["does not speak TLS", "--plain"]);
    let mut raw = Raw::connect_plain(plain.address());
    raw.send([22, 3, 1, 0, 5, 1, 0, 0, 1, 0]);
    assert!(raw.line().starts_with("FERRY 1 "));
    let line = raw.line();
    assert!(line.starts_with("FAIL bad-request ") && line.contains("--plain"), "{line:?}");
    // One line each in the log.
    logged(&server, "the client does not speak TLS", 4);
    logged(&plain, "the client speaks TLS", 2);
    // HTTP in the open gets a line, too, and leaves one.
    let mut raw = Raw::connect_plain(plain.address());
    raw.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(raw.line().starts_with("FERRY 1 "));
    let line = raw.line();
    assert!(line.starts_with("FAIL bad-request ") && line.contains("HTTP"), "{line:?}");
    raw.expect_eof();
    logged(&plain, "perhaps HTTP", 1);
}

#[test]
fn a_server_that_shares_no_tls_is_told_of_by_what_is_missing() {
    let home = tempfile::tempdir().unwrap();
    // Alerts to a hello: protocol_version, handshake_failure, no_application_protocol.
    for (alert, part) in [(70, "no TLS 1.3"), (40, "no cipher"), (120, "another protocol")] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        thread::spawn(move || {
            for mut client in listener.incoming().map_while(Result::ok) {
                // Silent until something is said.
                thread::spawn(move || match client.read(&mut [0; 4096]) {
                    Ok(1..) => client.write_all(&[21, 3, 3, 0, 2, 2, alert]),
                    _ => Ok(()),
                });
            }
        });
        for arguments in [&["--tls", "ls", &port][..], &["ls", &port]] {
            run(home.path(), arguments).assert_failed(3, &[part]);
        }
    }
}

#[test]
fn an_older_tls_gets_an_alert_and_one_line_in_the_log() {
    let server = secure();
    let mut client = Raw::connect_plain(server.address());
    // A hello as TLS 1.2 has it: version, random, no session, one cipher, no compression, no extensions.
    let mut hello = vec![1, 0, 0, 41, 3, 3];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0xc0, 0x2f, 1, 0]);
    let mut record = vec![22, 3, 1, 0, hello.len() as u8];
    record.extend(hello);
    client.send(record);
    let alert = client.to_eof();
    // Fatal, protocol_version or what says as much.
    assert_eq!((alert[0], alert[5]), (21, 2), "{alert:?}");
    logged(&server, "TLS 1.3", 1);
}

#[test]
fn what_is_cut_is_no_end() {
    let server = secure();
    let whole = body(b"hello", 5);
    let request = [b"PUT - - cut\n".as_slice(), &whole].concat();
    for length in 0..request.len() {
        let mut raw = Raw::greeted_by_tls(server.address());
        raw.send(&request[..length]);
        raw.cut();
        // Nothing is said any more, not even good-bye.
        assert_eq!(raw.stream().read(&mut [0; 64]).unwrap_or(0), 0, "after {length} bytes");
        assert_eq!(server.visible(), Vec::<String>::new(), "after {length} bytes");
    }
    // Said by the client itself, it is an end.
    let mut raw = Raw::greeted_by_tls(server.address());
    raw.send(&request);
    raw.finish();
    assert_eq!(raw.answer("PUT").word(0), "SAVED");
    assert_eq!(raw.line(), "BYE");
    raw.expect_eof();
}

#[test]
fn half_handshakes_hurt_nobody() {
    const HALVES: usize = 800;
    let server = secure();
    server.write("a.txt", b"hello");
    let idle = server.figures().descriptors;
    let mut halves = Vec::new();
    for number in 0..HALVES {
        let mut half = TcpStream::connect_timeout(&server.address(), HANG_GUARD).unwrap();
        half.set_nodelay(true).unwrap();
        // Some say nothing, some a part of a hello.
        let _ = half.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3][..number % 12]);
        halves.push(half);
        if number % 100 == 99 {
            assert_eq!(Raw::greeted_by_tls(server.address()).ask("GET a.txt").verified(), b"hello");
        }
    }
    let figures = server.figures();
    assert!(figures.descriptors < idle + 300, "{figures:?}");
    drop(halves);
    server.settles("descriptors are closed", |figures| figures.descriptors <= idle);
    assert_eq!(Raw::greeted_by_tls(server.address()).ask("GET a.txt").verified(), b"hello");
}
