//! GET.

use std::{
    collections::HashSet,
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use ferry_client::{
    Download, EntryKind, Error, Event as Step, Fetch, FileMeta, Found, HeldDirectory, LocalPath, LocalTree, Name, Part,
    Unmade, clashes,
};
use ferry_wire::escaped;

use super::{
    Session,
    failures::Failures,
    moving::{Label, Moving, Watcher, Way},
    names::Meant,
    reasons,
};
use crate::{
    command::{Target, Transfer},
    exit::{Exit, Failed},
    figures::Summary,
    output::Event,
    progress::Progress,
    safe::Safe,
};

const VERB: &str = "GET";

/// What is said where it is better to move nothing.
const NOTHING: &str = "nothing was fetched; -k fetches the rest";

/// Where files are saved: what was typed may lead through links, what the server calls them may not.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// In this directory, under the last part of their names.
    In(HeldDirectory),
    /// Under this name.
    As(LocalPath),
}

/// What is to be done here before the first byte, and what is to be fetched.
#[derive(Debug, Default)]
struct Plan {
    /// Directories to make, each with those beneath it.
    trees: Vec<(LocalPath, Vec<Name>)>,
    files: Vec<Fetch>,
}

impl Session {
    pub(super) fn get(&mut self, transfer: &Transfer) -> Result<(), Failed> {
        let mut failures = Failures::new(self.keeps_going(transfer.keep_going));
        match self.get_all(transfer, &mut failures) {
            Ok(()) => failures.end(VERB),
            Err(failed) => Err(failures.end_by(failed)),
        }
    }

    fn get_all(&mut self, transfer: &Transfer, failures: &mut Failures) -> Result<(), Failed> {
        let meant = self.find(VERB, &transfer.names, failures)?;
        let place = match &transfer.target {
            Some(Target::Stream) => return self.get_to_output(&meant, failures),
            Some(Target::Name(text)) => self.place(text, &meant)?,
            None => Place::In(HeldDirectory::at(&self.local)),
        };
        let named = meant.len() == 1 && transfer.names.words.len() == 1;
        let (plan, trees) = self.plan(transfer.recursive, &meant, &place, failures)?;
        let plan = self.without_clashes(plan, &place, failures)?;
        if plan.trees.is_empty() && plan.files.is_empty() && !failures.is_clean() {
            // Nothing is left to do, and perhaps no connection to do it with.
            return Ok(());
        }
        if plan.trees.is_empty() && plan.files.len() == 1 {
            failures.only_one_left();
        }
        let plan = self.make_trees_here(plan, failures)?;
        let absolute = meant.iter().any(|meant| meant.typed.starts_with('/'));
        let hint = absolute.then_some("a name that begins with '/' is one beneath the server's root");
        self.fetch(&plan.files, (named && trees == 0, transfer.recursive), hint, failures)
    }

    /// Where files go that are to be saved as `text`.
    fn place(&self, text: &str, meant: &[Meant]) -> Result<Place, Failed> {
        let path = self.local_path(text);
        if path.is_dir() {
            return Ok(Place::In(HeldDirectory::at(path)));
        }
        if text.ends_with('/') || meant.len() > 1 {
            let message = format!("{VERB}: {} is no directory to save in", escaped(text));
            return Err(Failed::of(Exit::Local, message).about(text));
        }
        Ok(Place::As(in_its_directory(&path)))
    }

    /// What to fetch; and how many whole directories are among it.
    fn plan(
        &mut self,
        recursive: bool,
        meant: &[Meant],
        place: &Place,
        failures: &mut Failures,
    ) -> Result<(Plan, usize), Failed> {
        let mut plan = Plan::default();
        let mut passed = Vec::new();
        for Meant { name, kind, matched, .. } in meant {
            let kind = match kind {
                Some(kind) => Some(kind.clone()),
                None if recursive || name.is_none() => self.look(VERB, name.as_ref())?,
                None => None,
            };
            let shown = self.shown(name.as_ref());
            match (name, kind) {
                (_, Some(EntryKind::Directory(_))) if recursive => {
                    if let Err(failed) = self.plan_tree(name.as_ref(), place, &mut plan, failures) {
                        failures.take(&mut self.output, failed)?;
                    }
                }
                (_, Some(EntryKind::Directory(_))) if *matched && meant.len() > 1 => {
                    passed.push(shown);
                }
                (None, _) => {
                    let message = format!("{VERB} {shown}: that is a directory; {VERB} -r {shown} fetches it");
                    failures.take(&mut self.output, Failed::of(Exit::Refused, message).about(shown))?;
                }
                (Some(name), kind) => {
                    let meta = match kind {
                        Some(EntryKind::File(meta)) => Some(meta),
                        _ => None,
                    };
                    plan.files.push(Fetch { name: name.clone(), target: target(place, name.last()), meta });
                }
            }
        }
        if !passed.is_empty() && passed.len() == meant.len() {
            let message = format!("{VERB}: only directories match; {VERB} -r fetches them");
            return Err(Failed::of(Exit::Refused, message));
        }
        self.leave_out_directories(VERB, &passed);
        let trees = plan.trees.len();
        Ok((plan, trees))
    }

