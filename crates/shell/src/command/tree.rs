//! The commands and their arguments. Doc comments are the texts of HELP, `--help` and the manual: the first paragraph is
//! the summary, the others are the details, and `after_help` holds the examples.

use std::{iter, path::PathBuf};

use clap::{ArgAction, Args, Subcommand, ValueHint};
use ferry_client::{ChecksumForm, Direction, Links, Security, Sync};

use super::{
    argument::{Target, number, place, target, text, word},
    choosing::{Choosing, IgnoreFiles, LinkOptions, Listed},
    looking::{Depth, Search, Sizes},
};
use crate::{trust, words::Word};

/// One command, parsed; names are not looked up yet.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub(crate) enum Command {
    /// Connect to a server; a port alone is on 127.0.0.1
    ///
    /// A bookmark of the configuration file stands for its address; 'ferry config' names that file. With USER@ in front,
    /// that user logs in, as LOGIN does.
    ///
    /// TLS is spoken with servers that are not on this machine; --tls and --plain say otherwise. A server is trusted if an
    /// authority of this system vouches for it, or by its key, which ferry asks about once and then remembers.
    #[command(
        alias = "connect",
        after_help = "OPEN 12000              a server on this machine\n\
                      OPEN example.org:12000  one elsewhere\n\
                      OPEN [::1]:12000        one by its IPv6 address\n\
                      OPEN home               the bookmark home\n\
                      OPEN alice@home         and logs in as alice"
    )]
    Open(Open),
    /// Log in; the secret is asked for
    ///
    /// Further connections to the server log in by themselves. The secret, a password or a token, is typed without being
    /// shown. FERRY_SECRET, or the bookmark's secret_command, gives it in place of that; it is never a part of the line.
    /// It is sent only by TLS or on this machine, and only to a server that has accounts.
    ///
    /// Without a user it is the one of the bookmark, or of the login before.
    #[command(alias = "user", after_help = "LOGIN alice")]
    Login(Login),
    /// Fetch files into the local directory
    ///
    /// The file is saved under the last part of its name: GET poems/a.txt saves a.txt. It gets that name only when it is
    /// whole and verified, and then replaces what was there.
    ///
    /// Spaces separate names. Quote a name with spaces ('two words.txt') or escape them (two\ words.txt); Tab does it.
    /// Unquoted *, ?, [a-z], {a,b} and ** match names, unless a file has just that name. A name that begins with '-'
    /// stands after -- or in quotes.
    ///
    /// '-> NAME' or '-o NAME' saves under another local name or in a local directory; '-' is standard output, which gets
    /// the bytes before they are verified. CAT name is GET name -> -.
    #[command(
        aliases = ["mget", "recv", "fetch", "download", "reget"],
        mut_arg("files_from", |arg| arg.requires("recursive")),
        after_help = "GET poems/ozymandias.txt  saves ozymandias.txt\n\
                      GET *.txt poems/*         saves all that match\n\
                      GET 'the tyger.txt'       a name with a space\n\
                      GET -r poems              makes poems with all that is in it\n\
                      GET a.txt -> b.txt        saves it as b.txt\n\
                      GET a.txt -> -            shows it"
    )]
    Get(Get),
    /// Send files from the local directory
    ///
    /// The file keeps its name: PUT poems/a.txt sends poems/a.txt of the local directory, and poems must be a directory
    /// of the server. When PUT is done, the file is verified and on the server's disk; before, nobody sees any of it.
    /// Quotes and wildcards are as for GET. With -r, symbolic links are skipped.
    ///
    /// '-> NAME' or '-o NAME' gives another name there, or a directory of the server. The name '-' is standard input; its
    /// end is the end of the file. A signal to ferry itself, as Ctrl-C sends it to a whole pipeline, publishes nothing,
    /// but a writer that dies looks like one that is done: where that matters, set -o pipefail, PUT under another name,
    /// and MV when all went well.
    #[command(
        aliases = ["mput", "send", "store", "upload", "reput"],
        mut_arg("names", |arg| arg.value_hint(ValueHint::AnyPath)),
        mut_arg("output", |arg| arg.value_hint(ValueHint::Other).value_name("REMOTE")),
        mut_arg("files_from", |arg| arg.requires("recursive")),
        after_help = "PUT README.txt                     sends README.txt of the local directory\n\
                      PUT *.jpg                          sends all that match\n\
                      PUT -r photos                      makes photos there with all that is in it\n\
                      PUT ../notes.txt -> old/notes.txt  sends it under another name\n\
                      PUT -rF photos                     but for what .ferryignore files leave out\n\
                      PUT --no-clobber report.pdf        fails if the server has a report.pdf"
    )]
    Put(Put),
    /// Make a directory like another; moves what differs
    ///
    /// Up (-u, the default), the server's directory becomes like the local one: SYNC local remote. Down (-d), the other
    /// way round: SYNC -d remote local. With one name, both have it; '.' is the current directory. Files are alike if
    /// they have the same size and time, or with -c the same size and CRC.
    ///
    /// Nothing is deleted without --delete, and nothing before all files were moved, except a file where a directory is
    /// to be, or the reverse. The other side is asked again for each name to be deleted; what it does not report as
    /// gone stays. Symbolic links and what cannot be read are reported, and neither moved nor deleted.
    ///
    /// Where more would be deleted than --max-delete, nothing is done at all. Its default is 1000, or half of what the
    /// changed side has if that is less; up to ten things are deleted where they are at most half of what both sides
    /// have. With --backup-dir, local files that -d replaces or deletes are kept in that directory.
    #[command(after_help = "SYNC photos                             sends what is new in photos\n\
                            SYNC -d -n . backup                     says what it would fetch\n\
                            SYNC -u --delete site www               and deletes what site does not have\n\
                            SYNC -d --delete --backup-dir old site  keeps replaced and deleted local files in old")]
    Sync(Box<SyncArgs>),
    /// List a directory of the server
    ///
    /// Directories end in '/'; times are UTC. A name with wildcards lists what matches. DIR and LL are LS -l.
    #[command(
        aliases = ["list", "nlist"],
        disable_help_flag = true,
        after_help = "LS                 the current directory\n\
                      LS -l poems/*.txt  with sizes and times"
    )]
    Ls(ListThere),
    /// Show files by a pager
    ///
    /// PAGER names it; less is used without. Each piece is verified before it is shown. CAT shows a file at once, and so
    /// does LESS where standard output is no terminal.
    #[command(alias = "more", after_help = "LESS poems/ozymandias.txt")]
    Less(Names),
    /// Find files and directories of the server
    ///
    /// It goes through the directories named, or the current one, with all that is beneath. --name and --type choose.
    /// Directories that can't be listed are told.
    #[command(
        disable_help_flag = true,
        after_help = "FIND --name '*.txt'     all texts beneath the current directory\n\
                            FIND -l poems --type f  files beneath poems, with sizes and times"
    )]
    Find(Search),
    /// Show directories of the server as a tree
    ///
    /// Directories that can't be listed are told.
    #[command(after_help = "TREE poems\nTREE -L 2   no more than two levels")]
    Tree(Depth),
    /// Sum up the sizes of what is in directories of the server
    ///
    /// A line says how many bytes the files of a directory have, with all that is beneath it. Directories that can't be
    /// listed are told, and count nothing.
    #[command(
        disable_help_flag = true,
        after_help = "DU -h      each directory beneath the current one\n\
                            DU -s *    what is here, one line each"
    )]
    Du(Sizes),
    /// Edit a file of the server
    ///
    /// The file is fetched to a private directory and edited there by the program that VISUAL or EDITOR names, or vi. If
    /// it has changed when that ends, it replaces the file of the server; if somebody else has changed that meanwhile, it
    /// does not. What could not be stored is kept, and its place is told. An editor that fails changes nothing.
    #[command(after_help = "EDIT notes/todo.txt")]
    Edit(Names),
    /// Change the directory of the server
    ///
    /// Names are relative to it, unless they begin with '/'. CD alone goes to the root, CDUP one up.
    #[command(aliases = ["cwd", "chdir"], disable_help_flag = true, after_help = "CD poems\nCD ..  one up")]
    Cd(Directory),
    /// Show the directory of the server
    #[command(after_help = "PWD  shows / after OPEN")]
    Pwd,
    /// Change the local directory
    ///
    /// GET saves there, and PUT takes files from there. LCD alone goes back to where the program began.
    #[command(
        disable_help_flag = true,
        mut_arg("directory", |arg| arg.value_hint(ValueHint::DirPath)),
        after_help = "LCD ../photos\nLCD ~  the home directory"
    )]
    Lcd(Directory),
    /// Show the local directory
    #[command(after_help = "LPWD  shows where GET saves")]
    Lpwd,
    /// List a local directory
    #[command(
        alias = "ldir",
        disable_help_flag = true,
        mut_arg("names", |arg| arg.value_hint(ValueHint::AnyPath)),
        after_help = "LLS           the local directory\n\
                      LLS -l *.txt  with sizes and times"
    )]
    Lls(List),
    /// Show what the server knows of a file or directory
    ///
    /// Its size, its time (UTC), and the tag of this version of it.
    #[command(aliases = ["size", "modtime"], after_help = "STAT poems/ozymandias.txt")]
    Stat(Names),
    /// Let the server compute the CRC-32 or SHA-256 of files
    ///
    /// The server reads the whole file. --sha256 prints lines that 'sha256sum -c' checks, --tag those of 'cksum -a
    /// sha256'; names are as they would be typed here.
    ///
    /// --check reads a local file of such lines and holds them against the files of the server, or with --local against
    /// those of the local directory. Each is OK or FAILED; if one is not OK, the exit status is not 0.
    #[command(
        aliases = ["crc", "crc32"],
        after_help = "SUM *.iso                        of all that match\n\
                      SUM --sha256 -r photos           of all files in photos\n\
                      SUM --check SHA256SUMS           whether the server's files are those\n\
                      SUM --check SHA256SUMS --local   whether the local ones are"
    )]
    Sum(SumArgs),
    /// Make directories on the server
    ///
    /// Braces make several names: MKDIR a{1,2} makes a1 and a2. No other wildcard has a meaning here.
    #[command(
        aliases = ["mkd", "md"],
        mut_arg("names", |arg| arg.value_name("DIR")),
        after_help = "MKDIR -p a/b/c     makes a and a/b as well\n\
                      MKDIR 'two words' 20{25,26}"
    )]
    Mkdir(MakeDirectories),
    /// Delete files of the server
    ///
    /// There is no way back. Quotes and wildcards are as for GET. If one of the names does not exist, nothing is
    /// deleted, unless -k or -f is given. The root is never deleted. RMDIR is RM -d.
    #[command(
        aliases = ["delete", "del", "mdelete", "mrm"],
        mut_arg("files_from", |arg| arg.requires("recursive")),
        after_help = "RM old.txt *.tmp\n\
                      RM -r drafts      the directory and all that is in it"
    )]
    Rm(RemoveArgs),
    /// Rename or move files and directories of the server
    ///
    /// If the last name is a directory, all before it go into it; several need one. Nothing is ever replaced. Quotes and
    /// wildcards are as for GET. If one of the names does not exist, or two would get one name, nothing is moved.
    #[command(
        aliases = ["rename", "ren", "move"],
        after_help = "MV a.txt b.txt\n\
                      MV 'two words.txt' *.md poems  go into poems"
    )]
    Mv(Renaming),
    /// Show connection, directories, and what was moved
    #[command(after_help = "STATUS")]
    Status,
    /// Ask the server whether its root answers
    ///
    /// It needs no right and no login. The server says within a second or so whether the directory that it serves can be
    /// reached; where it can't, the exit status of a script is 4.
    #[command(after_help = "HEALTH")]
    Health,
    /// Show earlier lines, with their numbers
    #[command(alias = "hist", after_help = "HISTORY 10  the last ten")]
    History(HistoryArgs),
    /// Run a command of this machine's shell
    ///
    /// It runs in the local directory. Alone, it starts a shell. In -c, a ';' ends it.
    #[command(name = "!", after_help = "!ls -l\n!       a shell; leave it by exit")]
    Shell(ShellLine),
    /// Close the connection
    ///
    /// Another OPEN may follow.
    #[command(alias = "disconnect", after_help = "CLOSE")]
    Close,
    /// Leave; Ctrl-D does the same
    ///
    /// An open connection is closed first.
    #[command(aliases = ["exit", "bye", "q"], after_help = "QUIT")]
    Quit,
    /// List the commands, or explain one
    #[command(aliases = ["?", "h", "man"], after_help = "HELP GET  explains GET")]
    Help(Topic),
    /// A word of other programs that needs no action here, and why.
    #[command(skip)]
    Needless { word: String, why: &'static str },
}

