//! Options that choose files, and those that say first what would be done.

use std::{fs, os::unix::fs::symlink};

use crate::{
    place::{Place, tree},
    terminal::Terminal,
};

/// The names beneath `root`, without directories.
fn files(root: std::path::PathBuf) -> Vec<String> {
    let tree = tree(&root);
    tree.iter().filter(|(_, file)| file.is_some()).map(|(name, _)| name.to_string_lossy().into_owned()).collect()
}

#[test]
fn rules_choose_in_their_order_for_every_command() {
    let place = Place::new();
    for name in ["d/a.o", "d/keep.o", "d/sub/b.o", "d/sub/c.txt", "d/out/x.txt"] {
        place.server.write(name, b"there");
    }
    place.write("rules", b"# objects\n+ keep.o\n- *.o\n");
    let rules = "--exclude /d/out/ --filter rules";
    place.run(&format!("GET -r {rules} d")).fine();
    assert_eq!(files(place.local("d")), ["keep.o", "sub/c.txt"]);
    // For a synchronisation, and for what has no name of its own, names begin below the directory.
    place.run("LCD d; SYNC -d --exclude /out --exclude '*.o' --include keep.o d -> ../e").fine();
    assert_eq!(files(place.local("e")), ["sub/c.txt"]);
    place.run("CD d; GET -r . --exclude /d/sub --include '*.o' -> e").fine();
    assert_eq!(files(place.local("e")), ["d/a.o", "d/keep.o", "d/out/x.txt", "sub/c.txt"]);
    assert_eq!(
        place.run("LS ** --include '*/' --exclude '*.o'").fine(),
        "d/\nd/out/\nd/out/x.txt\nd/sub/\nd/sub/c.txt\n"
    );
    assert_eq!(place.run("LS d --exclude '*.o'").fine(), "out/\nsub/\n");
    place.run("LCD e; MKDIR up; CD up; PUT -r --exclude /d/out .").fine();
    assert_eq!(files(place.server.path("up")), ["d/a.o", "d/keep.o", "sub/c.txt"]);
    // Directories with something in them that stays, stay.
    place.run("RM -r --include keep.o --include '*/' --exclude '*.txt' d").fine();
    assert_eq!(files(place.server.path("d")), ["out/x.txt", "sub/c.txt"]);
    place.run("RM -r --exclude d d").fine();
    assert_eq!(files(place.server.path("d")), ["out/x.txt", "sub/c.txt"]);
    assert!(place.run("GET *.zip").failed(8, "nothing matches").is_empty());
}

#[test]
fn what_is_left_out_is_not_deleted() {
    let place = Place::new();
    for name in ["d/old.txt", "d/cache/x", "d/sub/y.o", "d/sub/z"] {
        place.server.write(name, b"there");
    }
    place.write("d/new.txt", b"here");
    place.write("d/cache/here", b"here");
    place.write("d/.ferryignore", b"/cache\n*.o\n");
    let command = "SYNC --delete --max-delete 9 -F d";
    let plan = place.run(&format!("{command} -n")).fine();
    assert_eq!(plan.lines().filter(|line| line.starts_with("would ")).count(), 3, "{plan}");
    place.run(command).fine();
    assert_eq!(files(place.server.path("d")), ["cache/x", "new.txt", "sub/y.o"]);
    // Without the option it is a file of a name that no server takes, as ever.
    assert!(place.run("SYNC d").complaints.contains(".ferryignore has a name"));
    // The rules hold the other way as well, with those of the local directory.
    place.run("SYNC -d --delete --max-delete 9 -F d").fine();
    assert_eq!(files(place.local("d")), ["cache/here", "new.txt"]);
    place.write("d/sub/.ferryignore", b"[\n");
    place.run("SYNC -F d").failed(2, "d/sub/.ferryignore:1: a '[' without its ']'");
    // What one rule hides from the transfer alone is deleted, and what another one protects stays.
    place.write("rules", b"H hidden\nP kept\n");
    for name in ["e/hidden", "e/kept", "e/gone"] {
        place.server.write(name, b"there");
    }
    place.write("e/hidden", b"here");
    place.run("SYNC --delete --max-delete 9 --filter rules e").fine();
    assert_eq!(files(place.server.path("e")), ["kept"]);
}

