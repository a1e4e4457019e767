//! The reading of one line.

use std::path::PathBuf;

use ferry_client::{Direction, Sync};
use ferry_wire::escaped;

use super::{
    Command, Form, Listing, Names, Order, Removal, SyncDirectories, Target, Transfer, likeness,
    options::{self, Input},
    phrases,
    table::{Kind, Opt, Takes, form},
};
use crate::{
    exit::Failed,
    words::{self, Word},
};

/// Understands one command; [`None`] for an empty one and for a remark, which begins with `#`.
pub(crate) fn parse(line: &str) -> Result<Option<Command>, Failed> {
    let begun = line.trim_start();
    if begun.is_empty() || begun.starts_with('#') {
        return Ok(None);
    }
    if let Some(command) = begun.strip_prefix('!') {
        let command = command.trim();
        return Ok(Some(Command::Shell((!command.is_empty()).then(|| command.to_owned()))));
    }
    let words = words::split(line).map_err(|open| Failed::usage(open.to_string()))?;
    read(&words, Some(line)).map(Some)
}

/// Understands the words of a command, its verb first, which another shell has taken apart.
pub(crate) fn understand(words: &[Word]) -> Result<Command, Failed> {
    read(words, None)
}

fn read(words: &[Word], line: Option<&str>) -> Result<Command, Failed> {
    let Some((verb, arguments)) = words.split_first() else {
        return Err(Failed::usage("there is no command"));
    };
    if let Some(why) = phrases::needless(&verb.text) {
        return Ok(Command::Needless { word: verb.text.clone(), why });
    }
    let form = form(&verb.text).filter(|form| form.verb != "!").ok_or_else(|| unknown(&verb.text))?;
    let input = match phrases::phrase(&verb.text) {
        None => Input::read(form, arguments, line)?,
        Some(phrase) => {
            let meant = phrase.iter().skip(1).copied().map(Word::plain).chain(arguments.iter().cloned());
            Input::read(form, &meant.collect::<Vec<_>>(), line)?
        }
    };
    if let (Takes::Nothing, Some(word)) = (form.takes, input.words.first()) {
        return Err(Failed::usage(format!("{} takes no argument, and there is '{}'", form.verb, escaped(&word.text))));
    }
    Ok(match form.verb {
        "OPEN" => Command::Open(address(&input)?),
        "GET" => Command::Get(transfer(&input)?),
        "PUT" => Command::Put(transfer(&input)?),
        "SYNC" => Command::Sync(sync(&input)?),
        "LS" => Command::List { style: listing(&input), names: names(&input) },
        "CD" => Command::Enter(input.one()?.map(str::to_owned)),
        "PWD" => Command::Where,
        "LCD" => Command::EnterLocal(input.one()?.map(str::to_owned)),
        "LPWD" => Command::WhereLocal,
        "LLS" => Command::ListLocal { style: listing(&input), names: names(&input) },
        "STAT" => Command::Stat(some_names(&input)?),
        "SUM" => Command::Sum(some_names(&input)?),
        "MKDIR" => Command::MakeDirectories { parents: input.has('p'), names: some_names(&input)?.words },
        "RM" => Command::Remove(Removal {
            names: some_names(&input)?,
            recursive: input.has('r'),
            empty: input.has('d'),
            force: input.has('f'),
            keep_going: input.has('k'),
        }),
        "MV" => renaming(&input)?,
        "STATUS" => Command::Status,
        "HISTORY" => Command::History(count(&input)?),
        "CLOSE" => Command::Close,
        "QUIT" => Command::Quit,
        _ => Command::Help(topic(input.one()?.unwrap_or_default())?),
    })
}

fn missing(form: &Form) -> Failed {
    Failed::usage(format!("{} needs an argument: {}", form.verb, form.usage))
}

fn address(input: &Input) -> Result<String, Failed> {
    if let [host, port] = &input.words[..] {
        // As usual FTP clients have it.
        let brackets = host.text.contains(':') && !host.text.starts_with('[');
        let (before, after) = if brackets { ("[", "]") } else { ("", "") };
        return Ok(format!("{before}{}{after}:{}", host.text, port.text));
    }
    input.one()?.map(str::to_owned).ok_or_else(|| missing(input.form))
}

