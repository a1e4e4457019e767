//! Doing what a plan says.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    path::Path,
};

use ferry_wire::{AskedMode, Code, Mode, Name};

use super::{
    Amendment, Deletion, Direction, Pair, Plan, PlanReport, Replacement, Transfers,
    backup::Learn,
    directories::{Directory, Standing},
    planner::NOT_GONE,
    seen::{self, Seen},
};
use crate::{
    client::Client,
    conversation::requests::{MadeDirectories, Touch},
    error::Error,
    local::make_directories,
    transfer::{Event, Report, Settings},
};

/// The words for a thing that was to make way, and has nothing to make way for any more.
const CHANGED: &str = "changed at the other end, and stays";

impl Plan {
    /// Clears what is in the way, makes directories, moves files, and when all of that is done deletes. Before anything is
    /// deleted the other end is asked again, and what it does not say to be gone stays. Times are kept, those of directories as
    /// well where the server can set them. `watch` learns of
    /// the files, `index` being a place in [`Plan::transfers`], and of what else is refused. Files in a directory that
    /// could not be made are not tried.
    ///
    /// Nothing at all is done where more would be deleted than [`Plan::max_delete`].
    pub fn carry_out(
        &self,
        client: &mut Client,
        settings: &Settings,
        watch: &mut (dyn FnMut(&Event<'_>) + Send),
    ) -> PlanReport {
        let mut course =
            Course { plan: self, client, settings, watch, report: PlanReport::default(), standing: Standing::new() };
        if course.run().is_none() {
            course.give_up();
        }
        course.report
    }
}

/// A plan that is being carried out.
pub(super) struct Course<'a> {
    pub(super) plan: &'a Plan,
    pub(super) client: &'a mut Client,
    pub(super) settings: &'a Settings,
    pub(super) watch: &'a mut (dyn FnMut(&Event<'_>) + Send),
    pub(super) report: PlanReport,
    /// The permissions of directories of the server, as far as that is known and matters.
    pub(super) standing: Standing<'a>,
}

impl<'a> Course<'a> {
    /// Does all of it; [`None`] where something failed before files were moved, and the rest is not to be tried.
    fn run(&mut self) -> Option<()> {
        let (planned, most) = (self.plan.deletions(), self.plan.max_delete);
        if planned > most {
            self.refuse(None, Error::Deletions { planned, most });
            return None;
        }
        if let Err(error) = self.check_permissions() {
            self.refuse(None, error);
            return None;
        }
        self.open_closed();
        self.clear_the_way();
        self.may_go_on()?;
        let unmade = self.make_directories()?;
        self.may_go_on()?;
        self.move_files(&unmade);
        if !self.plan.amend.is_empty() {
            self.amend();
        }
        if !self.report.is_whole() {
            self.report.kept += self.plan.delete.len();
        } else if !self.plan.delete.is_empty() {
            self.delete_gone();
        }
        self.settle_directories(&unmade);
        if !self.report.is_whole() {
            self.close_again();
        }
        Some(())
    }

    /// Fails where the server does not know of permissions, and some are to be kept.
    fn check_permissions(&self) -> Result<(), Error> {
        let (permissions, greeting) = (self.settings.permissions, Some(self.client.greeting()));
        match self.plan.direction() {
            _ if self.plan.transfers.is_empty() && self.plan.amend.is_empty() && self.plan.make.is_empty() => Ok(()),
            Direction::Up => permissions.check_kept(greeting),
            Direction::Down => permissions.check_told(greeting),
        }
    }

    fn may_go_on(&self) -> Option<()> {
        (self.report.failures.is_empty() || self.settings.keep_going).then_some(())
    }

    fn give_up(&mut self) {
        self.report.moved.untried = self.plan.transfers.len();
        self.report.kept = self.plan.delete.len();
    }

