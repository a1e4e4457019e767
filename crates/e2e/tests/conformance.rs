//! A client in another language, written from PROTOCOL.md alone, against the real server.
// A test fails by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::Command;

use ferry_e2e::Options;

#[test]
fn a_client_written_from_the_protocol_page_alone_gets_along() {
    if ferry_e2e::secure::skips("the TLS of Python can't end its input and read on") {
        return;
    }
    // Durability is tested elsewhere; here it would only cost time.
    let server = Options::new().arg("--durability").arg("none").start();
    let output = Command::new("python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/conformance.py"))
        .arg(server.address().port().to_string())
        .output()
        .expect("python3 runs: this test needs Python 3 installed");
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the server is not what PROTOCOL.md says:\n{said}{complaint}");
    assert!(said.ends_with("left in the root: 0 entries\n"), "{said}");
    assert!(server.visible().is_empty());
}
