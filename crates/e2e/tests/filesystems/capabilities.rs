//! Operations that a file system can't do cost no promise.

use std::{collections::HashSet, fs, path::Path};

use ferry_e2e::{
    Options, Puppet, Raw, Server, body, eventually, mounts,
    mounts::Mount,
    puppet::{Errno, Habits, Op, Order},
};
use rustix::fs::{Advice, fadvise};

/// Uploads that share their waits for the disk.
const UPLOADS: usize = 40;

fn bytes(number: usize) -> Vec<u8> {
    vec![number as u8; 3000]
}

/// Uploads small files at once, and returns which of them are SAVED, and what is said of the others.
fn upload(server: &Server, prefix: &str) -> (Vec<usize>, Vec<String>) {
    let mut raw = Raw::greeted(server.address());
    for number in 0..UPLOADS {
        let bytes = bytes(number);
        raw.send(format!("PUT {} - {prefix}-{number}\n", bytes.len()));
        raw.send(body(&bytes, bytes.len()));
    }
    let answers = (0..UPLOADS).map(|number| (number, raw.answer("PUT").line));
    let (saved, failed): (Vec<_>, Vec<_>) = answers.partition(|(_, line)| line.starts_with("SAVED "));
    (saved.into_iter().map(|(number, _)| number).collect(), failed.into_iter().map(|(_, line)| line).collect())
}

#[test]
fn small_uploads_that_a_fuse_file_system_could_not_sync_are_not_saved() {
    if !mounts::private(&[]) {
        return;
    }
    let puppet = Puppet::mount(Habits::default());
    let server = Options::new().root(puppet.path()).start();
    puppet.order(Op::Fsync, None, Order::Fail(Errno::EIO));
    let (saved, failed) = upload(&server, "small");
    assert_eq!(saved, Vec::<usize>::new(), "their fsync fails");
    assert!(failed.iter().all(|line| line.starts_with("FAIL io ")), "{failed:?}");
    puppet.release();
    assert_eq!(upload(&server, "small").0.len(), UPLOADS);
    assert_eq!(server.terminate().code(), Some(0));
}

#[test]
fn small_uploads_that_an_overlay_lost_are_not_saved() {
    if !mounts::private(&["mkfs.ext4"]) {
        return;
    }
    // A disk on which nothing can be written any more but what it was written on before. A block is no smaller
    // than a page: of a write that fails at its second page a loop device says that it has succeeded.
    let puppet = Puppet::mount(Habits::default());
    let image = puppet.join("image");
    let make = ["mkfs.ext4", "-q", "-F", "-b", "4096", "-N", "256", "-O", "^has_journal"];
    let disk = Mount::make(&image, 32 << 20, &make, "rw");
    let lower = tempfile::tempdir().unwrap();
    let overlay = Mount::overlay(lower.path(), disk.path());
    let server = Options::new().root(overlay.path()).start();
    // From here on all that the file system notes about files has its place: only their bytes need new ones.
    assert_eq!(upload(&server, "before").0.len(), UPLOADS);
    rustix::fs::syncfs(fs::File::open(disk.path()).unwrap()).unwrap();
    puppet.wear_out();
    let (saved, _) = upload(&server, "small");
    assert_eq!(server.terminate().code(), Some(0));
    // The disk is well again, but what was lost is lost.
    drop(overlay);
    drop(disk);
    puppet.release();
    fadvise(fs::File::open(&image).unwrap(), 0, None, Advice::DontNeed).unwrap();
    let disk = Mount::of(&image, "loop");
    let is_there = |number: &usize| {
        let path = disk.path().join(format!("upper/small-{number}"));
        fs::read(path).is_ok_and(|there| there == bytes(*number))
    };
    let lost: Vec<_> = saved.iter().filter(|number| !is_there(number)).collect();
    assert!(lost.is_empty(), "of {} that were SAVED {} are lost: {lost:?}", saved.len(), lost.len());
}

/// RENAME of files and directories, where nothing is replaced.
fn rename(root: &Path) {
    let server = Options::new().root(root).start();
    let mut raw = Raw::greeted(server.address());
    for request in ["MKDIR d", "MKDIR e", "MKDIR full", "MKDIR full/x"] {
        assert_eq!(raw.ask(request).line, "DONE");
    }
    for name in ["a", "taken", "d/inside"] {
        assert_eq!(raw.put(name, name.as_bytes()).code(), None);
    }
    for request in ["RENAME a//taken", "RENAME a//d", "RENAME d//taken", "RENAME d//full", "RENAME d//e", "RENAME e//d"]
    {
        raw.ask(request).expect_failure("exists");
    }
    raw.ask("RENAME a//nowhere/a").expect_failure("not-found");
    raw.ask("RENAME d//d/deeper").expect_failure("bad-request");
    for request in ["RENAME a//e/b", "RENAME d//e/d", "RENAME e/d/inside//out"] {
        assert_eq!(raw.ask(request).line, "DONE", "{request}");
    }
    assert_eq!(raw.ask("GET e/b").verified(), b"a");
    assert_eq!(raw.ask("GET out").verified(), b"d/inside");
    assert_eq!(raw.ask("GET taken").verified(), b"taken");
    for gone in ["STAT a", "STAT d", "STAT e/d/inside"] {
        raw.ask(gone).expect_failure("not-found");
    }
    eventually("the lack is logged", || server.log().contains("renaming without replacing").then_some(()));
    drop(raw);
    assert_eq!(server.terminate().code(), Some(0));
}

#[test]
fn rename_never_replaces_where_the_file_system_cannot_promise_it() {
    if !mounts::private(&[]) {
        return;
    }
    for links in [true, false] {
        let puppet = Puppet::mount(Habits { links, ..Habits::default() });
        rename(puppet.path());
    }
}

#[test]
fn versions_of_one_second_share_no_tag() {
    if !mounts::private(&["mkfs.ext4"]) {
        return;
    }
    // Inodes of that size have no room for fractions of seconds.
    let image = tempfile::NamedTempFile::new().unwrap();
    let disk = Mount::make(image.path(), 16 << 20, &["mkfs.ext4", "-q", "-F", "-I", "128"], "rw");
    let server = Options::new().root(disk.path()).start();
    eventually("the lack is logged", || server.log().contains("times finer than a second").then_some(()));
    let mut raw = Raw::greeted(server.address());
    let mut tags = HashSet::new();
    for version in 0..20 {
        // The inode of the one before last is used again.
        raw.send("PUT 4 1700000000 same\n");
        raw.send(body(format!("{version:4}").as_bytes(), 4));
        let answer = raw.answer("PUT");
        assert!(tags.insert(answer.word(3).to_owned()), "a tag that was another version's: {}", answer.line);
    }
    drop(raw);
    assert_eq!(server.terminate().code(), Some(0));
}
