//! Names of a server for the completion of a system's shell: `ferry get HOST <Tab>`.
//!
//! A press of Tab is no command: it asks nobody, trusts nobody who is not known, and takes no time that anybody minds.

mod cache;

use std::{env, sync::mpsc, thread, time::Duration};

use ferry_client::{Cancel, Client, Name, Options};

use super::{
    args::{Action, Args},
    choices::Choices,
    command::lookup,
    completion::{self, ListedItem},
    paths,
    secrets::Secrets,
    session::server_named,
    trust,
    words::{self, Unclosed, Word},
};
use cache::Cache;

/// The longest that a press of Tab may take.
const TIMEOUT: Duration = Duration::from_millis(300);

/// The variable by which a secret is known without asking for it.
const SECRET: &str = "FERRY_SECRET";

/// The end of a line, where a name of a server is to stand.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    /// The whole words before it.
    before: Vec<Word>,
    /// The server, as it was typed.
    host: String,
    /// The beginning of the name, without quotes.
    begun: String,
    /// The form in which the shell wants names.
    form: Form,
    only_directories: bool,
}

/// The form in which a shell wants names.
#[derive(Debug, PartialEq, Eq)]
enum Form {
    /// As they are: zsh and fish quote them.
    Plain,
    /// As they are typed. Bash takes the bytes that are `kept` for a word of their own, and replaces what stands after
    /// them.
    Bash { kept: usize, quote: Option<char> },
}

/// Returns the names that could stand at the end of `line`, each with its line end; [`None`] where no name of a server
/// belongs there. For bash, the characters at which it breaks words stand in `bash`.
pub(crate) fn at_the_end_of(line: &str, bash: Option<&str>) -> Option<Vec<String>> {
    let place = place_at_the_end_of(line, bash)?;
    let (sender, receiver) = mpsc::channel();
    // Looking a host up can't be called off, nor a home directory at the end of a network: the program ends before they
    // do.
    let listing = move || drop(sender.send(names(&place)));
    let started = thread::Builder::new().spawn(listing);
    let found = started.ok().and_then(|_| receiver.recv_timeout(TIMEOUT).ok()).flatten();
    Some(found.unwrap_or_default())
}

/// Returns the names that fit, as they are to stand there.
fn names(place: &Place) -> Option<Vec<String>> {
    let begun = &*place.begun;
    let (directory, begin) = begun.rfind('/').map_or(("", begun), |at| begun.split_at(at + 1));
    let items = listed(place, completion::below(None, directory)?.as_ref())?;
    let may_be_option = directory.is_empty() && !place.before.iter().any(|word| word.is("--"));
    let is_meant = |item: &&ListedItem| {
        let hidden = begin.is_empty() && item.name.starts_with('.') || may_be_option && item.name.starts_with('-');
        item.name.starts_with(begin) && !hidden && (item.is_directory || !place.only_directories)
    };
    let shown = |item: &ListedItem| {
        let name = format!("{directory}{}{}", item.name, if item.is_directory { "/" } else { "" });
        let name = match place.form {
            Form::Plain => name,
            Form::Bash { kept, quote } => quoted_for_bash(name.get(kept..)?, quote),
        };
        Some(name + "\n")
    };
    items.iter().filter(is_meant).map(shown).collect()
}

/// Returns the place at the end of `line`, where a name of a server comes next.
fn place_at_the_end_of(line: &str, bash: Option<&str>) -> Option<Place> {
    let command = words::commands(line).pop()?;
    let (mut before, open) = words::read(command);
    let last = before.pop_if(|last| last.range.end == command.len());
    if last.as_ref().is_some_and(|last| may_be_option(last, &before)) {
        return None;
    }
    let verb = |word: &Word| {
        let named = |command: &&clap::Command| {
            command.get_name() == word.text || command.get_all_aliases().any(|alias| alias == word.text)
        };
        lookup::one_shot().find(named)
    };
    let (at, command_meant) = before.iter().enumerate().skip(1).find_map(|(at, word)| Some((at, verb(word)?)))?;
    let mut after = before[at + 1..].to_vec();
    let host = after.iter().position(|word| word.quoted || !word.text.starts_with('-'))?;
    let host = after.remove(host).text;
    let only_directories = completion::awaits_name(command_meant, &after)?;
    let kept = |breaks: &str| last.as_ref().map_or(0, |last| kept_by(&command[last.range.clone()], breaks));
    let quote = match open {
        Some(Unclosed::Quote(quote)) => Some(quote),
        _ => None,
    };
    let form = bash.map_or(Form::Plain, |breaks| Form::Bash { kept: kept(breaks), quote });
    let begun = last.map(|last| last.text).unwrap_or_default();
    Some(Place { before, host, begun, form, only_directories })
}

fn may_be_option(word: &Word, before: &[Word]) -> bool {
    !word.quoted && word.text.starts_with('-') && !before.iter().any(|word| word.is("--"))
}

