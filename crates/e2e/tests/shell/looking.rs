//! Walks through the server's tree, files at a terminal, and names made and moved by the dozen.

use std::{fs, os::unix::fs::PermissionsExt as _};

use ferry_e2e::{Options, Server, random_bytes, seed};
use serde_json::Value;

use crate::{
    machine::{fixture, run},
    place::Place,
    terminal::Terminal,
};

/// A server with a small tree.
fn place() -> Place {
    let place = Place::new();
    for (name, size) in [("a.txt", 3), ("d/b.txt", 5), ("d/.c.txt", 7), ("d/e/f g.md", 11), ("*.txt", 1)] {
        place.server.write(name, &vec![b'x'; size]);
    }
    place
}

#[test]
fn find_lists_all_that_is_beneath_or_what_was_chosen() {
    let place = place();
    assert_eq!(place.run("FIND").fine(), "*.txt\na.txt\nd/\nd/.c.txt\nd/b.txt\nd/e/\nd/e/f g.md\n");
    assert_eq!(place.run("FIND --type d").fine(), "d/\nd/e/\n");
    assert_eq!(place.run("FIND d --name *.txt --type f").fine(), "d/.c.txt\nd/b.txt\n");
    assert_eq!(place.run("FIND --name '*.txt'").fine(), "*.txt\n", "a quoted one is a name");
    assert_eq!(place.run("CD d; FIND").fine(), ".c.txt\nb.txt\ne/\ne/f g.md\n");
    assert_eq!(place.run("FIND a.txt").fine(), "a.txt\n");
    assert!(place.run("FIND -l d --name b.txt").fine().starts_with("              5  20"));
    place.run("FIND --name a/b").failed(2, "FIND --name a/b: one name is meant, without '/'");
    place.run("FIND --name [").failed(2, "not a pattern");
    place.run("FIND nothing").failed(8, "FIND nothing: the server has no such file or directory");
    // What is there is shown all the same.
    let ran = place.run("FIND nothing a.txt");
    assert_eq!((ran.status, ran.said.as_str()), (8, "a.txt\n"));
}

#[test]
fn a_tree_is_drawn_as_deep_as_was_asked_for() {
    let place = place();
    let whole = "/\n├── *.txt\n├── a.txt\n└── d/\n    ├── .c.txt\n    ├── b.txt\n    └── e/\n        └── f g.md\n\
                 2 directories, 5 files\n";
    assert_eq!(place.run("TREE").fine(), whole);
    assert_eq!(place.run("TREE -L 1").fine(), "/\n├── *.txt\n├── a.txt\n└── d/\n1 directory, 2 files\n");
    assert_eq!(place.run("TREE -d d").fine(), "d\n└── e/\n1 directory, 0 files\n");
    place.run("TREE a.txt").failed(4, "TREE a.txt: that is no directory");
    place.run("TREE -L x").failed(2, "a whole number is needed");
}

#[test]
fn sizes_are_summed_up_by_directory() {
    let place = place();
    assert_eq!(place.run("DU").fine(), "             11  d/e/\n             23  d/\n             27  .\n");
    assert_eq!(place.run("DU -s d a.txt").fine(), "             23  d/\n              3  a.txt\n");
    assert_eq!(place.run("CD d; DU -sh").fine(), "       23 bytes  .\n");
    // Of a directory that is in another one, there is one line.
    assert_eq!(place.run("DU d d/e").fine(), "             11  d/e/\n             23  d/\n");
    let json = place.run_with(&["--json"], "DU -s d", b"").fine();
    let event: Value = serde_json::from_str(json.lines().last().unwrap()).unwrap();
    let of = |field: &str| event[field].as_u64();
    assert_eq!((event["event"].as_str(), event["name"].as_str()), (Some("usage"), Some("d")));
    assert_eq!((of("bytes"), of("files"), of("directories")), (Some(23), Some(3), Some(1)));
}

