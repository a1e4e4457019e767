//! The comparison of two directories: from what is at both ends, what has to be done. No input or output here.

use std::collections::{HashMap, HashSet};

use ferry_wire::{Name, Time};

use super::side::Side;
use crate::{
    choose::Choice,
    error::Error,
    options::Permissions,
    tree::{Left, Node, NodeKind, ancestors, in_tree_order, is_within},
};

/// The words for a name that a file has at one end and a directory at the other.
const TWO_KINDS: &str = "is a file at one end and a directory at the other";

/// How two directories are compared.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rules<'a> {
    /// Files of the same size are compared by their content, and not by their times.
    pub(super) check: bool,
    /// Things of another kind make way, and things that only the changed side has are deleted.
    pub(super) delete: bool,
    /// Files that are newer at the changed side stay as they are.
    pub(super) update: bool,
    /// The permissions that files bring with them: where these alone differ, they are set.
    pub(super) permissions: Permissions,
    /// The files that are moved at all: by size and time.
    pub(super) limits: Option<&'a Choice>,
}

/// The decision on one thing at the end that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A directory that is to be made.
    Make,
    /// A file that is to be moved.
    Move,
    /// A file of the same size at both ends; the content decides.
    Unsure,
    /// Alike at both ends.
    Same,
    /// The same, but for the permissions, or the time of a directory.
    Amend,
    /// Neither moved nor deleted, nor is what is beneath it.
    Skip,
}

/// The result of a comparison.
#[derive(Debug, Default)]
pub(super) struct Compared {
    /// One for each node at the end that is read.
    pub(super) verdicts: Vec<Verdict>,
    /// Things of another kind at the other end that make way, and whether each is a directory where it is read.
    pub(super) conflicts: Vec<(Name, bool)>,
    /// Files that are newer at the changed side, and stay as they are.
    pub(super) newer: usize,
    /// The things that can't be compared, and why.
    pub(super) skipped: Vec<(Option<Name>, Error)>,
}

/// Compares `source` with `target`, but for what is in `refused`.
pub(super) fn compare(source: &Side, target: &Side, rules: Rules<'_>, refused: &HashSet<Name>) -> Compared {
    let mut compared = Compared::default();
    let whole_seconds = source.grain.is_whole_seconds() || target.grain.is_whole_seconds();
    // Where a file stands in the way of a directory, what is in the directory is not looked at.
    let mut blocked: HashSet<Name> = refused.clone();
    let takes = |size, mtime| rules.limits.is_none_or(|limits| limits.takes_file(size, mtime));
    for Node { name, kind } in &source.nodes {
        let is_left = [&source.opaque, &target.opaque, &blocked].into_iter().any(|names| is_within(names, name));
        let there = target.get(name.as_str());
        let verdict = match (kind, there) {
            _ if is_left => Verdict::Skip,
            (NodeKind::File { size, mtime, .. }, _) if !takes(*size, *mtime) => Verdict::Skip,
            // The rules take it from here, and leave what has its name there: that is of another kind.
            (_, None) if target.left.names.contains(name) => {
                blocked.insert(name.clone());
                compared.skipped.push((None, Error::file(name.as_str(), TWO_KINDS)));
                Verdict::Skip
            }
            (NodeKind::Directory { .. }, None) => Verdict::Make,
            (NodeKind::File { .. }, None) => Verdict::Move,
            (NodeKind::Directory { mtime, .. }, Some(there @ NodeKind::Directory { mtime: other, .. })) => {
                match same_time(*mtime, *other, whole_seconds) {
                    Some(false) => Verdict::Amend,
                    Some(true) | None => alike(kind, Some(there), rules.permissions),
                }
            }
            (
                NodeKind::File { size, mtime, .. },
                Some(there @ NodeKind::File { size: other_size, mtime: other, .. }),
            ) => {
                let same_time = same_time(*mtime, *other, whole_seconds);
                match (size == other_size, same_time) {
                    _ if rules.update && same_time != Some(true) && is_newer(*other, *mtime) => {
                        compared.newer += 1;
                        Verdict::Skip
                    }
                    (false, _) => Verdict::Move,
                    (true, None) => Verdict::Unsure,
                    (true, Some(_)) if rules.check => Verdict::Unsure,
                    (true, Some(true)) => alike(kind, Some(there), rules.permissions),
                    (true, Some(false)) => Verdict::Move,
                }
            }
            (NodeKind::Directory { .. }, Some(NodeKind::File { .. })) if rules.delete => {
                compared.conflicts.push((name.clone(), true));
                Verdict::Make
            }
            (NodeKind::File { .. }, Some(NodeKind::Directory { .. }))
                if rules.delete && target.knows_all_beneath(name) =>
            {
                compared.conflicts.push((name.clone(), false));
                Verdict::Move
            }
            _ => {
                blocked.insert(name.clone());
                compared.skipped.push((None, Error::file(name.as_str(), TWO_KINDS)));
                Verdict::Skip
            }
        };
        compared.verdicts.push(verdict);
    }
    compared
}

