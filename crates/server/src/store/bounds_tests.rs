//! The things that a store must not touch: others' directories, `.ferry`, mounts below the root.

use std::{
    fs::{self, File},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::{MetadataExt, PermissionsExt, chown},
    },
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, UNIX_EPOCH},
};

use ferry_wire::{Crc32, Name, Tag};
use rustix::{
    fs::{
        CWD, FileType, Mode, XattrFlags, getxattr,
        inotify::{self, CreateFlags, WatchFlags},
        mknodat, removexattr, setxattr,
    },
    io::Errno,
};

use super::{
    Call, Change, ChangeNumber, Chunk, Disk, ErrorKind, Finish, Listed, NameCompletion, NameOperation, Onto, OpenError,
    Owner, ReadCompletion, ReadOperation, SCRATCH_BYTES, Stage, Status, Store, SystemError, UploadNumber, Watcher,
    read::HELPER, testing::options,
};

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

const NOT_FOUND: ErrorKind = ErrorKind::System(SystemError::NotFound);

/// Reads as a helper does it. Returns the kind of the error, if it fails.
fn kind(store: &Store, operation: ReadOperation<Disk>) -> Option<ErrorKind> {
    kind_of(store.read(operation, &mut vec![0; SCRATCH_BYTES], &|| true))
}

fn kind_of(completion: ReadCompletion<'_, Disk>) -> Option<ErrorKind> {
    completion.error().map(|error| error.kind)
}

/// Makes a change. Returns the kind of the error, if it fails.
fn kind_of_change(store: &Store, change: Change) -> Option<ErrorKind> {
    match store.change_names(&mut vec![NameOperation::Change(ChangeNumber(0), change)].into_iter()).pop() {
        Some(NameCompletion::Changed(_, changed)) => changed.err().map(|error| error.kind),
        other => panic!("{other:?}"),
    }
}

/// Returns what comes of opening `name` as the loop does, which leaves it to a helper on file
/// systems that may make it wait.
fn kind_at_once(store: &Store, name: &str) -> Option<ErrorKind> {
    match store.try_read(open(name), &mut vec![0; SCRATCH_BYTES]) {
        Ok(completion) => kind_of(completion),
        Err(operation) => kind(store, operation),
    }
}

fn open(name: &str) -> ReadOperation<Disk> {
    ReadOperation::Open { name: Name::new(name).unwrap(), offset: 0, length: None, tag: None, inline: 1 << 16 }
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
        assert_eq!(kind(&store, open(inside)), Some(NOT_FOUND), "{inside}");
        assert_eq!(kind_at_once(&store, inside), Some(NOT_FOUND), "{inside}");
        for operation in [ReadOperation::Stat { name: name(inside) }, ReadOperation::List { name: Some(name(inside)) }]
        {
            let shown = format!("{operation:?}");
            assert_eq!(kind(&store, operation), Some(NOT_FOUND), "{shown}");
        }
        for change in [Change::Delete(name(inside)), Change::Rename(name(inside), name("new"))] {
            let shown = format!("{change:?}");
            assert_eq!(kind_of_change(&store, change), Some(NOT_FOUND), "{shown}");
        }
        for change in [Change::Mkdir(name(inside)), Change::Rename(name("file"), name(inside))] {
            let shown = format!("{change:?}");
            assert!(kind_of_change(&store, change).is_some(), "{shown}");
        }
    }
    assert!(root.path().join("FERRY~1/kept/id.data").exists());
    for outside in ["file", "dir/file"] {
        assert_eq!(kind(&store, open(outside)), None);
        assert_eq!(kind_at_once(&store, outside), None);
    }
    assert_eq!(kind(&store, open("file/x")), Some(ErrorKind::System(SystemError::NotDirectory)));
    std::os::unix::fs::symlink("dir", root.path().join("link")).unwrap();
    for link in ["link", "link/file"] {
        assert_eq!(kind(&store, open(link)), Some(ErrorKind::System(SystemError::SymbolicLink)));
    }
    let Ok(Listed { entries, .. }) = store.list(None) else { panic!("no listing") };
    let mut names: Vec<_> = entries.iter().map(|entry| entry.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["dir", "file"]);
}

