//! Finds what could stand at the cursor: by the tree of commands, with names that others know.

use std::sync::Arc;

use clap::{Arg, ValueHint};

use super::lister::ListedItem;
use crate::{
    command::{Aliases, lookup},
    words::{self, Unclosed, Word},
};

/// A completion of the word at the cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    /// In a list of several.
    pub(super) display: String,
    /// In place of what was typed.
    pub(super) replacement: String,
}

/// A source of names.
pub(super) trait Places {
    /// Returns the content of `directory` of the server, as it was typed; empty for the current one.
    fn remote(&self, directory: &str) -> Option<Arc<[ListedItem]>>;

    /// Returns the content of the local `directory`, as it was typed; empty for the current one.
    fn local(&self, directory: &str) -> Option<Arc<[ListedItem]>>;

    /// Returns hosts that were opened before, and bookmarks.
    fn hosts(&self) -> Vec<String>;

    /// Returns the words of the configuration for the beginnings of commands.
    fn aliases(&self) -> &Aliases;
}

/// Returns completions of the end of `before`, the line as far as the cursor, and where that end begins.
pub(super) fn candidates(before: &str, names: &dyn Places) -> (usize, Vec<Candidate>) {
    let command = words::commands(before).pop().unwrap_or_default();
    let offset = before.len() - command.len();
    let (whole, open) = words::read(command);
    let (start, found) = complete(&last_word(command, &whole, open), names);
    (offset + start, found)
}

/// The end of a line, which is to be completed.
struct Partial<'a> {
    /// The words before it.
    before: &'a [Word],
    /// Its place in the line.
    start: usize,
    /// Its text so far.
    text: &'a str,
    /// The quote that it began with, or that is open.
    quote: Option<char>,
    /// A quote or a backslash took part.
    quoted: bool,
}

impl Partial<'_> {
    /// Returns whether options may stand here: after `--`, all are names.
    fn may_be_option(&self) -> bool {
        self.text.starts_with('-') && !self.quoted && !self.before.iter().any(|word| word.is("--"))
    }
}

/// Returns the word that the cursor stands in; an empty one after a space.
fn last_word<'a>(command: &str, whole: &'a [Word], open: Option<Unclosed>) -> Partial<'a> {
    match whole.split_last() {
        Some((last, before)) if last.range.end == command.len() => {
            let first = command[last.range.start..].chars().next().filter(|first| matches!(first, '"' | '\''));
            let quote = match open {
                Some(Unclosed::Quote(quote)) => Some(quote),
                _ => first,
            };
            Partial { before, start: last.range.start, text: &last.text, quote, quoted: last.quoted }
        }
        _ => Partial { before: whole, start: command.len(), text: "", quote: None, quoted: false },
    }
}

fn complete(partial: &Partial<'_>, places: &dyn Places) -> (usize, Vec<Candidate>) {
    let text = partial.text;
    let Some((verb, arguments)) = partial.before.split_first() else { return (partial.start, verbs(text, places)) };
    if let Some(whole) = meant_by(verb, arguments, places.aliases()) {
        return complete(&Partial { before: &whole, ..*partial }, places);
    }
    let Some(command) = lookup::find(&verb.text) else { return (partial.start, Vec::new()) };
    let expected = expected(command, arguments);
    let found = match expected {
        _ if partial.may_be_option() && options(command, text).next().is_some() => plain(options(command, text)),
        None => Vec::new(),
        Some(argument) => match hint(command, argument, arguments) {
            (ValueHint::CommandName, _) => verbs(text, places),
            (ValueHint::Hostname, _) => plain(places.hosts().into_iter().filter(|host| host.starts_with(text))),
            (ValueHint::AnyPath | ValueHint::FilePath, _) => in_directory(partial, false, |name| places.local(name)),
            (ValueHint::DirPath, _) => in_directory(partial, true, |name| places.local(name)),
            // What no shell of the system completes is a name of the server.
            (ValueHint::Other, is_directory) => in_directory(partial, is_directory, |name| places.remote(name)),
            _ => Vec::new(),
        },
    };
    (partial.start, found)
}

/// Returns the words that `verb` and what follows it stand for, where it is an alias. What an alias stands for is none.
fn meant_by(verb: &Word, arguments: &[Word], aliases: &Aliases) -> Option<Vec<Word>> {
    let text = aliases.meaning(&verb.text).filter(|_| !verb.quoted)?;
    let mut whole = words::split(text).ok()?;
    whole.extend_from_slice(arguments);
    Some(whole)
}