/// Returns the verdict on two things that are the same otherwise, of which one is to bring `permissions` with it.
pub(super) fn alike(source: &NodeKind, target: Option<&NodeKind>, permissions: Permissions) -> Verdict {
    if have_other_permissions(source, target, permissions) { Verdict::Amend } else { Verdict::Same }
}

/// Returns whether the target has other permissions than those that it is to have, as far as both are known.
pub(super) fn have_other_permissions(source: &NodeKind, target: Option<&NodeKind>, permissions: Permissions) -> bool {
    match (source, target) {
        (NodeKind::File { mode: Some(mode), .. }, Some(NodeKind::File { mode: Some(there), .. })) => {
            permissions.over(*there, *mode) != *there
        }
        (NodeKind::Directory { mode: Some(mode), .. }, Some(NodeKind::Directory { mode: Some(there), .. })) => {
            permissions.over_directory(*there, *mode) != *there
        }
        _ => false,
    }
}

/// Returns whether two times are the same, as far as the coarser of the file systems can tell; [`None`] where one is unknown,
/// or where they agree by nothing but a whole second although neither end has `whole_seconds` alone.
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

/// Returns whether `a` is later than `b`, as far as both tell: where one has whole seconds alone, by these.
fn is_newer(a: Option<Time>, b: Option<Time>) -> bool {
    let (Some(a), Some(b)) = (a, b) else { return false };
    let fractions = a.nanos() > 0 && b.nanos() > 0;
    a.seconds() > b.seconds() || a.seconds() == b.seconds() && fractions && a.nanos() > b.nanos()
}

/// Something that is to be deleted, by its name beneath the compared directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Obsolete {
    pub(super) name: Name,
    pub(super) directory: bool,
    /// The other end may have it: a rule hides it there.
    pub(super) hidden: bool,
}

/// Returns all that is deleted so that something of another kind can take its name, for each of `conflicts` in order.
pub(super) fn replacements(conflicts: &[(Name, bool)], target: &Side) -> Vec<Vec<Obsolete>> {
    let places: HashMap<&str, usize> =
        conflicts.iter().enumerate().map(|(at, (name, _))| (name.as_str(), at)).collect();
    let mut obsolete = vec![Vec::new(); conflicts.len()];
    if conflicts.is_empty() {
        return obsolete;
    }
    for node in &target.nodes {
        let name = node.name.as_str();
        if let Some(&at) = ancestors(name).chain([name]).find_map(|above| places.get(above)) {
            obsolete[at].push(obsolete_node(node));
        }
    }
    obsolete.iter_mut().for_each(|obsolete| in_deletion_order(obsolete));
    obsolete
}

fn obsolete_node(Node { name, kind }: &Node) -> Obsolete {
    Obsolete { name: name.clone(), directory: kind.is_directory(), hidden: false }
}

/// Files first, then directories, the deepest first.
fn in_deletion_order(obsolete: &mut [Obsolete]) {
    obsolete.sort_by(|a, b| {
        a.directory.cmp(&b.directory).then_with(|| {
            let order = in_tree_order(a.name.as_str(), b.name.as_str());
            if a.directory { order.reverse() } else { order }
        })
    });
}

/// Returns how many things may be deleted where nobody said. An end that is empty for an hour, or a directory that was not
/// the one that was meant, should not cost what is at the other end. A few may go where as many are at the end that is read.
pub(super) fn most_deletions(source: &Side, target: &Side) -> usize {
    const MOST: usize = 1000;
    const FEW: usize = 10;
    let common = source.nodes.iter().filter(|node| target.get(node.name.as_str()).is_some()).count();
    let all = source.nodes.len() + target.nodes.len() - common;
    (target.nodes.len() / 2).max(FEW.min(all / 2)).min(MOST)
}

