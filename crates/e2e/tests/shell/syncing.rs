//! SYNC, up and down.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, symlink},
    path::Path,
    time::{Duration, SystemTime},
};

use ferry_e2e::Options;

use crate::place::{Place, assert_same, tree};

fn set_time(path: &Path, seconds: u64, nanos: u32) {
    let time = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos);
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

/// Both ends with files that are there only, here only, alike, and different in one way each.
fn different() -> Place {
    let place = Place::new();
    for (name, here, there) in [
        ("d/alike", Some("same"), Some("same")),
        ("d/size", Some("longer"), Some("short")),
        ("d/time", Some("aaaa"), Some("bbbb")),
        ("d/touched", Some("same"), Some("same")),
        ("d/hidden change", Some("1234"), Some("5678")),
        ("d/sub/only here", Some("here"), None),
        ("d/gone/only there", None, Some("there")),
    ] {
        if let Some(content) = here {
            place.write(name, content.as_bytes());
            set_time(&place.local(name), 1_000_000_000, 123_456_789);
        }
        if let Some(content) = there {
            place.server.write(name, content.as_bytes());
            set_time(&place.server.path(name), 1_000_000_000, 123_456_789);
        }
    }
    set_time(&place.local("d/time"), 1_000_000_001, 0);
    set_time(&place.local("d/touched"), 1_000_000_001, 0);
    place
}

#[test]
fn up_moves_what_differs_and_nothing_else() {
    let place = different();
    let before = tree(place.server.root());
    let plan = place.run("SYNC -u -n d").fine();
    assert_eq!(
        plan,
        "would make d/sub\nwould put d/size (6 bytes)\nwould put d/sub/only here (4 bytes)\nwould put d/time (4 bytes)\n\
         would put d/touched (4 bytes)\nSYNC would put 4 files (18 bytes), delete 0, and leave 2 files as they are\n"
    );
    assert_same(&before, &tree(place.server.root()));
    let said = place.run("SYNC -u d").fine();
    assert!(said.starts_with("put 4 files: 18 bytes"), "{said}");
    assert!(said.ends_with("synced: 4 moved, 2 alike already\n"), "{said}");
    assert_eq!(place.server.read("d/gone/only there"), b"there");
    assert_eq!(place.server.read("d/hidden change"), b"5678", "by its time it is the same");
    assert_eq!(place.run("SYNC -u d").fine(), "synced: 0 moved, 6 alike already\n");

    assert!(place.run("SYNC -u -c d").fine().ends_with("synced: 1 moved, 5 alike already\n"));
    assert_eq!(place.server.read("d/hidden change"), b"1234");
    assert_eq!(place.run("SYNC -u --delete -n d").fine().lines().next(), Some("would delete d/gone/only there"));
    assert!(place.run("SYNC -u --delete d").fine().contains("6 alike already, 2 deleted"));
    assert_same(&tree(&place.local("d")), &tree(&place.server.path("d")));
}

#[test]
fn down_moves_what_differs_and_nothing_else() {
    let place = different();
    assert!(place.run("SYNC -d d").fine().ends_with("synced: 4 moved, 2 alike already\n"));
    assert_eq!(fs::read(place.local("d/time")).unwrap(), b"bbbb");
    assert!(place.local("d/sub/only here").is_file());
    assert!(place.run("SYNC -d -c d").fine().ends_with("synced: 1 moved, 5 alike already\n"));
    assert!(place.run("SYNC -d --delete d").fine().ends_with("synced: 0 moved, 6 alike already, 2 deleted\n"));
    assert_same(&tree(&place.server.path("d")), &tree(&place.local("d")));
    assert_eq!(place.run("SYNC -d d; SYNC -u d").fine(), "synced: 0 moved, 6 alike already\n".repeat(2));
}