#[test]
fn sizes_and_times_choose_what_is_moved() {
    let place = Place::new();
    for (name, bytes) in [("d/small", 10), ("d/middle", 2000), ("d/large", 100_000)] {
        place.write(name, &vec![1; bytes]);
    }
    place.server.write("d/large", b"another");
    place.run("SYNC --min-size 11 --max-size 1.5M --max-size 64K --delete d").fine();
    assert_eq!(files(place.server.path("d")), ["large", "middle"]);
    assert_eq!(place.server.read("d/large"), b"another");
    place.run("PUT -r --newer-than 2000-01-01 --max-size 10 d").fine();
    assert_eq!(files(place.server.path("d")), ["large", "middle", "small"]);
    place.run("GET -r --newer-than 2h --min-size 100K d -> new").fine();
    assert_eq!(files(place.local("new")), [""; 0]);
    assert_eq!(place.run("LS d --max-size 9").fine(), "large\n");
    place.run("RM -r --max-size 10 d").fine();
    assert_eq!(files(place.server.path("d")), ["middle"]);
    for (option, why) in [
        ("--min-size x", "a number of bytes is needed"),
        ("--max-size -1", "a number of bytes is needed"),
        ("--newer-than soon", "a time is needed"),
    ] {
        place.run(&format!("GET -r {option} d")).failed(2, why);
    }
}

#[test]
fn newer_files_stay_where_that_was_asked_for() {
    let place = Place::new();
    for name in ["d/a", "d/b"] {
        place.write(name, b"here");
        place.server.write(name, b"there, and longer");
    }
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    fs::File::open(place.server.path("d/b")).unwrap().set_modified(old).unwrap();
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(60);
    fs::File::open(place.server.path("d/a")).unwrap().set_modified(later).unwrap();
    assert!(place.run("SYNC --update d").fine().contains("1 moved, 0 alike already, 1 newer there"));
    assert_eq!((place.server.read("d/a"), place.server.read("d/b")), (b"there, and longer".to_vec(), b"here".to_vec()));
}

#[test]
fn lists_name_all_that_is_moved() {
    let place = Place::new();
    for name in ["d/a", "d/sub/b", "d/sub/c", "d/whole/x/y", "d/other/z"] {
        place.server.write(name, b"there");
    }
    place.write("list", b"# a remark\nsub/b\n./whole/\n");
    place.run("GET -r --files-from list d").fine();
    assert_eq!(files(place.local("")), ["list", "sub/b", "whole/x/y"]);
    place.run_with(&[], "GET -r -0 --files-from - d -> .", b"a\0sub/c\0").fine();
    assert_eq!(files(place.local("")), ["a", "list", "sub/b", "sub/c", "whole/x/y"]);
    place.run("PUT -r . --files-from list -> /; RM -r --files-from list d").fine();
    assert_eq!(files(place.server.path("")), ["d/a", "d/other/z", "d/sub/c", "sub/b", "whole/x/y"]);
    assert!(place.server.path("d/sub").is_dir() && !place.server.path("d/whole").exists());
    // A wrong list changes nothing.
    place.write("wrong", b"sub/b\n../secret\n");
    place.write("missing", b"a\nnowhere\n");
    for command in ["GET -r", "PUT -r", "RM -r", "SYNC"] {
        let ran = place.run(&format!("{command} --files-from wrong ."));
        ran.failed(2, "wrong:2: ../secret: ");
    }
    fs::remove_file(place.local("a")).unwrap();
    let ran = place.run("GET -r --files-from missing d");
    assert!(ran.complaints.contains("nowhere is in the list and not there"), "{}", ran.complaints);
    ran.failed(8, "nothing was changed; -k goes on without them");
    assert!(!place.local("a").exists());
    place.run("RM -r --files-from missing d").failed(8, "nothing was changed");
    place.run("SYNC -d --delete --files-from missing d -> .").failed(8, "nothing was changed");
    place.run("GET -rk --files-from missing d").failed(8, "1 failed, the rest is done; not done: nowhere");
    assert!(place.local("a").is_file());
    place.run("PUT -r --files-from missing .").failed(5, "nothing was changed");
    place.run("GET -r --files-from nofile d").failed(5, "cannot read the list nofile");
    place.run("GET --files-from list d").failed(2, "--recursive");
    place.run("GET -r -0 d").failed(2, "--files-from");
    // What is not in the list is not deleted, and neither is what is only mistyped.
    place.write("few", b"sub\n");
    place.run("SYNC -d --delete --max-delete 9 --files-from few d -> .").fine();
    assert!(place.local("whole/x/y").is_file() && place.local("list").is_file() && !place.local("sub/b").exists());
}

