//! Files on their way: what GET, PUT and SYNC have in common.

use std::{
    io,
    os::unix::ffi::OsStrExt as _,
    path::Path,
    time::{Duration, Instant},
};

use ferry_client::{Blame, Code, Crc32, Error, Event as Step, KEPT_DOWNLOAD_BYTES, KEPT_UPLOAD_BYTES, Name, Report};
use ferry_wire::escaped_bytes;

use super::{Session, connection::tell_outage, failures::Failures, reasons};
use crate::{
    exit::Failed,
    figures::{Count, Size, Summary},
    output::{Event, Output},
    progress::{Mode, Progress},
    words,
};

/// Which way files go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Down,
    Up,
}

impl Way {
    /// What was done to a file.
    fn done(self) -> &'static str {
        match self {
            Way::Down => "got",
            Way::Up => "put",
        }
    }

    /// What that is worth.
    pub(super) fn worth(self, durable: bool) -> &'static str {
        match self {
            Way::Up if durable => "verified and on disk",
            Way::Up | Way::Down => "verified",
        }
    }
}

/// A file of a list, as it is told of.
#[derive(Debug, Clone)]
pub(super) struct Label {
    /// For people, escaped.
    pub(super) shown: String,
    /// The whole name that the server has for it.
    pub(super) name: String,
    /// Bytes, where they are known before.
    pub(super) size: Option<u64>,
}

/// What was moved since the program began.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    pub(super) files: usize,
    pub(super) bytes: u64,
}

/// A list of files that is being moved.
pub(super) struct Moving<'a> {
    pub(super) verb: &'static str,
    pub(super) way: Way,
    pub(super) labels: &'a [Label],
    /// One file was asked for by its name, and is told of by itself.
    pub(super) single: bool,
    /// How often a lost connection is opened again in a row.
    pub(super) retries: u32,
    /// What else to say where nothing has a name that was typed.
    pub(super) hint: Option<&'a str>,
    /// How another name is given to a file.
    pub(super) arrow: &'static str,
}

/// How the moving went, whatever came of it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Course {
    elapsed: Duration,
    /// The file that moved last, its size, and how much of it is there.
    reached: Option<(usize, u64, u64)>,
    /// Of the file that was done last.
    crc: Option<Crc32>,
    /// The things that the server said are done survive a power cut there.
    durable: bool,
}

