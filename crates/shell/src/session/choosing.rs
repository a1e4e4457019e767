//! From options to the files that they choose.

use std::{
    io::{self, Read as _},
    path::Path,
    sync::Arc,
};

use ferry_client::{Choice, Error, Name, NameList};
use ferry_wire::escaped;

use super::{Session, failures::Failures};
use crate::{
    command::{Choosing, IgnoreFiles, Listed, NameRule},
    exit::{Exit, Failed, plain},
    input::Input,
};

/// A larger list is none of names that somebody has chosen.
const MAX_LIST_BYTES: u64 = 1 << 30;

impl Session {
    /// Returns the choice that the options of `verb` make; reads the files that they name.
    pub(super) fn choice(&self, verb: &str, choosing: &Choosing) -> Result<Choice, Failed> {
        let Choosing { rules, min_size, max_size, newer_than } = choosing;
        let mut choice = Choice {
            min_size: min_size.unwrap_or_default(),
            max_size: *max_size,
            newer_than: *newer_than,
            ..Choice::default()
        };
        let filter = &mut choice.filter;
        let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
        filter.set_cvs_ignores(home.map(|home| home.join(".cvsignore")), std::env::var_os("CVSIGNORE"));
        for rule in &rules.0 {
            let wrong =
                |option: &str, text: &str, why| Failed::usage(format!("{verb}: {option} {}: {why}", escaped(text)));
            match rule {
                NameRule::Include(text) => filter.include(text).map_err(|why| wrong("--include", text, why))?,
                NameRule::Exclude(text) => filter.exclude(text).map_err(|why| wrong("--exclude", text, why))?,
                NameRule::File(file) => {
                    let path = self.local_path(file);
                    let below = path.strip_prefix(&self.local).unwrap_or(&path);
                    filter.read(&self.local, below).map_err(|error| Failed::new(verb, &error))?;
                }
            }
        }
        Ok(choice)
    }

    /// Does the same for a command that takes lists and rules of local directories as well.
    pub(super) fn choice_with(
        &self,
        verb: &str,
        choosing: &Choosing,
        listed: &Listed,
        ignore_files: IgnoreFiles,
    ) -> Result<Choice, Failed> {
        let mut choice = self.choice(verb, choosing)?;
        if ignore_files.obeyed {
            choice.filter.obey_ignore_files();
        }
        if let Some(file) = &listed.files_from {
            choice.only = Some(Arc::new(self.list_of_names(verb, file, listed.zero)?));
        }
        Ok(choice)
    }

    fn list_of_names(&self, verb: &str, file: &str, zero: bool) -> Result<NameList, Failed> {
        let mut bytes = Vec::new();
        let (path, read) = match file {
            "-" if !self.input_is_free => {
                return Err(Failed::usage(format!("{verb} --files-from -: the commands come from standard input")));
            }
            "-" => {
                let mut input = Input::new(io::stdin(), self.cancel.clone());
                (Path::new("-").to_owned(), self.read_all(&mut input, &mut bytes))
            }
            file => {
                let path = self.local_path(file);
                let read = std::fs::File::open(&path).and_then(|mut file| self.read_all(&mut file, &mut bytes));
                (path, read)
            }
        };
        if self.cancel.is_cancelled() {
            return Err(Failed::new(verb, &Error::Interrupted));
        }
        read.map_err(|error| {
            let message = format!("{verb}: cannot read the list {}: {}", escaped(file), plain(&error));
            Failed::of(Exit::Local, message).about(file)
        })?;
        NameList::parse(&path, &bytes, zero).map_err(|error| Failed::new(verb, &error))
    }

    /// Tells of each name of a list that is `missing`. Returns why nothing is done, unless that is to go on.
    pub(super) fn missing(
        &mut self,
        verb: &str,
        exit: Exit,
        missing: &[Name],
        failures: &mut Failures,
    ) -> Option<Failed> {
        self.tell_absent(verb, exit, missing, failures);
        let ends = !missing.is_empty() && !failures.was_asked();
        ends.then(|| Failed::of(exit, format!("{verb}: nothing was changed; -k goes on without them")))
    }

    /// Tells of each name of a list that is `missing`.
    pub(super) fn tell_absent(&mut self, verb: &str, exit: Exit, missing: &[Name], failures: &mut Failures) {
        for name in missing {
            let message = format!("{verb}: {} is in the list and not there", escaped(name.as_str()));
            failures.tell(&mut self.output, &Failed::of(exit, message).about(name.as_str()));
        }
    }

    /// Reads to the end, and no more than a list may have.
    fn read_all(&self, from: &mut impl io::Read, bytes: &mut Vec<u8>) -> io::Result<()> {
        let mut from = from.take(MAX_LIST_BYTES + 1);
        loop {
            match from.read_to_end(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !self.cancel.is_cancelled() => {}
                Err(error) => return Err(error),
                Ok(_) if bytes.len() as u64 > MAX_LIST_BYTES => return Err(io::Error::other("it has more than a GiB")),
                Ok(_) => return Ok(()),
            }
        }
    }
}