/// To open a FIFO for reading would release a process that waits to write to it, and lose its
/// bytes.
#[test]
fn a_fifo_is_not_opened() {
    let root = tempfile::tempdir().unwrap();
    let [fifo, file] = ["fifo", "file"].map(|name| root.path().join(name));
    mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    fs::write(&file, b"hello").unwrap();
    let store = Store::open(&options(root.path())).unwrap();
    for (path, kind_of_it, is_opened) in
        [(&fifo, Some(ErrorKind::System(SystemError::IsSpecial)), false), (&file, None, true)]
    {
        let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
        inotify::add_watch(&watch, path, WatchFlags::OPEN).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        assert_eq!(kind(&store, open(name)), kind_of_it);
        assert_eq!(kind_at_once(&store, name), kind_of_it);
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
        assert_eq!([kind_at_once(&store, "file"), kind(&store, open("file"))], [None, None]);
        assert_eq!(fs::metadata(&path).unwrap().accessed().unwrap(), accessed);
    }
}

/// Stages `hello` as `name`, lets `between` happen, and publishes it.
fn put(store: &Store, name: &str, between: impl FnOnce()) {
    let upload = store.stage(Stage {
        name: Name::new(name).unwrap(),
        size: Some(5),
        mtime: None,
        permissions: None,
        settled: false,
        owner: Owner::NOBODY,
    });
    let chunk = Chunk { memory: b"hello".to_vec(), filled: 5, hole: 0 };
    let crc = Crc32::of(b"hello");
    store
        .finish(&Finish { upload: upload.clone(), at: 0, chunk, chunk_crc: crc, size: 5, crc, before: None }, &|| true)
        .unwrap();
    between();
    let published =
        store.change_names(&mut vec![NameOperation::Publish(UploadNumber(0), upload, Onto::Any)].into_iter()).pop();
    assert!(matches!(published, Some(NameCompletion::Published(_, Ok(_)))), "{published:?}");
}

/// Publishes `hello` as `name` where that stands for what `onto` says. Returns the kind of the
/// error, if it fails.
fn publish_onto(store: &Store, name: &str, onto: Onto) -> Option<ErrorKind> {
    let upload = store.stage(Stage {
        name: Name::new(name).unwrap(),
        size: Some(5),
        mtime: None,
        permissions: None,
        settled: false,
        owner: Owner::NOBODY,
    });
    let chunk = Chunk { memory: b"hello".to_vec(), filled: 5, hole: 0 };
    let crc = Crc32::of(b"hello");
    store
        .finish(&Finish { upload: upload.clone(), at: 0, chunk, chunk_crc: crc, size: 5, crc, before: None }, &|| true)
        .unwrap();
    match store.change_names(&mut vec![NameOperation::Publish(UploadNumber(0), upload, onto)].into_iter()).pop() {
        Some(NameCompletion::Published(_, published)) => published.err().map(|error| error.kind),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_upload_gets_a_free_name_or_a_taken_one_as_it_asks() {
    for noreplace in [true, false] {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("file"), b"old").unwrap();
        let mut store = Store::open(&options(root.path())).unwrap();
        store.capabilities.noreplace &= noreplace;
        assert_eq!(publish_onto(&store, "file", Onto::Free), Some(ErrorKind::NameTaken));
        assert_eq!(publish_onto(&store, "new", Onto::Taken), Some(ErrorKind::NameFree));
        assert_eq!(fs::read(root.path().join("file")).unwrap(), b"old");
        assert!(!root.path().join("new").exists());
        assert_eq!(publish_onto(&store, "new", Onto::Free), None);
        assert_eq!(publish_onto(&store, "file", Onto::Taken), None);
        for name in ["new", "file"] {
            assert_eq!(fs::read(root.path().join(name)).unwrap(), b"hello");
        }
        let version = || match store.stat(&Name::new("file").unwrap(), HELPER) {
            Ok(Status::File(version)) => Onto::Version(version.tag),
            _ => panic!("no file"),
        };
        let before = version();
        assert_eq!(publish_onto(&store, "file", before.clone()), None);
        assert_eq!(publish_onto(&store, "file", before.clone()), Some(ErrorKind::OtherVersion));
        assert_eq!(publish_onto(&store, "free", before), Some(ErrorKind::OtherVersion));
    }
}

#[test]
fn an_upload_replaces_the_version_that_it_names_or_nothing() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(&options(root.path())).unwrap();
    let path = root.path().join("file");
    let replace = |tag: &Tag| publish_onto(&store, "file", Onto::Version(tag.clone()));
    fs::write(&path, b"first").unwrap();
    let first = tag_of(&store, "file");
    assert_eq!(replace(&Tag::new("another").unwrap()), Some(ErrorKind::OtherVersion));
    // Of the same size and time, written in place: another version all the same.
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, b"other").unwrap();
    File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    assert_eq!(replace(&first), Some(ErrorKind::OtherVersion));
    assert_eq!(fs::read(&path).unwrap(), b"other");
    let second = tag_of(&store, "file");
    assert_eq!(replace(&second), None);
    assert_eq!(fs::read(&path).unwrap(), b"hello");
    assert_eq!(replace(&second), Some(ErrorKind::OtherVersion), "it was replaced");
    // One that is gone is not made again.
    let last = tag_of(&store, "file");
    fs::remove_file(&path).unwrap();
    assert_eq!(replace(&last), Some(ErrorKind::OtherVersion));
    assert!(!path.exists());
    fs::create_dir(&path).unwrap();
    assert_eq!(replace(&last), Some(ErrorKind::System(SystemError::IsDirectory)));
}

