//! PUT.

use std::{
    collections::HashSet,
    io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use ferry_client::{
    Code, EntryKind, Error, Event as Step, HeldDirectory, LocalPath, LocalTree, Name, NameError, Pattern, Store,
};
use ferry_wire::{escaped, escaped_bytes};

use super::{
    Session,
    failures::Failures,
    moving::{Label, Moving, Watcher, Way},
    names::bad_name,
    reasons,
};
use crate::{
    command::{Target, Transfer},
    exit::{Exit, Failed},
    figures::Summary,
    input::Input,
    output::Event,
    progress::Progress,
    words,
};

const VERB: &str = "PUT";

/// What is said where it is better to move nothing.
const NOTHING: &str = "nothing was sent; -k sends the rest";

/// A local file or directory that was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Meant {
    /// As it was typed, or found: relative to the local directory.
    text: PathBuf,
    path: LocalPath,
    /// It was found by a pattern and not named.
    matched: bool,
}

/// What files are called there.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// As here, below the current directory.
    Same,
    /// By the last part of their names, in this directory.
    In(Option<Name>),
    /// This.
    As(Name),
}

/// What is to be made there before the first byte, and what is to be sent.
#[derive(Debug, Default)]
struct Plan {
    directories: Vec<Name>,
    files: Vec<Store>,
    trees: usize,
    /// Directories that a pattern has found and that are not sent.
    left_out: Vec<String>,
}

impl Session {
    pub(super) fn put(&mut self, transfer: &Transfer) -> Result<(), Failed> {
        self.connected()?;
        if let [word] = &transfer.names.words[..]
            && word.is("-")
        {
            return self.put_from_input(transfer.target.as_ref());
        }
        let mut failures = Failures::new(self.keeps_going(transfer.keep_going));
        let meant = self.find_to_send(transfer, &mut failures)?;
        let place = self.place_there(transfer, &meant)?;
        let named = meant.len() == 1 && transfer.names.words.len() == 1;
        let mut plan = Plan::default();
        for meant in &meant {
            if let Err(failed) = self.plan_one(meant, transfer.recursive, &place, &mut plan, &mut failures) {
                failures.take(&mut self.output, failed)?;
            }
        }
        if plan.left_out.len() < meant.len() {
            self.leave_out_directories(VERB, &plan.left_out);
        }
        self.check_names(&mut plan, &mut failures)?;
        if plan.files.is_empty() && plan.trees == 0 {
            failures.check(VERB, NOTHING)?;
            return match meant.iter().any(|meant| meant.matched) {
                true if failures.is_clean() => {
                    let message = format!("{VERB}: no file matches; {VERB} -r sends directories");
                    Err(Failed::of(Exit::Local, message))
                }
                _ => failures.end(VERB),
            };
        }
        if plan.trees == 0 && plan.files.len() == 1 {
            failures.only_one_left();
        }
        self.make_trees_there(&mut plan, &mut failures)?;
        match self.store(&plan.files, (named && plan.trees == 0, transfer.recursive), &mut failures) {
            Ok(()) => failures.end(VERB),
            Err(failed) => Err(failures.end_by(failed)),
        }
    }

