//! `ferry cp`: from one server to another.

mod faithful;
mod faults;
mod pairs;
mod wire;

use std::fs;

use ferry_e2e::{Options, Server, random_bytes, seed};
use serde_json::Value;

use crate::{
    machine::{Run, command, run},
    place::{assert_same, tree},
};

/// Returns the bytes of a large file, no two blocks alike: to draw all of them would take longer than a test.
fn content(seed: u64, bytes: usize) -> Vec<u8> {
    const BLOCK: usize = 64 << 10;
    let mut content = random_bytes(seed, BLOCK).repeat(bytes / BLOCK);
    for (index, block) in content.chunks_mut(BLOCK).enumerate() {
        block[..8].copy_from_slice(&(seed ^ index as u64).to_be_bytes());
    }
    content
}

/// Two servers, their ports, and a directory in which nothing is.
struct Pair {
    from: Server,
    to: Server,
    a: String,
    b: String,
    directory: tempfile::TempDir,
}

impl Pair {
    fn new() -> Pair {
        Pair::with(Options::new())
    }

    fn with(to: Options) -> Pair {
        let (from, to) = (Server::start(), to.start());
        from.write("a.txt", b"hello");
        from.write("b.txt", b"world");
        from.write("two words.txt", b"two");
        from.write("12:5.txt", b"colon");
        from.write("d/e/deep.bin", &content(seed(), 3 << 20));
        from.write("d/empty", b"");
        let port = |server: &Server| server.address().port().to_string();
        let (a, b) = (port(&from), port(&to));
        Pair { from, to, a, b, directory: tempfile::tempdir().unwrap() }
    }

