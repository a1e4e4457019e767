//! Whole directories, there and back.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{PermissionsExt as _, symlink},
    },
    path::Path,
    process::Command,
    time::{Duration, SystemTime},
};

use ferry_e2e::{Options, ferry};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::place::{Place, assert_same, tree};

/// Files of the large tree.
const FILES: usize = 5000;

/// Directories that they are spread over.
const DIRECTORIES: usize = 50;

/// A name that some program or other stumbles over.
fn unusual(index: usize) -> String {
    match index % 10 {
        0 => format!("-{index}"),
        1 => format!("two  words {index}"),
        2 => format!("'{index}' \"{index}\""),
        3 => format!("back\\slash\\{index}"),
        4 => format!("*?[{index}]{{a,b}}"),
        5 => format!("Grüße 世界 {index}"),
        6 => format!(".hidden {index}"),
        7 => format!("{index}{}", "x".repeat(255 - index.to_string().len())),
        8 => format!("{index};$(id)`id`&|<>"),
        _ => format!(" {index} "),
    }
}

/// Moves a file's time to where no clock sets it.
fn backdate(path: &Path, seconds: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000 + seconds, 123_456_789);
    fs::File::open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn five_thousand_unusual_files_come_back_as_they_went() {
    let place = Place::new();
    for index in 0..FILES {
        let name = format!("tree/{}/{}", unusual(index % DIRECTORIES), unusual(index));
        place.write(&name, format!("{index}\n").repeat(index % 100).as_bytes());
        backdate(&place.local(&name), index as u64);
    }
    fs::create_dir(place.local("tree/empty")).unwrap();
    let said = place.run("PUT -r tree").fine();
    assert!(said.starts_with(&format!("put {FILES} files: ")), "{said}");
    assert_same(&tree(&place.local("tree")), &tree(&place.server.path("tree")));

    let said = place.run("LCD ..; GET -r tree").fine();
    assert!(said.starts_with(&format!("got {FILES} files: ")), "{said}");
    assert_same(&tree(&place.server.path("tree")), &tree(&place.local("../tree")));

    assert!(
        place
            .run("RM -r tree")
            .fine()
            .starts_with(&format!("deleted {FILES} files and {} directories", DIRECTORIES + 2))
    );
    assert_eq!(place.server.visible(), [""; 0]);
}

#[test]
fn directories_that_are_made_or_changed_have_the_times_of_the_server_s() {
    let place = Place::new();
    for name in ["d/a", "d/e/f/b", "d/e/c"] {
        place.server.write(name, name.as_bytes());
    }
    let directories = ["d/e/f", "d/e", "d"];
    for (index, name) in directories.iter().enumerate() {
        backdate(&place.server.path(name), 1_000_000 * (index as u64 + 1));
    }
    let time = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    for (command, top) in [("GET -r d", "d"), ("SYNC -d d there", "there")] {
        place.run(command).fine();
        for name in directories {
            let here = place.local(name.replacen('d', top, 1));
            assert_eq!(time(&here), time(&place.server.path(name)), "{command}: {name}");
        }
    }
    // So has one that was there and in which something is made.
    place.server.write("d/new", b"new");
    let before = time(&place.server.path("d"));
    place.run("SYNC -d d there").fine();
    assert_eq!(time(&place.local("there")), before);
}