/// Returns what only `target` has, but for what can't be told, in the order in which it is to be deleted.
pub(super) fn deletions(source: &Side, target: &Side) -> Vec<Obsolete> {
    // A directory with something in it that stays has to stay as well.
    // What is in a directory that both have is judged by itself, whatever protects the directory.
    let is_only_there = |name: &Name| !source.get(name.as_str()).is_some_and(NodeKind::is_directory);
    let mut protected = protected(source, target);
    protected.retain(is_only_there);
    let stays = [&source.opaque, &target.opaque, &target.left.names, &protected];
    let mut staying: HashSet<&str> =
        stays.iter().flat_map(|names| names.iter()).flat_map(|name| ancestors(name.as_str())).collect();
    for directory in target.holding.iter().chain(&target.left.holding) {
        staying.extend(ancestors(directory.as_str()).chain([directory.as_str()]));
    }
    let mut obsolete: Vec<Obsolete> = target
        .nodes
        .iter()
        .filter(|Node { name, .. }| source.get(name.as_str()).is_none())
        .filter(|Node { name, .. }| !stays.iter().any(|names| is_within(names, name)))
        .filter(|Node { name, .. }| !staying.contains(name.as_str()))
        // A file in the way of a directory blocks it: what the directory holds is nobody's business then.
        .filter(|Node { name, .. }| {
            ancestors(name.as_str()).all(|above| !matches!(source.get(above), Some(NodeKind::File { .. })))
        })
        .map(|node| Obsolete { hidden: is_within(&source.left.names, &node.name), ..obsolete_node(node) })
        .collect();
    in_deletion_order(&mut obsolete);
    obsolete
}

