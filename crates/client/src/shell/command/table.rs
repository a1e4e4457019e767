//! The one table of commands: parsing, completion, HELP and the manual read it.

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
    /// What people type who are used to other programs; in capitals.
    pub(crate) synonyms: &'static [&'static str],
    /// Its options.
    pub(crate) options: &'static [Opt],
    /// What its arguments are, before an arrow.
    pub(crate) takes: Takes,
    /// What stands behind an arrow `->`, where one may.
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
    /// One, which runs to the end of the line; it may be left out where the usage says so.
    Line(Kind),
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
}

/// The commands, in the order of HELP.
pub(crate) const FORMS: &[Form] = &[
    Form {
        verb: "OPEN",
        usage: "OPEN port | OPEN host:port",
        summary: "connect to a server; a port alone is one on 127.0.0.1",
        details: "",
        examples: &[
            ("OPEN 12000", "a server on this machine"),
            ("OPEN example.org:12000", "one elsewhere"),
            ("OPEN [::1]:12000", "one by its IPv6 address"),
        ],
        synonyms: &["CONNECT", "TELNET"],
        options: &[],
        takes: Takes::Line(Kind::Address),
        target: None,
    },
    Form {
        verb: "GET",
        usage: "GET name",
        summary: "fetch a file into the client directory",
        details: "The file is saved under the last part of its name: GET poems/a.txt saves a.txt.\n\
                  It appears under that name only when it is whole and verified, replacing what was there.\n\
                  The name runs to the end of the line: spaces need no quotes.",
        examples: &[("GET poems/ozymandias.txt", "saves ozymandias.txt")],
        synonyms: &["DOWNLOAD", "FETCH", "RECV", "MGET"],
        options: &[],
        takes: Takes::Many(Kind::Remote),
        target: None,
    },
    Form {
        verb: "PUT",
        usage: "PUT name",
        summary: "send a file from the client directory",
        details: "The file has the same name there and here: PUT poems/a.txt sends poems/a.txt of the client\n\
                  directory, and poems must be a directory of the server. When PUT says that it is done, the\n\
                  file is verified and on the server's disk; before, nobody sees any of it.",
        examples: &[("PUT README.txt", "sends README.txt of the client directory")],
        synonyms: &["UPLOAD", "SEND", "STORE", "MPUT"],
        options: &[],
        takes: Takes::Many(Kind::Local),
        target: None,
    },
    Form {
        verb: "CLOSE",
        usage: "CLOSE",
        summary: "close the connection",
        details: "Another OPEN may follow.",
        examples: &[],
        synonyms: &["DISCONNECT", "LOGOUT"],
        options: &[],
        takes: Takes::Nothing,
        target: None,
    },
    Form {
        verb: "QUIT",
        usage: "QUIT",
        summary: "leave; Ctrl-D does the same",
        details: "An open connection is closed first.",
        examples: &[],
        synonyms: &["EXIT", "BYE", "Q", "X"],
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
        synonyms: &["?", "H", "MAN"],
        options: &[],
        takes: Takes::Line(Kind::Command),
        target: None,
    },
];

/// The command `verb`, in any case of letters.
pub(crate) fn form(verb: &str) -> Option<&'static Form> {
    FORMS.iter().find(|form| form.verb.eq_ignore_ascii_case(verb))
}
