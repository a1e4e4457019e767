//! The rights of one user on all names.

use std::collections::BTreeMap;

use ferry_wire::Name;

use super::Rights;

/// The rights of one user on all names.
///
/// A table gives rights to names, by whole components; the longest that covers a name decides,
/// whether it gives more rights or fewer. A name that none covers has no right. The root, which has
/// no name, covers all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RightsTable {
    root: Node,
}

/// A name that stands in the table, or on the way to one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Node {
    /// The rights that the table gives to this very name.
    own: Option<Rights>,
    beneath: Beneath,
    below: BTreeMap<Box<str>, Node>,
}

/// A summary of the names of the table beneath one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Beneath {
    /// The rights that all of them have: all rights, where there are no such names.
    common: Rights,
    /// Whether any of them has a right.
    leads: bool,
    /// Whether any of them has none.
    hides: bool,
}

impl Default for Beneath {
    fn default() -> Beneath {
        Beneath { common: Rights::ALL, leads: false, hides: false }
    }
}

impl RightsTable {
    /// Returns a table that gives `rights` to everything.
    #[must_use]
    pub fn everywhere(rights: Rights) -> RightsTable {
        RightsTable { root: Node { own: Some(rights), ..Node::default() } }
    }

    /// Returns the rights on `name`, or on the root.
    #[must_use]
    pub fn of(&self, name: Option<&Name>) -> Rights {
        self.at(name).rights
    }

    /// Returns the rights that the table gives on `name`, or on the root, and beneath it.
    #[must_use]
    pub fn at(&self, name: Option<&Name>) -> Place<'_> {
        let start = Place { node: Some(&self.root), rights: self.root.own.unwrap_or_default() };
        name.into_iter().flat_map(|name| name.as_str().split('/')).fold(start, Place::enter)
    }

    /// Returns a name of the table that has fewer rights than what it lies in, if there is one.
    ///
    /// Where the file system knows an entry under several names (letters whose case does not
    /// matter, FAT's short names), another spelling can evade such a rule. A table without one
    /// gives nothing away there.
    #[must_use]
    pub fn narrows(&self) -> Option<String> {
        let mut path = Vec::new();
        self.root.narrows(Rights::NONE, &mut path).then(|| path.join("/"))
    }

    /// Returns each name of the table with its rights, in order; `""` is the root.
    #[must_use]
    pub fn entries(&self) -> Vec<(String, Rights)> {
        let mut entries = Vec::new();
        self.root.entries("", &mut entries);
        entries
    }
}

/// Each name, or the root, with its rights; of two for one name the later one counts.
impl FromIterator<(Option<Name>, Rights)> for RightsTable {
    fn from_iter<I: IntoIterator<Item = (Option<Name>, Rights)>>(entries: I) -> RightsTable {
        let mut root = Node::default();
        for (name, rights) in entries {
            let components = name.iter().flat_map(|name| name.as_str().split('/'));
            let node = components.fold(&mut root, |node, part| node.below.entry(part.into()).or_default());
            node.own = Some(rights);
        }
        root.sum_up();
        RightsTable { root }
    }
}

impl Node {
    /// Works out anew the facts about the names beneath. A name cannot have so many components that
    /// this goes too deep.
    fn sum_up(&mut self) {
        let mut sum = Beneath::default();
        for node in self.below.values_mut() {
            node.sum_up();
            let below = node.beneath;
            let own = node.own.unwrap_or(Rights::ALL);
            sum.common = sum.common.shared(below.common).shared(own);
            sum.leads |= below.leads || node.own.is_some_and(|own| !own.is_none());
            sum.hides |= below.hides || node.own.is_some_and(Rights::is_none);
        }
        self.beneath = sum;
    }

    /// Returns whether a name here or beneath has fewer rights than `outer`; `path` then leads to it.
    fn narrows<'a>(&'a self, outer: Rights, path: &mut Vec<&'a str>) -> bool {
        let rights = self.own.unwrap_or(outer);
        !rights.has(outer)
            || self.below.iter().any(|(component, node)| {
                path.push(component);
                let found = node.narrows(rights, path);
                if !found {
                    path.pop();
                }
                found
            })
    }

    fn entries(&self, name: &str, entries: &mut Vec<(String, Rights)>) {
        entries.extend(self.own.map(|own| (name.to_owned(), own)));
        for (component, node) in &self.below {
            let separator = if name.is_empty() { "" } else { "/" };
            node.entries(&format!("{name}{separator}{component}"), entries);
        }
    }
}

/// A name, as a [`RightsTable`] sees it.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// [`None`] where the table names nothing here or beneath.
    node: Option<&'a Node>,
    rights: Rights,
}