/// Returns whether a name of the server comes after the whole words `before`, arguments of `command`; and then, whether
/// that of a directory.
pub(crate) fn awaits_name(command: &clap::Command, before: &[Word]) -> Option<bool> {
    match hint(command, expected(command, before)?, before) {
        (ValueHint::Other, is_directory) => Some(is_directory),
        _ => None,
    }
}

/// Returns the argument of `command` that comes after the whole words `before`.
fn expected<'a>(command: &'a clap::Command, before: &[Word]) -> Option<&'a Arg> {
    let is = |word: &Word, option: &Arg| {
        let short = option.get_short().is_some_and(|short| word.is(&format!("-{short}")));
        short || option.get_long().is_some_and(|long| word.is(&format!("--{long}")))
    };
    let mut valued = command.get_arguments().filter(|arg| !arg.is_positional() && !lookup::is_flag(arg));
    let is_arrow = before.last().is_some_and(|last| last.is("->"));
    let value =
        valued.find(|arg| before.last().is_some_and(|last| is(last, arg)) || is_arrow && lookup::is_target(arg));
    let names = before.iter().filter(|word| word.quoted || !word.text.starts_with('-')).count();
    let mut positionals = command.get_positionals();
    value.or_else(|| match command.get_positionals().last() {
        Some(last) if last.get_num_args().is_some_and(|count| count.max_values() > 1) => Some(last),
        _ => positionals.nth(names).filter(|argument| !argument.is_hide_set()),
    })
}

/// Returns what completes `argument`, and whether it is a directory. Those of SYNC are of one side or the other, by its
/// direction.
fn hint(command: &clap::Command, argument: &Arg, before: &[Word]) -> (ValueHint, bool) {
    let goes_down = before.iter().take_while(|word| !word.is("--")).any(is_downward);
    match (command.get_name(), argument.get_id().as_str(), argument.get_value_hint()) {
        ("sync", "from", _) => (if goes_down { ValueHint::Other } else { ValueHint::DirPath }, true),
        ("sync", "to" | "output", _) => (if goes_down { ValueHint::DirPath } else { ValueHint::Other }, true),
        (.., hint) => (hint, lookup::value_name(argument) == "DIR"),
    }
}

/// Returns whether it says that SYNC goes down, alone or among other letters.
fn is_downward(word: &Word) -> bool {
    let letters = word.text.strip_prefix('-').filter(|letters| !word.quoted && !letters.starts_with('-'));
    word.is("--down") || letters.is_some_and(|letters| letters.contains('d'))
}

/// Returns commands in the case of letters that was begun with; other words for them only where none begins so.
fn verbs(text: &str, places: &dyn Places) -> Vec<Candidate> {
    let small = text.chars().any(char::is_lowercase);
    let begun = |verb: &&str| verb.get(..text.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(text));
    let shown = |verb: &str| if small { verb.to_owned() } else { verb.to_ascii_uppercase() };
    let known = lookup::all()
        .map(|command| -> &str { command.get_name() })
        .chain(places.aliases().iter().map(|(name, _)| name));
    let found: Vec<String> = known.filter(begun).map(shown).collect();
    match found.is_empty() {
        true => plain(lookup::aliases().filter(begun).map(shown)),
        false => plain(found.into_iter()),
    }
}

fn options(command: &clap::Command, text: &str) -> impl Iterator<Item = String> {
    let spelt = |option: &Arg| {
        let short = option.get_short().map(|short| format!("-{short}"));
        short.into_iter().chain(option.get_long().map(|long| format!("--{long}")))
    };
    lookup::options(command).flat_map(spelt).filter(move |option| option.starts_with(text))
}

/// Returns candidates that need no quoting, each followed by a space.
fn plain(texts: impl Iterator<Item = String>) -> Vec<Candidate> {
    texts.map(|text| Candidate { replacement: format!("{text} "), display: text }).collect()
}

