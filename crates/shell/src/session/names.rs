//! From what was typed as names to what they stand for.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use ferry_client::{DirMeta, EntryKind, Error, Found, Name, NameError, Pattern, Stat};
use ferry_wire::{Code, escaped};

use super::{Session, failures::Failures, reasons};
use crate::{
    command::Names,
    exit::{Exit, Failed},
    words::Word,
};

/// Something of the server that was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Meant {
    /// Its name; [`None`] for the root.
    pub(super) name: Option<Name>,
    /// Its kind, where that is known already.
    pub(super) kind: Option<EntryKind>,
    /// It was found by a pattern and not named.
    pub(super) matched: bool,
    /// The word that was typed for it.
    pub(super) typed: String,
}

/// The answer to what a name of the server is.
#[derive(Debug)]
pub(super) enum Looked {
    Is(EntryKind),
    /// There is nothing of that name.
    Nothing,
    /// The server does not tell who asks: why.
    Denied(Box<Failed>),
}

impl Session {
    /// Returns what `text` stands for: relative to the current directory, or with a `/` in front to the root, which is
    /// [`None`]. `.` and `..` are taken away here, for no server knows them.
    pub(super) fn remote_name(&self, text: &str) -> Result<Option<Name>, NameError> {
        let (text, absolute) = text.strip_prefix('/').map_or((text, false), |rest| (rest, true));
        let mut components: Vec<&str> = match &self.remote {
            Some(current) if !absolute => current.as_str().split('/').collect(),
            _ => Vec::new(),
        };
        if text.is_empty() {
            return if absolute { Ok(None) } else { Err(NameError::Empty) };
        }
        // What is completed ends in it.
        for component in text.strip_suffix('/').unwrap_or(text).split('/') {
            match component {
                "." => {}
                ".." => {
                    components.pop().ok_or(NameError::Dots)?;
                }
                _ => components.push(component),
            }
        }
        if components.is_empty() { Ok(None) } else { Name::new(&components.join("/")).map(Some) }
    }

    /// Does the same for something that is no directory, of the command `verb`.
    pub(super) fn file_name(&self, verb: &str, text: &str) -> Result<Name, Failed> {
        match self.remote_name(text) {
            Ok(Some(name)) => Ok(name),
            Ok(None) => Err(Failed::usage(format!("{verb} {}: that is the root", escaped(text))).about("/")),
            Err(problem) => Err(bad_name(verb, text, problem)),
        }
    }

    /// Returns how a name is shown: as it would be typed here.
    pub(super) fn shown(&self, name: Option<&Name>) -> String {
        shown_in(self.remote.as_ref(), name)
    }

