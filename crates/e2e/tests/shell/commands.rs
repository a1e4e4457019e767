//! Every command, with names that are no ordinary ones.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
};

use ferry_e2e::Options;

use crate::{place::Place, terminal::Terminal};

/// Names that mean something elsewhere. Each is a valid one here.
const UNUSUAL: [&str; 18] = [
    "two words.txt",
    "it's",
    "a \"quoted\" one",
    "both ' and \"",
    "back\\slash",
    "-r",
    "--",
    "->",
    "*",
    "a[1]?{x,y}",
    "a \u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467} family",
    "نامه\u{200c}ها",
    "Grüße, мир, 世界",
    " spaces ",
    ";",
    "$HOME `x` &",
    "!ls",
    ".hidden",
];

/// As a person would quote it.
fn quoted(name: &str) -> String {
    match name.contains('\'') {
        false => format!("'{name}'"),
        true => format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\"")),
    }
}

#[test]
fn every_command_takes_unusual_names() {
    let place = Place::new();
    let long = "n".repeat(255);
    for name in UNUSUAL.iter().copied().chain([long.as_str()]) {
        let word = quoted(name);
        place.write(name, name.as_bytes());
        place.run(&format!("PUT {word}")).fine();
        assert_eq!(place.server.read(name), name.as_bytes());
        fs::remove_file(place.local(name)).unwrap();
        place.run(&format!("GET {word}")).fine();
        assert_eq!(fs::read(place.local(name)).unwrap(), name.as_bytes(), "{name}");
        assert_eq!(place.run(&format!("LS {word}")).fine(), format!("{name}\n"));
        let bytes = if name.len() == 1 { "1 byte".to_owned() } else { format!("{} bytes", name.len()) };
        assert!(place.run(&format!("STAT {word}")).fine().starts_with(&format!("{name}: {bytes}, ")));
        assert!(place.run(&format!("SUM {word}")).fine().ends_with(&format!("  {name}\n")));
        place.run(&format!("MKDIR d; CD d; MKDIR {word}; CD {word}")).fine();
        assert_eq!(place.run(&format!("CD d; LS; CD {word}; PWD")).fine(), format!("{name}/\n/d/{name}\n"));
        let deep = quoted(&format!("d/{name}"));
        let deeper = quoted(&format!("d/{name}/x"));
        place.run(&format!("PUT {word} -> d/x; MV d/x {deep}; RM {deeper}; RM -r d; RM {word}")).fine();
        assert_eq!(place.server.visible(), [""; 0]);
        assert_eq!(place.run(&format!("LLS {word}")).fine(), format!("{name}\n"));
        fs::remove_file(place.local(name)).unwrap();
    }
}

#[test]
fn words_are_those_of_other_shells_and_quotes_keep_a_name_together() {
    let place = Place::new();
    for (name, typed) in [
        ("two words.txt", "two\\ words.txt"),
        ("it's a dog's life", "\"it's a dog's life\""),
        ("Artist - Song [live].mp3", "Artist' - 'Song\\ \\[live\\].mp3"),
        ("back\\slash", "back\\\\slash"),
        ("a;b", "a\\;b"),
        ("end ", "end\\ "),
    ] {
        place.server.write(name, name.as_bytes());
        assert!(place.run(&format!("GET {typed}")).fine().starts_with(&format!("got {name}: ")));
        assert_eq!(fs::read(place.local(name)).unwrap(), name.as_bytes());
        fs::remove_file(place.server.path(name)).unwrap();
        assert!(place.run(&format!("PUT {typed}")).fine().starts_with(&format!("put {name}: ")));
        assert_eq!(place.server.read(name), name.as_bytes());
    }
    place.run("GET it's").failed(2, "a quote (') is not closed; one that is part of a name is \\'");
    place.run("GET a\\").failed(2, "nothing stands after the backslash");
}

