//! Holes of files: `--sparse` of GET and SYNC, and those that the server has or gets.

use std::{
    fs,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::Path,
};

use ferry_e2e::eventually;

use crate::place::Place;

const BYTES: u64 = 24 << 20;

/// Returns how much of the disk a local file takes.
fn taken(place: &Place, name: &str) -> u64 {
    fs::metadata(place.local(name)).unwrap().blocks() * 512
}

/// A server with a file that has a little data, and zeros between and behind, which are data as well.
fn place() -> Place {
    let place = Place::new();
    fs::create_dir(place.server.path("d")).unwrap();
    fs::write(place.server.path("d/large"), vec![0; BYTES as usize]).unwrap();
    let file = fs::File::options().write(true).open(place.server.path("d/large")).unwrap();
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

/// A terabyte, of which a mebibyte are data.
const HUGE: u64 = 1 << 40;

fn write_huge(path: &Path) {
    let file = fs::File::create(path).unwrap();
    file.set_len(HUGE).unwrap();
    for (index, at) in [0, 77 << 20, 500 << 30, HUGE - 262_144].into_iter().enumerate() {
        file.write_all_at(&[1 + index as u8; 262_144], at).unwrap();
    }
}

fn is_huge(path: &Path) -> bool {
    let file = fs::File::open(path).unwrap();
    let data = [0, 77 << 20, 500 << 30, HUGE - 262_144].into_iter().enumerate().all(|(index, at)| {
        let mut there = [0; 262_144];
        file.read_exact_at(&mut there, at).unwrap();
        there == [1 + index as u8; 262_144]
    });
    let meta = file.metadata().unwrap();
    data && meta.len() == HUGE && meta.blocks() * 512 < 8 << 20
}

/// Data in many places, all of them apart: places and bytes.
fn spread() -> impl Iterator<Item = (u64, Vec<u8>)> {
    (0..24_u64).map(|index| {
        let at =
            [index * 3_000_000, (index << 35) + 70_001 * index, HUGE - (index + 1) * 1_500_000][index as usize % 3];
        (at, vec![1 + index as u8; 1_000_000])
    })
}

fn write_spread(path: &Path) {
    let file = fs::File::create(path).unwrap();
    file.set_len(HUGE).unwrap();
    spread().for_each(|(at, bytes)| file.write_all_at(&bytes, at).unwrap());
}

/// Returns where a file has data.
fn data(path: &Path) -> Vec<(u64, u64)> {
    let file = fs::File::open(path).unwrap();
    let (mut found, mut at) = (Vec::new(), 0);
    while let Ok(start) = rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(at)) {
        at = rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(start)).unwrap();
        found.push((start, at));
    }
    found
}

#[track_caller]
fn is_spread(path: &Path, like: &Path) {
    let file = fs::File::open(path).unwrap();
    assert_eq!(file.metadata().unwrap().len(), HUGE);
    for (at, bytes) in spread() {
        let mut there = vec![0; bytes.len()];
        file.read_exact_at(&mut there, at).unwrap();
        assert!(there == bytes, "other bytes at {at}");
    }
    assert_eq!(data(path), data(like));
}

#[test]
fn holes_cross_the_network_on_none_of_several_connections() {
    let place = Place::new();
    fs::File::create(place.local("probe")).unwrap().set_len(HUGE).unwrap();
    if taken(&place, "probe") > 0 {
        return eprintln!("skipped: no holes here");
    }
    write_spread(&place.local("huge"));
    place.run_with(&["--parallel", "4"], "PUT huge", b"").fine();
    is_spread(&place.server.path("huge"), &place.local("huge"));
    eventually("it came in parts", || (place.server.log().matches("PART").count() > 4).then_some(()));
}

#[test]
fn holes_cross_the_network_neither_way() {
    let place = Place::new();
    fs::create_dir(place.local("tree")).unwrap();
    fs::File::create(place.local("probe")).unwrap().set_len(HUGE).unwrap();
    if taken(&place, "probe") > 0 {
        return eprintln!("skipped: no holes here");
    }
    place.write("tree/small", b"hello");
    write_huge(&place.local("tree/huge"));
    place.run("PUT -r tree").fine();
    assert!(is_huge(&place.server.path("tree/huge")));
    place.run("PUT tree/huge -> huge").fine();
    assert!(is_huge(&place.server.path("huge")));
    place.run("GET -r tree -> back").fine();
    assert!(is_huge(&place.local("back/huge")));
    place.run("SYNC -d -c tree back; SYNC -u -c back tree").fine();
    place.write("over", &[9; 3_000_000]);
    place.run("GET huge -> over").fine();
    assert!(is_huge(&place.local("over")));
}
