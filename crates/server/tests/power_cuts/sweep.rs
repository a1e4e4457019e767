//! Cuts behind every call, and figures.

use std::{
    collections::{BTreeSet, HashSet, hash_map::DefaultHasher},
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use ferry_server::store::{Store, StoreOptions};
use tempfile::TempDir;

use crate::{
    check::check,
    common::{self, dice::Dice, fresh_root, is_full, is_more, lack::Lack, tree::Tree},
    model::{Fate, Image, Log, Op},
    recorder::{Lie, Recorder},
    script::{self, Player, Step},
    worlds::History,
};

#[derive(Debug, Clone, Default)]
pub(crate) struct Figures {
    pub(crate) workloads: usize,
    pub(crate) cuts: usize,
    pub(crate) disks: usize,
    pub(crate) violations: Vec<String>,
}

impl Figures {
    pub(crate) fn since(&self, before: &Figures) -> Figures {
        Figures {
            workloads: self.workloads - before.workloads,
            cuts: self.cuts - before.cuts,
            disks: self.disks - before.disks,
            violations: self.violations[before.violations.len()..].to_vec(),
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures { workloads, cuts, disks, violations } = self;
        write!(f, "workloads {workloads}, crash points {cuts}, disks {disks}, violations {}", violations.len())
    }
}

/// A real directory, what is done to it, and what clients are told.
struct Life {
    root: TempDir,
    recorder: Arc<Recorder>,
    history: History,
    /// How many ids may be known.
    max_kept: u64,
    lack: Lack,
}

impl Life {
    fn new(root: TempDir, lie: Lie, history: History) -> Life {
        Life::lacking(Lack::Nothing, root, lie, history)
    }

    fn lacking(lack: Lack, root: TempDir, lie: Lie, history: History) -> Life {
        let recorder = Arc::new(Recorder::new(root.path(), lie, lack));
        let max_kept = common::options(root.path()).max_kept;
        Life { root, recorder, history, max_kept, lack }
    }

    /// One server, from its start to its end.
    fn serve(&mut self, script: &[Step]) {
        let options = StoreOptions { max_kept: self.max_kept, ..common::options(self.root.path()) };
        let opened = Store::open_watched(&options, Some(self.recorder.clone()));
        match opened {
            Ok(store) => Player::new(&store, &self.recorder, &mut self.history, self.lack).play(script),
            Err(error) => assert!(self.recorder.is_dead(), "{error}"),
        }
    }

    /// Cuts behind each call from `from` on.
    fn sweep(&self, name: &str, from: usize, dice: &mut Dice, figures: &mut Figures) {
        let log = self.recorder.log();
        figures.workloads += 1;
        for cut in from..=log.ops.len() {
            figures.cuts += 1;
            let (worlds, facts) = (self.history.worlds_at(cut), self.history.facts_at(cut));
            for (fate, image) in disks(&log, cut, dice) {
                figures.disks += 1;
                let last = cut.checked_sub(1).map(|last| &log.ops[last]);
                let shown = |found| format!("{name}: {found} [cut behind call {cut}, {fate:?}: {}]", brief(last));
                figures.violations.extend(check(&image, &worlds, &facts).into_iter().map(shown));
            }
        }
    }
}

fn brief(op: Option<&Op>) -> String {
    format!("{op:?}").chars().take(80).collect()
}

/// Returns the different disks that there may be after one cut.
fn disks(log: &Log, cut: usize, dice: &mut Dice) -> Vec<(Fate, Image)> {
    let mut fates = vec![Fate::AllLost, Fate::AllKept, Fate::EntriesKept, Fate::BytesKept];
    fates.resize(
        fates.len()
            + match (is_full(), is_more()) {
                (true, _) => 12,
                (false, true) => 2,
                (false, false) => 1,
            },
        Fate::Random,
    );
    let mut seen = HashSet::new();
    let mut disks = Vec::new();
    for fate in fates {
        let image = log.after_cut(cut, fate, dice);
        let mut hasher = DefaultHasher::new();
        image.reachable().hash(&mut hasher);
        if seen.insert(hasher.finish()) {
            disks.push((fate, image));
        }
    }
    disks
}

/// A server on an empty root, cut behind each call.
pub(crate) fn one_life(name: &str, script: &[Step], lie: Lie, dice: &mut Dice, figures: &mut Figures) {
    let mut life = Life::new(fresh_root(), lie, History::default());
    life.serve(script);
    life.sweep(name, 0, dice, figures);
}

/// Does the same on a file system that lacks something.
pub(crate) fn lacking_life(name: &str, script: &[Step], lack: Lack, dice: &mut Dice, figures: &mut Figures) {
    let mut life = Life::lacking(lack, fresh_root(), Lie::None, History::default());
    life.serve(script);
    life.sweep(name, 0, dice, figures);
}

/// Does the same on a server that may know of one id only, and forgets it for the next one.
pub(crate) fn forgetful_life(name: &str, script: &[Step], dice: &mut Dice, figures: &mut Figures) {
    let mut life = Life { max_kept: 1, ..Life::new(fresh_root(), Lie::None, History::default()) };
    life.serve(script);
    life.sweep(name, 0, dice, figures);
}

/// Returns whether a kept upload gets its name.
fn publishes(op: &Op) -> bool {
    matches!(op, Op::Rename { from: (_, name), .. } if name.ends_with(".data"))
}

/// A server that is killed behind each call that publishes a kept upload, and behind up to `rounds` others;
/// the next one goes on in the same directory, most of which the disk need not have yet; and is cut behind
/// each of its calls.
pub(crate) fn killed_at_some_calls(name: &str, script: &[Step], rounds: usize, dice: &mut Dice, figures: &mut Figures) {
    let mut life = Life::new(fresh_root(), Lie::None, History::default());
    life.serve(script);
    let log = life.recorder.log();
    let (mut kills, mut others): (Vec<_>, Vec<_>) =
        (0..log.ops.len()).partition(|call| call.checked_sub(1).is_some_and(|last| publishes(&log.ops[last])));
    while others.len() > rounds {
        others.swap_remove(dice.below(others.len()));
    }
    kills.extend(others);
    for kill in kills {
        let mut life = Life::new(fresh_root(), Lie::None, History::default());
        life.recorder.dies_at(kill);
        life.serve(script);
        life.recorder.dies_at(usize::MAX);
        let recovery = script::recovery(&life.history.facts_at(usize::MAX - 1), dice);
        life.serve(&recovery);
        life.sweep(&format!("{name}, killed at {kill}"), kill, dice, figures);
    }
}

/// Several lives, each on what a power cut left of the one before, and each cut behind every call.
pub(crate) fn lives(name: &str, count: usize, dice: &mut Dice, figures: &mut Figures) {
    let (mut root, mut history) = (fresh_root(), History::default());
    for number in 0..count {
        let mut life = Life::new(root, Lie::None, history);
        let mut script = script::recovery(&life.history.facts, dice);
        script.extend(script::random(dice, 4));
        life.serve(&script);
        life.sweep(&format!("{name}, life {number}"), 0, dice, figures);
        let log = life.recorder.log();
        let cut = dice.below(log.ops.len() + 1);
        root = fresh_root();
        log.after_cut(cut, Fate::Random, dice).write_to(root.path());
        let tree = Tree::read(root.path());
        let worlds: BTreeSet<_> = life.history.worlds_at(cut).into_iter().filter(|world| world.tree == tree).collect();
        if worlds.is_empty() {
            return figures.violations.push(format!("{name}: clients see {tree:?} after life {number}"));
        }
        history = History { worlds, facts: life.history.facts_at(cut), events: Vec::new() };
    }
}
