//! A line taken apart into words.
//!
//! Made so that what people type as one name mostly is one without any quoting: a quote counts only where a
//! word begins and another one ends the word (`it's` is a name), and a backslash only before a character that
//! would mean something ([`ESCAPABLE`]).

use std::ops::Range;

/// What a backslash takes its meaning from; before anything else it stands for itself.
const ESCAPABLE: &[char] = &[' ', '"', '\'', '\\', '*', '?', '[', ']', '{', '}'];

/// What makes a word a pattern where it stands unquoted.
const GLOB: &[char] = &['*', '?', '[', '{'];

/// What a pattern gives a meaning to.
const SPECIAL_IN_PATTERN: &[char] = &['*', '?', '[', ']', '{', '}', ',', '\\'];

/// One word of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    /// Where it stands in the line, its quotes included: bytes.
    pub(crate) range: Range<usize>,
    /// What it says, without quotes and backslashes.
    pub(crate) text: String,
    /// What it says as a pattern, in which all that was quoted stands for itself; [`None`] without an unquoted
    /// `*`, `?`, `[` or `{`.
    pub(crate) pattern: Option<String>,
    /// A quote or a backslash took part: it is neither an option nor an arrow.
    pub(crate) quoted: bool,
}

impl Word {
    /// A word that says `text`, whatever is in it.
    pub(crate) fn literal(text: impl Into<String>) -> Word {
        Word { range: 0..0, text: text.into(), pattern: None, quoted: true }
    }

    /// A word that says `text`, which is a pattern if there is a wildcard in it: what another shell has taken apart.
    pub(crate) fn argument(text: impl Into<String>) -> Word {
        let word = Word::literal(text);
        let pattern = bare_word(&word.text, 0, |_| false).pattern;
        Word { pattern, ..word }
    }

    /// Whether it stands there as it is, unquoted, and is `text`.
    pub(crate) fn is(&self, text: &str) -> bool {
        !self.quoted && self.text == text
    }
}

/// Takes `line` apart at white space outside quotes.
pub(crate) fn split(line: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut at = 0;
    loop {
        at += line[at..].len() - line[at..].trim_start().len();
        if at == line.len() {
            return words;
        }
        let word = next_word(line, at);
        at = word.range.end;
        words.push(word);
    }
}

