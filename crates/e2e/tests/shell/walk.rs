//! The walk-through: two servers and a client, each at a terminal.

use std::{fs, os::unix::fs::symlink, path::Path};

use ferry_e2e::{Server, random_bytes, random_file, seed};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::{strangers, terminal::Terminal};

/// The names in a directory, sorted.
fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn open_get_put_close_open_another_get_quit() {
    if ferry_e2e::secure::skips("it starts its servers itself, at a terminal") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    // The directories that the programs choose themselves are made when missing.
    let (first_server, first_port) = Terminal::ferryd(here, &["0"]);
    let (second_server, second_port) = Terminal::ferryd(here, &["--root", "other", "0"]);
    assert_ne!(first_port, second_port);
    fs::write(here.join("server/welcome.txt"), "Welcome aboard!\n").unwrap();
    fs::write(here.join("other/second.txt"), "The other one.\n").unwrap();

    let mut client = Terminal::ferry(here, &[]);
    fs::write(here.join("client/mine.txt"), "My own words.\n").unwrap();
    client.type_line(&format!("OPEN {first_port}"));
    client.expect(&format!("connected to 127.0.0.1:{first_port}"));
    client.type_line("GET welcome.txt");
    client.expect("got welcome.txt: 16 bytes");
    client.type_line("PUT mine.txt");
    client.expect("put mine.txt: 14 bytes");
    client.type_line("close");
    client.expect("closed");
    client.type_line(&format!("open localhost:{second_port}"));
    client.expect(&format!("connected to localhost:{second_port}"));
    client.type_line("get second.txt");
    client.expect("got second.txt: 15 bytes");
    client.type_line("QUIT");
    assert_eq!(client.end(), 0);

    assert_eq!(fs::read_to_string(here.join("client/welcome.txt")).unwrap(), "Welcome aboard!\n");
    assert_eq!(fs::read_to_string(here.join("client/second.txt")).unwrap(), "The other one.\n");
    assert_eq!(fs::read_to_string(here.join("server/mine.txt")).unwrap(), "My own words.\n");
    assert_eq!(names(&here.join("client")), ["mine.txt", "second.txt", "welcome.txt"]);

    // Ctrl-C is how a person ends a server.
    for mut server in [first_server, second_server] {
        server.control_c();
        assert_eq!(server.end(), 0);
    }
}