#[test]
fn rm_deletes_the_names_that_were_typed_and_nothing_where_one_of_them_does_not_exist() {
    let place = Place::new();
    let all = ["old photos", "photos", "photos old", "x"];
    for name in all {
        place.server.write(&format!("{name}/f"), name.as_bytes());
        place.server.write(&format!("f {name}"), b"");
    }
    let before = place.server.visible();
    let meant = "did you mean 'photos old'?";
    // As one name it exists, and as two it does not: nothing of it is deleted, whatever is given with it.
    for command in
        ["RM -r photos old", "RM photos old -r", "RM -rk photos old", "RM -rf photos old", "RM -k x photos old"]
    {
        let ran = place.run(command);
        assert_eq!(place.server.visible(), before, "{command}: {}", ran.complaints);
        match command.ends_with("x photos old") {
            true => drop(ran.failed(4, "")),
            false => drop(ran.failed(8, meant)),
        }
    }
    place.run("RM -r x nothing").failed(8, "RM nothing: the server has no such file or directory; nothing was deleted");
    place.run("RM f x").failed(8, "did you mean 'f x'?");
    assert_eq!(place.server.visible(), before);
    // And a name is no option, no pattern and no more than itself.
    place.run("RM -r 'photos old'; RM f\\ photos\\ old").fine();
    assert!(!place.server.path("photos old").exists() && !place.server.path("f photos old").exists());
    assert!(place.server.path("photos").exists() && place.server.path("f photos").exists());
    place.run("RM -rk x nothing photos").failed(8, "RM: 1 failed, the rest is done");
    place.run("RM -rf nothing 'old photos' *.none").fine();
    assert_eq!(place.run("RM -f nothing").fine(), "");
    assert_eq!(place.server.visible(), ["f old photos", "f photos", "f x"]);
    place.run("MKDIR d; MKDIR d/e; RMDIR d").failed(4, "RM d: the directory is not empty");
    assert_eq!(place.run("RMDIR d/e d").fine(), "deleted 2 directories\n");
}

#[test]
fn several_words_that_fail_and_are_one_name_are_asked_about() {
    let place = Place::new();
    for name in ["two words.txt", "a", "*.txt", "x.txt"] {
        place.server.write(name, name.as_bytes());
    }
    assert!(place.run("GET *.txt").fine().starts_with("got *.txt: 5 bytes"), "what has just that name comes first");
    for command in ["GET", "GET -k", "LS", "STAT", "SUM", "RM"] {
        let ran = place.run(&format!("{command} two words.txt"));
        ran.failed(8, "did you mean 'two words.txt'?");
    }
    assert_eq!(place.server.visible().len(), 4);
    place.run("GET a nothing").failed(8, "GET nothing: the server has no such file or directory");
    // Nobody asks where there is nothing to mean.
    assert!(!place.run("GET no thing").complaints.contains("did you mean"));
    place.run("CD two words.txt").failed(2, "in quotes it is one name: CD 'two words.txt'");
    // Here as there.
    place.write("p q", b"pq");
    place.write("p", b"p");
    place.run("PUT p q").failed(5, "did you mean 'p q'?");
    place.run("LLS p q").failed(5, "did you mean 'p q'?");
    fs::remove_file(place.local("p q")).unwrap();
    place.run("PUT p q").failed(5, "PUT q: there is no such file in");
    place.run("PUT q -> r").failed(5, "PUT q: there is no such file in");
    place.run("PUT /nowhere/q -> r").failed(5, "PUT /nowhere/q: there is no such file");
    place.run("MV two words.txt x").failed(4, "did you mean 'two words.txt'?");
}

