//! The patterns of rsync's rules, each as one regular expression: so a match takes time in proportion to the
//! length of the name, whatever the pattern.

use std::{fmt::Write as _, iter::Peekable, str::Chars};

use regex::Regex;

/// The longest pattern: four times the longest name, as patterns on the command line have it.
const MAX_PATTERN_BYTES: usize = 4096;

/// The classes of characters that have names between `[` and `]`, as a regular expression has them.
const CLASSES: [&str; 12] =
    ["alnum", "alpha", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "xdigit"];

/// A pattern of a rule.
#[derive(Debug, Clone)]
pub(super) struct Glob {
    /// As it was written.
    text: String,
    /// It is for directories alone: it was written with a `/` at its end.
    directories_only: bool,
    matcher: Matcher,
}

#[derive(Debug, Clone)]
enum Matcher {
    /// The last components of a name are these.
    Last(String),
    /// The whole name is this.
    Whole(String),
    Wild(Wild),
}

/// A pattern with wildcards.
#[derive(Debug, Clone)]
struct Wild {
    regex: Regex,
    /// It looks at the last component alone.
    last_only: bool,
    /// The name is looked at with a `/` in front, so that a `**/` matches nothing, too.
    with_slash_before: bool,
    /// The name of a directory is looked at with a `/` at its end, so that a `/***` matches the directory itself.
    with_slash_after: bool,
}

impl Glob {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// Why it is none, as a clause.
    pub(super) fn new(text: &str) -> Result<Glob, String> {
        if text.len() > MAX_PATTERN_BYTES {
            return Err(format!("a pattern has at most {MAX_PATTERN_BYTES} bytes"));
        }
        let (pattern, directories_only) = match text.strip_suffix('/') {
            Some(pattern) => (pattern, true),
            None => (text, false),
        };
        let (anchored, rest) = pattern.strip_prefix('/').map_or((false, pattern), |rest| (true, rest));
        if rest.is_empty() {
            return Err("the pattern is empty".to_owned());
        }
        let matcher = match pattern.contains(['*', '?', '[']) {
            false if anchored => Matcher::Whole(rest.to_owned()),
            false => Matcher::Last(rest.to_owned()),
            true => Matcher::Wild(Wild::new(rest, anchored, pattern.contains('/'))?),
        };
        Ok(Glob { text: text.to_owned(), directories_only, matcher })
    }

    /// Returns the pattern as it was written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Returns whether it begins with a `/`: it is then about names below the directory where it stands.
    pub(super) fn is_anchored(&self) -> bool {
        self.text.starts_with('/')
    }

    /// Returns whether it means `name`.
    pub(super) fn matches(&self, name: &str, is_directory: bool) -> bool {
        if self.directories_only && !is_directory {
            return false;
        }
        match &self.matcher {
            Matcher::Whole(whole) => whole == name,
            Matcher::Last(last) => {
                name.strip_suffix(last.as_str()).is_some_and(|above| above.is_empty() || above.ends_with('/'))
            }
            Matcher::Wild(wild) => wild.matches(name, is_directory),
        }
    }
}

impl Wild {
    fn new(pattern: &str, anchored: bool, has_slash: bool) -> Result<Wild, String> {
        let crosses = pattern.contains("**");
        let last_only = !has_slash && !crosses;
        let begins_crossing = !anchored && pattern.starts_with("**");
        // What may stand before it: nothing, or whole components.
        let before = if anchored || last_only || begins_crossing { "" } else { "(?:.*/)?" };
        let expression = format!(r"\A(?s:{before}{})\z", Translator::translate(pattern)?);
        let too_large = |error| {
            log::debug!("the pattern {pattern:?}: {error}");
            "the pattern is too large".to_owned()
        };
        Ok(Wild {
            regex: Regex::new(&expression).map_err(too_large)?,
            last_only,
            with_slash_before: begins_crossing,
            with_slash_after: pattern.ends_with("***"),
        })
    }

    fn matches(&self, name: &str, is_directory: bool) -> bool {
        let name = if self.last_only { name.rsplit('/').next().unwrap_or(name) } else { name };
        match (self.with_slash_before, self.with_slash_after && is_directory) {
            (false, false) => self.regex.is_match(name),
            (before, after) => {
                let slash = |is_there| if is_there { "/" } else { "" };
                self.regex.is_match(&format!("{}{name}{}", slash(before), slash(after)))
            }
        }
    }
}

/// Writes a pattern as a regular expression.
struct Translator<'a> {
    rest: Peekable<Chars<'a>>,
    out: String,
}

