//! `ferryd user`: at a terminal, from a pipe, and where things go wrong.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use ferry_e2e::ferryd;
use ferry_server::access::{Secret, UserName, Users};
use tempfile::TempDir;

use super::terminal::Terminal;

/// A directory with a users file in it.
fn place(text: &str) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("users.toml");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    (directory, path)
}

fn command(path: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(ferryd());
    command.arg("user").args(words).arg("--users").arg(path);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(path: &Path, words: &[&str]) -> Output {
    command(path, words).output().unwrap()
}

/// Runs it with `input` as its standard input.
fn run_with(path: &Path, words: &[&str], input: &[u8]) -> Output {
    let mut child = command(path, words).stdin(Stdio::piped()).spawn().unwrap();
    // It may have failed before it read anything.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

/// Runs it at a terminal that echoes, by a shell's `script`, for which it is `"$@"`.
fn at_terminal(directory: &Path, script: &str, words: &[&str]) -> Terminal {
    let script = format!("stty echo; {script}");
    let before = ["-c", &script, "bash", ferryd().to_str().unwrap(), "user"];
    Terminal::run(Path::new("bash"), directory, &[&before, words].concat(), &[])
}

#[track_caller]
fn works(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Returns the error that it printed; it must have failed.
#[track_caller]
fn fails(output: &Output) -> String {
    assert_eq!((output.status.code(), &*output.stdout), (Some(1), &b""[..]), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn knows(path: &Path, user: &str, secret: &str) -> bool {
    let (users, _) = Users::load(path).unwrap();
    users.check(&UserName::new(user).unwrap(), &Secret::from_bytes(secret.as_bytes()).unwrap()).unwrap()
}

#[test]
fn a_password_is_typed_twice_and_never_shown() {
    let directory = tempfile::tempdir().unwrap();
    let words = ["add", "alice", "--rights", "r", "--rights", "in box=drop"];
    let mut terminal = at_terminal(directory.path(), "\"$@\"; echo status $?", &words);
    terminal.expect("new password of alice: ");
    assert!(!terminal.echoes());
    terminal.type_line("Grüße, two words ");
    terminal.expect("the same again: ");
    terminal.type_line("something else");
    terminal.expect("they differ");
    terminal.expect("new password of alice: ");
    terminal.type_line("Grüße, two words ");
    terminal.expect("the same again: ");
    terminal.type_line("Grüße, two words ");
    terminal.expect("alice is in ");
    terminal.expect("again on SIGHUP");
    terminal.expect("status 0");
    assert!(terminal.echoes());
    assert!(!terminal.shown().contains("words") && !terminal.shown().contains("else"), "{:?}", terminal.shown());
    assert_eq!(terminal.end(), 0);
    let config = directory.path().join("config/ferryd");
    let path = config.join("users.toml");
    assert!(knows(&path, "alice", "Grüße, two words ") && !knows(&path, "alice", "Grüße, two words"));
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.ends_with("rights = { \"\" = \"r\", \"in box\" = \"add\" }\n"), "{text}");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&config)), (0o600, 0o700));
}

#[test]
fn a_terminal_that_was_interrupted_or_stopped_echoes_again() {
    const TEXT: &str = "[users.alice]\n";
    let (directory, path) = place(TEXT);
    let words = ["passwd", "alice", "--users", path.to_str().unwrap()];
    let mut terminal = at_terminal(directory.path(), "trap : INT; \"$@\"; echo status $?", &words);
    terminal.expect("new password of alice: ");
    assert!(!terminal.echoes());
    terminal.type_line("a secret");
    terminal.expect("the same again: ");
    terminal.send("half a sec");
    terminal.control_c();
    terminal.expect("status 130");
    assert!(terminal.echoes());
    assert_eq!(terminal.end(), 0);
    let script = "set -m; \"$@\"; echo stopped; read line; fg; echo status $?";
    let mut terminal = at_terminal(directory.path(), script, &words);
    terminal.expect("new password of alice: ");
    terminal.send("half a sec");
    terminal.control_z();
    terminal.expect("stopped\r\n");
    assert!(terminal.echoes());
    assert_eq!(fs::read_to_string(&path).unwrap(), TEXT);
    terminal.type_line("go on");
    // It asks again when it goes on, and forgets what was typed before.
    terminal.expect("new password of alice: ");
    assert!(!terminal.echoes());
    terminal.type_line("a secret");
    terminal.expect("the same again: ");
    terminal.type_line("a secret");
    terminal.expect("status 0");
    assert!(terminal.echoes());
    assert!(!terminal.shown().contains("sec"), "{:?}", terminal.shown());
    assert_eq!(terminal.end(), 0);
    assert!(knows(&path, "alice", "a secret"));
}

#[test]
fn nothing_typed_changes_nothing() {
    const TEXT: &str = "[users.alice]\n";
    let (directory, path) = place(TEXT);
    let words = ["passwd", "alice", "--users", path.to_str().unwrap()];
    for (typed, told) in
        [("\u{4}", "no password was typed"), ("\r", "a secret is not empty"), ("\u{b}\r", "control characters")]
    {
        let mut terminal = at_terminal(directory.path(), "\"$@\"; echo status $?", &words);
        terminal.expect("new password of alice: ");
        terminal.send(typed);
        terminal.expect(told);
        terminal.expect("status 1");
        assert!(terminal.echoes());
        assert_eq!(terminal.end(), 0);
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), TEXT);
}