impl<'a> Place<'a> {
    /// Returns what the table says of `component` in this directory.
    #[must_use]
    pub fn enter(self, component: &str) -> Place<'a> {
        let node = self.node.and_then(|node| node.below.get(component));
        Place { node, rights: node.and_then(|node| node.own).unwrap_or(self.rights) }
    }

    /// Returns the rights on this name.
    #[must_use]
    pub fn rights(self) -> Rights {
        self.rights
    }

    /// Returns whether something beneath this name is given rights of its own: then this name, too,
    /// may be seen.
    #[must_use]
    pub fn leads(self) -> bool {
        self.node.is_some_and(|node| node.beneath.leads)
    }

    /// Returns whether something beneath this name is given no right, so that nothing may tell that
    /// it is there.
    #[must_use]
    pub fn hides(self) -> bool {
        self.node.is_some_and(|node| node.beneath.hides)
    }

    /// Returns whether the whole tree beneath this name may be moved or made where that needs
    /// `rights`: they are held here and wherever the table says something else beneath.
    #[must_use]
    pub fn has_throughout(self, rights: Rights) -> bool {
        self.rights.has(rights) && self.node.is_none_or(|node| node.beneath.common.has(rights))
    }

    /// Returns whether this directory may be listed: there is `list` on it, or it
    /// [leads](Place::leads) to something. The listing then holds what it [shows](Place::shows).
    #[must_use]
    pub fn may_list(self) -> bool {
        self.rights.has(Rights::LIST) || self.leads()
    }

    /// Returns whether a listing of this directory holds `component`.
    ///
    /// It does where the table gives rights to that very name, or to something beneath it. All else
    /// in the directory is shown by the directory's own `list`.
    #[must_use]
    pub fn shows(self, component: &str) -> bool {
        let inherited = self.rights.has(Rights::LIST);
        match self.node.and_then(|node| node.below.get(component)) {
            None => inherited,
            Some(node) => node.beneath.leads || node.own.map_or(inherited, |own| !own.is_none()),
        }
    }

    /// Returns whether a listing of this directory holds everything, so that no entry need be looked at.
    #[must_use]
    pub fn shows_all(self) -> bool {
        self.rights.has(Rights::LIST) && self.node.is_none_or(|node| node.below.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn table(entries: &[(&str, &str)]) -> RightsTable {
        let entry =
            |(text, rights): &(&str, &str)| ((!text.is_empty()).then(|| name(text)), Rights::parse(rights).unwrap());
        entries.iter().map(entry).collect()
    }

    #[test]
    fn the_longest_name_that_covers_by_whole_components_decides() {
        let table = table(&[("", "r"), ("projects", "rw"), ("projects/secret", "none"), ("inbox", "drop")]);
        for (text, rights) in [
            ("a", "r"),
            ("projects", "rw"),
            ("projects/a/b", "rw"),
            ("projectsx", "r"),
            ("project", "r"),
            ("projects/secret", "none"),
            ("projects/secret/a", "none"),
            ("projects/secrets", "rw"),
            ("inbox/a", "drop"),
            ("Inbox/a", "r"),
        ] {
            assert_eq!(table.of(Some(&name(text))), Rights::parse(rights).unwrap(), "{text}");
        }
        assert_eq!(table.of(None), Rights::parse("r").unwrap());
        assert_eq!(RightsTable::default().of(None), Rights::NONE, "denying is the default");
        assert_eq!(RightsTable::default().of(Some(&name("a"))), Rights::NONE);
    }

    #[test]
    fn a_listing_shows_what_one_may_do_something_with_and_what_leads_there() {
        let far = table(&[("a/b/c", "read"), ("a/x", "none"), ("inbox", "drop"), ("inbox/open", "r")]);
        let root = far.at(None);
        assert!(root.may_list() && root.shows("a") && root.shows("inbox") && !root.shows("b"));
        let a = far.at(Some(&name("a")));
        assert!(a.may_list() && a.shows("b") && !a.shows("x") && !a.shows("y"));
        // A drop box shows no file that was dropped, although its user has a right there.
        let inbox = far.at(Some(&name("inbox")));
        assert!(inbox.may_list() && inbox.shows("open") && !inbox.shows("somebody's"));
        assert!(!far.at(Some(&name("a/x"))).may_list());
        let wide = table(&[("", "r"), ("hidden", "none"), ("inbox", "drop")]);
        let root = wide.at(None);
        assert!(root.shows("any") && root.shows("inbox") && !root.shows("hidden") && !root.shows_all());
        assert!(wide.at(Some(&name("any"))).shows_all());
        assert!(!wide.at(Some(&name("inbox"))).may_list());
        // On the way to a name without rights there is nothing to see.
        assert!(!table(&[("a/b", "none")]).at(None).shows("a"));
    }

    #[test]
    fn a_table_that_takes_rights_away_says_where() {
        assert_eq!(table(&[("", "r"), ("a", "rw"), ("a/b", "rw")]).narrows(), None);
        assert_eq!(table(&[("", "r"), ("a/b", "drop")]).narrows(), Some("a/b".into()));
        assert_eq!(table(&[("a", "rw"), ("a/b/c", "none")]).narrows(), Some("a/b/c".into()));
        assert_eq!(RightsTable::default().narrows(), None);
    }

    /// The meaning of a table, computed as naively as can be.
    #[derive(Debug, Clone)]
    struct Model(Vec<(String, Rights)>);

    impl Model {
        fn of(&self, name: &str) -> Rights {
            let covering = self.0.iter().filter(|(key, _)| covers(key, name));
            covering.max_by_key(|(key, _)| key.len()).map_or(Rights::NONE, |(_, rights)| *rights)
        }

        fn beneath(&self, name: &str) -> impl Iterator<Item = Rights> {
            self.0.iter().filter(move |(key, _)| key != name && covers(name, key)).map(|(_, rights)| *rights)
        }

        fn leads(&self, name: &str) -> bool {
            self.beneath(name).any(|rights| !rights.is_none())
        }

        fn shows(&self, directory: &str, component: &str) -> bool {
            let name = if directory.is_empty() { component.to_owned() } else { format!("{directory}/{component}") };
            let own = self.0.iter().any(|(key, rights)| *key == name && !rights.is_none());
            own || self.leads(&name) || (self.of(directory).has(Rights::LIST) && !self.of(&name).is_none())
        }
    }

    fn covers(key: &str, name: &str) -> bool {
        key.is_empty() || key == name || name.strip_prefix(key).is_some_and(|rest| rest.starts_with('/'))
    }

    /// Returns names that meet often, some of them as text and not by components.
    fn names() -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(vec!["a", "ab", "b"]), 0..4).prop_map(|parts| parts.join("/"))
    }

    fn rights() -> impl Strategy<Value = Rights> {
        let singles = prop::sample::subsequence(vec!["list", "read", "add", "change"], 0..=4);
        singles.prop_map(|words| Rights::of_words(words).unwrap())
    }

    fn models() -> impl Strategy<Value = Model> {
        let entries = prop::collection::btree_map(names(), rights(), 0..7);
        // As often as not there is no right.
        let entries = entries.prop_map(|entries| entries.into_iter().collect::<Vec<_>>());
        (entries, any::<u64>()).prop_map(|(mut entries, none)| {
            for (at, (_, rights)) in entries.iter_mut().enumerate() {
                if none >> at & 1 == 1 {
                    *rights = Rights::NONE;
                }
            }
            Model(entries)
        })
    }

    fn built(model: &Model) -> RightsTable {
        model.0.iter().map(|(key, rights)| ((!key.is_empty()).then(|| name(key)), *rights)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_table_is_its_model(model in models(), text in names(), component in "a|ab|b") {
            let table = built(&model);
            let place = table.at((!text.is_empty()).then(|| name(&text)).as_ref());
            prop_assert_eq!(place.rights(), model.of(&text));
            prop_assert_eq!(place.leads(), model.leads(&text));
            prop_assert_eq!(place.hides(), model.beneath(&text).any(Rights::is_none));
            prop_assert_eq!(place.shows(&component), model.shows(&text, &component));
            for rights in [Rights::LIST, Rights::READ, Rights::ADD, Rights::CHANGE, Rights::ALL] {
                let beneath = model.beneath(&text).all(|these| these.has(rights));
                prop_assert_eq!(place.has_throughout(rights), model.of(&text).has(rights) && beneath);
            }
            if place.shows_all() {
                prop_assert!(["a", "ab", "b", "other"].iter().all(|component| place.shows(component)));
            }
            let entries = table.entries();
            prop_assert_eq!(entries.len(), model.0.len());
            prop_assert!(entries.iter().all(|entry| model.0.contains(entry)));
        }

        #[test]
        fn a_table_that_narrows_nothing_gives_more_the_deeper_one_goes(model in models(), text in names()) {
            let table = built(&model);
            if table.narrows().is_none() && !text.is_empty() {
                let inner = name(&text);
                let outer = inner.parent().map(name);
                prop_assert!(table.of(Some(&inner)).has(table.of(outer.as_ref())));
            }
        }
    }
}
