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
    // The name of its holder's file there is drawn at random.
    let own = fs::read_dir(puppet.join("FERRY~1/kept/secret.d")).expect("it is there by this name");
    let mut names = own.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let data = names.find(|name| name.ends_with(".data")).expect("data");
    let kept = format!("FERRY~1/kept/secret.d/{data}");
    for request in [
        format!("GET {kept}"),
        format!("SUM FERRY~1/KEPT~1/secret.d/{data}"),
        "STAT FERRY~1".into(),
        "LIST FERRY~1".into(),
        "LIST FERRY~1/kept".into(),
        format!("DELETE {kept}"),
        format!("RENAME {kept}//stolen"),
        "RENAME FERRY~1//stolen".into(),
        "MKDIR FERRY~1/kept/new".into(),
    ] {
        raw.ask(&request).expect_failure("not-found");
    }
    raw.put(&kept, b"changed").expect_failure("not-found");
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