/// The arguments of OPEN.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Open {
    /// Speak TLS, whatever the address
    #[arg(long, conflicts_with = "plain")]
    tls: bool,
    /// Speak without TLS, whatever the address
    #[arg(long)]
    plain: bool,
    /// A port of this machine, host:port, or a bookmark
    #[arg(value_name = "[USER@]HOST:PORT", value_hint = ValueHint::Hostname, value_parser = text)]
    host: String,
    /// The port as a word of its own, as usual FTP clients have it
    #[arg(value_parser = text, hide = true)]
    port: Option<String>,
}

/// The arguments of LOGIN.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Login {
    /// The user to log in
    #[arg(value_hint = ValueHint::Username, value_parser = text)]
    pub(crate) user: Option<String>,
}

/// The arguments of GET and PUT.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Transfer {
    #[command(flatten)]
    pub(crate) names: Names,
    /// Whole directories, with everything in them
    #[arg(short, long)]
    pub(crate) recursive: bool,
    #[command(flatten)]
    pub(crate) going_on: GoingOn,
    /// Only say what would be done
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) choosing: Choosing,
    #[command(flatten)]
    pub(crate) listed: Listed,
    #[command(flatten)]
    pub(crate) ignore_files: IgnoreFiles,
    /// Another name for it, or a directory to put it in; '-> NAME' is the same
    #[arg(short = 'o', long = "output", id = "output", value_name = "LOCAL", value_hint = ValueHint::AnyPath, value_parser = target, allow_hyphen_values = true)]
    pub(crate) target: Option<Target>,
}

