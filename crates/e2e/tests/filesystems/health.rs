//! A root that hangs or fails is down, for everybody who asks and for nobody's cost.

use std::{fs, os::unix::net::UnixDatagram};

use ferry_e2e::{
    HANG_GUARD, Options, Puppet, Raw, Server, eventually, mounts,
    puppet::{Errno, Habits, Op, Order},
};

/// As many as ask at one time.
const CLIENTS: usize = 20;

/// Returns a figure of the server.
fn figure(server: &Server, keys: &[&str]) -> u64 {
    let output = server.command(&["status", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    keys.iter().fold(&json, |value, key| &value[key]).as_u64().unwrap_or_else(|| panic!("no {keys:?} in {json}"))
}

#[test]
fn a_root_that_hangs_or_is_out_of_reach_is_busy_and_one_that_fails_is_io() {
    if !mounts::private(&[]) {
        return;
    }
    let puppet = Puppet::mount(Habits::default());
    let server = Options::new().root(puppet.path()).start();
    let mut raw = Raw::greeted(server.address());
    assert_eq!(raw.ask("HEALTH").line, "DONE");
    puppet.order(Op::Getattr, None, Order::Fail(Errno::EIO));
    raw.ask("HEALTH").expect_failure("io");
    for error in [Errno::ENOTCONN, Errno::ESHUTDOWN, Errno::ENXIO, Errno::ESTALE] {
        puppet.order(Op::Getattr, None, Order::Fail(error));
        raw.ask("HEALTH").expect_failure("busy");
    }
    puppet.release();
    eventually("it can be reached again", || (raw.ask("HEALTH").line == "DONE").then_some(()));
    puppet.order(Op::Getattr, None, Order::Hang);
    for _ in 0..2 {
        raw.ask("HEALTH").expect_failure("busy");
    }
    puppet.release();
    assert_eq!(raw.ask("HEALTH").line, "DONE");
}

#[test]
fn all_who_ask_about_a_root_that_hangs_cost_one_helper_and_one_line() {
    if !mounts::private(&[]) {
        return;
    }
    let puppet = Puppet::mount(Habits::default());
    let server = Options::new().root(puppet.path()).start();
    let lines = || server.log().lines().count();
    puppet.order(Op::Getattr, None, Order::Hang);
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| Raw::greeted(server.address())).collect();
    let before = lines();
    for _ in 0..2 {
        clients.iter_mut().for_each(|raw| raw.send("HEALTH\n"));
        clients.iter_mut().for_each(|raw| raw.answer("HEALTH").expect_failure("busy"));
    }
    assert_eq!(figure(&server, &["root_up"]), 0);
    assert_eq!(
        (figure(&server, &["helpers_busy", "look"]), figure(&server, &["helper_queue_operations", "look"])),
        (1, 0)
    );
    assert_eq!(server.log().matches("the root is down: it did not answer within a second").count(), 1);
    // That, that a helper is stuck, and what a busy machine brings with it; and none for each client.
    assert!(lines() - before < CLIENTS / 2, "{}", server.log());
    puppet.release();
    assert_eq!(clients[0].ask("HEALTH").line, "DONE");
    eventually("it is up again", || server.log().contains("the root is up again, after ").then_some(()));
    assert_eq!(figure(&server, &["root_up"]), 1);
}

#[test]
fn the_server_finds_out_by_itself_that_its_root_fails_and_that_it_is_back() {
    if !mounts::private(&[]) {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(HANG_GUARD)).unwrap();
    let hears = || {
        let mut buffer = [0; 4096];
        let count = manager.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..count].to_vec()).unwrap()
    };
    let puppet = Puppet::mount(Habits::default());
    let server = Options::new().root(puppet.path()).env("NOTIFY_SOCKET", &path).start();
    assert!(hears().contains("READY=1"));
    puppet.order(Op::Getattr, None, Order::Fail(Errno::EIO));
    assert_eq!(hears(), "STATUS=the root is down: the server's disk failed\n");
    assert_eq!(figure(&server, &["root_up"]), 0);
    puppet.release();
    assert_eq!(hears(), "STATUS=serving\n");
    assert_eq!(figure(&server, &["root_up"]), 1);
    fs::write(puppet.join("a"), b"a").unwrap();
    assert_eq!(Raw::greeted(server.address()).ask("GET a").verified(), b"a");
}
