//! SYNC.

use ferry_client::{Choice, Direction, Error, IfTaken, Links, Name, Permissions, Plan, PlanReport, Sync};
use ferry_wire::escaped;

use super::{Session, failures::Failures, names::bad_name, watcher::Manner};
use crate::{command::SyncDirectories, exit::Failed, output::Event};

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
        let backup = wanted.sync.backup.as_ref().and_then(|path| path.to_str());
        let (backup, backup_there) = match (backup, wanted.sync.direction) {
            (Some(text), Direction::Down) => (Some(self.local_path(text)), None),
            (Some(text), Direction::Up) => (None, Some(self.backup_there(VERB, text)?)),
            (None, _) => (None, None),
        };
        if wanted.links != Links::Skip && wanted.sync.direction == Direction::Down {
            let message = format!("{VERB}: links are sent, and never made here: --copy-links does not go with -d");
            return Err(Failed::usage(message));
        }
        let choice = self.choice_with(VERB, &wanted.choosing, &wanted.listed, wanted.ignore_files)?;
        let choice = Choice { links: wanted.links, ..choice };
        let sync = Sync { backup, backup_there, choice, ..wanted.sync.clone() };
        let title = format!("{VERB} {}", escaped(&wanted.from));
        let plan =
            self.look_through(title.clone(), |client, watch| Plan::sync(client, &local, remote.as_ref(), &sync, watch));
        let plan = plan.map_err(|error| match error {
            Error::Server(_) => self.failure_of(VERB, remote.as_ref(), &error),
            _ => self.failure(&title, &error),
        })?;
        // What could not be compared is no reason not to make the rest alike.
        let mut failures = self.failures(wanted.going_on, true);
        self.tell_left_out(VERB, &plan, &mut failures);
        if let Err(failed) = self.tell_missing(VERB, &plan, &mut failures) {
            return Err(failures.end_by(failed));
        }
        if wanted.dry_run {
            self.tell_plan(VERB, &plan);
            if let Some(failed) = excess(&plan) {
                failures.tell(&mut self.output, &failed);
            }
            return failures.end_of_looking();
        }
        if let Some(failed) = excess(&plan) {
            return Err(failures.end_by(failed));
        }
        self.confirm(VERB, plan.deletions(), wanted.yes)?;
        self.carry_out_sync(VERB, &plan, (wanted.sparse, wanted.sync.permissions), &mut failures)?;
        failures.end(VERB)
    }

    /// Returns the directory of the server that `text` names, where files are to be kept.
    pub(super) fn backup_there(&self, verb: &str, text: &str) -> Result<Name, Failed> {
        let name = self.remote_name(text).map_err(|problem| bad_name(verb, text, problem))?;
        name.ok_or_else(|| Failed::usage(format!("{verb}: --backup-dir needs a directory beneath that of the server")))
    }

    /// Carries a plan out and tells of it, for `verb`.
    pub(super) fn carry_out_sync(
        &mut self,
        verb: &'static str,
        plan: &Plan,
        (sparse, permissions): (bool, Permissions),
        failures: &mut Failures,
    ) -> Result<(), Failed> {
        let manner = Manner {
            verb,
            whole_directories: true,
            single: false,
            hint: None,
            if_taken: IfTaken::Replace,
            sparse,
            permissions,
            tells_of_none: false,
            copies: false,
        };
        let (report, conclusion) = self.carry_out(plan, manner, failures);
        let PlanReport { moved, made, amended, deleted, kept, .. } = report;
        let unchanged = plan.unchanged;
        let mut text = format!("synced: {} moved, {unchanged} alike already", moved.files);
        if plan.newer > 0 {
            text.push_str(&format!(", {} newer there", plan.newer));
        }
        if amended > 0 {
            text.push_str(&format!(", {amended} given other permissions"));
        }
        if deleted > 0 {
            text.push_str(&format!(", {deleted} deleted"));
        }
        if kept > 0 {
            text.push_str(&format!(", {kept} not deleted because of what failed"));
        }
        let skipped = plan.left_out.len() + plan.skipped.len() + plan.clashes.len();
        self.output.say(text, || {
            let event = Event::new("synced").with("unchanged", unchanged).with("moved", moved.files);
            let event = event.with("newer", plan.newer).with("amended", amended);
            event.with("made", made).with("deleted", deleted).with("kept", kept).with("skipped", skipped)
        });
        conclusion
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
