//! Streams that can't be trusted, and input that ends too early.

use std::fs::File;

use ferry_e2e::{Frail, Options, Raw, Server, eventually};

use super::{dialogue, gist};

/// A server whose root holds `a`, with `hello` in it.
fn server() -> Server {
    let server = Server::start();
    server.write("a", b"hello");
    server
}

/// Runs each case: what is sent, and the gist of all that comes back before the server closes. Then
/// the root must be as it was.
#[track_caller]
fn check(finish: bool, cases: &[(&str, &[&str])]) {
    let server = server();
    for (sent, expected) in cases {
        assert_eq!(dialogue(&server, sent.as_bytes(), finish), *expected, "after {sent:?}");
        assert_eq!(server.visible(), ["a"], "after {sent:?}");
    }
    assert_eq!(server.read("a"), b"hello");
}

#[test]
fn a_stream_that_cannot_be_followed_is_closed_and_nothing_behind_it_is_done() {
    let bad: &[&str] = &["FAIL bad-request"];
    check(
        false,
        &[
            ("DATA 5\nhello", bad),
            ("END -\nDELETE a\n", bad),
            ("STOP\nDELETE a\n", bad),
            ("data\n", bad),
            ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", bad),
            ("GET / HTTP/1.0\n\n", bad),
            ("PUT /x HTTP/1.1\nContent-Length: 3\n\nabc", bad),
            ("STAT a\nDATA 1\nDELETE a\n", &["FILE 5", "FAIL bad-request"]),
            ("STAT a\nSTAT b\nEND -\nDELETE a\n", &["FILE 5", "FAIL not-found", "FAIL bad-request"]),
            // Behind a body that is whole there is no body any more.
            ("PUT 1 - ../x\nDATA 1\nxEND -\nEND -\n", &["FAIL bad-name", "FAIL bad-request"]),
        ],
    );
}

#[test]
fn a_body_that_cannot_be_followed_is_closed_and_leaves_nothing() {
    let server = server();
    for (index, broken) in [
        "DATA 0\n",
        "DATA 1048577\n",
        "DATA 05\nhello",
        "DATA\n",
        "DATA x\n",
        "DATA -1\n",
        "DATA  5\nhello",
        "DATA 99999999999999999999\n",
        "DATA 6\n",
        "DATA 3\nhelDATA 3\n",
        "DATA 5\nhelloDATA 1\n",
        "END\n",
        "END 3610A686\n",
        "END 3610a68\n",
        "END 3610a6866\n",
        "FAIL io no\n",
        "GET a\n",
        "\n",
        " DATA 5\nhello",
    ]
    .into_iter()
    .enumerate()
    {
        for request in ["PUT 5 - b", &format!("RESUME id-{index} 5 - b")] {
            let mut raw = Raw::greeted(server.address());
            raw.send(format!("{request}\n"));
            if request.starts_with("RESUME") {
                assert_eq!(raw.line(), "GO 0");
            }
            raw.send_what_it_takes(format!("{broken}DELETE a\n"));
            assert_eq!(gist(&raw.line()), "FAIL bad-request", "after {request:?} and {broken:?}");
            raw.expect_eof();
        }
    }
    assert_eq!(server.visible(), ["a"]);
}

#[test]
fn the_longest_line_is_taken_and_one_byte_more_is_not() {
    let server = server();
    // Extra words behind CLOSE are ignored, however many.
    let line = |bytes: usize| format!("CLOSE {}\n", "x".repeat(bytes - "CLOSE \n".len()));
    assert_eq!(dialogue(&server, line(4096).as_bytes(), false), ["BYE"]);
    assert_eq!(dialogue(&server, line(4097).as_bytes(), false), ["FAIL bad-request"]);
    // 4096 bytes without an LF are too many already: the server does not wait for more.
    assert_eq!(dialogue(&server, &[b'x'; 4096], false), ["FAIL bad-request"]);
    assert_eq!(dialogue(&server, &[b'x'; 4095], true), ["FAIL bad-request"]);
    // Much more than a line, with no end in sight.
    assert_eq!(dialogue(&server, &vec![b'x'; 300_000], false), ["FAIL bad-request"]);
    let in_body = [b"PUT 5 - b\n", &[b'x'; 4096][..]].concat();
    assert_eq!(dialogue(&server, &in_body, false), ["FAIL bad-request"]);
    assert_eq!(server.visible(), ["a"]);
}

#[test]
fn the_end_of_input_in_each_position() {
    let hello = ["FILE 5", "DATA 5", "helloEND 3610a686", "BYE"];
    check(
        true,
        &[
            ("", &["BYE"]),
            ("GET a\n", &hello),
            ("CLOSE\n", &["BYE"]),
            ("CLOSE\nDELETE a\n", &["BYE"]),
            ("WITH x=1\n", &["BYE"]),
            ("G", &["FAIL bad-request"]),
            ("DELETE a", &["FAIL bad-request"]),
            ("STAT a\nDELETE a", &["FILE 5", "FAIL bad-request"]),
            ("STAT a\n\r", &["FILE 5", "FAIL bad-request"]),
            ("PUT 5 - b\n", &["FAIL incomplete"]),
            ("PUT 5 - b\nDA", &["FAIL incomplete"]),
            ("PUT 5 - b\nDATA 5\n", &["FAIL incomplete"]),
            ("PUT 5 - b\nDATA 5\nhel", &["FAIL incomplete"]),
            ("PUT 5 - b\nDATA 5\nhello", &["FAIL incomplete"]),
            ("PUT 5 - b\nDATA 5\nhelloEND 3610a686", &["FAIL incomplete"]),
            ("PUT 5 - b\nDATA 5\nhelloSTOP\n", &["FAIL stopped", "BYE"]),
            ("STAT a\nPUT 5 - b\nDATA 5\nhel", &["FILE 5", "FAIL incomplete"]),
        ],
    );
}

