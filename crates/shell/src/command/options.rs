//! Options, and what stands after an arrow.

use ferry_wire::escaped;

use super::{
    Form, Target, likeness,
    table::{Kind, Opt, Takes},
};
use crate::{
    exit::Failed,
    words::{self, Word},
};

/// Separates what is moved from what it is to be called.
const ARROW: &str = "->";

/// As an option in its place.
pub(super) const TARGET: Opt =
    Opt { short: 'o', long: "output", value: Some(Kind::Target), summary: "what it is to be called" };

/// What a command was given, taken apart.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) form: &'static Form,
    /// Options without a value, by their letters.
    flags: Vec<char>,
    /// Options with a value that is no target.
    values: Vec<(char, String)>,
    /// What is left, up to an arrow.
    pub(super) words: Vec<Word>,
    /// Several words as they were typed, where no quote says that they are several: they may be meant as one name.
    pub(super) together: Option<String>,
    pub(super) target: Option<Target>,
}

impl Input {
    /// Takes `words` apart, which stand after the verb in `line`, or come from elsewhere.
    pub(super) fn read(form: &'static Form, words: &[Word], line: Option<&str>) -> Result<Input, Failed> {
        let mut input =
            Input { form, flags: Vec::new(), values: Vec::new(), words: Vec::new(), together: None, target: None };
        match form.options.is_empty() && form.target.is_none() {
            true => input.words = words.to_vec(),
            false => input.take_options(words)?,
        }
        if form.target.is_some() {
            input.take_arrow()?;
        }
        if let (Some(line), [first, .., last]) = (line, &input.words[..])
            && !input.words.iter().any(|word| word.quoted)
        {
            input.together = line.get(first.range.start..last.range.end).map(str::to_owned);
        }
        Ok(input)
    }

    /// Whether the option of this letter was given.
    pub(super) fn has(&self, flag: char) -> bool {
        self.flags.contains(&flag)
    }

    /// The value of the option of this letter, the last one where it was given more than once.
    pub(super) fn value(&self, flag: char) -> Option<&str> {
        self.values.iter().rev().find(|(option, _)| *option == flag).map(|(_, value)| value.as_str())
    }

    /// The argument of a command that takes one; [`None`] where there is none.
    pub(super) fn one(&self) -> Result<Option<&str>, Failed> {
        let words = match &self.words[..] {
            [] => return Ok(None),
            [word] => return Ok(Some(&word.text)),
            words => words.len(),
        };
        let verb = self.form.verb;
        let names = matches!(self.form.takes, Takes::One(Kind::RemoteDirectory | Kind::LocalDirectory));
        let way_out = match &self.together {
            Some(text) if names => format!("; in quotes they are one: {verb} {}", escaped(&words::quote(text))),
            _ => String::new(),
        };
        Err(Failed::usage(format!("{verb} takes one argument, and these are {words} words{way_out}")))
    }

    /// Options may stand anywhere up to `--`.
    fn take_options(&mut self, words: &[Word]) -> Result<(), Failed> {
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let is_name = word.quoted || !word.text.starts_with('-') || word.text == "-" || word.text == ARROW;
            match word.text.strip_prefix("--") {
                _ if is_name => self.words.push(word.clone()),
                Some("") => {
                    self.words.extend(words.cloned());
                    return Ok(());
                }
                Some(long) => {
                    let (long, value) = long.split_once('=').map_or((long, None), |(long, value)| (long, Some(value)));
                    let option = self.known(|option| option.long == long).ok_or_else(|| self.unknown(&word.text))?;
                    self.note(option, value.map(Word::plain), &mut words)?;
                }
                None => self.take_letters(word, &mut words)?,
            }
        }
        Ok(())
    }

    /// Options of one letter each; the last may have its value after it.
    fn take_letters<'a>(&mut self, word: &Word, words: &mut impl Iterator<Item = &'a Word>) -> Result<(), Failed> {
        for (at, short) in word.text.char_indices().skip(1) {
            let option = self.known(|option| option.short == short).ok_or_else(|| self.unknown(&word.text))?;
            let rest = &word.text[at + short.len_utf8()..];
            if option.value.is_some() {
                return self.note(option, (!rest.is_empty()).then(|| Word::plain(rest)), words);
            }
            self.note(option, None, words)?;
        }
        Ok(())
    }

    fn known(&self, is: impl Fn(&Opt) -> bool) -> Option<&'static Opt> {
        let target = self.form.target.is_some().then_some(&TARGET);
        self.form.options.iter().chain(target).find(|option| is(option))
    }

    /// Keeps an option, with the value that stands with it or is the next word.
    fn note<'a>(
        &mut self,
        option: &Opt,
        value: Option<Word>,
        words: &mut impl Iterator<Item = &'a Word>,
    ) -> Result<(), Failed> {
        let (verb, long) = (self.form.verb, option.long);
        if option.value.is_none() {
            self.flags.push(option.short);
            return match value {
                None => Ok(()),
                Some(_) => Err(Failed::usage(format!("{verb} --{long} takes no value"))),
            };
        }
        let what = if option.value == Some(Kind::Number) { "a number" } else { "a name" };
        let Some(value) = value.or_else(|| words.next().cloned()) else {
            return Err(Failed::usage(format!("{verb} -{} needs {what} after it", option.short)));
        };
        if option.short != TARGET.short {
            self.values.push((option.short, value.text));
            return Ok(());
        }
        self.set_target(if value.is("-") { Target::Stream } else { Target::Name(value.text) })
    }

    fn take_arrow(&mut self) -> Result<(), Failed> {
        let Some(at) = self.words.iter().position(|word| word.is(ARROW)) else { return Ok(()) };
        let verb = self.form.verb;
        let after = self.words.split_off(at);
        let target = match &after[1..] {
            [] => return Err(Failed::usage(format!("{verb}: nothing stands after the arrow"))),
            [word] if word.is("-") => Target::Stream,
            [word] => Target::Name(word.text.clone()),
            words => {
                let text = words.iter().map(|word| &*word.text).collect::<Vec<_>>().join(" ");
                let quoted = words::quote(&text);
                let message = format!("{verb}: one name stands after the arrow; in quotes it is one: -> {quoted}");
                return Err(Failed::usage(escaped(&message).to_string()));
            }
        };
        self.set_target(target)
    }

    fn set_target(&mut self, target: Target) -> Result<(), Failed> {
        if target == Target::Name(String::new()) {
            // A variable of a script that nobody has set: as a path it would stand for the directory itself.
            let verb = self.form.verb;
            return Err(Failed::usage(format!("{verb}: a name is needed, and the one after -o or the arrow is empty")));
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
            None => {
                format!("HELP {verb} lists its options; a name that begins with '-' stands after --: {verb} -- {shown}")
            }
        };
        Failed::usage(format!("{verb} has no option {shown}; {hint}"))
    }
}
