//! `ferry watch`: a directory of a server that follows a local one.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use ferry_e2e::{Options, Random, Server, eventually, ferry, seed};
use rustix::process::{Pid, Signal, kill_process};

use crate::machine::{command, run};

/// The running program, which ends with its owner.
struct Watching(Child);

impl Watching {
    /// Starts it in `directory`, and waits until it has begun.
    fn start(directory: &Path, arguments: &[&str]) -> Watching {
        let arguments: Vec<&str> = std::iter::once("watch").chain(arguments.iter().copied()).collect();
        let mut command = command(directory, &arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        assert!(line.starts_with("watching "), "{line}");
        // What it says is read, so that it never waits for a reader.
        std::thread::spawn(move || said.lines().map_while(Result::ok).for_each(drop));
        Watching(child)
    }

    fn kill(&mut self, signal: Signal) -> i32 {
        let _ = kill_process(Pid::from_raw(self.0.id().cast_signed()).unwrap(), signal);
        self.0.wait().unwrap().code().unwrap_or(-1)
    }

    /// Waits for its end; returns its status and its complaints.
    fn end(&mut self) -> (i32, String) {
        let status = eventually("the end of ferry watch", || self.0.try_wait().unwrap());
        let complaints = std::io::read_to_string(self.0.stderr.take().unwrap()).unwrap();
        (status.code().unwrap_or(-1), complaints)
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Names and contents beneath `root`; [`None`] where something vanishes meanwhile.
fn content(root: &Path) -> Option<BTreeMap<PathBuf, Option<Vec<u8>>>> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory).ok()? {
            let path = entry.ok()?.path();
            if path.file_name()?.as_bytes().starts_with(b".ferry") {
                continue;
            }
            let is_directory = path.symlink_metadata().ok()?.is_dir();
            let bytes = if is_directory { None } else { Some(fs::read(&path).ok()?) };
            found.insert(path.strip_prefix(root).ok()?.to_owned(), bytes);
            waiting.extend(is_directory.then_some(path));
        }
    }
    Some(found)
}

fn becomes_same(here: &Path, there: &Path) {
    eventually("both directories are alike", || {
        let (here, there) = (content(here)?, content(there)?);
        (here == there).then_some(())
    });
}

fn fixture() -> (Server, String, tempfile::TempDir) {
    fixture_of(Options::new())
}

fn fixture_of(options: Options) -> (Server, String, tempfile::TempDir) {
    let server = options.start();
    let target = format!("{}:copy", server.address().port());
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("here")).unwrap();
    fs::write(directory.path().join("here/first"), "first").unwrap();
    (server, target, directory)
}

#[test]
fn whatever_changes_is_sent() {
    let (server, target, directory) = fixture();
    let (here, there) = (directory.path().join("here"), server.path("copy"));
    server.write("copy/only there", b"stays");
    let mut watching = Watching::start(directory.path(), &["here", &target]);
    eventually("the first look", || there.join("first").exists().then_some(()));
    fs::create_dir_all(here.join("new/deep")).unwrap();
    fs::write(here.join("new/deep/x"), "x").unwrap();
    fs::write(here.join("it's & odd"), "odd").unwrap();
    fs::write(here.join("first"), "changed").unwrap();
    let has = |name: &str, bytes: &str| {
        eventually(name, || fs::read(there.join(name)).is_ok_and(|read| read == bytes.as_bytes()).then_some(()));
    };
    has("new/deep/x", "x");
    has("it's & odd", "odd");
    has("first", "changed");
    // Without --delete nothing goes.
    fs::rename(here.join("new"), here.join("moved")).unwrap();
    has("moved/deep/x", "x");
    assert!(there.join("new/deep/x").exists() && there.join("only there").exists());
    assert_eq!(watching.kill(Signal::INT), 130);
}

