//! What has to be done.

use std::{
    collections::{HashMap, HashSet},
    io,
    path::Path,
};

use ferry_wire::{Code, EntryKind, FileMeta, Name, Time};

use super::{
    Deletion, Direction, Looking, NOT_GONE, Replacement, Sync, SyncPlan, Transfers,
    check::{Pair, alike},
    seen,
    within::{ancestors, is_within},
};
use crate::{
    client::Client,
    error::Error,
    local::{HeldDirectory, clashes},
    requests::Stat,
    transfer::{Fetch, Store},
    tree::{self, Found, LocalTree, RemoteTree, in_tree_order, joined},
};

/// What stands under a name at one end.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Directory,
    File { size: u64, mtime: Option<Time>, meta: Option<FileMeta> },
}

/// The facts that the times of one end tell of its file system. Files may have whole seconds because somebody
/// has set them; the times of directories are mostly the system's own.
#[derive(Debug, Default)]
struct Grain {
    /// Some time has a fraction of a second.
    fractions: bool,
    /// Directories whose time is known.
    directories: usize,
}

impl Grain {
    fn note(&mut self, mtime: Option<Time>) {
        self.fractions |= mtime.is_some_and(|mtime| mtime.nanos() > 0);
    }

    fn note_directory(&mut self, mtime: Option<Time>) {
        self.note(mtime);
        self.directories += usize::from(mtime.is_some());
    }

    /// Whether it can't hold fractions, as far as can be told.
    fn is_whole_seconds(&self) -> bool {
        !self.fractions && self.directories > 0
    }
}

/// All that is at one end; names are below the directory that is compared.
#[derive(Debug, Default)]
struct Side {
    nodes: HashMap<Name, Node>,
    /// What can't be looked at, whose names are known.
    opaque: HashSet<Name>,
    /// Directories with something in them that can't be looked at.
    holding: HashSet<Name>,
    grain: Grain,
    missing: bool,
}

