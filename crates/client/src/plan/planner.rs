//! From what was chosen to a plan.

use std::{
    borrow::Cow,
    collections::HashSet,
    io,
    path::{Component, Path, PathBuf},
};

use ferry_wire::{DirMeta, FileMeta, Greeting, Name};

use super::{
    Amendment, Backup, Clash, Deletion, Direction, Looking, Pair, Plan, Remarks, Replacement, Sync, Transfers,
    compare::{self, Compared, Obsolete, Rules, Verdict, compare, deletions, most_deletions, replacements},
    content, seen,
    side::{Look, Side, chooser},
};
use crate::{
    choose::{Above, Choice, Chooser, Links},
    client::Client,
    error::Error,
    local::{HeldDirectory, LocalPath, clashes, repeated},
    options::Permissions,
    transfer::{Fetch, Store},
    tree::{End, Node, NodeKind, TreePlaces, is_within, unnameable},
};

/// The words for a thing that the other end does not list, and does not say to be gone either.
pub(super) const NOT_GONE: &str = "stays: the other end does not list it, and does not say that it is gone either";

/// Puts a [`Plan`] together from what was chosen.
///
/// A call that fails leaves the plan as it was, and may be made again on another connection.
#[derive(Debug)]
pub struct Planner {
    plan: Plan,
    choice: Choice,
    permissions: Permissions,
    /// So many things were chosen.
    chosen: usize,
}

