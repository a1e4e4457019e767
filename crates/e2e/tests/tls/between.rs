//! Somebody in between, with a key of their own: what they hear of a client is nothing, in the open or by TLS.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, Ordering},
    },
    thread,
};

use ferry_client::{
    Address, Client, Credentials, Fetch, Name, Options as ClientOptions, Secret, Security, Settings, Trust, UserName,
};
use ferry_e2e::{Options, Server, random_bytes};

use crate::{Run, forge::impersonate, run_with};

/// The treatment of the next connections by the one in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Role {
    /// Forwards them.
    Relay,
    /// Forwards them, and ends them when so much came down.
    Cut,
    /// Speaks TLS with a key of its own, greets, and asks for a login.
    Tls,
    /// Speaks in the open, greets, and asks for a login.
    Plain,
    /// Takes them, and says nothing.
    Silent,
}

use Role::{Cut, Plain, Relay, Silent, Tls};

const ROLES: [Role; 5] = [Relay, Cut, Tls, Plain, Silent];

/// The bytes that come down before a connection is cut.
const CUT_BYTES: usize = 300_000;

const GREETING: &[u8] = b"FERRY 1 ferryd/1.0.0 login with-if\n";

struct Between {
    address: SocketAddr,
    /// Of the next connection, and of those behind it.
    roles: Arc<[AtomicU8; 2]>,
    /// All that it heard from clients, opened.
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Between {
    fn and(server: &Server) -> Between {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, server) = (listener.local_addr().unwrap(), server.address());
        let (roles, heard) = (Arc::new([AtomicU8::new(0), AtomicU8::new(0)]), Arc::<Mutex<Vec<u8>>>::default());
        let between = Between { address, roles: roles.clone(), heard: heard.clone() };
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let role = roles[0].swap(roles[1].load(Ordering::SeqCst), Ordering::SeqCst);
                let heard = heard.clone();
                thread::spawn(move || play(ROLES[usize::from(role)], client, server, &heard));
            }
        });
        between
    }

    fn plays(&self, first: Role, then: Role) {
        for (role, of) in [first, then].into_iter().zip(self.roles.iter()) {
            of.store(role as u8, Ordering::SeqCst);
        }
    }

    fn port(&self) -> String {
        self.address.port().to_string()
    }

    /// Panics if it heard anything.
    #[track_caller]
    fn heard_nothing(&self) {
        let heard = self.heard.lock().unwrap();
        assert!(heard.is_empty(), "it heard {:?}", String::from_utf8_lossy(&heard));
    }
}

fn play(role: Role, mut client: TcpStream, server: SocketAddr, heard: &Mutex<Vec<u8>>) {
    match role {
        Relay | Cut => relay(&client, server, if role == Cut { CUT_BYTES } else { usize::MAX }),
        Tls => {
            let Some(mut impostor) = impersonate(client) else { return };
            let _ = impostor.connection.writer().write_all(GREETING);
            let _ = impostor.connection.complete_io(&mut impostor.stream);
            heard.lock().unwrap().extend(impostor.hear(usize::MAX));
        }
        Plain | Silent => {
            if role == Plain {
                let _ = client.write_all(GREETING);
            }
            let mut said = Vec::new();
            let _ = client.read_to_end(&mut said);
            // A hello may be asked of anybody. It holds no secret.
            if said.first() != Some(&22) {
                heard.lock().unwrap().extend(said);
            }
        }
    }
}

fn relay(client: &TcpStream, server: SocketAddr, most: usize) {
    let server = TcpStream::connect(server).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let _ = std::io::copy(&mut &*client, &mut &server);
            let _ = server.shutdown(Shutdown::Write);
        });
        let _ = std::io::copy(&mut (&server).take(most as u64), &mut &*client);
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    });
}

/// The password is "password", and its hash cheap.
const PASSWORD: &str = "$argon2id$v=19$m=32,t=1,p=1$c29tZXNhbHQ$MBqPu0xZXFIeZ1LJialS1H4ezQY9ie689ohyiGdbVMg";

/// A server with a user, and a client's home.
struct Place {
    server: Server,
    between: Between,
    home: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let home = tempfile::tempdir().unwrap();
        let users = home.path().join("users.toml");
        fs::write(&users, format!("[users.alice]\npassword = \"{PASSWORD}\"\nrights = {{ \"\" = \"rw\" }}\n")).unwrap();
        let server = Options::new().arg("--tls").arg("--users").arg(users).start();
        server.write("a.txt", b"hello");
        server.write("large", &random_bytes(3, 2_000_000));
        let between = Between::and(&server);
        Place { server, between, home }
    }

    fn home(&self) -> &Path {
        self.home.path()
    }

    /// Runs the client with a secret.
    fn run(&self, arguments: &[&str]) -> Run {
        run_with(self.home(), arguments, &[("FERRY_SECRET", "password")])
    }

    /// Each way to ask for a listing as alice.
    fn ways(&self) -> Vec<Vec<String>> {
        let port = self.between.port();
        let at = format!("alice@127.0.0.1:{port}");
        let words = |text: &str| text.split('|').map(|word| word.replace("AT", &at)).collect();
        [
            "ls|AT",
            "--tls|ls|AT",
            "--accept-new|ls|AT",
            "-c|OPEN AT; LS",
            "-c|OPEN --tls AT; PUT a.txt; LS",
            "--parallel|4|get|AT|large",
        ]
        .map(words)
        .into()
    }
}