#[test]
fn other_directories_and_those_that_are_not_there_yet() {
    let place = Place::new();
    place.write("a/x y/f", b"1");
    let said = place.run("SYNC -u a -> there; SYNC -d there -> here; CD there; LCD a; SYNC -u .").fine();
    assert!(said.ends_with("synced: 0 moved, 1 alike already\n"), "{said}");
    assert_same(&tree(&place.local("a")), &tree(&place.server.path("there")));
    assert_same(&tree(&place.local("a")), &tree(&place.local("here")));
    let said = place.run("SYNC a there; SYNC -d there here; SYNC --down there '../with space'").fine();
    assert!(said.ends_with("synced: 1 moved, 0 alike already\n"), "{said}");
    assert_same(&tree(&place.local("a")), &tree(&place.local("../with space")));
    place.run("SYNC -d there ../with space").failed(2, "SYNC: 'space' is one word too many");
    place.write("with space/f", b"1");
    place.run("SYNC with space").failed(5, "did you mean 'with space'?");
    place.run("MKDIR 'over there'").fine();
    place.run("SYNC -d over there").failed(8, "did you mean 'over there'?");
    place.run("SYNC a there now").failed(2, "a name with spaces stands in quotes");
    place.run("SYNC -u nowhere").failed(5, "SYNC nowhere: cannot read the directory");
    place.run("SYNC -d nowhere").failed(8, "SYNC nowhere: ");
    place.run("SYNC -u --fail-fast a -> no/way").failed(8, "(not-found)");
    place.run("SYNC -d --fail-fast there -> no/way").failed(5, "No such file or directory");
    place.run("SYNC -u a -> ../x").failed(2, "'..'");
    place.run("SYNC -d there -> ../up").fine();
    assert!(place.local("../up/x y/f").is_file());
}

#[test]
fn the_directories_that_were_made_are_counted_with_the_one_that_was_missing() {
    let place = Place::new();
    place.write("a/b/f", b"1");
    for command in ["SYNC -u a -> new", "SYNC -d new -> again"] {
        let said = place.run_with(&["--json"], command, b"").fine();
        assert!(said.contains("\"made\":2,"), "{said}");
        let said = place.run_with(&["--json"], command, b"").fine();
        assert!(said.contains("\"made\":0,"), "{said}");
    }
    place.write("a file", b"1");
    let ran = place.run_with(&["--json"], "SYNC -d new -> 'a file/x'", b"");
    assert!(ran.status == 5 && !ran.said.contains("\"made\":2,"), "{}", ran.said);
}

#[test]
fn what_is_no_file_is_neither_moved_nor_deleted() {
    let place = Place::new();
    place.server.write("d/name/inside", b"there");
    place.server.write("d/link", b"a file there");
    place.server.write("d/other", b"a file there");
    place.write("d/name", b"a file here");
    place.write("d/other/inside", b"here");
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("safe"), "safe").unwrap();
    symlink(outside.path(), place.local("d/link")).unwrap();
    for command in ["SYNC -d d", "SYNC -u d"] {
        let (here, there) = (tree(&place.local("d")), tree(&place.server.path("d")));
        let ran = place.run(command);
        assert_eq!((ran.status, ran.said.as_str()), (5, "synced: 0 moved, 0 alike already\n"), "{}", ran.complaints);
        for part in ["link is a symbolic link", "name is a file at one end and a directory at the other"] {
            assert!(ran.complaints.contains(part), "{part}: {}", ran.complaints);
        }
        assert_same(&here, &tree(&place.local("d")));
        assert_same(&there, &tree(&place.server.path("d")));
    }
    // A thing of another kind makes way where deleting was asked for; a link does not.
    let ran = place.run("SYNC -d --delete d");
    assert_eq!((ran.status, ran.complaints.lines().count()), (0, 1), "{}", ran.complaints);
    assert!(ran.complaints.contains("link is a symbolic link"), "{}", ran.complaints);
    assert!(place.local("d/link").is_symlink() && place.local("d/name/inside").is_file());
    assert!(outside.path().join("safe").exists());
}

#[test]
fn what_the_server_does_not_list_and_does_not_say_to_be_gone_stays() {
    let place = Place::new();
    for name in ["d/sub/a", "d/sub/deep/b", "d/c", "d/e", "d/gone"] {
        place.server.write(name, b"there");
    }
    place.run("GET -r d").fine();
    fs::rename(place.server.path("d/sub"), place.server.path("elsewhere")).unwrap();
    symlink("../elsewhere", place.server.path("d/sub")).unwrap();
    fs::remove_file(place.server.path("d/gone")).unwrap();
    let plan = place.run("SYNC -d --delete -n d");
    assert!(plan.said.starts_with("would delete d/gone\nSYNC would get 0 files (0 bytes), delete 1,"), "{}", plan.said);
    let ran = place.run("SYNC -d --delete d");
    assert!(ran.said.contains("1 deleted"), "{}", ran.said);
    assert!(ran.complaints.contains("d/sub stays: the other end does not list it"), "{}", ran.complaints);
    assert_eq!((ran.status, ran.complaints.lines().count()), (5, 2), "{}", ran.complaints);
    assert!(place.local("d/sub/deep/b").is_file() && place.local("d/sub/a").is_file());
    assert!(!place.local("d/gone").exists());
}

