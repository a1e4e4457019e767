//! Servers that break the protocol: each is recognised, and the connection ends.

use std::{path::Path, time::Duration};

use ferry_client::{Blame, Client, Crc32, Error, Options, Part, Tag};

use crate::support::{GREETING, Local, Scripted, connect, name};

fn get(client: &mut Client, local: &Local) -> Error {
    client.get(&name("a"), &local.path("a"), &mut |_| {}).unwrap_err()
}

#[test]
fn a_download_is_refused_unless_it_is_exactly_what_was_announced() {
    let crc = Crc32::of(b"hello");
    let endless = "x".repeat(5000);
    for reply in [
        "FILE 5 - t\nDATA 6\nhello!",
        "FILE 5 - t\nDATA 5\nhelloDATA 1\n!",
        &format!("FILE 6 - t\nDATA 5\nhelloEND {crc}\n"),
        "FILE 5 - t\nDATA 5\nhelloEND -\n",
        "FILE 5 - t\nDATA 5\nhelloEND\n",
        "FILE 5 - t\nDATA 5\nhelloSTOP\n",
        "FILE 5 - t\nDATA 0\n",
        "FILE 5 - t\nDATA 1048577\n",
        "FILE 5 - t\nhello\n",
        "FILE 5 - t\nFILE 5 - t\n",
        "FILE -1 - t\n",
        "FILE 5 - t/../x\n",
        "DONE\n",
        "LISTING\n",
        "SAVED 5 cbf43926 t\n",
        "GO 5\n",
        "BYE\n",
        "\n",
        "220 welcome\n",
        &endless,
        &format!("FILE 5 - t\n{endless}"),
    ] {
        let local = Local::new();
        let server = Scripted::answering("GET a", reply);
        let mut client = connect(&server.address);
        let error = get(&mut client, &local);
        assert!(matches!(error, Error::Violation(_)), "{reply:?}: {error}");
        assert_eq!(error.blame(), Blame::Protocol);
        assert!(!client.is_connected(), "{reply:?}");
        assert_eq!(local.names(), [""; 0], "{reply:?}");
        server.finish();
    }
}

#[test]
fn a_connection_that_ends_too_early_leaves_nothing() {
    for reply in ["", "FILE 5", "FILE 5 - t\n", "FILE 5 - t\nDATA 5\nhel", "FILE 5 - t\nDATA 5\nhelloEND 3610a6"] {
        let local = Local::new();
        let server = Scripted::greeting(move |peer| {
            peer.expect("GET a");
            peer.send(reply);
        });
        let mut client = connect(&server.address);
        assert!(matches!(get(&mut client, &local), Error::Closed(None)), "{reply:?}");
        assert_eq!(local.names(), [""; 0]);
        server.finish();
    }
}

#[test]
fn bytes_of_another_crc_never_appear_under_the_name() {
    let local = Local::new();
    local.file("a", b"old");
    let server = Scripted::greeting(|peer| {
        peer.expect("GET a");
        peer.send(format!("FILE 5 - t\nDATA 5\nhellpEND {}\n", Crc32::of(b"hello")));
        peer.expect("DELETE a");
        peer.send("DONE\n");
    });
    let mut client = connect(&server.address);
    assert!(matches!(get(&mut client, &local), Error::Verification(_)));
    assert_eq!(local.names(), ["a"]);
    assert_eq!(std::fs::read(local.path("a")).unwrap(), b"old");
    // The stream is in step all the same.
    client.delete(&name("a")).unwrap();
    server.finish();
}

