//! The query of a page: order, filter, and where it goes on.

use ferry_wire::Time;

use super::gathered::{Row, RowKind};

/// The longest query that is looked at, in bytes: that of a name that is escaped, and more.
const MAX_QUERY_BYTES: usize = 8 << 10;

/// The column that a page is sorted by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Column {
    /// The name, with numbers in it by their value.
    #[default]
    Name,
    /// The size; directories by name.
    Size,
    /// The time of the last change; unknown ones first.
    Modified,
}

impl Column {
    pub(super) const ALL: [Column; 3] = [Column::Name, Column::Size, Column::Modified];

    /// Returns its word in a query.
    pub(super) fn word(self) -> &'static str {
        match self {
            Column::Name => "name",
            Column::Size => "size",
            Column::Modified => "modified",
        }
    }
}

/// The wishes of a page's query. Made from any text: what is not understood is as if it were not there.
///
/// | key | value |
/// |---|---|
/// | `sort` | `name`, `size` or `modified` |
/// | `order` | `asc` or `desc` |
/// | `filter` | text that names must have, in any case of letters |
/// | `after`, `kind`, `at` | the row before the first one: its name, whether it is a directory, its size or time |
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageQuery {
    pub(super) column: Column,
    pub(super) descending: bool,
    pub(super) filter: String,
    pub(super) after: Option<Row>,
}

impl PageQuery {
    /// Reads a query as it stands in a target.
    #[must_use]
    pub fn parse(query: &str) -> PageQuery {
        let mut parsed = PageQuery::default();
        if query.len() > MAX_QUERY_BYTES {
            return parsed;
        }
        let (mut after, mut is_directory, mut at) = (None, false, None);
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*key {
                "sort" => {
                    parsed.column = Column::ALL.into_iter().find(|column| column.word() == value).unwrap_or_default()
                }
                "order" => parsed.descending = value == "desc",
                "filter" => parsed.filter = value.into_owned(),
                "after" => after = Some(value.into_owned()),
                "kind" => is_directory = value == "directory",
                "at" => at = Some(value.into_owned()),
                _ => {}
            }
        }
        let at = at.as_deref();
        let time = || at.and_then(|at| Time::parse(at.as_bytes()));
        parsed.after = after.map(|name| Row {
            name: name.into(),
            kind: match parsed.column {
                _ if is_directory => RowKind::Directory,
                Column::Size => RowKind::File { size: at.and_then(|at| at.parse().ok()).unwrap_or(0) },
                _ => RowKind::File { size: 0 },
            },
            mtime: if parsed.column == Column::Modified { time() } else { None },
            ..Row::default()
        });
        parsed
    }

    /// Returns the query for the same names in another order: that of `column`, turned around where it is the order
    /// of now.
    pub(super) fn sorted_by(&self, column: Column) -> String {
        let descending = column == self.column && !self.descending;
        PageQuery { column, descending, filter: self.filter.clone(), after: None }.to_the_start()
    }

    /// Returns the query for what comes after a row.
    pub(super) fn going_on_after(&self, row: &Row) -> String {
        let mut encoded = self.pairs();
        encoded.append_pair("after", &row.name);
        match (row.kind, self.column) {
            (RowKind::Directory, _) => drop(encoded.append_pair("kind", "directory")),
            (RowKind::File { size }, Column::Size) => drop(encoded.append_pair("at", &size.to_string())),
            (RowKind::File { .. }, _) => {}
        }
        if let (Column::Modified, Some(time)) = (self.column, row.mtime) {
            encoded.append_pair("at", &format!("{time}"));
        }
        encoded.finish()
    }

    /// Returns the query for the first rows in this order.
    pub(super) fn to_the_start(&self) -> String {
        self.pairs().finish()
    }

    fn pairs(&self) -> form_urlencoded::Serializer<'static, String> {
        let mut pairs = form_urlencoded::Serializer::new(String::new());
        pairs.append_pair("sort", self.column.word());
        pairs.append_pair("order", if self.descending { "desc" } else { "asc" });
        if !self.filter.is_empty() {
            pairs.append_pair("filter", &self.filter);
        }
        pairs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_understood_is_as_if_it_were_not_there() {
        for query in ["", "sort=colour&order=up", "&&=&%", "json=1", &format!("filter={}", "x".repeat(MAX_QUERY_BYTES))]
        {
            assert_eq!(PageQuery::parse(query), PageQuery::default(), "{query:.40}");
        }
        let query = PageQuery::parse("filter=a+%26b%ff&sort=size&order=desc");
        assert_eq!((query.column, query.descending, &*query.filter), (Column::Size, true, "a &b\u{fffd}"));
    }

    #[test]
    fn a_query_is_read_as_it_was_written() {
        let row = |kind, mtime| Row { name: "a&b=c +%ü\u{202e}".into(), kind, mtime, ..Row::default() };
        let time = Time::new(17, 250_000_000);
        for (column, row) in [
            (Column::Name, row(RowKind::Directory, None)),
            (Column::Name, row(RowKind::File { size: 0 }, None)),
            (Column::Size, row(RowKind::File { size: u64::MAX }, None)),
            (Column::Modified, row(RowKind::File { size: 0 }, time)),
            (Column::Modified, row(RowKind::Directory, time)),
            (Column::Modified, row(RowKind::File { size: 0 }, None)),
        ] {
            let query = PageQuery { column, descending: true, filter: "<\"&'>".into(), after: None };
            let expected = PageQuery { after: Some(row.clone()), ..query.clone() };
            assert_eq!(PageQuery::parse(&query.going_on_after(&row)), expected);
            assert_eq!(PageQuery::parse(&query.to_the_start()), query);
            let turned = PageQuery { descending: false, ..query.clone() };
            assert_eq!(PageQuery::parse(&query.sorted_by(column)), turned);
        }
    }
}
