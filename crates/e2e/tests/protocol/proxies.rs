//! Clients that come by a proxy: the address that its header tells counts, from listed peers alone.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::Shutdown,
    os::unix::fs::PermissionsExt as _,
};

use ferry_e2e::{Options, Raw, Server, Socket, eventually, secure};

/// Whom the headers below name.
const CLIENT: &str = "192.0.2.7:4660";

/// The password "password" of alice, its hash cheap.
const USERS: &str = "[anonymous]\nrights = { \"\" = \"rw\" }\n\
    [users.alice]\npassword = \"$argon2id$v=19$m=32,t=1,p=1$c29tZXNhbHQ$MBqPu0xZXFIeZ1LJialS1H4ezQY9ie689ohyiGdbVMg\"\n\
    rights = { \"\" = \"rw\" }\n";

fn line(client: &str) -> Vec<u8> {
    format!("PROXY TCP4 {client} 10.0.0.1 4660 12000\r\n").into_bytes()
}

/// A header of version 2 with `rest` behind its first part.
fn binary(command: u8, kind: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, kind][..], &length, rest].concat()
}

fn binary_v4(client: [u8; 4]) -> Vec<u8> {
    let more = [10, 0, 0, 1, 0x12, 0x34, 0x2e, 0xe0, 4, 0, 3, 1, 2, 3];
    binary(0x21, 0x11, &[&client[..], &more].concat())
}

/// A server that takes headers from this machine.
fn behind_proxies(more: &[&str]) -> Options {
    let options = Options::new().arg("--proxy-from").arg("127.0.0.0/8").arg("--proxy-from=2001:db8::1");
    more.iter().fold(options, |options, argument| options.arg(*argument))
}

/// Connects, and sends `header` before anything else.
fn introduced(server: &Server, header: &[u8]) -> Socket {
    let socket = Socket::connect_plain(server.address()).unwrap();
    socket.stream().write_all(header).unwrap();
    socket
}

fn by_plain(server: &Server, header: &[u8]) -> Raw {
    Raw::over(introduced(server, header))
}

#[track_caller]
fn expect_greeting(raw: &mut Raw) {
    let greeting = raw.line();
    assert!(greeting.starts_with("FERRY 1 "), "{greeting:?}");
}

#[track_caller]
fn expect_logged(server: &Server, part: &str) {
    eventually(part, || server.log().contains(part).then_some(()));
}

/// Reads until the connection is closed, whether by an end or a reset, and returns all that came.
fn last_words(socket: &Socket) -> Vec<u8> {
    let mut said = Vec::new();
    let _ = socket.stream().read_to_end(&mut said);
    said
}

#[test]
fn the_address_of_the_header_counts_in_the_log() {
    for tls in ["--tls", "--plain"] {
        let server = behind_proxies(&[tls]).start();
        let over = |socket: Socket| Raw::over(if tls == "--tls" { socket.by_tls() } else { socket });
        let mapped = [&[0; 10][..], &[0xff, 0xff, 192, 0, 2, 7], &[0; 16], &[0x12, 0x34, 0, 1]].concat();
        for (name, header) in
            [("line", line("192.0.2.7")), ("v4", binary_v4([192, 0, 2, 7])), ("mapped", binary(0x21, 0x21, &mapped))]
        {
            // Byte by byte, and with what follows in one segment.
            let socket = Socket::connect_plain(server.address()).unwrap();
            let _ = socket.stream().set_nodelay(true);
            header.iter().for_each(|byte| socket.stream().write_all(&[*byte]).unwrap());
            let mut split = over(socket);
            expect_greeting(&mut split);
            assert_eq!(split.put(&format!("{name}-split"), b"hello").word(0), "SAVED");
            let socket = Socket::connect_plain(server.address()).unwrap();
            rustix::net::sockopt::set_tcp_cork(socket.stream(), true).unwrap();
            socket.stream().write_all(&header).unwrap();
            let mut together = over(socket);
            if tls == "--plain" {
                together.send("STAT line-split\n");
            }
            expect_greeting(&mut together);
            if tls == "--plain" {
                assert!(together.line().starts_with("FILE "));
            }
            assert_eq!(together.put(&format!("{name}-together"), b"hello").word(0), "SAVED");
            for way in ["split", "together"] {
                expect_logged(&server, &format!("{CLIENT}: PUT {name}-{way}: "));
            }
        }
        assert!(!server.log().contains("127.0.0.1:4660") && !server.log().contains("::ffff"), "{}", server.log());
        // A peer that is no client of the proxy's is the proxy itself.
        let mut own = over(introduced(&server, &binary(0x20, 0, b"")));
        expect_greeting(&mut own);
        assert_eq!(own.ask("HEALTH").word(0), "DONE");
    }
}

