//! The one table of commands: parsing, completion, HELP and the manual read it.

use super::phrases;

/// One row: a command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Form {
    /// What is typed, in capitals.
    pub(crate) verb: &'static str,
    /// How it is typed, `[` and `]` around what can be left out.
    pub(crate) usage: &'static str,
    /// What it does, in one line.
    pub(crate) summary: &'static str,
    /// What else there is to know, in paragraphs parted by one LF.
    pub(crate) details: &'static str,
    /// Lines to type, each with what it does.
    pub(crate) examples: &'static [(&'static str, &'static str)],
    /// Other words for the same, in capitals: those of usual FTP clients.
    pub(crate) also: &'static [&'static str],
    /// Words of other programs that mean something like it, in capitals: it is offered in their place.
    pub(crate) synonyms: &'static [&'static str],
    /// Its options.
    pub(crate) options: &'static [Opt],
    /// What its arguments are, before an arrow.
    pub(crate) takes: Takes,
    /// The kind of argument after an arrow `->`, or after the option `-o`, where one may stand there.
    pub(crate) target: Option<Kind>,
}

/// An option of a command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Opt {
    /// Typed as `-r`.
    pub(crate) short: char,
    /// Typed as `--recursive`.
    pub(crate) long: &'static str,
    /// What follows it as a word of its own, where something does.
    pub(crate) value: Option<Kind>,
    /// What it does, in one line.
    pub(crate) summary: &'static str,
}

/// How many arguments a command takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    /// None at all.
    Nothing,
    /// One; it may be left out where the usage says so.
    One(Kind),
    /// One after the other, of these kinds.
    Words(&'static [Kind]),
    /// Any number of one kind.
    Many(Kind),
}

/// What a word of a command stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A port, host:port or bookmark.
    Address,
    /// A command of this table.
    Command,
    /// A command of the local shell.
    Shell,
    /// A number.
    Number,
    /// A file or directory of the server.
    Remote,
    /// A directory of the server.
    RemoteDirectory,
    /// A local file or directory.
    Local,
    /// A local directory.
    LocalDirectory,
    /// The directory that SYNC reads: one of the server with `-d`, else a local one.
    Source,
    /// The directory that SYNC changes: the other way round.
    Target,
}

const RECURSIVE: Opt =
    Opt { short: 'r', long: "recursive", value: None, summary: "whole directories, with everything in them" };
const KEEP_GOING: Opt =
    Opt { short: 'k', long: "keep-going", value: None, summary: "go on with the others where one fails" };
const LISTING: &[Opt] = &[
    Opt { short: 'l', long: "long", value: None, summary: "with sizes and times" },
    Opt { short: 'h', long: "human", value: None, summary: "sizes in KiB, MiB and so on" },
    Opt { short: 't', long: "time", value: None, summary: "the newest first" },
    Opt { short: 'S', long: "size", value: None, summary: "the largest first" },
    Opt { short: 'r', long: "reverse", value: None, summary: "the other way round" },
    Opt { short: 'a', long: "all", value: None, summary: "names that begin with a dot as well, as always" },
    Opt { short: '1', long: "one", value: None, summary: "one name a line, as always" },
];

