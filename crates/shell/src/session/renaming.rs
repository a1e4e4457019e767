//! MV.

use std::collections::HashMap;

use ferry_client::{Code, EntryKind, Error, Name};
use ferry_wire::escaped;

use super::{
    Session,
    failures::Failures,
    names::{Looked, Meant, bad_name},
    reasons,
};
use crate::{
    command::Renaming,
    exit::{Exit, Failed},
    figures::Count,
    output::Event,
};

const VERB: &str = "MV";

/// Where things are moved to.
enum Goal {
    /// Into this directory; [`None`] is the root.
    Into(Option<Name>),
    /// To this name, which nothing has as far as the server tells.
    Named(Name),
}

impl Session {
    pub(super) fn rename(&mut self, renaming: &Renaming) -> Result<(), Failed> {
        let mut failures = self.failures(renaming.going_on, false);
        let meant = self.find(VERB, &renaming.from(), &mut failures)?;
        let goal = self.goal(renaming.to(), meant.len())?;
        let mut pairs = Vec::with_capacity(meant.len());
        for one in &meant {
            match self.pair(one, &goal, meant.len() > 1) {
                Ok(pair) => pairs.push(pair),
                Err(failed) => {
                    let taken = failures.take(&mut self.output, failed);
                    taken.map_err(|failed| if meant.len() > 1 { failed.and("nothing was moved") } else { failed })?;
                }
            }
        }
        self.check_targets(&pairs)?;
        if renaming.dry_run {
            return pairs.iter().try_for_each(|(old, new)| self.tell_renaming(old, new));
        }
        let moved = self.rename_pairs(&pairs, &mut failures)?;
        failures.note_done(moved);
        failures.end(VERB)
    }

    /// Returns where `count` things go that are moved to what `text` names.
    fn goal(&mut self, text: &str, count: usize) -> Result<Goal, Failed> {
        let target = self.remote_name(text).map_err(|problem| bad_name(VERB, text, problem))?;
        let is_directory = matches!(self.look_as_allowed(VERB, target.as_ref())?, Looked::Is(EntryKind::Directory(_)));
        match target {
            directory if is_directory => Ok(Goal::Into(directory)),
            Some(_) if count > 1 || text.ends_with('/') => {
                let shown = escaped(text);
                let message = format!(
                    "{VERB}: {shown} is no directory of the server to move {} into",
                    match count {
                        1 => "it".to_owned(),
                        count => format!("{count} things"),
                    }
                );
                Err(Failed::of(Exit::Refused, message).about(text))
            }
            Some(name) => Ok(Goal::Named(name)),
            None => Err(Failed::usage(format!("{VERB}: a name is needed"))),
        }
    }

    /// Returns the old and the new name of something. One of `several` has to be there before any is moved.
    fn pair(&mut self, one: &Meant, goal: &Goal, several: bool) -> Result<(Name, Name), Failed> {
        let Some(old) = one.name.clone() else {
            return Err(Failed::usage(format!("{VERB} {}: that is the root", escaped(&one.typed))).about("/"));
        };
        if several && one.kind.is_none() && matches!(self.look_as_allowed(VERB, Some(&old))?, Looked::Nothing) {
            let message = format!("{VERB} {}: the server has no such file or directory", self.shown(Some(&old)));
            let failed = Failed::of(Exit::NotFound, message).about(old.as_str());
            return Err(self.with_question(Failed { code: Some(Code::NotFound), ..failed }, &old));
        }
        let new = match goal {
            Goal::Named(name) => name.clone(),
            // The server says what is wrong with that.
            Goal::Into(Some(directory)) if *directory == old => directory.clone(),
            Goal::Into(Some(directory)) => directory
                .join(old.last())
                .map_err(|problem| bad_name(VERB, &format!("{directory}/{}", old.last()), problem))?,
            Goal::Into(None) => self.file_name(VERB, &format!("/{}", old.last()))?,
        };
        Ok((old, new))
    }

