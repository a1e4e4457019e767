//! Reports the failure of one of many.

use crate::{
    exit::{Exit, Failed},
    output::Output,
};

/// Either ends a command at the first failure, or tells each and remembers the first.
#[derive(Debug)]
pub(super) struct Failures {
    keep_going: bool,
    /// Somebody has asked for that.
    asked: bool,
    /// It is no failure that something does not exist.
    forgives_missing: bool,
    count: usize,
    first: Option<Exit>,
    /// Some of what was asked for is done.
    some_done: bool,
    untried: usize,
    /// The names of the first that failed, where they have one.
    names: Vec<String>,
    /// The verb, and the one of several servers that is asked at present.
    asking: Option<(&'static str, String)>,
}

/// More names at the end are no help to anybody who reads.
const MOST_NAMES: usize = 5;

impl Failures {
    /// Begins without failures. Where it does not `keep_going`, the first one is the last.
    pub(super) fn new(keep_going: bool) -> Failures {
        Failures {
            keep_going,
            asked: false,
            forgives_missing: false,
            count: 0,
            first: None,
            some_done: false,
            untried: 0,
            names: Vec::new(),
            asking: None,
        }
    }

    /// Does `work`, which asks only the one of several servers that is called `server`: failures of `verb` in it name that.
    pub(super) fn asking<T>(
        &mut self,
        verb: &'static str,
        server: &str,
        work: impl FnOnce(&mut Failures) -> Result<T, Failed>,
    ) -> Result<T, Failed> {
        self.asking = Some((verb, server.to_owned()));
        let done = work(self);
        self.asking = None;
        done.map_err(|failed| failed.at(verb, server))
    }

    /// Notes whether it was asked for that the others are gone on with: they are then, whatever else may be meant.
    pub(super) fn when_asked(self, asked: bool) -> Failures {
        Failures { asked, ..self }
    }

    /// Returns whether somebody has asked for the others to be gone on with.
    pub(super) fn was_asked(&self) -> bool {
        self.asked
    }

    /// Goes on with the others only where somebody has asked for that, until `work` is done: a name that does not exist may
    /// mean that the others are not meant either.
    pub(super) fn strictly<T>(&mut self, work: impl FnOnce(&mut Failures) -> T) -> T {
        let keep_going = std::mem::replace(&mut self.keep_going, self.asked);
        let done = work(self);
        self.keep_going = keep_going;
        done
    }

    /// Skips names that do not exist without a word, from now on.
    pub(super) fn forgive_missing(&mut self) {
        self.forgives_missing = true;
    }

    /// Returns whether the others are gone on with.
    pub(super) fn keep_going(&self) -> bool {
        self.keep_going
    }

    /// Returns whether nothing went wrong so far.
    pub(super) fn is_clean(&self) -> bool {
        self.count == 0
    }

    /// Notes that one thing is left to do. If it is the first as well, there is nothing to go on with, and it is told as ever.
    pub(super) fn only_one_left(&mut self) {
        self.keep_going &= !self.is_clean();
    }

    /// Notes that so many things were done.
    pub(super) fn note_done(&mut self, count: usize) {
        self.some_done |= count > 0;
    }

    /// Notes that so many things were not tried although the others were to be gone on with.
    pub(super) fn note_untried(&mut self, count: usize) {
        self.untried += count;
    }

    /// Tells `failed`, or gives it back to end with.
    pub(super) fn take(&mut self, output: &mut Output, failed: Failed) -> Result<(), Failed> {
        if self.forgives_missing && failed.exit == Exit::NotFound {
            return Ok(());
        }
        if !self.keep_going {
            return Err(failed);
        }
        self.tell(output, &failed);
        Ok(())
    }

    /// Tells `failed` in any case: others of its kind may follow, and a person wants to know all of them at once.
    pub(super) fn tell(&mut self, output: &mut Output, failed: &Failed) {
        match &self.asking {
            Some((verb, server)) => output.complain(&failed.clone().at(verb, server)),
            None => output.complain(failed),
        }
        self.count += 1;
        if self.names.len() < MOST_NAMES {
            self.names.extend(failed.name.as_deref().map(|name| ferry_wire::escaped(name).to_string()));
        }
        let first = self.first.get_or_insert(failed.exit);
        // Whoever presses Ctrl-C ends everything, whatever went wrong before.
        if matches!(failed.exit, Exit::Signal(_)) {
            *first = failed.exit;
        }
    }

