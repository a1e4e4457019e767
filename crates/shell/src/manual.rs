//! The manual page, made from the trees of the program itself.

use std::io::{self, Write};

use clap_mangen::{
    Man,
    roff::{Inline, Roff, bold, roman},
};

use super::{args, command::lookup, config, events, examples, exit, paths};

/// Returns the page, as roff.
pub(crate) fn page() -> Vec<u8> {
    let mut page = Vec::new();
    // Memory takes whatever is written.
    let _ = write(&mut page);
    page
}

fn write(to: &mut dyn Write) -> io::Result<()> {
    let command = args::command();
    let man = Man::new(command.clone()).manual("ferry");
    man.render_title(to)?;
    man.render_name_section(to)?;
    man.render_synopsis_section(to)?;
    let mut description = Roff::new();
    section(&mut description, "DESCRIPTION", args::ABOUT);
    description.control("PP", []);
    paragraph(&mut description, args::SOURCES);
    description.to_writer(to)?;
    man.render_options_section(to)?;
    let mut rest = Roff::new();
    by_program(&mut rest);
    subcommands(&mut rest, command);
    commands(&mut rest);
    section(&mut rest, "EVENTS", events::INTRODUCTION);
    for (event, meaning) in events::EVENTS {
        item(&mut rest, vec![bold(*event)], meaning);
    }
    section(&mut rest, "EXIT STATUS", "");
    verbatim(&mut rest, exit::HELP);
    files(&mut rest);
    rest.to_writer(to)
}

fn subcommands(roff: &mut Roff, command: clap::Command) {
    section(roff, "SUBCOMMANDS", "Each has the options above; its own --help says more.");
    for mut subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()).cloned() {
        let about = subcommand.get_about().map(ToString::to_string).unwrap_or_default();
        let usage = subcommand.render_usage().to_string();
        let usage = usage.strip_prefix("Usage: ").unwrap_or(&usage);
        item(roff, vec![bold(format!("ferry {usage}"))], &about);
        for option in subcommand
            .get_arguments()
            .filter(|arg| !(arg.is_positional() || arg.is_global_set() || arg.is_hide_set() || arg.get_id() == "help"))
        {
            let help = option.get_help().map(ToString::to_string).unwrap_or_default();
            roff.control("RS", []);
            item(roff, vec![bold(spelt(option))], &help);
            roff.control("RE", []);
        }
    }
}

/// Writes what people type elsewhere, and below each what they type here.
fn by_program(roff: &mut Roff) {
    section(
        roff,
        "EXAMPLES",
        "nas is a bookmark of the configuration, or host:port. In the shell, OPEN nas comes first.",
    );
    for (program, pairs) in examples::BY_PROGRAM {
        roff.control("SS", [*program]);
        let lines = pairs.iter().map(|(theirs, ours)| format!("{theirs}\n    {ours}\n"));
        verbatim(roff, &lines.collect::<String>());
    }
}

fn commands(roff: &mut Roff) {
    section(roff, "COMMANDS", "In the shell, in any case of letters:");
    for command in lookup::all() {
        item(roff, vec![bold(lookup::usage(command))], &lookup::summary(command));
        for text in lookup::details(command).lines().map(str::to_owned).chain(lookup::other_words(command)) {
            roff.control("br", []);
            paragraph(roff, &text);
        }
        roff.control("RS", []);
        verbatim(roff, &lookup::examples(command));
        roff.control("RE", []);
    }
}

/// Returns an option as it is typed, short and long.
fn spelt(option: &clap::Arg) -> String {
    match option.get_short() {
        Some(short) => format!("-{short}, {option}"),
        None => option.to_string(),
    }
}

fn files(roff: &mut Roff) {
    section(roff, "FILES", "");
    for (path, meaning) in paths::DESCRIBED {
        item(roff, vec![bold(path)], meaning);
    }
    section(roff, "CONFIGURATION", "A file to begin with; the command line wins over it:");
    verbatim(roff, config::EXAMPLE);
}

fn section(roff: &mut Roff, title: &str, text: &str) {
    roff.control("SH", [title]);
    paragraph(roff, text);
}

fn paragraph(roff: &mut Roff, text: &str) {
    for line in text.lines() {
        roff.text([roman(line)]);
    }
}

fn item(roff: &mut Roff, term: Vec<Inline>, text: &str) {
    roff.control("TP", []);
    roff.text(term);
    roff.text([roman(text)]);
}

fn verbatim(roff: &mut Roff, text: &str) {
    roff.control("nf", []);
    paragraph(roff, text);
    roff.control("fi", []);
}