#[test]
fn an_end_that_is_suddenly_empty_costs_nothing() {
    let place = Place::new();
    fs::create_dir(place.server.path("d")).unwrap();
    for index in 0..12 {
        place.write(format!("d/{index}"), b"here");
    }
    place.run("SYNC -d --delete -n d").failed(5, "12 things would be deleted, and 6 may be");
    place.run("SYNC -d --delete d").failed(5, "SYNC -n lists them, --max-delete 12 allows it");
    place.run("SYNC -d -k --delete --max-delete 11 d").failed(5, "12 things would be deleted, and 11 may be");
    assert_eq!(tree(&place.local("d")).len(), 12);
    assert!(place.run("SYNC -d --delete --max-delete 12 d").fine().contains("12 deleted"));
    assert_eq!(tree(&place.local("d")).len(), 0);
    // The same the other way, where one may go for one that comes.
    place.write("e/new", b"here");
    place.server.write("e/old", b"there");
    place.server.write("f/old", b"there");
    fs::create_dir(place.local("f")).unwrap();
    assert!(place.run("SYNC -u --delete e").fine().contains("1 moved, 0 alike already, 1 deleted"));
    place.run("SYNC -u --delete f").failed(5, "1 thing would be deleted, and 0 may be");
    place.run("SYNC -u --delete --max-delete x f").failed(2, "a whole number is needed, 0 or more, not 'x'");
}

#[test]
fn what_is_of_another_kind_makes_way_where_deleting_was_asked_for() {
    for command in ["SYNC -d --delete d", "SYNC -u --delete d"] {
        let place = Place::new();
        for name in ["d/now a file", "d/now a directory/in/x", "d/same"] {
            place.server.write(name, b"there");
        }
        for name in ["d/now a file/in/x", "d/now a directory", "d/same"] {
            place.write(name, b"there");
        }
        let ran = place.run(&command.replace("--delete ", ""));
        assert_eq!(ran.status, 5, "{}", ran.complaints);
        let plan = place.run(&command.replace("--delete", "--delete -n")).fine();
        assert!(plan.contains("would delete d/now a "), "{plan}");
        let said = place.run(command).fine();
        assert!(said.contains(" moved, ") && said.contains(" deleted"), "{said}");
        assert_same(&tree(&place.server.path("d")), &tree(&place.local("d")));
        assert!(place.run(command).fine().contains("0 moved"));
    }
}

#[test]
fn what_is_replaced_or_deleted_here_is_kept_where_that_was_asked_for() {
    // A further name where the file system is the same, a copy where it is not.
    let shm = tempfile::tempdir_in("/dev/shm").ok();
    for elsewhere in [None, shm.as_ref()] {
        let place = Place::new();
        place.server.write("d/changed", b"new");
        place.server.write("d/way/in", b"new");
        for name in ["d/changed", "d/sub/gone", "d/way"] {
            place.write(name, b"old");
            set_time(&place.local(name), 1_000_000_000, 5);
        }
        let backup = elsewhere.map_or_else(|| place.local("kept"), |shm| shm.path().join("kept"));
        let command = format!("SYNC -d --delete --backup-dir {} d", backup.display());
        assert!(place.run(&command).fine().contains("2 moved"));
        assert_same(&tree(&place.server.path("d")), &tree(&place.local("d")));
        for name in ["changed", "sub/gone", "way"] {
            assert_eq!(fs::read(backup.join(name)).unwrap(), b"old", "{name}");
            assert_eq!(tree(&backup)[Path::new(name)].as_ref().unwrap().1, 1_000_000_000);
        }
        place.server.write("d/changed", b"newer");
        place.run(&command).fine();
        assert_eq!(fs::read(backup.join("changed.~1~")).unwrap(), b"new");
        assert_eq!(fs::read(backup.join("changed")).unwrap(), b"old");
    }
    let place = Place::new();
    place.server.write("d/a", b"a");
    place.write("d/a", b"a");
    for backup in ["d", "d/kept", "."] {
        place.run(&format!("SYNC -d --backup-dir {backup} d")).failed(5, "has to be outside");
    }
    for backup in ["d", "d/kept"] {
        place.run(&format!("SYNC -u --backup-dir {backup} d")).failed(5, "has to be outside");
    }
    place.run("SYNC -u --backup-dir . d").failed(2, "needs a directory beneath that of the server");
}

