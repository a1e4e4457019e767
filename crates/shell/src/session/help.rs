//! HELP.

use std::{
    borrow::Cow,
    io::{self, IsTerminal as _},
};

use ferry_wire::escaped;
use rustix::termios::tcgetwinsize;
use textwrap::{Options, WordSplitter, termwidth, wrap};

use super::Session;
use crate::{command::lookup, exit::Failed, output::Event, progress::KEYS};

/// Longer lines are no pleasure to read.
const MAX_COLUMNS: usize = 100;

/// Where the commands of a task begin in the short list.
const BRIEF_INDENT: &str = "            ";

/// A task, and its commands.
type Group = (&'static str, Vec<&'static clap::Command>);

impl Session {
    /// Lists the commands, or explains the one that `topic` names; of a task, lists its commands.
    pub(super) fn help(&mut self, topic: Option<&str>) -> Result<(), Failed> {
        let Some(topic) = topic else {
            let groups: Vec<Group> = lookup::groups().collect();
            let lines: usize = groups.iter().map(|(_, commands)| commands.len() + 1).sum();
            // What scrolls away helps nobody, and the prompt takes a line as well.
            match rows().filter(|_| !self.output.is_for_programs()) {
                Some(rows) if lines + self.aliases.iter().count() >= rows => self.list_briefly(&groups),
                _ => groups.iter().for_each(|group| self.list_group(group)),
            }
            self.list_aliases();
            self.tell_keys();
            return Ok(());
        };
        if let Some(group) = lookup::groups().find(|(task, _)| task.eq_ignore_ascii_case(topic)) {
            self.list_group(&group);
            return Ok(());
        }
        let meaning = self.aliases.meaning(topic).map(str::to_owned);
        let verb = meaning.as_deref().and_then(|text| text.split_whitespace().next()).unwrap_or(topic);
        let mut text = explanation(lookup::explained(verb)?, termwidth().min(MAX_COLUMNS));
        if let Some(meaning) = &meaning {
            text = format!("{} stands for {}\n{text}", escaped(topic), escaped(meaning));
        }
        self.output.answer(&text, || Event::new("help").with("text", text.as_str()));
        Ok(())
    }

    fn list_group(&mut self, (task, commands): &Group) {
        self.output.heading(format_args!("{task}:"));
        for command in commands {
            let (verb, summary) = (lookup::verb(command), lookup::summary(command));
            self.output.answer(format_args!("  {verb:<9}{summary}"), || {
                let event = Event::new("command").with("usage", lookup::usage(command));
                event.with("summary", summary.as_str()).with("task", *task)
            });
        }
    }

    fn list_briefly(&mut self, groups: &[Group]) {
        for (task, commands) in groups {
            let verbs: Vec<String> = commands.iter().map(|command| lookup::verb(command)).collect();
            let indented = Options::new(termwidth().min(MAX_COLUMNS)).subsequent_indent(BRIEF_INDENT);
            for line in wrap(&format!("{task:<12}{}", verbs.join("  ")), indented) {
                self.output.heading(line);
            }
        }
        self.output.heading("HELP transfers says what those do, HELP GET explains one.");
    }

    /// Tells which keys do what while files move, where somebody presses them.
    fn tell_keys(&mut self) {
        if self.interactive {
            let indented = Options::new(termwidth().min(MAX_COLUMNS)).initial_indent("  ").subsequent_indent("  ");
            self.output.answer(wrap(KEYS, indented).join("\n"), || Event::new("help").with("text", KEYS));
        }
    }

    fn list_aliases(&mut self) {
        let Session { aliases, output, .. } = self;
        for (name, text) in aliases.iter() {
            output.answer(format_args!("  {:<9} alias: {}", name.to_ascii_uppercase(), escaped(text)), || {
                Event::new("alias").with("name", name).with("text", text)
            });
        }
    }
}

/// Returns the height of the terminal that output goes to; [`None`] where it goes elsewhere.
fn rows() -> Option<usize> {
    let output = io::stdout();
    let size = output.is_terminal().then(|| tcgetwinsize(&output).ok()).flatten()?;
    (size.ws_row > 0).then(|| size.ws_row.into())
}

/// Returns all that there is to say about `command`, in lines of at most `columns`.
fn explanation(command: &clap::Command, columns: usize) -> String {
    // Names of options have hyphens.
    let fitting = Options::new(columns).word_splitter(WordSplitter::NoHyphenation);
    let fit = |text: &str, first: &str, others: &str| {
        let indented = fitting.clone().initial_indent(first).subsequent_indent(others);
        wrap(text, indented).into_iter().map(Cow::into_owned).collect::<Vec<_>>()
    };
    let mut lines = fit(&format!("{}: {}", lookup::usage(command), lookup::summary(command)), "", "    ");
    for option in lookup::options(command) {
        let value = if lookup::is_flag(option) { String::new() } else { format!(" {}", lookup::value_name(option)) };
        let short = option.get_short().map_or("   ".to_owned(), |short| format!("-{short},"));
        let long = option.get_long().unwrap_or_default();
        let help = option.get_help().map(ToString::to_string).unwrap_or_default();
        let spelt = format!("  {short} --{:<18} ", format!("{long}{value}"));
        lines.extend(fit(&help, &spelt, &" ".repeat(spelt.len())));
    }
    for paragraph in lookup::details(command).lines() {
        lines.extend(fit(paragraph, "  ", "  "));
    }
    lines.extend(lookup::other_words(command).into_iter().flat_map(|words| fit(&words, "  ", "  ")));
    lines.extend(lookup::examples(command).lines().map(|example| format!("    {example}")));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_commands_fits_a_usual_window() {
        let columns =
            |(_, commands): Group| commands.iter().map(|command| lookup::verb(command).len() + 2).sum::<usize>();
        let lines: usize = lookup::groups().map(|group| columns(group).div_ceil(80 - BRIEF_INDENT.len() - 12)).sum();
        assert!(lines < 20, "{lines}");
        assert!(lookup::all().all(|command| lookup::summary(command).len() + 11 <= 80));
    }

    #[test]
    fn details_fit_the_terminal_and_lose_no_word() {
        for command in lookup::all() {
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            let [narrow, wide] = [40, 100].map(|columns| explanation(command, columns));
            assert_eq!(words(&narrow), words(&wide));
            let details = wrap(&lookup::details(command), 38).len();
            assert!(narrow.lines().filter(|line| line.len() <= 40).count() >= details, "{narrow}");
        }
    }
}
