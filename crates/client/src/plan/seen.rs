//! The kind of thing under a name at the end that is read, asked anew before anything is deleted for its
//! sake: a listing leaves out what can't be transferred, and hours may have passed since.

use std::collections::HashSet;

use ferry_wire::{Code, Mode, Name, Time};
use rustix::{fs::FileType, io::Errno};

use super::Deletion;
use crate::{
    client::Client,
    conversation::requests::{self, Stat},
    error::Error,
    local::LocalPath,
    tree::{ancestors, is_within},
};

/// The kind of thing under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nothing, for sure.
    Nothing,
    File,
    Directory,
    /// Something else, or what can't be looked at.
    Unknown,
}

/// Asks the server for `names`, many ahead.
pub(super) fn there<'a>(client: &mut Client, names: impl IntoIterator<Item = &'a Name>) -> Result<Vec<Seen>, Error> {
    let mut seen = Vec::new();
    client.converse(|link| {
        requests::stat_all(link, names.into_iter().cloned(), false, |_, stat| {
            seen.push(match stat {
                Ok(Stat::File(_)) => Seen::File,
                Ok(Stat::Directory(_)) => Seen::Directory,
                Err(error) if error.code() == Some(Code::NotFound) => Seen::Nothing,
                Err(_) => Seen::Unknown,
            });
            Ok(())
        })
    })?;
    Ok(seen)
}

/// Asks the server for the times of the directories `names`, many ahead; [`None`] where there is no such directory.
pub(super) fn times<'a>(
    client: &mut Client,
    names: impl IntoIterator<Item = &'a Name>,
) -> Result<Vec<Option<Time>>, Error> {
    let mut times = Vec::new();
    client.converse(|link| {
        requests::stat_all(link, names.into_iter().cloned(), false, |_, stat| {
            times.push(match stat {
                Ok(Stat::Directory(meta)) => meta.mtime,
                Ok(Stat::File(_)) | Err(_) => None,
            });
            Ok(())
        })
    })?;
    Ok(times)
}

/// Asks the server for the permissions of the directory `name`; [`None`] where it does not tell them.
pub(super) fn mode(client: &mut Client, name: &Name) -> Result<Option<Mode>, Error> {
    let mut mode = None;
    client.converse(|link| {
        requests::stat_all(link, [name.clone()], true, |_, stat| {
            if let Ok(Stat::Directory(meta)) = stat {
                mode = meta.mode;
            }
            Ok(())
        })
    })?;
    Ok(mode)
}

/// Looks at a local path.
pub(super) fn here(path: &LocalPath) -> Seen {
    match path.stat().map(|stat| FileType::from_raw_mode(stat.st_mode)) {
        Ok(FileType::RegularFile) => Seen::File,
        Ok(FileType::Directory) => Seen::Directory,
        Err(Errno::NOENT) => Seen::Nothing,
        _ => Seen::Unknown,
    }
}

/// Leaves of `deletions` what is `seen` to be nothing at the other end, or is hidden there by a rule; returns the uppermost ones of the
/// rest. A directory stays with what stays in it.
pub(super) fn only_gone(deletions: &mut Vec<Deletion>, seen: &[Seen]) -> Vec<Deletion> {
    let is_there = |(deletion, seen): &(&Deletion, &Seen)| !deletion.hidden && **seen != Seen::Nothing;
    let mut uppermost: Vec<Deletion> =
        deletions.iter().zip(seen).filter(is_there).map(|(deletion, _)| deletion.clone()).collect();
    if uppermost.is_empty() {
        return Vec::new();
    }
    let staying: HashSet<Name> = uppermost.iter().map(|deletion| deletion.there.clone()).collect();
    let above: HashSet<&str> = staying.iter().flat_map(|name| ancestors(name.as_str())).collect();
    deletions.retain(|gone| !is_within(&staying, &gone.there) && !above.contains(gone.there.as_str()));
    uppermost.retain(|stays| !ancestors(stays.there.as_str()).any(|above| staying.contains(above)));
    uppermost.sort_by(|a, b| a.there.cmp(&b.there));
    uppermost
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_seen_to_be_gone_stays_with_all_that_it_is_in() {
        let deletion = |text: &str, directory| Deletion {
            here: text.into(),
            there: Name::new(text).unwrap(),
            directory,
            hidden: false,
        };
        let mut deletions = vec![
            deletion("a/b/c", false),
            deletion("a/x", false),
            deletion("link/in", false),
            deletion("z", false),
            deletion("link", true),
            deletion("a/b", true),
            deletion("a", true),
        ];
        use Seen::*;
        let kept = only_gone(&mut deletions, &[File, Nothing, Unknown, Nothing, Unknown, Nothing, Nothing]);
        let texts = |list: Vec<Deletion>| list.iter().map(|one| one.there.to_string()).collect::<Vec<_>>();
        assert_eq!(texts(kept), ["a/b/c", "link"]);
        assert_eq!(texts(deletions), ["a/x", "z"]);
    }
}
