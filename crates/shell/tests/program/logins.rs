//! Logging in: by the address, by LOGIN, and where the secret comes from.

use std::process::{Command, Stdio};

use expectrl::{ControlCode, Eof, Expect as _};

use crate::{
    shell::{Run, ferry},
    support::{Honest, Local},
    terminal::{at_terminal, at_terminal_with},
};

/// The program with one subcommand, and with `secret` in the environment where there is one.
fn one_shot(local: &Local, secret: Option<&str>, arguments: &[&str]) -> Command {
    let mut command = ferry(&local.path(""));
    command.env_remove("FERRY_SECRET").args(arguments);
    if let Some(secret) = secret {
        command.env("FERRY_SECRET", secret);
    }
    command
}

fn run(mut command: Command) -> Run {
    command.stderr(Stdio::piped()).output().unwrap().into()
}

#[test]
fn a_subcommand_logs_in_by_the_environment_and_shows_no_secret() {
    let (server, local) = (Honest::with_accounts(), Local::new());
    server.add("a", "hello");
    let host = format!("alice@{}", server.address);
    let log = local.path("log");
    let traced = ["--log-level", "trace", "--log-file", log.to_str().unwrap(), "-v"];
    let done = run(one_shot(&local, Some("hunter 2"), &[&["get", &host, "a"], &traced[..]].concat()));
    assert_eq!(done.status, 0, "{}", done.err);
    assert_eq!(std::fs::read(local.path("a")).unwrap(), b"hello");
    assert!(done.err.contains("> LOGIN alice ...\n"), "{}", done.err);
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("logged in as alice"), "{log}");
    for shown in [&done.err, &done.out, &log] {
        assert!(!shown.contains("hunter"), "{shown}");
    }

    let wrong = run(one_shot(&local, Some("wrong"), &["--retry", "5", "get", &host, "a"]));
    wrong.assert_failed(4, "cannot log in as alice: the server says: not for you (denied)");
    let wrong = run(one_shot(&local, Some("a\tb"), &["get", &host, "a"]));
    wrong.assert_failed(4, "cannot log in as alice: FERRY_SECRET: a secret has no control characters");
}

#[test]
fn without_a_secret_the_ways_to_give_one_are_named() {
    let (server, local) = (Honest::with_accounts(), Local::new());
    let missing = run(one_shot(&local, None, &["ls", &format!("alice@{}", server.address)]));
    missing.assert_failed(4, "FERRY_SECRET or a bookmark's secret_command gives it");
    let port = server.address.port().to_string();
    run(one_shot(&local, None, &["ls", &port])).assert_failed(4, "USER@ before the server logs in");
    run(one_shot(&local, None, &["-c", &format!("OPEN {port}; LS")])).assert_failed(4, "LOGIN user");
    let script = format!("OPEN {port}; LOGIN alice; LS; STATUS");
    let later = run(one_shot(&local, Some("hunter 2"), &["-c", &script]));
    assert_eq!((later.status, later.err.as_str()), (0, ""));
    assert_eq!(later.out.matches("logged in as alice").count(), 2, "{}", later.out);

    let plain = Honest::start();
    let none = run(one_shot(&local, Some("hunter 2"), &["ls", &format!("alice@{}", plain.address)]));
    none.assert_failed(4, "the server has no accounts, so the secret was not sent");
}

#[test]
fn a_secret_in_the_wrong_place_is_not_repeated() {
    let local = Local::new();
    for script in ["LOGIN alice hunter2", "OPEN alice:hunter2@localhost:1"] {
        let told = run(one_shot(&local, None, &["-c", script]));
        told.assert_failed(2, "a secret is typed when it is asked for");
        assert!(!told.err.contains("hunter2"), "{}", told.err);
    }
    let told = run(one_shot(&local, None, &["--json", "ls", "alice:hunter2@localhost:1"]));
    assert_eq!(told.status, 2);
    assert!(!told.err.contains("hunter2") && !told.out.contains("hunter2"), "{}{}", told.out, told.err);
}

#[test]
fn a_bookmark_has_a_user_and_a_command_that_prints_the_secret() {
    let (server, local) = (Honest::with_accounts(), Local::new());
    server.add("a", "hello");
    let with = |command: &str, host: &str| {
        let text = format!(
            "[bookmarks]\nhome = {{ address = '{}', user = 'alice', secret_command = \"{command}\" }}\n",
            server.address
        );
        let file = local.file("config.toml", text.as_bytes());
        // The last one counts.
        let arguments = ["--config", file.to_str().unwrap(), "--timeout", "5", "ls", host];
        run(one_shot(&local, None, &arguments))
    };
    let done = with("echo 'hunter 2'; echo more", "home");
    assert_eq!((done.status, done.out.as_str(), done.err.as_str()), (0, "a\n", ""));
    with("exit 7", "home").assert_failed(4, "cannot log in as alice: secret_command: exit status 7");
    // It prints the secret of another user.
    with("echo 'hunter 2'", "bob@home").assert_failed(4, "there is no terminal to ask for the secret");
}

