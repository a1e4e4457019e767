//! Conditions of a request, and whether they hold: RFC 9110, section 13.

use ferry_wire::{Tag, Time};

use super::{
    date::HttpDate,
    fields::{Fields, trim},
    status::Refusal,
    tags::{EntityTag, Tags},
};

/// The conditions under which a request is meant.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Conditions {
    if_match: Option<Tags>,
    if_none_match: Option<Tags>,
    if_modified_since: Option<Time>,
    if_unmodified_since: Option<Time>,
    if_range: Option<Box<[u8]>>,
}

/// The version that a name has now.
#[derive(Debug, Clone, Copy)]
pub struct Validators<'a> {
    /// Another one for each version.
    pub tag: &'a Tag,
    /// The time of the last change, where known.
    pub mtime: Option<Time>,
}

/// The result of the conditions of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precondition {
    /// They hold.
    Holds,
    /// The client has this version: 304.
    NotModified,
    /// One does not hold: 412.
    Failed,
}

impl Conditions {
    pub(super) fn of(fields: Fields<'_>) -> Result<Conditions, Refusal> {
        const NAMES: [&str; 5] = ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range"];
        if !fields.may_have_any(NAMES) {
            return Ok(Conditions::default());
        }
        let time = |name| fields.first(name).and_then(HttpDate::parse).map(|HttpDate(time)| time);
        Ok(Conditions {
            if_match: Tags::of(fields, "if-match")?,
            if_none_match: Tags::of(fields, "if-none-match")?,
            // A date that is none is left out: section 13.1.3.
            if_modified_since: time("if-modified-since"),
            if_unmodified_since: time("if-unmodified-since"),
            if_range: fields.first("if-range").map(Into::into),
        })
    }

