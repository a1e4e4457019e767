//! The display of a transfer while it runs.

use std::{fs, process::Command};

use ferry_e2e::{Options, Server, ferry, random_file, seed};

use crate::terminal::Terminal;

const MIB: u64 = 1 << 20;

/// A server that takes its time: some seconds for a few MiB.
fn slow_server() -> Server {
    let server = Options::new().arg("--rate").arg((2 * MIB).to_string()).start();
    random_file(&server.path("large.bin"), seed(), 6 * MIB);
    server
}

/// A client in a terminal of so many columns, in the middle of a GET.
fn getting(server: &Server, directory: &std::path::Path, columns: u16) -> Terminal {
    let mut client = Terminal::ferry_like(directory, &[], &[], (columns, 24));
    client.type_line(&format!("OPEN {}", server.address().port()));
    client.expect("connected");
    client.expect("> ");
    client.type_line("GET large.bin");
    client
}

#[test]
fn a_bar_is_drawn_and_gone_at_the_end() {
    let (server, directory) = (slow_server(), tempfile::tempdir().unwrap());
    let mut client = getting(&server, directory.path(), 100);
    client.expect("large.bin [");
    client.expect("%  ");
    client.expect(" of 6.0 MiB  ");
    client.expect(" MB/s  ");
    client.expect(" left");
    client.expect("got large.bin: 6.0 MiB");
    client.expect("verified");
    client.expect("> ");
    let screen = client.screen();
    assert!(!screen.contains('['), "the bar is still there: {screen}");
    client.type_line("QUIT");
    assert_eq!(client.end(), 0);
}

#[test]
fn many_files_have_a_bar_for_the_whole_and_one_for_the_file() {
    let (server, directory) = (slow_server(), tempfile::tempdir().unwrap());
    for name in ["many/a.bin", "many/b.bin", "many/c.bin"] {
        fs::create_dir_all(server.path("many")).unwrap();
        random_file(&server.path(name), seed(), 2 * MIB);
    }
    let mut client = Terminal::ferry_like(directory.path(), &[], &[], (100, 24));
    client.type_line(&format!("OPEN {}", server.address().port()));
    client.expect("connected");
    client.expect("> ");
    client.type_line("GET -r many");
    let both = |screen: &str| screen.contains(" of 3 files [") && screen.contains("many/b.bin [");
    client.watch_until(|terminal| both(&terminal.screen()), "a bar for the whole and one for a file");
    client.expect("got 3 files: 6.0 MiB");
    client.expect("> ");
    assert!(!client.screen().contains('['), "{}", client.screen());
    client.type_line("QUIT");
    assert_eq!(client.end(), 0);
}

#[test]
fn the_bar_fits_terminals_that_are_narrow_and_that_are_resized() {
    let (server, directory) = (slow_server(), tempfile::tempdir().unwrap());
    let mut client = getting(&server, directory.path(), 30);
    client.expect("%");
    client.expect("%");
    // Each row is one of the prompt, the command, or the bar: nothing has run over into another row.
    let bars = client.screen().lines().filter(|row| row.contains('%')).count();
    assert_eq!(bars, 1, "{}", client.screen());
    client.resize((120, 24));
    client.expect("large.bin [");
    client.expect("%  ");
    client.resize((12, 24));
    client.expect("got large");
    client.expect("> ");
    client.type_line("QUIT");
    assert_eq!(client.end(), 0);
}

#[test]
fn the_smallest_terminals_get_what_fits() {
    let server = slow_server();
    random_file(&server.path("世界.bin"), seed(), 4 * MIB);
    for size in [(1, 1), (2, 2), (5, 1)] {
        let directory = tempfile::tempdir().unwrap();
        let mut client = Terminal::ferry_like(directory.path(), &[], &[], size);
        client.type_line(&format!("OPEN {}", server.address().port()));
        client.type_line("GET 世界.bin");
        client.type_line("QUIT");
        assert_eq!(client.end(), 0, "{size:?}");
        assert_eq!(fs::metadata(directory.path().join("client/世界.bin")).unwrap().len(), 4 * MIB);
    }
}