#[test]
fn what_is_typed_out_of_habit_just_works() {
    let place = Place::new();
    for name in ["a.txt", "b.txt", ".h", "d/c"] {
        place.server.write(name, name.as_bytes());
    }
    place.server.write(".h", b"the largest");
    assert_eq!(place.run("cat a.txt b.txt").said, "a.txtb.txt");
    assert_eq!(place.run("ls -a").fine(), ".h\na.txt\nb.txt\nd/\n");
    let long = place.run("ls -la").fine();
    assert_eq!((place.run("dir").fine(), place.run("ll").fine()), (long.clone(), long.clone()));
    assert!(long.lines().count() == 4 && long.starts_with("             11  20"), "{long}");
    assert_eq!(place.run("ls -rS ?.txt .h").fine(), "b.txt\na.txt\n.h\n");
    assert_eq!(place.run("ls -S .h ?.txt").fine(), ".h\na.txt\nb.txt\n");
    assert!(place.run("ls -lh a.txt").fine().trim_start().starts_with("5 bytes  20"));
    assert!(place.run("mget *.txt; mput *.txt; lcd ..; lcd; lls").fine().ends_with("a.txt\nb.txt\n"));
    assert!(place.run("binary; passive; prompt").complaints.starts_with("binary: nothing to do"));
    assert_eq!(place.run("cd d; cdup; pwd; rename a.txt x; delete x; del b.txt; rmdir d").failed(4, "not empty"), {
        "/\na.txt is now x\ndeleted x\ndeleted b.txt\n"
    });
    for leave in ["bye", "exit", "q", "disconnect"] {
        place.run(leave).fine();
    }
    let help = place.run("help mget").fine();
    assert!(help.starts_with("GET ") && help.contains("\n  Other words for it: MGET, "), "{help}");
}

#[test]
fn directories_are_walked_and_names_are_relative_to_them() {
    let place = Place::new();
    for name in ["top", "d/a", "d/e/a", "d/e/f/a"] {
        place.server.write(name, name.as_bytes());
    }
    assert_eq!(place.run("PWD; CD d/e; PWD; LS; LS ..; LS /; CD ../..; PWD").fine(), {
        "/\n/d/e\na\nf/\na\ne/\nd/\ntop\n/\n"
    });
    assert!(place.run("CD d; GET a; LCD ..; LPWD").fine().starts_with("got a: 3 bytes"));
    assert_eq!(fs::read(place.local("a")).unwrap(), b"d/a");
    assert!(place.run("CD d/e; GET ../../top").fine().starts_with("got /top: 3 bytes"));
    assert!(place.run("CD d/e; GET /d/e/f/a -> deep; CD; PWD").fine().ends_with("\n/\n"));
    assert_eq!(fs::read(place.local("deep")).unwrap(), b"d/e/f/a");
    place.run("CD d; PUT deep; MKDIR new; MV deep new; RM new/deep").fine();
    place.run("CD d; GET ../../top").failed(2, "leads above the root");
    place.run("CD d/a").failed(4, "CD d/a: that is a file");
    place.run("CD nowhere").failed(8, "CD nowhere: the server has no such directory");
    place.run("CD d; CD ../..").failed(2, "leads above the root");
    place.run("LS nowhere").failed(8, "LS nowhere: the server has no such file or directory");
    place.run("CD d/e; RM -r /d").failed(2, "the current directory is in it");
    place.run("LCD nowhere").failed(5, "LCD: there is no directory ./client/nowhere");
    assert_eq!(place.run("LS d/a d/e top").fine(), "d/a\nd/e:\na\nf/\ntop\n");
    assert_eq!(place.run("STAT /").fine(), "/: directory\n");
}

