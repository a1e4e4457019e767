//! From what was typed to a command.

use ferry_client::{Address, Name};
use ferry_wire::escaped;

use super::exit::Failed;

/// One command, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    Open(Address),
    Get(Name),
    Put(Name),
    Close,
    Quit,
    Help(Option<&'static Form>),
}

/// One row of the table of commands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) verb: &'static str,
    pub(crate) usage: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) details: &'static str,
    /// What people type who are used to other programs.
    synonyms: &'static [&'static str],
}

/// The commands, in the order of HELP.
pub(crate) const FORMS: [Form; 6] = [
    Form {
        verb: "OPEN",
        usage: "OPEN port | OPEN host:port",
        summary: "connect to a server; a port alone is one on 127.0.0.1",
        details: "  OPEN 12000            a server on this machine\n  OPEN example.org:12000\n  OPEN [::1]:12000",
        synonyms: &["CONNECT", "TELNET"],
    },
    Form {
        verb: "GET",
        usage: "GET name",
        summary: "fetch a file into the client directory",
        details: "  The file is saved under the last part of its name: GET poems/a.txt saves a.txt.\n  \
                  It appears under that name only when it is whole and verified, replacing what was there.\n  \
                  The name runs to the end of the line: spaces need no quotes.",
        synonyms: &["DOWNLOAD", "FETCH", "RECV", "MGET"],
    },
    Form {
        verb: "PUT",
        usage: "PUT name",
        summary: "send a file from the client directory",
        details: "  The file has the same name there and here: PUT poems/a.txt sends poems/a.txt of the client\n  \
                  directory, and poems must be a directory of the server. When PUT says that it is done, the\n  \
                  file is verified and on the server's disk; before, nobody sees any of it.",
        synonyms: &["UPLOAD", "SEND", "STORE", "MPUT"],
    },
    Form {
        verb: "CLOSE",
        usage: "CLOSE",
        summary: "close the connection",
        details: "  Another OPEN may follow.",
        synonyms: &["DISCONNECT", "LOGOUT"],
    },
    Form {
        verb: "QUIT",
        usage: "QUIT",
        summary: "leave; Ctrl-D does the same",
        details: "  An open connection is closed first.",
        synonyms: &["EXIT", "BYE", "Q", "X"],
    },
    Form {
        verb: "HELP",
        usage: "HELP [command]",
        summary: "say more",
        details: "  HELP GET says more of GET.",
        synonyms: &["?", "H", "MAN"],
    },
];

/// Parts the text behind `-c` at each `;` that does not stand inside a quoted name.
pub(crate) fn split_script(text: &str) -> Vec<&str> {
    let mut commands = Vec::new();
    let mut rest = text;
    loop {
        let end = end_of_command(rest);
        commands.push(&rest[..end]);
        match rest.get(end + 1..) {
            Some(behind) => rest = behind,
            None => return commands,
        }
    }
}

/// A quote counts where an argument begins, and only if another one closes it: `it's.txt` needs
/// none.
fn end_of_command(text: &str) -> usize {
    let argument = argument_start(text);
    let after_quoted = text[argument..]
        .chars()
        .next()
        .filter(|quote| matches!(quote, '"' | '\''))
        .and_then(|quote| Some(argument + 1 + text[argument + 1..].find(quote)? + 1))
        // A `;` before the argument ends the command first.
        .filter(|_| !text[..argument].contains(';'));
    let start = after_quoted.unwrap_or(0);
    text[start..].find(';').map_or(text.len(), |at| start + at)
}

fn argument_start(text: &str) -> usize {
    let verb = text.len() - text.trim_start().len();
    let space = text[verb..].find(char::is_whitespace).map_or(text.len(), |at| verb + at);
    text.len() - text[space..].trim_start().len()
}

/// Understands one line; [`None`] for an empty one.
pub(crate) fn parse(line: &str) -> Result<Option<Command>, Failed> {
    let line = line.trim();
    if line.is_empty() {
        return Ok(None);
    }
    let (verb, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let argument = argument.trim_start();
    let form = form(verb).ok_or_else(|| unknown(verb))?;
    let command = match form.verb {
        "OPEN" => Command::Open(address(form, argument)?),
        "GET" => Command::Get(name(form, argument)?),
        "PUT" => Command::Put(name(form, argument)?),
        "CLOSE" => none(form, argument, Command::Close)?,
        "QUIT" => none(form, argument, Command::Quit)?,
        _ => Command::Help(topic(argument)?),
    };
    Ok(Some(command))
}

fn form(verb: &str) -> Option<&'static Form> {
    FORMS.iter().find(|form| form.verb.eq_ignore_ascii_case(verb))
}

fn none(form: &Form, argument: &str, command: Command) -> Result<Command, Failed> {
    if argument.is_empty() {
        return Ok(command);
    }
    Err(Failed::usage(format!("{} takes no argument, and there is '{}'", form.verb, escaped(argument))))
}

fn needed(form: &Form, argument: &str) -> Result<(), Failed> {
    if !argument.is_empty() {
        return Ok(());
    }
    Err(Failed::usage(format!("{} needs an argument: {}", form.verb, form.usage)))
}

