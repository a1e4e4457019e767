//! Resumable uploads by tus 1.0: requests byte by byte, servers that are killed, and the clients that people have.

use std::{
    env, fs,
    path::Path,
    process::{Command, Stdio},
};

use ferry_e2e::{Options, Signal, eventually, random_bytes};

use super::{
    client::{Http, Reply},
    plain, serving,
};

const TUS: &str = "Tus-Resumable: 1.0.0\r\n";

/// Says a request of tus with a body, and returns the answer.
fn ask(http: &mut Http, method: &str, address: &str, fields: &str, body: &[u8]) -> Reply {
    begin(http, method, address, fields, body.len());
    http.say(body);
    http.hear(method)
}

/// Says the head of a request with a body of so many bytes.
fn begin(http: &mut Http, method: &str, address: &str, fields: &str, length: usize) {
    let piece = "Content-Type: application/offset+octet-stream\r\n";
    http.say(format!(
        "{method} {address} HTTP/1.1\r\nHost: test\r\n{TUS}{piece}Content-Length: {length}\r\n{fields}\r\n"
    ));
}

/// Makes an upload, and returns its address.
fn create(http: &mut Http, target: &str, length: usize, fields: &str) -> String {
    let reply = http.ask("POST", target, &format!("{TUS}Upload-Length: {length}\r\n{fields}"));
    assert_eq!(reply.status, 201, "{}", reply.text());
    reply.field("Location").to_owned()
}

fn patch(http: &mut Http, address: &str, offset: usize, body: &[u8], fields: &str) -> Reply {
    ask(http, "PATCH", address, &format!("Upload-Offset: {offset}\r\n{fields}"), body)
}

/// Returns how many bytes the server has of an upload.
fn offset(http: &mut Http, address: &str) -> usize {
    let reply = http.ask("HEAD", address, TUS);
    assert_eq!((reply.status, reply.field("Cache-Control")), (200, "no-store"));
    reply.field("Upload-Offset").parse().unwrap()
}

#[test]
fn an_upload_in_pieces_becomes_a_file() {
    let (server, mut http) = serving();
    fs::create_dir(server.path("dir")).unwrap();
    let metadata = "Upload-Metadata: filename Z3LDvG4udHh0,mtime MTcwMDAwMDAwMC41\r\n";
    let address = create(&mut http, "/dir/?tus", 9, metadata);
    assert!(address.starts_with("/dir/gr%C3%BCn.txt?tus="), "{address}");
    let state = http.ask("HEAD", &address, TUS);
    assert_eq!((state.field("Upload-Offset"), state.field("Upload-Length")), ("0", "9"));
    assert_eq!(state.field("Upload-Metadata"), "filename Z3LDvG4udHh0,mtime MTcwMDAwMDAwMC41");
    let reply = patch(&mut http, &address, 0, b"12", "");
    assert!(reply.field("Upload-Expires").ends_with(" GMT"));
    assert_eq!((reply.status, reply.field("Upload-Offset"), reply.field("Tus-Resumable")), (204, "2", "1.0.0"));
    // The CRC of "3456", and the SHA-1 of "7": each of its own piece.
    assert_eq!(patch(&mut http, &address, 2, b"3456", "Upload-Checksum: crc32 jTOSMA==\r\n").status, 204);
    assert!(server.visible().iter().all(|name| name == "dir"), "nothing is seen before the end");
    let sha1 = "Upload-Checksum: sha1 kCujzaGIOAFZS24bRSeQzFOUj9o=\r\n";
    assert_eq!(patch(&mut http, &address, 6, b"7", sha1).field("Upload-Offset"), "7");
    let last = patch(&mut http, &address, 7, b"89", "");
    assert_eq!((last.status, last.field("Upload-Offset"), last.field("Upload-Expires")), (204, "9", ""));
    assert_eq!(last.field("Repr-Digest"), "crc32=:y/Q5Jg==:");
    assert_eq!(server.read("dir/grün.txt"), b"123456789");
    let file = http.get("/dir/gr%C3%BCn.txt");
    assert_eq!(file.field("ETag"), last.field("ETag"));
    assert_eq!(file.field("Last-Modified"), "Tue, 14 Nov 2023 22:13:20 GMT");
    // The last answer may have been lost.
    let state = http.ask("HEAD", &address, TUS);
    assert_eq!((state.field("Upload-Offset"), state.field("ETag")), ("9", last.field("ETag")));
    assert_eq!(patch(&mut http, &address, 9, b"", "").field("ETag"), last.field("ETag"));
    assert_eq!(patch(&mut http, &address, 7, b"89", "").status, 409);
    assert_eq!(http.ask("DELETE", &address, TUS).status, 410);
}

