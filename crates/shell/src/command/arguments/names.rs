//! The names that commands are about.

use clap::{Args, ValueHint};

use super::value::word;
use crate::words::Word;

/// The names that a command is about. There is at least one, unless the command can do without.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Names {
    /// Names, or patterns with wildcards
    #[arg(id = "names", value_name = "NAME", value_hint = ValueHint::Other, required = true, value_parser = word)]
    pub(crate) words: Vec<Word>,
}

impl Names {
    /// Returns several words as the one name that they may be meant as, where no quote says that they are several.
    pub(crate) fn together(&self) -> Option<String> {
        together(self.words.iter())
    }
}

/// Returns `words` as the one name that they may be meant as, where no quote says that they are several.
pub(in crate::command) fn together<'a>(words: impl Iterator<Item = &'a Word> + Clone) -> Option<String> {
    let is_plain = words.clone().count() > 1 && words.clone().all(|word| !word.quoted);
    is_plain.then(|| words.map(|word| &*word.text).collect::<Vec<_>>().join(" "))
}
