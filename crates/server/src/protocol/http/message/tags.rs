//! Entity tags: RFC 9110, section 8.8.3.

use ferry_wire::Tag;

use super::{
    fields::{Fields, trim},
    status::{Refusal, StatusCode},
};

/// The tags of a condition: any, or some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tags {
    /// `*`: any version there is.
    Any,
    /// A list that was checked, as it was sent.
    Some(Box<[u8]>),
}

impl Tags {
    /// Returns the tags that the fields `name` hold together, if there is one.
    pub(super) fn of(fields: Fields<'_>, name: &str) -> Result<Option<Tags>, Refusal> {
        let mut values = fields.all(name);
        let Some(first) = values.next() else { return Ok(None) };
        let mut text = first.to_vec();
        for value in values {
            text.extend_from_slice(b",");
            text.extend_from_slice(value);
        }
        if text == b"*" {
            return Ok(Some(Tags::Any));
        }
        let mut list = List(&text);
        let mut tags = 0;
        for tag in list.by_ref() {
            tag.ok_or_else(malformed)?;
            tags += 1;
        }
        if tags == 0 { Err(malformed()) } else { Ok(Some(Tags::Some(text.into()))) }
    }

    /// Returns whether it names `current`. A weak tag counts where `weakly` is true.
    pub(super) fn name(&self, current: &Tag, weakly: bool) -> bool {
        match self {
            Tags::Any => true,
            Tags::Some(text) => List(text).flatten().any(|tag| tag.is(current, weakly)),
        }
    }
}

fn malformed() -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "a condition names tags in quotes, or *")
}

/// One tag of a list.
pub(super) struct EntityTag<'a> {
    is_weak: bool,
    text: &'a [u8],
}

impl<'a> EntityTag<'a> {
    /// Takes a tag off the start of `text`, and returns what is behind it.
    pub(super) fn take(text: &'a [u8]) -> Option<(EntityTag<'a>, &'a [u8])> {
        let (is_weak, text) = match text.strip_prefix(b"W/") {
            Some(text) => (true, text),
            None => (false, text),
        };
        let text = text.strip_prefix(b"\"")?;
        let end = text.iter().position(|&byte| byte == b'"')?;
        let (text, rest) = (&text[..end], &text[end + 1..]);
        let is_plain = text.iter().all(|&byte| byte > b' ' && byte != 0x7f);
        is_plain.then_some((EntityTag { is_weak, text }, rest))
    }

    pub(super) fn is(&self, current: &Tag, weakly: bool) -> bool {
        (weakly || !self.is_weak) && self.text == current.as_str().as_bytes()
    }
}

/// Goes over a list of tags; [`None`] is one that is malformed, after which there are no more.
struct List<'a>(&'a [u8]);

impl<'a> Iterator for List<'a> {
    type Item = Option<EntityTag<'a>>;

    fn next(&mut self) -> Option<Option<EntityTag<'a>>> {
        loop {
            self.0 = trim(self.0);
            match self.0.strip_prefix(b",") {
                Some(rest) => self.0 = rest,
                None => break,
            }
        }
        if self.0.is_empty() {
            return None;
        }
        let Some((tag, rest)) = EntityTag::take(self.0) else {
            self.0 = &[];
            return Some(None);
        };
        let rest = trim(rest);
        if !rest.is_empty() && !rest.starts_with(b",") {
            self.0 = &[];
            return Some(None);
        }
        self.0 = rest;
        Some(Some(tag))
    }
}
