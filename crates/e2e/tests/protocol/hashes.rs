//! `WITH sum=sha256`: SHA-256 of files, by helpers of their own.

use std::{fs::File, process::Command};

use ferry_e2e::{Raw, Server, crc, random_bytes, seed};

/// Returns what the system's program says of a file.
fn sha256sum(server: &Server, name: &str) -> String {
    let told = Command::new("sha256sum").arg("--").arg(server.path(name)).output().unwrap();
    assert!(told.status.success(), "{told:?}");
    String::from_utf8(told.stdout).unwrap()[..64].to_owned()
}

#[test]
fn the_sum_is_that_of_the_system_s_program() {
    let server = Server::start();
    let bytes = random_bytes(seed(), (9 << 20) + 3);
    let mut raw = Raw::greeted(server.address());
    for size in [0, 1, 63, 64, 65_536, 65_537, 4 << 20, bytes.len()] {
        let name = format!("a {size}");
        server.write(&name, &bytes[..size]);
        let answer = raw.ask(&format!("WITH sum=sha256\nSUM {name}")).line;
        let words: Vec<&str> = answer.split(' ').collect();
        assert_eq!(words[..3], ["SUM", &size.to_string(), &crc(&bytes[..size])], "{answer}");
        assert_eq!(words[4..], [format!("sha256={}", sha256sum(&server, &name))], "{answer}");
        // It holds for one request.
        assert_eq!(raw.ask(&format!("SUM {name}")).line.split(' ').count(), 4);
    }
}

#[test]
fn it_is_refused_where_it_has_no_meaning_and_fails_as_a_sum_does() {
    let server = Server::start();
    server.write("f", b"x");
    let mut raw = Raw::greeted(server.address());
    for (request, code) in [
        ("WITH sum=sha256\nGET f", "unsupported"),
        ("WITH sum=sha256\nSTAT f", "unsupported"),
        ("WITH sum=sha512\nSUM f", "unsupported"),
        ("WITH sum=sha256 sum=\nSUM f", "unsupported"),
        ("WITH sum=sha256\nSUM .", "bad-name"),
        ("WITH sum=sha256\nSUM g", "not-found"),
        ("WITH sum=sha256\nSUM f/g", "not-a-directory"),
    ] {
        raw.ask(request).expect_failure(code);
    }
    raw.send("WITH sum=sha256\nPUT 1 - g\nDATA 1\nxEND -\nSTAT f\n");
    raw.answer("PUT").expect_failure("unsupported");
    assert_eq!(raw.answer("STAT").word(0), "FILE");
}

#[test]
fn who_has_large_files_hashed_keeps_nobody_waiting() {
    const HUGE_BYTES: u64 = 1 << 38;
    let server = Server::start();
    File::create(server.path("huge")).unwrap().set_len(HUGE_BYTES).unwrap();
    let large = random_bytes(seed(), 3 << 20);
    server.write("large", &large);
    // More than there are helpers that hash.
    let mut rude: Vec<Raw> = (0..8).map(|_| Raw::greeted(server.address())).collect();
    rude.iter_mut().for_each(|raw| raw.send("WITH sum=sha256\nSUM huge\n"));
    let mut raw = Raw::greeted(server.address());
    assert_eq!(raw.ask("GET large").verified(), large);
    assert_eq!(raw.ask("SUM large").word(2), crc(&large));
    raw.put("b", b"hello");
    // It has its turn among them.
    let answer = raw.ask("WITH sum=sha256\nSUM large").line;
    assert!(answer.ends_with(&sha256sum(&server, "large")), "{answer}");
    // Those who go take their work with them.
    rude.iter_mut().for_each(Raw::cut);
}