impl Side {
    /// Whether all that is beneath the directory `name` could be looked at.
    fn knows_all_beneath(&self, name: &Name) -> bool {
        let is_at_or_beneath = |other: &&Name| {
            other.as_str().strip_prefix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        !self.opaque.iter().chain(&self.holding).any(|other| is_at_or_beneath(&other))
    }
}

pub(super) fn plan(
    client: &mut Client,
    local: &Path,
    remote: Option<&Name>,
    sync: &Sync,
    watch: &mut dyn FnMut(Looking),
) -> Result<SyncPlan, Error> {
    let (mut left_out, mut skipped) = (Vec::new(), Vec::new());
    let (held, here) = local_side(local, sync.direction == Direction::Down, &mut left_out, &mut skipped, watch)?;
    let there = remote_side(client, remote, sync.direction == Direction::Up, &mut skipped, watch)?;
    let (source, target) = match sync.direction {
        Direction::Up => (&here, &there),
        Direction::Down => (&there, &here),
    };
    let mut names: Vec<&Name> = source.nodes.keys().collect();
    names.sort_by(|a, b| in_tree_order(a, b));
    if sync.direction == Direction::Down {
        names = without_clashes(local, target.missing, names, &mut skipped)?;
    }
    let mut compared = compare(source, target, &names, sync, &mut skipped);
    let unsure = std::mem::take(&mut compared.unsure);
    let mut pairs = Vec::with_capacity(unsure.len());
    for name in &unsure {
        let there = joined(remote, (*name).clone()).map_err(|(_, error)| error)?;
        pairs.push(Pair { here: held.place(name.as_str()), there });
    }
    for (name, alike) in unsure.iter().zip(alike(client, &pairs, watch)?) {
        if alike {
            compared.unchanged += 1;
        } else {
            compared.differing.push(name);
        }
    }
    compared.differing.sort_by(|a, b| in_tree_order(a, b));
    let replace = replacements(&compared.conflicts, target);
    let mut delete = if sync.delete { deletions(source, target) } else { Vec::new() };
    if sync.direction == Direction::Down && !delete.is_empty() {
        watch(Looking::Asking(delete.len()));
        let seen = seen::there(client, remote, delete.iter().map(|deletion| &deletion.name))?;
        let staying = seen::only_gone(&mut delete, &seen);
        skipped.extend(staying.iter().map(|name| Error::file(local.join(name.as_str()), NOT_GONE)));
    }
    let held = match &sync.backup {
        Some(backup) => with_backup(held, backup)?,
        None => held,
    };
    let (transfers, bytes) = transfers(&held, remote, source, sync.direction, &compared.differing, &mut skipped);
    Ok(SyncPlan {
        local: held,
        remote: remote.cloned(),
        make_top: target.missing,
        make: compared.make.into_iter().cloned().collect(),
        transfers,
        bytes,
        replace,
        delete,
        max_delete: sync.max_delete.unwrap_or_else(|| most_deletions(source, target)),
        unchanged: compared.unchanged,
        left_out,
        skipped,
    })
}

fn local_side(
    local: &Path,
    may_be_missing: bool,
    left_out: &mut Vec<Error>,
    skipped: &mut Vec<Error>,
    watch: &mut dyn FnMut(Looking),
) -> Result<(HeldDirectory, Side), Error> {
    let tree = match LocalTree::walk_watched(&local.into(), &mut |found| watch(Looking::Here(found))) {
        Err(Error::Local { source, .. }) if may_be_missing && source.kind() == io::ErrorKind::NotFound => {
            return Ok((HeldDirectory::at(local), Side { missing: true, ..Side::default() }));
        }
        tree => tree?,
    };
    let mut side = Side::default();
    for skip in tree.skipped {
        let list = if skip.by_rule { &mut *left_out } else { &mut *skipped };
        list.push(skip.error);
        side.opaque.extend(skip.name);
        side.holding.extend(skip.directory);
    }
    side.grain.note_directory(tree.root.mtime());
    tree.files.iter().for_each(|file| side.grain.note(file.mtime));
    side.nodes.extend(tree.directories.into_iter().map(|name| (name, Node::Directory)));
    side.nodes.extend(
        tree.files.into_iter().map(|file| (file.name, Node::File { size: file.size, mtime: file.mtime, meta: None })),
    );
    Ok((tree.root, side))
}

fn remote_side(
    client: &mut Client,
    remote: Option<&Name>,
    may_be_missing: bool,
    skipped: &mut Vec<Error>,
    watch: &mut dyn FnMut(Looking),
) -> Result<Side, Error> {
    watch(Looking::There(0));
    let listed = tree::remote(client, remote, &mut |found| watch(Looking::There(found)));
    let RemoteTree { found, skipped: unlisted } = match listed {
        Err(Error::Server(failure)) if may_be_missing && remote.is_some() && failure.code == Code::NotFound => {
            return Ok(Side { missing: true, ..Side::default() });
        }
        tree => tree?,
    };
    let mut side = Side::default();
    for (name, error) in unlisted {
        side.opaque.extend(below(remote, &name));
        skipped.push(error);
    }
    for Found { name, kind } in found {
        let node = match kind {
            EntryKind::Directory(mtime) => {
                side.grain.note_directory(mtime);
                Node::Directory
            }
            EntryKind::File(meta) => {
                side.grain.note(meta.mtime);
                Node::File { size: meta.size, mtime: meta.mtime, meta: Some(meta) }
            }
        };
        if let Some(name) = below(remote, &name) {
            side.nodes.insert(name, node);
        }
    }
    if let (false, Some(remote)) = (side.grain.fractions, remote) {
        match client.stat(remote) {
            Ok(Stat::Directory(mtime)) => side.grain.note_directory(mtime),
            Ok(_) | Err(Error::Server(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(side)
}

/// `name` without the directory that it is below.
fn below(directory: Option<&Name>, name: &Name) -> Option<Name> {
    let Some(directory) = directory else { return Some(name.clone()) };
    Name::new(name.as_str().strip_prefix(directory.as_str())?.strip_prefix('/')?).ok()
}

/// The names that can be next to each other in the local directory.
fn without_clashes<'a>(
    local: &Path,
    missing: bool,
    names: Vec<&'a Name>,
    skipped: &mut Vec<Error>,
) -> Result<Vec<&'a Name>, Error> {
    // What is made later is of the same file system as what it is made in.
    let there = local.parent().filter(|parent| missing && !parent.as_os_str().is_empty()).unwrap_or(local);
    let clashing: HashSet<usize> =
        clashes(there, names.iter().map(|name| name.as_str()))?.iter().map(|clash| clash.second).collect();
    let refused: HashSet<Name> = clashing.iter().map(|&index| names[index].clone()).collect();
    for name in &refused {
        skipped.push(Error::file(local.join(name.as_str()), "would be one file with another of the server's here"));
    }
    Ok(names.into_iter().filter(|name| !is_within(&refused, name)).collect())
}

/// What the comparison of two sides came to.
#[derive(Debug, Default)]
struct Compared<'a> {
    make: Vec<&'a Name>,
    differing: Vec<&'a Name>,
    /// Of the same size; what is in them decides.
    unsure: Vec<&'a Name>,
    unchanged: usize,
    /// Things of another kind at the other end, and whether each is a directory where it is read.
    conflicts: Vec<(&'a Name, bool)>,
}

fn compare<'a>(
    source: &Side,
    target: &Side,
    names: &[&'a Name],
    sync: &Sync,
    skipped: &mut Vec<Error>,
) -> Compared<'a> {
    let mut compared = Compared::default();
    let whole_seconds = source.grain.is_whole_seconds() || target.grain.is_whole_seconds();
    // Where a file stands in the way of a directory, what is in the directory is not looked at.
    let mut blocked = HashSet::new();
    for &name in names {
        if is_within(&source.opaque, name) || is_within(&target.opaque, name) || is_within(&blocked, name) {
            continue;
        }
        match (&source.nodes[name], target.nodes.get(name)) {
            (Node::Directory, None) => compared.make.push(name),
            (Node::Directory, Some(Node::Directory)) => {}
            (Node::File { .. }, None) => compared.differing.push(name),
            (Node::File { size, mtime, .. }, Some(Node::File { size: other_size, mtime: other_mtime, .. })) => {
                match (size == other_size, same_time(*mtime, *other_mtime, whole_seconds)) {
                    (false, _) => compared.differing.push(name),
                    (true, None) => compared.unsure.push(name),
                    (true, Some(_)) if sync.check => compared.unsure.push(name),
                    (true, Some(true)) => compared.unchanged += 1,
                    (true, Some(false)) => compared.differing.push(name),
                }
            }
            (Node::Directory, Some(Node::File { .. })) if sync.delete => {
                compared.conflicts.push((name, true));
                compared.make.push(name);
            }
            (Node::File { .. }, Some(Node::Directory)) if sync.delete && target.knows_all_beneath(name) => {
                compared.conflicts.push((name, false));
                compared.differing.push(name);
            }
            _ => {
                blocked.insert(name.clone());
                let problem = "is a file at one end and a directory at the other";
                skipped.push(Error::file(name.as_str(), problem));
            }
        }
    }
    compared
}

/// Whether two times are the same, as far as the coarser of the file systems can tell; [`None`] where one is unknown, or where
/// they agree by nothing but a whole second although neither end has `whole_seconds` alone.
fn same_time(a: Option<Time>, b: Option<Time>, whole_seconds: bool) -> Option<bool> {
    /// The steps that file systems round times to, in nanoseconds, below a second. No two writes fall into
    /// one of these.
    const GRAINS_NANOS: [u32; 4] = [100, 1_000, 1_000_000, 10_000_000];
    let (a, b) = (a?, b?);
    if a.seconds() != b.seconds() {
        return Some(false);
    }
    let coarser = |grain| (a.nanos() % grain == 0 || b.nanos() % grain == 0) && a.nanos() / grain == b.nanos() / grain;
    if a.nanos() == b.nanos() || GRAINS_NANOS.into_iter().any(coarser) {
        return Some(true);
    }
    match (a.nanos() == 0 || b.nanos() == 0, whole_seconds) {
        (false, _) => Some(false),
        (true, true) => Some(true),
        (true, false) => None,
    }
}

fn transfers(
    local: &HeldDirectory,
    remote: Option<&Name>,
    source: &Side,
    direction: Direction,
    names: &[&Name],
    skipped: &mut Vec<Error>,
) -> (Transfers, u64) {
    let (mut stores, mut fetches, mut bytes) = (Vec::new(), Vec::new(), 0_u64);
    for &name in names {
        let Node::File { size, meta, .. } = &source.nodes[name] else { continue };
        let (here, there) = match joined(remote, name.clone()) {
            Ok(there) => (local.place(name.as_str()), there),
            Err((_, error)) => {
                skipped.push(error);
                continue;
            }
        };
        bytes = bytes.saturating_add(*size);
        match direction {
            Direction::Up => stores.push(Store { source: here.of_size(*size), name: there }),
            Direction::Down => fetches.push(Fetch { name: there, target: here, meta: meta.clone() }),
        }
    }
    let transfers = match direction {
        Direction::Up => Transfers::Up(stores),
        Direction::Down => Transfers::Down(fetches),
    };
    (transfers, bytes)
}

/// All that is deleted so that something of another kind can take its name.
fn replacements(conflicts: &[(&Name, bool)], target: &Side) -> Vec<Replacement> {
    let mut replacements: HashMap<&str, Replacement> = conflicts
        .iter()
        .map(|&(name, by_directory)| {
            (name.as_str(), Replacement { name: name.clone(), by_directory, delete: Vec::new() })
        })
        .collect();
    if replacements.is_empty() {
        return Vec::new();
    }
    for (name, node) in &target.nodes {
        let above = ancestors(name.as_str()).chain([name.as_str()]).find(|above| replacements.contains_key(above));
        if let Some(replacement) = above.and_then(|above| replacements.get_mut(above)) {
            replacement.delete.push(Deletion { name: name.clone(), directory: *node == Node::Directory });
        }
    }
    let mut replacements: Vec<Replacement> = replacements.into_values().collect();
    for replacement in &mut replacements {
        in_deletion_order(&mut replacement.delete);
    }
    replacements.sort_by(|a, b| in_tree_order(&a.name, &b.name));
    replacements
}

/// Files first, then directories, the deepest first.
fn in_deletion_order(deletions: &mut [Deletion]) {
    deletions.sort_by(|a, b| {
        a.directory.cmp(&b.directory).then_with(|| {
            let order = in_tree_order(&a.name, &b.name);
            if a.directory { order.reverse() } else { order }
        })
    });
}

/// How many things may be deleted where nobody said: an end that is empty for an hour, or a directory that was not the one
/// that was meant, should not cost what is at the other end. A few go where as many things are there at the end that is read.
fn most_deletions(source: &Side, target: &Side) -> usize {
    const MOST: usize = 1000;
    const FEW: usize = 10;
    let common = source.nodes.keys().filter(|name| target.nodes.contains_key(*name)).count();
    let all = source.nodes.len() + target.nodes.len() - common;
    (target.nodes.len() / 2).max(FEW.min(all / 2)).min(MOST)
}

/// `local` with a place for what is replaced or deleted in it, which must be apart from it.
fn with_backup(local: HeldDirectory, backup: &Path) -> Result<HeldDirectory, Error> {
    let real = |path: &Path| {
        std::fs::canonicalize(path).or_else(|_| {
            let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
            Ok(std::fs::canonicalize(above)?.join(path.file_name().unwrap_or_default()))
        })
    };
    let failed = |error: io::Error| Error::local("keep files in", backup, error);
    let (from, to) = (real(local.path()).map_err(failed)?, real(backup).map_err(failed)?);
    if from.starts_with(&to) || to.starts_with(&from) {
        return Err(Error::file(backup, "has to be outside of the directory that is changed, and that outside of it"));
    }
    Ok(local.with_backup(HeldDirectory::at(backup)))
}

/// What only `target` has, but for what can't be told.
fn deletions(source: &Side, target: &Side) -> Vec<Deletion> {
    // A directory with something in it that stays has to stay as well.
    let mut staying: HashSet<&str> =
        source.opaque.iter().chain(&target.opaque).flat_map(|name| ancestors(name.as_str())).collect();
    for directory in &target.holding {
        staying.extend(ancestors(directory.as_str()).chain([directory.as_str()]));
    }
    let mut deletions: Vec<_> = target
        .nodes
        .iter()
        .filter(|(name, _)| !source.nodes.contains_key(*name))
        .filter(|(name, _)| !is_within(&source.opaque, name) && !is_within(&target.opaque, name))
        .filter(|(name, _)| !staying.contains(name.as_str()))
        // A file in the way of a directory blocks it: what the directory holds is nobody's business then.
        .filter(|(name, _)| {
            ancestors(name.as_str()).all(|above| {
                !matches!(
                    Name::new(above).ok().and_then(|above| source.nodes.get(&above).cloned()),
                    Some(Node::File { .. })
                )
            })
        })
        .map(|(name, node)| Deletion { name: name.clone(), directory: *node == Node::Directory })
        .collect();
    in_deletion_order(&mut deletions);
    deletions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(seconds: i64, nanos: u32) -> Option<Time> {
        Time::new(seconds, nanos)
    }

    #[test]
    fn times_are_the_same_as_far_as_the_coarser_side_tells() {
        for (a, b, same) in [
            (time(5, 123_456_789), time(5, 123_456_789), Some(true)),
            (time(5, 123_456_789), time(5, 123_456_788), Some(false)),
            (time(5, 123_456_789), time(5, 0), Some(true)),
            (time(5, 123_456_789), time(5, 123_000_000), Some(true)),
            (time(5, 123_456_789), time(5, 123_456_700), Some(true)),
            (time(5, 123_456_789), time(5, 124_000_000), Some(false)),
            (time(5, 0), time(6, 0), Some(false)),
            (time(5, 999_999_999), time(6, 0), Some(false)),
            (None, time(5, 0), None),
            (None, None, None),
        ] {
            assert_eq!(same_time(a, b, true), same, "{a:?} {b:?}");
            assert_eq!(same_time(b, a, true), same, "{b:?} {a:?}");
        }
        // Where fractions can be held, a whole second is one: what is in the files decides.
        assert_eq!(same_time(time(5, 123_456_789), time(5, 0), false), None);
        assert_eq!(same_time(time(5, 123_456_789), time(5, 123_000_000), false), Some(true));
        assert_eq!(same_time(time(5, 123_456_789), time(5, 124_000_000), false), Some(false));
        assert_eq!(same_time(time(5, 0), time(5, 0), false), Some(true));
    }

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    /// Files of these names, sizes and seconds; a name that ends in `/` is a directory.
    fn side(nodes: &[(&str, u64, i64)], opaque: &[&str]) -> Side {
        let node = |&(text, size, seconds): &(&str, u64, i64)| match text.strip_suffix('/') {
            Some(directory) => (name(directory), Node::Directory),
            None => (name(text), Node::File { size, mtime: time(seconds, 0), meta: None }),
        };
        let nodes = nodes.iter().map(node).collect();
        Side { nodes, opaque: opaque.iter().map(|text| name(text)).collect(), ..Side::default() }
    }

    fn texts<'a>(names: impl IntoIterator<Item = &'a Name>) -> Vec<&'a str> {
        names.into_iter().map(Name::as_str).collect()
    }