/// Returns names in the directory that was begun with.
fn in_directory(
    partial: &Partial<'_>,
    only_directories: bool,
    list: impl Fn(&str) -> Option<Arc<[ListedItem]>>,
) -> Vec<Candidate> {
    let (directory, begin) = partial.text.rfind('/').map_or(("", partial.text), |at| partial.text.split_at(at + 1));
    let items = list(directory).unwrap_or_default();
    let items = items.iter().filter(|item| {
        // A name that begins with a dot is shown only after a dot.
        let hidden = item.name.starts_with('.') && begin.is_empty();
        item.name.starts_with(begin) && !hidden && (item.is_directory || !only_directories)
    });
    let found: Vec<(String, &ListedItem)> = items.map(|item| (format!("{directory}{}", item.name), item)).collect();
    let texts: Vec<&str> = found.iter().map(|(text, _)| text.as_str()).collect();
    let style = Style::of(partial.quote, &texts);
    let candidate = |(text, item): &(String, &ListedItem)| Candidate {
        display: if item.is_directory { format!("{}/", item.name) } else { item.name.clone() },
        replacement: style.written(text, item.is_directory),
    };
    found.iter().map(candidate).collect()
}

/// Returns the beginning that all of `texts` have in common.
fn common_begin<'a>(texts: &[&'a str]) -> &'a str {
    let Some((first, rest)) = texts.split_first() else { return "" };
    rest.iter().fold(first, |begin, text| {
        let common = begin.char_indices().zip(text.chars()).find(|((_, a), b)| a != b).map(|((at, _), _)| at);
        &begin[..common.unwrap_or(begin.len().min(text.len()))]
    })
}

/// The way in which all names are quoted: the same for all, so that what they begin with in common can be completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Plain,
    Escaped,
    Single,
    Double,
}

impl Style {
    fn of(begun: Option<char>, texts: &[&str]) -> Style {
        // Of several, only what they begin with in common is put into the line.
        let inserted = common_begin(texts);
        let needed = begun.is_some() || !inserted.is_empty() && words::quote(inserted) != inserted;
        match (needed, begun) {
            (false, _) => Style::Plain,
            (true, None) if !Style::dangles(inserted, texts) => Style::Escaped,
            (true, Some('"')) => Style::Double,
            _ if texts.iter().any(|text| text.contains('\'')) => Style::Double,
            _ => Style::Single,
        }
    }

    /// Returns whether an escaped completion would end in the middle of an escape.
    fn dangles(inserted: &str, texts: &[&str]) -> bool {
        let next = |text: &&str| text[inserted.len()..].chars().next();
        texts.len() > 1 && texts.iter().all(|text| next(text).is_some_and(words::is_escapable))
    }

