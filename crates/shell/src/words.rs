//! Lines taken apart into commands and words, by the rules of other shells. Knows no command.
//!
//! - Spaces, tabs and line ends separate words; `;` and line ends separate commands.
//! - `'...'` keeps all that is in it as it is; `"..."` does too, but for `\"` and `\\`.
//! - A backslash takes its meaning from the character after it, whatever that is.
//! - Quotes and backslashes may stand anywhere in a word: `a'b c'd` is one.

use std::{fmt, ops::Range};

/// Makes a word a pattern where it stands unquoted.
const GLOB: [char; 4] = ['*', '?', '[', '{'];

/// Means something outside quotes, beside what separates words.
const SPECIAL: [char; 10] = ['"', '\'', '\\', '*', '?', '[', ']', '{', '}', ';'];

/// Means something at the beginning of a word: an option, and the system's shell.
const SPECIAL_AT_START: [char; 2] = ['-', '!'];

/// A pattern gives a meaning to these.
const SPECIAL_IN_PATTERN: [char; 8] = ['*', '?', '[', ']', '{', '}', ',', '\\'];

/// Marks an argument that was quoted.
const QUOTED: char = '\0';

/// One word of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    /// Its place in the line, its quotes included: bytes.
    pub(crate) range: Range<usize>,
    /// The text that it stands for, without quotes and backslashes.
    pub(crate) text: String,
    /// The text as a pattern, in which all that was quoted stands for itself; [`None`] without an unquoted `*`, `?`,
    /// `[` or `{`.
    pub(crate) pattern: Option<String>,
    /// A quote or a backslash took part: it is neither an option nor an arrow.
    pub(crate) quoted: bool,
}

/// The quote or backslash that a line leaves open at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unclosed {
    /// This quote was not closed.
    Quote(char),
    /// Nothing stands after a backslash.
    Backslash,
}

impl fmt::Display for Unclosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unclosed::Quote(quote) => {
                write!(f, "a quote ({quote}) is not closed; one that is part of a name is \\{quote}")
            }
            Unclosed::Backslash => {
                f.write_str("nothing stands after the backslash; one that is part of a name is \\\\")
            }
        }
    }
}

impl Word {
    /// Returns the word that an argument of a command stands for: one that another shell has taken apart, or one that
    /// [`Word::to_argument`] has written.
    ///
    /// In what another shell has taken apart, a backslash takes its meaning from a wildcard.
    pub(crate) fn of_argument(argument: &str) -> Word {
        let (quoted, argument) = argument.strip_prefix(QUOTED).map_or((false, argument), |rest| (true, rest));
        let (mut text, mut pattern) = (String::new(), String::new());
        let mut is_pattern = false;
        let mut characters = argument.chars().peekable();
        while let Some(character) = characters.next() {
            let escaped = characters.next_if(|next| character == '\\' && SPECIAL_IN_PATTERN.contains(next));
            text.push(escaped.unwrap_or(character));
            if escaped.is_some() || character == '\\' {
                push_literal(&mut pattern, escaped.unwrap_or(character));
            } else {
                is_pattern |= GLOB.contains(&character);
                pattern.push(character);
            }
        }
        let text = if quoted { text } else { argument.to_owned() };
        Word { range: 0..0, text, pattern: is_pattern.then_some(pattern), quoted }
    }

    /// Returns the word as an argument that [`Word::of_argument`] reads. One that was quoted is marked by a character that
    /// no command line has, so that a parser takes it for no option; what was quoted in it has backslashes in front.
    pub(crate) fn to_argument(&self) -> String {
        let literal = || {
            let mut pattern = String::new();
            self.text.chars().for_each(|character| push_literal(&mut pattern, character));
            pattern
        };
        match self.quoted {
            false => self.text.clone(),
            true => format!("{QUOTED}{}", self.pattern.clone().unwrap_or_else(literal)),
        }
    }

