//! Every request on file systems of every kind; and what was acknowledged is there after a power cut.
//!
//! The disk is a file on a puppet. From the cut on every write to it fails; so when it is mounted again it holds
//! what had reached it by then, and not a byte more.

use std::{
    fs,
    os::unix::fs::{FileExt as _, PermissionsExt as _},
    path::Path,
    process::Command,
    time::{Duration, SystemTime},
};

use ferry_e2e::{
    Mount, Options, Puppet, Raw, Server, Signal, body, ferry, mounts,
    puppet::{Errno, Habits, Op, Order},
    random_bytes,
};
use rustix::fs::{Advice, fadvise};

/// Enough for a share in a wait for the disk.
const SMALL: usize = 8;
const SMALL_BYTES: usize = 1000;

/// More than is finished together with others, and several writes.
const LARGE_BYTES: usize = 1200 << 10;

/// The exit status of e2fsck where it found errors and mended all of them.
const REPAIRED: i32 = 1;

/// All requests; at the end the tree is as [`check`] expects it.
fn every_request(server: &Server) {
    let mut raw = Raw::greeted(server.address());
    for request in ["MKDIR d", "MKDIR d/e", "MKDIR gone"] {
        assert_eq!(raw.ask(request).line, "DONE", "{request}");
    }
    for index in 0..SMALL {
        raw.send(format!("PUT {SMALL_BYTES} 1700000000 d/{index}\n"));
        raw.send(body(&small(index), SMALL_BYTES));
    }
    for _ in 0..SMALL {
        assert_eq!(raw.answer("PUT").word(0), "SAVED");
    }
    assert_eq!(raw.put("large", &random_bytes(99, LARGE_BYTES)).word(0), "SAVED");
    for name in ["d/replaced", "d/deleted", "d/renamed"] {
        assert_eq!(raw.put(name, b"old").word(0), "SAVED");
    }
    assert_eq!(raw.put("d/replaced", b"new").word(0), "SAVED");

    let large = random_bytes(98, LARGE_BYTES);
    let half = LARGE_BYTES / 2;
    let resume = format!("RESUME id {LARGE_BYTES} - d/e/resumed");
    assert_eq!(raw.ask(&resume).line, "GO 0");
    raw.send(format!("DATA {half}\n"));
    raw.send(&large[..half]);
    raw.send("STOP\n");
    raw.answer("RESUME").expect_failure("stopped");
    assert_eq!(raw.ask(&resume).line, format!("GO {half}"));
    raw.send(format!("DATA {}\n", LARGE_BYTES - half));
    raw.send(&large[half..]);
    raw.send(format!("END {}\n", ferry_e2e::crc(&large)));
    assert_eq!(raw.answer("RESUME").word(0), "SAVED");

    raw.ask("RENAME d/renamed//d/0").expect_failure("exists");
    for request in ["RENAME d/renamed//d/e/new", "DELETE d/deleted", "DELETE gone", "MKDIR d/empty"] {
        assert_eq!(raw.ask(request).line, "DONE", "{request}");
    }

    assert_eq!(raw.ask("GET d/0").verified(), small(0));
    assert!(raw.ask("GET large").verified() == random_bytes(99, LARGE_BYTES));
    assert!(raw.ask("GET d/e/resumed").verified() == large);
    let tag = raw.ask("STAT large").word(3).to_owned();
    assert_eq!(raw.ask(&format!("READ 5 10 {tag} large")).verified(), random_bytes(99, LARGE_BYTES)[5..15]);
    assert_eq!(raw.ask("SUM d/e/resumed").word(2), ferry_e2e::crc(&large));
    let listing = String::from_utf8(raw.ask("LIST d").verified()).unwrap();
    assert_eq!(listing.lines().count(), SMALL + 3, "{listing}");
    assert_eq!(raw.ask("STAT d/1").word(2), "1700000000", "its time was given");
}

fn small(index: usize) -> Vec<u8> {
    random_bytes(index as u64, SMALL_BYTES)
}

