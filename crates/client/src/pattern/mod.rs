//! Names with wildcards. The server knows none: the client looks through the directories that can match.

mod find;
mod names;
mod translate;

use std::path::Path;

use regex::Regex;

pub(crate) use find::remote;

/// The longest pattern: four times the longest name, for braces and backslashes.
const MAX_PATTERN_BYTES: usize = 4096;

/// A name in which `*` stands for any run of characters, `?` for one, `[a-z]` and `[!a-z]` for one of a set, `{a,b}`
/// for either, none of them for a `/`; and `**` as a whole component for any number of directories. A backslash takes
/// the meaning from what follows it.
///
/// As in a shell, a name that begins with a dot is only meant by a component that begins with one, and `**` does not
/// go into such directories. Matching takes time in proportion to the length of the name, whatever the pattern.
#[derive(Debug, Clone)]
pub struct Pattern {
    steps: Vec<Step>,
}

/// One step of a comparison.
#[derive(Debug, Clone)]
enum Step {
    /// Exactly this.
    Literal(String),
    /// One component; the flag says whether a hidden one is meant.
    Component(Regex, bool),
    /// All that is left of a name. Always the last step.
    Rest(Regex, bool),
}

/// A text that is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a pattern: {0}")]
pub struct PatternError(String);

impl Pattern {
    /// Reads a pattern; it is relative to some directory.
    ///
    /// # Errors
    ///
    /// Brackets or braces that do not close, an empty component, one that is `.` or `..`, a pattern of more than 4096
    /// bytes or one that takes too much memory.
    pub fn new(text: &str) -> Result<Pattern, PatternError> {
        if text.len() > MAX_PATTERN_BYTES {
            return Err(PatternError(format!("more than {MAX_PATTERN_BYTES} bytes")));
        }
        let mut steps = Vec::new();
        let mut rest = text;
        loop {
            let (component, after) = split_component(rest);
            if component.contains('/') || component == "**" {
                steps.push(Step::Rest(compile(rest)?, rest.split('/').any(|component| component.starts_with('.'))));
                break;
            }
            steps.push(step(component)?);
            match after {
                Some(after) => rest = after,
                None => break,
            }
        }
        Ok(Pattern { steps })
    }

    /// Splits a text where its first component with a wildcard begins: the directory before it, as it is called, with
    /// its `/`; and the rest, which may be a pattern. That directory may be anything: `/`, `../`, or nothing at all.
    #[must_use]
    pub fn split(text: &str) -> (String, &str) {
        let (mut directory, mut rest) = (String::new(), text);
        while let (component, Some(after)) = split_component(rest)
            && let Some(component) = literal(component)
        {
            directory.push_str(&component);
            directory.push('/');
            rest = after;
        }
        (directory, rest)
    }

    /// Takes the steps from `index` on that need no looking; returns how far that leads, and along what.
    fn advance(&self, mut index: usize) -> (usize, Vec<&str>) {
        let mut along = Vec::new();
        while index + 1 < self.steps.len()
            && let Step::Literal(text) = &self.steps[index]
        {
            along.push(text.as_str());
            index += 1;
        }
        (index, along)
    }
}

impl Step {
    /// Returns whether `component` matches. One that is not UTF-8 is compared as it is shown, so that `*` finds it too.
    fn takes(&self, component: &Path) -> bool {
        let text = component.to_string_lossy();
        match self {
            Step::Literal(literal) => *literal == text,
            Step::Component(regex, hidden) => (*hidden || !is_hidden(component)) && regex.is_match(&text),
            Step::Rest(regex, _) => regex.is_match(&text),
        }
    }
}

fn is_hidden(component: &Path) -> bool {
    component.as_os_str().as_encoded_bytes().starts_with(b".")
}

/// Returns the first component, and the text after its `/`. A `/` within braces separates nothing.
fn split_component(text: &str) -> (&str, Option<&str>) {
    let mut depth = 0_usize;
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            b'/' if depth == 0 => return (&text[..at], Some(&text[at + 1..])),
            _ => {}
        }
    }
    (text, None)
}

fn step(component: &str) -> Result<Step, PatternError> {
    match literal(component) {
        Some(text) => match text.as_str() {
            "" => Err(PatternError("a component is empty".to_owned())),
            "." | ".." => Err(PatternError("a component is '.' or '..'".to_owned())),
            _ => Ok(Step::Literal(text)),
        },
        None => Ok(Step::Component(compile(component)?, component.starts_with('.'))),
    }
}

/// Returns what a component stands for; [`None`] where it has wildcards.
fn literal(component: &str) -> Option<String> {
    let mut text = String::with_capacity(component.len());
    let mut characters = component.chars();
    while let Some(character) = characters.next() {
        match character {
            '*' | '?' | '[' | '{' => return None,
            '\\' => text.push(characters.next().unwrap_or('\\')),
            _ => text.push(character),
        }
    }
    Some(text)
}