#[test]
fn patterns_find_what_they_match_and_say_so_where_that_is_nothing() {
    let place = Place::new();
    for name in ["a.txt", "b.txt", "c.md", ".h.txt", "d/x.txt", "d/e/y.txt", "Grüße.txt"] {
        place.server.write(name, name.as_bytes());
    }
    let list = |pattern: &str| place.run(&format!("LS {pattern}")).fine();
    assert_eq!(list("?.txt"), "a.txt\nb.txt\n");
    assert_eq!(list("*.{md,txt}"), "Grüße.txt\na.txt\nb.txt\nc.md\n");
    assert_eq!(list("[!a].txt"), "b.txt\n");
    assert_eq!(list("**/*.txt"), "Grüße.txt\na.txt\nb.txt\nd/e/y.txt\nd/x.txt\n");
    assert_eq!(list("*/x.txt"), "d/x.txt\n");
    assert_eq!(list(".*"), ".h.txt\n");
    assert_eq!(list("Gr??e.*"), "Grüße.txt\n");
    assert_eq!(place.run("CD d; LS ../?.txt; LS /c*; LS e/*").fine(), "/a.txt\n/b.txt\n/c.md\ne/y.txt\n");
    for command in ["GET", "RM", "SUM", "STAT", "LS"] {
        place.run(&format!("{command} *.none")).failed(8, &format!("{command} *.none: nothing matches"));
    }
    place.run("PUT *.none").failed(5, "PUT *.none: nothing matches");
    place.run("GET [x").failed(8, "GET [x: the server has no such file");
    assert!(place.run("GET *.txt a*").fine().starts_with("got 3 files: "));
    let both = place.run("GET *");
    assert!(both.complaints.contains("GET: d is a directory and left out without -r"), "{}", both.complaints);
    for name in ["e1", "e2", "e3"] {
        fs::create_dir(place.server.path(name)).unwrap();
    }
    let many = place.run("GET *");
    assert!(
        many.complaints.contains("GET: d, e1, e2 and 1 more are directories and left out without -r\n"),
        "{many:?}"
    );
    place.run("GET -k e*").failed(4, "GET: only directories match; GET -r fetches them");
    let events = place.run_with(&["--json"], "GET *", b"").said;
    assert_eq!(events.matches("\"event\":\"skipped\",\"name\":\"e").count(), 3, "{events}");
    place.run("RM -r e?").fine();
    place.run("GET d*").failed(4, "GET d: that is a directory; GET -r d fetches it");
    place.run("RM d*").failed(4, "RM -r deletes them");
    assert!(place.run("RM ?.txt").fine().starts_with("deleted 2 files"));
    assert_eq!(place.server.visible(), [".h.txt", "Grüße.txt", "c.md", "d"]);
    let sent = place.run("PUT *.txt").fine();
    assert!(sent.starts_with("put 3 files: "), "{sent}");
    place.write("sub/z.txt", b"z");
    assert!(place.run("MKDIR sub; PUT */z.txt").fine().ends_with("verified and on disk\n"));
    assert_eq!(place.server.read("sub/z.txt"), b"z");
}

#[test]
fn files_get_other_names_and_go_to_other_directories() {
    let place = Place::new();
    place.server.write("a", b"aa");
    place.server.write("d/b", b"bb");
    place.run("GET a -> 'other name'; GET -o x a").fine();
    place.run("GET a -> other name").failed(2, "in quotes it is one: -> 'other name'");
    assert_eq!(fs::read(place.local("other name")).unwrap(), b"aa");
    fs::create_dir(place.local("sub")).unwrap();
    place.run("GET a d/b -> sub; GET a -> sub/; GET a -> ../outside").fine();
    assert_eq!(fs::read(place.local("sub/b")).unwrap(), b"bb");
    assert_eq!(fs::read(place.local("../outside")).unwrap(), b"aa");
    place.run("GET a d/b -> x").failed(5, "x is no directory to save in");
    place.run("GET a -> nowhere/x").failed(5, "No such file or directory");
    place.run("PUT x -> d; PUT x -> d/y; PUT ../outside -> out; PUT -o z x").fine();
    assert_eq!(place.server.read("d/x"), b"aa");
    assert_eq!(place.server.read("out"), b"aa");
    assert_eq!(place.server.visible(), ["a", "d", "out", "z"]);
    place.run("PUT x sub/b -> z").failed(4, "z is no directory of the server");
    place.run("PUT ../outside").failed(2, "PUT ../outside needs a name there: PUT ../outside -> outside");
    place.run("PUT /etc/hostname").failed(2, "PUT /etc/hostname needs a name there: PUT /etc/hostname -> hostname");
    place.run("MV a d; MV d/a b; MV b -> 'two words'").fine();
    assert_eq!(place.server.read("two words"), b"aa");
    place.run("MV out z").failed(4, "MV replaces nothing");
    place.run("MV nothing z2").failed(8, "MV nothing: the server has no such file or directory");
    place.run("MV out no/way").failed(8, "MV no/way: the server has no directory no; MKDIR -p no makes it");
    place.run("PUT x -> no/way").failed(8, "PUT no/way: the server has no directory no; MKDIR -p no makes it");
    place.run("PUT x -> 'a b/c d/e'").failed(8, "the server has no directory a b/c d; MKDIR -p 'a b/c d' makes it");
    assert_eq!(place.run("GET z -> -; GET out -> -").said, "aaaa");
}

