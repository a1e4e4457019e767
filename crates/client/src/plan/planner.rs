//! From what was chosen to a plan.

use std::{
    borrow::Cow,
    collections::HashSet,
    io,
    path::{Path, PathBuf},
};

use ferry_wire::{FileMeta, Name};

use super::{
    Clash, Deletion, Direction, Looking, Pair, Plan, Remarks, Replacement, Sync, Transfers,
    compare::{Compared, Obsolete, Rules, Verdict, compare, deletions, most_deletions, replacements},
    content, seen,
    side::Side,
};
use crate::{
    client::Client,
    error::Error,
    local::{HeldDirectory, LocalPath, clashes, repeated},
    transfer::{Fetch, Store},
    tree::{Node, NodeKind, unnameable},
};

/// The words for a thing that the other end does not list, and does not say to be gone either.
pub(super) const NOT_GONE: &str = "stays: the other end does not list it, and does not say that it is gone either";

/// Puts a [`Plan`] together from what was chosen.
///
/// A call that fails leaves the plan as it was, and may be made again on another connection.
#[derive(Debug)]
pub struct Planner {
    plan: Plan,
    /// So many things were chosen.
    chosen: usize,
}

impl Planner {
    /// Begins a plan that moves nothing.
    #[must_use]
    pub fn new(direction: Direction) -> Planner {
        let plan = Plan {
            make: Vec::new(),
            transfers: Transfers::new(direction),
            replace: Vec::new(),
            delete: Vec::new(),
            max_delete: 0,
            unchanged: 0,
            left_out: Vec::new(),
            skipped: Vec::new(),
            clashes: Vec::new(),
        };
        Planner { plan, chosen: 0 }
    }

    /// Adds a file, whatever is there already. `meta` is what a listing said of the server's, where there was one.
    pub fn add_file(&mut self, here: LocalPath, there: Name, meta: Option<FileMeta>) {
        self.chosen += 1;
        match &mut self.plan.transfers {
            Transfers::Up(files) => files.push(Store { source: here, name: there }),
            Transfers::Down(files) => files.push(Fetch { name: there, target: here, meta }),
        }
    }

    /// Adds a directory with all that is beneath it, whatever is there already; [`None`] stands for the root of the server.
    /// It is made where it is missing, but not what it is in. `watch` learns what is looked at.
    ///
    /// # Errors
    ///
    /// A directory that is not there or can't be read, a connection that is lost.
    pub fn add_directory(
        &mut self,
        client: &mut Client,
        here: &LocalPath,
        there: Option<&Name>,
        watch: &mut dyn FnMut(Looking),
    ) -> Result<(), Error> {
        let mut remarks = Remarks::default();
        let (here, source) = match self.plan.direction() {
            Direction::Up => {
                let (root, side) = Side::here(here, &mut remarks, watch)?;
                (root.place(""), side)
            }
            Direction::Down => (here.confined(), Side::there(client, there, &mut remarks, watch)?),
        };
        let top = Pair { here, there: there.cloned() };
        self.draft(client, &top, (source, &Side::missing()), Rules::default(), remarks, watch)
    }

    /// Adds what makes one of two directories like the other: see [`Plan::sync`].
    pub(super) fn add_difference(
        &mut self,
        client: &mut Client,
        local: &Path,
        remote: Option<&Name>,
        sync: &Sync,
        watch: &mut dyn FnMut(Looking),
    ) -> Result<(), Error> {
        let mut remarks = Remarks::default();
        let (up, local) = (self.plan.direction() == Direction::Up, LocalPath::from(local));
        let (root, here) = match up {
            true => Side::here(&local, &mut remarks, watch)?,
            false => Side::here_or_missing(&local, &mut remarks, watch)?,
        };
        let there = Side::there_to_compare(client, remote, up, &mut remarks, watch)?;
        let root = match &sync.backup {
            Some(backup) => with_backup(root, backup)?,
            None => root,
        };
        let top = Pair { here: root.place(""), there: remote.cloned() };
        let (source, target) = if up { (here, there) } else { (there, here) };
        let mut delete = Vec::new();
        if sync.delete {
            delete = named(&top, deletions(&source, &target), &mut remarks);
        }
        if !up && !delete.is_empty() {
            watch(Looking::Asking(delete.len()));
            let seen = seen::there(client, delete.iter().map(|deletion| &deletion.there))?;
            let staying = seen::only_gone(&mut delete, &seen);
            remarks.skipped.extend(staying.iter().map(|stays| (None, Error::file(&*stays.here, NOT_GONE))));
        }
        let most = sync.max_delete.unwrap_or_else(|| most_deletions(&source, &target));
        let rules = Rules { check: sync.check, delete: sync.delete };
        self.draft(client, &top, (source, &target), rules, remarks, watch)?;
        self.plan.delete.extend(delete);
        self.plan.max_delete += most;
        Ok(())
    }