#[test]
fn mistakes_get_one_clear_line_and_the_shell_goes_on() {
    if ferry_e2e::secure::skips("not all of its servers are ferryd") {
        return;
    }
    let server = Server::start();
    server.write("a.txt", b"hello");
    server.write("with space.txt", b"spaced");
    server.write("Grüße.txt", "Grüße".as_bytes());
    fs::create_dir(server.path("directory")).unwrap();
    symlink("/etc/passwd", server.path("link")).unwrap();
    mknodat(CWD, server.path("fifo"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let port = server.address().port();
    let free_port = strangers::port_of_nobody();

    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let mut client = Terminal::ferry(here, &["--timeout", "1"]);
    fs::create_dir(here.join("client/folder")).unwrap();
    mknodat(CWD, here.join("client/pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    fs::write(here.join("client/my own.txt"), "mine").unwrap();
    let before: [(String, String); 12] = [
        ("GET a.txt", "not connected: OPEN"),
        ("PUT 'my own.txt'", "not connected: OPEN"),
        ("CLOSE", "not connected: OPEN"),
        ("FROB", "unknown command 'FROB'"),
        ("OPEN", "OPEN needs an argument"),
        ("OPEN somewhere", "'somewhere' is neither a port nor host:port"),
        ("OPEN 99999", "99999 is no port"),
        ("OPEN 0", "0 is no port"),
        (
            &format!("OPEN {free_port}"),
            &format!("nobody listens on 127.0.0.1:{free_port}; to start a server there: ferryd {free_port}"),
        ),
        (&format!("OPEN {}", strangers::http()), "is no ferry server: it is a web server"),
        (&format!("OPEN {}", strangers::echo()), "is no ferry server: it sends back"),
        (&format!("OPEN {}", strangers::silent()), "is no ferry server: it said nothing"),
    ]
    .map(|(typed, said)| (typed.to_owned(), said.to_owned()));
    for (typed, said) in before {
        client.type_line(&typed);
        client.expect(&said);
        client.expect("ferry> ");
    }

    client.type_line(&format!("OPEN {port}"));
    let prompt = format!("ferry 127.0.0.1:{port}> ");
    client.expect(&prompt);
    for (typed, said) in [
        (&*format!("OPEN {port}"), "already connected"),
        ("GET", "GET needs an argument"),
        ("GET missing.txt", "GET missing.txt: the server has no such file or directory"),
        ("GET directory", "GET directory: that is a directory; GET -r directory fetches it"),
        ("GET fifo", "GET fifo: that is neither a file nor a directory"),
        ("GET link", "(denied)"),
        ("GET ../a.txt", "leads above the root"),
        ("GET /etc/passwd", "beneath the server's root"),
        ("GET .ferry-x", "belong to the server"),
        ("PUT missing.txt", "there is no such file"),
        ("PUT folder", "PUT folder: that is a directory; PUT -r folder sends it"),
        ("PUT pipe", "PUT pipe: that is a FIFO, not a file"),
        ("PUT ../state", "needs a name there: PUT ../state -> state"),
        ("GET with space.txt", "did you mean 'with space.txt'?"),
        // And what works.
        ("GET with\\ space.txt", "got with space.txt: 6 bytes"),
        ("GET Grüße.txt", "got Grüße.txt: 7 bytes"),
        ("PUT 'my own.txt'", "put my own.txt: 4 bytes"),
        ("GET a.txt", "got a.txt: 5 bytes"),
    ] {
        client.type_line(typed);
        client.expect(said);
        client.expect(&prompt);
    }
    client.control_d();
    assert_eq!(client.end(), 0);
    assert_eq!(names(&here.join("client")), ["Grüße.txt", "a.txt", "folder", "my own.txt", "pipe", "with space.txt"]);
    assert_eq!(server.read("my own.txt"), b"mine");
    assert_eq!(server.visible(), ["Grüße.txt", "a.txt", "directory", "fifo", "link", "my own.txt", "with space.txt"]);
}

#[test]
fn a_large_file_shows_progress_and_arrives_whole() {
    let server = Server::start();
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let seed = seed();
    random_file(&server.path("large"), seed, 48 << 20);
    let mut client = Terminal::ferry(here, &[]);
    client.type_line(&format!("OPEN {}", server.address().port()));
    client.expect("connected");
    client.type_line("GET large");
    client.expect("got large: 48.0 MiB");
    assert!(fs::read(here.join("client/large")).unwrap() == random_bytes(seed, 48 << 20));
    client.type_line("QUIT");
    assert_eq!(client.end(), 0);
}

#[test]
fn control_c_ends_the_transfer_and_not_the_shell() {
    if ferry_e2e::secure::skips("not all of its servers are ferryd") {
        return;
    }
    let slow = strangers::slow();
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let mut client = Terminal::ferry(here, &[]);
    fs::write(here.join("client/slow.bin"), "from an earlier day").unwrap();
    client.type_line(&format!("OPEN {}", slow.port));
    client.expect("connected");
    client.type_line("GET slow.bin");
    slow.wait_for_get();
    client.control_c();
    client.expect("interrupted");
    client.expect("> ");
    client.type_line("HELP QUIT");
    client.expect("Leave; Ctrl-D");
    client.expect("> ");
    // At the prompt it drops the line.
    client.control_c();
    client.expect("> ");
    client.type_line("QUIT");
    assert_eq!(client.end(), 0);
    assert_eq!(names(&here.join("client")), ["slow.bin"]);
    assert_eq!(fs::read_to_string(here.join("client/slow.bin")).unwrap(), "from an earlier day");
}

#[test]
fn a_server_that_goes_away_is_said_so_and_another_can_be_opened() {
    let (server, other) = (Server::start(), Server::start());
    other.write("a.txt", b"hello");
    let directory = tempfile::tempdir().unwrap();
    // The default of five would be waited for to its end.
    let mut client = Terminal::ferry(directory.path(), &["--retry", "1"]);
    client.type_line(&format!("OPEN {}", server.address().port()));
    client.expect("connected");
    assert_eq!(server.terminate().code(), Some(0));
    client.type_line("GET a.txt");
    client.expect("OPEN 127.0.0.1");
    client.expect("ferry> ");
    client.type_line(&format!("OPEN {}", other.address().port()));
    client.expect("connected");
    client.type_line("GET a.txt");
    client.expect("got a.txt: 5 bytes");
    client.type_line("QUIT");
    assert_eq!(client.end(), 0);
}

#[test]
fn the_history_is_kept_between_runs() {
    let server = Server::start();
    server.write("a.txt", b"hello");
    let directory = tempfile::tempdir().unwrap();
    let mut first = Terminal::ferry(directory.path(), &[]);
    first.type_line(&format!("OPEN {}", server.address().port()));
    first.expect("connected");
    first.type_line("QUIT");
    assert_eq!(first.end(), 0);

    let mut second = Terminal::ferry(directory.path(), &[]);
    second.up();
    second.expect("QUIT");
    second.up();
    second.type_line("");
    second.expect("connected to 127.0.0.1");
    second.type_line("GET a.txt");
    second.expect("got a.txt: 5 bytes");
    // Before the prompt the line editor does not listen yet, and the terminal would swallow the key.
    second.expect("> ");
    second.control_d();
    assert_eq!(second.end(), 0);
}

#[test]
fn the_shell_stays_usable_whatever_fails_when_the_server_has_gone() {
    let (server, other) = (Server::start(), Server::start());
    other.write("d/a.txt", b"hello");
    let directory = tempfile::tempdir().unwrap();
    let mut client = Terminal::ferry(directory.path(), &["--retry", "0"]);
    client.type_line(&format!("OPEN {}", server.address().port()));
    client.expect("connected");
    client.expect("> ");
    assert_eq!(server.terminate().code(), Some(0));
    client.type_line("LS");
    client.expect("OPEN 127.0.0.1");
    client.expect("ferry> ");
    for command in [
        "LS",
        "CD d",
        "PWD",
        "STAT a",
        "SUM a",
        "LESS a",
        "EDIT a",
        "FIND",
        "TREE a",
        "DU",
        "DF",
        "HEALTH",
        "MKDIR a",
        "RM a",
        "MV a b",
        "GET *",
        "GET -r a",
        "GET a -> -",
        "PUT -r a",
        "SYNC -u .",
        "SYNC -d .",
    ] {
        client.type_line(command);
        client.expect("not connected: OPEN <port> first");
        client.expect("ferry> ");
    }
    client.type_line("LCD nowhere");
    client.expect("there is no directory");
    client.expect("ferry> ");
    client.type_line("!exit 3");
    client.expect("exit status 3");
    client.expect("ferry> ");
    client.type_line(&format!("OPEN {}", other.address().port()));
    client.expect("connected");
    client.expect("> ");
    client.type_line("CD d");
    client.expect("/d> ");
    client.type_line("GET -r .");
    client.expect("got 1 file: 5 bytes");
    client.expect("/d> ");
    client.type_line("QUIT");
    assert_eq!(client.end(), 0);
}
