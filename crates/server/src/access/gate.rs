//! The gate: what each request needs, decided before anything is looked up.
//!
//! | request | needs |
//! |---|---|
//! | GET, READ, SUM | `read` |
//! | LIST | `list`, or that the directory leads to something one has a right on; it is filtered either way |
//! | STAT | `list` or `read`, or that the name leads to something one has a right on |
//! | PUT, RESUME | `add` where the name is not there, `change` where it is: known when the upload is published |
//! | MKDIR | `add` |
//! | DELETE | `change`; and nothing beneath the name is hidden, for `not-empty` would tell of it |
//! | RENAME | `change` at the old name and `add` at the new one, and at all that the table names beneath them |
//! | WITH, CLOSE | nothing |
//!
//! RENAME looks beneath its names since a directory takes along what lies in it. Otherwise who may not read `a/b` could
//! move `a` to where everything may be read.
//!
//! The root, which only LIST can ask for, is a name like any other here.

use ferry_wire::{Name, Request};

use super::{Rights, RightsTable};

/// Whether a request may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It may. A LIST must still be filtered, by [`Place::shows`](super::Place::shows).
    Allowed,
    /// It may as far as is known by now: the step that publishes decides, by what is there.
    Publish(PublishRights),
    /// It may not: the answer is `denied`, and nothing is looked up.
    Denied,
}

/// What an upload may do when it gets its name.
///
/// Whether the name is taken is known for sure in that very step alone, so that is where it has to be decided. At
/// least one of the two is permitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishRights {
    /// The name may be taken or free.
    Any,
    /// The name must be free: nothing is replaced. Where it is taken the answer is `denied`.
    AddOnly,
    /// The name must be taken: nothing is added. Where it is free the answer is `denied`.
    ChangeOnly,
}

impl PublishRights {
    /// The rights to publish of who has `rights` on the name; [`None`] where there are none.
    #[must_use]
    pub fn of(rights: Rights) -> Option<PublishRights> {
        match (rights.has(Rights::ADD), rights.has(Rights::CHANGE)) {
            (true, true) => Some(PublishRights::Any),
            (true, false) => Some(PublishRights::AddOnly),
            (false, true) => Some(PublishRights::ChangeOnly),
            (false, false) => None,
        }
    }

    /// Returns whether an upload may be published under a name that is taken, or that is free.
    #[must_use]
    pub fn permit(self, is_taken: bool) -> bool {
        match self {
            PublishRights::Any => true,
            PublishRights::AddOnly => !is_taken,
            PublishRights::ChangeOnly => is_taken,
        }
    }
}

