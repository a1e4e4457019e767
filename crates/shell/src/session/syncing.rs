//! SYNC.

use ferry_client::{Direction, Error, IfTaken, LocalPath, Plan, PlanReport, Sync};
use ferry_wire::escaped;

use super::{Session, failures::Failures, names::bad_name, watcher::Manner};
use crate::{
    command::SyncDirectories,
    exit::Failed,
    figures::{Count, Size},
    output::Event,
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
        let title = format!("{VERB} {}", escaped(&wanted.from));
        let plan =
            self.look_through(title.clone(), |client, watch| Plan::sync(client, &local, remote.as_ref(), &sync, watch));
        let plan = plan.map_err(|error| match error {
            Error::Server(_) => self.failure_of(VERB, remote.as_ref(), &error),
            _ => self.failure(&title, &error),
        })?;
        // What could not be compared is no reason not to make the rest alike.
        let mut failures = Failures::new(self.keeps_going(wanted.keep_going));
        self.tell_left_out(VERB, &plan, &mut failures);
        if wanted.dry_run {
            self.tell_plan(&plan);
            if let Some(failed) = excess(&plan) {
                failures.tell(&mut self.output, &failed);
            }
            return failures.end_of_looking();
        }
        if let Some(failed) = excess(&plan) {
            return Err(failures.end_by(failed));
        }
        self.carry_out_sync(&plan, wanted.sparse, &mut failures)?;
        failures.end(VERB)
    }

    fn carry_out_sync(&mut self, plan: &Plan, sparse: bool, failures: &mut Failures) -> Result<(), Failed> {
        let manner = Manner {
            verb: VERB,
            whole_directories: true,
            single: false,
            hint: None,
            if_taken: IfTaken::Replace,
            sparse,
            tells_of_none: false,
        };
        let (report, conclusion) = self.carry_out(plan, manner, failures);
        let PlanReport { moved, made, deleted, kept, .. } = report;
        let unchanged = plan.unchanged;
        let mut text = format!("synced: {} moved, {unchanged} alike already", moved.files);
        if deleted > 0 {
            text.push_str(&format!(", {deleted} deleted"));
        }
        if kept > 0 {
            text.push_str(&format!(", {kept} not deleted because of what failed"));
        }
        let skipped = plan.left_out.len() + plan.skipped.len() + plan.clashes.len();
        self.output.say(text, || {
            let event = Event::new("synced").with("unchanged", unchanged).with("moved", moved.files);
            event.with("made", made).with("deleted", deleted).with("kept", kept).with("skipped", skipped)
        });
        conclusion
    }

    /// Tells what would be done, one line each.
    fn tell_plan(&mut self, plan: &Plan) {
        let verb = match plan.direction() {
            Direction::Up => "put",
            Direction::Down => "get",
        };
        // All names but those of files are told as they are below the directory that is changed.
        let below = |path: &LocalPath| path.below().to_string_lossy().into_owned();
        let made = plan.make.iter().map(|made| match below(&made.here) {
            itself if itself.is_empty() => ("make", "the directory itself".to_owned(), ".".to_owned(), None),
            name => ("make", escaped(&name).to_string(), name, None),
        });
        let files = plan.transfers.names().enumerate();
        let moved = files
            .map(|(index, name)| (verb, self.shown(Some(name)), name.as_str().to_owned(), plan.transfers.size(index)));
        let replaced = plan.replace.iter().flat_map(|replaced| &replaced.delete);
        let deleted = replaced.chain(&plan.delete).map(|gone| below(&gone.here));
        let deleted = deleted.map(|name| ("delete", escaped(&name).to_string(), name, None));
        let all: Vec<_> = made.chain(moved).chain(deleted).collect();
        for (action, shown, name, size) in all {
            let event = || Event::new("plan").with("action", action).with("name", name.as_str()).with("size", size);
            match size {
                Some(size) => self.output.answer(format_args!("would {action} {shown} ({})", Size(size)), event),
                None => self.output.answer(format_args!("would {action} {shown}"), event),
            }
        }
        let (files, bytes, deletions) = (
            plan.transfers.len(),
            plan.transfers.bytes(),
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

/// Returns why a plan is not carried out that deletes more than it may.
fn excess(plan: &Plan) -> Option<Failed> {
    let (planned, most) = (plan.deletions(), plan.max_delete);
    (planned > most).then(|| {
        let mut failed = Failed::new(VERB, &Error::Deletions { planned, most });
        failed.message.push_str(&format!("; {VERB} -n lists them, --max-delete {planned} allows it"));
        failed
    })
}
