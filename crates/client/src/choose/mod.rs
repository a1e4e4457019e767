//! Which files are chosen: by rules on their names, by lists, by size and time.
//!
//! # Inside
//!
//! `glob` has the patterns of rsync, `rule` its lines, `filter` its lists of rules; `list` has lists of names. A
//! [`Chooser`] decides on the names of one tree, from the top down.

mod filter;
mod glob;
mod list;
mod rule;

use std::{collections::HashMap, sync::Arc};

use ferry_wire::Time;

use crate::error::Error;
pub use filter::{Filter, RuleError};
use filter::{Local, RuleFile};
pub(crate) use filter::{MAX_RULES_BYTES, Ruling, text as rules_text};
pub use list::NameList;

/// Which things of a directory are meant. Everything, unless told.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Choice {
    /// The rules on names. A name that is not taken is neither moved nor deleted, and neither is what is beneath it.
    pub filter: Filter,
    /// All that is taken, where there is a list. The other names are neither moved nor deleted.
    pub only: Option<Arc<NameList>>,
    /// The fewest bytes of a file that is moved. A smaller one stays as it is at both ends.
    pub min_size: u64,
    /// The most bytes of a file that is moved.
    pub max_size: Option<u64>,
    /// Files are moved that were changed after this time; those whose time nobody knows are not.
    pub newer_than: Option<Time>,
    /// The treatment of local symbolic links beneath a directory that is sent.
    pub links: Links,
}

/// The treatment of local symbolic links beneath a directory that is sent. None is ever made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Links {
    /// They are left out.
    #[default]
    Skip,
    /// Files and directories are sent that links stand for, if they are beneath the same directory.
    Inside,
    /// The same, wherever they are.
    Anywhere,
}

impl Choice {
    /// Returns whether files are told apart by size or time.
    #[must_use]
    pub fn has_limits(&self) -> bool {
        self.min_size > 0 || self.max_size.is_some() || self.newer_than.is_some()
    }

    /// Returns whether names are told apart.
    #[must_use]
    pub fn is_about_names(&self) -> bool {
        !self.filter.is_empty() || self.only.is_some()
    }

    /// Returns whether a file of so many bytes that was changed at `mtime` is within the limits.
    #[must_use]
    pub fn takes_file(&self, size: u64, mtime: Option<Time>) -> bool {
        let key = |time: Time| (time.seconds(), time.nanos());
        let is_newer = |than: Time| mtime.is_some_and(|mtime| key(mtime) > key(than));
        self.min_size <= size && self.max_size.is_none_or(|most| size <= most) && self.newer_than.is_none_or(is_newer)
    }

    /// Returns whether the rules take `name`, and all directories that it is in, from `place`: the path of the directory
    /// that the name is in. The rules of single directories are not looked at.
    #[must_use]
    pub fn takes_name(&self, place: &str, name: &str, is_directory: bool) -> bool {
        let mut chooser = Chooser::without_files(self, place);
        let above = name.match_indices('/').map(|(at, _)| &name[..at]);
        above.map(|above| (above, true)).chain([(name, is_directory)]).all(|(name, is_directory)| {
            let ruling = chooser.ruling(name, is_directory);
            !ruling.hidden
        })
    }
}

/// The paths of the directories that names are in, at both ends, for rules about whole paths. A `/` in front is of no
/// account; the root is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Above {
    /// At the end that is read.
    pub(crate) read: String,
    /// At the end that is changed.
    pub(crate) changed: String,
}

impl Above {
    /// The same at both ends.
    pub(crate) fn both(path: &str) -> Above {
        Above { read: path.to_owned(), changed: path.to_owned() }.trimmed()
    }

    fn trimmed(self) -> Above {
        let trim = |path: String| path.strip_prefix('/').map(str::to_owned).unwrap_or(path);
        Above { read: trim(self.read), changed: trim(self.changed) }
    }
}

/// Reads the file of this name in a directory of the tree; returns where that is, and what is in it, if there is one.
pub(crate) type Open<'a> = dyn FnMut(&str, &str) -> Result<Option<RuleFile>, Error> + 'a;

/// Decides on the names of one tree. A name is asked for after the directory that it is in, and where that is taken.
pub(crate) struct Chooser<'a> {
    choice: &'a Choice,
    /// The name that the tree itself has for the rules; empty where it is the top.
    top: &'a str,
    /// The paths that names are beneath, with the tree's own name in front of them.
    above: Above,
    open: Option<Box<Open<'a>>>,
    /// The rules of directories, by their names below the tree.
    locals: HashMap<String, Arc<Local>>,
    /// The first rules of a directory that could not be read. Nothing is taken any more.
    failure: Option<Error>,
}

