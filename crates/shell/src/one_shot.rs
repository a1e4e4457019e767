//! Subcommands that do one command of the shell: `ferry get HOST name`.
//!
//! They are made from the table of commands, and their arguments become the words of a command as they are: nothing is
//! quoted, put together and taken apart again.

use std::ffi::OsString;

use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint};

use ferry_wire::escaped;

use super::{
    command::{
        likeness,
        table::{self, FORMS, Form, Kind, Opt, Takes},
    },
    words::Word,
};

/// The commands that make sense alone, at a server that is named.
const VERBS: [&str; 9] = ["GET", "PUT", "LS", "SYNC", "STAT", "SUM", "MKDIR", "RM", "MV"];

const HOST: &str = "host";
const NAMES: &str = "names";
const OUTPUT: &str = "output";

/// The letter of `--help`, unless a command has another use for it.
const HELP: char = 'h';

/// What a name is called that stands for standard input or output.
const STREAM: &str = "-";

/// One command, at one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OneShot {
    /// A port, host:port or bookmark.
    pub(crate) host: String,
    /// The command, its verb first.
    pub(crate) words: Vec<Word>,
}

/// One subcommand for each command that can stand alone, under its other names as well.
pub(crate) fn subcommands() -> impl Iterator<Item = Command> {
    forms().map(|form| subcommand(form, form.verb).aliases(form.also.iter().map(|word| word.to_ascii_lowercase())))
}

/// One for each word that stands for such a command with options: they work, and are told nowhere.
pub(crate) fn phrases() -> impl Iterator<Item = Command> {
    table::phrases().filter_map(|word| Some(subcommand(known(word)?, word).hide(true)))
}

fn subcommand(form: &'static Form, word: &str) -> Command {
    let command = Command::new(word.to_ascii_lowercase()).about(capitalised(form.summary));
    let command = command.after_help(details(form)).arg(
        Arg::new(HOST)
            .value_name("HOST")
            .required(true)
            .help("The server: a port of this machine, host:port, or a bookmark")
            .value_hint(ValueHint::Hostname),
    );
    let command = match options(form).any(|option| option.short == HELP) {
        false => command,
        true => command
            .disable_help_flag(true)
            .arg(Arg::new("help").long("help").help("Print help").action(ArgAction::Help)),
    };
    let command = command.args(options(form).map(option)).args(names(form));
    match form.target {
        None => command,
        Some(kind) => command.arg(
            Arg::new(OUTPUT)
                .short('o')
                .long("output")
                .value_name("NAME")
                .value_hint(hint(kind))
                .allow_hyphen_values(true)
                .help("The name to give to it; '->' NAME, in quotes, is the same"),
        ),
    }
}

/// Returns what to say of a word that is neither a subcommand nor a server.
pub(crate) fn unknown(word: &str) -> String {
    let begin = format!("'{}' is no subcommand, bookmark, port or host:port", escaped(word));
    let word = word.to_ascii_uppercase();
    match likeness::command(&word).filter(|form| VERBS.contains(&form.verb)) {
        Some(form) => format!("{begin}; did you mean ferry {}?", form.verb.to_ascii_lowercase()),
        None => format!("{begin}; ferry --help lists the subcommands"),
    }
}

/// `->` is what the shell's own commands say for `-o`. Only the first one counts as such, and none after `--`, where
/// all are names.
pub(crate) fn arrows_as_options(arguments: impl Iterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    let mut seen = false;
    arguments.map(move |argument| {
        seen |= argument == "--";
        let is_arrow = argument == "->" && !std::mem::replace(&mut seen, true);
        if is_arrow { OsString::from("-o") } else { argument }
    })
}

impl OneShot {
    /// Reads what was typed after the subcommand `verb`.
    ///
    /// # Errors
    ///
    /// What a system shell makes of an arrow that was not quoted.
    pub(crate) fn read(verb: &str, matches: &ArgMatches) -> Result<OneShot, String> {
        let form = known(verb).ok_or_else(|| format!("there is no subcommand {verb}"))?;
        let names: Vec<&String> = matches.try_get_many(NAMES).ok().flatten().into_iter().flatten().collect();
        let target = matches.try_get_one::<String>(OUTPUT).ok().flatten();
        check_streams(form, &names, target.map(String::as_str))?;
        let mut words = vec![Word::plain(verb.to_ascii_uppercase())];
        for option in options(form) {
            match option.value {
                None if matches.get_flag(option.long) => words.push(Word::plain(format!("-{}", option.short))),
                None => {}
                Some(_) => {
                    for value in matches.get_many::<String>(option.long).into_iter().flatten() {
                        words.extend([Word::plain(format!("-{}", option.short)), Word::literal(value)]);
                    }
                }
            }
        }
        words.extend(names.into_iter().map(|name| argument(name)));
        if let Some(target) = target {
            words.extend([Word::plain("->"), argument(target)]);
        }
        let host = matches.get_one::<String>(HOST).cloned().unwrap_or_default();
        Ok(OneShot { host, words })
    }

    /// Whether it saves or sends files of the client directory.
    pub(crate) fn is_about_files_here(&self) -> bool {
        let moves = self.words.first().is_some_and(|verb| ["GET", "PUT", "SYNC"].iter().any(|moving| verb.is(moving)));
        moves && !self.words.iter().any(|word| word.is(STREAM))
    }
}

