//! SUM: checksums of files of the server, and files of checksums, which are held against what is there or here.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, IsTerminal as _, Read as _},
    os::unix::ffi::OsStrExt as _,
};

use ferry_client::{ChecksumLine, Error, LocalPath, Name, Sha256, Sum, sha256_of};
use ferry_wire::{escaped, escaped_bytes};

use super::{
    Session,
    failures::Failures,
    names::{Meant, shown_in, typed_in},
    not_connected, reasons,
};
use crate::{
    command::{GoingOn, Style, SumArgs},
    exit::{Exit, Failed},
    output::{Event, Output},
    words::Word,
};

const SUM: &str = "SUM";

/// The largest file of checksums that is read: some million lines.
const MOST_BYTES: u64 = 256 << 20;

/// One line of a file of checksums.
struct Expected {
    /// Its name, as text that can be shown.
    shown: String,
    line: ChecksumLine,
}

impl Session {
    pub(super) fn sum(&mut self, args: &SumArgs) -> Result<(), Failed> {
        if !args.check.is_empty() {
            return self.check_sums(&args.check, args.local);
        }
        let mut failures = self.failures(GoingOn { keep_going: args.keep_going, fail_fast: false }, false);
        let names = self.files_of(args, &mut failures)?;
        let (style, current) = (args.style(), self.remote.clone());
        self.each_sum(&names, matches!(style, Style::Sha256(_)), &mut failures, &mut |output, index, sum| {
            print(output, style, current.as_ref(), &names[index], &sum);
            // A sum takes long: who waits for many sees each.
            output.flush();
        })?;
        failures.end(SUM)
    }

    /// Returns the files that are meant. Directories that a pattern has found stand for nothing, or for all that is in them.
    fn files_of(&mut self, args: &SumArgs, failures: &mut Failures) -> Result<Vec<Name>, Failed> {
        let mut files = Vec::new();
        for Meant { name, kind, matched, typed } in self.find(SUM, &args.names(), failures)? {
            let is_directory = match (&name, kind) {
                (None, _) => true,
                (_, Some(kind)) => is_directory(&kind),
                (Some(_), None) if args.recursive => {
                    self.look(SUM, name.as_ref())?.is_some_and(|kind| is_directory(&kind))
                }
                (Some(_), None) => false,
            };
            match name {
                name if is_directory && args.recursive => self.beneath(name.as_ref(), &mut files, failures)?,
                _ if is_directory && matched => {}
                Some(name) => files.push(name),
                None => {
                    return Err(Failed::usage(format!("{SUM} {}: that is a directory", escaped(&typed))).about(typed));
                }
            }
        }
        Ok(files)
    }

    /// Adds all files beneath a directory. A list that leaves something out is not whole, which is told.
    fn beneath(
        &mut self,
        directory: Option<&Name>,
        files: &mut Vec<Name>,
        failures: &mut Failures,
    ) -> Result<(), Failed> {
        self.connected()?;
        let tree = self.ask(|client| client.tree(directory));
        let tree = tree.map_err(|error| self.failure_of(SUM, directory, &error))?;
        files.extend(tree.found.into_iter().filter(|found| !found.is_directory()).map(|found| found.name));
        for (name, error) in tree.skipped {
            let failed = reasons::failed(SUM, &self.shown(Some(&name)), name.as_str(), &error);
            failures.take(&mut self.output, failed)?;
        }
        Ok(())
    }

    /// Asks for the sums of all of `names`, and has `told` tell each.
    fn each_sum(
        &mut self,
        names: &[Name],
        with_sha256: bool,
        failures: &mut Failures,
        told: &mut dyn FnMut(&mut Output, usize, Sum),
    ) -> Result<(), Failed> {
        let Session { client: Some(client), output, remote, .. } = self else { return Err(not_connected()) };
        let (mut answered, mut refused) = (0, None);
        let result = client.sums(names, with_sha256, &mut |index, sum| {
            answered = index + 1;
            match sum {
                // Asked for before one that ends it all.
                _ if refused.is_some() => {}
                Ok(sum) => {
                    failures.note_done(1);
                    told(output, index, sum);
                }
                Err(error) if failures.keep_going() => {
                    let name = &names[index];
                    let shown = shown_in(remote.as_ref(), Some(name));
                    failures.tell(output, &reasons::failed(SUM, &shown, name.as_str(), &error));
                }
                Err(error) => {
                    refused = Some((index, error));
                    return Err(Error::Interrupted);
                }
            }
            Ok(())
        });
        match (refused, result) {
            (Some((index, error)), _) => Err(self.failure_of(SUM, Some(&names[index]), &error)),
            (None, Err(error @ Error::Lacking { .. })) => Err(self.failure("SUM --sha256", &error)),
            (None, Err(error)) => Err(self.failure_of(SUM, names.get(answered), &error)),
            (None, Ok(())) => Ok(()),
        }
    }

