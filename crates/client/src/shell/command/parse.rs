//! The reading of one line.

use ferry_client::Address;
use ferry_wire::escaped;

use super::{
    Command, Form, Names, Transfer, likeness,
    table::{Kind, Takes, form},
};
use crate::shell::{
    exit::Failed,
    words::{self, Word},
};

/// Understands one line; [`None`] for an empty one.
pub(crate) fn parse(line: &str) -> Result<Option<Command>, Failed> {
    let line = line.trim();
    if line.is_empty() {
        return Ok(None);
    }
    let (verb, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let argument = argument.trim_start();
    let form = form(verb).ok_or_else(|| unknown(verb))?;
    if form.takes == Takes::Nothing && !argument.is_empty() {
        return Err(Failed::usage(format!(
            "{verb} takes no argument, and there is '{}'",
            escaped(argument),
            verb = form.verb
        )));
    }
    let command = match form.verb {
        "OPEN" => Command::Open(address(form, argument)?),
        "GET" => Command::Get(Transfer { names: names(form, argument)? }),
        "PUT" => Command::Put(Transfer { names: names(form, argument)? }),
        "CLOSE" => Command::Close,
        "QUIT" => Command::Quit,
        _ => Command::Help(topic(argument)?),
    };
    Ok(Some(command))
}

/// Understands the words of a command, its verb first.
pub(crate) fn understand(words: &[Word]) -> Result<Command, Failed> {
    let line: Vec<String> =
        words.iter().map(|word| if word.quoted { words::quote(&word.text) } else { word.text.clone() }).collect();
    parse(&line.join(" "))?.ok_or_else(|| Failed::usage("there is no command"))
}

fn needed(form: &Form, argument: &str) -> Result<(), Failed> {
    if !argument.is_empty() {
        return Ok(());
    }
    Err(Failed::usage(format!("{} needs an argument: {}", form.verb, form.usage)))
}

fn address(form: &Form, argument: &str) -> Result<Address, Failed> {
    needed(form, argument)?;
    let words = words::split(argument);
    if let [host, port] = &words[..] {
        let (host, port) = (escaped(&host.text), escaped(&port.text));
        return Err(Failed::usage(format!("OPEN takes one argument; did you mean OPEN {host}:{port}?")));
    }
    let text = only(argument);
    text.parse().map_err(|error| Failed::usage(format!("OPEN: {error}")))
}

fn names(form: &Form, argument: &str) -> Result<Names, Failed> {
    needed(form, argument)?;
    let words = words::split(argument);
    let line = words.iter().all(|word| !word.quoted).then(|| argument.to_owned());
    Ok(Names { line, words })
}

/// All of `argument` as one text, without the quotes around it.
fn only(argument: &str) -> String {
    match &mut words::split(argument)[..] {
        [Word { text, .. }] => std::mem::take(text),
        _ => argument.to_owned(),
    }
}

fn topic(argument: &str) -> Result<Option<&'static Form>, Failed> {
    if argument.is_empty() {
        return Ok(None);
    }
    form(argument).map(Some).ok_or_else(|| unknown(argument))
}

fn unknown(verb: &str) -> Failed {
    const SHOWN_CHARS: usize = 40;
    let shown: String = verb.chars().take(SHOWN_CHARS).collect();
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
    kind.map_or(Expected::Nothing, |kind| Expected::Argument(form, kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::command::table::FORMS;

    fn complaint(line: &str) -> String {
        parse(line).unwrap_err().message
    }

    #[test]
    fn commands_in_any_case_with_names_to_the_end() {
        let get = |line| match parse(line) {
            Ok(Some(Command::Get(Transfer { names }) | Command::Put(Transfer { names }))) => {
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
            ("open 12000", Command::Open(Address::new("127.0.0.1", 12000))),
            ("Open\thost:5", Command::Open(Address::new("host", 5))),
            ("CLOSE", Command::Close),
            ("quit ", Command::Quit),
            ("help", Command::Help(None)),
            ("help get", Command::Help(Some(&FORMS[1]))),
        ] {
            assert_eq!(parse(line).unwrap(), Some(expected), "{line:?}");
        }
        assert!(parse(" \t").unwrap().is_none());
    }

    #[test]
    fn what_is_wrong_is_said_with_the_way_out() {
        for (line, part) in [
            ("GTE a", "did you mean GET?"),
            ("exit", "did you mean QUIT?"),
            ("frobnicate", "HELP lists"),
            ("GET", "GET needs an argument: GET"),
            ("OPEN", "OPEN port | OPEN host:port"),
            ("OPEN word", "neither a port nor host:port"),
            ("OPEN 99999", "ports are 1 to 65535"),
            ("OPEN 0", "ports are 1 to 65535"),
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
}