#[test]
fn the_version_that_is_named_is_deleted_or_nothing() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(&options(root.path())).unwrap();
    let path = root.path().join("file");
    let delete = |tag: &Tag| {
        let change = Change::DeleteVersion(Name::new("file").unwrap(), tag.clone());
        let changed = store.change_names(&mut vec![NameOperation::Change(ChangeNumber(0), change)].into_iter()).pop();
        match changed {
            Some(NameCompletion::Changed(_, changed)) => changed.err().map(|error| error.kind),
            other => panic!("{other:?}"),
        }
    };
    fs::write(&path, b"first").unwrap();
    let first = tag_of(&store, "file");
    put(&store, "file", || ());
    assert_eq!(delete(&first), Some(ErrorKind::OtherVersion));
    assert_eq!(fs::read(&path).unwrap(), b"hello");
    let second = tag_of(&store, "file");
    assert_eq!(delete(&second), None);
    assert_eq!(delete(&second), Some(ErrorKind::System(SystemError::NotFound)));
    fs::create_dir(&path).unwrap();
    assert_eq!(delete(&second), Some(ErrorKind::OtherVersion));
    assert!(path.is_dir());
}

fn tag_of(store: &Store, name: &str) -> Tag {
    let mut scratch = vec![0; SCRATCH_BYTES];
    match store.read(ReadOperation::Stat { name: Name::new(name).unwrap() }, &mut scratch, &|| true) {
        ReadCompletion::Found(Ok(Status::File(version))) => version.tag,
        other => panic!("{name}: {other:?}"),
    }
}

const ACCESS_ACL: &str = "system.posix_acl_access";

/// Returns the permissions of a file: owner, group, mode, access control list.
fn access(path: &Path) -> (u32, u32, u32, Option<Vec<u8>>) {
    let stat = fs::metadata(path).unwrap();
    let mut list = [0; 1000];
    let length = getxattr(path, ACCESS_ACL, &mut list[..]).ok();
    (stat.uid(), stat.gid(), stat.mode(), length.map(|length| list[..length].to_vec()))
}

/// Returns a list in which user 12345 may do what `permissions` says.
fn list(permissions: u8) -> Vec<u8> {
    let nobody = u32::MAX;
    let entries = [(1u16, 7u8, nobody), (2, permissions, 12345), (4, 5, nobody), (16, 7, nobody), (32, 0, nobody)];
    let entry = |(tag, permissions, id): (u16, u8, u32)| {
        [&tag.to_le_bytes()[..], &[permissions, 0], &id.to_le_bytes()].concat()
    };
    [vec![2, 0, 0, 0], entries.into_iter().flat_map(entry).collect()].concat()
}

