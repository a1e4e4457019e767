//! From one server to another: what to make and to relay, and doing it.

use std::collections::HashSet;

use ferry_wire::{FileMeta, Name};

use super::{
    Looking, PlanReport, Remarks,
    side::{Look, Side},
};
use crate::{
    choose::{Choice, Chooser, Links},
    client::Client,
    error::Error,
    local::repeated,
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
    /// Files left out because they would have the name that another one has: the first, the second, and that name.
    pub clashes: Vec<(Name, Name, Name)>,
    choice: Choice,
}

impl Across {
    /// Begins a plan that copies only what is of `choice`; links and lists in it are of no account.
    #[must_use]
    pub fn choosing(choice: Choice) -> Across {
        Across { choice, ..Across::default() }
    }

    /// Adds the file `source`, which becomes `name`, if it is chosen. `meta` is what was told of it.
    pub fn add_file(&mut self, source: Name, meta: Option<FileMeta>, name: Name) {
        let facts = meta.as_ref().map(|meta| (meta.size, meta.mtime));
        let is_chosen = self.choice.takes_name(source.last(), false)
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
        if !top.is_empty() && !self.choice.takes_name(top, true) {
            return Ok(());
        }
        let mut remarks = Remarks::default();
        let side = {
            // A server has no rules of its own.
            let mut chooser = Chooser::new(&self.choice, top, Box::new(|_, _| Ok(None)));
            let (end, links) = (End::Read, Links::Skip);
            let mut look = Look { chooser: &mut chooser, end, links, remarks: &mut remarks, watch, tells_modes: false };
            let side = Side::there(from, source, &mut look)?;
            chooser.end()?;
            side
        };
        let (mut make, mut files) = (Vec::new(), Vec::new());
        make.extend(name.cloned());
        let mut skipped: Vec<(Name, Error)> =
            remarks.skipped.into_iter().filter_map(|(name, error)| Some((name?, error))).collect();
        for node in side.nodes {
            let whole = match beneath(source, &node.name) {
                Ok(whole) => whole,
                Err(error) => {
                    skipped.push((node.name, error));
                    continue;
                }
            };
            match (node.kind, beneath(name, &node.name)) {
                (_, Err(error)) => skipped.push((whole, error)),
                (NodeKind::Directory { .. }, Ok(name)) => make.push(name),
                (NodeKind::File { size, mtime, mode, tag }, Ok(name)) if self.choice.takes_file(size, mtime) => {
                    let meta = tag.map(|tag| FileMeta { size, mtime, mode, tag });
                    files.push(Relay { source: whole, meta, name });
                }
                (NodeKind::File { .. }, Ok(_)) => {}
            }
        }
        self.make.extend(make);
        self.files.extend(files);
        self.skipped.extend(skipped);
        Ok(())
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

    /// Makes the directories on the server of `to`, and copies the files from that of `from`. Times of files are kept. `watch`
    /// learns of the files, `index` being a place in [`Across::files`], and of what else is refused. Files in a directory that
    /// could not be made are not tried.
    pub fn carry_out(
        &self,
        from: &mut Client,
        to: &mut Client,
        settings: &Settings,
        watch: &mut (dyn FnMut(&Event<'_>) + Send),
    ) -> PlanReport {
        let mut report = PlanReport::default();
        let made = to.patiently(settings, watch, |to| match settings.keep_going {
            true => to.make_all_directories(&self.make),
            false => to.make_directories(&self.make).map(|()| Vec::new()),
        });
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
        report
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
