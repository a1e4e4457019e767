//! `ferry watch`: a SYNC of whatever changes, for as long as it runs.

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use ferry_client::{
    Changed, Choice, Direction, Error, IfAbsent, Name, NameList, Permissions, Plan, Settings, Sync, TreeWatch,
};
use ferry_wire::escaped;

use super::{Session, names::bad_name};
use crate::{
    command::WatchArgs,
    exit::{Exit, Failed},
    figures::Count,
    output::Event,
    trust::Server,
};

const VERB: &str = "WATCH";

/// How long a server that is away, or files that failed, are left alone: at first, and at the most. Each time it is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The directories at both ends, and how one follows the other.
struct Followed<'a> {
    directory: &'a Path,
    remote: Option<Name>,
    sync: Sync,
    server: Server,
}

impl Session {
    /// Keeps a directory of a server like a local one until a signal ends it, or the local one is gone. A server that can't be
    /// found at first is waited for as `if_absent` says, and later always.
    pub(crate) fn watch(&mut self, args: &WatchArgs, if_absent: IfAbsent) -> Result<(), Failed> {
        let directory = self.local_path(&args.directory.text);
        let there = &*args.target.name.text;
        if args.no_links.are_wanted() {
            let message =
                format!("{VERB} has no option -L: it does not see what changes behind a link; SYNC -L sends that");
            return Err(Failed::usage(message));
        }
        let choice = self.choice_with(VERB, &args.choosing, &args.listed, args.ignore_files)?;
        let server = self.server(&args.target.host)?;
        let failed = |error: Error| Failed::new(VERB, &error);
        let mut tree = TreeWatch::start(&directory, Instant::now()).map_err(failed)?;
        let settings = self.settings.clone();
        self.connect(&server, None, (&settings, if_absent))?;
        let remote = self.remote_name(there).map_err(|problem| bad_name(VERB, there, problem))?;
        let backup = args.backup_dir.as_ref().map(|word| self.backup_there(VERB, &word.text)).transpose()?;
        let sync = Sync {
            backup_there: backup,
            check: args.check,
            delete: args.delete,
            update: args.update,
            permissions: args.perms.permissions(),
            max_delete: args.max_delete,
            choice,
            ..Sync::new(Direction::Up)
        };
        let followed = Followed { directory: &directory, remote, sync, server };
        let directories = tree.directories();
        let shown = escaped(&args.directory.text).to_string();
        self.output.say(format!("watching {shown}: {}", Count(directories, "directory")), || {
            Event::new("watching").with("name", shown.as_str()).with("directories", directories)
        });
        self.output.flush();
        let ended = self.follow(&mut tree, &followed);
        self.output.flush();
        ended
    }