    /// Returns whether it stands there as it is, unquoted, and is `text`.
    pub(crate) fn is(&self, text: &str) -> bool {
        !self.quoted && self.text == text
    }
}

/// Takes one command apart.
///
/// # Errors
///
/// The quote or backslash that its end leaves open.
pub(crate) fn split(command: &str) -> Result<Vec<Word>, Unclosed> {
    match read(command) {
        (words, None) => Ok(words),
        (_, Some(open)) => Err(open),
    }
}

/// Takes a command apart that may not be typed to its end yet; the last word is the one that is left open.
pub(crate) fn read(command: &str) -> (Vec<Word>, Option<Unclosed>) {
    let mut words = Vec::new();
    let mut at = 0;
    loop {
        at += command[at..].bytes().take_while(u8::is_ascii_whitespace).count();
        if at == command.len() {
            return (words, None);
        }
        let (word, open) = next_word(command, at);
        at = word.range.end;
        words.push(word);
        if open.is_some() {
            return (words, open);
        }
    }
}

/// Separates a script into its commands. A remark runs to the end of its line.
pub(crate) fn commands(script: &str) -> Vec<&str> {
    let mut commands = Vec::new();
    let mut rest = script;
    loop {
        let end = end_of_command(rest);
        commands.push(&rest[..end]);
        match rest.get(end + 1..) {
            Some(after) => rest = after,
            None => return commands,
        }
    }
}

/// Returns a command without the `&` at its end, where one stands there unquoted, as a word of its own.
pub(crate) fn in_background(command: &str) -> Option<&str> {
    let (words, open) = read(command);
    let last = words.last().filter(|last| open.is_none() && words.len() > 1 && last.is("&"))?;
    Some(&command[..last.range.start])
}

/// Returns the text to type for a word that stands for `text`: as it is where that is enough, else in quotes.
pub(crate) fn quote(text: &str) -> String {
    match (needs_quoting(text), text.contains('\'')) {
        (false, _) => text.to_owned(),
        (true, false) => format!("'{text}'"),
        (true, true) => format!("\"{}\"", in_double_quotes(text)),
    }
}