    /// Holds the lines of files of checksums against the files that they name: of the server, or here.
    fn check_sums(&mut self, files: &[Word], local: bool) -> Result<(), Failed> {
        let mut expected = Vec::new();
        for file in files {
            expected.extend(self.read_checksums(file)?);
        }
        let mut failures = Failures::new(true);
        let mut differing = 0;
        if local {
            for Expected { shown, line } in &expected {
                let path = self.local.join(OsStr::from_bytes(&line.name));
                match sha256_of(&LocalPath::from(path), &self.cancel) {
                    Ok(sha256) => differing += usize::from(!hold(&mut self.output, shown, line, sha256)),
                    Err(error @ Error::Interrupted) => return Err(Failed::new(SUM, &error)),
                    Err(error) => failures.tell(&mut self.output, &Failed::new(&format!("{SUM} {shown}"), &error)),
                }
            }
        } else {
            let mut names = Vec::new();
            let mut lines = Vec::new();
            for Expected { shown, line } in expected.iter() {
                match str::from_utf8(&line.name).ok().map(|text| self.file_name(SUM, text)) {
                    Some(Ok(name)) => {
                        names.push(name);
                        lines.push((shown, line));
                    }
                    Some(Err(failed)) => failures.tell(&mut self.output, &failed),
                    None => {
                        let failed =
                            Failed::usage(format!("{SUM} {shown}: the name is not UTF-8, as those of a server are"));
                        failures.tell(&mut self.output, &failed);
                    }
                }
            }
            self.each_sum(&names, true, &mut failures, &mut |output, index, sum| {
                let (shown, line) = lines[index];
                let is_same = sum.sha256.is_some_and(|sha256| hold(output, shown, line, sha256));
                differing += usize::from(!is_same);
                output.flush();
            })?;
        }
        if differing > 0 {
            let all = expected.len();
            failures.tell(
                &mut self.output,
                &Failed::of(Exit::Protocol, format!("{SUM}: {differing} of {all} files differ")),
            );
        }
        failures.end_of_looking()
    }

    /// Reads a file of checksums, all of it before anything is checked.
    fn read_checksums(&mut self, file: &Word) -> Result<Vec<Expected>, Failed> {
        let (path, shown) = (self.local_path(&file.text), escaped(&file.text).to_string());
        let failed = |why: String| Failed::of(Exit::Local, format!("{SUM} --check {shown}: {why}")).about(&file.text);
        let mut text = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut text));
        read.map_err(|source| {
            Failed::new(&format!("{SUM} --check"), &Error::Local { what: "read", path: path.clone(), source })
        })?;
        if text.len() as u64 > MOST_BYTES {
            return Err(failed(format!("it has more than {} MiB", MOST_BYTES >> 20)));
        }
        let mut expected = Vec::new();
        for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            let line = ChecksumLine::parse(line).map_err(|error| failed(format!("line {number} {error}")))?;
            expected.extend(line.map(|line| Expected { shown: escaped_bytes(&line.name).to_string(), line }));
        }
        if expected.is_empty() {
            return Err(failed("there is no checksum in it".to_owned()));
        }
        Ok(expected)
    }
}

fn is_directory(kind: &ferry_client::EntryKind) -> bool {
    matches!(kind, ferry_client::EntryKind::Directory(_))
}

/// Prints a sum. A line of a file of checksums goes out as it is, but for a terminal.
fn print(output: &mut Output, style: Style, current: Option<&Name>, name: &Name, sum: &Sum) {
    let text = match (style, sum.sha256) {
        (Style::Sha256(form), Some(sha256)) => {
            let line = ChecksumLine { name: typed_in(current, name).into_bytes(), sha256 }.in_form(form);
            let line = String::from_utf8_lossy(&line).into_owned();
            if io::stdout().is_terminal() { escaped(&line).to_string() } else { line }
        }
        _ => format!("{}  {:>12}  {}", sum.crc, sum.size, shown_in(current, Some(name))),
    };
    output.answer(text, || {
        let event = Event::new("sum").with("name", name.as_str()).with("crc", sum.crc.to_string());
        let event = event.with("size", sum.size).with("tag", sum.tag.as_str());
        event.with("sha256", sum.sha256.map(|sha256| sha256.to_string()))
    });
}

/// Says whether a file is what its line says. Returns that.
fn hold(output: &mut Output, shown: &str, line: &ChecksumLine, sha256: Sha256) -> bool {
    let is_same = line.sha256 == sha256;
    let event = || {
        let event = Event::new("checked").with("name", String::from_utf8_lossy(&line.name).into_owned());
        event.with("same", is_same).with("sha256", sha256.to_string())
    };
    if is_same {
        output.say(format_args!("{shown}: OK"), event);
    } else {
        output.answer(format_args!("{shown}: FAILED"), event);
    }
    is_same
}
