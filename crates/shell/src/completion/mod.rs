//! Help while typing: names at Tab, hints from the history, a prompt that stands out.

mod candidates;
mod lister;
mod places;

use std::{
    borrow::Cow,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use ferry_client::{Address, Name, Options};
use rustyline::{
    Context, Helper, Result,
    completion::{Completer, Pair},
    highlight::{CmdKind, Highlighter},
    hint::{Hint, Hinter, HistoryHinter},
    validate::Validator,
};

use super::{
    command::{Aliases, lookup},
    paths, words,
};
pub(crate) use candidates::awaits_name;
use candidates::{Places, candidates};
use lister::Lister;
pub(crate) use lister::{ListedItem, THREAD};
pub(crate) use places::listed;
use places::{Disk, Servers};

/// The longest that a press of Tab may take: more feels as if the program hangs.
const TAB_TIMEOUT: Duration = Duration::from_millis(250);

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

/// The place where a line is typed: server, directories, bookmarks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Situation {
    /// The server, where there is a connection.
    pub(crate) address: Option<Address>,
    /// How it was connected to.
    pub(crate) options: Option<Options>,
    /// The directory of the server that names are relative to.
    pub(crate) remote: Option<Name>,
    /// The local directory that names are relative to.
    pub(crate) local: PathBuf,
    /// Names for addresses.
    pub(crate) bookmarks: Vec<String>,
    /// Words for the beginnings of commands.
    pub(crate) aliases: Aliases,
    /// Colours tell hints from what was typed.
    pub(crate) colours: bool,
}

/// The helper of the line editor.
pub(crate) struct Assistant {
    situation: Situation,
    servers: Lister<(Address, Option<Name>)>,
    /// How the server is connected to, for whoever lists it.
    options: Arc<Mutex<Option<Options>>>,
    disk: Lister<PathBuf>,
    history: HistoryHinter,
}

impl Assistant {
    /// Starts the threads that list; there is no server yet.
    pub(crate) fn new() -> Assistant {
        let options = Arc::default();
        Assistant {
            situation: Situation::default(),
            servers: Lister::new(Servers::new(Arc::clone(&options))),
            options,
            disk: Lister::new(Disk),
            history: HistoryHinter::new(),
        }
    }

    /// Sets the place of the next line, and forgets all listings: a command may have changed anything.
    pub(crate) fn stand(&mut self, situation: Situation) {
        *self.options.lock().unwrap_or_else(PoisonError::into_inner) = situation.options.clone();
        self.situation = situation;
        self.servers.forget();
        self.disk.forget();
    }
}

impl Helper for Assistant {}

impl Validator for Assistant {}

impl Completer for Assistant {
    type Candidate = Pair;

    fn complete(&self, line: &str, position: usize, context: &Context<'_>) -> Result<(usize, Vec<Pair>)> {
        let before = line.get(..position).unwrap_or(line);
        let names = Here { assistant: self, context, deadline: Instant::now() + TAB_TIMEOUT };
        let (start, found) = candidates(before, &names);
        let pair = |found: candidates::Candidate| Pair { display: found.display, replacement: found.replacement };
        Ok((start, found.into_iter().map(pair).collect()))
    }
}

/// Names as they are from where the person stands.
struct Here<'a> {
    assistant: &'a Assistant,
    context: &'a Context<'a>,
    /// A line can be read in several ways: all of them together take no longer than one.
    deadline: Instant,
}

impl Here<'_> {
    fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

impl Places for Here<'_> {
    fn remote(&self, directory: &str) -> Option<Arc<[ListedItem]>> {
        let Situation { address, remote, .. } = &self.assistant.situation;
        let directory = below(remote.as_ref(), directory)?;
        self.assistant.servers.items(&(address.clone()?, directory), self.time_left())
    }

    fn local(&self, directory: &str) -> Option<Arc<[ListedItem]>> {
        let path = match directory.strip_prefix("~/") {
            Some(rest) => paths::home()?.join(rest),
            None => self.assistant.situation.local.join(directory),
        };
        self.assistant.disk.items(&path, self.time_left())
    }

    fn aliases(&self) -> &Aliases {
        &self.assistant.situation.aliases
    }

    fn hosts(&self) -> Vec<String> {
        let history = self.context.history();
        let lines = (0..history.len()).rev().filter_map(|index| {
            let line = history.get(index, rustyline::history::SearchDirection::Forward).ok()??;
            opened(&line.entry)
        });
        let mut hosts: Vec<String> = self.assistant.situation.bookmarks.iter().cloned().chain(lines).collect();
        hosts.sort();
        hosts.dedup();
        hosts
    }
}

