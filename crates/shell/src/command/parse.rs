//! From a line of the prompt, or the arguments of a subcommand, to a [`Command`].

use clap::{ArgMatches, FromArgMatches, error::ErrorKind};
use ferry_wire::escaped;

use super::{
    arguments::ShellLine,
    complaint,
    lookup::{self, find, is_target, needless, phrase, unknown, verb},
    tree::Command,
};
use crate::{
    exit::Failed,
    words::{self, Word},
};

/// The way out for who has typed a secret.
const NO_SECRET_HERE: &str =
    "a secret is typed when it is asked for; FERRY_SECRET or a bookmark's secret_command gives it too";

/// Separates what is moved from what it is to be called.
const ARROW: &str = "->";

/// Parses one command; [`None`] for an empty one and for a remark, which begins with `#`.
///
/// # Errors
///
/// One line that says what is wrong, and the way out.
pub(crate) fn parse(line: &str) -> Result<Option<Command>, Failed> {
    let begun = line.trim_start();
    if begun.is_empty() || begun.starts_with('#') {
        return Ok(None);
    }
    if let Some(command) = begun.strip_prefix('!') {
        let command = command.trim();
        return Ok(Some(Command::Shell(ShellLine { command: (!command.is_empty()).then(|| command.to_owned()) })));
    }
    let words = words::split(line).map_err(|unclosed| Failed::usage(unclosed.to_string()))?;
    let Some((first, arguments)) = words.split_first() else { return Ok(None) };
    if let Some(why) = needless(&first.text) {
        return Ok(Some(Command::Needless { word: first.text.clone(), why }));
    }
    let command = find(&first.text).filter(|command| command.get_name() != "!").ok_or_else(|| unknown(&first.text))?;
    if is_secret_told(command.get_name(), arguments) {
        return Err(Failed::usage(format!("{}: {NO_SECRET_HERE}", verb(command))));
    }
    let has_target = command.get_arguments().any(is_target);
    if has_target {
        check_arrow(command, arguments)?;
    }
    let typed = arguments.iter().map(Word::to_argument);
    let typed: Vec<String> = match has_target {
        true => arrow_as_option(typed).collect(),
        false => typed.collect(),
    };
    let typed = std::iter::once(command.get_name().to_owned()).chain(typed);
    let result = lookup::tree().try_get_matches_from(typed).and_then(|matches| read(&matches));
    match result {
        Ok(command) => Ok(Some(command)),
        Err(error) => complaint::help_or_failure(command, arguments, &error).map(Some),
    }
}

/// Returns whether somebody has typed a secret in `line`, where none belongs. It is not to be kept or repeated then.
pub(crate) fn tells_secret(line: &str) -> bool {
    words::commands(line).into_iter().any(|command| {
        let words = words::read(command).0;
        let Some((verb, arguments)) = words.split_first() else { return false };
        match find(&verb.text) {
            Some(command) => is_secret_told(command.get_name(), arguments),
            // Mistyped, or the word of another program, which takes a secret (PASS).
            None => lookup::probable(&verb.text)
                .is_some_and(|name| name == "login" && !arguments.is_empty() || is_secret_told(name, arguments)),
        }
    })
}

fn is_secret_told(command: &str, arguments: &[Word]) -> bool {
    let is_in_address = |word: &Word| word.text.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'));
    let is_behind_user = |word: &Word| word.text.contains(':');
    match command {
        "login" => {
            arguments.iter().filter(|word| !word.is("--help")).count() > 1 || arguments.iter().any(is_behind_user)
        }
        "open" => arguments.iter().any(is_in_address),
        _ => false,
    }
}

/// Returns the command of `matches`, whose subcommand it is.
///
/// # Errors
///
/// None that the parser would not have found already.
pub(crate) fn read(matches: &ArgMatches) -> Result<Command, clap::Error> {
    let Some((word, arguments)) = matches.subcommand() else { return Command::from_arg_matches(matches) };
    match phrase(word).map_or(word, |phrase| phrase.command) {
        // Phrases are unknown to what derives the commands.
        "get" => FromArgMatches::from_arg_matches(arguments).map(Command::Get),
        "cd" => FromArgMatches::from_arg_matches(arguments).map(Command::Cd),
        "ls" => FromArgMatches::from_arg_matches(arguments).map(Command::Ls),
        "rm" => FromArgMatches::from_arg_matches(arguments).map(Command::Rm),
        _ => match Command::from_arg_matches(matches)? {
            Command::Mv(renaming) if renaming.taken_apart().is_none() => {
                Err(clap::Error::raw(ErrorKind::MissingRequiredArgument, "a new name is needed as well\n"))
            }
            command => Ok(command),
        },
    }
}

