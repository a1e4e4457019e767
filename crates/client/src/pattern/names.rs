//! Patterns that are held against names that are known, and those that make names.

use super::{MAX_PATTERN_BYTES, Pattern, PatternError, Step};

/// The most names that one text makes by its braces.
const MAX_ALTERNATIVES: usize = 4096;

impl Pattern {
    /// Returns whether `last`, one component of a name, matches a pattern of one component. Unlike in a listing, wildcards
    /// mean names that begin with a dot as well, as those of find(1) do.
    #[must_use]
    pub fn is_of(&self, last: &str) -> bool {
        match &self.steps[..] {
            [Step::Literal(literal)] => literal == last,
            [Step::Component(regex, _) | Step::Rest(regex, _)] => regex.is_match(last),
            _ => false,
        }
    }

    /// Returns whether the pattern is about one component, so that [`Pattern::is_of`] can be true.
    #[must_use]
    pub fn is_of_one_component(&self) -> bool {
        self.steps.len() == 1
    }

    /// Returns the texts that the braces in `text` make, as in other shells: `a{b,c}` makes `ab` and `ac`, whatever there
    /// is. No other wildcard has a meaning; a backslash takes the meaning from what follows it. Braces without a comma
    /// stand for themselves.
    ///
    /// # Errors
    ///
    /// More than 4096 bytes, or more than 4096 texts.
    pub fn alternatives(text: &str) -> Result<Vec<String>, PatternError> {
        if text.len() > MAX_PATTERN_BYTES {
            return Err(PatternError(format!("more than {MAX_PATTERN_BYTES} bytes")));
        }
        let mut whole = vec![String::new()];
        let mut rest = text;
        while let Some(character) = rest.chars().next() {
            let after = &rest[character.len_utf8()..];
            let braced = (character == '{').then(|| braces(after)).flatten();
            let (parts, next) = match (character, braced) {
                ('\\', _) => {
                    let meant = after.chars().next().unwrap_or('\\');
                    (vec![meant.to_string()], after.strip_prefix(meant).unwrap_or(after))
                }
                (_, Some((inside, after))) => {
                    let parts = inside.into_iter().map(Pattern::alternatives).collect::<Result<Vec<_>, _>>()?;
                    (parts.concat(), after)
                }
                (character, None) => (vec![character.to_string()], after),
            };
            if whole.len().saturating_mul(parts.len()) > MAX_ALTERNATIVES {
                return Err(PatternError(format!("its braces make more than {MAX_ALTERNATIVES} names")));
            }
            whole = match &parts[..] {
                [only] => {
                    whole.iter_mut().for_each(|begin| begin.push_str(only));
                    whole
                }
                _ => whole.iter().flat_map(|begin| parts.iter().map(move |end| format!("{begin}{end}"))).collect(),
            };
            rest = next;
        }
        Ok(whole)
    }
}

/// Returns the alternatives in braces of which the first was read already, and what stands after them; [`None`] where they
/// do not close, or where there is only one.
fn braces(text: &str) -> Option<(Vec<&str>, &str)> {
    let (mut parts, mut begin, mut depth, mut escaped) = (Vec::new(), 0, 0_usize, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'{' => depth += 1,
            b',' if depth == 0 => {
                parts.push(&text[begin..at]);
                begin = at + 1;
            }
            b'}' if depth == 0 => {
                parts.push(&text[begin..at]);
                return (parts.len() > 1).then_some((parts, &text[at + 1..]));
            }
            b'}' => depth -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_make_names() {
        let made = |text: &str| Pattern::alternatives(text).unwrap();
        assert_eq!(made("a"), ["a"]);
        assert_eq!(made("a{b,c}d"), ["abd", "acd"]);
        assert_eq!(made("{1,2}/{x,y}"), ["1/x", "1/y", "2/x", "2/y"]);
        assert_eq!(made("a{,.d}"), ["a", "a.d"]);
        assert_eq!(made("{a,{b,c}d}"), ["a", "bd", "cd"]);
        assert_eq!(made("{a}"), ["{a}"]);
        assert_eq!(made("{a,b"), ["{a,b"]);
        assert_eq!(made("a}b,*"), ["a}b,*"]);
        assert_eq!(made("\\{a,b}"), ["{a,b}"]);
        assert_eq!(made("{a\\,b,c}"), ["a,b", "c"]);
        assert_eq!(made("\\"), ["\\"]);
        assert_eq!(made("{ä,世}"), ["ä", "世"]);
        assert!(Pattern::alternatives(&"{a,b}".repeat(13)).is_err());
        assert_eq!(made(&"{a,b}".repeat(12)).len(), 4096);
        assert!(Pattern::alternatives(&"{a,".repeat(100_000)).is_err());
    }

    #[test]
    fn a_component_is_held_against_a_pattern() {
        let is_of = |pattern: &str, name: &str| Pattern::new(pattern).unwrap().is_of(name);
        assert!(is_of("*.txt", "a.txt") && is_of("*.txt", ".a.txt") && is_of("a", "a") && is_of("**", ".a"));
        assert!(!is_of("*.txt", "a.txt.gz") && !is_of("a/*", "b") && !is_of("a", "ab"));
        assert!(!Pattern::new("a/*").unwrap().is_of_one_component());
    }
}