fn check(root: &Path) {
    let read = |name: &str| fs::read(root.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    for index in 0..SMALL {
        assert!(read(&format!("d/{index}")) == small(index), "d/{index}");
    }
    assert!(read("large") == random_bytes(99, LARGE_BYTES));
    assert!(read("d/e/resumed") == random_bytes(98, LARGE_BYTES));
    assert_eq!(read("d/replaced"), b"new");
    assert_eq!(read("d/e/new"), b"old");
    assert_eq!(fs::read_dir(root.join("d/empty")).unwrap().count(), 0);
    for gone in ["d/deleted", "d/renamed", "gone"] {
        assert!(!root.join(gone).exists(), "{gone} is there again");
    }
}

fn works(root: &Path) {
    let server = Options::new().root(root).start();
    every_request(&server);
    assert_eq!(server.terminate().code(), Some(0));
    check(root);
    assert_eq!(fs::read_dir(root.join(".ferry/kept")).unwrap().count(), 1, "the mark of what was resumed");
}

/// Has a server do everything on a file system of this kind, which `make` makes, and cuts the power. Where the
/// kind needs it, `repair` goes over the disk before it is mounted again.
fn survives(kind: &str, bytes: u64, make: &[&str], repair: &[&str]) {
    let programs = [make, repair].into_iter().filter_map(|command| command.first().copied());
    if !mounts::private(&programs.collect::<Vec<_>>()) || !mounts::knows(kind) {
        return;
    }
    let puppet = Puppet::mount(Habits::default());
    let image = puppet.join("image");
    let disk = Mount::make(&image, bytes, make, "rw");
    let mut server = Options::new().root(disk.path()).start();
    every_request(&server);
    puppet.order(Op::Write, Some("image"), Order::Fail(Errno::EIO));
    server.signal(Signal::KILL);
    server.wait();
    drop(disk);
    puppet.release();
    fadvise(fs::File::open(&image).unwrap(), 0, None, Advice::DontNeed).unwrap();
    if let Some((program, arguments)) = repair.split_first() {
        let repaired = Command::new(program).args(arguments).arg(&image).output().unwrap();
        assert!(repaired.status.code().is_some_and(|code| code <= REPAIRED), "{repaired:?}");
    }
    let disk = Mount::of(&image, "loop");
    check(disk.path());
    works_again(disk.path());
}

/// Has a server set times, to a given one and to now.
fn touches(root: &Path) {
    let server = Options::new().root(root).start();
    let mut raw = Raw::greeted(server.address());
    assert_eq!(raw.put("touched", b"x").word(0), "SAVED");
    let seconds = || {
        let modified = fs::metadata(root.join("touched")).unwrap().modified().unwrap();
        modified.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
    };
    assert_eq!(raw.ask("TOUCH 1000000000 touched").line, "DONE");
    assert_eq!(seconds(), 1_000_000_000);
    assert_eq!(raw.ask("TOUCH - touched").line, "DONE");
    assert!(seconds() > 1_000_000_000);
}

/// Checks that nothing a killed server left behind keeps another from serving.
fn works_again(root: &Path) {
    let server = Options::new().root(root).start();
    assert_eq!(Raw::greeted(server.address()).put("again", b"again").word(0), "SAVED");
    assert_eq!(server.terminate().code(), Some(0));
}

#[test]
fn ext4() {
    survives("ext4", 32 << 20, &["mkfs.ext4", "-q", "-F"], &[]);
}

#[test]
fn ext4_without_a_journal() {
    survives("ext4", 32 << 20, &["mkfs.ext4", "-q", "-F", "-O", "^has_journal"], &["e2fsck", "-f", "-y"]);
}

#[test]
fn xfs() {
    survives("xfs", 64 << 20, &["mkfs.xfs", "-q", "-f", "--unsupported"], &[]);
}

#[test]
fn vfat() {
    survives("vfat", 32 << 20, &["mkfs.vfat"], &[]);
}

/// Both ends lie on a file system that has no permissions of its own: all have those that it was mounted with.
#[test]
fn permissions_where_there_are_none() {
    if !mounts::private(&["mkfs.vfat"]) || !mounts::knows("vfat") {
        return;
    }
    let images = tempfile::tempdir().unwrap();
    let disk = Mount::make(&images.path().join("image"), 32 << 20, &["mkfs.vfat"], "rw");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let (root, local) = (disk.path().join("root"), disk.path().join("local"));
    for directory in [&root, &local, &root.join("t"), &root.join("t/d")] {
        fs::create_dir(directory).unwrap();
    }
    let usual = mode(&root);
    let server = Options::new().root(&root).arg("--keep-modes").arg("all").start();
    let mut raw = Raw::greeted(server.address());
    for request in ["MKDIR made", "TOUCH 1000000000 made"] {
        assert_eq!(raw.ask(&format!("WITH mode=500\n{request}")).line, "DONE");
        assert_eq!(mode(&root.join("made")), usual);
    }
    let told = raw.ask("WITH tell=modes\nSTAT made");
    assert!(told.line.ends_with(&format!(" mode={usual:03o}")), "{told:?}");
    assert_eq!(raw.put("made/f", b"x").word(0), "SAVED");
    raw.put("t/d/f", b"hello");
    let port = server.address().port();
    let ferry = |commands: &str| {
        let output = Command::new(ferry())
            .args(["-c", &format!("OPEN {port}; {commands}"), "--dir"])
            .arg(&local)
            .env("XDG_CONFIG_HOME", images.path())
            .env("XDG_STATE_HOME", images.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{commands}: {output:?}");
    };
    // Between two of a kind, and to and from one that has them.
    ferry("GET -r --perms=all t; PUT -r --perms=all t; SYNC --perms=all t t; SYNC -d --perms=all t t");
    assert_eq!(fs::read(local.join("t/d/f")).unwrap(), b"hello");
    assert_eq!((mode(&local.join("t/d")), mode(&root.join("t/d"))), (usual, usual));
    let real = images.path().join("real");
    fs::create_dir_all(real.join("e")).unwrap();
    fs::write(real.join("e/f"), "x").unwrap();
    fs::set_permissions(real.join("e"), fs::Permissions::from_mode(0o550)).unwrap();
    ferry(&format!("LCD {}; PUT -r --perms=all real", images.path().display()));
    assert_eq!((fs::read(root.join("real/e/f")).unwrap().len(), mode(&root.join("real/e"))), (1, usual));
    ferry(&format!("LCD {}; SYNC -d --perms=all real real", images.path().display()));
    assert_eq!(mode(&real.join("e")), usual, "as it is told");
}

#[test]
fn overlayfs() {
    if !mounts::private(&[]) {
        return;
    }
    let (lower, upper) = (Mount::memory(16 << 20), Mount::memory(16 << 20));
    works(Mount::overlay(lower.path(), upper.path()).path());
}

#[test]
fn fuse() {
    if !mounts::private(&[]) {
        return;
    }
    works(Puppet::mount(Habits::default()).path());
}

/// As those are that are built on libfuse 2, or are about FAT.
#[test]
fn fuse_that_wants_both_times_and_makes_no_file_longer() {
    if !mounts::private(&[]) {
        return;
    }
    let puppet = Puppet::mount(Habits { both_times: true, ..Habits::default() });
    works(puppet.path());
    touches(puppet.path());
    let puppet = Puppet::mount(Habits { both_times: true, grows_by_writing: true, ..Habits::default() });
    let (server, elsewhere) = (Server::start(), tempfile::tempdir().unwrap());
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let set_time = |path: &Path| fs::File::open(path).unwrap().set_modified(time).unwrap();
    server.write("d/e/x", b"x");
    let mut holes = vec![0; 8 << 20];
    holes.extend_from_slice(b"end");
    let hole = server.path("d/hole");
    fs::File::create(&hole).unwrap().write_all_at(b"end", 8 << 20).unwrap();
    ["d/e/x", "d/hole", "d/e"].iter().for_each(|name| set_time(&server.path(name)));
    let ferry = |commands: &str| {
        let output = Command::new(ferry())
            .args(["-c", &format!("OPEN {}; {commands}", server.address().port()), "--dir"])
            .arg(puppet.path())
            .env("XDG_CONFIG_HOME", elsewhere.path())
            .env("XDG_STATE_HOME", elsewhere.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{commands}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    ferry("GET -r -S d");
    for name in ["d/e/x", "d/hole", "d/e"] {
        assert_eq!(fs::metadata(puppet.path().join(name)).unwrap().modified().unwrap(), time, "{name}");
    }
    assert!(fs::read(puppet.path().join("d/hole")).unwrap() == holes);
    let said = ferry("SYNC -d d d");
    assert!(said.contains("0 moved, 2 alike already"), "{said}");
}