#[test]
fn a_password_from_a_pipe_is_one_line() {
    let (_directory, path) = place("# of the lab\n[users.alice] # she\n");
    for (input, secret) in [
        (&b"hunter2\n"[..], "hunter2"),
        (b"a b \r\n", "a b "),
        (b"no end", "no end"),
        (&[b'x'; 4000][..], &*"x".repeat(4000)),
    ] {
        works(&run_with(&path, &["passwd", "alice"], input));
        assert!(knows(&path, "alice", secret));
    }
    let before = fs::read_to_string(&path).unwrap();
    assert!(before.starts_with("# of the lab\n[users.alice] # she\npassword = \"$argon2id$v=19$"), "{before}");
    for (input, told) in [
        (&b""[..], "a secret is not empty"),
        (b"\n", "a secret is not empty"),
        (b"one\ntwo\n", "more than one line"),
        (b"a\tb\n", "no control characters"),
        (b"a\xff\n", "a secret is UTF-8"),
        (&[b'x'; 4001][..], "at most 4000 bytes"),
        (&[b'x'; 100_000][..], "at most 4000 bytes"),
    ] {
        let said = fails(&run_with(&path, &["passwd", "alice"], input));
        assert!(said.contains(told) && said.contains("nothing was changed"), "{said}");
        assert_eq!(fs::read_to_string(&path).unwrap(), before);
    }
}

#[test]
fn a_token_is_shown_once_and_can_be_taken_away() {
    let (_directory, path) = place("[users.alice]\ntokens = [] # none yet\n");
    let tokens: Vec<_> = (0..2).map(|_| works(&run(&path, &["token", "alice"]))).collect();
    for token in &tokens {
        let token = token.strip_suffix('\n').unwrap();
        assert!(token.len() == 32 && token.bytes().all(|byte| byte.is_ascii_hexdigit()), "{token:?}");
        assert!(knows(&path, "alice", token));
        assert!(!fs::read_to_string(&path).unwrap().contains(token), "only its hash is kept");
    }
    let listed = works(&run(&path, &["list"]));
    let hash = listed.split("token ").nth(1).unwrap().split("...").next().unwrap();
    assert_eq!(hash.len(), "sha256:01234567".len(), "{listed}");
    assert!(fails(&run(&path, &["token", "alice", "--revoke", "sha256:"])).contains("no token of alice"));
    works(&run(&path, &["token", "alice", "--revoke", hash]));
    assert!(!knows(&path, "alice", tokens[0].trim()) && knows(&path, "alice", tokens[1].trim()));
    assert!(fails(&run(&path, &["token", "alice", "--revoke", hash])).contains("no token of alice"));
    assert!(fs::read_to_string(&path).unwrap().ends_with("] # none yet\n"));
    // A token that nobody could read says how to get rid of it.
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = command(&path, &["token", "alice"]).stdout(full).output().unwrap();
    let said = fails(&output);
    let way_out = said.split("take it away again: ferryd user ").nth(1).unwrap().trim();
    works(&run(&path, &way_out.split(' ').collect::<Vec<_>>()));
}