#[test]
fn a_listing_shows_what_is_in_a_list() {
    let place = Place::new();
    for name in ["d/a", "d/sub/b", "d/sub/c", "d/whole/x/y", "top"] {
        place.server.write(name, b"there");
    }
    place.write("list", b"a\nsub/b\nwhole\n");
    assert_eq!(place.run("LS --files-from list d").fine(), "a\nsub/\nwhole/\n");
    let all = "a\nsub/\nsub/b\nwhole/\nwhole/x/\nwhole/x/y\n";
    assert_eq!(place.run("CD d; LS ** --files-from list").fine(), all);
    let ran = place.run_with(&[], "CD d; LS -0 --files-from - ** --exclude '*/x'", b"sub/c\0whole\0");
    assert_eq!(ran.fine(), "sub/\nsub/c\nwhole/\n");
    // What is missing is told, and the rest is shown.
    place.write("missing", b"a\nnowhere/x\nsub/no\nsub/c\n");
    let ran = place.run("LS --files-from missing d");
    assert_eq!(ran.complaints, "LS: nowhere/x is in the list and not there\n");
    assert_eq!(ran.failed(8, "nowhere/x"), "a\nsub/\n");
    let ran = place.run("CD d; LS --files-from missing sub/*");
    assert_eq!(ran.complaints, "LS: nowhere/x is in the list and not there\nLS: sub/no is in the list and not there\n");
    assert_eq!(ran.failed(8, "sub/no"), "sub/c\n");
    place.run("LS --files-from list d/a").failed(4, "d/a: --files-from has names in a directory, and that is none");
    place.run("LS -0").failed(2, "--files-from");
}

#[test]
fn rules_are_about_paths_or_perish_for_every_command() {
    let place = Place::new();
    for name in ["top/d/sub/a", "top/d/sub/b", "top/d/c.o", "top/a"] {
        place.server.write(name, b"there");
    }
    place.write("paths", b"-/ d/sub/a\n-/ /top/a\n");
    let beneath = ["top/d/c.o", "top/d/sub/b"];
    place.run("GET -r --filter paths top").fine();
    assert_eq!(files(place.local("top")), ["d/c.o", "d/sub/b"]);
    place.run("CD top/d/sub; GET --filter paths *; LS --filter paths").fine();
    assert_eq!(files(place.local("")), ["b", "paths", "top/d/c.o", "top/d/sub/b"]);
    assert_eq!(
        place.run("CD top/d/sub; LS --filter paths; LS --filter paths ../**").fine(),
        "b\n/top/d/c.o\n/top/d/sub/\nb\n"
    );
    place.write("d/sub/a", b"here");
    place.write("d/sub/z", b"here");
    place.run("PUT -r --filter paths d -> here").fine();
    assert_eq!(files(place.server.path("here")), ["sub/z"]);
    place.run("RM -r --filter paths top").fine();
    assert_eq!(files(place.server.path("top")), ["a", "d/sub/a"]);
    for name in beneath {
        place.server.write(name, b"there");
    }
    // What perishes goes with the directory that is deleted, and not alone.
    place.write("perishing", b"-p *.o\n");
    place.run("RM --filter perishing top/d/c.o; RM -r --filter perishing top/a").fine();
    assert!(place.server.path("top/d/c.o").exists());
    place.server.write("top/a", b"there");
    place.run("RM -r --filter perishing top/d").fine();
    assert_eq!(files(place.server.path("top")), ["a"]);
}

#[test]
fn options_about_local_directories_are_refused_where_there_is_none() {
    let place = Place::new();
    place.server.write("a", b"there");
    for (command, option) in [("RM -r -F a", "-F"), ("LS -F", "-F"), ("LS --ferryignore", "-F")] {
        place.run(command).failed(2, &format!("has no option {option}: it looks into no local directory"));
    }
    for command in ["RM -L a", "LS --copy-links", "GET -L a", "GET --copy-unsafe-links a"] {
        place.run(command).failed(2, "has no option -L: it sends no local links; PUT and SYNC do");
    }
    assert!(place.server.path("a").exists() && !place.local("a").exists());
}

#[test]
fn links_are_sent_as_what_they_stand_for_where_that_was_asked_for() {
    let (place, outside) = (Place::new(), tempfile::tempdir().unwrap());
    fs::write(outside.path().join("secret"), "outside").unwrap();
    place.write("d/sub/a", b"a");
    symlink("sub", place.local("d/to")).unwrap();
    symlink("sub/a", place.local("d/file")).unwrap();
    symlink(outside.path(), place.local("d/out")).unwrap();
    symlink("..", place.local("d/sub/up")).unwrap();
    let ran = place.run("PUT -rL d");
    for part in ["d/out is a symbolic link that leads out", "d/sub/up is a symbolic link to a directory that it is in"]
    {
        assert!(ran.complaints.contains(part), "{}", ran.complaints);
    }
    assert_eq!(ran.status, 0);
    assert_eq!(files(place.server.path("d")), ["file", "sub/a", "to/a"]);
    place.run("SYNC --copy-unsafe-links d e");
    assert_eq!(files(place.server.path("e")), ["file", "out/secret", "sub/a", "to/a"]);
    assert!(place.run("SYNC -L --delete d e").said.contains("0 moved, 3 alike"));
    place.run("SYNC -d -L e d").failed(2, "links are sent, and never made here");
    // Rules of a directory hold in it by whatever way it is reached.
    place.write("d/sub/.ferryignore", b"a\n");
    place.run("PUT -rLF d -> new");
    assert_eq!(files(place.server.path("new")), ["file"]);
}

