//! LS, LLS and STAT.

use std::{
    cmp::Reverse,
    collections::HashSet,
    fmt::{self, Display},
    mem,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::Path,
};

use ferry_client::{Choice, Code, DirMeta, Entry, EntryKind, Error, FileMeta, Name, Stat, Time};
use ferry_wire::{escaped, escaped_bytes};

use super::{Session, failures::Failures, names::Meant};
use crate::{
    command::{IgnoreFiles, ListThere, Listing, Names, Order},
    exit::{Exit, Failed},
    figures::Size,
    output::{Event, Output},
};

const VERB: &str = "LS";

/// One line of a listing.
pub(super) struct Line {
    /// Escaped.
    shown: String,
    name: String,
    kind: &'static str,
    size: Option<u64>,
    mtime: Option<Time>,
    tag: Option<String>,
}

impl Line {
    pub(super) fn of(shown: String, name: &str, kind: &EntryKind) -> Line {
        let name = name.to_owned();
        match kind {
            EntryKind::Directory(DirMeta { mtime, .. }) => {
                Line { shown: shown + "/", name, kind: "directory", size: None, mtime: *mtime, tag: None }
            }
            EntryKind::File(FileMeta { size, mtime, tag, .. }) => {
                Line { shown, name, kind: "file", size: Some(*size), mtime: *mtime, tag: Some(tag.as_str().to_owned()) }
            }
        }
    }

    pub(super) fn print(&self, style: Listing, output: &mut Output) {
        let event = || {
            let event = Event::new("entry").with("name", self.name.as_str()).with("kind", self.kind);
            let event = event.with("size", self.size).with("mtime", self.mtime.map(seconds));
            event.with("tag", self.tag.as_deref())
        };
        if style.long {
            let shown = |size: u64| if style.human { Size(size).to_string() } else { size.to_string() };
            let size = self.size.map(shown).unwrap_or_default();
            output.answer(format_args!("{size:>15}  {:19}  {}", Moment(self.mtime), self.shown), event);
        } else {
            output.answer(&self.shown, event);
        }
    }
}

/// Prints a listing in the order that was asked for; it comes by name.
fn print_all(mut lines: Vec<Line>, style: Listing, output: &mut Output) {
    match style.order {
        Order::Name => {}
        Order::Time => lines.sort_by_key(|line| Reverse(line.mtime.map(|time| (time.seconds(), time.nanos())))),
        Order::Size => lines.sort_by_key(|line| Reverse(line.size)),
    }
    if style.reverse {
        lines.reverse();
    }
    for line in &lines {
        line.print(style, output);
    }
}

/// A time for people, to the second, in UTC.
struct Moment(Option<Time>);

impl Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment =
            self.0.and_then(|time| time::OffsetDateTime::from_unix_timestamp(i64::try_from(time.seconds()).ok()?).ok());
        match moment {
            Some(moment) => {
                let (hour, minute, second) = moment.to_hms();
                write!(f, "{} {hour:02}:{minute:02}:{second:02}", moment.date())
            }
            None => f.pad("-"),
        }
    }
}

/// Returns a time as a part of a sentence; [`None`] where nobody knows it.
fn told(mtime: Option<Time>) -> Option<String> {
    let mtime = mtime?;
    Some(match Moment(Some(mtime)).to_string() {
        beyond if beyond == "-" => format!("{} s after 1970", mtime.seconds()),
        moment => moment,
    })
}

fn described(shown: &str, stat: &Stat) -> String {
    let (kind, mtime, tag) = match stat {
        Stat::File(FileMeta { size, mtime, tag, .. }) => {
            let bytes = if *size == 1 { "byte" } else { "bytes" };
            (format!("{size} {bytes}"), *mtime, Some(format!("tag {tag}")))
        }
        Stat::Directory(DirMeta { mtime, .. }) => ("directory".to_owned(), *mtime, None),
    };
    let parts: Vec<String> = [Some(kind), told(mtime), tag].into_iter().flatten().collect();
    format!("{shown}: {}", parts.join(", "))
}

/// To the microsecond, which a double still holds for the next centuries.
fn seconds(time: Time) -> f64 {
    time.seconds() as f64 + f64::from(time.nanos()) / 1e9
}

impl Session {
    pub(super) fn list(&mut self, there: &ListThere) -> Result<(), Failed> {
        there.nothing_local.check(VERB)?;
        let style = there.list.style();
        let choice = self.choice_with(VERB, &there.choosing, &there.listed, IgnoreFiles::default())?;
        let mut failures = Failures::new(true);
        match there.list.names() {
            Some(names) => self.list_names(&names, style, &choice, &mut failures)?,
            None => {
                let current = self.remote.clone();
                self.list_directory(current.as_ref(), (style, false), &choice, &mut failures)?;
            }
        }
        failures.end_of_looking()
    }

