//! A server that is killed, and the next one, where that is not as simple as on a disk of this machine with room.

use std::{fs, path::Path};

use ferry_e2e::{Options, Puppet, Raw, Server, eventually, mounts, mounts::Mount, puppet::Habits};
use rustix::process::Signal;

/// It ends without a chance to clean up.
fn kill(mut server: Server) {
    server.signal(Signal::KILL);
    server.wait();
}

fn runs(root: &Path) -> Vec<String> {
    let names = fs::read_dir(root.join(".ferry")).unwrap().map(|entry| entry.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).filter(|name| name.starts_with("run-")).collect()
}

#[test]
fn on_a_full_disk_the_next_one_serves_what_is_there_until_there_is_room() {
    if !mounts::private(&["mkfs.ext4"]) {
        return;
    }
    let memory = Mount::memory(32 << 20);
    let make = ["mkfs.ext4", "-q", "-F", "-N", "32", "-O", "^has_journal"];
    let disk = Mount::make(&memory.path().join("image"), 16 << 20, &make, "rw");
    let start = || Options::new().root(disk.path()).start();
    let server = start();
    assert_eq!(Raw::greeted(server.address()).put("a", b"hello").word(0), "SAVED");
    kill(server);
    // Nothing is left that the next one could remove.
    for run in runs(disk.path()) {
        fs::remove_dir_all(disk.path().join(".ferry").join(run)).unwrap();
    }
    let full = (0..100).find(|number| fs::write(disk.path().join(format!("filling-{number}")), b"").is_err());
    assert!(full.is_some(), "not one more file can be made");
    let server = start();
    let mut raw = Raw::greeted(server.address());
    assert_eq!(raw.ask("GET a").verified(), b"hello");
    raw.put("b", b"hello").expect_failure("no-space");
    for number in 0..4 {
        assert_eq!(raw.ask(&format!("DELETE filling-{number}")).line, "DONE");
    }
    assert_eq!(raw.put("b", b"hello").word(0), "SAVED");
    drop(raw);
    assert_eq!(server.terminate().code(), Some(0));
    assert!(runs(disk.path()).is_empty());
}

#[test]
fn where_locks_may_be_of_one_machine_the_next_one_knows_that_the_last_one_has_ended() {
    if !mounts::private(&[]) {
        return;
    }
    let puppet = Puppet::mount(Habits::default());
    let start = || Options::new().root(puppet.path()).start();
    let server = start();
    assert_eq!(Raw::greeted(server.address()).put("a", b"hello").word(0), "SAVED");
    let before = runs(puppet.path());
    assert_eq!(before.len(), 1);
    kill(server);
    let server = start();
    eventually("what the dead one left is removed", || {
        let runs = runs(puppet.path());
        (runs.len() == 1 && runs != before).then_some(())
    });
    assert_eq!(Raw::greeted(server.address()).put("b", b"hello").word(0), "SAVED");
    assert_eq!(server.terminate().code(), Some(0));
    assert!(runs(puppet.path()).is_empty(), "its lock is closed before its directory is removed");
}