    /// Ends it: of things that would have one name at the end that is changed, the first one stays.
    ///
    /// # Errors
    ///
    /// A directory in which nothing can be made, where it depends on its file system.
    pub fn finish(mut self) -> Result<Plan, Error> {
        if self.chosen > 1 {
            self.leave_out_clashes()?;
        }
        Ok(self.plan)
    }

    /// Adds what is to be done beneath `top` so that `target` is like `source`.
    fn draft(
        &mut self,
        client: &mut Client,
        top: &Pair,
        (source, target): (Side, &Side),
        rules: Rules,
        mut remarks: Remarks,
        watch: &mut dyn FnMut(Looking),
    ) -> Result<(), Error> {
        let direction = self.plan.direction();
        let clashing = match direction {
            Direction::Up => Vec::new(),
            Direction::Down => clashes(&top.here, source.nodes.iter().map(|node| node.name.as_str()))?,
        };
        let node_name = |index: usize| &source.nodes[index].name;
        let refused: HashSet<Name> = clashing.iter().map(|&(_, second)| node_name(second).clone()).collect();
        let Compared { mut verdicts, conflicts, skipped } = compare(&source, target, rules, &refused);
        settle_unsure(client, top, &source, &mut verdicts, watch)?;

        // From here on nothing fails.
        self.chosen += 1;
        let plan = &mut self.plan;
        for (first, second) in clashing {
            if let (Ok(first), Ok(second)) = (beneath(top, node_name(first)), beneath(top, node_name(second))) {
                plan.clashes.push(Clash { first: first.into(), second: second.into() });
            }
        }
        remarks.skipped.extend(skipped);
        for ((_, by_directory), delete) in conflicts.iter().zip(replacements(&conflicts, target)) {
            let delete = named(top, delete, &mut remarks);
            plan.replace.push(Replacement { by_directory: *by_directory, delete });
        }
        if target.missing && top.target(direction).is_some() {
            plan.make.push(top.clone());
        }
        for (Node { name, kind }, verdict) in source.nodes.into_iter().zip(verdicts) {
            let (here, there) = match (verdict, beneath(top, &name)) {
                (Verdict::Make | Verdict::Move, Ok(names)) => names,
                (Verdict::Make | Verdict::Move, Err(error)) => {
                    remarks.skipped.push((None, error));
                    continue;
                }
                (Verdict::Same | Verdict::Unsure, _) => {
                    plan.unchanged += usize::from(kind != NodeKind::Directory);
                    continue;
                }
                (Verdict::Skip, _) => continue,
            };
            match (kind, &mut plan.transfers) {
                (NodeKind::Directory, _) => plan.make.push(Pair { here, there: Some(there) }),
                (NodeKind::File { size, .. }, Transfers::Up(files)) => {
                    files.push(Store { source: here.of_size(size), name: there });
                }
                (NodeKind::File { size, mtime, tag }, Transfers::Down(files)) => {
                    let meta = tag.map(|tag| FileMeta { size, mtime, tag });
                    files.push(Fetch { name: there, target: here, meta });
                }
            }
        }
        plan.left_out.extend(remarks.left_out);
        plan.skipped.extend(remarks.skipped);
        Ok(())
    }

