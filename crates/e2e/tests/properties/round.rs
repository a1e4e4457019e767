//! One round: some edits and runs of one pair of trees.

use std::{
    fs::{self, File},
    os::unix::{
        ffi::OsStrExt as _,
        fs::{MetadataExt as _, symlink},
    },
    path::{Path, PathBuf},
    process::Command,
};

use ferry_e2e::{Random, Server, eventually, ferry, powerless};
use rustix::process::Signal;

use crate::{
    Figures,
    claims::{Op, Perms, Run, Verb},
    edits::{Editor, clear, pick},
    relay::{Act, Disturbance, Relay},
    snapshot::{Tree, shown, snapshot},
};

/// Edits, each with a run behind it.
const STEPS: u64 = 3;

pub(crate) struct Round<'a> {
    server: &'a Server,
    /// Sockets that it has without any client.
    sockets: usize,
    relay: &'a Relay,
    random: Random,
    clock: u64,
    /// Its name on the server.
    name: String,
    remote: PathBuf,
    place: tempfile::TempDir,
    links: bool,
    kinds: bool,
    /// Permissions hold for the programs, also if this is root.
    powerless: bool,
    runs: u64,
    figures: Figures,
}

impl Drop for Round<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.remote);
    }
}

impl<'a> Round<'a> {
    pub(crate) fn new(
        server: &'a Server,
        sockets: usize,
        relay: &'a Relay,
        mut random: Random,
        number: u64,
        powerless: bool,
    ) -> Round<'a> {
        let name = format!("r{number}");
        let remote = server.path(&name);
        let place = tempfile::tempdir().unwrap();
        for directory in [remote.join("t"), place.path().join("client/t"), place.path().join("outside")] {
            fs::create_dir_all(directory).unwrap();
        }
        fs::write(place.path().join("outside/file"), "outside").unwrap();
        let (links, kinds) = (random.below(3) == 0, random.below(3) == 0);
        Round {
            server,
            sockets,
            relay,
            random,
            clock: 0,
            name,
            remote,
            place,
            links,
            kinds,
            powerless,
            runs: 0,
            figures: Figures::new(),
        }
    }

    pub(crate) fn run(mut self) -> Figures {
        let (local, remote) = (self.local(), self.remote.join("t"));
        for _ in 0..STEPS {
            for (tree, other) in [(&local, &remote), (&remote, &local)] {
                let outside = self.place.path().join("outside");
                let Round { random, clock, links, kinds, .. } = &mut self;
                Editor { random, clock, outside: &outside, links: *links, kinds: *kinds }.edit(tree, other);
            }
            let op = self.op();
            if self.random.below(3) > 0 {
                self.go(op, true);
            }
            if self.random.below(3) > 0 {
                self.go(op, false);
            }
        }
        std::mem::take(&mut self.figures)
    }

    fn local(&self) -> PathBuf {
        self.place.path().join("client/t")
    }

    fn op(&mut self) -> Op {
        let verb = [Verb::Get, Verb::Put, Verb::SyncDown, Verb::SyncUp][pick(&mut self.random, 4)];
        let sync = matches!(verb, Verb::SyncDown | Verb::SyncUp);
        let mut coin = || self.random.below(2) == 0;
        let (keep_going, delete, by_content, backup) = (coin(), coin(), coin(), coin());
        let perms = [Perms::Usual, Perms::Usual, Perms::Owner, Perms::All][pick(&mut self.random, 4)];
        let excludes = self.random.below(4) == 0;
        Op {
            verb,
            keep_going,
            delete: sync && delete,
            by_content: sync && by_content,
            backup: backup && verb == Verb::SyncDown,
            perms,
            excludes,
        }
    }

    /// Runs `op`, and looks at what it did.
    fn go(&mut self, op: Op, disturbed: bool) {
        let (local, remote) = (self.local(), self.remote.join("t"));
        let before = (snapshot(&local), snapshot(&remote));
        let backup = self.place.path().join(format!("kept-{}", self.runs));
        let undo = self.disturb(disturbed.then_some(op), &before);
        let (status, complaints) = self.ferry(op, &backup);
        let happened = self.relay.happened();
        // Uploads that were whole before a cut are still published.
        eventually("the server has no client any more", || (sockets(self.server) <= self.sockets).then_some(()));
        let swapped = undo.run();
        let after = (snapshot(&local), snapshot(&remote));
        let kept = op.backup.then(|| snapshot(&backup));
        let down = op.is_down();
        let (source, source_after) = if down { (&before.1, &after.1) } else { (&before.0, &after.0) };
        let (target, target_after) = if down { (&before.0, &after.0) } else { (&before.1, &after.1) };
        let usual = |name: &str| fs::metadata(self.place.path().join(name)).unwrap().mode() & 0o7777;
        let (new_mode, new_directory) = (usual("outside/file"), usual("outside"));
        let run = Run {
            op,
            source,
            before: target,
            after: target_after,
            new_mode,
            new_directory,
            swapped: swapped.as_deref(),
            kept: kept.as_ref(),
        };
        let checked = self.check(&run, source_after, status, happened);
        if let Err(problem) = checked {
            let kept = kept.map_or(String::new(), |kept| format!("\nkept:{}", shown(&kept)));
            panic!(
                "{op}, status {status:?}, disturbed {disturbed} {happened}: {problem}\n{complaints}\nsource:{}\nbefore:{}\n\
                 after:{}{kept}",
                shown(source),
                shown(target),
                shown(target_after)
            );
        }
        let outcome = match status {
            Some(0) => "done",
            Some(_) => "failed",
            None => "killed",
        };
        let how = if happened { "disturbed" } else { "in peace" };
        *self.figures.entry(format!("{:?} {how}: {outcome}", op.verb)).or_default() += 1;
    }

    fn check(&self, run: &Run<'_>, source_after: &Tree, status: Option<i32>, happened: bool) -> Result<(), String> {
        if source_after != run.source {
            return Err(format!("what is read was changed:{}", shown(source_after)));
        }
        let outside = snapshot(&self.place.path().join("outside"));
        if outside.len() != 1 || fs::read(self.place.path().join("outside/file")).unwrap() != b"outside" {
            return Err(format!("something outside was changed:{}", shown(&outside)));
        }
        run.check_changes()?;
        match status {
            Some(0) => run.check_success(),
            Some(101) => Err("it panicked".to_owned()),
            _ if !happened && run.is_plain() => Err("nothing was in its way".to_owned()),
            _ => Ok(()),
        }
    }

    fn command(&self) -> Command {
        if self.powerless { powerless(ferry()) } else { Command::new(ferry()) }
    }

    fn ferry(&mut self, op: Op, backup: &Path) -> (Option<i32>, String) {
        let name = &self.name;
        let kept = if op.backup { format!(" --backup-dir {}", backup.display()) } else { String::new() };
        let names = match op.verb {
            Verb::Get => format!("{name}/t"),
            Verb::Put => format!("t -> {name}"),
            Verb::SyncDown => format!("{name}/t t"),
            Verb::SyncUp => format!("t {name}/t"),
        };
        self.runs += 1;
        // Then large files are shared, if there are any.
        let parallel = if self.random.below(2) == 0 { "1" } else { "4" };
        let script = format!("OPEN {}; {op}{kept} {names}", self.relay.port());
        let at = |name: &str| self.place.path().join(name);
        let mut child = self
            .command()
            .arg("--dir")
            .arg(at("client"))
            .args(["--parallel", parallel, "-c", &script])
            .env("XDG_CONFIG_HOME", at("config"))
            .env("XDG_STATE_HOME", at("state"))
            .stdout(File::create(at("stdout")).unwrap())
            .stderr(File::create(at("stderr")).unwrap())
            .spawn()
            .unwrap();
        self.relay.is_of(child.id());
        let status = eventually("ferry ends", || child.try_wait().unwrap());
        let said = |name: &str| String::from_utf8_lossy(&fs::read(at(name)).unwrap()).into_owned();
        (status.code(), format!("--parallel {parallel}: {script}\n{}{}", said("stdout"), said("stderr")))
    }

    /// Draws what happens in the middle of a run of `op`, if anything; returns how it is undone.
    fn disturb(&mut self, op: Option<Op>, before: &(Tree, Tree)) -> Undo {
        let Some(op) = op else {
            self.relay.prepare(None);
            return Undo(None);
        };
        let most = [100, 300, 1_000, 3_000, 20_000, 3 << 20][pick(&mut self.random, 6)];
        let (after, down) = (self.random.below(most), self.random.below(2) == 0);
        let mut undo = Undo(None);
        let act = match self.random.below(8) {
            0 => Act::Cut { reset: false },
            1 => Act::Cut { reset: true },
            2 => Act::Signal(Signal::KILL),
            3 => Act::Signal(Signal::INT),
            4 | 5 if !op.is_down() => Act::LoseAnswer,
            _ => {
                let (root, tree) = if self.random.below(2) == 0 {
                    (self.local(), &before.0)
                } else {
                    (self.remote.join("t"), &before.1)
                };
                let directories: Vec<&PathBuf> =
                    tree.iter().filter(|(_, node)| node.is_directory()).map(|(path, _)| path).collect();
                if directories.is_empty() {
                    Act::Cut { reset: false }
                } else {
                    let at = root.join(directories[pick(&mut self.random, directories.len())]);
                    // Apart from both trees, on the same file system.
                    let aside = root.with_file_name("aside");
                    undo = Undo(Some((root.clone(), at.clone(), aside.clone())));
                    let outside = self.place.path().join("outside");
                    Act::Change(Box::new(move || {
                        if fs::rename(&at, aside).is_ok() {
                            symlink(outside, at).unwrap();
                        }
                    }))
                }
            }
        };
        // An answer is looked for on the way to the client.
        let down = down || matches!(act, Act::LoseAnswer);
        let skipped = if self.random.below(4) == 0 { self.random.below(4) } else { 0 };
        self.relay.prepare(Some(Disturbance { skipped, down, after, act }));
        undo
    }
}

/// How many sockets a server has.
pub(crate) fn sockets(server: &Server) -> usize {
    let descriptors = fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap();
    let is_socket =
        |path: PathBuf| fs::read_link(path).is_ok_and(|to| to.as_os_str().as_bytes().starts_with(b"socket:"));
    descriptors.filter(|entry| entry.as_ref().is_ok_and(|entry| is_socket(entry.path()))).count()
}

/// The root of a tree, a directory in it that may have been replaced by a link, and where that is then.
struct Undo(Option<(PathBuf, PathBuf, PathBuf)>);

impl Undo {
    /// Puts it back; returns its path in the tree if it was away.
    fn run(self) -> Option<PathBuf> {
        let (root, at, aside) = self.0?;
        aside.symlink_metadata().ok()?;
        assert!(at.is_symlink(), "the link that was put in its place was replaced: {}", at.display());
        clear(&at);
        fs::rename(aside, &at).unwrap();
        at.strip_prefix(root).ok().map(PathBuf::from)
    }
}