/// Returns `name` as it is typed in bash, where `quote` is open.
fn quoted_for_bash(name: &str, quote: Option<char>) -> String {
    let written = |character: char| match (quote, character) {
        (Some('\''), '\'') => "'\\''".to_owned(),
        (Some('\''), _) => character.to_string(),
        // It is looked up in the history even between these quotes, and with a backslash stays with it.
        (Some(_), '!') => "\"'!'\"".to_owned(),
        (Some(_), '"' | '\\' | '$' | '`') => format!("\\{character}"),
        (Some(_), _) => character.to_string(),
        (None, _) if character.is_alphanumeric() || "/._-+,@%:=^".contains(character) => character.to_string(),
        (None, _) => format!("\\{character}"),
    };
    name.chars().map(written).collect()
}

/// Returns how much of the text of `word`, as it was typed, stands before what the shell replaces.
fn kept_by(word: &str, breaks: &str) -> usize {
    let is_break = |(at, character): &(usize, char)| {
        let stands_for_itself = !matches!(character, '"' | '\'' | '\\') && !character.is_whitespace();
        stands_for_itself && breaks.contains(*character) && words::read(&word[..*at]).1.is_none()
    };
    let last = word.char_indices().rfind(is_break);
    let kept = |(at, character): (usize, char)| words::read(&word[..at + character.len_utf8()]).0;
    last.map(kept).and_then(|mut words| words.pop()).map_or(0, |word| word.text.len())
}

/// Returns what `directory` of the server has: as is remembered, or as it says in time.
fn listed(place: &Place, directory: Option<&Name>) -> Option<Vec<ListedItem>> {
    let args = options_of(&place.before)?;
    let choices = Choices::make(&args).ok()?;
    let server = server_named(&choices.bookmarks, &place.host).ok()?;
    if server.user.is_some() && env::var_os(SECRET).is_none() {
        return None;
    }
    let user = server.user.as_ref().map_or("", |user| user.as_str());
    let key = format!("{} {user} {}", server.address, directory.map_or("/", Name::as_str));
    let mut cache = Cache::read(paths::names());
    if let Some(items) = cache.find(&key) {
        return Some(items);
    }
    let cancel = Cancel::default();
    let trust = trust::policy(paths::known_servers(), args.fingerprint, false, &cancel);
    let options = Options::default().timeout(TIMEOUT).cancel(cancel.clone()).trust(trust);
    let options = options.security(trust::security(args.tls, args.plain).unwrap_or_default()).known_only();
    let options = server.options(&options, None, &Secrets::new(cancel, TIMEOUT));
    let mut client = Client::connect(&server.address, options).ok()?;
    let items = completion::listed(&mut client, directory).ok()?;
    client.leave();
    if let Err(error) = cache.keep(&key, &items) {
        log::debug!("names are not kept: {error}");
    }
    Some(items)
}

/// Returns the options that the words of a line give, although it is not typed to its end.
fn options_of(before: &[Word]) -> Option<Args> {
    let typed = || before.iter().map(|word| word.text.clone().into());
    let fill = |count| std::iter::repeat_n("x".into(), count);
    let args = (1..=2).find_map(|missing| Args::read(typed().chain(fill(missing))).ok())?;
    matches!(args.action, Some(Action::OneShot(_))).then_some(args)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(line: &str) -> Option<(String, bool)> {
        place_at_the_end_of(line, None).map(|place| (place.host, place.only_directories))
    }

    #[test]
    fn names_of_a_server_are_told_from_all_else() {
        let nas = |only_directories| Some(("nas:1".to_owned(), only_directories));
        for line in [
            "ferry get nas:1 ",
            "ferry -q get -r nas:1 a ",
            "./ferry cat nas:1 b",
            "ferry mv nas:1 a ",
            "ferry du nas:1 -s x",
            "ferry get nas:1 -- -r",
        ] {
            assert_eq!(place(line), nas(false), "{line}");
        }
        assert_eq!(place("ferry mkdir nas:1 a"), nas(true));
        assert_eq!(place("ferry sync nas:1 -d "), nas(true));
        for line in [
            "ferry ",
            "ferry get ",
            "ferry get nas:1",
            "ferry get nas:1 -",
            "ferry put nas:1 ",
            "ferry get nas:1 a -o ",
            "ferry sync nas:1 -u ",
            "ferry health nas:1 ",
            "ferry config x ",
        ] {
            assert_eq!(place(line), None, "{line}");
        }
    }

    #[test]
    fn what_stands_after_the_last_break_that_is_not_quoted_is_replaced() {
        for (word, kept) in [
            ("a:b", 2),
            ("a:b=c", 4),
            ("a\\:b", 0),
            ("'a:b", 0),
            ("'a:b':c", 4),
            ("two\\ words:c", 10),
            ("\"x:\":y", 3),
            ("a:", 2),
            ("plain", 0),
            ("ü:", 3),
        ] {
            assert_eq!(kept_by(word, " \t\"'=:"), kept, "{word}");
        }
    }
}
