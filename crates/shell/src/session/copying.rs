//! `ferry cp`: from one server to another.

use ferry_client::{Across, Client, Direction, EntryKind, IfAbsent, Name, PlanReport, Relay, Settings};
use ferry_wire::escaped;

use super::{
    Session,
    failures::Failures,
    names::{Looked, Meant, bad_name},
    not_connected, reasons,
    watcher::{Label, Manner, Moving, Watcher},
};
use crate::{
    command::{CopyArgs, IgnoreFiles, Names, There},
    exit::{Exit, Failed},
    figures::{Count, Size},
    output::Event,
};

const VERB: &str = "CP";

/// The words for a command that moves nothing, because something can't be moved.
const NOTHING: &str = "nothing was copied; -k copies the rest";

/// Where things go.
enum Into {
    /// Into this directory, under the last part of their names.
    Directory(Option<Name>),
    /// Under this name.
    Named(Name),
}

/// How things are chosen.
struct Terms {
    recursive: bool,
    /// A list has the wanted things beneath each.
    listed: bool,
    /// They go to the server that they are of.
    is_same: bool,
    into: Into,
}

impl Session {
    /// Copies from one server to another, or to the same one. Both are connected to here, as `if_absent` says.
    pub(crate) fn copy(&mut self, args: &CopyArgs, if_absent: IfAbsent) -> Result<(), Failed> {
        let mut failures = self.failures(args.moves.going_on, args.moves.recursive);
        let result = self.copy_all(args, if_absent, &mut failures);
        self.output.flush();
        match result {
            Ok(()) => failures.end(VERB),
            Err(failed) => Err(failures.end_by(failed)),
        }
    }

    fn copy_all(&mut self, args: &CopyArgs, if_absent: IfAbsent, failures: &mut Failures) -> Result<(), Failed> {
        let Some((target, sources)) = args.places.split_last() else { return Ok(()) };
        let Some(first) = sources.first() else { return Ok(()) };
        let CopyArgs { moves, clobbering, nothing_local, .. } = args;
        nothing_local.check(VERB)?;
        let choice = self.choice_with(VERB, &moves.choosing, &moves.listed, IgnoreFiles::default())?;
        if choice.filter.has_directory_rules() {
            return Err(Failed::usage(format!(
                "{VERB}: rules for single directories hold for local ones, and none is"
            )));
        }
        let names = Names { words: sources.iter().map(|source| source.name.clone()).collect() };
        check_one_server(sources)?;
        let meant = failures.asking(VERB, &first.host, |failures| {
            self.connect_to(first, if_absent)?;
            self.find_to_copy(&names, failures)
        })?;
        let source = self.client.take();
        let into = failures.asking(VERB, &target.host, |_| {
            self.connect_to(target, if_absent)?;
            self.target(target, meant.len())
        })?;
        let is_same = |from: &Client| self.client.as_ref().is_some_and(|to| to.address() == from.address());
        let terms = Terms {
            recursive: moves.recursive,
            listed: choice.only.is_some(),
            is_same: source.as_ref().is_some_and(is_same),
            into,
        };
        let plan = Across::choosing(choice).keeping(moves.perms.permissions());
        // What is there is looked through on its own connection.
        let to = std::mem::replace(&mut self.client, source);
        let plan = failures.asking(VERB, &first.host, |failures| self.plan_copies(&meant, &terms, plan, failures))?;
        let mut from = std::mem::replace(&mut self.client, to).ok_or_else(not_connected)?;
        if moves.dry_run {
            self.tell_copies(&plan);
            return Ok(());
        }
        if plan.files.is_empty() && plan.make.is_empty() && !failures.is_clean() {
            return Ok(());
        }
        let manner = Manner {
            verb: VERB,
            whole_directories: moves.recursive,
            single: plan.make.is_empty() && meant.len() == 1 && sources.len() == 1,
            hint: None,
            if_taken: clobbering.if_taken(),
            sparse: false,
            permissions: moves.perms.permissions(),
            tells_of_none: true,
            copies: true,
        };
        self.carry_across(&plan, &mut from, manner, failures)
    }

    fn connect_to(&mut self, place: &There, if_absent: IfAbsent) -> Result<(), Failed> {
        let server = self.server(&place.host)?;
        let settings = self.settings.clone();
        self.connect(&server, None, (&settings, if_absent))
    }