#[test]
fn permissions_of_files_and_directories_follow_where_that_was_asked_for() {
    let (server, target, directory) = fixture_of(Options::new().arg("--keep-modes").arg("all"));
    let (here, there) = (directory.path().join("here"), server.path("copy"));
    fs::create_dir(here.join("d")).unwrap();
    fs::write(here.join("d/x"), "x").unwrap();
    let mut watching = Watching::start(directory.path(), &["--perms=all", "here", &target]);
    for (name, mode) in [("d/x", 0o600), ("d", 0o711), ("d/x", 0o640), ("d", 0o555)] {
        eventually("it is there", || there.join("d/x").exists().then_some(()));
        fs::set_permissions(here.join(name), fs::Permissions::from_mode(mode)).unwrap();
        let of = || fs::metadata(there.join(name)).unwrap().permissions().mode() & 0o7777;
        eventually(name, || (of() == mode).then_some(()));
    }
    assert_eq!(watching.kill(Signal::INT), 130);
    fs::set_permissions(here.join("d"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(there.join("d"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn what_goes_is_deleted_where_that_was_asked_for() {
    let (server, target, directory) = fixture();
    let (here, there) = (directory.path().join("here"), server.path("copy"));
    fs::create_dir_all(here.join("d/e")).unwrap();
    fs::create_dir_all(here.join("old/deep")).unwrap();
    for number in 0..30 {
        fs::write(here.join(format!("d/e/{number}")), "x").unwrap();
    }
    fs::write(here.join("old/deep/7"), "x").unwrap();
    let mut watching = Watching::start(directory.path(), &["--delete", "here", &target]);
    becomes_same(&here, &there);
    fs::remove_file(here.join("first")).unwrap();
    becomes_same(&here, &there);
    fs::rename(here.join("old"), here.join("new")).unwrap();
    fs::write(here.join("new/deep/7"), "other").unwrap();
    becomes_same(&here, &there);
    // What has come meanwhile counts.
    fs::create_dir_all(here.join("late/part")).unwrap();
    for number in 0..60 {
        let name = if number < 20 { format!("late/part/{number}") } else { format!("late/{number}") };
        fs::write(here.join(name), "x").unwrap();
    }
    becomes_same(&here, &there);
    fs::rename(here.join("late/part"), directory.path().join("part")).unwrap();
    becomes_same(&here, &there);
    // More at once than half of what is there ends it, and nothing is deleted.
    fs::rename(here.join("late"), directory.path().join("elsewhere")).unwrap();
    let (status, complaints) = watching.end();
    assert_eq!(status, 5, "{complaints}");
    assert!(complaints.contains("would be deleted") && complaints.contains("--max-delete"), "{complaints}");
    assert!(there.join("late/33").exists());
    // As a whole SYNC would at the next start.
    let run = run(directory.path(), &["watch", "--delete", "here", &target]);
    run.assert_failed(5, "--max-delete");
    let _watching = Watching::start(directory.path(), &["--delete", "--max-delete", "41", "here", &target]);
    becomes_same(&here, &there);
}

#[test]
fn rules_hold_for_changes_too() {
    let (server, target, directory) = fixture();
    let (here, there) = (directory.path().join("here"), server.path("copy"));
    fs::write(here.join(".ferryignore"), "*.tmp\n").unwrap();
    let _watching = Watching::start(directory.path(), &["-F", "--exclude", "secret", "here", &target]);
    for name in ["x.tmp", "secret", "y"] {
        fs::write(here.join(name), name).unwrap();
    }
    eventually("y", || there.join("y").exists().then_some(()));
    // Rules that change are about all of it.
    fs::write(here.join(".ferryignore"), "*.other\n").unwrap();
    eventually("x.tmp", || there.join("x.tmp").exists().then_some(()));
    assert!(!there.join("secret").exists());
}

#[test]
fn a_list_and_a_place_for_old_versions_hold_for_changes_too() {
    let (server, target, directory) = fixture();
    let (here, there) = (directory.path().join("here"), server.path("copy"));
    fs::write(directory.path().join("list"), "first\nd/in\nlater\nwhole\n").unwrap();
    let options = ["--delete", "--files-from", "list", "--backup-dir", "old", "here", &target];
    let mut watching = Watching::start(directory.path(), &options);
    let has = |name: &str, bytes: &str| {
        eventually(name, || fs::read(there.join(name)).is_ok_and(|read| read == bytes.as_bytes()).then_some(()));
    };
    has("first", "first");
    fs::create_dir_all(here.join("d/out")).unwrap();
    for name in ["unlisted", "d/in", "d/other", "later"] {
        fs::write(here.join(name), name).unwrap();
    }
    fs::create_dir_all(here.join("whole/deep")).unwrap();
    fs::write(here.join("whole/deep/x"), "x").unwrap();
    for name in ["d/in", "later"] {
        has(name, name);
    }
    has("whole/deep/x", "x");
    fs::write(here.join("first"), "changed").unwrap();
    has("first", "changed");
    fs::remove_file(here.join("later")).unwrap();
    eventually("what goes is deleted", || (!there.join("later").exists()).then_some(()));
    let mut names: Vec<PathBuf> = content(&there).unwrap().into_keys().collect();
    names.sort();
    let expected = ["d", "d/in", "first", "whole", "whole/deep", "whole/deep/x"];
    assert_eq!(names, expected.map(PathBuf::from));
    assert_eq!((server.read("old/first"), server.read("old/later")), (b"first".to_vec(), b"later".to_vec()));
    assert_eq!(watching.kill(Signal::INT), 130);
    run(directory.path(), &["watch", "-L", "here", &target]).assert_failed(2, "has no option -L");
    run(directory.path(), &["watch", "--backup-dir", "copy/old", "here", &target]).assert_failed(5, "outside");
}

#[test]
fn a_directory_that_vanishes_ends_it() {
    let (server, target, directory) = fixture();
    let (here, there) = (directory.path().join("here"), server.path("copy"));
    let mut watching = Watching::start(directory.path(), &["--delete", "here", &target]);
    becomes_same(&here, &there);
    fs::rename(&here, directory.path().join("elsewhere")).unwrap();
    let (status, complaints) = watching.end();
    assert_eq!(status, 5, "{complaints}");
    assert!(complaints.contains("here is not there any more"), "{complaints}");
    assert!(there.join("first").exists(), "nothing is deleted for that");
    run(directory.path(), &["watch", "here", &target]).assert_failed(5, "No such file or directory");
    run(directory.path(), &["watch", "elsewhere", "1:x"]).assert_failed(3, "nobody listens");
    run(directory.path(), &["watch", "elsewhere", "there"]).assert_failed(2, "HOST:NAME is needed");
}

/// The limit of a user name space of its own, so that nobody else's is touched.
#[test]
fn too_many_directories_are_told_with_the_way_out() {
    let (_server, target, directory) = fixture();
    for number in 0..5 {
        fs::create_dir(directory.path().join(format!("here/{number}"))).unwrap();
    }
    let script =
        format!("echo 3 > /proc/sys/user/max_inotify_watches && exec {} watch here {target}", ferry().display());
    let output = Command::new("unshare").args(["-Ur", "sh", "-c", &script]).current_dir(directory.path()).output();
    let Ok(output) = output else { return eprintln!("skipped: no unshare") };
    let complaints = String::from_utf8(output.stderr).unwrap();
    if complaints.contains("unshare") || complaints.contains("max_inotify_watches: ") {
        return eprintln!("skipped: no user name space: {complaints}");
    }
    assert!(complaints.contains("raise fs.inotify.max_user_watches"), "{complaints}");
    assert_eq!(output.status.code(), Some(1));
}

/// Changes something at random.
fn edit(random: &mut Random, here: &Path, begun: &mut Vec<String>) {
    let place = |random: &mut Random| {
        let depth = random.below(3);
        let parts: Vec<String> = (0..depth).map(|_| format!("d{}", random.below(3))).collect();
        here.join(parts.join("/"))
    };
    let directory = place(random);
    let path = directory.join(format!("f{}", random.below(8)));
    let _ = match random.below(10) {
        0..=3 => {
            let _ = fs::create_dir_all(&directory);
            begun.push(path.display().to_string());
            fs::write(&path, vec![random.below(256) as u8; random.below(40_000) as usize])
        }
        4 | 5 => fs::OpenOptions::new().append(true).open(&path).and_then(|mut file| {
            file.write_all(b"more")?;
            file.flush()?;
            file.write_all(b" and more")
        }),
        6 => fs::remove_file(&path),
        7 => fs::rename(&path, place(random).join(format!("f{}", random.below(8)))),
        8 if directory != here => fs::rename(&directory, here.join(format!("d{}", random.below(3)))),
        9 if directory != here && random.below(3) == 0 => fs::remove_dir_all(&directory),
        _ => Ok(()),
    };
}

/// A writer from a seed, while the server is restarted and the program killed; in the end both are the same.
#[test]
fn a_directory_is_followed_through_races_restarts_and_kills() {
    let rounds: u64 = std::env::var("FERRY_WATCH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(2);
    for round in 0..rounds {
        let seed = seed() + round;
        eprintln!("seed {seed}");
        let mut random = Random::new(seed);
        let root = tempfile::tempdir().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let here = directory.path().join("here");
        fs::create_dir(&here).unwrap();
        let mut server = Some(Options::new().root(root.path()).start());
        let address = server.as_ref().unwrap().address().to_string();
        let target = format!("{address}:copy");
        let arguments = ["--delete", "--max-delete", "1000", "here", &target];
        let mut watching = Watching::start(directory.path(), &arguments);
        let mut begun = Vec::new();
        for step in 0..120 {
            edit(&mut random, &here, &mut begun);
            match step % 40 {
                15 => {
                    watching.kill(Signal::KILL);
                    watching = Watching::start(directory.path(), &arguments);
                }
                // Away, and there again on the same port.
                25 => drop(server.take()),
                32 => server = Some(Options::new().address(&address).root(root.path()).start()),
                _ if random.below(4) == 0 => std::thread::yield_now(),
                _ => {}
            }
        }
        assert!(!begun.is_empty());
        becomes_same(&here, &root.path().join("copy"));
        assert_eq!(watching.kill(Signal::TERM), 143, "seed {seed}");
    }
}