/// Returns the same with backslashes and no quote around it, so that more can be typed after it.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for (at, character) in text.char_indices() {
        if is_escapable(character) || at == 0 && (text == "&" || SPECIAL_AT_START.contains(&character)) {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

/// Returns `text` as it stands between double quotes.
pub(crate) fn in_double_quotes(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

/// Returns whether [`escape`] puts a backslash before it, wherever it stands.
pub(crate) fn is_escapable(character: char) -> bool {
    character.is_ascii_whitespace() || SPECIAL.contains(&character)
}

/// Appends `character` to `pattern` so that it stands for itself.
pub(crate) fn push_literal(pattern: &mut String, character: char) {
    if SPECIAL_IN_PATTERN.contains(&character) {
        pattern.push('\\');
    }
    pattern.push(character);
}

fn needs_quoting(text: &str) -> bool {
    text.is_empty() || text == "&" || text.starts_with(SPECIAL_AT_START) || text.contains(is_escapable)
}

fn end_of_command(script: &str) -> usize {
    let begin = script.len() - script.trim_start_matches([' ', '\t', '\r']).len();
    if script[begin..].starts_with('#') {
        return script[begin..].find('\n').map_or(script.len(), |end| begin + end);
    }
    let mut characters = Characters::new(script, begin);
    let end = characters.find(|(_, character, quoted)| !quoted && matches!(character, ';' | '\n'));
    end.map_or(script.len(), |(at, ..)| at)
}

fn next_word(line: &str, start: usize) -> (Word, Option<Unclosed>) {
    let mut word = Word { range: start..line.len(), text: String::new(), pattern: None, quoted: false };
    let mut pattern = String::new();
    let mut is_pattern = false;
    let mut characters = Characters::new(line, start);
    for (at, character, quoted) in characters.by_ref() {
        if !quoted && character.is_ascii_whitespace() {
            word.range.end = at;
            break;
        }
        is_pattern |= !quoted && GLOB.contains(&character);
        if quoted {
            push_literal(&mut pattern, character);
        } else {
            pattern.push(character);
        }
        word.text.push(character);
    }
    word.quoted = characters.seen_quotes;
    word.pattern = is_pattern.then_some(pattern);
    (word, characters.open)
}

/// The characters of a line with their places, and whether they are quoted: without the quotes and backslashes that
/// say so.
struct Characters<'a> {
    rest: std::iter::Peekable<std::str::CharIndices<'a>>,
    start: usize,
    open: Option<Unclosed>,
    /// A quote or a backslash was among them.
    seen_quotes: bool,
}

impl<'a> Characters<'a> {
    fn new(line: &'a str, start: usize) -> Characters<'a> {
        Characters { rest: line[start..].char_indices().peekable(), start, open: None, seen_quotes: false }
    }
}

impl Iterator for Characters<'_> {
    type Item = (usize, char, bool);

    fn next(&mut self) -> Option<(usize, char, bool)> {
        loop {
            let (offset, character) = self.rest.next()?;
            let at = self.start + offset;
            match (self.open, character) {
                (None, '\'' | '"') => {
                    self.open = Some(Unclosed::Quote(character));
                    self.seen_quotes = true;
                }
                (Some(Unclosed::Quote(quote)), _) if quote == character => self.open = None,
                (None, '\\') => {
                    self.seen_quotes = true;
                    match self.rest.next() {
                        Some((_, escaped)) => return Some((at, escaped, true)),
                        None => self.open = Some(Unclosed::Backslash),
                    }
                }
                (Some(Unclosed::Quote('"')), '\\') => {
                    let escaped = self.rest.next_if(|(_, next)| matches!(next, '"' | '\\'));
                    return Some((at, escaped.map_or(character, |(_, escaped)| escaped), true));
                }
                (open, _) => return Some((at, character, open.is_some())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(line: &str) -> Vec<String> {
        split(line).unwrap().into_iter().map(|word| word.text).collect()
    }

    #[test]
    fn only_an_ampersand_of_its_own_at_the_end_is_one_for_a_job() {
        for (command, rest) in [
            ("GET a &", Some("GET a ")),
            ("GET 'a b' &  ", Some("GET 'a b' ")),
            ("GET a&", None),
            ("GET a&b", None),
            ("GET & a", None),
            ("GET a '&'", None),
            ("GET a \\&", None),
            ("GET 'a &", None),
            ("&", None),
            ("", None),
        ] {
            assert_eq!(in_background(command), rest, "{command}");
        }
    }

    #[test]
    fn words_are_those_of_other_shells() {
        for (line, expected) in [
            ("", &[][..]),
            (" \t ", &[]),
            ("a  b\tc\r\n", &["a", "b", "c"]),
            ("'a b' c", &["a b", "c"]),
            ("\"a b\" 'c'", &["a b", "c"]),
            ("\" kept \"", &[" kept "]),
            ("a'b c'd\" e\"\\ f", &["ab cd e f"]),
            ("'' \"\" a", &["", "", "a"]),
            ("two\\ words a\\b \\\\ \\ ", &["two words", "ab", "\\", " "]),
            ("\"say \\\"a\\\\b\\\" c\\d\"", &["say \"a\\b\" c\\d"]),
            ("'a\\' it\\'s", &["a\\", "it's"]),
            ("Grüße\u{a0}世界", &["Grüße\u{a0}世界"]),
        ] {
            assert_eq!(texts(line), expected, "{line:?}");
        }
        let words = split(" GET  'a b' c").unwrap();
        assert_eq!(words.iter().map(|word| word.range.clone()).collect::<Vec<_>>(), [1..4, 6..11, 12..13]);
        for (line, open) in [
            ("GET it's", Unclosed::Quote('\'')),
            ("'a \"b\" ", Unclosed::Quote('\'')),
            ("a\"b\\\"", Unclosed::Quote('"')),
            ("a \\", Unclosed::Backslash),
        ] {
            assert_eq!(split(line), Err(open), "{line:?}");
        }
        let (words, open) = read("GET 'a b");
        assert_eq!((words[1].text.as_str(), words[1].range.clone(), open), ("a b", 4..8, Some(Unclosed::Quote('\''))));
    }

    #[test]
    fn a_pattern_is_told_from_what_is_quoted() {
        let pattern = |line: &str| split(line).unwrap().remove(0).pattern;
        assert_eq!(pattern("*.txt").as_deref(), Some("*.txt"));
        assert_eq!(pattern("a\\*{b,c}").as_deref(), Some("a\\*{b,c}"));
        assert_eq!(pattern("'a*'*\" b\"").as_deref(), Some("a\\** b"));
        assert_eq!(pattern("a\\\\*").as_deref(), Some("a\\\\*"));
        for literal in ["a", "a\\*", "'*'", "\"*\"", "a]", "a}", "-r"] {
            assert_eq!(pattern(literal), None, "{literal}");
        }
        let argument = Word::of_argument("a b\\*?");
        assert_eq!((argument.text.as_str(), argument.pattern.as_deref()), ("a b\\*?", Some("a b\\*?")));
        assert_eq!(Word::of_argument("-a \\b").pattern, None);
        let is_arrow = |line: &str| split(line).unwrap().remove(0).is("->");
        assert!(is_arrow("->") && !is_arrow("'->'") && !is_arrow("\\->"));
    }

    #[test]
    fn a_script_is_separated_outside_quotes() {
        for (script, expected) in [
            ("OPEN 1; GET a", &["OPEN 1", " GET a"][..]),
            ("GET \"a;b\"; GET c", &["GET \"a;b\"", " GET c"]),
            ("GET 'a;b';GET c;", &["GET 'a;b'", "GET c", ""]),
            ("GET a\\;b 'b;c'd;e", &["GET a\\;b 'b;c'd", "e"]),
            ("GET it\\'s; GET b", &["GET it\\'s", " GET b"]),
            ("GET 'tis; GET b", &["GET 'tis; GET b"]),
            ("a\nb 'c\nd'\n# it's; so\ne", &["a", "b 'c\nd'", "# it's; so", "e"]),
            ("", &[""]),
            (";;", &["", "", ""]),
        ] {
            assert_eq!(commands(script), expected, "{script:?}");
        }
    }

    proptest! {
        #[test]
        fn any_name_can_be_quoted_and_escaped(
            text in "(\\PC|[ \t;\\\\'\"*?{}\\[\\]!-]){0,20}",
            before in "[a-z]{0,5}",
        ) {
            for typed in [quote(&text), if text.is_empty() { quote(&text) } else { escape(&text) }] {
                let line = format!("GET {before} {typed}");
                let words = split(&line).unwrap();
                let last = words.last().unwrap();
                prop_assert_eq!((last.text.as_str(), &last.pattern), (text.as_str(), &None), "{}", line);
                prop_assert_eq!(last.range.end, line.len());
                prop_assert!(!last.is("->") && !last.is("-") && (last.quoted || !text.starts_with('-')));
                let script = format!("{line};QUIT");
                prop_assert_eq!(commands(&script), [&*line, "QUIT"]);
            }
        }

        #[test]
        fn any_line_has_words(line in any::<String>()) {
            let (words, open) = read(&line);
            let mut end = 0;
            for word in &words {
                prop_assert!(line[end..word.range.start].bytes().all(|byte| byte.is_ascii_whitespace()));
                prop_assert!(!word.range.is_empty());
                end = word.range.end;
            }
            prop_assert!(line[end..].bytes().all(|byte| byte.is_ascii_whitespace()));
            prop_assert!(open.is_none() || end == line.len());
            let parts: usize = commands(&line).iter().map(|command| command.len() + 1).sum();
            prop_assert_eq!(parts, line.len() + 1);
        }
    }
}
