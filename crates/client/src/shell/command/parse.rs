//! The reading of one line.

use ferry_client::{Direction, Sync};
use ferry_wire::escaped;

use super::{
    Command, Form, Names, Removal, SyncDirectories, Target, Transfer, likeness,
    options::Input,
    table::{Kind, Takes, form},
};
use crate::shell::{
    exit::Failed,
    words::{self, Word},
};

/// Understands one line; [`None`] for an empty one and for a remark, which begins with `#`.
pub(crate) fn parse(line: &str) -> Result<Option<Command>, Failed> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    if let Some(command) = line.strip_prefix('!') {
        let command = command.trim();
        return Ok(Some(Command::Shell((!command.is_empty()).then(|| command.to_owned()))));
    }
    read(&words::split(line), Some(line)).map(Some)
}

/// Understands the words of a command, its verb first. They are names as they are: no two of them are one.
pub(crate) fn understand(words: &[Word]) -> Result<Command, Failed> {
    read(words, None)
}

fn read(words: &[Word], line: Option<&str>) -> Result<Command, Failed> {
    let Some((verb, arguments)) = words.split_first() else {
        return Err(Failed::usage("there is no command"));
    };
    let form = form(&verb.text).filter(|form| form.verb != "!").ok_or_else(|| unknown(&verb.text))?;
    let input = Input::read(form, arguments, line)?;
    if let (Takes::Nothing, Some(text)) = (form.takes, input.text()) {
        return Err(Failed::usage(format!("{} takes no argument, and there is '{}'", form.verb, escaped(&text))));
    }
    Ok(match form.verb {
        "OPEN" => Command::Open(address(&input)?),
        "GET" => Command::Get(transfer(&input)?),
        "PUT" => Command::Put(transfer(&input)?),
        "SYNC" => Command::Sync(sync(&input)?),
        "LS" => Command::List { long: input.has('l'), names: names(&input) },
        "CD" => Command::Enter(input.text()),
        "PWD" => Command::Where,
        "LCD" => Command::EnterLocal(input.text()),
        "LPWD" => Command::WhereLocal,
        "LLS" => Command::ListLocal { long: input.has('l'), names: names(&input) },
        "STAT" => Command::Stat(some_names(&input)?),
        "SUM" => Command::Sum(some_names(&input)?),
        "MKDIR" => Command::MakeDirectories { parents: input.has('p'), names: some_names(&input)?.words },
        "RM" => Command::Remove(Removal {
            names: some_names(&input)?,
            recursive: input.has('r'),
            keep_going: input.has('k'),
        }),
        "MV" => renaming(&input)?,
        "STATUS" => Command::Status,
        "HISTORY" => Command::History(count(&input)?),
        "CLOSE" => Command::Close,
        "QUIT" => Command::Quit,
        _ => Command::Help(topic(input.text().as_deref().unwrap_or_default())?),
    })
}

fn missing(form: &Form) -> Failed {
    Failed::usage(format!("{} needs an argument: {}", form.verb, form.usage))
}

fn address(input: &Input<'_>) -> Result<String, Failed> {
    if let [host, port] = input.words {
        let (host, port) = (escaped(&host.text), escaped(&port.text));
        return Err(Failed::usage(format!("OPEN takes one argument; did you mean OPEN {host}:{port}?")));
    }
    input.text().ok_or_else(|| missing(input.form))
}

fn names(input: &Input<'_>) -> Option<Names> {
    (!input.words.is_empty()).then(|| Names { line: input.line.map(str::to_owned), words: input.words.to_vec() })
}

fn some_names(input: &Input<'_>) -> Result<Names, Failed> {
    names(input).ok_or_else(|| missing(input.form))
}

fn transfer(input: &Input<'_>) -> Result<Transfer, Failed> {
    Ok(Transfer {
        names: some_names(input)?,
        target: input.target.clone(),
        recursive: input.has('r'),
        keep_going: input.has('k'),
    })
}

