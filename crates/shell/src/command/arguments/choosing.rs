//! The options that choose files: the same for each command that looks through directories.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, ValueHint};
use ferry_client::{Links, Time};

use super::value::{place, text};
use crate::{exit::Failed, units, words::Word};

/// The heading that these options have in `--help`.
pub(crate) const HEADING: &str = "Choosing";

/// Rules on names, in the order in which they were given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NameRules(pub(crate) Vec<NameRule>);

/// A rule on names, or a file of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NameRule {
    Include(String),
    Exclude(String),
    File(String),
}

/// An option, and the rule that it makes of its value.
type OptionOfRule = (&'static str, fn(String) -> NameRule);

impl Args for NameRules {
    fn augment_args(command: Command) -> Command {
        let rule = |name: &'static str, value: &'static str, help: &'static str| {
            let arg = Arg::new(name).long(name).value_name(value).help(help).help_heading(HEADING);
            arg.action(ArgAction::Append).value_parser(text).allow_hyphen_values(true)
        };
        command
            .arg(rule("include", "PATTERN", "Take what PATTERN means, whatever later rules say"))
            .arg(rule("exclude", "PATTERN", "Leave out what PATTERN means, unless an earlier rule takes it"))
            .arg(rule("filter", "FILE", "Rules in a file, as rsync has them: '- *.o'").value_hint(ValueHint::FilePath))
    }

    fn augment_args_for_update(command: Command) -> Command {
        NameRules::augment_args(command)
    }
}