    /// Finds what is to be copied, and what of it is a directory.
    fn find_to_copy(&mut self, names: &Names, failures: &mut Failures) -> Result<Vec<Meant>, Failed> {
        let mut meant = self.find(VERB, names, failures)?;
        for one in meant.iter_mut().filter(|one| one.kind.is_none()) {
            one.kind = self.look(VERB, one.name.as_ref())?;
        }
        Ok(meant)
    }

    /// Returns where so many things go that are copied to `target`.
    fn target(&mut self, target: &There, things: usize) -> Result<Into, Failed> {
        let text = &*target.name.text;
        let name = self.remote_name(text).map_err(|problem| bad_name(VERB, text, problem))?;
        let is_one_name = things <= 1 && !text.ends_with('/');
        match (self.look_as_allowed(VERB, name.as_ref())?, name) {
            (Looked::Is(EntryKind::Directory(_)), name) => Ok(Into::Directory(name)),
            (_, Some(name)) if is_one_name => Ok(Into::Named(name)),
            // If it is none, the server says so of each file.
            (Looked::Denied(_), name) => Ok(Into::Directory(name)),
            _ => {
                let message = format!("{VERB}: {} is no directory of the server", escaped(text));
                Err(Failed::of(Exit::Refused, message).about(text))
            }
        }
    }

    /// Chooses of what is `meant`, and tells all that is left out.
    fn plan_copies(
        &mut self,
        meant: &[Meant],
        terms: &Terms,
        mut plan: Across,
        failures: &mut Failures,
    ) -> Result<Across, Failed> {
        let is_left = |one: &Meant| {
            let is_directory = matches!(one.kind, Some(EntryKind::Directory(_)));
            is_directory && !terms.recursive && one.matched && meant.len() > 1
        };
        let directories: Vec<String> =
            meant.iter().filter(|one| is_left(one)).map(|one| self.shown(one.name.as_ref())).collect();
        if !directories.is_empty() && directories.len() == meant.len() {
            let message = format!("{VERB}: only directories match; ferry cp -r copies them");
            return Err(Failed::of(Exit::Refused, message));
        }
        for one in meant.iter().filter(|one| !is_left(one)) {
            if let Err(failed) = self.choose_to_copy(one, terms, &mut plan) {
                failures.take(&mut self.output, failed)?;
            }
        }
        self.leave_out_directories(VERB, &directories);
        let plan = plan.finish();
        self.tell_not_copied(&plan, failures);
        if let Some(failed) = self.missing(VERB, Exit::NotFound, &plan.missing, failures) {
            return Err(failed);
        }
        failures.check(VERB, NOTHING)?;
        if plan.make.is_empty() && plan.files.len() == 1 {
            failures.only_one_left();
        }
        Ok(plan)
    }

