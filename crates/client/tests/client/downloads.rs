//! Downloads that do not come to their end.

use ferry_client::{Blame, Cancel, Client, Code, Error};

use crate::support::{Local, Scripted, connect, name, options};

#[test]
fn an_interrupted_download_leaves_nothing_and_costs_the_connection() {
    let server = Scripted::greeting(|peer| {
        peer.expect("GET a");
        peer.send("FILE 1000000 - t\nDATA 1000000\nsome");
        peer.expect_end();
    });
    let local = Local::new();
    local.file("a", b"old");
    let cancel = Cancel::default();
    let mut client = Client::connect(&server.address, options().cancel(cancel.clone())).unwrap();
    let result = client.get(&name("a"), &local.path("a"), &mut |progress| {
        if progress.done > 0 {
            cancel.cancel();
        }
    });
    assert!(matches!(result, Err(Error::Interrupted)));
    assert!(!client.is_connected());
    assert_eq!(local.names(), ["a"]);
    assert_eq!(std::fs::read(local.path("a")).unwrap(), b"old");
    server.finish();
}

#[test]
fn a_download_that_the_server_gives_up_leaves_the_connection() {
    let server = Scripted::greeting(|peer| {
        peer.expect("GET a");
        peer.send("FILE 9 - t\nDATA 4\nsomeFAIL io the disk is on fire\n");
        peer.expect("GET b");
        peer.send("FAIL not-a-file b is a directory\n");
        peer.expect("DELETE c");
        peer.send("DONE\n");
    });
    let local = Local::new();
    let mut client = connect(&server.address);
    let error = client.get(&name("a"), &local.path("a"), &mut |_| {}).unwrap_err();
    assert_eq!(error.code(), Some(Code::Io));
    let error = client.get(&name("b"), &local.path("b"), &mut |_| {}).unwrap_err();
    assert_eq!((error.code(), error.blame()), (Some(Code::NotAFile), Blame::Request));
    assert_eq!(local.names(), [""; 0]);
    client.delete(&name("c")).unwrap();
    server.finish();
}

#[test]
fn what_is_wrong_here_is_said_before_anything_is_asked() {
    let server = Scripted::greeting(|peer| {
        peer.expect("DELETE c");
        peer.send("DONE\n");
    });
    let local = Local::new();
    std::fs::create_dir(local.path("directory")).unwrap();
    let mut client = connect(&server.address);
    for target in [local.path("directory"), local.path("missing/a"), local.path("directory").join("..")] {
        let error = client.get(&name("a"), &target, &mut |_| {}).unwrap_err();
        assert_eq!(error.blame(), Blame::Local, "{error}");
    }
    assert_eq!(local.names(), ["directory"]);
    client.delete(&name("c")).unwrap();
    server.finish();
}

#[test]
fn a_full_disk_is_told_as_such() {
    let server = Scripted::greeting(|peer| {
        peer.expect("READ 0 * * a");
        peer.send("FILE 5 - t\nDATA 5\nhello");
        peer.expect_end();
    });
    // Writing to this device always fails for want of space.
    let mut full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut client = connect(&server.address);
    let error = client.read(&name("a"), &ferry_client::Part::default(), &mut full).unwrap_err();
    assert!(error.to_string().contains("No space left"), "{error}");
    assert!(!client.is_connected());
    server.finish();
}