/// The arguments of GET.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Get {
    #[command(flatten)]
    pub(crate) transfer: Transfer,
    /// Make holes where large files have nothing but zeros
    #[arg(short = 'S', long)]
    pub(crate) sparse: bool,
}

/// The arguments of PUT.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Put {
    #[command(flatten)]
    pub(crate) transfer: Transfer,
    /// Never replace a file of the server: fail where the name is taken (slower for many small files)
    #[arg(long)]
    pub(crate) no_clobber: bool,
    #[command(flatten)]
    pub(crate) links: LinkOptions,
}

/// The names that a command is about. There is at least one, unless the command can do without.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Names {
    /// Names, or patterns with wildcards
    #[arg(id = "names", value_name = "NAME", value_hint = ValueHint::Other, required = true, value_parser = word)]
    pub(crate) words: Vec<Word>,
}

/// Goes on after a failure. [`None`] where it was not said.
///
/// The whole program has the same option, for one-shot use and with a default in the configuration file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Args)]
pub(crate) struct KeepGoing {
    /// Continue with the other files after a failure, as whole directories do; the exit status is that of the first
    #[arg(
        id = "keep_going",
        short,
        long = "keep-going",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        hide_possible_values = true
    )]
    pub(crate) keep_going: Option<bool>,
}

