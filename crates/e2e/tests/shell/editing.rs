//! EDIT: by editors that change, fail, wait, are overtaken, and see their server die.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Output,
};

use ferry_e2e::{Options, Server, ferry, ferryd};

use crate::{machine, terminal::Terminal};

/// A server with `d/notes.txt`, and a directory for drafts.
struct Desk {
    server: Server,
    directory: tempfile::TempDir,
}

impl Desk {
    fn new(options: Options) -> Desk {
        let server = options.start();
        fs::create_dir_all(server.path("d")).unwrap();
        server.write("d/notes.txt", b"one\n");
        Desk { server, directory: tempfile::tempdir().unwrap() }
    }

    fn port(&self) -> String {
        self.server.address().port().to_string()
    }

    /// Edits `d/notes.txt` with `editor`, a line of a shell that finds the draft as `$1`.
    fn edit(&self, editor: &str, arguments: &[&str]) -> Output {
        let script = self.directory.path().join("editor");
        fs::write(&script, format!("#!/bin/sh\nset -e\n{editor}\n")).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let port = self.port();
        let whole = [&["edit", &port, "d/notes.txt"], arguments].concat();
        let mut command = machine::command(self.directory.path(), &whole);
        command.env("EDITOR", &script).env_remove("VISUAL").env("TMPDIR", self.directory.path());
        command.env("FERRY", ferry()).env("PORT", &port).output().unwrap()
    }

    /// The drafts that were kept.
    fn drafts(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.directory.path()).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("ferry-edit-")).collect()
    }

    /// It failed with `status` and says `part`; where `kept` is some text, the draft has it, and else there is none.
    #[track_caller]
    fn assert_failed(&self, ran: &Output, status: i32, part: &str, kept: Option<&str>) {
        let complaints = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(status), "{complaints}");
        assert!(complaints.contains(part), "{part:?} is not in {complaints:?}");
        let drafts = self.drafts();
        match kept {
            None => assert!(drafts.is_empty(), "{drafts:?}"),
            Some(text) => {
                let draft = drafts[0].join("notes.txt");
                assert!(complaints.contains(&format!("is in {}", draft.display())), "{complaints}");
                assert_eq!(fs::read_to_string(&draft).unwrap(), text);
                assert_eq!(fs::metadata(&drafts[0]).unwrap().permissions().mode() & 0o777, 0o700, "it is private");
                fs::remove_dir_all(&drafts[0]).unwrap();
            }
        }
    }

    #[track_caller]
    fn assert_has(&self, text: &str) {
        assert_eq!(String::from_utf8(self.server.read("d/notes.txt")).unwrap(), text);
    }
}

#[track_caller]
fn fine(ran: &Output) -> String {
    let complaints = String::from_utf8_lossy(&ran.stderr);
    assert_eq!((ran.status.code(), &*complaints), (Some(0), ""));
    String::from_utf8(ran.stdout.clone()).unwrap()
}

#[test]
fn what_was_changed_is_stored_and_what_was_not_is_left() {
    let desk = Desk::new(Options::new());
    assert_eq!(fine(&desk.edit("test \"$(basename \"$1\")\" = notes.txt", &[])), "d/notes.txt is unchanged\n");
    assert_eq!(fine(&desk.edit("echo two >>\"$1\"", &[])), "edited d/notes.txt: 8 bytes, verified and on disk\n");
    desk.assert_has("one\ntwo\n");
    // Many editors write another file and rename it.
    let json = fine(&desk.edit("echo new >\"$1.new\"; mv \"$1.new\" \"$1\"", &["--json"]));
    assert!(json.contains("\"event\":\"edited\"") && json.contains("\"bytes\":4"), "{json}");
    desk.assert_has("new\n");
    assert!(desk.drafts().is_empty());
}

#[test]
fn an_editor_that_fails_changes_nothing_and_no_work_is_lost() {
    let desk = Desk::new(Options::new());
    desk.assert_failed(&desk.edit("exit 3", &[]), 1, "failed: exit status 3; nothing was changed", None);
    desk.assert_failed(&desk.edit("echo two >\"$1\"; exit 3", &[]), 1, "nothing was changed", Some("two\n"));
    desk.assert_failed(&desk.edit("kill -9 $$", &[]), 1, "nothing was changed", None);
    desk.assert_failed(&desk.edit("rm \"$1\"", &[]), 5, "cannot read what the editor has left", None);
    desk.assert_has("one\n");
    let missing = |arguments: &[&str], variable: &str| {
        machine::command(desk.directory.path(), arguments).env("VISUAL", variable).output().unwrap()
    };
    let port = desk.port();
    let ran = missing(&["edit", &port, "d/notes.txt"], "/no/such/editor --wait");
    desk.assert_failed(&ran, 1, "EDIT: cannot run /no/such/editor --wait; nothing was changed", None);
    desk.assert_failed(&missing(&["edit", &port, "nothing"], "true"), 8, "EDIT nothing: the server has no such", None);
    desk.assert_failed(&missing(&["edit", &port, "d"], "true"), 4, "EDIT d: that is a directory", None);
    desk.assert_has("one\n");
}

