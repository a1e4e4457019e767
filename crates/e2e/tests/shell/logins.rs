//! Logins of the built program at the built server.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use ferry_e2e::{Options, random_bytes};
use rustix::process::Signal;

use crate::{place::Place, terminal::Terminal};

/// Of "password"; the hash is cheap.
const USERS: &str = r#"
[anonymous]
rights = { "open" = "r" }
[users.alice]
password = "$argon2id$v=19$m=32,t=1,p=1$c29tZXNhbHQ$MBqPu0xZXFIeZ1LJialS1H4ezQY9ie689ohyiGdbVMg"
rights = { "" = "rw", "private" = "none" }
"#;

#[test]
fn who_logs_in_sees_and_does_what_that_user_may() {
    let directory = tempfile::tempdir().unwrap();
    let users = directory.path().join("users.toml");
    fs::write(&users, USERS).unwrap();
    fs::set_permissions(&users, fs::Permissions::from_mode(0o600)).unwrap();
    let place = Place::with(Options::new().arg("--users").arg(&users));
    for name in ["open", "mine", "private"] {
        fs::create_dir(place.server.path(name)).unwrap();
        place.server.write(&format!("{name}/f"), name.as_bytes());
    }
    let large = random_bytes(7, 20 << 20);
    place.server.write("mine/large", &large);
    place.write("a", b"hello");
    let said = place.run("LS; GET mine/f").failed(4, "nobody has logged in: LOGIN user");
    assert_eq!(said, "open/\n");

    let as_alice = |secret: &str, commands: &str| {
        let address = place.server.address();
        let mine = format!("{{ address = '{address}', user = 'alice', secret_command = 'echo {secret}' }}");
        let config = directory.path().join("config.toml");
        fs::write(&config, format!("[bookmarks]\nmine = {mine}\n")).unwrap();
        let arguments = ["--parallel", "3", "--config", config.to_str().unwrap()];
        place.run_with(&arguments, &format!("CLOSE; OPEN mine; {commands}"), b"")
    };
    // Over several connections, each of which has to log in.
    let said = as_alice("password", "LS; GET mine/large; PUT a -> mine/a; STATUS").fine();
    assert!(said.contains(", logged in as alice)\nmine/\nopen/\n"), "{said}");
    assert_eq!(fs::read(place.local("large")).unwrap(), large);
    assert_eq!(place.server.read("mine/a"), b"hello");
    let said = as_alice("password", "GET private/f").failed(4, "(denied)");
    assert!(!said.contains("LOGIN"), "{said}");
    as_alice("wrong", "LS").failed(4, "cannot log in as alice: the server says: ");
    assert!(!place.server.log().contains("wrong") && !place.server.log().contains("password"));
}

#[test]
fn a_terminal_echoes_again_whatever_ends_the_question_for_a_secret() {
    let directory = tempfile::tempdir().unwrap();
    let users = directory.path().join("users.toml");
    fs::write(&users, USERS).unwrap();
    fs::set_permissions(&users, fs::Permissions::from_mode(0o600)).unwrap();
    let server = Options::new().arg("--users").arg(&users).start();
    let script = "stty echo; \"$@\"; echo status $?";
    for times in [1, 2] {
        let arguments = ["-c", script, "bash", ferry_e2e::ferry().to_str().unwrap()];
        let mut terminal = Terminal::run(Path::new("bash"), directory.path(), &arguments, &[]);
        terminal.expect("ferry> ");
        terminal.type_line(&format!("OPEN alice@127.0.0.1:{}", server.address().port()));
        terminal.expect("password of alice at ");
        terminal.watch_until(|terminal| !terminal.echoes(), "the secret is not shown");
        terminal.signal_child(Signal::TERM, times);
        terminal.expect("status 143");
        assert!(terminal.echoes(), "after {times}");
        assert_eq!(terminal.end(), 0);
    }
}

#[test]
fn an_upload_that_replaces_nothing_leaves_what_is_there() {
    let place = Place::new();
    place.write("a", b"hello");
    place.server.write("taken", b"theirs");
    place.run("PUT --no-clobber a").fine();
    place.run("PUT --no-clobber a").failed(4, "the server has something of that name already");
    place.run("PUT --no-clobber a -> taken").failed(4, "the server has something of that name already");
    let shell = ["put", &place.server.address().to_string(), "--no-clobber", "-", "-o"].map(str::to_owned);
    for (name, status) in [("new", 0), ("taken", 4)] {
        let mut command = std::process::Command::new(ferry_e2e::ferry());
        command.args(&shell).arg(name).stdin(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
        let mut child = command.spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"piped").unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(status), "{name}");
    }
    let read = |name: &str| place.server.read(name);
    assert_eq!((read("a"), read("taken"), read("new")), (b"hello".to_vec(), b"theirs".to_vec(), b"piped".to_vec()));
}

#[test]
fn a_drop_box_takes_what_is_put_into_it() {
    let directory = tempfile::tempdir().unwrap();
    let users = directory.path().join("users.toml");
    fs::write(&users, "[anonymous]\nrights = { \"inbox\" = \"drop\", \"open\" = \"r\" }\n").unwrap();
    fs::set_permissions(&users, fs::Permissions::from_mode(0o600)).unwrap();
    let place = Place::with(Options::new().arg("--users").arg(&users));
    fs::create_dir(place.server.path("inbox")).unwrap();
    place.write("a", b"hello");
    fs::create_dir_all(place.local("d/e")).unwrap();
    place.write("d/e/b", b"deep");
    place
        .run("PUT a -> inbox; PUT a -> inbox/b; PUT -r d -> inbox; CD inbox; PUT a -> c; PUT --no-clobber a -> e")
        .fine();
    for name in ["a", "b", "c", "e"] {
        assert_eq!(place.server.read(&format!("inbox/{name}")), b"hello", "{name}");
    }
    assert_eq!(place.server.read("inbox/d/e/b"), b"deep");
    // Directories that are there already are as good, and files are not replaced.
    place.write("d/e/new", b"new");
    place.run("PUT -k -r d -> inbox").failed(4, "PUT: 1 failed, the rest is done");
    assert_eq!(place.server.read("inbox/d/e/new"), b"new");
    place.run("CD inbox; LS").failed(4, "(denied)");
    place.run("CD none").failed(4, "(denied)");
}
