//! PUT, DELETE and MKCOL.

use std::{fs, net::Shutdown};

use ferry_e2e::{crc, eventually, random_bytes};

use super::{client::Http, ferry, plain, serving};

#[test]
fn a_put_is_there_whole_and_says_what_it_is() {
    let (server, mut http) = serving();
    let large = random_bytes(6, 5_000_000);
    let reply = http.put("/a", b"hello", "");
    assert_eq!((reply.status, reply.field("Repr-Digest")), (201, "crc32=:NhCmhg==:"));
    let tag = reply.field("ETag").to_owned();
    assert_eq!(http.get("/a").field("ETag"), tag);
    assert_eq!(http.put("/a", &large, "").status, 204);
    assert!(server.read("a") == large);
    assert_eq!(http.put("/empty", b"", "").status, 201);
    assert_eq!(server.read("empty"), b"");
    let sum = ferry(server.address()).ask("SUM a").line;
    assert!(sum.contains(&crc(&large)), "{sum}");
    http.say("PUT /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(http.hear("PUT").status, 100);
    http.say("3\r\nabc\r\n");
    http.say("2;x=y\r\nde\r\n0\r\nTrailer: x\r\n\r\n");
    assert_eq!(http.hear("PUT").status, 201);
    assert_eq!(server.read("c"), b"abcde");
    assert_eq!(http.put("/time", b"x", "X-OC-Mtime: 1700000000.5\r\n").status, 201);
    assert_eq!(http.get("/time").field("Last-Modified"), "Tue, 14 Nov 2023 22:13:20 GMT");
}

#[test]
fn conditions_of_changes() {
    let (server, mut http) = serving();
    let tag = http.put("/a", b"1", "If-None-Match: *\r\n").field("ETag").to_owned();
    for (fields, status) in [
        ("If-None-Match: *\r\n".to_owned(), 412),
        ("If-Match: \"other\"\r\n".into(), 412),
        (format!("If-Match: {tag}\r\n"), 204),
        (format!("If-Match: {tag}\r\n"), 412),
        ("If-Match: *\r\n".into(), 204),
    ] {
        assert_eq!(http.put("/a", b"2", &fields).status, status, "{fields}");
    }
    assert_eq!(http.put("/b", b"2", "If-Match: *\r\n").status, 412);
    assert_eq!(http.ask("DELETE", "/a", "If-Match: \"other\"\r\n").status, 412);
    assert_eq!(http.ask("DELETE", "/a", "If-Match: *\r\n").status, 204);
    assert_eq!(http.ask("DELETE", "/a", "If-Match: *\r\n").status, 404);
    assert!(server.visible().is_empty());
}

#[test]
fn a_condition_is_decided_when_the_upload_gets_its_name() {
    let (server, mut http) = serving();
    let tag = http.put("/a", b"1", "").field("ETag").to_owned();
    for (name, fields, between) in [
        ("a", format!("If-Match: {tag}\r\n"), "/a"),
        ("b", "If-None-Match: *\r\n".to_owned(), "/b"),
        ("c", "If-None-Match: \"other\"\r\n".to_owned(), "/c"),
    ] {
        let mut slow = Http::plain(server.http().1);
        let put =
            format!("PUT /{name} HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nExpect: 100-continue\r\n{fields}\r\n");
        slow.say(put);
        assert_eq!(slow.hear("PUT").status, 100, "it holds now");
        assert!([201, 204].contains(&http.put(between, b"between", "").status));
        slow.say("slow");
        assert_eq!(slow.hear("PUT").status, 412, "{name}: and does not when it would be published");
        assert_eq!(server.read(name), b"between");
    }
}

#[test]
fn what_can_not_be_is_told_by_its_status() {
    let (server, mut http) = serving();
    server.write("d/f", b"x");
    for (method, target, fields, status) in [
        ("PUT", "/x", "", 411),
        ("PUT", "/x", "Content-Length: 1\r\nContent-Range: bytes 0-0/5\r\n", 400),
        ("PUT", "/x", "Content-Length: 1\r\nContent-Encoding: gzip\r\n", 415),
        ("PUT", "/x/", "Content-Length: 1\r\n", 409),
        ("PUT", "/?x", "Content-Length: 1\r\n", 405),
        ("PUT", "/x?y", "Content-Length: 1\r\n", 400),
        ("PUT", "/", "Content-Length: 1\r\n", 405),
        ("PUT", "/d", "Content-Length: 1\r\n", 409),
        ("PUT", "/none/f", "Content-Length: 1\r\n", 409),
        ("PUT", "/d/f/g", "Content-Length: 1\r\n", 409),
        ("PUT", "/.ferry/x", "Content-Length: 1\r\n", 403),
        ("PUT", "/x", "Content-Length: 1\r\nRepr-Digest: crc32=:AAAAAA==:\r\n", 400),
        ("MKCOL", "/d", "", 405),
        ("MKCOL", "/none/d", "", 409),
        ("MKCOL", "/e", "Content-Length: 1\r\n", 415),
        ("MKCOL", "/", "", 405),
        ("DELETE", "/d", "", 409),
        ("DELETE", "/none", "", 404),
        ("DELETE", "/", "", 405),
        ("DELETE", "/d/f", "Origin: http://elsewhere\r\n", 403),
        ("DELETE", "/d/f", "Sec-Fetch-Site: cross-site\r\n", 403),
        ("POST", "/d/f", "Content-Length: 1\r\n", 405),
    ] {
        http.say(format!("{method} {target} HTTP/1.1\r\nHost: h\r\n{fields}\r\n"));
        if fields.contains("Content-Length") {
            http.say("x");
        }
        let reply = http.hear(method);
        assert_eq!(reply.status, status, "{method} {target} {fields}: {}", reply.text());
        assert_eq!(reply.field("Connection"), "", "{method} {target} {fields}: the connection goes on");
    }
    assert_eq!((server.visible(), server.read("d/f")), (vec!["d".to_owned()], b"x".to_vec()));
    assert_eq!(http.ask("MKCOL", "/e/", "").status, 201);
    assert_eq!(http.ask("DELETE", "/e/", "").status, 204);
}

#[test]
fn nothing_is_left_of_a_body_that_is_cut() {
    let (server, _) = serving();
    let address = server.http().1;
    for body in [
        "Content-Length: 9\r\n\r\nabc",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nabc",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ] {
        let mut http = Http::plain(address);
        http.say(format!("PUT /x HTTP/1.1\r\nHost: h\r\n{body}"));
        http.socket().stream().shutdown(Shutdown::Write).unwrap();
        let reply = http.hear("PUT");
        assert_eq!((reply.status, reply.field("Connection")), (400, "close"), "{body:?}");
        assert_eq!(http.hear_end(), b"");
    }
    let mut http = Http::plain(address);
    http.say("PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 2000000\r\n\r\n");
    http.say(random_bytes(7, 1_500_000));
    drop(http);
    eventually("the log tells", || server.log().contains("PUT x: 1500000 bytes").then_some(()));
    assert!(server.visible().is_empty());
    eventually("nothing is staged", || {
        let runs = fs::read_dir(server.path(".ferry"))
            .unwrap()
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("run-"));
        runs.flat_map(|run| fs::read_dir(run.path()).unwrap().flatten())
            .all(|entry| entry.file_name() == "lock")
            .then_some(())
    });
}

#[test]
fn limits_hold_for_http_as_well() {
    let server = plain().arg("--max-upload").arg("1000").start();
    let mut http = Http::plain(server.http().1);
    assert_eq!(http.put("/a", &[0; 1_001], "").status, 413);
    http.say("PUT /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n");
    http.say([0; 1_001]);
    assert_eq!(http.hear("PUT").status, 413);
    let server = plain().arg("--read-only").start();
    let mut http = Http::plain(server.http().1);
    assert_eq!(http.put("/a", b"x", "").status, 403);
    assert_eq!((http.ask("MKCOL", "/a", "").status, http.ask("DELETE", "/a", "").status), (403, 403));
}

#[test]
fn a_large_body_that_is_refused_ends_the_connection() {
    let (_server, mut http) = serving();
    http.say("PUT /none/f HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000000\r\nExpect: 100-continue\r\n\r\n");
    let first = http.hear("PUT");
    let reply = if first.status == 100 {
        http.say(vec![0; 700_000]);
        http.hear("PUT")
    } else {
        first
    };
    assert_eq!((reply.status, reply.field("Connection")), (409, "close"));
}
