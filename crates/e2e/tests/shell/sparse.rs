//! `--sparse` of GET and SYNC: holes of local files.

use std::{
    fs,
    os::unix::fs::{FileExt as _, MetadataExt as _},
};

use crate::place::Place;

const BYTES: u64 = 24 << 20;

/// Returns how much of the disk a local file takes.
fn taken(place: &Place, name: &str) -> u64 {
    fs::metadata(place.local(name)).unwrap().blocks() * 512
}

/// A server with a file that has a little data, and large holes between and behind.
fn place() -> Place {
    let place = Place::new();
    fs::create_dir(place.server.path("d")).unwrap();
    let file = fs::File::create(place.server.path("d/large")).unwrap();
    file.set_len(BYTES).unwrap();
    file.write_all_at(&[7; 100_000], 5 << 20).unwrap();
    file.write_all_at(b"in the middle of a block", (13 << 20) + 77).unwrap();
    place
}

#[test]
fn runs_of_zeros_become_holes_where_that_is_asked_for() {
    let place = place();
    let content = place.server.read("d/large");
    for (command, name) in [
        ("GET --sparse d/large", "large"),
        ("GET -S -r d", "d/large"),
        ("SYNC -d --sparse d there", "there/large"),
        // One that is replaced had data there.
        ("GET -S d/large", "large"),
    ] {
        if command == "GET -S d/large" {
            place.write("large", &vec![9; BYTES as usize]);
        }
        place.run(command).fine();
        assert!(fs::read(place.local(name)).unwrap() == content, "{command}: other bytes");
        assert!(taken(&place, name) < BYTES / 4, "{command}: {} bytes on the disk", taken(&place, name));
    }
    place.run("GET d/large -> whole").fine();
    assert!(taken(&place, "whole") >= BYTES, "without it nothing is left out");
    place.run("SYNC -u --sparse d there").failed(2, "");
}
