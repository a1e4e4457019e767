//! Tests of directories that are got as archives over HTTP, with the system's tar.
// A test fails by panicking, in its helpers as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::fs::MetadataExt,
    path::Path,
    process::{Command, Stdio},
};

use ferry_e2e::{Options, Server, eventually, random_bytes, secure};

/// Starts a server with HTTP, unless the tests run over TLS.
fn serve(options: Options) -> Option<(Server, SocketAddr)> {
    if secure::skips("the archive is the same by TLS") {
        return None;
    }
    let server = options.arg("--http").arg("127.0.0.1:0").start();
    let address = eventually("the address for HTTP in the log", || {
        let log = server.log();
        log.lines().find_map(|line| line.split_once("HTTP is served at http://")?.1.strip_suffix('/')?.parse().ok())
    });
    Some((server, address))
}

fn asked(address: SocketAddr, line: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(format!("{line}\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
    stream
}

/// Returns the head of an answer, and all that follows it.
fn answer(address: SocketAddr, line: &str) -> (String, Vec<u8>) {
    let mut bytes = Vec::new();
    asked(address, line).read_to_end(&mut bytes).unwrap();
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let body = bytes.split_off(end);
    (String::from_utf8(bytes).unwrap(), body)
}

/// Returns the bytes in the chunks of a body; [`None`] where the last one is missing.
fn in_chunks(mut body: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let end = body.windows(2).position(|two| two == b"\r\n")?;
        let length = usize::from_str_radix(std::str::from_utf8(&body[..end]).unwrap(), 16).unwrap();
        body = &body[end + 2..];
        if length == 0 {
            assert_eq!(body, b"\r\n");
            return Some(bytes);
        }
        bytes.extend_from_slice(body.get(..length)?);
        body = body.get(length..)?.strip_prefix(b"\r\n")?;
    }
}

/// Has the system's tar read an archive.
fn tar(archive: &[u8], arguments: &[&str], place: &Path) -> String {
    let mut tar = Command::new("tar");
    tar.args(arguments).arg("-C").arg(place).env("LC_ALL", "C.UTF-8").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut tar = tar.spawn().unwrap();
    let mut input = tar.stdin.take().unwrap();
    let archive = archive.to_vec();
    let feeding = std::thread::spawn(move || input.write_all(&archive));
    let output = tar.wait_with_output().unwrap();
    feeding.join().unwrap().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn tar_makes_the_same_tree_of_an_archive() {
    let Some((server, address)) = serve(Options::new()) else { return };
    let long = "n".repeat(255);
    let names = [
        "top/a.txt".to_owned(),
        format!("top/{long}"),
        format!("top/{long}/{long}/x").replacen(&long, &"d".repeat(255), 1),
        format!("top/{}/{}", "é".repeat(127), "世".repeat(85)),
        "top/sub/deep/- <\"&'\\ \u{202e}.txt".to_owned(),
    ];
    for (seed, name) in names.iter().enumerate() {
        // Some come with their header, some are sent from the file.
        let bytes = [0, 70 << 10, 1, 3 << 20, 512][seed];
        server.write(name, &random_bytes(seed as u64, bytes));
    }
    fs::create_dir_all(server.path("top/empty/inner")).unwrap();

    let (head, body) = answer(address, "GET /top/?tar HTTP/1.1");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("\r\nContent-Disposition: attachment; filename=\"top.tar\";"), "{head}");
    let archive = in_chunks(&body).unwrap();
    let place = tempfile::tempdir().unwrap();
    tar(&archive, &["-x"], place.path());
    let compared = Command::new("diff").arg("-r").arg(server.root().join("top")).arg(place.path().join("top")).status();
    assert!(compared.unwrap().success());
    for name in &names {
        let [own, theirs] = [server.path(name), place.path().join(name)].map(|path| fs::metadata(path).unwrap());
        assert_eq!((own.mtime(), own.mtime_nsec()), (theirs.mtime(), theirs.mtime_nsec()), "{name}");
    }
    let (_, body) = answer(address, "GET /?tar HTTP/1.1");
    let listed = tar(&in_chunks(&body).unwrap(), &["-t", "--quoting-style=literal"], place.path());
    assert!(names.iter().all(|name| listed.lines().any(|line| line == name)), "{listed}");
    let log =
        eventually("the archives in the log", || Some(server.log()).filter(|log| log.matches("GET top").count() == 1));
    assert!(log.contains("GET top: 3217921 bytes"), "{log}");
}

#[test]
fn an_archive_holds_what_its_user_may_read() {
    let users = tempfile::tempdir().unwrap();
    let file = users.path().join("users.toml");
    let rights =
        "[anonymous]\nrights = { \"\" = \"r\", \"hidden\" = \"none\", \"inbox\" = \"drop\", \"names\" = \"list\" }\n";
    fs::write(&file, rights).unwrap();
    let Some((server, address)) = serve(Options::new().arg("--users").arg(&file)) else { return };
    for name in ["a", "hidden/x", "inbox/x", "names/x"] {
        server.write(name, b"x");
    }
    let (_, body) = answer(address, "GET /?tar HTTP/1.1");
    let listed = tar(&in_chunks(&body).unwrap(), &["-t"], users.path());
    assert_eq!(listed, "a\nnames/\n");
    for (line, status) in [
        ("GET /hidden/?tar HTTP/1.1", "401"),
        ("GET /inbox/?tar HTTP/1.1", "401"),
        ("GET /missing/?tar HTTP/1.1", "404"),
        ("GET /a/?tar HTTP/1.1", "404"),
        ("GET /names?tar HTTP/1.1", "301"),
        ("GET /?tar HTTP/1.0", "505"),
    ] {
        let (head, _) = answer(address, line);
        assert!(head.split(' ').nth(1) == Some(status), "{line}: {head}");
    }
    let (head, body) = answer(address, "HEAD /?tar HTTP/1.1");
    assert!(head.starts_with("HTTP/1.1 200") && body.is_empty(), "{head}");
}

#[test]
fn an_archive_that_can_not_go_on_has_no_good_end() {
    let Some((server, address)) = serve(Options::new()) else { return };
    // More than sockets hold, so that it is still on its way when it changes.
    let path = server.path("large");
    fs::File::create(&path).unwrap().set_len(64 << 20).unwrap();
    let mut stream = asked(address, "GET /?tar HTTP/1.1");
    let mut body = vec![0; 1 << 20];
    stream.read_exact(&mut body).unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_len(1 << 20).unwrap();
    // A reset is as good an end as any that is none.
    let _ = stream.read_to_end(&mut body);
    let start = body.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    assert_eq!(in_chunks(&body[start..]), None);
    eventually("the failure in the log", || server.log().contains("(changed)").then_some(()));
}
