//! The one place that prints: results to standard output, complaints to standard error.
//!
//! Every result is given in both forms at once, as text for people and as an [`Event`] for programs, so that
//! `--json` is no second way through the commands.

use std::{
    fmt::Display,
    io::{self, BufWriter, Write},
    time::Duration,
};

pub(crate) use super::events::Event;
use super::{exit::Failed, progress::Mode};

/// The amount that is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Answers and errors.
    Quiet,
    /// And one line for each command.
    Normal,
    /// And one line for each file.
    Verbose,
}

/// The form of what is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// People.
    Text,
    /// Programs: one JSON object a line.
    Json,
}

/// The output of the program. Results are held back until [`Output::flush`] or a complaint, so that a long listing is
/// few system calls.
pub(crate) struct Output {
    level: Level,
    format: Format,
    results: BufWriter<Box<dyn Write + Send>>,
    complaints: Box<dyn Write + Send>,
    /// The first thing that could not be written of the results.
    spoiled: Option<io::Error>,
    /// Standard output carries the bytes of a file: what else would go there goes to standard error.
    diverted: bool,
}

impl Output {
    /// Prints to the program's own output and error.
    pub(crate) fn new(level: Level, format: Format) -> Output {
        Output::to(level, format, Box::new(io::stdout()), Box::new(io::stderr()))
    }

    /// Prints to `results` and `complaints`.
    pub(crate) fn to(
        level: Level,
        format: Format,
        results: Box<dyn Write + Send>,
        complaints: Box<dyn Write + Send>,
    ) -> Output {
        Output { level, format, results: BufWriter::new(results), complaints, spoiled: None, diverted: false }
    }

    /// Returns whether one line for each file is wanted.
    pub(crate) fn wants_details(&self) -> bool {
        self.level >= Level::Verbose || self.format == Format::Json
    }

    /// Returns whether programs read it.
    pub(crate) fn is_for_programs(&self) -> bool {
        self.format == Format::Json
    }

    /// Returns how transfers are shown, where `mode` was asked for: programs get events in place of lines.
    pub(crate) fn shown_as(&self, mode: Mode) -> Mode {
        if self.format == Format::Json { Mode::Never } else { mode }
    }

    /// Returns how often a program is told how far a transfer is.
    pub(crate) fn told_every(&self, mode: Mode) -> Option<Duration> {
        match mode {
            Mode::Lines(every) if self.format == Format::Json => Some(every),
            _ => None,
        }
    }

    /// Prints what a command was asked for, such as a listing or a sum; even when quiet.
    pub(crate) fn answer(&mut self, text: impl Display, event: impl FnOnce() -> Event) {
        self.line(Level::Quiet, text, event);
    }

    /// Prints a line for people that orders answers; programs get none.
    pub(crate) fn heading(&mut self, text: impl Display) {
        if self.format == Format::Text {
            self.line(Level::Quiet, text, || Event::new("heading"));
        }
    }

    /// Prints that a command is done.
    pub(crate) fn say(&mut self, text: impl Display, event: impl FnOnce() -> Event) {
        self.line(Level::Normal, text, event);
    }

    /// Prints what became of one of many.
    pub(crate) fn detail(&mut self, text: impl Display, event: impl FnOnce() -> Event) {
        self.line(Level::Verbose, text, event);
    }

    /// Prints what went wrong. A reader that went away is no reason to fail.
    pub(crate) fn complain(&mut self, failed: &Failed) {
        if failed.message.is_empty() {
            return self.flush();
        }
        self.aside(&failed.message, || failed.event());
    }

    /// Prints what is worth knowing and no result, where complaints go.
    pub(crate) fn remark(&mut self, text: impl Display, event: impl FnOnce() -> Event) {
        if self.level >= Level::Normal || self.format == Format::Json {
            self.aside(text, event);
        }
    }

    /// Prints one remark on several things: one line for people, an event of each for programs.
    pub(crate) fn remark_all(&mut self, text: impl Display, events: impl Iterator<Item = Event>) {
        match self.format {
            Format::Text => self.remark(text, || Event::new("skipped")),
            Format::Json => events.for_each(|event| self.aside("", || event)),
        }
    }

    /// Prints a line for people apart from the results, and for programs an event in the order in which it happened.
    fn aside(&mut self, text: impl Display, event: impl FnOnce() -> Event) {
        if self.format == Format::Json {
            self.line(Level::Quiet, "", event);
            return self.flush();
        }
        self.flush();
        let _ = writeln!(self.complaints, "{text}");
    }

    /// Writes what was held back.
    pub(crate) fn flush(&mut self) {
        let flushed = self.results.flush();
        self.note(flushed);
    }

    /// Keeps the first error of writing. A reader that went away is none: the files are there, and it has read what it wanted.
    fn note(&mut self, written: io::Result<()>) {
        if let Err(error) = written
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            self.spoiled.get_or_insert(error);
        }
    }

    /// Writes what was held back, and fails where some of the results did not reach standard output.
    pub(crate) fn finish(&mut self) -> Result<(), Failed> {
        self.flush();
        // Where standard output takes nothing, the last word goes to standard error.
        self.diverted = self.spoiled.is_some();
        self.spoiled.take().map_or(Ok(()), |error| Err(Failed::output(&error)))
    }

    /// Keeps standard output for the bytes of files from now on, or no longer; all else goes to standard error.
    pub(crate) fn divert(&mut self, diverted: bool) {
        self.flush();
        self.diverted = diverted;
    }

    /// Returns standard output itself, for the bytes of a file.
    pub(crate) fn raw(&mut self) -> &mut dyn Write {
        &mut self.results
    }

    fn line(&mut self, level: Level, text: impl Display, event: impl FnOnce() -> Event) {
        // Programs get every event: they choose themselves.
        if self.level < level && self.format == Format::Text {
            return;
        }
        let sink: &mut dyn Write = if self.diverted { &mut self.complaints } else { &mut self.results };
        let written = match self.format {
            Format::Text => writeln!(sink, "{text}"),
            Format::Json => writeln!(sink, "{}", event()),
        };
        if !self.diverted {
            self.note(written);
        }
    }
}
