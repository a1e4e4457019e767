//! Subcommands that do one command of the shell: `ferry get HOST name`. They are those of the tree with HOST in front.

use std::ffi::OsStr;

use clap::{Arg, ArgMatches, ValueHint};
use ferry_wire::escaped;

use super::{
    command::{self, Aliases, Command, Put, Target, lookup},
    words::Word,
};

const HOST: &str = "host";

/// One command, at one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OneShot {
    /// A port, host:port or bookmark.
    pub(crate) host: String,
    pub(crate) command: Command,
}

/// Returns one subcommand for each command that can stand alone. Those that only habit types are hidden.
pub(crate) fn subcommands() -> impl Iterator<Item = clap::Command> {
    lookup::one_shot().map(|command| {
        let details = format!("In the shell: {}\n{}", lookup::usage(command), lookup::details(command));
        let host = Arg::new(HOST)
            .value_name("HOST")
            .required(true)
            .help("The server: a port of this machine, host:port, or a bookmark; USER@ in front logs in")
            .value_hint(ValueHint::Hostname);
        // A new one, since HOST is the first of the arguments.
        clap::Command::new(command.get_name())
            .about(lookup::summary(command))
            .aliases(command.get_all_aliases())
            .hide(command.is_hide_set())
            .disable_help_flag(command.is_disable_help_flag_set())
            .after_help(details.trim_end().to_owned())
            .arg(host)
            .args(command.get_arguments())
    })
}

/// Returns what to say of a word that is neither a subcommand nor a server.
pub(crate) fn unknown(word: &str) -> String {
    let begin = format!("'{}' is no subcommand, bookmark, port or host:port", escaped(word));
    let known = |name: &&str| lookup::one_shot().any(|command| command.get_name() == *name);
    match lookup::probable(word).filter(known) {
        Some(name) => format!("{begin}; did you mean ferry {name}?"),
        None => format!("{begin}; ferry --help lists the subcommands"),
    }
}

/// Returns what to say of a word that is an alias of `aliases`, where a subcommand or a server should stand.
pub(crate) fn alias(word: &str, aliases: &Aliases) -> Option<String> {
    let (meaning, word) = (escaped(aliases.meaning(word)?), escaped(word));
    Some(format!("'{word}' is an alias of the shell, for {meaning}: ferry HOST -c '{word} ...' uses it"))
}

impl OneShot {
    /// Reads the matches of a command line whose subcommand is one of [`subcommands`].
    ///
    /// # Errors
    ///
    /// The words that a system shell makes of an arrow that was not quoted.
    pub(crate) fn read(matches: &ArgMatches) -> Result<OneShot, String> {
        let command = command::read(matches).map_err(|error| error.to_string())?;
        check_streams(&command)?;
        let host = matches.subcommand().and_then(|(_, given)| given.get_one::<String>(HOST));
        Ok(OneShot { host: host.cloned().unwrap_or_default(), command })
    }

    /// Returns whether it saves or sends files of the client directory.
    pub(crate) fn is_about_files_here(&self) -> bool {
        match &self.command {
            Command::Get(get) => get.transfer.target != Some(Target::Stream),
            Command::Put(put) => !put.transfer.names.words.iter().any(is_stream),
            Command::Sync(_) => true,
            _ => false,
        }
    }
}

fn is_stream(word: &Word) -> bool {
    word.is("-")
}

/// Finds a `-` that means nothing: `ferry put HOST - -> name` without quotes reaches the program as
/// `ferry put HOST - -`, its output going to `name`.
fn check_streams(command: &Command) -> Result<(), String> {
    let why = match command {
        Command::Put(Put { transfer, .. }) => match &transfer.names.words[..] {
            [word] if is_stream(word) && transfer.target.is_some() => return Ok(()),
            [word] if is_stream(word) => "standard input has no name: -o NAME gives it one",
            words if words.iter().any(is_stream) => "standard input goes alone, and -o NAME gives it a name",
            _ => return Ok(()),
        },
        Command::Get(get) if get.transfer.names.words.iter().any(is_stream) => {
            "'-' is no file of a server; -o - writes one to standard output"
        }
        Command::Rm(removal) if removal.names.words.iter().any(is_stream) => "'-' is no name of a server",
        _ => return Ok(()),
    };
    Err(format!("{why} (to a system shell, -> without quotes is '-' and a redirection)"))
}

/// Returns whether `argument` asks for events; an option after `--` is none.
pub(crate) fn asks_for_events<T: AsRef<OsStr>>(arguments: &[T]) -> bool {
    arguments.iter().map(AsRef::as_ref).take_while(|argument| *argument != "--").any(|argument| argument == "--json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Get;

    fn read(arguments: &[&str]) -> Result<OneShot, String> {
        let command = clap::Command::new("ferry").args_override_self(true).subcommands(subcommands());
        command.clone().debug_assert();
        let arguments = ["ferry"].iter().chain(arguments).map(|argument| (*argument).to_owned());
        let matches = command.try_get_matches_from(command::arrow_as_option(arguments));
        OneShot::read(&matches.map_err(|error| error.to_string())?)
    }

    fn names(arguments: &[&str]) -> (Vec<Word>, Option<Target>) {
        match read(arguments).unwrap().command {
            Command::Get(Get { transfer, .. }) | Command::Put(Put { transfer, .. }) => {
                (transfer.names.words, transfer.target)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn arguments_are_names_as_they_are() {
        assert_eq!(read(&["get", "nas:1", "a"]).unwrap().host, "nas:1");
        let words = names(&["get", "nas:1", "it's \"so\"; really", "b\\c", "*"]).0;
        let texts: Vec<_> = words.iter().map(|word| (&*word.text, word.pattern.as_deref())).collect();
        assert_eq!(texts, [("it's \"so\"; really", None), ("b\\c", None), ("*", Some("*"))]);
    }

    #[test]
    fn other_words_are_subcommands_as_well() {
        assert!(matches!(read(&["mget", "1", "a"]).unwrap().command, Command::Get(_)));
        assert_eq!(names(&["cat", "1", "a"]).1, Some(Target::Stream));
        let style = |arguments: &[&str]| match read(arguments).unwrap().command {
            Command::Ls(there) => there.list.style(),
            other => panic!("{other:?}"),
        };
        assert_eq!(style(&["dir", "1", "-t"]), style(&["ls", "1", "-l", "-t"]));
        assert!(read(&["bye", "1"]).is_err());
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
    fn names_that_begin_with_a_dash_stand_after_two() {
        let texts = |arguments: &[&str]| {
            let (words, target) = names(arguments);
            (words.into_iter().map(|word| word.text).collect::<Vec<_>>(), target)
        };
        let x = Some(Target::Name("x".to_owned()));
        assert_eq!(texts(&["get", "1", "--", "-r"]), (vec!["-r".to_owned()], None));
        assert_eq!(texts(&["get", "1", "->", "x", "--", "->"]), (vec!["->".to_owned()], x.clone()));
        assert_eq!(texts(&["get", "1", "-o", "x", "--", "->"]), (vec!["->".to_owned()], x));
        assert!(read(&["get", "1", "--frob"]).is_err());
        assert!(read(&["get", "1"]).is_err() && read(&["get"]).is_err());
    }
}
