//! HELP.

use std::borrow::Cow;

use textwrap::{Options, WordSplitter, termwidth, wrap};

use super::Session;
use crate::{
    command::{
        Form,
        table::{FORMS, Opt},
    },
    output::Event,
};

/// Longer lines are no pleasure to read.
const MAX_COLUMNS: usize = 100;

impl Session {
    pub(super) fn help(&mut self, topic: Option<&'static Form>) {
        match topic {
            Some(form) => {
                let text = described(form, termwidth().min(MAX_COLUMNS));
                self.output.answer(&text, || Event::new("help").with("text", text.as_str()));
            }
            None => {
                for form in FORMS {
                    self.output.answer(form.line(), || {
                        Event::new("command").with("usage", form.usage).with("summary", form.summary)
                    });
                }
            }
        }
    }
}

/// All that there is to say about a command, in lines of at most `columns`.
fn described(form: &Form, columns: usize) -> String {
    // Names of options have hyphens.
    let fitting = Options::new(columns).word_splitter(WordSplitter::NoHyphenation);
    let fit = |text: &str, first: &str, others: &str| {
        let indented = fitting.clone().initial_indent(first).subsequent_indent(others);
        wrap(text, indented).into_iter().map(Cow::into_owned).collect::<Vec<_>>()
    };
    let mut lines = fit(&format!("{}: {}", form.usage, form.summary), "", "    ");
    let option = |option: &Opt| format!("  -{}, --{:<14}{}", option.short, option.long, option.summary);
    lines.extend(form.options.iter().map(option));
    for paragraph in form.details.lines() {
        lines.extend(fit(paragraph, "  ", "  "));
    }
    if !form.also.is_empty() {
        lines.extend(fit(&format!("Other words for it: {}.", form.also.join(", ")), "  ", "  "));
    }
    let width = form.examples.iter().map(|(line, _)| line.len()).max().unwrap_or_default();
    for (line, meaning) in form.examples {
        lines.push(format!("    {line:<width$}  {meaning}").trim_end().to_owned());
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_fit_the_terminal_and_lose_no_word() {
        for form in FORMS {
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            let [narrow, wide] = [30, 100].map(|columns| described(form, columns));
            assert_eq!(words(&narrow), words(&wide));
            let details = wrap(form.details, 28).len();
            assert!(narrow.lines().filter(|line| line.len() <= 30).count() >= details, "{narrow}");
        }
    }
}
