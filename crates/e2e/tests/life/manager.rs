//! The service manager: what it is told, and the sockets that it passes.

use std::{
    fs,
    net::TcpListener,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
    process,
};

use ferry_e2e::{HANG_GUARD, Options, Raw, Signal, eventually};

/// A manager that hears what it is told.
struct Manager(UnixDatagram);

impl Manager {
    fn new(socket: UnixDatagram) -> Manager {
        socket.set_read_timeout(Some(HANG_GUARD)).unwrap();
        Manager(socket)
    }

    /// The next thing that it is told which has `word` in it.
    #[track_caller]
    fn hears(&self, word: &str) -> String {
        loop {
            let mut buffer = [0; 4096];
            let count = self.0.recv(&mut buffer).unwrap_or_else(|error| panic!("nothing with {word}: {error}"));
            let told = String::from_utf8(buffer[..count].to_vec()).unwrap();
            if told.contains(word) {
                return told;
            }
        }
    }
}

#[test]
fn it_is_told_of_the_whole_life() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("notify");
    let manager = Manager::new(UnixDatagram::bind(&path).unwrap());
    let options = Options::new().env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "100000");
    let mut server = options.start();
    let ready = manager.hears("READY=1");
    assert!(ready.contains(&format!("MAINPID={}\n", server.pid())) && ready.contains("STATUS=serving"), "{ready}");
    for _ in 0..3 {
        assert_eq!(manager.hears("WATCHDOG"), "WATCHDOG=1\n");
    }
    server.signal(Signal::HUP);
    let reloading = manager.hears("RELOADING=1");
    let time = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).unwrap();
    assert!(time.parse::<u64>().unwrap() > 0, "{reloading}");
    assert!(manager.hears("READY=1").contains("STATUS=serving\n"));
    server.signal(Signal::TERM);
    manager.hears("STOPPING=1");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn it_is_told_of_a_root_that_is_gone() {
    let place = tempfile::tempdir().unwrap();
    let (path, root) = (place.path().join("notify"), place.path().join("root"));
    let manager = Manager::new(UnixDatagram::bind(&path).unwrap());
    let mut server = Options::new().root(&root).env("NOTIFY_SOCKET", &path).start();
    assert!(manager.hears("READY=1").contains("STATUS=serving\n"));
    let status = || String::from_utf8(server.command(&["status"]).stdout).unwrap();
    assert!(status().contains("\nroot        up\n"), "{}", status());
    // Nobody asks: the server finds out by itself.
    fs::remove_dir_all(&root).unwrap();
    let told = manager.hears("STATUS=");
    assert!(told.starts_with("STATUS=the root is down: the server's root has been removed"), "{told}");
    assert!(status().contains("\nroot        down for "), "{}", status());
    // It is down after a reload as well.
    assert!(server.command(&["reload"]).status.success());
    assert!(manager.hears("READY=1").contains("STATUS=the root is down"));
    server.signal(Signal::TERM);
    assert!(manager.hears("STOPPING=1").contains("STATUS=draining"));
    assert_eq!(server.wait().code(), Some(0));
    assert_eq!(server.log().matches("the root is down").count(), 1, "{}", server.log());
}

#[test]
fn it_may_have_no_file_and_may_not_be_there() {
    let name = format!("ferry-e2e-{}", process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let manager = Manager::new(UnixDatagram::bind_addr(&address).unwrap());
    let server = Options::new().env("NOTIFY_SOCKET", format!("@{name}")).start();
    manager.hears("READY=1");
    // Behind the fence, too.
    server.signal(Signal::TERM);
    manager.hears("STOPPING=1");
    let server = Options::new().env("NOTIFY_SOCKET", "/no/where").start();
    eventually("it is logged", || server.log().contains("hears nothing").then_some(()));
    assert_eq!(Raw::greeted(server.address()).put("a", b"hello").word(0), "SAVED");
}

/// Turns the standard input into the first socket that is passed.
const PASS: &str = "exec 3<&0 </dev/null && export LISTEN_PID=$$ LISTEN_FDS=1";

#[test]
fn a_socket_that_is_passed_is_served() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // A client that comes before the server does.
    let mut early = Raw::connect(address);
    let server = Options::new().address("127.0.0.1:1").stdin(listener.into()).behind(PASS).start();
    assert_eq!(server.address(), address);
    assert!(early.line().starts_with("FERRY 1 "));
    assert_eq!(early.put("a", b"hello").word(0), "SAVED");
    assert_eq!(server.terminate().code(), Some(0));
}

#[test]
fn who_waits_at_a_socket_that_is_passed_is_left_to_the_next_server() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let held = listener.try_clone().unwrap();
    let mut server = Options::new().address("127.0.0.1:1").stdin(listener.into()).behind(PASS).start();
    server.stop();
    let mut waiting: Vec<_> = (0..5).map(|_| Raw::connect(server.address())).collect();
    server.signal(Signal::TERM);
    server.signal(Signal::CONT);
    assert_eq!(server.wait().code(), Some(0));
    let next = Options::new().address("127.0.0.1:1").stdin(held.into()).behind(PASS).start();
    for raw in &mut waiting {
        assert!(raw.line().starts_with("FERRY 1 "));
    }
    drop(waiting);
    assert_eq!(next.terminate().code(), Some(0));
}

#[test]
fn what_a_server_may_do_follows_from_the_address_that_is_passed() {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let options = Options::new().address("127.0.0.1:1").arg("--plain").stdin(listener.into()).behind(PASS);
    let server = options.start();
    let mut raw = Raw::connect_plain(server.address());
    assert!(raw.line().contains(" read-only"));
    raw.put("a", b"hello").expect_failure("read-only");
}

#[test]
fn what_is_passed_to_another_process_or_is_no_socket_is_not_served() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let others = "exec 3<&0 </dev/null && export LISTEN_PID=1 LISTEN_FDS=1";
    let server = Options::new().stdin(listener.into()).behind(others).start();
    assert_ne!(server.address(), address);
    let output = process::Command::new("sh")
        .args(["-c", "exec 3</dev/null && export LISTEN_PID=$$ LISTEN_FDS=1 && exec \"$0\" 0"])
        .arg(ferry_e2e::ferryd())
        .output()
        .unwrap();
    let said = super::said(&output);
    assert!(!output.status.success() && said.contains("LISTEN_FDS") && said.lines().count() == 1, "{said}");
}