#[test]
fn the_room_of_the_server_is_told() {
    let place = Place::with(Options::new().arg("--max-staged").arg("3MiB"));
    let status = rustix::fs::statvfs(place.server.root()).unwrap();
    let total = status.f_blocks * status.f_frsize;
    let said = place.run("DF").fine();
    let words: Vec<&str> = said.split_whitespace().collect();
    assert_eq!(words[..5], ["total", "used", "available", "use", &total.to_string()], "{said}");
    assert!(words[7].ends_with('%') && said.ends_with("not finished may take 3145728 more\n"), "{said}");
    assert!(place.run("DF -h").fine().ends_with("may take 3.0 MiB more\n"));
    let json = place.run_with(&["--json"], "DF", b"").fine();
    let event: Value = serde_json::from_str(json.lines().last().unwrap()).unwrap();
    let of = |field: &str| event[field].as_u64();
    assert_eq!((event["event"].as_str(), of("total"), of("staged")), (Some("space"), Some(total), Some(3 << 20)));
    // Others write to the disk meanwhile.
    assert!(of("available") <= of("free") && of("free") <= of("total"), "{event}");
    place.run("DF a").failed(2, "DF takes no");
}

#[test]
fn directories_that_cannot_be_seen_are_told_and_the_rest_is_shown() {
    if rustix::process::geteuid().is_root() {
        println!("skipped: root may look into every directory");
        return;
    }
    let place = place();
    fs::set_permissions(place.server.path("d/e"), fs::Permissions::from_mode(0o0)).unwrap();
    for (command, said) in
        [("FIND d", "d/.c.txt\nd/b.txt\nd/e/\n"), ("DU -s d", "             12  d/\n"), ("TREE -d d", "d\n└── e/\n")]
    {
        let ran = place.run(command);
        assert_eq!((ran.status, ran.said.as_str()), (4, said), "{command}: {}", ran.complaints);
        assert!(ran.complaints.contains("d/e"), "{}", ran.complaints);
    }
    fs::set_permissions(place.server.path("d/e"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn walks_are_subcommands_as_well() {
    let (_server, port, directory) = fixture();
    let said = |arguments: &[&str]| {
        let ran = run(directory.path(), arguments);
        assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{arguments:?}");
        ran.out
    };
    assert_eq!(said(&["find", &port, "--name", "*.txt", "sub"]), "sub/deep.txt\n");
    assert_eq!(said(&["du", &port, "-s", "sub"]), "              4  sub/\n");
    assert_eq!(said(&["tree", &port, "sub"]), "sub\n└── deep.txt\n0 directories, 1 file\n");
    // Without a terminal there is nothing to leaf through.
    let less = run(directory.path(), &["less", &port, "a.txt"]);
    assert_eq!((less.status, less.out.as_str()), (0, "hello"));
    run(directory.path(), &["less", &port, "nothing"]).assert_failed(8, "the server has no such file or directory");
}

#[test]
fn braces_make_directories_and_nothing_else_does() {
    let place = Place::new();
    place.run("MKDIR {a,b}{1,2} '{c,d}' x\\* e?").fine();
    assert_eq!(place.server.visible(), ["a1", "a2", "b1", "b2", "e?", "x*", "{c,d}"]);
    place.run("MKDIR -p {a1,f}/{g,h}").fine();
    assert!(place.server.path("f/h").is_dir() && place.server.path("a1/g").is_dir());
    // All are names before any is made.
    place.run("MKDIR new {../x,y}").failed(2, "'..' leads above the root");
    assert!(!place.server.path("new").exists());
    place.run(&format!("MKDIR {}", "{a,b}".repeat(13))).failed(2, "its braces make more than 4096 names");
}

#[test]
fn several_things_are_moved_into_a_directory_or_none_of_them() {
    let place = place();
    place.server.write("d/a.txt", b"other");
    place.server.write("two words", b"two");
    place.run("MKDIR to").fine();
    let before = place.server.visible();
    place
        .run("MV a.txt nothing to")
        .failed(8, "MV nothing: the server has no such file or directory; nothing was moved");
    place.run("MV a.txt d missing").failed(4, "MV: missing is no directory of the server to move 2 things into");
    place.run("MV a.txt d '*.txt'").failed(4, "no directory of the server");
    place.run("MV a.txt d/a.txt to").failed(2, "MV: a.txt and d/a.txt would both be to/a.txt; nothing was moved");
    place.run("MV two words to").failed(8, "did you mean 'two words'?");
    place.run("MV a.txt").failed(2, "MV needs an argument");
    place.run("MV *.none to").failed(8, "MV *.none: nothing matches");
    place.run("MV a.txt missing/").failed(4, "MV: missing/ is no directory of the server to move it into");
    assert_eq!((place.server.visible(), place.server.path("to").read_dir().unwrap().count()), (before, 0));
    assert_eq!(place.run("MV 'two words' d/*.txt to").fine(), "moved 3 things\n");
    assert_eq!(place.run("MV '*.txt' -> to").fine(), "*.txt is now to/*.txt\n");
    // A pattern that one name matches may give it another one.
    assert_eq!(place.run("MV a.* b.txt").fine(), "a.txt is now b.txt\n");
    place.server.write("to/b.txt", b"");
    let ran = place.run("MV -k b.txt to/a.txt .");
    assert_eq!((ran.status, place.server.path("a.txt").exists()), (4, true), "{}", ran.complaints);
    place.run("MV -k b.txt d to").failed(4, "MV: 1 failed, the rest is done");
    assert!(place.server.path("to/d").is_dir() && place.server.path("b.txt").exists());
}

#[test]
fn a_pager_shows_a_file_and_may_be_left_in_the_middle() {
    let server = Server::start();
    server.write("poem", b"I met\x1b[2J a traveller\n");
    let large = random_bytes(seed(), 4 << 20);
    server.write("large", &large);
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let pager = |text: &str| {
        let mut client = Terminal::ferry_like(here, &[], &[("PAGER", text)], crate::terminal::USUAL_SIZE);
        client.type_line(&format!("OPEN {}", server.address().port()));
        client.expect("connected");
        client.expect("> ");
        client
    };
    // It may have arguments, and gets nothing that drives a terminal.
    let mut client = pager("sed -e 's/^/PAGED /'");
    client.type_line("LESS poem");
    client.expect("PAGED I met\\u{1b}[2J a traveller");
    client.expect("> ");
    client.type_line("LESS nothing");
    client.expect("LESS nothing: the server has no such file or directory");
    client.type_line("LESS /");
    client.expect("that is a directory");
    client.type_line("QUIT");
    assert_eq!(client.end(), 0);
    // Who leaves early leaves the connection as it is: there is no other at the server.
    let mut client = pager("head -c 10 >/dev/null; echo left");
    client.type_line("LESS large");
    client.expect("left\r\n");
    client.expect("> ");
    client.type_line("PWD");
    client.expect("/\r\n");
    client.type_line("QUIT");
    assert_eq!(client.end(), 0);
    let reads: Vec<String> =
        server.log().lines().filter(|line| line.contains("READ large")).map(str::to_owned).collect();
    assert!(matches!(&reads[..], [one] if one.ends_with(", ok")), "{reads:?}");
    // One that fails is told, and one that is not there.
    for (text, said) in
        [("cat >/dev/null; exit 3", "exit status 3"), ("/no/such/pager", "LESS: cannot run /no/such/pager")]
    {
        let mut client = pager(text);
        client.type_line("LESS poem");
        client.expect(said);
        client.type_line("QUIT");
        client.end();
    }
    // A large one comes whole.
    let mut client = pager("cat >paged");
    client.type_line("LESS large");
    client.expect("> ");
    client.type_line("QUIT");
    assert_eq!(client.end(), 0);
    assert!(fs::metadata(here.join("paged")).unwrap().len() > 4 << 20);
}
