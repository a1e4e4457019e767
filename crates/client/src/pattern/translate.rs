//! From a pattern to a regular expression, which takes linear time and counts characters, not bytes.

use std::{fmt::Write as _, iter::Peekable, str::Chars};

use super::PatternError;

/// The regular expression that matches what `pattern` does, anchored at both ends.
pub(super) fn translate(pattern: &str) -> Result<String, PatternError> {
    let mut translator =
        Translator { rest: pattern.chars().peekable(), out: String::from(r"\A(?s:"), depth: 0, at_component: true };
    translator.run()?;
    if translator.depth > 0 {
        return Err(PatternError("a '{' without its '}'".to_owned()));
    }
    translator.out.push_str(r")\z");
    Ok(translator.out)
}

struct Translator<'a> {
    rest: Peekable<Chars<'a>>,
    out: String,
    /// Braces that are open.
    depth: usize,
    /// Nothing of a component was read yet.
    at_component: bool,
}

impl Translator<'_> {
    fn run(&mut self) -> Result<(), PatternError> {
        while let Some(character) = self.rest.next() {
            let begins = std::mem::replace(&mut self.at_component, false);
            match character {
                '\\' => {
                    let meant = self.rest.next().unwrap_or('\\');
                    self.literal(meant);
                }
                '?' => self.out.push_str("[^/]"),
                '*' => self.stars(begins),
                '[' => self.class()?,
                '{' => {
                    self.depth += 1;
                    self.out.push_str("(?:");
                    self.at_component = begins;
                }
                ',' if self.depth > 0 => {
                    self.out.push('|');
                    // Only a whole alternative can be `**` or begin with it.
                    self.at_component = true;
                }
                '}' if self.depth > 0 => {
                    self.depth -= 1;
                    self.out.push(')');
                }
                '/' => {
                    self.out.push('/');
                    self.at_component = true;
                }
                _ => self.literal(character),
            }
        }
        Ok(())
    }

    fn stars(&mut self, begins: bool) {
        let mut count = 1;
        while self.rest.next_if_eq(&'*').is_some() {
            count += 1;
        }
        let whole = begins && count == 2;
        match self.rest.peek() {
            Some('/') if whole => {
                self.rest.next();
                self.out.push_str("(?:[^/]+/)*");
                self.at_component = true;
            }
            None => self.out.push_str(if whole { ".+" } else { "[^/]*" }),
            Some(',' | '}') if whole && self.depth > 0 => self.out.push_str(".+"),
            Some(_) => self.out.push_str("[^/]*"),
        }
    }

    fn class(&mut self) -> Result<(), PatternError> {
        let unclosed = || PatternError("a '[' without its ']'".to_owned());
        let negated = self.rest.next_if(|&next| matches!(next, '!' | '^')).is_some();
        // A run of characters and ranges; written out with their numbers, none can mean anything else.
        let mut ranges: Vec<(char, char)> = Vec::new();
        loop {
            let first = match self.rest.next().ok_or_else(unclosed)? {
                ']' if !ranges.is_empty() => break,
                '\\' => self.rest.next().ok_or_else(unclosed)?,
                '/' => return Err(PatternError("a '/' between '[' and ']'".to_owned())),
                character => character,
            };
            let mut ahead = self.rest.clone();
            let last = match (ahead.next(), ahead.next()) {
                (Some('-'), Some(last)) if last != ']' => {
                    self.rest = ahead;
                    if last == '\\' { self.rest.next().ok_or_else(unclosed)? } else { last }
                }
                _ => first,
            };
            if last < first {
                return Err(PatternError(format!("'{first}-{last}' is no range")));
            }
            ranges.push((first, last));
        }
        self.out.push_str(if negated { "[^/" } else { "[" });
        for (first, last) in ranges {
            // Writing to a String can't fail.
            let _ = write!(self.out, r"\x{{{:x}}}-\x{{{:x}}}", u32::from(first), u32::from(last));
        }
        self.out.push(']');
        Ok(())
    }

    fn literal(&mut self, character: char) {
        self.out.push_str(&regex::escape(character.encode_utf8(&mut [0; 4])));
    }
}
