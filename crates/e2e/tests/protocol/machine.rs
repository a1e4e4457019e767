//! What the machine does to a server: limits, full disks, signals, directories that go away.

use std::fs;

use ferry_e2e::{Options, Raw, Server, eventually, random_bytes};

/// What is staged or kept aside by the server now.
fn staged(server: &Server) -> Vec<String> {
    let corner = fs::read_dir(server.path(".ferry")).unwrap().map(|entry| entry.unwrap().path());
    let inside = corner.flat_map(|directory| fs::read_dir(directory).unwrap());
    inside.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn an_upload_beyond_the_limit_of_file_sizes_fails_alone() {
    // Of blocks of 512 bytes or of 1024, as the shell has it.
    let server = Options::new().behind("ulimit -f 2000").start();
    let bytes = random_bytes(1, 4 << 20);
    let (mut raw, mut other) = (Raw::greeted(server.address()), Raw::greeted(server.address()));
    raw.put("large", &bytes).expect_failure("too-large");
    assert_eq!(raw.ask("RESUME id 4194304 - large").line, "GO 0");
    raw.send_what_it_takes(ferry_e2e::body(&bytes, 1 << 20));
    raw.answer("PUT").expect_failure("too-large");
    eventually("nothing is left staged", || staged(&server).is_empty().then_some(()));
    assert_eq!(other.put("small", b"hello").word(0), "SAVED");
    assert_eq!(server.visible(), ["small"]);
}
