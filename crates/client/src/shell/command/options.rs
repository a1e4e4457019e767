//! Options, and what stands behind an arrow.

use ferry_wire::escaped;

use super::{
    Form, Target, likeness,
    table::{Kind, Opt},
};
use crate::shell::{exit::Failed, words::Word};

/// What parts what is moved from what it is to be called.
const ARROW: &str = "->";

/// As an option in its place.
const TARGET: Opt = Opt { short: 'o', long: "output", value: Some(Kind::Target), summary: "what it is to be called" };

/// What a command was given, taken apart.
#[derive(Debug)]
pub(super) struct Input<'a> {
    pub(super) form: &'static Form,
    /// Options without a value, by their letters.
    flags: Vec<char>,
    /// What is left, up to an arrow.
    pub(super) words: &'a [Word],
    /// The same as they were typed; [`None`] where quotes part them.
    typed: Option<&'a str>,
    /// The same as one name; [`None`] where options, quotes or an arrow say that words are words.
    pub(super) line: Option<&'a str>,
    pub(super) target: Option<Target>,
}

impl<'a> Input<'a> {
    /// Takes `words` apart, which stand behind the verb in `line`, or come from elsewhere.
    pub(super) fn read(form: &'static Form, words: &'a [Word], line: Option<&'a str>) -> Result<Input<'a>, Failed> {
        let mut input = Input { form, flags: Vec::new(), words, typed: None, line: None, target: None };
        let has_options = !form.options.is_empty() || form.target.is_some();
        if has_options {
            input.take_options()?;
        }
        let optioned = input.words.len() < words.len();
        if form.target.is_some() {
            input.take_arrow(line)?;
        }
        if let (Some(line), [first, ..], Some(last)) = (line, input.words, input.words.last())
            && !input.words.iter().any(|word| is_in_quotes(word, line))
        {
            input.typed = Some(&line[first.range.start..last.range.end]);
        }
        input.line = input.typed.filter(|_| !optioned && input.target.is_none());
        Ok(input)
    }

    /// Whether the option of this letter was given.
    pub(super) fn has(&self, flag: char) -> bool {
        self.flags.contains(&flag)
    }

    /// Options stand before everything else, so that a name may hold words that begin with `-`.
    fn take_options(&mut self) -> Result<(), Failed> {
        while let [word, rest @ ..] = self.words {
            if word.quoted || !word.text.starts_with('-') || word.text == "-" || word.text == ARROW {
                return Ok(());
            }
            self.words = rest;
            if word.text == "--" {
                return Ok(());
            }
            match word.text.strip_prefix("--") {
                Some(long) => {
                    let option = self.known(|option| option.long == long).ok_or_else(|| self.unknown(&word.text))?;
                    self.note(option)?;
                }
                None => {
                    for short in word.text.chars().skip(1) {
                        let option =
                            self.known(|option| option.short == short).ok_or_else(|| self.unknown(&word.text))?;
                        self.note(option)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn known(&self, is: impl Fn(&Opt) -> bool) -> Option<&'static Opt> {
        let target = self.form.target.is_some().then_some(&TARGET);
        self.form.options.iter().chain(target).find(|option| is(option))
    }

    fn note(&mut self, option: &Opt) -> Result<(), Failed> {
        if option.value.is_none() {
            self.flags.push(option.short);
            return Ok(());
        }
        let [value, rest @ ..] = self.words else {
            return Err(Failed::usage(format!("{} -{} needs a name behind it", self.form.verb, option.short)));
        };
        self.words = rest;
        self.set_target(if value.is("-") { Target::Stream } else { Target::Name(value.text.clone()) })
    }

    fn take_arrow(&mut self, line: Option<&str>) -> Result<(), Failed> {
        let Some(at) = self.words.iter().position(|word| word.is(ARROW)) else { return Ok(()) };
        let behind = &self.words[at + 1..];
        let text = match (behind, line) {
            ([], _) => return Err(Failed::usage(format!("{}: nothing stands behind the arrow", self.form.verb))),
            ([word], _) => word.text.clone(),
            // A name with spaces.
            ([first, ..], Some(line)) => line[first.range.start..].trim_end().to_owned(),
            (_, None) => return Err(Failed::usage(format!("{}: one name stands behind the arrow", self.form.verb))),
        };
        let is_stream = matches!(behind, [word] if word.is("-"));
        self.words = &self.words[..at];
        self.set_target(if is_stream { Target::Stream } else { Target::Name(text) })
    }

    fn set_target(&mut self, target: Target) -> Result<(), Failed> {
        if target == Target::Name(String::new()) {
            // A variable of a script that nobody has set: as a path it would stand for the directory itself.
            let verb = self.form.verb;
            return Err(Failed::usage(format!(
                "{verb}: a name is needed, and the one behind -o or the arrow is empty"
            )));
        }
        if self.target.replace(target).is_some() {
            return Err(Failed::usage(format!("{}: there can be only one name to save under", self.form.verb)));
        }
        Ok(())
    }

    fn unknown(&self, text: &str) -> Failed {
        let verb = self.form.verb;
        let meant = text.strip_prefix("--").filter(|long| long.len() > 1).and_then(|long| {
            likeness::nearest(long, self.form.options.iter().map(|option| (option.long, option.long)))
        });
        let shown: String = text.chars().take(likeness::SHOWN_CHARS).collect();
        let shown = escaped(&shown);
        let hint = match meant {
            Some(long) => format!("did you mean --{long}?"),
            None => format!(
                "HELP {verb} lists its options; a name that begins with '-' stands behind --: {verb} -- {shown}"
            ),
        };
        Failed::usage(format!("{verb} has no option {shown}; {hint}"))
    }

    /// All of the words as one text.
    pub(super) fn text(&self) -> Option<String> {
        match (self.words, self.typed) {
            ([], _) => None,
            ([word], _) => Some(word.text.clone()),
            (_, Some(typed)) => Some(typed.to_owned()),
            (words, None) => Some(words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ")),
        }
    }
}

/// Whether quotes stand around it: then what is beside it is another word.
fn is_in_quotes(word: &Word, line: &str) -> bool {
    word.quoted && line[word.range.clone()].starts_with(['"', '\''])
}
