//! Accounts, by the built server: who may log in, and what each may do.
// A test fails by panicking, in its helpers as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod limits;
mod rights;

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use ferry_e2e::{Options, Raw, Server, body, eventually, ferryd};
use rustix::process::Signal;
use tempfile::TempDir;

/// The password is "password", and its hash cheap.
const PASSWORD: &str = "$argon2id$v=19$m=32,t=1,p=1$c29tZXNhbHQ$MBqPu0xZXFIeZ1LJialS1H4ezQY9ie689ohyiGdbVMg";

/// A directory with a users file in it.
pub(crate) struct Place {
    _directory: TempDir,
    path: PathBuf,
}

impl Place {
    pub(crate) fn new(text: &str) -> Place {
        let directory = tempfile::tempdir().unwrap();
        let place = Place { path: directory.path().join("users.toml"), _directory: directory };
        place.write(text);
        place
    }

    /// Puts another file in its place, as an editor does.
    fn write(&self, text: &str) {
        let new = self.path.with_extension("new");
        fs::write(&new, text).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(&new, &self.path).unwrap();
    }

    pub(crate) fn options(&self) -> Options {
        Options::new().arg("--users").arg(&self.path)
    }

    pub(crate) fn server(&self) -> Server {
        self.options().arg("--durability").arg("none").start()
    }
}

/// Alice and bob have the same password.
fn users(alice: &str, bob: &str) -> String {
    format!(
        "[anonymous]\nrights = {{ \"open\" = \"r\" }}\n\
         [users.alice]\npassword = \"{PASSWORD}\"\nrights = {alice}\n\
         [users.bob]\npassword = \"{PASSWORD}\"\nrights = {bob}\n"
    )
}

fn served(place: &Place) -> Server {
    let server = place.server();
    for name in ["open", "inbox", "private"] {
        fs::create_dir(server.path(name)).unwrap();
        server.write(&format!("{name}/f"), name.as_bytes());
    }
    fs::create_dir(server.path("inbox/d")).unwrap();
    server
}

const ALICE: &str = "{ \"\" = \"rw\", \"private\" = \"none\", \"inbox\" = \"drop\" }";