/// The fate of the others after a failure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Args)]
pub(crate) struct GoingOn {
    #[command(flatten)]
    pub(crate) keep_going: KeepGoing,
    /// Stop at the first failure, also in whole directories
    #[arg(long, conflicts_with = "keep_going")]
    pub(crate) fail_fast: bool,
}

impl GoingOn {
    /// Returns whether the others are gone on with, where that was said.
    pub(crate) fn asked(self) -> Option<bool> {
        if self.fail_fast { Some(false) } else { self.keep_going.keep_going }
    }
}

/// The arguments of SYNC, as they are typed.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct SyncArgs {
    /// From here to the server (the default)
    #[arg(short, long, conflicts_with = "down")]
    up: bool,
    /// From the server to here
    #[arg(short, long)]
    down: bool,
    /// Compare by content, not by time
    #[arg(short, long)]
    check: bool,
    /// Only say what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Delete what only the changed side has, after all was moved
    #[arg(short = 'D', long, alias = "delete-after")]
    delete: bool,
    /// Leave files as they are that are newer at the changed side
    #[arg(long)]
    update: bool,
    /// Ask nothing before more than 100 things are deleted
    #[arg(short, long)]
    yes: bool,
    /// Do nothing if more than N things would be deleted [default: 1000, or half of what is there]
    #[arg(short = 'M', long, value_name = "N", value_parser = number, allow_hyphen_values = true)]
    max_delete: Option<usize>,
    /// With -d: keep replaced and deleted local files in DIR
    #[arg(short = 'B', long, value_name = "DIR", value_hint = ValueHint::DirPath, value_parser = place, requires = "down", conflicts_with = "up")]
    backup_dir: Option<Word>,
    #[command(flatten)]
    going_on: GoingOn,
    #[command(flatten)]
    choosing: Choosing,
    #[command(flatten)]
    listed: Listed,
    #[command(flatten)]
    ignore_files: IgnoreFiles,
    #[command(flatten)]
    links: LinkOptions,
    /// With -d: make holes where large files have nothing but zeros
    #[arg(short = 'S', long, requires = "down", conflicts_with = "up")]
    sparse: bool,
    /// The directory to read
    #[arg(value_hint = ValueHint::AnyPath, value_parser = place)]
    from: Word,
    /// The directory to change [default: the one of the same name]
    #[arg(value_hint = ValueHint::AnyPath, value_parser = place)]
    to: Option<Word>,
    /// Another way to name it
    #[arg(short, long, value_name = "TO", value_hint = ValueHint::AnyPath, value_parser = place, conflicts_with = "to", hide = true)]
    output: Option<Word>,
}