/// Returns the names of `target` that rules protect from deletion: perishable ones do only where the directory stays.
fn protected(source: &Side, target: &Side) -> HashSet<Name> {
    let Left { names, protected, firmly, .. } = &target.left;
    if protected == firmly {
        return protected.clone();
    }
    let (mut kept, mut deleted) = (HashSet::new(), HashSet::new());
    // A directory stands before what is in it.
    for Node { name, kind } in &target.nodes {
        let is_in_deleted = name.parent().is_some_and(|parent| deleted.contains(parent));
        let is_kept = (if is_in_deleted { firmly } else { protected }).contains(name);
        kept.extend(is_kept.then(|| name.clone()));
        let stays = [names, &source.opaque, &target.opaque].into_iter().any(|names| is_within(names, name));
        // Beneath one that is kept, nothing is deleted but what both ends have directories for.
        let is_reached = is_in_deleted || name.parent().is_none_or(|parent| source.get(parent).is_some());
        if kind.is_directory() && is_reached && !stays && !is_kept && source.get(name.as_str()).is_none() {
            deleted.insert(name.as_str());
        }
    }
    kept
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
            Some(directory) => Node { name: name(directory), kind: NodeKind::Directory { mtime: None, mode: None } },
            None => {
                let kind = NodeKind::File { size, mtime: time(seconds, 0), tag: None, mode: None };
                Node { name: name(text), kind }
            }
        };
        let mut nodes: Vec<Node> = nodes.iter().map(node).collect();
        nodes.sort_by(|a, b| in_tree_order(a.name.as_str(), b.name.as_str()));
        Side { nodes, opaque: opaque.iter().map(|text| name(text)).collect(), ..Side::default() }
    }

    /// The names that have the verdict `wanted`.
    fn having<'a>(source: &'a Side, compared: &Compared, wanted: Verdict) -> Vec<&'a str> {
        let all = source.nodes.iter().zip(&compared.verdicts);
        all.filter(|(_, verdict)| **verdict == wanted).map(|(node, _)| node.name.as_str()).collect()
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
        let compared = compare(&source, &target, Rules::default(), &HashSet::new());
        assert_eq!(having(&source, &compared, Verdict::Make), ["dir"]);
        assert_eq!(having(&source, &compared, Verdict::Move), ["dir/in", "new", "size", "time"]);
        assert_eq!(having(&source, &compared, Verdict::Unsure), ["unknown"]);
        assert_eq!(having(&source, &compared, Verdict::Same), ["same"]);
        assert_eq!(compared.skipped.len(), 1);
        let by_content =
            compare(&source, &target, Rules { check: true, ..Rules::default() }, &HashSet::from([name("dir")]));
        assert_eq!(having(&source, &by_content, Verdict::Unsure), ["same", "time", "unknown"]);
        assert!(having(&source, &by_content, Verdict::Skip).starts_with(&["dir", "dir/in"]));

        let obsolete = deletions(&source, &target);
        let obsolete: Vec<&str> = obsolete.iter().map(|obsolete| obsolete.name.as_str()).collect();
        assert_eq!(obsolete, ["kept/in", "old/a", "old/sub", "old"]);
    }

    #[test]
    fn what_is_left_out_by_choice_stays_with_all_that_it_is_in() {
        let source = side(&[("a/", 0, 0), ("a/x", 1, 1), ("kind", 1, 1)], &[]);
        let mut target = side(
            &[
                ("a/", 0, 0),
                ("a/y", 1, 1),
                ("b/", 0, 0),
                ("b/c/", 0, 0),
                ("b/d/", 0, 0),
                ("p/", 0, 0),
                ("p/in", 1, 1),
                ("h/", 0, 0),
            ],
            &[],
        );
        target.left.names = HashSet::from([name("b/c/kept"), name("kind")]);
        target.left.protected = HashSet::from([name("p"), name("a")]);
        target.left.firmly = target.left.protected.clone();
        target.left.holding = HashSet::from([name("h")]);
        let compared = compare(&source, &target, Rules::default(), &HashSet::new());
        assert_eq!(having(&source, &compared, Verdict::Move), ["a/x"]);
        assert_eq!(having(&source, &compared, Verdict::Skip), ["kind"]);
        assert_eq!(compared.skipped.len(), 1);
        let mut source = source;
        source.left.names = HashSet::from([name("a/y")]);
        let obsolete = deletions(&source, &target);
        let obsolete: Vec<(&str, bool)> = obsolete.iter().map(|gone| (gone.name.as_str(), gone.hidden)).collect();
        assert_eq!(obsolete, [("a/y", true), ("b/d", false)]);
    }

    #[test]
    fn what_perishes_goes_with_its_directory_and_stays_elsewhere() {
        let source = side(&[("both/", 0, 0)], &[]);
        let nodes = [("a.o", 1, 1), ("both/", 0, 0), ("both/a.o", 1, 1), ("both/b", 1, 1), ("gone/", 0, 0)];
        let beneath = [("gone/a.o", 1, 1), ("gone/sub/", 0, 0), ("gone/sub/a.o", 1, 1), ("kept/", 0, 0)];
        let all: Vec<_> = nodes.into_iter().chain(beneath).chain([("kept/a", 1, 1), ("kept/d/", 0, 0)]).collect();
        let mut target = side(&all, &[]);
        let perishing = ["a.o", "both/a.o", "gone/a.o", "gone/sub", "gone/sub/a.o", "kept", "kept/d"];
        target.left.protected = perishing.into_iter().map(name).collect();
        let names =
            |target: &Side| deletions(&source, target).iter().map(|gone| gone.name.to_string()).collect::<Vec<_>>();
        assert_eq!(names(&target), ["both/b", "gone/a.o", "gone/sub/a.o", "gone/sub", "gone"]);
        // What is kept in any case, be it by a rule that lets it in and perishes, keeps the directories that it is in.
        target.left.firmly = HashSet::from([name("gone/sub/a.o"), name("both/b")]);
        assert_eq!(names(&target), ["both/b", "gone/a.o"]);
        assert!(!target.knows_all_beneath(&name("both")) && !target.knows_all_beneath(&name("kept")));
        target.left.firmly.clear();
        assert!(target.knows_all_beneath(&name("both")) && target.knows_all_beneath(&name("gone")));
    }

    #[test]
    fn newer_files_stay_and_those_beyond_the_limits_are_not_moved() {
        let source = side(&[("large", 9, 9), ("new", 1, 9), ("old", 1, 1), ("older", 2, 1), ("same", 2, 5)], &[]);
        let target = side(&[("new", 1, 5), ("older", 1, 5), ("same", 1, 5)], &[]);
        let limits = Choice { max_size: Some(8), newer_than: time(1, 0), ..Choice::default() };
        let rules = Rules { update: true, ..Rules::default() };
        let compared = compare(&source, &target, rules, &HashSet::new());
        assert_eq!(having(&source, &compared, Verdict::Move), ["large", "new", "old", "same"]);
        assert_eq!((having(&source, &compared, Verdict::Skip), compared.newer), (vec!["older"], 1));
        let rules = Rules { limits: Some(&limits), ..Rules::default() };
        let compared = compare(&source, &target, rules, &HashSet::new());
        assert_eq!(having(&source, &compared, Verdict::Move), ["new", "same"]);
        // Where one end has whole seconds alone, these decide.
        assert!(is_newer(time(5, 2), time(5, 1)) && is_newer(time(6, 0), time(5, 9)));
        assert!(!is_newer(time(5, 2), time(5, 0)) && !is_newer(None, time(1, 0)) && !is_newer(time(1, 0), None));
    }
}
