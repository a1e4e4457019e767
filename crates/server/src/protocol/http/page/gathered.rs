//! The rows of a page: the first ones in its order, of any number that come.

use std::cmp::Ordering;

use ferry_wire::Time;

use super::query::{Column, PageQuery};

/// The most rows of one page: what people can look through, and a bound for the memory of a page (some 300 KiB).
pub(super) const MAX_ROWS: usize = 1000;

/// An entry as a page shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Row {
    /// One component.
    pub(super) name: Box<str>,
    pub(super) kind: RowKind,
    pub(super) mtime: Option<Time>,
    /// The viewer may get it, or enter it.
    pub(super) may_open: bool,
    /// The viewer may delete it.
    pub(super) may_delete: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum RowKind {
    #[default]
    Directory,
    File {
        size: u64,
    },
}

/// The sums of all entries that the filter lets through, shown or not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) directories: u64,
    pub(super) files: u64,
    pub(super) bytes: u64,
}

/// See the [module documentation](self).
pub(super) struct Gathered {
    query: PageQuery,
    /// In lower case.
    filter: String,
    /// At most twice [`MAX_ROWS`].
    rows: Vec<Row>,
    /// Rows after [`PageQuery::after`].
    following: u64,
    totals: Totals,
}

impl Gathered {
    pub(super) fn new(query: PageQuery) -> Gathered {
        let filter = query.filter.to_lowercase();
        Gathered { query, filter, rows: Vec::new(), following: 0, totals: Totals::default() }
    }

    pub(super) fn push(&mut self, row: Row) {
        if !self.filter.is_empty() && !row.name.to_lowercase().contains(&self.filter) {
            return;
        }
        match row.kind {
            RowKind::Directory => self.totals.directories += 1,
            RowKind::File { size } => {
                self.totals.files += 1;
                self.totals.bytes = self.totals.bytes.saturating_add(size);
            }
        }
        if self.query.after.as_ref().is_some_and(|after| self.query.compare(&row, after) != Ordering::Greater) {
            return;
        }
        self.following += 1;
        self.rows.push(row);
        if self.rows.len() == 2 * MAX_ROWS {
            self.cut();
        }
    }

    fn cut(&mut self) {
        if self.rows.len() > MAX_ROWS {
            self.rows.select_nth_unstable_by(MAX_ROWS, |one, other| self.query.compare(one, other));
            self.rows.truncate(MAX_ROWS);
        }
    }

    /// Ends the rows. They are in order then.
    pub(super) fn finish(mut self) -> Finished {
        self.cut();
        self.rows.sort_unstable_by(|one, other| self.query.compare(one, other));
        let is_last = self.following == self.rows.len() as u64;
        Finished { query: self.query, rows: self.rows, totals: self.totals, is_last }
    }
}

/// The rows of a page, in order.
pub(super) struct Finished {
    pub(super) query: PageQuery,
    pub(super) rows: Vec<Row>,
    pub(super) totals: Totals,
    /// Nothing comes after them.
    pub(super) is_last: bool,
}

impl PageQuery {
    /// Compares two rows by the order of this query. Directories come first in any, and no two rows are equal.
    fn compare(&self, one: &Row, other: &Row) -> Ordering {
        let is_file = |row: &Row| matches!(row.kind, RowKind::File { .. });
        let size = |row: &Row| match row.kind {
            RowKind::Directory => 0,
            RowKind::File { size } => size,
        };
        let by_column = match self.column {
            Column::Name => Ordering::Equal,
            Column::Size => size(one).cmp(&size(other)),
            Column::Modified => one.mtime.cmp(&other.mtime),
        };
        let ascending = by_column.then_with(|| compare_names(&one.name, &other.name));
        let ordered = if self.descending { ascending.reverse() } else { ascending };
        is_file(one).cmp(&is_file(other)).then(ordered)
    }
}

/// Compares names as people sort them: numbers by their value, letters in any case. What is equal by that is told
/// apart by its bytes.
fn compare_names(one: &str, other: &str) -> Ordering {
    let (mut left, mut right) = (one, other);
    loop {
        let ((a, left_rest), (b, right_rest)) = match (first_part(left), first_part(right)) {
            (Some(a), Some(b)) => (a, b),
            (None, None) => return one.cmp(other),
            (a, b) => return a.is_some().cmp(&b.is_some()),
        };
        match a.compare(&b) {
            Ordering::Equal => (left, right) = (left_rest, right_rest),
            unequal => return unequal,
        }
    }
}

/// A part of a name that is compared as one.
enum NamePart<'a> {
    /// Digits without zeros before them.
    Number(&'a str),
    /// Any other character.
    Letter(char),
}