    /// Makes alike what has changed, again and again; returns why that can't go on.
    fn follow(&mut self, tree: &mut TreeWatch, followed: &Followed<'_>) -> Result<(), Failed> {
        let failed = |error: Error| Failed::new(VERB, &error);
        let mut pause = FIRST_PAUSE;
        loop {
            tree.wait(None, &self.cancel).map_err(failed)?;
            let Some(changed) = tree.take(Instant::now()) else { continue };
            let result = self.reconnected(&followed.server).and_then(|()| self.follow_changed(followed, changed));
            match result {
                Ok(()) => pause = FIRST_PAUSE,
                Err(Failure::Passing(why)) => {
                    self.tell_away(&why, pause);
                    let end = Instant::now() + pause;
                    while Instant::now() < end {
                        tree.wait(Some(end), &self.cancel).map_err(failed)?;
                        tree.take(Instant::now());
                    }
                    // Whatever has come of it, and has changed meanwhile, is looked for.
                    tree.again(Instant::now());
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(Failure::Final(why)) => {
                    // A directory that is gone is told as that, whatever it was that failed for it first.
                    tree.wait(Some(Instant::now()), &self.cancel).map_err(failed)?;
                    return Err(why);
                }
            }
        }
    }

    fn tell_away(&mut self, why: &Failed, pause: Duration) {
        let seconds = pause.as_secs();
        let message = if why.message.is_empty() { "WATCH: not all of it is done" } else { &*why.message };
        self.output.remark(format_args!("{message}; comparing all of it in {seconds} s"), || {
            let event = Event::new("away").with("message", message).with("status", why.exit.status());
            event.with("wait", seconds)
        });
        self.output.flush();
    }

    /// Connects anew where there is no connection.
    fn reconnected(&mut self, server: &Server) -> Result<(), Failure> {
        if self.client.as_mut().is_some_and(|client| client.check().is_ok()) {
            return Ok(());
        }
        let remote = self.remote.clone();
        let connected = self.connect(server, None, (&Settings::impatient(), IfAbsent::Fail));
        self.remote = remote;
        connected.map_err(Failure::of)
    }

    /// Tells which names of a list are not there yet: they are sent when they come.
    fn tell_still_missing(&mut self, plan: &Plan) {
        for name in &plan.missing {
            let shown = escaped(name.as_str());
            self.output.remark(format_args!("{VERB}: {shown} is in the list and not there"), || {
                Event::new("skipped").with("name", name.as_str()).with("reason", "it is in the list and not there")
            });
        }
    }

    fn follow_changed(&mut self, followed: &Followed<'_>, changed: Changed) -> Result<(), Failure> {
        let names = match changed {
            Changed::Names(names) => Some(names),
            Changed::Everything => None,
        };
        let is_whole = names.is_none();
        let sync = match names {
            None => followed.sync.clone(),
            Some(names) => {
                let changed = NameList::of(names);
                let only = followed.sync.choice.only.as_ref().map_or(changed.clone(), |list| list.of_both(&changed));
                if only.names().next().is_none() {
                    return Ok(());
                }
                let choice = Choice { only: Some(Arc::new(only)), ..followed.sync.choice.clone() };
                Sync { choice, listed_may_be_gone: true, ..followed.sync.clone() }
            }
        };
        let remote = followed.remote.as_ref();
        let directory = followed.directory;
        let looked =
            self.look_through(VERB.to_owned(), |client, watch| Plan::sync(client, directory, remote, &sync, watch));
        let mut plan = looked.map_err(|error| Failure::of(self.failure(VERB, &error)))?;
        if is_whole {
            self.tell_still_missing(&plan);
        }
        if !is_whole && sync.max_delete.is_none() {
            plan.max_delete = most_deletions(directory, plan.deletions());
        }
        self.carry_out_followed(&plan, sync.permissions, is_whole)
    }
}

/// Returns the most things that may be deleted of what has changed, of which so many would be: what a plan that knows of nothing
/// else takes for half of all would be anything.
fn most_deletions(directory: &Path, planned: usize) -> usize {
    const FEW: usize = 10;
    const MOST: usize = 1000;
    // All is counted only where it matters.
    if planned <= FEW {
        return FEW;
    }
    let mut things = planned;
    let mut waiting = vec![directory.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            things += 1;
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                waiting.push(entry.path());
            }
        }
    }
    (things / 2).clamp(FEW, MOST)
}

/// How a moment's changes were not made.
enum Failure {
    /// It may go better later.
    Passing(Failed),
    /// It is the end.
    Final(Failed),
}

impl Failure {
    /// Tells them apart: what is said by a signal, by an untrusted server or by the person's own words does not pass.
    fn of(failed: Failed) -> Failure {
        match failed.exit {
            Exit::Connection | Exit::Timeout | Exit::Refused | Exit::NotFound | Exit::System => {
                Failure::Passing(failed)
            }
            _ => Failure::Final(failed),
        }
    }
}

impl Session {
    /// Carries out what a moment's changes came to.
    fn carry_out_followed(&mut self, plan: &Plan, permissions: Permissions, is_whole: bool) -> Result<(), Failure> {
        let (planned, most) = (plan.deletions(), plan.max_delete);
        if planned > most {
            let mut failed = Failed::new(VERB, &Error::Deletions { planned, most });
            failed.message.push_str(&format!("; --max-delete {planned} allows it"));
            return Err(Failure::Final(failed));
        }
        let mut failures = self.failures(Default::default(), true);
        // What a whole look finds that can't be moved was told then.
        if is_whole || !plan.skipped.is_empty() {
            self.tell_left_out(VERB, plan, &mut failures);
        }
        let is_nothing = plan.transfers.is_empty() && plan.make.is_empty() && plan.amend.is_empty();
        let is_nothing = is_nothing && planned == 0 && plan.replace.is_empty();
        if !is_nothing {
            let done = self.carry_out_sync(VERB, plan, (false, permissions), &mut failures);
            self.output.flush();
            done.map_err(Failure::of)?;
        }
        self.output.flush();
        match failures.end(VERB) {
            // A file that could not be sent may be later: its directory may be writable by then, or it is whole.
            Err(failed) if matches!(failed.exit, Exit::Signal(_)) => Err(Failure::Final(failed)),
            Err(failed) => Err(Failure::Passing(failed)),
            Ok(()) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_what_was_there_may_go_at_once() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("d")).unwrap();
        for number in 0..29 {
            fs::write(directory.path().join(format!("d/{number}")), "").unwrap();
        }
        let most = |planned| most_deletions(directory.path(), planned);
        assert_eq!((most(1), most(10), most(11), most(31), most(5000)), (10, 10, 20, 30, 1000));
        assert_eq!(most_deletions(&directory.path().join("gone"), 40), 20);
    }
}
