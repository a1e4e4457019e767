//! Commands from `-c` and from a pipe.

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use ferry_e2e::{Options, Server, ferry};

use crate::strangers;

/// Runs `ferry` in `directory` with `input` on its standard input; gives its exit status, what it
/// said, and what it complained of.
fn run(directory: &Path, arguments: &[&str], input: &str) -> (i32, String, String) {
    let mut child = Command::new(ferry())
        .args(arguments)
        .current_dir(directory)
        .env("XDG_CONFIG_HOME", directory.join("config"))
        .env("XDG_STATE_HOME", directory.join("state"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ferry runs");
    // A program that has ended before it read all is judged by its status.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().expect("an exit status"), text(&output.stdout), text(&output.stderr))
}

/// A server with `a.txt`, and a directory with `client/mine.txt`.
fn fixture() -> (Server, tempfile::TempDir) {
    let server = Server::start();
    server.write("a.txt", b"hello");
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("client")).unwrap();
    fs::write(directory.path().join("client/mine.txt"), "mine").unwrap();
    (server, directory)
}

#[test]
fn commands_behind_c_move_files() {
    let (server, directory) = fixture();
    let script = format!("OPEN {}; GET a.txt; PUT mine.txt; CLOSE; QUIT", server.address().port());
    let (status, said, complaints) = run(directory.path(), &["-c", &script], "");
    assert_eq!((status, complaints.as_str()), (0, ""), "{said}");
    assert!(said.contains("got a.txt: 5 bytes") && said.contains("put mine.txt: 4 bytes"), "{said}");
    assert_eq!(fs::read(directory.path().join("client/a.txt")).unwrap(), b"hello");
    assert_eq!(server.read("mine.txt"), b"mine");
}

#[test]
fn commands_from_a_pipe_move_files() {
    let (server, directory) = fixture();
    let input = format!("open {}\nget a.txt\n\nput mine.txt", server.address().port());
    let (status, said, complaints) = run(directory.path(), &["--dir", "client"], &input);
    assert_eq!((status, complaints.as_str()), (0, ""), "{said}");
    assert_eq!(fs::read(directory.path().join("client/a.txt")).unwrap(), b"hello");
    assert_eq!(server.read("mine.txt"), b"mine");
}

#[test]
fn the_first_command_that_fails_ends_a_script_with_its_status() {
    let (server, directory) = fixture();
    let open = format!("OPEN {}", server.address().port());
    let nobody = format!("OPEN {}", strangers::port_of_nobody());
    let http = format!("OPEN {}", strangers::http());
    for (commands, status) in [
        (vec![open.as_str(), "GET missing.txt", "GET a.txt"], 8),
        (vec![&open, "GET ../a.txt", "GET a.txt"], 2),
        (vec![&open, "GET 'a\tb'", "GET a.txt"], 2),
        (vec![&open, "PUT missing.txt", "GET a.txt"], 5),
        (vec![&open, "FROB", "GET a.txt"], 2),
        (vec![&open, &open, "GET a.txt"], 2),
        (vec!["GET a.txt", &open, "GET a.txt"], 3),
        (vec![&nobody, &open, "GET a.txt"], 3),
        (vec![&http, &open, "GET a.txt"], 3),
        (vec!["OPEN 99999", &open, "GET a.txt"], 2),
    ] {
        for (arguments, input) in
            [(vec!["-c".to_owned(), commands.join(";")], String::new()), (Vec::new(), commands.join("\n"))]
        {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let (actual, said, complaints) = run(directory.path(), &arguments, &input);
            assert_eq!(actual, status, "{commands:?}: {said}{complaints}");
            assert_eq!(complaints.lines().count(), 1, "{commands:?}: {complaints}");
            assert!(!directory.path().join("client/a.txt").exists(), "{commands:?}: it went on");
        }
    }
}

#[test]
fn a_read_only_server_says_so() {
    let (_, directory) = fixture();
    let server = Options::new().arg("--read-only").start();
    let script = format!("OPEN {}; PUT mine.txt", server.address().port());
    let (status, said, complaints) = run(directory.path(), &["-c", &script], "");
    assert_eq!(status, 4);
    assert!(said.contains("read-only") && complaints.contains("read-only"), "{said}{complaints}");
    assert!(server.visible().is_empty());
}

#[test]
fn a_put_replaces_and_a_get_replaces() {
    let (server, directory) = fixture();
    server.write("mine.txt", b"an older version of it");
    fs::write(directory.path().join("client/a.txt"), "an older version of it").unwrap();
    let script = format!("OPEN {}; GET a.txt; PUT mine.txt", server.address().port());
    let (status, _, complaints) = run(directory.path(), &["-c", &script], "");
    assert_eq!((status, complaints.as_str()), (0, ""));
    assert_eq!(server.read("mine.txt"), b"mine");
    assert_eq!(fs::read(directory.path().join("client/a.txt")).unwrap(), b"hello");
    let local = fs::metadata(directory.path().join("client/mine.txt")).unwrap().modified().unwrap();
    let remote = fs::metadata(server.path("mine.txt")).unwrap().modified().unwrap();
    assert_eq!(local, remote, "a file keeps its time");
}

#[test]
fn nothing_that_a_server_says_drives_the_terminal() {
    if ferry_e2e::secure::skips("not all of its servers are ferryd") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let port = strangers::loud();
    for command in [
        "STATUS", "GET a", "LS", "CD a", "STAT a", "RM a", "MKDIR a", "MV a b", "SUM a", "HEALTH", "LESS a", "FIND",
        "TREE", "DU",
    ] {
        let (_, said, complaints) = run(directory.path(), &["-v", "-c", &format!("OPEN {port}; {command}")], "");
        let drives = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
        assert!(!said.contains(drives) && !complaints.contains(drives), "{command}: {said:?} {complaints:?}");
        assert!(said.contains("\\u{1b}[2J"), "{command}: {said:?} {complaints:?}");
    }
}
