//! HELP.

use super::Session;
use crate::shell::{
    command::{Form, table::FORMS},
    output::Event,
};

impl Session {
    pub(super) fn help(&mut self, topic: Option<&'static Form>) {
        match topic {
            Some(form) => self.output.answer(described(form), || Event::new("help").with("text", described(form))),
            None => {
                let width = FORMS.iter().map(|form| brief(form.usage).len()).max().unwrap_or_default();
                for form in FORMS {
                    self.output.answer(format_args!("  {:<width$}  {}", brief(form.usage), form.summary), || {
                        Event::new("command").with("usage", form.usage).with("summary", form.summary)
                    });
                }
            }
        }
    }
}

/// A usage without what can stand behind an arrow.
fn brief(usage: &str) -> &str {
    match usage.find(" [->").or_else(|| usage.find(" | ").filter(|_| usage.contains("->"))) {
        Some(end) => &usage[..end],
        None => usage,
    }
}

/// All that there is to say about a command.
fn described(form: &Form) -> String {
    let mut text = format!("{}: {}", form.usage, form.summary);
    for option in form.options {
        text.push_str(&format!("\n  -{}, --{:<14}{}", option.short, option.long, option.summary));
    }
    for line in form.details.lines() {
        text.push_str(&format!("\n  {line}"));
    }
    let width = form.examples.iter().map(|(line, _)| line.len()).max().unwrap_or_default();
    for (line, meaning) in form.examples {
        text.push_str(format!("\n    {line:<width$}  {meaning}").trim_end());
    }
    text
}