#[test]
fn what_would_be_one_file_is_told_before_anything_moves() {
    let place = Place::new();
    for name in ["a", "d/a", "e/a", "other"] {
        place.server.write(name, name.as_bytes());
        place.write(name, name.as_bytes());
    }
    let clash = place.run("GET d/a e/a other");
    assert!(clash.complaints.starts_with("GET: d/a and e/a would be one file here\n"), "{}", clash.complaints);
    assert_eq!(clash.failed(5, "nothing was fetched"), "");
    assert_eq!(fs::read(place.local("a")).unwrap(), b"a");
    assert!(place.run("GET -k d/a e/a other").failed(5, "1 failed").starts_with("got 2 files: "));
    assert_eq!(fs::read(place.local("a")).unwrap(), b"d/a");
    place.run("PUT d/a e/a -> e").failed(5, "nothing was sent");
    assert_eq!(place.server.read("e/a"), b"e/a");
}

#[test]
fn one_of_many_that_fails_stops_the_others_unless_they_are_to_go_on() {
    let place = Place::new();
    for name in ["a", "c"] {
        place.server.write(name, name.as_bytes());
    }
    let said = place.run("GET 'a' b c; GET c").failed(8, "GET b: the server has no such file or directory");
    assert!(said.starts_with("got 1 of 3 files"), "{said}");
    assert!(!place.local("c").exists());
    let all = place.run("GET -k a b c");
    assert!(all.complaints.starts_with("GET b: the server has no such"), "{}", all.complaints);
    assert!(all.failed(8, "GET: 1 failed, the rest is done").starts_with("got 2 of 3 files"));
    assert!(place.local("c").exists());
    place.run_with(&["--keep-going"], "PUT a x c", b"").failed(5, "PUT: 1 failed");
    place.run("RM a x c").failed(8, "RM x: the server has no such file or directory; nothing was deleted");
    place.run("RM -k a x c").failed(8, "RM: 1 failed");
    assert_eq!(place.server.visible(), [""; 0]);
    // One line for each file, where it is asked for.
    let verbose = place.run_with(&["-v"], "PUT 'a' c", b"").said;
    assert!(verbose.starts_with("put a: 1 byte\nput c: 1 byte\nput 2 files: 2 bytes"), "{verbose}");
}

