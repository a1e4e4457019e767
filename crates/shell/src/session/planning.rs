//! From what was chosen to a plan: what GET, PUT and SYNC say before anything is moved.

use std::{cell::RefCell, os::unix::ffi::OsStrExt as _, time::Instant};

use ferry_client::{Clash, Client, Direction, Error, Event as Step, Looking, Plan, Planner};
use ferry_wire::{escaped, escaped_bytes};

use super::{Session, connection::tell_outage, failures::Failures, reasons};
use crate::{
    exit::{Exit, Failed},
    figures::Count,
    output::Event,
    progress::Progress,
};

/// The files that GET or PUT has chosen.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) planner: Planner,
    /// Whole directories among it.
    pub(super) trees: usize,
    /// Directories that a pattern has found and that are left out, as they are shown.
    pub(super) directories: Vec<String>,
}

impl Chosen {
    pub(super) fn new(direction: Direction) -> Chosen {
        Chosen { planner: Planner::new(direction), trees: 0, directories: Vec::new() }
    }
}

impl Session {
    /// Does `work`, which looks at whole directories for what `title` says, and tells how far that is where it takes long. If
    /// the connection is lost in it, it is done again.
    pub(super) fn look_through<T>(
        &mut self,
        title: String,
        mut work: impl FnMut(&mut Client, &mut dyn FnMut(Looking)) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let settings = self.settings_with(false, true);
        let Session { client: Some(client), output, progress: mode, .. } = self else {
            return Err(Error::NotConnected);
        };
        output.flush();
        let every = output.told_every(*mode);
        let progress = Progress::start(output.shown_as(*mode), [(title, None)]);
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
        client.patiently(&settings, &mut lost, |client| work(client, &mut look))
    }

    /// Ends the choosing for `verb`, and tells all that is left out. Where that is more than rules do, `nothing` is moved,
    /// unless the others are to be gone on with.
    pub(super) fn settle(
        &mut self,
        verb: &str,
        chosen: Chosen,
        nothing: &str,
        failures: &mut Failures,
    ) -> Result<Plan, Failed> {
        self.leave_out_directories(verb, &chosen.directories);
        let plan = chosen.planner.finish().map_err(|error| Failed::new(verb, &error))?;
        self.tell_left_out(verb, &plan, failures);
        failures.check(verb, nothing)?;
        if chosen.trees == 0 && plan.transfers.len() == 1 {
            failures.only_one_left();
        }
        Ok(plan)
    }

    /// Tells what a plan leaves out, and why.
    pub(super) fn tell_left_out(&mut self, verb: &str, plan: &Plan, failures: &mut Failures) {
        for error in &plan.left_out {
            self.leave_out(verb, error);
        }
        let skipped = plan.skipped.iter().map(|(name, error)| match name {
            Some(name) => reasons::failed(verb, &self.shown(Some(name)), name.as_str(), error),
            None => Failed::new(verb, error),
        });
        let clashes = plan.clashes.iter().map(|Clash { first, second }| {
            let message = match plan.direction() {
                Direction::Down => {
                    let (first, second) = (self.shown(first.there.as_ref()), self.shown(second.there.as_ref()));
                    format!("{verb}: {first} and {second} would be one file here")
                }
                Direction::Up => {
                    let source = escaped_bytes(second.here.as_os_str().as_bytes());
                    let name = second.there.as_ref().map_or("/", |name| name.as_str());
                    format!("{verb}: {source} would be the second {} there", escaped(name))
                }
            };
            Failed::of(Exit::Local, message)
        });
        let told: Vec<Failed> = skipped.chain(clashes).collect();
        told.iter().for_each(|failed| failures.tell(&mut self.output, failed));
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
}