    /// Returns whether there are none, but for that of a range.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.if_match.is_none()
            && self.if_none_match.is_none()
            && self.if_modified_since.is_none()
            && self.if_unmodified_since.is_none()
    }

    /// Returns whether nothing may be there: `If-None-Match: *`.
    #[must_use]
    pub fn only_if_free(&self) -> bool {
        self.if_none_match == Some(Tags::Any)
    }

    /// Returns whether something must be there: `If-Match`.
    #[must_use]
    pub fn only_if_taken(&self) -> bool {
        self.if_match.is_some()
    }

    /// Returns whether it needs a look at the version that is there: more than [`only_if_free`](Self::only_if_free) and
    /// `If-Match: *` say.
    #[must_use]
    pub fn depends_on_version(&self) -> bool {
        matches!(self.if_match, Some(Tags::Some(_)))
            || matches!(self.if_none_match, Some(Tags::Some(_)))
            || self.if_unmodified_since.is_some()
    }

    /// Returns whether they hold of the version that is there, which is [`None`] where nothing is. `reads` tells a request
    /// that only reads a file.
    #[must_use]
    pub fn check(&self, current: Option<Validators<'_>>, reads: bool) -> Precondition {
        if let Some(tags) = &self.if_match {
            if !current.is_some_and(|current| tags.name(current.tag, false)) {
                return Precondition::Failed;
            }
        } else if let Some(since) = self.if_unmodified_since
            && let Some(mtime) = current.and_then(|current| current.mtime)
            && mtime.seconds() > since.seconds()
        {
            return Precondition::Failed;
        }
        if let Some(tags) = &self.if_none_match {
            if current.is_some_and(|current| tags.name(current.tag, true)) {
                return if reads { Precondition::NotModified } else { Precondition::Failed };
            }
        } else if let Some(since) = self.if_modified_since
            && let Some(mtime) = current.and_then(|current| current.mtime)
            && reads
            && mtime.seconds() <= since.seconds()
        {
            return Precondition::NotModified;
        }
        Precondition::Holds
    }

    /// Returns whether a range may be answered with a part: the client has the rest of this very version, or does not
    /// say. A date never tells that: a file may change twice in a second.
    #[must_use]
    pub fn range_holds(&self, current: Validators<'_>) -> bool {
        match &self.if_range {
            None => true,
            Some(text) => {
                EntityTag::take(trim(text)).is_some_and(|(tag, rest)| rest.is_empty() && tag.is(current.tag, false))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use Precondition::*;

    use super::*;

    fn conditions(lines: &str) -> Result<Conditions, u16> {
        Conditions::of(Fields::of_lines(lines.as_bytes())).map_err(|refusal| refusal.status.number())
    }

    /// Of a file with the tag `a1` that changed at second 784111777.
    #[test]
    fn conditions_are_looked_at_in_their_order() {
        let (same, before, after) =
            ("Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:36 GMT", "Sun, 06 Nov 1994 08:49:38 GMT");
        let tag = Tag::new("a1").unwrap();
        let current = Validators { tag: &tag, mtime: Time::new(784_111_777, 5) };
        for (lines, there, free) in [
            (String::new(), Holds, Holds),
            ("If-Match: *\r\n".into(), Holds, Failed),
            ("If-Match: \"a1\"\r\n".into(), Holds, Failed),
            ("If-Match: \"b\" , ,\"a1\"\r\n".into(), Holds, Failed),
            ("If-Match: \"b\"\r\nIf-Match: \"a1\"\r\n".into(), Holds, Failed),
            ("If-Match: W/\"a1\"\r\n".into(), Failed, Failed),
            ("If-Match: \"a\"\r\n".into(), Failed, Failed),
            ("If-None-Match: *\r\n".into(), NotModified, Holds),
            ("If-None-Match: \"a1\"\r\n".into(), NotModified, Holds),
            ("If-None-Match: W/\"a1\", \"x,y\"\r\n".into(), NotModified, Holds),
            ("If-None-Match: \"x,\"\r\n".into(), Holds, Holds),
            (format!("If-Modified-Since: {same}\r\n"), NotModified, Holds),
            (format!("If-Modified-Since: {before}\r\n"), Holds, Holds),
            (format!("If-Modified-Since: {after}\r\n"), NotModified, Holds),
            (format!("If-None-Match: \"b\"\r\nIf-Modified-Since: {after}\r\n"), Holds, Holds),
            ("If-Modified-Since: yesterday\r\n".into(), Holds, Holds),
            (format!("If-Unmodified-Since: {before}\r\n"), Failed, Holds),
            (format!("If-Unmodified-Since: {same}\r\n"), Holds, Holds),
            (format!("If-Match: \"a1\"\r\nIf-Unmodified-Since: {before}\r\n"), Holds, Failed),
        ] {
            let conditions = conditions(&lines).unwrap();
            assert_eq!(conditions.check(Some(current), true), there, "{lines}");
            assert_eq!(conditions.check(None, true), free, "{lines}");
            let changes = if there == NotModified && lines.contains("If-None-Match") { Failed } else { there };
            let changes = if changes == NotModified { Holds } else { changes };
            assert_eq!(conditions.check(Some(current), false), changes, "{lines}");
        }
    }

    #[test]
    fn tags_that_are_none_are_refused() {
        for value in ["", ",", "a1", "\"a1", "*, \"a\"", "\"a\" \"b\"", "w/\"a\"", "\"a b\"", "\"a\"x", "*,*"] {
            assert_eq!(conditions(&format!("If-Match: {value}\r\n")), Err(400), "{value}");
            assert_eq!(conditions(&format!("If-None-Match: {value}\r\n")), Err(400), "{value}");
        }
        assert_eq!(conditions("If-None-Match: *\r\nIf-None-Match: *\r\n"), Err(400));
    }

    #[test]
    fn a_part_is_sent_of_the_version_that_the_client_has() {
        let tag = Tag::new("a1").unwrap();
        let current = Validators { tag: &tag, mtime: Time::new(784_111_777, 0) };
        for (value, holds) in [
            ("\"a1\"", true),
            ("W/\"a1\"", false),
            ("\"b\"", false),
            ("\"a1\", \"b\"", false),
            ("a1", false),
            ("Sun, 06 Nov 1994 08:49:37 GMT", false),
        ] {
            let conditions = conditions(&format!("If-Range: {value}\r\n")).unwrap();
            assert_eq!(conditions.range_holds(current), holds, "{value}");
            assert!(conditions.is_empty());
        }
        assert!(Conditions::default().range_holds(current));
    }

    #[test]
    fn what_a_change_needs_to_know_of_its_conditions() {
        assert!(conditions("If-None-Match: *\r\n").unwrap().only_if_free());
        assert!(!conditions("If-None-Match: *\r\n").unwrap().depends_on_version());
        assert!(conditions("If-Match: *\r\n").unwrap().only_if_taken());
        assert!(!conditions("If-Match: *\r\n").unwrap().depends_on_version());
        assert!(conditions("If-Match: \"a\"\r\n").unwrap().depends_on_version());
        assert!(conditions("If-None-Match: \"a\"\r\n").unwrap().depends_on_version());
    }
}
