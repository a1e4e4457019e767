//! Carrying out what GET, PUT and SYNC have planned, and telling what came of it.

use std::io;

use ferry_client::{
    Blame, Code, Direction, Error, KEPT_DOWNLOAD_BYTES, KEPT_UPLOAD_BYTES, Name, Plan, PlanReport, Report, Settings,
};

use super::{
    Session,
    failures::Failures,
    not_connected,
    watcher::{Course, Label, Manner, Moving, Watcher, explained, worth},
};
use crate::{
    exit::Failed,
    figures::{Count, Size, Summary},
    output::Event,
};

/// The files and bytes that were moved since the program began.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    pub(super) files: usize,
    pub(super) bytes: u64,
}

impl Session {
    /// Carries a plan out and tells of it; fails with what stopped it.
    pub(super) fn carry_out(
        &mut self,
        plan: &Plan,
        manner: Manner,
        failures: &mut Failures,
    ) -> (PlanReport, Result<(), Failed>) {
        let direction = plan.direction();
        // A single file is looked at when it is opened, and not before.
        let size = |index| if manner.single && direction == Direction::Up { None } else { plan.transfers.size(index) };
        let label = |(index, name): (usize, &Name)| Label {
            shown: self.shown(Some(name)),
            name: name.as_str().to_owned(),
            size: size(index),
        };
        let labels: Vec<Label> = plan.transfers.names().enumerate().map(label).collect();
        let (retries, arrow) = (self.settings.retries, self.arrow());
        let moving = Moving { manner, direction, labels: &labels, retries, arrow, to: None };
        let settings = self.settings_with(failures.keep_going(), manner.whole_directories);
        let Manner { if_taken, sparse, permissions, .. } = manner;
        let settings = Settings { if_taken, sparse, permissions, ..settings };
        let Session { client: Some(client), output, local, remote, progress, keyboard, meter, .. } = self else {
            return (PlanReport::default(), Err(not_connected()));
        };
        let mut watcher = Watcher::new(&moving, (local, remote.as_ref()), output, failures, (*progress, &*keyboard));
        watcher.tell_meter(meter.as_deref());
        let report = plan.carry_out(client, &settings, &mut |step| watcher.note(step));
        let course = watcher.end(!client.is_volatile());
        failures.note_done(report.made + report.moved.files + report.amended + report.deleted + plan.unchanged);
        let conclusion = self.conclude(&moving, &report, course, failures);
        (report, conclusion)
    }

    /// Tells what became of a plan, and fails with what stopped it.
    pub(super) fn conclude(
        &mut self,
        moving: &Moving<'_>,
        report: &PlanReport,
        course: Course,
        failures: &mut Failures,
    ) -> Result<(), Failed> {
        let PlanReport { moved, failures: refused, blocked, .. } = report;
        let verb = moving.manner.verb;
        let totals = match moving.direction {
            Direction::Down => &mut self.got,
            Direction::Up => &mut self.put,
        };
        totals.files += moved.files;
        totals.bytes = totals.bytes.saturating_add(moved.bytes);
        if let (false, Some(error)) = (failures.keep_going(), refused.first()) {
            let untried = (moved.untried > 0).then(|| format!("{} not tried", Count(moved.untried, "file")));
            let failed = self.failure(&moving.at_server(verb, error), error);
            return Err(untried.into_iter().fold(failed, Failed::and));
        }
        let last = moved.failures.last().map(|(_, error)| error).or(refused.last());
        let consequence = last.and_then(|error| self.mend_connection(error));
        let kept = moved.failures.last().and_then(|(index, error)| kept(moving, *index, course, error));
        let consequences: Vec<String> = kept.into_iter().chain(consequence).collect();
        if let (false, Some((index, error))) = (failures.keep_going(), moved.failures.first()) {
            self.tell_total(moving, moved, *blocked, course);
            let Some(label) = moving.labels.get(*index) else { return Err(Failed::new(verb, error)) };
            let failed = explained(moving, label, error, &self.local);
            let question = self.question(moving.direction, label, error);
            let more = question.into_iter().chain(untried(moved.untried)).chain(consequences);
            return Err(more.fold(failed, Failed::and));
        }
        // Where only patterns failed, there was nothing to move.
        if !moving.labels.is_empty() || moving.manner.tells_of_none && failures.is_clean() {
            self.tell_total(moving, moved, *blocked, course);
        }
        failures.note_untried(moved.untried);
        if let (Some(error), false) = (last, consequences.is_empty()) {
            let label = moved.failures.last().and_then(|(index, _)| moving.labels.get(*index));
            let about = label.map(|label| format!(" {}", label.shown)).unwrap_or_default();
            let failed = Failed::new("", error).saying(format!("{verb}{about}: {}", consequences.join("; ")));
            self.output.complain(&label.into_iter().fold(failed, |failed, label| failed.about(label.name.as_str())));
        }
        Ok(())
    }

