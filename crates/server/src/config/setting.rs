//! Settings: an option, its value, and its origin.

use std::{ffi::OsString, fmt, path::Path, sync::Arc};

/// The origin of a value, in order of rising precedence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A line of `ferryd.toml`.
    File(Arc<Path>, usize),
    /// The variable of this name.
    Environment(String),
    /// The command line.
    CommandLine,
    /// A socket that was inherited.
    Inherited,
}

impl Origin {
    pub(super) fn rank(&self) -> u8 {
        match self {
            Origin::Default => 0,
            Origin::File(..) => 1,
            Origin::Environment(_) => 2,
            Origin::CommandLine => 3,
            Origin::Inherited => 4,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path, line) => write!(f, "{}:{line}", path.display()),
            Origin::Environment(variable) => f.write_str(variable),
            Origin::CommandLine => f.write_str("command line"),
            Origin::Inherited => f.write_str("inherited socket"),
        }
    }
}

/// The value of an option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// The value of an option that is on or off.
    Flag(bool),
    /// The value of any other: as the command line has it, several where it may be given several
    /// times.
    Words(Vec<OsString>),
}

impl Value {
    /// Returns whether it needs a word on the command line.
    pub(super) fn is_on(&self) -> bool {
        match self {
            Value::Flag(is_on) => *is_on,
            Value::Words(words) => !words.is_empty(),
        }
    }
}

/// As it may stand in `ferryd.toml`.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Flag(is_on) => write!(f, "{is_on}"),
            Value::Words(words) => {
                let words: Vec<_> = words.iter().map(|word| quoted(&word.to_string_lossy())).collect();
                match &*words {
                    [word] => f.write_str(word),
                    words => write!(f, "[{}]", words.join(", ")),
                }
            }
        }
    }
}

/// Writes a word as TOML has it: a number as one, all else in quotes.
pub(super) fn quoted(word: &str) -> String {
    if word.parse::<i64>().is_ok_and(|number| number.to_string() == word) {
        return word.to_owned();
    }
    toml_edit::Value::from(word).to_string()
}

/// One option that was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    /// The id of the option.
    pub(super) id: String,
    pub(super) value: Value,
    pub(super) origin: Origin,
}
