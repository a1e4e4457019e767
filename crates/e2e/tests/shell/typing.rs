//! Helps for a person who types: Tab, hints, colours, terminals of all sizes.

use std::fs;

use ferry_e2e::{Options, Server};

use crate::{
    strangers,
    terminal::{Terminal, USUAL_SIZE},
};

/// The key that goes right.
const RIGHT: &str = "\x1b[C";

/// A server with names of several kinds, and a client that is connected to it.
fn connected(directory: &std::path::Path) -> (Server, Terminal, String) {
    let server = Server::start();
    server.write("poems/ozymandias.txt", b"I met a traveller");
    server.write("two words.txt", b"two words");
    server.write("two worlds.txt", b"two worlds");
    server.write("it's.txt", b"it is");
    server.write("a dir/in it", b"in");
    let mut client = Terminal::ferry(directory, &[]);
    client.type_line(&format!("OPEN {}", server.address().port()));
    let prompt = format!("ferry {}> ", server.address());
    client.expect(&prompt);
    (server, client, prompt)
}

#[test]
fn tab_completes_names_of_the_server() {
    let directory = tempfile::tempdir().unwrap();
    let (_server, mut client, prompt) = connected(directory.path());
    client.send("ge");
    client.tab("> get");
    client.send("po");
    client.tab("poems/");
    client.send("oz");
    client.tab("ozymandias.txt");
    client.type_line("");
    client.expect("got poems/ozymandias.txt: 17 bytes");
    client.expect(&prompt);
    // A name with spaces is completed as far as all go together; then all are shown.
    client.send("GET tw");
    client.tab("two\\ wor");
    client.tab("two worlds.txt");
    // There is more than one.
    client.expect("\x07");
    client.send("ds");
    client.tab("two\\ words.txt");
    client.type_line("");
    client.expect("got two words.txt: 9 bytes");
    client.expect(&prompt);
    client.send("GET it");
    client.tab("it\\'s.txt");
    client.type_line("");
    client.expect("got it's.txt: 5 bytes");
    client.expect(&prompt);
    // A directory is left open for more to come, and is a name all the same.
    client.send("CD a");
    client.tab("a\\ dir/");
    client.type_line("");
    client.expect("a dir> ");
    client.type_line("CD");
    client.expect(&prompt);
    client.send("GET -r 'a d");
    client.tab("'a dir/'");
    client.send("in");
    client.tab("'a dir/in it'");
    client.type_line("");
    client.expect("got a dir/in it: 2 bytes");
    client.expect(&prompt);
    client.send("CD 'a d");
    client.tab("'a dir/'");
    client.type_line("");
    client.expect("a dir> ");
    client.type_line("CD");
    client.expect(&prompt);
    client.type_line("QUIT");
    assert_eq!(client.end(), 0);
    let mut names: Vec<_> =
        fs::read_dir(directory.path().join("client")).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["in it", "it's.txt", "ozymandias.txt", "two words.txt"]);
}

#[test]
fn tab_completes_names_of_any_script_and_such_that_end_in_a_space() {
    let directory = tempfile::tempdir().unwrap();
    let (server, mut client, prompt) = connected(directory.path());
    let family = "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}.jpg";
    for name in [family, "نامه\u{200c}ها.txt", "odd end ", "semi;colon", "turned\u{202e}round"] {
        server.write(name, b"1");
    }
    for (begun, end, whole) in [
        ("GET \u{1f468}", ".jpg", family),
        ("GET نا", ".txt", "نامه\u{200c}ها.txt"),
        ("GET odd", "odd\\ end\\ ", "odd end "),
        ("GET odd\\ end\\ ", "odd\\ end\\ ", "odd end "),
        ("GET se", "semi\\;colon", "semi;colon"),
    ] {
        client.send(begun);
        client.tab(end);
        client.type_line("");
        client.expect(&format!("got {whole}: 1 byte"));
        client.expect(&prompt);
        client.send("\x0c");
        client.expect(&prompt);
    }
    // A name that could drive the terminal is still left out.
    client.send("GET turn\t");
    client.expect("\x07");
    client.send("\x15QUIT\r");
    assert_eq!(client.end(), 0);
}

