//! Several servers of one address, and of one root.

use std::process::{Command, Stdio};

use ferry_e2e::{Options, Raw, Server, Signal, body, crc, eventually, ferryd, random_bytes, seed};

use super::{BLOCK_BYTES, gist};

fn shared(root: &std::path::Path, address: &str) -> Server {
    Options::new().root(root).address(address).arg("--reuse-port").arg("--log-level").arg("debug").start()
}

#[test]
fn two_servers_share_an_address_and_its_clients() {
    for free in ["127.0.0.1:0", "[::1]:0"] {
        let root = tempfile::tempdir().unwrap();
        let first = shared(root.path(), free);
        let address = first.address();
        assert_ne!(address.port(), 0);
        let second = shared(root.path(), &address.to_string());
        assert_eq!(second.address(), address);
        let has_clients = |server: &Server| server.log().contains("connected");
        let mut clients = Vec::new();
        eventually("each server has clients", || {
            clients.push(Raw::greeted(address));
            (has_clients(&first) && has_clients(&second)).then_some(())
        });
        // What is done at one is seen at the other.
        for (index, raw) in clients.iter_mut().enumerate() {
            assert_eq!(gist(&raw.put("x", index.to_string().as_bytes()).line).split(' ').next(), Some("SAVED"));
        }
        let last = (clients.len() - 1).to_string();
        for raw in &mut clients {
            assert_eq!(raw.ask("GET x").verified(), last.as_bytes());
        }
        // Where one ends, the other one has all who come.
        assert_eq!(first.terminate().code(), Some(0));
        for _ in 0..20 {
            assert_eq!(Raw::greeted(address).ask("GET x").verified(), last.as_bytes());
        }
        assert_eq!(second.terminate().code(), Some(0));
    }
}

