//! From what was chosen to a plan: what GET, PUT and SYNC say before anything is moved.

use std::{cell::RefCell, os::unix::ffi::OsStrExt as _, time::Instant};

use ferry_client::{Choice, Clash, Client, Direction, Error, Event as Step, Looking, Name, Permissions, Plan, Planner};
use ferry_wire::{escaped, escaped_bytes};

use super::{Session, connection::tell_outage, failures::Failures, reasons};
use crate::{
    exit::{Exit, Failed},
    figures::{Count, Size},
    output::Event,
    progress::{Keyboard, Progress},
    question::{self, Echo, NoAnswer},
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
    /// Begins with nothing, of which `choice` is taken, with these permissions.
    pub(super) fn new(direction: Direction, choice: Choice, permissions: Permissions) -> Chosen {
        let planner = Planner::new(direction).choosing(choice).keeping(permissions);
        Chosen { planner, trees: 0, directories: Vec::new() }
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
        let progress = Progress::start(output.shown_as(*mode), [(title, None)], &Keyboard::default());
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
        self.tell_missing(verb, &plan, failures)?;
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

    /// Tells which names of a list are not there; that ends a command, unless it is to go on.
    pub(super) fn tell_missing(&mut self, verb: &str, plan: &Plan, failures: &mut Failures) -> Result<(), Failed> {
        let exit = match plan.direction() {
            Direction::Up => Exit::Local,
            Direction::Down => Exit::NotFound,
        };
        let failed = self.missing(verb, exit, &plan.missing, failures);
        failed.map_or(Ok(()), Err)
    }

    /// Tells what would be done, one line each, and how much that is.
    pub(super) fn tell_plan(&mut self, verb: &str, plan: &Plan) {
        let action = match plan.direction() {
            Direction::Up => "put",
            Direction::Down => "get",
        };
        for made in &plan.make {
            self.tell_step("make", made.there.as_ref(), None);
        }
        for (index, name) in plan.transfers.names().enumerate() {
            self.tell_step(action, Some(name), plan.transfers.size(index));
        }
        for amended in &plan.amend {
            self.tell_step("chmod", amended.pair.there.as_ref(), None);
        }
        let replaced = plan.replace.iter().flat_map(|replaced| &replaced.delete);
        for gone in replaced.chain(&plan.delete) {
            self.tell_step("delete", Some(&gone.there), None);
        }
        let (files, bytes, deletions) = (
            plan.transfers.len(),
            plan.transfers.bytes(),
            plan.replace.iter().map(|replaced| replaced.delete.len()).sum::<usize>() + plan.delete.len(),
        );
        let mut text = format!("{verb} would {action} {} ({})", Count(files, "file"), Size(bytes));
        if verb == "SYNC" {
            let unchanged = Count(plan.unchanged, "file");
            let are = if plan.unchanged == 1 { "it is" } else { "they are" };
            text.push_str(&format!(", delete {deletions}, and leave {unchanged} as {are}"));
        }
        self.output.say(text, || {
            let event = Event::new("planned").with("files", files).with("bytes", bytes);
            event.with("delete", deletions).with("unchanged", plan.unchanged)
        });
    }

    /// Tells one thing that would be done with `name`, which is the server's, or its root.
    pub(super) fn tell_step(&mut self, action: &'static str, name: Option<&Name>, size: Option<u64>) {
        let shown = self.shown(name);
        let whole = name.map_or("/", Name::as_str);
        let event = || Event::new("plan").with("action", action).with("name", whole).with("size", size);
        match size {
            Some(size) => self.output.answer(format_args!("would {action} {shown} ({})", Size(size)), event),
            None => self.output.answer(format_args!("would {action} {shown}"), event),
        }
    }

    /// Asks the person at the terminal before so many things are deleted, where one is there and that are many.
    pub(super) fn confirm(&mut self, verb: &str, deletions: usize, yes: bool) -> Result<(), Failed> {
        /// Fewer are seen at a glance where a dry run lists them.
        const UNASKED: usize = 100;
        if yes || deletions <= UNASKED || !question::is_anybody_there() {
            return Ok(());
        }
        self.output.flush();
        let asked =
            format!("{verb} would delete {}; {verb} -n lists them. Go on? (yes/no) ", Count(deletions, "thing"));
        let mut question = &*asked;
        loop {
            let answer = question::ask(&self.cancel, question, Echo::On).map_err(|why| match why {
                NoAnswer::Interrupted => Failed::new(verb, &Error::Interrupted),
                NoAnswer::Other(why) => Failed::of(Exit::System, format!("{verb}: {why}; nothing was changed")),
            })?;
            match String::from_utf8_lossy(&answer).trim().to_ascii_lowercase().as_str() {
                "yes" | "y" => return Ok(()),
                "no" | "n" | "" => return Err(Failed::of(Exit::Refused, format!("{verb}: nothing was changed"))),
                _ => question = "Please type 'yes' or 'no': ",
            }
        }
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
