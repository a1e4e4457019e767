//! MKDIR and RM.

use ferry_client::{Code, EntryKind, Error, Name, Pattern};
use ferry_wire::escaped;

use super::{Session, failures::Failures, names::Meant, reasons};
use crate::{
    command::Removal,
    exit::{Exit, Failed},
    figures::Count,
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
    name: Name,
    how: How,
    /// It was found by a pattern and not named.
    matched: bool,
}

/// How it is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    File,
    /// A directory that has to be empty.
    Directory,
    /// A directory with all that is in it.
    Tree,
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

    pub(super) fn remove(&mut self, removal: &Removal) -> Result<(), Failed> {
        let mut failures = Failures::new(self.keeps_going(removal.keep_going));
        if removal.force {
            failures.forgive_missing();
        }
        let meant = self.find(VERB, &removal.names, &mut failures)?;
        if let [Meant { matched: false, .. }] = meant[..]
            && !removal.recursive
        {
            failures.only_one_left();
        }
        let chosen = self.choose(&meant, removal, &mut failures)?;
        let mut deleted = Deleted::default();
        let result = self.remove_all(&chosen, &mut failures, &mut deleted);
        let Deleted { files, directories } = deleted;
        if files + directories > 0 {
            let text = match &meant[..] {
                [Meant { name, matched: false, .. }] if directories == 0 => {
                    format!("deleted {}", self.shown(name.as_ref()))
                }
                _ if directories == 0 => format!("deleted {}", Count(files, "file")),
                _ if files == 0 => format!("deleted {}", Count(directories, "directory")),
                _ => format!("deleted {} and {}", Count(files, "file"), Count(directories, "directory")),
            };
            self.output.say(text, || Event::new("removed").with("files", files).with("directories", directories));
        }
        result?;
        failures.note_done(files + directories);
        failures.end(VERB)
    }

    /// Looks at everything before anything is deleted: where a name does not exist, others may not be meant either.
    fn choose(&mut self, meant: &[Meant], removal: &Removal, failures: &mut Failures) -> Result<Vec<Chosen>, Failed> {
        let (mut chosen, mut passed, mut missing) = (Vec::with_capacity(meant.len()), Vec::new(), false);
        for Meant { name, kind, matched, .. } in meant {
            if *matched && matches!(kind, Some(EntryKind::Directory(_))) && !removal.recursive && !removal.empty {
                passed.push(self.shown(name.as_ref()));
                continue;
            }
            match self.judge(name.as_ref(), kind.clone(), removal) {
                Ok((name, how)) => chosen.push(Chosen { name, how, matched: *matched }),
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
        for (index, Chosen { name, how, matched }) in chosen.iter().enumerate() {
            let goes_on = *matched && chosen.get(index + 1).is_some_and(|next| next.matched);
            let result = match how {
                How::File => {
                    files.push(name.clone());
                    match goes_on {
                        true => Ok(()),
                        false => self.remove_names(&std::mem::take(&mut files), 0, failures, deleted),
                    }
                }
                How::Directory | How::Tree => {
                    let ahead = self.remove_names(&std::mem::take(&mut files), 0, failures, deleted);
                    ahead.and_then(|()| match how {
                        How::Tree => self.remove_tree(name, failures, deleted),
                        _ => self.remove_names(std::slice::from_ref(name), 1, failures, deleted),
                    })
                }
            };
            if let Err(failed) = result {
                failures.take(&mut self.output, failed)?;
            }
        }
        self.remove_names(&files, 0, failures, deleted)
    }

    /// Decides whether `name` may be deleted, and how.
    fn judge(
        &mut self,
        name: Option<&Name>,
        kind: Option<EntryKind>,
        removal: &Removal,
    ) -> Result<(Name, How), Failed> {
        let shown = self.shown(name);
        let Some(name) = name else { return Err(Failed::usage(format!("{VERB}: the root can't be deleted"))) };
        if self.is_within(name) {
            let message = format!("{VERB} {shown}: the current directory is in it; CD out of it first");
            return Err(Failed::usage(message).about(name.as_str()));
        }
        let kind = match kind {
            Some(kind) => Some(kind),
            None => self.look(VERB, Some(name))?,
        };
        let how = match kind {
            Some(EntryKind::File(_)) => How::File,
            Some(EntryKind::Directory(_)) if removal.recursive => How::Tree,
            Some(EntryKind::Directory(_)) if removal.empty => How::Directory,
            Some(EntryKind::Directory(_)) => {
                let quoted = words::quote(&shown);
                let message = format!(
                    "{VERB} {shown}: that is a directory; {VERB} -r {quoted} deletes it with all that is in it"
                );
                return Err(Failed::of(Exit::Refused, message).about(name.as_str()));
            }
            None => {
                let message = format!("{VERB} {shown}: the server has no such file or directory");
                let failed = Failed::of(Exit::NotFound, message).about(name.as_str());
                return Err(self.with_question(Failed { code: Some(Code::NotFound), ..failed }, name));
            }
        };
        Ok((name.clone(), how))
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

    /// Looks first: where something can't be seen, nothing is deleted.
    fn remove_tree(&mut self, top: &Name, failures: &mut Failures, deleted: &mut Deleted) -> Result<(), Failed> {
        let shown = self.shown(Some(top));
        let tree = self.connected()?.tree(Some(top));
        let tree = tree.map_err(|error| self.failure_of(VERB, Some(top), &error))?;
        if let Some((name, error)) = tree.skipped.first() {
            let failed = reasons::failed(VERB, &self.shown(Some(name)), name.as_str(), error);
            return Err(failed.and(format_args!("nothing of {shown} was deleted")));
        }
        // Backwards, a directory comes after its entries.
        let (directories, files): (Vec<_>, Vec<_>) =
            tree.found.into_iter().rev().partition(|found| found.is_directory());
        let count = directories.len() + 1;
        let names = files.into_iter().chain(directories).map(|found| found.name).chain([top.clone()]);
        self.remove_names(&names.collect::<Vec<_>>(), count, failures, deleted)
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
