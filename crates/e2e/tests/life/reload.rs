//! Reloads: by SIGHUP and by `ferryd reload`, under load, and of what is wrong.

use std::{
    fs,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use ferry_e2e::{Options, Raw, Server, Signal, eventually, ferry};

use super::said;

const USERS: &str = "[anonymous]\nrights = { \"\" = \"rw\" }\n";

/// A server with a users file of its own.
fn served() -> (tempfile::TempDir, Server) {
    let place = tempfile::tempdir().unwrap();
    let users = place.path().join("users.toml");
    fs::write(&users, USERS).unwrap();
    let server = Options::new().arg("--users").arg(users).start();
    (place, server)
}

#[test]
fn what_is_wrong_changes_nothing_and_is_printed() {
    let (place, server) = served();
    let users = place.path().join("users.toml");
    let mut raw = Raw::greeted(server.address());
    assert_eq!(raw.put("a", b"hello").word(0), "SAVED");
    for wrong in ["[anonymous]\nrights = { \"..\" = \"r\" }\n", "[anonymous\n"] {
        fs::write(&users, wrong).unwrap();
        let output = server.command(&["reload"]);
        let said = said(&output);
        assert!(!output.status.success() && output.stdout.is_empty(), "{said}");
        assert!(said.contains("nothing changes") && said.contains("users.toml") && said.lines().count() == 1, "{said}");
        assert_eq!(raw.put("a", b"hello").word(0), "SAVED");
        eventually("it is logged", || server.log().contains("nothing changes: ").then_some(()));
    }
    // A file that is gone is not taken for one that was never there.
    fs::remove_file(&users).unwrap();
    assert!(!server.command(&["reload"]).status.success());
    fs::write(&users, "[anonymous]\nrights = { \"\" = \"r\" }\n").unwrap();
    let output = server.command(&["reload"]);
    assert!(output.status.success(), "{}", said(&output));
    raw.put("a", b"hello").expect_failure("denied");
}

#[test]
fn a_server_without_files_reloads_as_well() {
    let server = Server::start();
    let output = server.command(&["reload"]);
    assert!(output.status.success(), "{}", said(&output));
    server.signal(Signal::HUP);
    eventually("it has reloaded twice", || (server.log().matches("reloaded").count() == 2).then_some(()));
    assert_eq!(Raw::greeted(server.address()).put("a", b"hello").word(0), "SAVED");
}

#[test]
fn a_reload_takes_what_can_change_and_names_what_can_not() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("ferryd.toml");
    let write = |text: &str| fs::write(&file, text).unwrap();
    write("idle-timeout = \"1h\"\nmax-upload = 100\n");
    // A name that can't be looked up again behind the fence.
    let server = Options::new().arg("--config").arg(&file).address("localhost:0").start();
    let (mut idle, mut raw) = (Raw::greeted(server.address()), Raw::greeted(server.address()));
    assert_eq!(raw.put("a", &[1; 100]).word(0), "SAVED");

    write("idle-timeout = \"1h\"\nmax-upload = 10\nread-only = true\nrate = \"1GiB\"\ngrace = \"60s\"\n");
    let output = server.command(&["reload"]);
    let told = said(&output);
    assert!(output.status.success(), "{told}");
    for part in ["max-upload = 10", "read-only", "new start", "rate = ", "grace = "] {
        assert!(told.contains(part), "{part}: {told}");
    }
    raw.put("a", &[1; 100]).expect_failure("too-large");
    assert_eq!(raw.put("a", &[2; 10]).word(0), "SAVED", "read-only takes a new start");

    write("max-uplod = 100\n");
    let output = server.command(&["reload"]);
    let told = said(&output);
    assert!(!output.status.success() && told.contains("ferryd.toml") && told.contains("max-upload"), "{told}");
    raw.put("a", &[1; 100]).expect_failure("too-large");

    // Of clients that are there as well.
    write("idle-timeout = \"1s\"\n");
    assert!(server.command(&["reload"]).status.success());
    assert!(idle.line().starts_with("FAIL timeout"));
}

