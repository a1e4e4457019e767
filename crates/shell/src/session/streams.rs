//! GET to standard output and PUT from standard input.

use std::{
    cell::RefCell,
    io::{self, IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

use ferry_client::{Code, Direction, Download, Error, Event as Step, IfTaken, Name};

use super::{
    Session, connection::tell_outage, failures::Failures, names::Meant, not_connected, reasons, watcher::worth,
};
use crate::{
    command::Target,
    exit::{Exit, Failed},
    figures::Summary,
    input::Input,
    output::{Event, Output},
    progress::Progress,
    safe::Safe,
};

const GET: &str = "GET";
const PUT: &str = "PUT";

impl Session {
    /// Writes files to standard output, one after the other.
    pub(super) fn get_to_output(&mut self, meant: &[Meant], failures: &mut Failures) -> Result<(), Failed> {
        if meant.len() == 1 {
            failures.only_one_left();
        }
        for Meant { name, .. } in meant {
            let shown = self.shown(name.as_ref());
            let Some(name) = name else {
                let failed = Failed::usage(format!("{GET} {shown}: that is a directory")).about(shown);
                failures.take(&mut self.output, failed)?;
                continue;
            };
            self.connected()?;
            // And for the rest of the command: nothing may be said among the bytes, or after them.
            self.output.divert(true);
            let result = self.copy_to_output(name);
            match result {
                Ok((Download { size: bytes, crc, .. }, elapsed)) => {
                    let summary = Summary { bytes, resumed: 0, elapsed };
                    self.got.files += 1;
                    self.got.bytes += bytes;
                    failures.note_done(1);
                    self.output.remark(format_args!("got {shown}: {summary}, verified"), || {
                        let event = Event::new("got").with("name", name.as_str()).with("bytes", bytes);
                        let event = event.with("resumed", 0).with("crc", crc.to_string());
                        event.with("seconds", elapsed.as_secs_f64())
                    });
                }
                Err(Error::System { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe => {
                    // It has read all that it wanted, of this file and of those after it.
                    return Err(Failed::told(Exit::READER_GONE));
                }
                Err(error) => {
                    let mut failed = self.failure_of(GET, Some(name), &error);
                    if let Error::System { source, .. } = &error {
                        // It stands for a file here.
                        failed = Failed::output(source).about(name.as_str());
                    }
                    failures.take(&mut self.output, failed)?;
                }
            }
        }
        Ok(())
    }

    fn copy_to_output(&mut self, name: &Name) -> Result<(Download, Duration), Error> {
        let shown = self.shown(Some(name));
        let Session { client: Some(client), output, progress, keyboard, settings, .. } = self else {
            return Err(Error::NotConnected);
        };
        let begun = Instant::now();
        let (mode, tries) = (output.shown_as(*progress), settings.retries);
        // Both who takes the bytes and who is told of a lost connection write to it, one at a time.
        let output = RefCell::new(output);
        let got = if io::stdout().is_terminal() {
            // Whatever is in a file, it must not drive a terminal; and a bar would stand among its lines.
            let mut raw = Raw(&output);
            let mut safe = Safe::new(&mut raw);
            let mut watch = |step: &Step<'_>| tell_outage(&mut output.borrow_mut(), step, tries);
            let got = client.fetch_into(name, &mut safe, settings, &mut watch)?;
            // What is left is half a character.
            let _ = safe.flush();
            got
        } else {
            let progress = Progress::start(mode, [(shown, None)], keyboard);
            let mut raw = Raw(&output);
            let mut sink = Noted { sink: &mut raw, done: 0, progress: &progress };
            let mut watch = |step: &Step<'_>| {
                progress.note(step);
                progress.aside(|| tell_outage(&mut output.borrow_mut(), step, tries));
            };
            client.fetch_into(name, &mut sink, settings, &mut watch)?
        };
        let written = output.borrow_mut().raw().flush();
        written.map_err(|source| Error::System { what: "write to standard output", source })?;
        Ok((got, begun.elapsed()))
    }

    /// Sends all that comes from standard input.
    pub(super) fn put_from_input(
        &mut self,
        target: Option<&Target>,
        if_taken: IfTaken,
        dry_run: bool,
    ) -> Result<(), Failed> {
        let Some(Target::Name(text)) = target else {
            return Err(Failed::usage(format!("{PUT}: standard input needs a name: {PUT} - {} name", self.arrow())));
        };
        if !self.input_is_free {
            let message =
                format!("{PUT} -: the commands come from standard input; 'ferry put HOST - -o NAME' sends it");
            return Err(Failed::usage(message));
        }
        let name = self.file_name(PUT, text)?;
        if dry_run {
            self.tell_step("put", Some(&name), None);
            return Ok(());
        }
        let shown = self.shown(Some(&name));
        self.output.flush();
        let progress = Progress::start(self.output.shown_as(self.progress), [(shown.clone(), None)], &self.keyboard);
        let mut input = Input::new(io::stdin(), self.cancel.clone());
        let Session { client, output, settings, .. } = self;
        let client = client.as_mut().ok_or_else(not_connected)?;
        let mut watch = |step: &Step<'_>| {
            progress.note(step);
            progress.aside(|| tell_outage(output, step, settings.retries));
        };
        let sent = client.put_replaying(&name, None, if_taken, &mut input, (settings, &mut watch));
        let elapsed = progress.elapsed();
        drop(progress);
        let sent = sent.map_err(|error| {
            let failed = self.failure_of(PUT, Some(&name), &error);
            match reasons::no_parent(&shown).filter(|_| error.code() == Some(Code::NotFound)) {
                Some(why) => failed.saying(format!("{PUT} {shown}: {why}")),
                None => failed,
            }
        })?;
        let summary = Summary { bytes: sent.size, resumed: 0, elapsed };
        self.put.files += 1;
        self.put.bytes += sent.size;
        let durable = self.is_durable();
        let worth = worth(Direction::Up, durable);
        self.output.say(format_args!("put {shown}: {summary}, {worth}"), || {
            let event = Event::new("put").with("name", name.as_str()).with("bytes", sent.size);
            let event = event.with("resumed", 0).with("crc", sent.crc.to_string());
            event.with("seconds", summary.elapsed.as_secs_f64()).with("durable", durable)
        });
        Ok(())
    }
}

/// Standard output itself, of an output that others speak to as well.
struct Raw<'a, 'b>(&'a RefCell<&'b mut Output>);

impl io::Write for Raw<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().raw().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.borrow_mut().raw().flush()
    }
}

/// Passes bytes on and notes how many.
struct Noted<'a> {
    sink: &'a mut dyn io::Write,
    done: u64,
    progress: &'a Progress,
}

impl io::Write for Noted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.sink.write(bytes)?;
        self.done += written as u64;
        self.progress.note(&Step::Moved { index: 0, done: self.done });
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}
