//! Doing what a plan says.

use std::{collections::HashSet, path::Path};

use ferry_wire::Name;

use super::{
    Deletion, Direction, Pair, Plan, PlanReport, Replacement, Transfers,
    planner::NOT_GONE,
    seen::{self, Seen},
};
use crate::{
    client::Client,
    error::Error,
    local::{LocalPath, make_directories},
    transfer::{Event, Report, Settings},
};

/// The words for a thing that was to make way, and has nothing to make way for any more.
const CHANGED: &str = "changed at the other end, and stays";

impl Plan {
    /// Clears what is in the way, makes directories, moves files, and when all of that is done deletes. Before anything is
    /// deleted the other end is asked again, and what it does not say to be gone stays. Times are kept, of local directories
    /// that are made as well. `watch` learns of
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
        let mut course = Course { plan: self, client, settings, watch, report: PlanReport::default() };
        if course.run().is_none() {
            course.give_up();
        }
        course.report
    }
}

/// A plan that is being carried out.
struct Course<'a> {
    plan: &'a Plan,
    client: &'a mut Client,
    settings: &'a Settings,
    watch: &'a mut (dyn FnMut(&Event<'_>) + Send),
    report: PlanReport,
}

impl<'a> Course<'a> {
    /// Does all of it; [`None`] where something failed before files were moved, and the rest is not to be tried.
    fn run(&mut self) -> Option<()> {
        let (planned, most) = (self.plan.deletions(), self.plan.max_delete);
        if planned > most {
            self.refuse(None, Error::Deletions { planned, most });
            return None;
        }
        self.clear_the_way();
        self.may_go_on()?;
        let unmade = self.make_directories()?;
        self.may_go_on()?;
        self.move_files(&unmade);
        self.keep_times(&unmade);
        if !self.report.is_whole() {
            self.report.kept += self.plan.delete.len();
        } else if !self.plan.delete.is_empty() {
            self.delete_gone();
        }
        Some(())
    }

    fn may_go_on(&self) -> Option<()> {
        (self.report.failures.is_empty() || self.settings.keep_going).then_some(())
    }

    fn give_up(&mut self) {
        self.report.moved.untried = self.plan.transfers.len();
        self.report.kept = self.plan.delete.len();
    }

    /// Notes and tells what could not be done.
    fn refuse(&mut self, name: Option<&Name>, error: Error) {
        (self.watch)(&Event::Refused { name, error: &error });
        self.report.failures.push(error);
    }

    /// Returns what stands at the end that is read, where `deletions` were found at the other.
    fn look<'d>(&mut self, deletions: impl Iterator<Item = &'d Deletion>) -> Result<Vec<Seen>, Error> {
        match self.plan.direction() {
            Direction::Up => Ok(deletions.map(|deletion| seen::here(&deletion.here)).collect()),
            Direction::Down => seen::there(self.client, deletions.map(|deletion| &deletion.there)),
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
            Direction::Down => make_directories(make.iter().map(|pair| &pair.here)),
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

    fn make_directories_there(&mut self, make: &[Pair]) -> Result<Vec<(usize, Error)>, Error> {
        let names: Vec<Name> = make.iter().filter_map(|pair| pair.there.clone()).collect();
        let keep_going = self.settings.keep_going;
        self.client.patiently(self.settings, self.watch, |client| match keep_going {
            true => client.make_all_directories(&names),
            false => client.make_directories(&names).map(|()| Vec::new()),
        })
    }

    /// Moves the files that are not in one of the directories that are `unmade`.
    fn move_files(&mut self, unmade: &HashSet<&Path>) {
        let files = &self.plan.transfers;
        let is_in_one = |target: &Path| target.ancestors().any(|above| unmade.contains(above));
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

    /// Gives the local directories that were made the times of the server's, the deepest first: whatever is made in one
    /// moves its time. Without a connection they keep those that they have.
    fn keep_times(&mut self, unmade: &HashSet<&Path>) {
        if self.plan.direction() == Direction::Up || !self.client.is_connected() {
            return;
        }
        let is_made = |here: &LocalPath| !here.ancestors().any(|above| unmade.contains(above));
        let made = self.plan.make.iter().rev().filter(|pair| is_made(&pair.here));
        let (here, there): (Vec<&LocalPath>, Vec<&Name>) =
            made.filter_map(|Pair { here, there }| Some((here, there.as_ref()?))).unzip();
        match seen::times(self.client, there) {
            Ok(times) => {
                for (here, mtime) in here.into_iter().zip(times) {
                    if let Some(Err(error)) = mtime.map(|mtime| here.set_directory_time(mtime)) {
                        log::warn!("{error}");
                    }
                }
            }
            Err(error) => self.refuse(None, error),
        }
    }

    fn delete(&mut self, deletions: &[Deletion]) {
        let Course { plan, client, settings, watch, report } = self;
        let mut tried = 0;
        let mut note = |name: Option<&Name>, result: Result<(), Error>| {
            tried += 1;
            match result {
                Ok(()) => report.deleted += 1,
                Err(error) => {
                    watch(&Event::Refused { name, error: &error });
                    report.failures.push(error);
                    // Which error it is that ends it does not matter: that of the thing is told.
                    return if settings.keep_going { Ok(()) } else { Err(Error::Interrupted) };
                }
            }
            Ok(())
        };
        let result = match plan.direction() {
            Direction::Up => {
                let names: Vec<Name> = deletions.iter().map(|deletion| deletion.there.clone()).collect();
                client.delete_all(&names, &mut |index, result| note(Some(&names[index]), result))
            }
            Direction::Down => deletions.iter().try_for_each(|Deletion { here, directory, .. }| {
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

impl Transfers {
    fn carry(&self, client: &mut Client, settings: &Settings, watch: &mut (dyn FnMut(&Event<'_>) + Send)) -> Report {
        match self {
            Transfers::Up(files) => client.store(files, settings, watch),
            Transfers::Down(files) => client.fetch(files, settings, watch),
        }
    }
}
