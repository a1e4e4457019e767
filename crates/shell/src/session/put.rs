//! PUT.

use std::{
    collections::HashSet,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use ferry_client::{Choice, Direction, EntryKind, Error, HeldDirectory, IfTaken, LocalPath, Name, NameError, Pattern};
use ferry_wire::{escaped, escaped_bytes};

use super::{
    Session,
    failures::Failures,
    names::{Looked, bad_name},
    planning::Chosen,
    watcher::Manner,
};
use crate::{
    command::{Put, Target, Transfer},
    exit::{Exit, Failed},
    words,
};

const VERB: &str = "PUT";

/// The words for a command that moves nothing, because something can't be moved.
const NOTHING: &str = "nothing was sent; -k sends the rest";

/// A local file or directory that was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
struct MeantHere {
    /// As it was typed, or found: relative to the local directory.
    text: PathBuf,
    path: LocalPath,
    /// It was found by a pattern and not named.
    matched: bool,
}

/// The names that files get there.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Called {
    /// As here, below the current directory.
    Same,
    /// By the last part of their names, in this directory.
    In(Option<Name>),
    /// This.
    Named(Name),
}

impl Session {
    pub(super) fn put(&mut self, put: &Put) -> Result<(), Failed> {
        self.connected()?;
        let Put { transfer, clobbering, .. } = put;
        let if_taken = clobbering.if_taken();
        if let [word] = &transfer.names.words[..]
            && word.is("-")
        {
            return self.put_from_input(transfer.target.as_ref(), if_taken, transfer.moves.dry_run);
        }
        let mut failures = self.failures(transfer.moves.going_on, transfer.moves.recursive);
        match self.put_all(put, if_taken, &mut failures) {
            Ok(()) => failures.end(VERB),
            Err(failed) => Err(failures.end_by(failed)),
        }
    }

    fn put_all(&mut self, put: &Put, if_taken: IfTaken, failures: &mut Failures) -> Result<(), Failed> {
        let Put { transfer, links, .. } = put;
        let choice = self.choice_with(VERB, &transfer.moves.choosing, &transfer.moves.listed, transfer.ignore_files)?;
        let choice = Choice { links: links.links(), ..choice };
        let (listed, is_choosy) = (choice.only.is_some(), choice.is_about_names() || choice.has_limits());
        let meant = self.find_to_send(transfer, failures)?;
        let called = self.called(transfer, &meant)?;
        let mut chosen = Chosen::new(Direction::Up, choice, transfer.moves.perms.permissions());
        for one in &meant {
            if let Err(failed) = self.choose_to_put(one, (transfer.moves.recursive, listed), &called, &mut chosen) {
                failures.take(&mut self.output, failed)?;
            }
        }
        if chosen.directories.len() == meant.len() {
            // All of them: that is said at the end.
            chosen.directories.clear();
        }
        let trees = chosen.trees;
        let plan = self.settle(VERB, chosen, NOTHING, failures)?;
        if transfer.moves.dry_run {
            self.tell_plan(VERB, &plan);
            return Ok(());
        }
        if plan.transfers.is_empty() && trees == 0 && !is_choosy {
            return match meant.iter().any(|meant| meant.matched) && failures.is_clean() {
                true => Err(Failed::of(Exit::Local, format!("{VERB}: no file matches; {VERB} -r sends directories"))),
                false => Ok(()),
            };
        }
        let manner = Manner {
            verb: VERB,
            whole_directories: transfer.moves.recursive,
            single: trees == 0 && meant.len() == 1 && transfer.names.words.len() == 1,
            hint: None,
            if_taken,
            sparse: false,
            permissions: transfer.moves.perms.permissions(),
            tells_of_none: true,
            copies: false,
        };
        self.carry_out(&plan, manner, failures).1
    }

    /// Returns everything local that the words stand for: see [`Session::find`].
    fn find_to_send(&mut self, transfer: &Transfer, failures: &mut Failures) -> Result<Vec<MeantHere>, Failed> {
        let names = &transfer.names;
        // Without a name for it there, what is sent lies below the local directory: `~` is a name like any other.
        let below = transfer.target.is_none();
        let meant = |text: PathBuf, path: LocalPath, matched| MeantHere { text, path, matched };
        let mut seen = HashSet::new();
        let mut all = Vec::new();
        for word in &names.words {
            match self.find_local(VERB, word) {
                Ok((texts, matched)) => {
                    for text in texts {
                        let path = match text.to_str().filter(|_| !below) {
                            Some(text) => self.local_path(text),
                            None => self.local.join(&text),
                        };
                        // Patterns may overlap.
                        if seen.insert(path.clone()) {
                            let path = match &word.pattern {
                                Some(pattern) if matched => self.found(pattern, &text, path),
                                _ => path.into(),
                            };
                            all.push(meant(text, path, matched));
                        }
                    }
                }
                Err(failed) => failures.take(&mut self.output, failed)?,
            }
        }
        Ok(all)
    }

    /// Returns the path of what `pattern` has found as `text` at `path`. A link is meant by it as if it had
    /// been typed; what is none is not followed if it becomes one later.
    fn found(&self, pattern: &str, text: &Path, path: PathBuf) -> LocalPath {
        let (directory, _) = Pattern::split(pattern);
        let held = HeldDirectory::at(self.local_path(&directory));
        let place = text.strip_prefix(&directory).map(|below| held.place(below));
        place.ok().filter(|place| place.is_file_or_directory()).unwrap_or_else(|| path.into())
    }

