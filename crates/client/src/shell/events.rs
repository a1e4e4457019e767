//! What the events of `--json` are, for the manual.

/// What holds for all of them.
pub(crate) const INTRODUCTION: &str = "\
With --json, each line of standard output is one JSON object, and its field \"event\" says what happened. Names and \
texts are as they are, not escaped for a terminal. Sizes are bytes, times are Unix seconds, spans are seconds. Where a \
file itself goes to standard output, the events go to standard error. New events and new fields may come: pass over \
what you do not know.";

/// Each event with its fields.
pub(crate) const EVENTS: &[(&str, &str)] = &[
    ("connected", "address, software, read_only: a server was opened."),
    ("closed", "The connection was closed."),
    ("got", "name, bytes, seconds: a file was fetched, and is verified."),
    ("put", "name, bytes, seconds: a file was stored, is verified and on the server's disk."),
    ("command", "usage, summary: a command of the shell, told by HELP."),
    ("help", "text: more about one command."),
    ("error", "message, status: a command failed; status is the exit status that a script would end with."),
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