/// Tells what happens on the way.
pub(super) struct Watcher<'a> {
    moving: &'a Moving<'a>,
    local: &'a Path,
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
    pub(super) fn new(
        moving: &'a Moving<'a>,
        local: &'a Path,
        output: &'a mut Output,
        failures: &'a mut Failures,
        mode: Mode,
    ) -> Watcher<'a> {
        output.flush();
        let every = output.told_every(mode);
        let mode = output.shown_as(mode);
        let progress = Progress::start(mode, moving.labels.iter().map(|label| (label.shown.clone(), label.size)));
        Watcher { moving, local, output, failures, progress, reached: None, crc: None, told: Instant::now(), every }
    }

    /// Takes note of one step.
    pub(super) fn note(&mut self, step: &Step<'_>) {
        self.progress.note(step);
        self.tell_progress(step);
        let Watcher { moving, local, output, failures, progress, reached, .. } = self;
        let label = |index: usize| moving.labels.get(index);
        match step {
            Step::Begun { index, size, resumed } => *reached = Some((*index, *size, *resumed)),
            Step::Moved { index, done } => {
                if let Some((_, _, before)) = reached.as_mut().filter(|(current, ..)| current == index) {
                    *before = *done;
                }
            }
            // It is told of at the end, with all that it took.
            Step::Done { moved, .. } if moving.single => self.crc = Some(moved.crc),
            Step::Done { index, moved } => {
                let Some(Label { shown, name, .. }) = label(*index) else { return };
                let done = moving.way.done();
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
    pub(super) fn end(self) -> Course {
        Course { elapsed: self.progress.elapsed(), reached: self.reached, crc: self.crc, durable: true }
    }
}

impl Session {
    /// Tells which directories a pattern has found, as they are shown, that `verb` leaves out without `-r`.
    pub(super) fn leave_out_directories(&mut self, verb: &str, shown: &[String]) {
        /// More are no help to anybody who reads.
        const MOST: usize = 3;
        let text = match shown {
            [] => return,
            [one] => format!("{verb}: {one} is a directory and left out without -r"),
            all if all.len() <= MOST => format!("{verb}: {} are directories and left out without -r", all.join(", ")),
            all => {
                let (first, more) = all.split_at(MOST);
                let first = first.join(", ");
                format!("{verb}: {first} and {} more are directories and left out without -r", more.len())
            }
        };
        let event =
            |name: &String| Event::new("skipped").with("name", name.as_str()).with("reason", "it is a directory");
        self.output.remark_all(text, shown.iter().map(event));
    }

    /// Tells what became of a list of files, and fails with what stopped it.
    pub(super) fn conclude(
        &mut self,
        moving: &Moving<'_>,
        report: &Report,
        course: Course,
        failures: &mut Failures,
    ) -> Result<(), Failed> {
        let course = Course { durable: self.is_durable(), ..course };
        let totals = match moving.way {
            Way::Down => &mut self.got,
            Way::Up => &mut self.put,
        };
        totals.files += report.files;
        totals.bytes = totals.bytes.saturating_add(report.bytes);
        let consequence = report.failures.last().and_then(|(_, error)| self.mend_connection(error));
        let kept = report.failures.last().and_then(|(index, error)| kept(moving, *index, course, error));
        let consequences: Vec<String> = kept.into_iter().chain(consequence).collect();
        failures.note_done(report.files);
        if let (false, Some((index, error))) = (failures.keep_going(), report.failures.first()) {
            self.tell_total(moving, report, course);
            let Some(label) = moving.labels.get(*index) else { return Err(Failed::new(moving.verb, error)) };
            let failed = explained(moving, label, error, &self.local);
            let question = self.question(moving.way, label, error);
            let more = question.into_iter().chain(untried(report.untried)).chain(consequences);
            return Err(more.fold(failed, Failed::and));
        }
        // Where only patterns failed, there was nothing to move.
        if !moving.labels.is_empty() || failures.is_clean() {
            self.tell_total(moving, report, course);
        }
        failures.note_untried(report.untried);
        if let (Some((index, error)), false) = (report.failures.last(), consequences.is_empty()) {
            let Some(Label { shown, name, .. }) = moving.labels.get(*index) else { return Ok(()) };
            let message = format!("{} {shown}: {}", moving.verb, consequences.join("; "));
            self.output.complain(&Failed::new("", error).saying(message).about(name));
        }
        Ok(())
    }

    /// What was probably meant by a file that is not there.
    fn question(&mut self, way: Way, label: &Label, error: &Error) -> Option<String> {
        match (way, error) {
            (Way::Down, error) if error.code() == Some(Code::NotFound) => self.alike(&Name::new(&label.name).ok()?),
            (Way::Up, Error::Local { path, source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                let text = path.strip_prefix(&self.local).ok()?.to_str()?;
                self.alike_here(text)
            }
            _ => None,
        }
    }

    fn tell_total(&mut self, moving: &Moving<'_>, report: &Report, course: Course) {
        let (done, worth) = (moving.way.done(), moving.way.worth(course.durable));
        let Report { files, bytes, resumed, .. } = *report;
        let Course { elapsed, crc, .. } = course;
        let summary = Summary { bytes, resumed, elapsed };
        let seconds = elapsed.as_secs_f64();
        match moving.labels {
            [label] if moving.single => {
                if files == 1 {
                    self.output.say(format_args!("{done} {}: {summary}, {worth}", label.shown), || {
                        let event = Event::new(done).with("name", label.name.as_str()).with("bytes", bytes);
                        let event = event.with("resumed", resumed).with("crc", crc.map(|crc| crc.to_string()));
                        let event = event.with("seconds", seconds);
                        if moving.way == Way::Up { event.with("durable", course.durable) } else { event }
                    });
                }
            }
            labels => {
                let what = match (files, labels.len()) {
                    (files, all) if files < all => format!("{files} of {}", Count(all, "file")),
                    (files, _) => Count(files, "file").to_string(),
                };
                let text = match files {
                    // Of an empty directory there is nothing to be verified.
                    0 => format!("{done} {what}"),
                    _ => format!("{done} {what}: {summary}, {worth}"),
                };
                let event = || {
                    let event = Event::new("total").with("command", moving.verb).with("files", files);
                    let event = event.with("bytes", bytes).with("resumed", resumed).with("seconds", seconds);
                    let event = event.with("failed", report.failures.len()).with("untried", report.untried);
                    if moving.way == Way::Up { event.with("durable", course.durable) } else { event }
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
    let what = if moving.single { moving.verb } else { "its transfer" };
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
    match moving.way {
        _ if !is_cut || done == 0 => None,
        Way::Down if size >= KEPT_DOWNLOAD_BYTES => {
            Some(format!("{} of it are kept, and {} goes on from there", Size(done), moving.verb))
        }
        // How much of it the server has brought to its disk is known when it is asked again.
        Way::Up if size >= KEPT_UPLOAD_BYTES => {
            Some(format!("what the server has of it is kept, and {} goes on from there", moving.verb))
        }
        _ => None,
    }
}

/// Why a file was not moved, with the way out where there is one.
fn explained(moving: &Moving<'_>, label: &Label, error: &Error, local: &Path) -> Failed {
    let (verb, shown) = (moving.verb, label.shown.as_str());
    let failed = reasons::failed(verb, shown, &label.name, error);
    // The words to type for it.
    let typed = words::quote(shown);
    let text = |path: &Path| escaped_bytes(path.as_os_str().as_bytes()).to_string();
    let here = |path: &Path| text(path.strip_prefix(local).unwrap_or(path));
    match (moving.way, error) {
        (Way::Down, error) if reasons::is_directory(error) => failed.and(format_args!("GET -r {typed} fetches it")),
        (Way::Down, error) if error.code() == Some(Code::NotFound) => match moving.hint {
            Some(hint) => failed.and(hint),
            None => failed,
        },
        (Way::Down, Error::LocalFile { path, problem }) if problem.starts_with("is a directory") => {
            let message = format!("{verb} {shown}: {} is a directory here", here(path));
            failed.saying(message).and(format_args!("'{} NAME' saves it under another name", moving.arrow))
        }
        (Way::Up, error) if error.code() == Some(Code::NotFound) => match reasons::no_parent(shown) {
            Some(why) => failed.saying(format!("{verb} {shown}: {why}")),
            None => failed.saying(format!("{verb} {shown}: the server has no directory to put it in")),
        },
        (Way::Up, error) if reasons::is_directory(error) => {
            let message = format!("{verb} {shown}: the server has a directory of that name");
            failed.saying(message).and(format_args!("'{} NAME' gives it another one there", moving.arrow))
        }
        (Way::Up, Error::Local { path, source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            // What is missing is the file here, whatever it was to be called there.
            let below = path.strip_prefix(local).is_ok() && local != Path::new(".");
            let place = if below { format!(" in {}", text(local)) } else { String::new() };
            failed.saying(format!("{verb} {}: there is no such file{place}", here(path)))
        }
        (Way::Up, Error::LocalFile { path, problem }) if problem.starts_with("is a directory") => {
            let message = format!("{verb} {}: that is a directory", here(path));
            failed.saying(message).and(format_args!("PUT -r {} sends it", words::quote(&here(path))))
        }
        (Way::Up, Error::LocalFile { path, problem }) => {
            let problem = problem.strip_prefix("is ").unwrap_or(problem);
            failed.saying(format!("{verb} {}: that is {problem}", here(path)))
        }
        _ => failed,
    }
}