/// The text to type for a word that says `text`, with backslashes and no quote around it; [`None`] where only quotes help.
pub(crate) fn escape(text: &str) -> Option<String> {
    let out_of_reach = |character: char| character.is_whitespace() && !ESCAPABLE.contains(&character);
    if text.is_empty() || text.starts_with(['-', '!']) || text.contains(out_of_reach) {
        return None;
    }
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if ESCAPABLE.contains(&character) {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    Some(escaped)
}

/// Whether a backslash can stand before it.
pub(crate) fn is_escapable(character: char) -> bool {
    ESCAPABLE.contains(&character)
}

/// What stands behind a quote that `text` begins with and that nothing closes.
pub(crate) fn behind_open_quote(text: &str) -> Option<&str> {
    let open = text.starts_with(['"', '\'']) && quoted_end(text, 0, |_| false).is_none();
    text.get(1..).filter(|rest| open && !rest.is_empty())
}

/// The text to type for a word that says `text`: as it is where that is enough.
pub(crate) fn quote(text: &str) -> String {
    if !needs_quoting(text) {
        return text.to_owned();
    }
    if !text.contains('\'') {
        return format!("'{text}'");
    }
    let mut quoted = String::from('"');
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('"');
    quoted
}

fn needs_quoting(text: &str) -> bool {
    let means_something = |character: char| {
        character.is_whitespace() || character == ';' || character == ',' || ESCAPABLE.contains(&character)
    };
    text.is_empty() || text.starts_with(['-', '!']) || text.contains(means_something)
}

/// Parts a script into commands, at each `;` outside quotes. Their first words are verbs and never quoted.
pub(crate) fn split_script(script: &str) -> Vec<&str> {
    let mut commands = Vec::new();
    let mut rest = script;
    loop {
        let end = end_of_command(rest);
        commands.push(&rest[..end]);
        match rest.get(end + 1..) {
            Some(behind) => rest = behind,
            None => return commands,
        }
    }
}

fn end_of_command(script: &str) -> usize {
    let verb = script.len() - script.trim_start().len();
    let mut at = script[verb..].find(|c: char| c == ';' || c.is_whitespace()).map_or(script.len(), |end| verb + end);
    let mut begins_word = false;
    while let Some(character) = script[at..].chars().next() {
        if character == ';' {
            return at;
        }
        let quoted = (begins_word && matches!(character, '"' | '\''))
            .then(|| quoted_end(script, at, |behind| behind == ';'))
            .flatten();
        begins_word = character.is_whitespace();
        at = quoted.unwrap_or(at + character.len_utf8());
    }
    script.len()
}

/// Behind the quote that closes the one at `at`; [`None`] where none does. It must end its word, or stand before
/// something that `ends` as well.
fn quoted_end(line: &str, at: usize, ends: impl Fn(char) -> bool) -> Option<usize> {
    let quote = line[at..].chars().next()?;
    let mut escaped = false;
    for (offset, character) in line[at..].char_indices().skip(1) {
        let end = at + offset + character.len_utf8();
        if escaped {
            escaped = false;
        } else if character == '\\' && quote == '"' && line[end..].starts_with(['"', '\\']) {
            escaped = true;
        } else if character == quote {
            let closes = line[end..].chars().next().is_none_or(|behind| behind.is_whitespace() || ends(behind));
            // An empty name is none: two quotes alone stand for themselves.
            return (closes && offset > 1).then_some(end);
        }
    }
    None
}

fn next_word(line: &str, start: usize) -> Word {
    if line[start..].starts_with(['"', '\''])
        && let Some(end) = quoted_end(line, start, |_| false)
    {
        return quoted_word(line, start..end);
    }
    bare_word(line, start, char::is_whitespace)
}

/// A word without quotes around it, up to a character that `ends` it.
fn bare_word(line: &str, start: usize, ends: impl Fn(char) -> bool) -> Word {
    let mut word = Word { range: start..start, text: String::new(), pattern: None, quoted: false };
    let mut pattern = String::new();
    let mut is_pattern = false;
    let mut characters = line[start..].char_indices().peekable();
    let mut end = line.len();
    while let Some((offset, character)) = characters.next() {
        if ends(character) {
            end = start + offset;
            break;
        }
        let escaped = characters.next_if(|(_, next)| character == '\\' && ESCAPABLE.contains(next));
        let meant = escaped.map_or(character, |(_, escaped)| escaped);
        word.quoted |= escaped.is_some();
        is_pattern |= escaped.is_none() && GLOB.contains(&meant);
        if escaped.is_some() || meant == '\\' {
            push_literal(&mut pattern, meant);
        } else {
            pattern.push(meant);
        }
        word.text.push(meant);
    }
    word.range.end = end;
    word.pattern = is_pattern.then_some(pattern);
    word
}

fn quoted_word(line: &str, range: Range<usize>) -> Word {
    let double = line[range.start..].starts_with('"');
    let inner = &line[range.start + 1..range.end - 1];
    let mut text = String::with_capacity(inner.len());
    let mut characters = inner.chars().peekable();
    while let Some(character) = characters.next() {
        let escaped = characters.next_if(|next| double && character == '\\' && matches!(next, '"' | '\\'));
        text.push(escaped.unwrap_or(character));
    }
    Word { range, text, pattern: None, quoted: true }
}

/// Appends `character` to `pattern` so that it stands for itself.
pub(crate) fn push_literal(pattern: &mut String, character: char) {
    if SPECIAL_IN_PATTERN.contains(&character) {
        pattern.push('\\');
    }
    pattern.push(character);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(line: &str) -> Vec<String> {
        split(line).into_iter().map(|word| word.text).collect()
    }

    #[test]
    fn words_are_parted_at_white_space_outside_quotes() {
        for (line, expected) in [
            ("", &[][..]),
            (" \t ", &[]),
            ("a  b\tc", &["a", "b", "c"]),
            ("'a b' c", &["a b", "c"]),
            ("\"a b\" 'c'", &["a b", "c"]),
            ("\" kept \"", &[" kept "]),
            ("it's a dog's life", &["it's", "a", "dog's", "life"]),
            ("'tis a dog's", &["'tis", "a", "dog's"]),
            ("\"", &["\""]),
            ("\"\"", &["\"\""]),
            ("a\"b c\"", &["a\"b", "c\""]),
            ("two\\ words a\\b \\", &["two words", "a\\b", "\\"]),
            ("\"say \\\"a\\\\b\\\" c\\d\"", &["say \"a\\b\" c\\d"]),
            ("'a\\'", &["a\\"]),
            ("Grüße\u{a0}世界", &["Grüße", "世界"]),
        ] {
            assert_eq!(texts(line), expected, "{line:?}");
        }
        let words = split(" GET  'a b' c");
        assert_eq!(words.iter().map(|word| word.range.clone()).collect::<Vec<_>>(), [1..4, 6..11, 12..13]);
    }

    #[test]
    fn a_pattern_is_told_from_what_is_quoted() {
        let pattern = |line: &str| split(line).remove(0).pattern;
        assert_eq!(pattern("*.txt").as_deref(), Some("*.txt"));
        assert_eq!(pattern("a\\*{b,c}").as_deref(), Some("a\\*{b,c}"));
        assert_eq!(pattern("a\\b*").as_deref(), Some("a\\\\b*"));
        for literal in ["a", "a\\*", "'*'", "\"*\"", "a]", "a}", "-r"] {
            assert_eq!(pattern(literal), None, "{literal}");
        }
        let argument = Word::argument("a b\\*?");
        assert_eq!((argument.text.as_str(), argument.pattern.as_deref()), ("a b\\*?", Some("a b\\*?")));
        assert_eq!(Word::argument("-a \\b").pattern, None);
        assert!(split("->").remove(0).is("->") && !split("'->'").remove(0).is("->"));
    }

    #[test]
    fn what_is_quoted_comes_back() {
        for text in [
            "a",
            "",
            "a b",
            "it's",
            "it's a \"b\"",
            "'",
            "\"",
            "\\",
            "a\\",
            "a\\ 'b",
            "*",
            "-r",
            "!x",
            "a;b",
            "'a' b",
            "\"a\" b'",
            "[1]",
            "{a,b}",
            " ",
            "世界",
            "a, b",
        ] {
            let words = split(&quote(text));
            if text.is_empty() {
                continue;
            }
            assert_eq!((words.len(), words[0].text.as_str(), &words[0].pattern), (1, text, &None), "{}", quote(text));
            let command = format!("GET {}", quote(text));
            assert_eq!(split_script(&format!("{command};QUIT")), [&command, "QUIT"]);
        }
        assert_eq!(quote("plain.txt"), "plain.txt");
    }

    #[test]
    fn an_open_quote_is_one_that_nothing_closes() {
        for (text, behind) in [
            ("'a dir/", Some("a dir/")),
            ("\"it's", Some("it's")),
            ("'tis a dog's", Some("tis a dog's")),
            ("'", None),
            ("a'b", None),
            ("'a b'", None),
            ("'a' b", None),
            ("", None),
        ] {
            assert_eq!(behind_open_quote(text), behind, "{text}");
        }
    }

    #[test]
    fn a_script_is_parted_at_semicolons_outside_quotes() {
        for (script, commands) in [
            ("OPEN 1; GET a", &["OPEN 1", " GET a"][..]),
            ("GET \"a;b\"; GET c", &["GET \"a;b\"", " GET c"]),
            ("GET 'a;b';GET c;", &["GET 'a;b'", "GET c", ""]),
            ("GET a 'b;c' d;e", &["GET a 'b;c' d", "e"]),
            ("GET it's; GET b's", &["GET it's", " GET b's"]),
            ("GET 'tis; GET b", &["GET 'tis", " GET b"]),
            ("CLOSE; 'x;y'", &["CLOSE", " 'x", "y'"]),
            ("", &[""]),
            (";;", &["", "", ""]),
        ] {
            assert_eq!(split_script(script), commands, "{script:?}");
        }
    }
    proptest! {
        #[test]
        fn any_name_can_be_quoted(text in "\\PC{1,20}", before in "[a-z]{0,5}") {
            let line = format!("GET {before} {}", quote(&text));
            let words = split(&line);
            let last = words.last().unwrap();
            prop_assert_eq!((last.text.as_str(), &last.pattern), (text.as_str(), &None), "{}", line);
            prop_assert_eq!(last.range.end, line.len());
        }

        #[test]
        fn what_is_escaped_is_one_word_that_says_it(text in "(\\PC|[ \\\\'\"*?{}\\[\\]]){1,20}") {
            if let Some(escaped) = escape(&text) {
                let words = split(&escaped);
                prop_assert_eq!((words.len(), words[0].text.as_str(), &words[0].pattern), (1, text.as_str(), &None));
                prop_assert!(!words[0].is("->") && !words[0].is("-"));
            }
        }

        #[test]
        fn any_line_has_words(line in any::<String>()) {
            let mut end = 0;
            for word in split(&line) {
                prop_assert!(line[end..word.range.start].chars().all(char::is_whitespace));
                prop_assert!(!line[word.range.clone()].is_empty());
                end = word.range.end;
            }
            prop_assert!(line[end..].trim().is_empty());
            prop_assert_eq!(split_script(&line).join(";"), line);
        }
    }
}