#[test]
fn without_a_right_header_nothing_is_said_and_it_is_logged() {
    if secure::skips("it says itself what is spoken") {
        return;
    }
    for tls in ["--tls", "--plain"] {
        let server = behind_proxies(&[tls, "--request-timeout", "1s"]).start();
        let sent: Vec<(&str, Vec<u8>)> = vec![
            ("no PROXY header", b"HEALTH\r\n".to_vec()),
            ("no PROXY header", vec![22, 3, 1, 2, 0, 1]),
            ("is longer than", [b"PROXY UNKNOWN ".to_vec(), vec![b'f'; 100]].concat()),
            ("is longer than", [&binary(0x21, 0x11, b"")[..14], &[0xff, 0xff]].concat()),
            ("is malformed", b"PROXY TCP4 192.0.2.7 10.0.0.1 4660\r\n".to_vec()),
            ("is malformed", binary(0x21, 0x11, b"short")),
            ("is malformed", binary(0x25, 0x11, b"")),
            ("did not come within the request timeout", line("192.0.2.7")[..20].to_vec()),
            ("did not come within the request timeout", binary_v4([192, 0, 2, 7])[..20].to_vec()),
        ];
        for (index, (why, bytes)) in sent.iter().enumerate() {
            let socket = introduced(&server, bytes);
            let here = socket.stream().local_addr().unwrap();
            assert_eq!(last_words(&socket), b"", "{index}: {why}");
            eventually(why, || {
                let log = server.log();
                log.lines().any(|line| line.contains(&here.to_string()) && line.contains(why)).then_some(())
            });
        }
        let socket = introduced(&server, b"PROXY TC");
        socket.stream().shutdown(Shutdown::Write).unwrap();
        assert_eq!(last_words(&socket), b"");
        expect_logged(&server, "was cut short");
        let status = String::from_utf8(server.command(&["status", "--json"]).stdout).unwrap();
        assert!(status.contains("\"no_proxy_header\":10"), "{status}");
        // One header is all there is.
        if tls == "--plain" {
            let mut twice = by_plain(&server, &[line("192.0.2.7"), line("192.0.2.8")].concat());
            expect_greeting(&mut twice);
            assert!(twice.line().starts_with("FAIL unknown-command "));
            assert_eq!(twice.ask("HEALTH").word(0), "DONE");
        } else {
            let told = last_words(&introduced(&server, &[line("192.0.2.7"), line("192.0.2.8")].concat()));
            assert!(String::from_utf8_lossy(&told).starts_with("FAIL bad-request "), "{told:?}");
            expect_logged(&server, CLIENT);
        }
    }
}

