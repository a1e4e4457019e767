//! Addresses, TLS, the drain, take-overs and sockets that are passed.

use std::{fs, net::SocketAddr, process::Command};

use ferry_e2e::{Options, Signal, eventually, ferryd, secure};

use super::{client::Http, ferry, plain, serving};

#[test]
fn tls_is_spoken_by_the_rule_of_each_address() {
    // Ferry's own address is loopback and plain, that of HTTP is not.
    let server = Options::new().arg("--http").arg("0.0.0.0:0").arg("--writable").start();
    if secure::is_asked_for() {
        return eprintln!("skipped: --tls is told");
    }
    let (url, address) = server.http();
    assert!(url.starts_with("https://"), "{url}");
    assert!(!server.first_line().contains("TLS"));
    server.write("a", b"a");
    let here = SocketAddr::from(([127, 0, 0, 1], address.port()));
    if let Ok(output) = Command::new("curl").args(["-sSk", &format!("https://{here}/a")]).output() {
        assert_eq!(output.stdout, b"a", "{}", String::from_utf8_lossy(&output.stderr));
    } else {
        eprintln!("skipped in part: no curl");
    }
    assert_eq!(ferry(server.address()).ask("GET a").verified(), b"a");
    // A plain request is told so, in plain words.
    let mut http = Http::plain(here);
    let reply = http.get("/a");
    assert_eq!((reply.status, reply.field("Connection")), (400, "close"));
    assert!(reply.text().contains("https://"), "{}", reply.text());
    assert_eq!(http.hear_end(), b"");
}

#[test]
fn a_plain_request_at_a_tls_port_is_told_so_in_plain_words() {
    let server = Options::new().arg("--tls").arg("--http").arg("127.0.0.1:0").start();
    server.write("a", b"a");
    for (address, words) in [(server.address(), "and no plain HTTP"), (server.http().1, "https://")] {
        let mut http = Http::plain(address);
        let reply = http.put("/a", &[b'b'; 100_000], "");
        assert_eq!((reply.status, reply.field("Connection")), (400, "close"));
        assert!(reply.text().contains("this address speaks TLS only") && reply.text().contains(words), "{reply:?}");
        assert_eq!(http.hear_end(), b"");
    }
    assert_eq!(server.read("a"), b"a");
}

#[test]
fn curl_speaks_http_at_ferrys_own_port_by_tls() {
    let server = Options::new().arg("--tls").arg("--http").arg("127.0.0.1:0").start();
    server.write("a", b"by ALPN");
    let ask = |arguments: &[&str]| Command::new("curl").args(["-sSk"]).args(arguments).output();
    let (own, http) = (format!("https://{}/a", server.address()), format!("{}/a", server.http().0));
    let output = match ask(&["--http1.1", &own]) {
        Ok(output) => output,
        Err(error) => return eprintln!("skipped: curl: {error}"),
    };
    assert_eq!(String::from_utf8_lossy(&output.stdout), "by ALPN", "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(ask(&[&http]).unwrap().stdout, b"by ALPN");
    assert_eq!(ask(&["--no-alpn", &http]).unwrap().stdout, b"by ALPN");
}

#[test]
fn without_the_option_ferrys_port_speaks_no_http() {
    let server = Options::new().arg("--tls").start();
    let output = Command::new("curl").args(["-sSk", "--http1.1", &format!("https://{}/", server.address())]).output();
    match output {
        Ok(output) => assert!(!output.status.success(), "{output:?}"),
        Err(error) => eprintln!("skipped: curl: {error}"),
    }
}

#[test]
fn a_drain_answers_what_was_asked_and_closes() {
    let (server, mut idle) = serving();
    server.write("a", b"a");
    assert_eq!(idle.get("/a").status, 200);
    let mut busy = Http::plain(server.http().1);
    busy.say("PUT /b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhel");
    eventually("it is received", || {
        String::from_utf8_lossy(&server.command(&["status"]).stdout).contains("upload").then_some(())
    });
    server.signal(Signal::TERM);
    assert_eq!(idle.hear_all(), b"", "who is idle is told nothing");
    busy.say("lo");
    assert_eq!(busy.hear("PUT").status, 201);
    assert_eq!(busy.hear_end(), b"");
    assert!(server.terminate().success());
}

#[test]
fn a_take_over_hands_both_sockets_on() {
    let place = tempfile::tempdir().unwrap();
    let (root, control) = (place.path().join("root"), place.path().join("s"));
    fs::create_dir(&root).unwrap();
    let options = |address: &str, http: &str| {
        Options::new()
            .arg("--plain")
            .address(address)
            .arg("--http")
            .arg(http)
            .root(&root)
            .arg("--control")
            .arg(&control)
    };
    let first = options("127.0.0.1:0", "127.0.0.1:0").start();
    let (address, http) = (first.address().to_string(), first.http().1.to_string());
    let mut before = Http::plain(first.http().1);
    before.say("PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhel");
    let second = options(&address, &http).arg("--take-over").start();
    assert_eq!(second.http().1.to_string(), http);
    before.say("lo");
    assert_eq!(before.hear("PUT").status, 201);
    eventually("the first has ended", || Http::plain(second.http().1).get("/a").text().eq("hello").then_some(()));
    // One that serves no HTTP leaves that socket.
    let third = Options::new()
        .arg("--plain")
        .address(&address)
        .root(&root)
        .arg("--control")
        .arg(&control)
        .arg("--take-over")
        .start();
    assert_eq!(ferry(third.address()).ask("GET a").verified(), b"hello");
    drop((first, second));
}

#[test]
fn the_check_tells_where_http_would_be() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("ferryd.toml");
    fs::write(&file, "listen = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\nroot = \"r\"\n").unwrap();
    let output = Command::new(ferryd()).arg("check").arg("--config").arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("HTTP can be served at http://127.0.0.1:"), "{said}");
    drop(plain());
}

#[test]
fn figures_and_the_log_tell_the_protocol_and_the_status() {
    let place = tempfile::tempdir().unwrap();
    let log = place.path().join("transfers");
    let options = plain().arg("--transfer-log").arg(&log).arg("--transfer-log-format").arg("json");
    let server = options.start();
    server.write("a", b"hello");
    let mut http = Http::plain(server.http().1);
    assert_eq!(http.ask("GET", "/a", "Range: bytes=1-2\r\n").status, 206);
    assert_eq!(http.get("/none").status, 404);
    assert_eq!(ferry(server.address()).ask("GET a").verified(), b"hello");
    let lines = eventually("three lines", || {
        let lines = fs::read_to_string(&log).unwrap_or_default();
        (lines.lines().count() == 3).then_some(lines)
    });
    assert!(
        lines.contains("\"event\":\"GET\"") && lines.contains("\"status\":206}") && lines.contains("\"status\":404}"),
        "{lines}"
    );
    assert_eq!(lines.matches("\"status\"").count(), 2, "{lines}");
    let status = server.command(&["status", "--json"]);
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    let transfers = "\"protocol_transfers_total\":{\"ferry\":{\"ok\":1,\"failed\":0},\"http\":{\"ok\":1,\"failed\":1}}";
    assert!(
        status.contains(transfers) && status.contains("\"protocol_transferred_bytes_total\":{\"ferry\":5,\"http\":2}"),
        "{status}"
    );
}
