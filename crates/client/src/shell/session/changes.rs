//! MKDIR, RM and MV.

use ferry_client::{Code, EntryKind, Error, Name};

use super::{
    Session,
    failures::Failures,
    names::{Meant, bad_name},
};
use crate::shell::{
    command::Removal,
    exit::{Exit, Failed},
    figures::Count,
    output::Event,
    words::Word,
};

const VERB: &str = "RM";

/// How much RM has deleted.
#[derive(Debug, Default)]
struct Deleted {
    files: usize,
    directories: usize,
}

impl Session {
    pub(super) fn make_directories(&mut self, parents: bool, words: &[Word]) -> Result<(), Failed> {
        self.connected()?;
        for word in words {
            let name = self.file_name("MKDIR", &word.text)?;
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
                let mut failed = self.failure(&format!("MKDIR {shown}"), &error);
                if !parents && error.code() == Some(Code::NotFound) {
                    failed.message.push_str("; MKDIR -p makes those above it as well");
                }
                failed
            })?;
            self.output.say(format_args!("made {shown}"), || Event::new("made").with("name", name.as_str()));
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, removal: &Removal) -> Result<(), Failed> {
        let mut failures = Failures::new(removal.keep_going || self.settings.keep_going);
        let meant = self.find(VERB, &removal.names, &mut failures)?;
        if let [Meant { matched: false, .. }] = meant[..]
            && !removal.recursive
        {
            failures.only_one_left();
        }
        let mut deleted = Deleted::default();
        let result = self.remove_all(&meant, removal.recursive, &mut failures, &mut deleted);
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

    fn remove_all(
        &mut self,
        meant: &[Meant],
        recursive: bool,
        failures: &mut Failures,
        deleted: &mut Deleted,
    ) -> Result<(), Failed> {
        let mut passed = 0;
        // What a pattern found is deleted together; what was named is deleted one by one, in order.
        let mut files = Vec::new();
        for (index, Meant { name, kind, matched, .. }) in meant.iter().enumerate() {
            let result = match self.judge(name.as_ref(), kind.clone(), recursive) {
                Err(_) if *matched && matches!(kind, Some(EntryKind::Directory(_))) && !recursive => {
                    passed += 1;
                    self.pass_over(name.as_ref());
                    Ok(())
                }
                Err(failed) => Err(failed),
                Ok((name, false)) => {
                    files.push(name);
                    let goes_on = meant.get(index + 1).is_some_and(|next| next.matched);
                    match *matched && goes_on {
                        true => Ok(()),
                        false => self.remove_names(&std::mem::take(&mut files), 0, failures, deleted),
                    }
                }
                Ok((name, true)) => {
                    let ahead = self.remove_names(&std::mem::take(&mut files), 0, failures, deleted);
                    ahead.and_then(|()| self.remove_tree(&name, failures, deleted))
                }
            };
            if let Err(failed) = result {
                failures.take(&mut self.output, failed)?;
            }
        }
        self.remove_names(&files, 0, failures, deleted)?;
        if passed > 0 && passed == meant.len() {
            let message = format!("{VERB}: only directories match; {VERB} -r deletes them with everything in them");
            return Err(Failed { exit: Exit::Refused, message });
        }
        Ok(())
    }

    /// Whether `name` may be deleted, and whether it is a directory.
    fn judge(&mut self, name: Option<&Name>, kind: Option<EntryKind>, recursive: bool) -> Result<(Name, bool), Failed> {
        let shown = self.shown(name);
        let Some(name) = name else { return Err(Failed::usage(format!("{VERB}: the root can't be deleted"))) };
        if self.is_within(name) {
            let message = format!("{VERB} {shown}: the current directory is in it; CD out of it first");
            return Err(Failed::usage(message));
        }
        let kind = match kind {
            Some(kind) => Some(kind),
            None => self.look(VERB, Some(name))?,
        };
        let is_directory = matches!(kind, Some(EntryKind::Directory(_)));
        if is_directory && !recursive {
            let message = format!("{VERB} {shown}: that is a directory; {VERB} -r deletes it with everything in it");
            return Err(Failed { exit: Exit::Refused, message });
        }
        // What is not there is asked for all the same: the server says it best.
        Ok((name.clone(), is_directory))
    }

    fn pass_over(&mut self, name: Option<&Name>) {
        let shown = self.shown(name);
        self.output.remark(format_args!("{VERB}: {shown} is a directory and left out without -r"), || {
            Event::new("skipped").with("name", shown.as_str()).with("reason", "it is a directory")
        });
    }

    /// Whether the current directory is `name` or beneath it.
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
                    let failed = self.failure(&format!("{VERB} {shown}"), &error);
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
        let tree = tree.map_err(|error| self.failure(&format!("{VERB} {shown}"), &error))?;
        if let Some((name, error)) = tree.skipped.first() {
            let mut failed = Failed::new(&format!("{VERB} {}", self.shown(Some(name))), error);
            failed.message.push_str(&format!("; nothing of {shown} was deleted"));
            return Err(failed);
        }
        // Backwards, a directory stands behind what is in it.
        let (directories, files): (Vec<_>, Vec<_>) =
            tree.found.into_iter().rev().partition(|found| found.is_directory());
        let count = directories.len() + 1;
        let names = files.into_iter().chain(directories).map(|found| found.name).chain([top.clone()]);
        self.remove_names(&names.collect::<Vec<_>>(), count, failures, deleted)
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> Result<(), Failed> {
        self.connected()?;
        let old = self.file_name("MV", from)?;
        let target = self.remote_name(to).map_err(|problem| bad_name("MV", to, problem))?;
        let new = match (self.look("MV", target.as_ref())?, target) {
            (Some(EntryKind::Directory(_)), directory) => match directory {
                Some(directory) if directory == old => directory,
                Some(directory) => directory
                    .join(old.last())
                    .map_err(|problem| bad_name("MV", &format!("{directory}/{}", old.last()), problem))?,
                None => self.file_name("MV", &format!("/{}", old.last()))?,
            },
            (Some(EntryKind::File(_)) | None, Some(name)) => name,
            (_, None) => return Err(Failed::usage("MV: a name is needed")),
        };
        let (shown_old, shown_new) = (self.shown(Some(&old)), self.shown(Some(&new)));
        let renamed = self.connected()?.rename(&old, &new);
        renamed.map_err(|error| {
            let mut failed = self.failure(&format!("MV {shown_old} {shown_new}"), &error);
            if error.code() == Some(Code::Exists) {
                failed.message.push_str("; MV replaces nothing");
            }
            failed
        })?;
        self.output.say(format_args!("{shown_old} is now {shown_new}"), || {
            Event::new("renamed").with("from", old.as_str()).with("to", new.as_str())
        });
        Ok(())
    }
}

/// Every directory on the way to `name`.
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