#[test]
fn a_creation_may_bring_the_first_piece() {
    let (server, mut http) = serving();
    let whole = ask(&mut http, "POST", "/a?tus", "Upload-Length: 5\r\nUpload-Checksum: crc32 NhCmhg==\r\n", b"hello");
    assert_eq!((whole.status, whole.field("Upload-Offset")), (201, "5"));
    assert_eq!((whole.field("Repr-Digest"), server.read("a").as_slice()), ("crc32=:NhCmhg==:", &b"hello"[..]));
    let half = ask(&mut http, "POST", "/b?tus", "Upload-Length: 5\r\n", b"he");
    assert_eq!((half.status, half.field("Upload-Offset")), (201, "2"));
    let address = half.field("Location").to_owned();
    assert_eq!(patch(&mut http, &address, 2, b"llo", "").status, 204);
    assert_eq!(server.read("b"), b"hello");
    let empty = http.ask("POST", "/empty?tus", &format!("{TUS}Upload-Length: 0\r\n"));
    assert_eq!((empty.status, empty.field("Repr-Digest"), server.read("empty").len()), (201, "crc32=:AAAAAA==:", 0));
    let overridden = create(&mut http, "/c?tus", 1, "");
    let fields = "Upload-Offset: 0\r\nX-HTTP-Method-Override: PATCH\r\n";
    assert_eq!(ask(&mut http, "POST", &overridden, fields, b"x").status, 204);
    assert_eq!(server.read("c"), b"x");
}

#[test]
fn what_the_server_can_do_is_told() {
    let (_server, mut http) = serving();
    let reply = http.ask("OPTIONS", "/?tus", "");
    assert_eq!((reply.status, reply.field("Tus-Version")), (204, "1.0.0"));
    let extensions = "creation,creation-with-upload,termination,expiration,checksum";
    assert_eq!((reply.field("Tus-Extension"), reply.field("Tus-Checksum-Algorithm")), (extensions, "crc32,sha1"));
}