#[test]
fn a_directory_lands_where_it_is_sent_and_only_with_r() {
    let place = Place::new();
    for name in ["d/a", "d/e/b", "other"] {
        place.server.write(name, name.as_bytes());
    }
    place.run("GET d").failed(4, "GET d: that is a directory; GET -r d fetches it");
    place.run("GET other d").failed(4, "GET d: that is a directory; GET -r d fetches it");
    place.run("GET .").failed(4, "GET /: that is a directory; GET -r / fetches it");
    place.run("GET -r d; GET -r d -> new; GET -r d -> new; GET -r d/e other").fine();
    for name in ["d/e/b", "new/e/b", "new/d/e/b", "e/b", "other"] {
        assert!(place.local(name).is_file(), "{name}");
    }
    place.run("LCD new; CD d; GET -r .").fine();
    assert!(place.local("new/a").is_file());

    for command in ["PUT d", "PUT d/", "PUT other d"] {
        place.run(command).failed(5, "PUT d: that is a directory; PUT -r d sends it");
    }
    place.run("PUT -r ~").failed(5, "there is no such file in");
    place.run("PUT -r d -> up; PUT -r d -> up; CD up; LCD new; PUT -r .; PUT -r ../e -> /").fine();
    for name in ["up/e/b", "up/d/e/b", "up/e/b", "e/b"] {
        assert!(place.server.path(name).is_file(), "{name}");
    }
    place.run("GET -r d -> other").failed(5, "other");
    place.run("PUT -r --fail-fast d -> other").failed(4, "not-a-directory");
}