/// The directories that SYNC compares, and how it makes them alike.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SyncDirectories {
    /// The direction, and how far it goes.
    pub(crate) sync: Sync,
    /// The directory that is read.
    pub(crate) from: String,
    /// The directory that is changed; [`None`] for the one of the same name.
    pub(crate) to: Option<String>,
    /// Nothing is changed.
    pub(crate) dry_run: bool,
    /// Nothing is asked before many things are deleted.
    pub(crate) yes: bool,
    pub(crate) going_on: GoingOn,
    pub(crate) choosing: Choosing,
    pub(crate) listed: Listed,
    pub(crate) ignore_files: IgnoreFiles,
    pub(crate) links: Links,
    /// Large files get holes.
    pub(crate) sparse: bool,
}

/// The arguments that LS and LLS share.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct List {
    /// With sizes and times
    #[arg(short, long)]
    long: bool,
    /// Sizes in KiB, MiB and so on
    #[arg(short, long)]
    human: bool,
    /// The newest first
    #[arg(short, long)]
    time: bool,
    /// The largest first
    #[arg(short = 'S', long)]
    size: bool,
    /// In reverse order
    #[arg(short, long)]
    reverse: bool,
    /// Names that begin with a dot as well, as always
    #[arg(short, long, hide = true)]
    all: bool,
    /// One name a line, as always
    #[arg(short = '1', long, hide = true)]
    one: bool,
    /// Print help
    #[arg(id = "help", long, action = ArgAction::Help)]
    help: Option<bool>,
    /// Files, directories, or patterns with wildcards [default: the current directory]
    #[arg(id = "names", value_name = "NAME", value_hint = ValueHint::Other, value_parser = word)]
    words: Vec<Word>,
}

/// The arguments of LS.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct ListThere {
    #[command(flatten)]
    pub(crate) list: List,
    #[command(flatten)]
    pub(crate) choosing: Choosing,
}

/// The style of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Listing {
    /// With sizes and times.
    pub(crate) long: bool,
    /// Sizes for people.
    pub(crate) human: bool,
    pub(crate) order: Order,
    pub(crate) reverse: bool,
}

/// The thing that comes first in a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// As it comes: by name.
    Name,
    /// The newest.
    Time,
    /// The largest.
    Size,
}

