//! Questions to the tree: commands by their words, and the texts about them.

use std::sync::LazyLock;

use clap::{Arg, ArgAction, Subcommand as _};
use ferry_wire::escaped;

use super::{arguments, likeness, tree::Command};
use crate::exit::Failed;

/// The commands that make sense alone, at a server that is named.
const ONE_SHOT: [&str; 16] = [
    "get", "put", "ls", "sync", "less", "find", "tree", "du", "df", "edit", "stat", "sum", "mkdir", "rm", "mv",
    "health",
];

/// A word for a command whose argument then has another default.
pub(super) struct Phrase {
    word: &'static str,
    pub(super) command: &'static str,
    argument: &'static str,
    default: &'static str,
}

const PHRASES: [Phrase; 6] = [
    Phrase { word: "cat", command: "get", argument: "output", default: "-" },
    Phrase { word: "cdup", command: "cd", argument: "directory", default: ".." },
    Phrase { word: "dir", command: "ls", argument: "long", default: "true" },
    Phrase { word: "ll", command: "ls", argument: "long", default: "true" },
    Phrase { word: "rmd", command: "rm", argument: "empty", default: "true" },
    Phrase { word: "rmdir", command: "rm", argument: "empty", default: "true" },
];

/// Words that switch something on in a usual FTP client that ferry always does; and what that is.
const NEEDLESS: [(&[&str], &str); 4] = [
    (&["bin", "binary", "image"], "bytes are always moved as they are"),
    (&["epsv", "passive", "pasv"], "there is only one connection, and the client makes it"),
    (&["hash", "tick"], "progress is shown by itself"),
    (&["prompt"], "nothing is asked before a file is moved"),
];

/// Words of other programs that mean something like a command, which is offered in their place.
const SYNONYMS: [(&str, &[&str]); 11] = [
    ("open", &["telnet"]),
    ("login", &["acct", "auth", "pass", "passwd", "password"]),
    ("get", &["pget"]),
    ("sync", &["rsync", "mirror"]),
    ("stat", &["info", "mdtm"]),
    ("sum", &["cksum", "md5sum", "sha1sum", "sha256sum"]),
    ("rm", &["erase", "unlink", "remove"]),
    ("health", &["ping", "alive", "check"]),
    ("!", &["shell", "sh"]),
    ("close", &["logout"]),
    ("quit", &["x"]),
];

/// The tree, with a hidden command for each phrase.
static TREE: LazyLock<clap::Command> = LazyLock::new(|| {
    let tree = clap::Command::new("ferry").no_binary_name(true).disable_help_subcommand(true).args_override_self(true);
    let tree = Command::augment_subcommands(tree);
    let phrases: Vec<clap::Command> = PHRASES
        .iter()
        .filter_map(|phrase| {
            let command =
                tree.find_subcommand(phrase.command)?.clone().name(phrase.word).alias(None::<&str>).hide(true);
            Some(command.mut_arg(phrase.argument, |arg| arg.default_value(phrase.default)))
        })
        .collect();
    tree.subcommands(phrases)
});

/// Returns the tree, to be parsed with: a clap command is used up.
pub(super) fn tree() -> clap::Command {
    TREE.clone()
}

/// Commands that belong to one task, in the order of HELP.
pub(crate) struct Group {
    /// The word for the task.
    pub(crate) task: &'static str,
    names: &'static [&'static str],
}

const GROUPS: [Group; 6] = [
    Group { task: "connection", names: &["open", "login", "status", "health", "close"] },
    Group { task: "transfers", names: &["get", "put", "sync"] },
    Group { task: "background", names: &["jobs", "fg", "cancel"] },
    Group { task: "looking", names: &["ls", "find", "tree", "stat", "sum", "du", "df", "less"] },
    Group { task: "changes", names: &["edit", "mkdir", "rm", "mv"] },
    Group { task: "places", names: &["cd", "pwd", "lcd", "lpwd", "lls"] },
];

/// All that is in no other group: it sees to the shell itself.
const REST: Group = Group { task: "shell", names: &[] };

/// Returns the groups of HELP, each with its commands. Every command is in one of them.
pub(crate) fn groups() -> impl Iterator<Item = (&'static str, Vec<&'static clap::Command>)> {
    let is_grouped = |name: &str| GROUPS.iter().any(|group| group.names.contains(&name));
    GROUPS.iter().chain([&REST]).map(move |group| {
        let commands = match group.names {
            [] => all().filter(|command| !is_grouped(command.get_name())).collect(),
            names => names.iter().filter_map(|name| find(name)).collect(),
        };
        (group.task, commands)
    })
}

