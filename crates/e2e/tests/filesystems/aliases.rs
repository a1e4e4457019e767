//! The server's own corner has one name, whatever the file system makes of it.

use std::{ffi::OsStr, fs, process::Command};

use ferry_e2e::{
    Options, Puppet, Raw, ferryd, mounts,
    puppet::{Habits, SameInode},
};

#[test]
fn no_short_name_leads_to_what_others_upload() {
    if !mounts::private(&[]) {
        return;
    }
    let puppet = Puppet::mount(Habits { short_names: Some(SameInode(true)), ..Habits::default() });
    let server = Options::new().root(puppet.path()).start();
    let mut raw = Raw::greeted(server.address());
    assert_eq!(raw.ask("RESUME secret 10 - x").line, "GO 0");
    raw.send("DATA 5\nhelloSTOP\n");
    raw.answer("PUT").expect_failure("stopped");
    assert!(fs::metadata(puppet.join("FERRY~1/kept/secret.data")).is_ok(), "it is there by this name");
    for request in [
        "GET FERRY~1/kept/secret.data",
        "SUM FERRY~1/KEPT~1/secret.data",
        "STAT FERRY~1",
        "LIST FERRY~1",
        "LIST FERRY~1/kept",
        "DELETE FERRY~1/kept/secret.data",
        "RENAME FERRY~1/kept/secret.data//stolen",
        "RENAME FERRY~1//stolen",
        "MKDIR FERRY~1/kept/new",
    ] {
        raw.ask(request).expect_failure("not-found");
    }
    raw.put("FERRY~1/kept/secret.data", b"changed").expect_failure("not-found");
    assert_eq!(raw.ask("RESUME secret 10 - x").line, "GO 5");
    raw.send("DATA 5\nworldEND f9eb20ad\n");
    assert_eq!(raw.answer("PUT").code(), None);
    drop(raw);
    assert_eq!(server.terminate().code(), Some(0));
}

#[test]
fn a_root_where_the_corner_shows_another_inode_under_its_short_name_is_not_served() {
    if !mounts::private(&[]) {
        return;
    }
    let puppet = Puppet::mount(Habits { short_names: Some(SameInode(false)), ..Habits::default() });
    for option in ["--writable", "--read-only"] {
        let output = Command::new("timeout")
            .args([OsStr::new("60"), ferryd().as_os_str(), OsStr::new("--root"), puppet.path().as_os_str()])
            .args([option, "0"])
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(6), "{said}");
        assert!(said.contains("other names for .ferry"), "{said}");
    }
}