#[test]
fn a_refused_put_says_no_more_about_its_body() {
    let body = "DATA 3\none";
    let small_body = format!("{body}END -\n");
    let cases = [
        format!("PUT 3 - ../x\n{small_body}"),
        format!("PUT 3 - nowhere/x\n{small_body}"),
        format!("PUT 3 - a/x\n{small_body}"),
        format!("PUT 3 - d\n{small_body}"),
        format!("PUT 03 - x\n{small_body}"),
        format!("PUT\n{small_body}"),
        "PUT\nEND -\n".to_owned(),
        "put 3 yesterday x\nSTOP\n".to_owned(),
        // What is discarded is neither counted nor checked.
        format!("PUT 1 - ../x\n{body}{body}{body}END 00000000\n"),
        format!("PUT 1 - ../x\n{body}STOP\n"),
        format!("PUT 4 - x\n{body}END -\n"),
        format!("PUT 3 - x\n{body}END 00000000\n"),
        format!("PUT 3 - x\n{body}STOP\n"),
        "PUT 3 - x\nSTOP\n".to_owned(),
        "PUT - - x\nSTOP\n".to_owned(),
    ];
    let expected = [
        "bad-name",
        "not-found",
        "not-a-directory",
        "not-a-file",
        "bad-request",
        "bad-request",
        "bad-request",
        "bad-request",
        "bad-name",
        "bad-name",
        "incomplete",
        "checksum",
        "stopped",
        "stopped",
        "stopped",
    ];
    let server = server();
    std::fs::create_dir(server.path("d")).unwrap();
    // One at a time, then all of them in one write.
    let mut raw = Raw::greeted(server.address());
    for (sent, code) in cases.iter().zip(expected) {
        raw.send(format!("{sent}STAT a\n"));
        raw.answer("PUT").expect_failure(code);
        assert_eq!(gist(&raw.line()), "FILE 5", "behind {sent:?}");
    }
    let all: String = cases.iter().map(|sent| format!("{sent}STAT a\n")).collect();
    raw.send(all);
    for code in expected {
        raw.answer("PUT").expect_failure(code);
        assert_eq!(gist(&raw.line()), "FILE 5");
    }
    assert_eq!(server.visible(), ["a", "d"]);
}

#[test]
fn the_discarded_body_of_a_refused_put_must_still_be_a_body() {
    let server = Options::new().arg("--read-only").start();
    server.write("a", b"hello");
    let lines = dialogue(&server, b"PUT 1 - b\nDATA 1\nbGET a\nSTAT a\n", false);
    assert_eq!(lines.first().map(String::as_str), Some("FAIL read-only"));
    assert!(lines.iter().all(|line| line.starts_with("FAIL ")), "{lines:?}");
}

#[test]
fn a_failure_repeats_no_control_byte_of_the_client() {
    let server = server();
    let mut raw = Raw::greeted(server.address());
    for sent in [&b"\x1b[2Jx\n"[..], b"GET a\x1b[2J\n", b"\xff\xfe\n", b"FROB \x07\n", b"RESUME \x1b 1 - x\n"] {
        raw.send(sent);
        let line = raw.line();
        assert!(line.starts_with("FAIL ") && !line.chars().any(char::is_control), "{line:?}");
    }
}

#[test]
fn bytes_that_come_alone_mean_the_same() {
    let server = server();
    let mut raw = Raw::greeted(server.address());
    raw.send_bytewise("PUT 5 - b\r\nDATA 3\r\nhelDATA 2\r\nloEND 3610a686\r\nGET b\r\nSTAT b\r\nclose\r\n");
    let said = String::from_utf8(raw.to_eof()).unwrap();
    let gist: Vec<String> = said.lines().map(gist).collect();
    assert_eq!(gist, ["SAVED 5 3610a686", "FILE 5", "DATA 5", "helloEND 3610a686", "FILE 5", "BYE"]);
}

/// The root is removed: the server says so, and lives on.
#[test]
fn a_root_that_was_removed() {
    let server = server();
    std::fs::remove_dir_all(server.path("")).expect("it can be removed");
    let sent = b"PUT 5 - b\nDATA 5\nhelloEND -\nGET a\nLIST\nMKDIR d\nRESUME r 5 - b\n";
    let said = dialogue(&server, sent, true);
    let codes: Vec<_> = said.iter().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        codes,
        // An empty listing would have whoever mirrors it delete all.
        ["FAIL io", "FAIL not-found", "FAIL io", "FAIL not-found", "FAIL io", "BYE"]
    );
}

/// Nothing was sent to it or read from it meanwhile, so nothing but the socket itself could tell.
#[test]
fn a_sum_ends_when_its_client_is_gone() {
    let server = Options::new().arg("--max-clients").arg("1").start();
    // Holes, but a minute's work and more.
    File::create(server.path("large")).unwrap().set_len(8 << 40).unwrap();
    let idle = server.figures();
    let mut client = Frail::greeted(server.address()).unwrap();
    client.send("MKDIR d\nSUM large\n").unwrap();
    assert_eq!(client.line().unwrap(), "DONE");
    client.reset().unwrap();
    eventually("its place is free", || {
        let mut next = Frail::connect(server.address()).ok()?;
        next.line().ok().filter(|line| line.starts_with("FERRY "))
    });
    server.settles("what it had open is closed", |figures| figures.descriptors <= idle.descriptors);
}