/// The commands, in the order of HELP.
pub(crate) const FORMS: &[Form] = &[
    Form {
        verb: "OPEN",
        usage: "OPEN port | OPEN host:port",
        summary: "connect to a server; a port alone is of 127.0.0.1",
        details: "A name that the configuration file has among its bookmarks stands for its address; ferry config \
                  says where that file is.",
        examples: &[
            ("OPEN 12000", "a server on this machine"),
            ("OPEN example.org:12000", "one elsewhere"),
            ("OPEN [::1]:12000", "one by its IPv6 address"),
            ("OPEN home", "the bookmark home"),
        ],
        also: &["CONNECT"],
        synonyms: &["TELNET", "LOGIN"],
        options: &[],
        takes: Takes::One(Kind::Address),
        target: None,
    },
    Form {
        verb: "GET",
        usage: "GET [-r] [-k] name ... [-> local]",
        summary: "fetch files into the local directory",
        details: "The file is saved under the last part of its name: GET poems/a.txt saves a.txt.\n\
                  It appears under that name only when it is whole and verified, replacing what was there.\n\
                  A name with spaces stands in quotes, as 'two words.txt', or has a backslash before each of \
                  them, as two\\ words.txt; Tab puts them there. *, ?, [a-z], {a,b} and ** stand for what they \
                  match unless they are quoted, too; a file that has just such a name comes first.\n\
                  After the arrow (or after -o) stands the local name, or a local directory to save in; '-' is \
                  standard output, which gets the bytes before they are verified. CAT name shows a file so.\n\
                  A name that begins with '-' stands after -- or in quotes.",
        examples: &[
            ("GET poems/ozymandias.txt", "saves ozymandias.txt"),
            ("GET *.txt poems/*", "saves all that match"),
            ("GET 'the tyger.txt'", "a name with a space"),
            ("GET -r poems", "makes poems with all that is in it"),
            ("GET a.txt -> b.txt", "saves it as b.txt"),
            ("GET a.txt -> -", "shows it"),
        ],
        also: &["MGET", "RECV", "FETCH", "DOWNLOAD", "REGET"],
        synonyms: &["MORE", "LESS", "PGET"],
        options: &[RECURSIVE, KEEP_GOING],
        takes: Takes::Many(Kind::Remote),
        target: Some(Kind::Local),
    },
    Form {
        verb: "PUT",
        usage: "PUT [-r] [-k] name ... [-> remote]",
        summary: "send files from the local directory",
        details: "The file has the same name there and here: PUT poems/a.txt sends poems/a.txt of the local \
                  directory, and poems must be a directory of the server. When PUT says that it is done, the \
                  file is verified and on the server's disk; before, nobody sees any of it.\n\
                  Quotes and wildcards are as for GET.\n\
                  After the arrow (or after -o) stands the name there, or a directory of the \
                  server; then any local file can be sent. '-' is standard input: its end is the end of the file, and a writer \
                  that died looks like one that is done. After a signal to ferry itself, as Ctrl-C sends it to all of a \
                  pipeline, nothing is published. Where the writer alone may fail, set -o pipefail, PUT under another \
                  name, and MV when all went well.\n\
                  With -r, symbolic links are not followed but left out, and told.",
        examples: &[
            ("PUT README.txt", "sends README.txt of the local directory"),
            ("PUT *.jpg", "sends all that match"),
            ("PUT -r photos", "makes photos there with all that is in it"),
            ("PUT ../notes.txt -> old/notes.txt", "sends it under another name"),
        ],
        also: &["MPUT", "SEND", "STORE", "UPLOAD", "REPUT"],
        synonyms: &[],
        options: &[RECURSIVE, KEEP_GOING],
        takes: Takes::Many(Kind::Local),
        target: Some(Kind::Remote),
    },
    Form {
        verb: "SYNC",
        usage: "SYNC [-u|-d] [-cnk] [--delete] [--max-delete N] [--backup-dir DIR] from [to]",
        summary: "make a directory like another; moves what differs",
        details: "Up (-u, or neither) the directory of the server becomes like the local one: SYNC local remote. \
                  -d goes down: SYNC -d remote local. With one name both have it; '.' is the current \
                  directory.\n\
                  Files are alike if they have the same size and time, or with -c the same size and CRC.\n\
                  Nothing is deleted without --delete, and nothing before all files were moved, but for a file that is \
                  a directory by now, or the reverse: that makes way. The other side is asked again for each name; what \
                  it does not say to be gone stays. What can't be looked at (symbolic links, for one) is told, and \
                  neither moved nor deleted. Where more would be deleted than --max-delete, nothing is done at all; \
                  without it that is 1,000 things, or half of what the changed side has if that is less (but up to ten \
                  go where they are no more than half of what both sides have). With --backup-dir, local files that -d \
                  replaces or deletes are kept in that directory, under their paths.",
        examples: &[
            ("SYNC photos", "sends what is new in photos"),
            ("SYNC -d -n . backup", "says what it would fetch"),
            ("SYNC -u --delete site www", "and deletes what site does not have"),
            ("SYNC -d --delete --backup-dir old site", "keeps in old what is replaced or deleted here"),
        ],
        also: &[],
        synonyms: &["RSYNC", "MIRROR"],
        options: &[
            Opt { short: 'u', long: "up", value: None, summary: "from here to the server" },
            Opt { short: 'd', long: "down", value: None, summary: "from the server to here" },
            Opt { short: 'c', long: "check", value: None, summary: "compare by content, not by time" },
            Opt { short: 'n', long: "dry-run", value: None, summary: "only say what would be done" },
            Opt { short: 'D', long: "delete", value: None, summary: "delete what only the changed side has" },
            Opt {
                short: 'M',
                long: "max-delete",
                value: Some(Kind::Number),
                summary: "do nothing if more things would be deleted than that (1000, or half of what is there)",
            },
            Opt {
                short: 'B',
                long: "backup-dir",
                value: Some(Kind::LocalDirectory),
                summary: "with -d: keep local files that are replaced or deleted in this directory",
            },
            KEEP_GOING,
        ],
        takes: Takes::Words(&[Kind::Source, Kind::Target]),
        target: Some(Kind::Target),
    },
    Form {
        verb: "LS",
        usage: "LS [-lhtSr] [name ...]",
        summary: "list a directory of the server",
        details: "Directories end in '/'. Times are UTC. A name with wildcards lists what matches. Names that begin \
                  with a dot are always listed. DIR and LL are LS -l.",
        examples: &[("LS", "the current directory"), ("LS -l poems/*.txt", "with sizes and times")],
        also: &["LIST", "NLIST"],
        synonyms: &[],
        options: LISTING,
        takes: Takes::Many(Kind::Remote),
        target: None,
    },
    Form {
        verb: "CD",
        usage: "CD [directory]",
        summary: "change the directory of the server",
        details: "Names are relative to it; one that begins with '/' is not. CD alone goes to the root, CDUP one up.",
        examples: &[("CD poems", ""), ("CD ..", "one up")],
        also: &["CWD", "CHDIR"],
        synonyms: &[],
        options: &[],
        takes: Takes::One(Kind::RemoteDirectory),
        target: None,
    },
    Form {
        verb: "PWD",
        usage: "PWD",
        summary: "show the directory of the server",
        details: "",
        examples: &[("PWD", "shows / after OPEN")],
        also: &[],
        synonyms: &[],
        options: &[],
        takes: Takes::Nothing,
        target: None,
    },
    Form {
        verb: "LCD",
        usage: "LCD [directory]",
        summary: "change the local directory",
        details: "Where GET saves and PUT takes files from. LCD alone goes back to where the program began.",
        examples: &[("LCD ../photos", ""), ("LCD ~", "the home directory")],
        also: &[],
        synonyms: &[],
        options: &[],
        takes: Takes::One(Kind::LocalDirectory),
        target: None,
    },
    Form {
        verb: "LPWD",
        usage: "LPWD",
        summary: "show the local directory",
        details: "",
        examples: &[("LPWD", "shows where GET saves")],
        also: &[],
        synonyms: &[],
        options: &[],
        takes: Takes::Nothing,
        target: None,
    },
    Form {
        verb: "LLS",
        usage: "LLS [-lhtSr] [name ...]",
        summary: "list a local directory",
        details: "As LS, but here.",
        examples: &[("LLS", "the local directory"), ("LLS -l *.txt", "with sizes and times")],
        also: &["LDIR"],
        synonyms: &[],
        options: LISTING,
        takes: Takes::Many(Kind::Local),
        target: None,
    },
    Form {
        verb: "STAT",
        usage: "STAT name ...",
        summary: "show what the server knows of a file or directory",
        details: "Its size, its time (UTC), and the tag that stands for this version of it.",
        examples: &[("STAT poems/ozymandias.txt", "")],
        also: &["SIZE", "MODTIME"],
        synonyms: &["INFO", "MDTM", "DU"],
        options: &[],
        takes: Takes::Many(Kind::Remote),
        target: None,
    },
    Form {
        verb: "SUM",
        usage: "SUM name ...",
        summary: "let the server compute the CRC-32 of a file",
        details: "It reads the whole file for that.",
        examples: &[("SUM *.iso", "of all that match")],
        also: &["CRC", "CRC32"],
        synonyms: &["CKSUM", "MD5SUM", "SHA1SUM", "SHA256SUM"],
        options: &[],
        takes: Takes::Many(Kind::Remote),
        target: None,
    },
    Form {
        verb: "MKDIR",
        usage: "MKDIR [-p] name ...",
        summary: "make a directory on the server",
        details: "",
        examples: &[("MKDIR -p a/b/c", "makes a and a/b as well"), ("MKDIR 'two words'", "")],
        also: &["MKD", "MD"],
        synonyms: &[],
        options: &[Opt {
            short: 'p',
            long: "parents",
            value: None,
            summary: "and those above it; none need be missing",
        }],
        takes: Takes::Many(Kind::RemoteDirectory),
        target: None,
    },
    Form {
        verb: "RM",
        usage: "RM [-rdfk] name ...",
        summary: "delete files of the server",
        details: "There is no way back. Quotes and wildcards are as for GET. With -r a directory goes with everything \
                  in it; the root never does. Nothing is deleted where one of the names does not exist, unless \
                  -k or -f is given. RMDIR is RM -d.",
        examples: &[("RM old.txt *.tmp", ""), ("RM -r drafts", "the directory and all that is in it")],
        also: &["DELETE", "DEL", "MDELETE", "MRM"],
        synonyms: &["ERASE", "UNLINK", "REMOVE"],
        options: &[
            RECURSIVE,
            Opt { short: 'd', long: "empty", value: None, summary: "empty directories as well" },
            Opt { short: 'f', long: "force", value: None, summary: "without a word of what does not exist" },
            KEEP_GOING,
        ],
        takes: Takes::Many(Kind::Remote),
        target: None,
    },
    Form {
        verb: "MV",
        usage: "MV from to | MV from -> to",
        summary: "rename or move a file or directory of the server",
        details: "Where 'to' is a directory it goes in there. Nothing is ever replaced.",
        examples: &[("MV a.txt b.txt", ""), ("MV 'two words.txt' poems", "goes into poems")],
        also: &["RENAME", "REN", "MOVE"],
        synonyms: &[],
        options: &[],
        takes: Takes::Words(&[Kind::Remote, Kind::Remote]),
        target: Some(Kind::Remote),
    },
    Form {
        verb: "STATUS",
        usage: "STATUS",
        summary: "show connection, directories, and what was moved",
        details: "",
        examples: &[("STATUS", "")],
        also: &[],
        synonyms: &["STATE"],
        options: &[],
        takes: Takes::Nothing,
        target: None,
    },
    Form {
        verb: "HISTORY",
        usage: "HISTORY [count]",
        summary: "show earlier lines, with their numbers",
        details: "",
        examples: &[("HISTORY 10", "the last ten")],
        also: &["HIST"],
        synonyms: &[],
        options: &[],
        takes: Takes::One(Kind::Number),
        target: None,
    },
    Form {
        verb: "!",
        usage: "![command]",
        summary: "run a command of this machine's shell",
        details: "It runs in the local directory. Alone, it starts a shell. In -c, a ';' ends it.",
        examples: &[("!ls -l", ""), ("!", "a shell; leave it by exit")],
        also: &[],
        synonyms: &["SHELL", "SH"],
        options: &[],
        takes: Takes::One(Kind::Shell),
        target: None,
    },
    Form {
        verb: "CLOSE",
        usage: "CLOSE",
        summary: "close the connection",
        details: "Another OPEN may follow.",
        examples: &[("CLOSE", "")],
        also: &["DISCONNECT"],
        synonyms: &["LOGOUT"],
        options: &[],
        takes: Takes::Nothing,
        target: None,
    },
    Form {
        verb: "QUIT",
        usage: "QUIT",
        summary: "leave; Ctrl-D does the same",
        details: "An open connection is closed first.",
        examples: &[("QUIT", "")],
        also: &["EXIT", "BYE", "Q"],
        synonyms: &["X"],
        options: &[],
        takes: Takes::Nothing,
        target: None,
    },
    Form {
        verb: "HELP",
        usage: "HELP [command]",
        summary: "say more",
        details: "",
        examples: &[("HELP GET", "says more of GET")],
        also: &["?", "H", "MAN"],
        synonyms: &[],
        options: &[],
        takes: Takes::One(Kind::Command),
        target: None,
    },
];