impl FromArgMatches for NameRules {
    fn from_arg_matches(matches: &ArgMatches) -> Result<NameRules, clap::Error> {
        let mut rules = Vec::new();
        let include: OptionOfRule = ("include", NameRule::Include);
        for (name, rule) in [include, ("exclude", NameRule::Exclude), ("filter", NameRule::File)] {
            let values = matches.get_many::<String>(name).into_iter().flatten();
            let places = matches.indices_of(name).into_iter().flatten();
            rules.extend(places.zip(values).map(|(place, value)| (place, rule(value.clone()))));
        }
        rules.sort_by_key(|(place, _)| *place);
        Ok(NameRules(rules.into_iter().map(|(_, rule)| rule).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = NameRules::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The files that are meant, by their names, sizes and times.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub(crate) struct Choosing {
    #[command(flatten)]
    pub(crate) rules: NameRules,
    /// Only files of at least SIZE (10, 64K, 1.5M)
    #[arg(long, value_name = "SIZE", value_parser = size, allow_hyphen_values = true, help_heading = HEADING)]
    pub(crate) min_size: Option<u64>,
    /// Only files of at most SIZE
    #[arg(long, value_name = "SIZE", value_parser = size, allow_hyphen_values = true, help_heading = HEADING)]
    pub(crate) max_size: Option<u64>,
    /// Only files changed since WHEN: 2h or 7d ago, or 2026-11-30 18:00 (UTC)
    #[arg(long, value_name = "WHEN", value_parser = moment, help_heading = HEADING)]
    pub(crate) newer_than: Option<Time>,
}

/// The names that are meant, from a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub(crate) struct Listed {
    /// Only the names in FILE, one a line, below the one directory that is named; - is standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, value_parser = list, help_heading = HEADING)]
    pub(crate) files_from: Option<String>,
    /// In FILE, a zero byte ends each name
    #[arg(short = '0', long = "from0", requires = "files_from", help_heading = HEADING)]
    pub(crate) zero: bool,
}

/// Rules of local directories.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Args)]
pub(crate) struct IgnoreFiles {
    /// Leave out what .ferryignore files mean, each of the local directory that it is in
    #[arg(short = 'F', long = "ferryignore", help_heading = HEADING)]
    pub(crate) obeyed: bool,
}

/// Options that are about local directories, taken by commands that look into none, so that they can say so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Args)]
pub(crate) struct NothingLocal {
    #[arg(id = "local_ignore_files", short = 'F', long = "ferryignore", hide = true)]
    ignore_files: bool,
    #[command(flatten)]
    links: NoLinks,
}

/// Options about local links, taken by commands that send none, so that they can say so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Args)]
pub(crate) struct NoLinks {
    #[arg(id = "local_links", short = 'L', long = "copy-links", alias = "copy-unsafe-links", hide = true)]
    copied: bool,
}

impl NothingLocal {
    /// Fails where something was asked for that `verb` can't do.
    pub(crate) fn check(self, verb: &str) -> Result<(), Failed> {
        if self.ignore_files {
            let message =
                format!("{verb} has no option -F: it looks into no local directory; --filter FILE names rules");
            return Err(Failed::usage(message));
        }
        self.links.check(verb)
    }
}

impl NoLinks {
    pub(crate) fn are_wanted(self) -> bool {
        self.copied
    }

    /// Fails where something was asked for that `verb` can't do.
    pub(crate) fn check(self, verb: &str) -> Result<(), Failed> {
        match self.copied {
            true => Err(Failed::usage(format!("{verb} has no option -L: it sends no local links; PUT and SYNC do"))),
            false => Ok(()),
        }
    }
}

/// The treatment of local links.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Args)]
pub(crate) struct LinkOptions {
    /// Send what symbolic links stand for, where that is beneath the same directory
    #[arg(short = 'L', long, help_heading = HEADING)]
    copy_links: bool,
    /// The same, wherever it is
    #[arg(long, help_heading = HEADING)]
    copy_unsafe_links: bool,
}

impl LinkOptions {
    pub(crate) fn links(self) -> Links {
        match (self.copy_unsafe_links, self.copy_links) {
            (true, _) => Links::Anywhere,
            (false, true) => Links::Inside,
            (false, false) => Links::Skip,
        }
    }
}

fn list(argument: &str) -> Result<String, String> {
    match Word::of_argument(argument) {
        word if word.is("-") => Ok(word.text),
        // A file of that name.
        word if word.text == "-" => Ok("./-".to_owned()),
        _ => place(argument).map(|word| word.text),
    }
}

fn size(argument: &str) -> Result<u64, String> {
    units::bytes(&text(argument)?)
}

/// Parses a moment, or the time that has passed since.
fn moment(argument: &str) -> Result<Time, String> {
    let argument = text(argument)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    moment_at(&argument, now)
        .ok_or_else(|| "a time is needed, as 90s, 2h or 7d ago, or 2026-11-30, or '2026-11-30 18:00' in UTC".to_owned())
}

fn moment_at(text: &str, now: Duration) -> Option<Time> {
    if let Some(ago) = units::duration(text) {
        let then = now.checked_sub(ago)?;
        return Time::new(i64::try_from(then.as_secs()).ok()?, then.subsec_nanos());
    }
    let (day, clock) = text.split_once([' ', 'T']).unwrap_or((text, "00:00"));
    let number = |text: &str, digits: usize| {
        (text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse::<u16>().ok())?
    };
    let mut parts = day.split('-');
    let (year, month, of_month) = (number(parts.next()?, 4)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let mut parts = parts.next().is_none().then(|| clock.trim_end_matches('Z').split(':'))?;
    let (hour, minute) = (number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let second = parts.next().map_or(Some(0), |second| number(second, 2))?;
    let small = |number: u16| u8::try_from(number).ok();
    let month = time::Month::try_from(small(month)?).ok()?;
    let date = time::Date::from_calendar_date(i32::from(year), month, small(of_month)?).ok()?;
    let moment = parts.next().is_none().then(|| date.with_hms(small(hour)?, small(minute)?, small(second)?).ok())??;
    Time::new(moment.assume_utc().unix_timestamp(), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_keep_the_order_in_which_they_were_given() {
        let command = NameRules::augment_args(Command::new("x").no_binary_name(true));
        let read = |arguments: &[&str]| {
            NameRules::from_arg_matches(&command.clone().try_get_matches_from(arguments).unwrap()).unwrap().0
        };
        assert_eq!(
            read(&["--exclude", "a", "--include=b", "--filter", "f", "--exclude", "-c", "--include", "d"]),
            [
                NameRule::Exclude("a".into()),
                NameRule::Include("b".into()),
                NameRule::File("f".into()),
                NameRule::Exclude("-c".into()),
                NameRule::Include("d".into()),
            ]
        );
        assert_eq!(read(&[]), []);
    }

    #[test]
    fn moments_are_days_or_spans() {
        let now = Duration::new(1_000_000, 5);
        let seconds = |text: &str| moment_at(text, now).map(|time| (time.seconds(), time.nanos()));
        assert_eq!(seconds("1h"), Some((996_400, 5)));
        assert_eq!(seconds("1970-01-02"), Some((86_400, 0)));
        assert_eq!(seconds("1970-01-02 00:01"), Some((86_460, 0)));
        assert_eq!(seconds("2001-09-09T01:46:40Z"), Some((1_000_000_000, 0)));
        for text in [
            "",
            "x",
            "1970-13-01",
            "1970-02-30",
            "70-01-01",
            "1970-01-01 24:00",
            "1970-01-01-01",
            "1970-1-1",
            "20d",
            "99999999999d",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}
