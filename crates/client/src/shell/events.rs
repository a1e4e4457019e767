//! What the events of `--json` are, for the manual.

/// What holds for all of them.
pub(crate) const INTRODUCTION: &str = "\
With --json, each line of standard output is one JSON object, and its field \"event\" says what happened. Names and \
texts are as they are, not escaped for a terminal. Sizes are bytes, times are Unix seconds, spans are seconds. Where a \
file itself goes to standard output, the events go to standard error. New events and new fields may come: pass over \
what you do not know.";

/// Each event with its fields.
pub(crate) const EVENTS: &[(&str, &str)] = &[
    ("connected", "address, software, read_only: OPEN found a server."),
    ("closed", "CLOSE closed the connection."),
    ("got", "name, bytes, resumed; of one among many crc, of one alone seconds: a file was fetched and is verified."),
    (
        "put",
        "name, bytes, resumed; of one among many crc, of one alone seconds: a file was stored, is verified and on the \
         server's disk.",
    ),
    (
        "total",
        "command, files, bytes, resumed, seconds, failed, untried: what became of many files. resumed are bytes that \
         were there from before.",
    ),
    ("skipped", "name, reason: something was left out, such as a directory without -r."),
    ("lost", "message, attempt, wait: the connection is lost, and is opened again after so many seconds."),
    ("reconnected", "It stands again."),
    (
        "error",
        "message, status: a command failed, or one file of many; status is the exit status of a script that ends by it.",
    ),
    ("entry", "name, kind, size, mtime, tag: LS, of one thing in a directory; what is unknown is null."),
    ("directory", "name: LS of several, before the entries of one of them; null for the root."),
    ("stat", "name, kind, size, mtime, tag: STAT."),
    ("sum", "name, crc, size, tag: SUM."),
    ("made", "name: MKDIR made a directory."),
    ("deleted", "name: RM deleted one of many."),
    ("removed", "files, directories: how many RM deleted."),
    ("renamed", "from, to: MV."),
    ("plan", "action (get, put, make or delete), name, size: what SYNC -n would do."),
    ("planned", "files, bytes, delete, unchanged: all that SYNC -n would do."),
    ("synced", "unchanged, moved, made, deleted, kept, skipped: what SYNC did."),
    ("place", "directory: PWD."),
    ("local-place", "directory: LPWD."),
    ("status", "local, address, software, features, remote, got_files, got_bytes, put_files, put_bytes: STATUS."),
    ("line", "number, text: HISTORY."),
    ("command", "usage, summary: HELP, of one command."),
    ("help", "text: HELP with a command."),
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
        made(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/shell/session"), &mut kinds);
        kinds.insert("error".to_owned());
        let documented: BTreeSet<String> = EVENTS.iter().map(|(event, _)| (*event).to_owned()).collect();
        assert_eq!(kinds, documented);
    }
}
