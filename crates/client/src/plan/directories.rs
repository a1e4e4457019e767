//! The times and permissions of directories, which are set when all else is done: whatever happens in a directory moves its
//! time, and needs that its owner may write.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use ferry_wire::{DirMeta, Greeting, Mode, Name, Time};

use super::{Amendment, Direction, Pair, Plan, carry_out::Course, seen};
use crate::{conversation::requests::Touch, error::Error};

/// A directory that is at the end that is changed when the plan is carried out.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) pair: Pair,
    /// Its time at the end that is read; [`None`] where that is not known yet.
    pub(super) mtime: Option<Time>,
    /// Its time or its permissions are not those at the end that is changed, or will not be.
    pub(super) differs: bool,
    /// Its permissions at the end that is read, where they are to be kept.
    pub(super) mode: Option<Mode>,
    /// It is there with other permissions.
    pub(super) amends: bool,
}

/// A directory at the end that is changed into which its owner may not write.
#[derive(Debug)]
pub(super) struct Closed {
    pub(super) pair: Pair,
    pub(super) mode: Mode,
}

impl Plan {
    /// Notes a directory that is to have the time `meta` and, where the plan `keeps_modes`, its permissions. It `differs` from
    /// what is there, or isn't there; `amends` says that it is there with other permissions.
    pub(super) fn note_directory(
        &mut self,
        pair: Pair,
        meta: DirMeta,
        (differs, amends): (bool, bool),
        keeps_modes: bool,
    ) {
        let DirMeta { mtime, mode } = meta;
        let mode = mode.filter(|_| keeps_modes);
        if let (true, Some(mode)) = (amends, mode) {
            self.amend.push(Amendment { pair: pair.clone(), mtime, mode, is_directory: true });
        }
        self.directories.push(Directory { pair, mtime, differs, mode, amends });
    }

    /// Returns the directories into which their owner may not write, and in which something is about to change.
    fn closed_in_the_way(&self) -> impl Iterator<Item = &Closed> {
        let (direction, changed) = (self.direction(), self.changed_directories());
        self.closed
            .iter()
            .filter(move |closed| closed.pair.target(direction).is_some_and(|target| changed.contains(target)))
    }

    /// Notes a directory at the end that is changed, if its owner may not write into it by `mode`.
    pub(super) fn note_closed(&mut self, pair: Pair, mode: Option<Mode>) {
        if let Some(mode) = mode.filter(|mode| !mode.owner_writes()) {
            self.closed.push(Closed { pair, mode });
        }
    }
}

/// The permissions that directories of the server have at some moment, by their targets.
pub(super) type Standing<'a> = HashMap<&'a Path, Mode>;

impl<'a> Course<'a> {
    /// Lets their owner write into the directories in which something is about to change, as long as that takes. Where this
    /// is refused, so is what was to change.
    pub(super) fn open_closed(&mut self) {
        let opened: Vec<(&Pair, Mode)> =
            self.plan.closed_in_the_way().map(|closed| (&closed.pair, closed.mode.open_to_owner())).collect();
        self.set_modes(&opened);
    }

    /// Takes back what [`Course::open_closed`] has given to directories that are not at the end that is read: they were to
    /// be deleted, and may have stayed.
    pub(super) fn close_again(&mut self) {
        let plan = self.plan;
        let target = |pair: &'a Pair| pair.target(plan.direction());
        let settled: HashSet<Option<&Path>> =
            plan.directories.iter().map(|directory| target(&directory.pair)).collect();
        let left = plan.closed_in_the_way().filter(|closed| !settled.contains(&target(&closed.pair)));
        let left: Vec<(&Pair, Mode)> = left.map(|closed| (&closed.pair, closed.mode)).collect();
        self.set_modes(&left);
    }