    fn plan_tree(
        &mut self,
        top: Option<&Name>,
        place: &Place,
        plan: &mut Plan,
        failures: &mut Failures,
    ) -> Result<(), Failed> {
        self.connected()?;
        let tree = self.patiently(|client| client.tree(top));
        let tree = tree.map_err(|error| self.failure_of(VERB, top, &error))?;
        for (name, error) in &tree.skipped {
            let failed = reasons::failed(VERB, &self.shown(Some(name)), name.as_str(), error);
            failures.tell(&mut self.output, &failed);
        }
        failures.check(VERB, NOTHING)?;
        let here = match top {
            Some(top) => target(place, top.last()),
            None => match place {
                Place::In(directory) => directory.place(""),
                Place::As(path) => path.clone(),
            },
        };
        let mut directories = Vec::new();
        for Found { name, kind } in tree.found {
            let Some(below) = below(top, &name) else { continue };
            match kind {
                EntryKind::Directory(_) => directories.push(below),
                EntryKind::File(meta) => {
                    plan.files.push(Fetch { target: here.beneath(below.as_str()), name, meta: Some(meta) });
                }
            }
        }
        plan.trees.push((here, directories));
        Ok(())
    }

    /// Tells which names would become one file, before anything is moved; gives the plan without them.
    fn without_clashes(&mut self, mut plan: Plan, place: &Place, failures: &mut Failures) -> Result<Plan, Failed> {
        let made = plan.trees.iter().flat_map(|(top, directories)| {
            std::iter::once(top.to_path_buf()).chain(directories.iter().map(move |name| top.join(name.as_str())))
        });
        let mut targets: Vec<PathBuf> = made.collect();
        let directories = targets.len();
        targets.extend(plan.files.iter().map(|file| file.target.to_path_buf()));
        let texts: Vec<_> = targets.iter().map(|path| path.to_string_lossy()).collect();
        let there = match place {
            Place::In(directory) => directory.path(),
            Place::As(path) => path.parent().unwrap_or(path),
        };
        let found = clashes(there, texts.iter().map(|text| &**text));
        let (mut files, mut above) = (HashSet::new(), HashSet::new());
        for clash in found.map_err(|error| Failed::new(VERB, &error))? {
            match clash.second.checked_sub(directories) {
                Some(file) => {
                    files.insert(file);
                }
                // A directory that is made twice is no harm: two files in it would be.
                None if targets[clash.first] == targets[clash.second] => continue,
                None => {
                    above.insert(targets[clash.second].clone());
                }
            }
            let named = |index: usize| match index.checked_sub(directories) {
                Some(file) => self.shown(Some(&plan.files[file].name)),
                None => escaped(&texts[index]).to_string(),
            };
            let message = format!("{VERB}: {} and {} would be one file here", named(clash.first), named(clash.second));
            failures.tell(&mut self.output, &Failed::of(Exit::Local, message));
        }
        failures.check(VERB, NOTHING)?;
        let mut index = 0;
        plan.files.retain(|file| {
            index += 1;
            !files.contains(&(index - 1))
                && (above.is_empty() || !file.target.ancestors().any(|directory| above.contains(directory)))
        });
        for (top, directories) in &mut plan.trees {
            directories.retain(|name| {
                above.is_empty() || !top.join(name.as_str()).ancestors().any(|path| above.contains(path))
            });
        }
        plan.trees.retain(|(top, _)| !above.contains(&**top));
        Ok(plan)
    }

    /// Makes the directories; returns the plan without what would be in those that can't be made.
    fn make_trees_here(&mut self, mut plan: Plan, failures: &mut Failures) -> Result<Plan, Failed> {
        let mut unmade = HashSet::new();
        for (top, directories) in &plan.trees {
            let refused = LocalTree::make(top, directories);
            failures.note_done(usize::from(refused.len() <= directories.len()));
            for Unmade { name, error } in refused {
                failures.take(&mut self.output, Failed::new(VERB, &error))?;
                unmade.insert(name.map_or_else(|| top.to_path_buf(), |name| top.join(name.as_str())));
            }
        }
        if !unmade.is_empty() {
            let planned = plan.files.len();
            plan.files.retain(|file| !file.target.ancestors().any(|above| unmade.contains(above)));
            failures.note_untried(planned - plan.files.len());
        }
        Ok(plan)
    }

