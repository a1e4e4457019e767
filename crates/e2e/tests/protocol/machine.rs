//! Troubles of the machine: limits, full disks, signals, directories that go away.

use std::{fs, process::Command};

use ferry_e2e::{Options, Raw, Server, Signal, eventually, ferryd, random_bytes};

use super::gist;

/// Returns the names of all that the server stages or keeps aside now.
fn staged(server: &Server) -> Vec<String> {
    let corner = fs::read_dir(server.path(".ferry")).unwrap().map(|entry| entry.unwrap().path());
    let inside = corner.flat_map(|directory| fs::read_dir(directory).unwrap());
    let names = inside.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != "lock").collect()
}

#[test]
fn an_upload_beyond_the_limit_of_file_sizes_fails_alone() {
    // Of blocks of 512 bytes or of 1024, as the shell has it.
    let server = Options::new().behind("ulimit -f 2000").start();
    let bytes = random_bytes(1, 4 << 20);
    let (mut raw, mut other) = (Raw::greeted(server.address()), Raw::greeted(server.address()));
    raw.put("large", &bytes).expect_failure("too-large");
    assert_eq!(raw.ask("RESUME id 4194304 - large").line, "GO 0");
    raw.send_what_it_takes(ferry_e2e::body(&bytes, 1 << 20));
    raw.answer("PUT").expect_failure("too-large");
    eventually("nothing is left staged", || staged(&server).is_empty().then_some(()));
    assert_eq!(other.put("small", b"hello").word(0), "SAVED");
    assert_eq!(server.visible(), ["small"]);
}

/// How often the server said on its standard error that its log file can't be written.
fn complaints(server: &Server) -> usize {
    server.log().lines().filter(|line| line.contains("the log file can't be written")).count()
}

#[test]
fn a_log_file_that_can_not_be_written_is_told_once_and_the_server_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    fs::write(&log, vec![b'x'; 1 << 20]).unwrap();
    for (first, log) in [("ulimit -f 100", log.as_path()), ("true", "/dev/full".as_ref())] {
        let mut server = Options::new().behind(first).arg("--log-file").arg(log).start();
        let mut raw = Raw::greeted(server.address());
        for round in 0..3 {
            assert_eq!(raw.put("a", b"hello").word(0), "SAVED");
            eventually("it is said", || (server.log().matches("PUT a").count() > round).then_some(()));
        }
        drop(raw);
        eventually("it is told", || (complaints(&server) == 1).then_some(()));
        server.signal(Signal::TERM);
        assert_eq!(server.wait().code(), Some(0));
        assert_eq!(complaints(&server), 1, "{}", server.log());
    }
}

#[test]
fn a_corner_that_was_removed_is_not_blamed_on_the_root_or_the_name() {
    let server = Server::start();
    server.write("a", b"hello");
    let mut raw = Raw::greeted(server.address());
    assert_eq!(raw.ask("RESUME before 5 - c").line, "GO 0");
    fs::remove_dir_all(server.path(".ferry")).unwrap();
    raw.send(ferry_e2e::body(b"hello", 5));
    raw.answer("PUT").expect_failure("io");
    let refusals = [raw.put("b", b"hello"), raw.ask("RESUME id 5 - b"), raw.ask("RESUME before 5 - c")];
    for refusal in refusals {
        refusal.expect_failure("io");
        let said = &refusal.line;
        assert!(said.contains(".ferry") && said.contains("again") && !said.contains("root"), "{said}");
    }
    assert_eq!(raw.ask("GET a").verified(), b"hello");
    assert_eq!(raw.ask("DELETE a").line, "DONE");
    assert_eq!(server.terminate().code(), Some(0));
}

#[test]
fn what_is_mounted_inside_the_root_is_denied() {
    let lone = Command::new("unshare").args(["--map-root-user", "--mount", "true"]).status();
    if !lone.is_ok_and(|status| status.success()) {
        return println!("not tried: this machine lets nobody mount anything");
    }
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("root");
    for directory in ["root/dir", "root/other", "source"] {
        fs::create_dir_all(place.path().join(directory)).unwrap();
    }
    for file in ["root/file", "root/plain", "source/file"] {
        fs::write(place.path().join(file), b"hello").unwrap();
    }
    let mount = format!(
        "cd {} && mount --bind source root/dir && mount --bind source/file root/file",
        place.path().to_str().unwrap()
    );
    let behind = format!("exec unshare --map-root-user --mount sh -c '{mount} && exec \"$0\" \"$@\"' \"$0\" \"$@\"");
    let server = Options::new().root(&root).behind(&behind).start();
    let mut raw = Raw::greeted(server.address());
    for name in ["dir", "file"] {
        for request in [format!("DELETE {name}"), format!("RENAME {name}//new"), format!("STAT {name}")] {
            let refused = raw.ask(&request);
            refused.expect_failure("denied");
            assert!(refused.line.starts_with(&format!("FAIL denied {name}: ")), "{request:?}: {}", refused.line);
        }
    }
    raw.put("file", b"HELLO").expect_failure("denied");
    assert_eq!(raw.ask("DELETE other").line, "DONE");
    eventually("nothing is left staged", || staged(&server).is_empty().then_some(()));
}

/// Nobody ever answers what is asked of the one; whoever answered for the other has crashed.
const MOUNT_MUTE: &str = "mute() { mount -i -t fuse -o fd=$1,rootmode=40000,user_id=0,group_id=0 none $2; }
    exec 7<>/dev/fuse 8<>/dev/fuse && mute 7 hung && mute 8 crashed && exec 8<&-";

