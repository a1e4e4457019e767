//! From one server to another: what to make and to relay, and doing it.

use std::collections::{HashMap, HashSet};

use ferry_wire::{AskedMode, DirMeta, FileMeta, Greeting, Mode, Name};

use super::{
    Looking, PlanReport, Remarks,
    planner::missing,
    seen,
    side::{Look, Side},
};
use crate::{
    choose::{Above, Choice, Chooser, Links},
    client::Client,
    conversation::requests::{MadeDirectories, Touch},
    error::Error,
    local::repeated,
    options::Permissions,
    transfer::{Event, Relay, Settings},
    tree::{End, NodeKind, is_within},
};

/// A plan of what is copied from one server to another, or to the same one: whatever is there already.
///
/// It changes nothing until [`Across::carry_out`] does it. Nothing of it touches the local disk.
#[derive(Debug, Default)]
pub struct Across {
    /// Directories to make where they are missing, each before what is in it.
    pub make: Vec<Name>,
    /// Files to copy.
    pub files: Vec<Relay>,
    /// Directories that could not be listed, and why: neither they nor what is in them is copied.
    pub skipped: Vec<(Name, Error)>,
    /// Names of the list ([`Choice::only`]) that are not there.
    pub missing: Vec<Name>,
    /// Files left out because they would have the name that another one has: the first, the second, and that name.
    pub clashes: Vec<(Name, Name, Name)>,
    /// The directories to make, whose times and permissions are set when all else is done.
    directories: Vec<Directory>,
    choice: Choice,
    permissions: Permissions,
}

/// A directory that gets the time and the permissions that it has at its source.
#[derive(Debug)]
struct Directory {
    /// Its name there; [`None`] for the root, of which no server tells anything.
    source: Option<Name>,
    name: Name,
    /// Its time there, and its permissions where they are to be kept; [`None`] where that is not known yet.
    meta: DirMeta,
}

impl Across {
    /// Begins a plan that copies only what is of `choice`; links in it are of no account, and rules of single directories neither:
    /// only local ones have such.
    #[must_use]
    pub fn choosing(choice: Choice) -> Across {
        Across { choice, ..Across::default() }
    }

    /// Looks for the permissions of directories as well, which are kept if [`Settings::permissions`] says so: from now on.
    #[must_use]
    pub fn keeping(self, permissions: Permissions) -> Across {
        Across { permissions, ..self }
    }

    /// Adds the file `source`, which becomes `name`, if it is chosen. `meta` is what was told of it.
    pub fn add_file(&mut self, source: Name, meta: Option<FileMeta>, name: Name) {
        let facts = meta.as_ref().map(|meta| (meta.size, meta.mtime));
        let is_chosen = self.choice.takes_name(source.parent().unwrap_or_default(), source.last(), false)
            && facts.is_none_or(|(size, mtime)| self.choice.takes_file(size, mtime));
        if is_chosen {
            self.files.push(Relay { source, meta, name });
        }
    }

    /// Adds all that is beneath the directory `source` of the server of `from`, which becomes the directory `name`; [`None`]
    /// stands for the root of either. For the rules, names begin with that of the directory. A call that fails leaves the plan
    /// as it was, and may be made again.
    ///
    /// # Errors
    ///
    /// A directory that is not there or can't be listed, a connection that is lost.
    pub fn add_directory(
        &mut self,
        from: &mut Client,
        source: Option<&Name>,
        name: Option<&Name>,
        watch: &mut dyn FnMut(Looking),
    ) -> Result<(), Error> {
        let top = source.map_or("", Name::last);
        let place = source.and_then(Name::parent).unwrap_or_default();
        match top.is_empty() || self.choice.takes_name(place, top, true) {
            true => self.add_tree(from, top, (source, name), watch),
            false => Ok(()),
        }
    }