#[test]
fn from_others_a_header_is_a_wrong_request() {
    if secure::skips("it says itself what is spoken") {
        return;
    }
    let server = Options::new().arg("--plain").arg("--proxy-from=192.0.2.0/24").start();
    let mut raw = by_plain(&server, &line("192.0.2.7"));
    expect_greeting(&mut raw);
    assert!(raw.line().starts_with("FAIL unknown-command "));
    assert_eq!(raw.ask("HEALTH").word(0), "DONE");
    let mut raw = by_plain(&server, &binary_v4([192, 0, 2, 7]));
    expect_greeting(&mut raw);
    assert!(raw.line().starts_with("FAIL "));
    let server = Options::new().arg("--tls").arg("--proxy-from=192.0.2.0/24").start();
    for header in [line("192.0.2.7"), binary_v4([192, 0, 2, 7])] {
        let told = last_words(&introduced(&server, &header));
        assert!(String::from_utf8_lossy(&told).starts_with("FAIL bad-request "), "{told:?}");
    }
}

#[test]
fn clients_count_for_their_own_address_and_stalled_headers_for_nobody() {
    let limits = ["--plain", "--max-clients", "3", "--max-clients-per-address", "1"];
    let server = behind_proxies(&limits).start();
    let stalled: Vec<Socket> = (0..300).map(|_| introduced(&server, b"PROXY ")).collect();
    let mut here: Vec<Raw> = (1..=3).map(|number| by_plain(&server, &line(&format!("192.0.2.{number}")))).collect();
    here.iter_mut().for_each(expect_greeting);
    let mut fourth = by_plain(&server, &line("192.0.2.4"));
    assert!(fourth.line().starts_with("FAIL busy the server has its 3 clients"));
    drop(here.pop());
    eventually("there is room for another", || {
        let mut again = by_plain(&server, &line("192.0.2.1"));
        again.line().starts_with("FAIL busy your address has its 1 client;").then_some(())
    });
    let _fifth = eventually("for that of another address", || {
        let mut fifth = by_plain(&server, &line("192.0.2.5"));
        fifth.line().starts_with("FERRY 1 ").then_some(fifth)
    });
    eventually("the status names those addresses", || {
        let status = String::from_utf8(server.command(&["status"]).stdout).unwrap();
        let from = status.lines().find(|line| line.starts_with("from "))?.to_owned();
        ["192.0.2.1 (1)", "192.0.2.2 (1)", "192.0.2.5 (1)"].iter().all(|one| from.contains(one)).then_some(())
    });
    drop(stalled);
}

#[test]
fn a_login_in_the_open_is_taken_where_proxy_and_client_are_on_this_machine() {
    let place = tempfile::tempdir().unwrap();
    let users = place.path().join("users.toml");
    fs::write(&users, USERS).unwrap();
    fs::set_permissions(&users, fs::Permissions::from_mode(0o600)).unwrap();
    let server = behind_proxies(&["--plain", "--users", users.to_str().unwrap()]).start();
    let loopback = [[0; 15].as_slice(), &[1], &[0; 15], &[1], &[0, 9, 0, 1]].concat();
    for (header, is_taken) in [
        (line("127.0.0.1"), true),
        (binary(0x21, 0x21, &loopback), true),
        (binary(0x20, 0, b""), true),
        (line("192.0.2.7"), false),
        (binary_v4([192, 0, 2, 7]), false),
        (b"PROXY UNKNOWN\r\n".to_vec(), false),
        (binary(0x21, 0, b""), false),
        (binary(0x21, 0x31, &[0; 216]), false),
    ] {
        let mut raw = by_plain(&server, &header);
        expect_greeting(&mut raw);
        let answer = raw.ask("LOGIN alice password");
        if is_taken {
            assert_eq!(answer.word(0), "DONE", "{header:?}");
        } else {
            answer.expect_failure("denied");
        }
    }
}

