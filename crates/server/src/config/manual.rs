//! The manual pages, made of the definition of the options itself.

use std::io::{self, Write};

use clap_mangen::{
    Man,
    roff::{Inline, Roff, bold, italic, roman},
};

use super::{
    example::example,
    keys::{CONFIG, Key, Keys},
    setting::quoted,
};
use crate::commands::ManualPage;

/// The files that a server reads and makes, each with a description.
const FILES: [(&str, &str); 3] = [
    (
        "ferryd.toml",
        "The configuration, see ferryd.toml(5): in $CONFIGURATION_DIRECTORY, $XDG_CONFIG_HOME/ferryd or ~/.config/ferryd.",
    ),
    ("users.toml", "Who may log in, and what everybody may do: beside the configuration. 'ferryd user' edits it."),
    ("key.pem", "The server's own key: in $STATE_DIRECTORY, $XDG_STATE_HOME/ferryd or ~/.local/state/ferryd."),
];

/// Returns a manual page, as roff.
#[must_use]
pub fn manual(page: ManualPage) -> Vec<u8> {
    let mut text = Vec::new();
    // Writing to memory does not fail.
    let _ = match page {
        ManualPage::Ferryd => server(&mut text),
        ManualPage::Configuration => configuration(&mut text),
    };
    text
}

fn server(to: &mut dyn Write) -> io::Result<()> {
    let keys = Keys::new();
    let man = Man::new(keys.command().clone()).section("8").manual("ferry");
    man.render_title(to)?;
    man.render_name_section(to)?;
    man.render_synopsis_section(to)?;
    man.render_options_section(to)?;
    let mut rest = Roff::new();
    section(&mut rest, "COMMANDS", "Each stands in the place of everything else; its own --help says more.");
    let mut built = keys.command().clone();
    built.build();
    commands(&mut rest, &keys, "", &built);
    section(&mut rest, "NOTES", "");
    let notes = keys.command().get_after_help().map(ToString::to_string).unwrap_or_default();
    for note in notes.lines() {
        rest.control("PP", []);
        rest.text([roman(note)]);
    }
    section(&mut rest, "FILES", "");
    for (path, meaning) in FILES {
        item(&mut rest, vec![bold(path)], meaning);
    }
    section(&mut rest, "SEE ALSO", "ferryd.toml(5), ferry(1)");
    rest.to_writer(to)
}

/// Describes a command, or those beneath it.
fn commands(page: &mut Roff, keys: &Keys, above: &str, command: &clap::Command) {
    let name = format!("{above}{}", command.get_name());
    if command.has_subcommands() {
        let below = command.get_subcommands().filter(|below| below.get_name() != "help");
        return below.for_each(|below| commands(page, keys, &format!("{name} "), below));
    }
    let (words, options): (Vec<_>, Vec<_>) =
        command.get_arguments().filter(|arg| is_own(keys, arg)).partition(|arg| arg.is_positional());
    let words: Vec<String> = [name].into_iter().chain(words.iter().map(ToString::to_string)).collect();
    item(page, vec![bold(words.join(" "))], &command.get_about().map(ToString::to_string).unwrap_or_default());
    for option in options {
        page.control("RS", []);
        item(page, vec![bold(option.to_string())], &option.get_help().map(ToString::to_string).unwrap_or_default());
        page.control("RE", []);
    }
}

/// Returns whether an argument of a command is none of those of serving, and of all commands.
fn is_own(keys: &Keys, arg: &clap::Arg) -> bool {
    let id = arg.get_id().as_str();
    keys.of_id(id).is_none() && !matches!(id, CONFIG | "help" | "version")
}

fn configuration(to: &mut dyn Write) -> io::Result<()> {
    let keys = Keys::new();
    let mut page = Roff::new();
    let version = format!("ferryd {}", env!("CARGO_PKG_VERSION"));
    page.control("TH", ["ferryd.toml", "5", "", &version, "ferry"]);
    section(&mut page, "NAME", "ferryd.toml - the configuration of ferryd(8)");
    section(
        &mut page,
        "DESCRIPTION",
        "The file is TOML, with the keys below and no tables. It is --config FILE, else FERRYD_CONFIG, else ferryd.toml in \
         $CONFIGURATION_DIRECTORY (directories with colons between), $XDG_CONFIG_HOME/ferryd or ~/.config/ferryd.\n\
         Each key is also an option of the command line, and an environment variable. The command line goes before the \
         environment, and that before the file. Of two options that exclude each other that of the higher source holds; in \
         one source that is an error, as is a key that is not known.\n\
         Paths are relative to the directory of the file. Flags are true or false; in the environment they are 1 or 0. Sizes \
         are numbers of bytes, or have a unit: kB, MB, GB, TB (of 1000) or KiB, MiB, GiB, TiB (of 1024). Times have ms, s, \
         min, h or d; a number without a unit is of seconds where nothing else is said.\n\
         'ferryd check' validates the file. 'ferryd reload' or SIGHUP reads it again: keys marked so change then, all others \
         with a new start.",
    );
    section(&mut page, "KEYS", "");
    for key in keys.all() {
        describe(&mut page, &key);
    }
    section(&mut page, "EXAMPLE", "As 'ferryd check --example' prints it:");
    page.control("nf", []);
    for line in example().lines() {
        page.text([roman(line)]);
    }
    page.control("fi", []);
    section(&mut page, "SEE ALSO", "ferryd(8)");
    page.to_writer(to)
}

fn describe(page: &mut Roff, key: &Key<'_>) {
    let (name, placeholder, choices) = (key.name(), key.placeholder(), key.choices());
    let value = match () {
        () if key.is_flag() => roman("true or false"),
        () if !choices.is_empty() => roman(choices.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" or ")),
        () => italic(placeholder),
    };
    let (summary, paragraphs) = key.explained();
    item(page, vec![bold(name), roman(" = "), value], &summary);
    for paragraph in paragraphs {
        page.control("IP", []);
        page.text([roman(paragraph)]);
    }
    let default = key.default().filter(|_| !key.is_flag());
    let default = default.map(|value| format!("Default: {}. ", quoted(&value))).unwrap_or_default();
    let live = if key.is_live() { " A reload takes it." } else { "" };
    page.control("IP", []);
    page.text([roman(format!("{default}Variable: {}.{live}", key.variable()))]);
}

fn section(page: &mut Roff, title: &str, text: &str) {
    page.control("SH", [title]);
    for (number, line) in text.lines().enumerate() {
        if number > 0 {
            page.control("PP", []);
        }
        page.text([roman(line)]);
    }
}

fn item(page: &mut Roff, term: Vec<Inline>, text: &str) {
    page.control("TP", []);
    page.text(term);
    page.text([roman(text)]);
}