    /// Leaves out what would have the name of something else that was chosen. A directory that is made twice is no harm:
    /// two files in it would be.
    fn leave_out_clashes(&mut self) -> Result<(), Error> {
        let (direction, plan) = (self.plan.direction(), &mut self.plan);
        let made = plan.make.len();
        let target = |pair: &Pair| pair.target(direction).map(Path::to_path_buf).unwrap_or_default();
        let targets: Vec<PathBuf> =
            plan.make.iter().map(target).chain(plan.transfers.targets().map(Path::to_path_buf)).collect();
        let texts: Vec<Cow<'_, str>> = targets.iter().map(|path| path.to_string_lossy()).collect();
        let texts = texts.iter().map(|text| &**text);
        let pair = |index: usize| match index.checked_sub(made) {
            Some(file) => plan.transfers.pair(file),
            None => plan.make[index].clone(),
        };
        let found = match (direction, targets.is_empty()) {
            (_, true) => return Ok(()),
            (Direction::Up, _) => repeated(texts),
            (Direction::Down, _) => clashes(&pair(0).here, texts)?,
        };
        let is_harm = |&(first, second): &(usize, usize)| second >= made || targets[first] != targets[second];
        let found: Vec<(usize, usize)> = found.into_iter().filter(is_harm).collect();
        let clashes: Vec<Clash> =
            found.iter().map(|&(first, second)| Clash { first: pair(first), second: pair(second) }).collect();
        let files: HashSet<usize> = found.iter().filter_map(|(_, second)| second.checked_sub(made)).collect();
        let above: HashSet<&Path> =
            found.iter().filter(|(_, second)| *second < made).map(|&(_, second)| &*targets[second]).collect();
        if found.is_empty() {
            return Ok(());
        }
        let is_within = |target: &Path| target.ancestors().any(|above_it| above.contains(above_it));
        plan.make.retain(|pair| pair.target(direction).is_none_or(|target| !is_within(target)));
        let stays: Vec<usize> = (0..targets.len() - made)
            .filter(|file| !files.contains(file) && !is_within(&targets[made + file]))
            .collect();
        plan.transfers = plan.transfers.only(&stays);
        plan.clashes.extend(clashes);
        Ok(())
    }
}

impl From<(LocalPath, Name)> for Pair {
    fn from((here, there): (LocalPath, Name)) -> Pair {
        Pair { here, there: Some(there) }
    }
}

/// Returns the names at both ends of what is `name` beneath `top`.
fn beneath(top: &Pair, name: &Name) -> Result<(LocalPath, Name), Error> {
    let here = top.here.beneath(name.as_str());
    match &top.there {
        None => Ok((here, name.clone())),
        Some(directory) => match directory.join(name.as_str()) {
            Ok(there) => Ok((here, there)),
            Err(problem) => Err(Error::file(&*here, unnameable(problem))),
        },
    }
}

/// Returns what is to be deleted beneath `top`, with its names at both ends.
fn named(top: &Pair, obsolete: Vec<Obsolete>, remarks: &mut Remarks) -> Vec<Deletion> {
    let named = |(name, directory): Obsolete| match beneath(top, &name) {
        Ok((here, there)) => Some(Deletion { here, there, directory }),
        Err(error) => {
            remarks.skipped.push((None, error));
            None
        }
    };
    obsolete.into_iter().filter_map(named).collect()
}

/// Compares by their content the files whose sizes and times leave open whether they are alike.
fn settle_unsure(
    client: &mut Client,
    top: &Pair,
    source: &Side,
    verdicts: &mut [Verdict],
    watch: &mut dyn FnMut(Looking),
) -> Result<(), Error> {
    let unsure = |(index, verdict): (usize, &Verdict)| (*verdict == Verdict::Unsure).then_some(index);
    let unsure: Vec<usize> = verdicts.iter().enumerate().filter_map(unsure).collect();
    let files = unsure.iter().map(|&index| beneath(top, &source.nodes[index].name)).collect::<Result<Vec<_>, _>>()?;
    for (index, alike) in unsure.into_iter().zip(content::alike(client, &files, watch)?) {
        verdicts[index] = if alike { Verdict::Same } else { Verdict::Move };
    }
    Ok(())
}

/// Gives `local` a place for what is replaced or deleted in it, which must be apart from it.
fn with_backup(local: HeldDirectory, backup: &Path) -> Result<HeldDirectory, Error> {
    let real = |path: &Path| {
        std::fs::canonicalize(path).or_else(|_| {
            let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
            Ok(std::fs::canonicalize(above)?.join(path.file_name().unwrap_or_default()))
        })
    };
    let failed = |error: io::Error| Error::local("keep files in", backup, error);
    let (from, to) = (real(local.path()).map_err(failed)?, real(backup).map_err(failed)?);
    if from.starts_with(&to) || to.starts_with(&from) {
        return Err(Error::file(backup, "has to be outside of the directory that is changed, and that outside of it"));
    }
    Ok(local.with_backup(HeldDirectory::at(backup)))
}