#[test]
fn a_line_that_begins_with_a_space_is_not_remembered() {
    let directory = tempfile::tempdir().unwrap();
    let mut client = Terminal::ferry(directory.path(), &[]);
    for (line, said) in
        [("HELP OPEN", "Connect to a server"), (" HELP QUIT", "Leave; Ctrl-D"), ("HISTORY", "1  HELP OPEN")]
    {
        client.type_line(line);
        client.expect(said);
        client.expect("ferry> ");
    }
    assert!(
        !client.screen().contains("2   HELP QUIT") && client.screen().contains("2  HISTORY"),
        "{}",
        client.screen()
    );
    client.type_line("QUIT");
    assert_eq!(client.end(), 0);
    let kept = fs::read_to_string(directory.path().join("state/ferry/history")).unwrap();
    assert!(kept.contains("HELP OPEN") && !kept.contains("HELP QUIT"), "{kept}");
}

#[test]
fn tab_completes_local_names_and_hosts() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    fs::create_dir(here.join("config")).unwrap();
    fs::create_dir(here.join("config/ferry")).unwrap();
    let server = Server::start();
    let port = server.address().port();
    fs::write(here.join("config/ferry/config.toml"), format!("[bookmarks]\nharbour = \"localhost:{port}\"\n")).unwrap();
    fs::create_dir(here.join("client")).unwrap();
    fs::write(here.join("client/my own.txt"), "mine").unwrap();
    let mut client = Terminal::ferry(here, &[]);
    client.send("OPEN har");
    client.tab("harbour");
    client.type_line("");
    client.expect(&format!("connected to localhost:{port}"));
    client.expect("> ");
    client.send("PUT my");
    client.tab("my\\ own.txt");
    client.type_line("");
    client.expect("put my own.txt: 4 bytes");
    client.expect("> ");
    client.type_line("QUIT");
    assert_eq!(client.end(), 0);
    assert_eq!(server.read("my own.txt"), b"mine");
}

#[test]
fn a_server_that_does_not_answer_does_not_hold_the_prompt() {
    if ferry_e2e::secure::skips("not all of its servers are ferryd") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let slow = strangers::slow();
    let mut client = Terminal::ferry(directory.path(), &[]);
    client.type_line(&format!("OPEN {}", slow.port));
    client.expect(&format!("ferry 127.0.0.1:{}> ", slow.port));
    client.send("GET a\t");
    client.expect("\x07");
    // Ctrl-U drops what was typed.
    client.send("\x15");
    client.type_line("HELP QUIT");
    client.expect("Leave");
    client.expect("> ");
    client.type_line("QUIT");
    assert_eq!(client.end(), 0);
}

#[test]
fn slips_of_the_fingers_are_answered_with_what_was_meant() {
    let directory = tempfile::tempdir().unwrap();
    let (_server, mut client, prompt) = connected(directory.path());
    fs::write(directory.path().join("client/mine.txt"), "mine").unwrap();
    for (typed, meant) in [
        ("GTE a.txt", "did you mean GET?"),
        ("GET poems/ozymandius.txt", "did you mean poems/ozymandias.txt?"),
        ("GET 'two wrods.txt'", "did you mean 'two words.txt'?"),
        ("CD peoms", "did you mean poems?"),
        ("PUT mnie.txt", "did you mean mine.txt?"),
        ("RM poems/ozymandius.txt", "did you mean poems/ozymandias.txt?"),
        ("STAT poems/ozymandius.txt", "did you mean poems/ozymandias.txt?"),
        ("MV poems/ozymandius.txt x", "did you mean poems/ozymandias.txt?"),
        ("CAT poems/ozymandius.txt", "did you mean poems/ozymandias.txt?"),
        ("LS peoms", "did you mean poems?"),
        ("STAT two words.txt", "did you mean 'two words.txt'?"),
    ] {
        client.type_line(typed);
        client.expect(meant);
        client.expect(&prompt);
    }
    client.type_line("QUIT");
    assert_eq!(client.end(), 0);
}