    /// Does `work`, and again where the connection is lost in it: see [`Client::patiently`]. A connection that files were
    /// moved by, and that could not be opened again, is not tried once more.
    pub(super) fn patiently<T>(&mut self, mut work: impl FnMut(&mut Client) -> Result<T, Error>) -> Result<T, Error> {
        let Course { client, settings, watch, .. } = self;
        match client.is_connected() {
            true => client.patiently(settings, watch, work),
            false => work(client),
        }
    }

    /// Notes and tells what could not be done.
    pub(super) fn refuse(&mut self, name: Option<&Name>, error: Error) {
        (self.watch)(&Event::Refused { name, error: &error });
        self.report.failures.push(error);
    }

    /// Returns what stands at the end that is read, where `deletions` were found at the other.
    fn look<'d>(&mut self, deletions: impl Iterator<Item = &'d Deletion>) -> Result<Vec<Seen>, Error> {
        match self.plan.direction() {
            Direction::Up => Ok(deletions.map(|deletion| seen::here(&deletion.here)).collect()),
            Direction::Down => {
                let names: Vec<&Name> = deletions.map(|deletion| &deletion.there).collect();
                self.patiently(|client| seen::there(client, names.iter().copied()))
            }
        }
    }

    /// Deletes what something of another kind is to take the name of, if the other end still has that.
    fn clear_the_way(&mut self) {
        let replace = &self.plan.replace;
        if replace.is_empty() {
            return;
        }
        // The last one to be deleted is the thing itself.
        let seen = match self.look(replace.iter().filter_map(|replaced| replaced.delete.last())) {
            Ok(seen) => seen,
            Err(error) => return self.refuse(None, error),
        };
        for (Replacement { by_directory, delete }, seen) in replace.iter().zip(seen) {
            let expected = if *by_directory { Seen::Directory } else { Seen::File };
            match delete.last() {
                Some(itself) if seen != expected => self.refuse(None, Error::file(itself.here.below(), CHANGED)),
                _ => self.delete(delete),
            }
        }
    }

    /// Deletes what the other end says that it does not have.
    fn delete_gone(&mut self) {
        let mut gone = self.plan.delete.clone();
        match self.look(self.plan.delete.iter()) {
            Ok(seen) => {
                for stays in seen::only_gone(&mut gone, &seen) {
                    self.refuse(None, Error::file(stays.here.below(), NOT_GONE));
                }
                self.report.kept += self.plan.delete.len() - gone.len();
                self.delete(&gone);
            }
            Err(error) => {
                self.refuse(None, error);
                self.report.kept += gone.len();
            }
        }
    }

    /// Makes the directories, and returns those that can't be made, as targets; [`None`] where the connection is lost.
    fn make_directories(&mut self) -> Option<HashSet<&'a Path>> {
        let Plan { make, .. } = self.plan;
        let (refused, untried) = match self.plan.direction() {
            Direction::Down => self.make_directories_here(make),
            Direction::Up => match self.make_directories_there(make) {
                Ok(refused) => (refused, 0),
                Err(error) => {
                    self.refuse(None, error);
                    return None;
                }
            },
        };
        self.report.made = make.len() - refused.len() - untried;
        let unmade = refused.iter().filter_map(|(index, _)| make[*index].target(self.plan.direction())).collect();
        for (index, error) in refused {
            // Local errors name it.
            let name = make[index].there.as_ref().filter(|_| self.plan.direction() == Direction::Up);
            self.refuse(name, error);
        }
        Some(unmade)
    }

    /// Makes local directories, into which nobody can look who is not to; those that are there are opened to their owner,
    /// where permissions are kept.
    fn make_directories_here(&mut self, make: &'a [Pair]) -> (Vec<(usize, Error)>, usize) {
        let (permissions, modes) = (self.settings.permissions, self.modes());
        let directories = make.iter().map(|pair| {
            let mode = modes.get(&*pair.here).map_or(Mode::ALL, |mode| permissions.over_directory(Mode::ALL, *mode));
            (&pair.here, mode)
        });
        let made = make_directories(directories);
        for pair in make.iter().filter(|pair| modes.contains_key(&*pair.here)) {
            if let Err(error) = pair.here.set_directory_mode(Mode::open_to_owner) {
                log::info!("{error}");
            }
        }
        made
    }

    fn make_directories_there(&mut self, make: &'a [Pair]) -> Result<Vec<(usize, Error)>, Error> {
        let (permissions, modes) = (self.settings.permissions, self.modes());
        let greeting = Some(self.client.greeting());
        let asked = |name: &Name| {
            let mode = modes.get(Path::new(name.as_str()))?;
            permissions.asked(mode.open_to_owner(), greeting)
        };
        let directories: Vec<(&Name, Option<AskedMode>)> =
            make.iter().filter_map(|pair| pair.there.as_ref()).map(|name| (name, asked(name))).collect();
        debug_assert_eq!(directories.len(), make.len(), "a server's root is there");
        let keep_going = self.settings.keep_going;
        let made = self.patiently(|client| client.make_directories_with(&directories, keep_going))?;
        let MadeDirectories { mut refused, there } = made;
        if !keep_going && !refused.is_empty() {
            return Err(refused.swap_remove(0).1);
        }
        let there: Vec<(&Pair, Option<Mode>)> = there.iter().map(|&(index, mode)| (&make[index], mode)).collect();
        self.note_standing(make, &there, &modes);
        Ok(refused)
    }

    /// Returns the permissions that directories bring with them, as far as they are to be kept, by their targets.
    fn modes(&self) -> HashMap<&'a Path, Mode> {
        let direction = self.plan.direction();
        let mode = |directory: &'a Directory| Some((directory.pair.target(direction)?, directory.mode?));
        self.plan.directories.iter().filter_map(mode).collect()
    }

    /// Moves the files that are not in one of the directories that are `unmade`.
    fn move_files(&mut self, unmade: &HashSet<&Path>) {
        let files = &self.plan.transfers;
        let is_in_one = |target: &Path| target.ancestors().any(|above| unmade.contains(above));
        if let (Some(backup), Transfers::Up(stores)) = (&self.plan.backup, files) {
            return self.send_keeping(backup, stores, is_in_one);
        }
        if unmade.is_empty() || !files.targets().any(is_in_one) {
            self.report.moved = files.carry(self.client, self.settings, self.watch);
            return;
        }
        let left = |(index, target): (usize, &Path)| (!is_in_one(target)).then_some(index);
        let left: Vec<usize> = files.targets().enumerate().filter_map(left).collect();
        let Course { client, settings, watch, .. } = self;
        let mut report =
            files.only(&left).carry(client, settings, &mut |event| watch(&event.renumbered(|index| left[index])));
        report.failures.iter_mut().for_each(|(index, _)| *index = left[*index]);
        self.report.blocked = files.len() - left.len();
        report.untried += self.report.blocked;
        self.report.moved = report;
    }

    /// Sets the permissions of files of which nothing else differs. Directories come at the end.
    fn amend(&mut self) {
        let amend: Vec<&Amendment> = self.plan.amend.iter().filter(|amended| !amended.is_directory).collect();
        let permissions = self.settings.permissions;
        let mut refused: Vec<(usize, Error)> = Vec::new();
        let done = match self.plan.direction() {
            Direction::Down => {
                for (index, Amendment { pair, mtime, mode, .. }) in amend.iter().enumerate() {
                    if let Err(error) = pair.here.amend(*mtime, |usual| permissions.over(usual, *mode)) {
                        refused.push((index, error));
                    }
                }
                Ok(())
            }
            Direction::Up => {
                let greeting = Some(self.client.greeting());
                let touch = |Amendment { pair, mtime, mode, .. }: &&Amendment| {
                    Some(Touch { name: pair.there.clone()?, mtime: *mtime, mode: permissions.asked(*mode, greeting) })
                };
                let touches: Vec<Touch> = amend.iter().filter_map(touch).collect();
                self.patiently(|client| {
                    refused.clear();
                    client.touch_all(&touches, &mut |index, result| {
                        refused.extend(result.err().map(|error| (index, error)));
                        Ok(())
                    })
                })
            }
        };
        if let Err(error) = done {
            return self.refuse(None, error);
        }
        self.report.amended += amend.len() - refused.len();
        for (index, error) in refused {
            // Local errors name it.
            let name = amend[index].pair.there.as_ref().filter(|_| self.plan.direction() == Direction::Up);
            self.refuse(name, error);
        }
    }

    fn delete(&mut self, deletions: &[Deletion]) {
        let Course { plan, client, settings, watch, report, .. } = self;
        let watch = RefCell::new(watch);
        let mut tried = 0;
        let mut note = |name: Option<&Name>, result: Result<(), Error>| {
            tried += 1;
            match result {
                Ok(()) => report.deleted += 1,
                Err(error) => {
                    watch.borrow_mut()(&Event::Refused { name, error: &error });
                    report.failures.push(error);
                    // Which error it is that ends it does not matter: that of the thing is told.
                    return if settings.keep_going { Ok(()) } else { Err(Error::Interrupted) };
                }
            }
            Ok(())
        };
        let result = match (plan.direction(), &plan.backup) {
            (Direction::Up, Some(backup)) => {
                backup.delete(client, deletions, settings, &mut |name, result| note(Some(name), result))
            }
            (Direction::Up, None) => {
                let names: Vec<Name> = deletions.iter().map(|deletion| deletion.there.clone()).collect();
                let mut told = |event: &Event<'_>| watch.borrow_mut()(event);
                delete_there(client, &names, (settings, &mut told), &mut |name, result| note(Some(name), result))
            }
            (Direction::Down, _) => deletions.iter().try_for_each(|Deletion { here, directory, .. }| {
                note(None, if *directory { here.delete_directory() } else { here.delete_file() })
            }),
        };
        let stopped = !report.failures.is_empty() && !settings.keep_going;
        report.kept += deletions.len() - tried;
        if let (Err(error), false) = (result, stopped) {
            self.refuse(None, error);
        }
    }
}

