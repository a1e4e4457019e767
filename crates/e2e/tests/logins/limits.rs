//! Limits of users: clients, rates, kept uploads and staged bytes.

use std::{
    fs,
    time::{Duration, Instant},
};

use ferry_e2e::{Raw, Server, body, eventually};
use rustix::process::Signal;
use serde_json::Value;

use crate::{PASSWORD, Place};

/// Alice with `limits`, and bob without any; both may do everything.
fn users(limits: &str) -> String {
    let user = |name: &str| format!("[users.{name}]\npassword = \"{PASSWORD}\"\nrights = {{ \"\" = \"rw\" }}\n");
    format!("{}{limits}\n{}", user("alice"), user("bob"))
}

fn start(place: &Place, options: &[&str]) -> Server {
    let all = place.options().arg("--durability").arg("none");
    options.iter().fold(all, |all, option| all.arg(*option)).start()
}

fn reload(server: &Server, place: &Place, text: &str) {
    let count = || server.log().matches("the users file holds as it is now").count();
    let before = count();
    place.write(text);
    server.signal(Signal::HUP);
    eventually("a reload", || (count() > before).then_some(()));
}

fn logged_in(server: &Server, user: &str) -> Raw {
    let mut raw = Raw::greeted(server.address());
    assert_eq!(raw.ask(&format!("LOGIN {user} password")).line, "DONE");
    raw
}

/// Waits until a figure of the server is as `fits` says.
fn figure(server: &Server, key: &str, fits: impl Fn(u64) -> bool) {
    eventually(key, || {
        let status: Value = serde_json::from_slice(&server.command(&["status", "--json"]).stdout).ok()?;
        status[key].as_u64().filter(|value| fits(*value)).map(drop)
    });
}

/// Begins an upload of 100,000 bytes, and leaves after `bytes` of them.
fn keep(raw: &mut Raw, id: &str, bytes: usize) {
    assert_eq!(raw.ask(&format!("RESUME {id} 100000 - {id}")).line, "GO 0");
    raw.send(format!("DATA {bytes}\n").as_bytes());
    raw.send(vec![7; bytes]);
    raw.send("STOP\n");
    raw.answer("RESUME").expect_failure("stopped");
}

#[test]
fn clients_count_by_user_where_one_has_logged_in() {
    let place = Place::new(&users("max-clients = 2"));
    let server = start(&place, &["--max-clients-per-address", "3"]);
    let mut alice = [logged_in(&server, "alice"), logged_in(&server, "alice")];
    // They count for the address no more.
    let mut others: Vec<_> = (0..3).map(|_| Raw::greeted(server.address())).collect();
    assert!(Raw::connect(server.address()).line().starts_with("FAIL busy "));
    // It is no failed login: neither a delay nor the third one closes.
    for _ in 0..4 {
        others[0].ask("LOGIN alice password").expect_failure("busy");
    }
    assert!(!server.log().contains("login failed"));
    assert_eq!(alice[0].ask("LOGIN alice password").line, "DONE", "as the same user, it is no client more");
    // One that logs in as somebody else, or goes, makes room.
    assert_eq!(alice[1].ask("LOGIN bob password").line, "DONE");
    assert_eq!(others[0].ask("LOGIN alice password").line, "DONE");
    others[1].ask("LOGIN alice password").expect_failure("busy");
    drop(alice);
    eventually("room", || (others[1].ask("LOGIN alice password").line == "DONE").then_some(()));
    // Fewer from now on: those who are there stay.
    reload(&server, &place, &users("max-clients = 1"));
    others[2].ask("LOGIN alice password").expect_failure("busy");
    for raw in &mut others[..2] {
        assert_eq!(raw.put("a", b"x").word(0), "SAVED");
    }
    // Who has no limit of one's own has that of an address.
    let bob: Vec<_> = (0..2).map(|_| logged_in(&server, "bob")).collect();
    assert_eq!(others[2].ask("LOGIN bob password").line, "DONE");
    Raw::greeted(server.address()).ask("LOGIN bob password").expect_failure("busy");
    drop(bob);
}

/// Has each of these connections get the file `f`, all at one time. Returns how long that took.
fn get_at_once(clients: &mut [Raw]) -> Duration {
    let began = Instant::now();
    clients.iter_mut().for_each(|raw| raw.send("GET f\n"));
    clients.iter_mut().for_each(|raw| drop(raw.answer("GET").verified()));
    began.elapsed()
}

