//! Guesses the name that was probably meant where one does not exist. Only a person is asked: a script gains nothing by
//! it.

use std::path::Path;

use ferry_client::Name;
use ferry_wire::escaped;

use super::Session;
use crate::{
    command::likeness,
    exit::{Exit, Failed},
    words,
};

impl Session {
    /// Returns what the server has that looks like `name`, as a question.
    pub(super) fn alike(&mut self, name: &Name) -> Option<String> {
        if !self.interactive {
            return None;
        }
        let (directory, last) = match name.as_str().rsplit_once('/') {
            Some((directory, last)) => (Some(Name::new(directory).ok()?), last),
            None => (None, name.as_str()),
        };
        // What went wrong is told already; that nothing can be listed either is no news.
        let entries = self.client.as_mut()?.list(directory.as_ref()).ok()?;
        let meant = likeness::name(last, entries.iter().map(|entry| entry.name.as_str()))?;
        let meant = match &directory {
            Some(directory) => directory.join(meant).ok()?,
            None => Name::new(meant).ok()?,
        };
        Some(question(&self.shown(Some(&meant))))
    }

    /// Asks what was meant where `failed` says that the server has nothing of that name.
    pub(super) fn with_question(&mut self, failed: Failed, name: &Name) -> Failed {
        let question = (failed.exit == Exit::NotFound).then(|| self.alike(name)).flatten();
        match question {
            Some(question) => failed.and(question),
            None => failed,
        }
    }

    /// Returns what is in the local directory that looks like `text`, as a question.
    pub(super) fn alike_here(&self, text: &str) -> Option<String> {
        if !self.interactive {
            return None;
        }
        let (directory, last) = text.rsplit_once('/').unwrap_or((".", text));
        let entries = std::fs::read_dir(self.local_path(directory)).ok()?;
        let names: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        let meant = likeness::name(last, names.iter().map(String::as_str))?;
        Some(question(&escaped(&Path::new(text).with_file_name(meant).to_string_lossy()).to_string()))
    }
}

fn question(name: &str) -> String {
    format!("did you mean {}?", words::quote(name))
}