#[test]
fn what_was_typed_before_is_offered_behind_the_cursor() {
    let directory = tempfile::tempdir().unwrap();
    let mut client = Terminal::ferry(directory.path(), &[]);
    client.type_line("HELP OPEN");
    client.expect("Connect to a server");
    client.expect("ferry> ");
    client.send("HEL");
    client.expect("\x1b[2mP OPEN\x1b[0m");
    client.send(RIGHT);
    client.type_line("");
    client.expect("Connect to a server");
    client.expect("ferry> ");
    // Behind a command: what it takes.
    client.send("CLO");
    client.tab("> CLOSE");
    client.send("\x15open ");
    client.expect("\x1b[2m[user@]host:port");
    client.send("\x15QUIT\r");
    assert_eq!(client.end(), 0);
}

#[test]
fn nobody_who_wants_no_colours_gets_any() {
    let directory = tempfile::tempdir().unwrap();
    let mut client = Terminal::ferry_like(directory.path(), &[], &[("NO_COLOR", "1")], USUAL_SIZE);
    client.type_line("HELP OPEN");
    client.expect("Connect to a server");
    client.expect("ferry> ");
    client.send("HEL");
    client.tab("> HELP");
    client.type_line("OPEN");
    client.expect("Connect to a server");
    client.expect("ferry> ");
    // What sets a colour or a weight ends in an m.
    let coloured = client
        .shown()
        .split("\x1b[")
        .skip(1)
        .any(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').starts_with('m'));
    assert!(!coloured, "{:?}", client.shown());
    client.type_line("QUIT");
    assert_eq!(client.end(), 0);
}

#[test]
fn the_shell_works_in_terminals_of_all_sizes() {
    let server = Server::start();
    server.write("a.txt", b"hello");
    for size in [(1, 1), (2, 2), (7, 3), (20, 5), (500, 200)] {
        let directory = tempfile::tempdir().unwrap();
        let mut client = Terminal::ferry_like(directory.path(), &[], &[], size);
        client.type_line(&format!("OPEN {}", server.address().port()));
        client.send("GET a\t\t");
        client.type_line("");
        client.send("\x15");
        client.type_line("GET a.txt");
        client.type_line("QUIT");
        assert_eq!(client.end(), 0, "{size:?}");
        assert_eq!(fs::read(directory.path().join("client/a.txt")).unwrap(), b"hello", "{size:?}");
    }
}

#[test]
fn a_person_is_asked_once_about_a_key() {
    if ferry_e2e::secure::skips("its key must not be known before") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let server = Options::new().arg("--tls").start();
    let (address, key) = (server.address(), server.fingerprint());
    let known = directory.path().join("config/ferry/known_servers");
    let mut client = Terminal::ferry(directory.path(), &[]);
    let ask = |client: &mut Terminal| {
        client.type_line(&format!("OPEN --tls {}", address.port()));
        client.expect(key);
        client.expect("(yes/no/fingerprint) ");
        assert!(!known.exists());
    };
    for answer in ["no", "", "\x03"] {
        ask(&mut client);
        match answer {
            // Ctrl-C is an answer of its own.
            "\x03" => client.send(answer),
            answer => client.type_line(answer),
        }
        client.expect(if answer == "\x03" { "interrupted" } else { "was not accepted" });
        client.expect("> ");
    }
    // What is neither is asked about again. The fingerprint is a yes.
    for answer in ["yes", key] {
        ask(&mut client);
        client.type_line("maybe");
        client.expect("Please type 'yes', 'no' or the fingerprint: ");
        client.type_line(&format!("SHA256:{}", "A".repeat(43)));
        client.expect("the fingerprint of another key. Please type");
        client.type_line(answer);
        client.expect("connected to");
        client.expect("> ");
        assert_eq!(fs::read_to_string(&known).unwrap(), format!("{address} {key}\n"));
        if answer == "yes" {
            client.type_line("CLOSE");
            client.expect("closed");
            fs::remove_file(&known).unwrap();
        }
    }
    client.type_line("CLOSE");
    client.expect("closed");
    // Not a second time; and Tab, with a connection of its own, does not ask either.
    server.write("ozymandias.txt", b"I met a traveller");
    client.type_line(&format!("OPEN {}", address.port()));
    client.expect(", TLS");
    client.expect(&format!("ferry {address}> "));
    client.send("GET oz");
    client.tab("ozymandias.txt");
    client.type_line("");
    client.expect("got ozymandias.txt: 17 bytes");
}
