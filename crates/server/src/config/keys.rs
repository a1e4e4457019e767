//! The options of the command line as keys: one definition, clap's own, for all three sources and
//! for all that explains them.

use std::{any::TypeId, error::Error as _, ffi::OsStr, fmt::Write as _, path::PathBuf};

use clap::{
    Arg, ArgAction, Command,
    error::{ContextKind, ContextValue, Error, ErrorKind},
};

use super::{arguments::Arguments, reload};

/// The option that names the file cannot stand in it.
pub(super) const CONFIG: &str = "config";

/// All options that `ferryd` serves by.
#[derive(Debug)]
pub(super) struct Keys {
    command: Command,
}

impl Keys {
    pub(super) fn new() -> Keys {
        Keys { command: Arguments::described() }
    }

    /// Returns the command line that they are of.
    pub(super) fn command(&self) -> &Command {
        &self.command
    }

    /// Returns every key, in the order of `--help`.
    pub(super) fn all(&self) -> impl Iterator<Item = Key<'_>> {
        let is_key = |arg: &&Arg| arg.get_id() != CONFIG;
        self.command.get_arguments().filter(is_key).map(Key)
    }

    /// Returns the key that is called `name` in the file.
    pub(super) fn named(&self, name: &str) -> Option<Key<'_>> {
        self.all().find(|key| key.name() == name)
    }

    /// Returns the key of the option with this id, which is one of them.
    pub(super) fn of_id(&self, id: &str) -> Option<Key<'_>> {
        self.all().find(|key| key.id() == id)
    }

    /// Returns the name of a key that `name` may be a misspelling of.
    pub(super) fn meant(&self, name: &str) -> Option<String> {
        let plain = |name: &str| name.to_ascii_lowercase().replace('_', "-");
        let near = |key: &Key<'_>| strsim::jaro_winkler(&plain(&key.name()), &plain(name));
        let best = self.all().max_by(|one, other| near(one).total_cmp(&near(other)))?;
        (near(&best) > 0.8).then(|| best.name())
    }

    /// Returns whether two options exclude each other.
    pub(super) fn conflict(&self, one: &str, other: &str) -> bool {
        let excludes = |one: &str, other: &str| {
            let of = self.of_id(one).map(|key| self.command.get_arg_conflicts_with(key.0)).unwrap_or_default();
            of.iter().any(|arg| arg.get_id() == other)
        };
        excludes(one, other) || excludes(other, one)
    }
}

/// One option.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key<'a>(&'a Arg);

impl Key<'_> {
    pub(super) fn id(&self) -> &str {
        self.0.get_id().as_str()
    }

    /// Returns its name in the file.
    pub(super) fn name(&self) -> String {
        self.0.get_long().map_or_else(|| self.id().replace('_', "-"), str::to_owned)
    }

    /// Returns its name in the environment.
    pub(super) fn variable(&self) -> String {
        format!("FERRYD_{}", self.name().replace('-', "_").to_ascii_uppercase())
    }

    /// Returns its spelling on the command line, without a value.
    pub(super) fn typed(&self) -> String {
        match self.0.get_long() {
            Some(long) => format!("--{long}"),
            None => self.placeholder(),
        }
    }

    /// Returns whether it is on or off.
    pub(super) fn is_flag(&self) -> bool {
        !self.0.get_action().takes_values()
    }

    /// Returns whether it may be given several times.
    pub(super) fn is_list(&self) -> bool {
        matches!(self.0.get_action(), ArgAction::Append)
    }

    pub(super) fn is_positional(&self) -> bool {
        self.0.is_positional()
    }

    /// Returns whether its value is the path of a file or directory.
    pub(super) fn is_path(&self) -> bool {
        !self.is_flag() && self.0.get_value_parser().type_id() == TypeId::of::<PathBuf>()
    }

    /// Returns whether a reload takes it.
    pub(super) fn is_live(&self) -> bool {
        reload::LIVE.contains(&self.id())
    }

    /// Returns the word for its value in the help, as `BYTES`.
    pub(super) fn placeholder(&self) -> String {
        self.0.get_value_names().and_then(|names| names.first()).map(ToString::to_string).unwrap_or_default()
    }

    /// Returns the words that it takes, where it takes no others.
    pub(super) fn choices(&self) -> Vec<String> {
        if self.is_flag() {
            return Vec::new();
        }
        let shown = |value: &clap::builder::PossibleValue| !value.is_hide_set();
        self.0.get_possible_values().iter().filter(|value| shown(value)).map(|value| value.get_name().into()).collect()
    }

    /// Returns its default, where that is a value that could be given.
    pub(super) fn default(&self) -> Option<String> {
        if self.is_flag() {
            return Some("false".into());
        }
        self.0.get_default_values().first().map(|value| value.to_string_lossy().into_owned())
    }

    /// Returns the effect of not setting it, in words: the `[default: ...]` of its help.
    pub(super) fn unset(&self) -> Option<String> {
        let (help, _) = self.explained();
        let (_, words) = help.rsplit_once("[default: ")?;
        words.strip_suffix(']').map(str::to_owned)
    }

    /// Returns its help: the first sentence, and the paragraphs behind it.
    pub(super) fn explained(&self) -> (String, Vec<String>) {
        let short = self.0.get_help().map(ToString::to_string).unwrap_or_default();
        let long = self.0.get_long_help().map(ToString::to_string).unwrap_or_default();
        let rest = long.strip_prefix(&short).unwrap_or_default();
        (short, rest.split("\n\n").map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned).collect())
    }

    /// Returns a valid value, as an example.
    pub(super) fn example(&self) -> String {
        let by_name = match self.placeholder().as_str() {
            "BYTES" => Some("64MiB"),
            "TIME" => Some("30s"),
            "N" => Some("100"),
            _ => None,
        };
        let named = self.name();
        let tried = by_name.into_iter().chain(self.is_path().then_some(named.as_str())).chain([
            "127.0.0.1:12001",
            "name",
            "10.0.0.1",
        ]);
        let taken = self.default().or_else(|| self.choices().first().cloned());
        taken.unwrap_or_else(|| {
            tried.into_iter().find(|value| self.check(OsStr::new(value)).is_ok()).unwrap_or_default().into()
        })
    }

    /// Checks one value as the command line would.
    ///
    /// # Errors
    ///
    /// In words for the user who wrote it.
    pub(super) fn check(&self, value: &OsStr) -> Result<(), String> {
        let alone = Arg::new("value").value_parser(self.0.get_value_parser().clone()).required(true);
        let alone = alone.ignore_case(self.0.is_ignore_case_set());
        let command = Command::new("value").no_binary_name(true).disable_help_flag(true).arg(alone);
        let taken = command.try_get_matches_from([OsStr::new("--"), value]);
        taken.map(drop).map_err(|error| said(&error))
    }
}

/// Returns why a value is not taken, without the text that clap puts around it.
fn said(error: &Error) -> String {
    if let Some(source) = error.source() {
        return source.to_string();
    }
    if let (ErrorKind::InvalidValue, Some(ContextValue::Strings(valid))) =
        (error.kind(), error.get(ContextKind::ValidValue))
        && !valid.is_empty()
    {
        let mut said = format!("give one of {}", valid.join(", "));
        if let Some(ContextValue::String(near)) = error.get(ContextKind::SuggestedValue) {
            let _ = write!(said, "; did you mean {near}?");
        }
        return said;
    }
    "a value is missing".into()
}