#[test]
fn rules_that_can_not_be_read_change_nothing() {
    let place = Place::new();
    place.server.write("d/a", b"there");
    place.write("rules", b"- a\n\nwhat\n");
    for command in ["GET -r", "RM -r", "SYNC -d", "LS"] {
        place.run(&format!("{command} --exclude '[a' d")).failed(2, "--exclude [a: a '[' without its ']'");
        place.run(&format!("{command} --filter rules d")).failed(2, "rules:3: it begins with none of '- ', '+ '");
        place.run(&format!("{command} --filter nofile d")).failed(5, "cannot read the rules in");
    }
    assert_eq!((files(place.server.path("d")), place.local("d").exists()), (vec!["a".to_owned()], false));
}

#[test]
fn a_dry_run_changes_nothing_and_says_all_in_one_form() {
    let place = Place::new();
    place.server.write("d/a", b"there");
    place.server.write("d/sub/b", b"there");
    place.write("e/c", b"here");
    let before = (tree(&place.server.path("")), tree(&place.local("")));
    let said =
        place.run("GET -rn d; PUT -rn e; RM -rn d; MV -n d f; PUT -n - -> x; GET -n d/a -> -; SYNC -dn d").fine();
    let expected = "would make d\nwould make d/sub\nwould get d/a (5 bytes)\nwould get d/sub/b (5 bytes)\n\
                    GET would get 2 files (10 bytes)\n\
                    would make e\nwould put e/c (4 bytes)\nPUT would put 1 file (4 bytes)\n\
                    would delete d/sub/b\nwould delete d/a\nwould delete d/sub\nwould delete d\n\
                    RM would delete 2 files and 2 directories (10 bytes)\n\
                    would rename d to f\nwould put x\n\
                    would get d/a\nGET would get 1 file (0 bytes)\n\
                    would make d\nwould make d/sub\nwould get d/a (5 bytes)\nwould get d/sub/b (5 bytes)\n\
                    SYNC would get 2 files (10 bytes), delete 0, and leave 0 files as they are\n";
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&said), sorted(expected), "{said}");
    let said = place.run_with(&["--json"], "RM -rn d/sub; MV -n d f", b"").fine();
    let first = said.lines().next().unwrap();
    assert_eq!(first, r#"{"event":"plan","action":"delete","name":"d/sub/b","size":null}"#);
    assert!(
        said.ends_with(concat!(r#"{"event":"plan","action":"rename","name":"d","size":null,"to":"f"}"#, "\n")),
        "{said}"
    );
    place.run("MV -n d/a d/sub/b").failed(4, "MV replaces nothing");
    place.run("MV -n nothing f").failed(8, "nothing");
    place.run("RM -n d").failed(4, "that is a directory");
    assert_eq!(before, (tree(&place.server.path("")), tree(&place.local(""))));
}

#[test]
fn many_deletions_are_asked_about_at_a_terminal() {
    let place = Place::new();
    for index in 0..101 {
        place.server.write(&format!("d/{index}"), b"there");
    }
    fs::create_dir(place.local("d")).unwrap();
    let mut terminal = Terminal::ferry(&place.local(".."), &[]);
    terminal.type_line(&format!("OPEN {}", place.server.address().port()));
    for command in ["RM -r d", "SYNC --delete --max-delete 200 d"] {
        terminal.type_line(command);
        terminal.expect("Go on? (yes/no) ");
        terminal.type_line("perhaps");
        terminal.expect("Please type 'yes' or 'no': ");
        terminal.type_line("no");
        terminal.expect("nothing was changed");
    }
    assert_eq!(files(place.server.path("d")).len(), 101);
    terminal.type_line("SYNC --delete --max-delete 200 d");
    terminal.expect("SYNC would delete 101 things; SYNC -n lists them. Go on? (yes/no) ");
    terminal.type_line("yes");
    terminal.expect("101 deleted");
    for index in 0..101 {
        place.server.write(&format!("d/{index}"), b"there");
    }
    terminal.type_line("RM -ry d");
    terminal.expect("deleted 101 files and 1 directory");
    terminal.type_line("QUIT");
    // Nobody is there to be asked where there is no terminal.
    for index in 0..101 {
        place.server.write(&format!("d/{index}"), b"there");
    }
    place.run("RM -r d").fine();
}
