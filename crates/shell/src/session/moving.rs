//! Files on their way: what GET, PUT and SYNC have in common.

use std::{
    io,
    os::unix::ffi::OsStrExt as _,
    path::Path,
    time::{Duration, Instant},
};

use ferry_client::{
    Blame, Code, Crc32, Direction, Error, Event as Step, KEPT_DOWNLOAD_BYTES, KEPT_UPLOAD_BYTES, Name, Plan,
    PlanReport, Report,
};
use ferry_wire::escaped_bytes;

use super::{Session, connection::tell_outage, failures::Failures, names::shown_in, reasons};
use crate::{
    exit::Failed,
    figures::{Count, Size, Summary},
    output::{Event, Output},
    progress::{Mode, Progress},
    words,
};

/// What was done to a file.
fn done(direction: Direction) -> &'static str {
    match direction {
        Direction::Down => "got",
        Direction::Up => "put",
    }
}

/// What that is worth.
pub(super) fn worth(direction: Direction, durable: bool) -> &'static str {
    match direction {
        Direction::Up if durable => "verified and on disk",
        Direction::Up | Direction::Down => "verified",
    }
}

/// How a command moves files, and tells of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    pub(super) verb: &'static str,
    /// Whole directories are moved, which is worth waiting for.
    pub(super) whole_directories: bool,
    /// One file was asked for by its name, and is told of by itself.
    pub(super) single: bool,
    /// What else to say where nothing has a name that was typed.
    pub(super) hint: Option<&'static str>,
    /// Says how many files were moved also where there were none.
    pub(super) tells_of_none: bool,
}

/// A file of a list, as it is told of.
#[derive(Debug, Clone)]
struct Label {
    /// For people, escaped.
    shown: String,
    /// The whole name that the server has for it.
    name: String,
    /// Bytes, where they are known before.
    size: Option<u64>,
}

/// What was moved since the program began.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    pub(super) files: usize,
    pub(super) bytes: u64,
}

/// A list of files that is being moved.
struct Moving<'a> {
    manner: Manner,
    direction: Direction,
    labels: &'a [Label],
    /// How often a lost connection is opened again in a row.
    retries: u32,
    /// How another name is given to a file.
    arrow: &'static str,
}

/// How the moving went, whatever came of it.
#[derive(Debug, Clone, Copy, Default)]
struct Course {
    elapsed: Duration,
    /// The file that moved last, its size, and how much of it is there.
    reached: Option<(usize, u64, u64)>,
    /// Of the file that was done last.
    crc: Option<Crc32>,
    /// The things that the server said are done survive a power cut there.
    durable: bool,
}

/// Tells what happens on the way.
struct Watcher<'a> {
    moving: &'a Moving<'a>,
    local: &'a Path,
    remote: Option<&'a Name>,
    output: &'a mut Output,
    failures: &'a mut Failures,
    progress: Progress,
    reached: Option<(usize, u64, u64)>,
    crc: Option<Crc32>,
    /// When a program was told last how far it is, and how often it wants to be.
    told: Instant,
    every: Option<Duration>,
}

