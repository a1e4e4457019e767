//! Programs that everybody has. Where one is missing its test says so and skips itself.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

use ferry_e2e::{Server, random_bytes};

use super::plain;

fn run(program: &str, arguments: &[&str]) -> Option<Output> {
    match Command::new(program).args(arguments).stdin(Stdio::null()).output() {
        Ok(output) => Some(output),
        Err(error) => {
            eprintln!("skipped: {program}: {error}");
            None
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A server, its URL, and a directory for what is fetched.
fn served() -> (Server, String, tempfile::TempDir) {
    let server = plain().start();
    let url = server.http().0;
    (server, url, tempfile::tempdir().unwrap())
}

#[test]
fn curl_gets_and_puts_and_goes_on_where_it_was_cut() {
    let (server, url, place) = served();
    let bytes = random_bytes(8, 3_000_000);
    server.write("a b.bin", &bytes);
    let file = |name: &str| place.path().join(name).to_string_lossy().into_owned();
    let Some(output) = run("curl", &["-sS", "-f", "-o", &file("whole"), &format!("{url}/a%20b.bin")]) else { return };
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(std::fs::read(file("whole")).unwrap() == bytes);
    std::fs::write(file("part"), &bytes[..1_000_000]).unwrap();
    let output = run("curl", &["-sS", "-f", "-C", "-", "-o", &file("part"), &format!("{url}/a%20b.bin")]).unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(std::fs::read(file("part")).unwrap() == bytes);
    let output = run("curl", &["-sS", "-f", "-T", &file("whole"), &format!("{url}/up.bin")]).unwrap();
    assert!(output.status.success() && server.read("up.bin") == bytes, "{}", text(&output.stderr));
    let output = run(
        "curl",
        &["-sS", "-T", &file("whole"), "-H", "If-None-Match: *", "-w", "%{http_code}", &format!("{url}/up.bin")],
    )
    .unwrap();
    assert!(text(&output.stdout).ends_with("412"), "{}", text(&output.stdout));
    let output = run(
        "curl",
        &[
            "-sS",
            "-f",
            "-X",
            "MKCOL",
            &format!("{url}/d/"),
            "--next",
            "-sS",
            "-f",
            "-X",
            "DELETE",
            &format!("{url}/up.bin"),
        ],
    )
    .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(server.visible(), ["a b.bin", "d"]);
    let output = run("curl", &["-sSL", "-f", &format!("{url}/d")]).unwrap();
    assert!(text(&output.stdout).contains("<html"), "a redirect to the page");
}

#[test]
fn wget_mirrors_a_tree() {
    let (server, url, place) = served();
    server.write("t/one.txt", b"1");
    server.write("t/sub/two.txt", b"2");
    let at = place.path().to_string_lossy().into_owned();
    let Some(output) = run("wget", &["-q", "-r", "-np", "-nH", "-e", "robots=off", "-P", &at, &format!("{url}/t/")])
    else {
        return;
    };
    let read = |name: &str| std::fs::read(Path::new(&at).join(name));
    assert!(read("t/one.txt").is_ok_and(|bytes| bytes == b"1"), "{}", text(&output.stderr));
    assert!(read("t/sub/two.txt").is_ok_and(|bytes| bytes == b"2"), "{}", text(&output.stderr));
}

#[test]
fn pythons_client_keeps_its_connection() {
    const SCRIPT: &str = r#"
import http.client, sys
c = http.client.HTTPConnection(sys.argv[1])
def ask(method, target, body=None, headers={}):
    c.request(method, target, body, headers)
    r = c.getresponse()
    return r.status, r.read(), r
socket = None
for i in range(50):
    status, _, _ = ask("PUT", f"/f{i}", f"content {i}".encode(), {"If-None-Match": "*"})
    assert status == 201, status
    socket = socket or c.sock
    assert c.sock is socket, "the connection was closed"
for i in range(50):
    assert ask("GET", f"/f{i}")[:2] == (200, f"content {i}".encode())
c.request("PUT", "/chunks", iter([b"a" * 100000, b"b" * 100000]), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
r = c.getresponse(); r.read()
assert r.status == 201, r.status
status, body, r = ask("GET", "/chunks", headers={"Range": "bytes=99999-100000"})
assert (status, body) == (206, b"ab"), (status, body)
assert ask("GET", "/chunks", headers={"If-None-Match": r.headers["ETag"]})[0] == 304
assert c.sock is socket, "the connection was closed"
print("ok")
"#;
    let (_server, url, _) = served();
    let Some(output) = run("python3", &["-c", SCRIPT, url.trim_start_matches("http://")]) else { return };
    assert_eq!(text(&output.stdout), "ok\n", "{}", text(&output.stderr));
}