    fn called(&mut self, transfer: &Transfer, meant: &[MeantHere]) -> Result<Called, Failed> {
        let text = match &transfer.target {
            None => return Ok(Called::Same),
            Some(Target::Stream) => return Err(Failed::usage(format!("{VERB}: '-' is no name of a server"))),
            Some(Target::Name(text)) => text,
        };
        let name = self.remote_name(text).map_err(|problem| bad_name(VERB, text, problem))?;
        let is_one_name = meant.len() <= 1 && !text.ends_with('/');
        match (self.look_as_allowed(VERB, name.as_ref())?, name) {
            (Looked::Is(EntryKind::Directory(_)), name) => Ok(Called::In(name)),
            (_, Some(name)) if is_one_name => Ok(Called::Named(name)),
            // If it is none, the server says so of each file.
            (Looked::Denied(_), name) => Ok(Called::In(name)),
            _ => {
                let message = format!("{VERB}: {} is no directory of the server", escaped(text));
                Err(Failed::of(Exit::Refused, message).about(text))
            }
        }
    }

    /// Adds something local to what is chosen.
    fn choose_to_put(
        &mut self,
        meant: &MeantHere,
        (recursive, listed): (bool, bool),
        called: &Called,
        chosen: &mut Chosen,
    ) -> Result<(), Failed> {
        let MeantHere { text, path, matched } = meant;
        let shown = escaped_bytes(text.as_os_str().as_bytes()).to_string();
        let is_directory = path.is_dir();
        if is_directory && !recursive && *matched {
            chosen.directories.push(shown);
            return Ok(());
        }
        if let Some(problem) = unmeant(path).filter(|_| *matched)
            && (recursive || !path.is_symlink())
        {
            self.leave_out(VERB, &Error::LocalFile { path: path.to_path_buf(), problem });
            return Ok(());
        }
        if listed && !is_directory {
            let message = format!("{VERB} {shown}: --files-from has names in a directory, and that is none");
            return Err(Failed::of(Exit::Local, message).about(shown));
        }
        let name = match called {
            // The names of a list are made in the current directory, and not the directory that they are in.
            Called::Same if listed => self.remote.clone(),
            Called::In(directory) if listed => directory.clone(),
            called => self.name_there(text, path, recursive && is_directory, called)?,
        };
        let content = listed || text.to_str().is_some_and(is_content);
        match name {
            name if recursive && is_directory => {
                let added = self.look_through(format!("{VERB} {shown}"), |client, watch| match content {
                    true => chosen.planner.add_content(client, path, name.as_ref(), watch),
                    false => chosen.planner.add_directory(client, path, name.as_ref(), watch),
                });
                added.map_err(|error| Failed::new(VERB, &error))?;
                chosen.trees += 1;
            }
            Some(name) => chosen.planner.add_file(path.clone(), name, None),
            None => {
                let message = format!("{VERB} {shown}: that is a directory; {VERB} -r sends it");
                return Err(Failed::usage(message));
            }
        }
        Ok(())
    }

    /// Returns the server's name for a local file or directory; [`None`] for the root.
    fn name_there(&self, text: &Path, path: &Path, is_tree: bool, called: &Called) -> Result<Option<Name>, Failed> {
        let shown = || escaped_bytes(text.as_os_str().as_bytes()).to_string();
        let bad = |problem| {
            // One that is here is meant, and can be called something else there.
            let named = matches!(called, Called::Same).then(|| path.file_name()?.to_str()).flatten();
            let failed = Failed::usage(match (problem, named) {
                (NameError::EmptyComponent | NameError::Dots, Some(last)) => {
                    let typed = words::quote(&shown());
                    let called = format!("{} {}", self.arrow(), escaped(&words::quote(last)));
                    match self.one_shot {
                        true => format!("{VERB} {} needs a name there: {called}", shown()),
                        false => format!("{VERB} {} needs a name there: {VERB} {typed} {called}", shown()),
                    }
                }
                (NameError::Empty, _) => format!("{VERB}: {problem}, and one is empty"),
                (problem, Some(_)) => {
                    format!("{VERB} {}: {problem}; '{} NAME' gives it another one there", shown(), self.arrow())
                }
                (problem, None) => format!("{VERB} {}: {problem}", shown()),
            });
            failed.about(text.to_string_lossy())
        };
        let (directory, name) = match called {
            Called::Named(name) => return Ok(Some(name.clone())),
            // All that is in it goes where it is.
            Called::Same if is_tree && text == Path::new(".") => return Ok(self.remote.clone()),
            Called::Same => {
                let bytes = text.as_os_str().as_bytes();
                (&self.remote, Name::from_bytes(bytes.strip_suffix(b"/").filter(|_| path.is_dir()).unwrap_or(bytes)))
            }
            Called::In(directory) => match path.file_name() {
                Some(last) if !text.ends_with(".") => (directory, Name::from_bytes(last.as_bytes())),
                _ if is_tree => return Ok(directory.clone()),
                _ => return Err(Failed::usage(format!("{VERB} {}: that is no file", shown()))),
            },
        };
        let name = name.map_err(bad)?;
        match directory {
            None => Ok(Some(name)),
            Some(directory) => directory.join(name.as_str()).map(Some).map_err(bad),
        }
    }
}

/// Returns whether a directory that was typed so has no name of its own.
fn is_content(typed: &str) -> bool {
    matches!(typed.trim_end_matches('/').rsplit('/').next(), None | Some("" | "." | ".."))
}

/// Returns why a pattern that found something did not mean it; [`None`] for files and directories.
fn unmeant(path: &Path) -> Option<&'static str> {
    let kind = path.symlink_metadata().ok()?.file_type();
    match (kind.is_file() || kind.is_dir(), kind.is_symlink()) {
        (true, _) => None,
        (false, true) => Some("is a symbolic link, which is not followed"),
        (false, false) => Some("is neither a file nor a directory"),
    }
}