fn sync(input: &Input<'_>) -> Result<SyncDirectories, Failed> {
    let direction = match (input.has('u'), input.has('d')) {
        (_, false) => Direction::Up,
        (false, true) => Direction::Down,
        (true, true) => return Err(Failed::usage("SYNC goes up (-u) or down (-d), not both at once")),
    };
    if input.words.iter().any(|word| word.text.is_empty()) {
        return Err(Failed::usage("SYNC: a name is needed, and one is empty; '.' stands for the directory itself"));
    }
    let (from, to) = match (input.words, &input.target) {
        ([], _) => return Err(missing(input.form)),
        (_, Some(Target::Stream)) => return Err(Failed::usage("SYNC: '-' is no directory")),
        (_, Some(Target::Name(to))) => (input.text(), Some(to.clone())),
        ([from], None) => (Some(from.text.clone()), None),
        ([from, to], None) => (Some(from.text.clone()), Some(to.text.clone())),
        (_, None) => {
            return Err(Failed::usage("SYNC takes two directories; names with spaces need quotes, or the arrow ->"));
        }
    };
    Ok(SyncDirectories {
        sync: Sync { direction, check: input.has('c'), delete: input.has('D') },
        from: from.ok_or_else(|| missing(input.form))?,
        to,
        dry_run: input.has('n'),
        keep_going: input.has('k'),
    })
}

fn renaming(input: &Input<'_>) -> Result<Command, Failed> {
    let (from, to) = match (input.words, &input.target) {
        ([from, to], None) => (from.text.clone(), to.text.clone()),
        (_, Some(Target::Name(to))) => (input.text().ok_or_else(|| missing(input.form))?, to.clone()),
        _ => return Err(Failed::usage(format!("MV takes two names: {}", input.form.usage))),
    };
    Ok(Command::Move { from, to })
}

fn count(input: &Input<'_>) -> Result<Option<usize>, Failed> {
    let Some(text) = input.text() else { return Ok(None) };
    let wrong = |_| Failed::usage(format!("HISTORY: '{}' is no number of lines", escaped(&text)));
    text.parse().map(Some).map_err(wrong)
}

fn topic(argument: &str) -> Result<Option<&'static Form>, Failed> {
    if argument.is_empty() {
        return Ok(None);
    }
    form(argument).map(Some).ok_or_else(|| unknown(argument))
}

fn unknown(verb: &str) -> Failed {
    let shown: String = verb.chars().take(likeness::SHOWN_CHARS).collect();
    let hint = match likeness::command(verb) {
        Some(form) => format!("did you mean {}?", form.verb),
        None => "HELP lists the commands".to_owned(),
    };
    Failed::usage(format!("unknown command '{}'; {hint}", escaped(&shown)))
}

/// What comes next in a line that has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// A command.
    Verb,
    /// An argument of `form`; an option of it may stand here as well.
    Argument(&'static Form, Kind),
    /// Nothing that is known.
    Nothing,
}

/// What comes behind `before`, the whole words of a line from its verb on.
pub(crate) fn expected(before: &[Word]) -> Expected {
    let Some((verb, arguments)) = before.split_first() else { return Expected::Verb };
    let Some(form) = form(&verb.text) else { return Expected::Nothing };
    let value = arguments.last().and_then(|last| {
        form.options
            .iter()
            .find(|option| last.is(&format!("-{}", option.short)) || last.is(&format!("--{}", option.long)))
    });
    let receives = arguments.iter().take_while(|word| !word.is("--")).any(is_downward);
    let kind = match (value.and_then(|option| option.value), form.takes) {
        (Some(kind), _) => Some(kind),
        (None, _) if arguments.iter().any(|word| word.is("->")) => form.target,
        (None, Takes::Nothing) => None,
        (None, Takes::Line(kind) | Takes::Many(kind)) => Some(kind),
        (None, Takes::Words(kinds)) => {
            let plain = arguments.iter().filter(|word| word.quoted || !word.text.starts_with('-')).count();
            kinds.get(plain).copied()
        }
    };
    let kind = kind.map(|kind| match kind {
        Kind::Source if receives => Kind::RemoteDirectory,
        Kind::Source => Kind::LocalDirectory,
        Kind::Target if receives => Kind::LocalDirectory,
        Kind::Target => Kind::RemoteDirectory,
        kind => kind,
    });
    kind.map_or(Expected::Nothing, |kind| Expected::Argument(form, kind))
}

