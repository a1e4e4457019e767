//! The server's own corner has one name, whatever the file system makes of it.

use std::fs;

use ferry_e2e::{Options, Puppet, Raw, mounts, puppet::Habits};

#[test]
fn no_short_name_leads_to_what_others_upload() {
    if !mounts::private(&[]) {
        return;
    }
    let puppet = Puppet::mount(Habits { short_names: true, ..Habits::default() });
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