    /// Runs `ferry cp`, in whose arguments `A` and `B` at the beginning stand for the ports.
    fn cp(&self, arguments: &[&str]) -> Run {
        let place = |argument: &&str| match argument.split_once(':') {
            Some(("A", name)) => format!("{}:{name}", self.a),
            Some(("B", name)) => format!("{}:{name}", self.b),
            _ => (*argument).to_owned(),
        };
        let arguments: Vec<String> = std::iter::once("cp".to_owned()).chain(arguments.iter().map(place)).collect();
        run(self.directory.path(), &arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    #[track_caller]
    fn copied(&self, arguments: &[&str]) -> String {
        let run = self.cp(arguments);
        assert_eq!((run.status, run.err.as_str()), (0, ""), "{arguments:?}: {}", run.out);
        // Nothing of it is here, but for the ids of uploads.
        let here = fs::read_dir(self.directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(here.into_iter().all(|name| name == "state" || name == "config"));
        run.out
    }
}

#[test]
fn files_go_from_one_server_to_another() {
    let pair = Pair::new();
    let said = pair.copied(&["A:a.txt", "B:"]);
    assert!(said.starts_with("copied a.txt: 5 bytes in ") && said.ends_with("verified and on disk\n"), "{said}");
    pair.copied(&["A:two words.txt", "B:other name.txt"]);
    pair.copied(&["A:/12:5.txt", "B:/12:5.txt"]);
    assert_eq!(pair.to.read("a.txt"), b"hello");
    assert_eq!(pair.to.read("other name.txt"), b"two");
    assert_eq!(pair.to.read("12:5.txt"), b"colon");
    let time = |server: &Server| fs::metadata(server.path("a.txt")).unwrap().modified().unwrap();
    assert_eq!(time(&pair.from), time(&pair.to));
    // On one server as well.
    pair.copied(&["A:a.txt", "A:again.txt"]);
    assert_eq!(pair.from.read("again.txt"), b"hello");
    pair.cp(&["A:a.txt", "A:a.txt"]).assert_failed(2, "that is itself");
    pair.cp(&["-r", "A:d", "A:d"]).assert_failed(2, "does not go into itself");
}

#[test]
fn several_and_whole_directories_go_into_a_directory() {
    let pair = Pair::new();
    pair.cp(&["A:a.txt", "A:b.txt", "B:new"])
        .assert_failed(4, &format!("CP {}: new is no directory of the server", pair.b));
    assert!(pair.to.visible().is_empty());
    fs::create_dir(pair.to.path("new")).unwrap();
    pair.copied(&["A:*.txt", "B:new"]);
    assert_eq!(pair.to.read("new/b.txt"), b"world");
    pair.cp(&["A:d", "B:"]).assert_failed(4, "that is a directory; ferry cp -r copies it");
    let said = pair.copied(&["-n", "-r", "A:d", "B:"]);
    assert!(said.contains("would make d\n") && said.contains("CP would copy 2 files (3.0 MiB)"), "{said}");
    assert!(!pair.to.path("d").exists());
    pair.copied(&["-r", "A:d", "B:"]);
    assert_same(&tree(&pair.from.path("d")), &tree(&pair.to.path("d")));
    pair.copied(&["-r", "A:", "B:all"]);
    assert_same(&tree(pair.from.root()), &tree(&pair.to.path("all")));
    pair.copied(&["-r", "--exclude", "*.bin", "A:d", "B:chosen"]);
    assert!(pair.to.path("chosen/empty").exists() && !pair.to.path("chosen/e/deep.bin").exists());
    pair.from.write("d/a.txt", b"another");
    pair.cp(&["A:a.txt", "A:d/a.txt", "B:new"]).assert_failed(2, "nothing was copied; -k copies the rest");
}

#[test]
fn what_goes_wrong_is_told_of_the_server_that_it_went_wrong_at() {
    let pair = Pair::new();
    pair.cp(&["A:nope", "B:"])
        .assert_failed(8, &format!("CP {}:nope: the server has no such file or directory", pair.a));
    pair.cp(&["A:a.txt", "B:no/a.txt"])
        .assert_failed(8, &format!("CP no/a.txt: 127.0.0.1:{}: the server has no directory no", pair.b));
    pair.cp(&["A:a.txt", "B:../a.txt"]).assert_failed(2, "'..' leads above the root");
    pair.cp(&["A:a.txt", "1:"]).assert_failed(3, "nobody listens on 127.0.0.1:1");
    pair.cp(&["a.txt", "B:"]).assert_failed(2, "HOST:NAME is needed");
    pair.cp(&["A:a.txt", "B:a.txt", "B:"]).assert_failed(2, "are two: copy from one after the other");
    pair.to.write("b.txt", b"mine");
    pair.cp(&["--no-clobber", "A:b.txt", "B:"]).assert_failed(4, "has something of that name already");
    assert_eq!(pair.to.read("b.txt"), b"mine");
    // With -k, the rest is copied; the status is that of the first.
    let run = pair.cp(&["-k", "--no-clobber", "A:b.txt", "A:a.txt", "B:"]);
    run.assert_failed(4, "1 failed, the rest is done");
    assert_eq!(pair.to.read("a.txt"), b"hello");

    let pair = Pair::with(Options::new().arg("--read-only"));
    pair.cp(&["A:a.txt", "B:"]).assert_failed(4, "read-only");
    pair.cp(&["-r", "A:d", "B:"]).assert_failed(4, "read-only");
    assert!(pair.to.visible().is_empty());
}

#[test]
fn programs_are_told_by_events() {
    let pair = Pair::new();
    let said = pair.copied(&["--json", "A:a.txt", "A:b.txt", "B:"]);
    let events: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((events[0]["event"].as_str(), events[0]["name"].as_str()), (Some("copied"), Some("a.txt")));
    assert_eq!((events[0]["crc"].as_str(), events[2]["event"].as_str()), (Some("3610a686"), Some("total")));
    assert_eq!((events[2]["command"].as_str(), events[2]["files"].as_u64()), (Some("CP"), Some(2)));
}

/// Bookmarks, hosts with ports, and addresses in brackets.
#[test]
fn servers_are_named_as_elsewhere() {
    let pair = Pair::new();
    let config = pair.directory.path().join("config/ferry");
    fs::create_dir_all(&config).unwrap();
    fs::write(config.join("config.toml"), format!("[bookmarks]\nvault = \"{}\"\n", pair.b)).unwrap();
    pair.copied(&["A:a.txt", "vault:x"]);
    let host = format!("localhost:{}:b.txt", pair.a);
    pair.copied(&[&host, "vault:y"]);
    assert_eq!((pair.to.read("x"), pair.to.read("y")), (b"hello".to_vec(), b"world".to_vec()));
    let mut help = command(pair.directory.path(), &["cp", "--help"]);
    let help = String::from_utf8(help.output().unwrap().stdout).unwrap();
    assert!(help.contains("nas:12000:a") && help.contains("--no-clobber"), "{help}");
}
