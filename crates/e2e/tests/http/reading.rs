//! GET and HEAD: conditions, ranges, directories, files that change.

use std::{fs, io::Write as _, os::unix::fs::FileExt as _};

use ferry_e2e::{eventually, random_bytes};

use super::{client::Http, ferry, plain, serving};

/// More than socket buffers and read-ahead hold, so that a download is under way when something happens to it.
const LARGE_BYTES: usize = 48 << 20;

#[test]
fn a_file_comes_with_its_version_and_its_type() {
    let (server, mut http) = serving();
    let large = random_bytes(3, 3_000_000);
    server.write("a b/ü.txt", b"hello");
    server.write("large.bin", &large);
    server.write("empty", b"");
    server.write("x.svg", b"<svg/>");
    let reply = http.get("/a%20b/%C3%BC.txt");
    assert_eq!((reply.status, reply.text().as_str()), (200, "hello"));
    assert_eq!(reply.field("Content-Type"), "text/plain; charset=utf-8");
    assert_eq!(reply.field("X-Content-Type-Options"), "nosniff");
    assert_eq!(reply.field("Repr-Digest"), "crc32=:NhCmhg==:");
    assert!(!reply.field("Date").is_empty() && !reply.field("Last-Modified").is_empty());
    let tag = ferry(server.address()).ask("STAT a b/ü.txt").line;
    let tag = tag.split_whitespace().nth(3).expect("a tag").to_owned();
    assert_eq!(reply.field("ETag"), format!("\"{tag}\""), "the tag of ferry's own protocol");
    let head = http.ask("HEAD", "/a%20b/%C3%BC.txt", "");
    assert_eq!((head.status, head.field("Content-Length"), head.field("ETag")), (200, "5", reply.field("ETag")));
    assert!(http.get("/large.bin").body == large);
    assert_eq!(http.get("/empty").body, b"");
    assert!(http.get("/x.svg").field("Content-Security-Policy").starts_with("sandbox"));
    assert_eq!(http.get("/nothing").status, 404);
    assert_eq!(http.get("/a%20b/%C3%BC.txt/").status, 404, "a file is no directory");
}

#[test]
fn conditions_and_ranges() {
    let (server, mut http) = serving();
    server.write("a", b"0123456789");
    let large = random_bytes(4, 1 << 20);
    server.write("large", &large);
    let tag = http.get("/a").field("ETag").to_owned();
    for (fields, status, body, range) in [
        (format!("If-None-Match: {tag}\r\n"), 304, "", ""),
        ("If-None-Match: \"other\"\r\n".into(), 200, "0123456789", ""),
        ("If-Match: \"other\"\r\n".into(), 412, "a condition of the request does not hold\n", ""),
        (format!("If-Match: {tag}\r\n"), 200, "0123456789", ""),
        ("Range: bytes=2-4\r\n".into(), 206, "234", "bytes 2-4/10"),
        ("Range: bytes=7-\r\n".into(), 206, "789", "bytes 7-9/10"),
        ("Range: bytes=-2\r\n".into(), 206, "89", "bytes 8-9/10"),
        ("Range: bytes=-99\r\n".into(), 206, "0123456789", "bytes 0-9/10"),
        ("Range: bytes=0-99\r\n".into(), 206, "0123456789", "bytes 0-9/10"),
        ("Range: bytes=10-\r\n".into(), 416, "the file has only 10 bytes\n", "bytes */10"),
        ("Range: bytes=11-12\r\n".into(), 416, "the file has only 10 bytes\n", "bytes */10"),
        ("Range: bytes=1-2,4-5\r\n".into(), 200, "0123456789", ""),
        ("Range: bytes=5-1\r\n".into(), 200, "0123456789", ""),
        (format!("Range: bytes=2-4\r\nIf-Range: {tag}\r\n"), 206, "234", "bytes 2-4/10"),
        ("Range: bytes=2-4\r\nIf-Range: \"other\"\r\n".into(), 200, "0123456789", ""),
        ("Range: bytes=20-\r\nIf-Range: \"other\"\r\n".into(), 200, "0123456789", ""),
        (format!("Range: bytes=20-\r\nIf-None-Match: {tag}\r\n"), 304, "", ""),
    ] {
        let reply = http.ask("GET", "/a", &fields);
        assert_eq!(
            (reply.status, reply.text().as_str(), reply.field("Content-Range")),
            (status, body, range),
            "{fields}"
        );
    }
    let thousand: Vec<String> = (0..1_000).map(|at| format!("{at}-{at}")).collect();
    assert_eq!(http.ask("GET", "/a", &format!("Range: bytes={}\r\n", thousand.join(","))).status, 200);
    let reply = http.ask("GET", "/large", "Range: bytes=100000-299999\r\n");
    assert!(reply.status == 206 && reply.body == large[100_000..300_000]);
    assert_eq!(http.ask("HEAD", "/a", "Range: bytes=2-4\r\n").field("Content-Length"), "10");
}