#[test]
fn what_cannot_be_sent_is_told_one_by_one() {
    let place = Place::new();
    place.write("d/a", b"a");
    place.write("d/sub/b", b"b");
    symlink("/etc", place.local("d/link")).unwrap();
    symlink("a", place.local("d/file-link")).unwrap();
    mknodat(CWD, place.local("d/pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    place.write("d/.ferry-0123456789abcdef.part", b"half");
    place.write("d/sub/.ferryrc", b"mine");
    place.write("d/.ferry-notes/a", b"mine");
    let ran = place.run("PUT -r d");
    assert_eq!(ran.status, 0, "{}", ran.complaints);
    assert!(ran.said.starts_with("put 2 files: "), "{}", ran.said);
    for part in [
        "d/link is a symbolic link, which is not followed: left out",
        "d/file-link",
        "d/pipe is neither",
        "d/sub/.ferryrc has a name that no server takes",
        "d/.ferry-notes has",
    ] {
        assert!(ran.complaints.contains(part), "{part}: {}", ran.complaints);
    }
    assert_eq!(ran.complaints.lines().count(), 5, "{}", ran.complaints);
    let said = place.run_with(&["--json"], "PUT -r d", b"").said;
    assert_eq!(said.matches("\"event\":\"skipped\"").count(), 5, "{said}");
    for name in ["d/link", "d/sub/.ferryrc", "d/.ferry-notes"] {
        assert!(said.contains(&format!("\"event\":\"skipped\",\"name\":\"{name}\"")), "{name}: {said}");
    }
    assert_eq!(tree(&place.server.path("d")).len(), 3);

    let ran = place.run("LCD d; PUT -r *");
    assert_eq!(ran.status, 0, "{}", ran.complaints);
    assert!(ran.complaints.contains("link is a symbolic link, which is not followed: left out"), "{}", ran.complaints);
    assert_eq!(place.server.visible(), ["a", "d", "sub"]);

    place.write(Path::new("e").join(OsStr::from_bytes(b"not \xff utf-8")), b"");
    place.write("e/line\nbreak", b"");
    place.write("e/a", b"");
    let ran = place.run("PUT -r --fail-fast e");
    for part in ["not \\xff utf-8 has a name that no server takes: it is not UTF-8", "line\\u{a}break has a name"] {
        assert!(ran.complaints.contains(part), "{part}: {}", ran.complaints);
    }
    ran.failed(5, "nothing was sent; -k sends the rest");
    assert!(!place.server.path("e").exists());
    place.run("PUT -r e").failed(5, "2 failed, the rest is done; not done: ");
    assert!(place.server.path("e/a").is_file());
    place.run("PUT .ferry-x").failed(2, "belong to the server");
    place.run("PUT e/*").failed(2, "e/line\\u{a}break: a name has no control characters");
}

#[test]
fn a_directory_that_cannot_be_read_is_told_at_both_ends() {
    let place = Place::new();
    for name in ["d/closed/a", "d/b"] {
        place.write(name, b"");
        place.server.write(name, b"");
    }
    for closed in [place.local("d/closed"), place.server.path("d/closed")] {
        fs::set_permissions(closed, fs::Permissions::from_mode(0o000)).unwrap();
    }
    // Root reads everything.
    if fs::read_dir(place.local("d/closed")).is_err() {
        place.run("PUT -r --fail-fast d -> new").failed(5, "nothing was sent");
        place.run("GET -r --fail-fast d -> new").failed(4, "nothing was fetched");
        place.run("GET -r d -> new").failed(4, "1 failed, the rest is done");
        assert!(place.local("new/b").is_file());
    }
    for closed in [place.local("d/closed"), place.server.path("d/closed")] {
        fs::set_permissions(closed, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// A place where the server has `d/a` and `d/link/b`, and here `d/link` leads outside.
fn with_link() -> (Place, tempfile::TempDir) {
    let (place, outside) = (Place::new(), tempfile::tempdir().unwrap());
    place.server.write("d/a", b"a");
    place.server.write("d/link/b", b"b");
    fs::create_dir_all(place.local("d")).unwrap();
    symlink(outside.path(), place.local("d/link")).unwrap();
    (place, outside)
}

#[test]
fn links_of_the_local_directory_lead_nowhere() {
    for options in ["-r", "-r --fail-fast"] {
        let (place, outside) = with_link();
        let ran = place.run(&format!("GET {options} d"));
        assert_eq!(ran.status, 5, "{}", ran.complaints);
        assert!(ran.complaints.contains("d/link is a symbolic link, which is not followed"), "{}", ran.complaints);
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0, "{options}");
        assert_eq!(place.local("d/a").is_file(), options == "-r");
    }
    // Its name is the server's: cp would not follow it either. A place to save in that was typed is followed.
    let (place, outside) = with_link();
    symlink(outside.path(), place.local("e")).unwrap();
    place.server.write("e/c", b"c");
    place.run("GET -r --fail-fast e").failed(5, "e is a symbolic link, which is not followed");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    place.run("GET d/a -> e; GET -r e -> e; GET e/c -> d/link/typed").fine();
    for name in ["a", "e/c", "typed"] {
        assert!(outside.path().join(name).is_file(), "{name}");
    }
}

#[test]
fn links_lead_nowhere_on_a_kernel_without_openat2_either() {
    if Command::new("strace").arg("-V").output().is_err() {
        eprintln!("skipped: there is no strace to take openat2 away");
        return;
    }
    for errno in ["ENOSYS", "EPERM"] {
        let (place, outside) = with_link();
        fs::write(outside.path().join("secret"), "secret").unwrap();
        place.write("up/x/y", b"y");
        let script = format!("OPEN {}; PUT -r up; SYNC -d up; PUT -r d; GET -rk d", place.server.address().port());
        let output = Command::new("strace")
            .args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=openat2", "-e"])
            .arg(format!("inject=openat2:error={errno}"))
            .arg(ferry())
            .args(["-k", "-c", &script])
            .current_dir(place.local(".."))
            .output()
            .unwrap();
        let complaints = String::from_utf8(output.stderr).unwrap();
        if complaints.contains("ptrace") || complaints.contains("PTRACE") {
            eprintln!("skipped: {complaints}");
            return;
        }
        assert!(complaints.contains("d/link is a symbolic link, which is not followed"), "{complaints}");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1, "{errno}");
        assert_eq!(fs::read(place.local("d/a")).unwrap(), b"a");
        assert_eq!(place.server.read("up/x/y"), b"y");
        assert!(!place.server.path("d/link/secret").exists());
    }
}

#[test]
fn a_directory_that_can_not_be_made_stops_nothing_but_what_is_in_it() {
    let place = Place::new();
    for name in ["d/a/1", "d/b/2", "d/b/deep/3", "d/c/4"] {
        place.write(name, b"here");
        place.server.write(&format!("e/{}", &name[2..]), b"there");
    }
    fs::create_dir(place.local("d/empty")).unwrap();
    for file in ["d/empty", "d/b"] {
        place.server.write(file, b"a file");
    }
    place.write("e/b", b"a file");
    place.run("PUT -r d/empty").failed(4, "PUT d/empty: the server says: d/empty: ");
    let ran = place.run("PUT -r d");
    assert_eq!(ran.complaints.lines().count(), 3, "{}", ran.complaints);
    assert!(ran.complaints.contains("PUT d/b: the server says") && ran.said.starts_with("put 2 files"), "{}", ran.said);
    ran.failed(4, "PUT: 2 failed, 2 not tried, the rest is done");
    assert_eq!((place.server.read("d/a/1"), place.server.read("d/c/4")), (b"here".to_vec(), b"here".to_vec()));

    place.run("GET -r --fail-fast e").failed(5, "e/b is no directory");
    let ran = place.run("GET -r e");
    assert!(ran.said.starts_with("got 2 files"), "{}", ran.said);
    ran.failed(5, "GET: 1 failed, 2 not tried, the rest is done");
    assert!(place.local("e/a/1").is_file() && place.local("e/c/4").is_file());
}

#[test]
fn a_file_that_is_fetched_again_keeps_its_permissions() {
    let place = Place::new();
    for (name, size) in [("small", 5), ("large", 3 << 20)] {
        place.server.write(name, &vec![7; size]);
        for mode in [0o600, 0o750] {
            place.write(name, b"old");
            fs::set_permissions(place.local(name), fs::Permissions::from_mode(mode)).unwrap();
            place.run(&format!("GET {name}")).fine();
            assert_eq!(fs::read(place.local(name)).unwrap().len(), size);
            assert_eq!(fs::metadata(place.local(name)).unwrap().permissions().mode() & 0o777, mode, "{name}");
        }
    }
}

#[test]
fn a_disk_that_is_full_in_the_middle_of_a_tree_is_told_and_leaves_whole_files_only() {
    let place = Place::new();
    place.server.write("d/a", b"small");
    place.server.write("d/b", &vec![7; 4 << 20]);
    place.server.write("d/c", b"small");
    let run = |options: &str| {
        // The limit stands in for a full disk: the write fails in the middle of the file.
        let output = Command::new("sh")
            .args(["-c", "ulimit -f 1024; exec \"$0\" -c \"$1\"", &ferry().to_string_lossy()])
            .arg(format!("OPEN {}; GET {options} d", place.server.address().port()))
            .current_dir(place.local(".."))
            .output()
            .unwrap();
        let complaints = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(5), "{complaints}");
        assert!(complaints.contains("cannot write"), "{complaints}");
    };
    let names =
        || tree(&place.local("d")).into_keys().map(|path| path.to_string_lossy().into_owned()).collect::<Vec<_>>();
    run("-r");
    assert!(!place.local("d/b").exists());
    run("-rk");
    assert_eq!(names(), ["a", "c"]);
}

#[test]
fn a_directory_of_a_hundred_thousand_files_is_listed_and_walked() {
    let place = Place::with(Options::new());
    let many = place.server.path("many");
    fs::create_dir(&many).unwrap();
    let first = many.join("f000000");
    fs::write(&first, "").unwrap();
    let files = if std::env::var_os("FERRY_TEST_LARGE").is_some() { 100_000 } else { 20_000 };
    // Links of one file cost no inodes; past a limit of some file systems another file is begun.
    for index in 1..files {
        let path = many.join(format!("f{index:06}"));
        if fs::hard_link(&first, &path).is_err() {
            fs::write(path, "").unwrap();
        }
    }
    let said = place.run("LS many; LS many/f0*42; SUM many/f000000; SYNC -d -n many").fine();
    assert_eq!(said.matches("\nf").count() + 1, files, "as many as there are");
    assert!(said.contains("many/f000042\n") && said.contains("many/f000142\n"));
    assert!(
        said.contains(&format!("SYNC would get {files} files (0 bytes), delete 0, and leave 0 files")),
        "{}",
        &said[said.len() - 200..]
    );
}