#[test]
fn without_a_terminal_there_is_nothing_or_a_line_now_and_then() {
    let (server, directory) = (slow_server(), tempfile::tempdir().unwrap());
    let port = server.address().port().to_string();
    let get = |arguments: &[&str]| {
        let mut command = Command::new(ferry());
        command.current_dir(directory.path()).env("XDG_CONFIG_HOME", directory.path());
        let output = command.args(["get", &port, "large.bin"]).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (said, silent) = get(&[]);
    assert!(said.starts_with("got large.bin: 6.0 MiB in "), "{said}");
    assert_eq!(silent, "");
    let (_, lines) = get(&["--progress", "lines=0.2"]);
    assert!(lines.lines().count() >= 2, "{lines}");
    assert!(lines.lines().all(|line| line.starts_with("large.bin: ")), "{lines}");
    assert!(lines.contains(" of 6.0 MiB, ") && !lines.contains('\x1b'), "{lines}");
    let (events, nothing) = get(&["--json", "--progress", "lines=0.2"]);
    assert_eq!(nothing, "");
    let progress: Vec<serde_json::Value> = events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(progress.len() >= 3, "{events}");
    assert_eq!((&progress[0]["event"], &progress[0]["size"]), (&"progress".into(), &(6 * MIB).into()));
    assert_eq!(progress[progress.len() - 1]["event"], "got");
    assert_eq!(fs::metadata(directory.path().join("large.bin")).unwrap().len(), 6 * MIB);
}

/// A client that is connected, at a server that has one large file and a small one.
fn limited(directory: &std::path::Path, rate: &str) -> (Server, Terminal) {
    let server = Server::start();
    random_file(&server.path("large.bin"), seed(), 64 * MIB);
    random_file(&server.path("small.bin"), seed(), MIB / 2);
    let mut client = Terminal::ferry_like(directory, &["--limit-rate", rate], &[], (120, 24));
    client.type_line(&format!("OPEN {}", server.address().port()));
    client.expect("connected");
    client.expect("> ");
    (server, client)
}

#[test]
fn keys_change_the_rate_of_a_transfer_that_runs() {
    let directory = tempfile::tempdir().unwrap();
    let (server, mut client) = limited(directory.path(), "256K");
    client.type_line("GET large.bin");
    client.expect("limit 0.3 MB/s)");
    client.send("+");
    client.expect("limit 0.5 MB/s)");
    client.send("=");
    client.expect("limit 1.0 MB/s)");
    client.send("-");
    client.expect("limit 0.5 MB/s)");
    // A line is typed ahead as ever, and the keys within it are text.
    client.type_line("LPWD");
    client.type_line("!echo a-+0b");
    client.send("0");
    client.expect("got large.bin: 64.0 MiB");
    client.expect("> LPWD\r\n");
    client.expect("> !echo a-+0b\r\n");
    client.expect("a-+0b");
    client.expect("> ");
    client.type_line("STATUS");
    let shown = client.expect("got so far");
    assert!(!shown.contains("limit of the rate"), "{shown}");
    client.expect("> ");
    client.type_line("HELP");
    client.expect("+ doubles the limit");
    client.type_line("QUIT");
    assert_eq!(client.end_of_both(), (0, true));
    assert!(fs::read(directory.path().join("client/large.bin")).unwrap() == server.read("large.bin"));
}

#[test]
fn a_line_that_was_begun_while_a_transfer_ran_is_gone_on_with() {
    let directory = tempfile::tempdir().unwrap();
    let (_server, mut client) = limited(directory.path(), "256K");
    client.type_line("GET small.bin");
    client.expect("limit 0.3 MB/s)");
    client.send("LPxx\x7f\x7f\x1b[A");
    client.expect("got small.bin");
    client.expect("> ");
    client.expect("LP");
    client.type_line("WD");
    client.expect("client");
    client.type_line("QUIT");
    assert_eq!(client.end_of_both(), (0, true));
}

#[test]
fn the_terminal_is_as_it_was_however_a_transfer_ends() {
    let directory = tempfile::tempdir().unwrap();
    let (_server, mut client) = limited(directory.path(), "64K");
    client.type_line("GET large.bin");
    client.expect("limit 66 kB/s)");
    client.send("LP");
    client.watch_until(|terminal| !terminal.takes_lines(), "keys are looked for");
    client.control_c();
    client.expect("interrupted");
    client.expect("> ");
    // What was typed before Ctrl-C is dropped.
    client.type_line("QUIT");
    assert_eq!(client.end_of_both(), (0, true));

    let directory = tempfile::tempdir().unwrap();
    let (_server, mut client) = limited(directory.path(), "64K");
    client.type_line("GET large.bin");
    client.expect("limit 66 kB/s)");
    client.signal(rustix::process::Signal::TERM);
    assert_eq!(client.end_of_both(), (128 + 15, true));

    // At the prompt, the line editor has the terminal.
    let directory = tempfile::tempdir().unwrap();
    let mut client = Terminal::ferry(directory.path(), &[]);
    client.send("LP");
    client.watch_until(|terminal| !terminal.takes_lines(), "a line is edited");
    client.signal(rustix::process::Signal::TERM);
    assert_eq!(client.end_of_both(), (128 + 15, true));
}