#[test]
fn nobodys_change_is_lost_in_a_race() {
    let desk = Desk::new(Options::new());
    let put = "echo theirs | \"$FERRY\" -q put $PORT - -o d/notes.txt; echo mine >\"$1\"";
    desk.assert_failed(&desk.edit(put, &[]), 4, "somebody else has changed it meanwhile", Some("mine\n"));
    desk.assert_has("theirs\n");
    let deleted = "\"$FERRY\" -q rm $PORT d/notes.txt; echo mine >\"$1\"";
    desk.assert_failed(&desk.edit(deleted, &[]), 4, "somebody else has changed it meanwhile", Some("mine\n"));
    assert!(!desk.server.path("d/notes.txt").exists());
    // A program of the server's machine, of the same size and with the time set back.
    desk.server.write("d/notes.txt", b"one\n");
    let path = desk.server.path("d/notes.txt");
    let written =
        format!("touch -r '{0}' stamp; echo two >'{0}'; touch -r stamp '{0}'; echo mine >\"$1\"", path.display());
    desk.assert_failed(&desk.edit(&written, &[]), 4, "somebody else has changed it meanwhile", Some("mine\n"));
    desk.assert_has("two\n");
}

#[test]
fn of_many_who_edit_at_once_each_is_stored_or_told() {
    const EDITORS: usize = 6;
    let desk = Desk::new(Options::new());
    let stored: usize = std::thread::scope(|scope| {
        let edit = |which: usize| {
            let directory = desk.directory.path().join(which.to_string());
            fs::create_dir(&directory).unwrap();
            let port = desk.port();
            let mut command = machine::command(&directory, &["edit", &port, "d/notes.txt"]);
            command.env("VISUAL", format!("sh -c 'echo {which} >>\"$1\"' sh")).env("TMPDIR", &directory);
            let ran = command.output().unwrap();
            let kept = fs::read_dir(&directory).unwrap().count();
            match ran.status.code() {
                Some(0) => assert_eq!(kept, 0),
                Some(4) => assert_eq!(kept, 1),
                _ => panic!("{ran:?}"),
            }
            usize::from(ran.status.success())
        };
        let running: Vec<_> = (0..EDITORS).map(|which| scope.spawn(move || edit(which))).collect();
        running.into_iter().map(|editor| editor.join().unwrap()).sum()
    });
    let lines = String::from_utf8(desk.server.read("d/notes.txt")).unwrap();
    assert!(stored >= 1);
    assert_eq!(lines.lines().count(), 1 + stored, "{lines}");
}

#[test]
fn what_cannot_be_stored_is_refused_before_a_person_works_or_kept() {
    let desk = Desk::new(Options::new().arg("--read-only"));
    desk.assert_failed(&desk.edit("touch ran", &[]), 4, "EDIT: the server is read-only", None);
    assert!(!desk.directory.path().join("ran").exists());
    // One that is killed while a person types.
    let desk = Desk::new(Options::new());
    let killed = format!("kill -9 {}; echo mine >\"$1\"", desk.server.pid());
    desk.assert_failed(&desk.edit(&killed, &["--retry", "1"]), 3, "what you have edited is in", Some("mine\n"));
    assert_eq!(fs::read(desk.server.path("d/notes.txt")).unwrap(), b"one\n");
}

#[test]
fn a_server_that_is_killed_and_started_again_meanwhile_takes_what_was_edited() {
    if ferry_e2e::secure::skips("it starts its second server itself") {
        return;
    }
    let desk = Desk::new(Options::new());
    let root = desk.server.root().to_owned();
    // The second one has the address and the root of the first, as soon as that has let go of them.
    let restart = format!(
        "kill -9 {}; echo mine >\"$1\"\n\
         while ! test -e done; do '{}' --writable --state state2 --root '{}' $PORT >out 2>&1 </dev/null & echo $! >pid\n\
         wait $! || true; done >/dev/null 2>&1 &",
        desk.server.pid(),
        ferryd().display(),
        root.display()
    );
    let ran = desk.edit(&restart, &["--retry-for", "60s"]);
    fs::write(desk.directory.path().join("done"), "").unwrap();
    let pid: i32 = fs::read_to_string(desk.directory.path().join("pid")).unwrap().trim().parse().unwrap();
    let stopped = rustix::process::Pid::from_raw(pid)
        .map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::TERM));
    assert!(stopped.is_some_and(|stopped| stopped.is_ok()));
    assert_eq!(ran.status.code(), Some(0), "{}", String::from_utf8_lossy(&ran.stderr));
    assert_eq!(fs::read_to_string(root.join("d/notes.txt")).unwrap(), "mine\n");
}

#[test]
fn the_shell_edits_at_its_terminal_and_goes_on() {
    let desk = Desk::new(Options::new());
    let here: &Path = desk.directory.path();
    // It asks the person whom it shares the terminal with.
    let editor = "sh -c 'printf \"line: \"; read line; echo \"$line\" >>\"$1\"' sh";
    let mut client = Terminal::ferry_like(here, &[], &[("VISUAL", editor)], crate::terminal::USUAL_SIZE);
    client.type_line(&format!("OPEN {}", desk.port()));
    client.expect("connected");
    client.expect("> ");
    client.type_line("EDIT d/notes.txt");
    client.expect("line: ");
    client.type_line("two");
    client.expect("edited d/notes.txt: 8 bytes");
    client.expect("> ");
    desk.assert_has("one\ntwo\n");
    client.type_line("EDIT nothing");
    client.expect("EDIT nothing: the server has no such file");
    client.type_line("QUIT");
    assert_eq!(client.end(), 0);
}
