//! The events of `--json`, and what the manual says of them.

use std::fmt::{self, Display};

use serde_json::{Map, Value};

/// Something that happened, for programs. Names and texts are as they are, not escaped for a terminal.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event(Map<String, Value>);

impl Event {
    /// Makes an event of this kind.
    pub(crate) fn new(kind: &'static str) -> Event {
        Event(Map::new()).with("event", kind)
    }

    /// Adds a field.
    pub(crate) fn with(mut self, field: &'static str, value: impl Into<Value>) -> Event {
        self.0.insert(field.to_owned(), value.into());
        self
    }
}

impl Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Maps of strings and numbers can always be written.
        f.write_str(&serde_json::to_string(&self.0).unwrap_or_default())
    }
}

/// The contract of all of them, for the manual.
pub(crate) const INTRODUCTION: &str = "\
With --json, each line of standard output is one JSON object, and its field \"event\" says what happened. Names and \
texts are as they are, not escaped for a terminal. Sizes are bytes, times are Unix seconds, spans are seconds. Where a \
file itself goes to standard output, the events go to standard error. The output of 'config', 'completions' and \
'man' is no event. New events and new fields may come: ignore what you do not know.";

/// Each event with its fields.
pub(crate) const EVENTS: &[(&str, &str)] = &[
    ("connected", "address, software, read_only, volatile, tls, user: a server was opened, and user has logged in."),
    ("logged-in", "user: LOGIN was done."),
    ("closed", "The connection was closed."),
    (
        "progress",
        "name, bytes, size: so much of a file is there; every so often, where --progress lines=SECONDS asks for it.",
    ),
    (
        "looking",
        "phase, done, of: a whole directory is listed or compared, and so many things were looked at, of so many where that is known; every \
         so often, as above.",
    ),
    (
        "lost",
        "message, attempt, of or left, wait, and address where it is the server that 'ferry cp' reads from: the connection \
         broke, or was not made, and is opened again after so long; at most so often, or for as long as is left.",
    ),
    ("waiting", "In the shell, what was under way has ended, and the server is waited for to go on with."),
    ("reconnected", "The connection that was lost, or not made, stands."),
    (
        "restarted",
        "name, reason: what was there of a file, or had moved, is of no use (it changed, or is damaged): it begins anew.",
    ),
    (
        "got",
        "name, bytes, resumed, crc; seconds of a single one: a file was fetched, and is verified: this is the CRC-32 of \
         the whole of it.",
    ),
    (
        "put",
        "name, bytes, resumed, crc; seconds and durable of a single one: a file was stored and is verified, and if it is \
         durable on the server's disk.",
    ),
    ("copied", "As put, of 'ferry cp': the name is the one on the server that the file was copied to."),
    (
        "job",
        "number, line, state; bytes and size of one that is running, message of one that has ended, and status where it \
         failed: state is started, running, foreground, done, failed or cancelled.",
    ),
    ("jobs", "running: so many jobs run, and the shell was to be left, or the connection closed."),
    ("watching", "name, directories: 'ferry watch' has begun, and sees so many directories."),
    (
        "away",
        "message, status, wait: the server that 'ferry watch' sends to can't be reached, or some of it failed: all is \
         compared again after so many seconds.",
    ),
    ("total", "command, files, bytes, resumed, seconds, failed, untried; durable of uploads: what many files came to."),
    ("skipped", "reason, and name where it has one: something was left out by rule (a link, a directory without -r)."),
    (
        "plan",
        "action, name, size; to of a rename: what -n says would be done (make, get, put, chmod, delete, rename). name is the whole \
         name on the server.",
    ),
    ("planned", "files, bytes, delete, unchanged: all that would be done."),
    (
        "synced",
        "unchanged, moved, newer, made, amended, deleted, kept, skipped: what SYNC did; newer was left because of --update, kept was \
         to be deleted and was not, amended were given other permissions.",
    ),
    ("entry", "name, kind, size, mtime, tag: one line of LS, LLS, FIND or TREE."),
    ("tree", "files, directories: all that TREE has shown."),
    ("usage", "name, bytes, files, directories: all that is beneath a directory, or of a file; one line of DU."),
    (
        "space",
        "total, free, available, staged: the room that DF was told; staged is what uploads may still take before they have \
         their names, null where no limit holds.",
    ),
    ("directory", "name: the entries that follow are in it."),
    ("stat", "name, kind, size, mtime, tag: what STAT was told."),
    ("sum", "name, crc, size, tag, sha256: what SUM was told; sha256 is null where it was not asked for."),
    (
        "checked",
        "name, same, sha256: a file that SUM --check has looked at, whether it is as it should be, and what it is.",
    ),
    ("edited", "name, bytes, crc, durable: what EDIT has stored in the place of the version that it fetched."),
    ("unchanged", "name: the editor of EDIT has changed nothing."),
    ("made", "name: a directory was made."),
    ("exists", "name: a directory that MKDIR -p was to make is there already."),
    ("deleted", "name: one of the things that RM deleted."),
    ("removed", "files, directories: all that RM deleted."),
    ("renamed", "from, to: MV has given another name."),
    ("moved", "count: so many things got other names by one MV."),
    ("place", "directory: what PWD shows."),
    ("local-place", "directory: what LPWD shows."),
    (
        "status",
        "local, got_files, got_bytes, put_files, put_bytes, limit_rate; address, software, user, node, features, remote where connected: \
         what STATUS shows.",
    ),
    ("healthy", "address, node, seconds: HEALTH was answered, after so long: the root answers."),
    ("setting", "key, value, source: an option that holds, as it was written, and where: one line of SET."),
    ("line", "number, text: one line of HISTORY."),
    ("needless", "word, reason: a word of other FTP clients was given that ferry has no need of (binary, prompt)."),
    ("command", "usage, summary, task: a command of the shell, told by HELP."),
    ("alias", "name, text: an alias of the configuration, told by HELP."),
    ("help", "text: more about one command."),
    (
        "error",
        "message, status, kind, code, name: a command failed, or the command line is wrong. status is the exit status that \
         a script would end with, kind its word (system, usage, connection, refused, local, protocol, timeout, not-found, \
         interrupted). code is that of the server's refusal (not-found, denied, ...), name the whole name of the server \
         or the local path that it is about; each is null where there is none.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeSet, fs, path::Path};

    /// The kinds of all events that are made anywhere beneath `directory`.
    fn made(directory: &Path, kinds: &mut BTreeSet<String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                made(&path, kinds);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            kinds.extend(
                text.split("Event::new(\"").skip(1).filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())),
            );
        }
    }

    #[test]
    fn every_event_is_documented_and_none_is_invented() {
        let mut kinds = BTreeSet::new();
        made(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/session"), &mut kinds);
        kinds.insert("setting".to_owned());
        kinds.insert("error".to_owned());
        let documented: BTreeSet<String> = EVENTS.iter().map(|(event, _)| (*event).to_owned()).collect();
        assert_eq!(kinds, documented);
    }
}