    /// Returns what `text` stands for in the local directory; `~` is the home directory, unless something there has that name.
    pub(super) fn local_path(&self, text: &str) -> PathBuf {
        if text == "." {
            return self.local.clone();
        }
        let path = self.local.join(text);
        let rest = text.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with('/'));
        let home = || std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
        match rest {
            Some(rest) if path.symlink_metadata().is_err() => {
                home().map_or(path, |home| home.join(rest.trim_start_matches('/')))
            }
            _ => path,
        }
    }

    /// Asks what `name` is; [`None`] where there is nothing of that name.
    pub(super) fn look(&mut self, verb: &str, name: Option<&Name>) -> Result<Option<EntryKind>, Failed> {
        match self.look_as_allowed(verb, name)? {
            Looked::Is(kind) => Ok(Some(kind)),
            Looked::Nothing => Ok(None),
            Looked::Denied(failed) => Err(*failed),
        }
    }

    /// Asks what `name` is, of a server that may not tell.
    pub(super) fn look_as_allowed(&mut self, verb: &str, name: Option<&Name>) -> Result<Looked, Failed> {
        let Some(name) = name else { return Ok(Looked::Is(EntryKind::Directory(DirMeta::default()))) };
        self.connected()?;
        match self.ask(|client| client.stat(name)) {
            Ok(Stat::File(meta)) => Ok(Looked::Is(EntryKind::File(meta))),
            Ok(Stat::Directory(meta)) => Ok(Looked::Is(EntryKind::Directory(meta))),
            Err(error) => match error.code() {
                Some(Code::NotFound) => Ok(Looked::Nothing),
                Some(Code::Denied) => {
                    let failed = self.failure_of(verb, Some(name), &error);
                    Ok(self.listed(name).map_or_else(|| Looked::Denied(failed.into()), Looked::Is))
                }
                _ => Err(self.failure_of(verb, Some(name), &error)),
            },
        }
    }

    /// Returns what the listing of its directory says of `name`: a drop box, say, is shown to who may not look into it.
    fn listed(&mut self, name: &Name) -> Option<EntryKind> {
        let directory = name.parent().and_then(|parent| Name::new(parent).ok());
        let entries = self.client.as_mut()?.list(directory.as_ref()).ok()?;
        entries.into_iter().find(|entry| entry.name.as_str() == name.last()).map(|entry| entry.kind)
    }

    /// Returns whether the server has something of that name, as far as it says so.
    pub(super) fn exists_there(&mut self, text: &str) -> bool {
        self.remote_name(text).is_ok_and(|name| name.is_some_and(|name| self.is_there(&name)))
    }

    /// Does the same with a whole name.
    pub(super) fn is_there(&mut self, name: &Name) -> bool {
        self.client.as_mut().is_some_and(|client| client.stat(name).is_ok())
    }

    /// Returns everything that `names` stand for, in their order. Words with wildcards are patterns, unless something has just
    /// that name.
    pub(super) fn find(&mut self, verb: &str, names: &Names, failures: &mut Failures) -> Result<Vec<Meant>, Failed> {
        self.connected()?;
        let (mut all, mut seen) = (Vec::new(), HashSet::new());
        for word in &names.words {
            match self.find_word(verb, word) {
                // Patterns may overlap.
                Ok(meant) => all.extend(meant.into_iter().filter(|meant| seen.insert(meant.name.clone()))),
                Err(failed) => failures.take(&mut self.output, failed)?,
            }
        }
        Ok(all)
    }

    fn find_word(&mut self, verb: &str, word: &Word) -> Result<Vec<Meant>, Failed> {
        let named = |name, kind| vec![Meant { name, kind, matched: false, typed: word.text.clone() }];
        let name = self.remote_name(&word.text);
        let Some(text) = &word.pattern else {
            return name.map(|name| named(name, None)).map_err(|problem| bad_name(verb, &word.text, problem));
        };
        if let Ok(Some(name)) = &name
            && let Some(kind) = self.look(verb, Some(name))?
        {
            return Ok(named(Some(name.clone()), Some(kind)));
        }
        let (directory, rest) = Pattern::split(text);
        let Ok(pattern) = Pattern::new(rest) else {
            // A bracket that does not close: it is only a name, then.
            return name.map(|name| named(name, None)).map_err(|problem| bad_name(verb, &word.text, problem));
        };
        let directory = match directory.as_str() {
            "" => self.remote.clone(),
            text => self.remote_name(text).map_err(|problem| bad_name(verb, &word.text, problem))?,
        };
        let found = self.ask(|client| client.glob(directory.as_ref(), &pattern));
        let found = found.map_err(|error| match &directory {
            // The missing thing is the directory to look in.
            Some(directory) => self.failure_of(verb, Some(directory), &error),
            None => self.failure(&format!("{verb} {}", escaped(&word.text)), &error),
        })?;
        if found.is_empty() {
            return Err(nothing_matches(verb, &word.text, Exit::NotFound));
        }
        let meant = |Found { name, kind }| Meant {
            name: Some(name),
            kind: Some(kind),
            matched: true,
            typed: word.text.clone(),
        };
        Ok(found.into_iter().map(meant).collect())
    }

    /// Returns the failure of a library call that was about `command`, with what became of the connection.
    pub(super) fn failure(&mut self, command: &str, error: &Error) -> Failed {
        self.with_consequence(Failed::new(command, error), error)
    }

    /// Does the same for one that was about something of the server; [`None`] for the root. Where that does not exist, it asks
    /// what was meant.
    pub(super) fn failure_of(&mut self, verb: &str, name: Option<&Name>, error: &Error) -> Failed {
        let failed = reasons::failed(verb, &self.shown(name), name.map_or("/", Name::as_str), error);
        let failed = self.with_consequence(failed, error);
        match name {
            Some(name) => self.with_question(failed, name),
            None => failed,
        }
    }

    fn with_consequence(&mut self, failed: Failed, error: &Error) -> Failed {
        match self.mend_connection(error) {
            Some(consequence) => failed.and(consequence),
            None => failed,
        }
    }

    /// Returns the local files and directories that `word` stands for, as they are typed: relative to the local directory.
    pub(super) fn find_local(&self, verb: &str, word: &Word) -> Result<(Vec<PathBuf>, bool), Failed> {
        let named = |text: &str| Ok((vec![PathBuf::from(text)], false));
        let Some(text) = &word.pattern else { return named(&word.text) };
        if self.exists(&word.text) {
            return named(&word.text);
        }
        let (directory, rest) = Pattern::split(text);
        let Ok(pattern) = Pattern::new(rest) else { return named(&word.text) };
        let found = pattern
            .local(&self.local_path(&directory))
            .map_err(|error| Failed::new(&format!("{verb} {}", escaped(&word.text)), &error))?;
        if found.is_empty() {
            return Err(nothing_matches(verb, &word.text, Exit::Local));
        }
        Ok((found.into_iter().map(|path| Path::new(&directory).join(path)).collect(), true))
    }

    /// Returns whether there is something of that name in the local directory.
    pub(super) fn exists(&self, text: &str) -> bool {
        self.local_path(text).symlink_metadata().is_ok()
    }
}