impl<'a> Chooser<'a> {
    /// Decides by `choice` on names that are, for its rules, beneath `top`, which is at these paths. `open` reads the
    /// rules of directories.
    pub(crate) fn new(choice: &'a Choice, top: &'a str, above: Above, open: Box<Open<'a>>) -> Chooser<'a> {
        let above = above.trimmed();
        Chooser { choice, top, above, open: Some(open), locals: HashMap::new(), failure: None }
    }

    /// Decides without rules of directories on names that are beneath the path `above` at either end.
    pub(crate) fn without_files(choice: &'a Choice, above: &str) -> Chooser<'a> {
        Chooser { choice, top: "", above: Above::both(above), open: None, locals: HashMap::new(), failure: None }
    }

    /// Decides on `name`, which is below the tree.
    pub(crate) fn ruling(&mut self, name: &str, is_directory: bool) -> Ruling {
        let Choice { filter, only, .. } = self.choice;
        if self.failure.is_some() || only.as_ref().is_some_and(|only| !only.takes(name, is_directory)) {
            return Ruling::LEFT;
        }
        if filter.is_empty() {
            return Ruling::TAKEN;
        }
        match self.local(name.rsplit_once('/').map_or("", |(directory, _)| directory)) {
            Ok(local) => filter.ruling(&self.whole(name), &self.above, is_directory, &local),
            Err(error) => {
                self.failure = Some(error);
                Ruling::LEFT
            }
        }
    }

    /// Ends it.
    ///
    /// # Errors
    ///
    /// Rules of a directory that could not be read: what was decided is of no use.
    pub(crate) fn end(self) -> Result<(), Error> {
        self.failure.map_or(Ok(()), Err)
    }

    fn whole(&self, name: &str) -> String {
        match (self.top, name) {
            ("", name) => name.to_owned(),
            (top, "") => top.to_owned(),
            (top, name) => format!("{top}/{name}"),
        }
    }

    /// Returns the rules of the directory `name`, and reads them first where nobody has asked for them.
    fn local(&mut self, name: &str) -> Result<Arc<Local>, Error> {
        if let Some(local) = self.locals.get(name) {
            return Ok(Arc::clone(local));
        }
        if self.open.is_none() || !self.choice.filter.has_directory_rules() {
            return Ok(Arc::default());
        }
        let above = match name.rsplit_once('/') {
            _ if name.is_empty() => None,
            above => Some(self.local(above.map_or("", |(above, _)| above))?),
        };
        let whole = self.whole(name);
        let Some(open) = self.open.as_mut() else { return Ok(Arc::default()) };
        let local = self.choice.filter.local(&whole, above.as_deref(), &mut |file| open(name, file))?;
        let local = Arc::new(local);
        self.locals.insert(name.to_owned(), Arc::clone(&local));
        Ok(local)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{cell::RefCell, path::Path};

    #[test]
    fn rules_of_directories_are_read_once_and_from_the_top() {
        let mut choice = Choice::default();
        choice.filter.obey_ignore_files();
        let read = RefCell::new(Vec::new());
        let open = |directory: &str, file: &str| {
            read.borrow_mut().push(directory.to_owned());
            let text = match directory {
                "" => "/d/x\n",
                "d" => "+ y\n",
                "bad" => "[\n",
                _ => return Ok(None),
            };
            Ok(Some((Path::new(directory).join(file), text.to_owned())))
        };
        let mut chooser = Chooser::new(&choice, "top", Above::default(), Box::new(open));
        assert_eq!(chooser.ruling("d/e/f", false), Ruling::TAKEN);
        assert_eq!(*read.borrow(), ["", "d", "d/e"]);
        assert_eq!(chooser.ruling("d/x", false), Ruling::LEFT);
        assert_eq!(chooser.ruling("d/e/.ferryignore", false), Ruling::LEFT);
        assert_eq!(read.borrow().len(), 3);
        assert_eq!(chooser.ruling("bad/x", false), Ruling::LEFT);
        assert_eq!(chooser.ruling("d/e/f", false), Ruling::LEFT);
        assert!(chooser.end().unwrap_err().to_string().contains("bad/.ferryignore:1: "));
    }

    #[test]
    fn patterns_of_a_tree_begin_with_its_name() {
        let mut choice = Choice::default();
        choice.filter.exclude("/top/x").unwrap();
        let mut chooser = Chooser::new(&choice, "top", Above::default(), Box::new(|_, _| Ok(None)));
        assert!(chooser.ruling("x", false).hidden && !chooser.ruling("d/x", false).hidden);
        let mut chooser = Chooser::new(&choice, "", Above::default(), Box::new(|_, _| Ok(None)));
        assert!(!chooser.ruling("x", false).hidden && chooser.ruling("top/x", false).hidden);
        assert!(choice.takes_name("", "x", false) && !choice.takes_name("", "top/x/y", false));
    }

    #[test]
    fn limits_are_about_sizes_and_times() {
        let newer_than = Time::new(5, 5);
        let choice = Choice { min_size: 1, max_size: Some(2), newer_than, ..Choice::default() };
        assert!(choice.takes_file(1, Time::new(5, 6)) && choice.takes_file(2, Time::new(6, 0)));
        for (size, time) in [(0, Time::new(6, 0)), (3, Time::new(6, 0)), (1, Time::new(5, 5)), (1, None)] {
            assert!(!choice.takes_file(size, time), "{size} {time:?}");
        }
        assert!(Choice::default().takes_file(0, None) && !Choice::default().has_limits());
    }
}
