//! Strangers at the other end, before anything is asked.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    time::Duration,
};

use ferry_client::{Address, Blame, Cancel, Client, Error, Event, IfAbsent, Options, Security, Settings, Stranger};

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

/// Closes so many connections after `words`; then greets one, and has it end.
fn reluctant(times: usize, words: &'static str) -> (Address, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = Address::new("127.0.0.1", listener.local_addr().unwrap().port());
    let thread = std::thread::spawn(move || {
        for _ in 0..times {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(words.as_bytes()).unwrap();
        }
        let (stream, _) = listener.accept().unwrap();
        let mut peer = Peer::new(stream);
        peer.send(GREETING);
        peer.expect_end();
    });
    (address, thread)
}

/// Connects patiently, but for a server that can't be found; returns how often it was tried again.
fn tried(address: &Address, settings: &Settings) -> (Result<Client, Error>, u32) {
    let mut tries = 0;
    let connected = Client::connect_patiently(address, &options(), settings, IfAbsent::Fail, &mut |event| {
        tries += u32::from(matches!(event, Event::Lost { .. }));
    });
    (connected, tries)
}

#[test]
fn a_server_that_is_lost_before_its_greeting_or_is_busy_is_tried_again() {
    for words in ["", "FAIL busy come back\n", "FAIL shutting-down the server is ending\n"] {
        let (address, server) = reluctant(3, words);
        let (connected, tries) = tried(&address, &Settings { retries: 3, ..Settings::default() });
        assert!(connected.is_ok() && tries == 3, "{words:?}: {connected:?} {tries}");
        drop(connected);
        server.join().unwrap();
        // As often as was asked for.
        let (address, server) = reluctant(2, words);
        let (refused, tries) = tried(&address, &Settings { retries: 1, ..Settings::default() });
        assert!(refused.is_err() && tries == 1, "{words:?}: {tries}");
        assert!(tried(&address, &Settings::impatient()).0.is_ok());
        server.join().unwrap();
    }
    // Where nobody was, nobody is waited for; nor where somebody else is.
    let (_taken, free) = reserved();
    let (refused, tries) = tried(&Address::new("127.0.0.1", free), &Settings::default());
    assert!(matches!(refused, Err(Error::Refused { .. })) && tries == 0);
    let stranger = Scripted::raw(|peer| peer.send("SSH-2.0-x\r\n"));
    let (refused, tries) = tried(&stranger.address, &Settings::default());
    assert!(matches!(refused, Err(Error::NotFerry { .. })) && tries == 0);
    stranger.finish();
}

#[test]
fn a_handshake_that_is_cut_is_tried_again_and_one_that_is_refused_is_not() {
    let settings = Settings { retries: 1, ..Settings::default() };
    for (answer, expected) in [(&b""[..], 1), (b"\x15\x03\x03\0\x02\x02\x28", 0), (b"FERRY 1 plain/1\n", 0)] {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = Address::new("127.0.0.1", listener.local_addr().unwrap().port());
        let server = std::thread::spawn(move || {
            for _ in 0..=expected {
                let (mut stream, _) = listener.accept().unwrap();
                // The hello, whole: a reset would not be an end.
                let mut header = [0; 5];
                stream.read_exact(&mut header).unwrap();
                let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
                stream.read_exact(&mut vec![0; length]).unwrap();
                stream.write_all(answer).unwrap();
            }
        });
        let (mut tries, options) = (0, options().security(Security::Tls));
        let refused = Client::connect_patiently(&address, &options, &settings, IfAbsent::Fail, &mut |event| {
            tries += u32::from(matches!(event, Event::Lost { .. }));
        });
        let cut = matches!(&refused, Err(Error::Tls { is_cut, .. }) if *is_cut == (expected == 1));
        assert!(cut && tries == expected, "{answer:?}: {refused:?} {tries}");
        server.join().unwrap();
    }
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