#[test]
fn each_request_takes_only_its_own_reply() {
    type Ask = fn(&mut Client) -> Option<Error>;
    let cut_line = format!("LISTING\nDATA 3\nf 5END {}\n", Crc32::of(b"f 5"));
    let bad_name = format!("LISTING\nDATA 13\nf 5 - t ../x\nEND {}\n", Crc32::of(b"f 5 - t ../x\n"));
    let cases: [(&str, &str, Ask); 13] = [
        ("HEALTH", "DIR -\n", |client| client.health().err()),
        ("STAT a", "DONE\n", |client| client.stat(&name("a")).err()),
        ("STAT a", "SUM 5 cbf43926 t\n", |client| client.stat(&name("a")).err()),
        ("SUM a", "FILE 5 - t\n", |client| client.sum(&name("a")).err()),
        ("SUM a", "SUM 5 - t\n", |client| client.sum(&name("a")).err()),
        ("MKDIR a", "BYE\n", |client| client.mkdir(&name("a")).err()),
        ("DELETE a", "DIR -\n", |client| client.delete(&name("a")).err()),
        ("RENAME a//b", "GO 1\n", |client| client.rename(&name("a"), &name("b")).err()),
        ("LIST", "FILE 5 - t\n", |client| client.list(None).err()),
        ("LIST", &bad_name, |client| client.list(None).err()),
        ("LIST a", &cut_line, |client| client.list(Some(&name("a"))).err()),
        ("READ 5 * * a", "FILE 4 - t\n", |client| read(client, 5, None)),
        ("READ 0 2 t a", "FILE 4 - u\n", |client| read(client, 0, Some(2))),
    ];
    for (request, reply, ask) in cases {
        let server = Scripted::answering(request, reply);
        let mut client = connect(&server.address);
        let error = ask(&mut client).unwrap();
        assert!(matches!(error, Error::Violation(_)), "{request}: {error}");
        assert!(!client.is_connected(), "{request}");
        server.finish();
    }
}

fn read(client: &mut Client, offset: u64, length: Option<u64>) -> Option<Error> {
    let part = Part { offset, length, tag: length.map(|_| Tag::new("t").unwrap()) };
    client.read(&name("a"), &part, &mut Vec::new()).err()
}

#[test]
fn words_that_nobody_asked_for_end_the_connection() {
    let server = Scripted::raw(|peer| {
        peer.send(format!("{GREETING}DONE\n"));
        peer.expect_end();
    });
    let mut client = connect(&server.address);
    assert!(matches!(wait_for_words(&mut client), Error::Violation(_)));
    server.finish();

    let server = Scripted::raw(|peer| peer.send(format!("{GREETING}FAIL shutting-down good night\n")));
    let mut client = connect(&server.address);
    let error = wait_for_words(&mut client);
    assert!(matches!(&error, Error::Closed(Some(_))), "{error}");
    assert!(error.to_string().contains("good night"), "{error}");
    assert_eq!(error.blame(), Blame::Connection);
    server.finish();
}

fn wait_for_words(client: &mut Client) -> Error {
    loop {
        if let Err(error) = client.check() {
            return error;
        }
        std::thread::yield_now();
    }
}

#[test]
fn text_of_the_server_cannot_drive_the_terminal() {
    let server = Scripted::answering("STAT a", b"FAIL not-found \x1b]0;owned\x07\xe2\x80\xae\xff\n");
    let error = connect(&server.address).stat(&name("a")).unwrap_err().to_string();
    assert!(!error.contains(|c: char| c.is_control() || c == '\u{202e}'), "{error:?}");
    server.finish();

    let server = Scripted::answering("STAT a", "\x1b[2J\n");
    let error = connect(&server.address).stat(&name("a")).unwrap_err().to_string();
    assert!(error.contains("\\u{1b}[2J"), "{error:?}");
    server.finish();
}

#[test]
fn a_server_that_falls_silent_is_given_up() {
    let server = Scripted::greeting(|peer| {
        peer.expect("GET a");
        peer.send("FILE 5 - t\nDATA 5\nhel");
        peer.expect_end();
    });
    let local = Local::new();
    // Long enough that the greeting comes in time on a busy machine.
    let impatient = Options::default().timeout(Duration::from_secs(3));
    let mut client = Client::connect(&server.address, impatient).unwrap();
    let error = get(&mut client, &local);
    assert!(matches!(error, Error::Timeout(_)), "{error}");
    assert_eq!((error.blame(), client.is_connected()), (Blame::Timeout, false));
    assert_eq!(local.names(), [""; 0]);
    server.finish();
}

#[test]
fn the_local_name_is_the_callers_choice_alone() {
    let server = Scripted::answering("GET a/b", "FAIL not-found ../../etc/passwd\n");
    let local = Local::new();
    let mut client = connect(&server.address);
    client.get(&name("a/b"), &local.path("mine"), &mut |_| {}).unwrap_err();
    assert_eq!(local.names(), [""; 0]);
    assert!(client.get(&name("a/b"), Path::new("/"), &mut |_| {}).is_err());
    drop(client);
    server.finish();
}
