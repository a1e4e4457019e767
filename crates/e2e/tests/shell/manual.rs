//! The examples of the manual: each line of ours is run as it stands there.

use std::{fs, process::Command};

use ferry_e2e::{Server, ferry, random_bytes};

use crate::machine;

/// Returns the lines of a section of the manual, as they are shown.
fn section(page: &str, title: &str) -> Vec<String> {
    let inside = page.lines().skip_while(|line| *line != format!(".SH {title}")).skip(1);
    let inside = inside.take_while(|line| !line.starts_with(".SH ")).filter(|line| !line.starts_with('.'));
    let shown = |line: &str| line.replace("\\-", "-").replace("\\*(Aq", "'").replace("\\(aq", "'").replace("\\&", "");
    inside.map(shown).map(|line| line.replace("\\\\", "\\").replace("\\e", "\\")).collect()
}

#[test]
fn every_line_of_the_examples_does_what_it_says() {
    if ferry_e2e::secure::skips("the lines are run as they stand in the manual") {
        return;
    }
    let (server, directory) = (Server::start(), tempfile::tempdir().unwrap());
    let here = directory.path();
    let big = random_bytes(1, 3 << 20);
    for (name, content) in
        [("hello.txt", &b"hello"[..]), ("poems/a.txt", b"a"), ("poems/b c.txt", b"b"), ("big.iso", &big)]
    {
        server.write(name, content);
    }
    fs::create_dir_all(here.join("config/ferry")).unwrap();
    let bookmark = format!("[bookmarks]\nnas = '{}'\n", server.address());
    fs::write(here.join("config/ferry/config.toml"), bookmark).unwrap();
    for (name, content) in [("photos/1.jpg", "1"), ("photos/x.tmp", "x"), ("photos/old/2.jpg", "2"), ("notes.txt", "n")]
    {
        fs::create_dir_all(here.join(name).parent().unwrap()).unwrap();
        fs::write(here.join(name), content).unwrap();
    }
    let page = machine::run(here, &["man"]);
    let lines = section(&page.out, "EXAMPLES");
    let ours: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("    ")).collect();
    assert!(ours.len() >= 30 && ours.iter().all(|line| line.contains("ferry ")), "{lines:#?}");
    let theirs = lines.iter().filter(|line| ["rsync ", "lftp ", "curl "].iter().any(|word| line.starts_with(word)));
    assert!(theirs.count() >= 20, "{lines:#?}");
    let path = format!("{}:{}", ferry().parent().unwrap().display(), std::env::var("PATH").unwrap());
    for line in &ours {
        let mut shell = Command::new("bash");
        shell.args(["-o", "pipefail", "-c", line]).current_dir(here).env("PATH", &path);
        shell.env("XDG_CONFIG_HOME", here.join("config")).env("XDG_STATE_HOME", here.join("state"));
        let ran = shell.output().unwrap();
        assert!(ran.status.success(), "{line}: {} {}", ran.status, String::from_utf8_lossy(&ran.stderr));
        match *line {
            "ferry sync -uD nas photos" => assert_eq!(server.read("photos/old/2.jpg"), b"2"),
            "ferry cat nas hello.txt | wc -c" => assert_eq!(String::from_utf8_lossy(&ran.stdout).trim(), "5"),
            "ferry -c 'OPEN nas; MKDIR -p a/b; MV notes.txt a/b'" => assert_eq!(server.read("a/b/notes.txt"), b"n"),
            "ferry rm -r nas a" => assert!(!server.path("a").exists()),
            _ => {}
        }
    }
    assert!(fs::read(here.join("big.iso")).unwrap() == big);
    assert_eq!(fs::read(here.join("copy.txt")).unwrap(), b"hello");
    assert_eq!(fs::read(here.join("poems/b c.txt")).unwrap(), b"b");
    assert!(server.path("poems.tar").metadata().unwrap().len() > 0);
    assert!(fs::read_to_string(here.join("SUMS")).unwrap().starts_with("SHA256 (hello.txt) = "));
}
