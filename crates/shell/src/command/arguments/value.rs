//! The values of arguments, as they come out of the parser: a quoted word is marked (see [`Word::to_argument`]).

use std::convert::Infallible;

use crate::words::Word;

/// The other name, or the place, that GET and PUT give to what they move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// Standard output.
    Stream,
    /// A file or directory.
    Name(String),
}

/// Parses a name or a pattern.
pub(super) fn word(argument: &str) -> Result<Word, Infallible> {
    Ok(Word::of_argument(argument))
}

/// Parses an argument that is what it says.
pub(super) fn text(argument: &str) -> Result<String, String> {
    Ok(Word::of_argument(argument).text)
}

/// Parses a file or directory that must have a name.
pub(super) fn place(argument: &str) -> Result<Word, String> {
    let word = Word::of_argument(argument);
    match (&*word.text, word.is("-")) {
        // A variable of a script that nobody has set: as a path it would stand for the directory itself.
        ("", _) => Err("a name is needed, and this one is empty; '.' is the current directory".to_owned()),
        (_, true) => Err("'-' is no directory".to_owned()),
        _ => Ok(word),
    }
}

/// Parses the other name for what is moved.
pub(super) fn target(argument: &str) -> Result<Target, String> {
    let word = Word::of_argument(argument);
    match (&*word.text, word.is("-")) {
        ("", _) => Err("a name is needed, and this one is empty".to_owned()),
        (_, true) => Ok(Target::Stream),
        _ => Ok(Target::Name(word.text)),
    }
}

/// Parses a number.
pub(super) fn number(argument: &str) -> Result<usize, String> {
    text(argument)?.parse().map_err(|_| "a whole number is needed, 0 or more".to_owned())
}