impl<'a> Watcher<'a> {
    fn new(
        moving: &'a Moving<'a>,
        (local, remote): (&'a Path, Option<&'a Name>),
        output: &'a mut Output,
        failures: &'a mut Failures,
        mode: Mode,
    ) -> Watcher<'a> {
        output.flush();
        let every = output.told_every(mode);
        let mode = output.shown_as(mode);
        let progress = Progress::start(mode, moving.labels.iter().map(|label| (label.shown.clone(), label.size)));
        let (told, reached, crc) = (Instant::now(), None, None);
        Watcher { moving, local, remote, output, failures, progress, reached, crc, told, every }
    }

    /// Takes note of one step.
    fn note(&mut self, step: &Step<'_>) {
        self.progress.note(step);
        self.tell_progress(step);
        let Watcher { moving, local, remote, output, failures, progress, reached, .. } = self;
        let label = |index: usize| moving.labels.get(index);
        match step {
            Step::Begun { index, size, resumed } => *reached = Some((*index, *size, *resumed)),
            Step::Moved { index, done } => {
                if let Some((_, _, before)) = reached.as_mut().filter(|(current, ..)| current == index) {
                    *before = *done;
                }
            }
            // It is told of at the end, with all that it took.
            Step::Done { moved, .. } if moving.manner.single => self.crc = Some(moved.crc),
            Step::Done { index, moved } => {
                let Some(Label { shown, name, .. }) = label(*index) else { return };
                let done = done(moving.direction);
                let event = || {
                    let event = Event::new(done).with("name", name.as_str()).with("bytes", moved.size);
                    event.with("resumed", moved.resumed).with("crc", moved.crc.to_string())
                };
                if output.wants_details() {
                    progress.aside(|| {
                        output.detail(format_args!("{done} {shown}: {}", Size(moved.size)), event);
                        output.flush();
                    });
                }
            }
            Step::Failed { index, error } if failures.keep_going() => {
                let Some(label) = label(*index) else { return };
                let failed = explained(moving, label, error, local);
                progress.aside(|| failures.tell(output, &failed));
            }
            Step::Refused { name, error } if failures.keep_going() => {
                let verb = moving.manner.verb;
                let failed = match name {
                    Some(name) => Failed::new(&format!("{verb} {}", shown_in(*remote, Some(name))), error),
                    None => Failed::new(verb, error),
                };
                progress.aside(|| failures.tell(output, &failed));
            }
            Step::Restarted { index, why } => {
                if let Some((_, _, done)) = reached.as_mut().filter(|(current, ..)| current == index) {
                    *done = 0;
                }
                let Some(label) = label(*index) else { return };
                progress.aside(|| tell_restarted(output, moving, label, why));
            }
            Step::Lost { .. } | Step::Reconnected => progress.aside(|| tell_outage(output, step, moving.retries)),
            _ => {}
        }
    }

    /// Tells a program how far it is, where it wants to know.
    fn tell_progress(&mut self, step: &Step<'_>) {
        let (Step::Moved { index, done }, Some(every)) = (step, self.every) else { return };
        if self.told.elapsed() < every {
            return;
        }
        self.told = Instant::now();
        let Some(Label { name, .. }) = self.moving.labels.get(*index) else { return };
        let size = self.reached.filter(|(reached, ..)| reached == index).map(|(_, size, _)| size);
        self.output
            .detail("", || Event::new("progress").with("name", name.as_str()).with("bytes", *done).with("size", size));
        self.output.flush();
    }

    /// How it went.
    fn end(self) -> Course {
        Course { elapsed: self.progress.elapsed(), reached: self.reached, crc: self.crc, durable: true }
    }
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
        let moving = Moving { manner, direction, labels: &labels, retries, arrow };
        let settings = self.settings_with(failures.keep_going(), manner.whole_directories);
        if let Err(failed) = self.connected() {
            return (PlanReport::default(), Err(failed));
        }
        let Session { client: Some(client), output, local, remote, progress, .. } = self else {
            return (PlanReport::default(), Ok(()));
        };
        let mut watcher = Watcher::new(&moving, (local, remote.as_ref()), output, failures, *progress);
        let report = plan.carry_out(client, &settings, &mut |step| watcher.note(step));
        let course = watcher.end();
        failures.note_done(report.made + report.moved.files + report.deleted + plan.unchanged);
        let conclusion = self.conclude(&moving, &report, course, failures);
        (report, conclusion)
    }

    /// Tells what became of a plan, and fails with what stopped it.
    fn conclude(
        &mut self,
        moving: &Moving<'_>,
        report: &PlanReport,
        course: Course,
        failures: &mut Failures,
    ) -> Result<(), Failed> {
        let PlanReport { moved, failures: refused, blocked, .. } = report;
        let verb = moving.manner.verb;
        let course = Course { durable: self.is_durable(), ..course };
        let totals = match moving.direction {
            Direction::Down => &mut self.got,
            Direction::Up => &mut self.put,
        };
        totals.files += moved.files;
        totals.bytes = totals.bytes.saturating_add(moved.bytes);
        if let (false, Some(error)) = (failures.keep_going(), refused.first()) {
            let untried = (moved.untried > 0).then(|| format!("{} not tried", Count(moved.untried, "file")));
            let failed = self.failure(verb, error);
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

    /// What was probably meant by a file that is not there.
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
        let (done, worth) = (done(moving.direction), worth(moving.direction, course.durable));
        let Report { files, bytes, resumed, .. } = *report;
        let Course { elapsed, crc, .. } = course;
        let summary = Summary { bytes, resumed, elapsed };
        let seconds = elapsed.as_secs_f64();
        match moving.labels {
            [label] if moving.manner.single => {
                if files == 1 {
                    self.output.say(format_args!("{done} {}: {summary}, {worth}", label.shown), || {
                        let event = Event::new(done).with("name", label.name.as_str()).with("bytes", bytes);
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

/// Tells that what was there of a file is thrown away. Of many files, it is the file that begins anew, not the command.
fn tell_restarted(output: &mut Output, moving: &Moving<'_>, label: &Label, why: &str) {
    let what = if moving.manner.single { moving.manner.verb } else { "its transfer" };
    output.remark(format_args!("{}: {why}; {what} begins anew", label.shown), || {
        Event::new("restarted").with("name", label.name.as_str()).with("reason", why)
    });
}

fn untried(files: usize) -> Option<String> {
    (files > 0).then(|| format!("{} not tried", Count(files, "other file")))
}

/// What there is to go on from, where a file was cut short.
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

/// Why a file was not moved, with the way out where there is one.
fn explained(moving: &Moving<'_>, label: &Label, error: &Error, local: &Path) -> Failed {
    let (verb, shown) = (moving.manner.verb, label.shown.as_str());
    let failed = reasons::failed(verb, shown, &label.name, error);
    // The words to type for it.
    let typed = words::quote(shown);
    let text = |path: &Path| escaped_bytes(path.as_os_str().as_bytes()).to_string();
    let here = |path: &Path| text(path.strip_prefix(local).unwrap_or(path));
    match (moving.direction, error) {
        (Direction::Down, error) if reasons::is_directory(error) => {
            failed.and(format_args!("GET -r {typed} fetches it"))
        }
        (Direction::Down, error) if error.code() == Some(Code::NotFound) => match moving.manner.hint {
            Some(hint) => failed.and(hint),
            None => failed,
        },
        (Direction::Down, Error::LocalFile { path, problem }) if problem.starts_with("is a directory") => {
            let message = format!("{verb} {shown}: {} is a directory here", here(path));
            failed.saying(message).and(format_args!("'{} NAME' saves it under another name", moving.arrow))
        }
        (Direction::Up, error) if error.code() == Some(Code::NotFound) => match reasons::no_parent(shown) {
            Some(why) => failed.saying(format!("{verb} {shown}: {why}")),
            None => failed.saying(format!("{verb} {shown}: the server has no directory to put it in")),
        },
        (Direction::Up, error) if reasons::is_directory(error) => {
            let message = format!("{verb} {shown}: the server has a directory of that name");
            failed.saying(message).and(format_args!("'{} NAME' gives it another one there", moving.arrow))
        }
        (Direction::Up, Error::Local { path, source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            // What is missing is the file here, whatever it was to be called there.
            let below = path.strip_prefix(local).is_ok() && local != Path::new(".");
            let place = if below { format!(" in {}", text(local)) } else { String::new() };
            failed.saying(format!("{verb} {}: there is no such file{place}", here(path)))
        }
        (Direction::Up, Error::LocalFile { path, problem }) if problem.starts_with("is a directory") => {
            let message = format!("{verb} {}: that is a directory", here(path));
            failed.saying(message).and(format_args!("PUT -r {} sends it", words::quote(&here(path))))
        }
        (Direction::Up, Error::LocalFile { path, problem }) => {
            let problem = problem.strip_prefix("is ").unwrap_or(problem);
            failed.saying(format!("{verb} {}: that is {problem}", here(path)))
        }
        _ => failed,
    }
}