impl NamePart<'_> {
    fn compare(&self, other: &NamePart<'_>) -> Ordering {
        match (self, other) {
            (NamePart::Number(one), NamePart::Number(other)) => one.len().cmp(&other.len()).then(one.cmp(other)),
            (NamePart::Letter(one), NamePart::Letter(other)) => one.to_lowercase().cmp(other.to_lowercase()),
            (NamePart::Number(_), NamePart::Letter(letter)) => '0'.cmp(letter),
            (NamePart::Letter(letter), NamePart::Number(_)) => letter.cmp(&'0'),
        }
    }
}

fn first_part(name: &str) -> Option<(NamePart<'_>, &str)> {
    let digits = name.len() - name.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
    if digits > 0 {
        let (number, rest) = name.split_at(digits);
        return Some((NamePart::Number(number.trim_start_matches('0')), rest));
    }
    let letter = name.chars().next()?;
    Some((NamePart::Letter(letter), &name[letter.len_utf8()..]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(name: &str, size: u64, second: i64) -> Row {
        let mtime = Time::new(second, 0);
        Row { name: name.into(), kind: RowKind::File { size }, mtime, ..Row::default() }
    }

    fn names(query: &str, rows: impl IntoIterator<Item = Row>) -> Vec<String> {
        let mut gathered = Gathered::new(PageQuery::parse(query));
        rows.into_iter().for_each(|row| gathered.push(row));
        gathered.finish().rows.into_iter().map(|row| row.name.into()).collect()
    }

    #[test]
    fn rows_are_sorted_by_the_column_with_directories_first() {
        let rows = || {
            let directory = |name: &str| Row { name: name.into(), ..Row::default() };
            [file("b2", 5, 1), file("B10", 5, 3), file("a", 9, 2), file("ä", 0, -1), directory("z"), directory("y")]
        };
        for (query, order) in [
            ("", "y z a b2 B10 ä"),
            ("order=desc", "z y ä B10 b2 a"),
            ("sort=size", "y z ä b2 B10 a"),
            ("sort=size&order=desc", "z y a B10 b2 ä"),
            ("sort=modified", "y z ä b2 a B10"),
            ("filter=B", "b2 B10"),
            ("filter=Ä", "ä"),
            ("filter=none", ""),
            ("after=y&kind=directory", "z a b2 B10 ä"),
            ("after=b2", "B10 ä"),
            ("after=b3", "B10 ä"),
            ("sort=size&after=b2&at=5", "B10 a"),
            ("sort=modified&order=desc&after=a&at=2", "b2 ä"),
        ] {
            assert_eq!(names(query, rows()).join(" "), order, "{query}");
        }
    }

    #[test]
    fn pages_show_each_row_once_and_hold_no_more_than_they_may() {
        let count = 3 * MAX_ROWS + 7;
        let all: Vec<Row> = (0..count).map(|n| file(&format!("f{}", (n * 7919) % count), n as u64 % 5, 0)).collect();
        for start in ["", "order=desc", "sort=size", "sort=modified&order=desc"] {
            let (mut query, mut seen, mut pages) = (PageQuery::parse(start), Vec::new(), 0);
            loop {
                let mut gathered = Gathered::new(query.clone());
                for row in &all {
                    gathered.push(row.clone());
                    assert!(gathered.rows.len() < 2 * MAX_ROWS);
                }
                let finished = gathered.finish();
                assert_eq!(finished.totals.files, count as u64);
                pages += 1;
                let last = finished.rows.last().unwrap().clone();
                seen.extend(finished.rows);
                if finished.is_last {
                    break;
                }
                query = PageQuery::parse(&finished.query.going_on_after(&last));
            }
            assert_eq!(pages, 4);
            assert!(seen.is_sorted_by(|one, other| query.compare(one, other) == Ordering::Less), "{start}");
            assert_eq!(seen.len(), count);
        }
    }

    #[test]
    fn names_are_compared_as_people_sort_them() {
        let sorted = ["", "!", "01", "1", "2", "10", "A", "a", "a01", "a1", "a2", "a10b", "B", "é", "\u{1f600}"];
        for pair in sorted.windows(2) {
            assert_eq!(compare_names(pair[0], pair[1]), Ordering::Less, "{pair:?}");
        }
    }

    proptest! {
        #[test]
        fn the_order_of_names_is_a_total_one(names in prop::collection::vec("[a-c0-2A!é~]{0,5}", 3)) {
            let [a, b, c] = [&names[0], &names[1], &names[2]];
            prop_assert_eq!(compare_names(a, b), compare_names(b, a).reverse());
            prop_assert_eq!(compare_names(a, b) == Ordering::Equal, a == b);
            if compare_names(a, b).is_lt() && compare_names(b, c).is_lt() {
                prop_assert!(compare_names(a, c).is_lt());
            }
        }
    }
}
