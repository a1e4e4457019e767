//! Says in one line, with the way out, why a command of the prompt cannot be parsed.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use ferry_wire::escaped;

use super::{
    arguments::Topic,
    likeness,
    lookup::{options, usage, value_name, verb},
    tree::Command,
};
use crate::{
    exit::Failed,
    words::{self, Word},
};

/// Returns HELP for `command` where its arguments ask for it, and fails otherwise.
pub(super) fn help_or_failure(
    command: &clap::Command,
    arguments: &[Word],
    error: &clap::Error,
) -> Result<Command, Failed> {
    match error.kind() {
        ErrorKind::DisplayHelp => Ok(Command::Help(Topic { topic: Some(command.get_name().to_owned()) })),
        _ => Err(Failed::usage(complaint(command, arguments, error))),
    }
}

fn complaint(command: &clap::Command, arguments: &[Word], error: &clap::Error) -> String {
    let verb = verb(command);
    let usage = usage(command);
    let argument = context(error, ContextKind::InvalidArg);
    let value = context(error, ContextKind::InvalidValue).filter(|value| !value.is_empty());
    match (error.kind(), argument, value) {
        (ErrorKind::UnknownArgument, Some(argument), _) if argument.starts_with('-') => {
            unknown_option(command, arguments, &argument)
        }
        (ErrorKind::UnknownArgument, Some(argument), _) => match command.get_positionals().count() {
            0 => format!("{verb} takes no argument, and there is '{argument}'"),
            _ => format!("{verb}: '{argument}' is one word too many: {usage}; {}", quoted(command, arguments)),
        },
        (ErrorKind::MissingRequiredArgument, Some(option), _) if option.starts_with('-') => {
            format!("{verb}: {option} is needed as well: {usage}")
        }
        (ErrorKind::MissingRequiredArgument, ..) => format!("{verb} needs an argument: {usage}"),
        (ErrorKind::ArgumentConflict, Some(argument), _) => match context(error, ContextKind::PriorArg) {
            Some(prior) => format!("{verb}: {argument} and {prior} do not go together"),
            None => format!("{verb}: {argument} does not go with the rest: {usage}"),
        },
        (ErrorKind::TooManyValues, Some(argument), _) => format!("{verb} {argument} takes no value"),
        (ErrorKind::InvalidValue, Some(argument), None) => format!("{verb}: {argument} needs a value"),
        (_, Some(argument), value) => {
            let why = std::error::Error::source(error).map(ToString::to_string);
            let why = why.unwrap_or_else(|| "this is no value for it".to_owned());
            let value = value.map(|value| format!(", not '{value}'")).unwrap_or_default();
            format!("{verb} {argument}: {why}{value}")
        }
        _ => format!("{verb} cannot be understood: {usage}"),
    }
}

/// Returns a text that came with `error`, without what marks quotes, and with nothing that drives a terminal.
fn context(error: &clap::Error, kind: ContextKind) -> Option<String> {
    let shown = |text: &str| {
        let text = Word::of_argument(text).text;
        escaped(&text.chars().take(likeness::SHOWN_CHARS).collect::<String>()).to_string()
    };
    match error.get(kind)? {
        ContextValue::String(text) => Some(shown(text)),
        ContextValue::Strings(texts) => Some(shown(&texts.join(", "))),
        _ => None,
    }
}

/// Says that there is no such option. It is what clap has made of a word: of `-rx` it is `-x`.
fn unknown_option(command: &clap::Command, arguments: &[Word], option: &str) -> String {
    let verb = verb(command);
    let known = || options(command).filter_map(clap::Arg::get_long);
    let meant = option.strip_prefix("--").and_then(|long| likeness::nearest(long, known()));
    let hint = match meant {
        Some(long) => format!("did you mean --{long}?"),
        None => {
            let word = arguments.iter().find(|word| word.text.starts_with(option)).map_or(option, |word| &word.text);
            let shown = escaped(word);
            format!("HELP {verb} lists its options; a name that begins with '-' stands after --: {verb} -- {shown}")
        }
    };
    format!("{verb} has no option {option}; {hint}")
}

/// Returns the way out where several words may be meant as one name.
fn quoted(command: &clap::Command, arguments: &[Word]) -> String {
    let takes_one_name = command.get_positionals().all(|argument| value_name(argument) == "DIR");
    let names: Vec<&str> = arguments.iter().filter(|word| !word.quoted).map(|word| &*word.text).collect();
    match takes_one_name && names.len() == arguments.len() {
        true => format!("in quotes it is one name: {} {}", verb(command), escaped(&words::quote(&names.join(" ")))),
        false => "a name with spaces stands in quotes".to_owned(),
    }
}
