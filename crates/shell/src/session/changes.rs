//! MKDIR and RM.

use ferry_client::{Choice, Code, EntryKind, Error, FileMeta, Name, Pattern, Portion, Removal};
use ferry_wire::escaped;

use super::{Session, failures::Failures, names::Meant, reasons};
use crate::{
    command::{IgnoreFiles, RemoveArgs},
    exit::{Exit, Failed},
    figures::{Count, Size},
    output::Event,
    words::{self, Word},
};

const VERB: &str = "RM";

/// The things that RM has deleted.
#[derive(Debug, Default)]
struct Deleted {
    files: usize,
    directories: usize,
}

/// Something that is to be deleted.
#[derive(Debug)]
struct Chosen {
    name: Option<Name>,
    how: How,
    /// It was found by a pattern and not named.
    matched: bool,
}

/// How it is deleted.
#[derive(Debug)]
enum How {
    /// A file, and its bytes where they are known.
    File(u64),
    /// A directory that has to be empty.
    Directory,
    /// A directory with what is chosen of all that is in it.
    Tree(Removal),
}

impl Chosen {
    /// Returns the files and directories that are deleted, in this order.
    fn names(&self) -> (Vec<Name>, Vec<Name>) {
        let itself = || self.name.iter().cloned().collect();
        match &self.how {
            How::File(_) => (itself(), Vec::new()),
            How::Directory => (Vec::new(), itself()),
            How::Tree(removal) => (removal.files.clone(), removal.directories.clone()),
        }
    }
}