/// Makes `-o` of the first `->` before `--`, after which all are names.
pub(crate) fn arrow_as_option<T: From<&'static str> + PartialEq<str>>(
    arguments: impl Iterator<Item = T>,
) -> impl Iterator<Item = T> {
    let mut seen = false;
    arguments.map(move |argument| {
        seen |= argument == *"--";
        let is_arrow = argument == *ARROW && !std::mem::replace(&mut seen, true);
        if is_arrow { T::from("-o") } else { argument }
    })
}

/// Checks that one name stands after an arrow.
fn check_arrow(command: &clap::Command, arguments: &[Word]) -> Result<(), Failed> {
    let Some(at) = arguments.iter().position(|word| word.is(ARROW)) else { return Ok(()) };
    let is_name = |word: &&Word| word.quoted || !word.text.starts_with('-') || word.is("-");
    let names: Vec<&str> = arguments[at + 1..].iter().filter(is_name).map(|word| &*word.text).collect();
    let verb = verb(command);
    match names[..] {
        [_] => Ok(()),
        [] => Err(Failed::usage(format!("{verb}: nothing stands after the arrow"))),
        _ => {
            let quoted = words::quote(&names.join(" "));
            let message = format!("{verb}: one name stands after the arrow; in quotes it is one: -> {quoted}");
            Err(Failed::usage(escaped(&message).to_string()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{SyncDirectories, Target, Transfer};
    use ferry_client::Direction;
    use proptest::prelude::*;

    fn parsed(line: &str) -> Command {
        parse(line).unwrap_or_else(|failed| panic!("{line:?}: {}", failed.message)).unwrap()
    }

    fn complaint(line: &str) -> String {
        parse(line).unwrap_err().message
    }

    fn transfer(line: &str) -> Transfer {
        match parsed(line) {
            Command::Get(get) => get.transfer,
            Command::Put(put) => put.transfer,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn commands_in_any_case_with_words_as_in_other_shells() {
        let address = |line: &str| match parsed(line) {
            Command::Open(open) => open.address(),
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!((address("open 12000"), address("Open\thost:5")), ("12000".to_owned(), "host:5".to_owned()));
        assert_eq!((address("OPEN host 5"), address("open ::1 5")), ("host:5".to_owned(), "[::1]:5".to_owned()));
        for (line, expected) in [
            ("OPEN alice@::1 5", "alice@[::1]:5"),
            ("OPEN alice@[::1] 5", "alice@[::1]:5"),
            ("OPEN [::1]:5", "[::1]:5"),
            ("OPEN alice@host 5", "alice@host:5"),
        ] {
            assert_eq!(address(line), expected);
        }
        let directory = |line: &str| match parsed(line) {
            Command::Cd(to) | Command::Lcd(to) => to.directory,
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(directory("CD"), None);
        for (line, expected) in
            [("cd two\\ \\ words", "two  words"), ("CD a\\ ", "a "), ("LCD -x", "-x"), ("CD '*'", "*")]
        {
            assert_eq!(directory(line).as_deref(), Some(expected), "{line:?}");
        }
        for line in ["MV 'a b' 'c d'", "MV 'a b' -> 'c d'", "mv -o 'c d' -- 'a b'"] {
            let Command::Mv(renaming) = parsed(line) else { panic!("{line}") };
            let from: Vec<String> = renaming.from().words.into_iter().map(|word| word.text).collect();
            assert_eq!((from, renaming.to()), (vec!["a b".to_owned()], "c d"), "{line}");
        }
        let shell = |command: Option<&str>| Command::Shell(ShellLine { command: command.map(str::to_owned) });
        assert_eq!((parsed("!"), parsed(" ! ls  -l 'a")), (shell(None), shell(Some("ls  -l 'a"))));
        assert!(matches!(parsed("HISTORY '3'"), Command::History(history) if history.count == Some(3)));
        assert!(matches!(parsed("help get"), Command::Help(help) if help.topic.as_deref() == Some("get")));
        assert!(matches!(parsed("get --help"), Command::Help(help) if help.topic.as_deref() == Some("get")));
        assert_eq!((parsed("CLOSE"), parsed("quit ")), (Command::Close, Command::Quit));
        for nothing in [" \t", "# a remark", "  #GET a"] {
            assert!(parse(nothing).unwrap().is_none(), "{nothing:?}");
        }
    }

    #[test]
    fn words_of_other_programs_just_work() {
        for (line, meant) in [
            ("bye", "QUIT"),
            ("exit", "QUIT"),
            ("mget *.txt -k", "GET -k *.txt"),
            ("mput a b", "PUT a b"),
            ("recv a", "GET a"),
            ("delete a", "RM a"),
            ("dir", "LS -l"),
            ("Dir -rl a", "LS -l -r a"),
            ("cdup", "CD .."),
            ("rmdir a", "RM -d a"),
            ("rename a b", "MV a b"),
            ("?", "HELP"),
            ("cat a b", "GET a b -> -"),
        ] {
            assert_eq!(parsed(line), parsed(meant), "{line}");
        }
        assert!(
            matches!(parsed("ls -la1"), Command::Ls(there) if there.list.style().long && there.list.names().is_none())
        );
        assert!(matches!(parsed("BINARY"), Command::Needless { .. }));
        assert!(matches!(parsed("prompt off"), Command::Needless { .. }));
    }

    #[test]
    fn words_are_names_and_may_be_one_where_no_quote_says_that_they_are_not() {
        for (line, together, words) in [
            ("GET a", None, &["a"][..]),
            ("GET a  b", Some("a b"), &["a", "b"]),
            ("GET -r a *.b -k", Some("a *.b"), &["a", "*.b"]),
            ("GET a\\ b c", None, &["a b", "c"]),
            ("GET 'a b' c", None, &["a b", "c"]),
            ("GET a - b", Some("a - b"), &["a", "-", "b"]),
            ("GET a -k b", Some("a b"), &["a", "b"]),
            ("GET -- -k a", Some("-k a"), &["-k", "a"]),
            ("GET '-k'", None, &["-k"]),
            ("GET \\-k", None, &["-k"]),
            ("GET a b -> c", Some("a b"), &["a", "b"]),
            ("GET '\\' \"\" 'a\\*'*", None, &["\\", "", "a\\**"]),
        ] {
            let names = transfer(line).names;
            assert_eq!(names.together().as_deref(), together, "{line}");
            assert_eq!(names.words.iter().map(|word| &*word.text).collect::<Vec<_>>(), words, "{line}");
        }
    }

    #[test]
    fn options_stand_anywhere_and_arrows_after_the_names() {
        for line in ["GET -rk -o x a", "get a -r --output=x -k", "GET -rkox a", "get --recursive a -> x --keep-going"] {
            let moved = transfer(line);
            assert!(moved.moves.recursive && moved.moves.going_on.asked() == Some(true), "{line}");
            assert_eq!((moved.target, moved.names.words.len()), (Some(Target::Name("x".to_owned())), 1), "{line}");
        }
        assert_eq!(transfer("GET a").moves.going_on.asked(), None);
        assert_eq!(transfer("GET -k -k -r -r a").moves.going_on.asked(), Some(true));
        assert_eq!(transfer("GET a -> 'x y'").target, Some(Target::Name("x y".to_owned())));
        assert_eq!(transfer("GET a -> -").target, Some(Target::Stream));
        assert_eq!(transfer("GET a -> '-'").target, Some(Target::Name("-".to_owned())));
        assert_eq!(transfer("GET a -> '-x'").target, Some(Target::Name("-x".to_owned())));
        assert_eq!(transfer("GET -o - a").target, Some(Target::Stream));
        assert_eq!(transfer("GET '->'").target, None);
        assert!(transfer("PUT - -> a").names.words[0].is("-"));
    }

    #[test]
    fn a_line_with_a_secret_is_known() {
        for line in [
            "login alice hunter",
            "LOGIN alice:hunter",
            "LS; USER alice 'hunter",
            "OPEN a:hunter@h:1",
            "connect --tls a:hunter@h 1",
            "LOGN alice hunter",
            "pass hunter",
            "OPNE a:hunter@h:1",
        ] {
            assert!(tells_secret(line), "{line}");
            if let Err(failed) = parse(line) {
                assert!(!failed.message.contains("hunter"), "{}", failed.message);
            }
        }
        for line in
            ["LOGIN", "LOGIN alice", "LOGIN --help", "OPEN alice@h:1", "OPEN ::1 5", "GET a:b@c d", "GTE a b", "", "'"]
        {
            assert!(!tells_secret(line), "{line}");
        }
    }

    #[test]
    fn sync_goes_from_the_first_to_the_second() {
        let read = |line: &str| match parsed(line) {
            Command::Sync(args) => {
                let SyncDirectories { sync, from, to, .. } = (*args).into();
                (sync.direction, from, to.unwrap_or_default())
            }
            other => panic!("{line}: {other:?}"),
        };
        for (line, direction, from, to) in [
            ("SYNC a", Direction::Up, "a", ""),
            ("SYNC a b", Direction::Up, "a", "b"),
            ("SYNC -u a b", Direction::Up, "a", "b"),
            ("SYNC -dn b a", Direction::Down, "b", "a"),
            ("SYNC 'a b' c\\ d", Direction::Up, "a b", "c d"),
            ("SYNC 'a b' -> 'c d'", Direction::Up, "a b", "c d"),
            ("SYNC -o c a -d", Direction::Down, "a", "c"),
        ] {
            assert_eq!(read(line), (direction, from.to_owned(), to.to_owned()), "{line}");
        }
        assert_eq!(parsed("SYNC -d two words").together(), Some(("two words".to_owned(), true)));
        assert_eq!(parsed("SYNC two 'words'").together(), None);
    }

    #[test]
    fn what_is_wrong_is_said_with_the_way_out() {
        for (line, part) in [
            ("GTE a", "did you mean GET?"),
            ("logout", "did you mean CLOSE?"),
            ("GET it's", "one that is part of a name is \\'"),
            ("GET a\\", "nothing stands after the backslash"),
            ("CD two words", "CD: 'words' is one word too many: CD [dir]; in quotes it is one name: CD 'two words'"),
            ("HELP GET PUT", "HELP: 'PUT' is one word too many"),
            ("frobnicate", "HELP lists"),
            ("GET", "GET needs an argument: GET [-rknpS] name ... [-> local]"),
            ("OPEN", "OPEN needs an argument: OPEN [user@]host:port"),
            ("LOGIN alice x y", "a secret is typed when it is asked for"),
            ("OPEN alice:x@h:1", "a secret is typed when it is asked for"),
            ("GET -x a", "GET has no option -x"),
            ("GET --recursve a", "did you mean --recursive?"),
            ("GET -rx a", "GET has no option -x"),
            ("GET -- ", "GET needs an argument"),
            ("GET -o a", "GET needs an argument"),
            ("GET -o", "GET: --output <LOCAL> needs a value"),
            ("GET --recursive=a b", "GET --recursive takes no value"),
            ("GET a -> ''", "a name is needed, and this one is empty"),
            ("GET a ->", "nothing stands after the arrow"),
            ("GET a -> b c", "in quotes it is one: -> 'b c'"),
            ("SYNC", "SYNC needs an argument"),
            ("SYNC -ud a", "SYNC: --up and --down do not go together"),
            ("SYNC a b c", "SYNC: 'c' is one word too many"),
            ("SYNC a b -> c", "do not go together"),
            ("SYNC -u a -> -", "'-' is no directory"),
            ("SYNC '' a", "a name is needed"),
            ("SYNC --max-delete many a", "SYNC --max-delete <N>: a whole number is needed, 0 or more, not 'many'"),
            ("MV a", "MV needs an argument: MV [-kn] name ..."),
            ("SYNC a b c", "a name with spaces stands in quotes"),
            ("HISTORY x", "HISTORY [COUNT]: a whole number is needed, 0 or more, not 'x'"),
            ("OPEN a b c", "OPEN: 'c' is one word too many"),
            ("CLOSE now", "CLOSE takes no argument, and there is 'now'"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
        ] {
            let message = complaint(line);
            assert!(message.contains(part), "{line:?}: {message}");
            assert!(!message.contains(char::is_control), "{line:?}: {message}");
        }
    }

    proptest! {
        #[test]
        fn any_line_is_a_command_or_a_complaint_of_one_line(
            line in "(GET|PUT|SYNC|MV|RM|LS|HISTORY|OPEN|CD|!)? ?(-[a-z-]{1,9} |-> |-- |'|\"|\\\\|\\PC|\u{1b}|\n|\0){0,12}"
        ) {
            if let Err(failed) = parse(&line) {
                prop_assert!(!failed.message.contains(char::is_control), "{:?}", failed.message);
            }
        }
    }
}