/// Returns the host that a line opens.
fn opened(line: &str) -> Option<String> {
    match &words::read(line).0[..] {
        [verb, host] if lookup::find(&verb.text).is_some_and(|command| command.get_name() == "open") => {
            Some(host.text.clone())
        }
        _ => None,
    }
}

/// Returns the directory `text` as seen from `from`; [`None`] where there can't be one. An inner [`None`] is the root.
pub(crate) fn below(from: Option<&Name>, text: &str) -> Option<Option<Name>> {
    let mut components: Vec<&str> = match from {
        Some(from) if !text.starts_with('/') => from.as_str().split('/').collect(),
        _ => Vec::new(),
    };
    for component in text.split('/') {
        match component {
            "" | "." => {}
            ".." => drop(components.pop()?),
            component => components.push(component),
        }
    }
    if components.is_empty() { Some(None) } else { Name::new(&components.join("/")).ok().map(Some) }
}

/// The text shown after the cursor.
pub(crate) struct Suggestion {
    display: String,
    /// The key that goes right takes it over.
    is_text: bool,
}

impl Hint for Suggestion {
    fn display(&self) -> &str {
        &self.display
    }

    fn completion(&self) -> Option<&str> {
        self.is_text.then_some(&self.display)
    }
}

impl Hinter for Assistant {
    type Hint = Suggestion;

    fn hint(&self, line: &str, position: usize, context: &Context<'_>) -> Option<Suggestion> {
        // Without colours it could not be told from what was typed.
        if !self.situation.colours || position < line.len() {
            return None;
        }
        if let Some(rest) = self.history.hint(line, position, context) {
            return Some(Suggestion { display: rest, is_text: true });
        }
        usage_after(line).map(|display| Suggestion { display, is_text: false })
    }
}

/// Returns what a verb takes, where it stands alone.
fn usage_after(line: &str) -> Option<String> {
    let verb = line.trim_start().strip_suffix(' ')?;
    let usage = lookup::usage(lookup::find(verb)?);
    usage.split_once(' ').map(|(_, arguments)| arguments.to_owned())
}

impl Highlighter for Assistant {
    /// Makes the prompt bold, so that it is easily found when one scrolls up.
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _default: bool) -> Cow<'b, str> {
        Cow::Owned(format!("{BOLD}{prompt}{PLAIN}"))
    }

    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        Cow::Owned(format!("{DIM}{hint}{PLAIN}"))
    }

    /// Makes a known command bold as soon as it is typed.
    fn highlight<'l>(&self, line: &'l str, _position: usize) -> Cow<'l, str> {
        let start = line.len() - line.trim_start().len();
        let end = line[start..].find(char::is_whitespace).map_or(line.len(), |at| start + at);
        if lookup::find(&line[start..end]).is_none() {
            return Cow::Borrowed(line);
        }
        Cow::Owned(format!("{}{BOLD}{}{PLAIN}{}", &line[..start], &line[start..end], &line[end..]))
    }

    fn highlight_char(&self, line: &str, position: usize, _kind: CmdKind) -> bool {
        // Only the verb changes how it looks, with its own letters and with the space that ends it.
        let verb = line.trim_start().split(char::is_whitespace).next().unwrap_or_default();
        position <= line.len() - line.trim_start().len() + verb.len() + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_found_from_where_one_stands() {
        let name = |text| Name::new(text).unwrap();
        let here = name("a/b");
        for (text, expected) in [
            ("", Some(Some("a/b"))),
            ("c/", Some(Some("a/b/c"))),
            ("./c/d/", Some(Some("a/b/c/d"))),
            ("../", Some(Some("a"))),
            ("../../", Some(None)),
            ("../../../", None),
            ("/", Some(None)),
            ("/x/", Some(Some("x"))),
            ("a\u{1b}/", None),
        ] {
            assert_eq!(below(Some(&here), text), expected.map(|path| path.map(name)), "{text}");
        }
        assert_eq!((below(None, ""), below(None, "x/")), (Some(None), Some(Some(name("x")))));
    }

    #[test]
    fn hosts_are_taken_from_earlier_lines() {
        assert_eq!(opened("open nas.example:12000").as_deref(), Some("nas.example:12000"));
        assert_eq!((opened("OPEN"), opened("GET a"), opened("OPEN a b")), (None, None, None));
    }

    #[test]
    fn a_verb_alone_is_told_what_it_takes() {
        assert_eq!(usage_after("OPEN ").as_deref(), Some("[user@]host:port"));
        assert_eq!((usage_after("OPEN"), usage_after("CLOSE "), usage_after("GET a ")), (None, None, None));
    }
}