#[test]
fn what_can_not_be_is_told_by_its_status() {
    let (server, mut http) = serving();
    server.write("d/f", b"x");
    let address = create(&mut http, "/up?tus", 5, "");
    let other_size = address.replace("length=5", "length=6");
    let other_name = address.replace("/up?", "/other?");
    let never = "/up?tus=00000000000000000000000000000000&length=5";
    let at =
        |offset: &str| format!("{TUS}Content-Type: application/offset+octet-stream\r\nUpload-Offset: {offset}\r\n");
    let made = |fields: &str| format!("{TUS}Upload-Length: 5\r\n{fields}");
    for (method, target, fields, status) in [
        ("POST", "/x?tus", "Upload-Length: 5\r\n".to_owned(), 412),
        ("POST", "/x?tus", "Tus-Resumable: 2.0.0\r\nUpload-Length: 5\r\n".into(), 412),
        ("POST", "/x?tus", TUS.into(), 400),
        ("POST", "/?tus", made(""), 400),
        ("POST", "/?tus", made("Upload-Metadata: filename Li4vYQ==\r\n"), 400),
        ("POST", "/?tus", made("Upload-Metadata: filename LmZlcnJ5L2E=\r\n"), 403),
        ("POST", "/?tus", made("Upload-Metadata: filename YQ\r\n"), 400),
        ("POST", "/x?tus", made("Upload-Metadata: mtime YQ==\r\n"), 400),
        ("POST", "/none/x?tus", made(""), 404),
        ("POST", "/d?tus", made(""), 403),
        ("POST", "/d/f/g?tus", made(""), 404),
        ("POST", "/x?tus", made("Upload-Concat: partial\r\n"), 400),
        ("POST", "/x?tus", made("Sec-Fetch-Site: cross-site\r\n"), 403),
        ("POST", "/x?tus", made("Content-Length: 1\r\n"), 415),
        ("POST", "/d/f?tus", made("If-None-Match: *\r\n"), 412),
        ("POST", &address, made(""), 405),
        ("PUT", &address, TUS.into(), 405),
        ("PATCH", &address, at("1"), 409),
        ("PATCH", &address, format!("{TUS}Upload-Offset: 0\r\n"), 415),
        ("PATCH", &address, format!("{}Content-Length: 6\r\n", at("0")), 413),
        ("PATCH", &address, format!("{}Upload-Checksum: md5 AAAA\r\n", at("0")), 400),
        ("PATCH", "/up", at("0"), 405),
        ("PATCH", "/up?tus", at("0"), 404),
        ("PATCH", "/up?tus=x", at("0"), 404),
        ("PATCH", &other_size, at("0"), 404),
        ("PATCH", &other_name, at("0"), 404),
        ("HEAD", "/up?tus=.&length=5", TUS.into(), 404),
        ("HEAD", never, TUS.into(), 404),
        ("PATCH", never, at("0"), 404),
        ("DELETE", never, TUS.into(), 404),
        ("HEAD", &other_name, TUS.into(), 404),
        ("DELETE", &other_name, TUS.into(), 404),
        ("DELETE", &address, "".into(), 412),
    ] {
        http.say(format!("{method} {target} HTTP/1.1\r\nHost: test\r\n{fields}\r\n"));
        if let Some((_, length)) = fields.split_once("Content-Length: ") {
            http.say(vec![b'x'; length.trim_end().parse().unwrap()]);
        }
        let reply = http.hear(method);
        assert_eq!(reply.status, status, "{method} {target} {fields}: {}", reply.text());
        assert_eq!(reply.field("Connection"), "", "{method} {target} {fields}: the connection goes on");
        if target.contains("?tus") {
            assert_eq!(reply.field("Tus-Resumable"), "1.0.0", "{method} {target}");
        }
    }
    assert_eq!(patch(&mut http, &address, 3, b"lo", "").field("Upload-Offset"), "0", "409 says where it stands");
    assert_eq!(patch(&mut http, &address, 0, b"hello", "").status, 204, "nothing of all that has done it harm");
    assert_eq!((server.read("up"), server.read("d/f")), (b"hello".to_vec(), b"x".to_vec()));
}

#[test]
fn a_piece_that_is_cut_keeps_what_has_come_and_one_with_a_checksum_nothing() {
    let (server, mut http) = serving();
    let bytes = random_bytes(31, 3_000_000);
    let address = create(&mut http, "/a?tus", bytes.len(), "");
    assert_eq!(patch(&mut http, &address, 0, &bytes[..100_000], "").status, 204);
    for (fields, kept) in [("Upload-Checksum: crc32 AAAAAA==\r\n", 100_000), ("", 2_100_000)] {
        let mut cut = Http::plain(server.http().1);
        begin(&mut cut, "PATCH", &address, &format!("Upload-Offset: 100000\r\n{fields}"), 2_900_000);
        cut.say(&bytes[100_000..2_100_000]);
        let _ = cut.socket().stream().shutdown(std::net::Shutdown::Write);
        assert_eq!(cut.hear("PATCH").status, 400);
        assert_eq!(offset(&mut http, &address), kept, "{fields}");
    }
    // The right bytes under a wrong checksum.
    let wrong = patch(&mut http, &address, 2_100_000, &bytes[2_100_000..], "Upload-Checksum: crc32 AAAAAA==\r\n");
    assert_eq!((wrong.status, wrong.field("Upload-Offset")), (460, "2100000"));
    assert_eq!(patch(&mut http, &address, 2_100_000, &bytes[2_100_000..], "").status, 204);
    assert!(server.read("a") == bytes);
}

#[test]
fn the_newest_piece_has_the_upload_and_who_looks_stops_none() {
    let (server, mut http) = serving();
    let address = create(&mut http, "/a?tus", 10, "");
    assert_eq!(patch(&mut http, &address, 0, b"he", "").status, 204);
    let mut older = Http::plain(server.http().1);
    begin(&mut older, "PATCH", &address, "Upload-Offset: 2\r\nExpect: 100-continue\r\n", 8);
    assert_eq!(older.hear("PATCH").status, 100);
    older.say(b"ll");
    for _ in 0..20 {
        assert_eq!(offset(&mut http, &address), 2, "what is safe is told, not what has come");
    }
    older.say(b"o");
    // A piece takes it over, wherever it begins: it is told where that must be.
    let newer = patch(&mut http, &address, 2, b"lloworld", "");
    let reply = older.hear("PATCH");
    assert_eq!(reply.status, 409, "{}", reply.text());
    let kept: usize = match newer.status {
        // As many as had come by then.
        409 => newer.field("Upload-Offset").parse().unwrap(),
        _ => 10,
    };
    assert!((2..=10).contains(&kept), "{newer:?}");
    if kept < 10 {
        assert_eq!(offset(&mut http, &address), kept);
        assert_eq!(patch(&mut http, &address, kept, &b"helloworld"[kept..], "").status, 204);
    }
    assert_eq!(server.read("a"), b"helloworld");
}