#[test]
fn users_come_and_go_and_are_listed() {
    let (_directory, path) = place("[anonymous]\nrights = { \"\" = \"r\" }\n\n# the first\n[users.bob]\n\n# the end\n");
    works(&run(&path, &["add", "alice", "--no-password", "--rights", "r", "--rights", "a=b=rw"]));
    works(&run(&path, &["add", "carol", "--no-password"]));
    assert_eq!(
        works(&run(&path, &["list"])),
        "who has not logged in: \"\" = r\nalice: can't log in; \"\" = r, \"a=b\" = rw\nbob: can't log in; no rights\n\
         carol: can't log in; no rights\n"
    );
    works(&run(&path, &["remove", "bob"]));
    let text = fs::read_to_string(&path).unwrap();
    assert!(!text.contains("bob") && !text.contains("the first") && text.contains("# the end\n"), "{text}");
    for (words, told) in [
        (&["add", "alice", "--no-password"][..], "there is a user alice in"),
        (&["remove", "bob"], "there is no user bob in"),
        (&["passwd", "bob"], "there is no user bob in"),
        (&["token", "bob"], "there is no user bob in"),
        (&["add", "eve", "--no-password", "--rights", "r", "--rights", "w"], "names one place twice"),
    ] {
        let said = fails(&run(&path, words));
        assert!(said.starts_with("ferryd: ") && said.contains(told), "{said}");
    }
    for (words, told) in [
        (&["add", "a b"][..], "the name of a user is 1 to 64"),
        (&["add", "a", "--rights", "x"], "'x' is no right"),
        (&["add", "a", "--rights", "../x=r"], "no component"),
        (&["frob"], "unrecognized subcommand"),
    ] {
        let output = run(&path, words);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && said.contains(told), "{said}");
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn a_file_that_makes_no_sense_is_left_alone() {
    const TEXT: &str = "[users.alice]\nrights = { \"\" = \"r\" }\n\n[users.bob]\nrigths = {}\n";
    let (_directory, path) = place(TEXT);
    for words in [&["list"][..], &["remove", "alice"], &["token", "alice"], &["add", "eve", "--no-password"]] {
        let said = fails(&run(&path, words));
        assert!(said.contains(&format!("{}:5: users.bob.rigths: there is no such key", path.display())), "{said}");
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), TEXT);
    fs::remove_file(&path).unwrap();
    for words in [&["list"][..], &["remove", "alice"]] {
        assert!(fails(&run(&path, words)).contains("'ferryd user add NAME' makes it"));
    }
}

#[test]
fn a_file_that_others_may_read_is_told_of() {
    let (_directory, path) = place("[users.alice]\n");
    assert!(!String::from_utf8(run(&path, &["list"]).stderr).unwrap().contains("chmod"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let output = run(&path, &["token", "alice"]);
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("others may read it (mode 0644): chmod 600"),
        "{output:?}"
    );
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644, "that is for its owner to change");
}

#[test]
fn a_write_that_fails_leaves_the_old_file_and_nothing_else() {
    const TEXT: &str = "[users.alice]\n[users.bob]\n";
    let (directory, path) = place(TEXT);
    let script = "ulimit -f 0; exec \"$0\" user remove alice --users \"$1\"";
    let output = Command::new("sh").args(["-c", script]).arg(ferryd()).arg(&path).output().unwrap();
    let said = fails(&output);
    assert!(said.contains("can't write in") && said.contains("nothing was changed"), "{said}");
    assert_eq!(fs::read_to_string(&path).unwrap(), TEXT);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    // Nobody may make a file there, whoever one is.
    let said = fails(&run(Path::new("/sys/users.toml"), &["add", "eve", "--no-password"]));
    assert!(said.contains("can't write in /sys"), "{said}");
    let said = fails(&run(Path::new("/nowhere/users.toml"), &["add", "eve", "--no-password"]));
    assert!(said.contains("can't open the directory /nowhere"), "{said}");
}

#[test]
fn edits_at_one_time_and_through_a_link_are_all_there() {
    let (directory, path) = place("# the head\n");
    let link = directory.path().join("link.toml");
    symlink("users.toml", &link).unwrap();
    let names: Vec<_> = (0..6).map(|at| format!("user{at}")).collect();
    let children: Vec<_> = names
        .iter()
        .zip([&path, &link].into_iter().cycle())
        .map(|(name, file)| command(file, &["add", name, "--no-password"]).spawn().unwrap())
        .collect();
    for child in children {
        works(&child.wait_with_output().unwrap());
    }
    let (users, _) = Users::load(&path).unwrap();
    assert_eq!(users.names().iter().map(|name| name.as_str()).collect::<Vec<_>>(), names);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(fs::read_to_string(&path).unwrap().starts_with("# the head\n"));
}
