//! Users and their rights.

use std::{fs, path::PathBuf};

use ferry_e2e::{Options, Server, Signal, eventually};

use super::client::Http;

/// Alice's password is `secret`, Bob's token `00112233445566778899aabbccddeeff`.
const USERS: &str = "
[anonymous]
rights = { \"open\" = \"r\" }

[users.alice]
tokens = [\"sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b\"]
rights = { \"\" = \"rw\", \"hidden\" = \"none\" }

[users.bob]
tokens = [\"sha256:5947d7c33d783f94b3b4c1a96ebc8991ed28f1b069b71e03376cba8caa98a720\"]
rights = { \"inbox\" = \"drop\", \"shown\" = \"list\" }
";

const ALICE: &str = "Authorization: Basic YWxpY2U6c2VjcmV0\r\n";
const WRONG: &str = "Authorization: Basic YWxpY2U6d3Jvbmc=\r\n";

fn start(address: &str, more: &[&str]) -> (Server, tempfile::TempDir) {
    let place = tempfile::tempdir().unwrap();
    let users = place.path().join("users.toml");
    fs::write(&users, USERS).unwrap();
    let options = Options::new().arg("--http").arg(address).arg("--users").arg(users);
    let options = more.iter().fold(options, |options, argument| options.arg(*argument));
    (options.start(), place)
}

fn users_of(place: &tempfile::TempDir) -> PathBuf {
    place.path().join("users.toml")
}

#[test]
fn each_request_says_by_itself_whose_it_is() {
    let (server, _place) = start("127.0.0.1:0", &["--plain"]);
    server.write("open/a", b"for all");
    server.write("closed", b"for some");
    server.write("hidden", b"for nobody");
    let mut http = Http::plain(server.http().1);
    assert_eq!(http.get("/open/a").status, 200);
    for target in ["/closed", "/none", "/hidden"] {
        let reply = http.get(target);
        assert_eq!(reply.status, 401, "{target}");
        assert!(reply.field("WWW-Authenticate").starts_with("Basic realm="));
    }
    for _ in 0..3 {
        assert_eq!(http.ask("GET", "/closed", ALICE).text(), "for some");
    }
    assert_eq!(http.get("/closed").status, 401, "the next request is nobody's again");
    assert_eq!(http.ask("GET", "/hidden", ALICE).status, 403);
    assert_eq!(http.ask("GET", "/hidden/none", ALICE).status, 403, "nothing tells whether it is there");
    assert!(!http.ask("GET", "/?json", ALICE).text().contains("hidden"));
    assert_eq!(http.put("/new", b"x", ALICE).status, 201);
    assert_eq!(http.put("/new", b"x", "").status, 401);
    assert_eq!(http.ask("GET", "/?login=open/", ALICE).field("Location"), "/open/");
    assert_eq!(http.ask("GET", "/?login=//elsewhere/", ALICE).field("Location"), "/elsewhere/");
    assert_eq!(http.get("/?login=open/").status, 401);
    assert_eq!(server.log().matches("LOGIN alice: ").count(), 1, "one check for one connection: {}", server.log());
}

#[test]
fn a_wrong_secret_is_slow_and_the_third_ends_the_connection() {
    let (server, _place) = start("127.0.0.1:0", &["--plain"]);
    let mut http = Http::plain(server.http().1);
    for closes in ["", "", "close"] {
        let reply = http.ask("GET", "/closed", WRONG);
        assert_eq!((reply.status, reply.field("Connection")), (401, closes));
    }
    assert_eq!(http.hear_end(), b"");
    eventually("each is logged", || (server.log().matches("LOGIN alice: ").count() == 3).then_some(()));
    let mut http = Http::plain(server.http().1);
    assert_eq!(http.ask("GET", "/none", "Authorization: Bearer x\r\n").status, 401);
}

#[test]
fn a_secret_that_is_changed_holds_no_more() {
    let (server, place) = start("127.0.0.1:0", &["--plain"]);
    server.write("closed", b"x");
    let mut http = Http::plain(server.http().1);
    assert_eq!(http.ask("GET", "/closed", ALICE).status, 200);
    let changed = USERS.replace("2bb80d53", "00000000");
    fs::write(users_of(&place), changed).unwrap();
    server.signal(Signal::HUP);
    eventually("it is read again", || server.log().contains("reloaded").then_some(()));
    assert_eq!(http.ask("GET", "/closed", ALICE).status, 401);
}

#[test]
fn no_secret_is_taken_in_the_open() {
    let (server, _place) = start("0.0.0.0:0", &["--plain"]);
    // Reached from elsewhere than this machine it can't be here: another address of it is as far as a test gets.
    let Some(own) = own_address() else { return eprintln!("skipped: this machine has one address alone") };
    let address = (own, server.http().1.port()).into();
    let mut http = Http::plain(address);
    let reply = http.get("/closed");
    assert_eq!((reply.status, reply.field("WWW-Authenticate")), (403, ""), "nobody is asked for a secret");
    let reply = http.ask("GET", "/closed", ALICE);
    assert_eq!(reply.status, 403);
    assert!(reply.text().contains("TLS"), "{}", reply.text());
}

/// An address of this machine that is not loopback, if it has one: the one that it would send from.
fn own_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

#[test]
fn rights_are_those_of_ferrys_own_protocol() {
    const BOB: &str = "Authorization: Basic Ym9iOjAwMTEyMjMzNDQ1NTY2Nzc4ODk5YWFiYmNjZGRlZWZm\r\n";
    let (server, _place) = start("127.0.0.1:0", &["--plain"]);
    fs::create_dir(server.path("inbox")).unwrap();
    server.write("shown/a", b"x");
    let mut http = Http::plain(server.http().1);
    assert_eq!(http.put("/inbox/a", b"x", BOB).status, 201);
    assert_eq!(http.put("/inbox/a", b"y", BOB).status, 403, "it is there, and nothing is replaced");
    assert_eq!(http.put("/inbox/a", b"y", &format!("If-None-Match: *\r\n{BOB}")).status, 412);
    assert_eq!(http.ask("GET", "/inbox/a", BOB).status, 403);
    assert_eq!(http.ask("DELETE", "/inbox/a", BOB).status, 403);
    let page = http.ask("GET", "/inbox/", BOB);
    assert!(page.status == 200 && !page.text().contains("inbox/a"), "a page to add by: {}", page.text());
    assert_eq!(http.ask("GET", "/inbox/?json", BOB).status, 403);
    assert_eq!(http.ask("GET", "/shown", BOB).status, 301, "a directory that may be listed");
    assert!(http.ask("GET", "/shown/?json", BOB).text().contains("\"a\""));
    assert_eq!(http.ask("GET", "/shown/a", BOB).status, 403);
    assert_eq!(server.read("inbox/a"), b"x");
}