fn names(raw: &mut Raw, request: &str) -> Vec<String> {
    let listing = String::from_utf8(raw.ask(request).verified()).unwrap();
    let mut names: Vec<_> = listing.lines().map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_login_takes_effect_in_order_and_what_is_behind_it_waits() {
    let server = served(&Place::new(&users(ALICE, "{}")));
    let mut raw = Raw::connect(server.address());
    let greeting = raw.line();
    assert!(greeting.split(' ').any(|word| word == "login"), "{greeting}");
    let mut sent = b"PUT 1 - a\n".to_vec();
    sent.extend(body(b"x", 1));
    sent.extend(b"GET open/f\nSTAT inbox/f\nLIST\nLOGIN alice password\nPUT 1 - a\n");
    sent.extend(body(b"x", 1));
    sent.extend(b"LOGIN bob password\nGET a\n");
    raw.send(sent);
    raw.answer("PUT").expect_failure("denied");
    assert_eq!(raw.answer("GET").verified(), b"open");
    raw.answer("STAT").expect_failure("denied");
    assert!(String::from_utf8(raw.answer("LIST").verified()).unwrap().ends_with(" open\n"));
    assert_eq!(raw.answer("LOGIN").line, "DONE");
    assert_eq!(raw.answer("PUT").word(0), "SAVED");
    assert_eq!(raw.answer("LOGIN").line, "DONE");
    raw.answer("GET").expect_failure("denied");
}

#[test]
fn what_one_may_not_do_is_denied_and_not_shown() {
    let server = served(&Place::new(&users(ALICE, "{}")));
    let mut raw = Raw::greeted(server.address());
    assert_eq!(raw.ask("LOGIN alice password").line, "DONE");
    assert_eq!(names(&mut raw, "LIST"), ["inbox", "open"]);
    for request in ["LIST private", "STAT private", "GET private/f", "GET private/no", "LIST inbox", "GET inbox/f"] {
        raw.ask(request).expect_failure("denied");
    }
    for request in ["DELETE inbox/f", "DELETE inbox/no", "RENAME open//private/x", "MKDIR private/x"] {
        raw.ask(request).expect_failure("denied");
    }
    // Who may only add is not told what is there, but that a name is taken.
    raw.put("inbox/f", b"x").expect_failure("denied");
    raw.put("inbox/d", b"x").expect_failure("denied");
    assert_eq!(raw.put("inbox/new", b"x").word(0), "SAVED");
    raw.put("inbox/new", b"y").expect_failure("denied");
    raw.ask("MKDIR inbox/d").expect_failure("exists");
    assert_eq!((server.read("inbox/f"), server.read("inbox/new")), (b"inbox".to_vec(), b"x".to_vec()));
}

#[test]
fn an_upload_can_ask_for_a_version_to_replace() {
    let server = Server::start();
    server.write("a", b"first");
    let mut raw = Raw::connect(server.address());
    assert!(raw.line().split(' ').any(|word| word == "with-if-tag"));
    let first = raw.ask("STAT a").word(3).to_owned();
    raw.send(format!("WITH if={first}\n"));
    let second = raw.put("a", b"second").word(3).to_owned();
    raw.send(format!("WITH if={first}\n"));
    raw.put("a", b"third").expect_failure("changed");
    raw.send(format!("WITH if={second}\n"));
    raw.put("b", b"third").expect_failure("changed");
    // Decided at the end: of two that begin at once, one wins.
    let mut other = Raw::connect(server.address());
    other.line();
    raw.send(format!("WITH if={second}\nRESUME up2 1 - a\n"));
    assert_eq!(raw.answer("GO").line, "GO 0");
    other.send(format!("WITH if={second}\n"));
    assert_eq!(other.put("a", b"o").word(0), "SAVED");
    raw.send(body(b"z", 1));
    raw.answer("RESUME").expect_failure("changed");
    assert_eq!(server.read("a"), b"o");
    assert!(!server.path("b").exists());
    raw.send(format!("WITH if={second}\n"));
    raw.ask("DELETE a").expect_failure("unsupported");
}

#[test]
fn an_upload_can_ask_for_a_free_name() {
    let server = Server::start();
    let mut raw = Raw::connect(server.address());
    assert!(raw.line().split(' ').any(|word| word == "with-if"));
    for (name, expected) in [("a", "SAVED"), ("a", "FAIL"), ("b", "SAVED")] {
        raw.send("WITH if=none\n");
        let answer = raw.put(name, b"x");
        assert_eq!(answer.word(0), expected, "{name}");
        if expected == "FAIL" {
            answer.expect_failure("exists");
        }
    }
    fs::create_dir(server.path("d")).unwrap();
    raw.send("WITH if=none\n");
    raw.put("d", b"x").expect_failure("exists");
    // It is for one request, and for uploads alone.
    assert_eq!(raw.put("a", b"y").word(0), "SAVED");
    raw.send("WITH if=none\n");
    raw.ask("STAT a").expect_failure("unsupported");
    raw.send("WITH if=none\nWITH if=all\n");
    raw.put("c", b"x").expect_failure("unsupported");
    raw.send("WITH if=none\n");
    assert_eq!(raw.ask("RESUME up1 1 - a").line, "GO 0");
    raw.send(body(b"z", 1));
    raw.answer("RESUME").expect_failure("exists");
    assert_eq!(server.read("a"), b"y");
}

#[test]
fn a_wrong_secret_and_an_unknown_user_are_told_the_same_and_the_third_failure_closes() {
    let server = served(&Place::new(&users(ALICE, "{}")));
    let mut raw = Raw::greeted(server.address());
    assert_eq!(raw.ask("LOGIN alice password").line, "DONE");
    let wrong = raw.ask("LOGIN bob Password");
    let unknown = raw.ask("LOGIN mallory password");
    wrong.expect_failure("denied");
    assert_eq!(wrong.line, unknown.line);
    // A login that fails changes nothing.
    assert_eq!(raw.ask("STAT open/f").word(0), "FILE");
    raw.send("LOGIN alice x\nSTAT open/f\n");
    raw.answer("LOGIN").expect_failure("denied");
    raw.expect_eof();
    let log = eventually("three lines", || Some(server.log()).filter(|log| log.matches("login failed").count() == 3));
    assert!(log.contains("login failed from 127.0.0.1 as \"mallory\""), "{log}");
    assert!(!log.contains("Password"), "{log}");
}

#[test]
fn a_reload_counts_for_open_connections_and_an_invalid_file_changes_nothing() {
    let place = Place::new(&users(ALICE, "{ \"\" = \"r\" }"));
    let server = served(&place);
    let [mut alice, mut bob] = ["alice", "bob"].map(|user| {
        let mut raw = Raw::greeted(server.address());
        assert_eq!(raw.ask(&format!("LOGIN {user} password")).line, "DONE");
        raw
    });
    place.write("[users.alice]\nrights = { \"..\" = \"r\" }\n");
    server.signal(Signal::HUP);
    eventually("a refusal", || server.log().contains("nothing changes: ").then_some(()));
    assert_eq!(bob.ask("STAT private/f").word(0), "FILE");
    place.write(&users("{ \"private\" = \"r\" }", "{}").replace("users.bob", "users.carol"));
    server.signal(Signal::HUP);
    eventually("a reload", || server.log().contains("the users file holds as it is now").then_some(()));
    bob.ask("STAT private/f").expect_failure("denied");
    alice.ask("STAT open/f").expect_failure("denied");
    assert_eq!(alice.ask("STAT private/f").word(0), "FILE");
    let mut carol = Raw::greeted(server.address());
    assert_eq!(carol.ask("LOGIN carol password").line, "DONE");
    // It still ends as asked.
    assert!(server.terminate().success());
}

#[test]
fn an_upload_belongs_to_who_began_it() {
    let server = served(&Place::new(&users("{ \"\" = \"rw\" }", "{ \"\" = \"rw\" }")));
    let [mut alice, mut bob] = ["alice", "bob"].map(|user| {
        let mut raw = Raw::greeted(server.address());
        assert_eq!(raw.ask(&format!("LOGIN {user} password")).line, "DONE");
        raw
    });
    assert_eq!(alice.ask("RESUME one 2 - x").line, "GO 0");
    // While she has it, when it is kept, and when it is published.
    bob.ask("RESUME one 2 - x").expect_failure("denied");
    alice.send("DATA 1\naSTOP\n");
    alice.answer("RESUME").expect_failure("stopped");
    bob.ask("RESUME one 2 - x").expect_failure("denied");
    bob.ask("RESUME one 3 - y").expect_failure("denied");
    assert_eq!(alice.ask("RESUME one 2 - x").line, "GO 1");
    alice.send(format!("DATA 1\nbEND {}\n", ferry_e2e::crc(b"ab")));
    assert_eq!(alice.answer("RESUME").word(0), "SAVED");
    bob.ask("RESUME one 2 - x").expect_failure("denied");
    assert_eq!(alice.ask("RESUME one 2 - x").word(0), "SAVED");
    eventually("a line that names her", || server.log().contains(" alice: RESUME x: ").then_some(()));
}

#[test]
fn parts_of_an_upload_are_taken_from_whoever_holds_it_and_from_nobody_else() {
    let server = served(&Place::new(&users("{ \"\" = \"rw\" }", "{ \"\" = \"rw\" }")));
    let [mut holder, mut alice, mut bob] = ["alice", "alice", "bob"].map(|user| {
        let mut raw = Raw::greeted(server.address());
        assert_eq!(raw.ask(&format!("LOGIN {user} password")).line, "DONE");
        raw
    });
    assert_eq!(holder.ask("RESUME one 2 - x").line, "GO 0");
    let part = |raw: &mut Raw, byte: &str| {
        raw.ask(&format!("PART one 1 1 x\nDATA 1\n{byte}END {}", ferry_e2e::crc(byte.as_bytes())))
    };
    part(&mut bob, "!").expect_failure("denied");
    assert_eq!(part(&mut alice, "b").line, "DONE");
    part(&mut bob, "!").expect_failure("denied");
    holder.send(format!("DATA 1\naJOIN {}\n", ferry_e2e::crc(b"ab")));
    assert_eq!(holder.answer("RESUME").word(0), "SAVED");
    assert_eq!(server.read("x"), b"ab");
}

#[test]
fn a_secret_is_the_rest_of_the_line() {
    let (long, place) = ("x".repeat(4_000), Place::new(""));
    let secrets = ["two words", " spaces  at both ends ", "pa\u{df}w\u{f6}rt \u{1f511}", &long];
    for (at, secret) in secrets.iter().enumerate() {
        let mut command = Command::new(ferryd());
        command.args(["user", "add", &format!("user{at}"), "--users"]).arg(&place.path);
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(format!("{secret}\n").as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "{secret}");
    }
    let server = place.server();
    for (at, secret) in secrets.iter().enumerate() {
        let mut raw = Raw::greeted(server.address());
        assert_eq!(raw.ask(&format!("LOGIN user{at} {secret}")).line, "DONE", "{secret}");
        // One CR before the end of the line is dropped, as on any line, and the verb has no case.
        assert_eq!(raw.ask(&format!("login user{at} {secret}\r")).line, "DONE", "{secret}");
    }
    let mut raw = Raw::greeted(server.address());
    for wrong in ["", " ", " a\tb", " a\r\r", " a\u{85}b", " x HTTP/1.0x\u{7f}", &format!(" {long}x")] {
        // It tells of no user, and is no failed login: it costs no delay, and the third one closes nothing.
        raw.ask(&format!("LOGIN user0{wrong}")).expect_failure("bad-request");
    }
    raw.send(b"LOGIN user0 a\xff\n");
    raw.answer("LOGIN").expect_failure("bad-request");
    assert_eq!(raw.ask("LOGIN user0 two words").line, "DONE");
    assert!(!server.log().contains("login failed"));
}

#[test]
fn a_file_by_which_nobody_can_do_anything_is_warned_of() {
    let place = Place::new("[users.alice]\nrights = { \"\" = \"rw\" }\n");
    let server = place.server();
    eventually("it is warned of", || server.log().contains("users.toml: nobody may do anything: ").then_some(()));
    place.write(&users(ALICE, "{}"));
    server.signal(Signal::HUP);
    eventually("a reload", || server.log().contains("the users file holds as it is now").then_some(()));
    assert_eq!(server.log().matches("nobody may do anything").count(), 1);
}

#[test]
fn a_users_file_that_makes_no_sense_refuses_the_start() {
    let place = Place::new("[users.alice]\nrights = { \"a\" = \"red\" }\n");
    let root = tempfile::tempdir().unwrap();
    let mut command = Command::new(ferryd());
    command.arg("127.0.0.1:0").arg("--root").arg(root.path()).arg("--users").arg(&place.path);
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("users.toml:2: "), "{said}");
}