/// `ferry put HOST - -> name` without quotes reaches the program as `ferry put HOST - -`, its output going to `name`.
fn check_streams(form: &Form, names: &[&String], target: Option<&str>) -> Result<(), String> {
    let streams = names.iter().filter(|name| **name == STREAM).count();
    let why = match (form.verb, streams) {
        (_, 0) => return Ok(()),
        ("PUT", 1) if names.len() == 1 && target.is_some() => return Ok(()),
        ("PUT", 1) if names.len() == 1 => "standard input has no name: -o NAME gives it one",
        ("PUT", _) => "standard input goes alone, and -o NAME gives it a name",
        ("GET", _) => "'-' is no file of a server; -o - writes one to standard output",
        _ => "'-' is no name of a server",
    };
    Err(format!("{why} (to a system shell, -> without quotes is '-' and a redirection)"))
}

/// The command that a subcommand does, whatever it is called.
fn known(verb: &str) -> Option<&'static Form> {
    table::form(verb).filter(|form| VERBS.contains(&form.verb))
}

fn forms() -> impl Iterator<Item = &'static Form> {
    FORMS.iter().filter(|form| VERBS.contains(&form.verb))
}

fn argument(text: &str) -> Word {
    if text == STREAM { Word::plain(text) } else { Word::argument(text) }
}

/// What is an option of the whole program is none of a command.
fn options(form: &'static Form) -> impl Iterator<Item = &'static Opt> {
    form.options.iter().filter(|option| option.long != "keep-going")
}

/// The first letter is a capital, as in the rest of the help.
fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}

fn details(form: &Form) -> String {
    format!("In the shell: {}\n{}", form.usage, form.details)
}

fn option(option: &'static Opt) -> Arg {
    let arg = Arg::new(option.long).short(option.short).long(option.long).help(capitalised(option.summary));
    match option.value {
        None => arg.action(ArgAction::SetTrue),
        Some(kind) => arg.action(ArgAction::Append).value_name(option.long.to_ascii_uppercase()).value_hint(hint(kind)),
    }
}

fn names(form: &Form) -> Option<Arg> {
    let (kind, count) = match form.takes {
        Takes::Nothing => return None,
        Takes::One(kind) => (kind, 0..=1),
        Takes::Many(kind) => (kind, 0..=usize::MAX),
        Takes::Words(kinds) => (*kinds.first()?, 0..=kinds.len()),
    };
    let arg = Arg::new(NAMES).value_name("NAME").num_args(count).value_hint(hint(kind));
    Some(arg.help(form.usage))
}

fn hint(kind: Kind) -> ValueHint {
    match kind {
        Kind::Local => ValueHint::AnyPath,
        Kind::LocalDirectory => ValueHint::DirPath,
        Kind::Address => ValueHint::Hostname,
        // Which of the two it is depends on the direction.
        Kind::Source | Kind::Target => ValueHint::AnyPath,
        Kind::Command | Kind::Shell | Kind::Number | Kind::Remote | Kind::RemoteDirectory => ValueHint::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<OneShot, String> {
        let command = Command::new("ferry").subcommands(subcommands()).subcommands(phrases());
        let arguments = ["ferry"].iter().chain(arguments).map(OsString::from);
        let matches = command.try_get_matches_from(arrows_as_options(arguments)).map_err(|error| error.to_string())?;
        let (verb, matches) = matches.subcommand().unwrap();
        OneShot::read(verb, matches)
    }

    fn texts(arguments: &[&str]) -> Vec<String> {
        read(arguments).unwrap().words.into_iter().map(|word| word.text).collect()
    }

    #[test]
    fn arguments_are_the_words_of_a_command() {
        let read = read(&["get", "nas:1", "it's \"so\"; really", "b"]).unwrap();
        assert_eq!(read.host, "nas:1");
        assert_eq!(read.words[0], Word::plain("GET"));
        assert_eq!(read.words[1..], [Word::literal("it's \"so\"; really"), Word::literal("b")]);
    }

    #[test]
    fn other_words_are_subcommands_as_well() {
        assert_eq!(texts(&["mget", "1", "a"]), ["GET", "a"]);
        assert_eq!(texts(&["cat", "1", "a"]), ["CAT", "a"]);
        assert_eq!(texts(&["dir", "1", "-t"]), ["DIR", "-t"]);
        assert!(read(&["bye", "1"]).is_err());
        let command = Command::new("ferry").subcommands(subcommands()).subcommands(phrases());
        command.debug_assert();
    }

    #[test]
    fn what_a_system_shell_makes_of_an_arrow_is_told() {
        for arguments in [&["put", "1", "-", "-"][..], &["put", "1", "-"], &["get", "1", "a", "-"]] {
            let why = read(arguments).unwrap_err();
            assert!(why.contains("-> without quotes"), "{why}");
        }
        assert!(read(&["put", "1", "a", "->", "b", "->", "c"]).is_err());
    }

    #[test]
    fn names_that_begin_with_a_dash_stand_behind_two() {
        assert_eq!(texts(&["get", "1", "--", "-r"]), ["GET", "-r"]);
        assert_eq!(texts(&["get", "1", "->", "x", "--", "->"]), ["GET", "->", "->", "x"]);
        assert_eq!(texts(&["get", "1", "-o", "x", "--", "->"]), ["GET", "->", "->", "x"]);
        assert!(read(&["get", "1", "--", "-r"]).unwrap().words[1].quoted);
        assert!(read(&["get", "1", "--frob"]).is_err());
        assert!(read(&["get"]).is_err());
    }
}