/// The arguments of SUM.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct SumArgs {
    /// SHA-256, in the lines of sha256sum
    #[arg(short, long)]
    sha256: bool,
    /// SHA-256, in the lines of cksum -a sha256
    #[arg(short, long)]
    tag: bool,
    /// Whole directories, with everything in them
    #[arg(short, long)]
    pub(crate) recursive: bool,
    /// Check the files that the local file FILE names
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::AnyPath, value_parser = word, conflicts_with_all = ["names", "sha256", "tag", "recursive", "keep_going"])]
    pub(crate) check: Vec<Word>,
    /// With --check: local files, not the server's
    #[arg(short, long, requires = "check", conflicts_with = "names")]
    pub(crate) local: bool,
    #[command(flatten)]
    pub(crate) keep_going: KeepGoing,
    /// Names, or patterns with wildcards
    #[arg(id = "names", value_name = "NAME", value_hint = ValueHint::Other, required_unless_present = "check", value_parser = word)]
    words: Vec<Word>,
}

/// The form in which SUM tells sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// CRC, size and name.
    Crc,
    /// A line of a file of checksums.
    Sha256(ChecksumForm),
}

/// The arguments of CD and LCD.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Directory {
    /// Where to go
    #[arg(value_name = "DIR", value_hint = ValueHint::Other, value_parser = text, allow_hyphen_values = true)]
    pub(crate) directory: Option<String>,
}

/// The arguments of MKDIR.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct MakeDirectories {
    /// Make missing parents too, and accept one that exists
    #[arg(short, long)]
    pub(crate) parents: bool,
    #[command(flatten)]
    pub(crate) names: Names,
}

/// The arguments of RM.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct RemoveArgs {
    /// Whole directories, with everything in them
    #[arg(short, long)]
    pub(crate) recursive: bool,
    /// Empty directories as well
    #[arg(short = 'd', long)]
    pub(crate) empty: bool,
    /// Ignore names that do not exist
    #[arg(short, long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) going_on: GoingOn,
    /// Only say what would be done
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// Ask nothing before more than 100 things are deleted
    #[arg(short, long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) choosing: Choosing,
    #[command(flatten)]
    pub(crate) listed: Listed,
    #[command(flatten)]
    pub(crate) names: Names,
}

/// The arguments of MV: names, of which the last is the new one where it stands nowhere else.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Renaming {
    #[command(flatten)]
    pub(crate) going_on: GoingOn,
    /// Only say what would be done
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// The files and directories, and at the end the new name or a directory to move them to
    #[arg(id = "names", value_name = "NAME", value_hint = ValueHint::Other, required = true, value_parser = word)]
    words: Vec<Word>,
    /// Another way to give the new name
    #[arg(short, long, value_name = "TO", value_hint = ValueHint::Other, value_parser = text, hide = true)]
    output: Option<String>,
}

/// The arguments of HISTORY.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct HistoryArgs {
    /// How many lines [default: all]
    #[arg(value_parser = number, allow_negative_numbers = true)]
    pub(crate) count: Option<usize>,
}

/// A command of the system's shell; [`None`] for a shell to type in.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct ShellLine {
    /// The command
    #[arg(value_hint = ValueHint::CommandString)]
    pub(crate) command: Option<String>,
}

/// The arguments of HELP.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Topic {
    /// The command to explain
    #[arg(value_name = "COMMAND", value_hint = ValueHint::CommandName, value_parser = text)]
    pub(crate) topic: Option<String>,
}

impl Open {
    /// Returns those that name `host`.
    pub(crate) fn of(host: &str) -> Open {
        Open { tls: false, plain: false, host: host.to_owned(), port: None }
    }

    /// Returns a port, host:port or bookmark, which is not looked up yet.
    pub(crate) fn address(&self) -> String {
        let Open { host, port, .. } = self;
        let Some(port) = port else { return host.clone() };
        let user_ends = host.rfind('@').map_or(0, |at| at + 1);
        match host.split_at(user_ends) {
            (user, host) if host.contains(':') && !host.starts_with('[') => format!("{user}[{host}]:{port}"),
            (user, host) => format!("{user}{host}:{port}"),
        }
    }
}

impl Open {
    /// Returns whether TLS is to be spoken, where that was said.
    pub(crate) fn security(&self) -> Option<Security> {
        trust::security(self.tls, self.plain)
    }
}

