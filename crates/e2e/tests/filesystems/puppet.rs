//! The file system on strings itself: other tests rely on it.

use std::{fs, io::ErrorKind, os::unix::fs::FileExt as _, sync::mpsc::channel, thread, time::Duration};

use ferry_e2e::{
    Puppet, Server, mounts,
    puppet::{Errno, Habits, Op, Order},
};
use rustix::fs::{CWD, RenameFlags, renameat_with};

#[test]
fn it_is_a_file_system() {
    if !mounts::private(&[]) {
        return;
    }
    let puppet = Puppet::mount(Habits::default());
    let [a, b, inner] = ["a", "b", "d/inner"].map(|name| puppet.join(name));
    fs::write(&a, b"content").unwrap();
    fs::create_dir(puppet.join("d")).unwrap();
    fs::rename(&a, &b).unwrap();
    fs::hard_link(&b, &inner).unwrap();
    fs::remove_file(&b).unwrap();
    assert_eq!(fs::read(&inner).unwrap(), b"content");
    fs::File::options().write(true).open(&inner).unwrap().write_at(b"T", 3).unwrap();
    assert_eq!(fs::read(&inner).unwrap(), b"conTent");
    assert_eq!(fs::remove_dir(puppet.join("d")).unwrap_err().kind(), ErrorKind::DirectoryNotEmpty);

    for index in 0..1000 {
        fs::write(puppet.join(&format!("d/{index}")), b"").unwrap();
    }
    let seen = fs::read_dir(puppet.join("d")).unwrap().map(|entry| entry.unwrap().file_name());
    let mut seen: Vec<_> = seen.collect();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 1001);

    let refused = renameat_with(CWD, &inner, CWD, &a, RenameFlags::NOREPLACE);
    assert_eq!(refused, Err(rustix::io::Errno::INVAL));
}

#[test]
fn it_does_what_it_is_told() {
    if !mounts::private(&[]) {
        return;
    }
    let mut puppet = Puppet::mount(Habits { whole_seconds: true, write_back: true, ..Habits::default() });
    fs::write(puppet.join("a"), b"content").unwrap();
    let modified = fs::metadata(puppet.join("a")).unwrap().modified().unwrap();
    assert_eq!(modified.duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos(), 0);

    puppet.order(Op::Open, Some("a"), Order::Fail(Errno::EIO));
    assert_eq!(fs::read(puppet.join("a")).unwrap_err().raw_os_error(), Some(5));
    puppet.order(Op::Write, None, Order::Fail(Errno::EIO));
    let file = fs::File::create(puppet.join("b")).unwrap();
    file.write_at(b"kept in memory", 0).unwrap();
    assert_eq!(file.sync_all().unwrap_err().raw_os_error(), Some(5), "what could not be written back");
    drop(file);

    puppet.order(Op::Open, Some("a"), Order::Hang);
    let (say, said) = channel();
    let path = puppet.join("a");
    let reader = thread::spawn(move || say.send(fs::read(path).map_err(|error| error.kind())));
    puppet.until_held(Op::Open, "a");
    assert!(said.recv_timeout(Duration::from_millis(1)).is_err(), "it waits");
    puppet.release();
    assert_eq!(said.recv().unwrap().unwrap(), b"content");
    reader.join().unwrap().unwrap();

    puppet.crash();
    assert_eq!(fs::read(puppet.join("a")).unwrap_err().kind(), ErrorKind::NotConnected);
}

#[test]
fn nobody_else_sees_its_mount() {
    if !mounts::private(&[]) {
        return;
    }
    let puppet = Puppet::mount(Habits::default());
    let server = ferry_e2e::Options::new().root(puppet.path()).start();
    assert!(mounted(&server).contains("fuse"), "the server is on it");
    let everybody = fs::read_to_string("/proc/1/mounts").unwrap();
    assert!(!everybody.contains(puppet.path().to_str().unwrap()));
    drop(puppet);
}

fn mounted(server: &Server) -> String {
    fs::read_to_string(format!("/proc/{}/mounts", server.pid())).unwrap()
}