impl Form {
    /// What is said of it among the others. Where its usage is long, its summary stands beneath.
    pub(crate) fn line(&self) -> String {
        const USAGE_COLUMNS: usize = 26;
        let (usage, summary) = (brief(self.usage), self.summary);
        match usage.len() > USAGE_COLUMNS {
            true => format!("  {usage}\n  {:USAGE_COLUMNS$}  {summary}", ""),
            false => format!("  {usage:<USAGE_COLUMNS$}  {summary}"),
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

/// The command that `verb` stands for, alone or with options, in any case of letters.
pub(crate) fn form(verb: &str) -> Option<&'static Form> {
    let verb = phrases::phrase(verb).and_then(|phrase| phrase.first()).unwrap_or(&verb);
    let names = |form: &Form| std::iter::once(&form.verb).chain(form.also).any(|word| word.eq_ignore_ascii_case(verb));
    FORMS.iter().find(|form| names(form))
}

/// All other words for commands.
pub(crate) fn also() -> impl Iterator<Item = &'static str> {
    FORMS.iter().flat_map(|form| form.also.iter().copied()).chain(phrases())
}

/// The words that stand for a command with options or arguments.
pub(crate) fn phrases() -> impl Iterator<Item = &'static str> {
    phrases::words()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_means_two_commands() {
        let mut words: Vec<&str> = FORMS.iter().flat_map(|form| form.synonyms.iter().copied()).collect();
        words.extend(FORMS.iter().map(|form| form.verb).chain(also()));
        let all = words.len();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), all);
        assert!(words.iter().all(|word| phrases::needless(word).is_none()));
    }

    #[test]
    fn the_list_of_commands_fits_a_usual_terminal() {
        for form in FORMS {
            for line in form.line().lines() {
                assert!(line.len() <= 80, "{} columns: {line}", line.len());
            }
        }
    }
}
