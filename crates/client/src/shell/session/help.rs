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
                for form in FORMS {
                    self.output.answer(form.line(), || {
                        Event::new("command").with("usage", form.usage).with("summary", form.summary)
                    });
                }
            }
        }
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
