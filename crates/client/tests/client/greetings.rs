//! Strangers at the other end, before anything is asked.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    time::Duration,
};

use ferry_client::{Address, Blame, Cancel, Client, Error, Options, Stranger};

use crate::support::{GREETING, Peer, Scripted, connect, options, reserved};

fn refusal(server: Scripted, options: Options) -> Error {
    let error = Client::connect(&server.address, options).unwrap_err();
    server.finish();
    error
}

fn stranger(script: impl FnOnce(&mut Peer) + Send + 'static) -> Stranger {
    match refusal(Scripted::raw(script), options()) {
        Error::NotFerry { stranger, .. } => stranger,
        error => panic!("{error}"),
    }
}

#[test]
fn nobody_there() {
    let (_taken, free) = reserved();
    let error = Client::connect(&Address::new("127.0.0.1", free), options()).unwrap_err();
    assert!(matches!(error, Error::Refused { .. }));
    assert!(error.to_string().ends_with(&format!("ferryd {free}")), "{error}");
    assert_eq!(error.blame(), Blame::Connection);
}

#[test]
fn a_silent_service_is_given_up() {
    let silent = Scripted::raw(|peer| while peer.line().is_some() {});
    let error = refusal(silent, Options::default().timeout(Duration::from_millis(400)));
    assert!(matches!(error, Error::NotFerry { stranger: Stranger::Silent(_), .. }), "{error}");
}

#[test]
fn an_echo_service_is_recognised() {
    let echo = stranger(|peer| {
        while let Some(line) = peer.line() {
            peer.send(line + "\n");
        }
    });
    assert_eq!(echo, Stranger::Echo);
}

#[test]
fn a_web_server_is_recognised() {
    let http = stranger(|peer| {
        peer.line().unwrap();
        peer.send("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    });
    assert_eq!(http, Stranger::Http);
}

#[test]
fn other_strangers_are_quoted() {
    assert_eq!(stranger(|_| {}), Stranger::Closing);
    for (said, shown) in [
        (&b"SSH-2.0-x\x1b[2J\r\n"[..], "SSH-2.0-x\\u{1b}[2J"),
        (b"\x15\x03\x01", "\\u{15}\\u{3}\\u{1}"),
        (b"FERRY 1 cut", "FERRY 1 cut"),
    ] {
        assert_eq!(stranger(move |peer| peer.send(said)), Stranger::Says(shown.into()));
    }
    let endless = stranger(|peer| {
        peer.send(vec![b'x'; 1 << 20]);
        peer.close();
    });
    assert!(matches!(endless, Stranger::Says(text) if text.len() < 100));
}

#[test]
fn a_server_may_turn_a_client_away() {
    let error = refusal(Scripted::raw(|peer| peer.send("FAIL busy come \x1b[2Jback\n")), options());
    assert!(error.to_string().contains("come \\u{1b}[2Jback (busy)"), "{error}");
    let error = refusal(Scripted::raw(|peer| peer.send("FERRY 2 future/9\n")), options());
    assert!(matches!(error, Error::Version { version: 2, .. }));
}

#[test]
fn a_server_that_greets_late_is_a_ferry_server_all_the_same() {
    let server = Scripted::raw(|peer| {
        // The client asks the silence what it is; only then this server comes to life.
        peer.expect("HELP");
        peer.send(GREETING);
        peer.send("FAIL unknown-command no request is called HELP\n");
        peer.expect("CLOSE");
        peer.send("BYE\n");
    });
    connect(&server.address).close().unwrap();
    server.finish();
}

#[test]
fn connecting_can_be_called_off() {
    let cancel = Cancel::default();
    let raised = cancel.clone();
    let server = Scripted::raw(move |peer| {
        raised.cancel();
        while peer.line().is_some() {}
    });
    let error = Client::connect(&server.address, options().cancel(cancel)).unwrap_err();
    assert!(matches!(error, Error::Interrupted));
    server.finish();
}

#[test]
fn a_client_can_connect_again() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = Address::new("127.0.0.1", listener.local_addr().unwrap().port());
    let server = std::thread::spawn(move || {
        let greet = || -> TcpStream {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(GREETING.as_bytes()).unwrap();
            stream
        };
        drop(greet());
        let mut second = greet();
        second.write_all(b"BYE\n").unwrap();
        let _ = second.read_to_end(&mut Vec::new());
    });
    let mut client = connect(&address);
    let gone = loop {
        // The end of the first connection comes when it comes.
        if let Err(error) = client.check() {
            break error;
        }
        std::thread::yield_now();
    };
    assert!(matches!(gone, Error::Closed(None)));
    assert!(matches!(client.check(), Err(Error::NotConnected)));
    client.reconnect().unwrap();
    assert!(client.is_connected());
    drop(client);
    server.join().unwrap();
}