    /// Does the same with all that is beneath a directory: for the rules, names begin below it.
    ///
    /// # Errors
    ///
    /// As [`Across::add_directory`].
    pub fn add_content(
        &mut self,
        from: &mut Client,
        source: Option<&Name>,
        name: Option<&Name>,
        watch: &mut dyn FnMut(Looking),
    ) -> Result<(), Error> {
        self.add_tree(from, "", (source, name), watch)
    }

    fn add_tree(
        &mut self,
        from: &mut Client,
        top: &str,
        (source, name): (Option<&Name>, Option<&Name>),
        watch: &mut dyn FnMut(Looking),
    ) -> Result<(), Error> {
        let choice = self.choice.clone();
        let mut remarks = Remarks::default();
        let place = match top {
            "" => source.map_or("", Name::as_str),
            _ => source.and_then(Name::parent).unwrap_or_default(),
        };
        let mut side = {
            let mut chooser = Chooser::new(&choice, top, Above::both(place), Box::new(|_, _| Ok(None)));
            let (end, links) = (End::Read, Links::Skip);
            let tells_modes = self.permissions != Permissions::Usual && from.greeting().has(Greeting::MODES);
            let mut look = Look { chooser: &mut chooser, end, links, remarks: &mut remarks, watch, tells_modes };
            let side = Side::there(from, source, &mut look)?;
            chooser.end()?;
            side
        };
        let missing = missing(&choice, &mut side);
        let mut branch = Across { missing, ..Across::default() };
        branch.skipped.extend(remarks.skipped.into_iter().filter_map(|(name, error)| Some((name?, error))));
        if let Some(name) = name {
            branch.make_like(source.cloned(), name.clone(), side.top);
        }
        for node in side.nodes {
            let names = beneath(source, &node.name).map_err(|error| (node.name.clone(), error));
            let names = names.and_then(|whole| match beneath(name, &node.name) {
                Ok(name) => Ok((whole, name)),
                Err(error) => Err((whole, error)),
            });
            match (node.kind, names) {
                (_, Err(skipped)) => branch.skipped.push(skipped),
                (NodeKind::Directory { mtime, mode }, Ok((whole, name))) => {
                    branch.make_like(Some(whole), name, DirMeta { mtime, mode });
                }
                (NodeKind::File { size, mtime, mode, tag }, Ok((source, name))) if choice.takes_file(size, mtime) => {
                    let meta = tag.map(|tag| FileMeta { size, mtime, mode, tag });
                    branch.files.push(Relay { source, meta, name });
                }
                (NodeKind::File { .. }, Ok(_)) => {}
            }
        }
        self.take_in(branch);
        Ok(())
    }

    /// Adds the directory `name`, which is like `source`.
    fn make_like(&mut self, source: Option<Name>, name: Name, meta: DirMeta) {
        self.make.push(name.clone());
        self.directories.push(Directory { source, name, meta });
    }

    /// Adds what another plan has found.
    fn take_in(&mut self, other: Across) {
        let Across { make, files, skipped, missing, directories, .. } = other;
        self.make.extend(make);
        self.files.extend(files);
        self.skipped.extend(skipped);
        self.missing.extend(missing);
        self.directories.extend(directories);
    }

    /// Ends it: of files that would have one name, the first one stays.
    #[must_use]
    pub fn finish(mut self) -> Across {
        let found = repeated(self.files.iter().map(|file| file.name.as_str()));
        let second: HashSet<usize> = found.iter().map(|&(_, second)| second).collect();
        let name = |index: usize| self.files[index].source.clone();
        let told = |&(first, second): &(usize, usize)| (name(first), name(second), self.files[first].name.clone());
        self.clashes = found.iter().map(told).collect();
        let mut index = 0..;
        self.files.retain(|_| index.next().is_some_and(|index| !second.contains(&index)));
        self
    }

