//! The kind of thing under a name at the end that is read, asked anew before anything is deleted for its
//! sake: a listing leaves out what can't be transferred, and hours may have passed since.

use std::collections::HashSet;

use ferry_wire::{Code, Name};
use rustix::{fs::FileType, io::Errno};

use super::{
    Deletion,
    within::{ancestors, is_within},
};
use crate::{
    client::Client,
    error::Error,
    local::HeldDirectory,
    requests::{self, Stat},
    tree::joined,
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

/// Asks the server for `names` beneath `remote`, many ahead.
pub(super) fn there<'a>(
    client: &mut Client,
    remote: Option<&Name>,
    names: impl IntoIterator<Item = &'a Name>,
) -> Result<Vec<Seen>, Error> {
    let names: Result<Vec<Name>, Error> =
        names.into_iter().map(|name| joined(remote, name.clone()).map_err(|(_, error)| error)).collect();
    let mut seen = Vec::new();
    client.converse(|link| {
        requests::stat_all(link, names?, |_, stat| {
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

/// Looks at `names` beneath the local directory.
pub(super) fn here<'a>(local: &HeldDirectory, names: impl IntoIterator<Item = &'a Name>) -> Vec<Seen> {
    let look = |name: &Name| match local.place(name.as_str()).stat() {
        Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Seen::File,
            FileType::Directory => Seen::Directory,
            _ => Seen::Unknown,
        },
        Err(Errno::NOENT) => Seen::Nothing,
        Err(_) => Seen::Unknown,
    };
    names.into_iter().map(look).collect()
}

/// Leaves of `deletions` what is `seen` to be nothing at the other end; returns the uppermost ones of the
/// rest. A directory stays with what stays in it.
pub(super) fn only_gone(deletions: &mut Vec<Deletion>, seen: &[Seen]) -> Vec<Name> {
    let staying: HashSet<Name> = deletions
        .iter()
        .zip(seen)
        .filter(|(_, seen)| **seen != Seen::Nothing)
        .map(|(deletion, _)| deletion.name.clone())
        .collect();
    if staying.is_empty() {
        return Vec::new();
    }
    let above: HashSet<&str> = staying.iter().flat_map(|name| ancestors(name.as_str())).collect();
    deletions.retain(|deletion| !is_within(&staying, &deletion.name) && !above.contains(deletion.name.as_str()));
    let is_uppermost = |name: &&Name| {
        ancestors(name.as_str()).all(|above| Name::new(above).is_ok_and(|above| !staying.contains(&above)))
    };
    let mut uppermost: Vec<Name> = staying.iter().filter(is_uppermost).cloned().collect();
    uppermost.sort();
    uppermost
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_seen_to_be_gone_stays_with_all_that_it_is_in() {
        let deletion = |text: &str, directory| Deletion { name: Name::new(text).unwrap(), directory };
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
        let texts = |names: Vec<Name>| names.iter().map(Name::to_string).collect::<Vec<_>>();
        assert_eq!(texts(kept), ["a/b/c", "link"]);
        assert_eq!(texts(deletions.into_iter().map(|deletion| deletion.name).collect()), ["a/x", "z"]);
    }
}