    /// Gives directories that are there these permissions, the deepest first, as far as that can be done.
    fn set_modes(&mut self, modes: &[(&'a Pair, Mode)]) {
        let permissions = self.settings.permissions;
        match self.plan.direction() {
            Direction::Down => {
                for (pair, mode) in modes.iter().rev() {
                    if let Err(error) = pair.here.set_directory_mode(|usual| permissions.over_directory(usual, *mode)) {
                        log::info!("{error}");
                    }
                }
            }
            Direction::Up => {
                let greeting = Some(self.client.greeting());
                let touch = |&(pair, mode): &(&Pair, Mode)| {
                    Some(Touch { name: pair.there.clone()?, mtime: None, mode: permissions.asked(mode, greeting) })
                };
                let touches: Vec<Touch> = modes.iter().rev().filter_map(touch).collect();
                if touches.is_empty() {
                    return;
                }
                let touched = self.patiently(|client| {
                    client.touch_all(&touches, &mut |index, result| {
                        if let Err(error) = result {
                            log::info!("cannot set the permissions of {}: {error}", touches[index].name);
                        }
                        Ok(())
                    })
                });
                if let Err(error) = touched {
                    log::info!("cannot set permissions of directories: {error}");
                }
                self.standing
                    .extend(modes.iter().filter_map(|(pair, mode)| Some((pair.target(Direction::Up)?, *mode))));
            }
        }
    }

    /// Notes what directories of the server have that were to be made with `modes`; and those that are `there` already, as far
    /// as that is known. Their owner may write into them from here on.
    pub(super) fn note_standing(
        &mut self,
        make: &'a [Pair],
        there: &[(&'a Pair, Option<Mode>)],
        modes: &HashMap<&'a Path, Mode>,
    ) {
        let made = make.iter().filter_map(|pair| {
            let target = pair.target(Direction::Up)?;
            Some((target, self.settings.permissions.over_directory(Mode::ALL, modes.get(target)?.open_to_owner())))
        });
        self.standing.extend(made);
        there.iter().filter_map(|(pair, _)| pair.target(Direction::Up)).for_each(|target| {
            self.standing.remove(target);
        });
        let known = there.iter().filter_map(|&(pair, mode)| Some((pair, mode?)));
        let (open, closed): (Vec<_>, Vec<_>) = known.partition(|(_, mode)| mode.owner_writes());
        self.standing.extend(open.into_iter().filter_map(|(pair, mode)| Some((pair.target(Direction::Up)?, mode))));
        let opened: Vec<(&Pair, Mode)> = closed.into_iter().map(|(pair, mode)| (pair, mode.open_to_owner())).collect();
        self.set_modes(&opened);
    }

    /// Gives directories the times and permissions that they have at the other end, the deepest first: those that were made,
    /// those in which something was made, moved or deleted, which moves their times, and those that differ. A server that
    /// can't set times keeps its own. Without a connection all keep those that they have.
    pub(super) fn settle_directories(&mut self, unmade: &HashSet<&Path>) {
        let (plan, direction) = (self.plan, self.plan.direction());
        let can_set = direction == Direction::Down || self.client.greeting().has(Greeting::TOUCH);
        if !self.client.is_connected() || !can_set {
            return;
        }
        let changed = plan.changed_directories();
        let is_due = |directory: &&Directory| {
            let target = directory.pair.target(direction).unwrap_or(Path::new(""));
            let is_there = !target.ancestors().any(|above| unmade.contains(above));
            is_there && (directory.differs || changed.contains(target))
        };
        let due: Vec<&Directory> = plan.directories.iter().rev().filter(is_due).collect();
        if due.is_empty() {
            // All is done: that the server has closed by now is no failure.
            return;
        }
        let set = match direction {
            Direction::Down => self.settle_here(&due),
            Direction::Up => self.settle_there(&due),
        };
        if let Err(error) = set {
            self.refuse(None, error);
        }
    }

    fn settle_here(&mut self, due: &[&Directory]) -> Result<(), Error> {
        let permissions = self.settings.permissions;
        let unknown = due.iter().filter(|timed| timed.mtime.is_none()).filter_map(|timed| timed.pair.there.as_ref());
        let unknown: Vec<&Name> = unknown.collect();
        let mut asked = match unknown.is_empty() {
            true => Vec::new(),
            false => self.patiently(|client| seen::times(client, unknown.iter().copied()))?,
        }
        .into_iter();
        for Directory { pair, mtime, mode, amends, .. } in due {
            let mtime = match pair.there {
                Some(_) if mtime.is_none() => asked.next().flatten(),
                _ => *mtime,
            };
            if let Some(mode) = *mode {
                match pair.here.set_directory_mode(|usual| permissions.over_directory(usual, mode)) {
                    Ok(_) => self.report.amended += usize::from(*amends),
                    Err(error) if *amends => self.refuse(None, error),
                    // As of a file: its file system may have no such permissions.
                    Err(error) => log::warn!("{error}"),
                }
            }
            if let Some(Err(error)) = mtime.map(|mtime| pair.here.set_directory_time(mtime)) {
                log::warn!("{error}");
            }
        }
        Ok(())
    }

    fn settle_there(&mut self, due: &[&Directory]) -> Result<(), Error> {
        let greeting = Some(self.client.greeting());
        let touch = |directory: &&&Directory| {
            let mode = self.mode_due(directory).and_then(|mode| self.settings.permissions.asked(mode, greeting));
            let is_due = directory.mtime.is_some() || mode.is_some();
            let name = directory.pair.there.clone().filter(|_| is_due)?;
            Some(Touch { name, mtime: directory.mtime, mode })
        };
        let (touches, of): (Vec<Touch>, Vec<&Directory>) =
            due.iter().filter_map(|directory| Some((touch(&directory)?, *directory))).unzip();
        let (mut refused, mut amended) = (Vec::new(), 0);
        let done = self.patiently(|client| {
            (refused, amended) = (Vec::new(), 0);
            client.touch_all(&touches, &mut |index, result| {
                match result {
                    Ok(()) => amended += usize::from(of[index].amends),
                    Err(error) if touches[index].mode.is_some() => refused.push((index, error)),
                    Err(error) => log::warn!("cannot set the time of {}: {error}", touches[index].name),
                }
                Ok(())
            })
        });
        self.report.amended += amended;
        for (index, error) in refused {
            self.refuse(Some(&touches[index].name), error);
        }
        done
    }

    /// Returns the permissions that a directory of the server has yet to get: it has others, or has more for a while, so that
    /// its owner can write.
    fn mode_due(&self, directory: &Directory) -> Option<Mode> {
        let mode = directory.mode?;
        let target = directory.pair.target(Direction::Up)?;
        let is_due = match self.standing.get(target) {
            Some(standing) => self.settings.permissions.over_directory(*standing, mode) != *standing,
            None => directory.amends,
        };
        is_due.then_some(mode)
    }
}