fn names(input: &Input) -> Option<Names> {
    let names = Names { words: input.words.clone(), together: input.together.clone() };
    (!names.words.is_empty()).then_some(names)
}

fn listing(input: &Input) -> Listing {
    let order = match (input.has('t'), input.has('S')) {
        (true, _) => Order::Time,
        (false, true) => Order::Size,
        (false, false) => Order::Name,
    };
    Listing { long: input.has('l'), human: input.has('h'), order, reverse: input.has('r') }
}

fn some_names(input: &Input) -> Result<Names, Failed> {
    names(input).ok_or_else(|| missing(input.form))
}

fn transfer(input: &Input) -> Result<Transfer, Failed> {
    Ok(Transfer {
        names: some_names(input)?,
        target: input.target.clone(),
        recursive: input.has('r'),
        keep_going: input.has('k'),
    })
}

fn sync(input: &Input) -> Result<SyncDirectories, Failed> {
    let direction = match (input.has('u'), input.has('d')) {
        (_, false) => Direction::Up,
        (false, true) => Direction::Down,
        (true, true) => return Err(Failed::usage("SYNC goes up (-u) or down (-d), not both at once")),
    };
    if input.words.iter().any(|word| word.text.is_empty()) {
        return Err(Failed::usage("SYNC: a name is needed, and one is empty; '.' stands for the directory itself"));
    }
    let (from, to) = match (&input.words[..], &input.target) {
        ([], _) => return Err(missing(input.form)),
        (_, Some(Target::Stream)) => return Err(Failed::usage("SYNC: '-' is no directory")),
        ([from], Some(Target::Name(to))) => (from, Some(to)),
        ([from], None) => (from, None),
        ([from, to], None) => (from, Some(&to.text)),
        _ => return Err(Failed::usage("SYNC takes two directories; a name with spaces stands in quotes")),
    };
    let max_delete = input.value('M').map(|text| {
        text.parse().map_err(|_| Failed::usage(format!("SYNC --max-delete needs a number, not {}", escaped(text))))
    });
    let backup = input.value('B').map(PathBuf::from);
    match (&backup, direction) {
        (Some(_), Direction::Up) => {
            return Err(Failed::usage("SYNC --backup-dir keeps local files, and only -d changes any"));
        }
        (Some(path), _) if path.as_os_str().is_empty() => {
            return Err(Failed::usage("SYNC: a name is needed, and the one after --backup-dir is empty"));
        }
        _ => {}
    }
    Ok(SyncDirectories {
        sync: Sync {
            direction,
            check: input.has('c'),
            delete: input.has('D'),
            max_delete: max_delete.transpose()?,
            backup,
        },
        from: from.text.clone(),
        to: to.cloned(),
        together: input.together.clone(),
        dry_run: input.has('n'),
        keep_going: input.has('k'),
    })
}

fn renaming(input: &Input) -> Result<Command, Failed> {
    let (from, to) = match (&input.words[..], &input.target) {
        ([from, to], None) => (from, &to.text),
        ([from], Some(Target::Name(to))) => (from, to),
        _ => {
            let usage = input.form.usage;
            return Err(Failed::usage(format!("MV takes two names: {usage}; a name with spaces stands in quotes")));
        }
    };
    Ok(Command::Move { from: from.text.clone(), to: to.clone() })
}

