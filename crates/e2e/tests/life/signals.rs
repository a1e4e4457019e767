//! Signals that end the server, and one that does not.

use ferry_e2e::{Options, Raw, Server, Signal, gist};

#[test]
fn a_signal_ends_it_cleanly() {
    for (signal, name) in [(Signal::TERM, "SIGTERM"), (Signal::INT, "SIGINT"), (Signal::QUIT, "SIGQUIT")] {
        let mut server = Server::start();
        server.signal(signal);
        assert_eq!(server.wait().code(), Some(0), "{signal:?} with no client");
        assert!(server.log().contains(&format!("{name} came")), "{}", server.log());
    }
}

/// Whichever signal it is: the one before shows that they come to the same.
#[test]
fn a_signal_ends_it_cleanly_with_clients_in_every_state() {
    let mut server = Options::new().arg("--grace").arg("0").start();
    let mut idle = Raw::greeted(server.address());
    let mut writing = Raw::greeted(server.address());
    writing.send("PUT 10 - half\nDATA 10\nhalf");
    let mut resuming = Raw::greeted(server.address());
    assert_eq!(resuming.ask("RESUME id 10 - half").line, "GO 0");
    server.signal(Signal::TERM);
    for raw in [&mut idle, &mut writing, &mut resuming] {
        let said = String::from_utf8(raw.to_eof()).unwrap();
        assert_eq!(gist(&said), "FAIL shutting-down");
    }
    let status = server.wait();
    assert_eq!(status.code(), Some(0), "{status:?}");
    assert!(server.visible().is_empty());
}

#[test]
fn a_hangup_ends_nothing() {
    for first in ["true", "trap '' HUP"] {
        let server = Options::new().behind(first).start();
        server.signal(Signal::HUP);
        assert_eq!(Raw::greeted(server.address()).put("a", b"hello").word(0), "SAVED");
        assert_eq!(server.terminate().code(), Some(0));
    }
}

#[test]
fn a_client_that_does_not_read_cannot_keep_the_server_from_ending() {
    let mut server = Options::new().arg("--grace").arg("1").start();
    std::fs::File::create(server.path("large")).unwrap().set_len(1 << 30).unwrap();
    let mut stalled = Raw::greeted(server.address());
    stalled.send("GET large\n");
    assert_eq!(gist(&stalled.line()), "FILE 1073741824");
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
}