    /// Makes the directories on the server of `to`, and copies the files from that of `from`. Times are kept, those of directories
    /// as well where the server can set them, and permissions as [`Settings::permissions`] says. `watch` learns of the files, `index` being a place in [`Across::files`], and of
    /// what else is refused. Files in a directory that could not be made are not tried.
    pub fn carry_out(
        &self,
        from: &mut Client,
        to: &mut Client,
        settings: &Settings,
        watch: &mut (dyn FnMut(&Event<'_>) + Send),
    ) -> PlanReport {
        let mut report = PlanReport::default();
        let made = self.check_permissions(from, to, settings.permissions);
        let made = made.and_then(|()| self.make_directories(to, settings, watch));
        let unmade = match made {
            Ok(refused) => refused,
            Err(error) => {
                watch(&Event::Refused { name: None, error: &error });
                report.failures.push(error);
                report.moved.untried = self.files.len();
                return report;
            }
        };
        let names: HashSet<Name> = unmade.iter().map(|(index, _)| self.make[*index].clone()).collect();
        report.made = self.make.iter().filter(|name| !is_within(&names, name)).count();
        for (index, error) in unmade {
            watch(&Event::Refused { name: Some(&self.make[index]), error: &error });
            report.failures.push(error);
        }
        let left: Vec<usize> =
            (0..self.files.len()).filter(|&index| !is_within(&names, &self.files[index].name)).collect();
        let files: Vec<Relay> = left.iter().map(|&index| self.files[index].clone()).collect();
        let mut moved = to.relay(from, &files, settings, &mut |event| watch(&event.renumbered(|index| left[index])));
        moved.failures.iter_mut().for_each(|(index, _)| *index = left[*index]);
        report.blocked = self.files.len() - files.len();
        moved.untried += report.blocked;
        report.moved = moved;
        for (name, error) in self.settle_directories((from, to), &names, settings, watch) {
            watch(&Event::Refused { name: name.as_ref(), error: &error });
            report.failures.push(error);
        }
        report
    }

    /// Makes the directories, and returns those that can't be made, and why. Their owner may write into them from here on,
    /// also into those that are there, where permissions are kept.
    fn make_directories(
        &self,
        to: &mut Client,
        settings: &Settings,
        watch: &mut (dyn FnMut(&Event<'_>) + Send),
    ) -> Result<Vec<(usize, Error)>, Error> {
        let (permissions, greeting) = (settings.permissions, to.greeting().clone());
        let open = |mode: Mode| permissions.asked(mode.open_to_owner(), Some(&greeting));
        let modes: HashMap<&Name, Mode> = match greeting.has(Greeting::MODES) {
            true => self.directories.iter().filter_map(|made| Some((&made.name, made.meta.mode?))).collect(),
            false => HashMap::new(),
        };
        let asked: Vec<(&Name, Option<AskedMode>)> =
            self.make.iter().map(|name| (name, modes.get(name).and_then(|mode| open(*mode)))).collect();
        let MadeDirectories { mut refused, there } =
            to.patiently(settings, watch, |to| to.make_directories_with(&asked, settings.keep_going))?;
        if !settings.keep_going && !refused.is_empty() {
            return Err(refused.swap_remove(0).1);
        }
        let closed = there.iter().filter_map(|(index, mode)| Some((*index, mode.filter(|mode| !mode.owner_writes())?)));
        let touch =
            |(index, mode): (usize, Mode)| Touch { name: self.make[index].clone(), mtime: None, mode: open(mode) };
        let touches: Vec<Touch> = closed.map(touch).collect();
        for (name, error) in set(to, &touches, settings, watch) {
            // What is to come into it tells.
            log::info!("cannot write into {name:?}: {error}");
        }
        Ok(refused)
    }

    /// Fails where one server does not tell `permissions`, or the other one does not keep them.
    fn check_permissions(&self, from: &Client, to: &Client, permissions: Permissions) -> Result<(), Error> {
        if self.files.is_empty() && self.make.is_empty() {
            return Ok(());
        }
        permissions.check_kept(Some(to.greeting()))?;
        let told = permissions.check_told(Some(from.greeting()));
        told.map_err(|error| at_source(from, error))
    }

    /// Gives directories the times and permissions that they have at their source, the deepest first, but for those within
    /// `unmade`. Returns what can't be set, and why; a time that can't stays as it is, and so do all where a connection is gone
    /// for good.
    fn settle_directories(
        &self,
        (from, to): (&mut Client, &mut Client),
        unmade: &HashSet<Name>,
        settings: &Settings,
        watch: &mut (dyn FnMut(&Event<'_>) + Send),
    ) -> Vec<(Option<Name>, Error)> {
        let due = self.directories.iter().rev().filter(|directory| !is_within(unmade, &directory.name));
        let due: Vec<&Directory> = due.collect();
        if due.is_empty() || !to.is_connected() || !to.greeting().has(Greeting::TOUCH) {
            return Vec::new();
        }
        let asks = |directory: &Directory| directory.meta.mtime.is_none() && directory.source.is_some();
        let unknown: Vec<&Name> =
            due.iter().filter(|one| asks(one)).filter_map(|directory| directory.source.as_ref()).collect();
        let asked = match unknown.is_empty() || !from.is_connected() {
            true => Ok(Vec::new()),
            false => {
                let address = from.address().clone();
                from.patiently(settings, &mut |event| watch(&event.of_source(&address)), |from| {
                    seen::times(from, unknown.iter().copied())
                })
            }
        };
        let (asked, mut failed) = match asked {
            Ok(asked) => (asked, Vec::new()),
            Err(error) => (Vec::new(), vec![(None, at_source(from, error))]),
        };
        let mut asked = asked.into_iter();
        let (greeting, permissions) = (to.greeting().clone(), settings.permissions);
        let keeps_modes = greeting.has(Greeting::MODES);
        let touch = |directory: &Directory| {
            let DirMeta { mtime, mode } = directory.meta;
            let mtime = if asks(directory) { asked.next().flatten() } else { mtime };
            let mode = mode.filter(|_| keeps_modes).and_then(|mode| permissions.asked(mode, Some(&greeting)));
            let is_due = mtime.is_some() || mode.is_some();
            is_due.then(|| Touch { name: directory.name.clone(), mtime, mode })
        };
        let touches: Vec<Touch> = due.into_iter().filter_map(touch).collect();
        failed.extend(set(to, &touches, settings, watch));
        failed
    }
}

/// Sets times and permissions. Returns which permissions can't be set, and why; and why nothing can be.
fn set(
    to: &mut Client,
    touches: &[Touch],
    settings: &Settings,
    watch: &mut (dyn FnMut(&Event<'_>) + Send),
) -> Vec<(Option<Name>, Error)> {
    if touches.is_empty() {
        return Vec::new();
    }
    let mut refused = Vec::new();
    let done = to.patiently(settings, watch, |to| {
        refused.clear();
        to.touch_all(touches, &mut |index, result| {
            let Touch { name, mode, .. } = &touches[index];
            match result {
                Err(error) if mode.is_some() => refused.push((Some(name.clone()), error)),
                Err(error) => log::warn!("cannot set the time of {name}: {error}"),
                Ok(()) => {}
            }
            Ok(())
        })
    });
    refused.extend(done.err().map(|error| (None, error)));
    refused
}

/// Returns an error of the server that is only read from.
fn at_source(from: &Client, error: Error) -> Error {
    match error {
        Error::Interrupted => error,
        error => Error::AtSource { address: from.address().clone(), error: error.into() },
    }
}

/// Returns the whole name of what is `name` beneath a directory.
fn beneath(directory: Option<&Name>, name: &Name) -> Result<Name, Error> {
    match directory {
        None => Ok(name.clone()),
        Some(directory) => {
            let whole = directory.join(name.as_str());
            whole.map_err(|problem| Error::Name { text: format!("{directory}/{name}"), problem })
        }
    }
}
