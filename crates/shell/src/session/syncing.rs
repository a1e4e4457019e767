//! SYNC.

use std::{cell::RefCell, path::Path, time::Instant};

use ferry_client::{Direction, Error, Event as Step, Looking, Name, Report, Sync, SyncPlan, SyncReport, Transfers};
use ferry_wire::escaped;

use super::{
    Session,
    connection::tell_outage,
    failures::Failures,
    moving::{Course, Label, Moving, Watcher, Way},
    names::bad_name,
};
use crate::{
    command::SyncDirectories,
    exit::Failed,
    figures::{Count, Size},
    output::Event,
    progress::Progress,
};

const VERB: &str = "SYNC";

impl Session {
    pub(super) fn sync(&mut self, wanted: &SyncDirectories) -> Result<(), Failed> {
        self.connected()?;
        let to = wanted.to.as_deref().unwrap_or(&wanted.from);
        let (here, there) = match wanted.sync.direction {
            Direction::Up => (&*wanted.from, to),
            Direction::Down => (to, &*wanted.from),
        };
        let local = self.local_path(here);
        let remote = self.remote_name(there).map_err(|problem| bad_name(VERB, there, problem))?;
        let backup = wanted.sync.backup.as_ref().and_then(|path| path.to_str()).map(|text| self.local_path(text));
        let sync = Sync { backup, ..wanted.sync.clone() };
        let plan = self.look_at_both(&wanted.from, &local, remote.as_ref(), &sync);
        let plan = plan.map_err(|error| match error {
            Error::Server(_) => self.failure_of(VERB, remote.as_ref(), &error),
            _ => self.failure(&format!("{VERB} {}", escaped(&wanted.from)), &error),
        })?;
        for error in &plan.left_out {
            self.leave_out(VERB, error);
        }
        // What could not be compared is no reason not to make the rest alike.
        let mut failures = Failures::new(self.keeps_going(wanted.keep_going));
        for error in &plan.skipped {
            failures.tell(&mut self.output, &Failed::new(VERB, error));
        }
        if wanted.dry_run {
            self.tell_plan(&plan);
            if let Some(failed) = excess(&plan) {
                failures.tell(&mut self.output, &failed);
            }
            return failures.end_of_looking();
        }
        match excess(&plan) {
            Some(failed) => Err(failures.end_by(failed)),
            None => self.carry_out(&plan, failures),
        }
    }

