//! Bad input: the right status, one line of log, nothing lost, nobody disturbed.

use std::net::Shutdown;

use ferry_e2e::eventually;

use super::{client::Http, ferry, plain, serving};

#[test]
fn bad_input_gets_its_status_and_one_line_of_log() {
    let (server, mut honest) = serving();
    server.write("a", b"a");
    let address = server.http().1;
    let fields = "X: y\r\n".repeat(20_000);
    let long = "a".repeat(9_000);
    let mut lines = 0;
    for (request, status, closes) in [
        ("GET /../x HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), 400, false),
        ("GET /%2e%2e/x HTTP/1.1\r\nHost: h\r\n\r\n".into(), 400, false),
        ("GET /a%00b HTTP/1.1\r\nHost: h\r\n\r\n".into(), 400, false),
        ("GET /a%2fb HTTP/1.1\r\nHost: h\r\n\r\n".into(), 400, false),
        ("GET /%c0%ae HTTP/1.1\r\nHost: h\r\n\r\n".into(), 400, false),
        ("GET /.ferry/run HTTP/1.1\r\nHost: h\r\n\r\n".into(), 403, false),
        ("GET http://other/a HTTP/1.1\r\nHost: h\r\n\r\n".into(), 400, true),
        ("GET /a HTTP/1.1\r\n\r\n".into(), 400, true),
        ("BREW /a HTTP/1.1\r\nHost: h\r\n\r\n".into(), 501, false),
        ("TRACE /a HTTP/1.1\r\nHost: h\r\n\r\n".into(), 405, false),
        (format!("GET /a HTTP/1.1\r\nHost: h\r\n{fields}\r\n"), 431, true),
        (format!("GET /{long} HTTP/1.1\r\nHost: h\r\n\r\n"), 414, true),
        ("GET /a HTTP/1.1\r\nHost: h\r\nA : b\r\n\r\n".into(), 400, true),
        ("GET /a HTTP/1.1\r\nHost: h\r\n b\r\n\r\n".into(), 400, true),
        ("PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab".into(), 400, true),
        (
            "PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
            400,
            true,
        ),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), 505, true),
        ("GET /a\r\n\r\n".into(), 400, true),
        ("STAT a\n".into(), 400, true),
    ] {
        let shown: String = request.chars().take(60).collect();
        let mut http = Http::plain(address);
        http.say(&request);
        let reply = http.hear("GET");
        assert_eq!(reply.status, status, "{shown:?}: {}", reply.text());
        assert_eq!(reply.field("Connection"), if closes { "close" } else { "" }, "{shown:?}");
        if closes {
            assert_eq!(http.hear_end(), b"", "{shown:?}");
        }
        lines += 1;
        let counted = || server.log().lines().filter(|line| line.contains(" s, ") && !line.contains("GET a: ")).count();
        eventually(&format!("line {lines} of the log, of {shown:?}"), || (counted() == lines).then_some(()));
        assert_eq!(honest.get("/a").body, b"a");
    }
    assert_eq!(server.visible(), ["a"]);
}

#[test]
fn slow_and_silent_clients_are_let_go() {
    let server = plain().arg("--idle-timeout").arg("1s").arg("--request-timeout").arg("1s");
    let server = server.arg("--progress-window").arg("1s").start();
    let address = server.http().1;
    // Who says nothing is told nothing: an answer would be taken for that of the next request.
    assert_eq!(Http::plain(address).hear_all(), b"");
    let mut http = Http::plain(address);
    http.say("GET / HT");
    assert_eq!(http.hear("GET").status, 408);
    assert_eq!(http.hear_end(), b"");
    let mut http = Http::plain(address);
    http.say("PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\nabc");
    assert_eq!(http.hear("PUT").status, 408);
    assert_eq!(http.hear_end(), b"");
    let mut http = Http::plain(address);
    http.say("GET / HT");
    http.socket().stream().shutdown(Shutdown::Write).unwrap();
    assert_eq!(http.hear("GET").status, 400);
    assert!(server.visible().is_empty());
}

#[test]
fn clients_of_both_protocols_count_together() {
    let server = plain().arg("--max-clients").arg("2").start();
    server.write("a", b"a");
    let mut raw = ferry(server.address());
    let mut http = Http::plain(server.http().1);
    assert_eq!(http.get("/a").status, 200);
    let mut third = Http::plain(server.http().1);
    let reply = third.hear("GET");
    assert_eq!((reply.status, reply.field("Connection")), (503, "close"));
    assert_eq!(raw.ask("GET a").verified(), b"a");
}

/// A page of anybody's name, which leads to this machine for now, sees nothing of what has no users file.
#[test]
fn a_name_that_leads_here_for_now_is_no_way_in() {
    let server = plain().start();
    server.write("a", b"a");
    let mut http = Http::plain(server.http().1);
    let mut ask = |host: &str| {
        http.say(format!("GET /a HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        http.hear("GET").status
    };
    assert_eq!(["evil.example", "localhost", "127.0.0.1:80", "[::1]"].map(&mut ask), [403, 200, 200, 200]);
    let users = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(users.path(), "[anonymous]\nrights = { \"\" = \"r\" }\n").unwrap();
    let server = plain().arg("--users").arg(users.path()).start();
    server.write("a", b"a");
    let mut http = Http::plain(server.http().1);
    http.say("GET /a HTTP/1.1\r\nHost: files.example\r\n\r\n");
    assert_eq!(http.hear("GET").status, 200);
}