/// The places of a tree at both ends.
struct Tops {
    names: Pair,
    /// Where things are here.
    places: TreePlaces,
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
            newer: 0,
            missing: Vec::new(),
            left_out: Vec::new(),
            skipped: Vec::new(),
            clashes: Vec::new(),
            amend: Vec::new(),
            backup: None,
            directories: Vec::new(),
            closed: Vec::new(),
        };
        Planner { plan, choice: Choice::default(), permissions: Permissions::Usual, chosen: 0 }
    }

    /// Keeps these permissions of directories that are added from now on, as the [`Settings`](crate::Settings) that the plan
    /// is carried out with keep those of files.
    #[must_use]
    pub fn keeping(self, permissions: Permissions) -> Planner {
        Planner { permissions, ..self }
    }

    /// Adds only things of `choice` from now on.
    #[must_use]
    pub fn choosing(self, choice: Choice) -> Planner {
        Planner { choice, ..self }
    }

    /// Adds a file, whatever is there already, if it is chosen: by the last part of its name, and by size and time as far as
    /// they are known. `meta` is what a listing said of the server's, where there was one.
    pub fn add_file(&mut self, here: LocalPath, there: Name, meta: Option<FileMeta>) {
        let (name, facts) = match self.plan.direction() {
            Direction::Up => (last(&here), self.choice.has_limits().then(|| here.facts()).flatten()),
            Direction::Down => (there.last().to_owned(), meta.as_ref().map(|meta| (meta.size, meta.mtime))),
        };
        let place = self.place_of(&here, Some(&there));
        let is_chosen = self.choice.takes_name(&place, &name, false)
            && facts.is_none_or(|(size, mtime)| self.choice.takes_file(size, mtime));
        if !is_chosen {
            return;
        }
        self.chosen += 1;
        match &mut self.plan.transfers {
            Transfers::Up(files) => files.push(Store { source: here, name: there }),
            Transfers::Down(files) => files.push(Fetch { name: there, target: here, meta }),
        }
    }

    /// Adds a directory with all that is beneath it and chosen, whatever is there already; [`None`] stands for the root of the
    /// server. It is made where it is missing, but not what it is in. For the rules, names begin with that of the
    /// directory. `watch` learns what is looked at.
    ///
    /// # Errors
    ///
    /// A directory that is not there or can't be read, a connection that is lost; rules of a directory that can't be read.
    pub fn add_directory(
        &mut self,
        client: &mut Client,
        here: &LocalPath,
        there: Option<&Name>,
        watch: &mut dyn FnMut(Looking),
    ) -> Result<(), Error> {
        let top = match self.plan.direction() {
            Direction::Up => last(here),
            Direction::Down => there.map(|name| name.last().to_owned()).unwrap_or_default(),
        };
        match top.is_empty() || self.choice.takes_name(&self.place_of(here, there), &top, true) {
            true => self.add_tree(client, &top, here, there, watch),
            false => Ok(()),
        }
    }

    /// Does the same with all that is beneath a directory: for the rules, names begin below it.
    ///
    /// # Errors
    ///
    /// As [`Planner::add_directory`].
    pub fn add_content(
        &mut self,
        client: &mut Client,
        here: &LocalPath,
        there: Option<&Name>,
        watch: &mut dyn FnMut(Looking),
    ) -> Result<(), Error> {
        self.add_tree(client, "", here, there, watch)
    }

    /// Returns the path of the directory that something is in at the end that is read, for the rules.
    fn place_of(&self, here: &LocalPath, there: Option<&Name>) -> String {
        let parent = |path: String| path.rsplit_once('/').map_or_else(String::new, |(parent, _)| parent.to_owned());
        match self.plan.direction() {
            Direction::Up => parent(whole_path(here)),
            Direction::Down => there.and_then(Name::parent).unwrap_or_default().to_owned(),
        }
    }

    fn add_tree(
        &mut self,
        client: &mut Client,
        top: &str,
        here: &LocalPath,
        there: Option<&Name>,
        watch: &mut dyn FnMut(Looking),
    ) -> Result<(), Error> {
        let (mut remarks, choice) = (Remarks::default(), self.choice.clone());
        let up = self.plan.direction() == Direction::Up;
        let tells_modes = self.permissions != Permissions::Usual;
        let above = match top {
            "" if up => Above::both(&whole_path(here)),
            "" => Above::both(there.map_or("", Name::as_str)),
            _ => Above::both(&self.place_of(here, there)),
        };
        let here = if up { here.hold()?.place("") } else { here.confined() };
        let places = TreePlaces::of(here.clone());
        let mut chooser = chooser(&choice, top, above, &places);
        let mut look = look(&mut chooser, (End::Read, choice.links, tells_modes), &mut remarks, watch);
        let mut source = match up {
            true => Side::here(&places, &mut look)?,
            false => Side::there(client, there, &mut look)?,
        };
        chooser.end()?;
        let missing = missing(&choice, &mut source);
        let rules = Rules { permissions: self.permissions, limits: Some(&choice), ..Rules::default() };
        let tops = Tops { names: Pair { here, there: there.cloned() }, places };
        self.draft(client, &tops, (source, &Side::missing()), rules, remarks, watch)?;
        self.plan.missing.extend(missing);
        Ok(())
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
        let (mut remarks, choice) = (Remarks::default(), self.choice.clone());
        let (up, local) = (self.plan.direction() == Direction::Up, LocalPath::from(local));
        let tells_modes = sync.permissions != Permissions::Usual;
        sync.permissions.check_told(Some(client.greeting()))?;
        if up {
            sync.permissions.check_kept(Some(client.greeting()))?;
        }
        let (root, is_missing) = match local.hold() {
            Ok(root) => (root, false),
            Err(Error::Local { source, .. }) if !up && source.kind() == io::ErrorKind::NotFound => {
                (HeldDirectory::at(&*local), true)
            }
            Err(error) => return Err(error),
        };
        let places = TreePlaces::of(root.place(""));
        let (path, name) = (whole_path(&local), remote.map(ToString::to_string).unwrap_or_default());
        let above = if up { Above { read: path, changed: name } } else { Above { read: name, changed: path } };
        let mut chooser = chooser(&choice, "", above, &places);
        let (end_here, end_there) = if up { (End::Read, End::Changed) } else { (End::Changed, End::Read) };
        let here = match is_missing {
            true => Side::missing(),
            false => {
                let mut look = look(&mut chooser, (end_here, choice.links, false), &mut remarks, watch);
                Side::here_to_compare(&root, &places, &mut look)?
            }
        };
        let mut look = look(&mut chooser, (end_there, Links::Skip, tells_modes), &mut remarks, watch);
        let there = Side::there_to_compare(client, remote, up, &mut look)?;
        chooser.end()?;
        let root = match &sync.backup {
            Some(backup) => with_backup(root, backup)?,
            None => root,
        };
        self.plan.backup = match &sync.backup_there {
            Some(backup) if up => Some(Backup::new(remote, backup.clone())?),
            _ => None,
        };
        let (mut source, target) = if up { (here, there) } else { (there, here) };
        let missing = if sync.listed_may_be_gone { Vec::new() } else { missing(&choice, &mut source) };
        let tops = Tops { names: Pair { here: root.place(""), there: remote.cloned() }, places };
        let mut delete = Vec::new();
        if sync.delete {
            delete = named(&tops.names, deletions(&source, &target), &mut remarks);
        }
        if !up && !delete.is_empty() {
            watch(Looking::Asking(delete.len()));
            let seen = seen::there(client, delete.iter().map(|deletion| &deletion.there))?;
            let staying = seen::only_gone(&mut delete, &seen);
            remarks.skipped.extend(staying.iter().map(|stays| (None, Error::file(&*stays.here, NOT_GONE))));
        }
        let most = sync.max_delete.unwrap_or_else(|| most_deletions(&source, &target));
        let Sync { check, delete: deletes, update, permissions, .. } = *sync;
        let rules = Rules { check, delete: deletes, update, permissions, limits: Some(&choice) };
        self.draft(client, &tops, (source, &target), rules, remarks, watch)?;
        self.note_replaced(&tops, &target);
        self.plan.missing.extend(missing);
        self.plan.delete.extend(delete);
        self.plan.max_delete += most;
        Ok(())
    }

    /// Notes the files of `target`, the server's side, that uploads will replace, where they are to be kept.
    fn note_replaced(&mut self, tops: &Tops, target: &Side) {
        let (Some(backup), Transfers::Up(files)) = (&mut self.plan.backup, &self.plan.transfers) else { return };
        let is_file = |node: &&Node| matches!(node.kind, NodeKind::File { .. });
        let nodes = target.nodes.iter().filter(is_file);
        let there: HashSet<Name> = nodes.filter_map(|node| Some(beneath(&tops.names, &node.name).ok()?.1)).collect();
        files.iter().filter(|file| there.contains(&file.name)).for_each(|file| backup.note_replaced(&file.name));
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

    /// Adds what is to be done beneath `tops` so that `target` is like `source`.
    fn draft(
        &mut self,
        client: &mut Client,
        tops: &Tops,
        (source, target): (Side, &Side),
        rules: Rules<'_>,
        mut remarks: Remarks,
        watch: &mut dyn FnMut(Looking),
    ) -> Result<(), Error> {
        let (direction, top) = (self.plan.direction(), &tops.names);
        let keeps_modes = rules.permissions != Permissions::Usual && client.greeting().has(Greeting::MODES);
        let clashing = match direction {
            Direction::Up => Vec::new(),
            Direction::Down => clashes(&top.here, source.nodes.iter().map(|node| node.name.as_str()))?,
        };
        let node_name = |index: usize| &source.nodes[index].name;
        let refused: HashSet<Name> = clashing.iter().map(|&(_, second)| node_name(second).clone()).collect();
        let Compared { mut verdicts, conflicts, newer, skipped } = compare(&source, target, rules, &refused);
        settle_unsure(client, tops, (&source, target, rules.permissions), &mut verdicts, watch)?;

        // From here on nothing fails.
        self.chosen += 1;
        let plan = &mut self.plan;
        for (first, second) in clashing {
            if let (Ok(first), Ok(second)) = (beneath(top, node_name(first)), beneath(top, node_name(second))) {
                plan.clashes.push(Clash { first: first.into(), second: second.into() });
            }
        }
        remarks.skipped.extend(skipped);
        plan.newer += newer;
        for ((_, by_directory), delete) in conflicts.iter().zip(replacements(&conflicts, target)) {
            let delete = named(top, delete, &mut remarks);
            plan.replace.push(Replacement { by_directory: *by_directory, delete });
        }
        if top.target(direction).is_some() {
            plan.note_top(top, source.top, target, (rules.permissions, keeps_modes));
        }
        for Node { name, kind } in &target.nodes {
            if let (NodeKind::Directory { mode, .. }, Ok(names)) = (kind, beneath(top, name)) {
                plan.note_closed(names.into(), mode.filter(|_| keeps_modes));
            }
        }
        for (Node { name, kind }, verdict) in source.nodes.into_iter().zip(verdicts) {
            if verdict == Verdict::Skip {
                continue;
            }
            let amends = is_there(verdict)
                && compare::have_other_permissions(&kind, target.get(name.as_str()), rules.permissions);
            match tops.beneath(&name) {
                Ok(names) => plan.note_node(names, kind, verdict, (amends, keeps_modes)),
                Err(error) => remarks.skipped.push((None, error)),
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

impl Plan {
    /// Notes the directory that all of a tree is in: `source` at the end that is read, and the top of `target`. `amends` and
    /// `keeps_modes` are of [`Plan::note_directory`].
    fn note_top(
        &mut self,
        top: &Pair,
        source: DirMeta,
        target: &Side,
        (permissions, keeps_modes): (Permissions, bool),
    ) {
        if target.missing {
            self.make.push(top.clone());
        }
        let (of_source, of_target) = (NodeKind::from(source), NodeKind::from(target.top));
        let amends = compare::have_other_permissions(&of_source, Some(&of_target), permissions);
        self.note_directory(top.clone(), source, (target.missing || amends, amends), keeps_modes);
        self.note_closed(top.clone(), target.top.mode.filter(|_| keeps_modes));
    }

    /// Notes what is to be done so that the things of these names are alike, by the `verdict` on them; `kind` is that at the
    /// end that is read. `amends` and `keeps_modes` are of [`Plan::note_directory`].
    fn note_node(
        &mut self,
        (here, there): (LocalPath, Name),
        kind: NodeKind,
        verdict: Verdict,
        (amends, keeps_modes): (bool, bool),
    ) {
        let is_there = is_there(verdict);
        let pair = Pair { here: here.clone(), there: Some(there.clone()) };
        match kind {
            NodeKind::Directory { mtime, mode } => {
                let differs = !matches!(verdict, Verdict::Same | Verdict::Unsure);
                self.note_directory(pair, DirMeta { mtime, mode }, (differs, amends), keeps_modes);
            }
            NodeKind::File { mtime, mode: Some(mode), .. } if verdict == Verdict::Amend => {
                self.amend.push(Amendment { pair, mtime, mode, is_directory: false });
            }
            NodeKind::File { .. } => self.unchanged += usize::from(is_there),
        }
        if is_there {
            return;
        }
        match (kind, &mut self.transfers) {
            (NodeKind::Directory { .. }, _) => self.make.push(Pair { here, there: Some(there) }),
            (NodeKind::File { size, .. }, Transfers::Up(files)) => {
                files.push(Store { source: here.of_size(size), name: there });
            }
            (NodeKind::File { size, mtime, tag, mode }, Transfers::Down(files)) => {
                let meta = tag.map(|tag| FileMeta { size, mtime, tag, mode });
                files.push(Fetch { name: there, target: here, meta });
            }
        }
    }
}

/// Returns whether the end that is changed has the thing already, but perhaps for its permissions.
fn is_there(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Same | Verdict::Unsure | Verdict::Amend)
}

impl Tops {
    /// Returns the names at both ends of what is `name` beneath them.
    fn beneath(&self, name: &Name) -> Result<(LocalPath, Name), Error> {
        let (here, there) = beneath(&self.names, name)?;
        Ok((self.places.elsewhere(name).unwrap_or(here), there))
    }
}

/// Returns the path from the root, as it is written: links in it are not looked at.
fn whole_path(path: &Path) -> String {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut parts = Vec::new();
    for component in whole.components() {
        match component {
            Component::Normal(part) => parts.push(part.to_string_lossy()),
            Component::ParentDir => drop(parts.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    parts.join("/")
}

/// Returns the last part of a path; nothing where there is none that is a name.
fn last(path: &LocalPath) -> String {
    path.file_name().map(|last| last.to_string_lossy().into_owned()).unwrap_or_default()
}

fn look<'a, 'c>(
    chooser: &'a mut Chooser<'c>,
    (end, links, tells_modes): (End, Links, bool),
    remarks: &'a mut Remarks,
    watch: &'a mut dyn FnMut(Looking),
) -> Look<'a, 'c> {
    Look { chooser, end, links, tells_modes, remarks, watch }
}

/// Returns the names of the list that `source` does not have and that no rule hides. They are not known from now on: nothing
/// is deleted because somebody has mistyped its name.
pub(super) fn missing(choice: &Choice, source: &mut Side) -> Vec<Name> {
    let is_known = |name: &Name| {
        source.get(name.as_str()).is_some() || is_within(&source.left.names, name) || is_within(&source.opaque, name)
    };
    let missing: Vec<Name> =
        choice.only.iter().flat_map(|only| only.names()).filter(|name| !is_known(name)).cloned().collect();
    source.opaque.extend(missing.iter().cloned());
    missing
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
    let named = |Obsolete { name, directory, hidden }: Obsolete| match beneath(top, &name) {
        Ok((here, there)) => Some(Deletion { here, there, directory, hidden }),
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
    tops: &Tops,
    (source, target, permissions): (&Side, &Side, Permissions),
    verdicts: &mut [Verdict],
    watch: &mut dyn FnMut(Looking),
) -> Result<(), Error> {
    let unsure = |(index, verdict): (usize, &Verdict)| (*verdict == Verdict::Unsure).then_some(index);
    let unsure: Vec<usize> = verdicts.iter().enumerate().filter_map(unsure).collect();
    let files = unsure.iter().map(|&index| tops.beneath(&source.nodes[index].name)).collect::<Result<Vec<_>, _>>()?;
    for (index, alike) in unsure.into_iter().zip(content::alike(client, &files, watch)?) {
        let Node { name, kind } = &source.nodes[index];
        verdicts[index] = match alike {
            true => compare::alike(kind, target.get(name.as_str()), permissions),
            false => Verdict::Move,
        };
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