/// Returns the commands in the order of the tree.
pub(crate) fn all() -> impl Iterator<Item = &'static clap::Command> {
    TREE.get_subcommands().filter(|command| !command.is_hide_set())
}

/// Returns the command that `verb` names, in any case of letters.
pub(crate) fn find(verb: &str) -> Option<&'static clap::Command> {
    TREE.find_subcommand(verb.to_ascii_lowercase())
}

/// Returns the command that HELP explains for `verb`.
pub(crate) fn explained(verb: &str) -> Result<&'static clap::Command, Failed> {
    let meant = phrase(&verb.to_ascii_lowercase()).map_or(verb, |phrase| phrase.command);
    find(meant).ok_or_else(|| unknown(verb))
}

/// Returns the commands that make sense alone; those of phrases are hidden.
pub(crate) fn one_shot() -> impl Iterator<Item = &'static clap::Command> {
    TREE.get_subcommands().filter(|command| {
        let name = command.get_name();
        ONE_SHOT.contains(&phrase(name).map_or(name, |phrase| phrase.command))
    })
}

/// Returns all other words for commands.
pub(crate) fn aliases() -> impl Iterator<Item = &'static str> {
    TREE.get_subcommands().flat_map(clap::Command::get_all_aliases).chain(PHRASES.iter().map(|phrase| phrase.word))
}

/// Returns the command that was probably meant by `verb`.
pub(crate) fn probable(verb: &str) -> Option<&'static str> {
    let verb = verb.to_ascii_lowercase();
    let synonym = SYNONYMS.iter().find(|(_, words)| words.contains(&verb.as_str())).map(|(name, _)| *name);
    synonym.or_else(|| likeness::nearest(&verb, all().map(clap::Command::get_name)))
}

/// Returns how `command` is typed: `GET [-rknpS] name ... [-> local]`.
pub(crate) fn usage(command: &clap::Command) -> String {
    let name = verb(command);
    let mut words = vec![name];
    // Those that choose files are the same for all, and many.
    let own = options(command).filter(|arg| arg.get_help_heading() != Some(arguments::HEADING));
    let (flags, valued): (Vec<&Arg>, Vec<&Arg>) = own.partition(|arg| is_flag(arg));
    let letters: String = flags.into_iter().filter_map(Arg::get_short).collect();
    if !letters.is_empty() {
        words.push(format!("[-{letters}]"));
    }
    for option in valued.iter().filter(|arg| !is_target(arg)) {
        words.push(format!("[--{} {}]", option.get_long().unwrap_or_default(), value_name(option)));
    }
    for argument in command.get_positionals().filter(|arg| !arg.is_hide_set()) {
        let many = if argument.get_num_args().is_some_and(|count| count.max_values() > 1) { " ..." } else { "" };
        let word = format!("{}{many}", value_name(argument).to_ascii_lowercase());
        words.push(if argument.is_required_set() { word } else { format!("[{word}]") });
    }
    words.extend(
        valued
            .into_iter()
            .filter(|arg| is_target(arg))
            .map(|arg| format!("[-> {}]", value_name(arg).to_ascii_lowercase())),
    );
    words.join(" ")
}

/// Returns the name of `command` as HELP writes it.
pub(crate) fn verb(command: &clap::Command) -> String {
    command.get_name().to_ascii_uppercase()
}

/// Returns what `command` does, in one line.
pub(crate) fn summary(command: &clap::Command) -> String {
    command.get_about().map(ToString::to_string).unwrap_or_default()
}

/// Returns what else there is to know of `command`, in paragraphs of one line each.
pub(crate) fn details(command: &clap::Command) -> String {
    let whole = command.get_long_about().map(ToString::to_string).unwrap_or_default();
    let paragraphs: Vec<&str> = whole.split("\n\n").skip(1).collect();
    paragraphs.join("\n")
}

/// Returns a sentence with the other words for `command`, where there are any.
pub(crate) fn other_words(command: &clap::Command) -> Option<String> {
    let words: Vec<String> = command.get_all_aliases().map(str::to_ascii_uppercase).collect();
    (!words.is_empty()).then(|| format!("Other words for it: {}.", words.join(", ")))
}

