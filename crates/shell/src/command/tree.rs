//! The commands. Doc comments are the texts of HELP, `--help` and the manual: the first paragraph is
//! the summary, the others are the details, and `after_help` holds the examples.

use clap::{Subcommand, ValueHint};

use super::arguments::{
    AnyJob, Depth, Directory, Get, HistoryArgs, List, ListThere, Login, MakeDirectories, Names, OneJob, Open, Put,
    RemoveArgs, Renaming, Search, SetArgs, ShellLine, Sizes, SpaceArgs, SumArgs, SyncArgs, Topic,
};

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
    /// '-> NAME' or '-o NAME' gives another name there, or a directory of the server. The name '-' is standard input;
    /// its end is the end of the file. After a lost connection it goes on from what the server has. A signal to ferry
    /// itself, as Ctrl-C sends it to a whole pipeline, publishes nothing, but a writer that dies looks like one that is
    /// done: where that matters, set -o pipefail, PUT under another name, and MV when all went well.
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
    /// have. With --backup-dir, files that are replaced or deleted are kept in that directory of the changed side,
    /// which must be outside of the one that is changed. Before a file of the server is replaced, the new one is sent
    /// to .incoming there; while the server gives both their names, none has that of the file. What a run that was
    /// killed has left in it goes with the next one.
    #[command(after_help = "SYNC photos                             sends what is new in photos\n\
                            SYNC -d -n . backup                     says what it would fetch\n\
                            SYNC -u --delete site www               and deletes what site does not have\n\
                            SYNC -d --delete --backup-dir old site  keeps replaced and deleted local files in old")]
    Sync(Box<SyncArgs>),
    /// List a directory of the server
    ///
    /// Directories end in '/'; times are UTC. A name with wildcards lists what matches. With --files-from, it
    /// shows no others than those of the list, and the directories that they are in. DIR and LL are LS -l.
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
    /// Show how much room the server has
    ///
    /// It is that of the file system that the server's root lies on; available is as much of it as the server may fill.
    /// Where the server limits what uploads take before they have their names, the rest of that is told as well.
    #[command(disable_help_flag = true, after_help = "DF -h")]
    Df(SpaceArgs),
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
    /// List the jobs that run: GET big & starts one
    ///
    /// A '&' behind GET, PUT or SYNC, as a word of its own, runs it on connections of its own while the prompt goes on; at most
    /// four at a time. Before the next prompt a line tells that a job has ended, and how. A name that is '&' needs quotes.
    ///
    /// QUIT ends jobs that run, but tells of them first. A script waits for its jobs at its end, and ends as the first
    /// one that failed.
    #[command(after_help = "GET big.iso &\nJOBS           [1] GET big.iso: 1.2 GiB of 4.0 GiB, 7 s")]
    Jobs,
    /// Wait for a job, with its progress; Ctrl-C ends it
    #[command(after_help = "FG    waits for the last one\nFG 2")]
    Fg(AnyJob),
    /// End a job
    ///
    /// What it has moved of a large file is kept, and gone on with by the same command.
    #[command(alias = "kill", after_help = "CANCEL 1")]
    Cancel(OneJob),
    /// Show the options that hold and where each is from, or set one
    ///
    /// They are those of the configuration file, under the same keys, and hold for this session. SET stands above the
    /// command line, and that above the file. Those of a connection (timeout, min_rate, tree_memory) hold from the next
    /// OPEN on. The local directory is changed by LCD.
    #[command(after_help = "SET\nSET parallel 4\nSET retry_for 1h\nSET retry_for default  as it was before")]
    Set(SetArgs),
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
            Command::Sync(args) => args.together(),
            Command::Ls(there) => Some((there.list.together()?, true)),
            Command::Lls(list) => Some((list.together()?, false)),
            Command::Stat(names) | Command::Less(names) | Command::Edit(names) => Some((names.together()?, true)),
            Command::Sum(args) => Some((args.together()?, true)),
            Command::Rm(removal) => Some((removal.names.together()?, true)),
            Command::Mv(renaming) => Some((renaming.from().together()?, true)),
            _ => None,
        }
    }
}
