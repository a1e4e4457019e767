//! Files of the server that are replaced or deleted, and kept there in another directory.
//!
//! The protocol has no request that keeps what it replaces. So the new version is sent under a name in the directory of kept
//! files first; then two renames go out together: the old file goes where it is kept, and the new one takes its name. Between
//! the two, for as long as the server needs for a rename, the name is missing. Whatever is cut or killed, and whenever, the old
//! version is under its own name or where it is kept.

use std::collections::{BTreeSet, HashSet};

use ferry_wire::{Code, Name};

use super::Deletion;
use crate::{
    client::Client,
    error::Error,
    transfer::{Event, Settings},
    tree::{Found, ancestors},
};

/// The directory of new versions, in that of kept files.
const INCOMING: &str = ".incoming";

/// Files that are sent before they are given their names: so many are sent again at most where the program is killed.
pub(super) const BATCH_FILES: usize = 500;

/// Numbers that are tried behind a name under which something is kept already.
const MOST_NUMBERS: u32 = 1000;

/// The directory of the server where its files are kept that are replaced or deleted.
#[derive(Debug)]
pub(super) struct Backup {
    /// The directory that is changed.
    top: Name,
    directory: Name,
    /// The files that are replaced.
    replaced: HashSet<Name>,
}

/// Learns what became of a thing that was to be deleted; where it fails, no further one is tried.
pub(super) type Learn<'w> = dyn FnMut(&Name, Result<(), Error>) -> Result<(), Error> + 'w;

/// A file that is sent and has not its name yet.
pub(super) struct Swap {
    /// Its place in the list.
    pub(super) index: usize,
    name: Name,
    /// The name that it is sent under.
    pub(super) incoming: Name,
    /// The number behind the name of the old version, where that is taken.
    number: u32,
}

impl Backup {
    /// Has files of `top` kept in `directory`.
    ///
    /// # Errors
    ///
    /// One of the two is in the other.
    pub(super) fn new(top: Option<&Name>, directory: Name) -> Result<Backup, Error> {
        let is_in = |name: &Name, above: &Name| {
            name == above || ancestors(name.as_str()).any(|directory| directory == above.as_str())
        };
        match top {
            Some(top) if !is_in(&directory, top) && !is_in(top, &directory) => {
                Ok(Backup { top: top.clone(), directory, replaced: HashSet::new() })
            }
            _ => Err(Error::file(
                directory.as_str(),
                "has to be outside of the directory of the server that is changed, and that outside of it",
            )),
        }
    }

    /// Has `name` kept when it is replaced.
    pub(super) fn note_replaced(&mut self, name: &Name) {
        self.replaced.insert(name.clone());
    }

    /// Returns the step for a file at `index` that replaces another one; [`None`] for one that replaces none.
    pub(super) fn swap(&self, index: usize, name: &Name) -> Result<Option<Swap>, Error> {
        if !self.replaced.contains(name) {
            return Ok(None);
        }
        let incoming = self.named(&format!("{INCOMING}/{name}"))?;
        Ok(Some(Swap { index, name: name.clone(), incoming, number: 0 }))
    }