fn compile(text: &str) -> Result<Regex, PatternError> {
    let too_large = |error| {
        log::debug!("the pattern {text:?}: {error}");
        PatternError("it is too large".to_owned())
    };
    Regex::new(&translate::translate(text)?).map_err(too_large)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, component: &str) -> bool {
        Pattern::new(pattern).unwrap().steps[0].takes(Path::new(component))
    }

    #[test]
    fn wildcards_match_within_a_component() {
        for (pattern, yes, no) in [
            ("*.txt", &["a.txt", "ä b.txt"][..], &["a.txt.gz", ".txt", ".a.txt", "txt"][..]),
            ("?", &["a", "ä", "世"], &["ab", "", "."]),
            ("[a-c]*", &["a", "bx"], &["d", "A"]),
            ("[!a-c]*", &["d", "世"], &["a", ".x"]),
            ("{a,b}?", &["ax", "by"], &["a", "cx", "{a,b}x"]),
            ("a{,.gz}", &["a", "a.gz"], &["a.", "b"]),
            ("\\*", &["*"], &["a", "\\*"]),
            ("a\\?*", &["a?", "a?b"], &["ab"]),
            (".*", &[".a", ".ferr"], &["a"]),
            ("[äöü]?", &["äa", "ü世"], &["a", "ä", "aa"]),
            ("[]a]", &["]", "a"], &["b"]),
            ("[a\\]-]", &["a", "]", "-"], &["\\"]),
            ("[!?*.]", &["a"], &["?", "*", "/"]),
            ("***", &["a"], &["a/b"]),
            ("a**", &["a", "ab"], &["a/b"]),
            ("a}b,?", &["a}b,c"], &["a"]),
            ("(a|b)+.^$*", &["(a|b)+.^$x"], &["a"]),
            ("**", &["a", "a/b"], &[""]),
            ("**/a", &["a", "b/a", "b/c/a"], &["ba", "b/a/c"]),
            ("**/*.{md,txt}", &["a.md", "b/a.txt"], &["a.mdx", "a/b"]),
            ("{a/**,b}", &["a/x/y", "b"], &["a", "b/x", "a/"]),
            ("{**/x,y}", &["x", "a/x", "y"], &["a/y"]),
        ] {
            for name in yes {
                assert!(matches(pattern, name), "{pattern} means {name}");
            }
            for name in no {
                assert!(!matches(pattern, name), "{pattern} does not mean {name}");
            }
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in [
            "",
            "a//*",
            "/*",
            "*/",
            "./*",
            "*/../a",
            "[a",
            "[",
            "[]",
            "[a-",
            "[!",
            "a{b",
            "*/[a/b]",
            "[z-a]",
            "[\\",
            &"*".repeat(5000),
        ] {
            assert!(Pattern::new(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_directory_before_a_wildcard_is_told_apart() {
        for (text, directory, rest) in [
            ("*.txt", "", "*.txt"),
            ("a/b/*", "a/b/", "*"),
            ("/*/b", "/", "*/b"),
            ("../a\\*/x?/y", "../a*/", "x?/y"),
            ("a/{b/c,d}", "a/", "{b/c,d}"),
        ] {
            assert_eq!(Pattern::split(text), (directory.to_owned(), rest), "{text}");
        }
    }

    #[test]
    fn a_pattern_that_would_take_long_takes_no_longer() {
        // With backtracking this would take longer than anybody waits.
        let pattern = "a*".repeat(200) + "b";
        assert!(!matches(&pattern, &"a".repeat(255)));
        let braces = "{a,b}".repeat(100);
        assert!(!matches(&braces, &"b".repeat(99)));
    }

    proptest! {
        #[test]
        fn any_text_is_a_pattern_or_none(text in "([a-c.]|[*?/{},!^-]|\\[|\\]|\\\\|ä){0,20}", name in "[a-cä.]{1,9}") {
            let (directory, rest) = Pattern::split(&text);
            prop_assert!(directory.is_empty() || directory.ends_with('/'));
            if let Ok(pattern) = Pattern::new(rest) {
                pattern.steps.iter().for_each(|step| { step.takes(Path::new(&name)); });
            }
        }

        #[test]
        fn what_is_escaped_means_itself(name in "\\PC{1,20}") {
            let escaped: String = name.chars().flat_map(|c| ['\\', c]).collect();
            let pattern = translate::translate(&escaped).map(|text| Regex::new(&text).unwrap());
            prop_assert!(pattern.unwrap().is_match(&name));
        }
    }
}