#[test]
fn all_clients_of_a_user_share_one_rate_and_another_one_holds_at_once() {
    const BYTES: usize = 150_000;
    let place = Place::new(&users("rate = \"300kB\""));
    let server = start(&place, &[]);
    server.write("f", &vec![7; BYTES]);
    let mut alice = [logged_in(&server, "alice"), logged_in(&server, "alice")];
    // A slow machine is never faster; the start may use what was saved up.
    let took = get_at_once(&mut alice);
    assert!(took >= Duration::from_millis(850), "300 kB at 300 kB/s took {took:?}");
    // In the middle of a download, too: this one would take half an hour.
    reload(&server, &place, &users("rate = 100"));
    alice[0].send("GET f\n");
    reload(&server, &place, &users("rate = \"100MB\""));
    assert_eq!(alice[0].answer("GET").verified().len(), BYTES);
    reload(&server, &place, &users("rate = \"200kB\""));
    let took = get_at_once(&mut alice[..1]);
    assert!(took >= Duration::from_millis(600), "150 kB at 200 kB/s took {took:?}");
}

#[test]
fn the_rate_of_a_client_is_that_of_a_user_who_has_no_other() {
    const BYTES: usize = 150_000;
    let place = Place::new(&users("rate = \"100MB\""));
    let server = start(&place, &["--rate", "300kB"]);
    server.write("f", &vec![7; BYTES]);
    let took = get_at_once(&mut [logged_in(&server, "bob"), logged_in(&server, "bob")]);
    assert!(took >= Duration::from_millis(850), "300 kB at 300 kB/s took {took:?}");
}

#[test]
fn a_user_keeps_as_many_uploads_as_the_file_says() {
    let place = Place::new(&users("max-kept = 2"));
    let root = tempfile::tempdir().unwrap();
    let options = || place.options().root(root.path()).arg("--durability").arg("none");
    let server = options().start();
    let (mut alice, mut bob) = (logged_in(&server, "alice"), logged_in(&server, "bob"));
    keep(&mut alice, "one", 10);
    // What was published is forgotten where there is no other room.
    assert_eq!(alice.ask("RESUME two 1 - two").line, "GO 0");
    alice.send(body(b"x", 1));
    assert_eq!(alice.answer("RESUME").word(0), "SAVED");
    keep(&mut alice, "three", 10);
    alice.ask("RESUME four 100000 - four").expect_failure("busy");
    // Others are not touched by that, and neither is what she keeps already.
    keep(&mut bob, "five", 10);
    assert_eq!(alice.ask("RESUME one 100000 - one").line, "GO 10");
    alice.send("STOP\n");
    alice.answer("RESUME").expect_failure("stopped");
    reload(&server, &place, &users("max-kept = 3"));
    keep(&mut alice, "four", 10);
    alice.ask("RESUME six 100000 - six").expect_failure("busy");
    // Another process finds out whose they are.
    assert!(server.terminate().success());
    let server = options().start();
    let mut alice = logged_in(&server, "alice");
    alice.ask("RESUME six 100000 - six").expect_failure("busy");
    assert_eq!(alice.ask("RESUME three 100000 - three").line, "GO 10");
}

#[test]
fn a_user_stages_as_many_bytes_as_the_file_says() {
    let place = Place::new(&users("max-staged = \"64KiB\""));
    let root = tempfile::tempdir().unwrap();
    let options = || place.options().root(root.path()).arg("--durability").arg("none");
    let server = options().start();
    let (mut alice, mut bob) = (logged_in(&server, "alice"), logged_in(&server, "bob"));
    alice.put("a", &[7; 100_000]).expect_failure("no-space");
    assert_eq!(bob.put("a", &[7; 100_000]).word(0), "SAVED");
    // What failed is let go after its answer.
    figure(&server, "staged_bytes", |bytes| bytes == 0);
    // What is kept counts as well, also after a restart.
    keep(&mut alice, "kept", 40_000);
    // Its last bytes are written after the answer.
    figure(&server, "kept_bytes", |bytes| bytes >= 40_000);
    alice.put("b", &[7; 40_000]).expect_failure("no-space");
    assert_eq!(alice.put("b", &[7; 20_000]).word(0), "SAVED");
    drop((alice, bob));
    assert!(server.terminate().success());
    let server = options().start();
    // The first look at the disk goes on beside the loop.
    figure(&server, "kept_bytes", |bytes| bytes > 0);
    let mut alice = logged_in(&server, "alice");
    alice.put("c", &[7; 40_000]).expect_failure("no-space");
    reload(&server, &place, &users("max-staged = \"1MiB\""));
    assert_eq!(alice.put("c", &[7; 40_000]).word(0), "SAVED");
    reload(&server, &place, &users("max-staged = 0"));
    alice.put("d", b"x").expect_failure("no-space");
    assert_eq!(alice.put("e", b"").word(0), "SAVED", "no byte of it is staged");
    assert!(!fs::exists(root.path().join("d")).unwrap());
}