    fn list_names(
        &mut self,
        names: &Names,
        style: Listing,
        choice: &Choice,
        failures: &mut Failures,
    ) -> Result<(), Failed> {
        let mut meant = self.find(VERB, names, &mut Failures::new(false))?;
        let is_named_file = |one: &&Meant| !one.matched && matches!(one.kind, Some(EntryKind::File(_)));
        if let (Some(file), Some(_)) = (meant.iter().find(is_named_file), &choice.only) {
            return Err(no_directory(&self.shown(file.name.as_ref())));
        }
        self.tell_unmatched(&meant, choice, failures)?;
        meant.retain(|one| match (&one.name, &one.kind) {
            (Some(name), Some(kind)) if one.matched => takes(choice, below(self.remote.as_ref(), name), kind),
            _ => true,
        });
        let several = meant.len() > 1;
        let mut lines = Vec::new();
        for Meant { name, kind, matched, .. } in meant {
            match (kind, &name) {
                (Some(kind), Some(name)) if matched || matches!(kind, EntryKind::File(_)) => {
                    lines.push(Line::of(self.shown(Some(name)), name.as_str(), &kind));
                }
                _ => {
                    print_all(mem::take(&mut lines), style, &mut self.output);
                    self.list_directory(name.as_ref(), (style, several), choice, failures)?;
                }
            }
        }
        print_all(lines, style, &mut self.output);
        Ok(())
    }

    /// Lists what may also be a file, which only the server knows. One of `several` is headed by its name.
    fn list_directory(
        &mut self,
        directory: Option<&Name>,
        (style, several): (Listing, bool),
        choice: &Choice,
        failures: &mut Failures,
    ) -> Result<(), Failed> {
        self.connected()?;
        let mut entries = match self.ask(|client| client.list(directory)) {
            Ok(entries) => entries,
            Err(error) => return self.list_file(directory, style, choice, &error),
        };
        let there: HashSet<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
        let top = |name: &Name| name.as_str().split('/').next().is_some_and(|top| there.contains(top));
        let missing = listed(choice).filter(|name| !top(name)).cloned().collect::<Vec<_>>();
        self.tell_absent(VERB, Exit::NotFound, &missing, failures);
        let place = directory.map_or("", Name::as_str);
        entries.retain(|Entry { name, kind }| takes(choice, (place, name.as_str()), kind));
        if several {
            let shown = self.shown(directory);
            self.output.answer(format_args!("{shown}:"), || {
                Event::new("directory").with("name", directory.map(|name| name.as_str().to_owned()))
            });
        }
        let line = |Entry { name, kind }: &Entry| {
            let whole = directory.map_or_else(|| name.to_string(), |directory| format!("{directory}/{name}"));
            Line::of(escaped(name.as_str()).to_string(), &whole, kind)
        };
        print_all(entries.iter().map(line).collect(), style, &mut self.output);
        Ok(())
    }

    /// Shows the file that could not be listed as a directory, if it is one.
    fn list_file(&mut self, name: Option<&Name>, style: Listing, choice: &Choice, error: &Error) -> Result<(), Failed> {
        if let (Some(name), Some(Code::NotADirectory)) = (name, error.code())
            && let Some(kind) = self.look(VERB, Some(name))?
        {
            if choice.only.is_some() {
                return Err(no_directory(&self.shown(Some(name))));
            }
            Line::of(self.shown(Some(name)), name.as_str(), &kind).print(style, &mut self.output);
            return Ok(());
        }
        Err(self.failure_of(VERB, name, error))
    }

    /// Tells of each name of a list that is not among the `matched` things and not on the server either.
    fn tell_unmatched(&mut self, matched: &[Meant], choice: &Choice, failures: &mut Failures) -> Result<(), Failed> {
        let matched: Vec<&Name> =
            matched.iter().filter(|one| one.matched).filter_map(|one| one.name.as_ref()).collect();
        let current = self.remote.clone();
        let shown: HashSet<&str> = matched.iter().map(|name| below(current.as_ref(), name).1).collect();
        if matched.is_empty() {
            return Ok(());
        }
        let is_elsewhere = |name: &&Name| below(current.as_ref(), name).0.is_empty();
        let base = current.as_ref().filter(|_| !matched.iter().all(is_elsewhere));
        let mut missing = Vec::new();
        for name in listed(choice).filter(|name| !shown.contains(name.as_str())) {
            // A pattern may not mean it.
            let is_there = match base.map_or(Ok(name.clone()), |base| base.join(name.as_str())) {
                Ok(whole) => self.look(VERB, Some(&whole))?.is_some(),
                Err(_) => false,
            };
            missing.extend((!is_there).then(|| name.clone()));
        }
        self.tell_absent(VERB, Exit::NotFound, &missing, failures);
        Ok(())
    }

    pub(super) fn stat(&mut self, names: &Names) -> Result<(), Failed> {
        for Meant { name, .. } in self.find("STAT", names, &mut Failures::new(false))? {
            let shown = self.shown(name.as_ref());
            let stat = match &name {
                None => Ok(Stat::Directory(DirMeta::default())),
                Some(name) => self.ask(|client| client.stat(name)),
            };
            let stat = stat.map_err(|error| self.failure_of("STAT", name.as_ref(), &error))?;
            let text = described(&shown, &stat);
            self.output.answer(text, || {
                let event =
                    Event::new("stat").with("name", name.map_or_else(|| "/".to_owned(), |name| name.to_string()));
                match stat {
                    Stat::File(FileMeta { size, mtime, tag, .. }) => {
                        let event = event.with("kind", "file").with("size", size).with("tag", tag.as_str());
                        event.with("mtime", mtime.map(seconds))
                    }
                    Stat::Directory(DirMeta { mtime, .. }) => {
                        event.with("kind", "directory").with("mtime", mtime.map(seconds))
                    }
                }
            });
        }
        Ok(())
    }