    /// Finds two things that would get one name, before anything is moved.
    fn check_targets(&self, pairs: &[(Name, Name)]) -> Result<(), Failed> {
        let mut targets = HashMap::new();
        for (old, new) in pairs {
            if let Some(other) = targets.insert(new, old) {
                let [other, old, new] = [other, old, new].map(|name| self.shown(Some(name)));
                let message = format!("{VERB}: {other} and {old} would both be {new}; nothing was moved");
                return Err(Failed::usage(message).about(old));
            }
        }
        Ok(())
    }

    /// Renames all of `pairs` and tells of each; returns how many got their new names.
    fn rename_pairs(&mut self, pairs: &[(Name, Name)], failures: &mut Failures) -> Result<usize, Failed> {
        let keep_going = failures.keep_going();
        let mut results = Vec::with_capacity(pairs.len());
        let lost = self.connected()?.rename_all(pairs, &mut |_, result| {
            let stops = result.is_err() && !keep_going;
            results.push(result);
            // Which error it is does not matter: that of the name is told.
            if stops { Err(Error::Interrupted) } else { Ok(()) }
        });
        let stopped = results.iter().any(Result::is_err) && !keep_going;
        let (mut moved, mut first) = (0, Ok(()));
        for ((old, new), result) in pairs.iter().zip(results) {
            match result {
                Ok(()) => {
                    moved += 1;
                    self.tell_renamed(old, new, pairs.len() == 1);
                }
                Err(error) => {
                    let failed = self.not_renamed(old, new, &error);
                    first = first.and(failures.take(&mut self.output, failed));
                }
            }
        }
        if moved > 0 && pairs.len() > 1 {
            self.output
                .say(format_args!("moved {}", Count(moved, "thing")), || Event::new("moved").with("count", moved));
        }
        first?;
        match lost {
            Err(error) if !stopped => Err(self.failure(VERB, &error)),
            _ => Ok(moved),
        }
    }

    fn tell_renamed(&mut self, old: &Name, new: &Name, alone: bool) {
        let text = format!("{} is now {}", self.shown(Some(old)), self.shown(Some(new)));
        let event = || Event::new("renamed").with("from", old.as_str()).with("to", new.as_str());
        match alone {
            true => self.output.say(text, event),
            false => self.output.detail(text, event),
        }
    }

    /// Tells what would be done with one thing, or why it could not.
    fn tell_renaming(&mut self, old: &Name, new: &Name) -> Result<(), Failed> {
        self.ask(|client| client.stat(old)).map_err(|error| self.failure_of(VERB, Some(old), &error))?;
        let (shown_old, shown_new) = (self.shown(Some(old)), self.shown(Some(new)));
        if self.look(VERB, Some(new))?.is_some() {
            let message = format!("{VERB} {shown_new}: that is there already; {VERB} replaces nothing");
            return Err(Failed::of(Exit::Refused, message).about(new.as_str()));
        }
        self.output.answer(format_args!("would rename {shown_old} to {shown_new}"), || {
            let event = Event::new("plan").with("action", "rename").with("name", old.as_str());
            event.with("size", None::<u64>).with("to", new.as_str())
        });
        Ok(())
    }

    /// Returns why MV failed: the code and what is there tell which of the two names is to blame.
    fn not_renamed(&mut self, old: &Name, new: &Name, error: &Error) -> Failed {
        let missing = error.code() == Some(Code::NotFound);
        if error.code() == Some(Code::Exists) {
            return self.failure_of(VERB, Some(new), error).and("MV replaces nothing");
        }
        if missing && self.is_there(old) {
            let shown = self.shown(Some(new));
            let failed = self.failure_of(VERB, Some(new), error);
            return match reasons::no_parent(&shown) {
                Some(why) => failed.saying(format!("{VERB} {shown}: {why}")),
                None => failed,
            };
        }
        self.failure_of(VERB, Some(old), error)
    }
}