    /// Makes the plan, and tells how far that is where it takes long.
    fn look_at_both(
        &mut self,
        from: &str,
        local: &Path,
        remote: Option<&Name>,
        sync: &Sync,
    ) -> Result<SyncPlan, Error> {
        let settings = self.settings_with(false, true);
        let Session { client: Some(client), output, progress: mode, .. } = self else {
            return Err(Error::NotConnected);
        };
        output.flush();
        let every = output.told_every(*mode);
        let progress = Progress::start(output.shown_as(*mode), [(format!("{VERB} {}", escaped(from)), None)]);
        let (mut told, output) = (Instant::now(), RefCell::new(output));
        let mut look = |looking| {
            let (phase, done, of) = match looking {
                Looking::Here(found) => ("reading the local directory", found, None),
                Looking::There(found) => ("listing the server's directory", found, None),
                Looking::Comparing(done, files) => ("comparing by content", done, Some(files)),
                Looking::Asking(names) => ("asking for what is to be deleted", names, None),
                _ => return,
            };
            progress.look(match (of, done) {
                (Some(files), _) => format!("{phase}: {done} of {}", Count(files, "file")),
                (None, 0) => phase.to_owned(),
                (None, _) => format!("{phase}: {}", Count(done, "thing")),
            });
            if every.is_some_and(|every| told.elapsed() >= every) {
                told = Instant::now();
                let mut output = output.borrow_mut();
                output.detail("", || Event::new("looking").with("phase", phase).with("done", done).with("of", of));
                output.flush();
            }
        };
        let mut lost = |step: &Step<'_>| {
            progress.aside(|| tell_outage(&mut output.borrow_mut(), step, settings.retries));
        };
        client.patiently(&settings, &mut lost, |client| SyncPlan::watched(client, local, remote, sync, &mut look))
    }

    fn carry_out(&mut self, plan: &SyncPlan, mut failures: Failures) -> Result<(), Failed> {
        let labels: Vec<Label> = self.labels(plan);
        let way = match plan.transfers {
            Transfers::Up(_) => Way::Up,
            Transfers::Down(_) => Way::Down,
        };
        let moving = Moving {
            verb: VERB,
            way,
            labels: &labels,
            single: false,
            retries: self.settings.retries,
            hint: None,
            arrow: self.arrow(),
        };
        let settings = self.settings_with(failures.keep_going(), true);
        let report = {
            self.connected()?;
            let Session { client: Some(client), output, local, progress, .. } = self else { return Ok(()) };
            let mut watcher = Watcher::new(&moving, local, output, &mut failures, *progress);
            let report = plan.carry_out(client, &settings, &mut |step| watcher.note(step));
            (report, watcher.end())
        };
        let (SyncReport { moved, made, deleted, kept, failures: others, .. }, course) = report;
        let conclusion = self.conclude_sync(&moving, &moved, course, &others, &mut failures);
        let unchanged = plan.unchanged;
        failures.note_done(unchanged + deleted);
        let mut text = format!("synced: {} moved, {unchanged} alike already", moved.files);
        if deleted > 0 {
            text.push_str(&format!(", {deleted} deleted"));
        }
        if kept > 0 {
            text.push_str(&format!(", {kept} not deleted because of what failed"));
        }
        let skipped = plan.left_out.len() + plan.skipped.len();
        self.output.say(text, || {
            let event = Event::new("synced").with("unchanged", unchanged).with("moved", moved.files);
            event.with("made", made).with("deleted", deleted).with("kept", kept).with("skipped", skipped)
        });
        conclusion?;
        failures.end(VERB)
    }

    /// Tells what became of the files, and of what else was to be done.
    fn conclude_sync(
        &mut self,
        moving: &Moving<'_>,
        moved: &Report,
        course: Course,
        others: &[Error],
        failures: &mut Failures,
    ) -> Result<(), Failed> {
        if let ([error, ..], false) = (others, failures.keep_going()) {
            let mut failed = self.failure(VERB, error);
            if moved.untried > 0 {
                failed.message.push_str(&format!("; {} not tried", Count(moved.untried, "file")));
            }
            return Err(failed);
        }
        let conclusion = match moving.labels.is_empty() {
            true => Ok(()),
            false => self.conclude(moving, moved, course, failures),
        };
        for error in others {
            let failed = self.failure(VERB, error);
            failures.tell(&mut self.output, &failed);
        }
        conclusion
    }

    fn labels(&self, plan: &SyncPlan) -> Vec<Label> {
        let label = |name: &Name, size| Label { shown: self.shown(Some(name)), name: name.as_str().to_owned(), size };
        match &plan.transfers {
            Transfers::Up(files) => files.iter().map(|file| label(&file.name, file.source.size())).collect(),
            Transfers::Down(files) => {
                files.iter().map(|file| label(&file.name, file.meta.as_ref().map(|meta| meta.size))).collect()
            }
        }
    }

    /// What would be done, one line each.
    fn tell_plan(&mut self, plan: &SyncPlan) {
        let verb = match plan.transfers {
            Transfers::Up(_) => "put",
            Transfers::Down(_) => "get",
        };
        let labels = self.labels(plan);
        let top = plan.make_top.then_some(("make", "the directory itself".to_owned(), ".", None));
        let made = plan.make.iter().map(|name| ("make", escaped(name.as_str()).to_string(), name.as_str(), None));
        let moved = labels.iter().map(|label| (verb, label.shown.clone(), label.name.as_str(), label.size));
        let replaced = plan.replace.iter().flat_map(|replaced| &replaced.delete);
        let deleted = replaced
            .chain(&plan.delete)
            .map(|gone| ("delete", escaped(gone.name.as_str()).to_string(), gone.name.as_str(), None));
        for (action, shown, name, size) in top.into_iter().chain(made).chain(moved).chain(deleted) {
            let event = || Event::new("plan").with("action", action).with("name", name).with("size", size);
            match size {
                Some(size) => self.output.answer(format_args!("would {action} {shown} ({})", Size(size)), event),
                None => self.output.answer(format_args!("would {action} {shown}"), event),
            }
        }
        let (files, bytes, deletions) = (
            plan.transfers.len(),
            plan.bytes,
            plan.replace.iter().map(|replaced| replaced.delete.len()).sum::<usize>() + plan.delete.len(),
        );
        let text = format!(
            "{VERB} would {verb} {} ({}), delete {deletions}, and leave {} as {}",
            Count(files, "file"),
            Size(bytes),
            Count(plan.unchanged, "file"),
            if plan.unchanged == 1 { "it is" } else { "they are" }
        );
        self.output.say(text, || {
            let event = Event::new("planned").with("files", files).with("bytes", bytes);
            event.with("delete", deletions).with("unchanged", plan.unchanged)
        });
    }
}

/// Why a plan is not carried out that deletes more than it may.
fn excess(plan: &SyncPlan) -> Option<Failed> {
    let (planned, most) = (plan.deletions(), plan.max_delete);
    (planned > most).then(|| {
        let mut failed = Failed::new(VERB, &Error::Deletions { planned, most });
        failed.message.push_str(&format!("; {VERB} -n lists them, --max-delete {planned} allows it"));
        failed
    })
}
