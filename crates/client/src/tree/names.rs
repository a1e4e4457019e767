//! Names that lie in directories of other names.

use std::{cmp::Ordering, collections::HashSet};

use ferry_wire::{Name, NameError};

use crate::error::Error;

/// Orders by components: what is in `a` comes after `a` and before `a.txt`.
pub(crate) fn in_tree_order(a: &str, b: &str) -> Ordering {
    a.split('/').cmp(b.split('/'))
}

/// Returns the whole name of something in `directory`, or that directory and why there is none.
pub(crate) fn joined(directory: Option<&Name>, name: Name) -> Result<Name, (Name, Error)> {
    let Some(directory) = directory else { return Ok(name) };
    directory
        .join(name.as_str())
        .map_err(|problem| (directory.clone(), Error::Name { text: format!("{directory}/{name}"), problem }))
}

/// Returns `name` without the `directory` that it is below.
pub(crate) fn below(directory: Option<&Name>, name: Name) -> Option<Name> {
    let Some(directory) = directory else { return Some(name) };
    Name::new(name.as_str().strip_prefix(directory.as_str())?.strip_prefix('/')?).ok()
}

/// Returns the directories that `name` is in, the uppermost first.
pub(crate) fn ancestors(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('/').map(|(at, _)| &name[..at])
}

/// Returns whether `name`, or a directory that it is in, is one of `names`.
pub(crate) fn is_within(names: &HashSet<Name>, name: &Name) -> bool {
    // Most often there are none.
    !names.is_empty() && (names.contains(name) || ancestors(name.as_str()).any(|above| names.contains(above)))
}

/// Returns why a local file can't have the same name on a server, as a predicate.
pub(crate) fn unnameable(problem: NameError) -> &'static str {
    match problem {
        NameError::Control => "has a name that no server takes: control characters are in it",
        NameError::NotUtf8 => "has a name that no server takes: it is not UTF-8",
        NameError::Reserved => "has a name that no server takes: '.ferry' at the beginning is the server's own",
        NameError::TooLong => "has a name that no server takes: it is too long",
        NameError::Browser => {
            "has a name that no server takes: lines that end in ' HTTP/1.0' or ' HTTP/1.1' are browsers'"
        }
        NameError::Empty | NameError::EmptyComponent | NameError::Dots => "has no name that a server could take",
    }
}