#[test]
fn what_is_said_at_the_end_is_true_of_none_of_one_and_of_many() {
    let place = Place::new();
    place.server.write("a", b"a");
    fs::create_dir(place.server.path("empty")).unwrap();
    // Where one thing was asked for there is no rest, and -k changes nothing.
    for (command, status) in [("GET X", 8), ("GET X -> -", 8), ("GET X*", 8), ("PUT X", 5), ("PUT X*", 5), ("RM X", 8)]
    {
        let (without, with) = (place.run(command), place.run(&command.replacen(' ', " -k ", 1)));
        assert_eq!(with.complaints, without.complaints, "{command}");
        assert_eq!((with.status, without.status), (status, status), "{command}");
        assert_eq!((with.said.as_str(), with.complaints.lines().count()), ("", 1), "{command}: {}", with.complaints);
    }
    place.run("GET -k x y").failed(8, "GET: both failed");
    place.run("GET -k x y z").failed(8, "GET: all 3 failed");
    place.run("PUT -k x y").failed(5, "PUT: both failed");
    place.run("RM -k x y").failed(8, "RM: both failed");
    place.run("GET -k x a -> -").failed(8, "GET: 1 failed, the rest is done");
    place.run("GET -rk empty x").failed(8, "GET: 1 failed, the rest is done");
    assert_eq!(place.run("GET -r empty").fine(), "got 0 files\n");
    assert_eq!(place.run("RM -r empty").fine(), "deleted 1 directory\n");
    let plan = place.run("SYNC -d .; SYNC -d -n .").fine();
    assert!(plan.ends_with("delete 0, and leave 1 file as it is\n"), "{plan}");
}

#[test]
fn directories_are_made_and_deleted_with_care() {
    let place = Place::new();
    let said = place.run("MKDIR a 'b c'; MKDIR -p a/x/y; MKDIR -p a/x/y a").fine();
    assert_eq!(said, "made a\nmade b c\nmade a/x/y\na/x/y is there already\na is there already\n");
    let said = place.run_with(&["--json"], "MKDIR -p a", b"").fine();
    assert_eq!(said, "{\"event\":\"exists\",\"name\":\"a\"}\n");
    place.server.write("a file", b"1");
    place.run("MKDIR -p 'a file'").failed(4, "MKDIR a file: the server has something of that name already");
    place.run("RM 'a file'").fine();
    assert_eq!(place.run("LS; LS a").fine(), "a/\nb c/\nx/\n");
    place.run("MKDIR a").failed(4, "MKDIR a: the server has something of that name already");
    place
        .run("MKDIR no/way")
        .failed(8, "MKDIR no/way: the server has no directory no; MKDIR -p no/way makes it as well");
    place.run("RM a").failed(4, "RM a: that is a directory; RM -r a deletes it with all that is in it");
    place.run("RM -r /").failed(2, "the root can't be deleted");
    place.server.write("a/x/file", b"1");
    place.server.write("keep", b"1");
    symlink("/etc", place.server.path("a/link")).unwrap();
    // What the server does not show can't be deleted, and its directory neither.
    place.run("RM -r --fail-fast a").failed(4, "RM a: the directory is not empty");
    assert!(place.server.path("a/link").symlink_metadata().is_ok());
    fs::remove_file(place.server.path("a/link")).unwrap();
    place.run("MKDIR -p a/x/y; RM -r a 'b c'").fine();
    assert_eq!(place.server.visible(), ["keep"]);
    place.run("RM nothing").failed(8, "RM nothing: the server has no such file or directory");
    place.run("RM keep").fine();
}

#[test]
fn the_state_of_the_shell_can_be_asked_for() {
    let place = Place::with(Options::new().arg("--read-only"));
    place.server.write("d/a", b"hello");
    let said = place.run("CD d; GET a; STATUS; HISTORY 2").fine();
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[1].starts_with("connected to 127.0.0.1:") && lines[1].contains("(ferryd/"), "{said}");
    assert!(lines[2].starts_with("features: ") && lines[2].contains("read-only"), "{said}");
    assert_eq!(lines[3], "directory of the server: /d");
    assert!(lines[4].starts_with("local directory: /") && lines[4].ends_with("/client"), "{said}");
    assert_eq!(
        lines[5..],
        ["got so far: 1 file, 5 bytes", "put so far: 0 files, 0 bytes", "    4  STATUS", "    5  HISTORY 2"]
    );
    assert!(place.run("STATUS; CLOSE; STATUS").fine().contains("\nnot connected\n"));
    place.run("PUT a").failed(4, "read-only");
    for command in ["MKDIR x", "RM d/a", "MV d/a d/b"] {
        place.run(command).failed(4, "read-only");
    }
}