#[test]
fn an_address_is_shared_only_where_all_say_so() {
    for (first, second, hint) in [
        (None, None, "another server is there"),
        (None, Some("--reuse-port"), "does not share it"),
        (Some("--reuse-port"), None, "can share"),
    ] {
        let options = first.into_iter().fold(Options::new(), Options::arg);
        let there = options.start();
        let root = tempfile::tempdir().unwrap();
        let output = Command::new(ferryd())
            .args(["--root".as_ref(), root.path().as_os_str()])
            .args(second)
            .arg(there.address().to_string())
            .stdin(Stdio::null())
            .output()
            .expect("ferryd runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(5), "{first:?}, {second:?}: {said}");
        assert!(output.stdout.is_empty(), "it did not listen");
        assert!(said.contains("in use") && said.contains(hint) && said.contains("--reuse-port"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        let _ = Raw::greeted(there.address());
    }
}

#[test]
fn who_waits_to_be_accepted_when_the_server_ends_is_told_so() {
    if ferry_e2e::secure::skips("there is no time for a handshake at the end") {
        return;
    }
    let mut server = Server::start();
    let mut greeted = Raw::greeted(server.address());
    // The kernel makes connections on behalf of a server that does nothing: more than it accepts at once.
    server.stop();
    let mut waiting: Vec<_> = (0..400).map(|_| Raw::connect(server.address())).collect();
    server.signal(Signal::TERM);
    server.signal(Signal::CONT);
    for raw in waiting.iter_mut().chain([&mut greeted]) {
        let said = String::from_utf8(raw.to_eof()).unwrap();
        assert_eq!(said.lines().last().map(gist).as_deref(), Some("FAIL shutting-down"), "{said:?}");
    }
    assert_eq!(server.wait().code(), Some(0));
}

/// A RESUME of `whole` that is held at `server`, `sent` bytes along, of which all are checkpointed.
fn held(server: &Server, request: &str, whole: &[u8], sent: usize) -> Raw {
    let mut raw = Raw::greeted(server.address());
    raw.send(format!("{request}\n"));
    assert_eq!(raw.line(), "GO 0");
    let blocks = body(&whole[..sent], BLOCK_BYTES);
    raw.send(&blocks[..blocks.len() - "END 00000000\n".len()]);
    raw
}

#[test]
fn an_upload_that_one_server_holds_is_busy_at_another_and_goes_on_there_afterwards() {
    let root = tempfile::tempdir().unwrap();
    let server = || Options::new().root(root.path()).start();
    let (first, second) = (server(), server());
    let whole = random_bytes(seed(), 3 * BLOCK_BYTES);
    let request = format!("RESUME id {} - x", whole.len());
    let mut raw = held(&first, &request, &whole, 2 * BLOCK_BYTES);

    let mut other = Raw::greeted(second.address());
    other.ask(&request).expect_failure("busy");
    other.ask("RESUME id 5 - x").expect_failure("busy");
    raw.finish();
    assert_eq!(gist(&raw.line()), "FAIL incomplete");
    let offset = eventually("the first one lets go", || {
        let line = other.ask(&request).line;
        line.strip_prefix("GO ").map(|offset| offset.parse::<usize>().unwrap())
    });
    assert_eq!(offset, 2 * BLOCK_BYTES);
    Raw::greeted(first.address()).ask(&request).expect_failure("busy");
    let rest = body(&whole[offset..], BLOCK_BYTES);
    other.send(&rest[..rest.len() - "END 00000000\n".len()]);
    other.send(format!("END {}\n", crc(&whole)));
    let saved = other.line();
    assert_eq!(gist(&saved), format!("SAVED {} {}", whole.len(), crc(&whole)));

    // Published at one, it is known at the other.
    let mut raw = Raw::greeted(first.address());
    assert_eq!(raw.ask(&request).line, saved);
    raw.ask("RESUME id 5 - x").expect_failure("exists");
    raw.ask(&format!("RESUME id {} - y", whole.len())).expect_failure("exists");
    assert!(first.read("x") == whole);
}

#[test]
fn parts_are_taken_by_the_server_that_holds_the_upload_and_their_upload_goes_on_at_another_one() {
    let root = tempfile::tempdir().unwrap();
    let server = || Options::new().root(root.path()).start();
    let (first, second) = (server(), server());
    let mut holder = Raw::greeted(first.address());
    assert_eq!(holder.ask("RESUME id 3 - x").line, "GO 0");
    let part = |server: &Server, offset: usize, byte: &str| {
        let request = format!("PART id {offset} 1 x\nDATA 1\n{byte}END {}", crc(byte.as_bytes()));
        Raw::greeted(server.address()).ask(&request)
    };
    part(&second, 2, "c").expect_failure("busy");
    assert_eq!(part(&first, 2, "c").line, "DONE");
    holder.send("STOP\n");
    holder.answer("RESUME").expect_failure("stopped");

    let mut holder = Raw::greeted(second.address());
    eventually("the first one lets go", || {
        let line = holder.ask("RESUME id 3 - x").line;
        line.starts_with("GO ").then(|| assert_eq!(line, "GO 0 2-3"))
    });
    part(&first, 1, "b").expect_failure("busy");
    assert_eq!(part(&second, 1, "b").line, "DONE");
    holder.send(format!("DATA 1\naJOIN {}\n", crc(b"abc")));
    assert_eq!(gist(&holder.line()), format!("SAVED 3 {}", crc(b"abc")));
    assert_eq!(first.read("x"), b"abc");
}

#[test]
fn what_a_killed_server_held_goes_on_from_its_checkpoint_at_the_survivor() {
    /// How much the server makes durable of an upload at a time.
    const CHECKPOINT_BYTES: usize = 32 << 20;
    let root = tempfile::tempdir().unwrap();
    let server = || Options::new().root(root.path()).start();
    let (mut killed, survivor) = (server(), server());
    let whole = random_bytes(seed(), CHECKPOINT_BYTES + 4 * BLOCK_BYTES);
    let request = format!("RESUME id {} - x", whole.len());
    let raw = held(&killed, &request, &whole, CHECKPOINT_BYTES + BLOCK_BYTES);
    let marked = || {
        let mark = std::fs::read_to_string(root.path().join(".ferry/kept/id.mark")).unwrap_or_default();
        mark.contains(&format!(" kept {CHECKPOINT_BYTES} ")).then_some(())
    };
    eventually("a checkpoint", marked);
    Raw::greeted(survivor.address()).ask(&request).expect_failure("busy");
    killed.signal(Signal::KILL);
    killed.wait();
    drop(raw);

    let mut raw = Raw::greeted(survivor.address());
    let line = raw.ask(&request).line;
    let offset: usize = line.strip_prefix("GO ").expect("nobody holds it any more").parse().unwrap();
    assert_eq!(offset, CHECKPOINT_BYTES);
    let rest = body(&whole[offset..], BLOCK_BYTES);
    raw.send(&rest[..rest.len() - "END 00000000\n".len()]);
    raw.send(format!("END {}\n", crc(&whole)));
    assert_eq!(gist(&raw.line()), format!("SAVED {} {}", whole.len(), crc(&whole)));
    assert!(survivor.read("x") == whole);
}