    fn below<'n>(&self, name: &'n Name) -> &'n str {
        name.as_str().strip_prefix(self.top.as_str()).and_then(|rest| rest.strip_prefix('/')).unwrap_or(name.as_str())
    }

    fn named(&self, below: &str) -> Result<Name, Error> {
        let text = format!("{}/{below}", self.directory);
        Name::new(&text).map_err(|problem| Error::Name { text, problem })
    }

    /// Returns where `name` is kept, with a number behind it unless that is 0.
    fn place(&self, name: &Name, number: u32) -> Result<Name, Error> {
        let below = self.below(name);
        match number {
            0 => self.named(below),
            number => self.named(&format!("{below}.~{number}~")),
        }
    }

    /// Returns the directories that have to be there for `swaps`, each before what is in it.
    pub(super) fn directories<'s>(&self, swaps: impl Iterator<Item = &'s Swap>) -> Result<Vec<Name>, Error> {
        let mut files = Vec::new();
        for swap in swaps {
            files.extend([self.place(&swap.name, 0)?, swap.incoming.clone()]);
        }
        Ok(above(&files))
    }

    /// Returns the directories of new versions, the deepest first.
    pub(super) fn incoming(&self, directories: &[Name]) -> Vec<Name> {
        let top = format!("{}/{INCOMING}", self.directory);
        let is_in = |name: &&Name| name.as_str() == top || name.as_str().starts_with(&format!("{top}/"));
        directories.iter().rev().filter(is_in).cloned().collect()
    }

    /// Deletes what an earlier run for the same directory has sent and not given its name. Runs for other directories may be
    /// under way.
    ///
    /// # Errors
    ///
    /// Fails where a connection is lost.
    pub(super) fn clear_incoming(&self, client: &mut Client) -> Result<(), Error> {
        let top = self.named(&format!("{INCOMING}/{}", self.top))?;
        let left = match client.tree(Some(&top)) {
            Err(error) if error.code() == Some(Code::NotFound) => return Ok(()),
            tree => tree?.found,
        };
        let (directories, files): (Vec<Found>, Vec<Found>) = left.into_iter().partition(Found::is_directory);
        let mut above = above(std::slice::from_ref(&top));
        above.push(top);
        // A directory stands before what is in it. One that another run needs is not empty, and stays.
        let mut names: Vec<Name> = files.into_iter().map(|found| found.name).collect();
        names.extend(directories.into_iter().rev().map(|found| found.name));
        names.extend(self.incoming(&above));
        client.delete_all(&names, &mut |index, result| {
            result.unwrap_or_else(|error| log::info!("{}: {error}", names[index]));
            Ok(())
        })
    }

    /// Deletes directories, moves files away to where they are kept, and tells `watch` what became of each. Where `watch`
    /// fails, no further one is tried.
    ///
    /// # Errors
    ///
    /// Fails where `watch` does, a connection is lost, or no place can be made.
    pub(super) fn delete(
        &self,
        client: &mut Client,
        deletions: &[Deletion],
        settings: &Settings,
        watch: &mut Learn<'_>,
    ) -> Result<(), Error> {
        let there = |directory| {
            let is_one = move |deletion: &&Deletion| deletion.directory == directory;
            deletions.iter().filter(is_one).map(|deletion| deletion.there.clone()).collect::<Vec<Name>>()
        };
        let (files, directories) = (there(false), there(true));
        let places = files.iter().map(|name| self.place(name, 0)).collect::<Result<Vec<_>, _>>()?;
        let places = above(&places);
        client.patiently(settings, &mut |_| {}, |client| client.make_directories(&places))?;
        self.keep(client, &files, &mut |index, result| watch(&files[index], result))?;
        client.delete_all(&directories, &mut |index, result| watch(&directories[index], result))
    }

    /// Moves `names` away to where they are kept, and tells `watch` what became of each. Where `watch` fails, no further one
    /// is tried.
    ///
    /// # Errors
    ///
    /// Fails where `watch` does, or a connection is lost.
    fn keep(
        &self,
        client: &mut Client,
        names: &[Name],
        watch: &mut dyn FnMut(usize, Result<(), Error>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut left: Vec<usize> = (0..names.len()).collect();
        for number in 0..=MOST_NUMBERS {
            let pair = |index: &usize| Ok((names[*index].clone(), self.place(&names[*index], number)?));
            let pairs = left.iter().map(pair).collect::<Result<Vec<_>, Error>>()?;
            let mut taken = Vec::new();
            client.rename_all(&pairs, &mut |at, result| match result {
                Err(error) if error.code() == Some(Code::Exists) && number < MOST_NUMBERS => {
                    taken.push(left[at]);
                    Ok(())
                }
                result => watch(left[at], result),
            })?;
            left = taken;
            if left.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// Gives the files of `swaps`, which are all on the server, their names, and keeps what had those. Returns what became of
    /// each, by its place in `swaps`. A connection that is lost meanwhile is opened again.
    pub(super) fn exchange(
        &self,
        client: &mut Client,
        mut swaps: Vec<Swap>,
        (settings, watch): (&Settings, &mut dyn FnMut(&Event<'_>)),
    ) -> Vec<(usize, Result<(), Error>)> {
        let (mut results, mut is_again) = (Vec::new(), false);
        let done = client.patiently(settings, watch, |client| {
            if std::mem::replace(&mut is_again, true) {
                settle(client, &mut swaps, &mut results)?;
            }
            while !swaps.is_empty() {
                self.exchange_once(client, &mut swaps, &mut results)?;
            }
            Ok(())
        });
        if let Err(error) = done {
            let why = error.to_string();
            results.extend(swaps.into_iter().map(|swap| {
                let left = format!("{why}; the new version may be {}, the old one where it is kept", swap.incoming);
                (swap.index, Err(Error::Broken(left)))
            }));
        }
        results
    }

    /// Tries once for each; those stay in `swaps` whose old version needs another place.
    fn exchange_once(
        &self,
        client: &mut Client,
        swaps: &mut Vec<Swap>,
        results: &mut Vec<(usize, Result<(), Error>)>,
    ) -> Result<(), Error> {
        let mut pairs = Vec::new();
        for swap in &*swaps {
            pairs.push((swap.name.clone(), self.place(&swap.name, swap.number)?));
            pairs.push((swap.incoming.clone(), swap.name.clone()));
        }
        let mut answers = Vec::new();
        client.rename_all(&pairs, &mut |_, result| {
            answers.push(result);
            Ok(())
        })?;
        let (mut left, mut answers) = (Vec::new(), answers.into_iter());
        for mut swap in swaps.drain(..) {
            let (Some(away), Some(named)) = (answers.next(), answers.next()) else { continue };
            let is = |result: &Result<(), Error>, code| result.as_ref().is_err_and(|error| error.code() == Some(code));
            let error = match named {
                Ok(()) => {
                    results.push((swap.index, Ok(())));
                    continue;
                }
                // Something is kept there already, or somebody has just taken the name: that is kept as well.
                Err(_)
                    if (is(&away, Code::Exists) || away.is_ok() && is(&named, Code::Exists))
                        && swap.number < MOST_NUMBERS =>
                {
                    swap.number += 1;
                    left.push(swap);
                    continue;
                }
                Err(error) => error,
            };
            let why = match away {
                Ok(()) => {
                    // The old version is better than none.
                    let place = self.place(&swap.name, swap.number)?;
                    client.rename(&place, &swap.name).unwrap_or_else(|error| log::warn!("{}: {error}", swap.name));
                    error
                }
                Err(why) if why.code() != Some(Code::NotFound) => why,
                Err(_) => error,
            };
            results.push((swap.index, Err(why)));
        }
        *swaps = left;
        Ok(())
    }
}

/// Returns the directories that `files` are in, each before what is in it.
fn above(files: &[Name]) -> Vec<Name> {
    let all = files.iter().flat_map(|file| ancestors(file.as_str())).filter_map(|above| Name::new(above).ok());
    // A name stands before all that begin with it.
    all.collect::<BTreeSet<Name>>().into_iter().collect()
}

/// After a lost connection: those whose new version is gone from where it was sent to have their names.
fn settle(
    client: &mut Client,
    swaps: &mut Vec<Swap>,
    results: &mut Vec<(usize, Result<(), Error>)>,
) -> Result<(), Error> {
    let mut at = 0;
    while let Some(swap) = swaps.get(at) {
        let result = match client.stat(&swap.incoming) {
            Err(error) if error.code() == Some(Code::NotFound) => Ok(()),
            Err(error @ Error::Server(_)) => Err(error),
            Ok(_) => {
                at += 1;
                continue;
            }
            Err(error) => return Err(error),
        };
        results.push((swap.index, result));
        swaps.remove(at);
    }
    Ok(())
}