/// Whether it says that SYNC goes down, alone or among other letters.
fn is_downward(word: &Word) -> bool {
    let letters = word.text.strip_prefix('-').filter(|letters| !word.quoted && !letters.starts_with('-'));
    word.is("--down") || letters.is_some_and(|letters| letters.contains('d'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::command::table::FORMS;
    use proptest::prelude::*;

    fn complaint(line: &str) -> String {
        parse(line).unwrap_err().message
    }

    #[test]
    fn commands_in_any_case_with_names_to_the_end() {
        let get = |line| match parse(line) {
            Ok(Some(Command::Get(Transfer { names, .. }) | Command::Put(Transfer { names, .. }))) => {
                names.line.unwrap_or_else(|| names.words[0].text.clone())
            }
            other => panic!("{line}: {other:?}"),
        };
        for (line, expected) in [
            ("GET a", "a"),
            ("  get   two words.txt  ", "two words.txt"),
            ("GET \" kept \"", " kept "),
            ("GET 'Grüße.txt'", "Grüße.txt"),
            ("GET it's", "it's"),
            ("GET \"", "\""),
            ("GET \"\"", "\"\""),
            ("put a/b;c", "a/b;c"),
        ] {
            assert_eq!(get(line), expected, "{line:?}");
        }
        for (line, expected) in [
            ("open 12000", Command::Open("12000".to_owned())),
            ("Open\thost:5", Command::Open("host:5".to_owned())),
            ("CLOSE", Command::Close),
            ("quit ", Command::Quit),
            ("help", Command::Help(None)),
            ("help get", Command::Help(Some(&FORMS[1]))),
            ("!", Command::Shell(None)),
            ("! ls  -l 'a", Command::Shell(Some("ls  -l 'a".to_owned()))),
            ("CD", Command::Enter(None)),
            ("cd two  words", Command::Enter(Some("two  words".to_owned()))),
            ("CD 'a b'", Command::Enter(Some("a b".to_owned()))),
            ("LCD -x", Command::EnterLocal(Some("-x".to_owned()))),
            ("HISTORY 3", Command::History(Some(3))),
            ("MV 'a b' c", Command::Move { from: "a b".to_owned(), to: "c".to_owned() }),
            ("MV a  b -> c d", Command::Move { from: "a  b".to_owned(), to: "c d".to_owned() }),
        ] {
            assert_eq!(parse(line).unwrap(), Some(expected), "{line:?}");
        }
        for nothing in [" \t", "# a remark", "  #GET a"] {
            assert!(parse(nothing).unwrap().is_none(), "{nothing:?}");
        }
    }

    fn transfer(line: &str) -> Transfer {
        match parse(line) {
            Ok(Some(Command::Get(transfer) | Command::Put(transfer))) => transfer,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn words_are_names_where_something_parts_them() {
        for (line, whole, words) in [
            ("GET a b", Some("a b"), &["a", "b"][..]),
            ("GET a  *.b", Some("a  *.b"), &["a", "*.b"]),
            ("GET a\\ b", Some("a\\ b"), &["a b"]),
            ("GET a - b", Some("a - b"), &["a", "-", "b"]),
            ("GET a -k", Some("a -k"), &["a", "-k"]),
            ("GET 'a b' c", None, &["a b", "c"]),
            ("GET -k a b", None, &["a", "b"]),
            ("GET -- a b", None, &["a", "b"]),
            ("GET -- -k", None, &["-k"]),
            ("GET '-k'", None, &["-k"]),
            ("GET a b -> c", None, &["a", "b"]),
        ] {
            let names = transfer(line).names;
            assert_eq!(names.line.as_deref(), whole, "{line}");
            assert_eq!(names.words.iter().map(|word| &*word.text).collect::<Vec<_>>(), words, "{line}");
        }
    }

    #[test]
    fn options_stand_before_names_and_arrows_behind_them() {
        let moved = transfer("GET -rk -o x a");
        assert!(moved.recursive && moved.keep_going);
        assert_eq!(moved.target, Some(Target::Name("x".to_owned())));
        assert_eq!(transfer("get --keep-going a -> two  words ").target, Some(Target::Name("two  words".to_owned())));
        assert_eq!(transfer("GET a -> 'x y'").target, Some(Target::Name("x y".to_owned())));
        assert_eq!(transfer("GET a -> -").target, Some(Target::Stream));
        assert_eq!(transfer("GET a -> '-'").target, Some(Target::Name("-".to_owned())));
        assert_eq!(transfer("GET -o - a").target, Some(Target::Stream));
        assert_eq!(transfer("GET '->'").target, None);
        assert!(transfer("PUT - -> a").names.words[0].is("-"));
        let words = [Word { quoted: false, ..Word::literal("GET") }, Word::literal("-r"), Word::literal("a b")];
        let Ok(Command::Get(understood)) = understand(&words) else { panic!("{words:?}") };
        assert_eq!((understood.recursive, understood.names.line), (false, None));
        assert_eq!(understood.names.words, words[1..]);
    }

    #[test]
    fn sync_goes_from_the_first_to_the_second() {
        let read = |line: &str| match parse(line) {
            Ok(Some(Command::Sync(SyncDirectories { sync, from, to, .. }))) => {
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
            ("SYNC a b -> c d", Direction::Up, "a b", "c d"),
            ("SYNC -d -o c a b", Direction::Down, "a b", "c"),
        ] {
            assert_eq!(read(line), (direction, from.to_owned(), to.to_owned()), "{line}");
        }
        let kind = |line| match expected(&words::split(line)) {
            Expected::Argument(_, kind) => Some(kind),
            _ => None,
        };
        let (local, remote) = (Some(Kind::LocalDirectory), Some(Kind::RemoteDirectory));
        assert_eq!((kind("SYNC"), kind("SYNC -u"), kind("SYNC a"), kind("SYNC a ->")), (local, local, remote, remote));
        assert_eq!((kind("SYNC -nd"), kind("SYNC -d a"), kind("SYNC --down a ->")), (remote, local, local));
        assert_eq!((kind("SYNC --delete"), kind("SYNC a b")), (local, None));
    }

    #[test]
    fn what_is_wrong_is_said_with_the_way_out() {
        for (line, part) in [
            ("GTE a", "did you mean GET?"),
            ("exit", "did you mean QUIT?"),
            ("frobnicate", "HELP lists"),
            ("GET", "GET needs an argument: GET"),
            ("OPEN", "OPEN port | OPEN host:port"),
            ("GET -x a", "GET has no option -x"),
            ("GET --recursve a", "did you mean --recursive?"),
            ("GET -rx a", "GET has no option -rx"),
            ("GET -- ", "GET needs an argument"),
            ("GET -o a", "GET needs an argument"),
            ("GET -o", "-o needs a name"),
            ("GET a ->", "nothing stands behind the arrow"),
            ("GET -o x a -> y", "only one name"),
            ("SYNC", "SYNC needs an argument"),
            ("SYNC -ud a", "not both at once"),
            ("SYNC a b c", "quotes, or the arrow"),
            ("SYNC -u a -> -", "'-' is no directory"),
            ("MV a", "MV takes two names"),
            ("MV a b c", "MV takes two names"),
            ("HISTORY x", "is no number"),
            ("OPEN localhost 12000", "did you mean OPEN localhost:12000?"),
            ("CLOSE now", "takes no argument"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("HELP ME", "unknown command"),
        ] {
            let message = complaint(line);
            assert!(message.contains(part), "{line:?}: {message}");
            assert!(!message.contains(char::is_control), "{line:?}: {message}");
        }
    }

    #[test]
    fn what_comes_next_is_told_by_the_table() {
        let next = |line| expected(&words::split(line));
        assert_eq!(next(""), Expected::Verb);
        assert!(matches!(next("get a"), Expected::Argument(form, Kind::Remote) if form.verb == "GET"));
        assert!(matches!(next("HELP"), Expected::Argument(_, Kind::Command)));
        assert_eq!(next("CLOSE"), Expected::Nothing);
        assert_eq!(next("FROB"), Expected::Nothing);
    }
    proptest! {
        #[test]
        fn any_line_is_a_command_or_a_complaint_of_one_line(
            line in "(GET|PUT|SYNC|MV|RM|LS|HISTORY|OPEN|!)? ?(-[a-z-]{1,9} |-> |-- |'|\"|\\\\|\\PC|\u{1b}|\n){0,12}"
        ) {
            if let Err(failed) = parse(&line) {
                prop_assert!(!failed.message.contains(char::is_control), "{:?}", failed.message);
            }
            let _ = expected(&words::split(&line));
        }
    }
}
