//! The gate: what each request needs, decided before anything is looked up.
//!
//! | request | needs |
//! |---|---|
//! | GET, READ, SUM | `read` |
//! | LIST | `list`, or that the directory leads to something one has a right on; it is filtered either way |
//! | STAT | `list` or `read`, or that the name leads to something one has a right on |
//! | PUT, RESUME, PART | `add` where the name is not there, `change` where it is: known when the upload is published |
//! | MKDIR | `add` |
//! | TOUCH | `change` |
//! | DELETE | `change`; and nothing beneath the name is hidden, for `not-empty` would tell of it |
//! | RENAME | `change` at the old name and `add` at the new one, and at all that the table names beneath them |
//! | SPACE | any right, on any name |
//! | LOGIN, WITH, HEALTH, CLOSE | nothing |
//!
//! RENAME looks beneath its names since a directory takes along what lies in it. Otherwise a user
//! who may not read `a/b` could move `a` to where everything may be read.
//!
//! The root, which only LIST can ask for, is a name like any other here.

use ferry_wire::{Name, Request};

use super::{Rights, RightsTable};

/// Whether a request may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It may. A LIST must still be filtered, by [`Place::shows`](super::Place::shows).
    Allowed,
    /// Allowed as far as is known by now. The step that publishes decides, by what is there then.
    Publish(PublishRights),
    /// It may not: the answer is `denied`, and nothing is looked up.
    Denied,
}

/// The ways in which an upload may get its name.
///
/// Whether the name is taken is known for sure in that very step alone, so that is where it has to
/// be decided. At least one of the two is permitted.
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
    /// Returns the rights to publish that `rights` on the name give; [`None`] where there are none.
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

