//! Messages and progress while files are moved.

use std::{
    collections::{HashMap, HashSet},
    io,
    os::unix::ffi::OsStrExt as _,
    path::Path,
    time::{Duration, Instant},
};

use ferry_client::{Blame, Code, Crc32, Direction, Error, Event as Step, IfTaken, Name, Permissions};
use ferry_wire::escaped_bytes;

use super::{
    connection::{tell_lost, tell_outage},
    failures::Failures,
    jobs::Meter,
    names::shown_in,
    reasons,
};
use crate::{
    exit::Failed,
    figures::Size,
    output::{Event, Output},
    progress::{Keyboard, Mode, Progress},
    words,
};

/// Returns what that is worth.
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
    /// Said besides where nothing has a name that was typed.
    pub(super) hint: Option<&'static str>,
    /// The end of an upload whose name is taken.
    pub(super) if_taken: IfTaken,
    /// Large downloads get holes.
    pub(super) sparse: bool,
    /// The permissions that files bring with them.
    pub(super) permissions: Permissions,
    /// Says how many files were moved also where there were none.
    pub(super) tells_of_none: bool,
    /// From another server, and not from here.
    pub(super) copies: bool,
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

/// A list of files that is being moved.
pub(super) struct Moving<'a> {
    pub(super) manner: Manner,
    pub(super) direction: Direction,
    pub(super) labels: &'a [Label],
    /// How often a lost connection is opened again in a row.
    pub(super) retries: u32,
    /// How another name is given to a file.
    pub(super) arrow: &'static str,
    /// The server that is changed, where files come from another one.
    pub(super) to: Option<String>,
}

impl Moving<'_> {
    /// Returns the word for a file that was moved.
    pub(super) fn done(&self) -> &'static str {
        match self.direction {
            _ if self.manner.copies => "copied",
            Direction::Down => "got",
            Direction::Up => "put",
        }
    }

    /// Returns `about` with the server that `error` is of, where there are two and the error does not say which.
    pub(super) fn at_server(&self, about: &str, error: &Error) -> String {
        let is_elsewhere = matches!(error.blame(), Blame::Local | Blame::System | Blame::Interrupted);
        match &self.to {
            Some(to) if !is_elsewhere && !error.to_string().contains(&**to) && !is_at_source(error) => {
                format!("{about}: {to}")
            }
            _ => about.to_owned(),
        }
    }

    /// Begins the event of a file that was moved.
    pub(super) fn event(&self) -> Event {
        match self.direction {
            _ if self.manner.copies => Event::new("copied"),
            Direction::Down => Event::new("got"),
            Direction::Up => Event::new("put"),
        }
    }
}

/// The facts of a transfer, whatever came of it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Course {
    pub(super) elapsed: Duration,
    /// The file that moved last, its size, and how much of it is there.
    pub(super) reached: Option<(usize, u64, u64)>,
    /// Of the file that was done last.
    pub(super) crc: Option<Crc32>,
    /// The things that the server said are done survive a power cut there.
    pub(super) durable: bool,
}

/// Tells what happens on the way.
pub(super) struct Watcher<'a> {
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
    /// Others who want to know how far all of it is.
    meter: Option<&'a Meter>,
    /// Bytes of files that are done, and of those that are not.
    done: u64,
    moving_bytes: HashMap<usize, u64>,
    /// Files whose size was known only when they began.
    sized: HashSet<usize>,
}