    /// Returns `text` as it is typed. After a directory no space follows, for there is more to come.
    fn written(self, text: &str, is_directory: bool) -> String {
        let end = if is_directory { "/" } else { "" };
        let word = match self {
            Style::Plain => format!("{text}{end}"),
            Style::Escaped => words::escape(text) + end,
            Style::Single => format!("'{text}{end}'"),
            Style::Double => format!("\"{}{end}\"", words::in_double_quotes(text)),
        };
        if is_directory { word } else { word + " " }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Fixed(Aliases);

    impl Places for Fixed {
        fn remote(&self, directory: &str) -> Option<Arc<[ListedItem]>> {
            let names: &[&str] = match directory {
                "" => &["plain.txt", "poems/", "two words.txt", "two worlds.txt", ".hidden", "-r2", "end ", "a;b"],
                "poems/" => &["ozymandias.txt", "it's", "a b/", "say \"x\""],
                "poems/a b/" => &["deep"],
                _ => return None,
            };
            let item = |name: &&str| ListedItem {
                name: name.trim_end_matches('/').to_owned(),
                is_directory: name.ends_with('/'),
            };
            Some(names.iter().map(item).collect())
        }

        fn local(&self, directory: &str) -> Option<Arc<[ListedItem]>> {
            let item = |name: &str, is_directory| ListedItem { name: name.to_owned(), is_directory };
            (directory == "~/").then(|| vec![item("mine", false), item("more", true)].into())
        }

        fn hosts(&self) -> Vec<String> {
            ["12000", "home", "nas.example:12000"].map(str::to_owned).into()
        }

        fn aliases(&self) -> &Aliases {
            &self.0
        }
    }

    /// The line with each of the candidates in place; the last one alone where that says it.
    fn completed(line: &str) -> Vec<String> {
        completed_with(Aliases::default(), line)
    }

    fn completed_with(aliases: Aliases, line: &str) -> Vec<String> {
        let (start, found) = candidates(line, &Fixed(aliases));
        found.into_iter().map(|candidate| format!("{}{}", &line[..start], candidate.replacement)).collect()
    }

    #[test]
    fn commands_options_and_hosts() {
        assert_eq!(completed("GE"), ["GET "]);
        assert_eq!(completed("ge"), ["get "]);
        assert_eq!(completed("  qu"), ["  quit "]);
        assert_eq!((completed("by"), completed("mge")), (vec!["bye ".to_owned()], vec!["mget ".to_owned()]));
        assert_eq!(completed("get pl; QU"), ["get pl; QUIT "]);
        assert_eq!(completed("help cl"), ["help close "]);
        assert_eq!(completed("OPEN na"), ["OPEN nas.example:12000 "]);
        assert_eq!(completed("OPEN ").len(), 3);
        assert!(completed("").len() >= 6);
        assert_eq!(completed("FROB a"), [""; 0]);
        assert_eq!(completed("GÜ"), [""; 0]);
    }

    #[test]
    fn aliases_and_what_follows_them() {
        let completed = |line: &str| {
            let mut aliases = Aliases::default();
            for (name, text) in [("fetch-all", "GET -r"), ("feed", "PUT"), ("there", "SYNC -d"), ("sh-list", "!ls -l")]
            {
                aliases.add(name, text).unwrap();
            }
            completed_with(aliases, line)
        };
        assert_eq!((completed("fet"), completed("FEE")), (vec!["fetch-all ".to_owned()], vec!["FEED ".to_owned()]));
        assert_eq!(completed("s"), ["sync ", "stat ", "sum ", "status ", "set ", "sh-list "]);
        assert_eq!(completed("fetch-all pl"), ["fetch-all plain.txt "]);
        assert_eq!(completed("ls; FETCH-ALL po"), ["ls; FETCH-ALL poems/"]);
        assert_eq!(completed("feed ~/m"), ["feed ~/mine ", "feed ~/more/"]);
        assert_eq!(completed("there po"), ["there poems/"]);
        assert_eq!(completed("help fee"), ["help feed "]);
        assert_eq!((completed("sh-list p"), completed("'feed' ~/m")), (vec![], vec![]));
    }

    #[test]
    fn names_of_the_server() {
        assert_eq!(completed("GET pl"), ["GET plain.txt "]);
        assert_eq!(completed("get po"), ["get poems/"]);
        assert_eq!(completed("GET poems/oz"), ["GET poems/ozymandias.txt "]);
        assert_eq!(completed("GET .h"), ["GET .hidden "]);
        assert_eq!(completed("GET ").len(), 7, "what is hidden is not shown");
        assert_eq!(completed("GET missing/"), [""; 0]);
        assert_eq!(completed("GET -r"), ["GET -r "]);
        assert_eq!(completed("GET -r2"), ["GET \\-r2 "]);
        assert_eq!(completed("GET -- -r"), ["GET -- \\-r2 "]);
        assert_eq!(completed("CD poems "), [""; 0], "it takes one name");
        assert_eq!(completed("GET -o ").len(), 0, "that is a local name");
    }

    #[test]
    fn names_with_spaces_are_quoted_so_that_they_parse_back() {
        assert_eq!(completed("GET tw"), ["GET two\\ words.txt ", "GET two\\ worlds.txt "]);
        assert_eq!(completed("GET two\\ word"), ["GET two\\ words.txt "]);
        // What both begin with is completed first, and leaves the quote open.
        assert_eq!(completed("GET 'two wor"), ["GET 'two words.txt' ", "GET 'two worlds.txt' "]);
        assert_eq!(completed("GET \"two word"), ["GET \"two words.txt\" "]);
        assert_eq!(completed("GET 'two'\\ word"), ["GET 'two words.txt' "]);
        // Typed without quotes, the second is a word of its own.
        assert_eq!(completed("GET two word"), [""; 0]);
        assert_eq!(completed("GET two ").len(), 7);
        // A name that ends in a space, and one with what separates commands.
        assert_eq!(
            (completed("GET en"), completed("GET end\\ ")),
            (vec!["GET end\\  ".to_owned()], vec!["GET end\\  ".to_owned()])
        );
        assert_eq!(
            (completed("GET a"), completed("GET 'a;")),
            (vec!["GET a\\;b ".to_owned()], vec!["GET 'a;b' ".to_owned()])
        );
        assert_eq!(completed("CD poems/a"), ["CD poems/a\\ b/"]);
        assert_eq!(completed("GET poems/a\\ b/"), ["GET poems/a\\ b/deep "]);
        assert_eq!(completed("GET 'poems/a"), ["GET 'poems/a b/'"]);
        assert_eq!(completed("GET 'poems/a b/'"), ["GET 'poems/a b/deep' "]);
        assert_eq!(completed("GET 'poems/a b/"), ["GET 'poems/a b/deep' "]);
        assert_eq!(completed("GET poems/it"), ["GET poems/it\\'s "]);
        assert_eq!(completed("GET \"poems/it"), ["GET \"poems/it's\" "]);
        assert_eq!(completed("GET 'poems/say"), ["GET 'poems/say \"x\"' "]);
        for name in ["two words.txt", "poems/it's", "poems/say \"x\"", "plain.txt"] {
            let line = completed(&format!("GET {}", words::escape(&name[..name.len() - 1]))).remove(0);
            assert_eq!(words::split(&line).unwrap()[1].text, name, "{line}");
        }
    }

    #[test]
    fn no_quote_is_put_in_before_it_is_needed() {
        // Nothing is common to all, or nothing of that needs a quote.
        assert_eq!(completed("GET ")[0], "GET plain.txt ");
        assert_eq!(completed("GET t"), ["GET two\\ words.txt ", "GET two\\ worlds.txt "]);
        // A backslash alone would be left in the line, and mean itself there.
        assert_eq!(Style::of(None, &["a? b", "a? c"]), Style::Escaped);
        assert_eq!(Style::of(None, &["a b?", "a b*"]), Style::Single);
        assert_eq!(Style::of(None, &["-x"]), Style::Escaped);
        assert_eq!(Style::of(None, &["a\u{a0}b"]), Style::Plain);
        assert_eq!(common_begin(&["two words", "two worlds"]), "two wor");
        assert_eq!((common_begin(&[]), common_begin(&["a"]), common_begin(&["a", "ab", "b"])), ("", "a", ""));
        assert_eq!(common_begin(&["Grüße", "Grüße an dich", "Grün"]), "Grü");
    }

    #[test]
    fn no_line_is_too_odd() {
        for line in [
            "GET \"a\\\" b' \"",
            "get 'Grü/ße \"",
            "!ls 'a",
            "SYNC -u ./ -> '",
            "-> -> ->",
            "'",
            "\"/",
            "GET //../'",
            "ＧＥＴ a",
            "GET -",
            "GET --",
            "PUT '~/m",
            "mv a\u{301} \u{200b}",
            "OPEN '",
            "\u{a0}GET\u{a0}po",
        ] {
            for (end, _) in line.char_indices().chain([(line.len(), ' ')]) {
                let (start, found) = candidates(&line[..end], &Fixed::default());
                assert!(line.is_char_boundary(start) && start <= end, "{line:?} {end} {found:?}");
            }
        }
    }

    #[test]
    fn what_comes_next_is_told_by_the_tree() {
        let next = |line: &str| {
            let words = words::read(line).0;
            let command = lookup::find(&words[0].text)?;
            expected(command, &words[1..]).map(|argument| hint(command, argument, &words[1..]))
        };
        let (local, remote) = (Some((ValueHint::DirPath, true)), Some((ValueHint::Other, true)));
        assert_eq!((next("SYNC"), next("SYNC -u"), next("SYNC a"), next("SYNC a ->")), (local, local, remote, remote));
        assert_eq!((next("SYNC -nd"), next("SYNC -d a"), next("SYNC --down a ->")), (remote, local, local));
        assert_eq!((next("SYNC --delete"), next("SYNC a b"), next("SYNC --backup-dir")), (local, None, local));
        assert_eq!((next("get a"), next("CD")), (Some((ValueHint::Other, false)), remote));
        assert_eq!((next("PUT a"), next("PUT a ->")), (next("GET a ->"), Some((ValueHint::Other, false))));
        assert_eq!((next("CLOSE"), next("OPEN a"), next("FROB")), (None, None, None));
        assert_eq!(next("HELP"), Some((ValueHint::CommandName, false)));
    }

    #[test]
    fn local_names_and_directories() {
        assert_eq!(completed("PUT ~/m"), ["PUT ~/mine ", "PUT ~/more/"]);
        assert_eq!(completed("PUT x"), [""; 0]);
    }
}