    pub(super) fn list_local(&mut self, style: Listing, names: Option<&Names>) -> Result<(), Failed> {
        let Some(names) = names else { return self.list_local_path(&self.local.clone(), ".", style) };
        let mut lines = Vec::new();
        for word in &names.words {
            let (texts, matched) = self.find_local("LLS", word)?;
            for text in texts {
                let path = text.to_str().map_or_else(|| self.local.join(&text), |text| self.local_path(text));
                if matched || path.symlink_metadata().is_ok() && !path.is_dir() {
                    lines.extend(local_line(&path, &text));
                } else {
                    print_all(mem::take(&mut lines), style, &mut self.output);
                    self.list_local_path(&path, &text, style)?;
                }
            }
        }
        print_all(lines, style, &mut self.output);
        Ok(())
    }

    fn list_local_path(&mut self, path: &Path, text: impl AsRef<Path>, style: Listing) -> Result<(), Failed> {
        let shown = escaped_bytes(text.as_ref().as_os_str().as_bytes()).to_string();
        let failed = |source| {
            let error = Error::Local { what: "read the directory", path: path.to_owned(), source };
            Failed::new(&format!("LLS {shown}"), &error)
        };
        let mut names = Vec::new();
        for entry in std::fs::read_dir(path).map_err(failed)? {
            names.push(entry.map_err(failed)?.file_name());
        }
        names.sort();
        let lines = names.iter().filter_map(|name| local_line(&path.join(name), Path::new(name)));
        print_all(lines.collect(), style, &mut self.output);
        Ok(())
    }
}

/// Returns the names of the list that alone are chosen, where there is one.
fn listed(choice: &Choice) -> impl Iterator<Item = &Name> {
    choice.only.iter().flat_map(|only| only.names())
}

/// Returns why no names can be chosen beneath a file that was named.
fn no_directory(shown: &str) -> Failed {
    let message = format!("{VERB} {shown}: --files-from has names in a directory, and that is none");
    Failed::of(Exit::Refused, message).about(shown)
}

/// Returns whether something is shown, which has this name beneath this directory.
fn takes(choice: &Choice, (place, name): (&str, &str), kind: &EntryKind) -> bool {
    let is_within_limits = match kind {
        EntryKind::Directory(_) => true,
        EntryKind::File(FileMeta { size, mtime, .. }) => choice.takes_file(*size, *mtime),
    };
    is_within_limits && choice.takes_name(place, name, matches!(kind, EntryKind::Directory(_)))
}

/// Returns the current directory and the part of `name` that is below it; the root and all of it where it is elsewhere.
fn below<'n>(current: Option<&'n Name>, name: &'n Name) -> (&'n str, &'n str) {
    let below =
        |current: &'n Name| Some((current.as_str(), name.as_str().strip_prefix(current.as_str())?.strip_prefix('/')?));
    current.and_then(below).unwrap_or(("", name.as_str()))
}

/// [`None`] for what has gone meanwhile.
fn local_line(path: &Path, text: &Path) -> Option<Line> {
    let meta = path.symlink_metadata().ok()?;
    let mut shown = escaped_bytes(text.as_os_str().as_bytes()).to_string();
    let kind = match meta.file_type() {
        kind if kind.is_dir() => "directory",
        kind if kind.is_file() => "file",
        kind if kind.is_symlink() => "link",
        _ => "other",
    };
    shown.push_str(match kind {
        "directory" => "/",
        "link" => "@",
        _ => "",
    });
    let nanos = u32::try_from(meta.mtime_nsec()).unwrap_or_default();
    Some(Line {
        shown,
        name: text.to_string_lossy().into_owned(),
        kind,
        size: (kind == "file").then_some(meta.len()),
        mtime: Time::new(meta.mtime(), nanos),
        tag: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_by_people() {
        let shown = |seconds| Moment(Time::new(seconds, 5)).to_string();
        assert_eq!(shown(0), "1970-01-01 00:00:00");
        assert_eq!(shown(1_000_000_000), "2001-09-09 01:46:40");
        assert_eq!(shown(i64::MAX), "-");
        // In a listing, all are of one width.
        assert_eq!(format!("{:19}", Moment(None)).len(), shown(0).len());
    }

    #[test]
    fn a_time_that_no_calendar_has_makes_a_sentence_as_well() {
        let told = |seconds| described("d", &Stat::Directory(DirMeta { mtime: Time::new(seconds, 0), mode: None }));
        assert_eq!(told(0), "d: directory, 1970-01-01 00:00:00");
        assert_eq!(told(1 << 40), "d: directory, 1099511627776 s after 1970");
        assert_eq!(described("d", &Stat::Directory(DirMeta::default())), "d: directory");
    }
}
