//! `--perms` of GET, PUT and SYNC, of files and directories, and the times of directories.

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

/// Directories with their permissions, each after what is in it.
const CLOSED: [(&str, u32); 4] = [("t/d/e", 0o500), ("t/d", 0o555), ("t/private", 0o700), ("t", 0o2755)];

/// Makes these directories with a file in each.
fn make_closed(at: impl Fn(&str) -> std::path::PathBuf) {
    for (name, _) in CLOSED {
        fs::create_dir_all(at(name)).unwrap();
        fs::write(at(name).join("f"), name).unwrap();
    }
    CLOSED.iter().for_each(|(name, mode)| set_mode(at(name), *mode));
}

/// Checks these directories, which have no more than nine bits at the other end, and their times.
fn check_closed(from: impl Fn(&str) -> std::path::PathBuf, to: impl Fn(&str) -> std::path::PathBuf, what: &str) {
    for (name, expected) in CLOSED {
        assert_eq!(mode(to(name)), expected & 0o777, "{what}: {name}");
        assert_eq!(fs::read(to(name).join("f")).unwrap(), name.as_bytes(), "{what}: {name}");
        assert_eq!(time(from(name)), time(to(name)), "{what}: {name}");
    }
}

/// Lets everybody remove these directories again.
fn open_all(at: impl Fn(&str) -> std::path::PathBuf) {
    CLOSED.iter().rev().for_each(|(name, _)| {
        let _ = fs::set_permissions(at(name), Permissions::from_mode(0o700));
    });
}

#[test]
fn directories_that_nobody_may_write_into_arrive_as_they_are_and_are_brought_up_to_date() {
    let Some(place) = Place::powerless(Options::new().arg("--keep-modes").arg("all")) else { return };
    let (here, there) = (|name: &str| place.local(name), |name: &str| place.server.path(name));
    make_closed(here);
    place.run("PUT -r --perms=all t").fine();
    check_closed(here, there, "PUT -r");
    // Again, over what nobody may write into; and with something new, replaced and gone.
    place.run("PUT -r --perms=all t").fine();
    check_closed(here, there, "PUT -r again");
    let edit = |at: &dyn Fn(&str) -> std::path::PathBuf, name: &str| {
        set_mode(at(name), 0o755);
        fs::write(at(name).join("new"), "new").unwrap();
        fs::remove_file(at(name).join("new")).unwrap();
        fs::write(at(name).join("f"), name).unwrap();
        set_time(at(name).join("f"), 5);
    };
    for (name, mode) in CLOSED {
        edit(&here, name);
        set_mode(here(name), mode);
        set_mode(there(name), 0o755);
        fs::create_dir(there(name).join("old")).unwrap();
        fs::write(there(name).join("old/x"), "x").unwrap();
        set_mode(there(name).join("old"), 0o500);
        set_mode(there(name), mode & 0o777);
    }
    place.run("SYNC --perms=all --delete --max-delete 8 t t").fine();
    check_closed(here, there, "SYNC");
    assert!(CLOSED.iter().all(|(name, _)| !there(name).join("old").exists()));
    // Without being asked, it says what is in the way.
    set_time(here("t/d/f"), 6);
    let ran = place.run("SYNC t t");
    assert!(ran.complaints.contains("the server has no permission"), "{}", ran.complaints);
    ran.failed(4, "not done: t/d/f");
    // Permissions alone.
    set_mode(there("t/d"), 0o755);
    place.run("SYNC t t").fine();
    set_mode(here("t/private"), 0o711);
    let said = place.run("SYNC -n --perms=all t t").fine();
    assert!(said.contains("would chmod t/d\n") && said.contains("would chmod t/private\n"), "{said}");
    let said = place.run("SYNC --perms=all t t").fine();
    assert_eq!(said, "synced: 0 moved, 4 alike already, 2 given other permissions\n");
    assert_eq!((mode(there("t/d")), mode(there("t/private"))), (0o555, 0o711));
    assert_eq!(place.run("SYNC --perms=all t t").fine(), "synced: 0 moved, 4 alike already\n");
    open_all(here);
    open_all(there);
}

#[test]
fn a_download_of_directories_has_their_permissions_whatever_is_there() {
    let Some(place) = Place::powerless(Options::new()) else { return };
    let (here, there) = (|name: &str| place.local(name), |name: &str| place.server.path(name));
    make_closed(there);
    for (parallel, command) in
        [("1", "GET -r --perms=all t"), ("4", "GET -r --perms=all t"), ("1", "SYNC -d --perms=all t t")]
    {
        place.run_with(&["--parallel", parallel], command, b"").fine();
        check_closed(there, here, command);
        // Once more, over what nobody may write into.
        set_mode(here("t/d/e"), 0o700);
        fs::remove_file(here("t/d/e/f")).unwrap();
        fs::create_dir(here("t/d/e/old")).unwrap();
        set_mode(here("t/d/e"), 0o500);
        place.run_with(&["--parallel", parallel], &format!("{command}; SYNC -d --delete --perms=all t t"), b"").fine();
        check_closed(there, here, command);
        assert!(!here("t/d/e/old").exists());
        open_all(here);
        fs::remove_dir_all(here("t")).unwrap();
    }
    // Of the owner alone; those of group and others are as usual, and a set-group-ID bit that is there stays.
    fs::create_dir(here("t")).unwrap();
    set_mode(here("t"), 0o2711);
    place.run("GET -r --perms t").fine();
    assert_eq!((mode(here("t")), mode(here("t/d")), mode(here("t/d/e"))), (0o2711, 0o2555, 0o2555));
    open_all(here);
    open_all(there);
}

#[test]
fn the_permissions_of_the_owner_alone_leave_those_of_the_others_as_they_are_there() {
    let place = Place::with(Options::new().arg("--keep-modes").arg("all"));
    place.write("t/d/f", b"hello");
    place.write("t/large", &vec![7; 9_000_000]);
    place.run("MKDIR usual; PUT -r t -> usual").fine();
    for name in ["d", "d/f", "large"] {
        set_mode(place.local("t").join(name), 0o500);
    }
    place.run("PUT -r --perms t").fine();
    for name in ["d", "d/f", "large"] {
        let usual = mode(place.server.path("usual/t").join(name));
        assert_eq!(mode(place.server.path("t").join(name)), usual & 0o77 | 0o500, "{name}");
    }
    set_mode(place.local("t/d"), 0o700);
    set_mode(place.local("t/d/f"), 0o600);
    place.run("SYNC --perms t t").fine();
    let usual = |name: &str| mode(place.server.path("usual/t").join(name)) & 0o77;
    assert_eq!(mode(place.server.path("t/d")), usual("d") | 0o700);
    assert_eq!(mode(place.server.path("t/d/f")), usual("d/f") | 0o600);
}
