//! The server ends though a disk, a terminal or a helper does not answer.

use std::{
    fs,
    io::{BufRead as _, BufReader, ErrorKind, Write as _},
    path::Path,
    process::{Command, Stdio},
};

use ferry_e2e::{
    Mount, Options, Puppet, Raw, Server, Signal, body, eventually, ferryd, mounts,
    puppet::{Habits, Op, Order},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{OFlags, fcntl_setfl},
    process::{Pid, PidfdFlags, kill_process, pidfd_open},
};

/// The exit status of a server that had to leave something behind.
const CUT_SHORT: Option<i32> = Some(3);

/// Larger than what is finished together with others.
const BYTES: usize = 100 << 10;

/// Has it end at once: two signals, the second one after it has seen the first.
fn end_at_once(server: &Server) {
    server.signal(Signal::TERM);
    eventually("the first signal is seen", || server.log().contains("SIGTERM came: ending").then_some(()));
    server.signal(Signal::TERM);
}

/// Waits until the process has ended, as far as the kernel lets it: threads of it may wait for what never answers.
#[track_caller]
fn until_ended(server: &Server) {
    let status = format!("/proc/{}/stat", server.pid());
    eventually("the process has ended", || {
        let status = fs::read_to_string(&status).unwrap();
        status.rsplit_once(") ").unwrap().1.starts_with('Z').then_some(())
    });
}

fn put_without_waiting(server: &Server, name: &str) -> Raw {
    let mut raw = Raw::greeted(server.address());
    let bytes = vec![7; BYTES];
    raw.send(format!("PUT {BYTES} - {name}\n"));
    raw.send(body(&bytes, BYTES));
    raw
}

#[test]
fn an_fsync_that_never_returns() {
    if !mounts::private(&[]) {
        return;
    }
    let puppet = Puppet::mount(Habits::default());
    let mut server = Options::new().root(puppet.path()).start();
    puppet.order(Op::Fsync, None, Order::Hang);
    let mut client = put_without_waiting(&server, "a");
    eventually("it is synced", || puppet.is_holding(Op::Fsync).then_some(()));
    end_at_once(&server);
    until_ended(&server);
    assert!(client.to_cut().is_empty(), "nothing was saved");
    drop(puppet);
    assert_eq!(server.wait().code(), CUT_SHORT);
}

#[test]
fn helpers_whose_clients_were_told_already() {
    if !mounts::private(&[]) {
        return;
    }
    let puppet = Puppet::mount(Habits::default());
    let mut server = Options::new().root(puppet.path()).arg("--job-timeout").arg("1s").start();
    puppet.order(Op::Fsync, None, Order::Hang);
    let mut client = put_without_waiting(&server, "a");
    client.answer("PUT").expect_failure("busy");
    // Nobody is there any more, so the end need not wait for anything.
    drop(client);
    server.signal(Signal::TERM);
    until_ended(&server);
    assert!(server.log().contains("ending without waiting for it"));
    drop(puppet);
    assert_eq!(server.wait().code(), CUT_SHORT);
}

#[test]
fn a_read_that_never_returns() {
    if !mounts::private(&[]) {
        return;
    }
    let puppet = Puppet::mount(Habits::default());
    fs::write(puppet.join("a"), b"content").unwrap();
    let mut server = Options::new().root(puppet.path()).start();
    puppet.order(Op::Getattr, Some("a"), Order::Hang);
    let mut client = Raw::greeted(server.address());
    client.send("STAT a\n");
    puppet.until_held(Op::Getattr, "a");
    end_at_once(&server);
    until_ended(&server);
    assert!(client.to_cut().is_empty());
    drop(puppet);
    server.wait();
}

/// A file system that writes nothing.
struct Frozen<'a>(&'a Path);

impl Frozen<'_> {
    fn freeze(path: &Path) -> Frozen<'_> {
        assert!(Command::new("fsfreeze").arg("--freeze").arg(path).status().unwrap().success());
        Frozen(path)
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        let _ = Command::new("fsfreeze").arg("--unfreeze").arg(self.0).status();
    }
}

#[test]
fn a_frozen_file_system() {
    if !mounts::private(&["mkfs.ext4", "fsfreeze"]) {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let image = place.path().join("image");
    let mount = Mount::make(&image, 16 << 20, &["mkfs.ext4", "-q", "-F"], "");
    let mut server = Options::new().root(mount.path()).start();
    let frozen = Frozen::freeze(mount.path());
    let mut client = put_without_waiting(&server, "a");
    end_at_once(&server);
    until_ended(&server);
    assert!(client.to_cut().is_empty());
    drop(frozen);
    server.wait();
}

/// It needs nothing but a pipe.
#[test]
fn a_terminal_that_takes_nothing() {
    let (reader, writer) = std::io::pipe().unwrap();
    fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
    let full = (&writer).write_all(&[0; 1 << 20]).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::WouldBlock);
    fcntl_setfl(&writer, OFlags::empty()).unwrap();

    let place = tempfile::tempdir().unwrap();
    let mut child = Command::new(ferryd())
        .args(["--root".as_ref(), place.path().as_os_str()])
        .arg("127.0.0.1:0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::from(writer))
        .spawn()
        .unwrap();
    let mut first_line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first_line).unwrap();
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::TERM).unwrap();
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
    let timeout = Timespec { tv_sec: ferry_e2e::HANG_GUARD.as_secs().cast_signed(), tv_nsec: 0 };
    let ended = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)).unwrap() == 1;
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert!(ended, "it waits for the terminal");
    assert_eq!(status.code(), Some(0));
    drop(reader);
}