#[test]
fn what_is_replaced_or_deleted_there_is_kept_where_that_was_asked_for() {
    let place = Place::new();
    place.write("d/changed", b"new");
    place.write("d/way/in", b"new");
    place.write("d/added", b"new");
    for name in ["d/changed", "d/sub/gone", "d/way"] {
        place.server.write(name, b"old");
        set_time(&place.server.path(name), 1_000_000_000, 5);
    }
    let command = "SYNC --delete --backup-dir old/kept d";
    place.run(&command.replace("SYNC", "SYNC -n")).fine();
    assert!(!place.server.path("old").exists());
    let said = place.run(command).fine();
    assert!(said.contains("3 moved") && said.contains("deleted"), "{said}");
    assert_same(&tree(&place.local("d")), &tree(&place.server.path("d")));
    for name in ["changed", "sub/gone", "way"] {
        assert_eq!(place.server.read(&format!("old/kept/{name}")), b"old", "{name}");
    }
    assert_eq!(tree(&place.server.path("old/kept"))[Path::new("changed")].as_ref().unwrap().1, 1_000_000_000);
    assert!(!place.server.path("old/kept/.incoming").exists());
    place.write("d/changed", b"newer");
    place.run(command).fine();
    assert_eq!(place.server.read("old/kept/changed.~1~"), b"new");
    assert_eq!(place.server.read("old/kept/changed"), b"old");
    assert_eq!(place.server.read("d/changed"), b"newer");
    // What a run that was killed has left there goes with the next one, also where nothing is to be moved.
    for left in ["d/gone/a", "d/changed", "e/other"] {
        place.server.write(&format!("old/kept/.incoming/{left}"), b"left");
    }
    place.run(command).fine();
    let incoming = tree(&place.server.path("old/kept/.incoming"));
    assert_eq!(incoming.keys().collect::<Vec<_>>(), [Path::new("e"), Path::new("e/other")]);
    place.server.write("e/x", b"old");
    place.write("e/x", b"newer");
    place.run(&command.replace(" d", " e")).fine();
    assert!(!place.server.path("old/kept/.incoming").exists() && place.server.read("old/kept/x") == b"old");
}

#[test]
fn a_part_that_nobody_has_does_not_keep_its_directory() {
    let place = Place::new();
    place.server.write("d/a", b"a");
    place.write("d/a", b"a");
    place.write("d/gone/.ferry-0123456789abcdef.part", b"half");
    place.write("d/gone/.ferry-0123456789abcdef.mark", b"half");
    place.write("d/used/.ferry-0123456789abcdef.part", b"half");
    let used = fs::File::open(place.local("d/used/.ferry-0123456789abcdef.part")).unwrap();
    used.lock().unwrap();
    place.run("SYNC -d --delete --max-delete 9 -k d").failed(5, "1 failed");
    assert!(!place.local("d/gone").exists() && place.local("d/used").exists());
    drop(used);
    place.run("SYNC -d --delete d").fine();
    assert!(!place.local("d/used").exists());
}

#[test]
fn nothing_is_deleted_where_something_failed() {
    let small = Place::with(Options::new().arg("--max-upload").arg("1048576"));
    small.server.write("d/old", b"old");
    for (name, content) in [("d/large", vec![7; 3 << 20]), ("d/new", b"new".to_vec())] {
        small.write(name, &content);
    }
    let ran = small.run("SYNC -u --delete d");
    assert!(ran.said.contains("1 moved, 0 alike already, 1 not deleted because of what failed"), "{}", ran.said);
    ran.failed(4, "SYNC: 1 failed, the rest is done; not done: d/large");
    assert_eq!(small.server.read("d/old"), b"old");
    assert_eq!(small.server.read("d/new"), b"new");
    let ran = small.run("SYNC -u --fail-fast --delete d");
    assert!(ran.said.contains("1 not deleted"), "{}", ran.said);
    ran.failed(4, "too-large");
}

