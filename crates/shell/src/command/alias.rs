//! Aliases: words of the configuration that stand for the beginning of a command.

use std::{borrow::Cow, collections::BTreeMap};

use super::lookup;
use crate::words;

/// Commands whose arguments may be secrets that were typed by mistake. Under another word, they would be kept.
const KEPT_APART: [&str; 2] = ["login", "open"];

/// The aliases of the configuration, by their names in small letters.
///
/// An alias stands for a command and some of its arguments; those that are typed follow. It hides no command, and stands
/// for no other alias.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Aliases(BTreeMap<String, String>);

impl Aliases {
    /// Adds the alias `name`, which stands for `text`.
    ///
    /// # Errors
    ///
    /// The reason why it can't be one.
    pub(crate) fn add(&mut self, name: &str, text: &str) -> Result<(), String> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.chars().all(is_plain) {
            return Err("this is no name for an alias: a letter, then letters, digits, '-' and '_'".to_owned());
        }
        let name = name.to_ascii_lowercase();
        if lookup::find(&name).is_some() || lookup::needless(&name).is_some() {
            return Err("this is a command of ferry already, and stays what it is".to_owned());
        }
        check(text)?;
        match self.0.insert(name, text.trim().to_owned()) {
            Some(_) => Err("this alias is there in other letters, too".to_owned()),
            None => Ok(()),
        }
    }

    /// Returns what `name` stands for.
    pub(crate) fn meaning(&self, name: &str) -> Option<&str> {
        self.0.get(&name.to_ascii_lowercase()).map(String::as_str)
    }

    /// Returns `command` with the alias that it begins with replaced.
    pub(crate) fn expand<'a>(&self, command: &'a str) -> Cow<'a, str> {
        let begun = command.trim_start();
        let (verb, arguments) = begun.split_at(begun.find(char::is_whitespace).unwrap_or(begun.len()));
        self.meaning(verb).map_or(Cow::Borrowed(command), |text| Cow::Owned(format!("{text}{arguments}")))
    }

    /// Returns all of them, with what they stand for.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }
}

fn check(text: &str) -> Result<(), String> {
    if words::commands(text).len() > 1 {
        return Err("an alias stands for one command; ';' and the end of a line begin another".to_owned());
    }
    if text.trim_start().starts_with('!') {
        return Ok(());
    }
    let parts = words::split(text).map_err(|unclosed| unclosed.to_string())?;
    let Some(verb) = parts.first() else { return Err("a command is needed, such as \"GET -r\"".to_owned()) };
    let command = lookup::find(&verb.text).ok_or_else(|| lookup::unknown(&verb.text).message)?;
    if KEPT_APART.contains(&command.get_name()) {
        let verb = lookup::verb(command);
        return Err(format!("{verb} has no alias: a secret that is typed after it would be kept in the history"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_stands_for_the_beginning_of_a_command() {
        let mut aliases = Aliases::default();
        for (name, text) in [("up", " SYNC -u --exclude '*.o' "), ("Here", "!ls -l"), ("g-2", "get -r")] {
            aliases.add(name, text).unwrap();
        }
        for (typed, meant) in [
            ("up", "SYNC -u --exclude '*.o'"),
            ("  UP 'a b' c", "SYNC -u --exclude '*.o' 'a b' c"),
            ("here", "!ls -l"),
            ("G-2\tpoems", "get -r\tpoems"),
            ("upper a", "upper a"),
            ("'up' a", "'up' a"),
            ("GET up", "GET up"),
            ("# up", "# up"),
            ("", ""),
        ] {
            assert_eq!(aliases.expand(typed), meant, "{typed}");
        }
    }

    #[test]
    fn an_alias_hides_nothing_and_leads_to_a_command() {
        let mut aliases = Aliases::default();
        aliases.add("up", "SYNC -u").unwrap();
        for (name, text, why) in [
            ("get", "PUT", "a command of ferry already"),
            ("DIR", "LS", "a command of ferry already"),
            ("binary", "LS", "a command of ferry already"),
            ("bye", "LS", "a command of ferry already"),
            ("a b", "LS", "no name for an alias"),
            ("2", "LS", "no name for an alias"),
            ("", "LS", "no name for an alias"),
            ("!x", "LS", "no name for an alias"),
            ("UP", "LS", "in other letters"),
            ("a", "", "a command is needed"),
            ("a", "  ", "a command is needed"),
            ("a", "up x", "unknown command 'up'"),
            ("a", "frobnicate", "unknown command"),
            ("a", "LS; RM x", "one command"),
            ("a", "LS\nRM x", "one command"),
            ("a", "GET 'x", "is not closed"),
            ("a", "login alice", "LOGIN has no alias"),
            ("a", "connect", "OPEN has no alias"),
        ] {
            let said = aliases.add(name, text).unwrap_err();
            assert!(said.contains(why), "{name} {text}: {said}");
        }
    }
}
