//! Names that lie in directories of other names.

use std::collections::HashSet;

use ferry_wire::Name;

/// Whether `name`, or a directory that it is in, is one of `names`.
pub(super) fn is_within(names: &HashSet<Name>, name: &Name) -> bool {
    // Most often there are none.
    !names.is_empty()
        && (names.contains(name)
            || ancestors(name.as_str()).any(|above| Name::new(above).is_ok_and(|above| names.contains(&above))))
}

/// The directories that `name` is in.
pub(super) fn ancestors(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('/').map(|(at, _)| &name[..at])
}