/// Deletes `names` of the server, through as many connections as it takes, and tells `note` what became of each. Where `note`
/// fails, no further one is tried.
fn delete_there(
    client: &mut Client,
    names: &[Name],
    (settings, watch): (&Settings, &mut dyn FnMut(&Event<'_>)),
    note: &mut Learn<'_>,
) -> Result<(), Error> {
    let (mut answered, mut is_again) = (0, false);
    client.patiently(settings, watch, |client| {
        let (left, again) = (&names[answered..], std::mem::replace(&mut is_again, true));
        client.delete_all(left, &mut |index, result| {
            answered += 1;
            // The answer that was lost may have been that it is deleted.
            let is_gone = |error: &Error| again && error.code() == Some(Code::NotFound);
            let result = result.or_else(|error| if is_gone(&error) { Ok(()) } else { Err(error) });
            note(&left[index], result)
        })
    })
}

impl Plan {
    /// Returns the directories in which something is made, moved or deleted, as targets.
    pub(super) fn changed_directories(&self) -> HashSet<&Path> {
        let direction = self.direction();
        let gone = self.delete.iter().chain(self.replace.iter().flat_map(|replaced| &replaced.delete));
        let gone = gone.map(|Deletion { here, there, .. }| match direction {
            Direction::Up => Path::new(there.as_str()),
            Direction::Down => here,
        });
        let made = self.make.iter().filter_map(|pair| pair.target(direction));
        made.chain(self.transfers.targets()).chain(gone).filter_map(Path::parent).collect()
    }
}

impl Transfers {
    fn carry(&self, client: &mut Client, settings: &Settings, watch: &mut (dyn FnMut(&Event<'_>) + Send)) -> Report {
        match self {
            Transfers::Up(files) => client.store(files, settings, watch),
            Transfers::Down(files) => client.fetch(files, settings, watch),
        }
    }
}