    /// Writes files to standard output, one behind the other.
    fn get_to_output(&mut self, meant: &[Meant], failures: &mut Failures) -> Result<(), Failed> {
        if meant.len() == 1 {
            failures.only_one_left();
        }
        for Meant { name, .. } in meant {
            let shown = self.shown(name.as_ref());
            let Some(name) = name else {
                let failed = Failed::usage(format!("{VERB} {shown}: that is a directory")).about(shown);
                failures.take(&mut self.output, failed)?;
                continue;
            };
            self.connected()?;
            // And for the rest of the command: nothing may be said among the bytes, or behind them.
            self.output.divert(true);
            let result = self.copy_to_output(name);
            match result {
                Ok((Download { size: bytes, crc, .. }, elapsed)) => {
                    let summary = Summary { bytes, resumed: 0, elapsed };
                    self.got.files += 1;
                    self.got.bytes += bytes;
                    failures.note_done(1);
                    self.output.remark(format_args!("got {shown}: {summary}, verified"), || {
                        let event = Event::new("got").with("name", name.as_str()).with("bytes", bytes);
                        let event = event.with("resumed", 0).with("crc", crc.to_string());
                        event.with("seconds", elapsed.as_secs_f64())
                    });
                }
                Err(Error::System { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe => {
                    // It has read all that it wanted, of this file and of those after it.
                    return Err(Failed::told(Exit::READER_GONE));
                }
                Err(error) => {
                    let mut failed = self.failure_of(VERB, Some(name), &error);
                    if let Error::System { source, .. } = &error {
                        // It stands for a file here.
                        failed = Failed::output(source).about(name.as_str());
                    }
                    failures.take(&mut self.output, failed)?;
                }
            }
        }
        Ok(())
    }

    fn copy_to_output(&mut self, name: &Name) -> Result<(Download, Duration), Error> {
        let shown = self.shown(Some(name));
        let Session { client: Some(client), output, progress, .. } = self else { return Err(Error::NotConnected) };
        let begun = Instant::now();
        let got = if io::stdout().is_terminal() {
            // Whatever is in a file, it must not drive a terminal; and a bar would stand among its lines.
            let mut safe = Safe::new(output.raw());
            let got = client.read(name, &Part::default(), &mut safe)?;
            // What is left is half a character.
            let _ = safe.flush();
            got
        } else {
            let progress = Progress::start(output.shown_as(*progress), [(shown, None)]);
            client.read(name, &Part::default(), &mut Noted { sink: output.raw(), done: 0, progress: &progress })?
        };
        let written = output.raw().flush();
        written.map_err(|source| Error::System { what: "write to standard output", source })?;
        Ok((got, begun.elapsed()))
    }

    fn fetch(
        &mut self,
        files: &[Fetch],
        (single, recursive): (bool, bool),
        hint: Option<&str>,
        failures: &mut Failures,
    ) -> Result<(), Failed> {
        let label = |file: &Fetch| Label {
            shown: self.shown(Some(&file.name)),
            name: file.name.as_str().to_owned(),
            size: file.meta.as_ref().map(|meta: &FileMeta| meta.size),
        };
        let labels: Vec<Label> = files.iter().map(label).collect();
        let moving = Moving {
            verb: VERB,
            way: Way::Down,
            labels: &labels,
            single,
            retries: self.settings.retries,
            hint,
            arrow: self.arrow(),
        };
        let settings = self.settings_with(failures.keep_going(), recursive);
        self.connected()?;
        let Session { client: Some(client), output, local, progress, .. } = self else { return Ok(()) };
        let mut watcher = Watcher::new(&moving, local, output, failures, *progress);
        let report = client.fetch(files, &settings, &mut |step| watcher.note(step));
        let course = watcher.end();
        self.conclude(&moving, &report, course, failures)
    }
}

/// Passes bytes on and notes how many.
struct Noted<'a> {
    sink: &'a mut dyn io::Write,
    done: u64,
    progress: &'a Progress,
}

impl io::Write for Noted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.sink.write(bytes)?;
        self.done += written as u64;
        self.progress.note(&Step::Moved { index: 0, done: self.done });
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

fn target(place: &Place, last: &str) -> LocalPath {
    match place {
        Place::In(directory) => directory.place(last),
        Place::As(path) => path.clone(),
    }
}

/// A path that was typed, whose last part is not there yet: only what is above it is followed.
fn in_its_directory(path: &Path) -> LocalPath {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(last)) => HeldDirectory::at(parent).place(last),
        _ => path.into(),
    }
}

/// `name` without the directory that it is below.
fn below(directory: Option<&Name>, name: &Name) -> Option<Name> {
    let Some(directory) = directory else { return Some(name.clone()) };
    Name::new(name.as_str().strip_prefix(directory.as_str())?.strip_prefix('/')?).ok()
}