impl Translator<'_> {
    fn translate(pattern: &str) -> Result<String, String> {
        let mut translator = Translator { rest: pattern.chars().peekable(), out: String::new() };
        while let Some(character) = translator.rest.next() {
            match character {
                '\\' => {
                    let meant = translator.rest.next().ok_or("nothing stands after the backslash at its end")?;
                    translator.literal(meant);
                }
                '?' => translator.out.push_str("[^/]"),
                '*' => {
                    let mut crosses = false;
                    while translator.rest.next_if_eq(&'*').is_some() {
                        crosses = true;
                    }
                    translator.out.push_str(if crosses { ".*" } else { "[^/]*" });
                }
                '[' => translator.class()?,
                _ => translator.literal(character),
            }
        }
        Ok(translator.out)
    }

    fn literal(&mut self, character: char) {
        self.out.push_str(&regex::escape(character.encode_utf8(&mut [0; 4])));
    }

    /// Translates what stands after a `[`. No class means a `/`.
    fn class(&mut self) -> Result<(), String> {
        let unclosed = || "a '[' without its ']'".to_owned();
        let negated = self.rest.next_if(|&next| matches!(next, '!' | '^')).is_some();
        let mut members = String::new();
        let mut is_first = true;
        loop {
            let first = match self.rest.next().ok_or_else(unclosed)? {
                ']' if !is_first => break,
                '[' if self.rest.next_if_eq(&':').is_some() => {
                    members.push_str(&self.named_class()?);
                    is_first = false;
                    continue;
                }
                '\\' => self.rest.next().ok_or_else(unclosed)?,
                character => character,
            };
            is_first = false;
            let last = self.end_of_range(first).ok_or_else(unclosed)?;
            if last < first {
                return Err(format!("'{first}-{last}' is no range"));
            }
            // Written out with their numbers, none can mean anything else. Writing to a String can't fail.
            let _ = write!(members, r"\x{{{:x}}}-\x{{{:x}}}", u32::from(first), u32::from(last));
        }
        let negation = if negated { "^" } else { "" };
        let _ = write!(self.out, "[[{negation}{members}]&&[^/]]");
        Ok(())
    }

    /// Returns the last character of the range that begins with `first`, which may be alone; [`None`] where the text ends.
    fn end_of_range(&mut self, first: char) -> Option<char> {
        let mut ahead = self.rest.clone();
        match (ahead.next(), ahead.next()) {
            (Some('-'), Some(last)) if last != ']' => {
                self.rest = ahead;
                if last == '\\' { self.rest.next() } else { Some(last) }
            }
            _ => Some(first),
        }
    }

    /// Translates what stands after a `[:`.
    fn named_class(&mut self) -> Result<String, String> {
        let mut name = String::new();
        while let Some(character) = self.rest.next_if(char::is_ascii_alphabetic) {
            name.push(character);
        }
        match (self.rest.next(), self.rest.next()) {
            (Some(':'), Some(']')) if CLASSES.contains(&&*name) => Ok(format!("[:{name}:]")),
            _ => Err(format!("'[:{name}' begins no class of characters, as [:alpha:] is one")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_to_rsync() {
        for (pattern, yes, no) in [
            ("foo", &["foo", "a/foo", "foo/"][..], &["foobar", "foo/a", "afoo"][..]),
            ("/foo", &["foo"], &["a/foo"]),
            ("foo/bar", &["foo/bar", "a/foo/bar"], &["foo/x/bar", "xfoo/bar"]),
            ("foo/", &["foo/", "a/foo/"], &["foo", "a/foo"]),
            ("*.o", &["a.o", "d/a.o", ".o"], &["a.op", "a.o/b"]),
            ("d/*.o", &["d/a.o", "x/d/a.o"], &["d/x/a.o", "xd/a.o"]),
            ("/*.o", &["a.o"], &["d/a.o"]),
            ("**/foo", &["foo", "a/foo", "a/b/foo"], &["afoo", "foo/a"]),
            ("**foo", &["foo", "xfoo", "a/xfoo"], &["foo/a"]),
            ("foo/**", &["foo/a", "foo/a/b", "x/foo/a"], &["foo", "foo/", "xfoo/a"]),
            ("/foo/**/bar", &["foo/a/bar", "foo/a/b/bar"], &["foo/bar", "x/foo/a/bar"]),
            ("foo/***", &["foo/", "foo/a", "x/foo/"], &["foo", "xfoo/"]),
            ("a**b", &["ab", "a/b", "axb", "x/a/c/b"], &["xab", "a/bc"]),
            ("?", &["a", "d/ä"], &["ab", "a/bc"]),
            ("[a-c]x", &["ax", "d/bx"], &["dx"]),
            ("[!a-c]x", &["dx"], &["ax", "/x"]),
            ("[^a]", &["b"], &["a"]),
            ("[]x]", &["]", "x"], &["[", "a"]),
            ("[[:digit:]x]?", &["0a", "xa"], &["aa", "0"]),
            ("[![:alpha:]]", &["0"], &["a"]),
            ("a/[!x]b", &["a/yb"], &["a//b", "a/xb"]),
            ("[a\\]-]", &["a", "]", "-"], &["\\"]),
            ("foo\\bar", &["foo\\bar"], &["foobar"]),
            ("foo\\bar*", &["foobar", "foobarx"], &["foo\\bar"]),
            ("foo\\*", &["foo*"], &["foox"]),
            ("{a,b}*", &["{a,b}x"], &["a", "b"]),
        ] {
            let glob = Glob::new(pattern).unwrap();
            let matches = |name: &str| match name.strip_suffix('/') {
                Some(directory) => glob.matches(directory, true),
                None => glob.matches(name, false),
            };
            yes.iter().for_each(|name| assert!(matches(name), "{pattern} means {name}"));
            no.iter().for_each(|name| assert!(!matches(name), "{pattern} does not mean {name}"));
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in ["", "/", "//", "[a", "[", "[]", "*\\", "[z-a]", "[[:what:]]", "[[:alpha]]", &"*".repeat(5000)] {
            // Two slashes are one that is only for directories, and is empty.
            assert!(Glob::new(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_pattern_that_would_take_long_takes_no_longer() {
        let glob = Glob::new(&("a*".repeat(200) + "b")).unwrap();
        assert!(!glob.matches(&"a".repeat(255), false));
    }
}