#[test]
fn what_no_server_takes_is_told_and_kept_with_all_that_it_is_in() {
    let place = Place::new();
    place.server.write("d/a", b"there");
    place.write("d/a", b"here");
    place.write("d/gone/b", b"here");
    place.write("d/gone/deep/.ferryrc", b"mine");
    place.write("d/.ferry-notes/c", b"mine");
    place.write("d/.ferry-0123456789abcdef.mark", b"left");
    let ran = place.run_with(&["--json"], "SYNC -d --delete d", b"");
    assert_eq!((ran.status, ran.complaints.as_str()), (0, ""), "{}", ran.said);
    for name in ["d/gone/deep/.ferryrc", "d/.ferry-notes"] {
        assert!(ran.said.contains(&format!("\"event\":\"skipped\",\"name\":\"{name}\"")), "{name}: {}", ran.said);
    }
    assert!(ran.said.contains("\"deleted\":1,\"kept\":0,\"skipped\":2"), "{}", ran.said);
    assert!(!place.local("d/gone/b").exists());
    for kept in ["d/gone/deep/.ferryrc", "d/.ferry-notes/c", "d/.ferry-0123456789abcdef.mark"] {
        assert!(place.local(kept).exists(), "{kept}");
    }
    let ran = place.run("SYNC -u d");
    assert_eq!(ran.status, 0, "{}", ran.complaints);
    assert_eq!(ran.complaints.matches("at the beginning is the server's own: left out").count(), 2);
}

#[test]
fn a_whole_second_and_a_fraction_of_it_are_not_the_same_time() {
    let place = Place::new();
    for (name, here, there) in [("d/changed", "1234", "5678"), ("d/alike", "same", "same")] {
        place.write(name, here.as_bytes());
        place.server.write(name, there.as_bytes());
        set_time(&place.local(name), 1_000_000_000, 0);
        set_time(&place.server.path(name), 1_000_000_000, 500_000_000);
    }
    if fs::metadata(place.local("d")).unwrap().mtime_nsec() == 0 {
        eprintln!("skipped: this file system keeps whole seconds");
        return;
    }
    assert_eq!(place.run("SYNC -d d").fine().lines().last(), Some("synced: 1 moved, 1 alike already"));
    assert_eq!(fs::read(place.local("d/changed")).unwrap(), b"5678");
    // An end that has nothing but whole seconds can't tell: there it is as good as the same.
    for name in ["d/changed", "d/alike", "d"] {
        let file = fs::File::open(place.local(name)).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000)).unwrap();
    }
    place.server.write("d/changed", b"9012");
    set_time(&place.server.path("d/changed"), 1_000_000_000, 500_000_000);
    assert_eq!(place.run("SYNC -d d").fine(), "synced: 0 moved, 2 alike already\n");
}

#[test]
fn it_is_told_how_far_the_looking_is() {
    let place = Place::new();
    for index in 0..400 {
        place.write(format!("d/{index}"), b"the same");
        place.server.write(&format!("d/{index}"), b"the same");
    }
    // Each is shorter than what has to be done: some line comes in the middle of that.
    let ran = place.run_with(&["--progress", "lines=0.001"], "SYNC -u -c d", b"");
    assert_eq!(ran.said, "synced: 0 moved, 400 alike already\n");
    assert!(ran.complaints.contains("SYNC d: comparing by content: "), "{}", ran.complaints);
    assert!(ran.complaints.contains(" of 400 files"), "{}", ran.complaints);
    let said = place.run_with(&["--progress", "lines=0.001", "--json"], "SYNC -u -c d", b"").fine();
    assert!(said.contains("{\"event\":\"looking\",\"phase\":\"comparing by content\",\"done\":"), "{said}");
    for index in 0..200 {
        fs::create_dir(place.server.path(&format!("d/sub{index}"))).unwrap();
    }
    let said = place.run_with(&["--progress", "lines=0.001", "--json"], "GET -r d -> new", b"").fine();
    assert!(said.contains("{\"event\":\"looking\",\"phase\":\"listing the server's directory\",\"done\":"), "{said}");
}