    #[test]
    fn what_differs_is_told_from_what_can_not_be_told() {
        let source = side(
            &[
                ("new", 1, 1),
                ("same", 1, 1),
                ("size", 1, 1),
                ("time", 1, 1),
                ("unknown", 1, -1),
                ("dir/", 0, 0),
                ("dir/in", 1, 1),
                ("was file/", 0, 0),
                ("was file/in", 1, 1),
                ("hidden/in", 1, 1),
            ],
            &["closed"],
        );
        let target = side(
            &[
                ("same", 1, 1),
                ("size", 2, 1),
                ("time", 1, 2),
                ("unknown", 1, 1),
                ("was file", 1, 1),
                ("closed/", 0, 0),
                ("closed/in", 1, 1),
                ("old/", 0, 0),
                ("old/a", 1, 1),
                ("old/sub/", 0, 0),
                ("kept/", 0, 0),
                ("kept/in", 1, 1),
            ],
            &["hidden", "kept/closed"],
        );
        let mut names: Vec<&Name> = source.nodes.keys().collect();
        names.sort_by(|a, b| in_tree_order(a, b));
        let mut skipped = Vec::new();
        let by_time = Sync { direction: Direction::Up, check: false, delete: false, max_delete: None, backup: None };
        let compared = compare(&source, &target, &names, &by_time, &mut skipped);
        assert_eq!(texts(compared.make), ["dir"]);
        assert_eq!(texts(compared.differing), ["dir/in", "new", "size", "time"]);
        assert_eq!((texts(compared.unsure), compared.unchanged, skipped.len()), (vec!["unknown"], 1, 1));
        let by_content = Sync { check: true, ..by_time };
        let checked = compare(&source, &target, &names, &by_content, &mut skipped);
        assert_eq!(texts(checked.unsure), ["same", "time", "unknown"]);

        let deletions = deletions(&source, &target);
        assert_eq!(texts(deletions.iter().map(|gone| &gone.name)), ["kept/in", "old/a", "old/sub", "old"]);
    }
}