    /// Ends here if something was told that nothing can be gone on with.
    pub(super) fn check(&self, command: &str, consequence: &str) -> Result<(), Failed> {
        match self.first {
            Some(exit) if !self.keep_going => Err(Failed::of(exit, format!("{command}: {consequence}"))),
            _ => Ok(()),
        }
    }

    /// Returns what a command comes to that `failed` put an end to: it may be no more than a consequence of what was told first.
    pub(super) fn end_by(self, failed: Failed) -> Failed {
        match self.first {
            Some(exit) if !matches!(failed.exit, Exit::Signal(_)) => Failed { exit, ..failed },
            _ => failed,
        }
    }

    /// Returns what a command comes to that only looked.
    pub(super) fn end_of_looking(self) -> Result<(), Failed> {
        self.first.map_or(Ok(()), |exit| Err(Failed::told(exit)))
    }

    /// Returns what a command comes to that was gone on with.
    pub(super) fn end(self, command: &str) -> Result<(), Failed> {
        let Some(exit) = self.first else { return Ok(()) };
        let more = self.count - self.names.len();
        let names = match (self.names.join(", "), more) {
            (names, _) if names.is_empty() => String::new(),
            (names, 0) => format!("; not done: {names}"),
            (names, more) => format!("; not done: {names} and {more} more"),
        };
        let text = match (self.count, self.untried, self.some_done) {
            // One thing was asked for, and why it failed is all there is to say.
            (1, 0, false) => return Err(Failed::told(exit)),
            (2, 0, false) => "both failed".to_owned(),
            (count, 0, false) => format!("all {count} failed"),
            (count, 0, true) => format!("{count} failed, the rest is done"),
            (count, untried, false) => format!("{count} failed, {untried} not tried"),
            (count, untried, true) => format!("{count} failed, {untried} not tried, the rest is done"),
        };
        Err(Failed::of(exit, format!("{command}: {text}{names}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Format, Level};

    /// Returns the last line where so many failed, were not tried and were done.
    fn closing(failed: usize, untried: usize, done: usize) -> String {
        let mut output = Output::to(Level::Quiet, Format::Text, Box::new(std::io::sink()), Box::new(std::io::sink()));
        let mut failures = Failures::new(true);
        for _ in 0..failed {
            failures.tell(&mut output, &Failed::of(Exit::NotFound, "no"));
        }
        failures.note_untried(untried);
        failures.note_done(done);
        match failures.end("GET") {
            Ok(()) => "fine".to_owned(),
            Err(failed) => failed.message,
        }
    }

    #[test]
    fn the_last_line_says_what_there_was_to_do() {
        assert_eq!(closing(0, 0, 0), "fine");
        assert_eq!(closing(0, 0, 3), "fine");
        assert_eq!(closing(1, 0, 0), "");
        assert_eq!(closing(2, 0, 0), "GET: both failed");
        assert_eq!(closing(3, 0, 0), "GET: all 3 failed");
        assert_eq!(closing(1, 0, 1), "GET: 1 failed, the rest is done");
        assert_eq!(closing(1, 2, 0), "GET: 1 failed, 2 not tried");
        assert_eq!(closing(1, 2, 5), "GET: 1 failed, 2 not tried, the rest is done");
    }

    #[test]
    fn the_last_line_names_the_first_that_failed() {
        let mut output = Output::to(Level::Quiet, Format::Text, Box::new(std::io::sink()), Box::new(std::io::sink()));
        let mut failures = Failures::new(true);
        for name in ["a", "b\u{1b}", "c", "d", "e", "f", "g"] {
            failures.tell(&mut output, &Failed::of(Exit::NotFound, "no").about(name));
        }
        failures.note_done(1);
        let message = failures.end("GET").unwrap_err().message;
        assert_eq!(message, "GET: 7 failed, the rest is done; not done: a, b\\u{1b}, c, d, e and 2 more");
    }

    #[test]
    fn one_thing_alone_is_not_gone_on_with() {
        let mut failures = Failures::new(true);
        failures.only_one_left();
        assert!(!failures.keep_going());
    }
}
