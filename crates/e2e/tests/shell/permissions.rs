//! `--perms` of GET, PUT and SYNC, and the times of directories.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    time::{Duration, SystemTime},
};

use ferry_e2e::Options;

use crate::place::Place;

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn set_mode(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Small files, and one that comes in pieces.
const FILES: [(&str, usize); 3] = [("a", 5), ("d/b", 0), ("d/large", 3_000_000)];

#[test]
fn a_download_gets_the_permissions_that_are_asked_for_and_never_more() {
    let place = Place::new();
    for (name, size) in FILES {
        place.server.write(name, &vec![7; size]);
    }
    place.run("GET -r /").fine();
    let usual: Vec<u32> = FILES.iter().map(|(name, _)| mode(place.local(name))).collect();
    for (there, options, owner, rest) in [
        (0o4755, "", None, None),
        (0o4755, "--perms", Some(0o700), None),
        (0o2711, "--perms=all", Some(0o700), Some(0o011)),
        (0o600, "--perms=owner", Some(0o600), None),
        (0o1444, "--perms=all", Some(0o400), Some(0o044)),
    ] {
        for command in ["GET -r", "SYNC -d"] {
            for (name, _) in FILES {
                set_mode(place.server.path(name), there);
                let _ = fs::remove_file(place.local(name));
            }
            let (from, to) = if command == "SYNC -d" { ("/", " .") } else { ("/", "") };
            place.run(&format!("{command} {options} {from}{to}")).fine();
            for ((name, size), usual) in FILES.iter().zip(&usual) {
                let expected = owner.unwrap_or(usual & 0o700) | rest.unwrap_or(usual & 0o077);
                assert_eq!(mode(place.local(name)), expected, "{command} {options} {name} {there:o}");
                assert_eq!(fs::metadata(place.local(name)).unwrap().len(), *size as u64);
            }
        }
    }
    // One that is replaced, and a single one under another name.
    set_mode(place.server.path("a"), 0o750);
    set_mode(place.local("a"), 0o604);
    place.run("GET --perms a; GET --perms=all a -> c").fine();
    assert_eq!((mode(place.local("a")), mode(place.local("c"))), (0o704, 0o750));
}

#[test]
fn an_upload_brings_the_permissions_that_the_server_keeps() {
    let place = Place::with(Options::new().arg("--keep-modes").arg("owner"));
    for (name, size) in FILES {
        place.write(name, &vec![7; size]);
        set_mode(place.local(name), 0o500);
    }
    place.run("PUT -r .").fine();
    let usual = mode(place.server.path("a")) & 0o77;
    for (name, _) in FILES {
        assert_eq!(mode(place.server.path(name)), 0o600 | usual, "{name}");
    }
    place.run("PUT --perms -r .").fine();
    for (name, _) in FILES {
        assert_eq!(mode(place.server.path(name)), 0o500 | usual, "{name}");
        set_mode(place.local(name), 0o700);
    }
    place.run("PUT -p --no-clobber d/large -> large; PUT -p a").fine();
    assert_eq!((mode(place.server.path("large")), mode(place.server.path("a"))), (0o700 | usual, 0o700 | usual));
    let ran = place.run("PUT --perms=all a");
    assert!(ran.complaints.contains("cannot keep permissions of group and others"), "{}", ran.complaints);
}

#[test]
fn sync_sets_permissions_where_nothing_else_differs_and_moves_nothing_for_that() {
    let place = Place::with(Options::new().arg("--keep-modes").arg("all"));
    for (name, size) in FILES {
        place.write(format!("x/{name}"), &vec![7; size]);
    }
    place.run("SYNC --perms=all x x").fine();
    let tag = place.run("STAT x/a").fine();
    set_mode(place.local("x/a"), 0o741);
    set_mode(place.local("x/d/large"), 0o444);
    let said = place.run("SYNC -n --perms=all x x").fine();
    assert!(said.contains("would chmod x/a\n") && said.contains("would chmod x/d/large\n"), "{said}");
    assert_eq!(place.run("STAT x/a").fine(), tag, "a dry run changes nothing");
    assert_eq!(place.run("SYNC x x").fine(), "synced: 0 moved, 3 alike already\n", "nobody asked for them");
    let said = place.run("SYNC --perms=all x x").fine();
    assert_eq!(said, "synced: 0 moved, 1 alike already, 2 given other permissions\n");
    assert_eq!((mode(place.server.path("x/a")), mode(place.server.path("x/d/large"))), (0o741, 0o444));
    assert_eq!(place.run("SYNC --perms=all x x").fine(), "synced: 0 moved, 3 alike already\n");
    // The other way round, and of the owner alone.
    set_mode(place.server.path("x/a"), 0o577);
    place.run("SYNC -d -p x x").fine();
    assert_eq!(mode(place.local("x/a")), 0o541);
    assert_eq!(place.run("SYNC -d -p x x").fine(), "synced: 0 moved, 3 alike already\n");
}

#[test]
fn a_server_that_keeps_none_is_told_of_before_anything_is_sent() {
    let place = Place::new();
    place.write("a", b"hello");
    for command in ["PUT --perms a", "PUT --perms -r .", "SYNC --perms . there"] {
        let ran = place.run(command);
        assert_eq!(ran.status, 4, "{command}: {}", ran.complaints);
        assert!(ran.complaints.contains("cannot keep permissions"), "{command}: {}", ran.complaints);
    }
    assert_eq!(place.run("LS").fine(), "");
    place.run("PUT --perms=group a").failed(2, "");
}

/// Sets the time of something here or there.
fn set_time(path: impl AsRef<Path>, seconds: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::new(seconds, 500_000_000);
    fs::File::open(path).unwrap().set_modified(time).unwrap();
}

fn time(path: impl AsRef<Path>) -> (i64, i64) {
    let there = fs::metadata(path).unwrap();
    (there.mtime(), there.mtime_nsec())
}

#[test]
fn directories_of_the_server_get_the_times_that_they_have_here() {
    let place = Place::new();
    place.write("x/d/e/a", b"hello");
    place.write("x/b", b"hello");
    let all = [("x/d/e", 1_000_000_001), ("x/d", 1_000_000_002), ("x", 1_000_000_003)];
    let set = || all.iter().for_each(|(name, seconds)| set_time(place.local(name), *seconds));
    let check = |top: &str, what: &str| {
        for (name, seconds) in all {
            let there = place.server.path(&name.replacen('x', top, 1));
            assert_eq!(time(there), (seconds as i64, 500_000_000), "{what}: {name}");
        }
    };
    set();
    place.run("PUT -r x").fine();
    check("x", "PUT -r");
    for parallel in ["1", "4"] {
        place.run_with(&["--parallel", parallel], "SYNC x y; RM -r x", b"").fine();
        check("y", "SYNC to a new one");
        place.run("MV y x").fine();
    }
    // With something made, replaced and deleted, and times alone that differ.
    place.write("x/d/e/new", b"x");
    fs::remove_file(place.local("x/b")).unwrap();
    set();
    set_time(place.server.path("x/d"), 5);
    place.run("SYNC --delete x x").fine();
    check("x", "SYNC");
    set_time(place.server.path("x/d/e"), 5);
    assert_eq!(place.run("SYNC x x").fine(), "synced: 0 moved, 2 alike already\n");
    check("x", "SYNC of times alone");
    // And down.
    set_time(place.local("x/d"), 6);
    fs::remove_file(place.local("x/d/e/a")).unwrap();
    place.run("SYNC -d x x").fine();
    for (name, seconds) in all {
        assert_eq!(time(place.local(name)), (seconds as i64, 500_000_000), "down: {name}");
    }
}