impl<'a> Watcher<'a> {
    pub(super) fn new(
        moving: &'a Moving<'a>,
        (local, remote): (&'a Path, Option<&'a Name>),
        output: &'a mut Output,
        failures: &'a mut Failures,
        (mode, keyboard): (Mode, &Keyboard),
    ) -> Watcher<'a> {
        output.flush();
        let every = output.told_every(mode);
        let mode = output.shown_as(mode);
        let files = moving.labels.iter().map(|label| (label.shown.clone(), label.size));
        let progress = Progress::start(mode, files, keyboard);
        let (told, reached, crc) = (Instant::now(), None, None);
        let (meter, done, moving_bytes, sized) = (None, 0, HashMap::new(), HashSet::new());
        Watcher {
            moving,
            local,
            remote,
            output,
            failures,
            progress,
            reached,
            crc,
            told,
            every,
            meter,
            done,
            moving_bytes,
            sized,
        }
    }

    /// Tells `meter` from now on how far all of it is.
    pub(super) fn tell_meter(&mut self, meter: Option<&'a Meter>) {
        self.meter = meter;
        if let Some(meter) = meter {
            meter.begin(self.moving.labels.iter().filter_map(|label| label.size).fold(0, u64::saturating_add));
        }
    }

    fn note_meter(&mut self, step: &Step<'_>) {
        let Some(meter) = self.meter else { return };
        match step {
            Step::Begun { index, size, resumed } => {
                let is_known = self.moving.labels.get(*index).is_some_and(|label| label.size.is_some());
                if !is_known && self.sized.insert(*index) {
                    meter.add(*size);
                }
                self.moving_bytes.insert(*index, *resumed);
            }
            Step::Moved { index, done } => drop(self.moving_bytes.insert(*index, *done)),
            Step::Done { index, moved } => {
                self.moving_bytes.remove(index);
                self.done = self.done.saturating_add(moved.size);
            }
            Step::Failed { index, .. } | Step::Restarted { index, .. } => drop(self.moving_bytes.remove(index)),
            _ => return,
        }
        meter.note(self.moving_bytes.values().fold(self.done, |sum, bytes| sum.saturating_add(*bytes)));
    }

    /// Takes note of one step.
    pub(super) fn note(&mut self, step: &Step<'_>) {
        self.progress.note(step);
        self.note_meter(step);
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
                let done = moving.done();
                let event = || {
                    let event = moving.event().with("name", name.as_str()).with("bytes", moved.size);
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
                let about = match name {
                    Some(name) => format!("{verb} {}", shown_in(*remote, Some(name))),
                    None => verb.to_owned(),
                };
                let failed = Failed::new(&moving.at_server(&about, error), error);
                progress.aside(|| failures.tell(output, &failed));
            }
            Step::Restarted { index, why } => {
                if let Some((_, _, done)) = reached.as_mut().filter(|(current, ..)| current == index) {
                    *done = 0;
                }
                let Some(label) = label(*index) else { return };
                progress.aside(|| tell_restarted(output, moving, label, why));
            }
            Step::Lost { source: None, .. } if let Some(to) = &moving.to => {
                progress.aside(|| tell_lost(output, &format!("connection to {to} lost"), step, moving.retries));
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

    /// Ends the display, and returns how it went at a server whose word is `durable`.
    pub(super) fn end(self, durable: bool) -> Course {
        Course { elapsed: self.progress.elapsed(), reached: self.reached, crc: self.crc, durable }
    }
}

/// Tells that what was there of a file is thrown away. Of many files, it is the file that begins anew, not the command.
fn tell_restarted(output: &mut Output, moving: &Moving<'_>, label: &Label, why: &str) {
    let what = if moving.manner.single { moving.manner.verb } else { "its transfer" };
    output.remark(format_args!("{}: {why}; {what} begins anew", label.shown), || {
        Event::new("restarted").with("name", label.name.as_str()).with("reason", why)
    });
}

/// Returns why a file was not moved, with the way out where there is one.
pub(super) fn explained(moving: &Moving<'_>, label: &Label, error: &Error, local: &Path) -> Failed {
    let (verb, shown) = (moving.manner.verb, label.shown.as_str());
    let about = moving.at_server(shown, error);
    let failed = reasons::failed(verb, &about, &label.name, error);
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
            Some(why) => failed.saying(format!("{verb} {about}: {why}")),
            None => failed.saying(format!("{verb} {about}: the server has no directory to put it in")),
        },
        (Direction::Up, error) if reasons::is_directory(error) => {
            let message = format!("{verb} {about}: the server has a directory of that name");
            match moving.manner.copies {
                true => failed.saying(message),
                false => failed.saying(message).and(format_args!("'{} NAME' gives it another one there", moving.arrow)),
            }
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

/// Whether it is of the server that files are only read from.
fn is_at_source(error: &Error) -> bool {
    matches!(error, Error::AtSource { .. })
}