fn words(way: &[String]) -> Vec<&str> {
    way.iter().map(String::as_str).collect()
}

#[test]
fn who_has_connected_before_says_nothing_to_another_key_nor_in_the_open() {
    let place = Place::new();
    fs::create_dir(place.home().join("client")).unwrap();
    fs::write(place.home().join("client/a.txt"), "mine").unwrap();
    let at = format!("alice@127.0.0.1:{}", place.between.port());
    place.run(&["--accept-new", "--tls", "ls", &at]).assert_done("a.txt");
    let known = fs::read(place.home().join("config/ferry/known_servers")).unwrap();
    for way in place.ways() {
        place.between.plays(Tls, Tls);
        place.run(&words(&way)).assert_failed(6, &["HAS CHANGED", "line 1 of"]);
        place.between.plays(Plain, Plain);
        place.run(&words(&way)).assert_failed(3, &["does not speak TLS"]);
        place.between.plays(Silent, Silent);
        let way: Vec<_> = ["--timeout", "1"].into_iter().chain(words(&way)).collect();
        let run = place.run(&way);
        assert!(matches!(run.status, 3 | 7), "{way:?}: {} {}", run.status, run.err);
    }
    place.between.heard_nothing();
    assert_eq!(fs::read(place.home().join("config/ferry/known_servers")).unwrap(), known);
    assert!(!place.home().join("large").exists());
    place.between.plays(Relay, Relay);
    place.run(&["ls", &at]).assert_done("a.txt");
}

#[test]
fn who_has_not_connected_before_says_nothing_to_a_key_unasked() {
    let place = Place::new();
    for way in place.ways().into_iter().filter(|way| !way.contains(&"--accept-new".into())) {
        place.between.plays(Tls, Tls);
        let run = place.run(&words(&way));
        // In the open it was silent: TLS was tried, as on any loopback address.
        run.assert_failed(6, &["not known", "--accept-new"]);
        // What was named must be there.
        let key = place.server.fingerprint();
        let pinned: Vec<_> = ["--fingerprint", key].into_iter().chain(words(&way)).collect();
        place.run(&pinned).assert_failed(6, &[key, "somebody is in between"]);
        place.between.plays(Plain, Plain);
        place.run(&pinned).assert_failed(3, &["does not speak TLS"]);
    }
    place.between.heard_nothing();
    assert!(!place.home().join("config/ferry/known_servers").exists());
}

#[test]
fn somebody_who_takes_over_in_the_middle_hears_nothing_of_who_comes_back() {
    let place = Place::new();
    let at = format!("alice@127.0.0.1:{}", place.between.port());
    for after in [Tls, Plain] {
        for trust in [&["--accept-new", "--tls"][..], &["--fingerprint", place.server.fingerprint()], &[]] {
            place.between.plays(Cut, after);
            let arguments = [trust, &["--retry", "1", "get", &at, "large"]].concat();
            let run = place.run(&arguments);
            assert!(matches!(run.status, 3 | 6), "{arguments:?}: {} {}", run.status, run.err);
            assert!(!place.home().join("large").exists());
            place.between.heard_nothing();
        }
    }
}

#[test]
fn the_library_goes_on_with_the_key_that_it_took_also_without_a_file() {
    let place = Place::new();
    let address = Address::new("127.0.0.1", place.between.address.port());
    for after in [Tls, Plain] {
        // By the address, which is a loopback one: it finds out by itself that TLS is spoken.
        for security in [Security::ByAddress, Security::Tls] {
            // The first one is silent in the open.
            place.between.plays(if security == Security::Tls { Cut } else { Relay }, Cut);
            let credentials =
                Credentials::new(UserName::new("alice").unwrap(), Secret::from_bytes(b"password").unwrap());
            let options = ClientOptions::default().trust(Trust::new().accept_new()).security(security);
            let mut client = Client::connect(&address, options.credentials(credentials)).unwrap();
            place.between.plays(after, after);
            let target = place.home().join("large");
            let file = Fetch { name: Name::new("large").unwrap(), target: target.clone().into(), meta: None };
            let report = client.fetch(&[file], &Settings { retries: 1, ..Settings::default() }, &mut |_| {});
            assert!(!report.is_whole() && !target.exists(), "{after:?} {security:?}: {report:?}");
            place.between.heard_nothing();
        }
    }
}
