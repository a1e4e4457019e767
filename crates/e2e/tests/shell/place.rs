//! A server, a client directory, and commands between them.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use ferry_e2e::{Options, Server, ferry, powerless};

/// The result of commands.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: i32,
    pub(crate) said: String,
    pub(crate) complaints: String,
}

impl Ran {
    /// All went well, and nothing was complained of.
    #[track_caller]
    pub(crate) fn fine(self) -> String {
        assert_eq!((self.status, self.complaints.as_str()), (0, ""), "{}", self.said);
        self.said
    }

    /// It ended with `status`, and the last complaint says `part`; gives what was said before.
    #[track_caller]
    pub(crate) fn failed(self, status: i32, part: &str) -> String {
        assert_eq!(self.status, status, "{}{}", self.said, self.complaints);
        let last = self.complaints.lines().last().unwrap_or_default();
        assert!(last.contains(part), "{part:?} is not in {last:?}");
        assert!(!self.complaints.chars().any(|c| c.is_control() && c != '\n'), "{:?}", self.complaints);
        self.said
    }
}

pub(crate) struct Place {
    pub(crate) server: Server,
    /// Permissions hold for the client, too: see [`Options::powerless`].
    is_powerless: bool,
    directory: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Place {
        Place::with(Options::new())
    }

    pub(crate) fn with(options: Options) -> Place {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("client")).unwrap();
        Place { server: options.start(), is_powerless: false, directory }
    }

    /// A place where permissions hold for both programs, also if this is root; [`None`] where that can't be had.
    pub(crate) fn powerless(options: Options) -> Option<Place> {
        Some(Place { is_powerless: true, ..Place::with(options.powerless()?) })
    }

    /// Where `name` is in the client directory.
    pub(crate) fn local(&self, name: impl AsRef<Path>) -> PathBuf {
        self.directory.path().join("client").join(name)
    }

    /// The home directory of whoever runs ferry, which need not be there.
    pub(crate) fn home(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    /// Writes a file of the client directory, and the directories above it.
    pub(crate) fn write(&self, name: impl AsRef<Path>, bytes: &[u8]) {
        let path = self.local(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Where `name` is in the directory of configurations.
    pub(crate) fn config(&self, name: &str) -> PathBuf {
        self.directory.path().join("config").join(name)
    }

    /// The program, in a directory and with a home of its own.
    pub(crate) fn ferry(&self) -> Command {
        let mut command = if self.is_powerless { powerless(ferry()) } else { Command::new(ferry()) };
        command
            .current_dir(self.directory.path())
            .env("HOME", self.home())
            .env("XDG_CONFIG_HOME", self.config(""))
            .env("XDG_STATE_HOME", self.directory.path().join("state"))
            .env("SHELL", "/bin/sh");
        command
    }

    /// Opens the server and runs `commands`, which `;` parts.
    #[track_caller]
    pub(crate) fn run(&self, commands: &str) -> Ran {
        self.run_with(&[], commands, b"")
    }

    /// The same with options of the program and with something on its standard input.
    #[track_caller]
    pub(crate) fn run_with(&self, arguments: &[&str], commands: &str, input: &[u8]) -> Ran {
        let script = format!("OPEN {}; {commands}", self.server.address().port());
        let mut child = self
            .ferry()
            .args(arguments)
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("ferry runs");
        // A program that has ended before it read all is judged by its status.
        let _ = child.stdin.take().unwrap().write_all(input);
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        // The line about the connection is the same everywhere.
        let said = said.split_once('\n').map_or("", |(_, rest)| rest).to_owned();
        let complaints = String::from_utf8(output.stderr).unwrap();
        Ran { status: output.status.code().expect("an exit status"), said, complaints }
    }
}

/// All entries beneath a directory: content and time of files, [`None`] for directories and all else.
pub(crate) type Tree = BTreeMap<PathBuf, Option<(Vec<u8>, i64, i64)>>;

/// Everything beneath `root`, but for what begins with `.ferry`.
pub(crate) fn tree(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap().as_bytes().starts_with(b".ferry") {
                continue;
            }
            let meta = path.symlink_metadata().unwrap();
            let file = meta.is_file().then(|| (fs::read(&path).unwrap(), meta.mtime(), meta.mtime_nsec()));
            if meta.is_dir() {
                waiting.push(path.clone());
            }
            tree.insert(path.strip_prefix(root).unwrap().to_owned(), file);
        }
    }
    tree
}

/// Panics with the first difference.
#[track_caller]
pub(crate) fn assert_same(left: &Tree, right: &Tree) {
    let names = |tree: &Tree| tree.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(left), names(right));
    for (name, file) in left {
        assert!(*file == right[name], "{} differs", name.display());
    }
}