#[test]
fn delays_of_logins_are_of_the_address_in_the_header() {
    let place = tempfile::tempdir().unwrap();
    let users = place.path().join("users.toml");
    fs::write(&users, USERS).unwrap();
    fs::set_permissions(&users, fs::Permissions::from_mode(0o600)).unwrap();
    // By TLS, since these clients are on other machines.
    let server = behind_proxies(&["--tls", "--users", users.to_str().unwrap()]).start();
    let by_tls = |client: &str| {
        let mut raw = Raw::over(introduced(&server, &line(client)).by_tls());
        expect_greeting(&mut raw);
        raw
    };
    let mut failing = by_tls("192.0.2.7");
    for _ in 0..2 {
        failing.ask("LOGIN alice wrong").expect_failure("denied");
    }
    // The answer to the third failure is held back for two seconds, and until then nobody of that address is heard.
    failing.send("LOGIN alice wrong\n");
    let failures = || server.log().matches("login failed from 192.0.2.7 as ").count();
    eventually("the third failure is in the log", || (failures() == 3).then_some(()));
    let mut same = by_tls("192.0.2.7");
    same.send("LOGIN alice password\n");
    assert_eq!(by_tls("192.0.2.8").ask("LOGIN alice password").word(0), "DONE");
    for waiting in [&failing, &same] {
        assert!(is_silent(waiting), "it has an answer before one of another address");
    }
    failing.answer("LOGIN").expect_failure("denied");
    assert_eq!(same.answer("LOGIN").word(0), "DONE");
}

/// Returns whether nothing has come for a client that has not been read.
fn is_silent(raw: &Raw) -> bool {
    raw.stream().set_nonblocking(true).unwrap();
    let peeked = raw.stream().peek(&mut [0]);
    raw.stream().set_nonblocking(false).unwrap();
    peeked.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

#[test]
fn lines_of_the_transfer_log_are_of_the_address_in_the_header_and_its_budget() {
    /// More than an address may cause at once, and in a while after.
    const NOISE: usize = 5_000;
    let place = tempfile::tempdir().unwrap();
    let log = place.path().join("transfers");
    let options = ["--plain", "--log-level", "off", "--transfer-log-format", "json", "--transfer-log"];
    let server = behind_proxies(&options).arg(&log).start();
    let mut noisy = by_plain(&server, &line("192.0.2.7"));
    expect_greeting(&mut noisy);
    for _ in 0..NOISE / 100 {
        noisy.send("GET nothing\n".repeat(100));
        (0..100).for_each(|_| noisy.answer("GET").expect_failure("not-found"));
    }
    // By the proxy's own address there would be no line left.
    let mut quiet = by_plain(&server, &binary_v4([192, 0, 2, 8]));
    expect_greeting(&mut quiet);
    quiet.ask("GET quiet").expect_failure("not-found");
    assert_eq!(server.terminate().code(), Some(0));
    let lines = fs::read_to_string(log).unwrap();
    let of = |what: &str, address: &str| {
        lines.lines().filter(|line| line.contains(what) && line.contains(&format!("\"{address}"))).count()
    };
    assert_eq!(of("\"quiet\"", "192.0.2.8"), 1, "{}", &lines[lines.len().saturating_sub(2000)..]);
    assert!(of("\"SUMMED\"", "192.0.2.7") > 0 && of("\"nothing\"", "192.0.2.7") < NOISE);
    assert_eq!(lines.matches("127.0.0.1").count(), 0);
}

#[test]
fn a_reload_takes_other_proxies() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("ferryd.toml");
    fs::write(&file, "").unwrap();
    let server = Options::new().arg("--config").arg(&file).arg("--plain").start();
    let mut raw = Raw::connect_plain(server.address());
    expect_greeting(&mut raw);
    fs::write(&file, "proxy-from = [\"127.0.0.1\", \"10.0.0.0/8\"]\n").unwrap();
    let output = server.command(&["reload"]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && told.contains("proxy-from = [\"127.0.0.1\", \"10.0.0.0/8\"]"), "{told}");
    assert_eq!(raw.ask("HEALTH").word(0), "DONE", "who is there stays");
    expect_greeting(&mut by_plain(&server, &line("192.0.2.7")));
    assert_eq!(last_words(&introduced(&server, b"HEALTH\n")), b"");
    fs::write(&file, "").unwrap();
    assert!(server.command(&["reload"]).status.success());
    expect_greeting(&mut Raw::connect_plain(server.address()));
}