#[test]
fn a_log_file_that_can_not_be_opened_anew_fails_a_reload_though_all_else_holds() {
    let place = tempfile::tempdir().unwrap();
    let [users, logs, moved] = ["users.toml", "logs", "moved"].map(|name| place.path().join(name));
    fs::write(&users, USERS).unwrap();
    fs::create_dir(&logs).unwrap();
    let server = Options::new().arg("--users").arg(&users).arg("--transfer-log").arg(logs.join("log")).start();
    let mut raw = Raw::greeted(server.address());
    fs::rename(&logs, &moved).unwrap();
    fs::write(&users, "[anonymous]\nrights = { \"\" = \"r\" }\n").unwrap();
    let output = server.command(&["reload"]);
    let told = said(&output);
    assert!(!output.status.success() && output.stdout.is_empty(), "{told}");
    for part in ["reloaded, but the transfer log can't be opened again: ", "logs/log: ", "is missing"] {
        assert!(told.contains(part) && told.lines().count() == 1, "{part}: {told}");
    }
    raw.put("a", b"hello").expect_failure("denied");
    fs::write(&users, "[anonymous\n").unwrap();
    let told = said(&server.command(&["reload"]));
    assert!(told.contains("nothing changes: ") && told.contains("; the transfer log can't be opened again"), "{told}");
    fs::write(&users, USERS).unwrap();
    fs::rename(&moved, &logs).unwrap();
    let output = server.command(&["reload"]);
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn another_key_is_taken_live() {
    let [server, other] = [(); 2].map(|()| Options::new().arg("--tls").start());
    let mut before = Raw::greeted_by_tls(server.address());
    assert_ne!(server.fingerprint(), other.fingerprint());
    let home = tempfile::tempdir().unwrap();
    let get = |fingerprint: &str| {
        let commands = format!("OPEN --tls {}; LIST", server.address().port());
        let mut command = Command::new(ferry());
        command.args(["--fingerprint", fingerprint, "-c", &commands]).current_dir(home.path()).stdin(Stdio::null());
        command.env("XDG_CONFIG_HOME", home.path()).env("XDG_STATE_HOME", home.path());
        let output = command.output().unwrap();
        (output.status.success(), said(&output))
    };
    assert!(get(server.fingerprint()).0);
    let staged = server.state().join("staged");
    fs::copy(other.state().join("key.pem"), &staged).unwrap();
    fs::rename(&staged, server.state().join("key.pem")).unwrap();
    let output = server.command(&["reload"]);
    assert!(output.status.success() && said(&output).contains(other.fingerprint()), "{}", said(&output));
    let (works, told) = get(other.fingerprint());
    assert!(works, "{told}");
    assert!(!get(server.fingerprint()).0, "the old key is still shown");
    assert_eq!(before.put("a", b"hello").word(0), "SAVED", "who was connected stays so");
    // A file with something else in it changes nothing.
    fs::write(server.state().join("key.pem"), b"nonsense").unwrap();
    assert!(!server.command(&["reload"]).status.success());
    assert!(get(other.fingerprint()).0);
}

#[test]
fn reloads_under_load_disturb_nobody() {
    // A hundred, where that is asked for.
    let reloads = if std::env::var_os("FERRY_BIG").is_some() { 100 } else { 6 };
    let (_place, server) = served();
    let (ends, requests) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for number in 0..4 {
            let (server, ends, requests) = (&server, &ends, &requests);
            scope.spawn(move || {
                let mut raw = Raw::greeted(server.address());
                while !ends.load(Ordering::Relaxed) {
                    assert_eq!(raw.put(&format!("f{number}"), &[7; 5000]).word(0), "SAVED");
                    assert_eq!(raw.ask(&format!("GET f{number}")).verified(), [7; 5000]);
                    requests.fetch_add(2, Ordering::Relaxed);
                }
            });
        }
        for reload in 0..reloads {
            if reload % 2 == 0 {
                let output = server.command(&["reload"]);
                assert!(output.status.success(), "{}", said(&output));
            } else {
                let before = server.log().matches("reloaded").count();
                server.signal(Signal::HUP);
                eventually("a reload", || (server.log().matches("reloaded").count() > before).then_some(()));
            }
        }
        ends.store(true, Ordering::Relaxed);
    });
    eprintln!("{reloads} reloads under {} requests", requests.into_inner());
    assert_eq!(server.terminate().code(), Some(0));
}