fn address(form: &Form, argument: &str) -> Result<Address, Failed> {
    needed(form, argument)?;
    let argument = unquoted(argument);
    if let [host, port] = argument.split_whitespace().collect::<Vec<_>>()[..] {
        let (host, port) = (escaped(host), escaped(port));
        return Err(Failed::usage(format!("OPEN takes one argument; did you mean OPEN {host}:{port}?")));
    }
    argument.parse().map_err(|error| Failed::usage(format!("OPEN: {error}")))
}

fn name(form: &Form, argument: &str) -> Result<Name, Failed> {
    needed(form, argument)?;
    let text = unquoted(argument);
    Name::new(text).map_err(|error| Failed::usage(format!("{} {}: {error}", form.verb, escaped(text))))
}

fn topic(argument: &str) -> Result<Option<&'static Form>, Failed> {
    if argument.is_empty() {
        return Ok(None);
    }
    form(argument).map(Some).ok_or_else(|| unknown(argument))
}

/// Takes off one pair of quotes that stands around all of it.
fn unquoted(text: &str) -> &str {
    ['"', '\'']
        .iter()
        .find_map(|&quote| text.strip_prefix(quote)?.strip_suffix(quote))
        .filter(|inner| !inner.is_empty())
        .unwrap_or(text)
}

fn unknown(verb: &str) -> Failed {
    const SHOWN_CHARS: usize = 40;
    let shown: String = verb.chars().take(SHOWN_CHARS).collect();
    let hint = match likeness(verb) {
        Some(form) => format!("did you mean {}?", form.verb),
        None => "HELP lists the commands".to_owned(),
    };
    Failed::usage(format!("unknown command '{}'; {hint}", escaped(&shown)))
}

/// The command that was probably meant.
fn likeness(verb: &str) -> Option<&'static Form> {
    let verb = verb.to_ascii_uppercase();
    if verb.len() > 12 {
        return None;
    }
    FORMS.iter().find(|form| form.synonyms.contains(&verb.as_str())).or_else(|| {
        let (distance, form) =
            FORMS.iter().map(|form| (distance(&verb, form.verb), form)).min_by_key(|(distance, _)| *distance)?;
        // With more than half of the letters wrong it is another word.
        (distance <= form.verb.len() / 2).then_some(form)
    })
}

/// How many letters must be put in, taken out, changed or swapped with their neighbour to make `a`
/// into `b`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let changed = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = changed.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(line: &str) -> String {
        parse(line).unwrap_err().message
    }

    #[test]
    fn commands_in_any_case_with_names_to_the_end() {
        let name = |text| Name::new(text).unwrap();
        for (line, expected) in [
            ("open 12000", Command::Open(Address::new("127.0.0.1", 12000))),
            ("Open\thost:5", Command::Open(Address::new("host", 5))),
            ("GET a", Command::Get(name("a"))),
            ("  get   two words.txt  ", Command::Get(name("two words.txt"))),
            ("GET \" kept \"", Command::Get(name(" kept "))),
            ("GET 'Grüße.txt'", Command::Get(name("Grüße.txt"))),
            ("GET it's", Command::Get(name("it's"))),
            ("GET \"", Command::Get(name("\""))),
            ("GET \"\"", Command::Get(name("\"\""))),
            ("put a/b;c", Command::Put(name("a/b;c"))),
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
            ("GET", "GET needs an argument: GET name"),
            ("OPEN", "OPEN port | OPEN host:port"),
            ("OPEN word", "neither a port nor host:port"),
            ("OPEN 99999", "ports are 1 to 65535"),
            ("OPEN 0", "ports are 1 to 65535"),
            ("OPEN localhost 12000", "did you mean OPEN localhost:12000?"),
            ("CLOSE now", "takes no argument"),
            ("GET ../x", "'..'"),
            ("GET /etc/passwd", "relative"),
            ("GET a\u{1b}b", "control characters"),
            ("GET \"a\nb\"", "control characters"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("HELP ME", "unknown command"),
        ] {
            let message = complaint(line);
            assert!(message.contains(part), "{line:?}: {message}");
            assert!(!message.contains(char::is_control), "{line:?}: {message}");
        }
    }

    #[test]
    fn a_script_is_parted_at_semicolons_outside_quotes() {
        for (script, commands) in [
            ("OPEN 1; GET a", &["OPEN 1", " GET a"][..]),
            ("GET \"a;b\"; GET c", &["GET \"a;b\"", " GET c"]),
            ("GET 'a;b';GET c;", &["GET 'a;b'", "GET c", ""]),
            ("GET it's; GET b's", &["GET it's", " GET b's"]),
            ("GET 'tis; GET b", &["GET 'tis", " GET b"]),
            ("CLOSE; 'x;y'", &["CLOSE", " 'x", "y'"]),
            ("", &[""]),
            (";;", &["", "", ""]),
        ] {
            assert_eq!(split_script(script), commands, "{script:?}");
        }
    }

    #[test]
    fn a_swap_is_one_mistake() {
        assert_eq!((distance("GTE", "GET"), distance("", "GET"), distance("QUTI", "QUIT")), (1, 3, 1));
    }
}