/// Returns examples of `command`, one a line.
pub(crate) fn examples(command: &clap::Command) -> String {
    command.get_after_help().map(ToString::to_string).unwrap_or_default()
}

/// Returns the options of `command` that people are told of.
pub(crate) fn options(command: &clap::Command) -> impl Iterator<Item = &Arg> {
    let is_told = |arg: &&Arg| !arg.is_positional() && !arg.is_hide_set();
    command.get_arguments().filter(is_told).filter(|arg| !matches!(arg.get_action(), ArgAction::Help))
}

/// Returns whether an option stands alone, without a word after it.
pub(crate) fn is_flag(option: &Arg) -> bool {
    !option.get_action().takes_values() || option.is_require_equals_set()
}

/// Returns whether an option is the other name that GET and PUT may give, which an arrow `->` introduces as well.
pub(crate) fn is_target(option: &Arg) -> bool {
    option.get_id() == "output"
}

/// Returns what the value of an argument is called.
pub(crate) fn value_name(arg: &Arg) -> String {
    let names = arg.get_value_names().unwrap_or_default();
    names.first().map_or_else(|| arg.get_id().to_string().to_ascii_uppercase(), ToString::to_string)
}

pub(super) fn phrase(word: &str) -> Option<&'static Phrase> {
    PHRASES.iter().find(|phrase| phrase.word == word)
}

/// Returns why there is nothing to do about `verb`.
pub(super) fn needless(verb: &str) -> Option<&'static str> {
    let verb = verb.to_ascii_lowercase();
    NEEDLESS.iter().find(|(words, _)| words.contains(&verb.as_str())).map(|(_, why)| *why)
}

/// Returns what to say of a word that is no command.
pub(super) fn unknown(verb: &str) -> Failed {
    let shown: String = verb.chars().take(likeness::SHOWN_CHARS).collect();
    let hint = match probable(verb) {
        Some(name) => format!("did you mean {}?", name.to_ascii_uppercase()),
        None => "HELP lists the commands".to_owned(),
    };
    Failed::usage(format!("unknown command '{}'; {hint}", escaped(&shown)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_means_two_commands() {
        TREE.clone().debug_assert();
        let mut words: Vec<&str> = SYNONYMS.iter().flat_map(|(_, words)| words.iter().copied()).collect();
        words.extend(all().map(clap::Command::get_name).chain(aliases()));
        words.extend(NEEDLESS.iter().flat_map(|(words, _)| words.iter().copied()));
        let all = words.len();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), all);
        assert!(SYNONYMS.iter().all(|(name, _)| find(name).is_some()));
        assert!(ONE_SHOT.iter().all(|name| find(name).is_some()));
    }

    #[test]
    fn every_command_is_in_one_group() {
        let mut grouped: Vec<&str> = groups().flat_map(|(_, commands)| commands).map(clap::Command::get_name).collect();
        let mut known: Vec<&str> = all().map(clap::Command::get_name).collect();
        grouped.sort_unstable();
        known.sort_unstable();
        assert_eq!(grouped, known);
        assert!(
            GROUPS
                .iter()
                .all(|group| group.names.iter().all(|name| find(name).is_some()) && find(group.task).is_none())
        );
    }

    #[test]
    fn only_what_looks_alike_is_offered() {
        assert_eq!((probable("gte"), probable("logout"), probable("frobnicate")), (Some("get"), Some("close"), None));
        assert_eq!(probable(&"x".repeat(1 << 20)), None);
    }

    #[test]
    fn usages_are_made_from_the_tree() {
        let of = |verb: &str| usage(find(verb).unwrap());
        assert_eq!(of("get"), "GET [-rknpS] name ... [-> local]");
        assert_eq!(of("put"), "PUT [-rknp] name ... [-> remote]");
        assert_eq!(of("sync"), "SYNC [-udcnDypkS] [--max-delete N] [--backup-dir DIR] from [to]");
        assert_eq!((of("open"), of("ls")), ("OPEN [user@]host:port".to_owned(), "LS [-lhtSr] [name ...]".to_owned()));
        assert_eq!((of("mv"), of("close")), ("MV [-kn] name ...".to_owned(), "CLOSE".to_owned()));
        assert!(all().all(|command| usage(command).len() <= 80));
    }
}
