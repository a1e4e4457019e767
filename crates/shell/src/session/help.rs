//! HELP.

use std::borrow::Cow;

use textwrap::{Options, WordSplitter, termwidth, wrap};

use super::Session;
use crate::{command::lookup, exit::Failed, output::Event, progress::KEYS};

/// Longer lines are no pleasure to read.
const MAX_COLUMNS: usize = 100;

impl Session {
    /// Lists the commands, or explains the one that `topic` names.
    pub(super) fn help(&mut self, topic: Option<&str>) -> Result<(), Failed> {
        if let Some(topic) = topic {
            let text = explanation(lookup::explained(topic)?, termwidth().min(MAX_COLUMNS));
            self.output.answer(&text, || Event::new("help").with("text", text.as_str()));
            return Ok(());
        }
        for command in lookup::all() {
            let (verb, summary) = (lookup::verb(command), lookup::summary(command));
            self.output.answer(format_args!("  {verb:<9}{summary}"), || {
                Event::new("command").with("usage", lookup::usage(command)).with("summary", summary.as_str())
            });
        }
        if self.interactive {
            let keys =
                wrap(KEYS, Options::new(termwidth().min(MAX_COLUMNS)).initial_indent("  ").subsequent_indent("  "));
            self.output.answer(keys.join("\n"), || Event::new("help").with("text", KEYS));
        }
        Ok(())
    }
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
        assert!(lookup::all().count() < 40);
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
