//! A mount below the root is none of the server's business, however it behaves.

use std::fs;

use ferry_e2e::{
    Options, Puppet, Raw, mounts,
    puppet::{Habits, Op, Order},
};
use rustix::mount::{UnmountFlags, mount_bind, unmount};

/// More than there are helpers for anything.
const MANY: usize = 8;

#[test]
fn a_mount_that_hangs_or_has_crashed_is_a_name_and_no_more() {
    if !mounts::private(&[]) {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let inner = root.path().join("inner");
    fs::create_dir(&inner).unwrap();
    fs::write(root.path().join("fine"), b"fine").unwrap();
    let mut puppet = Puppet::mount(Habits::default());
    mount_bind(puppet.path(), &inner).unwrap();
    let mounted = Mounted(&inner);
    let server = Options::new().root(root.path()).start();
    let look = || {
        // Each needs a helper, and each must come back.
        let mut clients: Vec<_> = (0..MANY).map(|_| Raw::greeted(server.address())).collect();
        for client in &mut clients {
            client.send("LIST\nGET inner/a\nSTAT inner\nLIST inner\nGET fine\n");
        }
        for client in &mut clients {
            let listing = String::from_utf8(client.answer("LIST").verified()).unwrap();
            assert!(listing.contains("fine") && listing.contains("inner"), "{listing}");
            for request in ["GET", "STAT", "LIST"] {
                assert!(client.answer(request).code().is_some(), "{request} of what is mounted there");
            }
            assert_eq!(client.answer("GET").verified(), b"fine");
        }
    };
    for op in [Op::Getattr, Op::Lookup, Op::Opendir, Op::Open, Op::Statfs] {
        puppet.order(op, None, Order::Hang);
    }
    look();
    puppet.crash();
    look();
    assert_eq!(server.terminate().code(), Some(0));
    drop(mounted);
}

/// A mount, ended before what it lies in is removed.
struct Mounted<'a>(&'a std::path::Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        unmount(self.0, UnmountFlags::DETACH).unwrap();
    }
}
