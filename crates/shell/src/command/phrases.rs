//! Words of other programs, which people and their scripts type out of habit.

/// A word that stands for a command with options or arguments.
const PHRASES: &[(&str, &[&str])] = &[
    ("CAT", &["GET", "-o", "-"]),
    ("CDUP", &["CD", ".."]),
    ("DIR", &["LS", "-l"]),
    ("LL", &["LS", "-l"]),
    ("RMD", &["RM", "-d"]),
    ("RMDIR", &["RM", "-d"]),
];

/// Words that switch something on in a usual FTP client that ferry always does; and what that is.
const NEEDLESS: &[(&[&str], &str)] = &[
    (&["BIN", "BINARY", "IMAGE"], "bytes are always moved as they are"),
    (&["EPSV", "PASSIVE", "PASV"], "there is only one connection, and the client makes it"),
    (&["HASH", "TICK"], "progress is shown by itself"),
    (&["PROMPT"], "nothing is asked before a file is moved"),
];

/// The words that `verb` stands for, in any case of letters.
pub(super) fn phrase(verb: &str) -> Option<&'static [&'static str]> {
    PHRASES.iter().find(|(word, _)| word.eq_ignore_ascii_case(verb)).map(|(_, words)| *words)
}

/// Why there is nothing to do about `verb`.
pub(super) fn needless(verb: &str) -> Option<&'static str> {
    let known = |words: &&[&str]| words.iter().any(|word| word.eq_ignore_ascii_case(verb));
    NEEDLESS.iter().find(|(words, _)| known(words)).map(|(_, why)| *why)
}

/// All words that stand for a command.
pub(super) fn words() -> impl Iterator<Item = &'static str> {
    PHRASES.iter().map(|(word, _)| *word)
}