    /// Everything here that `names` stand for: see [`Session::find`].
    fn find_to_send(&mut self, transfer: &Transfer, failures: &mut Failures) -> Result<Vec<Meant>, Failed> {
        let names = &transfer.names;
        // Without a name for it there, what is sent lies below the local directory: `~` is a name like any other.
        let below = transfer.target.is_none();
        let meant = |text: PathBuf, path: LocalPath, matched| Meant { text, path, matched };
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

    fn place_there(&mut self, transfer: &Transfer, meant: &[Meant]) -> Result<Place, Failed> {
        let text = match &transfer.target {
            None => return Ok(Place::Same),
            Some(Target::Stream) => return Err(Failed::usage(format!("{VERB}: '-' is no name of a server"))),
            Some(Target::Name(text)) => text,
        };
        let name = self.remote_name(text).map_err(|problem| bad_name(VERB, text, problem))?;
        match (self.look(VERB, name.as_ref())?, name) {
            (Some(EntryKind::Directory(_)), name) => Ok(Place::In(name)),
            (_, Some(name)) if meant.len() <= 1 && !text.ends_with('/') => Ok(Place::As(name)),
            _ => {
                let message = format!("{VERB}: {} is no directory of the server", escaped(text));
                Err(Failed::of(Exit::Refused, message).about(text))
            }
        }
    }

    fn plan_one(
        &mut self,
        meant: &Meant,
        recursive: bool,
        place: &Place,
        plan: &mut Plan,
        failures: &mut Failures,
    ) -> Result<(), Failed> {
        let Meant { text, path, matched } = meant;
        let is_directory = path.is_dir();
        if is_directory && !recursive && *matched {
            plan.left_out.push(escaped_bytes(text.as_os_str().as_bytes()).to_string());
            return Ok(());
        }
        if let Some(problem) = unmeant(path).filter(|_| *matched)
            && (recursive || !path.is_symlink())
        {
            self.leave_out(VERB, &Error::LocalFile { path: path.to_path_buf(), problem });
            return Ok(());
        }
        let name = self.name_there(text, path, recursive && is_directory, place)?;
        match name {
            name if recursive && is_directory => self.plan_sending(path, name, plan, failures),
            Some(name) => {
                plan.files.push(Store { source: path.clone(), name });
                Ok(())
            }
            None => {
                let text = escaped_bytes(text.as_os_str().as_bytes()).to_string();
                Err(Failed::usage(format!("{VERB} {text}: that is a directory; {VERB} -r sends it")))
            }
        }
    }

    /// What a local file or directory is called there; [`None`] for the root.
    fn name_there(&self, text: &Path, path: &Path, is_tree: bool, place: &Place) -> Result<Option<Name>, Failed> {
        let shown = || escaped_bytes(text.as_os_str().as_bytes()).to_string();
        let bad = |problem| {
            // One that is here is meant, and can be called something else there.
            let named = matches!(place, Place::Same).then(|| path.file_name()?.to_str()).flatten();
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
        let (directory, name) = match place {
            Place::As(name) => return Ok(Some(name.clone())),
            // All that is in it goes where it is.
            Place::Same if is_tree && text == Path::new(".") => return Ok(self.remote.clone()),
            Place::Same => {
                let bytes = text.as_os_str().as_bytes();
                (&self.remote, Name::from_bytes(bytes.strip_suffix(b"/").filter(|_| path.is_dir()).unwrap_or(bytes)))
            }
            Place::In(directory) => match path.file_name() {
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

    /// Tells of something here that is never sent.
    pub(super) fn leave_out(&mut self, verb: &str, error: &Error) {
        let Session { local, output, .. } = self;
        output.remark(format_args!("{verb}: {error}: left out"), || {
            let name = match error {
                Error::LocalFile { path, .. } => Some(path.strip_prefix(&*local).unwrap_or(path).to_string_lossy()),
                _ => None,
            };
            Event::new("skipped").with("name", name).with("reason", error.to_string())
        });
    }

    fn plan_sending(
        &mut self,
        path: &LocalPath,
        top: Option<Name>,
        plan: &mut Plan,
        failures: &mut Failures,
    ) -> Result<(), Failed> {
        let tree = LocalTree::walk(path).map_err(|error| Failed::new(VERB, &error))?;
        for skipped in &tree.skipped {
            // The rest is what a person would miss.
            match skipped.by_rule {
                true => self.leave_out(VERB, &skipped.error),
                false => failures.tell(&mut self.output, &Failed::new(VERB, &skipped.error)),
            }
        }
        plan.trees += 1;
        let mut there = |name: &Name| match &top {
            None => Some(name.clone()),
            Some(top) => match top.join(name.as_str()) {
                Ok(name) => Some(name),
                Err(problem) => {
                    let message = format!("{VERB} {}: {problem}", escaped(name.as_str()));
                    failures.tell(&mut self.output, &Failed::of(Exit::Local, message));
                    None
                }
            },
        };
        let directories: Vec<Name> = tree.directories.iter().filter_map(&mut there).collect();
        let files: Vec<Store> = tree
            .files
            .into_iter()
            .filter_map(|file| Some(Store { name: there(&file.name)?, source: file.path }))
            .collect();
        plan.directories.extend(top.into_iter().chain(directories));
        plan.files.extend(files);
        Ok(())
    }

    /// Makes the directories there; takes from the plan what would be in those that can't be made.
    fn make_trees_there(&mut self, plan: &mut Plan, failures: &mut Failures) -> Result<(), Failed> {
        self.connected()?;
        let keep_going = failures.keep_going();
        let made = self.patiently(|client| match keep_going {
            true => client.make_all_directories(&plan.directories),
            false => client.make_directories(&plan.directories).map(|()| Vec::new()),
        });
        let refused = made.map_err(|error| self.failure(VERB, &error))?;
        failures.note_done(plan.directories.len() - refused.len());
        let mut unmade = HashSet::new();
        for (index, error) in refused {
            let name = &plan.directories[index];
            let failed = Failed::new(&format!("{VERB} {}", self.shown(Some(name))), &error);
            failures.take(&mut self.output, failed)?;
            unmade.insert(name.as_str());
        }
        if !unmade.is_empty() {
            let planned = plan.files.len();
            let is_within =
                |name: &Name| name.as_str().match_indices('/').any(|(at, _)| unmade.contains(&name.as_str()[..at]));
            plan.files.retain(|file| !is_within(&file.name));
            failures.note_untried(planned - plan.files.len());
        }
        Ok(())
    }

    /// Tells which files would be one there, and stops before anything is moved where something was told.
    fn check_names(&mut self, plan: &mut Plan, failures: &mut Failures) -> Result<(), Failed> {
        let mut names: HashSet<Name> = HashSet::with_capacity(plan.files.len());
        let output = &mut self.output;
        plan.files.retain(|file| {
            let first = names.insert(file.name.clone());
            if !first {
                let source = escaped_bytes(file.source.as_os_str().as_bytes());
                let name = escaped(file.name.as_str());
                let message = format!("{VERB}: {source} would be the second {name} there");
                failures.tell(output, &Failed::of(Exit::Local, message));
            }
            first
        });
        failures.check(VERB, NOTHING)
    }

    fn store(
        &mut self,
        files: &[Store],
        (single, recursive): (bool, bool),
        failures: &mut Failures,
    ) -> Result<(), Failed> {
        let label = |file: &Store| Label {
            shown: self.shown(Some(&file.name)),
            name: file.name.as_str().to_owned(),
            size: if single { None } else { file.source.size() },
        };
        let labels: Vec<Label> = files.iter().map(label).collect();
        let moving = Moving {
            verb: VERB,
            way: Way::Up,
            labels: &labels,
            single,
            retries: self.settings.retries,
            hint: None,
            arrow: self.arrow(),
        };
        let settings = self.settings_with(failures.keep_going(), recursive);
        self.connected()?;
        let Session { client: Some(client), output, local, progress, .. } = self else { return Ok(()) };
        let mut watcher = Watcher::new(&moving, local, output, failures, *progress);
        let report = client.store(files, &settings, &mut |step| watcher.note(step));
        let course = watcher.end();
        self.conclude(&moving, &report, course, failures)
    }

    /// Sends all that comes from standard input.
    fn put_from_input(&mut self, target: Option<&Target>) -> Result<(), Failed> {
        let Some(Target::Name(text)) = target else {
            return Err(Failed::usage(format!("{VERB}: standard input needs a name: {VERB} - {} name", self.arrow())));
        };
        if !self.input_is_free {
            let message =
                format!("{VERB} -: the commands come from standard input; 'ferry put HOST - -o NAME' sends it");
            return Err(Failed::usage(message));
        }
        let name = self.file_name(VERB, text)?;
        let shown = self.shown(Some(&name));
        self.output.flush();
        let progress = Progress::start(self.output.shown_as(self.progress), [(shown.clone(), None)]);
        let mut note = |done| progress.note(&Step::Moved { index: 0, done });
        let mut input = Input::new(io::stdin(), self.cancel.clone());
        let sent = self.connected()?.put_from(&name, None, &mut input, &mut note);
        let elapsed = progress.elapsed();
        drop(progress);
        let sent = sent.map_err(|error| {
            let failed = self.failure_of(VERB, Some(&name), &error);
            match reasons::no_parent(&shown).filter(|_| error.code() == Some(Code::NotFound)) {
                Some(why) => failed.saying(format!("{VERB} {shown}: {why}")),
                None => failed,
            }
        })?;
        let summary = Summary { bytes: sent.size, resumed: 0, elapsed };
        self.put.files += 1;
        self.put.bytes += sent.size;
        let durable = self.is_durable();
        let worth = Way::Up.worth(durable);
        self.output.say(format_args!("put {shown}: {summary}, {worth}"), || {
            let event = Event::new("put").with("name", name.as_str()).with("bytes", sent.size);
            let event = event.with("resumed", 0).with("crc", sent.crc.to_string());
            event.with("seconds", summary.elapsed.as_secs_f64()).with("durable", durable)
        });
        Ok(())
    }
}

/// Why a pattern that found something did not mean it; [`None`] for files and directories.
fn unmeant(path: &Path) -> Option<&'static str> {
    let kind = path.symlink_metadata().ok()?.file_type();
    match (kind.is_file() || kind.is_dir(), kind.is_symlink()) {
        (true, _) => None,
        (false, true) => Some("is a symbolic link, which is not followed"),
        (false, false) => Some("is neither a file nor a directory"),
    }
}