#[test]
fn commands_of_the_system_run_in_the_local_directory() {
    let place = Place::new();
    place.write("sub/a", b"");
    assert_eq!(place.run("!echo 'two  words'; LCD sub; !ls").fine(), "two  words\na\n");
    place.run("!exit 3; !echo no").failed(1, "!exit 3: exit status 3");
    place.run("!kill -9 $$").failed(1, "ended by signal 9");
}

#[test]
fn every_help_has_an_example() {
    let place = Place::new();
    let help = place.run("HELP PUT").fine();
    assert!(help.contains("PUT ../notes.txt -> old/notes.txt  sends it under another name"), "{help}");
    let list = place.run("HELP").fine();
    // What stands further to the right goes on with the line above.
    let lines = list.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let verbs: Vec<&str> = lines.map(|line| line.split_whitespace().next().unwrap()).collect();
    assert!(verbs.len() >= 20, "{list}");
    for verb in verbs.into_iter().map(|verb| if verb.starts_with('!') { "!" } else { verb }) {
        let help = place.run(&format!("HELP {verb}")).fine();
        assert!(help.contains(&format!("\n    {verb}")), "{help}");
        assert!(help.lines().all(|line| line == line.trim_end()), "{help:?}");
    }
}

#[test]
fn what_is_wrong_here_is_told_in_one_line_and_nothing_half_done_is_left() {
    let place = Place::new();
    place.server.write("a", b"hello");
    place.write("a", b"old");
    let directory = place.local("closed");
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(directory.join("x"), "").is_err() {
        place.run("GET a -> closed/x").failed(5, "Permission denied");
    }
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
    place.server.write("closed/in", b"");
    place.run("GET closed").failed(4, "GET closed: that is a directory; GET -r closed fetches it");
    assert_eq!(fs::read(place.local("a")).unwrap(), b"old");
    for (command, part) in [
        ("GET -x a", "GET has no option -x"),
        ("GET --recursiv a", "did you mean --recursive?"),
        ("RM -rx a", "RM has no option -x"),
        ("SYNC -ud a", "--up and --down do not go together"),
        ("LS -z", "LS has no option -z"),
        ("ERASE a", "did you mean RM?"),
    ] {
        place.run(command).failed(2, part);
    }
}

#[test]
fn aliases_stand_for_the_beginning_of_a_command() {
    let place = Place::new();
    place.server.write("d/a.txt", b"hello");
    place.server.write("d/b.tmp", b"no");
    let file = place.local("aliases.toml");
    let config = file.to_str().unwrap().to_owned();
    fs::write(&file, "[aliases]\nfetch-all = \"GET -r --exclude '*.tmp'\"\nL = 'LS -l'\n").unwrap();
    let run = |commands: &str| place.run_with(&["--config", &config], commands, b"");
    run("Fetch-All d").fine();
    assert_eq!(fs::read(place.local("d/a.txt")).unwrap(), b"hello");
    assert!(!place.local("d/b.tmp").exists());
    let said = run("l 'd'").fine();
    assert!(said.starts_with("              5  20") && said.contains("  a.txt\n"), "{said}");
    let help = run("HELP").fine();
    assert!(help.ends_with("  FETCH-ALL alias: GET -r --exclude '*.tmp'\n  L         alias: LS -l\n"), "{help}");
    let help = run("HELP l").fine();
    assert!(help.starts_with("l stands for LS -l\nLS ["), "{help}");
    run("'l' d").failed(2, "unknown command");
    // A subcommand is none, and says so.
    let usual = place.config("ferry/config.toml");
    fs::create_dir_all(usual.parent().unwrap()).unwrap();
    fs::copy(&file, &usual).unwrap();
    let why = "'L' is an alias of the shell, for LS -l: ferry HOST -c 'L ...' uses it\n";
    for arguments in [&["L"][..], &["L", "12000", "d"]] {
        let output = place.ferry().args(arguments).output().unwrap();
        assert_eq!((output.status.code(), &*String::from_utf8_lossy(&output.stderr)), (Some(2), why), "{arguments:?}");
    }
    fs::write(&file, "retry = 1\n[aliases]\nup = 'SYNC -u'\nrm = 'RM -r'\n").unwrap();
    run("LS").failed(2, "aliases.toml:4: rm: this is a command of ferry already");
}