/// Returns how a name is shown where `current` is the current directory.
pub(super) fn shown_in(current: Option<&Name>, name: Option<&Name>) -> String {
    name.map_or_else(|| "/".to_owned(), |name| escaped(&typed_in(current, name)).to_string())
}

/// Returns a name as it would be typed where `current` is the current directory.
pub(super) fn typed_in(current: Option<&Name>, name: &Name) -> String {
    match current {
        None => name.as_str().to_owned(),
        Some(current) => match name.as_str().strip_prefix(current.as_str()).and_then(|rest| rest.strip_prefix('/')) {
            Some(below) => below.to_owned(),
            None => format!("/{name}"),
        },
    }
}

/// Returns the failure of `verb` with a `text` that is no name.
pub(super) fn bad_name(verb: &str, text: &str, problem: NameError) -> Failed {
    let shown = escaped(text);
    let failed = Failed::usage(match problem {
        // Where it stands in a name it was taken away before: what is left of it leads out.
        NameError::Dots => format!("{verb} {shown}: '..' leads above the root of the server"),
        problem if text.is_empty() => format!("{verb}: {problem}, and one is empty"),
        problem => format!("{verb} {shown}: {problem}"),
    });
    failed.about(text)
}

fn nothing_matches(verb: &str, text: &str, exit: Exit) -> Failed {
    Failed::of(exit, format!("{verb} {}: nothing matches", escaped(text))).about(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::tests::session;

    #[test]
    fn names_are_resolved_in_the_current_directory_and_never_leave_the_root() {
        let mut session = session();
        let name = |session: &Session, text: &str| {
            session.remote_name(text).map(|name| name.map(|name| name.to_string()).unwrap_or("/".to_owned()))
        };
        for (text, expected) in [
            ("a", Ok("a")),
            ("/a/b", Ok("a/b")),
            ("/", Ok("/")),
            (".", Ok("/")),
            ("a/", Ok("a")),
            ("a/../b", Ok("b")),
            ("..", Err(NameError::Dots)),
            ("a/../../b", Err(NameError::Dots)),
            ("a//b", Err(NameError::EmptyComponent)),
            ("//a", Err(NameError::EmptyComponent)),
            ("", Err(NameError::Empty)),
            (".ferry/a", Err(NameError::Reserved)),
        ] {
            assert_eq!(name(&session, text), expected.map(str::to_owned), "{text}");
        }
        session.remote = Some(Name::new("d/e").unwrap());
        for (text, expected) in
            [("a", Ok("d/e/a")), ("/a", Ok("a")), (".", Ok("d/e")), ("../..", Ok("/")), ("../a", Ok("d/a"))]
        {
            assert_eq!(name(&session, text), expected.map(str::to_owned), "{text}");
        }
        assert_eq!(name(&session, "../../.."), Err(NameError::Dots));
        assert!(bad_name("CD", "..", NameError::Dots).message.contains("'..' leads above the root"));
        assert_eq!(session.local_path("."), session.local);
        for (name, shown) in [("d/e/a", "a"), ("d/ea", "/d/ea"), ("d", "/d")] {
            assert_eq!(session.shown(Some(&Name::new(name).unwrap())), shown);
        }
    }
}
