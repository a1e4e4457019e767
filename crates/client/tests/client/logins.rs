//! Logging in: on every connection, before anything else, and nowhere where others could listen.

use std::{
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use ferry_client::{
    Address, Blame, Client, Code, Credentials, Error, Fetch, IfAbsent, LoginProblem, Parallel, Secret, Security,
    Settings, UserName,
};

use crate::support::{Honest, Local, Peer, Scripted, connect, name, options};

const GREETING: &str = "FERRY 1 scripted/1 login\n";

fn secret() -> Secret {
    Secret::from_bytes(b"hunter 2").unwrap()
}

fn user() -> UserName {
    UserName::new("alice").unwrap()
}

fn alice() -> Credentials {
    Credentials::new(user(), secret())
}

fn problem(error: &Error) -> &LoginProblem {
    match error {
        Error::Login { user, problem } if user == "alice" => problem,
        error => panic!("{error}"),
    }
}

/// Runs a script on each of so many connections, one after the other.
fn scripted(scripts: Vec<fn(&mut Peer)>) -> (Address, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = Address::new("127.0.0.1", listener.local_addr().unwrap().port());
    let thread = std::thread::spawn(move || {
        for script in scripts {
            let (stream, _): (TcpStream, _) = listener.accept().unwrap();
            let mut peer = Peer::new(stream);
            peer.send(GREETING);
            script(&mut peer);
        }
    });
    (address, thread)
}

fn log_in(peer: &mut Peer) {
    peer.expect("LOGIN alice hunter 2");
    peer.send("DONE\n");
}

#[test]
fn a_login_comes_before_all_else_and_again_on_each_connection() {
    let (address, server) = scripted(vec![
        |peer| {
            log_in(peer);
            peer.expect("GET a");
        },
        |peer| {
            log_in(peer);
            peer.expect("GET a");
            peer.send("FILE 2 - v1\nDATA 2\nhiEND d8932aac\n");
            peer.expect_end();
        },
    ]);
    let local = Local::new();
    let mut client = Client::connect(&address, options().credentials(alice())).unwrap();
    assert_eq!(client.user(), Some("alice"));
    let files = [Fetch { name: name("a"), target: local.path("a").into(), meta: None }];
    let report = client.fetch(&files, &Settings::default(), &mut |_| {});
    assert!(report.is_whole(), "{report:?}");
    drop(client);
    server.join().unwrap();
}

#[test]
fn further_connections_of_one_transfer_log_in_as_well() {
    let (server, local) = (Honest::with_accounts(), Local::new());
    server.add("large", vec![7; 40 << 20]);
    let mut client = Client::connect(&server.address, options().credentials(alice())).unwrap();
    let files = [Fetch { name: name("large"), target: local.path("large").into(), meta: None }];
    let settings = Settings { parallel: Parallel::Fixed(3), ..Settings::default() };
    let report = client.fetch(&files, &settings, &mut |_| {});
    assert!(report.is_whole(), "{report:?}");
    assert!(client.list(None).is_ok());
}

#[test]
fn a_refused_login_is_not_tried_again() {
    let (address, server) = scripted(vec![|peer| {
        peer.expect("LOGIN alice hunter 2");
        peer.send("FAIL denied wrong user or secret\n");
        peer.expect_end();
    }]);
    let settings = Settings { retries: 5, retry_for: Duration::from_secs(60), ..Settings::default() };
    let options = options().credentials(alice());
    let connected = Client::connect_patiently(&address, &options, &settings, IfAbsent::Wait, &mut |event| {
        panic!("{event:?}");
    });
    let error = connected.unwrap_err();
    assert!(matches!(problem(&error), LoginProblem::Refused(failure) if failure.code == Code::Denied));
    assert_eq!((error.blame(), error.code()), (Blame::Request, Some(Code::Denied)));
    assert_eq!(error.to_string(), "cannot log in as alice: the server says: wrong user or secret (denied)");
    server.join().unwrap();
}

#[test]
fn no_secret_is_sent_where_others_could_listen_or_nobody_knows_it() {
    let plain = |peer: &mut Peer| peer.expect_end();
    let server = Scripted::raw(move |peer| {
        peer.send(GREETING);
        plain(peer);
    });
    // This leads to the same server, and is no loopback address.
    let open = Address::new("0.0.0.0", server.address.port());
    let asking = Credentials::asking(user(), |_| panic!("nobody is to be asked"));
    let error = Client::connect(&open, options().security(Security::Plain).credentials(asking.clone())).unwrap_err();
    assert_eq!(problem(&error), &LoginProblem::Exposed);
    server.finish();

    let server = Scripted::greeting(plain);
    let error = Client::connect(&server.address, options().credentials(asking)).unwrap_err();
    assert_eq!(problem(&error), &LoginProblem::NoAccounts);
    server.finish();
}

#[test]
fn who_logs_in_later_stays_so_and_who_is_refused_stays_who_they_were() {
    let server = Honest::with_accounts();
    let mut client = connect(&server.address);
    assert!(client.has_accounts() && client.user().is_none());
    assert_eq!(client.list(None).unwrap_err().code(), Some(Code::Denied));
    let wrong = Credentials::new(user(), Secret::from_bytes(b"wrong").unwrap());
    assert!(matches!(problem(&client.login(wrong.clone()).unwrap_err()), LoginProblem::Refused(_)));
    assert!(client.is_connected() && client.user().is_none());
    client.login(alice()).unwrap();
    assert!(client.list(None).is_ok());
    client.reconnect().unwrap();
    assert!(client.list(None).is_ok());
    assert_eq!(client.user(), Some("alice"));
}

#[test]
fn the_secret_is_asked_for_once_and_the_server_need_not_wait_for_it() {
    let (address, server) = scripted(vec![
        |peer| {
            // Nobody types that fast: the server has given the client up meanwhile.
            peer.send("FAIL timeout silent for too long\n");
            peer.close();
        },
        |peer| {
            log_in(peer);
            peer.expect_end();
        },
        |peer| {
            log_in(peer);
            peer.expect_end();
        },
    ]);
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let credentials = Credentials::asking(user(), move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        Ok(secret())
    });
    let mut client = Client::connect(&address, options().credentials(credentials)).unwrap();
    client.reconnect().unwrap();
    drop(client);
    server.join().unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 1);

    let server = Scripted::raw(|peer| {
        peer.send(GREETING);
        peer.expect_end();
    });
    let interrupted = Credentials::asking(user(), |_| Err(Error::Interrupted));
    let error = Client::connect(&server.address, options().credentials(interrupted)).unwrap_err();
    assert!(matches!(error, Error::Interrupted));
    server.finish();
}