#[test]
fn help_is_by_task_and_fits_the_window() {
    let place = Place::new();
    let whole = place.run("HELP").fine();
    assert!(whole.contains("\ntransfers:\n  GET      Fetch files"), "{whole}");
    let looking = place.run("HELP LOOKING").fine();
    assert!(looking.starts_with("looking:\n  LS ") && looking.lines().count() < 12, "{looking}");
    let directory = tempfile::tempdir().unwrap();
    let mut client = Terminal::ferry_like(directory.path(), &[], &[], (80, 24));
    client.type_line("HELP");
    client.expect("HELP GET explains one.");
    client.expect("ferry> ");
    let screen = client.screen();
    assert!(screen.contains("connection  OPEN  LOGIN") && screen.contains("transfers   GET  PUT  SYNC"), "{screen}");
    client.type_line("QUIT");
    assert_eq!(client.end(), 0);
    let mut client = Terminal::ferry_like(directory.path(), &[], &[], (80, 60));
    client.type_line("HELP");
    client.expect("Fetch files");
    client.expect("ferry> ");
    client.type_line("QUIT");
    assert_eq!(client.end(), 0);
}

#[test]
fn options_are_set_and_shown_with_their_sources() {
    let place = Place::new();
    place.server.write("a.txt", b"hello");
    let file = place.local("config.toml");
    let config = file.to_str().unwrap().to_owned();
    fs::write(&file, "parallel = 2\nretry = 1\n").unwrap();
    let run = |commands: &str| place.run_with(&["--config", &config, "--timeout", "9"], commands, b"");
    let line = |key: &str, value: &str, source: &str| format!("{key:<12} {value:<26} {source}\n");
    let all = run("SET").fine();
    assert!(
        all.contains(&line("timeout", "9", "command line")) && all.contains(&line("parallel", "2", &config)),
        "{all}"
    );
    assert!(all.contains(&line("min_rate", "1024", "default")) && all.lines().count() >= 10, "{all}");
    assert_eq!(run("SET parallel 4; SET Parallel").fine(), line("parallel", "4", "SET").repeat(2));
    assert_eq!(run("SET timeout 5").fine(), line("timeout", "5", "SET, from the next OPEN on"));
    assert_eq!(run("SET retry 0; SET retry default").fine(), line("retry", "0", "SET") + &line("retry", "1", &config));
    // It takes effect: this goes on after what fails.
    let ran = run("SET keep_going true; GET nothing a.txt");
    assert_eq!(ran.status, 8, "{}", ran.complaints);
    assert_eq!(fs::read(place.local("a.txt")).unwrap(), b"hello");
    run("SET frob 1").failed(2, "SET frob: there is no such key; there are dir, timeout, retry");
    run("SET timeout soon").failed(2, "SET timeout: a number of seconds is needed");
    run("SET dir /tmp").failed(2, "LCD changes the local directory");
    run("SET timeout 1 2").failed(2, "one word too many");
    let json = place.run_with(&["--json"], "SET limit_rate 1M", b"").fine();
    let last = json.lines().last().unwrap();
    assert_eq!(last, "{\"event\":\"setting\",\"key\":\"limit_rate\",\"value\":\"1M\",\"source\":\"SET\"}");
}