#[test]
fn a_published_file_is_as_open_as_one_made_in_its_place() {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name);
    // Attributes that the root hands on to files made in it are not for files that are published elsewhere.
    let mode = |name: &str, mode| fs::set_permissions(path(name), fs::Permissions::from_mode(mode)).unwrap();
    let listed = setxattr(root.path(), "system.posix_acl_default", &list(6), XattrFlags::empty()).is_ok();
    let given = chown(root.path(), None, Some(12345)).is_ok();
    mode("", 0o2755);
    let store = Store::open(&options(root.path())).unwrap();
    fs::create_dir(path("plain")).unwrap();
    mode("plain", 0o700);
    let _ = (removexattr(path("plain"), "system.posix_acl_default"), chown(path("plain"), None, Some(23456)));
    for place in ["", "plain/"] {
        fs::write(path(&format!("{place}control")), b"").unwrap();
        put(&store, &format!("{place}new"), || {});
        assert_eq!(access(&path(&format!("{place}new"))), access(&path(&format!("{place}control"))), "{place:?}");
    }
    assert!(!given || access(&path("new")).1 == 12345 && access(&path("plain/new")).1 != 12345);
    assert!(!listed || access(&path("new")).3.is_some() && access(&path("plain/new")).3.is_none());

    for kept in [0o600, 0o640, 0o666] {
        mode("new", kept);
        let before = access(&path("new"));
        put(&store, "new", || {});
        assert_eq!(access(&path("new")), before);
    }
    if listed {
        setxattr(path("plain/new"), ACCESS_ACL, &list(4), XattrFlags::empty()).unwrap();
    }
    let before = access(&path("plain/new"));
    put(&store, "plain/new", || {});
    assert_eq!(access(&path("plain/new")), before);
    // Closed while its successor is on its way.
    put(&store, "plain/new", || mode("plain/new", 0o600));
    assert_eq!(access(&path("plain/new")).2 & 0o777, 0o600);
    if chown(path("plain/new"), Some(12345), Some(12345)).is_ok() {
        put(&store, "plain/new", || {});
        let (owner, group, mode, _) = access(&path("plain/new"));
        assert_eq!((owner, group, mode & 0o777), (12345, 12345, 0o600));
    }
}

/// Notes the inodes of synced files.
#[derive(Debug, Default)]
struct Synced(Mutex<Vec<u64>>);

impl Watcher for Synced {
    fn before(&self, _: &Call<'_>) -> Result<(), Errno> {
        Ok(())
    }

    fn after(&self, call: &Call<'_>) {
        let inode = |file: BorrowedFd<'_>| rustix::fs::fstat(file).unwrap().st_ino;
        match call {
            Call::Sync { file } => self.0.lock().unwrap().push(inode(*file)),
            Call::SyncTogether { files } => self.0.lock().unwrap().extend(files.iter().map(|file| inode(file.as_fd()))),
            _ => {}
        }
    }
}

#[test]
fn a_directory_is_synced_when_it_is_made_and_not_its_name_alone() {
    let root = tempfile::tempdir().unwrap();
    let synced = Arc::new(Synced::default());
    let store = Store::open_watched(&options(root.path()), Some(synced.clone())).unwrap();
    for count in [1, 10] {
        let names: Vec<_> = (0..count).map(|index| format!("{count}-{index}")).collect();
        let make = |name: &String| NameOperation::Change(ChangeNumber(0), Change::Mkdir(Name::new(name).unwrap()));
        let told = store.change_names(&mut names.iter().map(make).collect::<Vec<_>>().into_iter());
        assert!(told.iter().all(|told| matches!(told, NameCompletion::Changed(_, Ok(())))));
        let synced = std::mem::take(&mut *synced.0.lock().unwrap());
        for path in names.iter().map(|name| root.path().join(name)).chain([root.path().to_owned()]) {
            assert!(synced.contains(&fs::metadata(&path).unwrap().ino()), "{}", path.display());
        }
    }
}