fn count(input: &Input) -> Result<Option<usize>, Failed> {
    let Some(text) = input.one()? else { return Ok(None) };
    let wrong = |_| Failed::usage(format!("HISTORY: '{}' is no number of lines", escaped(text)));
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

/// Returns what comes after `before`, the whole words of a line from its verb on.
pub(crate) fn expected(before: &[Word]) -> Expected {
    let Some((verb, arguments)) = before.split_first() else { return Expected::Verb };
    let Some(form) = form(&verb.text) else { return Expected::Nothing };
    let is =
        |word: &Word, option: &Opt| word.is(&format!("-{}", option.short)) || word.is(&format!("--{}", option.long));
    let value = arguments.last().and_then(|last| form.options.iter().find(|option| is(last, option)));
    let has_target = arguments.iter().any(|word| word.is("->"))
        || arguments.last().is_some_and(|last| form.target.is_some() && is(last, &options::TARGET));
    let plain = arguments.iter().filter(|word| word.quoted || !word.text.starts_with('-')).count();
    let receives = arguments.iter().take_while(|word| !word.is("--")).any(is_downward);
    let kind = match (value.and_then(|option| option.value), form.takes) {
        (Some(kind), _) => Some(kind),
        (None, _) if has_target => form.target,
        (None, Takes::Nothing) => None,
        (None, Takes::Many(kind)) => Some(kind),
        (None, Takes::One(kind)) => (plain == 0).then_some(kind),
        (None, Takes::Words(kinds)) => kinds.get(plain).copied(),
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
    use crate::command::table::FORMS;
    use proptest::prelude::*;

    fn complaint(line: &str) -> String {
        parse(line).unwrap_err().message
    }

    #[test]
    fn commands_in_any_case_with_words_as_in_other_shells() {
        for (line, expected) in [
            ("open 12000", Command::Open("12000".to_owned())),
            ("Open\thost:5", Command::Open("host:5".to_owned())),
            ("OPEN host 5", Command::Open("host:5".to_owned())),
            ("open ::1 5", Command::Open("[::1]:5".to_owned())),
            ("CLOSE", Command::Close),
            ("quit ", Command::Quit),
            ("help", Command::Help(None)),
            ("help get", Command::Help(Some(&FORMS[1]))),
            ("!", Command::Shell(None)),
            (" ! ls  -l 'a", Command::Shell(Some("ls  -l 'a".to_owned()))),
            ("CD", Command::Enter(None)),
            ("cd two\\ \\ words", Command::Enter(Some("two  words".to_owned()))),
            ("CD a\\ ", Command::Enter(Some("a ".to_owned()))),
            ("LCD -x", Command::EnterLocal(Some("-x".to_owned()))),
            ("HISTORY 3", Command::History(Some(3))),
            ("MV 'a b' c", Command::Move { from: "a b".to_owned(), to: "c".to_owned() }),
            ("MV a -> 'c d'", Command::Move { from: "a".to_owned(), to: "c d".to_owned() }),
        ] {
            assert_eq!(parse(line).unwrap(), Some(expected), "{line:?}");
        }
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
            ("Dir -r a", "LS -l -r a"),
            ("cdup", "CD .."),
            ("rmdir a", "RM -d a"),
            ("rename a b", "MV a b"),
            ("?", "HELP"),
        ] {
            let (line, meant) = (parse(line).unwrap().unwrap(), parse(meant).unwrap().unwrap());
            let shape = |command: &Command| {
                // Where a word stood is no part of its meaning.
                let text = format!("{command:?}");
                text.split("range: ")
                    .map(|part| part.split_once(", text").map_or(part, |(_, rest)| rest))
                    .collect::<String>()
            };
            let blind = |text: String| text.split("together").next().unwrap_or_default().to_owned();
            assert_eq!(blind(shape(&line)), blind(shape(&meant)));
        }
        let cat = transfer("cat a b");
        assert_eq!((cat.target, cat.names.words.len()), (Some(Target::Stream), 2));
        assert!(matches!(
            parse("ls -la").unwrap(),
            Some(Command::List { style: Listing { long: true, .. }, names: None })
        ));
        assert!(matches!(parse("BINARY").unwrap(), Some(Command::Needless { .. })));
        assert!(matches!(parse("prompt off").unwrap(), Some(Command::Needless { .. })));
    }

    fn transfer(line: &str) -> Transfer {
        match parse(line) {
            Ok(Some(Command::Get(transfer) | Command::Put(transfer))) => transfer,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn words_are_names_and_may_be_one_where_nothing_says_that_they_are_not() {
        for (line, together, words) in [
            ("GET a", None, &["a"][..]),
            ("GET a  b", Some("a  b"), &["a", "b"]),
            ("GET -r a *.b -k", Some("a *.b"), &["a", "*.b"]),
            ("GET a\\ b c", None, &["a b", "c"]),
            ("GET 'a b' c", None, &["a b", "c"]),
            ("GET a - b", Some("a - b"), &["a", "-", "b"]),
            ("GET a -k b", Some("a -k b"), &["a", "b"]),
            ("GET -- -k a", Some("-k a"), &["-k", "a"]),
            ("GET '-k'", None, &["-k"]),
            ("GET \\-k", None, &["-k"]),
            ("GET a b -> c", Some("a b"), &["a", "b"]),
        ] {
            let names = transfer(line).names;
            assert_eq!(names.together.as_deref(), together, "{line}");
            assert_eq!(names.words.iter().map(|word| &*word.text).collect::<Vec<_>>(), words, "{line}");
        }
    }

    #[test]
    fn options_stand_anywhere_and_arrows_after_the_names() {
        for line in ["GET -rk -o x a", "get a -r --output=x -k", "GET -rkox a", "get --recursive a -> x --keep-going"] {
            let moved = transfer(line);
            assert!(moved.recursive && moved.keep_going, "{line}");
            assert_eq!((moved.target, moved.names.words.len()), (Some(Target::Name("x".to_owned())), 1), "{line}");
        }
        assert_eq!(transfer("GET a -> 'x y'").target, Some(Target::Name("x y".to_owned())));
        assert_eq!(transfer("GET a -> -").target, Some(Target::Stream));
        assert_eq!(transfer("GET a -> '-'").target, Some(Target::Name("-".to_owned())));
        assert_eq!(transfer("GET -o - a").target, Some(Target::Stream));
        assert_eq!(transfer("GET '->'").target, None);
        assert!(transfer("PUT - -> a").names.words[0].is("-"));
        let words = [Word::plain("GET"), Word::literal("-r"), Word::literal("a b")];
        let Ok(Command::Get(understood)) = understand(&words) else { panic!("{words:?}") };
        assert_eq!((understood.recursive, understood.names.together), (false, None));
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
            ("SYNC 'a b' -> 'c d'", Direction::Up, "a b", "c d"),
            ("SYNC -o c a -d", Direction::Down, "a", "c"),
        ] {
            assert_eq!(read(line), (direction, from.to_owned(), to.to_owned()), "{line}");
        }
        let kind = |line| match expected(&words::read(line).0) {
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
            ("logout", "did you mean CLOSE?"),
            ("GET it's", "one that is part of a name is \\'"),
            ("GET a\\", "nothing stands after the backslash"),
            ("CD two words", "CD takes one argument, and these are 2 words; in quotes they are one: CD 'two words'"),
            ("HELP GET PUT", "HELP takes one argument"),
            ("frobnicate", "HELP lists"),
            ("GET", "GET needs an argument: GET"),
            ("OPEN", "OPEN port | OPEN host:port"),
            ("GET -x a", "GET has no option -x"),
            ("GET --recursve a", "did you mean --recursive?"),
            ("GET -rx a", "GET has no option -rx"),
            ("GET -- ", "GET needs an argument"),
            ("GET -o a", "GET needs an argument"),
            ("GET -o", "-o needs a name"),
            ("GET --recursive=a b", "--recursive takes no value"),
            ("GET a ->", "nothing stands after the arrow"),
            ("GET a -> b c", "in quotes it is one: -> 'b c'"),
            ("GET -o x a -> y", "only one name"),
            ("SYNC", "SYNC needs an argument"),
            ("SYNC -ud a", "not both at once"),
            ("SYNC a b c", "stands in quotes"),
            ("SYNC a b -> c", "SYNC takes two directories"),
            ("SYNC -u a -> -", "'-' is no directory"),
            ("MV a", "MV takes two names"),
            ("MV a b c", "a name with spaces stands in quotes"),
            ("HISTORY x", "is no number"),
            ("OPEN a b c", "OPEN takes one argument"),
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
        let next = |line| expected(&words::read(line).0);
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
            let _ = expected(&words::read(&line).0);
        }
    }
}