#[test]
fn a_name_that_must_be_free_is_looked_at_when_the_file_gets_it() {
    let (server, mut http) = serving();
    let address = create(&mut http, "/a?tus", 5, "If-None-Match: *\r\n");
    server.write("a", b"somebody else's");
    assert_eq!(patch(&mut http, &address, 0, b"hello", "").status, 412);
    assert_eq!(server.read("a"), b"somebody else's");
    // An offset of all its bytes would tell a client that it is done.
    assert_eq!(http.ask("HEAD", &address, TUS).status, 412);
    fs::remove_file(server.path("a")).unwrap();
    assert_eq!(offset(&mut http, &address), 5, "it is whole, and has its name by now");
    assert_eq!(server.read("a"), b"hello");
    assert_eq!(patch(&mut http, &address, 5, b"", "").status, 204);
    assert_eq!(server.read("a"), b"hello");
}

#[test]
fn nothing_is_left_of_an_upload_that_is_terminated() {
    let (server, mut http) = serving();
    let address = create(&mut http, "/a?tus", 5_000_000, "");
    assert_eq!(patch(&mut http, &address, 0, &random_bytes(32, 2_000_000), "").status, 204);
    assert_eq!(http.ask("DELETE", &address, TUS).status, 204);
    let left = fs::read_dir(server.path(".ferry/kept")).unwrap().flatten();
    let left: u64 = left.map(|entry| entry.metadata().unwrap().len()).filter(|bytes| *bytes > 100_000).sum();
    assert_eq!(left, 0, "bytes of it are still there");
    for method in ["HEAD", "DELETE"] {
        assert_eq!(http.ask(method, &address, TUS).status, 404);
    }
    assert_eq!(patch(&mut http, &address, 0, b"x", "").status, 404);
}

#[test]
fn limits_hold_for_tus_as_well() {
    let server = plain().arg("--max-upload").arg("1000").start();
    let mut http = Http::plain(server.http().1);
    assert_eq!(http.ask("OPTIONS", "/?tus", "").field("Tus-Max-Size"), "1000");
    assert_eq!(http.ask("POST", "/a?tus", &format!("{TUS}Upload-Length: 1001\r\n")).status, 413);
    let server = plain().arg("--read-only").start();
    let mut http = Http::plain(server.http().1);
    assert_eq!(http.ask("POST", "/a?tus", &format!("{TUS}Upload-Length: 1\r\n")).status, 403);
    let server = plain().arg("--max-staged").arg("1MiB").start();
    let mut http = Http::plain(server.http().1);
    let address = create(&mut http, "/a?tus", 3_000_000, "");
    assert_eq!(patch(&mut http, &address, 0, &random_bytes(33, 3_000_000), "").status, 507);
    assert!(server.visible().is_empty());
}

/// An offset that was answered is on the disk: a server that is killed, and another one in its place, lose none of it.
#[test]
fn an_upload_goes_on_after_a_kill() {
    let bytes = random_bytes(34, 4_000_000);
    let root = tempfile::tempdir().unwrap();
    let mut address = String::new();
    let mut answered = 0;
    for round in 0..4 {
        let server = plain().root(root.path()).start();
        let mut http = Http::plain(server.http().1);
        if round == 0 {
            address = create(&mut http, "/a?tus", bytes.len(), "");
        }
        let kept = offset(&mut http, &address);
        assert!(kept >= answered, "{kept} of {answered} bytes that were answered");
        if round == 3 {
            eventually("the killed one has let go", || {
                (patch(&mut http, &address, kept, &bytes[kept..], "").status == 204).then_some(())
            });
            assert!(server.read("a") == bytes);
            return;
        }
        answered = kept + 700_001;
        eventually("the killed one has let go", || {
            let reply = patch(&mut http, &address, kept, &bytes[kept..answered], "");
            assert!([204, 503].contains(&reply.status), "{}", reply.text());
            (reply.status == 204).then_some(())
        });
        // In the middle of the next piece.
        begin(&mut http, "PATCH", &address, &format!("Upload-Offset: {answered}\r\n"), bytes.len() - answered);
        http.say(&bytes[answered..answered + 600_000]);
        server.signal(Signal::KILL);
    }
}