impl Session {
    pub(super) fn make_directories(&mut self, parents: bool, words: &[Word]) -> Result<(), Failed> {
        self.connected()?;
        // All of them are names before any is made.
        let mut names = Vec::new();
        for text in words.iter().map(made_by).collect::<Result<Vec<_>, _>>()?.concat() {
            names.push(self.file_name("MKDIR", &text)?);
        }
        for name in names {
            let shown = self.shown(Some(&name));
            let client = self.connected()?;
            let above = if parents { parents_of(&name) } else { Vec::new() };
            let made = client.make_directories(&above).and_then(|()| client.mkdir(&name));
            if parents
                && let Err(error) = &made
                && error.code() == Some(Code::Exists)
                && matches!(self.look("MKDIR", Some(&name))?, Some(EntryKind::Directory(_)))
            {
                self.output
                    .say(format_args!("{shown} is there already"), || Event::new("exists").with("name", name.as_str()));
                continue;
            }
            made.map_err(|error| {
                let failed = self.failure_of("MKDIR", Some(&name), &error);
                match reasons::parent(&shown).filter(|_| !parents && error.code() == Some(Code::NotFound)) {
                    Some(parent) => {
                        let why = format!("MKDIR {shown}: the server has no directory {parent}");
                        failed.saying(why).and(format_args!("MKDIR -p {} makes it as well", words::quote(&shown)))
                    }
                    None => failed,
                }
            })?;
            self.output.say(format_args!("made {shown}"), || Event::new("made").with("name", name.as_str()));
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, removal: &RemoveArgs) -> Result<(), Failed> {
        let mut failures = self.failures(removal.going_on, removal.recursive);
        if removal.force {
            failures.forgive_missing();
        }
        removal.nothing_local.check(VERB)?;
        let choice = self.choice_with(VERB, &removal.choosing, &removal.listed, IgnoreFiles::default())?;
        // Where a name does not exist, others may not be meant either.
        let (meant, chosen) = failures.strictly(|failures| {
            let meant = self.find(VERB, &removal.names, failures)?;
            if let [Meant { matched: false, .. }] = meant[..]
                && !removal.recursive
            {
                failures.only_one_left();
            }
            let chosen = self.choose(&meant, removal, &choice, failures)?;
            Ok((meant, chosen))
        })?;
        if removal.dry_run {
            self.tell_removal(&chosen);
            return failures.end_of_looking();
        }
        let count = chosen.iter().map(|chosen| if let How::Tree(removal) = &chosen.how { removal.len() } else { 1 });
        self.confirm(VERB, count.sum(), removal.yes)?;
        let mut deleted = Deleted::default();
        let result = self.remove_all(&chosen, &mut failures, &mut deleted);
        self.tell_removed(&meant, &deleted);
        result?;
        failures.note_done(deleted.files + deleted.directories);
        failures.end(VERB)
    }

    /// Tells what was deleted.
    fn tell_removed(&mut self, meant: &[Meant], deleted: &Deleted) {
        let Deleted { files, directories } = *deleted;
        if files + directories == 0 {
            return;
        }
        let text = match meant {
            [Meant { name, matched: false, .. }] if directories == 0 && files == 1 => {
                format!("deleted {}", self.shown(name.as_ref()))
            }
            _ => format!("deleted {}", things(files, directories)),
        };
        self.output.say(text, || Event::new("removed").with("files", files).with("directories", directories));
    }

    /// Tells what would be deleted.
    fn tell_removal(&mut self, chosen: &[Chosen]) {
        let (mut files, mut directories, mut bytes) = (0, 0, 0_u64);
        for one in chosen {
            let (of_files, of_directories) = one.names();
            files += of_files.len();
            directories += of_directories.len();
            bytes = bytes.saturating_add(match &one.how {
                How::File(size) => *size,
                How::Tree(removal) => removal.bytes,
                How::Directory => 0,
            });
            of_files.iter().chain(&of_directories).for_each(|name| self.tell_step("delete", Some(name), None));
        }
        self.output.say(format!("{VERB} would delete {} ({})", things(files, directories), Size(bytes)), || {
            let event = Event::new("planned").with("files", 0).with("bytes", 0);
            event.with("delete", files + directories).with("unchanged", 0)
        });
    }

    /// Looks at everything before anything is deleted.
    fn choose(
        &mut self,
        meant: &[Meant],
        removal: &RemoveArgs,
        choice: &Choice,
        failures: &mut Failures,
    ) -> Result<Vec<Chosen>, Failed> {
        let (mut chosen, mut passed, mut missing) = (Vec::with_capacity(meant.len()), Vec::new(), false);
        for one in meant {
            let Meant { name, kind, matched, .. } = one;
            if *matched && matches!(kind, Some(EntryKind::Directory(_))) && !removal.recursive && !removal.empty {
                passed.push(self.shown(name.as_ref()));
                continue;
            }
            match self.judge(one, removal, choice, failures) {
                Ok(Some(how)) => chosen.push(Chosen { name: name.clone(), how, matched: *matched }),
                Ok(None) => {}
                Err(failed) => {
                    missing |= failed.exit == Exit::NotFound;
                    let taken = failures.take(&mut self.output, failed);
                    taken.map_err(|failed| match meant.len() {
                        1 => failed,
                        _ => failed.and("nothing was deleted"),
                    })?;
                }
            }
        }
        if !passed.is_empty() && passed.len() == meant.len() {
            let message = format!("{VERB}: only directories match; {VERB} -r deletes them with everything in them");
            return Err(Failed::of(Exit::Refused, message));
        }
        self.leave_out_directories(VERB, &passed);
        if let (true, Some(text)) = (missing, removal.names.together())
            && self.exists_there(&text)
        {
            return Err(Failed::of(Exit::NotFound, format!("{VERB}: nothing was deleted")).about(text));
        }
        Ok(chosen)
    }

    fn remove_all(&mut self, chosen: &[Chosen], failures: &mut Failures, deleted: &mut Deleted) -> Result<(), Failed> {
        // What a pattern found is deleted together; what was named is deleted one by one, in order.
        let mut files = Vec::new();
        for (index, one) in chosen.iter().enumerate() {
            let goes_on = one.matched && chosen.get(index + 1).is_some_and(|next| next.matched);
            let (mut names, directories) = one.names();
            let result = match &one.how {
                How::File(_) => {
                    files.append(&mut names);
                    match goes_on {
                        true => Ok(()),
                        false => self.remove_names(&std::mem::take(&mut files), 0, failures, deleted),
                    }
                }
                How::Directory | How::Tree(_) => {
                    let ahead = self.remove_names(&std::mem::take(&mut files), 0, failures, deleted);
                    names.extend(directories.iter().cloned());
                    ahead.and_then(|()| self.remove_names(&names, directories.len(), failures, deleted))
                }
            };
            if let Err(failed) = result {
                failures.take(&mut self.output, failed)?;
            }
        }
        self.remove_names(&files, 0, failures, deleted)
    }

    /// Decides whether something may be deleted, and how; [`None`] where it is not chosen.
    fn judge(
        &mut self,
        meant: &Meant,
        removal: &RemoveArgs,
        choice: &Choice,
        failures: &mut Failures,
    ) -> Result<Option<How>, Failed> {
        let (name, listed) = (meant.name.as_ref(), choice.only.is_some());
        let shown = self.shown(name);
        let Some(name) = name else {
            return match removal.recursive && listed {
                true => self.look_beneath(None, Portion::Content, choice, failures).map(Some),
                false => Err(Failed::usage(format!("{VERB}: the root can't be deleted"))),
            };
        };
        if self.is_within(name) && !listed {
            let message = format!("{VERB} {shown}: the current directory is in it; CD out of it first");
            return Err(Failed::usage(message).about(name.as_str()));
        }
        let kind = match meant.kind.clone() {
            Some(kind) => Some(kind),
            None => self.look(VERB, Some(name))?,
        };
        let takes_name = |is_directory| choice.takes_name(name.parent().unwrap_or_default(), name.last(), is_directory);
        match kind {
            Some(EntryKind::File(FileMeta { size, mtime, .. })) => {
                let is_chosen = !listed && takes_name(false) && choice.takes_file(size, mtime);
                Ok(is_chosen.then_some(How::File(size)))
            }
            Some(EntryKind::Directory(_)) if removal.recursive => {
                let portion = if listed { Portion::Content } else { Portion::Whole };
                self.look_beneath(Some(name), portion, choice, failures).map(Some)
            }
            Some(EntryKind::Directory(_)) if removal.empty => Ok(takes_name(true).then_some(How::Directory)),
            Some(EntryKind::Directory(_)) => {
                let quoted = words::quote(&shown);
                let message = format!(
                    "{VERB} {shown}: that is a directory; {VERB} -r {quoted} deletes it with all that is in it"
                );
                Err(Failed::of(Exit::Refused, message).about(name.as_str()))
            }
            None => {
                let message = format!("{VERB} {shown}: the server has no such file or directory");
                let failed = Failed::of(Exit::NotFound, message).about(name.as_str());
                Err(self.with_question(Failed { code: Some(Code::NotFound), ..failed }, name))
            }
        }
    }

    /// Looks through a directory: where something can't be seen, nothing of it is deleted.
    fn look_beneath(
        &mut self,
        top: Option<&Name>,
        portion: Portion,
        choice: &Choice,
        failures: &mut Failures,
    ) -> Result<How, Failed> {
        let shown = self.shown(top);
        let removal = Removal::of(self.connected()?, top, portion, choice);
        let removal = removal.map_err(|error| self.failure_of(VERB, top, &error))?;
        if let Some((name, error)) = removal.skipped.first() {
            let failed = reasons::failed(VERB, &self.shown(Some(name)), name.as_str(), error);
            return Err(failed.and(format_args!("nothing of {shown} was deleted")));
        }
        match self.missing(VERB, Exit::NotFound, &removal.missing, failures) {
            Some(failed) => Err(failed),
            None => Ok(How::Tree(removal)),
        }
    }

    /// Returns whether the current directory is `name` or beneath it.
    fn is_within(&self, name: &Name) -> bool {
        self.remote.as_ref().is_some_and(|current| {
            current.as_str().strip_prefix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    /// Deletes `names`, of which the last `directories` are such.
    fn remove_names(
        &mut self,
        names: &[Name],
        directories: usize,
        failures: &mut Failures,
        deleted: &mut Deleted,
    ) -> Result<(), Failed> {
        if names.is_empty() {
            return Ok(());
        }
        let (keep_going, files) = (failures.keep_going(), names.len() - directories);
        let mut results = Vec::with_capacity(names.len());
        let lost = self.connected()?.delete_all(names, &mut |_, result| {
            let stops = result.is_err() && !keep_going;
            results.push(result);
            // Which error it is does not matter: that of the name is told.
            if stops { Err(Error::Interrupted) } else { Ok(()) }
        });
        let stopped = results.iter().any(Result::is_err) && !keep_going;
        let mut first = Ok(());
        for (index, (name, result)) in names.iter().zip(results).enumerate() {
            let shown = self.shown(Some(name));
            match result {
                Ok(()) => {
                    *(if index < files { &mut deleted.files } else { &mut deleted.directories }) += 1;
                    self.output
                        .detail(format_args!("deleted {shown}"), || Event::new("deleted").with("name", name.as_str()));
                }
                Err(error) => {
                    let failed = self.failure_of(VERB, Some(name), &error);
                    let taken = failures.take(&mut self.output, failed);
                    first = first.and(taken);
                }
            }
        }
        first?;
        match lost {
            Err(error) if !stopped => Err(self.failure(VERB, &error)),
            _ => Ok(()),
        }
    }
}

/// Returns the names that the braces of `word` make, where they are not quoted.
fn made_by(word: &Word) -> Result<Vec<String>, Failed> {
    let Some(pattern) = word.pattern.as_ref().filter(|pattern| pattern.contains('{')) else {
        return Ok(vec![word.text.clone()]);
    };
    let wrong = |error| Failed::usage(format!("MKDIR {}: {error}", escaped(&word.text)));
    Pattern::alternatives(pattern).map_err(wrong)
}

/// Returns how many files and directories there are, as the object of a sentence.
fn things(files: usize, directories: usize) -> String {
    match (files, directories) {
        (files, 0) => Count(files, "file").to_string(),
        (0, directories) => Count(directories, "directory").to_string(),
        (files, directories) => format!("{} and {}", Count(files, "file"), Count(directories, "directory")),
    }
}

/// Returns every directory on the way to `name`.
fn parents_of(name: &Name) -> Vec<Name> {
    let ends = name.as_str().match_indices('/').map(|(at, _)| at);
    ends.filter_map(|end| Name::new(&name.as_str()[..end]).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_stand_before_what_is_in_them() {
        let names = parents_of(&Name::new("a/b b/c").unwrap());
        assert_eq!(names.iter().map(Name::as_str).collect::<Vec<_>>(), ["a", "a/b b"]);
    }
}
