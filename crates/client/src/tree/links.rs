//! Symbolic links in a local tree that is sent, where what they stand for is sent in their place.

use std::{
    cell::RefCell,
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    rc::Rc,
};

use ferry_wire::Name;

use super::names::ancestors;
use crate::{
    choose::Links,
    error::Error,
    local::{HeldDirectory, LINK, LocalPath},
};

/// The most things that are sent by way of links: a few links can make a tree of any size.
const MOST_LINKED: usize = 1 << 20;

/// The places of what is in a tree: beneath its root, or where a link led. Each is reached by no link, so that a link which
/// changes later leads nowhere else. Clones share what is noted.
#[derive(Debug, Clone)]
pub(crate) struct TreePlaces {
    root: LocalPath,
    /// The places of what has the name of a link.
    noted: Rc<RefCell<HashMap<Name, LocalPath>>>,
}

impl TreePlaces {
    /// Of the tree at `root`, without any links.
    pub(crate) fn of(root: LocalPath) -> TreePlaces {
        TreePlaces { root, noted: Rc::default() }
    }

    /// Returns the place of what is called `name`, where that is not the usual one.
    pub(crate) fn elsewhere(&self, name: &Name) -> Option<LocalPath> {
        let noted = self.noted.borrow();
        if noted.is_empty() {
            return None;
        }
        if let Some(place) = noted.get(name) {
            return Some(place.clone());
        }
        let (above, place) = nearest(name, &noted)?;
        Some(place.beneath(name.as_str().get(above.len() + 1..)?))
    }

    /// Returns the place of the directory `name`.
    pub(crate) fn directory(&self, name: Option<&Name>) -> LocalPath {
        let Some(name) = name else { return self.root.clone() };
        self.elsewhere(name).unwrap_or_else(|| self.root.beneath(name.as_str()))
    }
}

/// Returns the entry of the lowest directory that `name` is in and that has one.
fn nearest<'n, 'm, T>(name: &'n Name, map: &'m HashMap<Name, T>) -> Option<(&'n str, &'m T)> {
    let above: Vec<&str> = ancestors(name.as_str()).collect();
    above.into_iter().rev().find_map(|above| Some((above, map.get(&Name::new(above).ok()?)?)))
}

/// Follows the links of one tree.
#[derive(Debug)]
pub(super) struct Linked {
    links: Links,
    pub(super) places: TreePlaces,
    /// The path of the tree without links, once it was asked for.
    real_root: Option<PathBuf>,
    /// For each directory that a link stands for, the real directories that the links on the way to it are in.
    ways: HashMap<Name, Vec<PathBuf>>,
    /// So many things were found by way of links.
    found: usize,
}

impl Linked {
    pub(super) fn new(links: Links, places: TreePlaces) -> Linked {
        Linked { links, places, real_root: None, ways: HashMap::new(), found: 0 }
    }

    /// Counts something in `directory`.
    ///
    /// # Errors
    ///
    /// There is more than anybody means.
    pub(super) fn count(&mut self, directory: Option<&Name>) -> Result<(), Error> {
        self.found += usize::from(directory.is_some_and(|name| self.places.elsewhere(name).is_some()));
        match self.found > MOST_LINKED {
            true => Err(Error::file(&*self.places.root, "has links that stand for more than a million things")),
            false => Ok(()),
        }
    }

    /// Returns the place of what the link `link` in `directory` stands for.
    ///
    /// # Errors
    ///
    /// Why it is left out.
    pub(super) fn follow(&mut self, directory: Option<&Name>, link: &LocalPath) -> Result<LocalPath, Error> {
        if self.links == Links::Skip {
            return Err(Error::file(&**link, LINK));
        }
        let real = std::fs::canonicalize(link).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::file(&**link, "is a symbolic link that leads nowhere"),
            _ => Error::local("follow the link", &**link, error),
        })?;
        let at = real_path(&self.places.directory(directory))?;
        if self.way(directory).chain([&*at]).any(|on_the_way| on_the_way.starts_with(&real)) {
            return Err(Error::file(&**link, "is a symbolic link to a directory that it is in"));
        }
        let root = match &self.real_root {
            Some(root) => root,
            None => self.real_root.insert(real_path(&self.places.root)?),
        };
        match (real.strip_prefix(root), real.parent(), real.file_name()) {
            (Ok(below), ..) => Ok(self.places.root.beneath(below)),
            (Err(_), Some(parent), Some(last)) if self.links == Links::Anywhere => {
                Ok(HeldDirectory::at(parent).place(last))
            }
            _ => Err(Error::file(&**link, "is a symbolic link that leads out of the directory that is sent")),
        }
    }

    /// Notes that the link `name` in `directory` stands for what is at `place`.
    pub(super) fn note(&mut self, directory: Option<&Name>, name: &Name, place: LocalPath, is_directory: bool) {
        if is_directory && let Ok(at) = real_path(&self.places.directory(directory)) {
            let way = self.way(directory).map(Path::to_owned).chain([at]).collect();
            self.ways.insert(name.clone(), way);
        }
        self.places.noted.borrow_mut().insert(name.clone(), place);
    }

    /// Returns the real directories of the links on the way to `directory`.
    fn way(&self, directory: Option<&Name>) -> impl Iterator<Item = &Path> {
        let way = directory.and_then(|name| self.ways.get(name).or_else(|| Some(nearest(name, &self.ways)?.1)));
        way.into_iter().flatten().map(PathBuf::as_path)
    }
}

fn real_path(path: &LocalPath) -> Result<PathBuf, Error> {
    std::fs::canonicalize(path).map_err(|error| Error::local("look at", &**path, error))
}