/// Decides about `request` by the rights of the client that made it.
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
        Request::Put { name, .. } | Request::Resume { name, .. } | Request::Part { name, .. } => {
            return PublishRights::of(rights(name)).map_or(Decision::Denied, Decision::Publish);
        }
        Request::Mkdir { name } => rights(name).has(Rights::ADD),
        Request::Touch { name, .. } => rights(name).has(Rights::CHANGE),
        Request::Delete { name } => {
            let place = table.at(Some(name));
            place.rights().has(Rights::CHANGE) && !place.hides()
        }
        Request::Rename { from, to } => {
            table.at(Some(from)).has_throughout(Rights::CHANGE) && table.at(Some(to)).has_throughout(Rights::ADD)
        }
        // Who may fetch or store anything may know whether there is room; a stranger may not.
        Request::Space => {
            let root = table.at(None);
            root.rights().has_any(Rights::ALL) || root.leads()
        }
        Request::Login { .. } | Request::With(_) | Request::Health | Request::Close => true,
    };
    if allowed { Decision::Allowed } else { Decision::Denied }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

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
    const NEEDS: [(&str, &[&str]); 16] = [
        ("GET x", &["read"]),
        ("READ 0 * * x", &["read"]),
        ("SUM x", &["read"]),
        ("LIST x", &["list"]),
        ("STAT x", &["list", "read"]),
        ("PUT 1 - x", &["add", "change"]),
        ("RESUME id 1 - x", &["add", "change"]),
        ("PART id 0 1 x", &["add", "change"]),
        ("MKDIR x", &["add"]),
        ("DELETE x", &["change"]),
        ("TOUCH 1 x", &["change"]),
        ("RENAME x//y", &[]),
        ("WITH a=b", &["none", "list", "read", "add", "change"]),
        ("LOGIN a b", &["none", "list", "read", "add", "change"]),
        ("HEALTH", &["none", "list", "read", "add", "change"]),
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
    fn space_is_told_to_who_may_do_anything_anywhere() {
        for (entries, decision) in [
            (&[("", "none")][..], Denied),
            (&[], Denied),
            (&[("a", "none")], Denied),
            (&[("", "list")], Allowed),
            (&[("", "none"), ("a/b", "add")], Allowed),
            (&[("", "none"), ("a", "none"), ("a/b/c", "change")], Allowed),
            (&[("", "read"), ("a", "none")], Allowed),
        ] {
            assert_eq!(decide(&request("SPACE"), &table(entries)), decision, "{entries:?}");
        }
    }

    #[test]
    fn an_upload_is_decided_by_what_is_there() {
        for (word, rights) in [
            ("w", PublishRights::Any),
            ("drop", PublishRights::AddOnly),
            ("change", PublishRights::ChangeOnly),
            ("r+change", PublishRights::ChangeOnly),
        ] {
            for line in ["PUT 1 - x", "RESUME id 1 - x", "PART id 0 1 x"] {
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

    fn renamed(name: &str, from: &str, to: &str) -> String {
        match name.strip_prefix(from) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("{to}{rest}"),
            _ => name.to_owned(),
        }
    }

    fn moved(tree: &Tree, from: &str, to: &str) -> Tree {
        tree.iter().map(|(name, first)| (renamed(name, from, to), first.clone())).collect()
    }

    /// A server behind the gate, as small as can be: names with the bytes of files, or [`None`] for
    /// a directory.
    #[derive(Debug, Clone, PartialEq, Eq)]
    struct Served(BTreeMap<String, Option<u8>>);

    impl Served {
        fn kind(&self, name: &str) -> Option<Option<u8>> {
            if name.is_empty() { Some(None) } else { self.0.get(name).copied() }
        }

        fn beneath<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a String> {
            let start = if name.is_empty() { String::new() } else { format!("{name}/") };
            self.0.keys().filter(move |other| other.starts_with(&start))
        }

        fn has_parent(&self, name: &Name) -> bool {
            self.kind(name.parent().unwrap_or("")) == Some(None)
        }

        /// Returns the whole reply, as a client sees it.
        fn answer(&mut self, request: &Request, table: &RightsTable) -> String {
            let decision = decide(request, table);
            if decision == Denied {
                return "denied".into();
            }
            match request {
                Request::Get { name } | Request::Stat { name } => match self.kind(name.as_str()) {
                    None => "not-found".into(),
                    Some(kind) => format!("{kind:?}"),
                },
                Request::List { name } => {
                    let directory = name.as_ref().map_or("", |name| name.as_str());
                    if self.kind(directory) != Some(None) {
                        return format!("{:?} is no directory", self.kind(directory));
                    }
                    let place = table.at(name.as_ref());
                    let start = if directory.is_empty() { 0 } else { directory.len() + 1 };
                    let inside = self.beneath(directory).map(|name| &name[start..]).filter(|name| !name.contains('/'));
                    format!("{:?}", inside.filter(|name| place.shows(name)).collect::<Vec<_>>())
                }
                Request::Put { name, .. } => {
                    let taken = self.kind(name.as_str());
                    match decision {
                        _ if taken == Some(None) => "not-a-file".into(),
                        _ if !self.has_parent(name) => "not-found".into(),
                        Publish(rights) if !rights.permit(taken.is_some()) => "denied".into(),
                        _ => {
                            self.0.insert(name.as_str().into(), Some(b'p'));
                            "saved".into()
                        }
                    }
                }
                Request::Mkdir { name } if self.kind(name.as_str()).is_some() => "exists".into(),
                Request::Mkdir { name } if !self.has_parent(name) => "not-found".into(),
                Request::Mkdir { name } => {
                    self.0.insert(name.as_str().into(), None);
                    "done".into()
                }
                Request::Delete { name } if self.beneath(name.as_str()).next().is_some() => "not-empty".into(),
                Request::Delete { name } => format!("{}", self.0.remove(name.as_str()).is_some()),
                Request::Rename { from, to } => {
                    let inside = to.as_str().starts_with(&format!("{from}/"));
                    if inside || self.kind(from.as_str()).is_none() || !self.has_parent(to) {
                        return "not-found".into();
                    }
                    if self.kind(to.as_str()).is_some() {
                        return "exists".into();
                    }
                    let entries = std::mem::take(&mut self.0).into_iter();
                    self.0 = entries.map(|(name, kind)| (renamed(&name, from.as_str(), to.as_str()), kind)).collect();
                    "done".into()
                }
                _ => String::new(),
            }
        }

        /// Without what nobody may tell the user of: on which there is no right, and which leads nowhere.
        fn without_hidden(&self, table: &RightsTable) -> Served {
            let is_visible = |name: &String| {
                let place = table.at(Name::new(name).ok().as_ref());
                !place.rights().is_none() || place.leads()
            };
            Served(
                self.0.iter().filter(|(name, _)| is_visible(name)).map(|(name, kind)| (name.clone(), *kind)).collect(),
            )
        }
    }

    /// So few names that what matters meets often.
    fn few_names() -> impl Strategy<Value = Name> {
        prop::sample::select(vec!["a", "b", "a/a", "a/b", "b/a", "a/a/b"]).prop_map(|name| Name::new(name).unwrap())
    }

    fn narrow_tables() -> impl Strategy<Value = RightsTable> {
        let words = || prop::sample::select(vec!["none", "none", "rw", "rw", "r", "w", "drop"]);
        let entries = prop::collection::vec((few_names(), words()), 1..4);
        (words(), entries).prop_map(|(root, entries)| {
            let entries = entries.into_iter().map(|(name, word)| (Some(name), word));
            let all = [(None, root)].into_iter().chain(entries);
            all.map(|(name, word)| (name, Rights::parse(word).unwrap())).collect()
        })
    }

    fn served() -> impl Strategy<Value = Served> {
        let kinds = prop::collection::vec(prop::option::of(prop::option::of(any::<u8>())), 6);
        kinds.prop_map(|kinds| {
            let mut served = Served(BTreeMap::new());
            // An entry that lies in no directory is left out.
            for (name, kind) in ["a", "a/a", "a/a/b", "a/b", "b", "b/a"].into_iter().zip(kinds) {
                let (name, Some(kind)) = (Name::new(name).unwrap(), kind) else { continue };
                if served.has_parent(&name) {
                    served.0.insert(name.as_str().into(), kind);
                }
            }
            served
        })
    }

    fn requests() -> impl Strategy<Value = Request> {
        (0..7u8, few_names(), prop::option::of(few_names())).prop_map(|(verb, name, other)| match (verb, other) {
            (0, _) => Request::Get { name },
            (1, _) => Request::Stat { name },
            (2, name) => Request::List { name },
            (3, _) => Request::Put { size: None, mtime: None, name },
            (4, _) => Request::Mkdir { name },
            (5, Some(to)) => Request::Rename { from: name, to },
            _ => Request::Delete { name },
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        /// However a user renames, no file leaves a place where that user may not change, and none
        /// comes to one where that user may not add.
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

        /// All answers are those of a server that does not have the files that are hidden from the
        /// user.
        #[test]
        fn what_is_hidden_might_as_well_not_be_there(
            served in served(),
            table in narrow_tables(),
            requests in prop::collection::vec(requests(), 1..12),
        ) {
            let (mut all, mut less) = (served.clone(), served.without_hidden(&table));
            for request in requests {
                let (told, expected) = (all.answer(&request, &table), less.answer(&request, &table));
                prop_assert_eq!(told, expected, "{:?}", request);
                prop_assert_eq!(&all.without_hidden(&table), &less);
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
