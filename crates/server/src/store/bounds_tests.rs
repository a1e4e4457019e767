//! What a store must not touch: others' directories, the server's own corner, what is mounted below the root.

use std::{
    fs,
    mem::MaybeUninit,
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

use ferry_wire::{Code, Name};
use rustix::fs::{
    CWD, FileType, Mode,
    inotify::{self, CreateFlags, WatchFlags},
    mknodat,
};

use super::{Disk, Durability, MountTable, OpenError, SCRATCH_BYTES, Store, StoreOptions};
use crate::session::{Change, Done, Work};

fn options(root: &Path) -> StoreOptions {
    StoreOptions {
        root: root.into(),
        writable: true,
        durability: Durability::Full,
        max_staged: u64::MAX,
        max_kept: 10,
        keep: Duration::from_secs(3600),
        mounts: MountTable::default(),
    }
}

#[test]
fn a_corner_that_others_may_change_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let [corner, kept] = [".ferry", ".ferry/kept"].map(|name| root.path().join(name));
    fs::create_dir_all(&kept).unwrap();
    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let refused = |path: &Path, why: &str| match Store::open(&options(root.path())) {
        Err(error @ OpenError::Foreign { .. }) => {
            let said = error.to_string();
            assert!(said.contains(path.to_str().unwrap()) && said.contains("--read-only"), "{said}");
        }
        other => panic!("{why}: {:?}", other.map(drop)),
    };
    for (corner_mode, kept_mode, wrong) in [(0o770, 0o700, &corner), (0o702, 0o700, &corner), (0o755, 0o707, &kept)] {
        set(&corner, corner_mode);
        set(&kept, kept_mode);
        refused(wrong, "writable by others");
    }
    set(&kept, 0o700);
    let names = |path: &Path| fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    assert_eq!(names(&corner), ["kept"], "nothing is left of the attempts");
    drop(Store::open(&options(root.path())).unwrap());

    for path in [&kept, &corner] {
        if chown(path, Some(12345), None).is_err() {
            return println!("not tried: this user can give nothing away");
        }
        refused(path, "another user's");
        chown(path, Some(rustix::process::geteuid().as_raw()), None).unwrap();
    }
    drop(Store::open(&options(root.path())).unwrap());
}

/// Does what `request` asks for, as a helper does it. The code of the failure, if it fails.
fn code(store: &Store, request: Work<Disk>) -> Option<Code> {
    store.run(request, &mut vec![0; SCRATCH_BYTES]).err().map(|failure| failure.code)
}

fn open_work(name: &str) -> Work<Disk> {
    Work::Open { name: Name::new(name).unwrap(), offset: 0, length: None, tag: None, inline: 1 << 16 }
}

#[test]
fn no_other_name_leads_into_the_corner() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("FERRY~1/kept")).unwrap();
    fs::create_dir(root.path().join("dir")).unwrap();
    for file in ["FERRY~1/kept/id.data", "dir/file", "file"] {
        fs::write(root.path().join(file), b"hello").unwrap();
    }
    let mut store = Store::open(&options(root.path())).unwrap();
    // No file system is at hand that has two names for one directory, so this one is guarded by its only one.
    store.root.guard("FERRY~1");
    let name = |name: &str| Name::new(name).unwrap();
    for inside in ["FERRY~1", "FERRY~1/kept", "FERRY~1/kept/id.data", "FERRY~1/new"] {
        assert_eq!(code(&store, open_work(inside)), Some(Code::NotFound), "{inside}");
        assert!(matches!(store.try_now(open_work(inside), &mut [0; 100]), Err(_) | Ok(Err(_))), "{inside}");
        for work in [
            Work::Stat { name: name(inside) },
            Work::List { name: Some(name(inside)) },
            Work::Change(Change::Delete(name(inside))),
            Work::Change(Change::Rename(name(inside), name("new"))),
        ] {
            let shown = format!("{work:?}");
            assert_eq!(code(&store, work), Some(Code::NotFound), "{shown}");
        }
        for work in [Change::Mkdir(name(inside)), Change::Rename(name("file"), name(inside))] {
            let shown = format!("{work:?}");
            assert!(code(&store, Work::Change(work)).is_some(), "{shown}");
        }
    }
    assert!(root.path().join("FERRY~1/kept/id.data").exists());
    for outside in ["file", "dir/file"] {
        assert_eq!(code(&store, open_work(outside)), None);
        assert!(matches!(store.try_now(open_work(outside), &mut [0; 100]), Ok(Ok(_))));
    }
    assert_eq!(code(&store, open_work("file/x")), Some(Code::NotADirectory));
    std::os::unix::fs::symlink("dir", root.path().join("link")).unwrap();
    for link in ["link", "link/file"] {
        assert_eq!(code(&store, open_work(link)), Some(Code::Denied));
    }
    let Ok(Done::Listed { lines, .. }) = store.run(Work::List { name: None }, &mut []) else { panic!("no listing") };
    let lines = String::from_utf8(lines.into_owned()).unwrap();
    assert!(lines.contains(" dir\n") && lines.contains(" file\n") && !lines.contains("FERRY~1"), "{lines}");
}

/// To open a FIFO for reading lets go on who waits to write to it, and its bytes are lost.
#[test]
fn a_fifo_is_not_opened() {
    let root = tempfile::tempdir().unwrap();
    let [fifo, file] = ["fifo", "file"].map(|name| root.path().join(name));
    mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    fs::write(&file, b"hello").unwrap();
    let store = Store::open(&options(root.path())).unwrap();
    for (path, code_of_it, is_opened) in [(&fifo, Some(Code::NotAFile), false), (&file, None, true)] {
        let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
        inotify::add_watch(&watch, path, WatchFlags::OPEN).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        assert_eq!(code(&store, open_work(name)), code_of_it);
        assert_eq!(
            store.try_now(open_work(name), &mut [0; 100]).unwrap().err().map(|failure| failure.code),
            code_of_it
        );
        let mut buffer = [MaybeUninit::uninit(); 256];
        let was_opened = inotify::Reader::new(&watch, &mut buffer).next().is_ok();
        assert_eq!(was_opened, is_opened, "{name}");
    }
}

#[test]
fn reading_leaves_no_trace_in_the_times_of_a_file() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("file");
    fs::write(&path, b"hello").unwrap();
    let [accessed, modified] = [1_000_000_000, 1_000_000_001].map(|at| UNIX_EPOCH + Duration::from_secs(at));
    let times = fs::FileTimes::new().set_accessed(accessed).set_modified(modified);
    fs::File::options().write(true).open(&path).unwrap().set_times(times).unwrap();
    let store = Store::open(&options(root.path())).unwrap();
    for owner in [None, Some(12345)] {
        if chown(&path, owner, None).is_err() {
            return println!("not tried with a file of somebody else: this user can give nothing away");
        }
        assert!(matches!(store.try_now(open_work("file"), &mut [0; 100]), Ok(Ok(_))));
        assert_eq!(code(&store, open_work("file")), None);
        assert_eq!(fs::metadata(&path).unwrap().accessed().unwrap(), accessed);
    }
}