#[test]
fn what_is_mounted_inside_the_root_is_not_asked_anything() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("root");
    for directory in ["hung", "crashed", "dir"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    fs::write(root.join("file"), b"hello").unwrap();
    let mount = format!("cd {} && {MOUNT_MUTE}", root.to_str().unwrap());
    let behind = |then: &str| format!("exec unshare --map-root-user --mount sh -c '{mount} && {then}' \"$0\" \"$@\"");
    if !Command::new("sh").arg("-c").arg(behind("true")).status().is_ok_and(|status| status.success()) {
        return println!("not tried: this machine lets nobody mount a file system of a program's");
    }
    let server = Options::new().root(&root).behind(&behind("exec \"$0\" \"$@\"")).start();
    // More than the helpers that look at names, had one of them been lost with each.
    for _ in 0..8 {
        let listing = Raw::greeted(server.address()).ask("LIST").verified();
        let mut lines: Vec<_> = std::str::from_utf8(&listing).unwrap().lines().collect();
        lines.sort_unstable();
        assert_eq!(lines[..2], ["d - - - crashed", "d - - - hung"]);
        assert!(lines[2].ends_with(" - dir") && lines[3].ends_with(" file"), "{lines:?}");
        assert_eq!(lines.len(), 4);
    }
    let mut raw = Raw::greeted(server.address());
    for name in ["hung", "crashed"] {
        for request in ["STAT #", "GET #", "SUM #", "LIST #", "DELETE #", "RENAME #//new", "GET #/x", "MKDIR #/x"] {
            raw.ask(&request.replace('#', name)).expect_failure("denied");
        }
        raw.put(name, b"HELLO").expect_failure("denied");
        for request in [format!("MKDIR {name}"), format!("RENAME file//{name}")] {
            raw.ask(&request).expect_failure("exists");
        }
    }
    assert_eq!(raw.put("dir/new", b"hello").code(), None);
    drop(raw);
    assert_eq!(server.terminate().code(), Some(0));
}

#[test]
fn what_is_mounted_while_the_server_runs_is_noticed() {
    let lone = Command::new("unshare").args(["--map-root-user", "--mount", "true"]).status();
    if !lone.is_ok_and(|status| status.success()) {
        return println!("not tried: this machine lets nobody mount anything");
    }
    let server = Options::new().behind("exec unshare --map-root-user --mount \"$0\" \"$@\"").start();
    fs::create_dir(server.path("dir")).unwrap();
    let list = || String::from_utf8(Raw::greeted(server.address()).ask("LIST").verified()).unwrap();
    assert!(list().starts_with("d - 1"), "its time is told");
    let inside = |command: &[&str]| {
        let entered =
            ["--user", "--mount", "--preserve-credentials", "--target", &server.pid().to_string()].map(str::to_owned);
        let status = Command::new("nsenter").args(entered).args(command).status().unwrap();
        assert!(status.success(), "{command:?}");
    };
    let dir = server.path("dir");
    let dir = dir.to_str().unwrap();
    inside(&["mount", "-t", "tmpfs", "none", dir]);
    eventually("it is listed without details", || (list() == "d - - - dir\n").then_some(()));
    inside(&["umount", dir]);
    eventually("its time is told again", || list().starts_with("d - 1").then_some(()));
}

#[test]
fn whoever_is_admitted_is_served_however_few_files_may_be_open() {
    let server = Options::new().behind("ulimit -n 64").start();
    fs::File::create(server.path("big")).unwrap().set_len(1 << 30).unwrap();
    let mut clients = Vec::new();
    loop {
        let mut raw = Raw::connect(server.address());
        match gist(&raw.line()).as_str() {
            "FAIL busy" => break,
            _ => clients.push(raw),
        }
    }
    assert!(clients.len() >= 8, "only {} clients", clients.len());
    // Those who are turned away take nothing from those who are not.
    let crowd: Vec<_> = (0..30).map(|_| Raw::connect(server.address())).collect();
    for raw in &mut clients {
        raw.send("GET big\n");
        assert_eq!(gist(&raw.line()), "FILE 1073741824");
    }
    let served = clients.len();
    drop((clients, crowd));
    let greeted = |_| {
        eventually("there is room", || {
            let mut raw = Raw::connect(server.address());
            raw.line().starts_with("FERRY ").then_some(raw)
        })
    };
    let mut clients: Vec<_> = (0..served).map(greeted).collect();
    for (client, raw) in clients.iter_mut().enumerate() {
        for file in 0..20 {
            raw.send(format!("MKDIR {client}-{file}\nPUT 5 - {client}-{file}/a\nDATA 5\nhelloEND -\n"));
        }
    }
    for raw in &mut clients {
        for _ in 0..20 {
            assert_eq!([gist(&raw.line()), gist(&raw.line())], ["DONE", "SAVED 5 3610a686"]);
        }
    }
}

#[test]
fn a_server_that_may_open_too_few_files_does_not_start() {
    let place = tempfile::tempdir().unwrap();
    for few in [12, 63] {
        let output = Command::new("sh")
            .args(["-c", &format!("ulimit -n {few} && exec \"$0\" 0")])
            .arg(ferryd())
            .current_dir(place.path())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout), (Some(8), Vec::new()), "{said}");
        assert!(said.starts_with("ferryd: only ") && said.contains("ulimit -n") && said.contains("64"), "{said}");
    }
}
