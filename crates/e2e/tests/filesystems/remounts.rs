//! A root whose mount died, and comes back at the same place: the server goes on without a restart.

use std::fs;

use ferry_e2e::{Options, Puppet, Raw, Server, body, crc, eventually, mounts, puppet::Habits, random_bytes};

const LARGE_BYTES: usize = 3 << 20;

/// The words of a fence that is up; nothing on a kernel without Landlock.
const FENCED: &str = "fenced in by Landlock";

fn client(server: &Server) -> Raw {
    Raw::greeted(server.address())
}

/// Returns the blocks of `bytes` from `at` on, and the end of the whole.
fn rest(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut rest = body(&bytes[at..], 1 << 20);
    rest.truncate(rest.len() - "00000000\n".len());
    rest.extend_from_slice(format!("{}\n", crc(bytes)).as_bytes());
    rest
}

/// Waits until the root is served again.
fn until_served(server: &Server) {
    eventually("the root is opened again", || (client(server).ask("HEALTH").line == "DONE").then_some(()));
}

#[test]
fn a_root_whose_mount_died_is_served_again_when_it_is_mounted_again() {
    if !mounts::private(&[]) {
        return;
    }
    let mut puppet = Puppet::mount(Habits::default());
    fs::write(puppet.join("a"), b"before").unwrap();
    let server = Options::new().root(puppet.path()).start();
    let above = puppet.path().parent().unwrap().display();
    eventually("the fence is told of", || {
        let log = server.log();
        let open = format!("; all beneath {above} stays open");
        (log.contains("not fenced in") || log.contains(FENCED) && log.contains(&open)).then_some(())
    });
    let bytes = random_bytes(7, LARGE_BYTES);
    let mut kept = client(&server);
    assert_eq!(kept.ask(&format!("RESUME kept {LARGE_BYTES} - kept")).line, "GO 0");
    kept.send(format!("DATA {}\n", 1 << 20));
    kept.send(&bytes[..1 << 20]);
    kept.send("STOP\n");
    kept.answer("PUT").expect_failure("stopped");
    let mut under_way = [client(&server), client(&server)];
    assert_eq!(under_way[0].ask(&format!("RESUME going {LARGE_BYTES} - going")).line, "GO 0");
    under_way[1].send(format!("PUT {LARGE_BYTES} - put\n"));
    for upload in &mut under_way {
        upload.send(format!("DATA {}\n", 1 << 20));
        upload.send(&bytes[..1 << 20]);
    }
    let run = || {
        fs::read_dir(puppet.join(".ferry"))
            .unwrap()
            .flatten()
            .find(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with("run-")))
    };
    let old_run = run().expect("the directory of the server").file_name();
    eventually("it is staged", || puppet.join(".ferry").join(&old_run).join("0").exists().then_some(()));

    puppet.crash();
    let mut raw = client(&server);
    for request in ["HEALTH", "GET a", "STAT a", "LIST", "MKDIR d", "RESUME kept 3145728 - kept"] {
        raw.ask(request).expect_failure("busy");
    }
    // What lies beneath a mount point is not the root.
    puppet.take_off();
    eventually("nothing is mounted", || server.log().contains("another kind of file system is there").then_some(()));
    raw.ask("HEALTH").expect_failure("busy");
    puppet.mount_again();
    until_served(&server);

    assert_eq!(raw.ask("GET a").verified(), b"before");
    assert_eq!(raw.put("b", b"after").word(0), "SAVED");
    assert_eq!(raw.ask("RENAME b//c").line, "DONE");
    assert_eq!(fs::read(puppet.join("c")).unwrap(), b"after");
    for upload in &mut under_way {
        upload.send(rest(&bytes, 1 << 20));
        upload.answer("PUT").expect_failure("busy");
        assert_eq!(upload.ask("GET a").verified(), b"before", "the connection goes on");
    }
    for id in ["kept", "going"] {
        let go = raw.ask(&format!("RESUME {id} {LARGE_BYTES} - {id}"));
        let kept: usize = go.line.strip_prefix("GO ").unwrap_or_else(|| panic!("{}", go.line)).parse().unwrap();
        // Of what was under way as much as the last checkpoint promised, if there was time for one.
        assert!(kept <= 1 << 20 && (id == "going" || kept == 1 << 20), "{id}: {kept}");
        raw.send(rest(&bytes, kept));
        assert_eq!(raw.answer("PUT").word(2), crc(&bytes));
        assert!(fs::read(puppet.join(id)).unwrap() == bytes, "{id}");
    }
    eventually("what it had staged on the dead mount is removed", || {
        (!puppet.join(".ferry").join(&old_run).exists()).then_some(())
    });
    drop((raw, kept, under_way));
    assert_eq!(server.terminate().code(), Some(0));
}

#[test]
fn a_reader_alone_goes_on_as_well_however_often_the_mount_dies() {
    if !mounts::private(&[]) {
        return;
    }
    let mut puppet = Puppet::mount(Habits::default());
    fs::write(puppet.join("a"), b"content").unwrap();
    let server = Options::new().root(puppet.path()).arg("--read-only").start();
    let mut raw = client(&server);
    for _ in 0..3 {
        assert_eq!(raw.ask("GET a").verified(), b"content");
        puppet.crash();
        raw.ask("GET a").expect_failure("busy");
        puppet.take_off();
        puppet.mount_again();
        until_served(&server);
    }
    drop(raw);
    assert_eq!(server.terminate().code(), Some(0));
}

#[test]
fn another_root_is_not_taken_for_the_one_that_was_served() {
    if !mounts::private(&[]) {
        return;
    }
    let mut puppet = Puppet::mount(Habits::default());
    let server = Options::new().root(puppet.path()).start();
    let corner = puppet.join(".ferry");
    fs::rename(&corner, puppet.join("corner")).unwrap();
    puppet.crash();
    puppet.take_off();
    puppet.mount_again();
    let mut raw = client(&server);
    eventually("it is looked at", || {
        raw.ask("LIST").expect_failure("busy");
        server.log().contains("there is no .ferry in it").then_some(())
    });
    fs::rename(puppet.join("corner"), &corner).unwrap();
    until_served(&server);
    drop(raw);
    assert_eq!(server.terminate().code(), Some(0));
}

#[test]
fn a_fence_opens_no_more_than_the_mount_and_says_where_that_takes_a_restart() {
    if !mounts::private(&[]) {
        return;
    }
    let mut puppet = Puppet::mount(Habits::default());
    let above = puppet.path().parent().unwrap().to_owned();
    fs::write(above.join("beside"), b"no business of the server").unwrap();
    let server = Options::new().root(puppet.path()).start();
    let told = eventually("the fence is told of", || {
        let log = server.log();
        (log.contains("not fenced in") || log.contains(FENCED)).then_some(log)
    });
    if told.contains("not fenced in") {
        return eprintln!("skipped: no Landlock here");
    }
    let closed =
        format!("if the mount of the root dies, restart this server: more than that lies in {}", above.display());
    assert!(told.contains(&closed), "{told}");
    puppet.crash();
    puppet.take_off();
    puppet.mount_again();
    let mut raw = client(&server);
    eventually("it may not be opened", || {
        raw.ask("HEALTH").expect_failure("busy");
        server.log().contains("restart this server").then_some(())
    });
    eventually("the reason is told", || server.log().contains("it may not be opened").then_some(()));
    drop(raw);
    server.terminate();
    let server = Options::new().root(puppet.path()).start();
    assert_eq!(client(&server).ask("HEALTH").line, "DONE");
    assert_eq!(server.terminate().code(), Some(0));
}