#[test]
fn nobody_has_the_upload_of_another_user() {
    const USERS: &str = "
[users.alice]
tokens = [\"sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b\"]
rights = { \"\" = \"rw\" }

[users.bob]
tokens = [\"sha256:5947d7c33d783f94b3b4c1a96ebc8991ed28f1b069b71e03376cba8caa98a720\"]
rights = { \"\" = \"rw\", \"a\" = \"drop\" }
";
    const ALICE: &str = "Authorization: Basic YWxpY2U6c2VjcmV0\r\n";
    const BOB: &str = "Authorization: Basic Ym9iOjAwMTEyMjMzNDQ1NTY2Nzc4ODk5YWFiYmNjZGRlZWZm\r\n";
    let place = tempfile::tempdir().unwrap();
    let users = place.path().join("users.toml");
    fs::write(&users, USERS).unwrap();
    let options = Options::new().arg("--plain").arg("--http").arg("127.0.0.1:0");
    let server = options.arg("--users").arg(users).start();
    let mut http = Http::plain(server.http().1);
    assert_eq!(http.ask("POST", "/a?tus", &format!("{TUS}Upload-Length: 5\r\n")).status, 401);
    let address = create(&mut http, "/a?tus", 5, ALICE);
    assert_eq!(patch(&mut http, &address, 0, b"hel", ALICE).status, 204);
    // No more is told of it than of one that is not there.
    let never = "/a?tus=00000000000000000000000000000000&length=5";
    let [other, none] = [&address, never].map(|address| patch(&mut http, address, 3, b"LO", BOB));
    assert_eq!((other.status, other.text()), (404, none.text()));
    for method in ["HEAD", "DELETE"] {
        let told = |http: &mut Http, address: &str| http.ask(method, address, &format!("{TUS}{BOB}"));
        assert_eq!(told(&mut http, &address).status, 404);
        assert_eq!(told(&mut http, &address).text(), told(&mut http, never).text());
        assert_eq!(http.ask(method, &address, TUS).status, 401);
    }
    assert_eq!(patch(&mut http, &address, 3, b"lo", ALICE).status, 204);
    assert_eq!(server.read("a"), b"hello");
    // Who may only add replaces nothing.
    let address = create(&mut http, "/a?tus", 1, BOB);
    assert_eq!(patch(&mut http, &address, 0, b"x", BOB).status, 403);
    assert_eq!(server.read("a"), b"hello");
}

/// Runs a program on the URL of uploads and a file, if it is to be had: `variable` names it. It writes the half of the
/// file, is cut, and goes on by its own ways.
fn stock_client(variable: &str, program: &str, script: &str) {
    let Some(place) = env::var_os(variable) else {
        eprintln!("skipped: {variable} names no place of the client");
        return;
    };
    let (server, _) = serving();
    let bytes = random_bytes(35, 5_000_000);
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("a file");
    fs::write(&file, &bytes).unwrap();
    let program = match program {
        "" => Path::new(&place).to_owned(),
        program => program.into(),
    };
    let mut command = Command::new(program);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/http").join(script)).stdin(Stdio::null());
    let output = command.env("NODE_PATH", &place).arg(format!("{}/", server.http().0)).arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for name in ["whole", "resumed", "checked"] {
        assert!(server.read(name) == bytes, "{name}");
    }
    assert_eq!(server.visible().len(), 3, "what was terminated is not there");
}

/// `FERRY_TUSPY` names a Python that has tuspy.
#[test]
fn tuspy() {
    stock_client("FERRY_TUSPY", "", "tus_client.py");
}

/// `FERRY_TUS_JS` names a `node_modules` that has tus-js-client.
#[test]
fn tus_js_client() {
    stock_client("FERRY_TUS_JS", "node", "tus_client.js");
}