#[test]
fn the_secret_is_typed_without_echo_and_kept_nowhere() {
    let (server, local) = (Honest::with_accounts(), Local::new());
    server.add("a", "hello");
    let mut session = at_terminal(&local);
    // Terminals of tests have none by themselves.
    session.send_line("!stty echo; stty -a").unwrap();
    session.expect(" echo ").unwrap();
    session.expect("> ").unwrap();
    session.send_line(format!("OPEN alice@{}", server.address.port())).unwrap();
    session.expect(format!("password of alice at {}: ", server.address)).unwrap();
    session.send_line("hunter 2").unwrap();
    let shown = session.expect(format!("ferry alice@{}> ", server.address)).unwrap();
    let shown = String::from_utf8_lossy(shown.before()).into_owned();
    assert!(shown.contains("logged in as alice") && !shown.contains("hunter"), "{shown}");
    session.send_line("LS").unwrap();
    session.expect("a\r\n").unwrap();
    session.expect("> ").unwrap();

    // Another one in the middle; Ctrl-C gives up the login alone.
    session.send_line("LOGIN").unwrap();
    session.expect("password of alice").unwrap();
    session.send_line("wrong one").unwrap();
    session.expect("LOGIN: cannot log in as alice").unwrap();
    session.expect("> ").unwrap();
    session.send_line("LOGIN bob").unwrap();
    session.expect("password of bob").unwrap();
    session.send(ControlCode::EndOfText).unwrap();
    session.expect("LOGIN: interrupted").unwrap();
    session.expect("> ").unwrap();
    // The echo is back.
    session.send_line("!stty -a").unwrap();
    session.expect(" echo ").unwrap();
    session.expect("> ").unwrap();
    session.send_line("LOGIN alice hunter 2").unwrap();
    session.expect("a secret is typed when it is asked for").unwrap();
    session.expect("> ").unwrap();
    session.send_line("HISTORY").unwrap();
    let told = session.expect("LOGIN bob\r\n").unwrap();
    assert!(!String::from_utf8_lossy(told.before()).contains("hunter"));
    session.expect("> ").unwrap();
    session.send_line("quit").unwrap();
    session.expect(Eof).unwrap();
    let history = std::fs::read_to_string(local.path("state/ferry/history")).unwrap();
    assert!(history.contains("LOGIN bob") && !history.contains("hunter") && !history.contains("wrong"), "{history}");
}

#[test]
fn a_login_without_a_name_asks_for_one_at_a_terminal_alone() {
    let (server, local) = (Honest::with_accounts(), Local::new());
    let mut session = at_terminal(&local);
    session.send_line(format!("OPEN {}", server.address.port())).unwrap();
    session.expect("> ").unwrap();
    session.send_line("LOGIN").unwrap();
    session.expect(format!("user at {}: ", server.address)).unwrap();
    session.send_line("not a name").unwrap();
    session.expect("LOGIN: the name of a user is").unwrap();
    session.expect("> ").unwrap();
    session.send_line("LOGIN").unwrap();
    session.expect("user at ").unwrap();
    session.send_line("alice").unwrap();
    session.expect("password of alice at ").unwrap();
    session.send_line("hunter 2").unwrap();
    session.expect("logged in as alice").unwrap();
    session.send_line("quit").unwrap();
    session.expect(Eof).unwrap();
    let script = format!("OPEN {}; LOGIN", server.address.port());
    run(one_shot(&local, None, &["-c", &script])).assert_failed(2, "LOGIN needs the name of the user");
}

#[test]
fn a_log_holds_no_keys_that_were_typed() {
    let local = Local::new();
    let log = local.path("log");
    let mut session = at_terminal_with(&local, &["--log-level", "trace", "--log-file", log.to_str().unwrap()]);
    session.send_line("LOGIN alice hunter2").unwrap();
    session.expect("a secret is typed when it is asked for").unwrap();
    session.expect("ferry> ").unwrap();
    session.send_line("quit").unwrap();
    session.expect(Eof).unwrap();
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("no history from") && !log.contains("key"), "{log}");
}