    /// Adds something to what is copied.
    fn choose_to_copy(&mut self, meant: &Meant, terms: &Terms, plan: &mut Across) -> Result<(), Failed> {
        let Terms { recursive, listed, is_same, ref into } = *terms;
        let shown = self.shown(meant.name.as_ref());
        if listed && !matches!(meant.kind, Some(EntryKind::Directory(_)) | None) {
            let message = format!("{VERB} {shown}: --files-from has names in a directory, and that is none");
            return Err(Failed::of(Exit::Refused, message).about(shown));
        }
        let name = match (into, &meant.name) {
            (Into::Named(name), _) => Some(name.clone()),
            // The root goes as what is in it, and so does a directory that a list has names of.
            (Into::Directory(directory), None) => directory.clone(),
            (Into::Directory(directory), Some(_)) if listed => directory.clone(),
            (Into::Directory(None), Some(name)) => {
                Some(Name::new(name.last()).map_err(|problem| bad_name(VERB, &shown, problem))?)
            }
            (Into::Directory(Some(directory)), Some(name)) => {
                Some(directory.join(name.last()).map_err(|problem| bad_name(VERB, &shown, problem))?)
            }
        };
        let is_within = |outer: Option<&Name>, inner: Option<&Name>| match (outer, inner) {
            (None, _) => true,
            (Some(outer), Some(inner)) => {
                inner.as_str().strip_prefix(outer.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            (Some(_), None) => false,
        };
        match (&meant.kind, &meant.name, name) {
            (_, source, name) if is_same && *source == name => {
                Err(Failed::usage(format!("{VERB} {shown}: that is itself")).about(shown))
            }
            (Some(EntryKind::Directory(_)), source, name) if recursive => {
                if is_same && is_within(source.as_ref(), name.as_ref()) {
                    return Err(
                        Failed::usage(format!("{VERB} {shown}: a directory does not go into itself")).about(shown)
                    );
                }
                let title = format!("{VERB} {shown}");
                let (source, name) = (source.as_ref(), name.as_ref());
                let added = self.look_through(title, |from, watch| match listed {
                    true => plan.add_content(from, source, name, watch),
                    false => plan.add_directory(from, source, name, watch),
                });
                added.map_err(|error| self.failure_of(VERB, source, &error))
            }
            (Some(EntryKind::File(meta)), Some(source), Some(name)) => {
                plan.add_file(source.clone(), Some(meta.clone()), name);
                Ok(())
            }
            (Some(EntryKind::Directory(_)), ..) => {
                let message = format!("{VERB} {shown}: that is a directory; ferry cp -r copies it");
                Err(Failed::of(Exit::Refused, message).about(shown))
            }
            _ => {
                let message = format!("{VERB} {shown}: the server has no such file or directory");
                let failed = Failed::of(Exit::NotFound, message).about(shown);
                Err(meant
                    .name
                    .as_ref()
                    .map_or_else(|| Failed::told(Exit::NotFound), |name| self.with_question(failed, name)))
            }
        }
    }

    /// Tells what a plan leaves out, and why.
    fn tell_not_copied(&mut self, plan: &Across, failures: &mut Failures) {
        for (name, error) in &plan.skipped {
            let failed = reasons::failed(VERB, &self.shown(Some(name)), name.as_str(), error);
            failures.tell(&mut self.output, &failed);
        }
        for (first, second, name) in &plan.clashes {
            let (first, shown) = (self.shown(Some(first)), self.shown(Some(second)));
            let message = format!("{VERB}: {first} and {shown} would both be {}", escaped(name.as_str()));
            failures.tell(&mut self.output, &Failed::of(Exit::Usage, message).about(second.as_str()));
        }
    }

    /// Tells what would be done.
    fn tell_copies(&mut self, plan: &Across) {
        for made in &plan.make {
            self.tell_step("make", Some(made), None);
        }
        let mut bytes = 0_u64;
        for file in &plan.files {
            let size = file.meta.as_ref().map(|meta| meta.size);
            bytes = bytes.saturating_add(size.unwrap_or(0));
            self.tell_step("copy", Some(&file.name), size);
        }
        let files = plan.files.len();
        self.output.say(format!("{VERB} would copy {} ({})", Count(files, "file"), Size(bytes)), || {
            let event = Event::new("planned").with("files", files).with("bytes", bytes);
            event.with("delete", 0).with("unchanged", 0)
        });
    }

    /// Carries a plan out and tells of it; fails with what stopped it.
    fn carry_across(
        &mut self,
        plan: &Across,
        from: &mut Client,
        manner: Manner,
        failures: &mut Failures,
    ) -> Result<(), Failed> {
        let label = |file: &Relay| Label {
            shown: self.shown(Some(&file.name)),
            name: file.name.as_str().to_owned(),
            size: file.meta.as_ref().map(|meta| meta.size),
        };
        let labels: Vec<Label> = plan.files.iter().map(label).collect();
        let (retries, arrow) = (self.settings.retries, self.arrow());
        let to = self.client.as_ref().map(|to| to.address().to_string());
        let moving = Moving { manner, direction: Direction::Up, labels: &labels, retries, arrow, to };
        let settings = self.settings_with(failures.keep_going(), manner.whole_directories);
        let settings = Settings { if_taken: manner.if_taken, permissions: manner.permissions, ..settings };
        let Session { client: Some(to), output, local, remote, progress, keyboard, .. } = self else {
            return Err(not_connected());
        };
        let mut watcher = Watcher::new(&moving, (local, remote.as_ref()), output, failures, (*progress, &*keyboard));
        let report: PlanReport = plan.carry_out(from, to, &settings, &mut |step| watcher.note(step));
        let course = watcher.end(!to.is_volatile());
        failures.note_done(report.made + report.moved.files);
        self.conclude(&moving, &report, course, failures)
    }
}

/// Fails where not all of `sources` are of one server.
fn check_one_server(sources: &[There]) -> Result<(), Failed> {
    let Some(first) = sources.first() else { return Ok(()) };
    let Some(other) = sources.iter().find(|source| source.host != first.host) else { return Ok(()) };
    let (one, two) = (escaped(&first.host), escaped(&other.host));
    let message = format!(
        "{VERB}: all that is copied has to be of one server, and {one} and {two} are two: copy from one after the other"
    );
    Err(Failed::usage(message))
}