impl Names {
    /// Returns several words as the one name that they may be meant as, where no quote says that they are several.
    pub(crate) fn together(&self) -> Option<String> {
        together(self.words.iter())
    }
}

fn together<'a>(words: impl Iterator<Item = &'a Word> + Clone) -> Option<String> {
    let is_plain = words.clone().count() > 1 && words.clone().all(|word| !word.quoted);
    is_plain.then(|| words.map(|word| &*word.text).collect::<Vec<_>>().join(" "))
}

impl List {
    pub(crate) fn style(&self) -> Listing {
        let order = match (self.time, self.size) {
            (true, _) => Order::Time,
            (false, true) => Order::Size,
            (false, false) => Order::Name,
        };
        Listing { long: self.long, human: self.human, order, reverse: self.reverse }
    }

    /// Returns what to list; [`None`] for the current directory.
    pub(crate) fn names(&self) -> Option<Names> {
        (!self.words.is_empty()).then(|| Names { words: self.words.clone() })
    }
}

impl SumArgs {
    pub(crate) fn style(&self) -> Style {
        match (self.sha256, self.tag) {
            (_, true) => Style::Sha256(ChecksumForm::Tagged),
            (true, false) => Style::Sha256(ChecksumForm::Plain),
            (false, false) => Style::Crc,
        }
    }

    /// Returns the files that are meant; none where files of checksums name them.
    pub(crate) fn names(&self) -> Names {
        Names { words: self.words.clone() }
    }
}

impl Renaming {
    /// Returns what is to be moved, and where to; [`None`] where one of the two is missing.
    pub(super) fn taken_apart(&self) -> Option<(&[Word], &str)> {
        match (&self.output, self.words.split_last()) {
            (Some(to), _) => Some((&self.words, to)),
            (None, Some((to, from))) if !from.is_empty() => Some((from, &to.text)),
            (None, _) => None,
        }
    }

    /// Returns what is to be moved.
    pub(crate) fn from(&self) -> Names {
        Names { words: self.taken_apart().map(|(from, _)| from.to_vec()).unwrap_or_default() }
    }

    /// Returns the new name. The parser has seen to it that there is one.
    pub(crate) fn to(&self) -> &str {
        self.taken_apart().map_or("", |(_, to)| to)
    }
}

impl From<SyncArgs> for SyncDirectories {
    fn from(args: SyncArgs) -> SyncDirectories {
        let direction = if args.down { Direction::Down } else { Direction::Up };
        SyncDirectories {
            sync: Sync {
                check: args.check,
                update: args.update,
                delete: args.delete,
                max_delete: args.max_delete,
                backup: args.backup_dir.map(|word| PathBuf::from(word.text)),
                ..Sync::new(direction)
            },
            from: args.from.text,
            to: args.to.or(args.output).map(|word| word.text),
            dry_run: args.dry_run,
            yes: args.yes,
            going_on: args.going_on,
            choosing: args.choosing,
            listed: args.listed,
            ignore_files: args.ignore_files,
            links: args.links.links(),
            sparse: args.sparse,
        }
    }
}

impl Command {
    /// Returns whether it moves files, and so goes on after a lost connection.
    pub(crate) fn moves_files(&self) -> bool {
        matches!(self, Command::Get(_) | Command::Put(_) | Command::Sync(_))
    }

    /// Returns several words that may be meant as one name, and whether it would be one of the server.
    pub(crate) fn together(&self) -> Option<(String, bool)> {
        match self {
            Command::Get(get) => Some((get.transfer.names.together()?, true)),
            Command::Put(put) => Some((put.transfer.names.together()?, false)),
            Command::Sync(args) => Some((together(iter::once(&args.from).chain(&args.to))?, args.down)),
            Command::Ls(there) => Some((together(there.list.words.iter())?, true)),
            Command::Lls(list) => Some((together(list.words.iter())?, false)),
            Command::Stat(names) | Command::Less(names) | Command::Edit(names) => Some((names.together()?, true)),
            Command::Sum(args) => Some((together(args.words.iter())?, true)),
            Command::Rm(removal) => Some((removal.names.together()?, true)),
            Command::Mv(renaming) => Some((renaming.from().together()?, true)),
            _ => None,
        }
    }
}