/// Decides about `request` by the rights of who made it.
#[must_use]
pub fn decide(request: &Request, table: &RightsTable) -> Decision {
    let rights = |name: &Name| table.of(Some(name));
    let allowed = match request {
        Request::Get { name } | Request::Read { name, .. } | Request::Sum { name } => rights(name).has(Rights::READ),
        Request::List { name } => table.at(name.as_ref()).may_list(),
        Request::Stat { name } => {
            let place = table.at(Some(name));
            place.rights().has_any(Rights::LIST | Rights::READ) || place.leads()
        }
        Request::Put { name, .. } | Request::Resume { name, .. } => {
            return PublishRights::of(rights(name)).map_or(Decision::Denied, Decision::Publish);
        }
        Request::Mkdir { name } => rights(name).has(Rights::ADD),
        Request::Delete { name } => {
            let place = table.at(Some(name));
            place.rights().has(Rights::CHANGE) && !place.hides()
        }
        Request::Rename { from, to } => {
            table.at(Some(from)).has_throughout(Rights::CHANGE) && table.at(Some(to)).has_throughout(Rights::ADD)
        }
        Request::With | Request::Close => true,
    };
    if allowed { Decision::Allowed } else { Decision::Denied }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Decision::*, *};

    fn request(line: &str) -> Request {
        Request::parse(line.as_bytes()).unwrap()
    }

    fn table(entries: &[(&str, &str)]) -> RightsTable {
        let entry = |(text, rights): &(&str, &str)| {
            ((!text.is_empty()).then(|| Name::new(text).unwrap()), Rights::parse(rights).unwrap())
        };
        entries.iter().map(entry).collect()
    }

    /// Each request on `x`, with the single rights that suffice for it.
    const NEEDS: [(&str, &[&str]); 12] = [
        ("GET x", &["read"]),
        ("READ 0 * * x", &["read"]),
        ("SUM x", &["read"]),
        ("LIST x", &["list"]),
        ("STAT x", &["list", "read"]),
        ("PUT 1 - x", &["add", "change"]),
        ("RESUME id 1 - x", &["add", "change"]),
        ("MKDIR x", &["add"]),
        ("DELETE x", &["change"]),
        ("RENAME x//y", &[]),
        ("WITH a=b", &["none", "list", "read", "add", "change"]),
        ("CLOSE", &["none", "list", "read", "add", "change"]),
    ];

    #[test]
    fn each_right_permits_its_requests_and_no_others() {
        for (line, suffice) in NEEDS {
            for word in ["none", "list", "read", "add", "change"] {
                let may = decide(&request(line), &table(&[("x", word)])) != Denied;
                assert_eq!(may, suffice.contains(&word), "{line} with {word}");
                let elsewhere = decide(&request(line), &table(&[("", "none"), ("xx", "rw"), ("y", "rw")])) != Denied;
                assert_eq!(elsewhere, suffice.contains(&"none"), "{line} with rights elsewhere");
            }
            assert_ne!(decide(&request(line), &table(&[("", "rw")])), Denied, "{line}");
        }
    }

    #[test]
    fn the_root_is_listed_by_its_own_right_or_by_what_it_leads_to() {
        assert_eq!(decide(&request("LIST"), &table(&[("", "list")])), Allowed);
        assert_eq!(decide(&request("LIST"), &table(&[("", "read")])), Denied);
        assert_eq!(decide(&request("LIST"), &table(&[("a/b", "add")])), Allowed);
        assert_eq!(decide(&request("LIST a"), &table(&[("a/b", "add")])), Allowed);
        assert_eq!(decide(&request("STAT a"), &table(&[("a/b", "add")])), Allowed);
        assert_eq!(decide(&request("LIST a/b"), &table(&[("a/b", "add")])), Denied);
        assert_eq!(decide(&request("GET a"), &table(&[("a/b", "rw")])), Denied);
    }

    #[test]
    fn an_upload_is_decided_by_what_is_there() {
        for (word, rights) in [
            ("w", PublishRights::Any),
            ("drop", PublishRights::AddOnly),
            ("change", PublishRights::ChangeOnly),
            ("r+change", PublishRights::ChangeOnly),
        ] {
            for line in ["PUT 1 - x", "RESUME id 1 - x"] {
                assert_eq!(decide(&request(line), &table(&[("", word)])), Publish(rights));
            }
        }
        for (rights, taken, free) in [
            (PublishRights::Any, true, true),
            (PublishRights::AddOnly, false, true),
            (PublishRights::ChangeOnly, true, false),
        ] {
            assert_eq!((rights.permit(true), rights.permit(false)), (taken, free));
        }
    }

    #[test]
    fn a_rename_needs_change_at_the_old_name_and_add_at_the_new_one() {
        for (old, new, decision) in [
            ("change", "add", Allowed),
            ("add", "change", Denied),
            ("rw", "change+r", Denied),
            ("r+add", "rw", Denied),
            ("none", "none", Denied),
        ] {
            let table = table(&[("old", old), ("new", new)]);
            assert_eq!(decide(&request("RENAME old/a//new/b"), &table), decision, "{old} {new}");
        }
    }

    #[test]
    fn a_directory_takes_nothing_along_that_may_not_be_moved_or_made() {
        let hidden = table(&[("", "rw"), ("a/secret", "none"), ("b/fixed", "r")]);
        for line in ["RENAME a//c", "RENAME c//a", "RENAME b//c", "RENAME c//b", "RENAME a/secret/x//x", "DELETE a"] {
            assert_eq!(decide(&request(line), &hidden), Denied, "{line}");
        }
        for line in ["RENAME c//d", "RENAME a/x//b/x", "DELETE b", "DELETE a/x"] {
            assert_eq!(decide(&request(line), &hidden), Allowed, "{line}");
        }
    }

    fn names() -> impl Strategy<Value = Name> {
        let parts = prop::collection::vec(prop::sample::select(vec!["a", "ab", "b"]), 1..4);
        parts.prop_map(|parts| Name::new(&parts.join("/")).unwrap())
    }

    fn tables() -> impl Strategy<Value = RightsTable> {
        let words = prop::sample::select(vec!["none", "r", "rw", "drop", "list", "read", "change", "w"]);
        let entries = prop::collection::vec((prop::option::of(names()), words), 0..6);
        entries.prop_map(|all| all.into_iter().map(|(name, word)| (name, Rights::parse(word).unwrap())).collect())
    }

    /// A tree in which each file remembers the name that it had at first.
    type Tree = Vec<(String, String)>;

    fn moved(tree: &Tree, from: &str, to: &str) -> Tree {
        let rename = |name: &String| match name.strip_prefix(from) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("{to}{rest}"),
            _ => name.clone(),
        };
        tree.iter().map(|(name, first)| (rename(name), first.clone())).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        /// However a user renames, no file leaves a place where that user may not change, and none comes to one where
        /// that user may not add.
        #[test]
        fn renames_move_only_what_may_be_changed_to_where_it_may_be_added(
            table in tables(),
            renames in prop::collection::vec((names(), names()), 1..6),
        ) {
            let files = ["a", "a/a", "a/b", "ab/b/a", "b", "b/ab", "b/a/b"];
            let mut tree: Tree = files.iter().map(|file| ((*file).to_owned(), (*file).to_owned())).collect();
            for (from, to) in renames {
                let request = Request::Rename { from: from.clone(), to: to.clone() };
                if decide(&request, &table) != Allowed {
                    continue;
                }
                let after = moved(&tree, from.as_str(), to.as_str());
                for ((before, _), (after, _)) in tree.iter().zip(&after).filter(|(before, after)| before != after) {
                    prop_assert!(table.of(Name::new(before).ok().as_ref()).has(Rights::CHANGE), "{} moved", before);
                    prop_assert!(table.of(Name::new(after).ok().as_ref()).has(Rights::ADD), "{} made", after);
                }
                tree = after;
            }
        }

        /// With no right anywhere nothing is allowed but what needs nothing.
        #[test]
        fn denying_is_the_default(from in names(), to in names()) {
            let table = RightsTable::default();
            for request in [
                Request::Get { name: from.clone() },
                Request::Stat { name: from.clone() },
                Request::List { name: None },
                Request::List { name: Some(from.clone()) },
                Request::Put { size: None, mtime: None, name: from.clone() },
                Request::Mkdir { name: from.clone() },
                Request::Delete { name: from.clone() },
                Request::Rename { from, to },
            ] {
                prop_assert_eq!(decide(&request, &table), Denied);
            }
        }
    }
}