#[test]
fn a_directory_has_a_page_and_a_listing() {
    let (server, mut http) = serving();
    server.write("d/a.txt", b"a");
    fs::create_dir(server.path("d/e")).unwrap();
    let reply = http.get("/d?x=1");
    assert_eq!((reply.status, reply.field("Location")), (301, "/d/?x=1"));
    assert_eq!(http.ask("HEAD", "/d", "").status, 301);
    let page = http.get("/d/");
    assert_eq!((page.status, page.field("Content-Type")), (200, "text/html; charset=utf-8"));
    assert!(page.text().contains("a.txt") && page.field("Content-Security-Policy").contains("default-src 'none'"));
    assert_eq!(http.ask("HEAD", "/d/", "").body, b"");
    let json = http.get("/d/?json");
    assert_eq!(json.field("Content-Type"), "application/json");
    assert!(json.text().contains("\"a.txt\"") && json.text().contains("\"e\""), "{}", json.text());
    assert!(http.get("/d/a.txt?json").text().contains("\"size\":1"));
    let style = page
        .text()
        .split("href=\"")
        .find_map(|rest| rest.strip_prefix("/?style")?.split_once('"').map(|(rest, _)| format!("/?style{rest}")))
        .expect("a style sheet");
    let asset = http.get(&style.replace("&amp;", "&"));
    assert_eq!((asset.status, asset.field("Content-Type")), (200, "text/css; charset=utf-8"));
    let again = http.ask("GET", &style.replace("&amp;", "&"), &format!("If-None-Match: {}\r\n", asset.field("ETag")));
    assert_eq!(again.status, 304);
    // Without chunks the page ends with the connection.
    http.say("GET /d/ HTTP/1.0\r\n\r\n");
    assert_eq!(http.hear("GET").body, page.body);
}

#[test]
fn requests_are_answered_in_their_order_however_they_are_cut() {
    let (server, mut http) = serving();
    for number in 0..20 {
        server.write(&format!("f{number}"), format!("content {number}").as_bytes());
    }
    let requests: String = (0..20).map(|number| format!("GET /f{number} HTTP/1.1\r\nHost: h\r\n\r\n")).collect();
    http.say(&requests);
    for number in 0..20 {
        assert_eq!(http.hear("GET").text(), format!("content {number}"));
    }
    for byte in requests.as_bytes() {
        http.say([*byte]);
    }
    for number in 0..20 {
        assert_eq!(http.hear("GET").text(), format!("content {number}"));
    }
    http.say("GET /f0 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\nGET /f1 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(http.hear("GET").field("Connection"), "close");
    assert_eq!(http.hear_end(), b"");
}

#[test]
fn a_file_that_changes_while_it_is_sent_has_no_end() {
    let (server, _) = serving();
    let large = random_bytes(5, LARGE_BYTES);
    let address = server.http().1;
    type Change = fn(&std::path::Path);
    let changes: [(&str, Change); 3] = [
        ("written", |path| fs::File::options().write(true).open(path).unwrap().write_all_at(b"changed", 3).unwrap()),
        ("shorter", |path| fs::File::options().write(true).open(path).unwrap().set_len(9).unwrap()),
        ("longer", |path| fs::File::options().append(true).open(path).unwrap().write_all(b"more").unwrap()),
    ];
    for (name, change) in changes {
        server.write(name, &large);
        let mut http = Http::plain(address);
        http.say(format!("GET /{name} HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert_eq!(http.hear_head().field("Content-Length"), LARGE_BYTES.to_string());
        change(&server.path(name));
        let came = http.hear_all().len();
        assert!(came < LARGE_BYTES, "{name}: {came} bytes came");
        eventually("the log tells", || {
            server.log().contains(&format!("GET {name}: ")).then_some(())?;
            server
                .log()
                .lines()
                .any(|line| line.contains(&format!("GET {name}")) && line.contains("(changed)"))
                .then_some(())
        });
    }
    // One that is replaced, renamed or linked to is still what it was.
    server.write("replaced", &large);
    let mut http = Http::plain(address);
    http.say("GET /replaced HTTP/1.1\r\nHost: h\r\n\r\n");
    http.hear_head();
    assert_eq!(Http::plain(address).put("/replaced", b"another", "").status, 204);
    assert!(http.take(LARGE_BYTES) == large);
}

#[test]
fn a_client_that_takes_nothing_is_cut_off() {
    let server = plain().arg("--progress-window").arg("1s").start();
    server.write("large", &vec![1; LARGE_BYTES]);
    let mut http = Http::plain(server.http().1);
    http.say("GET /large HTTP/1.1\r\nHost: h\r\n\r\n");
    eventually("the log tells", || server.log().contains("the answer was not taken (timeout)").then_some(()));
}