    /// Returns what was probably meant by a file that is not there.
    fn question(&mut self, direction: Direction, label: &Label, error: &Error) -> Option<String> {
        match (direction, error) {
            (Direction::Down, error) if error.code() == Some(Code::NotFound) => {
                self.alike(&Name::new(&label.name).ok()?)
            }
            (Direction::Up, Error::Local { path, source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                let text = path.strip_prefix(&self.local).ok()?.to_str()?;
                self.alike_here(text)
            }
            _ => None,
        }
    }

    fn tell_total(&mut self, moving: &Moving<'_>, report: &Report, blocked: usize, course: Course) {
        let (done, worth) = (moving.done(), worth(moving.direction, course.durable));
        let Report { files, bytes, resumed, .. } = *report;
        let Course { elapsed, crc, .. } = course;
        let summary = Summary { bytes, resumed, elapsed };
        let seconds = elapsed.as_secs_f64();
        match moving.labels {
            [label] if moving.manner.single => {
                if files == 1 {
                    self.output.say(format_args!("{done} {}: {summary}, {worth}", label.shown), || {
                        let event = moving.event().with("name", label.name.as_str()).with("bytes", bytes);
                        let event = event.with("resumed", resumed).with("crc", crc.map(|crc| crc.to_string()));
                        let event = event.with("seconds", seconds);
                        if moving.direction == Direction::Up { event.with("durable", course.durable) } else { event }
                    });
                }
            }
            labels => {
                let what = match (files, labels.len() - blocked) {
                    (files, all) if files < all => format!("{files} of {}", Count(all, "file")),
                    (files, _) => Count(files, "file").to_string(),
                };
                let text = match files {
                    // Of an empty directory there is nothing to be verified.
                    0 => format!("{done} {what}"),
                    _ => format!("{done} {what}: {summary}, {worth}"),
                };
                let event = || {
                    let event = Event::new("total").with("command", moving.manner.verb).with("files", files);
                    let event = event.with("bytes", bytes).with("resumed", resumed).with("seconds", seconds);
                    let event = event.with("failed", report.failures.len()).with("untried", report.untried);
                    if moving.direction == Direction::Up { event.with("durable", course.durable) } else { event }
                };
                // Where nothing was moved, people are told enough by what went wrong.
                match report.is_whole() || files > 0 {
                    true => self.output.say(text, event),
                    false => self.output.detail(text, event),
                }
            }
        }
    }
}

fn untried(files: usize) -> Option<String> {
    (files > 0).then(|| format!("{} not tried", Count(files, "other file")))
}

/// Returns what there is to go on from, where a file was cut short.
fn kept(moving: &Moving<'_>, index: usize, course: Course, error: &Error) -> Option<String> {
    let (_, size, done) = course.reached.filter(|(reached, ..)| *reached == index)?;
    let is_cut = matches!(error.blame(), Blame::Interrupted | Blame::Connection | Blame::Timeout);
    match moving.direction {
        _ if !is_cut || done == 0 => None,
        Direction::Down if size >= KEPT_DOWNLOAD_BYTES => {
            Some(format!("{} of it are kept, and {} goes on from there", Size(done), moving.manner.verb))
        }
        // How much of it the server has brought to its disk is known when it is asked again.
        Direction::Up if size >= KEPT_UPLOAD_BYTES => {
            Some(format!("what the server has of it is kept, and {} goes on from there", moving.manner.verb))
        }
        _ => None,
    }
}
